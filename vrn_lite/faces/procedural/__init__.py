"""The built-in face: a head sculpted in code, loaded from the file that its `builder` wrote.

::

    anatomy (tables) --surface--> skin, lids, lips --triangulate, mesh_builder--> parts --head--> both halves
                                                                                                     |
    MorphableFace <--`procedural`-- head.npz <--`python -m vrn_lite.faces.procedural`-- builder <--modes

        y up
        |
        +--- x right
       /                        centimetres; y = 0 at the eyes, z = 0 at the ears
      z to the viewer

All lengths and masks of the file are whole multiples of `STEP`, so that it is small, and the same as the builder's to
the last bit.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vrn_lite.faces.morphable import MorphableFace, grow_hair

FILE = Path(__file__).with_name("head.npz")

STEP = 2.0**-16
"""What lengths (in centimetres) and masks are rounded to."""


def procedural() -> MorphableFace:
    """The built-in face, with hair: nothing to download, no licence to ask for.

    Returns
    -------
    MorphableFace in centimetres: x right, y up, z to the viewer.

    Examples
    --------
    >>> face = procedural()
    >>> face.mesh().vertices.shape[0] > len(face.mean)
    True
    """
    return grow_hair(bald())


@lru_cache(maxsize=1)
def bald() -> MorphableFace:
    """The built-in face without hair; treat its tensors as constants."""
    with np.load(FILE) as archive:
        return face_of(archive)


def face_of(arrays: Mapping[str, np.ndarray]) -> MorphableFace:
    """The face model of the builder's arrays, or of those of its file."""
    return MorphableFace(
        name="procedural",
        mean=_length(arrays["mean"]),
        identity=_length(arrays["identity"]),
        expression=_length(arrays["expression"]),
        expression_names=tuple(map(str, arrays["expression_names"])),
        triangles=torch.from_numpy(arrays["triangles"].astype(np.int64)),
        landmarks=torch.from_numpy(arrays["landmarks"].astype(np.int64)),
        patch=torch.from_numpy(arrays["patch"]),
        regions=dict(zip(map(str, arrays["region_names"]), _length(arrays["regions"]), strict=True)),
        often=("jawOpen", "mouthSmile"),
    )


def _length(steps: Int[np.ndarray, "..."]) -> Float[Tensor, "..."]:
    return torch.from_numpy(steps.astype(np.float32) * np.float32(STEP))
