"""The left half of the sculpted head is the right one in a mirror."""

import numpy as np
import pytest

from vrn_lite.faces.procedural.head import both_halves


@pytest.fixture(scope="module")
def head():
    return both_halves()


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
