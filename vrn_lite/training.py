"""Training: the loop as a generator of records, checkpoints; one process or many, by torchrun."""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from math import ceil, inf, isnan, nan
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import InputError, require
from vrn_lite.inference import landmarks_in
from vrn_lite.memory import give_back
from vrn_lite.metrics import iou, landmark_nme, vertex_errors
from vrn_lite.networks.regression import Regression, Trainable, sizes
from vrn_lite.networks.vrn import GuidedVRN, LandmarkNetwork, UnalignedVRN
from vrn_lite.objective import Objective, Outcome, landmark_loss, voxel_loss  # noqa: F401
from vrn_lite.pairs import JITTERED, FacePairs, PoseRange, make_pairs, unaligned
from vrn_lite.presets import Preset
from vrn_lite.recipes import PAPER_SAMPLES, RECIPES, Recipe  # noqa: F401
from vrn_lite.records import Record, logged, on_tensorboard, rows  # noqa: F401
from vrn_lite.reuse import varied
from vrn_lite.store import VARIANTS, WEIGHTS, atomically, build, checked_seed, load, save_weights, shipped, sweep, weights_metadata  # noqa: F401
from vrn_lite.synth.appearance import Appearance
from vrn_lite.volume import isosurface

TIDY_EVERY = 20
"""Steps on a CPU between two times that free memory is given back: in a long run it frays, and more and more of it is held."""


@dataclass(frozen=True)
class Ranks:
    """Which process this is, and of how many that train together."""

    rank: int = 0
    size: int = 1


