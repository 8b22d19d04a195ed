"""The report about a folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from zoo.cli import app
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


@pytest.mark.slow
def test_a_look_into_a_folder_is_quick_and_small(tmp_path):
    """The whole command, on photographs of 12 megapixels: neither torch nor Lightning nor Hydra is loaded for it."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((4000, 3000)).save(tmp_path / "0.jpg")
    for n in range(1, 12):
        shutil.copy(tmp_path / "0.jpg", tmp_path / f"{n}.jpg")
    code = """
import atexit, re, sys
def tell():
    print(*sorted({"torch", "lightning", "hydra"} & sys.modules.keys()), file=sys.stderr)
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())  # ru_maxrss is the parent's, if larger
    print(int(peak[1]) // 1024, file=sys.stderr)
atexit.register(tell)
from zoo.cli import main
main()
"""
    run = subprocess.run(
        [sys.executable, "-c", code, "check-data", str(tmp_path)], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "12 images, 12 readable" in run.stdout
    modules, megabytes = run.stderr.splitlines()
    assert modules == ""
    assert int(megabytes) < 200


def test_values_and_their_remedies_are_reported(tmp_path):
    for n in range(3):
        pixels = np.random.default_rng(n).integers(16, 4081, (40, 40)).astype(np.uint16)
        pixels[0, :2] = 16, 4080
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
    report = check_folder(tmp_path)
    text = "\n".join(report.lines())
    assert report.ok
    assert "modes: 16-bit integers, grey 3" in text
    assert "values 16 to 4080, 16-bit integers, read as 0 to 65535" in text
    assert "only 6.2% of the range" in text
    assert "data.channels=1 'data.range=[0,4095]' data.batch_size=3" in text

    Image.fromarray(np.array([[-1000, 3000]], np.int32)).save(tmp_path / "scan.tif")
    report = check_folder(tmp_path)
    text = "\n".join(report.lines())
    assert (report.readable, report.unreadable, report.ok) == (4, {}, False)
    assert "their scale is not known: 1 (scan.tif)" in text
    assert "set data.range=[-1000,4080], or data.range=min_max" in text


def test_any_name_can_be_printed(tmp_path):
    """Bytes that are no text, and what would move the cursor."""
    (tmp_path / os.fsdecode(b"\xff\x1b[2J.png")).write_bytes(b"no image")
    result = CliRunner().invoke(app, ["check-data", str(tmp_path)])
    assert result.exit_code == 1
    assert "not an image that Pillow knows" in result.output
