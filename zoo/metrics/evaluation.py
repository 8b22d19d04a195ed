"""The evaluation of a generator: what its images are like, what they show and what they should be, with the protocol.

Fakes beside real images (`Preview.real`) are compared as distributions:

    FID        Heusel et al. 2017, arXiv:1706.08500, eq. 6, by torchmetrics; sums in float64
    precision  Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2: the share of fakes that lie inside the real
    recall     manifold, and of reals inside the fake one; by torch-fidelity
    classes    the share of classes covered: one counts when its share among the fakes is at least a tenth of its
               share among the reals. Only with an extractor that classifies

Where each fake was asked to be of a class (`Preview.label`: of a translated image, the class of its input), also

    accuracy   the share of fakes that the extractor puts into the class that was asked for. Only with an extractor that
               classifies, into the classes of the data

and where the reals' classes are known too (`Preview.real_label`)

    accuracy_of_reals in the protocol: what the extractor makes of reals
    fid/CLASS  the Frechet distance of a class's fakes to its reals, and `fid_per_class`, the mean of these ("intra
               FID": Miyato and Koyama 2018, arXiv:1802.05637, section 4.1). Few images bias it upwards (Chong and
               Forsyth 2020, arXiv:1911.07023): 250 real images of an MNIST digit are 0.61 from 250 others in
               fid_mnist, the mean over digits, where 2,500 of all are 0.15 from 2,500 others
               (tests/metrics/test_extractors.py). The protocol's `per_class` says how many images there were

Where it is known what a fake should be, pixel by pixel (`Preview.target`), the means over the fakes of

    psnr            10 log10(1 / mean squared error) of an image in [0, 1], in dB; at most 100, which stands for equal
    l1              the mean absolute error in [0, 1]
    pixel_accuracy  the share of pixels none of whose channels is more than 16/255 off: of label maps, where colours
                    stand for classes. The threshold is that of UNIT (Liu et al. 2017, arXiv:1703.00848, section 5), the
                    largest difference of the channels that of GcGAN (Fu et al. 2019, arXiv:1809.05852, section 4.3)

A model may show several kinds of images ("X->Y", "Y->X"). Where more than one is compared with reals, `mean/fid`, the
mean of their Frechet distances, comes first among the values: by it the best checkpoint is chosen.

The value of N processes equals that of one: every image has a global position, each rank takes its share of positions,
and what is reduced are sums and tables with a row per position. What depends on real images alone is computed once and
cached by the fingerprint of data and extractor.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch_fidelity.metric_prc import calculate_precision_recall_part
from torchmetrics.image.fid import FrechetInceptionDistance

from zoo.batch import Preview, to_bytes, to_unit
from zoo.metrics.extractors import Extractor

log = logging.getLogger(__name__)

CACHE_VERSION = 2  # of the cached real statistics: raise it when their meaning changes
NO_ERROR = 1e-10  # mean squared errors below this one, 100 dB, count as this one
SAME_COLOUR = 16  # of 255: the largest difference between colours of label maps that are taken for the same
COVERED = 0.1  # a class is covered from this ratio of its share among fakes to its share among reals

Plain = str | int | float | bool


class Data(Protocol):
    """What an evaluation asks of a data module."""

    classes: list[str]  # names by label; asked only where fakes have labels

    @property
    def description(self) -> str:
        """What the data is, in words."""

    def fingerprint(self, split: str) -> str:
        """A hash of the split's images and of all that is done to them."""

    def num_images(self, split: str) -> int:
        """The size of the split."""

    def evaluation_loader(self, *, split: str, num: int, rank: int, world_size: int, batch_size: int) -> Iterable[Any]:
        """Yields LabelledImages, or another tuple of tensors with an `index`: range(rank, num, world_size), in order.

        What stands at a position depends on the position alone.
        """


@dataclass(frozen=True)
class Result:
    """What an evaluation found, and all that must be equal for two such values to be comparable."""

    values: dict[str, float]  # {"fid_mnist": 12.3, "X->Y/fid": 45.6, ...}
    protocol: dict[str, Plain]
    # {"samples": (real [n, F], fake [m, F])}: the features that precision and recall compare; on rank 0 only.
    features: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class _Given(NamedTuple):
    """Which fields of a preview there are."""

    real: bool
    label: bool
    real_label: bool
    target: bool

    @classmethod
    def of(cls, shown: Preview) -> "_Given":
        return cls(*(getattr(shown, name) is not None for name in cls._fields))


