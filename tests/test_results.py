"""No figure without its command: pages are what benchmarks/results.py renders, and its rows can be run again."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from common import ROOT, program

BOOK = ROOT / "benchmarks" / "results.toml"


def named(page: Path) -> str:
    return str(page.resolve().relative_to(ROOT))


results: Any = program("benchmarks/results.py")
book = results.Book(BOOK)

# What a figure looks like: a number with decimals, or with a unit, or behind a metric's name.
FIGURE = re.compile(
    r"""(?<![\w.:/^-])\d[\d,]*\.\d+(?!\.?\d|x\d)           # 4.68, not 2.15.0
      | \d[\d,]*\ ?(?:%|dB\b|ms\b|seconds\b|minutes\b|hours\b|GiB\b|images/s|patches/s)
      | (?:fid|kid|fd|ppl|psnr|ssim|lpips|precision|recall|accuracy)(?:_\w+)?`?\ (?:of\ |is\ |has\ )?\d[\d,]*""",
    re.VERBOSE,
)


def loose_figures(page: str) -> list[str]:
    """The lines of a page that have figures which nothing renders, with the first of them."""
    for pattern in (
        r"^<!-- (?:results: [\w-]+|published) -->$.*?^<!-- /(?:results|published) -->$",  # rendered
        r"^<!-- from: [^\n]+ -->$.*?^<!-- /from -->$",  # quoted: tests/test_docs.py
        r"<[^>]*>",
        r"arXiv:[\d., ]+\d|doi:\S+|\]\([^)]*\)|[Ss]ection \d+\.\d+",  # papers, links
        r"Python 3\.\d+(?: to 3\.\d+)?",
    ):
        page = re.sub(pattern, lambda found: "\n" * found[0].count("\n"), page, flags=re.DOTALL | re.MULTILINE)
    found, fenced = [], False
    for line in page.splitlines():
        fenced ^= line.lstrip().startswith("```")
        plain = re.sub(r"`[^`]*=[^`]*`|`[^`]*--[^`]*`", "", line)  # settings
        if fenced or line.startswith("    "):
            plain = line.partition(" # ")[2]  # what a command or code says of itself
        if (figure := FIGURE.search(plain)) and not any(re.search(known, line) for known in book.elsewhere):
            found.append(f"{figure[0]}: {line}")
    return found


@pytest.mark.parametrize("page", book.pages, ids=named)
def test_pages_are_what_is_rendered(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert book.rendered(text) == text, "python benchmarks/results.py --write"


def test_every_text_has_its_place_once() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in book.pages)
    assert sorted(re.findall(r"^<!-- results: ([\w-]+) -->$", pages, re.MULTILINE)) == sorted(
        [*book.texts, "rows", "protocols"]
    )
    assert len(results.REGION.findall(pages)) == len(book.texts) + 2


@pytest.mark.parametrize("page", book.pages, ids=named)
def test_no_figure_stands_where_nothing_renders_it(page: Path) -> None:
    assert not loose_figures(page.read_text(encoding="utf-8")), "give it a row and a text in benchmarks/results.toml"


def test_texts_have_no_figure_of_their_own() -> None:
    """But for what is named: of other people's papers, definitions."""
    for name, text in book.texts.items():
        assert not loose_figures(results.PLACEHOLDER.sub("", text)), name


def test_what_is_named_as_standing_elsewhere_does() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in book.pages)
    assert [known for known in book.elsewhere if not re.search(known, pages, re.MULTILINE)] == []


@pytest.mark.parametrize(
    "planted",
    [
        "StyleGAN-lite has `fid_mnist` 3.2 now.",
        "Its `ppl_mnist` 1017 is better.",
        "A step takes 12 ms on one core.",
        "71 % are read right, at 31.2 dB.",
        "| `train.py model=dcgan` | 4.68 | 0.56 |",
        "zoo / loop 1.23 [1.20, 1.30]",
        "It makes 235 images/s.",
        "    python train.py model=srgan       # 38 minutes on one core",
    ],
)
def test_a_figure_outside_is_found(planted: str) -> None:
    assert len(loose_figures(f"Words.\n\n{planted}\n")) == 1
    assert not loose_figures(f"<!-- results: x -->\n{planted}\n<!-- /results -->\n")


@pytest.mark.parametrize(
    "known",
    [
        "arXiv:1812.04948, 1912.04958",
        "torch 2.15.0",
        "section 4.1",
        "Python 3.11",
        "`model.skip_d_above=0.9`",
        "16x16",
        "    lr: 0.02",
    ],
)
def test_what_is_no_figure_is_left_alone(known: str) -> None:
    assert not loose_figures(known)


