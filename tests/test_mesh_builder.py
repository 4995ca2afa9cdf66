"""Grids of triangles have no holes, and parts are numbered one after the other."""

import numpy as np
import pytest

from vrn_lite.faces.procedural.mesh_builder import MeshBuilder


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
