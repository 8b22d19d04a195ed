"""f-AnoGAN: the score by hand, the networks of the authors' code, and that E learns through what stays as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common import compose, make, same, train_on, untrained
from omegaconf import DictConfig
from torch import nn

import train
import zoo
from zoo.batch import LabelledImages
from zoo.game.abilities import Scores, declares
from zoo.use.publish import weights_of
from zoo.weights import folder

Small = Callable[..., DictConfig]
TINY = ["data.image_size=16", "model.width=4", "model.latent_dim=8", "model.n_critic=1"]


def batch(n: int = 6, size: int = 16) -> LabelledImages:
    images = torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return LabelledImages(images, torch.arange(n) % 3, torch.arange(n))


def test_the_score_is_the_paper_s() -> None:
    """A(x) = 1/n |x - G(E(x))|^2 + kappa / n_d |f(x) - f(G(E(x)))|^2, image by image; the residual |x - G(E(x))|."""
    gan, x = untrained("f_anogan", "model.kappa=0.3", "model.gan_share=0"), batch().image
    with torch.no_grad():
        again = gan.G_ema.module(gan.E.head(gan.E.body(x).flatten(1)))
        for k in range(len(x)):
            f = [gan.D.body(image[k : k + 1]).flatten() for image in (x, again)]
            residual = (x[k] - again[k]).square().sum() / x[k].numel()
            of_features = (f[0] - f[1]).square().sum() / f[0].numel()
            expected = residual + 0.3 * of_features
            torch.testing.assert_close(gan.score(x)[k], expected, rtol=1e-4, atol=1e-6)
            assert of_features > 1e-8
    torch.testing.assert_close(gan.residual(x)[:, 0], (x - again).abs()[:, 0])
    assert declares(type(gan), Scores)


def test_e_learns_through_g_and_d_which_stay() -> None:
    gan = make("f_anogan", *TINY, "model.gan_share=0", "data=digits", "model.kappa=0.3")
    before = {name: value.clone() for name, value in gan.state_dict().items() if torch.is_tensor(value)}
    errors: list[Any] = []
    original = gan.errors
    gan.errors = lambda x, again: errors.append([t.detach() for t in original(x, again)]) or original(x, again)
    train_on(gan, [batch()] * 3)
    for name, value in before.items():
        if not name.startswith("E."):
            assert torch.equal(gan.state_dict()[name], value), name
        elif name.endswith("weight"):
            assert not torch.equal(gan.state_dict()[name], value), name
    latest = gan.run_log.latest
    assert latest["E/residual"] == pytest.approx(float(errors[-1][0].mean()), rel=1e-4)
    assert latest["E/features"] == pytest.approx(0.3 * float(errors[-1][1].mean()), rel=1e-4)
    assert isinstance(gan._players["E"], torch.optim.RMSprop)


def test_phases_share_the_budget(small: Small) -> None:
    cfg = small("f_anogan", "model.gan_share=0.5", "max_images=128", "logger=none")
    gan: Any = train.run(cfg).lightning_module
    assert gan.turns == {"D": 4, "G": 4, "E": 4}
    assert [gan.phase_at(images) for images in (16, 64, 65, 128)] == ["gan", "gan", "encoder", "encoder"]


def test_the_log_says_of_the_encoder_while_it_learns_alone(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = small("f_anogan", "model.gan_share=0.25", "max_images=128", "log_every=32", "logger=none")
    latest = train.run(cfg).lightning_module.run_log.latest  # type: ignore[union-attr]
    assert {"E/residual", "E/features"} <= latest.keys()
    assert not {"D/adversarial", "G/adversarial"} & latest.keys()
    lines = [line for line in capsys.readouterr().out.splitlines() if " of 128 images" in line]
    assert "E/residual" in lines[-1]
    assert "E/lr" not in lines[-1]


def test_a_resumed_run_that_is_in_another_phase_says_so(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    train.run(small("f_anogan", "model.gan_share=0.5", "max_images=64", "logger=none"))
    capsys.readouterr()
    train.run(small("f_anogan", "model.gan_share=0.9", "max_images=128", "logger=none", "resume=here"))
    assert "phase at image 64: gan, by these settings; it was encoder" in capsys.readouterr().out


@pytest.mark.parametrize("average", ["null", "5_000"])
def test_the_score_of_the_held_g_has_a_gradient_by_z(average: str) -> None:
    gan = make("f_anogan", *TINY, "data=digits", f"model.ema_half_life={average}")
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    gan.through_G(z).sum().backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0


def test_the_networks_of_the_authors_code() -> None:
    """At 64 pixels: 4x4x512 maps at both ends, four blocks each way, 8192 features; BatchNorm in G and E, none in D."""
    with torch.device("meta"):
        gan = make("f_anogan", "data.image_size=64", "scale=paper")
    widths = [(block.conv1.in_channels, block.shortcut.out_channels) for block in gan.D.body[1:]]
    assert widths == [(64, 128), (128, 256), (256, 512), (512, 512)]
    assert [(b.conv1.in_channels, b.shortcut.out_channels) for b in gan.E.body[1:]] == widths
    ups = [block for block in gan.G if hasattr(block, "shortcut")]
    assert [(b.conv1.in_channels, b.shortcut.out_channels) for b in ups] == [
        (512, 512), (512, 256), (256, 128), (128, 64),
    ]  # fmt: skip
    assert (gan.G[0].out_features, gan.D.head.in_features, gan.E.head.out_features) == (8192, 8192, 128)
    kinds = {n: any(isinstance(m, nn.BatchNorm2d) for m in getattr(gan, n).modules()) for n in "DGE"}
    assert kinds == {"D": False, "G": True, "E": True}


@pytest.mark.parametrize("size", ["16", "[16,24]"])
def test_the_residual_networks_train_at_other_sizes_and_channels(size: str) -> None:
    settings = ["model.network=residual", "data=digits", *TINY, f"data.image_size={size}", "data.channels=3"]
    gan = make("f_anogan", *settings, "max_images=18", "model.gan_share=0.5")
    x = torch.rand(6, *gan.image_shape) * 2 - 1
    train_on(gan, [LabelledImages(x, torch.zeros(6, dtype=torch.int64), torch.arange(6))] * 3)
    assert gan.turns == {"D": 1, "G": 1, "E": 2}
    assert gan.score(x).shape == (6,)


def test_layer_normalisation_is_over_each_image() -> None:
    from zoo.model.f_anogan import LayerNorm

    out = LayerNorm(3)(torch.randn(4, 3, 5, 5) * 3 + 2)
    torch.testing.assert_close(out.flatten(1).mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.flatten(1).var(1, unbiased=False), torch.ones(4), atol=1e-3, rtol=0)


def test_what_it_can_t_score_is_a_sentence() -> None:
    gan = untrained("f_anogan", "model.gan_share=0.5")
    gan.images = 128
    gan.score(batch().image)
    with pytest.raises(ValueError, match=r"scores images of \[N, 1, 16, 16\] .* and these are \[2, 3, 16, 8\]"):
        gan.score(torch.zeros(2, 3, 16, 8))
    gan.images = 64
    for method in (gan.score, gan.residual):
        with pytest.raises(
            ValueError, match="its encoder, which has not begun to learn at image 64: go on with its run"
        ):
            method(batch().image)
    gan.gan_share = 1.0
    with pytest.raises(
        ValueError, match=r"gan_share=1 leaves it no image, so resume=RUN model\.gan_share=0\.5 max_images=128"
    ):
        gan.score(batch().image)
    with pytest.raises(ValueError, match=r"model\.gan_share=0\.5 is a share of the budget: give model\.decay_end="):
        make("f_anogan", *TINY, "model.decay_end=null")
    with pytest.raises(ValueError, match=r"model\.latent_dim=1 is too few"):
        make("f_anogan", "model.latent_dim=1")


def test_a_weights_folder_scores_alike(tmp_path: Path) -> None:
    """With D, which the score looks through, and without any average."""
    gan = untrained("f_anogan", "model.gan_share=0.1")
    gan.images = 128
    folder.write(tmp_path / "weights", weights_of(gan, {}), card="", pictures={})
    again = zoo.load(tmp_path / "weights")
    torch.testing.assert_close(again.score(batch().image), gan.score(batch().image), rtol=1e-5, atol=1e-6)
    assert again.phase == "encoder"


@pytest.mark.slow
def test_it_sees_normal_images_alone_and_the_best_detector_is_kept(small: Small, tmp_path: Path) -> None:
    settings = ["data=digits", "data.normal=[1,4]", "metrics=anomaly", "logger=none", "callbacks.evaluate.every=64"]
    seen: set[int] = set()
    step = zoo.model.f_anogan.FAnoGAN.training_step  # type: ignore[attr-defined]

    def watched(self: Any, batch: LabelledImages, batch_idx: int) -> None:
        seen.update(batch.label.tolist())
        step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.model.f_anogan.FAnoGAN.training_step", watched)
        trainer = train.run(small("f_anogan", *settings, "max_images=192"))
    assert seen == {1, 4}
    evaluate: Any = next(c for c in trainer.callbacks if type(c).__name__ == "Evaluate")  # type: ignore[attr-defined]
    assert evaluate.metric == "auroc"
    assert {"auroc", "auroc_mean", "auroc_0", "average_precision_9"} <= evaluate.history[-1].keys()
    assert evaluate.best["auroc"] == max(row["auroc"] for row in evaluate.rows)
    assert {row["images"] for row in evaluate.rows} == {112, 128, 192} or len(evaluate.rows) < len(evaluate.history)
    files = {path.name for path in (Path(trainer.default_root_dir) / "checkpoints").iterdir()}
    assert {"best.ckpt", "best-gan.ckpt", "last.ckpt"} <= files
    assert same(zoo.load(trainer.default_root_dir).state_dict().keys(), trainer.lightning_module.state_dict().keys())


@pytest.mark.parametrize("data", ["one_class_digits", "digits", "folder", "labelled_folder", "cifar10"])
def test_whatever_the_data_it_is_measured_by_how_well_it_tells_abnormal_images(data: str) -> None:
    """A set of ordinary images brings a distance of samples from it along, which says nothing about that."""
    settings = [f"data={data}", *(["data.root=x"] if "folder" in data or data == "cifar10" else [])]
    assert compose("model=f_anogan", *settings).metrics._target_ == "zoo.metrics.anomaly.AnomalyDetection"
    assert not compose("model=f_anogan", *settings, "metrics=none").metrics
