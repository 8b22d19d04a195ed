"""How a low-resolution image is made from a high-resolution one: as the literature does it, and as cameras do.

`imresize` is MATLAB's function of that name with its default, antialiased bicubic, in which the super-resolution
papers make their inputs: the kernel of Keys 1981 (doi:10.1109/TASSP.1981.1163711) with a = -0.5, widened by 1/scale
where an image shrinks, and the image continued by its mirror image (symmetric). Other libraries' bicubic (a = -0.75,
no antialiasing, another border) moves PSNR by tenths of a dB: figures from such inputs are not comparable.

The published values of bicubic enlargement, x4, PSNR on Y, 4 pixels of border left out, and what these functions give:

              published   here
    Set5      28.42 dB    28.43 (RGB resized; 28.42 with Y alone resized)
    Set14     26.00 dB    26.00
    BSD100    25.96 dB    25.96

`Degradation` adds what real photographs have: blur, noise and JPEG, each of a strength drawn for each patch. What
photographs have that were stored and shared many times is in zoo/data/second_order.py.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

A = -0.5  # Keys' parameter: third-order accurate; MATLAB's


def cubic(x: Tensor) -> Tensor:
    """Keys' kernel, eq. (15) with a = -0.5: 1 at 0, 0 at the other whole numbers and beyond 2."""
    x = x.abs()
    near = (A + 2) * x**3 - (A + 3) * x**2 + 1
    far = A * x**3 - 5 * A * x**2 + 8 * A * x - 4 * A
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


@lru_cache(maxsize=64)
def contributions(length: int, result: int, scale: float) -> tuple[Tensor, Tensor]:
    """Which pixels of a line of `length` each of the `result` pixels of the resized line is made of, int64
    [result, taps], and how much of each, float64 [result, taps]; rows sum to 1."""
    stretch = min(scale, 1.0)  # antialiasing: the kernel spans 4 pixels of the smaller image
    centre = (torch.arange(result, dtype=torch.float64) + 0.5) / scale - 0.5  # in pixels of the line
    first = torch.floor(centre - 2 / stretch).long()
    pixels = first[:, None] + torch.arange(math.ceil(4 / stretch) + 2)
    weights = stretch * cubic(stretch * (centre[:, None] - pixels))
    weights /= weights.sum(1, keepdim=True)
    pixels = pixels.remainder(2 * length)  # the line and its mirror image, over and over
    pixels = torch.where(pixels < length, pixels, 2 * length - 1 - pixels)
    used = (weights != 0).any(0)
    return pixels[:, used], weights[:, used]


def imresize(image: Tensor, scale: float) -> Tensor:
    """MATLAB's imresize(image, scale): bicubic, antialiased where it shrinks.

    Rows are resized before columns, in float64; uint8 images are rounded and clipped after each of the two, as there:
    the literature's inputs were shrunk in this way. `enlarge` rounds once.
    uint8 or float [..., H, W] -> the same type [..., ceil(H * scale), ceil(W * scale)].
    """
    for dim in (-2, -1):
        length = image.shape[dim]
        # A hair less, so that 1/3 of 9 is 3, not the 4 of a quotient that was rounded up.
        pixels, weights = contributions(length, math.ceil(length * scale - 1e-9), scale)
        resized = 0.0
        for tap, weight in zip(pixels.T.to(image.device), weights.T.to(image.device), strict=True):
            resized = resized + image.index_select(dim, tap) * (weight[:, None] if dim == -2 else weight)
        assert isinstance(resized, Tensor)
        if image.dtype == torch.uint8:
            resized = resized.add_(0.5).floor_().clamp_(0, 255)
        image = resized.to(image.dtype)
    return image


def shrink(image: Tensor, scale: int) -> Tensor:
    """The low-resolution image, 1/scale as large; the sides of `image` [..., H, W] must be multiples of `scale`."""
    assert image.shape[-2] % scale == image.shape[-1] % scale == 0, (image.shape, scale)
    return imresize(image, 1 / scale)


