"""Metrics in the loop; the best checkpoint, which they choose; and the end of a run that no longer betters."""

import math
import os
import re
from pathlib import Path
from typing import Any

import lightning as L

from zoo.metrics.evaluator import Evaluator
from zoo.metrics.metric import Result
from zoo.ranges import Count
from zoo.run.callbacks import Every, Remembers, images_of, save
from zoo.run.checkpoint import read
from zoo.run.loggers import Summarises
from zoo.text import printable

ENDS = ("low", "high")  # of an interval: what the names of values end in


class AfterEvaluation(L.Callback):
    """Base of the callbacks that look at what has been evaluated."""

    def on_evaluation(self, trainer: L.Trainer, pl_module: Any, evaluate: "Evaluate") -> None:
        """Called after each evaluation on every rank, before the best checkpoint is saved: it holds what they find."""
        raise NotImplementedError


class Evaluate(Remembers):
    """Evaluates the model every so many images, as a phase ends and at the end, and keeps `checkpoints/best.ckpt`.

    Callbacks that are `AfterEvaluation` are called after each.

    Which value tells the best checkpoint, the metrics say: of translation in several directions, say, the mean of the
    Frechet distances. Where none does, the newest is the best. Values are compared while all that they rest on is the
    same. A run of several phases has the best of its newest phase, and those of earlier ones beside it:
    `best-pixel.ckpt`. A run that goes on with other images, or by another protocol, begins anew to look for the best,
    and the earlier one lies beside it, named after its images: `best-000064000.ckpt`; so does one that is ahead of the
    state from which a run goes on, after it has diverged, say.

    Args:
        evaluation: what to measure, and by which protocol; None or {} measures nothing.
        every: images between two evaluations; None: a tenth of `max_images`, the budget.
        patience: evaluations in a row without a better value after which the run ends; None: it goes on. A phase that
            another one follows is not cut short.

    Raises:
        ValueError: for a patience that is no number of evaluations, or that has none to wait for.
    """

    remembered = ("history", "protocol", "comparable", "phase", "first", "chooses", "anew", "intervals")

    def __init__(
        self,
        *,
        evaluation: Evaluator | dict[str, Any] | None,
        every: int | None,
        patience: int | None,
        max_images: Count,
        folder: str,
    ) -> None:
        if patience is not None and patience < 1:
            raise ValueError(f"callbacks.evaluate.patience={patience} must be 1 evaluation or more; null never stops")
        if patience is not None and not evaluation:
            raise ValueError(
                f"callbacks.evaluate.patience={patience} waits for a value to better, and metrics=none measures "
                "nothing: choose other metrics, or callbacks.evaluate.patience=null"
            )
        self.evaluation = evaluation if isinstance(evaluation, Evaluator) else None  # metrics=none composes {}
        self.every, self.patience, self.max_images = Every(every, max_images=max_images), patience, max_images
        self.path = Path(folder) / "checkpoints" / "best.ckpt"
        self.history: list[dict[str, float]] = []  # a row for each evaluation: images, and every value
        self.intervals: dict[int, dict[str, tuple[float, float]]] = {}  # of the values, by the row's images
        self.protocol: dict[str, Any] = {}
        self.comparable: dict[str, Any] = {}  # what the newest values rest on; see `Evaluator.comparable`
        self.phase = ""  # the model's, at the newest evaluation
        self.first = 0  # the row of the history with which what is compared begins
        self.anew: list[int] = []  # the images at which other data or metrics came
        self.shown = 0  # images after the batch before
        self.chooses: tuple[str, float] | None = None  # the value that tells the best, and 1 where higher is better
        self.result: Result | None = None  # the newest of this process, with the features it compared
        self.stopped = ""  # why the run ended before its budget, if it did

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        history, first, chooses = (state_dict[name] for name in ("history", "first", "chooses"))
        wanted = {"images", *([chooses[0]] if chooses else [])}
        if not 0 <= first <= len(history) or any(not wanted <= row.keys() for row in history[first:]):
            raise LookupError("evaluations without the value that chooses the best")
        super().load_state_dict({"intervals": {}, **state_dict})  # which a run of an earlier version does not have

    @classmethod
    def of(cls, trainer: L.Trainer) -> "Evaluate | None":
        """That of a run."""
        return next((callback for callback in trainer.callbacks if isinstance(callback, cls)), None)  # type: ignore[attr-defined]

    @property
    def metric(self) -> str | None:
        """The name of the value that chooses the best checkpoint."""
        return self.chooses[0] if self.chooses else None

    @property
    def rows(self) -> list[dict[str, float]]:
        """The evaluations that are compared: those of the newest phase, on these data."""
        return self.history[self.first :]

    @property
    def best(self) -> dict[str, float]:
        """The best evaluation of the newest phase so far; empty before the first."""
        if not self.rows or self.chooses is None:
            return self.rows[-1] if self.rows else {}
        name, sign = self.chooses
        return max(self.rows, key=lambda row: -math.inf if math.isnan(row[name]) else sign * row[name])

    def intervals_of(self, row: dict[str, float]) -> dict[str, tuple[float, float]]:
        """The intervals of a row of the history, of the values that have one."""
        return self.intervals.get(int(row.get("images", -1)), {})

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
        data = trainer.datamodule  # type: ignore[attr-defined]
        if self.evaluation:
            self.evaluation.check(pl_module.preview, data, device=pl_module.device)
        self._hold_against(data, trainer, pl_module)
        self._stop_if_stuck(trainer, pl_module)

    def _hold_against(self, data: Any, trainer: L.Trainer, model: Any) -> None:
        """Compare nothing that rests on other data or metrics than those that the run goes on with."""
        comparable, before = self._on(data, self.comparable), self.comparable
        if trainer.world_size > 1:  # the files of another machine may have other times of modification
            comparable = trainer.strategy.broadcast(comparable)
        self.comparable = comparable
        aside = self._put_aside(data, model.images) if trainer.is_global_zero else []
        if comparable == before and trainer.is_global_zero:
            self._put_back()
            if aside:
                print(f"best.ckpt was ahead of image {model.images:,}: it stays as {' and '.join(aside)}", flush=True)
        if not self.history or comparable == before:
            return
        self.first = len(self.history)
        self.anew.append(model.images)
        for name in self.history[-1]:  # what is shown while nothing else is known
            model.run_log.latest.pop(name, None)
        if trainer.is_global_zero:
            other = [name for name in {**before, **comparable} if before.get(name) != comparable.get(name)]
            what = "data" if "fingerprint" in other else f"metrics ({printable(', '.join(other))})"
            kept = f", the earlier best is {' and '.join(aside)}" if aside else ""
            print(f"other {what}: earlier values are not compared; best.ckpt begins anew{kept}", flush=True)

    def _on(self, data: Any, before: dict[str, Any]) -> dict[str, Any]:
        """What values on these data rest on. Where nothing is measured, that is what earlier ones rest on, on these."""
        if self.evaluation:
            return self.evaluation.comparable(data)
        if not before:
            return {}
        try:
            return before | {"fingerprint": data.fingerprint(before["split"])}
        except ValueError:  # there is no such split
            return before | {"fingerprint": ""}

    def _put_aside(self, data: Any, images: int) -> list[str]:
        """Rename the best checkpoints that rest on something else, or are ahead of where this goes on, at `images`.

        So nothing takes them for those of this run.

        Returns:
            Their new names.
        """
        renamed: list[str] = []
        for path in sorted(self.path.parent.glob("best*.ckpt")):
            state = None if re.search(r"-\d{9,}(-\d+)?$", path.stem) else _content(path)
            if state is None:  # it lies aside already, or can't be read, which is said where it is used
                continue
            before = state["callbacks"].get(self.state_key, {}).get("comparable", {})
            if state["zoo"]["images"] > images or before != self._on(data, before):
                name, number = f"{path.stem}-{state['zoo']['images']:09d}", 1
                while (target := path.with_name(f"{name}{f'-{number}' if number > 1 else ''}.ckpt")).exists():
                    number += 1
                os.replace(path, target)
                renamed.append(target.name)
        return renamed

    def _put_back(self) -> None:
        """Rename the best checkpoint of these data back, where the run went on with others and now returns."""
        if self.best and not self.path.exists():
            for path in sorted(self.path.parent.glob(f"best-{int(self.best['images']):09d}*.ckpt")):
                content = _content(path)
                if content and content["callbacks"].get(self.state_key, {}).get("comparable") == self.comparable:
                    os.replace(path, self.path)
                    return

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        images = pl_module.images
        due = self.every(images)
        after, self.shown = 2 * images - self.shown, images  # the next batch has as many images as this one
        if due or pl_module.phase_at(after) != pl_module.phase:
            self._evaluate(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not self.rows or self.rows[-1]["images"] < pl_module.images:
            self._evaluate(trainer, pl_module)

    def _evaluate(self, trainer: L.Trainer, model: Any) -> None:
        if self.evaluation is None:
            return
        with self.every.timed():
            self._measure(self.evaluation, trainer, model)

    def _measure(self, evaluation: Evaluator, trainer: L.Trainer, model: Any) -> None:
        model.synchronise()
        data, protocol = trainer.datamodule, {"generator": "EMA" if model.averaged else "last"}  # type: ignore[attr-defined]
        self.result = result = evaluation.evaluate(model.preview, data, device=model.device, protocol=protocol)
        if result.protocol != self.protocol:
            self.protocol = result.protocol
            for logger in trainer.loggers:
                logger.log_hyperparams({"protocol": self.protocol})
        if model.phase != self.phase and self.rows:
            # Else it is of a later phase, which an earlier run into this folder had reached: that of this one is kept.
            if trainer.is_global_zero and images_of(self.path) == self.best["images"]:
                os.replace(self.path, self.path.with_name(f"best-{self.phase}.ckpt"))
            self.first = len(self.history)
        self.phase = model.phase
        self.chooses = evaluation.chooses(model.goal, result.values)
        self.history.append({"images": model.images, **result.values})
        self.intervals[model.images] = result.intervals
        headlines = evaluation.headlines(result.values)
        model.publish(result.values | bounds({k: v for k, v in result.intervals.items() if k in headlines}))
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, AfterEvaluation):
                callback.on_evaluation(trainer, model, self)
        for logger in trainer.loggers:
            if isinstance(logger, Summarises):
                logger.summarise(self.best | bounds(self.intervals_of(self.best)), chosen_by=self.metric)
        if self.best["images"] == model.images:
            save(trainer, self.path)
        self._stop_if_stuck(trainer, model)

    def _stop_if_stuck(self, trainer: L.Trainer, model: Any) -> None:
        """End the run where patience is at its end: on every rank alike, since all have the same values."""
        if self.patience is None or not self.best or self.metric is None:
            return
        waited = len(self.rows) - 1 - self.rows.index(self.best)
        if waited >= self.patience and model.phase_at(self.max_images) == self.phase:
            trainer.should_stop = True
            self.stopped = (
                f"{self.metric} has not bettered in {waited} evaluations, since image {self.best['images']:,} "
                f"(callbacks.evaluate.patience={self.patience})"
            )
            if trainer.is_global_zero:
                print(f"the run ends at image {model.images:,}: {self.stopped}", flush=True)


def bounds(intervals: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Intervals as values of their own: fid_mnist_low, fid_mnist_high."""
    return {f"{name}_{end}": value for name, ends in intervals.items() for end, value in zip(ENDS, ends, strict=True)}


def _content(path: Path) -> dict[str, Any] | None:
    """A checkpoint; None where there is none that can be read."""
    try:
        return read(path)
    except ValueError:
        return None
