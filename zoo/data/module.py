"""The data module: a source of pixels, a kind of rows, and what all share: batches, their order, the evaluation bank.

Between set and device the images are uint8; `on_after_batch_transfer` turns them into [-1, 1].

Order, crops and flips are pure functions of (seed, epoch): the only state is the number of images shown, so that a
resumed run goes on with the next batch, and a run on N processes shows the same images, flipped the same way, as a run
on one.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypedDict, TypeVar, get_args, get_type_hints

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from zoo.batch import LabelledImages, from_bytes
from zoo.data.labels import counts_in_words
from zoo.data.licence import OWN, Licence
from zoo.data.one_class import OneClass, normal_labels
from zoo.data.reading import read_picture
from zoo.data.sources import FileReading, ImageSet, Size, Source, Split
from zoo.machine import cpus
from zoo.ranges import Within

EVALUATION_SEED = 20_140_610  # fixes the order of every evaluation bank; changing it changes every published value
ORDER, FLIPS, CROPS = 0, 1, 2  # separate random streams that share (seed, epoch)
PATCHES, DEGRADATION = 2, 3  # those of patches, which have no CROPS


def seeded(*key: int) -> torch.Generator:
    """A generator whose stream depends on every number of `key` (all >= 0)."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))


Workers = Annotated[int, Within(lambda n: 0 <= n <= 256, "must be from 0 to 256, or auto")]


class Loading(TypedDict):
    """What every set takes."""

    batch_size: int  # images a batch over ALL processes, so that the number of processes does not change the training
    num_workers: Workers | Literal["auto"]  # processes that read files, on each rank; "auto": the CPUs here, at most 8
    flip: bool  # mirror each training image left to right with probability 1/2
    seed: int  # of the order and of the flips
    cache_dir: str  # folder for what is costly to compute again


Settings = TypeVar("Settings", bound=Loading)


class Rows:
    """Base of the kinds of rows: what a batch is made of, from whatever source. A kind's settings are a `Loading`."""

    batch: type[tuple]  # of zoo.batch; its first field holds images
    channels: tuple[int, ...]  # of each domain: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA
    image_size: Size  # that the model sees
    one_size = True  # files are brought to it; else the sets' digests say how they are read
    nothing = "no images"  # what is missing where a split has no rows

    def __init__(self, settings: Loading) -> None:
        self.batch_size, self.flip, self.seed = settings["batch_size"], settings["flip"], settings["seed"]

    def parameters(self) -> dict[str, Any]:
        """What decides the pixels of these rows."""
        raise NotImplementedError

    def describe(self, sets: dict[Split, Any]) -> str:
        """How much of what there is, for reports."""
        raise NotImplementedError

    def parts(self, split: Split, content: Any) -> list[Any]:
        """The sets, one or two, that a split's rows consist of."""
        raise NotImplementedError

    def joined(self, parts: list[Any]) -> ImageSet:
        """The set of rows that consists of these."""
        return parts[0]

    def floats(self, batch: Any) -> Any:
        """A uint8 batch in [-1, 1]."""
        raise NotImplementedError

    def augmented(self, batch: Any, images: Any, epoch: int) -> Any:
        """A uint8 batch of the training in [-1, 1], with what is drawn for each image of the epoch."""
        raise NotImplementedError

    def sets(self, splits: dict[Split, Any], reading: FileReading | None) -> dict[Split, ImageSet]:
        """The splits of a source as sets of rows, decoded where they fit the memory."""
        if reading:
            reading.settle(splits)
        parts = {split: self.parts(split, content) for split, content in splits.items()}
        sets = [one for of_split in parts.values() for one in of_split]
        kept = iter(reading.kept(sets) if reading else sets)
        return {split: self.joined([next(kept) for _ in of_split]) for split, of_split in parts.items()}

    def must_prepare(self, splits: dict[Split, Any], reading: FileReading) -> bool:
        """Whether one process of a machine shall decode the files into a cache before the others look for them."""
        return reading.is_large([one for split, content in splits.items() for one in self.parts(split, content)])


