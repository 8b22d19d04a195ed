"""The Frechet distance extrapolated to infinitely many fakes.

Chong and Forsyth 2020, arXiv:1911.07023, section 4: a distance of N fakes is biased upwards by about a constant over N,
another one for each generator, so that comparing at equal N does not help. FID_N is measured for several N, a line is
fitted to it over 1/N by least squares, and its value at 1/N = 0 is FID_infinity.

As in their code (mchong6/FID_IS_infinity, score_infinity.py): 15 numbers at equal steps from N/10 to N (theirs: 5,000
to 50,000), each with fakes of its own drawn without replacement from the N.

Departures: the latents are independent, not of a Sobol sequence; the smallest number is at least twice that of the
features where N/2 allows for it, since a covariance of fewer images has no full rank, and the bias is no line there;
the draws have a fixed seed; where there are few features, so that a distance costs next to nothing, FID_N is the mean
over 16 draws for each number: the least ones are the noisiest, and a single draw moved FID_infinity of 5,000 fakes by
0.2 where FID was 0.28. The bias of few reals stays: with n reals it is as large as that of n fakes.

The interval is that of `zoo.metrics.estimate`: FID_infinity is a sum of the FID_N with the weights w_N that least
squares gives to each, so that a fake's contribution is its influence times the sum of w_N / N over the draws that it is
in. With a single draw for each number, as theirs, the standard error is 1.16 times that of FID_N; with 16, 1.01 times.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from zoo.metrics.estimate import Estimate, contributions
from zoo.metrics.frechet import Moments, frechet, influences, moments

POINTS = 15  # numbers of fakes
SEED = 0  # of the draws
FEW_FEATURES = 256  # up to which there are so many draws for each number, else one
DRAWS = 16


class Subset(NamedTuple):
    """Some of the fakes."""

    moments: Moments
    rows: Tensor  # [n] which
    weight: float  # of its distance in the one that is extrapolated


def numbers_of(n: int, features: int) -> Tensor:
    """The numbers of fakes that are measured, int64 [POINTS], increasing to n."""
    first = max(n / 10, min(n / 2, 2 * features), 2)
    return torch.linspace(first, n, POINTS, dtype=torch.float64).long()


def weights_of(numbers: Tensor) -> Tensor:
    """What least squares gives to each distance in the line's value at 1/N = 0, float64 [POINTS]: their sum is 1."""
    x = 1 / numbers.double()
    centred = x - x.mean()
    return 1 / len(x) - x.mean() * centred / centred.square().sum()


def subsets(features: Tensor, draws: int | None = None) -> list[Subset]:
    """The draws from the features [n, F] of the fakes.

    Args:
        draws: for each number; None: by how many features there are.

    Raises:
        ValueError: fewer than 30 fakes, which leave no line.
    """
    if len(features) < 2 * POINTS:
        raise ValueError(f"{len(features)} fakes: to extrapolate their distance, make {2 * POINTS} or more")
    draws = draws or (DRAWS if features.shape[1] <= FEW_FEATURES else 1)
    numbers = numbers_of(*features.shape)
    generator = torch.Generator().manual_seed(SEED)
    of_numbers = zip(numbers.tolist() * draws, (weights_of(numbers) / draws).tolist() * draws, strict=True)
    drawn = ((torch.randperm(len(features), generator=generator)[:number], weight) for number, weight in of_numbers)
    return [Subset(moments(features[rows]), rows, weight) for rows, weight in drawn]


def extrapolated(
    real: Moments, fake: Moments, draws: list[Subset], real_rows: Tensor, fake_rows: Tensor,
    chosen: Tensor | None = None, *, paired: bool = False,
) -> Estimate:  # fmt: skip
    """FID_infinity, with the contributions of images.

    Args:
        real, fake: the moments of all images.
        draws: `subsets` of the fakes.
        real_rows: features of some reals, drawn from all.
        fake_rows: features of some fakes, or of all.
        chosen: [k] which of those that were given to `subsets`; None: the first ones.
        paired: whether a real and a fake of one row belong together.
    """
    value = sum(draw.weight * frechet(real, draw.moments) for draw in draws)
    share = torch.zeros(fake.n, dtype=torch.float64)  # what the value has of each fake's influence
    for draw in draws:
        share[draw.rows] += draw.weight / draw.moments.n
    of_reals, of_fakes = influences(real, fake, real_rows, fake_rows)
    k = len(fake_rows)
    share = share[:k] if chosen is None else share[chosen]
    fakes = (of_fakes - of_fakes.mean()) * share * (fake.n / max(k - 1, 1)) ** 0.5
    reals = contributions(of_reals, real.n)
    if paired and len(fakes) == len(reals):
        return Estimate(value, pairs=fakes + reals)
    return Estimate(value, fakes=fakes, reals=reals)
