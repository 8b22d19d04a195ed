"""The range of a set's values: given, of the type, found; what is said of it; what goes with a checkpoint."""

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from omegaconf import DictConfig
from PIL import Image

from zoo.data.check import check_folder
from zoo.data.deep import range_of
from zoo.data.folder import ImageFolder
from zoo.data.pair_folders import PairedFolder, UnpairedFolder
from zoo.data.reading import UnreadableImage
from zoo.data.super_resolution import SuperResolutionFolder
from zoo.run import checkpoint


def grey(path: Path, low: int, high: int, seed: int = 0) -> None:
    """A 16-bit image that holds both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(low, high + 1, (8, 8))
    values[0, 0], values[7, 7] = low, high
    tifffile.imwrite(path, values.astype(np.int16 if low < 0 else np.uint16))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Eight images of 12 bits, each of values of its own, 0 to 4080 together."""
    for n in range(8):
        grey(tmp_path / "scans" / f"{n}.tif", 500 * n, 500 * n + 580, seed=n)
    return tmp_path / "scans"


def folder(root: Path, arguments: dict[str, Any], **change: Any) -> ImageFolder:
    data = ImageFolder(root=str(root), **{**arguments, "channels": 1, **change})
    data.setup("fit")
    return data


def pixels(data: Any) -> torch.Tensor:
    return data.sets["train"][list(range(len(data.sets["train"])))].image


HOW = [{}, {"memory_limit_mb": 0}, {"memory_limit_mb": 0, "cache": True}]  # memory, streamed, a cache


@pytest.mark.parametrize("how", HOW)
def test_one_range_for_all_images(scans: Path, of_folder: dict[str, Any], how: dict[str, Any]) -> None:
    raw = np.stack([tifffile.imread(scans / f"{n}.tif") for n in range(8)])[:, None].astype(float)
    for value_range, (low, high) in (([0, 4095], (0, 4095)), ("min_max", (0, 4080)), ("full", (0, 65535))):
        got = pixels(folder(scans, of_folder, range=value_range, **how))
        assert np.array_equal(got, np.round((raw - low) * 255 / (high - low)))
    assert np.array_equal(pixels(folder(scans, of_folder, **how)), np.round(raw / 257))


def test_the_range_decides_cache_and_fingerprint(scans: Path, of_folder: dict[str, Any], tmp_path: Path) -> None:
    prints = {}
    for value_range in (None, "full", "min_max", [0, 4095], [0, 4080]):
        data = folder(scans, of_folder, range=value_range, memory_limit_mb=0, cache=True)
        prints[str(value_range)] = data.fingerprint("train")
    assert len(set(prints.values())) == 5
    assert len(list((tmp_path / "cache" / "folders").glob("scans-*"))) == 4  # min_max found the last of these
    assert "range" not in folder(scans, of_folder).parameters()


@pytest.mark.parametrize("how", HOW)
def test_dark_images_are_said(scans: Path, of_folder: dict[str, Any], how: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match=r"only 6\.2% of the range .*data\.range=\[0,4095\], or data\.range=min_max"):
        data = folder(scans, of_folder, **how)
    values = "values 0 to 4080, 16-bit integers, read as 0 to 65535 (all files)"
    assert data.description.endswith(f"; {values}")


def test_what_was_found_and_clipped_is_said(scans: Path, of_folder: dict[str, Any], recwarn: Any) -> None:
    found = folder(scans, of_folder, range="min_max")
    assert found.description.endswith("; values 0 to 4080, 16-bit integers, read as 0 to 4080 (all files)")
    clipped = folder(scans, of_folder, range=[0, 2040]).description
    share = np.mean([(tifffile.imread(scans / f"{n}.tif") > 2040).mean() for n in range(8)])
    assert f"read as 0 to 2040, {share:.2%} of them outside and clipped (all files)" in clipped
    assert not [warning for warning in recwarn if "range" in str(warning.message)]


def test_nothing_is_said_of_images_of_8_bits(images: Path, of_folder: dict[str, Any]) -> None:
    data = folder(images, of_folder)
    assert data.description == "folder: 12 training images, 8x8, 1 channel; passed over: 1 .txt, 2 hidden"


