"""Perceptual path length: Karras et al. 2019, arXiv:1812.04948, section 4.1, eq. (3), at the ends of paths as in 2020,
arXiv:1912.04958, appendix A; by torchmetrics.

    E[ d(g(lerp(w_1, w_2, t)), g(lerp(w_1, w_2, t + eps))) / eps^2 ],  t = 0, eps = 1e-4

How much the image changes for a small step in W: low where w moves it smoothly. `ppl` is the paper's, d being LPIPS on
VGG16, whose weights are downloaded (528 MB); it comes with the standard Inception, metrics=inception. With a classifier
of this zoo d is the squared Euclidean distance between its features, and the value is named after it, `ppl_mnist`: not
comparable with any paper's.

Images are not rounded to 8 bits, which would hide so small a step. As in the authors' code (StyleGAN2's and
StyleGAN2-ADA's), they are not clipped to [-1, 1] either, with no d: what a step moves beyond white or black counts. The
noise is the same at both ends, w is not truncated, and the lowest and the highest hundredth of the distances are left
out. Departs: the noise is the generator's fixed one, where the authors draw another for each batch; paths are between
numbered seeds of one class, each class in turn, where theirs draw the class; and of n distances torchmetrics leaves out
the one at the upper hundredth's end that the authors keep.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import perceptual_path_length as mean_of_paths

from zoo.batch import Preview
from zoo.metrics.estimate import Estimate, contributions
from zoo.metrics.extractors import Extractor
from zoo.metrics.metric import Metric, Plain

TRIMMED = 0.01  # of the paths on either side, torchmetrics' default
LARGEST = 256  # pixels: LPIPS sees larger images shrunk to this, as in the authors' code


class Paths(nn.Module):
    """What torchmetrics calls a generator: the beginnings of paths at the first call of `sample`, then their ends.

    With `lpips` images are made what LPIPS takes: three channels, LARGEST pixels at most.
    """

    def __init__(self, ends: tuple[Tensor, Tensor], images: Callable[[Tensor], Tensor], *, lpips: bool) -> None:
        super().__init__()
        self.ends, self.images, self.lpips = iter(ends), images, lpips

    def sample(self, num_samples: int) -> Tensor:
        return next(self.ends)

    def forward(self, w: Tensor) -> Tensor:
        """Images that aim at [0, 255], neither rounded nor clipped."""
        images = self.images(w)
        if self.lpips:
            images = avg_pool2d(images, max(1, max(images.shape[2:]) // LARGEST)).expand(-1, 3, -1, -1)
        return (images + 1) * 127.5


class FeatureDistance(nn.Module):
    """Two batches of images [N, C, H, W] in [-1, 1] -> the squared distance between their features, [N]."""

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        first, second = self.extractor.smooth(torch.cat([a, b])).double().chunk(2)
        return (first - second).square().sum(1)


def perceptual_path_length(
    ends: tuple[Tensor, Tensor], images: Callable[[Tensor], Tensor], extractor: Extractor,
    *, batch_size: int, epsilon: float = 1e-4,
) -> dict[str, Estimate]:  # fmt: skip
    """The mean over paths, with its interval over paths, by its name: `ppl`, or with the extractor's, `ppl_mnist`.

    Args:
        ends: where paths begin and where they end, in W, [N, ...] each.
        images: w [N, ...] -> [N, C, H, W], which aim at [-1, 1]; the same for the same w.
        extractor: of the features; for the standard Inception, LPIPS.
        batch_size: paths at a time: twice as many images.
        epsilon: the step, as a part of the path.

    Raises:
        ValueError: where LPIPS' weights can't be had, and what else can be measured.
    """
    lpips = not extractor.name
    if not lpips:
        extractor.load()
    paths: Any = Paths(ends, images, lpips=lpips)
    settings: dict[str, Any] = {"batch_size": batch_size, "epsilon": epsilon, "resize": None, "device": ends[0].device}
    try:
        mean, _, kept = mean_of_paths(
            paths, len(ends[0]), sim_net="vgg" if lpips else FeatureDistance(extractor), **settings
        )
    except OSError as error:  # URLError is one
        raise ValueError(
            f"ppl needs VGG16's weights, which could not be downloaded ({error}): measure on the features of a "
            "classifier that is here, metrics=mnist, cifar10 or colour_digits"
        ) from error
    return {"ppl" if lpips else f"ppl_{extractor.name}": trimmed(float(mean), kept, len(ends[0]))}


def trimmed(mean: float, kept: Tensor, n: int) -> Estimate:
    """A trimmed mean with what each of n paths contributes: to its influence those that are left out count as the
    lowest or the highest of those that are kept (Huber and Ronchetti 2009, Robust Statistics, section 3.3).

    Args:
        kept: the distances that the mean is of, of the n.
    """
    low = min(int(TRIMMED * (n - 1)), n - len(kept))
    ends = kept.min().repeat(low), kept.max().repeat(n - len(kept) - low)
    winsorised = torch.cat([kept, *ends]).double().cpu()
    return Estimate(mean, fakes=contributions(winsorised) * n / len(kept))


class PathLength(Metric):
    """The path length of a generator with styles, between those of two seeds of one class.

    Args:
        model: it has `styles`, `from_styles` and, where it was trained on classes, their names as `classes`.
        extractor: of the features; for the standard Inception, LPIPS.
        paths: how many.
    """

    sides = ()  # it makes images of its own

    def __init__(self, model: Any, extractor: Extractor, paths: int) -> None:
        super().__init__()
        self.signs = {"ppl": -1.0, f"ppl_{extractor.name}": -1.0}
        self.model, self.extractor, self.paths = model, extractor, paths

    def check(self, shown: Preview, name: str) -> None:
        if not self.extractor.name and shown.fake.shape[1] not in (1, 3):
            raise ValueError("ppl is of grey or colour images: leave --ppl out")

    def values(self) -> dict[str, Estimate]:
        path, classes = torch.arange(self.paths), len(self.model.classes or [])
        labels = path % classes if classes else None
        ends = self.model.styles(2 * path, labels), self.model.styles(2 * path + 1, labels)
        return perceptual_path_length(ends, self.model.from_styles, self.extractor, batch_size=128)

    def protocol(self) -> dict[str, Plain]:
        return {"paths": f"{self.paths}, in W, from their beginnings, step 1e-4, fixed noise"}
