"""The run's log: metrics.csv, Weights & Biases and TensorBoard, all on one axis: images.

A logger takes `log_metrics(values, step=images)`. What else it may be able to do are `ShowsImages`, `Alerts`
and `Summarises`.
"""

import csv
import logging
import os
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from zoo.atomic import replacing
from zoo.game import quirks
from zoo.ranges import Count
from zoo.result import rows_of
from zoo.run.checkpoint import read
from zoo.run.writing import attempt

log = logging.getLogger(__name__)


@runtime_checkable
class ShowsImages(Protocol):
    """A logger that shows pictures."""

    def log_image(self, key: str, images: list[np.ndarray], step: int | None = None) -> None:
        """Show images, each uint8 [H, W, 3], at `step` images."""


@runtime_checkable
class Alerts(Protocol):
    """A logger that can call for a person."""

    def alert(self, title: str, text: str) -> None:
        """Tell the user that something is wrong."""


@runtime_checkable
class Summarises(Protocol):
    """A logger that holds what a run is worth."""

    def summarise(self, best: Mapping[str, float], chosen_by: str | None) -> None:
        """Keep the best evaluation so far: every value, and the `images` at which it was made.

        `chosen_by` is the name of the value that tells the best; None: none does, and the newest is the best.
        """


class CSV(Logger):
    """`metrics.csv`: a row for each number of images at which something was logged, its first column `images`.

    Lightning's CSVLogger deletes an earlier file in its folder. This one goes on with it: a resumed run drops the rows
    that lie ahead of it, and writes them again.
    """

    name = "csv"
    version = ""

    def __init__(self, *, save_dir: str) -> None:
        super().__init__()
        self.path = Path(save_dir) / "metrics.csv"
        self._rows: list[dict[str, Any]] | None = None  # None until the file has been read
        self._failed = False  # whether the file could not be written the last time

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's folder holds its whole configuration in .hydra/config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        whole = self._failed or self._rows is None  # what lies ahead in an earlier file is dropped
        if self._rows is None:
            self._rows = [row for row in self._read() if int(row["images"]) <= step]
            self._columns = list(self._rows[0]) if self._rows else ["images"]
        if new := [name for name in metrics if name not in self._columns]:
            self._columns += new
            whole = True
        if self._rows and int(self._rows[-1]["images"]) == step:
            self._rows[-1] |= metrics
            whole = True
        else:
            self._rows.append({"images": step, **metrics})
        with attempt(self.path) as writing:  # on a full disk the rows are kept here, and written when there is space
            if whole or not self.path.is_file():
                self._write(self._rows)
            else:
                with self.path.open("a", newline="") as file:
                    csv.DictWriter(file, self._columns).writerow(self._rows[-1])
        self._failed = writing.failed

    def _read(self) -> list[dict[str, str]]:
        """The rows of an earlier file; one that holds anything else is kept beside, and that is said."""
        with attempt(self.path):
            rows, damaged = rows_of(self.path)
            if damaged:
                beside = self.path.with_name("metrics-damaged.csv")
                os.replace(self.path, beside)
                log.warning("%s is damaged: %d rows of it are taken, it stays as %s", self.path, len(rows), beside.name)
            return rows
        return []

    def _write(self, rows: list[dict[str, Any]]) -> None:
        with replacing(self.path) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


class MayFail:
    """A logger by a foreign library: whatever it raises, on a full disk or without its service, does not end a run."""

    place: str  # what it writes into, for people
    _attempting = False

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """As `zoo.run.writing.attempt`, of this kind of things; what an attempt calls is a part of it."""
        if self._attempting:
            yield
            return
        self._attempting = True
        try:
            with attempt(f"{what} in {self.place}", Exception, again=False) as writing:
                yield
            if writing.failed:
                self.drop()
        finally:
            self._attempting = False

    def drop(self) -> None:
        """What is to be done after a failure."""


class TensorBoard(MayFail, TensorBoardLogger, ShowsImages):
    """TensorBoard's event files in `save_dir`; after one that could not be written to, another."""

    def __init__(self, *, save_dir: str) -> None:
        super().__init__(save_dir, name="tensorboard", version="", default_hp_metric=False)
        quirks.quiet_tensorboard()
        self.place = self.log_dir

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer; None where there can't be one, which is said."""
        with self.attempt("events"):
            return super().experiment
        return None

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        with self.attempt("events"):
            super().log_hyperparams(params, *args, **kwargs)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with self.attempt("events"):
            super().log_metrics(metrics, step)

    @rank_zero_only
    def log_image(self, key: str, images: list[np.ndarray], step: int | None = None) -> None:
        with self.attempt("events"):
            for image in images:
                self.experiment.add_image(key, image, step, dataformats="HWC")

    def save(self) -> None:
        with self.attempt("events"):
            super().save()

    def finalize(self, status: str) -> None:
        with self.attempt("events"):
            super().finalize(status)

    def drop(self) -> None:
        self._experiment = None
        for file in Path(self.log_dir).glob("events.*"):
            with suppress(OSError):
                if not file.stat().st_size:
                    file.unlink()


