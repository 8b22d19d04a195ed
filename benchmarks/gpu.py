"""Whether this project is right on a GPU, how fast it is there, and how good what it trains becomes.

    python benchmarks/gpu.py -o gpu                          # the next 8 minutes of what is left, in order of value
    python benchmarks/gpu.py -o gpu --minutes 20 --only fast # a part of it: right, modes, graph, resume, ...
    python benchmarks/gpu.py -o gpu --jobs 8                 # 8 pieces at a time, of those that measure no speed
    python benchmarks/gpu.py -o gpu --cifar10 ~/cifar10.npz  # where CIFAR-10 lies: needed for the last part alone
    python benchmarks/gpu.py -o gpu --table                  # what is there, as Markdown

Type the first line again until nothing is left. Each piece is a process of its own, whose result FOLDER/pieces.json
keeps with the card and the versions; a piece that fails is kept with its last line, is tried again by --again, and
leaves all that it said in FOLDER/failed. The pieces, in order:

right/MODEL   200 steps of a small setting in float32, TF32 off, on the GPU. At every 20th, its checkpoint goes on for 3
              steps on the CPU too: all losses of those steps, and the gradient's norms of the first, agree to 1e-3 of
              their value, or of 1 where they are smaller. Both take their random numbers from the CPU, so that they are
              the same. Restarted like this, what is compared is arithmetic: rounding grows from step to step until no
              two games are alike. Adam begins it, whose steps are as large for small gradients as for large ones; what
              it makes of the later norms is said. Accuracies are counts, in which an image more or less may be right.
rounding/MODEL  the same on the CPU alone, which, when it goes on, moves all that its layers make, forward, to the next
              number of float32, up or down: so much of the above, at least, may be rounding.
modes/MODEL   the first 3 steps compiled, with mode reduce-overhead too, held to those above likewise (1e-3), and in
              bf16-mixed (0.1); then 200 steps in bf16-mixed and compiled: every value is finite.
graph/MODEL   8 steps with cuda_graph=true, of which 3 warm up and 5 are replayed, against 8 without, for those that may
              be captured, with deterministic algorithms: all that their rows say agrees likewise (1e-3).
resume/MODEL  24 steps with deterministic algorithms, against 12 and 12 more from the checkpoint: equal bit for bit, in
              weights, averages, optimizers and every row of the log. Operations without a deterministic kernel are
              named: those that torch says, and those, in-place ones aside, that give two results done twice.
waits/MODEL   20 steps, the bringing of their batches included, in which torch warns wherever Python waits for the GPU:
              at most once a step.
two/MODEL     two processes, on one GPU if that is all, by gloo: after 30 steps their networks are equal bit for bit.
fast/ROW      images/s and peak memory, float32 (TF32 as torch has it by default), bf16-mixed, and that compiled, with
              reduce-overhead, and as one graph where it may: the median over 5 segments and the lowest and highest;
              batches lie on the GPU, so the data layer is left out.
good/RECIPE   `python train.py experiment=RECIPE` on CIFAR-10 as far as the time goes; it goes on from its checkpoint.

--device cpu tries all of it without a GPU, --steps with fewer steps.
"""

