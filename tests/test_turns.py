"""benchmarks/turns.py, which every benchmark of training takes turns by; and that each benchmark can be loaded."""

import sys
from typing import Any

import pytest
import torch
from common import ROOT, program
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(ROOT / "benchmarks"))  # they import each other by name
turns = program("benchmarks/turns.py")


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_every_benchmark_can_be_loaded(name: str) -> None:
    """What it imports is there: nobody runs them between two measurements."""
    program(f"benchmarks/{name}.py")


def counting(log: list[Any], end: int | None = None) -> Any:
    """A loop that asks for a batch a step, and writes what it does."""

    def run(loop: Any) -> None:
        log.append("set up")
        for i, batch in enumerate(loop.batches(lambda: "batch")):
            assert batch == "batch"
            log.append(i)
            if i == end:
                raise ValueError("it broke")
        log.append("end")

    return run


def test_a_loop_makes_the_steps_that_are_asked_for_and_stands_still() -> None:
    log: list[Any] = []
    with turns.Loop(counting(log)) as loop:
        assert log == ["set up"]
        loop(2)
        assert log == ["set up", 0, 1]
        loop(1)
        assert log == ["set up", 0, 1, 2]
        assert loop.steps == 3
    assert log[3:] == [2, "end"]


def test_what_a_loop_raises_is_raised_where_steps_are_asked_for() -> None:
    with pytest.raises(ValueError, match="it broke"), turns.Loop(counting([], end=1)) as loop:
        loop(5)
    with pytest.raises(RuntimeError, match="the loop ended by itself, after 0 steps"):
        turns.Loop(lambda loop: None)


def test_what_a_loop_raises_at_its_end_is_raised_too() -> None:
    def run(loop: Any) -> None:
        for _ in loop.batches(lambda: 0):
            pass
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"), turns.Loop(run) as loop:
        loop(2)


def test_a_loop_that_never_ends_is_ended() -> None:
    """As one that begins its data anew for ever."""
    epochs = []

    def run(loop: Any) -> None:
        data = loop.batches(lambda: 0)
        while True:
            epochs.append(sum(1 for _ in data))

    with turns.Loop(run) as loop:
        loop(3)
    assert epochs == [3]


def test_a_step_is_what_lies_between_two_requests() -> None:
    """What a loop does after its last batch, before it asks for more, is timed too."""
    time = [0.0]

    def run(loop: Any) -> None:
        time[0] += 100  # set-up
        for _ in loop.batches(lambda: None):
            time[0] += 1
            time[0] += 2

    with turns.Loop(run) as loop:
        seconds = turns.take_turns({"loop": loop}, rounds=2, steps=5, now=lambda: time[0], warmup=1)
    assert seconds == {"loop": [3.0, 3.0]}


def test_turns_rotate_and_ratios_are_taken_within_a_round() -> None:
    """A machine that gets slower from segment to segment: each arm is the first once."""
    order, time = [], [0.0]

    def arm(name: str, cost: float) -> Any:
        def step() -> None:
            order.append(name)
            time[0] += cost * len(order)

        return turns.stepping(step)

    arms = {"fast": arm("fast", 1.0), "slow": arm("slow", 2.0)}
    seconds = turns.take_turns(arms, rounds=2, steps=1, now=lambda: time[0])
    assert order == ["fast", "slow", "slow", "fast"]
    assert seconds == {"fast": [1.0, 4.0], "slow": [4.0, 6.0]}
    assert turns.ratios(seconds, "slow", "fast") == [4.0, 1.5]
    assert turns.spread([4.0, 1.5, 2.0]) == "2.00 [1.50, 4.00]"


class Trained(nn.Module):
    def __init__(self, layer: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layer, self.x = layer, torch.randn(shape)

    def __call__(self) -> None:
        self.layer(self.x).square().mean().backward()


def test_the_share_of_convolution() -> None:
    """In the thread of a loop as in one's own; nothing of it where there is no convolution."""
    convolves = Trained(nn.Conv2d(32, 32, 3), (8, 32, 32, 32))

    def run(loop: Any) -> None:
        for _ in loop.batches(lambda: None):
            convolves()

    with turns.Loop(run) as loop:
        loop(1)
        shares = turns.shares(loop, steps=2)
        assert loop.steps == 3
    assert shares.keys() == turns.shares(turns.stepping(convolves), steps=2).keys()
    operators = {name: share for name, share in shares.items() if name != "Python"}  # whose part a busy machine changes
    assert max(operators, key=lambda name: operators[name]) == "convolution"
    assert sum(shares.values()) == pytest.approx(1, abs=0.05)
    multiplies = turns.stepping(Trained(nn.Linear(256, 256), (512, 256)))
    assert turns.parts(multiplies, steps=2).startswith("convolution 0% of a step; of the rest ")
    assert "mm" in turns.shares(multiplies, steps=2)


def test_gradients_are_computed_in_the_loop_as_outside() -> None:
    """Threads have modes of their own."""
    network = nn.Conv2d(1, 1, 3)

    def run(loop: Any) -> None:
        for x in loop.batches(lambda: torch.ones(1, 1, 4, 4)):
            F.relu(network(x)).sum().backward()

    with turns.Loop(run) as loop, torch.no_grad():
        loop(1)
    assert network.weight.grad is not None
