"""A run: data, model, callbacks, loggers and trainer of a configuration, and training with them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.utils import instantiate
from omegaconf import DictConfig

from zoo.game import quirks
from zoo.run import config
from zoo.run.command import first_process

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:  # torch and Lightning take seconds: --help and a typo should not
    import lightning as L

    from zoo.game.gan import GAN


@contextmanager
def alone_in(folder: str) -> Iterator[None]:
    """Hold a run's folder while this process trains in it; the other ranks follow the first.

    Raises:
        ValueError: if another process holds it.
    """
    if fcntl is None or not first_process():
        yield
        return
    with Path(folder, ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process is training in {folder}: give hydra.run.dir=, or wait for it") from None
        yield


def build(cfg: DictConfig) -> "tuple[L.LightningDataModule, GAN]":
    """The data module and the model of a configuration; a class-conditional model takes the classes of the data.

    Raises:
        ValueError: if the model has fewer classes than the data.
    """
    datamodule = instantiate(cfg.data, _convert_="all")
    of_data = {}
    if "classes" in cfg.model and cfg.model.classes is None:
        of_data = {"classes": datamodule.classes}
    elif "classes" in cfg.model and len(cfg.model.classes) < len(datamodule.classes):
        raise ValueError(
            f"model.classes names {len(cfg.model.classes)} classes, but the data have {len(datamodule.classes)}"
        )
    return datamodule, instantiate(cfg.model, **of_data, _convert_="all")


def run(cfg: DictConfig, *, retry: int = 0) -> "L.Trainer":
    """Train as configured: seed, instantiate, fit. Everything it makes lies in `cfg.run_dir`.

    Args:
        cfg: a checked configuration.
        retry: how often this run has diverged already; each time halves its learning rates.

    Raises:
        ValueError: if `cfg.run_dir` holds a run that this one does not go on with, or nothing to go on with, and for
            settings that make no sense.
        FloatingPointError: if training diverges once more than `cfg.divergence_retries`.
    """
    import lightning as L

    from zoo.run.checkpoint import WholeCheckpointIO, check_resumable, going_on_from, newest

    quirks.quiet()
    goes_on = bool(cfg.resume or retry or int(os.environ.get("SLURM_RESTART_COUNT", 0)))
    begun = any(Path(cfg.run_dir, "checkpoints").glob("*.ckpt"))
    if begun and not goes_on and first_process():
        raise ValueError(f"{cfg.run_dir} holds a run already: resume={cfg.run_dir} goes on with it")
    if cfg.seed < 0:
        raise ValueError(f"seed={cfg.seed} must not be negative")
    L.seed_everything(cfg.seed, verbose=False)
    settings = config.plain(cfg)
    datamodule, model = build(cfg)
    model.config, model.run_log.every, model.lr_factor = settings, cfg.log_every, 0.5**retry
    if cfg.compile:
        model.compile_networks()
    callbacks = instantiate(cfg.callbacks, _convert_="all")
    loggers = instantiate(cfg.logger, _convert_="all")
    trainer: L.Trainer = instantiate(
        cfg.trainer, logger=list(loggers.values()), callbacks=list(callbacks.values()), plugins=[WholeCheckpointIO()]
    )
    for logger in trainer.loggers:
        logger.log_hyperparams(settings)
    start = newest(cfg.resume if str(cfg.resume).endswith(".ckpt") else cfg.run_dir) if begun and goes_on else None
    if cfg.resume and start is None:
        raise ValueError(f"there is nothing to resume: no checkpoint in {cfg.run_dir}/checkpoints")
    if start:
        changed = config.changes(check_resumable(start, trainer, model, datamodule)["zoo"]["config"], settings)
        if changed and trainer.is_global_zero:
            print(f"going on with other settings: {', '.join(changed)}", flush=True)
    try:
        with going_on_from(start):
            trainer.fit(model, datamodule, ckpt_path=start, weights_only=True)
    except FloatingPointError as error:
        if retry == cfg.divergence_retries or trainer.world_size > 1:  # processes can't be launched twice
            raise
        print(f"{error}\nretry {retry + 1}: from the last checkpoint, with half the learning rates", flush=True)
        return run(cfg, retry=retry + 1)
    return trainer
