"""The parts of the sculpted head: skin, lids, lips, mouth, neck, eyeball, ear, teeth; then their mirror images."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree
from skimage.measure import points_in_poly

from vrn_lite.faces.procedural import anatomy
from vrn_lite.faces.procedural.anatomy import EYE, EYE_RADIUS, LIP_SIDE, LIP_STEPS, Values
from vrn_lite.faces.procedural.mesh_builder import MeshBuilder
from vrn_lite.faces.procedural.surface import Plane, Points, curve, lid_rings, lip_rings, smooth, surface, to_plane
from vrn_lite.faces.procedural.triangulate import Mask, Numbers, fill, midline, spacing, triangulate


def _layout(lips: Points, lids: Points) -> dict[str, Plane]:
    """The lines that the skin's triangles keep to, and the landmarks, in the plane."""
    lines = {"mouth": lips[-1], "eye": lids[-1], "rim": curve(anatomy.RIM, 56), "collar": curve(anatomy.COLLAR, 19)}
    lines |= {"nose": anatomy.NOSE_LINE, "jaw": anatomy.JAW_LINE}
    lines |= {f"brow {rise}": curve(anatomy.BROW_LINE, 21) + (0, rise, 0) for rise in (0, 0.17, 0.38, -0.17, -0.38)}
    # In the plane, rounded so that all machines agree.
    plane = {name: np.round(to_plane(points), 6) for name, points in lines.items()}
    angle = np.linspace(np.pi / 2, -np.pi / 2, 13)
    plane["outline"] = anatomy.OUTLINE * np.stack([np.cos(angle), np.sin(angle)], 1)
    # The hairline, where no other line is close.
    hair = np.round(to_plane(curve(anatomy.HAIRLINE, 85)[1:-1]), 6)
    plane["hair"] = hair[cKDTree(np.concatenate(list(plane.values()))).query(hair)[0] > 0.6 * spacing(hair)]
    for loop in plane.values():
        loop[np.abs(loop[:, 0]) < 1e-9, 0] = 0
    # The midline between what lies on it; no skin from the openings' lower ends upward.
    taken = np.sort(np.concatenate([loop[loop[:, 0] == 0, 1] for loop in plane.values()]))
    openings = {plane[name][-1, 1] for name in ("mouth", "collar")}
    gaps = [midline(start, end) for start, end in pairwise(taken) if start not in openings]
    plane["midline"] = np.concatenate(gaps)
    return plane


def _skin(builder: MeshBuilder, lips: Points, lids: Points) -> None:
    """The skin between the rings, over the skull and down to the collar."""
    plane = _layout(lips, lids)
    lines = [plane["rim"], plane["collar"], plane["mouth"], plane["eye"], plane["eye"][[-1, 0]]]
    holes = [plane["mouth"], plane["eye"], plane["collar"]]
    points = fill(np.concatenate(list(plane.values())), lines, holes)
    builder.add_vertices("skin", surface(points))
    ends = np.cumsum([len(loop) for loop in plane.values()])
    numbers = np.split(np.arange(ends[-1]), ends[:-1])
    builder.index |= dict(zip(plane, numbers, strict=True))
    triangles = triangulate(points, holes)
    patch = points_in_poly(points[triangles].mean(1), plane["rim"])
    builder.add_triangles(triangles[patch], True)
    builder.add_triangles(triangles[~patch])
    back = builder.add_vertices("back", np.array([[0, 0.2, -9.1]]))
    outline = builder.index["outline"]
    builder.add_triangles(np.stack([outline[:-1], outline[1:], back.repeat(len(outline) - 1)], 1))


def _eyeball() -> Points:
    """Rings ``[13, 24, 3]`` of the eyeball's front, from the middle of the pupil."""
    polar = np.radians([0.5, 4, 7.2, 8.2, 12, 17, 21, 23, 26, 34, 45, 60, 78])[:, None]
    turn = 2 * np.pi * np.arange(24) / 24
    x, y, z = np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn
    return EYE + EYE_RADIUS * np.stack([x, y, z], -1)


