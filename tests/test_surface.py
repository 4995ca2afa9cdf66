"""The skin is a surface over a plane; lids lie on the eyeball, lips around their seam."""

import numpy as np
import pytest

from vrn_lite.faces.procedural.anatomy import CENTRE, EYE, EYE_RADIUS, LID, LIP_STEPS, SKIN
from vrn_lite.faces.procedural.surface import curve, lid_rings, lip_rings, on_eyeball, smooth, surface, to_directions, to_plane


def test_plane_and_directions_are_inverse():
    plane = np.random.default_rng(0).normal(size=(50, 2))
    directions = to_directions(plane)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1)
    assert np.allclose(to_plane(CENTRE + 7 * directions), plane)


def test_small_shapes_keep_their_shape():
    """The projection is conformal: steps along x and y from anywhere become directions at right angles and of equal size."""
    plane = np.random.default_rng(1).normal(size=(20, 2))
    along, up = ((to_directions(plane + step) - to_directions(plane - step)) / 2e-5 for step in ((1e-5, 0), (0, 1e-5)))
    assert np.allclose((along * up).sum(1), 0, atol=1e-8)
    assert np.allclose(np.linalg.norm(along, axis=1), np.linalg.norm(up, axis=1), atol=1e-8)


def test_the_skin_lies_over_its_point_of_the_plane():
    plane = to_plane(SKIN[SKIN[:, 0] > 0])
    assert np.allclose(to_plane(surface(plane)), plane)


def test_the_skin_passes_near_the_anatomical_points_behind_the_face():
    back = SKIN[(SKIN[:, 2] < 1) & (SKIN[:, 0] >= 0)]  # neither carved nor pushed out by the lids
    assert np.linalg.norm(surface(to_plane(back)) - back, axis=1).max() < 0.25


def test_points_seen_on_the_eyeball_lie_on_its_sphere():
    seen = EYE[:2] + np.random.default_rng(2).uniform(-0.5, 0.5, (30, 2))
    points = on_eyeball(seen, 1.25)
    assert np.allclose(points[:, :2], seen)
    assert np.allclose(np.linalg.norm(points - EYE, axis=1), 1.25)


def test_the_lids_inner_rings_lie_on_the_eyeball():
    rings = lid_rings()
    for ring, radius in zip(rings, (EYE_RADIUS + 0.03, EYE_RADIUS + LID), strict=False):
        assert np.allclose(np.linalg.norm(ring - EYE, axis=1), radius)
    widths = np.ptp(rings[..., 0], axis=1)
    assert (np.diff(widths) >= 0).all()  # from the inner edge outward


def test_the_lips_rings_widen_from_the_seam_outward():
    heights = np.ptp(lip_rings()[..., 1], axis=1)
    assert (np.diff(heights[LIP_STEPS.index(0) :]) > 0).all()


@pytest.mark.parametrize("count", [5, 21])
def test_a_curve_through_a_quarter_circle_is_cut_into_equal_parts(count):
    angle = np.linspace(0, np.pi / 2, 40)
    found = curve(np.stack([1 + np.cos(angle), np.sin(angle), 0 * angle], 1), count)
    parts = np.linalg.norm(np.diff(found, axis=0), axis=1)
    assert np.allclose(parts, 2 * np.sin(np.pi / 4 / (count - 1)), atol=1e-4)
    assert np.allclose(found[[0, -1]], [[2, 0, 0], [1, 1, 0]])


def test_the_smooth_step_is_flat_at_its_ends():
    assert smooth(np.array([-3.0, 0.0, 0.5, 1.0, 4.0])).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert smooth(np.array([1e-4])) < 1e-6
    assert 1 - smooth(np.array([1 - 1e-4])) < 1e-6
