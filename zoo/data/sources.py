"""Where pixels come from: arrays in memory, or files that are decoded into memory, into a cache, or at each request.

A `Source` gives the content of each split: `Arrays`, `Files` or `Halves` of files, or two of them as `Domains`. A kind
of rows asks the content for its images at a size and gets an `ImageSet`, which is indexed with a list of rows and
answers with one whole batch: a set in memory costs one gather a batch and no loop over images.
"""

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.batch import LabelledImages
from zoo.data import cache as caches
from zoo.data.archives import WANTED, Member, Root, Shards, images_in, stamp_of
from zoo.data.deep import check_range
from zoo.data.files import MissingData, in_lines, in_test, in_threads, in_words
from zoo.data.reading import FileReader, HalvesReader, PartnerReader, Reader, UnreadableImage, colour
from zoo.data.shards import Names
from zoo.data.values import Values
from zoo.ranges import Weight, Within

Split = Literal["train", "test"]
Size = tuple[int, int]  # height, width
Result = TypeVar("Result")


class ImageSet:
    """Base of the sets of rows: rows -> a batch of images uint8 [N, C, H, W], labels and index int64 [N]."""

    streams = True  # reading a batch takes time, which workers hide
    labels: Tensor  # [N], or [N, A]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Sequence[Any]) -> Any:
        raise NotImplementedError

    def digest(self) -> str:
        """A hash that changes when the content changes."""
        raise NotImplementedError

    def order(self, generator: torch.Generator, epoch: int = 0) -> Tensor:
        """A permutation: all rows, each once."""
        return torch.randperm(len(self), generator=generator)

    def distinct(self) -> int:
        """How many rows there are with no image twice."""
        return len(self)

    def evaluated(self) -> "ImageSet":
        """The split as an evaluation sees it, which does not depend on the seed."""
        return self

    def replaced(self) -> list[str]:
        """Unreadable files met so far whose places other images took, relative to their folder."""
        return []


class InMemoryImages(ImageSet):
    """Images and labels held in memory: uint8 [N, C, H, W]; int64 [N], classes, or float32 [N, A], attributes."""

    streams = False

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        assert images.dtype == torch.uint8, images.dtype
        assert images.ndim == 4, images.shape
        assert len(images) == len(labels), (len(images), len(labels))
        self.images = images.contiguous()
        self.labels = labels if labels.is_floating_point() else labels.to(torch.int64)  # attributes, or classes

    def __getitem__(self, rows: Sequence[int]) -> LabelledImages:
        index = as_rows(rows)
        return LabelledImages(self.images[index], self.labels[index], index)

    def digest(self) -> str:
        sha = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        sha.update(self.images.numpy().data)
        sha.update(self.labels.numpy().tobytes())
        return sha.hexdigest()


class StreamedImages(ImageSet):
    """Images decoded when they are asked for.

    With on_error=skip, an unreadable file is replaced by the next readable one of the set, in the set's order, whose
    label and index then stand in the batch. `bad` marks those files in memory that all workers share.
    """

    def __init__(self, content: "Files", reader: FileReader) -> None:
        self.content, self.reader, self.files, self.labels = content, reader, content.files, content.labels
        self.shape = (len(self), reader.channels, *reader.size)  # N, C, H, W
        self.bad = torch.zeros(len(self), dtype=torch.bool).share_memory_()

    def __getitem__(self, rows: Sequence[int]) -> LabelledImages:
        index = as_rows(rows).clone()
        images = np.empty((len(index), *self.shape[1:]), np.uint8)
        for n, row in enumerate(index.tolist()):
            index[n], images[n] = self._readable(row)
        return LabelledImages(torch.from_numpy(images), self.labels[index], index)

    def _readable(self, row: int) -> tuple[int, np.ndarray]:
        """An image and the row that it stands in."""
        for step in range(len(self)):
            candidate = (row + step) % len(self)
            if self.bad[candidate]:
                continue
            pixels = self.read(candidate)
            if not isinstance(pixels, UnreadableImage):
                return candidate, pixels
            if not self.bad.any():
                warnings.warn(f"{pixels} Another image takes its place (data.on_error=skip).", stacklevel=2)
            self.bad[candidate] = True
        raise self.nothing()

    def read(self, row: int) -> np.ndarray | UnreadableImage:
        """An image uint8 [C, H, W], or why there is none: `FileReading.attempt`."""
        return self.content.reading.attempt(self.reader, self.content.root / self.files[row])

    def decoded(self) -> Iterator[np.ndarray | UnreadableImage]:
        """All of them in order, by threads."""
        return in_threads(self.read, range(len(self)))

    def nothing(self) -> UnreadableImage:
        return UnreadableImage(f"{self.content.root}: none of its {len(self)} files can be read.")

    def replaced(self) -> list[str]:
        return [self.files[row] for row in self.bad.nonzero().flatten().tolist()]

    def digest(self) -> str:
        return self.content.digest()


