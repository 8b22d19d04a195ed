"""Reads one image file, whatever it holds, as uint8 [C, H, W]. Pillow decodes and resamples.

The rules, one a line:
- Orientation: the EXIF tag is applied. Animations and multi-page files give their first frame.
- Deep images, of more than 8 bits a value, are read whole (zoo/data/deep.py) and then brought to 8 bits: of 16 bits
  0 -> 0 and 65535 -> 255, rounded. Floats must lie in [0, 1] and integers in 0..65535, or their scale is not known.
- With a range of values [low, high] (`data.range`), low -> 0 and high -> 255 in images of any depth; what lies outside
  is clipped. It is one range for a whole set: an image never chooses its own.
- Transparency (an alpha channel, a palette's or a key colour) is laid over `background` for 1 and 3 channels and kept
  for 2 and 4. Embedded colour profiles are ignored.
- Grey from colour is ITU-R 601-2 luma; colour from grey repeats it.
- An image of more than `max_pixels` is refused before it is decoded: a small file can decode to many gigabytes.
- Resampling is Lanczos with its support scaled to the reduction (antialiased), in one step from the original. Pillow
  resamples columns and rows after each other, and rounds to 8 bits after each, as it does for the authors' codes.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError, features

from zoo.data.archives import Member, pixels_of_npy
from zoo.data.deep import Deep, Levels, Refused, Span, ValueRange, read_deep, scaled, stretched
from zoo.data.files import HEIF, NotRegular, opened_regular, why_not_opened
from zoo.data.pixels import photographs
from zoo.text import printable

FITS = ("crop", "pad", "stretch")
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by number of channels
GREY = ("1", "L", "LA", "La")  # Pillow's modes of 8 bits without colour
MAX_PIXELS = 89_478_485  # Pillow's own limit before it warns: a quarter of a gigabyte of RGB

Readable = str | os.PathLike[str] | Member  # where an image may lie

_opening = threading.Lock()


class UnreadableImage(ValueError):
    """A file that does not give an image. The message names its path and what is wrong."""

    def __init__(self, message: str) -> None:
        # A DataLoader raises a worker's error again with the worker's traceback as message: keep its last line.
        super().__init__(printable(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip()))


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
    value_range: ValueRange = None  # what becomes black and white
    levels: Levels | None = field(default=None, repr=False, compare=False)  # told of the values that are met

    def __post_init__(self) -> None:
        check_channels(self.channels)
        if self.fit not in FITS:
            raise ValueError(f"data.fit={self.fit} is not a way to fit an image: use one of {', '.join(FITS)}.")
        if self.max_pixels < 1:
            raise ValueError(f"data.max_pixels={self.max_pixels} refuses every image: the usual limit is {MAX_PIXELS}.")

    def __call__(self, path: Readable) -> np.ndarray:
        """The image as uint8 [channels, height, width], or an UnreadableImage."""
        with self.opened(path) as image:
            return self.pixels(image)

    def opened(self, path: Readable) -> AbstractContextManager[Image.Image]:
        """The file's image as `opened`, of its own size and channels."""
        return opened(path, max_pixels=self.max_pixels, value_range=self.value_range, levels=self.levels)

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
        with self.x.opened(path) as image:
            image = ImageOps.exif_transpose(image)
            width, height = image.size
            if width % 2:
                raise ValueError(f"its width {width} has no two halves (data.layout=side_by_side)")
            halves = [image.crop((left, 0, left + width // 2, height)) for left in (0, width // 2)]
            x, y = reversed(halves) if self.swap else halves
            return np.concatenate([self.x.pixels(x), self.y.pixels(y)])


FileReader = Reader | PartnerReader | HalvesReader


@contextmanager
def opened(
    path: Readable, *, max_pixels: int, value_range: ValueRange = None, levels: Levels | None = None
) -> Iterator[Image.Image]:
    """The file's image, decoded, of 8 bits; whatever goes wrong inside the block is the file's fault and an
    UnreadableImage. `levels` is told of the values of a deep image, or with a range of any."""
    with decoded(path, max_pixels=max_pixels) as (image, deep):
        if deep is not None:
            pixels = scaled(deep, value_range, np.uint8)
            if levels is not None:
                levels.add(deep, value_range)
            yield Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
            return
        assert image is not None
        if isinstance(value_range, tuple):
            yield ranged(image, value_range, levels)
            return
        if levels is not None:
            levels.add_shallow()
        yield image


def measure(path: Readable, levels: Levels, *, max_pixels: int, deep_only: bool) -> None:
    """Tell `levels` of the values in a file, or in a deep one only, for which others are not decoded.

    Raises:
        UnreadableImage: as `opened`.
    """
    with decoded(path, max_pixels=max_pixels, load=not deep_only) as (image, deep):
        if deep is not None:
            levels.add(deep)
        elif deep_only:
            levels.add_shallow()
        elif image is not None:
            levels.add(Deep(np.atleast_3d(np.asarray(plain(image))), 8))


@contextmanager
def decoded(
    path: Readable, *, max_pixels: int, exact: bool = False, load: bool = True
) -> Iterator[tuple[Image.Image | None, Deep | None]]:
    """The file's image as Pillow has it, decoded; or a deep one as numbers, beside which Pillow's is not.

    Args:
        exact: refuse deep colours of a kind that only Pillow reads, cut to 8 bits (CMYK).
        load: decode images of 8 bits.

    Raises:
        UnreadableImage: for whatever goes wrong, also inside the block.
    """

    def check_size(width: int, height: int) -> None:
        if width * height > max_pixels:
            limit = f"data.max_pixels={max_pixels}"
            raise UnreadableImage(f"{path}: oversized: {width}x{height} pixels are more than {limit}.")

    try:
        with content_of(path, max_pixels) as file:
            if isinstance(file, np.ndarray):
                is_deep = file.dtype != np.uint8
                pixels = file[:, :, 0] if file.shape[2] == 1 else file
                yield (None, Deep(file, 8 * file.itemsize)) if is_deep else (Image.fromarray(pixels), None)
                return
            image = _open(file, path)
            if image is not None:
                check_size(*image.size)
            deep = read_deep(file, image, lambda: _open(file, path), check_size, exact=exact)
            if deep is None and image is None:
                raise UnidentifiedImageError
            if image is not None and deep is None and load:
                image.load()
            yield image, deep
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise nearly every built-in exception when a file is damaged
        raise UnreadableImage(f"{path}: {_reason(path, error)}.") from None


@contextmanager
def content_of(path: Readable, max_pixels: int) -> Iterator[IO[bytes] | np.ndarray]:
    """The bytes of an image's file, or its pixels [H, W, C] where they are an array.

    Raises:
        UnreadableImage: it is empty.
        OSError, ValueError, BadZipFile: it can't be opened, or is no array of an image.
    """
    if isinstance(path, Member):
        content = path.open(max_pixels)
        if not isinstance(content, np.ndarray) and not content.read(1):
            raise UnreadableImage(f"{path}: an empty file.")
        if not isinstance(content, np.ndarray):
            content.seek(0)
        yield content
        return
    with opened_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:  # also what the system makes up while it is read: /proc
            raise UnreadableImage(f"{path}: an empty file.")
        yield pixels_of_npy(file, max_pixels) if str(path).lower().endswith(".npy") else file


def _open(file: IO[bytes], path: Readable) -> Image.Image | None:
    """Image.open without Pillow's own limit, which warns or raises without saying the size; None for a TIFF that it
    does not know."""
    if str(path).lower().endswith(HEIF):
        import pillow_heif

        pillow_heif.register_heif_opener()
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        except UnidentifiedImageError:
            file.seek(0)
            if file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                return None
            raise
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _reason(path: Readable, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        lacks = str(path).lower().endswith(".avif") and not features.check("avif")
        return f"not an image that Pillow knows{' (for AVIF, pip install -U pillow)' if lacks else ''}"
    if isinstance(error, OSError) and (error.errno is not None or isinstance(error, NotRegular)):
        return why_not_opened(path.archive.path if isinstance(path, Member) else path, error)
    detail = str(error).strip().rstrip(".") or type(error).__name__
    if isinstance(error, Refused):
        return detail
    return f"truncated: {detail}" if "truncated" in detail else f"corrupt: {detail}"


def with_channels(image: Image.Image, channels: int, background: tuple[int, int, int]) -> Image.Image:
    """Any image of 8 bits upright, as mode L, LA, RGB or RGBA for 1 to 4 channels."""
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data and channels in (1, 3):
        image = _with_alpha(image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB")
    image = plain(image)
    return image if image.mode == MODES[channels] else image.convert(MODES[channels])


def plain(image: Image.Image) -> Image.Image:
    """An image of 8 bits as mode L, LA, RGB or RGBA, whichever keeps what it holds."""
    if image.has_transparency_data:
        return _with_alpha(image)
    if image.mode in MODES.values():
        return image
    return image.convert("L" if image.mode == "1" else "RGB")  # P, CMYK, YCbCr, HSV, LAB, RGBX


def ranged(image: Image.Image, span: Span, levels: Levels | None = None) -> Image.Image:
    """An image of 8 bits whose colours are stretched: the low end of the span becomes 0, the high end 255."""
    image = plain(ImageOps.exif_transpose(image))
    if levels is not None:
        levels.add(Deep(np.atleast_3d(np.asarray(image)), 8), span)
    table = stretched(np.arange(256, dtype=np.uint8), span, np.uint8).tolist()
    bands = len(image.getbands())
    return image.point(table * bands if bands % 2 else table * (bands - 1) + list(range(256)))


def _with_alpha(image: Image.Image) -> Image.Image:
    """An image with transparency of any kind, as LA or RGBA."""
    return image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")


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


def picture_named(name: str | Path) -> Path:
    """The file of a picture: itself, or where there is no such file, the photograph of zoo/data/pixels of that name."""
    path = Path(name).expanduser()
    return path if os.path.lexists(path) else photographs().get(str(name), path)


def read_picture(name: str, channels: int) -> np.ndarray:
    """A file's image, or a photograph of zoo/data/pixels by its name, as uint8 [channels, H, W], of its own size.

    Raises:
        ValueError: if there is neither.
        UnreadableImage: if there is no image in the file.
    """
    path = picture_named(name)
    if not path.is_file():
        raise ValueError(
            f"{name} is no file, and no photograph that comes with the package ({', '.join(photographs())}): give a "
            "picture"
        )
    with opened(path, max_pixels=MAX_PIXELS) as image:
        pixels = np.array(with_channels(image, channels, (255, 255, 255)))
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
