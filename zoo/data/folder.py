"""Folders of images: any images (`ImageFolder`), or one subfolder a class (`LabelledImageFolder`).

A file is an image of the set if its extension is one of EXTENSIONS, in capitals or not, and neither it nor a folder
above it is hidden (begins with a dot). Links are followed, each folder is entered once. The order is that of the
relative paths. A set whose decoded images fit `memory_limit_mb` is decoded once, by threads, into memory; a larger one
once into a file (zoo/data/cache.py) or, without that cache, in every epoch by the workers of the DataLoader.
"""

import hashlib
import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.batch import LabelledImages
from zoo.data import cache as caches
from zoo.data.images import ImageDataModule, ImageSet, InMemoryImages, MissingData, Split, as_rows, cpus
from zoo.data.reading import FileReader, Reader, UnreadableImage, colour

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".jp2", ".gif", ".bmp", ".tif", ".tiff", ".tga"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)


class StreamedImages:
    """Images decoded when they are asked for.

    With `skip`, an unreadable file is replaced by the next readable one of the set, in the set's order, whose label
    and index then stand in the batch. `bad` marks those files in memory that all workers share.

    Args:
        root: folder that `files` are relative to.
        labels: int64 [N].
    """

    streams = True

    def __init__(self, root: Path, files: Sequence[str], labels: Tensor, reader: FileReader, *, skip: bool) -> None:
        self.root, self.files, self.labels, self.reader, self.skip = root, files, labels, reader, skip
        self.bad = torch.zeros(len(files), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Sequence[int]) -> LabelledImages:
        index = as_rows(rows).clone()
        images = np.empty((len(index), self.reader.channels, *self.reader.size), np.uint8)
        for n, row in enumerate(index.tolist()):
            index[n], images[n] = self._read(row)
        return LabelledImages(torch.from_numpy(images), self.labels[index], index)

    def _read(self, row: int) -> tuple[int, np.ndarray]:
        """An image and the row that it stands in."""
        for step in range(len(self)):
            there = (row + step) % len(self)
            if self.bad[there]:
                continue
            try:
                return there, self.reader(self.root / self.files[there])
            except UnreadableImage as error:
                if not self.skip:
                    raise
                if not self.bad.any():
                    warnings.warn(f"{error} Another image takes its place (data.on_error=skip).", stacklevel=2)
                self.bad[there] = True
        raise UnreadableImage(f"{self.root}: none of its {len(self)} files can be read.")

    @property
    def skipped(self) -> list[str]:
        """Unreadable files met so far, relative to the root."""
        return [self.files[row] for row in self.bad.nonzero().flatten().tolist()]

    def digest(self) -> str:
        """Of the paths, sizes and times of modification: reading all of a large set would take too long."""
        sha = hashlib.sha256()
        for file, label in zip(self.files, self.labels.tolist(), strict=True):
            try:
                stat = (self.root / file).stat()
                sha.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0{label}\n".encode(errors="surrogateescape"))
            except OSError:
                sha.update(f"{file}\0missing\n".encode(errors="surrogateescape"))
        return sha.hexdigest()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return (len(self), self.reader.channels, *self.reader.size)

    @property
    def size(self) -> int:
        """Bytes, decoded."""
        return int(np.prod(self.shape))

    def cached(self, folder: Path, digest: str) -> caches.CachedImages:
        """The same images from a cache, which is filled if it is not there: by as many threads as there are CPUs.

        Args:
            folder: of the cache.
            digest: of these images.

        Raises:
            UnreadableImage: the first unreadable file, unless `skip`.
            NoRoom: if the cache can't be written.
        """
        bad = caches.find(folder, self.shape, digest)
        if bad is None:
            size = f"{self.size / 2**30:.1f} GiB"
            print(f"{self.root}: {len(self):,} images are converted, once, into {folder} ({size})", flush=True)
            about = {"root": str(self.root), "images": len(self)}
            bad = caches.convert(folder, self.shape, digest, self._or_none, cpus(), **about)
        if len(bad) == len(self):
            raise UnreadableImage(f"{self.root}: none of its {len(self)} files can be read.")
        return caches.CachedImages(folder, self.files, self.labels, bad, digest)

    def _or_none(self, row: int) -> np.ndarray | None:
        """An image, or None for an unreadable file that is skipped."""
        try:
            return self.reader(self.root / self.files[row])
        except UnreadableImage:
            if not self.skip:
                raise
            return None

    def in_memory(self) -> tuple[InMemoryImages, list[str]]:
        """All images decoded, by as many threads as there are CPUs, and the files left out because of `skip`.

        Raises:
            UnreadableImage: the first unreadable file, unless `skip`.
        """
        images = np.empty((len(self), self.reader.channels, *self.reader.size), np.uint8)
        unreadable: list[str] = []

        def decode(rows: range) -> list[bool]:
            return [decode_one(row) for row in rows]

        def decode_one(row: int) -> bool:
            try:
                images[row] = self.reader(self.root / self.files[row])
            except UnreadableImage as error:
                if not self.skip:
                    raise
                unreadable.append(str(error))
                return False
            return True

        threads = ThreadPoolExecutor(max_workers=cpus())
        try:
            parts = threads.map(decode, (range(len(self))[start : start + 64] for start in range(0, len(self), 64)))
            good = torch.tensor([is_good for part in parts for is_good in part], dtype=torch.bool)
        finally:
            threads.shutdown(cancel_futures=True)  # an error stops the decoding of the rest
        if unreadable:
            shown = "\n  ".join(sorted(unreadable)[:5])
            warnings.warn(
                f"{len(unreadable):,} of {len(self):,} files of {self.root} were left out (data.on_error=skip):\n"
                f"  {shown}" + ("\n  ..." if len(unreadable) > 5 else ""),
                stacklevel=2,
            )
        everything = torch.from_numpy(images)
        readable = everything if good.all() else everything[good]
        left_out = [self.files[row] for row in (~good).nonzero().flatten().tolist()]
        return InMemoryImages(readable, self.labels[good]), left_out


