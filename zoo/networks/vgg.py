"""VGG19's features, for losses that compare what images show rather than their pixels.

    VGG19   Simonyan and Zisserman 2015, arXiv:1409.1556, configuration E
    phi_ij  the map after the activation of the j-th convolution before the i-th maximum pooling: VGG5,4 is the deepest

The weights are torchvision's IMAGENET1K_V1, trained on ImageNet, whose inputs are RGB in [0, 1] less a mean, divided by
a standard deviation of each channel. The network is written out here, so that a model needs torch alone.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from zoo import torchfile

URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
SHA256_PREFIX = "dcbb9e9d"  # by torch.hub's convention the file's name ends in it
FILE = URL.rpartition("/")[2]
CHANNELS = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512, 512, 512, 512))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's training images, by channel


class VGG19(nn.Module):
    """Images [N, 1 or 3, H, W] in [-1, 1], grey or RGB, -> phi_54, [N, 512, H // 16, W // 16]; frozen."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c_in = 3
        for stage in CHANNELS:
            for c_out in stage:
                layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU(inplace=True)]
                c_in = c_out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])  # names as in torchvision: features.0, features.2, ..., features.34
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        unit = (image.expand(-1, 3, -1, -1) + 1) / 2
        return self.features((unit - self.mean) / self.std)


def fetch(weights: str | None) -> Path:
    """The file of the weights: one's own, or (None) torch.hub's, downloaded (548 MB) unless it is there.

    Raises:
        ValueError: if there is no such file, or it can't be downloaded: which one, where to put it, what else to do.
    """
    path = Path(weights or Path(torch.hub.get_dir(), "checkpoints", FILE)).expanduser()
    if path.is_file():
        return path
    if weights is not None:
        raise ValueError(f"no such file: {path} (model.vgg_weights)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(path), hash_prefix=SHA256_PREFIX)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash a RuntimeError
        raise ValueError(
            f"model.content=vgg needs torchvision's VGG19, and its weights could not be downloaded ({error}). Fetch "
            f"{FILE} from download.pytorch.org/models where there is a network, and put it at {path}, or name it: "
            "model.vgg_weights=FILE. To train without: model.content=discriminator"
        ) from error
    return path


def load(weights: str | None) -> VGG19:
    """The network with its weights, on the CPU. Weights of the classifier's other layers may be in the file.

    Raises:
        ValueError: if there is no such file, or it does not hold VGG19's weights as plain data.
    """
    path = fetch(weights)
    with torch.random.fork_rng(devices=[]):  # the weights that are replaced at once were drawn
        network = VGG19()
    try:
        state = torchfile.load(path, archive=False)
        torchfile.check_finite(state, "it")
        network.load_state_dict({name: state[name] for name in network.state_dict()})
    except Exception as error:  # whatever a damaged file makes it stumble over
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{path} does not hold the weights of torchvision's VGG19 ({why}): model.vgg_weights=FILE names {FILE}"
        ) from error
    return network
