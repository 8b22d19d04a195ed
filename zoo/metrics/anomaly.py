"""How well a score tells abnormal images from normal ones, on a set that knows which classes are normal.

    auroc, average_precision              of all abnormal images against the normal ones
    auroc_mean, average_precision_mean    the mean over the abnormal classes, each against the same normal images
    auroc_CLASS, average_precision_CLASS  of each, where there are several

auroc is the share of pairs, an abnormal image and a normal one, of which the abnormal one has the higher score: 0.5 by
chance, whatever the numbers of both. Its interval is that of DeLong et al. 1988 (Biometrics 44(3)), over draws of as
many normal and abnormal images. average_precision is the mean precision over the abnormal images in the order of their
scores: by chance their share among the images, which is in the protocol. Both by torchmetrics.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from zoo.batch import Preview
from zoo.metrics.estimate import Estimate, contributions, of_groups
from zoo.metrics.evaluator import Evaluator
from zoo.metrics.metric import Metric, Plain, Task

GROUPS = 20  # of images, of which the interval of average_precision leaves out one each


class Detection(Metric):
    """Holds the score of real images, of a preview, against what the data call normal (`normal`, labels).

    Args:
        split: of the data, that is measured on.
    """

    needs, sides, headline = ("score", "real_label"), ("real",), "auroc"
    score: Tensor  # [images]
    label: Tensor  # [images]

    def __init__(self, split: Literal["train", "test"] = "test") -> None:
        super().__init__()
        self.split: Literal["train", "test"] = split

    def measures(self, task: Task) -> bool:
        """Whether there are scores.

        Raises:
            ValueError: if the data call no class normal, or lack images of some.
        """
        if not super().measures(task):
            return False
        data = task.data
        if not getattr(data, "normal", None):
            raise ValueError(
                f"metrics=anomaly needs to know what is normal, and {data.where()} does not say: give the normal "
                "classes, such as data.normal=[3]; for a folder without labels also labelled test images, "
                "data.test_root=FOLDER; or metrics=none"
            )
        counts = data.split(self.split).labels.bincount(minlength=len(data.classes)).tolist()
        if not sum(counts[label] for label in data.normal):
            raise ValueError(
                f"{data.where()} has no normal images in its {self.split} split: metrics=anomaly needs some beside "
                "abnormal ones"
            )
        if empty := [name for label, name in enumerate(data.classes) if not counts[label] and label not in data.normal]:
            raise ValueError(
                f"{data.where()} has no {self.split} images of the abnormal class {empty[0]}: add some, hold more out "
                "(data.test_fraction=), or take the class out"
            )
        return True

    def begin(self) -> None:
        self.add_state("score", torch.zeros(self.task.num_real, dtype=torch.float64))
        self.add_state("label", torch.zeros(self.task.num_real, dtype=torch.int64))

    def update(self, shown: Preview, index: Tensor) -> None:
        assert shown.score is not None
        assert shown.real_label is not None
        if not shown.score.isfinite().all():
            raise ValueError("the model gives scores that are no numbers: its weights are of no use")
        self.score[index] = shown.score.to(self.score)
        self.label[index] = shown.real_label.to(self.label)

    def values(self) -> dict[str, float | Estimate]:
        data, score, label = self.task.data, self.score.cpu(), self.label.cpu()
        is_normal = torch.isin(label, torch.tensor(data.normal))
        classes = label[~is_normal].unique().tolist()
        if not is_normal.any() or is_normal.all():
            raise ValueError(
                f"of the first {len(score)} images all are {'' if is_normal.any() else 'ab'}normal: give "
                "metrics.num_real=null"
            )
        values: dict[str, float | Estimate] = {}
        for name, measure in (("auroc", auroc), ("average_precision", average_precision)):
            values[name] = measure(score, ~is_normal)
            of_classes = {}
            for k in classes:
                shown = is_normal | (label == k)
                of_class = measure(score[shown], ~is_normal[shown])
                of_classes[str(data.classes[k])] = _among(of_class, shown)
            values[f"{name}_mean"] = mean(list(of_classes.values()))
            if len(of_classes) > 1:
                values |= {f"{name}_{k}": value for k, value in of_classes.items()}
        return values

    def protocol(self) -> dict[str, Plain]:
        data = self.task.data
        is_normal = torch.isin(self.label.cpu(), torch.tensor(data.normal))
        names = ", ".join(str(data.classes[label]) for label in data.normal)
        return {"normal": names, "num_normal": int(is_normal.sum()), "num_abnormal": int((~is_normal).sum())}

    def sign(self, name: str) -> float:
        return 1.0 if self.panel(name) else 0.0

    def panel(self, name: str) -> str | None:
        return next((panel for panel in ("average_precision", "auroc") if panel in name), None)


def auroc(score: Tensor, abnormal: Tensor) -> Estimate:
    """The area under the receiver operating characteristic of scores [N], abnormal bool [N], with DeLong's interval."""
    value = float(binary_auroc(in_order(score), abnormal.int()))
    a, b = score[abnormal], score[~abnormal]
    each = torch.zeros(len(score), dtype=torch.float64)
    each[abnormal] = contributions(share_below(a, b))
    each[~abnormal] = contributions(1 - share_below(b, a))
    return Estimate(value, reals=each, least=0.0, most=1.0)


