"""R3GAN: its networks held against the authors' table, its beginning, its resampling, and what burns in."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from common import SMALL, make, train_on
from hydra.utils import instantiate
from torch import Tensor
from torch.nn import functional as F

from zoo.batch import LabelledImages
from zoo.game.schedule import BurnIn
from zoo.model.r3gan import R3GAN, Block, Discriminator, Generator
from zoo.networks.style import blur, up2
from zoo.run.config import compose


def gan(*overrides: str) -> R3GAN:
    torch.manual_seed(0)
    return make("r3gan", *SMALL["r3gan"], *overrides)  # type: ignore[no-any-return]


def batch(n: int = 8, *, channels: int = 1, size: tuple[int, int] = (16, 16)) -> LabelledImages:
    torch.manual_seed(n)
    return LabelledImages(torch.rand(n, channels, *size) * 2 - 1, torch.arange(n) % 10, torch.arange(n))


# Networks -------------------------------------------------------------------------------------------------------------


def counted(widths: list[int], groups: list[int], classes: int) -> tuple[int, int]:
    """Parameters of G and of D by the authors' presets: width and cardinality of each stage, two blocks a stage,
    expansion 2, z of 64, classes embedded in 64 numbers for G and in as many as the last stage has for D."""
    blocks = 0
    for width, cardinality in zip(widths, groups, strict=True):
        wide = 2 * width
        blocks += 2 * (width * wide + wide * (wide // cardinality) * 9 + wide * width + 2 * wide)
    changes = sum(a * b for a, b in pairwise(widths) if a != b)
    embedded = 64 if classes else 0
    G = blocks + changes + widths[0] * 16 + (64 + embedded) * widths[0] + widths[-1] * 3 + classes * embedded
    D = blocks + changes + widths[0] * 16 + widths[0] * (widths[0] if classes else 1) + 3 * widths[-1]
    return G, D + classes * widths[0]


# The authors' presets: how they are had here, width and cardinality of each stage, classes; and the size in GB of the
# snapshot that they published, which holds G, its average and D, and two moments of Adam for each weight of G and D.
CLASSES = {10: "[" + ",".join("abcdefghij") + "]", 1_000: "[" + ",".join(f"c{k}" for k in range(1_000)) + "]"}
FACES = ["experiment=r3gan_ffhq64", "data.root=x"]
WIDE = ["model.conditional=true", "model.channel_max=1536", "model.channel_base=98304", "model.group_width=32"]
PRESETS: dict[str, tuple[list[str], list[int], list[int], int, float | None]] = {
    "CIFAR10": (["experiment=r3gan_cifar10", "data.root=x"], [768] * 4, [96] * 4, 10, None),
    "FFHQ-64": (FACES, [768] * 4 + [384], [96] * 4 + [48], 0, None),
    "FFHQ-256": ([*FACES, "data.image_size=256"], [768] * 4 + [384, 192, 96], [96] * 4 + [48, 24, 12], 0, 0.645),
    "ImageNet-32": ([*FACES, "data.image_size=32", *WIDE], [1536] * 4, [96] * 4, 1_000, 2.37),
    "ImageNet-64": ([*FACES, *WIDE], [1536] * 5, [96] * 5, 1_000, 2.94),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_as_many_parameters_as_the_authors_networks(preset: str) -> None:
    overrides, widths, groups, classes, published = PRESETS[preset]
    named = [f"model.classes={CLASSES[classes]}"] if classes else []
    with torch.device("meta"):
        model = make_recipe(*overrides, *named)
    G, D = (sum(p.numel() for p in network.parameters()) for network in (model.G, model.D))
    assert counted(widths, groups, classes) == (G, D)
    if published is not None:
        snapshot = (4 * G + 3 * D) * 4 / 1e9  # bytes of float32
        assert snapshot == pytest.approx(published, rel=0.01)


def make_recipe(recipe: str, *overrides: str) -> R3GAN:
    cfg = compose(recipe, *overrides, "run_dir=x", "callbacks.report.overrides=[]", "logger=none")
    return instantiate(cfg.model, _convert_="all")  # type: ignore[no-any-return]


def test_recipes_have_the_authors_schedules() -> None:
    """Begin and end of the rates, beta2, gamma, the average's half-life and the augmentation's probability."""
    expected = {
        "r3gan_cifar10": [0.0002, 5e-5, 0.9, 0.99, 0.05, 0.005, 0, 5_000_000, 0, 0.55],
        "r3gan_ffhq64": [0.0002, 5e-5, 0.9, 0.99, 2.0, 0.2, 0, 500_000, 0, 0.3],
    }
    for recipe, values in expected.items():
        with torch.device("meta"):
            names = [f"model.classes={CLASSES[10]}"] if "cifar" in recipe else []
            model = make_recipe(f"experiment={recipe}", "data.root=x", *names)
        game, end = model.game, model.burn_in
        assert end is not None
        assert end.images == 20_000_000
        assert game["betas"][0] == 0
        assert game["regularizer"] is not None
        assert game["augment"] is not None
        found = [game["lr"]["D"], game["lr"]["D"] * end.lr, game["betas"][1], end.beta2]
        found += [game["regularizer"]["r2"], game["regularizer"]["r1"] * end.penalties]
        found += [game["ema_half_life"], end.ema_half_life, game["augment"]["probability"], end.augment]
        assert found == pytest.approx(values)
        assert model.loss.paired


@pytest.mark.parametrize(
    ("size", "channels", "classes"), [((16, 16), 1, 0), ((32, 64), 3, 0), ((24, 16), 4, 5), ((256, 256), 2, 3)]
)
def test_shapes(size: tuple[int, int], channels: int, classes: int) -> None:
    n = int(math.log2(min(size) // 4))
    small = (size[0] >> n, size[1] >> n)
    shape: dict[str, Any] = {"classes": classes, "channels": channels, "sizes": [4] * n + [2], "depth": 1}
    shape |= {"expansion": 2, "group_width": 4}
    G, D = Generator(latent_dim=5, embed_dim=3, start=small, **shape), Discriminator(end=small, **shape)
    y = torch.arange(2) if classes else None
    image = G(torch.randn(2, 5), y)
    assert image.shape == (2, channels, *size)
    assert D(image, y).shape == (2,)


def test_at_first_a_block_is_the_identity_and_its_layers_keep_the_scale() -> None:
    """Fix-up: the last convolution is 0, the others have g L^(-1/4) / sqrt(fan in), g^2 = 2 / (1 + 0.04)."""
    torch.manual_seed(0)
    block = Block(128, expansion=2, group_width=16, blocks=8)
    x = torch.randn(2, 128, 4, 4)
    assert torch.equal(block(x), x)
    first, middle, last = block.f[0], block.f[2], block.f[4]
    g = math.sqrt(2 / 1.04) * 8**-0.25
    assert first.weight.std().item() == pytest.approx(g / math.sqrt(128), rel=0.02)
    assert middle.weight.std().item() == pytest.approx(g / math.sqrt(16 * 9), rel=0.02)
    assert (middle.groups, middle.weight.shape) == (16, (256, 16, 3, 3))
    assert not last.weight.any()
    assert last.bias is None
    assert not first.bias.any()
    assert not middle.bias.any()


def test_at_first_g_is_its_basis_enlarged_and_d_sums_what_is_left_of_an_image() -> None:
    """With blocks that are the identity both are linear: by hand, without them."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"classes": 0, "channels": 3, "sizes": [8, 8, 4], "depth": 2, "expansion": 2}
    shape |= {"group_width": 4}
    G, D = Generator(latent_dim=5, embed_dim=1, start=(4, 4), **shape), Discriminator(end=(4, 4), **shape)
    z, x = torch.randn(3, 5), torch.randn(3, 3, 16, 16)
    h = by_hand_up(G.basis * (z @ G.scale.weight.T)[:, :, None, None])
    h = by_hand_up(torch.einsum("nchw,dc->ndhw", h, G.changes[1].weight[:, :, 0, 0]))
    torch.testing.assert_close(G(z), torch.einsum("nchw,dc->ndhw", h, G.image.weight[:, :, 0, 0]), rtol=0, atol=1e-5)
    h = by_hand_down(torch.einsum("nchw,dc->ndhw", x, D.enter.weight[:, :, 0, 0]))
    h = by_hand_down(torch.einsum("nchw,dc->ndhw", h, D.changes[0].weight[:, :, 0, 0]))
    phi = (h * D.basis.weight[:, 0]).sum((2, 3))
    torch.testing.assert_close(D(x), (phi @ D.judge.weight.T)[:, 0], rtol=0, atol=1e-5)


