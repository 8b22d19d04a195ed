"""The health of the game: closed forms, what is said of games made to fail, and that looking changes nothing."""

from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from common import same
from omegaconf import DictConfig
from PIL import Image

from train import run
from zoo.batch import LabelledImages, Preview
from zoo.metrics.memorisation import nearest
from zoo.run.callbacks import health as of_health
from zoo.run.callbacks.health import Complaint, Health, Limits, spacing, superiority
from zoo.run.checkpoint import read
from zoo.run.loggers import CSV

Small = Callable[..., DictConfig]
LIMITS = Limits(after=0, won=0.99, progress=0.05, diversity=0.5, movement=0.5, gap=0.8, duplicates=0.1)
FID = ("fid_mnist", -1.0)
HEALTHY = {
    "D/accuracy_real": 0.8,
    "D/accuracy_fake": 0.8,
    "fid_mnist": 9.0,
    "health/D/gap": 0.55,
    "health/diversity": 0.9,
    "health/spread": 1.1,
    "health/movement": 0.2,
    "health/duplicates": 0.01,
}


def judge(
    now: dict[str, float], before: dict[str, float], limits: Limits, chooses: tuple[str, float] | None = FID
) -> list[Complaint]:
    return list(of_health.judge(now, before, limits, chooses))


def test_superiority_is_mann_and_whitneys() -> None:
    assert superiority(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0])) == 1
    assert superiority(torch.tensor([1.0, 3.0]), torch.tensor([2.0])) == 0.5
    assert superiority(torch.zeros(5), torch.zeros(7)) == 0.5
    torch.manual_seed(0)  # two normals a distance d apart: Phi(d / sqrt 2)
    a, b = torch.randn(4000) + 1, torch.randn(4000)
    assert superiority(a, b) == pytest.approx(NormalDist().cdf(0.5**0.5), abs=0.01)


def test_distances() -> None:
    square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert spacing(square) == pytest.approx((4 + 2 * 2**0.5) / 6)
    assert nearest(square, square).distance.tolist() == [1.0] * 4
    assert nearest(square + 0.25, square).distance.tolist() == pytest.approx([2**0.5 / 4] * 4)
    assert nearest(square, square.clone()).distance.tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"D/accuracy_real": 1.0, "D/accuracy_fake": 0.995}, "discriminator won"),
        ({"health/diversity": 0.4}, "mode collapse"),
        ({"health/spread": 0.1}, "mode collapse"),  # alike within each class
        ({"health/movement": 0.8}, "generator oscillating"),
        ({"health/D/gap": 0.9}, "overfitting"),
        ({"health/duplicates": 0.3}, "memorisation"),
    ],
)
def test_each_complaint_has_its_figure_and_a_remedy(change: dict[str, float], name: str) -> None:
    assert judge(HEALTHY, HEALTHY, LIMITS) == []
    (complaint,) = judge(HEALTHY | change, HEALTHY, LIMITS)
    assert complaint.name == name
    assert any(character.isdigit() for character in complaint.seen)
    assert len(complaint.remedy) > 20


def test_a_generator_that_still_learns_is_left_alone() -> None:
    """A strong D and images that move are as they should be while the Frechet distance falls."""
    early = HEALTHY | {"fid_mnist": 50.0}
    strong = {"D/accuracy_real": 1.0, "D/accuracy_fake": 1.0, "health/movement": 1.2}
    assert judge(HEALTHY | strong, early, LIMITS) == []
    assert {c.name for c in judge(HEALTHY | strong | {"fid_mnist": 49.0}, early, LIMITS)} == {
        "discriminator won",
        "generator oscillating",
    }


def test_without_a_distance_to_compare() -> None:
    """None in the run: the accuracies speak. One that is measured for the first time, or another: nothing is known."""
    won = {"D/accuracy_real": 1.0, "D/accuracy_fake": 1.0}
    assert [c.name for c in judge(won, {}, LIMITS)] == ["discriminator won"]
    assert judge(HEALTHY | won | {"health/movement": 0.9}, {}, LIMITS) == []
    assert judge(HEALTHY | won, {"fid_cifar10": 9.0}, LIMITS) == []
    assert [c.name for c in judge(won, {}, LIMITS, None)] == ["discriminator won"]


def test_progress_is_that_of_the_value_that_chooses_the_best() -> None:
    """An area that grows excuses a strong D; one that grows by less than a twentieth does not."""
    won = {"D/accuracy_real": 1.0, "D/accuracy_fake": 1.0}
    auroc = ("auroc", 1.0)
    assert judge(won | {"auroc": 0.9}, {"auroc": 0.8}, LIMITS, auroc) == []
    (complaint,) = judge(won | {"auroc": 0.82}, {"auroc": 0.8}, LIMITS, auroc)
    assert "while auroc went from 0.800 to 0.820" in complaint.seen


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"limits.gap=80 must be in \[0, 1\]"):
        Limits(**(vars(LIMITS) | {"gap": 80}))


def test_two_directions_are_told_apart() -> None:
    now = {"health/X->Y/diversity": 0.2, "health/X->Y/spread": 0.3, "health/Y->X/diversity": 0.9}
    (complaint,) = judge(now | {"health/Y->X/spread": 1.0}, {}, LIMITS)
    assert "of X->Y" in complaint.seen


