"""Intervals, metrics in the loop with the best checkpoint, grids and the report."""

import csv
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import common
import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

import zoo
from train import run
from zoo.batch import LabelledImages, Preview
from zoo.metrics.evaluator import Evaluator
from zoo.metrics.metric import Metric, Result
from zoo.result import Result as ResultOfRun
from zoo.run.callbacks import Every
from zoo.run.callbacks.checkpoints import Checkpoints
from zoo.run.callbacks.evaluate import Evaluate
from zoo.run.callbacks.progress import in_words
from zoo.run.callbacks.report import Report, result_in_words
from zoo.run.callbacks.samples import SampleGrids, grid, panels
from zoo.run.checkpoint import read

Small = Callable[..., DictConfig]


def test_every_is_true_once_a_stretch_whatever_the_batch() -> None:
    every = Every(100, max_images=1_000)
    assert [n for n in range(0, 1000, 64) if every(n)] == [128, 256, 320, 448, 512, 640, 704, 832, 960]
    assert every.acted == 960
    every = Every(100, max_images=1_000)
    every.start(250)
    assert not every(290)
    assert every(300)


def test_every_of_nothing_is_a_tenth_of_the_budget() -> None:
    assert Every(None, max_images=150_000).images == 15_000
    assert Every(None, max_images=3).images == 1
    with pytest.raises(ValueError, match="interval of 0 images"):
        Every(0, max_images=10)


class Distance(Metric):
    """Chooses by the lowest fid_mnist, unless the images shall only look right."""

    headline, higher_is_better = "fid_mnist", False

    def may_choose(self, goal: str) -> bool:
        return goal != "perception"


class Scripted(Evaluator):
    """Gives these values in turn."""

    def __init__(self, values: list[float]) -> None:
        metrics = [Distance()]
        super().__init__(metrics=metrics, split="test", num_real=None, num_fake=None, batch_size=1, cache_dir=None)
        self.scripted = iter(values)

    def check(self, preview: Any, data: Any, *, device: Any) -> None: ...

    def comparable(self, data: Any) -> dict[str, Any]:
        return {"fingerprint": "of these images"}

    def evaluate(self, preview: Any, data: Any, **kwargs: Any) -> Result:
        return Result({"fid_mnist": next(self.scripted), "recall_mnist": 0.5}, {"num_fake": 10})


class Run:
    """As much of a trainer and a model as `Evaluate` touches."""

    averaged = True

    def __init__(self) -> None:
        self.saved: list[tuple[int, str]] = []
        self.images, self.global_rank, self.local_rank, self.world_size = 0, 0, 0, 1
        self.phase, self.is_global_zero = "", True
        self.datamodule, self.device, self.preview = None, "cpu", None
        self.published: list[Mapping[str, float]] = []
        self.loggers: list[Any] = [self]
        self.noted: list[Mapping[str, Any]] = []
        self.callbacks: list[Any] = []
        self.run_log = SimpleNamespace(latest={})
        self.should_stop = False

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        assert not weights_only
        self.saved.append((self.images, path.name))

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        self.noted.append(params)

    def synchronise(self) -> None: ...

    @property
    def goal(self) -> str:
        return "perception" if self.phase == "adversarial" else "distribution"

    def phase_at(self, images: int) -> str:
        return self.phase

    def publish(self, values: Mapping[str, float]) -> None:
        self.published.append(values)


def test_what_a_killed_save_has_left_goes_when_training_starts(small: Callable[..., DictConfig]) -> None:
    cfg = small("vanilla", "max_images=32")
    left = Path(cfg.run_dir, "checkpoints", ".last.ckpt.abc.part")
    left.mkdir(parents=True)
    (left / "last.ckpt").write_bytes(b"half")
    run(cfg)
    assert [path.name for path in left.parent.iterdir()] == ["last.ckpt"]


