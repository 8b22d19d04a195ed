"""Files that are written whole or not at all."""

import os
from pathlib import Path

import pytest

from zoo.atomic import replacing


def test_a_block_that_ends_well_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for content in ("first", "second"):
        with replacing(path) as part:
            part.write_text(content)
            assert part.name == path.name  # libraries choose a format by its suffix
            assert not path.exists() or path.read_text() == "first"
            assert list(path.parent.glob("*.txt")) == ([path] if path.exists() else [])  # a part is nobody's find
        assert path.read_text() == content
    assert os.listdir(path.parent) == ["a.txt"]


def test_others_may_read_it_as_any_file(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with replacing(tmp_path / "a") as part:
        part.touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode


def write_half(path: Path) -> None:
    with replacing(path) as part:
        part.write_text("half")
        raise InterruptedError


def test_a_block_that_fails_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("earlier")
    with pytest.raises(InterruptedError):
        write_half(path)
    assert path.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_it_is_on_the_disk_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it could not be moved into place at once."""
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with replacing(tmp_path / "a") as part:
        assert part.is_relative_to(tmp_path)
        part.touch()
