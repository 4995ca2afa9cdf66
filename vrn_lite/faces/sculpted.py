"""The embedded face model: a head sculpted in code, with nothing to download.

A radius over the directions from the head's middle, interpolated through a table of anatomical points, gives the
head; lids are the eyeballs' own spheres pushed through it, lips are rings around the seam of the mouth.

::

        y up        rings around the eye openings and the mouth, graded triangles between them,
        |           all laid out in one plane (stereographic, middle of the face at the origin)
        +--- x right                 units: centimetres; y = 0 at the eyes, z = 0 at the ears
       /
      z to the viewer

The proportions are those of a textbook head (bizygomatic width 13.6, morphological height 11.8, outer canthi 8.9).
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.interpolate import CubicSpline, RBFInterpolator
from scipy.spatial import Delaunay, cKDTree
from skimage.measure import points_in_poly

from vrn_lite.faces.morphable import MorphableFace

Points = Float[np.ndarray, "*n 3"]
Plane = Float[np.ndarray, "*n 2"]

CENTRE = np.array([0.0, -2.0, 1.0])
"""All of the head but eyes, ears and neck is seen from here along rays that meet it once."""

# Points (x, y, z) of the right half that the head's surface passes through.
SKULL = [(0, 11.3, -0.5), (0, 10.9, 2.5), (0, 9.5, 5.8), (0, 6.5, -8.3), (0, 2, -9.3), (0, -2.5, -8.6), (0, 9.6, -5.2)]
SKULL += [(3.3, 10.6, 0), (3.0, 9.3, 4.6), (3.2, 9.3, -4.6), (5.3, 9.0, 0), (5.3, 8.0, 3.6), (6.6, 7.2, 0), (5.4, 8.0, -4.5)]
SKULL += [(7.2, 5.2, -0.5), (6.8, 5.2, -4), (4, 5.5, -7.6), (7.35, 3.0, -0.7), (7.0, 2.3, -4.5), (4.2, 2, -8.2), (7.05, 0.5, -1.2), (6.5, -1, -4.5), (4, -2.5, -7.6)]
FOREHEAD = [(0, 7.0, 8.4), (0, 5.0, 9.4), (0, 3.4, 9.8), (0, 1.9, 9.95), (3, 7.0, 7.6), (5.2, 6.4, 5.3), (2.5, 5.2, 9.0), (4.6, 5.0, 7.3), (6.2, 5.0, 4.4)]
FOREHEAD += [(2.6, 3.4, 9.4), (4.6, 3.3, 7.9), (5.8, 3.1, 5.9), (6.7, 3.2, 3.2), (6.3, 1.4, 4.4), (6.9, 1.2, 2.2), (7.1, 1.5, 0.3)]
BROW = [(1.2, 1.75, 9.75), (2.4, 1.95, 9.35), (3.6, 2.0, 8.65), (4.7, 1.75, 7.65), (5.4, 1.0, 6.7)]
SOCKET = [(0.8, 0.2, 8.9), (1.5, 0.45, 8.2), (3.0, 0.75, 8.0), (4.9, 0.1, 7.0), (5.6, -0.3, 6.0), (3.0, -1.0, 8.25), (1.85, -0.9, 8.35), (4.2, -0.9, 7.8)]
CHEEK = [(3.0, -2.2, 8.6), (4.4, -2.1, 8.0), (5.3, -2.1, 6.9), (6.1, -1.7, 5.3), (6.7, -1.5, 3.2), (6.9, -1.8, 0.8), (3.6, -4.2, 8.5), (5.0, -4.4, 6.8), (5.9, -4.4, 4.2)]
CHEEK += [(6.4, -4.6, 1.2), (3.7, -6.8, 8.0), (4.6, -7, 6.2), (5.2, -7, 4), (5.7, -6.8, 1.6), (2.4, -5.2, 9.2), (6.75, -1.2, -1.0), (6.0, -5, -1.0)]
NOSE = [(0, 0.35, 9.5), (0, -0.3, 9.6), (0, -1.2, 10.1), (0, -2.4, 10.8), (0, -3.3, 11.4), (0, -3.85, 11.65), (0, -4.25, 11.5), (0, -4.6, 10.9), (0, -4.95, 10.25)]
NOSE += [(0.5, -1.2, 9.9), (1.0, -1.2, 9.2), (1.6, -1.4, 8.65), (0.55, -2.4, 10.55), (1.05, -2.5, 9.75), (1.75, -2.7, 8.95), (0.5, -3.75, 11.45), (0.8, -3.85, 11.0)]
NOSE += [(0.95, -3.4, 10.55), (1.15, -3.8, 10.45), (1.45, -4.15, 10.35), (1.72, -4.3, 9.9), (2.0, -4.3, 9.15), (1.45, -4.72, 10.0), (1.05, -4.7, 10.4), (0.5, -4.6, 10.9)]
NOSE += [(0.9, -5.1, 10.0), (1.7, -5.1, 9.5), (2.3, -3.6, 8.9)]
MOUTH = [(0, -5.7, 10.25), (0, -6.35, 10.5), (0.8, -5.8, 10.2), (1.3, -6.5, 10.1), (2.65, -7.05, 9.15), (0, -7.05, 10.3), (1.3, -7.0, 9.95), (0, -7.95, 10.2), (1.4, -7.75, 9.9)]
CHIN = [(0, -8.6, 9.8), (1.3, -8.6, 9.6), (0, -10.1, 10.1), (0, -11.2, 9.7), (0, -11.75, 8.8), (1.5, -10.2, 9.6), (2.9, -8.8, 8.4), (2.6, -10.3, 8.1), (3.9, -9.0, 6.4)]
JAW = [(1.6, -11.4, 8.4), (2.9, -10.85, 6.9), (3.8, -10.1, 5.2), (4.55, -9.2, 3.5), (5.0, -8.3, 2.0), (5.6, -6.6, 0.0)]
NECK = [(0, -11.9, 7.0), (0, -12.3, 4.9), (0, -14.0, 3.7), (0, -16.0, 3.2), (2.2, -11.7, 5.6), (3.4, -11.4, 3.6), (3.2, -14, 2.6), (3.2, -16, 2.2), (4.7, -10.2, 0.8)]
NECK += [(5.3, -9.5, -1.8), (5.3, -13, -1.8), (5.4, -16, -1.8), (5.0, -5.5, -4.2), (4.6, -10, -5.2), (4.6, -15, -5.4), (0, -7, -7.6), (0, -11, -7.3), (0, -16, -7.4)]

CARVE = {  # Gaussian dents and bumps: centre (x, y, z), widths across and along, height
    "nostril": (0.62, -4.72, 10.6, 0.24, 0.14, -0.22),
    "philtrum": (0.0, -5.75, 10.3, 0.2, 0.5, -0.07),
    "philtral column": (0.42, -5.8, 10.3, 0.16, 0.4, 0.05),
    "mouth corner": (2.8, -7.1, 9.1, 0.35, 0.35, -0.1),
}

EYE, EYE_RADIUS, LID = np.array([2.98, 0.03, 6.92]), 1.55, 0.14
FISSURE = [(1.65, -0.12), (4.45, 0.06)]
"""Inner and outer corner of the eye on the right."""

LIP_SEAM = [(0, -7.08), (0.45, -7.03), (1.1, -6.98), (1.8, -7.03), (2.4, -7.1)]
LIP_UPPER = [(0, -6.4), (0.45, -6.22), (1.1, -6.45), (1.8, -6.78), (2.62, -7.1)]
LIP_LOWER = [(0, -7.95), (0.5, -7.93), (1.2, -7.78), (1.95, -7.45), (2.62, -7.1)]
RIM = [(0, 7.3, 8.2), (2.5, 7.0, 7.7), (4.6, 6.0, 6.3), (6.2, 4.2, 4.4), (6.8, 2.0, 2.4), (7.0, -0.3, 1.2), (6.8, -2.5, 1.0), (6.45, -4.7, 1.0), (5.85, -6.9, 1.2)]
RIM += [(5.1, -8.8, 2.1), (4.3, -10.0, 3.8), (3.2, -11.0, 5.7), (1.7, -11.65, 7.3), (0, -11.9, 7.9)]
COLLAR = [(0, -16.0, 3.2), (1.8, -16, 2.9), (3.6, -16, 1.9), (4.9, -16, 0.2), (5.4, -16, -1.9), (5.0, -16, -4.6), (3.2, -16, -6.6), (0, -16, -7.4)]

HAIRLINE = [(0, 6.7, 8.6), (2.5, 6.5, 8.0), (4.4, 5.6, 7.0), (5.4, 3.9, 6.4), (5.9, 2.4, 5.6), (6.7, 1.3, 3.4), (6.8, -0.6, 2.3), (7.0, -2.2, 1.6), (7.1, -2.2, 0.6)]
HAIRLINE += [(7.2, 0.6, 0.0), (7.0, 0.6, -1.8), (6.4, -3.0, -2.6), (5.2, -6.0, -4.3), (3.0, -7.6, -6.6), (0, -7.9, -7.5)]
BEARD = [(0, -5.2, 10.2), (1.5, -5.35, 9.7), (2.6, -5.9, 9.0), (3.3, -7.0, 8.4), (4.4, -7.2, 7.0), (5.6, -5.8, 4.6), (6.4, -3.0, 2.6), (7.0, -2.0, 1.0), (5.9, -6.5, 0.6)]
BEARD += [(4.6, -9.8, 2.0), (3.0, -11.6, 4.6), (0, -12.2, 5.2)]

JAW_LINE = [(0, -11.65, 8.9), (1.6, -11.3, 8.4), (2.9, -10.7, 6.9), (4.0, -9.8, 5.0), (4.9, -8.4, 3.0), (5.65, -6.6, 2.1), (6.3, -4.7, 1.8), (6.7, -2.7, 1.7), (6.9, -0.6, 1.8)]
BROW_LINE = [(1.0, 1.75, 9.7), (1.9, 2.1, 9.5), (2.9, 2.3, 9.0), (3.9, 2.25, 8.3), (4.85, 1.75, 7.4)]
NOSE_LINE = [(0, 0.1, 9.5), (0, -1.2, 10.1), (0, -2.5, 10.85), (0, -3.8, 11.65), (0, -4.95, 10.25), (0.7, -4.98, 10.15), (1.4, -4.85, 9.8)]


def to_plane(points: Points) -> Plane:
    """Stereographic coordinates of the directions from `CENTRE` to the points: angles are kept."""
    d = points - CENTRE
    d = d / np.linalg.norm(d, axis=-1, keepdims=True)
    return 2 * d[..., :2] / (1 + d[..., 2:])


def to_directions(plane: Plane) -> Points:
    """Unit vectors of plane points, the inverse of `to_plane`."""
    square = (plane**2).sum(-1, keepdims=True)
    return np.concatenate([4 * plane, 4 - square], -1) / (4 + square)


def _curve(points, steps) -> np.ndarray:
    """Points on a smooth curve through `points`, at shares `steps` of its length (or at so many equal steps)."""
    points = np.asarray(points, float)
    steps = np.linspace(0, 1, steps) if isinstance(steps, int) else steps
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    fine = CubicSpline(chord, points)(np.linspace(0, chord[-1], 400))
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    return np.stack([np.interp(steps * length[-1], length, column) for column in fine.T], 1)


@lru_cache(maxsize=1)
def _skull() -> RBFInterpolator:
    table = np.array(sum((SKULL, FOREHEAD, BROW, SOCKET, CHEEK, NOSE, MOUTH, CHIN, JAW, NECK), []), float)
    d = np.concatenate([table, table[table[:, 0] > 0] * (-1, 1, 1)]) - CENTRE
    r = np.linalg.norm(d, axis=1)
    return RBFInterpolator(d / r[:, None], r, kernel="cubic", smoothing=2e-4)


def _ball(d: Points, radius) -> np.ndarray:
    """Distance along rays `d` from `CENTRE` to the front of the right eye's sphere; falls off steeply beyond its outline."""
    along = d @ (EYE - CENTRE)
    inside = along**2 - ((EYE - CENTRE) ** 2).sum() + radius**2
    return along + np.sign(inside) * np.sqrt(np.abs(inside))


