"""Values with an interval: by how much they would be others, had other images been drawn.

    latents   a generator is measured on K disjoint sets of latents. A value is the mean of the K, its 95 % interval
              that of Student's t with K - 1 degrees of freedom. The real images are the same throughout
    inputs    of a translator there are no more inputs than the data has. A value is that of all of them, its variance
              by the delete-a-group jackknife (Kott 2001, Journal of Official Statistics 17(4)): K groups, of which each
              evaluation leaves one out, variance (K - 1) / K * sum (value_k - mean)^2; t as above. What depends on the
              number of images (a Frechet distance is biased) cancels there, since all K have the same number
    images    where each image has its own value: the mean over n images, and t with n - 1 degrees of freedom; of fewer
              than 5 images, the lowest and the highest

None of them says how far another training would come out.
"""

import copy
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from zoo.metrics.evaluator import Evaluator, Previews
from zoo.metrics.metric import Data, Plain, Result

LEAST = 5  # images, for an interval by t over them


class Figure(NamedTuple):
    """A value; its interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Figures:
    """What was measured, and how."""

    values: dict[str, Figure]
    protocol: dict[str, Plain]
    interval: str  # what it is, in words


def measured(
    evaluation: Evaluator, preview: Previews, data: Any, *, device: Any, protocol: Mapping[str, Plain],
    of_latents: bool, times: int,
) -> Figures:  # fmt: skip
    """Evaluate, and find the interval of each value. One process alone.

    Args:
        evaluation, preview, data, device, protocol: see `Evaluator.evaluate`.
        of_latents: whether fakes are of seeds, `batch.index`, so that there are any number of them.
        times: K above; 1: no interval.

    Raises:
        ValueError: as `Evaluator.evaluate`.
    """
    result = evaluation.evaluate(preview, data, device=device, protocol=protocol)
    if result.images:
        return Figures(over_images(result), result.protocol, in_words(result))
    if times < 2:
        return Figures({name: Figure(value) for name, value in result.values.items()}, result.protocol, "none")
    if of_latents:
        sets, step = [result.values], int(result.protocol["num_fake"])
        for k in range(1, times):
            shifted = lambda batch, start=k * step: preview(batch._replace(index=batch.index + start))
            sets.append(evaluation.evaluate(shifted, data, device=device, protocol=protocol).values)
        words = f"mean of {times} disjoint sets of {step:,} latents, 95 % interval of Student's t over them"
        seeds: dict[str, Plain] = {"seeds": f"0 to {times * step - 1}, in {times} sets"}
        figures = {name: by_t([values[name] for values in sets]) for name in result.values}
        return Figures(figures, result.protocol | seeds, words)
    groups = [
        of_inputs.evaluate(preview, part, device=device, protocol=protocol).values
        for of_inputs, part in without_each(evaluation, data, times)
    ]
    figures = {name: by_jackknife(value, [values[name] for values in groups]) for name, value in result.values.items()}
    words = f"value of all inputs, 95 % interval of Student's t by the jackknife over {times} groups of them"
    return Figures(figures, result.protocol, words)


def student(degrees: int) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def by_t(values: Sequence[float]) -> Figure:
    """The mean of independent values, and its 95 % interval."""
    mean, half = statistics.fmean(values), 0.0
    if len(values) > 1:
        half = student(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return Figure(mean, mean - half, mean + half)


def by_jackknife(value: float, others: Sequence[float]) -> Figure:
    """A value of everything, and its 95 % interval from those that leave a group out each."""
    k, mean = len(others), statistics.fmean(others)
    half = student(k - 1) * ((k - 1) / k * sum((other - mean) ** 2 for other in others)) ** 0.5
    return Figure(value, value - half, value + half)


def over_images(result: Result) -> dict[str, Figure]:
    """The means over images, of an evaluation that has the values of each."""
    figures = {}
    for name, value in result.values.items():
        of_images = [row[name] for row in result.images.values()]
        few = Figure(value, min(of_images), max(of_images))
        figures[name] = by_t(of_images) if len(of_images) >= LEAST else few
    return figures


def in_words(result: Result) -> str:
    """What the interval of `over_images` is."""
    n = len(result.images)
    if n < LEAST:
        return f"mean of {n} images, from the lowest to the highest"
    return f"mean of {n} images, 95 % interval of Student's t over them"


def without_each(evaluation: Evaluator, data: Any, groups: int) -> Iterator[tuple[Evaluator, Any]]:
    """The evaluation and the data of each part that lacks one of the groups."""
    total = min(evaluation.numbers(data))
    for group in range(groups):
        part = Without(data, group, groups)
        of_part = copy.copy(evaluation)
        of_part.num_real = of_part.num_fake = part.left(total)
        of_part.cache_dir, of_part._reals = None, {}  # of use to nobody later
        yield of_part, part


@dataclass(frozen=True)
class Without:
    """Data whose evaluations lack every `groups`-th position, from `group` on; the others close up."""

    data: Data
    group: int
    groups: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def left(self, total: int) -> int:
        """How many of so many positions are left."""
        return total - len(range(self.group, total, self.groups))

    def fingerprint(self, split: str) -> str:
        return f"{self.data.fingerprint(split)} without {self.group} of {self.groups}"

    def num_images(self, split: str) -> int:
        return self.left(self.data.num_images(split))

    def evaluation_loader(self, *, split: str, num: int, rank: int, world_size: int, batch_size: int) -> Iterator[Any]:
        assert (rank, world_size) == (0, 1)
        total = num
        while self.left(total) < num:
            total += 1
        whole = {"split": split, "num": total, "rank": 0, "world_size": 1, "batch_size": batch_size}
        for batch in self.data.evaluation_loader(**whole):  # type: ignore[arg-type]
            index = batch.index
            kept = index % self.groups != self.group
            if not bool(kept.any()):
                continue
            gone = (index + self.groups - 1 - self.group) // self.groups  # of the positions before
            yield type(batch)(*(field[kept] for field in batch._replace(index=index - gone)))
