"""Meshes: small, upright, to scale, and turned together."""

import base64

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
import trimesh

from drawn import BUDGET, POINTS, TRIANGLES, linked, size
from vrn_lite import viz
from vrn_lite.frame import InputError
from vrn_lite.viz.still import view_of


def test_coordinates_are_fixed_point_and_come_back_within_half_a_step():
    figure = viz.mesh_figure(POINTS, TRIANGLES)
    mesh = figure.data[0]
    assert np.asarray(mesh.x).dtype == np.int16
    assert np.asarray(mesh.i).dtype == np.uint16
    back = np.stack([mesh.x, mesh.y, mesh.z], 1) / 100
    np.testing.assert_allclose(back, POINTS.numpy(), atol=0.0051)


@pytest.mark.parametrize("most", [1e-3, 1.0, 300.0, 5000.0, 2e6])
def test_every_size_of_mesh_fits_into_16_bits(most):
    mesh = viz.mesh_figure(POINTS * most / 60, TRIANGLES).data[0]
    assert 300 < np.abs(np.asarray(mesh.x, dtype=float)).max() < 32_768 or most < 10


def test_axes_are_equal_labelled_and_in_true_units():
    scene = viz.mesh_figure(POINTS * torch.tensor([1.0, 2.0, 0.5]), TRIANGLES).layout.scene
    spans = {name: np.ptp(scene[f"{name}axis"].range) for name in "xyz"}
    ratios = [scene.aspectratio[name] / spans[name] for name in "xyz"]
    assert max(ratios) / min(ratios) == pytest.approx(1)
    assert [scene[f"{name}axis"].title.text for name in "xyz"] == ["x right (px)", "y down (px)", "z away (px)"]
    ticks = np.array([float(text) for text in scene.xaxis.ticktext])
    np.testing.assert_allclose(np.array(scene.xaxis.tickvals) / 100, ticks, atol=0.006)


def test_camera_looks_along_z_with_y_down():
    camera = viz.mesh_figure(POINTS, TRIANGLES).layout.scene.camera
    assert camera.up.y == -1
    assert camera.eye.z < -3 * abs(camera.eye.x)
    right, down, away = view_of(camera)
    assert right[0] > 0.9
    assert down[1] > 0.9
    assert away[2] > 0.9


def test_clustering_keeps_the_shape_and_averages_what_is_carried():
    fine = trimesh.creation.icosphere(subdivisions=5, radius=20.0)
    height = fine.vertices[:, 1:2]
    points, triangles, (carried,) = viz.cluster_vertices(np.asarray(fine.vertices), np.asarray(fine.faces), 1500, [height])
    assert 500 < len(points) <= 1500
    assert triangles.max() < len(points)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 20, atol=0.6)
    np.testing.assert_allclose(carried[:, 0], points[:, 1], atol=1e-9)


def test_only_used_vertices_are_stored():
    assert len(viz.mesh_figure(POINTS, TRIANGLES[:1]).data[0].x) == 3


def test_a_coloured_mesh_for_a_notebook_fits_its_budget():
    fine = trimesh.creation.icosphere(subdivisions=6, radius=60.0)
    colours = np.random.default_rng(0).random((len(fine.vertices), 3))
    figure = viz.mesh_figure(fine.vertices + 70, fine.faces, colours, most_vertices=viz.MOST_VERTICES)
    assert size(figure) < BUDGET


def test_colours_are_taken_as_shares_or_bytes():
    share = viz.mesh_figure(POINTS, TRIANGLES, torch.ones(len(POINTS), 3) * 0.2).data[0].vertexcolor
    byte = viz.mesh_figure(POINTS, TRIANGLES, np.full((len(POINTS), 4), 51, np.uint8)).data[0].vertexcolor
    assert share[0] == byte[0] == "#333333"


