"""Images and volumes: upright, side by side, page by page."""

import base64
import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from drawn import pixels, size
from vrn_lite import viz
from vrn_lite.frame import InputError


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


def test_pages_can_be_played():
    figure = viz.pages_figure({"a": np.zeros((8, 8)), "b": np.ones((8, 8))}, slider="page", start=1, play=True)
    assert figure.data[0].source == figure.frames[1].data[0].source != figure.frames[0].data[0].source
    assert figure.layout.sliders[0].active == 1


def test_a_box_is_drawn_on_its_own_image():
    plain = viz.images_figure({"a": np.zeros((32, 32)), "b": np.zeros((32, 32))})
    figure = viz.images_figure({"a": np.zeros((32, 32)), "b": np.zeros((32, 32))}, boxes={"b": (4, 5, 20, 21)})
    (frame,) = figure.layout.shapes
    assert (frame.x0, frame.y0, frame.x1, frame.y1, frame.xref) == (4, 5, 20, 21, "x2")
    yellow = [(np.abs(pixels(one) - (240, 228, 66)).max(-1) < 12).sum() for one in (plain, figure)]
    assert yellow[0] == 0 < 100 < yellow[1]


def test_a_contact_sheet_holds_every_image_as_it_is_and_white_where_there_is_none():
    images = torch.rand(3, 3, 8, 10)
    sheet = np.asarray(viz.contact_sheet(images, columns=2))
    assert sheet.shape == (16, 20, 3)
    np.testing.assert_array_equal(sheet[8:, :10], np.rint(images[2].permute(1, 2, 0).numpy() * 255))
    assert (sheet[8:, 10:] == 255).all()


def test_landmarks_of_a_contact_sheet_are_white_lines_in_their_own_image():
    points = torch.zeros(2, 68, 3)
    points[..., 0] = torch.linspace(4, 28, 68)
    points[..., 1] = 16.0
    sheet = np.asarray(viz.contact_sheet(torch.zeros(2, 3, 32, 32), points, columns=2))
    rows, columns = np.nonzero(sheet.min(-1) == 255)
    assert set(rows) <= {15, 16}
    assert set(range(5, 27)) | set(range(37, 59)) <= set(columns) <= set(range(4, 30)) | set(range(36, 62))


def test_landmarks_outside_an_image_stay_out_of_its_neighbour():
    points = torch.full((2, 68, 3), 8.0)
    points[0, :17, 0] = torch.linspace(8, 40, 17)
    sheet = np.asarray(viz.contact_sheet(torch.zeros(2, 3, 32, 32), points))
    assert sheet[8, 16:32].min() == 255
    assert sheet[8, 32:38].max() == 0
