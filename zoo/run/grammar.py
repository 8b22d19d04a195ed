"""What is typed, as Hydra parses it: dashes before settings, paths with any characters in them, words without `=`.

Hydra's grammar gives commas, brackets, equal signs, quotes and backslashes a meaning, which they keep. But a value that
does not parse is text, and the value of a setting that holds a path is a path, whatever it parses as.
"""

import difflib
import os
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString, Sweep
from hydra.errors import HydraException
from omegaconf import grammar_parser
from omegaconf.errors import OmegaConfBaseException

from zoo.run.config import choices, groups
from zoo.run.hints import LOOKS_LIKE_A_PATH, exists, no_choice, no_setting
from zoo.text import PATHS, trains

SHELLS = ("bash", "fish", "zsh")  # that Hydra completes in
OPTIONS = get_args_parser()._option_string_actions  # Hydra's own: -m, --cfg job, ...


def overrides(typed: Sequence[str]) -> list[str]:
    """Hydra's flags as they are, in front wherever they were typed, and every setting as Hydra's grammar takes it.

    `--model.lr.D=1e-4`, as Weights & Biases' agent writes it, is `model.lr.D=1e-4`.

    Raises:
        ValueError: for a word that is no setting, with what it may have been meant to be.
    """
    several = not {"-m", "--multirun", "hydra.mode=MULTIRUN"}.isdisjoint(typed)
    flags, words = parted(typed)
    taken: list[str] = []
    for argument, following in zip(words, [*words[1:], None], strict=False):
        setting = argument.lstrip("-")
        if "=" not in setting and not setting.startswith("~"):
            raise ValueError(_without_equals(argument, following, typed))
        if argument.startswith("--") and setting.endswith("=None"):  # so the agent writes null
            setting = setting.removesuffix("None") + "null"
        taken.append(quoted(setting, several=several))
    _check_unexpanded(taken)
    parser = get_args_parser()
    parser.error = _refuse_flag  # type: ignore[method-assign]
    _check_flags(parser.parse_args([*flags, *taken]))
    return [*flags, *taken]


def _check_flags(parsed: Namespace) -> None:
    """Refuse what Hydra passes over in silence, or ends in a traceback of its own."""
    if parsed.experimental_rerun:  # a pickle, which runs whatever is in it
        raise ValueError("--experimental-rerun is not taken: resume=RUN goes on with a run, by its settings")
    folder = parsed.config_dir and Path(parsed.config_dir)
    if folder and folder.is_file():
        raise ValueError(
            f"--config-dir {folder} is a file: give the folder that has data/, model/ or experiment/ in it"
        )
    if parsed.shell_completion:
        asked = [word.partition("=") for word in parsed.overrides]
        does = [(what, shell) for what, _, shell in asked if what in ("install", "uninstall", "query")]
        if len(does) != 1 or does[0][1] not in SHELLS:
            shells = ", ".join(SHELLS)
            raise ValueError(
                f"--shell-completion takes install=SHELL or uninstall=SHELL, such as install=bash: {shells}"
            )


def _check_unexpanded(settings: Sequence[str]) -> None:
    """Refuse the words that a shell makes of data.root=set/{000..099}.tar: Hydra would take the last of them alone."""
    for name, number in Counter(s.partition("=")[0] for s in settings if s.rstrip("'\"").endswith(".tar")).items():
        if number > 1:
            raise ValueError(
                f"{name} names {number} shards, as where a shell has written {{000..099}} out: put it in quotes, "
                f"'{name}=set/{{000..099}}.tar', or give their folder"
            )


