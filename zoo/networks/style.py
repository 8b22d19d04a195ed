"""The blocks of StyleGAN2, without compiled extensions: Karras, Laine, Aittala, Hellsten, Lehtinen, Aila, "Analyzing
and Improving the Image Quality of StyleGAN", CVPR 2020, arXiv:1912.04958; below "2020".

From it are modulation and demodulation (section 2.2), where noise, bias and style enter a layer (Figure 2), and D's
residual block (section 4.1 and Figure 7). Older, and kept by it: equalised learning rates and the minibatch standard
deviation (Karras et al. 2018, arXiv:1710.10196), the filter [1, 3, 3, 1] (2019, arXiv:1812.04948). Of StyleGAN2-ADA
(Karras et al. 2020, arXiv:2006.06676) there is how a class is embedded.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.networks.convolutional import START


def modulated_conv(x: Tensor, weight: Tensor, style: Tensor, bias: Tensor, *, demodulate: bool, up: bool) -> Tensor:
    """A convolution whose weights are scaled for each image, -> [N, C_out, H, W]: arXiv:1912.04958, eq. (1) and (3).

        w'_ijk = s_i w_ijk,    w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + eps)

    Both act on whole channels, so the inputs are scaled by s and the outputs by the root: one convolution for the batch
    in place of a grouped one with N times the weights. benchmarks/stylegan_lite.py has the timings of both.

    Args:
        x, weight: [N, C_in, H, W] and [C_out, C_in, k, k].
        style: s, [N, C_in], float32: demodulation is off by percents in bfloat16.
        bias: what is added, to be broadcast with the result.
        demodulate: whether to divide by the root.
        up: whether to double height and width by a transposed convolution and the filter.
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
    taps = x.new_full((4,), 3.0)  # on the device: Python waits for a GPU that it brings numbers
    taps[::3] = 1.0
    return (torch.outer(taps, taps) * (gain / 64)).expand(x.shape[1], 1, 4, 4)


def activate(x: Tensor, clamp: float | None = None) -> Tensor:
    """Leaky ReLU of slope 0.2 times sqrt(2), which keeps the second moment; within +-clamp, where there is one."""
    return clamped(F.leaky_relu(x, 0.2) * math.sqrt(2), clamp)


def clamped(x: Tensor, clamp: float | None) -> Tensor:
    """x within +-clamp: StyleGAN2-ADA's clamps at 256, so that nothing overflows in 16 bit."""
    return x if clamp is None else x.clamp(-clamp, clamp)


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


class Embed(Linear):
    """Classes, int64 [N], -> [N, c_out] of mean square 1: as the networks of StyleGAN2-ADA take them."""

    label_dim = 1  # of its weight, along which the classes lie

    def forward(self, y: Tensor) -> Tensor:
        one_hot = F.one_hot(y, self.weight.shape[1]).to(self.weight.dtype)
        return normalise(super().forward(one_hot))


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


class Modulated(nn.Module):
    """What the layers that take a style share: 2020, section 2.2."""

    def __init__(self, c_in: int, c_out: int, size: int, *, w_dim: int) -> None:
        super().__init__()
        self.style = Linear(w_dim, c_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, size, size))
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.gain = 1 / math.sqrt(c_in * size**2)

    def convolved(self, x: Tensor, w: Tensor, bias: Tensor, *, demodulate: bool, up: bool = False) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            style = self.style(w)
        return modulated_conv(x, self.weight * self.gain, style, bias, demodulate=demodulate, up=up)


class StyledConv(Modulated):
    """x [N, c_in, H, W], w [N, w_dim] -> [N, c_out, H, W], or twice as high and wide: 2020, Figure 2 (c)."""

    fixed_noise: Tensor | None  # [1, 1, H, W]

    def __init__(
        self, c_in: int, c_out: int, *, w_dim: int, noise: tuple[int, int] | None, up: bool, clamp: float | None = None
    ) -> None:
        super().__init__(c_in, c_out, 3, w_dim=w_dim)
        self.noise_strength = nn.Parameter(torch.zeros(())) if noise else None
        self.register_buffer("fixed_noise", torch.randn(1, 1, *noise) if noise else None)
        self.up, self.clamp = up, clamp

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        bias = self.bias[:, None, None]
        if noise is not None and self.noise_strength is not None:
            bias = bias + noise * self.noise_strength  # [N or 1, c_out, H, W]
        return activate(self.convolved(x, w, bias, demodulate=True, up=self.up), self.clamp)


class ToRGB(Modulated):
    """x [N, c_in, H, W], w [N, w_dim] -> image [N, channels, H, W]: modulated, not demodulated."""

    def __init__(self, c_in: int, channels: int, *, w_dim: int, clamp: float | None = None) -> None:
        super().__init__(c_in, channels, 1, w_dim=w_dim)
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        image = self.convolved(x, w, self.bias[:, None, None], demodulate=False)
        return clamped(image.to(self.bias.dtype), self.clamp)  # float32, under bfloat16 too


class Block(nn.Module):
    """x [N, c_in, H, W] -> [N, c_out, H / 2, W / 2]: D's residual block, 2020, Figure 7; or, not `residual`, its two
    convolutions alone, as StyleGAN's of 2019."""

    def __init__(self, c_in: int, c_out: int, *, clamp: float | None = None, residual: bool = True) -> None:
        super().__init__()
        self.clamp = clamp
        self.conv = Conv(c_in, c_in, 3)
        self.down = Conv(c_in, c_out, 3, down=True)
        self.skip = Conv(c_in, c_out, 1, down=True, bias=False) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        h = activate(self.down(activate(self.conv(x), self.clamp)), self.clamp)
        return h if self.skip is None else (h + self.skip(x)) * math.sqrt(0.5)


def widths(n: int, *, base: int, most: int) -> list[int]:
    """Channels at START * 2**k pixels of the shorter side, k from 0 to n: min(base / pixels, most)."""
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
        mask = (torch.arange(v.shape[0] * groups, device=x.device) < n).to(v.dtype).view(-1, groups, 1, 1, 1)
        members = mask.sum(0)  # [M, 1, 1, 1]
        mean = v.sum(0) / members
        variance = ((v - mean).square() * mask).sum(0) / members
        deviation = (variance + 1e-8).sqrt().mean((1, 2, 3))  # [M]
    column = deviation.repeat(v.shape[0])[:n].to(x.dtype)
    return torch.cat([x, column[:, None, None, None].expand(n, 1, h, w)], 1)
