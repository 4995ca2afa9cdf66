"""How sure a reconstruction is: whether the landmarks that were found form a face."""

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.align import orthographic
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.photo.image_io import Box

HALF, STEEP = 0.055, 0.006
"""At this residual a face is as likely as none, and by this much more the odds fall e-fold: fitted on drawn faces and on
pictures without one."""

DOUBT = 0.5
"""A confidence below this is refused."""


@lru_cache(maxsize=1)
def mean_landmarks() -> Float[Tensor, "68 3"]:
    """The 68 landmarks of the built-in mean face, model frame."""
    face = procedural()
    return face.mean[face.landmarks].double()


def residual(landmarks: Float[np.ndarray, "68 2"]) -> float:
    """How far landmarks are from any view of the mean face: root mean square after a scaled orthographic fit, as a share
    of the root of their box's area.

    Parameters
    ----------
    landmarks : x and y, iBUG order, in any unit.
    """  # fmt: skip
    points = torch.from_numpy(np.asarray(landmarks, dtype=np.float64))
    size = float((points.amax(0) - points.amin(0)).prod().sqrt())
    if size < 1e-9:
        return math.inf
    mean = mean_landmarks()[None]
    fitted = orthographic(mean, points[None])(mean)[0, :, :2]
    return float((fitted - points).square().sum(1).mean().sqrt()) / size


def confidence(score: float, landmarks: Float[np.ndarray, "68 2"] | None) -> float:
    """How sure a face is, from 0 to 1: the finder's score, or the landmarks' likeness to a face where that is less."""
    if landmarks is None:
        return score
    return min(score, 1 / (1 + math.exp(min((residual(landmarks) - HALF) / STEEP, 700.0))))


def refuse(name: str, box: Box, sure: float) -> None:
    """Refuse a face that is too doubtful.

    Raises
    ------
    InputError : a confidence below `DOUBT`; the line names the box and the remedy.
    """
    if sure < DOUBT:
        numbers = " ".join(f"{value:.0f}" for value in box)
        raise InputError(
            f"doubtful face in {name} at {numbers} (confidence {sure:.2f}, {DOUBT:g} needed): pass --box X0 Y0 X1 Y1 "
            "around the face, or --force to go on (in Python, box= or force=True)"
        )
