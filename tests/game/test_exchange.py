"""Which gradients are averaged when: what is sent during the backward pass, and that nothing depends on it.

The other rank is played: its gradients are all 1, and its objective is. So a mean is (gradient + 1) / 2.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo.game import exchange
from zoo.game.exchange import BUCKET_BYTES, Exchange, buckets


@dataclass
class Wire:
    """The messages of a turn: their numbers as they were sent, and whether that was during the backward pass."""

    names: Callable[[Any, Any], None] = lambda ranks, mine: ranks.__setitem__(slice(None), [mine, mine])
    compared: int = 0
    sent: list[tuple[list[float], bool]] = field(default_factory=list)

    def all_reduce(self, flat: Tensor, async_op: bool) -> "Wire.Work":
        self.sent.append((flat.tolist(), not torch.is_grad_enabled()))  # a hook has no grad
        return Wire.Work(flat)

    def gather(self, ranks: list[Any], mine: list[str]) -> None:
        self.compared += 1
        self.names(ranks, mine)

    @dataclass
    class Work:
        flat: Tensor

        def wait(self) -> None:
            self.flat += 1.0


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire = Wire()
    monkeypatch.setattr(dist, "all_reduce", wire.all_reduce)
    monkeypatch.setattr(dist, "all_gather_object", wire.gather)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(exchange, "BUCKET_BYTES", 12)  # a layer of those below
    return wire


class Layers(nn.Module):
    """Four layers of three numbers, of which those are used that are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 1) for _ in range(4))

    def forward(self, x: Tensor, used: range = range(4)) -> Tensor:
        for k in used:
            x = torch.cat([self.layers[k](x), x[:, :1]], 1)
        return x.square().sum()


def turn(network: nn.Module, of: Exchange, wire: Wire, objective: Tensor) -> list[tuple[list[float], bool]]:
    """A turn's messages, behind that of the objective; its means are compared with the closed form."""
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(objective, parameters, retain_graph=True, allow_unused=True)
    network.zero_grad()
    wire.sent, total = [], objective.detach().clone()
    with of.average(total):
        objective.backward()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert (parameter.grad is None) == (gradient is None)
        if gradient is not None:
            assert torch.equal(parameter.grad, (gradient + 1) / 2)  # type: ignore[arg-type]
    assert torch.equal(total, (objective.detach() + 1) / 2)
    assert wire.sent[0] == ([objective.item()], False)
    return wire.sent[1:]


def test_from_the_third_turn_on_gradients_leave_during_the_pass(wire: Wire) -> None:
    """The same messages as before, in the order in which gradients come."""
    network = Layers()
    of = Exchange("D", list(network.named_parameters()))
    x = torch.randn(5, 2)
    first, second, third, fourth = (turn(network, of, wire, network(x)) for _ in range(4))
    assert wire.compared == 2
    assert [during for _, during in first + second] == [False] * 8
    assert [during for _, during in third + fourth] == [True] * 8
    assert first == second
    assert [numbers for numbers, _ in third] == [numbers for numbers, _ in first]
    for layer, (numbers, _) in zip(reversed(network.layers), third, strict=True):
        means = torch.cat([layer.bias.grad, layer.weight.grad[0]])  # type: ignore[list-item, index]
        torch.testing.assert_close(torch.tensor(numbers), 2 * means - 1)


def test_the_order_is_rank_0s(wire: Wire) -> None:
    """Here the other way round: each waits for the first layer, which comes last."""
    wire.names = lambda ranks, mine: ranks.__setitem__(slice(None), [mine[::-1], mine])
    network = Layers()
    of = Exchange("D", list(network.named_parameters()))
    for k in range(3):
        sent = turn(network, of, wire, network(torch.ones(1, 2)))
        assert [during for _, during in sent] == [k == 2] * 4
        for layer, (numbers, _) in zip(network.layers, sent, strict=True):
            assert numbers[0] == pytest.approx(2 * layer.bias.grad.item() - 1, abs=1e-4)  # type: ignore[union-attr, operator]


