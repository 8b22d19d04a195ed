"""Pictures for people to look at: sheets of images with names at their edges, and films. Files are written whole."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zoo.batch import to_bytes

LEAST = 96  # pixels: smaller images are enlarged to this, by a whole factor, so that a person sees them
GAP, PAPER, INK = 4, (255, 255, 255), (0, 0, 0)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place when the block ends well and vanishes when it does not.

    Raises:
        ValueError: if the folder can't be written to.
    """
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    make_folder(path)
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise ValueError(f"{path} can't be written ({error.strerror or error}): give another place, -o") from error
    finally:
        part.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """The folder of a file that is to be written, before the work is done.

    Raises:
        ValueError: if there can't be one.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{path} can't be written ({error.strerror or error}): give another place, -o") from error


def drawn(images: Tensor) -> np.ndarray:
    """Images [N, C, H, W] in [-1, 1] as uint8 [N, h, w, 3], enlarged by a whole factor if small, without alpha."""
    pixels = to_bytes(images).cpu()
    pixels = pixels[:, :3] if pixels.shape[1] >= 3 else pixels[:, :1].expand(-1, 3, -1, -1)
    factor = -(-LEAST // min(pixels.shape[2:]))
    return pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3).permute(0, 2, 3, 1).numpy()


def sheet(
    rows: Sequence[Sequence[Tensor | None]], *, left: Sequence[str] = (), above: Sequence[str] = ()
) -> Image.Image:
    """Rows of images [C, H, W] in [-1, 1], None for an empty place; names of rows left, of columns above."""
    font = ImageFont.load_default(size=14)
    shown = [[None if image is None else drawn(image[None])[0] for image in row] for row in rows]
    h, w = next(image.shape[:2] for row in shown for image in row if image is not None)
    margin = max((round(font.getlength(name)) + 2 * GAP for name in left), default=GAP)
    head = 24 if any(above) else GAP
    columns = max(len(row) for row in shown)
    paper = Image.new("RGB", (margin + columns * (w + GAP), head + len(shown) * (h + GAP)), PAPER)
    pen = ImageDraw.Draw(paper)
    for i, row in enumerate(shown):
        for j, image in enumerate(row):
            if image is not None:
                paper.paste(Image.fromarray(image), (margin + j * (w + GAP), head + i * (h + GAP)))
    for i, name in enumerate(left):
        pen.text((margin - GAP, head + i * (h + GAP) + h // 2), name, INK, font, anchor="rm")
    for j, name in enumerate(above):
        pen.text((margin + j * (w + GAP) + w // 2, head // 2), name, INK, font, anchor="mm")
    return paper


def save(picture: Image.Image, path: Path) -> None:
    """A picture in the format of its name."""
    with whole(path) as part:
        picture.save(part)


def film(frames: Sequence[Image.Image], path: Path, *, fps: int) -> None:
    """Frames as .gif, which plays on and on, or as .mp4.

    Raises:
        ValueError: for another extension; for .mp4 where imageio-ffmpeg is not installed.
    """
    check_film(path)
    with whole(path) as part:
        if path.suffix.lower() == ".gif":
            first, *others = (frame.convert("L") if _grey(frame) else frame for frame in frames)
            duration = max(20, round(100 / fps) * 10)  # GIF counts in hundredths, and browsers slow down below two
            first.save(part, save_all=True, append_images=others, duration=duration, loop=0)
            return
        import imageio_ffmpeg

        width, height = frames[0].size
        size = (width + width % 2, height + height % 2)  # H.264's colours are of 2x2 pixels
        writer = imageio_ffmpeg.write_frames(str(part), size, fps=fps, quality=8, macro_block_size=2)
        writer.send(None)
        for frame in frames:
            padded = Image.new("RGB", size, PAPER)
            padded.paste(frame)
            writer.send(padded.tobytes())
        writer.close()


def check_film(path: Path) -> None:
    """Raises:
    ValueError: if no film can be written to `path`.
    """
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise ValueError(f"-o {path} must end in .gif or .mp4")
    make_folder(path)
    if path.suffix.lower() == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError:
            raise ValueError(
                "an MP4 needs ffmpeg: uv pip install imageio-ffmpeg (or gan-zoo[video]), or give -o FILE.gif"
            ) from None


def _grey(frame: Image.Image) -> bool:
    levels = np.asarray(frame)
    return bool((levels[..., 0] == levels[..., 1]).all() and (levels[..., 1] == levels[..., 2]).all())
