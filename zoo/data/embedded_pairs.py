"""Sets of two domains composed from images that come with the package: no download, no account.

- Digits: MNIST5k, see zoo/data/embedded.py.
- Photographs: eight of those in zoo/data/pixels, whose README.md has their sources and licences.

The recipe is that of MNIST-M (Ganin and Lempitsky 2015, arXiv:1409.7495, section 4.1): digits blended over patches cut
at random from photographs. There the digit inverts the patch, |patch - digit|, which over mid-grey leaves nothing to
see; here patches are at most half as bright as white and the digit is painted over them in a bright colour, so that
every digit stays legible. Composition is deterministic: its seed is fixed, and each photograph's right quarter is cut
for test images only.
"""

from collections.abc import Callable
from functools import partial
from typing import Unpack

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.batch import ImagePairs
from zoo.data.embedded import DIGITS, mnist5k, mnist_size
from zoo.data.licence import MNIST_TERMS, PHOTOGRAPH_TERMS
from zoo.data.module import DataModule, seeded
from zoo.data.pairs import Pairs, PairSettings
from zoo.data.pixels import PHOTOGRAPHS
from zoo.data.sources import Arrays, Domains, Memory, Split, resize

COMPOSITION_SEED = 20_150_706  # of every patch, colour and mask; changing it changes every image
SIDE = 32  # of the composed images, in pixels: MNIST's 28 with 2 around, as zoo/data/embedded.py pads them
PATCH = 24, 96  # the smallest and the largest side of a patch, in pixels of its photograph
TEST_SHARE = 0.25  # of each photograph's width
BRIGHTEST = 0.5  # of a patch, in [0, 1]
PALEST = 0.4  # a colour's smallest channel in [0, 1]; its largest is 1
OF_PATCHES = (
    *("astronaut.png", "brick.png", "chelsea.png", "coffee.png"),
    *("grass.png", "gravel.png", "retina.jpg", "rocket.jpg"),
)


LICENCE = MNIST_TERMS._replace(words=f"digits of {MNIST_TERMS.words}; over patches of {PHOTOGRAPH_TERMS.words}")


def composed(*, compose: Callable[[Tensor, Tensor, bool], Domains]) -> dict[Split, Domains]:
    """The splits of MNIST5k, of the domains that `compose` makes of their images uint8 [N, 1, 32, 32] and labels."""
    return {
        split: compose(mnist_size(digits.images, (SIDE, SIDE)), digits.labels, split == "test")
        for split, digits in mnist5k().items()
    }


def coloured(images: Tensor, labels: Tensor, test: bool) -> Domains:
    """Digits in colour over photographs (X) and plain ones (Y): within each class they go to X and Y in turn."""
    x = colour_in(images[::2], seed=int(test), test=test)
    return Domains(Arrays(x, labels[::2], resize), Arrays(images[1::2], labels[1::2], resize), aligned=False)


def masked(images: Tensor, labels: Tensor, test: bool) -> Domains:
    """Digits in colour over photographs (Y), and the same with a square hidden (X)."""
    y = colour_in(images, seed=2 + int(test), test=test)
    x = hide_square(y, seed=2 + int(test))
    return Domains(Arrays(x, labels, resize), Arrays(y, labels, resize), aligned=True)


class ColourDigits(DataModule):
    """Unpaired: digits in colour over photographs (X) and plain ones (Y), 2,000 of each and 500 for tests.

    No digit of MNIST is in both domains.
    """

    name = "colour_digits"
    names = DIGITS
    licence = LICENCE
    batch = ImagePairs

    def __init__(self, **settings: Unpack[PairSettings]) -> None:
        super().__init__(partial(Memory, make=partial(composed, compose=coloured)), Pairs, settings)


