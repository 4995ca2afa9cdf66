"""Sliders, one's own photograph, and pictures that a loop redraws; none of them needs a browser to be tested."""

import base64
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
import skimage.data
import torch
import trimesh
from PIL import Image

from vrn_lite import viz
from vrn_lite.camera import Similarity
from vrn_lite.frame import InputError
from vrn_lite.networks.base import build
from vrn_lite.photo.reconstruct import Reconstruction
from vrn_lite.viz import widgets

# ipywidgets 7.7.1, Colab's, opens its channel to the browser in a way that a newer ipykernel calls old.
pytestmark = pytest.mark.filterwarnings("ignore:The `ipykernel.comm.Comm` class has been deprecated:DeprecationWarning")


def test_sliders_redraw_the_picture():
    seen = []

    def draw(size=1.0):
        seen.append(size)
        return viz.curves_figure({"a": ([0, size], [0, 1])}, "x", "y")

    box = widgets.explore(draw, size=(0.0, 4.0, 1.0))
    slider, _, line, image = box.children
    before = image.value
    slider.value = 3.0
    assert seen == [1.0, 3.0]
    assert image.value != before
    slider.value = 1.0
    assert image.value == before  # the same values, the same picture


def test_what_a_drawing_refuses_is_said_in_a_line_and_the_picture_stays():
    def draw(size=1.0, kind="a"):
        if size > 2:
            raise InputError(f"size <= 2 is needed, got {size:g} for {kind}")
        return viz.curves_figure({kind: ([0, size], [0, 1])}, "x", "y")

    slider, menu, _, line, image = widgets.explore(draw, size=(0.0, 4.0, 1.0), kind=("a", "b")).children
    before = image.value
    slider.value = 3.0
    assert line.value == "<b>size &lt;= 2 is needed, got 3 for a</b>"
    assert image.value == before
    slider.value = 1.5
    assert line.value == ""
    assert image.value != before
    before = image.value
    menu.value = "b"
    assert image.value != before


def controls(box):
    """The sliders and menus of a widget by name, and its picture."""
    return {child.description: child for child in box.children[:-3]}, box.children[-1]


def pixels(image):
    return np.asarray(Image.open(BytesIO(image.value)).convert("RGB")).astype(int)


def test_identity_expression_and_pose_move_the_picture(small_face):
    sliders, image = controls(widgets.face_explorer(small_face))
    assert list(sliders) == [
        "identity 0",
        "identity 1",
        "identity 2",
        "jawOpen",
        "mouthSmile",
        "browInnerUp",
        "yaw",
        "pitch",
        "roll",
    ]
    neutral = image.value
    for name, value in {"identity 0": 1.5, "jawOpen": 0.8, "yaw": 45}.items():
        start = sliders[name].value
        sliders[name].value = value
        assert np.abs(pixels(image) - np.asarray(Image.open(BytesIO(neutral)))).sum() > 1000, name
        sliders[name].value = start
        assert image.value == neutral


def test_a_level_that_is_not_crossed_is_said_in_a_line():
    z, y, x = np.mgrid[:24, :24, :24]
    chances = np.clip(0.7 - 0.05 * np.sqrt((x - 12) ** 2 + (y - 12) ** 2 + (z - 12) ** 2), 0, 1)
    box = widgets.iso_level(chances, depth_scale=1.0)
    (level,), image = controls(box)[0].values(), controls(box)[1]
    before = image.value
    level.value = 0.3
    assert image.value != before
    level.value = 0.9
    assert "no surface at level" in box.children[-2].value


@pytest.fixture(scope="module")
def guided():
    return build("guided", "tiny", seed=0).eval()


def test_sigma_is_drawn_and_the_network_keeps_its_own(guided):
    image, points = torch.rand(3, 32, 32), 8 + 16 * torch.rand(68, 3)
    sliders, picture = controls(widgets.gaussian_sigma(guided, image, points))
    before = picture.value
    sliders["sigma"].value = 3.0
    assert picture.value != before
    assert guided.sigma == 1.0


def test_wrong_landmarks_by_part(guided):
    image, points = torch.rand(3, 32, 32), 8 + 16 * torch.rand(68, 3)
    before = points.clone()
    sliders, picture = controls(widgets.wrong_landmarks(guided, image, points))
    right = picture.value
    sliders["part"].value = "jaw"
    assert picture.value == right  # nothing is displaced yet
    sliders["turn"].value = 30
    turned = picture.value
    assert turned != right
    sliders["part"].value = "all"
    assert picture.value not in (right, turned)
    assert torch.equal(points, before)


def uploaded(widget, name, content):
    """What a browser does when a file is chosen, for ipywidgets 7 and 8."""
    if isinstance(widget.upload.value, dict):
        widget.upload.set_trait("value", {name: {"metadata": {"name": name}, "content": content}})
    else:
        widget.upload.value = (
            {
                "name": name,
                "type": "",
                "size": len(content),
                "content": memoryview(content),
                "last_modified": datetime.now(UTC),
            },
        )