def enlarge(image: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement: what super-resolution is measured against.

    In float64, and uint8 images are rounded and clipped once, at the end: the papers' evaluations enlarge in floating
    point. The type stays.
    """
    if image.dtype != torch.uint8:
        return imresize(image, scale)
    return imresize(image.double(), scale).add_(0.5).floor_().clamp_(0, 255).to(torch.uint8)


def cropped(image: Tensor, scale: int) -> Tensor:
    """The upper left part of [..., H, W] whose sides are multiples of `scale`: the papers' "modcrop"."""
    height, width = image.shape[-2:]
    return image[..., : height - height % scale, : width - width % scale]


@dataclass(frozen=True)
class Degradation:
    """The low-resolution image of a patch: blurred, shrunk, made noisy, compressed as JPEG; each if asked for.

    The strength of each is drawn uniformly from a range, [lowest, highest], the same for the whole patch. With no range
    given it is the literature's `shrink`, and `is_plain`.

    Raises:
        ValueError: naming the argument, its value and the remedy.
    """

    scale: int  # 2, 3, 4 or 8
    blur: Sequence[float] | None  # standard deviation of a Gaussian, in pixels of the high-resolution image
    noise: Sequence[float] | None  # of Gaussian noise on each value, in levels of 255
    jpeg: Sequence[int] | None  # JPEG's quality, 1 to 100

    def __post_init__(self) -> None:
        check_strengths(self)

    @property
    def is_plain(self) -> bool:
        """Whether nothing is drawn."""
        return self.blur is None and self.noise is None and self.jpeg is None

    def __call__(self, high: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 [C, s*h, s*w] -> uint8 [C, h, w], a pure function of the patch and of the generator's state."""
        low = high.double()
        if self.blur is not None:
            low = blurred(low, drawn(self.blur, generator))
        low = shrink(low, self.scale)
        if self.noise is not None:
            level = drawn(self.noise, generator)
            low = low + level * torch.randn(low.shape, generator=generator, dtype=torch.float64)
        result = low.add(0.5).floor_().clamp_(0, 255).to(torch.uint8)
        return compressed(result, round(drawn(self.jpeg, generator))) if self.jpeg is not None else result


def check_strengths(degradation: Any) -> None:
    """Raise a ValueError for a magnification or a range of a degradation that makes no sense."""
    if degradation.scale not in (2, 3, 4, 8):
        raise ValueError(f"data.scale={degradation.scale} is not a magnification: use 2, 3, 4 or 8.")
    limits = {"blur": (0, 20), "noise": (0, 255), "jpeg": (1, 100)}
    for name, (least, most) in limits.items():
        span = getattr(degradation, name)
        if span is not None and not is_range(span, least, most):
            raise ValueError(
                f"data.{name}={span} is no range: give [lowest, highest] within {least} to {most}, or null."
            )


def is_range(span: Any, least: float, most: float) -> bool:
    """Whether `span` is two numbers, the lower first, from `least` to `most`."""
    numbers = isinstance(span, Sequence) and all(isinstance(level, int | float) for level in span)
    return numbers and len(span) == 2 and least <= span[0] <= span[1] <= most


def drawn(span: Sequence[float], generator: torch.Generator) -> float:
    """A number between the two, uniformly."""
    return span[0] + (span[1] - span[0]) * torch.rand((), generator=generator).item()


def blurred(image: Tensor, sigma: float) -> Tensor:
    """float [C, H, W] convolved with a Gaussian of that standard deviation, cut at 3 of them; edges are repeated."""
    reach = math.ceil(3 * sigma)
    if reach == 0:
        return image
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=image.dtype) / sigma) ** 2)
    line /= line.sum()
    planes = F.pad(image[:, None], (reach, reach, reach, reach), mode="replicate")  # [C, 1, H + 2 reach, ...]
    return F.conv2d(F.conv2d(planes, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))[:, 0]


def compressed(image: Tensor, quality: int) -> Tensor:
    """uint8 [1 or 3, H, W] written as JPEG, by Pillow with its usual colour subsampling, and read again."""
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if len(image) == 1 else pixels).save(file, "JPEG", quality=quality)
    again = np.asarray(Image.open(file))
    return torch.from_numpy(np.array(again, ndmin=3) if len(image) == 1 else again.transpose(2, 0, 1).copy())
