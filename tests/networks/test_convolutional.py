"""DCGAN's networks against Figure 1 and section 3 of its paper."""

import pytest
import torch
from torch import nn

from zoo.networks.convolutional import Discriminator, Generator, doublings


def test_figure_1() -> None:
    """At 64 pixels and width 128: 100 -> 4x4x1024 -> 8x8x512 -> 16x16x256 -> 32x32x128 -> 64x64x3."""
    G = Generator(latent_dim=100, shape=(3, 64, 64), base=128, most=1024)
    shapes = []
    hooks = [
        m.register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape[1:]))) for m in G if not list(m.buffers())
    ]
    G(torch.zeros(2, 100))
    maps = [shape for shape in dict.fromkeys(shapes) if len(shape) == 3]
    assert maps == [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32), (3, 64, 64)]
    assert hooks


def test_guidelines_of_section_3() -> None:
    G = Generator(latent_dim=100, shape=(3, 64, 64), base=128, most=1024)
    D = Discriminator(shape=(3, 64, 64), base=128, most=1024, norm="batch")
    assert isinstance(G[-1], nn.Tanh)
    assert not isinstance(G[-2], nn.BatchNorm2d)
    assert not isinstance(D[1], nn.BatchNorm2d)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in G) == 4
    assert sum(isinstance(m, nn.BatchNorm2d) for m in D) == 3
    assert not any(isinstance(m, nn.MaxPool2d | nn.AvgPool2d | nn.Upsample) for m in [*G, *D])
    assert {m.negative_slope for m in D if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "size", [(16, 16), (32, 32), (64, 64), (128, 128), (256, 256), (32, 64), (64, 32), (16, 48), (32, 40)]
)
def test_sizes_and_channels(size: tuple[int, int], channels: int) -> None:
    G = Generator(latent_dim=8, shape=(channels, *size), base=2, most=8)
    D = Discriminator(shape=(channels, *size), base=2, most=8, norm="batch")
    image = G(torch.randn(2, 8))
    assert image.shape == (2, channels, *size)
    assert D(image).shape == (2,)


@pytest.mark.parametrize(
    ("size", "nearest"),
    [((28, 28), 32), ((8, 8), 16), ((512, 512), 256), ((48, 48), 64), ((32, 33), 32), ((25, 16), r"\[24,16\]")],
)
def test_sizes_that_do_not_fit_name_the_nearest(size: tuple[int, int], nearest: int | str) -> None:
    with pytest.raises(ValueError, match=f"try data.image_size={nearest}"):
        doublings(*size)
