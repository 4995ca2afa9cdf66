"""Test sets with fixed seeds: the held-out faces, the paper's three protocols, the six expressions (paper section 4).

A `TestSet` is rendered from a face model (here, ``TEST_SETS`` names them) or read from files (`datasets`). Sample i is
the same however many are asked for and at whatever preset, and no training ever sees it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import count, product, repeat
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.camera import Similarity, crop_camera
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, Landmarks, require
from vrn_lite.inference import landmarks_in
from vrn_lite.networks.base import LandmarkDetector
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.samples import NO_JITTER, FacePairs, PoseRange, View, draw_pairs, make_pairs
from vrn_lite.synth.appearance import Appearance, Rng

CHUNK = 16
"""Faces of a test set are made so many at a time, always: face i is then the same however many are asked for."""


@dataclass(frozen=True)
class TestSet:
    """Samples in a fixed order, for any preset.

    Attributes
    ----------
    name : of the protocol: heldout, florence, bu4dfe, aflw2000, expressions, or your own.
    source : where the faces come from, in a word.
    face : a face model in the samples' model frame: its mean is the bound "mean face", its `interocular` the samples'.
    size : how many samples.
    make : from a preset to batches of samples in order; what comes after `size` samples is never made.
    detector : whose landmarks the samples carry (see `seen_by`).
    left_out : files that are not among the samples, with what is wrong; one that breaks later joins them when read.
    """

    name: str
    source: str
    face: MorphableFace
    size: int
    make: Callable[[Preset], Iterator[FacePairs]]
    detector: LandmarkDetector | None = None
    left_out: dict[str, str] = field(default_factory=dict, compare=False)

    __test__ = False  # pytest takes classes of this name for tests

    def __post_init__(self) -> None:
        require(self.size > 0, f"a test set needs faces, got n = {self.size}")

    def batches(self, preset: Preset | str) -> Iterator[FacePairs]:
        """The samples for a preset's grid. An unknown preset, or a file that cannot be read, is an InputError."""
        batches, left = self.make(preset_named(preset)), self.size
        while left > 0:
            made = next(batches, None)
            if made is None:  # files have broken since the set was looked through
                return
            pairs = beginning(made, left)
            del made
            left -= len(pairs)
            yield pairs
            del pairs  # before the next batch is made: two at a time would take much memory

    def first(self, n: int) -> "TestSet":
        """The set's first n samples; if it has fewer, an InputError."""
        require(0 < n <= self.size, f"{self.source} has {self.size} samples here, got n = {n}")
        return replace(self, size=n)

    def seen_by(self, detector: LandmarkDetector, test_time_augmentation: bool = True) -> "TestSet":
        """The same samples with `found`: the landmarks that a detector finds in them, drawn at its own size."""
        training = getattr(detector, "training", False)
        require(not training, "the detector is in training mode: call detector.eval() first")

        def make(preset: Preset) -> Iterator[FacePairs]:
            larger = detector.preset.grid.width / preset.grid.width

            def seen(pairs: FacePairs, wide: FacePairs | None) -> FacePairs:
                points = landmarks_in(detector, (wide or pairs).images, test_time_augmentation)
                return replace(pairs, found=points.to(pairs.images) / larger)

            own = repeat(None) if larger == 1 else self.batches(detector.preset)
            return map(seen, self.batches(preset), own)  # `map` keeps no batch

        return replace(self, make=make, detector=detector)


def beginning(pairs: FacePairs, count: int) -> FacePairs:
    """The first `count` samples of a batch, copied, so that the memory of the others is free."""
    if count >= len(pairs):
        return pairs
    kept = {f.name: getattr(pairs, f.name) for f in fields(pairs) if f.name not in ("truth", "camera")}
    few: dict[str, Any] = {k: v[:count].clone() if isinstance(v, Tensor) else v and v[:count] for k, v in kept.items()}
    truth = pairs.truth.with_vertices(pairs.truth.vertices[:count].clone())
    return FacePairs(**few, truth=truth, camera=part(pairs.camera, slice(count)))


def part(motion: Similarity, which: slice) -> Similarity:
    """Some motions of a batch."""
    return Similarity(motion.scale[which], motion.rotation[which], motion.translation[which])


STREAM, IDENTITIES = 10_000, 5_000
"""Every set draws its chunks from numbers of its own, so far apart that no two sets share faces; its identities' begin
at the second number."""


