"""SRGAN: its networks, its two phases, what it compares, and where it begins."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from common import compose, make, same, write_vgg
from omegaconf import DictConfig
from test_resume import Stop, rows, state, with_callback
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import vgg19

import zoo
from train import run
from zoo.batch import LowHigh
from zoo.game.gan import GAN, Turn
from zoo.metrics.super_resolution import Result, SuperResolution
from zoo.model.srgan import SRGAN, Discriminator, Generator, init_icnr
from zoo.networks import vgg
from zoo.run.checkpoint import read

Small = Callable[..., DictConfig]
PAPER = ["model.width=64", "model.blocks=16", "model.skip=none", "model.discriminator_width=64"]
PAPER += ["model.discriminator_dense=1024", "data.patch_size=96"]


def generator(**change: Any) -> Generator:
    settings = {"channels": 3, "scale": 4, "width": 8, "blocks": 2, "norm": "none", "residual_scale": 1.0}
    return Generator(**{**settings, "skip": "none", "icnr": False, **change})


def batch(n: int = 4, scale: int = 2, size: int = 16) -> LowHigh:
    draw = torch.Generator().manual_seed(0)
    high = torch.rand(n, 3, size, size, generator=draw) * 2 - 1
    return LowHigh(F.avg_pool2d(high, scale), high, torch.arange(n))


# Networks.


def test_the_papers_networks() -> None:
    """Figure 4, counted by hand: convolutions, BatchNorm's pairs and PReLU's slopes; D's dense layer sees 6x6x512."""
    model = make("srgan", *PAPER)
    block = 2 * (9 * 64 * 64 + 2 * 64) + 1
    ends = 81 * 3 * 64 + 64 + 1 + 81 * 64 * 3 + 3
    upsampling = 2 * (9 * 64 * 256 + 256 + 1)
    count = lambda network: sum(p.numel() for p in network.parameters())
    assert count(model.G) == 16 * block + 9 * 64 * 64 + 2 * 64 + ends + upsampling == 1_547_350
    sizes = [3, 64, 64, 128, 128, 256, 256, 512, 512]
    convolutions = 9 * 3 * 64 + 64 + sum(9 * sizes[k] * sizes[k + 1] + 2 * sizes[k + 1] for k in range(1, 8))
    assert count(model.D) == convolutions + 6 * 6 * 512 * 1024 + 1024 + 1024 + 1
    strides = [layer[0].stride[0] for layer in model.D.layers]
    assert strides == [1, 2, 1, 2, 1, 2, 1, 2]


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("options", [{}, {"norm": "batch", "skip": "bilinear", "residual_scale": 0.1, "icnr": True}])
def test_every_magnification_of_any_size_and_channels(scale: int, options: dict[str, Any]) -> None:
    for channels, height, width in ((1, 5, 9), (4, 8, 6)):
        image = generator(scale=scale, channels=channels, **options)(torch.randn(2, channels, height, width))
        assert image.shape == (2, channels, scale * height, scale * width)


@pytest.mark.parametrize("size", [16, 24, 33, 96])
@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
def test_the_discriminator_takes_patches_of_any_size(size: int, norm: str) -> None:
    D = Discriminator(channels=3, patch_size=size, width=2, dense=4, norm=norm)
    assert D(torch.randn(2, 3, size, size)).shape == (2,)
    maps = D.maps(torch.randn(2, 3, size, size))
    assert [m.shape[1] for m in maps] == [2, 2, 4, 4, 8, 8, 16, 16]
    assert maps[-1].shape[2] == math.ceil(size / 16)


@pytest.mark.parametrize("factor", [2, 3])
def test_icnr_begins_as_an_enlargement_by_repetition(factor: int) -> None:
    """Whatever the input: shuffled, the layer's output is that of one filter for each map, each pixel repeated."""
    layer = torch.nn.Conv2d(5, 7 * factor**2, 3, padding=1)
    init_icnr(layer, factor)
    x = torch.randn(2, 5, 6, 8)
    shuffled = F.pixel_shuffle(layer(x), factor)
    assert layer.bias is not None
    once = F.conv2d(x, layer.weight[:: factor**2], layer.bias[:: factor**2], padding=1)
    torch.testing.assert_close(shuffled, once.repeat_interleave(factor, 2).repeat_interleave(factor, 3))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("skip", ["none", "bilinear"])
