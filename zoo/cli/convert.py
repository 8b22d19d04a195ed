"""From images to images: zoo translate, zoo upscale."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from zoo.cli.common import Device, Run, loaded


def translate(
    run: Run,
    source: Annotated[Path, Argument(metavar="FOLDER", help="a folder of images, or one image")],
    output: Annotated[Path, Option("-o", "--output", metavar="OUT", help="a folder, which may be new")],
    direction: Annotated[str, Option(help="X->Y or Y->X (quoted, for the shell)")] = "X->Y",
    size: Annotated[int | None, Option(min=1, metavar="N", help="first resize: the shorter side to N pixels")] = None,
    device: Device = "cpu",
) -> None:
    """Translate images of any size by a trained translator: OUT gets the same names, subfolders and sizes.

    Each image enters as the training images did: upright, with the channels that the model was trained on. A file that
    can't be read is named and left out; the exit status is then 1.
    """
    from zoo.game.abilities import Translates
    from zoo.use.pictures import convert_each, results
    from zoo.use.translate import translator

    folder, targets = results(source, output)
    model = loaded(run, device, Translates, "zoo translate")
    convert = translator(model, direction, size=size)
    with typer.progressbar(length=len(targets), label=direction) as bar:
        failures = convert_each(convert, folder, targets, bar.update)
    for sentence in failures:
        typer.echo(sentence, err=True)
    typer.echo(f"{len(targets) - len(failures)} of {len(targets)} images translated {direction}: {output}")
    if failures:
        raise typer.Exit(1)


def upscale(
    run: Run,
    source: Annotated[Path, Argument(metavar="IMAGE", help="an image, or a folder of images")],
    output: Annotated[Path | None, Option("-o", "--output", help="a picture; a folder, if IMAGE is one")] = None,
    tile: Annotated[int, Option(min=1, help="side of a tile in pixels of IMAGE: less needs less memory")] = 192,
    device: Device = "cpu",
) -> None:
    """Enlarge an image, or each image of a folder, with a trained super-resolution network.

    PNG and TIFF keep 16 bit and alpha. A file of a folder that can't be read does not hold up the rest.
    """
    from zoo.game.abilities import Upscales
    from zoo.use.pictures import FORMATS, convert_each, results
    from zoo.use.upscale import enlarge_file

    model = loaded(run, device, Upscales, "zoo upscale")
    if source.is_dir():
        if output is None or output.suffix.lower() in FORMATS:
            raise ValueError(f"{source} is a folder: give one for the results too, -o FOLDER")
        folder, targets = results(source, output)
        enlarge = lambda source, target: enlarge_file(model, source, target, tile=tile)
        with _bar(f"{len(targets)} images", len(targets)) as advance:
            failures = convert_each(enlarge, folder, targets, advance)
        typer.echo(f"{len(targets) - len(failures)} of {len(targets)} images enlarged by {model.scale}: {output}")
        if failures:
            typer.echo("\n".join(["not enlarged:", *(f"  {sentence}" for sentence in failures)]), err=True)
            raise typer.Exit(1)
        return
    if not source.exists():
        raise ValueError(f"{source} does not exist: give an image, or a folder of images")
    target = output or source.with_name(f"{source.stem}-x{model.scale}.png")
    target = target / f"{source.stem}.png" if target.is_dir() else target
    with _bar(source.name, 1) as advance:
        width, height = enlarge_file(model, source, target, tile=tile, progress=advance)
    typer.echo(f"{target}: {width}x{height}")


@contextmanager
def _bar(label: str, total: int) -> Iterator[Callable[[float], None]]:
    """A progress bar on a terminal, which is told what more is done, of a total; elsewhere nothing."""
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda more: bar.advance(task, more)
