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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.atomic import replacing
from zoo.batch import Preview
from zoo.metrics.estimate import Estimate, average, intervals_of, values_of
from zoo.metrics.metric import Data, Metric, Plain, Result, Task, fields_of
from zoo.ranges import Within

log = logging.getLogger(__name__)

Images = Annotated[int, Within(lambda n: 1 <= n <= 10_000_000, "must be from 1 to 10,000,000 images")]
Previews = Callable[[Any], Mapping[str, Preview]]


@dataclass(kw_only=True, eq=False)
class Evaluator:
    """Measures a list of metrics on the images of a model.

    Raises:
        ValueError: a number of images that leaves a metric undefined.
    """

    metrics: Sequence[Metric]  # in the order of the values; the first whose headline suits a goal chooses the best
    split: Literal["train", "test"]  # of the data that the reals come from
    num_real: Images | None  # real images, from the first on; None: the whole split
    # Generated images, at positions 0 to num_fake - 1; None: as many as real ones, which suits translated images, since
    # a data set has no more inputs.
    num_fake: Images | None
    batch_size: int  # images per rank and step
    cache_dir: str | None  # where real statistics are kept from run to run; None: in memory only

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be at least 1")
        for metric in self.metrics:
            metric.check_numbers(num_real=self.num_real, num_fake=self.num_fake)
        self._reals: dict[str, dict[str, Tensor]] = {}  # the real statistics of earlier evaluations, on rank 0

    def load(self) -> None:
        """Builds the metrics' networks; first on one rank per machine, which fetches weights that are missing."""
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

    def sign(self, name: str) -> float:
        """1 where more of a value is better, -1 where less is, 0 where neither is."""
        return next((sign for metric in self.metrics if (sign := metric.sign(name))), 0.0)

    def panel(self, name: str) -> str:
        """The panel of the curves in which a value is drawn: "D/accuracy_real" belongs with "D/accuracy_fake"."""
        panels = (metric.panel(name) for metric in self.metrics)
        return next((panel for panel in panels if panel), default_panel(name))

    # Measuring ------------------------------------------------------------------------------------------------------

    def check(self, preview: Previews, data: Data, *, device: torch.device | str) -> None:
        """Call it before time is spent on training: looks at the numbers of images and at one preview.

        Raises:
            ValueError: too few images in the split, a preview that has nothing to measure, or images that a metric
                can't take.
        """
        numbers, device = self.numbers(data), torch.device(device)
        batches = iter(data.evaluation_loader(split=self.split, num=1, rank=0, world_size=1, batch_size=1))
        with undisturbed(device):
            previews = preview(on(next(batches), device))
            self._check(previews)
            tasks = [Task(key, fields_of(shown), data, *numbers, device, {}) for key, shown in previews.items()]
            if not any(metric.measures(task) for task in tasks for metric in self.metrics):
                needs = sorted({name for metric in self.metrics for name in metric.needs})
                raise ValueError(f"the model shows no {' and '.join(needs)} for these metrics: set metrics=none")

    def evaluate(
        self, preview: Previews, data: Data, *, device: torch.device | str, protocol: Mapping[str, Plain] | None = None
    ) -> Result:
        """Generates and measures; every rank calls it and every rank gets the same result.

        The random state of the training is left as it was.

        Args:
            preview: a batch on `device` -> {"samples": Preview(fake, real, ...)}, images in [-1, 1]. Fakes must
                depend on `batch.index` and what else stands in its row, not on the rank or on a random state. Under
                any key but "samples", the key becomes the prefix of the values' names: "X->Y/fid".
            data: the data module.
            device: where images are generated and features computed.
            protocol: what else must be equal for values to be comparable, say {"ema": "10k", "seed": 1}.

        Raises:
            ValueError: num_real exceeds the split; images that are not comparable, or that the extractor can't take.
            RuntimeError: the loader did not yield each position exactly once.
        """
        numbers, device, (rank, world_size) = self.numbers(data), torch.device(device), ranks()
        self.load()
        stamp = self.stamp(data, *numbers) | dict(protocol or {})
        with undisturbed(device):
            # The loader always spans both sides: a position shows the same images with and without cached reals.
            settings = {"num": max(numbers), "rank": rank, "world_size": world_size, "batch_size": self.batch_size}
            loader = data.evaluation_loader(split=self.split, **settings)
            batches = ((batch.index.cpu(), preview(on(batch, device))) for batch in loader)
            first = next(batches, None)  # None on a rank beyond the number of images
            previews = first[1] if first else {}
            self._check(previews)
            kinds = {key: (fields_of(shown), tuple(shown.fake.shape[1:])) for key, shown in previews.items()}
            kinds = from_rank_0(kinds, device)
            tasks = [Task(key, names, data, *numbers, device, stamp, shape) for key, (names, shape) in kinds.items()]
            metrics = [metric.begun(task) for task in tasks for metric in self.metrics if metric.measures(task)]
            # Only rank 0 looks into the cache: it tells the others.
            cached = from_rank_0([rank == 0 and self._take_up(metric) for metric in metrics], device)
            for metric, is_cached in zip(metrics, cached, strict=True):
                metric.reals_cached = is_cached
            last = max((metric.positions for metric in metrics), default=0)

            for index, previews in chain([first] if first else [], batches):
                if int(index.min()) >= last:
                    break
                for metric in metrics:
                    metric.see(previews[metric.task.key], index)

            if world_size > 1:
                for metric in metrics:
                    metric.reduce()
            concluded, error = None, None
            estimates: dict[str, Estimate] = {}
            if rank == 0:
                try:
                    measured, of_values = self._conclude(metrics)
                    estimates = {name: value for name, value in measured.items() if isinstance(value, Estimate)}
                    concluded = values_of(measured), intervals_of(measured), of_values
                except Exception as raised:  # the other ranks wait for an answer: tell them first
                    error = raised
            concluded, failure = from_rank_0((concluded, repr(error)), device)
            if concluded is None:
                raise RuntimeError(f"evaluation failed on rank 0: {failure}") from error
            values, intervals, of_values = concluded
            compared = {m.task.key: features for m in metrics if rank == 0 and (features := m.features())}
            return Result(values, stamp | of_values, intervals, estimates, compared)

    def _conclude(self, metrics: Sequence[Metric]) -> tuple[dict[str, float | Estimate], dict[str, Plain]]:
        """Values and their protocol, of reduced states; keeps what was counted of real images."""
        values: dict[str, float | Estimate] = {}
        protocol: dict[str, Plain] = {}
        for metric in metrics:
            if int(metric.seen) != metric.positions:
                raise RuntimeError(
                    f"{int(metric.seen)} images were counted instead of {metric.positions}: evaluation_loader "
                    "must yield range(rank, num, world_size) in `index`"
                )
            values |= {metric.prefix + name: value for name, value in metric.values().items()}
            protocol |= {metric.prefix + name: value for name, value in metric.protocol().items()}
            if metric.reals and not metric.reals_cached:
                self._keep(metric)
        means: dict[str, float | Estimate] = {}
        for headline in [metric.headline for metric in self.metrics if metric.headline]:
            of_previews = [value for name, value in values.items() if f"/{name}".endswith(f"/{headline}")]
            if len(of_previews) > 1:
                means[f"mean/{headline}"] = average(of_previews)
        return means | values, protocol

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

    def comparable(self, data: Data) -> dict[str, Plain]:
        """What must be equal for values of two evaluations to be compared: images, extractor, protocol.

        Call it after `load`. A fingerprint of the split's images stands in it as `fingerprint`.
        """
        stamp = self.stamp(data, *self.numbers(data))
        del stamp["data"]  # a description for people, which counts the files that could not be read
        return stamp

    def numbers(self, data: Data) -> tuple[int, int]:
        """The number of real and of fake images.

        Raises:
            ValueError: too few images in the split.
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

    # Real statistics: in memory, and in a file for the next run.

    def _take_up(self, metric: Metric) -> bool:
        """Give a metric the real statistics that were kept; whether there are some."""
        if not metric.reals:
            return False
        key = _digest(metric.cache_key())
        if key not in self._reals and self.cache_dir is not None:
            path = Path(self.cache_dir).expanduser() / f"{key}.safetensors"
            try:
                self._reals[key] = load_file(path)
            except FileNotFoundError:
                pass
            except (OSError, SafetensorError) as error:
                log.warning("%s cannot be read (%s): the real statistics are computed again", path, error)
        if kept := self._reals.get(key):
            for name, tensor in metric.reals.states().items():
                tensor.copy_(kept[name])
        return bool(kept)

    def _keep(self, metric: Metric) -> None:
        assert metric.reals
        key, states = _digest(metric.cache_key()), metric.reals.states()
        self._reals[key] = kept = {name: tensor.detach().cpu().clone() for name, tensor in states.items()}
        if self.cache_dir is None:
            return
        folder = Path(self.cache_dir).expanduser()
        try:
            with replacing(folder / f"{key}.safetensors") as part:
                save_file(kept, part)
        except (OSError, SafetensorError) as error:
            log.warning("the real statistics cannot be kept in %s: %s", folder, error)


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


def ranks() -> tuple[int, int]:
    """This process's rank and how many there are, of torch.distributed's default group where it is up."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def from_rank_0(value: Any, device: torch.device) -> Any:
    """Rank 0's value on every rank."""
    box = [value]
    if ranks()[1] > 1:
        dist.broadcast_object_list(box, src=0, device=device if device.type == "cuda" else None)
    return box[0]


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
