"""Looks a folder of images over before anything is trained on it: every file is decoded and hashed, by threads."""

import hashlib
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, NamedTuple

import numpy as np

from zoo.data.archives import WANTED, Root, Shards, Stack, look_in, read_in
from zoo.data.deep import Levels
from zoo.data.files import EXTENSIONS, MissingData, in_threads, in_words
from zoo.data.labels import Labels, of_table, of_values, read_table
from zoo.data.reading import GREY, MAX_PIXELS, UnreadableImage, content_of, decoded, height_and_width
from zoo.text import printable, trains

BATCH = 16  # images, which a set must have, or it is trained on with smaller batches: conf/data/folder.yaml's


@dataclass
class FolderReport:
    """What lies in a folder of images. Paths are relative to `root`; sizes are (width, height) in pixels."""

    root: Path
    image_size: tuple[int, int]  # (height, width)
    extensions: Counter[str] = field(default_factory=Counter)  # of the images, lower case
    passed_over: Counter[str] = field(default_factory=Counter)  # what else lies there, by kind
    modes: Counter[str] = field(default_factory=Counter)  # Pillow's, or of deep images what they hold
    grey: int = 0  # readable images without colours
    levels: Levels = field(default_factory=Levels)  # of the deep images
    transparent: int = 0  # readable images with transparency of any kind
    sizes: list[tuple[int, int]] = field(default_factory=list)  # of the readable images
    without_scale: list[str] = field(default_factory=list)  # paths of readable images whose values need a range
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> what is wrong
    duplicates: list[list[str]] = field(default_factory=list)  # groups of paths with the same bytes
    classes: Counter[str] = field(default_factory=Counter)  # images by class, see `classes_of`; "" for those without
    labels: str | None = None  # what is wrong with a dataset.json
    shards: int = 0  # that they lie in

    @property
    def images(self) -> int:
        """Files with the extension of an image, readable or not."""
        return self.extensions.total()

    @property
    def readable(self) -> int:
        return len(self.sizes)

    @property
    def upscaled(self) -> int:
        """Readable images that are smaller than image_size in height or width."""
        height, width = self.image_size
        return sum(w < width or h < height for w, h in self.sizes)

    @property
    def labelled(self) -> bool:
        """Whether it looks like data=labelled_folder: every image has a class, of two or more."""
        return len(self.classes) > 1 and "" not in self.classes

    @property
    def channels(self) -> int:
        """The channels that keep what the images hold: 1 if all are grey, else 3."""
        return 1 if self.readable and self.grey == self.readable else 3

    @property
    def ok(self) -> bool:
        """Whether the folder can be trained on as it is."""
        return self.readable > 0 and not self.unreadable and not self.without_scale

    def override(self) -> str:
        """The settings to train on this folder with."""
        height, width = self.image_size
        words = [f"data={'labelled_folder' if self.labelled else 'folder'}", f"data.root={self.root}"]
        words.append(f"data.image_size={height}" if height == width else f"data.image_size=[{height},{width}]")
        words.append(f"data.channels={self.channels}")
        if self.levels.complaint(None) and not self.levels.shallow:
            words.append(self.levels.remedy())
        if self.unreadable:
            words.append("data.on_error=skip")
        if 0 < self.readable < BATCH:
            words.append(f"data.batch_size={self.readable}")
        return " ".join(shlex.quote(word) if set(word) & set(" []{}()$&;'\",*?") else word for word in words)

    def lines(self, shown: int = 10) -> list[str]:
        """The report as text, at most `shown` paths of a kind."""
        shards = f" in {self.shards:,} shard{'s' * (self.shards > 1)}" if self.shards else ""
        lines = [f"{self.root}: {self.images:,} images{shards}, {self.readable:,} readable"]
        lines.append(f"  files: {counts(self.extensions)}" if self.images else f"  looked for {' '.join(EXTENSIONS)}")
        if self.passed_over:
            lines.append(f"  passed over: {in_words(self.passed_over)}")
        if self.sizes:
            lines.append(f"  modes: {counts(self.modes)}; {self.transparent:,} with transparency")
            if self.levels.images:
                lines.append(f"  {self.levels.in_words(None)}")
            if self.without_scale:
                listed = f"{', '.join(self.without_scale[:shown])}{', ...' * (len(self.without_scale) > shown)}"
                lines.append(f"  their scale is not known: {len(self.without_scale):,} ({listed})")
            if complaint := self.levels.complaint(None):
                lines.append(f"  warning: {complaint}")
            for side, values in (("width", [w for w, _ in self.sizes]), ("height", [h for _, h in self.sizes])):
                lines.append(f"  {side}: {min(values)} to {max(values)} pixels, median {median(values):g}")
            height, width = self.image_size
            lines.append(f"  smaller than {width}x{height} (width x height), would be enlarged: {self.upscaled:,}")
        if self.labels:
            lines.append(f"  labels: {self.labels}")
        if self.labelled:
            lines.append(f"  classes ({len(self.classes)}): {counts(self.classes, by_name=True)}")
        if self.unreadable:
            lines.append(f"  unreadable: {len(self.unreadable):,}")
            lines += [f"    {path}: {reason}" for path, reason in sorted(self.unreadable.items())[:shown]]
        if self.duplicates:
            extra = sum(len(group) - 1 for group in self.duplicates)
            lines.append(f"  duplicates: {extra:,} files repeat another one byte for byte")
            lines += [f"    {' = '.join(group[:4])}{' = ...' * (len(group) > 4)}" for group in self.duplicates[:shown]]
        if self.readable:
            lines.append(f"  train on it with: {trains()} {self.override()}")
        return [printable(line) for line in lines]


