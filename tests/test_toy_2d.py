"""The 2-D test bed counts modes as it says, and its GAN learns."""

import logging
from types import ModuleType

import pytest
import torch
from common import program

from zoo.game.losses import OBJECTIVES
from zoo.game.regularizers import Regularizer
from zoo.run.config import table


@pytest.fixture(scope="module")
def toy() -> ModuleType:
    return program("scripts/toy_2d.py")


def test_modes_and_quality_by_hand(toy: ModuleType) -> None:
    mixture = toy.Mixture("three", torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]), 1.0)
    points = torch.tensor([[0.0, 2.9]] * 10 + [[10.0, -3.1]] * 12 + [[10.0, 0.0]] * 1 + [[2.0, 10.0]] * 1)
    covered, quality = toy.coverage(points, mixture)  # a quarter of a fair share of 24 is 2
    assert covered.tolist() == [True, False, False]
    assert quality == pytest.approx(12 / 24)  # 2.9 sigma is near, 3.1 sigma is far
    covered, _ = toy.coverage(
        torch.cat([points, torch.tensor([[10.0, 0.0]] * 2)]), mixture
    )  # 3 of 26, and 2.17 will do
    assert covered.tolist() == [True, True, False]


def test_real_points_cover_every_mode(toy: ModuleType) -> None:
    for name, modes in (("ring", 8), ("grid", 25)):
        mixture = toy.SETS[name]
        points = mixture.sample(20_000, torch.Generator().manual_seed(0))
        covered, quality = toy.coverage(points, mixture)
        assert covered.tolist() == [True] * modes
        assert quality == pytest.approx(1 - torch.tensor(-4.5).exp().item(), abs=0.003)  # 98.9 % within 3 sigma
        covered, _ = toy.coverage(points[points[:, 0] > 1], mixture)
        assert torch.equal(covered, mixture.centres[:, 0] > 1)


def test_every_choice_is_in_the_test_bed(toy: ModuleType) -> None:
    assert toy.COMBINATIONS.keys() == OBJECTIVES.keys()
    assert toy.PENALTIES.keys() == table("regularizer").keys() - {"r1_lazy"}  # R1, in fewer turns
    for penalty in toy.PENALTIES.values():
        Regularizer(**penalty)


@pytest.mark.slow
def test_one_combination_covers_the_ring(toy: ModuleType) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    points = toy.train("ring", "hinge", "r1", steps=None, seed=1)
    covered, quality = toy.coverage(points, toy.SETS["ring"])
    assert covered.all()
    assert quality > 0.75
