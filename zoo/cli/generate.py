"""zoo sample."""

import csv
import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.common import (
    PICTURES,
    Device,
    Run,
    Truncation,
    check_styles,
    classes_of,
    folder_name,
    labels_of,
    seed_numbers,
    styles_of,
    write_images,
)


def sample(
    run: Run,
    number: Annotated[
        int | None,
        typer.Option("-n", "--number", min=1, help="how many images; of each class, where there are several"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="a picture, or a folder for one file an image")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="the first image's seed; the others' follow it")] = 0,
    seeds: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="these seeds instead of -n and --seed, such as 0-7,12")
    ] = None,
    truncation: Truncation = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="of this class, by name or number; may be repeated")
    ] = None,
    all_labels: Annotated[bool, typer.Option("--all-labels", help="a row of each class")] = False,
    per_class: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="a labelled folder: N images of each class, and a manifest")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Draw images from a trained generator: a grid if OUTPUT has a picture's extension, else a folder of PNG files.

    By default 64 images into samples.png. Several classes: a row of 8 images for each, the same seeds in every row.
    --per-class 500 -o FOLDER: images for data=labelled_folder data.root=FOLDER, no seed twice.
    """
    import torch
    from torchvision.utils import make_grid, save_image

    from zoo.run.checkpoint import load
    from zoo.use.pictures import make_folder

    if label and all_labels:
        raise ValueError("--all-labels means every class: leave --label out, or name several (--label 3 --label 7)")
    if (seeds is not None or truncation is not None) and per_class:
        raise ValueError("--per-class draws whole data sets: leave --seeds and --truncation out")
    if seeds is not None and (number or seed):
        raise ValueError(f"--seeds={seeds} says which images: leave -n and --seed out")
    model = load(run, device=device)
    labels = range(len(classes_of(model))) if all_labels or (per_class and not label) else labels_of(model, label or [])
    if per_class:
        if number or all_labels or output is None or output.suffix.lower() in PICTURES:
            raise ValueError("--per-class=N means N images of each class: give a folder, -o FOLDER, and no -n")
        _write_labelled_folder(model, run, output, labels, per_class, seed)
        typer.echo(f"{per_class} images of each of {len(labels)} classes, and manifest.csv: {output}")
        return
    output = output or Path("samples.png")
    make_folder(output)
    number = number or (8 if len(labels) > 1 else 64)
    wanted = seed_numbers(seeds, "--seeds") if seeds is not None else list(range(seed, seed + number))
    if seeds is not None or truncation is not None:
        rows = [_draw(model, wanted, label, truncation) for label in [*labels] or [None]]
    else:
        rows = [model.sample(number, seed=seed, labels=[label] * number) for label in labels]
        rows = rows or [model.sample(number, seed=seed)]
    if output.suffix.lower() in PICTURES:
        images = torch.cat(rows)
        if images.shape[1] not in (1, 3):  # a grid is for looking at: grey or colour, without alpha
            images = images[:, : 1 if images.shape[1] == 2 else 3]
        columns = len(wanted) if len(rows) > 1 else round(len(wanted) ** 0.5)
        save_image(make_grid(images, nrow=columns, padding=2, pad_value=0.5), output)
    else:
        names = [folder_name(classes_of(model)[label]) for label in labels]
        for folder, images in zip(names or ["."], rows, strict=True):
            write_images(images, output / folder, wanted)
    of_what = f" of each of {', '.join(classes_of(model)[label] for label in labels)}" if labels else ""
    which = seeds or f"{seed} to {seed + number - 1}"
    typer.echo(f"{len(wanted)} images{of_what}, seeds {which}: {output}")


def _draw(model: Any, seeds: Sequence[int], label: int | None, truncation: float | None) -> Any:
    """Images [N, C, H, W] in [0, 1] of seeds, on the CPU."""
    import torch

    from zoo.batch import to_unit
    from zoo.use.styles import render

    if truncation is not None:
        if not 0 <= truncation <= 2:
            raise ValueError(f"--truncation={truncation} must be in [0, 2]: 1 is none, 0 the one image of the mean")
        check_styles(model, "--truncation", "leave it out")
        return to_unit(render(model, styles_of(model, seeds, label, truncation)))
    images = []
    for batch in torch.tensor(seeds, device=model.device).split(256):
        labels = None if label is None else torch.full_like(batch, label)
        with torch.no_grad():
            images.append(to_unit(model.generate(batch, labels)).cpu())
    return torch.cat(images)


def _write_labelled_folder(model: Any, run: Path, folder: Path, labels: Sequence[int], n: int, seed: int) -> None:
    """FOLDER/<class>/<seed>.png: n images of each class, label y's of the seeds from `seed` + y * n on.

    manifest.csv names each image with its label, class and seed; manifest.json says where they come from.
    """

    from zoo.run import checkpoint

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already, and not empty: give a new folder, or remove it")
    classes, path, labels = classes_of(model), checkpoint.find(run), list(dict.fromkeys(labels))
    names = [folder_name(classes[label]) for label in labels]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"several classes would share the folder {', '.join(sorted(twice))}: take them one by one, --label"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    of_some = [] if len(labels) == len(classes) else [f"--label={classes[label]}" for label in labels]
    command = ["zoo", "sample", str(run), f"--per-class={n}", f"--seed={seed}", *of_some, "-o", str(folder)]
    origin = {
        "command": shlex.join(command),
        "checkpoint": str(path),
        "checkpoint_sha256": digest,
        "variant": type(model).__name__,
        "trained_for": f"{model.images} images",
        "classes": classes,
    }
    (folder / "manifest.json").write_text(json.dumps(origin, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        manifest = csv.writer(file)
        manifest.writerow(["path", "label", "class", "seed"])
        for label in labels:
            of_class, first = folder_name(classes[label]), seed + label * n
            for start in range(first, first + n, 256):  # no more than these in memory
                size = min(256, first + n - start)
                write_images(
                    model.sample(size, seed=start, labels=[label] * size), folder / of_class, range(start, start + size)
                )
                for i in range(start, start + size):
                    manifest.writerow([f"{of_class}/{i:06d}.png", label, classes[label], i])
