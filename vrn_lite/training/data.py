"""Where training's pairs come from: a stream gives the batch of a step; yours may be one function.

A stream is anything that can be called so::

    def my_pairs(step: int, batch: int, generator: torch.Generator, device: torch.device) -> FacePairs:
        ...  # `batch` images with their volumes and landmarks, chosen by the generator (or by the step) alone

    for metrics in train("vrn", my_pairs, preset="lite", samples=20_000): ...

Your own images and meshes are such a function: read an image, place its mesh in the voxel frame, `voxelize` it. What a
step's batch depends on is the step and the generator's numbers, so that prefetching and resuming change nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.faces import ict, procedural
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Image, InputError, require
from vrn_lite.landmarks import mirror
from vrn_lite.networks.base import FaceNetwork
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.samples import PAPER_JITTER, FacePairs, PoseRange, make_pairs, unaligned
from vrn_lite.synth.appearance import Appearance

# Streams


@runtime_checkable
class PairStream(Protocol):
    """Gives the pairs of a step.

    Parameters
    ----------
    step : number of the batch, from 0; of a batch that is used again (`reuse`), only once.
    batch : samples.
    generator : a CPU generator, seeded for this seed, process and step.
    device : where the pairs are wanted.
    """

    def __call__(self, step: int, batch: int, generator: torch.Generator, device: torch.device) -> FacePairs:
        """The pairs of a step."""


@dataclass(frozen=True)
class Synthetic:
    """Rendered heads of a face model.

    Attributes
    ----------
    face : where identities and expressions come from.
    preset : gives the grid.
    appearance : how people, light and pictures look.
    poses : range of poses and augmentation; the paper's by default.
    target : "aligned", or "frontal" for volumes that show every face straight from the front (`pairs.unaligned`).
    """

    face: MorphableFace
    preset: Preset | str
    appearance: Appearance = field(default_factory=Appearance)
    poses: PoseRange = PAPER_JITTER
    target: str = "aligned"

    def __call__(self, step: int, batch: int, generator: torch.Generator, device: torch.device) -> FacePairs:
        """The pairs of a step, all from the generator."""
        preset, look = preset_named(self.preset), self.appearance
        pairs = make_pairs(self.face, preset, batch, generator, device, appearance=look, poses=self.poses)
        return unaligned(pairs, self.face.interocular, preset.grid) if self.target == "frontal" else pairs

    @property
    def faces(self) -> tuple[MorphableFace, ...]:
        """The face models."""
        return (self.face,)

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint must share with the run that continues it."""
        return {"poses": asdict(self.poses), "appearance": asdict(self.appearance)}

    def suited_to(self, network: FaceNetwork, device: torch.device) -> "Synthetic":
        """The same heads as this network wants them: its target, mirrored only where it may be; made on its device.

        Raises
        ------
        InputError : the stream has another grid than the network.
        """
        mine, theirs = preset_named(self.preset), network.preset
        fits = f"the pairs are of preset {mine.name!r}, the network of {theirs.name!r}: give both the same"
        require(mine.grid == theirs.grid, fits)
        poses = self.poses if network.mirrors else replace(self.poses, mirror=0.0)
        return replace(self, face=self.face.to(device), poses=poses, target=network.target)


@dataclass(frozen=True)
class Mixed:
    """Several streams that take turns, a batch each; each counts its own steps.

    Attributes
    ----------
    streams : at least one.
    turns : numbers of the streams in the order of their turns, again and again; each once by default.
    """

    streams: tuple[PairStream, ...]
    turns: tuple[int, ...]

    def __init__(self, streams: Sequence[PairStream], turns: Sequence[int] | None = None) -> None:
        require(len(streams) > 0, "training needs faces: give a face model, a stream of pairs, or several")
        object.__setattr__(self, "streams", tuple(streams))
        object.__setattr__(self, "turns", tuple(turns or range(len(streams))))

    def __call__(self, step: int, batch: int, generator: torch.Generator, device: torch.device) -> FacePairs:
        """The pairs of a step, of the stream whose turn it is."""
        rounds, turn = divmod(step, len(self.turns))
        mine = self.turns[turn]
        own = rounds * self.turns.count(mine) + self.turns[:turn].count(mine)
        return self.streams[mine](own, batch, generator, device)

    @property
    def faces(self) -> tuple[MorphableFace, ...]:
        """The face models of all streams."""
        return tuple(face for stream in self.streams for face in faces_of(stream))

    @property
    def facts(self) -> dict[str, Any]:
        """What they have in common; of streams that differ, a list."""
        facts = [facts_of(stream) for stream in self.streams]
        return facts[0] if all(other == facts[0] for other in facts) else {"streams": facts}

    def suited_to(self, network: FaceNetwork, device: torch.device) -> "Mixed":
        """Each as this network wants it."""
        return Mixed([suited(stream, network, device) for stream in self.streams], self.turns)


