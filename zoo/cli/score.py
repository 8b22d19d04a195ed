"""zoo score."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from zoo.cli.common import Device, Run, loaded, progress, refuse_exported, within_memory


def score(
    run: Run,
    source: Annotated[Path, Argument(metavar="FOLDER", help="a folder of images, or one image")],
    output: Annotated[Path, Option("-o", "--output", metavar="FILE", help="the table, a .csv")] = Path("scores.csv"),
    maps: Annotated[Path | None, Option(metavar="FOLDER", help="heat maps of what is unusual, one an image")] = None,
    rate: Annotated[
        float | None, Option(metavar="RATE", help="false positives: the share of normal images called abnormal  [0.05]")
    ] = None,
    normal: Annotated[
        Path | None, Option(metavar="FOLDER", help="normal images for the threshold; by default the run's test images")
    ] = None,
    threshold: Annotated[float | None, Option(metavar="SCORE", help="in place of --rate")] = None,
    no_threshold: Annotated[bool, Option("--no-threshold", help="scores alone")] = False,
    fit: Annotated[str | None, Option(help="crop, pad or stretch images of another size or other channels")] = None,
    device: Device = "cpu",
) -> None:
    """Score how unusual images are, by a model of normal ones: a table of files, the most unusual first.

    An image is called abnormal above a threshold that a share of RATE of normal images exceed, by the normal ones of
    the run's test images, on which it was not trained, or of --normal FOLDER. Each image enters as the training images
    did; where these were no files, it must have their size. A file that can't be read, or does not fit, is named and
    left out; the exit status is then 1.
    """
    from zoo.game.abilities import Scores
    from zoo.use import score as use
    from zoo.use.pictures import check_place, images_of, results
    from zoo.weights.names import find

    if output.suffix.lower() != ".csv":
        raise ValueError(f"-o {output} must be a table, such as {output.stem or 'scores'}.csv")
    if sum([rate is not None or normal is not None, threshold is not None, no_threshold]) > 1:
        raise ValueError(
            "--threshold, --no-threshold, and --rate or --normal exclude each other: give one of the three"
        )
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(f"--threshold={threshold} is no score: give a number")
    if rate is not None:
        use.check_rate(rate)
    refuse_exported(find(run), "zoo score")
    folder, names = images_of(source)
    targets = results(source, maps, "--maps") if maps is not None else {}
    model = loaded(run, device, Scores, "zoo score")
    read = use.reader(model, fit)
    check_place(output)
    if maps is not None:
        check_place(maps / "a map", "--maps")
    limit = None if no_threshold else use.Threshold(threshold, float("nan"), 0) if threshold is not None else None
    by = ""
    if limit is None and not no_threshold:
        if normal is not None:
            scores, failures = _scored(model, read, in_folder(*images_of(normal)))
            if failures:
                raise ValueError(f"--normal {normal}: {failures[0]}")
            known, by = list(scores.values()), str(normal)
        else:
            known, by = scores_of_run(model, find(run), device)
        limit = use.threshold(known, 0.05 if rate is None else rate)

    draw = (lambda image, path: use.write_map(model.residual(image), targets[path])) if maps is not None else None
    scores, failures = _scored(model, read, in_folder(folder, names), draw)
    if not scores:
        raise ValueError(failures[0])
    use.write_table({str(path.relative_to(folder)): value for path, value in scores.items()}, output, limit)
    typer.echo(f"{len(scores)} of {len(names)} images scored: {output}{f', maps in {maps}' if maps else ''}")
    if limit:
        above = sum(value > limit.value for value in scores.values())
        basis = f": {limit.rate:g} of normal images lie above it, by {limit.images} of {by}" if by else ""
        typer.echo(f"threshold {limit.value:.6g}{basis}\n{above} of {len(scores)} images lie above it")
    if failures:
        typer.echo("\n".join(failures), err=True)
        raise typer.Exit(1)


def in_folder(folder: Path, names: list[str]) -> list[Path]:
    """The paths of names within a folder."""
    return [folder / name for name in names]


def _scored(
    model: Any, read: Callable[[Path], Any], files: list[Path], draw: Callable[[Any, Path], None] | None = None
) -> tuple[dict[Path, float], list[str]]:
    """The score of each file that can be read, and what is wrong with the others; `draw` is shown each image."""
    from zoo.use.score import scores_of

    scores, failures = {}, []
    with progress("images") as track:
        for path in track(files):
            try:
                with within_memory(path, "make it smaller, or close other programs"):
                    image = read(path).to(model.device)
                    scores[path] = float(scores_of(model, image))
                    if draw:
                        draw(image, path)
            except ValueError as error:
                failures.append(str(error))
    return scores, failures


def scores_of_run(model: Any, path: Path, device: str) -> tuple[list[float], str]:
    """The scores of the normal test images of a model's run, and what these are, in words.

    Raises:
        ValueError: if the run's data are not there, or have no such images.
    """
    import torch

    from zoo.cli.measure import of_run
    from zoo.use.score import scores_of

    remedy = "give normal images, --normal FOLDER, or do without, --no-threshold"
    try:
        data, _ = of_run(model, path, [])
        split = data.split("test")
    except ValueError as error:
        raise ValueError(
            f"there are no normal test images for a threshold ({str(error).rstrip('.')}): {remedy}"
        ) from None
    if not data.normal and data.classes:
        raise ValueError(f"{data.where()} does not say which of its classes are normal (data.normal=): {remedy}")
    scores = []
    with torch.random.fork_rng([]):
        for batch in data.evaluation_loader(split="test", num=len(split)):
            chosen = (
                torch.isin(batch.label, torch.tensor(data.normal)) if data.normal else torch.ones(len(batch.label)) > 0
            )
            if chosen.any():
                scores += scores_of(model, batch.image[chosen]).tolist()
    if not scores:
        raise ValueError(f"{data.where()} has no normal test images: {remedy}")
    return scores, f"the normal test images of data={data.name}"
