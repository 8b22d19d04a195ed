import math
import multiprocessing

import pytest
import test_anomaly
import test_metric
import torch
import torch.distributed as dist
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance

from zoo.batch import LabelledImages, Preview, from_bytes, to_bytes
from zoo.metrics.distribution import MEASURES
from zoo.metrics.evaluation import Evaluation
from zoo.metrics.extractors import Extractor
from zoo.metrics.metric import Result
from zoo.run.config import check, compose, plain


class Pixels(Extractor):
    """The first four pixels are the features; the brightest of them is the class."""

    name = "pixels"
    num_features = num_logits = 4
    classes = ("a", "b", "c", "d")
    resize = "none"
    weights_sha256 = "none"

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def features(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return images.flatten(1)[:, :4].float() / 255

    def classify(self, features: Tensor) -> Tensor:
        return features.argmax(1)

    def logits_of(self, features: Tensor) -> Tensor:
        return 5 * features

    def activations(self, images: Tensor) -> list[Tensor]:
        return [images.float() / 255 + 0.1]


OF_REALS = ["fid", "kid", "precision", "recall", "density", "coverage"]


class Data:
    description = "noise"
    channels = 1

    def __init__(self, size: int = 50) -> None:
        self.images = torch.randint(0, 256, (size, 1, 2, 2), generator=torch.Generator().manual_seed(1)).byte()
        self.labels = torch.tensor([0, 0, 1, 2, 1, 2, 2, 3, 2])[torch.arange(size) % 9]
        self.classes = ["a", "b", "c", "d"]
        self.print = "1"

    def fingerprint(self, split):
        return self.print

    def num_images(self, split):
        return len(self.images)

    def evaluation_loader(self, *, split, num, rank, world_size, batch_size):
        for index in torch.arange(rank, num, world_size).split(batch_size):
            row = index % len(self.images)
            if len(index):
                yield LabelledImages(from_bytes(self.images[row]), self.labels[row], index)


def preview(batch: LabelledImages) -> dict[str, Preview]:
    fake = torch.stack(
        [torch.rand(1, 2, 2, generator=torch.Generator().manual_seed(100 + int(i))) for i in batch.index]
    )
    return {"samples": Preview(fake * 1.6 - 0.8, batch.image)}


def labelled(batch: LabelledImages) -> dict[str, Preview]:
    """Fakes whose class is asked for: the pixel of that number is brighter, seldom the brightest."""
    fake = preview(batch)["samples"].fake.clone()
    fake.flatten(1).scatter_add_(1, batch.label[:, None], torch.full((len(fake), 1), 0.2))
    return {"samples": Preview(fake, batch.image, batch.label, batch.label)}


def evaluation(extractor: Extractor | None = None, **changes) -> Evaluation:
    arguments = {"split": "train", "num_real": None, "num_fake": 37, "neighbours": 3, "prc_images": 100}
    arguments |= {"per_class": True, "batch_size": 8, "cache_dir": None} | changes
    return Evaluation(extractor=extractor or Pixels(), **arguments)


def evaluate(judge: Evaluation, data: Data | None = None, preview=preview, **kwargs) -> Result:
    return judge.evaluate(preview, data or Data(), device="cpu", **kwargs)


class Bank(Extractor):
    """Given features: an image's three bytes name its side and its row."""

    name = ""
    resize = weights_sha256 = "none"

    def __init__(self, real: Tensor, fake: Tensor) -> None:
        super().__init__()
        self.bank = torch.cat([real, fake]).float()
        self.num_features = real.shape[1]
        self.split = len(real)

    def features(self, images: Tensor) -> Tensor:
        side, high, low = images.long().flatten(1).T
        return self.bank[side * self.split + high * 256 + low]


def judged(real: Tensor, fake: Tensor, neighbours: int = 3) -> dict[str, float]:
    """The metrics of given features [N, D]."""

    def name(index: Tensor, side: int) -> Tensor:
        return torch.stack([torch.full_like(index, side), index // 256, index % 256], 1).byte().view(-1, 1, 1, 3)

    data = Data(len(real))
    data.images = name(torch.arange(len(real)), 0)
    fakes = lambda batch: {"samples": Preview(from_bytes(name(batch.index % len(fake), 1)), batch.image)}
    settings = {"num_fake": len(fake), "neighbours": neighbours, "prc_images": 500, "batch_size": 300}
    return evaluate(evaluation(Bank(real, fake), **settings), data, fakes).values


def test_fid_equals_torch_fidelitys():
    torch.manual_seed(0)
    real = torch.randn(700, 6) @ torch.randn(6, 6)
    fake = torch.randn(500, 6) @ torch.randn(6, 6) + 1
    statistics = [fid_features_to_statistics(side.double()) for side in (real, fake)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert judged(real, fake)["fid"] == pytest.approx(expected, rel=1e-6)


def test_fid_of_gaussians_in_closed_form():
    """Diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2."""
    torch.manual_seed(0)
    white = torch.randn(4000, 3, dtype=torch.float64)
    white = white - white.mean(0)
    white = white @ torch.linalg.cholesky(torch.linalg.inv(white.T.cov()))  # exactly mean 0, covariance 1
    s1, s2, m = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 0.5, 3.0]), torch.tensor([1.0, -2.0, 0.5])
    expected = m.square().sum() + (s1 - s2).square().sum()
    assert judged((white * s1).float(), (white * s2 + m).float())["fid"] == pytest.approx(expected.item(), rel=1e-5)


def test_precision_and_recall_equal_their_definition():
    torch.manual_seed(0)
    real, fake, k = torch.randn(90, 2), torch.randn(70, 2) + 1.5, 3

    def share_inside(points: Tensor, manifold: Tensor) -> float:
        radius = [sorted(math.dist(a, b) for b in manifold.tolist())[k] for a in manifold.tolist()]
        inside = [
            any(math.dist(point, centre) <= r for centre, r in zip(manifold.tolist(), radius, strict=True))
            for point in points.tolist()
        ]
        return sum(inside) / len(inside)

    values = judged(real, fake, neighbours=k)
    assert values["precision"] == pytest.approx(share_inside(fake, real))
    assert values["recall"] == pytest.approx(share_inside(real, fake))
    assert values["recall"] != values["precision"] < 1  # the two are told apart


def test_equal_sets_are_at_distance_zero():
    result = evaluate(evaluation(num_fake=50), preview=lambda batch: {"samples": Preview(batch.image, batch.image)})
    score, kid = (result.values.pop(f"{name}_pixels") for name in ("inception_score", "kid"))
    assert 1 < score < 4
    assert kid < 0  # unbiased: each image is nearer to itself, which counts across and not within
    assert result.values == {
        "fid_pixels": pytest.approx(0, abs=1e-6),
        "precision_pixels": 1.0,
        "recall_pixels": 1.0,
        "density_pixels": pytest.approx(1.0, abs=0.02),  # what is exactly as far as a radius is inside or not
        "coverage_pixels": 1.0,
        "classes_pixels": 1.0,
    }


def test_class_coverage_counts_classes_with_a_tenth_of_their_share():
    """Reals: four classes of 250 each. Fakes: 940, 30, 20 and 10, so that the last two of them miss a tenth of 25 %."""
    data = Data(1000)
    corners = torch.eye(4).mul(255).byte()
    data.images = corners.repeat(250, 1).view(-1, 1, 2, 2)
    drawn = torch.cat([torch.full((n,), c) for c, n in enumerate((940, 30, 20, 10))])

    def collapsed(batch):
        return {"samples": Preview(from_bytes(corners[drawn[batch.index]]).view(-1, 1, 2, 2), batch.image)}

    values = evaluate(evaluation(num_fake=1000, batch_size=100), data, collapsed).values
    assert values["classes_pixels"] == 0.5


def test_other_previews_prefix_their_values():
    both = lambda batch: {"X->Y": preview(batch)["samples"], "Y->X": Preview(batch.image, batch.image)}
    values = evaluate(evaluation(), preview=both).values
    assert values["Y->X/recall_pixels"] > values["X->Y/recall_pixels"]
    assert list(values) == ["mean/fid_pixels"] + [
        f"{p}/{m}_pixels" for p in ("X->Y", "Y->X") for m in (*OF_REALS, "inception_score", "classes")
    ]
    assert values["mean/fid_pixels"] == (values["X->Y/fid_pixels"] + values["Y->X/fid_pixels"]) / 2


def test_the_protocol_is_plain_and_complete():
    protocol = evaluate(evaluation(), protocol={"ema": "10k"}).protocol
    assert all(isinstance(value, str | int | float) for value in protocol.values())
    assert protocol["num_real"] == 50
    assert protocol["ema"] == "10k"
    assert {"extractor", "weights_sha256", "resize", "split", "fingerprint", "data", "num_fake"} <= set(protocol)


def test_the_features_that_were_compared_are_handed_on():
    result = evaluate(evaluation(num_fake=37, num_real=41, prc_images=100))
    (batch,) = Data().evaluation_loader(split="train", num=41, rank=0, world_size=1, batch_size=41)
    real, fake, extract = result.features["samples"]
    assert torch.equal(real, extract(to_bytes(batch.image)))
    assert torch.equal(fake, Pixels()(to_bytes(preview(batch)["samples"].fake[:37])))


# Fakes of classes that were asked for.


def test_fid_of_a_class_is_torchmetrics_fid_of_its_images():
    """Each class's images picked out by hand, with more fakes than reals, so that these come around again."""
    values = evaluate(evaluation(num_fake=61, num_real=43), preview=labelled).values
    (batch,) = Data().evaluation_loader(split="train", num=61, rank=0, world_size=1, batch_size=61)
    fakes, extractor = labelled(batch)["samples"].fake, Pixels()
    expected = {}
    for number, name in enumerate("abcd"):
        fid = FrechetInceptionDistance(Bare()).set_dtype(torch.float64)
        fid.update(extractor(to_bytes(batch.image[:43][batch.label[:43] == number])).double(), real=True)
        fid.update(extractor(to_bytes(fakes[batch.label == number])).double(), real=False)
        expected[f"fid_pixels/{name}"] = fid.compute().item()
    assert {name: value for name, value in values.items() if "/" in name} == pytest.approx(expected, rel=1e-6)
    assert values["fid_pixels_per_class"] == pytest.approx(sum(expected.values()) / 4, rel=1e-6)


class Bare(torch.nn.Module):
    num_features = 4

    def forward(self, features: Tensor) -> Tensor:
        return features


def test_accuracy_counts_the_fakes_of_the_class_that_was_asked_for():
    result = evaluate(evaluation(num_fake=43, batch_size=10), preview=labelled)
    (batch,) = Data().evaluation_loader(split="train", num=50, rank=0, world_size=1, batch_size=50)
    brightest = [image.flatten().tolist().index(image.max()) for image in labelled(batch)["samples"].fake[:43]]
    right = sum(read == asked for read, asked in zip(brightest, batch.label.tolist(), strict=False))
    assert 0.3 < right / 43 < 0.9
    assert result.values["accuracy_pixels"] == right / 43
    of_reals = [image.flatten().tolist().index(image.max()) for image in batch.image]
    right = sum(read == label for read, label in zip(of_reals, batch.label.tolist(), strict=True))
    assert result.protocol["accuracy_of_reals"] == right / 50


def test_labels_add_values_and_change_none():
    plain, told = evaluate(evaluation()), evaluate(evaluation(), preview=told_in_vain)
    assert list(plain.values) == [f"{name}_pixels" for name in (*OF_REALS, "inception_score", "classes")]
    assert list(told.values)[:10] == [*plain.values, "accuracy_pixels", "fid_pixels_per_class"]
    assert list(told.values)[10:] == [f"fid_pixels/{name}" for name in "abcd"]
    assert {name: told.values[name] for name in plain.values} == pytest.approx(plain.values, rel=1e-9)
    assert evaluate(evaluation(per_class=False)).values == plain.values
    assert list(evaluate(evaluation(per_class=False), preview=labelled).values)[8:] == ["accuracy_pixels"]


def told_in_vain(batch):
    return {"samples": preview(batch)["samples"]._replace(label=batch.label, real_label=batch.label)}


def test_no_accuracy_where_neither_has_classes():
    """Two empty lists are equal, and an extractor without classes reads none."""
    data = Data()
    data.classes = []
    extractor = Pixels()
    extractor.classes = []
    values = evaluate(evaluation(extractor=extractor), data=data, preview=labelled).values
    assert "accuracy_pixels" not in values


def test_accuracy_needs_the_classes_of_the_data():
    data = Data()
    data.classes = ["shoe", "shirt", "hat", "bag"]
    values = evaluate(evaluation(), data, labelled).values
    assert "accuracy_pixels" not in values
    assert "fid_pixels/hat" in values


def test_a_class_of_one_image_is_left_out_and_the_protocol_says_so():
    data = Data()
    data.labels = torch.tensor([3] + [0, 1] * 24 + [0])
    result = evaluate(evaluation(num_fake=50), data, labelled)
    assert [name for name in result.values if "/" in name] == ["fid_pixels/a", "fid_pixels/b"]
    assert result.protocol["per_class"] == "2 of 4 classes, 24 to 25 reals each, 24 to 25 fakes each"


def test_a_label_that_is_no_class_is_found():
    data = Data()
    data.labels[7] = 4
    with pytest.raises(RuntimeError, match=r"49 real images were counted instead of 50.*the numbers of data\.classes"):
        evaluate(evaluation(), data, told_in_vain)


# Fakes beside what they should be.


def level(*levels: int) -> Tensor:
    """Images [N, 1, 2, 2] in [-1, 1], each of one level."""
    return from_bytes(torch.tensor(levels, dtype=torch.uint8))[:, None, None, None].expand(-1, 1, 2, 2)


def held_against(fake: Tensor, target: Tensor, **changes) -> dict[str, float]:
    """The values of given fakes and targets [N, C, H, W]."""
    row = lambda batch: batch.index % len(fake)  # the loader spans the reals too
    shown = lambda batch: {"samples": Preview(fake[row(batch)], target=target[row(batch)])}
    return evaluate(evaluation(num_fake=len(fake), **changes), preview=shown).values


def test_psnr_and_l1_in_closed_form():
    """Differences of 0.1 and 0.2 throughout: 20 and 13.98 dB, whose mean is not that of the mean error."""
    fake = torch.tensor([0.2, -0.4, 0.2, -0.4]).view(4, 1, 1, 1).expand(4, 3, 2, 5)
    values = held_against(fake, torch.zeros(4, 3, 2, 5))
    assert list(values) == ["psnr", "l1", "pixel_accuracy"]
    assert values["psnr"] == pytest.approx((20 - 20 * math.log10(0.2)) / 2)
    assert values["l1"] == pytest.approx(0.15)


def test_psnr_of_each_image_averages_its_pixels_first():
    fake = torch.zeros(4, 1, 2, 2)
    fake[:, :, 0, 0] = 1.0  # an error of 0.5 in a quarter of the pixels
    values = held_against(fake, torch.zeros(4, 1, 2, 2))
    assert values["psnr"] == pytest.approx(-10 * math.log10(0.25 / 4))
    assert values["l1"] == pytest.approx(0.125)
    assert values["pixel_accuracy"] == 0.75


def test_equal_images_have_100_db():
    image = torch.rand(5, 1, 2, 2)
    assert held_against(image, image) == {"psnr": pytest.approx(100.0), "l1": 0.0, "pixel_accuracy": 1.0}


def test_values_beyond_the_range_count_as_its_ends():
    assert held_against(torch.full((4, 1, 2, 2), 1.5), torch.ones(4, 1, 2, 2))["l1"] == 0.0


def test_a_pixel_is_right_up_to_16_levels_in_every_channel():
    target = level(100, 100, 100, 100, 250).repeat(1, 3, 1, 1)
    fake = target.clone()
    for i, off in enumerate((116, 117, 84, 83, 255)):
        fake[i, 1] = level(off)[0]
    assert held_against(fake, target)["pixel_accuracy"] == 3 / 5


def test_a_round_trip_asks_nothing_of_the_extractor():
    judge = evaluation()
    shown = lambda batch: {"X->Y->X": Preview(preview(batch)["samples"].fake, target=batch.image)}
    result = evaluate(judge, preview=shown)
    assert list(result.values) == ["X->Y->X/psnr", "X->Y->X/l1", "X->Y->X/pixel_accuracy"]
    assert judge.extractor.seen == 0
    assert result.features == {}


def translation(batch: LabelledImages) -> dict[str, Preview]:
    """All that a preview may have, each in another entry."""
    told = labelled(batch)["samples"]
    return {
        "X->Y": told._replace(real_label=None, target=batch.image),
        "X->Y->X": Preview(told.fake, target=batch.image),
        "read": Preview(told.fake, label=batch.label),
        "Y->X": preview(batch)["samples"],
    }


def test_each_entry_has_what_its_fields_allow(tmp_path):
    of_reals = [f"{metric}_pixels" for metric in (*OF_REALS, "inception_score", "classes")]
    against_target = ["psnr", "l1", "pixel_accuracy"]
    wanted = [f"X->Y/{name}" for name in [*of_reals, "accuracy_pixels", *against_target]]
    wanted += [f"X->Y->X/{name}" for name in against_target] + ["read/inception_score_pixels", "read/accuracy_pixels"]
    wanted += [f"Y->X/{name}" for name in of_reals]
    judge = evaluation(cache_dir=str(tmp_path))
    result = evaluate(judge, preview=translation)
    assert list(result.values) == ["mean/fid_pixels", *wanted]
    assert not [name for name in result.protocol if "accuracy_of_reals" in name]
    assert result.values["read/accuracy_pixels"] == result.values["X->Y/accuracy_pixels"]
    assert len(list(tmp_path.iterdir())) == 2
    assert set(result.features) == {"X->Y", "Y->X"}
    judge.extractor.seen = 0
    assert evaluate(judge, preview=translation).values == result.values
    assert judge.extractor.seen == 3 * 37  # the fakes of three entries, no reals


def test_as_many_fakes_as_reals():
    result = evaluate(evaluation(num_fake=None))
    assert result.protocol["num_fake"] == 50
    assert result.values == evaluate(evaluation(num_fake=50)).values
    assert evaluate(evaluation(num_fake=None, num_real=20)).protocol["seeds"] == "0 to 19"


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (Preview(torch.zeros(1, 4, 2, 2), torch.zeros(1, 1, 2, 2)), "these X->Y have 4: set metrics=none"),
        (Preview(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2)), "these X->Y have 2: set metrics=none"),
        (
            Preview(torch.zeros(1, 1, 2, 2), target=torch.zeros(1, 1, 2, 3)),
            r"X->Y are \[1, 1, 2, 2\] and their targets",
        ),
    ],
)
def test_images_that_cannot_be_compared_are_refused_early(shown, said):
    with pytest.raises(ValueError, match=said):
        evaluation().check(lambda batch: {"X->Y": shown}, Data(), device="cpu")
    with pytest.raises(ValueError, match=said):
        evaluate(evaluation(), preview=lambda batch: {"X->Y": shown})
    evaluation().check(lambda batch: {"X->Y": Preview(shown.fake, target=shown.fake)}, Data(), device="cpu")


