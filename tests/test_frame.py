import pytest
import torch

from vrn_lite.frame import AUTHORS_DEPTH_SCALE, AUTHORS_SHAPE, Grid, InputError, require, voxel_centres


def test_voxel_centres_are_the_docstrings_identity():
    grid = Grid(5, 4, 3, depth_scale=1.5)
    points = voxel_centres(grid)
    assert points.shape == (5, 4, 3, 3)
    for d, r, c in ((0, 0, 0), (4, 3, 2), (2, 1, 0)):
        torch.testing.assert_close(points[d, r, c], torch.tensor([c + 0.5, r + 0.5, (d + 0.5) / 1.5]))


def test_pivot_stands_at_slice_96_of_200():
    grid = Grid(*AUTHORS_SHAPE, AUTHORS_DEPTH_SCALE)
    assert grid.centre == (96, 96, 48)
    assert grid.centre[2] * grid.depth_scale == 96


def test_side_is_the_geometric_mean_of_height_and_width():
    assert Grid(10, 4, 9).side == 6


@pytest.mark.parametrize("sizes", [(0, 4, 4), (4, -1, 4), (4, 4, 0)])
def test_a_grid_without_extent_is_refused(sizes):
    with pytest.raises(InputError, match="positive sizes, got depth x height x width"):
        Grid(*sizes)


def test_a_depth_scale_of_zero_is_refused():
    with pytest.raises(InputError, match="depth_scale must be positive, got 0"):
        Grid(4, 4, 4, depth_scale=0.0)


def test_require_raises_its_message_and_only_where_the_condition_fails():
    require(True, "not this")
    with pytest.raises(InputError, match="^this$"):
        require(False, "this")
    assert issubclass(InputError, ValueError)
