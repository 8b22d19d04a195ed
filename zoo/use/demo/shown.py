"""What a page shows of a trained model: numbers and files of its visitors in, pictures and sentences out.

All that comes from a visitor is a stranger's: numbers are held to their range, files to a size, and read as any image
of this zoo (zoo/data/reading.py). Nothing here is changed by a call, so that several may run at once: a model's
networks are only read, each seed's latents have a generator of their own, and a search has its own gradient.
"""

import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from zoo.batch import check_numbers, from_bytes
from zoo.data.deep import ValueRange, range_of
from zoo.data.reading import UnreadableImage, colour, decoded, fit, opened, with_channels
from zoo.game.abilities import (
    FromLatents,
    Styles,
    Translates,
    Truncates,
    Upscales,
    attributes_of,
    classes_of,
)
from zoo.use import pictures, retouch, sample, score, styles, upscale
from zoo.use.encoder import Encoder, invert
from zoo.use.pictures import GAP, WHITE

OWN, EACH = -1, -2  # in place of a class: of each seed its own; a row of each class
MOST_SEEDS = 64  # images of a grid
MOST_CLASSES = 20  # rows of a grid
MOST_STEPS = 1000  # of a search for styles: arXiv:1912.04958, appendix D
MOST_BYTES = 20 * 2**20  # of a file that a visitor sends: what Gradio in the browser calls 20 MB too
MOST_PIXELS = 25_000_000  # of a picture that is decoded
MOST_SIDE = 20_000  # pixels of its longer side: to resample a line of millions takes gigabytes
LARGEST = 512  # pixels of the longer side of what is translated
EDITED = 1024  # pixels of the longer side of a photograph that is edited: each step of a slider shows all of it
PART = 256  # pixels a side of what is enlarged
TILE = 96  # pixels a side of what is enlarged at a time
LARGE = 256  # pixels of the shorter side: a single image is shown no smaller
LONGEST = 2048  # pixels of the longer side that an image is enlarged to, so that one is seen: a strip stays thin
WIDE = 640  # pixels of a grid's width, about
STRIP = 9  # images on the way from one seed to another
STRENGTH = 4.0  # standard deviations along a direction, at most
DIRECTIONS = 6  # that nobody has named

Track = Callable[[range], Iterable[int]]
Part = Literal["centre", "face"]


class Found(NamedTuple):
    """The styles of a visitor's photograph, and the photograph."""

    ws: Tensor  # [1, num_ws, w_dim]
    part: Tensor  # [1, C, H, W] in [-1, 1]: what the styles were searched for
    photograph: Tensor | None  # [1, c, h, w], EDITED a side at most, where it has more pixels than the model makes
    frame: retouch.Frame | None  # where in it the part lies


@dataclass(frozen=True)
class Looks:
    """How images of latents are asked for."""

    label: int = OWN
    psi: float | None = None  # truncation; None: as the model was configured
    attributes: Sequence[float] = ()


