"""The protocol: a new kind of result is one class and one configuration, and everything else follows from it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from zoo.batch import LabelledImages, Preview
from zoo.metrics.anomaly import Detection
from zoo.metrics.distribution import MEASURES
from zoo.metrics.evaluation import Evaluation
from zoo.metrics.evaluator import Evaluator
from zoo.metrics.extractors import DigitClassifier
from zoo.metrics.metric import Metric, States
from zoo.metrics.super_resolution import LPIPS, SuperResolution

Small = Callable[..., DictConfig]


class AUROC(Metric):
    """How well a model's score tells images of the first class, which are normal, from all others."""

    needs, sides, headline = ("score", "real_label"), ("real",), "auroc"
    score: Tensor  # [images]
    unusual: Tensor  # [images] 1 where it is

    def begin(self) -> None:
        self.add_state("score", torch.zeros(self.task.num_real))
        self.add_state("unusual", torch.zeros(self.task.num_real))

    def update(self, shown: Preview, index: Tensor) -> None:
        assert shown.score is not None
        assert shown.real_label is not None
        self.score[index] = shown.score.to(self.score)
        self.unusual[index] = (shown.real_label > 0).to(self.unusual)

    def values(self) -> dict[str, float]:
        return {"auroc": float(binary_auroc(self.score, self.unusual.int()))}

    def protocol(self) -> dict[str, str | int | float | bool]:
        return {"unusual": int(self.unusual.sum())}


ANOMALY = {
    "_target_": "zoo.metrics.evaluator.Evaluator",
    "metrics": [{"_target_": f"{__name__}.AUROC"}],
    "split": "test",
    "num_real": None,
    "num_fake": None,
    "batch_size": 16,
    "cache_dir": None,
}


class Data:
    """Grey images of one pixel, whose level grows with their position."""

    description, classes = "levels", ["usual", "unusual"]

    def fingerprint(self, split: str) -> str:
        return "1"

    def num_images(self, split: str) -> int:
        return 45

    def evaluation_loader(self, *, split: str, num: int, rank: int, world_size: int, batch_size: int) -> Any:
        for index in torch.arange(rank, num, world_size).split(batch_size):
            level = (index % 45 / 45).view(-1, 1, 1, 1)
            yield LabelledImages(level, (index * 7 % 45 > 30).long(), index)


def preview(batch: LabelledImages) -> dict[str, Preview]:
    """As much of a model as an evaluation sees: images that look less usual the brighter they are."""
    score = batch.image.flatten(1).sum(1) + 0.5 * batch.label
    return {"samples": Preview(batch.image, real=batch.image, real_label=batch.label, score=score)}


def evaluator(**changes: Any) -> Evaluator:
    return Evaluator(**{k: v for k, v in (ANOMALY | {"metrics": [AUROC()]} | changes).items() if k != "_target_"})


def test_a_metric_of_one_s_own_is_measured_by_a_configuration() -> None:
    result = evaluator().evaluate(preview, Data(), device="cpu", protocol={"generator": "last"})
    (batch,) = Data().evaluation_loader(split="test", num=45, rank=0, world_size=1, batch_size=45)
    score = preview(batch)["samples"].score
    assert score is not None
    pairs = [(a, b) for a in score[batch.label > 0] for b in score[batch.label == 0]]
    assert result.values == {"auroc": pytest.approx(sum(float(a > b) for a, b in pairs) / len(pairs))}
    assert 0.7 < result.values["auroc"] < 1
    assert result.protocol["num_real"] == 45
    assert list(result.protocol)[-2:] == ["generator", "unusual"]


def test_more_fakes_than_reals_show_a_metric_of_reals_nothing_else() -> None:
    expected = evaluator().evaluate(preview, Data(), device="cpu").values
    assert evaluator(num_fake=100).evaluate(preview, Data(), device="cpu").values == expected


def test_several_previews_have_a_mean_which_chooses_upwards() -> None:
    def both(batch: LabelledImages) -> dict[str, Preview]:
        shown = preview(batch)["samples"]
        assert shown.score is not None
        return {"X": shown, "Y": shown._replace(score=-shown.score), "Z": Preview(shown.fake)}

    values = evaluator().evaluate(both, Data(), device="cpu").values
    assert list(values) == ["mean/auroc", "X/auroc", "Y/auroc"]
    assert values["mean/auroc"] == pytest.approx(0.5)
    assert evaluator().chooses("distribution", values) == ("mean/auroc", 1.0)


def test_a_model_without_what_is_needed_is_refused_early() -> None:
    plain = lambda batch: {"samples": Preview(batch.image, real=batch.image)}
    with pytest.raises(ValueError, match="the model shows no real_label and score"):
        evaluator().check(plain, Data(), device="cpu")
    evaluator().check(preview, Data(), device="cpu")


def test_a_loader_that_leaves_images_out_is_noticed() -> None:
    class Lossy(Data):
        def evaluation_loader(self, **settings: Any) -> Any:
            yield from list(super().evaluation_loader(**settings))[1:]

    with pytest.raises(RuntimeError, match="29 images were counted instead of 45"):
        evaluator().evaluate(preview, Lossy(), device="cpu")


def on_a_rank(rank: int) -> list[Any]:
    """What a process has; tests/metrics/test_evaluation.py starts several, with the result of `alone` for each."""
    result = evaluator().evaluate(preview, Data(), device="cpu")
    states = States()
    for reduction in ("sum", "min", "max"):
        states.add_state(reduction, torch.tensor([1.0, 5.0]) * (rank + 1), reduction)
    states.reduce()
    return [result.values, result.protocol, {name: tensor.tolist() for name, tensor in states.states().items()}]