def surface(plane: Plane) -> Points:
    """Skin of the right half of the head over plane points: the table's radius, the carvings, the lids."""
    d = to_directions(plane)
    r = _skull()(d)
    for x, y, z, across, along, height in CARVE.values():
        off = d * np.linalg.norm(CENTRE - (x, y, z)) + CENTRE - (x, y, z)
        r = r + height * np.exp(-0.5 * ((off[:, 0] / across) ** 2 + (off[:, 1] / along) ** 2)) * (d[:, 2] > 0)
    lid = _ball(d, EYE_RADIUS + LID)
    return CENTRE + np.where(d[:, 2] > 0, 0.5 * (r + lid + np.hypot(r - lid, 0.1)), r)[:, None] * d


def _frontal(xy) -> Plane:
    """Plane coordinates of the points of the skin that are seen at (x, y) from the front."""
    points = np.concatenate([xy, np.full((len(xy), 1), 9.0)], 1)
    for _ in range(5):
        points[:, 2] = surface(to_plane(points))[:, 2]
    return to_plane(points)


# --- rings around the mouth and the eye -------------------------------------------------------------------------

def _eye_curves(x):
    """Height of the upper and the lower lid's edge at x."""
    (x0, y0), (x1, y1) = FISSURE
    u = np.clip(2 * (x - x0) / (x1 - x0) - 1, -1, 1)
    line = y0 + (y1 - y0) * (u + 1) / 2
    return line + 0.54 * (1 - u**2) ** 0.75 * (1 - 0.15 * u), line - 0.42 * (1 - u**2) ** 0.8 * (1 + 0.2 * u)


