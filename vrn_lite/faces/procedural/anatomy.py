"""The sculpted head's anatomy, the right half, in centimetres: the tables of ``anatomy.toml``, and single measures."""

import re
import tomllib
from pathlib import Path

import numpy as np
from jaxtyping import Float

Values = Float[np.ndarray, "..."]

_TABLES = tomllib.loads(Path(__file__).with_name("anatomy.toml").read_text(encoding="utf-8"))


def rows(table: str) -> Values:
    """The numbers of a table, without the words before them."""
    found = [re.findall(r"(?<![\w.])-?[\d.]+", row) for row in re.split(r"[,\n]", _TABLES[table])]
    return np.array([row for row in found if row], float)


def labelled(table: str) -> list[tuple[str, Values]]:
    """The lines of a table: what stands before the first number, and the numbers."""
    labels = [re.split(r"\s+-?\d", line)[0].strip() for line in _TABLES[table].strip().split("\n")]
    return list(zip(labels, rows(table), strict=True))


SKIN = rows("skin")
CARVING = rows("carving")
FISSURE = rows("fissure")
LIP_SEAM = rows("lip_seam")
LIP_UPPER = rows("lip_upper")
LIP_LOWER = rows("lip_lower")
RIM = rows("rim")
COLLAR = rows("collar")
HAIRLINE = rows("hairline")
BEARD = rows("beard")
JAW_LINE = rows("jaw_line")
BROW_LINE = rows("brow_line")
NOSE_LINE = rows("nose_line")
FINE = rows("fine")

CENTRE = np.array([0.0, -2.0, 1.0])
"""The skin is seen from here along rays that meet it once."""

EYE, EYE_RADIUS, LID = np.array([2.98, 0.03, 6.92]), 1.55, 0.14
"""Middle and radius of the eyeball, thickness of the lids."""

OUTLINE = 10.0
"""Radius of the plane's disc; the back of the skull beyond it is one cap."""

LIP_STEPS = (-2, -1, 0, 0.18, 0.4, 0.7, 1, 1.3)
"""Rings of the lips: in the mouth, behind the seam, the seam (0), up to the border of the red (1), just outside."""

LIP_SIDE = np.r_[np.ones(14), 0, -np.ones(14)]
"""Columns of those rings: upper lip from the midline to the corner, then lower lip back to the midline."""

LID_COUNT = 36
"""Columns of the lids' rings, counter-clockwise from the outer corner."""

TOOTH_ENDS = np.cumsum([0, 0.44, 0.34, 0.4, 0.36, 0.36, 0.5, 0.5])
"""Gaps between the teeth along the arch, from the midline."""

EAR = np.array([7.4, -1.5, -1.0])
EAR_AXES = np.array([[0.30, 0.12, -0.95], [0.10, 0.98, -0.2], [0.95, -0.02, 0.30]])
"""Middle of the ear, and its directions backward, up and outward."""

JAW_AXIS = np.array([0, -2.6, 1.0])
"""The lower jaw turns about the axis through it, along x."""
