"""`start=NAME`: a new run begins with the weights of another, for images of which there are too few to begin anew.

What is carried over are networks, and averages of them, tensor by tensor: layers that do the same, of the same shape.
So a generator that grows keeps its levels, and of lists of different lengths the common beginning and the common end
are kept. Beyond equal shapes are carried

- what belongs to a class or an attribute, by its name; one that is new begins as the mean of the others. Mean, and not
  a fresh row: the layers around it have learnt what the rows of the start say, and the mean says nothing else;
- the layers next to the image, from 1 channel to 3 and back: a layer that takes the image in answers a grey one as
  before, one that makes it makes all three grey, or their mean.

Everything else of a run begins anew: optimizers, images from 0, the augmentation, and the warm-up of averages. With it
an average follows its network closely at first, which forgets new layers and other images' weights as fast as a fresh
run forgets its random ones (`zoo.game.averages`).

The file may be a stranger's: it is held to `zoo.run.checkpoint`, and nothing of it is used but numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from zoo.game.abilities import attributes_of, classes_of
from zoo.game.gan import GAN
from zoo.game.settings import defaults
from zoo.run import trust
from zoo.run.checkpoint import built, content
from zoo.text import shortened
from zoo.weights import names
from zoo.weights.folder import Weights

SHOWN = 6  # names in a line
LISTS = nn.Sequential | nn.ModuleList
PARAMETRIZED = "parametrizations.weight.original"
WEIGHTS = ("weight", PARAMETRIZED)
OF_LABELS = ("classes", "attributes")  # hyperparameters that are carried by name


def begin_with(model: GAN, start: str) -> list[str]:
    """Let a new model begin with the weights of a run, a file, a folder or a name; what happened, in lines.

    Raises:
        ValueError: if there are none, they can't be read, are of another variant, or nothing of them fits.
    """
    try:
        place = names.find(start)
        weights = content(place)
    except ValueError as error:
        raise ValueError(f"start={start}: {error}") from None
    variant = trust.variant(weights.variant)
    if not isinstance(model, variant):
        raise ValueError(
            f"start={start} is a {variant.__name__}, and this run trains a {type(model).__name__}: give "
            f"model={variant.__module__.rpartition('.')[2]}, or a start of the same variant"
        )
    try:
        with torch.random.fork_rng(devices=[]):  # what is overwritten draws nothing from the run's own stream
            source = built(weights)
    except ValueError as error:
        raise ValueError(f"start={start}: {place} is refused: {error}") from None
    return carry(model, source, weights, start)


@dataclass
class Carried:
    """What a network has taken over, by its own names."""

    numbers: int = 0  # of its parameters
    weights: int = 0  # parameters of two dimensions or more
    new: list[str] = field(default_factory=list)  # parameters that begin anew, with their shapes
    adapted: list[str] = field(default_factory=list)  # parameters of another number of channels


def carry(model: GAN, source: GAN, weights: Weights, start: str) -> list[str]:
    """`begin_with`, from a model of those weights."""
    parts = {name.partition(".")[0] for name in weights.tensors}  # the others of `source` are random
    own = _networks(model)
    average_of = {followed: name for name, followed in _averages(model).items()}
    their_average_of = {followed: name for name, followed in _averages(source).items()}
    labels = _Labels(_labels(model), _labels(source))
    lines, taken, missing = [], {}, []
    for name, network in own.items():
        average = average_of.get(name)
        origins = [part for part in (name, their_average_of.get(name)) if part in parts]
        if not origins:
            missing.append(name)
            continue
        best = origins[-1]  # the average, where there is one
        origin = origins[0] if average else best  # without an average of its own it begins as the best there is
        taken[name] = _carry(network, _module(source, origin), labels)
        if average:
            _carry(_module(model, average), _module(source, best), labels)
        if origin != name:
            lines.append(f"start: {name} begins as the average {origin}, since it has none here")
        elif average and best == name:
            lines.append(f"start: {average} begins as {name}")
    _refuse_unfit(model, source, taken, start)
    _refuse_frozen(model, own, taken, missing, start)

    size = {name: sum(p.numel() for p in own[name].parameters()) for name in taken}
    shares = ", ".join(f"{name} {_percent(carried.numbers, size[name])}" for name, carried in taken.items())
    head = f"start={start} ({type(source).__name__}, {source.images:,} images): carried over are {shares}"
    if missing:
        lines.append(f"start: it has no {' and no '.join(missing)}: anew")
    for name, carried in taken.items():
        if carried.new:
            lines.append(f"start: new in {name}: {_several(carried.new)}")
        if carried.adapted:
            lines.append(f"start: fitted to the channels in {name}: {_several(carried.adapted)}")
    if labels.new and labels.old and labels.new != labels.old:
        known = [label for label in labels.new if label in labels.old]
        fresh = [label for label in labels.new if label not in labels.old]
        said = [f"carried over by name: {_several(known)}"] if known else []
        said += [f"the mean of the start's: {_several(fresh)}"] if fresh else []
        lines.append(f"start: classes {'; '.join(said)}")
    if others := _other_settings(model, source):
        lines.append(f"start: other settings than there: {', '.join(others)}")
    return [head, *lines]


def _networks(model: GAN) -> dict[str, nn.Module]:
    """The players' networks, by attribute."""
    of_players = {network for networks in model.players().values() for network in networks}
    return {name: child for name, child in model.named_children() if child in of_players}