def by_hand_up(x: Tensor) -> Tensor:
    """Bilinear: each new pixel is 3/4 and 1/4 of its two neighbours, in both directions; zeros beyond the border."""
    for dim in (2, 3):
        before = torch.cat([torch.zeros_like(x.narrow(dim, 0, 1)), x.narrow(dim, 0, x.shape[dim] - 1)], dim)
        after = torch.cat([x.narrow(dim, 1, x.shape[dim] - 1), torch.zeros_like(x.narrow(dim, 0, 1))], dim)
        x = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], dim + 1).flatten(dim, dim + 1)
    return x


def by_hand_down(x: Tensor) -> Tensor:
    """[1, 3, 3, 1] / 8 around each pair of pixels."""
    for dim in (2, 3):
        padded = F.pad(x, (0, 0, 1, 1) if dim == 2 else (1, 1))
        parts = [padded.narrow(dim, k, x.shape[dim] - 1) for k in range(4) if k + x.shape[dim] - 1 <= padded.shape[dim]]
        total = sum(w * part for w, part in zip((1, 3, 3, 1), parts, strict=True)) / 8
        x = total[:, :, ::2] if dim == 2 else total[..., ::2]
    return x


def test_resampling_is_bilinear() -> None:
    x = torch.randn(2, 3, 6, 8)
    torch.testing.assert_close(up2(x), by_hand_up(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(blur(x, padding=1, stride=2), by_hand_down(x), rtol=0, atol=1e-6)
    inner = (..., slice(1, -1), slice(1, -1))  # torch's own repeats the border
    torch.testing.assert_close(up2(x)[inner], F.interpolate(x, scale_factor=2, mode="bilinear")[inner])


def test_classes_enter_both_networks() -> None:
    model = gan("model.conditional=true")
    z, x = torch.randn(4, 8), batch(4).image
    one, other = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    assert not torch.equal(model.G(z, one), model.G(z, other))
    phi = {}
    model.D.judge.register_forward_hook(lambda layer, inputs, output: phi.update(value=output))
    logits = model.D(x, other)
    torch.testing.assert_close(logits, phi["value"] @ model.D.embed.weight[1])
    assert not torch.equal(logits, model.D(x, one))
    assert model.D.embed.weight.std().item() == pytest.approx(1 / math.sqrt(10 * 8), rel=0.3)
    assert len(model.sample(3, labels=[1, 2, 3])) == 3
    train_on(model, [batch()])


def test_sentences() -> None:
    for overrides, sentence in {
        ("data.image_size=48",): r"image_size=48x48 does not fit these networks: .*try data\.image_size=",
        ("data.image_size=512",): r"image_size=512x512 does not fit these networks: .*try data\.image_size=256",
        ("model.group_width=3",): r"model\.group_width=3 does not divide the \d+ channels of a block",
        ("model.widths=[8,8]",): r"model\.widths=\[8, 8\] has 2 of the 3 resolutions",
        ("model.conditional=true", "data=folder", "data.root=x", "data.image_size=16"): "no classes to condition on",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            gan(*overrides)


# Objective ------------------------------------------------------------------------------------------------------------


def test_a_step_minimises_the_papers_objective() -> None:
    """D's terms by hand: softplus(D(G(z)) - D(x)) and gamma / 2 times the squared gradients at real and fake images,
    gamma falling along the cosine."""
    model = gan(
        "model.burn_in.images=32",
        "model.burn_in.penalties=0.5",
        "model.regularizer.r1=3",
        "model.regularizer.r2=0.5",
        "model.lr.D=0",
    )
    rows = [batch(8), batch(8), batch(8)]
    z = []
    latent = model.latent
    model.latent = lambda n: z.append(latent(n)) or z[-1]  # type: ignore[method-assign]
    fakes = []
    model.G.register_forward_hook(lambda layer, inputs, output: fakes.append(output.detach().clone()))
    train_on(model, rows)
    x, fake = rows[-1].image.requires_grad_(), fakes[-1].requires_grad_()
    real_logit, fake_logit = model.D(x), model.D(fake)
    latest = model.run_log.latest
    assert latest["D/adversarial"] == pytest.approx(F.softplus(fake_logit - real_logit).mean().item(), rel=1e-4)
    factor = 1 - 0.5 * (1 - math.cos(math.pi * 16 / 32)) / 2  # after two batches of 8
    for name, logit, image, gamma in (("r1", real_logit, x, 3.0), ("r2", fake_logit, fake, 0.5)):
        (gradient,) = torch.autograd.grad(logit.sum(), image)
        expected = factor * gamma / 2 * gradient.square().sum((1, 2, 3)).mean().item()
        assert latest[f"D/{name}"] == pytest.approx(expected, rel=1e-4)


# Burn-in --------------------------------------------------------------------------------------------------------------


def test_the_cosine() -> None:
    burn_in = BurnIn(images=400)
    values = [burn_in.between(2.0, 10.0, images) for images in (0, 100, 200, 300, 400, 4_000)]
    assert values == pytest.approx([2, 6 - 4 * math.sqrt(0.5), 6, 6 + 4 * math.sqrt(0.5), 10, 10])


def test_what_burns_in_moves_and_ends() -> None:
    """After 0, 8 and 16 images of 16: rates, beta2, the average's half-life, the augmentation's probability."""
    model = gan(
        "augment=ada", "model.augment.target=null", "model.burn_in.images=16", "model.burn_in.augment=0.4",
        "model.burn_in.ema_half_life=100", "model.lr.D=0.01", "model.burn_in.beta2=0.95", "model.ema_half_life=10",
    )  # fmt: skip
    seen = []
    latent = model.latent

    def watched(n: int) -> Tensor:  # as a step begins
        group = model._players["D"].param_groups[0]
        seen.append((group["lr"], *group["betas"], model.G_ema.half_life, model.T.p.item()))  # type: ignore[union-attr]
        return latent(n)

    model.latent = watched  # type: ignore[method-assign]
    before = {name: value.clone() for name, value in model.G.state_dict().items()}
    train_on(model, [batch(8)])
    share = 0.5 ** (8 / 10)  # no other warm-up: the first weights have not been forgotten
    for name, value in model.G.state_dict().items():
        expected = share * before[name] + (1 - share) * value
        torch.testing.assert_close(model.G_ema.module.state_dict()[name], expected)  # type: ignore[union-attr]
    model.images = 0
    train_on(model, [batch(8)] * 4)
    table = [(0.01, 0.0, 0.9, 10.0, 0.0), (0.00625, 0.0, 0.925, 55.0, 0.2), (0.0025, 0.0, 0.95, 100.0, 0.4)]
    assert len(seen) == 5
    for row, expected in zip(seen[1:], [*table, table[-1]], strict=True):
        assert row == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_burn_in_of_nothing_is_refused() -> None:
    for overrides, sentence in {
        ("model.burn_in.augment=0.3",): r"model\.burn_in\.augment=0\.3 is of an augmentation, and there is none: add",
        ("model.burn_in.augment=0.3", "augment=ada"): r"augment\.target=0\.6 both move the augmentation's probability",
        ("model.burn_in.images=0",): r"model\.burn_in\.images=0 must be 1 or more",
        ("model.burn_in.beta2=1",): r"model\.burn_in\.beta2=1 must be in \[0, 1\)",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            gan(*overrides)
    with pytest.raises(ValueError, match=r"of an average, and there is none: set model\.burn_in\.ema_half_life=null"):
        gan("model.ema_half_life=null").configure_optimizers()
    with pytest.raises(ValueError, match=r"no setting model\.burn_in\.rate: it has images, lr,"):
        make("dcgan", "model.burn_in={images:5,rate:3}")
    with pytest.raises(ValueError, match=r"model\.burn_in needs its length in images"):
        make("dcgan", "model.burn_in={lr:0.5}")
    assert make("dcgan", "model.burn_in={images:5,lr:0.5}").burn_in.lr == 0.5
    assert make("dcgan").burn_in is None
