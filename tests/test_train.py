"""The command as a user types it, from start to result."""

import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT

FAST = [
    "data=digits",
    "data.image_size=16",
    "data.batch_size=16",
    "model.width=4",
    "max_images=64",
    "metrics.num_fake=40",
]


def test_python_train_py(tmp_path: Path) -> None:
    """With the default logger and no account: everything is in the run's folder, and the last lines say where."""
    command = [sys.executable, "train.py", *FAST, f"hydra.run.dir={tmp_path}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert {
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "samples/000000064.png",
        "metrics.csv",
        "report.md",
        "curves.png",
        ".hydra/config.yaml",
        "wandb",
    } <= made
    assert "64 of 64 images" in result.stdout
    assert "fid_mnist" in result.stdout
    assert "try next:" in result.stdout
    for name in ("report.md", "samples/000000064.png", "checkpoints/best.ckpt"):
        assert name in result.stdout
    assert not result.stderr.strip(), "a quiet run"


@pytest.mark.slow
def test_a_sweep_keeps_its_runs_apart(tmp_path: Path) -> None:
    overrides = ["-m", "model=vanilla,dcgan", "seed=1,2", *FAST[:3], "max_images=32", "metrics=none", "logger=csv"]
    command = [sys.executable, "train.py", *overrides, f"hydra.sweep.dir={tmp_path}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    runs = sorted(path.parent.name for path in tmp_path.glob("*/report.md"))
    assert runs == ["dcgan-digits-2", "dcgan-digits-3", "vanilla-digits-0", "vanilla-digits-1"]
