"""Translates image files with a trained translator: any size; each enters as the training images did."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.data.deep import ValueRange, range_of
from zoo.data.reading import colour
from zoo.use import pictures

Keep = Literal["opaque", "lightness"]
LUMA = 0.299, 0.587, 0.114  # ITU-R 601-2, as zoo.data.reading makes grey of colour


def translator(
    model: Any, direction: str = "X->Y", size: int | None = None, keep: Keep | None = None
) -> Callable[..., None]:
    """What translates one file into another by a model that `Translates` and has its run's settings (`zoo.load`).

    It is called as `convert(source, target, tile=None)`, with `tile` in tiles of so many pixels a side. An image is
    turned upright and gets the channels that the model was trained on, transparency laid over the background that the
    training images had; with `size`, its shorter side is first resized to so many pixels.

    Args:
        keep: what the result has of the image itself: "opaque", all that is not transparent, as completion wants it;
            "lightness", so that the translation gives the colours alone.

    Raises:
        ValueError: for a direction that the model does not have.
    """
    if direction not in model.directions:
        raise ValueError(f"--direction={direction} must be {' or '.join(model.directions)}")
    background = colour(model.config["data"].get("background", "white"))
    value_range = range_of(model.config, domain="XY".index(direction[0]))

    def convert(source: Path, target: Path, tile: int | None = None) -> None:
        image = pictures.read(source, model.directions[direction], background, size, value_range)
        result = model.translate(image, direction, tile)
        if keep == "opaque":
            result = with_opaque(result, source, size, value_range)
        elif keep == "lightness":
            result = with_lightness(result, source, background, size, value_range)
        pictures.write(result, target)

    return convert


def with_opaque(result: Tensor, source: Path, size: int | None, value_range: ValueRange) -> Tensor:
    """A translation [1, C, H, W] in [-1, 1] where a file is transparent, and elsewhere the file itself.

    Raises:
        ValueError: the file has no transparent pixel.
    """
    image = pictures.read(source, 4, (0, 0, 0), size, value_range).to(result)
    share = (1 - image[:, 3:]) / 2  # of the translation
    if not share.any():
        raise ValueError(
            f"{source} has no transparent pixels, which --keep opaque leaves to the translation: erase in an editor "
            "what shall be replaced and save it as .png, or leave --keep out"
        )
    colours = min(result.shape[1], 3) - (result.shape[1] == 2)
    own = image[:, :3] if colours == 3 else luma(image[:, :3])
    return torch.cat([torch.lerp(own, result[:, :colours], share), result[:, colours:]], dim=1)


def with_lightness(
    result: Tensor, source: Path, background: tuple[int, int, int], size: int | None, value_range: ValueRange
) -> Tensor:
    """A translation [1, C, H, W] in [-1, 1], each pixel as light as in a file, over that background: its colours'
    differences from grey stay, but where such a light has no colour so strong.

    Raises:
        ValueError: the translation has no colours.
    """
    if result.shape[1] < 3:
        raise ValueError("--keep=lightness leaves the colours to the translation, which is grey here: leave it out")
    colours = result[:, :3]
    light = pictures.read(source, 1, background, size, value_range).to(result)
    difference = colours - luma(colours)
    room = torch.where(difference > 0, 1 - light, 1 + light) / difference.abs().clamp(min=1e-6)  # in units of it
    kept = light + difference * room.amin(1, keepdim=True).clamp(0, 1)
    return torch.cat([kept.clamp(-1, 1), result[:, 3:]], dim=1)


def luma(colours: Tensor) -> Tensor:
    """Grey [N, 1, H, W] of colours [N, 3, H, W]."""
    return (colours * torch.tensor(LUMA).to(colours).view(1, 3, 1, 1)).sum(1, keepdim=True)
