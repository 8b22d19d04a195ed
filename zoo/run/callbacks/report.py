"""The result of a run, for people: report.md with the last grid, the curves and the figures; report.html to look at."""

import logging
import platform
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only

from zoo.atomic import replacing
from zoo.batch import ImagePairs
from zoo.game.abilities import Scores, Translates, Upscales, attributes_of, classes_of
from zoo.metrics.evaluator import default_panel
from zoo.result import rows_of
from zoo.run.account import Account, own_settings, versions, write_page
from zoo.run.callbacks import images_of, kept
from zoo.run.callbacks.evaluate import ENDS, Evaluate
from zoo.run.callbacks.health import Health
from zoo.run.config import typed_again
from zoo.run.writing import attempt
from zoo.text import trains

log = logging.getLogger(__name__)


class Report(L.Callback):
    """Writes `report.md`, `curves.png` and `report.html` into the run's folder at the end of training, and says where
    everything is.

    `overrides` are the settings of the command line that made the run.
    """

    def __init__(self, *, folder: str, overrides: list[str], seed: int) -> None:
        self.folder, self.seed = Path(folder), seed
        self.command = typed_again(*overrides)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._start, self._first = time.perf_counter(), pl_module.images

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        seconds = time.perf_counter() - self._start
        shown = pl_module.images - self._first
        evaluate = Evaluate.of(trainer)
        health = next((c for c in trainer.callbacks if isinstance(c, Health)), None)  # type: ignore[attr-defined]
        grids = [p for p in (self.folder / "samples").glob("*.png") if p.stem[-9:].isdigit()]
        grids.sort(key=lambda path: (path.stem[-9:], path.name))
        panel = evaluate.evaluation.panel if evaluate and evaluate.evaluation else default_panel
        curves = False
        with attempt(self.folder / "curves.png"):
            curves = draw_curves(self.folder / "metrics.csv", self.folder / "curves.png", panel)
        lines = [
            f"# {type(pl_module).__name__}, {pl_module.images:,} images",
            "",
            f"    {self.command}",
            "",
            f"- seed {self.seed}, {seconds:,.0f} s for {shown:,} images with evaluation ({shown / seconds:,.0f}/s), "
            f"{trainer.world_size} x {trainer.strategy.root_device.type}, precision {trainer.precision}",
            f"- {trainer.datamodule.description}",  # type: ignore[attr-defined]
            f"- torch {torch.__version__}, lightning {L.__version__}, Python {platform.python_version()}",
            "",
        ]
        summary = []
        if evaluate and evaluate.rows:
            final, best = evaluate.rows[-1], evaluate.best
            summary = [result_in_words(evaluate)]
            if final["images"] < pl_module.images:  # metrics=none, since
                summary[0] += f"; nothing was measured up to image {pl_module.images:,}"
            if evaluate.metric and images_of(evaluate.path) != best["images"]:
                summary.append(f"it could not be saved: {kept(evaluate.path.parent)}")
            lines += ["| value | final | 95 % interval | best | 95 % interval |", "|---|---|---|---|---|"]
            for name in final:
                cells = [f"{final[name]:.6g}", between(evaluate.intervals_of(final).get(name))]
                cells += [f"{best.get(name, final[name]):.6g}", between(evaluate.intervals_of(best).get(name))]
                lines.append(f"| {name} | {' | '.join(cells)} |")
            protocol = ", ".join(f"{name} {value}" for name, value in evaluate.protocol.items())
            lines += ["", f"Protocol: {protocol}.", "", f"{'; '.join(summary)}.", ""]
        if evaluate and evaluate.stopped:
            lines += [f"The run ended before its budget: {evaluate.stopped}.", ""]
        if evaluate and evaluate.anew:
            moments = ", ".join(f"{images:,}" for images in evaluate.anew)
            lines += [f"Other data or metrics from image {moments} on: values from before are not compared.", ""]
        if health and (health.history or health.said):
            lines += ["## Health", "", f"{len(health.history)} looks at the game, {health.judged} of them judged.", ""]
            healthy = "Nothing was wrong." if health.judged > 1 else "The run was too short to be judged."
            lines += [*([f"- {words}" for words in health.said.values()] or [healthy]), ""]
        if grids:
            images = [pl_module.images]
            if evaluate and evaluate.best and evaluate.best["images"] != pl_module.images:
                images.insert(0, int(evaluate.best["images"]))
            lines += ["## Samples", ""]
            for number in images:
                shown_then = [grid for grid in grids if int(grid.stem[-9:]) == number]
                lines += [f"![image {number:,}](samples/{grid.name})" for grid in shown_then] + [""]
        if curves:
            lines += ["## Curves", "", "![curves](curves.png)", ""]
        with attempt(self.folder / "report.md"), replacing(self.folder / "report.md") as part:
            part.write_text("\n".join(lines))
        self._write_page(trainer, pl_module, evaluate, health, seconds, summary)
        print("\n".join(["", *summary, *self._directions(trainer, pl_module, evaluate, grids)]), flush=True)

    def _write_page(
        self,
        trainer: L.Trainer,
        model: Any,
        evaluate: Evaluate | None,
        health: Health | None,
        seconds: float,
        summary: list[str],
    ) -> None:
        """report.html: whatever is wrong with a grid or a table of the folder ends nothing."""
        path = self.folder / "report.html"
        evaluation = evaluate.evaluation if evaluate else None
        shown = model.images - self._first
        with attempt(path, Exception):  # pictures are decoded and encoded by a library
            _, data, settings = own_settings(model.config)
            notes = [f"The run ended before its budget: {evaluate.stopped}"] if evaluate and evaluate.stopped else []
            if evaluate and evaluate.anew:
                moments = ", ".join(f"{images:,}" for images in evaluate.anew)
                notes.append(f"Other data or metrics from image {moments} on: values from before are not compared")
            facts = {
                "data": trainer.datamodule.description,  # type: ignore[attr-defined]
                "seed": str(self.seed),
                "time": f"{seconds:,.0f} s for {shown:,} images with evaluation ({shown / seconds:,.0f}/s)",
                "machine": f"{trainer.world_size} x {trainer.strategy.root_device.type}, precision {trainer.precision}",
                "ended": time.strftime("%Y-%m-%d %H:%M %Z"),
                "versions": ", ".join(f"{name} {of}" for name, of in versions().items()),
            }
            account = Account(
                folder=self.folder,
                title=f"{type(model).__name__} on {data}" if data else type(model).__name__,
                state="finished",
                images=model.images,
                command=self.command,
                facts=facts,
                result="; ".join(summary),
                notes=notes,
                evaluate=evaluate,
                sign=evaluation.sign if evaluation else lambda name: 0.0,
                panel=evaluation.panel if evaluation else default_panel,
                said=[*health.said.values()] if health else (),
                looks=len(health.history) if health else None,
                judged=health.judged if health else 0,
                limits=vars(health.limits) if health else {},
                settings=settings,
            )
            if passed_over := write_page(account, path):
                more = f"; and {len(passed_over) - 3} more" if len(passed_over) > 3 else ""
                log.warning("report.html: not shown: %s%s", "; ".join(passed_over[:3]), more)

    def _directions(self, trainer: Any, model: Any, evaluate: Evaluate | None, grids: list[Path]) -> Iterator[str]:
        """Where everything is, and what to try next."""
        folder = self.folder.relative_to(Path.cwd()) if self.folder.is_relative_to(Path.cwd()) else self.folder
        yield f"run          {folder}"
        if grids:
            yield f"samples      {folder}/samples/{grids[-1].name}"
        chosen = evaluate and evaluate.rows and evaluate.metric
        page = (self.folder / "report.html").is_file()
        best = "best.ckpt (chosen by that) and last.ckpt" if chosen else "last.ckpt"
        if (self.folder / "report.md").is_file():
            yield f"report       {folder}/report.md{', and report.html for a browser' if page else ''}"
        yield f"checkpoints  {folder}/checkpoints/{best}"
        yield ""
        yield "try next:"
        run = shlex.quote(str(folder))  # in lines to type
        images = "data=labelled_folder metrics=none" if classes_of(model) else "data=folder metrics=none"
        if isinstance(model, Scores):
            yield f"  zoo score {run} FOLDER -o scores.csv     how unusual each of your images is"
        if isinstance(model, Translates):
            yield f"  zoo translate {run} FOLDER -o OUT     a folder of your images, translated X->Y"
            batch = next(iter(trainer.datamodule.evaluation_loader(split="train", num=1, batch_size=1)))
            if isinstance(batch, ImagePairs):
                images = f"data={'paired' if bool(batch.aligned.all()) else 'unpaired'}_folder metrics=none"
        elif isinstance(model, Upscales):
            yield f"  zoo upscale {run} photo.jpg -o big.png     an image, or a folder of them, enlarged"
            images = "data=super_resolution_folder"
        else:
            of_what = f" --attributes {shlex.quote(f'{names[0]}=1')}" if (names := attributes_of(model)) else ""
            yield f"  zoo sample {run} -n 64{of_what} -o grid.png     more images from this generator"
        if evaluate and evaluate.rows:
            yield f"  zoo evaluate {run}                     its metrics once more, with their protocol"
        if getattr(trainer.datamodule, "root", None) is None:  # these are not the user's own
            variant = type(model).__module__.rsplit(".", 1)[-1]  # named like its configuration
            yield f"  {trains()} model={variant} {images} data.root=~/pictures     your own images"
        yield "  zoo list                                  every variant, data set and recipe"


