"""Trains one of the small classifiers behind `fid_mnist`, `fid_cifar10` and `fid_colour_digits` and writes its weights.

    python scripts/train_classifier.py mnist --data mnist.npz
    python scripts/train_classifier.py colour_digits --data mnist.npz
    python scripts/train_classifier.py cifar10 --data cifar10.npz --images "as published"

The .npz holds the set as uint8: train_images [N, H, W] or [N, H, W, 3], train_labels, test_images, test_labels.
They go into zoo/metrics, as float16; the accuracy printed, and kept in the file's metadata, is that of the stored
weights on the test images. About ten minutes (mnist), six (colour_digits) and half an hour (cifar10) of one CPU core.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer

from zoo.batch import from_bytes, to_bytes
from zoo.data.embedded_pairs import bright_colours, colour_in, cut_patches, paint
from zoo.data.module import seeded
from zoo.metrics.extractors import CIFAR10Classifier, ColourDigitClassifier, DigitClassifier, SmallClassifier


def jitter(x: Tensor) -> Tensor:
    """Turns by up to 10 degrees, scales by up to 10 %, shears and shifts by up to 2 pixels, each image alone."""

    def uniform(limit: float) -> Tensor:
        return (torch.rand(len(x)) * 2 - 1) * limit

    angle, shear = uniform(0.175), uniform(0.1)
    width, height = 1 + uniform(0.1), 1 + uniform(0.1)
    theta = torch.stack(
        [
            torch.stack([angle.cos() * width, -angle.sin() + shear, uniform(0.125)], dim=1),
            torch.stack([angle.sin(), angle.cos() * height, uniform(0.125)], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1  # black outside the image


def flip_and_crop(x: Tensor) -> Tensor:
    """Mirrors with probability 1/2 and shifts by up to 4 pixels, reflected at the border, each image alone."""
    n, _, height, width = x.shape
    padded = F.pad(x, (4, 4, 4, 4), mode="reflect")
    rows = torch.randint(9, (n, 1)) + torch.arange(height)  # [N, H]
    columns = torch.randint(9, (n, 1)) + torch.arange(width)  # [N, W]
    columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    # Indices on both sides of the slice put the channels last.
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@cache
def patches() -> Tensor:
    """A stock of patches of photographs, from the parts that training images are cut from: uint8 [20000, 3, 32, 32]."""
    return cut_patches(20_000, seeded(0), test=False)


def jitter_and_paint(x: Tensor) -> Tensor:
    """`jitter`, and half of the grey images [N, 1, 32, 32] in colours over photographs: [N, 3, 32, 32]."""
    x = jitter(x)
    n = len(x) // 2
    colours = bright_colours(n, torch.default_generator)
    painted = paint(to_bytes(x[:n]), patches()[torch.randint(len(patches()), (n,))], colours)
    return torch.cat([from_bytes(painted), x[n:].expand(-1, 3, -1, -1)])


def in_colour(x: Tensor) -> Tensor:
    """Grey test images [N, 1, 32, 32] in colours over the parts of photographs that are kept for tests."""
    return from_bytes(colour_in(to_bytes(x), seed=100, test=True))


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained, with a one-cycle schedule of learning rates."""

    classifier: type[SmallClassifier]
    augment: Callable[[Tensor], Tensor]
    optimizer: Callable[[nn.Module], Optimizer]
    max_lr: float
    epochs: int
    batch_size: int
    label_smoothing: float
    inputs: Callable[[Tensor], Tensor]  # uint8 images as `augment` takes them
    # The kinds of test images: what makes the network's inputs of them.
    tests: dict[str, Callable[[Tensor], Tensor]] = field(default_factory=lambda: {"test images": lambda x: x})


