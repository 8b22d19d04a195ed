"""Images of more than 8 bits a value: read whole, as numbers of the file's own type, and brought to a range of levels.

16-bit grey, colours and alpha of PNG and TIFF; signed, wider and floating-point TIFF; what else Pillow reads as mode I,
I;16 or F. Which values become black and white, of one set as a whole:

    None         what the type is known to mean: 0..65535 of integers (0..4095 of 12-bit TIFF), 0..1 of floats
    "full"       the type's own range: -32768..32767 of signed 16 bits; of floats 0..1
    (low, high)  these two; what lies outside is clipped. The only one that images of 8 bits are brought to, too
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

Span = tuple[float, float]  # low, high
ValueRange = Span | Literal["full"] | None

Reopened = Callable[[], Image.Image | None]
CheckSize = Callable[[int, int], None]

ORIENTATION = 0x0112  # the EXIF tag
# The raw modes in which Pillow's decoder gives a PNG's 16-bit colours byte by byte, the high ones first: it has none
# for whole values, and itself takes the high bytes alone.
PNG = {"RGB;16B": ("RGB;16B", "RGB;16L"), "RGBA;16B": ("RGBA;16B", "RGBA;16L"), "LA;16B": ("RGBA",)}

# The same of TIFF, by the mode that Pillow reads it as; its values are in this machine's order by then.
TIFF = {mode: [f"{mode};16{end}" for end in ("LB", "BL")[sys.byteorder == "big"]] for mode in ("RGB", "RGBA")}

_counting = Lock()


class Refused(ValueError):
    """An image that is whole, and of no use as it is. The message says why, and the remedy."""


class Deep(NamedTuple):
    """An image of more than 8 bits, upright."""

    values: np.ndarray  # [H, W, C] of the file's own type: C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA
    bits: int  # of a value, which the type may have more of
    profile: bytes | None = None  # of the colours

    @property
    def colours(self) -> np.ndarray:
        """[H, W, 1 or 3]: without alpha."""
        return self.values[:, :, : self.values.shape[2] - (self.values.shape[2] + 1) % 2]

    @property
    def kind(self) -> str:
        """ "16-bit integers"."""
        kind = self.values.dtype.kind
        return f"{'signed ' * (kind == 'i')}{self.bits}-bit {'floats' if kind == 'f' else 'integers'}"

    @property
    def full(self) -> Span:
        """The range of the type; of floats, [0, 1]."""
        if self.values.dtype.kind == "f":
            return 0, 1
        signed = self.values.dtype.kind == "i"
        return (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1) if signed else (0, 2**self.bits - 1)

    @property
    def known(self) -> Span:
        """The range that the values have if nothing is said: all integers are taken for those of 16 bits."""
        is_narrow = self.full[0] == 0 and self.bits < 16
        return self.full if self.values.dtype.kind == "f" or is_narrow else (0, 65535)

    @property
    def is_known(self) -> bool:
        """Whether the values lie in that range, so that their scale is known."""
        low, high = self.known
        signed_bytes = self.values.dtype == np.int8
        return not signed_bytes and bool(low <= self.colours.min() and self.colours.max() <= high)  # False for NaN


# Reading ------------------------------------------------------------------------------------------------------------


def read_deep(
    file: IO[bytes], image: Image.Image | None, reopened: Reopened, check_size: CheckSize, *, exact: bool = False
) -> Deep | None:
    """A file's image, if it is a deep one; None for others, which are not decoded.

    Args:
        image: what Pillow makes of it; None of a TIFF that it does not know.
        reopened: gives that once more.
        check_size: raises for a width and a height that are too large.
        exact: refuse deep colours of a kind that only Pillow reads, cut to 8 bits (CMYK).

    Raises:
        Refused: deep colours of such a kind, or of one that nobody reads.
        (whatever the decoders raise)
    """
    if image is None or image.format == "TIFF":
        return _tiff(file, image, reopened, check_size, exact)
    tiles: Any = getattr(image, "tile", None)  # how Pillow would decode it
    if image.format == "PNG" and tiles and tiles[0].args in PNG:
        values, loaded = _whole(file, reopened, PNG[tiles[0].args])
        values = upright(_with_key(values, loaded.info.get("transparency")), loaded.getexif().get(ORIENTATION, 1))
        return Deep(values, 16, loaded.info.get("icc_profile"))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey(image)
    return None


def _grey(image: Image.Image, kind: type[np.generic] | None = None, bits: int = 16) -> Deep:
    """What Pillow reads as numbers. `kind` is the file's own type, where it is known."""
    key = image.info.get("transparency")  # a PNG's transparent grey, in 16 bits
    profile = image.info.get("icc_profile")
    values = np.asarray(ImageOps.exif_transpose(image))
    if image.mode == "F":
        return Deep(values[:, :, None], 32, profile)
    if kind is np.uint32:
        return Deep(values.view(np.uint32)[:, :, None], 32, profile)  # Pillow takes it for signed
    if kind is None and image.mode == "I" and (values.min() < 0 or values.max() > 65535):
        return Deep(values[:, :, None], 32, profile)
    return Deep(_with_key(values.astype(kind or np.uint16)[:, :, None], key), bits, profile)