class Evaluation:
    """Compares a generator's images with real ones.

    Args:
        extractor: what is compared: features of `zoo.metrics.extractors`.
        split: of the data that the reals come from, "train" or "test".
        num_real: real images, from the first on; None: the whole split.
        num_fake: generated images, at positions 0 to num_fake - 1; None: as many as real ones, which suits translated
            images, since a data set has no more inputs.
        neighbours: k of precision and recall; 3 in the paper.
        prc_images: at most this many images of each side enter precision and recall, drawn once with a fixed seed:
            their cost grows with the square (5,000 against 5,000 take seconds; 50,000 would take minutes).
        per_class: measure the Frechet distance of each class too, where fakes have labels.
        batch_size: images per rank and step.
        cache_dir: where real statistics are kept from run to run; None: in memory only.

    Raises:
        ValueError: a number of images that leaves a metric undefined.
    """

    def __init__(
        self,
        *,
        extractor: Extractor,
        split: str,
        num_real: int | None,
        num_fake: int | None,
        neighbours: int,
        prc_images: int,
        per_class: bool,
        batch_size: int,
        cache_dir: str | None,
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f'split={split!r}: give "train" or "test"')
        if batch_size < 1 or neighbours < 1:
            raise ValueError(f"batch_size={batch_size} and neighbours={neighbours} must be at least 1")
        for argument, number in (("num_real", num_real), ("num_fake", num_fake), ("prc_images", prc_images)):
            _check_enough(argument, number, neighbours)
        self.extractor = extractor
        self.split = split
        self.num_real = num_real
        self.num_fake = num_fake
        self.neighbours = neighbours
        self.prc_images = prc_images
        self.per_class = per_class
        self.batch_size = batch_size
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir is not None else None
        self._reals: dict[str, dict[str, Tensor]] = {}  # what rank 0 knows already, by cache key

    def prepare(self) -> None:
        """Fetches weights that are missing; call it on one rank per machine, before training starts."""
        self.extractor.prepare()

    def load(self) -> None:
        """Builds the extractor's network; every rank calls it after `prepare`."""
        self.extractor.load()

    def chooses(self, phase: str, names: Iterable[str]) -> tuple[str, float] | None:
        """Which value tells the best checkpoint, and its sign: the first Frechet distance, -1 since lower is better."""
        return next(((name, -1.0) for name in names if "fid" in name), None)

    def check(self, preview: Callable[[Any], Mapping[str, Preview]], data: Data, *, device: torch.device | str) -> None:
        """Call it before time is spent on training: looks at the numbers of images and at one preview.

        Raises:
            ValueError: no such split, too few images in it, or a number of channels that the extractor can't take.
        """
        self._numbers(data)
        batches = iter(data.evaluation_loader(split=self.split, num=1, rank=0, world_size=1, batch_size=1))
        device = torch.device(device)
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            batch = next(batches)
            _check_images(preview(batch._make(field.to(device) for field in batch)))

    def _numbers(self, data: Data) -> tuple[int, int]:
        """The number of real and of fake images.

        Raises:
            ValueError: no such split, or too few images in it.
        """
        size = data.num_images(self.split)
        num_real = size if self.num_real is None else self.num_real
        _check_enough("metrics.num_real", num_real, self.neighbours)
        if num_real > size:
            raise ValueError(
                f"metrics.num_real={num_real}, but the {self.split} split has {size} images: give null or fewer"
            )
        return num_real, num_real if self.num_fake is None else self.num_fake

    def evaluate(
        self,
        preview: Callable[[Any], Mapping[str, Preview]],
        data: Data,
        *,
        device: torch.device | str,
        rank: int = 0,
        world_size: int = 1,
        protocol: Mapping[str, Plain] | None = None,
    ) -> Result:
        """Generates, extracts and compares; every rank calls it and every rank gets the same result.

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
        device = torch.device(device)
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            return self._evaluate(preview, data, device, rank, world_size, dict(protocol or {}))

    def _evaluate(
        self,
        preview: Callable[[Any], Mapping[str, Preview]],
        data: Data,
        device: torch.device,
        rank: int,
        world_size: int,
        protocol: dict[str, Plain],
    ) -> Result:
        num_real, num_fake = self._numbers(data)
        self.extractor.load()
        self.extractor.to(device)
        stamp = self._protocol(data, num_real, num_fake) | protocol

        # The loader always spans both sides, so that a position shows the same images with and without cached reals.
        num = max(num_real, num_fake)
        batches = iter(
            data.evaluation_loader(
                split=self.split, num=num, rank=rank, world_size=world_size, batch_size=self.batch_size
            )
        )

        def next_previews() -> tuple[Any, Mapping[str, Preview]]:
            batch = next(batches, None)
            return (batch, {}) if batch is None else (batch, preview(batch._make(field.to(device) for field in batch)))

        # A rank beyond the number of images has no batch, and only rank 0 looks into the cache: it tells the others.
        batch, previews = next_previews()
        _check_images(previews)
        given = {key: _Given.of(shown) for key, shown in previews.items()}
        cache_keys = {key: self._cache_key(stamp, key, given[key]) for key in previews if given[key].real}
        loaded = {key: self._load(cache_key) for key, cache_key in cache_keys.items()} if rank == 0 else {}
        reals = {key: statistics for key, statistics in loaded.items() if statistics is not None}
        given, known = _from_rank_0((given, set(reals)), device, world_size)
        judges = {
            key: _Judge(self, data, num_real, num_fake, device, given=given[key], cached=key in known) for key in given
        }
        last = num if any(given[key].real and key not in known for key in given) else num_fake

        while batch is not None and int(batch.index.min()) < last:
            index = batch.index.cpu()
            for key, judge in judges.items():
                shown = previews[key]
                judge.update(shown, index)
            batch, previews = next_previews()

        values: dict[str, float] = {}
        error = None
        for judge in judges.values():
            judge.reduce(world_size)
        if rank == 0:
            try:
                for key, judge in judges.items():
                    if key in known:
                        judge.real.load_state(reals[key])
                    prefix = "" if key == "samples" else f"{key}/"
                    values |= {prefix + name: value for name, value in judge.values().items()}
                    stamp |= {prefix + name: value for name, value in judge.protocol().items()}
                    if given[key].real and key not in known:
                        self._save(cache_keys[key], judge.real.state())
                values = _mean_distance(values, f"fid{_suffix(self.extractor)}") | values
            except Exception as raised:  # the other ranks wait for an answer: tell them first
                error = raised
        values, stamp, failure = _from_rank_0((values, stamp, repr(error) if error else None), device, world_size)
        if failure is not None:
            raise RuntimeError(f"evaluation failed on rank 0: {failure}") from error
        compared = {key: judge for key, judge in judges.items() if given[key].real and rank == 0}
        tables = {key: (judge.real.table, judge.fake.table) for key, judge in compared.items()}
        return Result(values, stamp, tables)

    def _protocol(self, data: Data, num_real: int, num_fake: int) -> dict[str, Plain]:
        extractor = self.extractor
        return {
            "extractor": extractor.name or "inception",
            "weights_sha256": extractor.weights_sha256,
            "resize": extractor.resize,
            "data": data.description,
            "fingerprint": data.fingerprint(self.split),
            "split": self.split,
            "num_real": num_real,
            "num_fake": num_fake,
            "seeds": f"0 to {num_fake - 1}",
            "neighbours": self.neighbours,
            "prc_images": self.prc_images,
            "torchmetrics": version("torchmetrics"),
            "torch_fidelity": version("torch-fidelity"),
        }

    # Real statistics: in memory, and in a file for the next run.

    def _cache_key(self, stamp: Mapping[str, Plain], key: str, given: _Given) -> str:
        names = ("fingerprint", "split", "num_real", "prc_images", "extractor", "weights_sha256", "resize")
        per_class = given.label and given.real_label and self.per_class
        content = [CACHE_VERSION, key, given.real_label, per_class, *map(stamp.get, names)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _load(self, cache_key: str) -> dict[str, Tensor] | None:
        if cache_key not in self._reals and self.cache_dir is not None:
            path = self.cache_dir / f"{cache_key}.safetensors"
            try:
                self._reals[cache_key] = load_file(path)
            except FileNotFoundError:
                return None
            except (OSError, SafetensorError) as error:
                log.warning("%s cannot be read (%s): the real statistics are computed again", path, error)
                return None
        return self._reals.get(cache_key)

    def _save(self, cache_key: str, state: dict[str, Tensor]) -> None:
        self._reals[cache_key] = state = {name: t.detach().cpu().clone() for name, t in state.items()}
        if self.cache_dir is None:
            return
        part = None
        try:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            # Written beside its place and then moved: readers see a whole file or none.
            handle, part = tempfile.mkstemp(dir=self.cache_dir, suffix=".part")
            os.close(handle)
            save_file(state, part)
            os.replace(part, self.cache_dir / f"{cache_key}.safetensors")
        except (OSError, SafetensorError) as error:
            log.warning("the real statistics cannot be kept in %s: %s", self.cache_dir, error)
            if part is not None:
                Path(part).unlink(missing_ok=True)


class _Features(nn.Module):
    """Stands for the feature extractor inside torchmetrics' FID, which is given features that are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


