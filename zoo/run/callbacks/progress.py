"""A progress bar in images: how many of the budget, how fast, how long still, the players' losses and the metrics."""

import os
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from zoo.ranges import Count
from zoo.run import sizes
from zoo.run.callbacks.evaluate import Evaluate


class ImageProgress(ProgressBar):
    """A bar on a terminal; elsewhere a line every tenth of the run, whose budget is `max_images`."""

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
                TimeRemainingColumn(compact=True, table_column=whole()),
                TextColumn("{task.fields[values]}", table_column=whole()),
            ]
            self._bar = Progress(*columns, console=console, refresh_per_second=4)
            state = {"total": self.max_images, "completed": self._first, "speed": "", "values": ""}
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
        if not self._bar and tenth <= self._tenth:
            return
        speed = (now - self._first) / (time.perf_counter() - self._start)
        values = in_words(pl_module.run_log.latest, Evaluate.of(trainer))
        if self._bar:
            self._bar.update(self._task, completed=now, speed=f"{speed:,.0f}/s", values=values)
        else:
            self._tenth, left = tenth, max(self.max_images - now, 0) / max(speed, 1e-9) / 60
            images = f"{now:>11,} of {self.max_images:,} images"
            print(f"{images}  {speed:,.0f}/s  {left:.1f} min left  {values}", flush=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)


def in_words(latest: dict[str, float], evaluate: Evaluate | None) -> str:
    """The players' adversarial terms and what sums up the metrics, as far as they are known: `D 1.21  G 0.93  fid 8.1`.

    Args:
        latest: the newest values by name.
        evaluate: which of them are metrics that sum up others; None: none.
    """
    terms = {name.removesuffix("/adversarial"): v for name, v in latest.items() if name.endswith("/adversarial")}
    if evaluate and evaluate.evaluation:
        terms |= {name: latest[name] for name in evaluate.evaluation.headlines(latest)}
    return "  ".join(f"{name} {value:.2f}" for name, value in terms.items())
