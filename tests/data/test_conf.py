"""conf/data is the one home of the numbers: its keys are the constructors' arguments."""

import inspect
from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from zoo.data.images import ImageDataModule

CONF = Path(__file__).parents[2] / "conf" / "data"
OURS = ("mnist5k", "digits", "mnist", "fashion_mnist", "cifar10", "celeba", "folder", "labelled_folder")


@pytest.mark.parametrize("name", OURS)
def test_keys_are_the_arguments(name):
    conf = OmegaConf.load(CONF / f"{name}.yaml")
    set_class = get_class(conf._target_)
    assert issubclass(set_class, ImageDataModule)
    assert set_class.name == name
    arguments = inspect.signature(set_class).parameters
    assert all(argument.kind is argument.KEYWORD_ONLY for argument in arguments.values())
    assert all(argument.default is argument.empty for argument in arguments.values())
    assert set(conf) - {"_target_", "defaults"} == set(arguments)


@pytest.mark.parametrize("name", OURS)
def test_they_construct(name, tmp_path):
    conf = OmegaConf.create({"seed": 1, "cache_dir": str(tmp_path), "data": OmegaConf.load(CONF / f"{name}.yaml")})
    del conf.data["defaults"]  # what metrics suit the set: a matter of composition, see tests/test_config.py
    if "folder" in name:
        conf.data.root = "~/images"
        conf.data.background = [1, 2, 3]
    conf.data.image_size = [16, 24]
    assert instantiate(conf.data).image_size == (16, 24)