# The cache of real statistics.


@pytest.mark.parametrize("preview", [preview, labelled])
@pytest.mark.parametrize("num_fake", [37, 50, 61])
def test_cached_values_are_the_same(tmp_path, num_fake, preview):
    def fresh():
        return evaluation(num_fake=num_fake, cache_dir=str(tmp_path))

    first = fresh()
    expected = evaluate(first, preview=preview)
    assert first.extractor.seen == num_fake + 50
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]
    for again in (first, fresh()):  # from memory and from the file
        again.extractor.seen = 0
        result = evaluate(again, preview=preview)
        assert (result.values, result.protocol) == (expected.values, expected.protocol)
        assert again.extractor.seen == num_fake, "the real images went through the extractor again"


def test_the_cache_follows_the_data(tmp_path):
    judge, data = evaluation(cache_dir=str(tmp_path)), Data()
    before = evaluate(judge, data).values
    data.images, data.print = 255 - data.images // 2, "2"
    assert evaluate(judge, data).values != before
    assert len(list(tmp_path.iterdir())) == 2


def test_the_cache_keeps_labelled_statistics_apart(tmp_path):
    for shown, changes in ((preview, {}), (labelled, {}), (labelled, {"per_class": False})):
        cached = evaluate(evaluation(cache_dir=str(tmp_path), **changes), preview=shown)
        assert cached.values == evaluate(evaluation(**changes), preview=shown).values
    assert len(list(tmp_path.iterdir())) == 3


