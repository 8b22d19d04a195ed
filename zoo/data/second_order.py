"""Low-resolution images as those that were taken, shrunk and compressed, and that again: Wang et al., "Real-ESRGAN:
Training Real-World Blind Super-Resolution with Pure Synthetic Data", ICCV Workshops 2021, arXiv:2107.10833.

Section 3: x = D2(D1(y)), where each D blurs, resizes, adds noise and compresses as JPEG, in this order, each drawn for
each image; at the end the size wanted, and a sinc filter, whose ringing and overshoot sharpened images have (section
3.4), before or after the last JPEG. Numbers are those of section 4.1 and of the authors' options for x4:

    blur      kernels of 7 to 21 pixels: with 0.1 a sinc filter, else a Gaussian (0.7), a generalised Gaussian (0.15,
              beta in [0.5, 4]) or a plateau (0.15, beta in [1, 2]), most of them isotropic; standard deviations in
              [0.2, 3], the second time [0.2, 1.5] and with probability 0.8
    resize    up, down or not at all with 0.2, 0.7, 0.1 by [0.15, 1.5]; the second time 0.3, 0.4, 0.3 by [0.3, 1.2]; by
              areas, bilinear or bicubic, not antialiased
    noise     Gaussian of [1, 30] levels or, as often, Poisson scaled by [0.05, 3]; the second time [1, 25], [0.05,
              2.5]; with 0.4 grey, the same in all channels
    jpeg      of quality [30, 95], twice
    sinc      with 0.8, of a cutoff in [pi/3, pi]

Faithful: the order, the families and their probabilities; beta from below 1 as often as from above, as in the authors'
          code; the second resize is of the size wanted; Poisson noise of 2^ceil(log2(levels in the image)) quanta.
Departs:  JPEG is Pillow's, of bytes, where the authors have one that can be differentiated; edges are repeated, not
          mirrored; a patch is cut from one that is 8 low-resolution pixels larger on each side, the authors' from 400
          pixels; no unsharp masking of the images to be reached (section 3.5) and no pool of earlier pairs.
          Everything is in float64, so that the number of threads rounds no pixel otherwise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.degradation import check_strengths, compressed, drawn

Span = Sequence[float]
SIZES = range(7, 22, 2)  # of kernels
FAMILIES = {  # (shape, isotropic) -> probability: the options of the authors' x4
    ("gaussian", True): 0.45,
    ("gaussian", False): 0.25,
    ("generalised", True): 0.12,
    ("generalised", False): 0.03,
    ("plateau", True): 0.12,
    ("plateau", False): 0.03,
}
BETA: dict[str, Span] = {"gaussian": (1, 1), "generalised": (0.5, 4), "plateau": (1, 2)}
SINC = 0.1  # of a sinc filter in place of a blur
FINAL_SINC = 0.8
GREY = 0.4  # of noise that is the same in all channels
MODES = ("area", "bilinear", "bicubic")
TINY = 0.05  # a standard deviation, in pixels: of a kernel that changes nothing
LUMA = (0.299, 0.587, 0.114)


class Stage(NamedTuple):
    """One of the two times."""

    blur: float  # probability
    sigma: Span
    directions: Span  # probabilities of enlarging, shrinking, neither
    factors: Span  # of a resize, around 1
    noise: Span  # levels of 255
    poisson: Span  # scale of Poisson noise
    jpeg: Span


FIRST = Stage(1.0, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1, 30), (0.05, 3.0), (30, 95))
SECOND = Stage(0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5), (30, 95))


@dataclass(frozen=True)
class SecondOrder:
    """The low-resolution image of a patch. Ranges that are given stand for the paper's, both times.

    Raises:
        ValueError: naming the argument, its value and the remedy.
    """

    scale: int  # 2, 3, 4 or 8
    blur: Sequence[float] | None = None  # standard deviation of kernels, in pixels
    noise: Sequence[float] | None = None  # standard deviation of Gaussian noise, in levels of 255
    jpeg: Sequence[int] | None = None  # JPEG's quality
    is_plain: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_strengths(self)

    @property
    def stages(self) -> list[Stage]:
        change: dict[str, Any] = {"sigma": self.blur, "noise": self.noise, "jpeg": self.jpeg}
        return [stage._replace(**{k: v for k, v in change.items() if v is not None}) for stage in (FIRST, SECOND)]

    def __call__(self, high: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 [C, s*h, s*w] -> uint8 [C, h, w], a pure function of the patch and of the generator's state."""
        first, second = self.stages
        size = (high.shape[1] // self.scale, high.shape[2] // self.scale)
        image = filtered(high.double() / 255, kernel(first, generator))
        image = resized(image, scaled(high.shape[1:], factor(first, generator)), generator)
        image = jpeg(noisy(image, first, generator), first, generator)
        if drawn((0, 1), generator) < second.blur:
            image = filtered(image, kernel(second, generator))
        image = noisy(resized(image, scaled(size, factor(second, generator)), generator), second, generator)
        filters_first, has_sinc = drawn((0, 1), generator) < 0.5, drawn((0, 1), generator) < FINAL_SINC
        if not filters_first:
            image = jpeg(image, second, generator)
        image = resized(image, size, generator)
        if has_sinc:
            cutoff = drawn((math.pi / 3, math.pi), generator)
            image = filtered(image, sinc(SIZES[chosen([1] * len(SIZES), generator)], cutoff))
        if filters_first:
            image = jpeg(image, second, generator)
        return as_bytes(image)


# Draws --------------------------------------------------------------------------------------------------------------


def chosen(weights: Sequence[float], generator: torch.Generator) -> int:
    """A place, by weights."""
    return int(torch.multinomial(torch.tensor(weights, dtype=torch.float64), 1, generator=generator))


def kernel(stage: Stage, generator: torch.Generator) -> Tensor:
    """A kernel of a stage, float64 [k, k], whose sum is 1."""
    size = SIZES[chosen([1] * len(SIZES), generator)]
    if drawn((0, 1), generator) < SINC:
        return sinc(size, drawn((math.pi / (3 if size < 13 else 5), math.pi), generator))
    shape, isotropic = list(FAMILIES)[chosen(list(FAMILIES.values()), generator)]
    x = drawn(stage.sigma, generator)
    y = x if isotropic else drawn(stage.sigma, generator)
    angle = 0.0 if isotropic else drawn((-math.pi, math.pi), generator)
    least, most = BETA[shape]
    beta = drawn((least, 1) if drawn((0, 1), generator) < 0.5 else (1, most), generator)
    return blur_kernel(size, (x, y), angle, beta, plateau=shape == "plateau")


def factor(stage: Stage, generator: torch.Generator) -> float:
    """By what a stage resizes."""
    least, most = stage.factors
    return drawn([(1, most), (least, 1), (1, 1)][chosen(stage.directions, generator)], generator)


def scaled(size: Sequence[int], by: float) -> tuple[int, int]:
    return max(1, int(size[0] * by)), max(1, int(size[1] * by))


# What is done to an image, float64 [C, H, W], in [0, 1] at first ------------------------------------------------------


def grid(size: int) -> tuple[Tensor, Tensor]:
    """Distances from the middle, by rows and by columns, [k, k] each."""
    line = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    return y, x


def blur_kernel(size: int, sigmas: tuple[float, float], angle: float, beta: float, *, plateau: bool) -> Tensor:
    """Section 3.1: with q = x' S^-1 x, S of these standard deviations turned by an angle, exp(-q^beta / 2), a Gaussian
    for beta = 1; or a plateau, 1 / (1 + q^beta)."""
    y, x = grid(size)
    sigmas = max(sigmas[0], TINY), max(sigmas[1], TINY)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    q = ((along / sigmas[0]) ** 2 + (across / sigmas[1]) ** 2) ** beta
    values = 1 / (1 + q) if plateau else torch.exp(-0.5 * q)
    return values / values.sum()


def sinc(size: int, cutoff: float) -> Tensor:
    """Eq. (6), the circular low-pass filter: cutoff / (2 pi r) J_1(cutoff r), and its limit in the middle."""
    y, x = grid(size)
    r = torch.hypot(x, y)
    values = cutoff * torch.special.bessel_j1(cutoff * r) / (2 * math.pi * r)
    values[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return values / values.sum()


def filtered(image: Tensor, weights: Tensor) -> Tensor:
    """Convolved with a kernel [k, k], edges repeated: by Fourier transforms, which cost the same for every kernel."""
    reach = len(weights) // 2
    wide = F.pad(image[None], (reach, reach, reach, reach), mode="replicate")[0]
    size = wide.shape[1:]
    spectrum = torch.fft.rfft2(wide) * torch.fft.rfft2(weights, s=size)
    return torch.fft.irfft2(spectrum, s=size)[:, 2 * reach :, 2 * reach :]  # the rest has wrapped around


def resized(image: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Of another size, in a way that is drawn."""
    mode = MODES[chosen([1] * len(MODES), generator)]
    return F.interpolate(image[None], size=size, mode=mode, align_corners=None if mode == "area" else False)[0]


def noisy(image: Tensor, stage: Stage, generator: torch.Generator) -> Tensor:
    """With Gaussian or Poisson noise, clipped to [0, 1]."""
    gaussian, grey = drawn((0, 1), generator) < 0.5, drawn((0, 1), generator) < GREY
    planes = luma(image) if grey and len(image) == 3 else image
    if gaussian:
        level = drawn(stage.noise, generator) / 255
        noise = level * torch.randn(planes.shape, generator=generator, dtype=torch.float64)
    else:
        levels = as_bytes(planes)
        quanta = 2.0 ** math.ceil(math.log2(int(levels.flatten().bincount(minlength=256).count_nonzero())))
        light = levels.double() / 255
        noise = torch.poisson(light * quanta, generator=generator) / quanta - light
        noise = drawn(stage.poisson, generator) * noise
    return (image + noise).clamp(0, 1)


def luma(image: Tensor) -> Tensor:
    """[3, H, W] -> [1, H, W]: ITU-R BT.601."""
    return (image * image.new_tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)


def jpeg(image: Tensor, stage: Stage, generator: torch.Generator) -> Tensor:
    return compressed(as_bytes(image), round(drawn(stage.jpeg, generator))).double() / 255


def as_bytes(image: Tensor) -> Tensor:
    """[0, 1] -> uint8, rounded."""
    return image.mul(255).round_().clamp_(0, 255).to(torch.uint8)
