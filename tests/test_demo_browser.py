"""zoo demo in a real browser, as a person has it: each control moves the picture, and nothing is asked for elsewhere.

Slow. Needs Chromium: CHROMIUM names it, else it is looked for (apt-get install chromium). `python
scripts/screenshots.py docs` has these pages photographed.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from common import needs, untrained
from PIL import Image

import zoo
from zoo.use.demo import server
from zoo.use.demo.shown import Shown
from zoo.weights.names import find

pytestmark = pytest.mark.slow
needs("gradio")
needs("playwright")
PATIENCE = 120_000  # milliseconds that a control may take, on a machine that has other work


def chromium() -> str:
    """Where Chromium is: without one these tests fail, since what they hold would else go untested."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    place = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if place is None:
        pytest.fail("the page of zoo demo is tested in Chromium: apt-get install chromium, or CHROMIUM=/path/to/it")
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    tmp_path_factory.getbasetemp()  # pytest's own is made before, elsewhere
    with server.apart() as place:
        yield Path(place)


class Page:
    """A page in the browser."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.asked, self.sent, self.errors = page, [], [], []
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("request", lambda request: self.sent.append(request.post_data or ""))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(url)
        page.get_by_role("tab").first.wait_for()

    def tab(self, title: str) -> None:
        self.page.get_by_role("tab", name=title, exact=True).click()

    def picture(self, name: str) -> str:
        """Where the picture of a component is, once there is one."""
        shown = self.page.locator(f"#{name} img").first
        shown.wait_for()
        return str(shown.get_attribute("src"))

    def changes(self, name: str, act: Callable[[], Any]) -> None:
        """The picture changes after an act: it is another one, of other pixels (its path has their digest)."""
        before = self.picture(name)
        act()
        self.page.wait_for_function(
            "([name, before]) => { const img = document.querySelector(`#${name} img`);"
            " return img && img.src && !img.src.endsWith(before) && img.complete && img.naturalWidth > 0 }",
            arg=[name, before.rpartition("/gradio_api/")[2]],
        )

    def type(self, label: str, value: object) -> None:
        """Type into a control of the tab that is open."""
        field = self.page.get_by_label(label, exact=False).and_(self.page.locator("input:visible")).first
        field.fill(str(value))
        field.press("Enter")

    def choose(self, label: str, choice: str) -> None:
        self.page.get_by_label(label).and_(self.page.locator("input:visible")).first.click()
        self.page.get_by_role("option", name=choice, exact=True).click()

    def drop(self, name: str, file: Path) -> None:
        """A file, as if it were dropped there."""
        self.page.locator(f"#{name} input[type=file]").first.set_input_files(file)

    def said(self, words: str) -> None:
        self.page.get_by_text(words).first.wait_for()

    def converted(self, file: str) -> int:
        """How often the page has asked for something to be made of a picture."""
        return sum(f'{file}"' in sent for sent in self.sent)

    def check(self) -> None:
        """Nothing was asked for but of this machine, and no script has failed."""
        places = {urlsplit(url).hostname for url in self.asked if not url.startswith(("data:", "blob:"))}
        assert places == {"127.0.0.1"}
        assert not self.errors


@contextmanager
def opened(browser: Any, name: str, folder: Path, **settings: Any) -> Iterator[Page]:
    """The page of published weights, as `zoo demo` makes it."""
    command: Any = import_module("zoo.cli.demo")
    model = zoo.load(name)
    examples, normal = command._beginning(model, find(name), None, folder / f"examples of {name}", "cpu")
    shown = Shown(model, name, find(name), examples=examples, normal=normal, **settings)
    with served(shown) as url:
        page = browser.new_page(viewport={"width": 1180, "height": 860})
        try:
            yield Page(page, url)
        finally:
            page.close()


@contextmanager
def served(shown: Shown) -> Iterator[str]:
    command: Any = import_module("zoo.cli.demo")
    app = server.application(command._page(shown), local=True)
    with server.listener("127.0.0.1", 0) as sock, server.serving(app, sock):
        yield server.address(sock)


def photograph(page: Page, name: str) -> None:
    """Keep a picture of the page, where one is asked for (scripts/screenshots.py)."""
    if place := os.environ.get("SCREENSHOTS"):
        page.page.mouse.move(0, 0)
        page.page.wait_for_timeout(1000)  # what fades in
        file = Path(place, f"demo-{name}.png")
        page.page.screenshot(path=file, full_page=True)
        with Image.open(file) as image:
            pixels = image.convert("RGB")
        rows = (np.asarray(pixels) != np.asarray(pixels)[-1, -1]).any((1, 2)).nonzero()[0]
        pixels = pixels.crop((0, 0, pixels.width, min(pixels.height, int(rows.max()) + 24)))  # without empty paper
        for colours in (256, 160, 96, 64):
            pixels.quantize(colours, dither=Image.Dither.NONE).save(file, optimize=True)
            if file.stat().st_size < 100_000:
                break


def test_a_style_generator(browser: Any, folder: Path, tmp_path: Path) -> None:
    with opened(browser, "stylegan_lite-mnist5k", folder) as page:
        page.picture("grid")
        photograph(page, "draw")
        for act in (
            lambda: page.type("First seed", 100),
            lambda: page.type("Images", 25),
            lambda: page.type("Truncation", 0.6),
            lambda: page.page.get_by_role("button", name="Other seeds").first.click(),
        ):
            page.changes("grid", act)
        page.changes("one", lambda: page.page.locator("#grid img").first.click(position={"x": 200, "y": 200}))
        page.changes("one", lambda: page.type("Truncation", 0.2))
        page.changes("one", lambda: page.page.get_by_role("button", name="Other seeds").first.click())

        page.tab("Walk")
        page.picture("walk")
        slider = page.page.locator("#way input[type=range]")
        page.changes("walk", lambda: slider.fill("0.3"))
        page.changes("walk", lambda: page.type("From seed", 8))
        page.changes("strip", lambda: page.type("to seed", 4))
        photograph(page, "walk")

        page.tab("Mix styles")
        page.picture("mix")
        page.changes("mix", lambda: page.type("Seeds above", "10-13"))
        page.changes("mix", lambda: page.type("Seeds on the left", "0,1,4"))
        page.changes("mix", lambda: page.choose("Layers that are lent", "coarse"))
        photograph(page, "mix")

        page.tab("Directions")
        page.picture("moved")
        for k in range(6):
            page.changes("moved", lambda k=k: page.page.locator(f"#direction-{k} input[type=range]").fill("-2.5"))
        page.changes("moved", lambda: page.page.get_by_role("button", name="Set all to 0").first.click())

        page.tab("Your photograph")
        page.page.locator(".gallery-item").nth(1).click()
        page.type("Steps of the search", 100)
        page.page.locator("#find").click()
        page.picture("found")
        page.picture("edited")
        page.changes("edited", lambda: page.page.locator("#edit-0 input[type=range]").fill("3"))
        photograph(page, "edit")
        page.drop("photograph", Path(__file__).parent.parent / "docs" / "dcgan-mnist.png")
        page.type("Steps of the search", 20)
        page.changes("found", page.page.locator("#find").click)
        page.picture("pasted")  # in its place in the larger picture

        page.tab("Mix styles")
        page.type("Seeds above", "no seeds")
        page.said("is no number or range")
        page.check()


def test_a_generator_of_classes(browser: Any, folder: Path) -> None:
    with opened(browser, "cgan-mnist5k", folder) as page:
        page.picture("grid")
        page.picture("one")
        box = page.page.locator("#grid img").first.bounding_box()
        at = {"x": box["width"] * 0.9, "y": box["height"] * 0.75}
        page.changes("one", lambda: page.page.locator("#grid img").first.click(position=at))
        page.said("seed 7, 7")
        page.changes("grid", lambda: page.choose("Class", "7"))
        page.changes("grid", lambda: page.choose("Class", "each seed its own"))
        page.tab("Walk")
        page.picture("walk")
        page.changes("walk", lambda: page.choose("Class", "3"))
        page.check()


def test_a_translator(browser: Any, folder: Path, tmp_path: Path) -> None:
    with opened(browser, "cyclegan-colour_digits", folder) as page:
        for name in ("XtoY", "XtoY-back", "YtoX", "YtoX-back"):
            page.picture(name)
        photograph(page, "translate")
        page.changes("XtoY", lambda: page.page.locator(".gallery-item, .gallery button").nth(2).click())
        Image.new("RGB", (40, 24), "orange").save(tmp_path / "own.png")
        page.changes("YtoX", lambda: page.drop("source", tmp_path / "own.png"))
        (tmp_path / "text.png").write_text("no picture")
        page.drop("source", tmp_path / "text.png")
        page.said("not an image that Pillow knows")
        Image.new("RGB", (30, 24), "green").save(tmp_path / "other.png")
        page.changes("XtoY", lambda: page.drop("source", tmp_path / "other.png"))
        page.page.wait_for_timeout(2000)  # what comes late
        for name in ("own.png", "text.png", "other.png"):
            assert page.converted(name) == 1
        with (tmp_path / "large.png").open("wb") as file:
            file.truncate(server.MOST_BYTES + 10**6)
        page.drop("source", tmp_path / "large.png")
        page.said("maximum")
        page.check()


def test_a_network_that_enlarges(browser: Any, folder: Path, tmp_path: Path) -> None:
    with opened(browser, "srgan-photos", folder) as page:
        page.picture("enlarged")
        photograph(page, "enlarge")
        handle = page.page.locator("#enlarged [role=slider], #enlarged .inner, #enlarged .outer").first
        before = handle.evaluate("node => node.getBoundingClientRect().x")
        box = handle.bounding_box()
        page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.page.mouse.down()
        page.page.mouse.move(box["x"] + 150, box["y"] + box["height"] / 2, steps=5)
        page.page.mouse.up()
        assert handle.evaluate("node => node.getBoundingClientRect().x") != before
        Image.effect_noise((30, 20), 80).save(tmp_path / "own.png")
        page.changes("enlarged", lambda: page.drop("source", tmp_path / "own.png"))
        page.said("30x20 pixels to 120x80")
        page.check()


def test_a_model_that_scores_images(browser: Any, folder: Path, tmp_path: Path) -> None:
    examples = [folder / f"unusual-{k}.png" for k in range(3)]
    for k, file in enumerate(examples):
        Image.effect_noise((20, 16), 30 * (k + 1)).save(file)
    model: Any = untrained("f_anogan")
    with served(Shown(model, "unusual", examples=examples, normal=[0.1, 0.2])) as url:
        page = Page(browser.new_page(), url)
        page.picture("seen")
        page.picture("heat")
        page.said("of 2 normal test images")
        for act in (
            lambda: page.page.locator(".gallery-item, .gallery button").nth(2).click(),
            lambda: page.drop("source", tmp_path / "own.png"),
        ):
            Image.new("RGB", (40, 24), "orange").save(tmp_path / "own.png")
            before = page.page.locator("#score-said").inner_text()
            page.changes("heat", lambda act=act: page.changes("seen", act))
            assert page.page.locator("#score-said").inner_text() != before
        assert page.converted("own.png") == 1
        (tmp_path / "text.png").write_text("no picture")
        page.drop("source", tmp_path / "text.png")
        page.said("not an image that Pillow knows")
        page.tab("Draw")
        page.picture("grid")
        page.changes("grid", lambda: page.type("First seed", 100))
        page.tab("Walk")
        page.picture("walk")
        page.changes("walk", lambda: page.page.locator("#way input[type=range]").fill("0.3"))
        page.check()
        page.page.close()


def test_a_page_that_is_busy_says_so(browser: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room: Any = import_module("zoo.use.demo.page")
    begun, free = threading.Semaphore(0), threading.Event()

    def wait(*arguments: Any, **settings: Any) -> Any:
        begun.release()
        assert free.wait(60)
        raise ValueError("the test is over")

    monkeypatch.setattr(Shown, "found", wait)
    monkeypatch.setattr(room, "LONG", 1)
    monkeypatch.setattr(room, "WAITING", 1)
    photograph = folder / "photograph.png"
    Image.effect_noise((20, 16), 30).save(photograph)
    with served(Shown(untrained("stylegan_lite"), "busy", examples=[photograph])) as url:
        pages = [Page(browser.new_page(), url) for _ in range(3)]
        try:
            for k, page in enumerate(pages):
                page.tab("Your photograph")
                page.page.locator("#photograph img").first.wait_for()
                with page.page.expect_response(
                    lambda answer: "queue/join" in answer.url and answer.request.post_data_json["data"]
                ):
                    page.page.locator("#find").click()
                assert k or begun.acquire(timeout=60)
            pages[2].said("currently busy")
            assert not pages[2].errors
        finally:
            free.set()
            for page in pages:
                page.page.close()


def test_a_run_that_is_deleted_while_it_is_shown(browser: Any, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "model.safetensors"
    place.write_text("")
    with served(Shown(zoo.load("vanilla-mnist5k"), "a run", place)) as url:
        page = Page(browser.new_page(), url)
        page.picture("grid")
        place.unlink()
        page.said("has been deleted or moved")
        page.check()
        page.page.close()
