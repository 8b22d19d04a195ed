"""Images that lie inside one file: the members of a .zip or .tar, the rows of the arrays in an .npz or .npy.

An archive stands where a folder of images can stand: it lists the names of its images, and `archive / name` is a
`Member`, which `zoo.data.reading.opened` opens. Nothing is ever written to the disk: a member's name leads nowhere.

- .zip: images and .npy arrays by their extension, in folders or not. A file __MACOSX or one that begins with a dot is
  hidden. Where all lies in one folder of the archive, as in a zip of a folder of classes, that folder is its root. A
  path may lead into it, as into a folder: set.zip/train.
- .tar, not compressed: as a .zip. Members that are no files, such as links, are passed over.
- Shards, a folder or a pattern of .tar files in WebDataset's format: zoo/data/shards.py. So is one .tar that has labels
  beside its images.
- .npz: uint8, 16-bit or float images [N, H, W], [N, H, W, C] or [N, C, H, W], under one of the names IMAGES, and labels
  of the names LABELS, their names under CLASS_NAMES. A member's name is its row.
- .npy: images of the same shapes, mapped into memory.

What a member claims to hold is looked at before it is inflated: a few kilobytes can claim gigabytes. Arrays of Python
objects are refused, since reading them runs code.

Imports neither torch nor Lightning.
"""

import io
import math
import os
import stat
import struct
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from zoo.data.files import (
    EXTENSIONS,
    Found,
    MissingData,
    check_is_folder,
    find,
    kind_of,
    opened_regular,
    some_in,
    why_not_opened,
)  # fmt: skip
from zoo.data.labels import Labels
from zoo.data.shards import (
    SUFFIX,
    UNPACK,
    Index,
    Names,
    check_unpacked,
    hidden,
    index_of,
    is_pattern,
    labels_of,
    normal,
    shards_in,
    shards_of,
)
from zoo.data.tars import entries, read_at, written
from zoo.machine import memory

IMAGES = ("images", "image", "x", "X", "data", "x_train", "train_images", "X_train", "imgs", "arr_0")
LABELS = ("labels", "label", "y", "Y", "targets", "y_train", "train_labels", "Y_train", "classes", "arr_1")
CLASS_NAMES = ("class_names", "label_names")
ARCHIVES = (".zip", ".tar", ".npz", ".npy")
WANTED = "a folder of images or of shards, a .zip, .tar, .npz or .npy"
DEAR = 2**28  # bytes: a member that inflates to more than that has to have the pixels for it
BYTES_A_PIXEL = 32  # at most, of an uncompressed image: four numbers of 64 bits
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    OSError,
)


class Archive:
    """Base of the files that hold images. `path` is the file, `names` are those of its images, in order."""

    path: Path
    names: Sequence[str]
    passed_over: Counter[str]  # how many of each kind are no images

    def __truediv__(self, name: str) -> "Member":
        return Member(self, name)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    def resolve(self) -> Path:
        return self.path.resolve()

    def open(self, name: str, max_pixels: int) -> IO[bytes] | np.ndarray:
        """The bytes of a member's image file, or its pixels [H, W, C] where it is an array.

        Raises:
            ValueError, BadZipFile, OSError: naming what is wrong with it.
        """
        raise NotImplementedError

    def stamp(self, name: str) -> str:
        """What changes when the member's content changes, without reading it."""
        raise NotImplementedError

    def read(self, name: str) -> bytes | None:
        """The content of a file beside the images, by its name; None where there is none."""
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)  # another process opens it anew

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__.get("path") == other.__dict__.get("path")

    def __hash__(self) -> int:
        return hash(self.path)


@dataclass(frozen=True)
class Member:
    """One image of an archive, by its name: what `root / file` is where the root is an archive."""

    archive: Archive
    name: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def open(self, max_pixels: int) -> IO[bytes] | np.ndarray:
        return self.archive.open(self.name, max_pixels)


Root = Path | Archive  # where the images of a set lie


def images_in(path: Path, remedy: str, kept_in: Path | None = None) -> tuple[Root, Found]:
    """Where the images of a folder or an archive lie, and what there is.

    Raises:
        MissingData: as `look_in`, or it holds no images.
    """
    root, found = look_in(path, remedy, kept_in)
    return root, some_in(path, found)


