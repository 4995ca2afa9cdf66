"""A reconstructed surface in a face model's own vertices: corresponding, 3D landmarks, expressions by name, a texture.

A volume's iso-surface has no vertices that mean anything: the tip of the nose is another vertex each time. `register`
moves, shapes and moves again a `MorphableFace` until it lies on the surface (the paper's future work, section 7). The
network still does the reconstruction; the model only names its points.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, UInt8
from scipy.optimize import lsq_linear
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from vrn_lite.camera import Similarity
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import InputError, require
from vrn_lite.photo.reconstruct import Reconstruction
from vrn_lite.raster import nearest, rasterize

POINTS = 2500
"""So many vertices of the face patch look for partners on the surface."""

SURFACE_NOISE, LANDMARK_NOISE = 0.01, 0.04
"""Expected distances from surface and landmarks, in outer interocular distances: they weigh both against the prior."""

INDEPENDENT = 300
"""Neighbours on a surface err alike: the vertices together count as so many independent measurements."""

EXPRESSION_PRIOR = 3.0
"""An expression's coefficient is 0 give or take a third; an identity's give or take one."""

STEPS = (0.0, 0.0, 0.1, 0.3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
"""How far the prior lets the shape go, step by step: pose alone first, then everything."""


@dataclass(frozen=True)
class Registered:
    """A face model on a surface.

    Attributes
    ----------
    face : the model.
    identity : ``[i]``, coefficients in standard deviations.
    expression : ``[e]``, coefficients in [0, 1]; by name in `weights`.
    camera : from the model frame to the surface's (a photograph's: x right, y down, z away, in its pixels); a batch of one.
    image : the photograph that the texture comes from, if there is one.
    """

    face: MorphableFace
    identity: Float[Tensor, " i"]
    expression: Float[Tensor, " e"]
    camera: Similarity
    image: UInt8[np.ndarray, "h w 3"] | None = None

    @property
    def vertices(self) -> Float[Tensor, "v 3"]:
        """The model's vertices in its order, in the surface's frame."""
        return self.camera(self._model(self.expression)[None])[0]

    @property
    def landmarks(self) -> Float[Tensor, "68 3"]:
        """The 68 landmarks in 3D, iBUG order, in the surface's frame."""
        return self.vertices[self.face.landmarks]

    @property
    def weights(self) -> dict[str, float]:
        """Expression coefficients by the model's (ARKit-like) names, those that are not 0."""
        named = zip(self.face.expression_names, self.expression.tolist(), strict=True)
        return {name: round(value, 4) for name, value in named if value > 1e-4}

    def posed(self, weights: Mapping[str, float]) -> "Registered":
        """The same person, seen from the same side, with another expression.

        Raises
        ------
        InputError : a name that the model does not have, or a weight that is no number between 0 and 1.
        """
        names = self.face.expression_names
        unknown = sorted(set(weights) - set(names))
        require(not unknown, f"the {self.face.name} face has no expression {', '.join(unknown)}: see face.expression_names")
        wrong = {name: value for name, value in weights.items() if not 0 <= value <= 1}
        require(not wrong, f"expression weights lie between 0 and 1, got {wrong}")
        values = torch.tensor([float(weights.get(name, 0.0)) for name in names])
        return replace(self, expression=values.to(self.expression))

    def mesh(self) -> trimesh.Trimesh:
        """The model's surface, coloured per vertex where there is a photograph."""
        mesh = trimesh.Trimesh(self.vertices.numpy(), self.face.triangles.numpy(), process=False)
        if self.image is not None:
            texture, uv = self.texture()
            place = (uv * (len(texture) - 1)).round().long().numpy()
            mesh.visual.vertex_colors = texture[place[:, 1], place[:, 0]]
        return mesh

    def texture(self, side: int = 512) -> tuple[UInt8[np.ndarray, "s s 3"], Float[Tensor, "v 2"]]:
        """The photograph's colours laid out flat, and each vertex's place there: u right, v down, in [0, 1].

        The layout is a cylinder about the mean face. What the photograph does not show comes from the other half of the
        face, and what neither half shows gets the mean colour.

        Raises
        ------
        InputError : there is no photograph.
        """
        if self.image is None:
            raise InputError("this surface has no photograph: register a Reconstruction to get a texture")
        uv = _unwrapped(self.face)
        flat = torch.cat((uv * side, -self.face.mean[:, [0, 2]].norm(dim=1, keepdim=True)), 1)  # the outermost skin wins
        texels = nearest(rasterize(flat[None], self.face.triangles, side, side))
        # 1. Where each texel's point lies in the photograph, and whether it is seen there.
        corners = self.face.triangles[texels.triangle]
        points = (texels.weights[..., None] * self.vertices[corners]).sum(1)
        a, b, c = self.vertices[corners].unbind(1)
        seen = self._seen(points, -normalize(torch.linalg.cross(b - a, c - a), dim=1)[:, 2])
        height, width = self.image.shape[:2]
        at = points[:, :2] / points.new_tensor([width, height]) * 2 - 1
        seen &= (at.abs() <= 1).all(1)
        # 2. Their colours.
        colours, known = torch.zeros(side * side, 3), torch.zeros(side * side, dtype=torch.bool)
        picture = torch.from_numpy(self.image).permute(2, 0, 1)[None].float()
        colours[texels.pixel] = grid_sample(picture, at[None, None], padding_mode="border", align_corners=False)[0, :, 0].T
        known[texels.pixel] = seen
        colours, known = colours.view(side, side, 3), known.view(side, side, 1)
        # 3. The rest from the other half, then from the mean.
        mean = colours[known[..., 0]].mean(0) if bool(known.any()) else colours.new_full((3,), 128.0)
        other = torch.where(known.flip(1), colours.flip(1), mean)
        return torch.where(known, colours, other).round().byte().numpy(), uv

    def _model(self, expression: Float[Tensor, " e"]) -> Float[Tensor, "v 3"]:
        return self.face.mesh(self.identity, expression).vertices[: len(self.face.mean)]

    def _seen(self, points: Float[Tensor, "n 3"], towards: Float[Tensor, " n"], side: int = 256) -> Bool[Tensor, " n"]:
        """Which points face the viewer with nothing of the head before them."""
        low, high = self.vertices.amin(0), self.vertices.amax(0)
        scale = (side - 1) / float((high - low)[:2].max())
        front = nearest(rasterize(((self.vertices - low) * scale)[None], self.face.triangles, side, side))
        depth = torch.full((side * side,), float("inf"))
        depth[front.pixel] = front.depth.float()
        x, y, z = ((points - low) * scale).unbind(1)
        cell = y.long().clamp(0, side - 1) * side + x.long().clamp(0, side - 1)
        return (towards > 0.1) & (z <= depth[cell] + 0.04 * side)


