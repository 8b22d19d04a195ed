"""FID of infinitely many fakes, on normal distributions whose distance is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.metrics.estimate import Estimate
from zoo.metrics.frechet import Moments, estimate, frechet, moments
from zoo.metrics.infinity import POINTS, extrapolated, numbers_of, subsets, weights_of

FEATURES = 24


@pytest.fixture(scope="module")
def worlds() -> tuple[Moments, Tensor, Moments, Tensor, float]:
    """Moments and square root of the covariance of reals and fakes, and their distance."""
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.randn(FEATURES, FEATURES, generator=generator).double() / FEATURES**0.5 for _ in range(2))
    roots = first, first + 0.15 * second
    means = torch.zeros(FEATURES).double(), torch.full((FEATURES,), 0.1).double()
    real, fake = (Moments(10**9, mean, root @ root.T) for mean, root in zip(means, roots, strict=True))
    return real, roots[0], fake, roots[1], frechet(real, fake)


def drawn(world: Moments, root: Tensor, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return world.mean + torch.randn(n, FEATURES, generator=generator).double() @ root.T


def both(real: Moments, real_rows: Tensor, fakes: Tensor) -> tuple[Estimate, Estimate]:
    of_fakes = moments(fakes)
    return (
        estimate(real, of_fakes, real_rows, fakes),
        extrapolated(real, of_fakes, subsets(fakes), real_rows, fakes),
    )


@pytest.mark.slow
def test_the_true_distance_lies_in_its_interval_where_the_measured_one_is_biased(worlds) -> None:
    real, real_root, fake, fake_root, truth = worlds
    real_rows = drawn(real, real_root, 500, 0)  # of 1e9, so that they do not add to the interval
    pairs = [both(real, real_rows, drawn(fake, fake_root, 400, seed)) for seed in range(1, 41)]

    def covers(value: Estimate) -> bool:
        low, high = value.interval()
        return low <= truth <= high

    plain, infinite = (np.array([pair[i].value for pair in pairs]) for i in (0, 1))
    assert plain.mean() - truth > 5 * abs(infinite.mean() - truth)
    assert sum(covers(pair[0]) for pair in pairs) < 20
    assert sum(covers(pair[1]) for pair in pairs) >= 33  # of 40, at 95 %
    errors = np.mean([pair[1].error for pair in pairs])
    assert errors == pytest.approx(infinite.std(ddof=1), rel=0.35)


def test_it_is_numpys_line_through_their_distances(worlds) -> None:
    real, real_root, fake, fake_root, _ = worlds
    fakes = drawn(fake, fake_root, 3_000, 1)
    draws = subsets(fakes, 1)
    numbers = np.array([draw.moments.n for draw in draws])
    assert numbers.tolist() == np.linspace(300, 3_000, 15).astype(int).tolist()
    for draw in draws:
        assert len(draw.rows.unique()) == draw.moments.n
        assert torch.allclose(draw.moments.covariance, fakes[draw.rows].T.cov())
    line = np.polyfit(1 / numbers, [frechet(real, draw.moments) for draw in draws], 1)
    rows = drawn(real, real_root, 100, 2)
    assert extrapolated(real, moments(fakes), draws, rows, fakes).value == pytest.approx(line[1], rel=1e-9)


def test_numbers_of_fakes() -> None:
    assert numbers_of(50_000, 2048).tolist() == np.linspace(5_000, 50_000, 15).astype(int).tolist()  # the paper's
    assert numbers_of(10_000, 2048)[0] == 4096  # a covariance of 1,000 has no full rank
    assert numbers_of(5_000, 2048)[0] == 2500
    assert float(weights_of(numbers_of(700, 10)).sum()) == pytest.approx(1)
    with pytest.raises(ValueError, match="20 fakes"):
        subsets(torch.zeros(2 * POINTS - 10, 3))


def test_the_intervals_of_some_fakes_are_those_of_all(worlds) -> None:
    real, real_root, fake, fake_root, _ = worlds
    fakes, rows = drawn(fake, fake_root, 4_000, 1), drawn(real, real_root, 500, 2)
    draws, of_fakes = subsets(fakes), moments(fakes)
    some, every = (extrapolated(real, of_fakes, draws, rows, fakes[:k]) for k in (1_000, 4_000))
    assert some.value == every.value
    assert some.error == pytest.approx(every.error, rel=0.1)
    plain = estimate(real, of_fakes, rows, fakes)
    assert every.error == pytest.approx(1.01 * plain.error, rel=0.02)
    single = extrapolated(real, of_fakes, subsets(fakes, 1), rows, fakes)
    assert single.error == pytest.approx(1.16 * plain.error, rel=0.05)
