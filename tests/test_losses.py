"""Objectives against their closed forms."""

import math

import pytest
import torch

from zoo.losses import NonSaturating, judgement


def test_non_saturating_where_d_cannot_tell() -> None:
    loss, zeros = NonSaturating(), torch.zeros(5)
    assert loss.discriminator(zeros, zeros).item() == pytest.approx(2 * math.log(2))
    assert loss.generator(zeros).item() == pytest.approx(math.log(2))


def test_non_saturating_is_the_papers_formula() -> None:
    real, fake = torch.randn(7, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    D_real, D_fake = real.sigmoid(), fake.sigmoid()
    loss = NonSaturating()
    torch.testing.assert_close(loss.discriminator(real, fake), -(D_real.log().mean() + (1 - D_fake).log().mean()))
    torch.testing.assert_close(loss.generator(fake), -D_fake.log().mean())


def test_gradients_point_the_right_way() -> None:
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    NonSaturating().discriminator(real, fake).backward()
    assert (real.grad < 0).all()  # D's descent raises real logits
    assert (fake.grad > 0).all()  # and lowers fake ones
    fake = torch.zeros(3, requires_grad=True)
    NonSaturating().generator(fake).backward()
    assert (fake.grad < 0).all()  # G's descent raises fake logits


def test_a_confident_discriminator_still_gives_gradients() -> None:
    fake = torch.tensor([-50.0], requires_grad=True)
    NonSaturating().generator(fake).backward()
    assert fake.grad.item() == pytest.approx(-1.0)  # the saturating objective's would be about -2e-22


def test_judgement() -> None:
    seen = judgement(torch.tensor([1.0, 2.0, -1.0, 4.0]), torch.tensor([-1.0, 3.0]))
    assert {name: value.item() for name, value in seen.items()} == {
        "accuracy_real": 0.75,
        "accuracy_fake": 0.5,
        "logit_real": 1.5,
        "logit_fake": 1.0,
    }
