"""Pairs that are made on the fly: what each corruption does, that it is drawn anew and always the same again."""

from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.corrupted_folder import CorruptedFolder
from zoo.data.corruption import NAMES, Corruption

STRENGTHS = {"mask": [0.25, 0.5], "mask_shape": "rectangle", "noise": 20, "small": 4, "blur": 2.0, "jpeg": 20}


def corrupt(*names, fill=(10, 20, 30), **change):
    return Corruption(names, **{**STRENGTHS, **change}, fill=fill)


def of_seed(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def photograph():
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 20, 28), dtype=np.uint8))


@pytest.fixture
def arguments(of_pairs, images):
    settings = {**of_pairs, "channels_x": 3, "channels_y": 3, "root": str(images), "test_root": None}
    return {**settings, "image_size": [8, 10], "load_size": [10, 13], **STRENGTHS, "test_fraction": 0.3, "flip": True}


def batches(data, number, start=0):
    """Of the training, as a trainer would be given them."""
    data.setup("fit")
    data.shown = start * data.batch_size
    return [data.rows.floats(batch) for batch in islice(data.train_dataloader(), number)]


def test_what_each_corruption_leaves(photograph):
    image = photograph
    grey = corrupt("grey")(image, of_seed())
    exact = (image.double() * torch.tensor([0.299, 0.587, 0.114]).double().view(3, 1, 1)).sum(0)
    assert (grey == grey[:1]).all()
    assert (grey[0] - exact).abs().max() <= 0.51

    flat = torch.full((1, 200, 200), 128, dtype=torch.uint8)
    noisy = corrupt("noise")(flat, of_seed()).double() - 128
    assert abs(noisy.mean()) < 0.5
    assert abs(noisy.std() - 20) < 0.5

    for name in ("small", "blur", "jpeg"):
        assert (corrupt(name)(flat, of_seed()) == 128).all()  # what has no detail loses none
        assert corrupt(name)(image, of_seed()).double().std() < 0.8 * image.double().std(), name
    # An image of so few pixels that none of its own is left.
    assert corrupt("small", small=64)(image, of_seed()).unique().numel() <= 3
    assert (corrupt("small", small=1)(image, of_seed()) == image).all()
    assert (corrupt("blur", blur=0)(image, of_seed()) == image).all()


@pytest.mark.parametrize("size", [(20, 28), (1, 2), (7, 3)])
@pytest.mark.parametrize("shape", ["rectangle", "strokes", "both"])
def test_a_mask_hides_a_part_in_the_colour_of_holes(shape, size):
    white, shares = torch.full((3, *size), 255, dtype=torch.uint8), []
    for seed in range(40):
        masked = corrupt("mask", mask_shape=shape)(white, of_seed(seed))
        hidden = (masked == torch.tensor([10, 20, 30]).view(3, 1, 1)).all(0)
        assert ((masked == 255).all(0) | hidden).all()
        assert 0 < hidden.sum() < hidden.numel()
        shares.append((hidden.sum(0).bool().sum() / size[1]).item())
        if shape == "rectangle" and size == (20, 28):
            rows, columns = hidden.any(1), hidden.any(0)
            assert (hidden == rows[:, None] & columns).all()
            assert 5 <= rows.sum() <= 10
            assert 7 <= columns.sum() <= 14
    assert len(set(shares)) > 1 or size != (20, 28)


def test_several_go_one_after_another_and_transparency_stays(photograph):
    image = torch.cat([photograph, photograph[:1]])
    result = corrupt("grey", "noise")(image, of_seed())
    assert (result[3] == image[3]).all()
    grey = corrupt("grey")(image, of_seed())
    assert (corrupt("noise")(grey, of_seed()) == result).all()
    assert not (corrupt("noise", "grey")(image, of_seed()) == result).all()


def test_pairs_show_the_same_place_of_the_same_image(arguments, images):
    data = CorruptedFolder(**{**arguments, "corruption": "mask", "background": "#808080"})
    for batch in batches(data, 3):
        assert batch.x.shape == batch.y.shape == (4, 3, 8, 10)
        assert batch.aligned.all()
        hidden = ((batch.x * 127.5 + 127.5).round() == 128).all(1, keepdim=True)
        assert (torch.where(hidden, batch.y, batch.x) == batch.y).all()
        assert all(4 <= n <= 20 for n in hidden.sum((1, 2, 3)))
    words = data.description
    assert "training pairs and" in words
    assert "8x10, 3 + 3 channels, X: mask; passed over: " in words


def test_grey_is_one_channel_or_three(arguments):
    for channels in (1, 3):
        data = CorruptedFolder(**{**arguments, "corruption": ["grey"], "channels_x": channels})
        (batch,) = batches(data, 1)
        assert batch.x.shape[1] == channels
        assert (batch.x == batch.x[:, :1]).all()
        assert not (batch.y == batch.y[:, :1]).all()


