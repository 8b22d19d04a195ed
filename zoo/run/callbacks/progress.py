"""A progress bar in images: how many of the budget, how fast, how long still, the players' losses and the metrics."""

import os
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from zoo.run.callbacks.evaluate import Evaluate


class ImageProgress(ProgressBar):
    """A bar on a terminal; elsewhere a line every tenth of the run.

    Args:
        max_images: the budget.
    """

    def __init__(self, *, max_images: int) -> None:
        super().__init__()
        self.max_images = max_images
        self._enabled = True
        self._bar: Progress | None = None

    def disable(self) -> None:
        """Show nothing: Lightning calls this on every rank but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._start, self._first, self._tenth = time.perf_counter(), pl_module.images, 0
        if self._enabled:
            sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in pl_module.named_children()}
            print(
                f"{type(pl_module).__name__}: "
                + ", ".join(f"{name} {size / 1e6:.2f} M" for name, size in sizes.items() if size)
                + f" parameters\n{trainer.datamodule.description}\n{self.max_images:,} images on "  # type: ignore[attr-defined]
                f"{trainer.world_size} x {pl_module.device.type}, into {os.path.relpath(trainer.default_root_dir)}",
                flush=True,
            )
        console = Console()
        if self._enabled and console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=12),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f}  {task.fields[speed]}", table_column=whole()),
                TimeRemainingColumn(compact=True, table_column=whole()),
                TextColumn("{task.fields[values]}", table_column=whole()),
                console=console,
                refresh_per_second=4,
            )
            self._task = self._bar.add_task(
                type(pl_module).__name__, total=self.max_images, completed=self._first, speed="", values=""
            )
            self._bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if not self._enabled:
            return
        now, speed = pl_module.images, f"{self._speed(pl_module.images):,.0f}/s"
        if self._bar:
            values = in_words(pl_module.run_log.latest, Evaluate.of(trainer))
            self._bar.update(self._task, completed=now, speed=speed, values=values)
        elif now * 10 // self.max_images > self._tenth:
            self._tenth = now * 10 // self.max_images
            left = (self.max_images - now) / max(self._speed(now), 1e-9)
            print(
                f"{now:>11,} of {self.max_images:,} images  {speed}  {max(left, 0) / 60:.1f} min left  "
                f"{in_words(pl_module.run_log.latest, Evaluate.of(trainer))}",
                flush=True,
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._stop()

    def _speed(self, now: int) -> float:
        return (now - self._first) / (time.perf_counter() - self._start)

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None


def whole() -> Column:
    """A column that is never cut."""
    return Column(no_wrap=True)


def in_words(latest: dict[str, float], evaluate: Evaluate | None) -> str:
    """The players' adversarial terms and what sums up the metrics, as far as they are known: `D 1.21  G 0.93  fid 8.1`.

    Args:
        latest: the newest values by name.
        evaluate: which of them are metrics that sum up others; None: none.
    """
    terms = {name.removesuffix("/adversarial"): v for name, v in latest.items() if name.endswith("/adversarial")}
    terms |= {name: latest[name] for name in (evaluate.headlines(latest) if evaluate else [])}
    return "  ".join(f"{name} {value:.2f}" for name, value in terms.items())
