"""The frame of an evaluation: shows a list of metrics what a model makes, and gives their values with their protocol.

The value of N processes equals that of one: every image has a global position, each rank takes its share of positions,
and what is reduced are sums and tables with a row per position. What depends on real images alone is computed once and
kept by the fingerprint of data and extractor.

A model may show several kinds of images ("X->Y", "Y->X"). Where more than one has the headline of a metric (the Frechet
distance, say), `mean/HEADLINE`, their mean, comes first among the values: by it the best checkpoint is chosen.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.batch import Preview
from zoo.metrics.metric import Data, Metric, Plain, Result, Task, fields_of

log = logging.getLogger(__name__)

Previews = Callable[[Any], Mapping[str, Preview]]


class Evaluator:
    """Measures a list of metrics on the images of a model.

    Args:
        metrics: what is measured, in the order of the values. The first whose headline suits the model's goal chooses
            the best checkpoint.
        split: of the data that the reals come from, "train" or "test".
        num_real: real images, from the first on; None: the whole split.
        num_fake: generated images, at positions 0 to num_fake - 1; None: as many as real ones, which suits translated
            images, since a data set has no more inputs.
        batch_size: images per rank and step.
        cache_dir: where real statistics are kept from run to run; None: in memory only.

    Raises:
        ValueError: no such split, or a number of images that leaves a metric undefined.
    """

    def __init__(
        self,
        *,
        metrics: Sequence[Metric],
        split: str,
        num_real: int | None,
        num_fake: int | None,
        batch_size: int,
        cache_dir: str | None,
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f'split={split!r}: give "train" or "test"')
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        for metric in metrics:
            metric.check_numbers(num_real=num_real, num_fake=num_fake)
        self.metrics = list(metrics)
        self.split = split
        self.num_real = num_real
        self.num_fake = num_fake
        self.batch_size = batch_size
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir is not None else None
        self._reals: dict[str, dict[str, Tensor]] = {}  # the real statistics of earlier evaluations, on rank 0

    def prepare(self) -> None:
        """Fetches weights that are missing; call it on one rank per machine, before training starts."""
        for metric in self.metrics:
            metric.prepare()

    def load(self) -> None:
        """Builds the metrics' networks; every rank calls it after `prepare`."""
        for metric in self.metrics:
            metric.load()

    # What values are for people -------------------------------------------------------------------------------------

    def headlines(self, names: Iterable[str], goal: str | None = None) -> dict[str, float]:
        """Which of these values sum up a metric, each with its sign: 1 where higher is better, else -1.

        Args:
            names: of values, in their order.
            goal: only those that may choose the best checkpoint while this is the model's goal; None: all.
        """
        names, signs = list(names), dict[str, float]()
        for metric in self.metrics:
            if metric.headline and (goal is None or metric.may_choose(goal)):
                overall = [name for name in names if f"/{name}".endswith(f"/{metric.headline}")]
                signs |= dict.fromkeys(overall[:1], 1.0 if metric.higher_is_better else -1.0)
        return signs

    def chooses(self, goal: str, names: Iterable[str]) -> tuple[str, float] | None:
        """Which value tells the best checkpoint of a model with this goal, and its sign; None: none does."""
        return next(iter(self.headlines(names, goal).items()), None)

    def panel(self, name: str) -> str:
        """The panel of the curves in which a value is drawn: "D/accuracy_real" belongs with "D/accuracy_fake"."""
        panels = (metric.panel(name) for metric in self.metrics)
        return next((panel for panel in panels if panel), default_panel(name))

    # Measuring ------------------------------------------------------------------------------------------------------

    def check(self, preview: Previews, data: Data, *, device: torch.device | str) -> None:
        """Call it before time is spent on training: looks at the numbers of images and at one preview.

        Raises:
            ValueError: no such split, too few images in it, a preview that has nothing to measure, or images that a
                metric can't take.
        """
        numbers = self._numbers(data)
        batches = iter(data.evaluation_loader(split=self.split, num=1, rank=0, world_size=1, batch_size=1))
        device = torch.device(device)
        with undisturbed(device):
            previews = preview(on(next(batches), device))
            self._check(previews)
            fields = {key: fields_of(shown) for key, shown in previews.items()}
            if not self._measured(fields, data, numbers, device, {}):
                needs = sorted({name for metric in self.metrics for name in metric.needs})
                raise ValueError(f"the model shows no {' and '.join(needs)} for these metrics: set metrics=none")

    def evaluate(
        self,
        preview: Previews,
        data: Data,
        *,
        device: torch.device | str,
        rank: int = 0,
        world_size: int = 1,
        protocol: Mapping[str, Plain] | None = None,
    ) -> Result:
        """Generates and measures; every rank calls it and every rank gets the same result.

        The random state of the training is left as it was.

        Args:
            preview: a batch on `device` -> {"samples": Preview(fake, real, ...)}, images in [-1, 1]. Fakes must
                depend on `batch.index` and what else stands in its row, not on the rank or on a random state. Under
                any key but "samples", the key becomes the prefix of the values' names: "X->Y/fid".
            data: the data module.
            device: where images are generated and features computed.
            rank, world_size: of torch.distributed's default group, which must be up when world_size > 1.
            protocol: what else must be equal for values to be comparable, say {"ema": "10k", "seed": 1}.

        Raises:
            ValueError: num_real exceeds the split; images that are not comparable, or that the extractor can't take.
            RuntimeError: the loader did not yield each position exactly once.
        """
        with undisturbed(torch.device(device)):
            return self._evaluate(preview, data, torch.device(device), rank, world_size, protocol or {})

    def _evaluate(
        self,
        preview: Previews,
        data: Data,
        device: torch.device,
        rank: int,
        world_size: int,
        protocol: Mapping[str, Plain],
    ) -> Result:
        numbers = self._numbers(data)
        self.load()
        stamp = self.stamp(data, *numbers) | dict(protocol)

        # The loader always spans both sides, so that a position shows the same images with and without cached reals.
        settings = {"num": max(numbers), "rank": rank, "world_size": world_size, "batch_size": self.batch_size}
        batches = iter(data.evaluation_loader(split=self.split, **settings))

        def next_previews() -> tuple[Any, Mapping[str, Preview]]:
            batch = next(batches, None)
            return (batch, {}) if batch is None else (batch, preview(on(batch, device)))

        # A rank beyond the number of images has no batch, and only rank 0 looks into the cache: it tells the others.
        batch, previews = next_previews()
        self._check(previews)
        fields = from_rank_0({key: fields_of(shown) for key, shown in previews.items()}, device, world_size)
        metrics = [metric.begun(task) for metric, task in self._measured(fields, data, numbers, device, stamp)]
        keys = [_digest(metric.cache_key()) if metric.reals else None for metric in metrics]
        reals = [self._load(key) if key and rank == 0 else None for key in keys]
        known = from_rank_0([states is not None for states in reals], device, world_size)
        for metric, is_known in zip(metrics, known, strict=True):
            metric.reals_known = is_known
        last = max((metric.positions for metric in metrics), default=0)

        while batch is not None and int(batch.index.min()) < last:
            index = batch.index.cpu()
            for metric in metrics:
                metric.see(previews[metric.task.key], index)
            batch, previews = next_previews()

        if world_size > 1:
            for metric in metrics:
                metric.reduce()
        values: dict[str, float] = {}
        error = None
        if rank == 0:
            try:
                for metric, key, states in zip(metrics, keys, reals, strict=True):
                    if int(metric.seen) != metric.positions:
                        raise RuntimeError(
                            f"{int(metric.seen)} images were counted instead of {metric.positions}: evaluation_loader "
                            "must yield range(rank, num, world_size) in `index`"
                        )
                    if states is not None and metric.reals:
                        metric.reals.load_states(states)
                    prefix = "" if metric.task.key == "samples" else f"{metric.task.key}/"
                    values |= {prefix + name: value for name, value in metric.values().items()}
                    stamp |= {prefix + name: value for name, value in metric.protocol().items()}
                    if key and metric.reals and states is None:
                        self._save(key, metric.reals.states())
                values = self._means(metrics, values) | values
            except Exception as raised:  # the other ranks wait for an answer: tell them first
                error = raised
        values, stamp, failure = from_rank_0((values, stamp, repr(error) if error else None), device, world_size)
        if failure is not None:
            raise RuntimeError(f"evaluation failed on rank 0: {failure}") from error
        compared = {metric.task.key: features for metric in metrics if rank == 0 and (features := metric.features())}
        return Result(values, stamp, compared)

    def stamp(self, data: Data, num_real: int, num_fake: int) -> dict[str, Plain]:
        """The protocol, as far as it is known before an image is seen."""
        of_frame: dict[str, Plain] = {
            "data": data.description,
            "fingerprint": data.fingerprint(self.split),
            "split": self.split,
            "num_real": num_real,
            "num_fake": num_fake,
            "seeds": f"0 to {num_fake - 1}",
        }
        for metric in self.metrics:
            of_frame |= metric.settings()
        return of_frame

    def _numbers(self, data: Data) -> tuple[int, int]:
        """The number of real and of fake images.

        Raises:
            ValueError: no such split, or too few images in it.
        """
        size = data.num_images(self.split)
        num_real = size if self.num_real is None else self.num_real
        for metric in self.metrics:
            metric.check_numbers(**{"metrics.num_real": num_real})
        if num_real > size:
            raise ValueError(
                f"metrics.num_real={num_real}, but the {self.split} split has {size} images: give null or fewer"
            )
        return num_real, num_real if self.num_fake is None else self.num_fake

    def _check(self, previews: Mapping[str, Preview]) -> None:
        for key, shown in previews.items():
            for metric in self.metrics:
                metric.check(shown, "" if key == "samples" else f" {key}")

    def _measured(
        self,
        fields: Mapping[str, frozenset[str]],
        data: Data,
        numbers: tuple[int, int],
        device: torch.device,
        stamp: Mapping[str, Plain],
    ) -> list[tuple[Metric, Task]]:
        """The metrics of each preview that has what they need."""
        tasks = [Task(key, names, data, *numbers, device, stamp) for key, names in fields.items()]
        return [(metric, task) for task in tasks for metric in self.metrics if metric.measures(task)]

    def _means(self, metrics: Iterable[Metric], values: Mapping[str, float]) -> dict[str, float]:
        """{"mean/fid": ...} where several previews have a Frechet distance, else {}."""
        means = {}
        for headline in dict.fromkeys(metric.headline for metric in metrics if metric.headline):
            of_previews = [value for name, value in values.items() if f"/{name}".endswith(f"/{headline}")]
            if len(of_previews) > 1:
                means[f"mean/{headline}"] = sum(of_previews) / len(of_previews)
        return means

    # Real statistics: in memory, and in a file for the next run.

    def _load(self, key: str) -> dict[str, Tensor] | None:
        if key not in self._reals and self.cache_dir is not None:
            path = self.cache_dir / f"{key}.safetensors"
            try:
                self._reals[key] = load_file(path)
            except FileNotFoundError:
                return None
            except (OSError, SafetensorError) as error:
                log.warning("%s cannot be read (%s): the real statistics are computed again", path, error)
                return None
        return self._reals.get(key)

    def _save(self, key: str, states: Mapping[str, Tensor]) -> None:
        self._reals[key] = kept = {name: t.detach().cpu().clone() for name, t in states.items()}
        if self.cache_dir is None:
            return
        part = None
        try:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            # Written beside its place and then moved: readers see a whole file or none.
            handle, part = tempfile.mkstemp(dir=self.cache_dir, suffix=".part")
            os.close(handle)
            save_file(kept, part)
            os.replace(part, self.cache_dir / f"{key}.safetensors")
        except (OSError, SafetensorError) as error:
            log.warning("the real statistics cannot be kept in %s: %s", self.cache_dir, error)
            if part is not None:
                Path(part).unlink(missing_ok=True)


def default_panel(name: str) -> str:
    """The panel of a value that no metric claims: the first word of its name behind the prefix."""
    return name.rsplit("/", 1)[-1].split("_")[0]


def on(batch: Any, device: torch.device) -> Any:
    """A batch on a device."""
    return batch._make(field.to(device) for field in batch)


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Neither gradients nor a trace in the random state."""
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def from_rank_0(value: Any, device: torch.device, world_size: int) -> Any:
    """Rank 0's value on every rank."""
    if world_size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=device if device.type == "cuda" else None)
    return box[0]


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