def test_reach_covers_all_that_a_pixel_depends_on(scale: int, skip: str) -> None:
    """By gradients: no input pixel beyond it matters to any pixel of a low-resolution pixel's square."""
    G = generator(scale=scale, skip=skip, width=4, icnr=True)
    low = torch.randn(1, 3, 61, 61, requires_grad=True)
    centre = G(low)[..., 30 * scale : 31 * scale, 30 * scale : 31 * scale]
    centre.square().sum().backward()
    assert low.grad is not None
    touched = (low.grad != 0).any(1)[0].nonzero()
    farthest = int((touched - 30).abs().max())
    assert G.reach - 2 <= farthest <= G.reach


def test_the_skip_adds_the_enlarged_input() -> None:
    G = generator(skip="bilinear")
    torch.nn.init.zeros_(G.leave[-1].weight)  # type: ignore[arg-type]
    torch.nn.init.zeros_(G.leave[-1].bias)  # type: ignore[arg-type]
    low = torch.randn(1, 3, 5, 6)
    torch.testing.assert_close(G(low), F.interpolate(low, scale_factor=4, mode="bilinear"))


# Phases.


class Turns:
    """Notes who moves at which image, by which terms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[int, str, tuple[str, ...]]] = []
        minimize = GAN._minimize

        def noting(model: GAN, turn: Turn, **terms: Tensor) -> None:
            minimize(model, turn, **terms)
            if not turn.skipped:
                self.seen.append((model.images, turn.player, tuple(terms)))

        monkeypatch.setattr(GAN, "_minimize", noting)


@pytest.mark.slow
def test_one_run_has_both_phases(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch)
    run(small("srgan", "max_images=64", "model.pixel_images=32"))
    game = [("D", ("adversarial",)), ("G", ("content", "adversarial", "pixel"))]
    expected = [(16, "G", ("pixel",)), (32, "G", ("pixel",))]
    expected += [(images, *move) for images in (48, 64) for move in game]
    assert turns.seen == expected


@pytest.mark.slow
def test_a_run_that_is_killed_after_the_switch_goes_on_from_before_it(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, the books and the best checkpoints of both phases too."""
    settings = ["max_images=160", "model.pixel_images=64", "callbacks.checkpoints.every=48"]
    settings += ["metrics=super_resolution", "callbacks.evaluate.every=48", "data.jpeg=[40,90]"]
    straight, broken = (small("srgan", *settings, f"run_dir={tmp_path / name}") for name in ("straight", "broken"))
    monkeypatch.setattr(SuperResolution, "evaluate", evaluated_by_weights)  # whole images take their time
    run(straight)
    with monkeypatch.context() as patch:
        patch.setattr(L.Trainer, "__init__", with_callback(Stop(80), L.Trainer.__init__))
        with pytest.raises(InterruptedError):
            run(broken)
    assert read(f"{broken.run_dir}/checkpoints/last.ckpt")["zoo"]["images"] == 48
    broken.resume = "here"
    run(broken)
    a, b = state(straight), state(broken)
    for part in a:
        assert same(a[part], b[part]), part
    assert rows(straight) == rows(broken)
    for name in ("best", "best-pixel"):
        of_both = [read(f"{cfg.run_dir}/checkpoints/{name}.ckpt")["state_dict"] for cfg in (straight, broken)]
        assert same(*of_both), name


def evaluated_by_weights(self: SuperResolution, preview: Any, data: Any, **kwargs: Any) -> Result:
    fake = preview(next(iter(data.evaluation_loader(split="test", num=2))))["samples"].fake
    return Result({"psnr_y": fake.mean().item()}, {"split": "test"})


@pytest.mark.slow
@pytest.mark.parametrize(("pixel_images", "players"), [(0, {"D", "G"}), (64, {"G"})])
def test_each_phase_alone(pixel_images: int, players: set[str], small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch)
    run(small("srgan", "max_images=64", f"model.pixel_images={pixel_images}"))
    assert {player for _, player, _ in turns.seen} == players


@pytest.mark.slow
def test_critics_turns_and_skips(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch)
    run(small("srgan", "max_images=64", "model.pixel_images=0", "model.n_critic=2"))
    assert [player for _, player, _ in turns.seen] == ["D", "D", "G", "D", "D", "G"]
    turns.seen.clear()
    skips = ["max_images=32", "model.pixel_images=0", "model.skip_d_above=0.001", f"run_dir={tmp_path / 'b'}"]
    trainer = run(small("srgan", *skips))
    assert {player for _, player, _ in turns.seen} == {"G"}
    assert trainer.lightning_module.turns["D"] == 2  # type: ignore[union-attr]


