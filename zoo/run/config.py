"""What stands between a mistyped command line and a wasted night: names and types, checked before anything is built.

The composed defaults and the constructors are the specification. Every key that a user may set is in the YAML with its
default, so a key that is in none is a typo; and what may be its value, the annotation of the constructor's argument
says, or where it has none, the default.
"""

import difflib
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Annotated, Any, Literal, TypedDict, Unpack, get_args, get_origin, get_type_hints

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from zoo.ranges import Count, Natural, Within, fitted, refuse_immeasurable
from zoo.run import CONF
from zoo.run.fits import check_rows, class_named
from zoo.run.words import meant
from zoo.text import printable, shortened, trains

# Groups whose choices are rows of a table, conf/GROUP.yaml, rather than files of a folder; and where a row's keys go.
PARTS = {
    "model.regularizer": "zoo.game.regularizers.Regularizer",
    "model.augment": "zoo.game.augment.Augment",
    "model.burn_in": "zoo.game.schedule.BurnIn",
}
TABLES = {"loss": "model", "regularizer": "model.regularizer", "augment": "model.augment", "experiment": "_global_"}
MAX_IMAGES = "time is counted in images: max_images="
EVALUATION = "callbacks evaluate: callbacks.evaluate.every=, in images, and metrics.num_fake="
DATA = "the data have an order of their own: a run is made short by max_images="
CLIPPING = "each player's gradient is clipped in its own turn; model.clip_norm=1"
REFUSED = {  # Lightning's own settings that games can't use, or that would not act: why not, and what serves instead
    "trainer.accumulate_grad_batches": (
        "a turn sees its whole batch, since the other player moves before the next; raise data.batch_size, shared "
        "among more processes (trainer.devices=) if it does not fit one"
    ),
    "trainer.strategy": (
        "Lightning's strategies wrap all players into one; use trainer=ddp or trainer=ddp_cpu. Sharding (fsdp, "
        "deepspeed) is not supported: lower model.width or data.image_size if a network does not fit one GPU"
    ),
    **dict.fromkeys(("trainer.gradient_clip_val", "trainer.gradient_clip_algorithm"), CLIPPING),
    **dict.fromkeys(("trainer.max_epochs", "trainer.max_steps", "trainer.min_epochs", "trainer.min_steps"), MAX_IMAGES),
    "trainer.max_time": "max_time=HH:MM:SS saves and leaves",
    "trainer.fast_dev_run": "a short run, max_images=64 metrics=none, tries everything",
    **dict.fromkeys(("trainer.limit_train_batches", "trainer.overfit_batches"), DATA),
    **dict.fromkeys(("trainer.use_distributed_sampler", "trainer.reload_dataloaders_every_n_epochs"), DATA),
    **dict.fromkeys([f"trainer.limit_{split}_batches" for split in ("val", "test", "predict")], EVALUATION),
    **dict.fromkeys(("trainer.val_check_interval", "trainer.check_val_every_n_epoch"), EVALUATION),
    **dict.fromkeys(("trainer.num_sanity_val_steps", "trainer.inference_mode"), EVALUATION),
    "trainer.log_every_n_steps": "the log is written by images: log_every=",
    "trainer.enable_checkpointing": "a run keeps its state: callbacks.checkpoints.every=, in images",
    "trainer.enable_progress_bar": "the bar is a callback: ~callbacks.progress takes it away",
    "trainer.default_root_dir": "the folder of a run is hydra.run.dir=",
    "trainer.callbacks": "this project gives the trainer its callbacks; +callbacks.NAME={_target_: ...} adds one",
    "trainer.logger": "this project gives the trainer its loggers; logger=csv, wandb, tensorboard or none",
    **dict.fromkeys(
        [f"trainer.{n}" for n in ("barebones", "plugins", "enable_autolog_hparams", "model_registry")],
        ("it would take away what a run needs"),
    ),
}
PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16")  # as Lightning spells them


