"""Whether two models differ, by values of the same reals: what they have in common cancels (zoo/metrics/estimate.py).

An interval of a difference that does not hold zero says, at 95 %, that other draws of as many images would show it too.
Of several values or models each has its own 95 %: of 20 that do not differ, one looks as if it did.
"""

from collections.abc import Sequence

import torch

from zoo.metrics.estimate import Estimate, student

MOST = 1_000  # times as many images: more are not worth a word


def differ(difference: Estimate) -> bool:
    """Whether the interval leaves zero out."""
    low, high = difference.interval()
    return not low <= 0 <= high


def times_as_many(difference: Estimate) -> float | None:
    """How many times as many fakes would show a difference as large as this one looks, on the same reals; of pairs,
    how many times as many of these. None: no number would, or more than MOST."""
    grows = difference.fakes if len(difference.fakes) else difference.pairs
    whole, part = difference.error**2, float(grows.square().sum())
    room = (difference.value / student(max(len(grows) - 1, 1))) ** 2 - (whole - part)
    return part / room if room > 0 and part <= MOST * room else None


def verdict(name: str, a: Estimate, b: Estimate, sign: float, labels: Sequence[str] = ("A", "B")) -> str:
    """In words, whether they differ, and which is better.

    Args:
        sign: 1 where higher is better, else -1.
    """
    difference = a - b
    if differ(difference):
        size, (low, high) = abs(difference.value), sorted(map(abs, difference.interval()))
        where = "lower" if difference.value < 0 else "higher"
        better = labels[0] if sign * difference.value > 0 else labels[1]
        found = f"{labels[0]} is {where} by {size:.3g} [{low:.3g}, {high:.3g}] than {labels[1]}"
        return f"{name}: {found}: they differ, {better} is better"
    if equal(a, b):
        return f"{name}: {labels[0]} and {labels[1]} are equal, image for image"
    words = f"{name}: {labels[0]} and {labels[1]} can't be told apart by these images"
    times, what = times_as_many(difference), "fakes" if len(difference.fakes) else "images"
    if times is None:
        return f"{words}; nor would a reasonable number of others do, if they differ by no more than it looks"
    return f"{words}; if they differ by as much as it looks, {max(times, 1.1):.2g} times as many {what} would show it"


def equal(a: Estimate, b: Estimate) -> bool:
    """Whether two values are of images that are the same in all that was measured."""
    pairs = zip(a.parts, b.parts, strict=True)
    return a.value == b.value and all(len(x) == len(y) and torch.equal(x, y) for x, y in pairs)
