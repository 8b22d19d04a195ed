"""Every figure that README.md and docs/*.md print from training or measuring, with what makes it again.

    python benchmarks/results.py --list                              # rows: command, minutes, seeds, date
    python benchmarks/results.py --check cgan                        # run a row again: does it hold?
    python benchmarks/results.py --check dcgan_mnist --data mnist=~/mnist.npz --seed 2
    python benchmarks/results.py --measure cgan                      # run it with its seeds, and keep what comes
    python benchmarks/results.py --collect outputs/cgan-mnist5k/*    # keep what finished runs have found
    python benchmarks/results.py --collect RUN --row cas             # of a row that measures after training
    python benchmarks/results.py --write                             # the pages, from what is kept

Three places, and no figure in two of them:

results.toml    written by people. `[row.NAME]`: the commands that a user types, and what is read from them.
                `[text]`: tables and paragraphs, with {row.value} where a figure stands.
results.json    written by this program: of each row its runs; of each run seed, date, minutes, threads, processor,
                values, and the intervals that were measured with them.
the pages       between `<!-- results: NAME -->` and `<!-- /results -->` stands that text, its figures filled in.

A row's figures: `values` are names of the run's result.json, at its best evaluation; `last/NAME` at its last one,
`30000/NAME` at that image in its metrics.csv. `output` are found in what the commands print, `#` being a number there:
three of them are a value and its interval. In commands RUN is the folder of the training before (RUN1, RUN2, ... where
there are several), and a name of `[data]` something that a user must have.

In a text {row.value:.2f} is the mean and standard deviation over the row's seeds, or a single run's value and interval;
{row.value@2:.2f} that of seed 2, {row.value@mean:.2f} the mean alone, {row.value@each:.2f} a list; {row.command},
{row.seeds}, {row.minutes}, {row.threads} and {row.date} say where it comes from.

A new value holds if it lies

    several seeds   within mean +- t s sqrt(1 + 1/n), where another seed's falls 19 times of 20 (Student, n - 1 degrees
                    of freedom), and in any case within the widest measured interval of one run
    a single run    within its measured interval
    `tolerance`     in any case within this share of the value: for timings, and for values without an interval

`--check` says so of every value, and ends with status 1 if one does not hold.
"""

import argparse
import csv
import difflib
import json
import math
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from zoo.atomic import replacing  # noqa: E402
from zoo.metrics.estimate import student  # noqa: E402

REGION = re.compile(r"^(<!-- results: ([\w-]+) -->\n)(.*?)^(<!-- /results -->)$", re.DOTALL | re.MULTILINE)
PLACEHOLDER = re.compile(r"\{(\w+)\.([\w/>-]+(?: \w+)*)(?:@(\w+))?(?::([^{}]+))?\}")
NUMBER = r"(-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)"
ZOO = [sys.executable, "-c", "from zoo.cli import main; main()"]
NO_SETTING = ("seed", "logger", "hydra", "run_dir", "cache_dir", "resume")  # they change no figure, or are a run's


@dataclass
class Run:
    """What one run of a row's commands has found."""

    seed: int | None  # None: nothing is drawn, or the command says what
    date: str
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    minutes: float | None = None
    threads: int | None = None
    cpu: str = ""


