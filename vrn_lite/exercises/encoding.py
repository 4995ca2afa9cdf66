"""Exercises of notebooks 01 and 02: from faces to volumes and images."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vrn_lite.exercises.cases import LANDMARKS, TURN, seeded
from vrn_lite.exercises.grader import Exercise
from vrn_lite.landmarks import FLIP, mirror


def _column(
    half: float = 0.5, times: Callable[[Tensor, float], Tensor] = torch.div, odd: int = 1
) -> Callable[[Tensor, int, float], Tensor]:
    """Parity of the crossings before each voxel of a column, right by default."""

    def fill(depths: Tensor, slices: int, depth_scale: float) -> Tensor:
        centres = times(torch.arange(slices) + half, depth_scale)
        return (depths[:, None] < centres).sum(0) % 2 == odd

    return fill


def _between(depths: Tensor, slices: int, depth_scale: float) -> Tensor:
    if len(depths) == 0:
        return torch.zeros(slices)
    centres = (torch.arange(slices) + 0.5) / depth_scale
    return (centres > depths.min()) & (centres < depths.max())


def _pairs(depths: Tensor, slices: int, depth_scale: float) -> Tensor:
    centres = (torch.arange(slices) + 0.5) / depth_scale
    return ((depths[0::2, None] < centres) & (centres < depths[1::2, None])).any(0)


def _points(indices: Tensor, depth_scale: float) -> Tensor:
    d, r, c = indices.float().T
    return torch.stack((c + 0.5, r + 0.5, (d + 0.5) / depth_scale), 1)


def _blend(mean: Tensor, modes: Tensor, coefficients: Tensor) -> Tensor:
    return mean + torch.einsum("i,ivc->vc", coefficients, modes)


def _project(
    points: Tensor, scale: float, rotation: Tensor, translation: Tensor, signs: tuple[int, int, int] = (1, -1, -1)
) -> Tensor:
    return scale * (points @ rotation.T) * torch.tensor(signs, dtype=points.dtype) + translation


def _mirrored(points: Tensor, width: float, shift: float = 0.0) -> Tensor:
    return mirror(points, 0) + torch.tensor([width + shift, 0.0, 0.0])


_EDGES = tuple((dx, dy) for dx in (-2, 0, 3) for dy in (-1, 0, 4) if (dx, dy) != (0, 0))

# A table, set by hand: each hint and the wrong answer that deserves it.
# fmt: off
EXERCISES: dict[str, Exercise] = {
    "01.1": Exercise(_column(), (
        (torch.tensor([12.2, 2.3, 20.4, 9.1]), 40, 1.5),
        (torch.tensor([4.0, 6.1]), 16, 2.0),
        (torch.tensor([]), 4, 1.5),
        (torch.tensor([-3.0, 5.2, 7.7, 30.0]), 16, 1.5),
    ), {
        "the half voxel is missing: the centre of slice d is at (d + 1/2) / depth_scale.": _column(half=0.0),
        "depth_scale is missing: crossings are in pixels, slices are not.": _column(times=lambda a, _: a),
        "you multiply by depth_scale: from slices to pixels you divide.": _column(times=torch.mul),
        "inside and outside are swapped: inside is where the number of crossings is odd.": _column(odd=0),
        "you fill from the first to the last crossing, and so close the gap between two parts.": _between,
        "you take the depths two by two as they come: they come in any order.": _pairs,
        "a crossing outside the grid was left out: it still changes everything behind it.":
            lambda z, n, s: _column()(z[(z >= 0) & (z < n / s)], n, s),
        "you give the number of crossings: a centre is inside where that number is odd.":
            lambda z, n, s: (z[:, None] < (torch.arange(n) + 0.5) / s).sum(0),
        "add the half voxel before you divide: (d + 1/2) / depth_scale.":
            lambda z, n, s: (z[:, None] < torch.arange(n) / s + 0.5).sum(0) % 2 == 1,
        "you ask for exactly one crossing; three or five are odd as well.":
            lambda z, n, s: (z[:, None] < (torch.arange(n) + 0.5) / s).sum(0) == 1,
    }),
    "01.2": Exercise(lambda dx, dy: (dy == 0 and dx > 0) or dy < 0, _EDGES, {
        "every edge counts, so a pixel on a shared edge is covered twice.": lambda dx, dy: True,
        "no edge counts, so a pixel on a shared edge is covered by neither triangle.": lambda dx, dy: False,
        "the top edge is missing: it is horizontal.": lambda dx, dy: dy < 0,
        "the left edge is missing: it runs upwards, and y points down.": lambda dx, dy: dy == 0 and dx > 0,
        "your left edge runs down: y points down here, so a left edge has dy < 0.":
            lambda dx, dy: (dy == 0 and dx > 0) or dy > 0,
        "your top edge runs to the left; with y down and this winding, it runs to the right.":
            lambda dx, dy: (dy == 0 and dx < 0) or dy < 0,
        "this is the bottom-right rule: y points down here.": lambda dx, dy: (dy == 0 and dx < 0) or dy > 0,
        "an edge that runs to the right is no top edge unless it is horizontal.": lambda dx, dy: dx > 0 or dy < 0,
        "a left edge need not be upright: every edge that runs upwards is one.":
            lambda dx, dy: (dy == 0 and dx > 0) or (dx == 0 and dy < 0),
        "horizontal edges count on both sides: the bottom edge must not.": lambda dx, dy: dy <= 0,
    }),
    "01.3": Exercise(_points, (
        (torch.tensor([[0, 0, 0], [3, 1, 2], [10, 7, 5]]), 1.5),
        (torch.tensor([[4, 9, 1]]), 2.0),
    ), {
        "the axes are in the order of the indices: (d, r, c) reversed is (x, y, z).":
            lambda i, s: _points(i, s)[:, [2, 1, 0]],
        "x and y are swapped: x goes with the column, y with the row.": lambda i, s: _points(i, s)[:, [1, 0, 2]],
        "the half voxel is missing: index 0 has its centre at 1/2.": lambda i, s: _points(i - 0.5, s),
        "in z, add the half voxel first and divide afterwards.":
            lambda i, s: _points(i, s) + torch.tensor([0, 0, 0.5 - 0.5 / s]),
        "depth_scale is missing: z is in pixels, d is not.": lambda i, s: _points(i, 1.0),
        "you multiply by depth_scale: from slices to pixels you divide.": lambda i, s: _points(i, 1 / s),
        "only z is divided by depth_scale: rows and columns are pixels already.":
            lambda i, s: _points(i, s) / torch.tensor([s, s, 1.0]),
    }),
    "02.1": Exercise(_blend, (
        (seeded(5, 3), seeded(4, 5, 3), torch.tensor([1.0, -2.0, 0.5, 0.0])),
        (seeded(2, 3), seeded(1, 2, 3), torch.tensor([3.0])),
    ), {
        "the mean is missing: modes are displacements from the mean face.": lambda m, u, a: _blend(0 * m, u, a),
        "the coefficients are not used: each mode is multiplied by its own.": lambda m, u, a: m + u.sum(0),
        "the mean is multiplied, too; only the modes are.": lambda m, u, a: m * a.sum() + _blend(0 * m, u, a),
        "you take the average of the modes; their sum is meant.": lambda m, u, a: m + _blend(0 * m, u, a) / len(u),
        "the sign is wrong: a positive coefficient adds its mode.": lambda m, u, a: m - _blend(0 * m, u, a),
    }),
    "02.2": Exercise(_project, (
        (seeded(6, 3), 10.0, TURN, torch.tensor([64.0, 60.0, 40.0])),
        (seeded(2, 3), 0.5, TURN.T, torch.tensor([0.0, -3.0, 5.0])),
    ), {
        "diag(1, -1, -1) is missing: the face hangs upside down and looks away.": partial(_project, signs=(1, 1, 1)),
        "only y is flipped: that is a reflection, and turns the mesh inside out. Flip z as well.":
            partial(_project, signs=(1, -1, 1)),
        "only z is flipped: that is a reflection. Flip y as well.": partial(_project, signs=(1, 1, -1)),
        "you turn by the inverse rotation: points are rows here, so that R x is `points @ rotation.T`.":
            lambda p, s, r, t: _project(p, s, r.T, t),
        "the translation is scaled, too: scale first, then move.": lambda p, s, r, t: s * (_project(p, 1.0, r, t)),
        "the translation is flipped, too: it is in pixels already.":
            lambda p, s, r, t: _project(p, s, r, t * torch.tensor([1, -1, -1])),
        "the scale is missing.": lambda p, s, r, t: _project(p, 1.0, r, t),
        "the translation is missing.": lambda p, s, r, t: _project(p, s, r, 0 * t),
        "first turn, then flip the axes: the order matters.":
            lambda p, s, r, t: s * ((p * torch.tensor([1.0, -1.0, -1.0])) @ r.T) + t,
    }),
    "02.3": Exercise(lambda points, width, flip: mirror(points, width), ((LANDMARKS, 128, FLIP),), {
        "the points are moved but not renumbered: the left eye's numbers sit on the right eye. Index with `flip`.":
            lambda p, w, f: _mirrored(p, w)[f],
        "the points are renumbered but not moved: x becomes width - x.": lambda p, w, f: p[f],
        "the points left the image: x becomes width - x, not -x.": lambda p, w, f: _mirrored(p, 0),
        "y and z are mirrored, too: only x becomes width - x.": lambda p, w, f: w - p[f],
        "x becomes width - x: pixel centres are at halves, so there is no - 1.": lambda p, w, f: _mirrored(p, w, -1),
    }),
}
# fmt: on
