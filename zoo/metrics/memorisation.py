"""Whether fakes are copies of training images, by the nearest of them in the features of an extractor.

    memorisation   the share of fakes that are nearer to a training image than QUANTILE of held-out images are. Of a
                   generator that makes new images it is about QUANTILE, 0.01; one that shows copies has more, by their
                   share. It needs HELD_OUT images or more in the data's test split
    authenticity   the share of fakes that are farther from their nearest training image than this is from its own
                   nearest other one: Alaa et al. 2022, arXiv:2102.08921, section 3 (there of the features of an
                   embedding of their own; "AuthPct" of Stein et al. 2023, arXiv:2306.04675, is a hundred times this).
                   It needs no held-out images, but falls with good quality too: a real image that was held out is
                   authentic about half of the time. So it is compared from generator to generator, and says nothing
                   alone

All training images are looked at, of fakes those that are drawn, and of held-out images MOST_HELD_OUT at most, which
are held against all training images: of a share that is held out that would grow as the square of the set. Images are
compared as they lie in the data: a copy that is mirrored, say, is found as far as the extractor sees through that.
Intervals are over fakes and held-out images; the training images are those that the generator has seen, which are no
draw.

Fakes that are made of images are no new ones, so that of translators and super-resolution nothing is measured.
"""

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from zoo.batch import LabelledImages, to_bytes
from zoo.metrics.estimate import Estimate, as_share, jackknife, mean_of
from zoo.metrics.evaluator import from_rank_0, ranks
from zoo.metrics.extractors import Extractor
from zoo.metrics.measure import Measure, Seen
from zoo.metrics.metric import Plain, Task

HELD_OUT = 300  # images, without which chance alone would make copies
MOST_HELD_OUT = 10_000  # of them, from the first on of the evaluation's fixed order
QUANTILE = 0.01  # of held-out images: what is nearer to a training image than these is a copy
CHUNK = 4_096  # images to which distances are looked at at a time,
ROWS = 1_024  # and images whose: 34 MB


class Nearest(NamedTuple):
    distance: Tensor  # [n] Euclidean, float64
    row: Tensor  # [n] of whom


def nearest(a: Tensor, b: Tensor, but: Tensor | None = None) -> Nearest:
    """The nearest row of b [m, F] to each row of a [n, F]; where a is b, another one.

    Args:
        but: [n] the row of b that does not count, for each row of a.
    """
    own = torch.arange(len(a), device=a.device) if a is b else but
    own = torch.full((len(a),), -1, device=a.device) if own is None else own
    parts = [_nearest(*part, b) for part in zip(a.split(ROWS), own.split(ROWS), strict=True)]
    return Nearest(*map(torch.cat, zip(*parts, strict=True)))


def _nearest(a: Tensor, own: Tensor, b: Tensor) -> Nearest:
    """`nearest`, of as many rows as there is memory for; `own` is the row of b that does not count, or -1."""
    a = a.double()
    least = torch.full((len(a),), torch.inf, dtype=torch.float64, device=a.device)
    index = torch.zeros(len(a), dtype=torch.int64, device=a.device)
    for start in range(0, len(b), CHUNK):
        part = b[start : start + CHUNK].to(a)
        # |a - b|^2 without |a|^2, by matrix products, whose error in float64 changes no order that is to be seen.
        squares = part.square().sum(1) - 2 * a @ part.T
        rows = ((own >= start) & (own < start + len(part))).nonzero().squeeze(1)
        squares[rows, own[rows] - start] = torch.inf
        found, at = squares.min(1)
        nearer = found < least
        least, index = torch.where(nearer, found, least), torch.where(nearer, at + start, index)
    of_whom = b[index.to(b.device)].to(a)
    return Nearest((a - of_whom).square().sum(1).sqrt(), index)  # exact: of a copy it is 0


def radius(unseen: Tensor) -> Tensor:
    """Nearer to a training image than this is a copy, by the distances of held-out images to theirs, [n]."""
    return unseen.double().quantile(QUANTILE)


