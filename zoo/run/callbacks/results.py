"""What has come of a run so far, for sweeps and for `zoo runs`."""

from pathlib import Path
from typing import Any

import lightning as L

from zoo.result import Result
from zoo.run.callbacks.evaluate import AfterEvaluation, Evaluate
from zoo.run.writing import attempt


class Results(AfterEvaluation):
    """Keeps `result.json` in the run's folder: its state, and what its best and its newest evaluation have found."""

    def __init__(self, *, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._write(trainer, pl_module, "running")

    def on_evaluation(self, trainer: L.Trainer, pl_module: Any, evaluate: Evaluate) -> None:
        self._write(trainer, pl_module, "running")

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._write(trainer, pl_module, "finished")

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        states = {FloatingPointError: "diverged", SystemExit: "stopped", KeyboardInterrupt: "stopped"}
        state = next((state for kind, state in states.items() if isinstance(exception, kind)), "failed")
        self._write(trainer, pl_module, state)

    def _write(self, trainer: L.Trainer, model: Any, state: str) -> None:
        if not trainer.is_global_zero:
            return
        evaluate = Evaluate.of(trainer)
        values: dict[str, Any] = {}
        if evaluate and evaluate.history:
            best, last = evaluate.best, evaluate.history[-1]
            intervals = {"intervals": evaluate.intervals_of(best), "last_intervals": evaluate.intervals_of(last)}
            values = {"values": best, "last": last, **intervals}
        if evaluate and evaluate.chooses:
            name, sign = evaluate.chooses
            values |= {"metric": name, "higher_is_better": sign > 0, "best": evaluate.best.get(name)}
        with attempt(self.folder / "result.json"):
            Result(folder=self.folder, state=state, images=model.images, **values).write()
