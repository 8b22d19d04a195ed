"""How fast super-resolution trains, beside a plain loop of the same arithmetic, and how long it waits for data.

    python benchmarks/srgan.py                                    # SRResNet's phase, x4, width 32, patches of 64
    python benchmarks/srgan.py --phase adversarial --channels-last off
    python benchmarks/srgan.py --device cuda --precision bf16 --compile --width 64 --blocks 16 --patch 96

zoo    `train.py` itself: `conf/` composed, so that trainer, data module, model and callbacks are those of
       `python train.py model=srgan logger=csv metrics=none`, with the timing callback in place of the report.
loop   a plain PyTorch loop with the same arithmetic: the same patches from the same data module, the same networks from
       the same weights, channels-last, fused Adam, G's average by one foreach lerp, the same check that gradients are
       finite. No books, no files.

Both train on the embedded photographs. Segments of `--steps` steps are interleaved, their order turned each round, so
that a machine that slows down slows down both: a callback, last in the trainer's list, runs the loop between two of
zoo's segments. Ratios are taken within a round; the table has the median over rounds, and the lowest and the highest
round in brackets. On a GPU each segment ends with a synchronisation.

data   the share of a zoo step that passes between the request for a batch and its arrival on the device, as floats: in
       the main process, where nothing else happens meanwhile. With workers it is the time that is waited for them.

Proof of equal work: at the end G, D and G's average of both must agree bit for bit, or the exit code is 1. With
--compile or --precision bf16 on a GPU the order of sums may differ: then the largest difference is told.
"""

import argparse
import contextlib
import copy
import io
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import hydra  # noqa: E402
import lightning as L  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import train  # noqa: E402
from zoo.batch import LowHigh, from_bytes  # noqa: E402
from zoo.game.averages import EMA  # noqa: E402
from zoo.model.srgan import SRGAN  # noqa: E402

WARMUP = 3  # steps


