"""StyleGAN-lite's networks and what its steps follow; its growth at its ends."""

import math
from typing import Any

import pytest
import torch
from common import make, same, train_on
from torch import Tensor
from torch.nn import functional as F

from zoo.batch import LabelledImages
from zoo.game.abilities import Styles
from zoo.model.stylegan_lite import Discriminator, Generator, StyleGANLite
from zoo.networks.growth import Growth
from zoo.networks.multi_scale import MultiScale
from zoo.networks.path_length import path_lengths
from zoo.networks.progressive import Progressive
from zoo.networks.style import up2

SMALL = [
    *("data=digits", "data.image_size=16", "model.channel_base=64", "model.channel_max=8"),
    *("model.latent_dim=8", "model.w_dim=6"),
]


def gan(*overrides: str) -> StyleGANLite:
    torch.manual_seed(0)
    return make("stylegan_lite", *SMALL, *overrides)  # type: ignore[no-any-return]


def batch(n: int = 8, *, size: tuple[int, int] = (16, 16), channels: int = 1) -> LabelledImages:
    torch.manual_seed(n)
    return LabelledImages(torch.rand(n, channels, *size) * 2 - 1, torch.arange(n) % 10, torch.arange(n))


# Networks -------------------------------------------------------------------------------------------------------------


GROWTHS = {"none": Growth, "progressive": lambda shapes: Progressive(shapes, phase=8), "multi_scale": MultiScale}


def shapes(channels: int, height: int, width: int, n: int) -> list[tuple[int, int, int]]:
    return [(channels, height >> k, width >> k) for k in reversed(range(n + 1))]


def test_number_of_layers() -> None:
    """StyleGAN2 at 32 pixels has eight layers' w, at 1024 eighteen."""
    for n, layers in ((3, 8), (8, 18)):
        growth = Growth(shapes(3, 4 << n, 4 << n, n))
        G = Generator(
            latent_dim=4, w_dim=4, classes=0, layers=8, rate=0.01, sizes=[1] * (n + 1), noise=False, growth=growth
        )
        assert G.num_ws == layers
        assert len(G.mapping) == 8


@pytest.mark.parametrize("growth", GROWTHS)
@pytest.mark.parametrize(
    ("size", "channels", "classes"), [((16, 16), 1, 0), ((32, 64), 3, 0), ((24, 16), 4, 5), ((64, 64), 2, 3)]
)
def test_sizes_channels_and_classes(growth: str, size: tuple[int, int], channels: int, classes: int) -> None:
    n = int(math.log2(min(size) / 4))
    pyramid = shapes(channels, *size, n)
    shape: dict[str, Any] = {"sizes": [4] * (n + 1), "growth": GROWTHS[growth](pyramid), "classes": classes}
    G, D = Generator(latent_dim=8, w_dim=6, layers=2, rate=0.01, noise=True, **shape), Discriminator(group=4, **shape)
    y = torch.arange(3) if classes else None
    shown, w = G(torch.randn(3, 8), y)
    assert w.shape == (3, 6)
    image = G.synthesize(w[:, None].expand(-1, G.num_ws, -1), "fixed")
    assert image.shape == (3, channels, *size)
    assert D(shown, y).shape == (3,)
    pixels = sum(math.prod(part) for part in pyramid)
    assert shown.shape == ((3, pixels) if growth == "multi_scale" else image.shape)


def test_a_size_that_does_not_fit_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"512 or 1024 .*; try data.image_size=64"):
        gan("data.image_size=48")
    assert gan("data.image_size=512", "model.channel_max=2").G.num_ws == 16


def test_the_skip_generator_adds_its_resolutions_up() -> None:
    G = gan().G
    ws = torch.randn(2, G.num_ws, 6)
    at_levels = lambda: G.images(ws, "none", (2, None), range(3))
    assert [tuple(image.shape) for image in at_levels()] == [(2, 1, 4, 4), (2, 1, 8, 8), (2, 1, 16, 16)]
    for rgb in G.rgbs:
        torch.nn.init.zeros_(rgb.weight)
        torch.nn.init.zeros_(rgb.bias)
    torch.nn.init.constant_(G.rgbs[1].bias, 0.5)
    small, middle, large = at_levels()
    assert torch.equal(small, torch.zeros(2, 1, 4, 4))
    assert torch.equal(middle, torch.full((2, 1, 8, 8), 0.5))
    torch.testing.assert_close(large, up2(middle))


