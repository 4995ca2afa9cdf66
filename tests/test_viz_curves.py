"""Curves, bars and diagrams: told apart with and without colour, and complete in the still picture."""

import numpy as np
import pytest

from drawn import pixels
from vrn_lite import viz


def test_a_diagram_has_a_closed_box_where_it_was_asked_for():
    boxes = {"first": [(1, 0, 2, 4, "a"), (5, 1, 2, 2, "b")], "second": [(9, 0, 1, 1, "c")]}
    figure = viz.boxes_figure(boxes, [[(0, 0), (10, 0)]], x_title="x", y_title="y")
    lines, first, second, words = figure.data
    assert (lines.x, lines.y) == ((0, 10, None), (0, 0, None))
    assert first.x[:6] == (0, 2, 2, 0, 0, None)
    assert first.y[:6] == (-2, -2, 2, 2, -2, None)
    assert second.name == "second"
    assert words.text == ("a", "b", "c")
    image = pixels(figure)
    for colour in viz.COLOURS[:2]:
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        assert (np.abs(image - wanted).max(-1) < 12).sum() > 100


def test_bars_stand_side_by_side_and_are_told_apart_without_colour():
    figure = viz.bars_figure({"a": {"left": 1, "right": 2}, "b": {"left": 3, "right": 0.5}}, "place", "share (%)")
    assert figure.layout.barmode == "group"
    assert figure.data[0].x == ("left", "right")
    assert figure.data[1].y == (3, 0.5)
    assert figure.data[0].marker.pattern.shape != figure.data[1].marker.pattern.shape
    assert pixels(figure).std() > 10


def test_curves_are_told_apart_without_colour():
    figure = viz.curves_figure({"a": ([1, 2], [3, 4]), "b": ([1, 2], [4, 5])}, "n (voxels)", "error", log=True)
    assert len({trace.line.dash for trace in figure.data}) == len({trace.marker.symbol for trace in figure.data}) == 2
    assert figure.layout.xaxis.type == "log"
    assert len(np.unique(pixels(figure).reshape(-1, 3), axis=0)) > 10


def test_error_bars_belong_to_their_curve_and_are_in_the_still_picture_too():
    curves = {"a": ([1, 2], [3, 4]), "b": ([1, 2], [6, 7])}
    figure = viz.curves_figure(curves, "n", "error", spread={"b": [0.5, 1.5]})
    assert figure.data[0].error_y.array is None
    assert list(figure.data[1].error_y.array) == [0.5, 1.5]
    assert not np.array_equal(pixels(figure), pixels(viz.curves_figure(curves, "n", "error")))


def test_error_bars_of_bars_follow_the_labels():
    bars = {"a": {"left": 1, "right": 2}, "b": {"left": 3, "right": 4}}
    figure = viz.bars_figure(bars, "place", "share", spread={"a": {"right": 0.2, "left": 0.1}})
    assert list(figure.data[0].error_y.array) == [0.1, 0.2]
    assert figure.data[1].error_y.array is None
    assert not np.array_equal(pixels(figure), pixels(viz.bars_figure(bars, "place", "share")))


def test_their_curves_look_like_ours_but_dashed_and_each_page_shows_its_own():
    ours = {"one": {"a": ([0, 1], [0, 2]), "b": ([0, 1], [0, 3])}, "two": {"b": ([0, 1], [0, 4])}}
    theirs = {"one": {"b": ([0, 1], [1, 1])}, "two": {"c": ([0, 1], [1, 1])}}  # of c we have none
    figure = viz.compared_figure(ours, theirs, "x", "y", slider="page")
    assert [trace.name for trace in figure.data] == ["a", "b", "b, the paper", "b"]
    assert [trace.line.dash for trace in figure.data] == ["solid", "solid", "dash", "solid"]
    assert len({(trace.line.color, trace.marker.symbol) for trace in figure.data[1:]}) == 1
    assert figure.data[0].line.color != figure.data[1].line.color
    assert figure.data[0].marker.symbol != figure.data[1].marker.symbol
    assert [trace.visible for trace in figure.data] == [True, True, True, False]
    assert [list(step.args[0]["visible"]) for step in figure.layout.sliders[0].steps] == [
        [True, True, True, False],
        [False, False, False, True],
    ]
    assert pixels(figure).std() > 10


def test_panels_share_their_curves_names_and_looks():
    line = ([0, 1], [1.0, 2.0])
    figure = viz.panels_figure({"loss": {"training": line}, "IoU": {"training": line, "held-out": line}}, "samples")
    assert [trace.name for trace in figure.data] == ["training", "training", "held-out"]
    assert [trace.showlegend for trace in figure.data] == [True, False, True]
    assert figure.data[0].line.color == figure.data[1].line.color != figure.data[2].line.color
    assert [figure.layout[axis].title.text for axis in ("yaxis", "yaxis2")] == ["loss", "IoU"]
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]


def test_a_thinned_curve_keeps_its_mean_and_its_span():
    x, y = list(range(600)), [value % 7 for value in range(600)]
    short = viz.downsample(x, y, most=60)
    assert [len(part) for part in short] == [60, 60]
    assert np.mean(short[1]) == pytest.approx(np.mean(y))
    assert short[0] == sorted(short[0])
    assert viz.downsample([], []) == ([], [])
    assert viz.downsample([1.0], [float("nan")]) == ([], [])
    assert viz.downsample([3, 4], [5.0, 6.0]) == ([3.0, 4.0], [5.0, 6.0])