class ImageFolder(ImageDataModule):
    """Every image under a folder, without labels.

    Args:
        root: the folder; ~ is the home folder.
        fit: crop, pad or stretch: `zoo.data.reading.fit`.
        background: under transparency and around letterboxed images: a name, '#rrggbb' or [red, green, blue].
        on_error: "raise" stops at an unreadable file; "skip" goes on without it and counts it in `skipped`.
        max_pixels: an image with more is unreadable.
        memory_limit_mb: a set that needs no more (MiB, decoded, on each process) is kept in memory.
        cache: whether a set is decoded once into `cache_dir`: "auto", if it is larger than that and the cache takes at
            most half of the free space on its disk; true, always; false, never.
        test_fraction: of the files, chosen by a hash of the relative path, so that a file never changes sides.
        (others: `ImageDataModule`)
    """

    name = "folder"
    no_test_remedy = "set data.test_fraction=0.1, or measure against the training images instead (split=train)"

    def __init__(
        self,
        *,
        root: str | None,
        fit: str,
        background: str | Sequence[int],
        on_error: str,
        max_pixels: int,
        memory_limit_mb: float,
        cache: str | bool,
        test_fraction: float,
        image_size: int | Sequence[int],
        channels: int,
        batch_size: int,
        num_workers: int | str,
        flip: bool,
        seed: int,
        cache_dir: str,
    ) -> None:
        super().__init__(
            image_size=image_size,
            channels=channels,
            batch_size=batch_size,
            num_workers=num_workers,
            flip=flip,
            seed=seed,
            cache_dir=cache_dir,
        )
        if not root:
            raise MissingData(f"data={self.name} needs a folder of images: set data.root=~/my_images.")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"data.on_error={on_error} is unknown: use raise or skip.")
        if cache not in ("auto", True, False):
            raise ValueError(f"data.cache={cache} is unknown: use auto, true or false.")
        if not 0 <= test_fraction < 1:
            raise ValueError(f"data.test_fraction={test_fraction} is not a share of the images: use 0 to below 1.")
        self.root = Path(root).expanduser()
        self.memory_limit_mb, self.cache = memory_limit_mb, cache
        self.test_fraction = test_fraction
        self.skip = on_error == "skip"
        self.reader = Reader(self.image_size, self.channels, fit, colour(background), max_pixels)
        self._left_out: list[str] = []

    def where(self) -> str:
        return f"data={self.name} ({self.root})"

    def parameters(self) -> dict[str, Any]:
        return {
            **super().parameters(),
            "fit": self.reader.fit,
            "background": self.reader.background,
            "max_pixels": self.reader.max_pixels,
            "skip": self.skip,
        }

    @property
    def skipped(self) -> list[str]:
        """Unreadable files that were skipped so far, relative to the root."""
        kinds = StreamedImages | caches.CachedImages
        streamed = (images.skipped for images in self.sets.values() if isinstance(images, kinds))
        return sorted(self._left_out + [file for files in streamed for file in files])

    def files_and_labels(self) -> tuple[list[str], list[int]]:
        """Files relative to the root, and a label for each; may set `classes`."""
        files = find_images(self.root)
        return files, [0] * len(files)

    def prepare_data(self) -> None:
        """Fill the cache before the other processes look for it."""
        parts = self._parts()
        if self._large(parts):
            self._cached(parts)

    def load(self) -> dict[Split, ImageSet]:
        """Find the files, split them, and decode them into memory or into the cache, if they fit.

        Raises:
            MissingData: no folder, or no images in it.
            UnreadableImage: a file that is no image, unless on_error is skip.
            NoRoom: with cache=true, if the cache can't be written.
        """
        parts = self._parts()
        if self._large(parts):
            return self._cached(parts)
        sets: dict[Split, ImageSet] = {}
        for split, images in parts.items():
            sets[split], left_out = images.in_memory()
            self._left_out += left_out
        return sets

    def _parts(self) -> dict[Split, StreamedImages]:
        """The splits, not decoded yet."""
        check_is_folder(self.root)
        files, labels = self.files_and_labels()
        if not files:
            raise MissingData(f"{self.root} holds no images: looked in it and below for {' '.join(EXTENSIONS)}.")
        test = [in_test(file, self.test_fraction) for file in files]
        parts: dict[Split, StreamedImages] = {"train": self._part(files, labels, [not t for t in test])}
        if any(test):
            parts["test"] = self._part(files, labels, test)
        return parts

    def _large(self, parts: dict[Split, StreamedImages]) -> bool:
        """Whether the set stays out of memory."""
        return self.cache is True or sum(images.size for images in parts.values()) > self.memory_limit_mb * 2**20

    def _cached(self, parts: dict[Split, StreamedImages]) -> dict[Split, ImageSet]:
        """The splits, each from its cache; where there can't be one and needs not be, as they are."""
        if self.cache is False:
            return dict(parts)
        try:
            key = (self.name, repr(self.reader), self.skip, self.test_fraction)
            places = {split: caches.place(self.cache_dir, self.root, split, *key) for split in parts}
            digests = {split: images.digest() for split, images in parts.items()}
            there = [s for s, images in parts.items() if caches.find(places[s], images.shape, digests[s]) is not None]
            needed = sum(images.size for split, images in parts.items() if split not in there)
            free = caches.room(Path(self.cache_dir))
            if needed > (free if self.cache is True else free / 2):
                raise caches.NoRoom(
                    f"{self.root}: its images take {needed / 2**30:.1f} GiB once converted, and {self.cache_dir} has "
                    f"{free / 2**30:.1f} GiB free: make room, give another cache_dir=, or go without, data.cache=false"
                )
            return {split: images.cached(places[split], digests[split]) for split, images in parts.items()}
        except caches.NoRoom as error:
            if self.cache is True:
                raise
            warnings.warn(f"{error}. Files are decoded in every epoch.", stacklevel=2)
            return dict(parts)

    def _part(self, files: list[str], labels: list[int], wanted: list[bool]) -> StreamedImages:
        part = [file for file, want in zip(files, wanted, strict=True) if want]
        of_part = torch.tensor([label for label, want in zip(labels, wanted, strict=True) if want], dtype=torch.int64)
        return StreamedImages(self.root, part, of_part, self.reader, skip=self.skip)

    def teardown(self, stage: str | None = None) -> None:
        """Say how many files a streamed set had to skip: its workers have warned of the first only."""
        if self._sets and len(self.skipped) > len(self._left_out):
            warnings.warn(
                f"{len(self.skipped):,} unreadable files of {self.root} were skipped (data.on_error=skip): "
                f"{', '.join(self.skipped[:5])}{', ...' if len(self.skipped) > 5 else ''}",
                stacklevel=2,
            )


