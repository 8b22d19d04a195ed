"""What is not finite is held back where it is computed, and heard of a step later."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from common import SMALL, make, same, train_on
from omegaconf import DictConfig

from train import run
from zoo.batch import LabelledImages
from zoo.game.finite import Diverged, Finite
from zoo.game.gan import GAN
from zoo.game.turn import Minimize, Turn

Small = Callable[..., DictConfig]


def bad_from(images: int, player: str, seen: list[GAN], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a player's objective be no number in the step that ends at so many images, and in none after it."""
    turn = GAN.turn

    @contextmanager
    def bad(self: GAN, whose: str) -> Iterator[Minimize]:
        seen[:] = [self]
        factor = float("nan") if (whose, self.images) == (player, images) else 1.0
        with turn(self, whose) as minimize:
            yield lambda **terms: minimize(**{name: term * factor for name, term in terms.items()})

    monkeypatch.setattr(GAN, "turn", bad)


def kept(gan: GAN) -> dict[str, Any]:
    """Weights and moments."""
    return {"weights": dict(gan.named_parameters()), **{p: o.state_dict()["state"] for p, o in gan._players.items()}}


@pytest.mark.parametrize("options", [[], ["model.skip_d_above=0.99"], ["model.clip_norm=1"]])
def test_the_state_is_that_before_the_bad_step(
    options: list[str], small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing moves in it or after it, D as little as G; the sentence names it, though it is a step late."""
    more = ["metrics=none", "logger=none", "model.ema_half_life=null", *options]
    straight = run(small("vanilla", "max_images=64", *more)).lightning_module
    seen: list[GAN] = []
    bad_from(80, "D", seen, monkeypatch)
    cfg = small("vanilla", "max_images=128", "callbacks.checkpoints.every=1_000", *more)
    cfg.run_dir += "-bad"
    with pytest.raises(Diverged, match="D/adversarial is nan, at image 80: training has diverged") as error:
        run(cfg)
    assert (seen[0].images, error.value.well) == (96, 64)
    assert same(kept(seen[0]), kept(straight))  # type: ignore[arg-type]


def test_the_last_step_is_heard_of_too(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    bad_from(128, "G", [], monkeypatch)
    with pytest.raises(Diverged, match="G/adversarial is nan, at image 128"):
        run(small("vanilla", "metrics=none", "logger=none", "callbacks.checkpoints.every=1_000"))


def test_the_first_of_several_is_named() -> None:
    finite = Finite()

    def turn(player: str, name: str, value: float) -> Turn:
        term = torch.tensor(value)
        return Turn(player, is_critic=False, terms={name: term}, lost=finite.lost(term.isfinite()))

    turns = [turn("D", "a", 1.0), Turn("D", is_critic=True), turn("G", "b", torch.inf)]  # in the second D made no step
    assert [made.lost for made in turns] == [0, None, 1]
    finite.end_step(turns, images=2, well=0, world_size=1)
    after = turn("D", "a", 1.0)
    assert after.lost == 1, "what follows is held back"
    assert turns[0].lost == 0
    assert finite.marked(torch.ones(())).isnan()
    with pytest.raises(Diverged, match="G/b is inf, at image 2") as error:
        finite.end_step([after], images=4, well=2, world_size=1)
    assert error.value.well == 0


def test_a_model_that_has_diverged_can_be_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gan = make("vanilla", *SMALL["vanilla"])
    label = torch.zeros(4, dtype=torch.int64)
    batch = LabelledImages(torch.rand(4, 1, 8, 8), label, torch.arange(4))
    with monkeypatch.context() as patch:
        bad_from(4, "G", [], patch)
        with pytest.raises(Diverged):
            train_on(gan, [batch])
    weights = {name: parameter.detach().clone() for name, parameter in gan.G.named_parameters()}
    train_on(gan, [batch])
    assert not same(weights, dict(gan.G.named_parameters()))
