"""The crop: from a face's box in a photograph to the network's input, and the way back; boxes that are made to fit.

::

        photograph                    the network's input
      +--------------------+
      |   (x0, y0)----+    |          +-----------+
      |      |  o o   |    |  crop    |  +-----+  |   sqrt(width * height) of the box is 90/192 of the side,
      |      |   >    |    | ------>  |  | o o |  |   its centre the crop's centre; beyond the photograph
      |      +----(x1, y1) |          |  +-----+  |   its edge is repeated
      +--------------------+          +-----------+

A photograph's frame has its pixel (r, c) centred at (c + 1/2, r + 1/2), x right, y down, z away in the same unit.
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image as Pillow
from torch import Tensor

from vrn_lite.camera import Similarity, rotation_matrix
from vrn_lite.frame import FACE_SIZE, Grid, InputError, require
from vrn_lite.inference import landmarks_in
from vrn_lite.landmarks import NUM_LANDMARKS
from vrn_lite.networks.base import LandmarkDetector
from vrn_lite.photo.image_io import Box, Photo

FourNumbers = Sequence[float | int] | np.ndarray

MOST_ZOOM = 2.2
"""Landmarks that would change the size of the face's box by more than this factor, in all, are not believed."""

MOST_CROPS = 6
"""A face is cropped at most so often around its landmarks."""

STILL = 0.03
"""A box stands still when its size and its place change by no more than this share."""

MOST_REDUCED = 16
"""A crop that is reduced more than so many times is averaged over whole blocks of pixels first, to save memory."""


class Spot(NamedTuple):
    """A face in a photograph, not yet reconstructed.

    Attributes
    ----------
    image : the photograph.
    box : landmark-style box (x0, y0, x1, y1) in the photograph's pixels: brows to chin, ear to ear, along the face's
        own axes (turned by `angle` about the box's centre).
    angle : by how many degrees the face is turned clockwise on the screen; 0 where it is upright.
    confidence : the finder's, from 0 to 1; None where somebody else gave the box.
    name : of the photograph.
    landmarks : ``[68, 2]``, x and y in the photograph's pixels, where they are known.
    """

    image: Photo
    box: Box
    angle: float = 0.0
    confidence: float | None = None
    name: str = "the image"
    landmarks: Float[np.ndarray, "68 2"] | None = None


def crop(image: Photo, box: FourNumbers, grid: Grid, angle: float = 0.0) -> tuple[Float[Tensor, "3 h w"], Similarity]:
    """The network's input and the way from the photograph's frame to the voxel frame (the authors' crop rule).

    Depth 0 of the photograph's frame is the grid's front; a face that is turned by `angle` stands upright in the crop.

    Raises
    ------
    InputError : as `checked`.
    """
    x0, y0, x1, y1 = checked(box, image)
    zoom = FACE_SIZE * grid.side / ((x1 - x0) * (y1 - y0)) ** 0.5
    none = torch.zeros(1, dtype=torch.float64)
    rotation = rotation_matrix(none, none, none - angle)  # y points down, so that this turns counterclockwise
    middle = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, 0.0], dtype=torch.float64)
    target = torch.tensor([grid.width / 2, grid.height / 2, 0.0], dtype=torch.float64)
    motion = Similarity(none + zoom, rotation, target[None] - zoom * middle @ rotation.mT[0])
    motion = Similarity(*(part.float() for part in (motion.scale, motion.rotation, motion.translation)))
    return window(image, motion, grid), motion


def window(image: Photo, motion: Similarity, grid: Grid) -> Float[Tensor, "3 h w"]:
    """What a crop shows: the photograph moved by `motion` (photograph's frame to voxel frame) onto a grid's pixels.

    Training on photographs and `reconstruct` crop with this one filter: Pillow's bilinear one, a tent as wide as an
    output pixel on either side (at least one of the photograph's), which neither aliases nor blurs.
    """
    motion = motion.to("cpu")
    size, zoom = np.array([grid.width, grid.height]), float(motion.scale)
    turn, shift = motion.rotation[0, :2, :2].double().numpy(), motion.translation[0, :2].double().numpy()
    centre = (size / 2 - shift) @ turn / zoom  # of the crop, in the photograph; R^T is R's inverse
    if np.allclose(turn, np.eye(2), atol=1e-6):
        return _resized(image, centre, 1 / zoom, size)
    square = _resized(image, centre, 1 / zoom, np.full(2, ceil(np.hypot(*size)) + 2))  # holds the turned crop
    lines = np.column_stack((turn.T * size, np.zeros(2))) / square.shape[-1]  # from -1 to 1 in either
    places = F.affine_grid(torch.tensor(lines)[None].float(), [1, 3, grid.height, grid.width], align_corners=False)
    return F.grid_sample(square[None], places, mode="bilinear", align_corners=False)[0]