class Devices(TypedDict, total=False):
    """What lightning.Trainer's arguments may be; Lightning itself says it only by a traceback."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    devices: Count | list[Natural] | Literal["auto", -1]
    num_nodes: Count
    sync_batchnorm: bool
    enable_model_summary: bool


class Run(TypedDict):
    """What the settings of train.yaml may be that belong to no group."""

    max_images: Count
    max_time: str | None
    scale: Literal["small", "medium", "paper"]
    seed: Annotated[int, Within(lambda seed: 0 <= seed < 2**32, "must not be negative, and less than 2**32")]
    log_every: Count
    resume: str | None
    start: str | None
    compile: bool | Literal["default", "reduce-overhead"]
    cuda_graph: bool
    divergence_retries: Annotated[int, Within(lambda n: 0 <= n <= 100, "must be from 0 to 100")]
    run_dir: str
    cache_dir: str


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


@cache
def register_tables() -> None:
    """Let Hydra know the choices of TABLES, and what conf/ looks up: called in this process before it composes."""
    resolvers: dict[str, Callable[..., Any]] = {
        **{"of_hydra": _of_hydra, "choice": _choice, "by_scale": by_scale, "trains": trains}
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
    for group, package in TABLES.items():
        for name, row in table(group).items():
            ConfigStore.instance().store(name, row, group, package, provider=f"conf/{group}.yaml")


def by_scale(small: Any, medium: Any, paper: Any, *, _root_: DictConfig) -> Any:
    """What `${by_scale:64,256,512}` is worth: 64, 256 or 512 where `scale` is small, medium or paper.

    One of them may depend on the shorter side of the images, by a table of pixels: of `{16:512,64:1024}` 512 is for
    images below 64 pixels, 1024 for those from 64 on.
    """
    values = {"small": small, "medium": medium, "paper": paper}
    value = values.get(_root_.scale, small)  # another name is refused with all that is wrong: see `checked`
    if not isinstance(value, Mapping):
        return value
    side = _root_.data.image_size
    side = min(side) if isinstance(side, Sequence) and not isinstance(side, str) and side else side
    fitting = [pixels for pixels in value if isinstance(side, int) and pixels <= side]
    return value[max(fitting, default=min(value))]


@contextmanager
def _aside() -> Iterator[None]:
    """Put aside the job of Hydra's that is under way, if one is: a run may need settings of another (`start=FILE`)."""
    under_way = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().hydra = HydraConfig.instance().cfg = None
    try:
        yield
    finally:  # by other instances: Hydra makes new ones
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = under_way


def compose(*overrides: str) -> DictConfig:
    """What train.py composes of these overrides, but for what Hydra knows of a job alone, as the folder of the run."""
    register_tables()
    with _aside(), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", list(overrides))


def groups() -> list[str]:
    """The names of all groups."""
    return sorted([*TABLES, *(path.name for path in CONF.iterdir() if path.is_dir())])


def choices(group: str) -> dict[str, str]:
    """A group's choices, each with the first line of the comment above its row or in its file, to a sentence's end."""
    if group in TABLES:
        rows = re.findall(r"^((?:# .+\n)+)(\w+):", (CONF / f"{group}.yaml").read_text(), re.MULTILINE)
        return {name: _headline(comment) for comment, name in sorted(rows, key=lambda row: row[1])}
    texts = {path.stem: path.read_text() for path in sorted((CONF / group).glob("*.yaml"))}
    comment = re.compile(r"^(?:# (?!@package).+\n)+", re.MULTILINE)
    return {name: _headline(comment.findall(text)[0]) for name, text in texts.items()}


def _headline(comment: str) -> str:
    first, *more = re.sub("^# ", "", comment, flags=re.MULTILINE).splitlines()
    if first.endswith(".") or not more:
        return first
    whole = " ".join([first, *more])
    end = re.search(r"\.(?= |$)", whole[len(first) :])
    return whole[: len(first) + end.end()] if end else whole


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as dicts, lists, numbers and strings, every interpolation resolved."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def checked(config: DictConfig) -> DictConfig:
    """A run's configuration, held against the defaults of the groups that it chose.

    Raises:
        ValueError: for data that do not fit the model; for a setting that the defaults do not have, with the nearest
            valid name; and for a value of another type than the default, with what was expected.
    """
    if isinstance(config.scale, int):
        raise ValueError(
            f"scale={config.scale} must be one of small, medium, paper: the widths of the networks; the magnification "
            f"of super-resolution is data.scale={config.scale}"
        )
    for group in ("callbacks", "logger", "trainer", "data", "model"):
        if group in config and not isinstance(config[group], DictConfig):
            raise ValueError(f"{group}={config[group]}: expected settings; +callbacks.NAME._target_= adds a callback")
    check_rows(config)
    for key, remedy in REFUSED.items():
        value = OmegaConf.select(config, key)
        ours = value is None or isinstance(value, DictConfig) or (key == "trainer.strategy" and value == "auto")
        if not ours:
            raise ValueError(f"{key}={value} does not fit players that take turns: {remedy}")
    if str(config.trainer.precision) not in PRECISIONS:
        raise ValueError(
            f"trainer.precision={config.trainer.precision} does not fit players that take turns, whose weights are of "
            "32 bits and whose losses are not scaled: give 32-true or bf16-mixed"
        )
    for name in ("image_size", "channels", "channels_x", "channels_y", "patch_size", "scale"):
        of_model, of_data = (OmegaConf.select(config, f"{group}.{name}") for group in ("model", "data"))
        if None not in (of_model, of_data) and str(of_model) != str(of_data):  # NaN is not NaN, and is refused below
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
            f"-m can't start several processes for each run of a sweep: call {trains()} once for each run (a loop in "
            "the shell), or give hydra/launcher=slurm"
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
    _refuse_without_effect(config)
    return config


