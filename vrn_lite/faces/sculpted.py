"""The embedded face model: a head sculpted in code, with nothing to download.

A radius over the directions from the head's middle, interpolated through a table of anatomical points, gives the
skin; the lids are the eyeballs' spheres pushed through it, the lips are rings around the seam of the mouth.

::

        y up        rings around the eyes and the mouth, graded triangles between them, laid out in one
        |           plane (stereographic, the middle of the face at the origin); the left half is a mirror image
        +--- x right
       /                        centimetres; y = 0 at the eyes, z = 0 at the ears
      z to the viewer

The proportions are those of an average adult: outer canthi 9.0, bizygomatic width 13.5, nasion to chin 11.6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.interpolate import CubicSpline, RBFInterpolator
from scipy.spatial import Delaunay, cKDTree
from skimage.measure import points_in_poly
from torch import Tensor

from vrn_lite.faces.anatomy import (
    BEARD,
    BROW_LINE,
    CARVING,
    CENTRE,
    COLLAR,
    EAR,
    EAR_AXES,
    EYE,
    EYE_RADIUS,
    FINE,
    FISSURE,
    GAZE,
    HAIRLINE,
    IDENTITY,
    JAW_AXIS,
    JAW_LINE,
    JAW_MOVES,
    LID,
    LID_COUNT,
    LIDS,
    LIP_LOWER,
    LIP_SEAM,
    LIP_SIDE,
    LIP_STEPS,
    LIP_UPPER,
    NOSE_LINE,
    OUTLINE,
    RIM,
    SKIN,
    SOFT,
    TOOTH_ENDS,
    Values,
    names,
    rows,
)
from vrn_lite.faces.morphable import MorphableFace

Points = Float[np.ndarray, "... 3"]
Plane = Float[np.ndarray, "... 2"]
Numbers = Int[np.ndarray, "..."]
Mask = Bool[np.ndarray, "..."]


# --- the skin as a surface over a plane -------------------------------------------------------------------------------


def to_plane(points: Points) -> Plane:
    """Stereographic coordinates of the directions from `CENTRE` to the points; small shapes keep their shape."""
    d = points - CENTRE
    d = d / np.linalg.norm(d, axis=-1, keepdims=True)
    return 2 * d[..., :2] / (1 + d[..., 2:])


def to_directions(plane: Plane) -> Points:
    """Unit vectors of plane points, the inverse of `to_plane`."""
    square = (plane**2).sum(-1, keepdims=True)
    return np.concatenate([4 * plane, 4 - square], -1) / (4 + square)


def surface(plane: Plane) -> Points:
    """The skin over plane points ``[n, 2]`` of the right half: the table's radius, the carvings, the lids."""
    d = to_directions(plane)
    r, front = _radius()(d), d[:, 2] > 0
    for *middle, across, along, height in rows(CARVING):
        off = d * np.linalg.norm(CENTRE - middle) + CENTRE - middle
        r = r + front * height * np.exp(-0.5 * ((off[:, 0] / across) ** 2 + (off[:, 1] / along) ** 2))
    lid = _eyeball_radius(d, EYE_RADIUS + LID)
    return CENTRE + np.where(front, 0.5 * (r + lid + np.hypot(r - lid, 0.24)), r)[:, None] * d  # a smooth maximum


@lru_cache(maxsize=1)
def _radius() -> RBFInterpolator:
    """Distance of the skin from `CENTRE`, over unit vectors."""
    d = np.concatenate([SKIN, SKIN[SKIN[:, 0] > 0] * (-1, 1, 1)]) - CENTRE
    r = np.linalg.norm(d, axis=1)
    return RBFInterpolator(d / r[:, None], r, kernel="cubic", smoothing=2e-4)


def _eyeball_radius(d: Points, radius: float) -> Values:
    """Distance along rays `d` from `CENTRE` to the front of a sphere about `EYE`; falls off steeply beyond its outline."""
    along = d @ (EYE - CENTRE)
    inside = along**2 - ((EYE - CENTRE) ** 2).sum() + radius**2
    return along + np.sign(inside) * np.sqrt(np.abs(inside))


def _frontal(xy: Plane) -> Points:
    """Points of the skin that are seen at (x, y) from the front."""
    z = np.full((len(xy), 1), 9.0)
    for _ in range(5):
        points = surface(to_plane(np.concatenate([xy, z], 1)))
        z = points[:, 2:]
    return points


