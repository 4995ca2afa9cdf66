"""EOS: a morphable model fitted to 68 landmarks, and nothing else seen of the image (paper section 4).

Huber et al., "A Multiresolution 3D Morphable Face Model and Fitting Framework", VISAPP 2016; the fitting is that of the
authors' library, eos-py. It alternates pose (scaled orthographic), identity and expression (linear, Gaussian priors).
Of a face model EOS gets the 68 landmark vertices alone: it looks at no other vertex while it fits. The whole mesh is
made here, from the coefficients found.

EOS can also let the jaw line's points slide along the outline that the camera sees, for detectors that mark this
outline. Ours mark one fixed vertex at every yaw ("3D" landmarks), so each of the 68 stays with its vertex.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.camera import PIVOT_BEHIND_LANDMARKS, Similarity
from vrn_lite.evaluation.predictors import LandmarkSource, Prediction3D, Predictor, solid_of
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, InputError
from vrn_lite.mesh import Mesh
from vrn_lite.presets import Preset
from vrn_lite.samples import FacePairs

SIDE = 192
"""EOS is told of an image of so many pixels a side at every preset: its weights count in pixels of landmark error."""

STRENGTH = 0.5
"""Weight of the priors, in EOS's unit: 1 for landmarks that are off by sqrt(3) px. Of 32 ICT faces (none held out),
fitted with weights from 0.05 to EOS's own default of 30: 0.1 has 6 % less error for true landmarks and 17 % more for
landmarks that are 3 % off; larger weights have more for both."""

ITERATIONS = 20
"""Rounds of pose, identity and expression. On the same faces EOS's own default of 5 has 14 % more error for true
landmarks and 5 % more for landmarks that are 3 % off; 50 have as much for the former, 5 % more for the latter."""


class Part(NamedTuple):
    """A linear part of a face model as EOS holds it, and the way back: our coefficients, ``start + turn @ EOS's``."""

    model: Any
    start: Float[Tensor, " m"]
    turn: Float[Tensor, "m k"]

    def coefficients(self, found: list[float]) -> Float[Tensor, " m"]:
        """Our coefficients for EOS's."""
        return (self.start + self.turn @ torch.tensor(found, dtype=torch.float64)).float()


def gaussian_part(
    mean: Float[Tensor, "l 3"], modes: Float[Tensor, "m l 3"], start: Float[Tensor, " m"], spread: Float[Tensor, " m"]
) -> Part:
    """The faces ``mean + sum (coefficients - start) * modes``, coefficients ~ N(start, spread^2), on orthonormal axes.

    With ``modes * spread = basis @ diag(size) @ axes`` (singular values), EOS's coefficients along `axes` are N(0, 1)
    each and independent, which is the prior that EOS assumes, and its eigenvalues are `size` squared.
    """
    weighted = (modes.double() * spread.double()[:, None, None]).flatten(1).T
    basis, size, axes = torch.linalg.svd(weighted, full_matrices=False)
    model = _eos().morphablemodel.PcaModel(_column(mean.flatten()), _column(basis), _column(size**2), [])
    return Part(model, start.double(), spread.double()[:, None] * axes.T)


