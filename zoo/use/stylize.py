"""Neural style transfer: Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016
(first as arXiv:1508.06576).

Symbols
    p, a    content image, style image
    x       the image that is made: what is optimised
    F, P    feature maps of x and of p; G, A the Gram matrices of x and of a: zoo/networks/perceptual.py
    alpha, beta   weights of content and style, eq. (7)

Faithful: x begins as white noise or as p and descends alpha L_content + beta L_style, eq. (7), by L-BFGS (section 2;
          Adam is a choice); conv4_2 for content and conv1_1 to conv5_1 for style where the network is a VGG (section 2,
          Figure 3); average pooling, on request; a is resized to the size of p.
Departs:  each layer's error is in units of what the style image makes of the layer, see zoo/networks/perceptual.py, so
          that alpha and beta mean the same whatever the network. Total variation as in Johnson et al. 2016
          (arXiv:1603.08155). Large images are made from coarse to fine (Gatys et al. 2017, arXiv:1611.07865, section
          6): x of one scale, enlarged, begins the next. Colour is kept by the luminance alone being changed (Gatys et
          al. 2016, arXiv:1606.05897, section 3): styles' luminance is first brought to the mean and the deviation of
          that of p.

An image that does not fit memory is looked at in tiles, and the gradient is that of the whole: a Gram matrix is a sum
over places, so that a first pass sums it up without a graph, and in a second one each tile descends the style term's
derivative at that sum. A tile has as many pixels around it as decide on its places.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.networks import perceptual
from zoo.networks.perceptual import GATYS, Maps, Perceptual, StyleTarget

LUMA = (0.299, 0.587, 0.114)  # Rec. 601: the Y of YIQ
COARSEST = 256  # pixels of the longer side of the first scale, about
FEWEST = 30  # iterations at a fine scale
LEAST_CONTRAST = 1 / 255  # deviation of a style image's channels in [-1, 1], below which it is of one colour
Optimiser = Literal["lbfgs", "adam"]
Start = Literal["noise", "content"]


Features = Literal["auto", "vgg19", "vgg16", "cifar10_classifier"]
SETTINGS = {"setting": "--vgg-weights", "choice": "--features"}  # as sentences name them


def network_of(features: Features, weights: Path | None, *, average_pooling: bool) -> tuple[Perceptual, str]:
    """The network whose features compare pictures, on the CPU, and why it is that one, "" where it was asked for.

    Args:
        features: its name; "auto": VGG19, or where its weights are not here and can't be fetched, the classifier that
            this package ships.
        weights: a file of VGG's, or None.
        average_pooling: in place of maximum pooling, in VGG.

    Raises:
        ValueError: for weights that can't be had, or that are of another network.
    """
    file, why, name = None if weights is None else str(weights), "", features
    if name == "auto":
        name = "vgg19"
        try:
            perceptual.fetch(name, file, **SETTINGS)
        except ValueError as error:
            if weights is not None:
                raise
            name, why = "cifar10_classifier", str(error)
    network = perceptual.load(name, file, **SETTINGS)
    if average_pooling and name == "cifar10_classifier":
        raise ValueError(f"--average-pooling is of VGG, and {name} pools nothing: leave it out")
    return network.with_average_pooling() if average_pooling else network, why


class Step(NamedTuple):
    """How far the work is."""

    scale: int  # from 1
    size: tuple[int, int]  # of this scale's image, height and width
    done: int  # iterations at all scales so far
    losses: dict[str, float]  # content, style and total_variation, not weighted
    image: Tensor  # [1, 3, H, W] in [-1, 1]: what there is


@dataclass(frozen=True)
class Recipe:
    """How a picture is made; the defaults are those of `zoo stylize`."""

    content_weight: float = 1.0  # alpha
    style_weight: float = 100.0  # beta
    tv_weight: float = 1.0
    start: Start = "content"
    optimiser: Optimiser = "lbfgs"
    lr: float = 0.02  # of Adam
    steps: int = 200  # at the coarsest scale; half of that at each finer one, but no less than FEWEST
    scales: int | None = None  # None: so many that the coarsest has COARSEST pixels
    style_scale: float = 1.0  # of the style images' size, beside that of the content
    keep_colour: bool = False
    tile: int = 512  # pixels a side of a part that is looked at at once
    chunk: int = 10  # iterations from one look at the image to the next
    seed: int = 0


class Tiles:
    """Parts of an image of (height, width), and around each as many pixels as decide on its places in layers' maps.

    Args:
        features: the network.
        names: its layers.
        tile: pixels a side of a part, about.
    """

    def __init__(self, features: Perceptual, names: Sequence[str], size: tuple[int, int], tile: int) -> None:
        self.features, (self.height, self.width) = features, size
        self.strides = {name: features.stride(name) for name in names}
        coarsest = max(self.strides.values())
        reach = max(features.receptive_field(name) for name in names) // 2 + 1
        self.halo = -(-reach // coarsest) * coarsest
        self.side = -(-tile // coarsest) * coarsest
        self.places = [
            (top, left) for top in range(0, self.height, self.side) for left in range(0, self.width, self.side)
        ]

    def around(self, start: int, length: int) -> slice:
        """The pixels of a tile and those that decide on it, along one axis."""
        return slice(max(start - self.halo, 0), min(start + self.side + self.halo, length))

    def maps(
        self, x: Tensor, place: tuple[int, int], names: Sequence[str], origin: tuple[int, int] | None = None
    ) -> Maps:
        """The maps of a tile, what lies around it cut away. `origin`: where `x` begins, if it is a part."""
        (top, left), rows, columns = place, self.around(place[0], self.height), self.around(place[1], self.width)
        if origin is None:
            x = x[:, :, rows, columns]
        maps = self.features(x, names)
        return {
            name: maps[name][
                :, :, self._inside(top, rows, self.height, name), self._inside(left, columns, self.width, name)
            ]
            for name in names
        }

    def _inside(self, start: int, around: slice, length: int, name: str) -> slice:
        """The places of a layer's map that are the tile's own, along one axis."""
        stride = self.strides[name]
        first = (start - around.start) // stride
        return slice(first, None if start + self.side >= length else first + self.side // stride)


def style_target(features: Perceptual, styles: Sequence[Tensor], shares: Sequence[float], tile: int) -> StyleTarget:
    """What is to be reached, by the paper's layers, of styles that are looked at in tiles."""

    def parts(image: Tensor, names: Sequence[str]) -> Iterator[Maps]:
        tiles = Tiles(features, names, (image.shape[2], image.shape[3]), tile)
        return (tiles.maps(image, place, names) for place in tiles.places)

    return StyleTarget(features, GATYS[features.name], styles, shares, parts)


