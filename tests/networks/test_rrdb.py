"""ESRGAN's RRDBNet and the modified SRResNet: counted by hand, how far they reach, and in tiles; and as SRGAN's G."""

from typing import Any

import numpy as np
import pytest
import torch
from common import make
from torch import nn
from torch.nn import functional as F

from zoo.networks.enlarging import Enlarging
from zoo.networks.rrdb import DenseBlock, MSRResNet, RRDBNet, folded
from zoo.use.upscale import bands


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_papers_network() -> None:
    """ESRGAN's section 4.1: 23 blocks of width 64 and growth 32; its published x4 file has 16.7 million numbers."""
    dense = sum((9 * (64 + 32 * k) + 1) * (32 if k < 4 else 64) for k in range(5))
    plain = (9 * 64 + 1) * 64
    expected = 23 * 3 * dense + (9 * 3 + 1) * 64 + 4 * plain + (9 * 64 + 1) * 3
    assert count(RRDBNet(3, 4, width=64, blocks=23, growth=32)) == expected == 16_697_987
    residual = 16 * 2 * plain + (9 * 3 + 1) * 64 + 2 * 4 * plain + plain + (9 * 64 + 1) * 3
    assert count(MSRResNet(3, 4, width=64, blocks=16)) == residual == 1_517_571


def test_beta_is_a_fifth_inside_and_outside() -> None:
    """Dense blocks whose last convolution is a bias of 1 add 0.2 each; a fifth of x + 0.6 is added to x, as the authors
    do: the blocks' own skips are within what is scaled."""
    G = RRDBNet(3, 1, width=4, blocks=1, growth=2)
    for block in (block for block in G.modules() if isinstance(block, DenseBlock)):
        nn.init.zeros_(block.convolutions[-1].weight)
        nn.init.ones_(block.convolutions[-1].bias)
    x = torch.randn(1, 4, 5, 6)
    torch.testing.assert_close(G.body[0](x), x + 0.2 * (x + 0.6))


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("unshuffle", [1, 2, 4])
def test_any_size_channels_and_range(scale: int, unshuffle: int) -> None:
    if unshuffle > 1 and scale == 3:
        return
    for channels, height, width in ((1, 1, 2), (4, 7, 5), (3, 3, 9)):
        G = RRDBNet(channels, scale, width=4, blocks=1, growth=2, unshuffle=unshuffle)
        assert G(torch.randn(2, channels, height, width)).shape == (2, channels, scale * height, scale * width)


def networks() -> list[Any]:
    cases = [(RRDBNet, scale, {"growth": 2}) for scale in (1, 2, 3, 4, 8)]
    cases += [(RRDBNet, 2, {"growth": 2, "unshuffle": 2}), (RRDBNet, 1, {"growth": 2, "unshuffle": 4})]
    cases += [(MSRResNet, scale, {}) for scale in (2, 3, 4, 8)]
    return [pytest.param(*case, id=f"{case[0].__name__}-{case[1]}-{case[2].get('unshuffle', 1)}") for case in cases]


@pytest.mark.parametrize(("network", "scale", "options"), networks())
def test_reach_covers_all_that_a_pixel_depends_on(network: Any, scale: int, options: dict[str, int]) -> None:
    """By gradients, with weights that cancel nowhere; all places within a pixel, and within a folded one."""
    G = network(3, scale, width=4, blocks=1, **options).double()
    for parameter in G.parameters():
        parameter.data.abs_().add_(0.01)
    n, farthest = 2 * G.reach + 9, 0
    for place in range(n // 2 // 4 * 4, n // 2 // 4 * 4 + G.grid):
        low = torch.rand(1, 3, n, n, requires_grad=True, dtype=torch.float64)
        G(low)[..., place * scale : (place + 1) * scale, place * scale : (place + 1) * scale].sum().backward()
        assert low.grad is not None
        farthest = max(farthest, int(((low.grad != 0).any(1)[0].nonzero() - place).abs().max()))
    assert G.reach - 2 * G.grid <= farthest <= G.reach


@pytest.mark.parametrize(
    "options",
    [
        ["model.network=rrdb", "data.scale=2"],
        ["model.network=rrdb", "data.scale=2", "model.unshuffle=2"],
        ["model.network=msrresnet", "data.scale=4"],
    ],
)
def test_tiles_equal_the_whole_image(options: list[str]) -> None:
    """As 16 bit, to 1e-4 of the range; tiles of an odd side begin where folded pixels do."""
    torch.manual_seed(0)
    small = ["model.width=6", "model.blocks=1", "model.growth=4", "model.discriminator_width=2"]
    model = make("srgan", *small, "data.patch_size=16", *options).eval()
    for parameter in model.G_ema.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    pixels = np.random.default_rng(0).integers(0, 2**16, (53, 91, 3), dtype=np.uint16)
    whole = np.concatenate(list(bands(model, pixels, tile=200)))
    assert whole.std() > 100
    tiled = np.concatenate(list(bands(model, pixels, tile=23)))
    assert np.abs(tiled.astype(int) - whole).max() <= 6


def test_sides_are_filled_by_the_mirror_image() -> None:
    image = torch.arange(15.0).view(1, 1, 3, 5)
    assert torch.equal(folded(image, 1), image)
    whole = F.pixel_shuffle(folded(image, 4), 4)
    assert whole.shape[2:] == (4, 8)
    assert torch.equal(whole[..., :3, :5], image)
    assert torch.equal(whole[..., :3, 5:], image[..., [3, 2, 1]])
    assert torch.equal(whole[..., 3, :5], image[..., 1, :])
    assert folded(image[..., :1, :1], 4).unique().tolist() == [0]  # nothing to mirror: repeated


@pytest.mark.parametrize("bound", ["none", "tanh"])
def test_the_range_inside_is_not_seen_outside(bound: Any) -> None:
    """A network that gives back its input, pixels repeated or not, is the identity in both ranges but for the bound."""

    class Identity(Enlarging):
        def features(self, low: torch.Tensor) -> torch.Tensor:
            return low

        def picture(self, maps: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
            assert torch.equal(maps, low)
            return maps

    x = torch.linspace(-1, 1, 12).view(1, 3, 2, 2)
    signed, unit = (Identity(image_range=r, bound=bound)(x) for r in ("signed", "unit"))
    torch.testing.assert_close(signed, x if bound == "none" else x.tanh())
    torch.testing.assert_close(unit, x if bound == "none" else ((x + 1) / 2).tanh())


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"model\.unshuffle=2 .*network=srresnet"):
        make("srgan", "model.unshuffle=2")
    with pytest.raises(ValueError, match="must be one of srresnet, rrdb, msrresnet"):
        make("srgan", "model.network=edsr")


def test_a_network_in_0_to_1_begins_small() -> None:
    """Section 3.1's small initial weights: the residuals of a new network are small beside what they are added to."""
    torch.manual_seed(0)
    block = DenseBlock(16, 8)
    x = torch.randn(1, 16, 20, 20)
    assert 0 < (block(x) - x).std() < 0.1
