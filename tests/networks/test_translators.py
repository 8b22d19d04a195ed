"""The networks of CycleGAN and pix2pix against their papers' appendices."""

import copy

import pytest
import torch
from common import make
from torch import Tensor, nn
from torch.nn.functional import instance_norm

from zoo.networks.translators import (
    InstanceNorm,
    PatchDiscriminator,
    ResNetGenerator,
    UNet,
    at_any_size,
    make_generator,
    mirrored,
    normalisation,
    patch_layers,
    together,
)

SMALL = {"c_in": 1, "c_out": 1, "width": 2, "blocks": None, "norm": "instance", "dropout": 0.0}


def shapes(network: nn.Module, x: Tensor, *kinds: type[nn.Module]) -> list[tuple[int, int, int]]:
    """(channels, height, width) that each layer of these kinds makes, in the order of the calls."""
    made: list[tuple[int, int, int]] = []
    for module in network.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda m, i, o: made.append(tuple(o.shape[1:])))
    with torch.no_grad():
        network(x)
    return made


def test_resnet_of_section_7_2() -> None:
    """c7s1-64, d128, d256, R256 x 6, u128, u64, c7s1-3."""
    G = ResNetGenerator(c_in=3, c_out=3, width=64, blocks=6, norm="instance")
    made = shapes(G, torch.zeros(1, 3, 32, 32), nn.Conv2d, nn.ConvTranspose2d)
    assert made == [(64, 32, 32), (128, 16, 16), *[(256, 8, 8)] * 13, (128, 16, 16), (64, 32, 32), (3, 32, 32)]
    assert sum(p.numel() for p in G.parameters()) == pytest.approx(7.8e6, rel=0.01)
    assert isinstance(G[-1], nn.Tanh)


