"""One set of fakes, measured by the protocols that the literature publishes its Frechet distances by.

What differs between them, and so between the numbers of one generator: how images are enlarged or reduced to
Inception's pixels (`zoo.metrics.extractors.Inception`), whether reals are training or test images, how many fakes there
are, and whether fakes are rounded to the 8 bits that an image file has. Each row has the distance, and the same
extrapolated to infinitely many fakes (zoo/metrics/infinity.py), which takes away what their number does.

Memory: the features of all fakes, for each way of resizing and rounding. Of Inception's 2,048, 50,000 fakes are 410 MB,
and its five ways 2 GB. The fakes are made once; batches of them go through the extractors at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.batch import Preview, to_bytes
from zoo.metrics.distribution import Distribution
from zoo.metrics.estimate import Estimate
from zoo.metrics.evaluator import Evaluator, Previews
from zoo.metrics.extractors import Extractor, Inception
from zoo.metrics.frechet import Moments, estimate, moments
from zoo.metrics.infinity import extrapolated, subsets
from zoo.metrics.metric import Metric, Plain, Task
from zoo.metrics.side import Side, positions

NUMBERS = (5_000, 10_000, 50_000)  # of fakes
FLOAT = "float"  # fakes that are not rounded
UINT8 = "uint8"
NATIVE = "native"  # the one way of resizing of an extractor that has no other


class Source(NamedTuple):
    """Who publishes by a protocol, and where it says so."""

    resize: str
    split: str | None  # None: it does not say
    number: int | None  # of fakes; None: as many as the user gives
    rounding: str
    who: str
    where: str


# Read in the sources themselves. A protocol has other things, too, that are not rows here: the Inception of
# torchvision in FID_IS_infinity, the minimum and maximum of each batch in mimicry.
SOURCES = (
    Source("tensorflow", "train", 50_000, UINT8, "StyleGAN2-ADA (fid50k_full)",
           "github.com/NVlabs/stylegan2-ada-pytorch, metrics/metric_main.py: 50,000 fakes, rounded, against the whole "
           "data set"),
    Source("tensorflow", "train", 50_000, UINT8, "mimicry",
           "github.com/kwotsin/mimicry, README.md (Metrics, Datasets) and torch_mimicry/metrics/compute_fid.py; also "
           "arXiv:2005.02494"),
    Source("tensorflow", "train", 10_000, UINT8, "TTUR (the least it recommends)",
           "github.com/bioinf-jku/TTUR, README.md: a minimum sample size of 10,000; Heusel et al., arXiv:1706.08500"),
    Source("tensorflow", "test", 10_000, FLOAT, "compare_gan (CIFAR-10)",
           "github.com/google/compare_gan, compare_gan/eval_gan_lib.py and eval_utils.py: as many fakes as test "
           "images, times 255 and not rounded"),
    Source("tensorflow", None, 5_000, UINT8, "SN-GAN's released code (another bilinear resize)",
           "github.com/pfnet-research/sngan_projection, evaluation.py, calc_FID: 5,000 fakes, cut to 8 bits, resized "
           "by Chainer, against statistics in a file; arXiv:1802.05957"),
    Source("antialias", "train", None, UINT8, "torchmetrics' default",
           "torchmetrics.image.fid.FrechetInceptionDistance, antialias=True; the numbers are the user's"),
    Source("clean", "train", None, UINT8, "clean-fid's default (mode clean)",
           "github.com/GaParmar/clean-fid, cleanfid/resize.py; Parmar et al., arXiv:2104.11222; the numbers are the "
           "user's"),
    Source("pytorch", "train", None, UINT8, "pytorch-fid; clean-fid's mode legacy_pytorch",
           "github.com/mseitzer/pytorch-fid, src/pytorch_fid/inception.py; cleanfid/resize.py; the numbers are the "
           "user's"),
    Source("pytorch", "test", 10_000, UINT8, "StudioGAN in 2020 (CIFAR-10)",
           "github.com/POSTECH-CVLab/PyTorch-StudioGAN at 007871e, README.md: n_real 10K (Test), n_fake 10K, by "
           "pytorch-fid"),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A protocol and what it gives."""

    name: str  # "fid-50k-train-tensorflow-uint8"
    preview: str  # whose images: "samples", "X->Y"
    resize: str
    split: str  # of the reals
    fakes: int
    reals: int
    rounding: str  # of the fakes
    value: Estimate
    infinity: Estimate | None  # None where there are too few fakes to extrapolate from
    sources: tuple[Source, ...]  # who publishes so, or else with another number of fakes alone

    @property
    def published_by(self) -> str:
        others = [source for source in self.sources if source.number not in (None, self.fakes)]
        words = [source.who for source in self.sources if source not in others]
        but = "; ".join(f"{source.who}, of {source.number:,}" for source in others)
        return "; ".join([*words, *([f"but for the number: {but}"] if but else [])])