class CachedImages(ImageSet):
    """Images in a cache. An unreadable file's place is taken by the next readable one, as when streaming."""

    def __init__(self, decoded: caches.Decoded, part: StreamedImages) -> None:
        self.decoded, self.files, self.labels, self.shape = decoded, part.files, part.labels, part.shape
        good = torch.ones(len(self), dtype=torch.bool)
        good[list(decoded.unreadable)] = False
        readable = good.nonzero().flatten()
        if not len(readable):
            raise part.nothing()
        self.place = torch.searchsorted(readable, torch.arange(len(good))) % len(readable)  # among the readable
        self.row = readable[self.place]  # the row that is read for each

    def __getitem__(self, rows: Sequence[int]) -> LabelledImages:
        asked = as_rows(rows)
        images = self.decoded.pixels.reshape(-1, *self.shape[1:])[self.place[asked].numpy()]
        index = self.row[asked]
        return LabelledImages(torch.from_numpy(images), self.labels[index], index)

    def digest(self) -> str:
        return self.decoded.digest

    def replaced(self) -> list[str]:
        return [self.files[row] for row in self.decoded.unreadable]


Colour = Annotated[
    str | Sequence[int],
    Within(lambda colour: isinstance(colour, str | list), 'must be a name, "#rrggbb" or [red,green,blue]'),
]


class Decoding(TypedDict):
    """How files are decoded, and what may be kept of them."""

    background: Colour  # under transparency and around letterboxed images: a name, '#rrggbb' or [r, g, b]
    on_error: str  # "raise" stops at an unreadable file; "skip" goes on without it and counts it in `skipped`
    max_pixels: int  # an image with more is unreadable
    memory_limit_mb: Weight  # a set that needs no more (MiB, decoded, on each process) is kept in memory


class Reading(Decoding):
    """How files become images of one size."""

    fit: str  # crop, pad or stretch: `zoo.data.reading.fit`
    # Whether a set is decoded once into `cache_dir`: "auto", if it is larger than that and the cache takes at most half
    # of the free space on its disk; true, always; false, never.
    cache: str | bool
    range: str | Sequence[float] | None  # what becomes black and white: null, full, min_max or [lowest, highest]


