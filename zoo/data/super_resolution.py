"""Photographs for super-resolution: any folder of them, or those inside a package."""

from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, NamedTuple, Unpack

import numpy as np
import torch

from zoo.batch import LowHigh, from_bytes
from zoo.data.files import MissingData
from zoo.data.folder import Folder
from zoo.data.licence import PHOTOGRAPH_TERMS
from zoo.data.module import DEGRADATION, EVALUATION_SEED, DataModule, seeded
from zoo.data.patches import Patches, PatchSettings
from zoo.data.sources import Decoding, FileReading, Files, Source, Split


class PhotosSettings(PatchSettings, Decoding):
    """What the photographs inside a package take."""


class PhotographFolderSettings(PhotosSettings):
    """What a folder of photographs takes."""

    root: str | None  # the folder; ~ is the home folder
    range: str | Sequence[float] | None  # what becomes black and white: null, full, min_max or [lowest, highest]
    test_root: str | None  # of the whole images to be measured against, or None
    test_fraction: float  # without it, of the files of `root`, chosen by a hash of the relative path


class PackagePhotographs(Source):
    """Nine photographs inside the scikit-image package, all in the public domain or CC0 (see its data/_fetchers.py)."""

    FILES: ClassVar[dict[Split, list[str]]] = {
        "train": [
            *("astronaut.png", "brick.png", "camera.png", "grass.png", "gravel.png"),
            *("hubble_deep_field.jpg", "rocket.jpg"),
        ],
        "test": ["chelsea.png", "coffee.png"],
    }

    def __init__(self, settings: PhotosSettings, name: str) -> None:
        self.reading: FileReading = FileReading(settings, name)

    def splits(self) -> dict[Split, Files]:
        """Found without importing scikit-image, whose own functions may want to download."""
        package = find_spec("skimage")
        if package is None or package.origin is None:
            raise MissingData("data=photos are inside the package scikit-image, which is missing: install it.")
        folder = Path(package.origin).parent / "data"
        return {split: Files(folder, files, self.reading) for split, files in self.FILES.items()}


class WholeImage(NamedTuple):
    """An image of an evaluation."""

    name: str
    batch: LowHigh  # of one, in [-1, 1]; its index is the position in the split
    is_grey: bool


class Photographs(DataModule):
    """Base of the sets at two resolutions: random patches to train on, whole images to be measured against."""

    batch = LowHigh
    rows: Patches

    @property
    def scale(self) -> int:
        return self.rows.scale

    @property
    def unreadable(self) -> dict[str, str]:
        """Files that were left out, and why."""
        assert self.source.reading is not None
        return self.source.reading.left_out

    def whole_images(self, *, split: Split, rank: int = 0, world_size: int = 1) -> Iterator[WholeImage]:
        """This rank's share of the split's whole images: those at rank, rank + world_size, ..."""
        photographs, degradation = self.split(split).whole, self.rows.degradation
        for position in range(rank, len(photographs), world_size):
            name, *pixels, is_grey = photographs[position]
            high, low = (torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in pixels)
            if not degradation.is_plain:
                low = degradation(high, seeded(EVALUATION_SEED, position, DEGRADATION))
            batch = LowHigh(from_bytes(low)[None], from_bytes(high)[None], torch.tensor([position]))
            yield WholeImage(name, batch, is_grey)

    def num_whole_images(self, split: Split) -> int:
        return len(self.split(split).whole)


class SuperResolutionFolder(Photographs):
    """Every image under a folder."""

    name = "super_resolution_folder"

    def __init__(self, **settings: Unpack[PhotographFolderSettings]) -> None:
        no_test = "give some: data.test_root=FOLDER or data.test_fraction=0.1"
        super().__init__(partial(Folder, no_test_remedy=no_test), Patches, settings)


class Photos(Photographs):
    """Nine photographs inside a package, seven to train on: enough to see that everything works, no more."""

    name = "photos"
    licence = PHOTOGRAPH_TERMS

    def __init__(self, **settings: Unpack[PhotosSettings]) -> None:
        super().__init__(PackagePhotographs, Patches, settings)
