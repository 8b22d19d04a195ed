"""What happens beside training: metrics, sample grids, checkpoints, progress, the report.

A callback meets a model only through `preview`, `images` (the time), and `run_log` and `publish` (the log), and
`synchronise` (many processes).
"""

import logging
from pathlib import Path
from typing import Any

import lightning as L

log = logging.getLogger(__name__)


def save(trainer: L.Trainer, path: Path) -> None:
    """Save a checkpoint. A full disk is no reason to stop: the earlier one is whole, and training goes on."""
    try:
        trainer.save_checkpoint(path, weights_only=False)
    except OSError as error:
        if trainer.is_global_zero:
            log.warning("%s; training goes on", error)


class Remembers(L.Callback):
    """A callback with attributes that go into checkpoints: a resumed run does what the straight one does."""

    remembered: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.remembered}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in self.remembered:  # whatever else a file may name, such as the folder to write to
            setattr(self, name, state_dict[name])


class Every:
    """True once in each stretch of so many `images`; None: of a tenth of `max_images`, the budget."""

    def __init__(self, images: int | None, *, max_images: int) -> None:
        if images is not None and images <= 0:
            raise ValueError(f"an interval of {images} images must be positive; null is a tenth of max_images")
        self.images, self._last = images or max(max_images // 10, 1), 0
        self.acted = -1  # images at the last time that it was true

    def start(self, now: int) -> None:
        """Begin to count at `now` images: a resumed run repeats nothing."""
        self._last = now

    def __call__(self, now: int) -> bool:
        """Whether a multiple of the interval has been reached since the last call."""
        reached = now // self.images > self._last // self.images
        self._last = now
        self.acted = now if reached else self.acted
        return reached
