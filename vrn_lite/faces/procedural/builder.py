"""The embedded face model: a head sculpted in code, with nothing to download.

::

    anatomy --> surface, rings --triangulate--> skin --mesh_builder--> parts, mirror image --builder--> moves, masks, landmarks

        y up
        |
        +--- x right
       /                        centimetres; y = 0 at the eyes, z = 0 at the ears
      z to the viewer

The proportions are those of an average adult: outer canthi 9.0, bizygomatic width 13.5, nasion to chin 11.6.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from skimage.measure import points_in_poly
from torch import Tensor

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.faces.procedural.anatomy import (
    BEARD,
    BROW_LINE,
    CARVING,
    EYE,
    EYE_RADIUS,
    GAZE,
    HAIRLINE,
    IDENTITY,
    JAW_AXIS,
    JAW_MOVES,
    LID,
    LID_COUNT,
    LIDS,
    LIP_STEPS,
    SOFT,
    Values,
    names,
    rows,
)
from vrn_lite.faces.procedural.mesh_builder import Head, both_halves
from vrn_lite.faces.procedural.surface import Points, curve, lid_edges, on_eyeball, smooth, surface, to_plane
from vrn_lite.faces.procedural.triangulate import Numbers

# --- displacement fields ----------------------------------------------------------------------------------------------


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
    """The right eye's lids slid over its ball: `shift` gives the way up (in centimetres) at points of the right half."""
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


def _identity(head: Head) -> dict[str, Points]:
    """Identity modes by name; an eyeball moves as one with what lies close around it, and so do the teeth."""
    fold = np.abs(head.vertices) * (1, 0, 0) + head.vertices * (0, 1, 1)
    near = smooth((2.9 - np.linalg.norm(fold - EYE, axis=1)) / 1.1)[:, None]
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


def _expressions(head: Head) -> dict[str, Points]:
    """Expressions by name; those of the left are mirrored into those of the right."""
    jaw = _jaw_weight(head)[:, None]
    follow = {"both": 1.0, "upper": 1 - jaw, "lower": jaw}
    fold = np.abs(head.vertices[:, :2]) * (1, 0) + head.vertices[:, :2] * (0, 1)
    loose = smooth((np.linalg.norm((fold - EYE[:2]) / (1.9, 1.0), axis=1) - 0.9) / 0.6)  # the lids stay on the eyeball
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


def _regions(head: Head) -> dict[str, Values]:
    """Soft masks by name."""
    v = np.abs(head.vertices) * (1, 0, 0) + head.vertices * (0, 1, 1)
    skin, ball = head.part("skin", "lids", "lips", "back"), head.part("eyeball")
    polar = np.degrees(np.arccos(np.clip((v - EYE)[:, 2] / EYE_RADIUS, -1, 1)))
    lips = np.interp(head.step, (-3, -2, 0.9, 1, 1.3), (0, 1, 1, 0.5, 0))
    hairline, beardline = _depth_within(v, HAIRLINE), _depth_within(v, BEARD)
    along, share = cKDTree(curve(BROW_LINE, 200)).query(v)
    brows = smooth(1.5 - along / (0.34 - 0.18 * share / 200)) * (v[:, 2] > 5)
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
        "scalp": skin * smooth((0.2 - hairline) / 1.1),
        "beard": skin * (1 - lips) * smooth(0.5 + beardline / 1.6),
        "teeth": head.part("upper teeth", "lower teeth"),
        "mouth": np.maximum(head.part("pocket", "throat"), nostrils),
        "neck": np.maximum(head.part("neck"), skin * smooth((0.12 * (1 - v[:, 2]) - v[:, 1] - 11.0) / 1.5)),
    }
    return {name: mask.astype(float) for name, mask in masks.items()}


def _depth_within(points: Points, outline: Points) -> Values:
    """Distance of points to the half loop `outline` and its mirror image, negative outside."""
    loop = curve(outline, 300)
    half = to_plane(loop)
    inside = points_in_poly(to_plane(points), np.concatenate([half, half[::-1] * (-1, 1)]))
    return np.where(inside, 1, -1) * cKDTree(loop).query(points)[0]


def _landmarks(head: Head) -> Numbers:
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
    head = both_halves()
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
