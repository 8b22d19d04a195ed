"""zoo score: the table, the heat maps, the threshold, and what is said of what can't be scored."""

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import compose
from PIL import Image
from typer.testing import CliRunner

import zoo
from train import run
from zoo.cli import app
from zoo.data.embedded import digits
from zoo.use.score import reader, threshold


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    settings = ["data=digits", "data.image_size=16", "data.normal=[1]", "data.batch_size=16", "model.width=4"]
    settings += ["model.n_critic=1", "model.latent_dim=8", "max_images=64", "logger=none", "trainer=cpu"]
    run(compose("model=f_anogan", *settings, f"cache_dir={folder.parent}/cache", f"run_dir={folder}",
                "callbacks.report.overrides=[]", "metrics=none"))  # fmt: skip
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four grey images of 16 pixels, one of them in a subfolder and one in RGB without colours."""
    pixels = digits()["test"].at((16, 16), [1]).images[:, 0].numpy()
    (tmp_path / "images" / "deeper").mkdir(parents=True)
    for name, k in (("a", 0), ("b", 40), ("deeper/c", 80)):
        Image.fromarray(pixels[k]).save(tmp_path / "images" / f"{name}.png")
    Image.fromarray(pixels[120]).convert("RGB").save(tmp_path / "images" / "d.png")
    return tmp_path / "images"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_table_with_maps_and_a_threshold_of_the_run_s_normal_images(trained: Path, images: Path) -> None:
    out = images.parent
    result = invoke("score", trained, images, "-o", out / "s.csv", "--maps", out / "maps", "--rate", "0.2")
    assert result.exit_code == 0, result.output
    model = zoo.load(trained)
    table = rows(out / "s.csv")
    assert sorted(row["file"] for row in table) == ["a.png", "b.png", "d.png", "deeper/c.png"]
    scores = [float(row["score"]) for row in table]
    assert scores == sorted(scores, reverse=True)
    for row in table:
        image = torch.from_numpy(np.array(Image.open(images / row["file"]).convert("L")))[None, None] / 127.5 - 1
        assert float(row["score"]) == pytest.approx(float(model.score(image)), rel=1e-4)
        assert row["abnormal"] == str(int(float(row["score"]) > float(row["threshold"])))
        heat = np.array(Image.open(out / "maps" / row["file"])).astype(float)
        assert heat.shape == (16, 16, 3)
        residual = model.residual(image)[0, 0].numpy()
        assert np.corrcoef(heat.sum(2).ravel(), residual.ravel())[0, 1] > 0.9
    test = digits()["test"]
    of_class = test.at((16, 16), [1]).images[test.labels == 1]
    known = model.score(of_class / 127.5 - 1).sort().values
    k = -(-int((len(known) + 1) * 80) // 100)
    assert float(table[0]["threshold"]) == pytest.approx(float(known[k - 1]), rel=1e-5)
    assert (
        f"0.2 of normal images lie above it, by {len(known)} of the normal test images of data=digits" in result.output
    )


def test_the_threshold_holds_its_rate() -> None:
    """Of new normal images at most `rate` lie above, on average over draws: 0.1, as (n + 1) 0.1 is whole for n = 19."""
    draw = torch.Generator().manual_seed(0)
    above = [
        float(torch.randn((), generator=draw) > threshold(torch.randn(19, generator=draw), 0.1).value)
        for _ in range(4_000)
    ]
    assert sum(above) / len(above) == pytest.approx(0.1, abs=0.015)
    assert threshold([3.0, 1.0, 2.0, 4.0], 0.2).value == 4.0
    with pytest.raises(ValueError, match=r"18 normal images can't tell a rate of 0\.05, which takes 19"):
        threshold(list(range(18)), 0.05)
    threshold(list(range(19)), 0.05)
    for rate in (0.0, 1.0, -1.0, 2.0):
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            threshold([1.0], rate)


def test_normal_images_of_one_s_own_a_threshold_given_and_none(trained: Path, images: Path) -> None:
    out = images.parent / "s.csv"
    result = invoke("score", trained, images, "-o", out, "--normal", images, "--rate", "0.5")
    assert result.exit_code == 0, result.output
    assert "by 4 of" in result.output
    assert [row["abnormal"] for row in rows(out)] == ["1", "0", "0", "0"]  # k = 3 of 4
    assert invoke("score", trained, images, "-o", out, "--threshold", "0").exit_code == 0
    assert {row["abnormal"] for row in rows(out)} == {"1"}
    assert invoke("score", trained, images / "a.png", "-o", out, "--no-threshold").exit_code == 0
    assert [list(row) for row in rows(out)] == [["file", "score"]]


@pytest.mark.slow
def test_a_file_that_does_not_fit_is_named_and_left_out(trained: Path, images: Path) -> None:
    Image.new("L", (20, 16)).save(images / "wide.png")
    Image.new("RGB", (16, 16), (200, 10, 10)).save(images / "red.png")
    (images / "broken.png").write_bytes(b"no image")
    out = images.parent / "s.csv"
    result = invoke("score", trained, images, "-o", out)
    assert result.exit_code == 1
    assert "4 of 7 images scored" in result.output
    assert (
        "wide.png has 20x16 pixels, and the model takes images of 16x16 pixels, grey: bring it to that" in result.output
    )
    assert "red.png is RGB" in result.output
    assert "broken.png" in result.output
    result = invoke("score", trained, images, "-o", out, "--fit", "crop")
    assert "6 of 7 images scored" in result.output


def test_a_run_on_files_takes_images_as_its_own(trained: Path, images: Path) -> None:
    """Of any size and colours: they enter as the training images did."""
    model = zoo.load(trained)
    model.config = {**model.config, "data": {**model.config["data"], "fit": "pad", "background": "black"}}
    Image.new("RGB", (8, 4), (255, 255, 255)).save(images / "small.png")
    image = reader(model)(images / "small.png")
    assert image.shape == (1, 1, 16, 16)
    assert (image[0, 0, 0, 0], image[0, 0, 8, 8]) == (-1, 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["dcgan-mnist5k", "IMAGES"], "DCGAN has no scores, which zoo score needs: train model=f_anogan"),
        (["RUN", "IMAGES/nothing"], "nothing does not exist"),
        (["RUN", "IMAGES", "-o", "s.txt"], "must be a table, such as s.csv"),
        (["RUN", "IMAGES", "--fit", "zoom"], "--fit=zoom must be one of"),
        (["RUN", "IMAGES", "--rate", "0.001"], "can't tell a rate of 0.001, which takes 999"),
        (["RUN", "IMAGES", "--rate", "0.1", "--threshold", "1"], "exclude each other"),
        (["RUN", "IMAGES", "--rate", "1"], "--rate=1.0 must lie between 0 and 1"),
        (["RUN", "IMAGES", "--threshold", "nan"], "--threshold=nan is no score: give a number"),
        (["RUN", "IMAGES", "--maps", "IMAGES"], "lies within"),
        (["RUN", "IMAGES", "--maps", "/dev/null/m"], "can't be written (Not a directory): give another place, --maps"),
    ],
)
def test_what_can_t_be_scored_is_a_sentence_and_writes_nothing(
    trained: Path, images: Path, arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images.parent)
    words = [word.replace("RUN", str(trained)).replace("IMAGES", str(images)) for word in arguments]
    result = invoke("score", *words)
    assert isinstance(result.exception, ValueError)
    assert sentence in str(result.exception)
    assert sorted(path.name for path in images.parent.iterdir()) == ["images"]


@pytest.mark.parametrize("more", [["--no-threshold"], ["--rate", "0.001"]])
def test_what_is_refused_leaves_no_folder_of_maps(trained: Path, tmp_path: Path, more: list[str]) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.png").write_text("no image")
    result = invoke("score", trained, broken, "-o", tmp_path / "new" / "s.csv", "--maps", tmp_path / "maps", *more)
    assert isinstance(result.exception, ValueError)
    assert list(tmp_path.iterdir()) == [broken]


def test_names_that_are_no_text_are_in_the_table(trained: Path, images: Path) -> None:
    """Of files from other systems, whose bytes are no UTF-8: each has its row, and maps lie under the same name."""
    name = os.fsdecode(b"caf\xe9.png")
    (images / "a.png").rename(images / name)
    out = images.parent
    result = invoke("score", trained, images, "-o", out / "s.csv", "--maps", out / "maps", "--no-threshold")
    assert result.exit_code == 0, result.output
    assert name in [row["file"] for row in rows(out / "s.csv")]
    assert (out / "maps" / name).exists()


def test_an_exported_file_has_no_scores_which_is_said(trained: Path, images: Path) -> None:
    file = images.parent / "g.pt"
    result = invoke("export", trained, "-o", file)
    assert result.exit_code == 0, result.output
    assert f"its scores are not in the file: zoo score {trained} FOLDER" in result.output.replace("\n", "")
    (images.parent / "g.onnx").write_bytes(file.read_bytes())
    refused = invoke("score", images.parent / "g.onnx", images, "-o", images.parent / "s.csv")
    assert "is an exported file, which zoo score can't use: give the run" in str(refused.exception)
