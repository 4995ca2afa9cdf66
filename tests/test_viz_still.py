"""Still pictures show what the figure shows, without a browser."""

import numpy as np
import torch

from drawn import POINTS, TRIANGLES, pixels
from vrn_lite import viz


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


def test_the_still_picture_is_the_same_twice():
    drawn = viz.mesh_figure(POINTS, TRIANGLES, title="A ball")
    assert viz.picture(drawn) == viz.picture(drawn)