@dataclass
class Row:
    """Commands, what is read from them, and their runs so far."""

    name: str
    commands: list[str]
    values: list[str] = field(default_factory=list)
    output: dict[str, str] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)  # those that it is to have
    tolerance: float = 0.0
    threads: int = 1
    protocol: str = ""  # a name of [protocol]
    note: str = ""
    runs: list[Run] = field(default_factory=list)

    @property
    def trainings(self) -> list[int]:
        """The places of its commands that train."""
        return [k for k, command in enumerate(self.commands) if command.startswith("python train.py")]

    @property
    def minutes(self) -> float | None:
        known = [run.minutes for run in self.runs if run.minutes is not None]
        return statistics.fmean(known) if known else None

    def run_of(self, seed: int | None) -> Run | None:
        return next((run for run in self.runs if run.seed == seed), None)

    def allowed(self, name: str) -> tuple[float, float]:
        """Where a new value must lie; at which image the best generator was, is left open."""
        if name == "images":
            return 0.0, math.inf
        values = [run.values[name] for run in self.runs if name in run.values]
        intervals = [(run.values[name], *run.intervals[name]) for run in self.runs if name in run.intervals]
        below, above = (max((abs(each[0] - each[k]) for each in intervals), default=0.0) for k in (1, 2))
        mean, n = statistics.fmean(values), len(values)
        half = student(n - 1) * statistics.stdev(values) * math.sqrt(1 + 1 / n) if n > 1 else 0.0
        least = max(self.tolerance, 1e-6) * abs(mean)  # 1e-6: what another library's rounding may do
        return mean - max(half, below, least), mean + max(half, above, least)

    def shown(self, name: str, which: str | None, form: str) -> str:
        """A figure for a text."""
        runs = [run for run in self.runs if name in run.values]
        if which and which.isdigit():
            runs = [run for run in runs if run.seed == int(which)]
        if not runs:
            raise ValueError(f"row {self.name} has no {name}{f' of seed {which}' if which else ''}")
        values = [run.values[name] for run in runs]
        unit = " %" if form.endswith("%") else ""

        def text(value: float) -> str:
            return format(value, form).removesuffix("%")

        if which == "each":
            return ", ".join(map(text, values)) + unit
        shown = text(statistics.fmean(values))
        if len(values) > 1 and which != "mean":
            shown += f" ± {text(statistics.stdev(values))}"
        elif name in runs[0].intervals and which != "mean":
            shown += f" [{', '.join(map(text, runs[0].intervals[name]))}]"
        return shown + unit

    def origin(self, name: str) -> str | None:
        """What says where its figures come from; None: `name` is no such word."""
        dates = sorted({run.date for run in self.runs})
        words = {
            "command": self.commands[max(self.trainings, default=0)],
            "commands": "`, then `".join(self.commands),
            "seeds": ", ".join(str(run.seed) for run in self.runs if run.seed is not None),
            "minutes": "" if self.minutes is None else format(self.minutes, ".2g" if self.minutes < 1 else ".0f"),
            "threads": ", ".join(sorted({str(run.threads or self.threads) for run in self.runs})),
            "date": " to ".join(sorted({dates[0], dates[-1]})) if dates else "",
        }
        return words.get(name)


