"""What two images show, compared by the features of a network that was trained to tell images apart.

    F_l       feature map of layer l, [N, C, H, W]
    G_l       its Gram matrix, [N, C, C]
    content   Johnson, Alahi and Fei-Fei 2016, arXiv:1603.08155, eq. (2): ||F - P||^2 / (C H W), P of the content image.
              Gatys, Ecker and Bethge 2016 ("Image Style Transfer Using Convolutional Neural Networks", CVPR;
              arXiv:1508.06576), eq. (1), is C H W / 2 times that
    style     Johnson et al., eq. (3) and (4): G = F F^T / (C H W), and ||G - A||_F^2 of each layer, A of the style
              image. Gatys et al., eq. (3) to (5), have F F^T, and ||.||^2 / (4 C^2 (H W)^2): a quarter of it
    TV        total variation, the regulariser of Johnson et al., section 3.2: differences of neighbours, squared

Both papers have their weights for VGG whose layers were brought to one scale by hand. Here what the style image makes
of a layer is its scale (`StyleTarget`): content is in units of ||F||^2 / (C H W), style in units of ||A||^2, both of
the style image, so that one weight means the same in any layer of any network. Papers' constants are absorbed.

Networks: VGG16 and VGG19 (zoo/networks/vgg.py), as in the papers, or the classifier of CIFAR-10 that this package
ships, which needs no download: five layers of a network that was trained on images of 32 pixels. Its textures are
plainer, and its name is in every result, so that the two are not confused.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.networks import vgg
from zoo.networks.classifiers import CIFAR10Network, Residual, weights_of

Maps = dict[str, Tensor]  # feature maps, or Gram matrices, by layer
CLASSIFIER = "cifar10_classifier"
NETWORKS = (CLASSIFIER, *vgg.FILES)


class Layers(NamedTuple):
    """Where content and style are read off a network."""

    content: tuple[str, ...]
    style: tuple[str, ...]


class Perceptual(nn.Module):
    """Images [N, 1 or 3, H, W] in [-1, 1], grey or RGB, of any size -> feature maps by layer; frozen, in evaluation.

    Args:
        name: the network, of NETWORKS.
        trunk: its layers one after the other.
        layers: the names by which they are asked for -> places in the trunk.
        origin: whose weights these are, in words.
        mean, std: what is taken from channels in [0, 1], and what divides them, [1, 3, 1, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, trunk: nn.Sequential, layers: Mapping[str, int], origin: str, mean: Tensor, std: Tensor
    ) -> None:
        super().__init__()
        self.name, self.trunk, self.layers, self.origin = name, trunk, dict(layers), origin
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Perceptual":
        """Stays in evaluation mode, whatever is asked."""
        return super().train(False)

    def forward(self, image: Tensor, layers: Sequence[str]) -> Maps:
        """The maps of these layers; what lies deeper is not computed."""
        wanted = {self.layers[name]: name for name in layers}
        x, maps = ((image.expand(-1, 3, -1, -1) + 1) / 2 - self.mean) / self.std, {}
        for place, layer in enumerate(self.trunk[: max(wanted) + 1]):
            x = layer(x)
            if place in wanted:
                maps[wanted[place]] = x
        return maps

    def with_average_pooling(self) -> "Perceptual":
        """Itself, its maximum poolings replaced: Gatys et al. 2016, section 2, found more appealing results so."""
        for place, layer in enumerate(self.trunk):
            if isinstance(layer, nn.MaxPool2d):
                self.trunk[place] = nn.AvgPool2d(2)
        return self

    def stride(self, layer: str) -> int:
        """Pixels from one place of a layer's map to the next."""
        return self._geometry(layer)[0]

    def receptive_field(self, layer: str) -> int:
        """Pixels a side that a place of a layer's map depends on."""
        return self._geometry(layer)[1]

    def _geometry(self, layer: str) -> tuple[int, int]:
        return geometry(self.trunk[: self.layers[layer] + 1])


def geometry(trunk: nn.Module) -> tuple[int, int]:
    """(stride, receptive field) of what comes out of layers that follow one another, in pixels."""
    stride, field = 1, 1
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            size, step = (
                value[0] if isinstance(value, tuple) else value for value in (module.kernel_size, module.stride)
            )
            field, stride = field + (size - 1) * stride, stride * step
    return stride, field


