"""Whether two models differ: by simulation where the truth is known, and in words."""

import statistics

import pytest
import torch
from torch import Tensor

from zoo.metrics.difference import differ, times_as_many, verdict
from zoo.metrics.estimate import Estimate, contributions, mean_of
from zoo.metrics.frechet import estimate, moments


def drawn(n: int, seed: int, features: int = 6) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance(real: Tensor, fake: Tensor) -> Estimate:
    return estimate(moments(real), moments(fake), real, fake)


@pytest.mark.slow
def test_models_that_are_alike_seldom_look_different_and_different_ones_do() -> None:
    """200 pairs of Gaussian generators on the same reals: about 1 in 20 false alarms."""
    alarms, found = [], []
    for seed in range(200):
        real, a, b = drawn(250, 3 * seed), drawn(200, 3 * seed + 1) + 0.3, drawn(200, 3 * seed + 2) + 0.3
        of_a = distance(real, a)
        alarms.append(differ(of_a - distance(real, b)))
        found.append(differ(of_a - distance(real, b + 0.2)))
    assert 0.01 <= statistics.fmean(alarms) <= 0.09
    assert statistics.fmean(found) > 0.95


def test_identical_models_have_a_difference_of_exactly_nothing() -> None:
    real, fake = drawn(100, 0), drawn(80, 1)
    a, b = distance(real, fake), distance(real, fake.clone())
    assert (a - b).value == 0
    assert not differ(a - b)
    assert verdict("fid", a, b, -1.0) == "fid: A and B are equal, image for image"


def test_in_words() -> None:
    reals = contributions(drawn(100, 0, 1)[:, 0])
    value = lambda v, seed: Estimate(v, contributions(drawn(400, seed, 1)[:, 0]), reals)
    said = verdict("fid_mnist", value(3.0, 1), value(4.2, 2), -1.0, ("A", "C"))
    assert said.startswith("fid_mnist: A is lower by 1.2 [1.")
    assert said.endswith("] than C: they differ, A is better")
    assert verdict("auroc", value(3.0, 1), value(4.2, 2), 1.0).endswith("they differ, B is better")
    near = verdict("fid", value(3.0, 1), value(3.05, 2), -1.0)
    assert "A and B can't be told apart by these images; if they differ by as much as it looks, " in near
    assert near.endswith(" times as many fakes would show it")
    pairs = verdict("psnr", mean_of(drawn(50, 1, 1), pairs=True), mean_of(drawn(50, 2, 1), pairs=True), 1.0)
    assert "fakes" not in pairs


def test_so_many_times_as_many_images_do_show_it() -> None:
    """With the contributions that so many would have, the interval just ends at zero."""
    a, b = (Estimate(v, contributions(drawn(300, s, 1)[:, 0])) for v, s in ((1.0, 1), (1.06, 2)))
    difference = a - b
    assert not differ(difference)
    times = times_as_many(difference)
    assert times
    assert times > 1
    more = Estimate(difference.value, difference.fakes / times**0.5)
    assert more.interval()[1] == pytest.approx(0, abs=1e-6)
    assert times_as_many(Estimate(0.0, difference.fakes)) is None
    unsure = Estimate(0.1, difference.fakes, reals=contributions(10 * drawn(30, 3, 1)[:, 0]))
    assert times_as_many(unsure) is None, "where what is unsure is the reals, no number of fakes helps"