def _on_eyeball(xy: Plane, radius: float) -> Points:
    """Points of a sphere about `EYE` that are seen at (x, y) from the front."""
    square = radius**2 - ((xy - EYE[:2]) ** 2).sum(1, keepdims=True)
    return np.concatenate([xy, EYE[2] + np.sqrt(np.maximum(square, 0.01))], 1)


def _curve(points: Values, steps: int | Values) -> Values:
    """Points on a smooth curve through `points`, at shares `steps` of its length (or at so many equal steps)."""
    steps = np.linspace(0, 1, steps) if isinstance(steps, int) else steps
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    level = np.eye(points.shape[1])[0]  # across the midline at right angles, so that the halves join smoothly
    ends = ((1, level) if points[0, 0] == 0 else "not-a-knot", (1, -level) if points[-1, 0] == 0 else "not-a-knot")
    fine = CubicSpline(chord, points, bc_type=ends)(np.linspace(0, chord[-1], 400))
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    return np.stack([np.interp(steps * length[-1], length, column) for column in fine.T], 1)


def _smooth(x: Values) -> Values:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


# --- rings around the eye and the mouth -------------------------------------------------------------------------------


def _lid_edges(x: Values) -> tuple[Values, Values]:
    """Height of the upper and of the lower lid's edge at x."""
    (x0, y0), (x1, y1) = FISSURE
    u = np.clip(2 * (x - x0) / (x1 - x0) - 1, -1, 1)
    line = y0 + (y1 - y0) * (u + 1) / 2
    return line + 0.54 * (1 - u**2) ** 0.75 * (1 - 0.15 * u), line - 0.42 * (1 - u**2) ** 0.8 * (1 + 0.2 * u)