class Loop:
    """The plain loop: both phases' arithmetic, with the content loss on D's feature maps."""

    def __init__(self, trainer: L.Trainer, model: SRGAN) -> None:
        self.h, self.device = model.hparams, model.device
        self.G, self.D = copy.deepcopy(model.G), copy.deepcopy(model.D)
        self.G_ema = EMA(self.G, half_life=self.h["ema_half_life"])
        self.batches = iter(trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
        betas = tuple(self.h["betas"])
        self.opt_D = torch.optim.Adam(self.D.parameters(), lr=self.h["lr"]["D"], betas=betas, fused=True)
        self.opt_G = torch.optim.Adam(self.G.parameters(), lr=self.h["lr"]["G"], betas=betas, fused=True)
        self.bf16 = trainer.precision == "bf16-mixed"
        self.images = 0

    def __call__(self) -> None:
        low, high = (from_bytes(part.to(self.device, non_blocking=True)) for part in next(self.batches)[:2])
        self.images += len(low)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
            fake = self.G(low)
            if self.images <= self.h["pixel_images"]:
                self.step("G", self.opt_G, F.mse_loss(fake, high))
            else:
                self.game(fake, high)
        self.G_ema.update(self.G, images=len(low))

    def game(self, fake: Tensor, high: Tensor) -> None:
        real_logit, fake_logit = self.D(high), self.D(fake.detach())
        self.step("D", self.opt_D, F.softplus(-real_logit).mean() + F.softplus(fake_logit).mean())
        self.D.requires_grad_(False)
        maps = self.D.maps(fake)
        logit = self.D.judge(maps[-1])
        with torch.no_grad():
            real_maps = self.D.maps(high)
        content = torch.stack([F.l1_loss(a, b) for a, b in zip(maps, real_maps, strict=True)]).mean()
        w = self.h["weights"]
        terms = (
            w["content"] * content,
            w["adversarial"] * F.softplus(-logit).mean(),
            w["pixel"] * F.mse_loss(fake, high),
        )
        self.step("G", self.opt_G, sum(terms, start=torch.zeros((), device=self.device)))
        self.D.requires_grad_(True)

    def step(self, player: str, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not (nn.utils.get_total_norm(gradients) + loss.detach()).isfinite():
            raise FloatingPointError(player)
        optimizer.step()


class Interleave(L.Callback):
    """Runs the loop's segments between zoo's, and times both."""

    def __init__(self, *, rounds: int, steps: int) -> None:
        segments = [("zoo", WARMUP, False), ("loop", WARMUP, False)]
        for r in range(rounds):
            order = ("zoo", "loop") if r % 2 == 0 else ("loop", "zoo")
            segments += [(name, steps, True) for name in order]
        self.segments = deque(segments)
        self.seconds: dict[str, list[float]] = {"zoo": [], "loop": []}  # of a step, for each round
        self.waited: list[float] = []  # for data, of a step of zoo, for each round
        self.waiting = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.device = pl_module.device
        self.loop = Loop(trainer, pl_module)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        arrives, self.asked = data.on_after_batch_transfer, self.now()

        def arrived(batch: LowHigh, dataloader_idx: int) -> LowHigh:
            batch = arrives(batch, dataloader_idx)
            self.waiting += self.now() - self.asked
            return batch

        data.on_after_batch_transfer = arrived
        self.run_others()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        self.left -= 1
        if not self.left:
            self.record("zoo", *self.zoo)
            self.run_others()
        self.asked = self.now()

    def run_others(self) -> None:
        """All segments up to zoo's next, whose clock then starts."""
        while self.segments:
            name, steps, timed = self.segments.popleft()
            start = self.now()
            if name == "zoo":
                self.left, self.zoo, self.waiting = steps, (start, steps, timed), 0.0
                return
            for _ in range(steps):
                self.loop()
            self.record(name, start, steps, timed)

    def record(self, name: str, start: float, steps: int, timed: bool) -> None:
        seconds = (self.now() - start) / steps
        if timed:
            self.seconds[name].append(seconds)
            if name == "zoo":
                self.waited.append(self.waiting / steps / seconds)

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


@contextlib.contextmanager
def last_callback(callback: L.Callback, channels_last: bool) -> Iterator[None]:
    """Every Trainer made inside gets this callback, after its own; and the layout that is asked for."""
    init, start = L.Trainer.__init__, SRGAN.on_fit_start

    def with_callback(self: L.Trainer, *args: Any, callbacks: list[L.Callback], **kwargs: Any) -> None:
        init(self, *args, callbacks=[*callbacks, callback], **kwargs)

    def in_layout(self: SRGAN) -> None:
        start(self)
        if not channels_last:
            self.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    L.Trainer.__init__, SRGAN.on_fit_start = with_callback, in_layout  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        L.Trainer.__init__, SRGAN.on_fit_start = init, start  # type: ignore[method-assign]


def differences(zoo: SRGAN, loop: Loop) -> list[str]:
    """Parameters and buffers that are not equal bit for bit."""
    unequal = []
    for name, a, b in (("G", zoo.G, loop.G), ("D", zoo.D, loop.D), ("G_ema", zoo.G_ema.module, loop.G_ema.module)):
        for (key, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            if not torch.equal(x, y):
                unequal.append(f"{name}.{key}: largest difference {(x - y).abs().max().item():.3g}")
    return unequal


def spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"width": 32, "blocks": 8, "patch": 64, "batch": 16, "rounds": 5, "steps": 10}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--phase", choices=("pixel", "adversarial"), default="pixel")
    parser.add_argument("--norm", choices=("batch", "none"), default="batch")
    parser.add_argument("--channels-last", choices=("on", "off"), default="on")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--compile", action="store_true", help="torch.compile zoo's networks; the loop stays eager")
    args = parser.parse_args()
    if args.device == "cuda":
        torch.backends.cudnn.deterministic = True
    steps = WARMUP + args.rounds * args.steps
    clock = Interleave(rounds=args.rounds, steps=args.steps)
    with tempfile.TemporaryDirectory() as folder, hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = hydra.compose(
            "train",
            [
                *("model=srgan", "data=photos", "logger=csv", "metrics=none", "~callbacks.report", "~callbacks.health"),
                *(f"data.patch_size={args.patch}", f"data.batch_size={args.batch}", f"model.norm={args.norm}"),
                *(f"model.width={args.width}", f"model.blocks={args.blocks}", "model.lr_steps=[]"),
                *(f"max_images={steps * args.batch}", f"run_dir={folder}", f"compile={args.compile}"),
                f"model.pixel_images={steps * args.batch if args.phase == 'pixel' else 0}",
                *("callbacks.samples.every=1_000_000_000", "callbacks.checkpoints.every=1_000_000_000"),
                f"trainer={'gpu' if args.device == 'cuda' else args.device}",
                f"trainer.precision={'bf16-mixed' if args.precision == 'bf16' else '32-true'}",
            ],
        )
        with contextlib.redirect_stdout(io.StringIO()), last_callback(clock, args.channels_last == "on"):
            model: Any = train.run(config).lightning_module
    print(
        f"SRGAN x4, {args.phase} phase, {args.blocks} blocks of width {args.width}, {args.norm} norm, "
        f"{args.batch} patches of {args.patch}x{args.patch}, {args.precision}, channels-last {args.channels_last}"
        f"{', compiled' if args.compile else ''}\n"
        f"{torch.cuda.get_device_name() if args.device == 'cuda' else f'{torch.get_num_threads()} CPU threads'}, torch "
        f"{torch.__version__}, load {os.getloadavg()[0]:.1f}; {args.rounds} rounds of {args.steps} steps, median "
        "[lowest, highest]\n"
    )
    print(f"{'':12}{'patches/s':>28}{'ms a step':>28}")
    for name, rounds in clock.seconds.items():
        speeds, milliseconds = [args.batch / s for s in rounds], [1000 * s for s in rounds]
        print(f"{name:12}{spread(speeds, 1):>28}{spread(milliseconds, 1):>28}")
    ratios = [loop / zoo for zoo, loop in zip(clock.seconds["zoo"], clock.seconds["loop"], strict=True)]
    print(f"\nzoo / loop          {spread(ratios, 3)}   target: 0.97 or more")
    print(f"waiting for data    {spread([100 * share for share in clock.waited], 2)} %   target: below 5 %")
    differ = differences(model, clock.loop)
    print(f"zoo and loop after {steps} steps: ", end="")
    print("\n    ".join(["NOT EQUAL", *differ[:5]]) if differ else "equal bit for bit")
    return 1 if differ and args.precision == "fp32" and not args.compile else 0


if __name__ == "__main__":
    sys.exit(main())
