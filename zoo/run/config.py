"""What stands between a mistyped command line and a wasted night: names and types, checked before anything is built.

The composed defaults and the constructors are the specification. Every key that a user may set is in the YAML with its
default, so a key that is in none is a typo; and what may be its value, the annotation of the constructor's argument
says, or where it has none, the default.
"""

import difflib
import importlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, Unpack, get_args, get_origin, get_type_hints

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from zoo.run.fits import check_rows
from zoo.run.words import meant

CONF = Path(__file__).parents[2] / "conf"
# Groups whose choices are rows of a table, conf/GROUP.yaml, rather than files of a folder; and where a row's keys go.
TABLES = {"loss": "model", "regularizer": "model.regularizer", "augment": "model.augment", "experiment": "_global_"}
REFUSED = {  # Lightning's own settings that games can't use: why not, and what serves instead
    "trainer.accumulate_grad_batches": (
        "a turn sees its whole batch, since the other player moves before the next; raise data.batch_size, shared "
        "among more processes (trainer.devices=) if it does not fit one"
    ),
    "trainer.strategy": (
        "Lightning's strategies wrap all players into one; use trainer=ddp or trainer=ddp_cpu. Sharding (fsdp, "
        "deepspeed) is not supported: lower model.width or data.image_size if a network does not fit one GPU"
    ),
    "trainer.callbacks": "this project gives the trainer its callbacks; +callbacks.NAME={_target_: ...} adds one",
    "trainer.logger": "this project gives the trainer its loggers; logger=csv, wandb, tensorboard or none",
    "trainer.gradient_clip_val": "each player's gradient is clipped in its own turn; model.clip_norm=1",
    "trainer.gradient_clip_algorithm": "each player's gradient is clipped in its own turn; model.clip_norm=1",
}

KINDS: dict[Any, tuple[Any, str]] = {  # what an annotation admits, and in words
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: (float | int, "a number"),
    str: (str | int | float, "text"),
    list: (list, "a list"),
    Sequence: (list, "a list"),
    Mapping: (dict, "settings"),
    NoneType: (NoneType, "null"),
}


def table(group: str) -> dict[str, Any]:
    """What each choice of a group of TABLES stands for, as it is written."""
    return OmegaConf.to_container(OmegaConf.load(CONF / f"{group}.yaml"), resolve=False)  # type: ignore[return-value]


def _of_hydra(key: str, otherwise: Any = None) -> Any:
    """`${of_hydra:overrides.task,[]}`: what Hydra knows of its job; else a configuration is only composed."""
    known = OmegaConf.select(HydraConfig.get(), key) if HydraConfig.initialized() else None  # type: ignore[arg-type]
    return otherwise if known is None else known


def _choice(group: str, *, _root_: DictConfig) -> str:
    """`${choice:model}`: what was chosen from a group; where that is not known, the name of the class."""
    target = OmegaConf.select(_root_, f"{group}._target_") or group
    return _of_hydra(f"runtime.choices.{group}") or target.rpartition(".")[2].lower()


OmegaConf.register_new_resolver("of_hydra", _of_hydra, replace=True)
OmegaConf.register_new_resolver("choice", _choice, replace=True)


@cache
def register_tables() -> None:
    """Let Hydra know the choices of TABLES, in this process: call it before anything is composed."""
    for group, package in TABLES.items():
        for name, row in table(group).items():
            ConfigStore.instance().store(name, row, group, package, provider=f"conf/{group}.yaml")


def compose(*overrides: str) -> DictConfig:
    """What train.py composes of these overrides, but for what Hydra knows of a job alone, as the folder of the run."""
    register_tables()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", list(overrides))


def groups() -> list[str]:
    """The names of all groups."""
    return sorted([*TABLES, *(path.name for path in CONF.iterdir() if path.is_dir())])


