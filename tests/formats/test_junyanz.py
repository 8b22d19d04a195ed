"""Files of pytorch-CycleGAN-and-pix2pix against networks written here in its layout, with random weights."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import assert_same, built, randomised, without
from torch import Tensor, nn

from zoo.formats import Foreign, pickles, recognise
from zoo.formats.junyanz import read


def norm(kind: str, channels: int) -> nn.Module:
    if kind.startswith("batch"):
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels, affine=kind == "instance_affine")


def biased(kind: str) -> bool:
    return kind != "batch"  # "batch_biased": what forks have


class Block(nn.Module):
    def __init__(self, width: int, kind: str, dropout: bool) -> None:
        super().__init__()
        conv = lambda: [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=biased(kind)), norm(kind, width)]
        self.conv_block = nn.Sequential(*conv(), nn.ReLU(), *[nn.Dropout(0.5)] * dropout, *conv())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class ResNet(nn.Module):
    def __init__(self, c_in: int, c_out: int, width: int, blocks: int, kind: str, dropout: bool = False) -> None:
        super().__init__()
        bias = biased(kind)
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(c_in, width, 7, bias=bias), norm(kind, width)]
        layers.append(nn.ReLU())
        for k in (1, 2):
            down = nn.Conv2d(k * width, 2 * k * width, 3, 2, 1, bias=bias)
            layers += [down, norm(kind, 2 * k * width), nn.ReLU()]
        layers += [Block(4 * width, kind, dropout) for _ in range(blocks)]
        for k in (2, 1):
            up = nn.ConvTranspose2d(2 * k * width, k * width, 3, 2, 1, 1, bias=bias)
            layers += [up, norm(kind, k * width), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, c_out, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Skip(nn.Module):
    """A U-Net's level: down, what is within, up; joined with what came in, but for the outermost."""

    def __init__(self, c_in: int, c_out: int, width: int, within: "Skip | None", kind: str, *, outer: bool) -> None:
        super().__init__()
        self.outer = outer
        down: list[nn.Module] = [nn.Conv2d(c_in, width, 4, 2, 1, bias=biased(kind))]
        joined = width * (1 if within is None else 2)
        up: list[nn.Module] = [nn.ReLU(), nn.ConvTranspose2d(joined, c_out, 4, 2, 1, bias=outer or biased(kind))]
        if outer:
            up.append(nn.Tanh())
        else:
            down.insert(0, nn.LeakyReLU(0.2))
            up.append(norm(kind, c_out))
            down += [] if within is None else [norm(kind, width)]
        self.model = nn.Sequential(*down, *([] if within is None else [within]), *up)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outer else torch.cat([x, self.model(x)], 1)


