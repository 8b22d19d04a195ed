"""Scores image files with a model that `Scores`: a table, heat maps, and a threshold from normal images."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.batch import check_numbers, from_bytes, to_unit
from zoo.data.deep import range_of
from zoo.data.reading import FITS, MAX_PIXELS, Reader, colour
from zoo.use import pictures

KINDS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's modes by channels
WORDS = {"L": "grey", "LA": "grey with alpha", "RGB": "RGB", "RGBA": "RGB with alpha"}
BATCH = 64  # images scored at a time


class Threshold(NamedTuple):
    """From which score on an image is called abnormal: above it."""

    value: float
    rate: float  # of new normal images that are called abnormal, at most, on average over draws of normal images
    images: int  # normal ones that it is from


def reader(model: Any, fit: str | None = None) -> Callable[[Path], Tensor]:
    """What reads a file as float32 [1, C, H, W] in [-1, 1] for a model that `Scores`, which has its run's settings.

    Where the training images were files, each enters as these did, cut or resized to the model's size. Where they were
    not, or are not known, an image of another size or other channels is refused, unless `fit` says what to do.

    Args:
        fit: "crop", "pad" or "stretch", see `zoo.data.reading.fit`; None: as the training images.

    Raises:
        ValueError: another word for `fit`.
    """
    if fit is not None and fit not in FITS:
        raise ValueError(f"--fit={fit} must be one of {', '.join(FITS)}")
    channels, height, width = model.image_shape
    data = model.config.get("data") or {}
    chosen = fit or data.get("fit")
    background, value_range = colour(data.get("background", "white")), range_of(model.config)
    read = Reader((height, width), channels, chosen or "crop", background, MAX_PIXELS, value_range)

    def image_of(path: Path) -> Tensor:
        with read.opened(path) as image:
            odd = _misfit(image, channels, (width, height)) if chosen is None else ""
            pixels = read.pixels(image)
        if odd:
            raise ValueError(
                f"{path} {odd}, and the model takes images of {width}x{height} pixels, {WORDS[KINDS[channels]]}: "
                "bring it to that, or let --fit crop, pad or stretch do it"
            )
        return from_bytes(torch.tensor(pixels))[None]

    return image_of


def _misfit(image: Image.Image, channels: int, size: tuple[int, int]) -> str:
    """What is other about an image than size (width, height) and channels; "" where nothing is."""
    if image.size != size:
        return f"has {image.width}x{image.height} pixels"
    kind = {"1": "L", "P": "RGB", "PA": "RGBA", "I;16": "L", "I": "L", "F": "L"}.get(image.mode, image.mode)
    wanted = KINDS[channels]
    if kind == wanted:
        return ""
    if wanted in ("L", "RGB") and {kind, wanted} == {"L", "RGB"} and _is_grey(image):
        return "" if wanted == "L" else "is grey"
    return f"is {WORDS.get(kind, kind)}"


def _is_grey(image: Image.Image) -> bool:
    """Whether an image has no colours, whatever its mode."""
    pixels = np.asarray(image.convert("RGB"))
    return bool((pixels == pixels[..., :1]).all())


def threshold(scores: Sequence[float] | Tensor, rate: float) -> Threshold:
    """Above which score to call an image abnormal, from scores of normal images that were not trained on.

    It is the k-th lowest of n, k = ceil((n + 1) (1 - rate)): a new normal image drawn like these lies above it with a
    probability of at most `rate` (Vovk, Gammerman and Shafer 2005, "Algorithmic learning in a random world").

    Raises:
        ValueError: a rate that so few images can't tell.
    """
    check_rate(rate)
    ordered = torch.as_tensor(scores, dtype=torch.float64).sort().values
    k = math.ceil((len(ordered) + 1) * (1 - rate) - 1e-9)
    if k > len(ordered):
        least = math.ceil(1 / rate - 1 - 1e-9)
        raise ValueError(
            f"{len(ordered)} normal images can't tell a rate of {rate:g}, which takes {least}: give a higher --rate, "
            "or more images, --normal FOLDER"
        )
    return Threshold(float(ordered[k - 1]), rate, len(ordered))


def check_rate(rate: float) -> None:
    """Refuse what is no share."""
    if not 0 < rate < 1:
        raise ValueError(
            f"--rate={rate} must lie between 0 and 1, neither of them included: the share of normal images that are "
            "called abnormal"
        )


def scores_of(model: Any, images: Tensor) -> Tensor:
    """The scores [N] of images [N, C, H, W], on the CPU, in batches; a ValueError where one is no number."""
    scores = torch.cat([model.score(part.to(model.device)).cpu() for part in images.split(BATCH)])
    if not scores.isfinite().all():
        raise ValueError(
            "the model gives scores that are no numbers: its weights are of no use, take another checkpoint"
        )
    return scores


def heat(residual: Tensor) -> Image.Image:
    """A residual [1, 1, H, W], from 0 to 2, as a picture of colours: black where nothing differs, through red and
    yellow to white where black stands for white."""
    from matplotlib import colormaps

    level = to_unit(check_numbers(residual) - 1)[0, 0].cpu().numpy()  # [H, W] in [0, 1]
    colours = (colormaps["hot"](level)[..., :3] * 255).round().astype(np.uint8)
    return Image.fromarray(colours)


def write_map(residual: Tensor, path: Path) -> None:
    """The `heat` of a residual as a file."""
    pictures.save(heat(residual), path)


def write_table(scores: Mapping[str, float], path: Path, limit: Threshold | None) -> None:
    """file, score and, where there is a threshold, abnormal (1 or 0) and the threshold: a row each, the highest first.

    Raises:
        ValueError: if it can't be written.
    """
    columns = ["file", "score", *(["abnormal", "threshold"] if limit else [])]
    with pictures.whole(path) as part, part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(columns)
        for name, score in sorted(scores.items(), key=lambda row: (-row[1], row[0])):
            verdict = [int(score > limit.value), f"{limit.value:.8g}"] if limit else []
            table.writerow([name, f"{score:.8g}", *verdict])
