"""scikit-image's LBP cascade as a finder: upright faces from the front, found surely; beside the network that ships."""

import numpy as np
from jaxtyping import Float
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade
from skimage.transform import resize

from vrn_lite.photo.finder import Found
from vrn_lite.photo.image_io import Photo

DOWN, SCALE = 0.17, 0.92
"""From the cascade's square to the box of the 68 landmarks: its centre lies lower by this share of the square's side
(and no further to one side, as both mirror images are looked at), its sqrt(width * height) is this share of the side.
Medians over 113 frontal renders of ICT-FaceKit (yaw within 15 degrees, all expressions, 192 px); they scatter by 0.06
and 0.13, which the training's jitter covers. A test fits them again."""

SIDES, VOTES = (160, 190, 220, 250, 280), 5
"""The photograph is looked at with these longer sides, and mirrored; so many of the ten looks must agree."""

MARGIN = 0.2
"""The photograph's edge is repeated by this share of its longer side, so that faces that fill it are found."""


class CascadeFinder:
    """The largest upright face from the front."""

    def find(self, image: Photo) -> list[Found]:
        """The largest face, or nothing."""
        cascade = Cascade(lbp_frontal_face_cascade_filename())
        agreed = _agreed(np.concatenate([_look(cascade, image, side) for side in SIDES]), VOTES)
        if not len(agreed):
            return []
        x, y, side = map(float, agreed[agreed[:, 2].argmax()])
        half = SCALE * side / 2
        return [Found((x - half, y - half, x + half, y + half))]


def _look(cascade: Cascade, image: Photo, side: int) -> Float[np.ndarray, "k 3"]:
    """Faces (x, y of the landmarks' centre, side of the square) seen at one size, both ways."""
    step = max(1, max(image.shape[:2]) // 1280)  # resampling a huge photograph whole would need gigabytes
    coarse = image[::step, ::step]
    zoom = side / max(coarse.shape[:2])
    seen = resize(coarse, [max(1, round(size * zoom)) for size in coarse.shape[:2]], anti_aliasing=zoom < 1)
    seen = np.pad(seen, [(round(MARGIN * side),) * 2] * 2 + [(0, 0)], mode="edge")
    sizes = {"min_size": (max(24, round(0.15 * side)),) * 2, "max_size": (round(1.4 * side),) * 2}
    found = []
    for view, sign in ((seen, 1), (seen[:, ::-1], -1)):
        for square in cascade.detect_multi_scale(np.ascontiguousarray(view), scale_factor=1.2, step_ratio=1, **sizes):
            x, y = square["c"] + 0.5 * square["width"], square["r"] + (0.5 + DOWN) * square["width"]
            x = x if sign > 0 else seen.shape[1] - x
            found.append(
                [(value - round(MARGIN * side)) / zoom * step for value in (x, y)] + [square["width"] / zoom * step]
            )
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
