import pytest
import torch

from shapes import toy_face
from vrn_lite.camera import PIVOT_BEHIND_LANDMARKS, Similarity, crop_camera, jitter, rotation_matrix
from vrn_lite.faces import procedural
from vrn_lite.frame import Grid

GRID = Grid(200, 192, 192, 1.5)
FLIP_AXES = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def angles(*degrees: float) -> torch.Tensor:
    return torch.tensor([float(value) for value in degrees])


def random_similarity(seed: int, batch: int = 5) -> Similarity:
    g = torch.Generator().manual_seed(seed)
    yaw, pitch, roll = 180 * torch.rand(3, batch, generator=g) - 90
    return Similarity(0.5 + torch.rand(batch, generator=g), rotation_matrix(yaw, pitch, roll), torch.randn(batch, 3, generator=g))


@pytest.fixture(scope="module", params=["toy", "procedural", "ict"])
def head(request):
    """(landmarks, interocular) of eight random faces of a source, in the model frame."""
    face = {"toy": toy_face, "procedural": procedural, "ict": lambda: request.getfixturevalue("ict_face")}[request.param]()
    return face.sample(torch.Generator().manual_seed(3), 8).landmark_points(), face.interocular


@pytest.fixture(scope="module")
def posed(head):
    landmarks, interocular = head
    yaw, pitch, roll = angles(-90, -60, -30, 0, 15, 45, 70, 90), angles(0, 10, -40, 0, 40, -15, 5, 0), angles(0, 0, 30, 0, -45, 0, 20, 0)
    return landmarks, interocular, crop_camera(landmarks, yaw, pitch, roll, interocular, GRID)


def test_rotations_are_proper():
    rotation = random_similarity(0).rotation
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(5))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(5, 3, 3), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("turn", "nose"), [((30, 0, 0), (0.5, 0, 0.75**0.5)), ((0, 30, 0), (0, -0.5, 0.75**0.5)), ((0, 0, 30), (0, 0, 1)), ((90, 0, 0), (1, 0, 0))]
)
def test_positive_yaw_turns_the_nose_to_the_right_and_positive_pitch_down(turn, nose):
    rotation = rotation_matrix(*map(angles, turn))[0]
    torch.testing.assert_close(rotation @ torch.tensor([0.0, 0.0, 1.0]), angles(*nose))


def test_in_the_image_yaw_moves_the_nose_right_and_pitch_moves_it_down():
    points = toy_face().mesh().landmark_points().expand(3, -1, -1)
    placed = crop_camera(points, angles(0, 25, 0), angles(0, 0, 25), angles(0, 0, 0), toy_face().interocular, GRID)(points)
    to_nose = placed[:, 30, :2] - placed[:, 36:48, :2].mean(1)
    assert to_nose[1, 0] > to_nose[0, 0] + 5
    assert to_nose[2, 1] > to_nose[0, 1] + 5


def test_yaw_comes_first_then_pitch_then_roll():
    yaw, pitch, roll, nil = angles(20.0), angles(-35.0), angles(50.0), angles(0.0)
    product = rotation_matrix(nil, nil, roll) @ rotation_matrix(nil, pitch, nil) @ rotation_matrix(yaw, nil, nil)
    torch.testing.assert_close(rotation_matrix(yaw, pitch, roll), product)


def test_a_camera_turns_right_side_up_faces_over_without_mirroring_them(posed):
    _, _, camera = posed
    torch.testing.assert_close(torch.linalg.det(camera.rotation), torch.ones(8))


def test_there_and_back_is_the_identity(posed):
    landmarks, _, camera = posed
    torch.testing.assert_close(camera.inverse()(camera(landmarks)), landmarks, rtol=1e-4, atol=1e-3)
    one = random_similarity(1)
    points = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(one.compose(one.inverse())(points), points, rtol=1e-5, atol=1e-5)


