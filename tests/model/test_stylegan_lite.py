"""StyleGAN-lite's parts against closed forms, direct sums and naive references; its growth at its ends."""

import math
from typing import Any

import pytest
import torch
from common import make, same, train_on
from torch import Tensor
from torch.nn import functional as F

from zoo.batch import LabelledImages
from zoo.model.stylegan_lite import (
    Conv,
    Discriminator,
    Generator,
    Linear,
    StyleGANLite,
    blur,
    growing,
    minibatch_stddev,
    modulated_conv,
    pack,
    up2,
    widths,
)

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


# Parts ----------------------------------------------------------------------------------------------------------------


def fir(image: Tensor, *, padding: int, stride: int, gain: float) -> Tensor:
    """The filter as a direct sum over one plane [H, W]."""
    taps = [1.0, 3.0, 3.0, 1.0]
    h, w = (side + 2 * padding - 3 for side in image.shape)
    at = lambda i, j: image[i, j] if 0 <= i < image.shape[0] and 0 <= j < image.shape[1] else 0.0
    rows = [
        [
            sum(
                taps[a] * taps[b] * gain / 64 * at(i + a - padding, j + b - padding) for a in range(4) for b in range(4)
            )
            for j in range(0, w, stride)
        ]
        for i in range(0, h, stride)
    ]
    return torch.tensor(rows, dtype=image.dtype)


