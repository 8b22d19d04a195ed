"""What a metric is: what it needs of a preview, what it counts, its values, and what these are for people.

A metric is one class. It is given previews, batch by batch and on each rank a share of them, and counts into states,
tensors whose reduction over ranks it declares; the evaluation (zoo/metrics/evaluator.py) does the rest. A new one, such
as the AUROC of tests/metrics/test_metric.py, is a class with `needs`, `headline`, `begin`, `update` and `values`, and a
configuration of `zoo.metrics.evaluator.Evaluator` with `metrics: [{_target_: ...AUROC}]`.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

import torch
import torch.distributed as dist
from torch import Tensor

from zoo.batch import Preview
from zoo.metrics.estimate import Estimate

Plain = str | int | float | bool
REDUCTIONS = {"sum": dist.ReduceOp.SUM, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}


class Data(Protocol):
    """What an evaluation asks of a data module; where fakes have labels, also their names as `classes`."""

    @property
    def description(self) -> str: ...

    def fingerprint(self, split: str) -> str:
        """A hash of the split's images and of all that is done to them."""

    def num_images(self, split: str) -> int: ...

    def evaluation_loader(self, *, split: str, num: int, rank: int, world_size: int, batch_size: int) -> Iterable[Any]:
        """Yields LabelledImages, or another tuple of tensors with an `index`: range(rank, num, world_size), in order.

        What stands at a position depends on the position alone.
        """


class Features(NamedTuple):
    real: Tensor  # [n, F] the features by which two sets of images were compared
    fake: Tensor  # [m, F]
    extract: Callable[[Tensor], Tensor]  # uint8 images [N, C, H, W] -> such features [N, F]


@dataclass(frozen=True)
class Result:
    """What an evaluation measured, and all that must be equal for two such values to be comparable."""

    values: dict[str, float]  # {"fid_mnist": 12.3, "X->Y/fid": 45.6, ...}
    protocol: dict[str, Plain]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)  # of 95 %, of those that have one
    estimates: dict[str, Estimate] = field(default_factory=dict)  # what the intervals are made of; on rank 0 only
    features: dict[str, Features] = field(default_factory=dict)  # by preview, where there are some; on rank 0 only
    images: dict[str, dict[str, float]] = field(default_factory=dict)  # of whole images: the values of each, by name
    left_out: dict[str, str] = field(default_factory=dict)  # whole images that can't be measured, and why


def fields_of(shown: Preview) -> frozenset[str]:
    """Which fields of a preview there are, but for its panel."""
    return frozenset(name for name, value in shown._asdict().items() if isinstance(value, Tensor))


class Task(NamedTuple):
    """One preview of one evaluation: what a metric is to measure."""

    key: str  # of the preview: "samples", "X->Y"
    fields: frozenset[str]  # of the preview, as far as there are some: {"fake", "real", ...}
    data: Any  # the data module
    num_real: int
    num_fake: int
    device: torch.device  # where the previews lie
    stamp: Mapping[str, Plain]  # the protocol so far
    shape: tuple[int, ...] = ()  # (C, H, W) of the fakes


class States:
    """Tensors that each rank counts into, on the device `home`, reduced over all ranks in the end."""

    def __init__(self, home: torch.device | str = "cpu") -> None:
        self.home = home
        self._reductions: dict[str, str] = {}

    def add_state(self, name: str, tensor: Tensor, reduction: str = "sum") -> None:
        """Makes `tensor` an attribute, to be reduced over ranks by "sum", "min" or "max"."""
        self._reductions[name] = reduction
        setattr(self, name, tensor.to(self.home))

    def states(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self._reductions}

    def reduce(self) -> None:
        """The states of all ranks on each; every rank calls it."""
        for name, reduction in self._reductions.items():
            dist.all_reduce(getattr(self, name), REDUCTIONS[reduction])


