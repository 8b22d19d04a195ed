"""Folders of images: any images (`ImageFolder`), or one subfolder a class (`LabelledImageFolder`).

What the images of a folder are: zoo/data/files.py. A set whose decoded images fit `memory_limit_mb` is decoded once, by
threads, into memory; a larger one once into a file (zoo/data/cache.py) or, without that cache, in every epoch by the
workers of the DataLoader.
"""

from functools import cached_property, partial
from pathlib import Path
from typing import Any, Unpack

import torch

from zoo.data.files import MissingData, check_is_folder
from zoo.data.images import Images, ImageSettings
from zoo.data.module import DataModule
from zoo.data.sources import FileReading, Files, Reading, Source, Split, folder_setting


class FolderSettings(ImageSettings, Reading):
    """What a folder of images takes."""

    root: str | None  # the folder; ~ is the home folder
    test_fraction: float  # of the files, chosen by a hash of the relative path, so that a file never changes sides


NO_TEST = "set data.test_fraction=0.1, or measure against the training images instead (split=train)"


class Folder(Source):
    """Every image under a folder; for tests, under another one, test_root, or a share of the first.

    `labelled`: root/<class>/**/<image>, classes numbered in alphabetical order.
    """

    def __init__(self, settings: Any, name: str, *, labelled: bool = False, no_test_remedy: str = NO_TEST) -> None:
        self.test_fraction, self.labelled, self.no_test_remedy = settings["test_fraction"], labelled, no_test_remedy
        self.test_root = Path(settings["test_root"]).expanduser() if settings.get("test_root") else None
        example = "a folder of images: set data.root=~/my_images"
        self.root: Path = folder_setting(name, settings["root"], self.test_fraction, example)
        self.reading: FileReading = FileReading(settings, name, self.test_fraction)

    def splits(self) -> dict[Split, Files]:
        """Find the files and split them.

        Raises:
            MissingData: no folder, no images in it, none left to train on, or classes that are none.
        """
        numbers = {name: label for label, name in enumerate(self.classes)}
        labels = torch.tensor([numbers[file.split("/", 1)[0]] for file in self.files]) if self.labelled else None
        content = Files(self.root, self.files, self.reading, labels)
        if self.test_root is not None:
            check_is_folder(self.test_root, "set data.test_root to a folder of images")
            files = self.reading.images_of(self.test_root)
            return {"train": content, "test": Files(self.test_root, files, self.reading)}
        splits = content.splits(self.test_fraction)
        if not splits["train"].files:
            raise MissingData(
                f"data.test_fraction={self.test_fraction} leaves none of the {len(self.files):,} images of "
                f"{self.root} to train on: add images or lower it; data for super-resolution take test images of "
                "their own, data.test_root=FOLDER."
            )
        return splits

    def parameters(self) -> dict[str, Any]:
        return {**self.reading.parameters(), **({"classes": self.classes} if self.labelled else {})}

    @cached_property
    def files(self) -> list[str]:
        """The images, relative to the root."""
        check_is_folder(self.root)
        return self.reading.images_of(self.root)

    @cached_property
    def classes(self) -> list[str]:  # type: ignore[override]
        if not self.labelled:
            return []
        loose = [file for file in self.files if "/" not in file]
        if loose:
            raise MissingData(
                f"{self.root} holds images outside any class folder ({len(loose):,}, first {loose[0]}): "
                "data=labelled_folder wants root/<class>/<image>. Use data=folder for images without labels."
            )
        classes = sorted({file.split("/", 1)[0] for file in self.files})
        if {name.lower() for name in classes} <= {"train", "test", "val", "valid", "validation"}:
            raise MissingData(
                f"{self.root} holds splits ({', '.join(classes)}), not classes: "
                f"set data.root={self.root / classes[-1]}, or whichever of them is to be trained on."
            )
        return classes


class ImageFolder(DataModule):
    """Every image under a folder, without labels."""

    name = "folder"

    def __init__(self, **settings: Unpack[FolderSettings]) -> None:
        super().__init__(Folder, Images, settings)


class LabelledImageFolder(DataModule):
    """Images in one subfolder a class."""

    name = "labelled_folder"

    def __init__(self, **settings: Unpack[FolderSettings]) -> None:
        super().__init__(partial(Folder, labelled=True), Images, settings)