def look_in(path: Path, remedy: str, kept_in: Path | None = None) -> tuple[Root, Found]:
    """A folder or an archive, and what there is in it, be it nothing. A folder without images may hold shards.

    Args:
        remedy: what to do where it is neither.
        kept_in: the folder that the indices of shards are kept in; None: they are made anew.

    Raises:
        MissingData: it is neither, or is damaged.
    """
    if not is_archive(path) and (path.suffix.lower() not in ARCHIVES or path.is_dir()):
        if path.is_file() and path.name.lower().endswith(tuple(UNPACK)):
            check_unpacked([path])
        check_is_folder(path, remedy)
        found = find(path)
        if found.images or not (shards := shards_in(path)):
            if not found.images and found.passed_over[SUFFIX]:
                below = f"its shards lie in folders below it: give one of them, or all, {path}/*/*{SUFFIX}"
                raise MissingData(f"{path} holds no images, and {below}.")
            return path, found
        archive: Archive = opened_archive(path, kept_in)
        beside = found.passed_over - Counter({SUFFIX: len(shards)})
        return archive, Found(archive.names, archive.passed_over + beside)
    archive = opened_archive(path, kept_in)
    return archive, Found(archive.names, archive.passed_over)


def zip_of(path: Path) -> Path | None:
    """The .zip that a path names or leads into; None where there is none."""
    return next((p for p in (path, *path.parents) if p.suffix.lower() == ".zip" and p.is_file()), None)


def is_archive(path: Path) -> bool:
    """Whether a path is that of an archive, a pattern of shards, or leads into a .zip, where there may be such a folder
    or not."""
    return zip_of(path) is not None or (path.suffix.lower() in ARCHIVES and path.is_file()) or is_pattern(path)


def exists(path: Path) -> bool:
    """Whether there is such a file or folder, on the disk or inside of a .zip, or such shards."""
    try:
        if zip_of(path) not in (None, path):
            return bool(Zip(path).infos)
        return bool(shards_of(path)[1]) if is_pattern(path) else path.exists()
    except MissingData:
        return False


def read_in(root: Root, name: str) -> bytes | None:
    """The content of a file beside the images, by its name; None where there is none.

    Raises:
        MissingData: it can't be read.
    """
    try:
        if isinstance(root, Archive):
            return root.read(name)
        with opened_regular(root / name) as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MissingData(f"{root / name} can't be read: {why_not_opened(str(root / name), error)}.") from None
    except DAMAGED as error:
        raise MissingData(f"{root / name} can't be read: {reason(error)}.") from None


def opened_archive(path: Path, kept_in: Path | None = None) -> Archive:
    """The archive of a file, by its extension; of a folder, or of a pattern, its shards.

    Raises:
        MissingData: there is no such file, or it can't be read as what its name says.
    """
    try:
        if zip_of(path) is not None:
            return Zip(path)
        if path.is_dir() or is_pattern(path):
            return Shards(path, index_of(path, kept_in))
        if not stat.S_ISREG(path.stat().st_mode):
            raise MissingData(f"{path} is no regular file: give {WANTED}.")
        archive = {".zip": Zip, ".tar": Tar, ".npz": Stack, ".npy": Stack}[path.suffix.lower()](path)
        if isinstance(archive, Tar) and archive.is_shard:
            return Shards(path, index_of(path, kept_in))
        return archive
    except MissingData:
        raise
    except FileNotFoundError:
        raise MissingData(f"{path} does not exist: give {WANTED}.") from None
    except (*DAMAGED, MemoryError, struct.error) as error:
        raise MissingData(f"{path} can't be read: {reason(error)}.") from None


def reason(error: BaseException) -> str:
    """What went wrong with an archive, in words."""
    if isinstance(error, PermissionError):
        return "permission denied"
    words = " ".join(str(error).split()).rstrip(".")
    if "allow_pickle" in words:
        return "it holds Python objects, which are not read since that could run code: save numbers or text"
    if isinstance(error, zipfile.BadZipFile):
        return f"damaged or truncated ({words})"
    return words or type(error).__name__