def _lid_rings() -> Points:
    """Rings ``[4, LID_COUNT, 3]`` from the inner edge of the lids outward."""
    t = 2 * np.pi * np.arange(LID_COUNT) / LID_COUNT
    (x0, _), (x1, _) = FISSURE
    x = (x0 + x1) / 2 + (x1 - x0) / 2 * np.cos(t)
    edge = np.stack([x, np.where(t <= np.pi + 1e-9, *_lid_edges(x))], 1)
    along = np.roll(edge, -1, 0) - np.roll(edge, 1, 0)
    out = np.stack([along[:, 1], -along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    skin = [surface(to_plane(_on_eyeball(edge + out * width, EYE_RADIUS + LID))) for width in (0.1, 0.28)]
    return np.stack([_on_eyeball(edge, EYE_RADIUS + 0.03), _on_eyeball(edge + 0.03 * out, EYE_RADIUS + LID), *skin])


def _lip_rings() -> Points:
    """Rings ``[8, 29, 3]``, one for each of `LIP_STEPS`, columns as in `LIP_SIDE`."""
    steps = np.sin(np.linspace(0, np.pi / 2, 15)) * 0.6 + np.linspace(0, 1, 15) * 0.4
    seam, upper, lower = (_curve(rows, steps) for rows in (LIP_SEAM, LIP_UPPER, LIP_LOWER))
    seam, border = np.concatenate([seam, seam[-2::-1]]), np.concatenate([upper, lower[-2::-1]])
    gap = border - seam
    width = np.linalg.norm(gap, axis=1)
    rings = []
    for f in LIP_STEPS:
        ring = _frontal(seam + gap * max(f, 0) if f <= 1 else border + 0.16 * gap / width[:, None])
        ring[:, 1] += LIP_SIDE * (0.004 * (f <= 0) + 0.1 * max(-f - 1, 0))
        plump = np.where(LIP_SIDE < 0, 0.34, 0.22) * np.sin(np.pi * np.clip(f, 0, 1) ** 0.75) - 0.1 * (1 - np.clip(f, 0, 1)) ** 3
        ring[:, 2] += (width / width.max()) ** 0.6 * plump * (f <= 1) + 0.38 * min(f, 0)
        rings.append(ring)
    return np.stack(rings)


# --- the plane filled with triangles ----------------------------------------------------------------------------------


def _spacing(plane: Plane) -> Values:
    """Wanted distance of neighbours in the plane."""
    d, anchors = to_directions(plane), FINE[:, :3] - CENTRE
    distance = 9.5 * np.linalg.norm(d[:, None] - anchors / np.linalg.norm(anchors, axis=1, keepdims=True), axis=-1)
    wanted = (FINE[:, 3] + 0.16 * np.maximum(distance - 1.0, 0)).min(1)
    wanted = np.minimum(wanted, 0.5 + 0.5 * np.clip(0.3 - d[:, 2], 0, 1))
    return wanted / 9.5 * (1 + (plane**2).sum(1) / 4)


def _midline(start: float, stop: float) -> Plane:
    """Points between two ends on the line x = 0 of the plane, spaced by `_spacing`."""
    y = np.linspace(start, stop, 2000)
    count = np.concatenate([[0], np.cumsum(np.diff(y) / _spacing(np.stack([0 * y, y], 1))[1:])])
    y = np.interp(np.linspace(0, count[-1], max(round(count[-1]), 1) + 1), count, y)[1:-1]
    return np.stack([0 * y, y], 1)


def _in_any(plane: Plane, loops: list[Plane]) -> Mask:
    """Which points lie within one of the loops (half loops close along the midline)."""
    return np.any([points_in_poly(plane, loop) for loop in loops], axis=0)


def _delaunay(points: Plane, holes: list[Plane]) -> Numbers:
    """Counter-clockwise triangles between the points, without those in the holes."""
    triangles = Delaunay(points).simplices
    a, b, c = points[triangles].transpose(1, 0, 2)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    triangles[area < 0] = triangles[area < 0][:, ::-1]
    return triangles[~_in_any(points[triangles].mean(1), holes) & (np.abs(area) > 1e-12)]


def _seeds(guard: cKDTree, holes: list[Plane]) -> Plane:
    """Points of the half plane, away from those of `guard`, denser where `_spacing` is small: a thinned Fibonacci sphere."""
    count, finest = 56000, 0.015
    i = np.arange(count) + 0.5
    height, turn = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    flat = np.sqrt(1 - height**2)
    plane = 2 * np.stack([flat * np.cos(turn), flat * np.sin(turn)], 1) / (1 + height[:, None])
    plane = plane[(np.hypot(*plane.T) < OUTLINE) & (plane[:, 0] > 0)]
    wanted = _spacing(plane)
    keep = np.random.default_rng(0).random(len(plane)) < (finest * (1 + (plane**2).sum(1) / 4) / wanted) ** 2
    return plane[keep & ~_in_any(plane, holes) & (guard.query(plane)[0] > 0.7 * wanted)]


def _filled(fixed: Plane, lines: list[Plane], holes: list[Plane]) -> Plane:
    """`fixed` and free points between them, pushed apart until evenly spaced; none comes close to `lines`."""
    guard = cKDTree(np.concatenate([fixed] + [(line[1:] + line[:-1]) / 2 for line in lines]))
    free = _seeds(guard, holes)
    for step in range(40):
        points = np.concatenate([fixed, free])
        if step % 4 == 0:
            triangles = _delaunay(points, holes)
            bars = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)), axis=0)
        along = points[bars[:, 0]] - points[bars[:, 1]]
        length = np.linalg.norm(along, axis=1)
        push = (0.2 * np.maximum(1.15 * _spacing(points[bars].mean(1)) / length - 1, 0))[:, None] * along
        move = np.zeros_like(points)
        np.add.at(move, bars[:, 0], push)
        np.add.at(move, bars[:, 1], -push)
        moved = free + move[len(fixed) :]
        wanted = _spacing(moved)
        moved[:, 0] = np.maximum(moved[:, 0], 0.4 * wanted)
        crowded = (guard.query(moved)[0] < 0.5 * wanted) | _in_any(moved, holes)
        free = np.where(crowded[:, None], free, moved)
    return np.concatenate([fixed, free])


# --- the parts of the head --------------------------------------------------------------------------------------------