class Seen(NamedTuple):
    """A readable image."""

    mode: str
    size: tuple[int, int]  # width, height
    is_grey: bool
    is_transparent: bool
    digest: str  # of the file's bytes
    is_known: bool = True  # the scale of its values


def counts(counter: Counter[str], *, by_name: bool = False) -> str:
    """ "png 12, jpg 3", the most frequent first."""
    items = sorted(counter.items()) if by_name else counter.most_common()
    return ", ".join(f"{name or '(none)'} {number:,}" for name, number in items)


def classes_of(root: Root, files: Sequence[str]) -> Counter[str]:
    """Images by their class in a dataset.json, an .npz or shards, "" for those without; else by their first folder.

    Raises:
        MissingData: the labels make no sense.
    """
    if isinstance(root, Stack) and root.labels is not None:
        return _counted(of_values(root.labels, root.class_names, files, f"{root}, labels"), files)
    if isinstance(root, Shards):
        labels = root.labels(skip=True)
        return Counter({"": len(files)}) if labels is None else _counted(labels, files)
    content = read_in(root, "dataset.json")
    table = read_table(content, "dataset.json", []) if content is not None else None
    if content is None:
        return Counter(file.rpartition("/")[0].split("/")[0] for file in files)
    if table is None:
        return Counter([""] * len(files))
    return _counted(of_table(table, files, root, skip=True), files)


def _counted(labels: Labels, files: Sequence[str]) -> Counter[str]:
    without = len(files) - len(labels.files)
    return Counter([*(labels.classes[label] for label in labels.values if labels.classes), *[""] * without])


def digest_of(content: IO[bytes] | np.ndarray) -> str:
    """The hash of a file's bytes, or of an array's."""
    if isinstance(content, np.ndarray):
        return hashlib.sha256(content.data).hexdigest()
    return hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]


def check_folder(
    root: str | Path, *, image_size: int | Sequence[int] = 32, max_pixels: int = MAX_PIXELS
) -> FolderReport:
    """Decode and hash every image of a folder or an archive; a MissingData where `root` is neither."""
    root = Path(root).expanduser()
    where, (files, passed_over) = look_in(root, f"give {WANTED}")
    report = FolderReport(root, height_and_width(image_size), passed_over=passed_over)
    report.shards = len(where.index.shards) if isinstance(where, Shards) else 0
    report.extensions.update(Path(file).suffix.lower() for file in files)
    try:
        report.classes = classes_of(where, files)
        if isinstance(where, Path) and (where / "dataset.json").is_file():  # it was read
            report.passed_over -= Counter({".json": 1})
    except MissingData as error:
        report.labels = str(error)

    def look(file: str) -> Seen | UnreadableImage:
        try:
            with decoded(where / file, max_pixels=max_pixels) as (image, deep):
                with content_of(where / file, max_pixels) as content:
                    digest = digest_of(content)
                if deep is not None:
                    report.levels.add(deep)
                    height, width, channels = deep.values.shape
                    mode = f"{deep.kind}, {'grey' if channels < 3 else 'RGB'}{' and alpha' * (channels % 2 == 0)}"
                    return Seen(mode, (width, height), channels < 3, channels % 2 == 0, digest, deep.is_known)
                assert image is not None
                report.levels.add_shallow()
                return Seen(image.mode, image.size, image.mode in GREY, image.has_transparency_data, digest)
        except UnreadableImage as error:
            return error

    same: dict[str, list[str]] = {}
    for file, seen in zip(files, in_threads(look, files), strict=True):
        if isinstance(seen, UnreadableImage):
            report.unreadable[file] = str(seen).removeprefix(printable(f"{where / file}: "))
            continue
        report.modes[seen.mode] += 1
        report.sizes.append(seen.size)
        report.grey += seen.is_grey
        report.transparent += seen.is_transparent
        if not seen.is_known:
            report.without_scale.append(file)
        same.setdefault(seen.digest, []).append(file)
    report.duplicates = [group for group in same.values() if len(group) > 1]
    return report
