"""Pairs that are made of images while they are read: Y is the image, X what a corruption leaves of it.

Training images are cropped and mirrored, and then corrupted: all that is drawn for an image is a pure function of
(seed, epoch, row), so that each epoch has other masks and other noise, a resumed run goes on with the next ones, and
the ranks of a run on N processes together show those of a run on one. What is drawn for an image of an evaluation is a
function of its row alone: it never changes, whatever the seed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Unpack

import torch
from torch import Tensor

from zoo.batch import ImagePairs, from_bytes
from zoo.data.corruption import Corruption, Strength
from zoo.data.folder import Folder
from zoo.data.module import DEGRADATION, EVALUATION_SEED, DataModule, seeded
from zoo.data.pairs import Pairs, PairSettings
from zoo.data.reading import colour
from zoo.data.sources import ImageSet, Reading, Size, Split, resize, with_channels


class CorruptedFolderSettings(PairSettings, Reading):
    """What a folder of images takes that are corrupted; `background` also stands where they are masked."""

    root: str | None  # the folder, of images or shards, a pattern of shards, or a .zip, .tar, .npz or .npy; ~ is home
    test_root: str | None  # of the test images, or None
    test_fraction: float  # without it, of the files of `root`, chosen by a hash of the relative path
    corruption: str | Sequence[str]  # one of grey, mask, noise, small, blur, jpeg, or several in this order
    mask: Strength  # of mask: see `Corruption`, for all of these
    mask_shape: str  # rectangle, strokes or both
    noise: Strength
    small: Strength
    blur: Strength
    jpeg: Strength


@dataclass(eq=False)
class CorruptedImages(ImageSet):
    """Images and what is left of them: rows (epoch, row of the originals), batches of `ImagePairs` of bytes."""

    originals: ImageSet  # of channels_y, at the size that they are cropped from
    size: Size  # of the pairs
    channels: tuple[int, ...]  # of X and of Y
    corruption: Corruption
    flip: bool
    seed: int | None  # None: as an evaluation sees them
    aligned = True

    def __post_init__(self) -> None:
        self.labels = self.originals.labels

    def count(self, word: str) -> str:
        """ "4,000 training pairs"."""
        return f"{len(self):,} {word} pairs"

    def order(self, generator: torch.Generator, epoch: int = 0) -> Tensor:
        """Rows with their epoch, which decides what is drawn for them: int64 [length, 2]."""
        rows = torch.randperm(len(self), generator=generator)
        return torch.stack([torch.full_like(rows, epoch), rows], dim=1)

    def evaluated(self) -> "CorruptedImages":
        return replace(self, seed=None)

    def __getitem__(self, places: Sequence[tuple[int, int]]) -> ImagePairs:
        images = self.originals[[row for _, row in places]]
        originals = images.image if self.seed is not None else resize(images.image, self.size)
        y, x = [], []
        for (epoch, row), image in zip(places, originals, strict=True):
            if self.seed is None:
                generator = seeded(EVALUATION_SEED, row, DEGRADATION)
            else:
                generator = seeded(self.seed, epoch, row, DEGRADATION)
                image = self.cut(image, generator)
            y.append(image)
            x.append(self.corruption(image, generator))
        aligned = torch.ones(len(y), dtype=torch.bool)
        of_x = to_channels(torch.stack(x), self.channels[0])
        return ImagePairs(of_x, torch.stack(y), images.label, images.label, aligned, images.index)

    def cut(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """A random crop of [C, ...], mirrored left to right or not."""
        mirrored, *corner = torch.rand(3, generator=generator).tolist()
        top, left = (int(u * (old - new + 1)) for u, old, new in zip(corner, image.shape[1:], self.size, strict=True))
        part = image[:, top : top + self.size[0], left : left + self.size[1]]
        return part.flip(2) if self.flip and mirrored < 0.5 else part

    def digest(self) -> str:
        return hashlib.sha256(f"corrupted {self.originals.digest()}".encode()).hexdigest()


class CorruptedPairs(Pairs):
    """An image and what a corruption leaves of it a row: batches of `ImagePairs`."""

    def __init__(self, settings: CorruptedFolderSettings) -> None:
        super().__init__(settings)
        names = settings["corruption"]
        strengths: Any = {key: settings[key] for key in ("mask", "mask_shape", "noise", "small", "blur", "jpeg")}
        names = [] if names is None else [str(names)] if isinstance(names, str | int | float) else list(names)
        self.corruption = Corruption(tuple(names), **strengths, fill=colour(settings["background"]))
        if "grey" in names and (y := self.channels[1]) < 3:
            raise ValueError(
                f"data.corruption=grey of images of data.channels_y={y} leaves them as they are: set data.channels_y=3."
            )

    def parameters(self) -> dict[str, Any]:
        how = asdict(self.corruption)
        names = how.pop("names")
        return {**super().parameters(), "corruption": names, **{key: how[key] for key in how if key in self.drawing}}

    @property
    def drawing(self) -> list[str]:
        """The settings that decide on these pixels."""
        return [*self.corruption.names, *(["mask_shape", "fill"] if "mask" in self.corruption.names else [])]

    def describe(self, sets: dict[Split, Any]) -> str:
        """ "1,096 training pairs and 100 test pairs, 64x64, 1 + 3 channels, X: grey"."""
        return f"{super().describe(sets)}, X: {', '.join(self.corruption.names)}"

    def parts(self, split: Split, content: Any) -> list[ImageSet]:
        size = self.load_size if split == "train" else self.image_size
        return [content.at(size, self.channels[1:])]

    def joined(self, parts: list[ImageSet]) -> Any:
        return CorruptedImages(parts[0], self.image_size, self.channels, self.corruption, self.flip, self.seed)

    def floats(self, batch: ImagePairs) -> ImagePairs:
        return batch._replace(x=from_bytes(batch.x), y=from_bytes(batch.y))

    def augmented(self, batch: ImagePairs, images: Any, epoch: int) -> ImagePairs:
        return self.floats(batch)  # cropped and mirrored already


class CorruptedFolder(DataModule):
    """Every image under a folder or in an archive, and what a corruption leaves of it."""

    name = "corrupted_folder"
    batch = ImagePairs
    aligned = True

    def __init__(self, **settings: Unpack[CorruptedFolderSettings]) -> None:
        super().__init__(Folder, CorruptedPairs, settings)


def to_channels(images: Tensor, channels: int) -> Tensor:
    """uint8 [N, C, H, W] of any number of channels -> [N, channels, H, W]; transparency is kept where both have it."""
    if images.shape[1] == channels:
        return images
    of_colour = images.shape[1] - (images.shape[1] + 1) % 2
    result = with_channels(images[:, :of_colour], channels)
    if channels % 2 == 0 and of_colour < images.shape[1]:
        result[:, -1] = images[:, -1]
    return result
