"""Images of more than 8 bits: formats, types, ranges."""

import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from zoo.data.deep import Deep, Levels, check_range, range_of, scaled
from zoo.data.reading import Reader, UnreadableImage, decoded


def read(path: Path, value_range: Any = None, channels: int = 1, levels: Levels | None = None) -> np.ndarray:
    with Image.open(path) if path.suffix == ".png" else tifffile.TiffFile(path) as file:
        shape = file.size[::-1] if isinstance(file, Image.Image) else file.pages[0].shape  # type: ignore[union-attr]
    return Reader(tuple(shape[:2]), channels, "stretch", (255, 255, 255), 10**6, value_range, levels)(path)


def png(path: Path, pixels: np.ndarray) -> None:
    """Write uint16 [H, W, 1 to 4], which Pillow can't, by the first and the last of the filters."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    bytes_of_pixel = 2 * channels
    lines = []
    for n, row in enumerate(rows):
        left = np.concatenate([np.zeros(bytes_of_pixel, int), row[:-bytes_of_pixel]])
        lines.append(bytes([1 if n % 2 else 0]) + ((row - left) % 256 if n % 2 else row).astype(np.uint8).tobytes())
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def noise(*shape: int, low: int = 0, high: int = 65536, dtype: Any = np.uint16) -> np.ndarray:
    return np.random.default_rng(0).integers(low, high, shape).astype(dtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_no_bit_is_lost(channels: int, suffix: str, tmp_path: Path) -> None:
    pixels = noise(9, 7, channels)
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        png(path, pixels)
    else:
        extra = ["unassalpha"] if channels in (2, 4) else None
        kind = "minisblack" if channels < 3 else "rgb"
        tifffile.imwrite(path, pixels.squeeze(), photometric=kind, extrasamples=extra, planarconfig="contig")
    with decoded(path, max_pixels=100) as (_, deep):
        assert deep is not None
        assert np.array_equal(deep.values, pixels)
        assert (deep.kind, deep.full, deep.known) == ("16-bit integers", (0, 65535), (0, 65535))
    eight = read(path, channels=channels)
    assert np.array_equal(eight.transpose(1, 2, 0), np.round(pixels / 257))


def lzw(data: bytes) -> bytes:
    """TIFF's LZW, without any use of its table: codes of 9 bits, which is emptied before it needs more."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return bytes(int(bits[n : n + 8].ljust(8, "0"), 2) for n in range(0, len(bits), 8))


@pytest.mark.parametrize("order", ["<", ">"])
def test_colours_that_pillow_alone_can_decompress(order: str, tmp_path: Path) -> None:
    pixels = noise(6, 5, 3)
    data = lzw(pixels.astype(f"{order}u2").tobytes())
    tags = [(256, 3, 5), (257, 3, 6), (258, 3, 0), (259, 3, 5), (262, 3, 2), (273, 4, 0), (277, 3, 3), (278, 3, 6)]
    tags += [(279, 4, len(data)), (284, 3, 1)]
    after = 8 + 2 + 12 * len(tags) + 4
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    for tag, kind, value in tags:
        count, value = (3, after) if tag == 258 else (1, after + 6 if tag == 273 else value)
        inline = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        head += struct.pack(f"{order}HHI", tag, kind, count) + inline
    path = tmp_path / "a.tif"
    path.write_bytes(head + bytes(4) + struct.pack(f"{order}HHH", 16, 16, 16) + data)
    with decoded(path, max_pixels=100) as (_, deep):
        assert deep is not None
        assert np.array_equal(deep.values, pixels)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32", "int8", "float32", "float64", "float16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_type_is_brought_to_a_range(dtype: str, channels: int, tmp_path: Path) -> None:
    values = np.linspace(-100, 100, 24).reshape(4, 6, 1).repeat(channels, 2)
    if dtype == "uint32":
        values = values * 1e7 + 3e9  # beyond 2 ** 31, which Pillow takes for negative
    values = values.astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values.squeeze(), photometric="rgb" if channels == 3 else "minisblack")
    low, high = float(values.min()), float(values.max())
    levels = Levels()
    got = read(path, (low, high), channels, levels).transpose(1, 2, 0)
    assert np.abs(got - (values.astype(float) - low) * 255 / (high - low)).max() <= 0.6
    assert (levels.low, levels.high, levels.outside) == (low, high, 0)
    with pytest.raises(UnreadableImage, match=r"scale is not known .*data\.range=\[.*,.*\], or data\.range=min_max"):
        read(path, None, channels)
    middle = (low + high) / 2
    clipped = read(path, (middle, high), channels, levels)
    assert (clipped == 0).mean() >= 0.5
    assert levels.outside == 12 * channels


def test_the_range_of_a_type(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[-32768, 0, 32767]], np.int16))
    assert read(tmp_path / "a.tif", "full").tolist() == [[[0, 128, 255]]]
    tifffile.imwrite(tmp_path / "b.tif", np.array([[0, 0.5, 1]], np.float32))
    assert read(tmp_path / "b.tif", "full").tolist() == [[[0, 128, 255]]]
    tifffile.imwrite(tmp_path / "c.tif", np.array([[0, 2]], np.float32))
    with pytest.raises(UnreadableImage, match="scale is not known"):
        read(tmp_path / "c.tif", "full")
    Image.fromarray(np.array([[0, 9, 255]], np.uint8)).save(tmp_path / "d.png")
    assert read(tmp_path / "d.png", "full").tolist() == [[[0, 9, 255]]]