def naive_modulated_conv(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool, up: bool) -> Tensor:
    """Each image by its own weights: arXiv:1912.04958, eq. (1) and (3)."""
    images = []
    for image, s in zip(x, style, strict=True):
        w = weight * s[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:  # zeros between the pixels, convolution, filter
            c, height, width = image.shape
            sparse = image.new_zeros(c, 2 * height - 1, 2 * width - 1)
            sparse[:, ::2, ::2] = image
            y = F.conv2d(sparse[None], w.flip(2, 3), padding=2)[0]
            images.append(torch.stack([fir(plane, padding=1, stride=1, gain=4) for plane in y.detach()]))
            continue
        images.append(F.conv2d(image[None], w, padding=w.shape[-1] // 2)[0])
    return torch.stack(images)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("size", [1, 3])
def test_modulated_convolution_against_one_image_at_a_time(demodulate: bool, size: int) -> None:
    """Values, and gradients with respect to image, weight and style."""
    torch.manual_seed(0)
    x, weight, style = torch.randn(3, 4, 5, 6), torch.randn(2, 4, size, size), torch.randn(3, 4)
    inputs = [t.double().requires_grad_() for t in (x, weight, style)]
    value = modulated_conv(*inputs, torch.zeros(()), demodulate=demodulate, up=False)
    expected = naive_modulated_conv(*inputs, demodulate=demodulate, up=False)
    torch.testing.assert_close(value, expected)
    towards = torch.randn_like(value)
    gradients, others = (torch.autograd.grad((y * towards).sum(), inputs) for y in (value, expected))
    for mine, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(mine, other)


def test_modulated_convolution_upwards_is_zeros_convolution_filter() -> None:
    torch.manual_seed(0)
    x, weight, style = torch.randn(2, 3, 3, 4).double(), torch.randn(2, 3, 3, 3).double(), torch.randn(2, 3).double()
    value = modulated_conv(x, weight, style, torch.full((2, 1, 1), 0.5), demodulate=True, up=True)
    assert value.shape == (2, 2, 6, 8)
    torch.testing.assert_close(value, naive_modulated_conv(x, weight, style, demodulate=True, up=True) + 0.5)


def test_demodulated_outputs_have_unit_variance_whatever_the_style() -> None:
    """The purpose of eq. (3), on inputs of independent pixels."""
    torch.manual_seed(0)
    x, weight = torch.randn(4, 16, 32, 32), torch.randn(8, 16, 3, 3) * 5
    y = modulated_conv(x, weight, torch.randn(4, 16) * 3, torch.zeros(()), demodulate=True, up=False)
    assert y[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1, rel=0.05)


def test_the_filter_against_a_direct_sum() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 8).double()
    for padding, stride in ((1, 2), (2, 1)):
        expected = [[fir(plane, padding=padding, stride=stride, gain=1) for plane in image] for image in x]
        torch.testing.assert_close(
            blur(x, padding=padding, stride=stride), torch.stack([torch.stack(planes) for planes in expected])
        )
    sparse = torch.zeros(2, 3, 13, 17).double()  # zeros between the pixels and around them
    sparse[:, :, 1:-1:2, 1:-1:2] = x
    expected = [[fir(plane, padding=1, stride=1, gain=4) for plane in image] for image in sparse]
    torch.testing.assert_close(up2(x), torch.stack([torch.stack(planes) for planes in expected]))


def test_the_filter_keeps_a_constant_inside() -> None:
    x = torch.full((1, 2, 8, 8), 0.7)
    torch.testing.assert_close(up2(x)[:, :, 1:-1, 1:-1], torch.full((1, 2, 14, 14), 0.7))
    torch.testing.assert_close(blur(x, padding=1, stride=2)[:, :, 1:-1, 1:-1], torch.full((1, 2, 2, 2), 0.7))


def test_equalised_layers_begin_with_unit_variance() -> None:
    """Weights N(0, 1), scaled when used; a slower layer computes the same and moves less."""
    torch.manual_seed(0)
    x = torch.randn(512, 256)
    for layer in (Linear(256, 64), Linear(256, 64, rate=0.01)):
        assert layer(x).std().item() == pytest.approx(1, rel=0.05)
        assert layer.weight.std().item() * layer.rate == pytest.approx(1, rel=0.05)
    assert Linear(4, 2, bias=1.0, rate=0.01)(torch.zeros(1, 4)).tolist() == [[1.0, 1.0]]
    maps = Conv(32, 16, 3)(torch.randn(4, 32, 16, 16))
    assert maps[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 16])
def test_minibatch_standard_deviation_by_hand(n: int) -> None:
    """Image i is in group i mod M; in a full group of 4 that is StyleGAN2's."""
    torch.manual_seed(0)
    x, groups = torch.randn(n, 2, 3, 4).double(), math.ceil(n / 4)
    y = minibatch_stddev(x, 4)
    assert y.shape == (n, 3, 3, 4)
    assert torch.equal(y[:, :2], x)
    for i in range(n):
        members = x[i % groups :: groups]
        deviation = (members.var(0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(y[i, 2], deviation.expand(3, 4))


def test_minibatch_standard_deviation_of_ranks_is_that_of_one_process() -> None:
    """A rank has every second image of a batch."""
    x = torch.randn(16, 2, 3, 3)
    whole = minibatch_stddev(x, 4)
    for rank in range(2):
        torch.testing.assert_close(minibatch_stddev(x[rank::2], 4), whole[rank::2])


def test_minibatch_standard_deviation_is_float32_under_bfloat16() -> None:
    x = torch.randn(4, 8, 4, 4).to(torch.bfloat16)
    value = minibatch_stddev(x, 4)[0, -1, 0, 0]
    assert value.dtype == torch.bfloat16
    assert value == minibatch_stddev(x.float(), 4)[0, -1, 0, 0].to(torch.bfloat16)


# Networks -------------------------------------------------------------------------------------------------------------


def test_widths_and_number_of_layers() -> None:
    """StyleGAN2 at 32 pixels has eight layers' w, at 1024 eighteen."""
    assert widths(3, base=512, most=64) == [64, 64, 32, 16]
    assert widths(8, base=32_768, most=512) == [512, 512, 512, 512, 512, 256, 128, 64, 32]
    for n, layers in ((3, 8), (8, 18)):
        G = Generator(
            latent_dim=4, w_dim=4, classes=0, layers=8, rate=0.01, channels=3, height=4 << n, width=4 << n,
            sizes=[1] * (n + 1), noise=False, growth="none",
        )  # fmt: skip
        assert G.num_ws == layers
        assert len(G.mapping) == 8


@pytest.mark.parametrize("growth", ["none", "progressive", "multi_scale"])
@pytest.mark.parametrize(
    ("size", "channels", "classes"), [((16, 16), 1, 0), ((32, 64), 3, 0), ((24, 16), 4, 5), ((64, 64), 2, 3)]
)
def test_sizes_channels_and_classes(growth: str, size: tuple[int, int], channels: int, classes: int) -> None:
    n = int(math.log2(min(size) / 4))
    shape: dict[str, Any] = {
        "channels": channels, "height": size[0], "width": size[1], "sizes": [4] * (n + 1), "growth": growth,
        "classes": classes,
    }  # fmt: skip
    G, D = Generator(latent_dim=8, w_dim=6, layers=2, rate=0.01, noise=True, **shape), Discriminator(group=4, **shape)
    y = torch.arange(3) if classes else None
    shown, w = G(torch.randn(3, 8), y)
    assert w.shape == (3, 6)
    image = G.synthesize(w[:, None].expand(-1, G.num_ws, -1), "fixed")
    assert image.shape == (3, channels, *size)
    assert D(shown, y).shape == (3,)
    if growth == "multi_scale":
        sizes = [(size[0] >> k, size[1] >> k) for k in reversed(range(n + 1))]
        assert [tuple(part.shape[2:]) for part in D.unpack(shown)] == sizes
        assert shown.shape == (3, sum(channels * h * w for h, w in sizes))
    else:
        assert shown.shape == image.shape


def test_a_size_that_does_not_fit_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"512 or 1024 .*; try data.image_size=64"):
        gan("data.image_size=48")
    assert gan("data.image_size=512", "model.channel_max=2").G.num_ws == 16


def test_the_skip_generator_adds_its_resolutions_up() -> None:
    G = gan().G
    ws = torch.randn(2, G.num_ws, 6)
    small, middle, large = G.scales(ws, "none")
    for rgb in G.rgbs:
        torch.nn.init.zeros_(rgb.weight)
        torch.nn.init.zeros_(rgb.bias)
    torch.nn.init.constant_(G.rgbs[1].bias, 0.5)
    assert torch.equal(G.scales(ws, "none")[0], torch.zeros_like(small))
    assert torch.equal(G.scales(ws, "none")[1], torch.full_like(middle, 0.5))
    torch.testing.assert_close(G.scales(ws, "none")[2], up2(torch.full_like(middle, 0.5)))
    assert large.shape == (2, 1, 16, 16)


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


def test_noise_random_fixed_none_and_given() -> None:
    model = gan()
    G, ws = model.G, torch.randn(2, model.G.num_ws, 6)
    assert torch.equal(G.synthesize(ws, "random"), G.synthesize(ws, "none")), "strengths begin at 0"
    for conv in G.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.5)
    assert not torch.equal(G.synthesize(ws, "random"), G.synthesize(ws, "random"))
    assert torch.equal(G.synthesize(ws, "fixed"), G.synthesize(ws, "fixed"))
    given = [conv.fixed_noise.expand(2, -1, -1, -1) for conv in G.convs]
    assert torch.equal(G.synthesize(ws, given), G.synthesize(ws, "fixed"))
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
    G = model.best
    G.w_mean.copy_(torch.randn(6))
    ws = model.styles([1, 2, 3])
    assert torch.equal(G.truncate(ws, 1.0), ws)
    assert torch.equal(G.truncate(ws, 0.0), G.w_mean.expand_as(ws))
    torch.testing.assert_close(G.truncate(ws, 0.5), (ws + G.w_mean) / 2)
    part = G.truncate(ws, 0.0, cutoff=2)
    assert torch.equal(part[:, :2], G.w_mean.expand(3, 2, 6))
    assert torch.equal(part[:, 2:], ws[:, 2:])
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
    assert torch.equal(ws[:, 0], model.best.map(model.latent_of([5, 6])))
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


def test_lazy_terms_come_in_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gan("model.path_length.weight=2", "model.path_length.every=3", "regularizer=r1_lazy")
    model.regularizer.every = 2
    seen: list[tuple[str, str]] = []
    observe = type(model).observe
    monkeypatch.setattr(
        StyleGANLite,
        "observe",
        lambda self, player, values: (seen.extend((player, name) for name in values), observe(self, player, values)),
    )
    train_on(model, [batch()] * 6)
    assert seen.count(("D", "r1")) == 3
    assert seen.count(("G", "path_length")) == 2


# Growth ---------------------------------------------------------------------------------------------------------------


def test_phases_of_progressive_growing() -> None:
    """4 pixels; 8 faded in, 8; 16 faded in, 16: appendix A.1."""
    at = lambda images: growing(images, phase=100, top=2)
    assert [at(i) for i in (0, 99)] == [(0, 1.0), (0, 1.0)]
    assert [at(i) for i in (100, 125, 199)] == [(1, 0.0), (1, 0.25), (1, 0.99)]
    assert [at(i) for i in (200, 299)] == [(1, 1.0), (1, 1.0)]
    assert [at(i) for i in (300, 350)] == [(2, 0.0), (2, 0.5)]
    assert [at(i) for i in (400, 500, 999_999)] == [(2, 1.0)] * 3


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

    real_below = model.shown(x, (1, None))
    assert torch.equal(real_below, F.avg_pool2d(x, 2))
    assert torch.equal(model.shown(x, at(0.0)), F.interpolate(real_below, scale_factor=2))
    assert torch.equal(model.shown(x, at(1.0)), x)
    torch.testing.assert_close(
        model.D(model.shown(x, at(0.0)), stage=at(0.0)), model.D(real_below, stage=(1, None)), rtol=1e-5, atol=1e-5
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
    assert {"G.rgbs.2.weight", "D.rgbs.2.weight"} <= {
        name for name, value in more.named_parameters() if not torch.equal(value, before[name])
    }


def test_multi_scale_shows_d_every_resolution() -> None:
    model = gan("model.growth=multi_scale", "regularizer=r1_r2", "model.path_length.weight=2")
    x = torch.randn(3, 1, 16, 16)
    parts = model.D.unpack(model.shown(x, None))
    assert [tuple(part.shape[2:]) for part in parts] == [(4, 4), (8, 8), (16, 16)]
    for part in parts:
        torch.testing.assert_close(part, F.avg_pool2d(x, 16 // part.shape[3]))
    packed = pack(parts).requires_grad_()
    gradient = torch.autograd.grad(model.D(packed).sum(), packed)[0]
    assert all(part.abs().sum() > 0 for part in model.D.unpack(gradient)), "D looks at each"
    train_on(model, [batch()] * 2)
    with pytest.raises(ValueError, match="set augment=none"):
        gan("model.growth=multi_scale", "augment=diffaugment")


def test_settings_out_of_range() -> None:
    for setting, message in {
        "model.growth=fast": "model.growth=fast must be none, progressive or multi_scale",
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
