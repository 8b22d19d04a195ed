"""The path length and its penalty on linear generators, whose Jacobians are known."""

import pytest
import torch
from torch import Tensor

from zoo.networks.path_length import PathLength, path_lengths


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_generator() -> tuple[Tensor, Tensor]:
    """g(w_1, w_2) = A_1 w_1 + A_2 w_2 as images [N, 1, 2, 3]: A [2, 6, 4], and ws [5, 2, 4]."""
    generator = stream(3)
    return torch.randn(2, 6, 4, generator=generator).double(), torch.randn(5, 2, 4, generator=generator).double()


def test_path_lengths_of_a_linear_generator() -> None:
    """J_l = A_l everywhere: the root of the mean over layers of the square of A_l^T y, over the root of the pixels."""
    A, ws = linear_generator()
    y = torch.randn(5, 1, 2, 3, generator=stream(4)).double()
    g = lambda ws: torch.einsum("lpk,nlk->np", A, ws).view(-1, 1, 2, 3)
    lengths = path_lengths(g, ws.requires_grad_(), normal=lambda *shape: y.view(shape))
    pulled = torch.einsum("lpk,np->nlk", A, y.view(5, 6) / 6**0.5)
    torch.testing.assert_close(lengths, pulled.square().sum(2).mean(1).sqrt())
    lengths, doubled = (
        path_lengths(lambda ws, c=c: c * g(ws), ws, normal=lambda *shape: y.view(shape)) for c in (1, 2)
    )
    torch.testing.assert_close(doubled, 2 * lengths)


def test_the_path_length_s_penalty_its_mean_and_its_gradient() -> None:
    """weight every E[(c l - a)^2], a moved first, by decay to the mean c m; its derivative by c, through a too, is
    2 weight every E[(c l - a) (l - decay m)]."""
    A, ws = linear_generator()
    y = torch.randn(5, 1, 2, 3, generator=stream(4)).double()
    c = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    g = lambda ws: torch.einsum("lpk,nlk->np", A, ws).view(-1, 1, 2, 3)
    normal = lambda *shape: y.view(shape)
    lengths = path_lengths(g, ws.requires_grad_(), normal=normal).detach()
    penalty = PathLength(weight=2.0, every=4, shrink=2, decay=0.25).double()
    penalty.a.fill_(0.5)
    of_c = path_lengths(lambda ws: c * g(ws), ws, normal=normal)
    value = penalty(of_c, mean=of_c.mean().detach())
    a = 0.5 + 0.25 * (1.5 * lengths.mean().item() - 0.5)
    assert penalty.a.item() == pytest.approx(a)
    torch.testing.assert_close(value, 8 * (1.5 * lengths - a).square().mean())
    value.backward()
    torch.testing.assert_close(c.grad, 16 * ((1.5 * lengths - a) * (lengths - 0.25 * lengths.mean())).mean())


def test_the_ranks_derivatives_average_to_one_process_s() -> None:
    """As the authors write it, with the mean of all lengths in the graph; the ranks have unlike images."""
    scale, base = torch.tensor([0.7, 2.0]), torch.rand(6, generator=stream(5)) + torch.arange(6)
    lengths = lambda c: base * c[0] + base.square() * c[1]

    def derivative(part: slice) -> Tensor:
        penalty, c = PathLength(weight=2.0, every=4, shrink=2, decay=0.25), scale.clone().requires_grad_()
        penalty.a.fill_(3.0)
        penalty(lengths(c)[part], mean=lengths(scale).mean().detach()).backward()
        return c.grad

    c = scale.clone().requires_grad_()
    a = torch.tensor(3.0).lerp(lengths(c).mean(), 0.25)
    (8 * (lengths(c) - a).square().mean()).backward()
    ranks = [derivative(slice(rank, None, 2)) for rank in range(2)]
    assert not torch.allclose(ranks[0], ranks[1])
    torch.testing.assert_close((ranks[0] + ranks[1]) / 2, c.grad)
    torch.testing.assert_close(derivative(slice(None)), c.grad)


def test_the_path_length_is_lazy_and_its_mean_is_that_of_all_ranks() -> None:
    penalty = PathLength(weight=2.0, every=4, shrink=2, decay=0.01)
    assert [turn for turn in range(1, 10) if penalty.due(turn)] == [1, 5, 9]
    assert not PathLength(weight=0.0, every=1, shrink=1, decay=0.01).due(1)
    assert [penalty.part(n) for n in (1, 2, 7, 16)] == [1, 1, 4, 8]
    penalty(torch.zeros(2), mean=torch.tensor(700.0))
    assert penalty.a.item() == pytest.approx(7.0)
    assert "a" in penalty.state_dict()
