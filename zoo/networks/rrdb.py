"""RRDBNet, the generator of ESRGAN: Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks",
ECCV Workshops 2018, arXiv:1809.00219; and the modified SRResNet that the same authors set beside it.

    RRDB            residual in residual dense block, Figure 4: three dense blocks, each of five convolutions that see
                    all maps before them; what is added to a skip is multiplied by beta before
    nb, nf, gc      the number of RRDBs, 23; feature maps, 64; maps that each convolution in a dense block adds, 32
    beta            residual scaling, 0.2

Faithful: no BatchNorm; LeakyReLU of 0.2; beta = 0.2 in the dense blocks and around each three of them; the trunk's last
          convolution and the long skip (Figure 3); enlargement by nearest neighbours and a convolution for each factor
          of 2, and two more convolutions; images in [0, 1], not bounded; small initial weights (section 3.1).
Options:  pixel-unshuffle of the input (Real-ESRGAN, Wang et al. 2021, arXiv:2107.10833, section 4.1): its networks of
          x2 and x1 enlarge an image that was folded by 2 or 4 before by 4. A x3 network enlarges once, by 3.
          Any number of channels. An image whose sides are no multiples of the folding is continued by its mirror image.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.networks.enlarging import Bound, Enlarging, Range, enlarged, enlarging_factors, init_small

BETA = 0.2
SLOPE = 0.2  # of LeakyReLU


def convolution(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)


class DenseBlock(nn.Module):
    """Figure 4: x + beta * the last of five convolutions, each of which sees x and the maps of all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        sizes = [*([growth] * 4), width]
        self.convolutions = nn.ModuleList(convolution(width + k * growth, size) for k, size in enumerate(sizes))
        init_small(self)

    def forward(self, x: Tensor) -> Tensor:
        maps, *later = x, *self.convolutions
        for layer in later[:-1]:
            maps = torch.cat([maps, F.leaky_relu(layer(maps), SLOPE)], dim=1)
        return x + BETA * later[-1](maps)


class RRDB(nn.Sequential):
    """x + beta * three dense blocks of x."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + BETA * super().forward(x)


class RRDBNet(Enlarging):
    """See the header.

    Args:
        channels: C.
        scale: s: 1, 2, 3, 4 or 8.
        width, blocks, growth: nf, nb and gc.
        unshuffle: pixels a side that are folded into channels before: 1 for none, 2 or 4.
        image_range, bound: see `Enlarging`.
    """

    def __init__(
        self, channels: int, scale: int, *, width: int, blocks: int, growth: int, unshuffle: int = 1,
        image_range: Range = "unit", bound: Bound = "none",
    ) -> None:  # fmt: skip
        super().__init__(image_range=image_range, bound=bound)
        self.scale, self.grid = scale, unshuffle
        self.factors = enlarging_factors(scale * unshuffle)
        self.enter = convolution(channels * unshuffle**2, width)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)), convolution(width, width))
        self.steps = nn.ModuleList(convolution(width, width) for _ in self.factors)
        self.leave = nn.Sequential(convolution(width, width), nn.LeakyReLU(SLOPE), convolution(width, channels))

    def features(self, low: Tensor) -> Tensor:
        shallow = self.enter(folded(low, self.grid) if self.grid > 1 else low)
        return shallow + self.body(shallow)  # [N, width, h / grid, w / grid]

    def picture(self, maps: Tensor, low: Tensor) -> Tensor:
        height, width = low.shape[2:]
        for factor, layer in zip(self.factors, self.steps, strict=True):
            maps = F.leaky_relu(layer(enlarged(maps, factor, "nearest")), SLOPE)
        image = self.leave(maps)  # [N, C, s*h, s*w], and more where sides were filled
        if self.grid == 1:
            return image
        for dim, side in ((2, height), (3, width)):  # no slice, whose bounds would bind an exported network's sizes
            image = image.index_select(dim, torch.arange(self.scale * side, device=image.device))
        return image

    @property
    def near(self) -> int:
        return self.grid * reach_beyond(self.factors, before=False)

    @property
    def reach(self) -> int:
        before = 1 + 15 * (len(self.body) - 1) + 1  # each convolution: 1
        return self.grid * (before + (self.grid > 1)) + self.near


class MSRResNet(Enlarging):
    """The "modified SRResNet" of BasicSR (Wang et al.), as of ESRGAN's section 4.4: residual blocks without BatchNorm,
    sub-pixel convolutions, 3x3 convolutions at both ends; the enlarged input is added to the output, and no long skip.

    Args: see `RRDBNet`; scale 2, 3, 4 or 8.
    """

    SLOPE = 0.1

    def __init__(
        self, channels: int, scale: int, *, width: int, blocks: int, image_range: Range = "unit", bound: Bound = "none"
    ) -> None:
        super().__init__(image_range=image_range, bound=bound)
        self.scale = scale
        self.factors = enlarging_factors(scale)
        self.enter = convolution(channels, width)
        residual = lambda: nn.Sequential(convolution(width, width), nn.ReLU(), convolution(width, width))
        self.body = nn.ModuleList(residual() for _ in range(blocks))
        self.steps = nn.ModuleList(convolution(width, factor**2 * width) for factor in self.factors)
        self.leave = nn.Sequential(convolution(width, width), nn.LeakyReLU(self.SLOPE), convolution(width, channels))
        init_small(self)

    def features(self, low: Tensor) -> Tensor:
        maps = F.leaky_relu(self.enter(low), self.SLOPE)
        for block in self.body:
            maps = maps + block(maps)
        return maps

    def picture(self, maps: Tensor, low: Tensor) -> Tensor:
        for factor, layer in zip(self.factors, self.steps, strict=True):
            maps = F.leaky_relu(F.pixel_shuffle(layer(maps), factor), self.SLOPE)
        return self.leave(maps) + enlarged(low, self.scale, "bilinear")

    @property
    def near(self) -> int:
        return max(2, reach_beyond(self.factors, before=True))  # 2: of the bilinear skip

    @property
    def reach(self) -> int:
        return 1 + 2 * len(self.body) + self.near


def reach_beyond(factors: list[int], *, before: bool) -> int:
    """Pixels that the convolutions of an enlargement and the two after it reach, in pixels as they were before it:
    rounded up, with one more for the place within a pixel. `before`: each step's convolution comes before it."""
    sizes = [1 / math.prod(factors[:k]) for k in range(len(factors) + 1)]  # of the pixels of each larger map
    return math.ceil(sum(sizes[:-1] if before else sizes[1:]) + 2 * sizes[-1]) + 1


def folded(image: Tensor, grid: int) -> Tensor:
    """[N, C, h, w] -> [N, C * grid^2, h / grid, w / grid], sides rounded up: blocks of pixels as channels.

    What is missing of the last blocks is the mirror image of what is before, as Real-ESRGAN does. Without a branch on
    the size, so that an exported network takes every one.
    """
    for dim in (2, 3):
        length = image.shape[dim]
        places = torch.arange((length + grid - 1) // grid * grid, device=image.device)
        image = image.index_select(dim, torch.where(places < length, places, 2 * length - 2 - places).clamp(min=0))
    return F.pixel_unshuffle(image, grid)
