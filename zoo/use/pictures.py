"""Files of pictures: which go where, how they are read, sheets of images, films. Every file is written whole."""

import errno
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from zoo.atomic import replacing
from zoo.batch import check_numbers, from_bytes, to_bytes
from zoo.data.deep import Refused, ValueRange
from zoo.data.files import find_images
from zoo.data.reading import MAX_PIXELS, fit, opened, picture_named, with_channels

FORMATS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".bmp")  # that are written
DESCRIPTION = 0x010E  # Exif's ImageDescription
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
LEAST = 96  # pixels: smaller images are enlarged to this, by a whole factor, so that a person sees them
GAP = 4  # pixels between the images of a sheet
NAMES = 14  # pixels of the letters of its names


# Files ---------------------------------------------------------------------------------------------------------------


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """As `zoo.atomic.replacing`; a ValueError names the file that can't be written."""
    with _refused(path), replacing(path) as part:
        yield part


def check_place(path: Path, option: str = "-o") -> None:
    """Refuse a file that is a folder, or whose folder can't be made, before the work is done; what is tried leaves
    nothing behind."""
    missing = [folder for folder in path.parents if not os.path.lexists(folder)]
    with _refused(path, option):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        finally:
            for folder in missing:  # the inner ones first
                with suppress(OSError):  # it was not made, or another process has written into it
                    folder.rmdir()


@contextmanager
def _refused(path: Path, option: str = "-o") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{path} can't be written ({error.strerror or error}): give another place, {option}"
        ) from error


