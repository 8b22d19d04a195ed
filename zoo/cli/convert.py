"""From images to images: zoo translate, zoo upscale."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.common import PICTURES, Device, Run, check_output


def translate(
    run: Run,
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="a folder of images, or one image")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="a folder, which may be new")],
    direction: Annotated[str, typer.Option(help="X->Y or Y->X (quoted, for the shell)")] = "X->Y",
    size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="first resize: the shorter side becomes N pixels")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Translate images of any size by a trained CycleGAN or pix2pix: OUT gets the same names, subfolders and sizes.

    Each image enters as the training images did: upright, with the channels that the model was trained on. A file that
    can't be read is named and left out; the exit status is then 1.
    """
    from zoo.data.folder import find_images
    from zoo.data.reading import UnreadableImage, colour
    from zoo.run.checkpoint import load

    if not source.exists():
        raise ValueError(f"{source} does not exist: give a folder of images, or one image")
    folder, names = (source, find_images(source)) if source.is_dir() else (source.parent, [source.name])
    if not names:
        raise ValueError(f"{source} has no images")
    targets = {name: output / writable(name) for name in names}
    check_output(source, folder, output, targets)

    model: Any = load(run, device=device)
    if not hasattr(model, "translate"):
        raise ValueError(f"{type(model).__name__} makes images from nothing: zoo translate is for cyclegan and pix2pix")
    directions = {"X->Y": model.hparams["channels_x"], "Y->X": model.hparams["channels_y"]}
    if direction not in directions:
        raise ValueError(f"--direction={direction} must be {' or '.join(directions)}")
    background = colour(model.config["data"].get("background", "white"))  # as the training images had it
    bad = []
    with typer.progressbar(names, label=direction) as progress:
        for name in progress:
            try:
                image = _read(folder / name, channels=directions[direction], size=size, background=background)
                _write(model.translate(image, direction), targets[name])
            except UnreadableImage as error:
                bad.append(str(error))
            except OSError as error:  # of writing
                bad.append(f"{targets[name]}: {error.strerror or error}")
    for sentence in bad:
        typer.echo(sentence, err=True)
    typer.echo(f"{len(names) - len(bad)} of {len(names)} images translated {direction}: {output}")
    if bad:
        raise typer.Exit(1)


def upscale(
    run: Run,
    source: Annotated[Path, typer.Argument(metavar="IMAGE", help="an image, or a folder of images")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="a picture, or a folder: where IMAGE is one, another")
    ] = None,
    tile: Annotated[int, typer.Option(min=1, help="side of a tile in pixels of IMAGE: less needs less memory")] = 192,
    device: Device = "cpu",
) -> None:
    """Enlarge an image, or each image of a folder, with a trained super-resolution network.

    PNG and TIFF keep 16 bit and alpha. A file of a folder that can't be read does not hold up the rest.
    """
    from zoo.data.folder import find_images
    from zoo.run.checkpoint import load
    from zoo.use.upscale import FORMATS, enlarge_file

    model: Any = load(run, device=device)
    if not hasattr(model, "upscale"):
        raise ValueError(f"{type(model).__name__} enlarges nothing: train model=srgan")
    if not source.exists():
        raise ValueError(f"{source} does not exist: give an image, or a folder of images")
    if not source.is_dir():
        target = output or source.with_name(f"{source.stem}-x{model.hparams['scale']}.png")
        if target.is_dir():
            target = target / f"{source.stem}.png"
        with _bar(source.name) as advance:
            width, height = enlarge_file(model, source, target, tile=tile, progress=advance)
        typer.echo(f"{target}: {width}x{height}")
        return
    if output is None or output.suffix.lower() in PICTURES:
        raise ValueError(f"{source} is a folder: give one for the results too, -o FOLDER")
    files = find_images(source)
    if not files:
        raise ValueError(f"{source} holds no images")
    targets = {name: output / (name if name.lower().endswith(FORMATS) else f"{name}.png") for name in files}
    check_output(source, source, output, targets)
    failed = []
    with _bar(f"{len(files)} images") as advance:
        for done, name in enumerate(files):
            advance(done, len(files))
            try:
                enlarge_file(model, source / name, targets[name], tile=tile)
            except ValueError as error:
                failed.append(str(error))
        advance(len(files), len(files))
    typer.echo(f"{len(files) - len(failed)} of {len(files)} images enlarged by {model.hparams['scale']}: {output}")
    if failed:
        typer.echo("\n".join(["not enlarged:", *(f"  {sentence}" for sentence in failed)]), err=True)
        raise typer.Exit(1)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, which is told how many are done, of how many; elsewhere nothing."""
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def writable(name: str) -> str:
    """A translation's name: that of its input, with .png after extensions that are not written here."""
    return name if name.lower().endswith(PICTURES) else f"{name}.png"


def _read(path: Path, *, channels: int, size: int | None, background: tuple[int, int, int]) -> Any:
    """An image file as float32 [1, channels, H, W] in [-1, 1], transparency laid over the background."""
    import numpy as np
    import torch

    from zoo.batch import from_bytes
    from zoo.data.reading import MAX_PIXELS, fit, opened, with_channels

    with opened(path, max_pixels=MAX_PIXELS) as image:
        image = with_channels(image, channels, background)
        if size is not None:
            scale = size / min(image.size)
            image = fit(image, (round(image.height * scale), round(image.width * scale)), "stretch", background)
        pixels = torch.from_numpy(np.array(image))  # [H, W] or [H, W, C]
    return from_bytes(pixels[None, None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)[None])


def _write(images: Any, path: Path) -> None:
    """The image [1, C, H, W] in [-1, 1] as a file; formats without transparency get the colours alone."""
    from PIL import Image

    from zoo.batch import to_bytes
    from zoo.data.reading import MODES

    pixels = to_bytes(images)[0].permute(1, 2, 0).cpu().numpy()  # [H, W, C]
    channels = pixels.shape[2]
    picture = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    if path.suffix.lower() in (".jpg", ".jpeg", ".bmp"):
        picture = picture.convert(MODES[1 if channels < 3 else 3])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=95)
