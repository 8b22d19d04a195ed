"""Super-resolution networks of other repositories, in their key names, against this zoo's after reading them.

The references are written here in plain torch from what those repositories publish: a few layers, random weights.
"""

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from common import make, needs
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.formats import Foreign, basicsr, leftthomas, lornatang
from zoo.model.srgan import SRGAN

LOW = torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(0))  # in [0, 1]


@cache
def defaults() -> dict[str, Any]:
    """The settings of a small model, which a configuration takes long to compose."""
    small = ("model.width=4", "model.blocks=1", "model.discriminator_width=2", "model.discriminator_dense=4")
    return dict(make("srgan", *small, "data.patch_size=24").hparams)


def model_of(**settings: Any) -> SRGAN:
    return SRGAN(**{**defaults(), **settings}).eval()


def built(foreign: Foreign) -> SRGAN:
    """The model that a reading gives, with its weights; D's stay random where there are none."""
    assert foreign.variant == "srgan"
    model = model_of(**{name.split(".")[1]: value for name, value in foreign.settings.items()})
    missing, unexpected = model.load_state_dict(foreign.weights, strict=False)
    given = {name.split(".")[0] for name in foreign.weights}
    assert not unexpected
    assert not [name for name in missing if name.split(".")[0] in given]
    return model.eval()


def upscaled(foreign: Foreign, low: Tensor = LOW) -> Tensor:
    """In [0, 1] outside."""
    with torch.no_grad():
        return (built(foreign).upscale(2 * low - 1) + 1) / 2


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and statistics that are nobody's defaults."""
    torch.manual_seed(seed)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data.copy_(torch.rand_like(tensor) * 0.9 + 0.3 if "var" in name else torch.randn_like(tensor) * 0.2)
    return network.eval()