class _Clay:
    """The right half while it is put together: vertices by part, triangles, and which of these are the face patch."""

    def __init__(self) -> None:
        self.points: list[Points] = []
        self.index: dict[str, Numbers] = {}
        self.triangles: list[Numbers] = []
        self.patch: list[Mask] = []
        self.count = 0

    def add(self, name: str, points: Points) -> Numbers:
        """Append the vertices of a part; their numbers have the shape of the points."""
        self.index[name] = np.arange(self.count, self.count + points[..., 0].size).reshape(points.shape[:-1])
        self.points.append(points.reshape(-1, 3))
        self.count += points[..., 0].size
        return self.index[name]

    def join(self, triangles: Numbers, patch: bool = False) -> None:
        """Append triangles."""
        self.triangles.append(triangles)
        self.patch.append(np.full(len(triangles), patch))

    def weave(self, rows: Numbers, closed: bool = False, patch: bool = False) -> None:
        """Triangles of a grid of vertex numbers ``[rows, columns]``; from the next row, the columns run counter-clockwise."""
        rows = np.concatenate([rows, rows[:, :1]], 1) if closed else rows
        a, b, c, d = rows[:-1, :-1].ravel(), rows[:-1, 1:].ravel(), rows[1:, 1:].ravel(), rows[1:, :-1].ravel()
        self.join(np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]), patch)


def _layout(lips: Points, lids: Points) -> dict[str, Plane]:
    """The lines that the skin's triangles keep to, and the landmarks, in the plane."""
    lines = {"mouth": lips[-1], "eye": lids[-1], "rim": _curve(RIM, 56), "collar": _curve(COLLAR, 19)}
    lines |= {"nose": NOSE_LINE, "jaw": JAW_LINE}
    lines |= {f"brow {rise}": _curve(BROW_LINE, 21) + (0, rise, 0) for rise in (0, 0.17, 0.38, -0.17, -0.38)}
    plane = {name: np.round(to_plane(points), 6) for name, points in lines.items()}  # rounded, so that all machines agree
    angle = np.linspace(np.pi / 2, -np.pi / 2, 13)
    plane["outline"] = OUTLINE * np.stack([np.cos(angle), np.sin(angle)], 1)
    hair = np.round(to_plane(_curve(HAIRLINE, 85)[1:-1]), 6)
    plane["hair"] = hair[cKDTree(np.concatenate(list(plane.values()))).query(hair)[0] > 0.6 * _spacing(hair)]
    for loop in plane.values():
        loop[np.abs(loop[:, 0]) < 1e-9, 0] = 0
    taken = np.sort(np.concatenate([loop[loop[:, 0] == 0, 1] for loop in plane.values()]))
    openings = {plane[name][-1, 1] for name in ("mouth", "collar")}  # no skin from their lower ends upward
    plane["midline"] = np.concatenate([_midline(a, b) for a, b in zip(taken, taken[1:], strict=False) if a not in openings])
    return plane


def _skin(clay: _Clay, lips: Points, lids: Points) -> None:
    """The skin between the rings, over the skull and down to the collar."""
    plane = _layout(lips, lids)
    lines = [plane["rim"], plane["collar"], plane["mouth"], plane["eye"], plane["eye"][[-1, 0]]]
    holes = [plane["mouth"], plane["eye"], plane["collar"]]
    points = _filled(np.concatenate(list(plane.values())), lines, holes)
    clay.add("skin", surface(points))
    ends = np.cumsum([len(loop) for loop in plane.values()])
    clay.index |= {name: np.arange(end - len(loop), end) for (name, loop), end in zip(plane.items(), ends, strict=True)}
    triangles = _delaunay(points, holes)
    patch = points_in_poly(points[triangles].mean(1), plane["rim"])
    clay.join(triangles[patch], True)
    clay.join(triangles[~patch])
    back = clay.add("back", np.array([[0, 0.2, -9.1]]))
    outline = clay.index["outline"]
    clay.join(np.stack([outline[:-1], outline[1:], back.repeat(len(outline) - 1)], 1))


def _eyeball() -> Points:
    """Rings ``[13, 24, 3]`` of the eyeball's front, from the middle of the pupil."""
    polar = np.radians([0.5, 4, 7.2, 8.2, 12, 17, 21, 23, 26, 34, 45, 60, 78])[:, None]
    turn = 2 * np.pi * np.arange(24) / 24
    return EYE + EYE_RADIUS * np.stack([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn], -1)


def _teeth(gum: float, edge: float, front: float) -> Points:
    """Half a dental arch ``[4, columns, 3]``: gum, bulge, edge, back of the edge; the gaps between teeth are grooves."""
    t = np.concatenate([np.linspace(a, b, 4)[:-1] for a, b in zip(TOOTH_ENDS, TOOTH_ENDS[1:], strict=False)] + [TOOTH_ENDS[-1:]])
    turn, groove = 1.35 * t / t[-1], np.isin(t, TOOTH_ENDS[1:]).astype(float)
    rows = []
    for y, out in ((gum, -0.1), (edge + 0.3 * (gum - edge), 0.04), (edge, -0.02), (edge, -0.4)):
        size = 1 + (out - 0.12 * groove) / 3.2
        rows.append(np.stack([2.7 * size * np.sin(turn), y + 0.12 * groove * np.sign(gum - edge) * (y == edge), front - 3.4 + 3.4 * size * np.cos(turn)], 1))
    return np.stack(rows)


