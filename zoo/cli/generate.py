"""zoo sample."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from zoo.cli.common import (
    Device,
    Labels,
    Run,
    Truncation,
    attributes_asked,
    counted,
    label_of,
    loaded,
    names_of_classes,
    require,
)


def sample(
    run: Run,
    number: Annotated[int | None, Option("-n", "--number", min=1, help="how many images; or of each class")] = None,
    output: Annotated[Path | None, Option("-o", "--output", help="a picture, or a folder of one file an image")] = None,
    seed: Annotated[int, Option(min=0, max=2**62, help="the first image's seed; the others' follow it")] = 0,
    seeds: Annotated[str | None, Option(metavar="SEEDS", help="in place of -n and --seed, such as 0-7,12")] = None,
    truncation: Truncation = None,
    label: Labels = None,
    all_labels: Annotated[bool, Option("--all-labels", help="a row of each class")] = False,
    per_class: Annotated[int | None, Option(min=1, metavar="N", help="a labelled folder, N images a class")] = None,
    attributes: Annotated[
        str | None, Option(metavar="NAME=VALUE,...", help="of a model trained on attributes; those not named are 0")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Draw images from a trained generator: a grid if OUTPUT has a picture's extension, else a folder of PNG files.

    By default 64 images into samples.png. Several classes: a row of 8 images for each, the same seeds in every row.
    --per-class 500 -o FOLDER: images for data=labelled_folder data.root=FOLDER, no seed twice.
    """
    from zoo.game.abilities import FromLatents, Truncates
    from zoo.use import pictures
    from zoo.use.sample import draw, folder_name, labelled_folder, save_files, save_grid
    from zoo.use.styles import ranges
    from zoo.weights.names import file_of, find

    if label and all_labels:
        raise ValueError("--all-labels means every class: leave --label out, or name several (--label 3 --label 7)")
    if (seeds is not None or truncation is not None) and per_class:
        raise ValueError("--per-class draws whole data sets: leave --seeds and --truncation out")
    if seeds is not None and (number or seed):
        raise ValueError(f"--seeds={seeds} says which images: leave -n and --seed out")
    model = loaded(run, device, FromLatents, "zoo sample")
    classes = names_of_classes(model) if label or all_labels or per_class else []
    labels = [label_of(model, name) for name in label or []] or list(range(len(classes)))
    vector = attributes_asked(model, attributes)
    if per_class:
        if number or all_labels or output is None or output.suffix.lower() in pictures.FORMATS:
            raise ValueError("--per-class=N means N images of each class: give a folder, -o FOLDER, and no -n")
        labels = list(dict.fromkeys(labels))
        of_some = [f"--label={classes[label]}" for label in labels] if len(labels) < len(classes) else []
        words = ["zoo", "sample", str(run), f"--per-class={per_class}", f"--seed={seed}", *of_some, "-o", str(output)]
        origin: dict[str, Any] = {"checkpoint": file_of(find(run)), "command": shlex.join(words)}
        with counted("images", per_class * len(labels)) as seen:
            labelled_folder(model, output, per_class, labels=labels, seed=seed, **origin, seen=seen)
        typer.echo(f"{per_class} images of each of {len(labels)} classes, and manifest.csv: {output}")
        return
    output = output or Path("samples.png")
    is_picture = output.suffix.lower() in pictures.FORMATS
    pictures.check_place(output if is_picture else output / "0.png")
    if truncation is not None:
        require(model, Truncates, "--truncation", "leave it out")
    number = number or (8 if len(labels) > 1 else 64)
    wanted = ranges(seeds, "--seeds") if seeds is not None else range(seed, seed + number)
    total = len(wanted) * max(len(labels), 1)
    with counted("images", total) as seen:
        rows = [draw(model, wanted, of_class, truncation, seen) for of_class in labels or (vector,)]
    names = [classes[label] for label in labels]
    if is_picture:
        save_grid(rows, output)
    else:
        with counted("files", total) as seen:
            for folder, images in zip([folder_name(name) for name in names] or ["."], rows, strict=True):
                save_files(images, output / folder, wanted, seen)
    of_what = f" of each of {', '.join(names)}" if labels else ""
    typer.echo(f"{len(wanted)} images{of_what}, seeds {seeds or f'{seed} to {seed + number - 1}'}: {output}")
