"""Glasses sit before the eyes, turn with the head, and hide behind what is nearer."""

import math

import pytest
import torch
from torch import Tensor

from people import rng
from vrn_lite.synth.eyewear import glasses

SIDE = 128


def head(batch: int, yaw: float = 0.0) -> Tensor:
    """68 landmarks of a head, 45 px between the outer corners of its eyes: eyes, nose, ears; the rest in the middle."""
    points = torch.zeros(68, 3)
    eye = torch.tensor([[-0.15, 0], [-0.05, -0.05], [0.05, -0.05], [0.15, 0], [0.05, 0.05], [-0.05, 0.05]])
    points[36:42, :2], points[42:48, :2] = eye + torch.tensor([-0.35, 0]), eye + torch.tensor([0.35, 0])
    points[33] = torch.tensor([0.0, 0.5, -0.3])
    points[0], points[16] = torch.tensor([-0.8, 0.0, 0.6]), torch.tensor([0.8, 0.0, 0.6])
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    turned = points @ torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return (45 * turned + SIDE / 2).expand(batch, -1, -1)


def drawn(seed: int, depth: float = math.inf, yaw: float = 0.0, batch: int = 60, share: float = 0.18) -> Tensor:
    """Where glasses change a picture that no paint equals."""
    picture = torch.full((batch, 3, SIDE, SIDE), -1.0)
    nearest = torch.full((batch, SIDE, SIDE), depth)
    return (glasses(picture, nearest, head(batch, yaw), rng(seed, batch), share) != -1).any(1)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_glasses_are_worn_as_often_as_is_said(share):
    assert float(drawn(7, share=share).flatten(1).any(1).float().mean()) == pytest.approx(share, abs=0.15)


def test_glasses_sit_before_the_eyes():
    touched = drawn(7, share=1.0)
    rows, columns = touched.any(0).any(1).nonzero(), touched.any(0).any(0).nonzero()
    assert SIDE / 2 - 0.4 * 45 < rows.min() <= rows.max() < SIDE / 2 + 0.4 * 45
    assert SIDE / 2 - 0.95 * 45 < columns.min() <= columns.max() < SIDE / 2 + 0.95 * 45


def test_most_glasses_are_clear_and_some_are_dark():
    picture, nothing = torch.full((60, 3, SIDE, SIDE), -1.0), torch.full((60, SIDE, SIDE), math.inf)
    lens = glasses(picture, nothing, head(60), rng(11, 60), 1.0)[:, :, 65, 48].mean(1)  # the middle of the left one
    assert float(lens.median()) < -0.7
    assert float(lens.max()) > 0


def test_a_face_has_the_same_glasses_whoever_else_wears_some():
    some, all_ = drawn(10, share=0.4), drawn(10, share=1.0)
    wearing = some.flatten(1).any(1)
    assert 0 < wearing.sum() < len(wearing)
    assert torch.equal(some[wearing], all_[wearing])


def test_glasses_are_hidden_by_what_stands_before_them():
    assert not drawn(7, depth=-1000.0, share=1.0).any()


@pytest.mark.parametrize("yaw", [-90.0, -60.0, 60.0, 90.0])
def test_glasses_turn_with_the_head(yaw):
    front, turned = drawn(8).float(), drawn(8, yaw=yaw).float()
    column = torch.arange(SIDE) - SIDE / 2
    assert abs((front.sum((0, 1)) * column).sum() / front.sum()) < 1
    assert 0 < turned.sum() < front.sum()


def test_glasses_leave_colours_between_0_and_1_and_their_picture_alone():
    picture = torch.rand(60, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(9))
    before = picture.clone()
    images = glasses(picture, torch.full((60, SIDE, SIDE), math.inf), head(60), rng(9, 60), 0.5)
    assert 0 <= images.min() <= images.max() <= 1
    assert torch.equal(picture, before)
