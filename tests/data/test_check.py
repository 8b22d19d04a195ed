"""The report about a folder."""

import shutil
import subprocess
import sys

import pytest
from PIL import Image

from zoo.data.check import check_folder
from zoo.data.files import MissingData


def test_everything_is_reported(images):
    Image.new("L", (40, 50), 3).save(images / "grey.jpg")
    Image.new("RGBA", (40, 50)).save(images / "clear.webp")
    shutil.copy(images / "grey.jpg", images / "deeper" / "copy.jpg")
    (images / "broken.png").write_bytes((images / "01.PNG").read_bytes()[:100])
    Image.new("L", (200, 100)).save(images / "vast.png")
    report = check_folder(images, image_size=16, max_pixels=10_000)
    assert report.images == 17
    assert report.readable == 15
    assert report.extensions == {".png": 14, ".jpg": 2, ".webp": 1}
    assert report.passed_over == {".txt": 1, "hidden": 2}
    assert report.modes == {"RGB": 12, "L": 2, "RGBA": 1}
    assert report.transparent == 1
    assert report.upscaled == 12  # 14 pixels wide
    assert report.duplicates == [["deeper/copy.jpg", "grey.jpg"]]
    assert report.unreadable.keys() == {"broken.png", "vast.png"}
    assert report.unreadable["vast.png"].startswith("oversized: 200x100")
    assert not report.labelled
    assert not report.ok
    assert report.channels == 3
    text = "\n".join(report.lines())
    for part in ("17 images, 15 readable", ".png 14", "median 14", "vast.png: oversized", "copy.jpg = grey.jpg"):
        assert part in text
    assert f"data=folder data.root={images} data.image_size=16 data.channels=3 data.on_error=skip" in text


def test_classes_and_an_empty_folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "set of two" / name).mkdir(parents=True)
        Image.new("L", (32, 32)).save(tmp_path / "set of two" / name / "0.png")
    report = check_folder(tmp_path / "set of two", image_size=[32, 16])
    assert report.labelled
    assert report.ok
    assert report.override() == (
        f"data=labelled_folder 'data.root={tmp_path}/set of two' 'data.image_size=[32,16]' "
        "data.channels=1 data.batch_size=2"
    )
    (tmp_path / "empty").mkdir()
    empty = check_folder(tmp_path / "empty")
    assert not empty.ok
    assert "looked for .jpg" in "\n".join(empty.lines())
    with pytest.raises(MissingData, match="does not exist"):
        check_folder(tmp_path / "nowhere")


def test_a_look_into_a_folder_waits_for_no_library():
    code = "import sys, zoo.data.check; print(*sorted({'torch', 'lightning'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
