"""Faults, as they happen to real runs: killed while saving, signals, a full disk, divergence, foreign folders."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common import ROOT, checkpoint_of_nothing, when
from omegaconf import DictConfig
from PIL import Image

from train import run
from zoo.game.gan import GAN
from zoo.run.callbacks.interrupt import parse_time
from zoo.run.checkpoint import newest, read
from zoo.run.command import command_line, readable_errors

Small = Callable[..., DictConfig]

KILLER = """
import os, random, signal, sys, tempfile, time
import torch
from zoo.run.checkpoint import WholeCheckpointIO, read
torch.set_num_threads(1)
path, moments = sys.argv[1], random.Random(1)
for kill in range(24):
    tempfile.tempdir = sys.argv[2 + kill % 2]
    child = os.fork()
    if child == 0:
        for n in range(10**9):
            weights = torch.full((300_000,), float(n))
            WholeCheckpointIO().save_checkpoint({"zoo": {"images": n}, "weights": weights}, path)
    while not os.path.exists(path):
        time.sleep(0.001)
    time.sleep(moments.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    checkpoint = read(path)
    assert (checkpoint["weights"] == checkpoint["zoo"]["images"]).all()
print("24 kills", len([name for name in os.listdir(os.path.dirname(path)) if name.endswith(".part")]), "parts")
"""


@pytest.mark.slow
def test_killed_at_random_moments_of_saving(tmp_path: Path) -> None:
    """24 kills, with TMPDIR here and on another file system: the checkpoint in place always loads, and is one state."""
    elsewhere = "/dev/shm" if Path("/dev/shm").is_dir() else str(tmp_path)
    command = [sys.executable, "-c", KILLER, str(tmp_path / "last.ckpt"), str(tmp_path), elsewhere]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "24 kills" in result.stdout
    assert "24 kills 0 parts" not in result.stdout  # some did hit a save


def start(tmp_path: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A run long enough to be interrupted, past its first checkpoint."""
    command = [sys.executable, "train.py", "data=digits", "data.image_size=16", "model.width=4", "data.batch_size=16"]
    command += ["metrics=none", "logger=csv", "max_images=10_000_000", "callbacks.checkpoints.every=500"]
    process = subprocess.Popen(
        [*command, f"hydra.run.dir={tmp_path}", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 180
    while not (tmp_path / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
    return process


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_leaves(tmp_path: Path, number: int, status: int) -> None:
    process = start(tmp_path)
    before = read(tmp_path / "checkpoints" / "last.ckpt")["zoo"]["images"]
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    saved = read(newest(tmp_path))["zoo"]["images"]
    assert saved >= before
    assert f"saved at image {saved:,}; to go on: python train.py resume=" in output
    assert "Traceback" not in output


def test_max_time_saves_and_leaves(small: Small) -> None:
    cfg = small("dcgan", "max_images=10_000_000", "max_time=00:00:01")
    with pytest.raises(SystemExit) as left:
        run(cfg)
    assert left.value.code == 0
    assert read(newest(cfg.run_dir))["zoo"]["images"] > 0


def test_times() -> None:
    assert parse_time("01:30:05") == 5405
    with pytest.raises(ValueError, match="max_time=90 must be HH:MM:SS"):
        parse_time("90")


def test_a_full_disk_leaves_the_earlier_checkpoint_and_training_goes_on(
    small: Small, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = small("dcgan", "max_images=160", "callbacks.checkpoints.every=32")
    save, calls = torch.save, []

    def sometimes_full(content: Any, file: Any, **kwargs: Any) -> None:
        calls.append(content["zoo"]["images"])
        if content["zoo"]["images"] == 64:
            assert read(newest(cfg.run_dir))["zoo"]["images"] == 32
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        save(content, file, **kwargs)

    monkeypatch.setattr(torch, "save", sometimes_full)
    run(cfg)
    assert calls[:3] == [32, 64, 96]
    assert "No space left on device" in caplog.text
    assert "the earlier file there is intact; training goes on" in caplog.text
    assert [p.name for p in Path(cfg.run_dir, "checkpoints").iterdir()] == ["last.ckpt"]


def diverging_at(images: int, above: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """From so many images on, G's loss is NaN while its learning-rate factor is above a value."""
    step = GAN.turn

    def turn(self: GAN, player: str, **kwargs: Any) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def poisoned() -> Any:
            with step(self, player, **kwargs) as minimize:
                bad = player == "G" and self.images >= images and self.lr_factor > above

                def maybe(**terms: Any) -> None:
                    minimize(**{name: term * float("nan") if bad else term for name, term in terms.items()})

                yield maybe

        return poisoned()

    monkeypatch.setattr(GAN, "turn", turn)


def test_nan_stops_at_that_step_and_keeps_the_last_good_checkpoint(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    diverging_at(96, 0.0, monkeypatch)
    cfg = small("dcgan", "callbacks.checkpoints.every=32")
    with pytest.raises(SystemExit), readable_errors():
        run(cfg)
    assert "train.py: G/adversarial is nan, at image 96: training has diverged" in capsys.readouterr().err
    checkpoint = read(newest(cfg.run_dir))
    assert checkpoint["zoo"]["images"] == 64
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values() if torch.is_tensor(value))


@pytest.mark.slow
def test_divergence_retries_go_on_with_lower_rates(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    diverging_at(96, 0.5, monkeypatch)
    cfg = small("dcgan", "callbacks.checkpoints.every=32", "divergence_retries=1")
    trainer = run(cfg)
    assert trainer.lightning_module.images == 128  # type: ignore[union-attr]
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0001)
    assert "retry 1: from image 64, with 0.5 of the learning rates" in capsys.readouterr().out


@pytest.mark.slow
def test_resume_repeats_the_settings_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    older, newer = (Path("outputs", "dcgan-mnist5k", name) for name in ("2026-01-01", "2026-01-02"))
    for run_folder, time_ in ((older, 100), (newer, 200)):
        (run_folder / ".hydra").mkdir(parents=True)
        (run_folder / ".hydra" / "overrides.yaml").write_text("- model=dcgan\n- seed=3\n")
        (run_folder / "checkpoints").mkdir()
        torch.save(checkpoint_of_nothing(), run_folder / "checkpoints" / "last.ckpt")
        os.utime(run_folder / "checkpoints" / "last.ckpt", (time_, time_))
    assert command_line([f"resume={older}", "max_images=9"]) == [
        "model=dcgan",
        "seed=3",
        "max_images=9",
        f"resume='{older}'",
        f"hydra.run.dir='{older}'",
    ]
    assert command_line([f"resume={older}", "seed=4"])[:2] == ["model=dcgan", "seed=4"]
    again = command_line([f"resume={older}"])
    assert command_line(again) == again  # a launcher starts the other ranks with the same line
    assert f"hydra.run.dir='{newer}'" in command_line(["seed=3", "model=dcgan", "resume=auto"])
    assert command_line(["seed=5", "resume=auto"]) == ["seed=5"]
    with pytest.raises(ValueError, match=r"resume=nowhere is no run's folder"):
        command_line(["resume=nowhere"])


def test_a_process_that_reads_data_is_killed(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    for index in range(200):
        Image.new("L", (16, 16), index).save(tmp_path / "images" / f"{index}.png")
    streamed = ["data.channels=1", "data.num_workers=1", "data.memory_limit_mb=0", "data.cache=false"]
    cfg = small("dcgan", "data=folder", f"data.root={tmp_path}/images", *streamed, "logger=none")

    def kill(model: Any) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
            child.join()

    when(32, kill, monkeypatch)
    with pytest.raises(SystemExit) as left, readable_errors():
        run(cfg)
    assert left.value.code == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("train.py: a process that reads data has ended (DataLoader worker (pid")
    assert "lower data.num_workers or data.batch_size; resume=RUN goes on" in sentence


def test_out_of_memory_suggests_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), readable_errors():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    assert "lower data.batch_size" in capsys.readouterr().err
