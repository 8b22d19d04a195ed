"""One training step as one CUDA graph: Python then asks the GPU for one thing a step, not for hundreds.

Captured is what a variant's `training_step` does, all turns with their forwards, backwards and optimizers' steps: the
"whole network capture" of https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. What comes before and after
it stays Python's: rates, averages, the adaptation of augmentation, the log.

A replay repeats what the GPU was asked for, on the same memory: the batch is copied into that of the captured step,
what its turns leave is copied out of it, and learning rates are tensors, of float32, which Python fills anew. Random
numbers go on from replay to replay as without a graph. No line of Python runs again, so a game in which Python decides
from step to step what is done is refused: see `refuse_decisions`, and `varies` of each variant.
"""

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from zoo.game.finite import can_hold
from zoo.game.turn import Turn

if TYPE_CHECKING:
    from zoo.game.gan import GAN

WARM = 3  # steps before the capture: libraries choose their kernels in them, and optimizers make their moments
Play = Callable[[Any], list[Turn]]


class CudaGraph:
    """All that needs a GPU."""

    def aside(self, play: Play, batch: Any) -> list[Turn]:
        """Play on a stream of its own, as the capture will."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            turns = play(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return turns

    def capture(self, play: Play, batch: Any, generator: torch.Generator) -> list[Turn]:
        """Note what the GPU is asked for, without doing it; the turns have no values yet."""
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(generator)
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # others read data meanwhile
            return play(batch)

    def replay(self) -> None:
        """Do it, with the values that its memory has now."""
        self.graph.replay()


class StepGraph:
    """Plays a few steps, captures one, and replays it from then on. `generator`: that is drawn from on the device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator, self.warm, self.graph = generator, WARM, CudaGraph()
        self._batch: Any = None
        self._turns: list[Turn] = []  # of the captured step, with the memory that each replay fills

    def __call__(self, play: Play, batch: Any) -> list[Turn]:
        """The turns of a step on a batch, a tuple of tensors.

        Raises:
            ValueError: for a batch of another shape than the captured one.
        """
        if self.warm:
            self.warm -= 1
            return self.graph.aside(play, batch)
        if self._batch is None:
            self._batch = tree_map_only(Tensor, torch.clone, batch)
            self._turns = self.graph.capture(play, self._batch, self.generator)
        for captured, new in zip(self._batch, batch, strict=True):
            if captured.shape != new.shape:
                raise ValueError(
                    f"cuda_graph=true replays a step on {list(captured.shape)}, and a batch has {list(new.shape)}: "
                    "leave it out where batches differ in shape"
                )
            captured.copy_(new)
        self.graph.replay()
        return [_kept(turn) for turn in self._turns]


def _kept(turn: Turn) -> Turn:
    """A turn whose values the next replay leaves as they are."""
    kept = copy.copy(turn)
    kept.terms, kept.judgements, kept.norm, kept.lost = tree_map_only(
        Tensor, torch.clone, (turn.terms, turn.judgements, turn.norm, turn.lost)
    )
    return kept


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set a learning rate, where a graph reads it by filling the tensor that it reads."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def make_capturable(optimizers: Iterable[Optimizer], device: torch.device) -> None:
    """Let optimizers read all that changes from the device.

    Raises:
        ValueError: for one that can't.
    """
    for optimizer in optimizers:
        if not can_hold(optimizer) or "capturable" not in optimizer.defaults:
            has = type(optimizer).__name__
            raise ValueError(f"cuda_graph=true needs fused Adam or AdamW, and a player has {has}: leave it out")
        for group in optimizer.param_groups:
            group["capturable"], group["lr"] = True, torch.tensor(group["lr"], device=device)


def refuse_decisions(gan: "GAN") -> None:
    """Raise a ValueError, with the remedy, where Python decides from step to step what is done."""
    game, penalties = gan.game, gan.regularizer
    decisions: dict[str, Any] = {
        gan.varies(): gan.varies(),  # the first, as most of these have no remedy but another model
        f"model.n_critic={game['n_critic']} leaves G out of some: set it to 1": game["n_critic"] > 1,
        f"model.skip_d_above={game['skip_d_above']} leaves D out of some: set it to null": game["skip_d_above"],
        "model.burn_in moves what a graph keeps: set it to null": gan.burn_in,
    }
    if penalties is not None and penalties.active:
        of_some = f"model.regularizer.every={penalties.every} penalises in some alone: set it to 1"
        again = "model.regularizer.at=image draws one augmentation twice, which no graph can: set it to augmented"
        decisions |= {of_some: penalties.every > 1, again: penalties.through and gan.augments}
    for decision, is_made in decisions.items():
        if is_made:
            raise ValueError(f"cuda_graph=true makes all steps alike, and {decision}, or leave out cuda_graph=")


def refuse_place(device: torch.device, processes: int) -> None:
    """Raise a ValueError where no graph can be captured."""
    if device.type != "cuda":
        raise ValueError(f"cuda_graph=true needs a GPU with CUDA, and this run is on {device.type}: leave it out")
    if processes > 1:
        raise ValueError(f"cuda_graph=true is for one process, and this run has {processes}: leave it out")