def test_a_figure_that_is_typed_is_rendered_away(tmp_path: Path) -> None:
    page = "# A\n<!-- results: digits -->\nanything\n<!-- /results -->\nB\n"
    rendered = book.rendered(page)
    assert rendered.startswith("# A\n<!-- results: digits -->\n| command |")
    assert rendered.endswith("<!-- /results -->\nB\n")
    assert "{" not in rendered
    with pytest.raises(ValueError, match=r"<!-- results: nothing -->: results\.toml has no such text"):
        book.rendered(page.replace("digits", "nothing"))


def test_commands_are_those_of_this_repository() -> None:
    for row in book.rows.values():
        for command in row.commands:
            words = shlex.split(command)
            assert words[0] in ("python", "zoo")
            assert words[0] == "zoo" or (ROOT / words[1]).is_file(), command


@pytest.mark.parametrize("row", [row for row in book.rows.values() if row.trainings], ids=lambda row: row.name)
def test_rows_train_with_settings_that_there_are(row: Any) -> None:
    from zoo.run.config import compose

    for k in row.trainings:
        words = [word for word in shlex.split(row.commands[k])[2:] if not word.startswith("start=")]
        compose(*words)


def test_every_row_has_what_it_reads_and_can_be_held_to_something() -> None:
    for row in book.rows.values():
        assert row.runs, f"python benchmarks/results.py --measure {row.name}"
        assert row.tolerance > 0 or all(len(row.runs) > 1 or name in row.runs[0].intervals for name in row.values)
        for run in row.runs:
            assert run.values.keys() <= {*row.values, *row.output}, row.name
            assert re.fullmatch(r"\d{4}-\d\d-\d\d", run.date), row.name
        for pattern in row.output.values():
            assert re.compile(pattern.replace("#", results.NUMBER)).groups in (1, 3), pattern


def test_rows_have_the_seeds_that_they_are_to_have() -> None:
    assert not [row.name for row in book.rows.values() if {*row.seeds} - {run.seed for run in row.runs}]


def test_every_row_says_how_it_is_measured() -> None:
    assert {row.protocol for row in book.rows.values()} == {*book.protocols}


# Values over seeds, and what is allowed ------------------------------------------------------------------------------


def row_of(*values: float, tolerance: float = 0.0, intervals: tuple[tuple[float, float], ...] = ()) -> Any:
    runs = [results.Run(seed, "2026-01-31", {"fid": value}) for seed, value in enumerate(values, 1)]
    for run, interval in zip(runs, intervals, strict=False):
        run.intervals["fid"] = interval
    return results.Row("a", ["python train.py"], ["fid"], tolerance=tolerance, runs=runs)


def test_several_seeds_allow_what_another_seed_would_have() -> None:
    low, high = row_of(1.0, 2.0, 3.0).allowed("fid")
    half = 4.302652729749462 * 1.0 * (4 / 3) ** 0.5
    assert (low, high) == pytest.approx((2 - half, 2 + half), abs=1e-5)


def test_a_measured_interval_is_never_cut_short() -> None:
    assert row_of(2.0, intervals=((1.9, 2.3),)).allowed("fid") == pytest.approx((1.9, 2.3), abs=1e-5)
    low, high = row_of(2.0, 2.001, 1.999, intervals=((1.5, 2.2),)).allowed("fid")
    assert (low, high) == pytest.approx((1.5, 2.2), abs=1e-5)


def test_tolerance_is_a_share_of_the_value() -> None:
    assert row_of(100.0, tolerance=0.1).allowed("fid") == pytest.approx((90, 110), abs=1e-3)
    assert row_of(1.0, tolerance=0.1, intervals=((0.95, 1.2),)).allowed("fid") == pytest.approx((0.9, 1.2), abs=1e-5)


@pytest.mark.slow
def test_an_interval_of_prediction_holds_nineteen_times_of_twenty() -> None:
    import numpy as np

    draw, held = np.random.default_rng(0).normal(5, 2, (2_000, 4)), 0
    for *before, now in draw.tolist():
        low, high = row_of(*before).allowed("fid")
        held += low <= now <= high
    assert held / 2_000 == pytest.approx(0.95, abs=0.015)


def test_figures_in_words() -> None:
    three, one = row_of(1.0, 2.0, 3.0), row_of(0.5, intervals=((0.25, 0.75),))
    assert three.shown("fid", None, ".2f") == "2.00 ± 1.00"
    assert three.shown("fid", "2", ".1f") == "2.0"
    assert three.shown("fid", "mean", ".1f") == "2.0"
    assert three.shown("fid", "each", ".1f") == "1.0, 2.0, 3.0"
    assert one.shown("fid", None, ".2f") == "0.50 [0.25, 0.75]"
    assert one.shown("fid", None, ".0%") == "50 [25, 75] %"
    with pytest.raises(ValueError, match="row a has no fid of seed 4"):
        three.shown("fid", "4", ".1f")


