"""Pages for a browser: one file each, without network, which say nothing to anyone and run nothing but `page.js`.

`page.html` is the frame, `page.css` its looks, `page.js` what moves: curves that can be hovered, the slider through
grids, tables that can be sorted. What is shown comes from runs' folders, and so may be a stranger's: names are text,
never markup (`element` escapes all that is not made by it), pictures are decoded and encoded again
(zoo/page/pictures.py), and the page's policy admits no other script, style or address.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from zoo.atomic import replacing
from zoo.text import printable

HERE = Path(__file__).parent
VOID = ("img", "input", "br")  # elements without an end
POINTS = 2_000  # of a curve, at most
LARGEST = 32_000_000  # bytes of a table that is drawn


class Html(str):
    """Markup, which `element` takes as it is."""


def text(value: Any) -> Html:
    """Someone's text: no markup, and nothing that turns the direction of writing or is no character."""
    return Html(escape(printable(str(value))))


def element(name: str, *children: "Any", **attributes: Any) -> Html:
    """An element of the page; all but `Html` is escaped.

    Args:
        children: text, `Html`, or lists of these; None is nothing.
        attributes: `class_` is class, `aria_label` aria-label; True is an attribute without a value, None and False
            none.
    """
    words = ""
    for key, value in attributes.items():
        if value is not None and value is not False:
            words += f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(value)}"')
    return Html(f"<{name}{words}>" if name in VOID else f"<{name}{words}>{_joined(children)}</{name}>")


def _joined(children: Iterable[Any]) -> str:
    parts = []
    for child in children:
        if isinstance(child, list | tuple):
            parts.append(_joined(child))
        elif child is not None:
            parts.append(child if isinstance(child, Html) else text(child))
    return "".join(parts)


def section(heading: str, *children: Any, **attributes: Any) -> Html:
    """A part of the page under a heading."""
    return element("section", element("h2", heading), *children, **attributes)


@dataclass(frozen=True)
class Cell:
    """What stands in a cell of a table, its class, and the value by which it is sorted."""

    content: Any
    kind: str | None = None
    value: Any = None


def table(
    columns: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    *,
    caption: str,
    of_rows: Sequence[Mapping[str, Any]] = (),
    **attributes: Any,
) -> Html:
    """A table in a frame that scrolls where it is wider than the screen; the first cell of a row is its head."""
    head = element("tr", [element("th", column, scope="col") for column in columns])
    body = []
    for k, row in enumerate(rows):
        cells = []
        for j, content in enumerate(row):
            cell = content if isinstance(content, Cell) else Cell(content)
            name, scope = ("td", None) if j else ("th", "row")
            cells.append(element(name, cell.content, scope=scope, class_=cell.kind, data_value=cell.value))
        body.append(element("tr", cells, **(of_rows[k] if of_rows else {})))
    parts = [element("caption", caption), element("thead", head), element("tbody", body)]
    return element("div", element("table", parts, **attributes), class_="wide", tabindex=0, role="region",
                   aria_label=caption)  # fmt: skip


def number(value: float | None) -> str:
    """A value for people: five digits, large whole ones with commas."""
    if value is None:
        return ""
    if math.isfinite(value) and float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.5g}"


def better(sign: float) -> str:
    """What a value's direction is, for who does not know it: 1 more is better, -1 less is, 0 neither."""
    return {1.0: "higher is better", -1.0: "lower is better"}.get(float(sign), "")


