import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from shapes import landmark_plan
from vrn_lite.faces import procedural
from vrn_lite.landmarks import CLOSED, FLIP, GROUPS, NUM_LANDMARKS, decode, displaced, gaussians, heatmaps, mirror


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
    assert len(FLIP) == NUM_LANDMARKS == 68


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
    assert float((mirror(points, 0) - points).norm(dim=-1).max()) < 0.05 * face.interocular


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


def test_a_missing_landmark_leaves_its_map_empty_and_touches_no_other():
    maps = gaussians(torch.tensor([[float("nan"), 5.0], [4.5, float("nan")], [3.5, 5.5]]), 10, 10)
    assert (maps[:2] == 0).all()
    assert float(maps[2].max()) == 1


# Heat-maps and back


def scattered(count: int, height: int, width: int, margin: float, seed: int = 0) -> Tensor:
    """Points ``[count, 68, 2]`` at least `margin` from the border."""
    share = torch.rand(count, 68, 2, generator=torch.Generator().manual_seed(seed))
    return margin + share * (torch.tensor([width, height]) - 2 * margin)


coordinate = st.floats(0, 1, width=32)


@given(x=coordinate, y=coordinate, sigma=st.floats(1, 2), height=st.integers(24, 64), width=st.integers(24, 64))
@settings(max_examples=50, deadline=None)
def test_landmarks_survive_heat_maps_where_the_border_is_five_sigma_away(x, y, sigma, height, width):
    point = 5 * sigma + torch.tensor([[x, y]]) * (torch.tensor([width, height]) - 10 * sigma)
    torch.testing.assert_close(decode(heatmaps(point, height, width, sigma).log()), point, rtol=0, atol=1e-4)


@given(x=st.floats(-1e3, 1e3, width=32), y=st.floats(-1e3, 1e3, width=32), sigma=st.floats(0.5, 4))
@settings(max_examples=50, deadline=None)
def test_heat_maps_sum_to_1_wherever_the_landmark_is(x, y, sigma):
    cells = heatmaps(torch.tensor([[x, y]]), 16, 24, sigma)
    assert (cells >= 0).all()
    assert float(cells.double().sum()) == pytest.approx(1, abs=1e-5)


def test_heat_maps_are_gaussians_scaled_to_sum_1():
    points = scattered(3, 16, 24, -1)
    bumps = gaussians(points, 16, 24, 1.5)
    torch.testing.assert_close(heatmaps(points, 16, 24, 1.5), bumps / bumps.sum((-2, -1), keepdim=True), rtol=1e-4, atol=1e-7)


def test_the_depth_of_landmarks_plays_no_part():
    points = torch.cat((scattered(2, 16, 16, 0), torch.full((2, 68, 1), 77.0)), -1)
    assert torch.equal(heatmaps(points, 16, 16), heatmaps(points[..., :2], 16, 16))
    assert torch.equal(gaussians(points, 16, 16), gaussians(points[..., :2], 16, 16))


def test_decoding_does_not_know_the_height_of_a_map():
    """A constant added to the logits is a factor of all shares: logs of heat-maps and of Gaussians decode alike."""
    points = scattered(2, 32, 32, 5)
    torch.testing.assert_close(decode(heatmaps(points, 32, 32).log() + 3), decode(gaussians(points, 32, 32).log()), rtol=0, atol=1e-4)


def test_decoding_is_the_centre_of_mass_of_the_softmax():
    logits = 3 * torch.randn(2, 4, 5, 7, generator=torch.Generator().manual_seed(0))
    mass = logits.exp() / logits.exp().sum((-2, -1), keepdim=True)
    slow = torch.zeros(2, 4, 2)
    for row in range(5):
        for column in range(7):
            slow += mass[..., row, column, None] * torch.tensor([column + 0.5, row + 0.5])
    torch.testing.assert_close(decode(logits), slow)


def test_a_single_hot_cell_decodes_to_its_centre_and_a_flat_map_to_the_middle():
    logits = torch.zeros(2, 8, 12)
    logits[0, 2, 9] = 100
    torch.testing.assert_close(decode(logits), torch.tensor([[9.5, 2.5], [6.0, 4.0]]))


