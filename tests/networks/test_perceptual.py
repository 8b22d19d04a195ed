"""Features and the losses on them: closed forms, and torchvision's network with the papers' formulas written out."""

from pathlib import Path

import pytest
import torch
from common import write_vgg
from torch import Tensor, nn
from torchvision.models import vgg16, vgg19

from zoo.metrics.extractors import CIFAR10Classifier
from zoo.networks import perceptual
from zoo.networks.perceptual import CLASSIFIER, GATYS, JOHNSON, Layers, StyleTarget

WORDS = {"setting": "--vgg-weights", "choice": "--features"}


def classifier() -> perceptual.Perceptual:
    return perceptual.load(CLASSIFIER, None, **WORDS)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vgg")
    return {name: write_vgg(name, folder / f"{name}.pth") for name in ("vgg16", "vgg19")}


def test_gram_matrices_of_uniform_maps() -> None:
    """F_i = c_i everywhere: F F^T = H W c c^T, whatever the size."""
    c = torch.tensor([1.0, -2.0, 0.5])
    maps = c.view(1, 3, 1, 1).expand(2, 3, 4, 7)
    torch.testing.assert_close(perceptual.products(maps)[1], 28 * torch.outer(c, c))
    torch.testing.assert_close(perceptual.gram(maps)[0], torch.outer(c, c) / 3)


def test_the_losses_are_the_papers_written_out() -> None:
    """Johnson et al., eq. (2) to (4), and Gatys et al., eq. (1), (3) and (4), place by place."""
    torch.manual_seed(0)
    F, P = torch.randn(2, 3, 4, 5).double(), torch.randn(2, 3, 4, 5).double()
    C, H, W, n = 3, 4, 5, len(F)
    content = style = of_gatys = 0.0
    for k in range(n):
        content += sum((F[k, c, h, w] - P[k, c, h, w]) ** 2 for c in range(C) for h in range(H) for w in range(W))
        for i in range(C):
            for j in range(C):
                G = sum(F[k, i, h, w] * F[k, j, h, w] for h in range(H) for w in range(W))
                A = sum(P[k, i, h, w] * P[k, j, h, w] for h in range(H) for w in range(W))
                style += ((G - A) / (C * H * W)) ** 2
                of_gatys += (G - A) ** 2 / (4 * C**2 * (H * W) ** 2)
    assert perceptual.squared_error(F, P).item() == pytest.approx(float(content) / (n * C * H * W))
    distance = perceptual.squared_distance(perceptual.gram(F), perceptual.gram(P)).item()
    assert distance == pytest.approx(float(style) / n)
    assert distance / 4 == pytest.approx(float(of_gatys) / n)


def test_total_variation_of_a_ramp() -> None:
    """A slope of a down and of b to the right: H W pixels have (H - 1) W differences a^2 and H (W - 1) of b^2."""
    H, W, a, b = 5, 8, 0.1, 0.03
    ramp = a * torch.arange(H).view(1, 1, H, 1) + b * torch.arange(W).view(1, 1, 1, W)
    expected = ((H - 1) * W * a**2 + H * (W - 1) * b**2) / (H * W)
    assert perceptual.total_variation(ramp.expand(2, 3, H, W)).item() == pytest.approx(expected, rel=1e-5)
    assert perceptual.total_variation(torch.full((1, 3, 4, 4), 0.7)).item() == 0


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_terms_are_those_of_torchvisions_network(name: str, files: dict[str, Path]) -> None:
    """Maps behind the named ReLUs, counted by hand, and the terms in units of what the style makes of a layer."""
    features = perceptual.load(name, str(files[name]), **WORDS)
    with torch.device("meta"):
        layers = {"vgg16": vgg16, "vgg19": vgg19}[name]().features
    state = {key.removeprefix("features."): value for key, value in torch.load(files[name]).items()}
    layers.to_empty(device="cpu").load_state_dict(state)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def maps(image: Tensor) -> dict[str, Tensor]:
        x, found, i, j = ((image + 1) / 2 - mean.view(3, 1, 1)) / std.view(3, 1, 1), {}, 1, 0
        for layer in layers:
            x = layer(x).clone()
            if isinstance(layer, nn.ReLU):
                j += 1
                found[f"relu{i}_{j}"] = x
            if isinstance(layer, nn.MaxPool2d):
                i, j = i + 1, 0
        return found

    torch.manual_seed(1)
    image, content, style = (torch.rand(1, 3, *size) * 2 - 1 for size in ((32, 40), (32, 40), (48, 32)))
    of_image, of_content, of_style = maps(image), maps(content), maps(style)
    for chosen in (JOHNSON[name], GATYS[name]):
        target = StyleTarget(features, chosen, [style])
        got = target.terms(image, content)
        (layer,) = chosen.content
        expected = (of_image[layer] - of_content[layer]).square().mean() / of_style[layer].square().mean()
        torch.testing.assert_close(got[0], expected, rtol=1e-4, atol=0)
        parts = []
        for layer in chosen.style:
            G, A = (torch.einsum("nihw,njhw->ij", m, m) / m.numel() for m in (of_image[layer], of_style[layer]))
            parts.append(((G - A) ** 2).sum() / (A**2).sum())
        torch.testing.assert_close(got[1], torch.stack(parts).mean(), rtol=1e-4, atol=0)
    assert "not torchvision's" in features.origin
    grey = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            features(grey, ["relu2_1"])["relu2_1"], features(grey.expand(-1, 3, -1, -1), ["relu2_1"])["relu2_1"]
        )


