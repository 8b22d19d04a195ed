"""Which setting is meant: by its meaning, of another variant's, never what was typed."""

import re

import pytest
from common import MODELS, compose

from zoo.run.config import choices, flatten, groups, plain
from zoo.run.hints import no_setting
from zoo.run.words import CHOICES, MEANT, meant, meant_choice


@pytest.fixture(scope="module")
def settings() -> set[str]:
    """Those of every model and trainer, and Hydra's that are named."""
    lines = [[f"model={model}"] for model in MODELS] + [["trainer=ddp", "data=folder"]]
    return {"hydra.run.dir"}.union(*(flatten(plain(compose(*line))) for line in lines))


@pytest.mark.parametrize("word", MEANT)
def test_each_word_leads_to_a_setting_that_there_is(word: str, settings: set[str]) -> None:
    for given in ("3", "", "true", "x/y"):
        instead = meant(word, given)
        assert instead
        assert "\n" not in instead
        targets = re.findall(r"(?<![\w.])([a-z_]+(?:\.\w+)*)=", instead)
        assert targets, instead
        assert {*targets} <= settings | {*groups()}, instead
        assert word not in targets
    assert word not in settings, "a setting of that name needs no other"


@pytest.mark.parametrize("word", sorted(MEANT))
def test_dashes_capitals_and_groups_do_not_matter(word: str) -> None:
    assert meant(f"train.{word.upper().replace('_', '-')}", 3) == meant(word, 3)


@pytest.mark.parametrize(
    ("word", "given", "sentence"),
    [
        ("epochs", "5", "the budget is max_images=, in images: 5 epochs are 5 x the number of training images"),
        ("steps", "100", "the budget is max_images=, in images: 100 steps are 100 x data.batch_size="),
        ("kimg", "1.5", "did you mean max_images=1500?"),
        ("lr", "1e-4", "did you mean model.lr.D=1e-4 model.lr.G=1e-4?"),
        ("batch_size", "8", "did you mean data.batch_size=8?"),
        ("resolution", "64", "did you mean data.image_size=64?"),
        ("gpus", "0", "did you mean trainer=cpu?"),
        ("gpus", "1", "did you mean trainer=gpu?"),
        ("gpus", "4", "did you mean trainer=ddp trainer.devices=4?"),
        ("nz", "64", "did you mean model.latent_dim=64?"),
        ("gan_mode", "lsgan", "did you mean loss=least_squares?"),
        ("amp", "true", "did you mean trainer.precision=bf16-mixed?"),
        ("beta1", "0.0", "did you mean model.betas=[0.0,0.999]?"),
        ("wandb", "false", "did you mean logger=csv?"),
        ("dataset", "cifar10", "did you mean data=cifar10?"),
        ("dataset", "cifar", "the group is data=, did you mean cifar10?"),
    ],
)
def test_what_is_meant(word: str, given: str, sentence: str) -> None:
    assert no_setting(word, given) == f"there is no setting {word!r}; {sentence}"


@pytest.mark.slow
def test_what_another_variant_has_is_said() -> None:
    assert no_setting("model.latent_dim", 3, ["model=cyclegan"]) == (
        "there is no setting 'model.latent_dim' with model=cyclegan; it is one of model=cgan, dcgan, f_anogan, "
        "fastgan, r3gan, stylegan_lite, vanilla"
    )
    assert no_setting("nz", 3, ["--model=srgan"]).endswith(
        "it would be model.latent_dim, which these groups (model=srgan) do not have"
    )


@pytest.mark.slow
def test_nothing_proposes_itself() -> None:
    own = {model: flatten(plain(compose(f"model={model}"))) for model in MODELS}
    for model in MODELS:
        for key in sorted(set().union(*own.values()) - own[model].keys()):
            assert f"did you mean {key}" not in no_setting(key, 3, [f"model={model}"])


@pytest.mark.parametrize("group", CHOICES)
def test_what_others_call_a_choice_leads_to_one(group: str, settings: set[str]) -> None:
    for words, instead in CHOICES[group]:
        for key, value in (part.split("=") for part in instead.split()):
            assert value in choices(key) if key in groups() else key in settings
        for word in words.split():
            assert word not in choices(group)
            assert meant_choice(group, word.upper().replace("_", "-")) == f"did you mean {instead}?"
