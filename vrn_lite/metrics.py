"""How good a reconstruction is: NME, landmark NME, intersection over union, error curves (paper section 4)."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
import trimesh
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vrn_lite.align import icp
from vrn_lite.frame import Landmarks, Vertices, require
from vrn_lite.mesh import Mesh

Solids = Bool[Tensor, "*b d h w"]
Shape: TypeAlias = trimesh.Trimesh | Mesh | Vertices


def iou(predicted: Solids, truth: Solids, slices: int | None = None) -> Float[Tensor, "*b"]:
    """Intersection over union of two solids, per sample; 1 where both are empty.

    Parameters
    ----------
    slices : count only so many depth slices, from the viewer's side; None for all. A face's flat wall flatters the
        whole volume's number, so that the front half is the better witness.
    """
    predicted, truth = predicted[..., :slices, :, :], truth[..., :slices, :, :]
    union, shared = _counted(predicted | truth), _counted(predicted & truth)
    return (shared + (union == 0)) / union.clamp(min=1)


def _counted(solids: Solids) -> Int[Tensor, "*b"]:
    """Voxels inside each solid; a sum over some axes of bits would first make eight bytes of each."""
    counts = [int(solid.count_nonzero()) for solid in solids.reshape(-1, *solids.shape[-3:])]
    return torch.tensor(counts, dtype=torch.long, device=solids.device).view(solids.shape[:-3])


def normaliser(landmarks: Landmarks) -> Float[Tensor, "*b"]:
    """Outer interocular distance in 3D, in the unit of ``[..., 68, 3]``: landmarks 37 and 46 counted from 1."""
    return (landmarks[..., 36, :] - landmarks[..., 45, :]).norm(dim=-1)


def landmark_nme(predicted: Float[Tensor, "*b 68 n"], truth: Landmarks) -> Float[Tensor, "*b"]:
    """Mean distance of landmarks in the image (x and y) over the 3D normaliser, so that profiles do not blow up."""
    return (predicted[..., :2] - truth[..., :2]).norm(dim=-1).mean(-1) / normaliser(truth)


@dataclass(frozen=True)
class VertexErrors:
    """Where a reconstruction stands, seen from each vertex of the truth's face mask; the NMEs are its summaries.

    Attributes
    ----------
    offsets : ``[n, 3]``, from the truth's vertex to its partner on the prediction as it is, pixels.
    aligned : the same, after the rigid motion that brings the prediction closest.
    normaliser : outer interocular distance of the truth in 3D, pixels.
    """

    offsets: Float[Tensor, "n 3"]
    aligned: Float[Tensor, "n 3"]
    normaliser: float

    @property
    def distances(self) -> Float[Tensor, " n"]:
        """Distance at each vertex, as a share of the normaliser; their mean is `nme`."""
        return self.offsets.norm(dim=-1) / self.normaliser

    @property
    def nme(self) -> float:
        """The paper's number: pairs from ICP, distances without it."""
        return float(self.distances.mean())

    @property
    def rigid(self) -> float:
        """The supplement's number: distances after the rigid alignment."""
        return float(self.aligned.norm(dim=-1).mean() / self.normaliser)

    @property
    def depth_aligned(self) -> float:
        """`nme` after removing the mean z difference: for faces of a source that puts its depth origin elsewhere."""
        shift = self.offsets.mean(0) * self.offsets.new_tensor([0.0, 0.0, 1.0])
        return float((self.offsets - shift).norm(dim=-1).mean() / self.normaliser)


def vertex_errors(predicted: Shape, truth: Mesh, *, points: int = 2000, seed: int = 0) -> VertexErrors:
    """Errors at the vertices of the truth's face mask; all three NMEs come from one run of ICP.

    Parameters
    ----------
    predicted : a mesh or vertices ``[v, 3]``, voxel frame, pixels.
    truth : one mesh in the same frame, with `face` mask and `landmarks`.
    points, seed : the subset of vertices that ICP runs on (see `icp`); the pairs are for all of the mask.

    Raises
    ------
    InputError : a batch of meshes, no landmarks, no vertices, or vertices that are not finite.
    """
    found, goal = _points(predicted, "predicted"), _points(truth, "truth")
    goal = goal if truth.face is None else goal[truth.face.cpu()]
    match = icp(found, goal, points=points, seed=seed)
    moved = match.motion(found[None])[0]
    size = float(normaliser(truth.landmark_points().double()))
    return VertexErrors(found[match.pairs] - goal, moved[match.pairs] - goal, size)


def _points(shape: Shape, name: str) -> Float[Tensor, "v 3"]:
    """Vertices of one mesh, double precision, on the CPU."""
    vertices = shape if isinstance(shape, Tensor) else torch.as_tensor(shape.vertices)
    one, size = vertices.ndim == 2 and vertices.shape[-1] == 3, tuple(vertices.shape)
    require(one, f"{name} must be one mesh with vertices [v, 3], got {size}: index the batch first")
    return vertices.detach().cpu().double()


def nme(predicted: Shape, truth: Mesh, *, rigid: bool = False, depth_aligned: bool = False) -> float:
    """Normalised mean error of a reconstruction, both in the voxel frame (paper section 4, equation 2).

    The mean, over the truth's vertices in its `face` mask, of the distance to the paired predicted vertex, divided by
    the 3D outer interocular distance. ICP moves a copy of the prediction to find the pairs; the distances are taken
    on the prediction as it is. The truth alone looks for partners: a volume full of noise, with a surface everywhere,
    has a small NME, and a poor `iou`.

    Parameters
    ----------
    predicted : a mesh or vertices ``[v, 3]``, pixels.
    truth : one mesh with `face` mask and `landmarks`.
    rigid : keep ICP's motion (the paper's supplement).
    depth_aligned : remove the pairs' mean z difference first (between sources of other depth origins; say so).

    Raises
    ------
    InputError : see `vertex_errors`, which also gives the error at each vertex.
    """
    one = not (rigid and depth_aligned)
    require(one, "choose rigid or depth_aligned, not both: the rigid motion levels the depth already")
    errors = vertex_errors(predicted, truth)
    return errors.rigid if rigid else errors.depth_aligned if depth_aligned else errors.nme


class ErrorCurve(NamedTuple):
    """The share of errors not above each threshold; the area under the exact curve; the share above the limit."""

    thresholds: Float[Tensor, " k"]
    shares: Float[Tensor, " k"]
    area: float
    failures: float


def error_curve(errors: Float[Tensor, " n"], limit: float = 0.2, steps: int = 201) -> ErrorCurve:
    """Cumulative error curve of n errors (paper figures 7 and 8); an infinite one (no reconstruction) is a failure.

    Examples
    --------
    >>> curve = error_curve(torch.tensor([0.0, 0.1, 0.3]), limit=0.2, steps=3)
    >>> curve.shares
    tensor([0.3333, 0.6667, 0.6667])
    >>> round(curve.area, 4), round(curve.failures, 4)
    (0.5, 0.3333)
    """
    bad = int(errors.isnan().sum())
    reason = f"an error curve needs errors that are numbers, got {len(errors)} of them, {bad} NaN: drop those"
    require(len(errors) > bad == 0, reason)
    thresholds = torch.linspace(0, limit, steps, dtype=errors.dtype)
    shares = (errors[None] <= thresholds[:, None]).float().mean(1)
    area = float((1 - errors / limit).clamp(min=0).mean())
    return ErrorCurve(thresholds, shares, area, float((errors > limit).float().mean()))