# Curves --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """A value over images, with the ends of its interval where it has one."""

    name: str
    x: list[int]
    y: list[float | None]  # None: no number, a gap
    low: list[float | None] | None = None
    high: list[float | None] | None = None

    def thinned(self) -> "Curve":
        """The same with at most POINTS: of each stretch of points its lowest and its highest, so that peaks stay."""
        if len(self.x) <= POINTS:
            return self
        stretch, kept = math.ceil(len(self.x) / (POINTS // 2)), {0, len(self.x) - 1}
        for start in range(0, len(self.x), stretch):
            known = [k for k in range(start, min(start + stretch, len(self.x))) if self.y[k] is not None]
            if known:
                kept |= {min(known, key=lambda k: self.y[k] or 0.0), max(known, key=lambda k: self.y[k] or 0.0)}
        of = lambda values: values and [values[k] for k in sorted(kept)]
        return Curve(self.name, of(self.x), of(self.y), of(self.low), of(self.high))


def curves(rows: Sequence[Mapping[str, str]], names: Iterable[str] | None = None) -> dict[str, Curve]:
    """The columns of a metrics.csv; those of the ends of an interval, NAME_low and NAME_high, are part of NAME."""
    every = [name for name in rows[0] if name != "images"] if rows else []
    found = {}
    for name in every if names is None else [name for name in names if name in every]:
        base, _, end = name.rpartition("_")
        if end in ("low", "high") and base in every:
            continue
        held = [row for row in rows if row[name]]
        if not held:
            continue
        of = lambda column: [_finite(row[column]) for row in held] if column in every else None  # noqa: B023
        images = [int(row["images"]) for row in held]
        found[name] = Curve(name, images, of(name) or [], of(f"{name}_low"), of(f"{name}_high"))
    return found


def _finite(words: str) -> float | None:
    value = float(words or "nan")
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Panel:
    """A drawing of several curves over images.

    Args:
        better: "lower is better", or "".
        limits: lines across it, value -> what lies beyond.
        logarithmic: begin with logarithmic values, where all are positive.
    """

    title: str
    curves: list[Curve]
    better: str = ""
    limits: Mapping[str, float] | None = None
    logarithmic: bool = False

    @classmethod
    def of(cls, title: str, curves: list[Curve], better: str) -> "Panel":
        """That of a metric, logarithmic where its values are wide apart."""
        values = [y for curve in curves for y in curve.y if y is not None]
        wide = bool(values) and min(values) > 0 and max(values) > 10 * min(values)
        return cls(title, curves, better, logarithmic=wide)

    def words(self) -> str:
        """What a person would see, for who can't."""
        said = []
        for curve in self.curves[:12]:
            known = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if y is not None]
            if known:
                (first, a), (last, b) = known[0], known[-1]
                lowest, highest = min(y for _, y in known), max(y for _, y in known)
                said.append(
                    f"{curve.name} {number(a)} at image {first:,}, {number(b)} at image {last:,}, "
                    f"between {number(lowest)} and {number(highest)}"
                )
        if len(self.curves) > 12:
            said.append(f"and {len(self.curves) - 12} more")
        return f"{self.title}: {'; '.join(said) or 'no values'}"


class Drawings:
    """The panels of a page: the frame of each, and together the numbers, which `page.js` draws."""

    def __init__(self) -> None:
        self._panels: list[dict[str, Any]] = []
        self._axes: list[list[int]] = []

    def add(self, panel: Panel) -> Html:
        """The place of a panel in the page."""
        content: dict[str, Any] = {"title": printable(panel.title), "curves": []}
        content |= {"limits": dict(panel.limits or {}), "logarithmic": panel.logarithmic}
        for curve in map(Curve.thinned, panel.curves):
            if curve.x not in self._axes:
                self._axes.append(curve.x)
            held = {"name": printable(curve.name), "x": self._axes.index(curve.x), "y": curve.y}
            ends = {"low": curve.low, "high": curve.high} if curve.low and curve.high else {}
            content["curves"].append(held | ends)
        self._panels.append(content)
        title = element("span", panel.title, class_="title")
        direction = element("span", panel.better, class_="better") if panel.better else None
        words = panel.words()
        plot = element("div", class_="plot", tabindex=0, role="img", aria_label=words)
        parts = [element("figcaption", title, direction), plot, element("div", class_="legend")]
        return element("figure", parts, class_="chart", data_panel=len(self._panels) - 1)

    def data(self) -> dict[str, Any]:
        """The numbers of all panels."""
        return {"axes": self._axes, "panels": self._panels}


# The file ------------------------------------------------------------------------------------------------------------


def write(path: Path, *, title: str, body: Sequence[Html], data: Mapping[str, Any]) -> None:
    """Replace a page.

    Raises:
        OSError: if it can't be written.
    """
    style, script = (f"\n{(HERE / name).read_text(encoding='utf-8')}" for name in ("page.css", "page.js"))
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {_digest(style)}",
            f"script-src {_digest(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    # Within <script> nothing is escaped, and the page's parser looks for </script> and <!-- alone.
    numbers = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    frame = Template((HERE / "page.html").read_text(encoding="utf-8"))
    content = frame.substitute(
        policy=policy, title=text(title), style=style, body="\n".join(body), data=numbers, script=script
    )
    with replacing(path) as part:
        part.write_text(content, encoding="utf-8")


def _digest(words: str) -> str:
    """How a policy names a script or a style that stands in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(words.encode()).digest()).decode()}'"
