"""Shards: many .tar files in the format of WebDataset (github.com/webdataset/webdataset) as one set of images.

Members of a shard that share a name up to its first dot are one sample: `000123.jpg`, and its label in `000123.cls`, a
whole number, or in `000123.json`, a number or a name, or one under KEYS. Where no sample has one, the folder that a
member lies in is its class. A sample has one image; `000123.seg.png` beside `000123.jpg`, an .npy beside an image, and
whatever else there is, is passed over and counted. Links, devices and sparse files are no images.

Shards are in the order of their names, images as they lie in them. An image's name is SHARD/MEMBER, and by that it is
held out for tests or not.

The headers of all shards are read once, into an `Index`; an image is then read from its place, in any order and by any
process, and no shard is kept open. An index takes PLACE and its name's length for each image, in memory and in its
file, which lies in `cache_dir` until a shard has another size or time of modification.

Imports neither torch nor Lightning.
"""

import contextlib
import glob
import hashlib
import itertools
import json
import math
import os
import re
import time
import zipfile
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from zoo.atomic import replacing
from zoo.data.files import EXTENSIONS, MissingData, in_threads, kind_of, opened_regular, why_not_opened
from zoo.data.labels import CLASSES, Labels, of_folders, of_values
from zoo.data.tars import Entry, entries

SUFFIX = ".tar"
UNPACK = {  # what unpacks a compressed shard, by its extension
    **dict.fromkeys((".tar.gz", ".tgz"), "gunzip"),
    **dict.fromkeys((".tar.bz2", ".tbz2"), "bunzip2"),
    **dict.fromkeys((".tar.xz", ".txz"), "unxz"),
    **dict.fromkeys((".tar.zst", ".tzst"), "unzstd"),
}
MAGIC = set("*?[{")
BRACES = re.compile(r"\{([^{}]*)\}")
META = re.compile("__[^/]*__(/|$)")  # what WebDataset keeps for itself
MOST = 100_000  # shards of a set: a pattern may say {0..999999999}
KEYS = ("cls", *CLASSES)  # of a sample's .json, the first one of these that it has is the label
OF_LABELS = ("cls", "json")
LARGE = 2**20  # bytes: a label has less
PLACE = np.dtype([("offset", "<i8"), ("size", "<i8"), ("end", "<i8"), ("label", "<i4"), ("order", "<i4")])
FORMAT = 1  # of the file that keeps an index: another one is made anew

Label = int | str


@dataclass
class Index:
    """Where the images of a set lie: N of them in the order of the set."""

    base: Path  # the folder that names of shards are relative to
    shards: list[str]  # names, with forward slashes, sorted
    stamps: list[list[int]]  # of each: its size, and its time of modification in nanoseconds
    starts: list[int]  # the first row of each, and then N
    places: np.ndarray  # PLACE [N]: where the content is; where the name ends in `names`; the label in `values`, or -1;
    # and of each shard its rows in the order of the names, as bytes
    names: bytes  # of the members, one behind the other
    values: list[Label]  # the labels that there are
    alone: str = ""  # the first image without a label, and why it has none
    passed_over: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return self.starts[-1]

    def member(self, row: int) -> str:
        """The name of an image in its shard."""
        return self._member(row).decode(errors="surrogateescape")

    def _member(self, row: int) -> bytes:
        return self.names[self._ends[row - 1] if row else 0 : self._ends[row]]

    def shard(self, row: int) -> int:
        """Which of the shards an image lies in."""
        return bisect_right(self.starts, row) - 1

    def name(self, row: int) -> str:
        return f"{self.shards[self.shard(row)]}/{self.member(row)}"

    def row(self, name: str) -> int:
        """The row of an image by its name; a KeyError where there is none."""
        for number in self._shards_of(name):
            member = name.removeprefix(f"{self.shards[number]}/").encode(errors="surrogateescape")
            start, end = self.starts[number : number + 2]
            at = bisect_left(self._order[start:end], member, key=self._member)
            if start + at < end and self._member(row := int(self._order[start + at])) == member:
                return row
        raise KeyError(name)

    def _shards_of(self, name: str) -> Iterator[int]:
        """The shards that a name may be in: one may be called like a folder that another one is in."""
        for slash in re.finditer("/", name):
            if (number := self._numbers.get(name[: slash.start()])) is not None:
                yield number

    @cached_property
    def _ends(self) -> np.ndarray:
        return self.places["end"]

    @cached_property
    def _order(self) -> np.ndarray:
        return self.places["order"]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.shards)}

    @cached_property
    def digest(self) -> bytes:
        """Of the shards, their sizes and times of modification, and of all that they are read as."""
        sha = hashlib.sha256(json.dumps([self.shards, self.stamps, self.values]).encode())
        sha.update(self.places.tobytes())
        sha.update(self.names)
        return sha.digest()

    def in_both(self, other: "Index") -> Path | None:
        """A shard that another set has too."""
        theirs = {(other.base / name).resolve() for name in other.shards}
        return next((path for name in self.shards if (path := self.base / name).resolve() in theirs), None)

    def save(self, file: Path, key: Any) -> None:
        """Keep it in a file; `key` is what it was made of."""
        about = {"key": key, "starts": self.starts, "values": self.values}
        about |= {"alone": self.alone, "passed_over": dict(self.passed_over)}
        texts = (np.frombuffer(text, np.uint8) for text in (json.dumps(about).encode(), self.names))
        arrays: Any = dict(zip(("about", "names"), texts, strict=True))
        with replacing(file) as part, part.open("wb") as output:
            np.savez(output, places=self.places, **arrays)


