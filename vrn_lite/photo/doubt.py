"""What landmarks say of a face: whether it is one, where the finder saw it, and how it is turned."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.camera import Similarity
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.networks.base import LandmarkDetector
from vrn_lite.photo.crop import Spot, find_landmarks
from vrn_lite.photo.image_io import Box

HALF, STEEP, ZOOM = 0.085, 0.012, 0.1
"""At this misfit landmarks are as likely those of a face as not, and by this much more the odds fall e-fold; so much an
e-fold change of the box's size adds to the misfit. Chosen on 70 drawn faces of every yaw and 65 boxes on pictures
without one, which the landmark network and `locate` had looked at: 97 % of the faces of up to 60 degrees are below, 85
% of the others above."""

DOUBT = 0.5
"""A confidence below this is refused."""

LEVEL, FITS = 15.0, 0.05
"""Faces turned by fewer degrees stay as they are, as the networks know them; landmarks with a residual below this need
no look at the face in quarter turns."""


@lru_cache(maxsize=1)
def mean_landmarks() -> Float[Tensor, "68 3"]:
    """The 68 landmarks of the built-in mean face, model frame."""
    face = procedural()
    return face.mean[face.landmarks].double()


def _fit(points: Float[Tensor, "68 2"]) -> Similarity:
    """The scaled orthographic camera that shows the mean face's landmarks closest to where they were found."""
    from vrn_lite.photo.registration import orthographic  # a room that begins with a reconstruction

    return orthographic(mean_landmarks()[None], points[None])


def residual(landmarks: Float[np.ndarray, "68 2"]) -> float:
    """How far landmarks (x, y; iBUG order, any unit) are from every view of the mean face.

    Root mean square distance after a scaled orthographic fit, as a share of the root of their box's area.
    """
    points = torch.from_numpy(np.asarray(landmarks, dtype=np.float64))
    size = float((points.amax(0) - points.amin(0)).prod().sqrt())
    if size < 1e-9:
        return math.inf
    fitted = _fit(points)(mean_landmarks()[None])[0, :, :2]
    return float((fitted - points).square().sum(1).mean().sqrt()) / size


def roll(landmarks: Float[np.ndarray, "68 2"]) -> float:
    """By how many degrees a face is turned clockwise in the picture: its head's axis, after the same fit."""
    across, down = (-_fit(torch.from_numpy(np.asarray(landmarks, dtype=np.float64))).rotation[0, :2, 1]).tolist()
    return math.degrees(math.atan2(-across, down))


def levelled(detector: LandmarkDetector, spots: Sequence[Spot]) -> list[Spot]:
    """Faces that a finder saw, turned as their landmarks tell; slight turns are left alone.

    Where the landmarks do not form a face, they are looked for in the quarter turns too, and the best count.
    """
    return [spot if spot.confidence is None else spot._replace(angle=_angle(detector, spot)) for spot in spots]


def _angle(detector: LandmarkDetector, spot: Spot) -> float:
    turns = [spot._replace(angle=spot.angle + quarter) for quarter in (0, 90, 180, -90)]
    found = find_landmarks(detector, turns[:1])
    if residual(found[0]) > FITS:
        found += find_landmarks(detector, turns[1:])
    angle = roll(min(found, key=residual))
    return angle if abs(angle) > LEVEL else 0.0


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


def doubtful(name: str, box: Box, sure: float) -> InputError:
    """The error of a face whose confidence is below `DOUBT`: one line that names the box and the remedy."""
    numbers = " ".join(f"{value:.0f}" for value in box)
    return InputError(
        f"doubtful face in {name} at {numbers} (confidence {sure:.2f}, {DOUBT:g} needed): pass --box X0 Y0 X1 Y1 "
        "around the face, or --force to go on (in Python, box= or force=True)"
    )