@dataclass(frozen=True)
class Table:
    """The rows, what did not apply, and what they have in common."""

    distance: str  # "fid_mnist"
    rows: list[Row]
    remarks: list[str]
    protocol: dict[str, Plain]

    COLUMNS = ("protocol", "{0}", "95 %", "{0} of infinite fakes", "95 %", "fakes", "reals", "published by")

    def columns(self) -> list[str]:
        if self.rows and self.rows[0].resize == NATIVE:  # no paper has this extractor
            return [*(column.format(self.distance) for column in self.COLUMNS[:-1]), "counts as by"]
        return [column.format(self.distance) for column in self.COLUMNS]

    def cells(self) -> Iterator[list[str]]:
        """Of each row, as they are printed."""
        for row in self.rows:
            prefix = "" if row.preview == "samples" else f"{row.preview}/"
            values = [*_in_words(row.value), *(_in_words(row.infinity) if row.infinity else ("-", "-"))]
            yield [prefix + row.name, *values, f"{row.fakes:,}", f"{row.reals:,} {row.split}", row.published_by]

    def sources(self) -> list[Source]:
        """Those that a row names, in order."""
        return [source for source in SOURCES if any(source in row.sources for row in self.rows)]

    def markdown(self) -> str:
        """The table for a page."""
        rows = [self.columns(), ["---"] * len(self.COLUMNS), *self.cells()]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)

    def as_json(self) -> dict[str, Any]:
        """All of it, with all digits."""

        def of(value: Estimate | None) -> dict[str, Any] | None:
            return None if value is None else {"value": value.value, "interval": list(value.interval())}

        plain = ("name", "preview", "resize", "split", "fakes", "reals", "rounding")
        rows = [
            {key: getattr(row, key) for key in plain}
            | {self.distance: of(row.value), "infinity": of(row.infinity)}
            | {"published_by": [source._asdict() for source in row.sources]}
            for row in self.rows
        ]
        return {"distance": self.distance, "rows": rows, "remarks": self.remarks, "protocol": self.protocol}


def _in_words(value: Estimate) -> tuple[str, str]:
    low, high = value.interval()
    return f"{value.value:.4g}", f"[{low:.4g}, {high:.4g}]"


class Way(NamedTuple):
    """How fakes become features."""

    resize: str  # of `Inception.RESIZES`; NATIVE where there is nothing to choose
    rounding: str
    extractor: Extractor


