"""Figures: small, upright, described, and the same without a browser."""

import base64
import json
import re
from io import BytesIO

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
import torch.nn.functional as F
import trimesh
from PIL import Image

from vrn_lite import viz
from vrn_lite.viz.style import colour_table
from vrn_lite.viz.planes import _slope
from vrn_lite.viz.still import view_of
from vrn_lite.frame import InputError

BUDGET = 800_000
BALL = trimesh.creation.icosphere(subdivisions=3, radius=20.0)
POINTS = torch.tensor(BALL.vertices).float() + 40
TRIANGLES = torch.tensor(BALL.faces)


def size(figure):
    return len(json.dumps(viz.spec(figure)))


def pixels(figure):
    return np.asarray(Image.open(BytesIO(viz.picture(figure))).convert("RGB")).astype(int)


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


def test_still_picture_shows_right_to_the_right_and_down_below():
    red = torch.zeros(len(POINTS), 3)
    red[:, 0] = (POINTS[:, 0] > 40).float()
    red[:, 2] = (POINTS[:, 1] > 40).float()
    image = pixels(viz.mesh_figure(POINTS, TRIANGLES, red))
    drawn = image.min(-1) < 200
    rows, columns = np.nonzero(drawn)
    middle = (int(rows.mean()), int(columns.mean()))
    assert image[middle[0], middle[1] + 60, 0] > 120 > image[middle[0] - 40, middle[1] - 70, 0]
    assert image[middle[0] + 70, middle[1] - 30, 2] > 120 > image[middle[0] - 70, middle[1] - 30, 2]


def test_coarser_keeps_the_shape_and_averages_what_is_carried():
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


def test_every_slice_has_its_depth_and_its_pixels():
    volume = torch.zeros(12, 16, 20, dtype=torch.bool)
    volume[4:, 3:9, 5:15] = True
    figure = viz.slices_figure(volume, depth_scale=1.5, slices=12)
    steps = figure.layout.sliders[0].steps
    assert [step.label for step in steps][0] == "0 (z = 0.3 px)"
    assert figure.layout.sliders[0].active == 4
    source = steps[4].args[0]["source"][0]
    image = np.asarray(Image.open(BytesIO(base64.b64decode(source.split(",")[1]))).convert("L"))
    bright = image > 128
    assert np.array_equal(bright, volume[4].numpy())
    assert figure.data[0].source == source
    assert list(steps[4].args[1]) == [0]


def test_a_full_volume_fits_the_budget():
    z, y, x = np.mgrid[:200, :192, :192]
    solid = ((x - 96) / 45) ** 2 + ((y - 96) / 60) ** 2 + ((z - 100) / 70) ** 2 < 1
    assert size(viz.slices_figure(solid, depth_scale=1.5, slices=64)) < 400_000


def test_images_stand_side_by_side_with_their_landmarks():
    figure = viz.images_figure({"a": torch.rand(3, 32, 32), "b": np.zeros((32, 48))}, landmarks={"b": torch.rand(68, 3) * 32})
    assert [trace.type for trace in figure.data] == ["image", "image", "scatter"]
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    assert tuple(figure.layout.yaxis2.range) == (32, 0)
    assert "px" in figure.layout.xaxis2.title.text
    assert figure.data[2].xaxis == "x2"


def test_pages_are_turned_by_a_slider_from_the_one_to_begin_with():
    pages = {"dark": np.zeros((8, 10)), "bright": np.ones((8, 10))}
    figure = viz.pages_figure(pages, "Pages", slider="page", start=1, bar="value")
    assert [step.label for step in figure.layout.sliders[0].steps] == ["dark", "bright"]
    assert figure.data[0].source == figure.layout.sliders[0].steps[1].args[0]["source"][0]
    assert figure.data[1].marker.colorbar.title.text == "value"
    assert len(viz.pages_figure(pages, slider="page").data) == 1
    figure.update_layout(yaxis={"tickvals": [4], "ticktext": ["a<br>row"]}, xaxis_showticklabels=False)
    assert pixels(figure).std() > 10


