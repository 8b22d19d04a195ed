"""No run lost: what is interrupted and resumed is bit for bit what runs straight through, for every model."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from common import MODELS, same
from omegaconf import DictConfig

from train import run
from zoo.game.gan import GAN
from zoo.run.callbacks.evaluate import Evaluate
from zoo.run.checkpoint import newest, read
from zoo.run.command import readable_errors
from zoo.run.loggers import WeightsAndBiases

Small = Callable[..., DictConfig]


class Stop(L.Callback):
    """Dies like a killed process, after so many images, whatever has been saved by then."""

    def __init__(self, images: int) -> None:
        self.images = images

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: GAN, *args: Any) -> None:  # type: ignore[override]
        if pl_module.images >= self.images:
            raise InterruptedError


def state(cfg: DictConfig) -> dict[str, Any]:
    checkpoint = read(f"{cfg.run_dir}/checkpoints/last.ckpt")
    checkpoint["zoo"].pop("config")  # names the run's folder
    return {name: value for name, value in checkpoint.items() if name not in ("loops", "epoch", "global_step")}


def rows(cfg: DictConfig) -> list[dict[str, str]]:
    with Path(cfg.run_dir, "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# In the second epoch of 1,440 images, after a checkpoint; for one model also in the first, and just before one.
QUICK = ["dcgan"]
OTHERS = [pytest.param(m, 1_616, marks=pytest.mark.slow) for m in MODELS if m not in QUICK]


@pytest.mark.parametrize(
    ("model", "killed_at"),
    [
        *((m, 1_616) for m in QUICK),
        *OTHERS,
        *(pytest.param("dcgan", at, marks=pytest.mark.slow) for at in (700, 1_500)),
    ],
)
def test_a_resumed_run_is_the_straight_one(
    model: str, killed_at: int, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimizers, average, metrics' history, every curve, the random states and the position in the data."""
    settings = ["max_images=2_000", "callbacks.checkpoints.every=400", "callbacks.evaluate.every=640"]
    settings += ["log_every=300", "metrics=mnist", "metrics.num_fake=20", "metrics.num_real=30"]
    straight = small(model, *settings, f"run_dir={tmp_path / 'straight'}")
    run(straight)

    broken = small(model, *settings, f"run_dir={tmp_path / 'broken'}")
    with monkeypatch.context() as patch:
        patch.setattr(L.Trainer, "__init__", with_callback(Stop(killed_at), L.Trainer.__init__))
        with pytest.raises(InterruptedError):
            run(broken)
    assert newest(broken.run_dir)
    broken.resume = "here"
    run(broken)

    a, b = state(straight), state(broken)
    for part in a:
        assert same(a[part], b[part]), part
    assert rows(straight) == rows(broken)


@pytest.mark.slow
def test_a_run_that_is_killed_at_its_end_does_not_train_again(small: Small, tmp_path: Path) -> None:
    """Killed in the evaluation at the end, and resumed: the straight run; resumed once more: nothing changes."""
    settings = ["metrics=mnist", "metrics.num_fake=20", "metrics.num_real=30", "callbacks.checkpoints.every=64"]
    straight = small("vanilla", *settings, f"run_dir={tmp_path / 'straight'}")
    run(straight)
    broken = small("vanilla", *settings, "callbacks.evaluate.every=1_000")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluate, "on_train_end", die)
        with pytest.raises(InterruptedError):
            run(broken)
    broken.resume = "here"
    for _ in range(2):
        run(broken)
        checkpoint = read(f"{broken.run_dir}/checkpoints/last.ckpt")
        assert checkpoint["zoo"]["images"] == 128
        assert same(checkpoint["state_dict"], read(f"{straight.run_dir}/checkpoints/last.ckpt")["state_dict"])


def die(*args: Any) -> None:
    raise InterruptedError


