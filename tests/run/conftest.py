"""What tests of checkpoints share: a trained model's, to be damaged."""

import copy
from pathlib import Path
from typing import Any

import common
import pytest
import torch

from train import run
from zoo.run.checkpoint import read_whole


@pytest.fixture(scope="module")
def content_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The content of a small run's last checkpoint."""
    folder = tmp_path_factory.mktemp("of-a-run")
    run(common.small("vanilla", folder, "max_images=32", "metrics=mnist", "metrics.num_fake=50", "logger=none"))
    return read_whole(folder / "checkpoints" / "last.ckpt")


@pytest.fixture
def content(content_of_a_run: dict[str, Any]) -> dict[str, Any]:
    """A copy of it."""
    return copy.deepcopy(content_of_a_run)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a checkpoint as alone in a folder, the working directory, and gives its path."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def write(content: dict[str, Any]) -> Path:
        torch.save(content, folder / "a.ckpt")
        return folder / "a.ckpt"

    return write
