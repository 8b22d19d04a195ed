"""What one does with a trained generator's latent spaces: walks, mixtures, projections, directions, edits.

Symbols
    z      latent, N(0, I), [N, latent_dim]
    w      style: what the mapping network makes of z, [N, w_dim]
    ws     one w for each layer that a style enters, [N, num_ws, w_dim]: all equal for an image of one seed (W), or
           each its own (W+)

Walks       linear in W; in Z along great circles (Shoemake 1985; White 2016, arXiv:1609.04468).
Mixtures    Karras et al. 2019, arXiv:1812.04948, section 3.1 and Figure 3.
Projection  Karras et al. 2020, arXiv:1912.04958, appendix D; W+ after Abdal et al. 2019, arXiv:1904.03189.
            Departs: the distance is that of a classifier of this zoo, or of pixels alone, since LPIPS needs weights to
            be downloaded; the noise maps stay as they are, so that the styles alone give the image again.
Directions  closed-form factorisation (SeFa): Shen & Zhou 2021, arXiv:2007.06600; principal components (GANSpace):
            Härkönen et al. 2020, arXiv:2004.02546; of an attribute, a linear model after Shen et al. 2020,
            arXiv:1907.10786. All have length 1, and a strength of 1 is one standard deviation of w along them.

A model is one that declares `Styles`.
"""

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from PIL.Image import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from zoo.game.abilities import Styles
from zoo.use.pictures import sheet, whole

BANDS = ("coarse", "middle", "fine")
BATCH = 64  # images made at a time
SAMPLES = 10_000  # styles that tell where W lies: arXiv:1912.04958, appendix D
Activations = Callable[[Tensor], Sequence[Tensor]]  # images [N, C, H, W] in [-1, 1] -> [N, c, h, w] or [N, c] each
Measure = Callable[[Tensor], Tensor]  # images [N, C, H, W] in [-1, 1] -> float [N]
Method = Literal["factorize", "pca"]  # the axes of the weights (SeFa), or those of W (GANSpace)
Track = Callable[[range], Iterable[int]]  # gives back the numbers that it gets, and may show how far they are


# Images and numbers --------------------------------------------------------------------------------------------------


@torch.no_grad()
def render(model: Styles, ws: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] of ws [N, num_ws, w_dim], on the CPU, a batch at a time."""
    return torch.cat([model.from_styles(part).clamp(-1, 1).cpu() for part in ws.split(BATCH)])


def of_seeds(model: Styles, seeds: Sequence[int], label: int | None = None, truncation: float | None = None) -> Tensor:
    """The styles ws [N, num_ws, w_dim] of seeds, of one class or (None) of each seed its own.

    A truncation psi draws them towards their mean: 1 not at all, 0 all the way.
    """
    ws = model.styles(list(seeds), None if label is None else [label] * len(seeds))
    return ws if truncation is None else model.truncate(ws, truncation)


@torch.no_grad()
def spread(model: Styles, number: int = SAMPLES, label: int | None = None) -> Tensor:
    """The styles w [number, w_dim] of the seeds from 0 on, on the CPU."""
    parts = [range(start, min(start + 1000, number)) for start in range(0, number, 1000)]
    return torch.cat([of_seeds(model, part, label)[:, 0].float().cpu() for part in parts])


def ranges(text: str, name: str) -> list[int]:
    """The numbers that a text such as "0-7,12" means, in its order.

    Raises:
        ValueError: naming what is no number or range from 0 on.
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if not (first.isdecimal() and (last.isdecimal() if dash else True)):
            raise ValueError(f"{name}={text}: {part.strip() or 'nothing'!r} is no number or range: give 0-7,12")
        if dash and int(last) < int(first):
            raise ValueError(f"{name}={text}: {part.strip()} runs backwards: give {last}-{first}")
        if max(int(first), int(last or 0)) >= 2**62 or (dash and int(last) - int(first) >= 1_000_000):
            raise ValueError(f"{name}={text}: {part.strip()} is too large: below 2**62, and a million at a time")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def layers(text: str, num_ws: int) -> list[int]:
    """The layers that a text means: "all", a band, or numbers from 0 on such as "2-5".

    The bands are thirds of the layers. The paper's are 4 to 8, 16 to 32 and 64 to 1024 pixels, of which a network of 32
    pixels has no fine ones.

    Raises:
        ValueError: for layers that the network does not have.
    """
    if text == "all":
        return list(range(num_ws))
    if text in BANDS:
        third = BANDS.index(text)
        return list(range(round(num_ws * third / 3), round(num_ws * (third + 1) / 3)))
    try:
        chosen = ranges(text, "--layers")
    except ValueError:
        raise ValueError(f"--layers={text} must be {', '.join(BANDS)}, all, or numbers such as 2-5") from None
    if max(chosen) >= num_ws:
        raise ValueError(f"--layers={text}: this model has layers 0 to {num_ws - 1}")
    return chosen