class Named(nn.Module):
    """A module of these parts."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


# Lornatang ----------------------------------------------------------------------------------------------------------


class Lornatang(nn.Module):
    def __init__(self, width: int, blocks: int, scale: int, channels: int = 3, old: bool = False) -> None:
        super().__init__()
        conv = lambda: nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.names = ("conv_block1", "conv_block2", "conv_block3") if old else ("conv1", "conv2", "conv3")
        setattr(self, self.names[0], nn.Sequential(nn.Conv2d(channels, width, 9, 1, 4), nn.PReLU()))
        rcb = lambda: nn.Sequential(conv(), nn.BatchNorm2d(width), nn.PReLU(), conv(), nn.BatchNorm2d(width))
        self.trunk = nn.Sequential(*(Named(rcb=rcb()) for _ in range(blocks)))
        setattr(self, self.names[1], nn.Sequential(conv(), nn.BatchNorm2d(width)))
        factors = [3] if scale == 3 else [2] * int(math.log2(scale))
        step = lambda r: nn.Sequential(nn.Conv2d(width, width * r * r, 3, 1, 1), nn.PixelShuffle(r), nn.PReLU())
        self.upsampling = nn.Sequential(*(Named(upsample_block=step(r)) for r in factors))
        setattr(self, self.names[2], nn.Conv2d(width, channels, 9, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = (getattr(self, name) for name in self.names)
        out = first(x)
        y = out
        for block in self.trunk:
            y = y + block.rcb(y)
        y = out + second(y)
        for block in self.upsampling:
            y = block.upsample_block(y)
        return third(y).clamp(0, 1)


@pytest.mark.parametrize(
    ("width", "blocks", "scale", "old", "wrapped"),
    [(8, 3, 4, False, True), (6, 1, 2, True, False), (4, 2, 8, False, False), (4, 1, 3, False, True)],
)
def test_lornatang(width: int, blocks: int, scale: int, old: bool, wrapped: bool) -> None:
    """As train_net.py saves it, with the average beside it, compiled or not; and a bare state dict."""
    theirs, average = (randomised(Lornatang(width, blocks, scale, old=old), seed) for seed in (1, 2))
    tree: Any = {f"_orig_mod.{k}" if wrapped else k: v for k, v in theirs.state_dict().items()}
    if wrapped:
        ema = {"n_averaged": torch.tensor(7), **{f"module.{k}": v for k, v in average.state_dict().items()}}
        tree = {"epoch": 3, "psnr": 20.0, "state_dict": tree, "ema_state_dict": ema, "optimizer": {"state": {}}}
    foreign = lornatang.read(tree, wanted=None)
    assert foreign is not None
    assert foreign.settings["data.scale"] == scale
    assert (foreign.settings["model.width"], foreign.settings["model.blocks"]) == (width, blocks)
    assert bool(foreign.notes) == wrapped  # the average was passed over
    with torch.no_grad():
        torch.testing.assert_close(upscaled(foreign), theirs(LOW), atol=1e-5, rtol=0)


def test_lornatang_grey() -> None:
    theirs = randomised(Lornatang(4, 1, 2, channels=1))
    foreign = lornatang.read(theirs.state_dict(), wanted=None)
    assert foreign is not None
    with torch.no_grad():
        torch.testing.assert_close(upscaled(foreign, LOW[:, :1]), theirs(LOW[:, :1]), atol=1e-5, rtol=0)


def test_lornatangs_discriminator() -> None:
    """Eight convolutions and two dense layers: the logit is the same."""
    width, side, layers = 2, 2, [nn.Conv2d(3, 2, 3, 1, 1), nn.LeakyReLU(0.2)]
    sizes = [width * 2 ** (k // 2) for k in range(8)]
    for k in range(1, 8):
        layers += [nn.Conv2d(sizes[k - 1], sizes[k], 3, 1 + k % 2, 1, bias=False), nn.BatchNorm2d(sizes[k])]
        layers += [nn.LeakyReLU(0.2)]
    head = nn.Sequential(nn.Linear(sizes[-1] * side**2, 5), nn.LeakyReLU(0.2), nn.Linear(5, 1))
    theirs = randomised(Named(features=nn.Sequential(*layers), classifier=head))
    foreign = lornatang.read({"state_dict": theirs.state_dict()}, wanted=None)
    assert foreign is not None
    assert foreign.settings["data.patch_size"] == 32
    image = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        expected = theirs.classifier(theirs.features(image).flatten(1))[:, 0]
        torch.testing.assert_close(built(foreign).D(image), expected, atol=1e-5, rtol=0)


# leftthomas ---------------------------------------------------------------------------------------------------------


class LeftthomasBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.prelu = nn.PReLU()
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))


class LeftthomasStep(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.prelu = nn.Conv2d(width, 4 * width, 3, padding=1), nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(F.pixel_shuffle(self.conv(x), 2))


class Leftthomas(nn.Module):
    def __init__(self, width: int, blocks: int, scale: int) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, width, 9, padding=4), nn.PReLU())
        self.names = [f"block{n + 2}" for n in range(blocks)]
        for name in self.names:
            setattr(self, name, LeftthomasBlock(width))
        after = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))
        steps = [LeftthomasStep(width) for _ in range(int(math.log2(scale)))]
        self.last = [f"block{blocks + 2}", f"block{blocks + 3}"]
        setattr(self, self.last[0], after)
        setattr(self, self.last[1], nn.Sequential(*steps, nn.Conv2d(width, 3, 9, padding=4)))

    def forward(self, x: Tensor) -> Tensor:
        first = y = self.block1(x)
        for name in self.names:
            y = getattr(self, name)(y)
        return (torch.tanh(getattr(self, self.last[1])(first + getattr(self, self.last[0])(y))) + 1) / 2


@pytest.mark.parametrize(("width", "blocks", "scale"), [(8, 5, 4), (4, 5, 2), (4, 2, 8)])
def test_leftthomas(width: int, blocks: int, scale: int) -> None:
    theirs = randomised(Leftthomas(width, blocks, scale))
    foreign = leftthomas.read(theirs.state_dict(), wanted=None)
    assert foreign is not None
    assert foreign.settings["data.scale"] == scale
    with torch.no_grad():
        expected = theirs(LOW)
    assert expected.std() > 0.01
    torch.testing.assert_close(upscaled(foreign), expected, atol=1e-5, rtol=0)


# BasicSR ------------------------------------------------------------------------------------------------------------


class MSRResNet(nn.Module):
    def __init__(self, width: int, blocks: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        conv = lambda c_in, c_out: nn.Conv2d(c_in, c_out, 3, 1, 1)
        self.conv_first = conv(3, width)
        self.body = nn.Sequential(*(Named(conv1=conv(width, width), conv2=conv(width, width)) for _ in range(blocks)))
        factor = 3 if scale == 3 else 2
        self.upconv1 = conv(width, factor**2 * width)
        if scale == 4:
            self.upconv2 = conv(width, 4 * width)
        self.conv_hr, self.conv_last = conv(width, width), conv(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        act = lambda y: F.leaky_relu(y, 0.1)
        y = act(self.conv_first(x))
        for block in self.body:
            y = y + block.conv2(F.relu(block.conv1(y)))
        y = act(F.pixel_shuffle(self.upconv1(y), 3 if self.scale == 3 else 2))
        if self.scale == 4:
            y = act(F.pixel_shuffle(self.upconv2(y), 2))
        base = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return self.conv_last(act(self.conv_hr(y))) + base


@pytest.mark.parametrize(("width", "blocks", "scale"), [(8, 3, 4), (4, 1, 3), (6, 2, 2)])
def test_msrresnet(width: int, blocks: int, scale: int) -> None:
    theirs = randomised(MSRResNet(width, blocks, scale))
    foreign = basicsr.read({"params": theirs.state_dict()}, wanted=None)
    assert foreign is not None
    assert foreign.settings["data.scale"] == scale
    with torch.no_grad():
        expected = theirs(LOW).clamp(0, 1)
    torch.testing.assert_close(upscaled(foreign), expected, atol=1e-5, rtol=0)


class RRDBNet(nn.Module):
    """By BasicSR's names, `steps` enlargements by 2."""

    def __init__(self, width: int, blocks: int, growth: int, steps: int, fold: int = 1) -> None:
        super().__init__()
        conv = lambda c_in, c_out: nn.Conv2d(c_in, c_out, 3, 1, 1)
        sizes = [(width + k * growth, growth if k < 4 else width) for k in range(5)]
        dense = lambda: Named(**{f"conv{k + 1}": conv(*size) for k, size in enumerate(sizes)})
        self.fold, self.steps = fold, steps
        self.conv_first = conv(3 * fold**2, width)
        self.body = nn.Sequential(*(Named(rdb1=dense(), rdb2=dense(), rdb3=dense()) for _ in range(blocks)))
        self.conv_body = conv(width, width)
        for n in range(steps):
            setattr(self, f"conv_up{n + 1}", conv(width, width))
        self.conv_hr, self.conv_last = conv(width, width), conv(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        act = lambda y: F.leaky_relu(y, 0.2)
        first = y = self.conv_first(F.pixel_unshuffle(x, self.fold))
        for block in self.body:
            before = y
            for dense in (block.rdb1, block.rdb2, block.rdb3):
                maps = [y]
                for k in range(1, 5):
                    maps.append(act(getattr(dense, f"conv{k}")(torch.cat(maps, 1))))
                y = y + 0.2 * dense.conv5(torch.cat(maps, 1))
            y = before + 0.2 * y
        y = first + self.conv_body(y)
        for n in range(self.steps):
            y = act(getattr(self, f"conv_up{n + 1}")(F.interpolate(y, scale_factor=2, mode="nearest")))
        return self.conv_last(act(self.conv_hr(y)))


def of_2018(state: dict[str, Tensor], blocks: int, steps: int) -> dict[str, Tensor]:
    """The names of ESRGAN's first files, layers by their number."""
    whole = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}"}
    whole |= {f"conv_up{n + 1}": f"model.{3 * n + 3}" for n in range(steps)}
    whole |= {"conv_hr": f"model.{3 * steps + 2}", "conv_last": f"model.{3 * steps + 4}"}
    result = {}
    for name, tensor in state.items():
        layer, part = name.rsplit(".", 1)
        if layer not in whole:
            _, n, rdb, conv = layer.split(".")
            whole[layer] = f"model.1.sub.{n}.RDB{rdb[-1]}.{conv}.0"
        result[f"{whole[layer]}.{part}"] = tensor
    return result


