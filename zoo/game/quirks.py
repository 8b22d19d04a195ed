"""Quirks of library versions, each with the version that it is for. Called where a run needs it, never on import."""

import logging
import os
import queue
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch and Lightning take seconds, and --help needs none of them
    import lightning as L


def quiet() -> None:
    """Keep what a user can do nothing about out of a run's output."""
    # Python's logging, by which wandb 0.31 writes files: a traceback for each line that a full disk does not take.
    logging.raiseExceptions = False
    # lightning 2.6: hints, at level INFO, about its own features, as many as a run's own lines.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # lightning 2.6 with torch 2.11 and newer: it calls a constructor of torch.utils._pytree that is deprecated there.
    warnings.filterwarnings("ignore", ".*LeafSpec")
    # lightning 2.6: modules in evaluation mode when training starts; an average's copy is meant to be.
    warnings.filterwarnings("ignore", ".*in eval mode at the start of training")


def plain_warnings() -> None:
    """Let a warning to the user be its sentence: lightning, once it is loaded, puts a file and a line before it."""
    otherwise = warnings.formatwarning
    if otherwise.__module__ == __name__:
        return

    def formatted(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
        return f"{message}\n" if category is UserWarning else otherwise(message, category, *place, **more)

    warnings.formatwarning = formatted


def quiet_tensorboard() -> None:
    """tensorboard 2.21: on a full disk its writer's thread ends with a traceback, beside the error of the next call."""
    from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread  # type: ignore[import-untyped]

    write = _AsyncWriterThread._run
    if write.__module__ == __name__:
        return

    def run(self: Any) -> None:
        try:
            write(self)
        except OSError as error:
            self.exception = error
            with suppress(queue.Empty):  # who waits for the queue goes on
                while True:
                    self._queue.get(False)
                    self._queue.task_done()

    _AsyncWriterThread.run = run


def leave_signals_to_us(trainer: Any) -> None:
    """lightning 2.6 takes SIGTERM when `fit` begins, and ends with status 0, unsaved; in SLURM jobs SIGUSR1 too, and
    saves where no run looks for it."""
    trainer._signal_connector.register_signal_handlers = lambda: None


def call_no_empty_hooks(trainer: Any, model: Any) -> None:
    """lightning 2.6 calls the hooks around each turn of every callback that does nothing in them, each within a context
    of its profiler, and spends more on that than on all hooks that act. What can't be called it leaves out."""
    import lightning as L

    around = ("train_batch_start", "before_backward", "after_backward", "before_optimizer_step", "train_batch_end")
    for owner, base in [(model, L.LightningModule), *((callback, L.Callback) for callback in trainer.callbacks)]:
        for hook in (f"on_{name}" for name in around):
            if getattr(type(owner), hook) is getattr(base, hook) and hook not in vars(owner):
                vars(owner)[hook] = None  # of a callback that is a frozen dataclass too


def no_search_for_a_driver() -> None:
    """Lightning 2.6 sets this variable on import. In the CUDA build of torch 2.11 to 2.15 each step of a fused Adam on
    the CPU then looks for a driver."""
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


def compile_often() -> None:
    """torch 2.15 leaves a network eager that was compiled 8 times: each phase of growing needs it twice, and there are
    17 up to 1024 pixels."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)


def count_images(trainer: "L.Trainer", images: int) -> None:
    """Lightning 2.6 writes what its own callbacks find, and what is given to `self.log`, at this number of batches; a
    run's log is by images."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = images
