"""PSNR and SSIM against closed forms and scikit-image."""

import numpy as np
import pytest
import torch
from common import needs
from torch import Tensor

from zoo.metrics.pixels import grey, luma, measure, psnr, ssim, without_border


def pair(channels: int = 3, height: int = 40, width: int = 33) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(channels)
    a = torch.randint(0, 256, (2, channels, height, width), generator=draw, dtype=torch.uint8)
    b = (a.int() + torch.randint(-20, 21, a.shape, generator=draw)).clamp(0, 255).byte()
    return a, b


def test_psnr_in_closed_form() -> None:
    zero = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    assert psnr(zero + 255, peak=255).tolist() == [0, 0]
    assert psnr(zero + 2.55, peak=255).tolist() == pytest.approx([40, 40])
    assert psnr(zero - 0.01, peak=1).tolist() == pytest.approx([40, 40])
    assert psnr(zero, peak=255).tolist() == [float("inf")] * 2
    assert psnr(zero, peak=1, least=1e-10).tolist() == pytest.approx([100, 100])


def test_luma_of_the_primaries() -> None:
    """BT.601: black 16, white 235, red, green and blue 81.481, 144.553 and 40.966."""
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64) * 255
    assert luma(colours.T.view(3, 1, 5)).flatten().tolist() == pytest.approx([16, 235, 81.481, 144.553, 40.966])
    image = pair()[0]
    expected = needs("skimage.color").rgb2ycbcr(image[0].permute(1, 2, 0).numpy())[:, :, 0]
    np.testing.assert_allclose(luma(image.double())[0, 0].numpy(), expected, atol=1e-9)


def test_grey_of_equal_colours_is_their_level() -> None:
    level = torch.arange(256, dtype=torch.float64).view(1, 1, 16, 16)
    torch.testing.assert_close(grey(level.expand(-1, 3, -1, -1)), level)
    assert torch.equal(luma(level), level)


def reference(a: np.ndarray, b: np.ndarray) -> float:
    """scikit-image's SSIM map by Wang et al.'s settings, where the whole window lies inside."""
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return float(needs("skimage.metrics").structural_similarity(a, b, full=True, **settings)[1][5:-5, 5:-5].mean())


def test_ssim_is_scikit_images() -> None:
    a, b = (image.double() for image in pair())
    expected = [np.mean([reference(a[n, c].numpy(), b[n, c].numpy()) for c in range(3)]) for n in range(2)]
    assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-12)


def test_ssim_in_closed_form() -> None:
    """Of constants only the luminance term is left; of an image with itself, 1."""
    zero = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    c1 = (0.01 * 255) ** 2
    assert ssim(zero + 100, zero + 150).item() == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1))
    image = pair()[0].double()
    assert ssim(image, image).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("border", [0, 4])
def test_the_four_figures(border: int) -> None:
    a, b = pair()
    figures = measure(a, b, border=border, is_grey=False)
    peak_signal_noise_ratio = needs("skimage.metrics").peak_signal_noise_ratio
    for n in range(2):
        x, y = (
            image[n, :, border : 40 - border, border : 33 - border].permute(1, 2, 0).double().numpy()
            for image in (a, b)
        )
        luma_x, luma_y = (needs("skimage.color").rgb2ycbcr(image.astype(np.uint8))[:, :, 0] for image in (x, y))
        expected = {
            "psnr_y": peak_signal_noise_ratio(luma_x, luma_y, data_range=255),
            "ssim_y": reference(luma_x, luma_y),
            "psnr_rgb": peak_signal_noise_ratio(x, y, data_range=255),
            "ssim_rgb": np.mean([reference(x[:, :, c], y[:, :, c]) for c in range(3)]),
        }
        assert {name: value[n].item() for name, value in figures.items()} == pytest.approx(expected, abs=1e-9)


def test_grey_files_are_measured_by_their_levels() -> None:
    a, b = pair(1)
    alone = measure(a, b, border=4, is_grey=True)
    colours = measure(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1), border=4, is_grey=True)
    as_rgb = measure(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1), border=4, is_grey=False)
    for name in alone:
        torch.testing.assert_close(alone[name], colours[name])
    gain = 20 * np.log10(255 / 219)  # dB that the studio swing of Y is worth
    torch.testing.assert_close(as_rgb["psnr_y"], alone["psnr_y"] + gain)
    torch.testing.assert_close(as_rgb["psnr_rgb"], alone["psnr_rgb"])


def test_alpha_plays_no_part() -> None:
    a, b = pair(4)
    opaque = measure(a[:, :3], b[:, :3], border=2, is_grey=False)
    assert all(torch.equal(value, opaque[name]) for name, value in measure(a, b, border=2, is_grey=False).items())


def test_too_small_and_unequal_images_are_refused() -> None:
    a = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(ValueError, match="16x16 pixels has none left without border=8"):
        without_border(a, 8)
    with pytest.raises(ValueError, match="window of 11x11"):
        measure(a, a, border=3, is_grey=False)
    with pytest.raises(ValueError, match="differ in shape"):
        measure(a, a[:, :, :8], border=0, is_grey=False)
