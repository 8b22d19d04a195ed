"""What the commands ask of a model, and whom they send a user to that has a model without it."""

import re
from pathlib import Path

import pytest
from common import MODELS, ROOT

import zoo.cli
import zoo.loading
from zoo.cli.common import NOUNS, require, variants_with
from zoo.game.abilities import ABILITIES, Styles, Translates, Upscales


def test_the_variants_with_an_ability_are_those_that_declare_it() -> None:
    assert variants_with(Translates) == "model=cyclegan or model=pix2pix or model=style_transfer"
    assert variants_with(Upscales) == "model=srgan"


def test_every_ability_can_be_asked_for() -> None:
    assert {ability.__name__ for ability in ABILITIES} == NOUNS.keys()
    with pytest.raises(ValueError, match="int has no styles, which it needs: another way"):
        require(3, Styles, "it", "another way")


@pytest.mark.parametrize("path", ["cli/common", "cli/convert", "cli/demo", "cli/export", "cli/generate", "cli/style", *(
    f"use/{name}" for name in (
        *("demo/page", "demo/server", "demo/shown", "export", "exported", "pictures", "sample", "styles", "translate"),
        "upscale",
    )
)])  # fmt: skip
def test_no_command_names_a_variant(path: str) -> None:
    text = (ROOT / "zoo" / Path(path)).with_suffix(".py").read_text().lower()
    assert not re.findall(rf"\b({'|'.join(MODELS)})\b", text)
    assert "hasattr" not in text


@pytest.mark.parametrize("words", [["publish", "a.onnx", "-o", "new"], ["export", "a.onnx", "-o", "b.onnx"],
                                   ["evaluate", "a.onnx"]])  # fmt: skip
def test_an_exported_file_is_no_run_of_those_that_need_one(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(zoo.loading, "load", lambda *args, **settings: object())
    Path("a.onnx").touch()
    with pytest.raises(ValueError, match=rf"^a.onnx is an exported file, which zoo {words[0]} can't use: give the run"):
        zoo.cli.app(words, standalone_mode=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
