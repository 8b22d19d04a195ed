"""The images of a folder or an archive as they are: each at its own size, grey or in colours, in batches of one shape.

For what compares images and trains on none: nothing is cropped or resampled. The rest is as `zoo.data.reading` has it:
turned upright, 16 bits and floats in [0, 1] brought to 8 bits, transparency laid over white, CMYK and palettes as RGB.
Files are decoded by threads, ahead of whoever takes the batches. One that can't be read is left out, and named.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.archives import WANTED, images_in
from zoo.data.deep import Levels
from zoo.data.files import in_threads, in_words
from zoo.data.reading import GREY, MAX_PIXELS, UnreadableImage, opened, with_channels
from zoo.text import printable

BACKGROUND = (255, 255, 255)  # under transparency
BATCH = 2**25  # bytes of a batch, unless one image alone has more
NO_SCALE = ": save them with 8 bits, or as floats from 0 to 1"
WAITING = 2**28  # bytes of images that wait for others of their shape


class Originals:
    """The images of a folder (and of the folders in it) or of an archive.

    Args:
        path: see `zoo.data.archives`.

    Raises:
        MissingData: it is neither, is damaged, or holds no images.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root, found = images_in(path, f"give {WANTED}")
        self.files, self.passed_over = found.images, found.passed_over
        self._forget()

    def _forget(self) -> None:
        self.unreadable: dict[str, str] = {}  # file -> what is wrong with it
        self.shapes: Counter[tuple[Any, ...]] = Counter()  # channels, height, width of the images that were read
        self.levels = Levels()  # of those of more than 8 bits
        self.transparent = 0

    def __len__(self) -> int:
        return len(self.files)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All readable images: uint8 [N, C, H, W], N at most `size` and C 1 or 3, and their positions int64 [N].

        Images of a shape come together, those of rare shapes in small batches in the end.

        Raises:
            UnreadableImage: in the end, where all are of 8 bits in integers of more: is white 255?
        """
        self._forget()
        groups: dict[tuple[Any, ...], list[tuple[int, np.ndarray]]] = {}
        waiting = 0  # bytes

        def taken(shape: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
            rows = groups.pop(shape)
            positions, images = zip(*rows, strict=True)
            return torch.from_numpy(np.stack(images)), torch.tensor(positions)

        for position, read in enumerate(in_threads(self._read, range(len(self)), ahead=32)):
            if isinstance(read, UnreadableImage):
                where = printable(f"{self.root / self.files[position]}: ")
                why = re.sub(r" \(to train on them: .*\)", NO_SCALE, str(read).removeprefix(where))
                self.unreadable[printable(self.files[position])] = why
                continue
            image, is_transparent = read
            shape: tuple[Any, ...] = image.shape
            self.shapes[shape] += 1
            self.transparent += is_transparent
            groups.setdefault(shape, []).append((position, image))
            waiting += image.nbytes
            if waiting > WAITING:
                shape = max(groups, key=lambda shape: len(groups[shape]) * int(np.prod(shape)))
            if len(groups[shape]) >= size or len(groups[shape]) * int(np.prod(shape)) >= BATCH or waiting > WAITING:
                waiting -= len(groups[shape]) * int(np.prod(shape))
                yield taken(shape)
        for shape in list(groups):
            yield taken(shape)
        levels = self.levels
        if levels.images and not levels.shallow and levels.low >= 0 and levels.high <= 255 < levels.known[1]:
            raise UnreadableImage(
                f"{self.path} holds {levels.in_words(None)}, which makes them all but black{NO_SCALE}"
            )

    def _read(self, position: int) -> tuple[np.ndarray, bool] | UnreadableImage:
        """An image uint8 [C, H, W] and whether it has transparency, or why there is none."""
        try:
            with opened(self.root / self.files[position], max_pixels=MAX_PIXELS, levels=self.levels) as image:
                pixels = np.asarray(with_channels(image, 1 if image.mode in GREY else 3, BACKGROUND))
                pixels = np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
                return pixels, image.has_transparency_data
        except UnreadableImage as error:
            return error

    def notes(self) -> dict[str, Any]:
        """What there is to say of the images that were read, for a protocol."""
        notes: dict[str, Any] = {"images": self.shapes.total(), "sizes": self._sizes()}
        if self.transparent:
            notes["transparent"] = f"{self.transparent:,}, laid over white"
        if self.levels.images:
            notes["values"] = self.levels.in_words(None)
            if self.levels.complaint(None) and not self.levels.shallow:
                notes["values"] += f": so small a part of it that the images are nearly uniform{NO_SCALE}"
        if self.unreadable:
            notes["not_read"] = len(self.unreadable)
        if self.passed_over:
            notes["passed_over"] = in_words(self.passed_over)
        return notes

    def _sizes(self) -> str:
        """ "32x32 RGB 998, 28x28 grey 2" (height x width), the most frequent first."""
        words = [
            f"{height}x{width} {'grey' if channels == 1 else 'RGB'} {number:,}"
            for (channels, height, width), number in self.shapes.most_common(5)
        ]
        return ", ".join([*words, *([f"{len(self.shapes) - 5} others"] if len(self.shapes) > 5 else [])])