@pytest.mark.parametrize(
    ("growth", "stage"),
    [
        ("none", None),
        ("multi_scale", None),
        ("progressive", None),
        ("progressive", (0, None)),
        ("progressive", (1, None)),
        ("progressive", (1, torch.tensor(0.5))),
    ],
)
def test_modulations_are_those_that_the_image_depends_on(growth: str, stage: Any) -> None:
    G = make("stylegan_lite", "data=digits", "data.image_size=16", f"model.growth={growth}").G
    ws = torch.randn(2, G.num_ws, 64, generator=torch.Generator().manual_seed(0))
    G.synthesize(ws, "none", stage=stage).square().sum().backward()
    used = [p for name, p in G.named_parameters() if name.endswith("style.weight") and p.grad is not None]
    assert {id(weight) for weight in G.modulations(stage)} == {id(p) for p in used}


def test_noise_random_fixed_none_and_a_tensor_for_each_layer() -> None:
    model = gan()
    G, ws = model.G, torch.randn(2, model.G.num_ws, 6)
    assert torch.equal(G.synthesize(ws, "random"), G.synthesize(ws, "none")), "strengths begin at 0"
    for conv in G.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.5)
    assert not torch.equal(G.synthesize(ws, "random"), G.synthesize(ws, "random"))
    assert torch.equal(G.synthesize(ws, "fixed"), G.synthesize(ws, "fixed"))
    repeated = [conv.fixed_noise.expand(2, -1, -1, -1) for conv in G.convs]
    assert torch.equal(G.synthesize(ws, repeated), G.synthesize(ws, "fixed"))
    with pytest.raises(ValueError, match="noise='loud' must be random, fixed or none"):
        G.synthesize(ws, "loud")
    assert not [name for name, _ in gan("model.noise=false").named_parameters() if "noise" in name]


def test_the_mapping_normalises_z() -> None:
    G = gan().G
    z = torch.randn(4, 8)
    torch.testing.assert_close(G.map(z), G.map(z * 7))
    assert G.map(z).shape == (4, 6)


def test_truncation_draws_towards_the_mean() -> None:
    model = gan()
    G = model.result
    G.w_mean.copy_(torch.randn(6))
    ws = model.styles([1, 2, 3])
    assert torch.equal(model.truncate(ws, 1.0), ws)
    assert torch.equal(model.truncate(ws, 0.0), G.w_mean.expand_as(ws))
    torch.testing.assert_close(model.truncate(ws, 0.5), (ws + G.w_mean) / 2)
    model.hparams["truncation"] = 0.0
    images = model.generate(torch.arange(4))
    torch.testing.assert_close(images, images[:1].expand_as(images))
    model.hparams["truncation"] = 1.0
    assert not torch.allclose(model.generate(torch.arange(2))[0], model.generate(torch.arange(2))[1])


def test_styles_and_images_of_seeds() -> None:
    model = gan()
    ws = model.styles([5, 6])
    assert ws.shape == (2, model.G.num_ws, 6)
    torch.testing.assert_close(ws[0], model.styles(torch.tensor([5]))[0])
    assert torch.equal(ws[:, 0], model.result.map(model.latent_of([5, 6])))
    assert torch.equal(ws, ws[:, :1].expand_as(ws))
    torch.testing.assert_close(model.from_styles(ws).clamp(-1, 1), model.generate(torch.tensor([5, 6])))
    with pytest.raises(ValueError, match=r"train with model\.conditional=true"):
        model.styles([1], [3])


# Classes --------------------------------------------------------------------------------------------------------------


