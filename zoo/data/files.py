"""Files of images: which lie below a folder, how they are opened, and the threads that read them. Imports neither
torch nor Lightning.

A file is an image of a set if its extension is one of EXTENSIONS, in capitals or not, and neither it nor a folder
above it is hidden (begins with a dot). Links are followed, each folder is entered once. The order is that of the
relative paths.

What is named like an image and can be none (a FIFO, a device, a link that leads nowhere or in a circle, a folder with
no image in it), and a folder that can't be listed, is among the images, so that reading it says what it is: nothing is
passed over without a word. What has another name is counted by its kind.
"""

import errno
import hashlib
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from zoo.machine import cpus

HEIF = (".heic", ".heif", ".hif")  # read where the package pillow-heif is
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".jp2", ".gif", ".bmp", ".tif", ".tiff", ".tga"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".npy"),
    *(HEIF if find_spec("pillow_heif") else ()),
)
TO_CONVERT = (  # images all the same, which a program of their own makes into PNG or TIFF
    *(".jxl", ".psd", ".svg", ".exr", ".hdr", ".dcm", ".nii", ".fits"),
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".raf", ".raw", ".rw2", ".srw"),  # cameras' raw data
)
KINDS = {  # of what is no regular file
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a folder",
}

Item = TypeVar("Item")
Result = TypeVar("Result")


class MissingData(ValueError):
    """The images of a set are not there. The message says where they were looked for and what to do."""


def check_is_folder(root: Path, remedy: str = "set data.root to a folder of images") -> None:
    """A MissingData where `root` is not a folder."""
    if not root.is_dir():
        raise MissingData(f"{root} {'is a file' if root.exists() else 'does not exist'}: {remedy}.")


class NotRegular(OSError):
    """Something that is named like a file and is none. The message says what it is: "a FIFO, no file"."""


def opened_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, opened to be read. Whatever else lies there is not touched: a FIFO would be waited for, a device
    may never end, or act on being opened.

    Raises:
        OSError: the file can't be opened; a NotRegular where it is no regular file.
    """

    def open_(name: str, flags: int) -> int:
        _check_regular(os.stat(name))
        # Something else may lie there by now: it must not be waited for either, nor become the terminal.
        descriptor = os.open(name, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
        try:
            _check_regular(os.fstat(descriptor))
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    return open(path, "rb", opener=open_)


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegular(f"{KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, no file")


def why_not_opened(path: str | os.PathLike[str], error: OSError) -> str:
    """In words why a file can't be opened or read."""
    if isinstance(error, NotRegular) and os.path.isdir(path):
        try:
            os.scandir(path).close()
        except OSError as refusal:
            return f"a folder that can't be listed: {(refusal.strerror or str(refusal)).lower()}"
    if isinstance(error, NotRegular):
        return str(error)
    if error.errno == errno.ELOOP:
        return "a link that leads in a circle"
    if isinstance(error, FileNotFoundError):
        return "a link that leads nowhere" if os.path.islink(path) else "no such file"
    return "permission denied" if isinstance(error, PermissionError) else (error.strerror or str(error))


class Found(NamedTuple):
    """What lies below a folder."""

    images: Sequence[str]  # paths relative to it, with forward slashes, sorted; also of what can't be read
    passed_over: Counter[str]  # how many of each other kind: an extension in lower case, "hidden", ...


def some_in(place: Path, found: Found) -> Found:
    """What was found in a folder or an archive; a MissingData where no image was."""
    if not found.images:
        others = f"; passed over: {in_words(found.passed_over)}" if found.passed_over else ""
        raise MissingData(f"{place} holds no images: looked in it and below for {' '.join(EXTENSIONS)}{others}.")
    return found


def find_images(root: Path) -> list[str]:
    """Paths of the images under `root`, relative to it, with forward slashes, sorted."""
    return list(find(root).images)