def check_composed(config: DictConfig, overrides: Collection[str]) -> None:
    """Hold what `compose` made of these overrides, without a job of Hydra's, to what a run's settings are held to.

    Raises:
        ValueError: as `checked`.
    """
    names = {word: word.lstrip("+~").partition("=")[0] for word in overrides}
    defaults = plain(compose(*(word for word, name in names.items() if name in groups())))
    added = [name for word, name in names.items() if word.startswith("+") and "." in name]
    for key, value in check(plain(config), defaults, added).items():
        OmegaConf.update(config, key, value)
    _refuse_without_effect(config)


def processes_of(config: DictConfig) -> int:
    """How many processes a run has, of those that it names by their number."""
    return max(_on_a_node(config.trainer.devices), 1) * (config.trainer.get("num_nodes") or 1)


def _on_a_node(devices: Any) -> int:
    if isinstance(devices, int):
        return devices
    return len(devices) if isinstance(devices, Sequence) and not isinstance(devices, str) else 1


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


def _refuse_without_effect(config: DictConfig) -> None:
    """Raise a ValueError for settings that are well on their own, and have no effect beside others."""
    devices, images = config.trainer.devices, config.data.batch_size
    processes = _on_a_node(devices)
    if processes > 1:
        if config.trainer.get("strategy") is None:
            raise ValueError(f"trainer.devices={devices} are several processes: use trainer=ddp, or trainer=ddp_cpu")
        if processes > images:
            raise ValueError(f"trainer.devices={devices}: data.batch_size={images} has no image for each of them")
    model, budget = config.model, config.max_images
    if config.compile and config.cuda_graph:
        raise ValueError(f"compile={config.compile} and cuda_graph=true are two ways to the same end: give one of them")
    if model.get("freeze_d") and not config.start:
        raise ValueError(
            f"model.freeze_d={model.freeze_d} would hold layers that have learnt nothing: say with whose weights the "
            "run begins, start=NAME"
        )
    if model.get("decay_end") is not None and model.decay_end != budget:
        if model.get("decay_start") is None:
            raise ValueError(f"model.decay_end={model.decay_end} has no effect without model.decay_start=")
        if model.decay_end < budget:
            raise ValueError(
                f"model.decay_end={model.decay_end} lies before max_images={budget}: from there on nothing would learn"
            )
    if model.n_critic > 1 and model.n_critic * images > budget:
        raise ValueError(
            f"model.n_critic={model.n_critic} leaves no turn for G in max_images={budget}: it comes after "
            f"{model.n_critic} turns of D, of {images} images each"
        )


def changes(before: Mapping[str, Any], now: Mapping[str, Any], typed: Collection[str] | None = None) -> list[str]:
    """Which settings that act differ, in words, those that follow from others too: "model.width 32 -> 64".

    Of the run's, the model's and the data's those are left out that there were not yet before, unless they are `typed`.

    Where a run lies and who is told of it does not act on it, and `ranges` are no setting: they were found in its data.
    What is repeated (`seed` as `data.seed`) is said once.
    """
    return [f"{names} {old} -> {new}" for names, old, new in differences(before, now, typed)]


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], typed: Collection[str] | None = None
) -> list[tuple[str, str, str]]:
    """As `changes`: the names of settings, what they were and what they are."""
    old, new = _acting(before), _acting(now)
    follows = lambda key: all(key in s and s.get(key.rpartition(".")[2]) == s[key] for s in (old, new))
    differing = [key for key in dict.fromkeys([*new, *old]) if old.get(key) != new.get(key)]
    came = lambda key: key not in old and re.fullmatch(r"((model|data)\.)?\w+", key) and key not in (typed or ())
    keys = [key for key in differing if ("." not in key or not follows(key)) and not (typed is not None and came(key))]
    built = [key.removesuffix("_target_") for key in keys if key.endswith("_target_")]  # as another class, by prefix
    told: dict[tuple[str, str, str], list[str]] = {}  # what has changed, and which settings in that way
    for key in keys:
        if key.endswith("_target_") or not any(key.startswith(p) and (key in old) != (key in new) for p in built):
            change = (key.rpartition(".")[2], _said(key, old), _said(key, new))
            told.setdefault(change, []).append(key.removesuffix("._target_"))
    return [(printable(", ".join(names)), was, now_) for (_, was, now_), names in told.items()]


def typed() -> set[str]:
    """The names on the command line; none where there is no job of Hydra's."""
    return {override.lstrip("+~").partition("=")[0] for override in _of_hydra("overrides.task", [])}


