"""ESRGAN's RRDBNet and MSRResNet of XPixelGroup/BasicSR, and RRDBNet by the names that it had before; both ways.

Three names for one network, RRDBNet; the last has no other than numbers:

    BasicSR, Real-ESRGAN     conv_first, body.0.rdb1.conv1, conv_body, conv_up1, conv_hr, conv_last
    xinntao/ESRGAN, BSRGAN   conv_first, RRDB_trunk.0.RDB1.conv1, trunk_conv, upconv1, HRconv, conv_last
    ESRGAN of 2018           model.0, model.1.sub.0.RDB1.conv1.0, model.1.sub.N, model.3, model.6, model.8, model.10

    MSRResNet                conv_first, body.0.conv1, upconv1, conv_hr, conv_last

A file is the state dict itself, or has it as `params_ema`, which Real-ESRGAN's inference prefers, or `params`. Images
are in [0, 1], not bounded. Where conv_first takes 4 or 16 times the channels that conv_last gives, the input is folded
before (Real-ESRGAN's x2 and x1).

`as_esrgan` says an RRDBNet of this zoo in BasicSR's names, which chaiNNer, ComfyUI and whatever else reads through
spandrel take. These know the number of maps that a dense block's convolution adds, 32, without looking.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from zoo.atomic import replacing
from zoo.formats import Foreign
from zoo.formats.layers import Layers, states
from zoo.formats.srresnet import Weights, convolution, counted

REPOSITORY = "XPixelGroup/BasicSR"
FORMAT = "ESRGAN and Real-ESRGAN (RRDBNet), by old names too, and MSRResNet"
PLACES = ("params_ema", "params", "state_dict", "model", "")  # of the state dict in a file, the preferred one first
GROWTH = 32  # what spandrel and others take for granted


class Names(NamedTuple):
    """What the convolutions of an RRDBNet are called: {0} a number from 0, {1} and {2} numbers from 1."""

    enter: str
    dense: str  # of RRDB {0}, of dense block {1}, convolution {2}
    after: str
    step: str  # {1}
    high: str
    leave: str


BASICSR = Names("conv_first", "body.{0}.rdb{1}.conv{2}", "conv_body", "conv_up{1}", "conv_hr", "conv_last")
ESRGAN = Names("conv_first", "RRDB_trunk.{0}.RDB{1}.conv{2}", "trunk_conv", "upconv{1}", "HRconv", "conv_last")


def read(tree: Any, *, wanted: str | None) -> Foreign | None:
    """RRDBNet or MSRResNet; None for what is neither.

    Raises:
        ValueError: a file of one of them that is damaged, or of a network that this zoo does not have.
    """
    found = states(tree)
    for place in PLACES:
        state = found.get(place, {})
        others = [name for name in ("params", "params_ema") if name in found and name != place]
        notes = [f"passed over: {name}; {place} is preferred" for name in others]
        if (names := names_of(state)) is not None:
            return rrdb(Layers(state, f"the RRDBNet of {REPOSITORY}"), names, notes)
        if {"conv_first.weight", "body.0.conv1.weight", "upconv1.weight", "conv_hr.weight"} <= state.keys():
            return msrresnet(Layers(state, f"the MSRResNet of {REPOSITORY}"), notes)
    return None


def names_of(state: Mapping[str, Tensor]) -> Names | None:
    """What an RRDBNet's convolutions are called in a state dict; None where it is of another network."""
    for names in (BASICSR, ESRGAN):
        if f"{names.enter}.weight" in state and f"{names.dense.format(0, 1, 1)}.weight" in state:
            return names
    if "model.0.weight" not in state or "model.1.sub.0.RDB1.conv1.0.weight" not in state:
        return None
    blocks = counted(state, "model.1.sub.{}.RDB1.conv1.0.weight")
    numbers = sorted({int(match[1]) for name in state if (match := re.fullmatch(r"model\.(\d+)\.weight", name))})
    if len(numbers) < 3:
        raise ValueError(f"the RRDBNet of {REPOSITORY} has no layers after its blocks: it is not whole")
    *_, high, leave = numbers  # each enlargement is three layers, of which the second is a convolution: 3, 6
    dense, after = "model.1.sub.{0}.RDB{1}.conv{2}.0", f"model.1.sub.{blocks}"
    return Names("model.0", dense, after, "model.{3}", f"model.{high}", f"model.{leave}")


def rrdb(layers: Layers, names: Names, notes: list[str]) -> Foreign:
    width, c_in, *_ = layers.shape(f"{names.enter}.weight", 4)
    channels = layers.shape(f"{names.leave}.weight", 4)[0]
    fold = next((fold for fold in (1, 2, 4) if channels * fold**2 == c_in), None)
    if fold is None:
        raise ValueError(f"{layers.what} makes {channels} channels of {c_in}: this zoo's networks keep their number")
    blocks = counted(layers.left, f"{names.dense.format('{}', 1, 1)}.weight")
    steps = 0
    while f"{step(names, steps + 1)}.weight" in layers and step(names, steps + 1) not in (names.high, names.leave):
        steps += 1
    scale, odd = divmod(2**steps, fold)
    if odd or scale not in (1, 2, 4, 8):
        raise ValueError(f"{layers.what} enlarges {2**steps} / {fold} times: this zoo's networks do by 1, 2, 4 or 8")
    growth = layers.shape(f"{names.dense.format(0, 1, 1)}.weight", 4)[0]
    weights: Weights = {}
    for theirs, ours, (inputs, outputs) in table(names, steps, width, blocks, growth, c_in, channels):
        weights |= convolution(layers, theirs, f"G.{ours}", inputs, outputs, 3)
    layers.nothing_left()
    if names.enter == "model.0" and steps == 1:
        notes = [*notes, "taken for x2: a x3 network of these names looks the same"]
    settings = {"data.scale": scale, "data.channels": channels, "model.network": "rrdb", "model.width": width}
    settings |= {"model.blocks": blocks, "model.growth": growth, "model.unshuffle": fold, **ENDS}
    return Foreign(REPOSITORY, "srgan", settings, weights, notes)


