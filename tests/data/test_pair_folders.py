"""Folders of two domains: what belongs together, halves, test images, damaged files."""

import os
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.files import MissingData
from zoo.data.pair_folders import PairedFolder, UnpairedFolder
from zoo.data.pairs import AlignedImages, UnpairedImages
from zoo.data.reading import UnreadableImage
from zoo.data.sources import InMemoryImages


def draw(path, seed, size=(10, 12), channels=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)
    Image.fromarray(pixels.squeeze()).save(path)
    return pixels


@pytest.fixture
def maps(tmp_path):
    """trainA/0_A.png ... beside trainB/0_B.png ..., grey; testA and testB with 3 of each."""
    root = tmp_path / "maps"
    for i in range(9):
        draw(root / "trainA" / f"{i}_A.png", i)
        draw(root / "trainB" / f"{i}_B.png", 100 + i, channels=1)
    for i in range(3):
        draw(root / "testA" / f"{i}_A.png", 200 + i)
        draw(root / "testB" / f"{i}_B.png", 300 + i, channels=1)
    return root


@pytest.fixture
def arguments(of_pairs):
    return {**of_pairs, "channels_x": 3}


def unpaired(root, arguments, **change):
    names = {"folder_x": "trainA", "folder_y": "trainB", "test_folder_x": "testA", "test_folder_y": "testB"}
    data = UnpairedFolder(root=str(root), **{**arguments, **names, "aligned_test": False, **change})
    data.setup("fit")
    return data


def paired(root, arguments, **change):
    names = {"folder_x": "trainA", "folder_y": "trainB", "test_folder_x": "testA", "test_folder_y": "testB"}
    names |= {"suffix_x": "_A", "suffix_y": "_B", "folder": "train", "test_folder": "test"}
    data = PairedFolder(
        root=str(root), **{**arguments, **names, "layout": "folders", "swap": False, "image_size": [10, 12], **change}
    )
    data.setup("fit")
    return data


def pixels(path):
    image = torch.from_numpy(np.array(Image.open(path)))
    return image[None] if image.ndim == 2 else image.permute(2, 0, 1)


def test_two_folders_of_their_own_lengths_and_modes(maps, arguments):
    (maps / "trainB" / "8_B.png").unlink()
    data = unpaired(maps, arguments)
    assert data.description == "unpaired_folder: 9 + 8 training images and 3 + 3 test images, 8x8, 3 + 1 channels"
    assert isinstance(data.split("test"), UnpairedImages)
    batch = next(iter(data.train_dataloader()))
    assert (batch.x.shape[1:], batch.y.shape[1:]) == ((3, 8, 8), (1, 8, 8))


def test_folders_by_name_and_anywhere(maps, arguments, tmp_path):
    (maps / "trainA").rename(maps / "photos")
    (maps / "trainB").rename(tmp_path / "drawings")
    folders = {"folder_x": "photos", "folder_y": str(tmp_path / "drawings")}
    data = unpaired(maps, arguments, **folders, test_folder_x=None, test_folder_y=None)
    assert data.description.startswith("unpaired_folder: 9 + 9 training images, 8x8")
    with pytest.raises(ValueError, match=r"has no test images: .*data\.test_fraction=0\.1.*split=train"):
        data.split("test")


@pytest.mark.parametrize("module", [unpaired, paired])
def test_without_test_folders_a_share_is_held_out(maps, arguments, module):
    for name in ("testA", "testB"):
        (maps / name).rename(maps / f"no_{name}")
    data = module(maps, arguments, test_fraction=0.5)
    parts = [data.split(split)[[(0, 0)] if module is unpaired else [0]] for split in ("train", "test")]
    assert not torch.equal(parts[0].x, parts[1].x)
    if module is paired:
        assert len(data.split("train")) + len(data.split("test")) == 9


def test_aligned_test_images_are_pairs_by_the_order_of_their_names(maps, arguments):
    data = unpaired(maps, arguments, aligned_test=True, image_size=[10, 12])
    assert data.description.startswith("unpaired_folder: 9 + 9 training images and 3 test pairs")
    batch = data.split("test")[[2, 0]]
    assert batch.aligned.all()
    assert torch.equal(batch.x[0], pixels(maps / "testA" / "2_A.png"))
    assert torch.equal(batch.y[0], pixels(maps / "testB" / "2_B.png"))
    assert not data.split("train")[[(0, 0)]].aligned.any()
    (maps / "testB" / "2_B.png").unlink()
    with pytest.raises(MissingData, match=r"testA has 3 and .*testB has 2: give equal numbers"):
        unpaired(maps, arguments, aligned_test=True)
    with pytest.raises(MissingData, match="aligned_test=true needs folders of test images"):
        unpaired(maps, arguments, aligned_test=True, test_folder_x=None, test_folder_y=None, test_fraction=0.5)


