import math

import numpy as np
import pytest
import torch
from torch import Tensor

from shapes import box, bricks, icosphere, plain_volume, tetrahedron, torus, toy_face, turns
from vrn_lite.camera import crop_camera
from vrn_lite.frame import Grid, InputError, voxel_centres
from vrn_lite.mesh import boundary_edges, close, signed_volume
from vrn_lite.raster import rasterize
from vrn_lite.volume import isosurface, voxelize

GRID = Grid(200, 192, 192, 2.0)
MIDDLE = torch.tensor([96.0, 96.0, 50.0])
POSES = 60


def shifts(count: int, seed: int = 1) -> Tensor:
    """Random places ``[count, 1, 3]`` within a pixel of the grid's middle."""
    return MIDDLE + torch.rand(count, 1, 3, generator=torch.Generator().manual_seed(seed))


def volume_errors(vertices: Tensor, triangles: Tensor, grid: Grid = GRID) -> Tensor:
    """Relative error of the counted volume against the divergence theorem, for each mesh of a batch."""
    counts = torch.stack([voxelize(mesh, triangles, grid.shape, grid.depth_scale).count_nonzero() for mesh in vertices])
    return counts / grid.depth_scale / signed_volume(vertices, triangles) - 1


def plane_distance(points: Tensor, vertices: Tensor, triangles: Tensor) -> Tensor:
    """Distance of points to the outermost plane of a convex solid: negative inside, and then the distance to its surface."""
    a, b, c = vertices.double()[triangles].unbind(1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
    return torch.stack([(points.double() @ n - n @ p) for n, p in zip(normal, a, strict=True)]).amax(0)


def winding_number(points: Tensor, vertices: Tensor, triangles: Tensor) -> Tensor:
    """How often a closed surface winds around each point: its solid angle over 4 pi (van Oosterom and Strackee 1983)."""
    a, b, c = (corner - points.double()[:, None] for corner in vertices.double()[triangles].unbind(1))
    la, lb, lc = (corner.norm(dim=-1) for corner in (a, b, c))
    triple = (a * torch.linalg.cross(b, c)).sum(-1)
    rest = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return torch.atan2(triple, rest).sum(-1) / (2 * math.pi)


def surface_distance(point: Tensor, vertices: Tensor, triangles: Tensor) -> float:
    """Distance of one point to a mesh: to the planes where its foot lies inside the triangle, and to all edges."""
    p, (a, b, c) = point.double(), vertices.double()[triangles].unbind(1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
    sides = [(torch.linalg.cross(v - u, p - u) * normal).sum(1) >= 0 for u, v in ((a, b), (b, c), (c, a))]
    flat = ((p - a) * normal).sum(1).abs()[sides[0] & sides[1] & sides[2]]
    along = [(((p - u) * (v - u)).sum(1) / (v - u).square().sum(1)).nan_to_num().clamp(0, 1) for u, v in ((a, b), (b, c), (c, a))]
    edges = [(u + t[:, None] * (v - u) - p).norm(dim=1) for (u, v), t in zip(((a, b), (b, c), (c, a)), along, strict=True)]
    return float(torch.cat([flat, *edges]).min())


def beside_the_surface(volume: Tensor) -> Tensor:
    """Voxels ``[n, 3]`` that differ from a neighbour: if all of them are right, so are all others."""
    rim = torch.zeros_like(volume)
    for axis, size in enumerate(volume.shape):
        differs = volume.narrow(axis, 1, size - 1) ^ volume.narrow(axis, 0, size - 1)
        rim.narrow(axis, 0, size - 1).logical_or_(differs)
        rim.narrow(axis, 1, size - 1).logical_or_(differs)
    return rim.nonzero()


def posed_heads(face, count: int, grid: Grid, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Random faces in random poses, in the voxel frame, and the triangles of their solid."""
    g = torch.Generator().manual_seed(seed)
    mesh = face.mesh(face.draw_identity(g, count))  # open mouths fold their lips: parity and winding differ where a solid overlaps itself
    yaw, pitch, roll = (spread * (2 * torch.rand(count, generator=g) - 1) for spread in (90, 40, 45))
    return crop_camera(mesh.landmark_points(), yaw, pitch, roll, face.interocular, grid)(mesh.vertices), mesh.solid_triangles()


# What a voxel means


@pytest.mark.parametrize("solid", [tetrahedron(20.0), box(13.0, 9.0, 11.0), icosphere(9.0, 1)], ids=["tetrahedron", "box", "ball"])
@pytest.mark.parametrize("depth_scale", [1.0, 1.5, 2.0])
def test_a_voxel_is_set_where_its_centre_lies_inside_the_solid(solid, depth_scale):
    grid = Grid(36, 28, 26, depth_scale)
    points = voxel_centres(grid)
    for turn in turns(4):
        vertices = (solid[0] - solid[0].mean(0)) @ turn.T + torch.tensor([13.1, 14.2, 18 / depth_scale])
        distance = plane_distance(points, vertices, solid[1])
        volume = voxelize(vertices, solid[1], grid.shape, depth_scale)
        clear = distance.abs() > 0.01
        assert torch.equal(volume[clear], (distance < 0)[clear])
        assert clear.float().mean() > 0.99


@pytest.mark.parametrize("depth_scale", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("name", ["ball", "torus", "bricks", "bricks on centres", "tetrahedron", "outside"])
def test_voxelize_equals_plain_loops_voxel_by_voxel(name, depth_scale):
    cells = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(2)) < 0.6
    vertices, triangles = {
        "ball": icosphere(3.3, 1),
        "torus": torus(2.6, 1.1, 4),
        "bricks": bricks(cells),
        "bricks on centres": bricks(cells, 1.5),
        "tetrahedron": tetrahedron(7.0),
        "outside": icosphere(6.0, 1),
    }[name]
    if not name.startswith("bricks"):
        vertices = vertices @ turns(3)[1].T
    vertices = vertices + torch.tensor([4.0, 4.0, 3.0] if name != "bricks on centres" else [0.5, 1.5, 0.5])
    assert torch.equal(voxelize(vertices, triangles, (11, 8, 9), depth_scale), plain_volume(vertices, triangles, (11, 8, 9), depth_scale))


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_bricks_on_the_lattice_are_counted_exactly(offset):
    cells = torch.rand(6, 5, 7, generator=torch.Generator().manual_seed(3)) < 0.5
    vertices, triangles = bricks(cells, 2.0)
    volume = voxelize(vertices + offset, triangles, (40, 20, 20), depth_scale=2.0)
    assert volume.sum() == 2 * 8 * cells.sum()
    doubled = cells.permute(2, 1, 0).repeat_interleave(4, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
    if offset == 0:
        assert torch.equal(volume[:28, :10, :12], doubled)


# Exactness at full size


def test_a_ball_comes_back_at_depth_scale_1():
    ball_comes_back(60.0, Grid(140, 192, 192, 1.0))


def test_a_ball_comes_back_at_depth_scale_2():
    ball_comes_back(45.0, GRID)


def ball_comes_back(radius: float, grid: Grid) -> None:
    """Mean vertex radius, volume-equivalent radius and mean of the vertices, within 0.05 px."""
    vertices, triangles = icosphere(radius, 6)
    middle = torch.tensor([96.0, 96.0, grid.depth / grid.depth_scale / 2])
    for offset in torch.rand(3, 3, generator=torch.Generator().manual_seed(4)):
        centre = middle + offset
        surface = isosurface(voxelize(vertices + centre, triangles, grid.shape, grid.depth_scale), depth_scale=grid.depth_scale)
        assert surface.is_watertight
        assert np.linalg.norm(surface.vertices - centre.numpy(), axis=1).mean() == pytest.approx(radius, abs=0.05)
        assert (3 * surface.volume / (4 * math.pi)) ** (1 / 3) == pytest.approx(radius, abs=0.05)
        np.testing.assert_allclose(surface.vertices.mean(0), centre, atol=0.05)


SMOOTH = {"ball": icosphere(45.0, 5), "torus": torus(33.0, 13.0)}
CORNERED = {"box": box(55.0, 47.0, 62.0)}


@pytest.mark.parametrize("name", SMOOTH)
def test_volume_of_smooth_solids_over_60_poses(name):
    vertices, triangles = SMOOTH[name]
    errors = volume_errors(vertices @ turns(POSES).mT + shifts(POSES), triangles)
    assert errors.abs().mean() < 0.0004
    assert errors.mean().abs() < 0.0002


def test_volume_of_heads_over_60_poses(ict_face):
    deep = Grid(320, 192, 192, 2.0)  # nothing is cut off
    errors = volume_errors(*posed_heads(ict_face, POSES, deep), deep)
    assert errors.abs().mean() < 0.0004
    assert errors.mean().abs() < 0.0002


def test_volume_of_turned_boxes_over_60_poses():
    """The counting noise of flat walls is larger: up to 0.2 % of a single box."""
    vertices, triangles = CORNERED["box"]
    errors = volume_errors(vertices @ turns(POSES).mT + shifts(POSES), triangles)
    assert errors.abs().max() < 0.002
    assert errors.mean().abs() < 0.0002


def test_volume_of_lattice_aligned_solids_is_exact_over_60_places():
    cells = torch.rand(8, 8, 5, generator=torch.Generator().manual_seed(6)) < 0.5
    vertices, triangles = bricks(cells, 8.0)
    places = torch.randint(2 * 50, (POSES, 1, 3), generator=torch.Generator().manual_seed(7)) / 2  # corners and centres of pixels
    assert (volume_errors(vertices + places, triangles) == 0).all()


@pytest.mark.parametrize("solid", [icosphere(45.0, 3), torus(33.0, 13.0, 20), box(55.0, 47.0, 62.0)], ids=["ball", "torus", "box"])
def test_every_voxel_centre_farther_than_2_hundredths_from_the_surface_is_on_the_right_side(solid):
    vertices, triangles = solid
    for turn, centre in zip(turns(6, seed=8), shifts(6), strict=True):
        wrong_sides(vertices @ turn.T + centre, triangles, GRID)


def test_every_voxel_of_a_head_is_on_the_right_side(ict_face):
    deep = Grid(320, 192, 192, 2.0)
    vertices, triangles = posed_heads(ict_face, 3, deep, seed=9)
    for head in vertices:
        wrong_sides(head, triangles, deep)


def wrong_sides(vertices: Tensor, triangles: Tensor, grid: Grid, count: int = 300) -> None:
    """Compare voxels beside the surface with the winding number; they may differ within 0.02 px of the surface only."""
    volume = voxelize(vertices, triangles, grid.shape, grid.depth_scale)
    voxels = beside_the_surface(volume)
    voxels = voxels[torch.randperm(len(voxels), generator=torch.Generator().manual_seed(10))[:count]]
    points = (voxels.flip(1) + 0.5) / torch.tensor([1.0, 1.0, grid.depth_scale])
    inside = winding_number(points, vertices, triangles).round() != 0
    wrong = (inside != volume[tuple(voxels.T)]).nonzero()[:, 0]
    far = [i for i in wrong.tolist() if surface_distance(points[i], vertices, triangles) > 0.02]
    assert not far


# Laws


@pytest.mark.parametrize("name", ["ball", "torus", "box"])
def test_every_column_of_a_closed_mesh_is_even(name):
    vertices, triangles = (SMOOTH | CORNERED)[name]
    placed = vertices @ turns(8).mT + shifts(8) + torch.tensor([60.0, 0, 0])  # partly outside
    fragments = rasterize(placed, triangles, 192, 192)
    assert (torch.bincount(fragments.pixel) % 2 == 0).all()


def test_a_batch_of_any_shape_equals_its_meshes_one_by_one():
    vertices, triangles = icosphere(5.0, 2)
    batch = (vertices @ turns(6).mT + 8 + torch.arange(6.0)[:, None, None]).view(2, 3, -1, 3)
    volumes = voxelize(batch, triangles, (20, 16, 18), depth_scale=1.5)
    assert volumes.shape == (2, 3, 20, 16, 18)
    for i in range(2):
        for j in range(3):
            assert torch.equal(volumes[i, j], voxelize(batch[i, j], triangles, (20, 16, 18), depth_scale=1.5))


def test_the_winding_does_not_change_the_solid():
    vertices, triangles = SMOOTH["torus"]
    placed = vertices @ turns(1)[0].T + MIDDLE
    assert torch.equal(voxelize(placed, triangles), voxelize(placed, triangles.flip(1)))


@pytest.mark.filterwarnings("ignore:nothing of the mesh")
@pytest.mark.parametrize("shift", [(0, 0, -30), (0, 0, 34), (0, 0, 200), (0, 0, -200), (11, -9, 0), (-25, 0, 3)])
def test_a_cut_off_solid_is_the_whole_one_seen_through_the_grid(shift):
    """Depths before and behind the grid are clamped: a window of a larger grid holds the same voxels."""
    vertices, triangles = torus(14.0, 6.0, 12)
    centre = torch.tensor([20.0, 20.0, 20.0]) + torch.tensor(shift).float()
    placed = vertices @ turns(2)[1].T + centre
    small = voxelize(placed, triangles, (40, 40, 40), depth_scale=1.0)
    large = voxelize(placed + 250, triangles, (540, 320, 320), depth_scale=1.0)
    assert torch.equal(small, large[250:290, 250:290, 250:290])


def test_default_grid_is_the_authors():
    vertices, triangles = icosphere(30.0, 3)
    volume = voxelize(vertices + MIDDLE, triangles)
    assert volume.shape == (200, 192, 192)
    assert volume.dtype == torch.bool
    extent = volume.nonzero().amax(0) - volume.nonzero().amin(0) + 1
    assert ((extent - torch.tensor([120, 60, 60])).abs() <= 2).all()  # z is sampled twice as finely


def test_voxels_come_back_from_their_own_surface():
    """voxelize(isosurface(volume)) is the volume: the two use the same frame."""
    vertices, triangles = torus(9.0, 4.0, 16)
    volume = voxelize(vertices @ turns(1)[0].T + torch.tensor([16.0, 15, 12]), triangles, (48, 30, 32))
    surface = isosurface(volume)
    again = voxelize(torch.tensor(surface.vertices), torch.tensor(surface.faces), (48, 30, 32))
    assert torch.equal(volume, again)


def test_the_toy_face_is_a_solid():
    face = toy_face()
    grid = Grid(128, 64, 64, 1.5)
    vertices, triangles = posed_heads(face, 3, grid)
    inward = 0.6 * (vertices - torch.tensor(grid.centre)) + torch.tensor(grid.centre)
    assert volume_errors(inward, triangles, grid).abs().max() < 0.01


# What is refused


def test_an_open_mesh_is_refused_with_its_boundary_and_the_remedy():
    vertices, triangles = icosphere(30.0, 2)
    with pytest.raises(InputError, match=r"the mesh is open: \d+ columns .* 3 boundary edges; close it first with vrn_lite.mesh.close$") as caught:
        voxelize(vertices + MIDDLE, triangles[1:])
    assert len(boundary_edges(triangles[1:])) == 3
    assert "\n" not in str(caught.value)
    assert close.__module__ == "vrn_lite.mesh"


def test_an_open_mesh_is_refused_wherever_it_stands_in_depth():
    vertices, triangles = icosphere(30.0, 2)
    for depth in (-500.0, 500.0):
        with pytest.raises(InputError, match="the mesh is open"):
            voxelize(vertices + torch.tensor([96.0, 96.0, depth]), triangles[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triangles": torch.zeros(0, 3, dtype=torch.long)}, "the mesh is empty"),
        ({"vertices": torch.full((42, 3), float("nan"))}, "not finite"),
        ({"shape": (0, 4, 4)}, "must be positive, got"),
        ({"depth_scale": -1.0}, "must be positive, got"),
    ],
)
def test_impossible_input_is_refused(change, message):
    vertices, triangles = icosphere(2.0, 1)
    with pytest.raises(InputError, match=message):
        voxelize(**{"vertices": vertices + 4, "triangles": triangles, "shape": (8, 8, 8), "depth_scale": 1.0} | change)


# isosurface


def test_a_single_voxel_becomes_an_octahedron_around_its_centre():
    volume = torch.zeros(4, 5, 6, dtype=torch.bool)
    volume[1, 2, 3] = True
    surface = isosurface(volume, depth_scale=2.0)
    np.testing.assert_allclose(surface.vertices.mean(0), [3.5, 2.5, 0.75], atol=1e-6)
    np.testing.assert_allclose(np.ptp(surface.vertices, axis=0), [1, 1, 0.5], atol=1e-6)
    assert surface.volume == pytest.approx(1 / 6 / 2)


@pytest.mark.parametrize("kind", ["ball", "torus", "clipped", "full"])
def test_isosurfaces_are_closed_and_face_outward(kind):
    vertices, triangles = torus(9.0, 4.0, 12) if kind == "torus" else icosphere(40.0 if kind == "full" else 9.0, 3)
    centre = torch.tensor([2.0, 15, 14]) if kind == "clipped" else torch.tensor([15.0, 15, 14])
    volume = voxelize(vertices + centre, triangles, (28, 30, 30), depth_scale=1.0)
    surface = isosurface(volume, depth_scale=1.0)
    assert surface.is_watertight
    assert surface.is_winding_consistent
    assert float(signed_volume(torch.tensor(surface.vertices), torch.tensor(surface.faces))) == pytest.approx(float(volume.sum()), rel=0.05)


def test_a_linear_ramp_crosses_the_level_where_the_formula_says():
    """Soft volumes place the surface between voxel centres."""
    points = voxel_centres(Grid(30, 30, 30, 1.5))
    distance = (points - torch.tensor([15.2, 14.9, 10.3])).norm(dim=-1)
    surface = isosurface((0.5 + (6.0 - distance) / 8).clamp(0, 1), depth_scale=1.5)
    radius = np.linalg.norm(surface.vertices - [15.2, 14.9, 10.3], axis=1)
    assert np.abs(radius - 6).max() < 0.03
    higher = isosurface((0.5 + (6.0 - distance) / 8).clamp(0, 1), level=0.75, depth_scale=1.5)
    assert np.linalg.norm(higher.vertices - [15.2, 14.9, 10.3], axis=1).mean() == pytest.approx(4, abs=0.03)


def test_numpy_and_torch_give_the_same_surface():
    volume = torch.rand(5, 6, 7, generator=torch.Generator().manual_seed(11))
    np.testing.assert_array_equal(isosurface(volume).vertices, isosurface(volume.numpy()).vertices)


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (torch.zeros(4, 4, 4), r"no surface at level 0\.5: its largest value is 0"),
        (torch.full((4, 4, 4), float("nan")), "not finite"),
        (torch.ones(1, 4, 4, 4), r"volume must be \[d, h, w\], got \(1, 4, 4, 4\)"),
    ],
)
def test_volumes_without_a_surface_are_refused(volume, message):
    with pytest.raises(InputError, match=message):
        isosurface(volume)


@pytest.mark.parametrize("shift", [[60.0, 4, 4], [4, -50, 4], [4, 4, 90], [4, 4, -40]])
def test_a_mesh_beside_the_grid_is_told(shift):
    vertices, triangles = icosphere(3.0, 1)
    with pytest.warns(UserWarning, match="nothing of the mesh .* lies inside the grid of 8 x 8 x 4 px: place it there first"):
        volume = voxelize(vertices + torch.tensor(shift), triangles, (8, 8, 8), 2.0)
    assert not volume.any()
