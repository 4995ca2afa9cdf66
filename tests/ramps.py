"""What the tests of the way from photograph to face share: a photograph that tells places, and networks that know."""

import numpy as np
import torch
from torch import Tensor

from vrn_lite.frame import Grid, voxel_centres
from vrn_lite.landmarks import FLIP
from vrn_lite.networks.base import Prediction
from vrn_lite.networks.vrn import VRN, LandmarkHourglass

GRID = Grid(32, 32, 32)
BOX = (100.0, 40.0, 180.0, 140.0)


def ramp_photo() -> np.ndarray:
    """A photograph whose red grows with x and whose green grows with y, by one a pixel."""
    x, y = np.meshgrid(np.arange(256), np.arange(200))
    return np.stack([x, y, np.full_like(x, 90)], -1).astype(np.uint8)


def points_in(box=BOX) -> np.ndarray:
    """68 landmarks that span a box."""
    inside = np.random.default_rng(0).uniform(0.05, 0.95, (68, 2))
    inside[[0, 8, 16, 20]] = (0, 0.3), (0.5, 1), (1, 0.3), (0.4, 0)
    return np.array(box[:2]) + inside * (np.array(box[2:]) - box[:2])


class Ball(VRN):
    """A network that sees a ball of radius 8 px in the middle of every crop."""

    def __init__(self):
        super().__init__("tiny")
        distance = (voxel_centres(GRID) - torch.tensor(GRID.centre)).norm(dim=-1)
        self.answer = (8 - distance)[None]

    def predict(self, images: Tensor, landmarks: Tensor | None = None) -> Prediction:
        return Prediction(logits=self.answer.expand(len(images), -1, -1, -1))


class Surveyor(LandmarkHourglass):
    """A detector that knows where landmarks are in the ramp photograph, and reads off a crop's colours where it is."""

    def __init__(self, points: np.ndarray):
        super().__init__("tiny")
        self.points = torch.tensor(points, dtype=torch.float64)
        self.eval()

    def landmarks(self, images: Tensor) -> Tensor:
        return torch.stack([self.seen(255 * image.double().numpy()) for image in images]).float()

    def seen(self, image: np.ndarray) -> Tensor:
        across, down = self.motion(image[0], 255), self.motion(image[1], 199)
        where = torch.linalg.solve(torch.stack((across[1:], down[1:])), (self.points - torch.stack((across[0], down[0]))).T).T
        mirrored = across[1] * down[2] - across[2] * down[1] < 0
        return where[FLIP] if mirrored else where  # a mirrored face: its landmarks are numbered the other way

    @staticmethod
    def motion(values: np.ndarray, most: int) -> Tensor:
        """Photograph's coordinate at the crop's corner, and its change per pixel to the right and down: the best plane."""
        rows, columns = np.nonzero((values > 8) & (values < most - 8))
        plane = np.column_stack((np.ones(len(rows)), columns + 0.5, rows + 0.5))
        return torch.tensor(np.linalg.lstsq(plane, values[rows, columns] + 0.5, rcond=None)[0])
