"""Fakes beside real images as distributions, in the features of an extractor, and by class.

What is measured are the `MEASURES` of `metrics.measures`. Where the extractor classifies, also

    classes     the share of classes covered: one counts when its share among the fakes is at least a tenth of its
                share among the reals

where each fake was asked to be of a class (`Preview.label`: of a translated image, the class of its input)

    accuracy    the share of fakes that the extractor puts into the class that was asked for. Only with an extractor
                that classifies, into the classes of the data

and where the reals' classes are known too (`Preview.real_label`) the Frechet distance of each class (see
zoo/metrics/fid.py) and accuracy_of_reals in the protocol: what the extractor makes of reals.

They share one pass through the extractor, and what it gives of real images is kept: so they are one metric.
"""

import logging
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

from torch import Tensor

from zoo.batch import Preview
from zoo.metrics import fid, neighbours
from zoo.metrics.diversity import Diversity
from zoo.metrics.estimate import Estimate, share_of
from zoo.metrics.evaluator import from_rank_0
from zoo.metrics.extractors import Extractor
from zoo.metrics.kernel import CMMD, KID
from zoo.metrics.measure import Counter, Measure, Seen
from zoo.metrics.memorisation import Memorisation
from zoo.metrics.metric import Features, Metric, Plain, Task
from zoo.metrics.neighbours import DensityCoverage, PrecisionRecall
from zoo.metrics.score import InceptionScore
from zoo.metrics.side import Side

CACHE_VERSION = 3  # of the kept real statistics: raise it when their meaning changes
log = logging.getLogger(__name__)

COVERED = 0.1  # a class is covered from this ratio of its share among fakes to its share among reals

# What metrics.measures may name, each made with k, the number of neighbours.
MEASURES: dict[str, Callable[[int], Measure]] = {
    "fid": lambda k: fid.FID(),
    "kid": lambda k: KID(),
    "precision_recall": PrecisionRecall,
    "density_coverage": lambda k: DensityCoverage(neighbours.K),
    "inception_score": lambda k: InceptionScore(),
    "diversity": lambda k: Diversity(),
    "cmmd": lambda k: CMMD(),
    "memorisation": lambda k: Memorisation(),
}
DEFAULT = ("fid", "kid", "precision_recall", "density_coverage", "inception_score")


