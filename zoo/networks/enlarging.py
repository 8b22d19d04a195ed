"""What surrounds a network that enlarges images: the range of its images, and the bound of what it gives.

Images inside zoo are in [-1, 1]. Networks of other repositories work on [0, 1], and some end in a tanh: their weights
are of use only where their ranges are kept.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Range = Literal["signed", "unit"]
Bound = Literal["none", "tanh"]
Part = tuple[range, range]  # rows and columns of an image


class Enlarging(nn.Module):
    """Images [N, C, h, w] in [-1, 1] -> [N, C, s*h, s*w], any h and w: of their `features` a `picture`, both in the
    network's own range. Of a part of the image alone, where one is asked for: what is made for it is no larger.

    Args:
        image_range: of the images inside: "signed", [-1, 1], or "unit", [0, 1].
        bound: "none", the result is not clipped, or "tanh": the result is the tanh of the picture; in [0, 1] that is
            (tanh + 1) / 2.
    """

    grid = 1  # pixels a side that the network takes together: a part of an image must begin at a multiple of it
    scale: int  # s

    def __init__(self, *, image_range: Range, bound: Bound) -> None:
        super().__init__()
        self.image_range, self.bound = image_range, bound

    def forward(self, low: Tensor, part: Part | None = None) -> Tensor:
        """With `part`, [N, C, s*rows, s*columns] of it alone."""
        unit = self.image_range == "unit"
        low = (low + 1) / 2 if unit else low
        maps = self.features(low)
        image = self.picture(maps, low) if part is None else self._of_part(maps, low, part)
        if self.bound == "tanh":
            return image.tanh()
        return 2 * image - 1 if unit else image

    def features(self, low: Tensor) -> Tensor:
        """Images [N, C, h, w] -> what is found in them, [N, F, h / grid, w / grid], rounded up."""
        raise NotImplementedError

    def picture(self, maps: Tensor, low: Tensor) -> Tensor:
        """Of both the image, [N, C, s*h, s*w]."""
        raise NotImplementedError

    def _of_part(self, maps: Tensor, low: Tensor, part: Part) -> Tensor:
        """The picture of a part: of the features around it only those are enlarged on which it depends."""
        places = []
        for dim, side in zip((2, 3), part, strict=True):
            first = max(side.start - self.near, 0) // self.grid * self.grid
            last = min(side.stop + self.near, low.shape[dim])
            low = low.narrow(dim, first, last - first)
            maps = maps.narrow(dim, first // self.grid, -(-last // self.grid) - first // self.grid)
            places.append(slice(self.scale * (side.start - first), self.scale * (side.stop - first)))
        return self.picture(maps, low)[:, :, places[0], places[1]]

    @property
    def near(self) -> int:
        """Low-resolution pixels on each side that `picture` makes a pixel of, at most."""
        raise NotImplementedError

    @property
    def reach(self) -> int:
        """Low-resolution pixels on each side that a pixel of the output depends on, at most."""
        raise NotImplementedError


def enlarging_factors(scale: int) -> list[int]:
    """The steps of a magnification: 3 at once, otherwise twos; 1 is none."""
    return [3] if scale == 3 else [2] * (scale.bit_length() - 1)


@torch.no_grad()
def init_small(network: nn.Module, factor: float = 0.1) -> None:
    """He et al. 2015 (arXiv:1502.01852), times `factor`; biases 0.

    ESRGAN (arXiv:1809.00219), section 3.1: residual architectures are easier to train when the initial parameters have
    a smaller variance; 0.1 is in the supplementary material and in the authors' code.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.mul_(factor)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def enlarged(image: Tensor, scale: int, mode: str) -> Tensor:
    """Images [N, C, h, w] -> [N, C, s*h, s*w], "nearest" or "bilinear"."""
    return F.interpolate(image, scale_factor=scale, mode=mode, align_corners=False if mode == "bilinear" else None)
