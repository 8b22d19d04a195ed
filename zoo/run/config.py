"""What stands between a mistyped command line and a wasted night: names and types, checked before anything is built.

The composed defaults and the constructors are the specification. Every key that a user may set is in the YAML with its
default, so a key that is in none is a typo; and what may be its value, the annotation of the constructor's argument
says, or where it has none, the default.
"""

import difflib
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


@cache
def register_tables() -> None:
    """Let Hydra know the choices of TABLES, in this process: call it before anything is composed."""
    for group, package in TABLES.items():
        for name, row in table(group).items():
            ConfigStore.instance().store(name, row, group, package, provider=f"conf/{group}.yaml")


def compose(*overrides: str) -> DictConfig:
    """What train.py composes of these overrides, but for the folder of the run: its `run_dir` has to be given."""
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
        ValueError: for a setting that the defaults do not have, with the nearest valid name; and for a value of
            another type than the default, with what was expected.
    """
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
    for group in ("regularizer", "augment"):
        if defaults["model"][group] is None and chosen[group] not in (None, "none"):
            raise ValueError(f"{group}={chosen[group]} does not fit model={chosen['model']}, which takes none")
    for key, value in check(plain(config), defaults, added).items():
        OmegaConf.update(config, key, value)
    return config


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which settings of model, data and seed differ, in words: "model.width 32 -> 64"."""
    old, new = ({k: v for k, v in flatten(s).items() if not isinstance(v, Mapping)} for s in (before, now))
    held = [key for key in new if key.startswith(("model.", "data.", "seed"))]
    return [f"{key} {old.get(key)} -> {new[key]}" for key in held if old.get(key) != new[key]]


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
        if any(f"{key}.".startswith(f"{name}.") for name in added):
            continue
        if key not in names:
            raise ValueError(f"there is no setting {key!r}; {nearest(key, names)}")
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
    elsewhere = [n for n in names if n.rsplit(".", 1)[-1] == leaf]  # the right word without its group: width
    close = elsewhere or difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    if not close:  # a typo without its group: latentdim
        leaves = {n.rsplit(".", 1)[-1]: n for n in names}
        close = [leaves[match] for match in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.6)]
    return f"did you mean {close[0]}?" if close else f"the names are {', '.join(n for n in names if '.' not in n)}"
