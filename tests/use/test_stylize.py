"""Style transfer as an optimisation: the gradient in tiles is that of the whole, it descends, and colours stay."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.networks import perceptual
from zoo.networks.perceptual import CLASSIFIER, GATYS, Layers, Perceptual, StyleTarget, gram
from zoo.use import stylize
from zoo.use.stylize import Objective, Recipe, coloured, luminance, matched, plan, sizes_of_scales, stylized

WORDS = {"setting": "--vgg-weights", "choice": "--features"}


@pytest.fixture(scope="module")
def features() -> Perceptual:
    return perceptual.load(CLASSIFIER, None, **WORDS)


def noise(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def small_vgg() -> Perceptual:
    """Pooled by 2, as VGG: a size that is no multiple of 4 is rounded down."""
    torch.manual_seed(0)
    trunk = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU()),
    )
    return Perceptual("small", trunk, {"a": 1, "b": 4, "c": 7}, "", torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1))


@pytest.mark.parametrize("kind", ["shipped", "pooled"])
@pytest.mark.parametrize("size", [(96, 64), (101, 67)])
def test_in_tiles_the_gradient_is_that_of_the_whole(kind: str, size: tuple[int, int], features: Perceptual) -> None:
    """And both are the plain formula's, differentiated by autograd."""
    network = features if kind == "shipped" else small_vgg()
    layers = GATYS[CLASSIFIER] if kind == "shipped" else Layers(("b",), ("a", "b", "c"))
    target = StyleTarget(network, layers, [noise(48, 40, seed=1)])
    x, p = noise(*size, seed=2), noise(*size, seed=3)
    recipe = Recipe(content_weight=2.0, style_weight=5.0, tv_weight=0.5)
    plain = x.clone().requires_grad_()
    content, style = target.terms(plain, p)
    variation = perceptual.total_variation(plain)
    expected = torch.autograd.grad(2 * content + 5 * style + 0.5 * variation, plain)[0]
    seen = set()
    for tile in (512, 32, 24):
        objective = Objective(target, p, replace(recipe, tile=tile))
        seen.add(len(objective.tiles.places))
        losses, gradient = objective(x)
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-7)
        for name, value in (("content", content), ("style", style), ("total_variation", variation)):
            assert losses[name] == pytest.approx(value.item(), rel=1e-4), name
        assert objective.total(losses) == pytest.approx((2 * content + 5 * style + 0.5 * variation).item(), rel=1e-4)
    assert min(seen) == 1
    assert max(seen) >= 6