def test_pages_of_different_sizes_are_refused():
    with pytest.raises(InputError, match="one size"):
        viz.pages_figure({"a": np.zeros((4, 4)), "b": np.zeros((4, 5))}, slider="page")
    with pytest.raises(InputError, match="no images"):
        viz.pages_figure({}, slider="page")


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
    figure = viz.compared_figure(ours, theirs, "x", "y", slider="page", whose="theirs")
    assert [trace.name for trace in figure.data] == ["a", "b", "b, theirs", "b"]
    assert [trace.line.dash for trace in figure.data] == ["solid", "solid", "dash", "solid"]
    assert len({(trace.line.color, trace.marker.symbol) for trace in figure.data[1:]}) == 1
    assert figure.data[0].line.color != figure.data[1].line.color
    assert figure.data[0].marker.symbol != figure.data[1].marker.symbol
    assert [trace.visible for trace in figure.data] == [True, True, True, False]
    assert [list(step.args[0]["visible"]) for step in figure.layout.sliders[0].steps] == [[True, True, True, False], [False, False, False, True]]
    assert pixels(figure).std() > 10


@pytest.fixture
def drawn():
    return viz.mesh_figure(POINTS, TRIANGLES, title="A ball & more")


def test_shown_figure_speaks_to_every_reader(drawn, monkeypatch):
    shown = viz.show(drawn, "A ball.")
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert bundle["text/plain"] == repr(shown) == "A ball."
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    json.dumps(bundle)
    monkeypatch.setenv("COLAB_NOTEBOOK_ID", "x")
    assert "cdn" in shown._repr_mimebundle_()["text/html"]


def test_a_figure_without_description_is_refused(drawn):
    with pytest.raises(InputError, match="description"):
        viz.show(drawn, " ")


def test_the_still_picture_is_the_same_twice(drawn):
    assert viz.picture(drawn) == viz.picture(drawn)


def test_html_needs_no_network(drawn, tmp_path):
    viz.write_html(drawn, tmp_path / "ball.html")
    text = (tmp_path / "ball.html").read_text(encoding="utf-8")
    assert "<title>A ball &amp; more</title>" in text
    assert '<html lang="en">' in text
    assert not re.search(r"<script[^>]+src=|<link", text)
    assert len(text) > 3_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["ball.html"]


def test_profile_is_one_of_three(monkeypatch):
    monkeypatch.setenv("VRN_LITE_PROFILE", "cpu")
    assert viz.profile() == "cpu"
    monkeypatch.delenv("VRN_LITE_PROFILE")
    assert viz.profile() in ("cpu", "gpu")
    monkeypatch.setenv("VRN_LITE_PROFILE", "fast")
    with pytest.raises(InputError, match="ci, cpu or gpu, got 'fast'"):
        viz.profile()


def test_all_figures_are_plain_plotly(drawn):
    assert type(drawn) is go.Figure


def ball(radius=20.0, shape=(48, 64, 64), depth_scale=1.5):
    z, y, x = np.mgrid[: shape[0], : shape[1], : shape[2]] + 0.5
    return torch.tensor((x - 32) ** 2 + (y - 32) ** 2 + (z / depth_scale - 32) ** 2 < radius**2)


def test_relief_is_lit_from_the_upper_left_on_white():
    image = viz.shade_volume(ball(), 1.5).mean(0)
    assert image.shape == (64, 64)
    assert torch.equal(image[:8], torch.ones(8, 64))
    assert image[24, 24] > image[32, 32] > image[42, 42]
    assert image[42, 42] < 0.5 < image[24, 24] < 1