@pytest.mark.parametrize("module", [unpaired, paired])
def test_streaming_by_a_worker_equals_memory_bit_for_bit(maps, arguments, module):
    settings = {"num_workers": 1, "image_size": 8, "load_size": [9, 10]}
    memory = module(maps, arguments, **settings)
    stream = module(maps, arguments, **settings, memory_limit_mb=0)
    assert (memory.split("train").streams, stream.split("train").streams) == (False, True)
    batches = list(islice(zip(memory.train_dataloader(), stream.train_dataloader(), strict=True), 4))
    banks = [data.evaluation_loader(split="test", num=5, batch_size=2) for data in (memory, stream)]
    for one, other in batches + list(zip(*banks, strict=True)):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert batches[0][0].x.shape == (4, 3, 9, 10)


@pytest.mark.parametrize("swap", [False, True])
def test_pairs_of_two_folders(maps, arguments, swap):
    channels = {"channels_x": 1, "channels_y": 3} if swap else {}
    data = paired(maps, arguments, swap=swap, **channels)
    for split, number in (("train", 9), ("test", 3)):
        images = data.split(split)
        assert isinstance(images, AlignedImages)
        assert len(images) == number
        batch = images[list(range(number))]
        a, b = (batch.y, batch.x) if swap else (batch.x, batch.y)
        for i in range(number):
            assert torch.equal(a[i], pixels(maps / f"{split}A" / f"{i}_A.png"))
            assert torch.equal(b[i], pixels(maps / f"{split}B" / f"{i}_B.png"))


@pytest.mark.parametrize("swap", [False, True])
def test_pairs_side_by_side(tmp_path, arguments, swap):
    for i in range(6):
        draw(tmp_path / "set" / "train" / f"{i}.png", i, size=(10, 24))
    data = paired(tmp_path / "set", arguments, layout="side_by_side", swap=swap, channels_y=3)
    assert data.description == "paired_folder: 6 training pairs, 10x12, 3 + 3 channels"
    batch = data.split("train")[[4]]
    whole = pixels(tmp_path / "set" / "train" / "4.png")
    halves = [whole[:, :, :12], whole[:, :, 12:]]
    assert torch.equal(batch.x[0], halves[swap])
    assert torch.equal(batch.y[0], halves[not swap])
    prints = [
        paired(
            tmp_path / "set", arguments, layout="side_by_side", swap=swap, channels_y=3, memory_limit_mb=0
        ).fingerprint("train")
        for swap in (False, True)
    ]
    assert prints[0] != prints[1]
    draw(tmp_path / "set" / "train" / "odd.png", 0, size=(10, 23))
    with pytest.raises(UnreadableImage, match=r"odd\.png: .*width 23 has no two halves"):
        paired(tmp_path / "set", arguments, layout="side_by_side", channels_y=3)


def test_images_without_a_partner_are_listed(maps, arguments):
    with pytest.raises(MissingData, match=r"18 have no partner \(0_A, 0_B, 1_A, .*suffix_x=_A"):
        paired(maps, arguments, suffix_x="", suffix_y="")
    (maps / "trainA" / "7_A.png").unlink()
    with pytest.raises(MissingData, match=r"1 have no partner \(7\)"):
        paired(maps, arguments)
    draw(maps / "trainA" / "7_A.png", 0)
    draw(maps / "trainA" / "7_A.bmp", 0)
    with pytest.raises(MissingData, match="trainA holds several images named 7"):
        paired(maps, arguments)


@pytest.mark.parametrize(("limit", "cache"), [(0, False), (0, True), (100, "auto")])
def test_a_pair_with_a_damaged_half_is_skipped_whole(maps, arguments, limit, cache):
    (maps / "trainB" / "5_B.png").write_text("no image")
    if limit:
        with pytest.raises(UnreadableImage, match=r"trainB/5_B\.png: not an image"):
            paired(maps, arguments)

    def skipping():
        data = paired(maps, arguments, on_error="skip", memory_limit_mb=limit, cache=cache)
        batch = data.split("train")[list(range(len(data.split("train"))))]
        data.teardown()
        return data, batch

    with pytest.warns(UserWarning, match=r"1 unreadable files" if cache is True else r"5_B\.png: not an image"):
        data, batch = skipping()
    assert data.skipped == ["5_A.png"]
    assert "1 unreadable files skipped" in data.description
    names = [i for i in range(9) if i != 5] if limit else [0, 1, 2, 3, 4, 6, 6, 7, 8]
    for i, name in enumerate(names):
        assert torch.equal(batch.x[i], pixels(maps / "trainA" / f"{name}_A.png"))
        assert torch.equal(batch.y[i], pixels(maps / "trainB" / f"{name}_B.png"))


def test_a_damaged_image_of_an_unpaired_set_is_skipped_alone(maps, arguments):
    (maps / "trainB" / "5_B.png").write_text("no image")
    with pytest.warns(UserWarning, match="1 of 9 files"):
        data = unpaired(maps, arguments, on_error="skip")
    assert (len(data.split("train").x), len(data.split("train").y)) == (9, 8)
    assert data.skipped == ["5_B.png"]