class _Side:
    """The sums and tables of one side, real or fake: whatever they hold is reduced over ranks by a sum.

    The sums are kept for each class where FID is measured for each, else for a single group: the whole is their sum.
    """

    def __init__(
        self,
        name: str,
        num: int,
        *,
        cached: bool,
        groups: int,
        prc_images: int,
        extractor: Extractor,
        home: torch.device,
    ) -> None:
        self.name, self.num, self.extractor = name, num, extractor
        self.cached = cached  # known already: nothing to count
        features = extractor.num_features
        # float64, or the distance is rounded to float32.
        self.count = torch.zeros(groups, dtype=torch.int64, device=home)  # images
        self.sum = torch.zeros(groups, features, dtype=torch.float64, device=home)  # of features
        self.products = torch.zeros(groups, features, features, dtype=torch.float64, device=home)  # of pairs of them
        # Images for precision and recall are drawn from all positions: a data set may come sorted by class.
        drawn = torch.randperm(num, generator=torch.Generator().manual_seed(0))[:prc_images].sort().values
        self.row = torch.full((num,), -1)  # [num] position -> row of `table`, or -1
        self.row[drawn] = torch.arange(len(drawn))
        self.table = torch.zeros(len(drawn), features, device=home)
        self.classes = torch.zeros(len(extractor.classes), dtype=torch.int64, device=home)
        self.correct = torch.zeros(1, dtype=torch.int64, device=home)  # images in the class of their label

    def update(self, images: Tensor, index: Tensor, label: Tensor | None) -> None:
        """Counts images [N, C, H, W] in [-1, 1] at their positions [N], on the CPU; those beyond `num` are left out."""
        wanted = (index < self.num).nonzero().squeeze(1)
        if self.cached or not len(wanted):
            return
        home = self.table.device
        features = self.extractor(to_bytes(images[wanted.to(images.device)]))
        if label is not None:
            label = label.to(home)[wanted.to(home)]
        if self.extractor.classes:
            found = self.extractor.classify(features).to(home)
            self.classes += found.bincount(minlength=len(self.classes))
            if label is not None:
                self.correct += (found == label).sum()
        features = features.to(home)
        row = self.row[index[wanted]].to(home)
        self.table[row[row >= 0]] = features[row >= 0]
        features = features.double()
        for group in range(len(self.count)):
            part = features[label == group] if label is not None and len(self.count) > 1 else features
            self.count[group] += len(part)
            self.sum[group] += part.sum(0)
            self.products[group] += part.T @ part

    def state(self) -> dict[str, Tensor]:
        """Everything this side has counted."""
        names = ("count", "sum", "products", "table", "classes", "correct")
        return {name: getattr(self, name) for name in names}

    def load_state(self, state: dict[str, Tensor]) -> None:
        for name, mine in self.state().items():
            mine.copy_(state[name])