def _on_ball(xy, radius) -> Points:
    """Points of the eye's sphere enlarged to `radius`, seen at (x, y) from the front."""
    square = radius**2 - ((xy - EYE[:2]) ** 2).sum(1, keepdims=True)
    return np.concatenate([xy, EYE[2] + np.sqrt(np.maximum(square, 0.01))], 1)


def _lid_rings(count: int = 36):
    """Rings ``[4, count, 3]`` from the inner edge of the lids outward, counter-clockwise from the outer corner."""
    t = 2 * np.pi * np.arange(count) / count
    x = (FISSURE[0][0] + FISSURE[1][0]) / 2 + (FISSURE[1][0] - FISSURE[0][0]) / 2 * np.cos(t)
    upper, lower = _eye_curves(x)
    edge = np.stack([x, np.where(t <= np.pi + 1e-9, upper, lower)], 1)
    tangent = np.roll(edge, -1, 0) - np.roll(edge, 1, 0)
    out = np.stack([tangent[:, 1], -tangent[:, 0]], 1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    skin = [surface(to_plane(_on_ball(edge + out * w, EYE_RADIUS + LID))) for w in (0.1, 0.28)]
    return np.stack([_on_ball(edge, EYE_RADIUS + 0.03), _on_ball(edge + 0.03 * out, EYE_RADIUS + LID), *skin])


LIP_STEPS = (-2, -1, 0, 0.3, 0.65, 1, 1.3)
"""Rings of the lips: behind the lips, between them, the seam, up to the red's border (1) and just outside."""


LIP_COUNT = 15
"""Columns of a ring of the lips from the midline to the corner, both included."""


def _lip_sides() -> np.ndarray:
    """1 for columns of the upper lip, -1 of the lower lip, 0 at the corner."""
    return np.r_[np.ones(LIP_COUNT - 1), 0, -np.ones(LIP_COUNT - 1)]


def _lip_rings(count: int = LIP_COUNT):
    """Rings ``[7, 2 count - 1, 3]`` of the right half: upper lip from the midline to the corner, then lower lip back."""
    steps = np.sin(np.linspace(0, np.pi / 2, count)) * 0.6 + np.linspace(0, 1, count) * 0.4
    seam, upper, lower = (_curve(rows, steps) for rows in (LIP_SEAM, LIP_UPPER, LIP_LOWER))
    seam, border = np.concatenate([seam, seam[-2::-1]]), np.concatenate([upper, lower[-2::-1]])
    side = _lip_sides()
    gap = border - seam
    full = np.linalg.norm(gap, axis=1) / np.linalg.norm(gap, axis=1).max()
    rings = []
    for f in LIP_STEPS:
        xy = seam + gap * max(f, 0) if f <= 1 else border + 0.16 * gap / np.linalg.norm(gap, axis=1, keepdims=True)
        ring = surface(_frontal(xy))
        ring[:, 1] += side * (0.004 if f <= 0 else 0) + side * max(-f - 1, 0) * 0.1
        bulge = np.where(side < 0, 0.34, 0.22) * np.sin(np.pi * np.clip(f, 0, 1) ** 0.8) - 0.22 * max(1 - max(f, 0), 0) ** 3
        ring[:, 2] += full**0.6 * bulge * (f <= 1) + min(f, 0) * 0.38
        rings.append(ring)
    return np.stack(rings)


# --- the plane filled with triangles ----------------------------------------------------------------------------

FINE = [(0, -4.2, 11, 0.2), (1.0, -4.2, 10.4, 0.2), (1.7, -4.2, 9.6, 0.22), (0, -2.5, 10.9, 0.26), (1, -2.5, 9.8, 0.28), (3, 0, 8.4, 0.18), (1.9, 0.3, 8, 0.2), (4.4, 0, 7.5, 0.2)]
FINE += [(1.0, 1.8, 9.7, 0.24), (2.2, 2.1, 9.3, 0.24), (3.4, 2.2, 8.6, 0.24), (4.6, 1.9, 7.7, 0.24), (0, -7, 10.2, 0.2), (1.3, -7, 10, 0.2), (2.6, -7, 9.2, 0.2)]
"""Where the mesh is fine: (x, y, z) and the spacing there."""


def _spacing(plane: Plane) -> np.ndarray:
    """Wanted distance of neighbours in the plane."""
    d, fine = to_directions(plane), np.array(FINE)
    anchors = fine[:, :3] - CENTRE
    distance = 9.5 * np.linalg.norm(d[:, None] - anchors / np.linalg.norm(anchors, axis=1, keepdims=True), axis=-1)
    wanted = (fine[:, 3] + 0.16 * np.maximum(distance - 0.6, 0)).min(1)
    wanted = np.minimum(wanted, 0.5 + 0.5 * np.clip(0.3 - d[:, 2], 0, 1))
    return wanted / 9.5 * (1 + (plane**2).sum(1) / 4)


def _midline(start: float, stop: float) -> Plane:
    """Points on the line x = 0 of the plane, spaced by `_spacing`; both ends included."""
    y = np.linspace(start, stop, 2000)
    count = np.concatenate([[0], np.cumsum(np.abs(np.diff(y)) / _spacing(np.stack([0 * y, y], 1))[1:])])
    y = np.interp(np.linspace(0, count[-1], max(round(count[-1]), 1) + 1), count, y)
    return np.stack([0 * y, y], 1)


def _scatter(fixed: Plane, outline: float, holes: list[Plane], lines: list[Plane]) -> Plane:
    """Free points for the right half plane, denser where `_spacing` is small; even after a few steps of pushing apart."""
    count, finest = 56000, 0.015
    i = np.arange(count) + 0.5
    z, turn = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    flat = np.sqrt(1 - z**2)
    d = np.stack([flat * np.cos(turn), flat * np.sin(turn), z], 1)
    plane = 2 * d[:, :2] / (1 + d[:, 2:])
    plane = plane[(np.hypot(*plane.T) < outline) & (plane[:, 0] > 0)]
    wanted = _spacing(plane)
    chance = (finest * (1 + (plane**2).sum(1) / 4) / wanted) ** 2
    keep = np.random.default_rng(0).random(len(plane)) < chance
    keep &= ~np.any([points_in_poly(plane, hole) for hole in holes], axis=0)
    free = plane[keep]
    guard = cKDTree(np.concatenate([fixed] + [(line[1:] + line[:-1]) / 2 for line in lines]))
    free = free[guard.query(free)[0] > 0.7 * _spacing(free)]
    for step in range(40):
        points = np.concatenate([fixed, free])
        if step % 4 == 0:
            triangles = _delaunay(points, holes)
            bars = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)), axis=0)
        along = points[bars[:, 0]] - points[bars[:, 1]]
        length = np.linalg.norm(along, axis=1, keepdims=True)
        wanted = 1.15 * _spacing(points[bars].mean(1))[:, None]
        push = 0.2 * np.maximum(wanted - length, 0) * along / length
        move = np.zeros_like(points)
        np.add.at(move, bars[:, 0], push)
        np.add.at(move, bars[:, 1], -push)
        moved = free + move[len(fixed) :]
        moved[:, 0] = np.maximum(moved[:, 0], 0.4 * _spacing(moved))
        crowded = (guard.query(moved)[0] < 0.5 * _spacing(moved)) | np.any([points_in_poly(moved, hole) for hole in holes], axis=0)
        free = np.where(crowded[:, None], free, moved)
    return free