def _unwrapped(face: MorphableFace) -> Float[Tensor, "v 2"]:
    """Each vertex's place on a cylinder about the mean face, in [0, 1]: u right, v down; mirrored vertices at u and 1 - u."""
    middle = face.mean.new_tensor([0.0, 0.0, float(face.mean[face.landmarks, 2].mean()) - face.interocular])
    x, y, z = (face.mean - middle).unbind(1)
    u = 0.5 + torch.atan2(x, z.clamp(min=1e-6)) / torch.pi
    return torch.stack((u, (y.max() - y) / (y.max() - y.min())), 1)


class _Pairs(NamedTuple):
    """Points of the model and where the surface has them: plane by plane."""

    points: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    which: Tensor


def register(
    surface: Reconstruction | trimesh.Trimesh,
    face: MorphableFace,
    landmarks: Float[np.ndarray, "n c"] | Float[Tensor, "n c"] | None = None,
) -> Registered:
    """Fit a face model's pose, identity and expression to a surface and its 68 landmarks.

    Parameters
    ----------
    surface : a reconstruction, or an iso-surface in a frame with x right, y down and z away.
    face : the model; one without expressions or identity modes is only placed.
    landmarks : ``[68, 2]``, x and y in the surface's frame, iBUG order; a reconstruction has its own.

    Raises
    ------
    InputError : no landmarks, landmarks of another shape or not finite, or an empty surface.

    Notes
    -----
    Regularised least squares, solved again with new pairs `STEPS` times: each of `POINTS` patch vertices is drawn to the
    plane of its nearest surface point, the landmarks to their places in the image, identity to N(0, 1), expressions stay
    in [0, 1]. Pairs that lie far apart or face different ways do not count.
    """
    image = None
    if isinstance(surface, Reconstruction):
        landmarks = surface.landmarks if landmarks is None else landmarks
        image, surface = surface.image, surface.mesh
    if landmarks is None:
        raise InputError("registration needs the 68 landmarks: give landmarks=[68, 2], x and y in the surface's frame")
    points = torch.as_tensor(np.asarray(landmarks), dtype=torch.float64)
    require(points.shape == (68, 2), f"landmarks must be [68, 2], x and y, got {list(points.shape)}")
    require(bool(points.isfinite().all()), "landmarks must be finite numbers")
    require(len(surface.faces) > 0, "the surface is empty: nothing to register")
    return _Fit(surface, face, points).run(image)