def test_the_fingerprint_of_a_stream_follows_the_files_of_both(maps, arguments):
    for module in (unpaired, paired):
        before = module(maps, arguments, memory_limit_mb=0).fingerprint("train")
        draw(maps / "trainB" / "3_B.png", 999 if module is paired else 998, size=(11, 13), channels=1)
        assert module(maps, arguments, memory_limit_mb=0).fingerprint("train") != before
        draw(maps / "trainB" / "3_B.png", 103, channels=1)


@pytest.mark.parametrize("module", [unpaired, paired])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folder_y": "trainC"}, r"maps/trainC does not exist: name a folder of images, data\.folder_y=NAME"),
        ({"test_folder_y": "testC"}, r"maps/testC does not exist: .*data\.test_folder_y=NAME"),
        ({"test_folder_y": None}, r"data\.test_folder_y is null"),
        ({"folder_x": "trainA/0_A.png"}, r"0_A\.png is a file"),
        ({"on_error": "ignore"}, r"data\.on_error=ignore"),
        ({"test_fraction": 1.5}, r"data\.test_fraction=1\.5"),
        ({"fit": "squeeze"}, r"data\.fit=squeeze"),
        ({"background": "whit"}, r"data\.background=whit"),
    ],
)
def test_what_is_wrong_is_named(maps, arguments, module, change, said):
    with pytest.raises(ValueError, match=said):
        module(maps, arguments, **change)


def test_missing_and_empty_roots(maps, arguments, tmp_path):
    for module in (unpaired, paired):
        with pytest.raises(MissingData, match=r"nowhere does not exist: set data\.root"):
            module(tmp_path / "nowhere", arguments)
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(MissingData, match="empty holds no images"):
            module(maps, arguments, folder_x=str(tmp_path / "empty"))
    with pytest.raises(MissingData, match=r"needs folders of images: set data\.root"):
        unpaired("", arguments)
    with pytest.raises(ValueError, match=r"data\.layout=columns is unknown"):
        paired(maps, arguments, layout="columns")


def test_a_cache_is_of_the_folders_of_both(maps, arguments, tmp_path):
    """Partners elsewhere of equal names, sizes and times have a cache of their own."""
    data = []
    for level in (10, 200):
        folder = tmp_path / f"partners{level}"
        folder.mkdir()
        for i in range(9):
            Image.new("L", (12, 10), level).save(folder / f"{i}_B.bmp")
            os.utime(folder / f"{i}_B.bmp", (1, 1))
        data.append(paired(maps, arguments, folder_y=str(folder), memory_limit_mb=0, cache=True))
    assert data[0].fingerprint("train") == data[1].fingerprint("train")
    assert [one.split("train")[[0, 8]].y.unique().tolist() for one in data] == [[10], [200]]


def test_small_sets_are_in_memory(maps, arguments):
    assert isinstance(unpaired(maps, arguments).split("train").x, InMemoryImages)
    assert isinstance(paired(maps, arguments).split("train").joint, InMemoryImages)


def test_aligned_names_are_ordered_by_their_numbers(tmp_path, arguments):
    """As plain text img10_B comes before img1_B, but img10 after img1."""
    for i in (1, 2, 10, 11):
        for folder in ("trainA", "testA"):
            draw(tmp_path / folder / f"img{i}.png", i)
        for folder in ("trainB", "testB"):
            draw(tmp_path / folder / f"img{i}_B.png", i)
    data = unpaired(tmp_path, {**arguments, "channels_y": 3, "image_size": [10, 12]}, aligned_test=True)
    batch = next(iter(data.evaluation_loader(split="test", num=4, batch_size=4)))
    assert torch.equal(batch.x, batch.y)


@pytest.mark.parametrize("change", [{"folder_x": "."}, {"folder_y": "trainA"}, {"test_folder_x": "trainA/test"}])
def test_folders_within_each_other_are_refused(maps, arguments, change):
    draw(maps / "trainA" / "test" / "t.png", 1)
    with pytest.raises(MissingData, match="a folder of their own"):
        unpaired(maps, arguments, **change)


def test_a_share_that_leaves_one_domain_without_images_is_named(maps, arguments, tmp_path):
    draw(maps / "one" / "7.png", 1, channels=1)
    absent = {"test_folder_x": "none", "test_folder_y": "none"}
    with pytest.raises(MissingData, match=r"test_fraction=0\.99 leaves none of the images of .*one|trainA"):
        unpaired(maps, arguments, folder_y="one", test_fraction=0.99, **absent)


def test_crops_of_a_small_part_are_pointed_out(maps, arguments):
    with pytest.warns(UserWarning, match=r"data\.load_size=11"):
        unpaired(maps, arguments, image_size=10, load_size=[286, 11])
