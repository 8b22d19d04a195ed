"""Enlarging files: tiles, formats, folders; and the table of a folder."""

import os
import resource
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from common import make
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from zoo.cli import app
from zoo.data.reading import UnreadableImage
from zoo.use.upscale import Picture, bands, enlarge_file, read, write


class Repeat:
    """A network that repeats each pixel, so that what should come out is known."""

    device = torch.device("cpu")
    reach = 0
    config: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, channels: int = 3, scale: int = 2) -> None:
        self.channels, self.scale = channels, scale
        self.largest = 0  # pixels of a tile

    def upscale(self, low: Tensor, part: tuple[range, range]) -> Tensor:
        assert low.shape[1] == self.channels
        assert low.abs().max() <= 1
        self.largest = max(self.largest, low.shape[2] * low.shape[3])
        rows, columns = part
        low = low[:, :, rows.start : rows.stop, columns.start : columns.stop]
        return low.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, int(np.iinfo(dtype).max) + 1, shape, dtype=dtype)


def repeated(pixels: np.ndarray, scale: int = 2) -> np.ndarray:
    return pixels.repeat(scale, 0).repeat(scale, 1)


# Tiles.


@pytest.mark.parametrize(
    "options",
    [
        ["data.scale=4", "model.skip=bilinear", "model.norm=batch"],
        ["data.scale=3", "model.skip=none", "model.norm=none", "data.channels=1"],
        ["data.scale=2", "model.skip=bilinear", "model.norm=none"],
    ],
)
def test_tiles_equal_the_whole_image(options: list[str]) -> None:
    """Everywhere: also at the image's borders, where a tile ends as the image does. As 16 bit: to 1e-4 of the range."""
    torch.manual_seed(0)
    model = make("srgan", "model.width=6", "model.blocks=2", "model.discriminator_width=2", *options).eval()
    for buffer in model.G_ema.buffers():  # statistics that are not those of a new network
        if buffer.is_floating_point():
            buffer.add_(torch.rand_like(buffer))
    pixels = noise(53, 70, model.hparams["channels"], dtype=np.uint16)
    whole = np.concatenate(list(bands(model, pixels, tile=100)))
    with torch.no_grad():
        low = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None] / 32767.5 - 1
        direct = ((model.upscale(low)[0] + 1) * 32767.5).permute(1, 2, 0).numpy()
    assert np.abs(whole - direct).max() < 1
    for tile in (16, 23):
        tiled = np.concatenate(list(bands(model, pixels, tile=tile)))
        assert tiled.shape == whole.shape == (53 * model.hparams["scale"], 70 * model.hparams["scale"], pixels.shape[2])
        assert np.abs(tiled.astype(int) - whole).max() <= 6  # of 65,535