class ShuffledBatches(Sampler[list[Any]]):
    """Rows of this rank's batches, without end: within an epoch each image comes at most once.

    With P the permutation of (seed, epoch) and G = batch_size * world_size, global batch k of the epoch is
    P[k*G : (k+1)*G], of which a rank takes every world_size-th row: the union over ranks is the batch of a run on one
    process. Images that fill no batch wait for another epoch.

    It has no end, and so no length, because a run's time is images: Lightning then sees one long epoch, and a position
    in it is a number of batches, which a resumed run can begin with.

    Args:
        length: images in the set.
        batch_size: images a batch on this rank.
        start: batches that were shown before.
        order: draws the permutation of an epoch: (generator, epoch) -> rows [length] or [length, 2].
    """

    def __init__(
        self, length: int, *, batch_size: int, rank: int, world_size: int, seed: int, start: int,
        order: Callable[[torch.Generator, int], Tensor],
    ) -> None:  # fmt: skip
        self.rank, self.world_size, self.seed, self.start, self.order = rank, world_size, seed, start, order
        self.whole = batch_size * world_size  # images a batch of all ranks
        self.per_epoch = length // self.whole  # batches

    def __iter__(self) -> Iterator[list[Any]]:
        epoch, k = divmod(self.start, self.per_epoch)
        while True:
            order = self.order(seeded(self.seed, epoch, ORDER), epoch)
            for batch in range(k, self.per_epoch):
                yield order[batch * self.whole : (batch + 1) * self.whole][self.rank :: self.world_size].tolist()
            epoch, k = epoch + 1, 0


@dataclass(frozen=True)
class EvaluationRows:
    """Rows of an evaluation's batches, made as they are asked for: as lists they would take 40 bytes an image."""

    order: Tensor  # [n] or [n, 2] rows of the split
    positions: list[range]  # of each batch's images

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[list[Any]]:
        for positions in self.positions:
            yield self.order[torch.tensor(positions) % len(self.order)].tolist()


@dataclass(frozen=True)
class EvaluationBatches:
    """A rank's share of an evaluation bank: batches in [-1, 1] whose index is the position in the evaluation."""

    loader: DataLoader  # of uint8 batches
    positions: list[range]  # of each batch's images
    floats: Callable[[Any], Any]  # turns a uint8 batch into one in [-1, 1]

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[Any]:
        for batch, positions in zip(self.loader, self.positions, strict=True):
            yield self.floats(batch)._replace(index=torch.tensor(positions))


