"""A run as a sweeper sees it: settings in, a number out."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from zoo.result import Result
from zoo.run import config
from zoo.run.command import Said, sentence
from zoo.run.training import alone_in, run
from zoo.text import trains


def run_job(cfg: DictConfig) -> float | None:
    """What Hydra calls once it has composed: check, run; what comes of it is a sweeper's objective."""
    with said_at_once():
        cfg = config.checked(cfg)
        with alone_in(cfg.run_dir):
            return objective(cfg)


@contextmanager
def said_at_once() -> Iterator[None]:
    """In a sweep, say what a run fails by as it fails: Hydra raises it once all the others are over.

    Raises:
        Said: in place of it.
    """
    try:
        yield
    except Exception as error:
        job = HydraConfig.get()
        words = sentence(error, job.overrides.task) if job.mode is RunMode.MULTIRUN else None
        if words is None:
            raise
        command = trains().removeprefix("python ")
        print(f"{command}: {words} ({' '.join(job.overrides.task)})", file=sys.stderr, flush=True)
        raise Said(words) from error


def objective(cfg: DictConfig) -> float | None:
    """Train as configured, and give the best value of the metric that chooses the best checkpoint; None without one.

    In a sweep a run that diverges is worth as little as can be, infinity, one that reaches `max_time` what it has
    reached, and the next run begins. A signal ends the sweep.

    Raises:
        ValueError: if a sweeper looks for the best value of metrics=none, or in the wrong direction.
    """
    job = HydraConfig.get()
    if job.mode is not RunMode.MULTIRUN:
        run(cfg)
        return _best(cfg)
    maximizes = _maximizes(job.sweeper)
    if maximizes is not None and not cfg.metrics:
        raise ValueError("metrics=none leaves this sweeper nothing to compare runs by: choose metrics, or leave it out")
    try:
        run(cfg)
    except FloatingPointError as error:
        print(f"{cfg.run_dir}: {error}\nthe sweep goes on: this run is worth nothing", flush=True)
        return -math.inf if maximizes else math.inf
    except SystemExit as left:
        if left.code:  # by a signal
            raise
    result = Result.read(Path(cfg.run_dir))
    if maximizes is not None and result and result.metric and result.higher_is_better != maximizes:
        better, direction = ("higher", "maximize") if result.higher_is_better else ("lower", "minimize")
        raise ValueError(f"{result.metric} is better where it is {better}: give hydra.sweeper.direction={direction}")
    return _best(cfg)


def _best(cfg: DictConfig) -> float | None:
    result = Result.read(Path(cfg.run_dir))
    return result.best if result else None


def _maximizes(sweeper: Any) -> bool | None:
    """Whether a sweeper looks for the highest value, by the settings of Optuna, nevergrad and Ax; None: for neither."""
    if (direction := OmegaConf.select(sweeper, "direction")) is not None:
        if OmegaConf.is_list(direction):
            raise ValueError(f"hydra.sweeper.direction={direction}: a run has one value, so give minimize or maximize")
        return getattr(direction, "name", direction) == "maximize"
    if (maximize := OmegaConf.select(sweeper, "optim.maximize")) is not None:
        return bool(maximize)
    minimize = OmegaConf.select(sweeper, "ax_config.experiment.minimize")
    return None if minimize is None else not minimize
