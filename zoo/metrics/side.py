"""One side of a comparison, real or fake: what is counted of its images as they pass through an extractor once."""

from typing import Any

import torch
from torch import Tensor

from zoo.batch import to_bytes
from zoo.metrics.extractors import Extractor
from zoo.metrics.frechet import Moments, of_sums
from zoo.metrics.metric import States


class Side(States):
    """The sums and tables of one side, real or fake.

    The sums are kept for each class where FID is measured for each, else for a single group: the whole is their sum.
    Features of images are kept of `drawn`, with a fixed seed: what looks at pairs of images costs their square.
    """

    count: Tensor  # [groups] images
    sum: Tensor  # [groups, F] of features
    products: Tensor  # [groups, F, F] of pairs of them
    table: Tensor  # [n, F] the features of the images that are drawn
    labels: Tensor  # [n] the groups of the images that are drawn, where there are several
    classes: Tensor  # [classes of the extractor] images that it puts there
    correct: Tensor  # [1] images in the class of their label

    def __init__(
        self, name: str, num: int, *, extractor: Extractor, groups: int, drawn: int, home: torch.device | str
    ) -> None:
        super().__init__(home)
        self.name, self.num, self.extractor = name, num, extractor
        self.counters: list[Any] = []  # zoo.metrics.measure.Counter: what else is counted of the same images
        features = extractor.num_features
        # Drawn from all positions: a data set may come sorted by class.
        chosen = positions(num, drawn)
        self.row = torch.full((num,), -1)  # [num] position -> row of `table`, or -1
        self.row[chosen] = torch.arange(len(chosen))
        # float64, or the distance is rounded to float32.
        zeros, double, whole = torch.zeros, torch.float64, torch.int64
        self.add_state("count", zeros(groups, dtype=whole))
        self.add_state("sum", zeros(groups, features, dtype=double))
        self.add_state("products", zeros(groups, features, features, dtype=double))
        self.add_state("table", zeros(len(chosen), features))
        self.add_state("labels", zeros(len(chosen) if groups > 1 else 0, dtype=whole))
        self.filled = zeros(len(chosen), dtype=torch.bool).to(home)  # which rows of it are, on this rank
        self.add_state("classes", zeros(len(self.extractor.classes), dtype=whole))
        self.add_state("correct", zeros(1, dtype=whole))

    def update(self, images: Tensor, index: Tensor, label: Tensor | None) -> None:
        """Counts images [N, C, H, W] in [-1, 1] at their positions [N], on the CPU; those beyond `num` are left out."""
        inside = (index < self.num).nonzero().squeeze(1)
        if not len(inside):
            return
        if label is not None:
            label = label.to(self.home)[inside.to(self.home)]
        self.add(to_bytes(images[inside.to(images.device)]), index[inside], label)

    def add(self, images: Tensor, index: Tensor, label: Tensor | None = None) -> None:
        """Counts uint8 images [N, C, H, W] at their positions [N], on the CPU, all of them below `num`."""
        features = self.extractor(images)
        if self.extractor.classes:
            classes = self.extractor.classify(features).to(self.home)
            self.classes += classes.bincount(minlength=len(self.classes))
            if label is not None:
                self.correct += (classes == label).sum()
        for counter in self.counters:
            counter.update(images, features, index, label)
        features = features.to(self.home)
        row = self.row[index].to(self.home)
        self.table[row[row >= 0]] = features[row >= 0]
        if label is not None and len(self.labels):
            self.labels[row[row >= 0]] = label[row >= 0]
        self.filled[row[row >= 0]] = True
        features = features.double()
        for group in range(len(self.count)):
            part = features[label == group] if label is not None and len(self.count) > 1 else features
            self.count[group] += len(part)
            self.sum[group] += part.sum(0)
            self.products[group] += part.T @ part

    def rows(self, group: int) -> Tensor:
        """The features of the drawn images of a group, [k, F], on the CPU."""
        return self.table[self.labels == group].cpu() if len(self.count) > 1 else self.table.cpu()

    def reduce(self) -> None:
        super().reduce()
        for counter in self.counters:
            counter.reduce()

    def close(self) -> None:
        """Leave out what was not counted, where some positions had no images: those that can't be read."""
        if (counted := int(self.count.sum())) < self.num:
            self.num, self.table = counted, self.table[self.filled]

    def moments(self, groups: list[int] | None = None) -> Moments:
        """Of the features of all images, or of those of some groups."""
        chosen = slice(None) if groups is None else groups
        count, total, products = (states[chosen].sum(0).cpu() for states in (self.count, self.sum, self.products))
        return of_sums(int(count), total, products)


def positions(num: int, drawn: int) -> Tensor:
    """Which of `num` images are drawn: [at most `drawn`], in order, always the same."""
    return torch.randperm(num, generator=torch.Generator().manual_seed(0))[:drawn].sort().values
