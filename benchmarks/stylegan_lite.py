"""How fast StyleGAN-lite's step is, beside a plain loop of the same arithmetic; what its lazy penalties cost.

    python benchmarks/stylegan_lite.py                           # the default networks, 32 pixels
    python benchmarks/stylegan_lite.py --rounds 3 --steps 16     # a quick look
    python benchmarks/stylegan_lite.py --device cuda --precision bf16 --compile \
        --overrides data.image_size=64 model.channel_base=16384 model.channel_max=256

zoo     `StyleGANLite` in a Lightning trainer: inputs and outputs scaled in place of a grouped convolution, one forward
        of G for both turns, D frozen in G's turn, channels-last, fused Adam, the average by one foreach lerp, the check
        that losses and gradients are finite, and the books. --precision and --compile are for zoo alone.
plain   the same weights, batch and draws: each image's own weights in one grouped convolution (arXiv:1912.04958,
        appendix B), NCHW, a forward of G in each turn, the first without gradients, D's gradients computed in both,
        torch's plain Adam. Penalties as lazily as in zoo, on the same part of the batch.

Protocol: benchmarks/turns.py, within one `trainer.fit`. Segments are multiples of 16 steps, so that each has its share
of penalties. The penalties' cost is zoo's step with them over zoo's step without, in fits that follow each other. What
16 steps are made of stands below: convolution is the library's share, and no loop can change it.

Proof of equal work, in fp32: the terms of the first step, R1 and path length included, agree to 1e-3 of their value, or
the exit code is 1.
"""

import argparse
import copy
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import lightning as L  # noqa: E402
import torch  # noqa: E402
from hydra.utils import instantiate  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.functional import softplus  # noqa: E402
from turns import Arm, clock, fitting, parts, ratios, spread, stepping, take_turns  # noqa: E402

from zoo.batch import LabelledImages  # noqa: E402
from zoo.game.regularizers import zero_centred  # noqa: E402
from zoo.model.stylegan_lite import StyleGANLite  # noqa: E402
from zoo.networks import style as blocks  # noqa: E402
from zoo.networks.path_length import path_lengths  # noqa: E402
from zoo.networks.style import blur, modulated_conv  # noqa: E402
from zoo.run.config import compose  # noqa: E402

WARMUP = 16  # steps
PENALTIES = {
    "neither": ["model.regularizer.r1=0", "model.path_length.weight=0"],
    "R1 in every turn": ["model.regularizer.every=1", "model.path_length.weight=0"],
    "R1 every 16": ["model.path_length.weight=0"],
    "path length in every turn": ["model.regularizer.r1=0", "model.path_length.every=1"],
    "path length every 4": ["model.regularizer.r1=0"],
}


def grouped_conv(x: Tensor, weight: Tensor, style: Tensor, bias: Tensor, *, demodulate: bool, up: bool) -> Tensor:
    """`modulated_conv` by one grouped convolution with N times the weights."""
    n, c_in, h, w = x.shape
    weights = weight * style[:, None, :, None, None]  # [N, C_out, C_in, k, k]
    if demodulate:
        weights = weights * (weights.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, n * c_in, h, w)
    if up:
        x = F.conv_transpose2d(x, weights.transpose(1, 2).flatten(0, 1), stride=2, groups=n)
        x = x.view(n, -1, *x.shape[2:])
        return blur(x, padding=1, gain=4) + bias
    x = F.conv2d(x, weights.flatten(0, 1), padding=weight.shape[-1] // 2, groups=n)
    return x.view(n, -1, h, w) + bias


class Plain:
    """The textbook's order."""

    def __init__(self, model: StyleGANLite, twin: StyleGANLite) -> None:
        twin.load_state_dict(model.state_dict())
        self.model = twin.to(model.device)
        self.model._rng = torch.Generator(model.device)
        self.model._rng.set_state(model.rng.get_state())
        self.average = copy.deepcopy(twin.G)
        lr, betas = model.hparams["lr"], tuple(model.hparams["betas"])
        self.opt_D = torch.optim.Adam(twin.D.parameters(), lr=lr["D"], betas=betas)
        self.opt_G = torch.optim.Adam(twin.G.parameters(), lr=lr["G"], betas=betas)
        self.turn, self.terms = 0, dict[str, Tensor]()

    def __call__(self, batch: LabelledImages) -> None:
        blocks.modulated_conv = grouped_conv
        try:
            self.step(batch.image)
        finally:
            blocks.modulated_conv = modulated_conv

    def step(self, x: Tensor) -> None:
        model, G, D = self.model, self.model.G, self.model.D
        self.turn += 1
        z, noise, mix = model.latent(len(x)), model.noise(len(x), model.growth.end), model.mix(len(x))
        with torch.no_grad():
            fake, w = G(z, mix=mix, noise=noise)
        self.opt_D.zero_grad()
        self.terms = {"D/adversarial": softplus(-D(x)).mean() + softplus(D(fake)).mean()}
        regularizer, path_length = model.regularizer, model.path_length
        if regularizer.r1 and (self.turn - 1) % regularizer.every == 0:
            self.terms["D/r1"] = regularizer.r1 * regularizer.every * zero_centred(D, x)
        sum(self.terms.values()).backward()  # type: ignore[union-attr]
        self.opt_D.step()

        self.opt_G.zero_grad()
        fake, _ = G(z, mix=mix, noise=noise)
        of_G = {"G/adversarial": softplus(-D(fake)).mean()}
        if path_length.weight and (self.turn - 1) % path_length.every == 0:
            n = path_length.part(len(z))
            ws = G.map(z[:n])[:, None].repeat(1, G.num_ws, 1)
            g = lambda ws: G.synthesize(ws, [layer[:n] for layer in noise])
            lengths = path_lengths(g, ws, normal=model.normal)
            path_length.a.lerp_(lengths.mean().detach(), path_length.decay)
            penalty = (lengths - path_length.a).square().mean()
            of_G["G/path_length"] = path_length.weight * path_length.every * penalty
        sum(of_G.values()).backward()  # type: ignore[union-attr]
        self.opt_G.step()
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), G.parameters(), strict=True):
                mean.lerp_(value, 0.01)
            G.w_mean.lerp_(w.mean(0), 0.01)
        self.terms |= of_G


