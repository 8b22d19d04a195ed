"""A step that is captured and replayed is the step, bit for bit: a tape of operations stands for the GPU's graph."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common import CAPTURED, SMALL, make, same, small, some_slow, when
from omegaconf import DictConfig
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from train import run
from zoo.game import gan as base
from zoo.game import graph
from zoo.game.finite import Diverged
from zoo.game.gan import GAN
from zoo.game.turn import Turn

Small = Callable[..., DictConfig]


class Tape(TorchDispatchMode):
    """Notes what is computed, operation by operation, and computes it again on the same memory: no line of Python's."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def again(self) -> None:
        for func, args, kwargs, out in self.operations:
            new = func(*args, **kwargs)
            if all(returned.alias_info is None for returned in func._schema.returns):  # no view, and not in place
                for memory, value in zip(tree_leaves(out), tree_leaves(new), strict=True):
                    if isinstance(memory, Tensor):
                        memory.copy_(value)


class OnTape:
    """As `zoo.game.graph.CudaGraph`: nothing is done while it captures."""

    gan: GAN
    replays = 0

    def aside(self, play: graph.Play, batch: Any) -> list[Turn]:
        return play(batch)

    def capture(self, play: graph.Play, batch: Any, generator: torch.Generator) -> list[Turn]:
        assert generator is self.gan.rng
        moments = [v for o in self.gan._players.values() for slots in o.state.values() for v in slots.values()]
        state = [*self.gan.parameters(), *self.gan.buffers(), *moments, self.gan._finite._lost]
        before, streams = [tensor.clone() for tensor in state], (generator.get_state(), torch.get_rng_state())
        with Tape() as self.tape:
            turns = play(batch)
        with torch.no_grad():
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
            for turn in turns:
                for tensor in tree_leaves([turn.terms, turn.judgements, turn.norm, turn.lost]):
                    tensor.fill_(torch.nan)
        generator.set_state(streams[0])
        torch.set_rng_state(streams[1])
        return turns

    def replay(self) -> None:
        type(self).replays += 1
        self.tape.again()


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> type[OnTape]:
    capture_steps = GAN.capture_steps

    def captured(self: GAN) -> None:
        OnTape.gan, OnTape.replays = self, 0
        capture_steps(self)

    monkeypatch.setattr(GAN, "capture_steps", captured)
    monkeypatch.setattr(graph, "CudaGraph", OnTape)
    monkeypatch.setattr(base, "refuse_place", lambda device, processes: None)
    return OnTape


# Rates that float32 has, as a graph reads them; rows of the log that are means over steps.
RATE = "0.000244140625"
RATES = [f"model.lr.D={RATE}", f"model.lr.G={RATE}", "model.decay_start=32", "model.decay_end=160", "log_every=32"]


def left(cfg: DictConfig) -> dict[str, Any]:
    """What a run leaves."""
    gan: Any = run(cfg).lightning_module
    moments = [[*slots.values()] for o in gan._players.values() for slots in o.state.values()]
    return {
        "state": gan.state_dict(), "moments": moments, "turns": gan.turns, "rng": gan.rng.get_state(),
        "default": torch.get_rng_state(), "log": Path(cfg.run_dir, "metrics.csv").read_text(),
    }  # fmt: skip


@pytest.mark.parametrize("name", some_slow(list(CAPTURED), "vanilla", "ada"))
def test_replayed_steps_are_the_steps(name: str, tape: type[OnTape], tmp_path: Path) -> None:
    model, *options = [*CAPTURED[name], *(RATES[1:] if name == "style_transfer" else RATES)]  # which has no D
    eager = left(small(model, tmp_path / "eager", *options))
    captured = left(small(model, tmp_path / "captured", *options, "cuda_graph=true"))
    assert tape.replays == 8 - graph.WARM
    assert set(captured["turns"].values()) == {8}
    rows = [row for row in csv.DictReader(captured["log"].splitlines()) if row["G/grad_norm"]]
    assert len(rows) == 4, "of two steps each"
    for what, value in eager.items():
        assert same(value, captured[what]), what


