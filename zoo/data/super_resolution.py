"""Images at two resolutions: random patches to train on, whole images to be measured against.

Every image is decoded once, and its low-resolution version made from the whole of it (`zoo.data.degradation`), as the
literature does. Both are kept as bytes [H, W, C]: in memory as long as they fit `memory_limit_mb`, else in a file of
`cache_dir` that is mapped into memory. A patch then costs the copy of its rows, never a decoder; and the processes of a
machine share what the system has cached of the file.

An image has as many rows in an epoch as patches fit into its area, so that a pixel of a large image is as likely as one
of a small image. From which place a row's patch comes, and how it is turned, is drawn anew in each epoch, as a pure
function of (seed, epoch, row). With blur, noise or JPEG, the low-resolution patch is made from the high-resolution one
when it is drawn, by a generator of (seed, epoch, row) too. So a resumed run goes on with the next patches, and the
ranks of a run on N processes together show the patches of a run on one.
"""

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from zoo.batch import LowHigh, from_bytes
from zoo.data.degradation import Degradation, cropped, shrink
from zoo.data.folder import EXTENSIONS, check_is_folder, find_images, in_test
from zoo.data.images import (
    EVALUATION_SEED,
    DataModule,
    EvaluationBatches,
    ImageSet,
    MissingData,
    ShuffledBatches,
    Split,
    cpus,
    seeded,
)
from zoo.data.reading import UnreadableImage, colour, opened, with_channels

PATCHES, DEGRADATION = 2, 3  # random streams beside ORDER and FLIPS of zoo.data.images
MARGIN = 8  # low-resolution pixels around a patch that is blurred: what the blur takes from beyond its edge
GREY = ("1", "L", "LA", "La", "I", "F")  # Pillow's modes without colour, and I;16

Place = tuple[int, int]  # epoch, row


class Photograph(NamedTuple):
    """An image at both resolutions."""

    name: str
    high: np.ndarray  # uint8 [H, W, C], both sides multiples of the magnification
    low: np.ndarray  # uint8 [h, w, C]
    is_grey: bool  # the file has no colours, whatever C


class WholeImage(NamedTuple):
    """An image of an evaluation."""

    name: str
    batch: LowHigh  # of one, in [-1, 1]; its index is the position in the split
    is_grey: bool


