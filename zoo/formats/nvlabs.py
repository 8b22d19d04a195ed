"""StyleGAN2 of NVlabs/stylegan2-ada-pytorch, Karras et al. 2020, arXiv:2006.06676, and of NVlabs/stylegan3, whose
StyleGAN2 has the same layers: pickles with G, D and G_ema, or the state dict of a generator.

Objects are pickled with the source of their classes (torch_utils/persistence.py), which is passed over: weights are
taken by their names, and what they do not tell (the activations' clamp, the mapping's learning rate, the groups of the
minibatch standard deviation) from the attributes of the layers. Resolutions that ran in 16 bit run in 32 here.

What this zoo's networks have, and is taken over: G in architecture "skip", D in "resnet" or "orig" (which --cfg=cifar
has), with classes or without, the embedding of classes and D's mapping of them. Others are told by a sentence;
StyleGAN3's generator is not among them.
"""

import math
import re
from typing import Any

from torch import Tensor

from zoo.formats import Foreign
from zoo.formats.pickles import Stand, attributes
from zoo.formats.style import (
    SEEDS,
    START,
    VARIANT,
    Misfit,
    Source,
    check_levels,
    found_networks,
    mean_w,
    pair,
    prefixed,
    same,
    widths,
)

REPOSITORY = "NVlabs/stylegan2-ada-pytorch"
FORMAT = "a pickle with G, D and G_ema, or a generator's state dict with synthesis.b4.const"
CLAMP, RATE, GROUP = 256, 0.01, 4  # where a file has weights alone: what its train.py sets


def read(tree: Any, *, wanted: str | None) -> Foreign | None:
    _refuse_others(tree)
    generators = list(found_networks(tree, ["synthesis.b4.const"]))
    critics = list(found_networks(tree, ["b4.conv.weight", "b4.out.weight"]))
    if not generators:
        if critics:
            raise ValueError(f"{REPOSITORY}: there is a discriminator alone, and a model is used by its generator")
        return None
    plain, average = pair(generators)
    notes: list[str] = []
    weights: dict[str, Tensor] = {}
    shapes: list[dict[str, Any]] = []
    for prefix, network in (("G.", plain or average), ("G_ema.module.", average if plain else None)):
        if network is not None:
            key, node, state = network
            found, shape = _generator(Source(state, f"{REPOSITORY}: {key or 'the generator'}"), node, notes)
            weights |= prefixed(prefix, found)
            shapes.append(shape)
    if shapes[0] != shapes[-1]:
        raise Misfit(f"{REPOSITORY}: {average[0]} and {plain[0]} are of different sizes or settings")
    shape = shapes[0]
    if not isinstance((plain or average)[1], Stand):
        notes.append(f"weights alone: the clamp of activations is taken to be {CLAMP}, as train.py sets it")
    group, class_layers, residual = GROUP, 0, True
    if critics:
        try:
            key, node, state = critics[0]
            found, group, class_layers, residual = _discriminator(
                Source(state, f"{REPOSITORY}: {key or 'D'}"), node, shape
            )
            weights |= prefixed("D.", found)
        except Misfit as error:
            notes.append(f"the discriminator is passed over: {error}")
    else:
        notes.append("there is no discriminator whose layers are StyleGAN2's")
    others = [str(key) for key in attributes(tree) if key not in ("G", "D", "G_ema")]
    if others and isinstance(tree, dict) and not any(isinstance(value, Tensor) for value in tree.values()):
        notes.append(f"passed over: {', '.join(map(ascii, others[:8]))}")
    classes = shape["classes"]
    settings: dict[str, Any] = {
        "data.image_size": shape["side"],
        "data.channels": shape["channels"],
        "model.conditional": classes > 0,
        **({"model.classes": [str(i) for i in range(classes)]} if classes else {}),
        "model.latent_dim": shape["latent_dim"],
        "model.w_dim": shape["w_dim"],
        "model.mapping_layers": shape["layers"],
        "model.mapping_rate": shape["rate"],
        **widths(shape["sizes"]),
        "model.noise": shape["noise"],
        "model.stddev_group": group,
        "model.growth": "none",
        "model.clamp": shape["clamp"],
        "model.class_layers": class_layers,
        "model.residual": residual,
    }
    if plain is None or average is None:
        settings["model.ema_half_life"] = None
    return Foreign(REPOSITORY, VARIANT, settings, weights, notes)


