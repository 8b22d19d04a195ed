"""The end of a run: after its images, or early, when someone or something wants it."""

import os
import re
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch

from zoo.ranges import Count
from zoo.run import signals
from zoo.run.callbacks import kept, save
from zoo.run.config import typed_again

TIME_IS_UP = 100  # beside the numbers of signals


class Budget(L.Callback):
    """Stops training once the discriminator has seen `max_images`, over all ranks; the last batch is whole.

    A run that is resumed after its last image trains no more: what comes at the end comes again.
    """

    def __init__(self, *, max_images: Count) -> None:
        if max_images <= 0:
            raise ValueError(f"max_images={max_images} must be positive")
        self.max_images = max_images

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if pl_module.images >= self.max_images:
            trainer.should_stop = True

    on_train_start = on_train_batch_end


class Interrupt(L.Callback):
    """On a signal that ends processes, or after `max_time`: saves `checkpoints/last.ckpt` and leaves, within a step.

    The signals are SIGTERM, SIGINT (Ctrl-C), SIGHUP (a terminal that closes; ignored under nohup), SIGUSR1 and SIGUSR2
    (a batch system's warning). The exit status is 128 plus the signal's number (143, 130, 129, ...), as shells have it,
    and 0 after `max_time`. A second SIGTERM or SIGINT ends at once, unsaved. The ranks agree on the step, so that all
    save and none waits for another. What can't be saved is said, and changes no status.

    After a warning, whoever had its signal before has it again once all is saved: submitit, which queues its job again.
    Else, in a SLURM job, that is queued again here, and the status then 0, if SLURM lets it.

    Args:
        max_time: "HH:MM:SS" from the start of training, for machines that are taken away; None: no limit.
    """

    def __init__(self, *, folder: str, max_time: str | None) -> None:
        self.folder = Path(folder)
        self.seconds = parse_time(max_time) if max_time is not None else float("inf")
        self._signal = 0
        self._handlers = ExitStack()
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # before, there is nothing to save
        self._start = time.monotonic()
        self._before = self._handlers.enter_context(signals.handled(self._note))
        signals.check()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        time_is_up = time.monotonic() - self._start > self.seconds
        self._leave_if(trainer, pl_module, self._signal or (TIME_IS_UP if time_is_up else 0))

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """For a signal that came during the evaluation at the end."""
        self._leave_if(trainer, pl_module, self._signal)

    def _leave_if(self, trainer: L.Trainer, pl_module: Any, reason: int) -> None:
        if trainer.world_size > 1:  # whichever rank has heard of it
            reason = int(trainer.strategy.reduce(torch.tensor(reason, device=pl_module.device), reduce_op="max"))
        if not reason:
            return
        path, images = self.folder / "checkpoints" / "last.ckpt", f"image {pl_module.images:,}"
        try:
            saved = save(trainer, path, then="the run is left")
        except FloatingPointError as error:
            print(error, flush=True)
            saved = False
        status = 0 if reason == TIME_IS_UP else 128 + reason
        if trainer.is_global_zero:
            name = "max_time" if reason == TIME_IS_UP else signal.Signals(reason).name
            done = f"saved at {images}" if saved else f"{images} could not be saved, {kept(path.parent)}"
            again = typed_again(f"resume={os.path.relpath(self.folder)}")
            print(f"\n{name}: {done}; to go on: {again}", flush=True)
        if reason in signals.WARNINGS:
            if signals.foreign(self._before.get(reason)):
                self._before[reason](reason, None)
            elif trainer.is_global_zero and signals.queued_again():
                print("SLURM runs the job again; resume=auto, or hydra.run.dir=, lets it go on from here", flush=True)
                status = 0
        raise SystemExit(status if trainer.is_global_zero else 0)

    def end(self) -> None:
        """Let others have the signals again; leave for one that came after everything was saved."""
        self._handlers.close()
        if self._signal:
            print(f"\n{signal.Signals(self._signal).name}: the run has ended, and everything is saved", flush=True)
            raise SystemExit(0 if self._signal in signals.WARNINGS else 128 + self._signal)

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._handlers.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = self._signal or number
        if number in (signal.SIGTERM, signal.SIGINT):  # of the others there may be several at once
            signal.signal(number, signal.SIG_DFL)


def parse_time(text: str) -> int:
    """Seconds of "HH:MM:SS"."""
    if not re.fullmatch(r"\d+:[0-5]\d:[0-5]\d", str(text)):
        raise ValueError(f"max_time={text} must be HH:MM:SS, as in max_time=01:30:00")
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    if not (total := hours * 3600 + minutes * 60 + seconds):
        raise ValueError(f"max_time={text} leaves no time to train; null is no limit")
    return total
