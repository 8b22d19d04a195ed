"""Second-order degradations: each part against its formula, the whole against itself, and as data.degradation."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data import second_order as so
from zoo.data.module import seeded
from zoo.data.second_order import FIRST, SECOND, SecondOrder
from zoo.data.super_resolution import Photos

IMAGE = torch.randint(0, 256, (3, 64, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def smooth(*shape: int) -> Tensor:
    """An image in the middle of its range, with slopes."""
    line = torch.linspace(0.4, 0.6, shape[-1], dtype=torch.float64)
    return line.expand(*shape).contiguous()


def test_a_gaussian_has_its_variances_along_its_axes() -> None:
    kernel = so.blur_kernel(41, (3.0, 1.0), math.pi / 6, 1.0, plateau=False)
    y, x = so.grid(41)
    for angle, sigma in ((math.pi / 6, 3.0), (math.pi / 6 + math.pi / 2, 1.0)):
        along = x * math.cos(angle) + y * math.sin(angle)
        assert float((kernel * along**2).sum()) == pytest.approx(sigma**2, rel=1e-3)
    assert float(kernel.sum()) == pytest.approx(1)


@pytest.mark.parametrize(("beta", "plateau"), [(0.5, False), (4.0, False), (1.0, True), (2.0, True)])
def test_generalised_and_plateau_kernels_are_their_formula(beta: float, plateau: bool) -> None:
    kernel = so.blur_kernel(9, (1.5, 2.5), 0.0, beta, plateau=plateau)
    at = lambda x, y: ((x / 1.5) ** 2 + (y / 2.5) ** 2) ** beta
    value = lambda x, y: 1 / (1 + at(x, y)) if plateau else math.exp(-at(x, y) / 2)
    assert float(kernel[4 + 2, 4 - 3] / kernel[4, 4]) == pytest.approx(value(-3, 2) / value(0, 0))


def test_the_sinc_is_eq_6() -> None:
    """J_1 by its integral, (1 / pi) of cos(t - r sin t) from 0 to pi; the middle is the limit of what is around it."""
    cutoff, t = 2.0, (np.arange(20_000) + 0.5) / 20_000 * math.pi
    j1 = lambda r: float(np.cos(t - r * np.sin(t)).mean())
    value = lambda r: cutoff / (2 * math.pi * r) * j1(cutoff * r)
    kernel = so.sinc(7, cutoff)
    assert float(kernel[3, 5] / kernel[2, 2]) == pytest.approx(value(2) / value(math.sqrt(2)), rel=1e-6)
    assert float(kernel[3, 3] / kernel[3, 4]) == pytest.approx(value(1e-4) / value(1), rel=1e-6)


@pytest.mark.parametrize("size", [(30, 41), (5, 4), (1, 1)])
def test_filtering_is_a_convolution_with_repeated_edges(size: tuple[int, int]) -> None:
    image, kernel = torch.rand(3, *size, dtype=torch.float64), torch.rand(7, 7, dtype=torch.float64)
    wide = F.pad(image[:, None], (3, 3, 3, 3), mode="replicate")
    expected = F.conv2d(wide, kernel.flip(0, 1)[None, None])[:, 0]
    torch.testing.assert_close(so.filtered(image, kernel), expected)


def test_kernels_come_as_often_as_the_paper_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4000 the shares are within four standard deviations; the sizes are odd, from 7 to 21."""
    seen: list[tuple[str, int]] = []
    monkeypatch.setattr(so, "sinc", lambda size, cutoff: seen.append(("sinc", size)))
    kind = lambda beta, plateau: "plateau" if plateau else "gaussian" if beta == 1 else "generalised"
    blurs = lambda size, sigmas, angle, beta, plateau: seen.append((kind(beta, plateau), size))
    monkeypatch.setattr(so, "blur_kernel", blurs)
    generator, n = seeded(3), 4000
    for _ in range(n):
        so.kernel(FIRST, generator)
    for name, share in {"sinc": 0.1, "gaussian": 0.63, "generalised": 0.135, "plateau": 0.135}.items():
        found = sum(kind == name for kind, _ in seen) / n
        assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / n), name
    assert {size for _, size in seen} == set(range(7, 22, 2))


def test_resizes_are_as_often_up_and_down_as_the_paper_has_them() -> None:
    generator, n = seeded(4), 3000
    for stage in (FIRST, SECOND):
        factors = np.array([so.factor(stage, generator) for _ in range(n)])
        assert stage.factors[0] <= factors.min() < 1 < factors.max() <= stage.factors[1]
        shares = (factors > 1).mean(), (factors < 1).mean(), (factors == 1).mean()
        assert np.abs(np.array(shares) - stage.directions).max() < 4 * 0.5 / math.sqrt(n)


def test_the_numbers_are_section_4_1s() -> None:
    """And the authors' options for x4: blur, sigma, up / down / keep, factors, noise, Poisson, JPEG."""
    assert FIRST == (1.0, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1, 30), (0.05, 3.0), (30, 95))
    assert SECOND == (0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5), (30, 95))
    assert (so.SINC, so.FINAL_SINC, so.GREY, sum(so.FAMILIES.values())) == (0.1, 0.8, 0.4, pytest.approx(1))


