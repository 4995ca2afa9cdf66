import math

import pytest
import torch

from shapes import box, bricks, icosphere, tetrahedron, torus, toy_face, turns
from vrn_lite.frame import InputError
from vrn_lite.mesh import Mesh, boundary_edges, boundary_loops, close, closing_of, signed_volume
from vrn_lite.volume import voxelize

CLOSED = {"ball": icosphere(2.0), "torus": torus(3.0, 1.0), "box": box(1.0, 2.0, 3.0), "tetrahedron": tetrahedron()}


def patch(side: int = 7) -> Mesh:
    """An open, bent square sheet facing +z."""
    y, x = torch.meshgrid(torch.linspace(1, -1, side), torch.linspace(-1, 1, side), indexing="ij")
    number = torch.arange(side * side).view(side, side)
    a, b, c, d = (n.flatten() for n in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]))
    triangles = torch.cat([torch.stack((a, c, b), 1), torch.stack((b, c, d), 1)])
    return Mesh(torch.stack((x, y, 0.3 * torch.cos(x + y)), -1).view(-1, 3), triangles)


def pierced(*cells: int) -> Mesh:
    """The sheet without some of its 36 cells."""
    sheet = patch()
    gone = torch.isin(torch.arange(len(sheet.triangles)) % 36, torch.tensor(cells))
    return Mesh(sheet.vertices, sheet.triangles[~gone])


@pytest.mark.parametrize(("name", "volume"), [("tetrahedron", 1 / 6), ("box", 6.0), ("ball", 4 / 3 * math.pi * 8), ("torus", 2 * math.pi**2 * 3)])
def test_signed_volume_matches_closed_form(name, volume):
    assert float(signed_volume(*CLOSED[name])) == pytest.approx(volume, rel=5e-3)


