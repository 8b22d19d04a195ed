"""What a run will take: counted against closed forms, and against a run itself."""

import re
from pathlib import Path

import pytest
import torch
from common import SMALL
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from zoo.run import plan
from zoo.run.plan import Live, Memory, advice, composed, counted, in_bytes


def said(*settings: str, timed: bool = False) -> str:
    return "\n".join(plan.plan(list(settings), 2.0**30, timed=timed))


def test_what_is_alive_is_counted_until_it_is_let_go() -> None:
    """Two layers of 1,000 x 1,000 on a batch of 10: activations, and gradients of the weights one after the other."""
    network = nn.Sequential(nn.Linear(1_000, 1_000, bias=False), nn.ReLU(), nn.Linear(1_000, 1_000, bias=False))
    x = torch.rand(10, 1_000)
    with Live() as live:
        y = network(x)
        kept = 3 * 10 * 1_000 * 4  # the first layer's output, ReLU's, the second layer's
        assert kept <= live.now <= kept + 2 * 4_000_000  # the weights as they are first met
        y.sum().backward()
        assert live.peak >= 2 * 4_000_000
        before = live.now
        del y
        assert live.now < before


def test_views_count_once() -> None:
    with Live() as live:
        x = torch.zeros(1_000)
        views = [x[1:], x.view(10, 100), x.detach()]
        assert live.now == 4_000
        del x
        assert live.now == 4_000, "views hold it"
        del views
        assert live.now == 0


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dcgan", "stylegan_lite", "srgan"])
def test_a_batch_of_another_size_takes_what_was_said(model: str) -> None:
    settings = [f"model={model}", *SMALL[model], "max_images=128"]
    said = counted(settings, "32-true")
    other = counted(settings, "32-true", 8)
    assert said.peak(16) == pytest.approx(other.peak(16), rel=0.1)
    assert (said.parameters, said.gradients, said.moments) == (other.parameters, other.gradients, other.moments)


@pytest.mark.slow
def test_moments_are_two_of_each_weight() -> None:
    said = counted(["model=vanilla", *SMALL["vanilla"]], "32-true")
    assert said.moments == pytest.approx(2 * said.gradients, rel=0.01)
    assert said.parameters >= said.gradients


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    memory = Memory(parameters=100, gradients=50, moments=100, per_image=10.0, rest=50.0)
    assert memory.largest(1_000) == 60  # of 900
    assert memory.peak(60) == 900
    assert memory.largest(100) == 0


def test_amounts_of_memory() -> None:
    assert in_bytes("24GB") == in_bytes("24 GiB") == 24 * 2**30
    assert in_bytes("800mb") == 800 * 2**20
    assert in_bytes("1_000") == 1_000
    for text in ("much", "GB", "-1GB", "0", "1.2.3GB", "1_0._5GB", "1__0", ""):
        with pytest.raises(ValueError, match="give an amount, such as 24GB"):
            in_bytes(text)