class Book:
    """results.toml and the results.json beside it."""

    def __init__(self, path: Path) -> None:
        self.path, self.kept = path, path.with_suffix(".json")
        written = tomllib.loads(path.read_text(encoding="utf-8"))
        runs = json.loads(self.kept.read_text(encoding="utf-8")) if self.kept.exists() else {}
        self.rows = {name: Row(name, **keys) for name, keys in written["row"].items()}
        for name, found in runs.items():
            self.row(name).runs = [Run(**each) for each in found]
        self.texts: dict[str, str] = written.get("text", {})
        self.protocols: dict[str, str] = written.get("protocol", {})
        self.data: dict[str, str] = written.get("data", {})
        self.elsewhere: dict[str, str] = written.get("elsewhere", {})
        self.pages = [page for pattern in written["pages"] for page in sorted(path.parent.glob(pattern))]

    def row(self, name: str) -> Row:
        if name not in self.rows:
            near = difflib.get_close_matches(name, self.rows, cutoff=0.4)
            raise ValueError(f"{name} is no row; {'near it: ' + ', '.join(near) if near else '--list shows them'}")
        return self.rows[name]

    def keep(self, row: Row, run: Run) -> None:
        """In the place of the row's run of that seed, on the disk too."""
        row.runs = sorted([*(r for r in row.runs if r.seed != run.seed), run], key=lambda r: r.seed or 0)
        found = {row.name: [asdict(run) for run in row.runs] for row in self.rows.values() if row.runs}
        with replacing(self.kept) as part:
            part.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    # The pages ------------------------------------------------------------------------------------------------------

    def text(self, name: str) -> str:
        """A text with its figures; `rows` and `protocols` are the tables of these."""
        if name in ("rows", "protocols"):
            return "\n".join(self.table() if name == "rows" else self.table_of_protocols()) + "\n"
        if name not in self.texts:
            raise ValueError(f"<!-- results: {name} -->: {self.path.name} has no such text")

        def figure(found: re.Match[str]) -> str:
            row, value, which, form = found.groups()
            if row not in self.rows:
                return found[0]  # a brace of something else
            origin = self.rows[row].origin(value)
            return self.rows[row].shown(value, which, form or "") if origin is None else origin

        blocks = PLACEHOLDER.sub(figure, self.texts[name].strip()).split("\n\n")
        return "\n\n".join(block if block[0] in "|-" else wrapped(block) for block in blocks) + "\n"

    def table(self) -> Iterator[str]:
        yield "| row | commands | seeds | minutes | threads | date | protocol |"
        yield "|---|---|---|---|---|---|---|"
        for row in self.rows.values():
            cells = [row.origin(word) or "" for word in ("seeds", "minutes", "threads", "date")] + [row.protocol]
            yield f"| {row.name} | `{row.origin('commands')}` | {' | '.join(cells)} |".replace("|  |", "| |")

    def table_of_protocols(self) -> Iterator[str]:
        yield "| protocol | what is measured |"
        yield "|---|---|"
        yield from (f"| {name} | {words} |" for name, words in self.protocols.items())

    def rendered(self, page: str) -> str:
        """A page with the texts that its marks ask for."""
        return REGION.sub(lambda found: found[1] + self.text(found[2]) + found[4], page)

    def write(self) -> None:
        for page in self.pages:
            before = page.read_text(encoding="utf-8")
            if (after := self.rendered(before)) != before:
                with replacing(page) as part:
                    part.write_text(after, encoding="utf-8")
                print(f"written: {page.name}")

    # Runs -----------------------------------------------------------------------------------------------------------

    def measure(self, row: Row, seed: int | None, folder: Path, data: dict[str, str]) -> Run:
        """Run a row's commands in a folder.

        Raises:
            ValueError: data are missing, a command fails, or a value is not among what it leaves.
        """
        for word in (word for command in row.commands for word in shlex.split(command)):
            name = word.split("=")[-1]
            if name in self.data and name not in data:
                raise ValueError(f"{row.name} needs {name}, {self.data[name]}: --data {name}=PATH")
        runs, start = [folder / f"{row.name}-{seed}-{k}" for k in range(1, len(row.trainings) + 1)], time.monotonic()
        log = self.printed(row, runs, folder, data, seed, train=True)
        return self.read(row, seed, runs, log, minutes=(time.monotonic() - start) / 60, on=datetime.now(UTC).date())

    def printed(
        self, row: Row, runs: list[Path], folder: Path, data: dict[str, str], seed: int | None, *, train: bool
    ) -> str:
        """Run its commands; what they print. `runs` are where its trainings write, or wrote: then they are not run."""
        log = folder / f"{row.name}-{seed}.log"
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"OMP_NUM_THREADS": str(row.threads), "PYTHONPATH": paths}
        log.touch()
        for k, command in enumerate(row.commands):
            if k in row.trainings and not train:
                continue
            words = shlex.split(command)
            trained = sum(place < k for place in row.trainings)  # trainings before this command
            names = {f"RUN{n}": run for n, run in enumerate(runs, 1)} | {"RUN": runs[trained - 1] if trained else None}
            words = [filled(word, {name: str(path) for name, path in names.items() if path} | data) for word in words]
            if k in row.trainings:
                if runs[trained].exists():
                    raise ValueError(f"{runs[trained]} is there: remove it, or give another --folder")
                words += [f"hydra.run.dir={runs[trained]}", *(["logger=csv"] if "logger=" not in command else [])]
                words += [f"seed={seed}"] if seed is not None else []
            if words[0] == "python":
                words[:2] = [sys.executable, str(ROOT / words[1])]
            elif words[0] == "zoo":
                words[:1] = ZOO
            print(f"{row.name}: {command}", flush=True)
            with log.open("a") as file:
                status = subprocess.run(words, cwd=folder, env=environment, stdout=file, stderr=file).returncode
            if status:
                lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
                said = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
                raise ValueError(
                    f"{row.name}: `{command}` ended with status {status}: {said.strip()} (with --folder, all that was "
                    f"printed is in it: {log.name})"
                )
        return log.read_text(encoding="utf-8", errors="replace")

    def read(self, row: Row, seed: int | None, runs: list[Path], log: str, *, minutes: float | None, on: date) -> Run:
        """The row's values in the folder of its last training, and in what its commands printed."""
        run = Run(seed, on.isoformat(), {}, {}, minutes and round(minutes, 2), row.threads, processor())
        result = json.loads((runs[-1] / "result.json").read_text(encoding="utf-8")) if row.values else {}
        if row.values and result["state"] != "finished":
            raise ValueError(f"{runs[-1]} has not finished, it is {result['state']}")
        for name in row.values:
            when, _, rest = name.partition("/")
            found = result["last"].get(rest) if when == "last" else result["values"].get(name)
            if when.isdigit():
                found = at_image(runs[-1] / "metrics.csv", int(when), rest)
            if found is None or not math.isfinite(found):
                raise ValueError(f"{runs[-1]} has no {name}, of which row {row.name} speaks")
            run.values[name] = found
            of_best = when != "last" or result["last"]["images"] == result["values"]["images"]
            measured = rest if when == "last" else name
            if of_best and measured in result.get("intervals", {}):
                run.intervals[name] = tuple(result["intervals"][measured])
        for name, pattern in row.output.items():
            match = re.search(pattern.replace("#", NUMBER), log)
            if match is None:
                raise ValueError(f"{row.name}: nothing that was printed is like '{pattern}', for {name}")
            value, *interval = (float(number.replace(",", "")) for number in match.groups())
            run.values[name] = value
            if interval:
                run.intervals[name] = (interval[0], interval[1])
        return run

    def check(self, row: Row, now: Run) -> bool:
        """Print a row's values then and now; whether all hold."""
        then = row.run_of(now.seed) or row.runs[0]
        print(f"{'value':36}{'then':>12}{'now':>12}{'allowed':>26}  holds")
        every = True
        for name, value in now.values.items():
            if name not in then.values:
                continue  # read since; --measure keeps it
            low, high = row.allowed(name)
            holds = low <= value <= high
            every &= holds
            span = f"{low:.5g} to {high:.5g}"
            print(f"{name:36}{then.values[name]:>12.5g}{value:>12.5g}{span:>26}  {'yes' if holds else 'NO'}")
        return every

    def collect(self, folder: Path, name: str | None = None) -> None:
        """Keep the values of a finished run in the row of its command; or in that row, whose measuring is then run.

        Raises:
            ValueError: it is not finished, or its command is no row's.
        """
        try:
            typed = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
            settings = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
            when = datetime.fromtimestamp((folder / "result.json").stat().st_mtime, UTC).date()
        except OSError as error:
            raise ValueError(f"{folder} is no run's folder: it has no {Path(str(error.filename)).name}") from None
        command = settings_of(typed)
        rows = [self.row(name)] if name else [row for row in self.rows.values() if len(row.commands) == 1]
        of_rows = {
            row.name: settings_of(shlex.split(row.commands[row.trainings[0]])[2:])
            for row in rows
            if len(row.trainings) == 1  # of several, a single folder is a part
        }
        if not (rows := [self.rows[each] for each, of_row in of_rows.items() if of_row == command]):
            near = min(of_rows, key=lambda each: len(of_rows[each] ^ command), default=None)
            if near is None:
                raise ValueError(f"{name} does not come from one training: --measure {name} makes it")
            other = "".join(f", without {word}" for word in sorted(of_rows[near] - command))
            other += "".join(f", with {word}" for word in sorted(command - of_rows[near]))
            raise ValueError(f"{folder}: its command is not that of {name or 'a row'}; it is that of {near}{other}")
        report = folder / "report.md"
        seconds = re.search(r"^- seed \d+, ([\d,]+) s for", report.read_text() if report.exists() else "", re.MULTILINE)
        resumed = any(word.startswith("resume=") for word in typed)  # its seconds are those of its last part
        minutes = float(seconds[1].replace(",", "")) / 60 if seconds and not resumed else None
        for row in rows:
            seed, runs = settings["seed"], [folder.resolve()]
            with tempfile.TemporaryDirectory() as place:
                log = self.printed(row, runs, Path(place), {}, seed, train=False)
            run = self.read(row, seed, runs, log, minutes=minutes, on=when)
            self.keep(row, run)
            print(f"kept: {row.name}, seed {seed}: " + ", ".join(f"{k} {v:.5g}" for k, v in run.values.items()))