def _delaunay(points: Plane, holes: list[Plane]) -> np.ndarray:
    triangles = Delaunay(points).simplices
    a, b, c = points[triangles].transpose(1, 0, 2)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    triangles[area < 0] = triangles[area < 0][:, ::-1]
    middle = points[triangles].mean(1)
    outside = np.any([points_in_poly(middle, hole) for hole in holes], axis=0)
    return triangles[~outside & (np.abs(area) > 1e-12)]


# --- the parts of the right half ----------------------------------------------------------------------------------

OUTLINE = 10.0
"""Radius of the plane's disc; the back of the skull beyond it is one cap."""


def _quads(index: np.ndarray) -> np.ndarray:
    """Triangles of a grid of vertex numbers ``[rows, columns]``: outward when rows lead inward and columns counter-clockwise."""
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, 1:].ravel(), index[1:, :-1].ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


class _Half:
    """Vertices and triangles of the right half, gathered part by part."""

    def __init__(self) -> None:
        self.vertices, self.triangles, self.part, self.parts = [], [], [], {}
        self.count = 0

    def add(self, name: str, points: Points) -> np.ndarray:
        """Append vertices of a part and return their numbers in the shape of the points."""
        index = np.arange(self.count, self.count + points[..., 0].size).reshape(points.shape[:-1])
        self.vertices.append(points.reshape(-1, 3))
        self.parts[name] = index
        self.count += index.size
        return index

    def join(self, triangles: np.ndarray, part: int) -> None:
        """Append triangles; part 0 is the face patch."""
        self.triangles.append(triangles)
        self.part.append(np.full(len(triangles), part))


def _sheet(half: _Half, lips: Points, lids: Points) -> dict[str, np.ndarray]:
    """Skin between the rings, over the skull and down to the collar; returns the numbers of its named points."""
    plane = {"mouth": to_plane(lips[-1]), "eye": to_plane(lids[-1]), "rim": to_plane(_curve(RIM, 56)), "collar": to_plane(_curve(COLLAR, 19))}
    angle = np.linspace(np.pi / 2, -np.pi / 2, 13)
    plane["outline"] = OUTLINE * np.stack([np.cos(angle), np.sin(angle)], 1)
    plane |= {"nose": to_plane(np.array(NOSE_LINE, float)), "jaw": to_plane(np.array(JAW_LINE, float))}
    brow = _curve(BROW_LINE, 21)
    for name, rise in (("brow", 0), ("over brow", 0.17), ("above brow", 0.38), ("under brow", -0.17), ("below brow", -0.38)):
        plane[name] = to_plane(brow + (0, rise, 0))
    for loop in plane.values():
        loop[np.abs(loop[:, 0]) < 1e-9, 0] = 0
    on_line = np.sort(np.concatenate([loop[loop[:, 0] == 0, 1] for loop in plane.values()]))
    stops = [(a, b) for a, b in zip(on_line, on_line[1:]) if (a, b) not in ((plane["mouth"][-1, 1], plane["mouth"][0, 1]), (plane["collar"][-1, 1], plane["collar"][0, 1]))]
    plane["midline"] = np.concatenate([_midline(a, b)[1:-1] for a, b in stops])
    fixed = np.concatenate(list(plane.values()))
    holes = [plane["mouth"], plane["eye"], plane["collar"]]
    points = np.concatenate([fixed, _scatter(fixed, OUTLINE, holes, [plane["rim"], plane["collar"], plane["eye"][np.r_[:36, 0]], plane["mouth"]])])
    half.add("sheet", surface(points))
    half.plane = points
    ends = np.cumsum([len(loop) for loop in plane.values()])
    numbers = {name: np.arange(end - len(loop), end) for (name, loop), end in zip(plane.items(), ends)}
    triangles = _delaunay(points, holes)
    patch = points_in_poly(points[triangles].mean(1), plane["rim"])
    half.join(triangles[patch], 0)
    half.join(triangles[~patch], 1)
    return numbers


def _eyeball(count: int = 24) -> Points:
    """Rings ``[rings, count, 3]`` of the right eye's front, from the pupil's middle outward."""
    polar = np.radians([0.01, 4, 7.2, 8.2, 12, 17, 21, 23, 26, 34, 45, 60, 78])[:, None]
    turn = 2 * np.pi * np.arange(count) / count
    return EYE + EYE_RADIUS * np.stack([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn], -1)


EAR_AXES = np.array([[0.30, 0.12, -0.95], [0.10, 0.98, -0.2], [0.95, -0.02, 0.30]])
"""Directions of the right ear: backward, up, outward."""


