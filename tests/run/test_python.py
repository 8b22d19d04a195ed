"""Training from Python: what the command does, without leaving the program."""

import sys
from pathlib import Path

import pytest
from common import CONF, SMALL, make
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from typer.testing import CliRunner

import train
import zoo
from zoo.cli import app
from zoo.formats import basicsr
from zoo.run.config import plain

TINY = ["data=digits", "data.image_size=16", "data.batch_size=16", "model.width=4", "trainer=cpu", "logger=csv"]
MEASURED = ["max_images=32", "metrics.num_fake=40", "metrics.num_real=60"]


def test_train_twice_resume_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["notebook", "--not=ours"])
    first = zoo.train(*TINY, *MEASURED, "hydra.run.dir=my runs/a (1)")
    assert first.folder == tmp_path / "my runs" / "a (1)"
    assert (first.state, first.images, first.metric) == ("finished", 32, "fid_mnist")
    assert first.best == first.values["fid_mnist"]
    assert zoo.load(first.folder).images in (16, 32)
    assert OmegaConf.load(first.folder / ".hydra" / "overrides.yaml")[: len(TINY)] == TINY
    second = zoo.train(*TINY, "max_images=16", "metrics=none")
    assert second.folder.parent == tmp_path / "outputs" / "dcgan-digits"
    assert (second.metric, second.best, second.values) == (None, None, {})
    longer = zoo.train(f"resume={first.folder}", "max_images=64")
    assert (longer.folder, longer.images, longer.state) == (first.folder, 64, "finished")
    assert not GlobalHydra.instance().is_initialized()
    assert not HydraConfig.initialized()
    listed = CliRunner().invoke(app, ["runs", str(tmp_path)])
    assert listed.exit_code == 0
    assert listed.output.count("finished") == 2


@pytest.mark.slow
def test_somebody_elses_file_is_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What no file tells is composed for it, while the settings of the run are Hydra's job."""
    monkeypatch.chdir(tmp_path)
    small = [*SMALL["srgan"], "model.network=rrdb"]
    model = make("srgan", *small)
    basicsr.save(Path("esrgan.pth"), basicsr.as_esrgan(model.state_dict(), model.hparams))
    result = zoo.train("model=srgan", *small, "start=esrgan.pth", "max_images=16", "metrics=none", "trainer=cpu")
    said = capsys.readouterr().out
    assert "start=esrgan.pth (SRGAN, 0 images): carried over are G whole\n" in said
    assert result.folder.parent == tmp_path / "outputs" / "srgan-photos", "of the run, not of the file"
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.slow
def test_max_time_returns(tmp_path: Path) -> None:
    result = zoo.train(*TINY, *MEASURED, "max_images=10_000_000", "max_time=00:00:01", f"hydra.run.dir={tmp_path}")
    assert result.state == "stopped"
    assert 16 <= result.images < 10_000_000


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["epochs=5"], "there is no setting 'epochs'; the budget is max_images="),
        (["model=dcgann"], "there is no model=dcgann; did you mean dcgan"),
        (["model=cyclegan", "augment=ada"], "augment=ada does not fit model=cyclegan, which takes none"),
        (["max_images=abc"], "max_images=abc: expected a whole number"),
        (["seed=1,2"], "seed=1,2 are several values"),
        (["dcgan"], "did you mean model=dcgan"),
        (["-m", "seed=1,2"], "zoo.train takes settings, such as 'max_images=1000', and not '-m'"),
        ([3], "and not 3"),
        ([["model=dcgan"]], r"and not \['model=dcgan'\]"),
        (["data.image_size=30", "logger=none"], "image_size=30x30 does not fit these networks"),
        (["resume=/nowhere"], "/nowhere"),
    ],
)
def test_a_mistake_is_a_value_error(
    settings: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        zoo.train(*settings)
    assert not capsys.readouterr().err


@pytest.mark.slow
def test_hydras_own_compose_works_on_this_conf(tmp_path: Path) -> None:
    """As in a notebook: without Hydra's job, nothing is left to resolve."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for model in ("dcgan", "cyclegan"):
            settings = plain(compose("train", [f"model={model}", "logger=wandb"]))
            assert settings["run_dir"].startswith("outputs/composed/")
            assert settings["logger"]["wandb"]["name"].startswith(f"{model}-")
        cfg = compose("train", [*TINY, "metrics=none", "max_images=16", f"run_dir={tmp_path}"])
        trainer = train.run(cfg)
    assert trainer.lightning_module.images == 16  # type: ignore[attr-defined]
    assert "python train.py" in (tmp_path / "report.md").read_text()


def test_what_zoo_does_not_have() -> None:
    with pytest.raises(AttributeError, match="'zoo' has no attribute 'trian'"):
        zoo.trian  # noqa: B018
