"""zoo evaluate RUN OTHER, and --nearest, from the command line."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import untrained
from PIL import Image
from test_publish_command import METRICS, run

from zoo.cli.differ import Measured, found, lines, parted
from zoo.metrics.estimate import Estimate, intervals_of, mean_of, values_of
from zoo.metrics.metric import Result
from zoo.use.publish import weights_of
from zoo.weights import folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights folders, one of whose name has a `=`."""
    places = {}
    for name, variant, *overrides in (
        ("seed=1", "cgan"),
        ("small", "dcgan"),
        ("wide", "dcgan", "data.image_size=32"),
        ("maps", "pix2pix"),
    ):
        place = places[name] = tmp_path_factory.mktemp("models") / name
        folder.write(place, weights_of(untrained(variant, *overrides), {}), card="", pictures={})
    return places


def test_runs_and_settings_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lr=1").mkdir()
    monkeypatch.chdir(tmp_path)
    words = ["dcgan", "metrics=mnist", "outputs/lr=1/seed=2", "./data=x", "data.flip=true", "lr=1", "lr=2", "hf:a/b=c"]
    others, settings = parted(words)
    assert others == ["dcgan", "outputs/lr=1/seed=2", "./data=x", "lr=1", "hf:a/b=c"]
    assert settings == ["metrics=mnist", "data.flip=true", "lr=2"]


def test_what_is_mistyped_gets_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="did you mean dcgan-mnist5k"):
        found("dcgan-mnist5")
    with pytest.raises(ValueError, match="other metrics are metrics=inception"):
        found("inception")


@pytest.mark.slow
def test_two_models_side_by_side(models: dict[str, Path]) -> None:
    printed = run("evaluate", models["seed=1"], models["small"], models["seed=1"], *METRICS)
    assert f"all measured on the data and by the metrics of A, {models['seed=1']}" in printed
    row = next(line for line in printed.splitlines() if line.startswith("fid_mnist"))
    assert re.fullmatch(r"fid_mnist +(\S+ \[\S+, \S+\] +){3}[+-]\S+ \[\S+, \S+\] +0", row)
    assert "fid_mnist: A and C are equal, image for image" in printed
    assert re.search(r"^fid_mnist: A (is|and B can't)", printed, re.M)
    assert "another seed of training" in printed
    assert "num_fake             24" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "other", "words", "said"),
    [
        ("small", "wide", [], "makes images of 1x32x32, and the data of .* have 1x16x16: compare models of one kind"),
        ("small", "maps", [], "can't take the data of"),
        ("small", "seed=1", ["--ppl", "4"], "has no styles to measure paths between"),
        ("small", "seed=1", ["--nearest", "x.png"], "--nearest is of one model: leave"),
        ("small", "seed=1", ["data.classes=x"], "no data.classes|there is no"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    first: str, other: str, words: list[str], said: str, models: dict[str, Path]
) -> None:
    with pytest.raises(ValueError, match=said):
        run("evaluate", models[first], models[other], *METRICS, *words)


class Model:
    images = 1_000

    def __init__(self, **data: Any) -> None:
        self.config = {"data": data, "metrics": {"num_fake": 10}}


def result(generator: str = "EMA", **values: Estimate | float) -> Result:
    estimates = {name: value for name, value in values.items() if isinstance(value, Estimate)}
    return Result(values_of(values), {"generator": generator}, intervals_of(values), estimates)


def test_pairs_previews_and_what_was_otherwise() -> None:
    """Super-resolution and translators: paired values, several headlines; what plays no part is said."""
    noise = torch.randn(200, generator=torch.Generator().manual_seed(0)).double()
    better, a = mean_of(noise + 0.1, pairs=True), mean_of(noise, pairs=True)
    measured = [
        Measured(Path("a"), Model(flip=True, root="x"), result(psnr_y=a, **{"X->Y/fid": a, "odd": 1.0})),
        Measured(Path("b"), Model(flip=False), result("last", psnr_y=better, **{"X->Y/fid": better, "own": 3.0})),
    ]
    text = "\n".join(lines(measured, lambda names: {"psnr_y": 1.0, "X->Y/fid": -1.0}))
    assert "psnr_y: A is lower by 0.1 [0.1, 0.1] than B: they differ, B is better" in text
    assert "X->Y/fid: A is lower by 0.1 [0.1, 0.1] than B: they differ, A is better" in text
    assert "another data.flip than A" in text
    assert "of A the generator is measured that is EMA, of B the one that is last" in text
    assert "own" not in text
    assert "odd" not in text
    with pytest.raises(ValueError, match="no value in common"):
        lines([measured[0], Measured(Path("c"), Model(), result(other=1.0))], lambda names: {})


@pytest.mark.slow
def test_the_picture_of_the_closest_pairs(models: dict[str, Path], tmp_path: Path, monkeypatch: Any) -> None:
    """Of a generator that shows training images 8 to 15 as its fakes 0 to 7: these come first, each beside itself."""
    from zoo.batch import Preview
    from zoo.model.dcgan import DCGAN

    shown = DCGAN.preview

    def copying(self: DCGAN, batch: Any) -> dict[str, Preview]:
        preview = shown(self, batch)["samples"]
        fake = preview.fake.clone()
        for row, index in enumerate(batch.index.tolist()):
            if index < 8:
                fake[row] = batch.image[row]
        return {"samples": preview._replace(fake=fake)}

    monkeypatch.setattr(DCGAN, "preview", copying)
    picture = tmp_path / "new" / "pairs.png"
    printed = run("evaluate", models["small"], *METRICS, "--nearest", picture, "-n", "8")
    assert f"{picture}: the 8 fakes nearest to a training image, of 24" in printed
    assert re.search(r"^  memorisation_mnist +0\.3\d+  \[", printed, re.M), "8 of 24"
    seen = np.asarray(Image.open(picture))
    tall, wide = (seen.shape[0] - 24) // 8, 96 + 4
    assert tall == wide
    left = seen.shape[1] - 2 * wide
    for row in range(8):
        pair = seen[24 + row * tall : 24 + row * tall + 96]
        assert np.array_equal(pair[:, left : left + 96], pair[:, left + wide : left + wide + 96])
        assert pair[:, left : left + 96].std() > 10


@pytest.mark.slow
def test_where_there_are_no_features_no_picture(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is for generators of new images"):
        run("evaluate", models["maps"], "metrics=mnist", "--nearest", tmp_path / "x.png")
    with pytest.raises(ValueError, match="must be a picture"):
        run("evaluate", models["small"], *METRICS, "--nearest", tmp_path / "x.txt")
