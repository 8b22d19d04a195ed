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
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from zoo.data.deep import ValueRange, range_of, scaled
from zoo.data.reading import MAX_PIXELS, decoded, plain, ranged, with_channels
from zoo.use.pictures import FORMATS, WHITE, whole

TIFF = (".tif", ".tiff")
QUALITY = 95  # of JPEG and WebP
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, full swing: equal colours give their level


class Picture(NamedTuple):
    """A file's image."""

    pixels: np.ndarray  # uint8 or uint16 [H, W, C], C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA
    profile: bytes | None = None  # of its colours


def enlarge_file(
    model: Any, source: Path, target: Path, *, tile: int, track: Callable[[range], Iterable[int]] = iter
) -> tuple[int, int]:
    """Enlarge one file into another, which is written whole or not at all; its new (width, height).

    Args:
        model: what `Upscales`, in evaluation mode, with its run's settings (`zoo.load`).
        tile: side of a tile, in pixels of the image.
        track: gives back the numbers that it gets, one for each band of tiles, and may show how far they are.

    Raises:
        UnreadableImage: if `source` gives no image.
        ValueError: if `target` has a format that can't be written, or that can't hold the result, or is `source`.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"{target} is the image itself: give another name")
    picture = read(source, range_of(model.config))
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
    scale, reach, grid = model.scale, model.reach, getattr(model, "grid", 1)
    height, width, channels = pixels.shape
    most = int(np.iinfo(pixels.dtype).max)
    for top in track(range(0, height, tile)):
        bottom = min(top + tile, height)
        band = np.empty(((bottom - top) * scale, width * scale, channels), pixels.dtype)
        y0, y1 = max(top - reach, 0) // grid * grid, min(bottom + reach, height)
        for left in range(0, width, tile):
            right = min(left + tile, width)
            x0, x1 = max(left - reach, 0) // grid * grid, min(right + reach, width)
            around = torch.from_numpy(pixels[y0:y1, x0:x1].astype(np.float32)).permute(2, 0, 1)
            part = range(top - y0, bottom - y0), range(left - x0, right - x0)
            large = enlarged(model, around.to(model.device) * (2 / most) - 1, part)
            levels = ((large + 1) * (most / 2)).round_().clamp_(0, most)
            band[:, left * scale : right * scale] = levels.permute(1, 2, 0).cpu().numpy().astype(pixels.dtype)
        yield band


def enlarged(model: Any, image: Tensor, part: tuple[range, range]) -> Tensor:
    """Of an image [C, h, w] in [-1, 1] of 1 to 4 channels a part -> [C, s*rows, s*columns], by a network of 1 or 3."""
    if len(image) in (2, 4):
        return torch.cat([enlarged(model, image[:-1], part), enlarged(model, image[-1:], part)])
    run = lambda batch: model.upscale(batch.contiguous(memory_format=torch.channels_last), part).float()
    if len(image) == model.channels:
        return run(image[None])[0]
    if len(image) == 3:
        return run(image[:, None])[:, 0]  # each colour, as a grey image
    large = run(image[None].expand(-1, 3, -1, -1))[0]
    return (large * large.new_tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)


# Reading ------------------------------------------------------------------------------------------------------------


def read(path: Path, value_range: ValueRange = None) -> Picture:
    """A file's image, upright; `value_range` becomes black and white.

    Raises:
        UnreadableImage: with the path and the reason.
    """
    with decoded(path, max_pixels=MAX_PIXELS, exact=True) as (image, deep):
        if deep is not None:
            return Picture(scaled(deep, value_range, np.uint16), deep.profile)
        assert image is not None
        profile = image.info.get("icc_profile")
        if not image.has_transparency_data and image.mode not in ("1", "L", "P", "RGB", "RGBX"):
            profile = None  # CMYK's, Lab's: not of the RGB that it becomes
        image = plain(ImageOps.exif_transpose(image))
        if isinstance(value_range, tuple):
            image = ranged(image, value_range)
        return Picture(np.atleast_3d(np.array(image)), profile)


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
