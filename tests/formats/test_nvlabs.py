"""NVIDIA's pickles: the imported networks compute what the papers say, with classes and without."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from style_networks import EasyDict, Layer, Reference, built, networks, persistence
from torch import Tensor

from zoo.formats import Foreign, pickles, recognise


def through_file(tree: Any, path: Path, protocol: int = 3) -> Foreign:
    with persistence():
        path.write_bytes(pickle.dumps(tree, protocol=protocol))
    return recognise(pickles.read(path))


def make(**settings: Any) -> Reference:
    return Reference(**({"sizes": [12, 12, 8], "z_dim": 9, "w_dim": 10, "layers": 2} | settings))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_unconditional(tmp_path: Path, protocol: int) -> None:
    ours, average = make(seed=1, clamp=256), make(seed=2, clamp=256)
    (G, D), (G_ema, _) = networks(ours), networks(average)
    tree = {"training_set_kwargs": EasyDict(path="x"), "G": G, "D": D, "G_ema": G_ema, "augment_pipe": Layer("A"),
            "kimg": np.float64(3)}  # fmt: skip
    foreign = through_file(tree, tmp_path / "x.pkl", protocol)
    assert foreign.notes == ["passed over: 'training_set_kwargs', 'augment_pipe', 'kimg'"]
    assert foreign.settings["model.clamp"] == 256
    assert foreign.settings["model.conditional"] is False
    model = built(foreign)
    z, x = torch.randn(3, 9), torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        for network, wanted in ((model.G, ours), (model.result, average)):
            w = network.map(z)
            assert torch.allclose(w, wanted.w(z), atol=1e-5)
            assert torch.equal(network.w_mean, wanted.mean)
            ws = w[:, None].expand(-1, network.num_ws, -1)
            assert torch.allclose(network.synthesize(ws, "fixed"), wanted.image(w), atol=1e-4)
            drawn = network.synthesize(network.truncate(ws, 0.5), "fixed")
            assert torch.allclose(drawn, wanted.image(wanted.mean + 0.5 * (w - wanted.mean)), atol=1e-4)
        assert torch.allclose(model.D(x), ours.logit(x), atol=1e-4)


@pytest.mark.parametrize(("class_layers", "class_rate"), [(8, 0.01), (2, 0.05)])
def test_conditional(tmp_path: Path, class_layers: int, class_rate: float) -> None:
    """A class enters G beside z, and D by a mapping of its own; its learning rate may be another than G's."""
    ours = make(classes=5, class_layers=class_layers, class_rate=class_rate)
    G, D = networks(ours)
    foreign = through_file({"G": G, "D": D, "G_ema": G}, tmp_path / "x.pkl")
    assert foreign.settings["model.classes"] == list("01234")
    assert foreign.settings["model.class_layers"] == class_layers
    assert foreign.settings["model.latent_dim"] == 9
    model = built(foreign)
    z, x, y = torch.randn(4, 9), torch.rand(4, 3, 16, 16), torch.tensor([0, 4, 2, 2])
    with torch.no_grad():
        w = model.result.map(z, y)
        assert torch.allclose(w, ours.w(z, y), atol=1e-5)
        images = model.result.synthesize(w[:, None].expand(-1, model.G.num_ws, -1), "fixed")
        assert torch.allclose(images, ours.image(w), atol=1e-4)
        logits = model.D(x, y)
        assert torch.allclose(logits, ours.logit(x, y), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(logits, model.D(x, y.flip(0)), atol=1e-2)  # or this shows nothing


def test_clamp(tmp_path: Path) -> None:
    """Where activations reach it, in G, in what a level contributes, and in D."""
    clamped, free = make(clamp=0.5, scale=3.0), make(clamp=None, scale=3.0)
    G, D = networks(clamped)
    foreign = through_file({"G_ema": G, "D": D}, tmp_path / "x.pkl")
    model = built(foreign)
    assert foreign.settings["model.ema_half_life"] is None
    assert model.G_ema is None
    w, x = torch.randn(2, 10), torch.randn(4, 3, 16, 16) * 4
    with torch.no_grad():
        images = model.result.synthesize(w[:, None].expand(-1, model.G.num_ws, -1), "fixed")
        assert torch.allclose(images, clamped.image(w), atol=1e-5)
        assert torch.allclose(model.D(x), clamped.logit(x), atol=1e-5)
        assert (images - free.image(w)).abs().max() > 0.5
        assert (model.D(x) - free.logit(x)).abs().max() > 0.01
    assert through_file({"G_ema": networks(free)[0]}, tmp_path / "x.pkl").settings["model.clamp"] is None


def test_weights_alone_and_without_noise(tmp_path: Path) -> None:
    G, D = networks(make())
    foreign = recognise({"G": G.state_dict(), "D": D.state_dict(), "G_ema": G.state_dict()})
    assert foreign.settings["model.clamp"] == 256
    assert "weights alone" in foreign.notes[0]
    torch.save(G.state_dict(), tmp_path / "x.pt")
    assert recognise(pickles.read(tmp_path / "x.pt")).settings["model.ema_half_life"] is None
    quiet = through_file({"G_ema": networks(make(), noise=False)[0]}, tmp_path / "x.pkl")
    assert quiet.settings["model.noise"] is False
    assert built(quiet)


def test_groups_rates_and_depth(tmp_path: Path) -> None:
    G, D = networks(make(layers=8), rate=0.02, group=32)
    foreign = through_file({"G": G, "D": D}, tmp_path / "x.pkl")
    settings = foreign.settings
    assert (settings["model.mapping_rate"], settings["model.mapping_layers"]) == (0.02, 8)
    assert settings["model.stddev_group"] == 32
    assert settings["model.ema_half_life"] is None


def of_state(change: Any) -> dict[str, Tensor]:
    state = networks(make())[0].state_dict()
    return change(state) or state


REFUSED: list[tuple[Any, str]] = [
    (lambda s: s.update({"synthesis.b8.skip.weight": torch.ones(12, 12, 1, 1)}), "architecture 'resnet'"),
    (lambda s: {n: v for n, v in s.items() if "b4.torgb" not in n}, "architecture 'orig'"),
    (lambda s: {n: v for n, v in s.items() if "b8." not in n}, r"its resolutions are \[4, 16\]"),
    (lambda s: s.update({"synthesis.b8.resample_filter": torch.ones(1, 1)}), "another filter"),
    (lambda s: s.update({"synthesis.b8.conv0.more": torch.ones(1)}), "no place"),
    (lambda s: s.update({"mapping.fc1.weight": torch.ones(11, 10)}), "mapping.fc1.weight is 11x10, not 10x10"),
    (lambda s: s.update({"synthesis.b4.const": torch.ones(12, 8, 8)}), "synthesis.b4.const is 12x8x8"),
    (lambda s: {"synthesis.input.freqs": torch.ones(1)}, "StyleGAN3's"),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED)
def test_what_does_not_fit_is_named(change: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        recognise({"G_ema": of_state(change)})


def test_networks_of_tensorflow() -> None:
    with pytest.raises(ValueError, match=r"networks of TensorFlow .* legacy.py"):
        recognise((pickles.Stand("dnnlib.tflib.network.Network"), None, None))


def test_other_discriminators_are_passed_over() -> None:
    G, D = networks(make())
    state = D.state_dict()
    for change, said in (
        ({n: v for n, v in state.items() if n != "b16.skip.weight"}, "has no b16.skip.weight"),
        (state | {"b4.fromrgb.weight": torch.ones(12, 3, 1, 1)}, "'skip'"),
        (state | {"b4.conv.weight": torch.ones(12, 12, 3, 3)}, "b4.conv.weight is 12x12x3x3"),
        (networks(make(sizes=[12, 12, 12, 8]))[1].state_dict(), "judges images of 32 pixels"),
    ):
        foreign = recognise({"G": G.state_dict(), "D": change})
        assert not any(name.startswith("D.") for name in foreign.weights)
        assert any("the discriminator is passed over" in note and said in note for note in foreign.notes), foreign.notes


def test_a_discriminator_without_skips(tmp_path: Path) -> None:
    """Their architecture "orig", with which the published networks of CIFAR-10 come, of classes and without."""
    for classes in (0, 3):
        ours = make(classes=classes, residual=False, clamp=256)
        G, D = networks(ours)
        foreign = through_file({"G": G, "D": D, "G_ema": G}, tmp_path / "x.pkl")
        assert foreign.notes == []
        assert foreign.settings["model.residual"] is False
        x, y = torch.rand(4, 3, 16, 16), torch.tensor([0, 2, 1, 1]) if classes else None
        with torch.no_grad():
            assert torch.allclose(built(foreign).D(x, y), ours.logit(x, y), rtol=1e-5, atol=1e-4)


def test_different_clamps(tmp_path: Path) -> None:
    (G, _), (_, D) = networks(make(clamp=256)), networks(make(clamp=None))
    foreign = through_file({"G": G, "D": D}, tmp_path / "x.pkl")
    assert any("another conv_clamp" in note for note in foreign.notes)
    with pytest.raises(ValueError, match="no positive number"):
        through_file({"G": networks(make(), conv_clamp=-1)[0]}, tmp_path / "x.pkl")