def _with_key(pixels: np.ndarray, key: int | tuple[int, ...] | None) -> np.ndarray:
    """uint16 [H, W, 1 or 3] with an alpha plane behind it, if there is a colour that stands for transparency."""
    if key is None or pixels.shape[2] not in (1, 3):
        return pixels
    transparent = (pixels == np.array(key, np.uint16)).all(2, keepdims=True)
    return np.concatenate([pixels, np.where(transparent, 0, 65535).astype(np.uint16)], 2)


def _whole(file: IO[bytes], reopened: Reopened, raw_modes: Sequence[str]) -> tuple[np.ndarray, Image.Image]:
    """16-bit colours, uint16 [H, W, C], which Pillow's decoder gives byte by byte: one pass for each of `raw_modes`,
    the high bytes first, or one where a value's two bytes are two channels; and the image that was loaded."""
    passes = []
    for raw in raw_modes:
        file.seek(0)
        image: Any = reopened()
        image.tile = [
            tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:])) for tile in image.tile
        ]
        image.load()
        passes.append(np.asarray(image))
    if len(passes) == 1:
        return np.ascontiguousarray(passes[0]).view(">u2").astype(np.uint16), image
    return passes[0].astype(np.uint16) << 8 | passes[1], image


def _tiff(
    file: IO[bytes], image: Image.Image | None, reopened: Reopened, check_size: CheckSize, exact: bool
) -> Deep | None:
    """The first page of a TIFF, as `read_deep`; associated alpha divided out, white that is 0 turned round."""
    if image is not None:
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        bits, formats = max(tags.get(258, (1,))), set(tags.get(339, (1,)))
        if bits <= 8 and formats <= {1, 4}:  # unsigned, or not said
            return None
        if tags.get(262) == 1 and (image.mode in ("I", "F") or image.mode.startswith("I;16")):  # grey, black is 0
            kinds: dict[Any, Any] = {(16, 2): np.int16, (32, 1): np.uint32, (32, 2): np.int32}
            return _grey(image, kinds.get((bits, next(iter(formats))), np.uint16), bits)
    import tifffile

    try:
        file.seek(0)
        page: Any = tifffile.TiffFile(file).pages[0]
    except tifffile.TiffFileError:
        return None  # Pillow says what is wrong with it
    if page.dtype is None or page.dtype.kind not in "uif" or page.dtype == np.uint8:
        return None
    check_size(page.imagewidth, page.imagelength)
    kind, channels = tifffile.PHOTOMETRIC(page.photometric).name, page.samplesperpixel
    colours = {"MINISBLACK": 1, "MINISWHITE": 1, "RGB": 3}.get(kind, 0)
    if channels - colours not in (0, 1) or not colours:
        if image is not None and not exact:
            return None
        remedy = "grey and RGB are read, with or without alpha"
        raise Refused(f"{page.bitspersample}-bit {kind} of {channels} channels: {remedy}")
    orientation, profile = page.tags.valueof("Orientation", 1), page.tags.valueof("InterColorProfile")
    try:
        values = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error) or image is None or page.dtype != np.uint16 or image.mode not in TIFF:
            raise
        values, _ = _whole(file, reopened, TIFF[image.mode])  # Pillow has more decoders
        orientation = 1  # applied by it
    # As [H, W, C], whether the colours come pixel by pixel or in planes (S).
    values = np.atleast_3d(np.moveaxis(values, 0, 2) if page.axes.startswith("S") and values.ndim == 3 else values)
    deep = Deep(upright(values.astype(values.dtype.newbyteorder("=")), orientation), 8 * values.dtype.itemsize, profile)
    if kind == "MINISWHITE":
        low, high = deep.full
        deep.colours[...] = low + high - deep.colours
    if page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,):  # colours that alpha was multiplied into
        high = deep.full[1]
        divided = deep.colours * (high / np.maximum(deep.values[:, :, -1:].astype(np.float64), 1 if high > 1 else 1e-9))
        deep.colours[...] = (divided.round() if high > 1 else divided).clip(0, high)
    return deep


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, C] as the EXIF tag says: 2 to 8 are the seven ways to turn and mirror it."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


