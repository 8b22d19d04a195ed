"""The newest state of a run, and if wished every so-many-th, on disk."""

import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from zoo.run.callbacks import Every, save


class Checkpoints(Checkpoint):
    """Keeps `checkpoints/last.ckpt`, and where asked `checkpoints/000020000.ckpt`, named after its images.

    Args:
        every: images between two saves of last.ckpt, beside that at the end; None: a tenth of `max_images`, the budget.
        keep_every: images between two checkpoints that stay; None: none stays.
    """

    def __init__(self, *, folder: str, every: int | None, keep_every: int | None, max_images: int) -> None:
        self.path = Path(folder) / "checkpoints" / "last.ckpt"
        self.every = Every(every, max_images=max_images)
        self.keep_every = None if keep_every is None else Every(keep_every, max_images=max_images)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.every.start(pl_module.images)
        if self.keep_every:
            self.keep_every.start(pl_module.images)
        if trainer.is_global_zero:
            for part in self.path.parent.glob(".*.part"):  # of a save that was killed
                shutil.rmtree(part, ignore_errors=True)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if self.every(pl_module.images):
            save(trainer, self.path)
        if self.keep_every and self.keep_every(pl_module.images):
            save(trainer, self.path.with_name(f"{pl_module.images:09d}.ckpt"))

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        # Also where the last interval ended just now: the evaluation at the end belongs into the checkpoint.
        trainer.save_checkpoint(self.path, weights_only=False)
