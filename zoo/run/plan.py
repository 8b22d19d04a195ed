"""What a run will take before it is begun: memory for each size of batch, hours, and settings that suit its images.

Memory is counted where it is asked for: every tensor that a step of the very game makes, with its losses, penalties,
augmentation and optimizers, until it is let go (`Live`). Two sizes of batch tell what is of the batch and what is not:
what the networks hold, and what each image adds. Counted are steps in which lazy penalties are due, at the beginning
and at the end of the budget, since a game may grow. What the library itself takes is not in it: a GPU's context, the
workspaces of its convolutions, and what its allocator keeps in pieces.

Time is that of steps on this machine, likewise at both ends: of no other.
"""

import itertools
import math
import re
import statistics
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import lightning as L
import torch
from hydra.errors import InstantiationException
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo.game import quirks
from zoo.machine import memory as of_machine
from zoo.run import CONF, config
from zoo.run.command import out_of_memory
from zoo.run.grammar import overrides
from zoo.run.training import build

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed"}  # which are planned for, by what they may be called too
MANY = 4  # images of a batch of which memory is counted, and of half of them
STEPS = 20  # which are timed, after WARM, at the beginning of the budget and at its end
WARM = 3
RESERVE = 0.1  # of the memory at hand, for what is not counted
QUIET: dict[str, Any] = dict.fromkeys(
    ["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False
)
SCALES = get_args(get_type_hints(config.Run)["scale"])  # of the networks, from narrow to wide
ADA_BELOW = 30_000  # images
GROWS = 1.25  # times what the first steps took, from where on those at the end are told apart


class Live(TorchDispatchMode):
    """Bytes of the tensors that are there, now and at most; what shares memory counts once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def count(self, tensor: Any) -> None:
        """Count a tensor until it is let go."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return out


@dataclass
class Memory:
    """Bytes of a run on one process."""

    parameters: int  # buffers and averages included
    gradients: int
    moments: int  # of the optimizers
    per_image: float  # what each image of a batch adds at the peak
    rest: float  # of the peak, whatever the batch

    def peak(self, batch: int) -> float:
        return self.parameters + self.gradients + self.moments + self.rest + self.per_image * batch

    def largest(self, memory: float) -> int:
        """The largest batch whose peak fits, 0 if none does."""
        return max(int((memory * (1 - RESERVE) - self.peak(0)) / self.per_image), 0)


class _Peaks(Callback):
    """The most that there is within a step in which every lazy penalty is due, once the optimizers have their moments:
    at the beginning of the budget, and at its end; and what there is as a turn goes back, which grows with the batch
    where the peak is yet of the weights."""

    def __init__(self, live: Live, end: int) -> None:
        self.live, self.end, self.peak, self.held = live, end, 0, 0

    def on_before_backward(self, trainer: L.Trainer, pl_module: Any, loss: Tensor) -> None:
        self.held = max(self.held, self.live.now)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pl_module.turns = dict.fromkeys(pl_module.turns, 0)
        if batch_idx == 2:
            pl_module.images = max(self.end - 2 * len(batch[0]), 0)
        self.live.peak = self.live.now

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx in (1, 3):
            self.peak = max(self.peak, self.live.peak)


class _Times(Callback):
    def __init__(self, before: int) -> None:
        self.before = before  # images that have been shown
        self.ends: list[float] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        pl_module.images = self.before

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        trainer.should_stop = len(self.ends) == WARM + STEPS


def composed(settings: list[str], **more: Any) -> DictConfig:
    """The configuration of a command, with nothing that is written or measured.

    Args:
        more: settings of the plan's own, say data__batch_size=2.

    Raises:
        ValueError: for resume=, and as train.py does for settings that make no sense.
    """
    words = [f"{name.replace('__', '.')}={value}" for name, value in more.items()]
    typed = overrides(settings)
    names = [word.lstrip("+~").partition("=")[0].partition(".")[0] for word in typed]
    if "resume" in names:
        raise ValueError("resume=RUN is not planned: give the settings that RUN was begun with")
    if not {"metrics", "logger"}.isdisjoint(names):
        config.compose(*typed)  # no wrong name is passed over
    kept = [word for word, name in zip(typed, names, strict=True) if name not in ("metrics", "logger")]
    cfg = config.compose(*kept, "logger=none", "metrics=none", *words)
    if not more:
        config.check_composed(cfg, [*kept, "logger=none", "metrics=none"])
    return cfg


def precision_of(cfg: DictConfig) -> str:
    """The precision of a run.

    Raises:
        ValueError: for one that players that take turns are not trained at.
    """
    name = str(cfg.trainer.precision)
    if name not in config.PRECISIONS:
        raise ValueError(f"trainer.precision={name}: give 32-true or bf16-mixed")
    return PRECISIONS.get(name, name)


def here(cfg: DictConfig) -> str:
    """The accelerator that steps are made on: the run's, or the CPU, where this machine has none."""
    has_one = torch.cuda.is_available() or torch.backends.mps.is_available()
    return str(cfg.trainer.accelerator) if has_one else "cpu"


def counted(settings: list[str], precision: Any, many: int = MANY, **more: Any) -> Memory:
    """The memory of a run at a precision, by batches of `many` images and of half of them.

    Args:
        more: settings of the plan's own, as of `composed`.

    Raises:
        ValueError: for settings that make no sense, as train.py's.
    """
    most, held, model = {}, {}, None
    few = many // 2
    for batch in (few, many):
        cfg = composed(settings, data__batch_size=batch, **more)
        L.seed_everything(cfg.seed, verbose=False)
        data, model = build(cfg)
        live = Live()
        peaks = _Peaks(live, cfg.max_images)
        trainer = L.Trainer(
            accelerator=here(cfg), devices=1, precision=precision, limit_train_batches=4, max_epochs=1,
            callbacks=[peaks], **QUIET,
        )  # fmt: skip
        with live:
            for tensor in [*model.parameters(), *model.buffers()]:
                live.count(tensor)
            trainer.fit(model, data)
        most[batch], held[batch] = peaks.peak, peaks.held
    assert model is not None
    size = lambda tensors: sum(tensor.nbytes for tensor in tensors)
    own = size([*model.parameters(), *model.buffers()])
    gradients = size(p.grad for p in model.parameters() if p.grad is not None)
    states = [value for o in model._players.values() for slots in o.state.values() for value in slots.values()]
    moments = size(value for value in states if torch.is_tensor(value))
    per_image = max((most[many] - most[few]) / (many - few), (held[many] - held[few]) / (many - few))
    return Memory(own, gradients, moments, per_image, most[many] - many * per_image - own - gradients - moments)


def seconds_a_step(settings: list[str], *, batch: int, before: int = 0) -> float:
    """The mean over STEPS steps on this machine, after `before` images: lazy penalties are due in some of them."""
    cfg = composed(settings, data__batch_size=batch)
    L.seed_everything(cfg.seed, verbose=False)
    data, model = build(cfg)
    times = _Times(before)
    trainer = L.Trainer(
        accelerator=here(cfg), devices=1, precision=cfg.trainer.precision, max_epochs=-1,
        callbacks=[times], **QUIET,
    )  # fmt: skip
    trainer.fit(model, data)
    ends = times.ends[WARM - 1 :]
    return statistics.fmean(b - a for a, b in itertools.pairwise(ends))


def advice(cfg: DictConfig, images: int) -> Iterator[tuple[str, str]]:
    """Settings that others have found to suit so many images of such a size, where they are not what is set: each with
    its reason and source."""
    model, size, batch = cfg.model, cfg.data.get("image_size"), cfg.data.batch_size
    height, width = (size, size) if isinstance(size, int) else tuple(size or (0, 0))
    gamma = 0.0002 * height * width / batch
    r1 = (model.get("regularizer") or {}).get("r1")
    if r1 and not model.get("burn_in") and not 0.5 < r1 / gamma < 2:
        yield (
            f"model.regularizer.r1={gamma:.2g}",
            f"for {height}x{width} pixels in batches of {batch}; more where D overfits. StyleGAN2-ADA's rule, 0.0002 * "
            "height * width / batch: Karras et al. 2020, arXiv:2006.06676, code",
        )
    augment = model.get("augment")
    if augment is not None and not any(augment.get(name) for name in ("scale", "flip", "color", "translation")):
        few = "diffaugment" if images < 1_000 else "ada"
        source = (
            "Zhao et al. 2020, arXiv:2006.10738" if few == "diffaugment" else "Karras et al. 2020, arXiv:2006.06676"
        )
        if images < ADA_BELOW:
            yield f"augment={few}", f"of {images:,} images D learns each by heart: {source}"
    half_life = batch * 10_000 / 32
    if model.get("ema_half_life") and not model.get("burn_in") and not 0.25 < model.ema_half_life / half_life < 4:
        yield (
            f"model.ema_half_life={half_life:,.0f}".replace(",", "_"),
            f"images, for batches of {batch}: StyleGAN2-ADA's rule, arXiv:2006.06676, code",
        )


def for_gpu(cfg: DictConfig, memory: float | None) -> bool:
    """Whether a plan is one for a GPU: by the trainer, else where there is one here or an amount of memory is named."""
    accelerator = str(cfg.trainer.accelerator)
    return here(cfg) != "cpu" or memory is not None if accelerator == "auto" else accelerator != "cpu"


def by_scale() -> set[str]:
    """The settings of models that go by the scale: a command that gives one has chosen its widths."""
    texts = "".join(path.read_text(encoding="utf-8") for path in (CONF / "model").glob("*.yaml"))
    return {f"model.{name}" for name in re.findall(r"^  (\w+): +\$\{by_scale:", texts, re.MULTILINE)}


def widths(
    settings: list[str], cfg: DictConfig, memory: float, images: int, *, now: Memory, gpu: bool
) -> Iterator[str]:
    """The scale that suits what trains: small on a CPU, else the widest at which its batch fits; nothing where that is
    set already, or where networks are given, by widths or by a start.

    Args:
        memory: bytes that a batch has to fit into.
        images: of the training set.
        now: what is counted of the settings.
        gpu: whether a GPU is planned for.
    """
    given = {word.lstrip("+~").partition("=")[0] for word in overrides(settings)}
    if "start" in given or given & by_scale():
        return
    for scale in reversed(SCALES if gpu else SCALES[:1]):
        if scale == cfg.scale and (not gpu or now.largest(memory) >= share(cfg)):
            return
        other = composed(settings, scale=scale)
        same = config.plain(other)["model"] == config.plain(cfg)["model"]
        if same or other.data.batch_size > images:
            continue
        yield f"\n  counting scale={scale} ..."
        try:
            it = counted(settings, precision_of(cfg), min(MANY, images), scale=scale)
        except (ValueError, InstantiationException):
            continue  # other settings do not go with it
        except Exception as error:
            if out_of_memory(error):
                continue  # of this machine
            raise
        if gpu and it.largest(memory) < share(other):
            continue
        then, size, peak = (f"{n / 2**20:,.1f}" for n in (now.parameters, it.parameters, it.peak(share(other))))
        yield (
            f"  worth a try: scale={scale}\n"
            f"    {f'the widest that fits {words(memory)}' if gpu else 'for a run on CPUs'}: networks of {size} MiB "
            f"instead of {then}, {peak} in all with batches of {other.data.batch_size}; conf/model/ has sources"
        )
        return


def share(cfg: DictConfig) -> int:
    """A process's images of a batch."""
    return int(-(-cfg.data.batch_size // config.processes_of(cfg)))


def plan(settings: list[str], memory: float | None, *, timed: bool = True) -> Iterator[str]:
    """What `zoo plan` says, line by line, as it becomes known.

    Args:
        settings: as train.py takes them.
        memory: bytes of the GPU that is planned for; None: this machine's.
        timed: whether steps are timed too.

    Raises:
        ValueError: as train.py does, for settings that make no sense.
    """
    quirks.quiet()
    quirks.plain_warnings()
    cfg = composed(settings)
    precision_of(cfg)
    gpu = for_gpu(cfg, memory)
    memory = at_hand() if memory is None else memory
    data: Any
    data, model = build(cfg)
    if cfg.cuda_graph:
        model.capture_steps()  # or it says why not
    data.prepare_data()
    data.setup("fit")
    images = len(data.split("train"))
    batch, processes = cfg.data.batch_size, config.processes_of(cfg)
    own = share(cfg)
    if images < 2:
        raise ValueError(f"a plan counts two sizes of batch, and there is {images} training image: give it two or more")
    each = f", {own} on each of {processes} processes" if processes > 1 else ""
    yield f"{type(model).__name__}, scale {cfg.scale}, {images:,} training images, batches of {batch}{each}"
    for player, networks in model.players().items():
        count = sum(p.numel() for network in networks for p in network.parameters() if p.requires_grad)
        yield f"  {player:12} {count / 1e6:>10.2f} M parameters"
    heads = ("networks", "gradients", "optimizers", "the batch", "in all")
    of_each = " of a process" if processes > 1 else ""
    yield f"\n  {'memory, MiB':14}{''.join(f'{head:>12}' for head in heads)}  largest batch{of_each} in {words(memory)}"
    memories = {}
    for precision in PRECISIONS.values():
        memories[precision] = it = counted(settings, precision, min(MANY, images))
        of_batch = it.rest + it.per_image * own
        parts = [it.parameters, it.gradients, it.moments, of_batch, it.peak(own)]
        cells = "".join(f"{part / 2**20:>12,.0f}" for part in parts)
        yield f"  {precision:14}{cells}  {it.largest(memory):,}"
    now = memories[precision_of(cfg)]
    if now.largest(memory) < own:
        yield f"  data.batch_size={batch}{each} does not fit into {words(memory)} at precision {precision_of(cfg)}"
    if timed:
        first = seconds_a_step(settings, batch=own)
        last = seconds_a_step(settings, batch=own, before=max(cfg.max_images - (WARM + STEPS) * batch, 0))
        grows = last > GROWS * first
        seconds = last if grows else (first + last) / 2
        hours = f"{'up to ' if grows else ''}{seconds * cfg.max_images / batch / 3600:,.1f} hours"
        at_first = f", {first * 1000:,.0f} ms at first" if grows else ""
        left_out = "evaluations and what processes send" if processes > 1 else "evaluations"
        steps = f"{STEPS} steps at the end" if grows else f"{STEPS} steps at the beginning and {STEPS} at the end"
        yield (
            f"\n  {seconds * 1000:,.0f} ms a step{at_first}, {batch / seconds:,.0f} images a second, the mean of "
            f"{steps} on this machine's {here(cfg)}: {hours} for max_images={cfg.max_images:_}, without {left_out}"
        )
    for setting, why in advice(cfg, images):
        yield f"\n  worth a try: {setting}\n    {why}"
    yield from widths(settings, cfg, memory, images, now=now, gpu=gpu)


def at_hand() -> float:
    """Bytes of this machine's GPU, or of its memory where it has none."""
    return float(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else of_machine()


def words(memory: float) -> str:
    if memory == math.inf:
        return "any memory"
    return f"{memory / 2**30:,.0f} GiB" if memory >= 2**30 else f"{memory / 2**20:,.1f} MiB"


def in_bytes(text: str) -> float:
    """Bytes of "24GB", "24 GiB", "800MB" or a number of bytes: GB is taken as what a card's name means, GiB.

    Raises:
        ValueError: for anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:_\d+)*(?:\.\d+)?)\s*(?:([kmgt])i?b?|b)?\s*", text, re.IGNORECASE | re.ASCII)
    if match is None or not float(match[1]):
        raise ValueError(f"--memory {text}: give an amount, such as 24GB")
    return float(match[1]) * 1024.0 ** (" kmgt".index((match[2] or " ").lower()))