class Names(Sequence[str]):
    """The names of images, made when they are asked for: ten million in a list would take a gigabyte.

    Args:
        rows: of the index, those that are meant; None: all.
    """

    def __init__(self, whole: Index, rows: np.ndarray | None = None) -> None:
        self.whole, self.rows = whole, rows

    def __len__(self) -> int:
        return len(self.whole) if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[n] for n in range(*place.indices(len(self)))]
        place = range(len(self))[place]  # an IndexError beyond the end
        return self.whole.name(place if self.rows is None else int(self.rows[place]))

    def taken(self, places: Sequence[int] | np.ndarray) -> "Names":
        """These alone."""
        places = np.asarray(places, np.int64)
        return Names(self.whole, places if self.rows is None else self.rows[places])

    def digest(self) -> bytes:
        """What changes when one of the shards does, or other rows are meant."""
        rows = b"" if self.rows is None else self.rows.tobytes()
        return hashlib.sha256(self.whole.digest + rows).digest()


# Which shards there are.


def is_pattern(path: Path) -> bool:
    """Whether a path is none, but a pattern of shards: set/train-*.tar, set/train-{0000..0099}.tar."""
    return path.name.lower().endswith((SUFFIX, *UNPACK)) and bool(set(str(path)) & MAGIC) and not path.exists()


def shards_in(folder: Path) -> list[str]:
    """The names of the shards right in a folder, sorted.

    Raises:
        MissingData: some are compressed.
    """
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    found = [name for name in names if name.lower().endswith(SUFFIX)]
    unpacked = {name.rpartition(".")[0] for name in found}
    packed = [name for name in names if name.lower().endswith(tuple(UNPACK))]
    check_unpacked([folder / name for name in packed if name.rpartition(".")[0].removesuffix(SUFFIX) not in unpacked])
    return found


