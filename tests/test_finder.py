"""The face in a photograph is found where it is."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from vrn_lite.frame import InputError
from vrn_lite.photo import finder
from vrn_lite.photo.finder import detect_face
from vrn_lite.photo.image_io import read_photo
from vrn_lite.samples import PoseRange, make_pairs


def test_astronaut_is_found():
    box = np.array(detect_face(skimage.data.astronaut()))
    np.testing.assert_allclose(box, (176, 87, 269, 179), atol=12)


def test_detection_follows_the_photograph():
    image = skimage.data.astronaut()
    box = np.array(detect_face(image))
    mirrored = np.array(detect_face(np.ascontiguousarray(image[:, ::-1])))
    np.testing.assert_allclose((512, 0, 512, 0) + mirrored[[2, 1, 0, 3]] * (-1, 1, -1, 1), box, atol=2)
    shifted = np.array(detect_face(np.ascontiguousarray(image[40:, 90:])))
    np.testing.assert_allclose(shifted + (90, 40, 90, 40), box, atol=10)


@pytest.mark.parametrize("angle", [-20, 20])
def test_tilted_face_is_found(angle):
    upright = np.array(detect_face(skimage.data.astronaut()))
    tilted = np.asarray(Image.fromarray(skimage.data.astronaut()).rotate(angle, center=(222, 133), fillcolor="gray"))
    np.testing.assert_allclose(detect_face(tilted), upright, atol=20)


def test_no_face_says_what_to_do(monkeypatch):
    monkeypatch.setattr(finder, "LOOKS", finder.LOOKS[:1])
    with pytest.raises(InputError, match=r"no face found in cat\.png: pass --box X0 Y0 X1 Y1"):
        detect_face(skimage.data.chelsea(), "cat.png")


def test_the_box_constants_fit_again(ict_face, monkeypatch):
    for name, neutral in (("DOWN", 0.0), ("SCALE", 1.0), ("LOOKS", finder.LOOKS[:1])):
        monkeypatch.setattr(finder, name, neutral)
    poses = PoseRange(yaw=15, pitch=5, pitch_most=10, angle=5, shift=10, mirror=0)
    pairs, fits = make_pairs(ict_face, "paper", 20, torch.Generator().manual_seed(5), poses=poses), []
    for image, points in zip(pairs.images, pairs.landmarks[..., :2].numpy(), strict=True):
        try:
            x0, y0, x1, y1 = detect_face(read_photo(image.permute(1, 2, 0).numpy().clip(0, 1)))
        except InputError:
            continue
        low, high, side = points.min(0), points.max(0), x1 - x0
        fits.append([*((low + high - (x0 + x1, y0 + y1)) / 2 / side), np.prod(high - low) ** 0.5 / side])
    assert len(fits) >= 10
    monkeypatch.undo()
    np.testing.assert_allclose(np.median(fits, axis=0), (0, finder.DOWN, finder.SCALE), atol=0.07)
