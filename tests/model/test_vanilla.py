"""The vanilla GAN's networks."""

import pytest
import torch
from common import make
from torch import nn

from zoo.model.vanilla import VanillaGAN


def gan(*overrides: str) -> VanillaGAN:
    return make("vanilla", "data.image_size=28", *overrides)


def widths(network: nn.Module) -> list[int]:
    return [m.out_features for m in network.modules() if isinstance(m, nn.Linear)]


def test_dense_networks() -> None:
    model = gan()
    assert widths(model.G) == [256, 512, 1024, 28 * 28]
    assert widths(model.D) == [1024, 512, 1]
    assert any(isinstance(m, nn.Tanh) for m in model.G)


def test_convolutional_discriminator() -> None:
    convolutions = [m for m in gan("model.discriminator=conv").D if isinstance(m, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size, c.stride) for c in convolutions] == [
        (64, (3, 3), (2, 2)),
        (128, (3, 3), (2, 2)),
    ]


@pytest.mark.parametrize("discriminator", ["dense", "conv"])
@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3), ([17, 30], 2)])
def test_any_size_and_channel_count(discriminator: str, size: object, channels: int) -> None:
    settings = [f"model.discriminator={discriminator}", f"data.image_size={size}", f"data.channels={channels}"]
    model = gan(*settings, "model.hidden=[8,16]")
    height, width = size if isinstance(size, list) else (size, size)
    image = model.G(torch.randn(3, 100))
    assert image.shape == (3, channels, height, width)
    assert model.D(image).shape == (3, 1)


def test_unknown_discriminator() -> None:
    with pytest.raises(ValueError, match=r"model\.discriminator=convs must be one of dense, conv"):
        gan("model.discriminator=convs")
