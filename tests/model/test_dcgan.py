"""DCGAN: how its weights begin, and what normalises D."""

import pytest
import torch
from common import make
from torch import nn


def test_initial_weights() -> None:
    gan = make("dcgan", "data.image_size=64", "data.channels=3", "model.width=64")
    for module in [*gan.G, *gan.D]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.weight.numel() > 1000:
            assert abs(module.weight.mean().item()) < 0.002
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(next(gan.G.parameters()), next(gan.G_ema.parameters()))
    gan.configure_optimizers()
    groups = {name: optimizer.param_groups[0] for name, optimizer in gan._players.items()}
    for name in ("D", "G"):
        assert (groups[name]["lr"], tuple(groups[name]["betas"])) == (0.0002, (0.5, 0.999))


def test_spectral_norm_bounds_each_layer_of_d() -> None:
    """The largest singular value of each weight comes to 1: Miyato et al. 2018."""
    gan = make("dcgan", "model.discriminator_norm=spectral", "model.width=4")
    for _ in range(100):
        gan.D(torch.zeros(2, 1, 32, 32))
    convolutions = [m for m in gan.D.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 4
    for conv in convolutions:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.02)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in gan.D.modules())


def test_gradient_penalty_needs_a_d_without_batchnorm() -> None:
    with pytest.raises(ValueError, match=r"set model\.discriminator_norm=none or spectral"):
        make("dcgan", "regularizer=gradient_penalty")
    make("dcgan", "regularizer=gradient_penalty", "model.discriminator_norm=none")


def test_width_of_the_discriminator() -> None:
    """Its own, where one is given; no more than the largest number of both."""
    gan = make("dcgan", "model.width=4", "model.discriminator_width=6", "model.max_width=8")
    assert (gan.G[-2].in_channels, gan.D[0].out_channels) == (4, 6)
    with pytest.raises(ValueError, match=r"model\.discriminator_width=9 is more than model\.max_width=8: lower one"):
        make("dcgan", "model.width=4", "model.discriminator_width=9", "model.max_width=8")