class FileReading:
    """How the files of a set are read, where what was decoded is kept, and which files could not be read.

    Args:
        settings: see `Reading`, of which fit and cache may be missing; with cache_dir, the folder of the caches.
        key: what tells this set's caches from those of other sets of the same folder.

    Raises:
        ValueError: naming the argument, its value and the remedy.
    """

    def __init__(self, settings: Mapping[str, Any], *key: Any) -> None:
        self.fit, self.cache = settings.get("fit", "crop"), settings.get("cache", "auto")
        if settings["on_error"] not in ("raise", "skip"):
            raise ValueError(f"data.on_error={settings['on_error']} is unknown: use raise or skip.")
        if self.cache not in ("auto", True, False):
            raise ValueError(f"data.cache={self.cache} is unknown: use auto, true or false.")
        self.skip = settings["on_error"] == "skip"
        self.background, self.max_pixels = colour(settings["background"]), settings["max_pixels"]
        self.limit = settings["memory_limit_mb"] * 2**20  # bytes
        self.cache_dir, self.key = Path(settings["cache_dir"]).expanduser(), key
        self.range = check_range(settings.get("range"))
        self.values = Values(self.range, self.max_pixels, self.skip, self.cache_dir)
        self.reader((1, 1), 3)  # says what is wrong with the arguments
        self.passed_over: dict[Path, Counter[str]] = {}  # by the folder that was looked through
        self.shards: dict[Path, int] = {}  # how many there are, where a folder or a pattern is of shards
        self.left_out: dict[str, str] = {}  # files, relative to their folder, and what is wrong with them
        self._kept: Sequence[ImageSet] = []

    def images_of(self, path: Path, remedy: str = f"set data.root to {WANTED}") -> tuple[Root, Sequence[str]]:
        """Where the images of a folder or an archive lie, and their names; what else lies there is noted.

        Raises as `zoo.data.archives.images_in`.
        """
        root, found = images_in(path, remedy, self.cache_dir / "shards")
        self.passed_over[path] = found.passed_over
        if isinstance(root, Shards):
            self.shards[path] = len(root.index.shards)
        return root, found.images

    def settle(self, splits: Mapping[Split, Any]) -> None:
        """Find the range of the values of each domain in its training files, before any file is read for good."""
        contents = [splits["train"], *(content for split, content in splits.items() if split != "train")]
        self.values.settle(list(zip(*map(_files, contents), strict=True)))

    def notes(self) -> list[str]:
        """What is to be said of the files: the values in them, how many shards, and what was passed over."""
        passed_over, shards = sum(self.passed_over.values(), Counter[str]()), sum(self.shards.values())
        notes = [words for words, _ in self.values.notes()]
        notes += [f"{shards:,} shard{'s' * (shards > 1)}"] if shards else []
        return [*notes, *([f"passed over: {in_words(passed_over)}"] if passed_over else [])]

    def complaints(self) -> list[str]:
        """What is wrong with the values in the files, with the remedy."""
        return [complaint for _, complaint in self.values.notes() if complaint]

    def reader(self, size: Size, channels: int, root: Root | None = None) -> Reader:
        """What reads the files below a folder."""
        value_range, levels = self.values.of(root)
        return Reader(size, channels, self.fit, self.background, self.max_pixels, value_range, levels)

    def parameters(self) -> dict[str, Any]:
        """What decides the pixels of images of one size."""
        how = {"fit": self.fit, "background": self.background, "max_pixels": self.max_pixels, "skip": self.skip}
        return {**how, "range": self.values.used()} if self.range is not None else how

    def attempt(self, read: Callable[[Any], Result], path: Path | Member) -> Result | UnreadableImage:
        """What `read` gives; where an unreadable file is to be skipped, what is wrong with it instead of raising it."""
        try:
            return read(path)
        except UnreadableImage as error:
            if not self.skip:
                raise
            return error

    def replaced(self) -> list[str]:
        """Unreadable files met so far whose places other images took."""
        return [file for images in self._kept for file in images.replaced()]

    def is_large(self, parts: Sequence[StreamedImages]) -> bool:
        """Whether the set that consists of these parts stays out of memory."""
        return self.cache is True or sum(math.prod(part.shape) for part in parts) > self.limit

    def kept(self, parts: Sequence[StreamedImages]) -> Sequence[ImageSet]:
        """The parts of a set: in memory if all of them fit, else in caches, or as they are.

        Raises:
            UnreadableImage: the first unreadable file, unless `skip`.
            NoRoom: with cache=true, if a cache can't be written.
        """
        self.left_out, self._kept = {}, parts
        if not self.is_large(parts):
            self._kept = [self._in_memory(part) for part in parts]
        elif self.cache is not False:
            try:
                self._kept = self._cached(parts)
            except caches.NoRoom as error:
                sentence = f"{error}: make room, give another cache_dir=, or go without, data.cache=false"
                if self.cache is True:
                    raise caches.NoRoom(sentence) from None
                warnings.warn(f"{sentence}. Files are decoded in every epoch.", stacklevel=2)
        return self._kept

    def leave_out(self, unreadable: Mapping[str, str], content: "Files") -> None:
        """Note that these of the files are left out, and warn."""
        self.left_out |= unreadable
        if unreadable:
            number = f"{len(unreadable):,} of {len(content.files):,} files of {content.root}"
            reasons = in_lines(unreadable.values())
            warnings.warn(f"{number} were left out (data.on_error=skip):{reasons}", stacklevel=3)

    def _in_memory(self, part: StreamedImages) -> InMemoryImages:
        images = np.empty(part.shape, np.uint8)
        unreadable: dict[int, str] = {}
        for row, pixels in enumerate(part.decoded()):
            if isinstance(pixels, UnreadableImage):
                unreadable[row] = str(pixels)
            else:
                images[row] = pixels
        self.leave_out({part.files[row]: why for row, why in unreadable.items()}, part.content)
        readable = [row for row in range(len(part)) if row not in unreadable]
        everything = torch.from_numpy(images)
        return InMemoryImages(everything[readable] if unreadable else everything, part.labels[readable])

    def _cached(self, parts: Sequence[StreamedImages]) -> list[ImageSet]:
        """The parts, each from its cache, which is filled where it is not there."""
        folders = [self.place(part.content, repr(part.reader), number) for number, part in enumerate(parts)]
        digests = [part.digest() for part in parts]
        decoded = [caches.find(folder, digest) for folder, digest in zip(folders, digests, strict=True)]
        needed = sum(math.prod(part.shape) for part, cache in zip(parts, decoded, strict=True) if cache is None)
        free = caches.room(self.cache_dir)
        if needed > (free if self.cache is True else free / 2):
            raise caches.NoRoom(
                f"{parts[0].content.root}: its images take {needed / 2**30:.1f} GiB once converted, and "
                f"{self.cache_dir} has {free / 2**30:.1f} GiB free"
            )
        sets: list[ImageSet] = []
        for part, folder, digest, cache in zip(parts, folders, digests, decoded, strict=True):
            if cache is None:
                root, size = part.content.root, f"{math.prod(part.shape) / 2**30:.1f} GiB"
                print(f"{root}: {len(part):,} images are converted, once, into {folder} ({size})", flush=True)
                images = (pixels if isinstance(pixels, UnreadableImage) else (pixels,) for pixels in part.decoded())
                cache = caches.convert(folder, digest, images, root=str(root))
            sets.append(CachedImages(cache, part))
        return sets

    def place(self, content: "Files", *key: Any) -> Path:
        """The folder of a content's cache, one for each way to read it."""
        return caches.place(self.cache_dir, content.root, content.folders, self.skip, *self.key, *key)


