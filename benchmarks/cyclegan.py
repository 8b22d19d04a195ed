"""How fast CycleGAN's step is, beside a plain loop in the order of operations of the authors' implementation.

    python benchmarks/cyclegan.py                                             # the paper's networks, 128 and 256 pixels
    python benchmarks/cyclegan.py --sizes 128 --width 16 --rounds 3 --steps 3 # a quick look
    python benchmarks/cyclegan.py --device cuda --precision bf16 --compile    # both of these for zoo alone

zoo     `CycleGAN` in a Lightning trainer: translation and identity in one pass, real and generated images in one pass
        of each discriminator, channels-last, the kernel of instance normalisation that is fastest there, fused Adam,
        the same check that losses and gradients are finite, and the books.
plain   the same weights and batches in separate passes, in the order of the authors' `optimize_parameters`: both
        translations and both round trips, discriminators' gradients off, both identities, one backward; then for each
        discriminator real, generated, backward. NCHW, torch's instance_norm and Adam, a history kept image by image.

Protocol: benchmarks/turns.py, one `trainer.fit` for each setting, on noise in [-1, 1]; the first WARMUP steps are not
timed. Below each row stands what a step is made of: convolutions are the library's, in both loops.

Proof of equal work, in fp32: the terms of the first step agree to 1e-4 of their value, or the exit code is 1. Later
steps are held equal, history included, in tests/model/test_cyclegan.py; here the plain loop draws no old images.
"""

import argparse
import copy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import lightning as L  # noqa: E402
import torch  # noqa: E402
from hydra.utils import instantiate  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import instance_norm  # noqa: E402
from turns import clock, fitting, parts, ratios, spread, stepping, take_turns  # noqa: E402

from zoo.batch import ImagePairs  # noqa: E402
from zoo.model.cyclegan import CycleGAN  # noqa: E402
from zoo.networks.translators import InstanceNorm  # noqa: E402
from zoo.run.config import compose  # noqa: E402

WARMUP = 2  # steps
TARGETS = {"cpu": 1.15, "cuda": 1.5}


class Plain:
    """The authors' order."""

    def __init__(self, model: CycleGAN) -> None:
        self.G, self.F, self.D_X, self.D_Y = (
            with_torchs_norm(copy.deepcopy(network)).to(memory_format=torch.contiguous_format)
            for network in (model.G, model.F, model.D_X, model.D_Y)
        )
        self.of_G = [*self.G.parameters(), *self.F.parameters()]
        self.of_D = [*self.D_X.parameters(), *self.D_Y.parameters()]
        self.opt_G, self.opt_D = (torch.optim.Adam(p, lr=2e-4, betas=(0.5, 0.999)) for p in (self.of_G, self.of_D))
        self.history: dict[str, list[Tensor]] = {"x": [], "y": []}
        self.terms: dict[str, Tensor] = {}

    def __call__(self, batch: ImagePairs) -> None:
        G, F, x, y = self.G, self.F, batch.x, batch.y
        fake_y = G(x)
        back_x = F(fake_y)
        fake_x = F(y)
        back_y = G(fake_x)

        for p in self.of_D:
            p.requires_grad_(False)
        self.opt_G.zero_grad()
        identity = 5 * ((G(y) - y).abs().mean() + (F(x) - x).abs().mean())
        adversarial = (self.D_Y(fake_y) - 1).square().mean() + (self.D_X(fake_x) - 1).square().mean()
        cycle = 10 * ((back_x - x).abs().mean() + (back_y - y).abs().mean())
        (adversarial + cycle + identity).backward()
        self.opt_G.step()

        for p in self.of_D:
            p.requires_grad_(True)
        self.opt_D.zero_grad()
        losses = [self.judge(self.D_X, x, fake_x, "x"), self.judge(self.D_Y, y, fake_y, "y")]
        self.opt_D.step()
        self.terms = {"G/adversarial": adversarial, "G/cycle": cycle, "G/identity": identity}
        self.terms["D/adversarial"] = losses[0] + losses[1]

    def judge(self, D: nn.Module, real: Tensor, fake: Tensor, domain: str) -> Tensor:
        shown = fake.detach()
        for image in shown:
            if len(self.history[domain]) < 50:
                self.history[domain].append(image.clone())
        loss = ((D(real) - 1).square().mean() + D(shown).square().mean()) / 2
        loss.backward()
        return loss.detach()


class TorchsNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return instance_norm(x)


def with_torchs_norm(network: nn.Module) -> nn.Module:
    """The network with torch's own instance normalisation."""
    for module in network.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, InstanceNorm):
                setattr(module, name, TorchsNorm())
    return network


class Beside:
    """Both loops at one size and batch: seconds of a step, terms of the first step, and what zoo's is made of."""

    def __init__(self, size: int, n: int, args: argparse.Namespace) -> None:
        overrides = [f"data.image_size={size}", f"model.width={args.width}", f"model.discriminator_width={args.width}"]
        config = compose("model=cyclegan", "max_images=1_000_000", *overrides)
        L.seed_everything(1, verbose=False)
        model = instantiate(config.model, _convert_="all")
        if args.compile:
            model.compile_networks()
        zero = torch.zeros(n, dtype=torch.int64)
        batch = ImagePairs(*(torch.rand(2, n, 3, size, size) * 2 - 1), zero, zero, zero.bool(), torch.arange(n))
        batch = ImagePairs(*(tensor.to(args.device) for tensor in batch))
        with fitting(model, batch, device=args.device, precision=args.precision) as zoo:
            plain = Plain(model)
            arms = {"zoo": zoo, "plain": stepping(lambda: plain(batch))}
            for arm in arms.values():
                arm(1)
            terms = {name: values[-1].item() for name, values in model.run_log._window.items()}
            self.first = {
                "zoo": {name: terms[name] for name in plain.terms},
                "plain": {name: term.item() for name, term in plain.terms.items()},
            }
            self.seconds = take_turns(
                arms, rounds=args.rounds, steps=args.steps, now=clock("wall", args.device), warmup=WARMUP - 1
            )
            self.parts = {name: parts(arm, steps=1, device=args.device) for name, arm in arms.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    for name, default in {"width": 64, "rounds": 5, "steps": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()

    print(f"width {args.width}, {args.device}, {args.precision}, {torch.get_num_threads()} threads, torch", end=" ")
    print(f"{torch.__version__}: {args.rounds} rounds of {args.steps} steps, median [lowest, highest]")
    print(f"{'pixels':>8}{'batch':>7}{'zoo, images/s':>24}{'plain, images/s':>24}{'ratio':>24}")
    equal = True
    for size in args.sizes:
        for n in args.batches:
            both = Beside(size, n, args)
            speeds = [spread([n / s for s in both.seconds[name]], ".3g") for name in ("zoo", "plain")]
            ratio = spread(ratios(both.seconds, "plain", "zoo"), ".3g")
            print(f"{size:>8}{n:>7}{speeds[0]:>24}{speeds[1]:>24}{ratio:>24}", flush=True)
            for name, made_of in both.parts.items():
                print(f"        {name}: {made_of}", flush=True)
            zoo, plain = both.first["zoo"], both.first["plain"]
            worst = max(abs(zoo[name] / plain[name] - 1) for name in plain)
            if args.precision == "fp32" and worst > 1e-4:
                equal = False
                print(f"    NOT EQUAL: terms of the first step differ by up to {worst:.1e}: {zoo} and {plain}")
    print(f"target: {TARGETS[args.device]} or more{'; terms equal' if equal and args.precision == 'fp32' else ''}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
