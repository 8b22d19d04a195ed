"""What a trained model can do, declared: `class DCGAN(GAN, FromLatents)`.

Commands, reports, messages and tests ask for an ability (`isinstance(model, Translates)`) and never name a variant.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo.batch import ImagePairs, LabelledImages, LowHigh, Preview, check_numbers, to_unit
from zoo.text import printable

BATCH = 256  # images made at a time


@runtime_checkable
class OfClasses(Protocol):
    """Its images can be asked for by class."""

    classes: Sequence[str]  # their names, by label; empty where this model was trained without classes


@runtime_checkable
class OfAttributes(Protocol):
    """Its images can be asked for by attributes: a vector of numbers in place of a class."""

    attributes: Sequence[str]  # their names, by position; empty where this model was trained without


@runtime_checkable
class FromLatents(Protocol):
    """Makes images of latents z ~ N(0, I). A variant sets `latent_dim`; one whose images are not G(z) writes
    `from_latents`."""

    latent_dim: int

    def from_latents(self: Any, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] of z [N, latent_dim], by the best generator; labels int64 [N] where there are
        classes."""
        return self.best(self.G)(z)

    def latent(self: Any, n: int) -> Tensor:
        """The next `n` latents of this rank's stream: z ~ N(0, I), [n, latent_dim]."""
        return torch.randn(n, self.latent_dim, generator=self.rng, device=self.device)

    def latent_of(self: Any, seeds: Iterable[int] | Tensor) -> Tensor:
        """One latent for each seed, [N, latent_dim]: the same on every device, in every batch, on every rank."""
        numbers = seeds.tolist() if isinstance(seeds, Tensor) else list(seeds)
        generator = torch.Generator()
        rows = [torch.randn(self.latent_dim, generator=generator.manual_seed(seed)) for seed in numbers]
        return torch.stack(rows).to(self.device)

    def generate(self, seeds: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] in [-1, 1], one for each seed.

        Args:
            labels: each image's class, int64 [N], where there are classes; None: the seed modulo their number.
        """
        return self.from_latents(self.latent_of(seeds), labels_of(self, seeds, labels))

    @torch.no_grad()
    def sample(self: Any, n: int = 16, *, seed: int = 0, labels: Sequence[int] | None = None) -> Tensor:
        """Generated images of the seeds `seed` to `seed + n - 1`, float32 [n, C, H, W] in [0, 1], on the CPU.

        Each seed's image is the same whatever the others, up to the float arithmetic of the batch.

        Args:
            labels: each image's class, [n], where there are classes; None: seed 0 has the first class, seed 1 the
                second, and so on, over and over. Where there are attributes, those of each image, [n, attributes].

        Raises:
            ValueError: if n is not positive, for labels that are not n, and for labels where there are no classes.
        """
        if n < 1:
            raise ValueError(f"n={n} images: give 1 or more")
        if labels is not None and not isinstance(self, OfClasses | OfAttributes):
            raise ValueError(f"{type(self).__name__} makes images without classes: leave labels out")
        if labels is not None and len(labels) != n:
            raise ValueError(f"{len(labels)} labels for n={n} images: give one for each")
        batches = [torch.arange(seed, seed + n, device=self.device).split(BATCH)]
        if labels is not None:
            dtype = torch.float32 if attributes_of(self) else None
            batches.append(torch.as_tensor(labels, dtype=dtype, device=self.device).split(BATCH))
        images = [self.generate(*batch) for batch in zip(*batches, strict=True)]
        return torch.cat([to_unit(check_numbers(batch)).cpu() for batch in images])

    def preview_of_latents(self, batch: Any) -> dict[str, Preview]:
        """Fakes of the seeds `batch.index`, beside the real images; where there are classes, of the same ones."""
        label = batch.label if classes_of(self) else None
        fake = self.generate(batch.index, label)
        return {"samples": Preview(fake=fake, real=batch.image, label=label, real_label=label)}


@runtime_checkable
class Truncates(Protocol):
    """Its images of latents can be drawn towards the mean one: less variety for better looks."""

    @property
    def truncation(self) -> float:
        """psi of `generate`."""
        raise NotImplementedError

    def truncated(self, z: Tensor, labels: Tensor | None, psi: float | Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] of z [N, latent_dim], with the noise of `generate`: psi, a number or a tensor
        of one, 1 for those of `from_latents`, 0 for the one image of the mean; labels int64 [N] where there are
        classes."""
        raise NotImplementedError


