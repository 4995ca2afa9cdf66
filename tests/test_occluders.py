"""What stands before the face: how much it covers, how often, and that the rest stays."""

from math import prod

import pytest
import torch
from torch import Tensor

from people import rng
from vrn_lite.frame import Grid
from vrn_lite.synth import occluders
from vrn_lite.synth.appearance import Appearance
from vrn_lite.synth.degradations import pixels
from vrn_lite.synth.occluders import OCCLUDERS, _cover, _reach, occlude

GRID = Grid(32, 40, 48, 1.5)


def unpainted(batch: int) -> Tensor:
    """A picture of a colour that no paint has."""
    return torch.full((batch, 3, 40, 48), -1.0)


@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 3.0])
def test_occluders_come_as_often_as_their_shares_say(factor):
    touched = (occlude(unpainted(600), GRID, rng(16, 600), Appearance(occluders=factor)) != -1).any(1)
    share = 1 - prod(1 - factor * thing.share for thing in OCCLUDERS)
    assert float(touched.flatten(1).any(1).float().mean()) == pytest.approx(share, abs=0.05)


def test_occluders_cover_a_small_part_of_the_pictures():
    touched = (occlude(unpainted(600), GRID, rng(16, 600), Appearance()) != -1).any(1)
    assert 0.002 < touched.float().mean() < 0.03


@pytest.mark.parametrize("thing", OCCLUDERS, ids=lambda thing: thing.name)
def test_an_occluder_leaves_most_of_the_picture(thing):
    images = _cover(unpainted(200), rng(17, 200), thing.outline, thing.colours, GRID)
    touched = (images != -1).any(1).float().mean((1, 2))
    assert 0.005 < touched.mean() < 0.3
    assert touched.max() < 0.5
    painted = images[(images != -1).any(1, keepdim=True).expand_as(images)]
    assert 0 <= painted.min() < painted.max() <= 1


@pytest.mark.parametrize("thing", OCCLUDERS, ids=lambda thing: thing.name)
def test_an_occluder_alone_is_drawn_as_among_the_others(thing, monkeypatch):
    """Where no other one stands before it."""
    everything = occlude(unpainted(60), GRID, rng(18, 60), Appearance(occluders=4))
    monkeypatch.setattr(occluders, "OCCLUDERS", (thing,))
    alone = occlude(unpainted(60), GRID, rng(18, 60), Appearance(occluders=4))
    drawn = (alone != -1).any(1)
    assert drawn.any()
    same = (alone == everything).all(1) & drawn
    assert same.sum() > 0.5 * drawn.sum()


def test_the_last_thing_is_drawn_over_the_others(monkeypatch):
    over, under = OCCLUDERS[0], OCCLUDERS[3]
    monkeypatch.setattr(occluders, "OCCLUDERS", (under, over))
    both = occlude(unpainted(100), GRID, rng(19, 100), Appearance(occluders=40))
    monkeypatch.setattr(occluders, "OCCLUDERS", (over,))
    alone = occlude(unpainted(100), GRID, rng(19, 100), Appearance(occluders=40))
    drawn = alone != -1
    assert drawn.any()
    assert torch.equal(both[drawn], alone[drawn])


def test_reach_is_the_distance_to_a_segment_over_its_radius():
    x, y = pixels(torch.zeros(1, 3, 20, 20))
    start, end, radius = torch.tensor([[[5.5, 10.5]]]), torch.tensor([[[12.5, 10.5]]]), torch.tensor([[2.0]])
    reach = _reach(x, y, (start, end, radius))[0]
    assert reach[10, 5:13].abs().max() == 0
    assert reach[12, 8] == 1
    assert reach[10, 16] == 4
    assert reach[13, 16] == 25 / 4


def test_pictures_are_changed_in_copies():
    images = torch.rand(40, 3, 40, 48, generator=torch.Generator().manual_seed(1))
    before = images.clone()
    assert not torch.equal(occlude(images, GRID, rng(24, 40), Appearance(occluders=3)), before)
    assert torch.equal(images, before)
