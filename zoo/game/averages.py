"""Exponential moving average of a generator, its half-life counted in images.

Averaging the generator's weights over its last updates removes most of the oscillation of the game: Yazici et al.,
"The Unusual Effectiveness of Averaging in GAN Training", ICLR 2019, arXiv:1806.04498. The half-life in images and its
warm-up follow Karras et al. 2018 (arXiv:1710.10196) and 2020 (arXiv:2006.06676).

Departure: floating-point buffers (BatchNorm's running statistics) are averaged as well, since averaged weights need the
statistics that belong to them, not those of the last weights. A buffer that is to be the network's own, as a mean that
the network tracks itself and by which it is used, is named by its module, `copied_buffers = {"w_mean"}`: it is copied,
as the authors of StyleGAN copy all.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

Place = tuple[dict[str, Any], str, bool]  # a module's dict of parameters or buffers, a name in it, whether it is copied


class EMA(nn.Module):
    """An averaged copy of a network: never trained, always in evaluation mode.

    After `images` more images, `average = beta * average + (1 - beta) * network`, with `beta = 0.5 ** (images / h)`.
    `h` is the half-life, or during the warm-up the part `warmup` of the images seen so far, if that is less:
    so the random initial weights are forgotten within the first steps.

    Args:
        network: the network to follow; it is copied.
        half_life: images after which a weight has lost half of its influence; 0 follows the network exactly.
        warmup: the half-life is at most `warmup * images seen`; 0 switches the warm-up off.

    Raises:
        ValueError: if `half_life` or `warmup` is negative.
    """

    def __init__(self, network: nn.Module, *, half_life: float, warmup: float = 0.05) -> None:
        super().__init__()
        if half_life < 0 or warmup < 0:
            raise ValueError(
                f"half_life={half_life} and warmup={warmup} must not be negative; half_life=0 is no average"
            )
        self.half_life, self.warmup = half_life, warmup
        self.images = 0  # images seen so far
        self.module = copy.deepcopy(network).eval().requires_grad_(False)
        self._places: tuple[nn.Module, list[Place], list[Place]] | None = None  # the network last followed

    def beta(self, images: int) -> float:
        """The weight that the average keeps when the network has seen `images` more images."""
        half_life = min(self.half_life, self.warmup * self.images) if self.warmup else self.half_life
        return 0.5 ** (images / half_life) if half_life > 0 else 0.0

    @torch.no_grad()
    def update(self, network: nn.Module, *, images: int) -> None:
        """Move the average towards `network`, which has seen `images` more images, over all ranks.

        Between two updates tensors may move (`.to`) or be replaced (`load_state_dict`), but not submodules.
        """
        weight = 1.0 - self.beta(images)
        self.images += images
        if self._places is None or self._places[0] is not network:
            self._places = network, _places(self.module), _places(network)
        means: list[Tensor] = []
        values: list[Tensor] = []
        for (tensors, name, copied), (sources, source, _) in zip(*self._places[1:], strict=True):
            if copied or not tensors[name].is_floating_point():
                tensors[name].copy_(sources[source])
            else:
                means.append(tensors[name])
                values.append(sources[source])
        torch._foreach_lerp_(means, values, weight)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The averaged network's output."""
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> "EMA":
        """Stay in evaluation mode: an average has no batch statistics of its own."""
        return super().train(False)

    def get_extra_state(self) -> int:
        """Images seen: part of the state_dict, so that the warm-up goes on where it was."""
        return self.images

    def set_extra_state(self, state: int) -> None:
        """Restore the images seen."""
        self.images = state


@torch.no_grad()
def evaluated(network: nn.Module, *inputs: Any, **settings: Any) -> Any:
    """What a network makes of its inputs in evaluation mode; it is left in the mode that it was in.

    It runs eagerly, compiled or not: that is once in a while, on batches of other sizes.
    """
    modes = {module: module.training for module in network.modules()}
    with torch.compiler.set_stance("force_eager"):
        output = network.eval()(*inputs, **settings)
    for module, training in modes.items():
        module.training = training
    return output


def _places(network: nn.Module) -> list[Place]:
    """Where a network's tensors are kept. Looking there costs a fifth of walking the modules, and `.to()` may replace
    the tensors, but not the places."""
    places: dict[int, Place] = {}
    for module in network.modules():
        copied = getattr(module, "copied_buffers", ())
        for tensors in (module._parameters, module._buffers):
            named = [(name, tensor) for name, tensor in tensors.items() if tensor is not None]
            places |= {id(tensor): (tensors, name, name in copied) for name, tensor in named}
    return list(places.values())
