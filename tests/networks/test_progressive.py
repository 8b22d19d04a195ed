"""Progressive growing: its phases, and what is blended with what while a resolution is faded in."""

import torch

from zoo.networks.progressive import Progressive

SHAPES = [(1, 4, 4), (1, 8, 8), (1, 16, 16)]
CPU = torch.device("cpu")


def test_phases_of_progressive_growing() -> None:
    """4 pixels; 8 faded in, 8; 16 faded in, 16: appendix A.1."""
    growth = Progressive(SHAPES, phase=100)
    at = lambda images: growth.stage(images, CPU)
    assert [at(i) for i in (0, 99)] == [(0, None)] * 2
    assert [at(i) for i in (100, 125, 199)] == [(1, torch.tensor(alpha)) for alpha in (0.0, 0.25, 0.99)]
    assert [at(i) for i in (200, 299)] == [(1, None)] * 2
    assert [at(i) for i in (300, 350)] == [(2, torch.tensor(alpha)) for alpha in (0.0, 0.5)]
    assert [at(i) for i in (400, 500, 999_999)] == [(2, None)] * 3
    assert growth.entries == [0, 1, 2]


def test_both_images_and_real_ones_are_blended_alike() -> None:
    """Figure 2: doubling repeats pixels, halving averages them."""
    growth, stage = Progressive(SHAPES, phase=100), (1, torch.tensor(0.25))
    below, newest, real = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 8, 8), torch.randn(2, 1, 16, 16)
    doubled = lambda image: image.repeat_interleave(2, 2).repeat_interleave(2, 3)
    halved = lambda image: image.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
    assert growth.contributing(stage) == range(0, 2)
    assert torch.equal(growth.join([], below, stage), below)
    torch.testing.assert_close(growth.join([below], newest, stage), 0.75 * doubled(below) + 0.25 * newest)
    at_newest = halved(real)
    torch.testing.assert_close(growth.shown(real, stage), 0.75 * doubled(halved(at_newest)) + 0.25 * at_newest)
    assert growth.contributing((1, None)) == range(1, 2)
    assert torch.equal(growth.join([], newest, (1, None)), newest)
    torch.testing.assert_close(growth.shown(real, (1, None)), at_newest)


def test_features_of_d_meet_one_level_below_the_newest() -> None:
    growth, stage = Progressive(SHAPES, phase=100), (2, torch.tensor(0.25))
    x, h = torch.randn(2, 1, 16, 16), torch.randn(2, 3, 8, 8)
    enter = lambda image, level: image.expand(-1, 3, -1, -1) + level
    halved = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
    torch.testing.assert_close(growth.meet(h, 1, [x], stage, enter), 0.75 * (halved + 1) + 0.25 * h)
    assert growth.meet(h, 0, [x], stage, enter) is h
    assert growth.meet(h, 1, [x], (2, None), enter) is h