# Ranges -------------------------------------------------------------------------------------------------------------


def scaled(deep: Deep, value_range: ValueRange, dtype: Any) -> np.ndarray:
    """The image as levels of uint8 or uint16, [H, W, C], from the low end of a range to the high one.

    Raises:
        Refused: values whose scale is not known, with the range that they have, and NaN.
    """
    low, high = float(deep.colours.min()), float(deep.colours.max())
    if math.isnan(low):
        raise Refused("it holds values that are no numbers (NaN)")
    is_full = value_range == "full" and deep.full[0] <= low <= high <= deep.full[1]
    if not (isinstance(value_range, tuple) or is_full or (value_range is None and deep.is_known)):
        raise Refused(
            f"{deep.kind} from {low:.9g} to {high:.9g}: their scale is not known "
            f"(to train on them: data.range=[{low:.9g},{high:.9g}], or data.range=min_max for what all files hold)"
        )
    span = value_range if isinstance(value_range, tuple) else deep.full if value_range == "full" else deep.known
    colours = stretched(deep.colours, span, dtype)
    if deep.values.shape[2] % 2:
        return colours
    return np.concatenate([colours, stretched(deep.values[:, :, -1:], (0, deep.full[1]), dtype)], 2)


def stretched(values: np.ndarray, span: Span, dtype: Any) -> np.ndarray:
    """Values as levels of an unsigned type: the low end of the span is 0, the high end its largest, others clipped."""
    if values.dtype.kind in "ui" and values.dtype.itemsize == 2:  # by a table, which needs no memory for floats
        every = np.arange(65536, dtype=np.uint16)
        return stretched(every.view(values.dtype).astype(np.float64), span, dtype)[values.view(np.uint16)]
    if values.dtype != np.float32:
        values = values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    low, high, most = float(span[0]), float(span[1]), int(np.iinfo(dtype).max)
    return ((values - low) * (most / (high - low))).clip(0, most).round().astype(dtype)


def check_range(value: Any) -> Any:
    """A setting of a range, as "full", "min_max", None or (low, high); a ValueError for anything else."""
    if value is None or (isinstance(value, str) and value in ("full", "min_max")):
        return value
    numbers = isinstance(value, list | tuple) and all(type(number) in (int, float) for number in value)
    if not numbers or len(value) != 2 or not -math.inf < value[0] < value[1] < math.inf:
        remedy = "give [lowest, highest], full, min_max or null"
        raise ValueError(f"data.range={value} is no range of values: {remedy}.")
    return float(value[0]), float(value[1])