def _pocket(inner: Points) -> Points:
    """Rings ``[3, 29, 3]`` of the dark mouth behind the lips' innermost ring; the last one is a point."""
    side = LIP_SIDE * np.sqrt(np.maximum(1 - (inner[:, 0] / 2.5) ** 2, 0.05))
    front = np.stack([inner[:, 0] * 1.15, -7.1 + 1.3 * side, inner[:, 2] - 0.1], 1)
    back = np.stack([inner[:, 0] * 1.1, -7.1 + 1.4 * side, 5.5 + 0 * side], 1)
    return np.stack([front, back])


def _ear() -> Points:
    """Rings ``[11, 24, 3]`` of the ear, from the middle of its shell over the helix and back to the head."""
    rho = np.array([0.02, 0.2, 0.35, 0.5, 0.62, 0.74, 0.84, 0.92, 1.0, 0.95, 0.6])[:, None]
    rear = np.array([0, 0, 0, 0, 0, 0, 0, 0, -0.1, -0.35, -1.1])[:, None]
    t = 2 * np.pi * np.arange(24) / 24
    u, w = 1.7 * rho * np.cos(t) * (1 + 0.25 * np.sin(t)), 3.1 * rho * np.sin(t)
    ridges = 0.32 * np.exp(-(((rho - 0.93) / 0.1) ** 2)) + 0.22 * np.exp(-(((rho - 0.6) / 0.13) ** 2))
    shell = 0.25 * np.exp(-((u + 1.1) ** 2 + (w + 0.5) ** 2) / 0.12) - 0.5 * np.exp(-((u + 0.3) ** 2 + (w + 0.45) ** 2) / 0.5)
    height = ridges * _smooth((np.cos(t - 0.7) + 0.55) / 1.1) + shell
    return EAR + np.stack([u, w, np.where(rear < 0, rear, height)], -1) @ EAR_AXES


def _right_half() -> _Clay:
    """All parts of the right half."""
    clay, lips, lids = _Clay(), _lip_rings(), _lid_rings()
    _skin(clay, lips, lids)
    clay.index["lids"] = np.concatenate([clay.add("lids", lids[:-1]), clay.index["eye"][None]])
    clay.weave(clay.index["lids"][::-1], closed=True, patch=True)
    clay.index["lips"] = np.concatenate([clay.add("lips", lips[:-1]), clay.index["mouth"][None]])
    clay.weave(clay.index["lips"], patch=True)
    pocket = clay.add("pocket", _pocket(lips[0]))
    clay.weave(np.concatenate([clay.index["lips"][:1], pocket])[::-1])
    throat = clay.add("throat", np.array([[0, -7.1, 5.0]]))
    clay.join(np.stack([pocket[-1, :-1], pocket[-1, 1:], throat.repeat(28)], 1))
    collar, down = _curve(COLLAR, 19), np.linspace(0, 1, 4)[1:, None, None]
    neck = clay.add("neck", collar + down * (collar * (0.06, 0, 0.04) + (0, -3.0, -0.5)))
    clay.weave(np.concatenate([clay.index["collar"][None], neck])[::-1])
    clay.weave(clay.add("eyeball", _eyeball())[::-1], closed=True)
    clay.weave(clay.add("ear", _ear())[::-1], closed=True)
    clay.weave(clay.add("upper teeth", _teeth(-5.9, -7.2, 9.5))[::-1])
    clay.weave(clay.add("lower teeth", _teeth(-8.4, -7.1, 9.3)))
    return clay


