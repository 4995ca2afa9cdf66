"""How sure a reconstruction is: whether the landmarks that were found form a face, where the finder saw one."""

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.photo.image_io import Box

HALF, STEEP, ZOOM = 0.085, 0.012, 0.1
"""At this misfit landmarks are as likely those of a face as not, and by this much more the odds fall e-fold; so much an
e-fold change of the box's size adds to the misfit. Chosen on 70 drawn faces of every yaw and 65 boxes on pictures without
one, which the landmark network and `locate` had looked at: 97 % of the faces of up to 60 degrees are below, 85 % of the
others above."""

DOUBT = 0.5
"""A confidence below this is refused."""


@lru_cache(maxsize=1)
def mean_landmarks() -> Float[Tensor, "68 3"]:
    """The 68 landmarks of the built-in mean face, model frame."""
    face = procedural()
    return face.mean[face.landmarks].double()


def residual(landmarks: Float[np.ndarray, "68 2"]) -> float:
    """How far landmarks (x, y; iBUG order, any unit) are from every view of the mean face.

    Root mean square distance after a scaled orthographic fit, as a share of the root of their box's area.
    """
    from vrn_lite.photo.registration import orthographic  # a room that begins with a reconstruction

    points = torch.from_numpy(np.asarray(landmarks, dtype=np.float64))
    size = float((points.amax(0) - points.amin(0)).prod().sqrt())
    if size < 1e-9:
        return math.inf
    mean = mean_landmarks()[None]
    fitted = orthographic(mean, points[None])(mean)[0, :, :2]
    return float((fitted - points).square().sum(1).mean().sqrt()) / size


def confidence(score: float | None, landmarks: Float[np.ndarray, "68 2"] | None, zoom: float = 1.0) -> float:
    """How sure a face is, from 0 to 1: the geometric mean of the finder's score and the landmarks' likeness to a face.

    Parameters
    ----------
    score : None where somebody gave the box; then, and without landmarks, the other counts alone.
    zoom : size of the box that the landmarks led to, in sizes of the finder's.
    """
    misfit = 0.0 if landmarks is None else residual(landmarks) + ZOOM * abs(math.log(zoom))
    alike = 1.0 if landmarks is None else 1 / (1 + math.exp(min((misfit - HALF) / STEEP, 700.0)))
    return alike if score is None else score if landmarks is None else math.sqrt(score * alike)


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
