"""`zoo encoder`, and `zoo edit` and `zoo directions` on real photographs, with a small run; and translate --keep."""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import small as settings
from PIL import Image
from style_networks import Reference, rosinality
from test_cli import zoo

from train import run
from zoo.loading import load
from zoo.use import styles
from zoo.use.translate import translator


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, with an encoder and a direction beside it, and two groups of its images."""
    folder = tmp_path_factory.mktemp("styled")
    run(settings("stylegan_lite", folder / "run", "max_images=16", "logger=none"))
    model = load(folder / "run")
    images = styles.render(model, styles.of_seeds(model, range(24)))[:, 0]
    order = images.mean((1, 2)).argsort().tolist()
    for n, row in enumerate(order):
        group = folder / ("dark" if n < 12 else "bright")
        group.mkdir(exist_ok=True)
        Image.fromarray(((images[row] + 1) * 127.5).round().byte().numpy()).save(group / f"{row}.png")
    steps = ["--steps", "4", "--width", "8", "--features", "pixels"]
    said = zoo("encoder", folder / "run", "-o", folder / "e.safetensors", "--images", folder / "dark", *steps)
    assert "of the styles' variance, reconstructions have" in said
    styles.unnamed(model, "pca", 2).save(folder / "d.safetensors")
    return folder


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def edit(styled: Path, photograph: Path, *arguments: Any) -> str:
    quick = ["--encoder", styled / "e.safetensors", "--steps", "0", "--direction", styled / "d.safetensors"]
    return zoo("edit", styled / "run", photograph, *quick, *arguments)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.slow
def test_a_part_of_a_photograph_is_edited_and_the_rest_stays(styled: Path, photograph: Path, tmp_path: Path) -> None:
    side = load(styled / "run").config["data"]["image_size"]
    assert side == 16
    box = ["--box", "10,20,24,24"]
    said = edit(styled, photograph, *box, "--strength", "3", "--paste", "edited", "-o", tmp_path / "new.png")
    assert "1 images along 0 by +3" in said
    old, new = pixels(photograph), pixels(tmp_path / "new.png")
    assert new.shape == old.shape
    changed = (old != new).any(2)
    assert changed[24:40, 14:30].mean() > 0.9
    changed[20:44, 10:34] = False
    assert not changed.any()
    # Several strengths are several photographs; the change of none is none.
    edit(styled, photograph, *box, "--strength", "0", "--strength", "-2", "--paste", "change", "-o", tmp_path / "many")
    assert (pixels(tmp_path / "many" / "photo+0.png") == old).all()
    assert (pixels(tmp_path / "many" / "photo-2.png") != old).any()
    mask = np.zeros((50, 70), np.uint8)
    mask[:, :20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    edit(styled, photograph, *box, "--paste", "edited", "--mask", tmp_path / "mask.png", "-o", tmp_path / "new.png")
    assert (pixels(tmp_path / "new.png") == old)[:, 20:].all()
    # Without --paste, a sheet: image, projection, 0 and the edit.
    edit(styled, photograph, "--eyes", "30,20,40,22", "-o", tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width > 3 * 96


def test_a_search_goes_on_from_an_encoder(styled: Path, photograph: Path, tmp_path: Path) -> None:
    arguments = [photograph, "-o", tmp_path / "p.png", "--features", "pixels"]
    zoo("project", styled / "run", *arguments, "--encoder", styled / "e.safetensors", "--steps", "0")
    at_once = styles.load_styles(tmp_path / "p.safetensors")
    zoo("project", styled / "run", *arguments, "--encoder", styled / "e.safetensors", "--steps", "3", "--space", "w+")
    further = styles.load_styles(tmp_path / "p.safetensors")
    assert torch.equal(at_once, at_once[:, :1].expand_as(at_once))
    assert not torch.equal(further, at_once)
    assert (further - at_once).abs().max() < 0.2


def test_a_direction_of_two_groups(styled: Path, tmp_path: Path) -> None:
    groups = ["--groups", styled / "dark", styled / "bright", "--encoder", styled / "e.safetensors", "--steps", "0"]
    said = zoo("directions", styled / "run", *groups, "-o", tmp_path / "d.safetensors")
    assert "dark to bright: correlation" in said
    assert styles.Directions.load(tmp_path / "d.safetensors").names == ["dark to bright"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--box", "0,0,10,10"], "the part to edit has 10x10 pixels, fewer than the 16x16 of this model"),
        (["--box", "60,0,20,20"], "--box=60,0,20,20 is not within the photograph of 70x50 pixels"),
        (["--box", "1,2,3"], "--box=1,2,3 must be 4 numbers"),
        (["--face", "--eyes", "1,2,3,4"], "--eyes and --face each say which part is edited: leave one out"),
        (["--eyes", "10,10,1000000,10"], "--eyes has 1e+06,10, which is not within the photograph of 70x50 pixels"),
        (["--eyes", "1,10,69,10"], "--eyes are of a face of 272 pixels, more than twice the photograph's 70x50"),
        pytest.param(
            *(["--face"], "photo.png: --face finds no upright face"),
            marks=pytest.mark.skipif(find_spec("skimage") is None, reason="uv run --all-groups pytest"),
        ),
        (["--mask", "m.png"], "--mask is of --paste: give that too"),
        (["--paste", "edited", "--mask", "m.png"], "m.png"),
        (["--paste", "edited", "--strength", "1", "--strength", "2"], "2 strengths make as many photographs"),
    ],
)
def test_what_a_photograph_can_not_be_edited_by(
    styled: Path, photograph: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        edit(styled, photograph, *arguments, "-o", tmp_path / "new.png")
    assert not (tmp_path / "new.png").exists()


def test_a_place_that_can_t_be_written_is_said_before_the_search(
    styled: Path, photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(styles, "project", None)  # would be called
    (tmp_path / "file").touch()
    for output in ("file/new.png", "file/folder"):
        with pytest.raises(ValueError, match=r"can't be written .*give another place, -o"):
            edit(styled, photograph, "-o", tmp_path / output)


def test_what_goes_with_nothing_is_said(styled: Path, photograph: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    photograph.rename(few / "photo.png")
    fewer = tmp_path / "fewer"
    shutil.copytree(few, fewer)
    rest = ["-o", tmp_path / "d.safetensors"]
    e = ["--encoder", styled / "e.safetensors", "--steps", "0"]
    for arguments, message in (
        (["directions", "--encoder", styled / "e.safetensors", *rest], "--encoder inverts the images of --groups"),
        (["directions", "--groups", few, few, "--attribute", "slant", *rest], "--groups are labels enough"),
        (["directions", "--groups", few, few, *e, *rest], "few twice: give images without, and images with"),
        (["directions", "--groups", few, fewer, *e, *rest], "2 images in the two groups are too few"),
        (["directions", "--groups", few, tmp_path / "none", *e, *rest], "none does not exist: give a folder of images"),
        (["project", few / "photo.png", "--steps", "0", "-o", tmp_path / "p.png"], "--steps=0 searches for nothing"),
        (["encoder", "--width", "12", *rest], "--width=12 must be a multiple of 8, such as 8"),
        (["encoder", "-o", tmp_path / "e.pt"], "e.pt must end in .safetensors"),
        (["edit", "--seeds", "1", "--face"], "--face is of a photograph: give one in place of --seeds"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            zoo(arguments[0], styled / "run", *arguments[1:])
    assert not (tmp_path / "d.safetensors").exists()


def test_weights_of_other_people_edit_a_photograph(photograph: Path, tmp_path: Path) -> None:
    """StyleGAN2 as rosinality stores it, in colours: imported, an encoder for it, a face put back level."""
    networks = Reference([8, 8, 4], z_dim=6, w_dim=6, layers=2)
    g, d = rosinality(networks)
    torch.save({"g": g, "d": d, "g_ema": g, "args": None}, tmp_path / "faces.pt")
    faces, e, directions = tmp_path / "faces", tmp_path / "e.safetensors", tmp_path / "d.safetensors"
    zoo("import", tmp_path / "faces.pt", "-o", faces)
    zoo("encoder", faces, "--steps", "2", "--width", "8", "-o", e)
    zoo("directions", faces, "-n", "2", "-o", directions)
    rest = ["--direction", f"{directions}:1", "--eyes", "30,20,38,22,33,30", "--paste", "edited", "--strength", "3"]
    zoo("edit", faces, photograph, "--encoder", e, "--steps", "2", *rest, "-o", tmp_path / "new.png")
    changed = (pixels(photograph) != pixels(tmp_path / "new.png")).any(2)
    assert changed[15:30, 25:42].mean() > 0.9
    assert not changed[:, 60:].any()


# zoo translate --keep ------------------------------------------------------------------------------------------------


class Red:
    """Translates each image into a red one."""

    directions = {"X->Y": 3}  # noqa: RUF012
    config = {"data": {}}  # noqa: RUF012

    def translate(self, image: torch.Tensor, direction: str, tile: int | None) -> torch.Tensor:
        return torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, *image.shape[2:])


class OnGrey(Red):
    config = {"data": {"background": "#808080"}}  # noqa: RUF012  # lies under what is transparent


class Grey(Red):
    def translate(self, image: torch.Tensor, direction: str, tile: int | None) -> torch.Tensor:
        return torch.zeros(1, 1, *image.shape[2:])


def test_keep_opaque_pixels_or_the_lightness(tmp_path: Path) -> None:
    own = np.random.default_rng(0).integers(0, 256, (8, 9, 4), np.uint8)
    own[..., 3] = 255
    own[2:4, 3:6, 3] = 0
    Image.fromarray(own).save(tmp_path / "a.png")
    translator(Red(), keep="opaque")(tmp_path / "a.png", tmp_path / "b.png")
    expected = own[..., :3].copy()
    expected[2:4, 3:6] = 255, 0, 0
    assert (pixels(tmp_path / "b.png") == expected).all()
    translator(Grey(), keep="opaque")(tmp_path / "a.png", tmp_path / "g.png")
    assert abs(pixels(tmp_path / "g.png") - pixels_of_grey(own))[own[..., 3] > 0].max() <= 1

    Image.fromarray(np.full((4, 4), 70, np.uint8)).save(tmp_path / "c.png")
    translator(Red(), keep="lightness")(tmp_path / "c.png", tmp_path / "d.png")
    red, green, blue = pixels(tmp_path / "d.png")[0, 0]  # of the full red's 0.701 above its light, as much as fits
    assert green == blue == 0
    assert red == pytest.approx(70 / 0.299, abs=1)
    assert abs(pixels_of_grey(pixels(tmp_path / "d.png")) - 70).max() <= 1
    translator(OnGrey(), keep="lightness")(tmp_path / "a.png", tmp_path / "h.png")
    assert abs(pixels_of_grey(pixels(tmp_path / "h.png"))[own[..., 3] == 0] - 128).max() <= 1
    assert abs(pixels_of_grey(pixels(tmp_path / "h.png")) - pixels_of_grey(own))[own[..., 3] > 0].max() <= 1
    with pytest.raises(ValueError, match=r"c\.png has no transparent pixels, which --keep opaque leaves"):
        translator(Red(), keep="opaque")(tmp_path / "c.png", tmp_path / "e.png")
    with pytest.raises(ValueError, match="--keep=lightness leaves the colours to the translation, which is grey"):
        translator(Grey(), keep="lightness")(tmp_path / "c.png", tmp_path / "e.png")
    assert not (tmp_path / "e.png").exists()


def pixels_of_grey(image: np.ndarray) -> np.ndarray:
    return np.rint(image[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(int)
