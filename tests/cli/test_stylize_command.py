"""zoo stylize, as it is typed: pictures in, a picture out, and a sentence for what makes none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import zoo

from zoo.use.pictures import DESCRIPTION

QUICK = ["--steps", "4", "--features", "cifar10_classifier"]


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    """A photograph's stand-in, two styles, and what is no style."""
    draw = np.random.default_rng(0)
    shapes = {"photo.jpg": (40, 52, 3), "style.png": (36, 48, 3), "grey.png": (40, 40), "dot.png": (1, 1, 3)}
    for name, shape in shapes.items():
        Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / name)
    Image.new("RGB", (40, 40), (200, 30, 90)).save(tmp_path / "uniform.png")
    Image.new("RGB", (9, 40), (200, 30, 90)).save(tmp_path / "narrow.png")
    (tmp_path / "text.png").write_text("no picture")
    return {path.stem: path for path in tmp_path.iterdir()}


def test_a_picture_of_the_contents_size_that_names_its_features(pictures: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.png"
    said = zoo("stylize", pictures["photo"], pictures["style"], pictures["grey"], "-o", out, *QUICK)
    with Image.open(out) as image:
        assert (image.size, image.mode) == ((52, 40), "RGB")
        about = image.getexif()[DESCRIPTION]
    for text in (said, about):
        assert "cifar10_classifier" in text
        assert "VGG" not in text.upper()
    with Image.open(pictures["photo"]) as before, Image.open(out) as after:
        assert np.abs(np.asarray(before).astype(int) - np.asarray(after)).mean() > 2
    more = [*QUICK, "--size", "26", "--keep-colour", "--start", "noise", "--optimiser", "adam", "--scales", "2"]
    more += ["--share", "2", "--share", "0.5"]
    zoo("stylize", pictures["photo"], pictures["style"], pictures["grey"], "-o", tmp_path / "b.jpg", *more)
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (34, 26)
        assert "cifar10_classifier" in image.getexif()[DESCRIPTION]


def test_photographs_of_the_package_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    zoo("stylize", "chelsea", "ihc", "-o", "out.png", "--size", "20", "--steps", "1", *QUICK[2:])
    with Image.open("out.png") as image:
        assert image.size == (30, 20)
    Image.new("RGB", (20, 24), (200, 30, 90)).save("chelsea", format="PNG")  # one's own comes first
    zoo("stylize", "chelsea", "ihc", "-o", "out.png", "--steps", "1", *QUICK[2:])
    with Image.open("out.png") as image:
        assert image.size == (20, 24)


def test_pictures_on_the_way(pictures: dict[str, Path], tmp_path: Path) -> None:
    zoo("stylize", pictures["photo"], pictures["style"], "-o", tmp_path / "o" / "out.png", *QUICK, "--every", "2")
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["out-000002.png", "out.png"]


def test_offline_the_shipped_features_are_used_and_named(
    pictures: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    out = tmp_path / "out.png"
    said = zoo("stylize", pictures["photo"], pictures["style"], "-o", out, "--steps", "1")
    assert said.startswith("features: cifar10_classifier")
    assert "vgg19-dcbb9e9d.pth" in said
    with Image.open(out) as image:
        assert "vgg" not in image.getexif()[DESCRIPTION].lower()
    with pytest.raises(ValueError, match=r"--features=vgg19 needs torchvision's VGG19.*--vgg-weights=FILE"):
        zoo("stylize", pictures["photo"], pictures["style"], "-o", out, "--features", "vgg19")


@pytest.mark.parametrize(
    ("content", "style", "more", "message"),
    [
        ("photo", "uniform", [], r"uniform\.png is of one colour, which is no style"),
        ("photo", "dot", [], r"dot\.png has 1x1 pixels, too few to have a style: give a picture of 8 a side or more"),
        ("narrow", "style", [], r"narrow\.png has 9x40 pixels, fewer than the 13 a side that cifar10_classifier sees"),
        ("dot", "style", [], r"dot\.png has 1x1 pixels, fewer than the 13"),
        ("photo", "text", [], r"text\.png"),
        ("text", "style", [], r"text\.png"),
        (
            "photo",
            "nothing",
            [],
            r"nothing does not exist: give a picture, or a photograph that comes along \(astronaut, ",
        ),
        ("photo", "style", ["--vgg-weights", "x.pth"], r"--vgg-weights=x\.pth has no effect with --features=cifar10_"),
        ("photo", "style", ["--features", "vgg19", "--vgg-weights", "x.pth"], r"no such file: x\.pth"),
        ("photo", "style", ["--features", "auto", "--vgg-weights", "x.pth"], r"no such file: x\.pth"),
        ("photo", "style", ["--average-pooling"], r"--average-pooling is of VGG"),
        ("photo", "style", ["--share", "1", "--share", "2"], r"1 styles and --share 2 times: give it once for each"),
        ("photo", "style", ["--share", "0"], r"--share=0.0 must be positive"),
        ("photo", "style", ["--style-weight", "-1"], r"--style-weight=-1.0 must be a number from 0 on"),
        ("photo", "style", ["--tv-weight", "nan"], r"--tv-weight=nan must be"),
        ("photo", "style", ["--style-weight", "0", "--content-weight", "0"], r"leave nothing to aim at"),
        ("photo", "style", ["--scales", "5"], r"--scales=5 begins with 2x3 pixels, and the features see 13 at once"),
        (
            "photo",
            "style",
            ["--size", "20000"],
            r"photo\.jpg: at --size=20000 it has more than .* pixels: give 8\d{3} ",
        ),
        ("photo", "style", ["--device", "tpu"], r"tpu"),
    ],
)
def test_one_sentence_each_and_nothing_is_written(
    content: str, style: str, more: list[str], message: str, pictures: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    with pytest.raises(ValueError, match=message) as caught:
        zoo("stylize", pictures[content], pictures.get(style, style), "-o", out, *QUICK, *more)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_weights_of_another_network(pictures: dict[str, Path], tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "w.pth")
    (tmp_path / "v.pth").write_bytes(b"nothing")
    for name in ("w.pth", "v.pth"):
        with pytest.raises(ValueError, match=rf"{name} does not hold the weights of torchvision's VGG19"):
            zoo(
                *("stylize", pictures["photo"], pictures["style"], "-o", tmp_path / "out.png"),
                *("--vgg-weights", tmp_path / name),
            )


def test_an_out_that_is_no_picture_or_a_source(pictures: dict[str, Path], tmp_path: Path) -> None:
    for out, message in (
        (tmp_path / "out.gif", r"out\.gif must be a picture, such as out\.png"),
        (tmp_path / "out", r"out must be a picture"),
        (pictures["style"], r"-o .*style\.png would replace"),
        (pictures["text"] / "out.png", r"can't be written"),
    ):
        with pytest.raises(ValueError, match=message):
            zoo("stylize", pictures["photo"], pictures["style"], "-o", out, *QUICK)