@pytest.mark.parametrize("how", HOW)
def test_a_range_is_not_recommended_beside_images_of_8_bits(
    images: Path, of_folder: dict[str, Any], how: dict[str, Any]
) -> None:
    grey(images / "scan.tif", 0, 4080)
    with pytest.warns(UserWarning, match=r"only 6\.2% of .*: convert them to 8 bits, .* darken the 12 of 8 bits"):
        data = folder(images, of_folder, **how)
    assert "; values 0 to 4080, 16-bit integers in 1 image, beside 12 of 8 bits, read as 0" in data.description
    assert "data.range" not in check_folder(images, image_size=8).override()


def test_each_domain_needs_a_range_of_its_own(tmp_path: Path, of_pairs: dict[str, Any]) -> None:
    for name, high in (("trainA", 4080), ("trainB", 255)):
        grey(tmp_path / name / "0.tif", 0, high)
    names = {"folder_x": "trainA", "folder_y": "trainB", "test_folder_x": None, "test_folder_y": None}
    settings = {**of_pairs, **names, "aligned_test": False, "batch_size": 1}
    with pytest.warns(UserWarning, match="nearly uniform") as said:
        UnpairedFolder(root=str(tmp_path), **settings).setup("fit")
    assert all("data.range=min_max" in str(warning.message) for warning in said)
    assert not any("[0," in str(warning.message) for warning in said)