def _resized(image: Photo, centre: np.ndarray, step: float, size: np.ndarray) -> Float[Tensor, "3 h w"]:
    """A rectangle of the photograph about a centre, of `size` pixels that are `step` of the photograph's wide."""
    few = max(1, int(step // MOST_REDUCED))
    reach = ceil(max(step, 1)) + few  # so far do the outermost pixels look
    low, high = centre - size * step / 2, centre + size * step / 2
    most = np.array(image.shape[1::-1])
    first = np.clip(np.floor(low).astype(int) - reach, 0, most - 1)
    last = np.clip(np.ceil(high).astype(int) + reach, first + 1, most)
    part = Pillow.fromarray(image[first[1] : last[1], first[0] : last[0]])
    part = part.reduce(few) if few > 1 else part
    before = np.maximum(0, np.ceil((first - low + reach) / few).astype(int))
    after = np.maximum(0, np.ceil((high + reach - last) / few).astype(int))
    if before.any() or after.any():
        edges = [(before[axis], after[axis]) for axis in (1, 0)]
        part = Pillow.fromarray(np.pad(np.asarray(part), [*edges, (0, 0)], mode="edge"))
    box = (*((low - first) / few + before), *((high - first) / few + before))
    seen = part.resize((int(size[0]), int(size[1])), Pillow.Resampling.BILINEAR, box=box)
    return torch.from_numpy(np.array(seen)).permute(2, 0, 1).float() / 255


# Boxes


def checked(box: FourNumbers, image: Photo) -> Box:
    """The box as numbers, if it makes sense in the image.

    Raises
    ------
    InputError : not four finite numbers, empty (x, y, width, height by its looks), too small, or mostly outside.
    """
    height, width = image.shape[:2]
    numbers = np.asarray(box, dtype=np.float64).reshape(-1)
    text = " ".join(f"{value:g}" for value in numbers)
    four = len(numbers) == 4 and bool(np.isfinite(numbers).all())
    require(four, f"a box is four finite numbers x0 y0 x1 y1, got {text}")
    x0, y0, x1, y1 = (float(value) for value in numbers)
    sides = 0 < x1 <= width - x0 and 0 < y1 <= height - y0 and min(x0, y0) >= 0
    hint = f"; if it is x y width height, pass {x0:g} {y0:g} {x0 + x1:g} {y0 + y1:g}" if sides else ""
    require(x1 > x0 and y1 > y0, f"the box {text} is empty: x0 < x1 and y0 < y1 are needed{hint}")
    inside = max(0.0, min(x1, width) - max(x0, 0.0)) * max(0.0, min(y1, height) - max(y0, 0.0))
    share = inside / ((x1 - x0) * (y1 - y0))
    where = f"lies outside the photograph of {width} x {height} pixels ({share:.0%} inside, 25% needed)"
    require(share >= 0.25, f"the box {text} {where}")
    require(min(x1 - x0, y1 - y0) >= 4, f"the box {text} is too small: a face needs at least 4 pixels each way")
    return x0, y0, x1, y1


def checked_landmarks(landmarks: object, image: Photo) -> Float[np.ndarray, "68 2"]:
    """68 points (x, y) as numbers, if they make sense in the image.

    Raises
    ------
    InputError : another shape, numbers that are not finite, or points of which most lie outside the image.
    """
    points, what = np.asarray(landmarks, dtype=np.float64), "x and y in the photograph's pixels"
    fits = points.shape == (NUM_LANDMARKS, 2)
    require(fits, f"landmarks must be [{NUM_LANDMARKS}, 2], {what}, got {list(points.shape)}")
    require(bool(np.isfinite(points).all()), f"landmarks must be finite numbers, {what}")
    height, width = image.shape[:2]
    inside = float(((points >= 0) & (points <= (width, height))).all(1).mean())
    size = f"{width} x {height} pixels ({inside:.0%} inside, 50% needed)"
    require(inside >= 0.5, f"the landmarks lie outside the photograph of {size}")
    return points


def box_of(landmarks: Float[np.ndarray, "68 2"], angle: float = 0.0) -> Box:
    """The box that landmarks span along the axes of a face turned by `angle`."""
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turn = np.array([[cosine, -sine], [sine, cosine]])  # clockwise on the screen
    upright = landmarks @ turn
    low, high = upright.min(0), upright.max(0)
    middle, half = turn @ (low + high) / 2, (high - low) / 2
    (x0, y0), (x1, y1) = (middle - half).tolist(), (middle + half).tolist()
    return x0, y0, x1, y1


def locate(detector: LandmarkDetector, spots: Sequence[Spot], recrop: bool = True) -> list[Spot]:
    """The faces with their landmarks, and with the boxes to crop them by.

    With `recrop` the landmarks' own box takes the place of the first one, and they are found again in its crop, until
    the box stands still (`STILL`), at most `MOST_CROPS` times: the training's crops stand on the landmarks' box too
    (there of the true ones). Where the landmarks' box is implausible (over 2.2 times larger or smaller than the first,
    its centre outside that one's crop, or outside the photograph) the last plausible one stays.
    """
    found, landmarks, moving = list(spots), find_landmarks(detector, spots), list(range(len(spots)))
    for _ in range(MOST_CROPS if recrop else 0):
        around = {n: found[n]._replace(box=box_of(landmarks[n], found[n].angle)) for n in moving}
        around = {n: spot for n, spot in around.items() if _plausible(spot, spots[n].box)}
        moving = [n for n, spot in around.items() if not _still(spot.box, found[n].box)]
        for n, points in zip(around, find_landmarks(detector, list(around.values())), strict=True):
            found[n], landmarks[n] = around[n], points
    return [spot._replace(landmarks=points) for spot, points in zip(found, landmarks, strict=True)]


def find_landmarks(detector: LandmarkDetector, spots: Sequence[Spot]) -> list[Float[np.ndarray, "68 2"]]:
    """The 68 landmarks of each face, x and y in its photograph: means over the crop and its mirror image."""
    crops = [crop(spot.image, spot.box, detector.preset.grid, spot.angle) for spot in spots]
    if not crops:
        return []
    points = landmarks_in(detector, torch.stack([seen for seen, _ in crops])).cpu()
    return [moved(motion.inverse(), each).double().numpy() for (_, motion), each in zip(crops, points, strict=True)]


def moved(motion: Similarity, points: Float[Tensor, "n 2"] | Float[np.ndarray, "n 2"]) -> Float[Tensor, "n 2"]:
    """Points (x, y) moved by a scale, a turn in the plane and a shift."""
    flat = torch.as_tensor(points, dtype=torch.float32)
    return motion(torch.cat((flat, torch.zeros_like(flat[:, :1])), 1)[None])[0, :, :2]


def _change(new: Box, old: Box) -> tuple[float, float]:
    """The ratio of two boxes' sizes, and how far apart their centres lie, in sizes of the old one."""
    size, before = (((x1 - x0) * (y1 - y0)) ** 0.5 for x0, y0, x1, y1 in (new, old))
    away = max(abs(new[axis] + new[axis + 2] - old[axis] - old[axis + 2]) / 2 for axis in (0, 1))
    return size / before, away / before


def _still(new: Box, old: Box) -> bool:
    """Whether two boxes hardly differ in size and place."""
    ratio, away = _change(new, old)
    return abs(ratio - 1) < STILL and away < STILL


def _plausible(spot: Spot, old: Box) -> bool:
    """Whether landmarks that span a box may be those of the face that another box points at."""
    try:
        ratio, away = _change(checked(spot.box, spot.image), old)
    except InputError:
        return False
    return 1 / MOST_ZOOM < ratio < MOST_ZOOM and away < 0.5 / FACE_SIZE
