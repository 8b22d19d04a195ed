"""Perceptual path length against closed forms."""

import sys
from typing import Any
from urllib.error import URLError

import pytest
import torch
from common import needs
from torch import Tensor, nn

from zoo.metrics.estimate import values_of
from zoo.metrics.extractors import DigitClassifier, Extractor, Inception
from zoo.metrics.path_length import perceptual_path_length, trimmed


class Pixels(Extractor):
    """Features that are the pixels."""

    name, num_features = "pixels", 4

    def smooth(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def ends(num: int) -> tuple[Tensor, Tensor]:
    """From 0 to the path's number, in the first of two directions."""
    far = torch.stack([torch.arange(num).double(), torch.zeros(num).double()], 1)
    return torch.zeros_like(far), far


def test_a_linear_generator_has_the_squared_length_of_its_paths() -> None:
    """g(w) = A w: ||A (w_2 - w_1)||^2, whatever the step; the mean over paths 0 to 98 of 0 to 99."""
    A = torch.tensor([[0.3, 1.0], [0.4, 1.0], [0.0, 1.0], [0.0, 1.0]]).double() / 100
    g = lambda w: (w @ A.T).view(-1, 1, 2, 2)
    expected = sum(0.5**2 * i**2 for i in range(99)) / 99 / 100**2
    for epsilon, batch_size in ((1e-4, 7), (1e-2, 100)):
        values = perceptual_path_length(ends(100), g, Pixels(), batch_size=batch_size, epsilon=epsilon)
        assert values_of(values) == {"ppl_pixels": pytest.approx(expected)}


@pytest.mark.parametrize("beyond", [1.5, -3.0])
def test_images_are_not_clipped(beyond: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """g(w) = A w + b, all of it whiter than white or blacker than black: as long as within, for any d, LPIPS too."""
    monkeypatch.setattr(sys.modules["torchmetrics.functional.image.perceptual_path_length"], "_LPIPS", Unbounded)
    slope = torch.tensor([0.3, 0.4, 0.0, 0.0]).double() / 100
    g = lambda w: (w[:, :1] * slope + beyond).view(-1, 1, 2, 2)
    squares = sum(i**2 for i in range(99)) / 99 / 100**2
    values = perceptual_path_length(ends(100), g, Pixels(), batch_size=50, epsilon=1e-2)
    assert values_of(values) == {"ppl_pixels": pytest.approx(0.25 * squares)}
    values = perceptual_path_length(ends(100), g, Inception(), batch_size=50, epsilon=1e-2)
    assert values_of(values) == {"ppl": pytest.approx(0.175**2 * squares)}


class Unbounded(nn.Module):
    """In place of LPIPS: the squared distance of mean levels."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).mean((1, 2, 3)).square()


def test_it_sees_steps_that_8_bits_would_hide() -> None:
    """On a real extractor: a step half as long gives the same value to a few percents."""
    torch.manual_seed(0)
    A = torch.randn(32 * 32, 2).double() / 50
    g = lambda w: (w @ A.T).tanh().view(-1, 1, 32, 32).float()
    a, b = (
        perceptual_path_length(ends(20), g, DigitClassifier(), batch_size=20, epsilon=epsilon)["ppl_mnist"].value
        for epsilon in (1e-3, 5e-4)
    )
    assert a > 0
    assert a == pytest.approx(b, rel=0.05)


def test_a_generator_that_ignores_w_has_none() -> None:
    g = lambda w: torch.zeros(len(w), 1, 32, 32)
    none = perceptual_path_length(ends(4), g, DigitClassifier(), batch_size=4)["ppl_mnist"]
    assert (none.value, none.interval()) == (0, (0, 0))


@pytest.mark.slow
def test_its_interval_is_that_of_a_trimmed_mean() -> None:
    """Of winsorised distances, and about 95 of 100 hold the true trimmed mean; where nothing is left out, of a mean."""
    distances = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64).exp()
    kept = distances.sort().values[1:-2]  # as torchmetrics leaves out: int(0.01 * 199), and 199 - int(0.99 * 199)
    winsorised = distances.clamp(kept.min(), kept.max())
    assert trimmed(0.0, kept, 200).error == pytest.approx(float(winsorised.std()) / (197 / 200 * 200**0.5))
    assert trimmed(0.0, distances, 200).error == pytest.approx(float(distances.std()) / 200**0.5)

    # ||A w||^2 = z^2 / 400 of a standard normal z; the mean of chi-squared between its quantiles, x f_1(x) = f_3(x).
    stats = needs("scipy.stats")
    a, b = (float(stats.chi2.ppf(p, 1)) for p in (0.01, 0.99))
    truth = float(stats.chi2.cdf(b, 3) - stats.chi2.cdf(a, 3)) / 0.98 / 400
    images, covered = lambda w: (w / 2).expand(-1, 4).reshape(-1, 1, 2, 2) / 20, 0
    for seed in range(200):
        far = torch.randn(300, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        value = perceptual_path_length((far * 0, far), images, Pixels(), batch_size=300, epsilon=1e-2)["ppl_pixels"]
        covered += value.interval()[0] <= truth <= value.interval()[1]
    assert 0.88 <= covered / 200 <= 0.99


class Means(nn.Module):
    """In place of LPIPS on VGG16, which is a download: the squared distance of mean levels, of images that it takes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        assert settings == {"pretrained": True, "net": "vgg", "resize": None}

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        assert a.shape[1:] == b.shape[1:] == (3, 256, 128)
        assert a.abs().max() <= 1
        return (a - b).mean((1, 2, 3)).square()


def test_with_the_standard_inception_it_is_the_paper_s_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["torchmetrics.functional.image.perceptual_path_length"], "_LPIPS", Means)
    g = lambda w: (w[:, :1, None, None] / 100).expand(-1, 1, 512, 256)
    value = perceptual_path_length(ends(10), g, Inception(), batch_size=4, epsilon=1e-2)
    assert values_of(value) == {"ppl": pytest.approx(sum(i**2 for i in range(9)) / 9 / 100**2)}


def test_without_the_weights_it_names_what_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**settings: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(sys.modules["torchmetrics.functional.image.perceptual_path_length"], "_LPIPS", offline)
    with pytest.raises(ValueError, match=r"no network.*metrics=mnist, cifar10 or colour_digits"):
        perceptual_path_length(ends(2), lambda w: w, Inception(), batch_size=2)