def test_classes_reach_both_players() -> None:
    model = gan("model.conditional=true")
    assert len(model.hparams["classes"]) == 10
    z, y = model.latent_of([1, 1]), torch.tensor([3, 4])
    w = model.G.map(z, y)
    assert not torch.allclose(w[0], w[1])
    x = torch.randn(1, 1, 16, 16).expand(2, -1, -1, -1)
    logits = model.D(x, y)
    assert not torch.allclose(logits[0], logits[1])
    assert torch.equal(model.styles([13]), model.styles([13], [3])), "the seed modulo the number of classes"
    assert model.sample(3, labels=[1, 2, 3]).shape == (3, 1, 16, 16)


def test_conditioning_needs_classes_and_without_it_there_are_none() -> None:
    assert gan().hparams["classes"] is None
    with pytest.raises(ValueError, match=r"set model\.conditional=false"):
        make("stylegan_lite", "data=folder", "data.root=nowhere", "metrics=none", "model.conditional=true")


# Training -------------------------------------------------------------------------------------------------------------


def test_mixing_begins_at_a_random_layer() -> None:
    model = gan("model.mixing=1.0")
    layers = model.G.num_ws
    mix = model.mix(4_000)
    assert mix is not None
    other, taken = mix
    first = layers - taken.sum(1)
    assert taken.equal(torch.arange(layers) >= first[:, None])
    share = torch.bincount(first, minlength=layers + 1) / 4_000
    assert share[0] == share[layers] == 0
    torch.testing.assert_close(share[1:layers], torch.full((layers - 1,), 1 / (layers - 1)), atol=0.03, rtol=0)

    half = gan("model.mixing=0.5").mix(4_000)
    assert half is not None
    assert half[1].any(1).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert gan("model.mixing=0").mix(4) is None

    z, noise = torch.randn(2, 8), [torch.randn(2, 1, *size) for size in model.G.noise_sizes]
    mixed, w = model.G(z, mix=(other[:2], taken[:2]), noise=noise)
    ws = torch.where(taken[:2, :, None], model.G.map(other[:2])[:, None], model.G.map(z)[:, None])
    assert torch.equal(mixed, model.G.synthesize(ws, noise))
    assert torch.equal(w, model.G.map(z))


def test_the_mean_of_w_is_that_of_all_until_its_half_life() -> None:
    model = gan("model.w_mean_half_life=1e9")
    model.over_ranks = lambda value: value  # type: ignore[method-assign]
    batches = [torch.randn(4, 6) for _ in range(3)]
    for w in batches:
        model.images += 4
        model.track(w, 4)
    torch.testing.assert_close(model.G.w_mean, torch.cat(batches).mean(0))
    model.hparams["w_mean_half_life"], model.images = 4, 1_000_000
    before = model.G.w_mean.clone()
    model.track(batches[0], 4)
    torch.testing.assert_close(model.G.w_mean, (before + batches[0].mean(0)) / 2)


def test_training_tracks_the_mean_of_w_and_the_path_length() -> None:
    model = gan("model.path_length.weight=2", "model.path_length.every=2", "regularizer=r1_lazy")
    train_on(model, [batch()] * 3)
    assert model.turns == {"D": 3, "G": 3}
    assert model.path_length.a > 0
    assert model.run_log.latest["G/path_length"] > 0, "due in the third turn"
    mean = model.G.map(model.latent_of(range(4_000))).mean(0)
    assert (model.G.w_mean - mean).norm() < 0.3 * mean.norm() + 0.3
    assert "path_length.a" in model.state_dict()
    assert "G.w_mean" in model.state_dict()


def test_the_path_length_is_that_of_the_images_with_their_mixed_styles() -> None:
    """Against the lengths of ws that were mixed by hand; unmixed ones are others."""
    model = gan("model.path_length.weight=2", "model.path_length.shrink=2", "model.noise=false")
    model.turns = {"G": 1}
    model.over_ranks = lambda value: value.detach()  # type: ignore[method-assign, assignment]
    z, other = torch.randn(2, 8, 8)
    taken = torch.arange(model.G.num_ws) >= torch.arange(1, 9)[:, None] % model.G.num_ws
    y = model.normal(4, 1, 16, 16)
    model.normal = lambda n, *shape: y  # type: ignore[method-assign]

    def expected(ws: Tensor) -> Tensor:
        g = lambda ws: model.G.synthesize(ws, [])
        lengths = path_lengths(g, ws, normal=model.normal)
        return 2 * 4 * (lengths - 0.01 * lengths.mean()).square().mean()

    def penalty(mix: tuple[Tensor, Tensor] | None) -> Tensor:
        model.path_length.a.zero_()
        return model.path_penalty(z, None, mix, [], model.stage(0))["path_length"]

    plain = model.G.map(z[:4])[:, None].expand(-1, model.G.num_ws, -1)
    mixed = torch.where(taken[:4, :, None], model.G.map(other[:4])[:, None], plain)
    torch.testing.assert_close(penalty((other, taken)), expected(mixed))
    torch.testing.assert_close(penalty(None), expected(plain))
    assert not torch.allclose(expected(mixed), expected(plain))


