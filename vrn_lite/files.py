"""Files that are written at once or not at all, and those of one kind in a folder."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError

from vrn_lite.frame import InputError, require

T = TypeVar("T")


def atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary neighbour, then rename: `path` holds the old file or the whole new one.

    Raises
    ------
    InputError : the folder cannot be written, or the disk is full.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch and safetensors report a read-only or full disk in their own ways
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise InputError(f"cannot write {path}: {reason}; choose another folder, or free some space") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays `atomically` as a compressed .npz file."""

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)

    atomically(path, write)


def sweep(folder: Path) -> None:
    """Remove what processes that were killed while they wrote `atomically` have left in a folder."""
    for part in folder.glob("*.part"):
        writer = re.search(r"\.(\d+)\.part$", part.name)
        if writer and not _runs(int(writer[1])):
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process of that number exists; where it cannot be asked without harm (Windows), it does."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def readable(paths: Iterable[Path], read: Callable[[Path], T], left_out: dict[str, str]) -> Iterator[T]:
    """What `read` gives of files, one by one; those that it refuses are told in `left_out`, with what is wrong."""
    for path in paths:
        try:
            yield read(path)
        except InputError as error:
            left_out[str(path)] = str(error)


def files_in(folder: str | Path, suffixes: tuple[str, ...], what: str) -> list[Path]:
    """Files with one of these suffixes, sorted: those in the folder itself, and where it has none, those further down.

    Raises
    ------
    InputError : no such folder, or no such files in it.
    """
    folder = Path(folder)
    require(folder.is_dir(), f"no such folder: {folder}")
    for paths in (folder.iterdir(), folder.rglob("*")):
        found = sorted(path for path in paths if path.name.lower().endswith(suffixes) and path.is_file())
        if found:
            return found
    raise InputError(f"no {what} ({', '.join(suffixes)}) in {folder}")