def test_the_best_checkpoint_is_the_lowest_fid(tmp_path: Path) -> None:
    callback = Evaluate(
        evaluation=Scripted([9, 5, 7, 4, 4.5]), every=100, patience=None, max_images=500, folder=str(tmp_path)
    )
    it: Any = Run()
    callback.on_train_start(it, it)
    for it.images in (50, 100, 200, 300, 400, 450):
        callback.on_train_batch_end(it, it)
    callback.on_train_end(it, it)
    assert [row["images"] for row in callback.history] == [100, 200, 300, 400, 450]
    assert it.saved == [(100, "best.ckpt"), (200, "best.ckpt"), (400, "best.ckpt")]
    assert callback.best["images"] == 400
    assert len(it.published) == 5
    assert it.noted == [{"protocol": {"num_fake": 10}}]

    resumed = Evaluate(evaluation=Scripted([4.2]), every=100, patience=None, max_images=600, folder=str(tmp_path))
    resumed.load_state_dict(callback.state_dict())
    it.images = 600
    resumed.on_train_end(it, it)
    assert resumed.best["images"] == 400  # a resumed run does not forget its best


def test_the_result_is_the_best_generator_in_words() -> None:
    callback = Evaluate(evaluation=Scripted([]), every=100, patience=None, max_images=500, folder="run")
    callback.chooses = ("fid_mnist", -1.0)
    callback.history = [{"images": 100, "fid_mnist": 4.0}, {"images": 500, "fid_mnist": 5.0}]
    callback.protocol = {"generator": "last"}
    assert result_in_words(callback).startswith("result: best.ckpt, the generator at image 100,")
    callback.protocol = {"generator": "EMA"}
    assert result_in_words(callback) == (
        "result: best.ckpt, the averaged generator at image 100, fid_mnist 4.00; the last, at 500, has 5.00, 25.0% more"
    )
    callback.history[-1]["fid_mnist"] = 4.001
    assert result_in_words(callback).endswith("; the last, at 500, has 4.00, about the same")
    callback.history.append({"images": 600, "fid_mnist": 3.0})
    assert result_in_words(callback).endswith("at image 600, fid_mnist 3.00: the last is the best")


@pytest.mark.parametrize(
    ("model", "aligned", "settings", "command"),
    [
        ("vanilla", False, "data=folder metrics=none", "zoo sample"),
        ("cgan", False, "data=labelled_folder metrics=none", "zoo sample"),
        ("cyclegan", False, "data=unpaired_folder metrics=none", "zoo translate"),
        ("pix2pix", True, "data=paired_folder metrics=none", "zoo translate"),
        ("srgan", False, "data=super_resolution_folder", "zoo upscale"),
        ("f_anogan", False, "data=folder metrics=none", "zoo score"),
    ],
)
def test_what_to_try_next_follows_the_model_s_abilities(model: str, aligned: bool, settings: str, command: str) -> None:
    batch = common.pairs(1)._replace(aligned=torch.tensor([aligned]))
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(evaluation_loader=lambda **_: iter([batch])))
    trained = common.make(model, *common.SMALL[model])
    lines = list(Report(folder="run", overrides=[], seed=1)._directions(trainer, trained, None, []))
    assert f"  python train.py model={model} {settings} data.root=~/pictures     your own images" in lines
    assert next(line.split()[:2] for line in lines if line.startswith("  zoo")) == command.split()
    trainer.datamodule.root = Path("pictures")
    lines = list(Report(folder="run", overrides=[], seed=1)._directions(trainer, trained, None, []))
    assert not any("your own images" in line for line in lines), "these are the user's own"


