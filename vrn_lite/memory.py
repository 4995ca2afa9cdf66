"""Memory that the C library keeps for later, given back to the system."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache


@cache
def _trim() -> Callable[[int], int] | None:
    """The GNU C library's `malloc_trim`; None where there is another library."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


MANY = 2**24
"""Voxels of a batch from which on its memory is worth giving back; a training of minutes has fewer."""


def trim_malloc(voxels: int = MANY) -> None:
    """Hand memory that was used and is free again back to the system, around batches of `MANY` voxels or more.

    The GNU C library keeps what it was given by blocks of up to 32 MB, about as large as a batch of volumes or of a
    network's activations, and it fits new blocks of other sizes beside them instead of into them. After a training of
    minutes, half of what a process holds is such free memory. Giving it back takes milliseconds; no value changes.
    Where the C library has no such call, nothing happens.
    """
    trim = _trim()
    if trim is not None and voxels >= MANY:
        trim(0)
