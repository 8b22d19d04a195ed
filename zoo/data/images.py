"""Rows that are single images, with a label where the set has some."""

from collections.abc import Sequence
from typing import Any, NotRequired

import torch
from torch import Tensor

from zoo.batch import LabelledImages, from_bytes
from zoo.data.module import FLIPS, Loading, Rows, seeded
from zoo.data.reading import check_channels, height_and_width
from zoo.data.sources import ImageSet, Split

WORDS: dict[Split, str] = {"train": "training", "test": "test"}


class ImageSettings(Loading):
    """What a set of images takes."""

    image_size: int | Sequence[int]  # side of the square images, or [height, width]
    channels: int  # 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA


class ClassedSettings(ImageSettings):
    """What a set of images takes that can have classes."""

    normal: NotRequired[Sequence[str | int] | str | int | None]  # for training: zoo/data/one_class.py; None: all


class Images(Rows):
    """One image a row: batches of `LabelledImages`."""

    batch = LabelledImages

    def __init__(self, settings: ImageSettings) -> None:
        super().__init__(settings)
        self.image_size = height_and_width(settings["image_size"])
        self.channels = (check_channels(settings["channels"]),)
        self._flips: tuple[Any, Tensor] | None = None  # of what they are, bool [length of the training set]

    def parameters(self) -> dict[str, Any]:
        return {"image_size": self.image_size, "channels": self.channels[0]}

    def describe(self, sets: dict[Split, Any]) -> str:
        """ "4,000 training and 1,000 test images, 32x32, 1 channel" (height x width)."""
        height, width = self.image_size
        return f"{count(sets)} images, {height}x{width}, {channels_in_words(self.channels[0])}"

    def parts(self, split: Split, content: Any) -> list[ImageSet]:
        return [content.at(self.image_size, self.channels)]

    def floats(self, batch: LabelledImages) -> LabelledImages:
        return batch._replace(image=from_bytes(batch.image))

    def augmented(self, batch: LabelledImages, images: ImageSet, epoch: int) -> LabelledImages:
        image = from_bytes(batch.image)
        if self.flip:
            mirrored = self.flips(len(images), epoch, image.device)[batch.index]
            image = torch.where(mirrored[:, None, None, None], image.flip(3), image)
        return batch._replace(image=image)

    def flips(self, length: int, epoch: int, device: torch.device | None = None) -> Tensor:
        """Which training images are mirrored in this epoch: bool [length], a pure function of (seed, epoch).

        They lie on the device, so that no step has to wait for a batch's rows.
        """
        of = epoch, length, device
        if self._flips is None or self._flips[0] != of:
            self._flips = of, (torch.rand(length, generator=seeded(self.seed, epoch, FLIPS)) < 0.5).to(device)
        return self._flips[1]


def count(sets: dict[Split, Any]) -> str:
    """ "4,000 training and 1,000 test"."""
    return " and ".join(f"{len(sets[split]):,} {word}" for split, word in WORDS.items() if split in sets)


def channels_in_words(channels: int) -> str:
    return f"{channels} channel{'' if channels == 1 else 's'}"