def test_what_to_try_next_can_be_typed_where_a_folder_has_a_space(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    trained = common.make("vanilla", *common.SMALL["vanilla"])
    trainer = SimpleNamespace(datamodule=SimpleNamespace())
    lines = list(Report(folder="my run", overrides=[], seed=1)._directions(trainer, trained, None, []))
    (sample,) = (line for line in lines if "zoo sample" in line)
    assert shlex.split(sample)[:5] == ["zoo", "sample", "my run", "-n", "64"]
    assert "run          my run" in lines  # which is no command


def test_each_phase_has_its_best_checkpoint(tmp_path: Path) -> None:
    """The best of the first phase is kept aside; in the second no value tells, and the newest is the best."""
    callback = Evaluate(
        evaluation=Scripted([5, 4, 6, 1, 2]), every=100, patience=None, max_images=500, folder=str(tmp_path)
    )
    it: Any = Run()
    it.phase = "pixel"
    callback.on_train_start(it, it)
    for it.images in (100, 200, 300):
        callback.on_train_batch_end(it, it)
    assert it.saved == [(100, "best.ckpt"), (200, "best.ckpt")]
    assert (callback.metric, callback.best["images"]) == ("fid_mnist", 200)
    callback.path.parent.mkdir()
    torch.save({"zoo": {"images": 200}}, callback.path)
    it.phase, it.images = "adversarial", 400
    callback.on_train_batch_end(it, it)
    assert not callback.path.exists()
    assert read(callback.path.with_name("best-pixel.ckpt"))["zoo"]["images"] == 200
    again = Evaluate(evaluation=Scripted([2]), every=100, patience=None, max_images=500, folder=str(tmp_path))
    again.load_state_dict(callback.state_dict())
    it.images = 500
    again.on_train_batch_end(it, it)
    assert it.saved[2:] == [(400, "best.ckpt"), (500, "best.ckpt")]
    assert (again.metric, again.best["images"]) == (None, 500)


def test_the_best_of_pixels_outlives_a_second_game(tmp_path: Path) -> None:
    """A run that goes on from best-pixel.ckpt finds the best.ckpt of the game that was played before."""
    callback = Evaluate(evaluation=Scripted([5, 1]), every=100, patience=None, max_images=500, folder=str(tmp_path))
    it: Any = Run()
    it.phase = "pixel"
    callback.on_train_start(it, it)
    it.images = 100
    callback.on_train_batch_end(it, it)
    callback.path.parent.mkdir()
    for name, images in (("best-pixel", 100), ("best", 400)):
        torch.save({"zoo": {"images": images}}, callback.path.with_name(f"{name}.ckpt"))
    it.phase, it.images = "adversarial", 200
    callback.on_train_batch_end(it, it)
    assert read(callback.path.with_name("best-pixel.ckpt"))["zoo"]["images"] == 100
    assert it.saved[1:] == [(200, "best.ckpt")]


def patient(folder: Path, values: list[float], patience: int | None = 2, budget: int = 900) -> Evaluate:
    evaluation = Scripted(values)
    return Evaluate(evaluation=evaluation, every=100, patience=patience, max_images=budget, folder=str(folder))


def evaluated_until(callback: Evaluate, it: Any, start: int, stop: int) -> None:
    it.images, it.should_stop = start, False
    callback.on_train_start(it, it)
    while it.images < stop and not it.should_stop:
        it.images += 100
        it.phase = it.phase_at(it.images)
        callback.on_train_batch_end(it, it)


def test_patience_ends_a_run_that_no_longer_betters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An equal value is no better one. What was waited survives a resume; a longer patience or none goes on."""
    callback = patient(tmp_path, [9, 5, 7, 4, 4, 4.5])
    it: Any = Run()
    evaluated_until(callback, it, 0, 900)
    assert (it.images, it.should_stop) == (600, True)
    assert callback.stopped == (
        "fid_mnist has not bettered in 2 evaluations, since image 400 (callbacks.evaluate.patience=2)"
    )
    assert capsys.readouterr().out == f"the run ends at image 600: {callback.stopped}\n"

    for patience, stops_at in ((2, 600), (3, 700), (None, 900)):
        resumed = patient(tmp_path, [6, 6, 6], patience)
        resumed.load_state_dict(callback.state_dict())
        evaluated_until(resumed, it, 600, 900)
        assert it.images == stops_at, patience
    interrupted = patient(tmp_path, [6, 6, 6])
    interrupted.load_state_dict(callback.state_dict() | {"history": callback.history[:5]})
    evaluated_until(interrupted, it, 500, 900)
    assert it.images == 600


def test_patience_waits_in_each_phase_anew_and_cuts_none_short_that_another_follows(tmp_path: Path) -> None:
    callback = patient(tmp_path, [1, 2, 2, 2, 9, 9, 9])
    it: Any = Run()
    it.phase_at = lambda images: "pixel" if images <= 400 else "other"
    it.phase = "pixel"
    evaluated_until(callback, it, 0, 900)
    assert it.images == 700
    assert "since image 500" in callback.stopped


@pytest.mark.parametrize(
    ("evaluation", "patience", "sentence"),
    [
        (Scripted([]), 0, "callbacks.evaluate.patience=0 must be 1 evaluation or more; null never stops"),
        (Scripted([]), -3, "callbacks.evaluate.patience=-3 must be 1 evaluation or more"),
        ({}, 3, "callbacks.evaluate.patience=3 waits for a value to better, and metrics=none measures nothing"),
    ],
)
def test_a_patience_that_could_not_act_is_refused(evaluation: Any, patience: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Evaluate(evaluation=evaluation, every=1, patience=patience, max_images=1, folder=".")


@pytest.mark.slow
def test_a_run_that_patience_ends_is_a_finished_run(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing betters: the end has its checkpoint, grids and report, which says why; resumed, it ends there."""
    monkeypatch.setattr(Evaluator, "evaluate", lambda *args, **kwargs: Result({"fid_mnist": 5.0}, {"num_fake": 10}))
    settings = ["metrics=mnist", "metrics.num_fake=20", "metrics.num_real=30", "callbacks.evaluate.every=32"]
    cfg = small("vanilla", *settings, "callbacks.evaluate.patience=1", "~callbacks.health")
    for resume in (None, "here"):
        cfg.resume = resume
        assert run(cfg).lightning_module.images == 64
    folder = Path(cfg.run_dir)
    assert read(folder / "checkpoints" / "last.ckpt")["zoo"]["images"] == 64
    assert read(folder / "checkpoints" / "best.ckpt")["zoo"]["images"] == 32
    assert (folder / "samples" / "000000064.png").is_file()
    assert "The run ended before its budget: fid_mnist has not bettered" in (folder / "report.md").read_text()


@pytest.mark.slow
def test_every_so_many_th_checkpoint_stays(small: Small) -> None:
    """Beside the last, which is what is gone on from and, without metrics, what a run's folder means."""
    run(small("vanilla", "callbacks.checkpoints.keep_every=40", "callbacks.checkpoints.every=16"))
    cfg = small("vanilla", "callbacks.checkpoints.keep_every=40", "max_images=160", "resume=here")
    run(cfg)
    folder = Path(cfg.run_dir, "checkpoints")
    kept = ["000000048.ckpt", "000000080.ckpt", "000000128.ckpt", "000000160.ckpt"]
    assert sorted(path.name for path in folder.iterdir()) == [*kept, "last.ckpt"]
    assert [zoo.load(folder / name).images for name in kept] == [48, 80, 128, 160]
    assert zoo.load(cfg.run_dir).images == 160
    with pytest.raises(ValueError, match="interval of 0 images must be positive"):
        Checkpoints(folder=str(folder), every=None, keep_every=0, max_images=10)


def test_a_phase_is_evaluated_as_it_ends(tmp_path: Path) -> None:
    """Once, after its last batch, whatever the interval; a run that is resumed there does not repeat it."""
    callback = Evaluate(evaluation=Scripted([5, 4, 3]), every=200, patience=None, max_images=500, folder=str(tmp_path))
    it: Any = Run()
    it.phase_at = lambda images: "pixel" if images <= 150 else "adversarial"
    callback.on_train_start(it, it)
    for it.images in range(40, 241, 40):
        it.phase = it.phase_at(it.images)
        callback.on_train_batch_end(it, it)
        if it.images == 120:
            state = callback.state_dict()
    assert [row["images"] for row in callback.history] == [120, 200]
    resumed = Evaluate(evaluation=Scripted([4]), every=200, patience=None, max_images=500, folder=str(tmp_path))
    resumed.load_state_dict({**state, "history": state["history"][:1]})
    it.images = 120
    resumed.on_train_start(it, it)
    it.phase, it.images = "adversarial", 160
    resumed.on_train_batch_end(it, it)
    assert [row["images"] for row in resumed.history] == [120]


def test_without_metrics_nothing_is_evaluated(tmp_path: Path) -> None:
    callback = Evaluate(evaluation={}, every=1, patience=None, max_images=1, folder=str(tmp_path))
    it: Any = Run()
    callback.setup(it, it, "fit")
    callback.on_train_start(it, it)
    it.images = 100
    callback.on_train_batch_end(it, it)
    callback.on_train_end(it, it)
    assert not callback.history
    assert callback.best == {}


@pytest.mark.parametrize(("channels", "expected"), [(1, 3), (2, 3), (3, 3), (4, 3)])
def test_grid_of_any_channel_count(channels: int, expected: int) -> None:
    picture = grid(torch.full((64, channels, 16, 16), -1.0))
    assert picture.shape == (expected, 8 * 18 + 2, 8 * 18 + 2)
    assert picture[0, 5, 5] == 0.0


def test_grid_of_wide_images_is_near_square() -> None:
    picture = grid(torch.zeros(16, 3, 16, 64))
    assert picture.shape[1] == pytest.approx(picture.shape[2], rel=0.2)


def test_panels_are_rows_of_the_batch_side_by_side() -> None:
    """Grey, colour and colour with alpha: columns in their order, as many rows as asked for."""
    grey = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 1, 4, 6)
    colour = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(5, 3, 4, 6)
    picture = panels((grey, colour, torch.ones(5, 4, 4, 6)), rows=3)
    assert picture.shape == (3, 3 * (4 + 2) + 2, 3 * (6 + 2) + 2)
    for row in range(3):
        y = 3 + row * 6
        assert picture[:, y, 3].tolist() == [row * 0.25] * 3
        assert picture[:, y, 3 + 8].tolist() == [0.0, 0.5, 1.0]
        assert picture[:, y, 3 + 16].tolist() == [1.0, 1.0, 1.0]


