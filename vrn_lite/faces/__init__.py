"""Where faces come from: every source gives one `MorphableFace`."""

from vrn_lite.faces.basel_model import basel
from vrn_lite.faces.ict_facekit import ict
from vrn_lite.faces.morphable import MorphableFace, grow_hair

__all__ = ["MorphableFace", "basel", "ict", "procedural"]


def procedural() -> MorphableFace:
    """The built-in sculpted face: nothing to download, no licence to ask for."""
    from vrn_lite.faces.sculpted import procedural as sculpt  # its head takes a second to build

    return grow_hair(sculpt())