class Arm(Distribution):
    """The features of one way of resizing: of all fakes in order, rounded or not, and the moments of the reals.

    As the evaluation ends `fakes_of` is filled, {preview: {rounding: features [n, F]}}, and `reals_of` with real sides;
    `pairs` are the previews in which a fake belongs to the real at its position.
    """

    def __init__(self, ways: Sequence[Way], drawn: int, sides: tuple[str, ...]) -> None:
        super().__init__(ways[0].extractor, 3, drawn, False, ("fid",))
        self.resize, self.ways, self.wanted = ways[0].resize, ways, sides
        self.reals_of: dict[str, Side] = {}
        self.fakes_of: dict[str, dict[str, Tensor]] = {}
        self.pairs: set[str] = set()

    def measures(self, task: Task) -> bool:
        return "real" in task.fields

    def begin(self) -> None:
        super().begin()
        self.sides = self.wanted
        n, features = (self.task.num_fake if "fake" in self.wanted else 0), self.extractor.num_features
        self.fake = Side("fake", 0, extractor=self.extractor, groups=1, drawn=0, home="cpu")
        for way in self.ways if n else ():
            self.add_state(way.rounding, torch.zeros(n, features))
        self.extractor.to(self.task.device)

    def cache_key(self) -> list[Any]:
        return [*super().cache_key(), self.extractor.resize]

    def update(self, shown: Preview, index: Tensor) -> None:
        if shown.real is not None and not self.reals_cached and "real" in self.wanted:
            self.real.update(shown.real, index, shown.real_label)
        inside = (index < self.task.num_fake).nonzero().squeeze(1)
        for way in self.ways if "fake" in self.wanted and len(inside) else ():
            images = shown.fake[inside.to(shown.fake.device)].clamp(-1, 1)
            table = self.states()[way.rounding]
            table[index[inside].to(table.device)] = self._features(way, images).to(table)

    def _features(self, way: Way, images: Tensor) -> Tensor:
        return self.extractor.smooth(images) if way.rounding == FLOAT else self.extractor(to_bytes(images))

    def values(self) -> dict[str, float | Estimate]:
        """None: they are of several arms."""
        if "real" in self.wanted:
            self.reals_of[self.task.key] = self.real
            if "target" in self.task.fields:
                self.pairs.add(self.task.key)
        if "fake" in self.wanted:
            states = self.states()
            self.fakes_of[self.task.key] = {way.rounding: states[way.rounding].cpu() for way in self.ways}
        return {}

    def protocol(self) -> dict[str, Plain]:
        return {}

    def features(self) -> None:
        return None


def ways_of(extractor: Extractor, size: tuple[int, int]) -> tuple[list[list[Way]], list[str]]:
    """The ways that make a difference for an extractor and images of a size, by their resize, and what was left out."""
    remarks, ways = [], []
    if isinstance(extractor, Inception):
        for resize in Inception.RESIZES:
            if size == (299, 299) and resize in ("antialias", "clean"):
                remarks.append(f"{resize} is left out: images of 299x299 are not resized")
                continue
            other = extractor.with_resize(resize)
            floats = [Way(resize, FLOAT, other)] if resize == "tensorflow" else []
            ways.append([Way(resize, UINT8, other), *floats])
        return ways, remarks
    remarks.append(f"one way of resizing, that of the extractor ({extractor.resize}): others' are of Inception")
    floats = [Way(NATIVE, FLOAT, extractor)]
    if type(extractor).smooth is Extractor.smooth:
        floats = []
        remarks.append("fakes that are not rounded are left out: the extractor takes 8 bits only")
    return [[Way(NATIVE, UINT8, extractor), *floats]], remarks


