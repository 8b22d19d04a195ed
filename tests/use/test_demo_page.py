"""The page of zoo demo as its visitors meet it, by HTTP: what it answers, what it refuses, and who waits for whom."""

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from common import MODELS, needs, some_slow, untrained
from PIL import Image

import zoo
from zoo.use.demo import server
from zoo.use.demo.shown import MOST_BYTES, Shown
from zoo.weights.names import find, published

needs("gradio")
OWN = "fault of the program"
NOBODY = "http://127.0.0.1:9/picture.png"  # where nobody listens


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Gradio's own, for all pages of this file: it reads where that is as it is imported."""
    tmp_path_factory.getbasetemp()  # pytest's own is made before, elsewhere
    with server.apart() as place:
        yield place


def explain(error: BaseException) -> str | None:
    return str(error) if isinstance(error, ValueError) else None


def page_of(shown: Shown) -> Any:
    from zoo.use.demo.page import page

    return page(shown, explain)


class Visitor:
    """A visitor's browser, as far as it asks the server."""

    def __init__(self, url: str, number: int = 0) -> None:
        self.web, self.session = httpx.Client(base_url=url, timeout=60), f"visitor{number}"
        self.config = self.web.get("/config").json()
        self.components = {one["id"]: one for one in self.config["components"]}

    def events(self, name: str, trigger: str = "change") -> list[dict[str, Any]]:
        """The events whose outputs hold a component, by its elem_id, and that a trigger begins."""
        return [
            one for one in self.config["dependencies"]
            if name in [self.components[k]["props"].get("elem_id") for k in one["outputs"]]
            and trigger in [target[1] for target in one["targets"]]
        ]  # fmt: skip

    def values(self, event: dict[str, Any]) -> list[Any]:
        """What the controls of an event are at the start."""
        return [self.components[k]["props"].get("value") for k in event["inputs"]]

    def join(self, event: dict[str, Any], data: list[Any]) -> httpx.Response:
        body = {"data": data, "fn_index": event["id"], "session_hash": self.session}
        return self.web.post("/gradio_api/queue/join", json=body)

    def call(self, event: dict[str, Any], data: list[Any] | None = None) -> dict[str, Any]:
        """What comes of an event."""
        answer = self.join(event, self.values(event) if data is None else data)
        answer.raise_for_status()
        with self.web.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    message = json.loads(line[5:])
                    if message["msg"] == "process_completed":
                        return message
        raise AssertionError("no answer")

    def image(self, message: dict[str, Any], position: int = 0) -> bytes:
        """The picture among an event's outputs."""
        assert message["success"], message
        return self.web.get("/gradio_api/file=" + message["output"]["data"][position]["path"]).content

    def upload(self, path: Path) -> httpx.Response:
        with path.open("rb") as file:
            return self.web.post("/gradio_api/upload", files={"files": (path.name, file)})

    def sent(self, path: Path) -> dict[str, Any]:
        """A file's place on the server, as an upload has it."""
        (place,) = self.upload(path).json()
        return {"path": place, "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


@contextmanager
def visited(shown: Shown, host: str = "127.0.0.1", **settings: Any) -> Iterator[str]:
    with server.listener(host, 0) as sock:
        app = server.application(page_of(shown), **{"local": True, **settings})
        with server.serving(app, sock):
            yield server.address(sock)


@pytest.fixture(scope="module")
def styled() -> Iterator[str]:
    with visited(Shown(untrained("stylegan_lite"), "a <b>styled</b> *model*")) as url:
        yield url


@pytest.fixture(scope="module")
def translator() -> Iterator[str]:
    with visited(Shown(untrained("cyclegan"), "translator")) as url:
        yield url


def picture(path: Path, colour: str = "red", size: tuple[int, int] = (20, 16)) -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def sentence(message: dict[str, Any]) -> str:
    assert not message["success"]
    return str(message["output"]["error"])


# What there is -------------------------------------------------------------------------------------------------------


QUICK = ("f_anogan", "cyclegan", "srgan", "stylegan_lite")  # which have all abilities


@pytest.mark.parametrize("model", some_slow(MODELS, *QUICK))
def test_there_is_a_page_for_each_variant(model: str) -> None:
    gan = untrained(model)
    config = page_of(Shown(gan, model)).get_config_file()
    tabs = [one["props"]["label"] for one in config["components"] if one["type"] == "tabitem"]
    assert tabs
    assert all(one["api_visibility"] == "private" for one in config["dependencies"] if one["targets"][0][1] != "delete")


@pytest.mark.parametrize("name", some_slow(sorted(published()), "cgan-mnist5k", "cyclegan-colour_digits"))
def test_there_is_a_page_for_all_published_weights(name: str) -> None:
    tabs = page_of(Shown(zoo.load(name), name, find(name))).get_config_file()["components"]
    assert [one for one in tabs if one["type"] == "tabitem"]


def test_each_control_of_a_grid_moves_it(styled: str) -> None:
    visitor = Visitor(styled)
    (event,) = visitor.events("grid")
    start = visitor.values(event)
    assert start[:2] == [0, 16]
    seen = {visitor.image(visitor.call(event))}
    for position, value in enumerate((1, 9, 0.5)):
        seen.add(visitor.image(visitor.call(event, [*start[:position], value, *start[position + 1 :]])))
    assert len(seen) == 4


def test_a_click_on_a_grid_shows_that_image(styled: str) -> None:
    visitor = Visitor(styled)
    (event,) = visitor.events("one", "select")
    body = {"data": visitor.values(event), "fn_index": event["id"], "session_hash": visitor.session}
    for index, words in (([5, 5], "seed 0"), ([600, 600], "seed 15")):
        joined = visitor.web.post(
            "/gradio_api/queue/join", json={**body, "event_data": {"index": index, "value": None}}
        )
        assert joined.status_code == 200
        with visitor.web.stream("GET", "/gradio_api/queue/data", params={"session_hash": visitor.session}) as stream:
            lines = [json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:")]
        (message,) = [line for line in lines if line["msg"] == "process_completed"]
        assert message["output"]["data"][1] == words


def test_a_photograph_is_inverted_and_edited(styled: str, tmp_path: Path) -> None:
    visitor = Visitor(styled)
    (find_styles,) = visitor.events("found", "click")
    data = [visitor.sent(picture(tmp_path / "p.png", size=(40, 40))), "centre", 20, False]
    message = visitor.call(find_styles, [*data[:2], 10, False])
    assert message["success"], message
    before = visitor.image(message, 3)
    (edit,) = visitor.events("edited")
    strengths = [2, *[0] * (len(edit["inputs"]) - 3)]
    assert visitor.image(visitor.call(edit, [None, "all", *strengths])) != before
    other = Visitor(styled, 1)  # who has no photograph
    assert other.call(edit, [None, "all", *strengths])["output"]["data"][0] == {"__type__": "update"}


def test_a_photograph_is_inverted_within_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def found(self: Shown, *arguments: Any, label: int, **settings: Any) -> Any:
        asked.append(label)
        raise gr.Error("enough")

    gr = import_module("gradio")
    monkeypatch.setattr(Shown, "found", found)
    with visited(Shown(untrained("stylegan_lite", "model.conditional=true"), "x")) as url:
        visitor = Visitor(url)
        (search,) = visitor.events("found", "click")
        start = visitor.values(search)
        assert start[1:] == ["centre", 300, False, -1]
        file = visitor.sent(picture(tmp_path / "p.png"))
        for label in (-1, 3):
            assert sentence(visitor.call(search, [file, *start[1:4], label])) == "enough"
    assert asked == [-1, 3]


def test_what_a_stranger_has_named_is_no_markup(styled: str) -> None:
    visitor = Visitor(styled)
    (heading,) = [
        one["props"]["value"] for one in visitor.components.values() if "styled" in str(one["props"].get("value"))
    ]
    assert "<" not in heading.replace("<br", "")
    assert heading.count("*") == 0


@pytest.mark.slow
def test_a_run_that_is_deleted_is_said_in_the_page(tmp_path: Path) -> None:
    place = tmp_path / "best.ckpt"
    place.write_text("")
    with visited(Shown(untrained("vanilla"), "a name", place)) as url:
        visitor = Visitor(url)
        watch = visitor.events("notice", "tick")[0]
        assert visitor.call(watch)["output"]["data"][0]["visible"] is False
        place.unlink()
        (notice,) = visitor.call(watch)["output"]["data"]
        assert notice["visible"] is True
        assert "has been deleted or moved" in notice["value"]
        (grid,) = visitor.events("grid")
        assert visitor.image(visitor.call(grid))


# What is refused -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_picture_is_a_sentence_in_the_page(translator: str, tmp_path: Path) -> None:
    visitor = Visitor(translator)
    event = visitor.events("XtoY", "upload")[0]
    (tmp_path / "<img onerror=x>.png").write_text("no picture")
    words = sentence(visitor.call(event, [visitor.sent(tmp_path / "<img onerror=x>.png")]))
    assert words.endswith(".png: not an image that Pillow knows.")
    assert "<" not in words
    assert tempfile.gettempdir() not in words
    Image.new("1", (6000, 6000)).save(tmp_path / "bomb.png")
    assert "too many for the page" in sentence(visitor.call(event, [visitor.sent(tmp_path / "bomb.png")]))


def test_a_file_that_is_too_large_is_not_taken(translator: str, tmp_path: Path, folder: str) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(MOST_BYTES + 200_000)
    answer = Visitor(translator).upload(tmp_path / "large.png")
    assert answer.status_code == 413
    assert "20 MB" in answer.text

    def chunks() -> Iterator[bytes]:  # without saying how long it is
        yield b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(server.MOST_BODY // 10**6 + 1):
            yield bytes(10**6)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"{translator}gradio_api/upload", content=chunks(), headers=headers, timeout=30).raise_for_status()
    sizes = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
    assert max(sizes) <= server.MOST_BODY


def test_there_is_room_for_so_many_files_and_for_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "own").write_bytes(bytes(100))
    os.utime(tmp_path / "own", (0, 0))
    guard = server.Guard(None, tmp_path, local=True)
    old, new = tmp_path / "sub" / "old", tmp_path / "sub" / "new"
    old.write_bytes(bytes(60))
    new.write_bytes(bytes(60))
    monkeypatch.setattr(server, "MOST_KEPT", 100)
    scope = {"method": "POST", "path": "/gradio_api/upload"}
    assert guard.refusal(scope, {"host": "localhost"}) == (
        507,
        "too many pictures have been sent to this page: try again later",
    )
    os.utime(old, (0, 0))
    assert guard.refusal(scope, {"host": "localhost"}) is None
    assert (tmp_path / "own").exists()
    assert not old.exists()
    assert new.exists()


def test_a_drawing_s_script_is_never_run(translator: str, tmp_path: Path) -> None:
    visitor = Visitor(translator)
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    path = visitor.sent(tmp_path / "a.svg")["path"]
    assert "sandbox" in visitor.web.get(f"/gradio_api/file={path}").headers["content-security-policy"]
    event = visitor.events("XtoY", "upload")[0]
    assert "not an image that Pillow knows" in sentence(visitor.call(event, [visitor.sent(tmp_path / "a.svg")]))


@pytest.mark.parametrize(
    "payload",
    [
        {"path": "/etc/hostname"},
        {"path": "../../../etc/hostname"},
        {"path": NOBODY},
        {"path": "http://93.184.215.14/picture.png"},
        {"path": None, "url": NOBODY},
        {"path": None, "url": "data:image/png;base64,iVBORw0KGgo="},
        {"path": "x", "url": "data:image/png;base64,iVBORw0KGgo="},
    ],
    ids=str,
)  # fmt: skip
def test_what_was_not_sent_is_not_read(
    translator: str, payload: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Visitor(translator)
    reached: list[Any] = []
    monkeypatch.setattr(Shown, "translated", lambda self, *arguments: reached.append(arguments))
    event = visitor.events("XtoY", "upload")[0]
    message = visitor.call(event, [{**payload, "meta": {"_type": "gradio.FileData"}}])
    assert not message["success"]
    assert not reached


def test_numbers_out_of_range_are_a_sentence(styled: str) -> None:
    visitor = Visitor(styled)
    (event,) = visitor.events("grid")
    for position, value in ((0, None), (0, -1), (0, 1e300), (1, 10**6), (1, "x"), (2, 99)):
        data = visitor.values(event)
        data[position] = value
        assert not visitor.call(event, data)["success"], (position, value)


def test_a_fault_of_the_program_says_so_and_no_more(styled: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    visitor = Visitor(styled)
    (event,) = visitor.events("grid")

    def fail(self: Any, *arguments: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Shown, "grid", fail)
    words = sentence(visitor.call(event))
    assert OWN in words
    assert "secret" not in words
    assert "RuntimeError: secret" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/file=/etc/hostname"),
        ("GET", "/gradio_api/file=http://127.0.0.1:9/x"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:9/x"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/../etc/hostname"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/run/grid"),
        ("POST", "/gradio_api/api/predict"),
        ("POST", "/gradio_api/call/grid"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/login"),
        ("PUT", "/"),
        ("DELETE", "/"),
    ],
)
def test_what_the_page_does_not_ask_for_is_not_answered(styled: str, method: str, path: str) -> None:
    assert httpx.request(method, styled.rstrip("/") + path).status_code in (403, 404)


def test_nobody_passes_the_queue(styled: str) -> None:
    visitor = Visitor(styled)
    (event,) = visitor.events("grid")
    body = {"data": visitor.values(event), "fn_index": event["id"], "session_hash": visitor.session}
    assert visitor.web.post("/gradio_api/run/predict", json=body).status_code in (403, 404)


def test_a_picture_to_begin_with_is_taken(tmp_path: Path, folder: str) -> None:
    own = Path(folder, "examples")
    own.mkdir(exist_ok=True)
    files = [own / "first.png", own / "second.png"]
    for file in files:
        Image.effect_noise((20, 16), 90).save(file)
    with visited(Shown(untrained("cyclegan"), "x", examples=files)) as url:
        visitor = Visitor(url)
        event = visitor.events("XtoY", "load")[0]
        first = visitor.image(visitor.call(event))
        (take,) = [
            one for one in visitor.config["dependencies"] if one["targets"][0][1] == "click" and not one["queue"]
        ]
        body = {"data": [1], "fn_index": take["id"], "session_hash": visitor.session}
        answer = visitor.web.post("/gradio_api/run/predict", json=body)
        assert answer.status_code == 200
        (taken,) = answer.json()["data"]
        assert visitor.image(visitor.call(event, [taken.get("value", taken)])) != first
        (tmp_path / "text.png").write_text("no picture")  # Gradio has made the component anew for this visitor
        assert "not an image that Pillow knows" in sentence(visitor.call(event, [visitor.sent(tmp_path / "text.png")]))


def test_other_pages_of_the_web_are_not_answered(styled: str) -> None:
    host = styled.removeprefix("http://").rstrip("/")
    for headers, status in (
        ({}, 200),
        ({"origin": styled.rstrip("/")}, 200),
        ({"host": "localhost:1"}, 200),
        ({"host": "evil.example"}, 403),  # a name that leads to this machine's address
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "["}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": f"http://{host}.evil.example"}, 403),
    ):
        assert httpx.get(styled, headers=headers).status_code == status, headers


def test_the_browser_may_fetch_nothing_from_elsewhere(styled: str) -> None:
    answer = httpx.get(styled)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    theme = httpx.get(f"{styled}theme.css").text
    assert "http" not in theme.replace("http://www.w3.org/", "")
    assert "googleapis" not in answer.text


# Who waits for whom --------------------------------------------------------------------------------------------------


def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Semaphore, threading.Event]:
    """Searches that go on until the event is set; what tells how many have begun."""
    begun, free = threading.Semaphore(0), threading.Event()

    def found(self: Shown, *arguments: Any, **settings: Any) -> Any:
        begun.release()
        assert free.wait(60)
        raise ValueError("found nothing")

    monkeypatch.setattr(Shown, "found", found)
    return begun, free


def test_two_search_at_once_and_draws_do_not_wait_for_them(
    styled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, free = held(monkeypatch)
    file = picture(tmp_path / "p.png")
    visitors = [Visitor(styled, number) for number in range(4)]
    (search,) = visitors[0].events("found", "click")
    (grid,) = visitors[0].events("grid")
    with ThreadPoolExecutor(3) as pool:
        try:
            long = [pool.submit(one.call, search, [one.sent(file), "centre", 10, False]) for one in visitors[:3]]
            assert begun.acquire(timeout=30)
            assert begun.acquire(timeout=30)
            assert visitors[3].image(visitors[3].call(grid))
            assert not begun.acquire(blocking=False)  # the third waits in the queue
            assert not any(one.done() for one in long)
        finally:
            free.set()
        assert [sentence(one.result()) for one in long] == ["found nothing"] * 3


@pytest.mark.slow
def test_a_full_queue_is_said_to_be_busy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from zoo.use.demo import page as room

    begun, free = held(monkeypatch)
    monkeypatch.setattr(room, "LONG", 1)
    monkeypatch.setattr(room, "WAITING", 1)
    with visited(Shown(untrained("stylegan_lite"), "x")) as url:
        visitor = Visitor(url)
        (search,) = visitor.events("found", "click")
        data = [visitor.sent(picture(tmp_path / "p.png")), "centre", 10, False]
        try:
            assert visitor.join(search, data).status_code == 200
            assert begun.acquire(timeout=30)
            assert visitor.join(search, data).status_code == 200  # waits
            refused = visitor.join(search, data)
            assert refused.status_code == 503  # which the page shows as: currently busy
            assert "full" in refused.text
        finally:
            free.set()


@pytest.mark.slow
def test_many_visitors_at_once_get_what_one_gets(styled: str) -> None:
    visitors = [Visitor(styled, number) for number in range(8)]
    (grid,) = visitors[0].events("grid")
    ask = lambda visitor, seed: visitor.image(visitor.call(grid, [seed, 4, 0.7]))
    alone = {seed: ask(visitors[0], seed) for seed in range(8)}
    assert len(set(alone.values())) == 8
    with ThreadPoolExecutor(8) as pool:
        seeds = list(range(7, -1, -1))  # each another: Gradio writes the same picture of two to one file
        assert list(pool.map(ask, visitors, seeds)) == [alone[seed] for seed in seeds]


# Addresses -----------------------------------------------------------------------------------------------------------


def test_it_listens_to_this_machine_alone() -> None:
    with server.listener("127.0.0.1", 0) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"
        assert server.is_local(sock)
        with pytest.raises(ValueError, match=f"port {sock.getsockname()[1]} is in use on 127.0.0.1.*--port"):
            server.listener("127.0.0.1", sock.getsockname()[1])
    with server.listener("0.0.0.0", 0) as sock:
        assert not server.is_local(sock)
        assert server.address(sock).startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("127.0.0.1", 65536, "--port=65536 must be from 0"),
        ("127.0.0.1", -1, "--port=-1 must be from 0"),
        ("no.such.name.invalid", 0, "--host=no.such.name.invalid is no address"),
        ("1.2.3.4", 0, "--host=1.2.3.4 can't be listened on"),
        ("a" * 300, 0, "is no address"),
    ],
)
def test_an_address_that_is_none_is_a_sentence(host: str, port: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        server.listener(host, port)


def test_a_port_that_is_not_for_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **settings: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(ValueError, match=r"port 80 is not for you \(Permission denied\): give one from 1024 on"):
        server.listener("127.0.0.1", 80)


def test_another_host_is_answered_where_the_page_is_for_others(tmp_path: Path) -> None:
    guard = server.Guard(None, tmp_path, local=False)
    scope = {"method": "GET", "path": "/"}
    assert guard.refusal(scope, {"host": "gpu-box:7860"}) is None
    assert guard.refusal(scope, {"host": "gpu-box:7860", "origin": "http://evil.example"}) is not None


def browsers(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], bool]) -> None:
    monkeypatch.setattr(server.webbrowser, "open", answer)
    monkeypatch.setattr(server.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)


def test_a_browser_is_opened_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    browsers(monkeypatch, lambda url: not opened.append(url))
    assert not server.open_browser("a")  # one of the terminal would take it over
    monkeypatch.setenv("DISPLAY", ":0")
    assert server.open_browser("b")
    assert opened == ["b"]

    def missing(url: str) -> bool:
        raise server.webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(server.webbrowser, "open", missing)
    assert not server.open_browser("c")


def test_the_folder_of_its_own_vanishes_and_the_environment_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    before = dict(os.environ), tempfile.gettempdir()
    with server.apart() as place:
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
        assert os.environ["GRADIO_TEMP_DIR"] == place == tempfile.gettempdir()
        Path(place, "file").write_text("a visitor's")
    assert not Path(place).exists()
    assert (dict(os.environ), tempfile.gettempdir()) == before
