"""Looks a folder of images over before anything is trained on it: every file is decoded and hashed, by threads."""

import hashlib
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from zoo.data.files import EXTENSIONS, check_is_folder, find_files, in_threads
from zoo.data.reading import GREY, MAX_PIXELS, UnreadableImage, eight_bit, height_and_width, opened


@dataclass
class FolderReport:
    """What lies in a folder of images. Paths are relative to `root`; sizes are (width, height) in pixels."""

    root: Path
    image_size: tuple[int, int]  # (height, width)
    extensions: Counter[str] = field(default_factory=Counter)  # of the images, lower case
    unknown: Counter[str] = field(default_factory=Counter)  # extensions of the files that are passed over
    modes: Counter[str] = field(default_factory=Counter)  # Pillow's, of the readable images
    transparent: int = 0  # readable images with transparency of any kind
    sizes: list[tuple[int, int]] = field(default_factory=list)  # of the readable images
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> what is wrong
    duplicates: list[list[str]] = field(default_factory=list)  # groups of paths with the same bytes
    classes: Counter[str] = field(default_factory=Counter)  # images by first folder; "" for those in the root itself

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
        """Whether the folder looks like data=labelled_folder: at least two subfolders and no image outside them."""
        return len(self.classes) > 1 and "" not in self.classes

    @property
    def channels(self) -> int:
        """The channels that keep what the images hold: 1 if all are grey, else 3."""
        return 1 if self.modes and all(mode in GREY for mode in self.modes) else 3

    @property
    def ok(self) -> bool:
        """Whether the folder can be trained on as it is."""
        return self.readable > 0 and not self.unreadable

    def override(self) -> str:
        """What to put after `python train.py` to train on this folder."""
        height, width = self.image_size
        words = [f"data={'labelled_folder' if self.labelled else 'folder'}", f"data.root={self.root}"]
        words.append(f"data.image_size={height}" if height == width else f"data.image_size=[{height},{width}]")
        words.append(f"data.channels={self.channels}")
        if self.unreadable:
            words.append("data.on_error=skip")
        if 0 < self.readable < 64:
            words.append(f"data.batch_size={self.readable}")
        return " ".join(shlex.quote(word) if set(word) & set(" []()$&;'\",*?") else word for word in words)

    def lines(self, shown: int = 10) -> list[str]:
        """The report as text, at most `shown` paths of a kind."""
        lines = [f"{self.root}: {self.images:,} images, {self.readable:,} readable"]
        lines.append(f"  files: {counts(self.extensions)}" if self.images else f"  looked for {' '.join(EXTENSIONS)}")
        if self.unknown:
            lines.append(f"  passed over: {counts(self.unknown)}")
        if self.sizes:
            lines.append(f"  modes: {counts(self.modes)}; {self.transparent:,} with transparency")
            for side, values in (("width", [w for w, _ in self.sizes]), ("height", [h for _, h in self.sizes])):
                lines.append(f"  {side}: {min(values)} to {max(values)} pixels, median {median(values):g}")
            height, width = self.image_size
            lines.append(f"  smaller than {width}x{height} (width x height), would be enlarged: {self.upscaled:,}")
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
            lines.append(f"  train on it with: python train.py {self.override()}")
        return lines


def counts(counter: Counter[str], *, by_name: bool = False) -> str:
    """ "png 12, jpg 3", the most frequent first."""
    items = sorted(counter.items()) if by_name else counter.most_common()
    return ", ".join(f"{name or '(none)'} {number:,}" for name, number in items)


def check_folder(
    root: str | Path, *, image_size: int | Sequence[int] = 32, max_pixels: int = MAX_PIXELS
) -> FolderReport:
    """Decode and hash every image under `root`; a MissingData where that is not a folder."""
    root = Path(root).expanduser()
    check_is_folder(root)
    report = FolderReport(root, height_and_width(image_size))
    files = []
    for file in sorted(find_files(root)):
        extension = Path(file).suffix.lower()
        if extension not in EXTENSIONS:
            report.unknown[extension] += 1
            continue
        files.append(file)
        report.extensions[extension] += 1
        report.classes[file.rpartition("/")[0].split("/")[0]] += 1

    def look(file: str) -> tuple[str, tuple[int, int], bool, str] | UnreadableImage:
        """Mode, (width, height), whether there is transparency, and the hash of the bytes."""
        try:
            with opened(root / file, max_pixels=max_pixels) as image:
                eight_bit(image)  # as training reads it, whatever its scale
                digest = hashlib.sha256((root / file).read_bytes()).hexdigest()
                return image.mode, image.size, image.has_transparency_data, digest
        except UnreadableImage as error:
            return error

    same: dict[str, list[str]] = {}
    for file, seen in zip(files, in_threads(look, files), strict=True):
        if isinstance(seen, UnreadableImage):
            report.unreadable[file] = str(seen).removeprefix(f"{root / file}: ")
            continue
        mode, size, transparent, digest = seen
        report.modes[mode] += 1
        report.sizes.append(size)
        report.transparent += transparent
        same.setdefault(digest, []).append(file)
    report.duplicates = [group for group in same.values() if len(group) > 1]
    return report