def test_a_range_applies_to_8_bits_and_not_to_alpha(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[10, 7], [60, 200], [70, 255]]], np.uint8)).save(tmp_path / "la.png")
    assert read(tmp_path / "la.png", (10, 60), 2).tolist() == [[[0, 255, 255]], [[7, 200, 255]]]
    Image.fromarray(np.array([[[0, 10, 20], [30, 40, 50]]], np.uint8)).save(tmp_path / "rgb.png")
    assert read(tmp_path / "rgb.png", (0, 50), 3)[:, 0].T.tolist() == [[0, 51, 102], [153, 204, 255]]
    palette = Image.new("P", (1, 1))
    palette.putpalette([30, 40, 50])
    palette.save(tmp_path / "p.png")
    assert read(tmp_path / "p.png", (0, 50), 3).ravel().tolist() == [153, 204, 255]
    png(tmp_path / "deep.png", np.array([[[0, 7], [4095, 65535]]], np.uint16))
    assert read(tmp_path / "deep.png", (0, 4095), 2).tolist() == [[[0, 255]], [[0, 255]]]


def test_a_type_of_12_bits_says_its_range(tmp_path: Path) -> None:
    """Packed two in three bytes, as TIFF has them."""
    packed = bytes([0xFF, 0xF0, 0x00, 0x80, 0x00, 0x10])
    tags = [(256, 3, 4), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 0), (277, 3, 1), (278, 3, 1)]
    tags.append((279, 4, len(packed)))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, kind, value in tags:
        value = 8 + 2 + 12 * len(tags) + 4 if tag == 273 else value
        head += struct.pack("<HHII", tag, kind, 1, value)
    (tmp_path / "a.tif").write_bytes(head + bytes(4) + packed)
    got = Reader((1, 4), 1, "stretch", (0, 0, 0), 100)(tmp_path / "a.tif")
    assert got.tolist() == [[[255, 0, 128, 1]]]


def test_numbers_that_are_none(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "nan.tif", np.array([[0, np.nan]], np.float32))
    tifffile.imwrite(tmp_path / "inf.tif", np.array([[0, np.inf]], np.float32))
    for value_range in (None, (0, 1), "full"):
        with pytest.raises(UnreadableImage, match=r"nan\.tif: .*NaN"):
            read(tmp_path / "nan.tif", value_range)
    assert read(tmp_path / "inf.tif", (0, 1)).tolist() == [[[0, 255]]]
    with pytest.raises(UnreadableImage, match="infinite"):
        read(tmp_path / "inf.tif", (0, 1), levels=Levels())


def test_what_is_said_of_values() -> None:
    grey = lambda *values, dtype=np.uint16: Deep(np.array([[[v] for v in values]], dtype), 8 * np.dtype(dtype).itemsize)
    levels = Levels()
    levels.add(grey(0, 2000))
    levels.add(grey(16, 4080))
    assert levels.in_words(None) == "values 0 to 4080, 16-bit integers, read as 0 to 65535"
    assert "only 6.2% of the range" in str(levels.complaint(None))
    assert "data.range=[0,4095], or data.range=min_max" in str(levels.complaint(None))
    assert "set data.range=min_max, which finds the range of each" in str(levels.complaint(None, alone=False))
    assert levels.complaint((0, 65535)) is None  # as was asked for
    levels.add(grey(0, 16384))
    assert levels.complaint(None) is None

    clipped = Levels()
    clipped.add(grey(0, 50, 100, 4080), (0, 100))
    assert clipped.in_words((0, 100)).endswith("read as 0 to 100, 25.00% of them outside and clipped")
    signed = Levels()
    signed.add(grey(-1000, 3000, dtype=np.int16))
    assert "not known: set data.range=[-1000,3000], or" in str(signed.complaint(None))
    floats = Levels()
    floats.add(grey(0, 0.125, dtype=np.float32))
    assert "data.range=[0,0.125]" in str(floats.complaint(None))


@pytest.mark.parametrize(
    "wrong", ["fulll", [1], [2, 1], [0, 0], [0, math.nan], [0, math.inf], ["a", "b"], [True, 3], {}, 7]
)
def test_what_is_no_range(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"data\.range=.* is no range of values: give \[lowest, highest\], full"):
        check_range(wrong)
    with pytest.raises(ValueError, match="is no range"):
        range_of({"data": {"range": wrong}})


def test_the_range_of_a_trained_model() -> None:
    assert range_of({}) is None
    assert range_of({"data": {"range": "full"}}) == "full"
    assert range_of({"data": {"range": [0, 4095]}}, 1) == (0, 4095)
    found = {"data": {"range": "min_max"}, "ranges": [[0, 10], [-5, 5]]}
    assert (range_of(found), range_of(found, 1)) == ((0, 10), (-5, 5))
    assert range_of({**found, "ranges": [[0, 10]]}, 1) == (0, 10)  # two halves of one file


def test_sixteen_bits_stay_sixteen() -> None:
    values = noise(5, 4, 4)
    assert np.array_equal(scaled(Deep(values, 16), None, np.uint16), values)
