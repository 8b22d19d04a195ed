"""The nouns that data modules, models, metrics and sample grids exchange.

Images are float32 [N, C, H, W] in [-1, 1] everywhere inside zoo; `to_unit` and `to_bytes` turn them into
[0, 1] or uint8 once, at the edge. Between a data module's workers and the device they travel as uint8.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class LabelledImages(NamedTuple):
    """A batch of images. Unlabelled sets have label 0 throughout."""

    image: Tensor  # float32 [N, C, H, W] in [-1, 1]; uint8 until it has reached the device
    label: Tensor  # int64 [N], or float32 [N, A] where the set has attributes in place of classes
    index: Tensor  # type: ignore[assignment]  # int64 [N]: position in the data set; during evaluation, position in the evaluation: the seed


class ImagePairs(NamedTuple):
    """A batch of images of two domains, X and Y: row by row the same scene in aligned sets, unrelated in others."""

    x: Tensor  # float32 [N, C_X, H, W] in [-1, 1]; uint8 until it has reached the device
    y: Tensor  # float32 [N, C_Y, H, W] in [-1, 1]; likewise
    label_x: Tensor  # int64 [N]: what x shows; 0 throughout where there are no labels
    label_y: Tensor  # int64 [N]
    aligned: Tensor  # bool [N]: whether x and y show the same scene, pixel by pixel
    index: Tensor  # type: ignore[assignment]  # int64 [N]: position in the data set; during evaluation, in the evaluation


class LowHigh(NamedTuple):
    """A batch of images at two resolutions."""

    low: Tensor  # float32 [N, C, h, w] in [-1, 1]; uint8 until it has reached the device
    high: Tensor  # float32 [N, C, s*h, s*w] in [-1, 1], s the magnification; likewise
    index: Tensor  # type: ignore[assignment]  # int64 [N]: row of the set; during evaluation, position in the evaluation


class Preview(NamedTuple):
    """What metrics and grids see of a model: its images beside the real ones of the same batch.

    Each metric of zoo/metrics says which fields it needs: fakes are held against `real` as a distribution, against
    `label` by a classifier, against `target` pixel by pixel. A round trip through two networks gives `target` alone.
    """

    fake: Tensor  # float32 [N, C, H, W] in [-1, 1]
    real: Tensor | None = None  # float32 [N, C, H, W] in [-1, 1]: what fakes should look like, row by row unrelated
    label: Tensor | None = None  # int64 [N]: the class that each fake is meant to show, where there are classes
    real_label: Tensor | None = None  # int64 [N]: the class of each real; with `label`, classes are compared one by one
    target: Tensor | None = None  # float32 [N, C, H, W]: what each fake should be, pixel by pixel, where that is known
    score: Tensor | None = None  # float32 [N]: how unusual each real image is, where a model scores
    panel: tuple[Tensor, ...] = ()  # what is shown of each row, side by side, each [N, C, H, W]; empty: the fake alone


def from_bytes(image: Tensor) -> Tensor:
    """uint8 images as float32 in [-1, 1]: 0 -> -1, 255 -> 1."""
    return image.float().div_(127.5).sub_(1.0)


def check_numbers(images: Tensor) -> Tensor:
    """Images that a model has made, as they are: call it before they are written, or NaN would be black.

    Raises:
        ValueError: if there is a pixel that is no number.
    """
    if not images.isfinite().all():
        raise ValueError(
            "the model makes images that are no numbers (NaN or infinite): its weights are of no use, take an earlier "
            "checkpoint"
        )
    return images


def to_bytes(image: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8, rounded, so that to_bytes(from_bytes(x)) == x for every level."""
    return image.float().mul(127.5).add_(128).clamp_(0, 255).to(torch.uint8)


def to_unit(image: Tensor) -> Tensor:
    """Images in [-1, 1] as float32 in [0, 1], for files and for people."""
    return image.float().add(1.0).div_(2.0).clamp_(0, 1)
