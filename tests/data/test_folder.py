"""Folders: what is found, in memory and streamed, damaged files, workers."""

import os
import warnings
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.files import MissingData, find_images
from zoo.data.folder import ImageFolder, LabelledImageFolder
from zoo.data.reading import UnreadableImage
from zoo.data.sources import InMemoryImages

FILES = sorted(f"{'deeper/still/' if i % 3 == 0 else ''}{i:02}.{'PNG' if i % 2 else 'png'}" for i in range(12))


def folder(root, arguments, **change):
    data = ImageFolder(root=str(root), **{**arguments, **change})
    data.setup("fit")
    return data


def test_images_are_found_below_in_order_and_hidden_ones_are_not(images):
    assert find_images(images) == FILES


def test_links_are_followed_and_loops_end(images, tmp_path):
    (images / "deeper" / "loop").symlink_to(images)
    (images / "deeper" / "itself").symlink_to(images / "deeper")
    (tmp_path / "elsewhere").mkdir()
    Image.new("L", (2, 2)).save(tmp_path / "elsewhere" / "linked.png")
    (images / "outside").symlink_to(tmp_path / "elsewhere")
    assert find_images(images) == sorted([*FILES, "outside/linked.png"])


@pytest.mark.parametrize(("workers", "fit"), [(0, "pad"), (2, "crop")])
def test_streaming_equals_memory_bit_for_bit(images, of_folder, workers, fit):
    memory = folder(images, of_folder, fit=fit, num_workers=workers)
    stream = folder(images, of_folder, fit=fit, num_workers=workers, memory_limit_mb=0)
    assert (memory.sets["train"].streams, stream.sets["train"].streams) == (False, True)
    batches = list(islice(zip(memory.train_dataloader(), stream.train_dataloader(), strict=True), 5))
    banks = [data.evaluation_loader(split="train", num=14, batch_size=5) for data in (memory, stream)]
    batches += list(zip(*banks, strict=True))
    for one, other in batches:
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_workers_follow_the_epoch(images, of_folder):
    loader = folder(images, of_folder, num_workers=1, memory_limit_mb=0).train_dataloader()
    stream = iter(loader)
    per_epoch = loader.sampler.per_epoch
    epochs = [[row for batch in islice(stream, per_epoch) for row in batch.index.tolist()] for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))


def test_an_unreadable_file_stops_the_decoding(images, of_folder):
    (images / "05.PNG").write_bytes((images / "05.PNG").read_bytes()[:100])
    with pytest.raises(UnreadableImage, match=rf"{images}/05\.PNG: "):
        folder(images, of_folder)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_file_stops_the_stream_with_one_sentence(images, of_folder, workers):
    (images / "05.PNG").write_text("no image")
    data = folder(images, of_folder, memory_limit_mb=0, num_workers=workers)
    with pytest.raises(UnreadableImage) as caught:
        list(data.train_dataloader())
    assert str(caught.value) == f"{images}/05.PNG: not an image that Pillow knows."


@pytest.mark.slow
def test_skipping_in_memory_counts_and_warns_once(images, of_folder):
    for name in ("05.PNG", "08.png"):
        (images / name).write_text("no image")
    with pytest.warns(UserWarning, match="2 of 12 files") as caught:
        data = folder(images, of_folder, on_error="skip")
    assert len(caught) == 1
    assert "05.PNG: not an image" in str(caught[0].message)
    assert data.skipped == ["05.PNG", "08.png"]
    assert len(data.split("train")) == 10
    for name in FILES:
        (images / name).write_text("no image")
    with pytest.warns(UserWarning, match="12 of 12"), pytest.raises(ValueError, match="has 0 training images"):
        folder(images, of_folder, on_error="skip")