def of_xinntao(state: dict[str, Tensor]) -> dict[str, Tensor]:
    changes = {
        "body.": "RRDB_trunk.",
        "conv_body": "trunk_conv",
        "conv_up": "upconv",
        "conv_hr": "HRconv",
        "rdb": "RDB",
    }
    result = {}
    for name, tensor in state.items():
        for old, new in changes.items():
            name = name if name.startswith("conv_body") and old == "body." else name.replace(old, new)
        result[name] = tensor
    return result


@pytest.mark.parametrize("names", ["new", "2018", "xinntao"])
@pytest.mark.parametrize(
    ("width", "blocks", "growth", "steps"), [(8, 2, 4, 2), (6, 1, 3, 1), (4, 1, 2, 3), (4, 1, 2, 0)]
)
def test_rrdb(width: int, blocks: int, growth: int, steps: int, names: str) -> None:
    theirs = randomised(RRDBNet(width, blocks, growth, steps))
    state = theirs.state_dict()
    tree: Any = {"params_ema": state}
    if names == "2018":
        tree = of_2018(state, blocks, steps)
    elif names == "xinntao":
        tree = of_xinntao(state)
        assert "RRDB_trunk.0.RDB1.conv1.weight" in tree
        assert "trunk_conv.weight" in tree
    foreign = basicsr.read(tree, wanted=None)
    assert foreign is not None
    assert foreign.settings["data.scale"] == 2**steps
    with torch.no_grad():
        expected = theirs(LOW).clamp(0, 1)
    assert expected.std() > 0.01
    torch.testing.assert_close(upscaled(foreign), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("fold", "scale"), [(2, 2), (4, 1)])
