"""A progress bar in images: how many of the budget, how fast, how long still, the players' losses and the metrics.

How long still: the images to come, at the speed of training alone, and the evaluations, grids and checkpoints to come,
each kind as long as it took so far (`Every.timed`).
"""

import os
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from zoo.ranges import Count
from zoo.run import sizes
from zoo.run.callbacks import Every
from zoo.run.callbacks.evaluate import Evaluate

SOON = 30.0  # seconds; a tenth of a run may be hours


class ImageProgress(ProgressBar):
    """A bar on a terminal; elsewhere a line after half a minute and every tenth of the budget `max_images`."""

    def __init__(self, *, max_images: Count) -> None:
        super().__init__()
        self.max_images = max_images
        self._enabled = True
        self._bar: Progress | None = None

    def disable(self) -> None:  # Lightning calls this on every rank but the first
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._start, self._first, self._tenth = time.perf_counter(), pl_module.images, 0
        self._has_said = False
        if not self._enabled:
            return
        variant, data = type(pl_module).__name__, trainer.datamodule.description  # type: ignore[attr-defined]
        where = f"{trainer.world_size} x {pl_module.device.type}, into {os.path.relpath(trainer.default_root_dir)}"
        scale = pl_module.config.get("scale", "as given")
        print(f"{variant}, scale {scale}\n{data}\n{self.max_images:,} images on {where}", flush=True)
        self._networks_said = False
        console = Console()
        if console.is_terminal:
            whole = lambda: Column(no_wrap=True)  # never cut
            columns = [
                TextColumn("{task.description}"),
                BarColumn(bar_width=12),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f}  {task.fields[speed]}", table_column=whole()),
                TextColumn("{task.fields[left]}", table_column=whole()),
                TextColumn("{task.fields[values]}", table_column=whole()),
            ]
            self._bar = Progress(*columns, console=console, refresh_per_second=4)
            state = {"total": self.max_images, "completed": self._first, "speed": "", "left": "", "values": ""}
            self._task = self._bar.add_task(variant, **state)
            self._bar.start()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Say what is built, with the first batch at hand to look at the networks' feature maps."""
        if not self._enabled or self._networks_said:
            return
        self._networks_said = True
        print("\n".join(sizes.in_words(pl_module, type(batch)(*(field[:1] for field in batch)))), flush=True)
        if pl_module.device.type == "cuda" and pl_module.config.get("scale") == "small":
            print("these widths are for a CPU: scale=medium or scale=paper suit this machine", flush=True)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if not self._enabled:
            return
        now, tenth = pl_module.images, pl_module.images * 10 // self.max_images
        seconds = time.perf_counter() - self._start
        is_due = tenth > self._tenth or (seconds >= SOON and not self._has_said)
        if not self._bar and not is_due:
            return
        self._has_said = True
        speed = (now - self._first) / seconds
        left = in_time(*still(trainer, shown=now - self._first, left=self.max_images - now, seconds=seconds))
        values = in_words(pl_module.run_log.latest, Evaluate.of(trainer))
        if self._bar:
            self._bar.update(self._task, completed=now, speed=f"{speed:,.0f}/s", left=left, values=values)
        else:
            self._tenth = tenth
            images = f"{now:>11,} of {self.max_images:,} images"
            print(f"{images}  {speed:,.0f}/s  {left}  {values}", flush=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)


def still(trainer: L.Trainer, *, shown: int, left: int, seconds: float) -> tuple[float, int]:
    """Seconds that a run still takes, and how many evaluations beside these, where none has been made yet.

    Args:
        shown: images since it began.
        left: images to come.
        seconds: since it began.
    """
    beside = [c.every for c in trainer.callbacks if isinstance(getattr(c, "every", None), Every)]  # type: ignore[attr-defined]
    training = max(seconds - sum(sum(every.seconds) for every in beside), 0.0)
    expected = training / max(shown, 1) * max(left, 0) + sum(every.to_come for every in beside)
    evaluate = Evaluate.of(trainer)
    unknown = evaluate.every.ahead if evaluate and evaluate.evaluation and not evaluate.every.seconds else 0
    return expected, unknown


def in_time(seconds: float, evaluations: int = 0) -> str:
    """A time to come, for people: "3.2 min left", "1.5 h left and 10 evaluations"."""
    minutes = seconds / 60
    words = f"{minutes:.1f} min left" if minutes < 100 else f"{minutes / 60:.1f} h left"
    return f"{words} and {evaluations} evaluation{'s' if evaluations > 1 else ''}" if evaluations else words


def in_words(latest: dict[str, float], evaluate: Evaluate | None) -> str:
    """The players' adversarial terms and what sums up the metrics, as far as they are known: `D 1.21  G 0.93  fid 8.1`;
    all terms where none is adversarial, as where one player learns alone: `E/residual 0.03  E/features 0.01`.

    Args:
        latest: the newest values by name.
        evaluate: which of them are metrics that sum up others; None: none.
    """
    terms = {name.removesuffix("/adversarial"): v for name, v in latest.items() if name.endswith("/adversarial")}
    if not terms:
        moved = [name.removesuffix("grad_norm") for name in latest if name.endswith("/grad_norm")]
        terms = {
            name: value
            for name, value in latest.items()
            if name.startswith(tuple(moved)) and not name.endswith(("/grad_norm", "/lr"))
        }
    if evaluate and evaluate.evaluation:
        terms |= {name: latest[name] for name in evaluate.evaluation.headlines(latest)}
    return "  ".join(f"{name} {value:.2f}" for name, value in terms.items())
