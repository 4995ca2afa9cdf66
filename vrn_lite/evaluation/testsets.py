"""Test sets with fixed seeds, from any face model: the held-out faces, the paper's three protocols, the six expressions.

Every set is a function ``(source, n, seed, *, preset, device)`` that yields `FacePairs` of up to 16 samples. Sample i is
the same however many are asked for and at whatever preset, and no training ever sees it. ``TEST_SETS`` names them all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.camera import Similarity, crop_camera
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, require
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.samples import NO_JITTER, FacePairs, PoseRange, View, draw_pairs, make_pairs
from vrn_lite.synth.appearance import Appearance, Rng

CHUNK = 16
"""Faces of a test set are made so many at a time, always: face i is then the same however many are asked for."""


def heldout_seed(seed: int, chunk: int) -> int:
    """Seed of a chunk of held-out faces, in the upper half of 32 bits.

    PyTorch's CPU generator looks at the lower 32 bits of its seed only. Training's seeds (`training.step_seed`) stay in the
    lower half, so that no generator here ever equals one there.
    """
    return 2**31 + (seed * 100_003 + chunk) % 2**31


STREAM = 10_000
"""Every set after the held-out one draws its chunks from numbers of its own, this far apart, so that no two sets share faces."""

IDENTITIES = 5_000
"""Where, in a set's numbers, those of its identities begin."""


