"""The settings that all variants share, each set in every variant to a value that shows; the closed forms are in
tests/game/test_gan.py."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from common import EVERY, MODELS, compose, same
from omegaconf import DictConfig
from torch import Tensor, nn

from train import run
from zoo.game.augment import Augment
from zoo.game.gan import GAN
from zoo.game.log import Log
from zoo.game.losses import Objective
from zoo.run.config import table

Small = Callable[..., DictConfig]
# Those whose D is augmented and penalised; translation and super-resolution show it images as they are.
OPEN = [model for model in MODELS if compose(f"model={model}").model.get("augment") is not None]
ALONE = {"style_transfer"}  # games of one player, without a critic
TWO = [model for model in MODELS if model not in ALONE]
WITHOUT_BATCHNORM = {"dcgan": ["model.discriminator_norm=none"], "cgan": ["model.condition=projection"]}
GAME = {  # what leads to the alternating turns, at rates that stay
    "f_anogan": ["model.gan_share=1"],
    "r3gan": ["model.burn_in=null"],
    "srgan": ["model.pixel_images=0", "model.lr_steps=[]"],
}
MIXES_IMAGES = {"fastgan"}  # BatchNorm in D, without a setting for another

runs = itertools.count()


@pytest.fixture(params=EVERY)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def trained(cfg: DictConfig) -> Any:
    cfg.run_dir = f"{cfg.run_dir}-{next(runs)}"
    return run(cfg).lightning_module


def played(gan: GAN) -> dict[str, int]:
    """The turns of each player that has had any."""
    return {player: turns for player, turns in gan.turns.items() if turns}


def of_player(gan: GAN, player: str) -> dict[str, Tensor]:
    """The weights that a player moves."""
    return {name: parameter.detach() for name, parameter in gan._parameters_of[player]}


@pytest.mark.slow
@pytest.mark.parametrize("model", TWO)
def test_rates_decay_and_clipping_of_both_players(model: str, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each step of each optimizer is made with: its player's rate, the decay, betas, and a clipped gradient."""
    steps: list[tuple[int, int, float, tuple[float, float], float]] = []
    gans: list[GAN] = []
    step, start = torch.optim.Adam.step, GAN.on_train_start

    def watched(self: torch.optim.Adam, *args: Any, **kwargs: Any) -> Any:
        (group,) = self.param_groups
        gradients = [p.grad for p in group["params"] if p.grad is not None]
        steps.append((id(self), gans[0].images, group["lr"], group["betas"], float(nn.utils.get_total_norm(gradients))))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    monkeypatch.setattr(GAN, "on_train_start", lambda self: (gans.append(self), start(self))[1])
    settings = ["model.lr.D=3e-4", "model.lr.G=1e-4", "model.clip_norm=0.001", "model.betas=[0.3,0.7]"]
    settings += ["model.decay_start=32", "model.decay_end=96", "max_images=80", "logger=none"]
    gan = trained(small(model, *settings, *GAME.get(model, [])))
    for player, rate in {"D": 3e-4, "G": 1e-4}.items():
        of_optimizer = [row[1:] for row in steps if row[0] == id(gan._players[player])]
        assert [images for images, *_ in of_optimizer] == [16, 32, 48, 64, 80]
        for images, lr, betas, norm in of_optimizer:
            before = images - 16
            assert lr == pytest.approx(rate * (1 if before <= 32 else (96 - before) / 64))
            assert betas == (0.3, 0.7)
            assert norm == pytest.approx(0.001, rel=1e-3), "gradients are larger than that by far"


