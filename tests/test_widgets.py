"""Sliders, and pictures that a loop redraws."""

import pytest

from vrn_lite import figures, widgets


def test_sliders_redraw_the_picture():
    seen = []

    def draw(size=1.0):
        seen.append(size)
        return figures.curves_figure({"a": ([0, size], [0, 1])}, "x", "y")

    box = widgets.explore(draw, size=(0.0, 4.0, 1.0))
    slider, image = box.children
    before = image.value
    slider.value = 3.0
    assert seen == [1.0, 3.0]
    assert image.value != before


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would show: (how, PNG, sentence), in order."""
    calls = []

    class Handle:
        def update(self, still):
            calls.append(("again", still._repr_png_(), repr(still)))

    def display(still, display_id):
        calls.append(("first", still._repr_png_(), repr(still)))
        return Handle()

    monkeypatch.setattr(widgets, "display", display)
    return calls


def test_a_live_picture_is_redrawn_in_place(shown):
    live = widgets.Live(every=0)
    for top in (1, 5):
        assert live.draw(lambda top=top: figures.curves_figure({"a": ([0, 1], [0, top])}, "x", "y"), f"Up to {top}.")
    assert [(how, text) for how, _, text in shown] == [("first", "Up to 1."), ("again", "Up to 5.")]
    assert all(png.startswith(b"\x89PNG") for _, png, _ in shown)
    assert shown[0][1] != shown[1][1]


def test_a_live_picture_is_drawn_no_more_often_than_asked(shown):
    live = widgets.Live(every=1000)
    figure = figures.curves_figure({"a": ([0, 1], [0, 1])}, "x", "y")
    assert [live.draw(lambda: figure, "A line."), live.draw(lambda: figure, "A line."), live.draw(lambda: figure, "A line.", now=True)] == [True, False, True]
    assert len(shown) == 2
