"""Augmentations of what the discriminator sees, real and fake alike, through which the gradient reaches G.

Differentiable augmentation: Zhao et al. 2020, arXiv:2006.10738.
Adaptive discriminator augmentation (ADA): Karras et al. 2020, arXiv:2006.06676, its pipeline in appendix B.

With few images D learns them by heart. If D only ever judges T(x) and T(G(z)), and T can be undone in distribution,
then G matches the clean images by matching the augmented ones: augmentations do not leak into what it makes (ADA,
section 2.2). ADA executes each transformation with probability p on each image, which for p < 1 can be undone (leaks
are unlikely below 0.8, says the paper), and steers p by how far D overfits. DiffAugment executes each on every image.

Symbols: T augmentation; p strength; r_t = E[sign(D(x))] on real images, ADA's eq. 1.

Faithful: transformations, order, ranges, and the steering of p. Departs: ADA's image-space filters and noise, which are
off in its own default, are missing. Images are resampled from a twofold enlargement by cubic, not wavelet
interpolation, and without a low-pass filter after that, which would gain little: the geometry seldom shrinks an image
to less than two thirds. Beyond its border an image is reflected without end. Any number of channels: see `recolour`.

Own rather than kornia's: kornia 0.9 draws from the global random stream, alike on all ranks; its colours need RGB in
[0, 1] and clamp; its ADA has one p for the whole pipeline and follows another measure. benchmarks/augment.py has times.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Annotated, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from zoo.game.settings import Count, Share, Weight, Within, check_annotated

Target = Annotated[float, Within(lambda r: -1 < r < 1, "must be in (-1, 1); null is a constant probability")]


class Augment(nn.Module):
    """T: images [N, C, H, W] in [-1, 1] -> the same, each image changed in its own way; results may exceed [-1, 1].

        real_logit, fake_logit = self.D(self.T(x)), self.D(self.T(fake.detach()))

    Each transformation is executed with probability p on each image, in the order below. 0 or False switches it off;
    with all off, T returns the very tensor that it is given. U is a uniform draw, N a normal one.

    Args:
        probability: p, or its first value if it adapts; in [0, 1].
        target: of r_t; p rises while r_t is above it, and falls while below. None keeps p constant.
        speed: images in which p can rise from 0 to 1.
        interval: images between two steps of p.
        flip: left-right, in half of the executions.
        quarter_turn: by 0, 90, 180 or 270 degrees.
        integer_translation: by whole pixels, U(-1, 1) times this part of width and height.
        scale: sides times 2^(scale N).
        rotation: U(-1, 1) times so many degrees; once before and once after `anisotropy`, each with probability
            1 - sqrt(1 - p), hence at all with probability p.
        anisotropy: width times, height divided by 2^(anisotropy N).
        fractional_translation: N times this part of width and height.
        brightness: brightness N, added.
        contrast: values times 2^(contrast N).
        luma_flip: light becomes dark without a change of colour, in half of the executions.
        hue: colours turn about the grey axis, U(-1, 1) times so many degrees; RGB only.
        saturation: distance from grey times 2^(saturation N); none for one channel.
        color: DiffAugment's: color U(-1, 1) added; distance from grey times 1 + 2 color U(-1, 1); distance from the
            image's mean times 1 + color U(-1, 1).
        translation: DiffAugment's: by whole pixels, at most this part of width and height; zeros move in.
        cutout: DiffAugment's: a rectangle of this part of width and height, its centre anywhere, becomes zero.

    Raises:
        ValueError: for a value outside its range.
    """

    p: Tensor  # scalar
    signs: Tensor  # scalar: the sum of sign(D(x)) since p's last step, as this rank sees it

    def __init__(
        self, *, probability: Share, target: Target | None, speed: Count, interval: Count, flip: bool,
        quarter_turn: bool, integer_translation: Share, scale: Weight, rotation: Weight, anisotropy: Weight,
        fractional_translation: Weight, brightness: Weight, contrast: Weight, luma_flip: bool, hue: Weight,
        saturation: Weight, color: Weight, translation: Share, cutout: Share,
    ) -> None:  # fmt: skip
        check_annotated(Augment.__init__, locals(), "model.augment")
        super().__init__()
        self.flip, self.quarter_turn, self.integer_translation = flip, quarter_turn, integer_translation
        self.scale, self.rotation, self.anisotropy = scale, rotation, anisotropy
        self.fractional_translation = fractional_translation
        self.brightness, self.contrast, self.luma_flip, self.hue = brightness, contrast, luma_flip, hue
        self.saturation, self.color, self.translation, self.cutout = saturation, color, translation, cutout
        self.target, self.speed, self.interval = target, speed, interval
        self.moves = any((flip, quarter_turn, integer_translation, scale, rotation, anisotropy, fractional_translation))
        self.colours = any((brightness, contrast, luma_flip, hue, saturation))
        self.images = 0  # seen since p's last step, over all ranks
        self.calls = 0  # of forward, in this turn
        self.remembers = False  # within a turn, what it has made of which image, and by which draw
        self._shown: list[tuple[Tensor, Tensor, torch.Generator]] = []
        self.generator: torch.Generator | None = None  # the stream that is drawn from unless another is named
        self.register_buffer("p", torch.tensor(float(probability)))
        self.register_buffer("signs", torch.zeros(()))

    @property
    def active(self) -> bool:
        """Whether it does anything at all."""
        return bool(self.moves or self.colours or self.color or self.translation or self.cutout)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """T(images), drawn from `generator` or its own stream: same shape, dtype and memory format."""
        self.calls += 1
        if not self.active:
            return images
        generator = generator or self.generator
        assert generator is not None
        before = repeated(generator) if self.remembers else None
        shown = self._transformed(images, generator)
        if before is not None:
            self._shown.append((shown, images, before))
        return shown

    def begin_turn(self, *, remember: bool) -> None:
        """Count calls from here on, and remember, until `end_turn`, what `origin` gives back."""
        self.calls, self.remembers = 0, remember

    def end_turn(self) -> None:
        """Forget the turn's images."""
        self.remembers = False
        self._shown.clear()

    def origin(self, shown: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The images x that `shown` = T(x) was made of in this turn, and T itself, by the very draw that made it.

        The second call draws nothing from the run's random numbers, is not counted, and is of x's own precision.

        Raises:
            ValueError: for images that are not as T gave them in this turn.
        """
        for made, images, generator in self._shown:
            if made is shown:
                return images, partial(self._again, generator)
        raise ValueError(
            "model.regularizer.at=image takes penalties at the images that self.T has augmented, and these are none of "
            "this turn's: give self.penalties what self.T returned, as it is, or set model.regularizer.at=augmented"
        )

    def _again(self, generator: torch.Generator, images: Tensor) -> Tensor:
        return self._transformed(images, repeated(generator))

    def _transformed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        draw = _Draw(len(images), self.p, generator)
        size = constant(((images.shape[3],), (images.shape[2],)), images.device)  # [2, 1]: width, height
        with torch.autocast(images.device.type, enabled=False):
            x = images.to(torch.promote_types(images.dtype, torch.float32))
            if self.moves:
                x = warp(x, self._origins(draw, size))
            if self.colours:
                x = self._ada_colours(draw, x)
            if self.color:
                x = self._diffaugment_colours(draw, x)
            if self.translation:
                most = (size * self.translation + 0.5).floor()
                x = translate(x, draw.maybe((draw.uniform(2) * (2 * most + 1)).floor() - most, 0))
            if self.cutout:
                hole = (size * self.cutout + 0.5).floor()
                corner = (draw.uniform(2) * (size + 1 - hole % 2)).floor() - hole // 2  # its centre is in the image
                x = cut(x, draw.maybe(corner, size), hole)
        if images.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)
        return x.to(images.dtype)

    def _origins(self, draw: "_Draw", size: Tensor) -> Tensor:
        """Appendix B's G^-1, [N, 3, 3]: from where in an image each pixel of the result comes, see `warp`."""
        once = 1 - (1 - self.p).sqrt()
        mirrored = draw.maybe((draw.uniform() * 2).floor() * self.flip, 0)
        quarters = draw.maybe((draw.uniform() * 4).floor() * self.quarter_turn, 0)
        whole = draw.maybe((draw.symmetric(2) * self.integer_translation * size).round(), 0)
        s = draw.maybe((draw.normal() * self.scale).exp2(), 1)
        before = draw.maybe(draw.symmetric() * math.radians(self.rotation), 0, once)
        a = draw.maybe((draw.normal() * self.anisotropy).exp2(), 1)
        after = draw.maybe(draw.symmetric() * math.radians(self.rotation), 0, once)
        part = draw.maybe(draw.normal(2) * self.fractional_translation * size, 0)
        blit = scaling(1 - 2 * mirrored, torch.ones_like(s)) @ rotation(quarters * (math.pi / 2)) @ translation(*-whole)
        general = scaling(1 / s, 1 / s) @ rotation(before) @ scaling(1 / a, a) @ rotation(after) @ translation(*-part)
        return blit @ general

    def _ada_colours(self, draw: "_Draw", x: Tensor) -> Tensor:
        """Brightness, contrast, luma flip, hue, saturation, in the order of appendix B."""
        b = draw.maybe(draw.normal() * self.brightness, 0)
        c = draw.maybe((draw.normal() * self.contrast).exp2(), 1)
        sign = 1 - 2 * draw.maybe((draw.uniform() * 2).floor() * self.luma_flip, 0)
        theta = draw.maybe(draw.symmetric() * math.radians(self.hue), 0)
        s = draw.maybe((draw.normal() * self.saturation).exp2(), 1)
        return recolour(x, grey=sign * c, shift=sign * c * b, chroma=c * s, hue=theta)

    def _diffaugment_colours(self, draw: "_Draw", x: Tensor) -> Tensor:
        """Brightness, saturation, contrast, in the order of the authors' code."""
        b = draw.maybe(draw.symmetric() * self.color, 0)
        s = draw.maybe(1 + draw.symmetric() * 2 * self.color, 1)
        c = draw.maybe(1 + draw.symmetric() * self.color, 1)
        return recolour(x, grey=c, shift=b + (1 - c) * x.mean((1, 2, 3)), chroma=c * s, hue=torch.zeros_like(c))

    @torch.no_grad()
    def adapt(self, accuracy_real: Tensor, *, images: int) -> None:
        """Steer p by how far D overfits: every `interval` images, one step towards the target (ADA, section 3).

        p <- clamp(p + sign(r_t - target) * (images since the last step) / speed, 0, 1)

        with r_t = E[sign(D(x))] the mean of 2 accuracy_real - 1 since the last step, over all ranks; D(x) counts from
        D's boundary between real and fake. Every rank calls it; at each step they exchange one number.

        Args:
            accuracy_real: the share of this rank's real images that D takes for real, a scalar in [0, 1].
            images: real images in the batches of all ranks.
        """
        if self.target is None:
            return
        self.signs += (2 * accuracy_real - 1) * images
        self.images += images
        if self.images < self.interval:
            return
        ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        if ranks > 1:
            dist.all_reduce(self.signs)
        r_t = self.signs / (self.images * ranks)
        self.p += (r_t - self.target).sign() * (self.images / self.speed)
        self.p.clamp_(0, 1)
        self.signs.zero_()
        self.images = 0

    def get_extra_state(self) -> int:
        """Images since p's last step: with the buffers, all that a resumed run needs to go on bit for bit."""
        return self.images

    def set_extra_state(self, state: int) -> None:
        """Restore the images since p's last step."""
        self.images = state


@cache
def constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """Numbers on a device, brought there once: Python waits for a GPU that it brings some."""
    return torch.tensor(values, device=device)


def repeated(generator: torch.Generator) -> torch.Generator:
    """A stream that will give what this one is about to give."""
    return torch.Generator(generator.device).set_state(generator.get_state())


class _Draw:
    """Random numbers for `n` images, [n] or [k, n]."""

    def __init__(self, n: int, p: Tensor, generator: torch.Generator) -> None:
        self.n, self.p, self.generator = n, p, generator

    def uniform(self, *k: int) -> Tensor:
        """In [0, 1)."""
        return torch.rand(*k, self.n, generator=self.generator, device=self.p.device)

    def symmetric(self, *k: int) -> Tensor:
        """Uniform in [-1, 1)."""
        return self.uniform(*k) * 2 - 1

    def normal(self, *k: int) -> Tensor:
        """Of mean 0 and variance 1."""
        return torch.randn(*k, self.n, generator=self.generator, device=self.p.device)

    def maybe(self, value: Tensor, neutral: Tensor | float, p: Tensor | None = None) -> Tensor:
        """`value` with probability p, `neutral` otherwise, decided for each image."""
        return torch.where(self.uniform() < (self.p if p is None else p), value, neutral)


# Transformations with given parameters: pure functions, differentiable (twice, for gradient penalties) --------------


def warp(images: Tensor, origins: Tensor) -> Tensor:
    """Resample images [N, C, H, W]: the result at (x, y) is the image at `origins` (x, y, 1).

    Args:
        origins: affine maps [N, 3, 3] between points (x, y, 1) in pixels from the image's centre, x right, y down.
            Flips, quarter turns and whole pixels are exact.
    """
    h, w = images.shape[2:]
    half = constant((w / 2, h / 2, 1.0), images.device)
    theta = (origins * half / half[:, None])[:, :2].to(images.dtype)  # the image's sides at -1 and 1
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    fine = _refine(h, images) @ images @ _refine(w, images).mT  # [N, C, 2H + 1, 2W + 1]
    return _Sampled.apply(fine, grid)


class _Sampled(torch.autograd.Function):
    """Images [N, C, h, w] at the places of a grid, bilinear, reflected beyond their border: linear in the images, so
    that it is differentiable in them as often as asked. torch 2.11's own is so once: penalties that are
    taken through T need it twice."""

    @staticmethod
    def forward(images: Tensor, grid: Tensor) -> Tensor:
        return grid_sample(images, grid, padding_mode="reflection", align_corners=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.shape = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Spread.apply(gradient, *ctx.saved_tensors, ctx.shape), None


class _Spread(torch.autograd.Function):
    """The transpose of `_Sampled`."""

    @staticmethod
    def forward(gradient: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        images = gradient.new_empty(shape)  # their values do not matter
        bilinear, reflection, align_corners = 0, 2, True
        return torch.ops.aten.grid_sampler_2d_backward(
            gradient, images, grid, bilinear, reflection, align_corners, [True, False]
        )[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, torch.Size], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Sampled.apply(gradient, *ctx.saved_tensors), None, None


def _refine(n: int, like: Tensor) -> Tensor:
    """[2n + 1, n]: from n pixels to their values at all edges and centres, by cubic interpolation."""
    x = (2 * torch.arange(n, device=like.device, dtype=like.dtype) + 1) / n - 1
    y = torch.linspace(-1, 1, 2 * n + 1, device=like.device, dtype=like.dtype)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]
    unit = torch.eye(n, device=like.device, dtype=like.dtype)[None, None]
    return grid_sample(unit, grid, mode="bicubic", padding_mode="reflection", align_corners=False)[0, 0]


def translate(images: Tensor, by: Tensor) -> Tensor:
    """Move images [N, C, H, W] right and down by whole pixels `by` [2, N]; zeros move in."""
    h, w = images.shape[2:]
    x = torch.arange(w, device=images.device) - by[0].long()[:, None]  # [N, W]: where each column comes from
    y = torch.arange(h, device=images.device) - by[1].long()[:, None]  # [N, H]
    inside = ((y >= 0) & (y < h))[:, None, :, None] & ((x >= 0) & (x < w))[:, None, None]
    source = y.clamp(0, h - 1)[:, :, None] * w + x.clamp(0, w - 1)[:, None]
    moved = images.flatten(2).gather(2, source.flatten(1)[:, None].expand(-1, images.shape[1], -1))
    return torch.where(inside, moved.view(images.shape), 0.0)


def cut(images: Tensor, corner: Tensor, size: Tensor) -> Tensor:
    """Zero one rectangle of each image [N, C, H, W].

    Args:
        corner: of the rectangle's left upper pixel, x and y, [2, N]; it may reach beyond the image.
        size: width and height, [2, 1] or [2, N].
    """
    h, w = images.shape[2:]
    x = torch.arange(w, device=images.device) - corner[0][:, None]  # [N, W]: counted from the corner
    y = torch.arange(h, device=images.device) - corner[1][:, None]  # [N, H]
    inside_x, inside_y = (x >= 0) & (x < size[0][:, None]), (y >= 0) & (y < size[1][:, None])
    return torch.where((inside_y[:, :, None] & inside_x[:, None])[:, None], 0.0, images)


def recolour(images: Tensor, *, grey: Tensor, shift: Tensor, chroma: Tensor, hue: Tensor) -> Tensor:
    """Change the colours of images [N, C, H, W]; the parameters are [N].

    A pixel is the mean m of its channels, which lies on the grey axis v = (1, ..., 1) / sqrt(C), and the rest d:
    m becomes `grey` m + `shift`, and d turns by `hue` (radians, about v, for three channels only), times `chroma`. This
    is appendix B's 4x4 matrix, multiplied out. One channel is all grey: d = 0. Other counts have no hue.
    """
    c = images.shape[1]
    axis = images.new_full((c, c), 1 / c)  # v v^T
    away = torch.eye(c, device=images.device, dtype=images.dtype) - axis
    grey, chroma, hue, shift = (value[:, None, None].to(images.dtype) for value in (grey, chroma, hue, shift))
    matrix = grey * axis + chroma * away
    if c == 3:
        turn = constant(((0.0, -1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 1.0, 0.0)), images.device)
        cross = turn.to(images.dtype) / math.sqrt(3)  # v x d
        matrix = grey * axis + chroma * (hue.cos() * away + hue.sin() * cross)
    return torch.baddbmm(shift, matrix, images.flatten(2)).view(images.shape)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Of points (x, y, 1): [N, 3, 3] from [N] each."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], -1))


def rotation(theta: Tensor) -> Tensor:
    """Of points (x, y, 1) about the origin, in radians: [N, 3, 3] from [N]."""
    cos, sin, zero, one = theta.cos(), theta.sin(), torch.zeros_like(theta), torch.ones_like(theta)
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], -1).view(-1, 3, 3)


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Of points (x, y, 1): [N, 3, 3] from [N] each."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack([one, zero, x, zero, one, y, zero, zero, one], -1).view(-1, 3, 3)