# --- displacement fields ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Head:
    """Both halves; the left vertices follow the right ones.

    `flip` is each vertex's mirror image, `index` the numbers of the right half's parts, `step` and `side` the ring
    (`LIP_STEPS`, 9 elsewhere) and the lip of vertices in and behind the lips.
    """

    vertices: Points
    triangles: Numbers
    patch: Mask
    flip: Numbers
    index: dict[str, Numbers]
    step: Values
    side: Values

    def part(self, *names: str) -> Mask:
        """Which vertices belong to the parts, on both sides."""
        mask = np.zeros(len(self.flip), bool)
        for name in names:
            mask[self.index[name]] = mask[self.flip[self.index[name]]] = True
        return mask

    def mirrored(self, field: Points) -> Points:
        """The field seen in a mirror."""
        return field[self.flip] * (-1, 1, 1)

    def bump(self, centre: Values, reach: float, shift: Values, stretch: Values | float = 0.0, *, both: bool = True) -> Points:
        """A Gaussian of a shift and of a stretch about `centre`; `both` repeats it on the other side, if it is off the midline."""
        off = self.vertices - centre
        field = np.exp(-0.5 * ((off / reach) ** 2).sum(1, keepdims=True)) * (shift + stretch * off)
        return field + self.mirrored(field) if both and centre[0] else field


def _both_halves() -> _Head:
    """The right half and its mirror image, which share the midline."""
    clay = _right_half()
    right = np.concatenate(clay.points)
    right[np.abs(right[:, 0]) < 1e-9, 0] = 0
    off = right[:, 0] > 0
    mirror = np.where(off, len(right) + np.cumsum(off) - 1, np.arange(len(right)))
    triangles, patch = np.concatenate(clay.triangles), np.concatenate(clay.patch)
    step, side = np.full(len(right), 9.0), np.zeros(len(right))
    step[clay.index["lips"]], side[clay.index["lips"]] = np.array(LIP_STEPS)[:, None], LIP_SIDE
    step[clay.index["pocket"]], side[clay.index["pocket"]] = -3, LIP_SIDE
    return _Head(
        vertices=np.concatenate([right, right[off] * (-1, 1, 1)]),
        triangles=np.concatenate([triangles, mirror[triangles][:, ::-1]]),
        patch=np.concatenate([patch, patch]),
        flip=np.concatenate([mirror, np.flatnonzero(off)]),
        index=clay.index,
        step=np.concatenate([step, step[off]]),
        side=np.concatenate([side, side[off]]),
    )


def _jaw_weight(head: _Head) -> Values:
    """How far each vertex follows the lower jaw: 1 at the chin, 0 above the mouth, smooth over the cheeks."""
    x, y, z = np.abs(head.vertices[:, 0]), head.vertices[:, 1], head.vertices[:, 2]
    beyond = np.maximum(x - 2.6, 0)
    below = (-7.08 + 1.1 * beyond - y) / (1 + 0.6 * beyond)
    lip = -head.side * 0.9 * np.sqrt(np.maximum(1 - (x / 2.62) ** 2, 0))
    below = np.where(head.step <= 1, np.where(head.step == -3, -head.side, lip), below)
    weight = _smooth((below + 0.6) / 1.5) * _smooth(z / 3.0) * _smooth((y + 13.2) / 2.0)
    weight[head.part("eyeball", "upper teeth", "ear", "neck")] = 0
    weight[head.part("lower teeth")] = 1
    return weight


def _turned(points: Points, about_x: float, about_y: float) -> Points:
    """Points turned about the x axis, then about the y axis, by degrees."""
    a, b = np.radians([about_x, about_y])
    x, y, z = points.T
    y, z = np.cos(a) * y - np.sin(a) * z, np.sin(a) * y + np.cos(a) * z
    return np.stack([np.cos(b) * x + np.sin(b) * z, y, np.cos(b) * z - np.sin(b) * x], 1)


def _slid_lids(head: _Head, shift: Callable[[Points], Values]) -> Points:
    """The right eye's lids slid over its ball: `shift` gives the way up (in centimetres) at points of the right half."""
    right = head.vertices[head.vertices[:, 0] >= 0]
    moved = right + shift(right)[:, None] * (0, 1, 0)
    field, rings = np.zeros_like(head.vertices), head.index["lids"]
    index = np.union1d(head.index["skin"], rings[2])
    index = index[(np.abs(moved - right)[index, 1] > 1e-9) & (right[index, 2] > 5)]
    field[index] = surface(to_plane(moved[index])) - right[index]
    for ring, radius in zip(rings, (EYE_RADIUS + 0.03, EYE_RADIUS + LID), strict=False):
        field[ring] = _on_eyeball(moved[ring, :2], radius) - right[ring]
    return field