def test_rates_fall_in_steps_of_images() -> None:
    model = make("srgan", "model.lr_steps=[100,300]", "model.lr_gamma=0.1", "model.decay_start=400", "max_images=500")
    rates = [model.lr_scale("G", images) for images in (0, 99, 100, 299, 300, 450, 500)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.005, 0])


# The perceptual loss.


def prepared(*overrides: str) -> SRGAN:
    small = ["data.scale=2", "data.patch_size=16", "model.width=4", "model.blocks=1", "model.discriminator_width=2"]
    return make("srgan", *small, "model.discriminator_dense=4", *overrides)


def test_the_perceptual_loss_is_its_terms() -> None:
    """Eq. (3), with D's maps recomputed one by one; and G's error in pixels."""
    model = prepared("model.weights.pixel=0.5", "model.weights.content=2.0").eval()
    low, high, _ = batch()
    fake = model.G(low)
    terms = model.perceptual(fake, high)
    content, a, b = 0.0, fake, high
    for layer in model.D.layers:
        a, b = layer(a), layer(b)
        content = content + (a - b).abs().mean() / len(model.D.layers)
    torch.testing.assert_close(terms["content"], 2.0 * content)
    torch.testing.assert_close(terms["adversarial"], 1e-3 * F.softplus(-model.D(fake)).mean())
    torch.testing.assert_close(terms["pixel"], 0.5 * (fake - high).square().mean())
    assert "pixel" not in prepared("model.weights.pixel=0.0").perceptual(fake, high)


def test_content_of_pixels_and_the_absolute_error() -> None:
    model = prepared("model.content=pixel", "model.pixel=l1", "model.weights.content=1.0").eval()
    model.on_fit_start()
    low, high, _ = batch()
    fake = model.G(low)
    torch.testing.assert_close(model.perceptual(fake, high)["content"], (fake - high).abs().mean())


def test_relativistic_pairing_meets_row_by_row() -> None:
    model = prepared("loss=relativistic_pairing").eval()
    low, high, _ = batch()
    fake = model.G(low)
    expected = 1e-3 * F.softplus(model.D(high) - model.D(fake)).mean()
    torch.testing.assert_close(model.perceptual(fake, high)["adversarial"], expected)


# VGG19, with weights of our own.


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vgg("vgg19", tmp_path_factory.mktemp("vgg") / "vgg19.pth")


