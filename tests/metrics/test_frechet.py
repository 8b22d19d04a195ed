"""The Frechet distance and its interval, against closed forms, other code, derivatives and simulation."""

import statistics
from collections.abc import Callable

import numpy as np
import pytest
import torch
from common import needs
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from zoo.metrics.estimate import Estimate
from zoo.metrics.frechet import Moments, estimate, frechet, moments

F = 8


def drawn(n: int, seed: int, features: int = F) -> Tensor:
    """Features of another spread in each direction, which depend on each other."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    return torch.randn(n, features, generator=generator, dtype=torch.float64) @ mixing / features**0.5


def of_rows(real: Tensor, fake: Tensor, *, paired: bool = False) -> Estimate:
    return estimate(moments(real), moments(fake), real, fake, paired=paired)


def test_of_normal_distributions_in_closed_form() -> None:
    """Where covariances commute it is |mu_r - mu_f|^2 + sum (s_r - s_f)^2, of standard deviations s."""
    a, b = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 0.1, 0.5]).double()
    turn = torch.linalg.qr(drawn(3, 0, 3)).Q
    real = Moments(10, torch.zeros(3).double(), turn * a.square() @ turn.T)
    fake = Moments(10, torch.tensor([3.0, 4.0, 0.0]).double(), turn * b.square() @ turn.T)
    assert frechet(real, fake) == pytest.approx(25 + float((a - b).square().sum()))
    assert frechet(fake, real) == pytest.approx(frechet(real, fake))


@pytest.mark.parametrize("n", [5, 40])
def test_equal_sets_are_at_distance_zero(n: int) -> None:
    rows = drawn(n, 0)
    found = of_rows(rows, rows.clone())
    assert found.value == pytest.approx(0, abs=1e-6)
    assert np.isfinite(found.interval()).all()


@pytest.mark.parametrize(("n", "m"), [(40, 60), (5, 60), (40, 5), (5, 4)])
def test_it_is_the_definition_by_scipy_s_root(n: int, m: int) -> None:
    """Also of fewer images than features, whose covariance is singular."""
    real, fake = drawn(n, 0), drawn(m, 1) * 1.3 + 0.2
    covariances = [np.cov(rows.numpy(), rowvar=False) for rows in (real, fake)]
    product = needs("scipy.linalg").sqrtm(covariances[0] @ covariances[1])
    expected = float((real.mean(0) - fake.mean(0)).square().sum()) + np.trace(sum(covariances)) - 2 * np.trace(product)
    assert frechet(moments(real), moments(fake)) == pytest.approx(expected.real, abs=1e-6)


class Flat(nn.Module):
    num_features = F

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def test_it_is_torchmetrics() -> None:
    judge = FrechetInceptionDistance(feature=Flat(), input_img_size=(1, 2, F // 2), normalize=True).set_dtype(
        torch.float64
    )
    real, fake = drawn(70, 0), drawn(50, 1) + 0.3
    judge.update(real.view(-1, 1, 2, F // 2), real=True)
    judge.update(fake.view(-1, 1, 2, F // 2), real=False)
    assert frechet(moments(real), moments(fake)) == pytest.approx(float(judge.compute()), abs=1e-6)


def weighted(rows: Tensor, weight: Tensor) -> Moments:
    """Moments of rows that count so often; with n, as the influence function has them."""
    mean = (weight[:, None] * rows).sum(0) / weight.sum()
    away = rows - mean
    return Moments(len(rows), mean, (weight[:, None] * away).T @ away / weight.sum())


def derivative(value: Callable[[Tensor], float], row: int, n: int, step: float = 1e-4) -> float:
    """How the value grows as a row gets more weight and all others less: n times that of its own weight."""
    change = torch.zeros(n).double()
    change[row] = step
    return n * (value(1 + change) - value(1 - change)) / (2 * step)


def test_what_an_image_contributes_is_the_derivative_by_its_weight() -> None:
    """c_i = IF(x_i) / n; numerically, with the covariances' n - 1 taken for n, as in the limit."""
    real, fake = drawn(60, 0), drawn(50, 1) * 1.5 + 0.4
    whole = [weighted(rows, torch.ones(len(rows)).double()) for rows in (real, fake)]
    found = estimate(whole[0], whole[1], real, fake)
    of_fakes = [derivative(lambda w: frechet(whole[0], weighted(fake, w)), row, 50) / 50 for row in range(50)]
    of_reals = [derivative(lambda w: frechet(weighted(real, w), whole[1]), row, 60) / 60 for row in range(60)]
    scale = (50 / 49) ** 0.5, (60 / 59) ** 0.5  # of a sample's variance
    assert found.fakes.tolist() == pytest.approx([c * scale[0] for c in of_fakes], rel=1e-4, abs=1e-6)
    assert found.reals.tolist() == pytest.approx([c * scale[1] for c in of_reals], rel=1e-4, abs=1e-6)


