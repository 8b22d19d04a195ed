"""What the commands ask of a model, and whom they send a user to that has a model without it."""

import io
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import rich.console
import torch
import typer
from common import MODELS, ROOT
from typer.testing import CliRunner

import zoo.cli
import zoo.loading
from zoo.cli.common import NOUNS, counted, meter, progress, quietable, require, variants_with, watched
from zoo.game.abilities import ABILITIES, Styles, Translates, Upscales
from zoo.use.pictures import check_place


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


# Progress ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a person on a terminal sees."""
    shown = io.StringIO()
    on_terminal = partial(rich.console.Console, file=shown, force_terminal=True, width=100, legacy_windows=False)
    monkeypatch.setattr(rich.console, "Console", on_terminal)
    return shown


def plainly(shown: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())


def show_each() -> None:
    """All that show how far they are."""
    with progress("[files]") as track:
        assert list(track([1, 2, 3])) == [1, 2, 3]
    with counted("images", 1_000) as seen:
        seen(400)
        seen(600)
    with meter("steps", 10) as show:
        show(10, "loss 3")
    preview = lambda batch: f"of {len(batch.index)}"
    with watched(preview, 5) as watching:
        assert [watching(SimpleNamespace(index=torch.arange(n))) for n in (3, 3)] == ["of 3", "of 3"]


def test_progress_is_for_a_terminal(terminal: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    show_each()
    said = plainly(terminal)
    for words in ("[files]", "3 of 3", "1,000 of 1,000", "steps loss 3", "10 of 10", "images, computing", "5 of 5"):
        assert words in said, (words, said)
    assert re.search(r"\d:\d\d", said), "the time left"
    assert capsys.readouterr() == ("", "")


def test_progress_is_not_for_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    show_each()
    assert capsys.readouterr() == ("", "")


def test_quiet_shows_none(terminal: io.StringIO) -> None:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command()
    @quietable
    def command(number: int = 3) -> None:
        show_each()
        typer.echo(f"number {number}")

    assert CliRunner().invoke(app, ["--number", "4", "--quiet"]).output == "number 4\n"
    assert plainly(terminal) == ""
    assert CliRunner().invoke(app, []).output == "number 3\n"
    assert "3 of 3" in plainly(terminal), "and it is of that one call"
    assert "--quiet" in CliRunner().invoke(app, ["--help"]).output


@pytest.mark.parametrize(
    "words",
    [
        "sample NONE -o FOLDER/x.png",
        "mix NONE -o FOLDER/x.png",
        "interpolate NONE -o FOLDER/x.gif",
        "directions NONE -o FOLDER/x.safetensors",
        "encoder NONE -o FOLDER/x.safetensors",
        "project NONE NONE -o FOLDER/x.png",
        "edit NONE NONE --direction 0 --paste edited -o FOLDER/x.png",
        "score NONE NONE -o FOLDER/x.csv --maps FOLDER/maps",
        "stylize NONE NONE -o FOLDER/x.png",
        "translate NONE NONE -o FOLDER/x",
        "upscale NONE NONE -o FOLDER/x",
        "export NONE -o FOLDER/x.onnx",
        "compare NONE NONE --json FOLDER/x.json",
        "report NONE -o FOLDER/x.html",
    ],
)
def test_what_is_refused_leaves_no_folder(words: str, tmp_path: Path) -> None:
    """Nor does a look whether there can be one."""
    (tmp_path / "none").touch()
    words = words.replace("NONE", str(tmp_path / "none")).replace("FOLDER", str(tmp_path / "new" / "folder"))
    result = CliRunner().invoke(zoo.cli.app, words.split())
    assert isinstance(result.exception, ValueError), result.output
    assert [path.name for path in tmp_path.iterdir()] == ["none"]


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    check_place(there / "new" / "x.png")
    assert list(tmp_path.rglob("*")) == [there]
    with pytest.raises(ValueError, match=r"there can't be written \(Is a directory\): give another place, -o"):
        check_place(there)
    (there / "file").touch()
    with pytest.raises(
        ValueError, match=r"file/new/x\.png can't be written \(Not a directory\): give another place, -o"
    ):
        check_place(there / "file" / "new" / "x.png")
