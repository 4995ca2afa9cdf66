"""What surrounds the head: where it is, how often, and that it is an image."""

import pytest
import torch
from torch import Tensor

from people import rng
from vrn_lite.frame import Grid
from vrn_lite.synth import background as room
from vrn_lite.synth.appearance import Appearance
from vrn_lite.synth.background import LAYERS, Layer, background, cast_shadow, shoulders, textures
from vrn_lite.synth.degradations import degrade
from vrn_lite.synth.occluders import occlude

GRID = Grid(32, 40, 48, 1.5)
TINY = Grid(32, 32, 32, 1.5)
BARE = Appearance(surroundings=0)


def chins(batch: int, x: float = 24.0, y: float = 25.0) -> Tensor:
    return torch.tensor([[x, y]]).expand(batch, 2)


def unpainted(batch: int) -> Tensor:
    """A picture of a colour that no paint has."""
    return torch.full((batch, 3, 40, 48), -1.0)


@pytest.mark.parametrize("grid", [GRID, TINY, Grid(8, 30, 21)], ids=["wide", "tiny", "odd"])
def test_every_part_gives_images_and_one_seed_gives_the_same_ones(grid):
    def whole(seed: int) -> Tensor:
        r, appearance = rng(seed, 24), Appearance()
        images = background(grid, r.stream("background"), appearance)
        images = shoulders(images, chins(24, grid.width / 2, 0.7 * grid.height), grid, r.stream("clothes"))
        images = occlude(images, grid, r.stream("occluders"), appearance)
        return degrade(images, r.stream("camera"), appearance)

    images = whole(1)
    assert images.shape == (24, 3, grid.height, grid.width)
    assert torch.isfinite(images).all()
    assert 0 <= images.min() < images.max() <= 1
    assert torch.equal(images, whole(1))
    assert not torch.equal(images, whole(2))


def test_backgrounds_are_images_and_differ():
    images = background(GRID, rng(14, 12), Appearance())
    assert images.shape == (12, 3, 40, 48)
    assert 0 <= images.min() < images.max() <= 1
    assert torch.pdist(images.flatten(1)).min() > 1


def test_without_surroundings_there_is_a_smooth_wall():
    wall, rich = (background(GRID, rng(15, 60), Appearance(surroundings=share)) for share in (0.0, 1.0))
    steps = [torch.stack([p.diff(dim=d).abs().amax((1, 2, 3)) for d in (2, 3)]).amax(0) for p in (wall, rich)]
    assert steps[0].max() < 0.1
    assert steps[1].median() > 1.5 * steps[0].median()


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.change.__name__)
def test_every_layer_changes_images_and_leaves_its_input_alone(layer):
    images = torch.rand(20, 3, 40, 48, generator=torch.Generator().manual_seed(1))
    before = images.clone()
    after = layer.change(images, rng(16, 20))
    assert torch.isfinite(after).all()
    assert (after != before).flatten(1).any(1).float().mean() > 0.5
    assert torch.equal(images, before)


def test_a_layer_reaches_its_share_of_the_pictures_as_often_as_it_is_tried(monkeypatch):
    monkeypatch.setattr(room, "LAYERS", (Layer(0.3, lambda images, _: images.round() + 1, 2),))
    marked = background(TINY, rng(17, 1000), BARE), background(TINY, rng(17, 1000), Appearance())
    changed = (marked[0] != marked[1]).flatten(1).any(1).float().mean()
    assert float(changed) == pytest.approx(1 - 0.7**2, abs=0.05)


def test_textures_are_the_photographs_that_scikit_image_carries():
    bank = textures()
    assert bank.shape[1:] == (3, 256, 256)
    assert 0 <= bank.min() < bank.max() <= 1
    assert bank.flatten(1).std(1).min() > 0.02


def test_a_cast_shadow_darkens_a_part_of_its_share_of_the_pictures():
    light = cast_shadow(GRID, rng(18, 500), 0.3)
    shaded = light.flatten(1).amin(1) < 1
    assert float(shaded.float().mean()) == pytest.approx(0.3, abs=0.06)
    assert 0.25 < light.min() < 0.5
    assert light.max() <= 1
    assert (cast_shadow(GRID, rng(18, 500), 0.0) == 1).all()
    assert torch.equal(cast_shadow(GRID, rng(18, 500), 1.0)[shaded], light[shaded])


def test_clothes_hang_below_the_chin():
    images = shoulders(unpainted(300), chins(300), GRID, rng(15, 300))
    clothed = (images != -1).any(1)
    assert not clothed[:, :25].any()
    assert 0.6 < clothed[:, -1, 24].float().mean() < 1


def test_clothes_come_as_often_as_their_factor_says():
    clothed = [(shoulders(unpainted(300), chins(300), GRID, rng(15, 300), None, f) != -1).any(1) for f in (0.0, 0.3, 1.0)]
    shares = [float(worn.flatten(1).any(1).float().mean()) for worn in clothed]
    assert shares[0] == 0
    assert shares[1] == pytest.approx(1 - (1 - 0.3 * 0.5) * (1 - 0.3 * 0.85), abs=0.08)
    assert shares[2] == pytest.approx(1 - 0.5 * 0.15, abs=0.05)


def test_hair_falls_over_clothes():
    hair = torch.zeros(40, 40, 48, dtype=torch.bool)
    hair[:, :, 20:30] = True
    images = shoulders(unpainted(40), chins(40), GRID, rng(26, 40), hair)
    assert (images[..., 20:30] == -1).all()
    assert (images[..., 30:] != -1).any()


def test_clothes_are_wider_below_than_above():
    clothed = (shoulders(unpainted(300), chins(300, y=20.0), GRID, rng(16, 300)) != -1).any(1)
    width = clothed.float().sum(2)
    assert (width[:, 1:] >= width[:, :-1]).float().mean() > 0.99


def test_the_body_stays_under_a_head_that_leans():
    """The middle of the clothes lies on the other side of the picture's centre than a chin that points aside."""
    column = torch.arange(48.0) + 0.5
    for x in (14.0, 34.0):
        clothed = (shoulders(unpainted(300), chins(300, x), GRID, rng(19, 300)) != -1).any(1).float()
        rows = clothed[:, 28:32].sum((0, 1))
        assert ((rows * column).sum() / rows.sum() - 24) * (x - 24) > 0


def test_pictures_are_changed_in_copies():
    images = torch.rand(40, 3, 40, 48, generator=torch.Generator().manual_seed(1))
    before = images.clone()
    shoulders(images, chins(40), GRID, rng(25, 40))
    assert torch.equal(images, before)
