"""Fixtures of all tests."""

import os

# Before torch is loaded: on a busy machine threads that spin while they wait cost tens of times the work itself.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from collections.abc import Callable
from pathlib import Path

import common
import pytest
from omegaconf import DictConfig


@pytest.fixture(autouse=True)
def quiet_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics of real images go into a folder of this test session, W&B never asks for an account."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., DictConfig]:
    """`common.small`, into tmp_path."""
    return lambda model, *overrides: common.small(model, tmp_path / "run", *overrides)
