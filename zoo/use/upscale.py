"""Enlarges image files with a trained super-resolution network: any size, in tiles; grey, alpha and 16 bit are kept.

A tile is enlarged with as many pixels around it as its result depends on (`reach`), so that tiles equal the whole image
up to float rounding, and memory does not grow with the image beyond its own pixels. PNG is written band by band, as
the tiles get done; other formats need the whole result in memory.

    colours      a network of RGB takes grey as equal colours, and gives it back as their luma; one of grey takes each
                 colour on its own. Alpha is enlarged as a grey image on its own
    16 bit       stays 16 bit in PNG and TIFF; elsewhere it is rounded to 8
    orientation  the EXIF tag is applied, and not written. A colour profile is kept
    alpha        is kept where the format has it (PNG, TIFF, WebP), elsewhere laid over white
"""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from zoo.data.reading import MAX_PIXELS, UnreadableImage, deep_values, opened, with_channels
from zoo.use.pictures import FORMATS, WHITE, whole

TIFF = (".tif", ".tiff")
QUALITY = 95  # of JPEG and WebP
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, full swing: equal colours give their level
ORIENTATION = 0x0112  # the EXIF tag


class Picture(NamedTuple):
    """A file's image."""

    pixels: np.ndarray  # uint8 or uint16 [H, W, C], C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA
    profile: bytes | None = None  # of its colours


