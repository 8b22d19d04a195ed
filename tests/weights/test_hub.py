"""Weights on the hub: a server on this machine stands for it, and the library that speaks to it is the real one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from common import untrained
from hub import Hub
from huggingface_hub.utils import _http

import zoo
from zoo.game.gan import GAN
from zoo.use.publish import weights_of
from zoo.weights import folder, hub, names


def of_seed(seed: int) -> GAN:
    model = untrained("vanilla", "model.ema_half_life=null")
    with torch.no_grad():
        next(model.parameters()).add_(seed)
    return model


def written(place: Path, seed: int = 0) -> Path:
    folder.write(place, weights_of(of_seed(seed), {}), card="---\nlicense: mit\n---\n", pictures={"samples.png": b"1"})
    return place


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
    yield server
    server.shut_down()


def content(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir()}


def test_what_is_uploaded_is_loaded_and_stays_in_the_cache(server: Hub, tmp_path: Path) -> None:
    place = written(tmp_path / "weights")
    answer = hub.upload("me/digits", place)
    commit = next(iter(server.repositories["me/digits"]))
    assert answer == f"hf:me/digits@{commit}"
    assert server.repositories["me/digits"][commit] == content(place)

    expected = zoo.load(place).sample(4)
    assert torch.equal(zoo.load("hf:me/digits").sample(4), expected)
    assert torch.equal(zoo.load(answer).sample(4), expected)
    fetched = {line.rpartition("/")[2] for line in server.asked if "/resolve/" in line}
    assert fetched == {"config.json", "model.safetensors"}, "no more than what a model is made of"
    server.shut_down()
    assert torch.equal(zoo.load("hf:me/digits").sample(4), expected)
    assert torch.equal(zoo.load(answer).sample(4), expected)


def test_a_revision_stays_what_it_is(server: Hub, tmp_path: Path) -> None:
    first = hub.upload("me/digits", written(tmp_path / "first", 0))
    second = hub.upload("me/digits", written(tmp_path / "second", 1))
    samples = {name: zoo.load(name).sample(2) for name in (first, second, "hf:me/digits")}
    assert not torch.equal(samples[first], samples[second])
    assert torch.equal(samples["hf:me/digits"], samples[second])
    assert torch.equal(samples[first], zoo.load(tmp_path / "first").sample(2))


def test_private(server: Hub, tmp_path: Path) -> None:
    hub.upload("me/open", written(tmp_path / "weights"))
    hub.upload("me/mine", tmp_path / "weights", private=True)
    assert server.private == {"me/mine"}
    hub.upload("me/mine", tmp_path / "weights", private=True)
    with pytest.raises(ValueError, match=r"^hf:me/open is there already, and public: "):
        hub.upload("me/open", tmp_path / "weights", private=True)
    assert len(server.repositories["me/open"]) == 1, "nothing was uploaded for all to see"


@pytest.mark.parametrize("name", ["hf:", "hf:me", "hf:me/", "hf:me/a/b", "hf:me/a@", "hf:me/a--b", "hf:../a",
                                  "hf:me/.a", "hf:me/a@../../x y", "hf:me/a.git", "hf:me/\x1b[31m"])  # fmt: skip
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=r"^hf:.* is no name of the hub's, which are hf:USER/NAME or") as error:
        names.find(name)
    assert str(error.value).isprintable()


def refused(name: str) -> str:
    """The one sentence that a name is refused with."""
    with pytest.raises(ValueError, match=re.escape(name)) as error:
        zoo.load(name)
    assert "\n" not in str(error.value)
    assert "http" not in str(error.value)
    return str(error.value)


def test_what_is_not_there(server: Hub, tmp_path: Path) -> None:
    assert "no such repository" in refused("hf:me/nothing")
    server.commit("me/other", {"README.md": b"", "pytorch_model.bin": b""})
    assert "is no weights folder of this zoo: it has no config.json and no model.safetensors" in refused("hf:me/other")
    server.commit("me/half", {"config.json": b"{}"})
    assert "it has no model.safetensors" in refused("hf:me/half")
    assert "it has no such revision" in refused("hf:me/half@v2")
    server.commit("me/foreign", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"1"})
    with pytest.raises(ValueError, match=r"config.json is of another library"):
        zoo.load("hf:me/foreign")


@pytest.mark.parametrize(("status", "words"), [(401, "refuses"), (403, "refuses"),
                                               (500, "status 500")])  # fmt: skip
def test_a_hub_that_refuses(server: Hub, tmp_path: Path, status: int, words: str) -> None:
    server.status = status
    assert words in refused("hf:me/digits")
    with pytest.raises(ValueError, match=r"^hf:me/digits can't be published: ") as error:
        hub.upload("me/digits", written(tmp_path / "weights"))
    assert "\n" not in str(error.value)


def test_a_card_that_the_hub_does_not_take(server: Hub, tmp_path: Path) -> None:
    place = written(tmp_path / "weights")
    (place / "README.md").write_text("---\n- none\n---\n")
    words = "hf:me/digits can't be published: the hub does not take it: Invalid metadata in README.md. the card has no"
    with pytest.raises(ValueError, match=f"^{re.escape(words)} front matter$"):
        hub.upload("me/digits", place)


def test_gated(server: Hub) -> None:
    server.commit("me/digits", {})
    server.gated = True
    assert "its owner lets in whoever has asked" in refused("hf:me/digits")


def test_no_network_and_nothing_in_the_cache(server: Hub) -> None:
    server.shut_down()
    assert "the hub can't be reached (is there a network?), and the cache does not have it whole" in refused(
        "hf:me/digits"
    )
    with pytest.raises(
        ValueError, match=r"^hf:me/a can't be published: the hub can't be reached \(is there a network\?\)$"
    ):
        hub.upload("me/a", Path())


def test_a_download_that_breaks_off_leaves_nothing_that_is_taken_for_whole(server: Hub, tmp_path: Path) -> None:
    hub.upload("me/digits", written(tmp_path / "weights"))
    server.truncates = True
    refused("hf:me/digits")
    server.truncates = False
    assert torch.equal(zoo.load("hf:me/digits").sample(2), zoo.load(tmp_path / "weights").sample(2))


def test_half_a_repository_in_the_cache_is_not_taken_for_the_whole(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.commit("me/digits", {"config.json": b"{}"})
    assert "is no weights folder of this zoo: it has no model.safetensors" in refused("hf:me/digits")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    assert "can't be reached (is there a network?), and the cache does not have it whole" in refused("hf:me/digits")


def test_it_is_quiet(server: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    zoo.load(hub.upload("me/digits", written(tmp_path / "weights")))
    assert capfd.readouterr() == ("", "")
