"""The plane is filled without gaps, without overlaps, and not where there are holes."""

import numpy as np
import pytest
from scipy.integrate import trapezoid

from vrn_lite.faces.procedural.triangulate import fill, midline, spacing, triangulate


def areas(points, triangles):
    """Signed areas, positive where counter-clockwise."""
    a, b, c = points[triangles].transpose(1, 0, 2)
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2


def ring(radius, count=12):
    """A regular polygon about (0.5, 0)."""
    angle = 2 * np.pi * np.arange(count) / count
    return (0.5, 0.0) + radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def test_triangles_cover_what_lies_between_two_polygons():
    outer, inner = ring(0.4), ring(0.1)
    points = np.concatenate([outer, inner, ring(0.25, 15)])
    found = areas(points, triangulate(points, [inner]))
    assert (found > 0).all()
    assert found.sum() == pytest.approx(6 * np.sin(np.pi / 6) * (0.4**2 - 0.1**2))


def test_free_points_are_as_far_apart_as_wanted_and_keep_off_the_holes():
    hole = ring(0.1)
    square = np.array([[x, y] for x in np.linspace(0, 1, 9) for y in (-0.5, 0.5)] + [[x, y] for x in (0, 1) for y in np.linspace(-0.5, 0.5, 9)[1:-1]])
    points = fill(np.concatenate([square, hole]), [], [hole])
    free = points[len(square) + len(hole) :]
    assert np.array_equal(points[: len(square)], square)
    assert (np.linalg.norm(free - (0.5, 0.0), axis=1) > 0.1 * np.cos(np.pi / 12)).all()
    assert (free[:, 0] > 0).all()
    nearest = np.sort(np.linalg.norm(free[:, None] - points, axis=-1), axis=1)[:, 1]
    assert (nearest > 0.4 * spacing(free)).all()
    assert 0.7 < np.median(nearest / spacing(free)) < 1.3


def test_the_midline_is_divided_by_the_wanted_distance():
    points = midline(-0.3, 0.4)
    assert (points[:, 0] == 0).all()
    assert (np.diff(points[:, 1]) > 0).all()
    ends = np.concatenate([[-0.3], points[:, 1], [0.4]])
    between = [np.linspace(low, high, 200) for low, high in zip(ends, ends[1:], strict=False)]
    steps = [trapezoid(1 / spacing(np.stack([0 * y, y], 1)), y) for y in between]  # how many wanted distances a gap is long
    assert steps == pytest.approx([steps[0]] * len(steps), rel=0.01)
    assert steps[0] == pytest.approx(1, abs=0.1)
