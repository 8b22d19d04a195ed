"""What a measure is: something that is read off the features of both sides, once all images have been counted.

A new one is a class with `values`, under a name of zoo/metrics/distribution.py's `MEASURES`. All measures of an
evaluation share one pass of the images through the extractor.
"""

from typing import ClassVar, NamedTuple

from torch import Tensor

from zoo.metrics.estimate import Estimate
from zoo.metrics.extractors import Extractor
from zoo.metrics.metric import Plain, Task
from zoo.metrics.side import Side


class Seen(NamedTuple):
    """What has been counted."""

    real: Side  # without images where the model shows no reals
    fake: Side
    extractor: Extractor
    paired: bool  # whether real and fake images belong together, row by row
    task: Task | None = None  # what is evaluated, for those that look at other images of its data too

    def named(self, name: str) -> str:
        """The name of a value with that of the extractor: kid, kid_mnist."""
        return f"{name}_{self.extractor.name}" if self.extractor.name else name


class Measure:
    """Base of all measures. What an instance holds are settings."""

    needs_reals: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = False  # of an extractor that classifies

    def check_numbers(self, **numbers: int | None) -> None:
        """Raises:
        ValueError: numbers of images, by the arguments' names, that leave a value undefined. None is not known yet.
        """

    def settings(self) -> dict[str, Plain]:
        """Its part of the protocol."""
        return {}

    def values(self, seen: Seen) -> dict[str, float | Estimate]:
        """Name (see `Seen.named`) -> value, with its interval where it has one."""
        raise NotImplementedError


def table(side: Side) -> Tensor:
    """The features of the images that were drawn, [n, F] float64, on the CPU: distances by matrix products are
    inexact in float32."""
    return side.table.double().cpu()
