"""Two sets of images side by side: the measures of an evaluation, with its protocol, without a model or a data module.

Each side gives batches of images of one shape, as uint8, with their positions; positions that give no image are left
out of what is counted. A is taken for the generated images and B for the real ones, which matters for all but the
Frechet and kernel distances: precision is the share of A's images that are like B's.
"""

from collections.abc import Iterator
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from zoo.metrics.distribution import Distribution
from zoo.metrics.estimate import Estimate, intervals_of, values_of
from zoo.metrics.evaluator import undisturbed
from zoo.metrics.metric import Result, Task
from zoo.metrics.side import Side


class Images(Protocol):
    """One side."""

    def __len__(self) -> int:
        """How many positions there are."""

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """uint8 [N, C, H, W], N at most `size`, C 1 or 3, and their positions int64 [N]: each once, or not at all."""


class Comparison(Distribution):
    """The measures of a `Distribution` on two sets of images: what belongs to a training and its data is not there."""

    @classmethod
    def of(cls, distribution: Distribution) -> Self:
        comparison = cls.__new__(cls)
        comparison.__dict__ |= distribution.__dict__
        comparison.per_class = False
        return comparison

    def compare(
        self, generated: Images, real: Images, *, device: torch.device | str, batch_size: int, names: tuple[str, str]
    ) -> Result:
        """Measures both sides.

        Args:
            batch_size: images at a time.
            names: of the two, for messages.

        Raises:
            ValueError: too few images on a side for one of the measures.
        """
        device = torch.device(device)
        if of_models := [name for name, measure in self.chosen.items() if measure.needs_model]:
            raise ValueError(
                f"{of_models[0]} is measured of a model beside its data, not of two sets of images: leave it out of "
                "metrics.measures"
            )
        self._check_sides(names, (len(generated), len(real)))
        self.load()
        task = Task("samples", frozenset({"fake", "real"}), None, len(real), len(generated), device, {})
        with undisturbed(device):
            metric = self.begun(task)
            for side, images in ((metric.fake, generated), (metric.real, real)):
                _count(side, images, device, batch_size)
            counted = metric.fake.num, metric.real.num
            for name, number, given in zip(names, counted, (generated, real), strict=True):
                unreadable = getattr(given, "unreadable", {})
                if number < 2 and unreadable:
                    file, why = next(iter(unreadable.items()))
                    few = "1 image" if number else "no image"
                    raise ValueError(f"{name} holds {few} that can be read, of {len(given):,}: {file}: {why}")
            self._check_sides(names, counted)
            values: dict[str, float | Estimate] = dict(metric.values())
        estimates = {name: value for name, value in values.items() if isinstance(value, Estimate)}
        protocol: dict[str, Any] = {"num_fake": counted[0], "num_real": counted[1], **metric.settings()}
        return Result(values_of(values), protocol, intervals_of(values), estimates)

    def _check_sides(self, names: tuple[str, str], numbers: tuple[int, int]) -> None:
        for name, number in zip(names, numbers, strict=True):
            if number < 2:
                images = "1 image" if number else "no image that can be read"
                raise ValueError(f"{name} holds {images}: to compare distributions, give two or more on each side")
            self.check_numbers(**{f"images in {name}": number})


def _count(side: Side, images: Images, device: torch.device, batch_size: int) -> None:
    for batch, positions in images.batches(batch_size):
        side.add(batch.to(device), positions)
    side.close()
