"""The faces in a photograph are found where they are, however it is turned, and none where there is none."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from vrn_lite.frame import InputError
from vrn_lite.networks.weights import WEIGHTS
from vrn_lite.photo.cascade import CascadeFinder
from vrn_lite.photo.finder import (
    EmbeddedFinder,
    Found,
    Together,
    apart,
    detect_face,
    find_face,
    finder_named,
    finder_network,
    window,
)

ASTRONAUT = (176, 87, 269, 179)


@pytest.fixture(autouse=True)
def nothing_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("VRN_LITE_FINDER", str(tmp_path))


def turned(quarters):
    return np.ascontiguousarray(np.rot90(skimage.data.astronaut(), -quarters))  # clockwise


def centre_and_size(box):
    x0, y0, x1, y1 = box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, ((x1 - x0) * (y1 - y0)) ** 0.5])


def points_at(box, middle, size=93.0):
    """Whether a box is that of a face: half its size at most away, as `locate` mends it."""
    x, y, side = centre_and_size(box)
    return np.hypot(x - middle[0], y - middle[1]) < size / 2 and 0.65 < side / size < 1.5


def test_astronaut_is_found():
    np.testing.assert_allclose(detect_face(skimage.data.astronaut()), ASTRONAUT, atol=20)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_photograph_turns_what_is_found(quarters):
    x, y, _ = centre_and_size(ASTRONAUT)
    there = ((512 - y, x), (512 - x, 512 - y), (y, 512 - x))[quarters - 1]
    assert points_at(detect_face(turned(quarters)), there)


@pytest.mark.parametrize("angle", [-30, 30])
def test_a_tilted_face_is_found(angle):
    image = Image.fromarray(skimage.data.astronaut()).rotate(-angle, center=(222, 133), fillcolor="gray")
    assert points_at(detect_face(np.asarray(image)), (222, 133))


def test_detection_follows_the_photograph():
    image = skimage.data.astronaut()
    assert points_at(detect_face(np.ascontiguousarray(image[:, ::-1])), (512 - 222, 133))
    assert points_at(detect_face(np.ascontiguousarray(image[40:, 90:])), (222 - 90, 133 - 40))
    assert points_at(detect_face(np.asarray(Image.fromarray(image).resize((1536, 1536)))), (3 * 222, 3 * 133), 3 * 93)


@pytest.mark.parametrize("name", ["brick", "coins", "coffee", "grass", "gravel", "moon", "page", "rocket", "text"])
def test_a_picture_without_a_face_has_none(name):
    image = getattr(skimage.data, name)()
    image = np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image
    assert EmbeddedFinder().find(np.ascontiguousarray(image)) == []


def test_no_face_says_what_to_do():
    with pytest.raises(InputError, match=r"no face found in wall\.png: pass --box X0 Y0 X1 Y1"):
        detect_face(np.full((200, 300, 3), 128, dtype=np.uint8), "wall.png")


@pytest.mark.parametrize("shape", [(32, 32), (40, 900), (2500, 60)])
def test_any_shape_is_looked_at(shape):
    assert EmbeddedFinder().find(np.zeros((*shape, 3), dtype=np.uint8)) == []


def test_a_network_that_answers_the_same_everywhere_sees_no_peaks_but_one_face():
    faces = torch.tensor([[0.9, 50.0, 50, 20, 20, 0], [0.8, 55, 50, 20, 20, 0], [0.7, 90, 50, 20, 20, 0]])
    assert apart(faces.flip(0))[:, 0].tolist() == pytest.approx([0.9, 0.7])


def test_a_window_of_a_picture_is_the_picture():
    picture = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    middle, one, none = torch.tensor([30.0, 20.0]), torch.tensor(1.0), torch.tensor(0.0)
    seen = window([picture], middle, one, none, 16)
    torch.testing.assert_close(seen, picture[..., 12:28, 22:38], atol=1e-5, rtol=0)
    quarter = window([picture], middle, one, torch.tensor(np.pi / 2, dtype=torch.float32), 16)
    torch.testing.assert_close(quarter, seen.rot90(1, (2, 3)), atol=1e-4, rtol=0)
    assert window([picture], torch.tensor([-50.0, 20.0]), one, none, 16).sub(0.5).abs().max() < 1e-6


def test_later_finders_add_the_faces_that_earlier_ones_have_not_seen():
    class Fixed:
        def __init__(self, *faces):
            self.faces = list(faces)

        def find(self, image):
            return self.faces

    face, eye = Found((10.0, 10.0, 30.0, 30.0)), Found((14.0, 14.0, 18.0, 18.0), 0.9)
    head, beside = Found((0.0, 0.0, 40.0, 40.0), 0.8), Found((31.0, 10.0, 51.0, 30.0), 0.7)
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    assert Together(Fixed(face), Fixed(eye, head, beside)).find(image) == [face, beside]
    assert Together(Fixed(), Fixed(eye)).find(image) == [eye]
    assert Together(Fixed()).find(image) == []
    assert find_face(image, finder=Fixed(eye, face)) == face


def test_finders_by_name():
    assert isinstance(finder_named("embedded"), EmbeddedFinder)
    assert isinstance(finder_named("cascade"), CascadeFinder)
    assert [type(finder) for finder in finder_named().finders] == [CascadeFinder, EmbeddedFinder]
    with pytest.raises(InputError, match="unknown finder 'eyes': choose one of embedded, cascade, yunet"):
        finder_named("eyes")


def test_weights_are_small_and_every_parameter_is_used():
    assert (WEIGHTS / "finder.safetensors").stat().st_size < 2 * 2**20
    assert all(value.std() > 0 for name, value in finder_network().named_parameters() if value.ndim > 1)
