"""A trained model as a weights folder: what others need of a run, and nothing else of it."""

import io
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from zoo.game.abilities import FromLatents, OfClasses, Scores, Styles, Translates, Upscales, attributes_of, classes_of
from zoo.text import printable, trains
from zoo.use.pictures import sheet
from zoo.use.sample import draw, grid
from zoo.weights.folder import Weights
from zoo.weights.hub import NAME
from zoo.weights.names import published
from zoo.weights.portable import is_place, portable, without_places

# What is no part of a recipe.
NO_PART = re.compile(r"[+~]*(logger|run_dir|cache_dir|hydra|resume|callbacks|trainer\.default_root_dir)\b")
TASKS: dict[type, str] = {  # by the hub's names
    FromLatents: "unconditional-image-generation",
    Translates: "image-to-image",
    Upscales: "image-to-image",
}
COMMANDS: dict[type, str] = {  # what a model with an ability is good for
    FromLatents: "zoo sample {} -o grid.png",
    OfClasses: "zoo sample {} --all-labels -o classes.png",
    Styles: "zoo interpolate {} --seeds 0-5 --loop -o walk.gif",
    Translates: "zoo translate {} FOLDER -o OUT",
    Upscales: "zoo upscale {} photo.png -o large.png",
    Scores: "zoo score {} FOLDER -o scores.csv",
}
ROWS, COLUMNS = 16, 8  # of the picture, at most
FOLDER = "FOLDER"  # what a place is called


def weights_of(model: Any, about: Mapping[str, Any], *, critic: bool = False) -> Weights:
    """What others need of a trained model: its networks as `GAN.best` has them, and the settings that they are used by.

    The averages take the place of the networks, so that a model of these weights has none (ema_half_life None).

    Args:
        model: of `zoo.load`.
        about: what the card says, as data.
        critic: whether the critic's networks come along, for whoever trains on.
    """
    networks = dict(model.deployed())
    if critic:
        names = {module: name for name, module in model.named_children()}
        networks |= {names[network]: network for network in model.critics()}
    tensors = {f"{part}.{name}": t for part, network in networks.items() for name, t in network.state_dict().items()}
    return Weights(
        variant=f"{type(model).__module__}.{type(model).__qualname__}",
        hyperparameters=without_places(dict(model.hparams), None) | {"ema_half_life": None},
        tensors=tensors,
        images=model.images,
        config=portable(model.config) | {"averaged": model.averaged or bool(model.config.get("averaged"))},
        about=dict(about),
    )


def command(model: Any, overrides: Sequence[str], data: str) -> str:
    """The command line of a run, by which anyone makes another like it: without where its files went, or come from.

    What was left to a default, which may be another on another machine or in another version, is written out.

    Args:
        model: what came of it.
        overrides: as they were typed.
        data: the choice of data=.
    """
    typed = [printable(str(override)).partition("=") for override in overrides]
    names = {name for name, *_ in typed}
    words = [trains()]
    if "experiment" not in names:
        defaults = {"model": type(model).__module__.rpartition(".")[2], "data": data}
        words += [f"{name}={choice}" for name, choice in defaults.items() if name not in names]
        if "scale" not in names and "scale" in model.config:
            words.append(f"scale={printable(str(model.config['scale']))}")
    for name, equals, value in typed:
        if not NO_PART.match(name):
            bare = value.strip("'\"")
            known = bare == "null" or bare in published() or NAME.fullmatch(bare)  # to others too
            place = is_place(name.rpartition(".")[2], bare) and not known
            words.append(shlex.quote(f"{name}{equals}{FOLDER if place else value}"))
    return " ".join(words)


def places(config: Any, name: str = "") -> Iterator[str]:
    """Every place that settings name, as it may stand in a text."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from places(value, str(key))
    elif isinstance(config, list | tuple):
        for value in config:
            yield from places(value, name)
    elif is_place(name, config) and config:
        yield from {config, str(Path(config).expanduser()), os.path.realpath(os.path.expanduser(config))}


def without(text: str, known: Sequence[str]) -> str:
    """A text in which places are called FOLDER, those that are known, the longest first, and the home folder."""
    for place in sorted({*known, str(Path.home())}, key=len, reverse=True):
        if len(place) > 1:
            text = text.replace(place, FOLDER)
    return printable(text)


def task(model: Any) -> str:
    """What a model does, by the hub's name."""
    return next((name for ability, name in TASKS.items() if isinstance(model, ability)), "image-to-image")


def uses(model: Any, name: str) -> list[str]:
    """Commands that a model of this name is good for."""
    able = [line for ability, line in COMMANDS.items() if isinstance(model, ability)]
    if not classes_of(model):
        able = [line for line in able if line != COMMANDS[OfClasses]]
    return [line.format(shlex.quote(name)) for line in able]


@torch.no_grad()
def picture(model: Any, data: Any) -> tuple[bytes | None, str]:
    """The PNG of what a model makes, and what is seen there; None where that needs data, and there are none.

    Args:
        model: of `zoo.load`.
        data: the data module, or None.
    """
    if isinstance(model, FromLatents):
        if classes := classes_of(model)[:ROWS]:
            drawn = [draw(model, range(COLUMNS), label) for label in range(len(classes))]
            return _png(sheet(_rows(drawn), left=classes)), f"each class, of seeds 0 to {COLUMNS - 1}"
        if names := attributes_of(model):
            vectors = [[float(i == j) for j in range(len(names))] for i in range(min(len(names), ROWS))]
            drawn = [draw(model, range(COLUMNS), vector) for vector in vectors]
            return _png(sheet(_rows(drawn), left=names[:ROWS])), f"each attribute alone, of seeds 0 to {COLUMNS - 1}"
        return _png(grid([draw(model, range(64))])), "seeds 0 to 63, none left out"
    if data is None:
        return None, ""
    split = "test" if "test" in data.sets else "train"
    batch = next(iter(data.evaluation_loader(split=split, num=COLUMNS, rank=0, world_size=1, batch_size=COLUMNS)))
    shown = model.preview(type(batch)(*(field.to(model.device) for field in batch)))
    rows: list[list[torch.Tensor | None]] = []
    left: list[str] = []
    for key, preview in shown.items():
        if preview.panel:
            rows += [list(column.cpu()) for column in preview.panel]
            left += [key if key != "samples" else "", *[""] * (len(preview.panel) - 1)]
    return _png(sheet(rows, left=left)), f"of the first {split} images, column by column"


def _rows(drawn: Sequence[torch.Tensor]) -> list[list[torch.Tensor | None]]:
    """Images [N, C, H, W] in [0, 1], for a sheet."""
    return [list(images * 2 - 1) for images in drawn]


def _png(image: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()
