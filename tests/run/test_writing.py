"""What a run can't write does not end it."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import common
import pytest
from common import small_disk, when
from omegaconf import DictConfig

from train import run
from zoo.run.checkpoint import read
from zoo.run.command import readable_errors
from zoo.run.training import alone_in
from zoo.run.writing import attempt, lasting_output

FULL = "No space left on device|File too large"  # of a file system, of a file
EVERY = [f"callbacks.{name}.every=32" for name in ("samples", "checkpoints", "evaluate")]
METRICS = ["metrics=mnist", "metrics.num_fake=20", "metrics.num_real=30"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[], None]]:
    with small_disk(tmp_path / "disk") as fill:
        yield fill


def configured(tmp_path: Path, *overrides: str) -> DictConfig:
    """A run on the small disk that writes everything that a run can write."""
    common.needs("tensorboard")
    folder = tmp_path / "disk" / "run"
    board = [f"+logger.tensorboard.{key}" for key in ("_target_=zoo.run.loggers.TensorBoard", f"save_dir={folder}")]
    every = [*EVERY, *METRICS, "log_every=16", "logger.wandb.log_checkpoints=true", f"cache_dir={tmp_path}/disk/cache"]
    return common.small("dcgan", folder, "logger=wandb", "logger.wandb.name=full", *board, *every, *overrides)


@pytest.mark.slow
def test_a_full_disk_ends_nothing(
    tmp_path: Path,
    disk: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    when(48, lambda model: disk(), monkeypatch)
    cfg = configured(tmp_path)
    trainer = run(cfg)
    assert trainer.lightning_module.images == 128  # type: ignore[union-attr]
    folder = Path(cfg.run_dir)
    for what in ("samples", "metrics.csv", "curves.png", "report.md", "checkpoints/last.ckpt"):
        said = [text for text in caplog.messages if text.startswith(f"{folder / what} could not be written")]
        assert len(said) == 1, (what, caplog.messages)
    said = [text for text in caplog.messages if "could not be written" in text]
    assert len(said) == len(set(said))
    assert any(text.startswith("pictures in the W&B run") for text in said)
    assert any(text.startswith("events in") and re.search(FULL, text) for text in said)
    assert read(folder / "checkpoints" / "last.ckpt")["zoo"]["images"] == 32
    output, errors = capsys.readouterr()
    assert f"image 128 could not be saved: {folder}/checkpoints has last.ckpt of image 32" in output
    assert "Traceback" not in output + errors
    assert not [path for path in folder.rglob("*") if ".part" in path.name]  # nor a half-written one


@pytest.mark.slow
def test_a_disk_that_is_full_before_the_start(
    tmp_path: Path, disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also a signal's status stays, though nothing can be saved."""
    when(32, lambda model: os.kill(os.getpid(), signal.SIGTERM), monkeypatch)
    disk()
    with pytest.raises(SystemExit) as left:
        run(configured(tmp_path))
    assert left.value.code == 128 + signal.SIGTERM
    output, errors = capsys.readouterr()
    assert "SIGTERM: image 32 could not be saved" in output
    assert "has no checkpoint" in output
    assert "Traceback" not in output + errors


def test_what_hydra_or_another_can_not_write_is_a_sentence(
    tmp_path: Path, disk: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    disk()
    with pytest.raises(SystemExit) as left, readable_errors(), (tmp_path / "disk" / "config.yaml").open("wb") as file:
        file.write(bytes(100_000))
    assert left.value.code == 2
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit), readable_errors(), alone_in(str(tmp_path / "file")):
        pass
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(f"train.py: a file could not be written: ({FULL}).*", first)
    assert second == f"train.py: {tmp_path}/file is a file: give a folder for the run, hydra.run.dir="


def test_output_that_can_not_be_written_ends_nothing(
    tmp_path: Path, disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train.py > disk/log`: what has been said before is there."""
    with (tmp_path / "disk" / "log").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with lasting_output():
            print("before", flush=True)
            disk()
            for _ in range(10_000):
                print("after", flush=True)
    assert (tmp_path / "disk" / "log").read_text().startswith("before")


def test_a_terminal_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with lasting_output():
            print("nobody reads this", flush=True)


def test_a_failure_is_said_once_and_again_after_a_success(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    for fails in (True, True, False, True):
        with attempt(tmp_path / "file") as writing:
            if fails:
                raise OSError(28, "No space left on device")
        assert writing.failed is fails
    assert caplog.messages == [f"{tmp_path}/file could not be written (No space left on device); training goes on"] * 2
    with pytest.raises(KeyError), attempt("something"):
        raise KeyError  # a defect is no failure to write


@pytest.mark.slow
def test_a_folder_that_vanishes_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    when(80, lambda model: shutil.rmtree(folder), monkeypatch)
    run(common.small("dcgan", folder, *EVERY, "log_every=16"))
    assert f"{folder}/checkpoints/last.ckpt has been removed: it is made again" in caplog.text
    assert read(folder / "checkpoints" / "last.ckpt")["zoo"]["images"] == 128
    assert (folder / "metrics.csv").read_text().count("\n") == 9  # all rows, the earlier ones too
    assert {path.name for path in folder.iterdir()} >= {"report.md", "curves.png", "samples"}
