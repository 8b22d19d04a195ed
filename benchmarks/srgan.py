"""How fast super-resolution trains, beside a plain loop of the same arithmetic, and how long it waits for data.

    python benchmarks/srgan.py                                    # SRResNet's phase, x4, width 32, patches of 64
    python benchmarks/srgan.py --phase adversarial --channels-last off
    python benchmarks/srgan.py --device cuda --precision bf16 --compile --width 64 --blocks 16 --patch 96

zoo    `train.py` itself: `conf/` composed, so that trainer, data module, model and callbacks are those of
       `python train.py model=srgan logger=csv metrics=none`, with the timing callback in place of the report.
loop   a plain PyTorch loop with the same arithmetic: the same patches from the same data module, the same networks from
       the same weights, channels-last, fused Adam, G's average by one foreach lerp, the same check that gradients are
       finite. No books, no files.

Both train on the embedded photographs, in turn (benchmarks/turns.py): a callback, last in the trainer's list, holds zoo
while the loop runs. On a GPU each segment ends with a synchronisation. At the end PROFILED steps of each are looked at:
convolution is the library's share of a step, and no loop can change it.

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
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import hydra  # noqa: E402
import lightning as L  # noqa: E402
import torch  # noqa: E402
import turns  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import train  # noqa: E402
from zoo.batch import LowHigh, from_bytes  # noqa: E402
from zoo.game.averages import EMA  # noqa: E402
from zoo.model.srgan import SRGAN  # noqa: E402

WARMUP, PROFILED = 3, 2  # steps


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


class Reins(L.Callback):
    """Has zoo's training stand still before each of its steps, makes the loop, and counts the wait for data."""

    def __init__(self, loop: turns.Loop, now: Callable[[], float]) -> None:
        self.reins, self.now = loop, now
        self.waits: list[float] = []  # seconds of each of zoo's steps

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.model, self.loop = pl_module, Loop(trainer, pl_module)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        arrives = data.on_after_batch_transfer

        def arrived(batch: LowHigh, dataloader_idx: int) -> LowHigh:
            batch = arrives(batch, dataloader_idx)
            self.waits.append(self.now() - self.asked)
            return batch

        data.on_after_batch_transfer = arrived
        self.pause()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        self.pause()

    def pause(self) -> None:
        self.reins.pause()
        self.asked = self.now()


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
    steps = WARMUP + args.rounds * args.steps + PROFILED
    now = turns.clock("wall", args.device)
    reins: list[Reins] = []

    def zoo(loop: turns.Loop) -> None:
        reins.append(Reins(loop, now))
        with last_callback(reins[0], args.channels_last == "on"):
            train.run(config)

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
        with contextlib.redirect_stdout(io.StringIO()), turns.Loop(zoo) as training:
            arms = {"zoo": training, "loop": turns.stepping(reins[0].loop)}
            seconds = turns.take_turns(arms, rounds=args.rounds, steps=args.steps, now=now, warmup=WARMUP)
            parts = {name: turns.parts(arm, steps=PROFILED, device=args.device) for name, arm in arms.items()}
    print(
        f"SRGAN x4, {args.phase} phase, {args.blocks} blocks of width {args.width}, {args.norm} norm, "
        f"{args.batch} patches of {args.patch}x{args.patch}, {args.precision}, channels-last {args.channels_last}"
        f"{', compiled' if args.compile else ''}\n"
        f"{torch.cuda.get_device_name() if args.device == 'cuda' else f'{torch.get_num_threads()} CPU threads'}, torch "
        f"{torch.__version__}, load {os.getloadavg()[0]:.1f}; {args.rounds} rounds of {args.steps} steps, median "
        "[lowest, highest]\n"
    )
    print(f"{'':12}{'patches/s':>28}{'ms a step':>28}")
    for name, rounds in seconds.items():
        speeds, milliseconds = [args.batch / s for s in rounds], [1000 * s for s in rounds]
        print(f"{name:12}{turns.spread(speeds, ',.1f'):>28}{turns.spread(milliseconds, ',.1f'):>28}")
    print()
    for name, made_of in parts.items():
        print(f"{name:12}{made_of}")
    print(f"\nzoo / loop          {turns.spread(turns.ratios(seconds, 'loop', 'zoo'), '.3f')}   target: 0.97 or more")
    waits = [reins[0].waits[WARMUP + k * args.steps :][: args.steps] for k in range(args.rounds)]
    waited = [100 * sum(wait) / args.steps / s for wait, s in zip(waits, seconds["zoo"], strict=True)]
    print(f"waiting for data    {turns.spread(waited)} %   target: below 5 %")
    differ = differences(reins[0].model, reins[0].loop)
    print(f"zoo and loop after {steps} steps: ", end="")
    print("\n    ".join(["NOT EQUAL", *differ[:5]]) if differ else "equal bit for bit")
    return 1 if differ and args.precision == "fp32" and not args.compile else 0


if __name__ == "__main__":
    sys.exit(main())
