"""zoo report."""

import math
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from zoo.text import trains

CHECKPOINTS = ("last.ckpt", "best.ckpt")


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder, or a checkpoint in it")],
    output: Annotated[
        Path | None, Option("-o", "--output", metavar="FILE", help="the page; by default RUN/report.html")
    ] = None,
) -> None:
    """Write report.html of a run: one file for a browser, with its grids, curves, figures and settings.

    A run writes it at its end; this is for one that goes on, was killed, or is of an earlier version.
    """
    from zoo.cli.common import refuse_exported
    from zoo.run.account import Account, own_settings, versions, write_page
    from zoo.use.pictures import whole

    place = run.expanduser()
    refuse_exported(place, "zoo report")
    folder = place.parent.parent if place.is_file() and place.parent.name == "checkpoints" else place
    of_run = ("samples", "metrics.csv", "result.json", ".hydra")
    if not folder.is_dir() or not any((folder / name).exists() for name in of_run):
        raise ValueError(f"{run} is no run's folder: a report is made of what training writes there")
    target = output.expanduser() if output else folder / "report.html"
    if target.is_dir() or target.suffix.lower() not in (".html", ".htm"):
        raise ValueError(
            f"-o {target} must be a page, such as {target / 'report.html' if target.is_dir() else 'report.html'}"
        )
    content, notes = _newest([place] if place.is_file() else [folder / "checkpoints" / name for name in CHECKPOINTS])
    state, images = _progress(folder)
    known: dict[str, Any] = {"state": state, "title": folder.name, "images": images}
    if content:
        own, config = content["zoo"], content["zoo"]["config"]
        variant = own["variant"].rpartition(".")[2]
        _, data, settings = own_settings(config)
        known |= {
            "title": f"{variant} on {data}" if data else variant,
            "images": max(own["images"], images),
            "settings": settings,
        }
        known |= _of_callbacks(content.get("callbacks"), folder, config, notes)
        callbacks = config.get("callbacks")
        typed = callbacks.get("report", {}).get("overrides") if isinstance(callbacks, dict) else None
        if isinstance(typed, list):
            known["command"] = f"{trains()} {shlex.join(map(str, typed))}".rstrip()
        facts = {
            "seed": str(config.get("seed", "")),
            "this page by": ", ".join(f"{k} {v}" for k, v in versions().items()),
        }
        if known.get("evaluate") and "data" in known["evaluate"].protocol:
            facts = {"data": str(known["evaluate"].protocol["data"])} | facts
        known["facts"] = facts
    account = Account(folder=folder.absolute(), notes=notes, **known)
    with whole(target) as part:
        passed_over = write_page(account, part)
    for words in passed_over:
        typer.echo(f"not shown: {words}", err=True)
    typer.echo(target)


def _newest(paths: list[Path]) -> tuple[dict[str, Any] | None, list[str]]:
    """The checkpoint that has seen most images, and what is to be said of those that can't be read."""
    from zoo.run.checkpoint import read_whole

    found, notes = [], []
    for path in paths:
        if path.exists():
            try:
                found.append(read_whole(path))
            except ValueError as error:
                notes.append(str(error))
    if not found and not notes:
        notes.append("There is no checkpoint: this page has the grids and curves alone")
    return max(found, key=lambda content: content["zoo"]["images"], default=None), notes


def _progress(folder: Path) -> tuple[str, int]:
    """How the run has ended, or that it goes on, and the images shown so far, by what it writes more often than
    checkpoints."""
    from zoo.use.runs import Run

    run = Run.without_settings(folder)
    begun = run.result is not None or (folder / ".hydra").is_dir()  # else of zoo.train or an earlier version
    return run.state if begun else "", run.images


def _of_callbacks(states: Any, folder: Path, config: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """What a checkpoint's callbacks remember, as far as it is what they would."""
    from zoo.cli.measure import metrics_of
    from zoo.metrics.evaluator import default_panel
    from zoo.run.callbacks.evaluate import Evaluate
    from zoo.run.callbacks.report import result_in_words

    known: dict[str, Any] = {"panel": default_panel}
    try:
        if evaluation := metrics_of(config, folder):
            known |= {"sign": evaluation.sign, "panel": evaluation.panel}
    except ValueError as error:
        notes.append(str(error))
    states = states if isinstance(states, dict) else {}
    evaluations, health = states.get("Evaluate"), states.get("Health")
    if isinstance(evaluations, dict) and evaluations.get("history"):
        evaluate = Evaluate(evaluation=None, every=None, patience=None, max_images=1, folder=str(folder))
        try:
            check_evaluations(evaluations)
            evaluate.load_state_dict(evaluations)
            known["evaluate"] = evaluate
            if evaluate.rows:
                known["result"] = result_in_words(evaluate)
        except (LookupError, TypeError, ValueError) as error:
            notes.append(f"The checkpoint's evaluations can't be read ({error})")
    if isinstance(health, dict) and isinstance(health.get("history"), list) and isinstance(health.get("said"), dict):
        judged = health.get("judged")
        known |= {"said": [str(words) for words in health["said"].values()], "looks": len(health["history"])}
        known["judged"] = judged if isinstance(judged, int) else 0
    callbacks = config.get("callbacks")
    limits = callbacks.get("health", {}).get("limits") if isinstance(callbacks, dict) else None
    return known | ({"limits": limits} if isinstance(limits, dict) else {})


def check_evaluations(state: dict[str, Any]) -> None:
    """Hold what a checkpoint says of its evaluations to what they would be: it may be a stranger's.

    Raises:
        ValueError, TypeError: naming what is not.
    """
    number = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    values = lambda row: isinstance(row, dict) and all(isinstance(k, str) and number(v) for k, v in row.items())
    history, chooses = state["history"], state.get("chooses")
    if not isinstance(history, list) or not all(values(row) for row in history):
        raise ValueError("its history holds no numbers")
    if not all(math.isfinite(row.get("images", math.nan)) and row["images"] >= 0 for row in history):
        raise ValueError("its history is not by images")
    if chooses is not None and not (
        isinstance(chooses, list | tuple) and len(chooses) == 2 and isinstance(chooses[0], str) and number(chooses[1])
    ):
        raise ValueError("it does not say what chooses the best")
    for ends in dict(state.get("intervals", {})).values():
        if not isinstance(ends, dict) or not all(len(pair) == 2 and all(map(number, pair)) for pair in ends.values()):
            raise ValueError("its intervals have no two ends")
    if not isinstance(state.get("protocol"), dict) or not isinstance(state.get("first"), int):
        raise ValueError("it has no protocol")
