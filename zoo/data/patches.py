"""Rows that are patches of images at two resolutions; whole images are there to be measured against.

Every image is decoded once, and its low-resolution version made from the whole of it (`zoo.data.degradation`), as the
literature does. Both are kept as bytes [H, W, C]: in memory as long as they fit `memory_limit_mb`, else in a cache that
is mapped into memory. A patch then costs the copy of its rows, never a decoder; and the processes of a machine share
what the system has cached of the file.

An image has as many rows in an epoch as patches fit into its area, so that a pixel of a large image is as likely as one
of a small image. From which place a row's patch comes, and how it is turned, is drawn anew in each epoch, as a pure
function of (seed, epoch, row). With blur, noise or JPEG, the low-resolution patch is made from the high-resolution one
when it is drawn, by a generator of (seed, epoch, row) too. Where low-resolution images are given beside the others
(`Files.partners`), patches are cut from both. So a resumed run goes on with the next patches, and the
ranks of a run on N processes together show the patches of a run on one.
"""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from zoo.batch import LowHigh, from_bytes
from zoo.data import cache as caches
from zoo.data.archives import Member, stamp_of
from zoo.data.degradation import Degradation, cropped, shrink
from zoo.data.files import MissingData, in_lines, in_threads
from zoo.data.images import channels_in_words, count
from zoo.data.module import DEGRADATION, EVALUATION_SEED, PATCHES, Loading, Rows, seeded
from zoo.data.reading import GREY, Reader, UnreadableImage, with_channels
from zoo.data.second_order import SecondOrder
from zoo.data.sources import FileReading, Files, ImageSet, Split

MARGIN = 8  # low-resolution pixels around a patch that is blurred: what the blur takes from beyond its edge

Place = tuple[int, int]  # epoch, row


class Photograph(NamedTuple):
    """An image at both resolutions."""

    name: str
    high: np.ndarray  # uint8 [H, W, C], both sides multiples of the magnification
    low: np.ndarray  # uint8 [h, w, C]
    is_grey: bool  # the file has no colours, whatever C