class Objective:
    """alpha content + beta style + gamma TV of an image [1, 3, H, W], with its gradient, in tiles.

    Args:
        target: the styles, and the network.
        content: p, [1, 3, H, W] in [-1, 1].
        recipe: its weights and its tile.
    """

    def __init__(self, target: StyleTarget, content: Tensor, recipe: Recipe) -> None:
        self.target, self.recipe = target, recipe
        self.tiles = Tiles(target.features, target.names, (content.shape[2], content.shape[3]), recipe.tile)
        with torch.no_grad():
            maps = [self.tiles.maps(content, place, target.layers.content) for place in self.tiles.places]
        self.P = maps
        self.places = {name: sum(of_tile[name][0, 0].numel() for of_tile in maps) for name in target.layers.content}

    def __call__(self, x: Tensor) -> tuple[dict[str, float], Tensor]:
        """The terms, not weighted, and the gradient of their weighted sum, [1, 3, H, W]."""
        whole = len(self.tiles.places) == 1
        x = x.detach()
        gradient = torch.zeros_like(x, memory_format=torch.contiguous_format)
        with torch.set_grad_enabled(whole):
            only = x.requires_grad_(whole)
            maps = self.tiles.maps(only, self.tiles.places[0], self.target.names) if whole else None
        grams = self._grams(x, maps)
        leaves = {name: G.detach().requires_grad_() for name, G in grams.items()}
        style = self.target.style(leaves)
        slopes = dict(zip(leaves, torch.autograd.grad(style, list(leaves.values())), strict=True))
        losses = {"content": 0.0, "style": float(style.detach()), "total_variation": 0.0}
        for index, place in enumerate(self.tiles.places):
            if maps is None:
                top, left = place
                rows, columns = self.tiles.around(top, self.tiles.height), self.tiles.around(left, self.tiles.width)
                part = x[:, :, rows, columns].clone().requires_grad_()
                of_part = self.tiles.maps(part, place, self.target.names, (rows.start, columns.start))
            else:
                rows, columns, part, of_part = slice(None), slice(None), only, maps
            content = self._content(of_part, self.P[index])
            pulled = [(slopes[name] * perceptual.products(of_part[name])).sum() / self.numbers[name] for name in slopes]
            surrogate = self.recipe.content_weight * content + self.recipe.style_weight * torch.stack(pulled).sum()
            gradient[:, :, rows, columns] += torch.autograd.grad(surrogate, part)[0]
            losses["content"] += float(content.detach())
        with torch.enable_grad():
            smooth = x.detach().requires_grad_()
            variation = perceptual.total_variation(smooth)
            gradient += self.recipe.tv_weight * torch.autograd.grad(variation, smooth)[0]
        losses["total_variation"] = float(variation.detach())
        return losses, gradient

    def total(self, losses: dict[str, float]) -> float:
        """The weighted sum of the terms: eq. (7)."""
        r = self.recipe
        weights = {"content": r.content_weight, "style": r.style_weight, "total_variation": r.tv_weight}
        return sum(weights[name] * value for name, value in losses.items())

    @torch.no_grad()
    def _grams(self, x: Tensor, maps: Maps | None) -> Maps:
        """The Gram matrices of the whole image, [1, C, C] by layer; and in `numbers` what each is divided by."""
        sums: Maps = {}
        self.numbers = dict.fromkeys(self.target.layers.style, 0)
        for place in self.tiles.places:
            of_tile = self.tiles.maps(x, place, self.target.layers.style) if maps is None else maps
            for name in self.target.layers.style:
                product = perceptual.products(of_tile[name].detach())
                sums[name] = sums[name] + product if name in sums else product
                self.numbers[name] += of_tile[name][0].numel()
        return {name: total / self.numbers[name] for name, total in sums.items()}

    def _content(self, maps: Maps, P: Maps) -> Tensor:
        """This tile's share of the content term, a scalar."""
        scales = self.target.content_scale
        errors = [
            (maps[name] - P[name]).square().sum() / (P[name].shape[1] * self.places[name] * scale)
            for name, scale in scales.items()
        ]
        return torch.stack(errors).mean()


