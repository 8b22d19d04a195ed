"""Detection: AUROC and average precision by hand, by class and mean, with their intervals."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.batch import LabelledImages, Preview
from zoo.metrics.anomaly import AnomalyDetection, Detection, auroc, average_precision

N, CLASSES = 240, ["usual", "odd", "odder"]


class Data:
    """Grey images of one pixel, sorted by class in no order; the first class is normal."""

    description, classes, normal = "levels", CLASSES, [0]

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.labels = torch.arange(N) * 7 % 5 % 3  # 96 usual, 96 odd, 48 odder
        self.levels = (torch.randn(N, generator=draw) + self.labels * 0.8).round(decimals=1)  # with ties

    def where(self) -> str:
        return "data=levels"

    def split(self, split: str) -> Any:
        return SimpleNamespace(labels=self.labels)

    def fingerprint(self, split: str) -> str:
        return "1"

    def num_images(self, split: str) -> int:
        return N

    def evaluation_loader(self, *, split: str, num: int, rank: int, world_size: int, batch_size: int) -> Any:
        for index in torch.arange(rank, num, world_size).split(batch_size):
            yield LabelledImages(self.levels[index].view(-1, 1, 1, 1), self.labels[index], index)


def preview(batch: LabelledImages) -> dict[str, Preview]:
    return {"samples": Preview(batch.image, real=batch.image, real_label=batch.label, score=batch.image.flatten())}


def evaluation(**changes: Any) -> AnomalyDetection:
    return AnomalyDetection(
        **{"split": "test", "num_real": None, "num_fake": None, "batch_size": 32, "cache_dir": None, **changes}
    )


def measured() -> list[Any]:
    """Of this process's share; tests/metrics/test_evaluation.py has it of three, of which each must equal one."""
    result = evaluation().evaluate(preview, Data(), device="cpu")
    return [result.values, result.intervals, result.protocol]


def pairs_won(score: Tensor, abnormal: Tensor) -> float:
    """The share of pairs in which the abnormal image has the higher score, equal ones half."""
    difference = score[abnormal][:, None] - score[~abnormal][None]
    return float(((difference > 0).double() + (difference == 0).double() / 2).mean())


def precision_summed(score: Tensor, abnormal: Tensor) -> float:
    """The sum over thresholds of precision times what recall gains there."""
    points = [(0.0, 1.0)]
    for threshold in score.unique().flip(0):
        flagged = score >= threshold
        hits = float((flagged & abnormal).sum())
        points.append((hits / float(abnormal.sum()), hits / float(flagged.sum())))
    return sum((b[0] - a[0]) * b[1] for a, b in pairwise(points))


def test_values_are_those_by_hand() -> None:
    values, intervals, protocol = measured()
    data = Data()
    abnormal = data.labels > 0
    by_class = [(data.labels == 0) | (data.labels == k) for k in (1, 2)]
    for name, by_hand in (("auroc", pairs_won), ("average_precision", precision_summed)):
        assert values[name] == pytest.approx(by_hand(data.levels, abnormal), abs=1e-6)
        each = [by_hand(data.levels[shown], abnormal[shown]) for shown in by_class]
        assert values[f"{name}_odd"] == pytest.approx(each[0], abs=1e-6)
        assert values[f"{name}_odder"] == pytest.approx(each[1], abs=1e-6)
        assert values[f"{name}_mean"] == pytest.approx(sum(each) / 2, abs=1e-6)
        low, high = intervals[name]
        assert 0 <= low < values[name] < high <= 1
    assert 0.5 < values["auroc_odd"] < values["auroc_odder"] < 1
    assert (protocol["normal"], protocol["num_normal"], protocol["num_abnormal"]) == ("usual", 96, 144)


@pytest.mark.parametrize("measure", [auroc, average_precision])
def test_only_the_order_of_scores_counts(measure: Any) -> None:
    """A critic's scores are of any size and sign: torchmetrics' sigmoid would make large ones equal."""
    data = Data()
    score, abnormal = data.levels.double(), data.labels > 0
    value = measure(score, abnormal).value
    for other in (score * 1000, score * 1e-9, score + 1e4, score - 1e4):
        assert measure(other, abnormal).value == value


def test_it_chooses_the_best_upwards() -> None:
    one = evaluation()
    assert one.chooses("distribution", measured()[0]) == ("auroc", 1.0)
    assert one.panel("auroc_odd") == one.panel("auroc") == "auroc"


def test_the_interval_of_auroc_is_delong_s() -> None:
    """Of Gaussians a mean of 1 apart: the standard error of many draws, and DeLong's variance by hand."""
    generator = torch.Generator().manual_seed(0)
    abnormal = torch.arange(150) < 50
    draws = [auroc(torch.randn(150, generator=generator) + abnormal, abnormal) for _ in range(300)]
    values = torch.tensor([draw.value for draw in draws])
    assert sum(draw.error for draw in draws) / 300 == pytest.approx(float(values.std()), rel=0.1)
    score = torch.randn(150, generator=generator) + abnormal
    wins = (score[abnormal][:, None] > score[~abnormal][None]).double()
    variance = wins.mean(1).var() / 50 + wins.mean(0).var() / 100
    assert auroc(score, abnormal).error == pytest.approx(float(variance) ** 0.5)
    assert auroc(-score, abnormal).value == pytest.approx(1 - auroc(score, abnormal).value)


def test_the_interval_of_average_precision_is_about_the_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    abnormal = torch.arange(240) < 80
    draws = [average_precision(torch.randn(240, generator=generator) + abnormal, abnormal) for _ in range(60)]
    values = torch.tensor([draw.value for draw in draws])
    assert sum(draw.error for draw in draws) / 60 == pytest.approx(float(values.std()), rel=0.3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"normal": []}, r"data=levels does not say: give the normal classes, such as data\.normal=\[3\]"),
        ({"normal": [0, 1], "classes": [*CLASSES, "gone"]}, "no test images of the abnormal class gone"),
        ({"normal": [3], "classes": [*CLASSES, "gone"]}, "has no normal images in its test split"),
    ],
)
def test_what_can_t_be_measured_is_said_before_it_is_trained(change: dict[str, Any], sentence: str) -> None:
    data = Data()
    vars(data).update(change)
    with pytest.raises(ValueError, match=sentence):
        evaluation().check(preview, data, device="cpu")
    evaluation().check(preview, Data(), device="cpu")


def test_few_images_of_one_side_alone_and_scores_that_are_no_numbers() -> None:
    data = Data()
    data.labels = torch.where(torch.arange(N) > 9, 1 + torch.arange(N) % 2, 0)
    with pytest.raises(RuntimeError, match="evaluation failed") as raised:
        evaluation(num_real=5).evaluate(preview, data, device="cpu")
    assert "of the first 5 images all are normal" in str(raised.value)
    nothing = lambda batch: {"samples": preview(batch)["samples"]._replace(score=batch.image.flatten() * torch.nan)}
    with pytest.raises(ValueError, match="scores that are no numbers"):
        evaluation().evaluate(nothing, Data(), device="cpu")


def test_a_preview_without_scores_is_none_of_its() -> None:
    with pytest.raises(ValueError, match="the model shows no real_label and score"):
        evaluation().check(lambda batch: {"samples": Preview(batch.image)}, Data(), device="cpu")
    assert Detection().headline == "auroc"
