"""The face in a photograph found: a landmark-style box, in the photograph's frame (see `image_io`)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade
from skimage.transform import resize, rotate

from vrn_lite.frame import require
from vrn_lite.photo.image_io import Box, Photo

DOWN, SCALE = 0.17, 0.92
"""From the detector's square to the box of the 68 landmarks: its centre lies lower by this share of the square's side
(and no further to one side, as the detector looks at both mirror images), its sqrt(width * height) is this share of the
side. Medians over 113 frontal renders of ICT-FaceKit (yaw within 15 degrees, all expressions, 192 px); they scatter by
0.06 and 0.13, which the training's jitter covers. A test fits them again."""

LOOKS = (
    ((160, 190, 220, 250, 280), (0,), 0.15, 1.4, 5),
    ((160, 200, 240), (-15, 15), 0.15, 1.4, 3),
    ((360, 480, 600), (0,), 0.05, 0.2, 3),
)
"""Where the detector looks, in turn, until it finds a face: longer sides in pixels, in-plane tilts in degrees, smallest
and largest square as shares of the longer side, and how many looks so far must agree."""

MARGIN = 0.2
"""The photograph's edge is repeated by this share of its longer side, so that faces that fill it are found."""


class Found(NamedTuple):
    """A face in a photograph.

    Attributes
    ----------
    box : landmark-style box (x0, y0, x1, y1) in the photograph's pixels.
    score : from 0 to 1, how sure the finder is.
    angle : in-plane, degrees; 0 where the face is upright.
    """

    box: Box
    score: float = 1.0
    angle: float = 0.0


class CascadeFinder:
    """scikit-image's LBP cascade: the largest frontal face.

    It looks at the photograph and at its mirror image in several sizes, then tilted, then in larger sizes for small
    faces. Squares that several looks agree on count, and the largest of them wins.
    """

    def find(self, image: Photo) -> list[Found]:
        """The largest face, or nothing."""
        cascade, squares = Cascade(lbp_frontal_face_cascade_filename()), np.zeros((0, 3))
        for sides, tilts, least, most, votes in LOOKS:
            looks = [_look(cascade, image, side, tilt, least, most) for side in sides for tilt in tilts]
            squares = np.concatenate([squares, *looks])
            agreed = _agreed(squares, votes)
            if len(agreed):
                x, y, side = map(float, agreed[agreed[:, 2].argmax()])
                half = SCALE * side / 2
                return [Found((x - half, y - half, x + half, y + half))]
        return []


def detect_face(image: Photo, name: str = "the image") -> Box:
    """The landmark-style box (x0, y0, x1, y1) of the largest face, in the photograph's pixels.

    Raises
    ------
    InputError : none found.
    """
    found = CascadeFinder().find(image)
    advice = "pass --box X0 Y0 X1 Y1 (in Python, box=(x0, y0, x1, y1)) around the face's landmarks"
    require(bool(found), f"no face found in {name}: {advice}")
    return found[0].box


def _look(
    cascade: Cascade, image: Photo, side: int, tilt: float, least: float, most: float
) -> Float[np.ndarray, "k 3"]:
    """Faces (x, y of the landmarks' centre, side of the square) seen at one size and tilt, both ways."""
    step = max(1, max(image.shape[:2]) // 1280)  # resampling a huge photograph whole would need gigabytes
    coarse = image[::step, ::step]
    zoom = side / max(coarse.shape[:2])
    seen = resize(coarse, [max(1, round(size * zoom)) for size in coarse.shape[:2]], anti_aliasing=zoom < 1)
    seen = np.pad(seen, [(round(MARGIN * side),) * 2] * 2 + [(0, 0)], mode="edge")
    centre = np.array(seen.shape[1::-1]) / 2
    cosine, sine = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    sizes = {"min_size": (max(24, round(least * side)),) * 2, "max_size": (round(most * side),) * 2}
    found = []
    for view, sign in ((rotate(seen, tilt, mode="edge"), 1), (rotate(seen, tilt, mode="edge")[:, ::-1], -1)):
        for square in cascade.detect_multi_scale(np.ascontiguousarray(view), scale_factor=1.2, step_ratio=1, **sizes):
            corner, side_of = np.array([square["c"], square["r"]]), square["width"]
            x, y = (corner + side_of * np.array([0.5, 0.5 + DOWN]) - centre) * (sign, 1)
            middle = centre + (x * cosine - y * sine, x * sine + y * cosine) - round(MARGIN * side)
            found.append([*middle / zoom * step, side_of / zoom * step])
    return np.array(found).reshape(-1, 3)


def _agreed(squares: Float[np.ndarray, "k 3"], votes: int) -> Float[np.ndarray, "m 3"]:
    """Medians of groups of at least `votes` squares alike in place and size; of overlapping groups the largest."""
    sides = squares[:, 2]
    apart = np.linalg.norm(squares[:, None, :2] - squares[None, :, :2], axis=-1)
    apart = apart / np.minimum(sides[:, None], sides[None])
    alike = (apart < 0.35) & (np.abs(np.log(sides[:, None] / sides[None])) < 0.5)
    groups, free = [], np.ones(len(squares), dtype=bool)
    for row in np.argsort(-alike.sum(1), kind="stable"):
        if free[row] and alike[row].sum() >= votes:
            groups.append(np.median(squares[alike[row]], axis=0))
            free &= apart[row] > 0.7
    return np.array(groups).reshape(-1, 3)
