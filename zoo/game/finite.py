"""Whether training is still finite: decided where the numbers are, and heard of a step later.

Reading a number of a GPU makes Python wait until all that was asked of the GPU is done, and the GPU then waits for
Python. So no turn reads whether its objective and gradient are finite. The optimizer is told on the device, as mixed
precision tells it (`found_inf` of torch's fused Adam), and leaves weights and moments as they are; so does every turn
after that one. A step later, when the answer has long come, the run ends with what has happened then.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zoo.game.state import of_every_rank


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
class _Turn:
    """A turn that was made."""

    player: str
    terms: Mapping[str, Tensor]
    lost: Tensor  # float32: 1 where this turn, or one before it, was not finite


@dataclass
class _Step:
    """A step that was made, and what is heard of it later."""

    turns: list[_Turn] = field(default_factory=list)
    images: int = 0  # shown at its end
    well: int = 0  # and before it
    heard: Tensor | None = None  # of its last turn, on its way to the CPU
    arrived: Any = None  # the event after which it is there

    def send(self) -> None:
        """Ask for the answer, without waiting for it."""
        flag = self.turns[-1].lost
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
    """The turns of this step and of the one before, in order. Ranks decide alike, as what they are told is averaged."""

    def __init__(self) -> None:
        self._now = _Step()
        self._before: _Step | None = None  # not heard of yet
        self._lost: Tensor | None = None  # the newest turn's

    def after_turn(self, player: str, terms: Mapping[str, Tensor], finite: Tensor) -> Tensor:
        """Note a turn, and whether it was `finite`, a scalar; what the optimizer is to be told, float32: 1, stay."""
        lost = (~finite).float()
        if self._lost is not None:
            lost = torch.maximum(self._lost, lost)
        self._lost = lost
        self._now.turns.append(_Turn(player, {name: term.detach() for name, term in terms.items()}, lost))
        return lost

    def end_step(self, *, images: int, well: int, world_size: int) -> None:
        """A step has ended at so many images, which began at `well` images: hear of the one before it.

        Raises:
            Diverged: on every rank, if that was not finite; every rank calls it.
        """
        if not self._now.turns:
            return
        self._now.images, self._now.well = images, well
        self._now.send()
        before, self._before, self._now = self._before, self._now, _Step()
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
        return torch.where(self._before.turns[-1].lost > 0, torch.nan, value)

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


def _what(turn: _Turn, world_size: int) -> str:
    """Which of a turn's terms is not finite, on which rank: every rank calls it."""
    bad = {f"{turn.player}/{name}": value.item() for name, value in turn.terms.items() if not value.isfinite()}
    not_finite = [
        f"{name} is {value}" + (f" on rank {rank}" if world_size > 1 else "")
        for rank, of_rank in enumerate(of_every_rank(bad, world_size))
        for name, value in of_rank.items()
    ]
    return ", ".join(not_finite) or f"the gradient of {turn.player} is not finite, though its terms are"
