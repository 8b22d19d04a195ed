"""Networks of junyanz/pytorch-CycleGAN-and-pix2pix, as `BaseModel.save_networks` writes them: a state dict a file,
latest_net_G.pth and latest_net_D.pth of pix2pix, latest_net_G_A.pth, _G_B, _D_A and _D_B of CycleGAN.

`resnet_Nblocks` of any N, `unet_128`, `unet_256` and others from 3 to 8 halvings, told by how deep the keys are nested,
and the PatchGANs `basic` and `n_layers`; norms "instance", with or without scale and shift, and "batch". Their layers
are in the order of `zoo.networks.translators`, but for the names.

- Their A is X here, their B is Y. Their D_A judges the results of G_A, which are of B: it is D_Y here.
- One generator becomes pix2pix, which translates one way, also where it is half of a CycleGAN; two become CycleGAN.
- Instance norm takes the image's own statistics in tests as in training. Files from before torch 0.4 have running ones
  beside it, which the authors' code deletes as it reads them.
- Biases are where the authors' code has them: nowhere before BatchNorm. Forks have them there too, and so had the code
  of spring 2017, and they count: see `zoo.formats.layers`. What has scales, running statistics and biases is therefore
  read as BatchNorm, which in tests is the same as an instance norm that keeps to its running statistics.
- Not in a file: the size of the images, whether a U-Net has dropout (pix2pix's default), a sigmoid at the end of D.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from zoo.formats import Foreign
from zoo.formats.layers import CRITIC_ALONE, NORMS, Layers, named, said, states
from zoo.formats.pickles import attributes
from zoo.formats.style import prefixed

REPOSITORY = "junyanz/pytorch-CycleGAN-and-pix2pix"
FORMAT = "generators resnet_Nblocks and unet_N, PatchGAN discriminators"
KINDS = {"resnet": "G", "unet": "G", "patch": "D", "pixel": "D"}
DEEPEST = 8  # halvings, at most: of a U-Net, and of a D whose patches are to fit images
PATCH = 3  # pixels that D's halvings have to leave, at least


class Network(NamedTuple):
    """One network with this zoo's names; `layers` are blocks, or halvings."""

    kind: str
    name: str  # where it was found, for messages
    c_in: int
    c_out: int
    width: int
    layers: int
    norm: str
    weights: dict[str, Tensor]
    notes: list[str]


def read(tree: Any, *, wanted: str | None = None) -> Foreign | None:
    """A generator, a generator and its D, CycleGAN's two generators with or without their D, or D alone.

    Args:
        tree: a state dict; or several by the names of their files, without ".pth".
        wanted: the choice of model= that it has to become; None: pix2pix or cyclegan, by the number of generators.

    Raises:
        ValueError: if the networks are not whole, not of one model, or none that this zoo has.
    """
    found = {name: (kind, state) for name, state in states(tree).items() if (kind := kind_of(state))}
    if not found:
        return None
    if wanted not in (None, "pix2pix", "cyclegan"):
        raise ValueError(f"networks of {REPOSITORY} become pix2pix or cyclegan, not {wanted!a}")
    others = [str(name) for name in attributes(tree) if str(name) not in found] if "" not in found else []
    notes = [f"{said(name)} is no network of this repository, and was passed over" for name in others]
    chosen = alone({name: (KINDS[kind], letter(name)) for name, (kind, _) in found.items()})
    networks: dict[tuple[str, str], Network] = {role: network(name, *found[name]) for role, name in chosen.items()}
    generators = {role[1]: one for role, one in networks.items() if role[0] == "G"}
    critics = {role[1]: one for role, one in networks.items() if role[0] == "D"}
    if not generators:
        foreign = critics_alone(critics, wanted)
    elif generators.keys() == {"A", "B"} and wanted != "pix2pix":
        foreign = cyclegan(generators, critics)
    elif len(generators) == 1 and wanted != "cyclegan":
        foreign = pix2pix(next(iter(generators.values())), critics)
    elif wanted == "cyclegan":
        raise ValueError(
            "cyclegan needs both generators: import the folder that has latest_net_G_A.pth and latest_net_G_B.pth, or "
            "name both files; one alone becomes pix2pix"
        )
    else:
        names = named([one.name for one in generators.values()])
        remedy = "name one of them" if wanted else "two become CycleGAN, if named ..._net_G_A.pth and ..._net_G_B.pth"
        raise ValueError(f"{len(generators)} generators, {names}, are not one pix2pix: {remedy}")
    return foreign._replace(notes=[*foreign.notes, *notes])