def average_precision(score: Tensor, abnormal: Tensor) -> Estimate:
    """The average precision of scores [N], abnormal bool [N]; its interval by groups of images, normal and abnormal."""
    score = in_order(score)
    measure = lambda kept: float(binary_average_precision(score[kept], abnormal[kept].int()))
    everything = torch.ones(len(score), dtype=torch.bool)
    number = torch.zeros(len(score), dtype=torch.int64)
    for side in (abnormal, ~abnormal):
        number[side] = torch.arange(int(side.sum())) % GROUPS
    if min(int(abnormal.sum()), int((~abnormal).sum())) < 2 * GROUPS:
        return Estimate(measure(everything), least=0.0, most=1.0)
    groups = of_groups([measure(number != group) for group in range(GROUPS)])
    return Estimate(measure(everything), reals=groups, least=0.0, most=1.0)


def in_order(score: Tensor) -> Tensor:
    """Scores [N] in [0, 1] of the same order, equal ones equal: torchmetrics takes others for logits, and their sigmoid
    makes all large ones equal."""
    return score.unique(return_inverse=True)[1].double() / max(len(score), 1)


def mean(values: list[Estimate]) -> float | Estimate:
    """The mean of values on the same normal images: contributions add up image by image, or group by group."""
    if len({len(value.reals) for value in values}) > 1:
        return statistics.fmean(value.value for value in values)
    total = torch.stack([value.reals for value in values]).mean(0)
    return Estimate(sum(value.value for value in values) / len(values), reals=total, least=0.0, most=1.0)


def share_below(x: Tensor, among: Tensor) -> Tensor:
    """The share of `among` [M] that lies below each of x [N], equal ones counted half: float64 [N]."""
    ordered = among.sort().values
    below, not_above = (torch.searchsorted(ordered, x, right=right).double() for right in (False, True))
    return (below + not_above) / 2 / len(ordered)


def _among(value: Estimate, shown: Tensor) -> Estimate:
    """A value of the images that are shown, bool [N], as one of all N; one by groups as it is."""
    if len(value.reals) != int(shown.sum()):
        return value
    reals = torch.zeros(len(shown), dtype=torch.float64)
    reals[shown] = value.reals
    return replace(value, reals=reals)


@dataclass(kw_only=True, eq=False)
class AnomalyDetection(Evaluator):
    """An evaluation by `Detection`, with the settings of every one."""

    metrics: Sequence[Metric] = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = [Detection(self.split)]
        super().__post_init__()
