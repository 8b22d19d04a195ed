"""The cache of a folder: the same images, made once, whole or not at all."""

import errno
import json
import os
import pickle
import shutil
import threading
import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data import cache as caches
from zoo.data.cache import NoRoom
from zoo.data.folder import ImageFolder, LabelledImageFolder
from zoo.data.reading import Reader, UnreadableImage
from zoo.data.sources import CachedImages, InMemoryImages, StreamedImages


def folder(root, arguments, **change):
    data = ImageFolder(root=str(root), **{**arguments, "cache": True, **change})
    data.prepare_data()
    data.setup("fit")
    return data


def cached(tmp_path: Path) -> list[Path]:
    """What lies in the cache, but for locks."""
    return sorted(p for p in (tmp_path / "cache").glob("folders/*") if p.suffix != ".lock")


@pytest.fixture
def reads(monkeypatch):
    """The files that are decoded, in the order of decoding."""
    seen, call = [], Reader.__call__

    def counting(self, path):
        seen.append(Path(path).name)
        return call(self, path)

    monkeypatch.setattr(Reader, "__call__", counting)
    return seen


@pytest.mark.parametrize(("workers", "fit"), [(0, "pad"), (2, "crop")])
def test_it_equals_the_stream_bit_for_bit(images, of_folder, workers, fit):
    settings = {"fit": fit, "num_workers": workers, "test_fraction": 0.4, "flip": True}
    cached = folder(images, of_folder, **settings)
    stream = folder(images, of_folder, cache=False, memory_limit_mb=0, **settings)
    for split in ("train", "test"):
        assert (type(cached.split(split)), type(stream.split(split))) == (CachedImages, StreamedImages)
        assert cached.fingerprint(split) == stream.fingerprint(split)
        banks = [data.evaluation_loader(split=split, num=9, batch_size=4) for data in (cached, stream)]
        for one, other in zip(*banks, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    for one, other in islice(zip(cached.train_dataloader(), stream.train_dataloader(), strict=True), 5):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_shapes_of_several_arrays_with_gaps(tmp_path):
    """An unreadable image has as many arrays as the others, of nothing; of a set that is unreadable each has one."""
    arrays = [np.full(shape, n, np.uint8) for n, shape in enumerate([(1, 2, 3), (4, 5, 6), (7, 1, 1), (2, 2, 2)])]
    images = [UnreadableImage("a"), (arrays[0], arrays[1]), UnreadableImage("b"), (arrays[2], arrays[3])]
    with (tmp_path / "pixels").open("wb") as file:
        shapes, unreadable = caches._write(file, iter(images))
        assert shapes.dtype == np.int64
        assert shapes.tolist() == [
            [[0, 0, 0], [0, 0, 0]], [[1, 2, 3], [4, 5, 6]], [[0, 0, 0], [0, 0, 0]], [[7, 1, 1], [2, 2, 2]]
        ]  # fmt: skip
        assert unreadable == {0: "a", 2: "b"}
        assert caches._write(file, iter(images[:1]))[0].tolist() == [[[0, 0, 0]]]
    assert (tmp_path / "pixels").read_bytes() == b"".join(array.tobytes() for array in arrays)


def test_labels_are_kept(of_folder, tmp_path):
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (8, 8), 100 * number + i).save(tmp_path / "set" / name / f"{i}.png")
    data = LabelledImageFolder(root=str(tmp_path / "set"), **{**of_folder, "cache": True})
    data.setup("fit")
    batch = data.split("train")[range(6)]
    assert batch.label.tolist() == [0, 0, 0, 1, 1, 1]
    assert batch.image[:, 0, 0, 0].tolist() == [0, 1, 2, 100, 101, 102]


def test_it_is_made_once_and_read_ever_after(images, of_folder, reads, tmp_path):
    folder(images, of_folder)
    assert len(reads) == 12
    folder(images, of_folder)
    folder(images, of_folder, num_workers=1, seed=3)
    assert len(reads) == 12
    (path,) = cached(tmp_path)
    assert path.name.startswith("images-")
    assert json.loads((path / "about.json").read_text())["root"] == str(images)
    assert np.load(path / "shapes.npy").tolist() == [[[3, 8, 8]]] * 12
    assert (path / "pixels").stat().st_size == 12 * 3 * 8 * 8


def test_another_size_or_fit_has_its_own(images, of_folder, tmp_path):
    for change in ({}, {"image_size": 9}, {"fit": "pad"}, {"channels": 1}, {"background": "black"}):
        folder(images, of_folder, **change)
    assert len(cached(tmp_path)) == 5


@pytest.mark.parametrize("change", ["touched", "added", "removed", "replaced"])
def test_a_changed_folder_is_converted_anew_and_the_old_cache_goes(images, of_folder, reads, tmp_path, change):
    folder(images, of_folder)
    new = Image.new("RGB", (9, 9), "red")
    if change == "touched":
        os.utime(images / "05.PNG", ns=(1, 1))
    elif change == "removed":
        (images / "05.PNG").unlink()
    else:
        new.save(images / ("05.PNG" if change == "replaced" else "new.png"))
    data = folder(images, of_folder)
    assert len(reads) == 12 + len(data.split("train"))
    assert len(cached(tmp_path)) == 1
    stream = folder(images, of_folder, cache=False, memory_limit_mb=0)
    rows = list(range(len(stream.split("train"))))
    assert torch.equal(data.split("train")[rows].image, stream.split("train")[rows].image)


