"""The base of every variant: players, turns, randomness, schedules and the run's books. No maths of any paper.

A variant writes its networks, `players`, `training_step` (its paper's algorithm) and `preview`; see zoo/model/dcgan.py.
The base counts time in images shown to the discriminator, over all ranks: Lightning's `global_step` counts every
optimizer step, that is every turn.
"""

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.batch import Preview, to_unit

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
        self.log_every = 1_000  # images between two rows in the books
        self.latest: dict[str, float] = {}  # the newest value of everything published
        self.config: dict[str, Any] = {}  # the run's settings as plain data: a checkpoint alone tells how it was made
        self._players: dict[str, Optimizer] = {}
        self._rng: torch.Generator | None = None
        self._window: dict[str, list[Tensor]] = {}  # what was observed since the last row
        self._row_due = False  # whether this step ends the window

    # What a variant writes ------------------------------------------------------------------------------------------

    def players(self) -> dict[str, Optimizer]:
        """Each player's optimizer, over that player's parameters and no others."""
        raise NotImplementedError

    def preview(self, batch: Any) -> dict[str, Preview]:
        """The model's images beside real ones, from its best generator: all that metrics and sample grids ever see.

        Deterministic: the image at position i depends on the batch's row i alone (on its `index`, for latents).
        """
        raise NotImplementedError

    def generate(self, seeds: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1], one for each seed, in variants that make images from latents."""
        raise NotImplementedError(f"{type(self).__name__} makes no images from nothing: give it images")

    def lr_scale(self, player: str, images: int) -> float:
        """The factor on a player's learning rates after so many images: a variant's schedule; constant by default."""
        return 1.0

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
        """
        if player not in self._players:
            raise ValueError(f"there is no player {player!r}; the players are {', '.join(self._players)}")
        optimizers = self.optimizers()
        optimizer = optimizers[list(self._players).index(player)] if isinstance(optimizers, list) else optimizers
        moved = False

        def minimize(**terms: Tensor) -> None:
            nonlocal moved
            if moved or not terms:
                raise ValueError(f"a turn of {player} minimises once, and at least one term")
            moved = True
            optimizer.zero_grad()
            self.manual_backward(sum(terms.values(), start=torch.zeros((), device=self.device)))
            if clip_norm is not None or self._row_due:
                norm = nn.utils.clip_grad_norm_(_parameters(self._players[player]), clip_norm or math.inf)
                self.observe(player, {"grad_norm": norm})
            optimizer.step()
            self.observe(player, terms)

        others = [p for name, other in self._players.items() if name != player for p in _parameters(other)]
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
        owners: dict[int, str] = {}
        for name, optimizer in self._players.items():
            for parameter in _parameters(optimizer):
                if owners.setdefault(id(parameter), name) != name:
                    raise ValueError(f"players {owners[id(parameter)]} and {name} share a parameter")
        orphans = [n for n, p in self.named_parameters() if p.requires_grad and id(p) not in owners]
        if orphans:
            raise ValueError(
                f"no player trains {', '.join(orphans)}: add them to an optimizer in players() or freeze them"
            )
        return list(self._players.values())

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
    def sample(self, n: int = 16, *, seed: int = 0) -> Tensor:
        """Generated images of the seeds `seed` to `seed + n - 1`, float32 [n, C, H, W] in [0, 1], on the CPU.

        Each seed's image is the same whatever the others, up to the float arithmetic of the batch.
        """
        batches = torch.arange(seed, seed + n, device=self.device).split(256)
        return torch.cat([to_unit(self.generate(batch)).cpu() for batch in batches])

    # Time and schedules ---------------------------------------------------------------------------------------------

    @property
    def world_size(self) -> int:
        """The number of processes that train this model."""
        return self.trainer.world_size

    def on_fit_start(self) -> None:
        """Channels last: the layout in which convolutions are fastest, on CPUs and on GPUs alike."""
        self.to(memory_format=torch.channels_last)
        if self.device.type == "cpu":
            # Lightning sets it on import. In torch's CUDA build, each Adam step then looks for a driver: 0.2 ms.
            os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rates for the images seen so far, then count this batch."""
        for name, optimizer in self._players.items():
            scale = self.lr_scale(name, self.images)
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * scale
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
        """Publish the means of what was observed: the one synchronisation with the device in a window.

        Raises:
            FloatingPointError: if a term is not finite, with the player's and the term's name.
        """
        means = torch.stack([torch.stack(values).float().mean() for values in self._window.values()])
        means = self.trainer.strategy.reduce(means, reduce_op="mean")
        row = dict(zip(self._window, means.tolist(), strict=True))
        if not all(math.isfinite(value) for value in row.values()):
            raise FloatingPointError(self._diagnosis())
        self._window.clear()
        for name, optimizer in self._players.items():
            row[f"{name}/lr"] = optimizer.param_groups[0]["lr"]
        self.publish(row)

    def _diagnosis(self) -> str:
        """Which term of the window was the first not to be finite."""
        finite = {name: torch.stack(values).isfinite().tolist() for name, values in self._window.items()}
        first = min((name for name in finite if not all(finite[name])), key=lambda name: finite[name].index(False))
        return (
            f"{first} is not finite, within the last {self.log_every:,} images before image {self.images:,}: training "
            "has diverged. Lower the learning rates (model.lr.D=, model.lr.G=) or clip gradients (model.clip_norm=1)"
        )

    # Checkpoints ----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a checkpoint needs beside Lightning's: the variant's name, the time, the random stream, the settings."""
        checkpoint["zoo"] = {
            "variant": f"{type(self).__module__}.{type(self).__qualname__}",
            "images": self.images,
            "rng": self.rng.get_state(),
            "config": self.config,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the time and the random stream."""
        self.images = checkpoint["zoo"]["images"]
        self.rng.set_state(checkpoint["zoo"]["rng"])


def linear_decay(images: int, start: int | None, end: int) -> float:
    """A factor on a learning rate: 1 until `start` images, then linearly to 0 at `end`; always 1 if start is None."""
    if start is None or images <= start:
        return 1.0
    return max(0.0, (end - images) / (end - start))


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