def failing(small: Small, folder: Path, *overrides: str) -> tuple[Health, list[str], str]:
    """A game on 8x8 digits with metrics, 4,000 images, judged from the second look on."""
    alerts: list[str] = []
    cfg = small(
        "dcgan",
        "metrics=mnist",
        "metrics.num_fake=300",
        "metrics.prc_images=300",
        "max_images=4_800",
        "callbacks.health.limits.after=0",
        "callbacks.evaluate.every=1_200",
        f"run_dir={folder}",
        *overrides,
    )

    class Calling(CSV):
        def alert(self, title: str, text: str) -> None:
            alerts.append(title)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.run.loggers.CSV", Calling)
        trainer = run(cfg)
    health = next(c for c in trainer.callbacks if isinstance(c, Health))  # type: ignore[attr-defined]
    return health, alerts, (folder / "report.md").read_text()


@pytest.mark.slow
def test_a_frozen_generator(small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    health, alerts, report = failing(small, tmp_path / "run", "model.lr.G=0")
    assert "discriminator won" in alerts
    assert alerts == [words.split(": ")[1] for words in health.said.values()]
    assert all(words in report for words in health.said.values())
    assert "health, image" in capsys.readouterr().out
    assert [row["health/movement"] for row in health.history[1:]] == pytest.approx([0] * 3, abs=0.05)


@pytest.mark.slow
def test_a_discriminator_a_hundred_times_faster(small: Small, tmp_path: Path) -> None:
    """A hundred turns for each of G's."""
    _, alerts, _ = failing(small, tmp_path / "run", "model.n_critic=100")
    assert "discriminator won" in alerts


def test_a_collapsed_generator(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has stopped to look at z."""
    from zoo.model.dcgan import DCGAN

    monkeypatch.setattr(DCGAN, "latent_of", lambda self, seeds: torch.zeros(len(seeds), 100, device=self.device))
    health, alerts, _ = failing(small, tmp_path / "run")
    assert "mode collapse" in alerts
    assert health.history[-1]["health/diversity"] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_an_oscillating_generator(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose latents trade their images between two looks: all of them are as good as before, none is the same."""
    from zoo.model.dcgan import DCGAN

    def preview(self: DCGAN, batch: LabelledImages) -> dict[str, Preview]:
        return {"samples": Preview(fake=batch.image.flip(2).roll(self.images // 1_200, 0), real=batch.image)}

    monkeypatch.setattr(DCGAN, "preview", preview)
    health, alerts, _ = failing(small, tmp_path / "run")
    assert "generator oscillating" in alerts
    assert "mode collapse" not in alerts
    assert all(0.8 < row["health/movement"] < 1.2 for row in health.history[1:])


@pytest.mark.slow
def test_looking_changes_nothing(small: Small, tmp_path: Path) -> None:
    """Weights, buffers and every random state are those of a run without the callback."""
    ends = []
    for watched in (True, False):
        cfg = small("dcgan", f"run_dir={tmp_path / str(watched)}", "model.discriminator_norm=spectral")
        if watched:
            cfg.callbacks.health.every = 16
        else:
            del cfg.callbacks.health
        run(cfg)
        checkpoint = read(f"{cfg.run_dir}/checkpoints/last.ckpt")
        ends.append([checkpoint["state_dict"], checkpoint["optimizer_states"], checkpoint["zoo"]["ranks"]])
    assert same(*ends)


@pytest.mark.slow
def test_images_that_are_all_alike_are_no_measure(small: Small, tmp_path: Path) -> None:
    for number in range(32):
        Image.new("L", (16, 16), 200).save(tmp_path / f"{number}.png")
    data = ["data=folder", f"data.root={tmp_path}", "data.channels=1"]
    trainer = run(small("dcgan", *data, "metrics=mnist", "metrics.num_fake=30", "metrics.prc_images=30"))
    health = next(c for c in trainer.callbacks if isinstance(c, Health))  # type: ignore[attr-defined]
    assert "health/diversity" not in health.history[-1]
    assert "too short to be judged" in Path(trainer.default_root_dir, "report.md").read_text()


def test_without_metrics_the_gap_remains(small: Small) -> None:
    trainer = run(small("dcgan"))
    health = next(c for c in trainer.callbacks if isinstance(c, Health))  # type: ignore[attr-defined]
    assert 0 <= health.history[-1]["health/D/gap"] <= 1
    assert "health/diversity" not in health.history[-1]
    assert health.history[-1]["images"] == 128


def test_without_held_out_images_there_is_no_gap(small: Small, tmp_path: Path) -> None:
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    trainer = run(small("dcgan", "data=folder", f"data.root={tmp_path}", "data.channels=1", "metrics=none"))
    health = next(c for c in trainer.callbacks if isinstance(c, Health))  # type: ignore[attr-defined]
    assert not [name for name in health.history[-1] if name.startswith("health/")]


@pytest.mark.slow
def test_a_generator_that_replays_its_training_images(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.model.dcgan import DCGAN

    monkeypatch.setattr(DCGAN, "preview", lambda self, batch: {"samples": Preview(fake=batch.image, real=batch.image)})
    health, alerts, _ = failing(small, tmp_path / "run", "max_images=2_400")
    assert "memorisation" in alerts
    looked_among = 300 / 1_440  # of the training images
    assert health.history[-1]["health/duplicates"] == pytest.approx(looked_among, abs=0.06)
    assert health.history[-1]["health/diversity"] == pytest.approx(1, abs=0.05)
