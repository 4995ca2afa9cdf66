from itertools import pairwise

import pytest
import torch
from scipy.spatial import Delaunay
from torch import Tensor

from shapes import box, bricks, icosphere, plain_fragments, tetrahedron, torus, toy_face, turns
from vrn_lite.frame import InputError
from vrn_lite.raster import Fragments, nearest, rasterize


def random_triangles(seed: int, spread: float, step: float | None = None, count: int = 24) -> tuple[Tensor, Tensor]:
    """Loose triangles around an 8 x 8 image; with `step`, their corners stand on a lattice."""
    g = torch.Generator().manual_seed(seed)
    vertices = 4 + spread * torch.randn(count, 3, generator=g)
    if step:
        vertices = (vertices / step).round() * step
    return vertices, torch.randint(count, (count, 3), generator=g)


def at(mesh: tuple[Tensor, Tensor], place: tuple[float, float, float], turn: int | None = None) -> tuple[Tensor, Tensor]:
    vertices, triangles = mesh
    vertices = vertices if turn is None else vertices @ turns(9)[turn].T
    return vertices + torch.tensor(place), triangles


def planar_mesh(seed: int, side: int, corners_on: float) -> tuple[Tensor, Tensor]:
    """A triangulated square a little larger than the image of `side` pixels, with points on pixel centres and between."""
    g = torch.Generator().manual_seed(seed)
    inner = torch.rand(60, 2, generator=g) * side
    on_centres = torch.randint(side, (30, 2), generator=g) + corners_on
    rim = torch.tensor([(-1.0, -1), (-1, side + 1), (side + 1, -1), (side + 1, side + 1)])
    points = torch.cat([rim, on_centres, inner]).mul(256).round().div(256).unique(dim=0)
    triangles = torch.tensor(Delaunay(points.double().numpy()).simplices).long()
    triangles = torch.where(torch.rand(len(triangles), 1, generator=g) < 0.5, triangles.flip(1), triangles)
    return torch.cat([points, torch.rand(len(points), 1, generator=g)], 1), triangles


def cover(vertices: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """How often each pixel is covered."""
    fragments = rasterize(vertices[None], triangles, height, width)
    return torch.bincount(fragments.pixel, minlength=height * width).view(height, width)


MESHES = {
    "loose": random_triangles(0, 3.0),
    "loose and small": random_triangles(1, 0.7),
    "loose and far": random_triangles(2, 40.0),
    "loose on pixel corners": random_triangles(3, 3.0, step=1.0),
    "loose on pixel centres": (random_triangles(4, 3.0, step=1.0)[0] + 0.5, random_triangles(4, 3.0)[1]),
    "loose on quarters": random_triangles(5, 2.0, step=0.25),
    "bricks": bricks(torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(6)) < 0.6, 1.5),
    "box on pixel centres": at(box(4, 3, 2), (4.5, 4.0, 3)),
    "turned box": at(box(4, 3, 2), (4, 4, 3), turn=0),
    "ball": at(icosphere(3.0, 1), (4.25, 3.75, 5)),
    "torus": at(torus(2.5, 1.0, 5), (4, 4, 5), turn=1),
    "tetrahedron": at(tetrahedron(6.0), (0.5, 0.5, 1)),
}


@pytest.mark.parametrize("name", MESHES)
def test_fragments_equal_those_of_a_plain_loop(name):
    vertices, triangles = MESHES[name]
    fragments = rasterize(vertices[None], triangles, 8, 9)
    expected = plain_fragments(vertices, triangles, 8, 9)
    found = list(zip(*(field.tolist() for field in fragments[1:4]), strict=True))
    assert found == sorted(expected)
    weights = torch.tensor([[float(w) for w in expected[key]] for key in found]).view(-1, 3)
    torch.testing.assert_close(fragments.weights, weights, rtol=0, atol=1e-3)
    torch.testing.assert_close(fragments.depth, (weights * vertices[triangles[fragments.triangle], 2]).sum(1), rtol=0, atol=2e-3)


@pytest.mark.parametrize("corners_on", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_every_pixel_of_a_triangulated_square_is_covered_exactly_once(seed, corners_on):
    assert (cover(*planar_mesh(seed, 32, corners_on), 32, 32) == 1).all()


@pytest.mark.parametrize("count", [3, 4, 5, 8, 13])
def test_a_fan_around_a_pixel_centre_covers_it_once(count):
    angle = 6.283185 * torch.arange(count) / count
    ring = 4.5 + 3 * torch.stack((angle.cos(), angle.sin()), 1)
    vertices = torch.cat([torch.cat([ring, torch.tensor([[4.5, 4.5]])]), torch.zeros(count + 1, 1)], 1)
    triangles = torch.stack((torch.arange(count), torch.arange(count).roll(-1), torch.full((count,), count)), 1)
    counts = cover(vertices, triangles, 9, 9)
    assert counts[4, 4] == 1
    assert counts.max() == 1


def test_the_top_and_left_edges_of_a_lattice_square_belong_to_it():
    square = torch.tensor([[1.5, 1.5, 0], [4.5, 1.5, 0], [4.5, 4.5, 0], [1.5, 4.5, 0]])
    counts = cover(square, torch.tensor([[0, 1, 2], [0, 2, 3]]), 6, 6)
    assert torch.equal(counts.nonzero(), torch.cartesian_prod(torch.arange(1, 4), torch.arange(1, 4)))


@pytest.mark.parametrize("name", MESHES)
def test_both_windings_cover_the_same_pixels(name):
    vertices, triangles = MESHES[name]
    one, other = (rasterize(vertices[None], turned, 8, 9) for turned in (triangles, triangles[:, [0, 2, 1]]))
    assert all(torch.equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))
    torch.testing.assert_close(one.depth, other.depth, rtol=1e-4, atol=1e-4)


