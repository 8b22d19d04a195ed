"""The `zoo` command on a small run."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from train import run
from zoo.cli import app
from zoo.config import readable_errors


def zoo(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from common import compose

    folder = tmp_path_factory.mktemp("trained") / "run"
    run(
        compose(
            "data=digits",
            "data.image_size=16",
            "data.batch_size=16",
            "model.width=4",
            "max_images=64",
            "logger=none",
            "trainer=cpu",
            "metrics.num_fake=40",
            "metrics.num_real=60",
            f"cache_dir={folder.parent}/cache",
            f"run_dir={folder}",
            "callbacks.report.overrides=[]",
        )
    )
    return folder


def test_list_names_every_choice_with_a_line() -> None:
    listed = zoo("list")
    for name in ("dcgan", "vanilla", "mnist5k", "labelled_folder", "inception", "wandb"):
        assert any(line.split()[:1] == [name] and len(line.split()) > 3 for line in listed.splitlines()), name


def test_sample_a_grid_and_a_folder(trained: Path, tmp_path: Path) -> None:
    zoo("sample", trained, "-n", 9, "-o", tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").size == (3 * 18 + 2, 3 * 18 + 2)
    zoo("sample", trained, "-n", 3, "--seed", 5, "-o", tmp_path / "many")
    zoo("sample", trained / "checkpoints" / "best.ckpt", "-n", 1, "--seed", 6, "-o", tmp_path / "one")
    assert sorted(p.name for p in (tmp_path / "many").iterdir()) == ["000005.png", "000006.png", "000007.png"]
    many, one = (np.asarray(Image.open(tmp_path / f / "000006.png")).astype(int) for f in ("many", "one"))
    assert abs(many - one).max() <= 1


def test_evaluate_repeats_the_runs_value_with_its_protocol(trained: Path) -> None:
    from zoo.checkpoint import read

    printed = dict(line.split(maxsplit=1) for line in zoo("evaluate", trained).splitlines()[1:])
    callbacks = read(trained / "checkpoints" / "best.ckpt")["callbacks"]
    history = next(state for name, state in callbacks.items() if name.startswith("Evaluate"))["history"]
    assert float(printed["fid_mnist"]) == pytest.approx(history[-1]["fid_mnist"], rel=1e-4)
    assert printed["num_fake"] == "40"
    assert printed["split"] == "train"


def test_evaluate_takes_settings_and_refuses_typos(trained: Path) -> None:
    assert "num_fake             20" in zoo("evaluate", trained, "metrics.num_fake=20")
    with pytest.raises(ValueError, match=r"did you mean metrics.num_fake\?"):
        zoo("evaluate", trained, "metrics.num_fakes=20")
    with pytest.raises(ValueError, match="choose from"):
        zoo("evaluate", trained, "metrics=inceptoin")


def test_check_data(tmp_path: Path) -> None:
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / f"{i}.png")
    assert "3" in zoo("check-data", tmp_path, "--image-size", 32)
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    result = CliRunner().invoke(app, ["check-data", str(tmp_path)])
    assert result.exit_code == 1
    assert "broken.jpg" in result.output


def test_a_missing_run_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, readable_errors("zoo"):
        zoo("sample", tmp_path)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("zoo: no checkpoint in")
