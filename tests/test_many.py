"""Many processes: a GAN trained on two is the GAN trained on one."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from common import MODELS, ROOT, digits_in_shards, needs, same, some_slow
from omegaconf import DictConfig

import zoo
from train import run as train
from zoo.run.checkpoint import read

FAST = ["data=digits", "data.image_size=16", "model.width=4", "data.batch_size=16", "trainer=ddp_cpu"]


def run(*command: str, timeout: int = 280) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
    )


@pytest.mark.parametrize("model", some_slow(MODELS, "dcgan"))
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
    assert first["bytes"] == {player: first["turns"][player] * size for player, size in first["player_bytes"].items()}
    turns = first["turns"]
    assert max(turns.values()) == 5 or turns["D"] + turns["E"] == 5  # in five steps, or of an encoder after those of D
    assert first["all"] - sum(first["bytes"].values()) < 1000  # nothing else but the books' few numbers


@pytest.mark.slow
@pytest.mark.parametrize("model", some_slow(["dcgan", "stylegan_lite"], "stylegan_lite"))
def test_gradients_that_leave_during_the_pass_are_the_same(model: str, tmp_path: Path) -> None:
    """Bit for bit those that are averaged one by one after it, and ranks send the same in the same order."""
    result = run("tests/many.py", "exchange", str(tmp_path), model)
    assert result.returncode == 0, result.stderr
    during, after = (read(tmp_path / way / "checkpoints" / "last.ckpt") for way in ("during", "after"))
    for name in ("state_dict", "optimizer_states"):
        assert same(during[name], after[name]), name
    first, second = (torch.load(tmp_path / "during" / f"sent{rank}.pt") for rank in (0, 1))
    assert first == second
    ways = [way for _, way in first]
    assert ways.count("during") > 40


@pytest.mark.slow
@pytest.mark.parametrize("model", some_slow(["cyclegan", "dcgan", "pix2pix", "stylegan_lite"], "cyclegan"))
def test_two_processes_resume_bit_for_bit(model: str, tmp_path: Path) -> None:
    """What each rank keeps for itself included: CycleGAN's histories, pix2pix's stream of dropout."""
    result = run("tests/many.py", "resume", str(tmp_path), model)
    assert result.returncode == 0, result.stderr
    straight, broken = (read(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("straight", "broken"))
    for name in ("state_dict", "optimizer_states", "callbacks"):
        assert same(straight[name], broken[name]), name
    assert same(straight["zoo"]["ranks"], broken["zoo"]["ranks"])
    first, second = straight["zoo"]["ranks"]
    assert not torch.equal(first["rng"], second["rng"]), "ranks draw different latents"
    if model == "cyclegan":
        assert [len(rank["own"]["x"]) for rank in (first, second)] == [10, 10]
        assert not same(first["own"], second["own"])
    if model == "pix2pix":
        assert not torch.equal(first["torch"], second["torch"])


@pytest.mark.slow
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
    assert float(values["fid_mnist"].split()[0]) == pytest.approx(history[-1]["fid_mnist"], rel=1e-5)
    assert zoo.load(tmp_path / "run").sample(1).shape == (1, 1, 16, 16)


@pytest.mark.slow
def test_what_is_infinite_on_one_rank_ends_all_at_that_step(tmp_path: Path) -> None:
    """Each rank sees it, also where the gradient is finite, so none waits for the other."""
    result = run("tests/many.py", "diverge", str(tmp_path), "vanilla", timeout=120)
    assert result.returncode != 0
    said = {(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)}
    assert len(said) == 1
    assert said.pop().startswith("D/adversarial is inf on rank 1, at image 48: training has diverged")


@pytest.mark.slow
def test_two_processes_begin_with_the_same_weights(tmp_path: Path) -> None:
    result = run("tests/many.py", "start", str(tmp_path), "vanilla")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("carried over are G whole, D whole") == 1
    before, after = (read(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("first", "run"))
    held, moved = "D.1.weight", "D.3.weight"
    assert torch.equal(after["state_dict"][held], before["state_dict"][held])
    assert not torch.equal(after["state_dict"][moved], before["state_dict"][moved])
    assert (after["state_dict"][moved] - before["state_dict"][moved]).abs().max() < 0.01  # three steps of 2e-4


@pytest.mark.slow
def test_a_full_disk_holds_up_no_rank(tmp_path: Path) -> None:
    result = run("tests/many.py", "full_disk", str(tmp_path), "vanilla", timeout=120)
    assert result.returncode == 0, result.stderr
    assert "No space left on device" in result.stderr + result.stdout
    assert read(tmp_path / "run" / "checkpoints" / "last.ckpt")["zoo"]["images"] == 128


@pytest.mark.slow
def test_ranks_that_disagree_end_with_names(tmp_path: Path) -> None:
    """One rank skips a turn that the other makes: an error on both instead of a hang."""
    result = run("tests/many.py", "disagree", str(tmp_path), "vanilla", timeout=120)
    assert result.returncode != 0
    said = [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)]
    assert said[0].startswith("in D's turn only some ranks have gradients for D.")
    assert said[1].startswith("in G's turn only some ranks have gradients for D.")
    assert all("every rank must take the same decisions" in message for message in said)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.slow
def test_torchrun_and_resume_on_fewer_processes(tmp_path: Path) -> None:
    """Two ranks of torchrun share one folder, resume in it, and one process goes on with a sentence."""
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    quick = ["metrics=none", "logger=csv", "callbacks.checkpoints.every=32"]
    folder = tmp_path / "run"
    first = run(*torchrun, "train.py", *FAST, *quick, "max_images=64", f"hydra.run.dir={folder}")
    assert first.returncode == 0, first.stderr
    assert "2 x cpu" in first.stdout
    second = run(*torchrun, "train.py", f"resume={folder}", "max_images=96")
    assert second.returncode == 0, second.stderr
    assert "bit for bit" not in second.stdout
    third = run("train.py", f"resume={folder}", "max_images=128", "trainer=cpu")
    assert third.returncode == 0, third.stderr
    assert "resuming a run of 2 processes on 1" in third.stdout
    assert "not bit for bit" in third.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert read(folder / "checkpoints" / "last.ckpt")["zoo"]["images"] == 128
    images = [line.split(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()[1:]]
    assert images == sorted(set(images), key=int)


@pytest.mark.slow
def test_two_processes_train_on_shards_and_go_on_bit_for_bit(tmp_path: Path) -> None:
    """Read by workers of each rank, from an index that was made once for all."""
    digits_in_shards(tmp_path / "set")
    settings = ["model=cgan", "data=labelled_folder", f"data.root={tmp_path}/set/{{0..2}}.tar", "data.channels=1"]
    settings += ["data.memory_limit_mb=0", "data.cache=false", "data.num_workers=1", f"cache_dir={tmp_path}/cache"]
    settings += [*FAST[1:], "metrics=none", "logger=csv"]
    for name, images in (("straight", 96), ("broken", 48)):
        result = run("train.py", *settings, f"max_images={images}", f"hydra.run.dir={tmp_path / name}")
        assert result.returncode == 0, result.stderr
        assert "labelled_folder: 48 training images, 16x16, 1 channel, 10 classes" in result.stdout
        assert "; 3 shards" in result.stdout
    (index,) = (tmp_path / "cache" / "shards").iterdir()
    made = index.stat().st_mtime_ns
    result = run("train.py", f"resume={tmp_path / 'broken'}", "max_images=96")
    assert result.returncode == 0, result.stderr
    assert index.stat().st_mtime_ns == made
    straight, broken = (read(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("straight", "broken"))
    for name in ("state_dict", "optimizer_states", "LabelledImageFolder"):
        assert same(straight[name], broken[name]), name


@pytest.mark.slow
def test_the_slurm_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs on two machines each, by SLURM's own commands as far as tests/slurm imitates them."""
    needs("submitit")
    monkeypatch.setenv("PATH", f"{ROOT / 'tests' / 'slurm'}:{os.environ['PATH']}")
    slurm = ["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=0", f"hydra.sweep.dir={tmp_path}"]
    slurm += ["trainer.devices=1", "trainer.num_nodes=2"]
    result = run("train.py", "-m", *FAST, *slurm, "metrics=none", "logger=csv", "max_images=64", "seed=1,2")
    assert result.returncode == 0, result.stderr
    for job in ("dcgan-digits-0", "dcgan-digits-1"):
        assert "2 x cpu" in (tmp_path / job / "report.md").read_text()
        assert len(read(tmp_path / job / "checkpoints" / "last.ckpt")["zoo"]["ranks"]) == 2


@pytest.mark.slow
def test_a_job_that_is_queued_again_goes_on(small: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    train(small("vanilla"))
    with pytest.raises(ValueError, match="holds a run already"):
        train(small("vanilla", "max_images=160"))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    trainer = train(small("vanilla", "max_images=160"))
    assert trainer.lightning_module.images == 160  # type: ignore[union-attr]


FAILING = """
import sys
import train
from zoo.run import command
from zoo.game.gan import GAN
original = GAN.on_train_batch_start
def start(self, batch, batch_idx):
    original(self, batch, batch_idx)
    if self.trainer.global_rank == {rank} and self.images >= 64:
        raise KeyError("this rank has a bug")
GAN.on_train_batch_start = start
if __name__ == "__main__":
    with command.readable_errors():
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
    assert "trainer.devices=2 are several processes: use trainer=ddp" in result.stderr


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    result = run("train.py", *FAST, "data.batch_size=15", "metrics=none", "logger=none", f"hydra.run.dir={tmp_path}")
    assert result.returncode != 0
    assert "cannot be shared equally among 2" in result.stderr
