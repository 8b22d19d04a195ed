"""Photographs for super-resolution: any folder of them, or those that come with the package."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, NamedTuple, TypedDict, Unpack

import numpy as np
import torch

from zoo.batch import LowHigh, from_bytes
from zoo.data.archives import WANTED
from zoo.data.files import MissingData
from zoo.data.folder import Folder
from zoo.data.licence import PHOTOGRAPH_TERMS
from zoo.data.module import DEGRADATION, EVALUATION_SEED, DataModule, seeded
from zoo.data.patches import Patches, PatchSettings
from zoo.data.pixels import PHOTOGRAPHS
from zoo.data.sources import Decoding, FileReading, Files, Source, Split


class PhotosSettings(PatchSettings, Decoding):
    """What the photographs that come with the package take."""


class Pairs(TypedDict, total=False):
    """Low-resolution images that are given, not made: may be left out."""

    low_root: str | None  # the folder of those of `root`, of the same names, or None
    test_low_root: str | None  # the folder of those of `test_root`, or None


class PhotographFolderSettings(PhotosSettings, Pairs):
    """What a folder of photographs takes."""

    root: str | None  # the folder; ~ is the home folder
    range: str | Sequence[float] | None  # what becomes black and white: null, full, min_max or [lowest, highest]
    test_root: str | None  # of the whole images to be measured against, or None
    test_fraction: float  # without it, of the files of `root`, chosen by a hash of the relative path


class PackagePhotographs(Source):
    """Nine photographs of zoo/data/pixels, all in the public domain or CC0 (see its README.md)."""

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
        return {split: Files(PHOTOGRAPHS, files, self.reading) for split, files in self.FILES.items()}


class PhotographFolder(Folder):
    """Photographs of a folder, and, where they are given, the low-resolution images of each, in another folder.

    These have the same path and name, whatever the extension; or, as those of DIV2K, one that ends in "x4", the
    magnification. Images there that are of no other are passed over, with a remark.

    Raises:
        ValueError: for settings that contradict each other.
    """

    def __init__(self, settings: PhotographFolderSettings, name: str) -> None:
        no_test = "give some: data.test_root=FOLDER or data.test_fraction=0.1"
        super().__init__(settings, name, no_test_remedy=no_test)
        roots = {key: settings.get(key) for key in ("low_root", "test_low_root")}
        self.low_roots = {key: Path(str(root)).expanduser() for key, root in roots.items() if root}
        self.scale, self._remarks = settings["scale"], list[str]()
        if roots["test_low_root"] and not self.test_root:
            raise ValueError(
                f"data.test_low_root={roots['test_low_root']} is of the images of data.test_root: give that too; the "
                "low-resolution images of those that data.test_fraction holds out are in data.low_root."
            )
        if not roots["low_root"]:
            return
        if self.test_root and not roots["test_low_root"]:
            raise ValueError(
                f"data.low_root={roots['low_root']} is of the images of data.root: give those of data.test_root too, "
                "data.test_low_root=FOLDER."
            )
        made = [key for key in ("blur", "noise", "jpeg") if settings[key] is not None]
        made += ["degradation"] if settings.get("degradation", "bicubic") != "bicubic" else []
        if made:
            raise ValueError(
                f"data.{made[0]} makes low-resolution images, and data.low_root={roots['low_root']} gives them: leave "
                "one of the two out."
            )

    def splits(self) -> dict[Split, Files]:
        """As `Folder`; a MissingData also names images without a low-resolution one."""
        splits = super().splits()
        self._remarks = []
        for key, root in self.low_roots.items():
            lows = self.reading.images_of(root, f"set data.{key} to {WANTED}")
            used, of_key = set[str](), list[Split](["train", "test"])  # of a share held out they are in low_root
            if self.test_root is not None:
                of_key = ["test"] if key == "test_low_root" else ["train"]
            for split in of_key:
                if (content := splits.get(split)) is not None:
                    content.partners = Files(lows[0], self.partners(content, root, lows[1], key), self.reading)
                    used |= set(content.partners.files)
            if rest := sorted(set(lows[1]) - used):
                of_root = key.replace("low_", "")
                self._remarks.append(f"{len(rest):,} images of {root} are of none in data.{of_root}: {first(rest)}")
        return splits

    def partners(self, content: Files, root: Path, lows: Sequence[str], key: str) -> list[str]:
        """The name of the low-resolution image of each file, of those below `root`."""
        by_stem: dict[str, str] = {}
        for low in lows:
            if (other := by_stem.setdefault(stem(low), low)) != low:
                raise MissingData(f"{root}: {other} and {low} are of one name: which one is meant? Keep one.")
        names = [(stem(file), f"{stem(file)}x{self.scale}") for file in content.files]
        found = [next((by_stem[name] for name in pair if name in by_stem), None) for pair in names]
        if lost := [file for file, low in zip(content.files, found, strict=True) if low is None]:
            raise MissingData(
                f"data.{key}={root} has no image for {len(lost):,} of the {len(found):,} of {content.root}: "
                f"{first(lost)}: they need the same names."
            )
        return [low for low in found if low is not None]

    @property
    def remarks(self) -> list[str]:  # type: ignore[override]
        return [*super().remarks, *self._remarks]


def stem(name: str) -> str:
    """A relative path without its extension."""
    return str(PurePosixPath(name).with_suffix(""))


def first(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{', ...' * (len(names) > 3)}"


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
        made = not degradation.is_plain and not self.split(split).given
        for position in range(rank, len(photographs), world_size):
            name, *pixels, is_grey = photographs[position]
            high, low = (torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in pixels)
            if made:
                low = degradation(high, seeded(EVALUATION_SEED, position, DEGRADATION))
            batch = LowHigh(from_bytes(low)[None], from_bytes(high)[None], torch.tensor([position]))
            yield WholeImage(name, batch, is_grey)

    def num_whole_images(self, split: Split) -> int:
        return len(self.split(split).whole)


class SuperResolutionFolder(Photographs):
    """Every image under a folder."""

    name = "super_resolution_folder"

    def __init__(self, **settings: Unpack[PhotographFolderSettings]) -> None:
        super().__init__(PhotographFolder, Patches, settings)


class Photos(Photographs):
    """Nine photographs, seven to train on: enough to see that everything works, no more."""

    name = "photos"
    licence = PHOTOGRAPH_TERMS

    def __init__(self, **settings: Unpack[PhotosSettings]) -> None:
        super().__init__(PackagePhotographs, Patches, settings)
