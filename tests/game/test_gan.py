"""The base, on a game small enough to compute by hand: what acts without a line in a variant, and what one forgets."""

import math
from collections.abc import Callable
from typing import Any, Literal, Unpack

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from zoo.batch import LabelledImages
from zoo.game.abilities import FromLatents
from zoo.game.augment import Augment
from zoo.game.gan import GAN
from zoo.game.regularizers import Regularizer
from zoo.game.settings import Count, Game, Share, completed, decay

OFF = dict.fromkeys(
    [
        *("flip", "quarter_turn", "integer_translation", "scale", "rotation", "anisotropy", "fractional_translation"),
        *("brightness", "contrast", "luma_flip", "hue", "saturation", "color", "translation", "cutout"),
    ],
    0,
)
FLIPS = dict.fromkeys(["flip", "quarter_turn", "luma_flip"], False)
ADA = {"probability": 0.5, "target": 0.6, "speed": 100, "interval": 2, **OFF, **FLIPS, "brightness": 0.2}
R1 = {"r1": 1.0, "r2": 0.0, "gradient_penalty": 0.0, "every": 1}


class Rows(Logger):
    """Remembers what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    name = property(lambda self: "rows")  # type: ignore[assignment]
    version = property(lambda self: "")  # type: ignore[assignment]

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:  # type: ignore[override]
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...


class Duel(GAN, FromLatents):
    """Two scalars: D descends (d - g)^2 + d^2, G descends (g - d)^2; D takes every real image for real, and half of the
    fakes: an accuracy of 0.75."""

    def __init__(self, *, latent_dim: int = 3, bad: float = 0.0, forget: str = "", **game: Unpack[Game]) -> None:
        super().__init__(**({"lr": {"D": 0.1, "G": 0.1}, "ema_half_life": 10.0} | game))  # type: ignore[misc]
        self.latent_dim, self.bad, self.forget = latent_dim, bad, forget
        self.D, self.G = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.D.weight, 2.0)
        nn.init.constant_(self.G.weight, 1.0)
        self.G_ema = None if forget == "average" else self.average(self.G)
        self.run_log.every = 4
        self.seen: list[Tensor] = []

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def optimizer(self, player: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.game["lr"][player])

    def logit(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3)) * self.D.weight.squeeze()

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        self.seen.append(self.latent(2))
        real = fake = batch.image
        with self.turn("D") as minimize:
            d, g = self.D.weight.squeeze(), self.G.weight.squeeze()
            assert not self.G.weight.requires_grad
            if self.forget != "T":
                real, fake = self.T(real), self.T(fake)
            if self.forget != "judge":
                self.judge(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 1.0]))
            terms = {} if self.forget == "penalties" else self.penalties(self.logit, real, fake)
            terms = {} if self.forget == "terms" else terms
            if self.forget != "step":
                minimize(match=(d - g) ** 2, small=d**2 + self.bad * d, **terms)
        assert self.G.weight.requires_grad
        if self.forget != "G" and (self.forget == "due" or self.due("G")):
            with self.turn("G") as minimize:
                assert not self.D.weight.requires_grad
                if self.forget != "T in G's turn":
                    self.T(fake)
                if self.forget == "whose judgement":
                    self.judge(torch.tensor([1.0]), torch.tensor([1.0]))
                minimize(adversarial=(self.G.weight.squeeze() - self.D.weight.squeeze()) ** 2)

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.best(self.G)(z[:, :1])


class Four(L.LightningDataModule):
    """Batches of 2 images, 4 images an epoch."""

    def train_dataloader(self) -> DataLoader:
        batch = LabelledImages(torch.zeros(2, 1, 4, 4), torch.zeros(2), torch.arange(2))
        return DataLoader([batch] * 2, batch_size=None)  # type: ignore[arg-type]


def play(model: GAN, epochs: int = 1) -> Rows:
    rows = Rows()
    quiet = dict.fromkeys(["enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    trainer = L.Trainer(accelerator="cpu", max_epochs=epochs, logger=rows, log_every_n_steps=1, **quiet)  # type: ignore[arg-type]
    trainer.fit(model, Four())
    return rows


def by_hand(steps: int, *, lr: Callable[[str, int], float] = lambda player, images: 0.1, clip: float = math.inf,
            n_critic: int = 1) -> tuple[float, float, list[float]]:  # fmt: skip
    """d, g and the g of each step, in steps of 2 images."""
    d, g, gs = 2.0, 1.0, []
    clipped = lambda gradient: max(-clip, min(clip, gradient))
    for step in range(steps):
        d -= lr("D", 2 * step) * clipped(2 * (d - g) + 2 * d)  # the sum of both terms
        if (step + 1) % n_critic == 0:
            g -= lr("G", 2 * step) * clipped(2 * (g - d))  # against the new d, d's own gradient untouched
        gs.append(g)
    return d, g, gs


def weights(model: Duel) -> tuple[float, float]:
    return model.D.weight.item(), model.G.weight.item()


def test_a_step_is_the_hand_computed_one() -> None:
    model = Duel()
    play(model)
    assert weights(model) == pytest.approx(by_hand(2)[:2])


def test_each_player_has_its_rate() -> None:
    model = Duel(lr={"D": 0.1, "G": 0.03})
    play(model)
    assert weights(model) == pytest.approx(by_hand(2, lr=lambda player, _: {"D": 0.1, "G": 0.03}[player])[:2])


def test_clipping_bounds_both_players_steps_and_logs_the_norm_before_it() -> None:
    model = Duel(clip_norm=0.5)
    rows = play(model)
    assert weights(model) == pytest.approx(by_hand(2, clip=0.5)[:2], abs=1e-5)
    for player in "DG":
        assert max(row[f"{player}/grad_norm"] for _, row in rows.rows) > 0.5


def test_rates_of_both_players_fall_and_a_half_is_of_the_end() -> None:
    factor = lambda images: 1.0 if images <= 4 else max(8 - images, 0) / 4
    for settings in ({"decay_start": 4, "decay_end": 8}, {"decay_start": "half", "decay_end": 8}):
        model = Duel(lr={"D": 0.1, "G": 0.05}, **settings)  # type: ignore[arg-type]
        rows = play(model, epochs=3)
        expected = by_hand(6, lr=lambda player, images: {"D": 0.1, "G": 0.05}[player] * factor(images))
        assert weights(model) == pytest.approx(expected[:2])
        assert [row["D/lr"] for _, row in rows.rows] == pytest.approx([0.1, 0.05, 0.0])  # before images 2, 6, 10
        assert [row["G/lr"] for _, row in rows.rows] == pytest.approx([0.05, 0.025, 0.0])


def test_other_players_wait_for_n_critic_turns() -> None:
    model = Duel(n_critic=3)
    play(model, epochs=3)
    assert model.turns == {"D": 6, "G": 2}
    assert weights(model) == pytest.approx(by_hand(6, n_critic=3)[:2])


@pytest.mark.parametrize(("limit", "moves"), [(0.01, False), (0.7, False), (0.8, True), (0.99, True)])
def test_a_critic_that_is_too_strong_skips_by_its_accuracy_on_real_and_fake(
    limit: float, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    penalties = Regularizer.__call__
    watched = lambda self, *args, turn, **kwargs: (computed.append(turn), penalties(self, *args, turn=turn, **kwargs))[
        1
    ]
    monkeypatch.setattr(Regularizer, "__call__", watched)
    model = Duel(skip_d_above=limit, regularizer=R1)
    rows = play(model)
    assert computed == ([1, 2] if moves else []), "no penalty is computed for a turn that is skipped"
    assert (weights(model)[0] != 2.0) is moves
    assert model.turns == {"D": 2, "G": 2}, "a turn that is skipped counts"
    assert ("D/match" in rows.rows[0][1]) is moves
    assert rows.rows[0][1]["D/accuracy_fake"] == 0.5, "it is judged all the same"


def test_a_critic_skips_by_the_mean_over_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GAN, "over_ranks", lambda self, value: torch.zeros_like(value))  # elsewhere D is always wrong
    model = Duel(skip_d_above=0.7)
    play(model)
    assert weights(model) == pytest.approx(by_hand(2)[:2])


@pytest.mark.parametrize("early", [False, True])
def test_averages_follow_once_in_each_step(early: bool) -> None:
    class Early(Duel):
        def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
            super().training_step(batch, batch_idx)
            self.move_averages()

    model = (Early if early else Duel)(ema_half_life=0.2)
    play(model, epochs=4)
    mean, seen = 1.0, 0
    for g in by_hand(8)[2]:
        half_life = min(0.2, 0.05 * seen)  # the warm-up
        beta = 0.5 ** (2 / half_life) if half_life else 0.0
        mean, seen = beta * mean + (1 - beta) * g, seen + 2
    assert model.G_ema is not None
    assert model.G_ema.module.weight.item() == pytest.approx(mean)
    assert model.averaged
    z = torch.ones(1, 3)
    assert model.from_latents(z).item() == pytest.approx(mean)
    plain = Duel(ema_half_life=None)
    play(plain)
    assert plain.G_ema is None
    assert not plain.averaged
    assert plain.from_latents(z).item() == pytest.approx(plain.G.weight.item())
    assert plain.G.training


def test_augmentation_adapts_after_each_step_and_is_logged() -> None:
    model = Duel(augment=ADA)
    rows = play(model)
    assert isinstance(model.T, Augment)
    assert model.T.p.item() == pytest.approx(0.5 + 2 * 2 / 100)  # r_t is 1, above its target, in two steps of 2 images
    assert rows.rows[0][1]["T/p"] == pytest.approx((0.52 + 0.54) / 2)
    assert model.T.generator is model.rng


def test_penalties_are_terms_of_the_critics_turn() -> None:
    model = Duel(regularizer=R1)
    rows = play(model)
    assert "D/r1" in rows.rows[0][1]
    assert "G/r1" not in rows.rows[0][1]


@pytest.mark.parametrize(
    ("forget", "settings", "sentence"),
    [
        ("judge", {}, "was not judged"),
        ("judge", {"skip_d_above": 0.5}, "was not judged"),
        ("step", {}, "Duel's turn of D minimised nothing"),
        ("penalties", {"regularizer": R1}, "no gradient penalties"),
        ("T", {"augment": ADA}, "without augmentation in D's turn"),
        ("T in G's turn", {"augment": ADA}, "without augmentation in G's turn"),
        ("T in G's turn", {"augment": ADA, "loss": "relativistic_pairing"}, "without augmentation in G's turn"),
        ("", {"augment": ADA, "loss": "relativistic_pairing"}, "without augmentation in G's turn"),  # of the real ones
        ("terms", {"regularizer": R1}, "r1 not minimised"),
        ("whose judgement", {}, "judge belongs into a turn of D"),
        ("G", {}, "D had 2 turns and G 0"),
        ("average", {}, "averages nothing"),
        ("due", {"n_critic": 2}, "not G's turn after 1 turns of D with n_critic=2"),
    ],
)
def test_what_a_variant_forgets_is_an_error(forget: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        play(Duel(forget=forget, **settings))


def test_what_is_off_may_be_forgotten() -> None:
    off = {"r1": 0.0, "r2": 0.0, "gradient_penalty": 0.0, "every": 1}
    play(Duel(forget="penalties", regularizer=off))
    play(Duel(forget="T", augment={**ADA, "brightness": 0.0, "target": None}))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lr": {"D": 0.1}}, r"no.* for G: set model\.lr\.G"),
        ({"lr": {"D": -0.1, "G": 0.1}}, r"model\.lr\.D=-0\.1"),
        ({"betas": [0.5]}, r"model\.betas=\[0\.5\]"),
        ({"n_critic": 0}, r"model\.n_critic=0"),
        ({"n_critic": 1.5}, r"model\.n_critic=1\.5"),
        ({"lr": 0.1}, r"model\.lr=0\.1: expected settings"),
        ({"betas": None}, r"model\.betas=None"),
        ({"clip_norm": -1.0}, r"model\.clip_norm=-1\.0"),
        ({"clip_norm": float("nan")}, r"model\.clip_norm=nan"),
        ({"ema_half_life": -5}, r"model\.ema_half_life=-5"),
        ({"decay_start": -5, "decay_end": 9}, r"model\.decay_start=-5"),
        ({"skip_d_above": 90}, r"model\.skip_d_above=90"),
        ({"skip_d_above": 1.0}, r"model\.skip_d_above=1\.0 must be an accuracy between 0 and 1"),
        ({"clip_norm": 0.0}, r"model\.clip_norm=0\.0 must be positive"),
        ({"lr": {"D": float("nan"), "G": 0.1}}, r"model\.lr\.D=nan must be a finite number"),
        ({"betas": [0.5, 1.0]}, r"model\.betas\[1\]=1\.0 must be in \[0, 1\)"),
        ({"decay_start": 5}, r"model\.decay_start=5 needs an end"),
        ({"decay_start": "third", "decay_end": 9}, r"model\.decay_start=third"),
        ({"loss": "hinges"}, "must be one of non_saturating"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], sentence: str) -> None:
    class Adam(Duel):
        optimizer = GAN.optimizer

    with pytest.raises(ValueError, match=sentence):
        play(Adam(**settings))


def test_a_setting_that_is_not_the_games_is_refused_and_the_rest_is_remembered() -> None:
    with pytest.raises(TypeError, match="'clipnorm'"):
        Duel(clipnorm=1.0)  # type: ignore[call-arg]
    hparams = Duel(latent_dim=5, clip_norm=2.0).hparams
    assert (hparams["latent_dim"], hparams["clip_norm"], hparams["n_critic"]) == (5, 2.0, 1)


def test_decay() -> None:
    at = lambda images, start, end: decay(completed({"decay_start": start, "decay_end": end}), images)
    assert [at(i, 10, 20) for i in (0, 10, 15, 20, 30)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    for start, end in ((20, 10), (10, 10)):
        with pytest.raises(ValueError, match=rf"decay_start={start} must lie before model\.decay_end={end}"):
            at(0, start, end)
    assert at(1000, None, 20) == 1.0


def test_time_is_images_and_the_log_holds_every_term() -> None:
    model = Duel()
    rows = play(model, epochs=3)
    assert model.images == 12
    assert [step for step, _ in rows.rows] == [4, 8, 12]
    first = rows.rows[0][1]
    terms = {"D/match", "D/small", "G/adversarial", "D/grad_norm", "G/grad_norm", "D/lr", "G/lr"}
    judgement = {"D/accuracy_real", "D/accuracy_fake", "D/logit_real", "D/logit_fake"}
    assert first.keys() == terms | judgement
    d1 = 2.0 - 0.1 * 6.0
    assert first["D/small"] == pytest.approx((4.0 + d1**2) / 2)  # the mean over the window of two steps
    assert model.run_log.latest == rows.rows[-1][1]


def test_nan_stops_and_names_player_and_term() -> None:
    duel = Duel()
    duel.bad = float("nan")
    with pytest.raises(FloatingPointError, match="D/small is nan, at image 2"):
        play(duel)


@pytest.mark.parametrize("game", ["unknown", "twice", "nothing"])
def test_misused_turns(game: str) -> None:
    class Wrong(Duel):
        def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
            with self.turn("E" if game == "unknown" else "D") as minimize:
                terms = {} if game == "nothing" else {"match": self.D.weight.sum()}
                minimize(**terms)
                minimize(**terms)

    expected = {"unknown": "no player 'E'; the players are D, G", "twice": "once", "nothing": "at least one"}
    with pytest.raises(ValueError, match=expected[game]):
        play(Wrong())


def test_a_step_that_is_inherited_or_extended_ends_once() -> None:
    class Mixin:
        training_step = vars(Duel)["training_step"].__wrapped__

    class Inherits(Mixin, Duel):
        pass

    class Extends(Duel):
        def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
            super().training_step(batch, batch_idx)

    plain, *others = Duel(augment=ADA), Inherits(augment=ADA), Extends(augment=ADA)
    for model in (plain, *others):
        play(model)
        assert isinstance(model.T, Augment)
        assert model.T.p.item() == pytest.approx(0.54)
        assert model.G_ema.module.weight.item() == plain.G_ema.module.weight.item()  # type: ignore[union-attr]


def test_a_step_without_a_turn_is_refused() -> None:
    class Idle(Duel):
        def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
            pass

    with pytest.raises(ValueError, match="gave no player a turn"):
        play(Idle())


def test_batch_normalisation_under_a_gradient_penalty_is_refused() -> None:
    model = Duel(regularizer={**R1, "r1": 0.0, "gradient_penalty": 10.0})
    model.D = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))  # type: ignore[assignment]
    with pytest.raises(ValueError, match="BatchNorm mixes the images"):
        play(model)


@pytest.mark.parametrize("method", ["judge", "penalties"])
def test_what_belongs_into_a_turn(method: str) -> None:
    model = Duel()
    x = torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"belongs? into a turn"):
        model.judge(x, x) if method == "judge" else model.penalties(model.logit, x, x)


def test_an_exception_in_a_turn_unfreezes_the_others() -> None:
    class Broken(Duel):
        def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
            with self.turn("D"):
                raise KeyError("oops")

    model = Broken()
    with pytest.raises(KeyError):
        play(model)
    assert model.G.weight.requires_grad


def test_parameters_without_a_player_or_with_two_are_refused() -> None:
    class Forgotten(Duel):
        def players(self) -> dict[str, list[nn.Module]]:
            return {"D": [self.D]}

    class Shared(Duel):
        def players(self) -> dict[str, list[nn.Module]]:
            return {"D": [self.D, self.G], "G": [self.G]}

    with pytest.raises(ValueError, match=r"no player trains G\.weight"):
        play(Forgotten())
    with pytest.raises(ValueError, match="D and G share"):
        play(Shared())


def latents(seed: int, rank: int = 0) -> Tensor:
    L.seed_everything(seed, verbose=False)
    model = Duel()
    if rank:
        model._trainer = type("Trainer", (), {"global_rank": rank})()  # type: ignore[assignment]
    return torch.cat([model.latent(4), model.latent(4)])


def test_latents_are_reproducible_and_differ_by_seed_and_rank() -> None:
    assert torch.equal(latents(1), latents(1))
    assert not torch.equal(latents(1)[:4], latents(1)[4:])
    others = [latents(1), latents(2), latents(1, rank=1), latents(2, rank=1), latents(1, rank=2)]
    assert len({tuple(z.flatten().tolist()) for z in others}) == len(others)


def test_latents_do_not_depend_on_the_global_random_state() -> None:
    L.seed_everything(1, verbose=False)
    model = Duel()
    torch.rand(100)
    assert torch.equal(model.latent(4), latents(1)[:4])


def test_a_seed_names_a_latent_whatever_the_batch() -> None:
    model = Duel()
    bank = model.latent_of(torch.arange(10))
    assert torch.equal(model.latent_of([7]), bank[7:8])
    assert torch.equal(model.latent_of(torch.tensor([3, 1])), bank[[3, 1]])
    assert len({tuple(z.tolist()) for z in bank}) == 10


def test_latents_are_standard_normal() -> None:
    z = Duel(latent_dim=50).latent_of(range(2000))
    assert abs(z.mean().item()) < 0.02
    assert abs(z.std().item() - 1) < 0.02


class Bounded(Duel):
    """With settings that their annotations bound."""

    def __init__(self, *, norm: Literal["batch", "none"] = "none", width: Count | None = None,
                 mixing: Share = 0.5, **game: Unpack[Game]) -> None:  # fmt: skip
        super().__init__(**game)


def test_a_variant_s_settings_are_held_to_their_annotations() -> None:
    Bounded(norm="batch", width=1, mixing=1.0)
    for setting, sentence in (
        ({"norm": "layer"}, r"model\.norm=layer must be one of batch, none"),
        ({"width": 0}, r"model\.width=0 must be 1 or more"),
        ({"mixing": 1.5}, r"model\.mixing=1\.5 must be in \[0, 1\]"),
        ({"mixing": math.nan}, r"model\.mixing=nan must be a finite number"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Bounded(**setting)  # type: ignore[arg-type]


class Alone(GAN):
    """One scalar that descends g^2: nobody judges."""

    def __init__(self, *, judges: bool = False, **game: Unpack[Game]) -> None:
        super().__init__(**({"lr": {"G": 0.1}, "ema_half_life": None} | game))  # type: ignore[misc]
        self.G, self.judges = nn.Linear(1, 1, bias=False), judges
        nn.init.constant_(self.G.weight, 1.0)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G]}

    def optimizer(self, player: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.game["lr"][player])

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        with self.turn("G") as minimize:
            if self.judges:
                self.judge(torch.ones(1), torch.ones(1))
            minimize(small=self.G.weight.squeeze() ** 2)


def test_a_game_of_one_player_has_no_critic() -> None:
    model = Alone()
    play(model, epochs=2)
    assert model.G.weight.item() == pytest.approx(0.8**4)  # g -= 0.1 * 2 g
    assert (model.critic, model.critics(), model.turns) == (None, [], {"G": 4})
    assert model.due("G")
    assert list(model.deployed()) == ["G"]
    with pytest.raises(ValueError, match="Alone has one player, and so no critic to judge"):
        play(Alone(judges=True))
    for setting, said in (
        ({"loss": "hinge"}, "model.loss=hinge acts on a discriminator, and Alone has none: leave it out"),
        ({"n_critic": 2}, "model.n_critic=2 acts on"),
        ({"skip_d_above": 0.9}, "model.skip_d_above=0.9 acts on"),
        ({"freeze_d": 1}, "model.freeze_d=1 acts on"),
        ({"regularizer": R1}, "regularizer acts on"),
        ({"augment": ADA}, "augment acts on"),
    ):
        with pytest.raises(ValueError, match=said):
            Alone(**setting).configure_optimizers()  # type: ignore[arg-type]
