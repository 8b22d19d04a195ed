"""Callbacks of Lightning's and of one's own: those that would never act are refused before any time is spent."""

import csv
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from common import needs
from lightning.pytorch import callbacks as lightning
from lightning.pytorch.profilers import PassThroughProfiler
from omegaconf import DictConfig, OmegaConf

import train
from zoo.run.callbacks.others import hold_to_the_loop
from zoo.run.command import command_line, readable_errors

Small = Callable[..., DictConfig]


class Stopping(lightning.EarlyStopping):
    """A subclass of one that can't act."""


class OfValidation(L.Callback):
    def setup(self, *args: Any, **kwargs: Any) -> None: ...

    def on_validation_end(self, *args: Any) -> None: ...

    def on_save_checkpoint(self, *args: Any) -> None: ...


class OfEpochs(L.Callback):
    def on_train_epoch_end(self, *args: Any) -> None: ...


class OfBatches(L.Callback):
    def on_train_batch_end(self, *args: Any) -> None: ...

    def on_validation_end(self, *args: Any) -> None: ...


class Writer(lightning.BasePredictionWriter): ...


@pytest.mark.parametrize(
    ("callback", "sentence"),
    [
        (lambda: lightning.EarlyStopping("fid_mnist"), r"EarlyStopping, .*callbacks\.evaluate\.patience="),
        (lambda: Stopping("fid_mnist"), r"callbacks\.mine, Stopping, .*callbacks\.evaluate\.patience="),
        (lambda: lightning.ModelCheckpoint(monitor="fid_mnist"), r"callbacks\.checkpoints\.keep_every="),
        (lightning.ModelCheckpoint, r"callbacks\.checkpoints\.keep_every="),
        (lightning.LearningRateMonitor, "D/lr and G/lr"),
        (lightning.LearningRateFinder, r"model\.lr\.D="),
        (lightning.BatchSizeFinder, r"data\.batch_size="),
        (lambda: lightning.GradientAccumulationScheduler({0: 2}), r"data\.batch_size="),
        (lambda: lightning.StochasticWeightAveraging(1e-3), r"model\.ema_half_life="),
        (lightning.EMAWeightAveraging, r"model\.ema_half_life="),
        (lightning.BackboneFinetuning, r"model\.lr\.D=0"),
        (lambda: lightning.ModelPruning("l1_unstructured"), "prune the generator after training"),
        (lightning.SpikeDetection, r"model\.clip_norm="),
        (lightning.RichProgressBar, r"callbacks\.progress"),
        (lightning.TQDMProgressBar, r"callbacks\.progress"),
        (lambda: lightning.Timer("00:01:00:00", interval="epoch"), "interval: step"),
        (Writer, "acts in on_predict_batch_end and on_predict_epoch_end alone"),
        (OfValidation, "acts in on_validation_end alone, which never comes"),
        (lambda: lightning.LambdaCallback(on_validation_end=print), "acts in on_validation_end alone"),
        (dict, r"callbacks\.mine is a dict, which is no lightning\.Callback"),
    ],
)
def test_what_would_never_act_is_refused_with_what_serves_instead(callback: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        hold_to_the_loop({"mine": callback()})


@pytest.mark.parametrize(
    "callback",
    [
        lightning.DeviceStatsMonitor,
        lightning.ModelSummary,
        lambda: lightning.Timer("00:01:00:00"),
        lambda: lightning.OnExceptionCheckpoint("."),
        lambda: lightning.LambdaCallback(on_train_batch_end=print),
        OfBatches,
        L.Callback,
    ],
)
def test_what_acts_stays(callback: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> None:
    hold_to_the_loop({"mine": callback()})
    assert not capsys.readouterr().out


def test_one_for_epochs_is_told_that_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    hold_to_the_loop({"mine": OfEpochs()})
    assert "callbacks.mine acts by epochs, and a run is one" in capsys.readouterr().out


def test_early_stopping_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = "+callbacks.stop={_target_: lightning.pytorch.callbacks.early_stopping.EarlyStopping, monitor: fid_mnist}"
    given = ["model=vanilla", "data=digits", "logger=csv", f"hydra.run.dir={tmp_path}", stop]
    monkeypatch.setattr(sys, "argv", ["train.py", *command_line(given)])
    with pytest.raises(SystemExit) as left, readable_errors():
        train.main()
    assert left.value.code == 2
    assert "train.py: callbacks.stop, EarlyStopping, can't act" in capsys.readouterr().err
    assert not list(tmp_path.glob("checkpoints/*"))


@pytest.mark.slow
def test_lightning_s_own_rows_are_on_the_axis_of_images(small: Small) -> None:
    needs("psutil")
    cfg = small("vanilla", "max_images=64")
    monitor = {"_target_": "lightning.pytorch.callbacks.DeviceStatsMonitor", "cpu_stats": True}
    OmegaConf.update(cfg, "callbacks.load", monitor, force_add=True)
    train.run(cfg)
    with Path(cfg.run_dir, "metrics.csv").open(newline="") as file:
        images = [int(row["images"]) for row in csv.DictReader(file)]
    assert images == sorted(images)
    assert {16, 32, 48, 64} <= set(images)


class OfTurns(L.Callback):
    def on_after_backward(self, *args: Any) -> None: ...


def test_around_a_turn_only_hooks_that_act_are_called(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning calls empty ones too, those of all callbacks: that cost more than those that act."""
    called: list[str] = []
    monkeypatch.setattr(PassThroughProfiler, "start", lambda self, action: called.append(action))
    cfg = small("vanilla", "max_images=64")
    OmegaConf.update(cfg, "callbacks.mine", {"_target_": f"{__name__}.OfTurns"}, force_add=True)
    train.run(cfg)
    around = [name for name in called if re.search(r"\.on_\w+_(backward|optimizer_step)", name)]
    steps = called.count("[LightningModule]VanillaGAN.on_train_batch_start")
    assert steps == 4
    assert around == ["[Callback]OfTurns.on_after_backward"] * 2 * steps
