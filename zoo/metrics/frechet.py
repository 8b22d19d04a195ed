"""The Frechet distance of two sets of features, and what each image contributes to it.

    d^2 = |mu_r - mu_f|^2 + tr(S_r + S_f - 2 (S_r^(1/2) S_f S_r^(1/2))^(1/2))        Heusel et al. 2017,
                                                                    arXiv:1706.08500, eq. 6; Dowson and Landau 1982
In the symmetric form above, by two decompositions, whose eigenvectors the influences need too: torchmetrics, which it
equals (tests/metrics/test_frechet.py), gives the value alone.

Its influence functions follow from d^2's derivatives. With T the optimal map between the two normal distributions,
T_f = S_r^(1/2) M^(-1/2) S_r^(1/2) with M = S_r^(1/2) S_f S_r^(1/2), and T_r its inverse, the derivative by S_f is
1 - T_f, that by S_r is 1 - T_r (Bures' metric: Bhatia, Jain and Lim 2019, Expositiones Mathematicae 37), so that a fake
at mu_f + y has the influence 2 (mu_f - mu_r) . y + y' (1 - T_f) y, up to a constant, and a real the same with r and f
exchanged.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from zoo.metrics.estimate import Estimate, contributions

RANK = 1e-12  # eigenvalues below this part of their sum are none


class Moments(NamedTuple):
    n: int  # of how many images
    mean: Tensor  # [F] float64
    covariance: Tensor  # [F, F] float64, with n - 1


def moments(features: Tensor) -> Moments:
    """Those of features [n, F]."""
    rows = features.double()
    return of_sums(len(rows), rows.sum(0), rows.T @ rows)


def of_sums(count: int, total: Tensor, products: Tensor) -> Moments:
    """Of the sum [F] of features and that of their products [F, F], float64."""
    mean = total / count
    return Moments(count, mean, (products - count * mean.outer(mean)) / (count - 1))


def frechet(real: Moments, fake: Moments) -> float:
    """The distance; 0 for equal moments."""
    return _solved(real, fake)[0]


def estimate(real: Moments, fake: Moments, real_rows: Tensor, fake_rows: Tensor, *, paired: bool = False) -> Estimate:
    """The distance with the contributions of images.

    Args:
        real, fake: the moments of all images.
        real_rows, fake_rows: features [k, F] of some that were drawn from them, or of all.
        paired: whether a real and a fake of one row belong together.
    """
    solved = _solved(real, fake)
    of_reals, of_fakes = _influences(solved, real, fake, real_rows, fake_rows)
    fakes, reals = contributions(of_fakes, fake.n), contributions(of_reals, real.n)
    if paired and len(fakes) == len(reals):
        return Estimate(solved[0], pairs=fakes + reals, least=0.0)
    return Estimate(solved[0], fakes=fakes, reals=reals, least=0.0)


def influences(real: Moments, fake: Moments, real_rows: Tensor, fake_rows: Tensor) -> tuple[Tensor, Tensor]:
    """Those of some reals and fakes on the distance, [k] each, by their features [k, F]."""
    return _influences(_solved(real, fake), real, fake, real_rows, fake_rows)


Solved = tuple[float, Tensor, Tensor, Tensor, Tensor]


def _influences(
    solved: Solved, real: Moments, fake: Moments, real_rows: Tensor, fake_rows: Tensor
) -> tuple[Tensor, Tensor]:
    _, roots, inverse, m, u = solved
    apart = fake.mean - real.mean
    quarter = torch.where(m > RANK * m.sum(), m, torch.inf).pow(-0.25)
    y = fake_rows.double() - fake.mean
    of_fakes = 2 * y @ apart + y.square().sum(1) - (y @ roots @ u * quarter).square().sum(1)
    y = real_rows.double() - real.mean
    of_reals = -2 * y @ apart + y.square().sum(1) - (y @ inverse @ u * m.pow(0.25)).square().sum(1)
    return of_reals, of_fakes


def _solved(real: Moments, fake: Moments) -> Solved:
    """The distance; S_r^(1/2) and its pseudoinverse, [F, r], in the r directions in which S_r is not 0, so that square
    roots of rounding errors in the others do not add up; eigenvalues and eigenvectors of M there."""
    e, v = torch.linalg.eigh(real.covariance)
    kept = e > RANK * e.sum()
    e, v = e[kept], v[:, kept]
    roots, inverse = v * e.sqrt(), v * e.rsqrt()
    m, u = torch.linalg.eigh(roots.T @ fake.covariance @ roots)
    m = m.clamp_min(0)
    traces = real.covariance.trace() + fake.covariance.trace()
    value = (real.mean - fake.mean).square().sum() + traces - 2 * m.sqrt().sum()
    return max(float(value), 0.0), roots, inverse, m, u  # of equal moments rounding may leave less than 0
