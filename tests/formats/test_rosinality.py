"""StyleGAN2 of rosinality's repository: the imported networks compute what theirs do."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from style_networks import Reference, rosinality
from torch import Tensor

from test_nvlabs import built
from zoo.formats import pickles, recognise


def reference(sizes: list[int] | None = None, **settings: Any) -> Reference:
    return Reference(sizes or [12, 12, 8], **({"z_dim": 10, "w_dim": 10, "layers": 3} | settings))


def through_file(tree: Any, path: Path, **settings: Any) -> Any:
    torch.save(tree, path, **settings)
    return recognise(pickles.read(path))


@pytest.mark.parametrize("zipped", [True, False])
def test_train_and_its_outputs(tmp_path: Path, zipped: bool) -> None:
    """train.py's dict: G and its average differ, w's mean is found by drawing, and D comes along."""
    ours, average = reference(seed=1), reference(seed=2)
    (g, d), (g_ema, _) = rosinality(ours), rosinality(average)
    tree = {
        "g": g, "d": d, "g_ema": g_ema, "g_optim": {"state": {0: {"step": 1}}, "param_groups": []}, "ada_aug_p": 0.0,
        "args": argparse.Namespace(size=16, latent=10),
    }  # fmt: skip
    foreign = through_file(tree, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert "passed over: 'g_optim', 'ada_aug_p', 'args'" in foreign.notes and "model.ema_half_life" not in foreign.settings
    model = built(foreign)
    z, x = torch.randn(3, 10), torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        for network, wanted in ((model.G, ours), (model.result, average)):
            w = network.map(z)
            assert torch.allclose(w, wanted.w(z), atol=1e-5)
            image = network.synthesize(w[:, None].expand(-1, network.num_ws, -1), "fixed")
            assert torch.allclose(image, wanted.image(wanted.w(z)), atol=1e-4)
            drawn = wanted.w(torch.randn(50_000, 10)).mean(0)
            assert torch.allclose(network.w_mean, drawn, atol=0.05) and network.w_mean.abs().max() > 0.2
        assert torch.allclose(model.D(x), ours.logit(x), atol=1e-4)
    again = recognise(pickles.read(tmp_path / "x.pt"))
    assert torch.equal(again.weights["G.w_mean"], foreign.weights["G.w_mean"])


def test_converted_has_the_mean(tmp_path: Path) -> None:
    average = reference()
    mean = torch.randn(10)
    foreign = through_file({"g_ema": rosinality(average)[0], "latent_avg": mean}, tmp_path / "x.pt")
    assert foreign.settings["model.ema_half_life"] is None and not foreign.notes
    assert not any(name.startswith(("D.", "G_ema.")) for name in foreign.weights)
    assert torch.equal(built(foreign).result.w_mean, mean)


@pytest.mark.parametrize("wrap", ["bare", "module", "nested", "half"])
def test_ways_to_keep_a_generator(wrap: str) -> None:
    ours = reference()
    state = rosinality(ours)[0]
    trees: dict[str, Any] = {
        "bare": state, "module": {"g_ema": {f"module.{name}": value for name, value in state.items()}},
        "nested": {"model": {"networks": {"g_ema": state}}}, "half": {"g_ema": {n: v.half() for n, v in state.items()}},
    }  # fmt: skip
    foreign = recognise(trees[wrap])
    for name in ("G.start", "G.convs.2.weight"):
        assert foreign.weights[name].dtype == torch.float32
    exact = wrap != "half"
    assert torch.equal(foreign.weights["G.start"][0], ours.const if exact else ours.const.half().float())


@pytest.mark.parametrize(
    ("sizes", "settings"),
    [
        ([16, 16, 16], {"model.channel_base": 256, "model.channel_max": 16}),
        ([16, 16, 9, 4], {"model.channel_base": 144, "model.channel_max": 16}),
        ([8, 16, 8], {"model.widths": [8, 16, 8]}),
        ([8, 8, 4, 4], {"model.widths": [8, 8, 4, 4]}),
    ],
)
def test_widths(sizes: list[int], settings: dict[str, Any]) -> None:
    """Those of channel_multiplier=4 rise and fall: no pair of numbers gives them."""
    ours = reference(sizes)
    g, d = rosinality(ours)
    foreign = recognise({"g_ema": g, "d": d})
    keys = ("model.channel_base", "model.channel_max", "model.widths")
    assert {key: value for key, value in foreign.settings.items() if key in keys} == settings
    x = torch.rand(4, 3, 4 * 2 ** (len(sizes) - 1), 4 * 2 ** (len(sizes) - 1))
    assert torch.allclose(built(foreign).D(x), ours.logit(x), atol=1e-4)


def changed(state: dict[str, Tensor], name: str, value: Tensor | None) -> dict[str, Tensor]:
    state = dict(state)
    if value is None:
        del state[name]
    else:
        state[name] = value
    return state


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("convs.1.conv.weight", None, "g_ema has no convs.1.conv.weight"),
        ("convs.1.conv.weight", torch.zeros(1, 12, 12, 5, 5), "convs.1.conv.weight is 1x12x12x5x5, not 1x12x12x3x3"),
        ("style.2.weight", torch.zeros(10, 9), "style.2.weight is 10x9, not 10x10"),
        ("style.2.weight", None, "not numbered from 1 on"),
        ("convs.0.conv.blur.kernel", torch.ones(4, 4) / 4, "another filter than"),
        ("convs.0.conv.blur.kernel", torch.ones(2, 2), "another filter than"),
        ("extra.weight", torch.zeros(1), "has extra.weight, for which this zoo's network has no place"),
        ("input.input", torch.zeros(1, 12, 4, 8), "input.input is 1x12x4x8"),
        ("conv1.activate.bias", torch.zeros(12, dtype=torch.int64), "holds no real numbers"),
        ("conv1.noise.weight", torch.zeros(()), "conv1.noise.weight is a number, not 1"),
    ],
)
def test_what_does_not_fit_is_named(name: str, value: Tensor | None, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        recognise({"g_ema": changed(rosinality(reference())[0], name, value)})


def test_other_discriminators_are_passed_over() -> None:
    g, _ = rosinality(reference())
    foreign = recognise({"g_ema": g, "d": rosinality(reference([10, 10, 8]))[1]})
    assert not any(name.startswith("D.") for name in foreign.weights)
    assert any("the discriminator is passed over" in note and "not 12x13x3x3" in note for note in foreign.notes) or any(
        "the discriminator is passed over" in note for note in foreign.notes
    )
    with pytest.raises(ValueError, match="a discriminator alone"):
        recognise({"d": rosinality(reference())[1]})


def test_sizes_out_of_range() -> None:
    with pytest.raises(ValueError, match="makes images of 8 pixels, and this zoo's networks make 16 to 1024"):
        recognise({"g_ema": rosinality(reference([4, 4]))[0]})


def test_asking_for_another_variant() -> None:
    with pytest.raises(ValueError, match="this zoo's stylegan_lite, not dcgan"):
        recognise({"g_ema": rosinality(reference())[0]}, wanted="dcgan")
