"""Images of two domains, X and Y: unpaired for CycleGAN, aligned pixel by pixel for pix2pix.

An epoch is as long as the longer domain. In it every image of the longer domain comes once, and the shorter domain is
gone through in one fresh permutation after another, so that its images come equally often, to within one. (The authors
of CycleGAN draw the other domain with replacement: github.com/junyanz/pytorch-CycleGAN-and-pix2pix, unaligned_dataset.
There an epoch leaves some images out and repeats others.) Aligned sets have one permutation for both.

Crops and flips are drawn for each image of an epoch: apart in each domain of unpaired sets, together in aligned ones.
Like the order they are pure functions of (seed, epoch), see zoo/data/images.py.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.batch import ImagePairs, from_bytes
from zoo.data.images import (
    FLIPS,
    DataModule,
    ImageSet,
    Split,
    as_rows,
    check_channels,
    height_and_width,
    resize,
    seeded,
)

CROPS = 2  # a random stream beside ORDER and FLIPS


class UnpairedImages:
    """Two sets, each in its own order. A row is (row of x, row of y); `index` is that of the longer set."""

    aligned = False

    def __init__(self, x: ImageSet, y: ImageSet) -> None:
        self.x, self.y = x, y

    @property
    def streams(self) -> bool:
        return self.x.streams or self.y.streams

    def __len__(self) -> int:
        """The length of the longer set; 0 where either has no images."""
        return max(len(self.x), len(self.y)) if min(len(self.x), len(self.y)) else 0

    @property
    def shortest(self) -> int:
        """How many images there are of each domain, none of them twice."""
        return min(len(self.x), len(self.y))

    def order(self, generator: torch.Generator) -> Tensor:
        """One epoch: rows int64 [len(self), 2]."""
        return torch.stack([passes(len(images), len(self), generator) for images in (self.x, self.y)], dim=1)

    def __getitem__(self, rows: Sequence[tuple[int, int]]) -> ImagePairs:
        x_rows, y_rows = as_rows(rows).unbind(1)
        x, y = self.x[x_rows.tolist()], self.y[y_rows.tolist()]
        index = x.index if len(self.x) >= len(self.y) else y.index
        return ImagePairs(x.image, y.image, x.label, y.label, torch.zeros(len(rows), dtype=torch.bool), index)

    def digest(self) -> str:
        return hashlib.sha256(f"{self.x.digest()} {self.y.digest()}".encode()).hexdigest()


class AlignedImages:
    """One set whose images are pairs: x in the first channels, y in the others.

    Args:
        joint: images [N, C_X + C_Y, H, W], with the labels of both.
        channels_x: C_X.
    """

    aligned = True

    def __init__(self, joint: ImageSet, channels_x: int) -> None:
        self.joint, self.channels_x = joint, channels_x

    @property
    def streams(self) -> bool:
        return self.joint.streams

    def __len__(self) -> int:
        return len(self.joint)

    @property
    def shortest(self) -> int:
        """How many pairs there are."""
        return len(self.joint)

    def order(self, generator: torch.Generator) -> Tensor:
        """One epoch: rows int64 [len(self)]."""
        return torch.randperm(len(self), generator=generator)

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
    """What is done to each pair of an epoch: domains X and Y in the second dimension."""

    mirrored: Tensor  # bool [length, 2]
    top: Tensor  # int64 [length, 2]: the first row of the crop
    left: Tensor  # int64 [length, 2]


class PairDataModule(DataModule):
    """Base of the sets of two domains. A subclass gives `name` and `load`, whose sets are of the two classes above.

    Training images are kept at `load_size` and cropped at random to `image_size`, each time anew; test images are kept
    at `image_size`. Where training images are evaluated, they are resampled from the one to the other, uncropped.

    Args:
        image_size: side of the square images that the model sees, or [height, width]; of both domains.
        load_size: the size that training images are cropped from; None: image_size, so that nothing is cropped.
        channels_x: of the images of X: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
        channels_y: of those of Y.
        flip: mirror training images left to right with probability 1/2: each alone, or both of an aligned pair.
        (others: `DataModule`)

    Raises:
        ValueError: naming the argument, its value and the remedy.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int],
        load_size: int | Sequence[int] | None,
        channels_x: int,
        channels_y: int,
        batch_size: int,
        num_workers: int | str,
        flip: bool,
        seed: int,
        cache_dir: str,
    ) -> None:
        super().__init__(
            image_size=image_size,
            batch_size=batch_size,
            num_workers=num_workers,
            flip=flip,
            seed=seed,
            cache_dir=cache_dir,
        )
        self.load_size = self.image_size if load_size is None else height_and_width(load_size, "load_size")
        if self.load_size[0] < self.image_size[0] or self.load_size[1] < self.image_size[1]:
            raise ValueError(
                f"data.load_size={load_size} is smaller than data.image_size={image_size}, which is cropped from it: "
                "give null, or a larger size (the papers: 286 for 256)."
            )
        self.channels_x = check_channels(channels_x, "channels_x")
        self.channels_y = check_channels(channels_y, "channels_y")
        self._placement: tuple[int, Placement] | None = None  # with the epoch

    def parameters(self) -> dict[str, Any]:
        return {
            **super().parameters(),
            "load_size": self.load_size,
            "channels_x": self.channels_x,
            "channels_y": self.channels_y,
        }

    @property
    def description(self) -> str:
        """For reports: "maps: 1,096 + 1,096 training images and 100 test pairs, 256x256, 3 + 3 channels"."""
        counts = [count(self.split(split), word) for split, word in WORDS.items() if split in self.sets]
        height, width = self.image_size
        skipped = f", {len(self.skipped):,} unreadable files skipped" if self.skipped else ""
        return (
            f"{self.name}: {' and '.join(counts)}, {height}x{width}, "
            f"{self.channels_x} + {self.channels_y} channels{skipped}"
        )

    def num_images(self, split: Split) -> int:
        """The images of the smaller domain: as many of each are no image twice."""
        return self.split(split).shortest

    def split(self, split: Split) -> "UnpairedImages | AlignedImages":
        return super().split(split)  # type: ignore[return-value]  # what `load` of a subclass gives

    def order(self, images: Any, generator: torch.Generator) -> Tensor:
        return images.order(generator)

    def stored_size(self, split: Split) -> tuple[int, int]:
        """(height, width) that a split's images are kept at."""
        return self.load_size if split == "train" else self.image_size

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """uint8 -> float32 in [-1, 1] on the device, and the training images' crops and flips."""
        if not isinstance(batch, ImagePairs) or batch.x.dtype != torch.uint8:
            return batch
        if self.trainer is None or not self.trainer.training:
            return self.floats(batch)
        rows = batch.index.cpu()
        mirrored, top, left = self.placement(self.epoch())
        x, y = (
            from_bytes(cut(image, top[rows, domain], left[rows, domain], mirrored[rows, domain], self.image_size))
            for domain, image in enumerate((batch.x, batch.y))
        )
        self.shown += self.batch_size
        return batch._replace(x=x, y=y)

    def floats(self, batch: ImagePairs) -> ImagePairs:
        x, y = (from_bytes(resize(image, self.image_size)) for image in (batch.x, batch.y))
        return batch._replace(x=x, y=y)

    def placement(self, epoch: int) -> Placement:
        """The crops and flips of an epoch's pairs by their `index`: a pure function of (seed, epoch)."""
        if self._placement is None or self._placement[0] != epoch:
            images = self.split("train")
            shape = len(images), 1 if images.aligned else 2
            coins = torch.rand(shape, generator=seeded(self.seed, epoch, FLIPS))
            corners = torch.rand(2, *shape, generator=seeded(self.seed, epoch, CROPS))
            slack = torch.tensor([old - new for old, new in zip(self.load_size, self.image_size, strict=True)])
            top, left = (corners * (slack + 1).view(2, 1, 1)).long()
            mirrored = (coins < 0.5) & self.flip
            self._placement = epoch, Placement(*(part.expand(-1, 2) for part in (mirrored, top, left)))
        return self._placement[1]


WORDS: dict[Split, str] = {"train": "training", "test": "test"}


def count(images: UnpairedImages | AlignedImages, word: str) -> str:
    """How many images there are: "2,000 + 1,500 training images" of two domains, "4,000 training pairs"."""
    if isinstance(images, UnpairedImages):
        return f"{len(images.x):,} + {len(images.y):,} {word} images"
    return f"{len(images):,} {word} pairs"


def cut(images: Tensor, top: Tensor, left: Tensor, mirrored: Tensor, size: tuple[int, int]) -> Tensor:
    """Each image's own crop to `size` from (top, left), mirrored left to right or not.

    Args:
        images: [N, C, H, W].
        top, left: int64 [N].
        mirrored: bool [N].
    """
    height, width = size
    cuts = []
    for image, row, column, mirror in zip(images, top.tolist(), left.tolist(), mirrored.tolist(), strict=True):
        part = image[:, row : row + height, column : column + width]
        cuts.append(part.flip(2) if mirror else part)
    return torch.stack(cuts)