def ranks() -> Ranks:
    """This process's place in its group; (0, 1) when it is alone."""
    return Ranks(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else Ranks()


@contextmanager
def process_group() -> Iterator[Ranks]:
    """Join the processes that torchrun started (nccl between GPUs, gloo between CPUs), and part at the end; alone, do nothing.

    Raises
    ------
    InputError : more processes on this machine than it has GPUs.
    """
    if "MASTER_ADDR" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Ranks()
        return
    gpus, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    require(gpus == 0 or local < gpus, f"more processes than GPUs: process {local + 1} of this machine finds {gpus}; lower --nproc-per-node")
    if gpus:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if gpus else "gloo", device_id=torch.device("cuda", local) if gpus else None)
    try:
        yield ranks()
        dist.barrier()
    finally:
        dist.destroy_process_group()


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """PyTorch's number of threads for a while, in this thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def quick_in_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; a CPU that does not takes seven times as long for it as for float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return any(getattr(torch.cpu, name, lambda: False)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def step_seed(seed: int, rank: int, step: int) -> int:
    """Seed of the samples of one step in one process, in the lower half of 32 bits: `testsets.heldout_seed` has the upper half.

    PyTorch's CPU generator looks at the lower 32 bits of its seed only, hence a hash.
    """
    return int(np.random.SeedSequence([step, rank, seed]).generate_state(1)[0]) >> 1  # the seed last: it alone may be longer than 32 bits


class Trainer:
    """A network, its optimiser and where they are; `records` runs them. `train` is the short way in.

    In a process group (see `process_group`) every process has a trainer of its own; they draw different samples and share
    their gradients, and on GPUs their batch-norm statistics.

    Parameters
    ----------
    network : trained in place, where it is.
    face, samples, minutes, seed, recipe, poses, appearance, reuse, detector, compile, measure_every : as in `train`.
    batch : samples a step and process.
    """

    def __init__(
        self,
        network: Trainable,
        face: MorphableFace | Sequence[MorphableFace],
        *,
        samples: int | None,
        minutes: float | None = None,
        batch: int,
        seed: int,
        recipe: Recipe,
        poses: PoseRange = JITTERED,
        appearance: Appearance | None = None,
        reuse: int = 1,
        detector: LandmarkNetwork | None = None,
        compile: bool | None = None,
        measure_every: int = 50,
    ) -> None:
        faces = (face,) if isinstance(face, MorphableFace) else tuple(face)
        require(len(faces) > 0, "training needs faces: give a face model, or several")
        alone = len(faces) == 1 or not isinstance(network, Regression)
        require(alone, f"a {network.variant!r} network regresses numbers of one face model, got {len(faces)} models: choose one")
        require(detector is None or isinstance(network, GuidedVRN), f"a detector is for the guided network, which {network.variant!r} is not: leave it out")
        require(bool(samples or minutes), "give `samples`, `minutes`, or both: training must end somewhere")
        require(reuse >= 1, f"reuse (={reuse}) must be at least 1: a drawn batch is used once or more")
        self.poses, self.detector, self.reuse = poses, detector, reuse
        self.appearance = appearance or Appearance()
        self.samples, self.limit = samples or 2**62, 60 * minutes if minutes else inf
        self.batch, self.seed, self.recipe, self.measure_every = batch, checked_seed(seed), recipe, measure_every
        self.ranks, self.step, self.nme = ranks(), 0, nan
        self.seconds = 0.0  # of all runs together, counted by `records`
        self.drawn: tuple[int, FacePairs] | None = None
        self.device = next(network.parameters()).device
        gpu = self.device.type == "cuda"
        self.network = nn.SyncBatchNorm.convert_sync_batchnorm(network) if gpu and self.ranks.size > 1 else network
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.faces = tuple(model.to(self.device) for model in faces)
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=quick_in_bfloat16(self.device))
        self.objective = Objective(self.network, gpu and find_spec("triton") is not None if compile is None else compile, self.faces[0])
        self.engine = DistributedDataParallel(self.objective, broadcast_buffers=not gpu) if self.ranks.size > 1 else self.objective
        self.optimiser, self.average = recipe.optimiser_of(self.network), recipe.average_of(self.network)
        self.side = torch.cuda.Stream(self.device) if gpu else None

    def pairs(self, step: int) -> FacePairs:
        """The samples of a step: all randomness comes from (seed, rank, step), so that prefetching and resuming change nothing.

        With `reuse`, every so many steps in a row see one drawn batch, `varied` from the second time on.
        """
        draw, again = divmod(step, self.reuse)
        if self.drawn is None or self.drawn[0] != draw:
            self.drawn = None  # before the next batch is made: two at a time would take much memory
            self.drawn = draw, self.fresh(draw)
        pairs = self.drawn[1]
        if again == self.reuse - 1:
            self.drawn = None
        return varied(pairs, self._generator(step), mirrors=not self._regresses and again % 2 == 1) if again else pairs

    def fresh(self, draw: int) -> FacePairs:
        """The batch of that number, as it was drawn; several face models take turns."""
        poses, face = replace(self.poses, mirror=0.0) if self._regresses else self.poses, self.faces[draw % len(self.faces)]
        pairs = make_pairs(face, self.network.preset, self.batch, self._generator(draw), appearance=self.appearance, poses=poses)
        return unaligned(pairs, face.unit, self.network.preset.grid) if isinstance(self.network, UnalignedVRN) else pairs

    @property
    def _regresses(self) -> bool:
        """Whether the network regresses numbers: the vertices of a mirrored face are in no order."""
        return isinstance(self.network, Regression)

    def _generator(self, step: int) -> torch.Generator:
        """Random numbers of this process for one step."""
        return torch.Generator().manual_seed(step_seed(self.seed, self.ranks.rank, step))

    def batches(self, last: int) -> Iterator[tuple[FacePairs, float]]:
        """The pairs of all steps before `last`, and how many seconds each was waited for; the next are made while these are used.

        Where PyTorch has one thread and no GPU, they are made in turn: nothing is won side by side, and less memory is used at a time.
        """
        steps, threads = range(self.step, last), self._half_the_threads()
        if self.side is None and torch.get_num_threads() == 1:
            for step in steps:
                asked = time.perf_counter()
                yield self.pairs(step), time.perf_counter() - asked
            return
        with ThreadPoolExecutor(1) as maker:
            ahead = [maker.submit(self._aside, step, threads) for step in steps[:1]]
            for step in steps:
                asked = time.perf_counter()
                pairs = ahead.pop().result()
                waited = time.perf_counter() - asked
                if step + 1 < last:
                    ahead.append(maker.submit(self._aside, step + 1, threads))
                yield pairs, waited

    def _half_the_threads(self) -> int:
        """On a CPU, pairs and step get half of PyTorch's threads each, as they run side by side; on a GPU all."""
        return max(1, torch.get_num_threads() // 2) if self.side is None else torch.get_num_threads()

    def _aside(self, step: int, threads: int) -> FacePairs:
        """The samples of a step, made beside the training: on a GPU in a stream of their own, waited for here.

        `update` waits for the GPU too before its pairs are given up, so that no memory is used anew too early.
        """
        if self.side is None:
            with with_threads(threads):
                return self.pairs(step)
        with torch.cuda.stream(self.side):
            pairs = self.pairs(step)
        self.side.synchronize()
        return pairs

    def guides(self, pairs: FacePairs) -> torch.Tensor:
        """The landmarks ``[b, 68, 3]`` that guide: the true ones, or in every second sample the detector's, where there is one."""
        if self.detector is None:
            return pairs.landmarks
        landmarks = pairs.landmarks.clone()
        landmarks[::2, :, :2] = landmarks_in(self.detector, pairs.images[::2], average=False)
        return landmarks

    def vertices(self, pairs: FacePairs) -> torch.Tensor | None:
        """The true vertices ``[b, p, 3]`` of the face patch, for a network that regresses numbers; others need none."""
        return pairs.truth.vertices[:, self.faces[0].patch_vertices] if isinstance(self.network, Regression) else None

    def gradients(self, pairs: FacePairs) -> Outcome:
        """Forward and backward: the weights' gradients, averaged over all processes, are left in place."""
        self.optimiser.zero_grad()
        images = pairs.images.contiguous(memory_format=torch.channels_last)
        with self.autocast:
            outcome = self.engine(images, pairs.volumes, self.guides(pairs), self.vertices(pairs), self.phase())
        outcome.loss.backward()
        return outcome

    def phase(self) -> int | None:
        """Which voxels stand for all in this step's loss, where the recipe samples it."""
        return step_seed(self.seed, 0, self.step) if self.recipe.sampled else None

    def seen(self) -> float:
        """How much of the training is over, 0 to 1: of its samples or of its time, whichever is more."""
        return max(self.step * self.batch * self.ranks.size / self.samples, self.seconds / self.limit)

    def update(self, pairs: FacePairs) -> tuple[float, float, float]:
        """One step of the optimiser: (loss, IoU, landmark NME). Now and then, `nme` is measured."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate_at(self.step, self.seen())
        self.network.train()
        outcome = self.gradients(pairs)
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.step += 1
        if self.measure_every and self.step % self.measure_every == 0:
            self.nme = self.surface_error(outcome, pairs)
        return self.quality(outcome, pairs)

    @torch.no_grad()
    def quality(self, outcome: Outcome, pairs: FacePairs) -> tuple[float, float, float]:
        """Loss, IoU of the first two samples and landmark NME of the batch; NaN for what the network does not give."""
        overlap = error = torch.full_like(outcome.loss, nan)
        if outcome.coarse is not None:
            overlap = iou(self._logits(outcome, pairs, 2) > 0, pairs.volumes[:2]).mean()
        if outcome.landmarks is not None:
            error = landmark_nme(outcome.landmarks, pairs.landmarks).mean()
        loss, overlap, error = torch.stack((outcome.loss, overlap, error)).tolist()  # one wait for the device
        return loss, overlap, error

    @torch.no_grad()
    def surface_error(self, outcome: Outcome, pairs: FacePairs) -> float:
        """Vertex NME of the first sample's surface; infinite where there is none, NaN for a network that has neither volume nor vertices."""
        if outcome.vertices is not None:
            return vertex_errors(outcome.vertices[0], pairs.mesh(0)).nme
        if outcome.coarse is None:
            return nan
        try:
            surface = isosurface(self._logits(outcome, pairs, 1)[0].sigmoid(), depth_scale=self.network.preset.grid.depth_scale)
        except InputError:
            return inf
        return vertex_errors(surface, pairs.mesh(0)).nme

    @staticmethod
    def _logits(outcome: Outcome, pairs: FacePairs, count: int) -> torch.Tensor:
        """Logits ``[count, d, h, w]`` of the first samples, at the volumes' size."""
        assert outcome.coarse is not None
        return F.interpolate(outcome.coarse[:count].detach().float(), size=pairs.volumes.shape[-2:], mode="bilinear")

    def records(self) -> Iterator[Record]:
        """Train until `samples` have been seen, or the time is over."""
        before, began, first, waited = self.seconds, time.perf_counter(), self.step, 0.0
        each = self.batch * self.ranks.size
        threads = self._half_the_threads()
        give_back()  # what was done before may have left holes into which a step's activations do not fit
        for pairs, wait in self.batches(ceil(self.samples / each) if self.seconds < self.limit else self.step):
            with with_threads(threads):
                loss, overlap, error = self.update(pairs)
            require(not isnan(loss), f"the loss is not a number at step {self.step}: use a smaller learning rate")
            waited, seconds, rate = waited + wait, time.perf_counter() - began, self.optimiser.param_groups[0]["lr"]
            speed = (self.step - first) * each / seconds
            self.seconds = before + self._agreed(seconds)
            yield Record(self.step, self.step * each, loss, overlap, self.nme, error, rate, speed, seconds, waited / seconds)
            if self.seconds >= self.limit:
                return
            if self.side is None and self.step % TIDY_EVERY == 0:
                give_back()

    def _agreed(self, seconds: float) -> float:
        """The first process's clock, so that all processes stop at one step."""
        if self.ranks.size == 1 or self.limit == inf:
            return seconds
        clock = torch.tensor([seconds], dtype=torch.float64, device=self.device)
        dist.broadcast(clock, 0)
        return float(clock)

    def finish(self) -> None:
        """Give the network the averaged weights, where the recipe averages, and drop the gradients. A checkpoint must be written before."""
        if self.average is not None:
            self.network.load_state_dict(self.average.module.state_dict())
        self.optimiser.zero_grad()
        give_back()

    def _made_with(self) -> dict[str, object]:
        """What a checkpoint must share with the run that continues it."""
        drawn = {"poses": asdict(self.poses), "appearance": asdict(self.appearance)}
        facts = {"preset": self.network.preset.to_dict(), "seed": self.seed, "batch": self.batch, "ranks": self.ranks.size} | drawn
        return {"variant": self.network.variant} | facts | {"optimiser": self.recipe.optimiser}

    def save(self, path: Path) -> None:
        """Write a checkpoint that `restore` continues from, at once or not at all."""
        state = {"network": self.network.state_dict(), "optimiser_state": self.optimiser.state_dict()}
        state |= {"step": self.step, "nme": self.nme, "seconds": self.seconds}
        state["average"] = None if self.average is None else self.average.state_dict()
        atomically(path, lambda temporary: torch.save(state | self._made_with() | {"recipe": asdict(self.recipe)}, temporary))

    def restore(self, path: Path) -> None:
        """Continue where `save` left off.

        Raises
        ------
        InputError : unreadable file; another variant, preset, seed, batch, number of processes or optimiser.
        """
        mine = self._made_with()
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            theirs = {name: state[name] for name in mine}
        except Exception as error:
            raise InputError(f"cannot read the checkpoint {path}: {type(error).__name__}; delete it to start afresh") from error
        for name, value in theirs.items():
            require(value == mine[name], f"the checkpoint {path} was made with {name} {value!r}, not {mine[name]!r}")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser_state"])
        self.step, self.nme, self.seconds = state["step"], state["nme"], state.get("seconds", 0.0)
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])