def range_of(config: Mapping[str, Any], domain: int = 0) -> ValueRange:
    """The range of a trained model's images, by its run's settings; of the second domain, where there are two: 1.

    Raises:
        ValueError: the settings hold none that is one.
    """
    value = check_range((config.get("data") or {}).get("range"))
    if value != "min_max":
        return value
    ranges = config.get("ranges") or [None]
    value = check_range(ranges[min(domain, len(ranges) - 1)])
    return None if value == "min_max" else value


@dataclass(eq=False)
class Levels:
    """The values in the files of a set, told image by image; of alpha nothing."""

    images: int = 0  # whose values were looked at
    shallow: int = 0  # others, of 8 bits, which no range is needed for
    kinds: Counter[str] = field(default_factory=Counter)  # images by what they hold: "16-bit integers"
    low: float = math.inf
    high: float = -math.inf
    known: Span = (math.inf, -math.inf)  # what is black and white where nothing is said
    values: int = 0  # that were held against a range
    outside: int = 0  # of these

    def add(self, deep: Deep, value_range: ValueRange = None) -> None:
        """Note an image's values, and how many lie outside of a range, if that is two numbers.

        Raises:
            Refused: NaN or infinite values.
        """
        colours = deep.colours
        low, high, outside = float(colours.min()), float(colours.max()), 0
        if not math.isfinite(high - low):
            raise Refused("it holds values that are no numbers, or infinite")
        if isinstance(value_range, tuple) and not value_range[0] <= low <= high <= value_range[1]:
            outside = int(np.count_nonzero((colours < value_range[0]) | (colours > value_range[1])))
        with _counting:  # threads decode
            self.images += 1
            self.kinds[deep.kind] += 1
            self.low, self.high = min(self.low, low), max(self.high, high)
            self.known = min(self.known[0], deep.known[0]), max(self.known[1], deep.known[1])
            self.values += colours.size
            self.outside += outside

    def add_shallow(self) -> None:
        """Note an image of 8 bits, whose values are not looked at."""
        with _counting:
            self.shallow += 1

    def remedy(self) -> str:
        """The settings that make use of all levels: of integers from 0 to 4080 [0, 4095], of 12 bits."""
        low, high = self.low, self.high
        if low >= 0 and not any("floats" in kind for kind in self.kinds):
            low, high = 0, 2 ** int(high).bit_length() - 1
        return f"data.range=[{low:.9g},{high:.9g}]"

    def in_words(self, value_range: ValueRange) -> str:
        """ "values 0 to 4080, 16-bit integers, read as 0 to 65535"."""
        words = f"values {self.low:.6g} to {self.high:.6g}, {' and '.join(sorted(self.kinds))}"
        if self.shallow:
            words += f" in {self.images:,} image{'s' * (self.images > 1)}, beside {self.shallow:,} of 8 bits"
        if value_range == "full":
            return f"{words}, read by their type's range"
        low, high = value_range or self.known
        clipped = f", {max(self.outside / self.values, 1e-4):.2%} of them outside and clipped" if self.outside else ""
        return f"{words}, read as {low:.6g} to {high:.6g}{clipped}"

    def complaint(self, value_range: ValueRange, *, alone: bool = True) -> str | None:
        """What is wrong where less than a quarter of the levels is used and nothing was said, with the remedy.

        Args:
            alone: the set has no other domain, which a range would act on too.
        """
        low, high = self.known
        if value_range is not None or not self.images or self.low == self.high:
            return None
        if self.low < low or self.high > high:
            return f"the scale of these values is not known: {self._remedies(alone)}"
        share = (self.high - self.low) / (high - low)
        if share >= 0.25:
            return None
        few = f"only {share:.1%} of the range of their files is used, so that the images are nearly uniform"
        return f"{few}: {self._remedies(alone)}"

    def _remedies(self, alone: bool) -> str:
        if self.shallow:
            return f"convert them to 8 bits, or leave them out: data.range= would darken the {self.shallow:,} of 8 bits"
        if not alone:
            return "set data.range=min_max, which finds the range of each domain"
        return f"set {self.remedy()}, or data.range=min_max"