def test_vgg_is_torchvisions_up_to_its_layer(weights: Path) -> None:
    """phi_54: its sixteenth convolution, activated, of ImageNet's normalised RGB."""
    network = vgg.load(str(weights))
    with torch.device("meta"):
        layers = vgg19().features[:36]
    layers.to_empty(device="cpu").load_state_dict(
        {name.removeprefix("features."): value for name, value in torch.load(weights).items()}
    )
    image = torch.rand(2, 3, 32, 48)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = layers((image - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    assert isinstance(layers[34], torch.nn.Conv2d)
    assert expected.shape == (2, 512, 2, 3)
    torch.testing.assert_close(network(image * 2 - 1), expected)
    grey = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(network(grey), network(grey.expand(-1, 3, -1, -1)))


@pytest.mark.slow
def test_content_of_vgg(weights: Path) -> None:
    model = prepared("model.content=vgg", f"model.vgg_weights={weights}", "model.weights.content=1.0").eval()
    model.on_fit_start()
    low, high, _ = batch(2)
    fake = model.G(low)
    phi = vgg.load(str(weights))
    expected = (phi(fake) - phi(high)).square().mean() / 12.75**2
    content = model.perceptual(fake, high)["content"]
    torch.testing.assert_close(content, expected)
    gradient = torch.autograd.grad(content, next(model.G.parameters()))[0]
    assert gradient.abs().sum() > 0


@pytest.mark.slow
def test_vgg_is_in_no_checkpoint_and_no_player(weights: Path, small: Small) -> None:
    cfg = small("srgan", "model.content=vgg", f"model.vgg_weights={weights}", "max_images=32")
    model = run(cfg).lightning_module
    assert isinstance(model, SRGAN)
    assert len(model.phi) == 1
    assert not any(parameter.requires_grad for parameter in model.phi[0].parameters())
    checkpoint = read(f"{cfg.run_dir}/checkpoints/last.ckpt")
    assert {name.split(".")[0] for name in checkpoint["state_dict"]} == {"G", "D", "G_ema"}
    weights_again = zoo.load(cfg.run_dir).state_dict()  # and none is asked for
    assert same(weights_again, model.state_dict())


@pytest.mark.slow
def test_weights_that_can_not_be_had_end_the_run_before_its_first_step(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(monkeypatch)

    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(ValueError, match=r"no network.*vgg19-dcbb9e9d\.pth.*model\.content=discriminator"):
        run(small("srgan", "model.content=vgg"))
    with pytest.raises(ValueError, match=r"no such file: nowhere"):
        run(small("srgan", "model.content=vgg", "model.vgg_weights=nowhere", f"run_dir={tmp_path / 'b'}"))
    (tmp_path / "wrong.pth").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"does not hold the weights of torchvision's VGG19"):
        vgg.load(str(tmp_path / "wrong.pth"))
    assert not turns.seen


def test_the_download_is_torchvisions() -> None:
    from torchvision.models import VGG19_Weights

    assert VGG19_Weights.IMAGENET1K_V1.url == vgg.URL
    normalisation = VGG19_Weights.IMAGENET1K_V1.transforms()
    assert (tuple(normalisation.mean), tuple(normalisation.std)) == (vgg.MEAN, vgg.STD)


# Where it begins.


@pytest.mark.slow
def test_the_second_phase_begins_with_another_runs_first(small: Small, tmp_path: Path) -> None:
    first = small("srgan", "model.pixel_images=128", f"run_dir={tmp_path / 'first'}")
    srresnet = run(first).lightning_module
    settings = [f"start={first.run_dir}", "model.lr.G=0", "model.pixel_images=0", "max_images=32"]
    second = small("srgan", *settings, f"run_dir={tmp_path / 'second'}")
    srgan = run(second).lightning_module
    assert same(dict(srgan.G.named_parameters()), dict(srresnet.G.named_parameters()))  # type: ignore[union-attr]
    assert not same(srgan.D.state_dict(), srresnet.D.state_dict())  # type: ignore[union-attr]


# What is seen, and what is refused.


def test_the_preview_shows_bicubic_result_and_truth() -> None:
    model = prepared()
    low, high, index = batch()
    shown = model.preview(LowHigh(low, high, index))["samples"]
    assert shown.target is high
    bicubic, fake, real = shown.panel
    assert fake is shown.fake
    assert real is high
    assert torch.equal(fake, model.G_ema(low).clamp(-1, 1))
    middle = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    from zoo.data.degradation import enlarge

    torch.testing.assert_close(bicubic[middle], enlarge(low, 2).clamp(-1, 1)[middle], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_best_checkpoints_of_both_phases(small: Small) -> None:
    """The first phase is measured at its last image too, which is no multiple of 128."""
    settings = ["metrics=super_resolution", "callbacks.evaluate.every=128", "model.pixel_images=70"]
    cfg = small("srgan", *settings)
    run(cfg)
    folder = Path(cfg.run_dir, "checkpoints")
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "best-pixel.ckpt", "last.ckpt"}
    assert read(folder / "best-pixel.ckpt")["zoo"]["images"] == 64  # the next batch ends beyond 70
    assert read(folder / "best.ckpt")["zoo"]["images"] == 128  # without LPIPS the newest
    report = Path(cfg.run_dir, "report.md").read_text()
    assert "| psnr_y |" in report


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.scale=5", r"data\.scale=5|model\.scale=5"),
        ("model.norm=layer", r"model\.norm=layer must be one of batch, none"),
        ("model.pixel=l3", r"model\.pixel=l3"),
        ("model.content=style", r"model\.content=style must be one of vgg, discriminator, pixel"),
        ("model.n_critic=0", r"model\.n_critic=0"),
        ("model.skip=long", r"model\.skip=long"),
        ("model.patch_size=17", r"model\.patch_size=17 is no multiple"),
    ],
)
def test_wrong_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("srgan", override)


def test_the_papers_settings_compose() -> None:
    """Every figure of section 3.2 can be said on the command line."""
    paper = [*PAPER, "model.content=vgg", "model.weights={pixel: 0.0, content: 1.0, adversarial: 0.001}"]
    cfg = compose("model=srgan", *paper, "model.pixel_images=16_000_000", "model.lr_steps=[17_600_000]")
    assert cfg.data.batch_size == 16
    assert cfg.model.lr == {"D": 1e-4, "G": 1e-4}
