"""Laying the MakeHuman base head over any face model: where on the photographs each vertex of a face lies.

::

    base head --spline through 68 landmarks, ears, skull--> warped --rounds of nearest points--> on the face
                                                                                                    |
    texture coordinates (u right, v down) <--barycentric weights-- nearest base triangle <-- vertex of the face

The base head lies in its own frame (x right, y up, z to the viewer, decimetres); the warp ends in the face's frame.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.interpolate import RBFInterpolator
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree
from trimesh.triangles import closest_point, points_to_barycentric

from vrn_lite.faces.morphable import MorphableFace

Points = Float[np.ndarray, "_ 3"]
Faces = Int[np.ndarray, "_ 3"]

STIFFNESS = (100.0, 30.0, 10.0, 3.0, 1.0)
"""How strongly each round of nearest points keeps the correction smooth, from stiff to soft."""

HELD = 30.0
"""Weight of a landmark beside one nearest point."""

NEAR = 0.12
"""Points farther apart than this, in outer interocular distances, do not correspond."""

TURNED = 0.1
"""What a pair of opposite normals costs beside the distance, in outer interocular distances."""


@dataclass(frozen=True)
class BaseHead:
    """The head of the MakeHuman base mesh, open at the neck, the eyes and the mouth.

    Attributes
    ----------
    points : ``[n, 3]``, in its own frame.
    triangles : ``[t, 3]``, counter-clockwise seen from outside.
    uv : ``[t, 3, 2]``, texture coordinates of the corners in [0, 1] on the cropped skins, v down.
    landmarks : ``[68]``, iBUG order.
    """

    points: Points
    triangles: Faces
    uv: Float[np.ndarray, "t 3 2"]
    landmarks: Int[np.ndarray, " 68"]


@dataclass(frozen=True)
class Registration:
    """The base head laid over a face model.

    Attributes
    ----------
    uv : ``[v, 2]``, texture coordinates of every vertex of the face.
    distance : ``[v]``, from the vertex to the warped base head, in outer interocular distances.
    facing : ``[v]``, cosine between the two normals there.
    warp : carries points of the base's frame to the face's.
    """

    uv: Float[np.ndarray, "v 2"]
    distance: Float[np.ndarray, " v"]
    facing: Float[np.ndarray, " v"]
    warp: "Warp"


@dataclass(frozen=True)
class Warp:
    """From the base's frame to the face's: a thin-plate spline, and what the rounds of nearest points added.

    Attributes
    ----------
    spline : through landmarks, ears and skull.
    skin : the base head's points.
    added : ``[n, 3]``, their further displacement.
    """

    spline: RBFInterpolator
    skin: Points
    added: Points

    def __call__(self, points: Points) -> Points:
        """Points ``[m, 3]`` of the base's frame in the face's: the further displacement is that of the nearest skin."""
        distance, index = cKDTree(self.skin).query(points, k=8)
        weight = 1 / (distance + 1e-3) ** 2
        weight /= weight.sum(1, keepdims=True)
        return self.spline(points) + (weight[..., None] * self.added[index]).sum(1)


def skin_triangles(face: MorphableFace) -> Bool[np.ndarray, " t"]:
    """Triangles of the outer skin: not hair, eyeballs, teeth or the inside of the mouth."""
    other = np.zeros(len(face.mean))
    for name in ("hair", "sclera", "iris", "teeth", "mouth"):
        if name in face.regions:
            other = np.maximum(other, face.regions[name].cpu().numpy())
    return ~(other[face.triangles.cpu().numpy()] > 0.5).any(1)


def register(face: MorphableFace, base: BaseHead) -> Registration:
    """Lay the base head over the mean of a face model; a few seconds."""
    points = face.mean.cpu().numpy().astype(np.float64)
    skin = face.triangles.cpu().numpy()[skin_triangles(face)]
    marks = face.landmarks.cpu().numpy()
    # A spline through what both heads have: landmarks, the ears, the skull.
    base_anchors = anchors_of(base.points, base.landmarks, base.triangles)
    anchors = anchors_of(points, marks, skin)
    spline = RBFInterpolator(base.points[base_anchors], points[anchors], smoothing=1e-3)
    start = spline(base.points)
    # Corrections along nearest points, ever softer; the landmarks stay where they are.
    warped = _settle(start, base, points, skin, (base.landmarks, points[marks]), face.interocular)
    normals = vertex_normals(points, face.triangles.cpu().numpy())
    uv, distance, facing = _look_up(points, normals, warped, base, face.interocular)
    return Registration(uv, distance / face.interocular, facing, Warp(spline, base.points, warped - start))


def anchors_of(points: Points, landmarks: Int[np.ndarray, " 68"], triangles: Faces) -> Int[np.ndarray, " a"]:
    """Vertices that every head has: 68 landmarks, the ears' outermost points, the crown and the back of the skull."""
    used = np.unique(triangles)
    above = used[points[used, 1] > points[landmarks[33], 1]]  # the shoulders may be wider than the ears
    x, y, z = points[above].T
    middle = np.abs(x) < 0.05 * np.ptp(points[landmarks, 0])
    crown, back = (y - 9e9 * ~middle).argmax(), (z + 9e9 * ~middle).argmin()
    return np.concatenate([landmarks, above[[x.argmax(), x.argmin(), crown, back]]])