@pytest.mark.slow
def test_a_resumed_run_captures_anew(tape: type[OnTape], tmp_path: Path) -> None:
    """And goes on bit for bit, from one with a graph or without to one with a graph or without."""
    straight = left(small("vanilla", tmp_path / "straight", *RATES, "cuda_graph=true"))
    for name, graphs in {"both": ("true", "true"), "first": ("true", "false"), "second": ("false", "true")}.items():
        begun = ["callbacks.budget.max_images=64", f"cuda_graph={graphs[0]}"]
        run(small("vanilla", tmp_path / name, *RATES, *begun))
        resumed = left(small("vanilla", tmp_path / name, *RATES, f"cuda_graph={graphs[1]}", "resume=here"))
        assert same(resumed, straight), name
    assert tape.replays == 1


def test_what_is_not_finite_in_a_replay_is_heard_of(
    tape: type[OnTape], small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    when(96, lambda gan: next(gan.G.parameters()).data.fill_(torch.nan), monkeypatch)
    with pytest.raises(Diverged, match="D/adversarial is nan, at image 96"):
        run(small("vanilla", "cuda_graph=true", "callbacks.checkpoints.every=1_000"))
    assert tape.gan.images == 112


def test_batches_of_another_shape_are_refused() -> None:
    captured = graph.StepGraph(torch.Generator())
    captured.warm, captured.graph = 0, OnTape()
    captured._batch = (torch.zeros(4, 1, 8, 8),)
    with pytest.raises(ValueError, match=r"replays a step on \[4, 1, 8, 8\], and a batch has \[3, 1, 8, 8\]"):
        captured(lambda batch: [], (torch.zeros(3, 1, 8, 8),))


REFUSED = {
    "dcgan model.n_critic=2": "model.n_critic=2 leaves G out of some: set it to 1",
    "dcgan model.skip_d_above=0.9": "model.skip_d_above=0.9 leaves D out of some: set it to null",
    "vanilla regularizer=r1 model.regularizer.every=4": "every=4 penalises in some alone: set it to 1",
    "vanilla regularizer=r1 augment=ada": "model.regularizer.at=image draws one augmentation twice",
    "r3gan": "model.burn_in moves what a graph keeps: set it to null",
    "cyclegan": "model.history=50 keeps and shows images as Python draws: set it to 0",
    "srgan": "begins with others than it ends with: set it to 0",
    "stylegan_lite": "StyleGANLite may decide anew in each: choose another model",
    "fastgan": "FastGAN may decide anew in each",
    "f_anogan model.n_critic=2": "FAnoGAN may decide anew in each",
}


@pytest.mark.parametrize("settings", REFUSED)
def test_what_decides_from_step_to_step_is_refused(settings: str) -> None:
    model, *options = settings.split()
    gan = make(model, *SMALL[model], *options)
    with pytest.raises(ValueError, match="cuda_graph=true makes all steps alike, and ") as error:
        gan.capture_steps()
    assert REFUSED[settings] in str(error.value)
    assert str(error.value).endswith(", or leave out cuda_graph=")


def test_it_needs_a_gpu_and_one_process(small: Small) -> None:
    with pytest.raises(ValueError, match="needs a GPU with CUDA, and this run is on cpu: leave it out"):
        run(small("vanilla", "cuda_graph=true"))
    with pytest.raises(ValueError, match="is for one process, and this run has 2"):
        graph.refuse_place(torch.device("cuda"), 2)
    graph.refuse_place(torch.device("cuda"), 1)


def test_it_needs_optimizers_that_can_be_captured() -> None:
    weight = [torch.nn.Parameter(torch.ones(1))]
    with pytest.raises(ValueError, match="needs fused Adam or AdamW, and a player has RMSprop"):
        graph.make_capturable([torch.optim.RMSprop(weight)], torch.device("cpu"))
