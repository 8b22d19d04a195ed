"""What two papers share."""

import math

from torch import nn

START = 4  # pixels of the smallest feature map's shorter side


def doublings(height: int, width: int, *, largest: int = 256) -> int:
    """How often the 4-pixel start is doubled to reach the image.

    Raises:
        ValueError: unless the shorter side is a power of two from 16 to `largest`, the longer one a multiple of 2**n.
    """
    n = round(math.log2(min(height, width) / START))
    if min(height, width) != START * 2**n or not 16 <= min(height, width) <= largest or max(height, width) % 2**n:
        short = min(max(START * 2 ** round(math.log2(max(min(height, width), 1) / START)), 16), largest)
        quarter = short // START
        sides = [max(round(side / quarter) * quarter, short) for side in (height, width)]
        nearest = short if sides[0] == sides[1] else str(sides).replace(" ", "")
        raise ValueError(
            f"image_size={height}x{width} does not fit these networks: the shorter side must be "
            f"{', '.join(str(2**k) for k in range(4, largest.bit_length() - 1))} or {largest} "
            f"and the longer one a multiple of a quarter of it; try data.image_size={nearest}"
        )
    return n


def init_weights(module: nn.Module) -> None:
    """DCGAN (arXiv:1511.06434), section 4: "All weights were initialized from a zero-centered Normal distribution with
    standard deviation 0.02".

    BatchNorm's scales are drawn around 1, as in the authors' code.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def spectral_normalize(network: nn.Module) -> None:
    """Divide the weight of each convolution, dense layer and embedding by its largest singular value, in place.

    Miyato et al. 2018 (arXiv:1802.05957), Algorithm 1: one power iteration in each forward pass in training mode.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            nn.utils.parametrizations.spectral_norm(module)