def _ear(count: int = 24) -> Points:
    """Rings ``[rings, count, 3]`` of the right ear: from the middle of the shell over the helix and back to the head."""
    rho = np.array([0.02, 0.2, 0.35, 0.5, 0.62, 0.74, 0.84, 0.92, 1.0, 0.95, 0.6])[:, None]
    back = np.array([0, 0, 0, 0, 0, 0, 0, 0, -0.1, -0.35, -1.1])[:, None]
    t = 2 * np.pi * np.arange(count) / count
    u, w = 1.7 * rho * np.cos(t) * (1 + 0.25 * np.sin(t)), 3.1 * rho * np.sin(t)
    behind = _smooth((np.cos(t - 0.7) + 0.55) / 1.1)
    height = 0.32 * np.exp(-(((rho - 0.93) / 0.1) ** 2)) * behind + 0.22 * np.exp(-(((rho - 0.6) / 0.13) ** 2)) * behind
    height = height - 0.5 * np.exp(-((u + 0.3) ** 2 + (w + 0.45) ** 2) / 0.5) + 0.25 * np.exp(-((u + 1.1) ** 2 + (w + 0.5) ** 2) / 0.12)
    shape = np.stack([u, w, np.where(back < 0, back, height)], -1)
    return np.array([7.4, -1.5, -1.0]) + shape @ EAR_AXES


TEETH = np.cumsum([0, 0.44, 0.34, 0.4, 0.36, 0.36, 0.5, 0.5]) / 1.0


def _teeth(top: float, edge: float, front: float) -> Points:
    """Half a dental arch ``[4, columns, 3]``: gum, bulge, edge, and back of the edge; narrow at the gaps between teeth."""
    t = np.concatenate([np.linspace(a, b, 4)[:-1] for a, b in zip(TEETH, TEETH[1:])] + [TEETH[-1:]])
    turn = t / TEETH[-1] * 1.35
    groove = np.isin(np.round(t, 6), np.round(TEETH[1:], 6)).astype(float)
    rows = []
    for height, out in ((top, -0.1), (edge + 0.3 * (top - edge), 0.04), (edge, -0.02), (edge, -0.4)):
        size = 1 + (out - 0.12 * groove) / 3.2
        y = height + 0.12 * (edge - top) / abs(edge - top) * -groove * (height == edge)
        rows.append(np.stack([2.7 * size * np.sin(turn), y + 0 * turn, front - 3.4 + 3.4 * size * np.cos(turn)], 1))
    return np.stack(rows)


def _cavity(inner: Points) -> Points:
    """Two rings ``[2, columns, 3]`` of the dark pocket behind the lips, and with them its shape."""
    side = _lip_sides() * np.sqrt(np.maximum(1 - (inner[:, 0] / 2.5) ** 2, 0.05))
    front = np.stack([inner[:, 0] * 1.15, -7.1 + 1.3 * side, inner[:, 2] - 0.1], 1)
    back = np.stack([inner[:, 0] * 1.1, -7.1 + 1.4 * side, 5.5 + 0 * side], 1)
    return np.stack([front, back])


def _half() -> tuple[_Half, dict[str, np.ndarray]]:
    half, lips, lids = _Half(), _lip_rings(), _lid_rings()
    at = _sheet(half, lips, lids)
    lid = np.concatenate([half.add("lids", lids[:-1]), at["eye"][None]])
    half.join(_quads(np.concatenate([lid, lid[:, :1]], 1)[::-1]), 0)
    lip = np.concatenate([half.add("lips", lips[:-1]), at["mouth"][None]])
    half.join(_quads(lip), 0)
    pocket = half.add("cavity", _cavity(lips[0]))
    half.join(_quads(np.concatenate([lip[:1], pocket])[::-1]), 2)
    throat = half.add("throat", np.array([[0, -7.1, 5.0]]))
    half.join(np.stack([pocket[-1, :-1], pocket[-1, 1:], throat.repeat(pocket.shape[1] - 1)], 1), 2)
    back = half.add("back", np.array([[0, 0.2, -9.1]]))
    half.join(np.stack([at["outline"][:-1], at["outline"][1:], back.repeat(12)], 1), 1)
    collar = _curve(COLLAR, 19)
    drop = np.linspace(0, 1, 4)[1:, None, None]
    neck = half.add("neck", collar + drop * (collar * (0.06, 0, 0.04) + (0, -3.0, -0.5)))
    neck = np.concatenate([at["collar"][None], neck])
    half.join(_quads(neck), 3)
    ball = half.add("eyeball", _eyeball())
    half.join(_quads(np.concatenate([ball, ball[:, :1]], 1))[:, ::-1], 4)
    ear = half.add("ear", _ear())
    half.join(_quads(np.concatenate([ear, ear[:, :1]], 1)), 6)
    for name, rows in (("upper teeth", _teeth(-5.9, -7.2, 9.5)), ("lower teeth", _teeth(-8.4, -7.1, 9.3))):
        half.join(_quads(half.add(name, rows))[:, ::(-1 if name[0] == "u" else 1)], 5)
    return half, at | {"lips": lip, "lids": lid, "eyeball": ball}


def _whole():
    """Both halves: vertices, triangles, part of each triangle, number of each vertex's mirror image."""
    half, at = _half()
    right = np.concatenate(half.vertices)
    right[np.abs(right[:, 0]) < 1e-9, 0] = 0
    middle = right[:, 0] == 0
    mirror = np.where(middle, np.arange(len(right)), len(right) + np.cumsum(~middle) - 1)
    vertices = np.concatenate([right, right[~middle] * (-1, 1, 1)])
    triangles, part = np.concatenate(half.triangles), np.concatenate(half.part)
    triangles = np.concatenate([triangles, mirror[triangles][:, ::-1]])
    flip = np.concatenate([mirror, np.flatnonzero(~middle)])
    return vertices, triangles, np.concatenate([part, part]), flip, half, at


# --- identity modes and expressions -------------------------------------------------------------------------------