class Measured:
    """Zoo's step with these settings, beside the plain one or alone."""

    def __init__(self, args: argparse.Namespace, *overrides: str, beside: bool) -> None:
        cfg = compose("model=stylegan_lite", "max_images=1_000_000", *args.overrides, *overrides)
        L.seed_everything(1, verbose=False)
        model = instantiate(cfg.model, _convert_="all")
        twin = instantiate(cfg.model, _convert_="all") if beside else None
        if args.compile:
            model.compile_networks()
        h, w = (cfg.data.image_size,) * 2 if isinstance(cfg.data.image_size, int) else cfg.data.image_size
        self.n = cfg.data.batch_size
        image = torch.rand(self.n, cfg.data.channels, h, w, device=args.device) * 2 - 1
        batch = LabelledImages(image, torch.zeros(self.n, dtype=torch.int64), torch.arange(self.n))
        with fitting(model, batch, device=args.device, precision=args.precision) as zoo:
            arms: dict[str, Arm] = {"zoo": zoo}
            self.first: dict[str, dict[str, float]] = {}
            if twin is not None:
                plain = Plain(model, twin)
                arms["plain"] = stepping(lambda: plain(batch))
                arms["plain"](1)
                self.first["plain"] = {name: term.item() for name, term in plain.terms.items()}
            zoo(1)
            self.first["zoo"] = {name: values[-1].item() for name, values in model.run_log._window.items()}
            now = clock("wall", args.device)
            self.seconds = take_turns(arms, rounds=args.rounds, steps=args.steps, now=now, warmup=WARMUP - 1)
            self.parts = {name: parts(arm, steps=16, device=args.device) for name, arm in arms.items()}


def formulations(args: argparse.Namespace) -> None:
    """One modulated 3x3 convolution, forward and backward, both ways."""
    print(f"{'channels, pixels':>20}{'scaled, ms':>24}{'grouped, ms':>24}{'ratio':>24}")
    for c, size in ((64, 8), (32, 16), (16, 32)) if args.device == "cpu" else ((512, 16), (256, 64), (128, 128)):
        x, weight, style = torch.randn(16, c, size, size), torch.randn(c, c, 3, 3), torch.randn(16, c)
        seconds: dict[Any, list[float]] = {modulated_conv: [], grouped_conv: []}
        for turn in range(WARMUP + args.rounds * 4):
            for way in seconds:
                layout = torch.channels_last if way is modulated_conv else torch.contiguous_format
                inputs = [t.to(args.device, memory_format=layout) for t in (x, weight)] + [style.to(args.device)]
                inputs = [t.detach().requires_grad_() for t in inputs]
                start = time.perf_counter()
                way(*inputs, torch.zeros((), device=args.device), demodulate=True, up=False).sum().backward()
                if args.device == "cuda":
                    torch.cuda.synchronize()
                if turn >= WARMUP:
                    seconds[way].append(time.perf_counter() - start)
        scaled, grouped = seconds.values()
        row = [[1e3 * s for s in values] for values in (scaled, grouped)]
        row.append([b / a for a, b in zip(scaled, grouped, strict=True)])
        print(f"{f'{c}, {size}x{size}':>20}" + "".join(f"{spread(cell, '.3g'):>24}" for cell in row), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=32, help="in a segment, a multiple of 16")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--overrides", nargs="*", default=[], help="settings of train.py")
    args = parser.parse_args()
    if args.steps % 16:
        parser.error(f"--steps={args.steps} must be a multiple of 16, so that each segment has its share of penalties")

    print(f"{args.device}, {args.precision}, {torch.get_num_threads()} threads, torch {torch.__version__}:", end=" ")
    print(f"{args.rounds} rounds of {args.steps} steps, median [lowest, highest]")
    formulations(args)
    full = ["regularizer=r1_lazy", "model.path_length.weight=2"]  # both penalties, whatever the default
    both = Measured(args, *full, beside=True)
    for name in ("zoo", "plain"):
        print(f"{name:>26}: {spread([both.n / s for s in both.seconds[name]], '.3g')} images/s")
    print(f"{'ratio':>26}: {spread(ratios(both.seconds, 'plain', 'zoo'), '.3g')}", flush=True)
    for name, made_of in both.parts.items():
        print(f"{name:>26}: {made_of}", flush=True)

    alone = {name: Measured(args, *full, *settings, beside=False) for name, settings in PENALTIES.items()}
    base = statistics.median(alone["neither"].seconds["zoo"])
    for name, timed in alone.items():
        print(f"{name:>26}: {statistics.median(timed.seconds['zoo']) / base:.3f} times the step without penalties")
    zoo, plain = both.first["zoo"], both.first["plain"]
    worst = max(abs(zoo[name] / plain[name] - 1) for name in plain)
    if args.precision == "fp32" and worst > 1e-3:
        print(f"NOT EQUAL: terms of the first step differ by up to {worst:.1e}: {zoo} and {plain}")
        return 1
    print(f"terms of the first step, {', '.join(plain)}: equal to {worst:.0e}" if args.precision == "fp32" else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