def _refuse_others(tree: Any) -> None:
    """What the same people wrote in other ways, by name."""
    nodes = list(tree) if isinstance(tree, (list, tuple)) else [tree, *attributes(tree).values()]
    for node in nodes[:100]:
        if isinstance(node, Stand) and node.name.startswith("dnnlib.tflib"):
            raise ValueError(
                f"these are networks of TensorFlow ({node.name}): legacy.py of {REPOSITORY} converts them to a pickle "
                "that is read here"
            )
    for key, *_ in found_networks(tree, ["synthesis.input.freqs"]):
        raise ValueError(
            f"NVlabs/stylegan3: {key or 'the generator'} is StyleGAN3's, and this zoo has StyleGAN2's alone"
        )


def _layer(node: Any, path: str) -> dict[Any, Any]:
    """The attributes of a pickled network's layer; {} where there are weights alone."""
    for name in path.split("."):
        node = attributes(attributes(node).get("_modules")).get(name)
    return attributes(node)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _levels(source: Source, pattern: str) -> list[int]:
    """The resolutions that layers have names of, from 4 on, each twice as large as the one before."""
    sides = sorted({int(match[1]) for name in source.left if (match := re.match(pattern, name)) and len(match[1]) < 6})
    if sides != [START * 2**k for k in range(len(sides))]:
        raise Misfit(f"{source.what}: its resolutions are {sides[:12]}, and this zoo's double from {START} on")
    return sides


def _mapping(
    source: Source, node: Any, prefix: str, *, c_in: int | None, embedded: int | None, width: int | None
) -> tuple[dict[str, Tensor], int, float, int, int]:
    """Fully connected layers by this zoo's names: weights, how many, their learning rate, z's size, classes.

    Args:
        prefix: "mapping.".
        c_in: of z, if that is known; None: what the first layer takes beside the classes.
        embedded: the size of a class's embedding, if that is known; None: the layers' own.
        width: of the layers, likewise.
    """
    numbers = sorted(int(m[1]) for name in source.left if (m := re.fullmatch(rf"{prefix}fc(\d{{1,4}})\.weight", name)))
    if not numbers or numbers != list(range(len(numbers))):
        raise Misfit(f"{source.what} has no {prefix}fc0 ..., a mapping of layers")
    found: dict[str, Tensor] = {}
    rates: list[float] = []
    for i in numbers:
        name = f"{prefix}fc{i}"
        found[f"mapping.{i}.weight"] = weight = source.take(f"{name}.weight", width, width if i else None)
        width = weight.shape[0]
        found[f"mapping.{i}.bias"] = source.take(f"{name}.bias", width)
        held = _layer(node, name)
        if held.get("activation", "lrelu") != "lrelu":
            raise Misfit(f"{source.what}: {name} has the activation {held['activation']!a}, not lrelu")
        rate = held.get("bias_gain", RATE)
        rates.append(float(rate) if _number(rate) and 0 < rate < math.inf else RATE)
    if not same(rates):
        raise Misfit(f"{source.what}: its mapping's layers have different learning rates")
    assert width is not None
    classes = 0
    if f"{prefix}embed.weight" in source:
        found["embed.weight"] = weight = source.take(f"{prefix}embed.weight", embedded or width, None)
        found["embed.bias"] = source.take(f"{prefix}embed.bias", embedded or width)
        classes = weight.shape[1]
    latent = found["mapping.0.weight"].shape[1] - (width if classes else 0)
    if c_in is not None and latent != c_in:
        raise Misfit(f"{source.what}: {prefix}fc0 takes {latent} numbers beside the class, not {c_in}")
    return found, len(numbers), rates[0], latent, classes


