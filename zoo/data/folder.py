"""Folders of images: any images (`ImageFolder`), or one subfolder a class (`LabelledImageFolder`).

What the images of a folder are: zoo/data/files.py. A set whose decoded images fit `memory_limit_mb` is decoded once, by
threads, into memory; a larger one once into a file (zoo/data/cache.py) or, without that cache, in every epoch by the
workers of the DataLoader.
"""

from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch

from zoo.data.files import MissingData, check_is_folder, images_of
from zoo.data.images import Images, ImageSettings
from zoo.data.module import DataModule
from zoo.data.sources import FileReading, Files, Reading, Source, Split, folder_setting


class FolderSettings(ImageSettings, Reading):
    """What a folder of images takes."""

    root: str | None  # the folder; ~ is the home folder
    test_fraction: float  # of the files, chosen by a hash of the relative path, so that a file never changes sides


NO_TEST = "set data.test_fraction=0.1, or measure against the training images instead (split=train)"


class Folder(Source):
    """Every image under a folder, and under another one, test_root, or a share of the first for tests.

    Args:
        settings: of `FolderSettings` root, test_fraction and how files are read; test_root may be missing.
        labelled: root/<class>/**/<image>, classes numbered in alphabetical order.
        no_test_remedy: what to do where there are no test images.
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
        files = self._files()
        numbers = {name: label for label, name in enumerate(self.classes)}
        labels = [numbers[file.split("/", 1)[0]] if self.labelled else 0 for file in files]
        content = Files(self.root, files, self.reading, torch.tensor(labels))
        if self.test_root is not None:
            check_is_folder(self.test_root, "set data.test_root to a folder of images")
            return {"train": content, "test": Files(self.test_root, images_of(self.test_root), self.reading)}
        splits = content.splits(self.test_fraction)
        if not splits["train"].files:
            raise MissingData(
                f"data.test_fraction={self.test_fraction} leaves none of the {len(files):,} images of {self.root} to "
                "train on: add images or lower it; data for super-resolution take test images of their own, "
                "data.test_root=FOLDER."
            )
        return splits

    def class_names(self) -> list[str]:
        if self.labelled and not self.classes:
            self._files()
        return self.classes

    def parameters(self) -> dict[str, Any]:
        return {**self.reading.parameters(), **({"classes": self.classes} if self.labelled else {})}

    def _files(self) -> list[str]:
        """The images, relative to the root; finds the classes."""
        check_is_folder(self.root)
        files = images_of(self.root)
        if not self.labelled:
            return files
        loose = [file for file in files if "/" not in file]
        if loose:
            raise MissingData(
                f"{self.root} holds images outside any class folder ({len(loose):,}, first {loose[0]}): "
                "data=labelled_folder wants root/<class>/<image>. Use data=folder for images without labels."
            )
        self.classes = sorted({file.split("/", 1)[0] for file in files})
        if {name.lower() for name in self.classes} <= {"train", "test", "val", "valid", "validation"}:
            raise MissingData(
                f"{self.root} holds splits ({', '.join(self.classes)}), not classes: "
                f"set data.root={self.root / self.classes[-1]}, or whichever of them is to be trained on."
            )
        return files


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