@pytest.mark.parametrize("name", NAMES)
def test_drawn_anew_in_each_epoch_and_resumed_to_the_bit(arguments, name):
    arguments = {**arguments, "corruption": name, "test_fraction": 0.0, "load_size": None, "flip": False}
    whole = batches(CorruptedFolder(**arguments), 6)  # of 3 batches an epoch
    resumed = batches(CorruptedFolder(**arguments), 2, start=4)
    for one, other in zip(whole[4:], resumed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    epochs = [{int(i): x for b in part for i, x in zip(b.index, b.x, strict=True)} for part in (whole[:3], whole[3:])]
    same = [torch.equal(epochs[0][row], epochs[1][row]) for row in range(12)]
    assert all(same) == (name in ("grey", "small", "blur", "jpeg"))  # of one strength each here


def test_workers_and_ranks_show_the_same_images(arguments):
    arguments = {**arguments, "corruption": ["mask", "noise"]}
    alone = batches(CorruptedFolder(**arguments), 2)
    with_workers = batches(CorruptedFolder(**{**arguments, "num_workers": 1, "memory_limit_mb": 0}), 2)
    for one, other in zip(alone, with_workers, strict=True):
        assert torch.equal(one.x, other.x)
    for number, batch in enumerate(alone):
        shares = []
        for rank in (0, 1):
            data = CorruptedFolder(**arguments)
            data.setup("fit")
            data.rank_and_world_size = lambda rank=rank: (rank, 2)
            shares.append(data.rows.floats(next(islice(data.train_dataloader(), number, None))))
        assert torch.equal(torch.stack([share.x for share in shares], 1).flatten(0, 1), batch.x)


def test_test_images_never_change(arguments):
    def bank(**change):
        data = CorruptedFolder(**{**arguments, "corruption": ["mask", "noise"], **change})
        data.setup()
        batches = list(data.evaluation_loader(split="test", num=5, batch_size=2))
        return torch.cat([batch.x for batch in batches]), torch.cat([batch.y for batch in batches]), data

    x, y, data = bank()
    again = bank(seed=7, flip=False)
    assert torch.equal(x, again[0])
    assert torch.equal(y, again[1])
    count = data.num_images("test")
    assert count < 5
    assert torch.equal(x[0], x[count])  # positions beyond the set repeat it, with the same masks
    assert bank(noise=21)[2].fingerprint("test") != data.fingerprint("test")
    assert bank(blur=1)[2].fingerprint("test") == data.fingerprint("test")  # not asked for
    assert bank(background="black")[2].fingerprint("test") != data.fingerprint("test")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"corruption": "gray"}, r"data\.corruption=gray is unknown: use one or several of grey, mask"),
        ({"corruption": None}, r"data\.corruption=\[\] leaves images as they are: name some"),
        ({"corruption": 3}, r"data\.corruption=3 is unknown: use one or several of"),
        ({"corruption": []}, r"data\.corruption=\[\] leaves images as they are: name some"),
        ({"corruption": ["noise", "noise"]}, r"data\.corruption=\[noise,noise\] has noise twice"),
        (
            {"corruption": "mask", "mask": [0.5, 1.5]},
            r"data\.mask=\[0\.5, 1\.5\] hides more than the image: give",
        ),
        ({"corruption": "mask", "mask": 40}, r"data\.mask=40 hides more than the image"),
        ({"corruption": "mask", "mask": 1.0}, r"data\.mask=1\.0 hides all of the image"),
        ({"corruption": "mask", "mask": [0.5, 0.2]}, r"data\.mask=\[0\.5, 0\.2\] is no share"),
        ({"corruption": "mask", "mask": 0}, r"data\.mask=0 is no share"),
        ({"mask_shape": "circle"}, r"data\.mask_shape=circle is unknown: use one of rectangle, strokes, both"),
        ({"noise": -1}, r"data\.noise=-1 is no strength: give a number, or \[lowest,highest\], within 0 to 255"),
        ({"small": 0.5}, r"data\.small=0\.5 is no strength"),
        ({"jpeg": [1, 2, 3]}, r"data\.jpeg=\[1, 2, 3\] is no strength"),
        ({"channels_y": 1}, r"data\.corruption=grey of images of data\.channels_y=1 leaves them as they are"),
        ({"root": None}, r"data=corrupted_folder needs"),
    ],
)
def test_bad_settings_are_named(arguments, change, words):
    with pytest.raises(ValueError, match=words):
        CorruptedFolder(**{**arguments, "corruption": "grey", **change})


def test_a_transparent_hole_is_a_masked_one(arguments, images, tmp_path):
    """What `zoo translate` lays under transparency is what stands under masks in training."""
    data = CorruptedFolder(**{**arguments, "corruption": "mask", "background": [7, 8, 9]})
    assert data.rows.corruption.fill == (7, 8, 9)
    pixels = np.full((8, 10, 4), 200, np.uint8)
    pixels[2:4, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "hole.png")
    read = data.source.reading.reader((8, 10), 3)(tmp_path / "hole.png")
    assert read[:, 2, 0].tolist() == [7, 8, 9]
