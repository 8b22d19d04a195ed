"""The layers of a stranger's network, taken from its state dict one by one: each with its shape, none left over.

A bias before a normalisation is taken away again by the mean of what it is added to; this zoo's layers have none there.
With BatchNorm's running mean m, (x + b) - m = x - (m - b): it is a part of the mean.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

WRAPPERS = ("module.", "_orig_mod.")  # DataParallel's and torch.compile's names around a network
SCALES = ("weight", "bias")
STATISTICS = ("running_mean", "running_var")
NORMS = {"instance": "instance norm", "instance_affine": "instance norm with scale and shift", "batch": "BatchNorm"}


def is_state(tree: Any) -> bool:
    """Whether a tree is a state dict: tensors, by names."""
    return isinstance(tree, Mapping) and bool(tree) and all(isinstance(tree[k], Tensor) for k in tree)


def states(tree: Any) -> dict[str, dict[str, Tensor]]:
    """The state dicts of a tree by the names that they have there, "" for one that is bare; none of anything else."""
    if is_state(tree):
        return {"": unwrapped(tree)}
    if not isinstance(tree, Mapping):
        return {}
    return {str(name): unwrapped(part) for name, part in tree.items() if is_state(part)}


def unwrapped(state: Mapping[Any, Tensor]) -> dict[str, Tensor]:
    """A state dict without the names that wrappers add in front of all others."""
    plain = {str(name): tensor for name, tensor in state.items()}
    while prefix := next((prefix for prefix in WRAPPERS if all(name.startswith(prefix) for name in plain)), None):
        plain = {name.removeprefix(prefix): tensor for name, tensor in plain.items()}
    return plain


class Layers:
    """A network's tensors, to be taken one by one.

    Args:
        state: by the stranger's names.
        what: the network, for messages: "netG of pytorch/examples".
    """

    def __init__(self, state: Mapping[str, Tensor], what: str) -> None:
        self.rest, self.what = dict(state), what
        self.statistics_left = False  # running statistics of instance norm, which nothing reads
        self.folded = False  # biases that became a part of BatchNorm's running means

    def __contains__(self, name: str) -> bool:
        return name in self.rest

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Of a tensor that has to be there.

        Raises:
            ValueError: if it is not, or has another number of dimensions.
        """
        if name not in self.rest:
            raise ValueError(f"{self.what} has no {name!a}: it is not whole, or of another network")
        found = tuple(self.rest[name].shape)
        if len(found) != dimensions or 0 in found:
            raise ValueError(f"{self.what}: {name!a} is of shape {list(found)}, which is no layer of this network")
        return found

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor of that shape, float32.

        Raises:
            ValueError: if there is none, or one of another shape.
        """
        if (found := self.shape(name, len(shape))) != shape:
            raise ValueError(
                f"{self.what}: {name!a} is of shape {list(found)}, where {list(shape)} would fit the others"
            )
        tensor = self.rest.pop(name)
        if not tensor.is_floating_point():
            raise ValueError(f"{self.what}: {name!a} holds {tensor.dtype}, not floating-point numbers")
        return tensor.detach().float()

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
            counted = self.rest.pop(f"{norm}.num_batches_tracked", torch.tensor(0))  # not before torch 0.4.1
            tensors["num_batches_tracked"] = counted.detach().long().reshape(())
        elif kind == "instance":
            for name in (*STATISTICS, "num_batches_tracked"):
                self.statistics_left |= self.rest.pop(f"{norm}.{name}", None) is not None
        return tensors

    def done(self) -> None:
        """Raise a ValueError if something was not taken."""
        if self.rest:
            raise ValueError(
                f"{self.what} has {named(self.rest)} too many: it is another network than its first layers"
            )


def named(names: Iterable[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    shown = sorted(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(f"{name!a}" for name in shown[:most]) + more
