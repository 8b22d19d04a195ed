"""What the two codes of StyleGAN2 have in common, seen from this zoo's: where weights go, widths, the mean of w."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.formats.pickles import Stand, attributes, tensors
from zoo.text import printable, shortened

START = 4  # pixels at the first level
SEEDS = 10_000  # for the mean of w
VARIANT = "stylegan_lite"


class Misfit(ValueError):
    """A network that this zoo's can't be, as a sentence."""


class Source:
    """A stranger's state dict, from which each weight is taken once.

    Args:
        weights: by their names.
        what: whose they are, for the sentences: "rosinality/stylegan2-pytorch: g_ema".
    """

    def __init__(self, weights: Mapping[str, Tensor], what: str) -> None:
        self.left, self.what = dict(weights), what

    def __contains__(self, name: str) -> bool:
        return name in self.left

    def take(self, name: str, *shape: int | None) -> Tensor:
        """A weight in float32, of this shape; None: of any size there.

        Raises:
            Misfit: it is not there, has another shape, or is no real number.
        """
        if (weight := self.left.pop(name, None)) is None:
            raise Misfit(f"{self.what} has no {name}")
        found = tuple(weight.shape)
        if len(found) != len(shape) or any(n not in (None, m) for n, m in zip(shape, found, strict=True)):
            wanted = "x".join("?" if n is None else str(n) for n in shape) or "a number"
            raise Misfit(f"{self.what}: {name} is {'x'.join(map(str, found)) or 'a number'}, not {wanted}")
        if not weight.is_floating_point():
            raise Misfit(f"{self.what}: {name} holds no real numbers")
        return weight.detach().to(torch.float32, copy=True).contiguous()

    def filters(self, ending: str, gain: float | None = None) -> None:
        """Take all filters: each has to be [1, 3, 3, 1], which this zoo's layers have.

        Args:
            ending: of their names.
            gain: the sum of each; None: it may be any.
        """
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        wanted = torch.outer(taps, taps) / 64
        for name in [name for name in self.left if name.endswith(ending)]:
            found = self.take(name, *self.left[name].shape)
            scale = found.sum() if gain is None else gain
            if found.shape != wanted.shape or not torch.allclose(found, wanted * scale, rtol=1e-3, atol=1e-6):
                raise Misfit(f"{self.what}: {name} is another filter than [1, 3, 3, 1], which this zoo's layers have")

    def nothing_left(self) -> None:
        """Raise a Misfit for weights that have no place in this zoo's network."""
        for name in self.left:
            raise Misfit(
                f"{self.what} has {shortened(printable(name))}, for which this zoo's network has no place: it is of "
                "another architecture"
            )


def found_networks(tree: Any, own: Iterable[str]) -> Iterator[tuple[str, Any, dict[str, Tensor]]]:
    """The networks in a tree that have weights of these names: the key that each is under, itself, its weights.

    It may lie three dicts deep; the nearest come first.
    """
    level: list[tuple[str, Any]] = [("", tree)]
    seen: set[int] = set()
    for _ in range(4):
        below: list[tuple[str, Any]] = []
        for key, node in level:
            if id(node) in seen or not isinstance(node, (dict, Stand)):
                continue
            seen.add(id(node))
            weights = tensors(node)
            if weights and all(name in weights for name in own):
                yield key, node, weights
            else:
                below += [(str(name), child) for name, child in attributes(node).items()]
        level = below[:10_000]


def pair(networks: list[tuple[str, Any, dict[str, Tensor]]]) -> tuple[Any | None, Any | None]:
    """Of generators, the one that was trained and its average, either of which may be missing."""
    averages = [network for network in networks if "ema" in network[0].lower()]
    others = [network for network in networks if "ema" not in network[0].lower()]
    return (others or [None])[0], (averages or [None])[0]


def widths(sizes: list[int]) -> dict[str, Any]:
    """Settings that give these channels at 4, 8, 16, ... pixels: min(base / pixels, most), or one by one."""
    most = sizes[0]
    pixels = [START * 2**k for k in range(len(sizes))]
    lows = [size * side for size, side in zip(sizes, pixels, strict=True)]
    base = max(lows)
    if [max(1, min(base // side, most)) for side in pixels] == sizes:
        return {"model.channel_base": base, "model.channel_max": most}
    return {"model.widths": sizes}


def mean_w(layers: list[tuple[Tensor, Tensor]], rate: float) -> Tensor:
    """The mean of w [w_dim] over z of fixed seeds, where a file has none: a mean of zero would draw truncated images
    towards something that G never saw.

    Args:
        layers: (weight, bias) of the mapping, as stored.
        rate: their learning rate, by which they are scaled.
    """
    random = torch.Generator().manual_seed(0)
    total = torch.zeros(layers[-1][0].shape[0], dtype=torch.float64)
    for _ in range(10):
        w = torch.randn(SEEDS // 10, layers[0][0].shape[1], generator=random)
        w = w * (w.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for weight, bias in layers:
            w = F.leaky_relu(F.linear(w, weight * (rate / math.sqrt(weight.shape[1])), bias * rate), 0.2) * math.sqrt(2)
        total += w.double().sum(0)
    return (total / SEEDS).float()


def check_levels(sizes: list[int], what: str) -> int:
    """The images' side in pixels, if this zoo has such networks."""
    side = START * 2 ** (len(sizes) - 1)
    if not 16 <= side <= 1024:
        raise Misfit(f"{what} makes images of {side} pixels, and this zoo's networks make 16 to 1024")
    return side


def prefixed(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": weight for name, weight in weights.items()}


def same(values: Iterable[Any]) -> bool:
    return all(a == b for a, b in pairwise(values))
