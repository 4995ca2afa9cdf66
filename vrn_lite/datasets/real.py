"""A test set that exists: what an evaluation needs to know of photographs or scans on somebody's disk."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vrn_lite.evaluation.testsets import beginning
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, InputError, require
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.samples import FacePairs


@dataclass(frozen=True)
class RealSet:
    """A real test set; `protocols.evaluate` and `compare` take it in place of a face model.

    Attributes
    ----------
    protocol : name of the protocol that it follows: florence, bu4dfe or aflw2000.
    source : name of the data, for tables.
    face : a face model in the samples' model frame: its mean is the bound "mean face", its `interocular` the samples'.
    size : how many samples there are.
    batches : from a grid and a seed to all samples in order, in batches.
    """

    protocol: str
    source: str
    face: MorphableFace
    size: int
    batches: Callable[[Grid, int], Iterator[FacePairs]]

    def __call__(self, n: int | None = None, seed: int = 2017, *, preset: Preset | str = "lite") -> Iterator[FacePairs]:
        """The first n samples (all by default) for a preset's grid; `seed` is that of light and background, where they are rendered.

        Raises
        ------
        InputError : a file cannot be read (its name is in the message), or the set has fewer than n samples.
        """
        left = self.count(n)
        for pairs in self.batches(preset_named(preset).grid, seed):
            yield beginning(pairs, left)
            left -= len(pairs)
            if left <= 0:
                return

    def count(self, n: int | None = None) -> int:
        """How many samples n stands for."""
        require(n is None or 0 < n <= self.size, f"{self.source} has {self.size} samples here, got n = {n}")
        return self.size if n is None else n


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
