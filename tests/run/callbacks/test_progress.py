"""What a run says at its start."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from common import small

from train import run
from zoo.batch import LabelledImages
from zoo.run import sizes
from zoo.run.callbacks import Every
from zoo.run.callbacks.evaluate import Evaluate
from zoo.run.callbacks.progress import ImageProgress, in_time, still

HINT = "these widths are for a CPU: scale=medium or scale=paper suit this machine\n"


def test_a_run_says_what_it_builds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(small("dcgan", tmp_path, "max_images=32", "logger=none"))
    said = capsys.readouterr().out
    assert "DCGAN, scale small\n" in said
    for name in ("D", "G"):
        lines = [line for line in said.splitlines() if line.startswith(f"{name} ")]
        assert len(lines) == 1, "once, and none for the average"
        assert lines[0].endswith(" parameters, channels 8 (4x4), 4 (8x8)")
    assert HINT not in said


@pytest.mark.parametrize(
    ("device", "scale", "hint"), [("cuda", "small", HINT), ("cuda", "medium", ""), ("cpu", "small", "")]
)
def test_a_gpu_with_networks_for_a_cpu(
    device: str, scale: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sizes, "in_words", lambda model, batch: [f"G of {len(batch.image)}"])
    model = SimpleNamespace(device=torch.device(device), config={"scale": scale})
    progress = ImageProgress(max_images=1)
    progress._networks_said = False
    batch = LabelledImages(torch.zeros(3, 1, 8, 8), torch.zeros(3, dtype=torch.int64), torch.arange(3))
    for step in range(2):
        progress.on_train_batch_start(None, model, batch, step)  # type: ignore[arg-type]
    assert capsys.readouterr().out == f"G of 1\n{hint}"


def test_a_log_has_the_time_left_soon_and_then_every_tenth(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tenth of a long run may be an hour: who looks into the log of a job need not wait for it."""
    clock = [0.0]
    monkeypatch.setattr("zoo.run.callbacks.progress.time.perf_counter", lambda: clock[0])
    progress = ImageProgress(max_images=1_000)
    trainer: Any = SimpleNamespace(
        callbacks=[], world_size=1, default_root_dir="x", datamodule=SimpleNamespace(description="digits")
    )
    model: Any = SimpleNamespace(
        images=0, device=torch.device("cpu"), config={}, run_log=SimpleNamespace(latest={"G/adversarial": 1.0})
    )
    monkeypatch.setattr("zoo.run.callbacks.progress.Evaluate.of", lambda trainer: None)
    progress.on_train_start(trainer, model)
    capsys.readouterr()
    for model.images in range(10, 301, 10):
        clock[0] += 10
        progress.on_train_batch_end(trainer, model)
    said = capsys.readouterr().out.splitlines()
    assert [int(line.split(" of ")[0]) for line in said] == [30, 100, 200, 300]
    assert "16.2 min left" in said[0]


def test_the_time_left_counts_what_is_done_beside_training() -> None:
    """Of 1,000 images 300 were shown: 3 s of training, and 3 evaluations of 20, 10 and 10 s."""
    samples, evaluations = Every(100, max_images=1_000), Every(100, max_images=1_000)
    for every, seconds in ((samples, [1.0, 1.0, 1.0]), (evaluations, [20.0, 10.0, 10.0])):
        for images in range(20, 301, 20):
            every(images)
        every.seconds += seconds
    trainer: Any = SimpleNamespace(callbacks=[SimpleNamespace(every=samples), SimpleNamespace(every=evaluations), 3])
    trainer.callbacks.append(SimpleNamespace(every=None))
    assert (samples.ahead, evaluations.ahead) == (7, 7)
    assert still(trainer, shown=300, left=700, seconds=46.0) == (pytest.approx(7 + 7 * 1 + 7 * 10), 0)


def test_before_the_first_evaluation_its_time_is_not_known(tmp_path: Path) -> None:
    evaluate = Evaluate(evaluation=None, every=300, patience=None, max_images=1_000, folder=str(tmp_path))
    trainer: Any = SimpleNamespace(callbacks=[evaluate])
    assert still(trainer, shown=100, left=900, seconds=1.0) == (pytest.approx(9.0), 0)  # metrics=none
    evaluate.evaluation = object()  # type: ignore[assignment]
    assert still(trainer, shown=100, left=900, seconds=1.0) == (pytest.approx(9.0), 4)  # at 300, 600, 900, the end


def test_what_is_due_at_this_moment_is_still_to_come() -> None:
    """The bar is told of a batch before the others are."""
    every = Every(100, max_images=1_000)
    every(99)
    assert every.ahead == 10
    every(100)
    assert every.ahead == 9
    every(1_001)
    assert every.ahead == 0


def test_times_in_words() -> None:
    assert in_time(30) == "0.5 min left"
    assert in_time(3 * 3600) == "3.0 h left"
    assert in_time(60, 10) == "1.0 min left and 10 evaluations"
    assert in_time(60, 1) == "1.0 min left and 1 evaluation"


@pytest.mark.slow
def test_a_run_says_how_long_it_still_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = ["metrics=mnist", "metrics.num_fake=20", "metrics.num_real=30", "callbacks.evaluate.every=64"]
    run(small("dcgan", tmp_path, "max_images=160", "logger=none", *metrics))
    lines = [line for line in capsys.readouterr().out.splitlines() if " of 160 images" in line]
    assert "min left and 3 evaluations" in lines[0]
    assert "min left  " in lines[-1]
    assert "evaluation" not in lines[-1]
