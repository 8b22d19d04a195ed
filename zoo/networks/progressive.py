"""Progressive growing: Karras, Aila, Laine, Lehtinen, "Progressive Growing of GANs for Improved Quality, Stability, and
Variation", ICLR 2018, arXiv:1710.10196.

G and D begin at 4 pixels; when a resolution is trained, the next one is faded in by its weight alpha, which rises from
0 to 1 (section 2 and Figure 2):

    G      lerp(doubled(image of the level below), image of the newest level, alpha)
    D      lerp(features of halved(x) as they enter the level below, features of x out of the newest block, alpha)
    x      of real images lerp(doubled(halved(x)), x, alpha), at the newest level's size

Faithful: doubling repeats pixels and halving averages them; both networks and the real images are blended alike; one
          phase to fade a resolution in, one to train it, 800,000 images each (appendix A.1).
Departs:  the layers between are those of `zoo.networks.style`. The optimizers keep their state while resolutions are
          added, and the batch keeps its size, where the authors' code begins the one anew and shrinks the other.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.networks.convolutional import Shape
from zoo.networks.growth import Enter, Growth, Stage


class Progressive(Growth):
    """Each level is added when the one below is trained; `phase`: images of each phase."""

    def __init__(self, shapes: Sequence[Shape], *, phase: int) -> None:
        super().__init__(shapes)
        self.phase, self.entries = phase, list(range(self.top + 1))

    def stage(self, images: int, device: torch.device) -> Stage:
        """A phase at 4 pixels; then, for each level, one in which alpha rises from 0 to 1, and one of it alone."""
        whole, rest = divmod(images, self.phase)
        level = (whole + 1) // 2
        if level > self.top or whole % 2 == 0:
            return min(level, self.top), None
        return level, torch.full((), rest / self.phase, device=device)

    def shown(self, real: Tensor, stage: Stage) -> Tensor:
        level, alpha = stage
        x = F.avg_pool2d(real, 2 ** (self.top - level))
        return x if alpha is None else F.interpolate(F.avg_pool2d(x, 2), scale_factor=2).lerp(x, alpha)

    def contributing(self, stage: Stage) -> range:
        level, alpha = stage
        return range(level if alpha is None else level - 1, level + 1)

    def join(self, images: list[Tensor], contribution: Tensor, stage: Stage) -> Tensor:
        _, alpha = stage
        if alpha is None or not images:
            return contribution
        return F.interpolate(images[-1], scale_factor=2).lerp(contribution, alpha)

    def meet(self, h: Tensor, level: int, images: list[Tensor], stage: Stage, enter: Enter) -> Tensor:
        newest, alpha = stage
        if alpha is None or level != newest - 1:
            return h
        return enter(F.avg_pool2d(images[-1], 2), level).lerp(h, alpha.to(h.dtype))
