"""Copies of training images, planted and found."""

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from common import needs
from test_evaluation import Data, Pixels, evaluate, evaluation
from torch import Tensor

from zoo.batch import LabelledImages, Preview, from_bytes
from zoo.metrics import memorisation
from zoo.metrics.extractors import Extractor
from zoo.metrics.memorisation import HELD_OUT, Memorisation, nearest, radius


def drawn(n: int, seed: int, features: int = 4) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("chunk", "rows"), [(7, 11), (4_096, 1_024)])
def test_the_nearest_is_scipy_s(chunk: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.metrics.memorisation.CHUNK", chunk)
    monkeypatch.setattr("zoo.metrics.memorisation.ROWS", rows)
    a, b = drawn(40, 0) + 50, drawn(100, 1) + 50
    cKDTree = needs("scipy.spatial").cKDTree
    distance, row = cKDTree(b.numpy()).query(a.numpy(), k=2)
    found = nearest(a, b)
    assert found.row.tolist() == row[:, 0].tolist()
    assert found.distance.tolist() == pytest.approx(distance[:, 0].tolist())
    but = nearest(a, b, but=found.row)
    assert but.row.tolist() == row[:, 1].tolist()
    distance, row = cKDTree(b.numpy()).query(b.numpy(), k=2)
    assert nearest(b, b).row.tolist() == row[:, 1].tolist()
    assert nearest(b[:5].clone(), b).distance.tolist() == [0] * 5, "exactly, of copies"


class Split(Data):
    """Training images and others of the same kind, of features that are their bytes."""

    def __init__(self, train: int = 500, test: int = 400) -> None:
        super().__init__(train)
        of = lambda n, seed: torch.randint(0, 256, (n, 1, 2, 2), generator=torch.Generator().manual_seed(seed)).byte()
        self.of_split = {"train": of(train, 1), "test": of(test, 2)}
        self.labels = torch.zeros(max(train, test), dtype=torch.int64)
        self.classes = []

    def fingerprint(self, split: str) -> str:
        return f"{split} {len(self.of_split[split])}"

    def num_images(self, split: str) -> int:
        return len(self.of_split[split])

    def evaluation_loader(self, *, split, num, rank, world_size, batch_size):  # type: ignore[no-untyped-def]
        for index in torch.arange(rank, num, world_size).split(batch_size):
            row = index % self.num_images(split)
            if len(index):
                yield LabelledImages(from_bytes(self.of_split[split][row]), self.labels[row], index)


def shows(data: Split, copies: float = 0.0):  # type: ignore[no-untyped-def]
    """A generator of new images of the same kind, a share of which are those of the training."""

    def preview(batch: LabelledImages) -> dict[str, Preview]:
        new = [
            torch.randint(0, 256, (1, 2, 2), generator=torch.Generator().manual_seed(900 + int(i))) for i in batch.index
        ]
        fake = from_bytes(torch.stack(new).byte())
        is_copy = (batch.index % 100) < 100 * copies
        fake[is_copy] = from_bytes(data.of_split["train"])[batch.index[is_copy] * 7 % 500]
        return {"samples": Preview(fake, batch.image)}

    return preview


SETTINGS = {"num_fake": 1_000, "prc_images": 1_000, "measures": ("fid", "memorisation"), "batch_size": 100}


@pytest.mark.parametrize("copies", [0.0, 0.1, 0.5])
def test_planted_copies_are_found_by_their_share(copies: float) -> None:
    data = Split()
    result = evaluate(evaluation(**SETTINGS), data, shows(data, copies))
    share = result.values["memorisation_pixels"]
    assert share == pytest.approx(copies + 0.01 * (1 - copies), abs=0.012)
    low, high = result.intervals["memorisation_pixels"]
    assert low <= copies + 0.01 * (1 - copies) <= high or share < 0.03
    assert result.values["authenticity_pixels"] == pytest.approx((1 - copies) / 2, abs=0.06)
    assert "held-out" in str(result.protocol["memorisation"])


def test_both_shares_are_their_definition() -> None:
    data = Split()
    result = evaluate(evaluation(**SETTINGS), data, shows(data, 0.2))
    features = {name: Pixels()(images).double() for name, images in data.of_split.items()}
    fake = result.features["samples"].fake.double()
    tree = needs("scipy.spatial").cKDTree(features["train"].numpy())
    distance, row = tree.query(fake.numpy())
    threshold = float(radius(torch.from_numpy(tree.query(features["test"].numpy())[0])))
    assert result.values["memorisation_pixels"] == pytest.approx((distance < threshold).mean())
    own = tree.query(features["train"].numpy(), k=2)[0][:, 1]
    assert result.values["authenticity_pixels"] == pytest.approx((distance > own[row]).mean())


def test_without_enough_held_out_images_the_share_is_left_out() -> None:
    data = Split(test=HELD_OUT - 1)
    values = evaluate(evaluation(**SETTINGS), data, shows(data)).values
    assert "memorisation_pixels" not in values
    assert "authenticity_pixels" in values


def test_of_many_held_out_images_the_first_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is held against all training images: a share of the set would make that the square of the set."""
    data, judge = Split(), evaluation(**SETTINGS)
    every = evaluate(evaluation(**SETTINGS), data, shows(data, 0.2))
    monkeypatch.setattr(memorisation, "MOST_HELD_OUT", 310)
    result = evaluate(judge, data, shows(data, 0.2))
    assert judge.extractor.seen == 1_000 + 500 + 500 + 310, "fakes, reals, training and held-out images"  # type: ignore[attr-defined]
    assert result.protocol["memorisation"] != every.protocol["memorisation"]
    assert result.values["authenticity_pixels"] == every.values["authenticity_pixels"]
    data.of_split["test"] = data.of_split["test"][:310]
    few = evaluate(evaluation(**SETTINGS), data, shows(data, 0.2))
    assert result.values == few.values
    assert result.intervals == few.intervals


def test_the_data_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data, judge = Split(), evaluation(**SETTINGS)
    first = evaluate(judge, data, shows(data, 0.1))
    extractor: Extractor = judge.extractor
    seen = extractor.seen  # type: ignore[attr-defined]
    assert evaluate(judge, data, shows(data, 0.1)).values == first.values
    assert extractor.seen - seen == 1_000, "fakes alone"  # type: ignore[operator]
    data.of_split["train"] = data.of_split["test"]
    assert evaluate(judge, data, shows(Split())).values["authenticity_pixels"] != first.values["authenticity_pixels"]


def test_what_is_made_of_images_is_not_judged() -> None:
    data = Split()
    translated = lambda batch: {"X->Y": shows(data)(batch)["samples"]}
    assert not [name for name in evaluate(evaluation(**SETTINGS), data, translated).values if "memoris" in name]
    assert Memorisation().settings().keys() == {"memorisation"}


def on_rank(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    memorisation.CHUNK = 150  # the features reach rank 0 in several pieces, the last of them shorter
    store = dist.FileStore(f"{folder}/store", world_size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    data, judge, results, seen = Split(), evaluation(**SETTINGS), [], []
    for copies in (0.1, 0.2):
        before = judge.extractor.seen  # type: ignore[attr-defined]
        result = evaluate(judge, data, shows(data, copies))
        results.append((result.values, result.intervals))
        seen.append(judge.extractor.seen - before)  # type: ignore[attr-defined]
    torch.save((results, seen), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_three_processes_share_the_training_images_and_equal_one(tmp_path: Path) -> None:
    data, judge = Split(), evaluation(**SETTINGS)
    expected = [evaluate(judge, data, shows(data, copies)) for copies in (0.1, 0.2)]
    multiprocessing.set_forkserver_preload([__name__, "zoo.metrics.evaluation"])  # import torch once
    torch.multiprocessing.start_processes(on_rank, (3, str(tmp_path)), nprocs=3, start_method="forkserver")
    counted = []
    for rank in range(3):
        results, seen = torch.load(tmp_path / f"{rank}.pt")
        counted.append(seen)
        for (values, intervals), one in zip(results, expected, strict=True):
            assert values == pytest.approx(one.values, rel=1e-6)
            assert intervals["memorisation_pixels"] == pytest.approx(one.intervals["memorisation_pixels"])
    every = [1_000 + 500 + 500 + 400, 1_000]  # fakes, reals, training and held-out images; then fakes alone
    assert [sum(seen) for seen in zip(*counted, strict=True)] == every
    assert max(seen[0] for seen in counted) <= every[0] / 3 + 4, "each its share"
