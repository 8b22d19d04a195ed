"""Patches of images at two resolutions: what is drawn, from where it is read, and whole images."""

import os
import threading
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo.batch import LowHigh, from_bytes
from zoo.data.degradation import shrink
from zoo.data.files import MissingData
from zoo.data.patches import at_both, decoded, turned
from zoo.data.reading import Reader, UnreadableImage
from zoo.data.super_resolution import Photos, SuperResolutionFolder


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Arguments of a folder besides its roots."""
    return {
        "test_root": None,
        "test_fraction": 0.0,
        "scale": 2,
        "patch_size": 8,
        "channels": 3,
        **dict.fromkeys(("blur", "noise", "jpeg")),
        "background": "white",
        "on_error": "raise",
        "max_pixels": 10_000,
        "range": None,
        "memory_limit_mb": 100,
        "batch_size": 4,
        "num_workers": 0,
        "flip": True,
        "seed": 1,
        "cache_dir": str(tmp_path / "cache"),
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four images, of which one is grey, one smaller than a patch of 16, and none of even sides."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name, shape in {"a.png": (25, 31, 3), "b.png": (17, 41, 3), "c.png": (33, 19), "d.png": (13, 51, 3)}.items():
        Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    return folder


def read(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)


def trainer(rank: int = 0, world_size: int = 1) -> Any:
    return SimpleNamespace(global_rank=rank, world_size=world_size, training=True, num_devices=world_size)


def turns(patch: Tensor) -> list[Tensor]:
    return [torch.from_numpy(turned(patch.permute(1, 2, 0).numpy(), t).copy()).permute(2, 0, 1) for t in range(8)]


def where(patch: Tensor, image: Tensor) -> tuple[int, int] | None:
    """Where a patch lies in an image, or None."""
    windows = image.unfold(1, patch.shape[1], 1).unfold(2, patch.shape[2], 1)  # [C, y, x, h, w]
    places = (windows == patch[:, None, None]).all(4).all(3).all(0).nonzero()
    return tuple(places[0].tolist()) if len(places) else None  # type: ignore[return-value]


def test_a_patch_is_one_place_at_both_resolutions(root: Path, settings: dict[str, Any]) -> None:
    """In every turn: the low patch is that of the whole image's low version, half as far from its corner."""
    data = SuperResolutionFolder(root=str(root), **settings)
    images = {name: read(root / name) for name in ["a.png", "b.png", "c.png", "d.png"]}
    images = {name: image[:, : image.shape[1] // 2 * 2, : image.shape[2] // 2 * 2] for name, image in images.items()}
    seen = set()
    for batch in islice(data.train_dataloader(), 12):
        assert batch.low.shape == (4, 3, 4, 4)
        assert batch.high.shape == (4, 3, 8, 8)
        assert batch.high.is_contiguous(memory_format=torch.channels_last)
        for low, high in zip(batch.low, batch.high, strict=True):
            for turn, (of_low, of_high) in enumerate(zip(turns(low), turns(high), strict=True)):
                place = next(((n, p) for n, image in images.items() if (p := where(of_high, image)) is not None), None)
                if place is not None:
                    name, (y, x) = place
                    assert y % 2 == x % 2 == 0
                    small = shrink(images[name], 2)
                    assert torch.equal(of_low, small[:, y // 2 : y // 2 + 4, x // 2 : x // 2 + 4])
                    seen.add((name, turn))
                    break
            else:
                raise AssertionError("a patch that is in no image")
    assert {name for name, _ in seen} == images.keys()
    assert {turn for _, turn in seen} == set(range(8))


def test_an_epoch_has_as_many_patches_as_fit(root: Path, settings: dict[str, Any]) -> None:
    data = SuperResolutionFolder(root=str(root), **settings)
    rows = data.split("train").photograph_of.bincount().tolist()  # type: ignore[attr-defined]
    assert rows == [24 * 30 // 64, 16 * 40 // 64, 32 * 18 // 64, 12 * 50 // 64]
    few = SuperResolutionFolder(root=str(root), **{**settings, "batch_size": 100})
    assert len(few.split("train")) == 3 * sum(rows)  # repeated until they fill a batch
    few.setup("fit")


def flat(batches: Any) -> dict[tuple[int, int], tuple[bytes, bytes]]:
    """Each patch of a stream by its place in it: the number of its batch, and its row."""
    return {
        (k, int(row)): (low.numpy().tobytes(), high.numpy().tobytes())
        for k, batch in enumerate(batches)
        for low, high, row in zip(*batch, strict=True)
    }


@pytest.mark.parametrize(
    "degraded", [{}, {"blur": [0.5, 2], "noise": [0, 9], "jpeg": [40, 90]}, {"degradation": "second_order"}]
)
def test_ranks_share_and_a_resumed_run_goes_on(root: Path, settings: dict[str, Any], degraded: dict[str, Any]) -> None:
    """Two ranks together show the patches of one; patches depend on seed, epoch and row, not on what came before."""
    make = lambda **change: SuperResolutionFolder(root=str(root), **{**settings, **degraded, **change})
    straight = flat(islice(make().train_dataloader(), 25))  # an epoch has 9 batches
    ranks = [make() for _ in range(2)]
    parts: dict[tuple[int, int], tuple[bytes, bytes]] = {}
    for rank, data in enumerate(ranks):
        data.trainer = trainer(rank, 2)
        parts |= flat(islice(data.train_dataloader(), 25))
    assert parts == straight
    resumed = make()
    resumed.load_state_dict(resumed.state_dict() | {"shown": 11 * 4})
    ahead = flat(islice(resumed.train_dataloader(), 14))
    assert {(k + 11, row): patch for (k, row), patch in ahead.items()} == {
        place: patch for place, patch in straight.items() if place[0] >= 11
    }
    epochs = [{row: patch for (k, row), patch in straight.items() if k // 9 == epoch} for epoch in (0, 1)]
    common = epochs[0].keys() & epochs[1].keys()
    assert sum(epochs[0][row] == epochs[1][row] for row in common) < len(common) / 4
    assert flat(islice(make(seed=2).train_dataloader(), 25)) != straight


def test_workers_show_the_same(root: Path, settings: dict[str, Any]) -> None:
    settings |= {"noise": [1, 9]}
    alone, many = (SuperResolutionFolder(root=str(root), **{**settings, "num_workers": n}) for n in (0, 2))
    assert flat(islice(alone.train_dataloader(), 5)) == flat(islice(many.train_dataloader(), 5))


def test_a_degraded_patch_is_that_of_its_surroundings(root: Path, settings: dict[str, Any]) -> None:
    """Blur takes from beyond the patch's edge: as the middle of the whole image, degraded alike."""
    data = SuperResolutionFolder(root=str(root), **{**settings, "blur": [1.5, 1.5], "flip": False})
    high = torch.from_numpy(data.split("train").whole[1].high).permute(2, 0, 1)
    whole = data.rows.degradation(high, torch.Generator())
    recognised = 0
    for batch in islice(data.train_dataloader(), 9):
        recognised += sum(where(low, whole) is not None for low in batch.low)
    assert recognised == 10  # every row of b.png: 16 x 40 pixels hold ten patches


def test_batches_reach_the_model_as_floats_and_are_counted(root: Path, settings: dict[str, Any]) -> None:
    data = SuperResolutionFolder(root=str(root), **settings)
    data.trainer = trainer()
    batch = next(iter(data.train_dataloader()))
    moved = data.on_after_batch_transfer(batch, 0)
    assert torch.equal(moved.low, from_bytes(batch.low))
    assert torch.equal(moved.high, from_bytes(batch.high))
    assert data.state_dict()["shown"] == 4
    assert data.on_after_batch_transfer(moved, 0) is moved


def test_what_exceeds_the_memory_lies_in_a_file(root: Path, settings: dict[str, Any], monkeypatch: Any) -> None:
    """The same patches, read once; a second module finds the file, and no file is decoded."""
    memory = SuperResolutionFolder(root=str(root), **settings)
    settings |= {"memory_limit_mb": 2000 / 2**20}  # the first image does not fit
    mapped = SuperResolutionFolder(root=str(root), **settings)
    expected = flat(islice(memory.train_dataloader(), 12))
    assert flat(islice(mapped.train_dataloader(), 12)) == expected
    assert isinstance(mapped.split("train").whole[0].high, np.memmap)
    (cache,) = (path for path in Path(settings["cache_dir"], "folders").iterdir() if path.is_dir())
    assert np.load(cache / "shapes.npy")[:, 1].tolist() == [[12, 15, 3], [8, 20, 3], [16, 9, 3], [6, 25, 3]]
    monkeypatch.setattr("zoo.data.patches.decoded", lambda *a, **k: pytest.fail("decoded again"))
    assert flat(islice(SuperResolutionFolder(root=str(root), **settings).train_dataloader(), 12)) == expected
    assert mapped.fingerprint("train") == memory.fingerprint("train")


def test_a_changed_file_is_read_again(root: Path, settings: dict[str, Any]) -> None:
    settings |= {"memory_limit_mb": 0}
    before = SuperResolutionFolder(root=str(root), **settings)
    first = before.fingerprint("train")
    Image.new("RGB", (24, 24), "red").save(root / "a.png")
    after = SuperResolutionFolder(root=str(root), **settings)
    assert after.fingerprint("train") != first
    assert after.split("train").whole[0].high.shape == (24, 24, 3)


def test_a_disk_that_can_not_be_written_is_a_sentence(root: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings |= {"memory_limit_mb": 0, "cache_dir": str(tmp_path / "file")}
    with pytest.raises(MissingData, match=r"more than data\.memory_limit_mb.*make room"):
        SuperResolutionFolder(root=str(root), **settings).setup("fit")


def test_images_smaller_than_a_patch_are_counted_or_refused(root: Path, settings: dict[str, Any]) -> None:
    data = SuperResolutionFolder(root=str(root), **{**settings, "patch_size": 16})
    with pytest.warns(UserWarning, match=r"1 of 4 images .* smaller than data\.patch_size=16"):
        data.setup("fit")
    assert [photo.name for photo in data.split("train").photographs] == ["a.png", "b.png", "c.png"]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"none of its 4 images is as large as data\.patch_size=64: set 24 or less"):
        SuperResolutionFolder(root=str(root), **{**settings, "patch_size": 64}).setup("fit")


def test_unreadable_files_are_refused_or_left_out(root: Path, settings: dict[str, Any]) -> None:
    (root / "broken.png").write_bytes((root / "a.png").read_bytes()[:900])
    with pytest.raises(UnreadableImage, match=r"broken\.png"):
        SuperResolutionFolder(root=str(root), **settings).setup("fit")
    data = SuperResolutionFolder(root=str(root), **{**settings, "on_error": "skip"})
    with pytest.warns(UserWarning, match="1 of 5 files of .* were left out"):
        data.setup("fit")
    assert data.skipped == ["broken.png"]
    assert data.description == (
        "super_resolution_folder: 4 training images, x2, patches of 8x8, 3 channels, 1 unreadable files skipped"
    )


def test_what_a_run_that_skips_has_kept_is_no_way_around_raise(root: Path, settings: dict[str, Any]) -> None:
    """Also the second run that skips says what it leaves out, and why."""
    (root / "broken.png").write_bytes((root / "a.png").read_bytes()[:900])
    settings |= {"memory_limit_mb": 0, "on_error": "skip"}
    for _ in range(2):
        data = SuperResolutionFolder(root=str(root), **settings)
        with pytest.warns(UserWarning, match=r"1 of 5 files of .* were left out(.|\n)*broken\.png: truncated"):
            data.setup("fit")
        assert data.skipped == ["broken.png"]
    with pytest.raises(UnreadableImage, match=r"broken\.png"):
        SuperResolutionFolder(root=str(root), **{**settings, "on_error": "raise"}).setup("fit")


def test_a_decoding_that_fails_leaves_nothing_behind(root: Path, settings: dict[str, Any]) -> None:
    (root / "e.png").write_bytes((root / "a.png").read_bytes()[:900])
    with pytest.raises(UnreadableImage):
        SuperResolutionFolder(root=str(root), **{**settings, "memory_limit_mb": 0}).setup("fit")
    assert all(path.suffix == ".lock" for path in Path(settings["cache_dir"], "folders").iterdir())


def test_folders_that_look_alike_share_no_decoded_images(root: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    """Equal names, sizes and times: the fingerprint, which knows no more, is the same on every machine."""
    settings |= {"memory_limit_mb": 0, "patch_size": 2}
    folders = [tmp_path / name for name in ("red", "blue")]
    for folder in folders:
        folder.mkdir()
        Image.new("RGB", (8, 8), folder.name).save(folder / "a.bmp")
        os.utime(folder / "a.bmp", (1, 1))
    red, blue = (SuperResolutionFolder(root=str(folder), **settings) for folder in folders)
    assert red.fingerprint("train") == blue.fingerprint("train")
    colours = [data.split("train").whole[0].high[0, 0].tolist() for data in (red, blue)]
    assert colours == [[255, 0, 0], [0, 0, 255]]


def test_only_files_are_read_by_threads(root: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch, which has threads of its own, shrinks in one place."""
    threads = []

    def noting(image: Tensor, scale: int) -> Tensor:
        threads.append(threading.current_thread())
        return shrink(image, scale)

    monkeypatch.setattr("zoo.data.patches.shrink", noting)
    SuperResolutionFolder(root=str(root), **settings).setup("fit")
    assert threads == [threading.current_thread()] * 4


def test_a_folder_of_nothing_readable_is_a_sentence(root: Path, settings: dict[str, Any]) -> None:
    for file in root.iterdir():
        file.write_bytes(b"nothing")
    data = SuperResolutionFolder(root=str(root), **{**settings, "on_error": "skip"})
    with (
        pytest.warns(UserWarning, match="4 of 4 files"),
        pytest.raises(ValueError, match=r"none of its 4 train files can be read:\n.*a\.png: not an image"),
    ):
        data.setup("fit")


def test_whole_images_are_shared_among_ranks(root: Path, settings: dict[str, Any]) -> None:
    data = SuperResolutionFolder(root=str(root), **{**settings, "test_root": str(root)})
    alone = list(data.whole_images(split="test"))
    assert [(image.name, image.is_grey) for image in alone] == [
        ("a.png", False),
        ("b.png", False),
        ("c.png", True),
        ("d.png", False),
    ]
    for position, image in enumerate(alone):
        high = read(root / image.name)
        high = high[:, : high.shape[1] // 2 * 2, : high.shape[2] // 2 * 2]
        assert image.batch.index.tolist() == [position]
        assert torch.equal(image.batch.high[0], from_bytes(high))
        assert torch.equal(image.batch.low[0], from_bytes(shrink(high, 2)))
    second = list(data.whole_images(split="test", rank=1, world_size=3))
    assert [image.name for image in second] == ["b.png"]
    assert data.num_whole_images("test") == 4


def test_a_share_of_a_folder_is_held_out(root: Path, settings: dict[str, Any]) -> None:
    data = SuperResolutionFolder(root=str(root), **{**settings, "test_fraction": 0.5})
    train, test = ({photo.name for photo in images.whole} for images in data.sets.values())
    assert train | test == {"a.png", "b.png", "c.png", "d.png"}
    assert train
    assert test
    assert not train & test
    with pytest.raises(ValueError, match=r"no test images: .*data\.test_root"):
        SuperResolutionFolder(root=str(root), **settings).num_whole_images("test")
    for file in (train | test) - {"a.png"}:
        (root / file).unlink()
    with pytest.raises(
        MissingData, match=r"data\.test_fraction=0\.999 leaves none of the 1 images of .*data\.test_root"
    ):
        SuperResolutionFolder(root=str(root), **{**settings, "test_fraction": 0.999}).setup("fit")


@pytest.mark.parametrize("world_size", [1, 3])
def test_an_evaluation_covers_each_position_once(root: Path, settings: dict[str, Any], world_size: int) -> None:
    bank: dict[int, tuple[Tensor, Tensor]] = {}
    data = SuperResolutionFolder(root=str(root), **{**settings, "seed": 10 + world_size})
    for rank in range(world_size):
        loader = data.evaluation_loader(split="train", num=50, rank=rank, world_size=world_size, batch_size=7)
        batches = list(loader)
        assert len(batches) == len(loader)
        for batch in batches:
            assert isinstance(batch, LowHigh)
            for low, high, position in zip(*batch, strict=True):
                assert int(position) % world_size == rank
                assert int(position) not in bank
                bank[int(position)] = low, high
    assert sorted(bank) == list(range(50))
    other = SuperResolutionFolder(root=str(root), **settings)  # another seed: the same bank
    alone = torch.cat([batch.high for batch in other.evaluation_loader(split="train", num=50)])
    assert torch.equal(alone, torch.stack([bank[i][1] for i in range(50)]))
    n = data.num_images("train")
    assert torch.equal(alone[n:], alone[: 50 - n])  # beyond the set it repeats


@pytest.mark.parametrize("wrong", [{"num": 0}, {"rank": 2, "world_size": 2}, {"batch_size": 0}])
def test_a_wrong_evaluation_is_refused(root: Path, settings: dict[str, Any], wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SuperResolutionFolder(root=str(root), **settings).evaluation_loader(**{"split": "train", "num": 3, **wrong})  # type: ignore[arg-type]


def test_grey_colour_and_orientation_are_read_as_elsewhere(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 12, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "turned.png", exif=exif)
    reader = lambda channels: Reader((1, 1), channels, "crop", (255, 255, 255), max_pixels=1000)
    high, is_grey = decoded(tmp_path / "turned.png", scale=4, reader=reader(3))
    of_high, of_low, grey = at_both(high, is_grey, 4)
    assert np.array_equal(of_high, np.rot90(np.asarray(image), -1))
    assert of_low.shape == (3, 5, 3)
    assert not grey
    grey, is_grey = decoded(tmp_path / "turned.png", scale=4, reader=reader(1))
    assert grey.shape == (1, 12, 20)
    assert not is_grey
    with pytest.raises(UnreadableImage, match=r"12x20 pixels|20x12 pixels"):
        decoded(tmp_path / "turned.png", scale=16, reader=reader(3))


def test_photos_are_in_the_package(settings: dict[str, Any]) -> None:
    del settings["test_root"], settings["test_fraction"], settings["range"]
    data = Photos(**{**settings, "max_pixels": 10**7, "scale": 4, "patch_size": 48})
    assert data.description == "photos: 7 training and 2 test images, x4, patches of 48x48, 3 channels"
    assert [image.name for image in data.whole_images(split="test")] == ["chelsea.png", "coffee.png"]
    assert not {"chelsea.png", "coffee.png"} & {photo.name for photo in data.split("train").whole}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *[("scale", 5), ("patch_size", 9), ("patch_size", 0), ("channels", 4), ("on_error", "stop")],
        *[("test_fraction", 1), ("batch_size", 0), ("jpeg", [90, 10])],
    ],
)
def test_wrong_arguments_are_named(root: Path, settings: dict[str, Any], argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"data\.{argument}="):
        SuperResolutionFolder(root=str(root), **{**settings, argument: value})


def test_missing_folders_are_named(root: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingData, match=r"data\.root=~/my_images"):
        SuperResolutionFolder(root=None, **settings)
    with pytest.raises(MissingData, match="nowhere does not exist"):
        SuperResolutionFolder(root=str(tmp_path / "nowhere"), **settings).setup("fit")
    with pytest.raises(MissingData, match="holds no images"):
        SuperResolutionFolder(root=str(tmp_path / "empty"), **settings).setup("fit")
    with pytest.raises(MissingData, match=r"nowhere does not exist: set data\.test_root"):
        SuperResolutionFolder(root=str(root), **{**settings, "test_root": str(tmp_path / "nowhere")}).setup("fit")