def kind_of(state: Mapping[str, Tensor]) -> str | None:
    """What a state dict seems to be: a key of KINDS; None: nothing of this repository."""
    kernels = {name: tuple(tensor.shape[2:]) for name, tensor in state.items() if tensor.dim() == 4}
    if any(name.startswith("model.model.1.model.") for name in kernels):
        return "unet"
    if any(re.match(r"model\.\d{1,9}\.conv_block\.\d+\.weight$", name) for name in kernels):
        return "resnet"
    first = [kernels[name] for name in ("model.0.weight", "model.2.weight", "model.5.weight") if name in kernels]
    if len(first) > 1 and set(first) == {(4, 4)} and all(re.match(r"model\.\d{1,9}\.\w+$", name) for name in state):
        return "patch"
    first = [kernels[name] for name in ("net.0.weight", "net.2.weight", "net.5.weight") if name in kernels]
    return "pixel" if len(first) > 1 and set(first) == {(1, 1)} else None


def letter(name: str) -> str:
    """ "A" or "B", of CycleGAN's two: of "latest_net_G_A"; "" for none."""
    match = re.search(r"[GD][_-]?([AB])$", name.removesuffix(".pth"))
    return match[1] if match else ""


def alone(roles: Mapping[str, tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The name for each role.

    Raises:
        ValueError: where two have the same.
    """
    for role in sorted(set(roles.values())):
        if len(names := [name for name in roles if roles[name] == role]) > 1:
            what = "generators" if role[0] == "G" else "discriminators"
            raise ValueError(
                f"{named(names)} are {what}, and their names do not say which is which: give one, or CycleGAN's two "
                "with names that end in _A and _B"
            )
    return {role: name for name, role in roles.items()}


def network(name: str, kind: str, state: Mapping[str, Tensor]) -> Network:
    """One of KINDS with this zoo's names."""
    what = f"{said(name)}, {REPOSITORY}'s" if name else f"{REPOSITORY}'s"
    if kind == "pixel":
        raise ValueError(f"{what} discriminator `pixel` judges single pixels, as none of this zoo does: leave it out")
    reader = {"resnet": resnet, "unet": unet, "patch": patch}[kind]
    layers = Layers(state, f"{what} {'discriminator' if kind == 'patch' else kind}")
    read = reader(layers)
    layers.nothing_left()
    if layers.statistics_left:
        read.notes.append("running statistics of instance norm are passed over, as in the authors' code")
    if layers.folded:
        read.notes.append("biases before BatchNorm became a part of its running means")
    return read._replace(name=name or "the file")


def kind_of_norm(layers: Layers, convolution: str, norm: str) -> str:
    kind = layers.norm(convolution, norm)
    if kind is None:
        raise ValueError(
            f"{layers.what}: nothing normalises what {convolution!a} makes (their norm=none), and this zoo's "
            f"translators have {', '.join(NORMS.values())}"
        )
    return kind


def resnet(layers: Layers) -> Network:
    """`ResnetGenerator`, whose layers have the same numbers here, but for dropout within the blocks."""
    width, c_in = layers.shape("model.1.weight", 4)[:2]
    numbers = sorted({int(m[1]) for name in layers.left if (m := re.match(r"model\.(\d{1,9})\.conv_block\.", name))})
    blocks = len(numbers)
    if numbers != list(range(10, 10 + blocks)):
        raise ValueError(
            f"{layers.what}: its residual blocks are model.{numbers[0]} to {numbers[-1]}, where two halvings would "
            "leave them from model.10 on: it is another repository's (pix2pixHD's, CUT's)"
        )
    norm, weights = kind_of_norm(layers, "model.1", "model.2"), {}

    def unit(theirs: tuple[str, str], ours: tuple[str, str], channels: int, *shape: int) -> None:
        weights[f"{ours[0]}.weight"] = layers.take(f"{theirs[0]}.weight", *shape)
        for name, tensor in layers.normalised(*theirs, channels, norm).items():
            weights[f"{ours[1]}.{name}"] = tensor

    def same(number: int, channels: int, *shape: int) -> None:
        unit((f"model.{number}", f"model.{number + 1}"), (f"{number}", f"{number + 1}"), channels, *shape)

    same(1, width, width, c_in, 7, 7)
    for number, k in ((4, 1), (7, 2)):
        same(number, 2 * k * width, 2 * k * width, k * width, 3, 3)
    dropout = False
    for number in numbers:
        block = f"model.{number}.conv_block"
        if f"{block}.0.weight" in layers:
            raise ValueError(f"{layers.what}: {block} pads with zeros, which this zoo's residual blocks do not")
        second = 6 if f"{block}.6.weight" in layers and layers.left[f"{block}.6.weight"].dim() == 4 else 5
        dropout |= second == 6
        for theirs, ours in ((1, 1), (second, 5)):
            names = (f"{block}.{theirs}", f"{block}.{theirs + 1}"), (f"{number}.f.{ours}", f"{number}.f.{ours + 1}")
            unit(*names, 4 * width, 4 * width, 4 * width, 3, 3)
    for number, k in ((10 + blocks, 2), (13 + blocks, 1)):
        same(number, k * width, 2 * k * width, k * width, 3, 3)  # transposed: c_in, c_out
    last = 17 + blocks
    c_out = layers.shape(f"model.{last}.weight", 4)[0]
    weights[f"{last}.weight"] = layers.take(f"model.{last}.weight", c_out, width, 7, 7)
    weights[f"{last}.bias"] = layers.take(f"model.{last}.bias", c_out)
    notes = ["its residual blocks have dropout in training, which this zoo's have not"] if dropout else []
    return Network("resnet", "", c_in, c_out, width, blocks, norm, weights, notes)


def unet(layers: Layers) -> Network:
    """`UnetGenerator`: blocks within blocks, from the image to the smallest; here a list down and a list up."""
    blocks = ["model.model.", "model.model.1.model."]  # what the names of a block's layers begin with
    while any(name.startswith(f"{blocks[-1]}3.model.") for name in layers.left):
        blocks.append(f"{blocks[-1]}3.model.")
        if len(blocks) > DEEPEST:
            raise ValueError(f"{layers.what} halves images more than {DEEPEST} times, which this zoo's U-Net does not")
    depth = len(blocks)
    width, c_in = layers.shape(f"{blocks[0]}0.weight", 4)[:2]
    c_out = layers.shape(f"{blocks[0]}3.weight", 4)[1]
    if depth < 3:
        raise ValueError(f"{layers.what} halves images {depth} times, and this zoo's U-Net 3 times or more")
    norm, weights = kind_of_norm(layers, f"{blocks[1]}1", f"{blocks[1]}2"), {}
    sizes = [width * min(2**k, 8) for k in range(depth)]
    for k, block in enumerate(blocks):
        outer, inner, below = k == 0, k == depth - 1, sizes[k]
        # Down: ReLU (but at the image), convolution, norm (but at either end).
        down, ours = f"{block}{0 if outer else 1}", f"downs.{k}.{0 if outer else 1}"
        weights[f"{ours}.weight"] = layers.take(f"{down}.weight", below, c_in if outer else sizes[k - 1], 4, 4)
        if outer or inner:
            weights[f"{ours}.bias"] = layers.bias(down, below)  # none in a network of BatchNorm
        else:
            for name, tensor in layers.normalised(down, f"{block}2", below, norm).items():
                weights[f"downs.{k}.2.{name}"] = tensor
        # Up: ReLU, transposed convolution of what is skipped and what comes from within, norm (but at the image).
        number = 3 if outer or inner else 5
        up, above, ours = f"{block}{number}", c_out if outer else sizes[k - 1], f"ups.{depth - 1 - k}"
        weights[f"{ours}.1.weight"] = layers.take(f"{up}.weight", below * (1 if inner else 2), above, 4, 4)
        if outer:
            weights[f"{ours}.1.bias"] = layers.take(f"{up}.bias", above)
        else:
            for name, tensor in layers.normalised(up, f"{block}{number + 1}", above, norm).items():
                weights[f"{ours}.2.{name}"] = tensor
    return Network("unet", "", c_in, c_out, width, depth, norm, weights, [])


def patch(layers: Layers) -> Network:
    """`NLayerDiscriminator`, whose layers have the same numbers here."""
    width, c_in = layers.shape("model.0.weight", 4)[:2]
    last = max(int(name.split(".")[1]) for name in layers.left)
    halvings = max((last - 2) // 3, 1)
    if halvings > DEEPEST:
        raise ValueError(f"{layers.what} has {halvings} layers, and this zoo's PatchGAN {DEEPEST} at most")
    norm = kind_of_norm(layers, "model.2", "model.3")
    sizes = [width * min(2**k, 8) for k in range(halvings + 1)]
    weights = {"0.weight": layers.take("model.0.weight", width, c_in, 4, 4)}
    weights["0.bias"] = layers.take("model.0.bias", width)
    for k in range(1, halvings + 1):
        number = 3 * k - 1
        weights[f"{number}.weight"] = layers.take(f"model.{number}.weight", sizes[k], sizes[k - 1], 4, 4)
        for name, tensor in layers.normalised(f"model.{number}", f"model.{number + 1}", sizes[k], norm).items():
            weights[f"{number + 1}.{name}"] = tensor
    number = 3 * halvings + 2
    weights[f"{number}.weight"] = layers.take(f"model.{number}.weight", 1, sizes[-1], 4, 4)
    weights[f"{number}.bias"] = layers.take(f"model.{number}.bias", 1)
    return Network("patch", "", c_in, 1, width, halvings, norm, weights, [])


def pix2pix(G: Network, critics: Mapping[str, Network]) -> Foreign:
    """One generator, and of the D beside it the one that judges what goes in and what comes out together."""
    notes, weights = list(G.notes), prefixed("G.", G.weights)
    D = next((one for one in critics.values() if one.c_in == G.c_in + G.c_out and one.norm == G.norm), None)
    for one in critics.values():
        if one is not D:
            notes.append(
                f"{said(one.name)} was passed over: pix2pix's D sees {G.c_in} + {G.c_out} channels and has the "
                f"generator's norm, and this one has {one.c_in} channels and {NORMS[one.norm]}"
            )
    if D is not None:
        notes += D.notes
        weights |= prefixed("D.", D.weights)
    settings = settings_of(G, D)
    settings["model.dropout"] = 0.5 if G.kind == "unet" else 0.0  # their default: it is not in the file
    return Foreign(REPOSITORY, "pix2pix", settings, weights, unique(notes))


def cyclegan(generators: Mapping[str, Network], critics: Mapping[str, Network]) -> Foreign:
    """Both generators, and the D beside them. Their G_A is X -> Y, and D_A judges Y."""
    G, F = generators["A"], generators["B"]
    if alike(G) != alike(F) or (G.c_in, G.c_out) != (F.c_out, F.c_in):
        raise ValueError(
            f"{said(G.name)} ({words(G)}) and {said(F.name)} ({words(F)}) are not the two directions of one CycleGAN"
        )
    weights, notes = prefixed("G.", G.weights) | prefixed("F.", F.weights), [*G.notes, *F.notes]
    for name, one in critics.items():
        judged = {"A": G.c_out, "B": F.c_out}.get(name)
        if judged != one.c_in or one.norm != G.norm or any(alike(one) != alike(other) for other in critics.values()):
            raise ValueError(
                f"the discriminator {said(one.name)} ({words(one)}) does not fit: CycleGAN has two, D_A of {G.c_out} "
                f"channels and D_B of {F.c_out}, both of one width, with {NORMS[G.norm]}; leave it out"
            )
        weights |= prefixed("D_Y." if name == "A" else "D_X.", one.weights)
        notes += one.notes
    return Foreign(REPOSITORY, "cyclegan", settings_of(G, next(iter(critics.values()), None)), weights, unique(notes))


def critics_alone(critics: Mapping[str, Network], wanted: str | None) -> Foreign:
    """Discriminators without their generators: for start=. One of 2 or 6 channels sees pairs, so it is pix2pix's; one
    that is not called A or B becomes both of CycleGAN's."""
    D, *others = critics.values()
    if others and (wanted == "pix2pix" or any(alike(one) != alike(D) for one in others)):
        raise ValueError(f"{named([one.name for one in critics.values()])} are not the discriminators of one model")
    pairs = wanted == "pix2pix" or (wanted is None and not others and D.c_in in (2, 6))
    if pairs and D.c_in % 2:
        raise ValueError(f"{said(D.name)} sees {D.c_in} channels, and pix2pix's D those of both images: --as cyclegan")
    of = {name: one.c_in for name, one in critics.items()}
    of_y, of_x = (D.c_in // 2, D.c_in // 2) if pairs else (of.get("A", D.c_in), of.get("B", D.c_in))
    settings: dict[str, Any] = {
        "data.image_size": 128 if D.layers <= 3 else 256,
        "data.channels_x": of_x,
        "data.channels_y": of_y,
        "model.norm": D.norm,
        "model.discriminator_width": D.width,
        "model.discriminator_layers": D.layers,
        "model.ema_half_life": None,
    }
    notes = [CRITIC_ALONE, *(note for one in critics.values() for note in one.notes)]
    if pairs:
        return Foreign(REPOSITORY, "pix2pix", settings, prefixed("D.", D.weights), unique(notes))
    places = {"A": ("D_Y.",), "B": ("D_X.",), "": ("D_X.", "D_Y.")}
    weights: dict[str, Tensor] = {}
    for name, one in critics.items():
        for part in places[name]:
            weights |= prefixed(part, one.weights)
    return Foreign(REPOSITORY, "cyclegan", settings, weights, unique(notes))


def alike(one: Network) -> tuple[str, int, int, str]:
    """What two networks of a CycleGAN have in common."""
    return one.kind, one.width, one.layers, one.norm


def words(one: Network) -> str:
    count = {"resnet": "blocks", "unet": "halvings", "patch": "layers"}[one.kind]
    channels = f"{one.c_in} to {one.c_out} channels"
    return f"{one.kind}, {one.layers} {count} of width {one.width}, {channels}, {NORMS[one.norm]}"


def settings_of(G: Network, D: Network | None) -> dict[str, Any]:
    """What a user would type for such networks."""
    # A U-Net's depth follows from the size, 2**depth times an odd number; a ResNet gets the authors' usual one.
    step = 2**G.layers if G.kind == "unet" else 256 if G.layers > 6 else 128
    times = 1 if D is None else -(-(PATCH << D.layers) // step)
    size = step * (times + 1 - times % 2)
    settings: dict[str, Any] = {
        "data.image_size": size,
        "data.channels_x": G.c_in,
        "data.channels_y": G.c_out,
        "model.generator": G.kind,
        "model.width": G.width,
        "model.blocks": G.layers if G.kind == "resnet" else None,
        "model.norm": G.norm,
        "model.ema_half_life": None,
    }
    if D is not None:
        settings |= {"model.discriminator_width": D.width, "model.discriminator_layers": D.layers}
    return settings


def unique(notes: list[str]) -> list[str]:
    return list(dict.fromkeys(notes))