class DataModule(LightningDataModule):
    """A source of pixels as rows of one kind, for training and evaluation. A set is a subclass that names the two.

    Args:
        source: makes the source, of the settings and the set's name.
        rows: makes the kind of rows, of the settings.
        settings: see `Loading`, and what source and rows take.

    Raises:
        ValueError: naming the argument, its value and the remedy.
        TypeError: an argument that the set does not have.
    """

    name = "images"  # what data= calls it
    names: ClassVar[Sequence[str]] = ()  # of the classes, where they are always the same
    licence: ClassVar[Licence] = OWN  # of its images
    batch: ClassVar[type[tuple]] = LabelledImages  # of its rows, see zoo.batch
    aligned = False  # rows are pairs that show the same scene, pixel by pixel

    def __init__(
        self, source: Callable[[Settings, str], Source], rows: Callable[[Settings], Rows], settings: Settings
    ) -> None:
        super().__init__()
        check_names(type(self), settings)
        self.batch_size, self.num_workers = settings["batch_size"], settings["num_workers"]
        self.seed = settings["seed"]
        if self.batch_size < 1:
            raise ValueError(f"data.batch_size={self.batch_size} is not a number of images: give 1 or more.")
        if self.num_workers != "auto" and (isinstance(self.num_workers, str) or self.num_workers < 0):
            number = "a number of processes from 0 on"
            raise ValueError(f"data.num_workers={self.num_workers} is neither auto nor {number}.")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} is negative: give 0 or more.")
        normal: Any = settings.get("normal")
        if isinstance(normal, str | int):  # data.normal=3 is [3]
            normal = [normal]
            settings = {**settings, "normal": normal}  # type: ignore[assignment]
        self.rows = rows(settings)
        self.source = source(settings, self.name)
        self.root = self.source.root
        if normal is not None:
            self.source = OneClass(self.source, normal, self.names, self.name)
            if self.names:  # before anything is downloaded
                normal_labels(self.names, normal, self.where())
        self._sets: dict[Split, Any] = {}
        self._digests: dict[Split, str] = {}
        self.shown = 0  # images in training, over all ranks

    # What a model, a metric or a report asks.

    @property
    def sets(self) -> dict[Split, Any]:
        """The `ImageSet` of "train" and, where there is one, of "test": loaded at first use."""
        if not self._sets:
            self._sets = self.rows.sets(self.source.splits(), self.source.reading)
        return self._sets

    @property
    def classes(self) -> list[str]:
        """The classes' names by label, before anything is downloaded; none where the set has no labels."""
        return list(self.names) or self.source.classes

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def normal(self) -> list[int]:
        """The labels of the classes that are normal, by the one-class protocol; none in an ordinary set."""
        return self.source.labels if isinstance(self.source, OneClass) else []

    @property
    def attributes(self) -> list[str]:
        """The names of what labels are vectors of, in place of classes; none where they are no vectors."""
        return self.source.attributes

    @property
    def description(self) -> str:
        """For reports: "mnist5k: 4,000 training and 1,000 test images, 32x32, 1 channel, 10 classes of 400: 0, 1, ..."
        (height x width; the training images of each class)."""
        skipped = f", {len(self.skipped):,} unreadable files skipped" if self.sets and self.skipped else ""
        notes = "".join(f"; {note}" for note in self.source.reading.notes()) if self.source.reading else ""
        return f"{self.name}: {self.rows.describe(self.sets)}{skipped}{self._labels_in_words()}{notes}"

    def _labels_in_words(self) -> str:
        if self.attributes:
            names, more = self.attributes, ", ..." * (len(self.attributes) > 10)
            return f", {len(names)} attribute{'s' * (len(names) > 1)}: {', '.join(names[:10])}{more}"
        if self.normal:
            names = [self.classes[label] for label in self.normal]
            return f", {len(self.classes)} classes, of which normal and trained on: {', '.join(names)}"
        return f", {counts_in_words(self.classes, self._class_sizes())}" if self._class_sizes() else ""

    def _class_sizes(self) -> list[int]:
        """The training images of each class, where rows are images and these have classes."""
        if self.batch is not LabelledImages or not self.classes:
            return []
        return self.sets["train"].labels.bincount(minlength=self.num_classes).tolist()

    @property
    def skipped(self) -> list[str]:
        """Files that could not be read, relative to their folder; of pairs, those of X."""
        reading = self.source.reading
        return sorted([*reading.left_out, *reading.replaced()]) if reading else []

    @property
    def ranges(self) -> list[list[float]]:
        """Which values of the files are black and white, where that was found in them; of each domain."""
        reading = self.source.reading
        return reading.values.used() if reading and reading.range == "min_max" else []

    def parameters(self) -> dict[str, Any]:
        """What besides the content decides the pixels; part of the fingerprint."""
        of_source = self.source.parameters() if self.rows.one_size else {}
        return {"set": self.name, **self.rows.parameters(), **of_source}

    def picture(self, name: str, channels: int) -> Tensor:
        """A picture beside the set, float32 [1, channels, H, W] in [-1, 1], of its own size: a file, or the name of a
        photograph that comes with the package, such as ihc.

        Raises:
            ValueError: if there is neither, or no image in the file.
        """
        return from_bytes(torch.from_numpy(read_picture(name, channels))[None])

    def fingerprint(self, split: Split) -> str:
        """64 hexadecimal digits that change with the split's content and with whatever else decides its pixels."""
        if split not in self._digests:
            key = f"{self.split(split).digest()} {sorted(self.parameters().items())}"
            self._digests[split] = hashlib.sha256(key.encode()).hexdigest()
        return self._digests[split]

    def split(self, split: Split) -> Any:
        """One split, an `ImageSet`; a ValueError says what to do where there is none."""
        if split not in ("train", "test"):
            raise ValueError(f"split={split!r} is not a split: use train or test.")
        if split not in self.sets:
            raise ValueError(f"data={self.name} has no test images: {self.source.no_test_remedy}.")
        return self.sets[split]

    def num_images(self, split: Split) -> int:
        """The rows of a split: of pairs, images of the smaller domain; of patches, as many as fit into the images."""
        return self._filled(split).distinct()

    def _filled(self, split: Split) -> ImageSet:
        images = self.split(split)
        if not len(images):
            raise ValueError(f"{self.where()} has {self.rows.nothing} in its {split} split.")
        return images

    def where(self) -> str:
        """The set as a message names it; a folder adds its path."""
        return f"data={self.name} ({self.root})" if self.root else f"data={self.name}"

    # Training.

    def prepare_data(self) -> None:
        """What one process of a machine does before the others load the set."""
        self.source.prepare()
        reading = self.source.reading
        if reading is not None and reading.cache is not False:
            splits = self.source.splits()
            if self.rows.must_prepare(splits, reading):
                self._sets = self.rows.sets(splits, reading)

    def setup(self, stage: str | None = None) -> None:
        """Load the set; a ValueError if it does not fill a batch, or processes cannot share the batch."""
        images = len(self.sets["train"])
        if stage not in (None, "fit"):
            return
        if self.rank_and_world_size()[0] == 0:
            self._say()
        if images < self.batch_size:
            remedy = f"set data.batch_size={images} or less" if images else "give a set with images"
            raise ValueError(
                f"{self.where()} has {images:,} training images, fewer than one batch of "
                f"data.batch_size={self.batch_size}: {remedy}."
            )
        self.local_batch_size()
        if self.source.reading is not None and self.rank_and_world_size()[0] == 0:
            for complaint in self.source.reading.complaints():
                warnings.warn(complaint, stacklevel=2)

    def _say(self) -> None:
        """What is odd about the images that were found, as warnings: nothing is wrong with most sets."""
        sizes = [] if self.normal else self._class_sizes()
        few = [name for name, size in zip(self.classes, sizes, strict=False) if size < 2]
        if few:
            names = f"{', '.join(few[:10])}{', ...' * (len(few) > 10)}"
            warnings.warn(f"classes with less than two training images: {names}", stacklevel=3)
        for remark in self.source.remarks:
            warnings.warn(remark, stacklevel=3)

    def teardown(self, stage: str | None = None) -> None:
        """Say how many files a streamed or cached set had to skip: its workers have warned of the first only."""
        reading = self.source.reading
        if reading is not None and (files := sorted(reading.replaced())):
            skipped = f"{len(files):,} unreadable files of {self.root} were skipped (data.on_error=skip)"
            warnings.warn(f"{skipped}: {', '.join(files[:5])}{', ...' if len(files) > 5 else ''}", stacklevel=2)

    def rank_and_world_size(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def local_batch_size(self) -> int:
        """Images a batch on this process."""
        _, world_size = self.rank_and_world_size()
        if self.batch_size % world_size:
            nearest = max(world_size, self.batch_size // world_size * world_size)
            raise ValueError(
                f"data.batch_size={self.batch_size} is the batch of all processes together and cannot be shared "
                f"equally among {world_size}: set data.batch_size={nearest}."
            )
        return self.batch_size // world_size

    def train_dataloader(self) -> DataLoader:
        """uint8 batches of this rank without end, going on after those that were shown."""
        rank, world_size = self.rank_and_world_size()
        images, size, start = self.split("train"), self.local_batch_size(), self.shown // self.batch_size
        batches = ShuffledBatches(
            len(images), batch_size=size, rank=rank, world_size=world_size, seed=self.seed, start=start,
            order=images.order,
        )  # fmt: skip
        return self._loader(images, batches, persistent=True)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """uint8 -> float32 in [-1, 1] on the device, and the training images' crops and flips."""
        if not isinstance(batch, self.rows.batch) or batch[0].dtype != torch.uint8:
            return batch
        if self.trainer is None or not self.trainer.training:
            return self.rows.floats(batch)
        images = self.split("train")
        epoch = self.shown // (len(images) // self.batch_size * self.batch_size)
        self.shown += self.batch_size
        return self.rows.augmented(batch, images, epoch)

    def state_dict(self) -> dict[str, Any]:
        """The position in the data: images shown, and of which set."""
        return {"shown": self.shown, "fingerprint": self.fingerprint("train")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the images that were shown; with another batch size, at the nearest batch before.

        Other training images begin with their first epoch: a position among the earlier ones says nothing of them.
        """
        if state_dict["fingerprint"] == self.fingerprint("train"):
            self.shown = state_dict["shown"]
        elif self.rank_and_world_size()[0] == 0:
            print(f"{self.where()}: other training images than this run saw before; they begin anew", flush=True)

    # Evaluation.

    def evaluation_loader(
        self, *, split: Split, num: int, rank: int = 0, world_size: int = 1, batch_size: int | None = None
    ) -> EvaluationBatches:
        """This rank's share of the evaluation bank: positions rank, rank + world_size, ... below `num`.

        Position i is row order[i % n] of the split's n rows, in an order that never changes (a set sorted by class
        comes mixed), never flipped or turned. `index` is the position i. The last batch may be short.

        Args:
            num: images in the whole evaluation, over all ranks; above n they repeat.
            batch_size: images a batch on this rank; None takes the set's.

        Raises:
            ValueError: no such split, nothing in it, or a number out of range.
        """
        size = self.batch_size if batch_size is None else batch_size
        images = self._filled(split).evaluated()
        if num < 1 or size < 1 or not 0 <= rank < world_size:
            raise ValueError(
                f"an evaluation needs num >= 1, batch_size >= 1 and 0 <= rank < world_size: "
                f"got num={num}, batch_size={size}, rank={rank}, world_size={world_size}."
            )
        order = images.order(seeded(EVALUATION_SEED))
        share = range(rank, num, world_size)
        positions = [share[start : start + size] for start in range(0, len(share), size)]
        loader = self._loader(images, EvaluationRows(order, positions), persistent=False)
        return EvaluationBatches(loader, positions, self.rows.floats)

    def _loader(self, images: ImageSet, batches: Any, *, persistent: bool) -> DataLoader:
        workers: Any = self.num_workers if images.streams else 0
        if workers == "auto":
            ranks_here = self.trainer.num_devices if self.trainer is not None else 1
            workers = max(1, min(8, cpus() // ranks_here))
        assert isinstance(workers, int)
        return DataLoader(
            images,  # type: ignore[arg-type]
            batch_size=None,  # the sampler gives whole batches of rows
            sampler=batches,
            num_workers=workers,
            persistent_workers=persistent and workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


def check_names(module: type[DataModule], settings: Any) -> None:
    """A TypeError for arguments that the set's column of settings does not have, or lacks."""
    for columns in get_args(get_type_hints(module.__init__).get("settings")):  # one, or none
        if unknown := settings.keys() - columns.__required_keys__ - columns.__optional_keys__:
            raise TypeError(f"{module.__name__}.__init__() got an unexpected keyword argument '{min(unknown)}'")
        if missing := columns.__required_keys__ - settings.keys():
            raise TypeError(f"{module.__name__}.__init__() missing a required keyword argument: '{min(missing)}'")