def shards_of(path: Path) -> tuple[Path, list[str]]:
    """The shards of a folder, a pattern or one file: the folder that they lie in, and their names below it, sorted.

    Raises:
        MissingData: there is none, one that the pattern names is missing, or they are compressed.
    """
    if path.is_dir():
        return path, shards_in(path)
    if not is_pattern(path):
        return path.parent, [path.name]
    base = next(parent for parent in path.parents if parent.exists())
    names = _in_braces(str(path.relative_to(base)), path)
    is_glob = [glob.has_magic(name) for name in names]
    missing = [name for name, magic in zip(names, is_glob, strict=True) if not magic and not (base / name).exists()]
    if missing:
        raise MissingData(
            f"{path}: {len(missing):,} of its {len(names):,} shards are missing, first {base / missing[0]}."
        )
    of_each = [glob.glob(name, root_dir=base) if magic else [name] for name, magic in zip(names, is_glob, strict=True)]
    found = sorted({Path(name).as_posix() for some in of_each for name in some})
    if not found:
        there = shards_in(base)
        such = f"{len(there):,} {SUFFIX} files, such as {there[0]}" if there else f"no {SUFFIX} file"
        raise MissingData(f"{path}: no shard matches this pattern, and {base.absolute()} holds {such}.")
    check_unpacked([base / name for name in found if not name.lower().endswith(SUFFIX)])
    return base, found


def check_unpacked(shards: Sequence[Path]) -> None:
    """A MissingData if there are any, all of which are compressed."""
    if shards:
        ending = next(ending for ending in UNPACK if shards[0].name.lower().endswith(ending))
        which = str(shards[0]) if len(shards) == 1 else f"{shards[0].parent}/*{ending}"
        raise MissingData(
            f"{shards[0]} is compressed, so that no image could be read from its place: {UNPACK[ending]} {which}."
        )


def _in_braces(pattern: str, path: Path) -> list[str]:
    """What a shell makes of {000..099} and {a,b}."""
    parts = BRACES.split(pattern)  # every other one stood in braces
    choices: list[Sequence[Any]] = []
    for n, part in enumerate(parts):
        bounds = re.fullmatch(r"([0-9]{1,18})\.\.([0-9]{1,18})", part)
        if n % 2 and bounds:
            first, last = sorted(map(int, bounds.groups()))
            choices.append(range(first, last + 1))
            width = max(map(len, bounds.groups())) if any(b[0] == "0" and len(b) > 1 for b in bounds.groups()) else 0
            parts[n] = f"0{width}d"
        else:
            choices.append([f"{{{part}}}"] if n % 2 and "," not in part else part.split(",") if n % 2 else [part])
            parts[n] = ""
    if (number := math.prod(map(len, choices))) > MOST:
        raise MissingData(f"{path} means {number:,} shards: give {MOST:,} or less.")
    return ["".join(map(format, choice, parts)) for choice in itertools.product(*choices)]


# What there is in them.


def index_of(path: Path, kept_in: Path | None = None) -> Index:
    """The index of the shards of a folder or a pattern, or of one shard.

    Args:
        kept_in: the folder that indices are kept in; None: it is made anew.

    Raises:
        MissingData: as `shards_of`; or one of them is truncated or damaged, or it can't be said what its samples are.
    """
    base, shards = shards_of(path)
    try:
        stamps = [[status.st_size, status.st_mtime_ns] for status in (os.stat(base / name) for name in shards)]
    except OSError as error:
        raise MissingData(f"{error.filename} can't be read: {why_not_opened(error.filename, error)}.") from None
    key = [FORMAT, *EXTENSIONS, os.fspath(base.resolve()), shards, stamps]
    place = hashlib.sha256(os.fspath(path.absolute()).encode(errors="surrogateescape")).hexdigest()[:16]
    file = kept_in / f"{re.sub(r'[^A-Za-z0-9_-]', '_', path.name)}-{place}.npz" if kept_in else None
    if file and (index := _kept(file, key, base, shards, stamps)):
        return index
    index = _joined(base, shards, stamps, in_threads(lambda name: _scanned(base, name), shards, ahead=4), path)
    if file:
        with contextlib.suppress(OSError):  # no room: it is made again
            index.save(file, key)
    return index


def _kept(file: Path, key: Any, base: Path, shards: list[str], stamps: list[list[int]]) -> Index | None:
    """The index in a file; None where there is none, a damaged one, or one of other shards."""
    damaged = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)
    with contextlib.suppress(*damaged), np.load(file, allow_pickle=False) as arrays:
        about = json.loads(arrays["about"].tobytes())
        if about.pop("key") == key:
            about["passed_over"] = Counter(about["passed_over"])
            return Index(base, shards, stamps, places=arrays["places"], names=arrays["names"].tobytes(), **about)
    return None


