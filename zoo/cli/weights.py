"""Weights that come and go: zoo import."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option


def import_(
    file: Annotated[Path, Argument(metavar="FILE", help="a checkpoint of another repository, or its weights alone")],
    output: Annotated[Path, Option("-o", "--output", metavar="FOLDER", help="a weights folder, which is to be new")],
    variant: Annotated[
        str | None, Option("--as", metavar="VARIANT", help="which model= they are; by default the file tells")
    ] = None,
) -> None:
    """Make a weights folder of somebody else's checkpoint, which everything here takes as RUN.

    Nothing that FILE says is run: it is read as data. The format is known by the names of its weights.
    """
    from zoo.formats import pickles, recognise
    from zoo.run import checkpoint
    from zoo.run.config import choices, nearest
    from zoo.weights import folder

    known = choices("model")
    if variant is not None and variant not in known:
        raise ValueError(f"--as={variant} is no model: {nearest(variant, known)}")
    folder.refuse_full(output)
    tree = pickles.read(file)
    try:
        foreign = recognise(tree, wanted=variant)
        weights = _ours(foreign, file.name)
        model = checkpoint.built(weights, whole=False)  # or a sentence
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    folder.write(output, weights, card=_card(foreign, file.name), pictures={})
    networks = dict.fromkeys(name.partition(".")[0] for name in foreign.weights)
    for note in foreign.notes:
        typer.echo(note, err=True)
    typer.echo(
        f"{output}: {', '.join(networks)} of {foreign.repository} as {type(model).__name__} (model={foreign.variant})"
    )


def _ours(foreign: Any, name: str) -> Any:
    """The content of a weights folder: hyperparameters are the variant's defaults, but for what the file tells."""
    from omegaconf import OmegaConf

    from zoo.run.config import compose, plain
    from zoo.run.fits import check_rows, class_named
    from zoo.use.publish import portable
    from zoo.weights.folder import Weights

    labelled = bool(foreign.settings.get("model.classes"))
    groups = ("folder", "labelled_folder", "unpaired_folder", "paired_folder", "super_resolution_folder")
    for data in groups[1:] if labelled else groups:  # images of the user's: the first kind that the variant takes
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
    import torch

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


def _card(foreign: Any, name: str) -> str:
    """README.md: where the weights come from. Whose they are and what may be done with them, no file tells."""
    from zoo.text import printable

    notes = "".join(f"- {printable(note)}\n" for note in foreign.notes)
    return (
        "---\nlibrary_name: gan-zoo\ntags:\n- gan\n---\n\n"
        f"# {foreign.variant}, imported\n\n"
        f"Weights of [{foreign.repository}](https://github.com/{foreign.repository}), imported from `{printable(name)}`. "
        "Their licence is that of their source; look it up before you pass them on.\n"
        + (f"\n{notes}" if notes else "")
    )
