"""Whether training is still finite: decided where the numbers are, and heard of a step later.

Reading a number of a GPU makes Python wait until all that was asked of the GPU is done, and the GPU then waits for
Python. So no turn reads whether its objective and gradient are finite. The optimizer is told on the device, as mixed
precision tells it (`found_inf` of torch's fused Adam), and leaves weights and moments as they are; so does every turn
after that one. A step later, when the answer has long come, the run ends with what has happened then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from zoo.game.state import of_every_rank
from zoo.game.turn import Turn


class Diverged(FloatingPointError):
    """Training has left the numbers.

    Args:
        what: which of them, in words.
        images: shown at the end of the step in which that was.
        well: images shown before it.
    """

    def __init__(self, what: str, *, images: int, well: int) -> None:
        super().__init__(
            f"{what}, at image {images:,}: training has diverged. Lower the learning rates (model.lr.D=, model.lr.G=), "
            "clip gradients (model.clip_norm=1), or go on from the last checkpoint with half the rates "
            "(divergence_retries=1)"
        )
        self.well = well


@dataclass
class _Step:
    """A step that was made, and what is heard of it later."""

    turns: list[Turn]  # in which a player made a step, one or more
    images: int  # shown at its end
    well: int  # and before it
    heard: Tensor | None = None  # of its last turn, on its way to the CPU
    arrived: Any = None  # the event after which it is there

    @property
    def lost(self) -> Tensor:
        """Whether it, or a step before it, was not finite."""
        lost = self.turns[-1].lost
        assert lost is not None
        return lost

    def send(self) -> None:
        """Ask for the answer, without waiting for it."""
        flag = self.lost
        self.heard = flag
        if flag.is_cuda:
            self.heard = torch.empty((), dtype=flag.dtype, pin_memory=True).copy_(flag, non_blocking=True)
            self.arrived = torch.cuda.Event()
            self.arrived.record()

    def was_lost(self) -> bool:
        """The answer, waited for where it has not come."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return bool(self.heard)


class Finite:
    """Whether all turns so far were finite. Ranks decide alike, as what they are told is averaged."""

    def __init__(self) -> None:
        self._before: _Step | None = None  # not heard of yet
        self._lost: Tensor | None = None  # after the newest turn, always the same tensor

    def lost(self, finite: Tensor) -> Tensor:
        """What the optimizer is to be told in a turn that was `finite`, a scalar: 0, or from the first that was not on
        1, stay; float32."""
        if self._lost is None:
            self._lost = torch.zeros((), dtype=torch.float32, device=finite.device)
        return self._lost.logical_or_(~finite).clone()

    def end_step(self, turns: Sequence[Turn], *, images: int, well: int, world_size: int) -> None:
        """A step of these turns has ended at so many images, which began at `well` images: hear of the one before it.

        Raises:
            Diverged: on every rank, if that was not finite; every rank calls it.
        """
        stepped = [turn for turn in turns if turn.lost is not None]
        if not stepped:
            return
        before, self._before = self._before, _Step(stepped, images, well)
        self._before.send()
        self._raise_for(before, world_size)

    def hear(self, world_size: int) -> None:
        """Hear of all that has been: before the model is looked at or kept.

        Raises:
            Diverged: on every rank, if something was not finite; every rank calls it.
        """
        before, self._before = self._before, None
        self._raise_for(before, world_size)

    def marked(self, value: Tensor) -> Tensor:
        """A scalar that somebody is about to read in this step, not a number where the step before was not finite: so
        that the device is waited for once. `heard` is to follow."""
        if self._before is None:
            return value
        return torch.where(self._before.lost > 0, torch.nan, value)

    def heard(self, lost: bool, world_size: int) -> None:
        """What came of a `marked` value.

        Raises:
            Diverged: as `hear`.
        """
        before, self._before = self._before, None
        if lost and before is not None:
            self._raise_for(before, world_size)

    def _raise_for(self, step: _Step | None, world_size: int) -> None:
        if step is None or not step.was_lost():
            return
        first = next(turn for turn in step.turns if turn.lost)
        raise Diverged(_what(first, world_size), images=step.images, well=step.well)


def can_hold(optimizer: Optimizer) -> bool:
    """Whether it can be told to leave everything as it is by a tensor, `found_inf`."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def _what(turn: Turn, world_size: int) -> str:
    """Which of a turn's terms is not finite, on which rank: every rank calls it."""
    bad = {f"{turn.player}/{name}": value.item() for name, value in turn.terms.items() if not value.isfinite()}
    not_finite = [
        f"{name} is {value}" + (f" on rank {rank}" if world_size > 1 else "")
        for rank, of_rank in enumerate(of_every_rank(bad, world_size))
        for name, value in of_rank.items()
    ]
    return ", ".join(not_finite) or f"the gradient of {turn.player} is not finite, though its terms are"