def test_a_large_set_is_sampled(scans: Path, of_folder: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.data.values.SAMPLE", 2)
    data = folder(scans, of_folder, memory_limit_mb=0, range=[0, 4095])
    assert data.description.endswith("values 0 to 2580, 16-bit integers, read as 0 to 4095 (a sample of 2 of 8 files)")
    memory = folder(scans, of_folder, range=[0, 4095])  # all of them are decoded anyway
    assert memory.description.endswith("values 0 to 4080, 16-bit integers, read as 0 to 4095 (all files)")


def test_the_test_split_is_read_by_the_range_of_the_training_set(
    scans: Path, tmp_path: Path, of_pairs: dict[str, Any]
) -> None:
    settings = {**of_pairs, "aligned_test": False}
    for name, high in (("trainA", 1000), ("trainB", 50), ("testA", 2000), ("testB", 20)):
        grey(tmp_path / name / "0.tif", 0, high)
    names = {"folder_x": "trainA", "folder_y": "trainB", "test_folder_x": "testA", "test_folder_y": "testB"}
    data = UnpairedFolder(root=str(tmp_path), **{**settings, **names, "range": "min_max", "batch_size": 1})
    data.setup("fit")
    assert data.ranges == [[0, 1000], [0, 50]]
    for side, value in (("x", 255), ("y", 102)):
        images = getattr(data.sets["test"], side)[[0]].image
        assert images.max() == value  # 2000 is clipped, 20 is a part of 50


def test_halves_have_one_range(tmp_path: Path, of_pairs: dict[str, Any]) -> None:
    grey(tmp_path / "pairs" / "0.tif", -100, 300)
    settings = {**of_pairs, "layout": "side_by_side"}
    names = dict.fromkeys(("folder_x", "folder_y", "test_folder_x", "test_folder_y", "test_folder"), None)
    more = {"suffix_x": "", "suffix_y": "", "folder": None, "swap": False, "range": "min_max", "batch_size": 1}
    data = PairedFolder(root=str(tmp_path / "pairs"), **{**settings, **names, **more, "fit": "stretch"})
    data.setup("fit")
    assert data.ranges == [[-100, 300]]
    image = data.sets["train"][[0]]
    assert 0 <= min(image.x.min(), image.y.min()) < 20
    assert max(image.x.max(), image.y.max()) > 230


def test_photographs_of_super_resolution(scans: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        **{"root": str(scans), "test_root": None, "test_fraction": 0.0, "range": None, "scale": 2, "patch_size": 8},
        **{"blur": None, "noise": None, "jpeg": None, "channels": 1, "background": "white", "on_error": "raise"},
        **{"max_pixels": 1000, "memory_limit_mb": 100, "batch_size": 4, "num_workers": 0, "flip": False, "seed": 0},
        "cache_dir": str(tmp_path / "cache"),
    }
    wholes = {}
    for memory in (100, 0):
        for value_range in ("min_max", "full"):
            data = SuperResolutionFolder(**{**settings, "range": value_range, "memory_limit_mb": memory})
            data.setup("fit")
            high = np.stack([photo.high[:, :, 0] for photo in data.split("train").whole]).astype(float)
            raw = np.stack([tifffile.imread(scans / f"{n}.tif") for n in range(8)])
            assert np.array_equal(high, np.round(raw * (255 / (4080 if value_range == "min_max" else 65535))))
            wholes[memory, value_range] = data.fingerprint("train")
    assert wholes[100, "full"] == wholes[0, "full"] != wholes[0, "min_max"]


def test_files_without_a_common_range(scans: Path, of_folder: dict[str, Any]) -> None:
    Image.new("L", (8, 8), 9).save(scans / "photograph.png")
    both = "8 of 16-bit integers and 1 of 8-bit integers, which have no range in common"
    with pytest.raises(ValueError, match=both):
        folder(scans, of_folder, range="min_max")
    assert pixels(folder(scans, of_folder, range=[0, 4080]))[-1].unique().tolist() == [1]  # 9 of 4080


def test_uniform_sets_and_broken_files(tmp_path: Path, of_folder: dict[str, Any]) -> None:
    for n in range(4):
        grey(tmp_path / "images" / f"{n}.tif", 7, 7)
    with pytest.raises(ValueError, match=r"all values of .*images are 7, which is no range"):
        folder(tmp_path / "images", of_folder, range="min_max")
    grey(tmp_path / "images" / "0.tif", 7, 9)
    (tmp_path / "images" / "4.tif").write_bytes(b"II*\0nothing")
    with pytest.raises(UnreadableImage, match=r"4\.tif"):
        folder(tmp_path / "images", of_folder, range="min_max")
    with pytest.warns(UserWarning, match=r"1 of 5 files"):
        data = folder(tmp_path / "images", of_folder, range="min_max", on_error="skip")
    assert data.ranges == [[7, 9]]


def test_what_was_found_is_kept_for_the_next_run(scans: Path, of_folder: dict[str, Any], tmp_path: Path) -> None:
    folder(scans, of_folder, range="min_max")
    (kept,) = (tmp_path / "cache" / "ranges").glob("*.json")
    kept.write_text(json.dumps([0, 8160]))
    assert folder(scans, of_folder, range="min_max").ranges == [[0, 8160]]
    for damaged in ("", "[1]", "null", '"full"', "[[0, 1], 2]"):
        kept.write_text(damaged)
        assert folder(scans, of_folder, range="min_max").ranges == [[0, 4080]]
    grey(scans / "7.tif", 0, 5000)
    assert folder(scans, of_folder, range="min_max").ranges == [[0, 5000]]


@pytest.mark.parametrize("how", HOW)
def test_what_is_no_file_is_skipped_or_stops(images: Path, of_folder: dict[str, Any], how: dict[str, Any]) -> None:
    os.mkfifo(images / "03.fifo.png")
    (images / "zero.png").symlink_to("/dev/zero")
    (images / "loop.png").symlink_to("loop.png")
    stop = lambda: pixels(folder(images, of_folder, **how))
    with pytest.raises(UnreadableImage, match=r"a FIFO, no file|a character device, no file|leads in a circle"):
        stop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is skipped
        data = folder(images, of_folder, on_error="skip", **how)
    assert pixels(data).shape[0] in (12, 15)
    assert data.skipped == ["03.fifo.png", "loop.png", "zero.png"]


@pytest.mark.slow
def test_what_was_found_goes_with_the_checkpoint(
    scans: Path, small: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is no setting that was changed, when the run goes on."""
    import train

    own = [f"data.root={scans}", "data.channels=1", "data.image_size=16", "data.range=min_max", "data.batch_size=8"]
    cfg = small("dcgan", "data=folder", *own, "max_images=16")
    train.run(cfg)
    config = checkpoint.read(Path(cfg.run_dir) / "checkpoints" / "last.ckpt")["zoo"]["config"]
    assert config["data"]["range"] == "min_max"
    assert range_of(config) == (0, 4080)
    report = (Path(cfg.run_dir) / "report.md").read_text()
    assert "values 0 to 4080, 16-bit integers, read as 0 to 4080 (all files)" in report
