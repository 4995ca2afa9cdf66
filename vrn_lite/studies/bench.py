"""How fast and how exact: `voxelize` beside VTK and trimesh, pairs a second, training beside the plain way."""

import time
from collections import deque
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
from vrn_lite.training.runtime import default_device
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
    faces: tuple[MorphableFace, ...] = (),
    repeats: int = 9,
    slow_repeats: int = 3,
    batch: int = 16,
    preset: Preset | str = "lite",
    steps: int = 8,
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
    numbers = f"{repeats}, {slow_repeats} and {batch}"
    require(min(repeats, slow_repeats, batch) >= 1, f"repeats and batch must be at least 1, got {numbers}")
    faces, preset = faces or (procedural(),), preset_named(preset)
    yield from voxelizers(*head(procedural()), repeats, slow_repeats)
    for face in faces:
        for name in PRESETS:
            yield pair_rate(face, name, repeats, batch)
    yield from training_rates(faces[0], preset, rounds=slow_repeats, steps=steps, batch=batch)


def head(face: MorphableFace, pose: tuple[float, float, float] = (14.0, 9.0, 4.0)) -> tuple[Vertices, Triangles]:
    """A closed head in the middle of the authors' grid; each triangle is split in four.

    It is turned a little: a flat wall along the grid would round to whole voxels, which says nothing of a voxelizer.
    """
    mesh, (yaw, pitch, roll) = face.mesh(), (torch.tensor([angle]) for angle in pose)
    placed = crop_camera(mesh.landmark_points()[None], yaw, pitch, roll, face.interocular, GRID)(mesh.vertices[None])[0]
    split, faces = trimesh.remesh.subdivide(placed.numpy(), mesh.solid_triangles().numpy())
    used, numbers = np.unique(faces, return_inverse=True)
    vertices = torch.from_numpy(split[used]).float()
    size = torch.tensor([GRID.width, GRID.height, GRID.depth / GRID.depth_scale])
    low, high = vertices.amin(0), vertices.amax(0)
    fits = bool((high - low < size).all())
    require(fits, "the benchmark's head must fit into the grid: choose a source with a shallower wall")
    return vertices + (size - low - high) / 2, torch.from_numpy(numbers.reshape(-1, 3)).long()


def voxelizers(vertices: Vertices, triangles: Triangles, repeats: int, slow_repeats: int) -> list[Measurement]:
    """`voxelize`, VTK and trimesh filling the same grid with the same closed mesh, in alternating runs."""
    exact = float(signed_volume(vertices, triangles)) * GRID.depth_scale  # voxels are 1 / depth_scale deep
    fillers = {
        "vrn_lite": partial(_ours, vertices, triangles),
        "VTK (pyvista)": _vtk(vertices, triangles),
        "trimesh": _trimesh(vertices, triangles),
    }
    present = {name: fill for name, fill in fillers.items() if fill is not None}
    counts = {name: fill() for name, fill in present.items()}  # a warm-up, too
    times: dict[str, list[float]] = {name: [] for name in present}
    for turn in range(repeats):  # turn by turn, so that a busy moment hits all alike
        for name, fill in present.items():
            if name != "trimesh" or turn < slow_repeats:
                times[name].append(_seconds(fill))
    task, lines = f"fill {GRID.depth} x {GRID.height} x {GRID.width} with {len(triangles):,} triangles", []
    for name in fillers:
        if name not in present:
            lines.append(Measurement(task, name, None, "ms", note="not installed: pip install 'vrn_lite[bench]'"))
            continue
        note, runs = "fewer runs: each takes seconds" if name == "trimesh" else "", len(times[name])
        error = counts[name] / exact - 1
        lines.append(Measurement(task, name, 1000 * median(times[name]), "ms", runs, error, note))
    return lines


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
    task, by = f"make_pairs, preset {preset}", f"{face.name} faces"
    return Measurement(task, by, rate, "pairs/s", repeats, note=f"batch {batch}")


PLAIN = "plain (DataLoader, 2 workers, float32, NCHW)"
"""What the plain way is called."""


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
    """The way most would train the same network: DataLoader, float32, channels first, loss of the enlarged logits.

    Network, pairs' rasterizer, optimiser and clipping are those of `training.loop.train`. A run has `steps` of `batch`
    samples, the same in every run; `workers` processes make them, with 0 the training process itself.
    """

    def __init__(
        self, face: MorphableFace, preset: Preset, *, steps: int, batch: int, workers: int, seed: int = 0, device: str
    ) -> None:
        self.device, self.optim = device, OPTIMS["fast"]
        self.network = build("vrn", preset, seed).to(device).train()
        self.optimiser = self.optim.optimiser_of(self.network)
        # Spawned, since a fork would copy a process whose threads are at work; kept, so that starting is not timed.
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
) -> list[Measurement]:
    """Samples a second of our training step with its pairs, of the plain way, and the ratio; on a GPU if there is one.

    Ours is `training.loop.train`: pairs are made on the training device while the step before runs, bfloat16, channels
    last, fused loss. The plain way is `PlainTrainer`, which makes its pairs on the CPU. Runs alternate; medians count.

    Parameters
    ----------
    face : source of the pairs.
    rounds, batch : runs of each, samples a step.
    steps, warm_up : timed steps of a run, and steps before them, which fill what runs ahead.
    workers : of the plain way's DataLoader, spawned: a script that calls this needs ``if __name__ == "__main__":``.

    Raises
    ------
    InputError : nothing to time.
    """
    numbers = f"{rounds}, {steps} and {batch}"
    require(min(rounds, steps, batch) >= 1, f"rounds, steps and batch must be at least 1, got {numbers}")
    preset, run_length, device = preset_named(preset), warm_up + steps, default_device()
    network = build("vrn", preset).to(device)
    ours = train(network, face, samples=rounds * run_length * batch, batch=batch, device=device)
    plain = PlainTrainer(face, preset, steps=run_length, batch=batch, workers=workers, device=device)
    rates: dict[str, list[float]] = {"vrn_lite": [], PLAIN: []}
    for _ in range(rounds):
        rates["vrn_lite"].append(_rate(islice(ours, run_length), warm_up, batch))
        rates[PLAIN].append(_rate(plain.records(), warm_up, batch))
    task, note = f"train vrn, preset {preset.name}", f"{face.name} faces, batch {batch}, {device}"
    found = {name: median(values) for name, values in rates.items()}
    lines = [Measurement(task, name, rate, "samples/s", rounds, note=note) for name, rate in found.items()]
    ratio = found["vrn_lite"] / found[PLAIN]
    return [*lines, Measurement(task, "vrn_lite / plain", ratio, "times", rounds, note=note)]


def _rate(run: Iterator, warm_up: int, batch: int) -> float:
    """Samples a second of a run's steps after the warm-up."""
    deque(islice(run, warm_up), maxlen=0)
    began = time.perf_counter()
    return batch * sum(1 for _ in run) / (time.perf_counter() - began)