def _averages(model: GAN) -> dict[str, str]:
    """The network that each average follows, by attributes."""
    attribute = {child: name for name, child in model.named_children()}
    return {attribute[average]: attribute[followed] for average, followed in model._averages}


def _module(model: GAN, name: str) -> nn.Module:
    """A network, or the network within an average."""
    module = model.get_submodule(name)
    return model.averages()[name].module if name in model.averages() else module  # type: ignore[return-value]


def _labels(model: GAN) -> list[str]:
    return classes_of(model) or attributes_of(model)


@dataclass(frozen=True)
class _Labels:
    """The names of classes, or of attributes, here and in the start."""

    new: list[str]
    old: list[str]

    def fit(self, new: torch.Size, old: torch.Size, dim: int) -> bool:
        """Whether two shapes are those of a tensor with an entry for each label, along `dim`."""
        others = [size for k, size in enumerate(new) if k != dim] == [size for k, size in enumerate(old) if k != dim]
        named = bool(self.new and self.old)
        return named and others and (new[dim], old[dim]) == (len(self.new), len(self.old))

    def carried(self, old: Tensor, dim: int) -> Tensor:
        """A tensor's entries by the names of here: those of a name, and the mean of all for what is new."""
        mean = old.mean(dim)
        entries = old.unbind(dim)
        return torch.stack([entries[self.old.index(n)] if n in self.old else mean for n in self.new], dim)


@torch.no_grad()
def _carry(new: nn.Module, old: nn.Module, labels: _Labels) -> Carried:
    """Let a network take over what fits of another."""
    carried, done = Carried(), set()
    for name, ours, theirs in _counterparts(new, old, labels):
        for key, tensor in _own(ours).items():
            full, value = f"{name}.{key}".strip("."), _fitted(key, ours, theirs, labels)
            if value is None or full in done:
                continue
            done.add(full)
            before = _own(theirs)[key]
            if tensor.dim() and tensor.shape != before.shape and not _of_labels(key, ours, theirs, labels):
                carried.adapted.append(f"{full} {_shapes(tensor, before)}")
            tensor.copy_(value)
    earlier = dict(old.named_parameters())
    for name, parameter in new.named_parameters():
        if name in done:
            carried.numbers += parameter.numel()
            carried.weights += parameter.dim() > 1
        else:
            carried.new.append(f"{name} {_shapes(parameter, earlier.get(name))}")
    if hasattr(new, "grown_from"):
        new.grown_from(old)  # type: ignore[operator]
    return carried


def _counterparts(new: nn.Module, old: nn.Module, labels: _Labels) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """The modules of a network with those of another that do the same, by the names of the one."""
    if type(new).__name__ != type(old).__name__:  # the name: a parametrized layer is of a class of its own
        return
    yield "", new, old
    theirs = dict(old.named_children())
    pairs = {name: name for name in dict(new.named_children()) if name in theirs}
    if isinstance(new, LISTS) and len(new) != len(theirs):
        pairs = _aligned([*new], [*theirs.values()], labels)
    for name, other in pairs.items():
        for inner, ours, there in _counterparts(new.get_submodule(name), theirs[other], labels):
            yield f"{name}.{inner}".strip("."), ours, there


def _aligned(new: Sequence[nn.Module], old: Sequence[nn.Module], labels: _Labels) -> dict[str, str]:
    """Which layers of a longer or shorter list are the same: counted from the beginning, or else from the end."""
    pairs: dict[int, int] = {}
    for shift in (0, len(old) - len(new)):
        for i, layer in enumerate(new):
            j = i + shift
            if i not in pairs and 0 <= j < len(old) and j not in pairs.values() and _alike(layer, old[j], labels):
                pairs[i] = j
    return {str(i): str(j) for i, j in pairs.items()}


def _alike(new: nn.Module, old: nn.Module, labels: _Labels) -> bool:
    """Whether a layer can take over all that it has, and has something."""
    pairs = _counterparts(new, old, labels)
    fitting = {f"{n}.{k}".strip(".") for n, a, b in pairs for k in _own(a) if _fitted(k, a, b, labels) is not None}
    wanted = {name for name, _ in new.named_parameters()}
    return bool(wanted) and wanted <= fitting