def heldout_seed(seed: int, chunk: int) -> int:
    """Seed of a chunk of held-out faces, in the upper half of 32 bits; training's (`step_seed`) stay in the lower half.

    PyTorch's CPU generator looks at the lower 32 bits of its seed only, so that none here ever equals one there.
    """
    return 2**31 + (seed * 100_003 + chunk) % 2**31


def generators(seed: int, stream: int = 0) -> Iterator[torch.Generator]:
    """A generator for each chunk of a set."""
    return (torch.Generator().manual_seed(heldout_seed(seed, STREAM * stream + chunk)) for chunk in count())


def heldout(
    face: MorphableFace,
    n: int = 256,
    seed: int = 2017,
    *,
    poses: PoseRange = NO_JITTER,
    appearance: Appearance | None = None,
) -> TestSet:
    """Faces that no training has seen: yaw -90 to 90, pitch normal 15 clipped at 40, full appearance, no jitter.

    Parameters
    ----------
    face : where faces come from, and on whose device samples are made; not the training's: the test is cross-database.
    n, seed : of the set; a smaller one is the beginning of a larger one.
    poses : another range of poses, or with jitter.
    appearance : another one than the training's; with `Appearance(heldout=True)`, skins and a haircut never seen there.

    Examples
    --------
    Sixteen faces at 128 pixels::

        pairs = next(heldout(face, 16).batches("colab"))
    """

    def make(preset: Preset) -> Iterator[FacePairs]:
        for generator in generators(seed):
            yield make_pairs(face, preset, CHUNK, generator, appearance=appearance, poses=poses)

    return TestSet("heldout", face.name, face, n, make)


EXPRESSIONS: Mapping[str, Mapping[str, float]] = {
    "Neutral": {},
    "Happy": {"mouthSmile": 1, "cheekSquint": 0.5},
    "Sad": {"mouthFrown": 1, "browInnerUp": 0.8},
    "Fear": {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.8, "mouthStretch": 0.7, "jawOpen": 0.3},
    "Angry": {"browDown": 1, "noseSneer": 0.4, "mouthPress": 0.8},
    "Disgust": {"noseSneer": 1, "mouthUpperUp": 0.7, "browDown": 0.4},
    "Surprise": {"browInnerUp": 1, "browOuterUp": 1, "eyeWide": 1, "jawOpen": 0.8},
}
"""BU-4DFE's six expressions, and none, in ICT-FaceKit's blendshapes (the procedural face has them, too); both sides."""


def expression(face: MorphableFace, name: str) -> Float[Tensor, " e"]:
    """Expression coefficients of a face model for a name from `EXPRESSIONS`; an InputError if it cannot show it."""
    require(name in EXPRESSIONS, f"unknown expression {name!r}: choose one of {', '.join(EXPRESSIONS)}")
    bases = [blendshape.removesuffix("_L").removesuffix("_R") for blendshape in face.expression_names]
    missing = ", ".join(sorted(set(EXPRESSIONS[name]) - set(bases)))
    require(not missing, f"the {face.name} face has no blendshape {missing}: {name} cannot be shown on it")
    return face.mean.new_tensor([EXPRESSIONS[name].get(base, 0.0) for base in bases])


@dataclass(frozen=True)
class Rendered:
    """A test set of scans, as the paper renders them: each identity in a grid of expressions, pitches and yaws.

    The pictures are plain: short hair, no hats, glasses or hands before the face, no camera faults; lights have a
    random direction and colour, the background is random and smooth. Sample i shows identity i // (size of the grid).
    By default there are `size` samples, whole identities; `stream` keeps their faces apart from those of other sets.
    """

    name: str
    stream: int
    expressions: Sequence[str]
    pitches: Sequence[float]
    yaws: Sequence[float]
    size: int

    @property
    def grid(self) -> list[tuple[str, float, float]]:
        """Expression, pitch and yaw of an identity's samples."""
        return list(product(self.expressions, self.pitches, self.yaws))

    def __call__(self, face: MorphableFace, n: int | None = None, seed: int = 2017) -> TestSet:
        """The test set; parameters as in `heldout`."""

        def make(preset: Preset) -> Iterator[FacePairs]:
            for chunk, generator in enumerate(generators(seed, self.stream)):
                samples = [divmod(number, len(self.grid)) for number in range(CHUNK * chunk, CHUNK * (chunk + 1))]
                names, pitch, yaw = zip(*(self.grid[pose] for _, pose in samples), strict=True)
                identity = torch.stack([self.identity(face, seed, person) for person, _ in samples]).to(face.mean)
                shown = torch.stack([expression(face, name) for name in names])
                mesh = face.mesh(face.before_wall(identity, shown), shown)
                view = straight(mesh.landmark_points(), face, preset.grid, *map(face.mean.new_tensor, (yaw, pitch)))
                rng = Rng.of(generator, CHUNK, face.mean.device)
                yield replace(draw_pairs(mesh, view, face, preset.grid, rng, Appearance.plain()), tags=names)

        return TestSet(self.name, face.name, face, self.size if n is None else n, make)

    def identity(self, face: MorphableFace, seed: int, person: int) -> Float[Tensor, " i"]:
        """Coefficients of one identity of the set."""
        number = STREAM * self.stream + IDENTITIES + person
        return face.draw_identity(torch.Generator().manual_seed(heldout_seed(seed, number)))


