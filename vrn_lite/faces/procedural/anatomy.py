"""The sculpted head's anatomy as tables: the right half, in centimetres; `surface`, `triangulate`, `mesh_builder` and `builder` make the head of them.

y = 0 at the eyes, z = 0 at the ears, x to the right, y up, z to the viewer. The proportions are those of an average
adult: outer canthi 9.0, bizygomatic width 13.5, nasion to chin 11.6.
"""

import re

import numpy as np
from jaxtyping import Float

Values = Float[np.ndarray, "..."]


def rows(text: str) -> Values:
    """The numbers of a table, rows parted by commas or line ends; leading words are for the reader."""
    found = [re.findall(r"(?<![\w.])-?[\d.]+", row) for row in re.split(r"[,\n]", text)]
    return np.array([row for row in found if row], float)


def names(text: str) -> list[str]:
    """What stands before the first number of each line of a table."""
    return [re.split(r"\s+-?\d", line)[0].strip() for line in text.strip().split("\n")]


CENTRE = np.array([0.0, -2.0, 1.0])
"""The skin is seen from here along rays that meet it once."""

SKIN = rows("""
    skull     0 11.3 -0.5, 0 10.9 2.5, 0 9.5 5.8, 0 6.5 -8.3, 0 2 -9.3, 0 -2.5 -8.6, 0 9.6 -5.2, 3.3 10.6 0, 3 9.3 4.6,
              3.2 9.3 -4.6, 5.3 9 0, 5.3 8 3.6, 6.6 7.2 0, 5.4 8 -4.5, 7.2 5.2 -0.5, 6.8 5.2 -4, 4 5.5 -7.6, 7.35 3 -0.7,
              7 2.3 -4.5, 4.2 2 -8.2, 7.05 0.5 -1.2, 6.5 -1 -4.5, 4 -2.5 -7.6,
    forehead  0 7 8.4, 0 5 9.4, 0 3.4 9.8, 0 1.9 9.95, 3 7 7.6, 5.2 6.4 5.3, 2.5 5.2 9, 4.6 5 7.3, 6.2 5 4.4, 2.6 3.4 9.4,
              4.6 3.3 7.9, 5.8 3.1 5.9, 6.7 3.2 3.2, 6.3 1.4 4.4, 6.9 1.2 2.2, 7.1 1.5 0.3,
    brow      1.2 1.75 9.75, 2.4 1.95 9.35, 3.6 2 8.65, 4.7 1.75 7.65, 5.4 1 6.7,
    socket    0.8 0.2 8.9, 1.5 0.45 8.2, 3 0.75 8, 4.9 0.1 7, 5.6 -0.3 6, 3 -1 8.25, 1.85 -0.9 8.35, 4.2 -0.9 7.8,
    cheek     3 -2.2 8.6, 4.4 -2.1 8, 5.3 -2.1 6.9, 6.1 -1.7 5.3, 6.7 -1.5 3.2, 6.9 -1.8 0.8, 3.6 -4.2 8.5, 5 -4.4 6.8,
              5.9 -4.4 4.2, 6.4 -4.6 1.2, 3.7 -6.8 8, 4.6 -7 6.2, 5.2 -7 4, 5.7 -6.8 1.6, 2.4 -5.2 9.2, 6.75 -1.2 -1, 6 -5 -1,
    nose      0 0.35 9.5, 0 -0.3 9.6, 0 -1.2 10.1, 0 -2.4 10.8, 0 -3.3 11.4, 0 -3.85 11.65, 0 -4.25 11.5, 0 -4.6 10.9,
              0 -4.95 10.25, 0.5 -1.2 9.9, 1 -1.2 9.2, 1.6 -1.4 8.65, 0.45 -2.4 10.55, 1 -2.5 9.6, 1.75 -2.7 8.95,
              0.5 -3.75 11.45, 0.8 -3.85 11, 0.9 -3.3 10.45, 1.45 -4.15 10.35, 1.72 -4.3 9.9, 2 -4.3 9.15, 1.45 -4.72 10,
              1.05 -4.7 10.4, 0.5 -4.6 10.9, 0.9 -5.1 10, 1.7 -5.1 9.5, 2.3 -3.6 8.9,
    mouth     0 -5.7 10.25, 0 -6.35 10.5, 0.8 -5.8 10.2, 1.3 -6.5 10.1, 2.65 -7.05 9.15, 0 -7.05 10.3, 1.3 -7 9.95,
              0 -7.95 10.2, 1.4 -7.75 9.9,
    chin      0 -8.6 9.8, 1.3 -8.6 9.6, 0 -10.1 10.1, 0 -11 9.7, 0 -11.5 8.8, 1.5 -10.2 9.6, 2.9 -8.8 8.4, 2.6 -10.3 8.1,
              3.9 -9 6.4,
    jaw       1.6 -11.15 8.4, 2.9 -10.85 6.9, 3.8 -10.1 5.2, 4.55 -9.2 3.5, 5 -8.3 2, 5.6 -6.6 0,
    neck      0 -11.7 7, 0 -12.1 4.9, 0 -14 3.7, 0 -16 3.2, 2.2 -11.7 5.6, 3.4 -11.4 3.6, 3.2 -14 2.6, 3.2 -16 2.2,
              4.7 -10.2 0.8, 5.3 -9.5 -1.8, 5.3 -13 -1.8, 5.4 -16 -1.8, 5 -5.5 -4.2, 4.6 -10 -5.2, 4.6 -15 -5.4, 0 -7 -7.6,
              0 -11 -7.3, 0 -16 -7.4
""")
"""Points (x, y, z) that the skin passes through, before it is carved."""