def _own(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a module itself; of a parametrized weight (spectral normalisation) what it is made
    of among them."""
    tensors: dict[str, Tensor | None] = {**module._parameters, **module._buffers}
    if is_parametrized(module, "weight"):
        tensors[PARAMETRIZED] = module.get_parameter(PARAMETRIZED)
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _fitted(key: str, new: nn.Module, old: nn.Module, labels: _Labels) -> Tensor | None:
    """A module's tensor as another, which does the same, takes it over; None where it does not fit."""
    tensor, before = _own(new)[key], _own(old).get(key)
    if before is None or tensor.dim() != before.dim():
        return None
    if _of_labels(key, new, old, labels):
        value = labels.carried(before, _label_dim(key, new))  # type: ignore[arg-type]
    elif tensor.shape == before.shape:
        return before
    else:
        differing = [k for k, sizes in enumerate(zip(tensor.shape, before.shape, strict=True)) if len({*sizes}) > 1]
        if (
            len(differing) != 1
            or differing[0] > 1
            or {tensor.shape[differing[0]], before.shape[differing[0]]} != {1, 3}
        ):
            return None
        value = _of_channels(before, differing[0], takes_in=_takes_in(new, tensor, differing[0]))
    if key in WEIGHTS:  # an equalised layer scales it by how many there are
        value = value * (getattr(old, "gain", 1.0) / getattr(new, "gain", 1.0))
    return value


def _label_dim(key: str, module: nn.Module) -> int | None:
    """The dimension of a weight that has an entry for each class, where its module has one: `label_dim`."""
    if key not in WEIGHTS:
        return None
    return 0 if isinstance(module, nn.Embedding) else getattr(module, "label_dim", None)


def _of_labels(key: str, new: nn.Module, old: nn.Module, labels: _Labels) -> bool:
    dim = _label_dim(key, new)
    return dim is not None and labels.fit(_own(new)[key].shape, _own(old)[key].shape, dim)


def _takes_in(module: nn.Module, tensor: Tensor, dim: int) -> bool:
    """Whether a dimension of a weight is that of the layer's input."""
    transposed = isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    return tensor.dim() > 1 and dim == (0 if transposed else 1)


def _of_channels(before: Tensor, dim: int, *, takes_in: bool) -> Tensor:
    """1 channel as 3, or 3 as 1: see the header."""
    if before.shape[dim] == 1:
        return before.repeat_interleave(3, dim) / (3 if takes_in else 1)
    return before.sum(dim, keepdim=True) if takes_in else before.mean(dim, keepdim=True)


def _refuse_unfit(model: GAN, source: GAN, taken: dict[str, Carried], start: str) -> None:
    """Raise a ValueError where no generator has taken over a weight; of a discriminator alone, where it has not."""
    if not any(taken[name].weights for name in taken if source.missing or name in model.deployed()):
        others = _other_settings(model, source)
        why = f"its settings are others ({', '.join(others)})" if others else "its layers are of other sizes"
        raise ValueError(f"start={start} fits nothing of this model: {why}; give its settings, or another start")


def _refuse_frozen(
    model: GAN, own: dict[str, nn.Module], taken: dict[str, Carried], missing: list[str], start: str
) -> None:
    """Raise a ValueError where model.freeze_d would hold what has not been carried over."""
    held = {id(parameter) for parameter in model.hold_layers()}
    for name, network in own.items():
        new = {text.partition(" ")[0] for text in taken[name].new} if name in taken else None
        for inner, parameter in network.named_parameters():
            if id(parameter) in held and (new is None or inner in new):
                there = f"has no {name}" if name in missing else f"has nothing that fits {name}.{inner}"
                raise ValueError(
                    f"model.freeze_d={model.game['freeze_d']} would hold layers that have learnt nothing: "
                    f"start={start} {there}; leave model.freeze_d out, or give fewer layers"
                )


def _other_settings(model: GAN, source: GAN) -> list[str]:
    """Which of a variant's own settings differ, in words: those too that have no weights, whose sizes would tell."""
    passed_over = {*defaults(), *OF_LABELS}
    here, there = (dict(gan.hparams) for gan in (model, source))
    keys = [key for key in here if key not in passed_over and here[key] != there.get(key)]
    return [f"model.{key} {_said(there.get(key))} -> {_said(here[key])}" for key in keys]


def _said(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return shortened(ascii(value))
    return "none" if value is None else trust.shown(value).strip("'")


def _percent(part: int, whole: int) -> str:
    """Of a network: all of it, or how much, never 100 % of what is not all."""
    return "whole" if part == whole else f"{min(round(100 * part / whole), 99)} %"


def _shapes(new: Tensor, old: Tensor | None) -> str:
    was = f", was {list(old.shape)}" if old is not None and old.shape != new.shape else ""
    return f"({list(new.shape)}{was})"


def _several(words: list[str]) -> str:
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return f"{', '.join(words[:SHOWN])}{more}"
