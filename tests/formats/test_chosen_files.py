"""Which files are meant."""

from pathlib import Path

import pytest
import torch

from zoo.formats.files import MOST, newest, read


def save(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for k, name in enumerate(names):
        torch.save({"weight": torch.tensor(float(k))}, folder / name)


def test_of_a_folder_the_newest_of_each_network(tmp_path: Path) -> None:
    save(tmp_path, "95_net_G_A.pth", "latest_net_G_A.pth", "200_net_G_A.pth", "latest_net_D_A.pth", "5_net_D_A.pth")
    save(tmp_path, "netG_epoch_9.pth", "netG_epoch_24.pth", "netG_epoch_10.pth", "notes.txt")
    assert {path.name for path in newest(tmp_path)} == {"latest_net_G_A.pth", "latest_net_D_A.pth", "netG_epoch_24.pth"}
    tree, files = read([tmp_path])
    assert tree.keys() == {"latest_net_G_A", "latest_net_D_A", "netG_epoch_24"} == {file.stem for file in files}


def test_one_file_is_itself_and_several_have_their_names(tmp_path: Path) -> None:
    save(tmp_path, "a.pth", "b.pt")
    assert read([tmp_path / "a.pth"])[0] == {"weight": torch.tensor(0.0)}
    assert read([tmp_path / "a.pth", tmp_path / "b.pt"])[0] == {
        "a": {"weight": torch.tensor(0.0)},
        "b": {"weight": torch.tensor(1.0)},
    }


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no files of weights"):
        read([tmp_path / "empty"])
    save(tmp_path / "many", *[f"{chr(97 + k)}.pth" for k in range(MOST + 1)])
    with pytest.raises(ValueError, match="17 files of weights are more than a model has: name those of one"):
        read([tmp_path / "many"])
    save(tmp_path / "one", "a.pth")
    save(tmp_path / "other", "a.pth")
    with pytest.raises(ValueError, match="two files have the name a"):
        read([tmp_path / "one", tmp_path / "other"])
    with pytest.raises(ValueError, match="there is no such file"):
        read([tmp_path / "one", tmp_path / "missing.pth"])
