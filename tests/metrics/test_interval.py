"""Intervals, against closed forms."""

import statistics
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.batch import LabelledImages, Preview
from zoo.metrics.evaluator import Evaluator
from zoo.metrics.interval import Figure, Without, by_jackknife, by_t, measured, over_images
from zoo.metrics.metric import Metric, Result


class Brightness(Metric):
    """The mean of the fakes, and that of their positions."""

    needs, sides, headline = ("real",), ("fake",), "mean"
    sums: Tensor

    def begin(self) -> None:
        self.add_state("sums", torch.zeros(2, dtype=torch.float64))

    def update(self, shown: Preview, index: Tensor) -> None:
        self.sums += torch.stack([shown.fake.double().mean((1, 2, 3)).sum(), index.double().sum()])

    def values(self) -> dict[str, float]:
        return dict(zip(("mean", "position"), (self.sums / self.task.num_fake).tolist(), strict=True))


class Rows:
    """Images whose brightness is their row."""

    description, classes = "rows", ()

    def __init__(self, n: int) -> None:
        self.n = n

    def fingerprint(self, split: str) -> str:
        return str(self.n)

    def num_images(self, split: str) -> int:
        return self.n

    def evaluation_loader(self, *, split: str, num: int, rank: int, world_size: int, batch_size: int) -> Any:
        for index in torch.arange(num).split(batch_size):
            yield LabelledImages(index.float().view(-1, 1, 1, 1), torch.zeros_like(index), index)


def evaluator(**settings: Any) -> Evaluator:
    defaults = {"split": "train", "num_real": None, "num_fake": None, "batch_size": 4, "cache_dir": None}
    return Evaluator(metrics=[Brightness()], **defaults | settings)


def test_disjoint_sets_of_latents() -> None:
    seeds: list[int] = []

    def preview(batch: Any) -> dict[str, Preview]:
        seeds.extend(batch.index.tolist())
        return {"samples": Preview(batch.index.float().view(-1, 1, 1, 1), real=batch.image)}

    found = measured(evaluator(num_fake=10), preview, Rows(10), device="cpu", protocol={}, of_latents=True, times=3)
    assert sorted(seeds) == list(range(30))
    assert found.protocol["seeds"] == "0 to 29, in 3 sets"
    assert found.values["mean"].value == pytest.approx(14.5)  # of 4.5, 14.5, 24.5
    assert found.values["mean"].high - 14.5 == pytest.approx(4.302653 * 10 / 3**0.5, rel=1e-6)  # type: ignore[operator]
    assert found.values["position"] == Figure(*[pytest.approx(4.5)] * 3), "each set has positions from 0 on"


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    """Of groups of one, sqrt((n - 1) / n sum (x_(k) - mean)^2) = s / sqrt(n)."""
    shown = lambda batch: {"samples": Preview(batch.image.square(), real=batch.image)}
    found = measured(evaluator(), shown, Rows(7), device="cpu", protocol={}, of_latents=False, times=7)
    squares = [float(i * i) for i in range(7)]
    expected = 2.446912 * statistics.stdev(squares) / 7**0.5
    figure = found.values["mean"]
    assert figure.value == pytest.approx(statistics.fmean(squares))
    assert figure.high - figure.value == pytest.approx(expected, rel=1e-5)  # type: ignore[operator]
    assert figure.value - figure.low == pytest.approx(expected, rel=1e-5)  # type: ignore[operator]
    assert found.values["position"].value == 3.0


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_without_a_group_the_rest_closes_up(groups: int) -> None:
    shown: list[int] = []
    for group in range(groups):
        part = Without(Rows(13), group, groups)
        batches = list(part.evaluation_loader(split="x", num=part.num_images("x"), rank=0, world_size=1, batch_size=4))
        index = torch.cat([batch.index for batch in batches]).tolist()
        rows = torch.cat([batch.image for batch in batches]).flatten().int().tolist()
        assert index == list(range(part.num_images("x")))
        assert rows == [row for row in range(13) if row % groups != group]
        shown += rows
    assert sorted(shown) == sorted(list(range(13)) * (groups - 1))


def test_once_is_without_an_interval() -> None:
    shown = lambda batch: {"samples": Preview(batch.image, real=batch.image)}
    found = measured(evaluator(), shown, Rows(4), device="cpu", protocol={}, of_latents=True, times=1)
    assert found.values["mean"] == Figure(1.5, None, None)
    assert found.interval == "none"


def test_over_images() -> None:
    values = [20.0, 22.0, 27.0, 30.0, 31.0]
    result = lambda n: Result(
        {"psnr": statistics.fmean(values[:n])}, {}, images={str(i): {"psnr": values[i]} for i in range(n)}
    )
    assert over_images(result(3)) == {"psnr": Figure(23.0, 20.0, 27.0)}
    figure = over_images(result(5))["psnr"]
    assert figure.high == pytest.approx(26 + 2.776445 * statistics.stdev(values) / 5**0.5)
    fake: Any = SimpleNamespace(evaluate=lambda *a, **k: result(3))
    found = measured(fake, None, None, device="cpu", protocol={}, of_latents=False, times=5)  # type: ignore[arg-type]
    assert found.interval == "mean of 3 images, from the lowest to the highest"


def test_closed_forms() -> None:
    assert by_t([1.0, 1.0]) == Figure(1.0, 1.0, 1.0)
    assert by_jackknife(2.0, [1.0, 1.0]) == Figure(2.0, 2.0, 2.0)