@pytest.mark.slow
@pytest.mark.parametrize("model", TWO)
def test_balance(model: str, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """D is right about all real images and half of the fakes: it skips by the mean; G waits for n_critic turns."""
    judgement = Objective.judgement
    half = {"accuracy_real": torch.tensor(1.0), "accuracy_fake": torch.tensor(0.5)}
    monkeypatch.setattr(Objective, "judgement", lambda self, real, fake: judgement(self, real, fake) | half)
    run_with = lambda *settings: trained(small(model, "logger=none", *settings, *GAME.get(model, [])))
    initial = run_with("max_images=16", "model.lr.D=0.0")
    skips = run_with("max_images=48", "model.n_critic=3", "model.skip_d_above=0.7")
    moves = run_with("max_images=48", "model.n_critic=3", "model.skip_d_above=0.8")
    assert same(of_player(skips, "D"), of_player(initial, "D"))
    assert not same(of_player(moves, "D"), of_player(initial, "D"))
    assert played(skips) == played(moves) == {"D": 3, "G": 1}


@pytest.mark.slow
def test_averages_follow(model: str, small: Small) -> None:
    """With a half-life of 0 an average is its network, at the end of every step; with none there is no average."""
    settings = ["max_images=32", "logger=none", *GAME.get(model, [])]
    gan = trained(small(model, *settings, "model.ema_half_life=0"))
    generators = [n for player, networks in gan.players().items() if player != gan.critic for n in networks]
    averaged = [network for _, network in gan._averages]
    assert averaged == (generators if model != "f_anogan" else [gan.G])  # whose encoder has no average
    for average, network in gan._averages:
        state = {k: v for k, v in network.state_dict().items() if k != "w_mean"}  # moves after the average
        assert same({k: v for k, v in average.module.state_dict().items() if k != "w_mean"}, state)
    plain = trained(small(model, *settings, "model.ema_half_life=null"))
    assert not plain.averaged
    assert not [name for name in plain.state_dict() if "_ema" in name]
    assert same(plain.G.state_dict(), gan.G.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("model", TWO)
@pytest.mark.parametrize("loss", ["hinge", "relativistic_pairing"])
def test_objectives_of_both_kinds(model: str, loss: str, small: Small) -> None:
    """A paired one, which needs D's logits on real images in G's turn, and another."""
    settings = ["max_images=48", f"loss={loss}", "logger=none", "model.regularizer=null", *GAME.get(model, [])]
    gan = trained(small(model, *settings))
    assert played(gan) == {"D": 3, "G": 3}
    assert all(parameter.isfinite().all() for parameter in gan.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("model", OPEN)
def test_penalties(model: str, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lazy ones in every second of D's turns, and the gradient penalty with the Wasserstein objective."""
    terms: list[set[str]] = []
    observe = Log.observe
    watch = lambda self, name, values: (terms.append(set(values)) if name == "D" else None, observe(self, name, values))
    monkeypatch.setattr(Log, "observe", watch)
    settings = ["loss=non_saturating", "regularizer=r1", "model.regularizer.every=2", *GAME.get(model, [])]
    trained(small(model, "max_images=64", *settings))
    assert ["r1" in names for names in terms if "adversarial" in names] == [True, False] * 2
    if model in MIXES_IMAGES:
        return
    settings = ["loss=wasserstein", "regularizer=gradient_penalty", *WITHOUT_BATCHNORM.get(model, [])]
    settings += GAME.get(model, [])
    terms.clear()
    trained(small(model, "max_images=32", *settings))
    assert ["gradient_penalty" in names for names in terms if "adversarial" in names] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("model", OPEN)
def test_where_penalties_are_taken(model: str, small: Small) -> None:
    """With augmentation at the image or at the augmented one, which draw the same; without, that says nothing."""
    settings = ["max_images=32", "regularizer=r1_r2", "model.augment.interval=16", "model.augment.probability=0.6"]
    settings += ["model.growth=none"] if model == "stylegan_lite" else []
    for augment, alike in ("ada", False), ("none", True):
        chosen = [f"augment={augment}", *(settings if augment == "ada" else settings[:2]), *GAME.get(model, [])]
        chosen += ["loss=hinge"]
        image, augmented = (
            trained(small(model, *chosen, f"model.regularizer.at={at}")) for at in ("image", "augmented")
        )
        assert torch.equal(image.rng.get_state(), augmented.rng.get_state()), "the same is drawn"
        pairs = zip(image.D.parameters(), augmented.D.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) is alike


@pytest.mark.slow
@pytest.mark.parametrize("model", OPEN)
def test_d_sees_augmented_images_only_in_both_turns(model: str, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real and fake ones; ADA's strength moves with them."""
    augmented: set[int] = set()
    kept: list[Tensor] = []  # so that no other tensor gets their place
    turns: list[tuple[str, int]] = []
    augment, build = Augment.forward, GAN.on_fit_start

    def marked(self: Augment, images: Tensor, *args: Any) -> Tensor:
        kept.append(augment(self, images, *args))
        augmented.add(kept[-1].data_ptr())
        return kept[-1]

    def watched(self: GAN) -> None:
        def look(module: nn.Module, inputs: Any) -> None:
            if self._turn is not None:
                assert inputs[0].data_ptr() in augmented, "D sees an image as it is"
                turns.append((self._turn.player, self.turns["D"]))

        build(self)
        self.D.register_forward_pre_hook(look)

    monkeypatch.setattr(Augment, "forward", marked)
    monkeypatch.setattr(GAN, "on_fit_start", watched)
    settings = ["augment=ada", "model.augment.speed=1_000", "model.augment.interval=16", "model.regularizer=null"]
    settings += [
        "loss=relativistic_pairing",
        *GAME.get(model, []),
    ]  # which needs D's logits on real images in G's turn too
    gan = trained(
        small(model, "max_images=32", "model.growth=none" if model == "stylegan_lite" else "seed=1", *settings)
    )
    assert turns == [(player, step) for step in (1, 2) for player in ("D", "D", "G", "G")]
    assert gan.T.p.item() > 0 or gan.T.signs.item() == 0
    assert gan.state_dict()["T.p"] == gan.T.p


@pytest.mark.parametrize("model", sorted({*MODELS} - {*OPEN}))
def test_what_has_no_effect_is_refused(model: str, small: Small) -> None:
    """From Python too, where nobody has looked at the command line."""
    for group, row, sentence in (("augment", "ada", "without augmentation"), ("regularizer", "r1", "no gradient")):
        cfg = small(model, "max_images=16", *GAME.get(model, []))
        cfg.model[group] = table(group)[row]
        sentence = "acts on a discriminator" if model in ALONE else sentence
        with pytest.raises(ValueError, match=sentence):
            trained(cfg)
