"""The composed sets."""

import pytest
import torch

from zoo.data.embedded_pairs import (
    OF_PATCHES,
    ColourDigits,
    MaskedDigits,
    bright_colours,
    colour_in,
    hide_square,
    paint,
    part_of,
    read_photographs,
)
from zoo.data.module import seeded
from zoo.data.pixels import classed


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def arguments(common, cache):
    del common["channels"]
    return {
        **common,
        **{"image_size": 32, "load_size": None, "channels_x": 3, "channels_y": 3, "cache_dir": str(cache)},
    }


def test_colour_digits_are_of_all_classes_and_no_digit_is_in_both_domains(arguments):
    data = ColourDigits(**arguments)
    assert data.classes == list("0123456789")
    assert data.description == (
        "colour_digits: 2,000 + 2,000 training images and 500 + 500 test images, 32x32, 3 + 3 channels"
    )
    everything = {image.numpy().tobytes() for image in classed("mnist5k")[0]}
    plain = set()
    for split, number in (("train", 200), ("test", 50)):
        images = data.split(split)
        assert images.x.labels.bincount().tolist() == images.y.labels.bincount().tolist() == [number] * 10
        plain |= {image.numpy().tobytes() for image in images.y.images[:, :1, 2:30, 2:30].contiguous()}
    assert plain <= everything
    assert len(plain) == len(everything) / 2  # X has the others
    x = data.split("train").x
    again = ColourDigits(**{**arguments, "seed": 9}).split("train").x
    assert torch.equal(x.images, again.images)  # not of the run's seed


def test_colour_digits_in_grey_and_at_other_sizes(arguments):
    data = ColourDigits(**{**arguments, "channels_y": 1, "image_size": 28, "load_size": 30})
    assert data.split("train").x.images.shape == (2000, 3, 30, 30)
    assert data.split("test").y.images.shape == (500, 1, 28, 28)


def test_a_digit_is_painted_over_a_darker_patch():
    digits = torch.zeros(50, 1, 32, 32, dtype=torch.uint8)
    digits[:, :, 8:24, 8:24] = 255
    draw = seeded(1)
    colours = bright_colours(50, draw)
    assert colours.amax(1).sub(1).abs().max() < 1e-6
    assert colours.min() >= 0.4 - 1e-6
    patches = torch.full((50, 3, 32, 32), 255, dtype=torch.uint8)
    painted = paint(digits, patches, colours)
    assert torch.equal(
        painted[:, :, 8:24, 8:24], (255 * colours).round().byte()[:, :, None, None].expand(50, 3, 16, 16)
    )
    assert painted[:, :, :8].unique().tolist() == [128]  # half as bright
    assert colour_in(digits, seed=1, test=False)[:, :, :8].max() <= 128
    assert not torch.equal(colour_in(digits, seed=1, test=False), colour_in(digits, seed=1, test=True))


def test_training_and_test_images_share_no_part_of_a_photograph():
    photographs = read_photographs()
    assert len(photographs) == len(OF_PATCHES)
    for photograph in photographs:
        train, test = (part_of(photograph, test=test) for test in (False, True))
        assert train.width + test.width == photograph.width
        assert min(*train.size, *test.size) >= 96
        assert train.tobytes() != test.tobytes()


def test_masked_digits_differ_in_the_square_alone(arguments):
    data = MaskedDigits(**arguments)
    assert data.description == "masked_digits: 4,000 training pairs and 1,000 test pairs, 32x32, 3 + 3 channels"
    batch = data.split("test")[list(range(1000))]
    hidden = (batch.x == 128).all(1)  # [N, 32, 32]
    outside = ~hidden[:, None].expand_as(batch.x)
    assert torch.equal(batch.x[outside], batch.y[outside])
    assert torch.equal(batch.label_x, torch.arange(10).repeat_interleave(100))
    assert torch.equal(batch.label_x, batch.label_y)
    assert not (batch.y == batch.x).all((1, 2, 3)).any()


def test_squares_lie_anywhere_within_the_margin():
    hidden = (hide_square(torch.zeros(500, 1, 32, 32, dtype=torch.uint8), seed=0) == 128)[:, 0]
    assert hidden.sum((1, 2)).unique().tolist() == [16 * 16]
    tops, lefts = hidden.any(2).byte().argmax(1), hidden.any(1).byte().argmax(1)
    assert set(tops.tolist()) == set(lefts.tolist()) == set(range(4, 13))
    assert hidden.any(0).sum() == 24 * 24
