"""The end of a run, in images."""

from typing import Any

import lightning as L


class Budget(L.Callback):
    """Stops training once the discriminator has seen `max_images`, over all ranks; the last batch is whole."""

    def __init__(self, *, max_images: int) -> None:
        if max_images <= 0:
            raise ValueError(f"max_images={max_images} must be positive")
        self.max_images = max_images

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """A run that is resumed after its last image trains no more: what comes at the end comes again."""
        if pl_module.images >= self.max_images:
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if pl_module.images >= self.max_images:
            trainer.should_stop = True
