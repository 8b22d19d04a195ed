"""Style transfer in one pass: the objective of the paper, a game of one player, its network, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import lightning as L
import numpy as np
import pytest
import torch
from common import Batches, make, same, train_on
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import zoo
from train import run
from zoo.batch import LabelledImages
from zoo.cli import app
from zoo.model.style_transfer import Generator, StyleTransfer
from zoo.networks import perceptual
from zoo.networks.perceptual import CLASSIFIER, JOHNSON
from zoo.run.checkpoint import read

Small = Callable[..., DictConfig]
TINY = ["data.image_size=16", "model.width=4", "model.blocks=1", "model.style_size=null"]


def images(n: int = 2, *, c: int = 3, size: tuple[int, int] = (16, 16)) -> LabelledImages:
    image = torch.rand(n, c, *size, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return LabelledImages(image, torch.zeros(n, dtype=torch.int64), torch.arange(n))


def style_image(c: int = 3) -> Tensor:
    return torch.rand(1, c, 40, 36, generator=torch.Generator().manual_seed(4)).round() * 2 - 1


@pytest.fixture
def with_style(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of tests come with a style image."""
    monkeypatch.setattr(Batches, "picture", lambda self, name, channels: style_image(channels), raising=False)


def test_the_terms_are_the_papers(with_style: None) -> None:
    """Eq. (5) by the formulas, layer by layer, and Adam's first step on its gradient."""
    torch.manual_seed(0)
    model: Any = make("style_transfer", *TINY, "model.weights={content: 2, style: 7, total_variation: 0.5}")
    before = {name: value.clone() for name, value in model.G.named_parameters()}
    batch, features = images(), perceptual.load(CLASSIFIER, None, setting="", choice="")
    x, layers = batch.image, JOHNSON[CLASSIFIER]
    y = model.G(x)
    F, P, S = (features(image, layers.style) for image in (y, x, style_image()))
    content = (F["residual1"] - P["residual1"]).square().mean() / S["residual1"].square().mean()
    parts = []
    for name in layers.style:
        of_style = torch.einsum("nihw,njhw->nij", S[name], S[name]) / S[name].numel()
        of_images = torch.einsum("nihw,njhw->nij", F[name], F[name]) / F[name][0].numel()
        parts.append(((of_images - of_style) ** 2).sum((1, 2)).mean() / (of_style**2).sum())
    style = torch.stack(parts).mean()
    down, right = y[:, :, 1:] - y[:, :, :-1], y[:, :, :, 1:] - y[:, :, :, :-1]
    smooth = (down.square().sum() + right.square().sum()) / y.numel()
    gradient = torch.autograd.grad(2 * content + 7 * style + 0.5 * smooth, list(model.G.parameters()))
    train_on(model, [batch])
    expected = {f"content_{CLASSIFIER}": 2 * content, f"style_{CLASSIFIER}": 7 * style, "total_variation": smooth / 2}
    for name, value in expected.items():
        assert model.run_log.latest[f"G/{name}"] == pytest.approx(value.item(), rel=1e-3), name
    norm = torch.stack([g.square().sum() for g in gradient]).sum().sqrt().item()
    assert model.run_log.latest["G/grad_norm"] == pytest.approx(norm, rel=1e-3)
    for (name, value), g in zip(model.G.named_parameters(), gradient, strict=True):
        clear = g.abs() > 1e-3 * norm  # Adam's first step is the sign's, whatever there is of rounding
        torch.testing.assert_close(value[clear], (before[name] - 1e-3 * g.sign())[clear], rtol=0, atol=2e-5, msg=name)


def test_it_learns_its_style(with_style: None) -> None:
    torch.manual_seed(0)
    model: Any = make("style_transfer", *TINY, "model.weights.content=0.1", "model.lr.G=0.005")
    train_on(model, [images()])
    first = model.run_log.latest[f"G/style_{CLASSIFIER}"]
    train_on(model, [images()] * 40)
    assert model.run_log.latest[f"G/style_{CLASSIFIER}"] < 0.6 * first