class Memorisation(Measure):
    """Both shares. Rank 0 keeps the features of the data that it has seen, for the next evaluation."""

    needs_model = True
    signs: Mapping[str, float] = {"memorisation": -1.0}  # authenticity falls with good quality too

    def __init__(self) -> None:
        self._kept: dict[str, tuple[list[Any], Tensor]] = {}  # by split
        self._unseen: tuple[list[Any], Tensor] | None = None

    def settings(self) -> dict[str, Plain]:
        held_out = f"held-out ones, of {MOST_HELD_OUT:,} at most"
        return {"memorisation": f"nearer to a training image than {1 - QUANTILE:.0%} of {held_out}"}

    def look(self, task: Task, extractor: Extractor) -> None:
        if task.key != "samples" or not of_new_images(task.data):
            return
        self.training(task.data, extractor, task.device)
        if _held_out(task.data):
            self._features(task.data, "test", extractor, task.device)

    def training(self, data: Any, extractor: Extractor, device: Any) -> Tensor:
        """The features of all training images [n, F], on the CPU. Of several ranks each calls it; rank 0 has them."""
        return self._features(data, "train", extractor, device)

    def _features(self, data: Any, split: str, extractor: Extractor, device: Any) -> Tensor:
        key = [data.fingerprint(split), extractor.name, extractor.weights_sha256]
        # As rank 0 has it, so that all of them look at the images or none does.
        if not from_rank_0(split in self._kept and self._kept[split][0] == key, torch.device(device)):
            most = MOST_HELD_OUT if split == "test" else None
            self._kept[split] = key, features_of(data, split, extractor, device, most)
        return self._kept[split][1]

    def unseen(self, data: Any) -> Tensor:
        """The distance of each held-out image to its nearest training image, of what `look` has taken in; of none where
        there are too few."""
        if not _held_out(data):
            return torch.zeros(0)
        (of_train, train), (of_test, held_out) = self._kept["train"], self._kept["test"]
        if self._unseen is None or self._unseen[0] != of_train + of_test:
            self._unseen = of_train + of_test, nearest(held_out, train).distance
        return self._unseen[1]

    def values(self, seen: Seen) -> dict[str, float | Estimate]:
        task = seen.task
        if task is None or task.key != "samples" or not of_new_images(task.data):
            return {}
        training = self._kept["train"][1]
        fake = seen.fake.table.cpu()
        distance, row = nearest(fake, training)
        values: dict[str, float | Estimate] = {}
        if len(unseen := self.unseen(task.data)):
            of_fakes = mean_of((distance < radius(unseen)).double())
            copies = lambda fakes, held_out: float((distance[fakes] < radius(unseen[held_out])).double().mean())
            by_groups = jackknife(copies, len(distance), len(unseen))
            copied = Estimate(of_fakes.value, of_fakes.fakes, by_groups.reals)
            values[seen.named("memorisation")] = as_share(copied, len(distance))
        if len(training) > 1:
            apart = nearest(training[row], training, but=row).distance
            values[seen.named("authenticity")] = as_share(mean_of((distance > apart).double()), len(distance))
        return values


def of_new_images(data: Any) -> bool:
    """Whether the data are images of which a generator makes new ones, and not pairs to be translated."""
    return isinstance(first(data, "train"), LabelledImages)


def first(data: Any, split: str) -> Any:
    """The first image of a split, as a batch."""
    return next(iter(data.evaluation_loader(split=split, num=1, rank=0, world_size=1, batch_size=1)))


def _held_out(data: Any) -> bool:
    """Whether there are enough images that no generator has seen."""
    try:
        return bool(data.num_images("test") >= HELD_OUT)
    except ValueError:  # there is no such split
        return False


def features_of(data: Any, split: str, extractor: Extractor, device: Any, most: int | None = None) -> Tensor:
    """Those of all images of a split, or of its first so many, [n, F] on the CPU, each rank having looked at its share;
    on other ranks than 0 those of the share alone."""
    extractor.to(device)
    (rank, world_size), num = ranks(), min(data.num_images(split), most or sys.maxsize)
    loader = data.evaluation_loader(split=split, num=num, rank=rank, world_size=world_size, batch_size=256)
    features, filled = torch.empty(len(range(rank, num, world_size)), extractor.num_features), 0
    for batch in loader:
        features[filled : filled + len(batch.image)] = extractor(to_bytes(batch.image.to(device))).cpu()
        filled += len(batch.image)
    return _on_rank_0(features, num, torch.device(device)) if world_size > 1 else features


def _on_rank_0(own: Tensor, num: int, device: torch.device) -> Tensor:
    """The rows [num, F] of all ranks on rank 0, of which each has `own`, range(rank, num, world_size); piece by piece,
    so that no other rank has memory for all of them, nor an accelerator."""
    rank, world_size = ranks()
    home = device if device.type == "cuda" else torch.device("cpu")
    whole, positions = own.new_zeros(num if rank == 0 else 0, own.shape[1]), torch.arange(rank, num, world_size)
    for start in range(0, num, CHUNK):
        part = own.new_zeros(min(CHUNK, num - start), own.shape[1])
        inside = (positions >= start) & (positions < start + len(part))
        part[positions[inside] - start] = own[inside]
        part = part.to(home)
        dist.reduce(part, 0)
        if rank == 0:
            whole[start : start + len(part)] = part.cpu()
    return whole if rank == 0 else own


def rows_of(data: Any, split: str, positions: Tensor) -> list[LabelledImages]:
    """The rows of a split's evaluation at these positions, a batch of one each, in their order."""
    settings = {"num": int(positions.max()) + 1, "rank": 0, "world_size": 1, "batch_size": 256}
    wanted, found = set(positions.tolist()), dict[int, LabelledImages]()
    for batch in data.evaluation_loader(split=split, **settings):
        for row, position in enumerate(batch.index.tolist()):
            if position in wanted:
                found[position] = batch._make(field[row : row + 1] for field in batch)
    return [found[position] for position in positions.tolist()]