def straight(points: Landmarks, face: MorphableFace, grid: Grid, yaw: Tensor, pitch: Tensor, roll: Any = None) -> View:
    """The crop of heads at given angles, without jitter."""
    roll = torch.zeros_like(yaw) if roll is None else roll
    return View(crop_camera(points, yaw, pitch, roll, face.interocular, grid), yaw, pitch)


florence = Rendered("florence", 1, ("Neutral",), (-15, 20, 25), (-80, -40, 0, 40, 80), 240)
"""As the paper renders MICC Florence: neutral faces, three pitches, five yaws (15 poses; the text says 20)."""

bu4dfe = Rendered("bu4dfe", 2, ("Happy", "Surprise"), (-20, 0, 20), tuple(80 * k / 3 for k in range(-3, 4)), 252)
"""As the paper renders BU-4DFE: two expressions, three pitches, seven yaws from -80 to 80 degrees."""

six_expressions = Rendered("expressions", 4, tuple(EXPRESSIONS)[1:], (0,), (0,), 240)
"""Frontal faces in BU-4DFE's six expressions (paper section 5, third ablation)."""

YAW_SHARES = ((0, 30, 0.653), (30, 60, 0.231), (60, 90, 0.116))
"""|yaw| in AFLW2000-3D: 1,306, 462 and 232 of its 2,000 faces lie in these ranges (Zhu et al., CVPR 2016)."""


def aflw2000(face: MorphableFace, n: int = 256, seed: int = 2017) -> TestSet:
    """Faces as wild as AFLW2000-3D's: identity, expression and appearance at random, more frontal faces than profiles.

    |yaw| follows that set (`YAW_SHARES`); pitch and roll are normal with standard deviations of 12 and 10 degrees,
    clipped at 35. The crop is straight, from the true landmarks. Parameters as in `heldout`.
    """

    def make(preset: Preset) -> Iterator[FacePairs]:
        for generator in generators(seed, 3):
            rng = Rng.of(generator, CHUNK, face.mean.device)
            mesh, angles = face.sample(generator, CHUNK), rng.stream("view")
            pitch = (12 * angles.normal()).clamp(-35, 35)
            roll = (10 * angles.normal()).clamp(-35, 35)
            view = straight(mesh.landmark_points(), face, preset.grid, _wild_yaw(angles), pitch, roll)
            yield draw_pairs(mesh, view, face, preset.grid, rng, Appearance())

    return TestSet("aflw2000", face.name, face, n, make)


def _wild_yaw(rng: Rng) -> Float[Tensor, " b"]:
    """Yaw in degrees: a range by its share, then uniform within, to either side."""
    low, high, shares = rng.uniform(0, 1).new_tensor(YAW_SHARES).T
    drawn = torch.searchsorted(shares.cumsum(0), rng.uniform(0, 1)).clamp(max=len(low) - 1)
    size = torch.lerp(low[drawn], high[drawn], rng.uniform(0, 1))
    return torch.where(rng.bernoulli(0.5) > 0, size, -size)


TEST_SETS: Mapping[str, Callable[..., TestSet]] = {
    "heldout": heldout,
    "aflw2000": aflw2000,
    **{rendered.name: rendered for rendered in (florence, bu4dfe, six_expressions)},
}
"""Sets by name: functions of a face model, a number of samples (each has its own by default) and a seed."""


def named_set(name: str, face: MorphableFace, n: int | None = None, seed: int = 2017) -> TestSet:
    """The set of that name, by default of its own size; an InputError if there is none."""
    require(name in TEST_SETS, f"unknown protocol {name!r}: choose one of {', '.join(TEST_SETS)}")
    return TEST_SETS[name](face, seed=seed, **({} if n is None else {"n": n}))
