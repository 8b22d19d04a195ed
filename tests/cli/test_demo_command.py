"""zoo demo as a user starts and ends it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import ROOT, needs, untrained
from PIL import Image
from typer.testing import CliRunner

import zoo
from zoo.batch import to_bytes
from zoo.cli import app
from zoo.cli.measure import of_run
from zoo.use.demo import server
from zoo.weights.names import find, published

needs("gradio")
room = import_module("zoo.cli.demo")  # whose name the command has in zoo.cli

# Says of every address that something is sent to; a name that is looked up is said too.
WATCH = """
import socket, sys
def watched(name):
    act = getattr(socket.socket, name)
    def watch(self, place, *rest):
        if isinstance(place, tuple) and place[0] not in ("127.0.0.1", "::1"):
            print("OUTSIDE", place, flush=True)
        return act(self, place, *rest)
    setattr(socket.socket, name, watch)
watched("connect"), watched("connect_ex")
find = socket.getaddrinfo
def found(host, *rest, **settings):
    if host not in ("127.0.0.1", "localhost", None):
        print("OUTSIDE", host, flush=True)
    return find(host, *rest, **settings)
socket.getaddrinfo = found
from zoo.cli import main
sys.argv = ["zoo", *sys.argv[1:]]
main()
"""


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["demo", *map(str, arguments)])
    assert isinstance(result.exception, ValueError), (result.output, result.exception)
    return str(result.exception)


@contextmanager
def started(*arguments: object, folder: Path) -> Iterator[tuple[Any, str]]:
    """A process of zoo demo, and the address that it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WATCH, "demo", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r": (http://\S+) \(Ctrl-C ends it\)", line):
                yield process, found[1]
                break
        else:
            raise AssertionError(said)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_it_is_served_until_it_is_ended_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    number = getattr(signal, name)
    with started("vanilla-mnist5k", "--no-browser", folder=tmp_path) as (process, url):
        assert url.startswith("http://127.0.0.1:")
        assert b"vanilla-mnist5k" in urllib.request.urlopen(url).read()
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("zoo-demo-")]
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait() == 128 + number
    assert rest.strip() == f"zoo: {name}, interrupted"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("zoo-demo-")]


