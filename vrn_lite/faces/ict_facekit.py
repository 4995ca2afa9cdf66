"""ICT-FaceKit as a `MorphableFace`: 100 identity modes and 53 expressions from light-stage scans (MIT licence, USC ICT).

Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020.
"""

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from platformdirs import user_cache_dir
from scipy.spatial.transform import Rotation

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import InputError, require

Points = Float[np.ndarray, "v 3"]
Mask = Float[np.ndarray, " v"]

PATCH_POLYGONS, PATCH_VERTICES = 6560, 6706
"""The face without ears and neck: the first polygons and vertices of the model."""

JAW_EDGE = np.array([(-1, -3), (1.5, -3.2), (3, -6), (5.5, -8), (10.5, -7.8)])
"""(z, y) of the lower edge of the jaw, from the nape over the ear and the jaw's angle to the chin."""

HAIRLINE = np.array([(30, 10), (8.7, 10), (7.6, 9.8), (6.3, 8.8), (5.4, 7.2), (4.6, 4.5), (3.6, 2.5), (2, 3), (-0.5, 3), (-2.5, -2), (-7, -4.5), (-30, -4.5), (-30, 30), (30, 30)])
"""(z, y) outline of the hair in the side view: forehead, temple, sideburn, over the ear, nape."""

BEARD_TOP = np.array([(0, -1.5), (1.5, -1.6), (2.8, -2.4), (4.5, -3.2), (6, -2), (7, 0.5), (7.5, 2.5)])
"""(abs(x), y) of the upper edge of a beard in the frontal view."""

CROWNS = (-4.4, -2.3)
"""y between the edges of the lower and the upper gums: the roots of the teeth beyond them are never seen."""


def cached_model() -> Path:
    """Where the converted model is: the environment variable VRN_LITE_ICT, else the user's cache."""
    return Path(os.environ.get("VRN_LITE_ICT") or Path(user_cache_dir("vrn_lite")) / "ict_facekit.npz")