class Shown:
    """A trained model, in evaluation mode, and what helps to show it.

    Args:
        model: with its run's settings (`zoo.load`).
        name: what it is called.
        place: the file or folder that it came from; None: none that could vanish.
        directions: in W, named; None: the strongest, which nobody has named.
        encoder: finds styles at once, where a search starts from it.
        activations: what compares images in a search, beside their pixels.
        normal: scores of normal images, by which others are judged.
        examples: pictures to begin with, where a visitor may drop some.
    """

    def __init__(
        self, model: Any, name: str, place: Path | None = None, *, directions: styles.Directions | None = None,
        encoder: Encoder | None = None, activations: styles.Activations | None = None, normal: Sequence[float] = (),
        examples: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        self.model, self.name, self.place = model, name, place
        self.encoder, self.activations = encoder, activations
        self.normal, self.examples = sorted(normal), list(examples)
        self.classes, self.attributes = classes_of(model), attributes_of(model)
        self.ending = threading.Event()  # set: what is under way shall end
        self._directions, self._finding = directions, threading.Lock()
        self._written = self._stamp()
        self.shape: tuple[int, int, int] | None = None  # channels, height, width of what it makes of latents
        self.num_ws = 0
        if isinstance(model, FromLatents):
            self.shape = tuple(self._drawn([0], Looks(label=OWN, attributes=[0.0] * len(self.attributes))).shape[1:])  # type: ignore[assignment]
        if isinstance(model, Styles):
            self.num_ws, self.w_dim = styles.of_seeds(model, [0]).shape[1:]
            if directions is not None and directions.vectors.shape[1] != self.w_dim:
                raise ValueError(
                    f"the directions are of a model whose styles have {directions.vectors.shape[1]} numbers, and here "
                    f"they have {self.w_dim}: make them anew, zoo directions"
                )

    # What there is to say of it -------------------------------------------------------------------------------------

    @property
    def psi(self) -> float:
        """The truncation of its images."""
        return self.model.truncation if isinstance(self.model, Truncates) else 1.0

    @property
    def can_truncate(self) -> bool:
        return isinstance(self.model, Truncates | Styles)

    def about(self) -> str:
        """What kind of model it is, in a line."""
        kind = getattr(self.model, "variant", type(self.model).__name__)
        words = [kind, f"trained for {self.model.images:,} images"]
        if self.shape:
            channels, height, width = self.shape
            kinds = {1: "grey", 2: "grey with alpha", 3: "in colour", 4: "in colour with alpha"}
            words.append(f"makes images of {width}x{height} pixels, {kinds.get(channels, f'{channels} channels')}")
        if self.classes:
            words.append(f"{len(self.classes)} classes")
        if isinstance(self.model, Upscales):
            words.append(f"enlarges by {self.model.scale}")
        if isinstance(self.model, Translates):
            words.append(f"translates {' and '.join(self.model.directions)}")
        return ", ".join(words)

    @property
    def is_small(self) -> bool:
        """Whether its images are so small that a person wants to see their pixels."""
        sides = list(self.shape or ()) or list(getattr(self.model, "image_shape", ()))
        if not sides and self.examples:
            sides = list(size_of(self.examples[0]))  # the user's own, or of the run's data
        return bool(sides) and max(sides) <= 64

    def notice(self) -> str:
        """What has become of the run since it was read; "" where nothing has."""
        stamp = self._stamp()
        if stamp == self._written:
            return ""
        if stamp is None:
            return (
                f"{self.place} has been deleted or moved since this page was started: it goes on with what it has in "
                "memory, until it is ended"
            )
        return f"{self.place} has been written anew since this page was started: start it again to see that"

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self.place.stat() if self.place else None
        except OSError:
            return None
        return None if status is None else (status.st_mtime_ns, status.st_ino)

    # Images of latents ----------------------------------------------------------------------------------------------

    def grid(self, seed: float, number: float, looks: Looks) -> Image.Image:
        """Images of the seeds from `seed` on, row by row; a row of each class where that is asked for."""
        first, count = whole(seed, "the seed", 0, 2**62), whole(number, "the number of images", 1, MOST_SEEDS)
        columns = self.columns(count, looks)
        if looks.label == EACH:
            seeds = range(first, first + columns)
            rows = [self._drawn(seeds, Looks(k, looks.psi, looks.attributes)) for k in range(len(self._each()))]
            return pictures.sheet([list(row) for row in rows], left=self._each(), least=WIDE // 10)
        images = self._drawn(range(first, first + count), looks)
        return pictures.sheet([list(row) for row in images.split(columns)], least=WIDE // columns)

    def columns(self, count: int, looks: Looks) -> int:
        """Of a grid."""
        return min(count, 8) if looks.label == EACH else math.ceil(math.sqrt(count))

    def at(self, x: float, y: float, number: float, looks: Looks) -> tuple[int, int] | None:
        """Which image of a grid lies at a pixel of it: its seed, from the first on, and its class; None: none does."""
        if self.shape is None:
            return None
        count = whole(number, "the number of images", 1, MOST_SEEDS)
        columns, rows = self.columns(count, looks), self._each() if looks.label == EACH else []
        factor = -(-(WIDE // (10 if rows else columns)) // min(self.shape[1:]))
        column, row = (
            int((at - edge) // (factor * side + GAP))
            for at, edge, side in ((x, pictures.margin(rows), self.shape[2]), (y, GAP, self.shape[1]))
        )
        if not 0 <= column < columns or row < 0:
            return None
        if rows:
            return (column, row) if row < len(rows) else None
        index = row * columns + column
        return (index, looks.label) if index < count else None

    def picked(
        self, place: tuple[int, int] | None, seed: float, number: float, looks: Looks
    ) -> tuple[Image.Image, str]:
        """An image of a grid, large, that `at` has named, the first where there is none; and which one it is."""
        first, count = whole(seed, "the seed", 0, 2**62), whole(number, "the number of images", 1, MOST_SEEDS)
        index, label = place or (0, OWN)
        if looks.label == EACH:
            looks, count = Looks(label, looks.psi, looks.attributes), self.columns(count, looks)
        index = index if index < count else 0
        of_class = self._label(looks.label)
        name = "" if of_class is None else f", {self.classes[of_class]}"
        return self.one(first + index, looks), f"seed {first + index}{name}"

    def one(self, seed: float, looks: Looks) -> Image.Image:
        """The image of a seed, large."""
        looks = Looks(OWN if looks.label == EACH else looks.label, looks.psi, looks.attributes)
        return large(self._drawn([whole(seed, "the seed", 0, 2**62)], looks))

    def walk(self, a: float, b: float, t: float, looks: Looks) -> Image.Image:
        """The image of one seed, that at t of the way to another one's, and that one's."""
        return pictures.sheet(
            [list(self._walked(a, b, [0.0, t, 1.0], looks))],
            above=("first", f"{t:.2f} of the way", "second"),
            least=LARGE,
        )

    def strip(self, a: float, b: float, looks: Looks) -> Image.Image:
        """The way from one seed to another in equal steps."""
        return pictures.sheet([list(self._walked(a, b, [k / (STRIP - 1) for k in range(STRIP)], looks))])

    @torch.no_grad()
    def _walked(self, a: float, b: float, ts: Sequence[float], looks: Looks) -> Tensor:
        """Images on the way from seed to seed: straight in W where there are styles, else in Z."""
        seeds = [whole(seed, "the seed", 0, 2**62) for seed in (a, b)]
        ts = [within(t, "the way", 0, 1) for t in ts]
        psi = self._psi(looks.psi)
        if isinstance(self.model, Styles):
            ends = styles.of_seeds(self.model, seeds, self._label(looks.label), psi)
            return styles.render(self.model, torch.cat([styles.lerp(ends[:1], ends[1:], t) for t in ts]))
        ends = self.model.latent_of(seeds)
        z = torch.cat([styles.slerp(ends[:1], ends[1:], t) for t in ts])
        labels: Tensor | None = None
        if self.classes:  # which do not change on the way
            label = self._label(looks.label)
            labels = torch.full((len(z),), seeds[0] % len(self.classes) if label is None else label, device=z.device)
        if self.attributes:
            labels = torch.tensor([self._vector(looks.attributes)], device=z.device).expand(len(z), -1)
        if isinstance(self.model, Truncates):
            images = self.model.truncated(z, labels, self.psi if psi is None else psi)
        else:
            images = self.model.from_latents(z, labels)
        return check_numbers(images).clamp(-1, 1).float().cpu()

    def _drawn(self, seeds: Sequence[int], looks: Looks) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] of seeds."""
        label: Any = self._vector(looks.attributes) if self.attributes else self._label(looks.label)
        psi = self._psi(looks.psi) if isinstance(self.model, Truncates) else None
        return sample.draw(self.model, seeds, label, psi) * 2 - 1

    def _label(self, label: int) -> int | None:
        if label == OWN or not self.classes:
            return None
        return whole(label, "the class", 0, len(self.classes) - 1)

    def _each(self) -> list[str]:
        if not 1 <= len(self.classes) <= MOST_CLASSES:
            raise ValueError(f"{len(self.classes)} classes are no rows of a grid: choose one")
        return self.classes

    def _psi(self, psi: float | None) -> float | None:
        return None if psi is None else within(psi, "the truncation", 0, 2)

    def _vector(self, values: Sequence[float]) -> list[float]:
        if len(values) != len(self.attributes):
            raise ValueError(f"{len(values)} values for {len(self.attributes)} attributes: give one for each")
        return [float(within(value, name, -10, 10)) for name, value in zip(self.attributes, values, strict=True)]

    # Styles ---------------------------------------------------------------------------------------------------------

    def mixture(self, rows: str, columns: str, layers: str, looks: Looks) -> Image.Image:
        """Images of the seeds `rows` on the left, with some layers' styles from those of `columns` above."""
        left, above = (
            styles.ranges(text, name) for text, name in ((rows, "seeds on the left"), (columns, "seeds above"))
        )
        for numbers, name in ((left, "on the left"), (above, "above")):
            if len(numbers) > 8:
                raise ValueError(f"{len(numbers)} seeds {name} are too many for the page: give 8 at most")
        bands = styles.BANDS if layers == "each" else (layers,)
        chosen = {band: self._layers(band) for band in bands}
        return styles.mix_sheet(
            self.model, left, above, chosen, label=self._label(looks.label), truncation=self._psi(looks.psi)
        )

    def directions(self) -> styles.Directions:
        """Those that there are to edit along."""
        with self._finding:  # the first to ask waits, the others with it
            if self._directions is None:
                self._directions = styles.unnamed(self.model, "factorize", DIRECTIONS)
            return self._directions

    def moved(self, seed: float, strengths: Sequence[float], layers: str, looks: Looks) -> Image.Image:
        """The image of a seed, and the same moved along each direction by its strength."""
        ws = styles.of_seeds(
            self.model, [whole(seed, "the seed", 0, 2**62)], self._label(looks.label), self._psi(looks.psi)
        )
        images = styles.render(self.model, torch.cat([ws, self._along(ws, strengths, layers)]))
        return pictures.sheet([list(images)], above=("as it is", "moved"), least=LARGE)

    def _along(self, ws: Tensor, strengths: Sequence[float], layers: str) -> Tensor:
        directions = self.directions()
        if len(strengths) != len(directions.names):
            raise ValueError(f"{len(strengths)} strengths for {len(directions.names)} directions: give one for each")
        chosen = self._layers(layers)
        for name, strength in zip(directions.names, strengths, strict=True):
            ws = styles.edit(
                ws, directions[name], within(strength, f"the strength of {name}", -STRENGTH, STRENGTH), chosen
            )
        return ws

    def _layers(self, text: str) -> list[int]:
        if text not in (*styles.BANDS, "all"):
            raise ValueError(f"the layers {text} are none of {', '.join(styles.BANDS)}, all")
        return styles.layers(text, self.num_ws)

    def found(
        self, file: Path, *, part: Part, steps: float, plus: bool, label: int = OWN, track: Track | None = None
    ) -> tuple[Found, Image.Image, str]:
        """The styles of a photograph; it beside what the model makes of them, and how near that is."""
        count = whole(steps, "the steps", 0 if self.encoder else 1, MOST_STEPS)
        if part not in ("centre", "face"):
            raise ValueError(f"what is edited is centre or face, and not {part}")
        assert self.shape is not None
        channels, *sides = self.shape
        size, value_range = (sides[0], sides[1]), range_of(self.model.config)
        check_file(file)
        frame, photograph = None, None
        with opened(file, max_pixels=MOST_PIXELS, value_range=value_range) as image:
            own = 1 if image.mode in ("1", "L", "LA", "La") else 3
            width, height = with_channels(image, own, WHITE).size  # upright
            is_larger = width >= size[1] and height >= size[0] and (width, height) != (size[1], size[0])
        if is_larger:
            photograph = self._read(file, own, WHITE, value_range)[0]
            whole_size = photograph.shape[2], photograph.shape[3]
            frame = retouch.Frame.whole(whole_size, size)
            if part == "face":
                try:
                    frame = retouch.find_face(photograph, size)
                except ValueError:
                    raise ValueError(
                        "no upright face from the front is found: take the centre of the picture"
                    ) from None
            frame.check(size)
            target = retouch.cut(self._read(file, channels, WHITE, value_range)[0], frame, size)
        else:
            target, _ = pictures.read_centre(file, channels, size, value_range)
        reduced = ""
        if photograph is not None and frame is not None and max(width, height) > EDITED:
            photograph, frame = smaller(photograph, frame, EDITED)
            seen = f"{photograph.shape[3]}x{photograph.shape[2]} of {width}x{height} pixels"
            reduced = f"; in its place in {seen}: zoo edit keeps the size"
        of_class = self._label(label)
        start = None if self.encoder is None else invert(self.encoder, target, self.num_ws)
        projection = styles.project(
            self.model, target, steps=count, plus=bool(plus), activations=self.activations, label=of_class, start=start,
            track=self.tracked(track),
        )  # fmt: skip
        picture = pictures.sheet([[target[0], projection.image[0]]], above=("yours", "the model's"), least=LARGE)
        words = f"{projection.psnr:.1f} dB after {count} steps{reduced}"
        return Found(projection.ws, target, photograph, frame), picture, words

    def retouched(
        self, found: Found, strengths: Sequence[float], layers: str
    ) -> tuple[Image.Image, Image.Image | None]:
        """What was found, moved along the directions; and the whole photograph with that in its place."""
        ws = torch.cat([found.ws, self._along(found.ws, strengths, layers)]).to(self.model.device)
        before, after = styles.render(self.model, ws).split(1)
        picture = pictures.sheet(
            [[found.part[0], before[0], after[0]]], above=("yours", "the model's", "moved"), least=LARGE
        )
        if found.photograph is None or found.frame is None:
            return picture, None
        return picture, large(retouch.paste(found.photograph, found.frame, after, before, how="change"))

    # Images of images -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def translated(self, file: Path, direction: str) -> tuple[Image.Image, Image.Image | None, str]:
        """A picture translated, the same translated back where the model can, and what was changed before."""
        directions = self.model.directions
        if direction not in directions:
            raise ValueError(f"the direction {direction} is none of {', '.join(directions)}")
        background = colour((self.model.config.get("data") or {}).get("background", "white"))
        value_range = range_of(self.model.config, domain="XY".index(direction[0]))
        image, changed = self._read(file, directions[direction], background, value_range, longest=LARGEST)
        there = self.model.translate(image, direction)
        back, home = direction[::-1].replace(">-", "->"), None
        if back in directions and directions[back] == there.shape[1]:
            home = large(self.model.translate(there, back).cpu())
        return large(there.cpu()), home, changed

    def enlarged(self, file: Path, track: Track | None = None) -> tuple[tuple[Image.Image, Image.Image], str]:
        """A picture enlarged by interpolation, as large as by the model, and that; and what is shown of it."""
        check_file(file)
        picture = upscale.read(file, range_of(self.model.config))
        height, width, _ = picture.pixels.shape
        top, left = (max(side - PART, 0) // 2 // self.model.grid * self.model.grid for side in (height, width))
        pixels = np.ascontiguousarray(picture.pixels[top : top + PART, left : left + PART])
        large_pixels = np.concatenate(list(upscale.bands(self.model, pixels, tile=TILE, track=self.tracked(track))))
        before, after = (in_colours(array) for array in (pixels, large_pixels))
        before = before.resize(after.size, Image.Resampling.BICUBIC)
        said = f"{pixels.shape[1]}x{pixels.shape[0]} pixels to {after.width}x{after.height}"
        if pixels.shape != picture.pixels.shape:
            said = f"the middle of {width}x{height} pixels, {said}; zoo upscale enlarges the whole"
        factor = times(after.size, 2 * LARGE)
        if factor > 1:  # so that a person sees it
            size = after.width * factor, after.height * factor
            before, after = (image.resize(size, Image.Resampling.NEAREST) for image in (before, after))
        return (before, after), said

    @torch.no_grad()
    def scored(self, file: Path) -> tuple[Image.Image, Image.Image, str]:
        """A picture as the model sees it, where it is unusual, and how much it is."""
        check_file(file)
        data = self.model.config.get("data") or {}
        read = score.reader(self.model, None if data.get("fit") else "crop")
        image = read(file)
        value = float(score.scores_of(self.model, image))
        heat = score.heat(self.model.residual(image.to(self.model.device)))
        factor = -(-LARGE // min(heat.size))
        heat = heat.resize((heat.width * factor, heat.height * factor), Image.Resampling.NEAREST)
        said = f"score {value:.4g} (the higher, the less usual)"
        if self.normal:
            share = sum(normal < value for normal in self.normal) / len(self.normal)
            said += f", above that of {share:.0%} of {len(self.normal)} normal test images"
        return large(image), heat, said

    def _read(
        self, file: Path, channels: int, background: tuple[int, int, int], value_range: ValueRange,
        longest: int | None = None,
    ) -> tuple[Tensor, str]:  # fmt: skip
        """A visitor's picture as [1, C, H, W] in [-1, 1], and what was changed, "" where nothing was."""
        check_file(file)
        with opened(file, max_pixels=MOST_PIXELS, value_range=value_range) as image:
            image = with_channels(image, channels, background)
            width, height = image.size
            changed = ""
            if longest is not None and max(width, height) > longest:
                scale = longest / max(width, height)
                image = fit(image, (max(1, round(height * scale)), max(1, round(width * scale))), "stretch", background)
                small = f"{image.width}x{image.height} of {width}x{height} pixels"
                changed = f"made smaller before, {small}: zoo translate keeps the size"
            array = np.atleast_3d(np.asarray(image))
        return from_bytes(torch.tensor(array).permute(2, 0, 1)[None]).contiguous(), changed

    def tracked(self, track: Track | None) -> Track:
        """Ends what is under way when the page ends."""

        def steps(numbers: range) -> Iterator[int]:
            for number in track(numbers) if track else numbers:
                if self.ending.is_set():
                    raise ValueError("the page has been ended")
                yield number

        return steps


# Numbers, files, pictures -------------------------------------------------------------------------------------------


def within(value: Any, name: str, low: float, high: float) -> float:
    """A visitor's number, in its range; a ValueError where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:  # NaN is not
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, and is {value}")
    return value


def whole(value: Any, name: str, low: int, high: int) -> int:
    """The same, of whole numbers."""
    if value != int(within(value, name, low, high)):
        raise ValueError(f"{name} must be a whole number, and is {value}")
    return int(value)


def check_file(file: Path) -> None:
    """Refuse a visitor's file that is too large, or no picture, before its pixels are decoded."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"{file} has more than {MOST_BYTES >> 20} MB: make it smaller")
        width, height = size_of(file)
        if max(width, height) > MOST_SIDE:
            raise ValueError(
                f"{file} has {width}x{height} pixels, too long for the page: cut it, to {MOST_SIDE:,} a side at most"
            )
    except OSError:
        raise ValueError(f"{file} is not there any more: drop the picture again") from None
    except UnreadableImage as error:
        size = re.search(r"oversized: (\d+x\d+) pixels", str(error))
        if size is None:
            raise
        raise ValueError(
            f"{file} has {size[1]} pixels, too many for the page: make it smaller, {MOST_PIXELS:,} at most"
        ) from None


def smaller(photograph: Tensor, frame: retouch.Frame, longest: int) -> tuple[Tensor, retouch.Frame]:
    """A photograph [1, C, H, W] with `longest` pixels on its longer side, and the same part of it."""
    scale = longest / max(photograph.shape[2:])
    height, width = (max(1, round(side * scale)) for side in photograph.shape[2:])
    photograph = F.interpolate(photograph, size=(height, width), mode="bicubic", antialias=True).clamp(-1, 1)
    x, y, across, along = (value * scale for value in (frame.x, frame.y, frame.width, frame.height))
    return photograph, retouch.Frame(x, y, across, along, frame.angle)


def times(size: Sequence[int], least: int) -> int:
    """By which whole factor an image is enlarged to be seen: `least` pixels a side, where it is no long strip."""
    return max(1, min(-(-least // min(size)), LONGEST // max(size)))


def size_of(file: Path) -> tuple[int, int]:
    """Width and height of an image's file, whose pixels are not decoded where they are of 8 bits.

    Raises:
        UnreadableImage: as `zoo.data.reading.decoded`.
    """
    with decoded(file, max_pixels=MOST_PIXELS, load=False) as (image, deep):
        if deep is not None:
            return deep.values.shape[1], deep.values.shape[0]
        assert image is not None
        return image.size


def large(image: Tensor) -> Image.Image:
    """One image [1, C, H, W] in [-1, 1] so that a person sees it."""
    sides = image.shape[2:]
    return Image.fromarray(pictures.drawn(image.clamp(-1, 1), min(sides) * times(sides, LARGE))[0])


def in_colours(pixels: np.ndarray) -> Image.Image:
    """uint8 or uint16 [H, W, C] as RGB, transparency laid over white."""
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return with_channels(image, 3, WHITE)
