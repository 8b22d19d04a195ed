"""Several models on the same data, by the same metrics: what `zoo evaluate RUN OTHER` prints."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer

from zoo.metrics.difference import differ, equal, verdict
from zoo.metrics.metric import Result

LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NO_PART = ("num_workers", "cache_dir", "batch_size", "prefetch_factor")  # of what is measured on


class Measured(NamedTuple):
    path: Path
    model: Any
    result: Result


def parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Other runs, and settings, in what stands behind a run.

    A setting has a `=` behind a name, which holds no slash; but a folder that is there and is called so is a run,
    unless its name is that of a setting of data or metrics: ./data=x is a run in any case.
    """
    others: list[str] = []
    settings: list[str] = []
    for word in words:
        key, equals, _ = word.partition("=")
        is_name = key.replace(".", "").replace("_", "").isalnum()
        known = is_name and key.split(".")[0] in ("data", "metrics", "cache_dir")
        is_setting = equals and is_name and (known or not Path(word).exists())
        (settings if is_setting else others).append(word)
    return others, settings


def found(other: str) -> Path:
    """What another run's word means.

    Raises:
        ValueError: if there is none, with the nearest names, or the setting that may be meant.
    """
    from zoo.run.config import choices
    from zoo.weights.names import find

    try:
        return find(other)
    except ValueError as error:
        meant = f"; other metrics are metrics={other}" if other in choices("metrics") else ""
        raise ValueError(f"{error}{meant}") from None


def check(model: Any, path: Path, data: Any, evaluation: Any, of: Path, device: str) -> None:
    """Refuse a model that does not fit the data of a run, by one image.

    Raises:
        ValueError: with what does not fit.
    """
    import torch

    from zoo.game.abilities import classes_of
    from zoo.metrics.evaluator import on, undisturbed
    from zoo.metrics.super_resolution import SuperResolution

    remedy = f"compare models of one kind of data, or name others: zoo evaluate {shlex.quote(str(path))}"
    of_model, of_data = classes_of(model), list(getattr(data, "classes", []) or [])
    if of_model and of_model != of_data:
        raise ValueError(
            f"{path} makes images of {len(of_model)} classes ({', '.join(of_model[:3])}, ...), which are not those of "
            f"the data of {of}: {remedy}"
        )
    if isinstance(evaluation, SuperResolution):
        if getattr(model, "scale", data.scale) != data.scale:
            raise ValueError(f"{path} enlarges by {model.scale}, and the data of {of} are for {data.scale}: {remedy}")
        return
    batch = next(iter(data.evaluation_loader(split=evaluation.split, num=1, rank=0, world_size=1, batch_size=1)))
    device_ = torch.device(device)
    try:
        with undisturbed(device_):
            previews = model.preview(on(batch, device_))
    except (RuntimeError, AttributeError, IndexError, TypeError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} can't take the data of {of} ({what}): {remedy}") from error
    for shown in previews.values():
        other = shown.real if shown.real is not None else shown.target
        if other is not None and shown.fake.shape[1:] != other.shape[1:]:
            sizes = ["x".join(map(str, images.shape[1:])) for images in (shown.fake, other)]
            raise ValueError(f"{path} makes images of {sizes[0]}, and the data of {of} have {sizes[1]}: {remedy}")


def other_settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Which settings of data and metrics two runs have had otherwise, of those that both have."""
    from zoo.run.config import flatten

    ours, theirs = (flatten({part: config.get(part) or {} for part in ("data", "metrics")}) for config in (a, b))
    both = [name for name, value in ours.items() if name in theirs and not isinstance(value, Mapping)]
    names = [name for name in both if ours[name] != theirs[name]]
    if bool(a.get("metrics")) != bool(b.get("metrics")):
        names.append("metrics")
    return [name for name in names if name.rpartition(".")[2] not in NO_PART]


def lines(measured: Sequence[Measured], headlines: Callable[[Sequence[str]], Mapping[str, float]]) -> list[str]:
    """Values side by side, then the difference of each model from the first, in figures and in words."""
    (path, first, of_first), *others = measured
    written = [f"{label}  {m.path}, {m.model.images:,} images" for label, m in zip(LABELS, measured, strict=False)]
    written += ["", f"all measured on the data and by the metrics of A, {path}"]
    for label, (_, model, result) in zip(LABELS[1:], others, strict=False):
        if names := other_settings(first.config, model.config):
            with_others = f"another {', '.join(names)} than A"
            written.append(f"{label} was trained or judged with {with_others}, which plays no part here")
        if (mine := of_first.protocol.get("generator")) != (its := result.protocol.get("generator")):
            written.append(f"of A the generator is measured that is {mine}, of {label} the one that is {its}")
    names = [name for name in of_first.values if all(name in m.result.values for m in others)]
    if not names:
        raise ValueError(f"{path} and {others[0].path} have no value in common: compare models of one kind")
    rows = [["", *LABELS[: len(measured)]]]
    rows += [[name, *(_value(name, m.result) for m in measured)] for name in names]
    for i, label in enumerate(LABELS[1 : len(measured)]):
        result = others[i].result
        rows[0].append(f"A - {label}")
        for row, name in zip(rows[1:], names, strict=True):
            row.append(_difference(name, of_first, result))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    written += ["", *("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows), ""]
    signs = headlines(names)
    for i, label in enumerate(LABELS[1 : len(measured)]):
        result = others[i].result
        for name, sign in signs.items():
            if name in of_first.estimates and name in result.estimates:
                written.append(verdict(name, of_first.estimates[name], result.estimates[name], sign, ("A", label)))
            else:
                written.append(f"{name}: without an interval, whether A and {label} differ is not known")
        rest = [name for name in names if name not in signs and name in of_first.estimates and name in result.estimates]
        apart = [name for name in rest if differ(of_first.estimates[name] - result.estimates[name])]
        if rest:
            written.append(f"of the other values these differ between A and {label}: {', '.join(apart) or 'none'}")
    several = " Each interval is of 95 % by itself: of 20 values that do not differ, one looks as if it did."
    written += [
        "",
        "This is about these models' images: other draws of as many, the same reals." + several,
        "It does not say how another seed of training would come out: train several, and see `zoo runs FOLDER`.",
    ]
    return written


def _value(name: str, result: Result) -> str:
    ends = " [{:.4g}, {:.4g}]".format(*result.intervals[name]) if name in result.intervals else ""
    return f"{result.values[name]:.4g}{ends}"


def _difference(name: str, a: Result, b: Result) -> str:
    if name not in a.estimates or name not in b.estimates:
        return f"{a.values[name] - b.values[name]:+.4g}"
    if equal(a.estimates[name], b.estimates[name]):
        return "0"
    difference = a.estimates[name] - b.estimates[name]
    return "{:+.4g} [{:.4g}, {:.4g}]".format(difference.value, *difference.interval())


def show(measured: Sequence[Measured], evaluation: Any) -> None:
    """Print them, with the protocol."""
    for line in lines(measured, evaluation.headlines):
        typer.echo(line)
    typer.echo("")
    for name, setting in measured[0].result.protocol.items():
        typer.echo(f"  {name:<20} {setting}")