# A row from end to end ----------------------------------------------------------------------------------------------

TINY = """
pages = ["page.md"]
[data]
"few.npz" = "a few digits"
[row.tiny]
commands = [
    "python train.py SETTINGS",
    "python benchmarks/health_ranges.py RUN --from 0",
]
values = ["fid_mnist", "last/images", "96/fid_mnist"]
output = {real = 'accuracy_real +#'}
tolerance = 0.0
[row.needing]
commands = ["python train.py data=folder data.root=few.npz"]
values = ["fid_mnist"]
[row.failing]
commands = ["python benchmarks/health_ranges.py nowhere"]
output = {x = 'x #'}
[row.silent]
commands = ["zoo list"]
output = {x = 'no such line #'}
[text]
tiny = "The distance is {tiny.fid_mnist:.1f} (`{tiny.command}`, seeds {tiny.seeds}).\\n"
"""


SETTINGS = (
    "data=digits data.image_size=16 model.width=4 data.batch_size=16 max_images=96 trainer=cpu "
    "metrics.num_fake=40 metrics.num_real=60 metrics.prc_images=40 "
    "callbacks.evaluate.every=96 callbacks.samples.every=96 callbacks.checkpoints.every=96"
)
TINY = TINY.replace("SETTINGS", SETTINGS)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book whose row `tiny` was measured once with seed 3; the run's folder is runs/tiny-3-1 beside it."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "results.toml").write_text(TINY)
    (folder / "page.md").write_text("# Page\n\n<!-- results: tiny -->\n<!-- /results -->\n")
    assert command(folder, "--measure", "tiny", "--seed", "3", "--folder", str(folder / "runs")) == 0
    return folder


def command(folder: Path, *words: str) -> int:
    return results.main(["--book", str(folder / "results.toml"), *words])


def copied(tiny: Path, folder: Path) -> Path:
    return Path(shutil.copytree(tiny, folder / "book"))


@pytest.mark.slow
def test_a_row_is_measured_and_kept(tiny: Path) -> None:
    kept = json.loads((tiny / "results.json").read_text())["tiny"]
    assert [run["seed"] for run in kept] == [3]
    result = json.loads((tiny / "runs" / "tiny-3-1" / "result.json").read_text())
    assert kept[0]["values"].keys() == {"fid_mnist", "last/images", "96/fid_mnist", "real"}
    assert kept[0]["values"]["fid_mnist"] == result["values"]["fid_mnist"]
    assert kept[0]["values"]["last/images"] == 96
    assert 0 < kept[0]["values"]["real"] < 1
    assert kept[0]["threads"] == 1
    assert kept[0]["minutes"] > 0


@pytest.mark.slow
def test_a_check_of_the_same_seed_holds(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tiny, "--check", "tiny") == 0
    printed = capsys.readouterr().out
    assert re.search(r"^fid_mnist +([\d.]+) +\1 +[\d.]+ to [\d.]+  yes$", printed, re.MULTILINE)
    assert re.search(r"^real .*yes$", printed, re.MULTILINE)