def _lids(head: _Head, upper: float, lower: float) -> Points:
    """The right eye's lids moved up by shares of its opening, and with them the skin up to the brow."""

    def shift(points: Points) -> Values:
        y, (top, bottom) = points[:, 1], _lid_edges(points[:, 0])
        above = upper * _smooth(1 - (y - top) / 0.95)
        return (top - bottom) * np.where(y > (top + bottom) / 2, above, lower * _smooth(1 - (bottom - y) / 0.8))

    return _slid_lids(head, shift)


def _slant(head: _Head, rise: float) -> Points:
    """The right eye's opening turned about its middle: the outer corner moves up by `rise`."""

    def shift(points: Points) -> Values:
        off = (points[:, :2] - EYE[:2]) / 1.4
        return rise * off[:, 0] * _smooth((1.75 - np.linalg.norm(off * (1, 1.2), axis=1)) / 0.65)

    return _slid_lids(head, shift)


def _gaze(head: _Head, about_x: float, about_y: float) -> Points:
    """The right eyeball turned, in degrees."""
    field, ball = np.zeros_like(head.vertices), head.index["eyeball"].ravel()
    field[ball] = EYE + _turned(head.vertices[ball] - EYE, about_x, about_y) - head.vertices[ball]
    return field


def _identity(head: _Head) -> dict[str, Points]:
    """Identity modes by name; an eyeball moves as one with what lies close around it, and so do the teeth."""
    fold = np.abs(head.vertices) * (1, 0, 0) + head.vertices * (0, 1, 1)
    near = _smooth((2.9 - np.linalg.norm(fold - EYE, axis=1)) / 1.1)[:, None]
    teeth, ball = head.part("upper teeth", "lower teeth"), head.index["eyeball"][0, 0]
    modes = {}
    for name, row in zip(names(IDENTITY), rows(IDENTITY), strict=True):
        field = head.bump(row[:3], row[3], row[4:7], row[7:])
        rigid = np.where(head.vertices[:, :1] > 0, field[ball], field[head.flip[ball]])
        modes[name] = np.where(head.vertices[:, :1] == 0, field, field + near * (rigid - field))
        modes[name][teeth] = field[head.index["lips"][2, 0]]
    for name, field in (("eye opening", _lids(head, 0.16, -0.14)), ("eye slant", _slant(head, 0.12))):
        modes[name] = field + head.mirrored(field)
    return modes


def _expressions(head: _Head) -> dict[str, Points]:
    """Expressions by name; those of the left are mirrored into those of the right."""
    jaw = _jaw_weight(head)[:, None]
    follow = {"both": 1.0, "upper": 1 - jaw, "lower": jaw}
    fold = np.abs(head.vertices[:, :2]) * (1, 0) + head.vertices[:, :2] * (0, 1)
    loose = _smooth((np.linalg.norm((fold - EYE[:2]) / (1.9, 1.0), axis=1) - 0.9) / 0.6)  # the lids stay on the eyeball
    loose[head.part("eyeball", "upper teeth", "lower teeth")] = 0
    fields: dict[str, Points] = {}
    for (name, lip), row in zip(map(str.split, names(SOFT)), rows(SOFT), strict=True):
        bump = head.bump(row[:3], row[3], row[4:], both=not name.endswith(("_L", "Left")))
        fields[name] = fields.get(name, 0) + loose[:, None] * follow[lip] * bump
    for name, row in LIDS.items():
        fields[name] = fields.get(name, 0) + _lids(head, *row)
    for name, row in GAZE.items():
        fields[name] = fields.get(name, 0) + _gaze(head, *row)
    for name, (degrees, shift) in JAW_MOVES.items():
        fields[name] = jaw * (_turned(head.vertices - JAW_AXIS, degrees, 0.0) + JAW_AXIS + shift - head.vertices)
    for left, right in (("_L", "_R"), ("Left", "Right")):
        fields |= {name.removesuffix(left) + right: head.mirrored(field) for name, field in fields.items() if name.endswith(left)}
    return fields


# --- masks, landmarks, the model --------------------------------------------------------------------------------------


