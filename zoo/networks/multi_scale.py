"""MSG-GAN: Karnewar and Wang, "MSG-GAN: Multi-Scale Gradients for Generative Adversarial Networks", CVPR 2020,
arXiv:1903.06048.

G makes an image of its features at every resolution, and D sees all of them, each where its features have that
resolution: gradients reach every level of G at once, and nothing has to grow.

Faithful: section 2: a 1x1 convolution makes the image of each level; D begins with the largest one, and the others are
          appended to its features, the "simple" combination; real images are averaged down.
Departs:  the layers between are those of `zoo.networks.style`. The other two combinations, with a 1x1 convolution, are
          left out.

All images travel as one tensor [N, pixels], so that an objective or a gradient penalty treats them as one.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.networks.convolutional import Shape
from zoo.networks.growth import Enter, Growth, Stage


class MultiScale(Growth):
    """D sees an image of every level, packed."""

    packed = True

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__(shapes)
        self.appended = shapes[0][0]

    def shown(self, real: Tensor, stage: Stage) -> Tensor:
        return self.pack([F.avg_pool2d(real, 2 ** (self.top - k)) for k in range(self.top)] + [real])

    def contributing(self, stage: Stage) -> range:
        return range(self.top, self.top + 1)

    def seen(self, stage: Stage) -> range:
        return range(self.top + 1)

    def join(self, images: list[Tensor], contribution: Tensor, stage: Stage) -> Tensor:
        return contribution

    def pack(self, images: list[Tensor]) -> Tensor:
        return torch.cat([image.flatten(1) for image in images], 1)

    def unpack(self, x: Tensor) -> list[Tensor]:
        parts = x.split([math.prod(shape) for shape in self.shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def meet(self, h: Tensor, level: int, images: list[Tensor], stage: Stage, enter: Enter) -> Tensor:
        return torch.cat([images[level].to(h.dtype), h], 1)
