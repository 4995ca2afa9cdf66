"""Where and how a training runs: processes, threads, GPU streams, bfloat16, compilation, memory, clocks.

Nothing here changes what is learnt; it decides how fast. `loop.py` uses it once, around its step.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vrn_lite.frame import require
from vrn_lite.memory import trim_malloc
from vrn_lite.networks.base import FaceNetwork, Prediction
from vrn_lite.samples import FacePairs
from vrn_lite.training.log import StepMetrics

if TYPE_CHECKING:
    from vrn_lite.training.loop import Trainer

TRIM_EVERY = 20
"""Steps on a CPU between two times that free memory is given back: in a long run it frays, and more of it is held."""


# Processes


@dataclass(frozen=True)
class Ranks:
    """Which process this is, and of how many that train together."""

    rank: int = 0
    size: int = 1


def ranks() -> Ranks:
    """This process's place in its group; (0, 1) when it is alone."""
    grouped = dist.is_available() and dist.is_initialized()
    return Ranks(dist.get_rank(), dist.get_world_size()) if grouped else Ranks()


@contextmanager
def process_group() -> Iterator[Ranks]:
    """Join the processes that torchrun started (nccl between GPUs, gloo between CPUs), and part at the end.

    A process that is alone does nothing.

    Raises
    ------
    InputError : more processes on this machine than it has GPUs.
    """
    if "MASTER_ADDR" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Ranks()
        return
    gpus, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    many = f"more processes than GPUs: process {local + 1} of this machine finds {gpus}; lower --nproc-per-node"
    require(gpus == 0 or local < gpus, many)
    if gpus:
        torch.cuda.set_device(local)
    device = torch.device("cuda", local) if gpus else None
    dist.init_process_group("nccl" if gpus else "gloo", device_id=device)
    try:
        yield ranks()
        dist.barrier()
    finally:
        dist.destroy_process_group()


# Threads and number formats


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
    """Whether the device multiplies bfloat16 in hardware; a CPU that does not takes seven times as long for it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    signs = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in signs)


def default_device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class Engine(nn.Module):
    """A network's `predict` as a module's call, compiled where asked for; the network itself is left alone."""

    def __init__(self, network: FaceNetwork, compile: bool) -> None:
        super().__init__()
        self.network = network
        self.ask = torch.compile(network.predict) if compile else network.predict

    def forward(self, images: Tensor, landmarks: Tensor | None) -> Prediction:
        """The prediction, whose gradients come back in the order that the network's own have."""
        prediction = self.ask(images, landmarks)
        for answer in (prediction.logits, prediction.heatmaps):
            if answer is not None and answer.requires_grad:
                answer.register_hook(_channels_last)
        return prediction


