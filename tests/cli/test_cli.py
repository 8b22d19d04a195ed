"""The `zoo` command on a small run."""

import csv
import hashlib
import io
import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import rich.console
import torch
from PIL import Image
from typer.testing import CliRunner

from train import run
from zoo.cli import app
from zoo.game.abilities import FromLatents, OfAttributes, OfClasses, Translates
from zoo.run.command import readable_errors


def zoo(*arguments: object, terminal: int | None = None) -> str:
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=False, terminal_width=terminal
    )
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from common import compose

    folder = tmp_path_factory.mktemp("trained") / "run"
    run(
        compose(
            "data=digits",
            "data.image_size=16",
            "data.batch_size=16",
            "model.width=4",
            "max_images=64",
            "logger=none",
            "trainer=cpu",
            "metrics.num_fake=40",
            "metrics.num_real=60",
            f"cache_dir={folder.parent}/cache",
            f"run_dir={folder}",
            "callbacks.report.overrides=[]",
        )
    )
    return folder


def test_list_names_every_choice_with_a_line() -> None:
    listed = zoo("list")
    for name in ("dcgan", "vanilla", "mnist5k", "labelled_folder", "inception", "wandb"):
        assert any(line.split()[:1] == [name] and len(line.split()) > 3 for line in listed.splitlines()), name


