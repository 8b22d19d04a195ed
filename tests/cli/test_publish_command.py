"""zoo publish, from the command line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from common import untrained
from typer.testing import CliRunner

import zoo.cli
from zoo.use.publish import weights_of
from zoo.weights import folder, hub

METRICS = ["metrics=mnist", "metrics.num_fake=24", "metrics.num_real=40", "metrics.per_class=false"]


def run(*words: object) -> str:
    """What a command prints; its error is raised."""
    result = CliRunner().invoke(zoo.cli.app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a conditional generator; of no place that a card may name."""
    place = tmp_path_factory.mktemp("private") / "digits"
    folder.write(place, weights_of(untrained("cgan"), {"command": "python train.py model=cgan"}), card="", pictures={})
    return place


def about(place: Path) -> dict[str, Any]:
    return json.loads((place / folder.CONFIG).read_text())["about"]


@pytest.mark.slow
def test_the_figures_are_those_of_the_stored_file(place: Path, tmp_path: Path) -> None:
    printed = run("publish", place, *METRICS, "--half", "-o", tmp_path / "half")
    assert re.search(r"^fid_mnist \S+ \[\S+ to \S+\]$", printed, re.M)
    assert {path.name for path in (tmp_path / "half").iterdir()} == {
        *("README.md", "config.json", "model.safetensors", "samples.png")
    }
    said = about(tmp_path / "half")
    assert (said["name"], said["bits"], said["licence"]) == ("half", 16, "cc-by-4.0")
    assert said["command"] == "python train.py model=cgan"
    assert said["figures"] != said["figures_in_32_bits"]

    def evaluated(place: Path, *more: str) -> dict[str, float]:
        rows = [line.split() for line in run("evaluate", place, *METRICS, *more).splitlines()[1:]]
        return {row[0]: float(row[1]) for row in rows if row[0] in said["figures"]}

    run("publish", tmp_path / "half", *METRICS, "-o", tmp_path / "once")
    once = {name: figure["value"] for name, figure in about(tmp_path / "once")["figures"].items()}
    assert evaluated(tmp_path / "half") == pytest.approx(once, rel=1e-5)
    for name, figure in said["figures"].items():
        assert once[name] == pytest.approx(figure["value"], rel=1e-5)
    assert said["figures"]["fid_mnist"]["low"] < once["fid_mnist"] < said["figures"]["fid_mnist"]["high"]
    assert said["interval"] == "95 %, over draws of as many images: see docs/metrics.md"
    card = (tmp_path / "half" / "README.md").read_text()
    assert "private" not in card
    assert str(Path.home()) not in card


@pytest.mark.slow
def test_without_metrics_there_is_a_card_without_figures(place: Path, tmp_path: Path) -> None:
    printed = run("publish", place, "metrics=none", "--license", "mit", "-o", tmp_path / "w")
    assert "no figures: nothing was measured (metrics=none)" in printed
    assert about(tmp_path / "w")["figures"] == {}
    assert about(tmp_path / "w")["licence"] == "mit"
    assert "\nlicense: mit\n" in (tmp_path / "w" / "README.md").read_text()


@pytest.mark.slow
def test_what_is_refused_leaves_nothing(place: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    new = tmp_path / "new"
    for words, said in (
        ([place], "say where to publish"),
        ([place, "hf:me/a", "hf:me/b"], "say where to publish"),
        (
            [place, "inception", "-o", new],
            "inception is neither a setting, such as metrics=inception, nor hf:USER/NAME",
        ),
        ([place, "--private", "-o", new], "--private is for the hub"),
        ([place, "hf:me"], "hf:me is no name of the hub's"),
        ([place, "hf:me/a@v1"], "leave @v1 out"),
        ([place, "-o", tmp_path / "full"], "not empty: give a new folder"),
        ([place, "metrics=none", "--with-discriminator", "-o", new], "has no D: publish it from its run"),
        ([place, "metrics=minst", "-o", new], "there is no metrics=minst"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            run("publish", *words)
    assert not new.exists()


def test_to_the_hub(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded = {}

    def upload(repository: str, place: Path, *, private: bool) -> str:
        uploaded[repository] = (private, about(place)["name"], about(place)["load"])
        return "hf:me/digits@1"

    monkeypatch.setattr(hub, "upload", upload)
    assert "hf:me/digits@1" in run("publish", place, "metrics=none", "hf:me/digits", "--private")
    assert uploaded == {"me/digits": (True, "digits", "hf:me/digits")}


def test_list_has_the_published_names() -> None:
    printed = run("list")
    assert "published weights" in printed
    for name in zoo.weights.names.published():
        assert f"\n  {name} " in printed