def enlarge_file(
    model: Any, source: Path, target: Path, *, tile: int, track: Callable[[range], Iterable[int]] = iter
) -> tuple[int, int]:
    """Enlarge one file into another, which is written whole or not at all; its new (width, height).

    Args:
        model: what `Upscales`, in evaluation mode.
        tile: side of a tile, in pixels of the image.
        track: gives back the numbers that it gets, one for each band of tiles, and may show how far they are.

    Raises:
        UnreadableImage: if `source` gives no image.
        ValueError: if `target` has a format that can't be written, or that can't hold the result, or is `source`.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"{target} is the image itself: give another name")
    picture = read(source)
    if target.suffix.lower() not in FORMATS:
        raise ValueError(f"{target}: images are written as {', '.join(FORMATS)}: give one of these extensions")
    with whole(target) as part:
        try:
            write(part, bands(model, picture.pixels, tile=tile, track=track), picture, model.scale)
        except (OSError, SystemError, struct.error) as error:  # what a format refuses: 70,000 pixels of JPEG, say
            raise ValueError(f"{source} can't be written enlarged: {error}") from error
    height, width, _ = picture.pixels.shape
    return width * model.scale, height * model.scale


# The network, in tiles ----------------------------------------------------------------------------------------------


@torch.inference_mode()
def bands(
    model: Any, pixels: np.ndarray, *, tile: int, track: Callable[[range], Iterable[int]] = iter
) -> Iterator[np.ndarray]:
    """The enlarged image of uint8 or uint16 [H, W, C], from top to bottom, [s * rows, s * W, C] each, of its type.

    Raises:
        ValueError: if `tile`, the side of a tile in pixels of the image, is not positive.
    """
    if tile < 1:
        raise ValueError(f"--tile={tile} must be 1 or more pixels")
    scale, reach = model.scale, model.reach
    height, width, channels = pixels.shape
    most = int(np.iinfo(pixels.dtype).max)
    for top in track(range(0, height, tile)):
        bottom = min(top + tile, height)
        band = np.empty(((bottom - top) * scale, width * scale, channels), pixels.dtype)
        y0, y1 = max(top - reach, 0), min(bottom + reach, height)
        for left in range(0, width, tile):
            right = min(left + tile, width)
            x0, x1 = max(left - reach, 0), min(right + reach, width)
            part = torch.from_numpy(pixels[y0:y1, x0:x1].astype(np.float32)).permute(2, 0, 1)
            large = enlarged(model, part.to(model.device) * (2 / most) - 1)
            y, x = (top - y0) * scale, (left - x0) * scale
            large = large[:, y : y + len(band), x : x + (right - left) * scale]
            levels = ((large + 1) * (most / 2)).round_().clamp_(0, most)
            band[:, left * scale : right * scale] = levels.permute(1, 2, 0).cpu().numpy().astype(pixels.dtype)
        yield band


def enlarged(model: Any, image: Tensor) -> Tensor:
    """An image [C, h, w] in [-1, 1] of 1 to 4 channels -> [C, s*h, s*w], with a network of 1 or 3."""
    if len(image) in (2, 4):
        return torch.cat([enlarged(model, image[:-1]), enlarged(model, image[-1:])])
    run = lambda batch: model.upscale(batch.contiguous(memory_format=torch.channels_last)).float()
    if len(image) == model.channels:
        return run(image[None])[0]
    if len(image) == 3:
        return run(image[:, None])[:, 0]  # each colour, as a grey image
    large = run(image[None].expand(-1, 3, -1, -1))[0]
    return (large * large.new_tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)


# Reading ------------------------------------------------------------------------------------------------------------


def read(path: Path) -> Picture:
    """A file's image, upright.

    Raises:
        UnreadableImage: with the path and the reason.
    """
    if path.suffix.lower() in TIFF and (deep := _deep_tiff(path)) is not None:
        return deep
    with opened(path, max_pixels=MAX_PIXELS) as image:
        profile = image.info.get("icc_profile")
        key = image.info.get("transparency")  # of a 16-bit PNG without alpha: a level, or three
        if image.format == "PNG" and (colours := _deep_png(path)) is not None:
            return Picture(_upright(_with_key(colours, key), image.getexif().get(ORIENTATION, 1)), profile)
        image = ImageOps.exif_transpose(image)
        if (values := deep_values(image)) is not None:
            levels = (values * 65535).round() if image.mode == "F" else values
            return Picture(_with_key(levels.astype(np.uint16)[:, :, None], key), profile)
        grey, alpha = image.mode in ("1", "L", "LA", "La"), image.has_transparency_data
        if not alpha and image.mode not in ("1", "L", "P", "RGB", "RGBX"):
            profile = None  # CMYK's, Lab's: not of the RGB that it becomes
        return Picture(np.atleast_3d(np.array(with_channels(image, (1 if grey else 3) + alpha, WHITE))), profile)


def _deep_png(path: Path) -> np.ndarray | None:
    """uint16 [H, W, C] of a PNG with 16-bit colours or alpha, which Pillow would cut to 8; None for others."""
    with path.open("rb") as file:
        header = file.read(26)
    if header[24] != 16 or header[25] not in (2, 4, 6):  # bits; RGB, grey and alpha, RGBA
        return None
    from torchvision.io import ImageReadMode, decode_png

    with warnings.catch_warnings():  # deprecated there, with nothing to take its place
        warnings.simplefilter("ignore")
        data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        return decode_png(data, ImageReadMode.UNCHANGED).permute(1, 2, 0).numpy()


def _with_key(pixels: np.ndarray, key: int | tuple[int, ...] | None) -> np.ndarray:
    """uint16 [H, W, 1 or 3] with an alpha plane behind it, if there is a colour that stands for transparency."""
    if key is None or pixels.shape[2] not in (1, 3):
        return pixels
    transparent = (pixels == np.array(key, np.uint16)).all(2, keepdims=True)
    return np.concatenate([pixels, np.where(transparent, 0, 65535).astype(np.uint16)], 2)


def _deep_tiff(path: Path) -> Picture | None:
    """The first page of a TIFF with 16-bit colours or alpha, which Pillow cuts to 8 or does not know; None for others.

    Also of grey whose white is 0, which Pillow takes for black. Raises as `read`.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            if page.bitspersample != 16 or page.dtype != np.uint16:
                return None
            kind, channels = tifffile.PHOTOMETRIC(page.photometric).name, page.samplesperpixel
            if (kind, channels) == ("MINISBLACK", 1):
                return None
            colours = {"MINISBLACK": 1, "MINISWHITE": 1, "RGB": 3}.get(kind, 0)
            if channels - colours not in (0, 1) or not colours:
                remedy = "grey and RGB are read, with or without alpha"
                raise UnreadableImage(f"{path}: 16-bit {kind} of {channels} channels: {remedy}.")
            if page.imagewidth * page.imagelength > MAX_PIXELS:
                raise UnreadableImage(f"{path}: oversized: more than {MAX_PIXELS} pixels.")
            pixels = page.asarray()
            pixels = np.atleast_3d(np.moveaxis(pixels, 0, 2) if page.axes.startswith("S") else pixels)  # S: in planes
            if kind == "MINISWHITE":
                pixels[:, :, 0] = 65535 - pixels[:, :, 0]
            if page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,):  # colours that alpha was multiplied into
                divided = pixels[:, :, :-1] * (65535 / np.maximum(pixels[:, :, -1:], 1))
                pixels[:, :, :-1] = divided.round().clip(0, 65535)
            orientation, profile = page.tags.valueof("Orientation", 1), page.tags.valueof("InterColorProfile")
            return Picture(_upright(pixels, orientation), profile)
    except UnreadableImage:
        raise
    except tifffile.TiffFileError:
        return None  # Pillow says what is wrong with it
    except Exception as error:  # decoders raise nearly every built-in exception when a file is damaged
        raise UnreadableImage(f"{path}: corrupt: {error}.") from None


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, C] as the EXIF tag says: 2 to 8 are the seven ways to turn and mirror it."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


