"""Background, clothes and occluders: where they are, how often, and that they are images."""

import pytest
import torch

from vrn_lite.camera_faults import photograph, pixels
from vrn_lite.dice import Dice
from vrn_lite.frame import Grid
from vrn_lite.scenery import OCCLUDERS, _cover, _reach, background, occlude, shoulders, textures

GRID = Grid(32, 40, 48, 1.5)
TINY = Grid(32, 32, 32, 1.5)


def dice(seed: int = 0, batch: int = 6) -> Dice:
    return Dice.of(torch.Generator().manual_seed(seed), batch, "cpu")


def noisy(batch: int, height: int = 40, width: int = 48) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("grid", [GRID, TINY, Grid(8, 30, 21)], ids=["wide", "tiny", "odd"])
def test_every_part_gives_images_and_one_seed_gives_the_same_ones(grid):
    def whole(seed: int) -> torch.Tensor:
        d = dice(seed, 24)
        images = shoulders(background(grid, d), torch.tensor([[grid.width / 2, 0.7 * grid.height]]).expand(24, 2), grid, d)
        return photograph(occlude(images, grid, d), d)

    images = whole(1)
    assert images.shape == (24, 3, grid.height, grid.width)
    assert torch.isfinite(images).all()
    assert 0 <= images.min() < images.max() <= 1
    assert torch.equal(images, whole(1))
    assert not torch.equal(images, whole(2))


def test_backgrounds_are_images():
    images = background(GRID, dice(14))
    assert images.shape == (6, 3, 40, 48)
    assert 0 <= images.min() < images.max() <= 1


def test_textures_are_the_photographs_that_scikit_image_carries():
    bank = textures()
    assert bank.shape[1:] == (3, 256, 256)
    assert 0 <= bank.min() < bank.max() <= 1
    assert bank.flatten(1).std(1).min() > 0.02


def test_clothes_hang_below_the_chin():
    chin = torch.tensor([[24.0, 25.0]]).expand(300, 2)
    images = shoulders(torch.full((300, 3, 40, 48), -1.0), chin, GRID, dice(15, batch=300))
    clothed = (images != -1).any(1)
    assert not clothed[:, :25].any()
    assert 0.6 < clothed[:, -1, 24].float().mean() < 1


def test_hair_falls_over_clothes():
    chin, hair = torch.tensor([[24.0, 25.0]]).expand(40, 2), torch.zeros(40, 40, 48, dtype=torch.bool)
    hair[:, :, 20:30] = True
    images = shoulders(torch.full((40, 3, 40, 48), -1.0), chin, GRID, dice(26, 40), hair)
    assert (images[..., 20:30] == -1).all()
    assert (images[..., 30:] != -1).any()


def test_clothes_are_wider_below_than_above():
    chin = torch.tensor([[24.0, 20.0]]).expand(300, 2)
    clothed = (shoulders(torch.full((300, 3, 40, 48), -1.0), chin, GRID, dice(16, batch=300)) != -1).any(1)
    width = clothed.float().sum(2)
    assert (width[:, 1:] >= width[:, :-1]).float().mean() > 0.99


def test_occluders_cover_a_small_part_of_about_every_third_image():
    images = occlude(torch.full((600, 3, 40, 48), -1.0), GRID, dice(16, batch=600))
    touched = (images != -1).any(1)
    assert 0.2 < touched.flatten(1).any(1).float().mean() < 0.38
    assert touched.float().mean() < 0.04


@pytest.mark.parametrize(("outline", "colours"), [entry[1:] for entry in OCCLUDERS[:5]], ids=[entry[1].__name__ for entry in OCCLUDERS[:5]])
def test_an_occluder_leaves_most_of_the_picture(outline, colours):
    d = dice(17, batch=200)
    touched = (_cover(torch.full((200, 3, 40, 48), -1.0), d, outline, colours, GRID) != -1).any(1).float().mean((1, 2))
    assert 0.005 < touched.mean() < 0.3
    assert touched.max() < 0.5


def test_reach_is_the_distance_to_a_segment_over_its_radius():
    x, y = pixels(torch.zeros(1, 3, 20, 20))
    start, end, radius = torch.tensor([[[5.5, 10.5]]]), torch.tensor([[[12.5, 10.5]]]), torch.tensor([[2.0]])
    reach = _reach(x, y, (start, end, radius))[0]
    assert reach[10, 5:13].abs().max() == 0
    assert reach[12, 8] == 1
    assert reach[10, 16] == 4
    assert reach[13, 16] == 25 / 4


def test_pictures_are_changed_in_copies():
    images = noisy(40)
    before = images.clone()
    photograph(images, dice(23, 40))
    occlude(images, GRID, dice(24, 40))
    shoulders(images, torch.tensor([[24.0, 25.0]]).expand(40, 2), GRID, dice(25, 40))
    assert torch.equal(images, before)
