"""VGG's features, for losses that compare what images show rather than their pixels.

    VGG16, VGG19   Simonyan and Zisserman 2015, arXiv:1409.1556, configurations D and E
    phi_ij         the map after the activation of the j-th convolution before the i-th maximum pooling: VGG5,4 is
                   VGG19's deepest
    relu4_2        the same in other papers' words: i = 4, j = 2

The weights are torchvision's IMAGENET1K_V1, trained on ImageNet, whose inputs are RGB in [0, 1] less a mean, divided by
a standard deviation of each channel. The networks are written out here, so that a model needs torch alone.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from zoo import torchfile

# By torch.hub's convention a name ends in the beginning of the SHA-256.
FILES = {"vgg16": "vgg16-397923af.pth", "vgg19": "vgg19-dcbb9e9d.pth"}
ADDRESS = "https://download.pytorch.org/models/"
URL = ADDRESS + FILES["vgg19"]
CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # of each stage
CHANNELS = (64, 128, 256, 512, 512)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's training images, by channel


class VGG(nn.Module):
    """Images [N, 1 or 3, H, W] in [-1, 1], grey or RGB, -> the deepest map, [N, 512, H // 16, W // 16]; frozen.

    Args:
        name: "vgg16" or "vgg19", whose deepest map is phi_54.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str = "vgg19") -> None:
        super().__init__()
        self.layers: dict[str, int] = {}  # relu1_1, ... -> its place among the features
        layers: list[nn.Module] = []
        c_in = 3
        for i, (convolutions, c_out) in enumerate(zip(CONVOLUTIONS[name], CHANNELS, strict=True), start=1):
            for j in range(1, convolutions + 1):
                layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU(inplace=True)]
                self.layers[f"relu{i}_{j}"] = len(layers) - 1
                c_in = c_out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])  # names as in torchvision: features.0, features.2, ..., features.34
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def inputs(self, image: Tensor) -> Tensor:
        """Images [N, 1 or 3, H, W] in [-1, 1] as the network was trained on them, [N, 3, H, W]."""
        unit = (image.expand(-1, 3, -1, -1) + 1) / 2
        return (unit - self.mean) / self.std

    def forward(self, image: Tensor) -> Tensor:
        return self.features(self.inputs(image))


def fetch(
    weights: str | None, name: str = "vgg19", *, setting: str = "model.vgg_weights", needs: str = "model.content=vgg",
    otherwise: str = "To train without: model.content=discriminator",
) -> Path:  # fmt: skip
    """The file of the weights: one's own, or (None) torch.hub's, downloaded (528 or 548 MB) unless it is there.

    Args:
        name: "vgg16" or "vgg19".
        setting, needs, otherwise: for the sentence: what names a file, what needs it, and what to do without.

    Raises:
        ValueError: if there is no such file, or it can't be downloaded: which one, where to put it, what else to do.
    """
    path = Path(weights or Path(torch.hub.get_dir(), "checkpoints", FILES[name])).expanduser()
    if path.is_file():
        return path
    if weights is not None:
        raise ValueError(f"no such file: {path} ({setting})")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(ADDRESS + FILES[name], str(path), hash_prefix=prefix(name))
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash a RuntimeError
        raise ValueError(
            f"{needs} needs torchvision's {name.upper()}, and its weights could not be downloaded ({error}). Fetch "
            f"{FILES[name]} from download.pytorch.org/models where there is a network, and put it at {path}, or name "
            f"it: {setting}=FILE. {otherwise}"
        ) from error
    return path


def prefix(name: str) -> str:
    """The beginning of the SHA-256 of torchvision's file."""
    return Path(FILES[name]).stem.rpartition("-")[2]


def load(
    weights: str | None, name: str = "vgg19", *, setting: str = "model.vgg_weights", needs: str = "model.content=vgg",
    otherwise: str = "To train without: model.content=discriminator",
) -> VGG:  # fmt: skip
    """The network with its weights, on the CPU. Weights of the classifier's other layers may be in the file.

    Args: those of `fetch`.

    Raises:
        ValueError: if there is no such file, or it does not hold the network's weights as plain data.
    """
    path = fetch(weights, name, setting=setting, needs=needs, otherwise=otherwise)
    with torch.random.fork_rng(devices=[]):  # the weights that are replaced at once were drawn
        network = VGG(name)
    try:
        state = torchfile.load(path, archive=False)
        torchfile.check_finite(state, "it")
        network.load_state_dict({name: state[name] for name in network.state_dict()})
    except Exception as error:  # whatever a damaged file makes it stumble over
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{path} does not hold the weights of torchvision's {name.upper()} ({why}): {setting}=FILE names "
            f"{FILES[name]}"
        ) from error
    return network
