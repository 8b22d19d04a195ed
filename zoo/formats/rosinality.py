"""StyleGAN2 of rosinality/stylegan2-pytorch: the dict of its train.py (g, d, g_ema, optimizers, args), that of its
convert_weight.py (g_ema, latent_avg, with g and d if asked for), or the state dict of a generator.

Its layers are this zoo's by other names: weights are stored unscaled there as well, the filter is [1, 3, 3, 1], and
the mapping learns at a hundredth (which no file says: it is the default of its code, and nothing there changes it).
A file of train.py has no mean of w; it is then found by drawing.
"""

import re
from typing import Any

import torch
from torch import Tensor

from zoo.formats import Foreign
from zoo.formats.pickles import attributes
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
    widths,
)

REPOSITORY = "rosinality/stylegan2-pytorch"
FORMAT = "a dict with g_ema, or with g, d and g_ema, or a generator's state dict with input.input"
RATE = 0.01  # of the mapping: lr_mlp in its code


def read(tree: Any, *, wanted: str | None) -> Foreign | None:
    generators = list(found_networks(tree, ["input.input", "conv1.conv.modulation.weight"]))
    critics = list(found_networks(tree, ["final_conv.0.weight", "final_linear.0.weight", "convs.0.0.weight"]))
    if not generators:
        if critics:
            raise ValueError(f"{REPOSITORY}: there is a discriminator alone, and a model is used by its generator")
        return None
    plain, average = pair(generators)
    notes: list[str] = []
    latent = _latent(tree)
    weights: dict[str, Tensor] = {}
    shapes = []
    for prefix, network in (("G.", plain or average), ("G_ema.module.", average if plain else None)):
        if network is not None:
            key, _, state = network
            name = key or "the generator"
            known = latent if network is average or average is None else None
            found, shape = _generator(Source(state, f"{REPOSITORY}: {name}"), known, name, notes)
            weights |= prefixed(prefix, found)
            shapes.append(shape)
    if shapes[0] != shapes[-1]:
        raise Misfit(f"{REPOSITORY}: {average[0]} and {plain[0]} are of different sizes")
    shape = shapes[0]
    if critics:
        try:
            source = Source(critics[0][2], f"{REPOSITORY}: {critics[0][0] or 'd'}")
            weights |= prefixed("D.", _discriminator(source, shape["sizes"], shape["channels"]))
        except Misfit as error:
            notes.append(f"the discriminator is passed over: {error}")
    notes += _passed_over(tree)
    settings: dict[str, Any] = {
        "data.image_size": shape["side"],
        "data.channels": shape["channels"],
        "model.conditional": False,
        "model.latent_dim": shape["w_dim"],
        "model.w_dim": shape["w_dim"],
        "model.mapping_layers": shape["layers"],
        "model.mapping_rate": RATE,
        **widths(shape["sizes"]),
        "model.noise": True,
        "model.stddev_group": 4,
        "model.growth": "none",
    }
    if plain is None or average is None:
        settings["model.ema_half_life"] = None
    return Foreign(REPOSITORY, VARIANT, settings, weights, notes)


def _latent(tree: Any) -> Tensor | None:
    value = attributes(tree).get("latent_avg")
    return value.detach().float().clone() if isinstance(value, Tensor) and value.is_floating_point() else None


def _passed_over(tree: Any) -> list[str]:
    known = ("g", "d", "g_ema", "latent_avg")
    keys = [str(key) for key, value in attributes(tree).items() if key not in known and not isinstance(value, Tensor)]
    return [f"passed over: {', '.join(map(ascii, keys[:8]))}"] if keys else []


