"""Legible in light and dark themes; sizes by profile."""

import numpy as np
import pytest

from contrast import contrast, luminance
from drawn import POINTS, TRIANGLES, linked, pixels
from vrn_lite import viz
from vrn_lite.frame import InputError
from vrn_lite.viz.style import colour_table


def bytes_of(colour):
    """``#rrggbb`` as three bytes."""
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def test_profile_is_one_of_three(monkeypatch):
    monkeypatch.setenv("VRN_LITE_PROFILE", "cpu")
    assert viz.profile() == "cpu"
    monkeypatch.delenv("VRN_LITE_PROFILE")
    assert viz.profile() in ("cpu", "gpu")
    monkeypatch.setenv("VRN_LITE_PROFILE", "fast")
    with pytest.raises(InputError, match="ci, cpu or gpu, got 'fast'"):
        viz.profile()


def test_every_figure_is_dark_text_on_its_own_white_card():
    curves = viz.curves_figure({"a": ([0, 1], [0, 1])}, "x", "y")
    for figure in (linked(), curves, viz.images_figure({"a": np.zeros((8, 8))}), viz.mesh_figure(POINTS, TRIANGLES)):
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "#ffffff"  # never the theme's
        assert contrast(bytes_of(figure.layout.font.color), bytes_of(figure.layout.paper_bgcolor)) > 7
    assert tuple(pixels(curves)[0, 0]) == (255, 255, 255)  # nor transparent


def test_lines_and_signs_stand_out_from_the_card():
    assert min(contrast(bytes_of(ink), (255, 255, 255)) for ink in viz.INKS) >= 3
    assert len(set(viz.INKS)) == 7


def test_the_colour_map_grows_evenly_brighter():
    bright = [luminance(255 * colour) ** (1 / 2.2) for colour in colour_table()]
    steps = np.diff(bright)
    assert (steps > -1e-3).all()
    assert np.abs(np.diff(np.convolve(steps, np.ones(32) / 32, "valid"))).max() < 1e-3
