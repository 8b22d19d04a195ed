"""A part of a photograph, to the size of a model and back: cut out upright, edited, pasted with a soft mask.

A frame is a rectangle that may be turned. What lies in it is resampled to the model's size; an edit of it is resampled
back to the photograph's own pixels and blended in by weights that fall to 0 towards the frame's edge, so that no seam
shows. Outside the frame every pixel stays as it was, to the bit.

Faces     from the eyes and the mouth as CelebA-HQ and FFHQ were aligned (Karras et al. 2018, arXiv:1710.10196, appendix
          C): the frame's middle is that of the eyes moved by a tenth of the way to the mouth, its side the larger of 4
          times the eyes' distance and 3.6 times that from eyes to mouth, and the eyes are level. Without a mouth the
          two are equal. Found, not given: by the cascade of local binary patterns inside scikit-image (Liao et al.
          2007, doi:10.1007/978-3-540-74549-5_87; the extra `faces`), which knows upright faces from the front and no
          eyes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.batch import to_bytes
from zoo.use.translate import LUMA

Size = tuple[int, int]  # height, width
Paste = Literal["edited", "change"]
OF_FACE = 1.7  # a frame's side for one of what the cascade finds, which is from the brows to the chin
LEAST_FACE = 40  # pixels


@dataclass(frozen=True)
class Frame:
    """A rectangle in a photograph, in its pixels, the upper left corner of the image being (0, 0)."""

    x: float  # of its middle
    y: float
    width: float
    height: float
    angle: float = 0.0  # by which it is turned, clockwise as the photograph is seen, in radians

    @classmethod
    def of_box(cls, box: Sequence[float], size: Size, model: Size) -> "Frame":
        """The largest frame of the model's proportions in the middle of (left, top, width, height).

        Raises:
            ValueError: the box is empty, or not within the photograph of `size`.
        """
        left, top, width, height = box
        written = ",".join(f"{number:g}" for number in box)
        if not (width > 0 and height > 0):
            raise ValueError(
                f"--box={written} has no area: give LEFT,TOP,WIDTH,HEIGHT in pixels, such as 40,20,256,256"
            )
        if left < 0 or top < 0 or left + width > size[1] or top + height > size[0]:
            raise ValueError(
                f"--box={written} is not within the photograph of {size[1]}x{size[0]} pixels: give "
                "LEFT,TOP,WIDTH,HEIGHT of a part of it"
            )
        scale = min(height / model[0], width / model[1])
        of_model = round(scale * model[1], 6), round(scale * model[0], 6)
        return cls(left + width / 2, top + height / 2, *of_model)

    @classmethod
    def whole(cls, size: Size, model: Size) -> "Frame":
        """The largest frame of the model's proportions in the middle of a photograph."""
        return cls.of_box((0, 0, size[1], size[0]), size, model)

    @classmethod
    def of_face(cls, points: Sequence[float], size: Size, model: Size) -> "Frame":
        """Around a face, by x and y of both its eyes, the left one in the photograph first, and maybe of its mouth.

        Raises:
            ValueError: the eyes are at one place, or something is not within the photograph of `size`.
        """
        for x, y in np.reshape(points, (-1, 2)):
            if not (0 <= x <= size[1] and 0 <= y <= size[0]):
                raise ValueError(
                    f"--eyes has {x:g},{y:g}, which is not within the photograph of {size[1]}x{size[0]} pixels: give "
                    "X,Y of the left and of the right eye, and of the mouth"
                )
        eyes, mouth = np.reshape(points[:4], (2, 2)).astype(float), np.asarray(points[4:], float)
        along, middle = eyes[1] - eyes[0], eyes.mean(0)
        across = np.array([-along[1], along[0]])  # down the face, where the eyes are level
        if not along.any():
            raise ValueError(
                "--eyes has both at one place: give X,Y of the left and of the right one, and of the mouth"
            )
        down = mouth - middle if len(mouth) else across * (4 / 3.6)
        side = max(4 * math.hypot(*along), 3.6 * math.hypot(*down))
        axis = along + np.array([down[1], -down[0]])  # the mean of the eyes' line and of the face's, turned
        x, y = middle + 0.1 * down
        if side > 2 * max(size):
            raise ValueError(
                f"--eyes are of a face of {side:.0f} pixels, more than twice the photograph's {size[1]}x{size[0]}: "
                "give X,Y of the left and of the right eye, and of the mouth"
            )
        scale = side / min(model)
        return cls(float(x), float(y), scale * model[1], scale * model[0], math.atan2(axis[1], axis[0]))

    def check(self, model: Size) -> None:
        """Refuse a frame with fewer pixels than the model makes: an edit would be more of the model than of a
        photograph."""
        if self.width < model[1] or self.height < model[0]:
            raise ValueError(
                f"the part to edit has {self.width:.0f}x{self.height:.0f} pixels, fewer than the {model[1]}x{model[0]} "
                "of this model: give a larger photograph, or a larger part of it"
            )

    def places(self, ys: Tensor, xs: Tensor) -> Tensor:
        """Where pixels of the photograph lie in the frame: [len(ys), len(xs), 2], x and y from -1 to 1 within it."""
        dy, dx = torch.meshgrid(ys + 0.5 - self.y, xs + 0.5 - self.x, indexing="ij")
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        along, across = cos * dx + sin * dy, cos * dy - sin * dx
        return torch.stack([2 * along / self.width, 2 * across / self.height], dim=-1)

    def bounds(self, size: Size) -> tuple[slice, slice]:
        """The rows and the columns of a photograph that the frame touches."""
        cos, sin = abs(math.cos(self.angle)), abs(math.sin(self.angle))
        reach_y, reach_x = (sin * self.width + cos * self.height) / 2, (cos * self.width + sin * self.height) / 2
        spans = (self.y, reach_y, size[0]), (self.x, reach_x, size[1])
        rows, columns = (
            slice(max(0, math.floor(at - reach)), min(side, math.ceil(at + reach))) for at, reach, side in spans
        )
        return rows, columns


