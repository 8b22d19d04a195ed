"""What happens beside training: metrics, sample grids, checkpoints, progress, the report.

A callback meets a model only through `preview`, `images` (the time), `run_log` and `publish` (the log), `synchronise`
(many processes) and `refuse_diverged` (before it is kept).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L

from zoo.run.checkpoint import read
from zoo.run.config import interval
from zoo.run.writing import attempt


def save(trainer: L.Trainer, path: Path, then: str = "training goes on") -> bool:
    """Save a checkpoint; whether it could be written. Every rank calls it.

    A full disk is no reason to stop: the earlier checkpoint is whole, and the sentence about it ends with `then`.

    Raises:
        FloatingPointError: on every rank, if the model has diverged.
    """
    then = f"the earlier file there is intact; {then}" if path.is_file() else then
    with attempt(path, quiet=not trainer.is_global_zero, then=then) as writing:
        trainer.save_checkpoint(path, weights_only=False)
    return not writing.failed


def images_of(path: Path) -> int | None:
    """The images that a checkpoint has seen; None: there is none that can be read."""
    try:
        return read(path)["zoo"]["images"]
    except ValueError:
        return None


def kept(folder: Path) -> str:
    """Which checkpoints a run has, in words."""
    found = {name: images_of(folder / name) for name in ("last.ckpt", "best.ckpt")}
    words = [f"{name} of image {images:,}" for name, images in found.items() if images is not None]
    return f"{folder} has {' and '.join(words) or 'no checkpoint'}"


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
        self.images, self._last, self._budget = interval(images, max_images), 0, max_images
        self.acted = -1  # images at the last time that it was true
        self.seconds: list[float] = []  # that what is done took, each time

    def start(self, now: int) -> None:
        """Begin to count at `now` images: a resumed run repeats nothing."""
        self._last = now

    def __call__(self, now: int) -> bool:
        """Whether a multiple of the interval has been reached since the last call."""
        reached = now // self.images > self._last // self.images
        self._last = now
        self.acted = now if reached else self.acted
        return reached

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around what is done, so that it is known how long it takes."""
        began = time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - began)

    @property
    def ahead(self) -> int:
        """How often it is still to be done, once at the end of the budget among them."""
        return max(-(-self._budget // self.images) - self._last // self.images, 0)

    @property
    def to_come(self) -> float:
        """Seconds that this will take, by the last times; 0 where it was not done yet."""
        known = self.seconds[1:][-5:] or self.seconds  # the first time, much is computed that is kept
        return self.ahead * sum(known) / len(known) if known else 0.0
