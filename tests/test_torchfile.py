"""Files of torch.save: without code, each bit checked, and never with advice to load them without protection."""

import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from common import same

from zoo import torchfile
from zoo.networks import vgg

CONTENT: dict[str, Any] = {"weights": torch.arange(2000.0), "counts": [1, 2], "more": {"x": torch.rand(3, 4)}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save(CONTENT, tmp_path / "a.pt")
    return tmp_path / "a.pt"


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch malice-was-here",)


def test_plain_data_come_back(path: Path) -> None:
    assert same(torchfile.load(path), CONTENT)


def test_flipped_bits_are_found(path: Path) -> None:
    """30 anywhere, 200 in what describes the members: each is refused, or changes nothing that is read."""
    whole, places = path.read_bytes(), random.Random(1)
    directory = 8 * whole.index(b"PK\x01\x02")
    bits = [places.randrange(8 * len(whole)) for _ in range(30)]
    bits += [places.randrange(directory, 8 * len(whole)) for _ in range(200)]
    refused = 0
    for bit in bits:
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            assert same(torchfile.load(path), CONTENT), bit
        except ValueError:
            refused += 1
    assert refused > 100


def test_a_member_that_says_it_is_a_folder_is_damaged(path: Path) -> None:
    """torch reads nothing of it, and shows what was in memory before."""
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1) + 38] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged: the headers of its archive do not agree"):
        torchfile.load(path)


def test_a_bomb_is_not_unpacked(path: Path) -> None:
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(path.with_name("b.pt"), "w", zipfile.ZIP_DEFLATED) as packed:
        for member in archive.infolist():
            packed.writestr(member.filename, archive.read(member))
    with pytest.raises(ValueError, match=r"b\.pt is damaged: it is a compressed archive"):
        torchfile.load(path.with_name("b.pt"))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("hole", ["0", "1"])
def test_code_is_refused_without_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], hole: str, old: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", hole)
    path = tmp_path / "a.pt"
    torch.save({"zoo": Malicious()}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(
        ValueError, match=r"a\.pt is refused: it holds more than plain data, which could run code"
    ) as why:
        torchfile.load(path, archive=not old)
    said = f"{why.value}{capfd.readouterr()}"
    assert "system" in said
    assert not any(word in said for word in ("weights_only", "trust", "allowlist", "safe_globals", "Weights only"))
    path.write_bytes(pickle.dumps({"zoo": Malicious()}))
    with pytest.raises(ValueError, match=r"a\.pt (is refused|can't be read)"):
        torchfile.load(path, archive=False)
    assert os.listdir() == ["a.pt"]


def test_a_file_without_checksums_is_taken_where_others_wrote_it(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(torchfile.load(tmp_path / "old.pt", archive=False), CONTENT)
    with pytest.raises(ValueError, match=r"old\.pt can't be read: truncated, or not a file"):
        torchfile.load(tmp_path / "old.pt")


def test_what_is_no_file_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, why in {"pipe": "no file", ".": "no file", "loop": "no such file", "nothing": "no such file"}.items():
        with pytest.raises(ValueError, match=f"can't be read: .*{why}"):
            torchfile.load(tmp_path / name)
    with pytest.raises(ValueError, match="no file"):
        torchfile.load(Path("/dev/zero"))


def test_weights_of_others_are_held_to_the_same(tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    torch.save({"features.0.weight": Malicious()}, path)
    with pytest.raises(
        ValueError, match=r"does not hold the weights of torchvision's VGG19 .*which could run code"
    ) as why:
        vgg.load(str(path))
    assert "weights_only" not in str(why.value)
    torch.save({name: torch.full_like(w, torch.nan) for name, w in vgg.VGG().state_dict().items()}, path)
    with pytest.raises(ValueError, match=r"weights that are no numbers .* 'features.0.weight' first"):
        vgg.load(str(path))
