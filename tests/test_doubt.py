"""Landmarks of a face are believed, others are not."""

import numpy as np
import pytest
import skimage.data
import torch

from vrn_lite.camera import rotation_matrix
from vrn_lite.networks.weights import load_detector
from vrn_lite.photo.crop import Spot
from vrn_lite.photo.doubt import confidence, doubtful, levelled, mean_landmarks, residual, roll


def seen(yaw, roll=0.0):
    """The mean face's landmarks as a photograph shows them."""
    angles = (torch.tensor([value], dtype=torch.float64) for value in (yaw, 15.0, roll))
    return 37 * (mean_landmarks() @ rotation_matrix(*angles)[0].T)[:, :2].numpy() * (1, -1) + (400, -20)


@pytest.mark.parametrize("yaw", [0.0, 45, 90])
@pytest.mark.parametrize("roll", [0.0, 130])
def test_any_view_of_the_mean_face_fits_exactly(yaw, roll):
    points = seen(yaw, roll)
    assert residual(points) < 1e-9
    assert confidence(0.81, points) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("turned", [-170.0, -35, 0, 60, 90])
def test_roll_is_the_cameras(turned):
    assert roll(seen(30.0, turned)) == pytest.approx(-turned)  # the camera's y points up, so that it turns the other way


def test_points_at_random_do_not():
    points = np.random.default_rng(0).normal(size=(68, 2))
    assert residual(points) > 0.15
    assert confidence(1.0, points) < 0.1
    assert confidence(None, np.zeros((68, 2))) < 1e-9


def test_a_box_that_changed_its_size_is_doubted():
    told = [confidence(None, seen(20.0), zoom) for zoom in (1.0, 1.3, 2.2, 1 / 2.2)]
    assert told == sorted(told, reverse=True)
    assert told[0] > 0.99
    assert told[2] == pytest.approx(told[3])
    assert told[2] < 0.7


def test_without_landmarks_the_finder_decides():
    assert confidence(0.7, None) == 0.7
    assert confidence(None, None) == 1


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("wrong", [-70, 40, 120])
def test_landmarks_tell_how_a_face_is_turned(quarters, wrong):
    image = np.ascontiguousarray(np.rot90(skimage.data.astronaut(), -quarters))
    x, y = ((222, 133), (379, 222), (290, 379), (133, 290))[quarters]
    spot = Spot(image, (x - 46.0, y - 46.0, x + 46.0, y + 46.0), 90.0 * quarters + wrong, 0.9)
    (told,) = levelled(load_detector(), [spot])
    assert abs((told.angle - 90 * quarters + 180) % 360 - 180) < 15
    given = spot._replace(confidence=None)
    assert levelled(load_detector(), [given]) == [given]


def test_doubt_names_box_and_remedy():
    said = str(doubtful("a.png", (10.2, 20.4, 30.0, 41.0), 0.2))
    assert said.startswith("doubtful face in a.png at 10 20 30 41 (confidence 0.20, 0.5 needed): pass --box X0 Y0 X1 Y1")
    assert "--force" in said
