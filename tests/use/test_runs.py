"""The table of the runs below a folder."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from pages import Page
from PIL import Image
from typer.testing import CliRunner

from zoo.cli import app
from zoo.result import Result
from zoo.use.runs import Run, Table, over_seeds, runs_below, table


def make(folder: Path, *typed: str, state: str = "finished", model: str = "dcgan", **result: Any) -> Path:
    """A run's folder, as train.py leaves it."""
    (folder / ".hydra").mkdir(parents=True)
    settings = OmegaConf.from_dotlist(["max_images=100", "seed=1", "model.lr.D=0.0002", "model.width=32"])
    plain = [override for override in typed if "." in override or override.startswith("seed")]
    settings = OmegaConf.merge(settings, OmegaConf.from_dotlist([override.lstrip("+") for override in plain]))
    settings.model.image_size = "${data.image_size}"
    OmegaConf.save(settings, folder / ".hydra" / "config.yaml")
    OmegaConf.save(OmegaConf.create(list(typed)), folder / ".hydra" / "overrides.yaml")
    hydra = {"hydra": {"runtime": {"choices": {"model": model, "data": "mnist5k"}}}}
    OmegaConf.save(OmegaConf.create(hydra), folder / ".hydra" / "hydra.yaml")
    if result or state != "finished":
        Result(folder=folder, state=state, **{"images": 100, **result}).write()
    return folder


def fid(best: float, at: int = 100, last: float | None = None) -> dict[str, Any]:
    values = {"metric": "fid", "best": best, "values": {"images": at, "fid": best}}
    return values | {"last": {"images": 100, "fid": best if last is None else last}}


def by_name(folder: Path) -> dict[str, dict[str, Any]]:
    shown = table(runs_below(folder)[0])
    return {row[0]: dict(zip(shown.columns, row, strict=True)) for row in shown.rows}


def test_what_differs_and_what_came_of_it_the_best_first(tmp_path: Path) -> None:
    make(tmp_path / "a", "seed=1", "model.lr.D=1e-4", "max_images=100", **fid(5.0, 60, 7.5))
    make(tmp_path / "b", "seed=2", "max_images=100", "hydra.run.dir=x", "resume=y", **fid(3.0))
    make(tmp_path / "deep" / "c", "seed=3", "model=vanilla", model="vanilla", **fid(4.0))
    make(tmp_path / "d", "seed=4", state="diverged")
    shown = table(runs_below(tmp_path)[0])
    assert shown.columns == ["run", "model", "model.lr.D", "seed", *["state", "images", "metric", "best", "at", "last"]]
    assert shown.rows == [
        ["b", "dcgan", 0.0002, 2, "finished", 100, "fid", 3.0, 100, 3.0],
        ["deep/c", "vanilla", 0.0002, 3, "finished", 100, "fid", 4.0, 100, 4.0],
        ["a", "dcgan", 0.0001, 1, "finished", 100, "fid", 5.0, 60, 7.5],
        ["d", "dcgan", 0.0002, 4, "diverged", 100, None, None, None, None],
    ]


def test_higher_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    for name, best in {"a": 20.0, "b": 30.0}.items():
        make(tmp_path / name, metric="psnr", higher_is_better=True, best=best, values={"images": 1, "psnr": best})
    assert [run.name for run in runs_below(tmp_path)[0]] == ["b", "a"]