def test_the_shipped_network_is_that_of_the_metrics() -> None:
    """But for the border, which is continued where the classifier has zeros."""
    features, extractor = classifier(), CIFAR10Classifier()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    names = ("gelu1", "gelu2", "residual1", "gelu3", "residual2", "gelu4")
    with torch.no_grad():
        ours, theirs = features(images, names), extractor.activations((images + 1) * 127.5)
    for name, its, edge in zip(names, theirs, (1, 1, 4, 3, 1, 0), strict=False):
        if edge:
            inside = slice(edge, ours[name].shape[2] - edge)
            if name == "residual2":
                continue  # all of its 8x8 places see the border
            torch.testing.assert_close(
                ours[name][:, :, inside, inside], its[:, :, inside, inside], rtol=1e-3, atol=1e-4, msg=name
            )
    assert features.name == CLASSIFIER
    assert not any(parameter.requires_grad for parameter in features.parameters())
    features.train()
    assert not features.training


@pytest.mark.parametrize("layer", ["gelu1", "gelu2", "residual1", "gelu3", "residual2", "gelu4"])
def test_receptive_fields_by_gradients(layer: str) -> None:
    features = classifier()
    image = torch.rand(1, 3, 96, 96, requires_grad=True)
    map_ = features(image, [layer])[layer]
    assert map_.shape[2] == 96 // features.stride(layer)
    map_[0, :, map_.shape[2] // 2, map_.shape[3] // 2].square().sum().backward()
    assert image.grad is not None
    rows = (image.grad != 0).any(1).any(2)[0].nonzero()
    assert int(rows.max() - rows.min()) + 1 == features.receptive_field(layer)


def test_vggs_receptive_fields() -> None:
    """Counted by hand: 3, 5 | 6, 10, 14 | 16, 24, 32, 40, 48 | 52, 68, 84."""
    assert perceptual.least_side("vgg19", GATYS["vgg19"]) == 84
    assert perceptual.least_side("vgg19", JOHNSON["vgg19"]) == 14
    assert perceptual.least_side("vgg16", GATYS["vgg16"]) == 16 + 3 * 8 + 4 + 2 * 16
    assert perceptual.least_side(CLASSIFIER, GATYS[CLASSIFIER]) == classifier().receptive_field("residual1") == 13


def test_several_styles_by_their_shares() -> None:
    features, layers = classifier(), GATYS[CLASSIFIER]
    torch.manual_seed(0)
    styles = [torch.rand(1, 3, 32, 32) * 2 - 1, torch.rand(1, 3, 40, 48).round() * 2 - 1]
    with torch.no_grad():
        maps = features(torch.rand(1, 3, 32, 32), layers.style)
        grams = {name: perceptual.gram(of_layer) for name, of_layer in maps.items()}
        alone = [StyleTarget(features, layers, [style]).style(grams) for style in styles]
        both = StyleTarget(features, layers, styles, [3.0, 1.0]).style(grams)
        own = {name: perceptual.gram(of_layer) for name, of_layer in features(styles[0], layers.style).items()}
    torch.testing.assert_close(both, 0.75 * alone[0] + 0.25 * alone[1])
    assert StyleTarget(features, layers, styles[:1]).style(own).item() == pytest.approx(0, abs=1e-10)


def test_average_pooling(files: dict[str, Path]) -> None:
    features = perceptual.load("vgg19", str(files["vgg19"]), **WORDS).with_average_pooling()
    assert sum(isinstance(layer, nn.AvgPool2d) for layer in features.trunk) == 4
    assert not any(isinstance(layer, nn.MaxPool2d) for layer in features.trunk)


def test_weights_that_are_none_or_another_networks(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, other in (("vgg19", "vgg16"), ("vgg16", "vgg19")):
        with pytest.raises(
            ValueError, match=rf"does not hold the weights of torchvision's {name.upper()}.*--vgg-weights"
        ):
            perceptual.load(name, str(files[other]), **WORDS)
    with pytest.raises(ValueError, match=r"no such file: .*nowhere.pth \(--vgg-weights\)"):
        perceptual.load("vgg19", str(tmp_path / "nowhere.pth"), **WORDS)
    with pytest.raises(ValueError, match=r"--vgg-weights=x has no effect with --features=cifar10_classifier"):
        perceptual.load(CLASSIFIER, "x", **WORDS)

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(ValueError, match=r"vgg16-397923af\.pth.*--features=cifar10_classifier"):
        perceptual.fetch("vgg16", None, **WORDS)


def test_a_style_that_a_layer_does_not_see() -> None:
    features = perceptual.Perceptual(
        "x", nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU()), {"r": 1}, "", torch.zeros(1), torch.ones(1)
    )
    nn.init.constant_(features.trunk[0].weight, -1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="r of x sees nothing in the style image"):
        StyleTarget(features, Layers(("r",), ("r",)), [torch.ones(1, 3, 8, 8)])