def test_unet_of_section_6_1_1() -> None:
    """C64-C128-C256-C512 x 5 and CD512-CD512-CD512-C512-C256-C128-C64, the decoder fed with both halves."""
    G = UNet(c_in=3, c_out=3, width=64, depth=8, norm="instance", dropout=0.5)
    made = shapes(G, torch.zeros(1, 3, 256, 256), nn.Conv2d, nn.ConvTranspose2d)
    encoder = [(c, 256 >> k, 256 >> k) for k, c in enumerate([64, 128, 256, 512, 512, 512, 512, 512], start=1)]
    decoder = [(c, 2 << k, 2 << k) for k, c in enumerate([512, 512, 512, 512, 256, 128, 64, 3])]
    assert made == encoder + decoder
    fed = [m.in_channels for m in G.ups.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert fed == [512, 1024, 1024, 1024, 1024, 512, 256, 128]
    assert [isinstance(up[-1], nn.Dropout) for up in G.ups] == [True] * 3 + [False] * 5
    assert sum(p.numel() for p in G.parameters()) == pytest.approx(54.4e6, rel=0.01)


def test_a_skip_reaches_the_other_end() -> None:
    """With everything below the first layer cut off, the image still comes through."""
    G = UNet(c_in=1, c_out=1, width=2, depth=4, norm="instance", dropout=0.0)
    a, b = torch.randn(2, 1, 1, 16, 16)
    nn.init.zeros_(G.ups[0][1].weight)
    nn.init.zeros_(G.downs[1][1].weight)
    assert not torch.allclose(G(a), G(b))


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_receptive_field_of_a_patch(layers: int, patch: int) -> None:
    """The pixels that one logit's gradient reaches; without norms, which look at the whole image."""
    D = PatchDiscriminator(channels=1, width=2, layers=layers, norm="instance").double()
    for m in list(D):
        if isinstance(m, nn.Conv2d):
            nn.init.ones_(m.weight)
    D = nn.Sequential(*[m for m in D if isinstance(m, nn.Conv2d)])
    image = torch.zeros(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    logits = D(image)
    side = logits.shape[-1]
    logits[0, 0, side // 2, side // 2].backward()
    assert image.grad is not None
    reached = image.grad[0, 0] != 0
    assert reached.any(0).sum() == reached.any(1).sum() == patch


def test_the_70_pixel_discriminator() -> None:
    D = PatchDiscriminator(channels=3, width=64, layers=3, norm="instance")
    made = shapes(D, torch.zeros(1, 3, 256, 256), nn.Conv2d)
    assert made == [(64, 128, 128), (128, 64, 64), (256, 32, 32), (512, 31, 31), (1, 30, 30)]
    assert sum(isinstance(m, InstanceNorm) for m in D) == 3
    assert {m.negative_slope for m in D if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("of_gradient", [torch.contiguous_format, torch.channels_last])
def test_instance_normalisation(n: int, layout: torch.memory_format, of_gradient: torch.memory_format) -> None:
    x = torch.randn(n, 5, 7, 6, dtype=torch.float64) * 4 + 2
    g = torch.randn_like(x)
    expected = instance_norm(x.requires_grad_())
    (expected_gradient,) = torch.autograd.grad(expected, x, g)

    x = x.detach().contiguous(memory_format=layout).requires_grad_()
    y = normalisation("instance", 5)(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y, x, g.contiguous(memory_format=of_gradient))[0], expected_gradient)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_normalisation_with_scale_and_shift(n: int, layout: torch.memory_format) -> None:
    """scale (x - mean) / sqrt(variance + 1e-5) + shift, image by image and channel by channel; and its gradients."""
    norm = normalisation("instance_affine", 5).double()
    assert [(name, p.tolist()) for name, p in norm.named_parameters()] == [("weight", [1.0] * 5), ("bias", [0.0] * 5)]
    scale, shift = (torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    norm.load_state_dict({"weight": scale, "bias": shift})
    x = (torch.randn(n, 5, 7, 6, dtype=torch.float64) * 4 + 2).contiguous(memory_format=layout).requires_grad_()
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
    expected = scale[:, None, None] * (x - mean) / (variance + 1e-5).sqrt() + shift[:, None, None]
    y, g = norm(x), torch.randn_like(x)
    torch.testing.assert_close(y, expected)
    found = torch.autograd.grad(y, [x, *norm.parameters()], g)
    for one, other in zip(found, torch.autograd.grad(expected, [x, scale, shift], g), strict=True):
        torch.testing.assert_close(one, other)


def test_a_bias_before_an_instance_normalisation_does_not_count() -> None:
    norm, x = normalisation("instance_affine", 5).double(), torch.randn(2, 5, 7, 6, dtype=torch.float64)
    torch.testing.assert_close(norm(x + torch.randn(5, 1, 1, dtype=torch.float64)), norm(x))


@pytest.mark.parametrize("kind", ["instance", "instance_affine", "batch"])
def test_names_of_weights(kind: str) -> None:
    """Those of earlier checkpoints: without scale and shift a normalisation has none."""
    norms = {"instance": [], "instance_affine": ["weight", "bias"], "batch": list(nn.BatchNorm2d(1).state_dict())}[kind]
    D = PatchDiscriminator(channels=1, width=1, layers=2, norm=kind)
    weights = {"0.weight", "0.bias", "2.weight", "5.weight", "8.weight", "8.bias"}
    assert D.state_dict().keys() == weights | {f"{k}.{name}" for k in (3, 6) for name in norms}
    G = ResNetGenerator(c_in=1, c_out=1, width=1, blocks=1, norm=kind)
    convolutions = ["1", "4", "7", "10.f.1", "10.f.5", "11", "14"]
    after = ["2", "5", "8", "10.f.2", "10.f.6", "12", "15"]
    weights = {f"{k}.weight" for k in [*convolutions, "18"]} | {"18.bias"}
    assert G.state_dict().keys() == weights | {f"{k}.{name}" for k in after for name in norms}
    U = UNet(c_in=1, c_out=1, width=1, depth=3, norm=kind, dropout=0.5)
    weights = {f"{k}.weight" for k in ("downs.0.0", "downs.1.1", "downs.2.1", "ups.0.1", "ups.1.1", "ups.2.1")}
    weights |= {"downs.0.0.bias", "downs.2.1.bias", "ups.2.1.bias"}
    assert U.state_dict().keys() == weights | {
        f"{k}.{name}" for k in ("downs.1.2", "ups.0.2", "ups.1.2") for name in norms
    }


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_normalisation_of_a_nearly_uniform_channel(layout: torch.memory_format) -> None:
    """Water on a map, say: the variance is a thousandth of the mean squared, and less."""
    x = (3 + 1e-2 * torch.randn(2, 5, 16, 16)).contiguous(memory_format=layout)
    torch.testing.assert_close(normalisation("instance", 5)(x), instance_norm(x.double()).float(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("generator", ["resnet", "unet"])
def test_rows_are_independent_so_a_shared_pass_is_two(generator: str) -> None:
    torch.manual_seed(0)
    network = make_generator(
        generator, size=(16, 16), c_in=2, c_out=3, width=4, blocks=None, norm="instance", dropout=0.0
    )  # fmt: skip
    x, y = torch.randn(2, 3, 2, 16, 16)
    for shared, alone in zip(together(network, x, y), (network(x), network(y)), strict=True):
        torch.testing.assert_close(shared, alone, rtol=0, atol=1e-5)


def test_with_batchnorm_a_shared_pass_is_one_for_each() -> None:
    """Else the statistics of one batch would be in the other: outputs and running statistics are a loop's."""
    network = PatchDiscriminator(channels=1, width=2, layers=1, norm="batch")
    alone = copy.deepcopy(network)
    x, y = torch.randn(2, 3, 1, 16, 16) * torch.tensor([1.0, 5.0]).view(2, 1, 1, 1, 1)
    for found, expected in zip(together(network, x, y), (alone(x), alone(y)), strict=True):
        assert torch.equal(found, expected)
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), alone.buffers(), strict=True))


def test_blocks_by_size() -> None:
    def blocks(side: int, asked: int | None = None) -> int:
        G = make_generator(
            "resnet", size=(side, side), c_in=1, c_out=1, width=2, blocks=asked, norm="instance", dropout=0.0
        )  # fmt: skip
        return len([m for m in G if type(m).__name__ == "ResidualBlock"])

    assert [blocks(side) for side in (32, 128, 252, 256, 512)] == [6, 6, 6, 9, 9]
    assert blocks(256, asked=2) == 2


def test_depth_and_patches_by_size() -> None:
    def depth(height: int, width: int) -> int:
        size = (height, width)
        return len(make_generator("unet", size=size, **SMALL).downs)  # type: ignore[arg-type]

    assert [depth(s, s) for s in (8, 16, 32, 48, 64, 96, 128, 256, 512)] == [3, 4, 5, 4, 6, 5, 7, 8, 8]
    assert depth(64, 96) == 5
    assert [patch_layers(None, (s, s)) for s in (16, 32, 64, 96, 128, 512)] == [1, 1, 2, 2, 3, 3]
    assert patch_layers(2, (32, 32)) == 2
    for layers in (0, 4):
        with pytest.raises(ValueError, match=rf"model\.discriminator_layers={layers} does not fit image_size=32x64"):
            patch_layers(layers, (32, 64))


@pytest.mark.parametrize(
    ("generator", "size", "remedy"),
    [
        ("resnet", (30, 30), "multiples of 4, 8 or more; try data.image_size=32"),
        ("resnet", (4, 64), r"try data.image_size=\[16, 64\]"),
        ("unet", (100, 100), "multiples of 8, 8 or more; try data.image_size=96"),
    ],
)
def test_sizes_that_do_not_fit(generator: str, size: tuple[int, int], remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        make_generator(generator, size=size, **SMALL)  # type: ignore[arg-type]


@pytest.mark.parametrize("stride", [4, 32])
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (31, 32), (33, 70), (64, 64), (5, 129)])
def test_any_size_is_kept(size: tuple[int, int], stride: int) -> None:
    """The network sees multiples of its stride, from 8 on; what it makes is cut where the image was."""
    seen = []

    def copy(x: Tensor) -> Tensor:
        seen.append(x.shape[2:])
        return x

    images = torch.rand(2, 3, *size)
    assert torch.equal(at_any_size(copy, images, stride), images)
    (padded,) = seen
    assert all(p % stride == 0 and p >= 8 and p - s < max(stride, 8) for p, s in zip(padded, size, strict=True))


def test_mirrored() -> None:
    assert mirrored(3, 8).tolist() == [2, 1, 0, 1, 2, 1, 0, 1]
    assert mirrored(5, 8).tolist() == [1, 0, 1, 2, 3, 4, 3, 2]
    assert mirrored(1, 4).tolist() == [0] * 8
    assert mirrored(8, 4).tolist() == list(range(8))


@pytest.mark.parametrize("setting", ["width=0", "discriminator_width=0", "blocks=-1", "generator=vgg"])
def test_networks_of_no_channels_or_kind(setting: str) -> None:
    with pytest.raises(ValueError, match=rf"model\.{setting} must"):
        make("cyclegan", f"model.{setting}")


@pytest.mark.parametrize(
    ("network", "size"),
    [
        (ResNetGenerator(c_in=2, c_out=1, width=2, blocks=2, norm="batch"), (150, 97)),
        (UNet(c_in=2, c_out=1, width=2, depth=3, norm="batch", dropout=0.5), (150, 97)),
    ],
    ids=["resnet", "unet"],
)
def test_in_tiles_an_image_becomes_what_it_becomes_as_a_whole(network: nn.Module, size: tuple[int, int]) -> None:
    """And with less around a tile it does not: the reach is needed."""
    x = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(len(parameter)))
    network.train()(x[:, :, :96, :96])  # running statistics
    network.double().eval()
    with torch.no_grad():
        whole, stride, reach = at_any_size(network, x.double(), network.stride), network.stride, network.reach
        tiled = at_any_size(network, x.double(), stride, tile=30, reach=reach)
        cut = at_any_size(network, x.double(), stride, tile=30, reach=stride)
    assert whole.shape == tiled.shape == (1, 1, *size)
    assert (whole - tiled).abs().max() < 1e-12
    assert (whole - cut).abs().max() > 1e-12


def test_instance_normalisation_takes_no_tiles() -> None:
    for kind, norm in (("resnet", "instance"), ("unet", "instance"), ("resnet", "instance_affine")):
        network = make_generator(kind, (32, 32), **SMALL | {"norm": norm})
        assert network.reach is None
        with pytest.raises(ValueError, match="instance normalisation makes of an image a whole"):
            at_any_size(network, torch.zeros(1, 1, 32, 32), network.stride, tile=16, reach=network.reach)
