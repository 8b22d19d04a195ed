"""StyleGAN2 with random weights: what it computes, written plainly from the papers, and as two repositories store it.

One image at a time, with the weights of each layer modulated for it (arXiv:1912.04958, eq. 1 and 3), where this zoo
scales inputs and outputs instead.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.formats import Foreign
from zoo.model.stylegan_lite import StyleGANLite
from zoo.run.config import compose, plain

Layer = dict[str, Tensor]


class Reference:
    """Networks of random weights.

    Args:
        sizes: channels at 4, 8, ... pixels.
        classes: 0: none.
        clamp: of convolutions.
        class_layers, class_rate: of D's mapping of classes.
        residual: D has skips.
    """

    def __init__(
        self, sizes: list[int], *, z_dim: int, w_dim: int, layers: int, channels: int = 3, classes: int = 0,
        clamp: float | None = None, class_layers: int = 8, class_rate: float = 0.01, seed: int = 0, scale: float = 1.0,
        residual: bool = True,
    ) -> None:  # fmt: skip
        random = torch.Generator().manual_seed(seed)
        normal = lambda *shape: torch.randn(*shape, generator=random)
        self.sizes, self.channels, self.classes, self.clamp = sizes, channels, classes, clamp
        self.z_dim, self.w_dim, self.class_rate, self.residual = z_dim, w_dim, class_rate, residual
        linear = lambda c_out, c_in, rate=1.0: {
            "weight": normal(c_out, c_in) / rate,
            "bias": normal(c_out) / rate * 0.3,
        }
        conv = lambda c_out, c_in, k, scale=1.0: {
            "weight": normal(c_out, c_in, k, k) * scale,
            "bias": normal(c_out) * 0.3,
        }
        self.embed = linear(w_dim, classes) if classes else None
        inputs = [z_dim + (w_dim if classes else 0), *[w_dim] * (layers - 1)]
        self.mapping = [linear(w_dim, c_in, 0.01) for c_in in inputs]
        self.mean = normal(w_dim)
        self.const = normal(sizes[0], 4, 4) * scale
        self.convs, self.rgbs = [], []
        for i in range(2 * len(sizes) - 1):
            c_in, c_out, side = sizes[i // 2], sizes[(i + 1) // 2], 4 * 2 ** ((i + 1) // 2)
            self.convs.append(
                conv(c_out, c_in, 3)
                | {"style": linear(c_in, w_dim), "strength": normal(()), "noise": normal(side, side)}
            )
        for size in sizes:
            self.rgbs.append(conv(channels, size, 1) | {"style": linear(size, w_dim)})
        self.rgb_in = conv(sizes[-1], channels, 1, scale)
        self.blocks = [  # from the image on
            (conv(a, a, 3), conv(b, a, 3), {"weight": normal(b, a, 1, 1)})
            for a, b in zip(sizes[:0:-1], sizes[-2::-1], strict=True)
        ]
        size = sizes[0]
        self.last, self.dense = conv(size, size + 1, 3), linear(size, 16 * size)
        self.judge = linear(size if classes else 1, size)
        self.class_embed = linear(size, classes) if classes else None
        self.class_mapping = [linear(size, size, class_rate) for _ in range(class_layers)] if classes else []

    def w(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = unit(z)
        if self.embed is not None:
            x = torch.cat([x, unit(dense(F.one_hot(y, self.classes).float(), self.embed))], 1)
        for layer in self.mapping:
            x = lrelu(dense(x, layer, 0.01))
        return x

    def image(self, w: Tensor) -> Tensor:
        return torch.cat([self._image(row) for row in w])

    def _image(self, w: Tensor) -> Tensor:
        x, image = self.const[None], torch.zeros(())
        for i, layer in enumerate(self.convs):
            x = modulated(x, layer, w, up=i % 2 == 1, demodulate=True)
            x = self.limit(lrelu(x + layer["noise"] * layer["strength"] + layer["bias"][:, None, None]))
            if i % 2 == 0:
                rgb = self.rgbs[i // 2]
                part = self.limit(modulated(x, rgb, w, up=False, demodulate=False) + rgb["bias"][:, None, None])
                image = upsampled(image) + part if i else part
        return image

    def logit(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Of one group."""
        h = self.limit(lrelu(convolved(x, self.rgb_in)))
        for first, second, skip in self.blocks:
            straight = convolved(filtered(h, (1, 1)), skip, stride=2)
            h = self.limit(lrelu(convolved(h, first)))
            h = self.limit(lrelu(convolved(filtered(h, (2, 2)), second, stride=2, padding=0)))
            h = (h + straight) / math.sqrt(2) if self.residual else h
        deviation = (h.var(0, unbiased=False) + 1e-8).sqrt().mean()
        h = torch.cat([h, deviation.expand(len(h), 1, *h.shape[2:])], 1)
        h = self.limit(lrelu(convolved(h, self.last)))
        phi = dense(lrelu(dense(h.flatten(1), self.dense)), self.judge)
        if self.class_embed is None:
            return phi[:, 0]
        v = unit(dense(F.one_hot(y, self.classes).float(), self.class_embed))
        for layer in self.class_mapping:
            v = lrelu(dense(v, layer, self.class_rate))
        return (phi * v).sum(1) / math.sqrt(self.sizes[0])

    def limit(self, x: Tensor) -> Tensor:
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


