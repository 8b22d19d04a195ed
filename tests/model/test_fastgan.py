"""FastGAN: excitation, what D draws of what it saw, and its sizes."""

from pathlib import Path

import pytest
import torch
from common import SMALL, make, train_on
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.batch import LabelledImages
from zoo.model import fastgan
from zoo.model.fastgan import Discriminator, Excite, FastGAN, Generator, quarter
from zoo.networks.vgg import VGG
from zoo.run.config import compose


def gan(*overrides: str) -> FastGAN:
    torch.manual_seed(0)
    return make("fastgan", *SMALL["fastgan"], *overrides)  # type: ignore[no-any-return]


def batch(n: int = 4, *, channels: int = 1, size: tuple[int, int] = (64, 64)) -> LabelledImages:
    torch.manual_seed(n)
    return LabelledImages(torch.rand(n, channels, *size) * 2 - 1, torch.arange(n) % 10, torch.arange(n))


@pytest.mark.parametrize(
    ("size", "small", "excited"),
    [
        ((64, 64), (32, 32), ["64"]),
        ((96, 64), (48, 32), ["64"]),
        ((128, 128), (64, 64), ["64", "128"]),
        ((256, 256), (128, 128), ["64", "128", "256"]),
        ((512, 512), (128, 128), ["64", "128", "256", "512"]),
    ],
)
def test_shapes(size: tuple[int, int], small: tuple[int, int], excited: list[str]) -> None:
    """Figure 3's excitations, and both of D's paths end in maps of 8 pixels: as many logits from each."""
    with torch.device("meta"):
        G = Generator(latent_dim=3, shape=(2, *size), width=1)
        D = Discriminator(shape=(2, *size), width=1, small=G.small, decoder_width=1)
        image, of_half = G(torch.randn(2, 3))
        logits, drawn = D(image, of_half, torch.tensor(1))
    assert list(G.skips) == excited
    assert (image.shape, of_half.shape) == ((2, 2, *size), (2, 2, *small))
    end = [8 * side // min(size) for side in size]
    assert logits.shape == (2, 2 * (end[0] - 3) * (end[1] - 3))
    assert [part.shape for part in drawn] == [(2, 2, *small)] * 3


def test_widths_are_those_of_the_authors_networks_at_256_pixels() -> None:
    """Their tables of multipliers, nfc_multi: of G by resolution, of D by their names, half a step apart."""
    with torch.device("meta"):
        G = Generator(latent_dim=256, shape=(3, 256, 256), width=64)
        D = Discriminator(shape=(3, 256, 256), width=64, small=128, decoder_width=32)
    assert [up.units[-1].norm.num_features // 2 for up in G.ups.values()] == [512, 256, 128, 128, 64, 32]
    assert G.norm.num_features == 2 * 1024
    assert D.enter[0].weight.shape == (16, 3, 3, 3)
    assert [down.direct[1].out_channels for down in D.downs] == [32, 64, 128, 256, 512]
    assert [layer.out_channels for layer in D.of_small if isinstance(layer, nn.Conv2d)] == [32, 64, 128, 256]
    assert [(skip[1].in_channels, skip[1].out_channels) for skip in D.skips] == [(16, 128), (32, 256), (64, 512)]
    assert [up.units[0].norm.num_features // 2 for up in D.decode if isinstance(up, fastgan.Up)] == [128, 64, 64, 32]


def test_excitation_by_hand() -> None:
    """Eq. (1): pooled to 4x4, a convolution of 4x4, Swish, one of 1x1, a sigmoid; it scales whole channels."""
    torch.manual_seed(0)
    excite, low, high = Excite(3, 5), torch.randn(2, 3, 8, 8), torch.randn(2, 5, 16, 16)
    pooled = low.view(2, 3, 4, 2, 4, 2).mean((3, 5))
    h = torch.einsum("nchw,dchw->nd", pooled, excite[1].weight)
    h = (h * h.sigmoid()) @ excite[3].weight[:, :, 0, 0].T
    torch.testing.assert_close(excite(low, high), high * h.sigmoid()[:, :, None, None])


@pytest.mark.slow
def test_the_small_resolution_excites_the_large_one() -> None:
    """Where the excitation is closed, nothing comes through; and it sees the map of 4 pixels."""
    model = gan().eval()
    seen = []
    model.G.skips["64"].register_forward_hook(lambda layer, inputs, output: seen.append((inputs, output)))
    model.G(torch.randn(2, 8))
    (low, high), output = seen[0]
    assert (low.shape[2:], high.shape[2:], output.shape) == ((4, 4), (64, 64), high.shape)
    gate = output / high
    assert gate.std((2, 3)).max() < 1e-3


def test_quarters() -> None:
    x = torch.arange(2 * 4 * 6.0).view(1, 2, 4, 6)
    expected = [x[:, :, :2, :3], x[:, :, :2, 3:], x[:, :, 2:, :3], x[:, :, 2:, 3:]]
    for part, value in enumerate(expected):
        assert torch.equal(quarter(x, torch.tensor(part)), value)


@pytest.mark.slow
def test_d_draws_the_image_its_small_form_and_a_quarter_that_it_saw() -> None:
    """The term by hand, of the augmented images that D saw; the quarters take turns."""
    model = gan("augment=diffaugment", "model.reconstruction_weight=2", "model.lr.D=0")
    shown: list[Tensor] = []
    calls = []
    model.T.register_forward_hook(lambda layer, inputs, output: shown.append(output))
    model.D.register_forward_hook(lambda layer, inputs, output: calls.append((inputs, output)))
    train_on(model, [batch()])
    (inputs, (_, drawn)) = calls[0]
    real, part = shown[0], inputs[2]
    assert inputs[0] is real
    assert part.item() == 1  # of the first turn
    targets = [F.avg_pool2d(real, 2), F.avg_pool2d(real, 2), real[:, :, :32, 32:]]
    total = 0.0
    for image, target in zip(drawn, targets, strict=True):
        levels = [(F.avg_pool2d(image, k) - F.avg_pool2d(target, k)).abs().mean().item() for k in (1, 2, 4)]
        total += sum(levels) / 3
    assert model.run_log.latest["D/reconstruction"] == pytest.approx(2 * total, rel=1e-4)
    assert [len(output[1]) for _, output in calls] == [3, 0, 0]  # fakes are not drawn, and not in G's turn
    parts = {model.turns.update(D=k) or model.part().item() for k in range(4)}  # type: ignore[union-attr]
    assert parts == {0, 1, 2, 3}


@pytest.mark.slow
def test_without_the_task() -> None:
    model = gan("model.reconstruction_weight=0")
    train_on(model, [batch()])
    assert "D/reconstruction" not in model.run_log.latest


@pytest.mark.slow
def test_d_learns_to_draw() -> None:
    """On two images alone, more is drawn of them than before."""
    model = gan("augment=none", "model.width=4", "model.decoder_width=4", "model.lr.D=0.002")
    x = torch.zeros(2, 1, 64, 64)
    x[0, :, :32], x[1, :, :, 20:] = 1.0, -1.0
    rows = LabelledImages(x, torch.zeros(2, dtype=torch.int64), torch.arange(2))
    train_on(model, [rows])
    first = model.run_log.latest["D/reconstruction"]
    train_on(model, [rows] * 15)
    assert model.run_log.latest["D/reconstruction"] < 0.7 * first


def test_distance_of_features() -> None:
    """LPIPS with weights of 1: by hand, from the layers of torchvision's numbering."""
    torch.manual_seed(0)
    network = VGG()
    a, b = torch.rand(2, 1, 32, 32) * 2 - 1, torch.rand(2, 1, 32, 32) * 2 - 1
    ends, expected = (3, 8, 17, 26, 35), 0.0  # the ReLUs before the poolings, and the last
    x, y = (((i.expand(-1, 3, -1, -1) + 1) / 2 - network.mean) / network.std for i in (a, b))
    for end in ends:
        x_end, y_end = network.features[: end + 1](x), network.features[: end + 1](y)
        x_end, y_end = (h / h.norm(dim=1, keepdim=True).clamp(min=1e-10) for h in (x_end, y_end))
        expected += (x_end - y_end).square().sum(1).mean().item()
    assert fastgan.feature_distance(network, a, b).item() == pytest.approx(expected, rel=1e-4)
    assert fastgan.feature_distance(network, a, a).item() == 0


@pytest.mark.slow
def test_noise_is_drawn_in_training_and_fixed_in_use() -> None:
    model = gan().train()
    with torch.no_grad():
        for name, parameter in model.G.named_parameters():
            if name.endswith("noise.weight"):
                parameter.fill_(1.0)
    model.eval()
    z = torch.randn(2, 8)
    assert torch.equal(model.G(z)[0], model.G(z)[0])
    one, other = model.noise(2), model.noise(2)
    assert {r: tuple(h.shape for h in pair) for r, pair in one.items()} == {
        "8": ((2, 1, 8, 8),) * 2,
        "32": ((2, 1, 32, 32),) * 2,
    }
    assert not torch.equal(model.G(z, one)[0], model.G(z, other)[0])


@pytest.mark.slow
def test_sentences() -> None:
    for overrides, sentence in {
        ("data.image_size=32",): r"image_size=32x32 does not fit these networks, which begin at 64 pixels: set data",
        ("data.image_size=80",): r"image_size=80x80 does not fit these networks: .*try data\.image_size=64",
        ("data.image_size=1024",): r"does not fit these networks: .* must be 64, 128, 256 or 512 .*image_size=512",
        ("model.reconstruction=vgg", "data=folder", "data.root=x", "data.image_size=64", "data.channels=4"): (
            "reconstruction=vgg looks at grey or RGB images, not at 4 channels"
        ),
        ("model.vgg_weights=x.pth",): r"x.pth has no effect with model\.reconstruction=pixels: set it to vgg",
        ("model.reconstruction=lpips",): r"model\.reconstruction='?lpips'? must be one of pixels, vgg",
        ("regularizer=gradient_penalty",): "BatchNorm mixes the images",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            gan(*overrides)


@pytest.mark.slow
def test_weights_of_vgg_are_looked_for_before_training_and_are_no_part_of_the_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such file: nowhere\.pth"):
        gan("model.reconstruction=vgg", "model.vgg_weights=nowhere.pth").prepare_data()
    torch.manual_seed(0)
    torch.save(VGG().state_dict(), tmp_path / "vgg.pth")
    model = gan("model.reconstruction=vgg", f"model.vgg_weights={tmp_path / 'vgg.pth'}")
    train_on(model, [batch()])
    assert model.run_log.latest["D/reconstruction"] > 0
    assert len(model.phi) == 1
    assert not [name for name in model.state_dict() if "phi" in name or "features.34" in name]


def test_batches_are_small_without_being_asked() -> None:
    """Whatever the set: with few images and a small budget large ones leave too few steps."""
    assert compose("model=fastgan", "data=folder", "data.root=x").data.batch_size == 8