@pytest.mark.slow
def test_a_check_fails_where_a_value_has_drifted(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command line's own status: the run that is compared is the one that there is."""
    folder = copied(tiny, tmp_path)
    kept = json.loads((folder / "results.json").read_text())
    kept["tiny"][0]["values"]["fid_mnist"] *= 1.01
    kept["tiny"][0]["intervals"] = {}
    (folder / "results.json").write_text(json.dumps(kept))
    run = results.Run(**json.loads((tiny / "results.json").read_text())["tiny"][0])
    monkeypatch.setattr(results.Book, "measure", lambda *_: run)
    assert command(folder, "--check", "tiny") == 1
    printed = capsys.readouterr().out
    assert re.search(r"^fid_mnist .*NO$", printed, re.MULTILINE)
    assert re.search(r"^real .*yes$", printed, re.MULTILINE)


@pytest.mark.slow
def test_a_finished_run_is_collected(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its command and seed; what is measured after the training is measured."""
    folder = copied(tiny, tmp_path)
    before = json.loads((folder / "results.json").read_text())["tiny"][0]
    (folder / "results.json").unlink()
    result = folder / "runs" / "tiny-3-1" / "result.json"
    changed = json.loads(result.read_text())
    changed["intervals"] = {"fid_mnist": [1.0, 1e6]}
    result.write_text(json.dumps(changed))
    assert command(folder, "--collect", str(result.parent), "--row", "tiny") == 0
    assert "kept: tiny, seed 3: fid_mnist" in capsys.readouterr().out
    after = json.loads((folder / "results.json").read_text())["tiny"][0]
    assert after["values"] == before["values"]
    assert after["intervals"] == {"fid_mnist": [1.0, 1e6]}
    assert after["minutes"] is not None
    with (result.parent / ".hydra" / "overrides.yaml").open("a") as file:
        file.write(f"- resume={result.parent}\n")
    assert command(folder, "--collect", str(result.parent), "--row", "tiny") == 0
    resumed = json.loads((folder / "results.json").read_text())["tiny"][0]
    assert resumed == after | {"minutes": None}, "it is the straight one, and only its last part was timed"


@pytest.mark.slow
def test_runs_of_other_commands_are_refused(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copied(tiny, tmp_path)
    run, kept = folder / "runs" / "tiny-3-1", (folder / "results.json").read_bytes()
    overrides = run / ".hydra" / "overrides.yaml"
    typed = overrides.read_text()
    overrides.write_text(typed.replace("model.width=4", "model.width=8"))
    assert command(folder, "--collect", str(run), "--row", "tiny") == 1
    said = capsys.readouterr().err
    assert "its command is not that of tiny; it is that of tiny, without model.width=4, with model.width=8" in said
    assert command(folder, "--collect", str(run)) == 1
    assert "its command is not that of a row; it is that of needing, without data.root=few" in capsys.readouterr().err
    overrides.write_text(typed)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"state": "stopped"}))
    assert command(folder, "--collect", str(run), "--row", "tiny") == 1
    assert "has not finished, it is stopped" in capsys.readouterr().err
    del result["values"]["fid_mnist"]
    (run / "result.json").write_text(json.dumps(result))
    assert command(folder, "--collect", str(run), "--row", "tiny") == 1
    assert "has no fid_mnist, of which row tiny speaks" in capsys.readouterr().err
    assert command(folder, "--collect", str(run), "--row", "failing") == 1
    assert "failing does not come from one training: --measure failing makes it" in capsys.readouterr().err
    assert command(folder, "--collect", str(tmp_path)) == 1
    assert "is no run's folder: it has no overrides.yaml" in capsys.readouterr().err
    assert (folder / "results.json").read_bytes() == kept


@pytest.mark.slow
def test_pages_are_written_from_what_is_kept(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copied(tiny, tmp_path)
    assert command(folder, "--write") == 0
    assert "written: page.md" in capsys.readouterr().out
    page = (folder / "page.md").read_text()
    value = json.loads((folder / "results.json").read_text())["tiny"][0]["values"]["fid_mnist"]
    low, high = json.loads((folder / "results.json").read_text())["tiny"][0]["intervals"]["fid_mnist"]
    assert f"The distance is {value:.1f} [{low:.1f}, {high:.1f}] (`python train.py data=digits" in page
    assert "seeds 3)." in page
    assert command(folder, "--write") == 0
    assert (folder / "page.md").read_text() == page
    assert capsys.readouterr().out == ""
    assert command(folder, "--list") == 0
    assert re.search(r"^tiny .* min  seeds 3 .*python train.py data=digits", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--check", "tinny"], "tinny is no row; near it: tiny"),
        (["--check", "xyz"], "xyz is no row; --list shows them"),
        (["--measure", "needing"], "needing needs few.npz, a few digits: --data few.npz=PATH"),
        (
            ["--measure", "needing", "--data", "few=/nowhere/few.npz"],
            "--data few=/nowhere/few.npz: /nowhere/few.npz is",
        ),
        (["--measure", "needing", "--data", "mnist"], "--data mnist: it is NAME=PATH, NAME one of few.npz"),
        (["--check", "failing"], "failing has no run to compare with: --measure failing"),
        (
            ["--measure", "failing"],
            "failing: `python benchmarks/health_ranges.py nowhere` ended with status 1: FileNotFoundError",
        ),
        (["--measure", "silent"], "silent: nothing that was printed is like 'no such line #', for x"),
    ],
)
def test_what_goes_wrong_is_a_sentence(
    tiny: Path, tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.toml").write_text(TINY)
    shutil.copy(tiny / "results.json", tmp_path)
    kept = (tmp_path / "results.json").read_bytes()
    assert command(tmp_path, *words) == 1
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert said.count("\n") == 1
    assert (tmp_path / "results.json").read_bytes() == kept


@pytest.mark.slow
def test_a_run_that_is_there_is_not_written_over(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tiny, "--check", "tiny", "--folder", str(tiny / "runs")) == 1
    assert "is there: remove it, or give another --folder" in capsys.readouterr().err


@pytest.mark.slow
def test_it_is_a_program() -> None:
    program = [sys.executable, "benchmarks/results.py"]
    done = subprocess.run([*program, "--list"], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(book.rows)
    done = subprocess.run([*program, "--check", "dcgann"], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("dcgann is no row; near it: dcgan")
