import pytest
import torch

from shapes import landmark_plan
from vrn_lite.faces import procedural
from vrn_lite.landmarks import CLOSED, FLIP, GROUPS, gaussians, mirror


def test_flip_twice_is_identity():
    assert torch.equal(FLIP[FLIP], torch.arange(68))
    points = 50 * torch.rand(3, 68, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mirror(mirror(points, 64), 64), points)


def test_flip_is_the_designs_permutation():
    assert FLIP[[0, 16, 17, 26, 27, 30, 31, 36, 37, 39, 41, 48, 54, 59, 60, 64, 67]].tolist() == [
        16,
        0,
        26,
        17,
        27,
        30,
        35,
        45,
        44,
        42,
        46,
        54,
        48,
        55,
        64,
        60,
        65,
    ]


def test_groups_cover_every_landmark_once():
    assert sorted(number for group in GROUPS.values() for number in group) == list(range(68))
    assert set(CLOSED) <= set(GROUPS)


@pytest.mark.parametrize("name", GROUPS)
def test_a_flip_swaps_left_and_right_and_keeps_the_parts_in_the_middle(name):
    partner = name.replace("left", "?").replace("right", "left").replace("?", "right")
    assert set(FLIP[list(GROUPS[name])].tolist()) == set(GROUPS[partner])


def test_a_symmetric_face_is_its_own_mirror_image():
    plan = torch.cat([torch.tensor(landmark_plan()), torch.zeros(68, 1)], 1)
    torch.testing.assert_close(mirror(plan + torch.tensor([32.0, 0, 0]), 64), plan + torch.tensor([32.0, 0, 0]))


@pytest.mark.parametrize("source", ["procedural", "ict"])
def test_the_mean_faces_are_nearly_their_own_mirror_images(source, request):
    face = procedural() if source == "procedural" else request.getfixturevalue("ict_face")
    points = face.mesh().landmark_points()
    assert float((mirror(points, 0) - points).norm(dim=-1).max()) < 0.05 * face.unit


def test_mirroring_leaves_its_argument_alone():
    points = torch.rand(68, 3, generator=torch.Generator().manual_seed(1))
    before = points.clone()
    mirror(points, 10)
    assert torch.equal(points, before)


def test_a_gaussian_has_height_one_at_the_centre_of_its_cell():
    points = torch.tensor([[3.5, 5.5], [0.5, 0.5], [7.5, 8.5]])
    maps = gaussians(points, 9, 8)
    assert maps.shape == (3, 9, 8)
    assert maps.flatten(1).argmax(1).tolist() == [5 * 8 + 3, 0, 8 * 8 + 7]
    assert (maps.amax((1, 2)) == 1).all()


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_a_gaussian_matches_closed_form(sigma):
    x, y = 4.3, 6.1
    value = gaussians(torch.tensor([[[x, y, 99.0]]]), 12, 10, sigma)[0, 0, 8, 2]
    assert float(value) == pytest.approx(float(torch.tensor(-((2.5 - x) ** 2 + (8.5 - y) ** 2) / (2 * sigma**2)).exp()), rel=1e-5)


def test_a_gaussian_keeps_its_mass_and_its_centre():
    point = torch.tensor([[11.7, 9.2]])
    cells = gaussians(point, 20, 24)[0].double()
    assert float(cells.sum()) == pytest.approx(2 * torch.pi, rel=1e-6)
    centre = ((cells.sum(0) * (torch.arange(24) + 0.5)).sum() / cells.sum(), (cells.sum(1) * (torch.arange(20) + 0.5)).sum() / cells.sum())
    assert centre == (pytest.approx(11.7, abs=1e-5), pytest.approx(9.2, abs=1e-5))


def test_a_gaussian_far_outside_leaves_the_map_empty():
    assert float(gaussians(torch.tensor([[-40.0, 5.0]]), 10, 10).max()) == 0
