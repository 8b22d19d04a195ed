"""report.html: all that there is to say of a run, for eyes, as one file without network (zoo/page).

It is made of the run's folder, its grids and metrics.csv, and of what its callbacks remember: at the end of a run of
the callbacks themselves, for `zoo report` of what a checkpoint has of them. Nothing of a folder has to be there, or
whole: what can't be shown is named in the page, and left out.
"""

import math
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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
from zoo.page.pictures import Grids, Picture, grids_in, picture, spread
from zoo.result import rows_of
from zoo.run import CONF
from zoo.run.callbacks.evaluate import Evaluate
from zoo.run.config import compose, differences, flatten, plain

STEPS = 60  # grids of the slider, at most
SIDE, SIDE_OF_STEPS = 1_400, 720  # pixels of the grids that are the result, and of those of the slider
BUDGET = 14_000_000  # characters of the slider's grids together, about
NAMES = {  # of the training's panels, for people
    "adversarial": "adversarial loss",
    "grad": "gradient norm",
    "gradient": "gradient penalty",
    "accuracy": "accuracy of D",
    "logit": "D's mean logit",
    "lr": "learning rate",
}
WORDS = {  # what a value of the health section says
    "gap": "D rates a training image above one that it has not seen: 0.5 can't tell, 1 knows them by heart",
    "diversity": "distance of two samples over that of two real images: 0 collapsed, about 1 healthy",
    "spread": "distance of a sample to the nearest other, over that of real images: near 0 few modes",
    "movement": "how far the same latents' images moved since the look before",
    "duplicates": "samples nearer to a training image than 99 % of unseen images: 0.01 is expected",
}


@dataclass(kw_only=True)
class Account:
    """What is known of a run beside its grids and curves.

    Args:
        folder: the run's.
        title: "DCGAN on mnist5k".
        state: "finished", "stopped", ..., or "".
        images: shown so far.
        command: that made it; "": it is not known.
        facts: what it was made of and how, name -> words.
        result: the result in a sentence, or "".
        notes: what else is to be said of its evaluations.
        evaluate: what its metrics have found; None: nothing was measured.
        sign: of a value: 1 where more is better, -1 where less is, else 0.
        panel: in which panel of curves a value is drawn.
        said: the complaints about its health.
        looks, judged: how often its health was looked at, and judged; None: that is not known.
        limits: from where on health values are complaints, by kind.
        settings: that differ from the defaults: names, default, value; None: that is not known.
    """

    folder: Path
    title: str
    state: str = ""
    images: int = 0
    command: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    result: str = ""
    notes: Sequence[str] = ()
    evaluate: Evaluate | None = None
    sign: Callable[[str], float] = lambda name: 0.0
    panel: Callable[[str], str] = lambda name: name
    said: Sequence[str] = ()
    looks: int | None = None
    judged: int = 0
    limits: Mapping[str, Any] = field(default_factory=dict)
    settings: Sequence[tuple[str, str, str]] | None = None