@pytest.mark.parametrize("half_life", [0, 100_000])
def test_the_average_of_g_has_the_tracked_mean_of_w_itself(half_life: int) -> None:
    """As NVIDIA's G_ema, which copies buffers; it is saved and loaded with the rest."""
    model = gan(f"model.ema_half_life={half_life}", "model.w_mean_half_life=1e9")
    tracked: list[Tensor] = []
    track = model.track
    model.track = lambda w, images: (tracked.append(w.detach()), track(w, images))  # type: ignore[method-assign, assignment]
    train_on(model, [batch()] * 3)
    torch.testing.assert_close(model.G_ema.module.w_mean, torch.cat(tracked).mean(0))
    assert torch.equal(model.G_ema.module.w_mean, model.G.w_mean)
    if half_life:
        assert not torch.equal(model.G_ema.module.mapping[0].weight, model.G.mapping[0].weight)


def test_without_minibatch_deviation_d_judges_each_image_alone() -> None:
    """R3GAN's D has none: its last convolution then takes the features alone, and a batch is its images."""
    x = torch.rand(6, 1, 16, 16) * 2 - 1
    for group, alone in ("4", False), ("null", True):
        D = gan(f"model.stddev_group={group}").D
        assert D.conv.weight.shape[1] == D.blocks[0].down.weight.shape[0] + (not alone)
        together, one_by_one = D(x), torch.cat([D(image[None]) for image in x])
        assert torch.allclose(together, one_by_one, rtol=1e-4, atol=1e-5) is alone
    train_on(model := gan("model.stddev_group=null", "regularizer=r1_r2"), [batch()] * 2)
    assert model.turns == {"D": 2, "G": 2}


def test_lazy_terms_come_in_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gan("model.path_length.weight=2", "model.path_length.every=3", "regularizer=r1_lazy")
    model.regularizer.every = 2
    seen: list[tuple[str, str]] = []
    observe = model.run_log.observe
    monkeypatch.setattr(
        model.run_log,
        "observe",
        lambda player, values: (seen.extend((player, name) for name in values), observe(player, values)),
    )
    train_on(model, [batch()] * 6)
    assert seen.count(("D", "r1")) == 3
    assert seen.count(("G", "path_length")) == 2


# Growth ---------------------------------------------------------------------------------------------------------------


def test_fading_in_begins_and_ends_without_a_jump() -> None:
    """At alpha = 0 G's image and D's logit are those of the resolution below, at 1 those of the new one."""
    model = gan("model.growth=progressive")
    ws, x = torch.randn(4, model.G.num_ws, 6), torch.randn(4, 1, 16, 16)
    at = lambda alpha: (2, torch.tensor(alpha))
    below, new = model.G.synthesize(ws, "fixed", stage=(1, None)), model.G.synthesize(ws, "fixed", stage=(2, None))
    assert below.shape == (4, 1, 8, 8)
    assert torch.equal(model.G.synthesize(ws, "fixed", stage=at(0.0)), F.interpolate(below, scale_factor=2))
    assert torch.equal(model.G.synthesize(ws, "fixed", stage=at(1.0)), new)
    assert torch.equal(new, model.G.synthesize(ws, "fixed"))

    real_below = model.growth.shown(x, (1, None))
    assert torch.equal(real_below, F.avg_pool2d(x, 2))
    assert torch.equal(model.growth.shown(x, at(0.0)), F.interpolate(real_below, scale_factor=2))
    assert torch.equal(model.growth.shown(x, at(1.0)), x)
    torch.testing.assert_close(
        model.D(model.growth.shown(x, at(0.0)), stage=at(0.0)),
        model.D(real_below, stage=(1, None)),
        rtol=1e-5,
        atol=1e-5,
    )
    torch.testing.assert_close(model.D(x, stage=at(1.0)), model.D(x, stage=(2, None)), rtol=1e-5, atol=1e-5)


