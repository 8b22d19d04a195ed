"""StyleGAN2's blocks against closed forms, direct sums and naive references."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.networks.style import Conv, Embed, Linear, blur, minibatch_stddev, modulated_conv, normalise, up2, widths


def fir(image: Tensor, *, padding: int, stride: int, gain: float) -> Tensor:
    """The filter as a direct sum over one plane [H, W]."""
    taps = [1.0, 3.0, 3.0, 1.0]
    h, w = (side + 2 * padding - 3 for side in image.shape)
    at = lambda i, j: image[i, j] if 0 <= i < image.shape[0] and 0 <= j < image.shape[1] else 0.0
    rows = [
        [
            sum(
                taps[a] * taps[b] * gain / 64 * at(i + a - padding, j + b - padding) for a in range(4) for b in range(4)
            )
            for j in range(0, w, stride)
        ]
        for i in range(0, h, stride)
    ]
    return torch.tensor(rows, dtype=image.dtype)


def naive_modulated_conv(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool, up: bool) -> Tensor:
    """Each image by its own weights: arXiv:1912.04958, eq. (1) and (3)."""
    images = []
    for image, s in zip(x, style, strict=True):
        w = weight * s[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:  # zeros between the pixels, convolution, filter
            c, height, width = image.shape
            sparse = image.new_zeros(c, 2 * height - 1, 2 * width - 1)
            sparse[:, ::2, ::2] = image
            y = F.conv2d(sparse[None], w.flip(2, 3), padding=2)[0]
            images.append(torch.stack([fir(plane, padding=1, stride=1, gain=4) for plane in y.detach()]))
            continue
        images.append(F.conv2d(image[None], w, padding=w.shape[-1] // 2)[0])
    return torch.stack(images)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("size", [1, 3])
def test_modulated_convolution_against_one_image_at_a_time(demodulate: bool, size: int) -> None:
    """Values, and gradients with respect to image, weight and style."""
    torch.manual_seed(0)
    x, weight, style = torch.randn(3, 4, 5, 6), torch.randn(2, 4, size, size), torch.randn(3, 4)
    inputs = [t.double().requires_grad_() for t in (x, weight, style)]
    value = modulated_conv(*inputs, torch.zeros(()), demodulate=demodulate, up=False)
    expected = naive_modulated_conv(*inputs, demodulate=demodulate, up=False)
    torch.testing.assert_close(value, expected)
    towards = torch.randn_like(value)
    gradients, others = (torch.autograd.grad((y * towards).sum(), inputs) for y in (value, expected))
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other)


def test_modulated_convolution_upwards_is_zeros_convolution_filter() -> None:
    torch.manual_seed(0)
    x, weight, style = torch.randn(2, 3, 3, 4).double(), torch.randn(2, 3, 3, 3).double(), torch.randn(2, 3).double()
    value = modulated_conv(x, weight, style, torch.full((2, 1, 1), 0.5), demodulate=True, up=True)
    assert value.shape == (2, 2, 6, 8)
    torch.testing.assert_close(value, naive_modulated_conv(x, weight, style, demodulate=True, up=True) + 0.5)


def test_demodulated_outputs_have_unit_variance_whatever_the_style() -> None:
    """The purpose of eq. (3), on inputs of independent pixels."""
    torch.manual_seed(0)
    x, weight = torch.randn(4, 16, 32, 32), torch.randn(8, 16, 3, 3) * 5
    y = modulated_conv(x, weight, torch.randn(4, 16) * 3, torch.zeros(()), demodulate=True, up=False)
    assert y[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1, rel=0.05)


def test_the_filter_against_a_direct_sum() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 8).double()
    for padding, stride in ((1, 2), (2, 1)):
        expected = [[fir(plane, padding=padding, stride=stride, gain=1) for plane in image] for image in x]
        torch.testing.assert_close(
            blur(x, padding=padding, stride=stride), torch.stack([torch.stack(planes) for planes in expected])
        )
    sparse = torch.zeros(2, 3, 13, 17).double()  # zeros between the pixels and around them
    sparse[:, :, 1:-1:2, 1:-1:2] = x
    expected = [[fir(plane, padding=1, stride=1, gain=4) for plane in image] for image in sparse]
    torch.testing.assert_close(up2(x), torch.stack([torch.stack(planes) for planes in expected]))


def test_the_filter_keeps_a_constant_inside() -> None:
    x = torch.full((1, 2, 8, 8), 0.7)
    torch.testing.assert_close(up2(x)[:, :, 1:-1, 1:-1], torch.full((1, 2, 14, 14), 0.7))
    torch.testing.assert_close(blur(x, padding=1, stride=2)[:, :, 1:-1, 1:-1], torch.full((1, 2, 2, 2), 0.7))


def test_equalised_layers_begin_with_unit_variance() -> None:
    """Weights N(0, 1), scaled when used; a slower layer computes the same and moves less."""
    torch.manual_seed(0)
    x = torch.randn(512, 256)
    for layer in (Linear(256, 64), Linear(256, 64, rate=0.01)):
        assert layer(x).std().item() == pytest.approx(1, rel=0.05)
        assert layer.weight.std().item() * layer.rate == pytest.approx(1, rel=0.05)
    assert Linear(4, 2, bias=1.0, rate=0.01)(torch.zeros(1, 4)).tolist() == [[1.0, 1.0]]
    maps = Conv(32, 16, 3)(torch.randn(4, 32, 16, 16))
    assert maps[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 16])
def test_minibatch_standard_deviation_by_hand(n: int) -> None:
    """Image i is in group i mod M; in a full group of 4 that is StyleGAN2's."""
    torch.manual_seed(0)
    x, groups = torch.randn(n, 2, 3, 4).double(), math.ceil(n / 4)
    y = minibatch_stddev(x, 4)
    assert y.shape == (n, 3, 3, 4)
    assert torch.equal(y[:, :2], x)
    for i in range(n):
        members = x[i % groups :: groups]
        deviation = (members.var(0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(y[i, 2], deviation.expand(3, 4))


def test_minibatch_standard_deviation_of_ranks_is_that_of_one_process() -> None:
    """A rank has every second image of a batch."""
    x = torch.randn(16, 2, 3, 3)
    whole = minibatch_stddev(x, 4)
    for rank in range(2):
        torch.testing.assert_close(minibatch_stddev(x[rank::2], 4), whole[rank::2])


def test_minibatch_standard_deviation_is_float32_under_bfloat16() -> None:
    x = torch.randn(4, 8, 4, 4).to(torch.bfloat16)
    value = minibatch_stddev(x, 4)[0, -1, 0, 0]
    assert value.dtype == torch.bfloat16
    assert value == minibatch_stddev(x.float(), 4)[0, -1, 0, 0].to(torch.bfloat16)


def test_an_embedded_class_is_its_column_normalised() -> None:
    embed = Embed(3, 5).double()
    torch.nn.init.normal_(embed.bias)
    column = embed.weight[:, 2] / math.sqrt(3) + embed.bias
    value = embed(torch.tensor([2, 0]))
    torch.testing.assert_close(value[:1], normalise(column[None]))
    torch.testing.assert_close(value.square().mean(1), torch.ones(2).double(), rtol=1e-6, atol=0)


def test_widths() -> None:
    assert widths(3, base=512, most=64) == [64, 64, 32, 16]
    assert widths(8, base=32_768, most=512) == [512, 512, 512, 512, 512, 256, 128, 64, 32]
