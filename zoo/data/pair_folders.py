"""Folders of images of two domains: any two folders (`UnpairedFolder`), or pairs of images (`PairedFolder`).

What a folder's images are, how they are read, and what happens to files that are none: zoo/data/folder.py. A pair is
read as one image that holds the channels of both, so that both come, are skipped and are kept in memory together.
"""

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ImageOps

from zoo.data.folder import EXTENSIONS, StreamedImages, check_is_folder, find_images, in_test
from zoo.data.images import ImageSet, MissingData, Split
from zoo.data.pairs import AlignedImages, PairDataModule, UnpairedImages
from zoo.data.reading import FileReader, Reader, colour, opened


@dataclass(frozen=True)
class PartnerReader:
    """Reads an image of X and its partner of Y: uint8 [C_X + C_Y, H, W].

    Args:
        x, y: the readers of the two, of one size.
        partner: the path of Y's image by that of X's.
    """

    x: FileReader
    y: FileReader
    partner: Mapping[Path, Path]

    @property
    def size(self) -> tuple[int, int]:
        return self.x.size

    @property
    def channels(self) -> int:
        return self.x.channels + self.y.channels

    def __call__(self, path: Path) -> np.ndarray:
        return np.concatenate([self.x(path), self.y(self.partner[path])])


@dataclass(frozen=True)
class SideBySideReader:
    """Reads one file whose left half is an image of X and whose right half is one of Y: uint8 [C_X + C_Y, H, W].

    Args:
        x, y: the readers of the two, of one size.
        swap: X is on the right.
    """

    x: Reader
    y: Reader
    swap: bool

    @property
    def size(self) -> tuple[int, int]:
        return self.x.size

    @property
    def channels(self) -> int:
        return self.x.channels + self.y.channels

    def __call__(self, path: Path) -> np.ndarray:
        with opened(path, max_pixels=self.x.max_pixels) as image:
            image = ImageOps.exif_transpose(image)
            width, height = image.size
            if width % 2:
                raise ValueError(f"its width {width} has no two halves (data.layout=side_by_side)")
            halves = [image.crop((left, 0, left + width // 2, height)) for left in (0, width // 2)]
            x, y = reversed(halves) if self.swap else halves
            return np.concatenate([self.x.pixels(x), self.y.pixels(y)])


class StreamedPairs(StreamedImages):
    """Pairs from two folders, decoded when they are asked for; `files` are those of X.

    Args:
        partners: the images of Y, in the same order.
    """

    def __init__(self, x: StreamedImages, partners: StreamedImages) -> None:
        paths = ([part.root / file for file in part.files] for part in (x, partners))
        reader = PartnerReader(x.reader, partners.reader, dict(zip(*paths, strict=True)))
        super().__init__(x.root, x.files, x.labels, reader, skip=x.skip)
        self.partners = partners

    def digest(self) -> str:
        """Of the files of both."""
        return hashlib.sha256(f"{super().digest()} {self.partners.digest()}".encode()).hexdigest()


class PairFolder(PairDataModule):
    """Base of folders of two domains.

    Args:
        root: the folder that the others lie in; ~ is the home folder.
        fit: crop, pad or stretch: `zoo.data.reading.fit`.
        background: under transparency and around letterboxed images: a name, '#rrggbb' or [red, green, blue].
        on_error: "raise" stops at an unreadable file; "skip" goes on without it and counts it in `skipped`.
        max_pixels: an image with more is unreadable.
        memory_limit_mb: a set that needs no more (MiB, decoded at load_size, on each process) is kept in memory.
        test_fraction: where there are no test folders, the share of the files that is kept for tests: chosen by a hash
            of the name, so that a file never changes sides.
        (others: `PairDataModule`)
    """

    no_test_remedy = (
        "name test folders, or set data.test_fraction=0.1, or measure against the training images instead (split=train)"
    )

    def __init__(
        self,
        *,
        root: str | None,
        fit: str,
        background: str | Sequence[int],
        on_error: str,
        max_pixels: int,
        memory_limit_mb: float,
        test_fraction: float,
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
            load_size=load_size,
            channels_x=channels_x,
            channels_y=channels_y,
            batch_size=batch_size,
            num_workers=num_workers,
            flip=flip,
            seed=seed,
            cache_dir=cache_dir,
        )
        if not root:
            raise MissingData(f"data={self.name} needs folders of images: set data.root to the folder that holds them.")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"data.on_error={on_error} is unknown: use raise or skip.")
        if not 0 <= test_fraction < 1:
            raise ValueError(f"data.test_fraction={test_fraction} is not a share of the images: use 0 to below 1.")
        for new, old, side in zip(self.image_size, self.load_size, ("height", "width"), strict=True):
            if old > 1.3 * new:
                warnings.warn(
                    f"training crops are {new} of a {side} of {old}, {new / old:.0%} of it; the papers have "
                    f"90 %: data.load_size={round(new * 286 / 256)}",
                    stacklevel=2,
                )
        self.root = Path(root).expanduser()
        self.memory_limit_mb = memory_limit_mb
        self.test_fraction = test_fraction
        self.skip = on_error == "skip"
        self._reading: tuple[str, tuple[int, int, int], int] = (fit, colour(background), max_pixels)
        self.reader("train", self.channels_x)  # says what is wrong with the arguments
        self._left_out: list[str] = []

    def reader(self, split: Split, channels: int) -> Reader:
        """How the files of a split are read."""
        return Reader(self.stored_size(split), channels, *self._reading)

    def where(self) -> str:
        return f"data={self.name} ({self.root})"

    def parameters(self) -> dict[str, Any]:
        fit, background, max_pixels = self._reading
        read = {"fit": fit, "background": background, "max_pixels": max_pixels, "skip": self.skip}
        return {**super().parameters(), **read}

    @property
    def skipped(self) -> list[str]:
        """Unreadable files that were skipped so far; of pairs, those of X."""
        return sorted(self._left_out + [file for part in self._streams() for file in part.skipped])

    def _streams(self) -> list[StreamedImages]:
        parts = [getattr(images, name, None) for images in self.sets.values() for name in ("x", "y", "joint")]
        return [part for part in parts if isinstance(part, StreamedImages)]

    def folder(self, name: str | None, argument: str) -> Path:
        """A folder below the root, or anywhere if its path is absolute.

        Raises:
            MissingData: there is no such folder.
        """
        check_is_folder(self.root, "set data.root to the folder that holds those of both domains")
        if not name:
            raise MissingData(f"data.{argument} is null: name a folder of images below {self.root}.")
        folder = self.root / Path(name).expanduser()
        check_is_folder(folder, f"name a folder of images, data.{argument}=NAME")
        return folder

    def test_folders(self, **names: str | None) -> list[Path]:
        """The folders of the test images by their arguments; none where none of them is there.

        Raises:
            MissingData: some of them are there and some are not.
        """
        there = [bool(name) and (self.root / Path(str(name)).expanduser()).exists() for name in names.values()]
        return [self.folder(name, argument) for argument, name in names.items()] if any(there) else []

    def apart(self, *folders: Path) -> None:
        """Images are looked for below a folder too, so none may lie in another.

        Raises:
            MissingData: one does: its images would be of both domains, or test images be trained on.
        """
        for one, other in permutations([folder.resolve() for folder in folders], 2):
            if one.is_relative_to(other):
                raise MissingData(
                    f"{one} lies in {other}, so that its images would count for both: give each domain and its test "
                    "images a folder of their own."
                )

    def stream(self, folder: Path, files: Sequence[str], reader: FileReader) -> StreamedImages:
        """Files of a folder, unlabelled."""
        return StreamedImages(folder, files, torch.zeros(len(files), dtype=torch.int64), reader, skip=self.skip)

    def kept(self, parts: Sequence[StreamedImages]) -> list[ImageSet]:
        """The parts of the whole set: decoded, if all of them fit the memory; else as they are."""
        decoded = sum(len(part) * part.reader.channels * part.reader.size[0] * part.reader.size[1] for part in parts)
        if decoded > self.memory_limit_mb * 2**20:
            return list(parts)
        in_memory: list[ImageSet] = []
        for part in parts:
            images, left_out = part.in_memory()
            self._left_out += left_out
            in_memory.append(images)
        return in_memory

    def split_files(self, folder: Path) -> dict[Split, list[str]]:
        """A folder's images, without those held out for tests and these."""
        files = images_of(folder)
        test = [in_test(file, self.test_fraction) for file in files]
        sides: dict[Split, list[str]] = {
            "train": [file for file, held_out in zip(files, test, strict=True) if not held_out]
        }
        if any(test):
            sides["test"] = [file for file, held_out in zip(files, test, strict=True) if held_out]
        return sides


class UnpairedFolder(PairFolder):
    """Two folders whose images need not be related, of any two numbers: trainA and trainB by default.

    Args:
        folder_x: of the training images of X: below the root, or anywhere if the path is absolute.
        folder_y: of Y.
        test_folder_x: of the test images of X. If neither of the two is there, see test_fraction.
        test_folder_y: of Y.
        aligned_test: the test images are pairs, in the order of their names: translations can be held against them.
        (others: `PairFolder`)
    """

    name = "unpaired_folder"

    def __init__(
        self,
        *,
        root: str | None,
        folder_x: str,
        folder_y: str,
        test_folder_x: str | None,
        test_folder_y: str | None,
        aligned_test: bool,
        fit: str,
        background: str | Sequence[int],
        on_error: str,
        max_pixels: int,
        memory_limit_mb: float,
        test_fraction: float,
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
            root=root,
            fit=fit,
            background=background,
            on_error=on_error,
            max_pixels=max_pixels,
            memory_limit_mb=memory_limit_mb,
            test_fraction=test_fraction,
            image_size=image_size,
            load_size=load_size,
            channels_x=channels_x,
            channels_y=channels_y,
            batch_size=batch_size,
            num_workers=num_workers,
            flip=flip,
            seed=seed,
            cache_dir=cache_dir,
        )
        self.folder_x, self.folder_y = folder_x, folder_y
        self.test_folder_x, self.test_folder_y = test_folder_x, test_folder_y
        self.aligned_test = aligned_test

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), "aligned_test": self.aligned_test}

    def load(self) -> dict[Split, ImageSet]:
        """Find the files, and decode them if they fit the memory.

        Raises:
            MissingData: a folder that is not there or has no images, or test images that are not aligned.
            UnreadableImage: a file that is no image, unless on_error is skip.
        """
        x, y = self.folder(self.folder_x, "folder_x"), self.folder(self.folder_y, "folder_y")
        test = self.test_folders(test_folder_x=self.test_folder_x, test_folder_y=self.test_folder_y)
        if self.aligned_test and not test:
            raise MissingData(
                f"data.aligned_test=true needs folders of test images, and {self.root} has neither "
                f"{self.test_folder_x} nor {self.test_folder_y}: set data.test_folder_x and data.test_folder_y."
            )
        self.apart(x, y, *test)
        folders: dict[Split, list[Path]] = {"train": [x, y], "test": test or [x, y]}
        if test:
            files = {split: [images_of(folder) for folder in both] for split, both in folders.items()}
        else:
            of_x, of_y = self.split_files(x), self.split_files(y)
            for folder, of_folder in ((x, of_x), (y, of_y)):
                if not of_folder["train"] or ("test" in {*of_x, *of_y} and "test" not in of_folder):
                    missing = "test with" if of_folder["train"] else "train on"
                    raise MissingData(
                        f"data.test_fraction={self.test_fraction} leaves none of the images of {folder} to {missing}: "
                        "set data.test_fraction=0, or give more images or test folders."
                    )
            files = {split: [of_x[split], of_y[split]] for split in of_x}
        parts: dict[Split, list[StreamedImages]] = {
            split: [
                self.stream(folder, of_folder, self.reader(split, channels))
                for folder, of_folder, channels in zip(
                    folders[split], both, (self.channels_x, self.channels_y), strict=True
                )
            ]
            for split, both in files.items()
        }
        if self.aligned_test:
            parts["test"] = [self._aligned(*parts["test"])]
        kept = iter(self.kept([part for of_split in parts.values() for part in of_split]))
        return {
            split: UnpairedImages(next(kept), next(kept))
            if len(of_split) == 2
            else AlignedImages(next(kept), self.channels_x)
            for split, of_split in parts.items()
        }

    def _aligned(self, x: StreamedImages, y: StreamedImages) -> StreamedImages:
        if len(x) != len(y):
            raise MissingData(
                f"data.aligned_test=true pairs the test images in the order of their names, but {x.root} has {len(x)} "
                f"and {y.root} has {len(y)}: give equal numbers, or aligned_test=false."
            )
        for part in (x, y):  # 2.jpg before 10.jpg, with or without a suffix: 2_B.jpg
            part.files = sorted(part.files, key=in_reading_order)
        return StreamedPairs(x, y)