class Zip(Archive):
    """The images of a .zip, or of the folder inside that the path leads to. It is opened once in each process, and read
    by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, zip_of(path) or path
        with zipfile.ZipFile(self.file) as file:
            infos = {normal(info.filename): info for info in file.infolist() if not info.is_dir()}
        top = _common_folder([name for name in infos if not hidden(name)])
        if self.file != path:
            inside = f"{path.relative_to(self.file).as_posix()}/"
            top = inside if any(name.startswith(inside) for name in infos) else top + inside
            infos = {name: info for name, info in infos.items() if name.startswith(top)}
            if not infos:
                raise MissingData(f"{path} does not exist: {self.file} holds no folder {inside[:-1]}.")
        self.infos = {name.removeprefix(top): info for name, info in infos.items()}
        self.names = sorted(name for name in self.infos if name.lower().endswith(EXTENSIONS) and not hidden(name))
        others = self.infos.keys() - {*self.names, "dataset.json"}
        self.passed_over = Counter("hidden" if hidden(name) else kind_of(name) for name in others)
        self._lock = threading.Lock()
        self._file: tuple[int, zipfile.ZipFile] | None = None  # with the process that opened it

    def stamp(self, name: str) -> str:
        info = self.infos[name]
        return f"{info.file_size}\0{info.CRC:08x}"

    def read(self, name: str) -> bytes | None:
        info = self.infos.get(name)
        if info is None:
            return None
        if info.file_size > DEAR:
            raise ValueError(f"{self}/{name} would take {_gib(info.file_size)}, too much for a table of labels")
        return self._inflated(info)

    def open(self, name: str, max_pixels: int) -> IO[bytes] | np.ndarray:
        info = self.infos[name]
        if info.flag_bits & 1:
            raise ValueError("encrypted")
        array = name.lower().endswith(".npy")
        if array:
            with self._lock, self._opened().open(info) as member:
                check_array(member, max_pixels, size=info.file_size)
        elif info.file_size > DEAR:  # how many pixels it has, its first bytes say
            with self._lock, self._opened().open(info) as member:
                width, height = Image.open(member).size
            if info.file_size > BYTES_A_PIXEL * width * height:
                raise ValueError(f"it claims {_gib(info.file_size)} for {width}x{height} pixels")
        content = io.BytesIO(self._inflated(info))
        return pixels_of_npy(content, max_pixels) if array else content

    def _inflated(self, info: zipfile.ZipInfo) -> bytes:
        """A member's bytes, whose checksum is right."""
        with self._lock:
            return self._opened().read(info)

    def _opened(self) -> zipfile.ZipFile:
        """The file, of this process: a forked one would share its position with its parent."""
        if self._file is None or self._file[0] != os.getpid():
            self._file = os.getpid(), zipfile.ZipFile(self.file)
        return self._file[1]


class Tar(Archive):
    """The images of a .tar, each read from its place in the file, by any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with opened_regular(path) as file:
            self._stamp = written(os.fstat(file.fileno()))
            members = list(entries(file))
        places = {normal(member.name): (member.offset, member.size) for member in members if not member.kind}
        top = _common_folder([name for name in places if not hidden(name)])
        self.places = {name.removeprefix(top): place for name, place in places.items()}
        self.names = sorted(name for name in self.places if name.lower().endswith(EXTENSIONS) and not hidden(name))
        rest = self.places.keys() - {*self.names, "dataset.json"}
        self.passed_over = Counter(member.kind for member in members if member.kind)
        self.passed_over.update("hidden" if hidden(name) else kind_of(name) for name in rest)

    @property
    def is_shard(self) -> bool:
        """Whether it says labels as the shards of WebDataset do."""
        beside = self.passed_over[".cls"] or self.passed_over[".json"] >= len(self.names) > 0
        return bool(beside) and "dataset.json" not in self.places

    def stamp(self, name: str) -> str:
        offset, size = self.places[name]
        return f"{self._stamp[1]}\0{offset}\0{size}"

    def read(self, name: str) -> bytes | None:
        if name not in self.places:
            return None
        if self.places[name][1] > DEAR:
            raise ValueError(f"{self}/{name} takes {_gib(self.places[name][1])}, too much for a table of labels")
        return read_at(self.path, *self.places[name], self._stamp)

    def open(self, name: str, max_pixels: int) -> IO[bytes] | np.ndarray:
        return _opened_at(self.path, *self.places[name], self._stamp, name, max_pixels)


class Shards(Archive):
    """The images of many .tar files in WebDataset's format, each read from its place, by any thread or process."""

    def __init__(self, path: Path, index: Index) -> None:
        self.path, self.index = path, index
        self.names, self.passed_over = Names(index), Counter(index.passed_over)

    def stamp(self, name: str) -> str:
        row = self.index.row(name)
        (size, date), place = self.index.stamps[self.index.shard(row)], self.index.places[row]
        return f"{size}\0{date}\0{place['offset']}\0{place['size']}"

    def open(self, name: str, max_pixels: int) -> IO[bytes] | np.ndarray:
        row = self.index.row(name)
        shard, place = self.index.shard(row), self.index.places[row]
        path, (length, date) = self.index.base / self.index.shards[shard], self.index.stamps[shard]
        return _opened_at(path, int(place["offset"]), int(place["size"]), (length, date), name, max_pixels)

    def labels(self, *, skip: bool) -> Labels | None:
        """The classes of its images, None where they have none: `zoo.data.shards.labels_of`."""
        return labels_of(self.index, Names(self.index), self, skip=skip)

    def __reduce__(self) -> tuple[Any, ...]:
        return Shards, (self.path, self.index)  # another process reads no headers again