RECIPES = {
    "mnist": Recipe(
        classifier=DigitClassifier,
        augment=jitter,
        optimizer=lambda network: AdamW(network.parameters(), weight_decay=1e-4, fused=True),
        max_lr=4e-3,
        epochs=10,
        batch_size=200,
        label_smoothing=0.0,
        inputs=DigitClassifier.inputs,
    ),
    "colour_digits": Recipe(
        classifier=ColourDigitClassifier,
        augment=jitter_and_paint,
        optimizer=lambda network: AdamW(network.parameters(), weight_decay=1e-4, fused=True),
        max_lr=4e-3,
        epochs=6,
        batch_size=200,
        label_smoothing=0.0,
        inputs=DigitClassifier.inputs,
        tests={"test images": lambda x: x.expand(-1, 3, -1, -1), "test images in colour": in_colour},
    ),
    "cifar10": Recipe(
        classifier=CIFAR10Classifier,
        augment=flip_and_crop,
        optimizer=lambda network: SGD(network.parameters(), momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True),
        max_lr=0.15,
        epochs=10,
        batch_size=125,
        label_smoothing=0.1,
        inputs=CIFAR10Classifier.inputs,
    ),
}


def accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of images that the network, in evaluation mode, puts into their class."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network(part).argmax(1) for part in x.split(1000)]).eq(y).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extractor", choices=RECIPES)
    parser.add_argument("--data", type=Path, required=True, help="the set as .npz")
    parser.add_argument("--images", default="as published", help="what its images are, for the file's metadata")
    parser.add_argument("--output", type=Path, help="default: where the extractor looks for its weights")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    recipe = RECIPES[args.extractor]
    epochs, output = args.epochs or recipe.epochs, args.output or recipe.classifier.FILE

    torch.manual_seed(args.seed)
    data = np.load(args.data)

    def inputs(split: str) -> Tensor:
        images = torch.from_numpy(data[f"{split}_images"])
        return recipe.inputs(images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2))

    x, x_test = inputs("train"), inputs("test")
    y, y_test = (torch.from_numpy(data[f"{split}_labels"]).long() for split in ("train", "test"))

    tests = {name: view(x_test) for name, view in recipe.tests.items()}

    def measured() -> dict[str, float]:
        return {name: accuracy(network, view, y_test) for name, view in tests.items()}

    network = recipe.classifier.Network().to(memory_format=torch.channels_last)
    optimizer = recipe.optimizer(network)
    per_epoch = len(x) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.max_lr, total_steps=epochs * per_epoch)

    start = time.monotonic()
    for epoch in range(epochs):
        network.train()
        for chosen in torch.randperm(len(x))[: per_epoch * recipe.batch_size].split(recipe.batch_size):
            logits = network(recipe.augment(x[chosen]).contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad()
            F.cross_entropy(logits, y[chosen], label_smoothing=recipe.label_smoothing).backward()
            optimizer.step()
            schedule.step()
        passed = f"{time.monotonic() - start:.0f} s, {time.process_time():.0f} s of CPU"
        now = ", ".join(f"{share:.4%} of {name}" for name, share in measured().items())
        print(f"epoch {epoch + 1}: {now} after {passed}", flush=True)

    # Store half of the bits, and state the accuracy of what is stored.
    stored = {key: t.half().contiguous() if t.is_floating_point() else t for key, t in network.state_dict().items()}
    network.load_state_dict(stored)
    result = measured()
    options = f"--epochs {epochs} --seed {args.seed}"
    metadata = {
        "accuracy": ", ".join(f"{share:.4f}" for share in result.values()),
        "measured_on": f"the set's {len(y_test):,} {', '.join(result)}",
        "images": args.images,
        "seed": str(args.seed),
        "command": f"python scripts/train_classifier.py {args.extractor} --data {args.data.name} {options}",
        "torch": torch.__version__,
    }
    save_file(stored, output, metadata)
    print(
        f"{output}: {output.stat().st_size} bytes, "
        + ", ".join(f"{share:.2%} of {name}" for name, share in result.items())
    )


if __name__ == "__main__":
    main()
