"""Graded triangles between the fixed lines of the sculpted head's skin, in the plane: fine at eyes, nose, mouth."""

import numpy as np
from jaxtyping import Bool, Int
from scipy.spatial import Delaunay, cKDTree
from skimage.measure import points_in_poly

from vrn_lite.faces.procedural.anatomy import CENTRE, FINE, OUTLINE, Values
from vrn_lite.faces.procedural.surface import Plane, to_directions

Numbers = Int[np.ndarray, "..."]
Mask = Bool[np.ndarray, "..."]


def spacing(plane: Plane) -> Values:
    """Wanted distance of neighbours in the plane."""
    d = to_directions(plane)
    anchors = FINE[:, :3] - CENTRE
    distance = 9.5 * np.linalg.norm(d[:, None] - anchors / np.linalg.norm(anchors, axis=1, keepdims=True), axis=-1)
    wanted = (FINE[:, 3] + 0.16 * np.maximum(distance - 1.0, 0)).min(1)
    wanted = np.minimum(wanted, 0.5 + 0.5 * np.clip(0.3 - d[:, 2], 0, 1))
    return wanted / 9.5 * (1 + (plane**2).sum(1) / 4)


def midline(start: float, stop: float) -> Plane:
    """Points between two ends on the line x = 0 of the plane, spaced by `spacing`."""
    y = np.linspace(start, stop, 2000)
    count = np.concatenate([[0], np.cumsum(np.diff(y) / spacing(np.stack([0 * y, y], 1))[1:])])
    y = np.interp(np.linspace(0, count[-1], max(round(count[-1]), 1) + 1), count, y)[1:-1]
    return np.stack([0 * y, y], 1)


def _in_any(plane: Plane, loops: list[Plane]) -> Mask:
    """Which points lie within one of the loops (half loops close along the midline)."""
    return np.any([points_in_poly(plane, loop) for loop in loops], axis=0)


def triangulate(points: Plane, holes: list[Plane]) -> Numbers:
    """Counter-clockwise triangles between the points, without those in the holes."""
    triangles = Delaunay(points).simplices
    a, b, c = points[triangles].transpose(1, 0, 2)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    triangles[area < 0] = triangles[area < 0][:, ::-1]
    return triangles[~_in_any(points[triangles].mean(1), holes) & (np.abs(area) > 1e-12)]


def _seeds(guard: cKDTree, holes: list[Plane]) -> Plane:
    """Points of the half plane, away from `guard`, denser where `spacing` is small: a Fibonacci sphere, thinned."""
    count, finest = 56000, 0.015
    i = np.arange(count) + 0.5
    height, turn = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    flat = np.sqrt(1 - height**2)
    plane = 2 * np.stack([flat * np.cos(turn), flat * np.sin(turn)], 1) / (1 + height[:, None])
    plane = plane[(np.hypot(*plane.T) < OUTLINE) & (plane[:, 0] > 0)]
    wanted = spacing(plane)
    keep = np.random.default_rng(0).random(len(plane)) < (finest * (1 + (plane**2).sum(1) / 4) / wanted) ** 2
    return plane[keep & ~_in_any(plane, holes) & (guard.query(plane)[0] > 0.7 * wanted)]


def fill(fixed: Plane, lines: list[Plane], holes: list[Plane]) -> Plane:
    """`fixed` and free points between them, pushed apart until evenly spaced; none comes close to `lines`."""
    # Free points keep away from the fixed ones, and from the middles of the lines' edges.
    guard = cKDTree(np.concatenate([fixed] + [(line[1:] + line[:-1]) / 2 for line in lines]))
    free = _seeds(guard, holes)
    for step in range(40):
        points = np.concatenate([fixed, free])
        # Neighbours, by a triangulation that is renewed now and then.
        if step % 4 == 0:
            triangles = triangulate(points, holes)
            bars = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)), axis=0)
        # Each edge that is shorter than 1.15 times the wanted distance pushes its two ends apart.
        along = points[bars[:, 0]] - points[bars[:, 1]]
        length = np.linalg.norm(along, axis=1)
        push = (0.2 * np.maximum(1.15 * spacing(points[bars].mean(1)) / length - 1, 0))[:, None] * along
        move = np.zeros_like(points)
        np.add.at(move, bars[:, 0], push)
        np.add.at(move, bars[:, 1], -push)
        # Only free points move, never close to the midline; one that would come too close to a line stays.
        moved = free + move[len(fixed) :]
        wanted = spacing(moved)
        moved[:, 0] = np.maximum(moved[:, 0], 0.4 * wanted)
        crowded = (guard.query(moved)[0] < 0.5 * wanted) | _in_any(moved, holes)
        free = np.where(crowded[:, None], free, moved)
    return np.concatenate([fixed, free])
