"""The built-in sculpted face: nothing to download, no licence to ask for."""

from vrn_lite.faces.morphable import MorphableFace, grow_hair


def procedural() -> MorphableFace:
    """The built-in sculpted face: nothing to download, no licence to ask for."""
    from vrn_lite.faces.procedural.builder import procedural as sculpt  # its head takes a second to build

    return grow_hair(sculpt())
