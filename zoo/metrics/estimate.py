"""Values with an interval: by how much they would be others, had other images been drawn.

A value of m fakes and n reals that are drawn independently varies with both. What an image contributes to its deviation
is the image's influence, a first-order term of the value, so that

    variance = sum over fakes of c_i^2 + sum over reals of c_j^2

and the 95 % interval is the value +- Student's t * sqrt(variance), with the degrees of freedom of Welch and
Satterthwaite. The contributions come in one of two ways, which are one as groups become single images:

    influence   the infinitesimal jackknife (Efron 1982, "The jackknife, the bootstrap and other resampling plans",
                chapter 6): c_i = IF(x_i) / n, IF the influence function, known where a value is a smooth function of
                means. It is the limit of resampling images with replacement (the bootstrap), without its upward bias
                where a distance is near zero
    groups      the delete-a-group jackknife (Kott 2001, Journal of Official Statistics 17(4)): c_g = sqrt((G - 1) / G)
                (value without group g - mean of these), which also holds where a value is no smooth function

Where a real image and a fake belong together, being of one input, they are one draw: "pairs". The difference of two
values that were measured on the same reals, or pairs, has the difference of their contributions: what they have in
common cancels.

An interval is about the images: it holds what the value would be on average over draws of as many. It does not say how
far another training would come out, and it does not take away the bias of a value of few images (Chong and Forsyth
2020, arXiv:1911.07023).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

GROUPS = 20  # of images, where contributions are those of groups
WORDS = "95 %, over draws of as many images: see docs/metrics.md"


@dataclass(frozen=True)
class Estimate:
    """A value, and what each image or group contributes to its deviation: float64, by whose they are.

    Args:
        value: of all images.
        fakes: [m or groups], of generated images, which no other model has.
        reals: [n or groups], of real images, which are the same for another model measured alike.
        pairs: [n or groups], of images that belong together row by row; likewise the same for another model.
        least, most: what the value can't be below or above, nor its interval.
        draws: of a share, how many images it is of: where it is 0 or 1 its interval is Clopper and Pearson's of these.
    """

    value: float
    fakes: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    reals: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    pairs: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    least: float = -math.inf
    most: float = math.inf
    draws: int = 0

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.fakes, self.reals, self.pairs

    @property
    def error(self) -> float:
        """The standard error of the value."""
        return sum(float(part.square().sum()) for part in self.parts) ** 0.5

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Its ends."""
        if self.draws and not self.error and self.value in (0, 1):
            beyond = 1 - (0.5 - level / 2) ** (1 / self.draws)
            return (0.0, beyond) if self.value == 0 else (1 - beyond, 1.0)
        half = student(self._degrees(), level) * self.error if self.error else 0.0
        return max(self.value - half, self.least), min(self.value + half, self.most)

    def _degrees(self) -> float:
        """Of freedom, of the variance: Welch and Satterthwaite's."""
        variances = [(float(part.square().sum()), len(part) - 1) for part in self.parts if len(part) > 1]
        return sum(v for v, _ in variances) ** 2 / sum(v**2 / n for v, n in variances)

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference of two values on the same reals or pairs."""
        fakes = torch.cat([self.fakes, -other.fakes])
        reals, pairs = _minus(self.reals, other.reals), _minus(self.pairs, other.pairs)
        return Estimate(self.value - other.value, fakes, reals, pairs)


def _minus(a: Tensor, b: Tensor) -> Tensor:
    return a - b if len(a) == len(b) else torch.cat([a, -b])


def student(degrees: float, level: float = 0.95) -> float:
    """The quantile of Student's t within which so much of it lies, for 1 degree of freedom or more.

    With t = sqrt(degrees) tan(a), the probability of [-t, t] is the integral of cos(a)^(degrees - 1) from -a to a, over
    that from -pi/2 to pi/2. It is concave in a, so that Newton's steps from 0 approach the quantile from below.
    """
    scale = 2 / math.sqrt(math.pi) * math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2))
    nodes, weights = np.polynomial.legendre.leggauss(100)  # on [-1, 1]
    angle = 0.0
    for _ in range(100):
        density = scale * math.cos(angle) ** (degrees - 1)
        covered = angle * scale * float(weights @ np.cos(angle * (nodes + 1) / 2) ** (degrees - 1)) / 2
        step = (level - covered) / density
        angle += step
        if abs(step) <= 1e-15 * angle:
            break
    return math.sqrt(degrees) * math.tan(angle)


def contributions(influence: Tensor, n: int | None = None) -> Tensor:
    """What images contribute to a value, float64 [k], of their influences [k].

    Args:
        n: of how many images the value is, where these k were drawn from them; None: of these.
    """
    k = len(influence)
    centred = influence.double() - influence.double().mean()
    return centred / ((n or k) * max(k - 1, 1)) ** 0.5


def mean_of(rows: Tensor, *, pairs: bool = False) -> Estimate:
    """The mean of a value of each fake [m], or of each pair."""
    value = float(rows.double().mean())
    each = contributions(rows)
    return Estimate(value, pairs=each) if pairs else Estimate(value, fakes=each)


def share_of(count: int, total: int) -> Estimate:
    """The share of the fakes that are so."""
    return as_share(mean_of((torch.arange(total) < count).double()), total)


def as_share(estimate: Estimate, draws: int) -> Estimate:
    """A value that is a share of so many images."""
    return replace(estimate, least=0.0, most=1.0, draws=draws)


def of_groups(values: Sequence[float] | Tensor) -> Tensor:
    """What groups contribute, float64 [groups], of the values that leave one out each."""
    without = torch.as_tensor(values, dtype=torch.float64)
    if not len(without):  # a side that the value does not look at
        return without
    return (without - without.mean()) * ((len(without) - 1) / len(without)) ** 0.5


def average(values: Sequence[float | Estimate]) -> float | Estimate:
    """The mean of values of images that have nothing in common; an estimate where all are."""
    n, mean = len(values), sum(v.value if isinstance(v, Estimate) else v for v in values) / len(values)
    estimates = [value for value in values if isinstance(value, Estimate)]
    if len(estimates) < n:
        return mean
    fakes, reals, pairs = (torch.cat(part) / n for part in zip(*(e.parts for e in estimates), strict=True))
    return Estimate(
        mean, fakes, reals, pairs, least=min(e.least for e in estimates), most=max(e.most for e in estimates)
    )


def jackknife(value: Callable[[Tensor, Tensor], float], m: int, n: int, groups: int = GROUPS) -> Estimate:
    """A value of m fakes and n reals, by groups: image i is in group i % groups.

    Args:
        value: of the rows that are kept: masks bool [m] and [n].
    """
    every = torch.ones(m, dtype=torch.bool), torch.ones(n, dtype=torch.bool)

    def without(side: int, number: int) -> Tensor:
        members = torch.arange(number) % groups
        kept = [[*every[:side], members != group, *every[side + 1 :]] for group in range(min(groups, number))]
        return of_groups([value(*masks) for masks in kept])

    return Estimate(value(*every), fakes=without(0, m), reals=without(1, n))


def values_of(values: Mapping[str, "float | Estimate"]) -> dict[str, float]:
    """The values alone."""
    return {name: value.value if isinstance(value, Estimate) else value for name, value in values.items()}


def intervals_of(values: Mapping[str, "float | Estimate"]) -> dict[str, tuple[float, float]]:
    """The intervals of those that have one."""
    return {name: value.interval() for name, value in values.items() if isinstance(value, Estimate)}
