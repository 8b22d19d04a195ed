"""Images of a folder or an archive: any images (`ImageFolder`), or images with labels (`LabelledImageFolder`).

What the images of a folder are: zoo/data/files.py; of an archive: zoo/data/archives.py; of shards: zoo/data/shards.py.
Labels are those of a table, `labels` or the root's dataset.json (zoo/data/labels.py), those inside an .npz or shards,
or the first subfolder of each image. A set whose decoded images fit `memory_limit_mb` is decoded once, by threads, into
memory; a larger one once into a file (zoo/data/cache.py) or, without that cache, in every epoch by the workers of the
DataLoader.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NotRequired, Unpack

import torch

from zoo.data import labels as tables
from zoo.data.archives import WANTED, Archive, Root, Shards, Stack, read_in
from zoo.data.files import MissingData
from zoo.data.images import ClassedSettings, Images
from zoo.data.labels import Labels
from zoo.data.module import DataModule
from zoo.data.one_class import position
from zoo.data.sources import FileReading, Files, Reading, Source, Split, folder_setting


class FolderSettings(ClassedSettings, Reading):
    """What a folder of images takes."""

    root: str | None  # the folder, of images or shards, a pattern of shards, or a .zip, .tar, .npz or .npy; ~ is home
    labels: str | None  # a CSV or a dataset.json, or the name of one in the root; None: see `Folder`
    label_column: str | Sequence[str] | None  # of a CSV, the columns to take; None: all, see zoo/data/labels.py
    test_fraction: float  # of the files, chosen by a hash of the relative path, so that a file never changes sides
    test_root: NotRequired[str | None]  # a folder or an archive of test images of their own; None: that share


NO_TEST = (
    "set data.test_fraction=0.1, or a larger share where images are few, or measure against the training images "
    "instead (metrics.split=train)"
)


class Folder(Source):
    """Every image under a folder or in an archive; for tests, under another one, test_root, or a share of the first.

    `labelled`: where no table is given, by a dataset.json in the root, the labels of an .npz or of shards, or
    root/<class>/<image>, classes numbered in alphabetical order.

    Test images of their own have labels where those of the root have some, and where data.normal names classes: then a
    root without labels is all of the first one of these.
    """

    def __init__(self, settings: Any, name: str, *, labelled: bool = False, no_test_remedy: str = NO_TEST) -> None:
        self.test_fraction, self.labelled, self.no_test_remedy = settings["test_fraction"], labelled, no_test_remedy
        self.test_root = Path(settings["test_root"]).expanduser() if settings.get("test_root") else None
        example = f"{WANTED}: set data.root=~/my_images"
        self.root: Path = folder_setting(name, settings["root"], self.test_fraction, example)
        self.table, columns = settings.get("labels"), settings.get("label_column")
        self.columns = [str(column) for column in ([columns] if isinstance(columns, str | int) else columns or [])]
        if self.columns and not self.table:
            raise ValueError(f"data.label_column={columns} is of a table of labels: give that too, data.labels=FILE.")
        self.normal = settings.get("normal")
        of_normal = [] if self.normal is None else [str(self.normal)]
        self.reading: FileReading = FileReading(settings, name, self.test_fraction, *of_normal)

    def prepare(self) -> None:
        """Read the headers of shards, where there are some."""
        _ = self.found, self.test_root is None or self.found_tests

    def splits(self) -> dict[Split, Files]:
        """Find the files and split them.

        Raises:
            MissingData: no folder, no images in it, none left to train on, or labels that make no sense.
        """
        root, files = self.found
        labels = self.labels
        if labels is not None:
            files = labels.files
        content = Files(root, files, self.reading, None if labels is None else torch.from_numpy(labels.values))
        if self.test_root is not None:
            return self._with_tests(content)
        splits = content.splits(self.test_fraction)
        if not splits["train"].files:
            raise MissingData(
                f"data.test_fraction={self.test_fraction} leaves none of the {len(files):,} images of "
                f"{self.root} to train on: add images or lower it; data for super-resolution take test images of "
                "their own, data.test_root=FOLDER."
            )
        return splits

    def _with_tests(self, content: Files) -> dict[Split, Files]:
        """The training images beside the test images of their own, whose labels go by the names of the classes."""
        (root, files), tests = self.found_tests, self.test_labels
        check_apart(content.root, root)
        if tests is None:
            return {"train": content, "test": Files(root, files, self.reading)}
        if self.all_normal:
            content.labels += position(self.classes, next(iter(self.normal or []), "")) or 0
        labels = torch.tensor([self.classes.index(tests.classes[label]) for label in tests.values.tolist()])
        return {"train": content, "test": Files(root, tests.files, self.reading, labels)}

    def parameters(self) -> dict[str, Any]:
        return {
            **self.reading.parameters(),
            **({"classes": self.classes} if self.classes else {}),
            **({"attributes": self.attributes} if self.attributes else {}),
        }

    @property
    def classes(self) -> list[str]:  # type: ignore[override]
        own = self.labels.classes if self.labels else []
        tests = self.test_labels.classes if self.test_labels else []
        return [*own, *(name for name in tests if name not in own)]

    @property
    def attributes(self) -> list[str]:  # type: ignore[override]
        return self.labels.attributes if self.labels else []

    @property
    def remarks(self) -> list[str]:  # type: ignore[override]
        of_tests = self.test_labels.remarks if self.test_labels else []
        return [*(self.labels.remarks if self.labels else []), *of_tests]

    @property
    def labelled_root(self) -> Path | None:
        return self.test_root if self.all_normal else self.root

    @property
    def all_normal(self) -> bool:  # type: ignore[override]
        return self.labels is None and self.test_labels is not None

    @cached_property
    def found(self) -> tuple[Root, Sequence[str]]:
        """Where the images lie, and their names."""
        return self.reading.images_of(self.root)

    @cached_property
    def found_tests(self) -> tuple[Root, Sequence[str]]:
        """The same of the test images of their own."""
        assert self.test_root is not None
        return self.reading.images_of(self.test_root, f"set data.test_root to {WANTED}")

    @cached_property
    def test_labels(self) -> Labels | None:
        """The classes of the test images of their own, where there are some."""
        if self.test_root is None or not (self.labelled or self.table or self.normal is not None):
            return None
        labels = self._labels_of(*self.found_tests, "dataset.json")
        if labels.attributes or self.attributes:
            raise MissingData(f"data.test_root={self.test_root} goes with classes, not with attributes: give a class.")
        return labels

    @cached_property
    def labels(self) -> Labels | None:
        """The labels of the images, where there are some."""
        if not self.labelled and not self.table:
            return None
        return self._labels_of(*self.found, self.table or "dataset.json")

    def _labels_of(self, root: Root, files: Sequence[str], name: str) -> Labels:
        """Of the images of a root, by the table of that name or whatever else says their labels."""
        if (content := self._content(root, name)) is not None:
            table = tables.read_table(content, name, self.columns)
            if table is not None:
                return tables.of_table(table, files, root, skip=self.reading.skip)
            raise MissingData(
                f"the {name} of {root} says labels: null, no labels: use data=folder, or give some, data.labels=FILE."
            )
        if isinstance(root, Stack):
            if root.labels is None:
                raise MissingData(
                    f"{root} holds no labels beside its images: save some as labels, give data.labels=FILE, or use "
                    "data=folder."
                )
            return tables.of_values(root.labels, root.class_names, files, f"{root}, labels")
        if isinstance(root, Shards):
            labels = root.labels(skip=self.reading.skip)
            if labels is None:
                raise MissingData(
                    f"{root} holds no labels beside its images: give each a .cls with a whole number, or a .json with "
                    "a label, or class folders, or all of them a table, data.labels=FILE, or use data=folder."
                )
            return labels
        return tables.of_folders(files, root, [] if isinstance(root, Archive) else empty_folders(root, files))

    def _content(self, root: Root, name: str) -> bytes | None:
        """The bytes of a table, a file or one in the root; None: there is no dataset.json, and none was asked for."""
        path, asked = Path(name).expanduser(), name == self.table
        if asked and path.exists():
            return tables.named_table(path)
        content = read_in(root, name)
        if content is not None and not isinstance(root, Archive):
            self.reading.passed_over[root][path.suffix.lower()] -= 1
        return tables.named_table(path) if content is None and asked else content


def check_apart(train: Root, test: Root) -> None:
    """A MissingData where a shard is of both: they lie in one folder more often than not."""
    if isinstance(train, Shards) and isinstance(test, Shards) and (shard := test.index.in_both(train.index)):
        raise MissingData(
            f"{shard} is one of the shards of data.root={train} and of data.test_root={test}, so that its images would "
            "be trained on and tested with: name those of each by a pattern, data.root='set/train-*.tar'."
        )


def empty_folders(root: Path, files: Sequence[str]) -> list[str]:
    """The folders right below a root that hold no image."""
    filled = {file.split("/", 1)[0] for file in files}
    folders = (path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(name for name in folders if name not in filled)


class ImageFolder(DataModule):
    """Every image under a folder or in an archive, without labels unless a table gives some."""

    name = "folder"

    def __init__(self, **settings: Unpack[FolderSettings]) -> None:
        super().__init__(Folder, Images, settings)


class LabelledImageFolder(DataModule):
    """Images with labels: of a table, or in one subfolder a class."""

    name = "labelled_folder"

    def __init__(self, **settings: Unpack[FolderSettings]) -> None:
        super().__init__(partial(Folder, labelled=True), Images, settings)
