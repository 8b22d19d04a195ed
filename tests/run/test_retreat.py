"""Training that diverges goes back to a good state, each time further."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common import checkpoint_of_nothing, when
from omegaconf import DictConfig

from train import run
from zoo.run.checkpoint import WholeCheckpointIO, newest, read
from zoo.run.retreat import retreat

Small = Callable[..., DictConfig]
EVERY = "callbacks.checkpoints.every=32"


def checkpoints(folder: Path, **images: int) -> Path:
    for name, n in images.items():
        WholeCheckpointIO().save_checkpoint({"zoo": {"images": n}}, folder / f"{name}.ckpt")
    return folder


def at(path: Path) -> int | None:
    return read(path)["zoo"]["images"] if path.exists() else None


@pytest.mark.parametrize(
    ("images", "well", "began", "chosen", "last", "aside"),
    [
        ({"last": 300, "previous": 200}, 350, None, 300, 300, None),  # half an interval has gone well since
        ({"last": 300, "previous": 200}, 349, None, 200, 200, 300),
        ({"last": 300, "previous": 200, "best": 300}, 310, None, 200, 200, 300),  # the best is as new
        ({"last": 300, "best": 100}, 310, None, 100, None, 300),
        ({"last": 100}, 110, None, None, None, 100),  # nothing older: it begins anew
        ({}, 20, None, None, None, None),
        ({"last": 300, "previous": 200}, 370, 300, 200, 200, 300),  # from where a retry has diverged, none begins again
        ({"last": 300, "previous": 200}, 370, 200, 300, 300, None),  # unless it has got further
        ({"last": 200}, 280, 200, None, None, 200),
        ({"last": 100}, 280, 0, 100, 100, None),
    ],
)
def test_what_a_retry_goes_back_to(
    tmp_path: Path, images: dict[str, int], well: int, began: int | None, chosen: int | None, last: int | None,
    aside: int | None,
) -> None:  # fmt: skip
    path, reached = retreat(checkpoints(tmp_path, **images), well=well, interval=100, began=began)
    assert (at(path) if path else None, reached) == (chosen, chosen or 0)
    assert at(tmp_path / "last.ckpt") == last
    assert at(tmp_path / "diverged.ckpt") == aside
    assert (at(tmp_path / "previous.ckpt") or 0) <= (chosen or 0)  # a run that is resumed finds nothing newer


def test_a_damaged_checkpoint_is_not_gone_back_to(tmp_path: Path) -> None:
    checkpoints(tmp_path, last=300, previous=200)
    (tmp_path / "last.ckpt").write_bytes(b"half")
    assert retreat(tmp_path, well=390, interval=100) == (tmp_path / "last.ckpt", 200)


@pytest.mark.parametrize(
    ("images", "chosen"),
    [
        ({"last": 200, "best": 250}, "best"),
        ({"last": 200, "best": 320, "diverged": 300}, "last"),  # it went back further than to the best
        ({"last": 300, "best": 320, "diverged": 300}, "best"),  # it has got further since
        ({"best": 320, "diverged": 300}, "best"),
    ],
)
def test_what_is_gone_on_with_after_a_divergence(tmp_path: Path, images: dict[str, int], chosen: str) -> None:
    for name, n in images.items():
        WholeCheckpointIO().save_checkpoint(checkpoint_of_nothing(images=n), tmp_path / "checkpoints" / f"{name}.ckpt")
    assert newest(tmp_path).stem == chosen


@pytest.mark.slow
def test_a_run_that_has_retried_before_halves_its_rates_again(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    factors = []

    def blow_up_above(least: float) -> Callable[[Any], None]:
        def act(model: Any) -> None:
            factors.append(model.lr_factor)
            if model.lr_factor > least:
                with torch.no_grad():
                    model.D.apply(lost)

        return act

    when(80, blow_up_above(0.5), monkeypatch)
    run(small("vanilla", EVERY, "divergence_retries=1"))
    when(192, blow_up_above(0.25), monkeypatch)
    trainer = run(small("vanilla", EVERY, "divergence_retries=1", "resume=here", "max_images=256"))
    assert trainer.lightning_module.images == 256  # type: ignore[union-attr]
    assert factors == [1, 0.5, 0.5, 0.25]
    assert "with 0.25 of the learning rates" in capsys.readouterr().out


def blow_up(model: Any) -> None:
    """As a finite step does that was far too large; with lower rates it is not."""
    if model.lr_factor == 1:
        with torch.no_grad():
            for parameter in model.D.parameters():
                parameter.mul_(1e16)


def test_a_checkpoint_is_only_as_good_as_what_follows_it(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Saved just before the step that shows that the weights have blown up: one retry suffices."""
    saved = []
    save = WholeCheckpointIO.save_checkpoint

    def noted(self: Any, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        saved.append(checkpoint["zoo"]["images"])
        if saved.count(64) == 1 and saved[-1] == 64:  # what is in it can't be told from good weights
            for name, value in checkpoint["state_dict"].items():
                if name.startswith("D."):
                    checkpoint["state_dict"][name] = value * 1e16
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(WholeCheckpointIO, "save_checkpoint", noted)
    when(80, blow_up, monkeypatch)
    trainer = run(small("vanilla", EVERY, "divergence_retries=1"))
    assert "retry 1: from image 32, with 0.5 of the learning rates" in capsys.readouterr().out
    assert trainer.lightning_module.images == 128  # type: ignore[union-attr]
    assert all(parameter.abs().max() < 100 for parameter in trainer.lightning_module.parameters())
    assert saved == [32, 64, 64, 96, 128, 128]
    assert not (Path(trainer.default_root_dir) / "checkpoints" / "previous.ckpt").exists()  # all went well


def test_without_retries_too_the_last_checkpoint_is_a_good_one(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    when(80, blow_up, monkeypatch)
    cfg = small("vanilla", EVERY)
    with pytest.raises(FloatingPointError):
        run(cfg)
    assert read(newest(cfg.run_dir))["zoo"]["images"] == 32  # 64 was followed by less than half an interval
    assert at(Path(cfg.run_dir, "checkpoints", "diverged.ckpt")) == 64


@pytest.mark.parametrize("player", ["G", "D"])
def test_a_rate_that_no_halving_cures_leaves_no_useless_checkpoint(
    small: Small, capsys: pytest.CaptureFixture[str], player: str
) -> None:
    """The first step is finite, and its weights are about 1e38: they are never saved."""
    cfg = small("dcgan", f"model.lr.{player}=1e38", "divergence_retries=2", "callbacks.checkpoints.every=16")
    with pytest.raises(FloatingPointError, match="training has diverged"):
        run(cfg)
    assert "retry 2: from the beginning, with 0.25 of the learning rates" in capsys.readouterr().out
    assert not list(Path(cfg.run_dir, "checkpoints").glob("*.ckpt"))


@pytest.mark.slow
def test_a_rate_that_halving_cures(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    """D overflows once its weights reach about 5e8: from image 64 on, half the rate is too much as well."""
    trainer = run(small("dcgan", "model.lr.D=1e8", EVERY, "divergence_retries=2"))
    model: Any = trainer.lightning_module
    assert (model.images, model.lr_factor) == (128, 0.25)
    assert all(value.isfinite().all() for value in model.state_dict().values() if torch.is_tensor(value))
    assert [line[:24] for line in capsys.readouterr().out.splitlines() if line.startswith("retry")] == [
        "retry 1: from image 64, ",
        "retry 2: from image 32, ",
    ]


def test_weights_that_blow_up_in_the_last_step_are_no_result(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = small("vanilla", "callbacks.checkpoints.every=48", "logger=none")
    monkeypatch.setattr("zoo.game.gan.GAN._end_step", lambda self: self.images == 128 and self.G.apply(lost))
    with pytest.raises(FloatingPointError, match=r"G\..* has reached nan, at image 128: training has diverged"):
        run(cfg)
    assert read(newest(cfg.run_dir))["zoo"]["images"] == 48  # what 96 was worth, too little has followed to tell


def lost(module: torch.nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.data.fill_(float("nan"))