def test_the_corners_order_does_not_matter():
    vertices, triangles = MESHES["loose"]
    one, other = (rasterize(vertices[None], turned, 8, 9) for turned in (triangles, triangles.roll(1, 1)))
    assert all(torch.equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))


def test_one_sided_triangles_count_only_where_they_face_the_viewer():
    vertices, triangles = at(icosphere(3.0, 3), (4, 4, 5))
    everything = torch.ones(len(triangles), dtype=torch.bool)
    front = rasterize(vertices[None], triangles, 8, 8, one_sided=everything)
    back = rasterize(vertices[None], triangles.flip(1), 8, 8, one_sided=everything)
    both = rasterize(vertices[None], triangles, 8, 8)
    assert (front.depth < 5).all()  # outward normals: the near half
    assert (back.depth > 5).all()
    assert torch.equal(torch.cat([front.triangle, back.triangle]).sort().values, both.triangle)
    unmarked = rasterize(vertices[None], triangles, 8, 8, one_sided=~everything)
    assert torch.equal(unmarked.triangle, both.triangle)


def test_an_outward_mesh_still_faces_the_viewer_after_the_camera():
    """The frame's diag(1, -1, -1) is a rotation, so that counter-clockwise in the model frame is towards the viewer."""
    face = toy_face()
    vertices = 4 * face.mean * torch.tensor([1.0, -1.0, -1.0]) + 32
    one_sided = torch.ones(len(face.triangles), dtype=torch.bool)
    front, both = (rasterize(vertices[None], face.triangles, 64, 64, one_sided=sided) for sided in (one_sided, None))
    assert len(front.row) > 0.95 * len(both.row)


@pytest.mark.parametrize("name", MESHES)
def test_depth_stays_within_the_triangles_own_range(name):
    vertices, triangles = MESHES[name]
    fragments = rasterize(vertices[None], triangles, 8, 9)
    corners = vertices[triangles[fragments.triangle], 2]
    assert (fragments.depth >= corners.amin(1)).all()
    assert (fragments.depth <= corners.amax(1)).all()


def test_a_triangle_of_constant_depth_keeps_that_depth_exactly():
    vertices, triangles = random_triangles(7, 5.0)
    vertices[:, 2] = 0.3
    assert (rasterize(vertices[None], triangles, 8, 8).depth == vertices[0, 2]).all()


def test_weights_sum_to_one_and_reproduce_the_pixel_centre():
    vertices, triangles = at(icosphere(40.0, 4), (48.3, 47.9, 60))
    fragments = rasterize(vertices[None], triangles, 96, 96)
    torch.testing.assert_close(fragments.weights.sum(1), torch.ones(len(fragments.row)))
    assert fragments.weights.min() > -1e-4
    place = (fragments.weights[..., None] * vertices[triangles[fragments.triangle]]).sum(1)
    centre = torch.stack((fragments.column + 0.5, fragments.row + 0.5), 1)
    assert (place[:, :2] - centre).abs().max() < 1 / 256  # corners move by at most half of 1/256 px


def test_degenerate_triangles_give_nothing():
    vertices = torch.tensor([[1.5, 1.5, 0], [5.5, 5.5, 1], [3.5, 3.5, 2], [1.5, 5.5, 0], [5.5, 1.5, 0], [3.5, 1.5, 0]])
    triangles = torch.tensor([[0, 1, 2], [0, 0, 1], [3, 3, 3], [0, 5, 4], [2, 1, 0]])
    assert len(rasterize(vertices[None], triangles, 8, 8).row) == 0


def test_edges_swap_hands_without_gap_where_a_triangle_is_split_by_a_degenerate_one():
    """A T-junction closed by a triangle without area: the pixels are still covered once."""
    vertices = torch.tensor([[0.0, 0, 0], [8, 0, 0], [8, 8, 0], [0, 8, 0], [4, 4, 0]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 4], [0, 4, 3], [4, 2, 3]])
    assert (cover(vertices, triangles, 8, 8) == 1).all()


