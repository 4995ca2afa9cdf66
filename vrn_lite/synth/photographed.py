"""Photographed skins, eyes and haircuts for any face model with 68 landmarks.

::

    cache --registration--> uv of every vertex --areas of the pictures--> albedo, one number per vertex and channel
      |                                                                   coverage: how far to trust the photograph
      +---- haircuts over the base head --the same warp--> cards on the face's mean, hung on its vertices

A photograph's albedo is laid on vertices, not on pixels: image and solid share one mesh, and a vertex is finer than a
pixel of the networks' images. Each vertex takes the mean of its surroundings, so that nothing flickers.
"""

import os
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.sparse import coo_array, csr_array
from scipy.spatial import cKDTree
from torch import Tensor

from vrn_lite.faces.ict import fit_sphere
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.faces.photographs import Haircut, Photographs
from vrn_lite.synth.assets import EYES, HAIRCUTS, HELDOUT_HAIRCUT, HELDOUT_SKINS, SKINS, base_head, load_skins
from vrn_lite.synth.registration import Registration, nearest_triangle, register, skin_triangles, vertex_normals

IRIS_RADIUS = 0.226
"""Radius of the iris on the cropped pictures of eyes, as a share of their side."""

TRUSTED = (0.02, 0.06)
"""Distances to the warped base head, in outer interocular distances, where trust begins to fade and where it ends."""

LIFT = 0.025
"""Hair stands at least this far above the skin, in outer interocular distances."""


def photographed(face: MorphableFace, folder: str | os.PathLike[str] | None = None) -> Photographs:
    """The fetched skins, eyes and haircuts, registered to a face model.

    Parameters
    ----------
    face : with 68 landmarks; what its regions do not name is taken for skin.
    folder : of the fetched file; None for the environment variable VRN_LITE_SKINS, else the user's cache.

    Raises
    ------
    InputError : the skins have not been fetched, or the file is broken.
    """
    arrays = load_skins(folder)
    face = face.to("cpu")
    registration = register(face, base_head(arrays))
    coverage = _coverage(face, registration)
    skins = _filled(_albedo(arrays["skins"], registration.uv, face), coverage, face)
    eyes, eyeballs = _eyes(arrays["eyes"], face)
    return Photographs(
        skins=_tensor(skins),
        skin_names=SKINS,
        coverage=_tensor(coverage),
        eyes=_tensor(eyes),
        eye_names=EYES,
        eyeballs=_tensor(eyeballs),
        haircuts=tuple(_haircut(name, arrays, registration, face) for name in HAIRCUTS),
        heldout=(*HELDOUT_SKINS, HELDOUT_HAIRCUT),
    )


def with_photographs(face: MorphableFace, folder: str | os.PathLike[str] | None = None) -> MorphableFace:
    """A face model that wears the fetched skins, eyes and haircuts; parameters and errors as for `photographed`."""
    return replace(face, photographs=photographed(face, folder).to(face.mean.device))


def _tensor(values: np.ndarray) -> Float[Tensor, "..."]:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _region(face: MorphableFace, *names: str) -> Float[np.ndarray, " v"]:
    """The largest of some masks; 0 where the model has none of them."""
    masks = [face.regions[name].numpy() for name in names if name in face.regions]
    return np.max(masks, axis=0) if masks else np.zeros(len(face.mean))


def _coverage(face: MorphableFace, registration: Registration) -> Float[np.ndarray, " v"]:
    """How far to trust the photographs at each vertex ``[v]``: near the base head, facing as it does, and skin."""
    near, far = TRUSTED
    trust = ((far - registration.distance) / (far - near)).clip(0, 1) * (registration.facing / 0.5).clip(0, 1)
    trust = trust * trust * (3 - 2 * trust)
    for _ in range(3):
        trust = np.minimum(trust, _neighbours(trust, face))  # fade towards what is not covered, never into it
    inside = _region(face, "sclera", "iris", "pupil", "teeth", "mouth")
    return trust * (1 - 2 * inside).clip(0)