def parted(typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and all other words: argparse takes no settings on both sides of a flag."""
    flags: list[str] = []
    words: list[str] = []
    rest = iter(range(len(typed)))
    for i in rest:
        argument, following = typed[i], typed[i + 1] if i + 1 < len(typed) else None
        option, equals, _ = argument.partition("=")
        if option not in OPTIONS and argument != "--":
            words.append(argument)
            continue
        action = OPTIONS.get(option)
        takes = action is not None and action.nargs != 0 and not equals
        if action and takes and following is not None and (action.nargs is None or following in (action.choices or ())):
            flags += [argument, typed[next(rest)]]  # --cfg job
        elif action and takes and action.const is not None:  # --info, which would take the next word for its value
            flags.append(f"{argument}={action.const}")
        elif argument != "--":
            flags.append(argument)
    return flags, words


def _refuse_flag(message: str) -> NoReturn:
    raise ValueError(f"{message} ({trains()} --hydra-help)")


def quoted(argument: str, *, several: bool = False) -> str:
    """A setting as Hydra's grammar takes it: `data.root=~/my cats (new)` is `data.root='/home/me/my cats (new)'`.

    Args:
        argument: KEY=VALUE.
        several: whether commas part the values of a sweep (`-m`).

    Raises:
        ValueError: if the key is none.
    """
    name, equals, value = argument.partition("=")
    parsed = _parsed(argument)
    if parsed and (not equals or _is_quoted(parsed)):
        return argument
    if name in groups() and (not parsed or not isinstance(parsed.value(), str | Sweep | Glob) or not value):
        raise ValueError(no_choice(name, value))
    if not name.lstrip("+") or _parsed(f"{name}=") is None:
        raise ValueError(f"{name!r} is no name of a setting: they are written KEY=VALUE, such as max_images=1000")
    of_paths = PATHS.fullmatch(name.rpartition(".")[2]) is not None
    text = of_paths or LOOKS_LIKE_A_PATH.match(value) is not None
    if parsed and not text and isinstance(parsed.value(), Glob) and name not in groups():
        raise ValueError(f"{argument}: glob() chooses from a group, as model=glob(*) does; give the values, {name}=1,2")
    if several and parsed and isinstance(parsed.value(), Sweep) and not (text and _is_list(parsed)):
        return argument
    if several and text and len(parts := list(_parts(value))) > 1:
        return f"{name}={','.join(_path(name, part) for part in parts)}"
    if text and not (parsed and (parsed.value() is None or isinstance(parsed.value(), dict))):
        return f"{name}={_path(name, value)}"
    if parsed and not (_is_list(parsed) and re.search(r"[\s/\\]", value)):  # 1,2 is a sweep that lacks its -m
        return argument
    return f"{name}={quote(value)}"


def quote(text: str) -> str:
    """Text as a quoted string of Hydra's grammar; an interpolation in it stays one."""
    if "${" in text:
        try:
            grammar_parser.parse(text)
        except OmegaConfBaseException:
            text = text.replace("${", "\\${")
    escaped = re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text)
    return f"'{escaped}'"


def value(argument: str) -> Any:
    """The value that a setting gives: of `resume='it\\'s'` the text it's."""
    parsed = _parsed(argument)
    assert parsed
    return parsed.value()


def value_of(key: str, arguments: Sequence[str]) -> str | None:
    """What the command line gives for a setting, the last of several, as text; None if nothing."""
    given = next((value(quoted(a)) for a in reversed(arguments) if a.startswith(f"{key}=")), None)
    return None if given is None else str(given)


def _parsed(argument: str) -> Override | None:
    """A setting, parsed by Hydra; None if it does not parse."""
    try:
        return OverridesParser.create().parse_override(argument)
    except (HydraException, OmegaConfBaseException, ValueError, RecursionError):
        return None


def _is_quoted(parsed: Override) -> bool:
    return isinstance(parsed._value, QuotedString)


def _is_list(parsed: Override) -> bool:
    """Whether it is a sweep in the form a,b."""
    given = parsed.value()
    return isinstance(given, ChoiceSweep) and given.simple_form


def _path(name: str, text: str) -> str:
    """A path, its home folder expanded, quoted where it would be read as something else."""
    text = os.path.expanduser(text)
    parsed = _parsed(f"{name}={text}")
    return text if parsed and (_is_quoted(parsed) or parsed.value() == text) else quote(text)


def _parts(value: str) -> Iterator[str]:
    """The values of a sweep, a,'b,c': [a, 'b,c']."""
    return (part.strip() for part in re.findall(r"""((?:'(?:\\.|[^'])*'|"(?:\\.|[^"])*"|[^,])+)""", value))


def _without_equals(argument: str, following: str | None, typed: Sequence[str]) -> str:
    """The sentence about a word that is neither a flag nor a setting."""
    word = argument.lstrip("-")
    key, colon, rest = word.partition(":")
    close = difflib.get_close_matches(argument, [o for o in OPTIONS if o.startswith("--")], n=1, cutoff=0.75)
    of_groups = [f"{group}={word}" for group in groups() if word in choices(group)]
    value = following if following is not None and "=" not in following and not following.startswith("-") else None
    says = f"{argument!r} is no setting"
    if argument.startswith("--") and close and not exists(word):
        return f"{says}; did you mean {close[0]}?"
    if of_groups and value is None:
        return f"{says}; did you mean {' or '.join(of_groups)}?"
    if colon and exists(key):
        return f"{says}; did you mean {key}={rest}?"
    if exists(word):
        return f"{says}; did you mean {word}={'VALUE' if value is None else value}?"
    if argument.startswith("-") or value is not None:
        return no_setting(word, "" if value is None else value, typed)
    if Path(word, ".hydra").is_dir() or word.endswith(".ckpt"):
        return f"{says}; did you mean resume={word}?"
    return f"{says}: they are written KEY=VALUE, such as max_images=1000 ({trains()} --help)"