def test_between_two_cells_lies_the_middle():
    logits = torch.full((1, 8, 8), -50.0)
    logits[0, 3, 4:6] = 5
    torch.testing.assert_close(decode(logits), torch.tensor([[5.0, 3.5]]))


@given(right=st.integers(-6, 6), down=st.integers(-6, 6))
@settings(max_examples=20, deadline=None)
def test_a_map_moved_by_whole_cells_decodes_to_the_point_moved(right, down):
    points = scattered(1, 40, 48, 12)
    moved = heatmaps(points, 40, 48).log().roll((down, right), (-2, -1))
    torch.testing.assert_close(decode(moved), points + torch.tensor([float(right), float(down)]), rtol=0, atol=1e-4)


def test_a_small_move_of_the_landmark_is_found():
    points = scattered(1, 32, 32, 6)
    step = torch.tensor([0.01, -0.02])
    found = decode(heatmaps(points + step, 32, 32).log()) - decode(heatmaps(points, 32, 32).log())
    torch.testing.assert_close(found, step.expand(1, 68, 2), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("x", "nearest"), [(-30.0, 0.5), (200.0, 23.5)])
def test_a_landmark_far_outside_is_sought_in_the_nearest_cell_of_the_border(x, nearest):
    cells = heatmaps(torch.tensor([[x, 7.5]]), 16, 24)
    assert cells[0].sum(0).argmax() == int(nearest)
    torch.testing.assert_close(decode(cells.log()), torch.tensor([[nearest, 7.5]]), rtol=0, atol=1e-3)


def test_near_the_border_landmarks_move_inward_and_keep_their_order():
    """The half of the Gaussian that lies outside is missing."""
    x = torch.linspace(-2, 12, 57)
    found = decode(heatmaps(torch.stack((x, torch.full_like(x, 12)), -1), 24, 24).log())
    assert (found[:, 0].diff() > 0).all()
    assert (found[:, 0] >= x - 1e-4).all()
    assert (found[:, 0] >= 0.5).all()
    torch.testing.assert_close(found[x >= 5, 0], x[x >= 5], rtol=0, atol=1e-4)
    torch.testing.assert_close(found[:, 1], torch.full_like(x, 12), rtol=0, atol=1e-4)


@pytest.mark.parametrize("draw", [heatmaps, gaussians])
def test_a_flipped_and_renumbered_map_is_the_map_of_the_mirrored_landmarks(draw):
    points = torch.cat((scattered(2, 32, 40, 5), torch.zeros(2, 68, 1)), -1)
    torch.testing.assert_close(draw(mirror(points, 40), 32, 40), draw(points, 32, 40).flip(-1)[:, FLIP], rtol=0, atol=1e-5)


def test_landmarks_survive_mirroring_as_maps():
    points = torch.cat((scattered(2, 32, 40, 5), torch.zeros(2, 68, 1)), -1)
    flipped = decode(heatmaps(points, 32, 40).log().flip(-1)[:, FLIP])
    torch.testing.assert_close(flipped, mirror(points, 40)[..., :2], rtol=0, atol=1e-4)


def test_decoding_passes_gradients_on():
    logits = torch.zeros(1, 68, 8, 8, requires_grad=True)
    decode(logits)[..., 0].sum().backward()
    assert (logits.grad[..., 4:] > 0).all()
    assert (logits.grad[..., :4] < 0).all()


def test_autocast_does_not_blur_the_landmarks():
    points = scattered(1, 32, 32, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found = decode(heatmaps(points, 32, 32).log())
    torch.testing.assert_close(found, points, rtol=0, atol=1e-4)


def test_displaced_landmarks_turn_clockwise_about_their_middle_then_move():
    points = scattered(2, 16, 24, 0)[0]
    middle = points.mean(0)
    turned = middle + 2 * torch.stack((-(points - middle)[:, 1], (points - middle)[:, 0]), 1)
    torch.testing.assert_close(displaced(points, turn=90, scale=2, right=3, down=-5), turned + torch.tensor([3.0, -5.0]))
