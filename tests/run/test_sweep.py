"""What a sweeper gets of a run."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from test_config import typed

from zoo.result import Result
from zoo.run import config, sweep

SMALL = ["data=digits", "data.image_size=16", "data.batch_size=16", "model.width=4", "trainer=cpu", "logger=csv"]


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., DictConfig]:
    """A job of a sweep: its configuration, under a sweeper with these settings."""

    def composed(*overrides: str, **sweeper: Any) -> DictConfig:
        config.register_tables()
        with hydra.initialize_config_dir(str(config.CONF), version_base="1.3"):
            cfg = hydra.compose("train", [f"run_dir={tmp_path}", *overrides], return_hydra_config=True)
        with open_dict(cfg):
            cfg.hydra.mode, cfg.hydra.sweeper = RunMode.MULTIRUN, {"_target_": "x", **sweeper}
        HydraConfig.instance().set_config(cfg)
        return cfg

    return composed


def ends(folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None, **result: Any) -> None:
    """Let the next run end so."""

    def run(cfg: DictConfig) -> None:
        if result:
            Result(folder=folder, state="finished", images=3, **result).write()
        if error:
            raise error

    monkeypatch.setattr(sweep, "run", run)


def test_the_best_value_in_the_sweepers_direction(job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(tmp_path, monkeypatch, metric="fid", best=3.0)
    assert sweep.objective(job(direction="minimize")) == 3.0
    assert sweep.objective(job()) == 3.0  # Hydra's basic sweeper has no direction
    with pytest.raises(ValueError, match=r"fid is better where it is lower: give hydra\.sweeper\.direction=minimize"):
        sweep.objective(job(direction="maximize"))
    ends(tmp_path, monkeypatch, metric="psnr", best=30.0, higher_is_better=True)
    assert sweep.objective(job(direction="maximize")) == 30.0
    assert sweep.objective(job(optim={"maximize": True})) == 30.0
    for sweeper in ({"direction": "minimize"}, {"ax_config": {"experiment": {"minimize": True}}}):
        with pytest.raises(ValueError, match="psnr is better where it is higher"):
            sweep.objective(job(**sweeper))
    with pytest.raises(ValueError, match="a run has one value"):
        sweep.objective(job(direction=["minimize", "maximize"]))


def test_a_run_that_diverges_is_worth_nothing_and_the_sweep_goes_on(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(tmp_path, monkeypatch, FloatingPointError("D's loss is nan"), metric="fid", best=3.0)
    assert sweep.objective(job(direction="minimize")) == math.inf
    assert sweep.objective(job(direction="maximize")) == -math.inf
    assert "D's loss is nan" in capsys.readouterr().out


def test_max_time_ends_a_run_and_a_signal_the_sweep(job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(tmp_path, monkeypatch, SystemExit(0), metric="fid", best=3.0)
    assert sweep.objective(job(direction="minimize")) == 3.0
    ends(tmp_path, monkeypatch, SystemExit(143))
    with pytest.raises(SystemExit) as left:
        sweep.objective(job())
    assert left.value.code == 143


def test_without_metrics_there_is_nothing_to_compare(job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(tmp_path, monkeypatch)
    assert sweep.objective(job("metrics=none")) is None
    with pytest.raises(ValueError, match="metrics=none leaves this sweeper nothing to compare"):
        sweep.objective(job("metrics=none", direction="minimize"))


@pytest.mark.slow
def test_a_sweep_survives_a_run_that_diverges_and_ends_with_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["max_images=48", "metrics.num_fake=40", "metrics.num_real=60"]
    typed("-m", *SMALL, *short, "seed=1,2", "model.lr.D=1e-4,1e38", f"hydra.sweep.dir={tmp_path}")
    printed = capsys.readouterr().out
    assert printed.count("the sweep goes on: this run is worth nothing") == 2
    table = printed[printed.rindex("\nrun ") :]
    assert (table.count("finished"), table.count("diverged")) == (2, 2)
    assert "model.lr.D" in table.splitlines()[1]
    assert any(line.startswith("0.0001") and line.endswith(" 2") for line in table.splitlines()), "over seeds"
    assert f"zoo runs {tmp_path}" in table


@pytest.mark.slow
def test_a_run_that_fails_is_said_before_the_next_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    monkeypatch.setattr("zoo.run.sweep.objective", lambda cfg: said.append((cfg.seed, capsys.readouterr().err)))
    with pytest.raises(SystemExit) as left:
        typed("-m", *SMALL, "seed=1,-1,2", f"hydra.sweep.dir={tmp_path}")
    assert left.value.code == 2
    assert [seed for seed, _ in said] == [1, 2]
    assert "train.py: seed=-1 must not be negative" in said[1][1]
    assert f"({' '.join([*SMALL, 'seed=-1'])})" in said[1][1]
    assert not capsys.readouterr().err, "said once"
