"""The scripts that make figures, on little data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from common import compose, program
from hydra.utils import instantiate
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file

from zoo.data.reading import picture_named
from zoo.metrics.extractors import DigitClassifier, DigitNetwork
from zoo.use.pictures import sheet


@pytest.fixture(scope="module")
def small_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 of the digits of 8x8 as a labelled folder, and as one whose labels are off by one."""
    folder = tmp_path_factory.mktemp("digits")
    data = instantiate(compose("data=digits", "data.image_size=16").data, _convert_="all")
    images, labels, _ = data.split("train")[range(300)]
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        for name, of in (("right", label), ("wrong", (label + 1) % 10)):
            (folder / name / str(of)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(folder / name / str(of) / f"{i}.png")
    return folder


@pytest.mark.slow
def test_classification_accuracy_score(small_digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the set's own images: as good as them. Of wrongly named ones: worse than chance."""
    module = program("scripts/classification_accuracy.py")
    module.BATCH_SIZE = 20  # more steps from few images
    accuracies = module.main(
        [str(small_digits / "right"), "--data", "digits", "data.image_size=16", "--shown", "3_000"]
    )
    assert list(accuracies) == ["synthetic", "as many real", "all real"]
    assert min(accuracies.values()) > 0.7
    printed = capsys.readouterr().out
    assert "accuracy on 355 real test images, after 3,000 training images, seed 0" in printed
    assert f"synthetic          300 images  {accuracies['synthetic']:.2%}" in printed

    real = module.data_module(["data=digits", "data.image_size=16"])
    sets = [module.synthetic_like(real, small_digits / name) for name in ("wrong", "right")]
    settings = {"classes": 10, "seed": 0, "shown": 3_000}
    wrong, right = (module.accuracy(images, module.everything(real, "test"), **settings) for images in sets)
    assert wrong < 0.1
    assert right == accuracies["synthetic"]


def test_classification_accuracy_needs_the_same_classes(small_digits: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "0").symlink_to(small_digits / "right" / "0")
    with pytest.raises(ValueError, match=r"has the classes 0, the real images 0, 1, 2"):
        program("scripts/classification_accuracy.py").main([str(tmp_path / "set"), "--data", "digits"])


@pytest.mark.slow
def test_train_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes, dark and bright: learned, stored as float16, with the accuracy of what was stored."""
    labels = np.arange(400) % 2
    noise = np.random.default_rng(0).integers(0, 128, (400, 28, 28), np.uint8)
    images = noise + (labels * 120).astype(np.uint8)[:, None, None]
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(tmp_path / "set.npz", **arrays)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["_", "mnist", "--data", "set.npz", "--output", "w.safetensors", "--epochs", "3"])
    module = program("scripts/train_classifier.py")
    module.RECIPES["mnist"] = replace(module.RECIPES["mnist"], batch_size=20)  # few images, but sixty steps
    module.main()
    with safe_open("w.safetensors", "pt") as file:
        metadata = file.metadata()
        trained = DigitNetwork()
        trained.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    accuracy = module.accuracy(trained, DigitClassifier.inputs(torch.from_numpy(images)[:, None]), torch.tensor(labels))
    assert accuracy > 0.9
    assert metadata["accuracy"] == f"{accuracy:.4f}"
    assert metadata["command"] == "python scripts/train_classifier.py mnist --data set.npz --epochs 3 --seed 0"
    assert all(value.dtype != torch.float32 for value in load_file("w.safetensors").values())


def test_flip_and_crop_moves_each_image_by_itself() -> None:
    x = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (4, 4, 4, 4), mode="reflect")
    moves = []
    for i, y in enumerate(program("scripts/train_classifier.py").flip_and_crop(x)):
        windows = ((a, b, flip) for a in range(9) for b in range(9) for flip in (False, True))
        for a, b, flip in windows:
            window = padded[i, :, a : a + 32, b : b + 32]
            if torch.equal(y, window.flip(2) if flip else window):
                moves.append((a, b, flip))
    assert len(moves) == 64
    assert len(set(moves)) > 30
    assert {flip for _, _, flip in moves} == {False, True}


def test_stacked_digits_are_read_and_their_modes_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Modes and KL in closed form; digits in the channels are read as their number; what is written is data."""
    module = program("scripts/stacked_mnist.py")
    assert module.counted(torch.arange(1_000).repeat(3)) == (1_000, pytest.approx(0, abs=1e-12))
    assert module.counted(torch.tensor([7, 7, 7])) == (1, pytest.approx(np.log(1_000)))
    modes, kl = module.counted(torch.tensor([0, 0, 0, 999]))
    assert (modes, kl) == (2, pytest.approx(0.75 * np.log(750) + 0.25 * np.log(250)))

    data = instantiate(compose("data=mnist5k", "data.image_size=28").data, _convert_="all")
    images, labels, _ = data.split("test")[range(0, 1_000, 20)]
    digits, numbers = images[:, 0].numpy(), labels.numpy()
    np.savez(tmp_path / "mnist.npz", train_images=digits)
    module.main(["make", str(tmp_path / "mnist.npz"), str(tmp_path / "stacked.npz"), "--images", "40", "--seed", "3"])
    written = np.load(tmp_path / "stacked.npz")["images"]
    chosen = np.random.default_rng(3).integers(len(digits), size=(40, 3))
    assert written.shape == (40, 32, 32, 3)
    assert np.array_equal(written[5, 2:30, 2:30, 1], digits[chosen[5, 1]])
    one_by_one = DigitClassifier().logits(images).argmax(1).numpy()
    assert (one_by_one == numbers).mean() > 0.9
    assert np.array_equal(module.read_all(written).numpy(), one_by_one[chosen] @ np.array([100, 10, 1]))

    data = instantiate(compose("data=folder", f"data.root={tmp_path / 'stacked.npz'}").data, _convert_="all")
    assert data.num_images("train") == 40

    with pytest.raises(SystemExit, match="holds no array 'train_images'"):
        module.main(["make", str(tmp_path / "stacked.npz"), str(tmp_path / "other.npz")])
    with pytest.raises(SystemExit, match=r"error: .*/dev/null"):
        module.main(["make", str(tmp_path / "mnist.npz"), "/dev/null/stacked.npz", "--images", "1"])
    assert not (tmp_path / "other.npz").exists()
    with pytest.raises(SystemExit, match="makes images of 1 channels: train it on what `make` wrote"):
        module.main(["count", "dcgan-mnist5k", "--samples", "2"])


class OneColour:
    """Translates each image into a uniform one, and keeps what it was given."""

    directions = {"X->Y": 3}  # noqa: RUF012
    config = {"data": {"background": "#808080"}}  # noqa: RUF012
    reach = None

    def __init__(self, *colour: float) -> None:
        self.colour, self.given = torch.tensor(colour).view(1, 3, 1, 1), list[np.ndarray]()

    def translate(self, images: torch.Tensor, direction: str = "X->Y", tile: int | None = None) -> torch.Tensor:
        self.given.append((images[0] * 127.5 + 127.5).permute(1, 2, 0).numpy())
        return self.colour.expand_as(images)


def test_what_runs_restore_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The light of each photograph under the colours of one run, which saw it grey; the other's image in the hole, and
    nowhere else, which saw the colour of holes there."""
    module = program("scripts/restored.py")
    green, blue, picture = OneColour(-1.0, 1.0, -1.0), OneColour(-1.0, -1.0, 1.0), tmp_path / "restored.png"
    monkeypatch.setattr(module.zoo, "load", {"a": green, "b": blue}.get)
    arguments = ["--colourise", "a", "--inpaint", "b", "--photographs", "chelsea", "coffee", "--size", "48"]
    module.main([*arguments, "--hole", "0.5", "-o", str(picture)])
    paper, luma = np.array(Image.open(picture)).astype(float), np.array([0.299, 0.587, 0.114])
    hole = np.zeros((48, 48), bool)
    hole[12:36, 12:36] = True
    for row, name in enumerate(("chelsea", "coffee")):
        top = 24 + 100 * row  # images of 96 pixels, 4 apart
        photograph, grey, coloured, erased, filled = (
            paper[top : top + 96 : 2, 4 + 100 * i : 4 + 100 * i + 96 : 2] for i in range(5)
        )
        whole = Image.open(picture_named(name)).convert("RGB")
        assert (photograph == np.array(ImageOps.fit(whole, (48, 48), Image.Resampling.BOX))).all()
        assert abs(grey - (photograph @ luma)[..., None]).max() <= 1
        assert abs(green.given[row] - grey).max() <= 1
        assert abs(coloured @ luma - grey[..., 0]).max() <= 1
        assert (coloured[..., 1] > coloured[..., 2]).all()
        assert abs(blue.given[row][hole] - 128).max() <= 1
        assert abs(blue.given[row] - photograph)[~hole].max() <= 1
        assert (erased[hole] == 255).all()
        assert (filled[hole] == [0, 0, 255]).all()
        assert (filled[~hole] == photograph[~hole]).all()
        assert (erased[~hole] == photograph[~hole]).all()


def test_what_restoring_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module, runs = program("scripts/restored.py"), ["--colourise", "dcgan-mnist5k", "--inpaint", "dcgan-mnist5k"]
    for arguments, message in (
        (["--photographs", "nope"], "nope is no file, and no photograph that comes with the package"),
        (["--hole", "0"], "--hole=0.0 of 64 pixels must erase some and leave some"),
        (["-o", str(tmp_path)], f"{tmp_path} can't be written"),
        ([], "a run that translates no images: give one of experiment=colourise"),
    ):
        with pytest.raises(SystemExit):
            module.main([*runs, "-o", str(tmp_path / "a.png"), *arguments])
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_anomalies_are_drawn_with_their_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a model to which everything comes back black: the digit itself is the difference, and bold ones score high."""
    module, picture = program("scripts/anomalies.py"), tmp_path / "anomalies.png"
    above_each: list[str] = []

    class Black:
        image_shape, device = (1, 16, 16), "cpu"

        def reconstructed(self, x: torch.Tensor) -> torch.Tensor:
            return -torch.ones_like(x)

        def score(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 1).mean((1, 2, 3))

        def residual(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.zoo, "load", lambda run: Black())
        patch.setattr(module, "sheet", lambda rows, left, above: above_each.extend(above) or sheet(rows, left, above))
        normal, abnormal = module.main(["RUN", "--normal", "1", "7", "--abnormal", "0", "-o", str(picture)])
    assert abnormal > 1.2 * normal  # a 0 has more ink than most
    data = instantiate(compose("data=mnist5k", "data.image_size=16").data, _convert_="all")
    images, labels, _ = data.split("test")[range(1_000)]
    first, second = images[labels == 7][0, 0].numpy(), images[labels == 0][1, 0].numpy()
    assert [above_each[k] for k in (1, 3)] == [f"{digit.mean() / 127.5:.3f}" for digit in (first, second)]
    paper = np.array(Image.open(picture))
    columns = [paper[24:, paper.shape[1] - 100 * k : paper.shape[1] - 100 * k + 96 : 6] for k in (3, 1)]
    for column, digit in zip(columns, (first, second), strict=True):
        shown, again, difference = (column[100 * row : 100 * row + 96 : 6] for row in range(3))
        assert (shown == digit).all()
        assert (again == 0).all()
        assert (difference == digit).all()
    for arguments, message in (
        (["RUN", "--abnormal", "1"], "--abnormal=1 is among the normal ones"),
        (["dcgan-mnist5k", "-o", str(tmp_path / "b.png")], "dcgan-mnist5k draws no image again"),
        (["dcgan-mnist5k", "-o", str(tmp_path)], f"{tmp_path} can't be written"),
    ):
        with pytest.raises(SystemExit):
            module.main(arguments)
        assert message in capsys.readouterr().err