def choices(group: str) -> dict[str, str]:
    """A group's choices, each with the first line of the comment above its row or in its file."""
    if group in TABLES:
        rows = re.findall(r"^# (.+)\n(?:#.*\n)*(\w+):", (CONF / f"{group}.yaml").read_text(), re.MULTILINE)
        return {name: headline for headline, name in sorted(rows, key=lambda row: row[1])}
    texts = {path.stem: path.read_text() for path in sorted((CONF / group).glob("*.yaml"))}
    return {name: re.findall(r"^# (?!@package)(.+)", text, re.MULTILINE)[0] for name, text in texts.items()}


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as dicts, lists, numbers and strings, every interpolation resolved."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def checked(config: DictConfig) -> DictConfig:
    """A run's configuration, held against the defaults of the groups that it chose.

    Raises:
        ValueError: for data that do not fit the model; for a setting that the defaults do not have, with the nearest
            valid name; and for a value of another type than the default, with what was expected.
    """
    check_rows(config)
    for key, remedy in REFUSED.items():
        value = OmegaConf.select(config, key)
        if value not in (None, "auto") and not isinstance(value, DictConfig):
            raise ValueError(f"{key}={value} does not fit players that take turns: {remedy}")
    for name in ("image_size", "channels", "channels_x", "channels_y"):
        of_model, of_data = (OmegaConf.select(config, f"{group}.{name}") for group in ("model", "data"))
        if None not in (of_model, of_data) and of_model != of_data:
            raise ValueError(
                f"model.{name}={of_model} is not data.{name}={of_data}: set data.{name}, which the model follows"
            )
    if config.divergence_retries and config.trainer.get("num_nodes"):
        raise ValueError(
            "divergence_retries works on one process, since several can't be started twice; without it a run that "
            "diverges ends, and resume=RUN model.lr.D=... model.lr.G=... goes on with lower rates"
        )
    run = HydraConfig.get()
    if run.mode is RunMode.MULTIRUN and config.trainer.get("num_nodes") and "SLURM_PROCID" not in os.environ:
        raise ValueError(
            "-m can't start several processes for each run of a sweep: call train.py once for each run (a loop in the "
            "shell), or give hydra/launcher=slurm"
        )
    added = [override.lstrip("+").split("=")[0] for override in run.overrides.task if override.startswith("+")]
    chosen = run.runtime.choices
    overrides = [f"{g}={c}" for g, c in chosen.items() if c and not g.startswith(("hydra/", "experiment"))]
    defaults = plain(hydra.compose(run.job.config_name, overrides=overrides))
    added = [key for key in added if key.partition(".")[0] in defaults and "." in key]  # else nothing would read it
    settings = plain(config)
    for group in ("regularizer", "augment"):
        value = settings["model"].get(group) if chosen[group] in (None, "none") else chosen[group]
        if defaults["model"][group] is None and value is not None:
            raise ValueError(f"{group}={value} does not fit model={chosen['model']}, which takes none")
    _complete(settings, defaults)
    for key, value in check(settings, defaults, added).items():
        OmegaConf.update(config, key, value)
    return config


