"""The base: turns, time, schedules, randomness and the books, on a game small enough to compute by hand."""

from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from zoo.batch import LabelledImages
from zoo.game.gan import GAN, linear_decay


class Books(Logger):
    """Remembers what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    name = property(lambda self: "books")  # type: ignore[assignment]
    version = property(lambda self: "")  # type: ignore[assignment]

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:  # type: ignore[override]
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...


class Duel(GAN):
    """Two scalars: D descends (d - g)^2 + d^2, G descends (g - d)^2."""

    def __init__(
        self, *, latent_dim: int = 3, lr: float = 0.1, clip_norm: float | None = None, bad: float = 0.0
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.D, self.G = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.D.weight, 2.0)
        nn.init.constant_(self.G.weight, 1.0)
        self.log_every = 4
        self.seen: list[Tensor] = []

    def players(self) -> dict[str, torch.optim.Optimizer]:
        return {name: torch.optim.SGD(getattr(self, name).parameters(), lr=self.hparams["lr"]) for name in "DG"}

    def lr_scale(self, player: str, images: int) -> float:
        return linear_decay(images, 4, 8) if player == "D" else 1.0

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        d, g = self.D.weight.squeeze(), self.G.weight.squeeze()
        self.seen.append(self.latent(2))
        with self.turn("D", clip_norm=self.hparams["clip_norm"]) as minimize:
            assert not self.G.weight.requires_grad
            minimize(match=(d - g) ** 2, small=d**2 + self.hparams["bad"] * d)
        assert self.G.weight.requires_grad
        with self.turn("G") as minimize:
            assert not self.D.weight.requires_grad
            minimize(match=(self.G.weight.squeeze() - self.D.weight.squeeze()) ** 2)


class Four(L.LightningDataModule):
    """Batches of 2 images, 4 images an epoch."""

    def train_dataloader(self) -> DataLoader:
        batch = LabelledImages(torch.zeros(2, 1, 4, 4), torch.zeros(2), torch.arange(2))
        return DataLoader([batch] * 2, batch_size=None)  # type: ignore[arg-type]


def play(model: GAN, epochs: int = 1) -> Books:
    books = Books()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=books,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(model, Four())
    return books


def test_a_step_is_the_hand_computed_one() -> None:
    model = Duel()
    play(model)
    d, g = 2.0, 1.0
    for _ in range(2):
        d -= 0.1 * (2 * (d - g) + 2 * d)  # the sum of both terms
        g -= 0.1 * 2 * (g - d)  # against the new d, d's own gradient untouched
    assert model.D.weight.item() == pytest.approx(d)
    assert model.G.weight.item() == pytest.approx(g)


def test_clipping_bounds_the_step_and_logs_the_norm_before_it() -> None:
    model = Duel(clip_norm=1.0)
    books = play(model)
    assert model.D.weight.item() == pytest.approx(2.0 - 0.1 - 0.1, abs=1e-6)  # gradients of 6 and more, clipped to 1
    norms = [row["D/grad_norm"] for _, row in books.rows if "D/grad_norm" in row]
    assert norms[0] > 1.0


def test_time_is_images_and_the_books_hold_every_term() -> None:
    model = Duel()
    books = play(model, epochs=3)
    assert model.images == 12
    assert [step for step, _ in books.rows] == [4, 8, 12]
    first = books.rows[0][1]
    assert {"D/match", "D/small", "G/match", "D/grad_norm", "G/grad_norm", "D/lr", "G/lr"} == first.keys()
    d1 = 2.0 - 0.1 * 6.0
    assert first["D/small"] == pytest.approx((4.0 + d1**2) / 2)  # the mean over the window of two steps


def test_learning_rates_follow_the_schedule() -> None:
    books = play(Duel(), epochs=4)
    assert [row["D/lr"] for _, row in books.rows] == pytest.approx([0.1, 0.05, 0.0, 0.0])  # before images 2, 6, 10, 14
    assert {row["G/lr"] for _, row in books.rows} == {0.1}


def test_linear_decay() -> None:
    assert [linear_decay(i, 10, 20) for i in (0, 10, 15, 20, 30)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert [linear_decay(i, 20, 10) for i in (15, 20, 30)] == [1.0, 1.0, 0.0], "never above 1"
    assert linear_decay(11, 10, 10) == 0.0
    assert linear_decay(1000, None, 20) == 1.0


def test_nan_stops_and_names_player_and_term() -> None:
    with pytest.raises(FloatingPointError, match="D/small is nan, at image 2"):
        play(Duel(bad=float("nan")))


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
        def players(self) -> dict[str, torch.optim.Optimizer]:
            return {"D": torch.optim.SGD(self.D.parameters())}

    class Shared(Duel):
        def players(self) -> dict[str, torch.optim.Optimizer]:
            return {"D": torch.optim.SGD(self.parameters()), "G": torch.optim.SGD(self.G.parameters())}

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
