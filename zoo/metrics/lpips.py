"""LPIPS, the perceptual distance of two images: Zhang et al. 2018, arXiv:1801.03924, eq. (1).

    d(x, y) = sum_l 1 / (H_l W_l) sum_hw |w_l * (a_l(x) - a_l(y))|^2

a_l are the activations of layer l of a network, of length 1 over its channels at each place. Theirs are AlexNet, VGG16
or SqueezeNet with weights w_l that were fitted to what people see, by torchmetrics: `Distance`. On a classifier of this
project all w_l are 1: `unweighted`.
"""

import logging
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from zoo.metrics.extractors import plain_float32

log = logging.getLogger(__name__)

Name = Literal["alex", "vgg", "squeeze"]


class Distance:
    """LPIPS on a network, where its weights are there or can be downloaded.

    Args:
        name: of the network.
        without: what is not measured where they can't be had, "lpips is not measured".
        remedy: what else to do, "metrics.lpips=null is without".
    """

    def __init__(self, name: Name, without: str, remedy: str) -> None:
        self.name, self.without, self.remedy = name, without, remedy
        self.network: Any = None
        self.tried = False

    @property
    def is_there(self) -> bool:
        return self.network is not None

    def load(self) -> None:
        """Builds the network where its weights are there or can be downloaded; one sentence where not."""
        if self.tried:
            return
        self.tried = True
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        try:
            with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
                network = LearnedPerceptualImagePatchSimilarity(net_type=self.name, normalize=False)
        except (OSError, RuntimeError, ModuleNotFoundError) as error:  # URLError is an OSError
            log.warning(
                "%s: the weights of %s could not be downloaded (%s); %s", self.without, self.name, error, self.remedy
            )
        else:
            self.network = network.requires_grad_(False).eval()

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """uint8 images [N, 1 or 3, H, W] -> the distances of their rows [N], float64."""
        a, b = ((images.float() / 127.5 - 1).expand(-1, 3, -1, -1) for images in (a, b))
        network = self.network.to(a.device)
        distances = []
        with plain_float32(a.device.type):
            for row in range(len(a)):
                distances.append(network(a[row : row + 1], b[row : row + 1]).cpu().double().view(1))
                network.reset()
        return torch.cat(distances)


def unweighted(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Eq. (1) with all weights 1, of what the layers put out [N, C, ...] for two batches: [N], float64."""
    apart = (normalize(x, dim=1).sub(normalize(y, dim=1)).cpu().double() for x, y in zip(a, b, strict=True))
    layers = [difference.square().sum(1).view(len(a[0]), -1) for difference in apart]
    return sum((layer.mean(1) for layer in layers), torch.zeros(len(a[0]), dtype=torch.float64))
