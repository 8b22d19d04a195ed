"""How fast this trainer trains, beside a hand-written loop and beside the textbook's order of operations.

    python benchmarks/step_time.py                                                  # 32x32, width 32, batch 64
    python benchmarks/step_time.py --size 64 --width 64 --channels 3 --steps 10     # the size of the DCGAN tutorial

Every variant trains DCGAN's networks from the same weights, on the same batches in the same order (MNIST's 4,000
training images, uint8 in memory, enlarged or repeated as asked), with the same latents, in the same precision.

zoo           `train.py` itself: `conf/` composed, so that trainer, datamodule, model and callbacks are those of
              `python train.py logger=csv metrics=none`, with the timing callback in place of the report; no moving bar.
loop          a plain PyTorch loop with the same arithmetic: channels-last, one forward of G for both turns, D frozen
              in G's turn (freezing G in D's would change nothing, the fakes being detached), fused Adam, G's average
              by one foreach lerp, the same check that loss and gradient are finite, and the same diagnostics, kept as
              tensors and read once per 1,000 images. No files.
textbook      the loop of PyTorch's DCGAN tutorial on these networks, its loss on logits (the tutorial: a sigmoid in D
              and BCELoss): NCHW; plain Adam; D on real images: backward; D on `fake.detach()`: backward, step; D on
              the same `fake` (the tutorial, too, runs G once a step), D not frozen, so that G's turn computes
              gradients of D that nobody uses; `.item()` of two losses and three mean logits each step. No average.
textbook+ema  the same with zoo's average of G: the same work for the user, hence the fairer comparison.

Protocol: benchmarks/turns.py, one `trainer.fit`, which a callback, last in the trainer's list, holds while others run:
a segment of zoo is whole periods of Lightning's loop, epoch ends and the books' rows included. Not timed: set-up, the
first WARMUP steps of each, and what train.py does every tenth of a run (checkpoint, grid, evaluation, a look at the
game's health). On a GPU each segment ends with a synchronisation. At the end, PROFILED steps of each are looked at:
convolution is the library's share of a step, and no loop can change it.

The overhead is zoo's step less the loop's: in this setting, and again with networks so small that their own noise does
not hide it (16x16, width 4, batch 16; on one thread, since waking a second costs more than such a step; on a CPU in the
processor's time, which other programs disturb less than the wall's), in twice as many rounds of 125 steps: two rows of
the books in each.

Proof of equal work: at the end zoo and loop must agree bit for bit in each parameter and buffer of G, D and G_ema and
in each value of the last row, or the exit code is 1. For that cuDNN is held to deterministic algorithms in all
variants. Runs on a GPU have not been tried.
"""

import argparse
import contextlib
import copy
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import hydra  # noqa: E402
import lightning as L  # noqa: E402
import torch  # noqa: E402
import turns  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import binary_cross_entropy_with_logits, softplus  # noqa: E402

import train  # noqa: E402
from zoo.batch import from_bytes  # noqa: E402
from zoo.data.module import ORDER, seeded  # noqa: E402
from zoo.model.dcgan import DCGAN  # noqa: E402

VARIANTS = ("zoo", "loop", "textbook", "textbook+ema")
WARMUP, PROFILED = 5, 3  # steps
TINY = {"size": 16, "width": 4, "batch": 16, "channels": 1}
TARGETS = {"zoo / loop": 0.97, "zoo / textbook": 1.2}  # at 32x32, width 32; at 64x64, width 64, 3 channels
OVERHEAD_TARGET = 0.8  # ms a step

Step = Callable[[], None]


# What the hand-written variants share -------------------------------------------------------------------------------


