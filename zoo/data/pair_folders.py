"""Folders of images of two domains: any two folders (`UnpairedFolder`), or pairs of images (`PairedFolder`).

What a folder's images are, how they are read, and what happens to files that are none: zoo/data/folder.py. A pair is
read as one image that holds the channels of both, so that both come, are skipped and are kept in memory together.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, Unpack

from zoo.batch import ImagePairs
from zoo.data.archives import Root, exists, is_archive, zip_of
from zoo.data.files import MissingData, check_is_folder
from zoo.data.folder import NO_TEST
from zoo.data.module import DataModule
from zoo.data.pairs import Pairs, PairSettings
from zoo.data.sources import Domains, FileReading, Files, Halves, Reading, Source, Split, folder_setting


class PairFolderSettings(PairSettings, Reading):
    """What all folders of two domains take. A folder lies below the root, or anywhere if its path is absolute; a .zip,
    .npz or .npy takes the place of one."""

    root: str | None  # the folder or the .zip that the others lie in; ~ is the home folder
    test_fraction: float  # where there are no test folders, the share kept for tests, chosen by a hash of the name
    folder_x: str  # of the training images of X
    folder_y: str  # of Y
    test_folder_x: str | None  # of the test images of X; if neither of the two is there, see test_fraction
    test_folder_y: str | None  # of Y


class UnpairedFolderSettings(PairFolderSettings):
    """What two folders of unrelated images take."""

    aligned_test: bool  # the test images are pairs, in the order of their names: translations can be held against them


class PairedFolderSettings(PairFolderSettings):
    """What pairs of images take; channels_x and channels_y are those after the exchange by `swap`."""

    # "folders": folder_x and folder_y hold the partners under the same name, whatever the extension;
    # "side_by_side": each file of `folder` holds X in its left half and Y in its right.
    layout: str
    suffix_x: str  # what the names in folder_x end in before the extension and partners do not share: "_A" of 7_A.jpg
    suffix_y: str  # in folder_y
    folder: str | None  # of layout=side_by_side, the training images; None is the root itself
    test_folder: str | None  # the test images; if it is not there, see test_fraction
    swap: bool  # exchange X and Y: the model translates from folder_y, or from the right half


class Folders(Source):
    """Base of the sources in folders of two domains: how these folders are looked for."""

    no_test_remedy = f"name test folders, or {NO_TEST}"

    def __init__(self, settings: PairFolderSettings, name: str) -> None:
        self.test_fraction = settings["test_fraction"]
        example = "folders of images: set data.root to the folder that holds them"
        self.root: Path = folder_setting(name, settings["root"], self.test_fraction, example)
        self.reading: FileReading = FileReading(settings, name, self.test_fraction)
        self.train = {"folder_x": settings["folder_x"], "folder_y": settings["folder_y"]}
        self.test = {"test_folder_x": settings["test_folder_x"], "test_folder_y": settings["test_folder_y"]}

    def folder(self, name: str | None, argument: str) -> Path:
        """A folder or an archive below the root, or anywhere by an absolute path; a MissingData if it is not there."""
        if zip_of(self.root) is None:
            check_is_folder(
                self.root,
                "set data.root to the folder or the .zip that holds those of both domains; an archive may take the "
                f"place of each of them, data.{argument}=FILE.npz",
            )
        if not name:
            raise MissingData(f"data.{argument} is null: name a folder of images below {self.root}.")
        folder = self.root / Path(name).expanduser()
        if not is_archive(folder):
            check_is_folder(folder, f"name a folder of images, data.{argument}=NAME, or a .zip, .tar, .npz or .npy")
        return folder

    def train_and_test(self, train: dict[str, str], test: dict[str, str | None]) -> tuple[list[Path], list[Path]]:
        """The folders of the training and of the test images by their arguments; no test folders if none is there.

        Raises:
            MissingData: one is not there, or lies in another: images are looked for below a folder too.
        """
        trained = [self.folder(name, argument) for argument, name in train.items()]
        exist = [bool(name) and exists(self.root / Path(str(name)).expanduser()) for name in test.values()]
        tested = [self.folder(name, argument) for argument, name in test.items()] if any(exist) else []
        for one, other in permutations([folder.resolve() for folder in (*trained, *tested)], 2):
            if one.is_relative_to(other):
                raise MissingData(
                    f"{one} lies in {other}, so that its images would count for both: give each domain and its test "
                    "images a folder of their own."
                )
        return trained, tested

    def held_out(self, folder: Path, test: Path | None) -> dict[Split, Files]:
        """A folder's images to train on, and those for tests: of its test folder or, without it, a share."""
        files = Files(*self.reading.images_of(folder), self.reading)
        if test is None:
            return files.splits(self.test_fraction)
        return {"train": files, "test": Files(*self.reading.images_of(test), self.reading)}


