"""The layers of a stranger's network, taken from its state dict one by one: each with its shape, none left over.

A bias before a normalisation is taken away again by the mean of what it is added to; this zoo's layers have none there.
With BatchNorm's running mean m, (x + b) - m = x - (m - b): it is a part of the mean.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from zoo.formats.pickles import attributes, tensors
from zoo.formats.style import Misfit, Source
from zoo.text import shortened

CRITIC_ALONE = "a discriminator alone: it makes no images, start= takes it"
SCALES = ("weight", "bias")
STATISTICS = ("running_mean", "running_var")
NORMS = {"instance": "instance norm", "instance_affine": "instance norm with scale and shift", "batch": "BatchNorm"}


def states(tree: Any) -> dict[str, dict[str, Tensor]]:
    """The tensors of networks by the names that those have in a tree, "" for the tree itself: of state dicts, and of
    networks that were pickled as they are."""
    parts = [("", tree), *((str(name), part) for name, part in attributes(tree).items())]
    return {name: found for name, part in parts if (found := tensors(part))}


class Layers(Source):
    """A network's tensors, to be taken one by one."""

    statistics_left = False  # running statistics of instance norm, which nothing reads
    folded = False  # biases that became a part of BatchNorm's running means

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Of a tensor that has to be there.

        Raises:
            Misfit: if it is not, or has another number of dimensions.
        """
        if name not in self:
            raise Misfit(f"{self.what} has no {name}: it is not whole, or another network")
        found = tuple(self.left[name].shape)
        if len(found) != dimensions or 0 in found:
            raise Misfit(f"{self.what}: {name} is {'x'.join(map(str, found)) or 'a number'}, which is no layer of it")
        return found

    def bias(self, layer: str, channels: int) -> Tensor:
        """The bias of a layer, 0 where it has none."""
        name = f"{layer}.bias"
        return self.take(name, channels) if name in self else torch.zeros(channels)

    def norm(self, convolution: str, norm: str) -> str | None:
        """What normalises a convolution's channels: a key of NORMS, or None for nothing.

        Without scales there is nothing to see of instance norm, but that the convolution has a bias: the authors leave
        it out before everything else. Scales and running statistics together are BatchNorm's.
        """
        scaled, tracked = f"{norm}.weight" in self, f"{norm}.running_mean" in self
        if scaled:
            return "batch" if tracked else "instance_affine"
        return "instance" if tracked or f"{convolution}.bias" in self else None

    def normalised(self, convolution: str, norm: str, channels: int, kind: str) -> dict[str, Tensor]:
        """The tensors of a normalisation by their own names, with what the bias before it is worth."""
        bias = self.bias(convolution, channels)
        tensors = {name: self.take(f"{norm}.{name}", channels) for name in SCALES if kind != "instance"}
        if kind == "batch":
            mean, variance = (self.take(f"{norm}.{name}", channels) for name in STATISTICS)
            self.folded |= bool(bias.any())
            tensors |= {"running_mean": (mean.double() - bias.double()).float(), "running_var": variance}
            counted = self.left.pop(f"{norm}.num_batches_tracked", torch.tensor(0))  # not before torch 0.4.1
            tensors["num_batches_tracked"] = torch.tensor(int(counted.max()) if counted.numel() else 0)
        elif kind == "instance":
            for name in (*STATISTICS, "num_batches_tracked"):
                self.statistics_left |= self.left.pop(f"{norm}.{name}", None) is not None
        return tensors


def named(names: Iterable[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    shown = sorted(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(said(name) for name in shown[:most]) + more


def said(name: str) -> str:
    """A stranger's name, to be shown."""
    return shortened(ascii(name))