class MaskedDigits(DataModule):
    """Aligned: a digit in colour over a photograph (Y), and the same with a square hidden (X).

    There are 4,000 pairs, and 1,000 for tests. The square has half the sides of the image, lies at a random place at
    least an eighth of them away from the edge, and is filled with mid-grey, the 0 of [-1, 1].
    """

    name = "masked_digits"
    names = DIGITS
    licence = LICENCE
    batch = ImagePairs
    aligned = True

    def __init__(self, **settings: Unpack[PairSettings]) -> None:
        super().__init__(partial(Memory, make=partial(composed, compose=masked)), Pairs, settings)


def colour_in(digits: Tensor, *, seed: int, test: bool) -> Tensor:
    """Grey digits uint8 [N, 1, 32, 32] in colours over patches of photographs: uint8 [N, 3, 32, 32]."""
    draw = seeded(COMPOSITION_SEED, seed)
    patches = cut_patches(len(digits), draw, test=test)
    return paint(digits, patches, bright_colours(len(digits), draw))


def paint(digits: Tensor, patches: Tensor, colours: Tensor) -> Tensor:
    """a * colour + (1 - a) * BRIGHTEST * patch, where a is the digit in [0, 1].

    Digits uint8 [N, 1, H, W], patches uint8 [N, 3, H, W], colours float32 [N, 3] in [0, 1] -> uint8 [N, 3, H, W].
    """
    a = digits.float() / 255
    return torch.lerp(patches * BRIGHTEST, 255 * colours[:, :, None, None], a).round_().to(torch.uint8)


def bright_colours(n: int, draw: torch.Generator) -> Tensor:
    """Colours of every hue, float32 [N, 3] in [PALEST, 1], the largest channel 1."""
    levels = torch.rand(n, 3, generator=draw)
    low, high = levels.amin(1, keepdim=True), levels.amax(1, keepdim=True)
    return PALEST + (1 - PALEST) * (levels - low) / (high - low).clamp_min(1e-6)


def cut_patches(n: int, draw: torch.Generator, *, test: bool) -> Tensor:
    """Square patches of the photographs, at random places and scales: uint8 [N, 3, 32, 32]."""
    photographs = [part_of(photograph, test=test) for photograph in read_photographs()]
    which = torch.randint(len(photographs), (n,), generator=draw).tolist()
    low, high = PATCH
    patches = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for i, (number, at) in enumerate(zip(which, torch.rand(n, 3, generator=draw).tolist(), strict=True)):
        photograph = photographs[number]
        side = low + int(at[0] * (min(high, *photograph.size) - low + 1))
        left, top = (int(at[k + 1] * (photograph.size[k] - side + 1)) for k in (0, 1))
        box = left, top, left + side, top + side
        patches[i] = np.asarray(photograph.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))
    return torch.from_numpy(patches).permute(0, 3, 1, 2).contiguous()


def read_photographs() -> list[Image.Image]:
    """The photographs as RGB."""
    return [Image.open(PHOTOGRAPHS / name).convert("RGB") for name in OF_PATCHES]


def part_of(photograph: Image.Image, *, test: bool) -> Image.Image:
    """The part of a photograph that training or test images are cut from."""
    width, height = photograph.size
    edge = round(width * (1 - TEST_SHARE))
    return photograph.crop((edge, 0, width, height) if test else (0, 0, edge, height))


def hide_square(images: Tensor, *, seed: int) -> Tensor:
    """Images uint8 [N, C, H, W] with a square of half the sides at a random place in mid-grey."""
    n, _, height, width = images.shape
    margin = height // 8
    corners = torch.rand(n, 2, generator=seeded(COMPOSITION_SEED, seed, 1))
    top = margin + (corners[:, :1] * (height // 2 - 2 * margin + 1)).long()  # [N, 1]
    left = margin + (corners[:, 1:] * (width // 2 - 2 * margin + 1)).long()
    row, column = torch.arange(height) - top, torch.arange(width) - left  # [N, H], [N, W]: from the square's corner
    inside = ((row >= 0) & (row < height // 2))[:, :, None] & ((column >= 0) & (column < width // 2))[:, None, :]
    return images.masked_fill(inside[:, None], 128)
