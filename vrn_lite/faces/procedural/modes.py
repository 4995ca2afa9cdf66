"""How the sculpted head moves: identity modes and expressions as smooth fields of displacement ``[v, 3]``."""

from collections.abc import Callable

import numpy as np

from vrn_lite.faces.procedural.anatomy import EYE, EYE_RADIUS, JAW_AXIS, LID, Values, labelled
from vrn_lite.faces.procedural.head import Head
from vrn_lite.faces.procedural.surface import Points, lid_edges, on_eyeball, smooth, surface, to_plane


def _jaw_weight(head: Head) -> Values:
    """How far each vertex follows the lower jaw: 1 at the chin, 0 above the mouth, smooth over the cheeks."""
    x, y, z = np.abs(head.vertices[:, 0]), head.vertices[:, 1], head.vertices[:, 2]
    beyond = np.maximum(x - 2.6, 0)
    below = (-7.08 + 1.1 * beyond - y) / (1 + 0.6 * beyond)
    lip = -head.side * 0.9 * np.sqrt(np.maximum(1 - (x / 2.62) ** 2, 0))
    below = np.where(head.step <= 1, np.where(head.step == -3, -head.side, lip), below)
    weight = smooth((below + 0.6) / 1.5) * smooth(z / 3.0) * smooth((y + 13.2) / 2.0)
    weight[head.part("eyeball", "upper teeth", "ear", "neck")] = 0
    weight[head.part("lower teeth")] = 1
    return weight


def _turned(points: Points, about_x: float, about_y: float) -> Points:
    """Points turned about the x axis, then about the y axis, by degrees."""
    a, b = np.radians([about_x, about_y])
    x, y, z = points.T
    y, z = np.cos(a) * y - np.sin(a) * z, np.sin(a) * y + np.cos(a) * z
    return np.stack([np.cos(b) * x + np.sin(b) * z, y, np.cos(b) * z - np.sin(b) * x], 1)


def _slid_lids(head: Head, shift: Callable[[Points], Values]) -> Points:
    """The right eye's lids slid over its ball: `shift` gives the way up (centimetres) at points of the right half."""
    # What moves: the lids, and the skin before the ears that the shift reaches.
    right = head.vertices[head.vertices[:, 0] >= 0]
    moved = right + shift(right)[:, None] * (0, 1, 0)
    field, rings = np.zeros_like(head.vertices), head.index["lids"]
    index = np.union1d(head.index["skin"], rings[2])
    index = index[(np.abs(moved - right)[index, 1] > 1e-9) & (right[index, 2] > 5)]
    field[index] = surface(to_plane(moved[index])) - right[index]
    for ring, radius in zip(rings, (EYE_RADIUS + 0.03, EYE_RADIUS + LID), strict=False):
        field[ring] = on_eyeball(moved[ring, :2], radius) - right[ring]
    return field


def _lids(head: Head, upper: float, lower: float) -> Points:
    """The right eye's lids moved up by shares of its opening, and with them the skin up to the brow."""

    def shift(points: Points) -> Values:
        y, (top, bottom) = points[:, 1], lid_edges(points[:, 0])
        above = upper * smooth(1 - (y - top) / 0.95)
        return (top - bottom) * np.where(y > (top + bottom) / 2, above, lower * smooth(1 - (bottom - y) / 0.8))

    return _slid_lids(head, shift)


def _slant(head: Head, rise: float) -> Points:
    """The right eye's opening turned about its middle: the outer corner moves up by `rise`."""

    def shift(points: Points) -> Values:
        off = (points[:, :2] - EYE[:2]) / 1.4
        return rise * off[:, 0] * smooth((1.75 - np.linalg.norm(off * (1, 1.2), axis=1)) / 0.65)

    return _slid_lids(head, shift)


def _gaze(head: Head, about_x: float, about_y: float) -> Points:
    """The right eyeball turned, in degrees."""
    field, ball = np.zeros_like(head.vertices), head.index["eyeball"].ravel()
    field[ball] = EYE + _turned(head.vertices[ball] - EYE, about_x, about_y) - head.vertices[ball]
    return field


def identities(head: Head) -> dict[str, Points]:
    """Identity modes by name; an eyeball moves as one with what lies close around it, and so do the teeth."""
    fold = np.abs(head.vertices) * (1, 0, 0) + head.vertices * (0, 1, 1)
    near = smooth((2.9 - np.linalg.norm(fold - EYE, axis=1)) / 1.1)[:, None]
    teeth, ball = head.part("upper teeth", "lower teeth"), head.index["eyeball"][0, 0]
    modes = {}
    for name, row in labelled("identity"):
        field = head.bump(row[:3], row[3], row[4:7], row[7:])
        rigid = np.where(head.vertices[:, :1] > 0, field[ball], field[head.flip[ball]])
        modes[name] = np.where(head.vertices[:, :1] == 0, field, field + near * (rigid - field))
        modes[name][teeth] = field[head.index["lips"][2, 0]]
    for name, field in (("eye opening", _lids(head, 0.16, -0.14)), ("eye slant", _slant(head, 0.12))):
        modes[name] = field + head.mirrored(field)
    return modes


def expressions(head: Head) -> dict[str, Points]:
    """Expressions by name; those of the left are mirrored into those of the right."""
    jaw = _jaw_weight(head)[:, None]
    follow = {"both": 1.0, "upper": 1 - jaw, "lower": jaw}
    fold = np.abs(head.vertices[:, :2]) * (1, 0) + head.vertices[:, :2] * (0, 1)
    loose = smooth((np.linalg.norm((fold - EYE[:2]) / (1.9, 1.0), axis=1) - 0.9) / 0.6)  # the lids stay on the eyeball
    loose[head.part("eyeball", "upper teeth", "lower teeth")] = 0
    fields: dict[str, Points] = {}
    for label, row in labelled("soft"):
        name, lip = label.split()
        bump = head.bump(row[:3], row[3], row[4:], both=not name.endswith(("_L", "Left")))
        fields[name] = fields.get(name, 0) + loose[:, None] * follow[lip] * bump
    for name, row in labelled("lids"):
        fields[name] = fields.get(name, 0) + _lids(head, *row)
    for name, row in labelled("gaze"):
        fields[name] = fields.get(name, 0) + _gaze(head, *row)
    for name, (degrees, *shift) in labelled("jaw_moves"):
        turned = _turned(head.vertices - JAW_AXIS, degrees, 0.0) + JAW_AXIS
        fields[name] = jaw * (turned + shift - head.vertices)
    for left, right in (("_L", "_R"), ("Left", "Right")):
        ones = [name for name in fields if name.endswith(left)]
        fields |= {name.removesuffix(left) + right: head.mirrored(fields[name]) for name in ones}
    return fields