def test_real_esrgans_folded_input(fold: int, scale: int) -> None:
    theirs = randomised(RRDBNet(6, 1, 4, steps=2, fold=fold))
    foreign = basicsr.read({"params_ema": theirs.state_dict()}, wanted=None)
    assert foreign is not None
    assert (foreign.settings["data.scale"], foreign.settings["model.unshuffle"]) == (scale, fold)
    low = torch.rand(1, 3, 8, 12)
    with torch.no_grad():
        torch.testing.assert_close(upscaled(foreign, low), theirs(low).clamp(0, 1), atol=1e-5, rtol=0)
    assert upscaled(foreign, LOW[..., :7, :5]).shape[2:] == (7 * scale, 5 * scale)  # no multiples of the folding


def test_the_average_is_preferred_as_real_esrgan_does() -> None:
    theirs, other = (randomised(RRDBNet(4, 1, 2, 1), seed).state_dict() for seed in (1, 2))
    foreign = basicsr.read({"params": other, "params_ema": theirs}, wanted=None)
    assert foreign is not None
    assert torch.equal(foreign.weights["G.enter.weight"], theirs["conv_first.weight"])
    assert "params" in foreign.notes[0]


# What is not theirs, and what is damaged ----------------------------------------------------------------------------

READERS = (lornatang, leftthomas, basicsr)


@pytest.mark.parametrize("tree", [{}, [], None, 3, {"a": torch.zeros(2)}, {"state_dict": {"conv1.0.weight": 1}}, "x"])
def test_what_is_not_theirs_is_left_alone(tree: Any) -> None:
    assert [reader.read(tree, wanted=None) for reader in READERS] == [None] * 3


def test_none_takes_anothers() -> None:
    files = {
        lornatang: Lornatang(4, 1, 2), leftthomas: Leftthomas(4, 1, 2), basicsr: MSRResNet(4, 1, 2)
    }  # fmt: skip
    for owner, network in files.items():
        found = [reader for reader in READERS if reader.read(network.state_dict(), wanted=None) is not None]
        assert found == [owner]


