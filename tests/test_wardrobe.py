import math

import pytest
import torch

from shapes import toy_face
from vrn_lite.dice import Dice
from vrn_lite.faces.morphable import MorphableFace, grow_hair
from vrn_lite.wardrobe import dress, glasses, hair_triangles, waves

SIDE = 128


@pytest.fixture(scope="module")
def face() -> MorphableFace:
    return grow_hair(toy_face())


def dice(seed: int = 0, batch: int = 300) -> Dice:
    return Dice.of(torch.Generator().manual_seed(seed), batch, "cpu")


def head(batch: int, yaw: float = 0.0) -> torch.Tensor:
    """68 landmarks of a head of 45 px between the outer corners of the eyes: eyes, nose, ears' height; the rest in the middle."""
    points = torch.zeros(68, 3)
    eye = torch.tensor([[-0.15, 0], [-0.05, -0.05], [0.05, -0.05], [0.15, 0], [0.05, 0.05], [-0.05, 0.05]])
    points[36:42, :2], points[42:48, :2] = eye + torch.tensor([-0.35, 0]), eye + torch.tensor([0.35, 0])
    points[33] = torch.tensor([0.0, 0.5, -0.3])
    points[0], points[16] = torch.tensor([-0.8, 0.0, 0.6]), torch.tensor([0.8, 0.0, 0.6])
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    turned = points @ torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return (45 * turned + SIDE / 2).expand(batch, -1, -1)


def drawn(seed: int, depth: float = math.inf, yaw: float = 0.0, batch: int = 60) -> torch.Tensor:
    """Where glasses change a picture that no paint equals."""
    picture = torch.full((batch, 3, SIDE, SIDE), -1.0)
    return (glasses(picture, torch.full((batch, SIDE, SIDE), depth), head(batch, yaw), dice(seed, batch)) != -1).any(1)


def test_dressing_moves_the_hair_and_nothing_else(face):
    vertices = face.mean.expand(300, -1, -1)
    before = vertices.clone()
    moved = (dress(vertices, face, dice(1)).vertices - before).abs().amax(-1)
    hair = face.regions["hair"] > 0
    assert (moved[:, ~hair] == 0).all()
    assert (moved[:, hair].amax(1) > 0).all()
    assert torch.equal(vertices, before)


def test_hair_differs_between_heads(face):
    outfit = dress(face.mean.expand(12, -1, -1), face, dice(2, 12))
    assert torch.pdist(outfit.vertices[outfit.bald[:, 0] == 0].flatten(1)).min() > 0.1


def test_a_face_without_hair_is_left_alone():
    bald = toy_face()
    outfit = dress(bald.mean.expand(6, -1, -1), bald, dice(3, 6))
    assert torch.equal(outfit.vertices, bald.mean.expand(6, -1, -1))
    assert (outfit.cloth == 0).all()


def test_a_tenth_is_bald_with_the_shell_below_the_skin(face):
    outfit = dress(face.mean.expand(300, -1, -1), face, dice(4))
    hair, bald = face.regions["hair"] > 0, outfit.bald[:, 0] > 0
    assert 0.05 < bald.float().mean() < 0.16
    axis = face.mean[hair].mean(0) * torch.tensor([0.0, 0, 1])
    out = (outfit.vertices - face.mean)[:, hair] * (face.mean[hair] - axis)
    assert (out[bald].sum(-1) < 0).float().mean() > 0.95
    assert (out[~bald].sum(-1) > 0).float().mean() > 0.6


def test_some_wear_cloth_on_the_hair_only_and_no_bald_head_does(face):
    outfit = dress(face.mean.expand(300, -1, -1), face, dice(5))
    worn = outfit.cloth.amax(1) > 0.5
    assert 0.08 < worn.float().mean() < 0.25
    assert (outfit.cloth[:, face.regions["hair"] == 0] == 0).all()
    assert (outfit.cloth[outfit.bald[:, 0] > 0] == 0).all()
    assert 0 <= outfit.cloth.min() <= outfit.cloth.max() <= 1


def test_hair_triangles_are_those_that_grew_and_bound_no_solid(face):
    bald = toy_face()
    assert hair_triangles(face).sum() == len(face.triangles) - len(bald.triangles) > 0
    assert not (hair_triangles(face) & face.patch).any()
    assert not hair_triangles(bald).any()


def test_waves_have_unit_variance():
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(6))
    noise = waves(points, dice(6, 100), 2)
    assert noise.shape == (100, 2000, 2)
    assert float(noise.std()) == pytest.approx(1, abs=0.15)


def test_glasses_sit_before_the_eyes_of_some_faces():
    touched = drawn(7)
    assert 0.08 < touched.flatten(1).any(1).float().mean() < 0.35
    rows, columns = touched.any(0).any(1).nonzero(), touched.any(0).any(0).nonzero()
    assert SIDE / 2 - 0.4 * 45 < rows.min() <= rows.max() < SIDE / 2 + 0.4 * 45
    assert SIDE / 2 - 0.95 * 45 < columns.min() <= columns.max() < SIDE / 2 + 0.95 * 45


def test_glasses_are_hidden_by_what_stands_before_them():
    assert not drawn(7, depth=-1000.0).any()


@pytest.mark.parametrize("yaw", [-90.0, -60.0, 60.0, 90.0])
def test_glasses_turn_with_the_head(yaw):
    front, turned = drawn(8).float(), drawn(8, yaw=yaw).float()
    column = torch.arange(SIDE) - SIDE / 2
    assert abs((front.sum((0, 1)) * column).sum() / front.sum()) < 1
    assert 0 < turned.sum() < front.sum()


def test_glasses_leave_colours_between_0_and_1():
    picture = torch.rand(60, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(9))
    images = glasses(picture, torch.full((60, SIDE, SIDE), math.inf), head(60), dice(9, 60))
    assert 0 <= images.min() <= images.max() <= 1
