"""Somebody else's checkpoint as weights of this zoo: what `zoo.formats` reads, and conf/ for all that no file tells."""

from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import OmegaConf

from zoo.formats import Foreign, recognise
from zoo.formats import files as strangers
from zoo.run.config import compose, plain
from zoo.run.fits import check_rows, class_named
from zoo.weights.folder import Weights
from zoo.weights.portable import portable

# Images of the user's own, of every kind that a variant takes.
FOLDERS = ("folder", "labelled_folder", "unpaired_folder", "paired_folder", "super_resolution_folder")


def read(files: Sequence[Path], *, wanted: str | None = None) -> tuple[Weights, Foreign]:
    """Weights of somebody else's files, and what was found in them.

    Args:
        files: one, those of a model's networks, or a folder of them.
        wanted: the variant, a choice of model=; None: the one that the names of the weights tell.

    Raises:
        ValueError: naming the file that can't be read, is of no known format, or does not fit this zoo's networks.
    """
    tree, found = strangers.read(files)
    try:
        foreign = recognise(tree, wanted=wanted)
        for weight, tensor in foreign.weights.items():
            if isinstance(tensor, torch.Tensor) and not tensor.isfinite().all():
                raise ValueError(f"it has weights that are no numbers (NaN or infinite), {weight!a} first")
        return _ours(foreign, ", ".join(file.name for file in found)), foreign
    except ValueError as error:
        raise ValueError(f"{', '.join(map(str, files))}: {error}") from None


def _ours(foreign: Foreign, name: str) -> Weights:
    """The content of a weights folder: hyperparameters are the variant's defaults, but for what the file tells."""

    labelled = bool(foreign.settings.get("model.classes"))
    for data in FOLDERS[1:] if labelled else FOLDERS:  # the first kind that the variant takes
        config = compose(f"model={foreign.variant}", f"data={data}")
        try:
            check_rows(config)
        except ValueError:
            continue
        break
    else:
        raise ValueError(f"model={foreign.variant} takes no images from a folder")
    for key, value in foreign.settings.items():
        OmegaConf.update(config, key, value)
    settings = plain(config)
    variant = settings["model"].pop("_target_")

    with torch.device("meta"):
        hyperparameters = dict(class_named(variant, of="model")(**settings["model"]).hparams)
    return Weights(
        variant=variant,
        hyperparameters=hyperparameters,
        tensors={name: weight for name, weight in foreign.weights.items() if isinstance(weight, torch.Tensor)},
        images=0,
        config=portable(settings),
        about={"repository": foreign.repository, "file": name, "notes": foreign.notes},
    )