def unit(x: Tensor) -> Tensor:
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x < 0, 0.2 * x, x) * math.sqrt(2)


def dense(x: Tensor, layer: Layer, rate: float = 1.0) -> Tensor:
    return x @ layer["weight"].T * (rate / math.sqrt(layer["weight"].shape[1])) + layer["bias"] * rate


def convolved(x: Tensor, layer: Layer, *, stride: int = 1, padding: int | None = None) -> Tensor:
    c_in, k = layer["weight"].shape[1], layer["weight"].shape[-1]
    padding = k // 2 if padding is None else padding
    x = F.conv2d(x, layer["weight"] / math.sqrt(c_in * k**2), layer.get("bias"), stride=stride, padding=padding)
    return x


def modulated(x: Tensor, layer: Any, w: Tensor, *, up: bool, demodulate: bool) -> Tensor:
    style = dense(w[None], layer["style"])[0]
    weight = layer["weight"] / math.sqrt(layer["weight"][0].numel()) * style[None, :, None, None]
    if demodulate:
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    if up:
        return filtered(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), (1, 1)) * 4
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


def filtered(x: Tensor, padding: tuple[int, int]) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    x = F.pad(x, (*padding, *padding))
    n, c, h, w = x.shape
    x = F.conv2d(x.reshape(n * c, 1, h, w), taps.view(1, 1, 4, 1))
    x = F.conv2d(x, taps.view(1, 1, 1, 4))
    return x.reshape(n, c, *x.shape[2:])


def upsampled(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, h, 2, w, 2)
    spread[:, :, :, 0, :, 0] = x
    return filtered(spread.reshape(n, c, 2 * h, 2 * w), (2, 1)) * 4


KERNEL = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64


def rosinality(reference: Reference) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """State dicts of G and D with the names of rosinality/stylegan2-pytorch."""
    G: dict[str, Tensor] = {}
    for i, layer in enumerate(reference.mapping):
        G |= {f"style.{i + 1}.{name}": value for name, value in layer.items()}
    G["input.input"] = reference.const[None]
    for i, layer in enumerate(reference.convs):
        name = f"convs.{i - 1}" if i else "conv1"
        G |= {
            f"{name}.conv.weight": layer["weight"][None], f"{name}.noise.weight": layer["strength"][None],
            f"{name}.activate.bias": layer["bias"], f"{name}.conv.modulation.weight": layer["style"]["weight"],
            f"{name}.conv.modulation.bias": layer["style"]["bias"], f"noises.noise_{i}": layer["noise"][None, None],
        }  # fmt: skip
        if i % 2:
            G[f"{name}.conv.blur.kernel"] = KERNEL * 4
    for k, layer in enumerate(reference.rgbs):
        name = f"to_rgbs.{k - 1}" if k else "to_rgb1"
        G |= {
            f"{name}.conv.weight": layer["weight"][None], f"{name}.bias": layer["bias"][None, :, None, None],
            f"{name}.conv.modulation.weight": layer["style"]["weight"],
            f"{name}.conv.modulation.bias": layer["style"]["bias"],
        }  # fmt: skip
        if k:
            G[f"{name}.upsample.kernel"] = KERNEL * 4
    D = {"convs.0.0.weight": reference.rgb_in["weight"], "convs.0.1.bias": reference.rgb_in["bias"]}
    for i, (first, second, skip) in enumerate(reference.blocks, start=1):
        D |= {
            f"convs.{i}.conv1.0.weight": first["weight"], f"convs.{i}.conv1.1.bias": first["bias"],
            f"convs.{i}.conv2.0.kernel": KERNEL, f"convs.{i}.conv2.1.weight": second["weight"],
            f"convs.{i}.conv2.2.bias": second["bias"], f"convs.{i}.skip.0.kernel": KERNEL,
            f"convs.{i}.skip.1.weight": skip["weight"],
        }  # fmt: skip
    D |= {
        "final_conv.0.weight": reference.last["weight"], "final_conv.1.bias": reference.last["bias"],
        "final_linear.0.weight": reference.dense["weight"], "final_linear.0.bias": reference.dense["bias"],
        "final_linear.1.weight": reference.judge["weight"], "final_linear.1.bias": reference.judge["bias"],
    }  # fmt: skip
    return G, D


class Layer(nn.Module):
    """One of their layers: weights, and attributes that are no weights."""

    def __init__(self, kind: str, tensors: dict[str, Tensor] | None = None, **attributes: Any) -> None:
        super().__init__()
        self.kind = kind
        for name, tensor in (tensors or {}).items():
            if name in ("resample_filter", "noise_const", "w_avg"):
                self.register_buffer(name, tensor)
            else:
                setattr(self, name, nn.Parameter(tensor))
        self.__dict__.update(attributes)

    def __reduce__(self) -> Any:
        state = {**self.__dict__, "_init_args": (), "_init_kwargs": EasyDict(a=1)}
        source = "raise SystemExit('the source of a class was run')"
        meta = {"type": "class", "version": 6, "module_src": source, "class_name": self.kind, "state": state}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (EasyDict(meta),)


