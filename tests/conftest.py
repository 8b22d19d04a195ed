"""Fixtures of all tests."""

import os

# Before torch is loaded: tests run beside each other, a thread each, and threads that spin while they wait for a busy
# core cost tens of times the work itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from collections.abc import Callable, Iterator
from pathlib import Path

import common
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


@pytest.fixture(autouse=True)
def quiet_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics of real images go into a folder of this test session, W&B never asks for an account."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture(autouse=True)
def no_job() -> Iterator[None]:
    """What Hydra knows of the job of one test says nothing to the next, whatever their order."""
    yield
    HydraConfig.instance().cfg = None


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., DictConfig]:
    """`common.small`, into tmp_path."""
    return lambda model, *overrides: common.small(model, tmp_path / "run", *overrides)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, so that at the end no worker waits for another."""
    items.sort(key=lambda item: item.path.name != "test_many.py")
