"""Compiled networks of players that take turns: what torch is told of where a step begins, and what stays eager."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch._inductor.cudagraph_trees import CUDAGraphTreeManager, MarkStepBox

from train import run
from zoo.game.averages import evaluated
from zoo.game.gan import GAN
from zoo.game.turn import Minimize

Small = Callable[..., DictConfig]


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The modes in which networks are compiled, by dynamo alone: no compiler is needed for that."""
    asked: list[str | None] = []
    compile_ = nn.Module.compile

    def compiled(self: nn.Module, *, mode: str | None = None, **settings: Any) -> None:
        asked.append(mode)
        compile_(self, backend="eager", **settings)

    monkeypatch.setattr(nn.Module, "compile", compiled)
    monkeypatch.setattr(MarkStepBox, "mark_step_counter", 0)
    torch.compiler.reset()
    return asked


def generations(cfg: DictConfig, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Of each step: what torch's CUDA graphs take for the step that they are in, as each turn begins and ends. They
    write over what was made in another one."""
    steps: list[list[int]] = []
    begin, turn = GAN.on_train_batch_start, GAN.turn

    def begins(self: GAN, batch: Any, batch_idx: int) -> None:
        begin(self, batch, batch_idx)
        steps.append([])

    @contextmanager
    def watched(self: GAN, player: str) -> Iterator[Minimize]:
        steps[-1].append(CUDAGraphTreeManager.get_curr_generation())
        with turn(self, player) as minimize:
            yield minimize
        steps[-1].append(CUDAGraphTreeManager.get_curr_generation())

    monkeypatch.setattr(GAN, "on_train_batch_start", begins)
    monkeypatch.setattr(GAN, "turn", watched)
    run(cfg)
    return steps


@pytest.mark.slow
def test_reduce_overhead_is_told_where_a_step_begins(
    modes: list[str | None], small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What G makes in D's turn is there when G's own goes back through it, also where G waits for D."""
    settings = ["compile=reduce-overhead", "model.n_critic=2", "max_images=64"]
    assert generations(small("vanilla", *settings), monkeypatch) == [[-1] * 2, [-2] * 4, [-3] * 2, [-4] * 4]
    assert modes == ["reduce-overhead"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["true", "default"])
def test_else_torch_is_told_nothing(
    setting: str, modes: list[str | None], small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    (step,) = generations(small("vanilla", f"compile={setting}", "max_images=16"), monkeypatch)
    assert len(set(step)) > 1, "it guesses, and a step has several for it"
    assert modes == [None] * 2


def test_nothing_is_compiled_for_an_evaluation() -> None:
    """Of other batches, once in a while."""
    network, counter = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), CompileCounter()
    torch.compiler.reset()
    network.compile(backend=counter)
    network(torch.ones(4, 3))
    reference = nn.Module._call_impl(network.eval(), torch.ones(2, 3))
    assert torch.equal(evaluated(network.train(), torch.ones(2, 3)), reference)
    assert counter.frame_count == 1
    assert network.training
