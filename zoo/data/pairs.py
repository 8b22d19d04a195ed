"""Images of two domains, X and Y: unpaired for CycleGAN, aligned pixel by pixel for pix2pix.

An epoch is as long as the longer domain. In it every image of the longer domain comes once, and the shorter domain is
gone through in one fresh permutation after another, so that its images come equally often, to within one. (The authors
of CycleGAN draw the other domain with replacement: github.com/junyanz/pytorch-CycleGAN-and-pix2pix, unaligned_dataset.
There an epoch leaves some images out and repeats others.) Aligned sets have one permutation for both.

Crops and flips are drawn for each image of an epoch: apart in each domain of unpaired sets, together in aligned ones.
Like the order they are pure functions of (seed, epoch), see zoo/data/module.py.
"""

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.batch import ImagePairs, from_bytes
from zoo.data.images import WORDS
from zoo.data.module import CROPS, FLIPS, Loading, Rows, seeded
from zoo.data.reading import check_channels, height_and_width
from zoo.data.sources import Domains, Halves, ImageSet, Size, Split, as_rows, resize


class UnpairedImages(ImageSet):
    """Two sets, each in its own order. A row is (row of x, row of y); `index` is that of the longer set."""

    aligned = False

    def __init__(self, x: ImageSet, y: ImageSet) -> None:
        self.x, self.y, self.streams = x, y, x.streams or y.streams

    def __len__(self) -> int:
        """The length of the longer set; 0 where either has no images."""
        return max(len(self.x), len(self.y)) if self.distinct() else 0

    def distinct(self) -> int:
        return min(len(self.x), len(self.y))

    def count(self, word: str) -> str:
        """ "2,000 + 1,500 training images"."""
        return f"{len(self.x):,} + {len(self.y):,} {word} images"

    def order(self, generator: torch.Generator, epoch: int = 0) -> Tensor:
        """One epoch: rows int64 [len(self), 2]."""
        return torch.stack([passes(len(images), len(self), generator) for images in (self.x, self.y)], dim=1)

    def __getitem__(self, rows: Sequence[tuple[int, int]]) -> ImagePairs:
        x_rows, y_rows = as_rows(rows).unbind(1)
        x, y = self.x[x_rows.tolist()], self.y[y_rows.tolist()]
        index = x.index if len(self.x) >= len(self.y) else y.index
        return ImagePairs(x.image, y.image, x.label, y.label, torch.zeros(len(rows), dtype=torch.bool), index)

    def digest(self) -> str:
        return hashlib.sha256(f"{self.x.digest()} {self.y.digest()}".encode()).hexdigest()


class AlignedImages(ImageSet):
    """One set whose images [N, C_X + C_Y, H, W] are pairs: x in the first C_X channels, y in the others."""

    aligned = True

    def __init__(self, joint: ImageSet, channels_x: int) -> None:
        self.joint, self.channels_x, self.streams, self.labels = joint, channels_x, joint.streams, joint.labels

    def count(self, word: str) -> str:
        """ "4,000 training pairs"."""
        return f"{len(self):,} {word} pairs"

    def __getitem__(self, rows: Sequence[int]) -> ImagePairs:
        pairs = self.joint[rows]
        x, y = pairs.image.tensor_split([self.channels_x], dim=1)
        return ImagePairs(x, y, pairs.label, pairs.label, torch.ones(len(x), dtype=torch.bool), pairs.index)

    def digest(self) -> str:
        return hashlib.sha256(f"{self.joint.digest()} {self.channels_x}".encode()).hexdigest()


