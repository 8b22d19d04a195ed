"""Networks of pytorch/examples, dcgan/main.py, and of PyTorch's DCGAN tutorial: a state dict a file, netG_epoch_24.pth
and netD_epoch_24.pth.

Also of other resolutions in the same layers, 16 to 256 pixels (theirs: 64), and of any nz, ngf, ndf, nc. They are
`zoo.networks.convolutional`'s, but for three things:

- G begins with a transposed convolution of one pixel, w [nz, C, 4, 4], which is a dense layer: row (c, i, j) of its
  matrix is w[:, c, i, j].
- The last layer of G, and the first and the last of D, have no bias; here it is 0.
- D ends in a sigmoid, which is no layer with weights; here D gives the logit.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from zoo.formats import Foreign
from zoo.formats.layers import CRITIC_ALONE, Layers, named, said, states
from zoo.formats.pickles import attributes
from zoo.formats.style import prefixed

REPOSITORY = "pytorch/examples"
FORMAT = "dcgan's netG and netD"
MOST = 256  # pixels of this zoo's pair, at most


class Network(NamedTuple):
    """One network with this zoo's names; `sizes` are its channels from the image to the smallest feature map."""

    name: str  # where it was found, for messages
    sizes: list[int]
    channels: int
    latent_dim: int  # 1, the logit, for D
    weights: dict[str, Tensor]
    notes: list[str]

    @property
    def pixels(self) -> int:
        return 4 << len(self.sizes)


def read(tree: Any, *, wanted: str | None = None) -> Foreign | None:
    """A generator, a generator and its D, or a D alone.

    Args:
        tree: a state dict; or both by the names of their files, without ".pth".
        wanted: the choice of model= that it has to become; None: dcgan, which is all that it can.

    Raises:
        ValueError: if the networks are not whole, not of one model, or none that this zoo has.
    """
    found = {name: (kind, state) for name, state in states(tree).items() if (kind := kind_of(state))}
    if not found:
        return None
    if wanted not in (None, "dcgan"):
        raise ValueError(f"networks of {REPOSITORY}'s dcgan become dcgan, not {wanted!a}")
    names: dict[str, list[str]] = {"G": [], "D": []}
    for name, (kind, _) in found.items():
        names[kind].append(name)
    others = [str(name) for name in attributes(tree) if str(name) not in found] if "" not in found else []
    notes = [f"{said(name)} is no network of this repository, and was passed over" for name in others]
    chosen: dict[str, str] = {}
    for kind, several in names.items():
        if len(several) > 1:
            what = "generators" if kind == "G" else "discriminators"
            raise ValueError(f"{named(several)} are {what}: give one of them")
        chosen |= {kind: several[0]} if several else {}
    if "G" not in chosen:
        return _critic_alone(discriminator(chosen["D"], found[chosen["D"]][1]), notes)
    G = generator(chosen["G"], found[chosen["G"]][1])
    D = discriminator(chosen["D"], found[chosen["D"]][1]) if "D" in chosen else None
    largest = max(G.sizes + (D.sizes if D else []))
    settings: dict[str, Any] = {
        "data.image_size": G.pixels,
        "data.channels": G.channels,
        "model.latent_dim": G.latent_dim,
        "model.width": G.sizes[0],
        "model.max_width": largest,
        "model.discriminator_norm": "batch",
        "model.ema_half_life": None,
    }
    weights, notes = prefixed("G.", G.weights), [*G.notes, *notes]
    for one in (G, D) if D else (G,):
        doubled = [min(one.sizes[0] * 2**k, largest) for k in range(len(one.sizes))]
        if one.sizes != doubled:
            raise ValueError(
                f"{one.name} has {numbers(one.sizes)} channels from the image on, and this zoo's double, up to a "
                f"largest number that G and D share: {numbers(doubled)}"
            )
    if D is not None:
        if (D.pixels, D.channels) != (G.pixels, G.channels):
            raise ValueError(
                f"{G.name} and {D.name} are not of one model: images of {G.pixels} pixels and {G.channels} channels, "
                f"and of {D.pixels} and {D.channels}"
            )
        weights |= prefixed("D.", D.weights)
        notes += D.notes
        settings["model.discriminator_width"] = D.sizes[0]
    return Foreign(REPOSITORY, "dcgan", settings, weights, list(dict.fromkeys(notes)))