@pytest.mark.slow
def test_advice_follows_the_images() -> None:
    cfg = composed(["model=stylegan_lite", "data.image_size=64", "data.batch_size=64", "model.regularizer.r1=10"])
    said = dict(advice(cfg, 500))
    assert said.keys() == {"model.regularizer.r1=0.013", "augment=diffaugment", "model.ema_half_life=20_000"}
    assert "augment=ada" in dict(advice(cfg, 5_000))
    assert not [setting for setting, _ in advice(cfg, 50_000) if "augment" in setting]
    assert not list(advice(composed(["model=cyclegan"]), 500))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "memory", "scale"),
    [
        ([], 500, "paper"),
        ([], 300, "medium"),
        ([], 200, None),
        (["scale=medium"], 500, "paper"),
        (["scale=paper"], 500, None),
        (["scale=paper"], 300, "medium"),
        (["scale=paper"], 200, "small"),
        (["scale=paper"], 50, None),
        (["scale=paper"], None, "small"),
        (["scale=small"], None, None),
        (["trainer=cpu", "scale=paper"], 500, "small"),
        (["trainer=gpu", "scale=small"], None, "paper"),
        (["start=dcgan-mnist5k"], 500, None),
        (["model.latent_dim=4"], 500, None),
    ],
)
def test_the_widest_networks_that_fit(
    settings: list[str], memory: float | None, scale: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each scale takes twice as much as the one before, and a tenth is left free; without a GPU the small one fits."""
    takes = {"small": 100, "medium": 200, "paper": 400}
    monkeypatch.setattr(
        plan, "counted", lambda words, *_, scale=None: Memory(takes[scale or composed(words).scale], 0, 0, 1.0, 0.0)
    )
    monkeypatch.setattr(plan, "at_hand", lambda: 1_000.0)
    monkeypatch.setattr(plan, "here", lambda cfg: "cpu")
    lines = "\n".join(plan.plan(["data.batch_size=10", *settings], memory, timed=False))
    assert re.findall("worth a try: scale=(.*)", lines) == ([scale] if scale else [])


@pytest.mark.slow
def test_a_scale_is_planned_with_its_own_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own images come in batches of 16 at the small one, of 64 at the others: those have to fit, and to be there."""
    for k in range(70):
        Image.new("RGB", (8, 8), (k, 0, 0)).save(tmp_path / f"{k}.png")
    settings = ["data=folder", f"data.root={tmp_path}"]
    monkeypatch.setattr(
        plan, "counted", lambda words, *_, scale=None: Memory(1 if scale is None else 2, 0, 0, 1.0, 0.0)
    )
    says = lambda memory: "\n".join(plan.plan(settings, memory, timed=False))
    assert "worth a try: scale=paper" in says(80)
    assert "64.0 MiB" not in says(60)
    assert "worth a try: scale" not in says(60)
    for k in range(10):
        (tmp_path / f"{k}.png").unlink()
    assert "worth a try: scale" not in says(80)


@pytest.mark.slow
def test_a_scale_that_does_not_fit_this_machine_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def counts(words: list[str], *_: object, scale: str | None = None) -> Memory:
        if scale == "paper":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Memory(1 if scale is None else 2, 0, 0, 1.0, 0.0)

    monkeypatch.setattr(plan, "counted", counts)
    assert "worth a try: scale=medium" in "\n".join(plan.plan([], 1_000, timed=False))

    def fails(words: list[str], *_: object, scale: str | None = None) -> Memory:
        if scale:
            raise ZeroDivisionError("a bug")
        return counts(words)

    monkeypatch.setattr(plan, "counted", fails)
    with pytest.raises(ZeroDivisionError):
        list(plan.plan([], 1_000, timed=False))


@pytest.mark.slow
def test_another_scale_is_counted() -> None:
    """One that does not go with other settings is passed over."""
    lines = said("model=dcgan", "data=digits", "data.image_size=16", "data.batch_size=2", "model.max_width=64")
    assert "worth a try: scale=medium\n    the widest that fits 1 GiB: networks of " in lines
    assert {"model.width", "model.channel_base", "model.latent_dim", "model.blocks"} < plan.by_scale()
    assert {"model.lr", "model.max_width"}.isdisjoint(plan.by_scale())


@pytest.mark.slow
def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from zoo.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "STEPS", 2)
    words = ["plan", "model=dcgan", *SMALL["dcgan"], "data.batch_size=16", "--memory", "4GB"]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "DCGAN, scale small, 1,442 training images, batches of 16" in said
    assert "bf16-mixed" in said
    assert "images a second, the mean of 2 steps" in said
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    said = CliRunner().invoke(app, [*words[:-1], "100KB", "--no-time"], catch_exceptions=False).output
    assert "data.batch_size=16 does not fit into 0.1 MiB at precision 32-true" in said
    assert "images a second" not in said


@pytest.mark.slow
def test_a_machine_without_a_gpu_plans_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """trainer=gpu, and every name of a precision; others are a sentence."""
    monkeypatch.setattr(plan, "STEPS", 2)
    lines = list(plan.plan(["model=vanilla", *SMALL["vanilla"], "trainer=gpu", "scale=small"], 2.0**30))
    assert any("bf16-mixed" in line for line in lines)
    assert not [line for line in lines if "does not fit" in line]
    for name in ("32", "bf16"):
        list(plan.plan(["model=vanilla", *SMALL["vanilla"], f"trainer.precision={name}"], 2.0**30, timed=False))
    with pytest.raises(ValueError, match=r"trainer\.precision=16-mixed: give 32-true or bf16-mixed"):
        list(plan.plan(["model=vanilla", "trainer.precision=16-mixed"], 2.0**30))