def of_nine(tmp_path: Path) -> SampleGrids:
    grids = SampleGrids(folder=str(tmp_path), every=None, max_images=128, count=9)
    grids._batch = LabelledImages(torch.zeros(9, 3, 8, 8), torch.zeros(9, dtype=torch.long), torch.arange(9))
    return grids


def test_a_panel_is_drawn_in_place_of_the_fakes(tmp_path: Path) -> None:
    def preview(batch: LabelledImages) -> dict[str, Preview]:
        fake = batch.image
        return {"X->Y": Preview(fake, panel=(fake[:, :1], fake, fake)), "Y->X": Preview(fake, real=fake)}

    model: Any = SimpleNamespace(preview=preview, images=128)
    logged: list[tuple[str, int]] = []
    logger = SimpleNamespace(log_image=lambda key, images, step: logged.append((key, images[0].shape[1])))
    of_nine(tmp_path)._draw(SimpleNamespace(loggers=[logger]), model)  # type: ignore[arg-type]
    names = ["X-to-Y-000000128.png", "Y-to-X-000000128.png", "Y-to-X-real.png"]
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == names
    assert Image.open(tmp_path / "samples" / names[0]).size == (3 * 10 + 2, 3 * 10 + 2)
    assert logged == [("X->Y", 32), ("Y->X", 22)]


