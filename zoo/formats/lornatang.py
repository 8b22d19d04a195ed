"""SRResNet and SRGAN of Lornatang/SRGAN-PyTorch: `g_best.pth.tar` and `g_last.pth.tar`, and D's files beside them.

A file has `state_dict`, which its inference.py and test.py load, and from 2022 on `ema_state_dict`, an average that
they do not use: it is passed over, so that what comes out is what they give. Names of two ages are known:

    2022, spring     conv_block1.0, trunk.N.rcb.0, conv_block2.0, upsampling.N.upsample_block.0, conv_block3
    since then       conv1.0, trunk.N.rcb.0, conv2.0, upsampling.N.upsample_block.0, conv3

Its networks of 2020 and 2021 (`subpixel_conv`, `residual_blocks`, a tanh at the end) did not keep to one range of
images, and are refused. Images are RGB in [0, 1], what comes out is clamped to it, as `upscale` does here.
"""

from typing import Any

from zoo.formats import Foreign
from zoo.formats.layers import Layers, states
from zoo.formats.srresnet import Block, Weights, convolution, counted, srresnet

REPOSITORY = "Lornatang/SRGAN-PyTorch"
FORMAT = "g_best.pth.tar and d_best.pth.tar, or a state dict with conv1.0, trunk.0.rcb.0"
AGES = (("conv_block1", "conv_block2", "conv_block3"), ("conv1", "conv2", "conv3"))


def read(tree: Any, *, wanted: str | None) -> Foreign | None:
    """A generator, or a discriminator; None for what is neither.

    Raises:
        ValueError: a file of this repository that is damaged, or of another network.
    """
    found = states(tree)
    for place in ("state_dict", ""):
        state = found.get(place, {})
        notes = ["passed over: ema_state_dict, an average of the weights, which their inference does not use"]
        notes = notes if isinstance(tree, dict) and "ema_state_dict" in tree else []
        age = next((age for age in AGES if f"{age[0]}.0.weight" in state), None)
        if age and "trunk.0.rcb.0.weight" in state:
            return generator(Layers(state, f"the generator of {REPOSITORY}"), age, notes)
        if age and any(name.startswith(("subpixel_conv.", "residual_blocks.")) for name in state):
            raise ValueError(
                f"a generator of {REPOSITORY} of 2021 or before: its images have no one range, and it can't be taken; "
                "those since 2022 can"
            )
        if {"features.0.weight", "features.2.weight", "features.3.running_mean", "classifier.2.weight"} <= state.keys():
            return discriminator(Layers(state, f"the discriminator of {REPOSITORY}"), notes)
    return None


def generator(layers: Layers, age: tuple[str, str, str], notes: list[str]) -> Foreign:
    enter, after, leave = age
    blocks = []
    for n in range(counted(layers.left, "trunk.{}.rcb.0.weight")):
        inside = f"trunk.{n}.rcb"
        places = (0, 1, 2, 3, 4) if f"{inside}.1.running_mean" in layers else (0, 0, 1, 2, 2)
        blocks.append(Block(*(f"{inside}.{place}" for place in places)))
    names = [
        f"upsampling.{n}.upsample_block" for n in range(counted(layers.left, "upsampling.{}.upsample_block.0.weight"))
    ]
    settings, weights = srresnet(
        layers,
        enter=(f"{enter}.0", f"{enter}.1"),
        blocks=blocks,
        after=(f"{after}.0", f"{after}.1"),
        steps=[(f"{name}.0", f"{name}.2") for name in names],
        leave=leave,
    )
    return Foreign(REPOSITORY, "srgan", {**settings, "model.image_range": "unit"}, weights, notes)


def discriminator(layers: Layers, notes: list[str]) -> Foreign:
    """Figure 4 of the paper, below, as this zoo's: a convolution, seven with BatchNorm, two dense layers."""
    width, channels, *_ = layers.shape("features.0.weight", 4)
    weights: Weights = convolution(layers, "features.0", "D.layers.0.0", channels, width, 3)
    sizes = [width * 2 ** (k // 2) for k in range(8)]
    for k in range(1, 8):
        theirs, ours = f"features.{3 * k - 1}", f"D.layers.{k}"
        weights[f"{ours}.0.weight"] = layers.take(f"{theirs}.weight", sizes[k], sizes[k - 1], 3, 3)
        norm = layers.normalised(theirs, f"features.{3 * k}", sizes[k], "batch")
        weights |= {f"{ours}.1.{name}": tensor for name, tensor in norm.items()}
    dense, inputs = layers.shape("classifier.0.weight", 2)
    side = round((inputs / sizes[-1]) ** 0.5)
    if side < 1 or side**2 * sizes[-1] != inputs:
        raise ValueError(
            f"{layers.what}: its dense layer takes {inputs} values, which are no square of {sizes[-1]} maps"
        )
    for theirs, ours, shape in (
        ("classifier.0", "D.judge.1", (dense, inputs)),
        ("classifier.2", "D.judge.3", (1, dense)),
    ):
        weights[f"{ours}.weight"] = layers.take(f"{theirs}.weight", *shape)
        weights[f"{ours}.bias"] = layers.bias(theirs, shape[0])
    layers.nothing_left()
    settings = {"data.channels": channels, "data.patch_size": 16 * side, "model.discriminator_width": width}
    settings |= {"model.discriminator_dense": dense, "model.discriminator_norm": "batch"}
    return Foreign(REPOSITORY, "srgan", settings, weights, notes)
