"""The moving average against its closed form."""

import pytest
import torch
from torch import nn

from zoo.game.averages import EMA


def constant(value: float) -> nn.Linear:
    network = nn.Linear(1, 1)
    for parameter in network.parameters():
        nn.init.constant_(parameter, value)
    return network


def test_half_life_is_in_images() -> None:
    ema = EMA(constant(1.0), half_life=100, warmup=0)
    for _ in range(10):
        ema.update(constant(0.0), images=10)  # 100 images in all: one half-life
    assert ema.module.weight.item() == pytest.approx(0.5)
    for _ in range(2):
        ema.update(constant(0.0), images=100)
    assert ema.module.weight.item() == pytest.approx(0.125)
    assert ema.images == 300


def test_warm_up_forgets_the_start() -> None:
    ema = EMA(constant(1.0), half_life=1_000_000, warmup=0.05)
    ema.update(constant(0.0), images=64)
    assert ema.module.weight.item() == 0.0  # nothing seen before: the first update copies
    assert ema.beta(64) == pytest.approx(0.5 ** (64 / (0.05 * 64)))
    ema.images = 10**9
    assert ema.beta(1000) == pytest.approx(0.5 ** (1000 / 1_000_000))


def test_half_life_zero_follows_exactly() -> None:
    ema = EMA(constant(1.0), half_life=0)
    ema.update(constant(0.25), images=1)
    assert ema.module.weight.item() == 0.25


def test_buffers_are_averaged_and_counters_copied() -> None:
    network = nn.BatchNorm1d(3)
    ema = EMA(network, half_life=10, warmup=0)
    network.running_mean.fill_(2.0)
    network.num_batches_tracked.fill_(7)
    ema.update(network, images=10)
    torch.testing.assert_close(ema.module.running_mean, torch.full((3,), 1.0))
    assert ema.module.num_batches_tracked.item() == 7


def test_buffers_that_a_module_names_are_copied() -> None:
    """Wherever it is in the network, and no other buffer of that name."""

    class Tracked(nn.Module):
        copied_buffers = frozenset({"mean"})

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(2))
            self.register_buffer("other", torch.zeros(2))

    network = nn.Sequential(nn.Linear(1, 1), Tracked(), nn.Module())
    network[2].register_buffer("mean", torch.zeros(2))
    ema = EMA(network, half_life=10, warmup=0)
    for value in (1.0, 5.0):
        for buffer in network.buffers():
            buffer.fill_(value)
        ema.update(network, images=10)
    assert [buffer[0].item() for buffer in ema.module.buffers()] == [5.0, 2.75, 2.75]


def test_state_goes_on_where_it_was() -> None:
    straight, first = EMA(constant(1.0), half_life=100), EMA(constant(1.0), half_life=100)
    for k in range(3):
        straight.update(constant(k), images=50)
        first.update(constant(k), images=50)
    second = EMA(constant(5.0), half_life=100)
    second.load_state_dict(first.state_dict())
    straight.update(constant(9.0), images=50)
    second.update(constant(9.0), images=50)
    assert torch.equal(straight.module.weight, second.module.weight)


def test_it_is_never_trained() -> None:
    ema = EMA(nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)), half_life=1)
    nn.Sequential(ema).train()
    assert not any(module.training for module in ema.modules())
    assert not any(parameter.requires_grad for parameter in ema.parameters())


def test_bad_half_life() -> None:
    with pytest.raises(ValueError, match="half_life=-1"):
        EMA(constant(1.0), half_life=-1)


def test_tensors_may_be_moved_or_replaced_between_updates() -> None:
    network = constant(1.0)
    ema = EMA(network, half_life=10, warmup=0)
    ema.update(network, images=10)
    network.double(), ema.double()
    network.load_state_dict({name: value * 0 for name, value in network.state_dict().items()}, assign=True)
    ema.update(network, images=10)
    assert ema.module.weight.item() == pytest.approx(0.5)
    other = constant(1.0).double()
    ema.update(other, images=10)  # another network to follow
    assert ema.module.weight.item() == pytest.approx(0.75)