def vertex_normals(points: Points, triangles: Faces) -> Points:
    """Unit normals ``[n, 3]``, area-weighted; zero where a point has no triangle."""
    corners = points[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    places = (triangles.T.ravel(), np.tile(np.arange(len(triangles)), 3))
    normals = csr_array((np.ones(triangles.size), places), shape=(len(points), len(triangles))) @ cross
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def nearest_triangle(
    points: Points, normals: Points, surface: Points, triangles: Faces, turned: float, candidates: int = 24
) -> tuple[Int[np.ndarray, " n"], Points, Float[np.ndarray, " n"]]:
    """For each point the nearest place on a surface that faces the same way.

    Parameters
    ----------
    points, normals : ``[n, 3]`` each.
    surface, triangles : ``[m, 3]`` and ``[t, 3]``.
    turned : what opposite normals cost beside the distance, in units of length.
    candidates : how many triangles are looked at for each point.

    Returns
    -------
    Triangle numbers ``[n]``, places ``[n, 3]``, and cosines ``[n]`` between the normals.
    """
    corners = surface[triangles]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    _, near = cKDTree(corners.mean(1)).query(points, k=candidates)
    places = closest_point(corners[near.ravel()], np.repeat(points, candidates, 0)).reshape(*near.shape, 3)
    cosine = (flat[near] * normals[:, None]).sum(-1)
    cost = np.linalg.norm(places - points[:, None], axis=-1) + turned * (1 - cosine) / 2
    rows, best = np.arange(len(points)), cost.argmin(1)
    return near[rows, best], places[rows, best], cosine[rows, best]


def _settle(
    warped: Points, base: BaseHead, points: Points, skin: Faces, held: tuple[np.ndarray, Points], unit: float
) -> Points:
    """Move the warped base head onto the skin: each round pulls to nearest points and keeps the correction smooth."""
    smooth = _laplacian(len(warped), base.triangles)
    for stiffness in STIFFNESS:
        normals = vertex_normals(warped, base.triangles)
        _, places, cosine = nearest_triangle(warped, normals, points, skin, TURNED * unit)
        pull = places - warped
        weight = ((cosine > 0.5) & (np.linalg.norm(pull, axis=1) < NEAR * unit)).astype(float)
        weight[held[0]], pull[held[0]] = HELD, held[1] - warped[held[0]]
        system = diags_array(weight) + stiffness * (smooth.T @ smooth)
        warped = warped + splu(system.tocsc()).solve(weight[:, None] * pull)
    return warped


def _laplacian(count: int, triangles: Faces) -> csr_array:
    """How much each vertex differs from the mean of its neighbours, as a matrix ``[n, n]``."""
    start, end = triangles.ravel(), np.roll(triangles, 1, 1).ravel()
    edges = coo_array((np.ones(2 * len(start)), (np.r_[start, end], np.r_[end, start])), shape=(count, count)).tocsr()
    edges.data[:] = 1
    degree = np.maximum(edges.sum(1), 1)
    return (diags_array(np.ones(count)) - diags_array(1 / degree) @ edges).tocsr()


def _look_up(
    points: Points, normals: Points, warped: Points, base: BaseHead, unit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texture coordinates, distance and cosine of the normals where each vertex meets the warped base head."""
    triangle, place, cosine = nearest_triangle(points, normals, warped, base.triangles, TURNED * unit)
    weights = points_to_barycentric(warped[base.triangles[triangle]], place).clip(0, 1)
    weights = np.nan_to_num(weights, nan=1 / 3) / np.maximum(weights.sum(1, keepdims=True), 1e-12)
    return (weights[..., None] * base.uv[triangle]).sum(1), np.linalg.norm(place - points, axis=1), cosine