def broken(state: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """One layer too few, one of another shape, one too many."""
    fewer, other, more = dict(state), dict(state), dict(state)
    last = [name for name in state if name.endswith("weight")][-1]
    del fewer[last]
    other[last] = state[last][:, :-1] if state[last].dim() == 4 else state[last][:-1]
    more["classifier.weight"] = torch.zeros(3)
    return [fewer, other, more]


@pytest.mark.parametrize("network", [Lornatang(4, 1, 2), Leftthomas(4, 1, 2), MSRResNet(4, 1, 2), RRDBNet(4, 1, 2, 1)])
def test_damage_is_one_sentence(network: nn.Module) -> None:
    reader = next(reader for reader in READERS if reader.read(network.state_dict(), wanted=None) is not None)
    states = broken(network.state_dict())
    if isinstance(network, RRDBNet):
        old = of_2018(network.state_dict(), 1, 1)
        states += [*broken(old), {name: old[name] for name in old if ".sub." in name or "model.0" in name}]
    for state in states:
        with pytest.raises(ValueError, match=reader.REPOSITORY) as caught:
            reader.read(state, wanted=None)
        assert "\n" not in str(caught.value)


def test_networks_that_this_zoo_has_not_are_refused() -> None:
    names = ("conv1.0.weight", "trunk.0.conv1.weight", "subpixel_conv.0.conv.weight")
    old = {name: torch.zeros(1) for name in names}
    with pytest.raises(ValueError, match="2021"):
        lornatang.read(old, wanted=None)
    plus = of_2018(RRDBNet(4, 1, 2, 1).state_dict(), 1, 1)
    plus["model.1.sub.0.RDB1.conv1x1.weight"] = torch.zeros(2, 4, 1, 1)
    with pytest.raises(ValueError, match="conv1x1"):
        basicsr.read(plus, wanted=None)
    pair = RRDBNet(4, 1, 2, 1).state_dict()
    pair["conv_first.weight"] = torch.zeros(4, 5, 3, 3)
    with pytest.raises(ValueError, match="3 channels of 5"):
        basicsr.read(pair, wanted=None)


# The other way ------------------------------------------------------------------------------------------------------

RRDB = {"network": "rrdb", "width": 8, "blocks": 1}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(("scale", "fold"), [(4, 1), (2, 1), (8, 1), (1, 1), (2, 2), (1, 4)])
def test_spandrel_reads_what_is_written(scale: int, fold: int, suffix: str, tmp_path: Path) -> None:
    """What chaiNNer and ComfyUI read files with: the same image, at several sizes."""
    spandrel = needs("spandrel")
    model = model_of(**RRDB, scale=scale, unshuffle=fold)
    randomised(model)
    path = tmp_path / f"x{suffix}"
    basicsr.save(path, basicsr.as_esrgan(model.state_dict(), model.hparams))
    theirs = spandrel.ModelLoader().load_from_file(path)
    assert theirs.architecture.id == "ESRGAN"
    assert (theirs.scale, theirs.input_channels, theirs.output_channels) == (scale, 3, 3)
    for size in ((8, 8), (7, 13), (16, 5)):
        low = torch.rand(1, 3, *size)
        with torch.no_grad():
            ours = (model.upscale(2 * low - 1) + 1) / 2
            torch.testing.assert_close(theirs.model(low).clamp(0, 1), ours, atol=1e-5, rtol=0)
    again = basicsr.read(basicsr.as_esrgan(model.state_dict(), model.hparams), wanted=None)
    assert again is not None
    average = {k.removeprefix("G_ema.module."): v for k, v in model.state_dict().items() if k.startswith("G_ema.m")}
    assert again.weights.keys() == {f"G.{name}" for name in average}
    assert all(torch.equal(again.weights[f"G.{name}"], tensor) for name, tensor in average.items())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"network": "srresnet"}, "model.network=rrdb"),
        ({"image_range": "signed"}, "model.image_range=unit"),
        ({"bound": "tanh"}, "model.bound=none"),
        ({"growth": 16}, "model.growth=32"),
        ({"scale": 3}, "1 or 2 or 4 or 8"),
        ({"blocks": 0}, "1 or more"),
    ],
)
def test_what_can_not_be_said_in_their_names(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    model = model_of(**{**RRDB, **change})
    with pytest.raises(ValueError, match=named):
        basicsr.as_esrgan(model.state_dict(), model.hparams)
    with pytest.raises(ValueError, match="safetensors"):
        basicsr.save(tmp_path / "x.onnx", {})
    assert not list(tmp_path.iterdir())
