"""Test sets with fixed seeds, and one table out: the held-out faces (paper section 4)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from math import ceil, inf
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, InputError, Volume, require
from vrn_lite.metrics import iou, vertex_errors
from vrn_lite.networks.vrn import VRN
from vrn_lite.pairs import STEADY, FacePairs, PoseRange, make_pairs
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.volume import isosurface, voxelize

CHUNK = 16
"""Faces of a test set are made so many at a time, always: face i is then the same however many are asked for."""

YAW_EDGES = (-90, -60, -20, 20, 60, 90)
"""Bins of yaw in degrees; the paper's -80, -40, 0, 40 and 80 fall one in each."""


def heldout_seed(seed: int, chunk: int) -> int:
    """Seed of a chunk of held-out faces, in the upper half of 32 bits.

    PyTorch's CPU generator looks at the lower 32 bits of its seed only. Training counts its seeds up from
    seed * 1,000,003, which stays in the lower half for seeds up to 2,146, so that no generator here ever equals one there.
    """
    return 2**31 + (seed * 100_003 + chunk) % 2**31


def heldout(
    source: MorphableFace,
    n: int = 256,
    seed: int = 2017,
    *,
    preset: Preset | str = "lite",
    poses: PoseRange = STEADY,
    device: torch.device | str | None = None,
) -> Iterator[FacePairs]:
    """Faces that no training has seen: yaw uniform in -90 to 90, pitch normal 15 clipped at 40, full appearance, no jitter.

    Parameters
    ----------
    source : where identities and expressions come from; another one than the training's makes the test cross-database.
    n : number of faces; a smaller set is the beginning of a larger one.
    seed : of the set.
    preset : gives the grid; shapes, poses and lights are the same at every preset.
    poses : another range of poses, or with jitter.
    device : where the pairs are made; by default where `source` is.

    Yields
    ------
    FacePairs of up to 16 samples.
    """
    require(n > 0, f"a test set needs faces, got n = {n}")
    for start in range(0, n, CHUNK):
        generator = torch.Generator().manual_seed(heldout_seed(seed, start // CHUNK))
        yield _first(make_pairs(source, preset, CHUNK, generator, device, poses=poses), n - start)


def _first(pairs: FacePairs, count: int) -> FacePairs:
    """The first `count` samples of a batch."""
    cut = {f.name: getattr(pairs, f.name)[:count] for f in fields(pairs) if f.name not in ("truth", "camera")}
    camera = replace(pairs.camera, **{f.name: getattr(pairs.camera, f.name)[:count] for f in fields(pairs.camera)})
    return FacePairs(**cut, truth=pairs.truth.moved(pairs.truth.vertices[:count]), camera=camera)


@dataclass(frozen=True)
class Row:
    """One reconstruction of one sample.

    Attributes
    ----------
    method : "network", "oracle" or "mean face".
    sample : number in the test set.
    yaw, pitch : degrees, as the image shows them.
    iou, iou_front : over all slices, and over those before the head's pivot.
    nme, nme_rigid, nme_levelled : see `VertexErrors`; infinite where there is no surface.
    """

    method: str
    sample: int
    yaw: float
    pitch: float
    iou: float
    iou_front: float
    nme: float
    nme_rigid: float
    nme_levelled: float


SCORES = ("iou", "iou_front", "nme", "nme_rigid", "nme_levelled")
"""The columns of a `Row` that are results."""


@dataclass(frozen=True)
class Table:
    """Results of one evaluation: all rows, and where they come from."""

    rows: tuple[Row, ...]
    preset: str
    source: str

    def of(self, method: str) -> "Table":
        """The rows of one method."""
        found = tuple(row for row in self.rows if row.method == method)
        require(len(found) > 0, f"no results of method {method!r}: choose one of {', '.join(self.methods)}")
        return replace(self, rows=found)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in their first order."""
        return tuple(dict.fromkeys(row.method for row in self.rows))

    def column(self, name: str) -> Float[Tensor, " n"]:
        """One number of every row."""
        return torch.tensor([getattr(row, name) for row in self.rows], dtype=torch.float64)

    def mean(self) -> dict[str, float]:
        """Mean of each score, with the number of rows as "n"."""
        return {"n": len(self.rows)} | {name: float(self.column(name).mean()) for name in SCORES}

    def by_yaw(self, edges: Sequence[float] = YAW_EDGES) -> dict[str, dict[str, float]]:
        """Means over bins of yaw, named "low to high"; the last bin holds its upper edge, empty bins are left out."""
        bins = {}
        for low, high in pairwise(edges):
            inside = tuple(row for row in self.rows if low <= row.yaw < high or row.yaw == high == edges[-1])
            if inside:
                bins[f"{low:g} to {high:g}"] = replace(self, rows=inside).mean()
        return bins

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file: means and bins by method, then every row."""
        summary = {name: self.of(name).mean() | {"by_yaw": self.of(name).by_yaw()} for name in self.methods}
        return {"preset": self.preset, "source": self.source, "methods": summary, "rows": [asdict(row) for row in self.rows]}


Reconstruct = Callable[[FacePairs], Iterable[tuple[Volume, Any]]]
"""A method: from samples to (solid ``[d, h, w]``, surface or its vertices, or None without one), one for each."""


def by_network(network: VRN) -> Reconstruct:
    """What the network sees in the images: probabilities, their iso-surface, and the solid inside it."""
    grid, device = network.preset.grid, next(network.parameters()).device

    @torch.inference_mode()
    def reconstruct(pairs: FacePairs) -> Iterable[tuple[Volume, Any]]:
        chances = network(pairs.images.to(device)).sigmoid().float()
        return [(chance > 0.5, _surface(chance, grid)) for chance in chances]

    return reconstruct


def by_oracle(grid: Grid) -> Reconstruct:
    """The true volume: what is left is the error of the grid."""
    return lambda pairs: ((volume, _surface(volume, grid)) for volume in pairs.volumes)


def by_mean_face(face: MorphableFace, grid: Grid) -> Reconstruct:
    """The source's mean face, neutral, under each sample's own camera: what knowing the pose is worth, and nothing else."""

    def reconstruct(pairs: FacePairs) -> Iterable[tuple[Volume, Any]]:
        mesh = face.mesh()
        bounds = mesh.solid_triangles().unique()
        placed = replace(pairs, truth=mesh.moved(pairs.camera(mesh.vertices.expand(len(pairs), -1, -1))))
        for index in range(len(pairs)):
            mean = placed.mesh(index)
            yield voxelize(mean.vertices, mean.solid_triangles(), grid.shape, grid.depth_scale), mean.vertices[bounds]

    return reconstruct


def _surface(volume: Tensor, grid: Grid) -> Any:
    """The iso-surface at 0.5, or None where nothing crosses it."""
    return isosurface(volume, depth_scale=grid.depth_scale) if bool((volume > 0.5).any()) else None


def front_slices(grid: Grid) -> int:
    """How many depth slices have their voxel centres before the head's pivot."""
    return ceil(grid.centre[2] * grid.depth_scale - 0.5)


def score(method: str, reconstruct: Reconstruct, pairs: FacePairs, grid: Grid, first: int = 0) -> Iterator[Row]:
    """One row for each sample of a batch; `first` is the number of its first sample."""
    for index, (volume, surface) in enumerate(reconstruct(pairs)):
        truth = pairs.volumes[index].to(volume.device)
        whole, front = float(iou(volume, truth)), float(iou(volume, truth, front_slices(grid)))
        yaw = float(pairs.yaw[index]) * (-1 if bool(pairs.mirrored[index]) else 1)
        errors = None if surface is None else vertex_errors(surface, pairs.mesh(index))
        distances = (inf, inf, inf) if errors is None else (errors.nme, errors.rigid, errors.levelled)
        yield Row(method, first + index, yaw, float(pairs.pitch[index]), whole, front, *distances)


def evaluate(network: VRN | None, face: MorphableFace, *, n: int = 256, seed: int = 2017, preset: Preset | str | None = None, bounds: bool = True) -> Table:
    """A network on held-out faces, with the oracle's floor and the mean face at the true pose beside it.

    Parameters
    ----------
    network : in eval mode; None for the bounds alone.
    face : the source of the faces; another one than the training's makes the test cross-database, and then
        `nme_levelled` is the number to quote, since sources put their depth origin in different places.
    n, seed : of the held-out set.
    preset : needed without a network; a network brings its own.
    bounds : False leaves oracle and mean face out.

    Raises
    ------
    InputError : no preset, a network in training mode, or one that belongs to another preset.
    """
    require(network is None or not network.training, "the network is in training mode: call network.eval() first")
    wanted = preset or (network and network.preset)
    if not wanted:
        raise InputError("without a network the preset must be given: preset='lite', for example")
    chosen = preset_named(wanted)
    if network is not None and network.preset.grid != chosen.grid:
        raise InputError(f"the network belongs to preset {network.preset.name!r}, not {chosen.name!r}: leave `preset` out")
    methods = {} if network is None else {"network": by_network(network)}
    if bounds:
        methods |= {"oracle": by_oracle(chosen.grid), "mean face": by_mean_face(face, chosen.grid)}
    rows: list[Row] = []
    for chunk, pairs in enumerate(heldout(face, n, seed, preset=chosen)):
        for name, method in methods.items():
            rows += score(name, method, pairs, chosen.grid, chunk * CHUNK)
    return Table(tuple(rows), chosen.name, face.name)