@dataclass(eq=False)
class PatchSet(ImageSet):
    """Patches of images, drawn at random: indexed with the places of a batch, it answers with a `LowHigh` of bytes."""

    whole: Sequence[Photograph]  # patches are of those that are as large as one
    patch_size: int  # of the high-resolution patch, a multiple of the magnification
    degradation: Degradation | SecondOrder  # how low-resolution patches are made
    seed: int  # of places and turns
    turn: bool  # draw one of a square's eight rotations and reflections for each patch
    at_least: int  # rows in an epoch; few images are repeated
    key: str  # what the images come from, their files' names, sizes and times: reading all would take too long
    given: bool = False  # the low-resolution images are not made, but their own

    def __post_init__(self) -> None:
        self.photographs = [p for p in self.whole if min(p.high.shape[:2]) >= self.patch_size]
        self.cuts = self.given or self.degradation.is_plain
        self.streams = not self.cuts  # then each patch is computed: worth workers
        fit = torch.tensor([p.high.shape[0] * p.high.shape[1] // self.patch_size**2 for p in self.photographs])
        if len(fit):
            fit *= -(-self.at_least // int(fit.sum()))
        self.photograph_of = torch.arange(len(fit)).repeat_interleave(fit.long())  # by row
        self._epoch: tuple[int, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.photograph_of)

    def digest(self) -> str:
        return self.key

    def order(self, generator: torch.Generator, epoch: int = 0) -> Tensor:
        """Places, int64 [length, 2]: rows with their epoch, which decides what is drawn for them."""
        rows = torch.randperm(len(self), generator=generator)
        return torch.stack([torch.full_like(rows, epoch), rows], dim=1)

    def evaluated(self) -> "PatchSet":
        """The same images' patches, not turned, from places that do not depend on the seed."""
        return replace(self, seed=EVALUATION_SEED, turn=False)

    def draw(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Of an epoch's rows: where the patch lies in its image, [length, 2] in [0, 1), and its turn, [length]."""
        if self._epoch is None or self._epoch[0] != epoch:
            generator = seeded(self.seed, epoch, PATCHES)
            where = torch.rand(len(self), 2, generator=generator)
            self._epoch = epoch, where, torch.randint(8 if self.turn else 1, (len(self),), generator=generator)
        return self._epoch[1:]

    def __getitem__(self, places: Sequence[Place]) -> LowHigh:
        """One batch: low and high uint8, in channels-last layout, and index int64 [N], the rows."""
        size, scale = self.patch_size, self.degradation.scale
        channels = self.photographs[0].high.shape[2]
        high = np.empty((len(places), size, size, channels), np.uint8)
        low = np.empty((len(places), size // scale, size // scale, channels), np.uint8)
        for n, (epoch, row) in enumerate(places):
            where, turns = self.draw(epoch)
            photograph = self.photographs[int(self.photograph_of[row])]
            top, left = (
                min(int(u * ((side - size) // scale + 1)), (side - size) // scale) * scale
                for u, side in zip(where[row].tolist(), photograph.high.shape, strict=False)
            )
            low[n], high[n] = (turned(patch, int(turns[row])) for patch in self._cut(photograph, top, left, epoch, row))
        of_low, of_high = (torch.from_numpy(patches).permute(0, 3, 1, 2) for patches in (low, high))
        return LowHigh(of_low, of_high, torch.tensor([row for _, row in places], dtype=torch.int64))

    def _cut(self, photograph: Photograph, top: int, left: int, epoch: int, row: int) -> tuple[np.ndarray, np.ndarray]:
        """The low and the high patch at a place."""
        size, scale = self.patch_size, self.degradation.scale
        high = photograph.high[top : top + size, left : left + size]
        small, y, x = size // scale, top // scale, left // scale
        if self.cuts:
            return photograph.low[y : y + small, x : x + small], high
        y0, x0 = max(y - MARGIN, 0), max(x - MARGIN, 0)
        bottom, right = top + size + MARGIN * scale, left + size + MARGIN * scale
        around = photograph.high[y0 * scale : bottom, x0 * scale : right]
        generator = seeded(self.seed, epoch, row, DEGRADATION)
        low = self.degradation(torch.from_numpy(around.copy()).permute(2, 0, 1), generator).permute(1, 2, 0).numpy()
        return low[y - y0 : y - y0 + small, x - x0 : x - x0 + small], high


def turned(patch: np.ndarray, turn: int) -> np.ndarray:
    """[H, W, C] rotated by `turn % 4` quarters, and mirrored from 4 on."""
    patch = np.rot90(patch, turn % 4)
    return patch[:, ::-1] if turn >= 4 else patch


class Degrading(TypedDict, total=False):
    """How low-resolution images are made: may be left out."""

    degradation: Literal["bicubic", "second_order"]  # `Degradation`, or `SecondOrder`


class PatchSettings(Loading, Degrading):
    """What a set at two resolutions takes; `flip` turns a patch by one of a square's eight rotations and mirrorings."""

    scale: int  # the magnification: 2, 3, 4 or 8
    patch_size: int  # side of the high-resolution patches that are trained on, a multiple of `scale`
    channels: int  # 1 grey, 3 RGB
    # Ranges that a degradation is drawn from, or None: of bicubic none, of second_order the paper's.
    blur: Sequence[float] | None
    noise: Sequence[float] | None
    jpeg: Sequence[int] | None


class Patches(Rows):
    """A patch at two resolutions a row: batches of `LowHigh`."""

    batch = LowHigh
    one_size = False

    def __init__(self, settings: PatchSettings) -> None:
        super().__init__(settings)
        scale, patch_size, channels = settings["scale"], settings["patch_size"], settings["channels"]
        kind = {"bicubic": Degradation, "second_order": SecondOrder}.get(name := settings.get("degradation", "bicubic"))
        if kind is None:
            raise ValueError(f"data.degradation={name} is unknown: use bicubic or second_order.")
        self.degradation = kind(scale, settings["blur"], settings["noise"], settings["jpeg"])
        if patch_size < scale or patch_size % scale:
            nearest = max(scale, patch_size // scale * scale)
            raise ValueError(f"data.patch_size={patch_size} is no multiple of data.scale={scale}: try {nearest}.")
        if channels not in (1, 3):
            raise ValueError(f"data.channels={channels} is not supported here: use 1 (grey) or 3 (RGB).")
        self.scale, self.patch_size, self.channels = scale, patch_size, (channels,)
        self.image_size = patch_size, patch_size
        self.nothing = f"no image as large as data.patch_size={patch_size}"

    def parameters(self) -> dict[str, Any]:
        kind = {} if isinstance(self.degradation, Degradation) else {"degradation": "second_order"}
        return {"image_size": self.image_size, "channels": self.channels[0], **asdict(self.degradation), **kind}

    def describe(self, sets: dict[Split, PatchSet]) -> str:
        """ "8 training and 2 test images, x4, patches of 96x96, 3 channels"."""
        given = [split for split, images in sets.items() if images.given]
        real = "" if self.degradation.is_plain or "train" in given else " of degraded images"
        real += f" ({' and '.join(given)} as given at both resolutions)" if given else ""
        patches = f"patches of {self.patch_size}x{self.patch_size}, {channels_in_words(self.channels[0])}"
        whole = count({split: images.whole for split, images in sets.items()})
        return f"{whole} images, x{self.scale}{real}, {patches}"

    def must_prepare(self, splits: dict[Split, Files], reading: FileReading) -> bool:
        return True  # whether the images fit the memory shows when they are decoded

    def sets(self, splits: dict[Split, Files], reading: FileReading | None) -> dict[Split, Any]:
        """Decode all images, and leave those out of the training that are smaller than a patch, with their number.

        Raises:
            UnreadableImage: a file that is no image, unless on_error is skip.
            ValueError: no file of a split gives an image, or no training image is as large as a patch.
        """
        assert reading is not None
        reading.settle(splits)
        reading.left_out, sets = {}, {}
        for split, content in splits.items():
            key = self.digest(content)
            whole, unreadable = self.photographs(split, content, key)
            reading.leave_out(unreadable, content)
            if not whole:
                files = f"{len(content.files):,} {split} files"
                raise ValueError(f"{content.root}: none of its {files} can be read:{in_lines(unreadable.values())}")
            size, turn = self.patch_size, self.flip
            sets[split] = PatchSet(
                whole, size, self.degradation, self.seed, turn, at_least=self.batch_size, key=key,
                given=content.partners is not None,
            )  # fmt: skip
            small = len(whole) - len(sets[split].photographs) if split == "train" else 0
            if small == len(whole):
                largest = max(min(photograph.high.shape[:2]) for photograph in whole)
                raise ValueError(
                    f"{content.root}: none of its {len(whole):,} images is as large as data.patch_size="
                    f"{self.patch_size}: set {largest // self.scale * self.scale} or less."
                )
            if small:
                number = f"{small:,} of {len(whole):,} images of {content.root}"
                warnings.warn(f"{number} are smaller than data.patch_size={size} and are not trained on.", stacklevel=2)
        return sets

    def digest(self, content: Files) -> str:
        """Of the files' names, sizes and times of modification, and of what is done to them."""
        how: tuple[Any, ...] = (self.scale, self.channels[0], content.reading.background, content.reading.max_pixels)
        if content.reading.range is not None:
            how = (*how, content.reading.values.of(content.root)[0])
        sha = hashlib.sha256(repr(how).encode())
        for part in (content, *([content.partners] if content.partners is not None else [])):
            for name in part.files:
                sha.update(f"{name}\0{stamp_of(part.root, name)}\n".encode(errors="surrogateescape"))
        return sha.hexdigest()

    def photographs(self, split: Split, content: Files, key: str) -> tuple[list[Photograph], dict[str, str]]:
        """All images, and why others, by their names, can't be read.

        What exceeds the memory limit lies in a cache, with all that came before; a MissingData says if it can't.
        """
        reading = content.reading
        reader = reading.reader((1, 1), self.channels[0], content.root)
        folder = reading.place(content, split, self.scale, repr(reader))
        images: list[caches.Arrays | UnreadableImage] = []
        size, rest = 0, self.decoded(content)
        cached = caches.find(folder, key)
        while cached is None and (image := next(rest, None)) is not None:
            images.append(image)
            size += 0 if isinstance(image, UnreadableImage) else sum(array.nbytes for array in image)
            if size > reading.limit:
                try:
                    cached = caches.convert(folder, key, chain(images, rest), root=str(content.root))
                except caches.NoRoom as error:
                    raise MissingData(
                        f"the images are more than data.memory_limit_mb, and {error}: "
                        "make room, set cache_dir= to another disk, or raise data.memory_limit_mb."
                    ) from error
        if cached is not None:
            reasons = cached.unreadable
            images = [UnreadableImage(reasons[n]) if n in reasons else cached[n] for n in range(len(cached))]
        whole, unreadable = [], {}
        for name, image in zip(content.files, images, strict=True):
            if isinstance(image, UnreadableImage):
                unreadable[name] = str(image)
            else:
                high, low, is_grey = image
                whole.append(Photograph(name, high, low, bool(is_grey.item())))
        return whole, unreadable

    def decoded(self, content: Files) -> Iterator[caches.Arrays | UnreadableImage]:
        """Of each file in order the arrays of `at_both`, or why it has none."""
        reading, given = content.reading, content.partners
        reader = reading.reader((1, 1), self.channels[0], content.root)
        paths: list[Any] = [content.root / name for name in content.files]
        if given is not None:
            lows = [given.root / name for name in given.files]
            of_both: Any = partial(decoded_pair, scale=self.scale, reader=reader)
            for pair in in_threads(partial(reading.attempt, of_both), list(zip(paths, lows, strict=True)), ahead=4):
                yield pair if isinstance(pair, UnreadableImage) else as_arrays(*pair)
            return
        read = partial(decoded, scale=self.scale, reader=reader)
        for result in in_threads(partial(reading.attempt, read), paths, ahead=4):
            # Shrunk here, not by the threads: each would have torch start as many threads again.
            yield result if isinstance(result, UnreadableImage) else at_both(*result, self.scale)

    def floats(self, batch: LowHigh) -> LowHigh:
        return batch._replace(low=from_bytes(batch.low), high=from_bytes(batch.high))

    def augmented(self, batch: LowHigh, images: PatchSet, epoch: int) -> LowHigh:
        return self.floats(batch)  # turned already


def decoded(file: Path | Member, *, scale: int, reader: Reader) -> tuple[Tensor, bool]:
    """A file's image, cut to multiples of the magnification, uint8 [C, H, W], and whether the file has no colours.

    Of the reader everything counts but its size.

    Raises:
        UnreadableImage: with the path and the reason; also if it is smaller than the magnification.
    """
    pixels, is_grey = whole_of(file, reader)
    high = cropped(pixels, scale)
    if not high.numel():
        raise UnreadableImage(f"{file}: {pixels.shape[2]}x{pixels.shape[1]} pixels are too few for data.scale={scale}.")
    return high, is_grey


def decoded_pair(
    files: tuple[Path | Member, Path | Member], *, scale: int, reader: Reader
) -> tuple[Tensor, Tensor, bool]:  # fmt: skip
    """An image and its own low-resolution one, uint8 [C, s*h, s*w] and [C, h, w], and whether the former is grey.

    Raises:
        UnreadableImage: with the path and the reason; also if the sides of the one are not those of the other.
    """
    (high, is_grey), (low, _) = (whole_of(file, reader) for file in files)
    if list(high.shape[1:]) != [scale * side for side in low.shape[1:]]:
        sizes = [f"{image.shape[2]}x{image.shape[1]}" for image in (high, low)]
        raise UnreadableImage(f"{files[0]}: {sizes[0]} pixels are not {scale} times the {sizes[1]} of {files[1]}.")
    return high, low, is_grey


def whole_of(file: Path | Member, reader: Reader) -> tuple[Tensor, bool]:
    """A file's image, uint8 [C, H, W], and whether the file has no colours."""
    with reader.opened(file) as image:
        is_grey = image.mode in GREY
        pixels = np.array(with_channels(image, reader.channels, reader.background))
    return torch.from_numpy(pixels if pixels.ndim == 3 else pixels[:, :, None]).permute(2, 0, 1), is_grey


def at_both(high: Tensor, is_grey: bool, scale: int) -> caches.Arrays:
    """`as_arrays` of an image uint8 [C, H, W], whose sides are multiples of the magnification."""
    return as_arrays(high, shrink(high, scale), is_grey)


def as_arrays(high: Tensor, low: Tensor, is_grey: bool) -> caches.Arrays:
    """The image uint8 [C, H, W] as [H, W, C], its low-resolution version as [h, w, C], and whether it is grey,
    [1, 1, 1]: as a `Photograph` and as a cache hold them."""
    of_high, of_low = (np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in (high, low))
    return of_high, of_low, np.full((1, 1, 1), is_grey, np.uint8)