# Walks ---------------------------------------------------------------------------------------------------------------


def lerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """(1 - t) a + t b, exactly a at t = 0."""
    return a + t * (b - a)


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """From a [..., d] at t = 0 to b at t = 1 along the circle through both: sin((1-t)O)/sin(O) a + sin(tO)/sin(O) b.

    O is the angle between them. Linear where that is 0 or a half turn, for which there is no one circle.
    """
    cosine = F.cosine_similarity(a, b, dim=-1).clamp(-1, 1)[..., None]
    angle = torch.arccos(cosine)
    sine = torch.sin(angle)
    curved = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / sine
    return torch.where(sine > 1e-4, curved, lerp(a, b, t))


def walk(keys: Tensor, frames: int, *, loop: bool, between: Callable[[Tensor, Tensor, float], Tensor]) -> Tensor:
    """Points [F, ...] on the way through keys [K, ...], two or more: `frames` steps from each to the next.

    F = (K - 1) * frames + 1, the last being the last key; with `loop` F = K * frames, and the next step after the last
    would be the first key again.
    """
    if len(keys) < 2:
        raise ValueError("a walk needs two seeds or more: --seeds 0-5")
    if frames < 1:
        raise ValueError(f"--frames={frames} must be 1 or more: steps from each seed to the next")
    ends = torch.roll(keys, -1, 0) if loop else keys[1:]
    steps = [between(a, b, k / frames) for a, b in zip(keys, ends, strict=False) for k in range(frames)]
    return torch.stack(steps if loop else [*steps, keys[-1]])


@torch.no_grad()
def interpolate(
    model: Any, seeds: Sequence[int], frames: int, *, space: str = "w", loop: bool = False,
    label: int | None = None, truncation: float | None = None,
) -> Tensor:  # fmt: skip
    """Images [F, C, H, W] in [-1, 1], on the CPU, of a `walk` from seed to seed.

    In W by a model that has `Styles`, there with a truncation psi; in Z by one that makes images `FromLatents`, which
    needs the label where there are classes.
    """
    if space == "w":
        return render(model, walk(of_seeds(model, seeds, label, truncation), frames, loop=loop, between=lerp))
    parts = walk(model.latent_of(seeds), frames, loop=loop, between=slerp).split(BATCH)
    labels = lambda z: None if label is None else torch.full((len(z),), label, device=z.device)
    return torch.cat([model.from_latents(z, labels(z)).clamp(-1, 1).cpu() for z in parts])


# Mixtures ------------------------------------------------------------------------------------------------------------


def mix(rows: Tensor, columns: Tensor, chosen: Sequence[int]) -> Tensor:
    """Each of rows [R, num_ws, w_dim] with the chosen layers from each of columns [C, ...]: [R, C, num_ws, w_dim]."""
    mixed = rows[:, None].expand(-1, len(columns), -1, -1).clone()
    mixed[:, :, list(chosen)] = columns[None, :, list(chosen)]
    return mixed