@pytest.fixture
def without_serving(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be shown, in place of being served: the page ends as it begins."""
    pages: list[Any] = []

    @contextmanager
    def serving(app: Any, sock: Any) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(server, "serving", serving)
    monkeypatch.setattr(server, "application", lambda page, *, local: None)
    monkeypatch.setattr(room, "_page", pages.append)
    return pages


@pytest.mark.slow
def test_what_is_shown_of_a_run(without_serving: list[Any], tmp_path: Path) -> None:
    from zoo.use.styles import unnamed

    unnamed(zoo.load("stylegan_lite-mnist5k"), "pca", 3).save(tmp_path / "d.safetensors")
    copied = tmp_path / "copied"
    shutil.copytree(find("stylegan_lite-mnist5k"), copied)
    for run in ("stylegan_lite-mnist5k", copied):
        CliRunner().invoke(app, ["demo", str(run), "--port", "0", "--directions", str(tmp_path / "d.safetensors")])
    published, copy = without_serving
    assert (published.name, copy.name) == ("stylegan_lite-mnist5k", f"{tmp_path.name}/copied")
    assert published.directions().names == ["0", "1", "2"]
    assert len(published.examples) == room.EXAMPLES
    assert published.activations is not None  # the run was measured by the digits' classifier
    assert published.notice() == copy.notice() == ""
    shutil.rmtree(copied)
    assert "has been deleted or moved" in copy.notice()


@pytest.mark.slow
def test_a_demo_of_an_exported_file(without_serving: list[Any], tmp_path: Path) -> None:
    needs("onnxruntime")
    assert CliRunner().invoke(app, ["export", "vanilla-mnist5k", "-o", str(tmp_path / "g.onnx")]).exit_code == 0
    CliRunner().invoke(app, ["demo", str(tmp_path / "g.onnx"), "--port", "0"])
    (shown,) = without_serving
    assert shown.name == "g.onnx"
    assert "makes images of 32x32 pixels, grey" in shown.about()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(published()))
def test_what_has_pictures_to_begin_with(name: str, without_serving: list[Any]) -> None:
    CliRunner().invoke(app, ["demo", name, "--port", "0"])
    (shown,) = without_serving
    assert bool(shown.examples) == name.startswith(("stylegan", "cyclegan", "pix2pix", "srgan"))


@pytest.mark.slow
def test_a_stranger_s_run_shows_no_files_of_this_machine() -> None:
    model: Any = untrained("pix2pix")
    assert room._comes_with_a_package(model)
    model.config["data"] = {"_target_": "zoo.data.pair_folders.UnpairedFolder", "root": "/etc"}
    assert not room._comes_with_a_package(model)
    model.config["data"] = {}
    assert not room._comes_with_a_package(model)


@pytest.mark.slow
def test_pictures_to_begin_with_that_are_none(without_serving: list[Any], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "b.png")
    for place in (tmp_path, tmp_path / "b.png"):
        said = refused("cyclegan-colour_digits", "--port", 0, "--examples", place)
        assert said.startswith(f"--examples={place} has no picture that the page takes: {tmp_path}")
    whole = np.zeros((16, 16, 3), np.uint8)
    np.save(tmp_path / "c.npy", whole)
    Image.fromarray(whole).save(tmp_path / "d.png")
    result = CliRunner().invoke(
        app, ["demo", "cyclegan-colour_digits", "--port", "0", "--examples", str(tmp_path), "--no-browser"]
    )
    (shown,) = without_serving
    assert [path.name for path in shown.examples] == ["c.npy", "d.png"]
    assert shown.is_small
    assert f"passed over: {tmp_path}/a.png: not an image" in result.output


@pytest.mark.slow
def test_of_what_scores_images_normal_ones_and_others_are_there(tmp_path: Path) -> None:
    model: Any = untrained("f_anogan", "data=digits", "data.normal=[3]", "data.image_size=16")
    data, _ = of_run(model, tmp_path, [])
    labels = {}
    for batch in data.evaluation_loader(split="test", num=room.LOOKED_AT):
        for image, label in zip(batch.image, batch.label.tolist(), strict=True):
            labels[to_bytes(image).numpy().tobytes()] = label
    paths = room._test_images(model, tmp_path, tmp_path / "pictures")
    shown = [labels[np.asarray(Image.open(path)).tobytes()] for path in paths]
    assert len(shown) == room.EXAMPLES
    assert [label == 3 for label in shown] == [True, False] * (room.EXAMPLES // 2)


def test_bad_input_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused("vanilla-mnist5k", "--port", port).startswith(f"port {port} is in use on 127.0.0.1")
    assert "no checkpoint in nowhere" in refused("nowhere", "--port", 0)
    assert "--directions=x.safetensors is of a model with styles" in refused(
        "vanilla-mnist5k", "--port", 0, "--directions", "x.safetensors"
    )
    assert "--encoder=x does not exist" in refused("stylegan_lite-mnist5k", "--port", 0, "--encoder", "x")
    assert "x.safetensors" in refused("stylegan_lite-mnist5k", "--port", 0, "--directions", "x.safetensors")
    assert "does not exist" in refused("vanilla-mnist5k", "--port", 0, "--examples", tmp_path / "none")
    assert "has no images" in refused("vanilla-mnist5k", "--port", 0, "--examples", tmp_path)
    assert "--host=1.2.3.4" in refused("vanilla-mnist5k", "--port", 0, "--host", "1.2.3.4")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refused("vanilla-mnist5k").endswith("not installed here: pip install 'gan-zoo[demo]'")