def _joined(base: Path, shards: list[str], stamps: list[list[int]], parts: Iterator["Index"], path: Path) -> Index:
    """The indices of single shards as one."""
    starts, places, names, numbers = [0], [np.empty(0, PLACE)], list[bytes](), dict[Label, int]()
    alone, passed_over, length, begun, said = "", Counter[str](), 0, time.monotonic(), False
    for part in parts:
        if not said and time.monotonic() - begun > 5:
            print(f"{path}: the headers of {len(shards):,} shards are read, once", flush=True)
            said = True
        of_labels = np.array([*(numbers.setdefault(value, len(numbers)) for value in part.values), -1], np.int32)
        part.places["label"] = of_labels[part.places["label"]]
        part.places["end"] += length
        part.places["order"] += starts[-1]
        starts.append(starts[-1] + len(part))
        length += len(part.names)
        alone = alone or (f"{part.shards[0]}/{part.alone}" if part.alone else "")
        passed_over += part.passed_over
        places.append(part.places)
        names.append(part.names)
    values = [*numbers]
    return Index(base, shards, stamps, starts, np.concatenate(places), b"".join(names), values, alone, passed_over)


def _scanned(base: Path, shard: str) -> Index:
    """The index of one shard."""
    samples: dict[str, dict[str, Entry]] = {}  # by what the names share: by the rest, images and labels
    labels: dict[int, Label | ValueError] = {}  # by where it is; or what is wrong with it
    passed_over: Counter[str] = Counter()
    try:
        with opened_regular(base / shard) as file:
            for entry in entries(file):
                name = normal(entry.name)
                key, suffix = _parted(name)
                if entry.kind or hidden(name) or META.match(name):
                    passed_over[entry.kind or "hidden"] += 1
                elif key and (suffix in OF_LABELS or f".{suffix}".endswith(EXTENSIONS)):
                    entry = entry._replace(name=name)
                    if (other := samples.setdefault(key, {}).setdefault(suffix, entry)) is not entry:
                        raise ValueError(f"it holds {other.name} twice, or {name} beside it: keep one")
                    if suffix in OF_LABELS:
                        file.seek(entry.offset)
                        labels[entry.offset] = _label(file.read(min(entry.size, LARGE)), suffix)
                else:
                    passed_over[kind_of(name)] += 1
        return _of_samples(base, shard, samples, labels, passed_over)
    except OSError as error:
        why = why_not_opened(base / shard, error)
    except (ValueError, EOFError) as error:
        why = str(error)
    raise MissingData(f"{base / shard} can't be read: {why}.")


def _of_samples(
    base: Path, shard: str, samples: dict[str, dict[str, Entry]], labels: dict[int, Label | ValueError],
    passed_over: Counter[str],
) -> Index:  # fmt: skip
    found: list[tuple[Entry, int]] = []  # images, and their labels in `numbers`
    numbers: dict[Label, int] = {}
    first, alone = math.inf, ""  # of the images without a label: where it is, and why
    for members in samples.values():
        beside = [members.pop(suffix) for suffix in OF_LABELS if suffix in members]
        if not members:
            passed_over["samples without an image"] += 1
            continue
        image, number = _image(members), -1
        for entry in beside:
            label = labels[entry.offset]
            if number < 0 and not isinstance(label, ValueError):
                number = numbers.setdefault(label, len(numbers))
            else:
                passed_over[kind_of(entry.name)] += 1
        if number < 0 and image.offset < first:
            why = f"{beside[0].name} {labels[beside[0].offset]}" if beside else "neither .cls nor .json beside it"
            first, alone = image.offset, f"{image.name}: {why}"
        passed_over["further images of a sample"] += len(members) - 1
        found.append((image, number))
    found.sort(key=lambda one: one[0].offset)
    names = [image.name.encode(errors="surrogateescape") for image, _ in found]
    places = np.empty(len(found), PLACE)
    places["offset"] = [image.offset for image, _ in found]
    places["size"] = [image.size for image, _ in found]
    places["end"] = np.cumsum([len(name) for name in names], dtype=np.int64)
    places["label"] = [number for _, number in found]
    places["order"] = sorted(range(len(found)), key=names.__getitem__)
    return Index(base, [shard], [], [0, len(found)], places, b"".join(names), [*numbers], alone, +passed_over)


