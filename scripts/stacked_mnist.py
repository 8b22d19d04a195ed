"""Stacked MNIST: how many of 1,000 modes does a generator reach?

    python scripts/stacked_mnist.py make mnist.npz stacked.npz
    python train.py model=r3gan data=folder data.root=stacked.npz data.batch_size=64 metrics=none \
        max_images=500_000
    python scripts/stacked_mnist.py count RUN

Three digits at random make one image, each in a colour channel (Metz et al. 2017, arXiv:1611.02163, section 3.3.1): a
mode for each number from 000 to 999, all equally likely. A classifier reads the channels of 26,000 generated images, as
in Srivastava et al. 2017 (VEEGAN, arXiv:1705.07761) and Lin et al. 2018 (PacGAN, arXiv:1712.04086). What is counted are
the numbers that it reads at least once, and KL(p || uniform) of their frequencies p, in nats. Huang et al. 2024
(R3GAN, arXiv:2501.05441) report the two.

The classifier is the one of `fid_mnist` (zoo/metrics/extractors.py says how well it reads); others' counts are by
others' classifiers. With 26,000 images of the very data the estimate of KL is not 0 but about 999 / (2 * 26,000) =
0.019: `count` prints it for as many real images too, where `--real stacked.npz` is given.

mnist.npz holds train_images uint8 [N, 28, 28].
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import zoo
from zoo.atomic import replacing
from zoo.metrics.extractors import DigitClassifier

MODES = 1_000
BATCH = 500


def stacked(digits: np.ndarray, images: int, seed: int) -> np.ndarray:
    """uint8 [images, 32, 32, 3], three digits uint8 [N, 28, 28] each, drawn with replacement, with 2 black pixels
    around.

    Raises:
        ValueError: unless the digits are uint8 [N, 28, 28].
    """
    if digits.dtype != np.uint8 or digits.ndim != 3 or digits.shape[1:] != (28, 28) or not len(digits):
        raise ValueError(f"digits of {digits.dtype} {list(digits.shape)}: wanted are uint8 [N, 28, 28]")
    chosen = np.random.default_rng(seed).integers(len(digits), size=(images, 3))
    result = np.zeros((images, 32, 32, 3), np.uint8)
    for channel in range(3):
        result[:, 2:30, 2:30, channel] = digits[chosen[:, channel]]
    return result


def read(images: Tensor, classifier: DigitClassifier) -> Tensor:
    """The number, 0 to 999, of each image uint8 [N, 3, 32, 32], red the hundreds, blue the ones."""
    digits = torch.stack([classifier.logits(images[:, [channel]]).argmax(1) for channel in range(3)])
    return digits[0] * 100 + digits[1] * 10 + digits[2]


def counted(numbers: Tensor) -> tuple[int, float]:
    """How many of the modes there are in numbers int64 [N], and KL(their frequencies || uniform), in nats."""
    p = torch.bincount(numbers, minlength=MODES).double() / len(numbers)
    there = p[p > 0]
    return len(there), float((there * (there * MODES).log()).sum())


def read_all(images: np.ndarray | Tensor) -> Tensor:
    """The numbers of images uint8 [N, 32, 32, 3] or [N, 3, 32, 32]."""
    classifier = DigitClassifier()
    tensor = torch.as_tensor(images)
    tensor = tensor.permute(0, 3, 1, 2) if tensor.shape[-1] == 3 else tensor
    return torch.cat([read(part, classifier) for part in tensor.split(BATCH)])


def generated(run: str, images: int, seed: int) -> Tensor:
    """uint8 [images, 3, H, W] of the seeds from `seed` on.

    Raises:
        ValueError: for a model that makes no images of latents, or no colours.
    """
    model = zoo.load(run)
    if not hasattr(model, "sample"):
        raise ValueError(f"{run} makes no images of latents, so that it has no modes to count")
    parts = []
    for first in range(0, images, BATCH):
        part = model.sample(min(BATCH, images - first), seed=seed + first)
        if part.shape[1] != 3:
            raise ValueError(f"{run} makes images of {part.shape[1]} channels: train it on what `make` wrote")
        parts.append((part * 255).round().to(torch.uint8))
    return torch.cat(parts)


def array(path: Path, name: str) -> np.ndarray:
    """An array of an .npz.

    Raises:
        ValueError: if there is no such file, or it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return file[name]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} holds no array {name!r} of an .npz ({error})") from None


def main(arguments: list[str] | None = None) -> dict[str, tuple[int, float]]:
    """Write the set, or print and return modes and KL by name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write the set")
    make.add_argument("digits", type=Path, help="mnist.npz")
    make.add_argument("output", type=Path, help="stacked.npz")
    make.add_argument("--images", type=int, default=128_000, help="how many; PacGAN: 128,000")
    make.add_argument("--seed", type=int, default=0)
    count = commands.add_parser("count", help="count the modes of a trained model")
    count.add_argument("run", help="a run's folder, a checkpoint or weights")
    count.add_argument("--samples", type=int, default=26_000)
    count.add_argument("--seed", type=int, default=0, help="of the first image")
    count.add_argument("--real", type=Path, help="stacked.npz: the same of as many real images")
    args = parser.parse_args(arguments)
    try:
        if args.command == "make":
            if args.images < 1 or args.output.suffix != ".npz":
                raise ValueError(f"--images={args.images} and {args.output}: wanted are 1 or more, and a name in .npz")
            images = stacked(array(args.digits, "train_images"), args.images, args.seed)
            with replacing(args.output) as part, open(part, "wb") as file:
                np.savez(file, images=images)
            print(f"{args.images:,} images of three digits each: {args.output}")
            return {}
        if args.samples < 1:
            raise ValueError(f"--samples={args.samples}: give 1 or more")
        sets = {"generated": read_all(generated(args.run, args.samples, args.seed))}
        if args.real is not None:
            sets["real"] = read_all(array(args.real, "images")[: args.samples])
        results = {name: counted(numbers) for name, numbers in sets.items()}
        for name, (modes, kl) in results.items():
            print(f"{name:<10} {len(sets[name]):,} images  {modes:,} of {MODES:,} modes  KL {kl:.4f}")
        bias = (MODES - 1) / (2 * args.samples)
        print(f"KL of so many draws from the uniform distribution itself: about {min(bias, math.log(MODES)):.4f}")
    except (ValueError, OSError) as error:  # such as a place that can't be written
        sys.exit(f"error: {error}")
    return results


if __name__ == "__main__":
    main()
