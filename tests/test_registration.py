"""Registration finds again what made a surface."""

import numpy as np
import pytest
import torch
import trimesh

from vrn_lite import faces
from vrn_lite.camera import crop_camera, rotation_matrix
from vrn_lite.frame import Grid, InputError
from vrn_lite.photo.registration import orthographic, register
from vrn_lite.volume import isosurface, voxelize

GRID = Grid(96, 96, 96)


@pytest.fixture(scope="module")
def face():
    return faces.procedural()


@pytest.fixture(scope="module")
def placed(face):
    """A person with a smile and an open mouth, in the voxel frame, and the volume's surface."""
    generator = torch.Generator().manual_seed(4)
    identity, expression = 0.7 * face.draw_identity(generator), torch.zeros(len(face.expression))
    expression[face.expression_names.index("jawOpen")] = 0.6
    mesh = face.mesh(identity, expression)
    angles = (torch.tensor([25.0]), torch.tensor([-8.0]), torch.tensor([5.0]))
    camera = crop_camera(mesh.landmark_points()[None], *angles, face.interocular, GRID)
    mesh = mesh.with_vertices(camera(mesh.vertices[None])[0])
    volume = voxelize(mesh.vertices, mesh.solid_triangles(), GRID.shape, GRID.depth_scale)
    return mesh, isosurface(volume, depth_scale=GRID.depth_scale)


@pytest.fixture(scope="module")
def registered(face, placed):
    mesh, surface = placed
    return register(surface, face, mesh.landmark_points()[:, :2])


def interocular(mesh) -> float:
    points = mesh.landmark_points()
    return float((points[36] - points[45]).norm())


def test_vertices_lie_where_the_true_ones_do(face, placed, registered):
    mesh, _ = placed
    patch = face.patch_vertices
    errors = (registered.vertices[patch] - mesh.vertices[patch]).norm(dim=1) / interocular(mesh)
    assert float(errors.mean()) < 0.025
    assert float((registered.landmarks - mesh.landmark_points()).norm(dim=1).mean()) < 0.025 * interocular(mesh)


def test_the_open_mouth_has_its_name(registered):
    assert registered.weights["jawOpen"] == pytest.approx(0.6, abs=0.25)
    assert all(0 <= value <= 1 for value in registered.weights.values())


def test_a_motion_of_the_surface_moves_the_answer_alike(face, placed, registered):
    mesh, surface = placed
    larger = trimesh.Trimesh(surface.vertices * 3.0 + (40.0, 10.0, 5.0), surface.faces, process=False)
    again = register(larger, face, mesh.landmark_points()[:, :2].numpy() * 3 + (40, 10))
    expected = registered.vertices * 3 + torch.tensor([40.0, 10.0, 5.0])
    assert float((again.vertices - expected).norm(dim=1).mean()) < 0.01 * 3 * interocular(mesh)  # equal distances: other pairs


def test_posed_changes_the_expression_alone(face, registered):
    still = registered.posed(registered.weights | {})
    closed = registered.posed({"jawOpen": 0.0})
    assert float((still.vertices - registered.vertices).norm(dim=1).max()) < 0.05
    assert closed.weights == {}
    assert torch.equal(closed.identity, registered.identity)
    with pytest.raises(InputError, match="no expression grin"):
        registered.posed({"grin": 1.0})
    with pytest.raises(InputError, match="between 0 and 1"):
        registered.posed({"jawOpen": 1.5})


def test_texture_shows_the_photograph_and_fills_the_rest_by_symmetry(face, registered):
    from dataclasses import replace

    left = np.zeros((96, 96, 3), np.uint8)
    left[...] = (200, 100, 50)
    texture, uv = replace(registered, image=left).texture(128)
    front = uv[face.landmarks[30]] * 127  # the tip of the nose
    assert texture[int(front[1]), int(front[0])].tolist() == [200, 100, 50]
    assert (texture == (200, 100, 50)).all(-1).mean() > 0.99  # one colour everywhere: seen, mirrored, or the mean
    assert float(uv.min()) >= 0
    assert float(uv.max()) <= 1
    with pytest.raises(InputError, match="no photograph"):
        registered.texture()


def test_the_layout_is_symmetric(face):
    from vrn_lite.photo.registration import _unwrapped

    uv = _unwrapped(face)
    eyes = uv[face.landmarks[[36, 45]]]
    assert float(eyes[:, 0].sum()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("landmarks", "says"),
    [(None, "68 landmarks"), (np.zeros((5, 2)), r"\[68, 2\]"), (np.full((68, 2), np.nan), "finite")],
)
def test_bad_landmarks_get_one_line(face, placed, landmarks, says):
    with pytest.raises(InputError, match=says):
        register(placed[1], face, landmarks)


def test_an_empty_surface_is_refused(face):
    with pytest.raises(InputError, match="empty"):
        register(trimesh.Trimesh(), face, np.zeros((68, 2)))


def test_orthographic_gives_back_the_camera_that_made_the_image():
    generator = torch.Generator().manual_seed(5)
    points = torch.randn(6, 68, 3, generator=generator, dtype=torch.float64)
    rotation = rotation_matrix(*(360 * torch.rand(6, generator=generator, dtype=torch.float64) for _ in range(3)))
    scale, shift = 1 + torch.rand(6, generator=generator, dtype=torch.float64), torch.randn(6, 1, 3, generator=generator, dtype=torch.float64)
    image = (scale[:, None, None] * points @ rotation.mT + shift)[..., :2]
    camera = orthographic(points, image)
    torch.testing.assert_close(camera.scale, scale)
    torch.testing.assert_close(camera.rotation, rotation)
    torch.testing.assert_close(camera(points)[..., :2], image)
    assert float(camera(points)[..., 2].mean(1).abs().max()) < 1e-9


def test_orthographic_rotations_are_proper_whatever_the_image():
    generator = torch.Generator().manual_seed(6)
    camera = orthographic(torch.randn(32, 20, 3, generator=generator), torch.randn(32, 20, 2, generator=generator))
    torch.testing.assert_close(torch.linalg.det(camera.rotation), torch.ones(32))
    torch.testing.assert_close(camera.rotation @ camera.rotation.mT, torch.eye(3).expand(32, 3, 3), atol=1e-5, rtol=0)
    assert bool((camera.scale > 0).all())
