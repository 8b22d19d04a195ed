"""Many processes: a GAN trained on two is the GAN trained on one."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from common import MODELS, ROOT, same

import zoo
from zoo.checkpoint import read
from zoo.strategy import BUCKET_BYTES, buckets

FAST = ["data=digits", "data.image_size=16", "model.width=4", "data.batch_size=16", "trainer=ddp_cpu"]


def run(*command: str, timeout: int = 280) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
    )


@pytest.mark.parametrize("model", MODELS)
def test_two_processes_equal_one(model: str, tmp_path: Path) -> None:
    """Without batch statistics, on the same images and latents; and a turn reduces its player's bytes, once."""
    result = run("tests/many.py", "equality", str(tmp_path), model)
    assert result.returncode == 0, result.stderr
    one, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    assert one["images"] == first["images"] == 80
    assert same(first["state"], second["state"]), "the ranks end alike"
    assert same(first["gradients"], second["gradients"])
    for name, value in one["state"].items():
        if torch.is_tensor(value) and value.is_floating_point():
            torch.testing.assert_close(first["state"][name], value, rtol=1e-3, atol=2e-5, msg=name)
    for name, value in one["gradients"].items():
        torch.testing.assert_close(first["gradients"][name], value, rtol=1e-3, atol=1e-5, msg=name)
    assert first["bytes"] == 5 * sum(first["player_bytes"].values())  # five steps, each player's parameters once


def test_two_processes_resume_bit_for_bit(tmp_path: Path) -> None:
    result = run("tests/many.py", "resume", str(tmp_path), "dcgan")
    assert result.returncode == 0, result.stderr
    straight, broken = (read(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("straight", "broken"))
    for name in ("state_dict", "optimizer_states", "callbacks"):
        assert same(straight[name], broken[name]), name
    assert same(straight["zoo"]["ranks"], broken["zoo"]["ranks"])
    first, second = straight["zoo"]["ranks"]
    assert not torch.equal(first["rng"], second["rng"]), "ranks draw different latents"


def test_the_command_line_of_two_processes(tmp_path: Path) -> None:
    """One folder for all ranks, nothing twice, and the value of its metrics is that of one process."""
    metrics = ["metrics.num_fake=41", "metrics.num_real=61", "metrics.batch_size=8", "logger=csv"]
    result = run("train.py", *FAST, *metrics, "max_images=64", f"hydra.run.dir={tmp_path / 'run'}")
    assert result.returncode == 0, result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert result.stdout.count("try next:") == 1
    assert "2 x cpu" in result.stdout
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    images = [line.split(",")[0] for line in lines[1:]]
    assert len(images) == len(set(images))

    checkpoint = read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert checkpoint["zoo"]["images"] == 64
    history = next(state for name, state in checkpoint["callbacks"].items() if "Evaluate" in name)["history"]
    from typer.testing import CliRunner

    from zoo.cli import app

    path = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    output = CliRunner().invoke(app, ["evaluate", path], catch_exceptions=False).output
    values = dict(line.split(maxsplit=1) for line in output.splitlines()[1:])
    assert float(values["fid_mnist"]) == pytest.approx(history[-1]["fid_mnist"], rel=1e-5)
    assert zoo.load(tmp_path / "run").sample(1).shape == (1, 1, 16, 16)


FAILING = """
import sys
import train
from zoo import config
from zoo.gan import GAN
original = GAN.on_train_batch_start
def start(self, batch, batch_idx):
    original(self, batch, batch_idx)
    if self.trainer.global_rank == {rank} and self.images >= 64:
        raise KeyError("this rank has a bug")
GAN.on_train_batch_start = start
if __name__ == "__main__":
    with config.readable_errors():
        train.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_one_rank_failing_ends_all(rank: int, tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text(FAILING.format(rank=rank))
    begin = time.monotonic()
    result = run(
        str(script),
        "--config-path",
        str(ROOT / "conf"),
        *FAST,
        "metrics=none",
        "logger=none",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert result.returncode != 0
    assert "this rank has a bug" in result.stderr
    assert "Traceback" in result.stderr
    assert time.monotonic() - begin < 200  # the start of two processes on a busy machine, and at most a minute


@pytest.mark.slow
def test_a_strategy_that_wraps_is_refused(tmp_path: Path) -> None:
    overrides = ["trainer=cpu", "trainer.devices=2", "metrics=none", "logger=none", f"hydra.run.dir={tmp_path}"]
    result = run("train.py", *FAST, *overrides)
    assert result.returncode != 0
    assert "can't train players that take turns: use trainer=ddp" in result.stderr


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    result = run("train.py", *FAST, "data.batch_size=15", "metrics=none", "logger=none", f"hydra.run.dir={tmp_path}")
    assert result.returncode != 0
    assert "cannot be shared equally among 2" in result.stderr


def test_buckets_are_of_one_dtype_and_bounded() -> None:
    quarter = BUCKET_BYTES // 16
    tensors = [torch.empty(quarter) for _ in range(6)] + [
        torch.empty(3, dtype=torch.float64),
        torch.empty(10 * quarter),
    ]
    groups = buckets(tensors)
    assert sum(len(group) for group in groups) == len(tensors)
    for group in groups:
        assert len({tensor.dtype for tensor in group}) == 1
        assert len(group) == 1 or sum(t.numel() * t.element_size() for t in group) <= BUCKET_BYTES