class EasyDict(dict):
    pass


@contextmanager
def persistence() -> Iterator[None]:
    """While it lasts, there is the function by whose name their objects are pickled."""
    package, module = ModuleType("torch_utils"), ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("called")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    sys.modules |= {"torch_utils": package, "torch_utils.persistence": module}
    try:
        yield
    finally:
        del sys.modules["torch_utils"], sys.modules["torch_utils.persistence"]


FILTER = {"resample_filter": KERNEL}


def networks(
    reference: Reference, *, rate: float = 0.01, noise: bool = True, group: int | None = 4, conv_clamp: Any = "own"
) -> tuple[Layer, Layer]:
    """G and D with the names of NVlabs/stylegan2-ada-pytorch."""
    clamp = reference.clamp if conv_clamp == "own" else conv_clamp
    linear = lambda layer, rate=1.0, activation="linear": Layer(
        "FullyConnectedLayer", layer, activation=activation, bias_gain=rate
    )
    mapping = Layer("MappingNetwork", {"w_avg": reference.mean}, z_dim=reference.z_dim)
    for i, layer in enumerate(reference.mapping):
        mapping.add_module(f"fc{i}", linear(layer, rate, "lrelu"))
    if reference.embed:
        mapping.add_module("embed", linear(reference.embed))
    synthesis = Layer("SynthesisNetwork")
    for k in range(len(reference.sizes)):
        block = Layer("SynthesisBlock", FILTER | ({} if k else {"const": reference.const}), architecture="skip")
        for conv in (0, 1) if k else (1,):
            theirs = reference.convs[2 * k - 1 + conv]
            tensors = {"weight": theirs["weight"], "bias": theirs["bias"]} | FILTER
            if noise:
                tensors |= {"noise_strength": theirs["strength"], "noise_const": theirs["noise"]}
            layer = Layer("SynthesisLayer", tensors, conv_clamp=clamp, activation="lrelu", use_noise=noise)
            layer.add_module("affine", linear(theirs["style"]))
            block.add_module(f"conv{conv}", layer)
        theirs = reference.rgbs[k]
        layer = Layer("ToRGBLayer", {"weight": theirs["weight"], "bias": theirs["bias"]}, conv_clamp=clamp)
        layer.add_module("affine", linear(theirs["style"]))
        block.add_module("torgb", layer)
        synthesis.add_module(f"b{4 * 2**k}", block)
    G = Layer("Generator", z_dim=reference.z_dim, c_dim=reference.classes)
    G.add_module("synthesis", synthesis)
    G.add_module("mapping", mapping)

    conv = lambda layer, clamp=clamp, activation="lrelu": Layer(
        "Conv2dLayer", layer | FILTER, conv_clamp=clamp, activation=activation
    )
    D = Layer("Discriminator", c_dim=reference.classes)
    for i, (first, second, skip) in enumerate(reference.blocks):
        block = Layer("DiscriminatorBlock", FILTER, architecture="resnet" if reference.residual else "orig")
        if i == 0:
            block.add_module("fromrgb", conv(reference.rgb_in))
        block.add_module("conv0", conv(first))
        block.add_module("conv1", conv(second))
        if reference.residual:
            block.add_module("skip", conv(skip, None, "linear"))
        D.add_module(f"b{4 * 2 ** (len(reference.sizes) - 1 - i)}", block)
    if reference.classes:
        mapping = Layer("MappingNetwork", z_dim=0, c_dim=reference.classes)
        mapping.add_module("embed", linear(reference.class_embed))
        for i, layer in enumerate(reference.class_mapping):
            mapping.add_module(f"fc{i}", linear(layer, reference.class_rate, "lrelu"))
        D.add_module("mapping", mapping)
    last = Layer("DiscriminatorEpilogue", architecture="resnet")
    last.add_module("mbstd", Layer("MinibatchStdLayer", group_size=group, num_channels=1))
    last.add_module("conv", conv(reference.last))
    last.add_module("fc", linear(reference.dense, 1, "lrelu"))
    last.add_module("out", linear(reference.judge))
    D.add_module("b4", last)
    return G, D


def built(foreign: Foreign) -> StyleGANLite:
    """The model that a file is of; each network is whole."""
    config = compose("model=stylegan_lite", "data=folder")
    for key, value in foreign.settings.items():
        OmegaConf.update(config, key, value)
    settings = plain(config)["model"]
    del settings["_target_"]
    model = StyleGANLite(**settings)
    missing, unexpected = model.load_state_dict(foreign.weights, strict=False)
    assert not unexpected
    parts = {name.partition(".")[0] for name in foreign.weights}
    assert not [name for name in missing if name.partition(".")[0] in parts and not name.endswith("_extra_state")]
    return model.eval()
