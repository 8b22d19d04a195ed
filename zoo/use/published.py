"""The weights that come with this package, as `zoo list` shows them and docs/weights.md has them. Without torch."""

from collections.abc import Iterator
from typing import Any

from zoo.text import printable
from zoo.weights.folder import TENSORS, read_config
from zoo.weights.names import published


def figure(about: dict[str, Any], name: str) -> str:
    """A value and its interval: fid_mnist 5.1 [4.9, 5.3]."""
    of = about["figures"][name]
    between = f" [{of['low']:.4g}, {of['high']:.4g}]" if of.get("low") is not None else ""
    return f"{name} {of['value']:.4g}{between}"


def described() -> Iterator[tuple[str, dict[str, Any], float]]:
    """Of each: its name, what its card says, megabytes."""
    for name, place in published().items():
        yield name, read_config(place)["about"], (place / TENSORS).stat().st_size / 1e6


def rows() -> list[str]:
    """A line for each."""
    found = list(described())
    width = max((len(name) for name, *_ in found), default=0) + 2
    return [
        f"  {name:<{width}}{printable(about['variant'])}, {printable(about['data']['name'])}, "
        f"{', '.join(figure(about, value) for value in about['headline'][:1])}, {size:.1f} MB"
        for name, about, size in found
    ] or ["  none"]


def table() -> list[str]:
    """The rows of a Markdown table."""
    lines = ["| name | variant | data | licence | figures | size |", "|---|---|---|---|---|---|"]
    for name, about, size in described():
        figures = "; ".join(f"`{value}` {figure(about, value).removeprefix(value)[1:]}" for value in about["headline"])
        cells = [f"`{name}`", about["variant"], about["data"]["name"], about["licence"], figures]
        lines.append(f"| {' | '.join(cells)} | {size:.1f} MB, {about['bits']} bits |")
    return lines
