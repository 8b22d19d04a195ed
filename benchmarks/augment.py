"""What augmentation costs beside a discriminator, and beside kornia's where kornia is installed.

    python benchmarks/augment.py                  # 64 images of 32x32
    python benchmarks/augment.py --size 64

One row for each policy of conf/augment, with p = 1, and its part that kornia can do too: seconds of T(x), and of T(x)
with the gradient with respect to x, as parts of D(x) forward and backward (DCGAN's D, width 32). A step of training has
T three times, once with its gradient. Rounds are interleaved, so that a machine that slows down slows down all; the
table has medians, and the lowest and the highest round in brackets. Of D it says what part is convolution.

kornia: the nearest chain of its augmentations, images in [0, 1]. `geometry`: flip, quarter turn, affine.
`color,translation,cutout`: ColorJiggle (hue off), RandomAffine, RandomErasing. Its colours need three channels.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import turns  # noqa: E402
from torch import Tensor  # noqa: E402

from zoo.game.augment import Augment  # noqa: E402
from zoo.model.dcgan import Discriminator  # noqa: E402
from zoo.run.config import table  # noqa: E402

try:
    import kornia
    import kornia.augmentation as K
except ImportError:
    K = None

COLOURS = ("brightness", "contrast", "luma_flip", "hue", "saturation")


def policies() -> dict[str, dict[str, Any]]:
    """Keys of Augment by name."""
    ada, diff = ({**table("augment")[name], "probability": 1.0} for name in ("ada", "diffaugment"))
    return {
        "ada": ada,
        "ada: geometry": {**ada, **dict.fromkeys(COLOURS, 0), "luma_flip": False},
        "diffaugment: color,translation,cutout": diff,
        "diffaugment: translation,cutout": {**diff, "color": 0},
    }


def rivals(channels: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """kornia's nearest to each policy."""
    if K is None:
        return {}
    moves = [K.RandomAffine(0.0, (0.125, 0.125), p=1.0), K.RandomErasing((0.25, 0.25), (1.0, 1.0), p=1.0)]
    affine = K.RandomAffine(180.0, (0.125, 0.125), (0.75, 1.33), p=1.0)
    chains = {
        "ada: geometry": [K.RandomHorizontalFlip(p=0.5), K.RandomRotation90((0, 3), p=1.0), affine],
        "diffaugment: translation,cutout": moves,
    }
    if channels == 3:
        jiggle = K.ColorJiggle(brightness=0.25, contrast=0.5, saturation=(0.0, 2.0), p=1.0)
        chains["diffaugment: color,translation,cutout"] = [jiggle, *moves]
    return {name: K.ImageSequential(*chain) for name, chain in chains.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="what augmentation costs")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    rival = f"kornia {kornia.__version__}" if K else "no kornia"
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.device}, {rival}")
    for channels in (3, 1):
        measure(channels, args)


def measure(channels: int, args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    generator = torch.Generator(args.device).manual_seed(0)
    shape = (args.batch, channels, args.size, args.size)
    x = torch.rand(shape, device=args.device).contiguous(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.randn_like(x)
    D = Discriminator(shape=(channels, args.size, args.size), base=32, most=1024, norm="batch")
    D.to(args.device, memory_format=torch.channels_last)

    def once(T: Callable[[Tensor], Tensor]) -> Callable[[], Any]:
        return lambda: T(x.detach())

    def both(T: Callable[[Tensor], Tensor]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(T(x), x, gradient)

    jobs: dict[str, Callable[[], Any]] = {"D": lambda: torch.autograd.grad(D(x).sum(), [x, *D.parameters()])}
    for name, keys in policies().items():
        T = partial(Augment(**keys).to(args.device), generator=generator)
        jobs |= {f"{name}/once": once(T), f"{name}/both": both(T)}
    for name, rival in rivals(channels).items():
        jobs |= {f"{name}/kornia once": once(rival), f"{name}/kornia both": both(rival)}
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for r in range(args.rounds + 2):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if args.device != "cpu":
                torch.cuda.synchronize()
            if r >= 2:  # warm
                seconds[name].append(time.perf_counter() - start)

    def ratio(a: str, b: str) -> str:
        if a not in seconds or b not in seconds:
            return "-"
        parts = [s / t for s, t in zip(seconds[a], seconds[b], strict=True)]
        return f"{statistics.median(parts):.2f} [{min(parts):.2f}, {max(parts):.2f}]"

    print(f"\n{list(shape)}: D forward and backward {1e3 * statistics.median(seconds['D']):.1f} ms")
    print(f"D: {turns.parts(turns.stepping(jobs['D']), steps=2, device=args.device)}")
    print(f"{'policy':38} {'T / D':20} {'T, gradient / D':20} {'T / kornia':20} {'T, gradient / kornia':20}")
    for name in policies():
        cells = [ratio(f"{name}/once", "D"), ratio(f"{name}/both", "D")]
        cells += [ratio(f"{name}/{way}", f"{name}/kornia {way}") for way in ("once", "both")]
        print(f"{name:38} " + " ".join(f"{cell:20}" for cell in cells))


if __name__ == "__main__":
    main()