@pytest.mark.parametrize(("right", "down"), [(5, 3), (-4, 2), (0, -6), (40, 0)])
def test_parts_outside_the_image_are_dropped_and_nothing_else(right, down):
    vertices, triangles = at(torus(6.0, 2.5, 8), (8.1, 8.2, 9), turn=2)
    large = cover(vertices + torch.tensor([64.0, 64, 0]), triangles, 128, 128)
    small = cover(vertices + torch.tensor([float(right), float(down), 0]), triangles, 16, 16)
    assert torch.equal(small, large[64 - down : 80 - down, 64 - right : 80 - right])


def test_a_batch_equals_its_meshes_one_by_one():
    vertices, triangles = icosphere(3.0, 2)
    batch = vertices @ turns(4).mT + torch.tensor([4.0, 4, 5]) + torch.arange(4.0)[:, None, None]
    together = rasterize(batch, triangles, 8, 8)
    assert together.shape == (4, 8, 8)
    assert (together.sample.diff() >= 0).all()
    for index in range(4):
        alone, part = rasterize(batch[index : index + 1], triangles, 8, 8), together.where(together.sample == index)
        assert all(torch.equal(a, b) for a, b in zip(alone[1:6], part[1:6], strict=True))


def test_fragments_come_ordered_by_sample_and_triangle():
    vertices, triangles = MESHES["loose"]
    fragments = rasterize(torch.stack([vertices, vertices + 0.3]), triangles, 8, 8)
    key = fragments.sample * len(triangles) + fragments.triangle
    assert all(a <= b for a, b in pairwise(key.tolist()))


@pytest.mark.parametrize("size", [1e3, 1e5])
def test_huge_triangles_cover_every_pixel_once(size):
    vertices = torch.tensor([[-size, -size, 0], [size, -size, 0], [size, size, 0], [-size, 1.01 * size, 1], [3.5, 2.5, 0.5]])
    triangles = torch.tensor([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    assert (cover(vertices, triangles, 8, 8) == 1).all()


def test_coordinates_beyond_exact_arithmetic_are_refused():
    vertices, triangles = random_triangles(8, 1e6)
    with pytest.raises(InputError, match="131072 px"):
        rasterize(vertices[None], triangles, 8, 8)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_vertices_that_are_not_finite_are_refused(bad):
    vertices, triangles = icosphere(2.0, 1)
    vertices[3, 1] = bad
    with pytest.raises(InputError, match="not finite"):
        rasterize(vertices[None], triangles, 8, 8)


def test_an_empty_mesh_is_refused():
    with pytest.raises(InputError, match="the mesh is empty: it has no triangles"):
        rasterize(torch.zeros(1, 3, 3), torch.zeros(0, 3, dtype=torch.long), 8, 8)


def fragments_of(pixels: list[tuple[int, int, int]], depths: list[float]) -> Fragments:
    sample, row, column = torch.tensor(pixels).T
    number = torch.arange(len(pixels))
    return Fragments(sample, number, row, column, torch.tensor(depths), torch.ones(len(pixels), 3) / 3, (2, 3, 4))


def test_nearest_equals_a_loop():
    g = torch.Generator().manual_seed(9)
    pixels = [(int(s), int(r), int(c)) for s, r, c in torch.randint(6, (200, 3), generator=g) % torch.tensor([2, 3, 4])]
    depths = torch.randn(200, generator=g).mul(4).round().div(2).tolist()  # many ties, both signs
    best: dict[tuple[int, int, int], int] = {}
    for number, pixel in enumerate(pixels):
        if pixel not in best or depths[number] < depths[best[pixel]]:
            best[pixel] = number
    seen = nearest(fragments_of(pixels, depths))
    assert seen.triangle.tolist() == [best[pixel] for pixel in sorted(best)]


def test_of_equally_near_fragments_the_first_is_seen():
    assert nearest(fragments_of([(1, 2, 3)] * 3, [-1.5, -1.5, 0.0])).triangle.tolist() == [0]
    assert nearest(fragments_of([(0, 0, 0)] * 2, [-0.0, 0.0])).triangle.tolist() == [0]
    assert nearest(fragments_of([(0, 0, 0)] * 2, [0.0, -0.0])).triangle.tolist() == [0]


def test_nearest_of_nothing_is_nothing():
    everything = fragments_of([(0, 0, 0)], [1.0])
    assert len(nearest(everything.where(torch.zeros(1, dtype=torch.bool))).row) == 0


def test_nearest_of_a_ball_is_its_near_half():
    vertices, triangles = at(icosphere(3.0, 3), (4, 4, 5))
    seen = nearest(rasterize(vertices[None], triangles, 8, 8))
    assert len(seen.row) == 32
    assert (seen.depth < 5).all()
    radius = ((seen.column - 3.5) ** 2 + (seen.row - 3.5) ** 2).float()
    torch.testing.assert_close(seen.depth, 5 - (9 - radius).sqrt(), rtol=0, atol=0.06)
