"""EOS: a morphable model fitted to 68 landmarks, and nothing else seen of the image (paper section 4).

Huber et al., "A Multiresolution 3D Morphable Face Model and Fitting Framework", VISAPP 2016; the fitting is that of the
authors' library, eos-py. It alternates pose (scaled orthographic), identity (linear, with a Gaussian prior) and
expression::

    landmarks [68, 2] --pose--> camera --identity--> coefficients --expression--> coefficients --+--> closed mesh, solid
                        ^                                                                        |
                        +--------------------------- iterations times ---------------------------+

Expressions have a Gaussian prior here too. EOS's non-negative blendshapes, which have none, are an option.

What EOS is given of a face model are the 68 landmark vertices alone. Nothing is lost by that: it looks at no other
vertex while it fits, and where the landmarks do not move its prior gives zero. The whole mesh is made here, from the
coefficients found.

EOS can also let the jaw line's points slide along the outline that the camera sees, for detectors that mark this
outline. Ours mark one fixed vertex at every yaw ("3D" landmarks), so each of the 68 stays with its vertex.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.camera import PIVOT_BEHIND_LANDMARKS, Similarity
from vrn_lite.evaluation.predictors import Answer, Reconstruct
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, InputError, require
from vrn_lite.mesh import Mesh
from vrn_lite.samples import FacePairs
from vrn_lite.volume import voxelize

SIDE = 192
"""EOS is told of an image of so many pixels a side at every preset: its weights count in pixels of a landmark's error."""

STRENGTH = 0.5
"""Weight of the priors, in EOS's unit: 1 for landmarks that are off by sqrt(3) px. Of 32 ICT faces (not the held-out ones), fitted
with weights from 0.05 to EOS's own default of 30: 0.1 has 6 % less error for true landmarks and 17 % more for landmarks that
are 3 % off; larger weights have more for both."""

ITERATIONS = 20
"""Rounds of pose, identity and expression. On the same faces EOS's own default of 5 has 14 % more error for true landmarks and 5 %
more for landmarks that are 3 % off; 50 have as much for the former and 5 % more for the latter."""

Expressions = Literal["blendshapes", "prior"]


class Part(NamedTuple):
    """One linear part of a face model as EOS holds it, and the way back: our coefficients are ``start + turn @ EOS's``.

    Attributes
    ----------
    model : `eos.morphablemodel.PcaModel`, or a list of its `Blendshape`.
    start : ``[m]``.
    turn : ``[m, k]``.
    """

    model: Any
    start: Float[Tensor, " m"]
    turn: Float[Tensor, "m k"]

    def coefficients(self, found: list[float]) -> Float[Tensor, " m"]:
        """Our coefficients for EOS's."""
        return (self.start + self.turn @ torch.tensor(found, dtype=torch.float64)).float()


def gaussian_part(mean: Float[Tensor, "l 3"], modes: Float[Tensor, "m l 3"], start: Float[Tensor, " m"], spread: Float[Tensor, " m"]) -> Part:
    """The faces ``mean + sum (coefficients - start) * modes``, coefficients ~ N(start, spread^2), over an orthonormal basis.

    With ``modes * spread = basis @ diag(size) @ axes`` (singular values), EOS's coefficients along `axes` are N(0, 1) each
    and independent, which is the prior that EOS assumes, and its eigenvalues are `size` squared.
    """
    pack = _eos().morphablemodel
    basis, size, axes = torch.linalg.svd((modes.double() * spread.double()[:, None, None]).flatten(1).T, full_matrices=False)
    model = pack.PcaModel(_column(mean.flatten()), _column(basis), _column(size**2), [])
    return Part(model, start.double(), spread.double()[:, None] * axes.T)


@dataclass(frozen=True)
class EosModel:
    """A face model in EOS's form, cut to its landmarks: vertex k is landmark k.

    Attributes
    ----------
    face : the whole model, on the CPU.
    model : `eos.morphablemodel.MorphableModel`.
    identity, expression : its parts.
    """

    face: MorphableFace
    model: Any
    identity: Part
    expression: Part

    def fit(self, points: Float[Tensor, "68 n"], grid: Grid, strength: float = STRENGTH, iterations: int = ITERATIONS) -> Mesh | None:
        """The closed mesh, in the voxel frame, whose landmarks are seen at `points` (x, y and what may follow, pixels).

        Expression coefficients are clamped to [0, 1], and identity coefficients shrunk where the face would reach behind
        its wall (`MorphableFace.before_wall`).

        Returns
        -------
        None where there is no such face: points that are not finite, or that lie as no face's do.
        """
        if not bool(points[:, :2].isfinite().all()):
            return None
        eos, zoom = _eos(), SIDE / grid.side
        marks = [eos.core.Landmark(str(k), point) for k, point in enumerate(_column(zoom * points[:, :2]))]
        weights = {"num_iterations": iterations, "lambda_identity": strength, "lambda_expressions": strength}
        _, pose, identity, expression = eos.fitting.fit_shape_and_pose(self.model, marks, eos.core.LandmarkMapper(), SIDE, SIDE, **weights)
        seen = torch.tensor(eos.fitting.get_3x4_affine_camera_matrix(pose, SIDE, SIDE)[:2], dtype=torch.float64) / zoom
        return self._placed(self.identity.coefficients(identity), self.expression.coefficients(expression), seen, grid)

    def _placed(self, identity: Float[Tensor, " i"], expression: Float[Tensor, " e"], seen: Float[Tensor, "2 4"], grid: Grid) -> Mesh | None:
        """The mesh under the camera whose rows x and y are `seen`, or None if it cannot be built."""
        if not all(bool(found.isfinite().all()) for found in (identity, expression, seen)):
            return None
        try:
            shown = expression.clamp(0, 1)
            mesh = self.face.mesh(self.face.before_wall(identity, shown), shown)
        except InputError:  # an expression that reaches behind the wall even on the mean face
            return None
        return mesh.with_vertices(camera_of(seen, mesh.landmark_points(), self.face.interocular, grid)(mesh.vertices[None])[0])