ALL = 99.0
IDENTITY = {  # name: rows of centre (x, y, z), reach, shift of the centre, relative stretch around it; one standard deviation, in cm
    "face width": [(0, 0, 0, ALL, (0, 0, 0), (0.028, 0, 0))],
    "face height": [(0, -1, 8, ALL, (0, 0, 0), (0, 0.03, 0))],
    "face depth": [(0, 0, 4, ALL, (0, 0, 0), (0, 0, 0.022))],
    "jaw width": [(5.2, -8.3, 3, 2.8, (0.32, 0, 0), (0, 0, 0))],
    "jaw angle": [(5.2, -8.3, 3, 2.4, (0, 0.35, 0), (0, 0, 0))],
    "chin forward": [(0, -10.6, 9.5, 2.2, (0, 0, 0.32), (0, 0, 0))],
    "chin height": [(0, -11.2, 8.8, 2.4, (0, -0.32, 0), (0, 0, 0))],
    "chin width": [(1.8, -10.8, 8.8, 1.6, (0.28, 0, 0), (0, 0, 0))],
    "nose length": [(0, -4.4, 10.8, 1.3, (0, -0.22, 0), (0, 0, 0))],
    "nose width": [(1.5, -4.3, 9.7, 0.9, (0.16, 0, 0), (0, 0, 0))],
    "nose bridge height": [(0, -1.4, 10.2, 1.2, (0, 0, 0.2), (0, 0, 0))],
    "nose bridge hump": [(0, -2.1, 10.7, 0.7, (0, 0, 0.12), (0, 0, 0))],
    "nose bridge width": [(0.8, -1.8, 9.6, 0.8, (0.1, 0, 0), (0, 0, 0))],
    "nose tip forward": [(0, -3.9, 11.6, 1.0, (0, 0, 0.24), (0, 0, 0))],
    "nose tip up": [(0, -3.9, 11.6, 0.9, (0, 0.2, 0), (0, 0, 0))],
    "nostril flare": [(1.6, -4.3, 9.7, 0.55, (0.1, 0.1, 0), (0, 0, 0))],
    "eye distance": [(2.98, 0, 8.2, 1.8, (0.12, 0, 0), (0, 0, 0))],
    "eye depth": [(2.98, 0, 8.2, 1.6, (0, 0, 0.14), (0, 0, 0))],
    "eye height": [(2.98, 0, 8.2, 1.8, (0, 0.12, 0), (0, 0, 0))],
    "brow ridge": [(2.2, 1.9, 9.4, 1.2, (0, 0, 0.16), (0, 0, 0))],
    "brow height": [(2.9, 2.2, 9, 1.0, (0, 0.16, 0), (0, 0, 0))],
    "brow slant": [(4.4, 2.0, 7.9, 0.9, (0, 0.14, 0), (0, 0, 0))],
    "cheekbones": [(5.3, -2.0, 6.8, 1.7, (0.16, 0, 0.14), (0, 0, 0))],
    "cheek fullness": [(4.3, -5.2, 7.5, 2.0, (0.22, 0, 0.18), (0, 0, 0))],
    "lip thickness": [(0, -7.05, 10.2, 1.5, (0, 0, 0.05), (0, 0.2, 0))],
    "lip protrusion": [(0, -7.0, 10.3, 1.5, (0, 0, 0.15), (0, 0, 0))],
    "mouth width": [(2.5, -7.1, 9.4, 1.2, (0.2, 0, -0.05), (0, 0, 0))],
    "mouth height": [(0, -7.1, 10, 2.2, (0, 0.16, 0), (0, 0, 0))],
    "mouth corners": [(2.5, -7.1, 9.4, 0.9, (0, 0.12, 0), (0, 0, 0))],
    "philtrum length": [(0, -5.0, 10.2, 0.9, (0, 0.12, 0), (0, 0, 0))],
    "forehead slope": [(0, 6.5, 8.5, 3.0, (0, 0, 0.3), (0, 0, 0))],
    "forehead height": [(0, 8.5, 6, 4.0, (0, 0.35, 0), (0, 0, 0))],
    "temples": [(6.2, 2.4, 4.5, 1.7, (0.2, 0, 0), (0, 0, 0))],
    "mouth aside": [(0, -7.1, 10, 2.0, (0.1, 0, 0), (0, 0, 0))],
    "nose aside": [(0, -3.6, 11, 1.4, (0.1, 0, 0), (0, 0, 0))],
    "jaw aside": [(0, -10.0, 8.5, 3.2, (0.16, 0, 0), (0, 0, 0))],
}

SOFT = {  # expression: rows of centre, reach, shift, lip that follows (both, upper, lower); the left of the person is x > 0
    "mouthSmile_L": [(2.5, -7.05, 9.3, 1.15, (0.5, 0.5, -0.35), "both"), (3.9, -4.2, 8.3, 1.4, (0.15, 0.25, 0.15), "both"), (1.2, -6.9, 10, 0.9, (0.12, 0.12, -0.12), "both")],
    "mouthFrown_L": [(2.5, -7.1, 9.3, 1.1, (0.1, -0.55, -0.1), "both"), (0.9, -8.4, 9.8, 0.9, (0, 0.12, 0.08), "both")],
    "mouthStretch_L": [(2.5, -7.1, 9.3, 1.2, (0.5, -0.25, -0.3), "both"), (3.2, -8.5, 8.5, 1.3, (0.2, -0.2, -0.05), "both")],
    "mouthPress_L": [(1.2, -6.6, 10.1, 0.8, (0.05, -0.16, -0.06), "upper"), (1.2, -7.5, 10, 0.8, (0.05, 0.16, -0.06), "lower")],
    "mouthUpperUp_L": [(1.0, -6.5, 10.2, 0.9, (0.05, 0.42, 0.08), "upper"), (1.9, -4.9, 9.3, 0.9, (0.05, 0.2, 0.1), "both")],
    "mouthLowerDown_L": [(1.0, -7.6, 10, 0.9, (0.05, -0.42, -0.05), "lower")],
    "mouthPucker": [(2.5, -7.1, 9.3, 1.15, (-0.9, 0, 0.4), "both"), (0, -7.05, 10.3, 1.1, (0, 0, 0.4), "both"), (0, -8.2, 10, 0.7, (0, 0.15, 0.1), "lower")],
    "mouthFunnel": [(2.5, -7.1, 9.3, 1.1, (-0.6, 0, 0.35), "both"), (0, -6.5, 10.3, 1.2, (0, 0.3, 0.4), "upper"), (0, -7.6, 10.2, 1.2, (0, -0.4, 0.4), "lower")],
    "mouthLeft": [(0.4, -7.1, 10, 2.0, (0.6, 0, -0.05), "both")],
    "browInnerUp_L": [(1.1, 1.8, 9.7, 1.0, (0, 0.45, 0.05), "both"), (1.2, 3.2, 9.7, 1.1, (0, 0.2, 0.04), "both")],
    "browOuterUp_L": [(3.9, 2.1, 8.4, 1.1, (0, 0.45, 0), "both"), (3.6, 3.4, 8.6, 1.1, (0, 0.15, 0), "both")],
    "browDown_L": [(1.7, 1.9, 9.5, 1.3, (-0.18, -0.38, 0.1), "both")],
    "cheekPuff_L": [(4.0, -6.3, 7.9, 1.6, (0.45, 0, 0.42), "both"), (1.2, -6.9, 10, 0.9, (0, 0, 0.12), "both")],
    "cheekSquint_L": [(3.7, -2.3, 8.3, 1.2, (0, 0.35, 0.18), "both")],
    "noseSneer_L": [(1.5, -3.9, 9.9, 0.8, (0.06, 0.32, 0.05), "both"), (0.6, -1.0, 9.8, 0.6, (0, 0.1, 0.1), "both"), (1.4, -6.2, 10.1, 0.8, (0, 0.22, 0.05), "upper")],
}