def test_progressive_growing_trains_what_has_grown() -> None:
    model = gan("model.growth=progressive", "model.phase_images=8", "regularizer=r1_lazy")
    before = {name: value.clone() for name, value in model.named_parameters()}
    train_on(model, [batch()] * 2)  # at 4 pixels, then fading 8 in
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert "D.rgbs.0.weight" in moved
    assert not [name for name in moved if name.startswith(("G.rgbs.2", "G.convs.3", "G.convs.4", "D.rgbs.2"))]
    assert model.generate(torch.arange(2)).shape == (2, 1, 16, 16)
    more = gan("model.growth=progressive", "model.phase_images=8")
    train_on(more, [batch()] * 6)
    assert more.stage(more.images) == (2, None)
    assert isinstance(more, Styles)
    assert [id(weight) for weight in more.modulations()] == [
        id(weight) for weight in more.result.modulations((2, None))
    ]
    assert {"G.rgbs.2.weight", "D.rgbs.2.weight"} <= {
        name for name, value in more.named_parameters() if not torch.equal(value, before[name])
    }


def test_multi_scale_shows_d_every_resolution() -> None:
    model = gan("model.growth=multi_scale", "regularizer=r1_r2", "model.path_length.weight=2")
    packed = model.growth.shown(torch.randn(3, 1, 16, 16), model.stage(0)).requires_grad_()
    gradient = torch.autograd.grad(model.D(packed).sum(), packed)[0]
    assert all(part.abs().sum() > 0 for part in model.growth.unpack(gradient)), "D looks at each"
    ws = torch.randn(2, model.G.num_ws, 6)
    images = model.G.images(ws, "fixed", (2, None), range(3))
    assert torch.equal(images[-1], model.G.synthesize(ws, "fixed")), "the image needs no other level's contribution"
    train_on(model, [batch()] * 2)
    with pytest.raises(ValueError, match="set augment=none"):
        gan("model.growth=multi_scale", "augment=diffaugment")


@pytest.mark.slow
def test_settings_out_of_range() -> None:
    for setting, message in {
        "model.growth=fast": "model.growth=fast must be one of none, progressive, multi_scale",
        "model.mixing=1.5": r"model.mixing=1.5 must be in \[0, 1\]",
        "model.truncation=-1": r"model.truncation=-1 must be in \[0, 1\]",
        "model.stddev_group=0": "model.stddev_group=0 must be 1 or more",
        "model.w_dim=0": "model.w_dim=0 must be 1 or more",
        "model.mapping_rate=0": "model.mapping_rate=0.* must be positive",
        "model.path_length.every=0": "model.path_length.every=0 must be a whole number from 1",
        "model.path_length.weight=-1": "model.path_length.weight=-1 must not be negative",
        "model.path_length.decay=0": r"path_length.decay=0 must be in \(0, 1\]",
    }.items():
        with pytest.raises(ValueError, match=message):
            gan(setting)


def test_equal_weights_give_the_checkpoint_s_images() -> None:
    a, b = gan(), gan("seed=3")
    b.load_state_dict(a.state_dict())
    assert same(a.generate(torch.arange(2)), b.generate(torch.arange(2)))


def test_widths_one_by_one() -> None:
    model = gan("model.widths=[6,8,4]")
    assert [conv.weight.shape[0] for conv in model.G.convs] == [6, 8, 8, 4, 4]
    assert [block.down.weight.shape[0] for block in model.D.blocks] == [6, 8]
    with pytest.raises(ValueError, match=r"model.widths=\[6, 8\] has 2 of the 3 resolutions from 4 pixels to 16"):
        gan("model.widths=[6,8]")