def _teeth(gum: float, edge: float, front: float) -> Points:
    """Half a dental arch ``[4, columns, 3]``: gum, bulge, edge, back of the edge; between teeth are grooves."""
    ends = anatomy.TOOTH_ENDS
    t = np.concatenate([*(np.linspace(start, end, 4)[:-1] for start, end in pairwise(ends)), ends[-1:]])
    turn, groove = 1.35 * t / t[-1], np.isin(t, ends[1:]).astype(float)
    rows = []
    for y, out in ((gum, -0.1), (edge + 0.3 * (gum - edge), 0.04), (edge, -0.02), (edge, -0.4)):
        size = 1 + (out - 0.12 * groove) / 3.2
        height = y + 0.12 * groove * np.sign(gum - edge) * (y == edge)
        rows.append(np.stack([2.7 * size * np.sin(turn), height, front - 3.4 + 3.4 * size * np.cos(turn)], 1))
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
    knob, bowl = np.exp(-((u + 1.1) ** 2 + (w + 0.5) ** 2) / 0.12), np.exp(-((u + 0.3) ** 2 + (w + 0.45) ** 2) / 0.5)
    shell = 0.25 * knob - 0.5 * bowl
    height = ridges * smooth((np.cos(t - 0.7) + 0.55) / 1.1) + shell
    return anatomy.EAR + np.stack([u, w, np.where(rear < 0, rear, height)], -1) @ anatomy.EAR_AXES


def right_half() -> MeshBuilder:
    """All parts of the right half."""
    builder = MeshBuilder()
    lips = lip_rings()
    lids = lid_rings()
    _skin(builder, lips, lids)
    builder.index["lids"] = np.concatenate([builder.add_vertices("lids", lids[:-1]), builder.index["eye"][None]])
    builder.add_grid(builder.index["lids"][::-1], closed=True, patch=True)
    builder.index["lips"] = np.concatenate([builder.add_vertices("lips", lips[:-1]), builder.index["mouth"][None]])
    builder.add_grid(builder.index["lips"], patch=True)
    pocket = builder.add_vertices("pocket", _pocket(lips[0]))
    builder.add_grid(np.concatenate([builder.index["lips"][:1], pocket])[::-1])
    throat = builder.add_vertices("throat", np.array([[0, -7.1, 5.0]]))
    builder.add_triangles(np.stack([pocket[-1, :-1], pocket[-1, 1:], throat.repeat(28)], 1))
    collar = curve(anatomy.COLLAR, 19)
    down = np.linspace(0, 1, 4)[1:, None, None]
    neck = builder.add_vertices("neck", collar + down * (collar * (0.06, 0, 0.04) + (0, -3.0, -0.5)))
    builder.add_grid(np.concatenate([builder.index["collar"][None], neck])[::-1])
    builder.add_grid(builder.add_vertices("eyeball", _eyeball())[::-1], closed=True)
    builder.add_grid(builder.add_vertices("ear", _ear())[::-1], closed=True)
    builder.add_grid(builder.add_vertices("upper teeth", _teeth(-5.9, -7.2, 9.5))[::-1])
    builder.add_grid(builder.add_vertices("lower teeth", _teeth(-8.4, -7.1, 9.3)))
    return builder


@dataclass(frozen=True)
class Head:
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

    def bump(
        self, centre: Values, reach: float, shift: Values, stretch: Values | float = 0.0, *, both: bool = True
    ) -> Points:
        """A Gaussian of a shift and a stretch about `centre`; off the midline, `both` repeats it on the other side."""
        off = self.vertices - centre
        field = np.exp(-0.5 * ((off / reach) ** 2).sum(1, keepdims=True)) * (shift + stretch * off)
        return field + self.mirrored(field) if both and centre[0] else field


def both_halves() -> Head:
    """The right half and its mirror image, which share the midline."""
    builder = right_half()
    right = np.concatenate(builder.points)
    right[np.abs(right[:, 0]) < 1e-9, 0] = 0
    off = right[:, 0] > 0
    mirror = np.where(off, len(right) + np.cumsum(off) - 1, np.arange(len(right)))
    triangles = np.concatenate(builder.triangles)
    patch = np.concatenate(builder.patch)
    lips, pocket = builder.index["lips"], builder.index["pocket"]
    step = np.full(len(right), 9.0)
    step[lips], step[pocket] = np.array(LIP_STEPS)[:, None], -3
    side = np.zeros(len(right))
    side[lips], side[pocket] = LIP_SIDE, LIP_SIDE
    return Head(
        vertices=np.concatenate([right, right[off] * (-1, 1, 1)]),
        triangles=np.concatenate([triangles, mirror[triangles][:, ::-1]]),
        patch=np.concatenate([patch, patch]),
        flip=np.concatenate([mirror, np.flatnonzero(off)]),
        index=builder.index,
        step=np.concatenate([step, step[off]]),
        side=np.concatenate([side, side[off]]),
    )
