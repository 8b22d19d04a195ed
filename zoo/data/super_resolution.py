"""Photographs for super-resolution: any folder of them, or those inside a package."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Unpack

from zoo.data.files import MissingData
from zoo.data.folder import Folder
from zoo.data.module import DataModule
from zoo.data.patches import Patches, PatchSettings, WholeImages
from zoo.data.sources import Decoding, FileReading, Files, Source, Split


class PhotosSettings(PatchSettings, Decoding):
    """What the photographs inside a package take."""


class PhotographFolderSettings(PhotosSettings):
    """What a folder of photographs takes."""

    root: str | None  # the folder; ~ is the home folder
    test_root: str | None  # of the whole images to be measured against, or None
    test_fraction: float  # without it, of the files of `root`, chosen by a hash of the relative path


class PackagePhotographs(Source):
    """Nine photographs inside the scikit-image package, all in the public domain or CC0 (see its data/_fetchers.py)."""

    TRAIN = (
        *("astronaut.png", "brick.png", "camera.png", "grass.png", "gravel.png"),
        *("hubble_deep_field.jpg", "rocket.jpg"),
    )
    TEST = ("chelsea.png", "coffee.png")

    def __init__(self, settings: PhotosSettings, name: str) -> None:
        self.reading: FileReading = FileReading(settings, name)

    def splits(self) -> dict[Split, Files]:
        """Found without importing scikit-image, whose own functions may want to download."""
        package = find_spec("skimage")
        if package is None or package.origin is None:
            raise MissingData("data=photos are inside the package scikit-image, which is missing: install it.")
        names: dict[Split, tuple[str, ...]] = {"train": self.TRAIN, "test": self.TEST}
        return {
            split: Files(Path(package.origin).parent / "data", list(files), self.reading)
            for split, files in names.items()
        }


class SuperResolutionFolder(WholeImages, DataModule):
    """Random patches of every image under a folder to train on, whole images to be measured against."""

    name = "super_resolution_folder"

    def __init__(self, **settings: Unpack[PhotographFolderSettings]) -> None:
        no_test = "give some: data.test_root=FOLDER or data.test_fraction=0.1"
        super().__init__(partial(Folder, no_test_remedy=no_test), Patches, settings)


class Photos(WholeImages, DataModule):
    """Nine photographs inside a package, seven to train on: enough to see that everything works, no more."""

    name = "photos"

    def __init__(self, **settings: Unpack[PhotosSettings]) -> None:
        super().__init__(PackagePhotographs, Patches, settings)
