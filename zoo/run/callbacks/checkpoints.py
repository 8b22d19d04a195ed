"""The newest state of a run, on disk."""

import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from zoo.run.callbacks import Every, save


class Checkpoints(Checkpoint):
    """Keeps `checkpoints/last.ckpt`, each `every` images (None: a tenth of `max_images`, the budget) and at the end."""

    def __init__(self, *, folder: str, every: int | None, max_images: int) -> None:
        self.path = Path(folder) / "checkpoints" / "last.ckpt"
        self.every = Every(every, max_images=max_images)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.every.start(pl_module.images)
        if trainer.is_global_zero:
            for part in self.path.parent.glob(".*.part"):  # of a save that was killed
                shutil.rmtree(part, ignore_errors=True)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if self.every(pl_module.images):
            save(trainer, self.path)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        # Also where the last interval ended just now: the evaluation at the end belongs into the checkpoint.
        trainer.save_checkpoint(self.path, weights_only=False)
