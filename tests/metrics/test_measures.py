"""Each measure beside an independent reference, and its interval where the truth is known."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import calculate_precision_recall_part

from zoo.metrics import diversity, lpips
from zoo.metrics.distribution import MEASURES, Distribution
from zoo.metrics.estimate import GROUPS, Estimate
from zoo.metrics.extractors import DigitClassifier, Extractor
from zoo.metrics.kernel import cubic, gaussian, mmd
from zoo.metrics.measure import Seen
from zoo.metrics.metric import Task
from zoo.metrics.score import Classes


class Reader(Extractor):
    """The features are logits of three classes."""

    name, num_features, num_logits = "read", 3, 3

    def logits_of(self, features: Tensor) -> Tensor:
        return features


def seen(fake: Tensor, real: Tensor, *, paired: bool = False, counted: Any = None) -> Seen:
    sides = (SimpleNamespace(table=table, num=len(table)) for table in (real, fake))
    return Seen(*sides, Reader(), paired, counted or {}, {})  # type: ignore[arg-type]


def features(m: int, n: int, f: int = 4, seed: int = 0, shift: float = 0.5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, f, generator=generator) * 0.9 + shift, torch.randn(n, f, generator=generator)


def measured(name: str, *sides: Tensor, **kwargs: Any) -> dict[str, Any]:
    values = MEASURES[name](3).values(seen(*sides, **kwargs))
    return {key.removesuffix("_read"): value for key, value in values.items()}


# Kernels.


def test_kid_is_torch_fidelitys_of_a_subset_of_all() -> None:
    fake, real = features(250, 250, 7)
    expected = kid_features_to_metric(
        fake.double(), real.double(), kid_subsets=1, kid_subset_size=250, rng_seed=1, verbose=False
    )
    assert measured("kid", fake, real)["kid"].value == pytest.approx(
        expected["kernel_inception_distance_mean"], rel=1e-9
    )


def test_the_mean_of_torch_fidelitys_subsets_comes_near() -> None:
    fake, real = features(120, 140)
    many = kid_features_to_metric(fake.double(), real.double(), kid_subsets=4000, kid_subset_size=40, verbose=False)
    value = measured("kid", fake, real)["kid"].value
    noise = many["kernel_inception_distance_std"] / 4000**0.5
    assert value == pytest.approx(many["kernel_inception_distance_mean"], abs=4 * noise)


@pytest.mark.parametrize(("kernel", "unbiased"), [(cubic, True), (gaussian, False)])
def test_a_discrepancy_equals_its_definition(kernel: Any, unbiased: bool) -> None:
    fake, real = (side.double() for side in features(8, 11, 3))

    def k(x: list[float], y: list[float]) -> float:
        dot = sum(a * b for a, b in zip(x, y, strict=True))
        apart = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
        return (dot / 3 + 1) ** 3 if unbiased else 1000 * math.exp(-apart / 200)

    def within(side: Tensor) -> float:
        rows, n = side.tolist(), len(side)
        return sum(k(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j or not unbiased) / (
            n * (n - unbiased)
        )

    across = sum(k(x, y) for x in fake.tolist() for y in real.tolist()) / 88
    value = mmd(fake, real, kernel, unbiased=unbiased).value
    assert value == pytest.approx(within(fake) + within(real) - 2 * across, rel=1e-9)


def test_images_contribute_to_kid_what_leaving_them_out_changes() -> None:
    fake, real = features(60, 70)
    estimate = measured("kid", fake, real)["kid"]
    for part, without in (
        (estimate.fakes, lambda i: (torch.cat([fake[:i], fake[i + 1 :]]), real)),
        (estimate.reals, lambda i: (fake, torch.cat([real[:i], real[i + 1 :]]))),
    ):
        left = torch.tensor([measured("kid", *without(i))["kid"].value for i in range(len(part))]).double()
        assert torch.allclose(part, left.mean() - left, rtol=0.1, atol=0.02 * float(part.abs().max()))


def test_rows_of_the_kernel_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured("kid", *features(130, 90))["kid"]
    monkeypatch.setattr("zoo.metrics.kernel.ROWS", 7)
    parts = measured("kid", *features(130, 90))["kid"]
    assert parts.value == pytest.approx(whole.value, rel=1e-9)
    assert torch.allclose(parts.reals, whole.reals)


# Neighbours.


def loops(fake: Tensor, real: Tensor, k: int) -> tuple[float, float]:
    """Density and coverage of arXiv:2002.09797."""
    f, r = fake.tolist(), real.tolist()
    radius = [sorted(math.dist(a, b) for b in r)[k] for a in r]
    inside = [[math.dist(x, y) < radius[j] for j, y in enumerate(r)] for x in f]
    return sum(map(sum, inside)) / (k * len(f)), sum(any(row[j] for row in inside) for j in range(len(r))) / len(r)


def test_density_and_coverage_equal_their_definition() -> None:
    fake, real = features(70, 90)
    values = measured("density_coverage", fake, real)
    expected = loops(fake.double(), real.double(), 5)
    assert (values["density"].value, values["coverage"].value) == pytest.approx(expected, rel=1e-6)
    assert measured("density_coverage", fake[:5], real) == {}


def by_hand(value: Callable[[Tensor, Tensor], float], fake: Tensor, real: Tensor, *, sides: str) -> Tensor:
    """What groups contribute, each value computed anew without the group."""
    number = min(len(fake) if "f" in sides else GROUPS, len(real) if "r" in sides else GROUPS, GROUPS)
    left = []
    for group in range(number):
        kept = [
            side[torch.arange(len(side)) % GROUPS != group] if which in sides else side
            for which, side in (("f", fake), ("r", real))
        ]
        left.append(value(*kept))
    without = torch.tensor(left, dtype=torch.float64)
    return (without - without.mean()) * ((number - 1) / number) ** 0.5


@pytest.mark.parametrize("numbers", [(90, 110), (13, 40), (300, 300)])
def test_precision_and_recall_are_torch_fidelitys_and_their_groups_are_left_out(numbers: tuple[int, int]) -> None:
    fake, real = features(*numbers)
    values = measured("precision_recall", fake, real)
    reference = lambda f, r: calculate_precision_recall_part(f.double(), r.double(), 3)
    assert (values["precision"].value, values["recall"].value) == reference(fake, real)
    of_precision, of_recall = ((lambda f, r, i=i: reference(f, r)[i]) for i in range(2))
    assert torch.allclose(values["precision"].reals, by_hand(of_precision, fake, real, sides="r"), atol=1e-6)
    assert torch.allclose(values["recall"].fakes, by_hand(of_recall, fake, real, sides="f"), atol=1e-6)
    share = values["precision"].value
    assert values["precision"].fakes.square().sum() == pytest.approx(share * (1 - share) / (len(fake) - 1), rel=1e-5)
    share = values["recall"].value
    assert values["recall"].reals.square().sum() == pytest.approx(share * (1 - share) / (len(real) - 1), rel=1e-5)


def test_groups_of_density_and_coverage_are_left_out() -> None:
    fake, real = features(60, 80, 2)
    values = measured("density_coverage", fake, real)
    density, coverage = ((lambda f, r, i=i: loops(f, r, 5)[i]) for i in range(2))
    assert torch.allclose(values["density"].reals, by_hand(density, fake, real, sides="r"), atol=1e-6)
    assert torch.allclose(values["coverage"].reals, by_hand(coverage, fake, real, sides="r"), atol=1e-6)
    assert torch.allclose(values["coverage"].fakes, by_hand(coverage, fake, real, sides="f"), atol=1e-6)


def test_pairs_leave_together() -> None:
    fake, real = features(60, 60, 2)
    values = measured("precision_recall", fake, real, paired=True) | measured(
        "density_coverage", fake, real, paired=True
    )
    functions = {
        **{n: lambda f, r, i=i: calculate_precision_recall_part(f.double(), r.double(), 3)[i]
           for i, n in enumerate(("precision", "recall"))},
        **{n: lambda f, r, i=i: loops(f, r, 5)[i] for i, n in enumerate(("density", "coverage"))},
    }  # fmt: skip
    for name, function in functions.items():
        assert torch.allclose(values[name].pairs, by_hand(function, fake, real, sides="fr"), atol=1e-6), name
        assert not len(values[name].fakes)


def test_rows_of_the_distances_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured("density_coverage", *features(130, 90))["coverage"]
    monkeypatch.setattr("zoo.metrics.neighbours.ROWS", 7)
    parts = measured("density_coverage", *features(130, 90))["coverage"]
    assert parts.value == whole.value
    assert torch.equal(parts.fakes, whole.fakes)


# Intervals: the truth is the mean over many draws. Those of radii are wide rather than narrow.


@pytest.mark.slow
def test_intervals_hold_the_mean_over_draws() -> None:
    estimates: dict[str, list[Estimate]] = {}
    for seed in range(120):
        sides = features(100, 120, 6, seed)
        for name in ("kid", "precision_recall", "density_coverage"):
            for key, value in measured(name, *sides).items():
                estimates.setdefault(key, []).append(value)
    for name, draws in estimates.items():
        values = torch.tensor([draw.value for draw in draws])
        held = [low <= values.mean() <= high for low, high in (draw.interval() for draw in draws)]
        assert sum(held) / len(held) > 0.89, name
        width = (sum(draw.error**2 for draw in draws) / len(draws)) ** 0.5 / values.std()
        assert 0.8 < width < (1.3 if name == "kid" else 2), name


def test_kid_of_equals_is_zero_on_average_and_its_interval_holds_it() -> None:
    generator = torch.Generator().manual_seed(1)
    draws = [measured("kid", *torch.randn(2, 40, 5, generator=generator))["kid"] for _ in range(200)]
    values = torch.tensor([draw.value for draw in draws])
    assert abs(values.mean()) < 3 * values.std() / 200**0.5
    assert sum(low <= 0 <= high for low, high in (draw.interval() for draw in draws)) / 200 > 0.9


# The Inception Score.


def scored(logits: Tensor, batch: int = 16) -> Estimate:
    measure = MEASURES["inception_score"](3)
    counter = Classes(len(logits), Reader(), "cpu")
    for index in torch.arange(len(logits)).split(batch):
        counter.update(torch.empty(0), logits[index], index, None)
    return measure.values(seen(logits, logits[:0], counted={measure: counter}))["inception_score_read"]  # type: ignore[return-value]


@pytest.mark.parametrize("number", [500, 137, 10])
def test_the_inception_score_is_torch_fidelitys(number: int) -> None:
    logits = 3 * torch.randn(number, 3, generator=torch.Generator().manual_seed(0))
    assert scored(logits).value == pytest.approx(isc_features_to_metric(logits)["inception_score_mean"], rel=1e-9)


def test_the_inception_score_in_closed_form() -> None:
    """Sure of one of three classes in equal shares: 3. Always the same: 1."""
    sure = 100 * torch.eye(3).repeat(100, 1)
    assert 2.8 < scored(sure).value < 3
    assert scored(sure[:1].repeat(300, 1)).value == pytest.approx(1)
    assert scored(sure[:6]).value == 1.0  # a split of one image each


def test_the_interval_of_the_inception_score_holds_the_mean_over_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [scored(3 * torch.randn(200, 3, generator=generator), 200) for _ in range(150)]
    values = torch.tensor([draw.value for draw in draws])
    held = sum(low <= values.mean() <= high for low, high in (draw.interval() for draw in draws)) / 150
    assert held > 0.88
    assert values.std() == pytest.approx(sum(draw.error for draw in draws) / 150, rel=0.2)


# Diversity.


def counted(images: Tensor, label: Tensor | None, measure: Any) -> Seen:
    task = Task("samples", frozenset({"fake"}), None, 0, len(images), torch.device("cpu"), {}, tuple(images.shape[1:]))
    counter = measure.counter(task, DigitClassifier(), "cpu")
    for index in torch.arange(len(images)).split(7):
        counter.update(images[index], torch.empty(0), index, None if label is None else label[index])
    return Seen(None, SimpleNamespace(num=len(images)), DigitClassifier(), False, {measure: counter}, {})  # type: ignore[arg-type]


def test_diversity_is_the_mean_of_eq_1_over_pairs_of_one_class() -> None:
    images = torch.randint(0, 256, (23, 1, 28, 28), generator=torch.Generator().manual_seed(0)).byte()
    label = torch.arange(23) % 3
    measure = MEASURES["diversity"](3)
    (value,) = measure.values(counted(images, label, measure)).values()
    rows = []
    for group in range(3):
        members = images[label == group]
        half = len(members) // 2
        for a, b in zip(members[:half], members[half : 2 * half], strict=True):
            total = 0.0
            for x, y in zip(*(DigitClassifier().activations(image[None]) for image in (a, b)), strict=True):
                x, y = (layer / layer.norm(dim=1, keepdim=True).clamp_min(1e-12) for layer in (x, y))
                places = x[0, 0].numel() if x.dim() == 4 else 1
                total += float((x - y).square().sum()) / places
            rows.append(total)
    assert len(rows) == 4 + 4 + 3
    assert value.value == pytest.approx(sum(rows) / 11, rel=1e-4)  # type: ignore[union-attr]
    assert value.error == pytest.approx(float(torch.tensor(rows).std()) / 11**0.5, rel=1e-3)  # type: ignore[union-attr]


def test_equal_fakes_are_not_diverse_and_one_has_none() -> None:
    measure = MEASURES["diversity"](3)
    image = torch.randint(0, 256, (1, 1, 28, 28)).byte()
    (value,) = measure.values(counted(image.repeat(9, 1, 1, 1), None, measure)).values()
    assert value.value == 0  # type: ignore[union-attr]
    assert measure.values(counted(image, None, measure)) == {}


def test_large_fakes_are_kept_small() -> None:
    counter = diversity.Drawn(3, (3, 300, 600), torch.device("cpu"), "cpu")
    assert counter.images.shape == (3, 3, 128, 256)
    counter.update(torch.full((1, 3, 300, 600), 77).byte(), torch.empty(0), torch.tensor([1]), None)
    assert counter.images[1].unique().tolist() == [77]


def test_lpips_is_asked_where_the_extractor_shows_no_activations(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    class Stub(torch.nn.Module):
        def __init__(self, net_type: str, normalize: bool) -> None:
            super().__init__()
            assert net_type == "alex"

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            assert a.shape == b.shape == (1, 3, 64, 64)
            return (a - b).abs().mean()

        def reset(self) -> None: ...

    levels = torch.tensor([0, 255, 0, 255]).byte().view(4, 1, 1, 1).expand(4, 1, 32, 32).contiguous()
    measure = MEASURES["diversity"](3)

    def offline(**_: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity", offline)
    for _ in range(2):
        measure.load(Reader())
    assert not measure.fits(Reader())
    assert [m for m in caplog.messages if "diversity is not measured: the weights of alex" in m] == caplog.messages
    assert len(caplog.messages) == 1

    monkeypatch.setattr("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity", Stub)
    measure = MEASURES["diversity"](3)
    measure.load(Reader())
    values = measure.values(counted(levels, torch.tensor([0, 1, 1, 0]), measure)._replace(extractor=Reader()))
    assert {name: value.value for name, value in values.items()} == {"diversity": 2.0}  # type: ignore[union-attr]


def test_without_weights_it_is_half_the_distance_of_directions() -> None:
    a = [torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    b = [torch.tensor([[0.0, 5.0]]), torch.tensor([[0.0, 7.0]])]
    assert lpips.unweighted(a, b).tolist() == [2.0]


# The list.


@pytest.mark.parametrize("measures", [None, [], "fid"])
def test_what_is_no_list_of_measures_is_refused(measures: Any) -> None:
    with pytest.raises(ValueError, match=r"metrics\.measures=.* must be a list of one or more of fid, kid"):
        Distribution(DigitClassifier(), 3, 100, False, measures)


@pytest.mark.parametrize("number", [0, 1])
def test_a_frechet_distance_without_a_covariance_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"num_fake={number}: .* two images or more"):
        Distribution(DigitClassifier(), 3, 100, False, ["fid"]).check_numbers(num_fake=number)
    with pytest.raises(ValueError, match="prc_images=-5 must be at least 1"):
        Distribution(DigitClassifier(), 3, -5, False, ["kid"])


def test_an_unknown_measure_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"metrics\.measures: there is no precision \(did you mean precision_recall\?\)"
    ):
        Distribution(Reader(), 3, 10, False, ["fid", "precision"])


def test_what_does_not_fit_the_extractor_is_left_out() -> None:
    class Plain(Extractor):
        name, num_features, resize, weights_sha256 = "plain", 3, "none", "none"

    metric = Distribution(Plain(), 3, 10, False, [*list(MEASURES)[:5], "cmmd"])
    task = Task("samples", frozenset({"fake", "real"}), None, 20, 20, torch.device("cpu"), {})
    assert [type(m).__name__ for m in metric.measures_of(task)] == ["FID", "KID", "PrecisionRecall", "DensityCoverage"]
    assert "inception_score" not in metric.settings()
    alone = task._replace(fields=frozenset({"fake"}))
    assert metric.measures_of(alone) == []
    assert [type(m).__name__ for m in Distribution(Reader(), 3, 10, False).measures_of(alone)] == ["InceptionScore"]


def test_what_sums_up_an_evaluation_without_the_distance() -> None:
    def headline(*measures: str) -> tuple[str | None, bool]:
        metric = Distribution(Reader(), 3, 100, False, measures)
        return metric.headline, metric.higher_is_better

    assert headline("inception_score", "fid") == ("fid_read", False)
    assert headline("precision_recall", "kid") == ("kid_read", False)
    assert headline("inception_score", "kid") == ("inception_score_read", True)
    assert headline("precision_recall") == (None, True)


def test_what_an_extractor_can_not_have_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    metric = Distribution(Reader(), 3, 100, False, ("fid", "cmmd"))
    metric.load()
    metric.load()
    assert [record.getMessage() for record in caplog.records] == [
        "cmmd needs an extractor whose features are an embedding, such as metrics=clip, and is not measured on read"
    ]