LIDS = {"eyeBlink_L": (-0.88, 0.1), "eyeWide_L": (0.28, -0.12), "eyeSquint_L": (-0.2, 0.35), "cheekSquint_L": (-0.05, 0.28), "eyeLookUp_L": (0.16, 0.03), "eyeLookDown_L": (-0.36, -0.1)}
"""Shift of the upper and of the lower lid, as shares of the opening."""

GAZE = {"eyeLookUp_L": (-20, 0), "eyeLookDown_L": (22, 0), "eyeLookIn_L": (0, -27), "eyeLookOut_L": (0, 27)}
"""Turn of the eyeball about x and about y, in degrees."""

JAW_MOVES = {"jawOpen": (15.0, (0, 0, 0)), "jawLeft": (0.0, (0.6, 0, 0)), "jawForward": (0.0, (0, 0.05, 0.5))}
"""Turn of the lower jaw about the axis through `JAW_AXIS`, in degrees, and its shift."""

JAW_AXIS = np.array([0, -2.6, 1.0])


def _smooth(x):
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _turn(points: Points, about_x: float, about_y: float) -> Points:
    """Points turned about the x axis, then about the y axis, by degrees."""
    a, b = np.radians([about_x, about_y])
    x, y, z = points.T
    y, z = np.cos(a) * y - np.sin(a) * z, np.sin(a) * y + np.cos(a) * z
    return np.stack([np.cos(b) * x + np.sin(b) * z, y, np.cos(b) * z - np.sin(b) * x], 1)