def find(root: Path) -> Found:
    """What lies under `root`.

    Raises:
        MissingData: it can't be listed.
    """
    images: list[str] = []
    passed_over: Counter[str] = Counter()
    entered: set[tuple[int, int]] = set()

    def unlisted(error: OSError) -> None:
        if error.filename == os.fspath(root):
            raise MissingData(f"{root} can't be listed ({error.strerror}): give a folder that you may read.")
        images.append(Path(error.filename).relative_to(root).as_posix())

    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=unlisted):
        relative = Path(folder).relative_to(root)
        below = f"{relative.as_posix()}/" if relative.parts else ""
        try:
            status = os.stat(folder)
        except OSError as error:  # it has gone since it was listed
            unlisted(error)
            subfolders.clear()
            continue
        if (status.st_dev, status.st_ino) in entered:  # a link to a folder above, or to one already seen
            passed_over["linked folders seen before"] += 1
            subfolders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        hidden = [name for name in (*subfolders, *files) if name.startswith(".")]
        passed_over.update(["hidden"] * len(hidden))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        of_images = [name for name in files if not name.startswith(".") and name.lower().endswith(EXTENSIONS)]
        images += [f"{below}{name}" for name in of_images]
        others = set(files).difference(of_images, hidden)
        passed_over.update(map(kind_of, others))
        if relative.name.lower().endswith(EXTENSIONS) and not subfolders and not of_images:
            images.append(relative.as_posix())
    return Found(sorted(images), passed_over)


def kind_of(name: str) -> str:
    """The kind of a file that is passed over, by its name."""
    return Path(name).suffix.lower() or "without an extension"


def in_words(passed_over: Counter[str]) -> str:
    """ "12 .heic, 3 .txt, 2 hidden", the most frequent first, and what would have images among them read."""
    kinds = sorted(passed_over, key=lambda kind: (not kind.startswith("."), -passed_over[kind], kind))
    listed = [f"{passed_over[kind]:,} {kind}" for kind in kinds[:8]]
    if rest := sum(passed_over[kind] for kind in kinds[8:]):
        listed.append(f"{rest:,} of {len(kinds) - 8} other kinds")
    remedies = []
    if of_cameras := [kind for kind in kinds if kind in HEIF]:
        remedies.append(f"{' '.join(of_cameras)} are read after pip install pillow-heif")
    if foreign := [kind for kind in kinds if kind in TO_CONVERT]:
        remedies.append(f"{' '.join(foreign)} are read once converted to PNG or TIFF")
    return ", ".join(listed) + (f" ({'; '.join(remedies)})" if remedies else "")


def in_test(file: str, fraction: float) -> bool:
    """Whether a file, by its path relative to the root, belongs to the test split: it never changes sides."""
    digest = hashlib.sha256(file.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8]) < fraction * 2**64


def spread(items: Sequence[Item], number: int) -> Sequence[Item]:
    """At most so many of them, evenly spread."""
    return [items[n * len(items) // number] for n in range(number)] if len(items) > number else items


def in_lines(sentences: Iterable[str]) -> str:
    """The first five in alphabetical order, each in a line of its own."""
    lines = sorted(sentences)
    return "".join(f"\n  {line}" for line in [*lines[:5], *(["..."] if len(lines) > 5 else [])])


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], *, ahead: int = 64) -> Iterator[Result]:
    """`function` of each item, in order, by as many threads as there are CPUs, which go on while results are taken; of
    `ahead` items for each thread, at most, before they are taken: what waits lies in memory."""
    size = max(1, ahead // 4)  # a thread takes some at a time: small images are quickly decoded
    parts = iter([items[start : start + size] for start in range(0, len(items), size)])
    pool = ThreadPoolExecutor(max_workers=cpus())
    begin = lambda part: pool.submit(lambda: [function(item) for item in part])
    waiting = deque(begin(part) for part in islice(parts, ahead // size * cpus()))
    try:
        while waiting:
            results = waiting.popleft().result()
            waiting.extend(begin(part) for part in islice(parts, 1))
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)  # an error stops the rest