def test_then_is_composition_and_associative():
    a, b, c = (random_similarity(seed) for seed in (2, 3, 4))
    points = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(a.compose(b)(points), b(a(points)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(a.compose(b).compose(c)(points), a.compose(b.compose(c))(points), rtol=1e-5, atol=1e-5)


def test_a_similarity_scales_all_distances_alike(posed):
    landmarks, _, camera = posed
    torch.testing.assert_close(torch.pdist(camera(landmarks)[3]), camera.scale[3] * torch.pdist(landmarks[3]), rtol=1e-4, atol=1e-3)


def test_the_crop_gives_the_landmarks_a_box_of_90_px_at_the_images_centre(posed):
    landmarks, _, camera = posed
    placed = camera(landmarks)[..., :2]
    low, high = placed.amin(1), placed.amax(1)
    torch.testing.assert_close((high - low).prod(-1).sqrt(), torch.full((8,), 90.0), rtol=1e-5, atol=0)
    torch.testing.assert_close((high + low) / 2, torch.full((8, 2), 96.0), rtol=1e-5, atol=0)


def test_the_pivot_stands_at_048_of_the_depth_whatever_the_pose(posed):
    landmarks, interocular, camera = posed
    pivot = landmarks.mean(1, keepdim=True) - torch.tensor([0.0, 0.0, PIVOT_BEHIND_LANDMARKS * interocular])
    torch.testing.assert_close(camera(pivot)[:, 0, 2] * GRID.depth_scale, torch.full((8,), 96.0), rtol=1e-5, atol=0)


def test_the_crop_scales_with_the_grid(head):
    landmarks, interocular = head
    nil = torch.zeros(8)
    full, third = (crop_camera(landmarks, nil, nil, nil, interocular, Grid(side, side, side, 1.0))(landmarks) for side in (192, 64))
    torch.testing.assert_close(full / 3, third, rtol=1e-4, atol=1e-3)


def test_place_follows_the_designs_formula():
    face = toy_face()
    points, yaw, pitch, roll = face.mesh().landmark_points()[None], angles(33.0), angles(-12.0), angles(7.0)
    camera = crop_camera(points, yaw, pitch, roll, face.interocular, GRID)
    by_hand = camera.scale * points[0] @ (FLIP_AXES @ rotation_matrix(yaw, pitch, roll)[0]).T + camera.translation[0]
    torch.testing.assert_close(camera(points)[0], by_hand, rtol=1e-5, atol=1e-4)


def test_augmentation_scales_about_the_centre_and_keeps_the_pivots_depth():
    centre = torch.tensor(GRID.centre)
    zoom, shift = angles(0.85, 1.0, 1.15), torch.tensor([[15.0, -15.0], [0.0, 0.0], [3.0, 4.0]])
    moves = jitter(angles(-45, 0, 45), shift, zoom, GRID)
    moved = moves(centre.expand(3, 1, 3))[:, 0]
    torch.testing.assert_close(moved[:, :2], centre[:2] + shift)
    torch.testing.assert_close(moved[:, 2], centre[2].expand(3))
    torch.testing.assert_close(moves.scale, zoom)
    torch.testing.assert_close(moves(centre.expand(3, 1, 3) + torch.tensor([0.0, 0.0, 10.0]))[:, 0, 2], centre[2] + 10 * zoom)


def test_positive_augmentation_angles_turn_clockwise_on_the_screen():
    right_of_centre = torch.tensor(GRID.centre) + torch.tensor([10.0, 0.0, 0.0])
    turned = jitter(angles(90.0), torch.zeros(1, 2), angles(1.0), GRID)(right_of_centre[None, None])[0, 0]
    torch.testing.assert_close(turned, torch.tensor(GRID.centre) + torch.tensor([0.0, 10.0, 0.0]))


def test_shifts_are_pixels_of_a_192_px_image():
    small = Grid(64, 64, 64, 1.5)
    moved = jitter(angles(0.0), torch.tensor([[15.0, 0.0]]), angles(1.0), small)(torch.zeros(1, 1, 3))
    torch.testing.assert_close(moved[0, 0], torch.tensor([5.0, 0.0, 0.0]))


def test_no_jitter_is_the_identity():
    nothing = jitter(angles(0.0), torch.zeros(1, 2), angles(1.0), GRID)
    points = 100 * torch.rand(1, 9, 3, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(nothing(points), points)
