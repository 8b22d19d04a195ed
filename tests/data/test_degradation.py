"""MATLAB's imresize against its formula, pixel by pixel; and what real photographs have."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.degradation import Degradation, blurred, compressed, cropped, enlarge, imresize, shrink
from zoo.data.images import seeded


def keys(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def line(values: list[float], scale: float) -> list[float]:
    """One line, by MATLAB's definition, with its indices from 1: a sum over every pixel, mirrored at both ends."""
    n, stretch = len(values), min(scale, 1.0)
    result = []
    for i in range(1, math.ceil(n * scale - 1e-9) + 1):
        centre = i / scale + 0.5 * (1 - 1 / scale)
        total = weight_of_all = 0.0
        for j in range(math.floor(centre - 3 / stretch) - 2, math.ceil(centre + 3 / stretch) + 3):
            weight = stretch * keys(stretch * (centre - j))
            k = (j - 1) % (2 * n)
            total += weight * values[k if k < n else 2 * n - 1 - k]
            weight_of_all += weight
        result.append(total / weight_of_all)
    return result


def reference(image: np.ndarray, scale: float, *, whole: bool) -> np.ndarray:
    """Rows first, then columns; after each, whole levels if asked for."""
    for _ in range(2):
        columns = [line(list(column), scale) for column in image.astype(float).T]
        image = np.array(columns)  # transposed: the second round does the other side
        if whole:
            image = np.clip(np.floor(image + 0.5), 0, 255)
    return image


@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 1 / 4, 1 / 8, 2, 3, 4, 8, 0.7])
@pytest.mark.parametrize("whole", [True, False])
def test_imresize_is_its_formula(scale: float, whole: bool) -> None:
    image = np.random.default_rng(1).integers(0, 256, (11, 16)).astype(np.uint8 if whole else float)
    resized = imresize(torch.from_numpy(image)[None, None], scale)[0, 0]
    assert resized.dtype == (torch.uint8 if whole else torch.float64)
    np.testing.assert_allclose(resized.numpy(), reference(image, scale, whole=whole), atol=1e-9)


def weights(length: int, scale: int) -> np.ndarray:
    """[length * scale, length] of one axis, in float64."""
    return np.array([line(list(row), scale) for row in np.eye(length)]).T


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_an_enlargement_is_rounded_once(scale: int) -> None:
    """Both axes by their matrices of weights, in float64: after each axis of its own it would be off by one here."""
    image = np.random.default_rng(scale).integers(0, 256, (3, 9, 14)).astype(np.uint8)
    exact = weights(9, scale) @ image.astype(float) @ weights(14, scale).T
    large = enlarge(torch.from_numpy(image), scale)
    assert large.dtype == torch.uint8
    clear = np.abs(exact + 0.5 - np.round(exact + 0.5)) > 1e-6  # of a tie either neighbour is right
    expected = np.clip(np.floor(exact + 0.5), 0, 255)
    assert np.array_equal(large.numpy()[clear], expected[clear])
    twice = imresize(torch.from_numpy(image), scale).numpy()
    assert not np.array_equal(twice, expected), "MATLAB's, of 8 bits"
    for dtype in (torch.float64, torch.float32):
        whole = enlarge(torch.from_numpy(image).to(dtype), scale)
        assert whole.dtype == dtype
        np.testing.assert_allclose(whole.numpy(), exact, atol=1e-9 if dtype == torch.float64 else 1e-3)


def test_imresize_keeps_constants_and_lines_and_commutes_with_turns() -> None:
    flat = torch.full((3, 12, 16), 200, dtype=torch.uint8)
    assert torch.equal(shrink(flat, 4), flat[:, :3, :4])
    assert torch.equal(enlarge(flat, 4)[:, :12, :16], flat)
    slope = torch.arange(64, dtype=torch.float64).expand(1, 8, 64)
    torch.testing.assert_close(shrink(slope, 4)[0, 0, 3:-3], torch.arange(1.5, 64, 4, dtype=torch.float64)[3:-3])
    image = torch.rand(3, 24, 24, dtype=torch.float64)
    torch.testing.assert_close(shrink(image.flip(2), 4), shrink(image, 4).flip(2))
    torch.testing.assert_close(shrink(image.rot90(1, (1, 2)), 3), shrink(image, 3).rot90(1, (1, 2)))


def test_cropped_gives_multiples() -> None:
    assert cropped(torch.zeros(3, 17, 23), 4).shape == (3, 16, 20)


def test_without_ranges_it_is_the_literatures() -> None:
    plain = Degradation(scale=4, blur=None, noise=None, jpeg=None)
    image = torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8)
    assert plain.is_plain
    # Blur, noise and JPEG want values between: rounded once, at the end.
    assert (plain(image, seeded(1)).int() - shrink(image, 4).int()).abs().max() <= 1


@pytest.mark.parametrize("change", [{"blur": [1, 2]}, {"noise": [5, 9]}, {"jpeg": [30, 60]}])
def test_each_degradation_is_drawn_by_its_generator_alone(change: dict[str, list[int]]) -> None:
    real = Degradation(scale=2, **{"blur": None, "noise": None, "jpeg": None, **change})
    image = torch.randint(0, 256, (3, 32, 48), generator=seeded(3), dtype=torch.uint8)
    assert not real.is_plain
    first, other = real(image, seeded(1)), real(image, seeded(2))
    assert first.shape == (3, 16, 24)
    assert first.dtype == torch.uint8
    assert torch.equal(first, real(image, seeded(1)))
    assert not torch.equal(first, other)
    assert not torch.equal(first, shrink(image, 2))


def test_blur_has_the_variance_that_it_is_asked_for() -> None:
    point = torch.zeros(1, 61, 61, dtype=torch.float64)
    point[0, 30, 30] = 1
    spread = blurred(point, 3.0)[0]
    offset = torch.arange(61, dtype=torch.float64) - 30
    assert spread.sum() == pytest.approx(1)
    assert (spread.sum(1) * offset**2).sum() == pytest.approx(9, rel=0.03)  # cut at 3 sigma
    torch.testing.assert_close(spread, spread.T)
    assert torch.equal(blurred(point, 0.0), point)


def test_noise_has_the_level_that_it_is_asked_for() -> None:
    noisy = Degradation(scale=2, blur=None, noise=[8, 8], jpeg=None)
    levels = noisy(torch.full((1, 256, 256), 128, dtype=torch.uint8), seeded(1)).double()
    assert levels.std() == pytest.approx(8, rel=0.03)
    assert levels.mean() == pytest.approx(128, abs=0.3)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(channels: int) -> None:
    image = torch.randint(0, 256, (channels, 16, 24), dtype=torch.uint8)
    pixels = image.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels if channels == 3 else pixels[:, :, 0]).save(file, "JPEG", quality=40)
    expected = np.asarray(Image.open(file)).reshape(16, 24, channels)
    assert np.array_equal(compressed(image, 40).permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *[("scale", 5), ("blur", [2, 1]), ("blur", [1]), ("noise", [-1, 2]), ("jpeg", [0, 50])],
        *[("blur", 2), ("noise", 5.0), ("jpeg", 50), ("jpeg", ["a", "b"]), ("jpeg", "ab"), ("blur", [0, math.nan])],
    ],
)
def test_wrong_ranges_are_named(argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"data\.{argument}="):
        Degradation(**{"scale": 4, "blur": None, "noise": None, "jpeg": None, argument: value})  # type: ignore[arg-type]