CARVING = """
    nostril              0.62 -4.72 10.6  0.24 0.14  -0.22
    alar groove          1.12 -3.6 10.4   0.2 0.22   -0.12
    alar groove behind   1.9 -3.75 9.4    0.25 0.35  -0.14
    ala                  1.55 -4.25 10.1  0.28 0.28  0.14
    tip                  0.22 -3.8 11.6   0.28 0.3   0.05
    philtrum             0 -5.75 10.3     0.2 0.5    -0.07
    philtral column      0.42 -5.8 10.3   0.16 0.4   0.05
    nasolabial fold      2.45 -5.3 9.3    0.3 0.5    -0.08
    low nasolabial fold  3 -6.3 8.9       0.3 0.5    -0.08
    mouth corner         2.8 -7 9.1       0.35 0.35  -0.1
"""
"""Gaussian dents and bumps: centre, widths across and along, height."""

EYE, EYE_RADIUS, LID = np.array([2.98, 0.03, 6.92]), 1.55, 0.14
"""Middle and radius of the eyeball, thickness of the lids."""

FISSURE = rows("1.65 -0.12, 4.45 0.06")
"""Inner and outer corner of the eye, x and y."""

LIP_SEAM = rows("0 -7.1, 0.45 -7.06, 1.1 -6.99, 1.8 -7, 2.4 -7.01")
LIP_UPPER = rows("0 -6.4, 0.45 -6.22, 1.1 -6.45, 1.8 -6.74, 2.62 -7")
LIP_LOWER = rows("0 -7.95, 0.5 -7.93, 1.2 -7.78, 1.95 -7.43, 2.62 -7")
"""Seam of the mouth and the borders of the red, x and y, from the midline to the corner."""

RIM = rows("""
    0 7.3 8.2, 2.5 7 7.7, 4.6 6 6.3, 6.2 4.2 4.4, 6.8 2 2.4, 7 -0.3 1.2, 6.8 -2.5 1, 6.45 -4.7 1, 5.85 -6.9 1.2, 5.1 -8.8 2.1, 4.3 -10 3.8,
    3.2 -11 5.7, 1.7 -11.4 7.3, 0 -11.65 7.9
""")
"""Where the face patch ends: forehead, temple, before the ear, under the jaw, chin."""

COLLAR = rows("0 -16 3.2, 1.8 -16 2.9, 3.6 -16 1.9, 4.9 -16 0.2, 5.4 -16 -1.9, 5 -16 -4.6, 3.2 -16 -6.6, 0 -16 -7.4")
"""Where the skin ends and the neck goes straight down."""

HAIRLINE = rows("""
    0 6.4 8.7, 2.5 6.2 8.2, 4.4 5.4 7.2, 5.4 3.9 6.4, 5.9 2.4 5.6, 6.7 1.3 3.4, 6.8 -0.6 2.3, 7 -2.2 1.6, 7.1 -2.2 0.6, 7.2 0.6 0, 7 0.6 -1.8,
    6.4 -3 -2.6, 5.2 -6 -4.3, 3 -7.6 -6.6, 0 -7.9 -7.5
""")
BEARD = rows("""
    0 -5.2 10.2, 1.5 -5.35 9.7, 2.6 -5.9 9, 3.3 -7 8.4, 4.4 -7.2 7, 5.6 -5.8 4.6, 6.4 -3 2.6, 7 -2 1, 5.9 -6.5 0.6, 4.6 -9.8 2, 3 -11.6 4.6,
    0 -12.2 5.2
""")
"""Outlines of what has no hair, and of the beard."""

