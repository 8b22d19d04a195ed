"""What is swapped by configuration in each variant that has it: objectives, penalties, balance, augmentation."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from common import CONF, MODELS, compose, make, same
from omegaconf import DictConfig

from train import run
from zoo.game import losses
from zoo.game.gan import GAN

Small = Callable[..., DictConfig]
# Translation has objectives and balance, but neither penalties nor augmentation.
BALANCED = [model for model in MODELS if "n_critic" in compose(f"model={model}").model]
OPEN = [model for model in MODELS if "regularizer" in compose(f"model={model}").model]
LOSSES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))
WITHOUT_BATCHNORM = {"dcgan": ["model.discriminator_norm=none"], "cgan": ["model.condition=projection"]}
GAME = {"srgan": ["model.pixel_images=0"]}  # what leads to the alternating turns


runs = itertools.count()


def trained(cfg: DictConfig) -> Any:
    cfg.run_dir = f"{cfg.run_dir}-{next(runs)}"
    return run(cfg).lightning_module


@pytest.mark.parametrize("model", OPEN)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_objective_trains_every_variant(model: str, loss: str, small: Small) -> None:
    regularizer = "gradient_penalty" if loss == "wasserstein" else "none"
    settings = ["max_images=48", f"loss={loss}", f"regularizer={regularizer}", *WITHOUT_BATCHNORM.get(model, [])]
    gan = trained(small(model, *settings, "logger=none"))
    assert gan.turns == {"D": 3, "G": 3}
    assert all(parameter.isfinite().all() for parameter in gan.parameters())


@pytest.mark.parametrize("model", sorted({*BALANCED} - {*OPEN}))
@pytest.mark.parametrize("loss", LOSSES)
def test_every_objective_trains_translation(model: str, loss: str, small: Small) -> None:
    gan = trained(small(model, "max_images=48", f"loss={loss}", "logger=none", *GAME.get(model, [])))
    assert gan.turns == {"D": 3, "G": 3}
    assert all(parameter.isfinite().all() for parameter in gan.parameters())


@pytest.mark.parametrize("model", BALANCED)
def test_n_critic(model: str, small: Small) -> None:
    gan = trained(small(model, "max_images=96", "model.n_critic=3", *GAME.get(model, [])))
    assert gan.turns == {"D": 6, "G": 2}


@pytest.mark.parametrize("model", OPEN)
def test_n_critic_and_lazy_penalties(model: str, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    terms: list[tuple[str, set[str]]] = []
    observe = GAN.observe
    watch = lambda self, player, values: (terms.append((player, set(values))), observe(self, player, values))
    monkeypatch.setattr(GAN, "observe", watch)
    settings = ["max_images=96", "model.n_critic=3", "regularizer=r1", "model.regularizer.every=2"]
    gan = trained(small(model, *settings))
    assert gan.turns == {"D": 6, "G": 2}
    assert [("r1" in names) for player, names in terms if player == "D" and "adversarial" in names] == [True, False] * 3


def of_discriminators(gan: GAN) -> dict[str, Any]:
    """The weights that D's player moves."""
    return {name: parameter.detach() for name, parameter in gan._names["D"]}


@pytest.mark.parametrize("model", BALANCED)
def test_a_strong_discriminator_skips_its_turn(model: str, small: Small) -> None:
    """With the threshold at 0 D never moves, at 1 it always does."""
    run_with = lambda images, setting: trained(small(model, f"max_images={images}", setting, *GAME.get(model, [])))
    initial = run_with(16, "model.lr.D=0.0")
    never = run_with(64, "model.skip_d_above=0.0")
    always, plain = (run_with(64, f"model.skip_d_above={at}") for at in (1.0, "null"))
    assert same(of_discriminators(never), of_discriminators(initial))
    assert same(always.state_dict(), plain.state_dict())
    assert never.turns["D"] == 4


@pytest.mark.parametrize("model", BALANCED)
@pytest.mark.parametrize("setting", ["n_critic=0", "skip_d_above=90", "lr.G=-1", r"betas=\[0.5\]", r"betas=\[0.5, 1\]"])
def test_players_that_make_no_sense(model: str, setting: str) -> None:
    with pytest.raises(ValueError, match=rf"model\.{setting}.* must be"):
        make(model, f"model.{setting}".replace("\\", ""))


@pytest.mark.parametrize("model", OPEN)
@pytest.mark.parametrize("augment", ["diffaugment", "ada"])
def test_augmentation_changes_what_d_sees(model: str, augment: str, small: Small) -> None:
    """D is trained on other images; ADA's strength has moved, and is part of the state."""
    plain = trained(small(model, "max_images=512"))
    gan = trained(small(model, "max_images=512", f"augment={augment}", "model.augment.speed=2_000"))
    assert not same(dict(gan.D.named_parameters()), dict(plain.D.named_parameters()))
    if augment == "ada":
        assert "T.p" in gan.state_dict()
    assert gan.sample(2).shape[0] == 2


def test_an_unknown_objective_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="loss='hinges' must be one of non_saturating"):
        losses.named("hinges")
