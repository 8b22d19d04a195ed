"""Runs side by side as a page (zoo/page): their grids, the settings that differ, best values, the spread over seeds."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zoo.page import (
    LARGEST,
    Cell,
    Curve,
    Drawings,
    Html,
    Panel,
    better,
    curves,
    element,
    number,
    section,
    table,
    write,
)
from zoo.page.pictures import Grids, Picture, grids_in, picture
from zoo.result import rows_of
from zoo.use.runs import Run, differing, over_seeds
from zoo.use.runs import table as of_runs

SIDE = 420  # pixels of a run's grid
SHOWN = 200  # runs with a grid, at most: the best
DRAWN = 24  # runs with a curve, at most: the best


def write_page(runs: Sequence[Run], passed_over: Mapping[str, str], path: Path, *, title: str) -> None:
    """Replace `path` by the page of these runs, the best first.

    Raises:
        OSError: if it can't be written.
    """
    left_out = dict(passed_over)
    drawings = Drawings()
    metrics = {run.result.metric for run in runs if run.result and run.result.metric}
    first = "the best of each metric first" if len(metrics) > 1 else "the best first"
    words = f"{len(runs):,} run{'s' if len(runs) > 1 else ''}, {first}"
    if metrics:
        words += f"; judged by {', '.join(sorted(map(str, metrics)))}"
    body = [
        element("header", element("h1", title), element("p", words, class_="faint")),
        element(
            "main",
            section("Side by side", _cards(runs, path, left_out)),
            section("Table", _table(runs)),
            _seeds(runs),
            _course(runs, drawings, left_out),
            _left_out(left_out),
        ),
    ]
    write(path, title=title, body=body, data=drawings.data() | {"moments": []})


def _direction(runs: Sequence[Run]) -> str:
    """Of the best values: "fid: lower is better, psnr: higher is better"; without a name where there is one metric."""
    judged = {str(run.result.metric): run.result for run in runs if run.result and run.result.metric}
    words = {name: better(1.0 if result.higher_is_better else -1.0) for name, result in sorted(judged.items())}
    return ", ".join(f"{name}: {word}" for name, word in words.items()) if len(words) > 1 else "".join(words.values())


def _cards(runs: Sequence[Run], page: Path, left_out: dict[str, str]) -> list[Html | None]:
    """A card for each run: its grid, nearest to its best evaluation, its value and its own settings."""
    names, cards = differing(runs), []
    for k, run in enumerate(runs[:SHOWN]):
        image, at = _grid(run, left_out)
        shown = (
            image.shown(f"grid of {run.name} at image {at:,}", loading="lazy")
            if image
            else element("div", "no grid", class_="none")
        )
        value = (
            [f"{run.result.metric} ", element("strong", number(run.best))]
            if run.result and run.best is not None
            else []
        )
        settings = ", ".join(f"{name}={_said(run.setting(name))}" for name in names if name in run.typed)
        parts = [
            shown,
            element("p", _linked(run, page)),
            element("p", value, f" at image {at:,}" if value else run.state)
            if image or value
            else element("p", run.state),
            element("p", settings, class_="faint") if settings else None,
        ]
        cards.append(element("article", parts, class_="card", id=f"card-{k}"))
    more = element("p", f"The other {len(runs) - SHOWN:,} are in the table alone.") if len(runs) > SHOWN else None
    return [element("div", cards, class_="cards"), more]


def _linked(run: Run, page: Path) -> Any:
    """The name of a run, which leads to its report where there is one."""
    report = run.folder / "report.html"
    if not report.is_file():
        return run.name
    try:
        beside = os.path.relpath(report.absolute(), page.absolute().parent)
    except ValueError:  # on another drive
        return run.name
    return element("a", run.name, href=f"./{quote(beside.replace(os.sep, '/').encode(errors='surrogateescape'))}")


def _grid(run: Run, left_out: dict[str, str]) -> tuple[Picture | None, int]:
    """A run's grid, nearest to its best evaluation or the last, and its images."""
    found: dict[str, Grids] = grids_in(run.folder / "samples")
    if not found:
        return None, 0
    by_images = found.get("", next(iter(found.values()))).by_images
    at = run.result.values.get("images") if run.result and run.best is not None else None
    images = min(by_images, key=lambda n: abs(n - at)) if at is not None and math.isfinite(at) else max(by_images)
    try:
        return picture(by_images[images], side=SIDE), images
    except ValueError as error:
        left_out[f"{run.name}, a grid"] = str(error)
        return None, images


def _table(runs: Sequence[Run]) -> Html:
    """The table of `zoo runs`, which can be sorted by each column."""
    content = of_runs(runs)
    rows = [[Cell(_said(value), value=_sorted_by(value)) for value in row] for row in content.rows]
    direction = _direction(runs)
    caption = "Sorted by a click on a column's name" + (f"; best: {direction}" if direction else "")
    best: dict[str | None, int] = {}  # of each metric
    for k, run in enumerate(runs):
        if run.result and run.best is not None and math.isfinite(run.best):
            best.setdefault(run.result.metric, k)
    kinds: list[dict[str, Any]] = [
        {"class_": "first" if k in best.values() else None, "data_run": k if k < SHOWN else None}
        for k in range(len(rows))
    ]
    return table(content.columns, rows, caption=caption, of_rows=kinds, class_="sortable")


