"""Two sets of images side by side: the measures of an evaluation, with its protocol, without a model or a data module.

Each side gives batches of images of one shape, as uint8, with their positions; positions that give no image are left
out of what is counted. A is taken for the generated images and B for the real ones, which matters for all but the
Frechet and kernel distances: precision is the share of A's images that are like B's.

A side may also be statistics of features that another tool has kept: they have the Frechet distance alone, whose
interval is then that of the other side's images.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from zoo.metrics.distribution import Distribution
from zoo.metrics.estimate import Estimate, intervals_of, values_of
from zoo.metrics.evaluator import undisturbed
from zoo.metrics.frechet import Moments
from zoo.metrics.metric import Result, Task
from zoo.metrics.side import Side


class Images(Protocol):
    """One side."""

    def __len__(self) -> int:
        """How many positions there are."""

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """uint8 [N, C, H, W], N at most `size`, C 1 or 3, and their positions int64 [N]: each once, or not at all."""


class Statistics:
    """A side of which there are no images: the mean [F] and the covariance [F, F] of their features, float64."""

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.moments = Moments(0, mean, covariance)  # of how many images is not known, and plays no part

    def notes(self) -> dict[str, Any]:
        return {"statistics": f"mu and sigma of {len(self.moments.mean):,} features, without images"}


class Known(Side):
    """The side of these."""

    def __init__(self, name: str, statistics: Statistics, extractor: Any) -> None:
        super().__init__(name, 0, extractor=extractor, groups=1, drawn=0, home="cpu")
        self.statistics = statistics

    def moments(self, groups: list[int] | None = None) -> Moments:
        return self.statistics.moments


class Comparison(Distribution):
    """The measures of a `Distribution` on two sets of images: what belongs to a training and its data is not there."""

    @classmethod
    def of(cls, distribution: Distribution) -> Self:
        comparison = cls.__new__(cls)
        comparison.__dict__ |= distribution.__dict__
        comparison.per_class = False
        return comparison

    def compare(
        self,
        generated: Images | Statistics,
        real: Images | Statistics,
        *,
        device: torch.device | str,
        batch_size: int,
        names: tuple[str, str],
        seen: Callable[[int], object] = lambda images: None,
    ) -> Result:
        """Measures both sides.

        Args:
            batch_size: images at a time.
            names: of the two, for messages.
            seen: is told how many images more have been looked at.

        Raises:
            ValueError: too few images on a side for one of the measures; statistics of other features than the
                extractor has, or where no measure can do without images.
        """
        device = torch.device(device)
        if of_models := [name for name, measure in self.chosen.items() if measure.needs_model]:
            raise ValueError(
                f"{of_models[0]} is measured of a model beside its data, not of two sets of images: leave it out of "
                "metrics.measures"
            )
        sides = (generated, real)
        if remarks := self.left_out(sides, names):
            of_rest = copy.copy(self)
            of_rest.chosen = {name: m for name, m in self.chosen.items() if self._can_have(name, sides)}
            if not of_rest.chosen:
                raise ValueError(f"{remarks[0]}, and no measure is left: add fid to metrics.measures")
            return of_rest._compare(generated, real, device, batch_size, names, seen)
        return self._compare(generated, real, device, batch_size, names, seen)

    def left_out(self, sides: tuple[Images | Statistics, ...], names: tuple[str, str]) -> list[str]:
        """What there is to say, in a sentence each, of sides that are statistics."""
        given = [name for name, side in zip(names, sides, strict=True) if isinstance(side, Statistics)]
        if not given:
            return []
        holds = "holds statistics" if len(set(given)) == 1 else "hold statistics"
        rest = [name for name in self.chosen if not self._can_have(name, sides)]
        and_so = f": what needs images is left out, {', '.join(rest)}" if rest else ""
        words = "the interval is of the other side's images alone" if len(given) == 1 else "there is no interval"
        return [f"{' and '.join(dict.fromkeys(given))} {holds} of an unknown number of images, so that {words}{and_so}"]

    def _can_have(self, name: str, sides: tuple[Images | Statistics, ...]) -> bool:
        generated = sides[0]
        return name == "fid" or not (self.chosen[name].needs_reals or isinstance(generated, Statistics))

    def _compare(
        self, generated: Images | Statistics, real: Images | Statistics, device: torch.device, batch_size: int,
        names: tuple[str, str], seen: Callable[[int], object],
    ) -> Result:  # fmt: skip
        sides = (generated, real)
        numbers = [0 if isinstance(side, Statistics) else len(side) for side in sides]
        self._check_sides(names, numbers, sides)
        self.load()
        features = self.extractor.num_features
        for name, side in zip(names, sides, strict=True):
            if isinstance(side, Statistics) and len(side.moments.mean) != features:
                its = self.extractor.name or "Inception"
                raise ValueError(
                    f"{name} holds statistics of {len(side.moments.mean):,} features, and {its} "
                    f"has {features:,}: compare by the extractor that they were made with, such as --metrics inception"
                )
        task = Task("samples", frozenset({"fake", "real"}), None, numbers[1], numbers[0], device, {})
        with undisturbed(device):
            metric = self.begun(task)
            if isinstance(generated, Statistics):
                metric.fake = Known("fake", generated, self.extractor)
            else:
                _count(metric.fake, generated, device, batch_size, seen)
            if isinstance(real, Statistics):
                metric.real = Known("real", real, self.extractor)
            else:
                _count(metric.real, real, device, batch_size, seen)
            counted = metric.fake.num, metric.real.num
            for name, number, given in zip(names, counted, sides, strict=True):
                unreadable = getattr(given, "unreadable", {})
                if number < 2 and unreadable and not isinstance(given, Statistics):
                    file, why = next(iter(unreadable.items()))
                    few = "1 image" if number else "no image"
                    raise ValueError(f"{name} holds {few} that can be read, of {len(given):,}: {file}: {why}")
            self._check_sides(names, counted, sides)
            values: dict[str, float | Estimate] = dict(metric.values())
        estimates = {name: value for name, value in values.items() if isinstance(value, Estimate)}
        of_sides = zip(("num_fake", "num_real"), counted, sides, strict=True)
        protocol: dict[str, Any] = {key: n for key, n, side in of_sides if not isinstance(side, Statistics)}
        protocol |= metric.settings()
        return Result(values_of(values), protocol, intervals_of(values), estimates)

    def _check_sides(
        self, names: tuple[str, str], numbers: Sequence[int], sides: tuple[Images | Statistics, ...]
    ) -> None:
        for name, number, side in zip(names, numbers, sides, strict=True):
            if isinstance(side, Statistics):
                continue
            if number < 2:
                images = "1 image" if number else "no image that can be read"
                raise ValueError(f"{name} holds {images}: to compare distributions, give two or more on each side")
            self.check_numbers(**{f"images in {name}": number})


def _count(side: Side, images: Images, device: torch.device, batch_size: int, seen: Callable[[int], object]) -> None:
    for batch, positions in images.batches(batch_size):
        side.add(batch.to(device), positions)
        seen(len(batch))
    side.close()