@pytest.mark.slow
def test_styles_are_looked_at_in_tiles_too(features: Perceptual, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are resized to the pixels of the content: memory follows the tile, not the picture."""
    styles = [noise(101, 67, seed=1), noise(40, 90, seed=2)]
    whole = StyleTarget(features, GATYS[CLASSIFIER], styles, [3.0, 1.0])
    parts = stylize.style_target(features, styles, [3.0, 1.0], 32)
    for one, other in zip(whole.grams, parts.grams, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-7)
    assert parts.content_scale == pytest.approx(whole.content_scale, rel=1e-5)
    sides: list[int] = []
    forward = Perceptual.forward

    def watched(self: Perceptual, image: Any, layers: Any) -> Any:
        sides.append(max(image.shape[2:]))
        return forward(self, image, layers)

    monkeypatch.setattr(Perceptual, "forward", watched)
    list(stylized(features, noise(120, 96), [noise(50, 60)], [1.0], Recipe(steps=1, scales=1, tile=32)))
    assert max(sides) <= 32 + 2 * stylize.Tiles(features, whole.names, (120, 96), 32).halo < 96


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
@pytest.mark.parametrize("start", ["noise", "content"])
def test_it_comes_nearer_to_both(optimiser: Any, start: Any, features: Perceptual) -> None:
    content, style = noise(12, 16).repeat_interleave(4, 2).repeat_interleave(4, 3), noise(48, 48, seed=1)
    recipe = Recipe(optimiser=optimiser, start=start, steps=20, scales=1, chunk=5, lr=0.05)
    steps = list(stylized(features, content, [style], [1.0], recipe))
    assert [step.done for step in steps] == [5, 10, 15, 20]
    assert all(step.image.shape == content.shape and step.image.abs().max() <= 1 for step in steps)
    total = lambda step: step.losses["content"] + 100 * step.losses["style"] + step.losses["total_variation"]
    assert total(steps[-1]) < 0.8 * total(steps[0])
    with torch.no_grad():
        alone = StyleTarget(features, GATYS[CLASSIFIER], [style]).terms(content, content)[1]
    assert steps[-1].losses["style"] < 0.5 * alone


def test_a_style_that_is_the_content_changes_nothing(features: Perceptual) -> None:
    content = noise(48, 48)
    (step,) = stylized(features, content, [content], [1.0], Recipe(tv_weight=0, steps=5, scales=1))
    torch.testing.assert_close(step.image, content, rtol=0, atol=1e-3)


def test_without_content_a_texture_has_the_style_of_its_own(features: Perceptual) -> None:
    style = noise(16, 16, seed=4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    recipe = Recipe(content_weight=0, tv_weight=0, start="noise", steps=30, scales=1)
    *_, step = stylized(features, noise(40, 40), [style], [1.0], recipe)
    assert step.losses["style"] < 0.03


def test_same_seed_same_noise_other_seed_other(features: Perceptual) -> None:
    one, again, other = (
        list(stylized(features, noise(32, 32), [noise(32, 32, seed=1)], [1.0], Recipe(start="noise", steps=2, seed=s)))
        for s in (1, 1, 2)
    )
    assert torch.equal(one[-1].image, again[-1].image)
    assert not torch.equal(one[-1].image, other[-1].image)


def test_coarse_to_fine(features: Perceptual) -> None:
    recipe = Recipe(steps=8, scales=3, chunk=8)
    steps = list(stylized(features, noise(96, 130), [noise(50, 40, seed=1)], [1.0], recipe))
    assert [(step.scale, step.size) for step in steps] == [(1, (24, 32)), (2, (48, 65)), (3, (96, 130))]
    assert steps[-1].done == 24  # no fewer at a fine scale than FEWEST, or than were asked for
    planned = plan(features, (1024, 768), Recipe(steps=200))
    assert planned == [((256, 192), 200), ((512, 384), 100), ((1024, 768), 50)]
    assert sizes_of_scales(100, 100, None, 13) == [(100, 100)]
    assert sizes_of_scales(4096, 20, None, 13) == [(4096, 20)]
    with pytest.raises(ValueError, match=r"--scales=4 begins with 8x8 pixels, and the features see 13 at once"):
        sizes_of_scales(64, 64, 4, 13)


def test_colours_stay_and_luminance_changes() -> None:
    image, original = 0.5 * noise(9, 8, seed=1), 0.3 * noise(9, 8, seed=2)
    result = coloured(image, original)
    torch.testing.assert_close(luminance(result), luminance(image))
    yiq = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    chroma = lambda x: torch.einsum("kc,nchw->nkhw", yiq, x)[:, 1:]
    torch.testing.assert_close(chroma(result), chroma(original), rtol=0, atol=2e-3)
    style = matched(0.2 * luminance(noise(30, 30)) + 0.5, 0.5 * luminance(original))
    assert style.mean().item() == pytest.approx(0.5 * luminance(original).mean().item(), abs=1e-3)
    assert style.std().item() == pytest.approx(0.5 * luminance(original).std().item(), rel=0.02)


def test_a_picture_that_keeps_its_colours(features: Perceptual) -> None:
    content = 0.5 * noise(32, 32) * torch.tensor([1.0, 0.2, 0.1]).view(1, 3, 1, 1)
    recipe = Recipe(steps=5, keep_colour=True)
    *_, step = stylized(features, content, [noise(32, 32, seed=1)], [1.0], recipe)
    rest = step.image - luminance(step.image) - (content - luminance(content))
    inside = (step.image.abs() < 1).all(1, keepdim=True).expand_as(rest)
    assert rest[inside].abs().max() < 1e-5
    assert (luminance(step.image) - luminance(content)).abs().max() > 0.01


def test_what_diverges_says_so(features: Perceptual, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Objective, "__call__", lambda self, x: ({"content": float("nan")}, x * float("nan")))
    monkeypatch.setattr(Objective, "total", lambda self, losses: float("nan"))
    with pytest.raises(FloatingPointError, match="numbers that are none"):
        list(stylized(features, noise(32, 32), [noise(32, 32)], [1.0], Recipe(steps=1)))


def test_a_style_has_the_pixels_of_the_content() -> None:
    height, width = stylize.size_of_style(noise(50, 100), (64, 64), 1.0, 8)
    assert (height, width) == (45, 91)
    assert height * width == pytest.approx(64 * 64, rel=0.01)
    assert stylize.size_of_style(noise(50, 100), (64, 64), 0.01, 8) == (8, 16)


def test_a_planted_defect_is_seen(features: Perceptual) -> None:
    """Without pixels around a tile its gradient is another: the test above would fail."""
    target = StyleTarget(features, GATYS[CLASSIFIER], [noise(48, 40, seed=1)])
    whole = Objective(target, noise(64, 64), Recipe())(noise(64, 64, seed=2))[1]
    bare = Objective(target, noise(64, 64), Recipe(tile=32))
    bare.tiles.halo = 0
    bare.P = [bare.tiles.maps(noise(64, 64), place, target.layers.content) for place in bare.tiles.places]
    assert (bare(noise(64, 64, seed=2))[1] - whole).abs().max() > 1e-3 * whole.abs().max()
    assert gram(noise(4, 4)).shape == (1, 3, 3)