def _seeds(runs: Sequence[Run]) -> Html | None:
    """Mean and standard deviation over seeds, and where the values lie."""
    summary = over_seeds(runs)
    if summary is None:
        return None
    names = summary.columns[: -len(("metric", "mean", "std", "n"))]
    of_metrics: dict[str | None, list[float]] = {}
    for run in runs:
        if run.result and run.state == "finished" and run.best is not None and math.isfinite(run.best):
            of_metrics.setdefault(run.result.metric, []).append(run.best)
    ends = {metric: (min(values), max(values)) for metric, values in of_metrics.items()}
    rows: list[list[Any]] = []
    for row in summary.rows:
        group = [run for run in runs if [run.setting(name) for name in names] == row[: len(names)]]
        of_group = [run.best for run in group if run.state == "finished" and run.best is not None]
        drawn = _spread(
            [value for value in of_group if math.isfinite(value)], row[-3], row[-2], ends.get(row[-4], (0.0, 0.0))
        )
        rows.append([*(Cell(_said(value), value=_sorted_by(value)) for value in row), Cell(drawn, value="")])
    words = [f"from {number(low)} to {number(high)}" for low, high in ends.values()]
    columns = [*summary.columns, words[0] if len(words) == 1 else "from the lowest to the highest of its metric"]
    if not names:
        columns, rows = ["runs", *columns], [["all", *row] for row in rows]
    caption = (
        "Best values of the finished runs that differ in their seeds alone: each a dot, the bar mean and deviation"
    )
    return section("Over seeds", table(columns, rows, caption=caption, class_="sortable"))


def _spread(values: Sequence[float], mean: float | None, deviation: float | None, ends: tuple[float, float]) -> Html:
    """Values as dots on the line between two ends, with their mean and standard deviation."""
    place = lambda value: 6 + 208 * (min(max(value, ends[0]), ends[1]) - ends[0]) / ((ends[1] - ends[0]) or 1)
    parts = [element("line", x1=6, x2=214, y1=11, y2=11, class_="axis")]
    if mean is not None and math.isfinite(mean):
        reach = deviation if deviation is not None and math.isfinite(deviation) else 0.0
        low, high = place(mean - reach), place(mean + reach)
        parts.append(element("line", x1=f"{low:.1f}", x2=f"{high:.1f}", y1=18, y2=18))
        parts.append(element("line", x1=f"{place(mean):.1f}", x2=f"{place(mean):.1f}", y1=14, y2=21))
    parts += [element("circle", cx=f"{place(value):.1f}", cy=11, r=4) for value in values]
    label = ", ".join(map(number, values)) or "no values"
    return element("svg", parts, class_="spread", viewBox="0 0 220 22", role="img", aria_label=label)


def _course(runs: Sequence[Run], drawings: Drawings, left_out: dict[str, str]) -> Html | None:
    """The value that chooses the best, over images, of the best runs."""
    panels: dict[tuple[str, bool], list[Curve]] = {}
    for run in [run for run in runs if run.result and run.result.metric][:DRAWN]:
        assert run.result
        path, name = run.folder / "metrics.csv", str(run.result.metric)
        try:
            rows, _ = rows_of(path, limit=LARGEST)
        except (OSError, ValueError) as error:
            left_out[f"{run.name}, metrics.csv"] = str(error)
            continue
        if curve := curves(rows, [name]).get(name):
            own = Curve(run.name, curve.x, curve.y, curve.low, curve.high)
            panels.setdefault((name, run.result.higher_is_better), []).append(own)
    if not panels:
        return None
    figures = [
        drawings.add(Panel.of(name, of_metric, better(1.0 if higher else -1.0)))
        for (name, higher), of_metric in panels.items()
    ]
    some = element("p", f"The {DRAWN} best runs.", class_="faint") if len(runs) > DRAWN else None
    return section("Through the runs", some, element("div", figures, class_="charts wider"))


def _left_out(left_out: Mapping[str, str]) -> Html | None:
    if not left_out:
        return None
    items = [element("li", f"{name}: {why}") for name, why in sorted(left_out.items())[:100]]
    return section("Passed over", element("ul", items))


def _said(value: Any) -> str:
    return (
        "" if value is None else number(value) if type(value) in (int, float) and not _is_small(value) else str(value)
    )


def _is_small(value: float) -> bool:
    """Whether a number is written as it was typed: a seed, a rate."""
    return (isinstance(value, int) and abs(value) < 10_000) or (isinstance(value, float) and 0 < abs(value) < 1e-3)


def _sorted_by(value: Any) -> Any:
    return "" if value is None or value != value else value if isinstance(value, int | float) else str(value)