def camera_of(seen: Float[Tensor, "2 4"], landmarks: Float[Tensor, "68 3"], unit: float, grid: Grid) -> Similarity:
    """Our camera (`vrn_lite.camera`) from the first two rows of an affine one, model frame to pixels.

    EOS's frame after its rotation has y up and z to the viewer; its rows for the screen have y down already, so that the
    third axis, their cross product, points away from the viewer. What an orthographic camera cannot see is the distance:
    the head's pivot goes to `grid.centre`, where `camera.crop_camera` puts it.
    """
    scale = seen[:, :3].norm(dim=1)
    across, down = seen[:, :3] / scale[:, None]
    rotation = torch.stack((across, down, torch.linalg.cross(across, down)))
    pivot = landmarks.double().mean(0) - torch.tensor([0.0, 0.0, PIVOT_BEHIND_LANDMARKS * unit], dtype=torch.float64)
    away = grid.centre[2] - scale.mean() * (rotation[2] @ pivot)
    translation = torch.cat((seen[:, 3], away[None]))
    return Similarity(scale.mean()[None].float(), rotation[None].float(), translation[None].float())


def eos_model(face: MorphableFace, expressions: Expressions = "prior") -> EosModel:
    """Hand a face model to EOS; see `by_eos` for `expressions`.

    Raises
    ------
    InputError : eos-py is not installed, or no such kind of expressions.
    """
    require(expressions in ("blendshapes", "prior"), f"expressions must be 'blendshapes' or 'prior', got {expressions!r}")
    pack, face = _eos().morphablemodel, face.to("cpu")
    modes, count = face.expression[:, face.landmarks], len(face.identity)
    identity = gaussian_part(face.mean[face.landmarks], face.identity[:, face.landmarks], torch.zeros(count), torch.ones(count))
    if expressions == "blendshapes":
        shapes = [pack.Blendshape(name, _column(mode.flatten())) for name, mode in zip(face.expression_names, modes, strict=True)]
        expression = Part(shapes, torch.zeros(len(modes), dtype=torch.float64), torch.eye(len(modes), dtype=torch.float64))
    else:
        drawn = face.draw_expression(torch.Generator().manual_seed(0), 4096)
        expression = gaussian_part(torch.einsum("m,mlc->lc", drawn.mean(0), modes), modes, drawn.mean(0), drawn.std(0))
    return EosModel(face, pack.MorphableModel(identity.model, expression.model, pack.PcaModel()), identity, expression)


def by_eos(
    face: MorphableFace,
    landmarks: Callable[[FacePairs], Float[Tensor, "b 68 n"]],
    grid: Grid,
    *,
    expressions: Expressions = "prior",
    strength: float = STRENGTH,
    iterations: int = ITERATIONS,
) -> Reconstruct:
    """What EOS makes of the landmarks that a function has for the samples; it runs on the CPU.

    Parameters
    ----------
    face : the morphable model to fit.
    landmarks : the 68 points of each sample as the image shows them, in pixels; only x and y are used. The true ones, or a detector's::

            by_eos(face, lambda pairs: pairs.landmarks, grid)
            by_eos(face, lambda pairs: landmarks_in(detector, pairs.images), grid)

    grid : of the samples.
    expressions : "prior" for a linear model with a Gaussian prior, of the mean and spread that `MorphableFace.draw_expression`
        has; "blendshapes" for non-negative least squares without any prior, the way of the paper's time. Made for a handful of
        blendshapes, it gives those of a face with fifty what belongs to identity and noise, and it diverges
        where two of them undo each other.
    strength : weight of the priors on identity and expression.
    iterations : rounds of fitting.

    Returns
    -------
    Reconstruct: the solid of the fitted mesh, that mesh's vertices, and the landmarks it was fitted to. A sample whose
    landmarks are not finite, or lie as no face's do, gets an empty solid and no surface.

    Raises
    ------
    InputError : eos-py is not installed, or no such kind of expressions.
    """
    model = eos_model(face, expressions)
    bounds = face.mesh().solid_triangles().unique().cpu()

    def answer(points: Float[Tensor, "68 n"]) -> Answer:
        mesh = model.fit(points, grid, strength, iterations)
        if mesh is None:
            return Answer(torch.zeros(grid.shape, dtype=torch.bool), None, points)
        return Answer(voxelize(mesh.vertices, mesh.solid_triangles(), grid.shape, grid.depth_scale), mesh.vertices[bounds], points)

    return lambda pairs: (answer(points) for points in landmarks(pairs).detach().cpu())


def _eos() -> Any:
    """The optional library."""
    try:
        import eos
    except ImportError as error:
        raise InputError("EOS needs the extra: pip install 'vrn_lite[baselines]'") from error
    return eos


def _column(values: Tensor) -> np.ndarray:
    """Single precision for EOS."""
    return values.float().numpy()