class Distribution(Metric):
    """Measures of both sides, the classes covered, accuracy, and the distance of each class.

    Args:
        extractor: what is compared: features of `zoo.metrics.extractors`. Every value carries its name.
        neighbours: k of what looks at the nearest images; 3 in precision's and recall's paper.
        prc_images: at most this many images of each side enter what looks at pairs of images, drawn once with a fixed
            seed: its cost grows with the square (5,000 against 5,000 take seconds; 50,000 would take minutes).
        per_class: measure the Frechet distance of each class too, where fakes have labels.
        measures: names of `MEASURES`.

    Raises:
        ValueError: a number of neighbours or of images that leaves a value undefined; a measure that there is not.
    """

    def __init__(
        self, extractor: Extractor, neighbours: int, prc_images: int, per_class: bool,
        measures: Sequence[str] = DEFAULT,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(measures, str) or not measures:
            raise ValueError(
                f"metrics.measures={measures} must be a list of one or more of {', '.join(MEASURES)}; metrics=none "
                "measures nothing"
            )
        if prc_images < 1:
            raise ValueError(f"prc_images={prc_images} must be at least 1")
        for name in measures:
            if name not in MEASURES:
                near = get_close_matches(str(name), MEASURES, n=1, cutoff=0.5)
                meant = f" (did you mean {near[0]}?)" if near else ""
                raise ValueError(f"metrics.measures: there is no {name}{meant}: choose from {', '.join(MEASURES)}")
        self.extractor, self.prc_images, self.per_class = extractor, prc_images, per_class
        self._said: list[Measure] = []  # that can't be made with the extractor, and of which that was said
        self.chosen = {name: MEASURES[name](neighbours) for name in measures}
        self.suffix = f"_{extractor.name}" if extractor.name else ""
        self.distance = f"{extractor.distance}{self.suffix}"
        # The distance where it is measured, or else what sums up the first measure that something does.
        summed = next((measure for measure in self.chosen.values() if measure.headline), None)
        if "fid" in self.chosen:
            self.headline, self.higher_is_better = self.distance, False
        elif summed:
            self.headline, self.higher_is_better = f"{summed.headline}{self.suffix}", summed.higher_is_better
        own = {name: sign for measure in self.chosen.values() for name, sign in measure.signs.items()}
        own |= {"classes": 1.0, "accuracy": 1.0, self.extractor.distance: -1.0}
        own |= {f"{self.extractor.distance}{self.suffix}_per_class": -1.0}
        self.signs = own | {f"{name}{self.suffix}": sign for name, sign in own.items()}
        self.check_numbers(prc_images=prc_images)

    def load(self) -> None:
        self.extractor.load()
        for measure in self.chosen.values():
            measure.load(self.extractor)
            if measure.lacks and not measure.fits(self.extractor) and measure not in self._said:
                self._said.append(measure)
                what = f"{measure.headline} needs an extractor {measure.lacks}"
                log.warning("%s, and is not measured on %s", what, self.extractor.name or "the standard Inception")

    def check_numbers(self, **numbers: int | None) -> None:
        for measure in self.chosen.values():
            measure.check_numbers(**numbers)

    def check(self, shown: Preview, name: str) -> None:
        for images in (shown.fake, shown.real):
            if shown.real is not None and images is not None and images.shape[1] not in (1, 3):
                raise ValueError(
                    f"metrics judge images of 1 or 3 channels, and these{name} have {images.shape[1]}: set metrics=none"
                )

    def settings(self) -> dict[str, Plain]:
        settings: dict[str, Plain] = self.extractor.protocol()
        for measure in self.chosen.values():
            if measure.fits(self.extractor):
                settings |= measure.settings()
        return settings | {"prc_images": self.prc_images, "torch_fidelity": version("torch-fidelity")}

    def measures_of(self, task: Task) -> list[Measure]:
        """Those that can be made of a preview."""
        reals = "real" in task.fields
        if "target" in task.fields and not task.fields & {"real", "label"}:
            return []  # a reconstruction, which is held against its target alone
        return [m for m in self.chosen.values() if (reals or not m.needs_reals) and m.fits(self.extractor)]

    def measures(self, task: Task) -> bool:
        return bool(self.measures_of(task)) or self._classifies(task)

    def _classifies(self, task: Task) -> bool:
        """Whether the extractor can tell if fakes are of the classes that were asked for."""
        classes = list(self.extractor.classes)
        return "label" in task.fields and bool(classes) and classes == list(task.data.classes)

    def panel(self, name: str) -> str | None:
        return "fid of classes" if f"/{self.distance}/" in f"/{name}" else None

    def begin(self) -> None:
        task = self.task
        self.has_reals, self.classifies = "real" in task.fields, self._classifies(task)
        wanted = self.per_class and "fid" in self.chosen and task.fields >= {"label", "real_label"}
        self.classes = list(task.data.classes) if wanted else []
        self.of_classes = bool(self.classes)
        self.extractor.to(task.device)
        of_side: dict[str, Any] = {"extractor": self.extractor, "groups": len(self.classes) or 1}
        of_side |= {"drawn": self.prc_images, "home": self.home}
        self.real = Side("real", task.num_real if self.has_reals else 0, **of_side)
        self.fake = Side("fake", task.num_fake, **of_side)
        self.counted: dict[Measure, Counter] = {}
        here = self.measures_of(task)
        there = from_rank_0([measure in here for measure in self.chosen.values()], task.device)  # it may have weights
        for measure in (m for m, is_there in zip(self.chosen.values(), there, strict=True) if is_there):
            measure.look(task, self.extractor)
            if counter := measure.counter(task, self.extractor, self.home):
                self.counted[measure] = counter
        self.fake.counters += self.counted.values()
        self.reals = self.real if self.has_reals else None
        self.sides = ("real", "fake") if self.has_reals else ("fake",)

    def cache_key(self) -> list[Any]:
        names = ("fingerprint", "split", "num_real", "prc_images", "extractor", "weights_sha256", "resize")
        labels = ["real_label" in self.task.fields, self.of_classes]
        return [CACHE_VERSION, self.task.key, *labels, *map(self.task.stamp.get, names)]

    def update(self, shown: Preview, index: Tensor) -> None:
        if shown.real is not None and not self.reals_cached:
            self.real.update(shown.real, index, shown.real_label)
        self.fake.update(shown.fake, index, shown.label)

    def reduce(self) -> None:
        super().reduce()
        self.fake.reduce()

    def values(self) -> dict[str, float | Estimate]:
        """{"fid": ..., "precision": ..., "accuracy": ..., "fid/CLASS": ...}, with the extractor's name.

        Raises:
            RuntimeError: an image is missing, or was counted twice.
        """
        for side in (self.real, self.fake):
            if (counted := int(side.count.sum())) != side.num:
                raise RuntimeError(
                    f"{counted} {side.name} images were counted instead of {side.num}: labels must be the numbers of "
                    "data.classes"
                )
        # Row by row, fakes and reals belong together where a fake's target is the real.
        paired = "target" in self.task.fields and self.real.num == self.fake.num
        seen = Seen(self.real, self.fake, self.extractor, paired, self.counted, {}, self.task)
        values: dict[str, float | Estimate] = {}
        for measure in self.measures_of(self.task):
            values |= measure.values(seen)
        if self.has_reals and len(self.real.classes) and self.real.num and self.fake.num:
            real, fake = (side.classes / side.num for side in (self.real, self.fake))
            present = real > 0
            values[f"classes{self.suffix}"] = (fake[present] >= COVERED * real[present]).double().mean().item()
        if self.classifies:
            values[f"accuracy{self.suffix}"] = share_of(int(self.fake.correct), self.fake.num)
        if self.of_classes:
            values |= fid.of_classes(self.distance, self.classes, self.real, self.fake)
        return values

    def protocol(self) -> dict[str, Plain]:
        """What the values of classes rest on."""
        protocol: dict[str, Plain] = {}
        if self.classifies and self.task.fields >= {"real", "real_label"}:
            protocol["accuracy_of_reals"] = round(self.real.correct.item() / self.real.num, 4)
        if self.of_classes and fid.large_enough(self.real, self.fake):
            protocol["per_class"] = fid.counts(self.real, self.fake)
        return protocol

    def features(self) -> Features | None:
        return Features(self.real.table, self.fake.table, self.extractor) if self.has_reals else None
