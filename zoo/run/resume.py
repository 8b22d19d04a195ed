"""`resume=RUN`: the settings of a run's folder as if typed again, with those given beside it in their place.

A run's folder may be a stranger's, so that of its overrides plain settings are taken and nothing else: see
`zoo.run.trust`. What a user types is the user's own affair, so that everything refused here works when it is typed.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from zoo.run import CONF, trust
from zoo.run.config import TABLES, compose, flatten, groups, nearest, table
from zoo.run.grammar import parted, quote, value_of
from zoo.text import read_small

OVERRIDES = Path(".hydra", "overrides.yaml")
OPENED = (".lock", ".hydra/config.yaml", ".hydra/hydra.yaml", str(OVERRIDES), "train.log")  # to be written in place
LIMIT = 200_000  # bytes of it: a thousand classes by name need a tenth
OF_THE_FOLDER = ("hydra.run.", "hydra.sweep.", "hydra/launcher", "hydra/sweeper")  # how a run was started


def resumed(arguments: list[str]) -> list[str]:
    """A command line without `resume=` or with resume=auto as what it stands for: see `zoo.run.command.command_line`.

    Raises:
        ValueError: if it names no run's folder, or one whose overrides are damaged or ask for more than a file may.
    """
    wanted, folder = value_of("resume", arguments), value_of("hydra.run.dir", arguments)
    if wanted is None:
        return arguments
    others = [argument for argument in arguments if not argument.startswith(("resume=", "hydra.run.dir="))]
    if wanted == "auto":
        run = _newest_run(parted(others)[1]) if folder is None else Path(folder)
        if run is None or not any(path.is_file() for path in run.glob("checkpoints/*.ckpt")):
            print("resume=auto: no earlier run of these settings, so a new one begins", flush=True)
            return [argument for argument in arguments if not argument.startswith("resume=")]
        wanted = str(run)
    start = Path(wanted).expanduser()
    run = start.parent.parent if start.suffix == ".ckpt" else start
    if folder is not None and Path(folder).resolve() != run.resolve():
        raise ValueError(f"resume={run} goes on in that folder: leave out hydra.run.dir={folder}")
    if not (run / OVERRIDES).exists():
        raise ValueError(f"resume={run} is no run's folder: it has no {OVERRIDES}")
    for path in (run / name for name in OPENED):
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise ValueError(f"{path} is no file but a link, a pipe or a folder: remove it, this run writes there")
    flags, settings = parted(others)
    kept = _kept(run / OVERRIDES, others)
    return [*flags, *kept, *settings, f"resume={quote(str(start))}", f"hydra.run.dir={quote(str(run))}"]


def _newest_run(settings: list[str]) -> Path | None:
    """The folder below outputs/ that was trained last with these settings; what is damaged is passed over."""
    from zoo.run.checkpoint import newest  # torch takes seconds

    runs = []
    for file in [*Path("outputs").glob(f"*/*/{OVERRIDES}"), *Path("outputs").glob(f"sweep/*/*/{OVERRIDES}")]:
        try:
            overrides = [text for text in _overrides(file) if not text.startswith("resume=")]
            times = [path.stat().st_mtime for path in file.parent.parent.glob("checkpoints/*.ckpt") if path.is_file()]
        except (OSError, ValueError):  # no run of this command line, whatever it is
            continue
        if times and sorted(overrides) == sorted(settings):
            runs.append((max(times), file.parent.parent))
    for _, run in sorted(runs, reverse=True):
        try:
            newest(run)
            return run
        except ValueError as error:
            print(f"resume=auto passes over {run}: {error}", flush=True)
    return None


def _overrides(file: Path) -> list[str]:
    """The overrides that Hydra wrote down, as text.

    Raises:
        ValueError: if the file is damaged.
    """
    text = read_small(file, limit=LIMIT)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{file} is damaged: it is no YAML of plain data") from error
    if not isinstance(content, list) or not all(isinstance(item, str) for item in content):
        raise ValueError(f"{file} is damaged: it should be a list of overrides, such as - model=dcgan")
    return content


def _kept(file: Path, typed: list[str]) -> list[str]:
    """Those overrides of a run that are not typed anew, nor below a group that is, nor no file's to say."""
    changed = {argument.lstrip("+~").split("=")[0] for argument in typed} | {"resume"}
    earlier = _overrides(file)
    texts = [text for text in earlier if text.lstrip("+~").split("=")[0] not in changed]
    try:
        parsed = [(text, _plain(text)) for text in texts]
        choices = _choices([override for _, override in parsed], config_folders(typed))
    except ValueError as error:
        raise ValueError(f"{file} is refused: {error}; if you trust it, give that on the command line") from None
    typed_choices = _choices_in(typed)
    choices |= typed_choices
    of_project = {group: name for group, name in choices.items() if name in _names(group)}
    composed, composed_before = _composed(of_project), _composed(_choices_in(earlier))
    names, before = (
        flatten(OmegaConf.to_container(config, resolve=False))  # type: ignore[arg-type]
        for config in (composed, composed_before)
    )
    packages = [TABLES.get(group, group) for group in typed_choices if group not in ("loss", "experiment")]
    anew = tuple(f"{package}." for package in packages if names.get(package) != before.get(package))
    kept, left_out, replaced, users = [], [], [], trust.of_the_user(composed)
    for text, override in parsed:
        name, adds = override.key_or_group, override.is_add() or override.is_force_add()
        if (f"{name}.".startswith(anew) and not _is_choice(override)) or (name in before and name not in names):
            replaced.append(text)
        elif name.startswith(OF_THE_FOLDER) or any(
            trust.is_the_users(key, value, users) for key, value in _settings(override)
        ):
            left_out.append(text)
        elif name in names or name in groups() or adds or of_project != choices:
            kept.append(text)
        else:
            raise ValueError(f"{file} is refused: there is no setting {trust.shown(name)}; {nearest(name, names)}")
    if left_out:
        what = ", ".join(trust.shown(text)[1:-1] for text in left_out)
        print(f"{file}: left out, since where to write is yours to say on the command line: {what}", flush=True)
    if replaced:
        what = ", ".join(trust.shown(text)[1:-1] for text in replaced)
        print(f"{file}: left out, since their group is chosen anew (give again what shall stay): {what}", flush=True)
    return kept