def check_picture(path: Path) -> None:
    """Refuse a path that no picture can be written to."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} must be a picture, such as {path.stem}.png")
    check_place(path)


def check_film(path: Path) -> None:
    """Refuse a path that no film can be written to."""
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise ValueError(f"-o {path} must end in .gif or .mp4")
    check_place(path)
    if path.suffix.lower() == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError:
            remedy = "uv pip install imageio-ffmpeg (or gan-zoo[video]), or give -o FILE.gif"
            raise ValueError(f"an MP4 needs ffmpeg: {remedy}") from None


def images_of(source: Path) -> tuple[Path, list[str]]:
    """An image, those of a folder, or a photograph of the package by its name: the folder that they lie in, and their
    names within it.

    Raises:
        ValueError: if there is none.
    """
    source = picture_named(source)
    if not os.path.lexists(source):
        raise ValueError(f"{source} does not exist: give an image, or a folder of images")
    folder, names = (source, find_images(source)) if source.is_dir() else (source.parent, [source.name])
    if not names:
        raise ValueError(f"{source} has no images: give another folder, or an image")
    return folder, names


def results(source: Path, output: Path, option: str = "-o") -> dict[Path, Path]:
    """An image, or those of a folder, and the file for the result of each, within the folder `output`.

    Results keep names and subfolders; .png comes behind an extension that is not one of FORMATS.

    Raises:
        ValueError: if there is no image, `output` is a file or within `source`, or a result would replace another.
    """
    folder, names = images_of(source)
    targets = {name: output / (name if name.lower().endswith(FORMATS) else f"{name}.png") for name in names}
    # Not Path.resolve, for which a link in a circle is an error.
    images = {os.path.realpath(folder / name) for name in names}
    if source.is_dir() and Path(os.path.realpath(output)).is_relative_to(source.resolve()):
        raise ValueError(f"{option} {output} lies within {source}, whose images stay as they are: give another folder")
    if any(os.path.realpath(target) in images for target in targets.values()):
        raise ValueError(f"{option} {output} has the images of {source}, which stay as they are: give another folder")
    if output.is_file():
        raise ValueError(f"{option} {output} is a file: give a folder, the results keep the names of the images")
    written = Counter(targets.values())
    if twice := [name for name, target in targets.items() if written[target] > 1]:
        raise ValueError(f"{', '.join(twice)} would all be written as {targets[twice[0]]}: rename one, or move it away")
    return {folder / name: target for name, target in targets.items()}


# Images in and out ---------------------------------------------------------------------------------------------------


def read(
    path: Path, channels: int, background: tuple[int, int, int], size: int | None = None, value_range: ValueRange = None
) -> Tensor:
    """A file's image as float32 [1, channels, H, W] in [-1, 1], as training images are read (zoo/data/reading.py).

    `background` is laid under transparency, where there is no channel for it; the shorter side is resized to `size`
    pixels; `value_range` becomes black and white. Raises UnreadableImage, with the path and the reason.
    """
    with opened(path, max_pixels=MAX_PIXELS, value_range=value_range) as image:
        image = with_channels(image, channels, background)
        if size is not None:
            scale = size / min(image.size)
            if image.width * image.height * scale**2 > MAX_PIXELS:
                most = int((MAX_PIXELS * min(image.size) / max(image.size)) ** 0.5)
                raise Refused(f"at --size={size} it has more than {MAX_PIXELS:,} pixels: give {most} or less")
            image = fit(image, (round(image.height * scale), round(image.width * scale)), "stretch", background)
        return from_bytes(pil_to_tensor(image)[None])


def read_centre(
    path: Path, channels: int, size: tuple[int, int], value_range: ValueRange = None
) -> tuple[Tensor, list[str]]:
    """A file's centre as float32 [1, channels, *size] in [-1, 1], and what was changed, in words that follow its name.

    Raises:
        ValueError: if there is no such file, or no image in it.
    """
    if not os.path.lexists(path):
        raise ValueError(f"{path} does not exist: give a picture")
    changes, colours, (height, width) = [], "grey" if channels <= 2 else "colour", size
    with opened(path, max_pixels=MAX_PIXELS, value_range=value_range) as image:
        if image.size != (width, height):
            changes.append(f"has {image.width}x{image.height} pixels: its centre, resized to {width}x{height}")
        kind = {"L": "grey", "RGB": "colour"}.get(image.mode, image.mode)
        if kind != colours:
            changes.append(f"is {kind}: made {colours}")
        image = fit(with_channels(image, channels, WHITE), size, "crop", WHITE)
        return from_bytes(pil_to_tensor(image)[None]).contiguous(), changes


def write(image: Tensor, path: Path, about: str = "") -> None:
    """An image [1, C, H, W] in [-1, 1] as a file; formats without transparency get the colours alone.

    `about` goes along as Exif's description, where the format has room for one (all but .bmp).
    """
    picture = to_pil_image(to_bytes(check_numbers(image))[0])
    if path.suffix.lower() in (".jpg", ".jpeg", ".bmp"):
        picture = picture.convert("L" if image.shape[1] < 3 else "RGB")
    exif = Image.Exif()
    if about:
        exif[DESCRIPTION] = about
    save(picture, path, quality=95, **({"exif": exif} if about else {}))


def save(picture: Image.Image, path: Path, **settings: Any) -> None:
    """A picture in the format of its name."""
    with whole(path) as part:
        picture.save(part, **settings)


# Sheets and films ----------------------------------------------------------------------------------------------------


def drawn(images: Tensor, least: int = LEAST) -> np.ndarray:
    """Images [N, C, H, W] in [-1, 1] as uint8 [N, h, w, 3], without alpha; smaller ones than `least` pixels enlarged by
    a whole factor."""
    pixels = to_bytes(check_numbers(images)).cpu()
    pixels = pixels[:, :3] if pixels.shape[1] >= 3 else pixels[:, :1].expand(-1, 3, -1, -1)
    factor = -(-least // min(pixels.shape[2:]))
    return pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3).permute(0, 2, 3, 1).numpy()


def margin(names: Sequence[str]) -> int:
    """Pixels left of the images of a sheet, for the names of its rows."""
    font = ImageFont.load_default(size=NAMES)
    return max((round(font.getlength(name)) + 2 * GAP for name in names), default=GAP)


def sheet(
    rows: Sequence[Sequence[Tensor | None]], left: Sequence[str] = (), above: Sequence[str] = (), least: int = LEAST
) -> Image.Image:
    """Rows of images [C, H, W] in [-1, 1], None for an empty place; names of rows left, of columns above; `least` as of
    `drawn`."""
    font = ImageFont.load_default(size=NAMES)
    shown = [[None if image is None else drawn(image[None], least)[0] for image in row] for row in rows]
    h, w = next(image.shape[:2] for row in shown for image in row if image is not None)
    edge = margin(left)
    head = 24 if any(above) else GAP
    columns = max(len(row) for row in shown)
    paper = Image.new("RGB", (edge + columns * (w + GAP), head + len(shown) * (h + GAP)), WHITE)
    pen = ImageDraw.Draw(paper)
    for i, row in enumerate(shown):
        for j, image in enumerate(row):
            if image is not None:
                paper.paste(Image.fromarray(image), (edge + j * (w + GAP), head + i * (h + GAP)))
    for i, name in enumerate(left):
        pen.text((edge - GAP, head + i * (h + GAP) + h // 2), name, BLACK, font, anchor="rm")
    for j, name in enumerate(above):
        pen.text((edge + j * (w + GAP) + w // 2, head // 2), name, BLACK, font, anchor="mm")
    return paper


def film(strips: Sequence[Tensor], path: Path, *, fps: int) -> int:
    """Images [F, C, H, W] in [-1, 1], a strip beside the other, as .gif, which plays on and on, or .mp4; returns F."""
    check_film(path)
    frames = np.concatenate([drawn(strip) for strip in strips], axis=2)  # [F, h, w, 3]
    with whole(path) as part:
        if path.suffix.lower() == ".gif":
            is_grey = lambda frame: (frame == frame[..., :1]).all()
            first, *others = [Image.fromarray(frame[..., 0] if is_grey(frame) else frame) for frame in frames]
            duration = max(20, round(100 / fps) * 10)  # GIF counts in hundredths, and browsers slow down below two
            first.save(part, save_all=True, append_images=others, duration=duration, loop=0)
            return len(frames)
        import imageio_ffmpeg

        height, width = frames.shape[1:3]
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), constant_values=255)
        size = frames.shape[2], frames.shape[1]  # even, since H.264's colours are of 2x2 pixels
        writer = imageio_ffmpeg.write_frames(str(part), size, fps=fps, quality=8, macro_block_size=2)
        writer.send(None)
        for frame in frames:
            writer.send(frame.tobytes())
        writer.close()
    return len(frames)
