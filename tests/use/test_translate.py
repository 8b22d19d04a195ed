"""How a file enters a translator, and what is no file."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from zoo.data.reading import UnreadableImage
from zoo.use.pictures import read_centre, results
from zoo.use.translate import translator


class Same:
    """Translates each image into itself."""

    directions = {"X->Y": 1, "Y->X": 1}  # noqa: RUF012

    def __init__(self, **config: Any) -> None:
        self.config = {"data": {}, **config}

    def translate(self, image: Tensor, direction: str, tile: int | None) -> Tensor:
        return image


def test_a_file_enters_as_its_domain_did(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 100, 1000]], np.uint16)).save(tmp_path / "a.png")
    model = Same(data={"range": "min_max"}, ranges=[[0, 1000], [0, 100]])
    for direction, values in (("X->Y", [0, 26, 255]), ("Y->X", [0, 255, 255])):
        translator(model, direction)(tmp_path / "a.png", tmp_path / "b.png")
        with Image.open(tmp_path / "b.png") as image:
            assert np.asarray(image).ravel().tolist() == values
    assert read_centre(tmp_path / "a.png", 1, (1, 3), (0, 1000))[0].max() == 1


def test_a_photograph_of_the_package_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(results(Path("chelsea"), Path("out")).values()) == [Path("out/chelsea.png")]
    Path("chelsea").mkdir()
    with pytest.raises(ValueError, match="chelsea has no images"):  # one's own comes first
        results(Path("chelsea"), Path("out"))


def test_what_is_no_file_is_named_and_the_rest_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    os.mkfifo(folder / "fifo.png")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    Image.new("L", (4, 4)).save(folder / "good.png")
    targets = results(folder, tmp_path / "out")
    convert = translator(Same())
    convert(folder / "good.png", targets[folder / "good.png"])
    for name, why in (("fifo.png", "a FIFO, no file"), ("loop.jpg", "a link that leads in a circle")):
        with pytest.raises(UnreadableImage, match=f"{name}: {why}"):
            convert(folder / name, targets[folder / name])
        with pytest.raises(UnreadableImage, match=f"{name}: {why}"):
            read_centre(folder / name, 1, (4, 4))
        assert results(folder / name, tmp_path / "out")
