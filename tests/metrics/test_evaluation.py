import math
import multiprocessing

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from zoo.batch import LabelledImages, Preview, from_bytes
from zoo.metrics.evaluation import Evaluation, Result
from zoo.metrics.extractors import Extractor


class Pixels(Extractor):
    """The first four pixels are the features; the brightest of them is the class."""

    name = "pixels"
    num_features = 4
    num_classes = 4
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


class Data:
    description = "noise"
    channels = 1

    def __init__(self, size: int = 50) -> None:
        self.images = torch.randint(0, 256, (size, 1, 2, 2), generator=torch.Generator().manual_seed(1)).byte()
        self.print = "1"

    def fingerprint(self, split):
        return self.print

    def num_images(self, split):
        return len(self.images)

    def evaluation_loader(self, *, split, num, rank, world_size, batch_size):
        for index in torch.arange(rank, num, world_size).split(batch_size):
            image = from_bytes(self.images[index % len(self.images)])
            if len(index):
                yield LabelledImages(image, torch.zeros_like(index), index)


def preview(batch: LabelledImages) -> dict[str, Preview]:
    fake = torch.stack(
        [torch.rand(1, 2, 2, generator=torch.Generator().manual_seed(100 + int(i))) for i in batch.index]
    )
    return {"samples": Preview(fake * 1.6 - 0.8, batch.image)}


def evaluation(extractor: Extractor | None = None, **changes) -> Evaluation:
    arguments = {"split": "train", "num_real": None, "num_fake": 37, "neighbours": 3, "prc_images": 100}
    arguments |= {"batch_size": 8, "cache_dir": None} | changes
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
    assert result.values == {
        "fid_pixels": pytest.approx(0, abs=1e-6),
        "precision_pixels": 1.0,
        "recall_pixels": 1.0,
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
    assert set(values) == {
        f"{p}/{m}_pixels" for p in ("X->Y", "Y->X") for m in ("fid", "precision", "recall", "classes")
    }


def test_the_protocol_is_plain_and_complete():
    protocol = evaluate(evaluation(), protocol={"ema": "10k"}).protocol
    assert all(isinstance(value, str | int | float) for value in protocol.values())
    assert protocol["num_real"] == 50
    assert protocol["ema"] == "10k"
    assert {"extractor", "weights_sha256", "resize", "split", "fingerprint", "data", "num_fake"} <= set(protocol)


# The cache of real statistics.


@pytest.mark.parametrize("num_fake", [37, 50, 61])
def test_cached_values_are_the_same(tmp_path, num_fake):
    def fresh():
        return evaluation(num_fake=num_fake, cache_dir=str(tmp_path))

    first = fresh()
    expected = evaluate(first).values
    assert first.extractor.seen == num_fake + 50
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]
    for again in (first, fresh()):  # from memory and from the file
        again.extractor.seen = 0
        assert evaluate(again).values == expected
        assert again.extractor.seen == num_fake, "the real images went through the extractor again"


def test_the_cache_follows_the_data(tmp_path):
    judge, data = evaluation(cache_dir=str(tmp_path)), Data()
    before = evaluate(judge, data).values
    data.images, data.print = 255 - data.images // 2, "2"
    assert evaluate(judge, data).values != before
    assert len(list(tmp_path.iterdir())) == 2


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
        results += [evaluate(judge, Data(50), rank=rank, world_size=world_size).values for _ in range(2)]
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_several_processes_equal_one(tmp_path):
    """Numbers that neither the processes nor the batch divide, more processes than batches, with and without cache."""
    settings = [
        {},
        {"num_fake": 51, "num_real": 41, "prc_images": 20},
        {"cache_dir": str(tmp_path / "cache")},
        {"num_real": 2, "num_fake": 2, "neighbours": 1},
    ]
    multiprocessing.set_forkserver_preload([evaluate_on.__module__, "zoo.metrics.evaluation"])  # import torch once
    torch.multiprocessing.start_processes(
        evaluate_on, (3, str(tmp_path), settings), nprocs=3, start_method="forkserver"
    )
    expected = [evaluate(evaluation(**changes)).values for changes in settings for _ in range(2)]
    for rank in range(3):
        for values, one in zip(torch.load(tmp_path / f"{rank}.pt"), expected, strict=True):
            assert values == pytest.approx(one, rel=1e-6)


# Refusals.


def test_a_loader_that_leaves_images_out_is_found():
    class Lossy(Data):
        def evaluation_loader(self, **kwargs):
            yield from list(super().evaluation_loader(**kwargs))[:-1]

    with pytest.raises(RuntimeError, match="48 real images were counted instead of 50"):
        evaluate(evaluation(), Lossy())


@pytest.mark.parametrize("changes", [{"num_fake": 3}, {"num_real": 2}, {"prc_images": 1}, {"split": "val"}])
def test_numbers_that_leave_a_metric_undefined_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        evaluation(**changes)


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
