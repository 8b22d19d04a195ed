"""Files of images: which lie below a folder, and the threads that read them. Imports neither torch nor Lightning.

A file is an image of a set if its extension is one of EXTENSIONS, in capitals or not, and neither it nor a folder
above it is hidden (begins with a dot). Links are followed, each folder is entered once. The order is that of the
relative paths.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".jp2", ".gif", ".bmp", ".tif", ".tiff", ".tga"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".npy"),
)

Item = TypeVar("Item")
Result = TypeVar("Result")


class MissingData(ValueError):
    """The images of a set are not there. The message says where they were looked for and what to do."""


def check_is_folder(root: Path, remedy: str = "set data.root to a folder of images") -> None:
    """A MissingData where `root` is not a folder."""
    if not root.is_dir():
        raise MissingData(f"{root} {'is a file' if root.exists() else 'does not exist'}: {remedy}.")


def images_of(folder: Path) -> list[str]:
    """The images below a folder, as `find_images` gives them; a MissingData where there are none."""
    files = find_images(folder)
    if not files:
        raise MissingData(f"{folder} holds no images: looked in it and below for {' '.join(EXTENSIONS)}.")
    return files


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
    """Whether a file, by its path relative to the root, belongs to the test split: it never changes sides."""
    digest = hashlib.sha256(file.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8]) < fraction * 2**64


def in_lines(sentences: Iterable[str]) -> str:
    """The first five in alphabetical order, each in a line of its own."""
    lines = sorted(sentences)
    return "".join(f"\n  {line}" for line in [*lines[:5], *(["..."] if len(lines) > 5 else [])])


def cpus() -> int:
    """The CPUs that this process may use: a container's share, not the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], *, ahead: int = 64) -> Iterator[Result]:
    """`function` of each item, in order, by as many threads as there are CPUs; of `ahead` items for each thread, at
    most, before they are taken: what waits lies in memory."""
    size = max(1, ahead // 4)  # a thread takes some at a time: small images are quickly decoded
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    step = ahead // size * cpus()
    pool = ThreadPoolExecutor(max_workers=cpus())
    try:
        for start in range(0, len(parts), step):
            for results in pool.map(lambda part: [function(item) for item in part], parts[start : start + step]):
                yield from results
    finally:
        pool.shutdown(cancel_futures=True)  # an error stops the rest
