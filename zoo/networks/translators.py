"""The networks that translate images into images, and those that judge them patch by patch: what CycleGAN and pix2pix
share.

- `ResNetGenerator`: Johnson et al. 2016, arXiv:1603.08155, as in CycleGAN, arXiv:1703.10593, section 7.2.
- `UNet`: pix2pix, arXiv:1611.07004, sections 3.2.1 and 6.1.1 (Ronneberger et al. 2015, arXiv:1505.04597).
- `PatchDiscriminator`: pix2pix, sections 3.2.2 and 6.1.2.

Departs: convolutions that a normalisation follows have no bias, which it would take away again.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, group_norm
from torch.nn.modules.batchnorm import _BatchNorm

Size = tuple[int, int]  # height, width
LEAST = 8  # pixels: reflection padding needs more pixels than it adds, also at a quarter of the resolution


class InstanceNorm(nn.Module):
    """Each channel of each image to mean 0 and variance 1, [N, C, H, W]: Ulyanov et al. 2016, arXiv:1607.08022.

    With `channels`, each of so many then has a scale and a shift of its own, 1 and 0 at first.

    torch 2.15 has three kernels for it, none of which is right and fast everywhere. `group_norm` is, but for
    channels-last on CPUs: its variance there is a difference of squares, off by percents where a channel is nearly
    uniform, and it is slower than `batch_norm` image by image, which takes its place. `instance_norm` is not used: for
    one image and a gradient in channels-last its gradient is wrong.

    A graph that is exported for any number of images can't take them one by one; what exports it makes weights and
    images contiguous. onnxruntime leaves rounding errors of a uniform channel, which the next layers blow up, up to 0.5
    of an image in [0, 1]; of a channel that is 0 it leaves 0, so that one pixel is subtracted first.
    """

    def __init__(self, channels: int | None = None) -> None:
        super().__init__()
        self.affine = channels is not None
        self.weight = None if channels is None else nn.Parameter(torch.ones(channels))  # the scale
        self.bias = None if channels is None else nn.Parameter(torch.zeros(channels))  # the shift

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if torch.compiler.is_exporting():
            x = x - x[:, :, :1, :1]
        elif x.device.type == "cpu" and not x.is_contiguous():
            return torch.cat([batch_norm(image, None, None, weight, bias, training=True) for image in x.split(1)])
        return group_norm(x, x.shape[1], weight, bias)


def normalisation(norm: str, channels: int) -> nn.Module:
    """ "instance", without scale and shift as in the authors' code, "instance_affine", with them, or "batch"."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return InstanceNorm(channels if norm == "instance_affine" else None)


def unit(convolution: nn.Conv2d | nn.ConvTranspose2d, norm: str) -> list[nn.Module]:
    """Convolution, normalisation, ReLU."""
    return [convolution, normalisation(norm, convolution.out_channels), nn.ReLU(inplace=True)]


class ResidualBlock(nn.Module):
    """x [N, width, h, w] -> x + f(x), f two 3x3 convolutions: Rk of arXiv:1703.10593, section 7.2."""

    def __init__(self, width: int, *, norm: str) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, bias=False) for _ in range(2))
        layers = [nn.ReflectionPad2d(1), *unit(first, norm), nn.ReflectionPad2d(1), *unit(second, norm)]
        self.f = nn.Sequential(*layers[:-1])  # no ReLU at its end

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


class ResNetGenerator(nn.Sequential):
    """Image [N, c_in, H, W] -> image [N, c_out, H, W] in [-1, 1], H and W multiples of 4, from 8 on.

    c7s1-k, d2k, d4k, `blocks` times R4k, u2k, uk, c7s1-c_out, with k = `width`: 64 in the paper. `reach` is how many
    pixels around a part of the image decide on it, at most; None: all of them, by instance normalisation.
    """

    stride = 4

    def __init__(self, *, c_in: int, c_out: int, width: int, blocks: int, norm: str) -> None:
        layers = [nn.ReflectionPad2d(3), *unit(nn.Conv2d(c_in, width, 7, bias=False), norm)]
        for k in (1, 2):
            layers += unit(nn.Conv2d(k * width, 2 * k * width, 3, stride=2, padding=1, bias=False), norm)
        layers += [ResidualBlock(4 * width, norm=norm) for _ in range(blocks)]
        for k in (2, 1):
            up = nn.ConvTranspose2d(2 * k * width, k * width, 3, stride=2, padding=1, output_padding=1, bias=False)
            layers += unit(up, norm)
        super().__init__(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, c_out, 7), nn.Tanh())
        # 3 of the 7x7 convolutions at either end, 1 of each other one, in pixels of 1, 2 or 4; a multiple of the stride
        self.reach = (3 + 1 + 2) + 8 * blocks + (4 + 2 + 3) + 1 if norm == "batch" else None