def _opened_at(
    path: Path, offset: int, size: int, stamp: tuple[int, int], name: str, max_pixels: int
) -> IO[bytes] | np.ndarray:
    """The bytes of an image that lies in a file of that stamp, or its pixels [H, W, C] where it is an array."""
    if size > BYTES_A_PIXEL * max_pixels + 2**20:  # and what else it may hold
        raise ValueError(f"oversized: {_gib(size)} are more than data.max_pixels={max_pixels} pixels can take")
    content = io.BytesIO(read_at(path, offset, size, stamp))
    return pixels_of_npy(content, max_pixels) if name.lower().endswith(".npy") else content


class Stack(Archive):
    """The images of one array, in an .npz or .npy. `labels` and `class_names` are what an .npz says of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.labels: np.ndarray | None = None
        self.class_names: list[str] = []
        self.passed_over: Counter[str] = Counter()
        self._array: np.ndarray | None = None
        self._lock = threading.Lock()
        self.key = ""  # of the images' array
        if path.suffix.lower() == ".npy":
            info = path.stat()
            self._stamp = f"{info.st_size}\0{info.st_mtime_ns}"
            self._array = np.load(path, mmap_mode="r", allow_pickle=False)
            shape, dtype = self._array.shape, self._array.dtype
        else:
            shape, dtype = self._look()
        _check_stack(shape, dtype, self.key or "its array")
        self.names = [str(row) for row in range(shape[0])]

    def stamp(self, name: str) -> str:
        return f"{self.key}\0{self._stamp}"

    def open(self, name: str, max_pixels: int) -> np.ndarray:
        with self._lock:
            if self._array is None:
                with np.load(self.path, allow_pickle=False) as file:
                    self._array = file[self.key]
        return pixels_of(self._array[int(name)], max_pixels)

    def _look(self) -> tuple[tuple[int, ...], np.dtype]:
        """Find the arrays of an .npz, read its labels, and give the shape and type of its images."""
        with zipfile.ZipFile(self.path) as file:
            infos = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
            heads = {}
            for name, info in infos.items():
                with file.open(info) as member:
                    heads[name] = check_array(member, size=info.file_size)
        large = [name for name, (shape, _) in heads.items() if len(shape) in (3, 4)]
        known = [name for name in IMAGES if name in large] or large
        if not known or (len(known) > 1 and known[0] not in IMAGES):
            raise ValueError(
                f"it holds {', '.join(heads) or 'nothing'}: call the array of the images, [N, H, W], [N, H, W, C] or "
                f"[N, C, H, W], {IMAGES[0]}, and that of their labels {LABELS[0]}"
            )
        self.key = known[0]
        size = infos[self.key].file_size
        if size > memory():
            raise ValueError(f"{self.key} takes {_gib(size)}, more than this machine's memory: save it as .npy")
        self._stamp = f"{size}\0{infos[self.key].CRC:08x}"
        of_labels = next((name for name in LABELS if name in heads and name != self.key), None)
        of_names = next((name for name in CLASS_NAMES if name in heads), None)
        for name in filter(None, (of_labels, of_names)):
            if infos[name].file_size > DEAR:
                raise ValueError(f"{name} takes {_gib(infos[name].file_size)}, too much for labels")
        with np.load(self.path, allow_pickle=False) as arrays:
            self.labels = arrays[of_labels] if of_labels else None
            self.class_names = [str(name) for name in arrays[of_names].reshape(-1)] if of_names else []
        self.passed_over = Counter(f"array {name}" for name in heads.keys() - {self.key, of_labels, of_names})
        return heads[self.key]


def check_array(
    file: IO[bytes], max_pixels: int | None = None, *, size: int | None = None
) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and the type of an .npy from its first bytes, of which no more is read.

    Args:
        max_pixels: of one image that it may hold; None: it may hold anything.
        size: of the file in bytes.

    Raises:
        ValueError: it is no .npy, holds Python objects, more pixels, or another number of bytes than it says.
    """
    version = np.lib.format.read_magic(file)
    head: Callable[..., Any] = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        head = np.lib.format.read_array_header_2_0
    shape, _, dtype = head(file)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {list(shape)}")
    if max_pixels is not None and math.prod(shape) > 4 * max_pixels:
        raise ValueError(f"oversized: {list(shape)} values are more than data.max_pixels={max_pixels}")
    wanted = math.prod(shape) * dtype.itemsize
    if size is not None and size - file.tell() != wanted:
        raise ValueError(f"truncated: {size - file.tell():,} bytes of {wanted:,}")
    return shape, dtype


