"""Grids of a run's folder as pictures within a page: decoded, made smaller where they are large, encoded again."""

import base64
import io
import os
import re
import stat
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from zoo.page import Html, element
from zoo.text import printable

MAX_PIXELS = 100_000_000  # of a grid; 64 images of 1,024 pixels have 67 million
LOSSLESS = 130_000  # pixels of a picture that is kept as it is, to the bit
SMALL = 600  # pixels: a narrower picture is enlarged without smoothing
NUMBERED = re.compile(r"(?:(?P<name>.+)-)?(?P<images>\d{9,15})")


class Picture(NamedTuple):
    """A picture as an address that holds it."""

    address: str
    width: int
    height: int

    def shown(self, alt: str, **attributes: Any) -> Html:
        """Its element; `alt` says what it shows to who can't see it."""
        kind = "pixels" if self.width < SMALL else None
        size = {"width": self.width, "height": self.height}
        return element("img", src=self.address, alt=alt, class_=kind, decoding="async", **size, **attributes)


def picture(path: Path, *, side: int) -> Picture:
    """A PNG file's picture, of at most `side` pixels each way.

    Raises:
        ValueError: if it is none, is damaged, or too large.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # a pipe would never end, a link may lead anywhere
            raise ValueError("it is no file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # they are counted below
            opened = Image.open(path, formats=["PNG"])
        with opened as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"it has {image.width}x{image.height} pixels")
            whole = image.convert("RGB")
        if max(whole.size) > side:
            whole.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        if whole.width * whole.height <= LOSSLESS:
            settings: dict[str, Any] = {"lossless": True, "method": 2}
        else:
            settings = {"quality": 88, "method": 2}
        content = io.BytesIO()
        whole.save(content, "WEBP", **settings)
    except FileNotFoundError:
        raise ValueError(f"{printable(str(path))} is not there") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{printable(str(path))} is passed over: {printable(str(error))}") from None
    return Picture(f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}", *whole.size)


class Grids(NamedTuple):
    """The grids of one preview: those of the run by images, and that of real images."""

    by_images: dict[int, Path]
    real: Path | None


def grids_in(folder: Path) -> dict[str, Grids]:
    """Those of a run's folder `samples`, by the preview's name: "" for samples, "X->Y"."""
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return {}
    numbered: dict[str, dict[int, Path]] = {}
    for entry in entries:
        stem, end = os.path.splitext(entry)
        if end == ".png" and (match := NUMBERED.fullmatch(stem)):
            numbered.setdefault(match["name"] or "", {})[int(match["images"])] = folder / entry
    real = {name: folder / f"{name}-real.png" if name else folder / "real.png" for name in numbered}
    return {
        name.replace("-to-", "->"): Grids(dict(sorted(paths.items())), real[name] if real[name].is_file() else None)
        for name, paths in sorted(numbered.items())
    }


def spread(numbers: Sequence[int], count: int, always: Collection[int] = ()) -> list[int]:
    """At most about `count` of ascending numbers, evenly spread, the first and the last among them, and `always`."""
    if len(numbers) <= count:
        return list(numbers)
    chosen = {round(k * (len(numbers) - 1) / (max(count, 2) - 1)) for k in range(max(count, 2))}
    return [n for k, n in enumerate(numbers) if k in chosen or n in always]
