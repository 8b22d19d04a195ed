"""Weights that come and go: zoo import."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option


def import_(
    files: Annotated[
        list[Path],
        Argument(
            metavar="FILE...",
            help="a checkpoint of another repository, or its weights alone; where each network has a file, all of a "
            "model, or the folder that has them",
        ),
    ],
    output: Annotated[Path, Option("-o", "--output", metavar="FOLDER", help="a weights folder, which is to be new")],
    variant: Annotated[
        str | None, Option("--as", metavar="VARIANT", help="which model= they are; by default the file tells")
    ] = None,
) -> None:
    """Make a weights folder of somebody else's checkpoint, which everything here takes as RUN.

    Nothing that FILE says is run: it is read as data. The format is known by the names of its weights. Of a folder the
    newest file of each network is taken.
    """
    from zoo.run import checkpoint, foreign
    from zoo.run.config import choices, nearest
    from zoo.weights import folder

    known = choices("model")
    if variant is not None and variant not in known:
        raise ValueError(f"--as={variant} is no model: {nearest(variant, known)}")
    folder.refuse_full(output)
    weights, found = foreign.read(files, wanted=variant)
    try:
        model = checkpoint.built(weights)  # or a sentence
    except ValueError as error:
        raise ValueError(f"{', '.join(map(str, files))}: {error}") from None
    folder.write(output, weights, card=_card(found, weights.about["file"]), pictures={})
    networks = dict.fromkeys(name.partition(".")[0] for name in weights.tensors)
    for note in found.notes:
        typer.echo(note, err=True)
    typer.echo(
        f"{output}: {', '.join(networks)} of {found.repository} as {type(model).__name__} (model={found.variant})"
    )


def _card(foreign: Any, name: str) -> str:
    """README.md: where the weights come from. Whose they are and what may be done with them, no file tells."""
    from zoo.text import printable

    notes = "".join(f"- {printable(note)}\n" for note in foreign.notes)
    return (
        "---\nlibrary_name: gan-zoo\ntags:\n- gan\n---\n\n"
        f"# {foreign.variant}, imported\n\n"
        f"Weights of [{foreign.repository}](https://github.com/{foreign.repository}), imported from "
        f"`{printable(name)}`. Their licence is that of their source; look it up before you pass them on.\n"
        + (f"\n{notes}" if notes else "")
    )