import argparse
import csv
import itertools
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BATCH, BETWEEN, COMPARED = 16, 20, 3  # images; steps between two restarts on the CPU, and in each of them
TOLERANCE = {"float32": 1e-3, "bf16": 0.1}
# What a small setting needs, beside the defaults of `scale=small`.
SMALL: dict[str, list[str]] = {
    "cyclegan": ["model.blocks=2"],
    "fastgan": ["data=digits", "data.image_size=64"],
    "pix2pix": ["model.dropout=0"],  # which draws from the stream of the device
    "srgan": [f"model.pixel_images={60 * BATCH}"],  # then the adversarial phase
}
# Paper's sizes: what is trained, images of a batch.
FAST: dict[str, tuple[list[str], int]] = {
    "dcgan-64": (["model=dcgan", "data.image_size=64", "data.channels=3", "model.width=64"], 128),
    "cyclegan-256": (["model=cyclegan", "data.image_size=256", "scale=paper"], 1),
    "pix2pix-256": (["model=pix2pix", "data.image_size=256", "scale=paper"], 1),
    "srresnet-96": (["model=srgan", "data.patch_size=96", "scale=paper"], 16),
    "stylegan_lite-64": (["model=stylegan_lite", "data.image_size=64", "data.channels=3", "scale=medium"], 32),
    "stylegan_lite-128": (["model=stylegan_lite", "data.image_size=128", "data.channels=3", "scale=medium"], 32),
    "r3gan-32": (["model=r3gan", "data.image_size=32", "data.channels=3", "scale=medium"], 64),
    "fastgan-256": (["model=fastgan", "data.image_size=256", "data.channels=3", "scale=medium"], 8),
}
MODES = {  # precision, and what is done to go faster
    "float32": ("32-true", ""),
    "bf16": ("bf16-mixed", ""),
    "bf16, compiled": ("bf16-mixed", "default"),
    "bf16, reduce-overhead": ("bf16-mixed", "reduce-overhead"),
    "bf16, graph": ("bf16-mixed", "graph"),
}
# What may be captured as one graph, and what that takes.
GRAPH: dict[str, list[str]] = {
    "cgan": [],
    "cyclegan": ["model.history=0"],
    "dcgan": [],
    "pix2pix": ["model.dropout=0.5"],
    "r3gan": ["model.burn_in=null"],
    "srgan": ["model.pixel_images=0"],
    "vanilla": [],
}
GRAPH_STEPS = 8
CAPTURED = ("dcgan-64", "pix2pix-256")  # of FAST
GOOD = ("dcgan_cifar10", "stylegan_lite_cifar10")
PARTS = ("right", "rounding", "modes", "graph", "resume", "waits", "two", "fast", "good")
ALONE = ("fast", "good")  # what nothing may run beside

Row = dict[str, float]


# A piece's process --------------------------------------------------------------------------------------------------


def configured(model: str, folder: Path, options: argparse.Namespace, *more: str) -> Any:
    """A small run's configuration: a row of the log for each step, and nothing beside."""
    from zoo.run.config import compose

    trainer = {"cuda": "gpu", "cpu": "cpu"}[options.device]
    return compose(
        *(f"model={model}", "logger=csv", "metrics=none", *SMALL.get(model, []), f"data.batch_size={BATCH}"),
        *(f"trainer={trainer}", "scale=small", "trainer.precision=32-true", f"max_images={options.steps * BATCH}"),
        *(f"log_every={BATCH}", "callbacks.report.overrides=[]", "callbacks.samples.every=1_000_000_000"),
        *("callbacks.health.every=1_000_000_000", f"run_dir={folder}", *more),
    )