@dataclass(frozen=True)
class Arrays:
    """Images in memory; `at` gives them at (height, width), `joined` with partners as one image of both's channels."""

    images: Tensor  # uint8 [N, 1 or 3, h, w]
    labels: Tensor  # int64 [N]
    to_size: Callable[[Tensor, Size], Tensor]  # uint8 [N, C, h, w] -> uint8 [N, C, H, W]

    def at(self, size: Size, channels: Sequence[int]) -> InMemoryImages:
        return InMemoryImages(with_channels(self.to_size(self.images, size), *channels), self.labels)

    def taken(self, rows: list[int]) -> "Arrays":
        """These images alone."""
        return replace(self, images=self.images[rows], labels=self.labels[rows])

    def joined(self, y: "Arrays", size: Size, channels: Sequence[int]) -> InMemoryImages:
        parts = [part.at(size, [number]).images for part, number in zip((self, y), channels, strict=True)]
        return InMemoryImages(torch.cat(parts, dim=1), self.labels)


class Files:
    """Images as files, relative to a folder or an archive, with forward slashes.

    Args:
        root: a folder, or an archive.
        labels: int64 [N], classes, or float32 [N, A], attributes; None: 0 for all.
        partners: the files of Y, in the same order, where these are those of X.
    """

    def __init__(
        self, root: Root, files: Sequence[str], reading: FileReading, labels: Tensor | None = None,
        partners: "Files | None" = None,
    ) -> None:  # fmt: skip
        self.root, self.files, self.reading, self.partners = root, files, reading, partners
        self.labels = torch.zeros(len(files), dtype=torch.int64) if labels is None else labels

    def at(self, size: Size, channels: Sequence[int]) -> StreamedImages:
        return StreamedImages(self, self.reading.reader(size, channels[0], self.root))

    def joined(self, y: "Files", size: Size, channels: Sequence[int]) -> StreamedImages:
        reader_x = self.reading.reader(size, channels[0], self.root)
        reader_y = self.reading.reader(size, channels[1], y.root)
        paths = ([part.root / file for file in part.files] for part in (self, y))
        reader = PartnerReader(reader_x, reader_y, dict(zip(*paths, strict=True)))
        return StreamedImages(Files(self.root, self.files, self.reading, self.labels, partners=y), reader)

    def splits(self, test_fraction: float) -> "dict[Split, Files]":
        """Without those held out for tests and, if there are any, these: chosen by a hash of the relative path."""
        held_out = np.fromiter((in_test(file, test_fraction) for file in self.files), bool, len(self.files))
        sides: dict[Split, np.ndarray] = {"train": np.flatnonzero(~held_out), "test": np.flatnonzero(held_out)}
        return {split: self.taken(rows) for split, rows in sides.items() if len(rows) or split == "train"}

    def taken(self, rows: Sequence[int] | np.ndarray) -> "Files":
        """These images alone."""
        files = self.files.taken(rows) if isinstance(self.files, Names) else [self.files[row] for row in rows]
        return Files(self.root, files, self.reading, self.labels[rows])

    @property
    def folders(self) -> str:
        """Where the files really lie."""
        return f"{self.root.resolve()} {self.partners.folders if self.partners else ''}"

    def digest(self) -> str:
        """Of the paths, sizes and times of modification: reading all of a large set would take too long."""
        sha = hashlib.sha256()
        if isinstance(self.files, Names):  # not one by one: there may be millions
            sha.update(self.files.digest() + self.labels.numpy().tobytes())
        else:
            for file, label in zip(self.files, self.labels.tolist(), strict=True):
                stamp = stamp_of(self.root, file)
                line = f"{file}\0missing\n" if stamp is None else f"{file}\0{stamp}\0{label}\n"
                sha.update(line.encode(errors="surrogateescape"))
        if self.partners is None:
            return sha.hexdigest()
        return hashlib.sha256(f"{sha.hexdigest()} {self.partners.digest()}".encode()).hexdigest()


