"""FreezeD: Mo, Cho, Shin, "Freeze the Discriminator: a Simple Baseline for Fine-Tuning GANs", 2020, arXiv:2002.10964.

A discriminator that has learnt what images are made of keeps that when it sees few of another kind: in fine-tuning the
layers nearest the image are held, and the others move (section 3).

Faithful: whole layers, counted from the image on, are left out of training; what they compute goes on through them.
Departs:  their normalisation goes on by the statistics of the batch at hand, as when these layers were trained.
"""

from collections.abc import Iterator

from torch import nn
from torch.nn.utils.parametrize import is_parametrized


def freeze(network: nn.Module, count: int) -> list[nn.Parameter]:
    """Hold the first layers of a discriminator, counted from the image on; the parameters that are held.

    Raises:
        ValueError: if it has no more layers than these.
    """
    layers = layers_from_image(network)
    if count >= len(layers):
        raise ValueError(
            f"model.freeze_d={count} leaves nothing of the discriminator to train, which has {len(layers)} layers: "
            f"give at most {len(layers) - 1}"
        )
    held = [parameter for layer in layers[:count] for parameter in layer]
    for parameter in held:
        parameter.requires_grad_(False)
    return held


def layers_from_image(network: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of each layer, from the image on.

    A network whose order is another than that in which it registers its modules has a method `from_image`, which gives
    each layer's modules. Else a layer is a module with a weight of two dimensions or more, and the normalisation and
    activation after it.
    """
    ordered = getattr(network, "from_image", None)
    if ordered is not None:
        return [[p for module in modules for p in module.parameters()] for modules in ordered()]
    layers: list[list[nn.Parameter]] = []
    for parameters in _by_module(network):
        if not layers or any(parameter.dim() > 1 for parameter in parameters):
            layers.append([])
        layers[-1] += parameters
    return layers


def _by_module(network: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Each module's own parameters, those of its parametrizations (spectral normalisation) among them."""
    if own := list(network.parameters(recurse=False)):
        parametrized = list(network.parametrizations.parameters()) if is_parametrized(network) else []  # type: ignore[union-attr]
        yield own + parametrized
    elif is_parametrized(network):
        yield list(network.parametrizations.parameters())  # type: ignore[union-attr]
    for name, child in network.named_children():
        if name != "parametrizations":
            yield from _by_module(child)
