"""Seeded chance."""

import pytest
import torch

from vrn_lite.dice import Dice


def dice(batch=4000, plain=False, seed=0):
    return Dice.of(torch.Generator().manual_seed(seed), batch, "cpu", plain)


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.9, 1.0])
def test_chance_comes_as_often_as_it_says(probability):
    drawn = dice().chance(probability, 2)
    assert drawn.shape == (4000, 2)
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    assert float(drawn.mean()) == pytest.approx(probability, abs=0.02)


def test_with_plain_dice_nothing_happens_by_chance():
    assert not dice(plain=True).chance(1.0, 3).any()
    index, few = dice(plain=True).some(1.0)
    assert len(index) == few.batch == 0
    assert bool((dice(plain=True).lot(2) == 0.5).all())


def test_some_picks_a_share_and_gives_dice_of_that_size():
    index, few = dice().some(0.3)
    assert len(index) == few.batch == pytest.approx(1200, abs=100)
    assert bool((index[1:] > index[:-1]).all())


def test_plain_dice_use_up_the_same_numbers():
    """So that a plain picture and a random one of the same seed show the same colours and lights."""
    normal, plain = dice(8), dice(8, plain=True)
    for one in (normal, plain):
        one.chance(0.5, 2), one.lot(3)
    assert torch.equal(normal.uniform(0, 1, 4), plain.uniform(0, 1, 4))