def test_mean_and_spread_over_seeds_of_finished_runs(tmp_path: Path) -> None:
    for width in (16, 32):
        for seed in (1, 2, 3):
            make(tmp_path / f"{width}-{seed}", f"seed={seed}", f"model.width={width}", **fid(width / seed))
    for seed in (1, 2):
        make(tmp_path / f"diverged-{seed}", f"seed={seed}", "model.width=64", state="diverged")
    make(tmp_path / "killed", "seed=4", "model.width=16", state="running", **fid(0.1))
    summary = over_seeds(runs_below(tmp_path)[0])
    assert summary
    assert summary.columns == ["model.width", "metric", "mean", "std", "n"]
    assert [row[0] for row in summary.rows] == [16, 32, 64]
    assert summary.rows[0][2:] == [pytest.approx((16 + 8 + 16 / 3) / 3), pytest.approx(5.5511, abs=1e-3), "3 of 4"]
    assert summary.rows[1][4] == "3"
    assert summary.rows[2][1:] == [None, None, None, "0 of 2"]
    assert over_seeds(runs_below(tmp_path / "16-1")[0]) is None


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_leaves_no_mean(tmp_path: Path, odd: float) -> None:
    for seed, best in {1: 2.0, 2: odd, 3: 4.0}.items():
        make(tmp_path / f"a-{seed}", f"seed={seed}", "model.width=16", **fid(best))
    for seed, best in {1: 7.0, 2: 9.0}.items():
        make(tmp_path / f"b-{seed}", f"seed={seed}", "model.width=32", **fid(best))
    summary = over_seeds(runs_below(tmp_path)[0])
    assert summary
    assert summary.rows[0][2] == 8.0  # what has a mean comes first
    assert np.isnan(summary.rows[1][2])
    assert np.isnan(summary.rows[1][3])
    words = page_of(tmp_path).words
    assert "from 2 to 9" in words


def test_runs_of_several_metrics_are_not_weighed_against_each_other(tmp_path: Path) -> None:
    for seed, best in {1: 4.0, 2: 6.0}.items():
        make(tmp_path / f"a-{seed}", f"seed={seed}", "model=dcgan", **fid(best))
        psnr = {"metric": "psnr", "higher_is_better": True, "best": 20 + best, "values": {"images": 1, "psnr": best}}
        make(tmp_path / f"b-{seed}", f"seed={seed}", "model=srgan", model="srgan", **psnr)
    shown = page_of(tmp_path)
    words = " ".join(shown.words.split())
    assert "4 runs, the best of each metric first; judged by fid, psnr" in words
    assert "best: fid: lower is better, psnr: higher is better" in words
    assert [row["data-run"] for row in shown.all("tr", class_="first")] == ["0", "2"]
    assert "from the lowest to the highest of its metric" in words
    for values in ("4, 6", "26, 24"):
        assert len(shown.all("svg", aria_label=values)) == 1
    places = [float(dot["cx"] or 0) for dot in shown.all("circle")]
    assert sorted(places) == [6, 6, 214, 214]  # each pair from end to end


