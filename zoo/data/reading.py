"""Reads one image file, whatever it holds, as uint8 [C, H, W]. Pillow decodes and resamples.

The rules, one a line:
- Orientation: the EXIF tag is applied. Animations and multi-page files give their first frame.
- 16-bit grey is divided by 257 and rounded, so that 65535 -> 255 (Pillow would clip); 16-bit colour is cut to 8 bit by
  Pillow's decoder. Floats must lie in [0, 1]; integers beyond 16 bit are refused: their scale is not known.
- Transparency (an alpha channel, a palette's or a key colour) is laid over `background` for 1 and 3 channels and kept
  for 2 and 4. Embedded colour profiles are ignored.
- Grey from colour is ITU-R 601-2 luma; colour from grey repeats it.
- An image of more than `max_pixels` is refused before it is decoded: a small file can decode to many gigabytes.
- Resampling is Lanczos with its support scaled to the reduction (antialiased), in one step from the original.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from zoo.data.archives import Member, image_of, pixels_of_npy

FITS = ("crop", "pad", "stretch")
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by number of channels
GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes without colour
MAX_PIXELS = 89_478_485  # Pillow's own limit before it warns: a quarter of a gigabyte of RGB

_opening = threading.Lock()


class UnreadableImage(ValueError):
    """A file that does not give an image. The message names its path and what is wrong."""

    def __init__(self, message: str) -> None:
        # A DataLoader raises a worker's error again with the worker's traceback as message: keep its last line.
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())


@dataclass(frozen=True)
class Reader:
    """How the files of a set become images: `Reader(...)(path)` is uint8 [channels, *size].

    Raises:
        ValueError: naming the argument, its value and the remedy.
    """

    size: tuple[int, int]  # height, width
    channels: int  # 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA
    fit: str  # see `fit`
    background: tuple[int, int, int]  # red, green, blue: under transparency and around letterboxed images
    max_pixels: int  # the largest image that is decoded

    def __post_init__(self) -> None:
        check_channels(self.channels)
        if self.fit not in FITS:
            raise ValueError(f"data.fit={self.fit} is not a way to fit an image: use one of {', '.join(FITS)}.")
        if self.max_pixels < 1:
            raise ValueError(f"data.max_pixels={self.max_pixels} refuses every image: the usual limit is {MAX_PIXELS}.")

    def __call__(self, path: str | os.PathLike[str]) -> np.ndarray:
        """The image as uint8 [channels, height, width], or an UnreadableImage."""
        with opened(path, max_pixels=self.max_pixels) as image:
            return self.pixels(image)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The same of an image that is open already."""
        image = with_channels(image, self.channels, self.background)
        pixels = np.asarray(fit(image, self.size, self.fit, self.background))
        return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


@dataclass(frozen=True)
class PairReader:
    """Base of the readers of an image of X and one of Y as one image, uint8 [C_X + C_Y, H, W], of one size."""

    x: Reader
    y: Reader

    @property
    def size(self) -> tuple[int, int]:
        return self.x.size

    @property
    def channels(self) -> int:
        return self.x.channels + self.y.channels


@dataclass(frozen=True)
class PartnerReader(PairReader):
    """Reads an image of X and its partner: the path of Y's image by that of X's."""

    partner: Mapping[Path, Path] = field(repr=False)

    def __call__(self, path: Path) -> np.ndarray:
        return np.concatenate([self.x(path), self.y(self.partner[path])])