ENDS = {"model.image_range": "unit", "model.bound": "none", "model.ema_half_life": None}


def step(names: Names, number: int) -> str:
    """The convolution of an enlargement, from 1."""
    return names.step.format(0, number, 0, 3 * number)


def table(
    names: Names, steps: int, width: int, blocks: int, growth: int, c_in: int, channels: int
) -> list[tuple[str, str, tuple[int, int]]]:
    """Of each convolution of an RRDBNet: their name, this zoo's within G, its channels in and out."""
    rows = [(names.enter, "enter", (c_in, width))]
    for n in range(blocks):
        for m in range(3):
            for k in range(5):
                sizes = width + k * growth, growth if k < 4 else width
                rows.append((names.dense.format(n, m + 1, k + 1), f"body.{n}.{m}.convolutions.{k}", sizes))
    rows.append((names.after, f"body.{blocks}", (width, width)))
    rows += [(step(names, n + 1), f"steps.{n}", (width, width)) for n in range(steps)]
    return [*rows, (names.high, "leave.0", (width, width)), (names.leave, "leave.2", (width, channels))]


def msrresnet(layers: Layers, notes: list[str]) -> Foreign:
    width, channels, *_ = layers.shape("conv_first.weight", 4)
    blocks, steps = counted(layers.left, "body.{}.conv1.weight"), 2 if "upconv2.weight" in layers else 1
    weights = convolution(layers, "conv_first", "G.enter", channels, width, 3)
    for n in range(blocks):
        weights |= convolution(layers, f"body.{n}.conv1", f"G.body.{n}.0", width, width, 3)
        weights |= convolution(layers, f"body.{n}.conv2", f"G.body.{n}.2", width, width, 3)
    scale = 1
    for n in range(steps):
        out = layers.shape(f"upconv{n + 1}.weight", 4)[0]
        factor = 3 if out == 9 * width and steps == 1 else 2
        weights |= convolution(layers, f"upconv{n + 1}", f"G.steps.{n}", width, factor**2 * width, 3)
        scale *= factor
    weights |= convolution(layers, "conv_hr", "G.leave.0", width, width, 3)
    weights |= convolution(layers, "conv_last", "G.leave.2", width, channels, 3)
    layers.nothing_left()
    settings = {"data.scale": scale, "data.channels": channels, "model.network": "msrresnet", "model.width": width}
    return Foreign(REPOSITORY, "srgan", {**settings, "model.blocks": blocks, **ENDS}, weights, notes)


# The other way ------------------------------------------------------------------------------------------------------


def as_esrgan(tensors: Mapping[str, Tensor], hyperparameters: Mapping[str, Any]) -> dict[str, Tensor]:
    """The generator of a model of this zoo in BasicSR's names for RRDBNet; its average, where there is one.

    Args:
        tensors: the model's state dict.
        hyperparameters: of the model: what zoo.model.srgan.SRGAN takes.

    Raises:
        ValueError: if that network can't be said in those names, naming the setting by which it could.
    """
    known = {"network": "srresnet", "growth": GROWTH, "unshuffle": 1, "image_range": None, "bound": "none"}
    settings = {**known, **hyperparameters}
    if settings["network"] != "rrdb" or "scale" not in settings:
        what = f"model.network={settings['network']}" if "scale" in settings else "it is not super-resolution"
        raise ValueError(f"the names of ESRGAN are for model=srgan model.network=rrdb: here {what}")
    needed = {"image_range": ("unit", None), "bound": ("none",), "growth": (GROWTH,), "scale": (1, 2, 4, 8)}
    for name, values in needed.items():
        if settings[name] not in values:
            words = " or ".join(str(value) for value in values if value is not None)
            raise ValueError(
                f"model.{name}={settings[name]} can't be said in the names of ESRGAN, whose networks have {words}: "
                f"train one with model.{name}={values[0]}"
            )
    blocks, fold, scale = settings["blocks"], settings["unshuffle"], settings["scale"]
    if blocks < 1:
        raise ValueError("model.blocks=0 can't be said in the names of ESRGAN: train a network with 1 or more")
    average = any(name.startswith("G_ema.module.") for name in tensors)
    prefix, channels = "G_ema.module." if average else "G.", settings["channels"]
    steps = (scale * fold).bit_length() - 1
    rows = table(BASICSR, steps, settings["width"], blocks, GROWTH, channels * fold**2, channels)
    parts = ("weight", "bias")
    return {
        f"{theirs}.{part}": tensors[f"{prefix}{ours}.{part}"].detach().float().cpu().contiguous()
        for theirs, ours, _ in rows
        for part in parts
    }


def save(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write what `as_esrgan` gives: `.safetensors`, or `.pth`, where it lies under "params" as in BasicSR's own files.

    Raises:
        ValueError: for another extension.
        OSError: if it can't be written; then nothing is.
    """
    if path.suffix.lower() not in (".pth", ".safetensors"):
        raise ValueError(f"{path}: ESRGAN's names are written as .pth or .safetensors: give one of these extensions")
    with replacing(path) as part:
        if path.suffix.lower() == ".pth":
            torch.save({"params": dict(state)}, part)
        else:
            part.write_bytes(to_bytes(dict(state)))  # by the usual mode, where save_file has one for the owner alone
