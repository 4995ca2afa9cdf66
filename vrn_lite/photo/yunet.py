"""YuNet, a finder of frontal faces to half profiles: an extra, run by OpenCV where that is installed.

Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023; MIT licence.
"""

import math
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from vrn_lite.downloads import Download, cache_folder, download, locked
from vrn_lite.frame import require
from vrn_lite.photo.finder import Found
from vrn_lite.photo.image_io import Photo

NAME = "face_detection_yunet_2023mar.onnx"
SOURCE = Download(
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/",
    {NAME: "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"},
    "vrn-lite fetch finder",
)

SIDES = (640, 224)
"""It looks at the photograph at these longer sides: at the small one for faces that fill it."""

LEAST, FRANK = 0.8, 0.9
"""Its score that makes a face, and that of a face which is surely upright."""

DOWN, WIDE, HIGH = 0.08, 1.0, 0.8
"""From its box to that of the 68 landmarks, of the face turned upright: the centre lies lower by this share of the
height, width and height are these shares. Medians over rendered faces; a test fits them again."""


def model_file(folder: str | os.PathLike[str] | None = None) -> Path:
    """Where the fetched network lies: in `folder`, that of the variable VRN_LITE_FINDER, or the user's cache."""
    return Path(folder or os.environ.get("VRN_LITE_FINDER") or cache_folder()) / NAME


def available(folder: str | os.PathLike[str] | None = None) -> bool:
    """Whether OpenCV is installed and the network has been fetched."""
    return find_spec("cv2") is not None and model_file(folder).is_file()


def fetch_yunet(folder: str | os.PathLike[str] | None = None, source: Download = SOURCE) -> Path:
    """Download the network (0.2 MB), known by its sum; a second call finds it.

    Raises
    ------
    InputError : as for `download`.
    """
    path = model_file(folder)
    with locked(path.parent):
        return download(source, [NAME], path.parent)[0]


class YuNet:
    """Finds faces of at most some 60 degrees of yaw, of every in-plane angle.

    Parameters
    ----------
    folder : of the fetched network; None for where `fetch_yunet` puts it.

    Raises
    ------
    InputError : OpenCV is not installed, or the network has not been fetched.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        require(find_spec("cv2") is not None, "YuNet needs OpenCV: pip install 'vrn_lite[finder]'")
        path = model_file(folder)
        require(path.is_file(), f"no network {path}: run `vrn-lite fetch finder` first")
        import cv2

        log = cv2.utils.logging
        level = log.setLogLevel(log.LOG_LEVEL_ERROR)  # OpenCV 5 warns of a setting that nobody made
        self.network = cv2.FaceDetectorYN.create(str(path), "", (SIDES[0], SIDES[0]), LEAST)
        log.setLogLevel(level)

    def find(self, image: Photo) -> list[Found]:
        """The faces in a photograph, surest first; where it shows none for sure, its quarter turns are looked at too.

        Of a face that is seen in several of them the surest counts: upside down, it is taken for another one.
        """
        found: list[Found] = []
        for quarters in range(4):
            upright = self._upright(np.ascontiguousarray(np.rot90(image, quarters)))
            found += [_turned(face, quarters, image) for face in upright]
            if quarters == 0 and any(face.score > FRANK for face in found):
                break
        found.sort(key=lambda face: -face.score)
        return [face for n, face in enumerate(found) if not any(_same(face, surer) for surer in found[:n])]

    def _upright(self, image: Photo) -> list[Found]:
        height, width = image.shape[:2]
        found: list[Found] = []
        for side in SIDES:
            scale = max(height, width) / side
            size = (max(1, round(width / scale)), max(1, round(height / scale)))
            small = np.array(Pillow.fromarray(image).resize(size, Pillow.Resampling.BILINEAR, reducing_gap=2.0))
            self.network.setInputSize(size)
            rows = self.network.detect(np.ascontiguousarray(small[..., ::-1]))[1]
            found += [_landmark_box(np.asarray(row, dtype=float), scale) for row in (() if rows is None else rows)]
        return found


def _landmark_box(row: np.ndarray, scale: float) -> Found:
    """From x, y, width, height, five points (eyes, nose, corners of the mouth) and the score."""
    x, y, width, height = (row[:4] * scale).tolist()
    points, score = row[4:14].reshape(5, 2) * scale, float(row[14])
    across, down = (points[3:].mean(0) - points[:2].mean(0)).tolist()
    angle = math.atan2(-across, down)
    lower = DOWN * height
    x, y = x + width / 2 - lower * math.sin(angle), y + height / 2 + lower * math.cos(angle)
    half_width, half_height = WIDE * width / 2, HIGH * height / 2
    return Found((x - half_width, y - half_height, x + half_width, y + half_height), score, math.degrees(angle))


def _same(one: Found, other: Found) -> bool:
    """Whether two boxes overlap as those of one face."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = one.box, other.box
    common = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    return common > 0.3 * min((ax1 - ax0) * (ay1 - ay0), (bx1 - bx0) * (by1 - by0))


def _turned(face: Found, quarters: int, image: Photo) -> Found:
    """A face found in the image turned anticlockwise by quarters, in the image itself."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = face.box
    x, y, half_width, half_height = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    x, y = ((x, y), (width - y, x), (width - x, height - y), (y, height - x))[quarters]
    angle = (face.angle + 90 * quarters + 180) % 360 - 180
    return Found((x - half_width, y - half_height, x + half_width, y + half_height), face.score, angle)