def turns_of(share: float) -> tuple[int, ...]:
    """Turns of two streams, of which the second has this share, spread evenly.

    Examples
    --------
    >>> turns_of(0.25)
    (0, 0, 0, 1)

    Raises
    ------
    InputError : no share between 0 and 1.
    """
    require(0 < share < 1, f"a share of mixed-in faces must lie between 0 and 1, got {share:g}")
    part = Fraction(share).limit_denominator(32)
    first, all_of = max(part.numerator, 1), max(part.denominator, 2)
    return tuple((k + 1) * first // all_of - k * first // all_of for k in range(all_of))


def faces_of(stream: PairStream) -> tuple[MorphableFace, ...]:
    """The face models behind a stream; none where it does not tell."""
    return getattr(stream, "faces", ())


def facts_of(stream: PairStream) -> dict[str, Any]:
    """What a checkpoint keeps of a stream; nothing where it does not tell."""
    return getattr(stream, "facts", {})


def suited(stream: PairStream, network: FaceNetwork, device: torch.device) -> PairStream:
    """A stream as a network wants it; one that cannot change is taken as it is."""
    change = getattr(stream, "suited_to", None)
    return stream if change is None else change(network, device)


Data = MorphableFace | str | PairStream | Sequence["MorphableFace | str | PairStream"]
"""Whatever training takes: a face model or its name, a stream, or several of these, which take turns."""

FACES: dict[str, Callable[[], MorphableFace]] = {"procedural": procedural, "ict": ict}
"""Face models by name."""


def stream_of(
    data: Data, preset: Preset | str, appearance: Appearance | None = None, poses: PoseRange | None = None
) -> PairStream:
    """Data as a stream of pairs; face models are wrapped as `Synthetic`, several as `Mixed`.

    Raises
    ------
    InputError : nothing that gives pairs; looks or poses for a stream that has its own.
    """
    if isinstance(data, str):
        require(data in FACES, f"unknown faces {data!r}: choose one of {', '.join(FACES)}")
        data = FACES[data]()
    if isinstance(data, MorphableFace):
        return Synthetic(data, preset, appearance or Appearance(), poses or PAPER_JITTER)
    if isinstance(data, Sequence):
        return Mixed([stream_of(part, preset, appearance, poses) for part in data])
    if not callable(data):
        raise InputError(f"training needs a face model or a stream of pairs, got {type(data).__name__}")
    own = appearance is None and poses is None
    require(own, "`appearance` and `poses` belong to a face model: a stream of pairs has its own")
    return data


# The batch of a step


def step_seed(seed: int, rank: int, step: int) -> int:
    """Seed of the samples of one step in one process, in the lower half of 32 bits.

    `testsets.heldout_seed` has the upper half. PyTorch's CPU generator looks at the lower 32 bits of its seed only,
    hence a hash.
    """
    # The seed comes last: it alone may be longer than 32 bits.
    return int(np.random.SeedSequence([step, rank, seed]).generate_state(1)[0]) >> 1


@dataclass
class StepPairs:
    """The samples of a run, by step: all randomness comes from (seed, rank, step).

    Parameters
    ----------
    stream : suited to the network.
    batch, seed, rank, device : of the process.
    reuse : so many steps in a row see one drawn batch, `varied` from the second time on.
    mirrors : whether a batch may be turned left to right when it is used again.
    """

    stream: PairStream
    batch: int
    seed: int
    rank: int
    device: torch.device
    reuse: int = 1
    mirrors: bool = True
    drawn: tuple[int, FacePairs] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        require(self.reuse >= 1, f"reuse (={self.reuse}) must be at least 1: a drawn batch is used once or more")

    def __call__(self, step: int) -> FacePairs:
        """The samples of a step."""
        draw, again = divmod(step, self.reuse)
        if self.drawn is None or self.drawn[0] != draw:
            self.drawn = None  # before the next batch is made: two at a time would take much memory
            self.drawn = draw, self.stream(draw, self.batch, self._generator(draw), self.device)
        pairs = self.drawn[1]
        if again == self.reuse - 1:
            self.drawn = None
        return varied(pairs, self._generator(step), mirrors=self.mirrors and again % 2 == 1) if again else pairs

    def _generator(self, step: int) -> torch.Generator:
        """Random numbers of this process for one step."""
        return torch.Generator().manual_seed(step_seed(self.seed, self.rank, step))


# A drawn batch once more: a step costs less than its pairs

GAIN, GAMMA, NOISE = 0.15, 0.25, 0.03
"""Largest changes of each channel's gain, as a share, and of the logarithm of gamma; largest spread of the noise."""


def varied(pairs: FacePairs, generator: torch.Generator, *, mirrors: bool = True) -> FacePairs:
    """The same faces in pictures that are not the same; `pairs` is left as it is.

    Parameters
    ----------
    generator : a CPU generator; the same state gives the same pictures.
    mirrors : turn all samples left to right: images, volumes and landmarks.
    """
    pairs = replace(pairs, images=recoloured(pairs.images, generator))
    if not mirrors:
        return pairs
    return replace(
        pairs,
        images=pairs.images.flip(-1),
        volumes=pairs.volumes.flip(-1),
        landmarks=mirror(pairs.landmarks, pairs.images.shape[-1]),
        mirrored=~pairs.mirrored,
    )


def recoloured(images: Image, generator: torch.Generator) -> Image:
    """Pictures with another gamma, another gain per channel, and new noise; in [0, 1]."""
    count, device = len(images), images.device

    def between(low: float, high: float, *shape: int) -> Float[Tensor, "..."]:
        return (low + (high - low) * torch.rand(count, *shape, 1, 1, generator=generator)).to(device)

    gamma, gain, spread = between(-GAMMA, GAMMA, 1).exp(), between(1 - GAIN, 1 + GAIN, 3), between(0, NOISE, 1)
    noise = torch.randn(images.shape, generator=generator).to(device)
    return (images.clamp(min=1 / 512) ** gamma * gain + spread * noise).clamp(0, 1)