def _generator(
    source: Source, latent: Tensor | None, name: str, notes: list[str]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A generator by this zoo's names, and its sizes."""
    found: dict[str, Tensor] = {}
    source.filters(".conv.blur.kernel", 4.0)
    source.filters(".upsample.kernel", 4.0)
    layers = _count(source, r"style\.(\d+)\.weight", first=1)
    top = _count(source, r"to_rgbs\.(\d+)\.bias", first=0)
    for i in range(layers):
        c_in = w_dim if i else None  # noqa: F821
        found[f"mapping.{i}.weight"] = weight = source.take(f"style.{i + 1}.weight", c_in, c_in)
        if i == 0 and weight.shape[0] != weight.shape[1]:
            raise Misfit(f"{source.what}: style.1.weight is not square")
        w_dim = weight.shape[0]
        found[f"mapping.{i}.bias"] = source.take(f"style.{i + 1}.bias", w_dim)
    found["start"] = source.take("input.input", 1, None, START, START)
    sizes = [found["start"].shape[1]]
    for i in range(2 * top + 1):
        theirs, ours, c_in = (f"convs.{i - 1}" if i else "conv1"), f"convs.{i}", sizes[-1]
        c_out = None if i % 2 else c_in
        weight = source.take(f"{theirs}.conv.weight", 1, c_out, c_in, 3, 3)[0]
        if i % 2:
            sizes.append(weight.shape[0])
        found[f"{ours}.weight"] = weight
        found |= _style(source, f"{theirs}.conv.modulation", ours, c_in, w_dim)
        found[f"{ours}.bias"] = source.take(f"{theirs}.activate.bias", weight.shape[0])
        found[f"{ours}.noise_strength"] = source.take(f"{theirs}.noise.weight", 1)[0]
        side = START * 2 ** ((i + 1) // 2)
        if f"noises.noise_{i}" in source:
            noise = source.take(f"noises.noise_{i}", 1, 1, side, side)
        else:  # of the code's first weeks: drawn anew for each image
            noise = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(i))
            notes += [f"{name} has no fixed noise: it is drawn once, by a fixed seed"] if i == 0 else []
        found[f"{ours}.fixed_noise"] = noise
    channels = None
    for k, size in enumerate(sizes):
        theirs, ours = (f"to_rgbs.{k - 1}" if k else "to_rgb1"), f"rgbs.{k}"
        found[f"{ours}.weight"] = weight = source.take(f"{theirs}.conv.weight", 1, channels, size, 1, 1)[0]
        channels = weight.shape[0]
        found |= _style(source, f"{theirs}.conv.modulation", ours, size, w_dim)
        found[f"{ours}.bias"] = source.take(f"{theirs}.bias", 1, channels, 1, 1).flatten()
    if "latent_avg" in source:
        latent = source.take("latent_avg", *source.left["latent_avg"].shape)
    source.nothing_left()
    if latent is not None and latent.numel() == w_dim:
        found["w_mean"] = latent.flatten()
    else:
        found["w_mean"] = mean_w([(found[f"mapping.{i}.weight"], found[f"mapping.{i}.bias"]) for i in range(layers)], RATE)
        notes.append(f"{name} has no mean of w, for truncation: it is that of {SEEDS:,} latents of a fixed seed")
    side = check_levels(sizes, source.what)
    return found, {"sizes": sizes, "channels": channels, "w_dim": w_dim, "layers": layers, "side": side}


def _style(source: Source, theirs: str, ours: str, c_in: int, w_dim: int) -> dict[str, Tensor]:
    return {
        f"{ours}.style.weight": source.take(f"{theirs}.weight", c_in, w_dim),
        f"{ours}.style.bias": source.take(f"{theirs}.bias", c_in),
    }


def _discriminator(source: Source, sizes: list[int], channels: int) -> dict[str, Tensor]:
    """A discriminator by this zoo's names, of the generator's sizes."""
    top = len(sizes) - 1
    source.filters(".kernel", 1.0)
    found = {
        f"rgbs.{top}.weight": source.take("convs.0.0.weight", sizes[top], channels, 1, 1),
        f"rgbs.{top}.bias": source.take("convs.0.1.bias", sizes[top]),
    }
    for k in reversed(range(top)):
        theirs, ours, c_in, c_out = f"convs.{top - k}", f"blocks.{k}", sizes[k + 1], sizes[k]
        found |= {
            f"{ours}.conv.weight": source.take(f"{theirs}.conv1.0.weight", c_in, c_in, 3, 3),
            f"{ours}.conv.bias": source.take(f"{theirs}.conv1.1.bias", c_in),
            f"{ours}.down.weight": source.take(f"{theirs}.conv2.1.weight", c_out, c_in, 3, 3),
            f"{ours}.down.bias": source.take(f"{theirs}.conv2.2.bias", c_out),
            f"{ours}.skip.weight": source.take(f"{theirs}.skip.1.weight", c_out, c_in, 1, 1),
        }
    size = sizes[0]
    found |= {
        "conv.weight": source.take("final_conv.0.weight", size, size + 1, 3, 3),
        "conv.bias": source.take("final_conv.1.bias", size),
        "dense.weight": source.take("final_linear.0.weight", size, size * START**2),
        "dense.bias": source.take("final_linear.0.bias", size),
        "judge.weight": source.take("final_linear.1.weight", 1, size),
        "judge.bias": source.take("final_linear.1.bias", 1),
    }
    source.nothing_left()
    return found


def _count(source: Source, pattern: str, *, first: int) -> int:
    """How many layers have names like this, which have to be numbered from the first one on."""
    numbers = sorted(int(match[1]) for name in source.left if (match := re.fullmatch(pattern, name)))
    if not numbers or numbers != list(range(first, first + len(numbers))) or len(numbers) > 1_000:
        raise Misfit(f"{source.what}: its layers {pattern} are not numbered from {first} on".replace(r"\.", "."))
    return len(numbers)