def train(
    variant: str | Trainable,
    preset: Preset | str = "lite",
    *,
    face: MorphableFace | Sequence[MorphableFace],
    samples: int | None = None,
    minutes: float | None = None,
    batch: int | None = None,
    seed: int = 0,
    recipe: str | Recipe = "fast",
    folder: str | Path | None = None,
    save_every: float = 180.0,
    measure_every: int = 50,
    poses: PoseRange = JITTERED,
    appearance: Appearance | None = None,
    reuse: int = 1,
    detector: LandmarkNetwork | None = None,
    compile: bool | None = None,
    device: torch.device | str | None = None,
) -> Iterator[Record]:
    """Train a network on faces made on the fly: a generator of one `Record` a step.

    Parameters
    ----------
    variant : a name from `VARIANTS`, or a network, which is then trained in place (keep it to use it afterwards).
    preset : sizes of grid and network, when `variant` is a name.
    face : where the faces come from; several models take turns, a batch each.
    samples : how many samples to see in all; the learning rate falls towards this number. None for no limit but time.
    minutes : how long to train, all resumed runs together; the learning rate falls towards that end as well, and the
        last step ends shortly after it. None for no limit but `samples`; one of the two must be given.
    batch : samples a step and process; the preset's by default.
    seed : of weights and samples; any whole number from 0.
    recipe : "fast", "paper" or a `Recipe`.
    folder : where `checkpoint.pt` is written every `save_every` seconds and at the end; an existing one is resumed.
    measure_every : steps between two measurements of the record's `nme`; 0 for none.
    poses : range of poses and augmentation; the paper's by default.
    appearance : how people, light and pictures look; None for the defaults of `Appearance`.
    reuse : how many steps see each drawn batch: from the second on mirrored (every other time), in other colours and
        with new noise. Where pairs cost more than steps, 2 learns more per hour.
    detector : for VRN-Guided: its landmarks, with their errors, guide every second sample, the true ones the others. The
        paper trains with true ones alone, as None does. In eval mode, on the network's device.
    compile : use `torch.compile`, which takes a minute to start; by default on a GPU only.
    device : "cpu", "cuda"...; by default a GPU where there is one.

    Raises
    ------
    InputError : unknown variant, preset or recipe; a checkpoint that does not fit.
    """
    require(isinstance(recipe, Recipe) or recipe in RECIPES, f"unknown recipe {recipe!r}: choose one of {', '.join(RECIPES)}")
    chosen = recipe if isinstance(recipe, Recipe) else RECIPES[recipe]
    network = variant if isinstance(variant, Trainable) else build(variant, preset, seed, sizes(variant, face if isinstance(face, MorphableFace) else face[0]))
    network.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    size = batch or network.preset.batch
    trainer = Trainer(
        network,
        face,
        samples=samples,
        minutes=minutes,
        batch=size,
        seed=seed,
        recipe=chosen,
        poses=poses,
        appearance=appearance,
        reuse=reuse,
        detector=detector,
        compile=compile,
        measure_every=measure_every,
    )
    yield from trainer.records() if folder is None else _kept(trainer, Path(folder) / "checkpoint.pt", save_every)
    trainer.finish()


def _kept(trainer: Trainer, path: Path, save_every: float) -> Iterator[Record]:
    """A trainer's records, from its checkpoint on, if there is one; the first of several processes writes it."""
    writes, saved = trainer.ranks.rank == 0, time.perf_counter()
    if writes:
        sweep(path.parent)
    if path.exists():
        trainer.restore(path)
    for record in trainer.records():
        if writes and time.perf_counter() - saved > save_every:
            trainer.save(path)
            saved = time.perf_counter()
        yield record
    if writes:
        trainer.save(path)