def test_relief_of_a_batch_is_the_reliefs_of_its_members():
    volumes = torch.stack([ball(), ball(12.0)])
    both = viz.shade_volume(volumes, 1.5)
    assert both.shape == (2, 3, 64, 64)
    assert torch.equal(both[1], viz.shade_volume(volumes[1], 1.5))


def test_relief_takes_probabilities_and_empty_and_full_volumes():
    assert torch.equal(viz.shade_volume(torch.zeros(8, 16, 16)), torch.ones(3, 16, 16))
    assert bool(viz.shade_volume(torch.ones(8, 16, 16)).isfinite().all())
    assert torch.allclose(viz.shade_volume(ball().float() * 0.999, 1.5), viz.shade_volume(ball(), 1.5), atol=0.05)


def test_a_slope_is_the_depths_derivative_and_stops_at_the_outline():
    depth = torch.arange(6.0).expand(1, 5, 6) * 0.5
    inside = torch.ones(1, 5, 6, dtype=torch.bool)
    inside[..., 3:] = False
    assert torch.equal(_slope(depth, inside, 2)[0, 0], torch.tensor([0.25, 0.5, 0.25, 0, 0, 0]))
    assert torch.equal(_slope(depth, inside, 1), torch.zeros(1, 5, 6))


def test_a_sheet_has_a_named_column_for_each_kind_and_a_row_for_each_face():
    points = torch.rand(2, 68, 3) * 16
    figure = viz.image_grid({"image": torch.rand(2, 3, 16, 20), "truth": torch.rand(2, 3, 16, 20)}, landmarks={"truth": points})
    assert list(figure.layout.xaxis.ticktext) == ["image", "truth"]
    assert list(figure.layout.xaxis.tickvals) == [10, 30]
    assert tuple(figure.layout.xaxis.range) == (0, 40)
    assert tuple(figure.layout.yaxis.range) == (32, 0)
    first, second = figure.data[1:]
    assert first.x[0] == pytest.approx(float(points[0, 0, 0]) + 20, abs=0.01)
    assert second.y[0] == pytest.approx(float(points[1, 0, 1]) + 16, abs=0.01)
    assert len(np.unique(pixels(figure).reshape(-1, 3), axis=0)) > 50


def test_landmarks_that_are_missing_are_not_drawn():
    figure = viz.image_grid({"image": torch.rand(1, 3, 16, 16)}, landmarks={"image": torch.full((1, 68, 2), float("nan"))})
    assert json.loads(figure.to_json())["data"][1]["type"] == "scatter"
    assert pixels(figure).std() > 0


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


# The gallery


def soft_ball(radius=20.0):
    z, y, x = np.mgrid[:48, :64, :64] + 0.5
    return torch.tensor(1 / (1 + np.exp((np.sqrt((x - 32) ** 2 + (y - 32) ** 2 + (z / 1.5 - 16) ** 2) - radius) / 4))).float()


def test_whole_numbers_are_stored_in_bytes_and_come_back():
    figure = viz.mesh_figure(POINTS, TRIANGLES)
    x = viz.spec(figure)["data"][0]["x"]
    assert x["dtype"] == "i2"
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(x["bdata"]), np.int16), figure.data[0].x)


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
    assert [(step.method, step.args[0]) for step in figure.layout.sliders[0].steps] == [("animate", ("100",)), ("animate", ("200",))]
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == ["Play", "Pause"]
    with pytest.raises(InputError, match="none of the 1 answers has a surface"):
        viz.movie_figure({"0": torch.zeros(8, 8, 8)}, slider="samples")


def test_pages_can_be_played():
    figure = viz.pages_figure({"a": np.zeros((8, 8)), "b": np.ones((8, 8))}, slider="page", start=1, play=True)
    assert figure.data[0].source == figure.frames[1].data[0].source != figure.frames[0].data[0].source
    assert figure.layout.sliders[0].active == 1


