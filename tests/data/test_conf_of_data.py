"""conf/data is the one home of the numbers: its keys are the arguments, whose annotations are honest."""

from pathlib import Path
from typing import get_args, get_type_hints

import hydra
import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from zoo.data.module import DataModule
from zoo.ranges import fitted

CONF = Path(__file__).parents[2] / "conf"
SETS = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))


@pytest.fixture(scope="module")
def composed():
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return {
            name: OmegaConf.to_container(hydra.compose("train", [f"data={name}", "cache_dir=x"]).data, resolve=True)
            for name in SETS
        }


def columns(set_class):
    """The names and the types of a set's settings."""
    return get_type_hints(get_args(get_type_hints(set_class.__init__)["settings"])[0])


@pytest.mark.parametrize("name", SETS)
def test_keys_are_the_arguments_and_values_of_their_types(composed, name):
    settings = dict(composed[name])
    set_class = get_class(settings.pop("_target_"))
    assert issubclass(set_class, DataModule)
    assert set_class.name == name
    assert set_class.__module__.count(".") == 2  # what zoo.run.config trusts in a file
    hints = columns(set_class)
    assert settings.keys() == hints.keys()
    for key, value in settings.items():
        assert fitted(key, value, hints[key]) == value


def test_what_may_be_null_or_a_switch_says_so(composed):
    def allows(name, key, kind):
        return kind in get_args(columns(get_class(composed[name]["_target_"]))[key])

    for name in ("colour_digits", "unpaired_folder", "paired_folder"):
        assert allows(name, "load_size", type(None))
    for key in ("test_folder", "test_folder_x", "test_folder_y", "folder"):
        assert allows("paired_folder", key, type(None))
    for name in ("folder", "labelled_folder", "unpaired_folder", "paired_folder"):
        assert allows(name, "cache", bool)
        assert allows(name, "cache", str)
    assert not get_args(columns(get_class(composed["folder"]["_target_"]))["fit"])


@pytest.mark.parametrize("name", SETS)
def test_they_construct(composed, name):
    size = {"patch_size": 48} if "patch_size" in composed[name] else {"image_size": [16, 24]}
    root = {"root": "~/images"} if "root" in composed[name] else {}
    if "load_size" in composed[name]:
        size["load_size"] = [18, 26]
    data = instantiate({**composed[name], **size, **root}, _convert_="all")
    assert data.rows.image_size == ((48, 48) if "patch_size" in size else (16, 24))
    assert data.root == (Path("~/images").expanduser() if root else None)


def test_an_unknown_and_a_missing_argument_are_named(composed):
    settings = {key: value for key, value in composed["digits"].items() if key != "_target_"}
    set_class = get_class(composed["digits"]["_target_"])
    with pytest.raises(TypeError, match="unexpected keyword argument 'fits'"):
        set_class(**settings, fits="crop")
    del settings["flip"]
    with pytest.raises(TypeError, match="missing a required keyword argument: 'flip'"):
        set_class(**settings)
