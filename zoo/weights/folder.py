"""A weights folder: a generator that has left its run, as plain data.

    model.safetensors   the networks, by the names of the model's state dict; or of them in 16 bit
    config.json         the variant, its hyperparameters, the settings of data and metrics; what the card says, as data
    README.md           the card, in the hub's format
    samples.png         its picture

Nothing in it is code. Whoever builds a model of it holds it to `zoo.run.trust` first: the folder may be a stranger's.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from zoo.text import read_small

if TYPE_CHECKING:  # torch takes seconds, which names and what cards say should not
    import torch

TENSORS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = 1  # of config.json
LARGEST = 4_000_000  # bytes of config.json; one with a thousand classes has some ten thousand


@dataclass(frozen=True, kw_only=True)
class Weights:
    """All that makes a trained model again.

    Args:
        variant: the dotted name of its class, such as zoo.model.dcgan.DCGAN.
        hyperparameters: the arguments of that.
        tensors: by their names in the model's state dict, networks whole; those that nothing needs may be missing.
        images: that it was trained for.
        config: the settings of its run that a trained model is used by: data, metrics, seed.
        about: what its card says, as data: {"figures": {...}, "command": ..., "licence": ...}.
        whole: whether every network is there, and its average and its state: those of a run's checkpoint are.
    """

    variant: str
    hyperparameters: dict[str, Any]
    tensors: dict[str, Any]
    images: int
    config: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)
    whole: bool = False


def is_one(path: Path) -> bool:
    """Whether this is a weights folder, as far as the names of its files tell."""
    return (path / TENSORS).is_file() and (path / CONFIG).is_file()


def write(
    folder: Path, weights: Weights, *, card: str, pictures: Mapping[str, bytes], dtype: "torch.dtype | None" = None
) -> None:
    """Make a weights folder, whole or not at all.

    Args:
        folder: a new one, or one that is empty.
        card: the text of README.md.
        pictures: other files, by name.
        dtype: of the tensors that are of floating point in the file; None: as they are.

    Raises:
        ValueError: if there is something in the folder, or it can't be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from zoo import torchfile

    refuse_full(folder)
    # Clones: of two that share memory safetensors writes none.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.tensors.items()}
    torchfile.check_finite(tensors, "what is to be written")
    if dtype is not None:
        tensors = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
        if beyond := [name for name, t in tensors.items() if not t.isfinite().all()]:
            raise ValueError(f"{beyond[0]} has numbers beyond those of {dtype}: leave --half out")
    content = {
        "library": "gan-zoo",
        "format": FORMAT,
        "variant": weights.variant,
        "images": weights.images,
        "hyperparameters": weights.hyperparameters,
        "config": weights.config,
        "about": weights.about,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    target = Path(os.path.realpath(folder))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{target.name}.", suffix=".part", dir=target.parent) as place:
            part = Path(place, target.name)
            part.mkdir()
            save_file(tensors, part / TENSORS)
            (part / CONFIG).write_text(text + "\n", encoding="utf-8")
            (part / TENSORS).chmod((part / CONFIG).stat().st_mode)  # safetensors' own is for the owner alone
            (part / CARD).write_text(card, encoding="utf-8")
            for name, picture in pictures.items():
                (part / name).write_bytes(picture)
            if target.is_dir():
                target.rmdir()  # an empty one, or an error
            os.replace(part, target)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"{folder} can't be written ({why}): give another place, -o FOLDER") from None


def refuse_full(folder: Path) -> None:
    """Raise a ValueError for a place where no new folder can be made."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already, and not empty: give a new folder, or remove it")


def read(folder: Path) -> Weights:
    """What a weights folder holds; numbers of 16 bit become float32.

    Raises:
        ValueError: naming the file that is missing, damaged, or of something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from zoo import torchfile

    content = read_config(folder)
    path = folder / TENSORS
    if not path.is_file():
        raise ValueError(f"{path} can't be read: there is no such file")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0] if str(error) else error!r}") from None
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    torchfile.check_finite(tensors, str(path))
    return Weights(tensors=tensors, **{name: content[name] for name in KINDS})


KINDS: dict[str, type] = {"variant": str, "hyperparameters": dict, "images": int, "config": dict, "about": dict}


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json of a weights folder says.

    Raises:
        ValueError: naming what is missing or of another type.
    """
    path = folder / CONFIG
    text = read_small(path, limit=LARGEST)
    try:
        content: Any = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict) or content.get("library") != "gan-zoo":
        raise ValueError(f"{path} is of another library: this zoo's weights folders say gan-zoo there")
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {content.get('format')!a}, and this version reads {FORMAT}: update gan-zoo"
        )
    for name, kind in KINDS.items():
        if type(content.get(name)) is not kind:
            raise ValueError(f"{path} is damaged: its {name} is no {kind.__name__}")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