class _Fields:
    """Displacement fields over both halves."""

    def __init__(self) -> None:
        self.vertices, self.triangles, self.part, self.flip, self.half, self.at = _whole()
        v, parts, n = self.vertices, self.half.parts, self.half.count
        self.lip_side = np.zeros(len(v))
        self.lip_side[parts["lips"]] = self.lip_side[parts["cavity"]] = _lip_sides()
        self.lip_step = np.full(len(v), 2.0)
        self.lip_step[self.at["lips"]] = np.array(LIP_STEPS)[:, None]
        self.lip_step[parts["cavity"]] = -3
        self.kind = np.zeros(len(v), int)
        for k, name in enumerate(("eyeball", "upper teeth", "lower teeth", "cavity", "lids", "neck", "ear"), 1):
            self.kind[parts[name]] = k
        for values in (self.lip_side, self.lip_step, self.kind):
            values[n:] = values[:n][self.half_middle]
        eye = v * np.sign(v[:, :1] + 1e-12) * (1, 0, 0) + v * (0, 1, 1)
        distance = np.linalg.norm(eye - EYE, axis=1)
        self.eye = _smooth((2.9 - distance) / 1.1) * (v[:, 0] != 0)
        self.right = v[:, 0] > 0
        self.jaw = self._jaw_weight()

    @property
    def half_middle(self):
        return np.concatenate(self.half.vertices)[:, 0] > 1e-9

    def _jaw_weight(self) -> np.ndarray:
        """How far each vertex follows the lower jaw: 1 at the chin, 0 above the mouth, smooth over the cheeks."""
        x, y, z = np.abs(self.vertices[:, 0]), self.vertices[:, 1], self.vertices[:, 2]
        line = -7.08 + 1.1 * np.maximum(x - 2.6, 0) ** 1.05
        below = (line - y) / (1 + 0.35 * np.maximum(x - 2.6, 0))
        lip = -self.lip_side * 0.9 * np.sqrt(np.maximum(1 - (x / 2.62) ** 2, 0))
        below = np.where((self.lip_step <= 1) & (self.lip_step > -3), lip, np.where(self.lip_step == -3, -np.sign(self.lip_side), below))
        weight = _smooth((below + 0.6) / 1.5) * _smooth((z - 0.0) / 3.0)
        weight *= np.where(self.kind == 0, _smooth((y + 13.4) / 2.0), 1)
        weight[self.kind == 1] = weight[self.kind == 2] = weight[self.kind == 5] = weight[self.kind >= 6] = 0
        weight[self.kind == 3] = 1
        return weight

    def mirrored(self, field: Points) -> Points:
        """The field seen in a mirror."""
        return field[self.flip] * (-1, 1, 1)

    def bump(self, x, y, z, reach, shift, stretch=(0, 0, 0), both=True) -> Points:
        """A Gaussian of a shift and a stretch; rows off the midline work on both sides."""
        off = self.vertices - (x, y, z)
        field = np.exp(-0.5 * ((off / reach) ** 2).sum(1, keepdims=True)) * (np.array(shift) + np.array(stretch) * off)
        return field + self.mirrored(field) if both and x else field

    def identity(self, rows) -> Points:
        """One identity mode; an eyeball moves as one, with what lies close around it, and so do the teeth."""
        field = sum(self.bump(*row) for row in rows)
        for side in (self.right, ~self.right):
            ball = (self.kind == 1) & side
            weight = (self.eye * side)[:, None]
            field = field * (1 - weight) + weight * field[ball][:1]
        teeth = (self.kind == 2) | (self.kind == 3)
        field[teeth] = field[self.at["lips"][2, 0]]
        return field

    def soft(self, rows, both: bool) -> Points:
        """Rows of an expression in the skin; eyes and teeth stay."""
        follow = {"both": 1.0, "upper": 1 - self.jaw[:, None], "lower": self.jaw[:, None]}
        field = sum(self.bump(*row[:5], both=both) * follow[row[5]] for row in rows)
        near = _smooth((np.linalg.norm((np.abs(self.vertices[:, :2]) * (1, np.sign(self.vertices[:, 1:2])[:, 0].mean() * 0 + 1) - EYE[:2]) / (1.9, 1.0), axis=1) - 0.9) / 0.6)
        field *= np.where((self.vertices[:, 2] > 5) & (self.kind == 0), near, self.kind == 0)[:, None] if True else 1
        return field

    def lids(self, upper: float, lower: float) -> Points:
        """Lids of the right eye slid over the eyeball by shares of the opening."""
        n = self.half.count
        v, field = self.vertices[:n], np.zeros_like(self.vertices)
        top, bottom = _eye_curves(v[:, 0])
        gap = top - bottom
        shift = gap * (upper * _smooth(1 - (v[:, 1] - top) / 0.95) * (v[:, 1] > (top + bottom) / 2) + lower * _smooth(1 - (bottom - v[:, 1]) / 0.8) * (v[:, 1] <= (top + bottom) / 2))
        moved = v + shift[:, None] * (0, 1, 0)
        rings = self.half.parts["lids"]
        active = (np.abs(shift) > 1e-6) & (v[:, 2] > 5) & ((self.kind[:n] == 5) | (self.kind[:n] == 0)) & (self.lip_step[:n] == 2)
        active[rings[:2]] = False
        field[:n][active] = surface(to_plane(moved[active])) - v[active]
        for ring, radius in zip(rings[:2], (EYE_RADIUS + 0.03, EYE_RADIUS + LID)):
            field[ring] = _on_ball(moved[ring, :2], radius) - v[ring]
        return field

    def gaze(self, about_x: float, about_y: float) -> Points:
        """The right eyeball turned, in degrees."""
        ball = self.half.parts["eyeball"].ravel()
        field = np.zeros_like(self.vertices)
        field[ball] = EYE + _turn(self.vertices[ball] - EYE, about_x, about_y) - self.vertices[ball]
        return field

    def jaw_move(self, degrees: float, shift) -> Points:
        """The lower jaw turned and shifted."""
        return self.jaw[:, None] * (_turn(self.vertices - JAW_AXIS, degrees, 0) + JAW_AXIS + np.array(shift) - self.vertices)

    def expressions(self) -> dict[str, Points]:
        """All expressions by name, left ones followed by their mirrored right ones."""
        fields = {name: self.soft(rows, not name.endswith(("_L", "Left"))) for name, rows in SOFT.items()}
        for table, move in ((LIDS, self.lids), (GAZE, self.gaze), (JAW_MOVES, self.jaw_move)):
            for name, row in table.items():
                fields[name] = fields.get(name, 0) + move(*row)
        sided = {}
        for name, value in fields.items():
            sided[name] = value
            for left, right in (("_L", "_R"), ("Left", "Right")):
                if name.endswith(left):
                    sided[name[: -len(left)] + right] = self.mirrored(value)
        return sided

    def regions(self) -> dict[str, np.ndarray]:
        """Soft masks by name."""
        v, kind = np.abs(self.vertices) * (1, 0, 0) + self.vertices * (0, 1, 1), self.kind
        skin = kind == 0
        def within(outline, soft):
            loop = _curve(outline, 300)
            half = to_plane(loop)
            sign = np.where(points_in_poly(to_plane(v), np.concatenate([half, half[::-1] * (-1, 1)])), 1, -1)
            return _smooth(0.5 + 0.5 * sign * cKDTree(loop).query(v)[0] / soft)
        near, share = cKDTree(_curve(BROW_LINE, 200)).query(v)
        half_width = 0.36 - 0.2 * share / 200
        polar = np.degrees(np.arccos(np.clip((v - EYE)[:, 2] / EYE_RADIUS, -1, 1)))
        ball = kind == 1
        lip = np.interp(self.lip_step, (-2, 0.9, 1, 1.3), (1, 1, 0.5, 0)) * ((self.lip_step >= -2) & (self.lip_step <= 1.3))
        nostril = CARVE["nostril"]
        masks = {
            "lips": lip,
            "brows": _smooth(1.5 - near / half_width) * skin * (v[:, 2] > 5),
            "sclera": ball * 1.0,
            "iris": ball * (polar < 22),
            "pupil": ball * (polar < 7.7),
            "scalp": (1 - within(HAIRLINE, 0.7)) * (skin),
            "beard": within(BEARD, 0.8) * skin * (1 - lip) * (v[:, 1] < -1.5),
            "teeth": ((kind == 2) | (kind == 3)) * 1.0,
            "mouth": np.maximum((kind == 4) * 1.0, skin * (v[:, 2] > 9) * np.exp(-0.5 * (((v[:, :2] - nostril[:2]) / (0.24, 0.11)) ** 2).sum(1))),
            "neck": np.maximum((kind == 6) * 1.0, skin * _smooth((-v[:, 1] - 11.0 - 0.12 * (v[:, 2] - 1)) / 1.5)),
        }
        return masks


@lru_cache(maxsize=1)
def procedural() -> MorphableFace:
    """The embedded face model: built in code, the same on every machine.

    Returns
    -------
    MorphableFace : in centimetres.
    """
    fields = _Fields()
    expressions = fields.expressions()
    right = [fields.at["jaw"][::-1], fields.at["brow"], fields.at["nose"]]
    eye, outer, inner = fields.at["lids"][1], fields.at["lips"][5], fields.at["lips"][2]
    flip = fields.flip
    jaw, brow, nose = fields.at["jaw"], fields.at["brow"], fields.at["nose"]
    right_eye = eye[[18, 12, 6, 0, 30, 24]]  # inner corner, upper, upper, outer corner, lower, lower
    landmarks = np.concatenate([
        flip[jaw[:0:-1]], jaw, flip[brow[::-5]], brow[::5], nose[:4], flip[nose[:4:-1]], nose[4:],
        flip[right_eye[[3, 2, 1, 0, 5, 4]]], right_eye,
        flip[outer[[14, 8, 3]]], outer[[0, 3, 8, 14, 20, 25, 28]], flip[outer[[25, 20]]],
        flip[inner[[14, 6]]], inner[[0, 6, 14, 22, 28]], flip[inner[22]][None],
    ])
    tensor = lambda array: torch.tensor(np.ascontiguousarray(array), dtype=torch.float32)
    return MorphableFace(
        name="procedural",
        mean=tensor(fields.vertices),
        identity=tensor(np.stack([fields.identity(rows) for rows in IDENTITY.values()])),
        expression=tensor(np.stack(list(expressions.values()))),
        expression_names=tuple(expressions),
        triangles=torch.tensor(np.ascontiguousarray(fields.triangles)),
        landmarks=torch.tensor(landmarks),
        patch=torch.tensor(fields.part == 0),
        regions={name: tensor(mask) for name, mask in fields.regions().items()},
        often=("jawOpen", "mouthSmile"),
    )