def ict(path: str | os.PathLike[str] | None = None) -> MorphableFace:
    """The ICT-FaceKit model, trimmed to what a camera at yaw -90 to 90 degrees can see.

    Parameters
    ----------
    path : the converted model; None for the environment variable VRN_LITE_ICT, else the user's cache.

    Returns
    -------
    MorphableFace in the model frame (x right, y up, z to the viewer), one unit being about 1 cm.
    Vertices 0 to 6,705 are the face patch, in the source's order.

    Raises
    ------
    InputError : the file is missing or is no such model.
    """
    source = cached_model() if path is None else Path(path)
    require(source.is_file(), f"no ICT-FaceKit model at {source}: run `vrn-lite fetch ict` once, or set VRN_LITE_ICT to the file")
    try:
        with np.load(source) as archive:
            data = {name: archive[name] for name in archive.files}
        neutral, polygons = data["neutral"].astype(np.float32), data["polygons"]
        spans = {str(name): slice(*span) for name, span in zip(data["region_names"], data["region_ranges"], strict=True)}
        names, landmarks = tuple(map(str, data["expression_names"])), data["landmarks68"]
        identity, expression = data["identity"], data["expression"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{source} is not a converted ICT-FaceKit model ({error}): run `vrn-lite fetch ict` again") from None
    expression = expression.astype(np.float32)
    _turn_eyes(neutral, expression, names, spans)
    quads = polygons[:, 3] >= 0
    triangles = np.concatenate([polygons[:, :3], polygons[quads][:, [0, 2, 3]]])
    patch = np.concatenate([np.arange(len(polygons)), np.flatnonzero(quads)]) < PATCH_POLYGONS
    regions = _regions(neutral, neutral[landmarks], spans)
    seen = patch | _seen(neutral, triangles, spans)
    shell = triangles[seen & (regions["hair"][triangles].max(1) > 0)]
    kept, numbers = np.unique(triangles[seen], return_inverse=True)
    strands, shell_numbers = np.unique(shell, return_inverse=True)
    masks = {name: mask[np.concatenate([kept, strands])].astype(np.float32) for name, mask in regions.items()}
    masks["hair"][: len(kept)] = 0
    rows = np.concatenate([kept, strands])
    return MorphableFace(
        name="ict",
        mean=torch.from_numpy(neutral[rows]),
        identity=torch.from_numpy(identity[:, rows].astype(np.float32)),
        expression=torch.from_numpy(expression[:, rows]),
        expression_names=names,
        triangles=torch.from_numpy(np.concatenate([numbers.reshape(-1, 3), len(kept) + shell_numbers.reshape(-1, 3)]).astype(np.int64)),
        landmarks=torch.from_numpy(landmarks.astype(np.int64)),
        patch=torch.from_numpy(np.concatenate([patch[seen], np.zeros(len(shell), dtype=bool)])),
        regions={name: torch.from_numpy(mask) for name, mask in masks.items()},
        often=("jawOpen", "mouthSmile"),
        needs={"mouthClose": "jawOpen"},
    )


def _turn_eyes(neutral: Points, expression: Float[np.ndarray, "e v 3"], names: tuple[str, ...], spans: dict[str, slice]) -> None:
    """Let the eyeballs follow the lids of the eyeLook expressions, in place: the source leaves that to the animator."""
    for side, name, sign in (("L", "left", 1), ("R", "right", -1)):
        centre, _ = _sphere(neutral[spans[f"eyeball_{name}"].start : spans[f"iris_{name}"].start])
        for look, yaw, pitch in (("In", -28 * sign, 0), ("Out", 28 * sign, 0), ("Up", 0, -20), ("Down", 0, 24)):
            ball = spans[f"eyeball_{name}"]
            turn = Rotation.from_euler("yx", [yaw, pitch], degrees=True)
            expression[names.index(f"eyeLook{look}_{side}"), ball] += turn.apply(neutral[ball] - centre) - (neutral[ball] - centre)


def _sphere(points: Points) -> tuple[np.ndarray, float]:
    """Centre and radius of the sphere nearest to the points (linear least squares)."""
    points = points.astype(np.float64)
    solution = np.linalg.lstsq(np.c_[2 * points, np.ones(len(points))], (points**2).sum(1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + (solution[:3] ** 2).sum()))


def _seen(points: Points, triangles: Int[np.ndarray, "t 3"], spans: dict[str, slice]) -> Bool[np.ndarray, " t"]:
    """Triangles ``[t]`` that some camera may see: no inner eyeballs, roots and backs of teeth, eye sockets, roof of the mouth."""
    corners = points[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    forward = normal[:, 2] > -0.2 * np.linalg.norm(normal, axis=1)
    x, y, z = corners.mean(1).T
    part = np.zeros(len(points), dtype=np.int8)
    for number, name in enumerate(("mouth_socket", "gums_tongue", "teeth"), start=1):
        part[spans[name]] = number
    for side in ("left", "right"):
        part[spans[f"eye_socket_{side}"]], part[spans[f"eyeball_{side}"]], part[spans[f"iris_{side}"]] = 4, 5, 6
    rules = {
        1: y < -1.8,
        2: forward & (y > -4.6) & (y < -1) & (abs(x) < 2.6),
        3: forward & (y > CROWNS[0]) & (y < CROWNS[1]) & (abs(x) < 2.7),
        4: z > 8.6,
        5: z > 7.7,
        6: np.zeros_like(forward),
    }
    return np.select([part[triangles].max(1) == number for number in rules], list(rules.values()), default=True)


def _regions(points: Points, landmarks: Float[np.ndarray, "68 3"], spans: dict[str, slice]) -> dict[str, Mask]:
    """Soft masks ``[v]`` for the renderer, drawn around the landmarks of the mean."""
    x, y, z = points.T
    number = np.arange(len(points))
    patch, skin = number < PATCH_VERTICES, number < spans["head_neck"].stop
    front, side = points[:, :2], points[:, [2, 1]]
    lips = patch * _soft(_signed_distance(front, landmarks[48:60, :2]), 0.16)
    brows = np.maximum(_brow(front, landmarks[17:22, :2]), _brow(front, landmarks[26:21:-1, :2]))
    socket, gums = spans["mouth_socket"], spans["gums_tongue"]
    teeth, mouth = np.zeros(len(points)), np.zeros(len(points))
    teeth[spans["teeth"]] = 1
    mouth[socket], mouth[gums] = _soft(10.4 - z[socket], 0.6), np.clip(0.45 + (10.5 - z[gums]) / 12, 0, 1)
    jaw = np.interp(z, *JAW_EDGE.T)
    ear = (number < spans["face"].stop) & ~patch & (np.hypot(z, y - 0.8) < 3.4) & (abs(x) > 7.9)
    hairy = skin * ~ear * 1.0
    inside = _signed_distance(side, HAIRLINE)
    cheeks = _soft(np.interp(abs(x), *BEARD_TOP.T) - y, 0.9)
    return _eye_masks(points, spans) | {
        "lips": lips,
        "brows": patch * (z > 6) * brows,
        "teeth": teeth,
        "mouth": mouth,
        "neck": skin * _soft(jaw - y, 1.0),
        "scalp": hairy * _soft(inside, 1.2),
        "hair": hairy * _soft(inside - 1.0, 2.4),
        "beard": skin * cheeks * _soft(z - 2.9, 1.6) * _soft(y - jaw + 1.0, 1.5) * (1 - lips),
    }


def _soft(distance: np.ndarray, width: float) -> np.ndarray:
    """A smooth step from 0 to 1, `width` wide, where `distance` passes zero."""
    t = np.clip(distance / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _segments(points: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance ``[v]`` of 2D points to a polyline, and the place of the nearest point along it in [0, 1]."""
    start, step = line[:-1], np.diff(line, axis=0)
    t = np.clip(((points[:, None] - start) * step).sum(-1) / (step**2).sum(-1), 0, 1)
    distance = np.linalg.norm(points[:, None] - start - t[..., None] * step, axis=-1)
    nearest = distance.argmin(1)
    rows = np.arange(len(points))
    return distance[rows, nearest], (nearest + t[rows, nearest]) / len(step)


def _signed_distance(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Distance ``[v]`` of 2D points to a polygon, positive inside (even-odd rule)."""
    a, b = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[:, None, 0], points[:, None, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        crosses = ((a[:, 1] > y) != (b[:, 1] > y)) & (x < a[:, 0] + (y - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1]))
    distance, _ = _segments(points, np.concatenate([polygon, polygon[:1]]))
    return np.where(crosses.sum(1) % 2 == 1, distance, -distance)


def _brow(points: np.ndarray, line: np.ndarray) -> Mask:
    """A brow along five landmarks from the outer to the inner end, tapering outward."""
    distance, place = _segments(points, line + [0, 0.1])
    return _soft(0.18 + 0.24 * place - distance, 0.3)


def _eye_masks(points: Points, spans: dict[str, slice]) -> dict[str, Mask]:
    """Sclera, iris and pupil, painted on the outer shell of each eyeball around the cornea's axis."""
    masks = {name: np.zeros(len(points)) for name in ("sclera", "iris", "pupil")}
    for side in ("left", "right"):
        ball = slice(spans[f"eyeball_{side}"].start, spans[f"iris_{side}"].start)
        shell = points[ball].astype(np.float64)
        centre, ball_radius = _sphere(shell)
        ray = shell - centre
        bulge = np.linalg.norm(ray, axis=1) - ball_radius
        axis = (ray * np.maximum(bulge - 0.06, 0)[:, None]).sum(0)
        radius = np.linalg.norm(np.cross(ray, axis / np.linalg.norm(axis)), axis=1) + 9 * (ray @ axis < 0)
        masks["iris"][ball], masks["pupil"][ball] = _soft(0.58 - radius, 0.12), _soft(0.24 - radius, 0.08)
        masks["sclera"][ball] = 1 - masks["iris"][ball]
    return masks
