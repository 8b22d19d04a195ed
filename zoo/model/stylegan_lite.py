"""StyleGAN without compiled extensions: Karras, Laine, Aila, "A Style-Based Generator Architecture for Generative
Adversarial Networks", CVPR 2019, arXiv:1812.04948; its second form, Karras et al., "Analyzing and Improving the Image
Quality of StyleGAN", CVPR 2020, arXiv:1912.04958; with the class-conditional networks of Karras et al. 2020,
arXiv:2006.06676 (StyleGAN2-ADA).

Symbols
    G      generator: f, the mapping z -> w, and g, the synthesis (w of each layer, noise) -> x
    D      discriminator, x -> logit
    z, w   latent, N(0, I), and intermediate latent; `ws` is one w for each layer, [N, num_ws, w_dim]
    y      class, where the model is conditional
    psi    truncation: 1 is none, 0 the one image of the mean w
    T      augmentation of all that D sees; the identity by default

growth=none          StyleGAN2: the skip generator, which adds up what each resolution contributes to the image, and the
                     residual D (2020, section 4.1 and Figure 7).
growth=progressive   Karras et al. 2018, arXiv:1710.10196: from 4 pixels on, each resolution is faded in when the one
                     below is trained; D sees real images that are blended likewise.
growth=multi_scale   MSG-GAN, Karnewar and Wang 2020, arXiv:1903.06048: G shows D an image at every resolution, which D
                     appends to its features there; real images are averaged down.

Faithful: equalised learning rates, the mapping's at a hundredth, modulation and demodulation (2020, section 2.2), noise
          for each pixel with one learned strength a layer, the filter [1, 3, 3, 1], minibatch standard deviation in
          groups of 4, style mixing, truncation towards the tracked mean of w, the mapping's normalised z; the
          non-saturating loss with lazy R1 and lazy path length regularisation; Adam with beta1 = 0.
Departs:  a lazy penalty is a term of the turn's one step and not a step of its own, so neither Adam's rate nor its
          betas need the correction of 2020, appendix B; see `zoo.game.regularizers`. Both turns use the same z,
          and mixing is drawn for each image. The mean of w is that of all classes. y enters D's projection by one
          linear layer. The optimizers keep their state while resolutions are added. Of MSG-GAN there is D's "simple"
          combination, on these networks. "Lite" is the width by default, not the method.
"""

import math
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.batch import LabelledImages
from zoo.game.abilities import FromLatents, OfClasses, Styles
from zoo.game.gan import GAN
from zoo.game.regularizers import PathLength
from zoo.game.settings import Game
from zoo.networks.layers import START, doublings

Stage = tuple[int, Tensor | None]  # how often the start is doubled, and the weight in [0, 1] of the newest resolution
GROWTHS = ("none", "progressive", "multi_scale")


# Parts ----------------------------------------------------------------------------------------------------------------


