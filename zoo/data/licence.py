"""Under what terms a set's images may be used, as a model card says it."""

from typing import NamedTuple


class Licence(NamedTuple):
    """The terms of a set of images.

    Args:
        id: by the hub's name, such as cc-by-4.0; unknown where the authors state none.
        words: whose images, their source, and the terms in words.
    """

    id: str
    words: str


OWN = Licence("unknown", "images of your own: fill in whose they are, and on what terms they may be used")
MNIST_TERMS = Licence(
    "cc-by-sa-3.0",
    "MNIST, Y. LeCun, C. Cortes and C. J. C. Burges, http://yann.lecun.com/exdb/mnist/: Creative Commons "
    "Attribution-Share Alike 3.0",
)
PHOTOGRAPH_TERMS = Licence(
    "cc0-1.0",
    "photographs by way of scikit-image. Public domain: astronaut and hubble_deep_field (NASA), rocket "
    "(SpaceX). CC0: brick and gravel (CC0Textures), camera (L. Varshney), chelsea (S. van der Walt), coffee (R. "
    "Michetti), grass (linolafett), retina (M. Haggstrom)",
)
