"""SRGAN of leftthomas/SRGAN: `netG_epoch_4_100.pth`, a bare state dict.

Its residual blocks are block2 to the last but two (block6 as published), then a convolution with BatchNorm, then the
enlargement. Images are RGB in [0, 1]; what comes out is (tanh + 1) / 2. Convolutions before a BatchNorm have a bias
there: it becomes a part of BatchNorm's mean. Its discriminator ends in a mean over all places, which this zoo's has
not: it is refused.
"""

import re
from typing import Any

from zoo.formats import Foreign
from zoo.formats.layers import Layers, states
from zoo.formats.srresnet import Block, counted, srresnet

REPOSITORY = "leftthomas/SRGAN"
FORMAT = "netG_epoch_4_100.pth, with block1.0, block2.conv1"


def read(tree: Any, *, wanted: str | None) -> Foreign | None:
    """A generator; None for what is none.

    Raises:
        ValueError: a file of this repository that is damaged, or of a network that this zoo does not have.
    """
    for state in states(tree).values():
        if "block1.0.weight" in state and "block2.conv1.weight" in state:
            return generator(Layers(state, f"the generator of {REPOSITORY}"))
        if {"net.0.weight", "net.2.weight", "net.3.running_mean", "net.24.weight", "net.26.weight"} <= state.keys():
            raise ValueError(
                f"a discriminator of {REPOSITORY}, which averages over all places: this zoo's does not; give the "
                "generator's file, netG_epoch_4_100.pth"
            )
    return None


def generator(layers: Layers) -> Foreign:
    numbers = sorted(
        int(match[1]) for name in layers.left if (match := re.fullmatch(r"block(\d+)\.conv1\.weight", name))
    )
    names = [f"block{n}" for n in range(2, len(numbers) + 2)]
    after, last = f"block{len(numbers) + 2}", f"block{len(numbers) + 3}"
    steps = counted(layers.left, last + ".{}.conv.weight")
    settings, weights = srresnet(
        layers,
        enter=("block1.0", "block1.1"),
        blocks=[Block(*(f"{name}.{part}" for part in ("conv1", "bn1", "prelu", "conv2", "bn2"))) for name in names],
        after=(f"{after}.0", f"{after}.1"),
        steps=[(f"{last}.{n}.conv", f"{last}.{n}.prelu") for n in range(steps)],
        leave=f"{last}.{steps}",
    )
    ends = {"model.image_range": "unit", "model.bound": "tanh"}
    return Foreign(REPOSITORY, "srgan", {**settings, **ends}, weights, [])