class _Fit:
    """The state of a registration: pose and shape so far."""

    def __init__(self, surface: trimesh.Trimesh, face: MorphableFace, landmarks: Float[Tensor, "68 2"]) -> None:
        self.face, self.goal = face, landmarks
        self.cloud = torch.from_numpy(np.array(surface.vertices, dtype=np.float64))
        self.normals = torch.from_numpy(np.array(surface.vertex_normals, dtype=np.float64))
        self.tree = cKDTree(self.cloud.numpy())
        # The model's mean and modes at the patch's vertices, then at the landmarks.
        patch = face.patch_vertices
        rows = torch.cat((patch, face.landmarks))
        self.mean, self.modes = face.mean[rows].double(), torch.cat((face.identity, face.expression))[:, rows].double()
        self.triangles = torch.searchsorted(patch, face.triangles[face.patch].contiguous())
        self.chosen, self.count = torch.arange(0, len(patch), max(1, len(patch) // POINTS)), len(patch)
        self.identities = len(face.identity)
        self.most = torch.tensor([0.0 if name.startswith("eyeLook") else 1.0 for name in face.expression_names])  # unseen
        self.shape = torch.zeros(len(self.modes), dtype=torch.float64)
        self.camera = self._first()

    def _first(self) -> Similarity:
        """The pose of the mean face by its landmarks, its front at the surface's front."""
        camera = orthographic(self.face.mean[self.face.landmarks].double()[None], self.goal[None])
        front = camera(self.face.mean[self.face.patch_vertices].double()[None])[0, :, 2].quantile(0.05)
        shift = torch.stack((front * 0, front * 0, self.cloud[:, 2].quantile(0.05) - front))
        return replace(camera, translation=camera.translation + shift)

    def run(self, image: UInt8[np.ndarray, "h w 3"] | None) -> Registered:
        for freedom in STEPS:
            self._step(freedom)
        identity, expression = self.shape[: self.identities].float(), self.shape[self.identities :].float()
        camera = Similarity(self.camera.scale.float(), self.camera.rotation.float(), self.camera.translation.float())
        return Registered(self.face, self.face.before_wall(identity, expression), expression, camera, image)

    def _step(self, freedom: float) -> None:
        """Pair, then solve once for pose and shape together."""
        size = float(self.camera.scale[0]) * self.face.interocular  # the interocular distance in the surface's frame
        placed = self.camera((self.mean + torch.einsum("m,mnc->nc", self.shape, self.modes))[None])[0]
        pairs = self._pairs(placed, size)
        # 1. How points move with the pose (turn, scale, shift) and with the modes: [7 + m, n, 3].
        middle = placed.mean(0)
        axes = torch.eye(3, dtype=torch.float64)[:, None]
        linear = self.camera.scale * self.camera.rotation[0]

        def moves(which: Tensor | slice) -> Float[Tensor, "m n 3"]:
            arms = placed[which] - middle
            pose = (torch.linalg.cross(axes.expand(3, len(arms), 3), arms.expand(3, -1, 3)), arms[None], axes.expand(3, len(arms), 3))
            return torch.cat((*pose, self.modes[:, which] @ linear.T))

        # 2. Rows: planes, landmarks, prior. Solved for the pose's change, and for the shape itself.
        marks, weight = slice(self.count, None), (INDEPENDENT / max(len(pairs.which), 1)) ** 0.5 / SURFACE_NOISE
        planes = torch.einsum("mnc,nc->nm", moves(pairs.which), pairs.normals)
        gaps = ((pairs.points - placed[pairs.which]) * pairs.normals).sum(1)
        data = torch.cat((weight * planes, moves(marks)[..., :2].flatten(1).T / LANDMARK_NOISE)) / size
        away = torch.cat((weight * gaps, (self.goal - placed[marks, :2]).flatten() / LANDMARK_NOISE)) / size
        current = torch.cat((torch.zeros(7), self.shape)).double()
        prior = torch.full((len(current),), max(freedom, 1e-12) ** -0.5, dtype=torch.float64)
        prior[7 + self.identities :] *= EXPRESSION_PRIOR
        prior[:7] = 0
        matrix = torch.cat((data, torch.diag(prior)))
        right = torch.cat((away + data @ current, torch.zeros_like(prior)))
        # 3. Bounded least squares on the square root of the normal equations.
        low = torch.cat((torch.full((7,), -np.inf), torch.full((self.identities,), -3.0), torch.zeros(len(self.shape) - self.identities)))
        high = torch.cat((torch.full((7,), np.inf), torch.full((self.identities,), 3.0), self.most))
        q, r = torch.linalg.qr(matrix)
        found = torch.from_numpy(lsq_linear(r.numpy(), (q.T @ right).numpy(), (low.numpy(), high.numpy() + 1e-9)).x)
        # 4. The pose moves about the points' middle.
        angle = found[:3]
        cross = torch.zeros(3, 3, dtype=torch.float64)
        cross[0, 1], cross[0, 2], cross[1, 2] = -angle[2], angle[1], -angle[0]
        step = torch.linalg.matrix_exp(cross - cross.T)
        grown = torch.exp(found[3])
        inner = Similarity(grown[None], step[None], (middle + found[4:7] - grown * (step @ middle))[None])
        self.camera, self.shape = self.camera.compose(inner), found[7:]

    def _pairs(self, placed: Float[Tensor, "n 3"], size: float) -> _Pairs:
        """The surface's nearest points to some of the patch's; not the far ones, nor those that face another way."""
        distance, number = map(torch.from_numpy, self.tree.query(placed[self.chosen].numpy()))
        corners = placed[self.triangles]
        facing = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = torch.zeros_like(placed).index_add_(0, self.triangles.reshape(-1), facing.repeat_interleave(3, 0))
        agree = torch.cosine_similarity(normals[self.chosen], self.normals[number], dim=1) > 0.4
        which = agree & (distance < max(3 * float(distance.median()), 0.05 * size))
        return _Pairs(self.cloud[number[which]], self.normals[number[which]], self.chosen[which])


def orthographic(points: Float[Tensor, "b n 3"], image: Float[Tensor, "b n 2"]) -> Similarity:
    """The scaled orthographic camera that projects points closest to where an image shows them, up to its depth.

    Parameters
    ----------
    points : ``[b, n, 3]``, the model's points, not in one plane; in the model frame.
    image : ``[b, n, 2]``, x and y in pixels.

    Returns
    -------
    Similarity whose x and y are the projection; points' mean goes to depth 0, which an orthographic image cannot tell.

    Notes
    -----
    The best linear map A = image^T points (points^T points)^-1 of the centred points, with its two singular values set
    to their mean, the scale; the third row of the rotation is the cross product of the first two.
    """
    middle, goal = points.mean(1, keepdim=True), image.mean(1, keepdim=True)
    linear = torch.linalg.lstsq(points - middle, image - goal).solution.mT  # [b, 2, 3]
    u, sizes, vt = torch.linalg.svd(linear, full_matrices=False)
    rows = u @ vt
    rotation = torch.cat((rows, torch.linalg.cross(rows[:, :1], rows[:, 1:])), 1)
    scale = sizes.mean(-1)
    shift = torch.cat((goal, torch.zeros_like(goal[..., :1])), -1) - scale[:, None, None] * (middle @ rotation.mT)
    return Similarity(scale, rotation, shift[:, 0])