def heldout(
    source: MorphableFace,
    n: int = 256,
    seed: int = 2017,
    *,
    preset: Preset | str = "lite",
    poses: PoseRange = NO_JITTER,
    appearance: Appearance | None = None,
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
    appearance : another one than the training's; with `Appearance(heldout=True)`, skins and a haircut never seen there.
    device : where the pairs are made; by default where `source` is.

    Yields
    ------
    FacePairs of up to 16 samples.
    """
    for start in _starts(n):
        generator = torch.Generator().manual_seed(heldout_seed(seed, start // CHUNK))
        yield beginning(make_pairs(source, preset, CHUNK, generator, device, appearance=appearance, poses=poses), n - start)


def _starts(n: int) -> range:
    """First samples of the chunks of a set of n."""
    require(n > 0, f"a test set needs faces, got n = {n}")
    return range(0, n, CHUNK)


def beginning(pairs: FacePairs, count: int) -> FacePairs:
    """The first `count` samples of a batch, copied, so that the memory of the others is free."""
    if count >= len(pairs):
        return pairs
    kept = {f.name: getattr(pairs, f.name)[:count] for f in fields(pairs) if f.name not in ("truth", "camera", "found")}
    copies: dict[str, Any] = {name: value.clone() if isinstance(value, Tensor) else value for name, value in kept.items()}
    return FacePairs(**copies, truth=pairs.truth.with_vertices(pairs.truth.vertices[:count].clone()), camera=part(pairs.camera, slice(count)))


def part(motion: Similarity, which: slice) -> Similarity:
    """Some motions of a batch."""
    return Similarity(motion.scale[which], motion.rotation[which], motion.translation[which])


EXPRESSIONS: Mapping[str, Mapping[str, float]] = {
    "Neutral": {},
    "Happy": {"mouthSmile": 1, "cheekSquint": 0.5},
    "Sad": {"mouthFrown": 1, "browInnerUp": 0.8},
    "Fear": {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.8, "mouthStretch": 0.7, "jawOpen": 0.3},
    "Angry": {"browDown": 1, "noseSneer": 0.4, "mouthPress": 0.8},
    "Disgust": {"noseSneer": 1, "mouthUpperUp": 0.7, "browDown": 0.4},
    "Surprise": {"browInnerUp": 1, "browOuterUp": 1, "eyeWide": 1, "jawOpen": 0.8},
}
"""BU-4DFE's six expressions, and none, in the names of ICT-FaceKit's blendshapes, which the procedural face shares; both sides alike."""


def expression(face: MorphableFace, name: str) -> Float[Tensor, " e"]:
    """Expression coefficients of a face model for a name from `EXPRESSIONS`.

    Raises
    ------
    InputError : unknown name, or a model without one of the blendshapes.
    """
    require(name in EXPRESSIONS, f"unknown expression {name!r}: choose one of {', '.join(EXPRESSIONS)}")
    bases = [blendshape.removesuffix("_L").removesuffix("_R") for blendshape in face.expression_names]
    missing = sorted(set(EXPRESSIONS[name]) - set(bases))
    require(not missing, f"the {face.name} face has no blendshape {', '.join(missing)}: {name} cannot be shown on it")
    return face.mean.new_tensor([EXPRESSIONS[name].get(base, 0.0) for base in bases])


@dataclass(frozen=True)
class Rendered:
    """A test set of scans, as the paper renders them: each identity in a grid of expressions, pitches and yaws.

    The pictures are plain: short hair, no hats, glasses or hands before the face, no camera faults; lights have a random
    direction and colour, the background is random and smooth. Sample i shows identity i // (size of the grid).

    Attributes
    ----------
    stream : number of the set, which keeps its faces apart from those of the others.
    expressions : names from `EXPRESSIONS`.
    pitches, yaws : degrees.
    size : number of samples by default: whole identities.
    """

    stream: int
    expressions: Sequence[str]
    pitches: Sequence[float]
    yaws: Sequence[float]
    size: int

    @property
    def grid(self) -> list[tuple[str, float, float]]:
        """Expression, pitch and yaw of an identity's samples."""
        return list(product(self.expressions, self.pitches, self.yaws))

    def __call__(
        self,
        source: MorphableFace,
        n: int | None = None,
        seed: int = 2017,
        *,
        preset: Preset | str = "lite",
        device: torch.device | str | None = None,
    ) -> Iterator[FacePairs]:
        """The samples; parameters as in `heldout`."""
        count, grid = self.size if n is None else n, preset_named(preset).grid
        face = source if device is None else source.to(device)
        for start in _starts(count):
            poses = [self.grid[number % len(self.grid)] for number in range(start, start + CHUNK)]
            names, pitch, yaw = zip(*poses, strict=True)
            identity = torch.stack([self._identity(face, seed, number // len(self.grid)) for number in range(start, start + CHUNK)])
            shown = torch.stack([expression(face, name) for name in names])
            mesh = face.mesh(face.before_wall(identity.to(face.mean), shown), shown)
            view = straight(mesh.landmark_points(), face, grid, face.mean.new_tensor(yaw), face.mean.new_tensor(pitch))
            generator = torch.Generator().manual_seed(heldout_seed(seed, STREAM * self.stream + start // CHUNK))
            pairs = draw_pairs(mesh, view, face, grid, Rng.of(generator, CHUNK, face.mean.device), Appearance.plain())
            yield beginning(replace(pairs, tags=names), count - start)

    def _identity(self, face: MorphableFace, seed: int, number: int) -> Float[Tensor, " i"]:
        """Coefficients of one identity of the set."""
        return face.draw_identity(torch.Generator().manual_seed(heldout_seed(seed, STREAM * self.stream + IDENTITIES + number)))


def straight(landmarks: Float[Tensor, "b 68 3"], face: MorphableFace, grid: Grid, yaw: Tensor, pitch: Tensor, roll: Tensor | None = None) -> View:
    """The crop of heads at given angles, without jitter."""
    return View(crop_camera(landmarks, yaw, pitch, torch.zeros_like(yaw) if roll is None else roll, face.interocular, grid), yaw, pitch)


florence = Rendered(1, ("Neutral",), (-15, 20, 25), (-80, -40, 0, 40, 80), 240)
"""As the paper renders MICC Florence: neutral faces, three pitches, five yaws (15 poses; the text says 20)."""

bu4dfe = Rendered(2, ("Happy", "Surprise"), (-20, 0, 20), tuple(80 * step / 3 for step in range(-3, 4)), 252)
"""As the paper renders BU-4DFE: two expressions, three pitches, seven yaws from -80 to 80 degrees."""

six_expressions = Rendered(4, tuple(EXPRESSIONS)[1:], (0,), (0,), 240)
"""Frontal faces in BU-4DFE's six expressions (paper section 5, third ablation)."""

YAW_SHARES = ((0, 30, 0.653), (30, 60, 0.231), (60, 90, 0.116))
"""|yaw| in AFLW2000-3D: 1,306, 462 and 232 of its 2,000 faces lie in these ranges (Zhu et al., CVPR 2016)."""


def aflw2000(
    source: MorphableFace,
    n: int = 256,
    seed: int = 2017,
    *,
    preset: Preset | str = "lite",
    device: torch.device | str | None = None,
) -> Iterator[FacePairs]:
    """Faces as wild as AFLW2000-3D's: identity, expression and appearance at random, more frontal faces than profiles.

    |yaw| follows that set (`YAW_SHARES`); pitch and roll are normal with standard deviations of 12 and 10 degrees,
    clipped at 35. The crop is straight, from the true landmarks. Parameters as in `heldout`.
    """
    grid, face = preset_named(preset).grid, source if device is None else source.to(device)
    for start in _starts(n):
        generator = torch.Generator().manual_seed(heldout_seed(seed, STREAM * 3 + start // CHUNK))
        rng = Rng.of(generator, CHUNK, face.mean.device)
        mesh, angles = face.sample(generator, CHUNK), rng.stream("view")
        pitch = (12 * angles.normal()).clamp(-35, 35)
        roll = (10 * angles.normal()).clamp(-35, 35)
        view = straight(mesh.landmark_points(), face, grid, _wild_yaw(angles), pitch, roll)
        yield beginning(draw_pairs(mesh, view, face, grid, rng, Appearance()), n - start)


def _wild_yaw(rng: Rng) -> Float[Tensor, " b"]:
    """Yaw in degrees: a range by its share, then uniform within, to either side."""
    low, high, shares = rng.uniform(0, 1).new_tensor(YAW_SHARES).T
    drawn = torch.searchsorted(shares.cumsum(0), rng.uniform(0, 1)).clamp(max=len(low) - 1)
    size = torch.lerp(low[drawn], high[drawn], rng.uniform(0, 1))
    return torch.where(rng.bernoulli(0.5) > 0, size, -size)


TestSet = Callable[..., Iterator[FacePairs]]
TEST_SETS: Mapping[str, TestSet] = {"heldout": heldout, "florence": florence, "bu4dfe": bu4dfe, "aflw2000": aflw2000, "expressions": six_expressions}
"""The sets by name."""

SIZES = {"heldout": 256, "florence": florence.size, "bu4dfe": bu4dfe.size, "aflw2000": 256, "expressions": six_expressions.size}
"""How many samples each set has by default."""


def named_set(name: str) -> TestSet:
    """The set of that name.

    Raises
    ------
    InputError : no such set.
    """
    require(name in TEST_SETS, f"unknown protocol {name!r}: choose one of {', '.join(TEST_SETS)}")
    return TEST_SETS[name]