def alone(world_size: int) -> list[Any]:
    result = evaluator().evaluate(preview, Data(), device="cpu")
    n = world_size
    return [
        result.values,
        result.protocol,
        {"sum": [n * (n + 1) / 2, 5 * n * (n + 1) / 2], "min": [1, 5], "max": [n, 5 * n]},
    ]


@pytest.mark.slow
def test_it_chooses_the_best_checkpoint_and_is_shown(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training with that configuration in place of its metrics; the model tells images apart best halfway."""
    from train import run
    from zoo.model.vanilla import VanillaGAN
    from zoo.run.callbacks import report
    from zoo.run.callbacks.evaluate import Evaluate
    from zoo.run.callbacks.progress import in_words
    from zoo.run.checkpoint import read

    def shown(self: VanillaGAN, batch: LabelledImages) -> dict[str, Preview]:
        clue = 2.0 if self.images == 64 else 0.5
        score = clue * (batch.label > 0) + (batch.index * 37 % 101) / 33  # from 0 to 3 by chance
        fake = self.generate(batch.index)
        return {"samples": Preview(fake, real=batch.image, real_label=batch.label, score=score)}

    monkeypatch.setattr(VanillaGAN, "preview", shown)
    cfg = small("vanilla", "callbacks.evaluate.every=32")
    OmegaConf.update(cfg, "metrics", ANOMALY | {"num_real": 60}, force_add=True)
    trainer = run(cfg)
    evaluate = Evaluate.of(trainer)
    assert evaluate is not None
    assert evaluate.chooses == ("auroc", 1.0)
    assert [row["images"] for row in evaluate.history] == [32, 64, 96, 128]
    assert read(tmp_path / "run/checkpoints/best.ckpt")["zoo"]["images"] == 64
    assert evaluate.best["auroc"] > evaluate.history[-1]["auroc"] > 0.5

    assert "auroc 0." in in_words(trainer.lightning_module.run_log.latest, evaluate)  # type: ignore[union-attr]
    printed = capsys.readouterr().out
    assert f"result: best.ckpt, the averaged generator at image 64, auroc {evaluate.best['auroc']:.2f}" in printed
    text = (tmp_path / "run/report.md").read_text()
    assert f"| auroc | {evaluate.history[-1]['auroc']:.6g} |  | {evaluate.best['auroc']:.6g} |  |" in text
    table, picture = tmp_path / "run/metrics.csv", tmp_path / "again.png"
    assert "auroc" in table.read_text().splitlines()[0]
    panels = []
    assert evaluate.evaluation is not None
    report.draw_curves(table, picture, lambda name: panels.append(name) or "all")  # type: ignore[func-returns-value]
    assert "auroc" in panels


def test_values_of_classes_have_a_panel_of_their_own() -> None:
    from zoo.metrics.evaluation import Evaluation
    from zoo.metrics.extractors import DigitClassifier

    settings = {"num_real": None, "num_fake": None, "neighbours": 3, "prc_images": 9, "per_class": True}
    evaluation = Evaluation(extractor=DigitClassifier(), split="test", batch_size=1, cache_dir=None, **settings)  # type: ignore[arg-type]
    panels = {
        "fid_mnist": "fid",
        "mean/fid_mnist": "fid",
        "X->Y/fid_mnist_per_class": "fid",
        "fid_mnist/7": "fid of classes",
        "X->Y/fid_mnist/7": "fid of classes",
        "D/accuracy_real": "accuracy",
        "accuracy_mnist": "accuracy",
    }
    assert {name: evaluation.panel(name) for name in panels} == panels


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        *((name, -1.0) for name in ("fid_mnist", "X->Y/fid_mnist", "mean/fid_mnist", "fid_mnist/7", "kid_mnist", "l1")),
        *((name, -1.0) for name in ("fid_mnist_per_class", "memorisation_mnist")),
        *((name, 1.0) for name in ("precision_mnist", "X->Y/recall_mnist", "density_mnist", "coverage_mnist")),
        *((name, 1.0) for name in ("X->Y->X/psnr", "classes_mnist", "accuracy_mnist", "diversity", "diversity_mnist")),
        ("inception_score_mnist", 1.0),
        *((name, 0.0) for name in ("authenticity_mnist", "D/adversarial", "health/D/gap", "images")),
    ],
)
def test_whether_more_of_a_value_is_better(name: str, sign: float) -> None:
    chosen = [measure for measure in MEASURES if measure != "cmmd"]
    settings: dict[str, Any] = {"split": "train", "num_real": None, "num_fake": 100, "batch_size": 10}
    settings |= {"cache_dir": None, "neighbours": 3, "prc_images": 50, "per_class": True, "measures": chosen}
    of_all = Evaluation(extractor=DigitClassifier(), **settings)
    assert of_all.sign(name) == sign


def test_whether_more_of_other_metrics_is_better() -> None:
    assert {Detection().sign(name) for name in ("auroc", "auroc_mean", "average_precision_3")} == {1.0}
    assert SuperResolution(split="test", border=None, lpips=None).sign("ssim_rgb") == 1.0
    assert LPIPS("alex").sign("lpips") == -1.0
    assert AUROC().sign("auroc") == 1.0