@dataclass(frozen=True)
class Halves:
    """Files that each hold a pair side by side; `swap`: X is the right half."""

    content: Files
    swap: bool

    def at(self, size: Size, channels: Sequence[int]) -> StreamedImages:
        x, y = (self.content.reading.reader(size, number, self.content.root) for number in channels)
        return StreamedImages(self.content, HalvesReader(x, y, self.swap))


@dataclass(frozen=True)
class Domains:
    """Two contents of one kind: `aligned`, pairs in the same order, or each for itself."""

    x: Any
    y: Any
    aligned: bool

    def at(self, size: Size, channels: Sequence[int]) -> ImageSet:
        return self.x.joined(self.y, size, channels)


def _files(content: Any) -> list[Files]:
    """The files of each domain of a split's content."""
    if isinstance(content, Domains):
        return [content.x, content.y]
    return [content.content if isinstance(content, Halves) else content]


class Source:
    """Base of the sources, which give `splits` and replace whatever else does not hold for them."""

    root: Path | None = None  # where the user said that the images lie
    reading: FileReading | None = None  # of the files, where there are any
    classes: list[str] = []  # noqa: RUF012  # names by label; empty where there are none
    attributes: list[str] = []  # noqa: RUF012  # names of what labels are vectors of, where they are
    remarks: list[str] = []  # noqa: RUF012  # sentences to say of the images, once they are found
    all_normal = False  # whether its training images have no classes, and are all taken for normal
    no_test_remedy: str = "measure against the training images instead (metrics.split=train)"

    @property
    def labelled_root(self) -> Path | None:
        """Where its classes are told."""
        return self.root

    def prepare(self) -> None:
        """What one process of a machine does before the others look for the images: fetch them, fill a cache."""

    def splits(self) -> dict[Split, Any]:
        """The content of "train", and of "test" where there is one: Arrays, Files, Halves or Domains.

        Raises:
            MissingData: it is not there.
        """
        raise NotImplementedError

    def parameters(self) -> dict[str, Any]:
        """What besides content and rows decides the pixels."""
        return {}


