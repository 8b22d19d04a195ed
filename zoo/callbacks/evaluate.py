"""Metrics in the loop, and the best checkpoint, which they choose."""

from pathlib import Path
from typing import Any

import lightning as L

from zoo.callbacks import Every, save
from zoo.metrics.evaluation import Evaluation, Result


class Evaluate(L.Callback):
    """Evaluates the model every so many images and at the end, and keeps `checkpoints/best.ckpt`.

    Callbacks that have an `on_evaluation(trainer, pl_module, evaluate)` are called after each, on every rank.

    The best checkpoint has the lowest Frechet distance, the first value whose name contains "fid": the mean of those
    of all directions where a model translates in several (zoo/metrics/evaluation.py).

    Args:
        evaluation: what to measure, and by which protocol; None measures nothing.
        every: images between two evaluations; None: a tenth of `max_images`, the budget.
        folder: the run's folder.
    """

    def __init__(self, *, evaluation: Evaluation | None, every: int | None, max_images: int, folder: str) -> None:
        self.evaluation = evaluation or None  # metrics=none composes an empty group
        self.every = Every(every, max_images=max_images)
        self.path = Path(folder) / "checkpoints" / "best.ckpt"
        self.history: list[dict[str, float]] = []  # a row for each evaluation: images, and every value
        self.protocol: dict[str, Any] = {}
        self.result: Result | None = None  # the newest of this process, with the features that it compared

    @property
    def metric(self) -> str | None:
        """The name of the value that chooses the best checkpoint."""
        return next((name for name in self.history[-1] if "fid" in name), None) if self.history else None

    @property
    def best(self) -> dict[str, float]:
        """The best evaluation so far; empty before the first."""
        name = self.metric
        rows = [row for row in self.history if name in row]  # a resumed run may have other metrics
        return min(rows, key=lambda row: row[name]) if name else {}

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Fetch the extractor's weights, once a machine, before any time is spent on training."""
        if self.evaluation:
            if trainer.local_rank == 0:
                self.evaluation.prepare()
            trainer.strategy.barrier()
            self.evaluation.extractor.load()

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.every.start(pl_module.images)
        if self.evaluation:
            self.evaluation.check(pl_module.preview, trainer.datamodule, device=pl_module.device)  # type: ignore[attr-defined]

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if self.evaluation and self.every(pl_module.images):
            self._evaluate(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.evaluation and (not self.history or self.history[-1]["images"] < pl_module.images):
            self._evaluate(trainer, pl_module)

    def _evaluate(self, trainer: L.Trainer, model: Any) -> None:
        assert self.evaluation is not None
        model.synchronise()
        self.result = result = self.evaluation.evaluate(
            model.preview,
            trainer.datamodule,  # type: ignore[attr-defined]
            device=model.device,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            protocol={"generator": "EMA" if model.averaged else "last"},
        )
        if result.protocol != self.protocol:
            self.protocol = result.protocol
            for logger in trainer.loggers:
                logger.log_hyperparams({"protocol": self.protocol})
        self.history.append({"images": model.images, **result.values})
        model.publish(result.values)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "on_evaluation"):  # before the best is saved: it holds what they find
                callback.on_evaluation(trainer, model, self)
        if self.best["images"] == model.images:
            save(trainer, self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "protocol": self.protocol}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history, self.protocol = state_dict["history"], state_dict["protocol"]
