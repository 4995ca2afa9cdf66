"""Where faces come from: every source gives one `MorphableFace`."""

from vrn_lite.faces.basel import basel
from vrn_lite.faces.ict import cached_model, ict
from vrn_lite.faces.morphable import MorphableFace, grow_hair
from vrn_lite.faces.procedural import procedural

__all__ = ["MorphableFace", "basel", "default", "grow_hair", "ict", "procedural"]


def default() -> MorphableFace:
    """ICT-FaceKit where it has been fetched (``vrn-lite fetch ict``), else the built-in face."""
    return ict() if cached_model().is_file() else procedural()
