"""Other people's checkpoints as this zoo's weights: one repository a file, plain data in, plain data out."""

from typing import Any, NamedTuple

from torch import Tensor


class Foreign(NamedTuple):
    """A stranger's weights, as this zoo has them."""

    repository: str  # "owner/name"
    variant: str  # the choice of model=
    settings: dict[str, Any]  # what a user would type: {"data.image_size": 32}
    weights: dict[str, Tensor]  # by the names of this zoo's state dict
    notes: list[str]  # what was passed over, in words