def mix_sheet(
    model: Styles, rows: Sequence[int], columns: Sequence[int], bands: Mapping[str, Sequence[int]], *,
    label: int | None = None, truncation: float | None = None,
) -> Image:  # fmt: skip
    """Images of the seeds `rows` on the left, with some layers from those of `columns` above: 2019, Figure 3.

    For each of `bands`, layers by name, there is a row for each of `rows`.
    """
    of_rows, of_columns = (of_seeds(model, seeds, label, truncation) for seeds in (rows, columns))
    left, above = render(model, of_rows), render(model, of_columns)
    grid: list[list[Tensor | None]] = [[None, *above]]
    for chosen in bands.values():
        mixed = render(model, mix(of_rows, of_columns, chosen).flatten(0, 1)).unflatten(0, (len(rows), len(columns)))
        grid += [[source, *row] for source, row in zip(left, mixed, strict=True)]
    names = [f"{band} {seed}" for band in bands for seed in rows]
    return sheet(grid, left=["", *names], above=["", *map(str, columns)])


# Projection ----------------------------------------------------------------------------------------------------------


class Projection(NamedTuple):
    """The styles whose image is nearest to a picture."""

    ws: Tensor  # [1, num_ws, w_dim], on the CPU
    image: Tensor  # [1, C, H, W] in [-1, 1], on the CPU
    psnr: float  # dB, of levels in [0, 1]
    distance: float  # of activations, 0 for the same image; of a pyramid of pixels where there are none
    start: float  # the same distance at the styles' mean, where the search begins