class TwoFolders(Folders):
    """Two folders whose images need not be related, of any two numbers."""

    def __init__(self, settings: UnpairedFolderSettings, name: str) -> None:
        super().__init__(settings, name)
        self.aligned_test = settings["aligned_test"]

    def parameters(self) -> dict[str, Any]:
        return {**self.reading.parameters(), "aligned_test": self.aligned_test}

    def splits(self) -> dict[Split, Domains]:
        """Find the files.

        Raises:
            MissingData: a folder that is not there or has no images, or test images that are not aligned.
        """
        folders, tested = self.train_and_test(self.train, self.test)
        if self.aligned_test and not tested:
            raise MissingData(
                f"data.aligned_test=true needs folders of test images, and {self.root} has neither "
                f"{' nor '.join(map(str, self.test.values()))}: set data.test_folder_x and data.test_folder_y."
            )
        x, y = (self.held_out(*both) for both in zip(folders, tested or (None, None), strict=True))
        for folder, files in zip(folders, (x, y), strict=True):
            if not files["train"].files or files.keys() != x.keys() | y.keys():
                missing = "test with" if files["train"].files else "train on"
                raise MissingData(
                    f"data.test_fraction={self.test_fraction} leaves none of the images of {folder} to "
                    f"{missing}: set data.test_fraction=0, or give more images or test folders."
                )
        splits = {split: Domains(x[split], y[split], aligned=False) for split in x}
        if self.aligned_test:
            splits["test"] = self._aligned(x["test"], y["test"])
        return splits

    def _aligned(self, x: Files, y: Files) -> Domains:
        if len(x.files) != len(y.files):
            raise MissingData(
                f"data.aligned_test=true pairs the test images in the order of their names, but {x.root} has "
                f"{len(x.files)} and {y.root} has {len(y.files)}: give equal numbers, or aligned_test=false."
            )
        # 2.jpg before 10.jpg, with or without a suffix: 2_B.jpg
        x, y = (Files(part.root, sorted(part.files, key=in_reading_order), part.reading) for part in (x, y))
        return Domains(x, y, aligned=True)


class PairedImages(Folders):
    """Pairs of images, in two folders with equal names or side by side in one file."""

    def __init__(self, settings: PairedFolderSettings, name: str) -> None:
        super().__init__(settings, name)
        if settings["layout"] not in ("folders", "side_by_side"):
            raise ValueError(f"data.layout={settings['layout']} is unknown: use folders or side_by_side.")
        self.layout, self.swap = settings["layout"], settings["swap"]
        self.suffixes = settings["suffix_x"], settings["suffix_y"]
        self.joint_folder, self.test_folder = settings["folder"], settings["test_folder"]

    def parameters(self) -> dict[str, Any]:
        return {**self.reading.parameters(), "layout": self.layout, "swap": self.swap}

    def splits(self) -> dict[Split, Domains | Halves]:
        """Find the pairs.

        Raises:
            MissingData: a folder that is not there or has no images, or images without a partner.
        """
        if self.layout == "side_by_side":
            joint, test = {"folder": self.joint_folder or "."}, {"test_folder": self.test_folder}
            (folder,), tested = self.train_and_test(joint, test)
            splits = self.held_out(folder, tested[0] if tested else None)
            return {split: Halves(files, self.swap) for split, files in splits.items()}
        (x, y), tested = self.train_and_test(self.train, self.test)
        test_x, test_y = tested or (None, y)
        pairs: dict[Split, Domains | Halves] = {}
        for split, files in self.held_out(x, test_x).items():
            folder = test_y if split == "test" else y
            other, partners = self._partners(test_x if split == "test" and test_x else x, folder)
            others = Files(other, [partners[file] for file in files.files], self.reading)
            pairs[split] = Domains(others, files, aligned=True) if self.swap else Domains(files, others, aligned=True)
        return pairs

    def _partners(self, x: Path, y: Path) -> tuple[Root, dict[str, str]]:
        """Where the files of `y` lie, and that of each file in `x`; a MissingData for an image without a partner, or
        with several."""
        (_, of_x), (root, of_y) = self.reading.images_of(x), self.reading.images_of(y)
        names_x = [stem(file, self.suffixes[0]) for file in of_x]
        names_y = [stem(file, self.suffixes[1]) for file in of_y]
        for folder, names in ((x, names_x), (y, names_y)):
            twice = [name for name, number in Counter(names).items() if number > 1]
            if twice:
                raise MissingData(f"{folder} holds several images named {listed(twice)}: a pair is one image of each.")
        alone = sorted(set(names_x) ^ set(names_y))
        if alone:
            raise MissingData(
                f"{x} and {y} do not hold the same names: {len(alone):,} have no partner ({listed(alone)}). "
                "Remove them, or name what the names end in: data.suffix_x=_A data.suffix_y=_B"
            )
        partner = dict(zip(names_y, of_y, strict=True))
        return root, {file: partner[name] for file, name in zip(of_x, names_x, strict=True)}


class UnpairedFolder(DataModule):
    """Two folders of unrelated images: trainA and trainB by default."""

    name = "unpaired_folder"
    batch = ImagePairs

    def __init__(self, **settings: Unpack[UnpairedFolderSettings]) -> None:
        super().__init__(TwoFolders, Pairs, settings)


class PairedFolder(DataModule):
    """Pairs of images, in two folders or side by side in one file."""

    name = "paired_folder"
    batch = ImagePairs
    aligned = True

    def __init__(self, **settings: Unpack[PairedFolderSettings]) -> None:
        super().__init__(PairedImages, Pairs, settings)


def in_reading_order(file: str) -> list[str | int]:
    """A key for sorting: names without their extension, numbers by their value."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", stem(file, ""))]


def stem(file: str, suffix: str) -> str:
    """A file's path without its extension and, before that, the suffix: what partners share."""
    return (file.rpartition(".")[0] or file).removesuffix(suffix)


def listed(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