def _image(members: dict[str, Entry]) -> Entry:
    """The image of a sample, by what its members are called behind their key; a ValueError where there are several."""
    rank = lambda suffix: ("." in suffix, suffix.endswith("npy"))
    best = min(map(rank, members))
    first, *others = (entry for suffix, entry in members.items() if rank(suffix) == best)
    if others:
        raise ValueError(
            f"it holds {first.name} and {others[0].name}, whose names are one up to the first dot, so that they are "
            "one sample: keep one of them, or rename them"
        )
    return first


def _parted(name: str) -> tuple[str, str]:
    """The name up to the first dot behind its folder, and the rest in lower case; a file without a dot has no name."""
    folder, slash, file = name.rpartition("/")
    key, dot, suffix = file.partition(".")
    return (f"{folder}{slash}{key}" if key and dot else ""), suffix.lower()


def _label(content: bytes, suffix: str) -> Label | ValueError:
    """The label in a .cls or .json, or what is wrong with it: that matters where labels are asked for."""
    if len(content) >= LARGE:
        return ValueError(f"takes {LARGE:,} bytes or more, too much for a label")
    if suffix == "cls":
        text = content.decode("ascii", "replace").strip()
        good = re.fullmatch(r"[+-]?[0-9]{1,15}", text)
        return int(text) if good else ValueError(f"holds {text[:30]!r}, which is no whole number")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return ValueError("is no JSON")
    if isinstance(value, dict):
        value = next((value[key] for key in KEYS if key in value), None)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**15:
        return value
    if isinstance(value, str) and 0 < len(value.strip()) <= 200:
        return value.strip() if value.strip().isprintable() else ValueError("has a label that can't be printed")
    return ValueError(f"has no label, a whole number or a name under {', '.join(KEYS[:3])} or the like")


def labels_of(index: Index, names: Names, root: Any, *, skip: bool) -> Labels | None:
    """The classes of the images; None where they have none.

    Args:
        root: the set, for messages.
        skip: leave images without a label out, in place of an error.

    Raises:
        MissingData: some images have a label and others have none; or as `of_values`.
    """
    of_rows = index.places["label"]
    rows = np.flatnonzero(of_rows >= 0)
    if not len(rows):
        return _of_folders(index, names, root)
    classes = of_values(index.values, [], [f"an image of {root}" for _ in index.values], f"{root}, labels")
    remarks = []
    if alone := len(index) - len(rows):
        sentence = f"{alone:,} of {len(index):,} images of {root} have no label (first {index.alone})"
        if not skip:
            raise MissingData(
                f"{sentence}: add them, or leave such images out, data.on_error=skip, or all labels, data=folder."
            )
        remarks.append(f"{sentence} and are left out (data.on_error=skip)")
        names = names.taken(rows)
    return Labels(names, classes.values[of_rows[rows]], classes.classes, classes.attributes, remarks)


def _of_folders(index: Index, names: Names, root: Any) -> Labels | None:
    """The first folder in its shard as the class of each image, behind one that all lie in; None without folders."""
    numbers: dict[str, int] = {}
    folders = (index.member(row).rpartition("/")[0] for row in range(len(index)))
    of_rows = np.fromiter((numbers.setdefault(folder, len(numbers)) for folder in folders), np.int64, len(index))
    if "" in numbers or not numbers:
        return None
    parts = [folder.split("/") for folder in numbers]
    depth = 1 if len({part[0] for part in parts}) == 1 and all(len(part) > 1 for part in parts) else 0
    classes = of_folders([f"{part[depth]}/" for part in parts], root)
    return Labels(names, classes.values[of_rows], classes.classes)


def normal(name: str) -> str:
    """A member's name as a path below the archive, whatever wrote it."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
