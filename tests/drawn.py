"""What the figures' tests draw, and how they look at it."""

import json
from io import BytesIO

import numpy as np
import torch
import trimesh
from PIL import Image

from vrn_lite import viz

BUDGET = 800_000
"""Bytes of a notebook's figure."""

BALL = trimesh.creation.icosphere(subdivisions=3, radius=20.0)
POINTS = torch.tensor(BALL.vertices).float() + 40
TRIANGLES = torch.tensor(BALL.faces)
PART = {"vertices": POINTS, "triangles": TRIANGLES}


def size(figure):
    """Bytes that a figure takes in a notebook."""
    return len(json.dumps(viz.spec(figure)))


def pixels(figure):
    """The figure's still picture."""
    return np.asarray(Image.open(BytesIO(viz.picture(figure))).convert("RGB")).astype(int)


def linked():
    """A large ball beside a small one with landmarks."""
    small = {"vertices": POINTS / 2, "triangles": TRIANGLES, "landmarks": POINTS[:68] / 2}
    return viz.linked_figure({"large": PART | {"colours": "#d9b8a0"}, "small": small}, "Two")


def ball(radius=20.0, shape=(48, 64, 64), depth_scale=1.5):
    """A solid ball as a volume."""
    z, y, x = np.mgrid[: shape[0], : shape[1], : shape[2]] + 0.5
    return torch.tensor((x - 32) ** 2 + (y - 32) ** 2 + (z / depth_scale - 32) ** 2 < radius**2)


def soft_ball(radius=20.0):
    """A ball of probabilities."""
    z, y, x = np.mgrid[:48, :64, :64] + 0.5
    distance = np.sqrt((x - 32) ** 2 + (y - 32) ** 2 + (z / 1.5 - 16) ** 2)
    return torch.tensor(1 / (1 + np.exp((distance - radius) / 4))).float()
