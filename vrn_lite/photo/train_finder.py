"""Training of the embedded finder on scenes drawn here: ``python -m vrn_lite.photo.train_finder``.

::

    face model --posed, lit, cut out--> sprites --turned, scaled, pasted before backgrounds--> scenes --loss--> finder
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.camera import Similarity, augmentation, place
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid
from vrn_lite.raster import nearest, rasterize
from vrn_lite.synth.appearance import Appearance, Rng
from vrn_lite.synth.hair import add_hair, hair_triangles
from vrn_lite.synth.render import before


class Sprites(NamedTuple):
    """Heads with clothes, cut out, upright in the picture's plane.

    Attributes
    ----------
    pictures : ``[n, 4, s, s]`` bytes: red, green, blue, alpha.
    boxes : ``[n, 4]``, centre x and y, width and height of the box of the projected landmarks, pixels.
    yaw : ``[n]`` degrees; beyond 100 (the back of the head) it is no face.
    """

    pictures: Tensor
    boxes: Float[Tensor, "n 4"]
    yaw: Float[Tensor, " n"]


def sprites(
    face: MorphableFace, count: int, side: int, generator: torch.Generator, heldout: bool = False, back: float = 0.12
) -> Sprites:
    """Heads of every yaw; a share `back` is seen from behind. `heldout` wears what training never does."""
    grid, parts = Grid(2, side, side), []
    looks = Appearance(occluders=0, heldout=heldout)
    for first in range(0, count, 16):
        rng = Rng.of(generator, min(16, count - first), face.mean.device)
        mesh, pose = face.sample(generator, rng.batch), rng.stream("view")
        behind = pose.bernoulli(back) > 0
        side_on = pose.uniform(130, 230)
        yaw = torch.where(behind, side_on, pose.uniform(-95, 95))
        pitch, nil = (18 * pose.normal()).clamp(-50, 50), torch.zeros_like(yaw)
        smaller = augmentation(nil, torch.zeros(rng.batch, 2), nil + 0.8, grid)  # room for hair and shoulders
        camera = place(mesh.landmark_points(), yaw, pitch, nil, face.unit, grid).then(smaller)
        black, white = (_drawn(mesh, camera, face, grid, rng, looks, shade) for shade in (0.0, 1.0))
        alpha = 1 - (white - black).mean(1, keepdim=True)
        colours = black / alpha.clamp(min=0.02)
        points = camera(mesh.landmark_points())[..., :2]
        low, high = points.amin(1), points.amax(1)
        pictures = (torch.cat((colours, alpha), 1).clamp(0, 1) * 255).round().byte()
        parts.append(Sprites(pictures, torch.cat(((low + high) / 2, high - low), 1), yaw))
    return Sprites(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _drawn(mesh, camera: Similarity, face: MorphableFace, grid: Grid, rng: Rng, looks: Appearance, shade: float):
    """Heads before one shade of grey."""
    hair = add_hair(mesh.vertices, face, rng, looks)
    placed = mesh.moved(camera(hair.vertices))
    both = mesh.bounding().clone()
    both[: len(face.triangles)] |= hair_triangles(face)
    fragments = rasterize(placed.vertices, mesh.triangles, grid.height, grid.width, one_sided=~both)
    seen, points = nearest(fragments.where(mesh.shown()[fragments.triangle])), placed.landmark_points()
    behind = torch.full((rng.batch, 3, grid.height, grid.width), shade)
    return before(behind, seen, placed.vertices, face, hair, points, camera, grid, rng, looks)