def _regions(head: _Head) -> dict[str, Values]:
    """Soft masks by name."""
    v = np.abs(head.vertices) * (1, 0, 0) + head.vertices * (0, 1, 1)
    skin, ball = head.part("skin", "lids", "lips", "back"), head.part("eyeball")
    polar = np.degrees(np.arccos(np.clip((v - EYE)[:, 2] / EYE_RADIUS, -1, 1)))
    lips = np.interp(head.step, (-3, -2, 0.9, 1, 1.3), (0, 1, 1, 0.5, 0))
    hairline, beardline = _depth_within(v, HAIRLINE), _depth_within(v, BEARD)
    along, share = cKDTree(_curve(BROW_LINE, 200)).query(v)
    brows = _smooth(1.5 - along / (0.34 - 0.18 * share / 200)) * (v[:, 2] > 5)
    lashes = head.index["lids"][1, : LID_COUNT // 2 + 1]
    brows[lashes] = brows[head.flip[lashes]] = 0.6
    nostril = rows(CARVING)[0]
    nostrils = skin * (v[:, 2] > 9) * np.exp(-0.5 * (((v[:, :2] - nostril[:2]) / (1, 0.8) / nostril[3:5]) ** 2).sum(1))
    masks = {
        "lips": lips,
        "brows": brows,
        "sclera": ball,
        "iris": ball * (polar < 22.0),
        "pupil": ball * (polar < 7.7),
        "scalp": skin * _smooth((0.2 - hairline) / 1.1),
        "beard": skin * (1 - lips) * _smooth(0.5 + beardline / 1.6),
        "teeth": head.part("upper teeth", "lower teeth"),
        "mouth": np.maximum(head.part("pocket", "throat"), nostrils),
        "neck": np.maximum(head.part("neck"), skin * _smooth((0.12 * (1 - v[:, 2]) - v[:, 1] - 11.0) / 1.5)),
    }
    return {name: mask.astype(float) for name, mask in masks.items()}


def _depth_within(points: Points, outline: Points) -> Values:
    """Distance of points to the half loop `outline` and its mirror image, negative outside."""
    loop = _curve(outline, 300)
    half = to_plane(loop)
    inside = points_in_poly(to_plane(points), np.concatenate([half, half[::-1] * (-1, 1)]))
    return np.where(inside, 1, -1) * cKDTree(loop).query(points)[0]


def _landmarks(head: _Head) -> Numbers:
    """The iBUG-68 vertices; those of the image's left are mirror images."""
    at, flip = head.index, head.flip
    jaw, brow, nose = at["jaw"], at["brow 0"][::5], at["nose"]
    outer, inner = at["lips"][LIP_STEPS.index(1)], at["lips"][LIP_STEPS.index(0)]
    eye = at["lids"][1, [18, 12, 6, 0, 30, 24]]  # inner corner, two of the upper lid, outer corner, two of the lower lid
    right = {"jaw": jaw[1:][::-1], "brow": brow, "eye": eye, "upper": outer[[2, 7, 14]], "lower": outer[[21, 25]]}
    return np.concatenate([
        flip[right["jaw"]], jaw, flip[brow[::-1]], brow, nose[:4], flip[nose[:4:-1]], nose[4:],
        flip[eye[[3, 2, 1, 0, 5, 4]]], eye,
        flip[right["upper"][::-1]], outer[:1], right["upper"], right["lower"], outer[-1:], flip[right["lower"][::-1]],
        flip[inner[[14, 5]]], inner[[0, 5, 14, 23, 28]], flip[inner[[23]]],
    ])  # fmt: skip


@lru_cache(maxsize=1)
def procedural() -> MorphableFace:
    """The embedded face model: built in code, in centimetres, the same at every call.

    Returns
    -------
    MorphableFace : x right, y up, z to the viewer; treat its tensors as constants.

    Examples
    --------
    >>> face = procedural()
    >>> face.mesh().vertices.shape[0] > len(face.mean)
    True
    """
    head = _both_halves()
    expressions = _expressions(head)
    return MorphableFace(
        name="procedural",
        mean=_tensor(head.vertices),
        identity=_tensor(np.stack(list(_identity(head).values()))),
        expression=_tensor(np.stack(list(expressions.values()))),
        expression_names=tuple(expressions),
        triangles=torch.from_numpy(head.triangles.astype(np.int64)),
        landmarks=torch.from_numpy(_landmarks(head)),
        patch=torch.from_numpy(head.patch),
        regions={name: _tensor(mask) for name, mask in _regions(head).items()},
        often=("jawOpen", "mouthSmile"),
    )


def _tensor(values: Values) -> Float[Tensor, "..."]:
    """A float32 tensor of the values."""
    return torch.from_numpy(np.asarray(values, np.float32))