def test_no_image_is_made_that_a_panel_does_not_show(tmp_path: Path) -> None:
    """Six passes of nine images were CycleGAN's, before the first step, and three of each were shown."""
    made: list[int] = []

    def preview(batch: LabelledImages) -> dict[str, Preview]:
        made.append(len(batch.index))
        return {"samples": Preview(batch.image, panel=(batch.image,) * 2 if panels_from <= model.images else ())}

    model: Any = SimpleNamespace(preview=preview, images=0)
    trainer: Any = SimpleNamespace(loggers=[])
    grids, panels_from = of_nine(tmp_path), 30
    for model.images in (0, 10, 20, 30, 40, 50):
        grids._draw(trainer, model)
    assert made == [3, 9, 9, 9, 9, 3, 3]  # what there is at first is not known, nor when it becomes another
    sizes = [Image.open(tmp_path / "samples" / f"{images:09d}.png").size for images in (20, 30, 50)]
    assert sizes == [(32, 32), (22, 32), (22, 32)]


def test_the_line_of_progress() -> None:
    latest = {"D/adversarial": 1.234, "G/adversarial": 0.5, "D/lr": 1.0, "recall_mnist": 0.5, "fid_mnist": 8.1}
    assert in_words(latest, None) == "D 1.23  G 0.50"
    evaluate = Evaluate(evaluation=Scripted([]), every=100, patience=None, max_images=500, folder="run")
    assert in_words(latest, evaluate) == "D 1.23  G 0.50  fid_mnist 8.10"


