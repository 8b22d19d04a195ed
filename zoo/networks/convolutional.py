"""The convolutional pair of DCGAN: Radford, Metz, Chintala 2016, arXiv:1511.06434, Figure 1 and section 3.

G doubles the resolution by fractionally-strided convolutions from 4 pixels to the image, D halves it by strided ones
from the image to 4 pixels; the number of channels doubles in the other direction.
"""

import math
from itertools import pairwise

from torch import nn

Shape = tuple[int, int, int]  # of an image: channels, height, width
START = 4  # pixels of the smallest feature map's shorter side


def doublings(height: int, width: int, *, smallest: int = 16, largest: int = 256) -> int:
    """How often the 4-pixel start is doubled to reach the image.

    Raises:
        ValueError: unless the shorter side is a power of two from `smallest` to `largest`, the longer one a multiple of
            2**n.
    """
    n = round(math.log2(min(height, width) / START))
    if min(height, width) != START * 2**n or not smallest <= min(height, width) <= largest or max(height, width) % 2**n:
        short = min(max(START * 2 ** round(math.log2(max(min(height, width), 1) / START)), smallest), largest)
        quarter = short // START
        sides = [max(round(side / quarter) * quarter, short) for side in (height, width)]
        nearest = short if sides[0] == sides[1] else str(sides).replace(" ", "")
        raise ValueError(
            f"image_size={height}x{width} does not fit these networks: the shorter side must be "
            f"{', '.join(str(2**k) for k in range(smallest.bit_length() - 1, largest.bit_length() - 1))} or {largest} "
            f"and the longer one a multiple of a quarter of it; try data.image_size={nearest}"
        )
    return n


def ladder(shape: Shape, *, base: int, most: int) -> tuple[list[int], tuple[int, int]]:
    """Channels of the feature maps from the one next to the image, `base`, to the smallest one, at most `most`; and
    the smallest one's (height, width). A ValueError for a `base` above `most`, and what `doublings` raises."""
    if base > most:
        raise ValueError(f"model.width={base} is more than model.max_width={most}: lower one or raise the other")
    _, height, width = shape
    n = doublings(height, width)
    return [min(base * 2**k, most) for k in range(n)], (height >> n, width >> n)


def project(c_in: int, channels: int, start: tuple[int, int]) -> list[nn.Module]:
    """[N, c_in] -> [N, channels, *start]: "project and reshape" of Figure 1."""
    return [nn.Linear(c_in, channels * start[0] * start[1], bias=False), nn.Unflatten(1, (channels, *start))]


def doubled(c_in: int, c_out: int, *, bias: bool = False) -> nn.ConvTranspose2d:
    """[N, c_in, H, W] -> [N, c_out, 2 H, 2 W]; BatchNorm takes a bias away again."""
    return nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1, bias=bias)


def features(channels: int, sizes: list[int], *, norm: str) -> list[nn.Module]:
    """Image [N, channels, H, W] -> [N, sizes[-1], h, w], a convolution that halves it for each of `sizes`.

    The first one is not normalised. `norm` is the paper's "batch", or "spectral" or "none", which add no layer.
    """
    layers: list[nn.Module] = []
    for c_in, c_out in pairwise([channels, *sizes]):
        normalised = norm == "batch" and bool(layers)
        layers.append(nn.Conv2d(c_in, c_out, 4, stride=2, padding=1, bias=not normalised))
        layers += [nn.BatchNorm2d(c_out)] if normalised else []
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return layers


class Generator(nn.Sequential):
    """z [N, latent_dim] -> image [N, C, H, W] in [-1, 1]; `base` channels before the image, doubling towards z."""

    def __init__(self, *, latent_dim: int, shape: Shape, base: int, most: int) -> None:
        sizes, start = ladder(shape, base=base, most=most)
        sizes.reverse()  # 1024, 512, 256, 128 in Figure 1
        layers = [*project(latent_dim, sizes[0], start), nn.BatchNorm2d(sizes[0]), nn.ReLU(inplace=True)]
        for c_in, c_out in pairwise(sizes):
            layers += [doubled(c_in, c_out), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
        super().__init__(*layers, doubled(sizes[-1], shape[0], bias=True), nn.Tanh())


class Discriminator(nn.Sequential):
    """Image [N, C, H, W] -> logit [N]; `base` channels after the image, doubling down to the 4-pixel end.

    `norm` is the paper's "batch", or "spectral" (Miyato et al. 2018, arXiv:1802.05957) or "none".
    """

    def __init__(self, *, shape: Shape, base: int, most: int, norm: str) -> None:
        sizes, end = ladder(shape, base=base, most=most)
        # "the last convolution layer is flattened and then fed into a single sigmoid output", which is in the loss.
        super().__init__(*features(shape[0], sizes, norm=norm), nn.Conv2d(sizes[-1], 1, end), nn.Flatten(0))


def small_discriminator(channels: int, height: int, width: int) -> nn.Sequential:
    """Image [N, C, H, W] -> logit [N, 1], by two 3x3 convolutions of stride 2 with 64 and 128 channels."""
    layers: list[nn.Module] = []
    for c_in, c_out in ((channels, 64), (64, 128)):
        layers += [nn.Conv2d(c_in, c_out, 3, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
    quarter = -(-height // 4) * -(-width // 4)  # pixels of [N, 128, H/4, W/4], rounded up
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * quarter, 1))