def _channels_last(gradient: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
    """The losses' gradients in the order that the network's own have: another one slows all that comes before it."""
    return gradient.contiguous(memory_format=torch.channels_last)


class Made(NamedTuple):
    """The pairs of a step, the seconds that making them took, and those that they were waited for."""

    pairs: FacePairs
    seconds: float
    waited: float


class Runtime:
    """The machine that a network trains on.

    In a process group (see `process_group`) every process has a runtime of its own; they share their gradients, and on
    GPUs their batch-norm statistics.

    Parameters
    ----------
    network : trained in place, where it is.
    compile : use `torch.compile`; by default on a GPU only, and not for networks that work with a face model.
    """

    def __init__(self, network: FaceNetwork, compile: bool | None = None) -> None:
        self.ranks, self.device = ranks(), next(network.parameters()).device
        gpu = self.device.type == "cuda"
        if gpu and self.ranks.size > 1:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        possible = gpu and find_spec("triton") is not None and not network.needs_face
        engine: nn.Module = Engine(network, possible if compile is None else compile)
        if self.ranks.size > 1:
            engine = DistributedDataParallel(engine, broadcast_buffers=not gpu)
        self.network, self.engine = network, engine
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=quick_in_bfloat16(self.device))
        self.side = torch.cuda.Stream(self.device) if gpu else None

    def predict(self, images: Tensor, landmarks: Tensor | None = None) -> Prediction:
        """What the network says, in bfloat16 where that is quick, channels last."""
        with self.autocast:
            return self.engine(images.contiguous(memory_format=torch.channels_last), landmarks)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around the step: on a CPU, with half of PyTorch's threads, as the next pairs are made beside it."""
        with with_threads(self._share_of_threads()):
            yield

    def _share_of_threads(self) -> int:
        """Half on a CPU, all on a GPU."""
        return max(1, torch.get_num_threads() // 2) if self.side is None else torch.get_num_threads()

    def ahead(self, make: Callable[[int], FacePairs], first: int, last: int) -> Iterator[Made]:
        """The pairs of the steps from `first` to before `last`; the next are made while these are used.

        Where PyTorch has one thread and no GPU, they are made in turn: nothing is won side by side, and less memory is
        used at a time.
        """
        steps, threads = range(first, last), self._share_of_threads()
        if self.side is None and torch.get_num_threads() == 1:
            for step in steps:
                pairs, seconds = _timed(make, step)
                yield Made(pairs, seconds, seconds)
            return
        with ThreadPoolExecutor(1) as maker:
            waiting = [maker.submit(self._aside, make, step, threads) for step in steps[:1]]
            for step in steps:
                asked = time.perf_counter()
                pairs, seconds = waiting.pop().result()
                waited = time.perf_counter() - asked
                if step + 1 < last:
                    waiting.append(maker.submit(self._aside, make, step + 1, threads))
                yield Made(pairs, seconds, waited)

    def _aside(self, make: Callable[[int], FacePairs], step: int, threads: int) -> tuple[FacePairs, float]:
        """The samples of a step, made beside the training: on a GPU in a stream of their own, waited for here.

        The step waits for the GPU too before its pairs are given up, so that no memory is used anew too early.
        """
        if self.side is None:
            with with_threads(threads):
                return _timed(make, step)
        began = time.perf_counter()
        with torch.cuda.stream(self.side):
            pairs = make(step)
        self.side.synchronize()
        return pairs, time.perf_counter() - began

    def agreed(self, seconds: float) -> float:
        """The first process's clock, so that all processes stop at one step."""
        if self.ranks.size == 1:
            return seconds
        clock = torch.tensor([seconds], dtype=torch.float64, device=self.device)
        dist.broadcast(clock, 0)
        return float(clock)

    def tidy(self, step: int) -> None:
        """Give memory back that is free, now and then."""
        if self.side is None and step % TRIM_EVERY == 0:
            trim_malloc()


def _timed(make: Callable[[int], FacePairs], step: int) -> tuple[FacePairs, float]:
    """The pairs of a step, and the seconds that they took."""
    began = time.perf_counter()
    return make(step), time.perf_counter() - began


class Clock:
    """What a run tells of its steps, with its speed; it keeps the trainer's `seconds`."""

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer, self.before, self.first = trainer, trainer.seconds, trainer.step
        self.waited, self.began = 0.0, time.perf_counter()
        self.seconds = 0.0

    def metrics(self, quality: tuple[float, float, float], made: float, waited: float) -> StepMetrics:
        """Of the step that has just ended."""
        trainer, seconds = self.trainer, time.perf_counter() - self.began
        self.waited += waited
        took, self.seconds = seconds - self.seconds - waited, seconds
        trainer.seconds = self.before + (seconds if trainer.limit == inf else trainer.runtime.agreed(seconds))
        loss, overlap, error = quality
        return StepMetrics(
            step=trainer.step,
            samples=trainer.step * trainer.each,
            loss=loss,
            iou=overlap,
            nme=trainer.nme,
            landmark_nme=error,
            lr=trainer.optimiser.param_groups[0]["lr"],
            samples_per_second=(trainer.step - self.first) * trainer.each / seconds,
            seconds=seconds,
            waiting=self.waited / seconds,
            pair_seconds=made,
            step_seconds=took,
        )