def test_a_run_that_goes_on_and_one_that_was_killed(tmp_path: Path) -> None:
    for name in ("goes_on", "killed"):
        folder = make(tmp_path / name, f"seed={len(name)}", state="running", images=10)
        (folder / "metrics.csv").write_text("images,D/adversarial\n10,0.1\n40,0.2\n5")  # the last line is half-written
        (folder / ".lock").touch()
    make(tmp_path / "not_begun", "seed=3")
    with (tmp_path / "goes_on" / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = by_name(tmp_path)
    assert {name: row["state"] for name, row in rows.items()} == {
        "goes_on": "running",
        "killed": "killed",
        "not_begun": "not begun",
    }
    assert rows["killed"]["images"] == 40
    assert by_name(tmp_path)["goes_on"]["state"] == "killed"


def test_foreign_and_damaged_folders_are_passed_over_and_named(tmp_path: Path) -> None:
    make(tmp_path / "good", **fid(1.0))
    for name in ("bomb", "broken", "large", "fifo", "other", "result", "list"):
        make(tmp_path / name)
    settings = {name: tmp_path / name / ".hydra" / "config.yaml" for name in ("bomb", "broken", "large", "fifo")}
    bomb = ["max_images: 1", "a: &a [x,x,x]"] + [
        f"{y}: &{y} [*{x},*{x},*{x}]" for x, y in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    settings["bomb"].write_text("\n".join(bomb))
    settings["broken"].write_text("a: [1\nb: !!python/object/apply:os.system [x]")
    settings["large"].write_text("a: " + "x" * 2_000_000)
    settings["fifo"].unlink()
    os.mkfifo(settings["fifo"])
    (tmp_path / "other" / ".hydra" / "config.yaml").write_text("db: mysql")
    (tmp_path / "list" / ".hydra" / "config.yaml").write_text("- 3")
    (tmp_path / "result" / "result.json").write_text("{")
    (tmp_path / "notes" / "below").mkdir(parents=True)
    runs, passed_over = runs_below(tmp_path)
    assert [run.name for run in runs] == ["good"]
    assert passed_over.keys() == {"bomb", "broken", "large", "fifo", "other", "result", "list", "notes"}
    for name, why in {
        "bomb": "aliases",
        "broken": "no YAML",
        "large": "it has more than 1,000,000 bytes",
        "notes": "no run",
        "fifo": "is no file",
    }.items():
        assert why in passed_over[name]
    with pytest.raises(ValueError, match="there is no run in"):
        runs_below(tmp_path / "notes")
    with pytest.raises(ValueError, match="is no folder"):
        runs_below(tmp_path / "nowhere")


def test_the_command(tmp_path: Path) -> None:
    make(tmp_path / "a", "seed=1", **fid(1 / 3))
    make(tmp_path / "b", "seed=2", **fid(2 / 3))
    make(tmp_path / "c\x1b[31m", "seed=3", "+model.note=x", **fid(9))
    (tmp_path / "foreign").mkdir()
    result = CliRunner().invoke(app, ["runs", str(tmp_path), "--csv", str(tmp_path / "out" / "t.csv")])
    assert result.exit_code == 0, result.output
    assert "0.333333" in result.output
    assert "\x1b" not in result.output
    assert "passed over: foreign: no run" in result.output
    rows = (tmp_path / "out" / "t.csv").read_text().splitlines()
    assert rows[0].startswith("run,model.note,seed,state,images,metric,best")
    assert "0.3333333333333333" in rows[1]


def test_a_run_is_read_by_what_it_was_composed_to(tmp_path: Path) -> None:
    run = Run.read(make(tmp_path / "a", "model.lr.D=1e-4", **fid(1.0)), "a")
    assert run.setting("model.lr.D") == 0.0001
    assert run.setting("model.lr.D.deeper") is None
    assert run.setting("data") == "mnist5k"


def test_a_group_whose_choice_is_not_known_is_named_by_its_class(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        make(tmp_path / name, f"seed={seed}", "model=dcgan", f"model._target_=zoo.model.{name}.Of{name}", **fid(5.0))
        (tmp_path / name / ".hydra" / "hydra.yaml").write_text("hydra: [1]")
    assert [row["model"] for row in by_name(tmp_path).values()] == ["Ofa", "Ofb"]


EVIL = "<script>alert(1)<script><img src=x onerror=alert(1)>\"'&"


def with_grids(folder: Path, *images: int, curve: bool = True) -> None:
    """Grids of so many images, each of another grey, and a metrics.csv."""
    (folder / "samples").mkdir()
    for n in images:
        Image.new("L", (20, 10), n).save(folder / "samples" / f"{n:09d}.png")
    if curve:
        rows = "".join(f"{n},0.5,{n / 3}\n" for n in images)
        (folder / "metrics.csv").write_text(f"images,D/adversarial,fid\n{rows}")


def page_of(folder: Path) -> Page:
    result = CliRunner().invoke(app, ["runs", str(folder), "--html", str(folder / "all.html")])
    assert result.exit_code == 0, (result.output, result.exception)
    assert f"written: {folder / 'all.html'}" in result.output
    shown = Page(folder / "all.html")
    shown.check()
    return shown


def test_the_page_of_runs(tmp_path: Path) -> None:
    for seed, best in {1: 4.0, 2: 2.0, 3: 3.0}.items():
        with_grids(make(tmp_path / f"a-{seed}", f"seed={seed}", **fid(best, 60)), 0, 60, 100)
    make(tmp_path / "b", "seed=1", "model.lr.D=1e-4", state="diverged")
    (tmp_path / "a-3" / "report.html").touch()
    shown = page_of(tmp_path)
    cards = [card.get("id") for card in shown.all("article")]
    assert cards == ["card-0", "card-1", "card-2", "card-3"]
    assert [row["data-run"] for row in shown.all("tr") if "data-run" in row] == ["0", "1", "2", "3"]
    assert [image["alt"] for image in shown.all("img")] == [f"grid of a-{k} at image 60" for k in (2, 3, 1)]
    assert [picture.getpixel((0, 0)) for picture in shown.pictures()] == [(60, 60, 60)] * 3
    assert "no grid" in shown.text["div"]
    assert [link["href"] for link in shown.all("a")] == ["./a-3/report.html"]
    (panel,) = shown.data["panels"]
    assert panel["title"] == "fid"
    assert [curve["name"] for curve in panel["curves"]] == ["a-2", "a-3", "a-1"]
    assert [shown.data["axes"][c["x"]] for c in panel["curves"]] == [[0, 60, 100]] * 3
    assert panel["curves"][0]["y"] == [0.0, 20.0, 100 / 3]
    words = " ".join(shown.words.split())
    assert "best: lower is better" in words
    assert "3 1 fid 2" not in words
    assert shown.all("svg", aria_label="2, 3, 4"), "the values over seeds"
    heads = ["run", "model.lr.D", "seed", "state", "images", "metric", "best", "at", "last"]
    assert shown.text["th"][: len(heads)] == heads


def test_the_page_of_a_strangers_runs(tmp_path: Path) -> None:
    folder = make(tmp_path / EVIL / "javascript:alert(1)", "seed=1", f"+model.note={EVIL}", **fid(1.0))
    with_grids(folder, 10)
    other = make(tmp_path / "b", "seed=2", metric=EVIL, best=1.0, values={"images": 20, EVIL: 1.0})
    with_grids(other, 20)
    (other / "samples" / "000000020.png").write_bytes(b"no picture")
    (folder / "report.html").touch()
    (tmp_path / EVIL / "foreign").mkdir()
    shown = page_of(tmp_path)
    assert shown.words.count(EVIL) >= 5
    (link,) = shown.all("a")
    assert (link["href"] or "").startswith("./%3Cscript%3E")
    assert "000000020.png is passed over" in shown.words
    assert "foreign: no run" in shown.words


def test_runs_that_have_nothing_to_show(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make(tmp_path / name, f"seed={len(name)}")
    shown = page_of(tmp_path)
    assert shown.data["panels"] == []
    result = CliRunner().invoke(app, ["runs", str(tmp_path), "--html", str(tmp_path / "t.csv")])
    assert isinstance(result.exception, ValueError)
    assert "must be a page, such as runs.html" in str(result.exception)


@pytest.mark.slow
def test_the_page_of_runs_in_a_browser(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium")
    for seed, best in {1: 4.0, 2: 2.0, 3: 13.0}.items():
        with_grids(make(tmp_path / f"a-{seed}", f"seed={seed}", **fid(best, 60)), 60)
    make(tmp_path / "z", "seed=4", state="diverged")
    page_of(tmp_path)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened, said = browser.new_page(viewport={"width": 1000, "height": 800}), []
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.goto((tmp_path / "all.html").as_uri())
        rows = opened.locator("section:nth-of-type(2) tbody th")
        cards = opened.locator(".card p:first-of-type")
        assert rows.all_inner_texts() == ["a-2", "a-1", "a-3", "z"]
        button = opened.locator("section:nth-of-type(2) thead button", has_text="best")
        button.click()
        assert rows.all_inner_texts() == ["a-2", "a-1", "a-3", "z"]
        button.click()
        assert rows.all_inner_texts() == ["a-3", "a-1", "a-2", "z"], "by number, and what has no value last"
        assert cards.all_inner_texts() == ["a-3", "a-1", "a-2", "z"], "the cards follow"
        assert opened.locator("th[aria-sort=descending]").inner_text().startswith("best")
        assert said == []
        browser.close()


def test_a_setting_that_is_a_whole_group_does_not_widen_the_table(tmp_path: Path) -> None:
    """As of `~model`, whose choice is none: the settings of the game take its column."""
    shown = Table(["run", "model"], [["a", {f"name_{k}": k for k in range(99)}], ["b", "dcgan"]])
    header, *rows = shown.lines()
    assert max(map(len, rows)) <= 70
    assert rows[0].endswith("...")
    shown.write_csv(tmp_path / "t.csv")
    assert "name_98" in (tmp_path / "t.csv").read_text()
    assert header.split() == ["run", "model"]
