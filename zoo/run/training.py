"""A run: data, model, callbacks, loggers and trainer of a configuration, and training with them."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from zoo.game import quirks
from zoo.machine import memory
from zoo.run import config, fits
from zoo.run.command import first_process
from zoo.run.signals import Left, check
from zoo.run.writing import lasting_output

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:  # torch and Lightning take seconds: --help and a typo should not
    import lightning as L

    from zoo.game.gan import GAN

TOO_LARGE, TOO_LARGE_REMEDY = "these networks exceed this machine's memory", "lower widths or data.image_size"
OURS: dict[str, Any] = {  # what is no choice: the trainer runs until a callback says that the images are up
    "max_epochs": -1,
    "max_steps": -1,
    "limit_val_batches": 0,  # callbacks evaluate, at image counts rather than epochs
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,  # the data modules shard on their own
    "log_every_n_steps": 1,  # models write their own log, by images
}


@contextmanager
def alone_in(folder: str) -> Iterator[None]:
    """Hold a run's folder while this process trains in it; the other ranks follow the first.

    Raises:
        ValueError: if another process holds it, or it is a file.
    """
    if fcntl is None or not first_process():
        yield
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)  # another one than Hydra's: run_dir=
    except FileExistsError:
        raise ValueError(f"{folder} is a file: give a folder for the run, hydra.run.dir=") from None
    # The folder may be a stranger's, in which this is a pipe or a link to elsewhere.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(Path(folder, ".lock"), flags, 0o666), "rb", buffering=0) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process is training in {folder}: give hydra.run.dir=, or wait for it") from None
        yield


def build(cfg: DictConfig) -> "tuple[L.LightningDataModule, GAN]":
    """The data module and the model of a configuration; a conditional model takes classes or attributes of the data.

    Raises:
        ValueError: if they do not fit, see `zoo.run.fits`.
    """
    fits.check_rows(cfg)
    datamodule = instantiate(cfg.data, _convert_="all")
    make = partial(instantiate, cfg.model, **fits.of_data(cfg.model, datamodule), _convert_="all")
    refuse_too_large(make)
    model = make()
    fits.check_classes(model, datamodule)
    return datamodule, model


def refuse_too_large(make: "Callable[[], GAN]") -> None:
    """Raise a ValueError for a model whose weights, with Adam's moments and gradients, exceed this machine's memory.

    Else the system would kill the process, which could say nothing. `make` is called for shapes alone, no weights.
    """
    import torch

    with torch.device("meta"):
        try:
            model = make()
        except Exception as error:
            if "overflow" in str(error).lower():
                raise ValueError(f"{TOO_LARGE}: {TOO_LARGE_REMEDY}") from None
            raise
    size = lambda tensors: sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    needed = size([*model.parameters(), *model.buffers()]) + 3 * size(trained)
    if needed > memory():
        raise ValueError(
            f"{TOO_LARGE}: {sum(p.numel() for p in trained) / 1e6:,.0f} M parameters, their gradients and Adam's "
            f"moments take {needed / 2**30:,.0f} GiB of its {memory() / 2**30:,.0f}; {TOO_LARGE_REMEDY}"
        )


def run(cfg: DictConfig) -> "L.Trainer":
    """Train as configured: seed, instantiate, fit. Everything it makes lies in `cfg.run_dir`.

    Where training diverges, it goes on from the newest good checkpoint with half the learning rates, as often as
    `cfg.divergence_retries` says; see `zoo.run.retreat`.

    Raises:
        ValueError: if `cfg.run_dir` holds a run that this one does not go on with, or nothing to go on with, and for
            settings that make no sense.
        FloatingPointError: if training diverges once more than `cfg.divergence_retries`.
        SystemExit: if a signal ends it, with 128 plus the signal's number.
    """
    quirks.quiet()
    with lasting_output():
        try:
            return _run(cfg)
        except Left as left:
            checkpoints = Path(cfg.run_dir, "checkpoints")
            if any(checkpoints.glob("*.ckpt")):
                left.said = f"; what has been saved is in {checkpoints}"
            raise


def _run(cfg: DictConfig) -> "L.Trainer":
    from zoo.game.finite import Diverged
    from zoo.run.callbacks.checkpoints import Checkpoints
    from zoo.run.callbacks.interrupt import Interrupt
    from zoo.run.checkpoint import check_resumable, going_on_from
    from zoo.run.retreat import retreat

    start, began, factor = _start(cfg), None, 1.0
    for retry in range(cfg.divergence_retries + 1):
        check()
        trainer, datamodule, model = _prepared(cfg, begins=start is None)
        of_kind = {type(callback): callback for callback in trainer.callbacks}  # type: ignore[attr-defined]
        if start:
            before = check_resumable(start, trainer, model, datamodule)["zoo"]
            if cfg.start != before["config"].get("start"):
                raise ValueError(
                    f"resume=RUN goes on with that run's weights: leave out start={cfg.start}, which begins a new one"
                )
            factor = factor if retry else before["lr_factor"]  # a run that is gone on with may have retried before
            changed = config.changes(before["config"], model.config, config.typed())
            if not retry and trainer.is_global_zero and changed:
                print(f"going on with other settings: {', '.join(changed)}", flush=True)
        model.lr_factor = factor * 0.5**retry
        try:
            with going_on_from(start):
                trainer.fit(model, datamodule, ckpt_path=start, weights_only=True)
            break
        except Diverged as error:
            last_try = retry == cfg.divergence_retries or trainer.world_size > 1  # processes can't be launched twice
            if trainer.is_global_zero:
                interval = of_kind[Checkpoints].every.images if Checkpoints in of_kind else 0
                folder, began = Path(cfg.run_dir, "checkpoints"), None if last_try else began
                start, began = retreat(folder, well=error.well, interval=interval, began=began)
            if last_try:
                raise
            origin = f"from image {began:,}" if start else "from the beginning"
            print(
                f"{error}\nretry {retry + 1}: {origin}, with {factor * 0.5 ** (retry + 1):g} of the learning rates",
                flush=True,
            )
        except Left:
            if trainer.strategy.launcher is not None:
                trainer.strategy.launcher.kill(signal.SIGTERM)  # the processes that it has started
            raise
    if Interrupt in of_kind:
        of_kind[Interrupt].end()
    return trainer


def _start(cfg: DictConfig) -> Path | None:
    """The checkpoint that a run goes on from; None: it begins."""
    from zoo.run.checkpoint import newest

    goes_on = bool(cfg.resume or int(os.environ.get("SLURM_RESTART_COUNT", 0)))
    begun = any(Path(cfg.run_dir, "checkpoints").glob("*.ckpt"))
    if begun and not goes_on and first_process():
        raise ValueError(f"{cfg.run_dir} holds a run already: resume={cfg.run_dir} goes on with it")
    if cfg.resume and not begun:
        raise ValueError(f"there is nothing to resume: no checkpoint in {cfg.run_dir}/checkpoints")
    if not begun or not goes_on:
        return None
    return newest(cfg.resume if str(cfg.resume).endswith(".ckpt") else cfg.run_dir)


def _prepared(cfg: DictConfig, *, begins: bool) -> "tuple[L.Trainer, L.LightningDataModule, GAN]":
    """What trains, seeded; where it begins, with the weights of `cfg.start`: every process reads the same."""
    import lightning as L

    from zoo.run.callbacks.others import hold_to_the_loop
    from zoo.run.checkpoint import WholeCheckpointIO
    from zoo.run.start import begin_with

    quirks.plain_warnings()
    L.seed_everything(cfg.seed, verbose=False)
    datamodule, model = build(cfg)  # which says what settings of one refer to that the other does not have
    if cfg.start and begins:
        lines = begin_with(model, cfg.start)
        if first_process():
            print("\n".join(lines), flush=True)
    model.configure_optimizers()  # and this what does not fit the networks; Lightning does it again, once loggers run
    settings = config.plain(cfg)
    model.config, model.run_log.every = settings, cfg.log_every
    if cfg.compile:
        model.compile_networks("default" if cfg.compile is True else cfg.compile)
    if cfg.cuda_graph:
        model.capture_steps()
    callbacks = instantiate(cfg.callbacks, _convert_="all")
    hold_to_the_loop(callbacks)
    loggers = instantiate(cfg.logger, _convert_="all")
    try:
        trainer: L.Trainer = instantiate(
            cfg.trainer, logger=list(loggers.values()), callbacks=list(callbacks.values()),
            plugins=[WholeCheckpointIO()], default_root_dir=cfg.run_dir, **OURS,
        )  # fmt: skip
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError) and "unexpected keyword" not in str(error.__cause__):
            raise ValueError(f"trainer: {error.__cause__}") from None
        raise
    quirks.leave_signals_to_us(trainer)
    quirks.call_no_empty_hooks(trainer, model)
    for logger in trainer.loggers:
        logger.log_hyperparams(settings)
    return trainer, datamodule, model