@dataclass(frozen=True)
class EosModel:
    """A face model (on the CPU), and in EOS's form, cut to its landmarks: vertex k is landmark k."""

    face: MorphableFace
    model: Any
    identity: Part
    expression: Part

    def fit(self, points: Float[Tensor, "68 n"], grid: Grid, strength: float = STRENGTH) -> Mesh | None:
        """The closed mesh, voxel frame, whose landmarks are seen at `points` (x, y and what may follow, pixels).

        Expression coefficients are clamped to [0, 1], and identity coefficients shrunk where the face would reach
        behind its wall (`MorphableFace.before_wall`). None where there is no such face: points that are not finite, or
        that lie as no face's do.
        """
        if not bool(points[:, :2].isfinite().all()):
            return None
        eos, zoom = _eos(), SIDE / grid.side
        marks = [eos.core.Landmark(str(k), point) for k, point in enumerate(_column(zoom * points[:, :2]))]
        weights = {"num_iterations": ITERATIONS, "lambda_identity": strength, "lambda_expressions": strength}
        _, pose, *found = eos.fitting.fit_shape_and_pose(
            self.model, marks, eos.core.LandmarkMapper(), SIDE, SIDE, **weights
        )
        seen = torch.tensor(eos.fitting.get_3x4_affine_camera_matrix(pose, SIDE, SIDE)[:2], dtype=torch.float64) / zoom
        identity, shown = self.identity.coefficients(found[0]), self.expression.coefficients(found[1]).clamp(0, 1)
        if not all(bool(numbers.isfinite().all()) for numbers in (identity, shown, seen)):
            return None
        try:
            mesh = self.face.mesh(self.face.before_wall(identity, shown), shown)
        except InputError:  # an expression that reaches behind the wall even on the mean face
            return None
        camera = camera_of(seen, mesh.landmark_points(), self.face.interocular, grid)
        return mesh.with_vertices(camera(mesh.vertices[None])[0])


def camera_of(
    seen: Float[Tensor, "2 4"], landmarks: Float[Tensor, "68 3"], interocular: float, grid: Grid
) -> Similarity:
    """Our camera (`vrn_lite.camera`) from the first two rows of an affine one, model frame to pixels.

    EOS's frame after its rotation has y up and z to the viewer; its rows for the screen have y down already, so that
    the third axis, their cross product, points away from the viewer. What an orthographic camera cannot see is the
    distance: the head's pivot goes to `grid.centre`, where `crop_camera` puts it.
    """
    scale = seen[:, :3].norm(dim=1)
    across, down = seen[:, :3] / scale[:, None]
    rotation = torch.stack((across, down, torch.linalg.cross(across, down)))
    back = torch.tensor([0.0, 0.0, PIVOT_BEHIND_LANDMARKS * interocular], dtype=torch.float64)
    away = grid.centre[2] - scale.mean() * (rotation[2] @ (landmarks.double().mean(0) - back))
    translation = torch.cat((seen[:, 3], away[None]))
    return Similarity(scale.mean()[None].float(), rotation[None].float(), translation[None].float())


def eos_model(face: MorphableFace) -> EosModel:
    """Hand a face model to EOS; the prior on expressions has the mean and spread of `MorphableFace.draw_expression`."""
    pack, face = _eos().morphablemodel, face.to("cpu")
    modes, count = face.expression[:, face.landmarks], len(face.identity)
    still, one = torch.zeros(count), torch.ones(count)
    identity = gaussian_part(face.mean[face.landmarks], face.identity[:, face.landmarks], still, one)
    drawn = face.draw_expression(torch.Generator().manual_seed(0), 4096)
    middle = torch.einsum("m,mlc->lc", drawn.mean(0), modes)
    expression = gaussian_part(middle, modes, drawn.mean(0), drawn.std(0))
    return EosModel(face, pack.MorphableModel(identity.model, expression.model, pack.PcaModel()), identity, expression)


def eos_predictor(face: MorphableFace, landmarks: LandmarkSource, preset: Preset) -> Predictor:
    """What EOS makes of landmarks (x and y): the fitted mesh, the solid inside it, and these landmarks; on the CPU.

    A sample whose landmarks are not finite, or lie as no face's do, gets an empty solid and no surface.

    Raises
    ------
    InputError : eos-py is not installed.
    """
    model, bounds = eos_model(face), face.mesh().solid_triangles().unique().cpu()

    def predict(pairs: FacePairs) -> Iterator[Prediction3D]:
        for points in landmarks(pairs).detach().cpu():
            yield solid_of(model.fit(points, preset.grid), bounds, preset.grid, points)

    return Predictor(preset, predict)


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