def _choices_in(texts: list[str]) -> dict[str, str]:
    """What is chosen in a command line, or in a run's overrides, by group; of these whatever may be there."""
    pairs = (text.partition("=") for text in texts)
    return {group: name for group, _, name in pairs if group in groups()}


def _composed(choices: Mapping[str, str]) -> DictConfig:
    """This project's settings with those of the choices that it has."""
    return compose(*(f"{group}={name}" for group, name in choices.items() if name in _names(group)))


def _plain(text: str) -> Override:
    """An override that says a plain value.

    Raises:
        ValueError: if it is anything else, in words.
    """
    shown = trust.shown(text)[1:-1]
    if text.startswith("-"):
        raise ValueError(f"{shown} is no setting")
    try:
        override = OverridesParser.create().parse_override(text)
    except Exception as error:  # a parser of grammars, given anything
        raise ValueError(f"{shown} is no override") from error
    name = override.key_or_group
    if name.split(".")[0].split("/")[0] == "hydra" and not name.startswith(OF_THE_FOLDER):
        raise ValueError(f"{shown} says how Hydra works")
    if override.package is not None or override.is_sweep_override():
        raise ValueError(f"{shown} is no plain setting")
    try:
        for key, value in _settings(override):
            trust.check_plain(value, key)
            for part in key.split("."):
                trust.check_inert({part: value}, "")
    except ValueError as error:
        raise ValueError(f"in {shown}, {error}") from None
    return override


def _settings(override: Override) -> Iterator[tuple[str, Any]]:
    """All names that an override gives a value, those in dicts included: {a: {b: 1}} are a and a.b."""
    yield from trust.nodes(override.value(), override.key_or_group)


def _is_choice(override: Override) -> bool:
    """Whether it chooses from a group; data={root: x} sets what is in one."""
    return override.key_or_group in groups() and not isinstance(override.value(), dict)


def _choices(overrides: list[Override], folders: Collection[Path]) -> dict[str, str]:
    """What overrides choose, by group.

    Raises:
        ValueError: for a choice that neither this project's conf nor a folder of the user's has.
    """
    chosen = {}
    for override in overrides:
        group, name = override.key_or_group, override.value()
        if "/" in group and not group.startswith(OF_THE_FOLDER):
            raise ValueError(f"{group} is no group of this project")
        if not _is_choice(override) or name is None or override.is_delete():
            continue
        of_user = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
        if not isinstance(name, str) or name not in _names(group) | of_user:
            raise ValueError(f"there is no {group}={trust.shown(name)} here (of a folder of your own: --config-dir)")
        chosen[group] = name
    return chosen


def _names(group: str) -> set[str]:
    """The choices that this project has."""
    return set(table(group)) if group in TABLES else {path.stem for path in (CONF / group).glob("*.yaml")}


def config_folders(typed: list[str]) -> list[Path]:
    """The folders of configuration that the command line names: --config-dir=FOLDER, -cd FOLDER."""
    folders = []
    for argument, following in zip(typed, [*typed[1:], ""], strict=False):
        flag, equals, value = argument.partition("=")
        if flag in ("--config-dir", "-cd"):
            folders.append(Path(value if equals else following).expanduser())
    return folders