def test_a_corrupt_cache_is_computed_again(tmp_path):
    expected = evaluate(evaluation(cache_dir=str(tmp_path))).values
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for corrupt in (b"", whole[:100], b"\xff" * len(whole)):
        path.write_bytes(corrupt)
        assert evaluate(evaluation(cache_dir=str(tmp_path))).values == expected
        assert path.read_bytes() == whole


def test_an_unwritable_cache_is_done_without(tmp_path):
    (tmp_path / "file").touch()
    judge = evaluation(cache_dir=str(tmp_path / "file" / "cache"))
    assert evaluate(judge).values == evaluate(evaluation()).values


# Several processes.


def evaluate_on(rank: int, world_size: int, folder: str, settings: list[dict]) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", world_size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    results = []
    for changes in settings:
        judge = evaluation(**changes)
        for shown in (preview, labelled, labelled, translation):
            result = evaluate(judge, Data(50), shown)
            results.append((result.values, result.protocol, result.intervals, len(result.features)))
    torch.save([*results, [test_metric.on_a_rank(rank), test_anomaly.measured()]], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_several_processes_equal_one(tmp_path):
    """Numbers that neither the processes nor the batch divide, more processes than batches, with and without cache."""
    settings = [
        {},
        {"num_fake": 51, "num_real": 41, "prc_images": 20},
        {"cache_dir": str(tmp_path / "cache")},
        {"num_real": 2, "num_fake": 2, "neighbours": 1},
        {"measures": list(MEASURES), "num_fake": 51, "prc_images": 40},
    ]
    multiprocessing.set_forkserver_preload([evaluate_on.__module__, "zoo.metrics.evaluation"])  # import torch once
    torch.multiprocessing.start_processes(
        evaluate_on, (3, str(tmp_path), settings), nprocs=3, start_method="forkserver"
    )
    expected = [
        evaluate(evaluation(**changes), preview=shown)
        for changes in settings
        for shown in (preview, labelled, labelled, translation)
    ]
    for rank in range(3):
        *results, of_own = torch.load(tmp_path / f"{rank}.pt")
        assert of_own == [test_metric.alone(3), test_anomaly.measured()]
        for (values, protocol, intervals, tables), one in zip(results, expected, strict=True):
            assert values == pytest.approx(one.values, rel=1e-6)
            assert intervals.keys() == one.intervals.keys()
            for name, ends in intervals.items():
                assert ends == pytest.approx(one.intervals[name], rel=1e-6, abs=1e-9)
            assert protocol == one.protocol
            assert tables == (len(one.features) if rank == 0 else 0)


# Refusals.


def test_a_loader_that_leaves_images_out_is_found():
    class Lossy(Data):
        def evaluation_loader(self, **kwargs):
            yield from list(super().evaluation_loader(**kwargs))[:-1]

    with pytest.raises(RuntimeError, match="48 images were counted instead of 50"):
        evaluate(evaluation(), Lossy())


@pytest.mark.parametrize("changes", [{"num_fake": 3}, {"num_real": 2}, {"prc_images": 1}])
def test_numbers_that_leave_a_metric_undefined_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        evaluation(**changes)


@pytest.mark.parametrize(
    ("metrics", "key", "said"),
    [
        ("mnist", "split", "metrics.split=wrong must be one of train, test"),
        ("super_resolution", "split", "metrics.split=wrong must be one of train, test"),
        ("super_resolution", "lpips", "metrics.lpips=wrong must be one of alex, vgg, squeeze, null"),
    ],
)
def test_what_there_is_no_choice_of_is_refused_by_the_configuration(metrics, key, said):
    composed = compose(f"metrics={metrics}", "cache_dir=here")
    settings = plain(composed.metrics)
    check({"metrics": settings}, {"metrics": settings})
    with pytest.raises(ValueError, match=said):
        check({"metrics": settings | {key: "wrong"}}, {"metrics": settings})


def test_more_reals_than_there_are_is_refused():
    with pytest.raises(ValueError, match="num_real=51, but the train split has 50"):
        evaluate(evaluation(num_real=51))


def test_an_evaluation_leaves_no_trace_in_the_training():
    weight = torch.ones(1, requires_grad=True)

    def trained(batch):
        torch.rand(1)
        return {"samples": Preview(weight * preview(batch)["samples"].fake, batch.image)}

    judge, state = evaluation(), torch.get_rng_state()
    with torch.inference_mode():  # as in Lightning's validation
        inside = evaluate(judge, preview=trained).values
    assert evaluate(judge, preview=trained).values == inside
    assert torch.equal(torch.get_rng_state(), state)
