"""What a run says at its start."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from common import small

from train import run
from zoo.batch import LabelledImages
from zoo.run import sizes
from zoo.run.callbacks.progress import ImageProgress

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
