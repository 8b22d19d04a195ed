"""What a choice fetches from a network before it serves, and how much: the line `# Downloads 96 MB.` of its comment.

A choice may bring others along, a set of images its metrics, say, which then fetch theirs: those count too.
"""

import re
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from zoo.run import CONF
from zoo.run.config import TABLES, table

ORDER = ("experiment", "model", "data", "metrics")  # each may choose from those after it, unless one before it has


def downloads(group: str, name: str) -> str:
    """In words, such as "170 MB, and 96 MB by metrics=inception"; empty where nothing is fetched."""
    if group not in ORDER:
        return ""
    chosen = {group: name}
    for each in ORDER[ORDER.index(group) :]:
        if each in chosen:
            for other, choice in _brought(each, chosen[each]):
                chosen.setdefault(other, choice)
    sizes = {(g, chosen[g]): size for g in ORDER if g in chosen and (size := _declared(g, chosen[g]))}
    own = sizes.pop((group, name), None)
    others = [f"{size} by {g}={choice}" for (g, choice), size in sizes.items() if " with " not in size]
    return ", and ".join([own, *others] if own else others)


def _declared(group: str, name: str) -> str | None:
    """What the comment of a choice says; "548 MB with model.content=vgg": if that is set."""
    if group in TABLES:
        return None
    found = re.search(r"^# Downloads (.+)\.$", (CONF / group / f"{name}.yaml").read_text(), re.MULTILINE)
    return found[1] if found else None


_rows = cache(table)


@cache
def _brought(group: str, name: str) -> list[tuple[str, str]]:
    """The choices from other groups in a choice's list of defaults, before those of the choice that it extends."""
    content: Any = _rows(group)[name] if group in TABLES else OmegaConf.load(CONF / group / f"{name}.yaml")
    brought: list[tuple[str, str]] = []
    extended: list[tuple[str, str]] = []
    for entry in content.get("defaults", []):
        if isinstance(entry, str):
            extended += _brought(group, entry) if entry != "_self_" else []
            continue
        (key, choice), *_ = entry.items()  # override /metrics@_global_.metrics: inception
        brought.append((re.sub(r"@.*", "", key.split()[-1]).lstrip("/"), choice))
    return brought + extended