@pytest.mark.parametrize("of", ["reach", "near"])
def test_less_than_the_reach_would_show(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: with tiles that see too little, or keep too little of it, the result differs."""
    model = make("srgan", "model.width=6", "model.blocks=2", "model.discriminator_width=2").eval()
    monkeypatch.setattr(type(model.G_ema.module), of, property(lambda self: 1))
    pixels = noise(53, 70, 3, dtype=np.uint16)
    a, b = (np.concatenate(list(bands(model, pixels, tile=tile))) for tile in (16, 100))
    assert np.abs(a.astype(int) - b).max() > 6


def test_memory_is_that_of_a_tile_and_a_band() -> None:
    model = Repeat()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = 0
    for band in bands(model, np.zeros((2000, 2000, 3), np.uint8), tile=64):
        rows += len(band)
    assert rows == 4000
    assert model.largest == 64 * 64
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 60 * 1024, "the whole result as floats would be 192 MB"


# Colours and alpha.


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("of_network", [1, 3])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_image_with_every_network(channels: int, of_network: int, dtype: Any) -> None:
    pixels = noise(9, 14, channels, dtype=dtype)
    large = np.concatenate(list(bands(Repeat(of_network), pixels, tile=4)))
    assert large.dtype == dtype
    assert np.array_equal(large, repeated(pixels))


# Files.


PNG_MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_files_keep_depth_and_alpha(channels: int, dtype: Any, suffix: str, tmp_path: Path) -> None:
    pixels = noise(7, 11, channels, dtype=dtype)
    source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write(source, [pixels], Picture(pixels, b"a profile"), 1)
    actual = read(source)
    assert actual.pixels.dtype == dtype
    assert np.array_equal(actual.pixels, pixels)
    assert actual.profile == b"a profile"
    assert enlarge_file(Repeat(), source, target, tile=5) == (22, 14)
    again = read(target)
    assert np.array_equal(again.pixels, repeated(pixels))
    assert again.profile == b"a profile"
    if dtype == np.uint8:  # as others read them
        with Image.open(target) as image:
            assert image.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
            assert np.array_equal(np.asarray(image).reshape(14, 22, channels), repeated(pixels))
    elif suffix == ".tif":
        assert np.array_equal(tifffile.imread(target).reshape(14, 22, channels), repeated(pixels))
    elif channels == 1:
        assert np.array_equal(np.asarray(Image.open(target)), repeated(pixels)[:, :, 0])
    assert [path.name for path in sorted(tmp_path.iterdir())] == [source.name, target.name]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_orientation_is_pillows(orientation: int, deep: bool, tmp_path: Path) -> None:
    """Of 16-bit colours too, which are turned here and not by Pillow."""
    from PIL import ImageOps

    pixels = noise(6, 9, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels)
    image.save(tmp_path / "eight.png", exif=exif)
    with Image.open(tmp_path / "eight.png") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    path = tmp_path / "eight.png"
    if deep:
        path = tmp_path / "deep.tif"
        tifffile.imwrite(path, pixels.astype(np.uint16) * 257, photometric="rgb", metadata=None,
                         extratags=[(0x0112, 3, 1, orientation, True)])  # fmt: skip
        expected = expected.astype(np.uint16) * 257
    assert np.array_equal(read(path).pixels, expected)


def deep_png(path: Path, pixels: np.ndarray, key: list[int]) -> None:
    """A PNG of 16 bit, grey or RGB, in which a colour stands for transparency."""
    height, width, channels = pixels.shape
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [(b"IHDR", header), (b"tRNS", struct.pack(f">{channels}H", *key))]
    chunks += [(b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*both) for both in chunks))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_becomes_alpha(channels: int, tmp_path: Path) -> None:
    """Where all of it is equal, in 16 bit: a neighbouring level is opaque."""
    pixels = np.full((2, 3, channels), 40_000, np.uint16)
    pixels[0, 1] = 40_001
    pixels[1, 2, -1] = 7
    deep_png(tmp_path / "a.png", pixels, [40_000] * channels)
    alpha = np.array([[0, 65535, 0], [0, 0, 65535]], np.uint16)
    assert np.array_equal(read(tmp_path / "a.png").pixels, np.dstack([pixels, alpha]))


@pytest.mark.parametrize("channels", [1, 2])
def test_white_that_is_0_is_turned_round(channels: int, tmp_path: Path) -> None:
    pixels = noise(4, 5, channels, dtype=np.uint16)
    alpha: dict[str, Any] = {"extrasamples": ["unassalpha"], "planarconfig": "contig"} if channels == 2 else {}
    tifffile.imwrite(tmp_path / "a.tif", pixels.squeeze(), photometric="miniswhite", metadata=None, **alpha)
    expected = pixels.copy()
    expected[:, :, 0] = 65535 - pixels[:, :, 0]
    assert np.array_equal(read(tmp_path / "a.tif").pixels, expected)


def test_colours_that_alpha_was_multiplied_into_are_divided_by_it(tmp_path: Path) -> None:
    colours, alpha = noise(4, 5, 3, dtype=np.uint16), noise(4, 5, 1, dtype=np.uint16) // 2 + 32768
    alpha[0, 0] = 0
    multiplied = (colours * (alpha / 65535)).round().astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([multiplied, alpha]), photometric="rgb", extrasamples=["assocalpha"])
    actual = read(tmp_path / "a.tif").pixels.astype(int)
    assert np.array_equal(actual[:, :, 3:], alpha)
    assert actual[0, 0].tolist() == [0, 0, 0, 0]
    assert np.abs(actual - np.dstack([colours, alpha]))[1:].max() <= 1


@pytest.mark.parametrize(("kind", "channels"), [("separated", 4), ("cielab", 3), ("ycbcr", 3), ("minisblack", 4)])
def test_other_deep_colours_are_refused(kind: str, channels: int, tmp_path: Path) -> None:
    pixels = noise(4, 5, channels, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=kind, planarconfig="contig", metadata=None)
    with pytest.raises(UnreadableImage, match=rf"a\.tif: 16-bit {kind.upper()} of {channels} channels"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "RGBA"])
def test_other_modes_are_taken_as_colours(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(noise(6, 8, 3)).convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(path)
    with Image.open(path) as opened:
        wanted = opened.convert({"1": "L", "P": "RGB", "CMYK": "RGB", "RGBA": "RGBA"}[mode])
    assert np.array_equal(read(path).pixels.squeeze(), np.asarray(wanted))


def test_floats_of_a_known_scale_become_16_bit(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.array_equal(read(tmp_path / "a.tif").pixels[:, :, 0], (values * 65535).round().astype(np.uint16))
    Image.fromarray(values * 300).save(tmp_path / "b.tif")
    with pytest.raises(UnreadableImage, match=r"b\.tif.*their scale is not known"):
        read(tmp_path / "b.tif")


def test_the_range_of_the_training_images_is_used(tmp_path: Path) -> None:
    model = Repeat(1)
    model.config = {"data": {"range": [0, 4095]}}
    values = noise(4, 5, dtype=np.uint16) % 4096
    Image.fromarray(values).save(tmp_path / "a.png")
    enlarge_file(model, tmp_path / "a.png", tmp_path / "b.png", tile=32)
    with Image.open(tmp_path / "b.png") as image:
        actual = np.asarray(image)
    assert np.abs(actual - repeated(values * (65535 / 4095))).max() <= 1
    Image.fromarray(np.array([[0, 10, 255]], np.uint8)).save(tmp_path / "c.png")
    assert read(tmp_path / "c.png", (0, 10)).pixels.ravel().tolist() == [0, 255, 255]


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_formats_of_8_bit(suffix: str, tmp_path: Path) -> None:
    """Deep colours are rounded to 8 bit; alpha lies over white where there is none."""
    flat = np.empty((16, 16, 4), np.uint16)
    flat[:] = (40_000, 20_000, 10_000, 65_535 // 2)
    write(tmp_path / "a.png", [flat], Picture(flat), 1)
    enlarge_file(Repeat(), tmp_path / "a.png", tmp_path / f"b{suffix}", tile=32)
    with Image.open(tmp_path / f"b{suffix}") as image:
        actual = np.asarray(image)
    assert actual.shape[:2] == (32, 32)
    colours = np.array([40_000, 20_000, 10_000]) / 257
    if suffix == ".webp":
        assert image.mode == "RGBA"
        assert np.abs(actual[:, :, 3].astype(int) - 127).max() <= 1
    else:
        assert image.mode == "RGB"
        colours = (colours + 255) / 2
    assert np.abs(actual[:, :, :3] - colours).max() < 4


def test_what_can_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"images are written as \.png"):
        enlarge_file(Repeat(), tmp_path / "a.png", tmp_path / "a.gif", tile=8)
    with pytest.raises(ValueError, match="is the image itself"):
        enlarge_file(Repeat(), tmp_path / "a.png", tmp_path / "a.png", tile=8)
    Image.new("L", (9000, 1)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match=r"wide\.png can't be written enlarged"):
        enlarge_file(Repeat(1, scale=8), tmp_path / "wide.png", tmp_path / "wide.jpg", tile=4000)
    with pytest.raises(ValueError, match="--tile=0"):
        enlarge_file(Repeat(), tmp_path / "a.png", tmp_path / "b.png", tile=0)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "wide.png"}


# The commands.


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of an SRGAN."""
    from common import small

    from train import run

    folder = tmp_path_factory.mktemp("run")
    run(small("srgan", folder, "max_images=16", f"cache_dir={folder / 'cache'}"))
    return folder


def zoo(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_a_file(checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(noise(20, 30, 3)).save(tmp_path / "a.jpg")
    result = zoo("upscale", checkpoint, tmp_path / "a.jpg", "-o", tmp_path / "new" / "big.png", "--tile=16")
    assert result.exit_code == 0, result.output
    assert "big.png: 60x40" in result.output
    with Image.open(tmp_path / "new" / "big.png") as image:
        assert image.size == (60, 40)
    assert zoo("upscale", checkpoint, tmp_path / "a.jpg").exit_code == 0
    assert (tmp_path / "a-x2.png").is_file()
    result = zoo("upscale", checkpoint, tmp_path / "a.jpg", "-o", tmp_path / "new")
    assert f"{tmp_path / 'new' / 'a.png'}: 60x40" in result.output.replace("\n", "")
    assert (tmp_path / "new" / "a.png").is_file()


def test_a_folder_goes_on_after_a_bad_file(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    for name in ("a.png", "deeper/b.jpg", "c.gif"):
        Image.fromarray(noise(10, 12, 3)).save(folder / name)
    (folder / "bad.png").write_bytes(b"nothing")
    os.mkfifo(folder / "fifo.tif")
    (folder / "loop.tiff").symlink_to("loop.tiff")
    (folder / "zero.png").symlink_to("/dev/zero")
    result = zoo("upscale", checkpoint, folder, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "3 of 7 images enlarged by 2" in result.output
    assert "fifo.tif: a FIFO, no file" in result.output
    assert "loop.tiff: a link that leads in a circle" in result.output
    assert "zero.png: a character device, no file" in result.output
    assert "bad.png: not an image that Pillow knows" in result.output
    actual = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert actual == {"a.png", "deeper/b.jpg", "c.gif.png"}


def test_what_upscale_refuses(checkpoint: Path, tmp_path: Path, small: Any) -> None:
    from train import run

    (tmp_path / "empty").mkdir()
    folder = tmp_path / "in" / "deeper"
    folder.mkdir(parents=True)
    Image.fromarray(noise(8, 8, 3)).save(folder / "a.png")
    (folder / "deeper").mkdir()
    Image.fromarray(noise(8, 8, 3)).save(folder / "deeper" / "a.png")
    (tmp_path / "file").write_bytes(b"nothing")
    cfg = small("vanilla", "max_images=16")
    run(cfg)
    for arguments, message in (
        ((cfg.run_dir, tmp_path), "VanillaGAN has no magnification, which zoo upscale needs: train model=srgan"),
        ((checkpoint, tmp_path / "nothing.png"), "does not exist"),
        ((checkpoint, tmp_path), "is a folder: give one for the results too"),
        ((checkpoint, tmp_path / "empty", "-o", tmp_path / "out"), "has no images"),
        ((checkpoint, folder, "-o", folder), "lies within"),
        ((checkpoint, folder, "-o", folder / "out"), "lies within"),
        ((checkpoint, folder, "-o", folder.parent), "has the images of"),  # deeper/a.png would replace a.png
        ((checkpoint, folder, "-o", tmp_path / "file"), "is a file: give a folder"),
    ):
        result = zoo("upscale", *arguments)
        assert isinstance(result.exception, ValueError)
        assert message in str(result.exception)
    assert len(list(folder.rglob("*"))) == 3
    result = zoo("evaluate", cfg.run_dir, "--data", tmp_path)
    assert "--data is for super-resolution" in str(result.exception)


def test_the_table_of_a_folder(checkpoint: Path, tmp_path: Path) -> None:
    """Each image, their mean, and bicubic enlargement's, whose values are those of the functions themselves."""
    from zoo.data.degradation import enlarge, shrink
    from zoo.metrics.pixels import measure

    for name, shape in {"one.png": (24, 33, 3), "two.png": (40, 22)}.items():
        Image.fromarray(noise(*shape)).save(tmp_path / name)
    result = zoo("evaluate", checkpoint, "--data", tmp_path, "metrics.border=3")
    assert result.exit_code == 0, result.exception
    rows = {}
    for line in result.output.splitlines()[2:6]:
        name, *figures = line.rsplit(maxsplit=4)
        rows[name.strip()] = [float(figure) for figure in figures]
    assert list(rows) == ["one.png", "two.png", "mean", "bicubic, mean"]
    for k in range(4):
        assert rows["mean"][k] == pytest.approx((rows["one.png"][k] + rows["two.png"][k]) / 2, abs=0.011)
    expected = np.zeros(4)
    for name in ("one.png", "two.png"):
        with Image.open(tmp_path / name) as image:
            is_grey, pixels = image.mode == "L", np.array(image.convert("RGB"))
        high = torch.from_numpy(pixels).permute(2, 0, 1)
        high = high[None, :, :, : high.shape[2] // 2 * 2]
        actual = measure(enlarge(shrink(high, 2), 2), high, border=3, is_grey=is_grey)
        expected += [value.item() / 2 for value in actual.values()]
    assert rows["bicubic, mean"] == pytest.approx(expected.tolist(), abs=0.006)
    assert "border               3" in result.output


@pytest.mark.slow
def test_a_table_goes_on_without_what_can_not_be_measured(checkpoint: Path, tmp_path: Path) -> None:
    """The other rows and the means are those of a folder without it; all that is missing is named."""
    Image.fromarray(noise(24, 33, 3)).save(tmp_path / "one.png")
    whole = zoo("evaluate", checkpoint, "--data", tmp_path)
    Image.fromarray(noise(9, 33, 3)).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "one.png").read_bytes()[:900])
    result = zoo("evaluate", checkpoint, "--data", tmp_path)
    assert (whole.exit_code, result.exit_code) == (0, 1)
    table = result.stdout.splitlines()
    assert table[:5] == whole.stdout.splitlines()[:5]
    assert [line.split()[0] for line in table[2:5]] == ["one.png", "mean", "bicubic,"]
    assert "num_images           1" in result.stdout
    first, second = result.stderr.splitlines()
    assert first.startswith("not measured: broken.png: truncated")
    assert second.startswith("not measured: small.png: ")
    (tmp_path / "one.png").unlink()
    assert "small.png: " in str(zoo("evaluate", checkpoint, "--data", tmp_path).exception)


@pytest.mark.slow
def test_a_run_is_measured_once_more(checkpoint: Path) -> None:
    result = zoo("evaluate", checkpoint, "metrics=super_resolution")
    assert result.exit_code == 0, result.exception
    assert "psnr_y" in result.output