def passes(length: int, total: int, generator: torch.Generator) -> Tensor:
    """`total` rows of a set of `length`: whole permutations one after another, the last one cut. int64 [total]."""
    whole = -(-total // length) if total else 0
    return torch.cat([torch.randperm(length, generator=generator) for _ in range(max(whole, 1))])[:total]


class Placement(NamedTuple):
    """What is done to each pair of an epoch, [length, 2]: to X and to Y."""

    mirrored: Tensor  # bool
    top: Tensor  # int64: the first row of the crop
    left: Tensor


class PairSettings(Loading):
    """What a set of two domains takes."""

    image_size: int | Sequence[int]  # side of the square images that the model sees, or [height, width]; of both
    load_size: int | Sequence[int] | None  # training images are cropped from this size at random; None: image_size
    channels_x: int  # of the images of X: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA
    channels_y: int  # of those of Y


class Pairs(Rows):
    """One image of each of two domains a row: batches of `ImagePairs`.

    Training images are kept at `load_size` and cropped at random to `image_size`, each time anew; test images are kept
    at `image_size`. Where training images are evaluated, they are resampled from the one to the other, uncropped. Flips
    mirror each image alone, or both of an aligned pair.
    """

    batch = ImagePairs

    def __init__(self, settings: PairSettings) -> None:
        super().__init__(settings)
        image_size, load_size = settings["image_size"], settings["load_size"]
        self.image_size = height_and_width(image_size)
        self.load_size = self.image_size if load_size is None else height_and_width(load_size, "load_size")
        if self.load_size[0] < self.image_size[0] or self.load_size[1] < self.image_size[1]:
            raise ValueError(
                f"data.load_size={load_size} is smaller than data.image_size={image_size}, which is cropped from it: "
                "give null, or a larger size (the papers: 286 for 256)."
            )
        for new, old, side in zip(self.image_size, self.load_size, ("height", "width"), strict=True):
            if old > 1.3 * new:
                crops = f"training crops are {new} of a {side} of {old}, {new / old:.0%} of it"
                warnings.warn(f"{crops}; the papers have 90 %: data.load_size={round(new * 286 / 256)}", stacklevel=2)
        self.channels = (
            check_channels(settings["channels_x"], "channels_x"), check_channels(settings["channels_y"], "channels_y"),
        )  # fmt: skip
        self._placement: tuple[Any, Placement] | None = None  # with what it is of

    def parameters(self) -> dict[str, Any]:
        x, y = self.channels
        return {"image_size": self.image_size, "load_size": self.load_size, "channels_x": x, "channels_y": y}

    def describe(self, sets: dict[Split, Any]) -> str:
        """ "1,096 + 1,096 training images and 100 test pairs, 256x256, 3 + 3 channels"."""
        counts = [sets[split].count(word) for split, word in WORDS.items() if split in sets]
        height, width = self.image_size
        return f"{' and '.join(counts)}, {height}x{width}, {self.channels[0]} + {self.channels[1]} channels"

    def parts(self, split: Split, content: Domains | Halves) -> list[ImageSet]:
        size = self.load_size if split == "train" else self.image_size
        if isinstance(content, Domains) and not content.aligned:
            return [content.x.at(size, self.channels[:1]), content.y.at(size, self.channels[1:])]
        return [content.at(size, self.channels)]

    def joined(self, parts: list[ImageSet]) -> UnpairedImages | AlignedImages:
        return UnpairedImages(*parts) if len(parts) == 2 else AlignedImages(parts[0], self.channels[0])

    def floats(self, batch: ImagePairs) -> ImagePairs:
        x, y = (from_bytes(resize(image, self.image_size)) for image in (batch.x, batch.y))
        return batch._replace(x=x, y=y)

    def augmented(self, batch: ImagePairs, images: UnpairedImages | AlignedImages, epoch: int) -> ImagePairs:
        mirrored, top, left = (part[batch.index] for part in self.placement(images, epoch, batch.index.device))
        x, y = (
            from_bytes(cut(image, top[:, domain], left[:, domain], mirrored[:, domain], self.image_size))
            for domain, image in enumerate((batch.x, batch.y))
        )
        return batch._replace(x=x, y=y)

    def placement(
        self, images: UnpairedImages | AlignedImages, epoch: int, device: torch.device | None = None
    ) -> Placement:
        """The crops and flips of an epoch's pairs by their `index`: a pure function of (seed, epoch).

        They lie on the device, so that no step has to wait for a batch's rows.
        """
        of = epoch, len(images), images.aligned, device
        if self._placement is None or self._placement[0] != of:
            shape = len(images), 1 if images.aligned else 2
            coins = torch.rand(shape, generator=seeded(self.seed, epoch, FLIPS))
            corners = torch.rand(2, *shape, generator=seeded(self.seed, epoch, CROPS))
            slack = torch.tensor([old - new for old, new in zip(self.load_size, self.image_size, strict=True)])
            top, left = (corners * (slack + 1).view(2, 1, 1)).long()
            mirrored = (coins < 0.5) & self.flip
            self._placement = of, Placement(*(part.expand(-1, 2).to(device) for part in (mirrored, top, left)))
        return self._placement[1]


def cut(images: Tensor, top: Tensor, left: Tensor, mirrored: Tensor, size: Size) -> Tensor:
    """Each image's own crop to `size` from (top, left), mirrored left to right or not: [N, C, ...], else [N]."""
    if images.device.type != "cpu":
        return gathered(images, top, left, mirrored, size)
    height, width = size
    cuts = []
    for image, row, column, mirror in zip(images, top.tolist(), left.tolist(), mirrored.tolist(), strict=True):
        part = image[:, row : row + height, column : column + width]
        cuts.append(part.flip(2) if mirror else part)
    return torch.stack(cuts)


def gathered(images: Tensor, top: Tensor, left: Tensor, mirrored: Tensor, size: Size) -> Tensor:
    """The same where Python would have to wait for the corners; on CPUs slices are faster."""
    height, width = (torch.arange(side, device=images.device) for side in size)
    rows, columns = top[:, None] + height, left[:, None] + torch.where(mirrored[:, None], width.flip(0), width)
    pixels = rows[:, :, None] * images.shape[3] + columns[:, None, :]  # [N, h, w]: their places in a channel
    return images.flatten(2).gather(2, pixels.flatten(1)[:, None].expand(-1, images.shape[1], -1)).unflatten(2, size)