def test_intensity_has_a_colour_bar_in_true_units():
    mesh = viz.mesh_figure(POINTS, TRIANGLES, intensity=POINTS[:, 2], intensity_name="z (px)", intensity_range=(20, 60)).data[0]
    assert mesh.colorbar.title.text == "z (px)"
    for label, value in zip(mesh.colorbar.ticktext, mesh.colorbar.tickvals, strict=True):
        assert value == pytest.approx(255 * (float(label) - 20) / 40)
    assert len(mesh.colorbar.ticktext) >= 3
    assert (np.asarray(mesh.intensity).min(), np.asarray(mesh.intensity).max()) == (0, 255)


def test_values_for_another_mesh_are_refused():
    with pytest.raises(InputError, match="one value per vertex"):
        viz.mesh_figure(POINTS, TRIANGLES, intensity=torch.zeros(3))


def test_meshes_that_cannot_be_drawn_are_refused():
    with pytest.raises(InputError, match="empty"):
        viz.mesh_figure(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long))
    with pytest.raises(InputError, match="not finite"):
        viz.mesh_figure(POINTS * float("nan"), TRIANGLES)


def test_slider_shows_one_mesh_at_a_time_with_its_landmarks():
    part = {"vertices": POINTS, "triangles": TRIANGLES, "landmarks": POINTS[:68]}
    figure = viz.meshes_figure({"a": part, "b": {"vertices": POINTS + 1, "triangles": TRIANGLES}}, slider="shown")
    assert [trace.visible for trace in figure.data] == [True, True, False]
    assert [step.label for step in figure.layout.sliders[0].steps] == ["a", "b"]
    assert list(figure.layout.sliders[0].steps[1].args[0]["visible"]) == [False, False, True]


def test_a_step_of_the_slider_can_show_several_meshes_together():
    parts = {name: {"vertices": POINTS + k, "triangles": TRIANGLES} for k, name in enumerate("abc")}
    figure = viz.meshes_figure(parts, slider="shown", steps={"both": ["a", "c"], "alone": ["b"]})
    assert [trace.visible for trace in figure.data] == [True, False, True]
    assert [step.label for step in figure.layout.sliders[0].steps] == ["both", "alone"]
    assert list(figure.layout.sliders[0].steps[1].args[0]["visible"]) == [False, True, False]


def test_whole_numbers_are_stored_in_bytes_and_come_back():
    figure = viz.mesh_figure(POINTS, TRIANGLES)
    x = viz.spec(figure)["data"][0]["x"]
    assert x["dtype"] == "i2"
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(x["bdata"]), np.int16), figure.data[0].x)


def test_linked_scenes_have_one_scale_and_one_camera():
    figure = linked()
    scenes = list(figure.select_scenes())
    assert [trace.scene for trace in figure.data] == ["scene", "scene2", "scene2"]
    assert scenes[0].camera == scenes[1].camera
    assert np.ptp(scenes[0].xaxis.range) == pytest.approx(np.ptp(scenes[1].zaxis.range))
    assert np.mean(scenes[1].yaxis.range) == pytest.approx(2000, abs=1)
    assert scenes[0].domain.x[1] < scenes[1].domain.x[0]
    step = scenes[0].xaxis.dtick
    assert step == scenes[1].yaxis.dtick
    assert figure.layout.annotations[-1].text == f"x right, y down, z away; one square of the grid: {step / 100:g} px"


def test_the_slider_turns_all_scenes_together():
    steps = linked().layout.sliders[0].steps
    assert {step.method for step in steps} == {"relayout"}
    for step in steps:
        change = dict(step.args[0])
        assert set(change) == {"scene.camera", "scene2.camera"}
        assert change["scene.camera"] == change["scene2.camera"]
    right, _, away = view_of(go.layout.scene.Camera(steps[-1].args[0]["scene.camera"]))
    assert away[0] > 0.95  # turned by 90 degrees, the camera looks along x: the face looks to the right
    assert right[2] < -0.95