class PairedFolder(PairFolder):
    """Pairs of images, in two folders with equal names or side by side in one file.

    Args:
        layout: "folders": folder_x and folder_y hold the partners under the same name, whatever the extension;
            "side_by_side": each file of `folder` holds X in its left half and Y in its right.
        folder_x: of layout=folders, the training images of X: below the root, or anywhere if the path is absolute.
        folder_y: of Y.
        test_folder_x: of the test images of X. If neither of the two is there, see test_fraction.
        test_folder_y: of Y.
        suffix_x: what the names in folder_x end in before the extension and partners do not share: "_A" of 7_A.jpg.
        suffix_y: in folder_y.
        folder: of layout=side_by_side, the training images; null is the root itself.
        test_folder: the test images. If it is not there, see test_fraction.
        swap: exchange X and Y: the model translates from folder_y, or from the right half.
        (others: `PairFolder`; channels_x and channels_y are those after the exchange)
    """

    name = "paired_folder"

    def __init__(
        self,
        *,
        root: str | None,
        layout: str,
        folder_x: str,
        folder_y: str,
        test_folder_x: str | None,
        test_folder_y: str | None,
        suffix_x: str,
        suffix_y: str,
        folder: str | None,
        test_folder: str | None,
        swap: bool,
        fit: str,
        background: str | Sequence[int],
        on_error: str,
        max_pixels: int,
        memory_limit_mb: float,
        test_fraction: float,
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
            root=root,
            fit=fit,
            background=background,
            on_error=on_error,
            max_pixels=max_pixels,
            memory_limit_mb=memory_limit_mb,
            test_fraction=test_fraction,
            image_size=image_size,
            load_size=load_size,
            channels_x=channels_x,
            channels_y=channels_y,
            batch_size=batch_size,
            num_workers=num_workers,
            flip=flip,
            seed=seed,
            cache_dir=cache_dir,
        )
        if layout not in ("folders", "side_by_side"):
            raise ValueError(f"data.layout={layout} is unknown: use folders or side_by_side.")
        self.layout, self.swap = layout, swap
        self.folder_x, self.folder_y = folder_x, folder_y
        self.test_folder_x, self.test_folder_y = test_folder_x, test_folder_y
        self.suffix_x, self.suffix_y = suffix_x, suffix_y
        self.joint_folder, self.test_folder = folder, test_folder

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), "layout": self.layout, "swap": self.swap}

    def load(self) -> dict[Split, ImageSet]:
        """Find the pairs, and decode them if they fit the memory.

        Raises:
            MissingData: a folder that is not there or has no images, or images without a partner.
            UnreadableImage: a file that is no image, unless on_error is skip.
        """
        parts = self._side_by_side() if self.layout == "side_by_side" else self._in_two_folders()
        kept = self.kept(list(parts.values()))
        return {split: AlignedImages(images, self.channels_x) for split, images in zip(parts, kept, strict=True)}

    def _side_by_side(self) -> dict[Split, StreamedImages]:
        folder = self.folder(self.joint_folder or ".", "folder")
        test = self.test_folders(test_folder=self.test_folder)
        self.apart(folder, *test)
        folders: dict[Split, Path] = {"train": folder, "test": test[0] if test else folder}
        files = {split: images_of(folders[split]) for split in folders} if test else self.split_files(folder)
        found: dict[Split, StreamedImages] = {}
        for split, of_split in files.items():
            x, y = (self.reader(split, channels) for channels in (self.channels_x, self.channels_y))
            found[split] = self.stream(folders[split], of_split, SideBySideReader(x, y, swap=self.swap))
        return found

    def _in_two_folders(self) -> dict[Split, StreamedImages]:
        x, y = self.folder(self.folder_x, "folder_x"), self.folder(self.folder_y, "folder_y")
        test = self.test_folders(test_folder_x=self.test_folder_x, test_folder_y=self.test_folder_y)
        self.apart(x, y, *test)
        folders: dict[Split, list[Path]] = {"train": [x, y], "test": test or [x, y]}
        files = {split: images_of(folders[split][0]) for split in folders} if test else self.split_files(x)
        found: dict[Split, StreamedImages] = {}
        for split, of_x in files.items():
            partners = self._partners(*folders[split])
            both = list(zip(folders[split], (of_x, [partners[file] for file in of_x]), strict=True))
            ends = zip(reversed(both) if self.swap else both, (self.channels_x, self.channels_y), strict=True)
            found[split] = StreamedPairs(
                *(self.stream(folder, names, self.reader(split, channels)) for (folder, names), channels in ends)
            )
        return found

    def _partners(self, x: Path, y: Path) -> dict[str, str]:
        """The file in `y` of each file in `x`.

        Raises:
            MissingData: an image without a partner, or with several.
        """
        of_x, of_y = images_of(x), images_of(y)
        names_x = [stem(file, self.suffix_x) for file in of_x]
        names_y = [stem(file, self.suffix_y) for file in of_y]
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
        return {file: partner[name] for file, name in zip(of_x, names_x, strict=True)}


def images_of(folder: Path) -> list[str]:
    """The images below a folder.

    Raises:
        MissingData: there are none.
    """
    files = find_images(folder)
    if not files:
        raise MissingData(f"{folder} holds no images: looked in it and below for {' '.join(EXTENSIONS)}.")
    return files


def in_reading_order(file: str) -> list[str | int]:
    """A key for sorting: names without their extension, numbers by their value."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", stem(file, ""))]


def stem(file: str, suffix: str) -> str:
    """A file's path without its extension and, before that, the suffix: what partners share."""
    return file.rpartition(".")[0].removesuffix(suffix)


def listed(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