class UNet(nn.Module):
    def __init__(self, c_in: int, c_out: int, width: int, depth: int, kind: str) -> None:
        super().__init__()
        level, sizes = None, [width * min(2**k, 8) for k in range(depth)]
        for above, below in reversed(list(pairwise(sizes))):
            level = Skip(above, above, below, level, kind, outer=False)
        self.model = Skip(c_in, c_out, width, level, kind, outer=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Patch(nn.Module):
    def __init__(self, c_in: int, width: int, layers: int, kind: str) -> None:
        super().__init__()
        sizes = [width * min(2**k, 8) for k in range(layers + 1)]
        network: list[nn.Module] = [nn.Conv2d(c_in, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for k, (above, below) in enumerate(pairwise(sizes), start=1):
            convolution = nn.Conv2d(above, below, 4, 2 if k < layers else 1, 1, bias=biased(kind))
            network += [convolution, norm(kind, below), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*network, nn.Conv2d(sizes[-1], 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def state(network: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    return randomised(network, seed).state_dict()


def image(channels: int, side: int) -> Tensor:
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def got(tree: Any, **wanted: Any) -> Foreign:
    foreign = read(tree, **wanted)
    assert foreign is not None
    return foreign


GENERATORS = {
    "resnet_6blocks": (lambda: ResNet(3, 1, 3, 6, "instance"), 16, "instance"),
    "resnet_9blocks affine": (lambda: ResNet(1, 3, 2, 9, "instance_affine"), 16, "instance_affine"),
    "resnet_6blocks batch, dropout": (lambda: ResNet(3, 3, 2, 6, "batch", dropout=True), 16, "batch"),
    "resnet_2blocks with biases before BatchNorm": (lambda: ResNet(3, 3, 2, 2, "batch_biased"), 16, "batch"),
    "unet_32": (lambda: UNet(2, 3, 2, 5, "instance_affine"), 32, "instance_affine"),
    "unet_128": (lambda: UNet(3, 3, 1, 7, "batch"), 128, "batch"),
    "unet_128 with biases before BatchNorm": (lambda: UNet(3, 3, 1, 7, "batch_biased"), 128, "batch"),
    "unet_256": (lambda: UNet(3, 1, 1, 8, "instance"), 256, "instance"),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_becomes_pix2pix_with_the_same_output(name: str) -> None:
    make, side, kind = GENERATORS[name]
    reference = randomised(make())
    foreign = got({f"module.{key}": tensor for key, tensor in reference.state_dict().items()})
    model, x = built(foreign), image(foreign.settings["data.channels_x"], side)
    assert (foreign.variant, foreign.settings["model.norm"]) == ("pix2pix", kind)
    assert foreign.weights.keys() == {key for key in model.state_dict() if key.startswith("G.")}
    assert_same(model.translate(x), reference(x))
    assert bool(foreign.notes) == ("dropout" in name or "biases" in name)


@pytest.mark.parametrize("make", [lambda: ResNet(3, 3, 2, 1, "instance"), lambda: UNet(3, 3, 1, 5, "instance")])
def test_running_statistics_beside_instance_norm_are_passed_over(make: Any) -> None:
    """As old files have them: the image's own statistics count, and that something was passed over is said."""
    reference = randomised(make())
    tree = dict(reference.state_dict())
    for name, module in reference.named_modules():
        if isinstance(module, nn.InstanceNorm2d):
            tree |= {f"{name}.running_mean": torch.ones(module.num_features)}
            tree |= {f"{name}.running_var": torch.ones(module.num_features)}
            tree |= {f"{name}.num_batches_tracked": torch.tensor(5)}
    foreign, x = got(tree), image(3, 32)
    assert foreign.settings["model.norm"] == "instance"
    assert_same(built(foreign).translate(x), reference(x))
    assert foreign.notes == ["running statistics of instance norm are passed over, as in the authors' code"]


@pytest.mark.parametrize(("layers", "kind"), [(1, "batch"), (3, "batch"), (5, "instance"), (4, "instance_affine")])
def test_pix2pix_with_its_discriminator(layers: int, kind: str) -> None:
    """Also where its patches need larger images than the generator's depth does."""
    G, D = randomised(UNet(3, 1, 1, 5, kind)), randomised(Patch(4, 2, layers, kind))
    foreign = got({"latest_net_G": G.state_dict(), "latest_net_D": D.state_dict()})
    model, x = built(foreign), image(3, 96)
    assert foreign.settings["data.image_size"] == {1: 32, 3: 32, 4: 96, 5: 96}[layers]
    y = model.translate(x)
    assert_same(y, G(x))
    pair = torch.cat([x, y], dim=1)
    assert_same(model.D(pair), D(pair))


def test_old_batchnorm_counts_no_batches() -> None:
    tree = state(UNet(3, 3, 1, 5, "batch"))
    foreign = got(without(tree, *[name for name in tree if name.endswith("num_batches_tracked")]))
    built(foreign)
    assert not foreign.notes


@pytest.mark.parametrize("kind", ["instance", "batch"])
def test_cyclegan_of_four_files(kind: str) -> None:
    """Their G_A makes B of A, and their D_A judges B, which is Y here."""
    networks = {"G_A": ResNet(3, 1, 2, 6, kind), "G_B": ResNet(1, 3, 2, 6, kind)}
    networks |= {"D_A": Patch(1, 2, 2, kind), "D_B": Patch(3, 2, 2, kind)}
    tree = {f"latest_net_{name}": state(network, seed) for seed, (name, network) in enumerate(networks.items())}
    foreign = got(tree)
    assert foreign.variant == "cyclegan"
    model, x, y = built(foreign), image(3, 64), image(1, 64)
    assert_same(model.translate(x, "X->Y"), networks["G_A"](x))
    assert_same(model.translate(y, "Y->X"), networks["G_B"](y))
    assert_same(model.D_Y(y), networks["D_A"](y))
    assert_same(model.D_X(x), networks["D_B"](x))
    assert foreign.weights.keys() == model.state_dict().keys()


def test_half_a_cyclegan_is_one_direction() -> None:
    """Its D judges images alone, which pix2pix's does not: it is passed over."""
    tree = {
        "latest_net_G_A": state(ResNet(3, 3, 2, 1, "instance")),
        "latest_net_D_A": state(Patch(3, 2, 3, "instance")),
    }
    foreign = got(tree)
    assert foreign.variant == "pix2pix"
    assert not [name for name in foreign.weights if not name.startswith("G.")]
    assert foreign.notes[0].startswith("'latest_net_D_A' was passed over: pix2pix's D sees 3 + 3 channels")


def test_a_network_that_was_pickled_as_it_is(tmp_path: Path) -> None:
    """In DataParallel, as torch.save(netG, FILE) leaves it: its classes are not looked for."""
    reference = randomised(ResNet(1, 1, 2, 1, "batch"))
    torch.save(nn.DataParallel(reference), tmp_path / "latest_net_G.pth")
    foreign = recognise(pickles.read(tmp_path / "latest_net_G.pth"))
    assert_same(built(foreign).translate(image(1, 16)), reference(image(1, 16)))


def test_what_is_not_of_this_repository() -> None:
    for tree in ({}, [], None, "text", {"epoch": 3}, {"conv.weight": torch.ones(1, 1, 3, 3)}, {"a": {"b": 1}}):
        assert read(tree) is None
    dcgan = {"main.0.weight": torch.ones(2, 3, 4, 4), "main.2.weight": torch.ones(4, 2, 4, 4)}
    assert read(dcgan) is None
    optimizer = {"state": {}, "param_groups": []}
    foreign = got({"netG": state(ResNet(1, 1, 1, 1, "instance")), "optimizer": optimizer})
    assert foreign.notes == ["'optimizer' is no network of this repository, and was passed over"]


G, U, D = (
    state(make) for make in (ResNet(3, 3, 2, 2, "instance"), UNet(3, 3, 1, 5, "batch"), Patch(3, 2, 2, "instance"))
)
DEEP = UNet(1, 1, 1, 9, "batch").state_dict()
PIX2PIXHD = {name.replace("model.10.", "model.16.").replace("model.11.", "model.17."): w for name, w in G.items()}
PIXEL = {"net.0.weight": torch.ones(2, 3, 1, 1), "net.2.weight": torch.ones(4, 2, 1, 1)}


@pytest.mark.parametrize(
    ("tree", "wanted", "sentence"),
    [
        (
            without(G, "model.11.conv_block.5.weight"),
            None,
            r"has no model\.11\.conv_block\.5\.weight",
        ),
        (without(G, "model.19.bias"), None, r"has no model\.19\.bias"),
        (without(U, "model.model.1.model.2.running_var"), None, r"has no model\.model\.1\.model\.2\.running_var"),
        (without(D, "model.5.weight"), None, r"has no model\.5\.weight"),
        (
            {**G, "model.4.weight": torch.ones(5, 2, 3, 3)},
            None,
            r"model\.4\.weight is 5x2x3x3, not 4x2x3x3",
        ),
        ({**G, "model.4.weight": torch.ones(4, 2, 3, 3).int()}, None, r"model\.4\.weight holds no real numbers"),
        (
            {**G, "model.7.filt": torch.ones(4, 1, 3, 3)},
            None,
            r"has model\.7\.filt, for which this zoo's network has no place",
        ),
        (PIX2PIXHD, None, r"its residual blocks are model\.16 to 17, .* another repository's \(pix2pixHD's, CUT's\)"),
        (DEEP, None, "halves images more than 8 times"),
        (without(G, *[n for n in G if n.endswith("bias") and n != "model.19.bias"]), None, r"\(their norm=none\)"),
        (D, "pix2pix", "sees 3 channels, and pix2pix's D those of both images"),
        (PIXEL, None, "discriminator `pixel` judges single pixels"),
        (G, "dcgan", "become pix2pix or cyclegan, not 'dcgan'"),
        (G, "cyclegan", "cyclegan needs both generators: import the folder"),
        ({"latest_net_G_A": G, "latest_net_G_B": G}, "pix2pix", "are not one pix2pix: name one of them"),
        ({"one": G, "other": G}, None, "'one', 'other' are generators, and their names do not say which is which"),
        ({"a_net_G_A": G, "a_net_G_B": U}, None, "are not the two directions of one CycleGAN"),
        ({"G_A": G, "G_B": G, "D_A": state(Patch(3, 2, 2, "batch"))}, None, r"the discriminator 'D_A' .* does not fit"),
        ({"G_A": G, "G_B": G, "D": D}, None, "the discriminator 'D' .* does not fit"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tree: Any, wanted: str | None, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        read(tree, wanted=wanted)
    assert "\n" not in str(caught.value)


def test_discriminators_alone_are_for_start() -> None:
    """One without a letter is both of CycleGAN's; of A and B each has its place; of pairs it is pix2pix's."""
    for tree, places in (({"d": D}, ("D_X", "D_Y")), ({"latest_net_D_A": D}, ("D_Y",)), ({"net_D_B": D}, ("D_X",))):
        foreign = read(tree)
        assert foreign is not None
        assert (foreign.variant, {name.partition(".")[0] for name in foreign.weights}) == ("cyclegan", {*places})
    foreign = read(state(Patch(6, 2, 2, "batch")))
    assert foreign is not None
    assert (foreign.variant, foreign.settings["data.channels_x"], foreign.settings["model.norm"]) == (
        "pix2pix",
        3,
        "batch",
    )
    built(foreign)
