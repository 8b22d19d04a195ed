"""What of a run's settings leaves with its weights: not where things lie on the machine of whoever trained."""

import re
from collections.abc import Mapping
from typing import Any

from zoo.text import PATHS

KEPT = ("data", "metrics", "seed")  # of a run's settings: what a trained model is used by
PLACE = re.compile(r"[/\\~]|^[A-Za-z]:")  # a text with one of these may name a folder of whoever trained
DROP: Any = object()


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that a trained model is used by, without the places of whoever trained it."""
    return {part: without_places(config[part]) for part in KEPT if part in config}


def is_place(name: str, value: Any) -> bool:
    """Whether a setting may say where something lies on the machine of whoever trained."""
    return isinstance(value, str) and bool(PLACE.search(value) or PATHS.fullmatch(name))


def without_places(settings: Any, instead: Any = DROP) -> Any:
    """Settings whose places are left out, or something else instead of them."""
    if not isinstance(settings, Mapping):
        return settings
    kept = {}
    for name, value in settings.items():
        if not is_place(str(name), value):
            kept[name] = without_places(value, instead)
        elif instead is not DROP:
            kept[name] = instead
    return kept
