"""Perceptual path length against closed forms."""

import pytest
import torch
from torch import Tensor

from zoo.metrics.extractors import DigitClassifier, Extractor, Inception
from zoo.metrics.path_length import perceptual_path_length


class Pixels(Extractor):
    """Features that are the pixels."""

    name, num_features = "pixels", 4

    def smooth(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def ends(paths: Tensor) -> tuple[Tensor, Tensor]:
    """From 0 to the path's number, in the first of two directions."""
    far = torch.stack([paths.double(), torch.zeros(len(paths)).double()], 1)
    return torch.zeros_like(far), far


def test_a_linear_generator_has_the_squared_length_of_its_paths() -> None:
    """g(w) = A w: ||A (w_2 - w_1)||^2, whatever the step; the mean over paths 1 to 98 of 0 to 99."""
    A = torch.tensor([[0.3, 1.0], [0.4, 1.0], [0.0, 1.0], [0.0, 1.0]]).double() / 100
    g = lambda w: (w @ A.T).view(-1, 1, 2, 2)
    expected = sum(0.5**2 * i**2 for i in range(1, 99)) / 98 / 100**2
    for epsilon, batch_size in ((1e-4, 7), (1e-2, 100)):
        value = perceptual_path_length(ends, g, Pixels(), num=100, batch_size=batch_size, epsilon=epsilon)
        assert value == pytest.approx(expected)


def test_it_sees_steps_that_8_bits_would_hide() -> None:
    """On a real extractor: a step half as long gives the same value to a few percents."""
    torch.manual_seed(0)
    A = torch.randn(32 * 32, 2).double() / 50
    g = lambda w: (w @ A.T).tanh().view(-1, 1, 32, 32).float()
    a, b = (
        perceptual_path_length(ends, g, DigitClassifier(), num=20, batch_size=20, epsilon=epsilon)
        for epsilon in (1e-3, 5e-4)
    )
    assert a > 0
    assert a == pytest.approx(b, rel=0.05)


def test_a_generator_that_ignores_w_has_none() -> None:
    g = lambda w: torch.zeros(len(w), 1, 32, 32)
    assert perceptual_path_length(ends, g, DigitClassifier(), num=4, batch_size=4) == 0


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="num=0 paths"):
        perceptual_path_length(ends, lambda w: w, Pixels(), num=0, batch_size=1)
    with pytest.raises(ValueError, match="Inception takes images of 8 bits only"):
        Inception.smooth(Inception(), torch.zeros(1, 1, 32, 32))