def versions() -> dict[str, str]:
    """Of what a run rests on."""
    found = {"Python": platform.python_version()}
    for name in ("gan-zoo", "torch", "lightning"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a folder, say
            continue
    return found


def own_settings(config: Mapping[str, Any]) -> tuple[str, str, list[tuple[str, str, str]]]:
    """The choices of `model` and `data` by their classes, and what a configuration has other than by their defaults."""
    chosen = {group: _choice(group, config.get(group) or {}) for group in ("model", "data")}
    defaults = _defaults(*(f"{group}={name}" for group, name in chosen.items() if name))
    flat, found = flatten(config), differences(defaults, config)
    budget = [row[1:] for row in found if row[0] == "max_images"]

    def follows(names: str, change: tuple[str, str]) -> bool:
        """Whether settings changed with max_images alone, a tenth of it or as much, or the run could not have them."""
        tenth = all(re.fullmatch(r"callbacks\.\w+\.every", n) and flat.get(n) is None for n in names.split(", "))
        unknown = all(n not in flat and f"{n}._target_" not in flat for n in names.split(", "))  # of a later version
        return tenth or unknown or (change in budget and names != "max_images")

    differing = [row for row in found if not follows(row[0], row[1:])]
    return chosen["model"], chosen["data"], differing


@cache
def _defaults(*choices: str) -> dict[str, Any]:
    """What the choices of groups compose to."""
    return plain(compose(*choices))


def _choice(group: str, settings: Mapping[str, Any]) -> str:
    target = settings.get("_target_")
    files = sorted((CONF / group).glob("*.yaml"))
    return next((f.stem for f in files if target and f"_target_: {target}\n" in f"{f.read_text()}\n"), "")


def write_page(account: Account, path: Path) -> list[str]:
    """Replace `path` by the page of a run; what was passed over, in words.

    Raises:
        OSError: if it can't be written.
    """
    passed_over: list[str] = []
    drawings = Drawings()
    evaluate = account.evaluate if account.evaluate and account.evaluate.rows else None
    best, last = (evaluate.best, evaluate.rows[-1]) if evaluate else ({}, {})
    grids = grids_in(account.folder / "samples")
    samples, moments = _samples(account, grids, best, passed_over)
    of_metrics, of_training, of_health = _panels(account, passed_over)
    draw = lambda panels: element("div", [drawings.add(panel) for panel in panels], class_="charts")
    course = [
        draw(of_metrics) if of_metrics else None,
        element("h3", "Training") if of_metrics and of_training else None,
        draw(of_training) if of_training else None,
    ]
    none = "None: the run's folder has no values in metrics.csv (logger=none writes none)."
    hint = (
        none
        if not of_metrics and not of_training
        else "Point at a curve, or focus it and use the arrow keys, to read its values; a click moves the slider there."
    )
    body = [
        _head(account, best),
        samples,
        section("Figures", *_figures(account, best, last)) if evaluate else None,
        section("Curves", element("p", hint, class_="faint no-print"), course),
        _health(account, draw(of_health) if of_health else None),
        _settings(account),
        _remarks(passed_over),
    ]
    frame = [body[0], element("main", body[1:])]
    data = drawings.data() | {"moments": moments}
    write(path, title=f"{account.title}, {account.images:,} images", body=[part for part in frame if part], data=data)
    return passed_over


def _head(account: Account, best: Mapping[str, float]) -> Html:
    state = f", {account.state}" if account.state and account.state != "finished" else ""
    parts = [
        element("h1", account.title),
        element("p", f"{account.images:,} images{state} \u00b7 {account.folder.name}", class_="faint"),
    ]
    evaluate = account.evaluate
    if evaluate and evaluate.metric and best:
        name = evaluate.metric
        ends = evaluate.intervals_of(dict(best)).get(name)
        interval = f"95 % interval {ends[0]:.4g} to {ends[1]:.4g}" if ends else "no interval"
        direction = better(evaluate.chooses[1]) if evaluate.chooses else ""
        shown = [
            element("span", name, class_="name"),
            element("span", f"{best[name]:.4g}", class_="value"),
            element("span", direction, class_="better"),
            element("span", f"{interval}; the best, at image {int(best['images']):,}", class_="faint"),
        ]
        parts.append(element("div", shown, class_="result"))
    if account.result:
        parts.append(element("p", f"{account.result[0].upper()}{account.result[1:]}."))
    parts += [element("p", f"{note}.", class_="note") for note in account.notes]
    return element("header", parts)


def _samples(
    account: Account, grids: Mapping[str, Grids], best: Mapping[str, float], passed_over: list[str]
) -> tuple[Html | None, list[dict[str, Any]]]:
    """The best and the last grid beside real images, and the slider through all; the slider's moments."""
    if not grids:
        return None, []
    numbers = sorted({n for of_preview in grids.values() for n in of_preview.by_images})
    at_best = int(best["images"]) if best and account.evaluate and account.evaluate.metric else -1
    figures = [element("div", _results(name, of, at_best, passed_over), class_="grids") for name, of in grids.items()]
    steps = _steps(grids, numbers, at_best, passed_over)
    if not steps:
        return section("Samples", figures), []
    moments = [
        {"images": images, "words": _moment(account, images, at_best)}
        for images in sorted({n for of_preview in steps.values() for n in of_preview})
    ]
    views: list[Html] = []
    strips = []
    for k, (name, of_preview) in enumerate(steps.items()):
        prefix = f"{name}: " if name else ""
        final = list(of_preview.values())[-1]
        caption = element("figcaption", prefix, element("span", class_="when"))
        views.append(element("figure", final.shown(f"{prefix}the last grid"), caption, data_preview=k))
        buttons = [
            element("button", step.shown(f"{prefix}grid at image {n:,}", loading="lazy"), f"{n:,}", type="button",
                    data_images=n)
            for n, step in of_preview.items()
        ]  # fmt: skip
        label = f"{prefix}all grids, in the order of the run"
        strips.append(element("div", buttons, class_="strip", data_preview=k, role="group", aria_label=label))
        if grids[name].real and (real := _picture(grids[name].real, SIDE_OF_STEPS, [])):
            caption = element("figcaption", f"{prefix}real images")
            views.append(element("figure", real.shown(f"{prefix}grid of real images"), caption, class_="real"))
    go = [("Best", at_best)] if any(moment["images"] == at_best for moment in moments) else []
    go = [("First", numbers[0]), *go, ("Last", numbers[-1])]
    jump = [element("button", word, type="button", data_go=n) for word, n in go]
    controls = [
        element("button", "\u25b6 Play", type="button", class_="play"),
        element("input", type="range", min=0, max=len(moments) - 1, step=1, value=len(moments) - 1,
                aria_label="grid of the run, by images"),
        jump,
        element("output", aria_live="off"),
    ]  # fmt: skip
    words = "The same latents or inputs throughout: slide, press play, or use the arrow keys to see it learn."
    if len(moments) < len(numbers):
        words += f" {len(moments)} of {len(numbers)} grids, evenly spread; the folder samples has all."
    slider = [
        element("h3", "Through the run"),
        element("p", words, class_="faint"),
        element("div", controls, class_="player", hidden=True),
        element("div", views, class_="viewer", hidden=True),
        strips,
    ]
    return section("Samples", figures, slider), moments


def _results(name: str, grids: Grids, at_best: int, passed_over: list[str]) -> list[Html]:
    """The grids of one preview that are the result, the best and the last, and that of real images."""
    prefix = f"{name}: " if name else ""
    chosen = {max(grids.by_images): ["the last"]}
    if at_best >= 0:
        near = min(grids.by_images, key=lambda n: abs(n - at_best))
        word = "the best" if near == at_best else f"nearest to the best evaluation, at image {at_best:,}"
        chosen.setdefault(near, []).insert(0, word)
    found = []
    for images, words in sorted(chosen.items()):
        said = f"image {images:,}: {' and '.join(words)}"
        found.append(
            _figure(grids.by_images[images], f"{prefix}grid of what is made at {said}", f"{prefix}{said}", passed_over)
        )
    if grids.real:
        alt = f"{prefix}grid of real images, to compare with"
        found.append(_figure(grids.real, alt, f"{prefix}real images", passed_over))
    return [figure for figure in found if figure]


def _moment(account: Account, images: int, at_best: int) -> str:
    """What the slider says where it stands."""
    words = f"image {images:,} of {account.images:,}"
    history = account.evaluate.history if account.evaluate else []
    name = account.evaluate.metric if account.evaluate else None
    for row in history:
        if name and row["images"] == images and name in row:
            words += f" \u00b7 {name} {number(row[name])}"
    return f"{words} \u00b7 the best" if images == at_best else words


def _steps(
    grids: Mapping[str, Grids], numbers: list[int], at_best: int, passed_over: list[str]
) -> dict[str, dict[int, Picture]]:
    """The slider's grids by preview and images: as many as fit the budget, by the size of the last ones."""
    if len(numbers) < 2:
        return {}
    size = 1
    for of_preview in grids.values():
        if probe := _picture(of_preview.by_images[max(of_preview.by_images)], SIDE_OF_STEPS, []):
            size += len(probe.address)
    chosen = set(spread(numbers, max(8, min(STEPS, BUDGET // size)), always={at_best}))
    steps: dict[str, dict[int, Picture]] = {}
    for name, of_preview in grids.items():
        for n, path in of_preview.by_images.items():
            if n in chosen and (step := _picture(path, SIDE_OF_STEPS, passed_over)):
                steps.setdefault(name, {})[n] = step
    return steps


def _figure(path: Path, alt: str, caption: str, passed_over: list[str]) -> Html | None:
    found = _picture(path, SIDE, passed_over)
    return element("figure", found.shown(alt), element("figcaption", caption)) if found else None


def _picture(path: Path | None, side: int, passed_over: list[str]) -> Picture | None:
    try:
        return picture(path, side=side) if path else None
    except ValueError as error:
        if str(error) not in passed_over:
            passed_over.append(str(error))
        return None


def _panels(account: Account, passed_over: list[str]) -> tuple[list[Panel], list[Panel], list[Panel]]:
    """The panels of the metrics, of the training and of the health, of metrics.csv."""
    path = account.folder / "metrics.csv"
    try:
        rows, damaged = rows_of(path, limit=LARGEST)
        if damaged:
            passed_over.append(f"lines of {path.name} that hold no numbers")
    except (OSError, ValueError) as error:
        passed_over.append(f"{path.name}: {error}")
        return [], [], []
    found = curves(rows)
    measured = {name for row in (account.evaluate.history if account.evaluate else []) for name in row}
    metrics: dict[str, list[Curve]] = {}
    training: dict[str, list[Curve]] = {}
    health: dict[str, list[Curve]] = {}
    for name, curve in found.items():
        if name.startswith("health/"):
            health.setdefault(name.rpartition("/")[2], []).append(curve)
        elif name in measured:
            metrics.setdefault(account.panel(name), []).append(curve)
        else:
            kind = "lr" if name.endswith("/lr") else account.panel(name)
            training.setdefault(NAMES.get(kind, kind), []).append(curve)
    chosen = account.evaluate.metric if account.evaluate else None
    order = sorted(metrics, key=lambda title: chosen not in [curve.name for curve in metrics[title]])
    last = NAMES["lr"]
    return (
        [_of_metric(title, metrics[title], account.sign) for title in order],
        [Panel(title, training[title]) for title in sorted(training, key=lambda title: title == last)],
        [Panel(kind, of_kind, limits=_limit(kind, account.limits)) for kind, of_kind in health.items()],
    )


def _of_metric(title: str, members: list[Curve], sign: Callable[[str], float]) -> Panel:
    signs = {sign(curve.name) for curve in members}
    return Panel.of(title, members, better(signs.pop()) if len(signs) == 1 else "")


def _limit(kind: str, limits: Mapping[str, Any]) -> dict[str, float]:
    """The line beyond which a value of the health is a complaint."""
    value = limits.get("diversity" if kind == "spread" else kind)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return {}
    return {f"a complaint {'below' if kind in ('diversity', 'spread') else 'above'} {number(value)}": float(value)}


def _figures(account: Account, best: Mapping[str, float], last: Mapping[str, float]) -> list[Html]:
    evaluate = account.evaluate
    assert evaluate
    same = best.get("images") == last.get("images")
    columns = ["value", "", "best" if not same else "best and last", "95 % interval"]
    columns += [] if same else ["last", "95 % interval"]
    rows = []
    for name in [name for name in last if name != "images"]:
        cells: list[Any] = [name, element("span", better(account.sign(name)), class_="better")]
        for row in [best] if same else [best, last]:
            ends = evaluate.intervals_of(dict(row)).get(name)
            cells += [number(row.get(name)), Cell(f"{number(ends[0])} to {number(ends[1])}" if ends else "", "nowrap")]
        rows.append(cells)
    moments = f"The best evaluation is at image {int(best['images']):,}" if best else ""
    moments += "." if same else f", the last at image {int(last['images']):,}."
    protocol = [[element("dt", name), element("dd", str(value))] for name, value in evaluate.protocol.items()]
    moments += "" if any(evaluate.intervals.values()) else " No intervals are known."
    return [
        table(columns, rows, caption=moments),
        element("details", element("summary", "Protocol: what has to be equal for values to be compared"),
                element("dl", protocol)),
    ]  # fmt: skip


def _health(account: Account, charts: Html | None) -> Html | None:
    if not account.looks and not account.said and charts is None:
        return None
    parts: list[Html | None] = []
    if account.looks is not None:
        parts.append(element("p", f"{account.looks} looks at the game, {account.judged} of them judged."))
    if account.said:
        parts.append(element("ul", [element("li", words) for words in account.said]))
    elif account.looks is not None:
        healthy = "Nothing was wrong." if account.judged > 1 else "The run was too short to be judged."
        parts.append(element("p", healthy))
    if charts:
        meaning = [[element("dt", kind), element("dd", words)] for kind, words in WORDS.items()]
        parts += [charts, element("details", element("summary", "What these say"), element("dl", meaning))]
    return section("Health", parts)


def _settings(account: Account) -> Html | None:
    parts: list[Html | None] = []
    if account.command:
        parts.append(element("pre", account.command))
    if account.settings:
        rows = [list(row) for row in account.settings]
        parts.append(table(["setting", "default", "this run"], rows, caption="Settings that differ from the defaults"))
    elif account.settings is not None:
        parts.append(element("p", "No setting differs from the defaults."))
    if account.facts:
        facts = [[element("dt", name), element("dd", words)] for name, words in account.facts.items()]
        parts.append(element("dl", facts))
    return section("How it was made", parts) if parts else None


def _remarks(passed_over: Sequence[str]) -> Html | None:
    if not passed_over:
        return None
    some = [element("li", words) for words in passed_over[:20]]
    more = [element("li", f"and {len(passed_over) - 20} more")] if len(passed_over) > 20 else []
    return section("Not shown", element("ul", some, more))
