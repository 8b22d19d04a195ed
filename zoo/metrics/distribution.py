"""Fakes beside real images as distributions, in the features of an extractor, and by class.

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

They share one pass through the extractor, and what it gives of real images is kept: so they are one metric.
"""

from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from torch_fidelity.metric_prc import calculate_precision_recall_part
from torchmetrics.image.fid import FrechetInceptionDistance

from zoo.batch import Preview, to_bytes
from zoo.metrics.extractors import Extractor
from zoo.metrics.metric import Features, Metric, Plain, States, Task

CACHE_VERSION = 2  # of the kept real statistics: raise it when their meaning changes
COVERED = 0.1  # a class is covered from this ratio of its share among fakes to its share among reals


class Side(States):
    """The sums and tables of one side, real or fake.

    The sums are kept for each class where FID is measured for each, else for a single group: the whole is their sum.
    """

    count: Tensor  # [groups] images
    sum: Tensor  # [groups, F] of features
    products: Tensor  # [groups, F, F] of pairs of them
    table: Tensor  # [n, F] the features of the images drawn for precision and recall
    classes: Tensor  # [classes of the extractor] images that it puts there
    correct: Tensor  # [1] images in the class of their label

    def __init__(self, name: str, num: int, metric: "Distribution") -> None:
        super().__init__(metric.home)
        self.name, self.num, self.extractor = name, num, metric.extractor
        features, groups = self.extractor.num_features, len(metric.classes) or 1
        # Images for precision and recall are drawn from all positions: a data set may come sorted by class.
        drawn = torch.randperm(num, generator=torch.Generator().manual_seed(0))[: metric.prc_images].sort().values
        self.row = torch.full((num,), -1)  # [num] position -> row of `table`, or -1
        self.row[drawn] = torch.arange(len(drawn))
        # float64, or the distance is rounded to float32.
        zeros, double, whole = torch.zeros, torch.float64, torch.int64
        self.add_state("count", zeros(groups, dtype=whole))
        self.add_state("sum", zeros(groups, features, dtype=double))
        self.add_state("products", zeros(groups, features, features, dtype=double))
        self.add_state("table", zeros(len(drawn), features))
        self.add_state("classes", zeros(len(self.extractor.classes), dtype=whole))
        self.add_state("correct", zeros(1, dtype=whole))

    def update(self, images: Tensor, index: Tensor, label: Tensor | None) -> None:
        """Counts images [N, C, H, W] in [-1, 1] at their positions [N], on the CPU; those beyond `num` are left out."""
        inside = (index < self.num).nonzero().squeeze(1)
        if not len(inside):
            return
        features = self.extractor(to_bytes(images[inside.to(images.device)]))
        if label is not None:
            label = label.to(self.home)[inside.to(self.home)]
        if self.extractor.classes:
            classes = self.extractor.classify(features).to(self.home)
            self.classes += classes.bincount(minlength=len(self.classes))
            if label is not None:
                self.correct += (classes == label).sum()
        features = features.to(self.home)
        row = self.row[index[inside]].to(self.home)
        self.table[row[row >= 0]] = features[row >= 0]
        features = features.double()
        for group in range(len(self.count)):
            part = features[label == group] if label is not None and len(self.count) > 1 else features
            self.count[group] += len(part)
            self.sum[group] += part.sum(0)
            self.products[group] += part.T @ part


