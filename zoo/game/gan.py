"""The base of every variant: players, turns, randomness, schedules and the run's books. No maths of any paper.

A variant writes its networks, `players`, `training_step` (its paper's algorithm) and `preview`; see zoo/model/dcgan.py.
The base counts time in images shown to the discriminator, over all ranks: Lightning's `global_step` counts every
optimizer step, that is every turn.
"""

import math
import os
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.batch import Preview, to_unit
from zoo.game.averages import EMA

# An EMA's copy is meant to be in evaluation mode.
warnings.filterwarnings("ignore", ".*in eval mode at the start of training")


class Minimize(Protocol):
    """Minimise the sum of the named terms, each a scalar, with respect to the player whose turn it is."""

    def __call__(self, **terms: Tensor) -> None: ...


class GAN(L.LightningModule):
    """A game between players that take turns. Subclasses call `super().__init__()` and `save_hyperparameters()`."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.images = 0  # shown to the discriminator so far, over all ranks, the present batch included
        self.turns: dict[str, int] = {}  # each player's turns so far, the present one included
        self.log_every = 1_000  # images between two rows in the books
        self.lr_factor = 1.0  # on every learning rate, beside the schedule: lowered to recover from divergence
        self.latest: dict[str, float] = {}  # the newest value of everything published
        self.config: dict[str, Any] = {}  # the run's settings as plain data: a checkpoint alone tells how it was made
        self._players: dict[str, Optimizer] = {}
        self._settings: dict[str, list[dict[str, Any]]] = {}  # each player's rates, betas, ..., as configured
        self._names: dict[str, list[tuple[str, nn.Parameter]]] = {}  # each player's parameters, named
        self._random: dict[str, Any] | None = None  # a resumed run's random states, until training starts
        self._rng: torch.Generator | None = None
        self._window: dict[str, list[Tensor]] = {}  # what was observed since the last row
        self._row_due = False  # whether this step ends the window

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # Lightning writes it at every hook, forty times a step: spare Module's checks
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    # What a variant writes ------------------------------------------------------------------------------------------

    def players(self) -> dict[str, Optimizer]:
        """Each player's optimizer, over that player's parameters and no others."""
        raise NotImplementedError

    def preview(self, batch: Any) -> dict[str, Preview]:
        """The model's images beside real ones, from its best generator: all that metrics and sample grids ever see.

        Deterministic: the image at position i depends on the batch's row i alone (on its `index`, for latents).
        """
        raise NotImplementedError

    def generate(self, seeds: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] in [-1, 1], one for each seed, in variants that make images from latents.

        Class-conditional variants take a class for each, int64 [N]; None: the seed modulo the number of classes.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no images from nothing: give it images")

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] of latents z [N, latent_dim] and, if there are classes, labels int64 [N]."""
        raise NotImplementedError(f"{type(self).__name__} makes no images from latents")

    def critique(self, batch: Any) -> dict[str, Tensor]:
        """Each discriminator's logits [N, ...] on the real images of a batch, as {"D": ...}; {} where none fits.

        Health monitoring compares those of training images with those of images that no player has seen.
        """
        return {}

    @property
    def averaged(self) -> bool:
        """Whether `preview` and `generate` show an average of the generator."""
        return any(isinstance(child, EMA) for child in self.children())

    def lr_scale(self, player: str, images: int) -> float:
        """The factor on a player's learning rates after so many images: a variant's schedule; constant by default."""
        return 1.0

    def rank_state(self) -> dict[str, Any]:
        """What each process keeps for itself beside its random states, as plain data: a history of images, say."""
        return {}

    def load_rank_state(self, state: dict[str, Any]) -> None:
        """Take up what `rank_state` gave on this rank, when a resumed run starts to train."""

    def phase_at(self, images: int) -> str:
        """What the batch that ends at `images` is trained on, where that changes within a run."""
        return ""

    @property
    def phase(self) -> str:
        """That of the present batch. Each phase has its best checkpoint."""
        return self.phase_at(self.images)

    # Turns ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def turn(self, player: str, *, clip_norm: float | None = None) -> Iterator[Minimize]:
        """`player`'s turn: every other player is frozen, and `minimize(name=term, ...)` makes its one step.

            with self.turn("D") as minimize:
                minimize(adversarial=..., r1=...)

        The terms are the objective: summed, back-propagated, stepped, and written into the books as `D/adversarial`,
        `D/r1`. No call of `minimize` is no step.

        Args:
            player: a key of `players()`.
            clip_norm: the largest norm of the player's gradient. The norm before clipping is logged as `D/grad_norm`.

        Raises:
            ValueError: for an unknown player, a turn without terms, or a second `minimize` in a turn.
            FloatingPointError: if the objective or its gradient is not finite on any rank, before the step is made.
        """
        if player not in self._players:
            raise ValueError(f"there is no player {player!r}; the players are {', '.join(self._players)}")
        optimizers = self.optimizers()
        optimizer = optimizers[list(self._players).index(player)] if isinstance(optimizers, list) else optimizers
        self.turns[player] += 1
        moved = False

        def minimize(**terms: Tensor) -> None:
            nonlocal moved
            if moved or not terms:
                raise ValueError(f"a turn of {player} minimises once, and at least one term")
            moved = True
            optimizer.zero_grad()
            objective = sum(terms.values(), start=torch.zeros((), device=self.device))
            self.manual_backward(objective)
            parameters = [parameter for _, parameter in self._names[player]]
            gradients = [p.grad for p in parameters if p.grad is not None]
            # 0, or NaN where the objective is not finite on this rank: averaged, it reaches the norm on every rank.
            gradients[-1] += objective.detach() * 0
            if self.world_size > 1:
                self.trainer.strategy.average_gradients(player, self._names[player])  # type: ignore[attr-defined]
            norm = nn.utils.get_total_norm(gradients)
            if not norm.isfinite():  # on all ranks or on none
                raise FloatingPointError(self._diagnosis(player, terms))
            if clip_norm is not None:
                nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
            optimizer.step()
            self.observe(player, {**terms, "grad_norm": norm})

        others = [p for name, named in self._names.items() if name != player for _, p in named]
        trainable = [p for p in others if p.requires_grad]
        for parameter in trainable:
            parameter.requires_grad_(False)
        try:
            yield minimize
        finally:
            for parameter in trainable:
                parameter.requires_grad_(True)

    def configure_optimizers(self) -> list[Optimizer]:
        """The players' optimizers, in the order of `players()`."""
        self._players = self.players()
        for name, optimizer in self._players.items():
            self._settings[name] = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        owners: dict[int, str] = {}
        for name, optimizer in self._players.items():
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                if owners.setdefault(id(parameter), name) != name:
                    raise ValueError(f"players {owners[id(parameter)]} and {name} share a parameter")
        orphans = [n for n, p in self.named_parameters() if p.requires_grad and id(p) not in owners]
        if orphans:
            raise ValueError(
                f"no player trains {', '.join(orphans)}: add them to an optimizer in players() or freeze them"
            )
        for player in self._players:
            self.turns.setdefault(player, 0)
            self._names[player] = [(n, p) for n, p in self.named_parameters() if owners.get(id(p)) == player]
        self._check_trainer()
        return list(self._players.values())

    def compile_networks(self, **settings: Any) -> None:
        """Compile each network that a player trains (torch.compile), in place: checkpoints stay as they were.

        Averaged networks stay eager: they are run once in a while, on batches of other sizes. Gradient penalties, which
        compiled networks can't be differentiated twice for, run eagerly (zoo/game/regularizers.py).

        Args:
            settings: of torch.compile: mode, backend, ...
        """
        for network in self.children():
            if any(parameter.requires_grad for parameter in network.parameters()):
                network.compile(**settings)

    # Randomness -----------------------------------------------------------------------------------------------------

    @property
    def rng(self) -> torch.Generator:
        """This rank's own stream of random numbers, a function of the run's seed and the rank."""
        if self._rng is None:
            rank = self.trainer.global_rank if self._trainer is not None else 0
            self._rng = torch.Generator(self.device).manual_seed(torch.initial_seed() % 2**31 * 1_000_003 + rank + 1)
        return self._rng

    def latent(self, n: int) -> Tensor:
        """The next `n` latents of this rank's stream: z ~ N(0, I), [n, latent_dim]."""
        return torch.randn(n, self.hparams["latent_dim"], generator=self.rng, device=self.device)

    def latent_of(self, seeds: Tensor | Sequence[int]) -> Tensor:
        """One latent for each seed, [N, latent_dim]: the same on every device, in every batch, on every rank."""
        numbers = seeds.tolist() if isinstance(seeds, Tensor) else list(seeds)
        generator = torch.Generator()
        rows = [torch.randn(self.hparams["latent_dim"], generator=generator.manual_seed(seed)) for seed in numbers]
        return torch.stack(rows).to(self.device)

    @torch.no_grad()
    def sample(self, n: int = 16, *, seed: int = 0, labels: Sequence[int] | None = None) -> Tensor:
        """Generated images of the seeds `seed` to `seed + n - 1`, float32 [n, C, H, W] in [0, 1], on the CPU.

        Each seed's image is the same whatever the others, up to the float arithmetic of the batch.

        Args:
            n: how many.
            seed: the first image's.
            labels: each image's class, [n], for class-conditional variants; None: seed 0 has the first class, seed 1
                the second, and so on, over and over.

        Raises:
            ValueError: if n is not positive, for labels that are not n, and for labels where there are no classes.
        """
        if n < 1:
            raise ValueError(f"n={n} images: give 1 or more")
        seeds = torch.arange(seed, seed + n, device=self.device)
        if labels is None:
            return torch.cat([to_unit(self.generate(batch)).cpu() for batch in seeds.split(256)])
        if "classes" not in self.hparams:
            raise ValueError(f"{type(self).__name__} makes images without classes: train model=cgan on labelled data")
        if len(labels) != n:
            raise ValueError(f"{len(labels)} labels for n={n} images: give one for each")
        pairs = zip(seeds.split(256), torch.as_tensor(labels, device=self.device).split(256), strict=True)
        return torch.cat([to_unit(self.generate(*pair)).cpu() for pair in pairs])

    # Time and schedules ---------------------------------------------------------------------------------------------

    @property
    def world_size(self) -> int:
        """The number of processes that train this model."""
        return self.trainer.world_size if self._trainer is not None else 1

    def agreed(self, value: Tensor) -> float:
        """A scalar's mean over the ranks: what a decision that all ranks must take alike may depend on."""
        return float(self.over_ranks(value))

    @torch.no_grad()
    def over_ranks(self, value: Tensor) -> Tensor:
        """A tensor's mean over the ranks, without gradient: every rank calls it."""
        return self.trainer.strategy.reduce(value.detach().clone(), reduce_op="mean")

    def synchronise(self) -> None:
        """Make the buffers of all ranks equal: every rank calls it before the model is looked at."""
        if self.world_size > 1:
            self.trainer.strategy.equalise_buffers()  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        """Channels last: the layout in which convolutions are fastest, on CPUs and on GPUs alike."""
        self.to(memory_format=torch.channels_last)
        if self.device.type == "cpu":
            # Lightning sets it on import. In torch's CUDA build, each fused Adam step then looks for a driver.
            os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rates for the images seen so far, then count this batch."""
        for name, optimizer in self._players.items():
            scale = self.lr_factor * self.lr_scale(name, self.images)
            for group, settings in zip(optimizer.param_groups, self._settings[name], strict=True):
                group["lr"] = settings["lr"] * scale
        size = len(batch[0]) * self.world_size
        self.images += size
        self._row_due = self.images % self.log_every < size

    # The books ------------------------------------------------------------------------------------------------------

    def observe(self, player: str, values: Mapping[str, Tensor]) -> None:
        """Note scalars of this step under `player/name`; their means become a row every `log_every` images."""
        for name, value in values.items():
            self._window.setdefault(f"{player}/{name}", []).append(value.detach())

    def publish(self, values: Mapping[str, float]) -> None:
        """Write values into every logger, at the present number of images."""
        self.latest.update(values)
        for logger in self.trainer.loggers:
            logger.log_metrics(dict(values), step=self.images)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Publish the window when it is full."""
        if self._row_due:
            self._publish_window()

    def on_train_end(self) -> None:
        """Publish what the last window holds."""
        if self._window:
            self._publish_window()

    def _publish_window(self) -> None:
        """Publish the means of what was observed."""
        means = torch.stack([torch.stack(values).float().mean() for values in self._window.values()])
        means = self.trainer.strategy.reduce(means, reduce_op="mean")
        row = dict(zip(self._window, means.tolist(), strict=True))
        self._window.clear()
        for name, optimizer in self._players.items():
            row[f"{name}/lr"] = optimizer.param_groups[0]["lr"]
        self.publish(row)

    def _diagnosis(self, player: str, terms: Mapping[str, Tensor]) -> str:
        """Which term of this turn is not finite, on which rank."""
        bad = {f"{player}/{name}": value.item() for name, value in terms.items() if not value.isfinite()}
        ranks = self._of_every_rank(bad)
        found = [
            f"{name} is {value}" + (f" on rank {rank}" if len(ranks) > 1 else "")
            for rank, terms_of_rank in enumerate(ranks)
            for name, value in terms_of_rank.items()
        ]
        what = ", ".join(found) or f"the gradient of {player} is not finite, though its terms are"
        return (
            f"{what}, at image {self.images:,}: training has diverged. Lower the learning rates (model.lr.D=, "
            "model.lr.G=), clip gradients (model.clip_norm=1), or go on from the last checkpoint with half the rates "
            "(divergence_retries=1)"
        )

    # Checkpoints ----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a checkpoint needs beside Lightning's: variant, time, settings, each rank's random states and what else
        it keeps for itself."""
        mine = {
            "rng": self.rng.get_state(),
            "window": {name: torch.stack(values).cpu() for name, values in self._window.items()},
            "row_due": self._row_due,
            "python": random.getstate(),
            "numpy": [part.tolist() if hasattr(part, "tolist") else part for part in np.random.get_state()],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "own": self.rank_state(),
        }
        checkpoint["zoo"] = {
            "variant": f"{type(self).__module__}.{type(self).__qualname__}",
            "images": self.images,
            "turns": self.turns,
            "latest": self.latest,
            "lr_factor": self.lr_factor,
            "config": self.config,
            "ranks": self._of_every_rank(mine),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the time, and this rank's random states once training starts."""
        self.images = checkpoint["zoo"]["images"]
        self.turns |= checkpoint["zoo"]["turns"]
        self.latest |= checkpoint["zoo"].get("latest", {})  # not in checkpoints of before 2026-11-21
        self.lr_factor = min(self.lr_factor, checkpoint["zoo"]["lr_factor"])
        ranks = checkpoint["zoo"]["ranks"]
        if len(ranks) == self.world_size:
            self._random = ranks[self.trainer.global_rank]
        elif self.trainer.is_global_zero:
            print(
                f"resuming a run of {len(ranks)} processes on {self.world_size}: networks, optimizers, time and data "
                "go on; latents come from new streams, and what each process keeps for itself (a history of images) "
                "begins anew, so the run is not bit for bit the one that was interrupted",
                flush=True,
            )

    def on_train_start(self) -> None:
        """Take up the random states of a resumed run, and the row that was being written.

        Of the optimizers a checkpoint restores the moments; rates and betas are those that are configured now.
        """
        for name, optimizer in self._players.items():
            for group, settings in zip(optimizer.param_groups, self._settings[name], strict=True):
                group.update(settings)
        if self._random is None:
            return
        mine, self._random = self._random, None
        self.rng.set_state(mine["rng"])
        random.setstate(mine["python"])
        np.random.set_state(tuple(mine["numpy"]))
        torch.set_rng_state(mine["torch"])
        if mine["cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(mine["cuda"], self.device)
        self.load_rank_state(mine.get("own", {}))  # checkpoints of before 2026-11-21 have none
        self._window = {name: list(values.to(self.device).unbind()) for name, values in mine["window"].items()}
        if mine["row_due"] and self._window:
            self._publish_window()

    def _of_every_rank(self, mine: Any) -> list[Any]:
        """What each rank holds, in order."""
        ranks = [mine] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(ranks, mine)
        return ranks

    def _check_trainer(self) -> None:
        """Refuse what can't be right, before the first step."""
        if self._trainer is None:
            return
        if self.trainer.world_size > 1 and not hasattr(self.trainer.strategy, "average_gradients"):
            raise ValueError(
                f"{type(self.trainer.strategy).__name__} can't train players that take turns: use trainer=ddp or "
                "trainer=ddp_cpu (zoo.game.strategy.TurnDDP)"
            )
        if str(self.trainer.precision) in ("16-true", "bf16-true"):
            raise ValueError(f"trainer.precision={self.trainer.precision} keeps weights in 16 bits: use bf16-mixed")
        if str(self.trainer.precision) == "16-mixed":
            raise ValueError("trainer.precision=16-mixed scales losses, which turns do not undo: use bf16-mixed")


def check_players(hparams: Mapping[str, Any]) -> None:
    """The settings of the players that all variants have: lr, betas, n_critic, skip_d_above.

    Raises:
        ValueError: naming the one that makes no sense.
    """
    for player, lr in hparams["lr"].items():
        if not 0 <= lr < math.inf:
            raise ValueError(f"model.lr.{player}={lr} must be a finite number from 0 on; 0 keeps the player as it is")
    betas, n_critic, skip_d_above = hparams["betas"], hparams["n_critic"], hparams["skip_d_above"]
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"model.betas={list(betas)} must be two numbers in [0, 1), such as [0.5,0.999]")
    if n_critic < 1:
        raise ValueError(f"model.n_critic={n_critic} must be 1 or more: turns of D for each turn of G")
    if skip_d_above is not None and not 0 <= skip_d_above <= 1:
        raise ValueError(f"model.skip_d_above={skip_d_above} must be an accuracy in [0, 1]; null never skips a turn")


def linear_decay(images: int, start: int | None, end: int) -> float:
    """A factor on a learning rate: 1 until `start` images, then linearly to 0 at `end`; always 1 if start is None."""
    if start is None or images <= start:
        return 1.0
    return (end - images) / (end - start) if images < end else 0.0