class UNet(nn.Module):
    """Image [N, c_in, H, W] -> image [N, c_out, H, W] in [-1, 1], H and W multiples of 2**depth.

    `depth` convolutions halve the image, as many transposed ones double it again, each of which also sees what its
    mirror image made: C64-C128-C256-C512-... at width 64. Dropout of probability `dropout` follows the first three
    layers of the decoder, as far as they have 8 * width channels (CD512). `reach` is as that of `ResNetGenerator`.
    """

    channels_last_on_cpu = False  # measured by benchmarks/layout.py

    def __init__(self, *, c_in: int, c_out: int, width: int, depth: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.stride = 2**depth
        # Going down, each convolution sees 2 of its pixels to a side at most, going up each sees 1 of the next larger.
        self.reach = 4 * self.stride if norm == "batch" else None
        sizes = [width * min(2**k, 8) for k in range(depth)]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for k, (above, below) in enumerate(pairwise([c_in, *sizes])):
            outer, inner = k == 0, k == depth - 1  # neither is normalised: arXiv:1611.07004, section 6.1.1, and errata
            layers: list[nn.Module] = [] if outer else [nn.LeakyReLU(0.2)]
            layers.append(nn.Conv2d(above, below, 4, stride=2, padding=1, bias=outer or inner))
            layers += [] if outer or inner else [normalisation(norm, below)]
            self.downs.append(nn.Sequential(*layers))
        for k, (below, above) in enumerate(pairwise([*reversed(sizes), c_out])):
            outer, skipped = k == depth - 1, k > 0
            up = nn.ConvTranspose2d(below * (1 + skipped), above, 4, stride=2, padding=1, bias=outer)
            layers = [nn.ReLU(), up, nn.Tanh() if outer else normalisation(norm, above)]
            if dropout and not outer and k < 3 and above == 8 * width:
                layers.append(nn.Dropout(dropout))
            self.ups.append(nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.downs:
            x = down(x)  # half as high and wide
            skips.append(x)
        x = self.ups[0](skips.pop())
        for up in self.ups[1:]:
            x = up(torch.cat([skips.pop(), x], dim=1))  # twice as high and wide
        return x


class PatchDiscriminator(nn.Sequential):
    """Image [N, channels, H, W] -> logits [N, 1, h, w], each of a patch: of 16, 34 or 70 pixels for 1, 2 or 3 `layers`.

    C64-C128-C256-C512 at width 64 and 3 layers, the first without normalisation: arXiv:1611.07004, section 6.1.2.
    """

    def __init__(self, channels: int, width: int, layers: int, norm: str) -> None:
        sizes = [width * min(2**k, 8) for k in range(layers + 1)]
        network: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        for k, (c_in, c_out) in enumerate(pairwise(sizes), start=1):
            convolution = nn.Conv2d(c_in, c_out, 4, stride=2 if k < layers else 1, padding=1, bias=False)
            network += [convolution, normalisation(norm, c_out), nn.LeakyReLU(0.2, inplace=True)]
        super().__init__(*network, nn.Conv2d(sizes[-1], 1, 4, padding=1))


def make_generator(
    generator: str, size: Size, c_in: int, c_out: int, width: int, blocks: int | None, norm: str, dropout: float
) -> ResNetGenerator | UNet:
    """The generator of that name, "resnet" or "unet", for images of `size`.

    `width` is that of the layer at the image. `blocks` are the residual ones of a ResNet; None: 6 for sides below 256
    pixels, 9 from there on (arXiv:1703.10593, section 7.2). A U-Net halves images as often as both sides can be, at
    most 8 times, to 1 pixel of 256; `dropout` is the probability in its decoder.

    Raises:
        ValueError: for a size that the network can't make, with the nearest multiple of 16; and for blocks of a U-Net.
    """
    stride = ResNetGenerator.stride if generator == "resnet" else 8  # a U-Net halves three times or more
    if any(side % stride or side < LEAST for side in size):
        nearest = [max(round(side / 16) * 16, 16) for side in size]
        proposal = nearest[0] if nearest[0] == nearest[1] else nearest
        raise ValueError(
            f"image_size={size[0]}x{size[1]} does not fit this generator: both sides must be multiples of {stride}, "
            f"{LEAST} or more; try data.image_size={proposal}"
        )
    if generator == "resnet":
        blocks = (6 if min(size) < 256 else 9) if blocks is None else blocks
        return ResNetGenerator(c_in=c_in, c_out=c_out, width=width, blocks=blocks, norm=norm)
    if blocks is not None:
        raise ValueError(f"model.blocks={blocks} has no effect with model.generator=unet: set model.generator=resnet")
    depth = next(depth for depth in range(8, 0, -1) if not any(side % 2**depth for side in size))
    return UNet(c_in=c_in, c_out=c_out, width=width, depth=depth, norm=norm, dropout=dropout)


def patch_layers(layers: int | None, size: Size) -> int:
    """The layers of a `PatchDiscriminator`; None: the paper's 3 (70 pixels) for sides from 128 on, 2 (34) from 64, 1
    (16) below, so that a patch stays a part of the image.

    Raises:
        ValueError: unless `layers` is 1 or more and leaves a patch of the image.
    """
    chosen = layers if layers is not None else 1 + (min(size) >= 64) + (min(size) >= 128)
    if chosen < 1 or min(size) >> chosen < 3:
        raise ValueError(
            f"model.discriminator_layers={chosen} does not fit image_size={size[0]}x{size[1]}: give 1 or more, and of "
            "the shorter side at least 3 pixels after that many halvings; null chooses by size"
        )
    return chosen


def together(network: nn.Module, *parts: Tensor) -> tuple[Tensor, ...]:
    """`network` of batches [N, C, H, W]: in one pass, unless BatchNorm would mix them, the same as a pass for each."""
    if any(isinstance(layer, _BatchNorm) for layer in network.modules()):  # also one that is synchronised
        return tuple(network(part) for part in parts)
    return network(torch.cat(parts)).split(len(parts[0]))


def at_any_size(
    network: Callable[[Tensor], Tensor], images: Tensor, stride: int, *, tile: int | None = None, reach: int | None = 0
) -> Tensor:
    """`network` of images [N, C, H, W] of any size, [N, c_out, H, W]: mirrored at their borders until both sides are
    multiples of `stride`, and its result cut back.

    With `tile`, in tiles of so many pixels, rounded up to the stride, each with `reach` pixels around it.

    Raises:
        ValueError: for tiles where every pixel decides on all others.
    """
    h, w = images.shape[2:]
    rows, columns = (mirrored(side, stride, images.device) for side in (h, w))
    padded = images[:, :, rows][:, :, :, columns]  # [N, C, H', W']
    top, left = (padded.shape[2] - h) // 2, (padded.shape[3] - w) // 2
    result = network(padded) if tile is None else in_tiles(network, padded, stride, tile, reach)
    return result[:, :, top : top + h, left : left + w]


def in_tiles(network: Callable[[Tensor], Tensor], images: Tensor, stride: int, tile: int, reach: int | None) -> Tensor:
    """`network` of images [N, C, H, W] whose sides are multiples of `stride`; see `at_any_size`."""
    if reach is None:
        raise ValueError("instance normalisation makes of an image a whole: it can't be translated in tiles")
    tile, (height, width) = -(-tile // stride) * stride, images.shape[2:]
    bands = []
    for top in range(0, height, tile):
        y0, y1, bottom = max(top - reach, 0), min(top + tile + reach, height), min(top + tile, height)
        band = []
        for left in range(0, width, tile):
            x0, x1, right = max(left - reach, 0), min(left + tile + reach, width), min(left + tile, width)
            part = network(images[:, :, y0:y1, x0:x1])
            band.append(part[:, :, top - y0 : bottom - y0, left - x0 : right - x0].clone())  # the rest is let go
        bands.append(torch.cat(band, dim=3))
    return torch.cat(bands, dim=2)


def mirrored(side: int, stride: int, device: torch.device | None = None) -> Tensor:
    """Indices, int64, into `side` pixels that continue them by mirroring at both ends to the next multiple of `stride`
    from LEAST on: 1 0 1 2 3 4 3 2 for 5 and 8. The side may also be a symbol, or a
    tensor while torch.jit traces: of a graph that is exported for any size."""
    length = (at_least(side, LEAST) + stride - 1) // stride * stride  # ONNX rounds a negative quotient up
    period = torch.full((1,), 1, device=device) * at_least(2 * (side - 1), 1)  # 0 1 2 3 2 1 0 1 ...
    place = (torch.arange(length, device=device) - (length - side) // 2) % period
    return torch.minimum(place, period - place)


def at_least(side: int | Tensor, least: int) -> Any:
    """The larger of the two, without a branch that an exported graph would be bound to."""
    return side.clamp(min=least) if isinstance(side, Tensor) else torch.sym_max(side, least)


def check_direction(images: Tensor, direction: str, channels: Mapping[str, int]) -> None:
    """Refuse, by a ValueError, an unknown direction and images that are not [N, C, H, W], C being the `channels` that
    each direction starts from: {"X->Y": 3}."""
    if direction not in channels:
        raise ValueError(f"direction={direction!r} must be {' or '.join(channels)}")
    if images.dim() != 4 or images.shape[1] != channels[direction]:
        raise ValueError(
            f"images of shape {list(images.shape)} can't be translated {direction}: give [N, {channels[direction]}, "
            "height, width] in [-1, 1]"
        )
