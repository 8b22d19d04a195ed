"""The table of zoo evaluate --protocols."""

import json
from pathlib import Path
from typing import Any

import typer


def by_protocols(
    model: Any, path: Path, data: Any, evaluation: Any, overrides: list[str], device: str, json_: str | None
) -> None:
    """Measure a model by the protocols of the literature, and print the table, or write it as JSON."""
    from zoo.cli.common import watched
    from zoo.cli.measure import generator
    from zoo.game.abilities import FromLatents
    from zoo.metrics.evaluation import Evaluation
    from zoo.metrics.protocols import NUMBERS, measure
    from zoo.use.pictures import whole
    from zoo.use.runs import Table

    if json_ not in (None, "-") and Path(str(json_)).is_dir():
        raise ValueError(f"--json {json_} is a folder: give a file")
    if not isinstance(evaluation, Evaluation):
        raise ValueError("--protocols compares features: give metrics that have some, such as metrics=inception")
    capped = any(override.startswith("metrics.num_fake=") for override in overrides)
    most = (evaluation.num_fake if capped else None) or max(NUMBERS)
    numbers: list[int] | None = [*(n for n in NUMBERS if n < most), most]
    remarks, split = [], "train"
    if not isinstance(model, FromLatents):
        numbers, split = None, evaluation.split
        if capped and evaluation.num_fake:  # beyond the inputs it would be the same images again
            numbers = [min(evaluation.num_fake, evaluation.num_real or data.num_images(split))]
        remarks.append(
            f"{type(model).__name__} makes one image of each input, so that there are no more fakes than inputs in "
            f"the {split} split: 5k, 10k and 50k do not apply"
        )
    total = max(data.num_images(split), *(numbers or [0]))
    with watched(model.preview, total) as preview:
        table = measure(
            preview,
            data,
            evaluation.extractor,
            numbers=numbers,
            num_real=evaluation.num_real,
            split=split,
            size=data.rows.image_size,
            batch_size=evaluation.batch_size,
            drawn=evaluation.prc_images,
            cache_dir=evaluation.cache_dir,
            device=device,
            protocol=generator(model),
        )
    report = table.as_json()
    report["remarks"] = remarks = remarks + table.remarks
    report = {"run": str(path), "trained_for": model.images} | report
    if json_ == "-":
        typer.echo(json.dumps(report, indent=2))
        return
    if json_ is not None:
        with whole(Path(json_)) as part:
            part.write_text(json.dumps(report, indent=2) + "\n")
    typer.echo(f"{path}, {model.images:,} images")
    for line in Table(table.columns(), list(table.cells())).lines():
        typer.echo(f"  {line}")
    for remark in remarks:
        typer.echo(f"  {remark}")
    for source in table.sources():
        typer.echo(f"  {source.who}: {source.where}")
    for name, setting in table.protocol.items():
        typer.echo(f"  {name:<20} {setting}")