def measure(
    preview: Previews,
    data: Any,
    extractor: Extractor,
    *,
    numbers: Sequence[int] | None,
    num_real: int | None,
    split: str,
    size: tuple[int, int],
    batch_size: int,
    drawn: int,
    cache_dir: str | None,
    device: torch.device | str,
    protocol: Mapping[str, Plain],
) -> Table:
    """The table of a model.

    Args:
        preview, data, device, protocol: as `Evaluator.evaluate`.
        numbers: of fakes; None: one for each image of the split, where a model makes them of images.
        num_real: of reals, of each split; None: all.
        split: whose rows fakes are made for: of the inputs of a translator, of the classes of a conditional model.
        size: height, width of the images.
        drawn: images of each side that intervals are made of, at most.

    Raises:
        ValueError: a split without images, or a model that shows no reals.
    """
    extractor.load()
    ways, remarks = ways_of(extractor, size)
    fixed: dict[str, Any] = {"batch_size": batch_size, "cache_dir": cache_dir, "num_real": num_real}
    arms = [Arm(of_resize, drawn, ("real", "fake")) for of_resize in ways]
    most = max(numbers) if numbers else None
    evaluator: Any = Evaluator(metrics=list[Metric](arms), split=split, num_fake=most, **fixed)  # type: ignore[arg-type]
    result = evaluator.evaluate(preview, data, device=device, protocol=protocol)
    if not any(arm.fakes_of for arm in arms):
        raise ValueError("the model shows no real images beside its own, so that there is no distance to them")
    reals = {split: {arm.resize: arm.reals_of for arm in arms}}
    other = "test" if split == "train" else "train"
    try:
        others = [Arm(of_resize[:1], drawn, ("real",)) for of_resize in ways]
        evaluator = Evaluator(metrics=list[Metric](others), split=other, num_fake=2, **fixed)  # type: ignore[arg-type]
        evaluator.evaluate(preview, data, device=device)
        reals[other] = {arm.resize: arm.reals_of for arm in others}
    except ValueError as error:
        remarks.append(f"no {other} reference: {error}")
    stamp = {
        key: value for key, value in result.protocol.items() if key not in ("split", "num_real", "num_fake", "resize")
    }
    distance = arms[0].distance
    rows = list(_rows(arms, distance, reals, numbers, split))
    stamp = {"fakes_of": f"the {split} split's rows", "intervals_of": f"{drawn} images of each side"} | stamp
    return Table(distance, rows, remarks, stamp)


def _rows(
    arms: Sequence[Arm],
    distance: str,
    reals: Mapping[str, Mapping[str, Mapping[str, Side]]],
    numbers: Iterable[int] | None,
    of_fakes: str,
) -> Iterator[Row]:
    """
    Args:
        of_fakes: the split whose rows fakes are made for.
    """
    for arm in arms:
        for key, of_rounding in arm.fakes_of.items():
            for rounding, features in of_rounding.items():
                given = sorted(set(numbers or [len(features)]), reverse=True)
                for n in given:
                    fakes, chosen = features[:n], positions(n, arm.prc_images)  # as an evaluation draws them
                    fake, some = moments(fakes), fakes[chosen]
                    draws = subsets(fakes) if n >= 30 else None
                    for split in sorted(reals, reverse=True):  # train, test
                        side = reals[split][arm.resize][key]
                        real: Moments = side.moments()
                        table = side.table.cpu()
                        # Of as many reals, whose rows were drawn alike: a pair is then one draw.
                        paired = key in arm.pairs and split == of_fakes and n == real.n
                        value = estimate(real, fake, table, some, paired=paired)
                        infinity = (
                            extrapolated(real, fake, draws, table, some, chosen, paired=paired) if draws else None
                        )
                        name = f"{distance}-{_short(n)}-{split}-{arm.resize}-{rounding}"
                        sources = publishing(arm.resize, split, n, rounding, given[0])
                        yield Row(name, key, arm.resize, split, n, real.n, rounding, value, infinity, sources)


def publishing(resize: str, split: str, n: int, rounding: str, most: int) -> tuple[Source, ...]:
    """Who publishes by a protocol, or counts so, where the extractor is another: with as many fakes, or where nobody
    is known for a number like this, all those who differ in it alone. Where the number is the user's, it stands at the
    most of the table, or at one that is nobody's.

    Args:
        most: fakes of a row of the table.
    """
    alike = [s for s in SOURCES if (s.split or split, s.rounding) == (split, rounding) and resize in (s.resize, NATIVE)]
    of_users = [s for s in alike if s.number is None and resize != NATIVE]
    of_number = [s for s in alike if s.number is not None]
    if n in NUMBERS:
        of_number = [s for s in of_number if s.number == n]
    return (*of_number, *(of_users if n == most or n not in NUMBERS else ()))


def _short(n: int) -> str:
    return f"{n // 1000}k" if n % 1000 == 0 else str(n)