@runtime_checkable
class Styles(Protocol):
    """Its images come from styles, one for each layer, which can be mixed, projected onto and edited."""

    def styles(self, seeds: Any, labels: Any = None) -> Tensor:
        """ws [N, num_ws, w_dim], one w for all layers of each seed's image, not truncated."""
        raise NotImplementedError

    def from_styles(self, ws: Tensor, noise: str = "fixed") -> Tensor:
        """Images [N, C, H, W] of ws [N, num_ws, w_dim]: aim at [-1, 1], differentiable, not clamped."""
        raise NotImplementedError

    def truncate(self, ws: Tensor, psi: float) -> Tensor:
        """ws drawn towards their mean: psi 1 leaves them, 0 is the mean."""
        raise NotImplementedError

    def modulations(self) -> list[Tensor]:
        """The weights [C, w_dim] by which ws enter the layers that make the image."""
        raise NotImplementedError


@runtime_checkable
class Translates(Protocol):
    """Turns images into images of the same size."""

    directions: Mapping[str, int]  # the channels that each direction starts from: {"X->Y": 3}; the usual one first
    reach: int | None = None  # pixels around a part of an image that decide on it, at most; None: all of them

    def translate(self, images: Tensor, direction: str = "X->Y", tile: int | None = None) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] of any size -> float32 [N, C', H, W]; where there is a `reach`, also in tiles
        of about `tile` pixels a side, which need less memory."""
        raise NotImplementedError


@runtime_checkable
class Upscales(Protocol):
    """Enlarges images."""

    scale: int  # the magnification
    channels: int  # of the images
    grid: int = 1  # pixels a side that belong together: a part of an image must begin at a multiple of it

    @property
    def reach(self) -> int:
        """Pixels around a part of an image without which the part is enlarged otherwise."""
        raise NotImplementedError

    def upscale(self, low: Tensor, part: tuple[range, range] | None = None) -> Tensor:
        """Images [N, C, h, w] in [-1, 1] -> [N, C, scale * h, scale * w] in [-1, 1]; with `part`, the rows and columns
        of them that are wanted, of these alone."""
        raise NotImplementedError


@runtime_checkable
class Scores(Protocol):
    """Tells how unusual images are, and where."""

    image_shape: tuple[int, int, int]  # channels, height and width of the images that it takes

    def score(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] -> float32 [N]: the higher, the less like the training images.

        Raises:
            ValueError: for images of another shape than `image_shape`.
        """
        raise NotImplementedError

    def residual(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] -> float32 [N, 1, H, W]: how far each pixel is from what it should be, from 0
        to 2. Raises as `score`."""
        raise NotImplementedError

    def check_scored(self, images: Tensor) -> None:
        """Raise a ValueError for images of another shape than those that it was trained on."""
        if tuple(images.shape[1:]) != tuple(self.image_shape):
            raise ValueError(
                f"{type(self).__name__} scores images of [N, {', '.join(map(str, self.image_shape))}] (channels, "
                f"height, width), and these are {list(images.shape)}: bring them to that size and those channels"
            )


ABILITIES = (FromLatents, OfClasses, OfAttributes, Truncates, Styles, Translates, Upscales, Scores)
ROWS: dict[type, type[tuple]] = {FromLatents: LabelledImages, Translates: ImagePairs, Upscales: LowHigh}


def classes_of(model: Any) -> list[str]:
    """The names of the classes that a model can be asked for, by label; empty where there are none."""
    return [printable(str(name)) for name in model.classes] if isinstance(model, OfClasses) else []


def attributes_of(model: Any) -> list[str]:
    """The names of the attributes that a model can be asked for, by position; empty where there are none."""
    return [printable(str(name)) for name in model.attributes] if isinstance(model, OfAttributes) else []


def labels_of(model: Any, seeds: Tensor, labels: Tensor | None = None) -> Tensor | None:
    """The classes of images of seeds, int64 [N], where none are given: the seed modulo their number; None where a model
    has none."""
    classes = classes_of(model)
    return seeds % len(classes) if labels is None and classes else labels


def rows_of(variant: type) -> type[tuple] | None:
    """What a variant, a class, is trained on, of zoo.batch: its own `rows`, or what its abilities say; None where
    neither says anything."""
    own: type[tuple] | None = getattr(variant, "rows", None)
    return own or next((rows for ability, rows in ROWS.items() if declares(variant, ability)), None)


def declares(variant: type, ability: type) -> bool:
    """Whether a variant, a class, names an ability among its bases."""
    return ability in variant.__mro__
