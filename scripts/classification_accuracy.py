"""Classification accuracy score: how well a classifier does on real images that has seen synthetic ones only.

    zoo sample RUN --per-class 500 -o synthetic
    python scripts/classification_accuracy.py synthetic --data mnist5k

Ravuri and Vinyals 2019, arXiv:1905.10887, section 3: train on samples of p(x | y), test on real test images. Beside it
stands the same classifier trained on as many real images, and on all there are: what the synthetic ones are to replace.
Every training sees the same number of images, in batches of the same size, by the same schedule; about two minutes each
on one CPU core at 32x32. The classifier is this script's own: scores compare with each other, not with the paper's.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.batch import from_bytes
from zoo.networks.classifiers import block
from zoo.run.config import compose
from zoo.use.sample import folder_name

BATCH_SIZE = 100
SHIFT = 2  # pixels, in each direction, of each training image


def classifier(channels: int, classes: int) -> nn.Module:
    """Images [N, channels, H, W] in [-1, 1] -> logits [N, classes]. 130 thousand parameters for ten classes."""
    return nn.Sequential(
        *block(channels, 16, stride=1),
        *block(16, 32, stride=2),
        *block(32, 32, stride=1),
        *block(32, 64, stride=2),
        *block(64, 64, stride=1),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(64 * 4 * 4, 64),
        nn.GELU(),
        nn.Linear(64, classes),
    )


def shifted(x: Tensor) -> Tensor:
    """Each image moved by up to SHIFT pixels, its border repeated."""
    n, _, height, width = x.shape
    padded = F.pad(x, (SHIFT,) * 4, mode="replicate")
    rows = torch.randint(2 * SHIFT + 1, (n, 1)) + torch.arange(height)
    columns = torch.randint(2 * SHIFT + 1, (n, 1)) + torch.arange(width)
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def accuracy(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, classes: int, shown: int, seed: int
) -> float:
    """The share of test images that a classifier reads right after `shown` training images.

    Args:
        train, test: images uint8 [N, C, H, W] and labels int64 [N].
    """
    torch.manual_seed(seed)
    images, labels = train
    network = classifier(images.shape[1], classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-4, fused=True)
    steps = max(1, shown // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        while len(order) < BATCH_SIZE:  # another epoch
            order = torch.cat([order, torch.randperm(len(images))])
        chosen, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
        x = shifted(from_bytes(images[chosen])).contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        F.cross_entropy(network(x), labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        predicted = torch.cat([network(from_bytes(part)).argmax(1) for part in test[0].split(500)])
    return (predicted == test[1]).double().mean().item()


def data_module(overrides: list[str], **settings: Any) -> Any:
    """What train.py would train on with these overrides."""
    data = instantiate(compose(*overrides).data, **settings, _convert_="all")
    data.prepare_data()
    data.setup("validate")
    return data


def everything(data: Any, split: str) -> tuple[Tensor, Tensor]:
    """A split's images uint8 [N, C, H, W] and labels int64 [N]."""
    batch = data.split(split)[range(data.num_images(split))]
    return batch.image, batch.label


def synthetic_like(real: Any, folder: Path) -> tuple[Tensor, Tensor]:
    """The images of a labelled folder at the real ones' size, with the real ones' labels.

    Raises:
        ValueError: other classes than the real ones'.
    """
    size = {"image_size": list(real.rows.image_size), "channels": real.rows.channels[0]}
    data = data_module(["data=labelled_folder"], root=str(folder), **size)
    images, labels = everything(data, "train")
    names = [folder_name(name) for name in real.classes]
    if sorted(names) != data.classes:
        raise ValueError(f"{folder} has the classes {', '.join(data.classes)}, the real images {', '.join(names)}")
    return images, torch.tensor([names.index(name) for name in data.classes])[labels]


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Print each training set's accuracy on the real test images, and return them by name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="synthetic images: folder/<class>/<image>")
    parser.add_argument("--data", required=True, help="the real images: a choice of data=")
    parser.add_argument("overrides", nargs="*", help="settings of the data, such as data.root=~/mnist")
    parser.add_argument("--shown", type=int, default=150_000, help="training images shown in each training")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_intermixed_args(arguments)

    real = data_module([f"data={args.data}", *args.overrides])
    synthetic, test, everyone = synthetic_like(real, args.folder), everything(real, "test"), everything(real, "train")
    some = torch.randperm(len(everyone[1]), generator=torch.Generator().manual_seed(args.seed))[: len(synthetic[1])]
    sets = {"synthetic": synthetic, "as many real": (everyone[0][some], everyone[1][some]), "all real": everyone}
    if len(some) == len(everyone[1]):
        del sets["as many real"]

    print(f"accuracy on {len(test[1]):,} real test images, after {args.shown:,} training images, seed {args.seed}")
    result = {}
    for name, train in sets.items():
        result[name] = accuracy(train, test, classes=len(real.classes), shown=args.shown, seed=args.seed)
        print(f"  {name:<14}{len(train[1]):>8,} images  {result[name]:.2%}", flush=True)
    return result


if __name__ == "__main__":
    main()
