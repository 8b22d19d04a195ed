"""Images that were decoded once into a file, which every later epoch and run reads in their place.

A cache is a folder of three files: `pixels`, the bytes of all images one behind the other, mapped into memory (a batch
is a copy of pages that the operating system keeps while there is room, on one process or on many); `shapes.npy`,
int64 [N, arrays, 3], the shape of each of an image's arrays, 0 where a file is unreadable; and `about.json`, which says
what it was made of, with a digest: another list of files, size or time of modification, and it is made anew.

One process converts, the others wait for it; a cache is there whole or not at all.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL

from zoo.data.archives import Root
from zoo.data.reading import UnreadableImage

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

Arrays = tuple[np.ndarray, ...]  # of one image, each uint8 of three dimensions


class NoRoom(ValueError):
    """A cache that can't be written. The message says where and why; the remedy is for who asked for it to add."""


class Decoded:
    """The images of a cache; in a process that is started anew, from the file itself.

    Args:
        folder: of the cache.
        digest: of what it must have been made of.

    Raises:
        OSError, ValueError, KeyError, TypeError: there is none, or a damaged one, or one of other images.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder, self.digest = folder, digest
        self.shapes: np.ndarray = np.load(folder / "shapes.npy")
        self.ends = self.shapes.prod(2).cumsum().reshape(self.shapes.shape[:2])  # of each array in the file
        file = folder / "pixels"
        self.pixels = np.memmap(file, np.uint8, "r") if file.stat().st_size else np.empty(0, np.uint8)  # all bytes
        if len(self.pixels) != self.ends[-1, -1]:
            raise ValueError("truncated")
        # After the file is open: another run may put a cache of other images in its place.
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        if (about["digest"], about["pillow"]) != (digest, PIL.__version__):  # another may decode otherwise
            raise ValueError("made of other images")
        self.unreadable: dict[int, str] = {int(row): why for row, why in about["unreadable"].items()}

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, row: int) -> Arrays:
        """An image's arrays, in the file's memory."""
        shapes, ends = self.shapes[row], self.ends[row]
        bounds = zip(ends - shapes.prod(1), ends, shapes, strict=True)
        return tuple(self.pixels[start:end].reshape(shape) for start, end, shape in bounds)

    def __reduce__(self) -> tuple[Any, ...]:
        return again, (self.folder, self.digest)


def again(folder: Path, digest: str) -> Decoded:
    """A cache that was there before."""
    if (decoded := find(folder, digest)) is None:
        raise ValueError(f"{folder} was made anew, of other images, while this run read it: start again")
    return decoded


def find(folder: Path, digest: str) -> Decoded | None:
    """A cache that is there, whole, and of this content; else None."""
    try:
        return Decoded(folder, digest)
    except (OSError, ValueError, KeyError, TypeError, EOFError):  # none, or a damaged one: it is made again
        return None


def place(cache_dir: str | Path, root: Root, *key: Any) -> Path:
    """The folder of a cache: one for each folder or archive of images and each way to read it."""
    digest = hashlib.sha256(repr((str(root.resolve()), *key)).encode(errors="surrogateescape")).hexdigest()[:12]
    return Path(cache_dir) / "folders" / f"{re.sub(r'[^A-Za-z0-9_-]', '_', root.name)}-{digest}"


def convert(folder: Path, digest: str, images: Iterable[Arrays | UnreadableImage], **about: Any) -> Decoded:
    """Fill a cache, or wait until another process has filled it.

    Args:
        images: in order; each of as many arrays, or why it has none.
        about: what else to write into about.json.

    Raises:
        NoRoom: if it can't be written.
        (whatever `images` raises)
    """
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if (made := find(folder, digest)) is not None:  # by another process meanwhile
                return made
            _sweep(folder)  # what a process that was killed has left
            part.mkdir()
            with (part / "pixels").open("wb") as file:
                shapes, unreadable = _write(file, images)
            np.save(part / "shapes.npy", shapes)
            content = {**about, "digest": digest, "pillow": PIL.__version__, "unreadable": unreadable}
            (part / "about.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
            if folder.exists():  # of what the folder of images was before
                os.rename(folder, folder.with_name(f".{folder.name}.{uuid.uuid4().hex}"))
            os.rename(part, folder)
            _sweep(folder)
            return Decoded(folder, digest)
    except OSError as error:
        raise NoRoom(f"the images could not be converted into {folder} ({error.strerror or error})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def room(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def _write(file: IO[bytes], images: Iterable[Arrays | UnreadableImage]) -> tuple[np.ndarray, dict[int, str]]:
    """The shapes of the images whose bytes were written, in order: a full disk is an error and not a crash."""
    unreadable: dict[int, str] = {}
    shapes, readable = array("q"), array("b")  # numbers: as Python's objects they would take more than small images
    for row, arrays in enumerate(images):
        readable.append(not isinstance(arrays, UnreadableImage))
        if isinstance(arrays, UnreadableImage):
            unreadable[row] = str(arrays)
            continue
        for pixels in arrays:
            file.write(np.ascontiguousarray(pixels).data)
            shapes.extend(pixels.shape)
    file.flush()
    os.fsync(file.fileno())
    each = len(shapes) // 3 // max(1, sum(readable)) or 1  # arrays
    result = np.zeros((len(readable), each, 3), np.int64)
    result[np.array(readable, bool)] = np.array(shapes).reshape(-1, each, 3)
    return result, unreadable


def _sweep(folder: Path) -> None:
    """Remove the unfinished and the replaced caches of this name."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a cache while it is converted; wait while another process does."""
    if fcntl is None:
        yield
        return
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"another process is converting images into {folder}: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