def wrapped(paragraph: str) -> str:
    """At the pages' width: figures are as long as they are."""
    return textwrap.fill(paragraph, 120, break_long_words=False, break_on_hyphens=False)


def filled(word: str, names: dict[str, str]) -> str:
    """A word of a command, `data.root=mnist.npz` or `RUN/checkpoints/best.ckpt`, with the path in the name's place."""
    key, equals, value = word.rpartition("=")
    first, slash, rest = value.partition("/")
    return key + equals + names.get(first, first) + slash + rest


def settings_of(words: list[str]) -> frozenset[str]:
    """A command's settings: the same whatever the seed, wherever things lie, and however 60_000 is written."""
    settings = set()
    for word in words:
        key, equals, value = word.partition("=")
        if key.split(".")[0] not in NO_SETTING:
            settings.add(key + equals + re.sub(r"(?<=\d)_(?=\d)", "", value.rsplit("/", 1)[-1]))
    return frozenset(settings)


def at_image(table: Path, image: int, name: str) -> float | None:
    """A value of metrics.csv, in its last row up to that image that has one."""
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(name) and float(row["images"]) <= image]
    return float(rows[-1][name]) if rows else None


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def write_pages(book: Book) -> None:
    """All pages; the table of published weights too, whose figures lie with the weights."""
    book.write()
    if (weights := next((page for page in book.pages if "<!-- published -->" in page.read_text()), None)) is not None:
        from published import table_into

        table_into(weights)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="the rows")
    what.add_argument("--check", nargs="+", metavar="NAME", help="run rows again, and compare")
    what.add_argument("--measure", nargs="+", metavar="NAME", help="run rows, and keep their values")
    what.add_argument("--collect", nargs="+", metavar="RUN", type=Path, help="keep the values of finished runs")
    parser.add_argument("--row", help="with --collect: by default that of the run's command")
    what.add_argument("--write", action="store_true", help="render the pages")
    parser.add_argument("--seed", type=int, help="by default that of the row's first run; to measure, all of its seeds")
    parser.add_argument("--folder", type=Path, help="for runs and their output; by default one that is removed")
    parser.add_argument("--data", action="append", default=[], metavar="NAME=PATH", help="what a row's command names")
    parser.add_argument("--book", type=Path, default=ROOT / "benchmarks" / "results.toml", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    try:
        return run(asked, Book(asked.book))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1


def run(asked: argparse.Namespace, book: Book) -> int:
    if asked.list:
        for row in book.rows.values():
            seeds, minutes, when = (row.origin(word) or "-" for word in ("seeds", "minutes", "date"))
            print(
                f"{row.name:32}{minutes:>5} min  seeds {seeds:8}  {when:24}  {row.origin('commands')}".replace("`", "")
            )
    if asked.write:
        write_pages(book)
    for folder in asked.collect or []:
        book.collect(folder, asked.row)
    data = {}
    for word in asked.data:
        name, equals, path = word.partition("=")
        known = next((each for each in book.data if name in (each, each.partition(".")[0])), None)
        if not known or not equals:
            raise ValueError(f"--data {word}: it is NAME=PATH, NAME one of {', '.join(book.data)}")
        data[known] = str(Path(path).expanduser().resolve())
        if not Path(data[known]).exists():
            raise ValueError(f"--data {word}: {data[known]} is not there")
    every = True
    rows = [book.row(name) for name in asked.check or asked.measure or []]  # a mistyped one, before hours of another
    with tempfile.TemporaryDirectory() as place:
        folder = (asked.folder or Path(place)).expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for row in rows:
            if asked.check and not row.runs:
                raise ValueError(f"{row.name} has no run to compare with: --measure {row.name}")
            seeds = row.seeds if asked.measure else [run.seed or 1 for run in row.runs[:1]]
            for seed in [asked.seed] if asked.seed is not None else seeds or [1]:
                now = book.measure(row, seed if row.trainings else None, folder, data)
                if asked.measure:
                    book.keep(row, now)
                else:
                    every &= book.check(row, now)
    return 0 if every else 1


if __name__ == "__main__":
    sys.exit(main())