@pytest.mark.slow
def test_weights_that_hide_the_batch_do_not_hide_it_in_the_plan() -> None:
    """Of wide layers a small batch's peak is the gradients', whatever the batch: a large one's is not."""
    settings = ["model=vanilla", "data=digits", "data.image_size=8", "model.hidden=[512,512]", "max_images=4_000"]
    said = counted(settings, "32-true")
    measured = counted(settings, "32-true", 1_024)
    assert measured.peak(1_024) <= said.peak(1_024) * 1.2
    assert said.peak(1_024) < 2 * measured.peak(1_024)


@pytest.mark.slow
def test_the_line_that_trains_plans() -> None:
    """With settings of what is not measured in a plan, which are held against their names all the same."""
    of_measuring = ["metrics=mnist", "metrics.num_fake=20", "logger=csv", "++metrics.num_real=30"]
    cfg = plan.composed(["model=vanilla", *of_measuring, "seed=2"])
    assert (cfg.seed, cfg.metrics, cfg.logger) == (2, {}, {})
    assert plan.composed(["experiment=vanilla_mnist", "metrics.num_fake=20"]).max_images == 1_200_000
    with pytest.raises(Exception, match=r"metrics\.num_fak"):
        plan.composed(["metrics=mnist", "metrics.num_fak=20"])
    with pytest.raises(ValueError, match=r"resume=RUN is not planned: give the settings"):
        plan.composed(["resume=RUN"])


@pytest.mark.slow
def test_several_processes_share_the_batch() -> None:
    model = ["model=vanilla", *SMALL["vanilla"]]
    of_four = said(*model, "data.batch_size=32", "trainer=ddp_cpu", "trainer.devices=4")
    of_one = said(*model, "data.batch_size=8")
    assert "batches of 32, 8 on each of 4 processes" in of_four
    assert "largest batch of a process in 1 GiB" in of_four
    table = lambda lines: re.findall("^  (?:32-true|bf16-mixed) .*", lines, re.MULTILINE)
    assert len(table(of_one)) == 2
    assert table(of_four) == table(of_one)


@pytest.mark.slow
def test_a_growing_game_is_timed_at_its_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first steps, of the smallest images, are quick."""
    asked: list[int] = []
    monkeypatch.setattr(
        plan, "seconds_a_step", lambda settings, *, batch, before=0: asked.append(before) or (9.0 if before else 1.0)
    )
    settings = ["model=vanilla", *SMALL["vanilla"], "data.batch_size=10", "max_images=4_000"]
    line = said(*settings, timed=True)
    assert "9,000 ms a step, 1,000 ms at first, 1 images a second" in line
    assert "up to 1.0 hours for max_images=4_000" in line
    assert asked == [0, 4_000 - (plan.WARM + plan.STEPS) * 10]


def test_steps_at_the_end_are_those_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "STEPS", 1)
    seen: list[int] = []
    end = plan._Times.on_train_batch_end
    monkeypatch.setattr(
        plan._Times, "on_train_batch_end", lambda self, *args: (seen.append(args[1].images), end(self, *args))
    )
    plan.seconds_a_step(["model=vanilla", *SMALL["vanilla"]], batch=4, before=100)
    assert seen == [104, 108, 112, 116]


@pytest.mark.slow
@pytest.mark.parametrize("images", [2, 3])
def test_as_few_images_as_there_are(images: int, tmp_path: Path) -> None:
    for k in range(images):
        Image.new("RGB", (32, 32), (k, 0, 0)).save(tmp_path / f"{k}.png")
    folder = ["data=folder", f"data.root={tmp_path}", "data.batch_size=2", "model.width=4"]
    assert f"{images} training images, batches of 2" in said("model=dcgan", *folder)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("compile=max-autotune", "compile=max-autotune: expected true or false"),
        ("log_every=-1", "log_every=-1"),
        ("cuda_graph=maybe", "cuda_graph=maybe: expected"),
        ("cuda_graph=true model.n_critic=5", "model.n_critic=5 leaves G out of some"),
        ("cuda_graph=true compile=true", "two ways to the same end"),
        ("trainer.devices=4", "trainer.devices=4 are several processes: use trainer=ddp"),
        ("model.width=none", "model.width=none: expected"),
    ],
)
def test_what_does_not_train_is_not_planned(settings: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        said("model=dcgan", *settings.split())