def trained(cfg: Any) -> list[Row]:
    """Trains, and gives what its log says of each step."""
    from zoo.run.training import run

    run(cfg)
    with Path(cfg.run_dir, "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


@contextmanager
def numbers_of_the_cpu() -> Iterator[None]:
    """Let the GPU have the CPU's random numbers: every stream is on the CPU, and what is drawn goes over."""
    import torch

    from zoo.game.gan import GAN

    stream, host = GAN._stream, GAN.host_rng
    draws = {name: getattr(torch, name) for name in ("rand", "randn", "randint", "randperm")}

    def on_the_cpu(draw: Callable[..., Any]) -> Callable[..., Any]:
        def drawn(*args: Any, device: Any = None, **kwargs: Any) -> Any:
            numbers = draw(*args, **kwargs)
            return numbers if device is None else numbers.to(device)

        return drawn

    GAN._stream = lambda self, device: stream(self, torch.device("cpu"))  # type: ignore[method-assign]
    GAN.host_rng = property(lambda self: self.rng)  # type: ignore[assignment,method-assign]
    for name, draw in draws.items():
        setattr(torch, name, on_the_cpu(draw))
    try:
        yield
    finally:
        GAN._stream, GAN.host_rng = stream, host  # type: ignore[method-assign,assignment]
        for name, draw in draws.items():
            setattr(torch, name, draw)


def difference(a: Row, b: Row, but: str = "^$") -> tuple[float, str]:
    """The largest difference of two rows, of the value or of 1 where that is more, and whose; those `but` aside."""
    names = [name for name in a.keys() & b.keys() - {"images", "epoch", "step"} if not re.search(but, name)]
    found = [(abs(a[name] - b[name]) / max(1.0, abs(a[name])), name) for name in sorted(names)]
    return max((math.inf, name) if math.isnan(value) else (value, name) for value, name in found)


def exact_float32() -> None:
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def right(
    model: str, folder: Path, options: argparse.Namespace, second: Callable[..., Any] = nullcontext
) -> dict[str, Any]:
    exact_float32()
    keep = BETWEEN * BATCH
    with numbers_of_the_cpu():
        on_device = configured(model, folder / "device", options, f"callbacks.checkpoints.keep_every={keep}")
        rows = {round(row["images"]): row for row in trained(on_device)}
        worst, norm = (0.0, "", 0), 0.0
        kept = sorted(int(path.stem) for path in (folder / "device/checkpoints").glob("0*.ckpt"))
        starts = [0, *(images for images in kept if images + COMPARED * BATCH <= max(rows))]
        for images in starts:
            there = folder / f"cpu-{images}"
            last, budget = there / "checkpoints/last.ckpt", images + COMPARED * BATCH
            if images:
                last.parent.mkdir(parents=True)
                shutil.copyfile(folder / f"device/checkpoints/{images:09}.ckpt", last)
            goes_on = ["resume=here"] if images else []
            settings = [*goes_on, "trainer=cpu", f"callbacks.budget.max_images={budget}"]
            with second():
                rows_of_cpu = trained(configured(model, there, options, *settings))
            on_cpu = [row for row in rows_of_cpu if row["images"] > images]
            for k, row in enumerate(on_cpu):  # without the checkpoint's own
                of_device = rows[round(row["images"])]
                found = (
                    *difference(of_device, row, "accuracy|norm" if k else "accuracy"),
                    round(row["images"]) // BATCH,
                )
                worst = max(worst, found, key=lambda one: one[0])
                norm = max(norm, difference(of_device, row, "accuracy")[0] if k else 0.0)
    steps = len(rows)
    result = {"steps": steps, "compared": len(starts) * COMPARED, "difference": worst[0], "of": worst[1]}
    return {**result, "at_step": worst[2], "later_norms": norm, "ok": worst[0] <= TOLERANCE["float32"]}


def rounding(model: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The CPU against itself: a difference that is not much larger between two devices says nothing of either."""
    on_cpu = argparse.Namespace(**{**vars(options), "device": "cpu"})
    return {**right(model, folder, on_cpu, moved_by_rounding), "ok": True}


@contextmanager
def moved_by_rounding() -> Iterator[None]:
    """In steps, let each number that a layer makes be the next one of its precision, upwards or downwards at random."""
    import torch

    numbers, draw = torch.Generator().manual_seed(1), torch.rand

    def moved(layer: Any, inputs: Any, made: Any) -> Any:
        made_of_layers = [name for name, _ in layer.named_children() if name != "parametrizations"]
        if made_of_layers or not isinstance(made, torch.Tensor) or not made.is_floating_point():
            return made
        up = draw(made.shape, generator=numbers) < 0.5
        value = made.detach()
        return made + (value.nextafter(torch.where(up, math.inf, -math.inf).to(value.dtype)) - value)

    with steps_within(lambda: torch.nn.modules.module.register_module_forward_hook(moved)):
        yield


@contextmanager
def steps_within(context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Let every step be made within a context of its own."""
    from zoo.game.gan import GAN

    make_step = GAN._make_step

    def within(self: Any, *args: Any) -> None:
        with context():
            make_step(self, *args)

    with patch.object(GAN, "_make_step", within):
        yield


def modes(model: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    exact_float32()
    found: dict[str, Any] = {"ok": True}
    with numbers_of_the_cpu():
        first = [f"callbacks.budget.max_images={COMPARED * BATCH}"]
        plain = trained(configured(model, folder / "plain", options, *first))
        for name, settings, most in (
            ("compiled", ["compile=true"], TOLERANCE["float32"]),
            ("reduce-overhead", ["compile=reduce-overhead"], TOLERANCE["float32"]),
            ("bf16", ["trainer.precision=bf16-mixed"], TOLERANCE["bf16"]),
        ):
            rows = trained(configured(model, folder / name, options, *first, *settings))
            # Of bfloat16 the first step alone: from then on it is another game.
            pairs = list(zip(plain, rows, strict=True))[: 1 if name == "bf16" else None]
            found[name], found[f"{name}_of"] = max(difference(a, b, "accuracy") for a, b in pairs)
            found["ok"] &= found[name] <= most
    rows = trained(configured(model, folder / "both", options, "compile=true", "trainer.precision=bf16-mixed"))
    finite = all(math.isfinite(value) for row in rows for value in row.values())
    return {**found, "steps": len(rows), "ok": found["ok"] and finite}


def graph(model: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """With the random numbers of the device: no others can be captured."""
    exact_float32()
    settings = [f"callbacks.budget.max_images={GRAPH_STEPS * BATCH}", "+trainer.deterministic=warn", *GRAPH[model]]
    captured = [f"cuda_graph={str(options.device == 'cuda').lower()}"]
    plain = trained(configured(model, folder / "plain", options, *settings))
    rows = trained(configured(model, folder / "graph", options, *settings, *captured))
    found = [(*difference(a, b), step + 1) for step, (a, b) in enumerate(zip(plain, rows, strict=True))]
    worst, of, step = max(found, key=lambda one: one[0])
    result = {"steps": len(rows), "compared": len(rows), "difference": worst, "of": of, "at_step": step}
    return {**result, "ok": worst <= TOLERANCE["float32"]}


def resume(model: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import warnings

    from zoo.run.checkpoint import read

    steps = min(24, options.steps)
    settings = [f"callbacks.budget.max_images={steps * BATCH}", "+trainer.deterministic=warn"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = trained(configured(model, folder / "straight", options, *settings))
        half = f"callbacks.budget.max_images={steps // 2 * BATCH}"
        trained(configured(model, folder / "broken", options, *settings[1:], half))
        again = trained(configured(model, folder / "broken", options, *settings, "resume=here"))
    said = {str(warning.message).split(" does not have a deterministic")[0] for warning in caught
            if "does not have a deterministic" in str(warning.message)}  # fmt: skip
    a, b = (read(folder / name / "checkpoints/last.ckpt") for name in ("straight", "broken"))
    differ = [part for part in ("state_dict", "optimizer_states") if not equal(a[part], b[part])]
    differ += ["the log"] if rows != again else []
    if differ and trained(configured(model, folder / "once_more", options, *settings)) != rows:
        differ += ["two straight runs"]  # so it is not the resumption
        said |= unrepeatable(configured(model, folder / "watched", options, *settings[1:], half))
    return {"steps": steps, "differ": differ, "without_deterministic_kernel": sorted(said), "ok": not differ}


def unrepeatable(cfg: Any) -> set[str]:
    """The operations of a run that, done twice with the same arguments, give two results."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    found = set()

    class Twice(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            result = function(*args, **kwargs)
            drawn = torch.Tag.nondeterministic_seeded in function.tags
            if not (function._schema.is_mutable or drawn or "empty" in str(function)):
                for one, two in zip(tree_leaves(result), tree_leaves(function(*args, **kwargs)), strict=True):
                    if isinstance(one, torch.Tensor) and not torch.equal(one.nan_to_num(), two.nan_to_num()):
                        shapes = [list(a.shape) for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
                        found.add(f"{function} of {shapes}")
            return result

    with steps_within(Twice):
        trained(cfg)
    return found


def equal(a: Any, b: Any) -> bool:
    """Whether nested structures of tensors and plain data are equal bit for bit."""
    import torch

    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def waits(model: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """How often a step waits for the GPU, the trainer's loop included, and at which lines."""
    import warnings

    import torch

    from zoo.game.gan import GAN

    first, counted = 4, min(20, options.steps)
    make_step, begun = GAN._make_step, itertools.count()

    def watched(self: Any, *args: Any) -> None:
        now = next(begun)
        if options.device == "cuda" and now in (first, first + counted):
            torch.cuda.set_sync_debug_mode("warn" if now == first else "default")
        make_step(self, *args)

    GAN._make_step = watched  # type: ignore[method-assign]
    # More steps than are counted, among which no checkpoint and no row of the log is due.
    never = ["log_every=1_000_000_000", "callbacks.checkpoints.every=1_000_000_000"]
    settings = [f"callbacks.budget.max_images={(first + counted + 1) * BATCH}", *never]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trained(configured(model, folder, options, *settings))
    found = [warning for warning in caught if "called a synchronizing" in str(warning.message)]
    where = Counter(f"{Path(warning.filename).name}:{warning.lineno}" for warning in found)
    per_step = len(found) / counted
    return {"steps": counted, "waits": per_step, "where": dict(where.most_common(5)), "ok": per_step <= 1}


def two(model: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Two machines of one process each, as far as Lightning can tell: else it would want a GPU for each."""
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        place = {"NODE_RANK": rank, "LOCAL_RANK": 0, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in place.items()}
        command = [*itself(f"rank/{model}", folder, options), "--steps", str(min(30, options.steps))]
        with (folder / f"{rank}.log").open("w") as log:
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit("\n".join((folder / f"{rank}.log").read_text()[-2000:] for rank in range(2)))
    lines = [(folder / f"{rank}.log").read_text().splitlines()[-1] for rank in range(2)]
    digests = [json.loads(line)["digest"] for line in lines]
    return {"steps": min(30, options.steps), "ok": digests[0] == digests[1]}


def rank(model: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One of the two."""
    import hashlib

    from zoo.run.training import run

    strategy = ["+trainer.strategy._target_=zoo.game.strategy.TurnDDP", "+trainer.strategy.process_group_backend=gloo"]
    settings = ["+trainer.num_nodes=2", *strategy]
    if options.device == "cuda":
        settings.append("+trainer.sync_batchnorm=true")
    gan: Any = run(configured(model, folder / "run", options, *settings)).lightning_module
    digest = hashlib.sha256()
    for tensor in gan.parameters():  # averages and buffers of batch normalisation follow the same numbers
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return {"digest": digest.hexdigest()}


def fast(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import lightning as L
    import torch
    from hydra.utils import instantiate
    from torch.utils.data import DataLoader

    from zoo.run.config import compose

    row, _, mode = name.partition("/")
    settings, n = FAST[row]
    if options.device == "cpu":
        n = min(n, 2)
    precision, faster = MODES[mode]
    cfg = compose(*settings, f"data.batch_size={n}", f"max_images={10**9}")
    L.seed_everything(1, verbose=False)
    gan: Any = instantiate(cfg.model, _convert_="all")
    if faster == "graph":
        if options.device == "cuda":
            gan.capture_steps()
    elif faster:
        gan.compile_networks(faster)
    warm, steps, segments = (10, 20, 5) if options.device == "cuda" else (1, 1, 2)
    seconds: list[float] = []

    class Meter(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
            if index + 1 >= warm and (index + 1 - warm) % steps == 0:
                if options.device == "cuda":
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter())

    off = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    trainer = L.Trainer(
        accelerator="gpu" if options.device == "cuda" else "cpu", devices=1, max_epochs=1, precision=precision,
        callbacks=[Meter()], **off,
    )  # fmt: skip
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    batch = noise(cfg, n, torch.device(options.device))
    trainer.fit(gan, DataLoader([batch] * (warm + steps * segments), batch_size=None))  # type: ignore[arg-type]
    speeds = [n * steps / (b - a) for a, b in itertools.pairwise(seconds)]
    peak = torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else None
    middle = statistics.median(speeds)
    return {"images_per_s": middle, "lowest": min(speeds), "highest": max(speeds), "peak_GiB": peak, "batch": n}


def noise(cfg: Any, n: int, device: Any) -> Any:
    """A batch of the kind of rows that a configuration's data have, on the device."""
    import torch

    from zoo.batch import ImagePairs, LabelledImages, LowHigh

    index = torch.arange(n, device=device)
    zero = torch.zeros_like(index)

    def images(channels: int, size: int) -> Any:
        return torch.rand(n, channels, size, size, device=device) * 2 - 1

    data = cfg.data
    if "patch_size" in data:
        return LowHigh(images(3, data.patch_size // data.scale), images(3, data.patch_size), index)
    if "channels_x" in data:
        x, y = (images(data[name], data.image_size) for name in ("channels_x", "channels_y"))
        return ImagePairs(x, y, zero, zero, zero.bool(), index)
    return LabelledImages(images(data.channels, data.image_size), zero, index)


# All pieces ---------------------------------------------------------------------------------------------------------

WORK: dict[str, Callable[[str, Path, argparse.Namespace], dict[str, Any]]] = {
    "right": right,
    "rounding": rounding,
    "modes": modes,
    "graph": graph,
    "resume": resume,
    "waits": waits,
    "two": two,
    "rank": rank,
    "fast": fast,
}


def pieces() -> list[str]:
    """Every piece, in order of value."""
    models = sorted(path.stem for path in (ROOT / "conf/model").glob("*.yaml"))
    parts = {
        "right": models,
        "rounding": models,
        "modes": models,
        "graph": list(GRAPH),
        "resume": models,
        "waits": models,
    }
    of_models = [f"{part}/{model}" for part, those in parts.items() for model in those]
    speeds = [f"fast/{row}/{mode}" for mode in MODES for row in FAST if "graph" not in mode or row in CAPTURED]
    return [*of_models, "two/dcgan", "two/cyclegan", *speeds, *(f"good/{recipe}" for recipe in GOOD)]


def itself(piece: str, folder: Path, options: argparse.Namespace) -> list[str]:
    """The command of a piece's own process."""
    settings = ["--device", options.device, "--steps", str(options.steps)]
    return [sys.executable, str(ROOT / "benchmarks/gpu.py"), "-o", str(folder), "--piece", piece, *settings]


def done(piece: str, folder: Path, options: argparse.Namespace, seconds: float) -> dict[str, Any] | None:
    """Does a piece within so many seconds; None where they were not enough, though the whole time would be."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}  # for deterministic algorithms
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        itself(piece, folder, options), cwd=ROOT, env=environment, start_new_session=True, **pipes
    )
    try:
        said, complained = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        whole = seconds > 0.9 * 60 * options.minutes
        return {"ok": False, "failed": f"did not end within {seconds:.0f} s: give more --minutes"} if whole else None
    finally:
        with suppress(ProcessLookupError):  # it, and what it has started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
    ended = subprocess.CompletedProcess(process.args, process.returncode, said, complained)
    return failed(folder.name, ended, options) if ended.returncode else dict(json.loads(said.splitlines()[-1]))


def failed(name: str, ended: subprocess.CompletedProcess[str], options: argparse.Namespace) -> dict[str, Any]:
    """What is known of a piece whose process failed; all that it said is kept."""
    kept = options.out / "failed" / f"{name}.log"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(ended.stdout + ended.stderr)
    return {"ok": False, "failed": last_words(ended)}


def last_words(ended: subprocess.CompletedProcess[str]) -> str:
    """Of a process that failed: its last error, or its last line."""
    lines = [line.strip() for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Refused|Diverged)\b", line)]
    return [f"exit code {ended.returncode}", *lines, *errors][-1][:300]


def quality(recipe: str, folder: Path, options: argparse.Namespace, seconds: float) -> dict[str, Any] | None:
    """A recipe on CIFAR-10, on from where it was; None where no piece of it could be trained."""
    from zoo.result import Result

    if seconds < 60:
        return None
    run, spare = folder / "good" / recipe, 30  # seconds in which it saves and leaves
    minutes, left = divmod(round(seconds - spare), 60)
    how = f"max_time={minutes // 60:02}:{minutes % 60:02}:{left:02}"
    begun = (run / "checkpoints/last.ckpt").is_file()
    which = [f"resume={run}"] if begun else [
        f"experiment={recipe}", f"data.root={options.cifar10}", "metrics=cifar10", "logger=csv",
        f"trainer={'gpu' if options.device == 'cuda' else 'cpu'}", f"hydra.run.dir={run}",
    ]  # fmt: skip
    command = [sys.executable, str(ROOT / "train.py"), *which, how]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    result = Result.read(run)
    if result is None or ended.returncode:  # which is 0 after max_time
        return failed(recipe, ended, options)
    found = {"images": result.images, "metric": result.metric, "best": result.best, "state": result.state}
    return {**found, "ok": result.state in ("finished", "stopped")}


def card(options: argparse.Namespace) -> dict[str, str]:
    """What the numbers were found on."""
    import lightning
    import torch

    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    versions = {"torch": torch.__version__, "lightning": lightning.__version__}
    return {"card": name, **versions, "commit": asked.stdout.strip() or "unknown"}


def go_on(options: argparse.Namespace) -> int:
    """Does what is left, in order, until the time is up."""
    file = options.out / "pieces.json"
    options.out.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    on, end = card(options), time.monotonic() + 60 * options.minutes

    def wanted(piece: str) -> bool:
        have = known.get(piece)
        if have and (have["card"], have.get("asked")) != (on["card"], options.steps):  # tried without a GPU, say
            have = None
        if not piece.startswith(options.only) or (piece.startswith("good") and options.cifar10 is None):
            return False
        return not have or have.get("state") == "stopped" or (not have["ok"] and options.again)

    def attempt(piece: str) -> dict[str, Any] | None:
        part, _, rest = piece.partition("/")
        started, seconds = time.monotonic(), end - time.monotonic()
        if part == "good":
            result = quality(rest, options.out.resolve(), options, seconds)
        else:
            work = options.out.resolve() / "work" / piece.replace("/", "-").replace(", ", "-")
            result = done(piece, work, options, seconds) if seconds > 5 else None
        spent = round(time.monotonic() - started, 1)
        return result and {"ok": True, **result, **on, "asked": options.steps, "seconds": spent}

    def keep(piece: str, result: dict[str, Any] | None) -> None:
        if result is None or result.get("state") == "stopped":  # which goes on
            left.append(piece)
        if result is not None:
            known[piece] = result
            part_file = file.with_suffix(".part")
            part_file.write_text(json.dumps(known, indent=1) + "\n")
            part_file.replace(file)
            print(piece, in_words(result), flush=True)

    left: list[str] = []
    todo = [piece for piece in pieces() if wanted(piece)]
    together = [piece for piece in todo if not piece.startswith(ALONE)]
    pool = ThreadPoolExecutor(options.jobs)
    try:
        tried = {pool.submit(attempt, piece): piece for piece in together}
        for attempted in as_completed(tried):
            keep(tried[attempted], attempted.result())
    finally:
        pool.shutdown(cancel_futures=True)
    for piece in todo[len(together) :]:
        keep(piece, attempt(piece))
    print(f"left: {len(left)}, type the same again" if left else "nothing is left", flush=True)
    return 0 if all(result["ok"] for result in known.values()) else 1


# The table ----------------------------------------------------------------------------------------------------------


def in_words(result: dict[str, Any]) -> str:
    """A piece's result as a table's cell."""
    if "failed" in result:
        return f"failed: {result['failed']}"
    if "images_per_s" in result:
        memory = "" if result["peak_GiB"] is None else f", {result['peak_GiB']:.1f} GiB"
        middle, low, high = (
            f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
            for value in (result["images_per_s"], result["lowest"], result["highest"])
        )
        return f"{middle} [{low}, {high}] images/s{memory}"
    if "difference" in result:
        where = f"{result['of']} at step {result['at_step']}" if result["difference"] else "everywhere"
        norms = f", later with norms {result['later_norms']:.1e}" if "later_norms" in result else ""
        return f"{result['difference']:.1e} ({where}){norms} in {result['compared']} of {result['steps']} steps"
    if "compiled" in result:
        found = ", ".join(f"{name} {result[name]:.1e}" for name in ("compiled", "reduce-overhead", "bf16"))
        return f"{found}; {result['steps']} steps in bf16 and compiled finite"
    if "waits" in result:
        where = ", ".join(f"{line} ({count} in all)" for line, count in result["where"].items())
        return f"{result['waits']:.1f} waits a step" + (f": {where}" if where else "")
    if "differ" in result:
        said = f"{', '.join(result['differ'])} differ" if result["differ"] else "equal bit for bit"
        without = result["without_deterministic_kernel"]
        return said + (f"; no deterministic kernel: {', '.join(without)}" if without else "")
    if "images" in result:
        best = "not evaluated yet" if result["best"] is None else f"{result['metric']} {result['best']:.2f}"
        return f"{best} after {result['images']:,} images ({result['state']})"
    return "equal" if result["ok"] else "not equal"


def table(folder: Path) -> str:
    """What is known, a row a piece."""
    known = json.loads((folder / "pieces.json").read_text())
    cards = {f"{r['card']}, torch {r['torch']}, lightning {r['lightning']}, {r['commit']}" for r in known.values()}
    lines = [f"On {'; '.join(sorted(cards))}:", "", "| piece | result |", "|---|---|"]
    for piece in pieces():
        if piece in known:
            words = in_words(known[piece])
            lines.append(f"| {piece} | {words if known[piece]['ok'] else f'**{words}**'} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", dest="out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument(
        "--only", default="", metavar="PART", help=f"{', '.join(PARTS)}, or the begin of a piece's name"
    )
    parser.add_argument("--again", action="store_true", help="try once more what failed")
    parser.add_argument("--jobs", type=int, default=1, help="pieces at a time, of those that measure no speed")
    parser.add_argument("--cifar10", type=Path, metavar="FILE", help="data.root of data=cifar10")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only and not any(piece.startswith(options.only) for piece in pieces()):
        parser.error(f"--only {options.only}: choose among {', '.join(PARTS)}, or a piece, right/dcgan")
    if options.table:
        print(table(options.out))
        return 0
    if options.piece:
        part, _, rest = options.piece.partition("/")
        print(json.dumps(WORK[part](rest, options.out, options)), flush=True)
        return 0
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here: --device cpu tries the pieces without one")
    return go_on(options)


if __name__ == "__main__":
    sys.exit(main())