def typed_again(*settings: str) -> str:
    """The command line of these settings, as it works here: with the folder of configuration that was named."""
    sources = _of_hydra("runtime.config_sources", [])
    folders = [os.path.relpath(source.path) for source in sources if source.provider == "command-line"]
    return f"{trains()} {shlex.join([*(f'--config-dir={folder}' for folder in folders), *settings])}".rstrip()


def interval(every: int | None, max_images: int) -> int:
    """Images between two times that something is done; None is a tenth of `max_images`, the budget."""
    return every or max(max_images // 10, 1)


def _acting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What acts on a run, by its whole name."""
    flat = flatten(settings)
    for key, budget in list(flat.items()):
        every = f"{key.removesuffix('max_images')}every"
        if key.startswith("callbacks.") and key.endswith(".max_images") and flat.get(every, 0) is None:
            flat[every] = interval(None, budget) if isinstance(budget, int) else None
    passive = r"resume|start|ranges|(.*\.)?(run_dir|cache_dir|folder|default_root_dir|overrides|max_time)|logger(\..*)?"
    ignored = re.compile(rf"{passive}|callbacks\.evaluate\.evaluation(\..*)?")  # metrics, once more
    return {k: v for k, v in flat.items() if not isinstance(v, Mapping) and not ignored.fullmatch(k)}


def _said(key: str, settings: Mapping[str, Any]) -> str:
    """A setting's value, a class by its name."""
    value = settings.get(key)
    text = "none" if value is None else str(value).rpartition(".")[2] if key.endswith("_target_") else str(value)
    return shortened(printable(text), length=300)


def check(config: Mapping[str, Any], defaults: Mapping[str, Any], added: Collection[str] = ()) -> dict[str, Any]:
    """Hold settings against their defaults and the constructors that they go to; see `checked`.

    Args:
        config: the settings.
        defaults: what they must agree with in names and types.
        added: keys that were added on purpose (`+trainer.detect_anomaly=true`).

    Returns:
        Settings that are whole numbers written as floats (`max_images=3e5`), as integers.
    """
    names, settings, integers = flatten(defaults), flatten(config), {}
    for key, value in sorted(settings.items(), key=lambda item: item[0].count(".")):  # each before what refers to it
        refuse_immeasurable(key, value)
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
        if isinstance(default, Mapping) and value is not None:  # model.lr=1e-4, model.augment=ada
            leaf = key.rpartition(".")[2]
            inner = [f"{leaf}={value}"] if leaf in TABLES else [f"{key}.{name}=" for name in default]
            raise ValueError(f"{key}={value}: expected settings; did you mean {' '.join(inner)}?")
        hint = _annotation(key, settings)
        if hint is Any and default is not None:
            hint = type(default)
        example = "" if default is None or isinstance(default, Mapping) else f", such as {key}={default}"
        fit = fitted(key, value, hint, example=example)
        if fit != value or type(fit) is not type(value):
            integers[key] = fit
    return integers


def _annotation(key: str, settings: Mapping[str, Any]) -> Any:
    """What may be the value of a setting: the annotation of its constructor's argument; Any where there is none."""
    parent, _, leaf = key.rpartition(".")
    if not parent:
        return get_type_hints(Run, include_extras=True).get(leaf, Any)
    if target := settings.get(f"{parent}._target_") or PARTS.get(parent):
        return _annotations(target, of=parent).get(leaf, Any)
    outer = _annotation(parent, settings)
    while get_origin(outer) is Annotated:
        outer = outer.__origin__
    return get_args(outer)[1] if get_origin(outer) in (dict, Mapping) else Any


def _annotations(target: Any, *, of: str) -> dict[str, Any]:
    """The annotations of a constructor's arguments, those of `**settings: Unpack[SomeTypedDict]` among them."""
    if target == "lightning.Trainer":
        return get_type_hints(Devices, include_extras=True)
    made: Any = class_named(target, of=of)
    try:
        annotations = get_type_hints(made.__init__ if isinstance(made, type) else made, include_extras=True)  # type: ignore[misc]
    except (NameError, TypeError):  # a library's, which name what is imported for type checkers alone, or none
        return {}
    for hint in list(annotations.values()):
        if get_origin(hint) is Unpack:
            annotations |= get_type_hints(get_args(hint)[0], include_extras=True)
    return annotations


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
    if name in REFUSED:
        return REFUSED[name]
    leaf = name.rsplit(".", 1)[-1]
    capitals = [n for n in names if n.lower() == name.lower()]
    elsewhere = [n for n in names if n.rsplit(".", 1)[-1] == leaf]  # the right word without its group: width
    close = capitals or elsewhere or difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    if not close:  # a typo without its group: latentdim
        leaves = {n.rsplit(".", 1)[-1]: n for n in names}
        close = [leaves[match] for match in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.6)]
    return f"did you mean {close[0]}?" if close else f"the names are {', '.join(n for n in names if '.' not in n)}"