class WeightsAndBiases(MayFail, WandbLogger, ShowsImages, Alerts, Summarises):
    """A Weights & Biases run, offline where there is no account or no server, and no training lost for either.

    What is None, W&B's own environment variables may say: WANDB_ENTITY, WANDB_RUN_GROUP, WANDB_TAGS, ...

    Args:
        project: the W&B project.
        save_dir: the run's folder; wandb writes into its subfolder `wandb`.
        name: the run's name in the W&B pages.
        log_checkpoints: upload the checkpoints at the end, as versions of one artifact with the aliases best and last.
        init_timeout: seconds to wait for the server before the run goes on offline.
        entity: the user or team that has the project; None: the account's own.
        group: of runs that belong together; None: a run of a sweep is in the group of its sweep's folder.
        job_type: what the run is among those of its group.
        tags: for the run, in the W&B pages.
        notes: a longer description.
    """

    def __init__(
        self,
        *,
        project: str,
        save_dir: str,
        name: str,
        log_checkpoints: bool,
        init_timeout: Count,
        entity: str | None,
        group: str | None,
        job_type: str | None,
        tags: list[str],
        notes: str | None,
    ) -> None:
        self._id_file = Path(save_dir) / "wandb" / "run-id"  # a resumed run is the same W&B run
        sweep = Path(save_dir).absolute().parent
        if group is None and "WANDB_RUN_GROUP" not in os.environ and (sweep / "multirun.yaml").is_file():
            group = sweep.name
        given = {"entity": entity, "group": group, "job_type": job_type, "notes": notes}
        labels: dict[str, Any] = {key: str(value) for key, value in given.items() if value is not None}
        if tags:
            labels["tags"] = [str(tag) for tag in tags]
        super().__init__(project=project, save_dir=save_dir, name=name, id=self._run_id(), **labels)
        self.log_checkpoints, self.init_timeout = log_checkpoints, init_timeout
        self.place = f"the W&B run in {self._id_file.parent}"
        del self._wandb_init["anonymous"]  # wandb warns of it, even of None

    def _run_id(self) -> str | None:
        """The W&B run that a resumed run goes on with; None: a new one."""
        if not self._id_file.is_file():
            return None
        with attempt(self._id_file):
            text = self._id_file.read_bytes()[:1000].decode(errors="replace")
            if re.fullmatch(r"[A-Za-z0-9_-]{1,128}", text):  # what W&B takes
                return text
        print(f"W&B: {self._id_file} names no run, so a new one begins", flush=True)
        return None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The wandb run, started at its first use; where it can't be, which is said, one that keeps nothing."""
        if self._experiment is None:
            with self.attempt("anything"):
                try:
                    self._experiment = self._start()
                    self._experiment.define_metric("images")
                    self._experiment.define_metric("*", step_metric="images")
                except Exception:
                    self._experiment = wandb.init(mode="disabled")
                    raise
                with attempt(self._id_file), replacing(self._id_file) as part:
                    part.write_text(self._experiment.id)
        return self._experiment

    def _start(self) -> Any:
        # A server that stops answering later is wandb's own affair: it goes on writing to the disk and retries.
        settings = wandb.Settings(
            init_timeout=self.init_timeout, finish_timeout=60, finish_timeout_raises=False, silent=True, console="off"
        )
        mode, reason = os.environ.get("WANDB_MODE"), "no account is configured"
        if mode == "disabled":
            return wandb.init(**self._wandb_init, settings=settings)
        if mode in (None, "online", "shared") and wandb.login(prompt=False, verify=False):
            try:
                run = wandb.init(**self._wandb_init, mode="online", settings=settings)
                print(f"W&B: {run.url}", flush=True)
                return run
            except (wandb.errors.CommError, wandb.errors.UsageError, TimeoutError) as error:
                reason = f"the server can't be reached ({str(error).splitlines()[0]})"
                wandb.teardown()
        elif mode is not None and mode != "online":
            reason = f"WANDB_MODE={mode}"
        run = wandb.init(**self._wandb_init, mode="offline", settings=settings)
        folder = os.path.relpath(Path(run.dir).parent)
        print(f"W&B: recording offline, {reason}; to upload: wandb login, then wandb sync {folder}", flush=True)
        return run

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        with self.attempt("settings"):
            super().log_hyperparams(params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with self.attempt("values"):
            self.experiment.log({**metrics, "images": step})

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        with self.attempt("pictures"):
            self.experiment.log({key: [wandb.Image(image) for image in images], "images": step})

    @rank_zero_only
    def summarise(self, best: Mapping[str, float], chosen_by: str | None) -> None:
        """The run's summary has the best evaluation as `best/...`, and under its own name the value that chose it.

        Without this it has the last of everything.
        """
        own = {chosen_by: best[chosen_by]} if chosen_by else {}
        with self.attempt("the summary"):
            self.experiment.summary.update({f"best/{name}": value for name, value in best.items()} | own)

    @rank_zero_only
    def alert(self, title: str, text: str) -> None:
        """Tell the user, by the means that their W&B settings name (mail, Slack); offline, once the run is synced."""
        with self.attempt("alerts"):
            self.experiment.alert(title=title, text=text, level="WARN")

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the run, with its checkpoints as an artifact if asked."""
        if self._experiment is None:
            return
        with self.attempt("checkpoints"):
            if self.log_checkpoints:
                self._log_checkpoints(self._experiment)
        with self.attempt("the last part"):
            self._experiment.finish(exit_code=0 if status == "success" else 1)
        self._experiment = None

    def _log_checkpoints(self, run: Any) -> None:
        """The newest and the best of each phase as versions of one artifact, in the order in which they were made."""
        folder, versions = Path(str(self.save_dir)) / "checkpoints", dict[int, list[Path]]()
        for path in sorted([*folder.glob("best*.ckpt"), *folder.glob("last.ckpt")]):
            try:
                versions.setdefault(read(path)["zoo"]["images"], []).append(path)  # one state for so many images
            except ValueError as error:
                log.warning("W&B: not uploaded, %s", error)
        for images, paths in sorted(versions.items()):
            artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata={"images": images})
            artifact.add_file(str(paths[0]))
            run.log_artifact(artifact, aliases=[path.stem for path in paths])
