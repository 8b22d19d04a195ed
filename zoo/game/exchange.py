"""A player's gradients on their way between the ranks, while its backward pass still computes the others."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_BYTES = 2**20  # smaller ones are sent sooner, and are more messages


class Mean:
    """The mean over the ranks of some tensors of one dtype: on its way, and in their place once it is waited for."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors
        self.flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self.work = dist.all_reduce(self.flat, async_op=True)

    def wait(self) -> None:
        """On a GPU its stream waits, and Python does not."""
        self.work.wait()
        self.flat /= dist.get_world_size()
        parts = self.flat.split([tensor.numel() for tensor in self.tensors])
        torch._foreach_copy_(self.tensors, [p.view(t.shape) for p, t in zip(parts, self.tensors, strict=True)])


class Exchange:
    """The means of one player's gradients over the ranks, turn after turn.

    A bucket is sent when the backward pass has come to the last of its parameters, and the buckets before it are sent.
    What a bucket holds depends on the parameters alone, so that a sum is the same at any time; which one is before
    which was seen on rank 0. Ranks send alike as long as they have gradients for the same parameters: until they have
    compared that, and from the first bucket on that misses a gradient, all is sent after the backward pass.

    Args:
        player: its name, for messages.
        parameters: its parameters, with their names.
    """

    def __init__(self, player: str, parameters: Sequence[tuple[str, nn.Parameter]]) -> None:
        self.player = player
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in parameters}
        self.buckets = buckets([parameter for _, parameter in reversed(parameters)], BUCKET_BYTES)
        self.bucket_of = {parameter: k for k, bucket in enumerate(self.buckets) for parameter in bucket}
        self.order = list(range(len(self.buckets)))
        self.compared: Counter[frozenset[str]] = Counter()  # turns, by the parameters that had gradients in them
        self.awaited: list[list[Tensor]] = []  # these shall have gradients, by bucket; none where all is sent after

    @contextmanager
    def average(self, objective: Tensor) -> Iterator[None]:
        """Around the backward pass: average the gradients that it leaves, and the objective, in place.

        Args:
            objective: a scalar: where it is not finite on one rank, it is not on any.

        Raises:
            RuntimeError: in the first two turns with gradients for these parameters, on every rank, if the ranks do not
                have them for the same ones; later such a difference would hang. If a gradient grows after it was sent.
        """
        self.means, self.arrived, self.sent = [Mean([objective])], list[Tensor](), set[Tensor]()
        self.missing, self.place = [set(bucket) for bucket in self.awaited], 0
        hooks = [parameter.register_post_accumulate_grad_hook(self._arrive) for parameter in self.names]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        self._agree()
        for k in self.order:
            self._send([p for p in self.buckets[k] if p.grad is not None and p not in self.sent])
        while self.means:  # each is let go as soon as it is in place
            self.means.pop(0).wait()

    def _arrive(self, parameter: Tensor) -> None:
        """The backward pass has added to a parameter's gradient."""
        if parameter in self.sent:
            raise RuntimeError(
                f"in {self.player}'s turn the gradient of {self.names[parameter]} grows after it was sent: "
                "torch.utils.checkpoint needs use_reentrant=False"
            )
        self.arrived.append(parameter)
        if self.awaited:
            self.missing[self.bucket_of[parameter]].discard(parameter)
            while self.place < len(self.order) and not self.missing[k := self.order[self.place]]:
                self._send(self.awaited[k])
                self.place += 1

    def _send(self, parameters: Sequence[Tensor]) -> None:
        if parameters:
            self.means.append(Mean([p.grad for p in parameters if p.grad is not None]))
            self.sent.update(parameters)

    def _agree(self) -> None:
        """Compare the ranks where that is due, and decide what the next turn sends during its backward pass."""
        names = [self.names[p] for p in dict.fromkeys([*self.arrived, *self.names]) if p.grad is not None]
        if self.compared[frozenset(names)] < 2:
            self.compared[frozenset(names)] += 1
            self._compare(names)
        steady = self.compared[frozenset(names)] == 2 and len(set(self.arrived)) == len(self.arrived)
        self.awaited = [[p for p in bucket if p.grad is not None] for bucket in self.buckets] if steady else []

    def _compare(self, names: list[str]) -> None:
        """Names of the parameters with gradients, in the order in which these came: rank 0's is that of all."""
        ranks: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(ranks, names)
        everywhere, somewhere = set(ranks[0]).intersection(*ranks), set().union(*ranks)
        if everywhere != somewhere:
            raise RuntimeError(
                f"in {self.player}'s turn only some ranks have gradients for "
                f"{', '.join(sorted(somewhere - everywhere))}: every rank must take the same decisions in training_step"
            )
        came = {name: k for k, name in enumerate(ranks[0])}
        last = [max((came.get(self.names[p], -1) for p in bucket), default=-1) for bucket in self.buckets]
        self.order.sort(key=last.__getitem__)


def buckets(tensors: Sequence[Tensor], most: int) -> list[list[Tensor]]:
    """Tensors in groups of one dtype and at most so many bytes, or one tensor."""
    groups: list[list[Tensor]] = []
    filling: dict[torch.dtype, list[Tensor]] = {}  # the newest group of each dtype
    room: dict[torch.dtype, int] = {}  # bytes that it still takes
    for tensor in tensors:
        if tensor.nbytes > room.get(tensor.dtype, -1):
            filling[tensor.dtype], room[tensor.dtype] = [], most
            groups.append(filling[tensor.dtype])
        filling[tensor.dtype].append(tensor)
        room[tensor.dtype] -= tensor.nbytes
    return groups