def between(interval: tuple[float, float] | None) -> str:
    """The ends of an interval; empty where there is none."""
    return f"{interval[0]:.4g} to {interval[1]:.4g}" if interval else ""


def result_in_words(evaluate: Evaluate) -> str:
    """Which generator of the run is its result, and what it is worth: `best.ckpt`, along the run or at its end."""
    final, best, name = evaluate.rows[-1], evaluate.best, evaluate.metric
    if name is None or not best:
        return f"result: last.ckpt, image {final['images']:,}"
    averaged = "averaged " if evaluate.protocol.get("generator") == "EMA" else ""
    where = f"result: best.ckpt, the {averaged}generator at image {best['images']:,}, {name} {best[name]:.2f}"
    if best["images"] == final["images"]:
        return f"{where}: the last is the best"
    change = final[name] / best[name] - 1
    more = f"{abs(change):.1%} {'more' if change > 0 else 'less'}"
    more = "about the same" if more.startswith("0.0%") else more
    return f"{where}; the last, at {final['images']:,}, has {final[name]:.2f}, {more}"


def draw_curves(table: Path, picture: Path, panel: Callable[[str], str]) -> bool:
    """Plot metrics.csv over images, in the panel of each value's name; returns whether there was anything to plot."""
    rows, _ = rows_of(table)
    if not rows:
        return False
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter

    panels: dict[str, list[str]] = {}
    for name in rows[0]:
        if name != "images" and not name.endswith("/lr"):
            panels.setdefault(panel(name), []).append(name)
    if not panels:
        return False
    columns, rows_of_panels = min(3, len(panels)), -(-len(panels) // 3)
    size = (4 * columns, 3 * rows_of_panels)
    figure, axes = plt.subplots(rows_of_panels, columns, figsize=size, squeeze=False)
    for axis, (title, members) in zip(axes.flat, panels.items(), strict=False):
        for name in members:
            points = [(float(row["images"]), float(row[name])) for row in rows if row[name]]
            base, _, end = name.rpartition("_")
            if end in ENDS and base in members:  # the ends of an interval are a band behind the curve
                continue
            if ends := [end for end in ENDS if f"{name}_{end}" in members]:
                of_ends = [[float(row[f"{name}_{which}"]) for row in rows if row[name]] for which in ends]
                axis.fill_between([x for x, _ in points], *of_ends, alpha=0.2)
            axis.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 30 else None)
        low, high = axis.get_ylim()
        axis.set(title=title, xlabel="images", ylim=(0, None) if 0 <= low < high / 2 else None)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))  # 150k
        axis.legend(fontsize=7)
    for axis in list(axes.flat)[len(panels) :]:
        axis.remove()
    figure.tight_layout()
    try:
        with replacing(picture) as part:
            figure.savefig(part, dpi=100)
    finally:
        plt.close(figure)
    return True