JAW_LINE = rows(
    "0 -11.45 8.9, 1.6 -11.1 8.4, 2.9 -10.7 6.9, 4 -9.8 5, 4.9 -8.4 3, 5.65 -6.6 2.1, 6.3 -4.7 1.8, 6.7 -2.7 1.7, 6.9 -0.6 1.8"
)
BROW_LINE = rows("1.1 1.9 9.7, 1.95 2.2 9.5, 2.95 2.38 9, 3.9 2.3 8.3, 4.8 1.85 7.4")
NOSE_LINE = rows("0 0.1 9.5, 0 -1.2 10.1, 0 -2.5 10.85, 0 -3.8 11.65, 0 -4.95 10.25, 0.7 -4.98 10.15, 1.4 -4.85 9.8")
"""Landmarks 8 to 16, a curve through 22 to 26, landmarks 27 to 30 and 33 to 35."""

FINE = rows("""
    0 -4.2 11 0.2, 1 -4.2 10.4 0.2, 1.7 -4.2 9.6 0.22, 0 -2.5 10.9 0.26, 1 -2.5 9.8 0.28, 3 0 8.4 0.18, 1.9 0.3 8 0.2, 4.4 0 7.5 0.2,
    1 1.8 9.7 0.24, 2.2 2.1 9.3 0.24, 3.4 2.2 8.6 0.24, 4.6 1.9 7.7 0.24, 0 -7 10.2 0.2, 1.3 -7 10 0.2, 2.6 -7 9.2 0.2
""")
"""Where the mesh is fine: (x, y, z) and the spacing there."""

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

IDENTITY = """
    face width          0 0 0          99    0 0 0        0.028 0 0
    face height         0 -1 8         99    0 0 0        0 0.03 0
    face depth          0 0 4          99    0 0 0        0 0 0.022
    jaw width           5.2 -8.3 3     2.8   0.32 0 0     0 0 0
    jaw angle           5.2 -8.3 3     2.4   0 0.35 0     0 0 0
    chin forward        0 -10.6 9.5    2.2   0 0 0.32     0 0 0
    chin height         0 -11.2 8.8    2.4   0 -0.32 0    0 0 0
    chin width          1.8 -10.8 8.8  1.6   0.28 0 0     0 0 0
    nose length         0 -4.4 10.8    1.3   0 -0.22 0    0 0 0
    nose width          1.5 -4.3 9.7   0.9   0.16 0 0     0 0 0
    nose bridge height  0 -1.4 10.2    1.2   0 0 0.2      0 0 0
    nose bridge hump    0 -2.1 10.7    0.7   0 0 0.12     0 0 0
    nose bridge width   0.8 -1.8 9.6   0.8   0.1 0 0      0 0 0
    nose tip forward    0 -3.9 11.6    1     0 0 0.24     0 0 0
    nose tip up         0 -3.9 11.6    0.9   0 0.2 0      0 0 0
    nostril flare       1.6 -4.3 9.7   0.55  0.1 0.1 0    0 0 0
    eye distance        2.98 0 8.2     1.8   0.12 0 0     0 0 0
    eye depth           2.98 0 8.2     1.6   0 0 0.14     0 0 0
    eye height          2.98 0 8.2     1.8   0 0.12 0     0 0 0
    brow ridge          2.2 1.9 9.4    1.2   0 0 0.16     0 0 0
    brow height         2.9 2.2 9      1     0 0.16 0     0 0 0
    brow slant          4.4 2 7.9      0.9   0 0.14 0     0 0 0
    cheekbones          5.3 -2 6.8     1.7   0.16 0 0.14  0 0 0
    cheek fullness      4.3 -5.2 7.5   2     0.22 0 0.18  0 0 0
    lip thickness       0 -7.05 10.2   1.5   0 0 0.05     0 0.2 0
    lip protrusion      0 -7 10.3      1.5   0 0 0.15     0 0 0
    mouth width         2.5 -7.1 9.4   1.2   0.2 0 -0.05  0 0 0
    mouth height        0 -7.1 10      2.2   0 0.16 0     0 0 0
    mouth corners       2.5 -7.1 9.4   0.9   0 0.12 0     0 0 0
    philtrum length     0 -5 10.2      0.9   0 0.12 0     0 0 0
    forehead slope      0 6.5 8.5      3     0 0 0.3      0 0 0
    forehead height     0 8.5 6        4     0 0.35 0     0 0 0
    temples             6.2 2.4 4.5    1.7   0.2 0 0      0 0 0
    mouth aside         0 -7.1 10      2     0.1 0 0      0 0 0
    nose aside          0 -3.6 11      1.4   0.1 0 0      0 0 0
    jaw aside           0 -10 8.5      3.2   0.16 0 0     0 0 0
"""
"""Identity modes: centre, reach, shift there and stretch around it, for one standard deviation; mirrored, off the midline."""