def test_a_game_of_one_player(with_style: None) -> None:
    model: Any = make("style_transfer", *TINY)
    assert model.critic is None
    assert model.critics() == []
    assert list(model.deployed()) == ["G"]
    train_on(model, [images()] * 3)
    assert model.turns == {"G": 3}
    assert model.critique(images()) == {}
    for override, said in (
        ("loss=hinge", r"model\.loss=hinge acts on a discriminator, and StyleTransfer has none"),
        ("model.n_critic=2", r"model\.n_critic=2 acts on a discriminator"),
        ("model.lr.D=0.001", r"model\.lr\.D=0\.001 acts on a player D, and StyleTransfer has G alone: leave it out"),
        ("model.skip_d_above=0.9", r"model\.skip_d_above=0\.9 acts on"),
    ):
        with pytest.raises(ValueError, match=said):
            make("style_transfer", *TINY, override).configure_optimizers()


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
@pytest.mark.parametrize("norm", ["instance", "instance_affine", "batch"])
def test_the_network_keeps_any_size(norm: str, upsampling: str) -> None:
    model: Any = make("style_transfer", *TINY, f"model.norm={norm}", f"model.upsampling={upsampling}")
    for size in ((1, 5), (17, 31), (40, 16)):
        made = model.translate(torch.rand(2, 3, *size) * 2 - 1)
        assert made.shape == (2, 3, *size)
        assert made.abs().max() <= 1
    assert (model.reach is None) == (norm != "batch")


def test_the_papers_network() -> None:
    """Table 1 of the supplement: 9x9x32, 3x3x64, 3x3x128, five blocks of 128, 3x3x64, 3x3x32, 9x9x3."""
    G = Generator(3, 32, 5, "batch", "transposed")
    shapes = [tuple(p.shape) for name, p in G.named_parameters() if p.dim() == 4]
    assert shapes[:3] == [(32, 3, 9, 9), (64, 32, 3, 3), (128, 64, 3, 3)]
    assert shapes[3:13] == [(128, 128, 3, 3)] * 10
    assert shapes[13:] == [(128, 64, 3, 3), (64, 32, 3, 3), (3, 32, 9, 9)]  # transposed: in, out


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_reach_covers_all_that_a_pixel_depends_on(upsampling: str) -> None:
    G = Generator(3, 4, 2, "batch", upsampling).eval()
    image = torch.rand(1, 3, 160, 160, requires_grad=True)
    farthest = 0
    for at in range(80, 84):
        (gradient,) = torch.autograd.grad(G(image)[:, :, at, at].sum(), image)
        touched = (gradient != 0).any(1)[0].nonzero()
        farthest = max(farthest, int((touched - at).abs().max()))
    assert G.reach is not None
    assert G.reach - 8 <= farthest <= G.reach
    assert G.reach % 4 == 0


def test_in_tiles_it_is_the_same() -> None:
    model: Any = make("style_transfer", *TINY, "model.norm=batch").eval()
    image = torch.rand(1, 3, 101, 70) * 2 - 1
    torch.testing.assert_close(model.translate(image, tile=24), model.translate(image), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="direction='Y->X' must be X->Y"):
        model.translate(image, "Y->X")


