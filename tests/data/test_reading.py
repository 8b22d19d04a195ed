"""One file: modes, bit depths, orientation, transparency, damage, sizes."""

import pickle

import numpy as np
import pytest
from PIL import Image

from zoo.data.reading import Reader, UnreadableImage, colour

RED_GREEN = np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)  # [1, 2, 3]


def reader(size, channels=3, fit="stretch", background=(255, 255, 255), max_pixels=10_000):
    return Reader(size, channels, fit, background, max_pixels)


def smooth(height=16, width=16):
    """A picture that survives lossy formats."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / (width - 1), y * 255 / (height - 1), (x + y) * 4], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *[("1", ".png"), ("L", ".png"), ("LA", ".png"), ("P", ".png"), ("RGB", ".png"), ("RGBA", ".png")],
        *[("P", ".gif"), ("CMYK", ".jpg"), ("CMYK", ".tif"), ("YCbCr", ".tif"), ("LAB", ".tif"), ("L", ".jpg")],
        *[("RGB", ".webp"), ("RGBA", ".webp"), ("RGB", ".bmp"), ("RGB", ".ppm"), ("L", ".pgm"), ("1", ".pbm")],
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_mode_gives_the_picture(tmp_path, mode, suffix, channels):
    path = tmp_path / f"image{suffix}"
    image = Image.fromarray(smooth())
    if mode == "LAB":
        from PIL import ImageCms

        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        image = ImageCms.applyTransform(image, to_lab)
    else:
        image = image.convert(mode)
    image.save(path)
    got = reader((16, 16), channels)(path)
    assert got.shape == (channels, 16, 16)
    assert got.dtype == np.uint8
    wanted = Image.fromarray(smooth())
    if mode in ("1", "L", "LA") or channels < 3:
        wanted = wanted.convert("L")
    wanted = np.atleast_3d(np.asarray(wanted)).transpose(2, 0, 1).astype(float)
    colours = got[: 1 if channels < 3 else 3].astype(float)
    error = np.abs(colours.mean((1, 2)) - wanted.mean((1, 2))).max() if mode == "1" else np.abs(colours - wanted).mean()
    assert error < 14  # the fixed palette is 12.7 off
    if channels in (2, 4):
        assert (got[-1] == 255).all()


@pytest.mark.parametrize("big_endian", [False, True])
def test_sixteen_bits_are_scaled_exactly(tmp_path, big_endian):
    values = np.arange(0, 65536, 7, dtype=np.uint16)[: 96 * 96].reshape(96, 96)
    path = tmp_path / "deep.tif"
    image = Image.fromarray(values.astype(">u2") if big_endian else values)
    image.save(path)
    assert Image.open(path).mode == ("I;16B" if big_endian else "I;16")
    assert np.array_equal(reader((96, 96), 1)(path)[0], np.round(values / 257))


def test_sixteen_bit_png_and_pgm_and_their_transparent_grey(tmp_path):
    values = np.array([[0, 128, 129, 257, 65535, 40000]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert reader((1, 6), 1)(tmp_path / "deep.png").tolist() == [[[0, 0, 1, 1, 255, 156]]]
    (tmp_path / "deep.pgm").write_bytes(b"P5 6 1 65535\n" + values.astype(">u2").tobytes())
    assert reader((1, 6), 1)(tmp_path / "deep.pgm").tolist() == [[[0, 0, 1, 1, 255, 156]]]

    Image.fromarray(values).save(tmp_path / "key.png", transparency=257)
    assert reader((1, 6), 2)(tmp_path / "key.png")[1].tolist() == [[255, 255, 255, 0, 255, 255]]
    assert reader((1, 6), 1)(tmp_path / "key.png")[0].tolist() == [[0, 0, 1, 255, 255, 156]]


def test_wide_integers_and_floats(tmp_path):
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)).save(tmp_path / "unit.tif")
    assert reader((1, 3), 1)(tmp_path / "unit.tif").tolist() == [[[0, 128, 255]]]
    for name, values in [
        ("float", np.array([[0, 255]], np.float32)),
        ("integer", np.array([[0, 70000]], np.int32)),
        ("negative", np.array([[-1, 0]], np.int32)),
    ]:
        path = tmp_path / f"{name}.tif"
        Image.fromarray(values).save(path)
        with pytest.raises(UnreadableImage, match=rf"{path}: .*scale is not known"):
            reader((1, 2), 1)(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_orientation_is_applied(tmp_path, orientation, suffix):
    upright = smooth(6, 4)
    undo = {  # how a camera stores an upright picture under this tag
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(np.ascontiguousarray(undo[orientation](upright))).save(path, exif=exif, **options)
    assert np.array_equal(reader((6, 4))(path), upright.transpose(2, 0, 1))


def test_transparency_is_laid_over_the_background(tmp_path):
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    over = reader((1, 3), background=(0, 0, 255))(tmp_path / "rgba.png")[:, 0].T
    assert over[:2].tolist() == [[255, 0, 0], [0, 0, 255]]
    assert abs(int(over[2, 2]) - 127) <= 1
    assert np.array_equal(reader((1, 3), 4)(tmp_path / "rgba.png"), rgba.transpose(2, 0, 1))

    Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8)).save(tmp_path / "la.png")
    assert reader((1, 2), 1, background=(200, 200, 200))(tmp_path / "la.png").tolist() == [[[10, 200]]]
    assert reader((1, 2), 2)(tmp_path / "la.png").tolist() == [[[10, 10]], [[255, 0]]]


@pytest.mark.parametrize("kind", ["palette-index", "palette-alpha", "grey", "rgb", "gif"])
def test_transparency_of_palettes_and_key_colours(tmp_path, kind):
    path = tmp_path / ("image.gif" if kind == "gif" else "image.png")
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    if kind in ("palette-index", "gif"):
        palette.save(path, transparency=1)
    elif kind == "palette-alpha":
        palette.save(path, transparency=bytes([255, 0]))
    elif kind == "grey":
        Image.fromarray(np.array([[76, 7]], np.uint8)).save(path, transparency=7)
    else:
        Image.fromarray(RED_GREEN).save(path, transparency=(0, 255, 0))
    first = [76, 76, 76] if kind == "grey" else [255, 0, 0]
    assert reader((1, 2), background=(1, 2, 3))(path)[:, 0].T.tolist() == [first, [1, 2, 3]]
    assert reader((1, 2), 4)(path)[3].tolist() == [[255, 0]]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif", ".webp"])
def test_the_first_frame_of_an_animation(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 4), name) for name in ("red", "lime", "blue")]
    path = tmp_path / f"image{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    assert reader((4, 4))(path)[:, 0, 0].tolist() == [255, 0, 0]


def test_fit(tmp_path):
    path = tmp_path / "wide.png"
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 255  # the centre square
    Image.fromarray(wide).save(path)
    assert (reader((4, 4), fit="crop")(path) == 255).all()
    assert reader((6, 3), fit="stretch")(path).shape == (3, 6, 3)
    padded = reader((12, 12), fit="pad", background=(9, 8, 7))(path)
    assert np.array_equal(padded[:, 4:8], wide.transpose(2, 0, 1))
    assert (padded[:, :4] == np.array([9, 8, 7])[:, None, None]).all()
    assert (padded[:, 8:] == np.array([9, 8, 7])[:, None, None]).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (37, 5)])
def test_any_proportions_and_channels_have_the_size(tmp_path, fit, channels, shape):
    Image.new("RGB", shape, "red").save(tmp_path / "image.png")
    assert reader((7, 9), channels, fit)(tmp_path / "image.png").shape == (channels, 7, 9)


def test_reduction_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    small = reader((8, 8), 1, "crop")(tmp_path / "stripes.png")
    assert small[:, :, 1:-1].min() > 115
    assert small[:, :, 1:-1].max() < 140


def damage(path, kind):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("<html>404</html>")
    elif kind == "corrupt":
        path.write_bytes(content[:60] + bytes(200) + content[260:])


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("image.jpg", "truncated", "truncated"),
        ("image.png", "truncated", "truncated"),
        ("image.png", "corrupt", "corrupt"),
        ("image.png", "empty", "an empty file"),
        ("image.jpg", "text", "not an image"),
    ],
)
def test_damaged_files_are_named_with_the_reason(tmp_path, name, kind, reason):
    path = tmp_path / name
    damage(path, kind)
    with pytest.raises(UnreadableImage) as caught:
        reader((8, 8))(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(UnreadableImage, match=r"no\.png: no such file"):
        reader((8, 8))(tmp_path / "no.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UnreadableImage, match=r"folder\.png: a folder, no file"):
        reader((8, 8))(tmp_path / "folder.png")


def test_oversized_images_are_refused_before_decoding(tmp_path, recwarn):
    bomb = tmp_path / "bomb.pbm"
    bomb.write_bytes(b"P4 40000 10000\n")  # 400 million pixels, above all of Pillow's own limits
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(UnreadableImage, match=r"bomb\.pbm: oversized: 40000x10000 pixels .*max_pixels=89478485"):
        reader((8, 8), max_pixels=89_478_485)(bomb)
    assert limit == Image.MAX_IMAGE_PIXELS
    assert not recwarn.list
    Image.new("L", (101, 100)).save(tmp_path / "large.png")
    with pytest.raises(UnreadableImage, match="101x100"):
        reader((8, 8), max_pixels=10_000)(tmp_path / "large.png")
    assert reader((8, 8), max_pixels=10_100)(tmp_path / "large.png").shape == (3, 8, 8)


def test_a_workers_traceback_is_reduced_to_its_sentence():
    wrapped = "Caught UnreadableImage in worker 0.\nTraceback:\n ...\nzoo.data.reading.UnreadableImage: a.png: bad."
    assert str(UnreadableImage(wrapped)) == "a.png: bad."


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [("channels", 5, "channels=5"), ("fit", "zoom", "crop, pad, stretch"), ("max_pixels", 0, "max_pixels=0")],
)
def test_wrong_arguments_are_named(argument, value, message):
    with pytest.raises(ValueError, match=message):
        reader((8, 8), **{argument: value})


def test_colours():
    assert colour("white") == (255, 255, 255)
    assert colour("#102030") == (16, 32, 48)
    assert colour([1, 2, 3]) == (1, 2, 3)
    for wrong in ("whiet", [1, 2], [0, 0, 256], [0.5, 0.5, 0.5]):
        with pytest.raises(ValueError, match=r"data\.background="):
            colour(wrong)


def test_cmyk_tiff_is_not_inverted(tmp_path):
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "red.tif")
    assert reader((2, 2))(tmp_path / "red.tif")[:, 0, 0].tolist() == [255, 0, 0]
