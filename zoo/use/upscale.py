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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from zoo.data.reading import MAX_PIXELS, UnreadableImage, opened, with_channels
from zoo.game.abilities import Upscales
from zoo.use.pictures import FORMATS, WHITE, whole

LOSSY = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}
TIFF = (".tif", ".tiff")
QUALITY = 95  # of JPEG and WebP
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, full swing: equal colours give their level
ORIENTATION = 0x0112  # the EXIF tag


class Network(Upscales, Protocol):
    """What this asks of a model."""

    device: torch.device


@dataclass
class Picture:
    """A file's image."""

    pixels: np.ndarray  # uint8 or uint16 [H, W, C], C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA
    profile: bytes | None = None  # of its colours


# The network, in tiles ----------------------------------------------------------------------------------------------


@torch.inference_mode()
def bands(model: Network, pixels: np.ndarray, *, tile: int) -> Iterator[np.ndarray]:
    """The enlarged image from top to bottom, [s * rows, s * W, C] each, of the type of `pixels`.

    Args:
        model: the network, in evaluation mode.
        pixels: uint8 or uint16 [H, W, C].
        tile: side of a tile, in pixels of the image.

    Raises:
        ValueError: if `tile` is not positive.
    """
    if tile < 1:
        raise ValueError(f"--tile={tile} must be 1 or more pixels")
    scale, reach = model.scale, model.reach
    height, width, channels = pixels.shape
    most = int(np.iinfo(pixels.dtype).max)
    for top in range(0, height, tile):
        bottom = min(top + tile, height)
        band = np.empty(((bottom - top) * scale, width * scale, channels), pixels.dtype)
        y0, y1 = max(top - reach, 0), min(bottom + reach, height)
        for left in range(0, width, tile):
            right = min(left + tile, width)
            x0, x1 = max(left - reach, 0), min(right + reach, width)
            part = torch.from_numpy(pixels[y0:y1, x0:x1].astype(np.float32)).permute(2, 0, 1)
            large = of_any_channels(model, part.to(model.device) * (2 / most) - 1)
            y, x = (top - y0) * scale, (left - x0) * scale
            large = large[:, y : y + len(band), x : x + (right - left) * scale]
            levels = ((large + 1) * (most / 2)).round_().clamp_(0, most)
            band[:, left * scale : right * scale] = levels.permute(1, 2, 0).cpu().numpy().astype(pixels.dtype)
        yield band


def of_any_channels(model: Network, image: Tensor) -> Tensor:
    """An image [C, h, w] in [-1, 1] of 1 to 4 channels -> [C, s*h, s*w], with a network of 1 or 3."""
    colours = image[:1] if len(image) < 3 else image[:3]
    parts = [in_colours(model, colours)]
    if len(image) in (2, 4):
        parts.append(in_colours(model, image[-1:]))
    return torch.cat(parts)


def in_colours(model: Network, image: Tensor) -> Tensor:
    """An image [C, h, w] of 1 or 3 channels -> [C, s*h, s*w]."""
    run = lambda batch: model.upscale(batch.contiguous(memory_format=torch.channels_last)).float()
    if len(image) == model.channels:
        return run(image[None])[0]
    if len(image) == 1:
        large = run(image[None].expand(-1, 3, -1, -1))[0]
        return (large * large.new_tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)
    return run(image[:, None])[:, 0]  # each colour, as a grey image


# Files --------------------------------------------------------------------------------------------------------------


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
        if image.mode in ("F", "I") or image.mode.startswith("I;16"):
            return Picture(_with_key(_grey_levels(image)[:, :, None], key), profile)
        grey, alpha = image.mode in ("1", "L", "LA", "La"), image.has_transparency_data
        if not alpha and image.mode not in ("1", "L", "P", "RGB", "RGBX"):
            profile = None  # CMYK's, Lab's: not of the RGB that it becomes
        pixels = np.array(with_channels(image, (1 if grey else 3) + alpha, WHITE))
    return Picture(pixels if pixels.ndim == 3 else pixels[:, :, None], profile)


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

    Also of grey whose white is 0, which Pillow takes for black.

    Raises:
        UnreadableImage: with the path and the reason.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            if page.bitspersample != 16 or page.dtype != np.uint16:
                return None
            kind, channels = tifffile.PHOTOMETRIC(page.photometric), page.samplesperpixel
            if kind == tifffile.PHOTOMETRIC.MINISBLACK and channels == 1:
                return None
            colours = {"MINISBLACK": 1, "MINISWHITE": 1, "RGB": 3}.get(kind.name, 0)
            if channels - colours not in (0, 1) or not colours:
                raise UnreadableImage(
                    f"{path}: 16-bit {kind.name} of {channels} channels: grey and RGB are read, with or without alpha."
                )
            if page.imagewidth * page.imagelength > MAX_PIXELS:
                raise UnreadableImage(f"{path}: oversized: more than {MAX_PIXELS} pixels.")
            pixels = page.asarray()
            if page.axes.startswith("S"):  # colours in planes
                pixels = np.moveaxis(pixels, 0, 2)
            pixels = pixels.reshape(*pixels.shape[:2], channels)
            if kind == tifffile.PHOTOMETRIC.MINISWHITE:
                pixels = np.concatenate([65535 - pixels[:, :, :1], pixels[:, :, 1:]], 2)
            if page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,):
                pixels = _unmultiplied(pixels)
            profile, orientation = page.tags.get("InterColorProfile"), page.tags.get("Orientation")
            return Picture(
                _upright(pixels, orientation.value if orientation else 1), profile.value if profile else None
            )
    except UnreadableImage:
        raise
    except tifffile.TiffFileError:
        return None  # Pillow says what is wrong with it
    except Exception as error:  # decoders raise nearly every built-in exception when a file is damaged
        raise UnreadableImage(f"{path}: corrupt: {error}.") from None


