"""What a run keeps of its data and metrics is compared only while they are the same."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

import zoo
from train import run
from zoo.run.callbacks.evaluate import Evaluate
from zoo.run.callbacks.health import Health
from zoo.run.checkpoint import read
from zoo.weights.names import find

Small = Callable[..., DictConfig]
METRICS = ["metrics=mnist", "metrics.num_fake=20"]


def pictures(folder: Path, first: int, *, level: int, number: int = 32) -> Path:
    """Noise around a grey level."""
    folder.mkdir(exist_ok=True)
    for seed in range(first, first + number):
        pixels = np.random.default_rng(seed).integers(level, level + 60, (8, 8), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def first(small: Small, tmp_path: Path) -> Callable[..., Any]:
    """A run of 64 images on folder a with the best at one of two evaluations; gives what goes on with it."""
    a = pictures(tmp_path / "a", 0, level=0)
    pictures(tmp_path / "b", 100, level=190)

    def go(root: str = "a", *overrides: str, images: int) -> L.Trainer:
        data = ["data=folder", f"data.root={tmp_path / root}", "data.channels=1", "data.test_fraction=0.1"]
        resume = ["resume=here"] if (tmp_path / "run").is_dir() else []
        metrics = [] if any(override.startswith("metrics=") for override in overrides) else METRICS
        every = [] if any("evaluate.every" in override for override in overrides) else ["callbacks.evaluate.every=32"]
        return run(small("vanilla", *data, *metrics, *every, *resume, f"max_images={images}", *overrides))

    go(a.name, images=64)
    return go


def checkpoints(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}


def best_of(tmp_path: Path, name: str = "best.ckpt") -> tuple[float, float]:
    """The images of a checkpoint, and the value by which it was chosen."""
    checkpoint = read(tmp_path / "run" / "checkpoints" / name)
    state = next(state for key, state in checkpoint["callbacks"].items() if "Evaluate" in key)
    row = state["history"][-1]
    assert row["images"] == checkpoint["zoo"]["images"]
    return row["images"], row[state["chooses"][0]]


def add_files(tmp_path: Path) -> str:
    pictures(tmp_path / "a", 32, level=90, number=8)
    return "a"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "overrides", "said"),
    [
        (lambda tmp_path: "b", [], "other data"),
        (add_files, [], "other data"),
        (lambda tmp_path: "a", ["data.test_fraction=0.4"], "other data"),
        (lambda tmp_path: "a", ["metrics.num_fake=24"], "other metrics (num_fake, seeds)"),
        (lambda tmp_path: "a", ["metrics=cifar10", "metrics.num_fake=20"], "other metrics (extractor, weights_sha256"),
        (lambda tmp_path: "a", ["metrics.num_real=20"], "other metrics (num_real)"),
    ],
    ids=["root", "files", "test_fraction", "num_fake", "extractor", "num_real"],
)
def test_the_best_begins_anew_on_other_data_or_metrics(
    change: Callable[[Path], str], overrides: list[str], said: str, first: Callable[..., Any], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    images, value = best_of(tmp_path)
    capsys.readouterr()
    evaluate = Evaluate.of(first(change(tmp_path), *overrides, images=128))
    output = capsys.readouterr().out
    aside = f"best-{images:09.0f}.ckpt"
    assert said in output
    assert f": earlier values are not compared; best.ckpt begins anew, the earlier best is {aside}\n" in output
    assert best_of(tmp_path, aside) == (images, value)
    assert evaluate
    assert [row["images"] for row in evaluate.history] == [32, 64, 96, 128]
    name, sign = evaluate.chooses or ("", 0)
    later = evaluate.history[2:]
    assert best_of(tmp_path)[0] == max(later, key=lambda row: sign * row[name])["images"]
    assert zoo.load(tmp_path / "run").images == evaluate.best["images"] > 64
    report = (tmp_path / "run" / "report.md").read_text()
    assert "Other data or metrics from image 64 on: values from before are not compared." in report


@pytest.mark.slow
def test_before_the_next_evaluation_nothing_takes_the_generator_of_other_images(
    first: Callable[..., Any], tmp_path: Path
) -> None:
    """Killed a step after it went on: the newest is the result. Back on its own data the run has its best again."""
    best = best_of(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluate, "on_train_batch_end", killed)
        with pytest.raises(InterruptedError):
            first("b", images=128)
    assert checkpoints(tmp_path) == {f"best-{best[0]:09.0f}.ckpt", "last.ckpt"}
    assert find(tmp_path / "run").name == "last.ckpt"
    first("a", images=64)
    assert checkpoints(tmp_path) == {"best.ckpt", "last.ckpt"}
    assert best_of(tmp_path) == best


def killed(*args: Any) -> None:
    raise InterruptedError


@pytest.mark.slow
@pytest.mark.parametrize("change", ["nothing", "moved"])
def test_the_best_stays_that_of_the_same_images(
    change: str, first: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where their folder has another name."""
    evaluate = Evaluate.of(first("a", images=64))
    assert evaluate
    evaluated = evaluate.history
    if change == "moved":
        shutil.move(tmp_path / "a", tmp_path / "c")
    evaluate = Evaluate.of(first("c" if change == "moved" else "a", images=96))
    assert evaluate
    assert evaluate.first == 0
    assert evaluate.history[:2] == evaluated
    assert best_of(tmp_path)[0] == evaluate.best["images"]
    assert checkpoints(tmp_path) == {"best.ckpt", "last.ckpt"}
    assert "other data" not in (output := capsys.readouterr().out)
    assert "other training images" not in output


