"""Files of pytorch/examples' DCGAN against networks written here in its layout, with random weights."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from foreign import assert_same, built, randomised, without
from torch import Tensor, nn

from zoo.formats import Foreign
from zoo.formats.examples_dcgan import read


class Main(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


def generator(nz: int, sizes: list[int], nc: int, *, bias: bool = False) -> Main:
    """`sizes` from z to the image: 8 ngf, 4 ngf, 2 ngf, ngf of 64 pixels."""
    layers = [nn.ConvTranspose2d(nz, sizes[0], 4, 1, 0, bias=bias), nn.BatchNorm2d(sizes[0]), nn.ReLU()]
    for c_in, c_out in pairwise(sizes):
        layers += [nn.ConvTranspose2d(c_in, c_out, 4, 2, 1, bias=bias), nn.BatchNorm2d(c_out), nn.ReLU()]
    return Main(*layers, nn.ConvTranspose2d(sizes[-1], nc, 4, 2, 1, bias=bias), nn.Tanh())


def discriminator(nc: int, sizes: list[int], *, bias: bool = False) -> Main:
    """`sizes` from the image on: ndf, 2 ndf, 4 ndf, 8 ndf of 64 pixels."""
    layers = [nn.Conv2d(nc, sizes[0], 4, 2, 1, bias=bias), nn.LeakyReLU(0.2)]
    for c_in, c_out in pairwise(sizes):
        layers += [nn.Conv2d(c_in, c_out, 4, 2, 1, bias=bias), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]
    return Main(*layers, nn.Conv2d(sizes[-1], 1, 4, 1, 0, bias=bias), nn.Sigmoid())


def got(tree: Any) -> Foreign:
    foreign = read(tree)
    assert foreign is not None
    return foreign


@pytest.mark.parametrize(
    ("nz", "ngf", "ndf", "nc", "bias"),
    [
        (7, [8, 4], [5, 10], 1, False),  # 16 pixels
        (5, [12, 6, 3], [3, 6, 12], 3, True),  # 32, with biases as copies have them
        (100, [16, 8, 4, 2], [4, 8, 16, 32], 3, False),  # 64, theirs
        (6, [8, 8, 8, 4, 2], [2, 4, 8, 8, 8], 3, False),  # 128, up to a largest number
        (6, [32, 16, 8, 4, 2], [2, 4, 8, 16, 32], 1, False),  # 128
    ],
)
def test_both_networks_have_the_same_output(nz: int, ngf: list[int], ndf: list[int], nc: int, bias: bool) -> None:
    G, D = randomised(generator(nz, ngf, nc, bias=bias)), randomised(discriminator(nc, ndf, bias=bias))
    foreign = got({"netG_epoch_24": G.state_dict(), "netD_epoch_24": D.state_dict()})
    model, z = built(foreign), torch.randn(3, nz, generator=torch.Generator().manual_seed(0))
    assert foreign.variant == "dcgan"
    assert foreign.settings["data.image_size"] == 4 * 2 ** len(ngf)
    assert foreign.weights.keys() == {key for key in model.state_dict() if not key.startswith("T.")}
    images = model.from_latents(z)
    assert_same(images, G(z[:, :, None, None]))
    noise = nn.functional.interpolate(
        torch.rand(3, nc, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1, scale_factor=2 ** len(ngf)
    )
    logit = D.main[:-1](noise).flatten()
    assert_same(model.D(noise), logit)
    assert torch.equal(D(noise).flatten(), logit.sigmoid())
    assert bool(foreign.notes) == bias


def test_one_bare_generator_in_a_wrapper() -> None:
    G = randomised(generator(4, [8, 4], 1))
    foreign = got({f"module.{name}": tensor.half() for name, tensor in G.state_dict().items()})
    model, z = built(foreign), torch.randn(3, 4)
    assert not [name for name in foreign.weights if name.startswith("D.")]
    torch.testing.assert_close(model.from_latents(z), G(z[:, :, None, None]), rtol=0, atol=1e-2)


def test_what_is_not_of_this_repository() -> None:
    for tree in ({}, [], None, {"epoch": 3}, {"main.0.weight": 3}, {"main.weight": torch.ones(1, 1, 4, 4)}):
        assert read(tree) is None


G, D = generator(4, [8, 4], 1).state_dict(), discriminator(1, [4, 8]).state_dict()
SPECTRAL = {name.replace("main.2.weight", "main.2.weight_orig"): tensor for name, tensor in D.items()}


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        (without(G, "main.3.weight"), r"netG of pytorch/examples has no main\.3\.weight: it is not whole"),
        (without(G, "main.4.running_mean"), r"netG of pytorch/examples has no main\.4\.running_mean"),
        (without(G, "main.6.weight"), r"netG of pytorch/examples ends in 'main\.4', which is no last layer"),
        (
            {**G, "main.0.weight": torch.ones(4, 8, 7, 7)},
            r"main\.0\.weight is 4x8x7x7, not 4x8x4x4",
        ),
        (
            {**G, "main.2.weight": torch.ones(8)},
            r"netG of pytorch/examples has main\.2\.weight, for which this zoo's network has no place",
        ),
        ({"netG": G, "netD": SPECTRAL}, r"netD of pytorch/examples has no main\.2\.weight"),
        ({"netG": G, "netD": discriminator(3, [4, 8]).state_dict()}, "are not of one model: images of 16 pixels and 1"),
        ({"netG": G, "netD": discriminator(1, [4, 8, 16]).state_dict()}, "and of 32 and 1"),
        ({"netG": generator(4, [7, 4], 1).state_dict(), "netD": D}, "'netG' has 4-7 channels .*: 4-8"),
        ({"netG": generator(4, [2, 4], 1).state_dict()}, "'netG' has 4-2 channels .*: 4-4"),
        (generator(4, [2] * 7, 1).state_dict(), "no last layer for images of 16, 32, ... or 256 pixels"),
        ({"one": G, "other": G}, "'one', 'other' are generators: give one of them"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tree: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        read(tree)
    assert "\n" not in str(caught.value)


def test_what_it_becomes() -> None:
    with pytest.raises(ValueError, match="become dcgan, not 'cgan'"):
        read(G, wanted="cgan")


def test_a_discriminator_alone_is_for_start() -> None:
    """It judges as it did."""
    foreign = read(D)
    assert foreign is not None
    assert "start= takes it" in foreign.notes[0]
    model = built(foreign).eval()
    images = torch.randn(3, 1, 16, 16)
    theirs = discriminator(1, [4, 8])
    theirs.load_state_dict(D)
    assert torch.allclose(torch.sigmoid(model.D(images)), theirs.eval()(images).flatten(), atol=1e-6)
