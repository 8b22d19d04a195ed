"""Data that do not fit a model are refused before anything is built, and data that fit are named."""

import re
from pathlib import Path

import pytest
import torch
from common import CONF, MODELS, compose, make
from hydra.utils import get_class
from PIL import Image

import zoo
from train import run
from zoo.game.abilities import OfAttributes
from zoo.run.fits import check_rows

DATA = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
IMAGES = {"celeba", "cifar10", "digits", "fashion_mnist", "folder", "labelled_folder", "mnist", "mnist5k"} | {
    *("one_class_digits", "scenes"),
}
FIT = {
    "cyclegan": {"colour_digits", "corrupted_folder", "masked_digits", "paired_folder", "unpaired_folder"},
    "pix2pix": {"corrupted_folder", "masked_digits", "paired_folder"},
    "srgan": {"photos", "super_resolution_folder"},
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model_takes_the_data_that_fit_and_names_them_for_others(model):
    fitting = FIT.get(model, IMAGES)
    for data in DATA:
        config = compose(f"model={model}", f"data={data}", "run_dir=x")
        if data in fitting:
            check_rows(config)
            continue
        with pytest.raises(ValueError, match=rf"is trained on .*data={data} gives ") as caught:
            check_rows(config)
        assert set(re.findall(r"data=(\w+)", str(caught.value).partition(": use ")[2])) == fitting


@pytest.mark.slow
def test_what_a_set_declares_is_what_it_gives():
    for data in DATA:
        settings = {key: value for key, value in compose(f"data={data}", "run_dir=x").data.items() if key != "_target_"}
        of_set = get_class(compose(f"data={data}", "run_dir=x").data._target_)
        made = of_set(**{**settings, **({"root": "x"} if "root" in settings else {})})
        assert made.rows.batch is of_set.batch
        assert made.aligned == (data in FIT["pix2pix"])


def test_building_says_it_too_and_not_what_hydra_says_of_interpolations():
    for model, data in (("srgan", "mnist5k"), ("dcgan", "masked_digits"), ("pix2pix", "colour_digits")):
        with pytest.raises(ValueError, match="is trained on"):
            make(model, f"data={data}")
        with pytest.raises(ValueError, match="is trained on"):
            run(compose(f"model={model}", f"data={data}", "run_dir=x", "callbacks.report.overrides=[]"))


@pytest.fixture
def pictures(tmp_path):
    """Sixteen drawings in one folder, and their attributes."""
    root = tmp_path / "set"
    (root / "00000").mkdir(parents=True)
    for n in range(16):
        Image.new("L", (16, 16), 10 * n).save(root / "00000" / f"{n}.png")
    rows = "".join(f"{n}.png,{n % 2},{1 - n % 2},{n / 16}\n" for n in range(16))
    (root / "attributes.csv").write_text(f"image,odd,even,level\n{rows}")
    return [f"data.root={root}", "data=labelled_folder", "data.channels=1"]


@pytest.mark.parametrize("model", [["cgan"], ["stylegan_lite", "model.conditional=true"]])
def test_one_class_alone_is_refused_where_the_model_is_told_the_class(pictures, model):
    with pytest.raises(ValueError, match=r"one class only, 00000: .*dataset\.json.*data\.labels=FILE"):
        make(*model, *pictures)
    with pytest.raises(ValueError, match="no classes to condition on"):
        make(*model, *[setting for setting in pictures if setting != "data=labelled_folder"], "data=folder")
    two = make(*model, *pictures, "data.labels=attributes.csv", "data.label_column=odd")
    assert two.classes == ["0", "1"]


@pytest.mark.slow
def test_one_class_is_nothing_to_a_model_without_classes(pictures):
    for model in (["dcgan"], ["stylegan_lite", "model.conditional=false"]):
        make(*model, *pictures)


def test_attributes_become_the_condition_from_the_command_to_the_sample(pictures, small):
    config = small("cgan", *pictures, "data.labels=attributes.csv", "max_images=32", "callbacks.samples.count=4")
    run(config)
    model = zoo.load(config.run_dir)
    assert isinstance(model, OfAttributes)
    assert model.attributes == model.hparams["attributes"] == ["odd", "even", "level"]
    assert not model.classes
    images = model.sample(3, labels=[[1, 0, 0.5]] * 3)
    assert images.shape == (3, 1, 16, 16)
    assert not torch.equal(model.sample(3, labels=[[0, 1, 0.5]] * 3), images)
    with pytest.raises(ValueError, match=r"conditioned on vectors \(odd, even, level\)"):
        model.sample(3)
    assert "3 attributes: odd, even, level" in Path(config.run_dir, "report.md").read_text()


def test_other_attributes_than_the_data_have_are_refused(pictures):
    make("cgan", *pictures, "data.labels=attributes.csv", "model.attributes=[odd,even,level]")
    with pytest.raises(ValueError, match=r"model\.attributes=odd, big are not those of the data, odd, even, level"):
        make("cgan", *pictures, "data.labels=attributes.csv", "model.attributes=[odd,big]")
    with pytest.raises(ValueError, match=r"model\.condition_dim=2, but there are 3 attributes"):
        make("cgan", *pictures, "data.labels=attributes.csv", "model.condition_dim=2")
    with pytest.raises(ValueError, match=r"data\.label_column=NAME"):
        make("stylegan_lite", "model.conditional=true", *pictures, "data.labels=attributes.csv")
