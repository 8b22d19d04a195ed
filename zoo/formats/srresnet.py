"""What the files of SRResNet have in common, whosever they are: the same layers in the same order, by other names."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from zoo.formats.layers import Layers

Weights = dict[str, Tensor]


class Block(NamedTuple):
    """A residual block's layers, by the names that they have in a file."""

    first: str  # convolution
    first_norm: str
    prelu: str
    second: str
    second_norm: str


def srresnet(
    layers: Layers, *, enter: tuple[str, str], blocks: Sequence[Block], after: tuple[str, str],
    steps: Sequence[tuple[str, str]], leave: str,
) -> tuple[dict[str, Any], Weights]:  # fmt: skip
    """The generator of zoo/model/srgan.py: its settings, and its weights by this zoo's names, of layers by theirs.

    Args:
        layers: all that a file has.
        enter, after: convolution and PReLU at the beginning; convolution and normalisation after the blocks.
        steps: each enlargement's convolution and PReLU.
        leave: the last convolution.

    Raises:
        ValueError: naming the layer that is missing or of another shape, or what does not fit this network.
    """
    width, channels, *_ = layers.shape(f"{enter[0]}.weight", 4)
    weights = convolution(layers, enter[0], "G.enter.0", channels, width, 9) | prelu(layers, enter[1], "G.enter.1")
    norm = "batch" if f"{after[1]}.running_mean" in layers else "none"
    k = 2 if norm == "batch" else 1  # a convolution's place, and that of what follows
    for n, block in enumerate(blocks):
        ours = f"G.body.{n}.body"
        weights |= normalised(layers, block.first, block.first_norm, f"{ours}.0", f"{ours}.1", width, norm)
        weights |= prelu(layers, block.prelu, f"{ours}.{k}")
        second = f"{ours}.{k + 1}", f"{ours}.{k + 2}"
        weights |= normalised(layers, block.second, block.second_norm, *second, width, norm)
    last = len(blocks)
    weights |= normalised(layers, *after, f"G.body.{last}", f"G.body.{last + 1}", width, norm)
    scale = 1
    for n, (step, slope) in enumerate(steps):
        out = layers.shape(f"{step}.weight", 4)[0]
        factor = {4 * width: 2, 9 * width: 3}.get(out)
        if factor is None or (factor == 3 and len(steps) > 1):
            raise ValueError(f"{layers.what}: {step!a} makes {out} channels of {width}: no enlargement by 2, 3, 4 or 8")
        scale *= factor
        weights |= convolution(layers, step, f"G.leave.{3 * n}", width, out, 3)
        weights |= prelu(layers, slope, f"G.leave.{3 * n + 2}")
    if scale not in (1, 2, 3, 4, 8):
        raise ValueError(f"{layers.what} enlarges {scale} times: this zoo's networks do by 2, 3, 4 or 8")
    weights |= convolution(layers, leave, f"G.leave.{3 * len(steps)}", width, channels, 9)
    layers.nothing_left()
    settings = {"data.scale": scale, "data.channels": channels, "model.network": "srresnet", "model.width": width}
    settings |= {"model.blocks": len(blocks), "model.norm": norm, "model.residual_scale": 1.0, "model.skip": "none"}
    return {**settings, "model.ema_half_life": None}, weights


def convolution(layers: Layers, theirs: str, ours: str, c_in: int, c_out: int, size: int) -> Weights:
    """A convolution and its bias, 0 where it has none."""
    weight = layers.take(f"{theirs}.weight", c_out, c_in, size, size)
    return {f"{ours}.weight": weight, f"{ours}.bias": layers.bias(theirs, c_out)}


def prelu(layers: Layers, theirs: str, ours: str) -> Weights:
    return {f"{ours}.weight": layers.take(f"{theirs}.weight", 1)}


def normalised(
    layers: Layers, theirs: str, norm: str, ours: str, our_norm: str, width: int, kind: str
) -> Weights:  # fmt: skip
    """A 3x3 convolution and what follows it; a bias before BatchNorm becomes a part of its mean."""
    if kind == "none":
        return convolution(layers, theirs, ours, width, width, 3)
    weights = {f"{ours}.weight": layers.take(f"{theirs}.weight", width, width, 3, 3)}
    return weights | {f"{our_norm}.{k}": v for k, v in layers.normalised(theirs, norm, width, "batch").items()}


def counted(names: Mapping[str, Any], pattern: str) -> int:
    """How many of pattern.format(0), pattern.format(1), ... there are."""
    n = 0
    while pattern.format(n) in names:
        n += 1
    return n