class LabelledImageFolder(ImageFolder):
    """root/<class>/**/<image>: the labels are the classes' numbers in alphabetical order. Arguments: `ImageFolder`."""

    name = "labelled_folder"

    def files_and_labels(self) -> tuple[list[str], list[int]]:
        files = find_images(self.root)
        loose = [file for file in files if "/" not in file]
        if loose:
            raise MissingData(
                f"{self.root} holds images outside any class folder ({len(loose):,}, first {loose[0]}): "
                "data=labelled_folder wants root/<class>/<image>. Use data=folder for images without labels."
            )
        self.classes = sorted({file.split("/", 1)[0] for file in files})
        if files and {name.lower() for name in self.classes} <= {"train", "test", "val", "valid", "validation"}:
            raise MissingData(
                f"{self.root} holds splits ({', '.join(self.classes)}), not classes: "
                f"set data.root={self.root / self.classes[-1]}, or whichever of them is to be trained on."
            )
        number = {name: label for label, name in enumerate(self.classes)}
        return files, [number[file.split("/", 1)[0]] for file in files]

    @property
    def class_names(self) -> list[str]:
        if not self.classes:
            check_is_folder(self.root)
            self.files_and_labels()
        return self.classes

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), "classes": self.classes}


def check_is_folder(root: Path, remedy: str = "set data.root to a folder of images") -> None:
    """Raises:
    MissingData: `root` is not a folder.
    """
    if not root.exists():
        raise MissingData(f"{root} does not exist: {remedy}.")
    if not root.is_dir():
        raise MissingData(f"{root} is a file: {remedy}.")


def find_images(root: Path) -> list[str]:
    """Paths of the images under `root`, relative to it, with forward slashes, sorted."""
    return sorted(file for file in find_files(root) if file.lower().endswith(EXTENSIONS))


def find_files(root: Path) -> Iterable[str]:
    """Paths of all files under `root` that are not hidden, relative to it, with forward slashes."""
    entered: set[tuple[int, int]] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in entered:  # a link to a folder above, or to one already seen
            subfolders.clear()
            continue
        entered.add((stat.st_dev, stat.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        yield from ((relative / name).as_posix() for name in files if not name.startswith("."))


def in_test(file: str, fraction: float) -> bool:
    """Whether a file, by its path relative to the root, belongs to the test split."""
    digest = hashlib.sha256(file.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8]) < fraction * 2**64
