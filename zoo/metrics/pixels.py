"""What is compared pixel by pixel: errors of translations, and PSNR and SSIM as the super-resolution papers have them.

Of any preview whose target is known (`PixelErrors`), the means over the fakes of

    psnr            10 log10(1 / mean squared error) of an image in [0, 1], in dB; at most 100, which stands for equal
    l1              the mean absolute error in [0, 1]
    pixel_accuracy  the share of pixels none of whose channels is more than 16/255 off: of label maps, where colours
                    stand for classes. The threshold is that of UNIT (Liu et al. 2017, arXiv:1703.00848, section 5), the
                    largest difference of the channels that of GcGAN (Fu et al. 2019, arXiv:1809.05852, section 4.3)

By the conventions of the super-resolution papers (`measure`)

    Y       luma of ITU-R BT.601 in studio swing, 16 to 235, as MATLAB's rgb2ycbcr gives it; of a grey image its levels,
            0 to 255, as in the papers' code (that costs Set14's only grey one, bridge, 1.32 dB: 0.09 of the mean)
    border  as many pixels as the magnification are left out on each side
    PSNR    10 log10(255^2 / mean squared error), over the pixels of an image; over a set, the mean of the images' PSNR
    SSIM    Wang et al. 2004 (doi:10.1109/TIP.2003.819861): Gaussian window of 11x11 with sigma 1.5, K1 = 0.01,
            K2 = 0.03, population moments, only where the whole window lies in the image, the mean over that region

There images are levels of 0 to 255 as float64 [..., H, W]; what a network gives is rounded to whole levels first, and
Y is not, as in the papers' code. Implementations that leave one of this out differ by up to 0.016 in SSIM on Set5.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from zoo.batch import Preview, to_bytes, to_unit
from zoo.metrics.estimate import Estimate, mean_of
from zoo.metrics.metric import Metric

WINDOW, SIGMA = 11, 1.5  # torchmetrics derives the one from the other
NO_ERROR = 1e-10  # mean squared errors of images in [0, 1] below this one, 100 dB, count as this one
SAME_COLOUR = 16  # of 255: the largest difference between colours of label maps that are taken for the same
Y_OF_RGB = (65.481, 128.553, 24.966)  # of [0, 1]; BT.601's 0.299, 0.587, 0.114, times 219


def luma(levels: Tensor) -> Tensor:
    """Levels [..., C, H, W] -> Y [..., 1, H, W]: 16 to 235 of colours, the levels themselves of grey."""
    if levels.shape[-3] < 3:
        return levels[..., :1, :, :]
    weights = levels.new_tensor(Y_OF_RGB).view(3, 1, 1) / 255
    return (levels[..., :3, :, :] * weights).sum(-3, keepdim=True) + 16


def grey(levels: Tensor) -> Tensor:
    """Levels [..., C, H, W] -> [..., 1, H, W], by BT.601's weights in full swing: a grey of equal colours is itself."""
    if levels.shape[-3] < 3:
        return levels[..., :1, :, :]
    return (levels[..., :3, :, :] * levels.new_tensor((0.299, 0.587, 0.114)).view(3, 1, 1)).sum(-3, keepdim=True)


def without_border(image: Tensor, border: int) -> Tensor:
    """[..., H, W] without so many pixels on each side.

    Raises:
        ValueError: if nothing is left.
    """
    height, width = image.shape[-2:]
    if min(height, width) <= 2 * border:
        raise ValueError(f"an image of {width}x{height} pixels has none left without border={border} on each side")
    return image[..., border : height - border, border : width - border]


def psnr(error: Tensor, *, peak: float, least: float = 0.0) -> Tensor:
    """Peak signal-to-noise ratio, 10 log10(peak^2 / mean squared error), in dB: [N].

    Args:
        error: differences of pixels [N, C, H, W].
        peak: the largest level.
        least: mean squared errors below it count as this one; 0 makes equal images infinite.
    """
    mean = error.square().mean((1, 2, 3)).clamp_min(least)
    return -10 * mean.log10() if peak == 1 else 10 * (peak**2 / mean).log10()  # 1 / mean would be rounded


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of levels [N, C, H, W]: [N], at most 1; eq. (13), its mean over windows and channels.

    Raises:
        ValueError: if the images are smaller than the window.
    """
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM looks through a window of {WINDOW}x{WINDOW}: images of {list(a.shape)} are too small")
    _, everywhere = structural_similarity_index_measure(
        a, b, sigma=SIGMA, data_range=255.0, reduction="none", return_full_image=True
    )
    return without_border(everywhere, WINDOW // 2).mean((1, 2, 3))  # where no part of the window is made up


def measure(fake: Tensor, target: Tensor, *, border: int, is_grey: bool) -> dict[str, Tensor]:
    """The four figures of uint8 images [N, C, H, W]: psnr_y, ssim_y, psnr_rgb, ssim_rgb, each float64 [N].

    Alpha plays no part.

    Args:
        border: pixels that are left out on each side.
        is_grey: the files are grey, whatever C: all four are of the grey levels, as they are where C is 1.

    Raises:
        ValueError: if the shapes differ, or the images are too small for the border or for SSIM's window.
    """
    if fake.shape != target.shape:
        raise ValueError(f"fake={list(fake.shape)} and target={list(target.shape)} differ in shape: compare equal ones")
    colours = 1 if fake.shape[1] < 3 else 3
    a, b = (without_border(image[:, :colours].double(), border) for image in (fake, target))
    if is_grey:
        a, b = grey(a), grey(b)
    return {
        "psnr_y": psnr(luma(a) - luma(b), peak=255),
        "ssim_y": ssim(luma(a), luma(b)),
        "psnr_rgb": psnr(a - b, peak=255),
        "ssim_rgb": ssim(a, b),
    }


class PixelErrors(Metric):
    """psnr, l1 and pixel_accuracy of each fake against its target."""

    needs, sides = ("target",), ("fake",)
    names = ("psnr", "l1", "pixel_accuracy")
    signs: Mapping[str, float] = {"psnr": 1.0, "l1": -1.0, "pixel_accuracy": 1.0}
    table: Tensor  # [num_fake, 3] in the order of `names`

    def check(self, shown: Preview, name: str) -> None:
        if shown.target is not None and shown.target.shape != shown.fake.shape:
            raise ValueError(
                f"the fakes{name} are {list(shown.fake.shape)} and their targets {list(shown.target.shape)}: "
                "they are compared pixel by pixel, so preview() must give equal shapes"
            )

    def begin(self) -> None:
        self.add_state("table", torch.zeros(self.task.num_fake, len(self.names), dtype=torch.float64))

    def update(self, shown: Preview, index: Tensor) -> None:
        assert shown.target is not None
        fake, target = (images.to(self.table.device) for images in (shown.fake, shown.target))
        error = (to_unit(fake) - to_unit(target)).double().abs()
        levels = (to_bytes(fake).int() - to_bytes(target).int()).abs()
        same = (levels.amax(1) <= SAME_COLOUR).double()  # [N, H, W]
        decibels = psnr(error, peak=1, least=NO_ERROR)
        self.table[index] = torch.stack([decibels, error.mean((1, 2, 3)), same.mean((1, 2))], 1)

    def values(self) -> dict[str, Estimate]:
        return {name: mean_of(rows, pairs=True) for name, rows in zip(self.names, self.table.T.cpu(), strict=True)}