@pytest.mark.slow
def test_without_metrics_the_best_of_the_same_images_stays_and_that_of_others_does_not(
    first: Callable[..., Any], tmp_path: Path
) -> None:
    best = best_of(tmp_path)
    trainer = first("a", "metrics=none", images=96)
    assert best_of(tmp_path) == best
    assert "nothing was measured up to image 96" in Path(trainer.default_root_dir, "report.md").read_text()
    evaluate = Evaluate.of(first("a", images=128))  # and back
    assert evaluate
    assert (evaluate.first, [row["images"] for row in evaluate.history]) == (0, [32, 64, 128])

    first("b", "metrics=none", images=160)
    assert "best.ckpt" not in checkpoints(tmp_path)
    assert "## Samples" in (report := (tmp_path / "run" / "report.md").read_text())
    assert "result:" not in report
    evaluate = Evaluate.of(first("b", images=192))
    assert evaluate
    assert [row["images"] for row in evaluate.rows] == [192]
    assert best_of(tmp_path)[0] == 192


@pytest.mark.slow
def test_a_finished_run_is_measured_on_other_images_without_training(first: Callable[..., Any], tmp_path: Path) -> None:
    evaluate = Evaluate.of(first("b", images=64))
    assert evaluate
    assert [row["images"] for row in evaluate.rows] == [64]
    assert best_of(tmp_path) == (64, evaluate.rows[0][evaluate.metric or ""])


