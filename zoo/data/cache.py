"""A folder of images, decoded once into a file that every later epoch and run reads in its place.

The file is NumPy's .npy, uint8 [N, C, H, W], mapped into memory: a batch is a copy of pages that the operating system
keeps while there is room, on one process or on many. Beside it about.json says which folder it was made of, and its
digest: another list of files, size or time of modification, and it is made anew.

One process converts, the others wait for it; a cache is there whole or not at all.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
import torch
from torch import Tensor

from zoo.batch import LabelledImages
from zoo.data.images import as_rows

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

CHUNK = 64  # images that each thread decodes before what it has is written
Read = Callable[[int], np.ndarray | None]  # row -> uint8 [C, H, W], or None where there is nothing to read


class NoRoom(ValueError):
    """A cache that can't be written. The message says where, why, and what else to do."""


class CachedImages:
    """Images in a mapped file. An unreadable file's place is taken by the next readable one, as when streaming.

    Args:
        folder: of `images.npy`.
        files: relative to the folder of images, in the rows' order.
        labels: int64 [N].
        bad: rows that could not be read.
        digest: of the folder of images.
    """

    streams = True  # reading from a disk takes time, which workers hide

    def __init__(self, folder: Path, files: Sequence[str], labels: Tensor, bad: Sequence[int], digest: str) -> None:
        self.folder, self.files, self.labels, self.bad, self._digest = folder, files, labels, list(bad), digest
        good = torch.ones(len(files), dtype=torch.bool)
        good[self.bad] = False
        readable = good.nonzero().flatten()
        following = torch.searchsorted(readable, torch.arange(len(files)))
        self.place = readable[following % len(readable)]  # the row that is read for each
        self._mapped: np.ndarray | None = self._map()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Sequence[int]) -> LabelledImages:
        if self._mapped is None:
            self._mapped = self._map()
        index = self.place[as_rows(rows)]
        return LabelledImages(torch.from_numpy(self._mapped[index.numpy()]), self.labels[index], index)

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapped file, which a worker that is started anew maps itself."""
        return {**self.__dict__, "_mapped": None}

    def digest(self) -> str:
        return self._digest

    @property
    def skipped(self) -> list[str]:
        """Files that could not be read, relative to the folder of images."""
        return [self.files[row] for row in self.bad]

    def _map(self) -> np.ndarray:
        """The file, unless another run has made it anew since: its rows would be other images than `labels` mean."""
        mapped = np.load(self.folder / "images.npy", mmap_mode="r")
        if find(self.folder, mapped.shape, self._digest) is None:
            raise ValueError(f"{self.folder} was made anew, of other images, while this run read it: start again")
        return mapped


def place(cache_dir: str | Path, root: Path, *key: Any) -> Path:
    """The folder of a cache: one for each folder of images and each way to read it."""
    digest = hashlib.sha256(repr((str(root.resolve()), *key)).encode(errors="surrogateescape")).hexdigest()[:12]
    return Path(cache_dir) / "folders" / f"{re.sub(r'[^A-Za-z0-9_-]', '_', root.name)}-{digest}"


def find(folder: Path, shape: tuple[int, ...], digest: str) -> list[int] | None:
    """The unreadable rows of a cache that is there, whole, and of this content; else None."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        mapped = np.load(folder / "images.npy", mmap_mode="r")
        same = (about["digest"], about["pillow"], mapped.shape, mapped.dtype) == (
            *(digest, PIL.__version__),  # another Pillow may decode or resample otherwise
            *(shape, np.uint8),
        )
        return list(about["unreadable"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or a damaged one: the remedy is to make it again
        return None


def convert(folder: Path, shape: tuple[int, ...], digest: str, read: Read, threads: int, **about: Any) -> list[int]:
    """Fill a cache, or wait until another process has filled it.

    Args:
        folder: of the cache.
        shape: (N, C, H, W).
        digest: of the images.
        read: gives an image, from any thread.
        threads: that read at a time.
        about: what else to write into about.json.

    Returns:
        The rows that could not be read.

    Raises:
        NoRoom: if it can't be written.
        (whatever `read` raises)
    """
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            there = find(folder, shape, digest)
            if there is not None:  # made by another process meanwhile
                return there
            for left in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
            part.mkdir()
            with (part / "images.npy").open("wb") as file:
                bad = _write(file, shape, read, threads)
            content = {**about, "digest": digest, "pillow": PIL.__version__, "unreadable": bad}
            (part / "about.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
            if folder.exists():  # of what the folder of images was before
                os.rename(folder, folder.with_name(f".{folder.name}.{uuid.uuid4().hex}"))
            os.rename(part, folder)
            for left in folder.parent.glob(f".{folder.name}.*"):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
            return bad
    except OSError as error:
        raise NoRoom(
            f"the images could not be converted into {folder} ({error.strerror or error}): make room, give another "
            "cache_dir=, or go without, data.cache=false"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def room(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _write(file: IO[bytes], shape: tuple[int, ...], read: Read, threads: int) -> list[int]:
    """An .npy of `shape`, row by row; written in order, so that a full disk is an error and not a crash."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    nothing, bad = np.zeros(shape[1:], np.uint8), []
    pool = ThreadPoolExecutor(max_workers=threads)
    try:
        for start in range(0, shape[0], CHUNK * threads):  # no more than these in memory
            rows = range(start, min(start + CHUNK * threads, shape[0]))
            for row, image in zip(rows, pool.map(read, rows), strict=True):
                if image is None:
                    bad.append(row)
                file.write((nothing if image is None else np.ascontiguousarray(image)).data)
    finally:
        pool.shutdown(cancel_futures=True)  # an error stops the decoding of the rest
    file.flush()
    os.fsync(file.fileno())
    return bad


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
