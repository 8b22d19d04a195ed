"""zoo compare on small sets of digits, by the classifier that needs no download."""

import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import needs
from PIL import Image
from typer.testing import CliRunner

from zoo.cli import app
from zoo.data.pixels import classed
from zoo.metrics.extractors import DigitClassifier, Inception, MissingWeights


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], catch_exceptions=False)


def report(*arguments: object, metrics: str = "mnist", exit_code: int = 0) -> dict[str, Any]:
    result = run(*arguments, "--metrics", metrics, "--json", "-")
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return classed("mnist5k")[0][::40, 0].numpy()  # 125


def save(images: Any, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for n, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{n:03d}.png")
    return folder


@pytest.fixture(scope="module")
def sides(digits: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A: 60 digits, some of them darkened. B: 65 others."""
    root, generated = tmp_path_factory.mktemp("sides"), digits[:60].copy()
    generated[::3] //= 2
    return save(generated, root / "a"), save(digits[60:], root / "b")


def reference(generated: list[np.ndarray], real: list[np.ndarray]) -> float:
    """The Frechet distance by numpy and scipy, image by image."""
    a, b = (
        torch.cat([DigitClassifier()(torch.from_numpy(np.atleast_3d(x).transpose(2, 0, 1)[None].copy())) for x in side])
        .double()
        .numpy()
        for side in (generated, real)
    )
    root = needs("scipy.linalg").sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root))


def read(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


def test_two_folders_and_what_is_said_of_them(sides: tuple[Path, Path]) -> None:
    a, b = sides
    text = run(a, b, "--metrics", "mnist").stdout
    lines = text.splitlines()
    assert lines[0] == f"generated  {a}: 60 images (28x28 grey 60)"
    assert lines[1] == f"real       {b}: 65 images (28x28 grey 65)"
    for part in ("fid_mnist", "precision_mnist", "recall_mnist", "[", "weights_sha256", "resize", "neighbours"):
        assert part in text
    there, back = report(a, b), report(b, a)
    fid = there["values"]["fid_mnist"]
    assert fid == pytest.approx(reference(read(a), read(b)), abs=1e-3)
    low, high = there["intervals"]["fid_mnist"]
    assert low < fid < high
    assert back["values"]["fid_mnist"] == pytest.approx(fid, rel=1e-6)
    assert back["values"]["precision_mnist"] == there["values"]["recall_mnist"] != there["values"]["precision_mnist"]
    assert there["protocol"]["extractor"] == "mnist"
    assert there["generated"] == {"path": str(a), "images": 60, "sizes": "28x28 grey 60"}


@pytest.mark.slow
def test_a_folder_against_itself_is_at_no_distance(sides: tuple[Path, Path]) -> None:
    found = report(sides[0], sides[0])
    itself, (low, high) = found["values"], found["intervals"]["fid_mnist"]
    assert 0 <= low <= itself["fid_mnist"] <= high < 1e-3
    assert itself["fid_mnist"] < 1e-6
    assert itself["precision_mnist"] == itself["recall_mnist"] == 1


@pytest.mark.slow
def test_archives_give_what_their_folder_gives(sides: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = sides
    np.savez(tmp_path / "a.npz", images=np.stack(read(a)))
    np.save(tmp_path / "a.npy", np.stack(read(a)))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for path in sorted(a.iterdir()):
            file.write(path, f"../../{path.name}")  # leads nowhere: nothing is unpacked
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for path in sorted(a.iterdir()):
            file.add(path, f"../../{path.name}")
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    values = report(a, b)["values"]
    for name in ("a.npz", "a.npy", "a.zip", "a.tar"):
        found = report(tmp_path / name, b)
        assert found["values"] == pytest.approx(values, rel=1e-6), name
    assert found["generated"]["passed_over"] == "1 links"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "a.npz", "a.tar", "a.zip"]
    cut = (tmp_path / "a.tar").read_bytes()[:3_000]
    (tmp_path / "a.tar").write_bytes(cut)
    with pytest.raises(ValueError, match=r"a\.tar"):
        run(tmp_path / "a.tar", b, "--metrics", "mnist")
    (tmp_path / "a.tar").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"a\.tar can't be read"):
        run(tmp_path / "a.tar", b, "--metrics", "mnist")


@pytest.mark.slow
def test_arrays_whose_white_is_not_known_are_refused(sides: tuple[Path, Path], tmp_path: Path) -> None:
    """As 16-bit integers, values up to 255 would be black, and the distance that of black images."""
    a, b = sides
    stacked = np.stack(read(b))
    for name, images, sentence in [
        ("wide", stacked.astype(np.int64), "wide.npz holds values 0 to 255, signed 64-bit integers, .* save them with"),
        ("mask", (stacked > 127).astype(np.uint16), "mask.npz holds values 0 to 1, .*all but black"),
        ("signed", stacked.astype(np.float32) / 127.5 - 1, "no image that can be read, of 65: 0: .*from -1 to 1"),
    ]:
        np.savez(tmp_path / f"{name}.npz", images)
        with pytest.raises(ValueError, match=sentence):
            run(a, tmp_path / f"{name}.npz", "--metrics", "mnist")
    np.savez(tmp_path / "dark.npz", stacked.astype(np.uint16) * 16)
    assert "nearly uniform" in report(a, tmp_path / "dark.npz", "metrics.measures=[fid]")["real"]["values"]
    np.savez(tmp_path / "deep.npz", stacked.astype(np.uint16) * 257)
    both = [report(a, place, "metrics.measures=[fid]")["values"] for place in (b, tmp_path / "deep.npz")]
    assert both[0] == both[1]


@pytest.mark.slow
def test_sizes_modes_and_subfolders_may_be_mixed(sides: tuple[Path, Path], tmp_path: Path) -> None:
    """Each image is read as it is: not cropped, not resized but by the extractor."""
    generated: list[np.ndarray] = []
    for n, image in enumerate(read(sides[0])):
        height, width = [(28, 28), (40, 50), (64, 32)][n % 3]
        picture = Image.fromarray(image).resize((width, height))
        folder = tmp_path / "a" / f"{n % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        if n % 4 == 1:
            picture = picture.convert("RGB")
        generated.append(np.asarray(picture))
        if n % 4 == 2:  # 16 bits
            Image.fromarray(np.asarray(picture).astype(np.uint16) * 257).save(folder / f"{n:03d}.png")
        elif n % 4 == 3:  # turned, with the tag that says so
            exif = Image.Exif()
            exif[0x0112] = 6
            picture.transpose(Image.Transpose.ROTATE_90).save(folder / f"{n:03d}.png", exif=exif)
        else:
            picture.save(folder / f"{n:03d}.png")
    found = report(tmp_path / "a", sides[1], "metrics.batch_size=7")
    assert found["values"]["fid_mnist"] == pytest.approx(reference(generated, read(sides[1])), abs=1e-3)
    assert found["generated"]["images"] == 60
    assert "40x50 RGB 5" in found["generated"]["sizes"]
    assert "16-bit" in found["generated"]["values"]


def test_transparency_lies_over_white_cmyk_and_palettes_are_colours(digits: np.ndarray, tmp_path: Path) -> None:
    from zoo.data.originals import Originals

    rgba = np.zeros((8, 6, 4), np.uint8)
    rgba[2:, :, 0], rgba[2:, :, 3] = 200, 255
    for name, picture in {
        "a.png": Image.fromarray(rgba),
        "b.tif": Image.new("CMYK", (6, 8), (0, 0, 0, 0)),
        "c.gif": Image.new("P", (6, 8)),
    }.items():
        picture.save(tmp_path / name)
    images = Originals(tmp_path)
    ((batch, positions),) = images.batches(10)
    assert batch.shape == (3, 3, 8, 6)
    assert positions.tolist() == [0, 1, 2]
    assert batch[0, :, 0, 0].tolist() == [255, 255, 255]
    assert batch[0, :, 7, 5].tolist() == [200, 0, 0]
    assert batch[1].unique().tolist() == [255]
    assert images.notes()["transparent"] == "1, laid over white"


@pytest.mark.slow
def test_broken_files_are_named_and_left_out(sides: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = sides
    values = report(a, b)["values"]
    broken = save(read(a), tmp_path / "broken")
    (broken / "0.5.png").write_bytes((broken / "001.png").read_bytes()[:60])
    (broken / "zero.jpg").touch()
    (broken / "notes.txt").write_text("not an image")
    (broken / "deep.npy").write_bytes(b"")
    np.save(broken / "deep.npy", np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8))
    result = run(broken, b, "--metrics", "mnist", "--json", tmp_path / "report.json")
    assert result.exit_code == 1
    for name in ("0.5.png: truncated", "zero.jpg: an empty file", "deep.npy: 32-bit floats from -1 to 1"):
        assert f"not measured: {broken}/{name}" in result.stderr
    assert "save them with 8 bits" in result.stderr
    assert "passed_over: 1 .txt" in result.stdout
    found = json.loads((tmp_path / "report.json").read_text())
    for each in (found["values"], values):  # its splits are drawn among all files, those that can't be read included
        del each["inception_score_mnist"]
    assert found["values"] == pytest.approx(values, rel=1e-6)
    assert set(found["generated"]["unreadable"]) == {"0.5.png", "zero.jpg", "deep.npy"}
    assert found["generated"]["images"] == 60


@pytest.mark.slow
def test_the_images_of_a_run_are_made(sides: tuple[Path, Path]) -> None:
    import zoo

    found = report("vanilla-mnist5k", sides[1], "-n", 40)
    images = zoo.load("vanilla-mnist5k").sample(40).mul(255).round().to(torch.uint8)
    made = [image.permute(1, 2, 0).numpy() for image in images]
    assert found["values"]["fid_mnist"] == pytest.approx(reference(made, read(sides[1])), rel=2e-3)
    assert found["generated"]["images"] == 40
    assert found["generated"]["seeds"] == "0 to 39"
    assert report(sides[0], "vanilla-mnist5k", "metrics.measures=[fid]")["real"]["images"] == 60  # as many as A's


@pytest.mark.slow
@pytest.mark.parametrize("metrics", ["cifar10", "colour_digits"])
def test_any_extractor(sides: tuple[Path, Path], metrics: str) -> None:
    values = report(*sides, "metrics.measures=[precision_recall]", "metrics.neighbours=4", metrics=metrics)["values"]
    assert {f"precision_{metrics}", f"recall_{metrics}"} < set(values)
    assert f"fid_{metrics}" not in values


@pytest.mark.slow
def test_what_can_not_be_compared_is_a_sentence(
    sides: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = sides
    (tmp_path / "empty").mkdir()
    one = save(read(a)[:1], tmp_path / "one")
    few = save(read(a)[:3], tmp_path / "few")
    broken = save(read(a)[:1], tmp_path / "broken")
    (broken / "1.png").touch()
    np.savez(tmp_path / "five.npz", images=np.zeros((9, 5, 5, 5), np.uint8))
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "table.csv").write_text("a,b")
    (tmp_path / "set.tar.gz").write_bytes(b"\x1f\x8b")
    for arguments, sentence in {
        (tmp_path / "empty", b): "empty holds no images",
        (one, b): "one holds 1 image: to compare distributions, give two or more on each side",
        (few, b): "images in .*few=3: precision and recall need more than neighbours=3",
        (broken, b, "metrics.measures=[fid]"): "broken holds 1 image",
        (a, b.parent / "bb"): f"bb does not exist.*did you mean {b}",
        (a, "dcgan-mnist5"): "did you mean dcgan-mnist5k",
        (tmp_path / "five.npz", b): "1 to 4 channels come second or last",
        (tmp_path / "pickled.npy", b): "Python objects",
        (tmp_path / "table.csv", b): "table.csv holds neither a trained model nor images",
        (tmp_path / "set.tar.gz", b): "set.tar.gz .*: unpack it",
        (a / "001.png", b): "001.png .*: give a folder of images",
        (a, b, "metrics.measures=[]"): "measures nothing",
        (a, b, "-n", 9): "neither .* nor .* is one",
        (a, b, "metrics.num_fake=9"): "takes all images of both sides",
        (a, b, "metrics.neighbors=9"): "neighbours",
        (a, b, "metrics.measures=[fid"): r"measures=\[fid can't be read as a setting",
        (a, b, "metrics.measures=${nothing}"): "can't be read as a setting",
        (a, b, "metrics.measures.first=3"): "can't be read as a setting",
        (a, b, "metrics.extractor.resize=clean"): "resize",
        (a, "cyclegan-colour_digits"): "CycleGAN has no latents.*give that folder",
        (a, b, "--device", "cuda:99"): "device",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            run(*arguments, "--metrics", "mnist")
    for name, sentence in {
        "super_resolution": "compares no features",
        "none": "features",
        "minst": "mean mnist",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            run(a, b, "--metrics", name)
    monkeypatch.setattr(Inception, "load", lambda self: (_ for _ in ()).throw(MissingWeights("no file")))
    with pytest.raises(ValueError, match=r"no file\. Or compare by another extractor: --metrics mnist"):
        run(a, b)
    with pytest.raises(ValueError, match="resize=bilinear is unknown: use tensorflow"):
        run(a, b, "metrics.extractor.resize=bilinear")


@pytest.mark.slow
def test_statistics_of_other_tools_are_a_side(sides: tuple[Path, Path], tmp_path: Path) -> None:
    """As pytorch-fid writes them, of images that are there: the value is that of the images."""
    a, b = sides
    features = {
        side: DigitClassifier()(torch.from_numpy(np.stack(read(side))[:, None])).double().numpy() for side in sides
    }
    for side, table in features.items():
        np.savez(tmp_path / f"{side.name}.npz", mu=table.mean(0), sigma=np.cov(table, rowvar=False))
    fid = report(a, b)["values"]["fid_mnist"]
    of_a, of_b = tmp_path / "a.npz", tmp_path / "b.npz"
    for sides_, with_interval in (((a, of_b), True), ((of_a, b), True), ((of_a, of_b), False)):
        found = report(*sides_)
        assert found["values"]["fid_mnist"] == pytest.approx(fid, abs=1e-6)
        assert ("fid_mnist" in found["intervals"]) == with_interval
        assert "kid_mnist" not in found["values"]
        assert len(found["remarks"]) == 1
        assert "classes_mnist" not in found["values"]
    plain, one_side = report(a, b, "metrics.measures=[fid]"), report(a, of_b, "metrics.measures=[fid]")
    widths = [high - low for low, high in (r["intervals"]["fid_mnist"] for r in (plain, one_side))]
    assert widths[1] < widths[0], "it holds A's images alone"
    text = run(a, of_b, "--metrics", "mnist").stdout
    assert f"real       {of_b}: mu and sigma of 64 features, without images" in text
    assert (
        f"{of_b} holds statistics of an unknown number of images, so that the interval is of the other side's images "
        "alone: what needs images is left out, kid, precision_recall, density_coverage"
    ) in text
    assert "inception_score_mnist" in text, "it looks at the generated images alone"
    assert report("vanilla-mnist5k", of_b, "metrics.measures=[fid]", "-n", 30)["generated"]["images"] == 30


@pytest.mark.slow
def test_what_are_no_statistics_is_a_sentence(sides: tuple[Path, Path], tmp_path: Path) -> None:
    a = sides[0]
    mean, covariance = np.zeros(64), np.eye(64)
    skew, negative = covariance.copy(), -covariance
    skew[0, 1] = 1
    for name, arrays, sentence in [
        ("few", {"mu": mean[:8], "sigma": np.eye(8)}, "few.npz holds statistics of 8 features, and mnist has 64"),
        (
            "shape",
            {"mu": mean, "sigma": np.eye(8)},
            r"shape.npz can't be read: mu \[64\] and sigma \[8, 8\] are no mean",
        ),
        ("skew", {"mu": mean, "sigma": skew}, "skew.npz can't be read: sigma is not symmetric"),
        ("negative", {"mu": mean, "sigma": negative}, "negative.npz can't be read: sigma has variances below 0"),
        ("nan", {"mu": mean * np.nan, "sigma": covariance}, "nan.npz can't be read: .* no numbers"),
        ("words", {"mu": mean.astype(str), "sigma": covariance}, "words.npz can't be read: mu is an array of"),
        ("objects", {"mu": mean.astype(object), "sigma": covariance}, "objects.npz can't be read: it holds Python"),
        ("alone", {"mu": mean}, "alone.npz can't be read: it holds mu"),
    ]:
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(ValueError, match=sentence):
            run(a, tmp_path / f"{name}.npz", "--metrics", "mnist", "metrics.measures=[fid]")
    np.savez(tmp_path / "right.npz", mu=mean, sigma=covariance)
    with pytest.raises(ValueError, match=r"left out, kid, and no measure is left: add fid to metrics\.measures"):
        run(a, tmp_path / "right.npz", "--metrics", "mnist", "metrics.measures=[kid]")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "right.npz").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"cut\.npz can't be read"):
        run(a, tmp_path / "cut.npz", "--metrics", "mnist")