def plan(features: Perceptual, size: tuple[int, int], recipe: Recipe) -> list[tuple[tuple[int, int], int]]:
    """(height, width) of each scale and its iterations, the coarsest first; see `sizes_of_scales`."""
    least = max(features.receptive_field(name) for name in GATYS[features.name].content)
    sizes = sizes_of_scales(*size, recipe.scales, least)
    halved = [max(recipe.steps // 2**k, min(FEWEST, recipe.steps)) for k in range(len(sizes))]
    return list(zip(sizes, halved, strict=True))


def sizes_of_scales(height: int, width: int, scales: int | None, least: int) -> list[tuple[int, int]]:
    """(height, width) from coarse to fine, each about twice the one before, the last the whole.

    Args:
        scales: how many; None: until the longer side is about COARSEST.
        least: pixels that no shorter side may fall below.

    Raises:
        ValueError: for so many that the coarsest is smaller than that.
    """
    if scales is None:
        halvings = max(round(torch.tensor(max(height, width) / COARSEST).log2().item()), 0)
        while halvings and min(height, width) / 2**halvings < least:
            halvings -= 1
    else:
        halvings = scales - 1
        if min(height, width) / 2**halvings < least:
            first = f"{max(height >> halvings, 1)}x{max(width >> halvings, 1)}"
            raise ValueError(
                f"--scales={scales} begins with {first} pixels, and the features see {least} at once: give fewer"
            )
    return [(round(height / 2**k), round(width / 2**k)) for k in range(halvings, -1, -1)]


def check(features: Perceptual, content: Tensor, styles: Sequence[Tensor], names: Sequence[str]) -> None:
    """Refuse what no style can be taken from, or given to.

    Args:
        content, styles: images [1, C, H, W] in [-1, 1].
        names: of the content, and of each style, for the sentence.

    Raises:
        ValueError: a style of one colour, or smaller than a place of the deepest layer; a content image smaller than
            the receptive field of the content's layers.
    """
    layers = GATYS[features.name]
    least = max(features.receptive_field(name) for name in layers.content)
    height, width = content.shape[2:]
    if min(height, width) < least:
        raise ValueError(
            f"{names[0]} has {width}x{height} pixels, fewer than the {least} a side that {features.name} sees at once: "
            f"give a larger picture, or enlarge it first, --size {least} or more"
        )
    smallest = 2 * max(features.stride(name) for name in layers.style)
    for image, name in zip(styles, names[1:], strict=True):
        height, width = image.shape[2:]
        if min(height, width) < smallest:
            raise ValueError(
                f"{name} has {width}x{height} pixels, too few to have a style: give a picture of {smallest} a side or "
                "more"
            )
        if float(image.std(dim=(2, 3)).max()) < LEAST_CONTRAST:
            raise ValueError(f"{name} is of one colour, which is no style: give a picture with some structure")


def stylized(
    features: Perceptual, content: Tensor, styles: Sequence[Tensor], shares: Sequence[float], recipe: Recipe
) -> Iterator[Step]:
    """Make a picture: what it shows is the content's, what it looks like the styles'. The last step is the result.

    Args:
        features: the network, on the device where the work is done.
        content: [1, 3, H, W] in [-1, 1]; the result has its size.
        styles: each [1, 3, h, w] in [-1, 1], of any size; they are resized to cover about the pixels of the content.
        shares: of each style, positive.
        recipe: how.

    Raises:
        ValueError: see `check` and `sizes_of_scales`.
        FloatingPointError: if it comes to numbers that are none.
    """
    device = features.mean.device
    content, styles = content.to(device), [style.to(device) for style in styles]
    original = content
    if recipe.keep_colour:
        content = luminance(content)
        styles = [matched(luminance(style), content) for style in styles]
    layers = GATYS[features.name]
    smallest = 2 * max(features.stride(name) for name in layers.style)
    generator = torch.Generator().manual_seed(recipe.seed)
    x, done = None, 0
    planned = plan(features, (content.shape[2], content.shape[3]), recipe)
    for scale, (size, steps) in enumerate(planned, start=1):
        p = resized(content, size)
        looks = [resized(style, size_of_style(style, size, recipe.style_scale, smallest)) for style in styles]
        objective = Objective(style_target(features, looks, shares, recipe.tile), p, recipe)
        if x is not None:
            x = resized(x, size)
        elif recipe.start == "content":
            x = p.clone()
        else:
            x = 0.5 * torch.randn(p.shape, generator=generator).to(device)
        for taken, losses, image in descend(objective, x, steps, recipe):
            x = shown = image.clamp(-1, 1)
            if recipe.keep_colour:
                shown = coloured(shown, resized(original, size))
            yield Step(scale, size, done + taken, losses, shown)
        done += steps


def descend(
    objective: Objective, x: Tensor, steps: int, recipe: Recipe
) -> Iterator[tuple[int, dict[str, float], Tensor]]:
    """x on its way down: (iterations so far, losses, x) every `recipe.chunk` iterations, and at the end."""
    x = x.detach().clone(memory_format=torch.contiguous_format).requires_grad_()  # as torch's L-BFGS wants it
    losses: dict[str, float] = {}

    def closure() -> Tensor:
        nonlocal losses
        losses, x.grad = objective(x)
        total = objective.total(losses)
        return torch.tensor(total, dtype=torch.float64)

    if recipe.optimiser == "adam":
        adam = torch.optim.Adam([x], lr=recipe.lr)
        advance: Callable[[int], object] = lambda n: [adam.step(closure) for _ in range(n)]
    else:
        lbfgs = torch.optim.LBFGS(
            [x], history_size=20, tolerance_grad=0, tolerance_change=0,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def advance(n: int) -> object:
            lbfgs.param_groups[0].update(max_iter=n, max_eval=2 * n)
            return lbfgs.step(closure)

    for taken in range(0, steps, recipe.chunk):
        number = min(recipe.chunk, steps - taken)
        advance(number)
        if not x.detach().isfinite().all() or not all(torch.tensor(list(losses.values())).isfinite()):
            raise FloatingPointError("the picture has come to numbers that are none: lower --style-weight")
        yield taken + number, losses, x.detach()


# Pixels ---------------------------------------------------------------------------------------------------------------


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image [1, C, H, W] at another size, bicubic with antialiasing, within [-1, 1]."""
    if tuple(image.shape[2:]) == tuple(size):
        return image
    return F.interpolate(image, size, mode="bicubic", antialias=True).clamp(-1, 1)


def size_of_style(style: Tensor, size: tuple[int, int], scale: float, least: int) -> tuple[int, int]:
    """(height, width) at which a style has about `scale`^2 times the pixels of `size`, and its own shape; each side
    `least` or more."""
    height, width = style.shape[2:]
    factor = scale * (size[0] * size[1] / (height * width)) ** 0.5
    factor = max(factor, least / min(height, width))
    return round(height * factor), round(width * factor)


def luminance(image: Tensor) -> Tensor:
    """Y of an image [1, 3, H, W] in each of three channels."""
    weights = image.new_tensor(LUMA).view(1, 3, 1, 1)
    return (image * weights).sum(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()


def matched(style: Tensor, content: Tensor) -> Tensor:
    """A style's luminance with the mean and the deviation of the content's: arXiv:1606.05897, eq. (10)."""
    deviation = content.std() / style.std().clamp(min=1e-6)
    return ((style - style.mean()) * deviation + content.mean()).clamp(-1, 1)


def coloured(image: Tensor, original: Tensor) -> Tensor:
    """An image with the luminance of one and the colours (I and Q of YIQ) of the other: arXiv:1606.05897, section 3.

    Y, I and Q are linear, and grey has no I and Q: the difference of the luminances is added to each channel."""
    return (original + luminance(image) - luminance(original)).clamp(-1, 1)
