"""The sculpted head, put together and rounded: what the file of `vrn_lite.faces.procedural` holds."""

from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from skimage.measure import points_in_poly

from vrn_lite.faces.procedural import FILE, STEP, anatomy
from vrn_lite.faces.procedural.anatomy import EYE, EYE_RADIUS, LID_COUNT, LIP_STEPS, Values
from vrn_lite.faces.procedural.head import Head, both_halves
from vrn_lite.faces.procedural.modes import expressions, identities
from vrn_lite.faces.procedural.surface import Points, curve, smooth, to_plane
from vrn_lite.faces.procedural.triangulate import Numbers
from vrn_lite.files import write_arrays


def build() -> dict[str, np.ndarray]:
    """The arrays of the head's file: lengths and masks in units of `STEP`, numbers of vertices, names."""
    head = both_halves()
    moves = expressions(head)
    masks = _regions(head)
    return {
        "mean": _steps(head.vertices),
        "identity": _steps(list(identities(head).values())),
        "expression": _steps(list(moves.values())),
        "expression_names": np.array(list(moves)),
        "triangles": head.triangles.astype(np.int16),
        "landmarks": _landmarks(head).astype(np.int16),
        "patch": head.patch,
        "regions": _steps(list(masks.values())),
        "region_names": np.array(list(masks)),
    }


def write(path: Path = FILE) -> None:
    """Build the head and write its file."""
    write_arrays(path, build())


def _steps(values: Values | list[Values]) -> Numbers:
    """Lengths or masks in units of `STEP`; x and -x are rounded alike, so that mirror images stay mirror images."""
    return np.rint(np.asarray(values) / STEP).astype(np.int32)


def _regions(head: Head) -> dict[str, Values]:
    """Soft masks by name."""
    v = np.abs(head.vertices) * (1, 0, 0) + head.vertices * (0, 1, 1)
    skin, ball = head.part("skin", "lids", "lips", "back"), head.part("eyeball")
    polar = np.degrees(np.arccos(np.clip((v - EYE)[:, 2] / EYE_RADIUS, -1, 1)))
    lips = np.interp(head.step, (-3, -2, 0.9, 1, 1.3), (0, 1, 1, 0.5, 0))
    hairline, beardline = _depth_within(v, anatomy.HAIRLINE), _depth_within(v, anatomy.BEARD)
    along, share = cKDTree(curve(anatomy.BROW_LINE, 200)).query(v)
    brows = smooth(1.5 - along / (0.34 - 0.18 * share / 200)) * (v[:, 2] > 5)
    lashes = head.index["lids"][1, : LID_COUNT // 2 + 1]
    brows[lashes] = brows[head.flip[lashes]] = 0.6
    nostril = anatomy.CARVING[0]
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
    eye = at["lids"][
        1, [18, 12, 6, 0, 30, 24]
    ]  # inner corner, two of the upper lid, outer corner, two of the lower lid
    right = {"jaw": jaw[1:][::-1], "brow": brow, "eye": eye, "upper": outer[[2, 7, 14]], "lower": outer[[21, 25]]}
    return np.concatenate([
        flip[right["jaw"]], jaw, flip[brow[::-1]], brow, nose[:4], flip[nose[:4:-1]], nose[4:],
        flip[eye[[3, 2, 1, 0, 5, 4]]], eye,
        flip[right["upper"][::-1]], outer[:1], right["upper"], right["lower"], outer[-1:], flip[right["lower"][::-1]],
        flip[inner[[14, 5]]], inner[[0, 5, 14, 23, 28]], flip[inner[[23]]],
    ])  # fmt: skip