def test_signed_volume_changes_sign_with_the_winding_and_not_with_the_place():
    vertices, triangles = CLOSED["torus"]
    volume = signed_volume(vertices, triangles)
    torch.testing.assert_close(signed_volume(vertices, triangles.flip(1)), -volume)
    torch.testing.assert_close(signed_volume(vertices + 50, triangles), volume, rtol=1e-4, atol=0)
    moved = vertices @ turns(3).mT
    torch.testing.assert_close(signed_volume(moved, triangles), volume.expand(3), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_meshes_have_no_boundary(name):
    assert boundary_edges(CLOSED[name][1]).shape == (0, 2)
    assert boundary_loops(CLOSED[name][1]) == []


def test_bricks_that_touch_along_an_edge_are_closed():
    cells = torch.zeros(2, 2, 1, dtype=torch.bool)
    cells[0, 0], cells[1, 1] = True, True
    assert len(boundary_edges(bricks(cells)[1])) == 0


def test_a_missing_triangle_leaves_its_three_edges_reversed():
    triangles = CLOSED["ball"][1]
    a, b, c = triangles[5].tolist()
    loose = {tuple(edge) for edge in boundary_edges(torch.cat([triangles[:5], triangles[6:]])).tolist()}
    assert loose == {(b, a), (c, b), (a, c)}


def test_loops_come_longest_first_and_follow_their_triangles():
    mesh = pierced(7, 8, 28)
    loops = boundary_loops(mesh.triangles)
    assert [len(loop) for loop in loops] == [24, 6, 4]
    directed = {tuple(edge) for edge in boundary_edges(mesh.triangles).tolist()}
    assert {pair for loop in loops for pair in zip(loop.tolist(), loop.roll(-1).tolist(), strict=True)} == directed


@pytest.mark.parametrize("cells", [(7, 14), (0, 7), (0,), (7, 14, 21)])
def test_loops_that_share_a_vertex_are_told_apart(cells):
    """Holes that touch in a corner, and holes that touch the rim: every edge belongs to one loop, no loop comes back to a vertex."""
    mesh = pierced(*cells)
    loops = boundary_loops(mesh.triangles)
    edges = [pair for loop in loops for pair in zip(loop.tolist(), loop.roll(-1).tolist(), strict=True)]
    assert sorted(edges) == sorted(map(tuple, boundary_edges(mesh.triangles).tolist()))
    assert all(len(loop.unique()) == len(loop) for loop in loops)


@pytest.mark.parametrize("cells", [(), (7, 28)])
def test_a_vertex_for_each_corner_is_no_hole(cells):
    """The solid of a patch does not depend on how many vertices lie at one place."""
    whole = close(pierced(*cells), wall=-2.0)
    mesh = pierced(*cells)
    torn = Mesh(mesh.vertices[mesh.triangles.flatten()], torch.arange(mesh.triangles.numel()).view(-1, 3))
    solid = close(torn, wall=-2.0)
    assert len(solid.triangles) == len(whole.triangles)
    volumes = [voxelize(1.7 * part.vertices + 6, part.triangles, (12, 16, 16), 1.0) for part in (whole, solid)]
    assert volumes[0].any()
    assert torch.equal(*volumes)


@pytest.mark.parametrize("cells", [(), (7,), (7, 8, 28)])
def test_closing_a_patch_gives_a_closed_solid_with_a_flat_wall(cells):
    mesh = pierced(*cells)
    solid = close(mesh, wall=-2.0)
    assert len(boundary_edges(solid.triangles)) == 0
    assert float(signed_volume(solid.vertices, solid.triangles)) > 4 * 2
    back = solid.vertices[solid.vertices[:, 2] < -1.9]
    assert len(back) == 24 + 1
    assert (back[:, 2] == -2.0).all()
    rim = boundary_loops(mesh.triangles)[0]
    assert torch.equal(back[:24, :2], mesh.vertices[rim, :2])  # straight back


def test_closing_keeps_the_patch_and_marks_what_it_added():
    mesh = pierced(7)
    solid = close(mesh, wall=-2.0)
    count, faces = len(mesh.vertices), len(mesh.triangles)
    assert torch.equal(solid.vertices[:count], mesh.vertices)
    assert torch.equal(solid.triangles[:faces], mesh.triangles)
    assert torch.equal(solid.visible, torch.arange(len(solid.triangles)) < faces)
    assert solid.solid.all()
    assert torch.equal(solid.face, torch.arange(len(solid.vertices)) < count)


def test_closing_is_linear_in_the_vertices():
    mesh = pierced(7)
    other = mesh.vertices.clone().mul_(1.5).add_(0.1)
    closing = closing_of(mesh.triangles, len(mesh.vertices))

    def extended(vertices, wall):
        return closing.extend(vertices, torch.tensor(wall))

    mixed = extended(0.25 * mesh.vertices + 0.75 * other, 0.25 * -2.0 + 0.75 * -3.0)
    torch.testing.assert_close(mixed, 0.25 * extended(mesh.vertices, -2.0) + 0.75 * extended(other, -3.0))


def test_a_batch_is_closed_one_by_one():
    mesh = pierced(7)
    batch = torch.stack([mesh.vertices, mesh.vertices * 1.2])
    solids = close(mesh.with_vertices(batch), wall=-2.0)
    for index in range(2):
        assert torch.equal(solids[index].vertices, close(mesh.with_vertices(batch[index]), wall=-2.0).vertices)


def test_close_refuses_a_wall_before_the_rearmost_vertex():
    with pytest.raises(InputError, match=r"the wall at z = 0 must lie behind every vertex; the rearmost is at z = -0\.1248"):
        close(patch(), wall=0.0)


def test_close_refuses_a_closed_mesh():
    with pytest.raises(InputError, match="closed already"):
        close(Mesh(*CLOSED["box"]), wall=-5.0)


def test_colours_of_a_closed_patch_cover_its_vertices():
    mesh = patch()
    solid = close(Mesh(mesh.vertices, mesh.triangles, colours=torch.rand(len(mesh.vertices), 3)), wall=-2.0)
    assert solid.colours.shape == solid.vertices.shape


def test_indexing_and_moving_a_mesh():
    face = toy_face()
    mesh = face.sample(torch.Generator().manual_seed(0), 3)
    assert torch.equal(mesh[1].vertices, mesh.vertices[1])
    assert torch.equal(mesh.landmark_points()[2], mesh[2].landmark_points())
    assert mesh.landmark_points().shape == (3, 68, 3)
    assert torch.equal(mesh.with_vertices(mesh.vertices + 1)[0].vertices, mesh.vertices[0] + 1)


def test_a_mesh_without_landmarks_says_what_it_needs():
    with pytest.raises(InputError, match="give the 68 vertex numbers"):
        patch().landmark_points()


def test_solid_triangles_are_those_flagged():
    mesh = patch()
    flags = torch.arange(len(mesh.triangles)) % 2 == 0
    assert torch.equal(mesh.solid_triangles(), mesh.triangles)
    assert torch.equal(Mesh(mesh.vertices, mesh.triangles, solid=flags).solid_triangles(), mesh.triangles[flags])
