"""The cascade's box is the landmarks' box; a picture without a face has none."""

import numpy as np
import pytest
from skimage import data

from vrn_lite.photo.cascade import CascadeFinder
from vrn_lite.photo.finder import Finder


def test_the_astronaut_is_found_once_and_where_she_is():
    finder = CascadeFinder()
    assert isinstance(finder, Finder)
    (face,) = finder.find(data.astronaut())
    assert face.box == pytest.approx((177, 87, 269, 179), abs=12)
    assert face.angle == 0


def test_a_mirror_image_has_the_mirrored_box():
    image = data.astronaut()
    (face,), (mirrored,) = (CascadeFinder().find(picture) for picture in (image, image[:, ::-1].copy()))
    x0, y0, x1, y1 = mirrored.box
    assert (512 - x1, y0, 512 - x0, y1) == pytest.approx(face.box, abs=4)


def test_no_face_no_box():
    assert CascadeFinder().find(np.full((120, 160, 3), 90, np.uint8)) == []