def covered(estimates: list[Estimate]) -> float:
    """The share of the intervals that hold the mean over all draws."""
    truth = statistics.fmean(e.value for e in estimates)
    return statistics.fmean(e.interval()[0] <= truth <= e.interval()[1] for e in estimates)


REPEATS = range(200)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_about_95_of_100_intervals_hold_the_mean_over_draws(shift: float) -> None:
    found = [of_rows(drawn(300, 2 * seed), drawn(400, 2 * seed + 1) * (1 + shift) + shift) for seed in REPEATS]
    # Near zero the distance is mostly its bias, of second order, of which a first-order interval knows too little.
    assert (0.91 if shift else 0.85) <= covered(found) <= 0.99


def test_they_do_so_where_few_rows_are_kept_of_many() -> None:
    found = []
    for seed in REPEATS:
        real, fake = drawn(800, 2 * seed), drawn(600, 2 * seed + 1) * 1.3 + 0.3
        found.append(estimate(moments(real), moments(fake), real[:150], fake[:150]))
    assert 0.91 <= covered(found) <= 0.99


@pytest.mark.slow
def test_they_do_so_where_a_fake_belongs_to_a_real() -> None:
    """A fake that is its real, and noise: as two draws, the interval would be far too wide."""
    found, apart = [], []
    for seed in REPEATS:
        real = drawn(300, 2 * seed)
        fake = 1.2 * real + 0.5 + 0.2 * drawn(300, 2 * seed + 1)
        found.append(of_rows(real, fake, paired=True))
        apart.append(of_rows(real, fake))
    assert 0.91 <= covered(found) <= 0.99
    assert len(found[0].pairs) == 300
    assert len(found[0].fakes) == len(found[0].reals) == 0
    assert covered(apart) == 1


@pytest.mark.parametrize("shared", [True, False])
def test_two_generators_that_are_alike_differ_by_chance_alone_once_in_20(shared: bool) -> None:
    """On the same reals, which cancel; on reals of their own, too."""
    false_alarms = []
    for seed in REPEATS:
        real = drawn(300, 4 * seed)
        others = real if shared else drawn(300, 4 * seed + 3)
        a, b = (drawn(300, 4 * seed + i) * 1.2 + 0.2 for i in (1, 2))
        low, high = (of_rows(real, a) - of_rows(others, b)).interval()
        false_alarms.append(not low <= 0 <= high)
    assert 0.01 <= statistics.fmean(false_alarms) <= 0.09


def test_reals_that_are_shared_make_the_difference_surer() -> None:
    """Few reals, many fakes: each value is unsure, and the difference is not."""
    real, a, b = drawn(100, 0), drawn(2_000, 1) + 0.5, drawn(2_000, 2) + 0.6
    one, other = of_rows(real, a), of_rows(real, b)
    difference = one - other
    assert difference.error < 0.5 * one.error
    assert difference.interval()[1] < 0, "a is nearer"
