"""conf/: each number has one home, and the YAML has what the constructors take."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import hydra
import pytest
from common import CONF, MODELS, compose
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_class
from omegaconf import OmegaConf

from zoo.game.augment import Augment
from zoo.game.regularizers import Regularizer
from zoo.game.settings import Game, defaults
from zoo.run import config
from zoo.run.config import check, flatten, plain, table


def targets(node: Any) -> Iterator[Any]:
    """Every mapping with a `_target_` within a configuration."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for child in node.values():
            yield from targets(child)


def keyword_only(constructor: Any, written: Mapping[str, Any] | None = None) -> dict[str, inspect.Parameter]:
    """A constructor's own arguments: keyword-only and without defaults, which the YAML has.

    Settings that came after the first checkpoints have one too, or those would not load: the same as the YAML's, of
    which `written` has the values.
    """
    parameters = inspect.signature(constructor).parameters
    settings = {name: p for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    assert all(p.kind is p.KEYWORD_ONLY for p in settings.values()), constructor
    defaults = {name: p.default for name, p in settings.items() if p.default is not p.empty}
    defaults |= {name: list(value) for name, value in defaults.items() if isinstance(value, tuple)}  # as YAML has it
    assert defaults == {name: (written or {}).get(name, inspect.Parameter.empty) for name in defaults}, constructor
    return settings


def test_there_are_few_files() -> None:
    assert len(list(CONF.rglob("*.yaml"))) <= 57


@pytest.mark.parametrize("model", MODELS)
def test_a_model_has_its_own_settings_and_those_of_the_game(model: str) -> None:
    settings = compose(f"model={model}").model
    own = keyword_only(get_class(settings._target_), settings)
    assert settings.keys() - {"_target_"} == own.keys() | Game.__annotations__
    written = OmegaConf.load(CONF / "model" / f"{model}.yaml").model
    off = {"clip_norm": None, "decay_start": None, "skip_d_above": None}
    assert not [key for key, value in off.items() if key in written and written[key] == value], "the game's own"


@pytest.mark.parametrize(
    "path",
    sorted(path for path in CONF.rglob("*.yaml") if path.parent.name != "model"),
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_yaml_is_the_one_home_of_each_number(path: Any) -> None:
    """Keys equal the constructor's keyword-only parameters, which have no defaults but the same."""
    for node in targets(OmegaConf.to_container(OmegaConf.load(path), resolve=False)):
        if not node["_target_"].startswith("zoo."):
            continue
        constructor = get_class(node["_target_"])
        parameters = inspect.signature(constructor).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):  # passes a library's arguments on
            continue
        assert node.keys() - {"_target_", "defaults"} == parameters.keys(), node["_target_"]
        if "measures" in node:  # each network has those that suit it; Python's are the most usual
            node = {**node, "measures": list(inspect.signature(constructor).parameters["measures"].default)}
        keyword_only(constructor, node)


def test_the_game_is_the_same_for_the_command_line_and_in_python() -> None:
    settings = OmegaConf.to_container(OmegaConf.load(CONF / "game.yaml"), resolve=False)
    assert settings.pop("decay_end") == "${max_images}"  # which Python has no word for
    groups = {"loss", "regularizer", "augment"}
    assert settings == {k: v for k, v in defaults().items() if k not in {*groups, "decay_end"}}
    entries = [entry for entry in OmegaConf.load(CONF / "train.yaml").defaults if not isinstance(entry, str)]
    choices = {group: name for entry in entries for group, name in entry.items() if group in groups}
    assert choices == {"loss": defaults()["loss"], "regularizer": "none", "augment": "none"}


@pytest.mark.parametrize(("group", "constructor"), [("regularizer", Regularizer), ("augment", Augment)])
def test_each_row_of_a_table_is_whole(group: str, constructor: Any) -> None:
    for row in table(group).values():
        assert row.keys() == keyword_only(constructor, row).keys()
        constructor(**row)


@pytest.mark.slow
def test_a_choice_replaces_the_whole_of_another() -> None:
    rows = table("regularizer")
    for name, row in rows.items():
        assert compose("model=stylegan_lite", f"regularizer={name}").model.regularizer == row
    model = compose("model=stylegan_lite", "regularizer=r2", "model.regularizer.r1=0.5", "augment=diffaugment").model
    assert model.regularizer == {**rows["r2"], "r1": 0.5}
    assert model.augment == table("augment")["diffaugment"]
    assert compose("model=cyclegan", "loss=hinge").model.loss == "hinge"
    assert compose("model=cyclegan").model.loss == "least_squares"


@pytest.mark.parametrize("recipe", table("experiment"))
def test_a_recipe_sets_what_there_is_and_gives_way_to_the_command_line(recipe: str) -> None:
    free = ["run_dir=x", "callbacks.report.overrides=[]", "logger=csv"]
    row = dict(table("experiment")[recipe])
    choices = [f"{key.split('/')[1]}={name}" for entry in row.pop("defaults") for key, name in entry.items()]
    cfg = compose(f"experiment={recipe}", *free)
    assert check(plain(cfg), plain(compose(*choices, *free))) == {}
    for key, value in flatten(row).items():
        assert str(value).startswith("${") or isinstance(value, dict) or OmegaConf.select(cfg, key) == value
    model = compose(f"experiment={recipe}", "loss=minimax", "max_images=7", "model.lr.D=0.5", *free).model
    assert (model.loss, model.decay_end, model.lr.D) == ("minimax", 7, 0.5)


def test_the_recipe_for_cifar_10_has_the_settings_of_stylegan2_ada() -> None:
    """`--cfg=cifar --cond=1` of the authors' code, by its own names, and the defaults of their networks and losses."""
    cfg = compose("experiment=stylegan_lite_cifar10", "data.root=x", "run_dir=x", "callbacks.report.overrides=[]")
    model, data = cfg.model, cfg.data
    channels = [min(model.channel_base // size, model.channel_max) for size in (4, 8, 16, 32)]
    theirs = {
        "mb": (data.batch_size, 64),
        "mirror": (data.flip, False),
        "mbstd": (model.stddev_group, 32),
        "channel_base 32768, channel_max 512": (channels, [min(32768 // size, 512) for size in (4, 8, 16, 32)]),
        "z_dim, w_dim": ([model.latent_dim, model.w_dim], [512, 512]),
        "map": (model.mapping_layers, 2),
        "lr_multiplier": (model.mapping_rate, 0.01),
        "D's mapping.num_layers": (model.class_layers, 8),
        "D's architecture 'orig'": (model.residual, False),
        "conv_clamp": (model.clamp, 256),
        "style_mixing_prob": (model.mixing, 0),
        "pl_weight": (model.path_length.weight, 0),
        "lrate": (dict(model.lr), {"D": 0.0025, "G": 0.0025}),
        "betas": (list(model.betas), [0, 0.99]),
        "gamma": (model.regularizer.r1, 0.01),
        "D_reg_interval": (model.regularizer.every, 16),
        "the gradient's image": (model.regularizer.at, "image"),
        "ema": (model.ema_half_life, 500_000),
        "augpipe 'bgc'": (dict(model.augment), table("augment")["ada"]),
        "target": (model.augment.target, 0.6),
        "ada_kimg": (model.augment.speed, 500_000),
        "ada_interval": (model.augment.interval, 4 * 64),
        "cond": (model.conditional, True),
        "softplus losses": (model.loss, "non_saturating"),
    }
    assert {name: pair for name, pair in theirs.items() if pair[0] != pair[1]} == {}


def test_the_recipe_after_r3gan_leaves_out_what_r3gan_does_not_have() -> None:
    model = compose("experiment=stylegan_lite_r3gan").model
    assert (model.stddev_group, model.noise, model.mixing, model.path_length.weight) == (None, False, 0, 0)
    assert (model.regularizer.every, model.regularizer.at, model.loss) == (1, "image", "relativistic_pairing")


def test_composing_while_train_py_runs() -> None:
    """start=FILE of somebody else composes the settings that the file does not tell, within a Hydra application."""
    with hydra.initialize_config_dir(str(config.CONF), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        assert "DCGAN" in config.compose("model=dcgan").model._target_
        assert GlobalHydra.instance().hydra is running
    assert not GlobalHydra.instance().is_initialized()