@pytest.mark.slow
def test_a_run_on_a_folder_goes_on_bit_for_bit_and_translates(tmp_path: Path) -> None:
    """data=folder, a style of one's own, a checkpoint without features, `zoo translate` at another size."""
    draw = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for i in range(9):
        Image.fromarray(draw.integers(0, 256, (21, 30, 3), dtype=np.uint8)).save(tmp_path / "in" / f"{i}.png")
    Image.fromarray(draw.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(tmp_path / "look.png")

    def settings(name: str, *more: str) -> DictConfig:
        own = [f"data.root={tmp_path / 'in'}", f"model.style_file={tmp_path / 'look.png'}", "data.batch_size=4"]
        quick = ["model=style_transfer", "logger=csv", "trainer=cpu", "data=folder", "data.image_size=16", *TINY[1:3]]
        return common.compose(
            *quick, *own, "callbacks.report.overrides=[]", f"run_dir={tmp_path / name}", "max_images=24", *more
        )

    straight, broken = settings("straight"), settings("broken", "max_images=12")
    assert straight.metrics == {}
    run(straight)
    run(broken)
    run(settings("broken", "resume=here"))
    a, b = (read(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("straight", "broken"))
    for part in ("state_dict", "optimizer_states"):
        assert same(a[part], b[part]), part
    assert {name.split(".")[0] for name in a["state_dict"]} == {"G"}
    (tmp_path / "look.png").unlink()  # a trained model does without
    model: Any = zoo.load(straight.run_dir)
    assert isinstance(model, StyleTransfer)
    line = ["translate", str(straight.run_dir), str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, line, catch_exceptions=False)
    assert result.output.startswith("9 of 9 images translated X->Y")
    with Image.open(tmp_path / "out" / "3.png") as image:
        assert image.size == (30, 21)
    report = Path(straight.run_dir, "report.md").read_text()
    assert f"style_{CLASSIFIER}" in (Path(straight.run_dir, "metrics.csv")).read_text()
    assert "vgg" not in report.lower().replace("vgg_weights", "")


def test_what_is_no_style_ends_the_run_before_its_first_step(small: Small, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (9, 99, 9)).save(tmp_path / "uniform.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    (tmp_path / "text.png").write_text("no picture")
    for number, (file, said) in enumerate(
        {
            tmp_path / "uniform.png": r"model\.style_file=.*uniform\.png is of one colour, which is no style",
            tmp_path / "dot.png": r"dot\.png has 1x1 pixels, too few to have a style: give a picture of 32 a side",
            tmp_path / "text.png": r"text\.png",
            tmp_path / "nowhere.png": r"nowhere\.png is no file, and no photograph that comes with the package",
            "null": r"name the picture whose style is learnt, model\.style_file=FILE",
        }.items()
    ):
        folder = tmp_path / f"run{number}"
        with pytest.raises(ValueError, match=said):
            run(small("style_transfer", f"model.style_file={file}", f"run_dir={folder}"))
        assert not list(folder.glob("checkpoints/*"))


def test_settings_that_make_no_sense() -> None:
    for override, said in (
        ("data.image_size=12", r"image_size=12x12 is less than the 13 pixels a side that model\.features=cifar10_"),
        ("data.channels=4", r"images of 1 or 3 channels, not 4"),
        ("model.features=vgg11", r"model\.features=vgg11 must be one of"),
        ("model.vgg_weights=x", r"model\.vgg_weights=x has no effect with model\.features=cifar10_classifier"),
        ("model.weights.style=0", r"model\.weights\.style=0"),
        ("model.weights.content=-1", r"model\.weights\.content=-1(.0)? must not be negative"),
        ("model.norm=layer", r"model\.norm=layer must be one of"),
    ):
        with pytest.raises(ValueError, match=said):
            make("style_transfer", override)
    L.seed_everything(0, verbose=False)
    with pytest.raises(ValueError, match="on single images, and data=colour_digits gives images of two domains"):
        make("style_transfer", "data=colour_digits")


def test_weights_that_can_not_be_had(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(ValueError, match=r"vgg16-397923af\.pth.*model\.features=cifar10_classifier"):
        run(small("style_transfer", "model.features=vgg16"))
    with pytest.raises(ValueError, match=r"no such file: nowhere \(model\.vgg_weights\)"):
        run(small("style_transfer", "model.features=vgg19", "model.vgg_weights=nowhere", f"run_dir={tmp_path / 'b'}"))
