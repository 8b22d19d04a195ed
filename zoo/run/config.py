"""What stands between a mistyped command line and a wasted night: names and types, checked before anything is built.

The composed defaults and the constructors are the specification. Every key that a user may set is in the YAML with its
default, so a key that is in none is a typo; and what may be its value, the annotation of the constructor's argument
says, or where it has none, the default.
"""

import difflib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, Unpack, get_args, get_origin, get_type_hints

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

CONF = Path(__file__).parents[2] / "conf"
# Groups whose choices are rows of a table, conf/GROUP.yaml, rather than files of a folder; and where a row's keys go.
TABLES = {
    "loss": "model",
    "regularizer": "model.regularizer",
    "augment": "model.augment",
    "experiment": "_global_",
}
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


class Mistake(ValueError):
    """A setting that can't be meant. The message names it and the remedy."""


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
            raise Mistake(f"{key}={value} does not fit players that take turns: {remedy}")
    for name in ("image_size", "channels", "channels_x", "channels_y"):
        of_model, of_data = (OmegaConf.select(config, f"{group}.{name}") for group in ("model", "data"))
        if None not in (of_model, of_data) and of_model != of_data:
            raise Mistake(
                f"model.{name}={of_model} is not data.{name}={of_data}: set data.{name}, which the model follows"
            )
    if config.divergence_retries and config.trainer.get("num_nodes"):
        raise Mistake(
            "divergence_retries works on one process, since several can't be started twice; without it a run that "
            "diverges ends, and resume=RUN model.lr.D=... model.lr.G=... goes on with lower rates"
        )
    run = HydraConfig.get()
    if run.mode is RunMode.MULTIRUN and config.trainer.get("num_nodes") and "SLURM_PROCID" not in os.environ:
        raise Mistake(
            "-m can't start several processes for each run of a sweep: call train.py once for each run (a loop in the "
            "shell), or give hydra/launcher=slurm"
        )
    added = [override.lstrip("+").split("=")[0] for override in run.overrides.task if override.startswith("+")]
    chosen = run.runtime.choices
    overrides = [f"{g}={c}" for g, c in chosen.items() if c and not g.startswith(("hydra/", "experiment"))]
    defaults = plain(hydra.compose(run.job.config_name, overrides=overrides))
    for group in ("regularizer", "augment"):
        if defaults["model"][group] is None and chosen[group] not in (None, "none"):
            raise Mistake(f"{group}={chosen[group]} does not fit model={chosen['model']}, which takes none")
    for key, value in check(plain(config), defaults, added).items():
        OmegaConf.update(config, key, value)
    return config


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which settings of model, data and seed differ, in words: "model.width 32 -> 64"."""
    old, new = ({k: v for k, v in flatten(s).items() if not isinstance(v, Mapping)} for s in (before, now))
    held = [key for key in new if key.startswith(("model.", "data.", "seed"))]
    return [f"{key} {old.get(key)} -> {new[key]}" for key in held if old.get(key) != new[key]]


@contextmanager
def alone_in(folder: str) -> Iterator[None]:
    """Hold a run's folder while this process trains in it; the other ranks follow the first.

    Raises:
        ValueError: if another process holds it.
    """
    if fcntl is None or not first_process():
        yield
        return
    with Path(folder, ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Mistake(f"another process is training in {folder}: give hydra.run.dir=, or wait for it") from None
        yield


def trusted(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings that came in a file: all that they can build are this project's classes.

    Raises:
        ValueError: if a `_target_` names anything else, since building it could run any code.
    """
    for key, value in flatten(settings).items():
        leaf = key.rsplit(".", 1)[-1]
        if leaf == "_target_":
            module, _, name = str(value).rpartition(".")
            if not re.fullmatch(r"zoo\.(data|metrics)\.\w+", module) or not _defined(module, name):
                raise ValueError(
                    f"{key}={value} is no class of this project: the file is refused, it could run any code"
                )
        elif re.fullmatch(r"_\w+_", leaf):
            raise ValueError(f"{key}={value}: the file is refused, such settings could run any code")
    return settings


def _defined(module: str, name: str) -> bool:
    """Whether a module of this project defines a class of that name."""
    value = getattr(importlib.import_module(module), name, None)
    return isinstance(value, type) and value.__module__ == module


