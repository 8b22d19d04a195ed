"""What a setting's value may be, by its annotation: kinds, ranges, elements, and numbers that can't be measured."""

import math
import re
from typing import Annotated, Any, Literal

import pytest

from zoo.ranges import Count, ImageSize, Layers, Natural, Part, Positive, Share, Weight, Within, fitted

Rising = Annotated[list[Count], Within(lambda steps: steps == sorted(steps), "must rise")]


@pytest.mark.parametrize(
    ("hint", "value", "fit"),
    [
        (Count, 3, 3),
        (Count, 3e5, 300_000),
        (Count | None, None, None),
        (float, 3, 3),
        (Weight, 0, 0),
        (ImageSize, 64, 64),
        (ImageSize, [64.0, 32], [64, 32]),
        (Rising, [], []),
        (Rising, [1e4, 2e4], [10_000, 20_000]),
        (dict[str, Weight], {"D": 1}, {"D": 1}),
        (Natural | Literal["half"], "half", "half"),
        (Literal["auto"] | bool, True, True),
        (str | None, 2024, 2024),
        (Any, [1, "x"], [1, "x"]),
    ],
)
def test_what_fits(hint: Any, value: Any, fit: Any) -> None:
    found = fitted("a.b", value, hint)
    assert found == fit
    assert type(found) is type(fit)


@pytest.mark.parametrize(
    ("hint", "value", "sentence"),
    [
        (Count, 0, "a.b=0 must be 1 or more"),
        (Count, 1.5, "a.b=1.5: expected a whole number, such as"),
        (Count, True, "a.b=True: expected a whole number, such as"),
        (Count | None, "x", "a.b=x: expected a whole number or null, such as"),
        (Layers, 10**9, "a.b=1000000000 must be from 1 to 1000"),
        (Count, 10**30, f"a.b={10**30} is too large a number"),
        (Positive, 0.0, "a.b=0.0 must be positive"),
        (Part, 1, "a.b=1 must be in [0, 1); 0 switches it off"),
        (Share, math.nan, "a.b=nan must be a finite number"),
        (float, math.inf, "a.b=inf must be a finite number"),
        (Any, {"x": [1.0, -math.inf]}, "a.b.x.1=-inf must be a finite number"),
        (ImageSize, [64], "a.b=[64] must be one side, or [height,width]"),
        (ImageSize, [64, 0], "a.b[1]=0 must be from 1 to 8192 pixels"),
        (ImageSize, [64, "x"], "a.b[1]=x: expected a whole number"),
        (Rising, [3, 1], "a.b=[3, 1] must rise"),
        (dict[str, Weight], {"D": -1.0}, "a.b.D=-1.0 must not be negative; 0 switches it off"),
        (dict[str, Weight], 3, "a.b=3: expected settings, such as"),
        (Literal["crop", "pad"], "stretch", "a.b=stretch must be one of crop, pad"),
        (Literal["crop", "pad"] | None, "stretch", "a.b=stretch must be one of crop, pad, null"),
        (Literal[2, 4], True, "a.b=True must be one of 2, 4"),
    ],
)
def test_what_does_not_fit(hint: Any, value: Any, sentence: str) -> None:
    whole = sentence + " a.b=3" * sentence.endswith("such as")
    with pytest.raises(ValueError, match=f"^{re.escape(whole)}$"):
        fitted("a.b", value, hint, example=", such as a.b=3")