def test_a_damaged_cache_is_made_anew(images, of_folder, reads, tmp_path):
    folder(images, of_folder)
    (path,) = cached(tmp_path)
    content = (path / "pixels").read_bytes()
    (path / "pixels").write_bytes(content[:-10])
    folder(images, of_folder)
    (path / "about.json").write_text("{")
    folder(images, of_folder)
    (path / "shapes.npy").write_bytes(b"")
    folder(images, of_folder)
    assert len(reads) == 48
    assert (path / "pixels").read_bytes() == content


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_conversion_leaves_nothing(images, of_folder, tmp_path, monkeypatch, error):
    call = Reader.__call__

    def interrupted(self, path):
        if Path(path).name == "07.PNG":
            raise error
        return call(self, path)

    monkeypatch.setattr(Reader, "__call__", interrupted)
    with pytest.raises(error):
        folder(images, of_folder)
    monkeypatch.setattr(Reader, "__call__", call)
    assert cached(tmp_path) == []
    assert isinstance(folder(images, of_folder).split("train"), CachedImages)


def test_what_a_killed_conversion_left_is_swept(images, of_folder, tmp_path):
    folder(images, of_folder)
    (path,) = cached(tmp_path)
    left = path.with_name(f".{path.name}.0123")
    shutil.copytree(path, left)
    shutil.rmtree(path)
    folder(images, of_folder)
    assert cached(tmp_path) == [path]


def test_an_earlier_cache_outlives_an_interrupted_conversion(images, of_folder, tmp_path):
    folder(images, of_folder)
    (images / "05.PNG").write_text("no image")
    with pytest.raises(UnreadableImage, match=r"05\.PNG: not an image"):
        folder(images, of_folder)
    (path,) = cached(tmp_path)
    assert len(np.load(path / "shapes.npy")) == 12


def test_two_at_once_make_one(images, of_folder, reads, tmp_path, capsys):
    sets = [ImageFolder(root=str(images), **{**of_folder, "cache": True}) for _ in range(4)]
    threads = [threading.Thread(target=data.prepare_data) for data in sets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 12
    assert len(cached(tmp_path)) == 1


def test_unreadable_files_are_replaced_as_in_a_stream(images, of_folder, reads):
    for name in ("05.PNG", "11.PNG"):
        (images / name).write_text("no image")
    data = folder(images, of_folder, on_error="skip")
    stream = folder(images, of_folder, cache=False, memory_limit_mb=0, on_error="skip")
    rows = list(range(12))
    with pytest.warns(UserWarning, match="takes its place"):
        assert all(
            torch.equal(a, b) for a, b in zip(data.split("train")[rows], stream.split("train")[rows], strict=True)
        )
    assert data.skipped == stream.skipped == ["05.PNG", "11.PNG"]
    with pytest.warns(UserWarning, match="2 unreadable files"):
        data.teardown("fit")
    again = folder(images, of_folder, on_error="skip")
    assert again.skipped == ["05.PNG", "11.PNG"]
    for file in stream.split("train").files:
        (images / file).write_text("no image")
    with pytest.raises(UnreadableImage, match="none of its 12"):
        folder(images, of_folder, on_error="skip")


def test_auto_is_for_sets_that_do_not_fit_the_memory(images, of_folder):
    kinds = [type(folder(images, of_folder, cache="auto", memory_limit_mb=limit).split("train")) for limit in (100, 0)]
    assert kinds == [InMemoryImages, CachedImages]


def test_without_room_auto_streams_and_true_says_so(images, of_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "room", lambda folder: 1.5 * 12 * 3 * 8 * 8)
    auto = {"cache": "auto", "memory_limit_mb": 0}
    with pytest.warns(UserWarning, match=r"images take .* GiB once converted.*data\.cache=false"):
        data = folder(images, of_folder, **auto)
    assert isinstance(data.split("train"), StreamedImages)
    assert isinstance(folder(images, of_folder).split("train"), CachedImages)  # a whole disk will do
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(folder(images, of_folder, **auto).split("train"), CachedImages)  # it is there now


def test_a_disk_that_fills_up_is_a_sentence(images, of_folder, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caches, "_write", full)
    with pytest.raises(NoRoom, match=r"No space left on device.*make room.*data\.cache=false"):
        folder(images, of_folder)
    with pytest.warns(UserWarning, match="No space left"):
        data = folder(images, of_folder, cache="auto", memory_limit_mb=0)
    assert isinstance(data.split("train"), StreamedImages)
    assert cached(tmp_path) == []


def test_a_worker_that_is_started_anew_maps_the_file_itself(images, of_folder):
    images = folder(images, of_folder).split("train")
    sent = pickle.dumps(images)
    assert len(sent) < 5_000  # not the images
    assert torch.equal(pickle.loads(sent)[[3, 1]].image, images[[3, 1]].image)


def test_a_file_of_other_images_is_not_mapped(images, of_folder):
    """Another run has converted the changed folder anew, and a worker starts later."""
    packed = pickle.dumps(folder(images, of_folder).split("train"))
    Image.new("RGB", (40, 30), "red").save(images / "new.png")
    folder(images, of_folder)
    with pytest.raises(ValueError, match="start again"):
        pickle.loads(packed)[[0]]


def test_another_word_is_refused(images, of_folder):
    with pytest.raises(ValueError, match=r"data\.cache=often is unknown: use auto, true or false"):
        folder(images, of_folder, cache="often")
