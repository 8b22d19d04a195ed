"""report.html: what is in it, that it moves, that a stranger's names are text, and what may be wrong with a folder."""

import csv
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import common
import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from pages import Page
from PIL import Image
from typer.testing import CliRunner

from train import run
from zoo import page
from zoo.cli import app
from zoo.cli.report import check_evaluations
from zoo.page.pictures import MAX_PIXELS, grids_in, picture, spread
from zoo.result import Result
from zoo.run.account import Account, own_settings, write_page
from zoo.run.callbacks.evaluate import Evaluate
from zoo.run.config import compose, plain

Small = Callable[..., DictConfig]
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def draw(path: Path, colour: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A PNG file of noise about a colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(colour).integers(0, 40, (size[1], size[0], 3)) + colour
    image = Image.fromarray(noise.astype(np.uint8))
    image.save(path)
    return image


def evaluated(folder: Path, name: str = "fid_mnist", best: int = 200) -> Evaluate:
    """What an evaluation of images 100, 200 and 300 remembers."""
    evaluate = Evaluate(evaluation=None, every=None, patience=None, max_images=300, folder=str(folder))
    evaluate.history = [{"images": n, name: 1.0 if n == best else 2.0, "recall": 0.5} for n in (100, 200, 300)]
    evaluate.intervals = {200: {name: (0.75, 1.25)}, 300: {name: (1.75, 2.25)}}
    evaluate.chooses, evaluate.protocol = (name, -1.0), {"num_fake": 10, "data": EVIL}
    return evaluate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder, with names that are markup."""
    folder = tmp_path / "run <b>of</b> & mine"
    for name in ("", f"A{EVIL.replace('/', '')}-to-B-"):
        for n in (0, 100, 200, 300):
            draw(folder / "samples" / f"{name}{n:09d}.png", n // 2)
        draw(folder / "samples" / f"{name}real.png", 7)
    name = "fid_mnist"
    columns = ["images", "D/adversarial", f"{EVIL}/adversarial", name, f"{name}_low", f"{name}_high", "recall"]
    rows = [[n, n / 7, "nan" if n == 150 else n / 3, *([""] * 4)] for n in range(0, 300, 50)]
    rows += [[n, 1.5, 2.5, 1 / 3, 0.25, 0.5, 0.5] for n in (300, 350)]
    with (folder / "metrics.csv").open("w") as file:
        file.write("\n".join(",".join(map(str, row)) for row in [columns, *rows]) + "\n")
    return folder


def account(folder: Path, **known: Any) -> Account:
    content: dict[str, Any] = {"title": f"DCGAN on {EVIL}", "state": "finished", "images": 300, "command": f"x {EVIL}"}
    content |= {"facts": {EVIL: EVIL}, "said": [EVIL], "looks": 2, "settings": [(EVIL, EVIL, EVIL)], "notes": [EVIL]}
    return Account(folder=folder, **(content | {"evaluate": evaluated(folder), "result": EVIL} | known))


def test_a_page_is_one_file_and_a_strangers_names_are_text(folder: Path) -> None:
    assert write_page(account(folder), folder / "report.html") == []
    shown = Page(folder / "report.html")
    shown.check()
    assert shown.words.count(EVIL) >= 10
    assert "alert(1)" not in "".join(shown.text["script"][1:])
    assert not [path for path in folder.iterdir() if ".part" in path.name]


def test_the_result_is_shown_beside_real_images_and_all_grids_in_order(folder: Path) -> None:
    write_page(account(folder), folder / "report.html")
    shown = Page(folder / "report.html")
    alts = [image["alt"] or "" for image in shown.all("img")]
    assert alts[:3] == [
        "grid of what is made at image 200: the best",
        "grid of what is made at image 300: the last",
        "grid of real images, to compare with",
    ]
    assert [button.get("data-images") for button in shown.all("button") if "data-images" in button] == [
        *("0", "100", "200", "300") * 2
    ]
    assert [moment["images"] for moment in shown.data["moments"]] == [0, 100, 200, 300]
    assert "fid_mnist 1 \u00b7 the best" in shown.data["moments"][2]["words"]
    pictures = dict(zip(alts, shown.pictures(), strict=True))
    for name, alt in {"000000200": alts[0], "real": alts[2], "000000100": "grid at image 100"}.items():
        with Image.open(folder / "samples" / f"{name}.png") as image:
            assert np.array_equal(np.asarray(image), np.asarray(pictures[alt])), name
    words = " ".join(shown.words.split())
    assert "fid_mnist 1 lower is better 95 % interval 0.75 to 1.25; the best, at image 200" in words
    assert "0.75 to 1.25" in words


def test_the_numbers_are_those_of_the_table(folder: Path) -> None:
    write_page(account(folder), folder / "report.html")
    data = Page(folder / "report.html").data
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {}
    for panel in data["panels"]:
        for curve in panel["curves"]:
            x = data["axes"][curve["x"]]
            found[curve["name"]] = dict(zip(x, curve["y"], strict=True))
            if curve["name"] == "fid_mnist":
                assert (curve["low"], curve["high"]) == ([0.25, 0.25], [0.5, 0.5])
    for name in rows[0]:
        if name != "images" and not name.startswith("fid_mnist_"):
            wanted = {int(row["images"]): float(row[name]) for row in rows if row[name]}
            assert found[name] == {x: None if y != y else y for x, y in wanted.items()}
    assert found.keys() == {"D/adversarial", f"{EVIL}/adversarial", "fid_mnist", "recall"}


def test_what_is_damaged_is_named_and_left_out(folder: Path) -> None:
    samples = folder / "samples"
    draw(samples / "000000400.png", 3)
    (samples / "000000100.png").write_bytes(b"no picture")
    whole = (samples / "000000200.png").read_bytes()
    (samples / "000000200.png").write_bytes(whole[: len(whole) // 2])
    (samples / "000000300.png").unlink()
    os.mkfifo(samples / "000000300.png")
    (samples / "000000500.png").symlink_to("/etc/hostname")
    (samples / "real.png").unlink()
    with (folder / "metrics.csv").open("a") as file:
        file.write("400,of no,use\n")
    passed_over = write_page(account(folder), folder / "report.html")
    assert len(passed_over) == 5
    for name in ("000000100.png", "000000200.png", "000000300.png", "000000500.png", "metrics.csv"):
        assert sum(name in words for words in passed_over) == 1, passed_over
    shown = Page(folder / "report.html")
    shown.check()
    assert [moment["images"] for moment in shown.data["moments"]] == [0, 100, 200, 300, 400]  # of the other preview


@pytest.mark.parametrize("what", ["nothing", "samples", "metrics", "folders", "odd table"])
def test_a_folder_may_lack_anything(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    if what == "samples":
        draw(folder / "samples" / "000000000.png", 1)
    if what == "metrics":
        (folder / "metrics.csv").write_text("images,D/x\n1,2\n")
    if what == "folders":
        (folder / "metrics.csv").mkdir()
        (folder / "samples" / "000000000.png").mkdir(parents=True)
    if what == "odd table":
        (folder / "metrics.csv").write_bytes(b"\xff\x00,,\n1")
    write_page(Account(folder=folder, title="x"), folder / "report.html")
    shown = Page(folder / "report.html")
    shown.check()
    assert len(shown.all("img")) == (what == "samples")
    assert len(shown.data["panels"]) == (what == "metrics")


def test_a_picture_that_is_a_bomb_is_not_decoded(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 100_000
    with pytest.raises(ValueError, match=f"has {side}x{side} pixels"):
        picture(tmp_path / "a.png", side=100)


def test_a_large_picture_is_made_smaller(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 100, (1600, 800))
    found = picture(tmp_path / "a.png", side=400)
    assert found[1:] == (400, 200)
    assert len(found.address) < 200_000


def test_of_many_grids_some_are_shown_and_that_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for n in range(200):
        draw(folder / "samples" / f"{n * 10:09d}.png", n % 200, (12, 8))
    evaluate = evaluated(folder, best=200)
    evaluate.history[1]["images"] = 930
    evaluate.history[1]["fid_mnist"] = 0.5
    write_page(account(folder, evaluate=evaluate), folder / "report.html")
    shown = Page(folder / "report.html")
    moments = [moment["images"] for moment in shown.data["moments"]]
    assert 55 <= len(moments) <= 61
    assert {0, 930, 1990} <= set(moments)
    assert max(b - a for a, b in pairwise(moments)) <= 40
    assert f"{len(moments)} of 200 grids, evenly spread; the folder samples has all." in shown.words


def test_names_of_grids() -> None:
    assert spread([1, 2, 3], 8) == [1, 2, 3]
    assert spread(list(range(100)), 3, always={7}) == [0, 7, 50, 99]


def test_grids_by_preview(tmp_path: Path) -> None:
    for name in ("000000010", "X-to-Y-000000010", "X-to-Y-real", "other", "1"):
        draw(tmp_path / f"{name}.png", 1)
    found = grids_in(tmp_path)
    assert {name: list(grids.by_images) for name, grids in found.items()} == {"": [10], "X->Y": [10]}
    assert found["X->Y"].real == tmp_path / "X-to-Y-real.png"
    assert found[""].real is None
    assert grids_in(tmp_path / "nowhere") == {}


def test_a_long_curve_keeps_its_peaks() -> None:
    y: list[float | None] = [0.0] * 100_000
    y[34_567], y[77_777], y[5] = 9.0, -9.0, None
    thin = page.Curve("a", list(range(100_000)), y).thinned()
    assert len(thin.x) <= page.POINTS + 2
    assert (thin.x[0], thin.x[-1]) == (0, 99_999)
    assert dict(zip(thin.x, thin.y, strict=True))[34_567] == 9.0
    assert min(value for value in thin.y if value is not None) == -9.0


def test_settings_that_differ_from_the_defaults() -> None:
    free = ["run_dir=x", "callbacks.report.overrides=[]", "logger=csv"]
    assert own_settings(plain(compose(*free))) == ("dcgan", "mnist5k", [])
    config = plain(compose("model=vanilla", "loss=hinge", "max_images=500", "seed=4", "model.lr.D=1e-3", *free))
    model, data, settings = own_settings(config)
    assert (model, data) == ("vanilla", "mnist5k")
    assert {names: (old, new) for names, old, new in settings} == {
        "max_images": ("200000", "500"),
        "seed": ("1", "4"),
        "model.lr.D": ("0.0002", "0.001"),
        "model.loss": ("non_saturating", "hinge"),
    }


# Of a run ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    metrics = ["metrics=mnist", "metrics.num_fake=40", "metrics.num_real=50", "callbacks.evaluate.every=64"]
    more = ["logger=csv", "log_every=16", "callbacks.samples.every=64", "callbacks.report.overrides=['seed=1']"]
    run(common.small("cgan", folder, *metrics, *more))
    return folder


@pytest.fixture
def run_folder(of_a_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(of_a_run, tmp_path / "run"))


@pytest.mark.slow
def test_a_run_ends_with_its_page(of_a_run: Path) -> None:
    shown = Page(of_a_run / "report.html")
    shown.check()
    assert len(shown.pictures()) >= 5
    words = " ".join(shown.words.split())
    for expected in (
        "CGAN on digits",
        "lower is better",
        "higher is better",
        "95 % interval",
        "python train.py seed=1",
        "weights_sha256",
        "digits: ",
        "Settings that differ from the defaults",
        "model.width",
    ):
        assert expected in words, (expected, words[:3000])
    titles = [panel["title"] for panel in shown.data["panels"]]
    assert titles[0] == "fid"
    assert {"adversarial loss", "learning rate", "gap"} <= set(titles)
    (gap,) = (panel for panel in shown.data["panels"] if panel["title"] == "gap")
    assert gap["limits"] == {"a complaint above 0.8": 0.8}


@pytest.mark.slow
def test_the_command_makes_it_again_of_what_the_checkpoint_remembers(run_folder: Path) -> None:
    at_the_end = Page(run_folder / "report.html")
    (run_folder / "report.html").unlink()
    result = CliRunner().invoke(app, ["report", str(run_folder)])
    assert result.exit_code == 0, result.output
    again = Page(run_folder / "report.html")
    again.check()
    assert again.data == at_the_end.data
    assert [table.get("class") for table in again.all("table")] == [t.get("class") for t in at_the_end.all("table")]
    for part in ("td", "h1", "pre"):
        assert again.text[part] == at_the_end.text[part]


@pytest.mark.slow
def test_the_command_names_what_trains_where_it_is_installed(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["zoo.cli.report"], "trains", lambda: "zoo train")
    assert CliRunner().invoke(app, ["report", str(run_folder)]).exit_code == 0
    assert Page(run_folder / "report.html").text["pre"][0].startswith("zoo train ")


@pytest.mark.slow
def test_a_page_counts_the_images_since_the_checkpoint_too(run_folder: Path) -> None:
    (run_folder / "result.json").unlink()
    with (run_folder / "metrics.csv").open("a") as file:
        columns = (run_folder / "metrics.csv").read_text().split("\n")[0].count(",")
        file.write("\n".join(f"{n}{',' * columns}" for n in ("7000", "9" * 5000, "")))
    result = CliRunner().invoke(app, ["report", str(run_folder)])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "7,000 images" in Page(run_folder / "report.html").words


def test_a_run_that_was_killed_and_one_that_is_none(of_a_run: Path, run_folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(run_folder / "checkpoints")
    output = tmp_path / "pages" / "a.html"
    result = CliRunner().invoke(app, ["report", str(run_folder), "-o", str(output)])
    assert result.exit_code == 0, result.output
    words = " ".join(Page(output).words.split())
    assert "There is no checkpoint: this page has the grids and curves alone." in words
    budget = Result.read(of_a_run).images  # type: ignore[union-attr]
    assert f"{budget:,} images" in words  # by its result and its log, which are there
    assert "of 0" not in words
    for arguments, sentence in {
        (str(tmp_path / "nowhere"),): "is no run's folder",
        (str(run_folder), "-o", str(tmp_path)): "must be a page",
        (str(run_folder), "-o", "x.pdf"): "must be a page",
    }.items():
        refused = CliRunner().invoke(app, ["report", *arguments])
        assert isinstance(refused.exception, ValueError)
        assert sentence in str(refused.exception)


@pytest.mark.slow
def test_a_checkpoint_that_says_odd_things_of_its_evaluations(run_folder: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        path = run_folder / "checkpoints" / name
        content = torch.load(path, weights_only=True)
        content["callbacks"]["Evaluate"]["history"] = [{"images": 1.0, "fid_mnist": "a"}]
        torch.save(content, path)
    result = CliRunner().invoke(app, ["report", str(run_folder)])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "evaluations can't be read" in Page(run_folder / "report.html").words


@pytest.mark.parametrize(
    "odd",
    [
        *({"history": history} for history in ([{"images": "a"}], [3], {"a": 1}, [{"fid": 1.0}], [{"images": -1}])),
        {"history": [{"images": float("nan"), "fid": 1.0}]},
        *({"chooses": chooses} for chooses in (3, "ab", ["fid", "a"])),
        *({"intervals": intervals} for intervals in ({1: {"fid": 3}}, {1: {"fid": ("a", "b")}}, {1: 2}, [1])),
        {"protocol": None},
        {"first": "a"},
    ],
)
def test_what_a_checkpoint_may_say_of_its_evaluations(odd: dict[str, Any]) -> None:
    sound = {"history": [{"images": 1, "fid": 1.0}], "chooses": ("fid", -1.0), "intervals": {1: {"fid": (0.5, 2.0)}}}
    sound |= {"protocol": {}, "first": 0}
    check_evaluations(sound)
    with pytest.raises((ValueError, TypeError)):
        check_evaluations(sound | odd)


@pytest.mark.slow
def test_a_broken_grid_ends_no_run(small: Small, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    cfg = small("vanilla", "logger=csv", "log_every=16", "callbacks.samples.every=32")
    folder = Path(cfg.run_dir)

    def damage(model: Any) -> None:
        (folder / "samples" / "000000032.png").write_bytes(b"no picture")
        (folder / "metrics.csv").write_text("of another\nprogram\n")

    common.when(96, damage, monkeypatch)
    run(cfg)
    said = [text for text in caplog.messages if text.startswith("report.html")]
    assert len(said) == 1, caplog.messages
    assert "000000032.png" in said[0]
    Page(folder / "report.html").check()
    assert (folder / "report.md").is_file()


# In a browser --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [375, 1200])
def test_in_a_browser(browser: Any, folder: Path, width: int) -> None:
    from playwright import sync_api

    write_page(account(folder), folder / "report.html")
    opened = browser.new_page(viewport={"width": width, "height": 800})
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: said.append("a stranger's script has run"))
    opened.on("request", lambda request: None if request.url.startswith("data:") else said.append(request.url))
    opened.goto((folder / "report.html").as_uri())
    assert said == [(folder / "report.html").as_uri()], "nothing but the page itself is fetched, and nothing complains"
    said.clear()
    assert opened.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"

    # The slider: arrow keys, play, a thumbnail.
    view, output = opened.locator(".viewer img").first, opened.locator("output")
    last = view.get_attribute("src")
    assert output.inner_text().startswith("image 300 of 300")
    opened.keyboard.press("ArrowLeft")
    assert output.inner_text() == "image 200 of 300 \u00b7 fid_mnist 1 \u00b7 the best"
    assert view.get_attribute("src") != last
    assert opened.locator(".player input").get_attribute("aria-valuetext") == output.inner_text()
    opened.locator(".strip button").first.click()
    assert output.inner_text().startswith("image 0 of 300")
    opened.locator(".play").click()
    sync_api.expect(output).to_contain_text("image 300 of 300", timeout=20_000)
    assert view.get_attribute("src") == last

    # A curve: pointed at, and by keys.
    chart = opened.locator(".chart").first
    plot = chart.locator(".plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    opened.mouse.move(box["x"] + box["width"] - 12, box["y"] + 50)
    assert "image 350" in chart.locator(".tip").inner_text()
    assert "fid_mnist 0.33333 [0.25, 0.5]" in chart.locator(".tip").inner_text()
    plot.focus()
    opened.keyboard.press("Home")
    assert "image 300, fid_mnist 0.33333" in chart.locator("[aria-live]").text_content()
    assert opened.locator(".chart svg .curve").count() == 4
    assert opened.locator(".chart svg .band").count() == 1
    assert said == []
    opened.close()