GATYS = {  # section 2 and Figure 3: content by conv4_2, style by conv1_1 to conv5_1
    "vgg16": Layers(("relu4_2",), ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")),
    "vgg19": Layers(("relu4_2",), ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")),
    CLASSIFIER: Layers(("residual1",), ("gelu1", "gelu2", "residual1", "gelu3", "residual2")),
}
JOHNSON = {  # section 4.1: content by relu2_2, style by relu1_2 to relu4_3 of VGG16
    "vgg16": Layers(("relu2_2",), ("relu1_2", "relu2_2", "relu3_3", "relu4_3")),
    "vgg19": Layers(("relu2_2",), ("relu1_2", "relu2_2", "relu3_3", "relu4_3")),
    CLASSIFIER: GATYS[CLASSIFIER],
}


def least_side(name: str, layers: Layers) -> int:
    """Pixels a side that content layers of a network see at once, without its weights."""
    with torch.device("meta"):
        network = CIFAR10Network().trunk if name == CLASSIFIER else vgg.VGG(name)
    trunk, places = (
        (network, _activations(network)) if isinstance(network, nn.Sequential) else (network.features, network.layers)
    )
    return max(geometry(trunk[: places[layer] + 1])[1] for layer in layers.content)


def fetch(name: str, weights: str | None, *, setting: str, choice: str) -> None:
    """Have the weights of a network here, downloaded if they must be: once a machine, before time is spent.

    Args:
        name: of NETWORKS.
        weights: a file of VGG's, or None.
        setting, choice: what names a file and what names the network, for the sentence.

    Raises:
        ValueError: if they can't be had; for a file of a network that needs none.
    """
    if name == CLASSIFIER:
        if weights is not None:
            raise ValueError(f"{setting}={weights} has no effect with {choice}={name}: set {choice}=vgg19")
        return
    vgg.fetch(weights, name, **_words(name, setting, choice))


def load(name: str, weights: str | None, *, setting: str, choice: str) -> Perceptual:
    """The network with its weights, on the CPU; see `fetch`.

    Raises:
        ValueError: also for a file that holds no weights of this network.
    """
    if name == CLASSIFIER:
        fetch(name, weights, setting=setting, choice=choice)
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            network = CIFAR10Network()
        network.load_state_dict(load_file(weights_of("cifar10")))
        end = next(place for place, layer in enumerate(network.trunk) if isinstance(layer, nn.Flatten))
        for layer in network.trunk[:end].modules():
            if isinstance(layer, nn.Conv2d):
                layer.padding_mode = "replicate"  # zeros around an image would be seen as a frame, and be drawn
        half = torch.full((1, 3, 1, 1), 0.5)
        origin = "the classifier of CIFAR-10 that this package ships"
        return Perceptual(name, network.trunk[:end], _activations(network.trunk[:end]), origin, half, half)
    path = vgg.fetch(weights, name, **_words(name, setting, choice))
    network_ = vgg.load(str(path), name, **_words(name, setting, choice))
    digest = sha256(path)
    known = digest.startswith(vgg.prefix(name))
    origin = "torchvision's" if known else f"of {path.name}, which is not torchvision's: SHA-256 {digest[:8]}"
    return Perceptual(name, network_.features, network_.layers, origin, network_.mean, network_.std)


def _words(name: str, setting: str, choice: str) -> dict[str, str]:
    return {"setting": setting, "needs": f"{choice}={name}", "otherwise": f"Without them: {choice}={CLASSIFIER}"}


def _activations(trunk: nn.Sequential) -> dict[str, int]:
    """gelu1, gelu2, residual1, ...: the places of what puts out an activation."""
    places, counts = {}, {"gelu": 0, "residual": 0}
    for place, layer in enumerate(trunk):
        if isinstance(layer, nn.GELU | Residual):
            kind = "residual" if isinstance(layer, Residual) else "gelu"
            counts[kind] += 1
            places[f"{kind}{counts[kind]}"] = place
    return places


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# The losses -----------------------------------------------------------------------------------------------------------


def products(maps: Tensor) -> Tensor:
    """F F^T of maps [N, C, H, W]: sums over places, [N, C, C]. Gatys et al. 2016, eq. (3)."""
    flat = maps.flatten(2)
    return flat @ flat.mT


def gram(maps: Tensor) -> Tensor:
    """F F^T / (C H W) of maps [N, C, H, W], [N, C, C]. Johnson et al. 2016, eq. (3)."""
    return products(maps) / maps[0].numel()


def squared_error(maps: Tensor, target: Tensor) -> Tensor:
    """||F - P||^2 / (C H W), mean over the batch, a scalar. Johnson et al. 2016, eq. (2)."""
    return (maps - target).square().mean()


def squared_distance(grams: Tensor, target: Tensor) -> Tensor:
    """||G - A||_F^2 of Gram matrices [N, C, C] and [1 or N, C, C], mean over the batch, a scalar. Johnson et al. 2016,
    eq. (4)."""
    return (grams - target).square().sum((1, 2)).mean()


def total_variation(images: Tensor) -> Tensor:
    """Squared differences of vertical and of horizontal neighbours, summed, over C H W: the mean over a batch
    [N, C, H, W], a scalar."""
    vertical = (images[:, :, 1:] - images[:, :, :-1]).square().sum()
    horizontal = (images[:, :, :, 1:] - images[:, :, :, :-1]).square().sum()
    return (vertical + horizontal) / images.numel()


class StyleTarget:
    """What is to be reached: the Gram matrices of style images, each with its share; and the scales of the layers.

    Args:
        features: the network.
        layers: where content and style are read off.
        styles: images [1, C, H, W] in [-1, 1], each of its own size.
        shares: of each style, positive; they are brought to the sum 1.
        parts: (image, layers) -> the maps of its parts, one after the other, each place of a map in one of them; None:
            an image is looked at whole.

    Raises:
        ValueError: for a style in which a layer sees nothing but zeros.
    """

    def __init__(
        self, features: Perceptual, layers: Layers, styles: Sequence[Tensor], shares: Sequence[float] = (1.0,),
        parts: Callable[[Tensor, Sequence[str]], Iterable[Maps]] | None = None,
    ) -> None:  # fmt: skip
        self.features, self.layers = features, layers
        self.shares = [share / sum(shares) for share in shares]
        self.names = tuple(dict.fromkeys([*layers.content, *layers.style]))
        self.grams: list[Maps] = []  # of each style
        self.content_scale = dict.fromkeys(layers.content, 0.0)
        with torch.no_grad():
            for image, share in zip(styles, self.shares, strict=True):
                sums: Maps = {}
                numbers = dict.fromkeys(self.names, 0)
                means: dict[str, list[tuple[float, int]]] = {name: [] for name in layers.content}
                for maps in [features(image, self.names)] if parts is None else parts(image, self.names):
                    for name in self.names:
                        numbers[name] += maps[name][0].numel()
                    for name in layers.style:
                        sums[name] = products(maps[name]) + sums.get(name, 0)
                    for name in layers.content:
                        means[name].append((float(maps[name].square().mean()), maps[name][0].numel()))
                self.grams.append({name: total / numbers[name] for name, total in sums.items()})
                for name, of_parts in means.items():
                    self.content_scale[name] += share * sum(mean * (n / numbers[name]) for mean, n in of_parts)
        self.style_scales = [{name: float(A.square().sum()) for name, A in grams.items()} for grams in self.grams]
        zeros = [name for name, scale in self.content_scale.items() if not scale]
        zeros += [name for scales in self.style_scales for name, scale in scales.items() if not scale]
        if zeros:
            raise ValueError(f"{zeros[0]} of {features.name} sees nothing in the style image: choose another")

    def content(self, maps: Maps, target: Maps) -> Tensor:
        """The content term, a scalar: the mean over layers of ||F - P||^2 in units of the style image's ||F||^2."""
        terms = [squared_error(maps[name], target[name]) / scale for name, scale in self.content_scale.items()]
        return torch.stack(terms).mean()

    def style(self, grams: Maps) -> Tensor:
        """The style term, a scalar: the mean over layers of ||G - A||^2 / ||A||^2, by the styles' shares: 0 where
        the style is met, about 1 for what has nothing of it."""
        total = torch.zeros((), device=next(iter(grams.values())).device)
        for share, of_style, scales in zip(self.shares, self.grams, self.style_scales, strict=True):
            terms = [squared_distance(grams[name], A) / scales[name] for name, A in of_style.items()]
            total = total + share * torch.stack(terms).mean()
        return total

    def terms(self, images: Tensor, content: Tensor) -> tuple[Tensor, Tensor]:
        """(content, style) of images [N, C, H, W] against the content images [N, C, H, W]."""
        with torch.no_grad():
            target = self.features(content, self.layers.content)
        maps = self.features(images, self.names)
        return self.content(maps, target), self.style({name: gram(maps[name]) for name in self.layers.style})