def _complete(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse what `~KEY` takes away, but for a callback, a logger, and what Lightning has a default for."""
    names = flatten(settings)
    for key in flatten(defaults):
        outer, _, leaf = key.rpartition(".")
        optional = outer in ("callbacks", "logger") or (outer == "trainer" and leaf != "_target_")
        if key not in names and not optional and (not outer or isinstance(names.get(outer), Mapping)):
            raise ValueError(f"~{key} takes away what a run needs")
    for outer in ("callbacks", "logger"):
        for name, part in settings[outer].items():
            if not isinstance(part, Mapping) or "_target_" not in part:
                raise ValueError(f"{outer}.{name}={part} builds nothing: give its class, +{outer}.{name}._target_=")


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which settings that act differ, in words, those that follow from others too: "model.width 32 -> 64".

    Where a run lies and who is told of it does not act on it. What is repeated (`seed` as `data.seed`) is said once.
    """
    old, new = _acting(before), _acting(now)
    follows = lambda key: all(key in s and s.get(key.rpartition(".")[2]) == s[key] for s in (old, new))
    differing = [key for key in dict.fromkeys([*new, *old]) if old.get(key) != new.get(key)]
    keys = [key for key in differing if "." not in key or not follows(key)]
    built = [key.removesuffix("_target_") for key in keys if key.endswith("_target_")]  # as another class, by prefix
    told: dict[str, list[str]] = {}  # what has changed, and which settings in that way
    for key in keys:
        if key.endswith("_target_") or not any(key.startswith(p) and (key in old) != (key in new) for p in built):
            change = f"{_said(key, old)} -> {_said(key, new)}"
            told.setdefault(f"{key.rpartition('.')[2]} {change}", []).append(key.removesuffix("._target_"))
    return [f"{', '.join(names)} {said.partition(' ')[2]}" for said, names in told.items()]


def interval(every: int | None, max_images: int) -> int:
    """Images between two times that something is done; None is a tenth of `max_images`, the budget."""
    return every or max(max_images // 10, 1)


def _acting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What acts on a run, by its whole name."""
    callbacks = {
        name: {**own, "every": interval(own["every"], own["max_images"])} if "every" in own else own
        for name, own in (settings.get("callbacks") or {}).items()
        if own
    }
    flat = flatten({**settings, "callbacks": callbacks})
    passive = r"resume|(.*\.)?(run_dir|cache_dir|folder|default_root_dir|overrides)|logger(\..*)?|max_time|.*\.max_time"
    ignored = re.compile(rf"{passive}|callbacks\.evaluate\.evaluation(\..*)?")  # metrics, once more
    return {k: v for k, v in flat.items() if not isinstance(v, Mapping) and not ignored.fullmatch(k)}


def _said(key: str, settings: Mapping[str, Any]) -> str:
    """A setting's value, a class by its name."""
    value = settings.get(key)
    return "none" if value is None else str(value).rpartition(".")[2] if key.endswith("_target_") else str(value)


def trusted(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings that came in a file: all that they can build are this project's classes.

    Raises:
        ValueError: if a `_target_` names anything else, since building it could run any code.
    """
    for key, value in flatten(settings).items():
        leaf = key.rsplit(".", 1)[-1]
        if leaf == "_target_":
            module, _, name = str(value).rpartition(".")
            of_zoo = re.fullmatch(r"zoo\.(data|metrics)\.\w+", module)
            target = getattr(importlib.import_module(module), name, None) if of_zoo else None
            if not isinstance(target, type) or target.__module__ != module:
                raise ValueError(
                    f"{key}={value} is no class of this project: the file is refused, it could run any code"
                )
        elif re.fullmatch(r"_\w+_", leaf):
            raise ValueError(f"{key}={value}: the file is refused, such settings could run any code")
    return settings


def check(config: Mapping[str, Any], defaults: Mapping[str, Any], added: Collection[str] = ()) -> dict[str, int]:
    """Hold settings against their defaults and the constructors that they go to; see `checked`.

    Args:
        config: the settings.
        defaults: what they must agree with in names and types.
        added: keys that were added on purpose (`+trainer.limit_train_batches=5`).

    Returns:
        Settings that are whole numbers written as floats (`max_images=3e5`), as integers.
    """
    names, settings, integers = flatten(defaults), flatten(config), {}
    for key, value in settings.items():
        if key not in names and any(f"{key}.".startswith(f"{name}.") for name in added):
            continue
        if key not in names and isinstance(value, Mapping) and any(name.startswith(f"{key}.") for name in added):
            continue  # +callbacks.mine.every=3 makes callbacks.mine; its keys are held one by one
        if key not in names:
            raise ValueError(f"there is no setting {key!r}; {meant(key, value) or nearest(key, names)}")
        default = names[key]
        if isinstance(value, Mapping) and isinstance(default, Mapping):  # their keys are held one by one
            continue
        if value == default and type(value) is type(default):  # null, say, where the constructor has the remedy
            continue
        parent, _, leaf = key.rpartition(".")
        hint = _annotations(settings.get(f"{parent}._target_")).get(leaf, Any)
        options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if Any in options:
            options = (Any if default is None else type(default),)
        if isinstance(value, float) and value.is_integer() and int in options and float not in options:
            integers[key] = int(value)
        elif isinstance(default, Mapping) and value is not None:  # model.lr=1e-4, model.augment=ada
            inner = [f"{leaf}={value}"] if leaf in TABLES else [f"{key}.{name}=" for name in default]
            raise ValueError(f"{key}={value}: expected settings; did you mean {' '.join(inner)}?")
        elif not any(_admits(option, value) for option in options):
            expected = " or ".join(dict.fromkeys(_in_words(option) for option in options))
            example = "" if default is None or isinstance(default, Mapping) else f", such as {key}={default}"
            raise ValueError(f"{key}={value}: expected {expected}{example}")
    return integers


@cache
def _annotations(target: str | None) -> dict[str, Any]:
    """The annotations of a constructor's arguments, those of `**settings: Unpack[SomeTypedDict]` among them."""
    try:
        annotations = get_type_hints(get_class(target).__init__) if target else {}  # type: ignore[misc]
    except NameError:  # a library's, which name what is imported for type checkers alone
        return {}
    for hint in list(annotations.values()):
        if get_origin(hint) is Unpack:
            annotations |= get_type_hints(*get_args(hint))
    return annotations


def _admits(option: Any, value: Any) -> bool:
    """Whether an annotation that is no union admits a value; what lists hold is left to the constructor."""
    if get_origin(option) is Literal:
        return value in get_args(option)
    kind = get_origin(option) or option
    types = KINDS.get(kind, (kind, ""))[0]
    return option is Any or (isinstance(value, types) and (kind is bool or not isinstance(value, bool)))


def _in_words(option: Any) -> str:
    if get_origin(option) is Literal:
        return " or ".join(map(str, get_args(option)))
    return KINDS.get(get_origin(option) or option, (None, "settings"))[1]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"width": 32}} as {"model": {...}, "model.width": 32}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat[f"{prefix}{key}"] = value
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
    return flat


def nearest(name: str, names: Collection[str]) -> str:
    """The sentence that names the closest valid name, or the valid ones where none is close."""
    leaf = name.rsplit(".", 1)[-1]
    capitals = [n for n in names if n.lower() == name.lower()]
    elsewhere = [n for n in names if n.rsplit(".", 1)[-1] == leaf]  # the right word without its group: width
    close = capitals or elsewhere or difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    if not close:  # a typo without its group: latentdim
        leaves = {n.rsplit(".", 1)[-1]: n for n in names}
        close = [leaves[match] for match in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.6)]
    return f"did you mean {close[0]}?" if close else f"the names are {', '.join(n for n in names if '.' not in n)}"
