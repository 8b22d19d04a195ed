"""How weights begin, and how their size is held."""

from torch import nn

from zoo.networks.translators import InstanceNorm


def init_weights(*networks: nn.Module) -> None:
    """DCGAN (arXiv:1511.06434), section 4: "All weights were initialized from a zero-centered Normal distribution with
    standard deviation 0.02". Scales of normalisations are drawn around 1, as BatchNorm's in the authors' code.
    """
    for module in nn.ModuleList(networks).modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif (
            isinstance(module, nn.BatchNorm2d | InstanceNorm) and module.weight is not None and module.bias is not None
        ):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def spectral_normalize(network: nn.Module) -> None:
    """Divide the weight of each convolution, dense layer and embedding by its largest singular value, in place.

    Miyato et al. 2018 (arXiv:1802.05957), Algorithm 1: one power iteration in each forward pass in training mode.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            nn.utils.parametrizations.spectral_norm(module)