def test_noise_has_the_levels_that_it_is_asked_for() -> None:
    """Gaussian: its standard deviation. Poisson of 256 quanta: variance light / 256, times the scale squared. Noise
    that is grey is one in all channels."""
    image = torch.full((3, 60, 80), 0.5, dtype=torch.float64)
    image[0, 0] = torch.arange(80) / 255
    image[0, 1] = torch.arange(80, 160) / 255
    image[0, 2] = torch.arange(160, 240) / 255
    image[0, 3, :16] = torch.arange(240, 256) / 255  # all 256 levels, so that there are as many quanta
    kinds = set()
    for seed in range(24):
        stage = FIRST._replace(noise=(20, 20), poisson=(2, 2))
        noise = (so.noisy(image, stage, seeded(seed)) - image)[:, 10:]
        grey = bool((noise[0] - noise[1]).abs().max() < 1e-12)
        levels = float(noise[1].std()) * 255
        expected = {"gaussian": 20.0, "poisson": 2 * math.sqrt(0.5 / 256) * 255}
        kind = min(expected, key=lambda name: abs(expected[name] - levels))
        assert levels == pytest.approx(expected[kind], rel=0.08) or (kind == "poisson" and grey)
        kinds.add((kind, grey))
    assert len(kinds) == 4


def test_it_is_a_function_of_the_generator_alone() -> None:
    degrade = SecondOrder(4)
    low = degrade(IMAGE, seeded(1))
    assert low.dtype == torch.uint8
    assert low.shape == (3, 16, 12)
    torch.manual_seed(7)
    assert torch.equal(low, degrade(IMAGE, seeded(1)))
    assert not torch.equal(low, degrade(IMAGE, seeded(2)))
    results = {degrade(IMAGE, seeded(k)).numpy().tobytes() for k in range(20)}
    assert len(results) == 20
    assert SecondOrder(2)(IMAGE[:1], seeded(1)).shape == (1, 32, 24)  # grey
    assert SecondOrder(8)(IMAGE[:, :8, :8], seeded(1)).shape == (3, 1, 1)


@pytest.mark.slow
def test_nothing_moves_and_no_colour_drifts() -> None:
    """On average over many draws a slope stays where it is, to a level; the order of D1 and D2 loses no brightness."""
    slope = (smooth(3, 64, 64) * 255).round().to(torch.uint8)
    mean = torch.stack([SecondOrder(2)(slope, seeded(k)).double() for k in range(200)]).mean(0)
    expected = F.avg_pool2d(slope[None].double(), 2)[0]
    assert (mean - expected)[:, 4:-4, 4:-4].mean().abs() < 2
    left, right = mean[:, :, 4:16].mean(), mean[:, :, 16:28].mean()
    assert float(right - left) == pytest.approx(
        float(expected[:, :, 16:28].mean() - expected[:, :, 4:16].mean()), abs=2
    )


def test_ranges_that_are_given_stand_for_the_papers() -> None:
    stages = SecondOrder(4, blur=[1, 1], noise=[0, 0], jpeg=[90, 90]).stages
    assert [(stage.sigma, stage.noise, stage.jpeg) for stage in stages] == [([1, 1], [0, 0], [90, 90])] * 2
    assert SecondOrder(4).stages == [FIRST, SECOND]
    with pytest.raises(ValueError, match=r"data\.jpeg=\[0, 200\] is no range"):
        SecondOrder(4, jpeg=[0, 200])
    SecondOrder(4, blur=[0, 0])(IMAGE, seeded(1))  # none


# As data.degradation ------------------------------------------------------------------------------------------------


def photos(**change: Any) -> Photos:
    settings: dict[str, Any] = {"scale": 4, "patch_size": 32, "channels": 3, "blur": None, "noise": None, "jpeg": None}
    settings |= {"background": "white", "on_error": "raise", "max_pixels": 10_000_000, "memory_limit_mb": 1000}
    settings |= {"batch_size": 4, "num_workers": 0, "flip": True, "seed": 1, "cache_dir": "unused"}
    return Photos(**{**settings, **change})  # type: ignore[arg-type]


@pytest.mark.slow
def test_patches_are_drawn_by_seed_epoch_and_row() -> None:
    data = photos(degradation="second_order")
    assert "degraded" in data.description
    patches = data.split("train")
    places = [(0, 3), (0, 90), (1, 3)]
    first, again = patches[places], photos(degradation="second_order").split("train")[places[::-1]]
    assert torch.equal(first.low, again.low.flip(0))
    assert torch.equal(first.high, again.high.flip(0))
    assert not torch.equal(first.low[0], first.low[2])
    other = photos(degradation="second_order", seed=2).split("train")[places]
    assert not torch.equal(first.low, other.low)
    plain = photos().split("train")[places]
    assert torch.equal(plain.high, first.high)  # the same places, otherwise degraded
    assert not torch.equal(plain.low, first.low)


def test_an_evaluation_degrades_an_image_always_alike() -> None:
    whole = [next(photos(degradation="second_order", seed=seed).whole_images(split="test")).batch for seed in (1, 2)]
    assert torch.equal(whole[0].low, whole[1].low)
    plain = next(photos().whole_images(split="test")).batch
    assert torch.equal(plain.high, whole[0].high)
    assert not torch.equal(plain.low, whole[0].low)


def test_the_fingerprint_knows_it_and_stays_what_it_was_without() -> None:
    plain, other = photos(), photos(degradation="second_order")
    assert photos(degradation="bicubic").fingerprint("test") == plain.fingerprint("test")
    assert other.fingerprint("test") != plain.fingerprint("test")
    assert "degradation" not in plain.parameters()
    with pytest.raises(ValueError, match="use bicubic or second_order"):
        photos(degradation="third_order")
