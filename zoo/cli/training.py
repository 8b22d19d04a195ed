"""zoo train: what train.py does, wherever the package is installed; and the words that a shell completes after it."""

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Annotated, Any

import typer

from zoo.cli.common import run_names
from zoo.run.signals import Left

FORWARDED = {"ignore_unknown_options": True, "help_option_names": []}  # all of Hydra's flags, --help among them


def words_after(typed: Sequence[str]) -> list[str]:
    """What the last of the settings that are being typed may become, by Hydra's own completion; of RUN by its names."""
    *before, last = typed or [""]
    key, equals, value = last.partition("=")
    if equals and key in ("start", "resume"):
        return [f"{key}={name}" for name in run_names(value) if key == "start" or "/" in name]
    said, environment = StringIO(), os.environ.get("COMP_LINE")
    os.environ["COMP_LINE"] = " ".join(["zoo", *before, last])
    try:
        with redirect_stdout(said):
            _hydra(["--shell-completion", "query=bash", *(["--config-dir", d] if (d := _folder(before)) else [])])
    except (Exception, SystemExit):  # what is being typed may be anything
        return []
    finally:
        os.environ.pop("COMP_LINE") if environment is None else os.environ.update(COMP_LINE=environment)
    found = said.getvalue().split()
    if len(found) == 1 and found[0] != last and found[0][-1] in "=.":  # a shell would end a single word by a space
        found += words_after([*before, found[0]]) or [f"{found[0]}VALUE"]
    return found


def complete_in_bash() -> bool:
    """Whether bash has asked for words after `zoo train`, which are then printed.

    It parts words at `=`, so that what it is given has to begin after that.
    """
    if os.environ.get("_ZOO_COMPLETE") != "complete_bash":
        return False
    words = os.environ.get("COMP_WORDS", "").split("\n")[: int(os.environ.get("COMP_CWORD", 0)) + 1]
    if len(words) < 3 or words[1] != "train":
        return False
    typed: list[str] = []
    for word in words[2:]:
        if typed and (word == "=" or typed[-1].endswith("=")):
            typed[-1] += word
        else:
            typed.append(word)
    start = typed[-1].rfind("=") + 1
    print("\n".join(word[start:] for word in words_after(typed) if word.startswith(typed[-1])))
    return True


def _completed(context: typer.Context, incomplete: str) -> list[str]:
    return words_after([*(context.params.get("settings") or ()), incomplete])


def train(
    settings: Annotated[list[str] | None, typer.Argument(metavar="SETTING=VALUE...", autocompletion=_completed)] = None,
) -> None:
    """Train a model, as python train.py does in a clone: zoo train --help has the settings."""
    try:
        from zoo.run.command import command_line, readable_errors
    except Left as left:
        left.said = " before the first image: nothing was saved"
        raise
    with readable_errors("zoo train"):
        # Lightning starts the other processes by the same line: python .../zoo train SETTINGS.
        sys.argv[1:] = ["train", *command_line(settings or [])]
        _hydra(sys.argv[2:])


def _hydra(arguments: Sequence[str]) -> None:
    """What `hydra.main` does, of these arguments in place of sys.argv."""
    from hydra import version
    from hydra._internal.utils import _run_hydra, get_args_parser

    from zoo.run import config

    config.register_tables()
    version.setbase("1.3")
    parser = get_args_parser()
    _run_hydra(parser.parse_args(arguments), parser, _job, str(config.CONF), "train")


def _job(cfg: Any) -> float | None:
    from zoo.run.sweep import run_job

    return run_job(cfg)


def _folder(typed: Sequence[str]) -> str | None:
    """The folder of configuration that was typed before."""
    from zoo.run.resume import config_folders

    return next((str(folder) for folder in reversed(config_folders(list(typed)))), None)
