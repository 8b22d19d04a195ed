"""The runs below a folder, side by side: what differs between their settings, and what came of each.

A run's folder is data: its files are read as plain YAML, JSON and CSV, of a bounded size.
"""

import csv
import math
import os
import stat
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from zoo.atomic import replacing
from zoo.result import Result, is_count
from zoo.text import printable, read_small, shortened

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LARGEST = 1_000_000  # bytes of a settings file; a run's have some thousand
NOT_COMPARED = ("hydra", "resume", "run_dir", "cache_dir")  # where a run lies, and how it was started


@dataclass(frozen=True)
class Run:
    """A run's folder: what was typed, what it was composed to, what came of it."""

    folder: Path
    name: str
    typed: frozenset[str]
    settings: dict[str, Any]
    result: Result | None

    @classmethod
    def read(cls, folder: Path, name: str) -> "Run":
        """That of a folder.

        Raises:
            ValueError: if its files are damaged, or of another program.
        """
        typed, settings = _yaml(folder / ".hydra" / "overrides.yaml"), _yaml(folder / ".hydra" / "config.yaml")
        if not isinstance(settings, dict) or "max_images" not in settings or not isinstance(typed, list):
            raise ValueError("its .hydra is of another program")
        names = (str(override).lstrip("+~").partition("=")[0].partition("@")[0] for override in typed)
        compared = frozenset(name for name in names if not name.startswith(NOT_COMPARED))
        return cls(folder, name, compared, settings, Result.read(folder))

    @classmethod
    def without_settings(cls, folder: Path) -> "Run":
        """That of a folder which may lack anything: what came of it, where that can be read."""
        try:
            result = Result.read(folder)
        except (ValueError, OSError):
            result = None
        return cls(folder, folder.name, frozenset(), {}, result)

    def setting(self, name: str) -> Any:
        """The value of `model.lr.D`, the choice of `model`; None where it has none."""
        if name in self._choices:
            return self._choices[name]
        value: Any = self.settings
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, dict) and "_target_" in value:  # a group whose choice is not known
            return str(value["_target_"]).rpartition(".")[2]
        return value

    @cached_property
    def _choices(self) -> dict[str, Any]:
        try:
            return dict(_yaml(self.folder / ".hydra" / "hydra.yaml")["hydra"]["runtime"]["choices"])
        except (ValueError, KeyError, TypeError):
            return {}

    @cached_property
    def state(self) -> str:
        """That of its result; killed, if it says running and no process is."""
        if not self.result:
            return "not begun"
        return "killed" if self.result.state == "running" and not _is_held(self.folder / ".lock") else self.result.state

    @cached_property
    def images(self) -> int:
        """Shown so far: by its result, or by its log, which is written more often."""
        return max(self.result.images if self.result else 0, _last_logged(self.folder / "metrics.csv"))

    @property
    def best(self) -> float | None:
        return self.result.best if self.result else None

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts by metric, the best first, runs without a value last."""
        if not self.result or self.best is None or self.best != self.best:
            return (True, "", 0.0, self.name)
        return (False, self.result.metric or "", -self.best if self.result.higher_is_better else self.best, self.name)


@dataclass(frozen=True)
class Table:
    """Rows of named columns."""

    columns: list[str]
    rows: list[list[Any]]

    def lines(self) -> Iterator[str]:
        """Aligned, numbers to six digits, long values cut."""
        cells = [self.columns, *([shortened(_text(value), length=60) for value in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    def write_csv(self, path: Path) -> None:
        """All digits, replacing the file.

        Raises:
            OSError: if it can't be written.
        """
        with replacing(path) as part, part.open("w", newline="") as file:
            csv.writer(file).writerows([self.columns, *self.rows])


def runs_below(folder: Path) -> tuple[list[Run], dict[str, str]]:
    """The runs in a folder or below it, the best first, and what was passed over, with the reason.

    Raises:
        ValueError: if there is none.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give a run's, a sweep's, or outputs")
    runs: list[Run] = []
    passed_over: dict[str, str] = {}
    visited: list[Path] = []
    on_the_way = {folder}
    for path, folders, _ in os.walk(folder, onerror=lambda e: passed_over.update({str(e.filename): str(e.strerror)})):
        here = Path(path)
        visited.append(here)
        if ".hydra" not in folders:
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            continue
        folders.clear()
        on_the_way.update([here, *here.parents])
        name = str(here.relative_to(folder)) if here != folder else here.name
        try:
            runs.append(Run.read(here, name))
        except (ValueError, OSError) as error:
            passed_over[name] = str(error)
    for path_ in visited:
        if path_ not in on_the_way and path_.parent in on_the_way:
            passed_over[str(path_.relative_to(folder))] = "no run"
    if not runs:
        named = "".join(f"; {name}: {why}" for name, why in passed_over.items())
        raise ValueError(f"there is no run in {folder}{named}")
    return sorted(runs, key=lambda run: run.order), passed_over


