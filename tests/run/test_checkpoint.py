"""Checkpoints: whole or not at all, found, and read without running code."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common import same
from omegaconf import DictConfig
from typer.testing import CliRunner

import zoo
from train import run
from zoo.cli import app
from zoo.game.gan import GAN
from zoo.model.dcgan import DCGAN
from zoo.model.vanilla import VanillaGAN
from zoo.run.checkpoint import WholeCheckpointIO, find, newest, read
from zoo.run.command import command_line
from zoo.run.config import trusted

Small = Callable[..., DictConfig]
CONTENT: dict[str, Any] = {"zoo": {"variant": "zoo.model.dcgan.DCGAN"}, "weights": torch.arange(1000.0)}


def test_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "last.ckpt"
    WholeCheckpointIO().save_checkpoint(CONTENT, path)
    assert same(read(path), CONTENT)
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_a_failed_save_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpointIO().save_checkpoint(CONTENT, path)

    def full(content: object, file: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        WholeCheckpointIO().save_checkpoint({"zoo": {}}, path)
    assert same(read(path), CONTENT)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_find(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"no checkpoint in .*best\.ckpt"):
        find(tmp_path)
    (folder / "last.ckpt").touch()
    assert find(tmp_path) == folder / "last.ckpt"
    (folder / "best.ckpt").touch()
    assert find(tmp_path) == folder / "best.ckpt"
    assert find(folder / "last.ckpt") == folder / "last.ckpt"


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch malice-was-here",)


@pytest.mark.parametrize("hole", ["0", "1"])
def test_a_malicious_pickle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hole: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", hole)
    torch.save({"zoo": Malicious()}, "torch.ckpt")
    Path("plain.ckpt").write_bytes(pickle.dumps({"zoo": Malicious()}))
    for name in ("torch.ckpt", "plain.ckpt"):
        with pytest.raises(ValueError, match=f"{name} (is refused|can't be read)"):
            read(name)
    assert not Path("malice-was-here").exists()


def test_truncated_and_foreign_files_are_named_with_the_alternative(tmp_path: Path) -> None:
    WholeCheckpointIO().save_checkpoint(CONTENT, tmp_path / "best.ckpt")
    data = (tmp_path / "best.ckpt").read_bytes()
    for name, content in {"last.ckpt": data[: len(data) // 2], "empty.ckpt": b"", "text.ckpt": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} .*best\.ckpt is another checkpoint"):
            read(tmp_path / name)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="no checkpoint of this zoo"):
        read(tmp_path / "other.ckpt")


def test_code_outside_the_zoo_is_not_imported(tmp_path: Path) -> None:
    torch.save({"zoo": {"variant": "os.system"}, "hyper_parameters": {}}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="no variant of this zoo"):
        zoo.load(tmp_path / "last.ckpt")


def test_load_and_sample(small: Callable[..., DictConfig]) -> None:
    cfg = small("dcgan")
    trainer = run(cfg)
    images = zoo.load(cfg.run_dir).sample(5)
    assert images.shape == (5, 1, 16, 16)
    torch.testing.assert_close(images, trainer.lightning_module.sample(5), rtol=0, atol=1e-5)  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/last.ckpt", "https://127.0.0.1:9/last.ckpt", "s3://bucket/a.ckpt"])
def test_nothing_is_fetched_to_be_unpickled(url: str) -> None:
    """Lightning's own loader fetches a URL and unpickles whatever comes."""
    with pytest.raises(ValueError, match="no checkpoint in"):
        zoo.load(url)
    with pytest.raises(ValueError, match="is no run's folder"):
        command_line([f"resume={url}"])
    with pytest.raises(ValueError, match="can't be read"):
        WholeCheckpointIO().load_checkpoint(url)


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "numpy.load", "file": "x.npy", "allow_pickle": True},
        {"_target_": "zoo.data.public.np.load", "file": "x.npy"},
        {"_target_": "zoo.data.public.Path", "_args_": ["x"]},
        {"_target_": "zoo.data.embedded.Digits", "image_size": {"_target_": "os.mkdir", "path": "x"}},
        {"_target_": "zoo.data.embedded.Digits", "_partial_": True},
    ],
)
def test_a_checkpoint_s_settings_build_this_project_s_classes_only(
    node: dict[str, Any], small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are plain data, but `zoo evaluate` builds data and metrics from them."""
    cfg = small("vanilla", "max_images=16")
    run(cfg)
    path = find(cfg.run_dir)
    checkpoint = read(path)
    checkpoint["zoo"]["config"]["metrics"] = {"extractor": {"_target_": "zoo.metrics.extractors.DigitClassifier"}}
    trusted(checkpoint["zoo"]["config"]["metrics"])
    checkpoint["zoo"]["config"]["data"] = node
    WholeCheckpointIO().save_checkpoint(checkpoint, path)
    with pytest.raises(ValueError, match="the file is refused"):
        CliRunner().invoke(app, ["evaluate", str(path)], catch_exceptions=False)


def test_a_device_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="device=gpu is no device: use cpu, cuda, cuda:1 or mps"):
        zoo.load(tmp_path, device="gpu")


def test_a_truncated_last_checkpoint_gives_way_to_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {**CONTENT, "zoo": {"images": 5}}
    WholeCheckpointIO().save_checkpoint(content, tmp_path / "checkpoints" / "best.ckpt")
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"PK half")
    assert newest(tmp_path).name == "best.ckpt"
    assert "last.ckpt is refused" in capsys.readouterr().out
    assert newest(tmp_path / "checkpoints" / "best.ckpt").name == "best.ckpt"


def test_lightning_s_way_to_load_names_the_better_one(small: Small, tmp_path: Path) -> None:
    cfg = small("vanilla", "max_images=32")
    run(cfg)
    path = Path(cfg.run_dir, "checkpoints", "last.ckpt")
    loaded = VanillaGAN.load_from_checkpoint(path, map_location="cpu")
    assert same(loaded.state_dict(), zoo.load(path).state_dict())
    with pytest.raises(ValueError, match=r"is of zoo\.model\.vanilla\.VanillaGAN, not of .*DCGAN: zoo\.load\(FILE\)"):
        DCGAN.load_from_checkpoint(path)
    with pytest.raises(ValueError, match=r"not of zoo\.game\.gan\.GAN: zoo\.load\(FILE\)"):
        GAN.load_from_checkpoint(str(path))
    for wrong in ({"hidden": [3]}, {"depth": 3}):
        with pytest.raises(ValueError, match=r"does not fit .*zoo\.load\(FILE\)"):
            VanillaGAN.load_from_checkpoint(path, **wrong)


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_lightning_s_way_to_load_refuses_what_is_no_checkpoint(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.ckpt is no checkpoint of this zoo"):
        VanillaGAN.load_from_checkpoint(tmp_path / "x.ckpt")


def test_lightning_s_way_to_load_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from a file, whatever is asked for or set, and nothing is fetched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"zoo": Malicious()}, "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt is no checkpoint"):
        VanillaGAN.load_from_checkpoint("x.ckpt")
    with pytest.raises(ValueError, match="weights_only=False would run code"):
        VanillaGAN.load_from_checkpoint("x.ckpt", weights_only=False)
    with pytest.raises(ValueError, match="is an address"):
        VanillaGAN.load_from_checkpoint("https://127.0.0.1:9/x.ckpt")
    assert not Path("malice-was-here").exists()