@pytest.mark.parametrize("workers", [0, 2])
def test_skipping_in_a_stream_takes_the_next_image_and_counts(images, of_folder, workers):
    whole = folder(images, of_folder).split("train")[list(range(12))].image
    for name in ("05.PNG", "07.PNG"):
        (images / name).write_text("no image")
    data = folder(images, of_folder, memory_limit_mb=0, num_workers=workers, on_error="skip")
    next_good = {FILES.index("05.PNG"): 5, FILES.index("07.PNG"): 5}  # rows 3 and 4
    loader = data.train_dataloader()
    stream, per_epoch = iter(loader), loader.sampler.per_epoch
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batches = list(islice(stream, per_epoch))
        rows = [row for batch in batches for row in batch.index.tolist()]
        assert sorted(rows) == sorted(next_good.get(row, row) for row in range(12))
        assert all(torch.equal(batch.image, whole[batch.index]) for batch in batches)
    del stream
    assert data.skipped == ["05.PNG", "07.PNG"]
    with pytest.warns(UserWarning, match=r"2 unreadable files .*05\.PNG, 07\.PNG"):
        data.teardown("fit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bank = torch.cat([b.index for b in data.evaluation_loader(split="train", num=12, batch_size=5)])
    assert bank.tolist() == list(range(12))  # positions, whatever took a file's place


def test_a_stream_of_nothing_readable_ends(images, of_folder):
    for name in FILES:
        (images / name).write_text("no image")
    data = folder(images, of_folder, memory_limit_mb=0, on_error="skip")
    with pytest.warns(UserWarning, match="takes its place"), pytest.raises(UnreadableImage, match="none of its 12"):
        next(iter(data.train_dataloader()))


def test_wrong_roots_are_explained(images, of_folder, tmp_path):
    with pytest.raises(MissingData, match=r"set data\.root=~/"):
        ImageFolder(root=None, **of_folder)
    with pytest.raises(MissingData, match="nowhere does not exist"):
        folder(tmp_path / "nowhere", of_folder)
    with pytest.raises(MissingData, match="is a file"):
        folder(images / "notes.txt", of_folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingData, match=r"empty holds no images: .* \.jpg \.jpeg"):
        folder(tmp_path / "empty", of_folder)
    with pytest.raises(ValueError, match=r"data=folder \(.*images\) has 12 training images.*data\.batch_size=12"):
        folder(images, of_folder, batch_size=13)


@pytest.mark.parametrize(("argument", "value"), [("on_error", "ignore"), ("test_fraction", 1.0), ("background", "no")])
def test_wrong_arguments_are_named(images, of_folder, argument, value):
    with pytest.raises(ValueError, match=rf"data\.{argument}="):
        folder(images, of_folder, **{argument: value})


def test_home_is_expanded(images, of_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(images.parent))
    assert len(folder("~/images", of_folder).split("train")) == 12


def test_the_test_fraction_keeps_files_on_their_side(images, of_folder):
    data = folder(images, of_folder, test_fraction=0.4, memory_limit_mb=0)
    train, test = data.split("train").files, data.split("test").files
    assert sorted([*train, *test]) == FILES
    assert 1 <= len(test) <= 8
    Image.new("L", (9, 9)).save(images / "new.png")
    again = folder(images, of_folder, test_fraction=0.4, memory_limit_mb=0)
    assert set(test) <= set(again.split("test").files)
    assert set(train) <= set(again.split("train").files)
    with pytest.raises(ValueError, match=r"data\.test_fraction=0\.1"):
        folder(images, of_folder).split("test")


@pytest.mark.parametrize("limit", [0, 100])
def test_the_fingerprint_follows_files_and_parameters(images, of_folder, limit):
    def prints(**change):
        return folder(images, of_folder, memory_limit_mb=limit, **change).fingerprint("train")

    before = prints()
    assert before == prints(num_workers=1, seed=3)
    assert len({before, prints(fit="pad"), prints(background="black"), prints(image_size=9)}) == 4
    os.utime(images / "05.PNG", ns=(1, 1))
    assert (prints() == before) == (limit > 0)  # in memory only the pixels count
    Image.new("RGB", (14, 15)).save(images / "05.PNG")
    assert prints() != before


def labelled(tmp_path, names=("cat", "dog"), n=4):
    for number, name in enumerate(names):
        (tmp_path / name / "more").mkdir(parents=True)
        for i in range(n):
            path = tmp_path / name / ("more" if i else ".") / f"{i}.png"
            Image.fromarray(np.full((8, 8), 100 * number + i, np.uint8)).save(path)
    return tmp_path


@pytest.mark.parametrize("limit", [0, 100])
def test_labels_are_the_folders(of_folder, tmp_path, limit):
    (tmp_path / "empty class").mkdir()
    data = LabelledImageFolder(root=str(labelled(tmp_path)), **{**of_folder, "memory_limit_mb": limit})
    with pytest.warns(UserWarning, match="without an image are no classes: empty class"):
        data.setup("fit")
    assert data.description == "labelled_folder: 8 training images, 8x8, 3 channels, 2 classes of 4: cat, dog"
    assert data.classes == ["cat", "dog"]
    assert data.num_classes == 2
    batch = data.split("train")[list(range(8))]
    assert batch.label.tolist() == [0] * 4 + [1] * 4
    assert torch.equal(batch.image[:, 0, 0, 0] // 100, batch.label)
    assert len(data.fingerprint("train")) == 64
    assert isinstance(data.split("train"), InMemoryImages) == (limit > 0)


def test_labelled_folders_that_are_none_are_explained(images, of_folder, tmp_path):
    with pytest.raises(MissingData, match="data=folder"):
        LabelledImageFolder(root=str(images), **of_folder).setup("fit")
    root = labelled(tmp_path / "split", ("train", "test"))
    with pytest.raises(MissingData, match=rf"splits .*data\.root={root}/train"):
        LabelledImageFolder(root=str(root), **of_folder).setup("fit")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingData, match="holds no images"):
        LabelledImageFolder(root=str(tmp_path / "empty"), **of_folder).setup("fit")
