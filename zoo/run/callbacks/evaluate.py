"""Metrics in the loop, and the best checkpoint, which they choose."""

import os
from pathlib import Path
from typing import Any

import lightning as L

from zoo.metrics.evaluator import Evaluator
from zoo.metrics.metric import Result
from zoo.run.callbacks import Every, Remembers, save
from zoo.run.checkpoint import read


class AfterEvaluation(L.Callback):
    """Base of the callbacks that look at what has been evaluated."""

    def on_evaluation(self, trainer: L.Trainer, pl_module: Any, evaluate: "Evaluate") -> None:
        """Called after each evaluation on every rank, before the best checkpoint is saved: it holds what they find."""
        raise NotImplementedError


class Evaluate(Remembers):
    """Evaluates the model every so many images, as a phase ends and at the end, and keeps `checkpoints/best.ckpt`.

    Callbacks that are `AfterEvaluation` are called after each.

    Which value tells the best checkpoint, the metrics say: of translation in several directions, say, the mean of the
    Frechet distances. Where none does, the newest is the best. A run of several phases, whose values are not to be
    compared, has the best of its newest phase, and those of earlier ones beside it: `best-pixel.ckpt`.

    Args:
        evaluation: what to measure, and by which protocol; None or {} measures nothing.
        every: images between two evaluations; None: a tenth of `max_images`, the budget.
    """

    remembered = ("history", "protocol", "phase", "first", "chooses")

    def __init__(
        self, *, evaluation: Evaluator | dict[str, Any] | None, every: int | None, max_images: int, folder: str
    ) -> None:
        self.evaluation = evaluation if isinstance(evaluation, Evaluator) else None  # metrics=none composes {}
        self.every = Every(every, max_images=max_images)
        self.path = Path(folder) / "checkpoints" / "best.ckpt"
        self.history: list[dict[str, float]] = []  # a row for each evaluation: images, and every value
        self.protocol: dict[str, Any] = {}
        self.phase = ""  # the model's, at the newest evaluation
        self.first = 0  # the row of the history with which that phase begins
        self.shown = 0  # images after the batch before
        self.chooses: tuple[str, float] | None = None  # the value that tells the best, and 1 where higher is better
        self.result: Result | None = None  # the newest of this process, with the features it compared

    @classmethod
    def of(cls, trainer: L.Trainer) -> "Evaluate | None":
        """That of a run."""
        return next((callback for callback in trainer.callbacks if isinstance(callback, cls)), None)  # type: ignore[attr-defined]

    @property
    def metric(self) -> str | None:
        """The name of the value that chooses the best checkpoint."""
        return self.chooses[0] if self.chooses else None

    @property
    def best(self) -> dict[str, float]:
        """The best evaluation of the newest phase so far; empty before the first."""
        rows = self.history[self.first :]
        if not rows or self.chooses is None:
            return rows[-1] if rows else {}
        name, sign = self.chooses
        rows = [row for row in rows if name in row]  # a resumed run may have other metrics
        return max(rows, key=lambda row: sign * row[name])

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Fetch the metrics' weights, once a machine, before any time is spent on training."""
        if self.evaluation:
            if trainer.local_rank == 0:
                self.evaluation.load()
            trainer.strategy.barrier()
            self.evaluation.load()

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.every.start(pl_module.images)
        self.shown = pl_module.images
        if self.evaluation:
            self.evaluation.check(pl_module.preview, trainer.datamodule, device=pl_module.device)  # type: ignore[attr-defined]

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        images = pl_module.images
        due = self.every(images)
        after, self.shown = 2 * images - self.shown, images  # the next batch has as many images as this one
        if due or pl_module.phase_at(after) != pl_module.phase:
            self._evaluate(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not self.history or self.history[-1]["images"] < pl_module.images:
            self._evaluate(trainer, pl_module)

    def _evaluate(self, trainer: L.Trainer, model: Any) -> None:
        if self.evaluation is None:
            return
        model.synchronise()
        data, protocol = trainer.datamodule, {"generator": "EMA" if model.averaged else "last"}  # type: ignore[attr-defined]
        self.result = result = self.evaluation.evaluate(model.preview, data, device=model.device, protocol=protocol)
        if result.protocol != self.protocol:
            self.protocol = result.protocol
            for logger in trainer.loggers:
                logger.log_hyperparams({"protocol": self.protocol})
        if model.phase != self.phase and self.history:
            # Else it is of a later phase, which an earlier run into this folder had reached: that of this one is kept.
            if trainer.is_global_zero and _is_at(self.path, self.best["images"]):
                os.replace(self.path, self.path.with_name(f"best-{self.phase}.ckpt"))
            self.first = len(self.history)
        self.phase = model.phase
        self.chooses = self.evaluation.chooses(model.goal, result.values)
        self.history.append({"images": model.images, **result.values})
        model.publish(result.values)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, AfterEvaluation):
                callback.on_evaluation(trainer, model, self)
        if self.best["images"] == model.images:
            save(trainer, self.path)


def _is_at(path: Path, images: float) -> bool:
    """Whether there is a checkpoint, and of so many images."""
    try:
        return read(path)["zoo"]["images"] == images
    except ValueError:
        return False
