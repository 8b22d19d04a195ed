"""Many processes: each turn synchronises the network that it steps, and nothing else.

Lightning's DDP wraps the whole module and can't tell whose turn it is. `TurnDDP` wraps nothing: the gradients of the
player that moves are averaged over the ranks while its backward pass computes the rest of them; no other tensor
travels. Launchers (one node, many nodes, torchrun, SLURM) and devices are Lightning's own.

BatchNorm: on GPUs `trainer.sync_batchnorm=true` makes its statistics those of all ranks (trainer=ddp sets it). On CPUs
torch has no synchronised BatchNorm: each rank normalises its own share of the batch, and the running statistics are
averaged before the model is looked at or saved.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.utils import _sync_module_states

from zoo.game.exchange import Exchange, Mean, buckets

COPIED_BYTES = 25 * 2**20  # at most so much is copied at a time


class TurnDDP(DDPStrategy):
    """Data parallel training of players that take turns. Give it to `lightning.Trainer(strategy=TurnDDP())`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bytes_reduced: dict[str, int] = {}  # of gradients, in each player's turns, on this rank
        self._exchanges: dict[str, Exchange] = {}  # by player

    def configure_ddp(self) -> None:
        """Wrap nothing; begin with rank 0's parameters and buffers everywhere."""
        assert self.lightning_module is not None
        self._exchanges = {}
        group = dist.distributed_c10d._get_default_group()
        _sync_module_states(self.lightning_module, group, COPIED_BYTES, src=0, params_and_buffers_to_ignore=[])

    @contextmanager
    def averaging(
        self, player: str, parameters: Sequence[tuple[str, nn.Parameter]], objective: Tensor
    ) -> Iterator[None]:
        """Around a turn's backward pass: average the gradients of its player over the ranks, and the objective.

        Args:
            player: its name.
            parameters: its parameters, with their names.
            objective: see `zoo.game.exchange.Exchange.average`, also for what is raised.
        """
        if player not in self._exchanges:
            self._exchanges[player] = Exchange(player, parameters)
        with self._exchanges[player].average(objective):
            yield
        sent = sum(parameter.grad.nbytes for _, parameter in parameters if parameter.grad is not None)
        self.bytes_reduced[player] = self.bytes_reduced.get(player, 0) + sent

    def equalise_buffers(self) -> None:
        """Average floating-point buffers (BatchNorm's statistics) over the ranks, and take rank 0's of the others."""
        assert self.lightning_module is not None
        tensors = [buffer for buffer in self.lightning_module.buffers() if buffer.numel()]
        for bucket in buckets([tensor for tensor in tensors if tensor.is_floating_point()], COPIED_BYTES):
            Mean(bucket).wait()
        for tensor in tensors:
            if not tensor.is_floating_point():
                dist.broadcast(tensor, src=0)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Rank 0 writes. Where it can't, every rank raises, so that none waits for it.

        Raises:
            OSError: on every rank, with rank 0's reason.
        """
        reason = None
        try:
            super().save_checkpoint(checkpoint, filepath, storage_options)
        except OSError as error:
            reason = str(error)
        reason = self.broadcast(reason)
        if reason is not None:
            raise OSError(reason)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The state to save, the same on every rank."""
        self.equalise_buffers()
        return super().lightning_module_state_dict()


def refuse_trainer(trainer: L.Trainer) -> None:
    """A ValueError for a trainer that can't train players that take turns, before the first step."""
    strategy, precision = trainer.strategy, str(trainer.precision)
    if trainer.world_size > 1 and not isinstance(strategy, TurnDDP):
        raise ValueError(
            f"{type(strategy).__name__} can't train players that take turns: use trainer=ddp or trainer=ddp_cpu "
            "(zoo.game.strategy.TurnDDP)"
        )
    if precision in ("16-true", "bf16-true"):
        raise ValueError(f"trainer.precision={precision} keeps weights in 16 bits: use bf16-mixed")
    if precision == "16-mixed":
        raise ValueError("trainer.precision=16-mixed scales losses, which turns do not undo: use bf16-mixed")
