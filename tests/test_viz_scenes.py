"""Surfaces by level, trainings as movies, a face by its numbers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from drawn import BUDGET, size, soft_ball
from vrn_lite import viz
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError


@pytest.fixture(scope="module")
def face():
    return procedural()


def test_each_level_has_its_own_surface_and_the_slider_begins_at_one_half():
    figure = viz.levels_figure(soft_ball(), levels=(0.2, 0.5, 0.8), depth_scale=1.5)
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0.2", "0.5", "0.8"]
    assert [trace.visible for trace in figure.data] == [False, True, False]
    assert figure.layout.sliders[0].active == 1
    spans = [np.ptp(np.asarray(trace.x)) for trace in figure.data]
    assert spans == sorted(spans, reverse=True)
    with pytest.raises(InputError, match="start"):
        viz.levels_figure(soft_ball(), levels=(0.2, 0.8))


def test_nine_levels_of_a_full_volume_fit_the_budget():
    volume = F.interpolate(soft_ball(15.0)[None, None], size=(128, 128, 128), mode="trilinear")[0, 0]
    volume = volume + 0.02 * torch.rand(volume.shape, generator=torch.Generator().manual_seed(0))
    assert 300_000 < size(viz.levels_figure(volume, levels=[k / 10 for k in range(1, 10)], depth_scale=1.5)) < BUDGET


def test_a_movie_plays_its_pages_and_ends_with_the_last_answer():
    answers = {"0": torch.zeros(48, 64, 64), "100": soft_ball(10.0), "200": soft_ball(20.0)}
    figure = viz.movie_figure(answers, slider="samples", depth_scale=1.5)
    assert [frame.name for frame in figure.frames] == ["100", "200"]  # the first has no surface
    assert [trace.visible for trace in figure.data] == [False, True]
    assert [change.visible for change in figure.frames[0].data] == [True, False]
    assert [(step.method, step.args[0]) for step in figure.layout.sliders[0].steps] == [
        ("animate", ("100",)),
        ("animate", ("200",)),
    ]
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == ["Play", "Pause"]
    with pytest.raises(InputError, match="none of the 1 answers has a surface"):
        viz.movie_figure({"0": torch.zeros(8, 8, 8)}, slider="samples")


def test_a_face_by_its_numbers_is_the_same_twice_and_turns_its_nose(face):
    first, again = (viz.drawn_face(face, {0: 1.0}, {"jawOpen": 0.5}, yaw=40) for _ in range(2))
    assert torch.equal(first.images, again.images)
    other = viz.drawn_face(face, {0: 1.0}, {"jawOpen": 0.5}, yaw=-40)
    assert first.landmarks[0, 30, 0] > other.landmarks[0, 30, 0] + 10  # positive yaw turns the nose to the right
    assert not torch.equal(viz.drawn_face(face).landmarks, viz.drawn_face(face, None, {"jawOpen": 0.5}).landmarks)
    figure = viz.face_figure(first)
    assert [trace.type for trace in figure.data] == ["image", "image", "scatter", "image", "image"]


def test_modes_and_expressions_that_a_face_does_not_have_are_refused(face):
    with pytest.raises(InputError, match="has modes 0 to"):
        viz.drawn_face(face, {1000: 1.0})
    with pytest.raises(InputError, match="has no expression 'grin': its names are"):
        viz.drawn_face(face, None, {"grin": 1.0})