def modulated_conv(x: Tensor, weight: Tensor, style: Tensor, bias: Tensor, *, demodulate: bool, up: bool) -> Tensor:
    """A convolution whose weights are scaled for each image: arXiv:1912.04958, eq. (1) and (3).

        w'_ijk = s_i w_ijk,    w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + eps)

    Both act on whole channels, so the inputs are scaled by s and the outputs by the root: one convolution for the batch
    in place of a grouped one with N times the weights. benchmarks/stylegan_lite.py has the timings of both.

    Args:
        x: [N, C_in, H, W].
        weight: [C_out, C_in, k, k].
        style: s, [N, C_in], float32: demodulation is off by percents in bfloat16.
        bias: what is added, to be broadcast with the result.
        demodulate: whether to divide by the root.
        up: whether to double height and width by a transposed convolution and the filter.

    Returns:
        [N, C_out, H, W], or twice as high and wide.
    """
    x = x * style[:, :, None, None].to(x.dtype)
    if up:
        x = blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), padding=1, gain=4)
    else:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    bias = bias.to(x.dtype)
    if not demodulate:
        return x + bias
    with torch.autocast(x.device.type, enabled=False):
        root = (style.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()  # [N, C_out]
    return torch.addcmul(bias, x, root[:, :, None, None].to(x.dtype))


def blur(x: Tensor, *, padding: int, stride: int = 1, gain: float = 1.0) -> Tensor:
    """x [N, C, H, W], padded with zeros, filtered by [1, 3, 3, 1] in both directions, every `stride`-th pixel."""
    with torch.autocast(x.device.type, enabled=False):
        return F.conv2d(x, _filter(x, gain), stride=stride, padding=padding, groups=x.shape[1])


def up2(x: Tensor) -> Tensor:
    """x [N, C, H, W] twice as high and wide: zeros between the pixels, then the filter, its sum being 4."""
    with torch.autocast(x.device.type, enabled=False):
        return F.conv_transpose2d(x, _filter(x, 4.0), stride=2, padding=1, groups=x.shape[1])


def _filter(x: Tensor, gain: float) -> Tensor:
    """[C, 1, 4, 4]: the outer product of [1, 3, 3, 1] with itself, its sum being `gain`."""
    taps = x.new_tensor([1.0, 3.0, 3.0, 1.0])
    return (torch.outer(taps, taps) * (gain / 64)).expand(x.shape[1], 1, 4, 4)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 times sqrt(2), which keeps the second moment."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def normalise(x: Tensor) -> Tensor:
    """Rows [N, K] of mean square 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Linear(nn.Module):
    """[N, c_in] -> [N, c_out], equalised (arXiv:1710.10196, section 4.1): the weights are N(0, 1) and are scaled when
    they are used, so that Adam moves all layers alike; times `rate`, for a slower layer."""

    def __init__(self, c_in: int, c_out: int, *, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in) / rate)
        self.bias = nn.Parameter(torch.full((c_out,), bias / rate))
        self.gain, self.rate = rate / math.sqrt(c_in), rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.gain, self.bias * self.rate)


class Conv(nn.Module):
    """x [N, c_in, H, W] -> [N, c_out, H, W], or half as high and wide: equalised, filtered before its stride."""

    def __init__(self, c_in: int, c_out: int, size: int, *, down: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, size, size))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None
        self.gain, self.down = 1 / math.sqrt(c_in * size**2), down

    def forward(self, x: Tensor) -> Tensor:
        size, weight = self.weight.shape[-1], self.weight * self.gain
        if not self.down:
            return F.conv2d(x, weight, self.bias, padding=size // 2)
        if size == 1:  # the filter can skip the pixels that the convolution would
            return F.conv2d(blur(x, padding=1, stride=2), weight, self.bias)
        return F.conv2d(blur(x, padding=2), weight, self.bias, stride=2)


class StyledConv(nn.Module):
    """x [N, c_in, H, W], w [N, w_dim] -> [N, c_out, H, W], or twice as high and wide: 2020, Figure 2 (c)."""

    fixed_noise: Tensor | None  # [1, 1, H, W]

    def __init__(self, c_in: int, c_out: int, *, w_dim: int, noise: tuple[int, int] | None, up: bool) -> None:
        super().__init__()
        self.style = Linear(w_dim, c_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.noise_strength = nn.Parameter(torch.zeros(())) if noise else None
        self.register_buffer("fixed_noise", torch.randn(1, 1, *noise) if noise else None)
        self.gain, self.up = 1 / math.sqrt(c_in * 9), up

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            style = self.style(w)
        bias = self.bias[:, None, None]
        if noise is not None and self.noise_strength is not None:
            bias = bias + noise * self.noise_strength  # [N or 1, c_out, H, W]
        return activate(modulated_conv(x, self.weight * self.gain, style, bias, demodulate=True, up=self.up))


class ToRGB(nn.Module):
    """x [N, c_in, H, W], w [N, w_dim] -> image [N, channels, H, W]: modulated, not demodulated."""

    def __init__(self, c_in: int, channels: int, *, w_dim: int) -> None:
        super().__init__()
        self.style = Linear(w_dim, c_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, c_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.gain = 1 / math.sqrt(c_in)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            style = self.style(w)
        bias = self.bias[:, None, None]
        image = modulated_conv(x, self.weight * self.gain, style, bias, demodulate=False, up=False)
        return image.to(self.bias.dtype)  # float32, under bfloat16 too


def widths(n: int, *, base: int, most: int) -> list[int]:
    """Channels at START * 2^k pixels of the shorter side, k from 0 to n: min(base / pixels, most)."""
    return [max(1, min(base // (START * 2**k), most)) for k in range(n + 1)]


def minibatch_stddev(x: Tensor, group: int) -> Tensor:
    """Appends how much images differ from each other (arXiv:1710.10196, section 3): [N, C, H, W] -> [N, C + 1, H, W].

    The standard deviation over the images of a group, averaged over channels and pixels. Of M = ceil(N / group) groups,
    image i belongs to the (i mod M)-th, so any N will do: groups then differ by at most one image. For N = group * M
    this is StyleGAN2's; and since each of k ranks takes every k-th row of a batch, its groups are those that one
    process would form, as long as k divides M.
    """
    n, c, h, w = x.shape
    groups = -(-n // group)
    with torch.autocast(x.device.type, enabled=False):
        v = F.pad(x.to(torch.promote_types(x.dtype, torch.float32)), (0, 0, 0, 0, 0, 0, 0, -n % groups))
        v = v.reshape(-1, groups, c, h, w)  # [members, M, C, H, W]
        there = (torch.arange(v.shape[0] * groups, device=x.device) < n).to(v.dtype).view(-1, groups, 1, 1, 1)
        members = there.sum(0)  # [M, 1, 1, 1]
        mean = v.sum(0) / members
        variance = ((v - mean).square() * there).sum(0) / members
        deviation = (variance + 1e-8).sqrt().mean((1, 2, 3))  # [M]
    column = deviation.repeat(v.shape[0])[:n].to(x.dtype)
    return torch.cat([x, column[:, None, None, None].expand(n, 1, h, w)], 1)


def pack(images: Sequence[Tensor]) -> Tensor:
    """Images of several sizes, [N, C, h, w] each, as one tensor [N, pixels]: what D sees in multi_scale."""
    return torch.cat([image.flatten(1) for image in images], 1)


# Networks -------------------------------------------------------------------------------------------------------------


class Generator(nn.Module):
    """z [N, latent_dim], y -> w -> image [N, C, H, W], which aims at [-1, 1] and is not clamped.

    Args:
        latent_dim, w_dim: of z and of w.
        classes: how many y may be; 0: there is no y.
        layers: of the mapping.
        rate: the mapping's learning rate, relative to the others.
        channels, height, width: of the images.
        sizes: channels at each resolution, from the start on, see `widths`.
        noise: whether the layers take noise.
        growth: see the header.
    """

    w_mean: Tensor  # [w_dim]: the mean of w over z, and over the classes of the training images, for truncation

    def __init__(
        self, *, latent_dim: int, w_dim: int, classes: int, layers: int, rate: float,
        channels: int, height: int, width: int, sizes: list[int], noise: bool, growth: str,
    ) -> None:  # fmt: skip
        super().__init__()
        n = len(sizes) - 1
        start = (height >> n, width >> n)
        self.growth, self.num_ws, self.top = growth, 2 * n + 2, n
        self.embed = Linear(classes, w_dim) if classes else None
        inputs = [latent_dim + (w_dim if classes else 0), *[w_dim] * (layers - 1)]
        self.mapping = nn.ModuleList([Linear(c_in, w_dim, rate=rate) for c_in in inputs])
        self.start = nn.Parameter(torch.randn(1, sizes[0], *start))
        # One layer at the start, then two at each resolution: the i-th is at the ceil(i / 2)-th.
        self.noise_sizes = [(start[0] << (i + 1) // 2, start[1] << (i + 1) // 2) for i in range(2 * n + 1)]
        inputs = [sizes[i // 2] for i in range(2 * n + 1)]
        outputs = [sizes[(i + 1) // 2] for i in range(2 * n + 1)]
        self.convs = nn.ModuleList(
            StyledConv(inputs[i], outputs[i], w_dim=w_dim, noise=size if noise else None, up=i % 2 == 1)
            for i, size in enumerate(self.noise_sizes)
        )
        self.rgbs = nn.ModuleList([ToRGB(size, channels, w_dim=w_dim) for size in sizes])
        self.register_buffer("w_mean", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor,
        y: Tensor | None = None,
        *,
        mix: tuple[Tensor, Tensor] | None = None,
        noise: str | Sequence[Tensor] = "random",
        stage: Stage | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What D is to see, [N, C, h, w] or packed, and w [N, w_dim] of z.

        Args:
            z: [N, latent_dim].
            y: classes, int64 [N], where there are any.
            mix: another z [N, latent_dim], and bool [N, num_ws]: which layers are its (2019, section 3.1).
            noise: see `synthesize`.
            stage: of progressive growing; None is its end.
        """
        w = self.map(z, y)
        ws = w[:, None].expand(-1, self.num_ws, -1)
        if mix is not None:
            ws = torch.where(mix[1][:, :, None], self.map(mix[0], y)[:, None], ws)
        return self.show(ws, noise, stage), w

    def map(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """f: z [N, latent_dim], y int64 [N] -> w [N, w_dim], in float32."""
        with torch.autocast(z.device.type, enabled=False):
            w = normalise(z)
            if self.embed is not None:
                assert y is not None
                one_hot = F.one_hot(y, self.embed.weight.shape[1]).to(z.dtype)
                w = torch.cat([w, normalise(self.embed(one_hot))], 1)
            for layer in self.mapping:
                w = activate(layer(w))
        return w

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """ws [N, num_ws, w_dim], or w [N, w_dim], drawn towards the mean: w_mean + psi (w - w_mean): 2019, appendix B.

        Args:
            psi: 1 leaves them, 0 is the mean.
            cutoff: the number of layers, from the coarsest on, that are; None: all.
        """
        short = self.w_mean.lerp(ws, psi)
        return short if cutoff is None else torch.cat([short[:, :cutoff], ws[:, cutoff:]], 1)

    def synthesize(self, ws: Tensor, noise: str | Sequence[Tensor] = "random", *, stage: Stage | None = None) -> Tensor:
        """g: ws [N, num_ws, w_dim] -> image [N, C, h, w], not clamped; of full size unless a stage says other.

        Args:
            noise: "random", "fixed" (the same for every image), "none", or what each of `convs` adds, [N, 1, h, w].
            stage: of progressive growing; None is its end.

        Raises:
            ValueError: for an unknown kind of noise.
        """
        return self.scales(ws, noise, stage)[-1]

    def modulations(self, stage: Stage | None = None) -> list[Tensor]:
        """The weights [C, w_dim] by which ws enter the layers that make the image; `stage` as in `synthesize`."""
        level, _ = (self.top, None) if stage is None else stage
        rgbs = [self.rgbs[k] for k in self._seen(stage)]
        return [layer.style.weight for layer in (*self.convs[: 2 * level + 1], *rgbs)]

    def _seen(self, stage: Stage | None) -> range:
        """The resolutions whose contributions the image of that stage is made of."""
        level, alpha = (self.top, None) if stage is None else stage
        if self.growth == "none":
            return range(level + 1)
        return range(level - (alpha is not None), level + 1)

    def show(self, ws: Tensor, noise: str | Sequence[Tensor], stage: Stage | None) -> Tensor:
        """What D is to see of ws: the image, or in multi_scale that of every resolution, packed."""
        scales = self.scales(ws, noise, stage)
        return pack(scales) if self.growth == "multi_scale" else scales[-1]

    def scales(self, ws: Tensor, noise: str | Sequence[Tensor], stage: Stage | None = None) -> list[Tensor]:
        """Images from the smallest to the largest, the last one being the result.

        none: sums of what the resolutions contribute. progressive: the newest one. multi_scale: one of each.
        """
        if isinstance(noise, str) and noise not in ("random", "fixed", "none"):
            raise ValueError(f"noise={noise!r} must be random, fixed or none, or a tensor for each layer")
        level, alpha = (self.top, None) if stage is None else stage
        wanted = range(level + 1) if self.growth == "multi_scale" else self._seen(stage)
        x = self.start.expand(len(ws), -1, -1, -1)
        images: list[Tensor] = []
        for k in range(level + 1):
            for i in range(max(2 * k - 1, 0), 2 * k + 1):
                x = self.convs[i](x, ws[:, i], self._noise(i, len(ws), noise))
            if k not in wanted:
                continue
            image = self.rgbs[k](x, ws[:, 2 * k + 1])
            if self.growth == "none" and images:
                image = up2(images[-1]) + image
            elif alpha is not None and k == level:
                image = F.interpolate(images[-1], scale_factor=2).lerp(image, alpha)
            images.append(image)
        return images

    def _noise(self, i: int, n: int, noise: str | Sequence[Tensor]) -> Tensor | None:
        """What the i-th layer adds to n images, up to its strength."""
        if not isinstance(noise, str):
            return noise[i] if noise else None
        if noise == "random":
            return torch.randn(n, 1, *self.noise_sizes[i], device=self.w_mean.device)
        return self.convs[i].fixed_noise if noise == "fixed" else None  # type: ignore[return-value]


class Block(nn.Module):
    """x [N, c_in, H, W] -> [N, c_out, H / 2, W / 2]: D's residual block, 2020, Figure 7."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = Conv(c_in, c_in, 3)
        self.down = Conv(c_in, c_out, 3, down=True)
        self.skip = Conv(c_in, c_out, 1, down=True, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (activate(self.down(activate(self.conv(x)))) + self.skip(x)) * math.sqrt(0.5)


class Discriminator(nn.Module):
    """(image [N, C, h, w], or packed in multi_scale, y) -> logit [N].

    Args:
        classes: how many y may be; 0: there is no y.
        channels, height, width: of the images.
        sizes: channels at each resolution, from the end on, see `widths`.
        group: of `minibatch_stddev`.
        growth: see the header.
    """

    def __init__(
        self, *, classes: int, channels: int, height: int, width: int, sizes: list[int], group: int, growth: str
    ) -> None:
        super().__init__()
        n = len(sizes) - 1
        self.growth, self.group, self.top = growth, group, n
        start = (height >> n, width >> n)
        self.shapes = [(channels, start[0] << k, start[1] << k) for k in range(n + 1)]
        more = channels if growth == "multi_scale" else 0  # the images that come to the features
        entries = range(n + 1) if growth == "progressive" else [n]
        self.rgbs = nn.ModuleDict({str(k): Conv(channels, sizes[k], 1) for k in entries})
        self.blocks = nn.ModuleList(
            [Block(sizes[k] + (more if k < n else 0), sizes[k - 1]) for k in range(1, n + 1)]
        )  # the k-th ends at the k-th resolution
        self.conv = Conv(sizes[0] + 1 + more, sizes[0], 3)
        self.dense = Linear(sizes[0] * start[0] * start[1], sizes[0])
        self.judge = Linear(sizes[0], sizes[0] if classes else 1)
        self.embed = Linear(classes, sizes[0]) if classes else None

    def forward(self, x: Tensor, y: Tensor | None = None, *, stage: Stage | None = None) -> Tensor:
        level, alpha = (self.top, None) if stage is None else stage
        images = self.unpack(x) if self.growth == "multi_scale" else [x]
        h = activate(self.rgbs[str(level)](images[-1]))
        for k in reversed(range(level)):
            h = self.blocks[k](h)  # half as high and wide
            if alpha is not None and k == level - 1:
                h = activate(self.rgbs[str(k)](F.avg_pool2d(x, 2))).lerp(h, alpha.to(h.dtype))
            if self.growth == "multi_scale":
                h = torch.cat([images[k].to(h.dtype), h], 1)
        h = activate(self.conv(minibatch_stddev(h, self.group)))
        with torch.autocast(x.device.type, enabled=False):
            phi = self.judge(activate(self.dense(h.to(x.dtype).flatten(1))))  # [N, 1] or [N, sizes[0]]
            if self.embed is None:
                return phi[:, 0]
            assert y is not None
            one_hot = F.one_hot(y, self.embed.weight.shape[1]).to(phi.dtype)
            return (phi * normalise(self.embed(one_hot))).sum(1) / math.sqrt(phi.shape[1])  # projection, as in ADA

    def unpack(self, x: Tensor) -> list[Tensor]:
        """The images of what `pack` made, from the smallest on."""
        parts = x.split([math.prod(shape) for shape in self.shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]


def growing(images: int, *, phase: int, top: int) -> tuple[int, float]:
    """Progressive growing: (level, alpha) when so many images have been shown, arXiv:1710.10196, appendix A.1.

    A phase at 4 pixels; then, for each resolution, one in which alpha rises from 0 to 1, and one at alpha = 1.
    """
    whole, rest = divmod(images, phase)
    level = min((whole + 1) // 2, top)
    fading = whole % 2 == 1 and (whole + 1) // 2 <= top
    return level, rest / phase if fading else 1.0


class StyleGANLite(GAN, FromLatents, OfClasses, Styles):
    """A style-based generator against a residual discriminator.

    Args:
        image_size: pixels, one number or [height, width]: the shorter side a power of two from 16 to 1024, the longer
            one a multiple of a quarter of it.
        channels: of the images; any.
        classes: the names of the classes, by label; those of the data if the configuration says null.
        conditional: whether G and D are told the class.
        latent_dim, w_dim: the dimensions of z and of w.
        mapping_layers: of f.
        mapping_rate: f's learning rate, relative to G's.
        channel_base, channel_max: a layer has min(channel_base / pixels of the shorter side, channel_max) channels.
        noise: whether G's layers take noise.
        mixing: the probability that an image has styles of two latents.
        stddev_group: images in a group of D's minibatch standard deviation.
        growth: "none", "progressive" or "multi_scale", see the header.
        phase_images: of progressive growing: images of each phase, at 4 pixels, fading 8 in, at 8, fading 16 in, ...
        truncation: psi of `generate`, in [0, 1]; training knows none.
        w_mean_half_life: of the tracked mean of w, in images.
        path_length: settings of the path length's penalty, see `PathLength`.
        game: see `zoo.game.settings.Game`.

    Raises:
        ValueError: for an image size that the network can't make, with the nearest that it can; for an unknown growth;
            for a number out of its range; for `conditional` with data without classes.
    """

    def __init__(
        self, *, image_size: int | list[int], channels: int, classes: list[str] | None, conditional: bool,
        latent_dim: int, w_dim: int, mapping_layers: int, mapping_rate: float, channel_base: int, channel_max: int,
        noise: bool, mixing: float, stddev_group: int, growth: str, phase_images: int, truncation: float,
        w_mean_half_life: float, path_length: dict[str, Any], **game: Unpack[Game],
    ) -> None:  # fmt: skip
        if conditional and not classes:
            raise ValueError(
                "these data have no classes to condition on: set model.conditional=false, or use data=mnist5k, mnist, "
                "fashion_mnist, cifar10, or labelled_folder with a subfolder for each class"
            )
        classes = classes if conditional else None  # a hyperparameter only where there is a y, whatever the data have
        super().__init__(**game)
        if growth not in GROWTHS:
            raise ValueError(f"model.growth={growth} must be {', '.join(GROWTHS[:-1])} or {GROWTHS[-1]}")
        whole = ("channels", "latent_dim", "w_dim", "mapping_layers", "stddev_group", "channel_base", "channel_max")
        for name in (*whole, "phase_images"):
            if self.hparams[name] < 1:
                raise ValueError(f"model.{name}={self.hparams[name]} must be 1 or more")
        for name in ("mapping_rate", "w_mean_half_life"):
            if not self.hparams[name] > 0:
                raise ValueError(f"model.{name}={self.hparams[name]} must be positive")
        for name in ("mixing", "truncation"):
            if not 0 <= self.hparams[name] <= 1:
                raise ValueError(f"model.{name}={self.hparams[name]} must be in [0, 1]")
        h, w = (image_size, image_size) if isinstance(image_size, int) else image_size
        sizes = widths(doublings(h, w, largest=1024), base=channel_base, most=channel_max)
        shape: dict[str, Any] = {"channels": channels, "height": h, "width": w, "sizes": sizes, "growth": growth}
        shape["classes"] = len(classes or [])
        if growth == "multi_scale" and self._augments:
            raise ValueError("model.growth=multi_scale shows D one image at every resolution: set augment=none")
        self.latent_dim, self.classes, self.channels = latent_dim, list(classes or []), channels
        self.G = Generator(
            latent_dim=latent_dim, w_dim=w_dim, layers=mapping_layers, rate=mapping_rate, noise=noise, **shape
        )
        self.D = Discriminator(group=stddev_group, **shape)
        self.G_ema = self.average(self.G)
        self.path_length = PathLength(**path_length)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """Goodfellow et al. 2014, Algorithm 1, with the lazy penalties of arXiv:1912.04958, sections 3.1 and 3.2."""
        x, y = batch.image, batch.label if self.classes else None
        images = len(x) * self.world_size
        stage = self.stage(self.images - images)
        D = lambda image: self.D(image, y, stage=stage)
        z, noise = self.latent(len(x)), self.noise(len(x), stage)
        x = self.shown(x, stage)  # [N, C, h, w], or packed
        fake, w = self.G(z, y, mix=self.mix(len(x)), noise=noise, stage=stage)

        # Ascend log D(x) + log(1 - D(g(w))); every 16th turn, say, with R1.
        with self.turn("D") as minimize:
            real, generated = self.T(x), self.T(fake.detach())
            logits = self.judge(D(real), D(generated))  # [N] each
            minimize(adversarial=self.loss.discriminator(*logits), **self.penalties(D, real, generated))

        # Ascend log D(g(w)), after each n_critic turns of D; every 4th turn, say, with the path length's penalty.
        if self.due("G"):
            with self.turn("G") as minimize:
                real_logit = D(self.T(x)) if self.loss.paired else None
                adversarial = self.loss.generator(D(self.T(fake)), real_logit)
                minimize(adversarial=adversarial, **self.path_penalty(z, y, noise, stage))

        self.move_averages()  # before the mean of w moves
        self.track(w, images)

    # What a step draws, from this rank's stream -------------------------------------------------------------------

    def normal(self, n: int, *shape: int) -> Tensor:
        """N(0, 1), [n, *shape]."""
        return torch.randn(n, *shape, generator=self.rng, device=self.device)

    def uniform(self, n: int, *shape: int) -> Tensor:
        """U[0, 1), [n, *shape]."""
        return torch.rand(n, *shape, generator=self.rng, device=self.device)

    def noise(self, n: int, stage: Stage | None) -> list[Tensor]:
        """What each layer of G adds to its pixels, [n, 1, h, w] each; nothing where G takes no noise."""
        if not self.hparams["noise"]:
            return []
        level = self.G.top if stage is None else stage[0]
        return [self.normal(n, 1, *size) for size in self.G.noise_sizes[: 2 * level + 1]]

    def mix(self, n: int) -> tuple[Tensor, Tensor] | None:
        """Another latent for each image, and which layers are its: those from a random one on; 2019, section 3.1."""
        if not self.hparams["mixing"]:
            return None
        layers = self.G.num_ws
        happens, where = self.uniform(n, 2).unbind(1)
        first = (1 + where * (layers - 1)).floor()  # 1 to num_ws - 1: the first layer of the other one
        first = torch.where(happens < self.hparams["mixing"], first, layers)
        return self.latent(n), torch.arange(layers, device=self.device) >= first[:, None]

    # What is followed -----------------------------------------------------------------------------------------------

    def path_penalty(self, z: Tensor, y: Tensor | None, noise: list[Tensor], stage: Stage | None) -> dict[str, Tensor]:
        """The path length's term of this turn of G, on a part of the batch: a forward of its own, in float32, since the
        other one may be in bfloat16 or compiled; {} where it is not due."""
        if not self.path_length.due(self.turns["G"]):
            return {}
        n = self.path_length.part(len(z))
        with torch.autocast(z.device.type, enabled=False):
            w = self.G.map(z[:n], None if y is None else y[:n])
            ws = w[:, None].expand(-1, self.G.num_ws, -1)
            g = lambda ws: self.G.synthesize(ws, [layer[:n] for layer in noise], stage=stage)
            return {"path_length": self.path_length(g, ws, normal=self.normal, agreed=self.agreed)}

    @torch.no_grad()
    def track(self, w: Tensor, images: int) -> None:
        """Move G's mean of w towards that of this step's images, over all ranks: the mean of all so far, until the
        half-life is longer than that."""
        weight = max(1 - 0.5 ** (images / self.hparams["w_mean_half_life"]), images / self.images)
        self.G.w_mean.lerp_(self.over_ranks(w.mean(0)), weight)

    # Growing --------------------------------------------------------------------------------------------------------

    def stage(self, images: int) -> Stage | None:
        """Where progressive growing is after so many images."""
        if self.hparams["growth"] != "progressive":
            return None
        level, alpha = growing(images, phase=self.hparams["phase_images"], top=self.G.top)
        return level, None if alpha == 1 else torch.tensor(alpha, device=self.device)

    def shown(self, x: Tensor, stage: Stage | None) -> Tensor:
        """Real images [N, C, H, W] as D is to see them, in place of G's at this stage: averaged down."""
        if self.hparams["growth"] == "multi_scale":
            return pack([F.avg_pool2d(x, 2 ** (self.G.top - k)) for k in range(self.G.top)] + [x])
        if stage is None:
            return x
        level, alpha = stage
        x = F.avg_pool2d(x, 2 ** (self.G.top - level))
        return x if alpha is None else F.interpolate(F.avg_pool2d(x, 2), scale_factor=2).lerp(x, alpha)

    # What the trained model makes -----------------------------------------------------------------------------------

    @property
    def result(self) -> Generator:
        """The averaged generator, or G itself where nothing is averaged."""
        return self.G if self.G_ema is None else self.G_ema.module  # type: ignore[return-value]

    def styles(self, seeds: Tensor | Sequence[int], labels: Tensor | Sequence[int] | None = None) -> Tensor:
        """ws [N, num_ws, w_dim] of the averaged generator, not truncated: one w for all layers of an image.

        Args:
            seeds: of the latents, see `latent_of`.
            labels: each image's class, [N]; None: the seed modulo the number of classes.

        Raises:
            ValueError: for labels where the model has no classes.
        """
        y, classes = None, len(self.classes)
        if labels is not None and not classes:
            raise ValueError(
                "this model makes images without classes: train with model.conditional=true on labelled data"
            )
        if classes:
            y = torch.as_tensor(seeds if labels is None else labels, device=self.device)
            y = y % classes if labels is None else y
        w = self.result.map(self.latent_of(seeds), y)
        return w[:, None].repeat(1, self.G.num_ws, 1)

    def truncate(self, ws: Tensor, psi: float) -> Tensor:
        return self.result.truncate(ws, psi)

    def modulations(self) -> list[Tensor]:
        return self.result.modulations(self.stage(self.images))

    def from_styles(self, ws: Tensor, noise: str = "fixed") -> Tensor:
        """Images [N, C, H, W] of ws [N, num_ws, w_dim] from the averaged generator, differentiable, so not clamped.

        Args:
            noise: "fixed" (the same for every image), "random" or "none".
        """
        stage = self.stage(self.images)
        image = self.result.synthesize(ws, noise, stage=stage)
        return image if stage is None else F.interpolate(image, scale_factor=2 ** (self.G.top - stage[0]))

    def generate(self, seeds: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.from_styles(self.truncate(self.styles(seeds, labels), self.hparams["truncation"])).clamp(-1, 1)

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        w = self.result.map(z, labels)
        return self.from_styles(w[:, None].expand(-1, self.G.num_ws, -1))

    def critique(self, batch: LabelledImages) -> dict[str, Tensor]:
        y, stage = batch.label if self.classes else None, self.stage(self.images)
        return {"D": self.D(self.shown(batch.image, stage), y, stage=stage)}