class Metric(States):
    """Base of all metrics. What an instance holds are settings; a copy of it, `begun`, counts one preview's images."""

    needs: tuple[str, ...] = ()  # the fields of a preview without which there is nothing to measure
    sides: tuple[str, ...] = ("real", "fake")  # whose positions it is to see; where it is one, nothing beyond them
    headline: str | None = None  # the value that sums it up: for the progress bar and the choice of the best checkpoint
    higher_is_better = True  # of the headline
    signs: Mapping[str, float] = {}  # of its other values, by name: 1 where more is better, -1 where less is
    reals: States | None = None  # what depends on real images alone: it is kept from one evaluation to the next
    reals_cached = False  # whether `reals` have been taken up from there
    task: Task
    seen: Tensor  # [1] how many positions it was shown

    def load(self) -> None:
        """Builds networks, and fetches weights that are missing. Calling it again does nothing."""

    def check_numbers(self, **numbers: int | None) -> None:
        """Raises:
        ValueError: numbers of images, by the arguments' names, that leave a value undefined. None is not known yet.
        """

    def check(self, shown: Preview, name: str) -> None:
        """Raises:
        ValueError: images of a preview that can't be measured; `name` is that of the preview, to be said.
        """

    def settings(self) -> dict[str, Plain]:
        """The metric's part of the protocol; called after `load`."""
        return {}

    def measures(self, task: Task) -> bool:
        """Whether the preview has what is needed."""
        return task.fields.issuperset(self.needs)

    def may_choose(self, goal: str) -> bool:
        """Whether the headline may choose the best checkpoint while a model's images shall be like the real ones
        ("distribution"), near their targets ("pixels"), or look right ("perception")."""
        return True

    def panel(self, name: str) -> str | None:
        """The panel of the curves in which a value of this metric's is drawn; None: that of its name's first word."""
        return None

    def sign(self, name: str) -> float:
        """1 where more of a value is better, -1 where less is, 0 where neither is, or it is not of this metric.

        What stands before and behind it, of a preview and of a class, "X->Y/fid" and "fid/CLASS", changes nothing.
        """
        signs = {**({self.headline: 1.0 if self.higher_is_better else -1.0} if self.headline else {}), **self.signs}
        return next((signs[part] for part in name.split("/") if part in signs), 0.0)

    def begun(self, task: Task) -> Self:
        """A copy with states for one preview's images."""
        metric = copy.copy(self)
        States.__init__(metric, task.device if task.device.type == "cuda" else "cpu")  # MPS has no float64
        metric.task = task
        metric.add_state("seen", torch.zeros(1, dtype=torch.int64))
        metric.begin()
        return metric

    def begin(self) -> None:
        """Adds the states, for `self.task`."""

    def reduce(self) -> None:
        super().reduce()
        if self.reals and not self.reals_cached:
            self.reals.reduce()

    def cache_key(self) -> list[Any]:
        """All that `reals` depend on, as JSON has it; asked where there are some."""
        raise NotImplementedError

    @property
    def positions(self) -> int:
        """How many positions of the evaluation are to be seen."""
        number = {"real": 0 if self.reals_cached else self.task.num_real, "fake": self.task.num_fake}
        return max((number[side] for side in self.sides), default=0)

    @property
    def prefix(self) -> str:
        """What stands before the names of its values: "X->Y/" of that preview, nothing of samples."""
        return "" if self.task.key == "samples" else f"{self.task.key}/"

    def see(self, shown: Preview, index: Tensor) -> None:
        """Counts what lies within the positions of its side; see `update`."""
        inside = index < self.positions
        if not self.sides or not self.task.fields <= fields_of(shown):
            return
        self.seen += int(inside.sum())
        if len(self.sides) == 1 and not bool(inside.all()):
            rows, index = inside.to(shown.fake.device), index[inside]
            shown = Preview(**{name: getattr(shown, name)[rows] for name in self.task.fields})
        if len(index):
            self.update(shown, index)

    def update(self, shown: Preview, index: Tensor) -> None:
        """Counts a preview's rows into the states.

        Args:
            shown: images [N, C, H, W] in [-1, 1], on the task's device.
            index: their positions in the evaluation [N], on the CPU.
        """

    def values(self) -> Mapping[str, float | Estimate]:
        """Name -> value, of the reduced states, with its interval where it has one; called on rank 0."""
        raise NotImplementedError

    def protocol(self) -> dict[str, Plain]:
        """What else the values rest on, known once they are; called on rank 0."""
        return {}

    def features(self) -> Features | None:
        """The features that were compared, for those that look at them too; called on rank 0."""
        return None