def _generator(source: Source, node: Any, notes: list[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A generator by this zoo's names, and its sizes and settings."""
    sides = _levels(source, r"synthesis\.b(\d+)\.")
    for side in sides:
        architecture = _layer(node, f"synthesis.b{side}").get("architecture", "skip")
        if f"synthesis.b{side}.skip.weight" in source:
            architecture = "resnet"
        elif f"synthesis.b{side}.torgb.weight" not in source:
            architecture = "orig"
        if architecture != "skip":
            raise Misfit(
                f"{source.what} has the architecture {architecture!a}, and this zoo's generator is StyleGAN2's "
                "'skip' (an image at each resolution)"
            )
    source.filters("resample_filter", 1.0)
    found, layers, rate, latent, classes = _mapping(source, node, "mapping.", c_in=None, embedded=None, width=None)
    w_dim = found["mapping.0.weight"].shape[0]
    if latent < 1:
        raise Misfit(f"{source.what} takes no latent beside its class")
    if "mapping.w_avg" in source:
        found["w_mean"] = source.take("mapping.w_avg", w_dim)
    elif classes:
        raise Misfit(f"{source.what} has no mapping.w_avg, the mean of w over its classes")
    else:
        found["w_mean"] = mean_w(
            [(found[f"mapping.{i}.weight"], found[f"mapping.{i}.bias"]) for i in range(layers)], rate
        )
        notes.append(f"no mapping.w_avg, for truncation: it is that of {SEEDS:,} latents of a fixed seed")
    const = source.take("synthesis.b4.const", None, START, START)
    found["start"] = const[None]
    sizes, channels, clamps = [const.shape[0]], None, []
    noise = "synthesis.b4.conv1.noise_strength" in source
    for k, side in enumerate(sides):
        for conv in (0, 1) if k else (1,):
            theirs, ours, c_in = (
                f"synthesis.b{side}.conv{conv}",
                f"convs.{max(2 * k - 1 + conv, 0) if k else 0}",
                sizes[-1],
            )
            found[f"{ours}.weight"] = weight = source.take(f"{theirs}.weight", None if conv == 0 else c_in, c_in, 3, 3)
            if conv == 0:
                sizes.append(weight.shape[0])
            found |= _style(source, theirs, ours, c_in, w_dim)
            found[f"{ours}.bias"] = source.take(f"{theirs}.bias", weight.shape[0])
            if noise:
                found[f"{ours}.noise_strength"] = source.take(f"{theirs}.noise_strength")
                found[f"{ours}.fixed_noise"] = source.take(f"{theirs}.noise_const", side, side)[None, None]
            held = _layer(node, theirs)
            _check_activation(source, theirs, held)
            clamps.append(held.get("conv_clamp", CLAMP))
        theirs, ours, size = f"synthesis.b{side}.torgb", f"rgbs.{k}", sizes[-1]
        found[f"{ours}.weight"] = weight = source.take(f"{theirs}.weight", channels, size, 1, 1)
        channels = weight.shape[0]
        found |= _style(source, theirs, ours, size, w_dim)
        found[f"{ours}.bias"] = source.take(f"{theirs}.bias", channels)
        clamps.append(_layer(node, theirs).get("conv_clamp", CLAMP))
    source.nothing_left()
    shape = {
        "sizes": sizes, "channels": channels, "latent_dim": latent, "w_dim": w_dim, "layers": layers, "rate": rate,
        "classes": classes, "noise": noise, "clamp": _clamp(source, clamps), "side": check_levels(sizes, source.what),
    }  # fmt: skip
    return found, shape


def _check_activation(source: Source, name: str, held: dict[Any, Any]) -> None:
    if held.get("activation", "lrelu") != "lrelu":
        raise Misfit(f"{source.what}: {name} has the activation {held['activation']!a}, not lrelu")


def _clamp(source: Source, clamps: list[Any]) -> float | None:
    """The one clamp of all layers."""
    if not same(clamps):
        raise Misfit(f"{source.what}: its layers have different clamps, {clamps[:4]!a}")
    if clamps[0] is None:
        return None
    if not _number(clamps[0]) or not 0 < clamps[0] < math.inf:
        raise Misfit(f"{source.what}: its conv_clamp={clamps[0]!a} is no positive number")
    return clamps[0]


def _style(source: Source, theirs: str, ours: str, c_in: int, w_dim: int) -> dict[str, Tensor]:
    return {
        f"{ours}.style.weight": source.take(f"{theirs}.affine.weight", c_in, w_dim),
        f"{ours}.style.bias": source.take(f"{theirs}.affine.bias", c_in),
    }


def _discriminator(source: Source, node: Any, shape: dict[str, Any]) -> tuple[dict[str, Tensor], int, int, bool]:
    """A discriminator by this zoo's names, of the generator's sizes; its groups, the layers of its classes, and whether
    it has skips."""
    sides, sizes, channels = _levels(source, r"b(\d+)\."), shape["sizes"], shape["channels"]
    if len(sides) != len(sizes):
        raise Misfit(f"{source.what} judges images of {sides[-1]} pixels, not {shape['side']}")
    if "b4.fromrgb.weight" in source:
        raise Misfit(f"{source.what} has the architecture 'skip', and this zoo's discriminator is 'resnet' or 'orig'")
    residual = any(f"b{side}.skip.weight" in source for side in sides[1:])  # else 'orig'
    source.filters("resample_filter", 1.0)
    top, clamps = len(sides) - 1, []
    found: dict[str, Tensor] = {}

    def conv(theirs: str, ours: str, c_out: int, c_in: int, size: int) -> None:
        found[f"{ours}.weight"] = source.take(f"{theirs}.weight", c_out, c_in, size, size)
        found[f"{ours}.bias"] = source.take(f"{theirs}.bias", c_out)
        held = _layer(node, theirs)
        _check_activation(source, theirs, held)
        clamps.append(held.get("conv_clamp", CLAMP))

    conv(f"b{sides[top]}.fromrgb", f"rgbs.{top}", sizes[top], channels, 1)
    for k in reversed(range(top)):
        theirs, ours, c_in, c_out = f"b{sides[k + 1]}", f"blocks.{k}", sizes[k + 1], sizes[k]
        conv(f"{theirs}.conv0", f"{ours}.conv", c_in, c_in, 3)
        conv(f"{theirs}.conv1", f"{ours}.down", c_out, c_in, 3)
        if residual:
            found[f"{ours}.skip.weight"] = source.take(f"{theirs}.skip.weight", c_out, c_in, 1, 1)
    size = sizes[0]
    conv("b4.conv", "conv", size, size + 1, 3)
    found["dense.weight"] = source.take("b4.fc.weight", size, size * START**2)
    found["dense.bias"] = source.take("b4.fc.bias", size)
    held = _layer(node, "b4.fc")
    _check_activation(source, "b4.fc", held)
    classes, layers = shape["classes"], 0
    found["judge.weight"] = source.take("b4.out.weight", size if classes else 1, size)
    found["judge.bias"] = source.take("b4.out.bias", size if classes else 1)
    if classes:
        mapped, layers, rate, _, known = _mapping(source, node, "mapping.", c_in=0, embedded=size, width=size)
        if known != classes:
            raise Misfit(f"{source.what} knows {known} classes, and the generator {classes}")
        factor = rate / shape["rate"]  # this zoo has one rate for both mappings: what is stored is scaled instead
        found |= {name: weight if name.startswith("embed.") else weight * factor for name, weight in mapped.items()}
    source.nothing_left()
    if _clamp(source, clamps) != shape["clamp"]:
        raise Misfit(f"{source.what} has another conv_clamp than the generator")
    group = _layer(node, "b4.mbstd").get("group_size", GROUP)
    if group is None:
        group = 2**16  # the whole batch
    if not isinstance(group, int) or group < 1:
        raise Misfit(f"{source.what}: its group_size={group!a} is no number of images")
    return found, group, layers, residual