@pytest.fixture
def evaluated(small: Small) -> tuple[DictConfig, Any]:
    cfg = small(
        "dcgan",
        "metrics=mnist",
        "metrics.num_fake=40",
        "metrics.num_real=60",
        "metrics.batch_size=32",
        "callbacks.evaluate.every=64",
        "callbacks.samples.count=9",
        "callbacks.report.overrides=['model=dcgan']",
    )
    return cfg, run(cfg)


@pytest.mark.slow
def test_metrics_in_the_loop(evaluated: tuple[DictConfig, Any]) -> None:
    cfg, trainer = evaluated
    folder = Path(cfg.run_dir)
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fid_mnist"]]
    assert [row["images"] for row in rows] == ["64", "128"]
    callback = next(c for c in trainer.callbacks if isinstance(c, Evaluate))
    assert callback.history[-1]["fid_mnist"] == pytest.approx(float(rows[-1]["fid_mnist"]))
    best = read(folder / "checkpoints" / "best.ckpt")
    assert best["zoo"]["images"] == callback.best["images"]
    state = best["callbacks"][callback.state_key]
    assert state["protocol"]["num_fake"] == 40
    assert state["protocol"]["extractor"] == "mnist"
    assert state["history"][-1]["images"] == best["zoo"]["images"]

    report = (folder / "report.md").read_text()
    assert "python train.py model=dcgan" in report
    low, high = callback.intervals_of(callback.history[-1])["fid_mnist"]
    assert low < callback.history[-1]["fid_mnist"] < high
    assert f"| fid_mnist | {callback.history[-1]['fid_mnist']:.6g} | {low:.4g} to {high:.4g} |" in report
    assert "weights_sha256" in report
    assert "(samples/000000128.png)" in report
    assert (folder / "curves.png").stat().st_size > 10_000

    picture = np.asarray(Image.open(folder / "samples" / "000000128.png"))
    assert picture.shape == (3 * 18 + 2, 3 * 18 + 2, 3)
    assert not np.array_equal(picture, np.asarray(Image.open(folder / "samples" / "000000000.png")))


@pytest.mark.slow
def test_intervals_reach_everything_that_shows_values(evaluated: tuple[DictConfig, Any]) -> None:
    """The table and the curves of the headline; result.json of every value that has one; the best checkpoint."""
    cfg, trainer = evaluated
    callback = next(c for c in trainer.callbacks if isinstance(c, Evaluate))
    with Path(cfg.run_dir, "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fid_mnist"]]
    for row in rows:
        ends = callback.intervals_of({"images": float(row["images"])})["fid_mnist"]
        assert (float(row["fid_mnist_low"]), float(row["fid_mnist_high"])) == pytest.approx(ends)
    assert not [name for name in rows[0] if name.endswith("_low") and name != "fid_mnist_low"]

    result = ResultOfRun.read(Path(cfg.run_dir))
    assert result
    intervals = {name: tuple(ends) for name, ends in result.intervals.items()}
    assert intervals == callback.intervals_of(callback.best)
    assert tuple(result.last_intervals["fid_mnist"]) == callback.intervals_of(callback.history[-1])["fid_mnist"]

    state = read(Path(cfg.run_dir, "checkpoints", "last.ckpt"))["callbacks"][callback.state_key]
    assert state["intervals"].keys() == {64, 128}
    resumed = Evaluate(evaluation=None, every=64, patience=None, max_images=128, folder=cfg.run_dir)
    resumed.load_state_dict(state)
    assert resumed.intervals_of(callback.best) == callback.intervals_of(callback.best)
    del state["intervals"]  # as in a checkpoint of before
    resumed.load_state_dict(state)
    assert resumed.intervals_of(callback.best) == {}
    assert resumed.best == callback.best
