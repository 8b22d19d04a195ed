"""benchmarks/synthetic.py: which images are drawn, how sets are joined, what a table claims, and that it goes on."""

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from common import program


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return program("benchmarks/synthetic.py")


def test_equally_many_of_each_class_and_small_sets_within_large_ones(module: ModuleType) -> None:
    labels = torch.tensor([0, 1, 2] * 20 + [0] * 40)
    small, large = (module.few(labels, size, 3, seed=1) for size in (6, 30))
    assert labels[small].bincount().tolist() == [2, 2, 2]
    assert labels[large].bincount().tolist() == [10, 10, 10]
    assert set(small.tolist()) < set(large.tolist())
    assert len(set(large.tolist())) == 30
    assert not torch.equal(small, module.few(labels, 6, 3, seed=2))
    with pytest.raises(ValueError, match="--sizes 7 is not equally many of 3 classes: give 6"):
        module.few(labels, 7, 3, seed=1)
    with pytest.raises(
        ValueError, match="--sizes 63 needs 21 of each class, and class 1 has 20: give --sizes 60 or less"
    ):
        module.few(labels, 63, 3, seed=1)


def test_half_of_each(module: ModuleType) -> None:
    real = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)
    made = torch.ones(10, 1, 2, 2, dtype=torch.uint8), torch.ones(10, dtype=torch.int64)
    for one, other in ((real, made), (made, real)):
        images, labels = module.half_and_half(one, other)
        assert images.shape == (19, 1, 2, 2)
        assert labels.sum() == 10
        assert (images.flatten(1).amax(1) == labels).all()


def test_intervals_are_students_and_verdicts_follow_them(module: ModuleType) -> None:
    mean, low, high = module.interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    assert math.isnan(module.interval([1.0])[1])
    assert [module.verdict(*ends) for ends in ((0.1, 2), (-3, -1), (-1, 1), (math.nan, math.nan))] == [
        *("helps", "harms", "nothing shown", "nothing shown")
    ]
    of = lambda seed, arm, accuracy: {"size": 100, "seed": seed, "arm": arm, "accuracy": accuracy}
    # Paired: both is better by one point for each seed, however much seeds differ.
    rows = [of(s, a, 0.5 + 0.1 * s + 0.01 * (a == "both")) for s in (1, 2, 3) for a in module.ARMS]
    rows.append(of(4, "real", 0.1))  # not finished: not counted
    assert module.table(rows)[2].endswith("| +1.00 [+1.00, +1.00] | helps |")
    assert module.table(rows)[2].startswith("| 100 | 3 | 70.00 [")
    of_one = [row for row in rows if row["seed"] == rows[0]["seed"]]
    assert module.table(of_one)[2] == "| 100 | 1 | 60.00 | 61.00 | 60.00 | +1.00 | nothing shown |"


@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A GAN whose samples are noise harms: the accuracy of samples alone is that of chance."""
    trained: list[int] = []

    def train_gan(folder: Path, images: torch.Tensor, labels: torch.Tensor, args: Any, seed: int) -> Path:
        assert labels.bincount().tolist() == [10] * 10
        trained.append(seed)
        return folder

    def noise(run: Path, number: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = torch.Generator().manual_seed(seed)
        return torch.randint(256, (number, 1, 16, 16), generator=random).to(torch.uint8), torch.arange(number) % classes

    script = module.classification()
    script.BATCH_SIZE = 20  # more steps from few images
    monkeypatch.setattr(module, "classification", lambda: script)
    monkeypatch.setattr(module, "train_gan", train_gan)
    monkeypatch.setattr(module, "samples", noise)
    common = ["-o", str(tmp_path), "--data", "digits", "data.image_size=16", f"cache_dir={tmp_path}/cache"]
    common += ["--sizes", "100", "--shown", "2000", "--samples", "200"]
    first = module.main([*common, "--seeds", "1"])
    accuracy = {row["arm"]: row["accuracy"] for row in first}
    assert accuracy["real"] > 0.5
    assert accuracy["synthetic"] < 0.3
    assert "| 100 | 1 | " in capsys.readouterr().out
    file = tmp_path / "results.json"
    kept = json.loads(file.read_text())
    kept["results"].pop()  # as if it had been stopped before
    file.write_text(json.dumps(kept))
    assert module.main([*common, "--seeds", "1"]) == first  # the same accuracy once more
    assert trained == [1, 1]
    module.main([*common, "--seeds", "1"])
    assert trained == [1, 1]  # nothing is missing
    with pytest.raises(ValueError, match=r"has results of other settings \(shown\): give another folder"):
        module.main([*common, "--shown", "10"])
    with pytest.raises(ValueError, match="--data photos has no classes"):
        module.main(["-o", str(tmp_path / "b"), "--data", "photos", f"cache_dir={tmp_path}/cache"])


@pytest.mark.slow
def test_a_gan_is_trained_on_the_few_and_sampled(module: ModuleType, tmp_path: Path) -> None:
    tiny = ["model.width=8", "trainer=cpu"]
    common = ["-o", str(tmp_path), "--data", "digits", "data.image_size=16", f"cache_dir={tmp_path}/cache"]
    common += ["--sizes", "100", "--shown", "500", "--samples", "50", "--images", "320", "--seeds", "1"]
    results = module.main([*common, "--train", *tiny])
    assert [row["arm"] for row in results] == list(module.ARMS)
    assert (tmp_path / "100-1" / "trained").exists()