def differing(runs: Sequence[Run]) -> list[str]:
    """What was typed for some of the runs and is not the same for all."""
    names = sorted({name for run in runs for name in run.typed})
    return [name for name in names if any(run.setting(name) != runs[0].setting(name) for run in runs)]


def table(runs: Sequence[Run]) -> Table:
    """A row for each run."""
    names = differing(runs)
    rows = []
    for run in runs:
        metric, at, last = None, None, None
        if run.result:
            metric = run.result.metric
            at, last = run.result.values.get("images"), run.result.last.get(metric or "")
        settings = [run.setting(name) for name in names]
        rows.append([run.name, *settings, run.state, run.images, metric, run.best, at, last])
    return Table(["run", *names, "state", "images", "metric", "best", "at", "last"], rows)


def over_seeds(runs: Sequence[Run]) -> Table | None:
    """Mean and standard deviation of the best value of finished runs that differ in their seeds alone.

    None if no two of them do.
    """
    names = [name for name in differing(runs) if name != "seed"]
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr([run.setting(name) for name in names]), []).append(run)
    if not any(len({run.setting("seed") for run in group}) > 1 for group in groups.values()):
        return None
    rows, order = [], []
    for group in groups.values():
        finished = [run.result for run in group if run.state == "finished" and run.result and run.best is not None]
        values = [float(result.best) for result in finished if result.best is not None]
        known = all(map(math.isfinite, values))  # else there is no mean: one without those values would be too good
        mean = statistics.fmean(values) if values and known else math.nan if values else None
        spread = statistics.stdev(values) if len(values) > 1 and known else math.nan if len(values) > 1 else None
        metric = finished[0].metric if finished else None
        number = str(len(values)) if len(values) == len(group) else f"{len(values)} of {len(group)}"
        rows.append([*(group[0].setting(name) for name in names), metric, mean, spread, number])
        sign = -1 if finished and finished[0].higher_is_better else 1
        order.append((mean is None or not known, metric or "", sign * mean if mean is not None and known else 0.0))
    rows = [row for _, row in sorted(zip(order, rows, strict=True), key=lambda pair: pair[0])]
    return Table([*names, "metric", "mean", "std", "n"], rows)


def _yaml(path: Path) -> Any:
    """A file's plain YAML.

    Raises:
        ValueError: if it is none, too large, or refers to itself (a small file can then stand for gigabytes).
    """
    text = read_small(path, limit=LARGEST)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, loader)):
            raise ValueError(f"{path.name} holds aliases")
        return yaml.load(text, loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path.name} is no YAML ({str(error).splitlines()[0]})") from None


def _last_logged(path: Path) -> int:
    """The images of the last whole row of metrics.csv, whose first column they are; 0 if there is none."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65_536))
        rows = file.read().decode(errors="replace").split("\n")[:-1]  # a last line without its end is half-written
    numbers = [int(first) for row in rows if is_count(first := row.partition(",")[0])]
    return numbers[-1] if numbers else 0


def _is_held(lock: Path) -> bool:
    """Whether a process trains in the folder of this lock."""
    if fcntl is None or not lock.is_file() or not stat.S_ISREG(lock.stat().st_mode):
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else printable(str(value))