def linked():
    small = {"vertices": POINTS / 2, "triangles": TRIANGLES, "landmarks": POINTS[:68] / 2}
    return viz.linked_figure({"large": {"vertices": POINTS, "triangles": TRIANGLES, "colours": "#d9b8a0"}, "small": small}, "Two")


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


def test_pages_bring_the_script_that_links_while_dragging_and_notebooks_do_not(tmp_path, monkeypatch, drawn):
    shown = viz.show(linked(), "Two balls.")
    assert "plotly_relayouting" not in json.dumps(shown._repr_mimebundle_())
    viz.write_html(linked(), tmp_path / "two.html")
    viz.write_html(drawn, tmp_path / "one.html")
    own = [text.split("</script>")[-2] for text in ((tmp_path / name).read_text(encoding="utf-8") for name in ("two.html", "one.html"))]
    assert ["plotly_relayouting" in script for script in own] == [True, False]
    monkeypatch.setenv("COLAB_NOTEBOOK_ID", "x")
    page = shown._repr_mimebundle_()["text/html"]
    assert "plotly_relayouting" in page
    assert 'aria-label="Two balls."' in page


def test_meshes_abreast_stand_apart_in_their_order():
    moved = viz.abreast({name: {"vertices": POINTS, "triangles": TRIANGLES, "landmarks": POINTS[:68]} for name in "abc"}, gap=0.25)
    spans = [(part["vertices"][:, 0].min(), part["vertices"][:, 0].max()) for part in moved.values()]
    assert [after[0] - before[1] for before, after in zip(spans, spans[1:], strict=False)] == pytest.approx([10, 10], abs=1e-3)
    assert spans[0][0] == pytest.approx(-spans[2][1])
    np.testing.assert_allclose(moved["b"]["landmarks"] - moved["b"]["vertices"][:68], 0, atol=1e-5)
    np.testing.assert_allclose(moved["c"]["vertices"][:, 1:], POINTS[:, 1:])


@pytest.fixture(scope="module")
def face():
    from vrn_lite.faces import procedural

    return procedural()


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


def test_a_box_is_drawn_on_its_own_image():
    plain = viz.images_figure({"a": np.zeros((32, 32)), "b": np.zeros((32, 32))})
    figure = viz.images_figure({"a": np.zeros((32, 32)), "b": np.zeros((32, 32))}, boxes={"b": (4, 5, 20, 21)})
    (frame,) = figure.layout.shapes
    assert (frame.x0, frame.y0, frame.x1, frame.y1, frame.xref) == (4, 5, 20, 21, "x2")
    yellow = [(np.abs(pixels(one) - (240, 228, 66)).max(-1) < 12).sum() for one in (plain, figure)]
    assert yellow[0] == 0 < 100 < yellow[1]


# Legible in light and dark themes


def luminance(colour):
    """Relative luminance of WCAG 2."""
    share = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_every_figure_is_dark_text_on_its_own_white_card(face):
    curves = viz.curves_figure({"a": ([0, 1], [0, 1])}, "x", "y")
    for figure in (linked(), curves, viz.images_figure({"a": np.zeros((8, 8))}), viz.mesh_figure(POINTS, TRIANGLES)):
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "#ffffff"  # never the theme's
        assert contrast(figure.layout.font.color, figure.layout.paper_bgcolor) > 7
    assert tuple(pixels(curves)[0, 0]) == (255, 255, 255)  # nor transparent


def test_lines_and_signs_stand_out_from_the_card():
    assert min(contrast(ink, "#ffffff") for ink in viz.INKS) >= 3
    assert len(set(viz.INKS)) == 7


def test_the_colour_map_grows_evenly_brighter():
    bright = [luminance("#" + (255 * colour).round().astype(np.uint8).tobytes().hex()) ** (1 / 2.2) for colour in colour_table()]
    steps = np.diff(bright)
    assert (steps > -1e-3).all()
    assert np.abs(np.diff(np.convolve(steps, np.ones(32) / 32, "valid"))).max() < 1e-3
