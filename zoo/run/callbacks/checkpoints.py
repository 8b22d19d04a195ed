"""The newest state of a run, and if wished every so-many-th, on disk."""

import logging
import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from zoo.atomic import replacing
from zoo.ranges import Count
from zoo.run.callbacks import Every, kept, save
from zoo.run.writing import attempt

log = logging.getLogger(__name__)


class Checkpoints(Checkpoint):
    """Keeps `checkpoints/last.ckpt`, and where asked `checkpoints/000020000.ckpt`, named after its images.

    While training goes on, the one before last.ckpt stays as `previous.ckpt`: the newest may hold a step that was the
    first of a divergence.

    Args:
        every: images between two saves of last.ckpt, beside that at the end; None: a tenth of `max_images`, the budget.
        keep_every: images between two checkpoints that stay; None: none stays.
    """

    def __init__(self, *, folder: str, every: int | None, keep_every: int | None, max_images: Count) -> None:
        self.path = Path(folder) / "checkpoints" / "last.ckpt"
        self.previous = self.path.with_name("previous.ckpt")
        self.every = Every(every, max_images=max_images)
        self.keep_every = None if keep_every is None else Every(keep_every, max_images=max_images)
        self._saved = False  # whether there must be a checkpoint

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.every.start(pl_module.images)
        if self.keep_every:
            self.keep_every.start(pl_module.images)
        if trainer.is_global_zero:
            for part in self.path.parent.glob(".*.part"):  # of a save that was killed
                shutil.rmtree(part, ignore_errors=True)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if self.every(pl_module.images):
            with self.every.timed():
                self._save_last(trainer, pl_module)
        if self.keep_every and self.keep_every(pl_module.images):
            save(trainer, self.path.with_name(f"{pl_module.images:09d}.ckpt"))

    def _save_last(self, trainer: L.Trainer, model: Any) -> None:
        model.refuse_diverged()
        if trainer.is_global_zero and self.path.is_file():
            with attempt(self.previous):
                self._keep_previous()
        elif trainer.is_global_zero and self._saved:
            log.warning("%s has been removed: it is made again, and training goes on", self.path)
        self._saved = save(trainer, self.path)

    def _keep_previous(self) -> None:
        with replacing(self.previous) as part:
            try:
                part.hardlink_to(self.path)  # which `save` replaces, and does not write to
            except OSError:  # the file system has none
                shutil.copyfile(self.path, part)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        # Also where the last interval ended just now: the evaluation at the end belongs into the checkpoint.
        if not save(trainer, self.path, then="training has ended") and trainer.is_global_zero:
            print(f"image {pl_module.images:,} could not be saved: {kept(self.path.parent)}", flush=True)
        if trainer.is_global_zero:
            self.previous.unlink(missing_ok=True)
