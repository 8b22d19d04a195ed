"""What is built, in words: each network's parameters, and the channels of its feature maps by resolution."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Channels = dict[tuple[int, int], int]  # (height, width) of a network's feature maps -> their channels


def in_words(model: Any, batch: Any) -> list[str]:
    """A line for each network that a player trains, as in

        G 0.19 M parameters, channels 64 (4x4), 64 (8x8), 32 (16x16), 16 (32x32)

    Args:
        model: a game.
        batch: of its data, small: it is previewed and judged.
    """
    maps, lines = feature_maps(model, batch), []
    names = {network: name for name, network in model.named_children()}
    for network in (network for networks in model.players().values() for network in networks):
        best = model.best(network)  # its average, which makes the images of a preview
        channels = maps.get(network) or maps.get(best, {})
        listed = ", ".join(f"{count} ({height}x{width})" for (height, width), count in sorted(channels.items()))
        parameters = sum(parameter.numel() for parameter in network.parameters())
        number = f"{parameters / 1e6:.2f} M" if parameters >= 100_000 else f"{parameters:,}"
        lines.append(f"{names[network]} {number} parameters" + f", channels {listed}" * bool(listed))
    return lines


@torch.no_grad()
def feature_maps(model: Any, batch: Any) -> dict[nn.Module, Channels]:
    """The channels at each resolution of the networks that make and judge images, while a batch is previewed.

    Where layers of one resolution differ, as before a sub-pixel convolution, the fewest; no images, no logits.
    """
    least = max(field.shape[1] for field in batch if field.dim() == 4)  # what has no more is an image
    seen: dict[nn.Module, Channels] = {network: {} for network in model.children()}

    def look(channels: Channels, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.dim() == 4 and output.shape[1] > least:
            size = (output.shape[2], output.shape[3])
            channels[size] = min(channels.get(size, output.shape[1]), output.shape[1])

    modes = {module: module.training for module in model.modules()}
    model.eval()  # first: to look at a weight that is normalised spectrally changes it in training
    hooks = [
        layer.register_forward_hook(partial(look, channels))
        for network, channels in seen.items()
        for layer in network.modules()
        if isinstance(layer, nn.PixelShuffle | nn.Unflatten) or getattr(getattr(layer, "weight", None), "ndim", 0) == 4
    ]
    try:
        with torch.compiler.set_stance("force_eager"):
            model.preview(batch)
            model.critique(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return seen