@pytest.mark.slow
def test_rates_given_on_resume_count(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    run(small("vanilla", "max_images=64"))
    trainer = run(small("vanilla", "resume=here", "model.lr.D=1e-5", "model.betas=[0.3,0.9]"))
    group = trainer.optimizers[0].param_groups[0]
    assert (group["lr"], tuple(group["betas"])) == (1e-5, (0.3, 0.9))
    output = capsys.readouterr().out
    assert "going on with other settings: max_images 64 -> 128, " in output
    assert ", model.lr.D 0.0002 -> 1e-05, " in output
    assert "learning rates at image 64: D's from 0.0002 to 1e-05\n" in output


@pytest.mark.slow
def test_a_rate_that_jumps_is_said(small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`decay_end` follows the budget: at the end of a shorter one the rate was lower. Rates that go on are no news."""
    falling = ["model.decay_start=16", f"run_dir={tmp_path / 'run'}"]
    run(small("vanilla", *falling, "max_images=48"))
    run(small("vanilla", *falling, "max_images=80", "resume=here"))
    output = capsys.readouterr().out
    assert "model.decay_end 48 -> 80" in output
    assert "callbacks.evaluate.every, callbacks.health.every, callbacks.checkpoints.every 4 -> 8" in output
    assert "learning rates at image 48: D's from 0 to 0.0001, G's from 0 to 0.0001\n" in output
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(L.Trainer, "__init__", with_callback(Stop(112), L.Trainer.__init__))
        with pytest.raises(InterruptedError):
            run(small("vanilla", *falling, "max_images=144", "resume=here"))
    capsys.readouterr()
    run(small("vanilla", *falling, "max_images=144", "resume=here"))
    assert "learning rates" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_finished_run_goes_on_with_a_larger_budget_and_other_metrics(small: Small, tmp_path: Path) -> None:
    """The straight run's weights, though the last row of its books was written at its end; the best is of one kind."""
    counts, settings = ["metrics.num_fake=20", "metrics.num_real=30"], ["log_every=16", "model.decay_end=96"]
    straight = run(small("vanilla", *settings, "max_images=96", f"run_dir={tmp_path / 'straight'}")).lightning_module
    run(small("vanilla", *settings, "max_images=64", "metrics=mnist", *counts))
    trainer = run(small("vanilla", *settings, "max_images=96", "metrics=cifar10", *counts, "resume=here"))
    assert same(trainer.lightning_module.state_dict(), straight.state_dict())
    evaluate = next(c for c in trainer.callbacks if isinstance(c, Evaluate))  # type: ignore[attr-defined]
    assert evaluate.metric == "fid_cifar10"
    assert "fid_cifar10" in evaluate.best


@pytest.mark.slow
def test_another_model_s_checkpoint_is_a_sentence(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    run(small("vanilla", "max_images=32"))
    with pytest.raises(SystemExit), readable_errors():
        run(small("vanilla", "resume=here", "model.hidden=[8,16]"))
    assert "last.ckpt is of another model than these settings make" in capsys.readouterr().err


@pytest.mark.slow
def test_a_resumed_run_is_the_same_run_of_weights_and_biases(small: Small) -> None:
    run(small("vanilla", "logger=wandb", "logger.wandb.name=x", "max_images=64"))
    wandb = Path(small("vanilla").run_dir, "wandb")
    first = (wandb / "run-id").read_text()
    run(small("vanilla", "logger=wandb", "logger.wandb.name=x", "resume=here"))
    assert (wandb / "run-id").read_text() == first
    # offline-run-<time>-<run>, and a number behind it where both began in the same second.
    assert {folder.name.split("-")[3] for folder in wandb.glob("offline-run-*")} == {first}


@pytest.mark.slow
def test_the_summary_of_weights_and_biases_has_the_best_after_a_resume_too(small: Small, tmp_path: Path) -> None:
    settings = ["metrics=mnist", "metrics.num_fake=20", "metrics.num_real=30", "callbacks.evaluate.every=32"]
    settings += ["logger=wandb", "logger.wandb.name=x"]
    run(small("vanilla", *settings, "max_images=64", "model.lr.G=0.05"))
    with pytest.MonkeyPatch.context() as patch:
        told: list[dict[str, float]] = []
        patch.setattr(WeightsAndBiases, "summarise", lambda self, best, chosen_by: told.append(best))
        trainer = run(small("vanilla", *settings, "max_images=96", "resume=here", "model.lr.G=0.05"))
    evaluate = Evaluate.of(trainer)
    assert evaluate
    best = min(evaluate.history, key=lambda row: row["fid_mnist"])
    low, high = evaluate.intervals_of(best)["fid_mnist"]
    assert low < best["fid_mnist"] < high
    assert [told[0][name] for name in ("fid_mnist_low", "fid_mnist_high")] == [low, high]
    assert {name: value for name, value in told[0].items() if not name.endswith(("_low", "_high"))} == best
    assert len(told) == 1


def with_callback(callback: L.Callback, init: Callable[..., None]) -> Callable[..., None]:
    def patched(self: L.Trainer, *args: Any, callbacks: Any = None, **kwargs: Any) -> None:
        init(self, *args, callbacks=[*(callbacks or []), callback], **kwargs)

    return patched