@dataclass(frozen=True)
class HalvesReader(PairReader):
    """Reads one file whose left half is an image of X and whose right half is one of Y; `swap`: X is on the right."""

    swap: bool

    def __call__(self, path: Path) -> np.ndarray:
        with opened(path, max_pixels=self.x.max_pixels) as image:
            image = ImageOps.exif_transpose(image)
            width, height = image.size
            if width % 2:
                raise ValueError(f"its width {width} has no two halves (data.layout=side_by_side)")
            halves = [image.crop((left, 0, left + width // 2, height)) for left in (0, width // 2)]
            x, y = reversed(halves) if self.swap else halves
            return np.concatenate([self.x.pixels(x), self.y.pixels(y)])


FileReader = Reader | PartnerReader | HalvesReader


@contextmanager
def opened(path: str | os.PathLike[str] | Member, *, max_pixels: int) -> Iterator[Image.Image]:
    """The file's image, decoded; whatever goes wrong inside the block is the file's fault and an UnreadableImage."""
    try:
        with _open(path, max_pixels) as image:
            width, height = image.size
            if width * height > max_pixels:
                limit = f"data.max_pixels={max_pixels}"
                raise UnreadableImage(f"{path}: oversized: {width}x{height} pixels are more than {limit}.")
            image.load()
            yield image
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise nearly every built-in exception when a file is damaged
        raise UnreadableImage(f"{path}: {_reason(path, error)}.") from None


def _open(path: str | os.PathLike[str] | Member, max_pixels: int) -> Image.Image:
    """An array's image; else Image.open without Pillow's own limit, which warns or raises without saying the size."""
    content = path.open(max_pixels) if isinstance(path, Member) else path
    if str(path).lower().endswith(".npy") and not isinstance(path, Member):
        with open(path, "rb") as file:
            content = pixels_of_npy(file, max_pixels)
    if isinstance(content, np.ndarray):
        return image_of(content)
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(content)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _reason(path: str | os.PathLike[str] | Member, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, IsADirectoryError):
        return "a folder, not an image"
    if isinstance(error, UnidentifiedImageError):
        empty = not isinstance(path, Member) and not Path(path).stat().st_size
        return "an empty file" if empty else "not an image that Pillow knows"
    detail = str(error).strip().rstrip(".") or type(error).__name__
    return f"truncated: {detail}" if "truncated" in detail else f"corrupt: {detail}"


def with_channels(image: Image.Image, channels: int, background: tuple[int, int, int]) -> Image.Image:
    """Any image upright, as mode L, LA, RGB or RGBA for 1 to 4 channels; see `eight_bit`."""
    image = eight_bit(ImageOps.exif_transpose(image))
    if image.has_transparency_data and channels in (1, 3):
        image = _with_alpha(image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB")
    elif image.has_transparency_data:
        image = _with_alpha(image)
    elif image.mode not in MODES.values():
        image = image.convert("L" if image.mode == "1" else "RGB")  # P, CMYK, YCbCr, HSV, LAB, RGBX
    return image if image.mode == MODES[channels] else image.convert(MODES[channels])


def _with_alpha(image: Image.Image) -> Image.Image:
    """An image with transparency of any kind, as LA or RGBA."""
    return image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")


def deep_values(image: Image.Image) -> np.ndarray | None:
    """Floats in [0, 1] as they are, 16-bit grey as int64 in 0..65535, [H, W]; None for other images.

    Raises:
        ValueError: floats outside [0, 1], or integers outside 0..65535.
    """
    if image.mode == "F":
        values, limit, what = np.asarray(image), 1, "floating-point values outside [0, 1]"
    elif image.mode == "I" or image.mode.startswith("I;16"):
        values, limit, what = np.asarray(image).astype(np.int64), 65535, "integers outside 0..65535"
    else:
        return None
    if not ((values >= 0) & (values <= limit)).all():  # also false for NaN
        raise ValueError(f"{what}: their scale is not known")
    return values


def eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey and floats as mode L or LA, other images as they are; raises as `deep_values`."""
    values = deep_values(image)
    if values is None:
        return image
    if image.mode == "F":
        return Image.fromarray((values * 255).round().astype(np.uint8))
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    key = image.info.get("transparency")  # a PNG's transparent grey, in 16 bit
    if key is not None:
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def fit(image: Image.Image, size: tuple[int, int], mode: str, background: tuple[int, int, int]) -> Image.Image:
    """The image at `size`, which is (height, width).

    - crop: the centre at the right proportions, resampled to the size; nothing is distorted or added.
    - pad: the whole image, letterboxed on `background` (opaque); nothing is distorted or lost.
    - stretch: the whole image, its proportions changed.
    """
    height, width = size
    if mode == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    if mode == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    scale = min(width / image.width, height / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas = Image.new("RGB", (width, height), background).convert(image.mode)
    canvas.paste(image.resize(inner, Image.Resampling.LANCZOS), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas


def colour(value: str | Sequence[int]) -> tuple[int, int, int]:
    """(red, green, blue) of a name or code that Pillow knows (white, "#ff8000") or of three numbers in 0..255."""
    message = f"data.background={value} is not a colour: use a name such as white, '#ff8000' or [255, 128, 0]."
    try:
        levels = ImageColor.getrgb(value)[:3] if isinstance(value, str) else tuple(value)
    except ValueError:
        raise ValueError(message) from None
    if len(levels) != 3 or not all(isinstance(level, int) and 0 <= level <= 255 for level in levels):
        raise ValueError(message)
    return levels[0], levels[1], levels[2]


def height_and_width(image_size: int | Sequence[int], name: str = "image_size") -> tuple[int, int]:
    """(height, width) of a size, which is one positive int or [height, width]."""
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ValueError(f"data.{name}={image_size} is neither a side in pixels nor [height, width].")
    return sides[0], sides[1]


def check_channels(channels: int, name: str = "channels") -> int:
    """`channels` itself, or a ValueError."""
    if channels not in MODES:
        choices = "use 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA)"
        raise ValueError(f"data.{name}={channels} is not supported: {choices}.")
    return channels