def _unmultiplied(pixels: np.ndarray) -> np.ndarray:
    """uint16 [H, W, C], whose colours were multiplied by the alpha behind them, without that; 0 where alpha is 0."""
    alpha = pixels[:, :, -1:]
    colours = pixels[:, :, :-1] * (65535 / np.maximum(alpha, 1))
    return np.concatenate([colours.round().clip(0, 65535).astype(np.uint16), alpha], 2)


def _grey_levels(image: Image.Image) -> np.ndarray:
    """uint16 [H, W] of 16-bit grey, or of floats in [0, 1].

    Raises:
        ValueError: the values have no known scale.
    """
    values = np.asarray(image)
    if image.mode == "F":
        if not (values >= 0).all() or not (values <= 1).all():  # also false for NaN
            raise ValueError("floating-point values outside [0, 1]: their scale is not known")
        return (values * 65535).round().astype(np.uint16)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("integers outside 0..65535: their scale is not known")
    return values.astype(np.uint16)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, C] as the EXIF tag says: 2 to 8 are the seven ways to turn and mirror it."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def write(path: Path, large: Iterable[np.ndarray], picture: Picture, scale: int) -> None:
    """Write the bands of an enlarged image in the format of the path's name, one of FORMATS."""
    suffix = path.suffix.lower()
    if suffix == ".png":
        _write_png(path, large, picture, scale)
    else:
        height, width, channels = picture.pixels.shape
        pixels = np.empty((height * scale, width * scale, channels), picture.pixels.dtype)
        row = 0
        for band in large:
            pixels[row : row + len(band)] = band
            row += len(band)
        (_write_tiff if suffix in TIFF else _write_with_pillow)(path, pixels, picture.profile)


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
            lines = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
            lines[:, 0] = 2
            lines[:1, 1:] = rows[:1] - above
            lines[1:, 1:] = rows[1:] - rows[:-1]
            above = rows[-1:]
            chunk(b"IDAT", packer.compress(lines.tobytes()))
        chunk(b"IDAT", packer.flush())
        chunk(b"IEND", b"")


def _write_tiff(path: Path, pixels: np.ndarray, profile: bytes | None) -> None:
    import tifffile

    channels = pixels.shape[2]
    tifffile.imwrite(
        path,
        pixels[:, :, 0] if channels == 1 else pixels,
        photometric="minisblack" if channels < 3 else "rgb",
        planarconfig=None if channels == 1 else "contig",
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        iccprofile=profile,
        metadata=None,
    )


def _write_with_pillow(path: Path, pixels: np.ndarray, profile: bytes | None) -> None:
    """JPEG, WebP or BMP: 8 bit; alpha over white unless it is WebP."""
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)  # L, LA, RGB, RGBA by its channels
    kind = LOSSY[path.suffix.lower()]
    if image.mode in ("LA", "RGBA"):
        colours = image.convert("RGBA")
        if kind != "WEBP":
            colours = Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB")
        image = colours.convert("L") if image.mode == "LA" and kind != "WEBP" else colours
    settings: dict[str, Any] = {} if kind == "BMP" else {"quality": QUALITY}
    if profile and kind != "BMP":
        settings["icc_profile"] = profile
    image.save(path, kind, **settings)


# Together -----------------------------------------------------------------------------------------------------------


def enlarge_file(
    model: Network, source: Path, target: Path, *, tile: int, progress: Callable[[float], None] = lambda share: None
) -> tuple[int, int]:
    """Enlarge one file into another, which is written whole or not at all; its new (width, height).

    Args:
        model: the network, in evaluation mode.
        tile: side of a tile, in pixels of the image.
        progress: told, again and again, what more of the image is done; 1 in all.

    Raises:
        UnreadableImage: if `source` gives no image.
        ValueError: if `target` has a format that can't be written, or that can't hold the result, or is `source`.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"{target} is the image itself: give another name")
    picture, scale = read(source), model.scale
    height, width, _ = picture.pixels.shape
    if target.suffix.lower() not in FORMATS:
        raise ValueError(f"{target}: images are written as {', '.join(FORMATS)}: give one of these extensions")

    def reported() -> Iterator[np.ndarray]:
        for band in bands(model, picture.pixels, tile=tile):
            yield band
            progress(len(band) / (height * scale))

    with whole(target) as part:
        try:
            write(part, reported(), picture, scale)
        except (OSError, SystemError, struct.error) as error:  # what a format refuses: 70,000 pixels of JPEG, say
            raise ValueError(f"{source} can't be written enlarged: {error}") from error
    return width * scale, height * scale