class _Pixels:
    """Sums over the fakes of how far each is from its target, pixel by pixel."""

    names = ("psnr", "l1", "pixel_accuracy")

    def __init__(self, num: int, home: torch.device) -> None:
        self.num = num
        self.count = torch.zeros(1, dtype=torch.int64, device=home)  # images
        self.sums = torch.zeros(len(self.names), dtype=torch.float64, device=home)

    def update(self, fake: Tensor, target: Tensor, index: Tensor) -> None:
        """Counts images [N, C, H, W] in [-1, 1] at their positions [N], on the CPU; those beyond `num` are left out."""
        wanted = (index < self.num).to(fake.device)
        fake, target = (images[wanted].to(self.sums.device) for images in (fake, target))
        error = (to_unit(fake) - to_unit(target)).double().abs()
        psnr = -10 * error.square().mean((1, 2, 3)).clamp_min(NO_ERROR).log10()  # [N]
        levels = (to_bytes(fake).int() - to_bytes(target).int()).abs()
        same = (levels.amax(1) <= SAME_COLOUR).double()  # [N, H, W]
        self.sums += torch.stack([psnr.sum(), error.mean((1, 2, 3)).sum(), same.mean((1, 2)).sum()])
        self.count += len(error)

    def values(self) -> dict[str, float]:
        """The means over the images."""
        return dict(zip(self.names, (self.sums / self.count).tolist(), strict=True))


