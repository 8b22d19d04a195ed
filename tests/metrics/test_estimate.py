"""Intervals, against closed forms and by simulation."""

import math
import statistics

import pytest
import torch
from common import needs
from torch import Tensor

from zoo.metrics.estimate import (
    Estimate,
    average,
    contributions,
    intervals_of,
    jackknife,
    mean_of,
    of_groups,
    share_of,
    student,
    values_of,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("degrees", [1, 1.5, 2, 7.3, 12, 1e3, 1e5])
def test_the_quantile_is_scipy_s(degrees: float, level: float) -> None:
    stats = needs("scipy.stats")
    assert student(degrees, level) == pytest.approx(stats.t.ppf(0.5 + level / 2, degrees), rel=1e-8)


def test_the_quantile_in_closed_form() -> None:
    assert student(1) == pytest.approx(math.tan(0.95 * math.pi / 2), rel=1e-12)
    assert student(2) == pytest.approx(0.95 * (2 / (1 - 0.95**2)) ** 0.5, rel=1e-12)
    assert student(1e6) == pytest.approx(statistics.NormalDist().inv_cdf(0.975), rel=1e-5)


def test_the_interval_of_a_mean_is_student_s() -> None:
    stats = needs("scipy.stats")
    rows = drawn(13)
    found = mean_of(rows)
    assert found.value == pytest.approx(float(rows.mean()))
    assert found.error == pytest.approx(statistics.stdev(rows.tolist()) / 13**0.5)
    assert found.interval() == pytest.approx(stats.t.interval(0.95, 12, found.value, found.error))
    assert found.interval(0.5) == pytest.approx(stats.t.interval(0.5, 12, found.value, found.error))


def test_a_share_has_the_binomial_s_error() -> None:
    found = share_of(30, 100)
    assert found.value == pytest.approx(0.3)
    assert found.error == pytest.approx((0.3 * 0.7 / 99) ** 0.5)


def test_a_share_of_none_or_all_has_clopper_and_pearson_s_interval() -> None:
    """0 of 500: at most p with (1 - p)^500 = 0.025."""
    low, high = share_of(0, 500).interval()
    assert low == 0
    assert (1 - high) ** 500 == pytest.approx(0.025)
    assert share_of(500, 500).interval() == pytest.approx((1 - high, 1))
    assert share_of(1, 500).interval()[0] == 0, "it is cut off there"


def test_the_interval_of_a_difference_of_two_means_is_welch_s() -> None:
    """With its degrees of freedom: fakes of one, reals of the other, where they are two sides of one value."""
    a, b = drawn(20), 3 * drawn(9, seed=1)
    stats = needs("scipy.stats")
    of_both = Estimate(float(a.mean() - b.mean()), contributions(a), -contributions(b))
    expected = stats.ttest_ind(a.numpy(), b.numpy(), equal_var=False).confidence_interval(0.95)
    assert of_both.interval() == pytest.approx((expected.low, expected.high))


def test_what_two_values_have_in_common_cancels() -> None:
    """d(fakes, reals) = mean of fakes - mean of reals: the difference does not depend on the reals."""
    reals, one, other = (
        contributions(100 * drawn(50)),
        contributions(drawn(30, seed=1)),
        contributions(drawn(40, seed=2)),
    )
    a, b = Estimate(2.0, one, reals), Estimate(1.5, other, reals)
    assert a.error > 10
    assert (a - b).value == 0.5
    assert (a - b).error == pytest.approx(float((one.square().sum() + other.square().sum()) ** 0.5))
    assert (a - a).value == 0
    assert (a - Estimate(1.5, other, contributions(100 * drawn(49)))).error > 10, "of other reals nothing cancels"


def test_pairs_of_one_input_cancel_to_the_differences() -> None:
    a, b = drawn(30), drawn(30) + 0.1 * drawn(30, seed=1)
    stats = needs("scipy.stats")
    found = mean_of(a, pairs=True) - mean_of(b, pairs=True)
    expected = stats.ttest_rel(a.numpy(), b.numpy()).confidence_interval(0.95)
    assert found.interval() == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("n", [None, 400])
def test_where_few_were_drawn_of_many_the_error_is_that_of_all(n: int | None) -> None:
    rows = drawn(100)
    error = float(contributions(rows, n).square().sum() ** 0.5)
    assert error == pytest.approx(statistics.stdev(rows.tolist()) / (n or 100) ** 0.5)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    """Of groups of one image; of larger ones, that of the groups' means."""
    fakes, reals = drawn(12), drawn(9, seed=1)
    value = lambda f, r: float(fakes[f].mean() - 2 * reals[r].mean())
    single = jackknife(value, 12, 9)
    assert single.value == pytest.approx(value(slice(None), slice(None)))
    assert single.fakes.abs() == pytest.approx(contributions(fakes).abs())
    assert single.reals.abs() == pytest.approx(2 * contributions(reals).abs())
    grouped = jackknife(value, 12, 9, groups=3)
    means = torch.stack([fakes[group::3].mean() for group in range(3)])
    assert float(grouped.fakes.square().sum()) == pytest.approx(float(means.var() / 3))


def test_groups_that_agree_have_no_interval_but_a_point() -> None:
    assert of_groups([1.0, 1.0]).tolist() == [0, 0]
    assert Estimate(2.0, of_groups([1.0, 1.0])).interval() == (2.0, 2.0)


def test_the_mean_of_values() -> None:
    """Of images that have nothing in common: the variance is the sum over the square of their number."""
    a, b = mean_of(drawn(20)), mean_of(drawn(30, seed=1))
    mean = average([a, b])
    assert isinstance(mean, Estimate)
    assert mean.value == pytest.approx((a.value + b.value) / 2)
    assert mean.error == pytest.approx((a.error**2 + b.error**2) ** 0.5 / 2)
    assert average([a, 1.0]) == pytest.approx((a.value + 1) / 2), "no interval, where one has none"


def test_values_and_intervals_apart() -> None:
    values = {"a": mean_of(drawn(5)), "b": 2.0}
    assert values_of(values) == {"a": values["a"].value, "b": 2.0}  # type: ignore[union-attr]
    assert intervals_of(values) == {"a": values["a"].interval()}  # type: ignore[union-attr]


def test_by_groups_about_95_of_100_intervals_hold_the_mean_over_draws() -> None:
    """Of a value that has no closed form, of one side alone."""
    found = []
    for seed in range(200):
        rows = drawn(400, seed=seed).square()
        found.append(jackknife(lambda f, _, rows=rows: float(rows[f].std()), 400, 0))  # type: ignore[misc]
    assert not len(found[0].reals)
    truth = statistics.fmean(e.value for e in found)
    assert 0.85 <= statistics.fmean(e.interval()[0] <= truth <= e.interval()[1] for e in found) <= 0.99
