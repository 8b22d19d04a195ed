"""Many processes: each turn synchronises the network that it steps, and nothing else.

Lightning's DDP wraps the whole module and can't tell whose turn it is. `TurnDDP` wraps nothing: after a turn's backward
the gradients of the player that moves are averaged over the ranks, flattened by dtype into buckets; no other tensor
travels. Launchers (one node, many nodes, torchrun, SLURM) and devices are Lightning's own.

BatchNorm: on GPUs `trainer.sync_batchnorm=true` makes its statistics those of all ranks (trainer=ddp sets it). On CPUs
torch has no synchronised BatchNorm: each rank normalises its own share of the batch, and the running statistics are
averaged before the model is looked at or saved.
"""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.utils import _sync_module_states

BUCKET_BYTES = 25 * 2**20  # at most so much is copied at a time


class TurnDDP(DDPStrategy):
    """Data parallel training of players that take turns. Give it to `lightning.Trainer(strategy=TurnDDP())`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bytes_reduced: dict[str, int] = {}  # of gradients, in each player's turns, on this rank
        self._checked: dict[str, int] = {}  # turns in which the ranks have compared their gradients, by player

    def configure_ddp(self) -> None:
        """Wrap nothing; begin with rank 0's parameters and buffers everywhere."""
        assert self.lightning_module is not None
        group = dist.distributed_c10d._get_default_group()
        _sync_module_states(self.lightning_module, group, BUCKET_BYTES, src=0, params_and_buffers_to_ignore=[])

    def average_gradients(self, player: str, parameters: Sequence[tuple[str, nn.Parameter]], objective: Tensor) -> None:
        """Average the gradients of one player over the ranks, and the objective with them, in place.

        Args:
            player: its name, for messages.
            parameters: its parameters, with their names.
            objective: a scalar: where it is not finite on one rank, it is not on any.

        Raises:
            RuntimeError: in a player's first turns, on every rank, if the ranks do not have gradients for the same
                parameters; later such a difference would hang.
        """
        if self._checked.setdefault(player, 0) < 2:
            self._checked[player] += 1
            self._compare(player, parameters)
        gradients = [p.grad for _, p in parameters if p.grad is not None]
        self.bytes_reduced[player] = self.bytes_reduced.get(player, 0) + sum(gradient.nbytes for gradient in gradients)
        self._average([*gradients, objective])

    def _average(self, tensors: Sequence[Tensor]) -> None:
        """Over the ranks, in place."""
        for bucket in buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            flat /= self.world_size
            parts = flat.split([tensor.numel() for tensor in bucket])
            torch._foreach_copy_(bucket, [part.view(t.shape) for part, t in zip(parts, bucket, strict=True)])

    def _compare(self, player: str, parameters: Sequence[tuple[str, nn.Parameter]]) -> None:
        with_gradient = [name for name, parameter in parameters if parameter.grad is not None]
        ranks: list[Any] = [None] * self.world_size
        dist.all_gather_object(ranks, with_gradient)
        everywhere, somewhere = set(ranks[0]).intersection(*ranks), set().union(*ranks)
        if everywhere != somewhere:
            raise RuntimeError(
                f"in {player}'s turn only some ranks have gradients for {', '.join(sorted(somewhere - everywhere))}: "
                "every rank must take the same decisions in training_step"
            )

    def equalise_buffers(self) -> None:
        """Average floating-point buffers (BatchNorm's statistics) over the ranks, and take rank 0's of the others."""
        assert self.lightning_module is not None
        tensors = [buffer for buffer in self.lightning_module.buffers() if buffer.numel()]
        self._average([tensor for tensor in tensors if tensor.is_floating_point()])
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


def buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Tensors in groups of one dtype and at most BUCKET_BYTES, or one tensor."""
    groups: list[list[Tensor]] = []
    filling: dict[torch.dtype, list[Tensor]] = {}  # the newest group of each dtype
    room: dict[torch.dtype, int] = {}  # bytes that it still takes
    for tensor in tensors:
        if tensor.nbytes > room.get(tensor.dtype, -1):
            filling[tensor.dtype], room[tensor.dtype] = [], BUCKET_BYTES
            groups.append(filling[tensor.dtype])
        filling[tensor.dtype].append(tensor)
        room[tensor.dtype] -= tensor.nbytes
    return groups
