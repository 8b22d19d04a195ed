"""What is taken from an image, so that a translator learns to give it back: colour, a part, calm, detail.

    grey    its colours: luma of ITU-R 601-2, as `zoo.data.reading` makes grey of colour
    mask    a rectangle or strokes, filled with one colour: what completion gets (Pathak et al. 2016, arXiv:1604.07379,
            section 3.2, of central and of random regions; strokes after Yu et al. 2019, arXiv:1806.03589, section 3.4)
    noise   Gaussian on each value, clipped
    small   reduced and enlarged again to the size that it had, bicubic, antialiased
    blur    convolved with a Gaussian
    jpeg    written as JPEG and read again

Several go one after another. Each has a strength, drawn uniformly from a range for each image, and all that is drawn
comes from one generator: the result is a pure function of the image and of the generator's state. Transparency stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from zoo.data.degradation import blurred, compressed, drawn, is_range
from zoo.data.sources import with_channels

NAMES = ("grey", "mask", "noise", "small", "blur", "jpeg")
SHAPES = ("rectangle", "strokes", "both")
LIMITS = {"noise": (0, 255), "small": (1, 64), "blur": (0, 20), "jpeg": (1, 100)}  # of strengths, both included
STROKES = 1, 5  # how many are drawn
BENDS = 1, 4  # of a stroke
WIDTH = 0.03, 0.1  # of a stroke, as a share of the image's shorter side

Strength = float | Sequence[float]  # the same for all images, or [lowest, highest]


@dataclass(frozen=True)
class Corruption:
    """One or several of `NAMES`, in this order, each with its range of strengths.

    Raises:
        ValueError: naming the argument, its value and the remedy.
    """

    names: Sequence[str]
    mask: Strength  # sides of the rectangle, each drawn for itself, or length of a stroke's pieces: shares of the sides
    mask_shape: Literal["rectangle", "strokes", "both"]
    noise: Strength  # standard deviation, in levels of 255
    small: Strength  # by what the sides are divided
    blur: Strength  # standard deviation, in pixels
    jpeg: Strength  # quality, 1 to 100
    fill: tuple[int, int, int]  # red, green, blue: what stands where an image is masked

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError(f"data.corruption=[] leaves images as they are: name some of {', '.join(NAMES)}.")
        for name in self.names:
            if name not in NAMES:
                raise ValueError(f"data.corruption={name} is unknown: use one or several of {', '.join(NAMES)}.")
            if list(self.names).count(name) > 1:
                raise ValueError(f"data.corruption=[{','.join(self.names)}] has {name} twice: name each once.")
        if self.mask_shape not in SHAPES:
            raise ValueError(f"data.mask_shape={self.mask_shape} is unknown: use one of {', '.join(SHAPES)}.")
        for name, (least, most) in LIMITS.items():
            if not is_range(self.span(name), least, most):
                raise ValueError(
                    f"data.{name}={getattr(self, name)} is no strength: give a number, or [lowest,highest], within "
                    f"{least} to {most}."
                )
        span = self.span("mask")
        if is_range(span, 0, float("inf")) and span[1] >= 1:
            raise ValueError(
                f"data.mask={self.mask} hides {'all of' if span[1] == 1 else 'more than'} the image: give shares of "
                "its sides between 0 and 1, such as [0.25,0.5]."
            )
        if not is_range(span, 0, 1) or span[0] == 0:
            raise ValueError(
                f"data.mask={self.mask} is no share of the image's sides: give a number between 0 and 1, or "
                "[lowest,highest], such as [0.25,0.5]."
            )

    def span(self, name: str) -> Sequence[float]:
        """The lowest and the highest strength."""
        strength = getattr(self, name)
        return (strength, strength) if isinstance(strength, int | float) else strength

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 [C, H, W] -> uint8 [C, H, W]; of 2 and 4 channels the last, transparency, stays as it is."""
        colours, alpha = image.split([len(image) - (len(image) + 1) % 2, (len(image) + 1) % 2])
        for name in self.names:
            colours = getattr(self, f"_{name}")(colours, generator)
        return torch.cat([colours, alpha])

    def _grey(self, image: Tensor, generator: torch.Generator) -> Tensor:
        return with_channels(with_channels(image[None], 1), len(image))[0]

    def _mask(self, image: Tensor, generator: torch.Generator) -> Tensor:
        fill = torch.tensor(self.fill, dtype=torch.uint8).view(1, 3, 1, 1)
        return torch.where(self.hidden(image.shape[1:], generator), with_channels(fill, len(image))[0], image)

    def _noise(self, image: Tensor, generator: torch.Generator) -> Tensor:
        level = drawn(self.span("noise"), generator)
        return to_levels(image + level * torch.randn(image.shape, generator=generator))

    def _small(self, image: Tensor, generator: torch.Generator) -> Tensor:
        height, width = image.shape[1:]
        factor = drawn(self.span("small"), generator)
        size = max(1, round(height / factor)), max(1, round(width / factor))
        small = to_levels(F.interpolate(image[None].float(), size=size, mode="bicubic", antialias=True))
        return to_levels(F.interpolate(small.float(), size=(height, width), mode="bicubic"))[0]

    def _blur(self, image: Tensor, generator: torch.Generator) -> Tensor:
        sigma = drawn(self.span("blur"), generator)
        return to_levels(blurred(image.double(), sigma)) if sigma > 0 else image

    def _jpeg(self, image: Tensor, generator: torch.Generator) -> Tensor:
        return compressed(image, round(drawn(self.span("jpeg"), generator)))

    def hidden(self, size: Sequence[int], generator: torch.Generator) -> Tensor:
        """Which pixels of an image of (height, width) are masked: bool [H, W], at least one of them and not all."""
        strokes = self.mask_shape == "strokes"
        if self.mask_shape == "both":
            strokes = drawn((0, 1), generator) < 0.5
        mask = self._strokes(size, generator) if strokes else self._rectangle(size, generator)
        if mask.all():  # strokes, or a side of one or two pixels
            mask[0, 0] = False
        return mask

    def _rectangle(self, size: Sequence[int], generator: torch.Generator) -> Tensor:
        sides = [max(1, round(drawn(self.span("mask"), generator) * side)) for side in size]
        places = [int(drawn((0, 1), generator) * (side - part + 1)) for side, part in zip(size, sides, strict=True)]
        mask = torch.zeros(*size, dtype=torch.bool)
        mask[places[0] : places[0] + sides[0], places[1] : places[1] + sides[1]] = True
        return mask

    def _strokes(self, size: Sequence[int], generator: torch.Generator) -> Tensor:
        height, width = size
        paper = Image.new("1", (width, height))
        pen = ImageDraw.Draw(paper)
        for _ in range(whole_number(STROKES, generator)):
            thick = max(1, round(drawn(WIDTH, generator) * min(size)))
            x, y = drawn((0, width - 1), generator), drawn((0, height - 1), generator)
            points = [(x, y)]
            for _ in range(whole_number(BENDS, generator)):
                length, angle = drawn(self.span("mask"), generator), drawn((0, 2 * np.pi), generator)
                x, y = x + length * width * np.cos(angle), y + length * height * np.sin(angle)
                points.append((x, y))
            pen.line(points, fill=1, width=thick, joint="curve")
            pen.point(points[:1], fill=1)  # a line of no length draws nothing
        return torch.from_numpy(np.array(paper))


def whole_number(span: tuple[int, int], generator: torch.Generator) -> int:
    """Between the two, both included."""
    return int(torch.randint(span[0], span[1] + 1, (), generator=generator))


def to_levels(image: Tensor) -> Tensor:
    """Rounded to uint8."""
    return image.round().clamp(0, 255).to(torch.uint8)
