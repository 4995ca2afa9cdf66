"""How fast and how exact: `voxelize` beside VTK and trimesh, pairs a second, training beside the plain way; `vrn-lite bench` prints it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vrn_lite.camera import crop_camera
from vrn_lite.faces import procedural
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import AUTHORS_DEPTH_SCALE, AUTHORS_SHAPE, Grid, Triangles, Vertices, require
from vrn_lite.mesh import signed_volume
from vrn_lite.networks.base import build
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.samples import make_pairs
from vrn_lite.training.loop import train
from vrn_lite.training.optim import OPTIMS
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


def run(
    faces: tuple[MorphableFace, ...] = (), repeats: int = 9, slow_repeats: int = 3, batch: int = 16, preset: Preset | str = "lite", steps: int = 8
) -> Iterator[Measurement]:
    """All measurements, one by one as they are ready; threads as torch has them.

    Parameters
    ----------
    faces : sources for the rates of `make_pairs`; the procedural face where empty. The first one is trained on.
    repeats : timed runs; each number is their median.
    slow_repeats : the same for trimesh, which takes seconds a run, and for training.
    batch : samples a call of `make_pairs`, and a step of training.
    preset, steps : what is trained, and for how many steps a run.
    """
    require(min(repeats, slow_repeats, batch) >= 1, f"repeats and batch must be at least 1, got {repeats}, {slow_repeats} and {batch}")
    faces, preset = faces or (procedural(),), preset_named(preset)
    yield from voxelizers(*head(procedural()), repeats, slow_repeats)
    for face in faces:
        for name in PRESETS:
            yield pair_rate(face, name, repeats, batch)
    yield from training_lines(faces[0], preset, rounds=slow_repeats, steps=steps, batch=batch)


def head(face: MorphableFace, pose: tuple[float, float, float] = (14.0, 9.0, 4.0)) -> tuple[Vertices, Triangles]:
    """A closed head in the middle of the authors' grid; each triangle is split in four.

    It is turned a little: a flat wall along the grid would round to whole voxels, which says nothing of a voxelizer.
    """
    mesh, (yaw, pitch, roll) = face.mesh(), (torch.tensor([angle]) for angle in pose)
    placed = crop_camera(mesh.landmark_points()[None], yaw, pitch, roll, face.interocular, GRID)(mesh.vertices[None])[0]
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


@dataclass(frozen=True)
class TrainingRates:
    """Samples a second of training, pairs included.

    Attributes
    ----------
    ours : `training.loop.train`: batches of pairs made on the training device while the step before runs, bfloat16, channels last, fused loss.
    plain : `PlainTrainer`.
    """

    ours: float
    plain: float

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.ours / self.plain


class SinglePairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs made one by one on the CPU, as a data set of files would be read: sample i belongs to (`seed`, i)."""

    def __init__(self, face: MorphableFace, preset: Preset, count: int, seed: int = 0) -> None:
        self.face, self.preset, self.count, self.seed = face.to("cpu"), preset, count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "3 h w"], Bool[Tensor, "d h w"]]:
        """Image and volume."""
        pairs = make_pairs(self.face, self.preset, 1, torch.Generator().manual_seed(self.seed * 1_000_003 + index))
        return pairs.images[0], pairs.volumes[0]


class PlainTrainer:
    """The way most would train the same network: a DataLoader, float32, channels first, cross-entropy of the enlarged logits.

    Network, pairs' rasterizer, optimiser and clipping are those of `training.loop.train`.

    Parameters
    ----------
    steps, batch : of one run; every run sees the same samples.
    workers : processes that make pairs, with one thread each; 0 makes them in the training process.
    """

    def __init__(self, face: MorphableFace, preset: Preset, *, steps: int, batch: int, workers: int = 2, seed: int = 0, device: str = "cpu") -> None:
        self.device, self.optim = device, OPTIMS["fast"]
        self.network = build("vrn", preset, seed).to(device).train()
        self.optimiser = self.optim.optimiser_of(self.network)
        # Spawned, since a fork would copy a process whose threads are at work; kept from run to run, so that starting them is not timed.
        several: dict = {"multiprocessing_context": "spawn", "persistent_workers": True} if workers else {}
        self.loader = DataLoader(SinglePairs(face, preset, steps * batch, seed), batch, num_workers=workers, **several)

    def records(self) -> Iterator[float]:
        """One run: the loss of every step."""
        for images, volumes in self.loader:
            yield self.update(images.to(self.device), volumes.to(self.device))

    def update(self, images: Float[Tensor, "b 3 h w"], volumes: Bool[Tensor, "b d h w"]) -> float:
        """One step of the optimiser."""
        loss = F.binary_cross_entropy_with_logits(self.network(images), volumes.float())
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.optim.clip)
        self.optimiser.step()
        return float(loss.detach())


def training_rates(
    face: MorphableFace,
    preset: Preset | str = "lite",
    *,
    rounds: int = 3,
    steps: int = 8,
    warm_up: int = 3,
    batch: int = 16,
    workers: int = 2,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> TrainingRates:
    """Samples a second of our training step with its pairs, and of the plain way, in alternating runs.

    Parameters
    ----------
    face : source of the pairs.
    rounds : runs of each; the medians count.
    steps, warm_up : timed steps of a run, and steps before them, which fill what runs ahead.
    batch : samples a step.
    workers : processes of the plain way's DataLoader. They are spawned: a script that calls this needs ``if __name__ == "__main__":``.
    device : where both train; the plain way makes its pairs on the CPU in any case. Threads are as torch has them.

    Raises
    ------
    InputError : nothing to time.
    """
    require(min(rounds, steps, batch) >= 1, f"rounds, steps and batch must be at least 1, got {rounds}, {steps} and {batch}")
    preset, run_length = preset_named(preset), warm_up + steps
    network = build("vrn", preset, seed).to(device)
    ours = train(network, face, samples=rounds * run_length * batch, batch=batch, seed=seed, device=device)
    plain = PlainTrainer(face, preset, steps=run_length, batch=batch, workers=workers, seed=seed, device=str(device))
    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(rounds):
        rates["ours"].append(_rate(islice(ours, run_length), warm_up, batch))
        rates["plain"].append(_rate(plain.records(), warm_up, batch))
    return TrainingRates(median(rates["ours"]), median(rates["plain"]))


def _rate(run: Iterator, warm_up: int, batch: int) -> float:
    """Samples a second of a run's steps after the warm-up."""
    for _ in islice(run, warm_up):
        pass
    began = time.perf_counter()
    return batch * sum(1 for _ in run) / (time.perf_counter() - began)


def training_lines(face: MorphableFace, preset: Preset | str = "lite", *, rounds: int = 3, steps: int = 8, batch: int = 16) -> list[Measurement]:
    """`training_rates` as lines of the benchmark: ours, the plain way, and the ratio; on a GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rates = training_rates(face, preset, rounds=rounds, steps=steps, batch=batch, device=device)
    task, note = f"train vrn, preset {preset_named(preset).name}", f"{face.name} faces, batch {batch}, {device}"
    ways = {"vrn_lite": rates.ours, "plain (DataLoader, 2 workers, float32, NCHW)": rates.plain}
    lines = [Measurement(task, by, rate, "samples/s", rounds, note=note) for by, rate in ways.items()]
    return [*lines, Measurement(task, "vrn_lite / plain", rates.ratio, "times", rounds, note=note)]
