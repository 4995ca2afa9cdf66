"""How fast and how exact: `voxelize` beside VTK and trimesh, and pairs a second; `vrn-lite bench` prints it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch
import trimesh

from vrn_lite.camera import place
from vrn_lite.faces import procedural
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import AUTHORS_DEPTH_SCALE, AUTHORS_SHAPE, Grid, Triangles, Vertices, require
from vrn_lite.mesh import signed_volume
from vrn_lite.pairs import make_pairs
from vrn_lite.volume import voxelize

GRID = Grid(*AUTHORS_SHAPE, AUTHORS_DEPTH_SCALE)

PRESETS = ("lite", "colab", "paper")
"""Image sides of 64, 128 and 192 pixels."""


@dataclass(frozen=True)
class Measurement:
    """One line of the benchmark.

    Attributes
    ----------
    task : what was done.
    by : who did it.
    value, unit : the median over `runs`; None where it could not be measured, and `note` says why.
    volume_error : counted volume against the mesh's own, relative; None where it has no meaning.
    """

    task: str
    by: str
    value: float | None
    unit: str
    runs: int = 0
    volume_error: float | None = None
    note: str = ""


def run(faces: tuple[MorphableFace, ...] = (), repeats: int = 9, slow_repeats: int = 3, batch: int = 16) -> Iterator[Measurement]:
    """All measurements, one by one as they are ready; threads as torch has them.

    Parameters
    ----------
    faces : sources for the rates of `make_pairs`; the procedural face where empty.
    repeats : timed runs; each number is their median.
    slow_repeats : the same for trimesh, which takes seconds a run.
    batch : samples a call of `make_pairs`.
    """
    require(min(repeats, slow_repeats, batch) >= 1, f"repeats and batch must be at least 1, got {repeats}, {slow_repeats} and {batch}")
    faces = faces or (procedural(),)
    yield from voxelizers(*head(procedural()), repeats, slow_repeats)
    for face in faces:
        for name in PRESETS:
            yield pair_rate(face, name, repeats, batch)


def head(face: MorphableFace, pose: tuple[float, float, float] = (14.0, 9.0, 4.0)) -> tuple[Vertices, Triangles]:
    """A closed head in the middle of the authors' grid; each triangle is split in four.

    It is turned a little: a flat wall along the grid would round to whole voxels, which says nothing of a voxelizer.
    """
    mesh, (yaw, pitch, roll) = face.mesh(), (torch.tensor([angle]) for angle in pose)
    placed = place(mesh.landmark_points()[None], yaw, pitch, roll, face.unit, GRID)(mesh.vertices[None])[0]
    split, faces = trimesh.remesh.subdivide(placed.numpy(), mesh.solid_triangles().numpy())
    used, numbers = np.unique(faces, return_inverse=True)
    vertices, size = torch.from_numpy(split[used]).float(), torch.tensor([GRID.width, GRID.height, GRID.depth / GRID.depth_scale])
    low, high = vertices.amin(0), vertices.amax(0)
    require(bool((high - low < size).all()), "the benchmark's head must fit into the grid: choose a source with a shallower wall")
    return vertices + (size - low - high) / 2, torch.from_numpy(numbers.reshape(-1, 3)).long()


def voxelizers(vertices: Vertices, triangles: Triangles, repeats: int, slow_repeats: int) -> list[Measurement]:
    """`voxelize`, VTK and trimesh filling the same grid with the same closed mesh, in alternating runs."""
    exact = float(signed_volume(vertices, triangles)) * GRID.depth_scale  # voxels are 1 / depth_scale deep
    fillers = {"vrn_lite": partial(_ours, vertices, triangles), "VTK (pyvista)": _vtk(vertices, triangles), "trimesh": _trimesh(vertices, triangles)}
    times, counts = _alternating(fillers, {"trimesh": slow_repeats}, repeats)
    task = f"fill {GRID.depth} x {GRID.height} x {GRID.width} with {len(triangles):,} triangles"
    notes = {"trimesh": "fewer runs: each takes seconds"}
    return [
        Measurement(task, name, 1000 * median(times[name]), "ms", len(times[name]), counts[name] / exact - 1, notes.get(name, ""))
        if name in times
        else Measurement(task, name, None, "ms", note="not installed: pip install 'vrn_lite[bench]'")
        for name in fillers
    ]


Filler = Callable[[], int]
"""Fills the grid once and returns the number of voxels inside."""


def _ours(vertices: Vertices, triangles: Triangles) -> int:
    return int(voxelize(vertices, triangles, GRID.shape, GRID.depth_scale).count_nonzero())


def _vtk(vertices: Vertices, triangles: Triangles) -> Filler | None:
    """VTK's stencil, with grid points on the voxel centres; None without pyvista."""
    try:
        import pyvista
    except ImportError:
        return None
    surface = pyvista.PolyData.from_regular_faces(vertices.numpy(), triangles.numpy())
    step = 1 / GRID.depth_scale
    centres = pyvista.ImageData(dimensions=GRID.shape[::-1], spacing=(1, 1, step), origin=(0.5, 0.5, step / 2))
    return lambda: int(np.count_nonzero(surface.voxelize_binary_mask(reference_volume=centres)["mask"]))


def _trimesh(vertices: Vertices, triangles: Triangles) -> Filler:
    """The whole shell, filled; z is scaled so that voxels are cubes."""
    mesh = trimesh.Trimesh(vertices.numpy() * (1, 1, GRID.depth_scale), triangles.numpy(), process=False)
    return lambda: int(mesh.voxelized(1).fill().filled_count)


def _alternating(fillers: dict[str, Filler | None], fewer: dict[str, int], repeats: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of every run and voxels inside, by name; one warm-up each, then turn by turn, so that a busy moment hits all alike."""
    present = {name: fill for name, fill in fillers.items() if fill is not None}
    counts = {name: fill() for name, fill in present.items()}
    times: dict[str, list[float]] = {name: [] for name in present}
    for turn in range(repeats):
        for name, fill in present.items():
            if turn < fewer.get(name, repeats):
                times[name].append(_seconds(fill))
    return times, counts


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def pair_rate(face: MorphableFace, preset: str, repeats: int = 9, batch: int = 16) -> Measurement:
    """Pairs a second, full appearance and training poses, on the device of `face`."""
    generator = torch.Generator().manual_seed(0)

    def work() -> None:
        make_pairs(face, preset, batch, generator)
        if face.mean.is_cuda:
            torch.cuda.synchronize()

    work()
    rate = batch / median(_seconds(work) for _ in range(repeats))
    return Measurement(f"make_pairs, preset {preset}", f"{face.name} faces", rate, "pairs/s", repeats, note=f"batch {batch}")