def png(photo):
    stream = BytesIO()
    Image.fromarray(photo).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()[:256, 96:352]


def test_an_uploaded_face_is_found_and_its_box_can_be_moved(astronaut):
    own = widgets.Photograph()
    assert own.go.disabled
    uploaded(own, "me.png", png(astronaut))
    assert own.line.value.startswith("A face was found")
    assert not own.go.disabled
    x0, y0, x1, y1 = own.box
    assert 70 < x0 < 110 < x1 < 190  # the eyes and the chin lie there
    assert 60 < y0 < 110 < y1 < 200
    before = own.image.value
    own.sides[0].value = 10
    assert own.box[0] == 10
    assert own.image.value != before


def test_a_bad_upload_gives_one_line_and_no_path():
    own = widgets.Photograph()
    uploaded(own, "me.png", b"no picture")
    assert own.line.value == "<b>me.png is not an image that can be read: save it as JPEG, PNG or WebP</b>"
    assert own.go.disabled
    own.reconstruct()
    assert own.line.value == "There is no photograph yet: upload one, or name a file."


def test_a_file_that_is_missing_gives_one_line(tmp_path):
    own = widgets.Photograph()
    own.file.value = str(tmp_path / "nobody.jpg")
    assert own.line.value.startswith("<b>no such photograph")


def test_without_a_face_the_box_waits_in_the_middle():
    own = widgets.Photograph(np.full((90, 120, 3), 128, np.uint8))
    assert own.line.value.startswith("No face was found: move the frame")
    assert own.box == (40, 30, 80, 60)
    own.sides[0].value = 100
    assert "is empty" in own.line.value
    own.reconstruct()
    assert "is empty" in own.line.value
    assert own.result is None


def test_the_box_is_reconstructed_and_kept_for_the_next_cell(astronaut, monkeypatch):
    asked = []

    def reconstruct(photo, model, box, *, detector):
        asked.append((photo.shape, box))
        ball = trimesh.creation.icosphere(subdivisions=2, radius=20.0)
        return Reconstruction(
            ball,
            torch.zeros(2, 2, 2),
            None,
            Similarity(torch.ones(1), torch.eye(3)[None], torch.zeros(1, 3)),
            photo,
            box,
        )

    monkeypatch.setattr(widgets, "reconstruct", reconstruct)
    own = widgets.Photograph(astronaut)
    before, box = own.image.value, own.box
    own.go.click()
    assert asked == [(astronaut.shape, box)]
    assert own.result is not None
    assert own.image.value != before
    assert "vertices" in own.line.value


@pytest.fixture(scope="module")
def small_face():
    from vrn_lite.faces import procedural

    return procedural()


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would show: (how, PNG, sentence), in order."""
    calls = []

    class Handle:
        def update(self, data, raw):
            calls.append(("again", *told(data, raw)))

    def told(data, raw):
        assert raw
        return base64.b64decode(data["image/png"]), data["text/plain"]

    def display(data, raw, display_id):
        calls.append(("first", *told(data, raw)))
        return Handle()

    monkeypatch.setattr(widgets, "display", display)
    return calls


def test_a_live_picture_is_redrawn_in_place(shown):
    live = widgets.Live(every=0)
    for top in (1, 5):
        assert live.draw(lambda top=top: viz.curves_figure({"a": ([0, 1], [0, top])}, "x", "y"), f"Up to {top}.")
    assert [(how, text) for how, _, text in shown] == [("first", "Up to 1."), ("again", "Up to 5.")]
    assert all(png.startswith(b"\x89PNG") for _, png, _ in shown)
    assert shown[0][1] != shown[1][1]


def test_a_live_picture_is_drawn_no_more_often_than_asked(shown):
    live = widgets.Live(every=1000)
    figure = viz.curves_figure({"a": ([0, 1], [0, 1])}, "x", "y")
    assert [
        live.draw(lambda: figure, "A line."),
        live.draw(lambda: figure, "A line."),
        live.draw(lambda: figure, "A line.", now=True),
    ] == [True, False, True]
    assert len(shown) == 2


def test_what_a_live_picture_showed_becomes_a_movie(shown):
    live = widgets.Live(every=0)
    with pytest.raises(InputError, match="call draw first"):
        live.movie()
    for top in range(1, 6):
        live.draw(lambda top=top: viz.curves_figure({"a": ([0, 1], [0, top])}, "x", "y"), f"Up to {top}.")
    movie = live.movie("A line", most=3)
    assert [frame.name for frame in movie.frames] == ["1 of 5", "3 of 5", "5 of 5"]
    assert movie.layout.sliders[0].active == 2
    assert movie.data[0].source == movie.frames[2].data[0].source
    assert [button.label for button in movie.layout.updatemenus[0].buttons] == ["Play", "Pause"]
