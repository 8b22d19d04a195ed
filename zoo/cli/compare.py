"""zoo compare."""

import difflib
import json
import math
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from zoo.cli.common import Device, counted
from zoo.data.files import EXTENSIONS

SHOWN = 10  # files that are named as not measured
NOT_HERE = ("split", "num_real", "num_fake", "per_class", "cache_dir")  # of conf/metrics: what belongs to a training
PACKED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar")
OTHERS = (*PACKED, *EXTENSIONS, ".txt", ".md", ".json", ".yaml", ".csv")  # that hold no model, whatever is in them
WHAT = "a folder of images or shards, a .zip, .tar, .npz or .npy, statistics (.npz of mu and sigma), or a RUN"


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help=f"the generated images: {WHAT}, whose fakes are made")],
    b: Annotated[Path, typer.Argument(metavar="B", help="the real ones, likewise")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="settings to change: metrics.measures=[fid], metrics.extractor.resize=clean"),
    ] = None,
    metrics: Annotated[str, Option(metavar="NAME", help="what compares: a choice of metrics=, see zoo list")] = "",
    number: Annotated[
        int | None,
        Option("-n", "--number", min=2, help="images made of a RUN; by default, as many as the other side's"),
    ] = None,
    json_: Annotated[
        str | None, Option("--json", metavar="FILE", help="write all of it as JSON too; -: to stdout, alone")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Compare two sets of images, of any sizes: FID and the other metrics by the protocol of an evaluation.

    A is taken for generated, B for real: FID is the same the other way round, precision and recall change places.
    By default metrics=inception; mnist, cifar10 and colour_digits need no download. As pytorch-fid has it:
    metrics.extractor.resize=pytorch; as clean-fid: metrics.extractor.resize=clean. Their statistics (.npz of mu and
    sigma) may be a side, for FID alone. A file that can't be read is named and left out; the exit status is then 1.
    """
    from zoo.metrics.extractors import MissingWeights
    from zoo.use.pictures import whole

    if json_ not in (None, "-") and Path(json_).is_dir():
        raise ValueError(f"--json {json_} is a folder: give a file")
    generated, real = _sides(a, b, number, device)
    comparison, batch_size = _comparison(metrics, overrides or [])
    try:
        comparison.load()
    except MissingWeights as error:
        raise ValueError(
            f"{error}. Or compare by another extractor: --metrics mnist, cifar10 or colour_digits"
        ) from None
    comparison.extractor.to(device)
    total = sum(len(side) for side in (generated, real) if hasattr(side, "__len__"))
    with counted("images", total) as seen:
        result = comparison.compare(
            generated, real, device=device, batch_size=batch_size, names=(str(a), str(b)), seen=seen
        )
    sides = {"generated": (a, generated), "real": (b, real)}
    protocol = {key: value for key, value in result.protocol.items() if key not in ("num_fake", "num_real")}
    remarks = comparison.left_out((generated, real), (str(a), str(b)))
    report = {
        "values": {name: value if math.isfinite(value) else None for name, value in result.values.items()},
        "intervals": result.intervals,
        **{name: {"path": str(path), **side.notes(), **_left_out(side)} for name, (path, side) in sides.items()},
        **({"remarks": remarks} if remarks else {}),
        "protocol": protocol,
    }
    if json_ == "-":
        typer.echo(json.dumps(report, indent=2))
    else:
        if json_ is not None:
            with whole(Path(json_)) as part:
                part.write_text(json.dumps(report, indent=2) + "\n")
        for line in _lines(report):
            typer.echo(line)
    named = [
        f"{path}/{file}: {why}"
        for path, side in sides.values()
        for file, why in sorted(_left_out(side).get("unreadable", {}).items())
    ]
    for line in named[:SHOWN]:
        typer.echo(f"not measured: {line}", err=True)
    if len(named) > SHOWN:
        typer.echo(f"not measured: {len(named) - SHOWN:,} others (--json FILE names all)", err=True)
    if named:
        raise typer.Exit(1)


def _left_out(side: Any) -> dict[str, Any]:
    unreadable = getattr(side, "unreadable", {})
    return {"unreadable": unreadable} if unreadable else {}


def _lines(report: dict[str, Any]) -> list[str]:
    lines = []
    for name in ("generated", "real"):
        side = report[name]
        what = f"{side['images']:,} images ({side['sizes']})" if "images" in side else side["statistics"]
        lines.append(f"{name:<10} {side['path']}: {what}")
        said = ("path", "images", "sizes", "unreadable", "statistics")
        others = {key: value for key, value in side.items() if key not in said}
        lines += [f"{'':<10} {key}: {value}" for key, value in others.items()]
    if "remarks" not in report:
        lines.append(f"{'':<10} distances are the same the other way round; precision and recall change places")
    for name, value in report["values"].items():
        low_high = "  [{:.6g}, {:.6g}]".format(*report["intervals"][name]) if name in report["intervals"] else ""
        lines.append(f"  {name:<20} {'undefined' if value is None else format(value, '.6g')}{low_high}")
    lines += [f"  {name:<20} {value}" for name, value in report["protocol"].items()]
    lines += report.get("remarks", [])
    return lines


def _comparison(name: str, overrides: list[str]) -> tuple[Any, int]:
    """What compares, of a choice of metrics= with settings changed, and how many images at a time."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    from zoo.cli.measure import composed, with_overrides
    from zoo.metrics.comparison import Comparison
    from zoo.metrics.distribution import Distribution
    from zoo.run.config import choices, plain

    for override in overrides:
        key = override.partition("=")[0]
        if key.removeprefix("metrics.") in NOT_HERE:
            raise ValueError(f"{override}: zoo compare takes all images of both sides (of a RUN -n): leave {key} out")
        if key == "metrics":
            if name:
                raise ValueError(f"--metrics {name} and {override}: give one of them")
            name = override.partition("=")[2]
    overrides = [override for override in overrides if not override.startswith("metrics=")]
    name = name or "inception"
    if name not in choices("metrics"):
        near = difflib.get_close_matches(name, choices("metrics"), n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(_with_features())}"
        raise ValueError(f"--metrics {name}: there is none: {hint}")
    settings = plain(composed("metrics", name, 0, overrides).metrics)
    if "extractor" not in settings:
        raise ValueError(f"--metrics {name} compares no features: choose from {', '.join(_with_features())}")
    settings = with_overrides({"metrics": settings}, 0, overrides)["metrics"]
    settings |= {"per_class": False, "cache_dir": None, "num_real": None, "num_fake": None}
    try:
        evaluation = instantiate(settings, _convert_="all")
    except InstantiationException as error:
        raise ValueError(str(error.__cause__ or error)) from error
    distribution = next(metric for metric in evaluation.metrics if isinstance(metric, Distribution))
    return Comparison.of(distribution), evaluation.batch_size


def _with_features() -> list[str]:
    """The choices of metrics= that have an extractor."""
    from zoo.cli.measure import composed
    from zoo.run.config import choices

    return [name for name in choices("metrics") if "extractor" in (composed("metrics", name, 0, []).metrics or {})]


def _sides(a: Path, b: Path, number: int | None, device: str) -> tuple[Any, Any]:
    """Both sides: images that lie in files, or are made."""
    from zoo.cli.common import refuse_exported, require
    from zoo.data.originals import Originals
    from zoo.game.abilities import FromLatents
    from zoo.loading import load
    from zoo.machine import check_device
    from zoo.use.sample import Drawn

    check_device(device)
    files = {path: _in_files(path.expanduser()) for path in (a, b) if not _is_run(path)}
    if number is not None and len(files) == len({a, b}):
        raise ValueError(f"-n {number} is for images that a RUN makes, and neither {a} nor {b} is one: leave it out")

    def side(path: Path, other: Path) -> Any:
        if path in files:
            return files[path]
        refuse_exported(path, "zoo compare")
        if path.is_file() and path.suffix.lower() in OTHERS:
            remedy = "unpack it, and give the folder" if path.suffix.lower() in PACKED else f"give {WHAT}"
            raise ValueError(f"{path} holds neither a trained model nor images that zoo compare reads: {remedy}")
        model = load(path, device=device)
        require(
            model,
            FromLatents,
            "zoo compare",
            "write its images with zoo translate or zoo upscale, and give that folder",
        )
        if getattr(model, "missing", None):
            raise ValueError(f"{path} has a discriminator alone, which makes no images: it is for start=")
        as_many = len(files[other]) if isinstance(files.get(other), Originals) else 5_000
        return Drawn(model, number or as_many, str(path))

    first = side(a, b)
    return first, first if a == b else side(b, a)


def _in_files(path: Path) -> Any:
    """The images of a folder or archive, or the statistics of a file."""
    import torch

    from zoo.data.originals import Originals
    from zoo.data.statistics import statistics_in
    from zoo.metrics.comparison import Statistics

    found = statistics_in(path)
    return Statistics(*map(torch.from_numpy, found)) if found else Originals(path)


def _is_run(path: Path) -> bool:
    """Whether a path means a trained model; False for images.

    Raises:
        ValueError: it is neither.
    """
    from zoo.data.archives import is_archive
    from zoo.text import printable, shortened
    from zoo.weights.names import HUB, find, published

    name = os.fspath(path)
    if name.startswith(HUB):
        return True
    shown, place = printable(shortened(name, length=200)), path.expanduser()
    if "\0" in name:
        raise ValueError(f"{shown} is no path: give {WHAT}")
    if is_archive(place):
        return False
    if place.is_dir():
        runs = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "model.safetensors")
        return any((place / file).is_file() for file in runs)
    if place.is_file():
        return bool(find(place))
    if name in published():
        return True
    beside = [*published()]
    if place.parent.is_dir():
        beside += [os.fspath(path.parent / entry) for entry in sorted(os.listdir(place.parent))[:10_000]]
    near = difflib.get_close_matches(name, beside, n=1)
    hint = f": did you mean {printable(near[0])}?" if near else f": give {WHAT}"
    raise ValueError(f"{shown} does not exist, and is no published name{hint}")