def cut(photograph: Tensor, frame: Frame, size: Size) -> Tensor:
    """What lies in the frame, upright: [1, C, H, W] -> [1, C, *size], antialiased; edges are repeated beyond."""
    height, width = (max(math.ceil(side), 1) for side in (frame.height, frame.width))  # as fine as the photograph
    v, u = ((torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1 for n in (height, width))
    across, along = torch.meshgrid(v * frame.height / 2, u * frame.width / 2, indexing="ij")
    cos, sin = math.cos(frame.angle), math.sin(frame.angle)
    x, y = frame.x + cos * along - sin * across, frame.y + sin * along + cos * across
    grid = torch.stack([2 * x / photograph.shape[3] - 1, 2 * y / photograph.shape[2] - 1], dim=-1)
    part = F.grid_sample(
        photograph.double(), grid[None], mode="bilinear", padding_mode="border", align_corners=False
    ).float()
    if part.shape[2:] != size:
        part = F.interpolate(part, size=size, mode="bicubic", antialias=True, align_corners=False)
    return part.clamp(-1, 1)


def paste(
    photograph: Tensor, frame: Frame, edited: Tensor, before: Tensor, *, how: Paste = "edited", feather: float = 0.3,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """A photograph [1, C, H, W] in [-1, 1] with an edit in its frame.

    Args:
        edited, before: what the model makes of the edited styles, and of the styles as they were found: [1, c, h, w],
            grey or in colours; into a grey photograph goes the luma of colours.
        how: "edited" puts the edited image there; "change" adds edited - before to the photograph, so that what the
            model could not find again stays.
        feather: the part of the way from the frame's middle to its edge on which the weight falls to 0, as a smooth
            step: 0, a hard edge, to 1.
        mask: by which the weight is multiplied, [1, 1, H, W] in [0, 1].
    """
    rows, columns = frame.bounds((photograph.shape[2], photograph.shape[3]))
    ys, xs = (torch.arange(part.start, part.stop, dtype=torch.float64) for part in (rows, columns))
    places = frame.places(ys, xs)  # [h, w, 2]
    inside = 1 - places.abs()
    ramp = ((inside / feather) if feather > 0 else (inside > 0).double()).clamp(0, 1)
    weight = (ramp * ramp * (3 - 2 * ramp)).prod(-1)[None, None]  # [1, 1, h, w]
    if mask is not None:
        weight = weight * mask[..., rows, columns]
    patch = (edited - before if how == "change" else edited).double().cpu()
    new = F.grid_sample(patch, places[None], mode="bicubic", padding_mode="border", align_corners=False)
    own = photograph[..., rows, columns].double()
    colours = min(own.shape[1], 3) - (own.shape[1] == 2)  # transparency stays
    new = new[:, : 1 if new.shape[1] < 3 else 3]
    if colours == 1 and new.shape[1] == 3:
        new = (new * new.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    new = new.expand(-1, colours, -1, -1)
    of_colours = own[:, :colours]
    blended = of_colours + weight * (new if how == "change" else new - of_colours)
    result = photograph.clone()
    result[:, :colours, rows, columns] = torch.where(weight > 0, blended.clamp(-1, 1), of_colours).float()
    return result


def find_face(photograph: Tensor, model: Size) -> Frame:
    """The frame around the largest upright face of a photograph [1, C, H, W] in [-1, 1].

    Raises:
        ValueError: there is none to be found, or nothing that finds one.
    """
    if find_spec("skimage") is None:
        raise ValueError(
            "--face needs the package scikit-image, not installed here: pip install 'gan-zoo[faces]', or give its "
            "eyes, --eyes X,Y,X,Y, or --box"
        )
    from skimage.feature import Cascade

    file = Path(str(resources.files("skimage"))) / "data" / "lbpcascade_frontalface_opencv.xml"
    if not file.is_file():
        raise ValueError(f"--face needs {file}, which is missing: give --eyes X,Y,X,Y or --box")
    pixels = to_bytes(photograph[0]).permute(1, 2, 0).numpy()
    pixels = np.ascontiguousarray(np.repeat(pixels[..., :1], 3, 2) if pixels.shape[2] < 3 else pixels[..., :3])
    side = min(pixels.shape[:2])
    found = []
    if side >= LEAST_FACE:
        detected = Cascade(str(file)).detect_multi_scale(
            img=pixels, scale_factor=1.2, step_ratio=1, min_size=(LEAST_FACE, LEAST_FACE), max_size=(side, side)
        )
        found = sorted(detected, key=lambda face: (-face["width"], face["r"], face["c"]))
    if not found:
        raise ValueError("--face finds no upright face from the front: give its eyes, --eyes X,Y,X,Y, or --box")
    face = found[0]
    scale = OF_FACE * face["width"] / min(model)
    centre = face["c"] + face["width"] / 2, face["r"] + face["height"] / 2
    return Frame(*centre, scale * model[1], scale * model[0])


def numbers(text: str, name: str, counts: Sequence[int]) -> list[float]:
    """The numbers of a text such as "40,20,256,256".

    Raises:
        ValueError: naming what is no number, or how many there have to be.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in counts or not all(math.isfinite(number) for number in found):
        raise ValueError(f"{name}={text} must be {' or '.join(map(str, counts))} numbers with commas between them")
    return found
