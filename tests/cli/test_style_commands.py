"""What the `zoo` command does with latent spaces, on small runs: the pictures' pixels and the sentences."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import small as settings
from PIL import Image
from test_cli import zoo

from train import run
from zoo.batch import to_bytes
from zoo.loading import load
from zoo.use import styles
from zoo.use.pictures import GAP, LEAST, drawn, film, sheet, whole


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("styled") / "run"
    run(settings("stylegan_lite", folder, "max_images=16", "logger=none"))
    return folder


@pytest.fixture(scope="module")
def of_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes") / "run"
    run(settings("stylegan_lite", folder, "max_images=16", "logger=none", "model.conditional=true"))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "run"
    run(settings("dcgan", folder, "max_images=16", "logger=none"))
    return folder


def cells(path: Path, columns: int, rows: int, side: int = LEAST) -> np.ndarray:
    """The images of a sheet, [rows, columns, side, side], from its lower right corner."""
    pixels = np.asarray(Image.open(path).convert("L"))
    bottoms = [pixels.shape[0] - GAP - (rows - 1 - i) * (side + GAP) for i in range(rows)]
    rights = [pixels.shape[1] - GAP - (columns - 1 - j) * (side + GAP) for j in range(columns)]
    return np.array([[pixels[b - side : b, r - side : r] for r in rights] for b in bottoms])


def near(a: Any, b: Any) -> bool:
    """Equal up to the float arithmetic of batches."""
    return np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max() <= 1


def shown(model: Any, ws: torch.Tensor) -> np.ndarray:
    return drawn(styles.render(model, ws))[..., 0]


def test_sample_takes_seeds_of_any_model(plain: Path, tmp_path: Path) -> None:
    said = zoo("sample", plain, "--seeds", "5,0-2", "-o", tmp_path / "out")
    assert "4 images, seeds 5,0-2" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"00000{i}.png" for i in (0, 1, 2, 5)]
    expected = load(plain).sample(1, seed=5)[0, 0].mul(255).round()
    assert near(Image.open(tmp_path / "out" / "000005.png"), expected)


@pytest.mark.slow
def test_truncation_draws_images_towards_one(styled: Path, of_classes: Path, tmp_path: Path) -> None:
    def images(psi: float) -> np.ndarray:
        zoo("sample", styled, "--seeds", "0,7", "--truncation", psi, "-o", tmp_path / str(psi))
        return np.array([np.asarray(Image.open(tmp_path / str(psi) / f"00000{i}.png")) for i in (0, 7)])

    assert near(images(0)[0], images(0)[1])
    assert not near(images(1)[0], images(1)[1])
    assert near(images(1)[1], load(styled).sample(1, seed=7)[0, 0].mul(255).round())
    zoo("sample", of_classes, "--all-labels", "--seeds", "0-2", "--truncation", 0.7, "-o", tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").size == (3 * 18 + 2, 10 * 18 + 2)


def test_a_walk_in_w_begins_and_ends_at_its_seeds(styled: Path, tmp_path: Path) -> None:
    said = zoo("interpolate", styled, "--seeds", "3,8", "--frames", 4, "-o", tmp_path / "new" / "walk.gif", "--fps", 10)
    assert "5 frames, 0.5 s" in said
    model = load(styled)
    with Image.open(tmp_path / "new" / "walk.gif") as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (5, 100, 0)
        for frame, seed in ((0, 3), (4, 8)):
            gif.seek(frame)
            assert near(gif.convert("L"), shown(model, model.styles([seed]))[0])
    zoo("interpolate", styled, "--seeds", "3,8", "--frames", 4, "--loop", "-o", tmp_path / "loop.gif")
    with Image.open(tmp_path / "loop.gif") as gif:
        assert gif.n_frames == 8


@pytest.mark.parametrize("name", ["plain", "styled"])
def test_a_walk_in_z(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(name)
    zoo("interpolate", folder, "--seeds", "1-2", "--frames", 2, "--space", "z", "-o", tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as gif:
        gif.seek(2)
        expected = load(folder).sample(1, seed=2) * 2 - 1
        assert near(gif.convert("L"), drawn(expected)[0, ..., 0])


def test_walks_of_several_classes_are_side_by_side(of_classes: Path, tmp_path: Path) -> None:
    arguments = ["--seeds", "1-2", "--frames", 1, "--label", "7", "--label", "3", "-o", tmp_path / "walk.gif"]
    model: Any = load(of_classes)
    for space in ("w", "z"):
        zoo("interpolate", of_classes, *arguments, "--space", space)
        with Image.open(tmp_path / "walk.gif") as gif:
            both = np.asarray(gif.convert("L"))
        for n, label in enumerate((7, 3)):
            expected = shown(model, model.styles([1], [label]))[0]
            assert near(both[:, n * LEAST : (n + 1) * LEAST], expected)


def test_an_mp4_or_the_sentence_that_tells_how(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    class Writer:
        @staticmethod
        def write_frames(path: str, size: tuple[int, int], **settings: Any) -> Any:
            Path(path).write_bytes(b"film")
            sent.append(size)
            while True:
                frame = yield
                sent.append(frame)

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", Writer)  # type: ignore[arg-type]
    assert film([torch.zeros(3, 3, 96, 97)], tmp_path / "walk.mp4", fps=25) == 3
    assert sent[0] == (98, 96)
    assert [len(frame) for frame in sent[1:] if frame is not None] == [98 * 96 * 3] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["walk.mp4"]
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"an MP4 needs ffmpeg.*imageio-ffmpeg.*\.gif"):
        zoo("interpolate", plain, "-o", tmp_path / "other.mp4")


def test_a_mixture_of_all_layers_is_the_column_and_of_others_is_mixed(styled: Path, tmp_path: Path) -> None:
    zoo("mix", styled, "--rows", "0-1", "--columns", "5,7,9", "--layers", "all", "-o", tmp_path / "mix.png")
    grid = cells(tmp_path / "mix.png", 4, 3)
    assert near(grid[1, 1:], grid[0, 1:])
    assert near(grid[2, 1:], grid[0, 1:])
    model: Any = load(styled)
    assert near(grid[1:, 0], shown(model, model.styles([0, 1])))
    assert near(grid[0, 1:], shown(model, model.styles([5, 7, 9])))
    said = zoo("mix", styled, "--rows", "0", "--columns", "5", "-o", tmp_path / "bands.png")
    assert [line.split(":")[0] for line in said.splitlines()[:3]] == ["coarse", "middle", "fine"]
    ws = model.styles([0]).clone()
    ws[:, styles.layers("fine", ws.shape[1])] = model.styles([5])[:, :1]
    assert near(cells(tmp_path / "bands.png", 2, 4)[3, 1], shown(model, ws)[0])


def test_a_projection_can_be_edited(styled: Path, tmp_path: Path) -> None:
    zoo("sample", styled, "--seeds", "4", "-o", tmp_path)
    picture = tmp_path / "000004.png"
    said = zoo("project", styled, picture, "-o", tmp_path / "p.png", "--steps", 3, "--features", "mnist")
    assert re.search(r"000004.png: [\d.]+ dB; mnist distance [\d.e-]+, from [\d.e-]+ at the mean style", said)
    assert "resized" not in said
    assert near(cells(tmp_path / "p.png", 2, 1)[0, 0], np.asarray(Image.open(picture)).repeat(6, 0).repeat(6, 1))
    zoo("directions", styled, "-n", 2, "-o", tmp_path / "d.safetensors")
    ws = styles.load_styles(tmp_path / "p.safetensors")
    common = ["--direction", f"{tmp_path / 'd.safetensors'}:1", "--strength", 0, "--strength", "-1.5"]
    zoo("edit", styled, tmp_path / "p.safetensors", *common, "-o", tmp_path / "e.png")
    grid = cells(tmp_path / "e.png", 3, 1)[0]
    assert near(grid[0], cells(tmp_path / "p.png", 2, 1)[0, 1])
    assert near(grid[1], grid[0])
    model: Any = load(styled)
    moved = styles.edit(ws, styles.Directions.load(tmp_path / "d.safetensors")["1"], -1.5)
    assert near(grid[2], shown(model, moved)[0])
    zoo("edit", styled, picture, *common, "--steps", 2, "-o", tmp_path / "f.png")
    assert cells(tmp_path / "f.png", 4, 1).shape[1] == 4


def test_a_picture_of_another_size_and_colour_is_taken_with_a_word(styled: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    said = zoo("project", styled, tmp_path / "a.png", "-o", tmp_path / "p.png", "--steps", 1)
    assert "40x30 pixels: its centre, resized to 16x16" in said
    assert "is colour: made grey" in said
    assert "pixels distance" in said  # trained without metrics: no classifier of its own


@pytest.mark.parametrize("method", ["factorize", "pca"])
def test_directions_are_shown_and_stored(styled: Path, tmp_path: Path, method: str) -> None:
    zoo("directions", styled, "--method", method, "-n", 3, "-o", tmp_path / "d.safetensors", "--seed", 2)
    directions = styles.Directions.load(tmp_path / "d.safetensors")
    assert directions.names == ["0", "1", "2"]
    assert directions.about["method"] == method
    model: Any = load(styled)
    grid = cells(tmp_path / "d.png", 7, 3)
    for row, name in enumerate(directions.names):
        assert near(grid[row, 3], shown(model, model.styles([2]))[0])
        assert near(grid[row, 6], shown(model, styles.edit(model.styles([2]), directions[name], 3))[0])


@pytest.mark.slow
def test_directions_of_attributes(styled: Path, tmp_path: Path) -> None:
    out = ["--samples", 80, "-o", tmp_path / "d.safetensors"]
    said = zoo("directions", styled, "--attribute", "brightness", "--attribute", "slant", *out)
    directions = styles.Directions.load(tmp_path / "d.safetensors")
    assert directions.names == ["brightness", "slant"]
    moved = re.search(r"brightness: correlation [\d.-]+ on the fifth held out; .* from ([\d.]+) to ([\d.]+)", said)
    assert moved is not None
    assert float(moved[1]) < float(moved[2])
    zoo("directions", styled, "--classifier", "mnist", *out)
    assert styles.Directions.load(tmp_path / "d.safetensors").names == list("0123456789")
    rows = "".join(f"{seed},{'yes' if seed % 3 else 'no'}\n" for seed in range(60))
    (tmp_path / "yes-no.csv").write_text(f"seed,label\n{rows}")
    assert "accuracy" in zoo("directions", styled, "--labels", tmp_path / "yes-no.csv", *out)


def test_edits_alone_into_a_folder(styled: Path, tmp_path: Path) -> None:
    zoo("directions", styled, "-n", 1, "-o", tmp_path / "d.safetensors")
    arguments = ["--seeds", "2-3", "--direction", tmp_path / "d.safetensors", "--strength", 0]
    zoo("edit", styled, *arguments, "-o", tmp_path / "out")
    expected = to_bytes(styles.render(load(styled), load(styled).styles([2, 3])))[:, 0]  # type: ignore[operator,arg-type]
    for n, seed in enumerate((2, 3)):
        assert near(Image.open(tmp_path / "out" / f"00000{seed}.png"), expected[n])


@pytest.mark.slow
def test_what_is_refused(styled: Path, of_classes: Path, plain: Path, tmp_path: Path) -> None:
    zoo("directions", styled, "-n", 2, "-o", tmp_path / "d.safetensors")
    made = styles.Directions.load(tmp_path / "d.safetensors")
    made.vectors = torch.zeros(2, 3)
    made.save(tmp_path / "other.safetensors")
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "nan.csv").write_text("1,nan\n")
    (tmp_path / "large.csv").write_text(f"{2**62},1\n")
    (tmp_path / "empty.csv").write_text("seed,label\n")
    for arguments, message in (
        (["sample", plain, "--truncation", 0.7], "DCGAN has no styles, which --truncation needs: leave it out"),
        (["sample", styled, "--truncation", "nan"], "--truncation=nan must be in [0, 2]"),
        (["sample", plain, "-o", tmp_path / "file" / "x.png"], "can't be written"),
        (["project", styled, tmp_path / "a.png", "-o", tmp_path / "a.png"], "would be written over"),
        (["directions", styled, "--labels", tmp_path / "nan.csv"], "line 1: '1,nan' is not a seed and its label"),
        (["directions", styled, "--labels", tmp_path / "empty.csv"], "has no rows"),
        (["directions", styled, "--labels", tmp_path / "large.csv"], "line 1: '4611686018427387904,1' is not a seed"),
        (["sample", styled, "--seeds", 2**62], "is too large: below 2**62"),
        (["sample", plain, "--seeds", "3-1"], "--seeds=3-1: 3-1 runs backwards"),
        (["sample", plain, "--seeds", "1", "-n", 3], "leave -n and --seed out"),
        (["interpolate", plain, "--space", "w"], "DCGAN has no styles, which --space=w needs: use --space=z"),
        (["interpolate", plain, "-o", "walk.avi"], "-o walk.avi must end in .gif or .mp4"),
        (["interpolate", plain, "--seeds", "3"], "two seeds or more"),
        (["interpolate", of_classes, "--space", "z"], "name one or several, --label CLASS"),
        (["interpolate", styled, "--label", "3"], "makes images without classes"),
        (["mix", plain], "DCGAN has no styles, which zoo mix needs: train model=stylegan_lite"),
        (["mix", styled, "--layers", "rough"], "--layers=rough must be coarse, middle, fine, all"),
        (["mix", styled, "-o", "mix"], "mix must be a picture, such as mix.png"),
        (["project", styled, tmp_path / "none.png", "-o", "p.png"], "none.png does not exist"),
        (["project", styled, tmp_path / "loop.png", "-o", "p.png"], "loop.png: a link that leads in a circle"),
        (["project", styled, tmp_path / "a.png", "-o", "p.png", "--features", "vgg"], "no classifier vgg: choose from"),
        (["directions", styled, "--attribute", "age"], "--attribute=age is not measured here: choose from brightness"),
        (["directions", styled, "--labels", tmp_path / "no.csv"], "no.csv does not exist: write a .csv"),
        (["directions", styled, "-o", "d.png"], "must end in .safetensors"),
        (["directions", styled, "-o", tmp_path / "file" / "d.safetensors"], "can't be written"),
        (["edit", styled, "--seeds", "1", "--strength", "nan"], "--strength=nan must be a finite number"),
        (["edit", styled, "--direction", "x"], "give either a picture or --seeds"),
        (
            ["edit", styled, "--seeds", "1", "--direction", tmp_path / "d.safetensors:7"],
            "no direction 7: choose from 0",
        ),
        (["edit", styled, "--seeds", "1", "--direction", tmp_path / "other.safetensors"], "have 3 numbers, and here"),
        (["edit", styled, "--seeds", "1", "--direction", tmp_path / "gone.safetensors:0"], "does not exist: make it"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            zoo(*arguments)


def test_a_sheet_has_its_images_in_place() -> None:
    images = torch.linspace(-1, 1, 4)[:, None, None, None].expand(4, 3, 50, 100)
    picture = sheet([[images[0], None], [images[2], images[3]]], left=["a", "long name"], above=["x", "y"])
    pixels = np.asarray(picture)
    for i, j, level in ((0, 0, 0), (1, 0, 170), (1, 1, 255)):
        y, x = (pixels.shape[k] - (2 - n) * (side + GAP) for k, n, side in ((0, i, 100), (1, j, 200)))
        assert (pixels[y : y + 100, x : x + 200] == level).all()
    assert picture.width > 2 * (200 + GAP) + GAP  # the margin fits the names


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    def stopped() -> None:
        with whole(tmp_path / "new" / "a.png") as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list((tmp_path / "new").iterdir()) == []