def test_what_a_turn_leaves_out_or_adds_is_sent_after_it(wire: Wire) -> None:
    """A network that grows, a part that is not used: each is compared twice, and then known."""
    network = Layers()
    of = Exchange("D", list(network.named_parameters()))
    x = torch.randn(5, 2)
    play = lambda used: [during for _, during in turn(network, of, wire, network(x, used))]
    half, whole = range(2), range(4)
    assert [play(half) for _ in range(3)] == [[False] * 2, [False] * 2, [True] * 2]
    assert play(whole) == [True, True, False, False]  # what was known, and what is new
    assert [play(whole) for _ in range(2)] == [[False] * 4, [True] * 4]
    assert wire.compared == 4
    assert play(half) == [False, False]  # the first to be sent does not come
    assert play(half) == [True, True]
    assert play(range(1, 3)) == [True, False]
    assert wire.compared == 5


def test_each_set_of_parameters_is_agreed_on(wire: Wire) -> None:
    network = Layers()
    of = Exchange("D", list(network.named_parameters()))
    turn(network, of, wire, network(torch.ones(1, 2)))
    wire.names = lambda ranks, mine: ranks.__setitem__(slice(None), [mine, mine[1:]])
    with pytest.raises(
        RuntimeError, match=r"in D's turn only some ranks have gradients for layers\.3\.(bias|weight): every"
    ):
        turn(network, of, wire, network(torch.ones(1, 2)))


def test_a_gradient_that_comes_in_parts_is_sent_whole(wire: Wire) -> None:
    """Each checkpointed part of a network has a backward pass of its own: weights that two of them share come twice."""
    network = Layers()
    of = Exchange("D", list(network.named_parameters()))
    x = torch.randn(5, 2, requires_grad=True)

    def twice(*, reentrant: bool) -> list[bool]:
        parts = [checkpoint(network, x * k, use_reentrant=reentrant) for k in (1, 2)]
        network.zero_grad()
        wire.sent = []
        with of.average(torch.zeros(())):
            sum(parts).backward()  # type: ignore[union-attr]
        for layer in network.layers:
            (gradient,) = torch.autograd.grad(network(x) + network(2 * x), layer.weight)  # type: ignore[arg-type]
            torch.testing.assert_close(layer.weight.grad, (gradient + 1) / 2)
        return [during for _, during in wire.sent[1:]]

    assert [twice(reentrant=True) for _ in range(3)] == [[False] * 4] * 3
    turn(network, of, wire, network(x))
    assert twice(reentrant=False) == [True] * 4
    with pytest.raises(RuntimeError, match=r"layers\.\d\.\w+ grows after it was sent.*use_reentrant=False"):
        twice(reentrant=True)


def test_other_gradients_are_nobodys(wire: Wire) -> None:
    """Of another network in the same pass, of a penalty's inner pass, and of passes outside of a turn."""
    network, other = Layers(), Layers()
    of = Exchange("D", list(network.named_parameters()))
    for _ in range(3):
        x = torch.randn(5, 2, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(x), x, create_graph=True)
        other.zero_grad()
        sent = turn(network, of, wire, network(x) + gradient.square().sum() + other(x))
        (single,) = torch.autograd.grad(other(x), other.layers[0].weight)  # type: ignore[arg-type]
        assert torch.equal(other.layers[0].weight.grad, single)  # type: ignore[arg-type]
        network(x).backward()
        assert wire.sent[1:] == sent
    assert [during for _, during in sent] == [True] * 4


def test_a_compiled_network_and_a_failing_pass(wire: Wire) -> None:
    network = Layers()
    of = Exchange("D", list(network.named_parameters()))
    network.compile(backend="aot_eager")
    x = torch.randn(5, 2)
    assert [[d for _, d in turn(network, of, wire, network(x))] for _ in range(3)][2] == [True] * 4
    with pytest.raises(KeyError, match="a bug"), of.average(torch.zeros(())):
        raise KeyError("a bug")
    wire.sent = []
    network(x).backward()
    assert not wire.sent, "no hook is left behind"


def test_buckets_are_of_one_dtype_and_bounded() -> None:
    quarter = BUCKET_BYTES // 16
    tensors = [torch.empty(quarter) for _ in range(6)] + [
        torch.empty(3, dtype=torch.float64),
        torch.empty(10 * quarter),
    ]
    groups = buckets(tensors, BUCKET_BYTES)
    assert sum(len(group) for group in groups) == len(tensors)
    for group in groups:
        assert len({tensor.dtype for tensor in group}) == 1
        assert len(group) == 1 or sum(t.numel() * t.element_size() for t in group) <= BUCKET_BYTES