class Patches:
    """Patches of images, drawn at random: indexed with the places of a batch, it answers with a `LowHigh` of bytes.

    Args:
        photographs: those that are smaller than a patch are left out.
        patch_size: of the high-resolution patch, a multiple of the magnification.
        degradation: how low-resolution patches are made.
        seed: of places and turns.
        turn: draw one of a square's eight rotations and reflections for each patch.
        at_least: rows in an epoch; few images are repeated.
        key: what `photographs` come from, for the digest.
    """

    def __init__(
        self, photographs: Sequence[Photograph], *, patch_size: int, degradation: Degradation, seed: int, turn: bool,
        at_least: int, key: str,
    ) -> None:  # fmt: skip
        self.photographs = [p for p in photographs if min(p.high.shape[:2]) >= patch_size]
        self.patch_size, self.degradation, self.seed, self.turn, self.key = patch_size, degradation, seed, turn, key
        self.streams = not degradation.is_plain  # then each patch is computed: worth workers
        fit = torch.tensor([p.high.shape[0] * p.high.shape[1] // patch_size**2 for p in self.photographs])
        if len(fit):
            fit *= -(-at_least // int(fit.sum()))
        self.photograph_of = torch.arange(len(fit)).repeat_interleave(fit) if len(fit) else torch.empty(0).long()
        self._epoch: tuple[int, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.photograph_of)

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
            of_low, of_high = self._cut(photograph, top, left, epoch, row)
            turn = int(turns[row])
            high[n], low[n] = turned(of_high, turn), turned(of_low, turn)
        return LowHigh(
            torch.from_numpy(low).permute(0, 3, 1, 2),
            torch.from_numpy(high).permute(0, 3, 1, 2),
            torch.tensor([row for _, row in places], dtype=torch.int64),
        )

    def _cut(self, photograph: Photograph, top: int, left: int, epoch: int, row: int) -> tuple[np.ndarray, np.ndarray]:
        """The low and the high patch at a place."""
        size, scale = self.patch_size, self.degradation.scale
        high = photograph.high[top : top + size, left : left + size]
        small, y, x = size // scale, top // scale, left // scale
        if self.degradation.is_plain:
            return photograph.low[y : y + small, x : x + small], high
        y0, x0 = max(y - MARGIN, 0), max(x - MARGIN, 0)
        around = photograph.high[
            y0 * scale : top + size + MARGIN * scale,
            x0 * scale : left + size + MARGIN * scale,
        ]
        generator = seeded(self.seed, epoch, row, DEGRADATION)
        low = self.degradation(torch.from_numpy(around.copy()).permute(2, 0, 1), generator).permute(1, 2, 0).numpy()
        return low[y - y0 : y - y0 + small, x - x0 : x - x0 + small], high

    def digest(self) -> str:
        """Of the files' paths, sizes and times of modification: reading all of a large set would take too long."""
        return self.key


def turned(patch: np.ndarray, turn: int) -> np.ndarray:
    """[H, W, C] rotated by `turn % 4` quarters, and mirrored from 4 on."""
    patch = np.rot90(patch, turn % 4)
    return patch[:, ::-1] if turn >= 4 else patch


class PatchBatches(ShuffledBatches):
    """`ShuffledBatches` whose rows come with their epoch, which decides what is drawn for them."""

    def __iter__(self) -> Iterator[list[Place]]:
        for k, rows in enumerate(super().__iter__(), start=self.start):
            yield [(k // self.per_epoch, row) for row in rows]


class PatchDataModule(DataModule):
    """Base of the sets at two resolutions. A subclass gives `name` and `files`.

    Args:
        scale: the magnification: 2, 3, 4 or 8.
        patch_size: side of the high-resolution patches that are trained on, a multiple of `scale`.
        channels: 1 grey, 3 RGB.
        flip: turn each training patch by a random one of a square's eight rotations and reflections.
        blur, noise, jpeg: ranges that a degradation beyond the literature's is drawn from, or None:
            `zoo.data.degradation.Degradation`.
        background: under transparency: a name, '#rrggbb' or [red, green, blue].
        on_error: "raise" stops at an unreadable file; "skip" goes on without it and counts it in `skipped`.
        max_pixels: an image with more is unreadable.
        memory_limit_mb: what may be kept in memory (MiB, decoded, of each split and process); more goes into a file.
        (others: `DataModule`)
    """

    no_test_remedy = "give some: data.test_root=FOLDER or data.test_fraction=0.1"

    def __init__(
        self,
        *,
        scale: int,
        patch_size: int,
        channels: int,
        blur: Sequence[float] | None,
        noise: Sequence[float] | None,
        jpeg: Sequence[int] | None,
        background: str | Sequence[int],
        on_error: str,
        max_pixels: int,
        memory_limit_mb: float,
        batch_size: int,
        num_workers: int | str,
        flip: bool,
        seed: int,
        cache_dir: str,
    ) -> None:
        self.degradation = Degradation(scale=scale, blur=blur, noise=noise, jpeg=jpeg)
        if patch_size < scale or patch_size % scale:
            nearest = max(scale, patch_size // scale * scale)
            raise ValueError(f"data.patch_size={patch_size} is no multiple of data.scale={scale}: try {nearest}.")
        if channels not in (1, 3):
            raise ValueError(f"data.channels={channels} is not supported here: use 1 (grey) or 3 (RGB).")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"data.on_error={on_error} is unknown: use raise or skip.")
        super().__init__(
            image_size=patch_size,
            batch_size=batch_size,
            num_workers=num_workers,
            flip=flip,
            seed=seed,
            cache_dir=cache_dir,
        )
        self.scale, self.patch_size, self.channels = scale, patch_size, channels
        self.background, self.max_pixels, self.memory_limit_mb = colour(background), max_pixels, memory_limit_mb
        self.skip = on_error == "skip"
        self.photographs: dict[Split, list[Photograph]] = {}
        self.unreadable: dict[str, str] = {}  # files that were left out, and why

    def files(self) -> dict[Split, list[tuple[str, Path]]]:
        """The files of each split, and what they are called."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Decode once a machine: what does not fit the memory then lies in a file for its other processes."""
        assert self.sets

    def load(self) -> dict[Split, ImageSet]:
        """Decode all images, and leave those out of the training that are smaller than a patch, with their number.

        Raises:
            UnreadableImage: a file that is no image, unless on_error is skip.
            ValueError: no file of a split gives an image, or no training image is as large as a patch.
        """
        sets: dict[Split, ImageSet] = {}
        self.unreadable = {}
        for split, files in self.files().items():
            key = self._key(files)
            self.photographs[split], unreadable = photographs(
                files,
                scale=self.scale,
                channels=self.channels,
                background=self.background,
                max_pixels=self.max_pixels,
                skip=self.skip,
                memory_limit=int(self.memory_limit_mb * 2**20),
                cache=self._cache(files, key),
            )
            self.unreadable |= unreadable
            if not self.photographs[split]:
                raise ValueError(
                    f"{self.where()}: none of its {len(files):,} {split} files can be read:"
                    + in_lines(unreadable.values())
                )
            patches = self._patches(split, key, turn=self.flip, seed=self.seed)
            sets[split] = patches  # indexed with places, answers with LowHigh
            small = len(self.photographs[split]) - len(patches.photographs)
            if split == "train" and not len(patches):
                sides = [min(p.high.shape[:2]) for p in self.photographs[split]]
                raise ValueError(
                    f"{self.where()}: none of its {len(sides):,} images is as large as data.patch_size="
                    f"{self.patch_size}: set {max(sides) // self.scale * self.scale} or less."
                )
            if small and split == "train":
                warnings.warn(
                    f"{small:,} of {len(self.photographs[split]):,} images of {self.where()} are smaller than "
                    f"data.patch_size={self.patch_size} and are not trained on.",
                    stacklevel=2,
                )
        return sets

    def _patches(self, split: Split, key: str, *, turn: bool, seed: int) -> Patches:
        return Patches(
            self.photographs[split],
            patch_size=self.patch_size,
            degradation=self.degradation,
            seed=seed,
            turn=turn,
            at_least=self.batch_size,
            key=key,
        )

    def _key(self, files: Iterable[tuple[str, Path]]) -> str:
        """A hash of the files' names, sizes and times of modification, and of what is done to them."""
        sha = hashlib.sha256(repr((self.scale, self.channels, self.background, self.max_pixels)).encode())
        for name, file in files:
            stat = file.stat() if file.exists() else None
            sha.update(f"{name}\0{stat and (stat.st_size, stat.st_mtime_ns)}\n".encode(errors="surrogateescape"))
        return sha.hexdigest()

    def _cache(self, files: Iterable[tuple[str, Path]], key: str) -> Path:
        """Where these files' images lie decoded: not where others' do, of equal names, sizes and times elsewhere."""
        sha = hashlib.sha256(key.encode())
        for folder in sorted(str(folder.resolve()) for folder in {file.parent for _, file in files}):
            sha.update(f"{folder}\n".encode(errors="surrogateescape"))
        return Path(self.cache_dir) / f"photographs-{sha.hexdigest()[:32]}"

    def parameters(self) -> dict[str, Any]:
        degradation = self.degradation
        ranges = {"blur": degradation.blur, "noise": degradation.noise, "jpeg": degradation.jpeg}
        return {**super().parameters(), "channels": self.channels, "scale": self.scale, **ranges}

    @property
    def description(self) -> str:
        """For reports: "photos: 8 training and 2 test images, x4, patches of 96x96, 3 channels"."""
        sets = self.sets
        counts = f"{len(self.photographs['train']):,} training"
        if "test" in sets:
            counts += f" and {len(self.photographs['test']):,} test"
        plural = "" if self.channels == 1 else "s"
        real = "" if self.degradation.is_plain else " of degraded images"
        skipped = f", {len(self.skipped):,} unreadable files skipped" if self.skipped else ""
        size = f"{self.patch_size}x{self.patch_size}"
        patches = f"patches of {size}, {self.channels} channel{plural}"
        return f"{self.name}: {counts} images, x{self.scale}{real}, {patches}{skipped}"

    @property
    def skipped(self) -> list[str]:
        """Files that could not be read and were left out."""
        return list(self.unreadable)

    # Training.

    def train_dataloader(self) -> DataLoader:
        """Patches of this rank without end, going on after those that were shown."""
        rank, world_size = self.rank_and_world_size()
        patches = self.split("train")
        batches = PatchBatches(
            len(patches),
            batch_size=self.local_batch_size(),
            rank=rank,
            world_size=world_size,
            seed=self.seed,
            start=self.shown // self.batch_size,
        )
        return self._loader(patches, batches, persistent=True)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """uint8 -> float32 in [-1, 1] on the device."""
        if not isinstance(batch, LowHigh) or batch.low.dtype != torch.uint8:
            return batch
        if self.trainer is not None and self.trainer.training:
            self.shown += self.batch_size
        return self.floats(batch)

    def floats(self, batch: LowHigh) -> LowHigh:
        return batch._replace(low=from_bytes(batch.low), high=from_bytes(batch.high))

    # Evaluation.

    def evaluation_loader(
        self, *, split: Split, num: int, rank: int = 0, world_size: int = 1, batch_size: int | None = None
    ) -> EvaluationBatches:
        """This rank's share of a bank of patches: positions rank, rank + world_size, ... below `num`.

        The patches and their order never change, whatever the seed; they are not turned. Above the number of patches
        that fit into the images, they repeat.

        Raises:
            ValueError: no such split, no image as large as a patch in it, or a number out of range.
        """
        own = self.split(split)
        size = self.batch_size if batch_size is None else batch_size
        if num < 1 or size < 1 or not 0 <= rank < world_size:
            raise ValueError(
                f"an evaluation needs num >= 1, batch_size >= 1 and 0 <= rank < world_size: "
                f"got num={num}, batch_size={size}, rank={rank}, world_size={world_size}."
            )
        self.num_images(split)
        patches = self._patches(split, own.digest(), turn=False, seed=EVALUATION_SEED)
        order = torch.randperm(len(patches), generator=seeded(EVALUATION_SEED)).tolist()
        mine = range(rank, num, world_size)
        positions = [mine[start : start + size] for start in range(0, len(mine), size)]
        places = [[(0, order[i % len(order)]) for i in batch] for batch in positions]
        return EvaluationBatches(self._loader(patches, places, persistent=False), positions, self.floats)

    def num_images(self, split: Split) -> int:
        """How many patches fit into a split's images.

        Raises:
            ValueError: no such split, or no image as large as a patch in it.
        """
        if not (patches := len(self.split(split))):
            raise ValueError(
                f"{self.where()} has no image as large as data.patch_size={self.patch_size} in its {split} split."
            )
        return patches

    def whole_images(self, *, split: Split, rank: int = 0, world_size: int = 1) -> Iterator[WholeImage]:
        """This rank's share of the split's whole images: those at rank, rank + world_size, ...

        Raises:
            ValueError: no such split.
        """
        self.split(split)
        for position in range(rank, len(self.photographs[split]), world_size):
            photograph = self.photographs[split][position]
            high = torch.from_numpy(np.array(photograph.high)).permute(2, 0, 1)
            low = torch.from_numpy(np.array(photograph.low)).permute(2, 0, 1)
            if not self.degradation.is_plain:
                low = self.degradation(high, seeded(EVALUATION_SEED, position, DEGRADATION))
            batch = LowHigh(from_bytes(low)[None], from_bytes(high)[None], torch.tensor([position]))
            yield WholeImage(photograph.name, batch, photograph.is_grey)

    def num_whole_images(self, split: Split) -> int:
        """How many whole images a split has."""
        self.split(split)
        return len(self.photographs[split])


class SuperResolutionFolder(PatchDataModule):
    """Every image under a folder.

    Args:
        root: the folder; ~ is the home folder.
        test_root: the folder of the whole images to be measured against, or None.
        test_fraction: without it, of the files of `root`, chosen by a hash of the relative path, so that a file never
            changes sides.
        (others: `PatchDataModule`)
    """

    name = "super_resolution_folder"

    def __init__(self, *, root: str | None, test_root: str | None, test_fraction: float, **common: Any) -> None:
        super().__init__(**common)
        if not root:
            raise MissingData(f"data={self.name} needs a folder of images: set data.root=~/my_images.")
        if not 0 <= test_fraction < 1:
            raise ValueError(f"data.test_fraction={test_fraction} is not a share of the images: use 0 to below 1.")
        self.root = Path(root).expanduser()
        self.test_root = Path(test_root).expanduser() if test_root else None
        self.test_fraction = test_fraction

    def where(self) -> str:
        return f"data={self.name} ({self.root})"

    def files(self) -> dict[Split, list[tuple[str, Path]]]:
        """Found under `root`, and under `test_root`.

        Raises:
            MissingData: no folder, no images in it, or none left to train on.
        """
        files = images_under(self.root)
        if self.test_root is not None:
            return {"train": files, "test": images_under(self.test_root, argument="data.test_root")}
        test = [file for file in files if in_test(file[0], self.test_fraction)]
        train = [file for file in files if not in_test(file[0], self.test_fraction)]
        if not train:
            raise MissingData(
                f"data.test_fraction={self.test_fraction} leaves none of the {len(files):,} images of {self.root} to "
                "train on: add images, lower it, or give a folder of test images, data.test_root=FOLDER."
            )
        return {"train": train, "test": test} if test else {"train": train}


class Photos(PatchDataModule):
    """Nine photographs inside the scikit-image package, all in the public domain or CC0 (see its data/_fetchers.py).

    Few and small: enough to see that everything works, not to train a network for others' photographs.
    """

    name = "photos"
    TRAIN = (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "rocket.jpg",
    )
    TEST = ("chelsea.png", "coffee.png")

    def files(self) -> dict[Split, list[tuple[str, Path]]]:
        """Found without importing scikit-image, whose own functions may want to download."""
        package = find_spec("skimage")
        if package is None or package.origin is None:
            raise MissingData("data=photos are inside the package scikit-image, which is missing: install it.")
        folder = Path(package.origin).parent / "data"
        return {
            "train": [(name, folder / name) for name in self.TRAIN],
            "test": [(name, folder / name) for name in self.TEST],
        }


def images_under(root: Path, *, argument: str = "data.root") -> list[tuple[str, Path]]:
    """Names and paths of the images under a folder.

    Raises:
        MissingData: no folder, or no images in it.
    """
    if argument == "data.root" or root.is_dir():
        check_is_folder(root)
    else:
        raise MissingData(f"{argument}={root} is no folder: give one of images.")
    files = find_images(root)
    if not files:
        raise MissingData(f"{root} holds no images: looked in it and below for {' '.join(EXTENSIONS)}.")
    return [(file, root / file) for file in files]


def decoded(
    file: Path, *, scale: int, channels: int, background: tuple[int, int, int], max_pixels: int
) -> tuple[Tensor, bool]:
    """A file's image, cut to multiples of the magnification, uint8 [C, H, W], and whether the file has no colours.

    Raises:
        UnreadableImage: with the path and the reason; also if it is smaller than the magnification.
    """
    with opened(file, max_pixels=max_pixels) as image:
        is_grey = image.mode in GREY or image.mode.startswith("I;16")
        pixels = np.array(with_channels(image, channels, background))
    high = cropped(torch.from_numpy(pixels if pixels.ndim == 3 else pixels[:, :, None]).permute(2, 0, 1), scale)
    if not high.numel():
        raise UnreadableImage(f"{file}: {pixels.shape[1]}x{pixels.shape[0]} pixels are too few for data.scale={scale}.")
    return high, is_grey


def at_both(name: str, high: Tensor, scale: int, *, is_grey: bool) -> Photograph:
    """The image uint8 [C, H, W], whose sides are multiples of the magnification, with its low-resolution version."""
    low = shrink(high, scale)
    of_high, of_low = (np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in (high, low))
    return Photograph(name, of_high, of_low, is_grey)


def photographs(
    files: Sequence[tuple[str, Path]], *, scale: int, skip: bool, memory_limit: int, cache: Path, **how: Any
) -> tuple[list[Photograph], dict[str, str]]:
    """All images, decoded by as many threads as there are CPUs, and why others, by their names, can't be read.

    What exceeds `memory_limit` bytes lies in the file `cache`, with all that came before.

    Args:
        how: see `decoded`.

    Raises:
        UnreadableImage: the first unreadable file, unless `skip`.
        MissingData: the file can't be written.
    """
    known = _mapped(cache)
    if known is not None and (skip or not known[1]):  # else what is known is decoded again, up to the first bad file
        _warn(known[1], len(files))
        return known

    def read(file: tuple[str, Path]) -> tuple[Tensor, bool] | UnreadableImage:
        try:
            return decoded(file[1], scale=scale, **how)
        except UnreadableImage as error:
            if not skip:
                raise
            return error

    kept: list[Photograph] = []
    unreadable: dict[str, str] = {}
    total = 0
    spill: _Spill | None = None
    try:
        with ThreadPoolExecutor(max_workers=cpus()) as threads:
            for start in range(0, len(files), 4 * cpus()):  # no more than these wait to be kept
                part = files[start : start + 4 * cpus()]
                for (name, _), result in zip(part, threads.map(read, part), strict=True):
                    if isinstance(result, UnreadableImage):
                        unreadable[name] = str(result)
                        continue
                    # Shrunk here, not by the threads: each would have torch start as many threads again.
                    image = at_both(name, result[0], scale, is_grey=result[1])
                    total += image.high.nbytes + image.low.nbytes
                    if spill is None and total > memory_limit:
                        spill = _Spill(cache)
                        for one in kept:
                            spill.add(one)
                        kept.clear()
                    spill.add(image) if spill else kept.append(image)
        _warn(unreadable, len(files))
        if spill is None:
            return kept, unreadable
        spill.finish(unreadable)
    except BaseException:
        if spill:
            spill.discard()
        raise
    found = _mapped(cache)
    assert found is not None
    return found


def _warn(unreadable: dict[str, str], of: int) -> None:
    """Say which files were left out, if any."""
    if unreadable:
        warnings.warn(
            f"{len(unreadable):,} of {of:,} files were left out (data.on_error=skip):{in_lines(unreadable.values())}",
            stacklevel=3,
        )


def in_lines(sentences: Iterable[str]) -> str:
    """The first five, each in a line of its own."""
    shown = sorted(sentences)
    return "".join(f"\n  {line}" for line in [*shown[:5], *(["..."] if len(shown) > 5 else [])])


class _Spill:
    """Writes images behind each other into a file that others see whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f".{path.name}-{uuid.uuid4().hex}.part")
        self.index: list[dict[str, Any]] = []
        self.end = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.part.open("wb")
        except OSError as error:
            raise self._failed(error) from error

    def add(self, image: Photograph) -> None:
        entry = {"name": image.name, "high": image.high.shape, "low": image.low.shape, "is_grey": image.is_grey}
        self.index.append({**entry, "start": self.end})
        try:
            for pixels in (image.high, image.low):
                self.end += self.file.write(pixels.tobytes())
        except OSError as error:
            raise self._failed(error) from error

    def finish(self, unreadable: dict[str, str]) -> None:
        try:
            self.file.close()
            os.replace(self.part, self.path.with_suffix(".bytes"))
            self.part.write_text(json.dumps({"images": self.index, "unreadable": unreadable}))
            os.replace(self.part, self.path.with_suffix(".json"))  # last: it says that all is there
        except OSError as error:
            raise self._failed(error) from error

    def discard(self) -> None:
        """Leave nothing of it behind."""
        with suppress(OSError):  # what is still to be written may not fit the disk
            self.file.close()
        self.part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> MissingData:
        return MissingData(
            f"the images are more than data.memory_limit_mb, and can't be written to {self.path.parent} ({error}): "
            "make room, set cache_dir= to another disk, or raise data.memory_limit_mb."
        )


def _mapped(cache: Path) -> tuple[list[Photograph], dict[str, str]] | None:
    """The images of a file that `_Spill` wrote, mapped into memory; None if there is none."""
    try:
        index = json.loads(cache.with_suffix(".json").read_text())
        everything = np.memmap(cache.with_suffix(".bytes"), np.uint8, "r")
    except (OSError, ValueError):
        return None
    images = []
    for entry in index["images"]:
        middle = entry["start"] + int(np.prod(entry["high"]))
        end = middle + int(np.prod(entry["low"]))
        if end > len(everything):
            return None
        high = everything[entry["start"] : middle].reshape(entry["high"])
        images.append(Photograph(entry["name"], high, everything[middle:end].reshape(entry["low"]), entry["is_grey"]))
    return images, index["unreadable"]