# Writing ------------------------------------------------------------------------------------------------------------


def write(path: Path, large: Iterable[np.ndarray], picture: Picture, scale: int) -> None:
    """Write the bands of an enlarged image in the format of the path's name, one of FORMATS."""
    suffix, (height, width, channels) = path.suffix.lower(), picture.pixels.shape
    if suffix == ".png":
        _write_png(path, large, picture, scale)
        return
    row = np.dtype((picture.pixels.dtype, (width * scale, channels)))
    pixels = np.fromiter(chain.from_iterable(large), row, height * scale)
    if channels == 1:
        pixels = pixels[:, :, 0]
    if suffix in TIFF:
        import tifffile

        tifffile.imwrite(
            path, pixels, compression="zlib", iccprofile=picture.profile, metadata=None,
            photometric="minisblack" if channels < 3 else "rgb", planarconfig=None if channels == 1 else "contig",
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
        )  # fmt: skip
        return
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    image = Image.fromarray(pixels)  # L, LA, RGB, RGBA by its channels
    if suffix != ".webp":
        image = with_channels(image, 1 if channels < 3 else 3, WHITE)
    image.save(path, quality=QUALITY, icc_profile=picture.profile)


def _write_png(path: Path, large: Iterable[np.ndarray], picture: Picture, scale: int) -> None:
    """PNG (ISO/IEC 15948), a band at a time: each row as its difference from the one above (filter 2, "Up")."""
    height, width, channels = picture.pixels.shape
    bits, colour_type = 8 * picture.pixels.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    with path.open("wb") as file:

        def chunk(name: bytes, data: bytes) -> None:
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))

        file.write(b"\x89PNG\r\n\x1a\n")
        chunk(b"IHDR", struct.pack(">IIBBBBB", width * scale, height * scale, bits, colour_type, 0, 0, 0))
        if picture.profile:
            chunk(b"iCCP", b"profile\0\0" + zlib.compress(picture.profile))
        packer = zlib.compressobj(6)
        above = np.zeros((1, width * scale * channels * picture.pixels.itemsize), np.uint8)
        for band in large:
            rows = band.astype(band.dtype.newbyteorder(">")).reshape(len(band), -1).view(np.uint8)
            differences = np.diff(rows, axis=0, prepend=above)  # modulo 256
            chunk(b"IDAT", packer.compress(np.pad(differences, ((0, 0), (1, 0)), constant_values=2).tobytes()))
            above = rows[-1:]
        chunk(b"IDAT", packer.flush())
        chunk(b"IEND", b"")