def _neighbours(values: Float[np.ndarray, " v"], face: MorphableFace) -> Float[np.ndarray, " v"]:
    """Mean of each vertex's triangles' corners."""
    triangles = face.triangles.numpy()
    total, count = np.zeros(len(values)), np.zeros(len(values))
    np.add.at(total, triangles, values[triangles].mean(1, keepdims=True))
    np.add.at(count, triangles, 1)
    return np.where(count > 0, total / np.maximum(count, 1), values)


def _albedo(
    pictures: UInt8[np.ndarray, "k h w 3"], uv: Float[np.ndarray, "v 2"], face: MorphableFace
) -> Float[np.ndarray, "k v 3"]:
    """Mean of the pictures around each vertex, weighted as its linear interpolation weights the triangles' points."""
    corners = uv[face.triangles.numpy()]
    size = np.array([pictures.shape[2], pictures.shape[1]])
    edges = np.linalg.norm((np.roll(corners, 1, 1) - corners) * size, axis=-1)
    # Two or more samples to a pixel; triangles across the seam at the back of the head count at their corners only.
    parts = int(np.clip(np.ceil(np.quantile(edges, 0.9)), 2, 6))
    torn = edges.max(1) > 40
    weights = _lattice(parts)
    places = np.where(torn[:, None, None], corners[:, weights.argmax(1)], weights @ corners).reshape(-1, 2)
    share = np.where(torn[:, None, None], np.eye(3)[weights.argmax(1)], weights)
    rows = np.repeat(face.triangles.numpy()[:, None], len(weights), 1).ravel()
    spread = coo_array((share.ravel(), (rows, np.arange(share.size) // 3)), shape=(len(uv), len(places))).tocsr()
    return _seen(pictures, spread @ _bilinear(places, *pictures.shape[1:3])) / np.maximum(spread.sum(1), 1e-9)[:, None]


def _lattice(parts: int) -> Float[np.ndarray, "p 3"]:
    """Barycentric weights of a triangle's lattice points with `parts` steps along each side."""
    steps = np.array([(i, j, parts - i - j) for i in range(parts + 1) for j in range(parts + 1 - i)])
    return steps / parts


def _bilinear(uv: Float[np.ndarray, "n 2"], height: int, width: int) -> csr_array:
    """Weights ``[n, h * w]`` of the pixels around texture coordinates; beyond the edge the edge's."""
    place = (uv * [width, height] - 0.5).clip(0, [width - 1.001, height - 1.001])
    (column, row), (right, down) = place.astype(int).T, (place % 1).T
    pixels = row * width + column + np.array([[0], [1], [width], [width + 1]])
    weights = np.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down])
    rows = np.tile(np.arange(len(uv)), 4)
    return coo_array((weights.ravel(), (rows, pixels.ravel())), shape=(len(uv), height * width)).tocsr()


def _seen(pictures: UInt8[np.ndarray, "k h w 3"], weights: csr_array) -> Float[np.ndarray, "k n 3"]:
    """Colours in [0, 1] that weights ``[n, h * w]`` take from every picture."""
    return np.stack([weights @ (picture.reshape(-1, 3) / 255.0) for picture in pictures])


def _filled(
    skins: Float[np.ndarray, "k v 3"], coverage: Float[np.ndarray, " v"], face: MorphableFace
) -> Float[np.ndarray, "k v 3"]:
    """Where the photographs cannot be trusted, the mean of the nearest places where they can."""
    points, trusted = face.mean.numpy(), np.flatnonzero(coverage > 0.9)
    lost = np.flatnonzero(coverage < 0.9)
    distance, near = cKDTree(points[trusted]).query(points[lost], k=24)
    weight = 1 / (distance + 0.02 * face.interocular)
    weight /= weight.sum(1, keepdims=True)
    fill = np.einsum("nk,snkc->snc", weight, skins[:, trusted[near]])
    skins[:, lost] += (1 - coverage[lost, None]) * (fill - skins[:, lost])
    return skins


def _eyes(pictures: UInt8[np.ndarray, "e h w 3"], face: MorphableFace) -> tuple[np.ndarray, np.ndarray]:
    """Albedo ``[e, v, 3]`` of the eyeballs, by the angle about their axes, and their mask ``[v]``."""
    points = face.mean.numpy().astype(np.float64)
    iris = _region(face, "iris", "pupil")
    eyeballs = np.minimum(sum(_region(face, name) for name in ("sclera", "iris", "pupil")), 1)
    albedo = np.zeros((len(pictures), len(points), 3))
    middle = points[face.landmarks.numpy()[27:31], 0].mean()
    for side in (points[:, 0] < middle, points[:, 0] >= middle):
        index = np.flatnonzero(side & (eyeballs > 0.01))
        if len(index) and iris[index].max() > 0.5:
            weights = _bilinear(_eye_uv(points[index], iris[index]), *pictures.shape[1:3])
            albedo[:, index] = _seen(pictures, weights)
    return albedo, eyeballs


def _eye_uv(points: Float[np.ndarray, "n 3"], iris: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Texture coordinates ``[n, 2]`` on a picture of an eye, whose iris fills the model's iris."""
    rays = points - fit_sphere(points)[0]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    axis = (rays * iris[:, None]).sum(0)
    axis /= np.linalg.norm(axis)
    right = np.cross([0, 1, 0], axis)
    right /= np.linalg.norm(right)
    angle = np.arccos((rays @ axis).clip(-1, 1))
    x, y = rays @ right, rays @ np.cross(axis, right)
    radius = IRIS_RADIUS * angle / np.quantile(angle[iris > 0.5], 0.98)
    around = np.stack([x, -y], 1) / np.maximum(np.hypot(x, y), 1e-9)[:, None]
    return 0.5 + radius.clip(max=0.49)[:, None] * around


def _haircut(name: str, arrays: dict[str, np.ndarray], registration: Registration, face: MorphableFace) -> Haircut:
    """One haircut, warped onto the mean, lifted out of the skin, and hung on its vertices."""
    triangles = arrays[f"{name}_triangles"].astype(np.int64)
    points = _lifted(registration.warp(arrays[f"{name}_points"].astype(np.float64)), triangles, face)
    roots, weights = _hung(points, face)
    return Haircut(
        name,
        _tensor(points),
        torch.from_numpy(triangles),
        _tensor(arrays[f"{name}_uv"]),
        torch.from_numpy(arrays["hair_textures"][HAIRCUTS.index(name)]),
        torch.from_numpy(roots),
        _tensor(weights),
    )


def _lifted(
    points: Float[np.ndarray, "n 3"], triangles: Int[np.ndarray, "t 3"], face: MorphableFace
) -> Float[np.ndarray, "n 3"]:
    """Points ``[n, 3]``, moved out where they, or on the dome of the skull their triangles, lie under the skin."""
    mean, skin = face.mean.numpy().astype(np.float64), face.triangles.numpy()[skin_triangles(face)]
    normals = vertex_normals(mean, skin)
    triangle, places, _ = nearest_triangle(points, np.zeros_like(points), mean, skin, 0.0, candidates=8)
    outward = normals[skin[triangle]].mean(1)
    height = ((points - places) * outward).sum(1)
    points = points + np.maximum(LIFT * face.interocular - height, 0)[:, None] * outward
    # Above the brows the head is round, so that tangent planes tell what is under the skin between the points.
    dome = np.unique(skin[(mean[skin][..., 1] > mean[face.landmarks[17:27], 1].max()).all(1)])
    tree, crown = cKDTree(mean[dome]), triangles[(points[triangles][..., 1] > mean[dome, 1].min()).all(1)]
    for _ in range(3):
        middle = points[crown].mean(1)
        below = dome[tree.query(middle)[1]]
        lack = LIFT * face.interocular - ((middle - mean[below]) * normals[below]).sum(1)
        push = np.zeros(len(points))
        shallow = np.where(lack < 2 * LIFT * face.interocular, lack, 0)  # what lies deep is the underside of thick hair
        np.maximum.at(push, crown, np.maximum(shallow, 0)[:, None])
        points = points + push[:, None] * normals[dome[tree.query(points)[1]]]
    return points


def _hung(points: Float[np.ndarray, "n 3"], face: MorphableFace, count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the skin on which points hang ``[n, k]``, and their weights."""
    skin = np.unique(face.triangles.numpy()[skin_triangles(face)])
    distance, near = cKDTree(face.mean.numpy()[skin]).query(points, k=count)
    weights = 1 / (distance + 0.02 * face.interocular)
    return skin[near], weights / weights.sum(1, keepdims=True)