class Memory(Source):
    """Content that `make` gives."""

    def __init__(self, settings: Any, name: str, *, make: Callable[[], dict[Split, Any]]) -> None:
        self.make = make

    def splits(self) -> dict[Split, Any]:
        return self.make()


def folder_setting(name: str, root: str | None, test_fraction: float, example: str) -> Path:
    """The path of data.root, which has to be given; and data.test_fraction has to be in its range."""
    if not root:
        raise MissingData(f"data={name} needs {example}.")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"data.test_fraction={test_fraction} is not a share of the images: use 0 to below 1.")
    return Path(root).expanduser()


def as_rows(rows: Sequence[Any]) -> Tensor:
    """The rows of one batch as int64 [N], or [N, 2] where a row is one of each of two domains."""
    if isinstance(rows, int):  # asked for by a sampler that Lightning put in place of ours
        raise TypeError(
            "an image set is indexed with the rows of a batch, but was asked for a single row: its sampler was "
            "replaced. Set trainer.use_distributed_sampler=false and leave trainer.overfit_batches at 0."
        )
    return torch.as_tensor(rows, dtype=torch.int64)


def resize(images: Tensor, size: Size) -> Tensor:
    """uint8 [N, C, h, w] -> uint8 [N, C, H, W], antialiased bilinear, stretched where the proportions differ."""
    if images.shape[2:] == size:
        return images
    result = torch.empty(*images.shape[:2], *size, dtype=torch.uint8)
    for old, new in zip(images.split(1024), result.split(1024), strict=True):  # bounds the float32 copies
        large = F.interpolate(old.float(), size=size, mode="bilinear", antialias=True, align_corners=False)
        new.copy_(large.round_().clamp_(0, 255))
    return result


def with_channels(images: Tensor, channels: int) -> Tensor:
    """uint8 [N, 1 or 3, H, W] -> uint8 [N, channels, H, W]: grey is repeated, RGB becomes ITU-R 601 luma, alpha 255."""
    colours = 1 if channels in (1, 2) else 3
    if images.shape[1] == 3 and colours == 1:
        weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32).view(1, 3, 1, 1)  # Pillow's, of 2 ** 16
        luma = [((part.int() * weights).sum(1, keepdim=True) + 2**15) >> 16 for part in images.split(1024)]
        images = torch.cat(luma).to(torch.uint8)
    images = images.expand(-1, colours, -1, -1)
    if channels in (2, 4):
        images = torch.cat([images, torch.full_like(images[:, :1], 255)], dim=1)
    return images
