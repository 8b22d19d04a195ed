"""Pixels that come with the package: README.md, beside this file, says whose they are and on what terms."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = Path(__file__).parent
PHOTOGRAPHS = FOLDER / "photographs"


def classed(name: str) -> "tuple[Tensor, Tensor]":
    """The images of a packed set, uint8 [N, 1, H, W], and their labels, int64 [N]: mnist5k or digits."""
    import torch  # late: who asks for photographs alone does without

    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as content:
        images, labels = content["images"], content["labels"]
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64))


def photographs() -> dict[str, Path]:
    """The photographs by their names, such as ihc."""
    return {path.stem: path for path in sorted(PHOTOGRAPHS.iterdir()) if re.fullmatch(r"\.(png|jpg)", path.suffix)}
