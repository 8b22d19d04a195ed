"""The sentence about a setting that there is not."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from omegaconf import OmegaConf

from zoo.run import CONF
from zoo.run.config import choices, flatten, groups, nearest, register_tables
from zoo.run.words import meant, meant_choice

LOOKS_LIKE_A_PATH = re.compile(r"(~|/|\./|\.\./|[A-Za-z]:\\).*", re.DOTALL)
OF_HYDRA = {"sweeper": "optuna", "launcher": "slurm"}


def no_setting(name: str, value: object = "", typed: Sequence[str] = ()) -> str:
    """What is wrong with a name, and which was meant: of another variant's, by its meaning, or by its letters.

    Args:
        name: a setting that the groups which the command line chose do not have.
        value: what it was to be.
        typed: the command line.
    """
    choosing = (argument.lstrip("-") for argument in typed if "," not in argument)
    model, settings = _composed(*(a for a in choosing if a.split("=")[0] in groups()))
    says = f"there is no setting {name!r}"
    if name == "hydra":
        return "hydra= is no setting: Hydra's own are hydra.NAME= and hydra/GROUP=, such as hydra.run.dir=FOLDER"
    if "@" in name:
        return f"{says}; leave out the @ and what follows it"
    if name.startswith(("hydra.sweeper.", "hydra.launcher.")):
        plugin = name.split(".")[1]
        return f"{says}; what it may be depends on hydra/{plugin}=, such as hydra/{plugin}={OF_HYDRA[plugin]}"
    outer, _, leaf = name.rpartition(".")
    if outer in settings and settings[outer] is None:
        return f"{says}: {outer} is null with model={model}, which takes none"
    if outer == "model" and (able := [m for m, keys in _of_models().items() if leaf in keys]):
        return f"{says} with model={model}; it is one of model={', '.join(able)}"
    if instead := meant(name, value):
        keys = re.findall(r"([a-z][\w.]*)=", instead)
        brought = not {*groups()}.isdisjoint(keys)  # trainer=ddp has settings that trainer=auto has not
        lacking = [key for key in keys if key not in settings and not brought]
        if lacking:
            return f"{says}; it would be {lacking[0]}, which these groups (model={model}) do not have"
        choice = re.fullmatch(r"did you mean (\w+)=(\S+)\?", instead)
        if choice and choice[1] in groups() and choice[2] not in choices(choice[1]):
            return f"{says}; the group is {choice[1]}=, {nearest(choice[2], choices(choice[1]))}"
        return f"{says}; {instead}"
    names = [key for key in settings if not key.startswith("hydra") or name.startswith("hydra")]
    return f"{says}; {nearest(name, list(dict.fromkeys([*names, *groups()])))}"


def no_choice(group: str, name: str, known: Collection[str] | None = None) -> str:
    """The sentence about a group's choice that there is not.

    Args:
        known: the names that Hydra knows; None: those of this project's.
    """
    if group == "hydra":
        return no_setting(group)
    says = f"there is no {group}={name}"
    if group == "data" and (LOOKS_LIKE_A_PATH.match(name) or Path(name).exists()):
        return f"{says}; did you mean data=folder data.root={name}?"
    if instead := meant_choice(group, name):
        return f"{says}; {instead}"
    return f"{says}; {nearest(name.lower(), known or choices(group))}"


def exists(name: str) -> bool:
    """Whether it is a group or a setting of the defaults."""
    return name in groups() or name in _composed()[1]


@cache
def _composed(*chosen: str) -> tuple[str, dict[str, Any]]:
    """The model, and every setting by its dotted name; of the defaults, if the choices do not compose."""
    register_tables()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            composed = hydra.compose("train", [*chosen], return_hydra_config=True)
        except Exception:  # another choice is wrong as well
            composed = hydra.compose("train", return_hydra_config=True)
    settings: Mapping[str, Any] = OmegaConf.to_container(composed, resolve=False)  # type: ignore[assignment]
    return composed.hydra.runtime.choices.model, flatten(settings)


def _of_models() -> dict[str, list[str]]:
    """The settings of each model's own."""
    return {path.stem: list(OmegaConf.load(path).model) for path in sorted((CONF / "model").glob("*.yaml"))}
