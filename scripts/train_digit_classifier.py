"""Trains the digit classifier behind `fid_mnist` and writes zoo/metrics/digit_classifier.safetensors.

    python scripts/train_digit_classifier.py --data mnist.npz

The .npz holds MNIST as uint8: train_images [60000, 28, 28], train_labels, test_images [10000, 28, 28], test_labels.
Stored as float16; the accuracy printed, and kept in the file's metadata, is that of the stored weights on the official
test images. About five minutes on two CPU cores.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from zoo.metrics.extractors import DigitClassifier, DigitNetwork, digit_input


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


def accuracy(network: torch.nn.Module, x: Tensor, y: Tensor) -> float:
    network.eval()
    with torch.no_grad():
        return torch.cat([network(part).argmax(1) for part in x.split(1000)]).eq(y).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="MNIST as .npz")
    parser.add_argument("--output", type=Path, default=DigitClassifier.FILE)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    data = np.load(args.data)
    x, x_test = (digit_input(torch.from_numpy(data[f"{split}_images"])[:, None]) for split in ("train", "test"))
    y, y_test = (torch.from_numpy(data[f"{split}_labels"]).long() for split in ("train", "test"))

    network = DigitNetwork().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-4, fused=True)
    steps = args.epochs * (len(x) // args.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)

    start = time.monotonic()
    for epoch in range(args.epochs):
        network.train()
        for chosen in torch.randperm(len(x))[: steps // args.epochs * args.batch_size].split(args.batch_size):
            logits = network(jitter(x[chosen]).contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad()
            F.cross_entropy(logits, y[chosen]).backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: {accuracy(network, x_test, y_test):.4%} after {time.monotonic() - start:.0f} s")

    # Store half of the bits, and state the accuracy of what is stored.
    stored = {key: t.half().contiguous() if t.is_floating_point() else t for key, t in network.state_dict().items()}
    network.load_state_dict(stored)
    result = accuracy(network, x_test, y_test)
    options = f"--epochs {args.epochs} --batch-size {args.batch_size} --seed {args.seed}"
    metadata = {
        "accuracy": f"{result:.4f}",
        "measured_on": "MNIST's 10,000 official test images",
        "seed": str(args.seed),
        "command": f"python scripts/train_digit_classifier.py --data mnist.npz {options}",
        "torch": torch.__version__,
    }
    save_file(stored, args.output, metadata)
    print(f"{args.output}: {args.output.stat().st_size} bytes, test accuracy {result:.2%}")


if __name__ == "__main__":
    main()
