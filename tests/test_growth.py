"""benchmarks/growth.py: slopes and lines of what is known, and every row on a few images."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import ROOT, program

growth = program("benchmarks/growth.py")
NUMBERS = [100, 1_000, 10_000]

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from there")


@pytest.mark.parametrize("power", [0, 1, 2])
def test_the_slope_is_the_power(power: int) -> None:
    assert growth.slope(NUMBERS, [3.0 * n**power for n in NUMBERS]) == pytest.approx(power)


def test_the_line_is_what_each_image_adds_to_what_is_always_there() -> None:
    assert growth.line(NUMBERS, [7 + 0.25 * n for n in NUMBERS]) == pytest.approx((7, 0.25))
    assert growth.extrapolated(NUMBERS, [7 + 0.25 * n for n in NUMBERS], 10**7) == pytest.approx(7 + 0.25e7)
    assert growth.extrapolated(NUMBERS, [5.0, 5.0, 4.9], 10**7) == 4.9, "what is noise does not shrink for ever"


def test_a_single_number_has_no_slope() -> None:
    assert math.isnan(growth.slope([100], [3.0]))
    assert math.isnan(growth.extrapolated([100], [3.0], 10**7))


def test_all_cases_are_measured_and_what_grows_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of costs that are known: in time as the images, in memory as their square."""
    asked: list[Any] = []

    def known(case: Any, folder: Path) -> Any:
        asked.append(case)
        assert len(list((folder / "images").rglob("*.jpeg" if case.pixels > 32 else "*.png"))) == case.images
        return growth.Cost(2e-5 * case.images * case.pixels, 4 * case.images**2)

    monkeypatch.setattr(growth, "once", known)
    words = ["--images", "10", "100", "--pixels", "32", "64", "--only", "scan", "epoch", "--gib", "5e-4"]
    growth.main([*words, "--folder", str(tmp_path), "--plot", str(tmp_path / "plot.png")])
    wanted = [("scan", 32, 1), ("scan", 32, 2), ("epoch", 32, 1), ("epoch", 32, 2)]
    wanted = [(*each, n) for n in (10, 100) for each in wanted] + [("epoch", 64, 1, 10)]  # a hundred are too many bytes
    assert list(dict.fromkeys((c.work, c.pixels, c.processes, c.images) for c in asked)) == wanted
    said = capsys.readouterr().out
    lines = {tuple(line.split()[:4]): line.split()[4:] for line in said.splitlines() if line}
    assert lines["time", "scan", "32", "1"] == ["0.0064", "0.064", "1.00", "640"]
    assert lines["memory", "scan", "32", "2"][2:] == ["2.00", "440"]
    assert lines["need", "scan", "32", "1"] == [f"{640e-6 * 1e7 / 3600:.4g}", "h", f"{440e7 / 2**30:.3f}", "GiB"]
    assert lines["time", "epoch", "64", "1"] == ["0.0128", "nan", "nan"]
    assert 1_000 < (tmp_path / "plot.png").stat().st_size < 100_000
    assert sorted(tmp_path.iterdir()) == [tmp_path / "plot.png"], "nothing is left"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("growth")
    (place / "images").mkdir()
    growth.make(place / "images", 40, 16)
    return place


@pytest.mark.parametrize("work", list(growth.WORKS))
def test_every_row_can_be_measured(work: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "FEATURES", 32)
    monkeypatch.setattr(growth.Ready, "num_features", 32)
    place = growth.Place(growth.Case(work, 40, 16, 1), folder, 0)
    cost = growth.cost_of(growth.WORKS[work](place))
    assert cost.seconds > 0
    assert cost.bytes >= 0


def test_memory_is_what_was_taken_at_its_peak(tmp_path: Path) -> None:
    """80 MB that were given back, and not what was taken before; pages of a mapped file are not counted."""
    np.save(tmp_path / "mapped.npy", np.ones(10**7))
    assert np.ones(2 * 10**7).sum() == 2 * 10**7
    mapped = np.load(tmp_path / "mapped.npy", mmap_mode="r")
    assert growth.cost_of(mapped.sum).bytes < 10e6
    assert 70e6 < growth.cost_of(lambda: np.ones(10**7).sum()).bytes < 90e6


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--images", "5", "100"], "--images 5 100: give numbers from 10 on, in rising order"),
        (["--images", "100", "100"], "--images 100 100: give numbers from 10 on"),
        (["--pixels", "64", "32"], "--pixels 64 32: give numbers from 1 on"),
        (["--processes", "0"], "--processes 0: give numbers from 1 on"),
        (["--only", "nothing"], "invalid choice: 'nothing'"),
        (["--folder", "/nowhere"], "--folder /nowhere is no folder"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        growth.main(words)
    assert refused.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_in_processes_of_their_own(tmp_path: Path) -> None:
    """As it is typed: one process and two, and a plot."""
    words = ["--images", "10", "100", "--pixels", "16", "--only", "first_start", "fakes", "save", "--plot", "plot.png"]
    command = [sys.executable, str(ROOT / "benchmarks" / "growth.py"), *words]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    for work in ("first_start", "fakes", "save"):
        assert said.count(f" {work} ") == 6, said
    assert (tmp_path / "plot.png").is_file()
