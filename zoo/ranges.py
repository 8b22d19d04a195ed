"""What a setting may be: the annotation of the constructor's argument says its kind, and with `Within` its range.

    def __init__(self, *, width: Count, lr: dict[str, Weight], cache: Literal["auto"] | bool) -> None: ...

The command line holds settings against them before anything is built (zoo/run/config.py), and a variant's constructor
when it is called from Python (zoo/game/settings.py).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin


@dataclass(frozen=True)
class Within:
    """A range, in an `Annotated`: whether a value is in it, and the sentence's end where it is not."""

    admits: Callable[[Any], bool]
    words: str


Count = Annotated[int, Within(lambda n: n >= 1, "must be 1 or more")]
Natural = Annotated[int, Within(lambda n: n >= 0, "must not be negative; 0 is none")]
Layers = Annotated[int, Within(lambda n: 1 <= n <= 1_000, "must be from 1 to 1000")]
Blocks = Annotated[int, Within(lambda n: 0 <= n <= 1_000, "must be from 0 to 1000; 0 is none")]
Weight = Annotated[float, Within(lambda x: x >= 0, "must not be negative; 0 switches it off")]
Positive = Annotated[float, Within(lambda x: x > 0, "must be positive")]
Share = Annotated[float, Within(lambda x: 0 <= x <= 1, "must be in [0, 1]")]
Part = Annotated[float, Within(lambda x: 0 <= x < 1, "must be in [0, 1); 0 switches it off")]
Side = Annotated[int, Within(lambda n: 1 <= n <= 8_192, "must be from 1 to 8192 pixels")]
ImageSize = Side | Annotated[list[Side], Within(lambda sides: len(sides) == 2, "must be one side, or [height,width]")]
LARGEST = 2**63  # integers from here on are no tensor's

KINDS: dict[Any, tuple[Any, str]] = {  # what an annotation admits, and in words
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: (float | int, "a number"),
    str: (str | int | float, "text"),
    list: (list | tuple, "a list"),
    Sequence: (list | tuple, "a list"),
    dict: (dict, "settings"),
    Mapping: (dict, "settings"),
    NoneType: (NoneType, "null"),
}


def fitted(name: str, value: Any, hint: Any, *, example: str = "") -> Any:
    """A setting's value as its annotation has it: whole numbers that are written as floats, 3e5, become integers.

    Args:
        name: of the setting, for the sentence.
        hint: the annotation; lists and dicts are held to it element by element.
        example: what the sentence ends in where the value is of another kind.

    Raises:
        ValueError: "NAME=VALUE: expected a whole number", or "NAME=VALUE must be positive".
    """
    refuse_immeasurable(name, value)
    options = list(_options(hint))
    kinds = [kind for kind, _ in options]
    if isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds:
        value = int(value)
    outside = []
    for kind, ranges in options:
        if not _is_of(value, kind):
            continue
        words = [within.words for within in ranges if not within.admits(value)]
        if not words:
            return _with_parts(name, value, kind)
        outside.append(f"{name}={value} {words[0]}")
    if outside:
        raise ValueError(outside[0])
    if all(get_origin(kind) is Literal or kind is NoneType for kind in kinds):
        choices = [str(choice) for kind in kinds for choice in get_args(kind) or ("null",)]
        raise ValueError(f"{name}={value} must be one of {', '.join(choices)}")
    expected = " or ".join(dict.fromkeys(_in_words(kind) for kind in kinds))
    raise ValueError(f"{name}={value}: expected {expected}{example}")


def refuse_immeasurable(name: str, value: Any) -> None:
    """Raise a ValueError for a number that is not finite, or an integer beyond 64 bits, wherever in a value it is."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}={value} must be a finite number")
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError(f"{name}={value} is too large a number")
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, part in parts:
        refuse_immeasurable(f"{name}.{key}", part)


def _options(hint: Any, ranges: tuple[Within, ...] = ()) -> list[tuple[Any, tuple[Within, ...]]]:
    """The kinds that an annotation admits, each with its ranges."""
    if get_origin(hint) is Annotated:
        of_hint = tuple(extra for extra in hint.__metadata__ if isinstance(extra, Within))
        return _options(hint.__origin__, (*ranges, *of_hint))
    if get_origin(hint) is NotRequired:
        return _options(get_args(hint)[0], ranges)
    if get_origin(hint) in (Union, UnionType):
        return [option for part in get_args(hint) for option in _options(part, ranges)]
    return [(hint, ranges)]


def _is_of(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(kind))
    outer = get_origin(kind) or kind
    types = KINDS.get(outer, (outer, ""))[0]
    return kind is Any or (isinstance(value, types) and (outer is bool or not isinstance(value, bool)))


def _with_parts(name: str, value: Any, kind: Any) -> Any:
    """The elements of a list or a dict, each as its annotation has it."""
    of = get_args(kind)
    if isinstance(value, list | tuple) and of:
        return [fitted(f"{name}[{k}]", part, of[0]) for k, part in enumerate(value)]
    if isinstance(value, Mapping) and of:
        return {key: fitted(f"{name}.{key}", part, of[1]) for key, part in value.items()}
    return value


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    return KINDS.get(get_origin(kind) or kind, (None, "settings"))[1]