@pytest.mark.slow
def test_other_training_images_begin_with_their_first_epoch(
    first: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = first("b", "metrics=none", images=96)
    assert trainer.datamodule.shown == 32
    assert "other training images than this run saw before; they begin anew" in capsys.readouterr().out
    assert first("b", "metrics=none", images=128).datamodule.shown == 64


def test_the_best_of_a_phase_lies_aside_too(tmp_path: Path) -> None:
    """Beside one of the same name, and a file that is no checkpoint stays."""
    callback = evaluating(tmp_path)
    for name in ("best", "best-pixel", "best-000000064"):
        state = {callback.state_key: {"comparable": {"fingerprint": "a", "split": "train"}}}
        torch.save({"zoo": {"images": 64}, "callbacks": state}, callback.path.with_name(f"{name}.ckpt"))
    callback.path.with_name("best-broken.ckpt").write_bytes(b"no checkpoint")
    data = SimpleNamespace(fingerprint=lambda split: "b")
    assert callback._put_aside(data, 64) == ["best-pixel-000000064.ckpt", "best-000000064-2.ckpt"]
    left = {path.name for path in callback.path.parent.iterdir()}
    assert left == {
        *("best-pixel-000000064.ckpt", "best-000000064.ckpt", "best-000000064-2.ckpt", "best-broken.ckpt"),
    }
    assert callback._put_aside(data, 64) == []


@pytest.mark.slow
def test_a_best_that_is_ahead_of_where_a_run_goes_on_lies_aside(
    first: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after training has diverged, and gone back further than to it: it is none of this run's evaluations."""
    folder = tmp_path / "run" / "checkpoints"
    shutil.copy(folder / "last.ckpt", tmp_path / "at-64.ckpt")
    first("a", "callbacks.evaluate.every=null", images=96)
    shutil.copy(folder / "last.ckpt", folder / "best.ckpt")  # whichever was the best
    evaluate = Evaluate.of(first("a", f"resume={tmp_path}/at-64.ckpt", images=80))
    assert evaluate
    assert "best.ckpt was ahead of image 64: it stays as best-000000096.ckpt" in capsys.readouterr().out
    assert read(folder / "best-000000096.ckpt")["zoo"]["images"] == 96
    if evaluate.best["images"] == 80:
        assert best_of(tmp_path) == (80, evaluate.best[evaluate.metric or ""])
    else:
        assert "best.ckpt" not in checkpoints(tmp_path)


def evaluating(folder: Path) -> Evaluate:
    callback = Evaluate(evaluation={}, every=1, patience=None, max_images=1, folder=str(folder))
    callback.path.parent.mkdir()
    return callback


def test_ranks_compare_alike(tmp_path: Path) -> None:
    """The files of another machine may have other times: what rank 0 sees counts."""
    callback = evaluating(tmp_path)
    seen_by_0 = {"fingerprint": "a", "split": "train"}
    callback.history, callback.comparable = [{"images": 64, "fid": 1.0}], dict(seen_by_0)
    strategy = SimpleNamespace(broadcast=lambda value: seen_by_0)
    trainer: Any = SimpleNamespace(world_size=2, is_global_zero=False, strategy=strategy)
    callback._hold_against(SimpleNamespace(fingerprint=lambda split: "b"), trainer, SimpleNamespace(images=64))
    assert (callback.first, callback.comparable) == (0, seen_by_0)


def test_health_compares_no_look_at_other_images() -> None:
    limits = dict.fromkeys(("won", "progress", "diversity", "gap", "duplicates"), 0.5) | {"after": 0, "movement": 1}
    health = Health(every=1, max_images=1, count=1, limits=limits)
    prints = {"train": "a", "test": "t"}
    data = SimpleNamespace(fingerprint=prints.__getitem__)
    health._hold_against(data, None, 0)
    health.history, health.suspected = [{"images": 64}], ["overfitting D"]
    health.said, health.followed = {"overfitting D": "image 64: overfitting"}, {"samples": torch.zeros(1)}

    health._hold_against(data, None, 64)  # the same images: all is kept
    assert (health.first, health.suspected, len(health.followed)) == (0, ["overfitting D"], 1)
    prints["test"] = "u"
    health._hold_against(data, None, 64)
    assert (health.first, health.suspected, health.followed) == (1, [], {})
    assert "overfitting D" not in health.said  # it may be said again
    assert list(health.said.values()) == ["image 64: overfitting"]  # and is still in the report
    health._hold_against(data, None, 80)
    assert health.first == 1


def test_a_value_that_is_not_a_number_is_never_the_best(tmp_path: Path) -> None:
    callback = evaluating(tmp_path)
    callback.chooses = ("fid", -1.0)
    callback.history = [{"images": n, "fid": value} for n, value in ((1, math.nan), (2, 9.0), (3, math.nan))]
    assert callback.best["images"] == 2


@pytest.mark.slow
def test_progress_shows_no_value_of_other_images(first: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    first("b", "callbacks.evaluate.every=1_000", images=160)
    lines = [line for line in capsys.readouterr().out.splitlines() if "of 160 images" in line]
    assert lines
    assert not [line for line in lines if "fid_mnist" in line]


@pytest.mark.slow
def test_files_that_are_touched_in_memory_are_the_same_images(first: Callable[..., Any], tmp_path: Path) -> None:
    for path in (tmp_path / "a").iterdir():
        os.utime(path, (1, 1))
    evaluate = Evaluate.of(first("a", images=96))
    assert evaluate
    assert evaluate.first == 0