SOFT = """
    mouthSmile_L      both   2.5 -7.05 9.3  1.15  0.5 0.5 -0.35
    mouthSmile_L      both   3.9 -4.2 8.3   1.4   0.15 0.25 0.15
    mouthSmile_L      both   1.2 -6.9 10    0.9   0.12 0.12 -0.12
    mouthFrown_L      both   2.5 -7.1 9.3   1.1   0.1 -0.55 -0.1
    mouthFrown_L      both   0.9 -8.4 9.8   0.9   0 0.12 0.08
    mouthStretch_L    both   2.5 -7.1 9.3   1.2   0.5 -0.25 -0.3
    mouthStretch_L    both   3.2 -8.5 8.5   1.3   0.2 -0.2 -0.05
    mouthPress_L      upper  1.2 -6.6 10.1  0.8   0.05 -0.16 -0.06
    mouthPress_L      lower  1.2 -7.5 10    0.8   0.05 0.16 -0.06
    mouthUpperUp_L    upper  1 -6.5 10.2    0.9   0.05 0.42 0.08
    mouthUpperUp_L    both   1.9 -4.9 9.3   0.9   0.05 0.2 0.1
    mouthLowerDown_L  lower  1 -7.6 10      0.9   0.05 -0.42 -0.05
    mouthPucker       both   2.5 -7.1 9.3   1.15  -0.9 0 0.4
    mouthPucker       both   0 -7.05 10.3   1.1   0 0 0.4
    mouthPucker       lower  0 -8.2 10      0.7   0 0.15 0.1
    mouthFunnel       both   2.5 -7.1 9.3   1.1   -0.6 0 0.35
    mouthFunnel       upper  0 -6.5 10.3    1.2   0 0.3 0.4
    mouthFunnel       lower  0 -7.6 10.2    1.2   0 -0.4 0.4
    mouthLeft         both   0.4 -7.1 10    2     0.6 0 -0.05
    browInnerUp_L     both   1.1 1.8 9.7    1     0 0.45 0.05
    browInnerUp_L     both   1.2 3.2 9.7    1.1   0 0.2 0.04
    browOuterUp_L     both   3.9 2.1 8.4    1.1   0 0.45 0
    browOuterUp_L     both   3.6 3.4 8.6    1.1   0 0.15 0
    browDown_L        both   1.7 1.9 9.5    1.3   -0.18 -0.38 0.1
    cheekPuff_L       both   4 -6.3 7.9     1.6   0.45 0 0.42
    cheekPuff_L       both   1.2 -6.9 10    0.9   0 0 0.12
    cheekSquint_L     both   3.7 -2.3 8.3   1.2   0 0.35 0.18
    noseSneer_L       both   1.5 -3.9 9.9   0.8   0.06 0.32 0.05
    noseSneer_L       both   0.6 -1 9.8     0.6   0 0.1 0.1
    noseSneer_L       upper  1.4 -6.2 10.1  0.8   0 0.22 0.05
"""
"""Expressions of the skin: the lip that follows, centre, reach, shift; the person's left is x > 0."""

LIDS = {
    "eyeBlink_L": (-0.88, 0.1),
    "eyeWide_L": (0.28, -0.12),
    "eyeSquint_L": (-0.2, 0.35),
    "cheekSquint_L": (-0.05, 0.28),
}
LIDS |= {"eyeLookUp_L": (0.16, 0.03), "eyeLookDown_L": (-0.36, -0.1)}
"""Shift of the upper and of the lower lid, as shares of the opening."""

GAZE = {
    "eyeLookUp_L": (-20.0, 0.0),
    "eyeLookDown_L": (22.0, 0.0),
    "eyeLookIn_L": (0.0, -27.0),
    "eyeLookOut_L": (0.0, 27.0),
}
"""Turn of the eyeball about x and about y, in degrees."""

JAW_MOVES = {"jawOpen": (15.0, (0, 0, 0)), "jawLeft": (0.0, (0.5, 0, 0)), "jawForward": (0.0, (0, 0.05, 0.5))}
"""Turn of the lower jaw about the axis through `JAW_AXIS`, in degrees, and its shift."""

JAW_AXIS = np.array([0, -2.6, 1.0])
