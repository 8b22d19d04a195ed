"""What has come of a run, as the files result.json and metrics.csv in its folder say."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from zoo.atomic import replacing
from zoo.text import read_small

LARGEST = 1_000_000  # bytes of the file; a run's has some hundred


@dataclass(frozen=True, kw_only=True)
class Result:
    """The state of a run and what it is worth.

    Args:
        folder: the run's, which `zoo.load` takes.
        state: running, finished, stopped (by a signal or max_time), diverged or failed.
        images: shown to the discriminator so far.
        metric: the value that chooses the best checkpoint; None: there is none.
        higher_is_better: whether more of it is better.
        best: its best value; None before the first evaluation.
        values: every value of the evaluation with the best, and its `images`.
        last: those of the newest evaluation.
        intervals, last_intervals: the ends of the 95 % intervals of the values that have one.
    """

    folder: Path
    state: str
    images: int
    metric: str | None = None
    higher_is_better: bool = False
    best: float | None = None
    values: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    last_intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def write(self) -> None:
        """Replace the folder's result.json.

        Raises:
            OSError: if it can't be written.
        """
        content = {name: value for name, value in asdict(self).items() if name != "folder"}
        with replacing(self.folder / "result.json") as part:
            part.write_text(json.dumps(content, indent=1))

    @classmethod
    def read(cls, folder: Path) -> "Result | None":
        """That of a run's folder; None if it has not got as far as that.

        Raises:
            ValueError: if the file is damaged.
        """
        path = folder / "result.json"
        if not path.is_file():
            return None
        text = read_small(path, limit=LARGEST)
        try:
            content = json.loads(text)
            result = cls(folder=folder, **content)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged ({error})") from None
        if wrong := [f.name for f in fields(cls) if not _is(f.name, getattr(result, f.name))]:
            raise ValueError(f"{path} is damaged: {wrong[0]}={getattr(result, wrong[0])!r}")
        return result


def rows_of(path: Path, limit: int | None = None) -> tuple[list[dict[str, str]], bool]:
    """The rows of a metrics.csv, and whether it holds anything else; a last line that was not finished is nothing.

    Raises:
        OSError: if there is a file, and it can't be read.
        ValueError: if it has more than `limit` bytes.
    """
    if not path.is_file():
        return [], False
    if limit is not None and path.stat().st_size > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    text = path.read_bytes().decode(errors="replace")
    lines = text.split("\n")
    columns, *values = [line.rstrip("\r").split(",") for line in lines[:-1]] or [[]]  # names and numbers: no quotes
    if columns[:1] != ["images"] or len(set(columns)) < len(columns) or not all(columns):
        return [], bool(text)
    sound = [row for row in values if len(row) == len(columns) and is_count(row[0]) and all(map(_number, row))]
    return [dict(zip(columns, row, strict=True)) for row in sound], len(sound) < len(values)


def is_count(text: str) -> bool:
    """Whether it is a number of images: digits, no more than a run could come to."""
    return text.isascii() and text.isdecimal() and len(text) <= 15


def _number(text: str) -> bool:
    """Whether a value of a table is a number, or there is none."""
    try:
        float(text or 0)
    except ValueError:
        return False
    return True


def _is(name: str, value: Any) -> bool:
    """Whether a field holds what it should."""
    number = lambda x: isinstance(x, float) or (type(x) is int and abs(x) < 2**63)
    if name in ("values", "last"):
        return isinstance(value, dict) and all(map(number, value.values()))
    if name in ("intervals", "last_intervals"):
        pair = lambda ends: isinstance(ends, list | tuple) and len(ends) == 2 and all(map(number, ends))
        return isinstance(value, dict) and all(map(pair, value.values()))
    kinds: dict[str, Any] = {"folder": Path, "state": str, "metric": str | None, "higher_is_better": bool}
    return isinstance(value, kinds[name]) if name in kinds else number(value) or (name == "best" and value is None)