class Setting:
    """Weights, batches and latents as a model has them when its training starts."""

    def __init__(self, trainer: L.Trainer, model: DCGAN) -> None:
        self.G, self.D = copy.deepcopy(model.G), copy.deepcopy(model.D)
        self.hparams, self.device, self.log_every = model.hparams, model.device, model.run_log.every
        self.images: Tensor = trainer.datamodule.split("train").images  # type: ignore[attr-defined]
        self.batch, self.seed = trainer.datamodule.batch_size, trainer.datamodule.seed  # type: ignore[attr-defined]
        self.rng = torch.Generator(model.device)
        self.rng.set_state(model.rng.get_state())
        # Lightning's own autocast: without a cache of cast weights, which a step would make stale.
        self.bf16 = trainer.precision == "bf16-mixed"
        if self.device.type == "cuda":
            self.images = self.images.pin_memory()

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False)

    def batches(self) -> Iterator[Tensor]:
        epoch = 0
        while True:
            order = torch.randperm(len(self.images), generator=seeded(self.seed, epoch, ORDER))
            for k in range(len(order) // self.batch):
                rows = self.images[order[k * self.batch : (k + 1) * self.batch]]
                yield from_bytes(rows.to(self.device, non_blocking=True))
            epoch += 1

    def latent(self) -> Tensor:
        return torch.randn(self.batch, self.hparams["latent_dim"], generator=self.rng, device=self.device)

    def adam(self, player: str, network: nn.Module, **how: bool) -> torch.optim.Adam:
        lr, betas = self.hparams["lr"][player], tuple(self.hparams["betas"])
        return torch.optim.Adam(network.parameters(), lr=lr, betas=betas, **how)

    def average_of(self, network: nn.Module) -> tuple[nn.Module, Callable[[], None]]:
        """The average of a network, and what moves it after a step: the formula of zoo.game.averages."""
        average, seen, half_life = copy.deepcopy(network).eval().requires_grad_(False), 0, self.hparams["ema_half_life"]
        pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
        means = [mean for mean, _ in pairs if mean.is_floating_point()]
        values = [value for _, value in pairs if value.is_floating_point()]
        counters = [pair for pair in pairs if not pair[0].is_floating_point()]

        @torch.no_grad()
        def move() -> None:
            nonlocal seen
            h = min(half_life, 0.05 * seen)
            torch._foreach_lerp_(means, values, 1.0 - (0.5 ** (self.batch / h) if h > 0 else 0.0))
            for count, value in counters:
                count.copy_(value)
            seen += self.batch

        return average, move


# The variants -------------------------------------------------------------------------------------------------------


class Loop:
    """The plain loop."""

    def __init__(self, s: Setting) -> None:
        self.s, self.G, self.D, self.batches = s, s.G, s.D, s.batches()
        self.opt_D, self.opt_G = s.adam("D", self.D, fused=True), s.adam("G", self.G, fused=True)
        self.G_ema, self.move_average = s.average_of(self.G)
        self.of_D, self.of_G = list(self.D.parameters()), list(self.G.parameters())
        self.images = 0
        self.window: dict[str, list[Tensor]] = {}
        self.latest: dict[str, float] = {}

    def __call__(self) -> None:
        with self.s.autocast():
            self.step(next(self.batches))

    def step(self, x: Tensor) -> None:
        G, D, opt_D, opt_G = self.G, self.D, self.opt_D, self.opt_G
        self.images += len(x)
        due = self.images % self.s.log_every < len(x)
        fake = G(self.s.latent())

        real_logit, fake_logit = D(x), D(fake.detach())
        loss_D = softplus(-real_logit).mean() + softplus(fake_logit).mean()
        opt_D.zero_grad()
        loss_D.backward()
        self.check("D", self.of_D, loss_D)
        opt_D.step()

        for p in self.of_D:
            p.requires_grad_(False)
        loss_G = softplus(-D(fake)).mean()
        opt_G.zero_grad()
        loss_G.backward()
        self.check("G", self.of_G, loss_G)
        opt_G.step()
        for p in self.of_D:
            p.requires_grad_(True)

        self.move_average()
        real_logit, fake_logit = real_logit.detach(), fake_logit.detach()
        self.note("D/adversarial", loss_D.detach())
        self.note("G/adversarial", loss_G.detach())
        self.note("D/accuracy_real", (real_logit > 0).float().mean())
        self.note("D/accuracy_fake", (fake_logit < 0).float().mean())
        self.note("D/logit_real", real_logit.mean())
        self.note("D/logit_fake", fake_logit.mean())
        if due:
            self.read()

    def check(self, player: str, parameters: list[nn.Parameter], loss: Tensor) -> None:
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not (norm + loss.detach()).isfinite():
            raise FloatingPointError(player)
        self.note(f"{player}/grad_norm", norm)

    def note(self, name: str, value: Tensor) -> None:
        self.window.setdefault(name, []).append(value)

    def read(self) -> None:
        means = torch.stack([torch.stack(values).float().mean() for values in self.window.values()])
        self.latest |= zip(self.window, means.tolist(), strict=True)
        self.window.clear()


class Textbook:
    """The tutorial's loop."""

    def __init__(self, s: Setting, *, ema: bool) -> None:
        self.s, self.batches = s, s.batches()
        self.G, self.D = s.G.to(memory_format=torch.contiguous_format), s.D.to(memory_format=torch.contiguous_format)
        self.opt_D, self.opt_G = s.adam("D", self.D), s.adam("G", self.G)
        self.move_average = s.average_of(self.G)[1] if ema else lambda: None
        self.history: list[tuple[float, ...]] = []

    def __call__(self) -> None:
        with self.s.autocast():
            self.step(next(self.batches))

    def step(self, x: Tensor) -> None:
        G, D = self.G, self.D
        D.zero_grad()
        label = torch.full((len(x),), 1.0, device=x.device)
        output = D(x)
        loss_real = binary_cross_entropy_with_logits(output, label)
        loss_real.backward()
        D_x = output.mean().item()

        fake = G(self.s.latent())
        label.fill_(0.0)
        output = D(fake.detach())
        loss_fake = binary_cross_entropy_with_logits(output, label)
        loss_fake.backward()
        D_G_z1 = output.mean().item()
        loss_D = loss_real + loss_fake
        self.opt_D.step()

        G.zero_grad()
        label.fill_(1.0)
        output = D(fake)
        loss_G = binary_cross_entropy_with_logits(output, label)
        loss_G.backward()
        D_G_z2 = output.mean().item()
        self.opt_G.step()

        self.move_average()
        self.history.append((loss_D.item(), loss_G.item(), D_x, D_G_z1, D_G_z2))


# Timing -------------------------------------------------------------------------------------------------------------


class Reins(L.Callback):
    """Has zoo's training stand still before each of its steps, and makes the others when it is about to begin."""

    def __init__(self, loop: turns.Loop, variants: tuple[str, ...]) -> None:
        self.loop, self.variants = loop, variants

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        make: dict[str, Callable[[Setting], Step]] = {
            "loop": Loop,
            "textbook": lambda setting: Textbook(setting, ema=False),
            "textbook+ema": lambda setting: Textbook(setting, ema=True),
        }
        self.model = pl_module
        self.others = {name: make[name](Setting(trainer, pl_module)) for name in self.variants if name != "zoo"}
        self.loop.pause()

    def on_train_batch_end(self, *args: Any) -> None:
        self.loop.pause()


@dataclass
class Measured:
    seconds: dict[str, list[float]]  # of a step of each variant in each round
    parts: dict[str, str]  # what a step of each is made of
    differ: list[str]  # where zoo and loop differ at the end


def measure(
    variants: tuple[str, ...], *, size: int, width: int, batch: int, channels: int, rounds: int, steps: int,
    device: str, precision: str, time_of: Literal["cpu", "wall"] = "wall",
) -> Measured:  # fmt: skip
    total = WARMUP + rounds * steps + PROFILED
    reins: list[Reins] = []

    def zoo(loop: turns.Loop) -> None:
        reins.append(Reins(loop, variants))
        with last_callback(reins[0]):
            train.run(config)

    with tempfile.TemporaryDirectory() as folder, hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = hydra.compose(
            "train",
            [
                *("model=dcgan", "data=mnist5k", "logger=csv", "metrics=none", "~callbacks.report"),
                *(f"data.image_size={size}", f"data.channels={channels}", f"data.batch_size={batch}"),
                *(f"model.width={width}", f"max_images={total * batch}", f"run_dir={folder}"),
                *(f"callbacks.{name}.every=1_000_000_000" for name in ("samples", "checkpoints", "health")),
                f"trainer={'gpu' if device == 'cuda' else device}",
                f"trainer.precision={'bf16-mixed' if precision == 'bf16' else '32-true'}",
            ],
        )
        with contextlib.redirect_stdout(io.StringIO()), turns.Loop(zoo) as training:
            others = {name: turns.stepping(step) for name, step in reins[0].others.items()}
            arms = {name: training if name == "zoo" else others[name] for name in variants}
            now = turns.clock(time_of, device)
            seconds = turns.take_turns(arms, rounds=rounds, steps=steps, now=now, warmup=WARMUP)
            parts = {name: turns.parts(arm, steps=PROFILED, device=device) for name, arm in arms.items()}
    return Measured(seconds, parts, differences(reins[0].model, reins[0].others["loop"]))


@contextlib.contextmanager
def last_callback(callback: L.Callback) -> Iterator[None]:
    """Every Trainer made inside gets this callback, after its own."""
    init = L.Trainer.__init__

    def with_callback(self: L.Trainer, *args: Any, callbacks: list[L.Callback], **kwargs: Any) -> None:
        init(self, *args, callbacks=[*callbacks, callback], **kwargs)

    L.Trainer.__init__ = with_callback  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        L.Trainer.__init__ = init  # type: ignore[method-assign]


def differences(zoo: Any, loop: Any) -> list[str]:
    """Parameters, buffers and logged values that are not equal bit for bit."""
    unequal = []
    for name, a, b in (("G", zoo.G, loop.G), ("D", zoo.D, loop.D), ("G_ema", zoo.G_ema.module, loop.G_ema)):
        for (key, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            if not torch.equal(x, y):
                unequal.append(f"{name}.{key}: largest difference {(x - y).abs().max().item():.3g}")
    if loop.window:
        loop.read()  # as zoo does when training ends
    for key, value in loop.latest.items():
        if zoo.run_log.latest[key] != value:
            unequal.append(f"{key} in the last row: {zoo.run_log.latest[key]} and {value}")
    return unequal


# Report -------------------------------------------------------------------------------------------------------------


def overhead(seconds: dict[str, list[float]]) -> str:
    gaps = [1000 * (zoo - loop) for zoo, loop in zip(seconds["zoo"], seconds["loop"], strict=True)]
    return f"{turns.spread(gaps)} ms a step"


def machine(device: str) -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    cpu = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown CPU")
    gpu = f", {torch.cuda.get_device_name()}" if device == "cuda" else ""
    return (
        f"{os.cpu_count()} cores of {cpu}{gpu}; torch {torch.__version__}, lightning {L.__version__}, "
        f"{torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f} before the start"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"size": 32, "width": 32, "batch": 64, "channels": 1, "rounds": 5, "steps": 30}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    args = parser.parse_args()

    print(machine(args.device))
    if args.device == "cuda":
        torch.backends.cudnn.deterministic = True
    found = measure(VARIANTS, **vars(args))
    print(
        f"DCGAN {args.size}x{args.size}, channels {args.channels}, width {args.width}, batch {args.batch}, "
        f"{args.precision}, {args.device}: {args.rounds} rounds of {args.steps} steps, median [lowest, highest]\n"
    )
    print(f"{'':16}{'images/s':>28}{'ms a step':>28}")
    for name, rounds in found.seconds.items():
        speeds, milliseconds = [args.batch / s for s in rounds], [1000 * s for s in rounds]
        print(f"{name:16}{turns.spread(speeds, ',.1f'):>28}{turns.spread(milliseconds, ',.1f'):>28}")
    print()
    for name in VARIANTS[1:]:
        target = TARGETS.get(f"zoo / {name}")
        ratio = turns.spread(turns.ratios(found.seconds, name, "zoo"), ".3f")
        print(f"{f'zoo / {name}':20}{ratio}{f'   target: {target} or more' if target else ''}")
    print()
    for name, made_of in found.parts.items():
        print(f"{name:16}{made_of}")

    torch.set_num_threads(1)
    tiny = measure(
        ("zoo", "loop"), **TINY, rounds=2 * args.rounds, steps=125, device=args.device, precision=args.precision,
        time_of="wall" if args.device == "cuda" else "cpu",
    )  # fmt: skip
    print(f"\noverhead, zoo - loop  {overhead(found.seconds)}")
    print(f"    on a tiny DCGAN   {overhead(tiny.seconds)}   target: at most {OVERHEAD_TARGET} ms")

    after = [WARMUP + steps + PROFILED for steps in (args.rounds * args.steps, 250 * args.rounds)]
    differ = found.differ + tiny.differ
    print(f"\nzoo and loop after {after[0]} and {after[1]} steps: ", end="")
    print("\n    ".join(["NOT EQUAL", *differ]) if differ else "equal bit for bit")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
