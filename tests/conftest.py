"""Fixtures of all tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from common import SMALL, compose
from omegaconf import DictConfig


@pytest.fixture(autouse=True)
def quiet_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics of real images go into a folder of this test session, W&B never asks for an account."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., DictConfig]:
    """A small configuration of a model: eight steps of 16 images, no metrics, into tmp_path."""

    def small_config(model: str, *overrides: str) -> DictConfig:
        return compose(
            f"model={model}",
            "logger=csv",
            "trainer=cpu",
            "metrics=none",
            *SMALL.get(model, []),
            "data.batch_size=16",
            "max_images=128",
            f"run_dir={tmp_path / 'run'}",
            "callbacks.report.overrides=[]",
            *overrides,
        )

    return small_config
