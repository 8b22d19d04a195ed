"""What a measure is: something that is read off the features of both sides, once all images have been counted.

A new one is a class with `values`, under a name of zoo/metrics/distribution.py's `MEASURES`. All measures of an
evaluation share one pass of the images through the extractor.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from zoo.metrics.estimate import Estimate
from zoo.metrics.extractors import Extractor
from zoo.metrics.metric import Plain, States, Task
from zoo.metrics.side import Side


class Counter(States):
    """What a measure counts of fakes as they pass, beside the sums and the table that all measures have."""

    def update(self, images: Tensor, features: Tensor, index: Tensor, label: Tensor | None) -> None:
        """Counts fakes into the states.

        Args:
            images: uint8 [N, C, H, W].
            features: [N, F] float32, on the images' device.
            index: their positions [N], on the CPU, each below the number of fakes.
            label: [N] int64 where fakes have one, on `home`.
        """
        raise NotImplementedError


class Seen(NamedTuple):
    """What has been counted."""

    real: Side  # without images where the model shows no reals
    fake: Side
    extractor: Extractor
    paired: bool  # whether real and fake images belong together, row by row
    counted: Mapping["Measure", Any] = {}  # the counters of the measures that have one
    kept: dict[str, Any] | None = None  # what measures share
    task: Task | None = None  # what is evaluated, for those that look at other images of its data too

    def named(self, name: str) -> str:
        """The name of a value with that of the extractor: kid, kid_mnist."""
        return f"{name}_{self.extractor.name}" if self.extractor.name else name

    def once(self, what: str, make: Callable[[], Any]) -> Any:
        """What several measures need, made by the first of them."""
        if self.kept is None:
            return make()
        if what not in self.kept:
            self.kept[what] = make()
        return self.kept[what]


class Measure:
    """Base of all measures. What an instance holds are settings."""

    headline: ClassVar[str | None] = None  # the value that sums it up, without the extractor's name
    higher_is_better: ClassVar[bool] = False  # of that
    signs: Mapping[str, float] = {}  # of its values: 1 where more is better, -1 where less is
    lacks: ClassVar[str] = ""  # what an extractor has to have that it does not fit, in words; "": it says so itself
    needs_reals: ClassVar[bool] = True
    needs_model: ClassVar[bool] = False  # it looks at a model's training data too, or at images of one size

    def load(self, extractor: Extractor) -> None:
        """Builds what it needs beside the extractor, and fetches what must be fetched."""

    def fits(self, extractor: Extractor) -> bool:
        """Whether it can be made with this extractor; asked after `load`."""
        return True

    def counter(self, task: Task, extractor: Extractor, home: torch.device | str) -> Counter | None:
        """What it counts of the fakes of one preview; None where the sums and the table of all are enough."""
        return None

    def look(self, task: Task, extractor: Extractor) -> None:
        """Takes in what it needs of the data beside the images that are shown, before they are; every rank calls it."""

    def check_numbers(self, **numbers: int | None) -> None:
        """Raises:
        ValueError: numbers of images, by the arguments' names, that leave a value undefined. None is not known yet.
        """

    def settings(self) -> dict[str, Plain]:
        """Its part of the protocol; asked after `load`."""
        return {}

    def values(self, seen: Seen) -> dict[str, float | Estimate]:
        """Name (see `Seen.named`) -> value, with its interval where it has one."""
        raise NotImplementedError


def table(side: Side) -> Tensor:
    """The features of the images that were drawn, [n, F] float64, on the CPU: distances by matrix products are
    inexact in float32."""
    return side.table.double().cpu()
