"""The end of a run: after its images, or early, when someone or something wants it."""

import os
import re
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch

TIME_IS_UP = 1  # beside the numbers of SIGINT and SIGTERM


class Budget(L.Callback):
    """Stops training once the discriminator has seen `max_images`, over all ranks; the last batch is whole.

    A run that is resumed after its last image trains no more: what comes at the end comes again.
    """

    def __init__(self, *, max_images: int) -> None:
        if max_images <= 0:
            raise ValueError(f"max_images={max_images} must be positive")
        self.max_images = max_images

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if pl_module.images >= self.max_images:
            trainer.should_stop = True

    on_train_start = on_train_batch_end


class Interrupt(L.Callback):
    """On SIGTERM, SIGINT (Ctrl-C) or after `max_time`: saves `checkpoints/last.ckpt` and leaves, within a step.

    The exit status is 128 plus the signal's number (143, 130), as shells have it, and 0 after `max_time`. A second
    signal ends at once, unsaved. The ranks agree on the step, so that all save and none waits for another.

    Args:
        max_time: "HH:MM:SS" from the start of training, for machines that are taken away; None: no limit.
    """

    def __init__(self, *, folder: str, max_time: str | None) -> None:
        self.folder = Path(folder)
        self.seconds = parse_time(max_time) if max_time is not None else float("inf")
        self._signal = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # before, there is nothing to save
        self._start = time.monotonic()
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}

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
        trainer.save_checkpoint(self.folder / "checkpoints" / "last.ckpt", weights_only=False)
        if not trainer.is_global_zero:
            raise SystemExit(0)
        name = "max_time" if reason == TIME_IS_UP else signal.Signals(reason).name
        folder = os.path.relpath(self.folder)
        print(f"\n{name}: saved at image {pl_module.images:,}; to go on: python train.py resume={folder}", flush=True)
        raise SystemExit(0 if reason == TIME_IS_UP else 128 + reason)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        signal.signal(number, signal.SIG_DFL)


def parse_time(text: str) -> int:
    """Seconds of "HH:MM:SS"."""
    if not re.fullmatch(r"\d+:[0-5]\d:[0-5]\d", str(text)):
        raise ValueError(f"max_time={text} must be HH:MM:SS, as in max_time=01:30:00")
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    if not (total := hours * 3600 + minutes * 60 + seconds):
        raise ValueError(f"max_time={text} leaves no time to train; null is no limit")
    return total
