import json
from dataclasses import replace

import pytest

from vrn_lite.frame import Grid, InputError
from vrn_lite.presets import PRESETS, NetworkSize, Preset, preset


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name):
    assert Preset.from_dict(json.loads(json.dumps(preset(name).to_dict()))) == PRESETS[name]


def test_what_is_not_set_is_not_stored():
    """So that checkpoints made before a field existed still fit."""
    assert "guided_modules" not in preset("colab").to_dict()["network"]
    assert preset("paper_full").to_dict()["network"]["guided_modules"] == 4


@pytest.mark.parametrize("name", PRESETS)
def test_the_bottom_of_every_hourglass_is_at_least_2_x_2(name):
    p = preset(name)
    assert min(p.grid.height, p.grid.width) // p.network.stem // 2**p.network.levels >= 2


def test_the_papers_grid_at_our_depth_scale():
    for name in ("paper", "paper_full"):
        assert preset(name).grid == Grid(200, 192, 192, 1.5)


def test_a_preset_passes_through():
    assert preset(PRESETS["lite"]) is PRESETS["lite"]


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match="unknown preset 'huge': choose one of tiny, lite, colab, sharp, paper, paper_full"):
        preset("huge")


@pytest.mark.parametrize("side", [24, 60, 8])
def test_an_image_that_does_not_halve_often_enough_is_refused(side):
    with pytest.raises(InputError, match=f"image side {side} must be a multiple of stem x 2\\^levels = 16"):
        replace(PRESETS["tiny"], grid=Grid(32, side, 32))


@pytest.mark.parametrize(("sizes", "message"), [({"stem": 3}, "2 or 4, got 3"), ({"features": 12}, r"\(=12\)"), ({"stacks": 0}, "at least 1")])
def test_impossible_networks_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        NetworkSize(**sizes)
