"""The sculpted head's skin as a surface over a plane, and the rings around its eyes and its mouth.

A radius over the directions from the head's middle, interpolated through a table of anatomical points, gives the skin;
the directions are laid out in one plane (stereographic, the middle of the face at the origin). The lids are the
eyeballs' spheres pushed through the skin, the lips are rings around the seam of the mouth.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline, RBFInterpolator

from vrn_lite.faces.procedural import anatomy
from vrn_lite.faces.procedural.anatomy import CENTRE, EYE, EYE_RADIUS, LID, LID_COUNT, LIP_SIDE, LIP_STEPS, Values

Points = Float[np.ndarray, "... 3"]
Plane = Float[np.ndarray, "... 2"]


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
    for *middle, across, along, height in anatomy.CARVING:
        off = d * np.linalg.norm(CENTRE - middle) + CENTRE - middle
        r = r + front * height * np.exp(-0.5 * ((off[:, 0] / across) ** 2 + (off[:, 1] / along) ** 2))
    lid = _eyeball_radius(d, EYE_RADIUS + LID)
    return CENTRE + np.where(front, 0.5 * (r + lid + np.hypot(r - lid, 0.24)), r)[:, None] * d  # a smooth maximum


@lru_cache(maxsize=1)
def _radius() -> RBFInterpolator:
    """Distance of the skin from `CENTRE`, over unit vectors."""
    d = np.concatenate([anatomy.SKIN, anatomy.SKIN[anatomy.SKIN[:, 0] > 0] * (-1, 1, 1)]) - CENTRE
    r = np.linalg.norm(d, axis=1)
    return RBFInterpolator(d / r[:, None], r, kernel="cubic", smoothing=2e-4)


def _eyeball_radius(d: Points, radius: float) -> Values:
    """Distance along rays `d` from `CENTRE` to the front of a sphere about `EYE`; steep beyond its outline."""
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


def on_eyeball(xy: Plane, radius: float) -> Points:
    """Points of a sphere about `EYE` that are seen at (x, y) from the front."""
    square = radius**2 - ((xy - EYE[:2]) ** 2).sum(1, keepdims=True)
    return np.concatenate([xy, EYE[2] + np.sqrt(np.maximum(square, 0.01))], 1)


def curve(points: Values, steps: int | Values) -> Values:
    """Points on a smooth curve through `points`, at shares `steps` of its length (or at so many equal steps)."""
    steps = np.linspace(0, 1, steps) if isinstance(steps, int) else steps
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    level = np.eye(points.shape[1])[0]  # across the midline at right angles, so that the halves join smoothly
    ends = ((1, level) if points[0, 0] == 0 else "not-a-knot", (1, -level) if points[-1, 0] == 0 else "not-a-knot")
    fine = CubicSpline(chord, points, bc_type=ends)(np.linspace(0, chord[-1], 400))
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    return np.stack([np.interp(steps * length[-1], length, column) for column in fine.T], 1)


def smooth(x: Values) -> Values:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


# --- rings around the eye and the mouth -------------------------------------------------------------------------------


def lid_edges(x: Values) -> tuple[Values, Values]:
    """Height of the upper and of the lower lid's edge at x."""
    (x0, y0), (x1, y1) = anatomy.FISSURE
    u = np.clip(2 * (x - x0) / (x1 - x0) - 1, -1, 1)
    line = y0 + (y1 - y0) * (u + 1) / 2
    return line + 0.54 * (1 - u**2) ** 0.75 * (1 - 0.15 * u), line - 0.42 * (1 - u**2) ** 0.8 * (1 + 0.2 * u)


def lid_rings() -> Points:
    """Rings ``[4, LID_COUNT, 3]`` from the inner edge of the lids outward."""
    t = 2 * np.pi * np.arange(LID_COUNT) / LID_COUNT
    (x0, _), (x1, _) = anatomy.FISSURE
    x = (x0 + x1) / 2 + (x1 - x0) / 2 * np.cos(t)
    edge = np.stack([x, np.where(t <= np.pi + 1e-9, *lid_edges(x))], 1)
    along = np.roll(edge, -1, 0) - np.roll(edge, 1, 0)
    out = np.stack([along[:, 1], -along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    skin = [surface(to_plane(on_eyeball(edge + out * width, EYE_RADIUS + LID))) for width in (0.1, 0.28)]
    return np.stack([on_eyeball(edge, EYE_RADIUS + 0.03), on_eyeball(edge + 0.03 * out, EYE_RADIUS + LID), *skin])


def lip_rings() -> Points:
    """Rings ``[8, 29, 3]``, one for each of `LIP_STEPS`, columns as in `LIP_SIDE`."""
    steps = np.sin(np.linspace(0, np.pi / 2, 15)) * 0.6 + np.linspace(0, 1, 15) * 0.4
    seam, upper, lower = (curve(rows, steps) for rows in (anatomy.LIP_SEAM, anatomy.LIP_UPPER, anatomy.LIP_LOWER))
    seam, border = np.concatenate([seam, seam[-2::-1]]), np.concatenate([upper, lower[-2::-1]])
    gap = border - seam
    width = np.linalg.norm(gap, axis=1)
    rings = []
    for f in LIP_STEPS:
        ring = _frontal(seam + gap * max(f, 0) if f <= 1 else border + 0.16 * gap / width[:, None])
        ring[:, 1] += LIP_SIDE * (0.004 * (f <= 0) + 0.1 * max(-f - 1, 0))
        plump = (
            np.where(LIP_SIDE < 0, 0.34, 0.22) * np.sin(np.pi * np.clip(f, 0, 1) ** 0.75)
            - 0.1 * (1 - np.clip(f, 0, 1)) ** 3
        )
        ring[:, 2] += (width / width.max()) ** 0.6 * plump * (f <= 1) + 0.38 * min(f, 0)
        rings.append(ring)
    return np.stack(rings)