def test_sample_a_grid_and_a_folder(trained: Path, tmp_path: Path) -> None:
    zoo("sample", trained, "-n", 9, "-o", tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").size == (3 * 18 + 2, 3 * 18 + 2)
    zoo("sample", trained, "-n", 3, "--seed", 5, "-o", tmp_path / "many")
    zoo("sample", trained / "checkpoints" / "best.ckpt", "-n", 1, "--seed", 6, "-o", tmp_path / "one")
    assert sorted(p.name for p in (tmp_path / "many").iterdir()) == ["000005.png", "000006.png", "000007.png"]
    many, one = (np.asarray(Image.open(tmp_path / f / "000006.png")).astype(int) for f in ("many", "one"))
    assert abs(many - one).max() <= 1


class Painter(FromLatents, OfClasses):
    """A class-conditional model: the first pixel of an image tells its label, the second its seed."""

    classes: ClassVar = ["cat", "Dog", "T-shirt/top"]
    latent_dim, device, images = 1, torch.device("cpu"), 1000

    def generate(self, seeds: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        assert labels is not None
        assert len(labels) == len(seeds) <= 256
        images = torch.full((len(seeds), 1, 2, 2), -1.0)
        images[:, 0, 0, 0] = labels * 200 / 255 - 1
        images[:, 0, 0, 1] = seeds % 256 / 127.5 - 1
        return images


class Portraitist(Painter, OfAttributes):
    """A model of attributes: the first pixel of an image tells the first of them, the second its seed."""

    classes: ClassVar = []
    attributes: ClassVar = ["Smiling", "Male"]

    def generate(self, seeds: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        assert labels is not None
        assert labels.shape == (len(seeds), 2)
        return super().generate(seeds, labels[:, 0] - labels[:, 1])


def test_a_vector_of_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.loading.load", lambda run, device: Portraitist())
    zoo("sample", "x", "--attributes", "Male=-1, Smiling = 1", "-n", 3, "--seed", 5, "-o", tmp_path / "many")
    assert [painted(path) for path in sorted((tmp_path / "many").iterdir())] == [(2, 5), (2, 6), (2, 7)]
    zoo("sample", "x", "--attributes", "Smiling=1", "-n", 1, "-o", tmp_path / "one")  # the others are 0
    assert painted(tmp_path / "one" / "000000.png") == (1, 0)
    for arguments, said in (
        ([], r"trained on attributes \(Smiling, Male\): give some, --attributes Smiling=1"),
        (["--attributes", "Smile=1"], "Smile is none of Smiling, Male"),
        (["--attributes", "Smiling"], "is none of Smiling, Male"),
        (["--attributes", "Smiling=big"], "big is no number"),
        (["--label", "1"], "without classes"),
    ):
        with pytest.raises(ValueError, match=said):
            zoo("sample", "x", *arguments, "-o", tmp_path / "none")
    monkeypatch.setattr("zoo.loading.load", lambda run, device: Painter())
    with pytest.raises(ValueError, match="without attributes"):
        zoo("sample", "x", "--attributes", "Smiling=1", "-o", tmp_path / "none")


@pytest.fixture
def painter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"weights")
    monkeypatch.setattr("zoo.loading.load", lambda run, device: Painter())
    return path


def painted(path: Path) -> tuple[int, int]:
    label, seed = np.asarray(Image.open(path).convert("L"))[0].tolist()
    return label // 100, seed


def test_a_class_by_name_or_number(painter: Path, tmp_path: Path) -> None:
    for asked, label, folder in (("Dog", 1, "Dog"), ("1", 1, "Dog"), ("2", 2, "T-shirt_top")):
        zoo("sample", painter, "--label", asked, "-n", 3, "--seed", 5, "-o", tmp_path / asked)
        files = sorted((tmp_path / asked).rglob("*.png"))
        assert [str(file.relative_to(tmp_path / asked)) for file in files] == [
            f"{folder}/00000{i}.png" for i in (5, 6, 7)
        ]
        assert [painted(file) for file in files] == [(label, 5), (label, 6), (label, 7)]


@pytest.mark.parametrize(
    ("arguments", "labels", "columns"),
    [
        (["--all-labels"], [0, 1, 2], 8),
        (["--all-labels", "-n", 3], [0, 1, 2], 3),
        (["--label", "2", "--label", "cat", "-n", 4], [2, 0], 4),
    ],
)
def test_a_row_for_each_class_and_a_column_for_each_seed(
    painter: Path, tmp_path: Path, arguments: list[object], labels: list[int], columns: int
) -> None:
    zoo("sample", painter, *arguments, "--seed", 9, "-o", tmp_path / "grid.png")
    grid = np.asarray(Image.open(tmp_path / "grid.png").convert("L"))
    assert grid.shape == (4 * len(labels) + 2, 4 * columns + 2)  # images of 2 pixels, 2 between
    assert (grid[2::4, 2::4] == 100 * np.array(labels)[:, None]).all()
    assert (grid[2::4, 3::4] == 9 + np.arange(columns)).all()


@pytest.mark.slow
def test_per_class_writes_a_labelled_folder_with_a_manifest(painter: Path, tmp_path: Path) -> None:
    """In batches, and no seed twice."""
    zoo("sample", painter, "--per-class", 300, "--seed", 7, "-o", tmp_path / "set")
    with (tmp_path / "set" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list((tmp_path / "set").rglob("*.png"))) == 900
    assert sorted(int(row["seed"]) for row in rows) == list(range(7, 907))
    for row in rows[::37]:
        assert painted(tmp_path / "set" / row["path"]) == (int(row["label"]), int(row["seed"]) % 256)
        assert row["class"] == Painter.classes[int(row["label"])]
    origin = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert origin["checkpoint_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert origin["command"] == f"zoo sample {painter} --per-class=300 --seed=7 -o {tmp_path / 'set'}"

    zoo("sample", painter, "--per-class", 300, "--seed", 7, "--label", "Dog", "-o", tmp_path / "dogs")
    (folder,) = (path for path in (tmp_path / "dogs").iterdir() if path.is_dir())
    both = [sorted((file.name, painted(file)) for file in (tmp_path / s / "Dog").iterdir()) for s in ("set", "dogs")]
    assert folder.name == "Dog"
    assert both[0] == both[1]


def test_classes_that_would_share_a_folder(painter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Painter, "classes", ["a:b", "a_b", "c"])
    with pytest.raises(ValueError, match="several classes would share the folder a_b"):
        zoo("sample", painter, "--per-class", 2, "-o", tmp_path / "set")
    assert not (tmp_path / "set").exists()
    zoo("sample", painter, "--per-class", 2, "--label", "c", "--label", "c", "-o", tmp_path / "set")
    assert len((tmp_path / "set" / "manifest.csv").read_text().splitlines()) == 3


def test_what_sample_refuses(painter: Path, trained: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["--label", "dgo"], "dgo is none of the 3 classes (0 cat, 1 Dog, 2 T-shirt/top): did you mean Dog?"),
        (["--label", "3"], "--label=3 is none of the 3 classes (0 cat, 1 Dog, 2 T-shirt/top)"),
        (["--label", "1", "--all-labels"], "leave --label out"),
        (["--per-class", "5"], "give a folder"),
        (["--per-class", "5", "-o", "a.png"], "give a folder"),
        (["--per-class", "5", "-n", "4", "-o", tmp_path / "set"], "no -n"),
        (["--per-class", "5", "-o", painter.parent], "not empty"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            zoo("sample", painter, *arguments)
    assert not (tmp_path / "set").exists()


@pytest.mark.slow
def test_labels_need_a_model_with_classes(trained: Path, tmp_path: Path) -> None:
    for arguments in (["--label", "7"], ["--all-labels"], ["--per-class", "3", "-o", tmp_path / "set"]):
        with pytest.raises(
            ValueError, match=r"DCGAN makes images without classes.*model=cgan or .*model=stylegan_lite"
        ):
            zoo("sample", trained, *arguments)


@pytest.mark.slow
def test_synthetic_data_of_a_conditional_gan_are_a_data_set(tmp_path: Path) -> None:
    from common import compose, small
    from hydra.utils import instantiate

    from zoo.loading import load

    run(small("cgan", tmp_path / "run", "max_images=32"))
    assert "10 classes" in zoo("sample", tmp_path / "run", "--per-class", 3, "-o", tmp_path / "set")
    root = [f"data.root={tmp_path / 'set'}", "data.image_size=16", "data.channels=1", "data.batch_size=16"]
    data = instantiate(compose("data=labelled_folder", *root).data, _convert_="all")
    images, labels, _ = data.split("train")[range(30)]
    assert data.classes == list("0123456789")
    assert labels.tolist() == [label for label in range(10) for _ in range(3)]
    expected = load(tmp_path / "run").sample(30, labels=labels.tolist()).mul(255).round()
    assert (images - expected).abs().max() <= 1  # batches of other sizes
    assert len(images.flatten(1).unique(dim=0)) == 30


def test_evaluate_repeats_the_runs_value_with_its_protocol(trained: Path) -> None:
    from zoo.run.checkpoint import read

    printed = dict(line.split(maxsplit=1) for line in zoo("evaluate", trained).splitlines()[1:])
    callbacks = read(trained / "checkpoints" / "best.ckpt")["callbacks"]
    history = next(state for name, state in callbacks.items() if name.startswith("Evaluate"))["history"]
    assert float(printed["fid_mnist"].split()[0]) == pytest.approx(history[-1]["fid_mnist"], rel=1e-4)
    assert printed["num_fake"] == "40"
    assert printed["split"] == "train"


@pytest.mark.slow
def test_sampling_and_evaluating_show_how_far_they_are(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO()
    on_terminal = partial(rich.console.Console, file=shown, force_terminal=True, width=100, legacy_windows=False)
    monkeypatch.setattr(rich.console, "Console", on_terminal)
    for words, count in {("evaluate",): "60 of 60", ("sample", "-n", 70, "-o", tmp_path / "many"): "70 of 70"}.items():
        output = zoo(words[0], trained, *words[1:])
        assert count in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())
        assert not re.search("\x1b|\u2501", output), "results alone"
        shown.truncate(0)
    zoo("sample", trained, "-n", 3, "-o", tmp_path / "some", "--quiet")
    assert shown.getvalue().strip("\0") == ""


@pytest.mark.slow
def test_evaluate_knows_settings_that_a_run_did_not_have_yet(trained: Path, tmp_path: Path) -> None:
    from zoo.run.checkpoint import read

    checkpoint = read(trained / "checkpoints" / "best.ckpt")
    del checkpoint["zoo"]["config"]["data"]["flip"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    of_run = zoo("evaluate", trained).splitlines()[1:]
    assert zoo("evaluate", tmp_path / "old.ckpt").splitlines()[1:] == of_run


@pytest.mark.slow
def test_evaluate_takes_settings_and_refuses_typos(trained: Path) -> None:
    assert "num_fake             20" in zoo("evaluate", trained, "metrics.num_fake=20")
    with pytest.raises(ValueError, match=r"did you mean metrics.num_fake\?"):
        zoo("evaluate", trained, "metrics.num_fakes=20")
    with pytest.raises(ValueError, match="choose from"):
        zoo("evaluate", trained, "metrics=inceptoin")


@pytest.mark.slow
def test_evaluate_composes_in_a_process_that_has_not_trained(trained: Path) -> None:
    from hydra.core.config_store import ConfigStore

    from zoo.run import config

    config.register_tables.cache_clear()
    for group in config.TABLES:
        ConfigStore.instance().repo.pop(group, None)
    assert "fid_mnist" in zoo("evaluate", trained, "metrics=mnist", "metrics.num_fake=20")


def test_check_data(tmp_path: Path) -> None:
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / f"{i}.png")
    assert "3" in zoo("check-data", tmp_path, "--image-size", 32)
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    result = CliRunner().invoke(app, ["check-data", str(tmp_path)])
    assert result.exit_code == 1
    assert "broken.jpg" in result.output


def test_a_missing_run_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, readable_errors("zoo"):
        zoo("sample", tmp_path)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("zoo: no checkpoint in")


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CycleGAN from colour to grey, at 16 pixels."""
    from common import small

    folder = tmp_path_factory.mktemp("translator") / "run"
    run(small("cyclegan", folder, "data.channels_y=1", "max_images=16", "logger=none"))
    return folder


def picture(path: Path, size: tuple[int, int], mode: str = "RGB", **how: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4), np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **how)


def test_translate_keeps_names_folders_and_sizes(translator: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    picture(source / "a.png", (17, 30))
    picture(source / "deep" / "er" / "b.jpg", (33, 16), "L")
    picture(source / "alpha.PNG", (8, 8), "RGBA")
    picture(source / "palette.gif", (9, 12), "P")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture(source / "upright.jpg", (20, 10), exif=exif)
    said = zoo("translate", translator, source, "-o", out)
    assert "5 of 5 images translated X->Y" in said
    sizes = {str(p.relative_to(out)): Image.open(p).size for p in out.rglob("*") if p.is_file()}
    assert sizes == {
        "a.png": (17, 30),
        "deep/er/b.jpg": (33, 16),
        "alpha.PNG": (8, 8),
        "palette.gif.png": (9, 12),
        "upright.jpg": (10, 20),
    }
    assert Image.open(out / "a.png").mode == "L"

    from zoo.batch import from_bytes, to_bytes
    from zoo.loading import load

    image = from_bytes(torch.from_numpy(np.array(Image.open(source / "a.png").convert("RGB")))).permute(2, 0, 1)[None]
    expected = to_bytes(load(translator).translate(image, "X->Y"))[0, 0].numpy()
    assert np.array_equal(np.asarray(Image.open(out / "a.png")), expected)


def test_translate_one_file_back_and_resized(translator: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (40, 20))
    zoo("translate", translator, tmp_path / "a.png", "-o", tmp_path / "out", "--direction", "Y->X", "--size", 10)
    result = Image.open(tmp_path / "out" / "a.png")
    assert (result.size, result.mode) == ((20, 10), "RGB")


def test_translate_names_a_bad_file_and_goes_on(translator: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", (16, 16))
    picture(tmp_path / "in" / "c.png", (16, 16))
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    result = CliRunner().invoke(app, ["translate", str(translator), str(tmp_path / "in"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert f"{tmp_path / 'in' / 'b.png'}: not an image that Pillow knows" in result.output
    assert "2 of 3 images translated" in result.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


@contextmanager
def little_memory(spare: int) -> Iterator[None]:
    """This process can have so many bytes more than it has."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + spare, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.slow
def test_translate_names_an_image_that_does_not_fit_memory_and_goes_on(translator: Path, tmp_path: Path) -> None:
    for name, side in (("a", 16), ("b", 4000), ("c", 16)):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.new("RGB", (side, side)).save(tmp_path / "in" / f"{name}.png")
    arguments = ["translate", str(translator), str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    with little_memory(250 * 2**20):  # its values take 192 MB, a layer's 768
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    assert "2 of 3 images translated" in result.output
    assert f"{tmp_path}/in/b.png: out of memory: --size makes it smaller first, such as --size 1024" in result.output
    assert "data." not in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


class Local(Translates):
    """Turns an image into its negative, and fits memory up to 300 pixels a side."""

    directions: ClassVar = {"X->Y": 1}
    config: ClassVar = {"data": {}}
    reach = 8

    def __init__(self, error: Exception) -> None:
        self.error, self.tiles = error, []

    def translate(self, images: torch.Tensor, direction: str = "X->Y", tile: int | None = None) -> torch.Tensor:
        self.tiles.append(tile)
        if min(tile or 10_000, max(images.shape)) > 300:
            raise self.error
        return -images


def allocation_error() -> Exception:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 50)
    return raised.value


@pytest.mark.parametrize(
    "error", [MemoryError(), allocation_error(), torch.OutOfMemoryError("CUDA out of memory."), OSError(12, "no")]
)
def test_translate_takes_tiles_where_a_network_allows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    model = Local(error)
    monkeypatch.setattr("zoo.loading.load", lambda run, device: model)
    picture(tmp_path / "large.png", (400, 400), "L")
    assert "1 of 1 images" in zoo("translate", "run", tmp_path / "large.png", "-o", tmp_path / "out")
    assert model.tiles == [None, 1024, 256]
    negative = np.asarray(Image.open(tmp_path / "out" / "large.png")).astype(int)
    assert abs(negative + np.asarray(Image.open(tmp_path / "large.png")) - 255).max() <= 1


def test_translate_takes_the_one_direction_that_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a file that was exported of Y->X."""
    model = Local(MemoryError())
    model.directions = {"Y->X": 1}  # type: ignore[misc]
    monkeypatch.setattr("zoo.loading.load", lambda run, device: model)
    picture(tmp_path / "a.png", (8, 8), "L")
    assert "translated Y->X" in zoo("translate", "run", tmp_path / "a.png", "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["sample", "-n", "9"], "draw fewer images at once, -n"),
        (["sample", "-n", "9", "--label", "Dog"], "draw fewer images at once, -n"),
    ],
)
def test_the_remedy_for_too_little_memory_fits_the_command(
    painter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], remedy: str
) -> None:
    monkeypatch.setattr(Painter, "generate", lambda *arguments: torch.empty(1 << 50))
    command, *options = arguments
    with pytest.raises(ValueError, match=f"zoo {command}: out of memory: {remedy}"):
        zoo(command, painter, *options, "-o", tmp_path / "grid.png")
    assert not list(tmp_path.glob("*.p*"))


@pytest.mark.slow
def test_what_translate_refuses(translator: Path, trained: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    picture(source / "sub" / "a.png", (16, 16))
    (tmp_path / "empty").mkdir()
    for name in ("same.gif", "same.gif.png"):
        picture(tmp_path / "twice" / name, (16, 16))
    before = (source / "sub" / "a.png").read_bytes()
    out = ["-o", tmp_path / "out"]
    with pytest.raises(ValueError, match="CycleGAN has no latents, which zoo sample needs: train model=cgan or model="):
        zoo("sample", translator)
    for arguments, message in (
        ([translator, source, "-o", source], "lies within"),
        ([translator, source, "-o", source / "new"], "lies within"),
        ([translator, source / "sub" / "a.png", "-o", source / "sub"], "which stay as they are"),
        ([translator, source, "-o", source / "sub" / "a.png"], "whose images stay as they are"),
        ([translator, tmp_path / "nowhere", *out], "does not exist"),
        ([translator, tmp_path / "empty", *out], "has no images"),
        ([translator, source, *out, "--direction", "x2y"], "--direction=x2y must be X->Y or Y->X"),
        ([translator, tmp_path / "twice", *out], "same.gif, same.gif.png would all be written as"),
        (
            [trained, source, *out],
            "DCGAN has no directions to translate in, which zoo translate needs: train model=cyclegan or model=pix2pix",
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            zoo("translate", *arguments)
    assert (source / "sub" / "a.png").read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_the_version_of_the_package_and_of_what_it_rests_on() -> None:
    said = zoo("--version")
    assert re.fullmatch(r"gan-zoo \d+\.\d+\.\d+, Python 3\.\d+\.\S+, torch \S+, lightning \S+\n", said)
    import zoo as package

    assert said.startswith(f"gan-zoo {package.__version__}, ")


@pytest.mark.slow
def test_python_m_zoo_is_zoo() -> None:
    said = [
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
        for command in ([sys.executable, "-m", "zoo"], [sys.executable, "-c", "from zoo.cli import main; main()"])
    ]
    assert said[0] == said[1]
    assert said[0].startswith("Usage: zoo ")


def test_each_command_is_told_in_a_whole_sentence() -> None:
    """Of a docstring Typer takes what comes before the first full stop: "Neural style transfer (Gatys et al."."""
    rows = re.findall(r"^  ([a-z-]+) {2,}(\S.*)$", zoo("--help", terminal=300).partition("Commands:")[2], re.MULTILINE)
    assert len(rows) > 20
    for name, told in rows:
        assert told.endswith((".", ")")), name
        assert told.count("(") == told.count(")"), name