class Distribution(Metric):
    """The Frechet distance, precision and recall, the classes covered, accuracy, and the distance of each class.

    Args:
        extractor: what is compared: features of `zoo.metrics.extractors`. Every value carries its name.
        neighbours: k of precision and recall; 3 in the paper.
        prc_images: at most this many images of each side enter precision and recall, drawn once with a fixed seed:
            their cost grows with the square (5,000 against 5,000 take seconds; 50,000 would take minutes).
        per_class: measure the Frechet distance of each class too, where fakes have labels.

    Raises:
        ValueError: a number of neighbours or of images that leaves precision and recall undefined.
    """

    higher_is_better = False

    def __init__(self, extractor: Extractor, neighbours: int, prc_images: int, per_class: bool) -> None:
        super().__init__()
        if neighbours < 1:
            raise ValueError(f"neighbours={neighbours} must be at least 1")
        self.extractor, self.neighbours, self.prc_images, self.per_class = extractor, neighbours, prc_images, per_class
        self.suffix = f"_{extractor.name}" if extractor.name else ""
        self.headline = f"fid{self.suffix}"
        self.check_numbers(prc_images=prc_images)

    def load(self) -> None:
        self.extractor.load()

    def check_numbers(self, **numbers: int | None) -> None:
        for argument, number in numbers.items():
            if number is not None and number <= self.neighbours:
                raise ValueError(
                    f"{argument}={number}: precision and recall need more than neighbours={self.neighbours} images"
                )

    def check(self, shown: Preview, name: str) -> None:
        for images in (shown.fake, shown.real):
            if shown.real is not None and images is not None and images.shape[1] not in (1, 3):
                raise ValueError(
                    f"metrics judge images of 1 or 3 channels, and these{name} have {images.shape[1]}: set metrics=none"
                )

    def settings(self) -> dict[str, Plain]:
        libraries = {"torchmetrics": version("torchmetrics"), "torch_fidelity": version("torch-fidelity")}
        numbers = {"neighbours": self.neighbours, "prc_images": self.prc_images}
        return {**self.extractor.protocol(), **numbers, **libraries}

    def measures(self, task: Task) -> bool:
        return "real" in task.fields or self._classifies(task)

    def _classifies(self, task: Task) -> bool:
        """Whether the extractor can tell if fakes are of the classes that were asked for."""
        classes = list(self.extractor.classes)
        return "label" in task.fields and bool(classes) and classes == list(task.data.classes)

    def panel(self, name: str) -> str | None:
        return "fid of classes" if f"/{self.headline}/" in f"/{name}" else None

    def begin(self) -> None:
        task = self.task
        self.has_reals, self.classifies = "real" in task.fields, self._classifies(task)
        self.of_classes = self.per_class and task.fields >= {"label", "real_label"}
        self.classes = list(task.data.classes) if self.of_classes else []
        self.extractor.to(task.device)
        self.real = Side("real", task.num_real if self.has_reals else 0, self)
        self.fake = Side("fake", task.num_fake, self)
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

    def values(self) -> dict[str, float]:
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
        s = self.suffix
        values = self._of_both_sides() if self.has_reals else {}
        if self.classifies:
            values[f"accuracy{s}"] = self.fake.correct.item() / self.fake.num
        if groups := self._large_enough():
            of_class = {f"fid{s}/{self.classes[group]}": self._frechet([group]) for group in groups}
            values |= {f"fid{s}_per_class": sum(of_class.values()) / len(of_class), **of_class}
        return values

    def _of_both_sides(self) -> dict[str, float]:
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
        protocol: dict[str, Plain] = {}
        if self.classifies and self.task.fields >= {"real", "real_label"}:
            protocol["accuracy_of_reals"] = round(self.real.correct.item() / self.real.num, 4)
        if groups := self._large_enough():
            counts = [(side.name, side.count[groups]) for side in (self.real, self.fake)]
            each = [f"{count.min()} to {count.max()} {name}s each" for name, count in counts]
            protocol["per_class"] = ", ".join([f"{len(groups)} of {len(self.classes)} classes", *each])
        return protocol

    def features(self) -> Features | None:
        return Features(self.real.table, self.fake.table, self.extractor) if self.has_reals else None

    def _large_enough(self) -> list[int]:
        """The classes with the two images on each side without which there is no covariance."""
        return [group for group in range(len(self.classes)) if min(self.real.count[group], self.fake.count[group]) > 1]

    def _frechet(self, groups: Any) -> float:
        """The Frechet distance over the images of some groups."""
        # On the CPU: its eigenvalues need no CUDA library that may be missing, and are the same everywhere.
        fid = FrechetInceptionDistance(self.extractor)  # which is not called: its features are there already
        fid.orig_dtype = torch.float64
        for side in (self.real, self.fake):
            for name, states in (("sum", side.sum), ("cov_sum", side.products), ("num_samples", side.count)):
                getattr(fid, f"{side.name}_features_{name}").copy_(states[groups].sum(0))
        return FrechetInceptionDistance.compute(fid).item()  # of the class: the object's own warns that no update was
