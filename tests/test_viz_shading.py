"""One light: from the upper left, on volumes and meshes alike."""

import torch
from matplotlib.colors import to_rgb

from drawn import POINTS, TRIANGLES, ball
from vrn_lite import viz
from vrn_lite.viz.shading import AMBIENT, LIGHT, _slope, lambert


def test_a_shaded_volume_is_lit_from_the_upper_left_on_white():
    image = viz.shade_volume(ball(), 1.5).mean(0)
    assert image.shape == (64, 64)
    assert torch.equal(image[:8], torch.ones(8, 64))
    assert image[24, 24] > image[32, 32] > image[42, 42]
    assert image[42, 42] < 0.5 < image[24, 24] < 1


def test_a_shaded_volume_of_a_batch_is_the_reliefs_of_its_members():
    volumes = torch.stack([ball(), ball(12.0)])
    both = viz.shade_volume(volumes, 1.5)
    assert both.shape == (2, 3, 64, 64)
    assert torch.equal(both[1], viz.shade_volume(volumes[1], 1.5))


def test_a_shaded_volume_takes_probabilities_and_empty_and_full_volumes():
    assert torch.equal(viz.shade_volume(torch.zeros(8, 16, 16)), torch.ones(3, 16, 16))
    assert bool(viz.shade_volume(torch.ones(8, 16, 16)).isfinite().all())
    assert torch.allclose(viz.shade_volume(ball().float() * 0.999, 1.5), viz.shade_volume(ball(), 1.5), atol=0.05)


def test_a_slope_is_the_depths_derivative_and_stops_at_the_outline():
    depth = torch.arange(6.0).expand(1, 5, 6) * 0.5
    inside = torch.ones(1, 5, 6, dtype=torch.bool)
    inside[..., 3:] = False
    assert torch.equal(_slope(depth, inside, 2)[0, 0], torch.tensor([0.25, 0.5, 0.25, 0, 0, 0]))
    assert torch.equal(_slope(depth, inside, 1), torch.zeros(1, 5, 6))


def test_the_light_is_lamberts_whatever_the_winding():
    towards = torch.tensor(LIGHT)
    assert torch.allclose(lambert(torch.stack((towards, -2 * towards))), torch.ones(2))
    aslant = torch.tensor([0.2, 0.3, -0.9])
    share = float(torch.nn.functional.cosine_similarity(aslant, towards, dim=0))
    assert 0.3 < share < 0.6
    assert abs(float(lambert(aslant)) - (AMBIENT + (1 - AMBIENT) * share)) < 1e-6
    assert float(lambert(torch.tensor([0.9, 0.3, -0.1]))) == AMBIENT  # in its own shadow


def test_a_mesh_is_lit_as_its_volume_is():
    skin = torch.tensor(to_rgb(viz.SKIN)).float()
    image, covered = viz.shade_mesh(POINTS - 8, TRIANGLES, skin.expand_as(POINTS), 64, 64)
    solid = viz.shade_volume(ball(), 1.5).permute(1, 2, 0)
    assert float((covered == (solid < 1).any(-1)).float().mean()) > 0.97
    middle = slice(22, 42)
    assert float((image - solid)[middle, middle].abs().max()) < 0.1
    turned, _ = viz.shade_mesh(POINTS - 8, TRIANGLES.flip(1), skin.expand_as(POINTS), 64, 64)
    assert torch.allclose(turned, image, atol=1e-5)
