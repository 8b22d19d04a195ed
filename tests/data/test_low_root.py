"""Low-resolution images of one's own beside the others: which belongs to which, what does not fit, and patches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo.data.files import MissingData
from zoo.data.reading import UnreadableImage
from zoo.data.super_resolution import SuperResolutionFolder


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    given: dict[str, Any] = {"root": str(tmp_path / "high"), "low_root": str(tmp_path / "low"), "test_root": None}
    given |= {"test_fraction": 0.0, "scale": 2, "patch_size": 8, "channels": 3, "blur": None, "noise": None}
    given |= {"jpeg": None, "background": "white", "on_error": "raise", "max_pixels": 10_000, "range": None}
    given |= {"memory_limit_mb": 100, "batch_size": 4, "num_workers": 0, "flip": True, "seed": 1}
    return {**given, "cache_dir": str(tmp_path / "cache")}


def write(path: Path, height: int, width: int, scale: int = 1, seed: int = 0) -> None:
    """Noise, but for blue, which says in which image a pixel is; each is repeated `scale` times, as bicubic can't."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[:, :, 2] = seed
    pixels = pixels.repeat(scale, 0).repeat(scale, 1)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for n, (name, size) in enumerate({"a": (12, 15), "deep/b": (9, 21), "c": (8, 8)}.items()):
        write(tmp_path / f"high/{name}.png", *size, scale=2, seed=n)
        write(tmp_path / f"low/{name}{'x2' if n == 2 else ''}.{'bmp' if n == 1 else 'png'}", *size, seed=n)
    return tmp_path


def enlarged(low: Tensor) -> Tensor:
    return low.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_patches_of_both_are_of_one_place_and_turned_alike(folders: Path, settings: dict[str, Any]) -> None:
    data = SuperResolutionFolder(**settings)
    assert "train as given at both resolutions" in data.description
    patches, seen = data.split("train"), set()
    order = patches.order(torch.Generator().manual_seed(0)).tolist()
    for start in range(0, len(order) - 4, 4):
        batch = patches[order[start : start + 4]]
        assert torch.equal(enlarged(batch.low), batch.high)
        seen |= {int(low[2, 0, 0]) for low in batch.low}
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("limit", [100, 0])
def test_whole_images_have_their_own(folders: Path, settings: dict[str, Any], limit: int) -> None:
    """Also out of a cache; and other low-resolution images are another set."""
    settings["memory_limit_mb"] = limit
    data = SuperResolutionFolder(**settings)
    whole = {image.name: image.batch for image in data.whole_images(split="train")}
    assert whole.keys() == {"a.png", "deep/b.png", "c.png"}
    for batch in whole.values():
        assert torch.equal(enlarged(batch.low), batch.high)
    before = data.fingerprint("train")
    write(folders / "low/a.png", 12, 15, seed=77)
    again = SuperResolutionFolder(**settings)
    assert again.fingerprint("train") != before
    assert float(next(again.whole_images(split="train")).batch.low[0, 2, 0, 0]) == pytest.approx(77 / 127.5 - 1)
    made = SuperResolutionFolder(**{**settings, "low_root": None})
    assert made.fingerprint("train") not in (before, again.fingerprint("train"))


def test_a_share_held_out_has_its_own_too(folders: Path, settings: dict[str, Any]) -> None:
    for n in range(8):
        write(folders / f"high/{n}.png", 6, 6, scale=2, seed=n)
        write(folders / f"low/{n}.png", 6, 6, seed=n)
    data = SuperResolutionFolder(**{**settings, "test_fraction": 0.4})
    assert data.num_whole_images("test") > 0
    for split in ("train", "test"):
        for image in data.whole_images(split=split):  # type: ignore[arg-type]
            assert torch.equal(enlarged(image.batch.low), image.batch.high)


def test_test_images_with_their_own(folders: Path, settings: dict[str, Any]) -> None:
    """With low_root or without: then training images are degraded, and those of the test are as given."""
    write(folders / "set5/high/z.png", 10, 10, scale=2)
    write(folders / "set5/low/z.png", 10, 10)
    tests = {"test_root": str(folders / "set5/high"), "test_low_root": str(folders / "set5/low")}
    for change in (
        {},
        {"low_root": None},
        {"low_root": None, "degradation": "second_order"},
        {"low_root": None, "noise": [9, 9]},
    ):
        data = SuperResolutionFolder(**{**settings, **tests, **change})
        batch = next(data.whole_images(split="test")).batch
        assert torch.equal(enlarged(batch.low), batch.high)
        train = next(data.whole_images(split="train")).batch
        assert torch.equal(enlarged(train.low), train.high) == (not change)


def test_what_does_not_match_is_named(folders: Path, settings: dict[str, Any]) -> None:
    write(folders / "low/a.png", 12, 14)
    with pytest.raises(UnreadableImage, match=r"a\.png: 30x24 pixels are not 2 times the 14x12 of .*low/a\.png"):
        SuperResolutionFolder(**settings).split("train")
    data = SuperResolutionFolder(**{**settings, "on_error": "skip"})
    assert data.num_whole_images("train") == 2
    assert list(data.unreadable) == ["a.png"]
    write(folders / "high/lost.png", 4, 4, scale=2)
    with pytest.raises(MissingData, match=r"data\.low_root=.* has no image for 1 of the 4 of .*: lost\.png"):
        SuperResolutionFolder(**settings).split("train")
    write(folders / "low/lost.png", 4, 4)
    write(folders / "low/lost.bmp", 4, 4)
    with pytest.raises(MissingData, match=r"lost\.bmp and lost\.png are of one name"):
        SuperResolutionFolder(**settings).split("train")


def test_what_is_of_no_image_is_remarked(folders: Path, settings: dict[str, Any]) -> None:
    write(folders / "low/more.png", 4, 4)
    data = SuperResolutionFolder(**settings)
    assert data.num_whole_images("train") == 3
    assert data.source.remarks == [f"1 images of {folders / 'low'} are of none in data.root: more.png"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"degradation": "second_order"}, "data.degradation makes"),
        ({"noise": [1, 2]}, "data.noise makes"),
        ({"test_low_root": "x"}, "data.test_low_root=x is of the images of data.test_root"),
        ({"test_root": "x"}, "give those of data.test_root too"),
        ({"low_root": "nowhere"}, "nowhere does not exist: set data.low_root to"),
    ],
)
def test_settings_that_contradict_each_other(
    change: dict[str, Any], named: str, folders: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=named):
        SuperResolutionFolder(**{**settings, **change}).split("train")