def _critic_alone(D: Network, notes: list[str]) -> Foreign:
    """A discriminator without its generator: for start=."""
    settings: dict[str, Any] = {
        "data.image_size": D.pixels,
        "data.channels": D.channels,
        "model.width": D.sizes[0],
        "model.max_width": max(D.sizes),
        "model.discriminator_norm": "batch",
        "model.ema_half_life": None,
    }
    if D.sizes != (doubled := [min(D.sizes[0] * 2**k, max(D.sizes)) for k in range(len(D.sizes))]):
        raise ValueError(
            f"{D.name} has {numbers(D.sizes)} channels from the image on, and this zoo's double: {numbers(doubled)}"
        )
    return Foreign(REPOSITORY, "dcgan", settings, prefixed("D.", D.weights), [CRITIC_ALONE, *D.notes, *notes])


def kind_of(state: Mapping[str, Tensor]) -> str | None:
    """ "G" or "D", by where convolutions lie, of which G's are 3 apart; None: nothing of this repository."""
    if not all(re.match(r"main\.\d{1,9}\.\w+$", name) for name in state):
        return None
    convolutions = [int(name.split(".")[1]) for name in state if name.endswith(".weight") and state[name].dim() == 4]
    if len(convolutions) < 2:
        return None
    if all(number % 3 == 0 for number in convolutions):
        return "G"
    return "D" if all(number % 3 == 2 for number in convolutions if number) else None


def generator(name: str, state: Mapping[str, Tensor]) -> Network:
    layers, name = Layers(state, f"netG of {REPOSITORY}"), said(name) if name else "netG"
    last = max(int(key.split(".")[1]) for key in state)
    doublings = last // 3
    check_pixels(layers, doublings, last % 3 == 0)
    channels = layers.shape(f"main.{last}.weight", 4)[1]
    latent_dim, first = layers.shape("main.0.weight", 4)[:2]
    w = layers.take("main.0.weight", latent_dim, first, 4, 4)
    weights = {"0.weight": w.permute(1, 2, 3, 0).reshape(-1, latent_dim)}
    sizes = [first]
    for k in range(doublings):
        number = 3 * k
        for key, tensor in normalised(layers, number, sizes[-1]).items():
            weights[f"{number + 2}.{key}"] = tensor  # here a layer more, which reshapes, comes first
        final = k == doublings - 1
        c_out = channels if final else layers.shape(f"main.{number + 3}.weight", 4)[1]
        weights[f"{number + 4}.weight"] = layers.take(f"main.{number + 3}.weight", sizes[-1], c_out, 4, 4)
        if final:
            weights[f"{number + 4}.bias"] = layers.bias(f"main.{number + 3}", c_out)
        else:
            sizes.append(c_out)
    layers.nothing_left()
    return Network(name, sizes[::-1], channels, latent_dim, weights, notes_of(layers))


def discriminator(name: str, state: Mapping[str, Tensor]) -> Network:
    layers, name = Layers(state, f"netD of {REPOSITORY}"), said(name) if name else "netD"
    last = max(int(key.split(".")[1]) for key in state)
    halvings = (last + 1) // 3
    check_pixels(layers, halvings, last % 3 == 2)
    width, channels = layers.shape("main.0.weight", 4)[:2]
    weights = {"0.weight": layers.take("main.0.weight", width, channels, 4, 4), "0.bias": layers.bias("main.0", width)}
    sizes = [width]
    for k in range(1, halvings):
        number = 3 * k - 1
        c_out = layers.shape(f"main.{number}.weight", 4)[0]
        weights[f"{number}.weight"] = layers.take(f"main.{number}.weight", c_out, sizes[-1], 4, 4)
        for key, tensor in normalised(layers, number, c_out).items():
            weights[f"{number + 1}.{key}"] = tensor
        sizes.append(c_out)
    weights[f"{last}.weight"] = layers.take(f"main.{last}.weight", 1, sizes[-1], 4, 4)
    weights[f"{last}.bias"] = layers.bias(f"main.{last}", 1)
    layers.nothing_left()
    return Network(name, sizes, channels, 1, weights, notes_of(layers))


def check_pixels(layers: Layers, times: int, whole: bool) -> None:
    if not whole or not 16 <= 4 << min(times, 32) <= MOST:
        last = max(int(key.split(".")[1]) for key in layers.left)
        raise ValueError(
            f"{layers.what} ends in 'main.{last}', which is no last layer for images of 16, 32, ... or {MOST} pixels: "
            "it is not whole, or of another network"
        )


def normalised(layers: Layers, number: int, channels: int) -> dict[str, Tensor]:
    """The BatchNorm that follows a layer, with its bias if it has one, as in some copies."""
    return layers.normalised(f"main.{number}", f"main.{number + 1}", channels, "batch")


def notes_of(layers: Layers) -> list[str]:
    return ["biases before BatchNorm became a part of its running means"] if layers.folded else []


def numbers(sizes: list[int]) -> str:
    return "-".join(map(str, sizes))