def command_line(arguments: list[str]) -> list[str]:
    """What Hydra shall parse: `resume=` turned into that run's settings and folder, and one folder for all ranks.

    `resume=RUN` repeats the settings of RUN (its .hydra/overrides.yaml), with those given beside it in their place.
    `resume=auto` is the newest run with the same settings, or a new run if there is none.

    Raises:
        ValueError: if RUN is no run's folder.
    """
    arguments = [quoted(argument) for argument in arguments]
    if int(os.environ.get("LOCAL_RANK", 0)) > 0 and "hydra.output_subdir=null" in arguments:  # started by Lightning
        return arguments
    arguments = _resumed(arguments)
    # torchrun and srun start every rank with the same line, and a user every machine: the first rank has the folder.
    if not first_process():
        folder = [] if _value("hydra.run.dir", arguments) else ["hydra.run.dir=."]
        arguments = [*arguments, *folder, "hydra.output_subdir=null"]
    return arguments


def first_process() -> bool:
    """Whether this is the first of the processes that train together, on the first machine."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"))


def _value(key: str, arguments: list[str]) -> str | None:
    """What the command line gives for a setting, the last of several; None if nothing."""
    return next((a.partition("=")[2].strip("'") for a in reversed(arguments) if a.startswith(f"{key}=")), None)


def _resumed(arguments: list[str]) -> list[str]:
    wanted, folder = _value("resume", arguments), _value("hydra.run.dir", arguments)
    if wanted is None:
        return arguments
    others = [argument for argument in arguments if not argument.startswith(("resume=", "hydra.run.dir="))]
    if wanted == "auto":
        run = _newest_run(others) if folder is None else Path(folder)
        if run is None or not list(run.glob("checkpoints/*.ckpt")):
            print("resume=auto: no earlier run of these settings, so a new one begins", flush=True)
            return [argument for argument in arguments if not argument.startswith("resume=")]
        wanted = str(run)
    start = Path(wanted).expanduser()
    run = start.parent.parent if start.suffix == ".ckpt" else start
    if folder is not None and Path(folder).resolve() != run.resolve():
        raise ValueError(f"resume={run} goes on in that folder: leave out hydra.run.dir={folder}")
    settings = run / ".hydra" / "overrides.yaml"
    if not settings.is_file():
        raise ValueError(f"resume={run} is no run's folder: it has no {settings.relative_to(run)}")
    changed = {argument.lstrip("+~").split("=")[0] for argument in others}
    kept = [str(o) for o in OmegaConf.load(settings) if str(o).lstrip("+~").split("=")[0] not in {*changed, "resume"}]
    code = [override for override in kept if re.search(r"_target_|_partial_|_args_", override)]
    if code:
        raise ValueError(f"{settings} names code to run, {code[0]}: if you trust it, give it on the command line too")
    return [*kept, *others, f"resume='{start}'", f"hydra.run.dir='{run}'"]


def quoted(argument: str) -> str:
    """An argument as Hydra's grammar takes it: `data.root=~/my cats (new)` is `data.root='/home/me/my cats (new)'`.

    Only values that look like paths are touched, since commas, brackets and equal signs mean something elsewhere.
    """
    name, equals, value = argument.partition("=")
    if name.startswith("-") or not value.startswith(("~", "/", "./", "../")):
        return argument
    path = os.path.expanduser(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}{equals}'{path}'" if re.search(r"[^\w/.-]", path) else f"{name}{equals}{path}"


def _newest_run(settings: list[str]) -> Path | None:
    runs = []
    for file in [*Path("outputs").glob("*/*/.hydra/overrides.yaml"), *Path("outputs").glob("sweep/*/*/.hydra/o*.yaml")]:
        overrides = [str(o) for o in OmegaConf.load(file) if not str(o).startswith("resume=")]
        checkpoints = list(file.parent.parent.glob("checkpoints/*.ckpt"))
        if checkpoints and sorted(overrides) == sorted(settings):
            runs.append((max(path.stat().st_mtime for path in checkpoints), file.parent.parent))
    return max(runs)[1] if runs else None


def check(config: Mapping[str, Any], defaults: Mapping[str, Any], added: Collection[str] = ()) -> dict[str, int]:
    """Hold settings against their defaults and the constructors that they go to; see `checked`.

    Args:
        config: the settings.
        defaults: what they must agree with in names and types.
        added: keys that were added on purpose (`+trainer.limit_train_batches=5`).

    Returns:
        Settings that are whole numbers written as floats (`max_images=3e5`), as integers.
    """
    names, integers = flatten(defaults), {}
    settings = {
        key: value
        for key, value in flatten(config).items()
        if not any(key == name or key.startswith(f"{name}.") for name in added)
    }
    for key in settings:
        if key not in names:
            raise ValueError(f"there is no setting {key!r}; {nearest(key, names)}")
    for key, value in settings.items():
        default = names[key]
        if isinstance(value, Mapping) and isinstance(default, Mapping):  # their keys are held one by one
            continue
        if value == default and type(value) is type(default):  # null, say, where the constructor has the remedy
            continue
        parent, _, leaf = key.rpartition(".")
        options = _options(_annotations(settings.get(f"{parent}._target_")).get(leaf, Any))
        if Any in options:
            options = (Any if default is None else type(default),)
        if isinstance(value, float) and value.is_integer() and int in options and float not in options:
            integers[key] = int(value)
        elif not any(_admits(option, value) for option in options):
            expected = " or ".join(dict.fromkeys(word for option in options for word in _words(option)))
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


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _admits(option: Any, value: Any) -> bool:
    """Whether an annotation that is no union admits a value; what lists hold is left to the constructor."""
    if get_origin(option) is Literal:
        return value in get_args(option)
    if option is Any or value is None or isinstance(value, bool):
        return option is Any or option is type(value)
    accepted = {str: str | int | float, float: int | float, Sequence: list, Mapping: dict}
    kind = get_origin(option) or option
    return isinstance(value, accepted.get(kind, kind))


def _words(option: Any) -> list[str]:
    """What an annotation that is no union admits, in words."""
    if get_origin(option) is Literal:
        return [str(value) for value in get_args(option)]
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}
    lists = {list: "a list", Sequence: "a list"}
    return [(words | lists).get(get_origin(option) or option, "settings")]


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


@contextmanager
def readable_errors(command: str = "train.py") -> Iterator[None]:
    """Say in one sentence what is wrong with a command line, or with a file that it names, and leave with status 2.

    That goes for errors of Hydra's and for every ValueError that this project raises; others keep their traceback,
    and HYDRA_FULL_ERROR=1 keeps all.
    """
    wanted = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra ends the process before the error gets here
    try:
        yield
    except Exception as error:
        sentence = None if wanted == "1" else _sentence(error)
        if sentence is None:
            raise
        print(f"{command}: {sentence}", file=sys.stderr)
        sys.exit(2)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = wanted


def _sentence(error: BaseException) -> str | None:
    if isinstance(error, MissingConfigException):  # model=dcgann
        missing = re.search(r"Could not find '(\w+)/(.+)'", str(error))
        if missing:
            group, name = missing.groups()
            return f"there is no {group}={name}; {nearest(name, error.options or [])}"
    if isinstance(error, ConfigCompositionException):  # model.latentdim=3
        typo = re.match(r"Could not override '([^'@]+)", str(error))
        if typo:
            return _no_setting(typo[1])
    while isinstance(error, InstantiationException) and error.__cause__:  # raised by what Hydra built
        where = str(error).rsplit("full_key: ", 1)[-1]
        error = error.__cause__
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if isinstance(error, TypeError) and unknown:  # +model.widht=3, or a group that this model does not have
            return _no_setting(f"{where}.{unknown[1]}")
    if type(error).__name__ == "MisconfigurationException":  # Lightning's: no such device, say
        return f"{str(error).strip().splitlines()[0]} (trainer=cpu or trainer=auto always work)"
    if isinstance(error, PermissionError):
        return f"{error.filename}: permission denied"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return re.sub(r"\s+", " ", str(error) or str(error.__cause__))
    if "OutOfMemory" in type(error).__name__ or "can't allocate memory" in str(error):
        return f"out of memory: lower data.batch_size, data.image_size or model.width ({str(error).splitlines()[0]})"
    if isinstance(error, RuntimeError) and "Error(s) in loading state_dict" in str(error):
        first = str(error).splitlines()[1].strip()
        return f"the checkpoint is of another model than these settings make, {first} (resume=RUN alone keeps them)"
    if "InvalidCxxCompiler" in str(error):
        return "compile=true needs a C++ compiler, and there is none here: install one (g++), or go on without compile="
    if isinstance(error, ValueError | FloatingPointError) and (
        type(error).__module__.startswith("zoo.") or _raised_here(error)
    ):
        return str(error).strip().splitlines()[-1].removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")
    return None


def _raised_here(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(Path(__file__).parents[1])


def _no_setting(name: str) -> str:
    """The sentence about a setting that the groups which the command line chose do not have."""
    chosen = [a for a in sys.argv[1:] if a.split("=")[0] in groups() and "," not in a]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra.compose("train", chosen, return_hydra_config=True)
    model = composed.hydra.runtime.choices.model
    settings = flatten(OmegaConf.to_container(composed))  # type: ignore[arg-type]
    outer = name.rpartition(".")[0]
    if outer in settings and settings[outer] is None:
        return f"there is no setting {name!r}: {outer} is null with model={model}, which takes none"
    names = [key for key in settings if not key.startswith("hydra")]
    return f"there is no setting {name!r}; {nearest(name, [*names, *groups()])}"
