"""Translates image files with a trained translator: any size; each enters as the training images did."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoo.data.deep import range_of
from zoo.data.reading import colour
from zoo.use import pictures


def translator(model: Any, direction: str = "X->Y", size: int | None = None) -> Callable[..., None]:
    """What translates one file into another by a model that `Translates` and has its run's settings (`zoo.load`).

    It is called as `convert(source, target, tile=None)`, with `tile` in tiles of so many pixels a side. An image is
    turned upright and gets the channels that the model was trained on, transparency laid over the background that the
    training images had; with `size`, its shorter side is first resized to so many pixels.

    Raises:
        ValueError: for a direction that the model does not have.
    """
    if direction not in model.directions:
        raise ValueError(f"--direction={direction} must be {' or '.join(model.directions)}")
    background = colour(model.config["data"].get("background", "white"))
    value_range = range_of(model.config, domain="XY".index(direction[0]))

    def convert(source: Path, target: Path, tile: int | None = None) -> None:
        image = pictures.read(source, model.directions[direction], background, size, value_range)
        pictures.write(model.translate(image, direction, tile), target)

    return convert
