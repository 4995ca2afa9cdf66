"""Parts are put together without holes, and the left half is the right one in a mirror."""

import numpy as np
import pytest

from vrn_lite.faces.procedural.mesh_builder import MeshBuilder, both_halves


@pytest.fixture(scope="module")
def head():
    return both_halves()


def edges(triangles):
    """How often each undirected edge is used."""
    return np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0, return_counts=True)[1]


@pytest.mark.parametrize(("closed", "open_edges"), [(False, 2 * (3 + 4)), (True, 2 * 5)])
def test_an_added_grid_has_no_holes(closed, open_edges):
    """A strip of 4 x 5 vertices ends in its outline, a tube of them in its two rims."""
    builder = MeshBuilder()
    builder.add_grid(builder.add_vertices("grid", np.zeros((4, 5, 3))), closed=closed, patch=True)
    triangles = np.concatenate(builder.triangles)
    assert len(triangles) == 2 * 3 * (5 if closed else 4)
    assert sorted(set(edges(triangles))) == [1, 2]
    assert (edges(triangles) == 1).sum() == open_edges
    assert np.concatenate(builder.patch).all()


def test_parts_are_numbered_one_after_the_other():
    builder = MeshBuilder()
    first, second = builder.add_vertices("one", np.zeros((2, 3, 3))), builder.add_vertices("two", np.ones((4, 3)))
    assert first.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert second.tolist() == [6, 7, 8, 9]
    assert np.concatenate(builder.points)[second].all()


def test_the_left_half_is_the_right_one_in_a_mirror(head):
    assert np.array_equal(head.vertices[head.flip], head.vertices * (-1, 1, 1))
    assert np.array_equal(head.flip[head.flip], np.arange(len(head.flip)))
    assert np.array_equal(head.flip == np.arange(len(head.flip)), head.vertices[:, 0] == 0)


def test_triangles_of_the_halves_are_each_others_mirror_images(head):
    right, left = np.split(head.triangles, 2)
    assert np.array_equal(left, head.flip[right][:, ::-1])
    assert len(np.unique(np.sort(head.triangles, 1), axis=0)) == len(head.triangles)


def test_parts_and_bumps_are_on_both_sides_or_on_one(head):
    ears = head.part("ear")
    assert np.array_equal(ears, ears[head.flip])
    assert ears.sum() == 2 * head.index["ear"].size
    middle, shift = np.array([3.0, 0.0, 8.0]), np.array([1.0, 0.0, 0.0])
    both, one = head.bump(middle, 1.0, shift), head.bump(middle, 1.0, shift, both=False)
    assert np.allclose(both, head.mirrored(both))
    assert np.allclose(both - one, head.mirrored(one))
    assert np.abs(one[head.vertices[:, 0] < -3]).max() < 1e-6
