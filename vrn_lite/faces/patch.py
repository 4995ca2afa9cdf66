"""Which part of a head is the face: for meshes whose makers did not say it, models and scans alike."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from vrn_lite.frame import Triangles, require
from vrn_lite.mesh import boundary_edges

FOREHEAD, BELOW_JAW, BEHIND_JAW, BESIDE_JAW = 0.4, 0.06, 0.1, 0.02
"""How far the face reaches beyond its landmarks, in outer interocular distances: above the brows, below the jaw line,
behind its two ends (before the ears) and beside them. On ICT-FaceKit's head the rule finds the patch that its makers
marked, with nine of ten vertices in common."""


def face_region(points: Float[Tensor, "v 3"], landmarks: Float[Tensor, "68 3"]) -> Bool[Tensor, " v"]:
    """The points of a head that belong to its face, without ears, neck and the top of the head.

    Both in the frontal model frame (x right, y up, z to the viewer), in any unit.
    """
    unit = (landmarks[36] - landmarks[45]).norm()
    jaw = landmarks[:17][landmarks[:17, 0].argsort()]
    x, y, z = points.unbind(-1)
    edge = torch.from_numpy(np.interp(x.numpy(), jaw[:, 0].numpy(), jaw[:, 1].numpy())).to(y)
    above = y > edge - BELOW_JAW * unit
    below = y < landmarks[17:27, 1].max() + FOREHEAD * unit
    beside = (x > jaw[0, 0] - BESIDE_JAW * unit) & (x < jaw[-1, 0] + BESIDE_JAW * unit)
    return above & below & beside & (z > landmarks[[0, 16], 2].mean() - BEHIND_JAW * unit)


def open_patch(triangles: Triangles, chosen: Bool[Tensor, " v"]) -> Bool[Tensor, " t"]:
    """The triangles of the largest clean surface whose vertices are all chosen: what `mesh.closing_of` can close.

    Left out are degenerate triangles, those that share an edge with more than one neighbour or face against it, crumbs,
    and those at a vertex where two boundaries touch.

    Raises
    ------
    InputError : nothing is left, or the surface has no boundary.
    """
    sides = torch.stack(
        [triangles[:, 0] - triangles[:, 1], triangles[:, 1] - triangles[:, 2], triangles[:, 2] - triangles[:, 0]]
    )
    kept = chosen[triangles].all(1) & (sides != 0).all(0)
    while True:
        # No edge twice in one direction; only the largest part; then no vertex where two boundaries touch, and again.
        kept[kept.clone()] &= _simple(triangles[kept])
        kept[kept.clone()] &= _largest(triangles[kept])
        require(
            bool(kept.any()),
            "no triangles are left of the face: the mask, or the landmarks, do not belong to this mesh",
        )
        start, times = boundary_edges(triangles[kept])[:, 0].unique(return_counts=True)
        pinched = torch.zeros_like(chosen)
        pinched[start[times > 1]] = True
        if not bool(pinched.any()):
            require(len(start) > 0, "the face is closed already: it has no boundary to extrude")
            return kept
        kept &= ~pinched[triangles].any(1)


def facing(vertices: Float[Tensor, "v 3"], triangles: Triangles, patch: Bool[Tensor, " t"]) -> Triangles:
    """All triangles, re-wound where most of the patch's look away from the viewer: sources differ in it."""
    a, b, c = vertices.double()[triangles[patch]].unbind(1)
    return triangles if float(torch.linalg.cross(b - a, c - a)[:, 2].sum()) > 0 else triangles.flip(1)


def _simple(triangles: Triangles) -> Bool[Tensor, " t"]:
    """Triangles none of whose directed edges occurs twice."""
    edges = torch.stack((triangles, triangles.roll(-1, 1)), -1).flatten(0, 1)
    _, number, times = edges.unique(dim=0, return_inverse=True, return_counts=True)
    return (times[number] == 1).view(-1, 3).all(1)


def _largest(triangles: Triangles) -> Bool[Tensor, " t"]:
    """Triangles of the largest part that hangs together by edges."""
    if len(triangles) == 0:
        return torch.zeros(0, dtype=torch.bool)
    edges = torch.stack((triangles, triangles.roll(-1, 1)), -1).flatten(0, 1).sort(-1).values
    edge = edges.unique(dim=0, return_inverse=True)[1].numpy()
    borders = coo_matrix((np.ones(len(edge)), (np.arange(len(edge)) // 3, edge))).tocsr()
    label = connected_components(borders @ borders.T, directed=False)[1]
    return torch.from_numpy(label == np.bincount(label).argmax())
