"""From images to images: zoo translate, zoo upscale."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from zoo.cli.common import Device, Run, loaded, progress, within_memory


def translate(
    run: Run,
    source: Annotated[Path, Argument(metavar="FOLDER", help="a folder of images, or one image")],
    output: Annotated[Path, Option("-o", "--output", metavar="OUT", help="a folder, which may be new")],
    direction: Annotated[
        str | None, Option(help="X->Y or Y->X (quoted, for the shell); by default X->Y, or what RUN has alone")
    ] = None,
    size: Annotated[int | None, Option(min=1, metavar="N", help="first resize: the shorter side to N pixels")] = None,
    keep: Annotated[
        Literal["opaque", "lightness"] | None,
        Option(help="of each image: all that is not transparent (completion), or its lightness (colouring)"),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Translate images of any size by a trained translator: OUT gets the same names, subfolders and sizes.

    Each image enters as the training images did: upright, with the channels that the model was trained on. One that
    does not fit memory is translated in tiles, where the network has batch normalisation (by "instance" each pixel
    depends on all others). A file that can't be read, or still does not fit, is named and left out; the exit status is
    then 1.
    """
    from zoo.game.abilities import Translates
    from zoo.run.command import out_of_memory
    from zoo.use.pictures import results
    from zoo.use.translate import translator

    targets = results(source, output)
    model = loaded(run, device, Translates, "zoo translate")
    direction = direction or next(iter(model.directions))
    once = translator(model, direction, size, keep)
    tiles = (None, 1024, 256) if model.reach is not None else (None,)

    def convert(source: Path, target: Path) -> None:
        for tile in tiles:
            try:
                return once(source, target, tile)
            except Exception as error:
                if tile == tiles[-1] or not out_of_memory(error):
                    raise

    remedy = f"--size makes it smaller first, such as --size {size // 2 if size else 1024}"
    _convert_each(convert, targets, f"translated {direction}: {output}", remedy)


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
    from zoo.use.pictures import FORMATS, results
    from zoo.use.upscale import enlarge_file

    model = loaded(run, device, Upscales, "zoo upscale")
    remedy = f"smaller tiles need less, such as --tile {max(tile // 2, 1)}, and -o FILE.png less than other formats"
    if source.is_dir():
        if output is None or output.suffix.lower() in FORMATS:
            raise ValueError(f"{source} is a folder: give one for the results too, -o FOLDER")
        enlarge = lambda source, target: enlarge_file(model, source, target, tile=tile)
        _convert_each(enlarge, results(source, output), f"enlarged by {model.scale}: {output}", remedy)
        return
    if not os.path.lexists(source):
        raise ValueError(f"{source} does not exist: give an image, or a folder of images")
    target = output or source.with_name(f"{source.stem}-x{model.scale}.png")
    target = target / f"{source.stem}.png" if target.is_dir() else target
    with progress(source.name) as track, within_memory(source, remedy):
        width, height = enlarge_file(model, source, target, tile=tile, track=track)
    typer.echo(f"{target}: {width}x{height}")


def _convert_each(convert: Callable[[Path, Path], object], targets: dict[Path, Path], what: str, remedy: str) -> None:
    """Convert files into their targets; those that can't be are named and left out, and the exit status is then 1.

    `remedy`: what helps for an image that does not fit memory.
    """
    failures = []
    with progress("images") as track:
        for source, target in track(list(targets.items())):
            try:
                with within_memory(source, remedy):
                    convert(source, target)
            except ValueError as error:
                failures.append(str(error))
    typer.echo(f"{len(targets) - len(failures)} of {len(targets)} images {what}")
    if failures:
        typer.echo("\n".join(failures), err=True)
        raise typer.Exit(1)
