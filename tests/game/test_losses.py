"""Objectives against their papers' formulas: values, and gradients on a linear discriminator."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from zoo.game.losses import OBJECTIVES, Objective, named
from zoo.run.config import table

# The papers' formulas, with probabilities where they have probabilities: D's and G's objective of logits r and f,
# and by hand their derivatives, for each logit: D's by r and by f, G's by f.
Formula = Callable[[Tensor, Tensor], Tensor]
LOG = lambda x: x.sigmoid().log()
LOG_NOT = lambda x: (1 - x.sigmoid()).log()
FORMULAS: dict[str, tuple[Formula, Formula, Formula, Formula, Formula]] = {
    "non_saturating": (
        lambda r, f: -LOG(r).mean() - LOG_NOT(f).mean(),
        lambda r, f: -LOG(f).mean(),
        lambda r, f: r.sigmoid() - 1,
        lambda r, f: f.sigmoid(),
        lambda r, f: f.sigmoid() - 1,
    ),
    "minimax": (
        lambda r, f: -LOG(r).mean() - LOG_NOT(f).mean(),
        lambda r, f: LOG_NOT(f).mean(),
        lambda r, f: r.sigmoid() - 1,
        lambda r, f: f.sigmoid(),
        lambda r, f: -f.sigmoid(),
    ),
    "least_squares": (
        lambda r, f: 0.5 * ((r - 1) ** 2).mean() + 0.5 * (f**2).mean(),
        lambda r, f: 0.5 * ((f - 1) ** 2).mean(),
        lambda r, f: r - 1,
        lambda r, f: f,
        lambda r, f: f - 1,
    ),
    "hinge": (
        lambda r, f: -torch.minimum(r - 1, r * 0).mean() - torch.minimum(-1 - f, f * 0).mean(),
        lambda r, f: -f.mean(),
        lambda r, f: -(r < 1).double(),
        lambda r, f: (f > -1).double(),
        lambda r, f: -torch.ones_like(f),
    ),
    "wasserstein": (
        lambda r, f: -(r.mean() - f.mean()),
        lambda r, f: -f.mean(),
        lambda r, f: -torch.ones_like(r),
        lambda r, f: torch.ones_like(f),
        lambda r, f: -torch.ones_like(f),
    ),
    "relativistic_pairing": (
        lambda r, f: -LOG(r - f).mean(),
        lambda r, f: -LOG(f - r).mean(),
        lambda r, f: (r - f).sigmoid() - 1,
        lambda r, f: 1 - (r - f).sigmoid(),
        lambda r, f: (f - r).sigmoid() - 1,
    ),
}
UNDECIDED = {  # D's and G's objective where all logits are on the boundary, as the comments say
    "non_saturating": (2 * math.log(2), math.log(2)),
    "minimax": (2 * math.log(2), -math.log(2)),
    "least_squares": (0.25, 0.125),
    "hinge": (2.0, 0.0),
    "wasserstein": (0.0, 0.0),
    "relativistic_pairing": (math.log(2), math.log(2)),
}


@pytest.fixture(params=FORMULAS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_objective_is_tested_and_can_be_chosen() -> None:
    assert FORMULAS.keys() == OBJECTIVES.keys()
    assert table("loss") == {name: {"loss": name} for name in OBJECTIVES}


def test_values_are_the_papers(name: str) -> None:
    real, fake = torch.randn(2, 7, dtype=torch.float64) * 2
    d_value, g_value, *_ = FORMULAS[name]
    torch.testing.assert_close(named(name).discriminator(real, fake), d_value(real, fake))
    torch.testing.assert_close(named(name).generator(fake, real), g_value(real, fake))


def test_values_where_d_cannot_tell(name: str) -> None:
    loss = named(name)
    logits = torch.full((5,), loss.boundary or 0.0)
    values = loss.discriminator(logits, logits).item(), loss.generator(logits, logits).item()
    assert values == pytest.approx(UNDECIDED[name])


def test_gradients_on_a_linear_discriminator(name: str) -> None:
    """D(x) = w.x: D's gradient is the mean of dr * x and df * y over rows, G's on each fake image is df * w / N."""
    x, y = torch.randn(2, 6, 3, dtype=torch.float64) * 2
    w = torch.randn(3, dtype=torch.float64, requires_grad=True)
    y.requires_grad_()
    *_, d_real, d_fake, g_fake = FORMULAS[name]
    real, fake = (x @ w).detach(), (y @ w).detach()

    (of_w,) = torch.autograd.grad(named(name).discriminator(x @ w, y.detach() @ w), w)
    by_hand = (d_real(real, fake)[:, None] * x + d_fake(real, fake)[:, None] * y.detach()).mean(0)
    torch.testing.assert_close(of_w, by_hand)

    (of_y,) = torch.autograd.grad(named(name).generator(y @ w, (x @ w).detach()), y)
    torch.testing.assert_close(of_y, g_fake(real, fake)[:, None] * w.detach() / 6)


@pytest.mark.parametrize("shape", [(8, 1), (8, 1, 3, 2)], ids=["column", "patches"])
def test_the_shape_of_the_logits_does_not_matter(name: str, shape: tuple[int, ...]) -> None:
    real, fake = torch.randn(2, math.prod(shape))
    loss = named(name)
    patches = loss.discriminator(real.view(shape), fake.view(shape)), loss.generator(fake.view(shape), real.view(shape))
    torch.testing.assert_close(patches, (loss.discriminator(real, fake), loss.generator(fake, real)))
    assert all(value.dim() == 0 for value in patches)


def test_only_paired_objectives_need_real_logits_in_gs_turn(name: str) -> None:
    loss, fake = named(name), torch.zeros(2)
    assert loss.paired == (name == "relativistic_pairing")
    if loss.paired:
        with pytest.raises(ValueError, match="real=None"):
            loss.generator(fake)
    else:
        torch.testing.assert_close(loss.generator(fake), loss.generator(fake, torch.randn(2)))


def test_pairs_are_rows() -> None:
    """A fake image that is better than its own partner pays less, whatever the others are."""
    real, fake = torch.tensor([0.0, 10.0]), torch.tensor([0.0, 10.0])
    loss = named("relativistic_pairing")
    assert loss.discriminator(real, fake).item() == pytest.approx(math.log(2))
    assert loss.discriminator(real, fake.flip(0)).item() == pytest.approx(5.0, abs=1e-4)  # (log(1 + e^10) + 0) / 2


def test_a_confident_discriminator_still_gives_gradients() -> None:
    fake = torch.tensor([-50.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(named("non_saturating").generator(fake), fake)
    assert gradient.item() == pytest.approx(-1.0)
    (gradient,) = torch.autograd.grad(named("minimax").generator(fake), fake)
    assert abs(gradient.item()) < 1e-20  # saturated


def test_extreme_logits_stay_finite(name: str) -> None:
    logits = torch.tensor([-1e4, 1e4], requires_grad=True)
    for value in (named(name).discriminator(logits, -logits), named(name).generator(logits, -logits)):
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_an_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"loss='hinges' must be one of non_saturating, minimax, .*hinge"):
        named("hinges")


def values(seen: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in seen.items()}


def test_judgement() -> None:
    seen = named("non_saturating").judgement(torch.tensor([1.0, 2.0, -1.0, 4.0]), torch.tensor([-1.0, 3.0]))
    assert values(seen) == {
        "accuracy_real": 0.75,
        "accuracy_fake": 0.5,
        "logit_real": 1.5,
        "logit_fake": 1.0,
    }


def test_judgement_has_each_objectives_own_boundary() -> None:
    real, fake = torch.tensor([0.9, 0.4]), torch.tensor([0.2, 0.3])
    seen = values(named("least_squares").judgement(real, fake))
    assert (seen["accuracy_real"], seen["accuracy_fake"]) == (0.5, 1.0)
    seen = values(named("wasserstein").judgement(real - 100, fake - 100))  # halfway between -99.35 and -99.75
    assert (seen["accuracy_real"], seen["accuracy_fake"]) == (0.5, 1.0)


def test_accuracy_means_the_same_for_every_objective(name: str) -> None:
    loss: Objective = named(name)
    mid = loss.boundary or 0.0
    cases = [
        (torch.full((4, 1, 2, 2), mid + 3), torch.full((4, 1, 2, 2), mid - 3), 1.0),  # D has won
        (torch.tensor([mid - 1, mid + 1]), torch.tensor([mid - 1, mid + 1]), 0.5),  # can't tell
        (torch.full((4,), mid), torch.full((4,), mid), 0.5),  # says the same of all
        (torch.full((4,), mid - 3), torch.full((4,), mid + 3), 0.0),  # is wrong
    ]
    for real, fake, expected in cases:
        seen = loss.judgement(real.requires_grad_(), fake)
        assert (seen["accuracy_real"].item(), seen["accuracy_fake"].item()) == (expected, expected)
        assert not any(value.requires_grad for value in seen.values())
