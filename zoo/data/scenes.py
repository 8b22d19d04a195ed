"""Parts of photographs that come with the package, as single images: no download.

Cut at random places and of random sizes from the photographs of zoo/data/embedded_pairs.py, of whose right quarters the
test images are.
"""

from functools import partial
from typing import Unpack

import numpy as np
import torch
from PIL import Image

from zoo.data.embedded_pairs import part_of, read_photographs
from zoo.data.images import Images, ImageSettings
from zoo.data.licence import PHOTOGRAPH_TERMS
from zoo.data.module import DataModule, seeded
from zoo.data.sources import Arrays, Memory, Split, resize

SEED = 20_160_327  # of every part; changing it changes every image
SIDE = 128  # of the images before they are resized, in pixels
NUMBERS: dict[Split, int] = {"train": 1_000, "test": 64}
LARGEST = 2.0  # a part is from one to so many times as large, as far as the photograph allows


class Scenes(DataModule):
    """1,000 parts of photographs to train on, 64 of other places to test on, of 128x128 before they are resized."""

    name = "scenes"
    licence = PHOTOGRAPH_TERMS

    def __init__(self, **settings: Unpack[ImageSettings]) -> None:
        super().__init__(partial(Memory, make=scenes), Images, settings)


def scenes() -> dict[Split, Arrays]:
    return {split: cut(number, test=split == "test") for split, number in NUMBERS.items()}


def cut(n: int, *, test: bool) -> Arrays:
    """uint8 images [n, 3, SIDE, SIDE], each of a photograph that is drawn, and of a place and a size in it."""
    draw = seeded(SEED, int(test))
    photographs = [part_of(photograph, test=test) for photograph in read_photographs()]
    photographs = [photograph for photograph in photographs if min(photograph.size) >= SIDE]
    images = np.empty((n, SIDE, SIDE, 3), np.uint8)
    which = torch.randint(len(photographs), (n,), generator=draw).tolist()
    for i, (number, at) in enumerate(zip(which, torch.rand(n, 3, generator=draw).tolist(), strict=True)):
        photograph = photographs[number]
        side = SIDE + int(at[0] * (min(LARGEST * SIDE, *photograph.size) - SIDE + 1))
        left, top = (int(at[k + 1] * (photograph.size[k] - side + 1)) for k in (0, 1))
        box = left, top, left + side, top + side
        images[i] = np.asarray(photograph.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return Arrays(pixels, torch.zeros(n, dtype=torch.int64), resize)