def pixels(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of images [N, C, H, W] in [-1, 1], averaged over halvings down to 4 pixels, [N]."""
    terms = [(a - b).square().mean((1, 2, 3))]
    while min(a.shape[2:]) >= 8:
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        terms.append((a - b).square().mean((1, 2, 3)))
    return torch.stack(terms).mean(0)


def perceptual(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Squared difference of activations, each of length 1 over its channels, averaged over places and layers, [N].

    Zhang et al. 2018, arXiv:1801.03924, equation 1, with all weights 1.
    """
    unit = lambda x: F.normalize(x, dim=1)
    terms = [(unit(x) - unit(y)).square().sum(1).reshape(len(x), -1).mean(1) for x, y in zip(a, b, strict=True)]
    return torch.stack(terms).mean(0)


def project(
    model: Styles, image: Tensor, *, steps: int = 1000, plus: bool = False, activations: Activations | None = None,
    label: int | None = None, seed: int = 0, start: Tensor | None = None, track: Track = iter,
) -> Projection:  # fmt: skip
    """Search the styles whose image is nearest to `image`: arXiv:1912.04958, appendix D, and its numbers.

    w starts at the mean of 10,000 samples. Noise of 0.05 of their standard deviation, falling to 0 over the first three
    quarters, keeps the search from the nearest hollow. Adam's rate, 0.1, ramps up over the first 5 % and falls as a
    cosine over the last 25 %.

    Args:
        image: [1, C, H, W] in [-1, 1]; a ValueError if the model makes images of another shape.
        steps: of Adam.
        plus: search W+, a style for each layer: nearer to the image, and less good to edit.
        activations: what is compared beside pixels.
        label: the class, for class-conditional models.
        seed: of the noise.
        start: ws [1, num_ws, w_dim] of an encoder, near which the search stays: it has no noise, and a rate of 0.02.
    """
    w = spread(model, label=label)
    mean = w.mean(0)
    deviation = (w - mean).square().sum(1).mean().sqrt()
    middle = of_seeds(model, [0], label).detach()
    middle = mean.to(middle).expand_as(middle)  # [1, num_ws, w_dim]
    begin, top, noisy = (middle, 0.1, 0.05) if start is None else (start.to(middle), 0.02, 0.0)
    image = image.to(middle)
    made = render(model, middle).shape
    if made != image.shape:
        raise ValueError(f"the image is {list(image.shape)}, and this model makes {list(made)}: resize it")

    with torch.no_grad():
        target = activations(image) if activations else ()

    def distances(fake: Tensor) -> list[Tensor]:
        return [pixels(fake, image), *([perceptual(activations(fake), target)] if activations else [])]

    latent = (begin if plus else begin[:, :1]).clone().requires_grad_(True)
    adam = torch.optim.Adam([latent], lr=top, betas=(0.9, 0.999))
    random = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        for step in track(range(steps)):
            t = step / steps
            ramp, fall = min(1, t / 0.05), 0.5 - 0.5 * math.cos(math.pi * min(1, (1 - t) / 0.25))
            adam.param_groups[0]["lr"] = top * ramp * fall
            scale = noisy * float(deviation) * max(0, 1 - t / 0.75) ** 2
            noise = torch.randn(latent.shape, generator=random).to(latent) * scale
            loss = sum(distances(model.from_styles((latent + noise).expand_as(middle))))
            (latent.grad,) = torch.autograd.grad(loss.sum(), latent)  # type: ignore[union-attr]
            adam.step()

    with torch.no_grad():
        ws = latent.expand_as(middle).contiguous()
        nearest, first = (model.from_styles(x).clamp(-1, 1) for x in (ws, middle))
        error = float((nearest - image).square().mean()) / 4  # levels in [0, 1]
        psnr = -10 * math.log10(error) if error else math.inf
        before, after = (float(distances(x)[-1]) for x in (first, nearest))
    return Projection(ws.cpu(), nearest.cpu(), psnr, after, before)


# Directions ----------------------------------------------------------------------------------------------------------


@dataclass
class Directions:
    """Directions in W, each with its name, and their file."""

    names: list[str]
    vectors: Tensor  # [n, w_dim], of length 1
    sigmas: Tensor  # [n]: the standard deviation of w along each
    about: dict[str, str] = field(default_factory=dict)  # their method

    def index(self, name: str) -> int:
        """The position of a name, or of a number as text; a ValueError naming all if there is none of that."""
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and int(name) < len(self.names):
            return int(name)
        raise ValueError(f"there is no direction {name}: choose from {', '.join(self.names)}")

    def __getitem__(self, name: str) -> Tensor:
        """One direction, by name or number, its length a standard deviation, [w_dim]; raises as `index`."""
        return self.vectors[self.index(name)] * self.sigmas[self.index(name)]

    @classmethod
    def of(cls, names: Sequence[str], vectors: Tensor, w: Tensor, **about: str) -> "Directions":
        """Directions [n, w_dim] of any length, with the standard deviation along each of the samples w [N, w_dim]."""
        vectors = F.normalize(vectors.float(), dim=1)
        return cls(list(names), vectors, ((w - w.mean(0)) @ vectors.T).std(0), about)

    def save(self, path: Path) -> None:
        """As safetensors: `vectors`, `sigmas`, and the names as JSON in the file's metadata."""
        tensors = {"vectors": self.vectors.contiguous(), "sigmas": self.sigmas.contiguous()}
        with whole(path) as part:
            save_file(tensors, part, {"names": json.dumps(self.names), **self.about})

    @classmethod
    def load(cls, path: Path) -> "Directions":
        """Of a file that `save` wrote; a ValueError if it is not one."""
        tensors, about = _tensors(path, {"vectors": 2, "sigmas": 1}, "zoo directions")
        try:
            names = json.loads(about.pop("names", ""))
        except (ValueError, RecursionError):
            names = None
        named = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not named or len(names) != len(tensors["vectors"]) or len(names) != len(tensors["sigmas"]):
            raise ValueError(f"{path} does not name its directions: make it anew, zoo directions RUN -o {path}")
        return cls(names, tensors["vectors"], tensors["sigmas"], about)


@torch.no_grad()
def unnamed(model: Styles, method: Method, n: int, *, label: int | None = None) -> Directions:
    """The n strongest directions, named by their numbers.

    factorize  arXiv:2007.06600, equation 8: what changes most what the layers make of w, A their weights, one below the
               other
    pca        arXiv:2004.02546, section 2.1: along which w varies most, A samples of w without their mean
    """
    w = spread(model, label=label)
    if method == "pca":
        a = w.double() - w.double().mean(0)
    else:
        a = torch.cat([weight.double().cpu() for weight in model.modulations()])
    vectors = principal(a, min(n, w.shape[1]))
    return Directions.of(list(map(str, range(len(vectors)))), vectors, w, method=method)


def principal(a: Tensor, n: int) -> Tensor:
    """The n eigenvectors of A^T A with the largest values, [n, d], of A [N, d] float64.

    Their largest entries are positive: an eigenvector's sign is the library's whim.
    """
    vectors = torch.linalg.eigh(a.T @ a).eigenvectors.flip(1).T[:n]
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return (vectors * largest.sign()).float()


FEWEST = 5  # examples of each class, so that one can be held out


class Learned(NamedTuple):
    """A direction learned from examples, and how well it tells examples that it did not see."""

    vector: Tensor  # [w_dim], towards larger values, of length 1
    correlation: float  # of prediction and value on the fifth held out
    accuracy: float | None  # on that fifth, where values are two classes
    chance: float | None  # what always naming the more frequent class would reach


def learn(w: Tensor, values: Tensor, *, seed: int = 0, of: str = "seeds with a value") -> Learned:
    """Which way in W the values grow: linear regression on four fifths of w [N, w_dim] and values [N].

    Ridge regression, its penalty chosen by generalised cross-validation (Golub, Heath & Wahba 1979). Of two classes, as
    values 0 and 1, it is Fisher's linear discriminant, and a fifth of each class is held out.

    Raises:
        ValueError: fewer than 10 examples, or than 5 of one of two classes, or values all the same.
    """
    if len(values) < 10:
        raise ValueError(f"{len(values)} {of} are too few to learn a direction: give 10 or more, better 100")
    if values.min() == values.max():
        raise ValueError(f"all {len(values)} {of} have the same one: a direction needs examples of both sides")
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    classes = values.unique() if len(values.unique()) == 2 else None
    sides = [order] if classes is None else [order[values[order] == value] for value in classes]
    if classes is not None and min(map(len, sides)) < FEWEST:
        raise ValueError(
            f"{len(sides[0])} and {len(sides[1])} {of}, without and with what is to change, are too few to learn a "
            f"direction: give {FEWEST} or more of each, better 50"
        )
    held, seen = (
        torch.cat(parts) for parts in zip(*(side.tensor_split([len(side) // 5]) for side in sides), strict=True)
    )
    x, y = w.detach().double(), values.double()
    vector, offset = ridge(x[seen], y[seen])
    predicted = x[held] @ vector + offset
    pairs = torch.stack([predicted, y[held]])
    correlation = float(torch.corrcoef(pairs)[0, 1]) if min(pairs.std(1)) > 0 else 0.0
    accuracy = chance = None
    if classes is not None:
        fitted, high = x[seen] @ vector + offset, y == y.max()
        middle = (fitted[high[seen]].mean() + fitted[~high[seen]].mean()) / 2
        accuracy = float(((predicted > middle) == high[held]).double().mean())
        share = float(high[held].double().mean())
        chance = max(share, 1 - share)
    return Learned(F.normalize(vector.float(), dim=0), correlation, accuracy, chance)


def ridge(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(weights [d], offset) of the linear model of y [N] on x [N, d], float64."""
    mean, level = x.mean(0), y.mean()
    u, s, vh = torch.linalg.svd(x - mean, full_matrices=False)
    kept = s > s[0] * 1e-8
    u, s, vh = u[:, kept], s[kept], vh[kept]
    shares = u.T @ (y - level)  # [r]
    rest = (y - level).square().sum() - shares.square().sum()  # what no linear model explains

    def cross_validation(penalty: float) -> float:
        shrunk = s.square() / (s.square() + penalty)
        error = rest + ((1 - shrunk) * shares).square().sum()
        return float(error / (len(y) - 1 - shrunk.sum()).clamp(min=1e-9) ** 2)

    penalty = min((float(s.square().mean()) * 10.0**k for k in range(-8, 3)), key=cross_validation)
    weights = vh.T @ (s / (s.square() + penalty) * shares)
    return weights, level - mean @ weights


def learn_all(
    model: Styles, seeds: Sequence[int], values: Mapping[str, Tensor], *, label: int | None = None
) -> tuple[Directions, dict[str, Learned]]:
    """A direction for each name: which way its values [N], one for each seed, grow; see `learn`."""
    w = of_seeds(model, seeds, label)[:, 0].cpu()
    learned = {name: learn(w, of_seed, of=f"seeds with a value of {name}") for name, of_seed in values.items()}
    vectors = torch.stack([one.vector for one in learned.values()])
    return Directions.of(list(learned), vectors, spread(model, label=label), method="ridge"), learned


def between(
    model: Styles, groups: Sequence[Tensor], names: Sequence[str], *, label: int | None = None
) -> tuple[Directions, dict[str, Learned]]:
    """The direction from one group of real images to another, of the styles w [N, w_dim] that were found for each: see
    `learn`, of 0 for the first and 1 for the second."""
    values = torch.cat([torch.full((len(group),), float(number)) for number, group in enumerate(groups)])
    learned = learn(torch.cat(list(groups)), values, of="images in the two groups")
    name = f"{names[0]} to {names[1]}"
    directions = Directions.of([name], learned.vector[None], spread(model, label=label), method="groups")
    return directions, {name: learned}


def edit(ws: Tensor, direction: Tensor, strength: float, chosen: list[int] | slice = slice(None)) -> Tensor:
    """ws [N, num_ws, w_dim], moved along direction [w_dim] `strength` times, in the chosen layers."""
    moved = ws.clone()
    moved[:, chosen] += strength * direction.to(ws)
    return moved


def direction_sheet(model: Styles, directions: Directions, seed: int, *, label: int | None = None) -> Image:
    """The image of a seed, moved along each direction by -3 to 3 standard deviations: a row each."""
    ws, strengths = of_seeds(model, [seed], label), range(-3, 4)
    rows = [torch.cat([edit(ws, directions[name], strength) for strength in strengths]) for name in directions.names]
    above = [f"{strength:+d}" if strength else "0" for strength in strengths]
    return sheet([list(render(model, row)) for row in rows], left=directions.names, above=above)


def effect(model: Styles, direction: Tensor, measure: Measure, *, label: int | None = None) -> list[float]:
    """What a measure says, on average, of images moved along a direction by strength -2 and by 2."""
    ws = of_seeds(model, range(10**6, 10**6 + BATCH), label)  # seeds that no direction was learned from
    return [float(measure(render(model, edit(ws, direction, strength))).mean()) for strength in (-2, 2)]


# Attributes that are measured ----------------------------------------------------------------------------------------


def brightness(images: Tensor) -> Tensor:
    """The mean level of images [N, C, H, W] in [-1, 1], as [N] in [0, 1]."""
    return (images.float().mean((1, 2, 3)) + 1) / 2


def ink(images: Tensor) -> Tensor:
    """How much of a stroke each pixel is, [N, H, W] in [0, 1]: light on dark, or dark on light where borders are.

    The quarters of the levels next to paper and ink count as those, lest haze be taken for strokes.
    """
    level = (images.float().mean(1) + 0.5).clamp(0, 1)
    border = torch.cat([level[:, 0], level[:, -1], level[:, :, 0], level[:, :, -1]], 1).mean(1)[:, None, None]
    return torch.where(border > 0.5, 1 - level, level)


def thickness(images: Tensor) -> Tensor:
    """The width of strokes in pixels, [N]: twice their area over the length of their outline (their total variation).

    A stroke of length l and width d has area l * d and two sides of length l.
    """
    strokes = F.pad(ink(images), (1, 1, 1, 1))
    down, right = strokes[:, 1:, :-1] - strokes[:, :-1, :-1], strokes[:, :-1, 1:] - strokes[:, :-1, :-1]
    outline = (down.square() + right.square()).sqrt().sum((1, 2))
    return 2 * strokes.sum((1, 2)) / outline.clamp(min=1e-6)


def slant(images: Tensor) -> Tensor:
    """How far strokes lean to the right, in pixels for each pixel upwards, [N]: the shear that second moments show."""
    strokes = ink(images)
    strokes = strokes / strokes.sum((1, 2), keepdim=True).clamp(min=1e-6)
    y = torch.arange(strokes.shape[1], device=strokes.device).float()[None, :, None]
    x = torch.arange(strokes.shape[2], device=strokes.device).float()[None, None, :]
    mean_y, mean_x = ((strokes * axis).sum((1, 2), keepdim=True) for axis in (y, x))
    covariance = (strokes * (y - mean_y) * (x - mean_x)).sum((1, 2))
    variance = (strokes * (y - mean_y).square()).sum((1, 2))
    return -covariance / variance.clamp(min=1e-6)


MEASURES = {"brightness": brightness, "slant": slant, "thickness": thickness}


@torch.no_grad()
def measured(
    model: Styles, seeds: Sequence[int], measures: Mapping[str, Measure], label: int | None = None, track: Track = iter
) -> dict[str, Tensor]:
    """What each measure says of the images of the seeds, [N] each."""
    values = []  # of each batch [M, n]
    for start in track(range(0, len(seeds), BATCH)):
        images = render(model, of_seeds(model, seeds[start : start + BATCH], label))
        values.append(torch.stack([measure(images) for measure in measures.values()]))
    return dict(zip(measures, torch.cat(values, 1), strict=True))


def read_labels(path: Path, attributes: Sequence[str] | None = None) -> tuple[list[int], dict[str, Tensor]]:
    """A .csv of seed,label as seeds and, by name, values [N].

    Numbers are taken as they are, under the attribute's name or that of the file. Words are 1 where they stand and 0
    elsewhere: those that `attributes` names, or all; of two, the second in the alphabet.

    Raises:
        ValueError: naming the row that is not a seed and its label, or the attribute that no row has.
    """
    if not path.is_file():
        raise ValueError(f"--labels={path} does not exist: write a .csv of seed,label")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(file), start=1)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"--labels={path} is no .csv of seed,label in UTF-8: {error}") from error
    rows = [(number, row) for number, row in lines if any(row)]
    if rows and not rows[0][1][0].isdecimal():
        del rows[0]  # a heading
    for number, row in rows:
        bad = len(row) != 2 or not row[0].isdecimal() or not row[1] or int(row[0]) >= 2**62
        if bad or row[1].lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise ValueError(f"{path}, line {number}: {','.join(row)!r} is not a seed and its label, as in 12,smile")
    if not rows:
        raise ValueError(f"--labels={path} has no rows: write one of seed,label for each image that you looked at")
    seeds, words = [int(row[0]) for _, row in rows], [row[1] for _, row in rows]
    try:
        return seeds, {attributes[0] if attributes else path.stem: torch.tensor([float(word) for word in words])}
    except ValueError:
        kinds = sorted(set(words))
    if missing := [name for name in attributes or [] if name not in kinds]:
        raise ValueError(f"--attribute={missing[0]} is no label in {path}: it has {', '.join(kinds)}")
    kinds = list(attributes) if attributes else kinds[1:] if len(kinds) == 2 else kinds
    return seeds, {kind: torch.tensor([float(word == kind) for word in words]) for kind in kinds}


# Files ---------------------------------------------------------------------------------------------------------------


def named_direction(text: str) -> tuple[str, Tensor]:
    """A direction's name and itself [w_dim], of FILE (its first), FILE:NAME or FILE:NUMBER; ValueError if not there."""
    file, name = text, "0"
    if not Path(text).is_file() and ":" in text:
        file, _, name = text.rpartition(":")
    if not Path(file).is_file():
        raise ValueError(f"{file} does not exist: make it with `zoo directions`, and give FILE or FILE:NAME")
    directions = Directions.load(Path(file))
    return directions.names[directions.index(name)], directions[name]


def save_styles(ws: Tensor, path: Path, **about: str) -> None:
    """ws [N, num_ws, w_dim] as safetensors: `ws`, with what it is about in the metadata."""
    with whole(path) as part:
        save_file({"ws": ws.contiguous()}, part, about)


def load_styles(path: Path) -> Tensor:
    """ws [N, num_ws, w_dim] of a file that `save_styles` wrote; a ValueError if it is not one."""
    return _tensors(path, {"ws": 3}, "zoo project")[0]["ws"]


def _tensors(path: Path, dims: Mapping[str, int], made_by: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, each float, finite, with so many dimensions and something in it; and its metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            if set(file.keys()) == set(dims):
                tensors, about = {name: file.get_tensor(name) for name in dims}, dict(file.metadata() or {})
                fits = (t.is_floating_point() and t.dim() == dims[name] and len(t) for name, t in tensors.items())
                if all(fits) and all(t.isfinite().all() for t in tensors.values()):
                    return tensors, about
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} can't be read ({error}): give a file that `{made_by}` wrote") from None
    raise ValueError(f"{path} has other content: give a file that `{made_by}` wrote")