class _Judge:
    """All metrics of one preview key, as far as its fields allow.

    Args:
        given: which fields the previews have.
        cached: whether the reals' statistics are known already.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        data: Data,
        num_real: int,
        num_fake: int,
        device: torch.device,
        *,
        given: _Given,
        cached: bool,
    ) -> None:
        extractor = evaluation.extractor
        self.neighbours = evaluation.neighbours
        self.suffix = _suffix(extractor)
        self.given = given
        self.classes = list(data.classes) if given.label and given.real_label and evaluation.per_class else []
        same_classes = bool(extractor.classes) and list(extractor.classes) == list(data.classes)
        self.classifies = given.label and same_classes
        home = device if device.type in ("cpu", "cuda") else torch.device("cpu")  # MPS has no float64

        def side(name: str, num: int, cached: bool) -> _Side:
            return _Side(
                name,
                num,
                cached=cached,
                groups=len(self.classes) or 1,
                prc_images=evaluation.prc_images,
                extractor=extractor,
                home=home,
            )

        self.real, self.fake = side("real", num_real, cached), side("fake", num_fake, False)
        self.pixels = _Pixels(num_fake, home)

    def update(self, shown: Preview, index: Tensor) -> None:
        """Counts the images of a preview at their positions [N], on the CPU."""
        if shown.real is not None:
            self.real.update(shown.real, index, shown.real_label)
        if shown.real is not None or self.classifies:
            self.fake.update(shown.fake, index, shown.label)
        if shown.target is not None:
            self.pixels.update(shown.fake, shown.target, index)

    def reduce(self, world_size: int) -> None:
        if world_size == 1:
            return
        for side in (self.real, self.fake):
            if not side.cached:
                for tensor in side.state().values():
                    dist.all_reduce(tensor)
        dist.all_reduce(self.pixels.count)
        dist.all_reduce(self.pixels.sums)

    def values(self) -> dict[str, float]:
        """{"fid": ..., "precision": ..., "accuracy": ..., "psnr": ...}; with the extractor's name where it is used.

        Raises:
            RuntimeError: an image is missing, or was counted twice.
        """
        self._check_counts()
        s = self.suffix
        values = self._of_distribution() if self.given.real else {}
        if self.classifies:
            values[f"accuracy{s}"] = self.fake.correct.item() / self.fake.num
        if measured := self._measured():
            of_class = {f"fid{s}/{self.classes[group]}": self._frechet([group]) for group in measured}
            values |= {f"fid{s}_per_class": sum(of_class.values()) / len(of_class), **of_class}
        return values | (self.pixels.values() if self.given.target else {})

    def _check_counts(self) -> None:
        counts = [(self.real.name, self.real.count, self.real.num)] if self.given.real else []
        if self.given.real or self.classifies:
            counts.append((self.fake.name, self.fake.count, self.fake.num))
        if self.given.target:
            counts.append((self.fake.name, self.pixels.count, self.pixels.num))
        for name, count, num in counts:
            if (counted := int(count.sum())) != num:
                raise RuntimeError(
                    f"{counted} {name} images were counted instead of {num}: evaluation_loader must yield "
                    "range(rank, num, world_size) in `index`, and labels the numbers of data.classes"
                )

    def _of_distribution(self) -> dict[str, float]:
        """Fakes beside reals."""
        s = self.suffix
        precision, recall = calculate_precision_recall_part(  # in float64: distances by matrix products are inexact
            self.fake.table.double(), self.real.table.double(), self.neighbours
        )
        values = {f"fid{s}": self._frechet(...), f"precision{s}": precision, f"recall{s}": recall}
        if len(self.real.classes):
            real, fake = (side.classes / side.num for side in (self.real, self.fake))
            present = real > 0
            values[f"classes{s}"] = (fake[present] >= COVERED * real[present]).double().mean().item()
        return values

    def protocol(self) -> dict[str, Plain]:
        """What the values of classes rest on."""
        found: dict[str, Plain] = {}
        if self.classifies and self.given.real_label:
            found["accuracy_of_reals"] = round(self.real.correct.item() / self.real.num, 4)
        if measured := self._measured():
            found["per_class"] = ", ".join(
                [f"{len(measured)} of {len(self.classes)} classes"]
                + [
                    f"{side.count[measured].min()} to {side.count[measured].max()} {side.name}s each"
                    for side in (self.real, self.fake)
                ]
            )
        return found

    def _measured(self) -> list[int]:
        """The classes with the two images on each side without which there is no covariance."""
        return [group for group in range(len(self.classes)) if min(self.real.count[group], self.fake.count[group]) > 1]

    def _frechet(self, groups: Any) -> float:
        """The Frechet distance over the images of some groups."""
        # On the CPU: its eigenvalues need no CUDA library that may be missing, and are the same everywhere.
        fid = FrechetInceptionDistance(_Features(self.real.extractor.num_features))
        fid.orig_dtype = torch.float64
        for side in (self.real, self.fake):
            getattr(fid, f"{side.name}_features_sum").copy_(side.sum[groups].sum(0))
            getattr(fid, f"{side.name}_features_cov_sum").copy_(side.products[groups].sum(0))
            getattr(fid, f"{side.name}_features_num_samples").copy_(side.count[groups].sum())
        return FrechetInceptionDistance.compute(fid).item()  # of the class: the object's own warns that no update was


def _check_images(previews: Mapping[str, Preview]) -> None:
    """Raises:
    ValueError: images of other than 1 or 3 channels that shall be compared with reals, or targets of another shape.
    """
    for key, shown in previews.items():
        of_key = "" if key == "samples" else f" {key}"
        for images in (shown.fake, shown.real):
            if shown.real is not None and images is not None and images.shape[1] not in (1, 3):
                raise ValueError(
                    f"metrics judge images of 1 or 3 channels, and these{of_key} have {images.shape[1]}: "
                    "set metrics=none"
                )
        if shown.target is not None and shown.target.shape != shown.fake.shape:
            raise ValueError(
                f"the fakes{of_key} are {list(shown.fake.shape)} and their targets {list(shown.target.shape)}: "
                "they are compared pixel by pixel, so preview() must give equal shapes"
            )


def _suffix(extractor: Extractor) -> str:
    """What the extractor adds to the names of its values."""
    return f"_{extractor.name}" if extractor.name else ""


def _mean_distance(values: Mapping[str, float], fid: str) -> dict[str, float]:
    """{"mean/fid": ...} where several previews have a Frechet distance, else {}."""
    found = [value for name, value in values.items() if name.rsplit("/", 1)[-1] == fid]
    return {f"mean/{fid}": sum(found) / len(found)} if len(found) > 1 else {}


def _check_enough(argument: str, number: int | None, neighbours: int) -> None:
    if number is not None and number <= neighbours:
        raise ValueError(f"{argument}={number}: precision and recall need more than neighbours={neighbours} images")


def _from_rank_0(value: Any, device: torch.device, world_size: int) -> Any:
    """Rank 0's value on every rank."""
    if world_size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=device if device.type == "cuda" else None)
    return box[0]