def pixels_of_npy(file: IO[bytes], max_pixels: int) -> np.ndarray:
    """The pixels [H, W, C] of a .npy file that holds one image.

    Raises:
        ValueError: naming what is wrong.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    check_array(file, max_pixels, size=size)
    file.seek(0)
    return pixels_of(np.lib.format.read_array(file, allow_pickle=False), max_pixels)


def pixels_of(array: np.ndarray, max_pixels: int) -> np.ndarray:
    """An image's array [H, W], [H, W, C] or [C, H, W] of 1 to 4 channels as [H, W, C], in this machine's byte order.

    Raises:
        ValueError: another shape, more pixels, or values that are no numbers.
    """
    pixels = array
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 2, 3, 4) and pixels.shape[0] in (1, 2, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    pixels = np.atleast_3d(pixels)
    if pixels.ndim != 3 or pixels.shape[2] > 4 or not pixels.size or array.ndim < 2:
        raise ValueError(f"an array of shape {list(array.shape)}: an image is [H, W], [H, W, C] or [C, H, W]")
    height, width = pixels.shape[:2]
    if height * width > max_pixels:
        raise ValueError(f"oversized: {width}x{height} pixels are more than data.max_pixels={max_pixels}")
    if pixels.dtype.kind not in "buif":
        raise ValueError(f"an array of {pixels.dtype}: an image holds numbers")
    if pixels.dtype.kind == "b":
        pixels = pixels * np.uint8(255)
    return np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("="), copy=False))


def stamp_of(root: Root, name: str) -> str | None:
    """What changes when an image changes, without reading it; None: it is not there."""
    if isinstance(root, Archive):
        return root.stamp(name)
    try:
        info = os.stat(os.path.join(root, name))  # a Path would take longer than the system does
    except OSError:
        return None
    return f"{info.st_size}\0{info.st_mtime_ns}"


def _check_stack(shape: tuple[int, ...], dtype: np.dtype, key: str) -> None:
    if len(shape) == 3 and shape[2] in (1, 2, 3, 4):
        raise ValueError(f"{key} is of shape {list(shape)}, one image: give several, [N, H, W, C], or a folder of such")
    if len(shape) not in (3, 4) or not math.prod(shape):
        raise ValueError(f"{key} is of shape {list(shape)}: images are [N, H, W], [N, H, W, C] or [N, C, H, W]")
    if len(shape) == 4 and not {shape[1], shape[3]} & {1, 2, 3, 4}:
        raise ValueError(f"{key} is of shape {list(shape)}: 1 to 4 channels come second or last")
    if dtype.kind not in "buif":
        raise ValueError(f"{key} is an array of {dtype}: images hold numbers")


def _common_folder(names: list[str]) -> str:
    """ "set/" where all lie in folders of the one folder "set", or it holds a dataset.json; else nothing."""
    tops = {name.partition("/")[0] for name in names}
    if len(tops) != 1:
        return ""
    top = f"{tops.pop()}/"
    images = [name for name in names if name.lower().endswith(EXTENSIONS)]
    nested = bool(images) and all(name.count("/") > 1 for name in images)
    return top if nested or f"{top}dataset.json" in names else ""


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
