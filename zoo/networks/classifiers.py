"""The small classifiers that come with this project, as networks: of digits, of coloured digits, and of CIFAR-10.

Metrics look at images through them (zoo/metrics/extractors.py, which says what each was trained on and how well it
reads), and losses compare what images show by them (zoo/networks/perceptual.py). Their weights lie beside this file, as
float16; scripts/train_classifier.py trains them.
"""

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F


class SmallNetwork(nn.Module):
    """Images [N, C, 32, 32] in [-1, 1] --trunk--> features [N, 64] --head--> logits [N, 10]."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*layers, nn.BatchNorm1d(64))
        self.head = nn.Sequential(nn.GELU(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """A 3x3 convolution, BatchNorm and GELU."""
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.GELU()]


class Residual(nn.Module):
    """GELU(x + two 3x3 convolutions of x), the identity at first (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*block(channels, channels, 1), *block(channels, channels, 1)[:-1])
        nn.init.zeros_(self.get_parameter("body.4.weight"))

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.body(x))


class DigitNetwork(SmallNetwork):
    """The network of `zoo.metrics.extractors.DigitClassifier`, for images [N, 1, 32, 32]. 145 thousand parameters."""

    channels = 1

    def __init__(self) -> None:
        super().__init__(
            *block(self.channels, 16, stride=1),
            *block(16, 32, stride=2),  # [N, 32, 16, 16]
            *block(32, 32, stride=1),
            *block(32, 64, stride=2),  # [N, 64, 8, 8]
            *block(64, 64, stride=1),
            *block(64, 48, stride=2),  # [N, 48, 4, 4]
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(48 * 4 * 4, 64, bias=False),
        )


class ColourDigitNetwork(DigitNetwork):
    """The network of `zoo.metrics.extractors.ColourDigitClassifier`: `DigitNetwork` for images [N, 3, 32, 32]."""

    channels = 3


class CIFAR10Network(SmallNetwork):
    """The network of `zoo.metrics.extractors.CIFAR10Classifier`, for images [N, 3, 32, 32]. 473 thousand weights."""

    def __init__(self) -> None:
        super().__init__(
            *block(3, 24, stride=1),
            *block(24, 48, stride=2),  # [N, 48, 16, 16]
            Residual(48),
            *block(48, 96, stride=2),  # [N, 96, 8, 8]
            Residual(96),
            *block(96, 112, stride=2),  # [N, 112, 4, 4]
            nn.Flatten(),
            nn.Linear(112 * 4 * 4, 64, bias=False),
        )


def weights_of(name: str) -> Path:
    """The file of a classifier's weights: "digit", "colour_digit" or "cifar10"."""
    return Path(__file__).with_name(f"{name}_classifier.safetensors")
