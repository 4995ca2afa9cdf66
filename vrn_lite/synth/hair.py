"""Hair, hats and headscarves: the face model's shell over the scalp, or a haircut of cards with alpha.

The shell is pulled along four directions. The solid never moves, so that the volume stays the face's::

        top  ___
            /   \\        out    along the normals: thickness, afro, the crown of a hat
           |o    |       drop   down: long hair, a fringe
        <--|>    |       turn   round the head to the front: hair that frames the face
           |_    |       ahead  to the viewer: a fringe clears the forehead, the peak of a cap
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vrn_lite.camera import Similarity
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.faces.photographs import Haircut
from vrn_lite.frame import Vertices
from vrn_lite.raster import Fragments, nearest, rasterize
from vrn_lite.synth.appearance import Appearance, Rng

WAVES = 24
"""Smooth noise on a face is a random mixture of this many plane waves through the mean face."""


class Hair(NamedTuple):
    """Heads with hair.

    Attributes
    ----------
    vertices : ``[b, v, 3]``; only those of region ``hair``, the shell, differ from the naked heads'.
    cloth : ``[b, v]``, 1 where a vertex of the shell is a hat or a scarf, 0 where it is hair.
    bald : ``[b, 1]``, 1 where there is no hair at all.
    haircut : ``[b]``, number of the haircut of cards that takes the shell's place, -1 for none.
    """

    vertices: Vertices
    cloth: Float[Tensor, "b v"]
    bald: Float[Tensor, "b 1"]
    haircut: Int[Tensor, " b"]


class _Scalp(NamedTuple):
    """The roots of the hair in outer interocular distances about the landmarks' mean, and where they may go."""

    points: Float[Tensor, "k 3"]
    soft: Float[Tensor, " k"]
    outward: Float[Tensor, "k 3"]
    forward: Float[Tensor, "k 3"]  # round the head, towards the face
    front: Float[Tensor, " k"]  # 1 over the forehead, 0 at the ears and behind
    low: Float[Tensor, " k"]  # 0 on the crown, 1 at the sideburns and the nape

    @staticmethod
    def of(face: MorphableFace, index: Tensor) -> "_Scalp":
        """Coordinates of the shell's vertices `index`."""
        points = (face.mean[index] - face.mean[face.landmarks].mean(0)) / face.interocular
        x, y, z = points.unbind(-1)
        z = z - z.mean()
        azimuth = torch.atan2(x, z)
        outward = F.normalize(torch.stack((x, (y - 0.45).clamp(min=0), z), -1), dim=-1)
        forward = torch.stack((-azimuth.cos() * azimuth.sign(), torch.zeros_like(x), azimuth.sin().abs()), -1)
        return _Scalp(
            points,
            face.regions["hair"][index],
            outward,
            forward,
            (1.6 * azimuth.cos()).clamp(0, 1),
            ((1.05 - y) / 0.5).clamp(0, 1),
        )


def add_hair(vertices: Vertices, face: MorphableFace, rng: Rng, appearance: Appearance) -> Hair:
    """Heads in the model frame with random hair, some of it under a hat or a scarf, and some of them bald.

    `vertices` is ``[b, v, 3]``. A face without region ``hair`` stays as it is.
    """
    style = rng.stream("hair style")
    bald, worn = style.bernoulli(appearance.bald, 1), style.uniform01(1)
    hat = (worn < appearance.hats).float() * (1 - bald)
    scarf = (worn > 1 - appearance.headscarves).float() * (1 - bald)
    haircut = _haircuts(face, style, appearance, free=(bald + hat + scarf)[:, 0] == 0)
    cloth = vertices.new_zeros(vertices.shape[:2])
    if "hair" not in face.regions:
        return Hair(vertices, cloth, bald, haircut)
    index = (face.regions["hair"] > 0).nonzero()[:, 0]
    scalp = _Scalp.of(face, index)
    # The edge of a hat is a plane, more or less tilted.
    edge = style.uniform(0.45, 0.85, 1) + style.uniform(-0.3, 0.3, 1) * scalp.points[:, 2]
    covered = torch.maximum(scarf.expand(-1, len(index)), hat * torch.sigmoid(40 * (scalp.points[:, 1] - edge)))
    shift = _shell(scalp, covered, scarf, rng.stream("hair"), appearance)
    shift = shift + hat[..., None] * _hat(scalp, covered, rng.stream("hat"))
    # Without a shell it is sunk below the skin.
    none = torch.maximum(bald, (haircut >= 0).float()[:, None])
    shift = torch.lerp(shift, -0.03 * scalp.outward, none[..., None])
    moved = vertices[:, index] + face.interocular * shift
    return Hair(vertices.index_copy(1, index, moved), cloth.index_copy(1, index, covered), bald, haircut)


def _haircuts(face: MorphableFace, rng: Rng, appearance: Appearance, free: Bool[Tensor, " b"]) -> Int[Tensor, " b"]:
    """Numbers of haircuts for a share of the heads that are `free` of anything else."""
    worn, number = rng.bernoulli(appearance.haircuts) > 0, rng.uniform01()
    allowed = None if face.photographs is None else face.photographs.allowed_haircuts(appearance.heldout)
    if allowed is None or len(allowed) == 0:
        return torch.full_like(number, -1).long()
    return torch.where(worn & free, allowed[(number * len(allowed)).long()], -1)


def hair_triangles(face: MorphableFace) -> Bool[Tensor, " t"]:
    """Triangles of the hair shell, which the viewer sees from inside too: behind the neck and the cheeks."""
    grown = face.regions.get("hair", torch.zeros_like(face.mean[:, 0])) > 0
    return grown[face.triangles].all(1)


def _shell(
    scalp: _Scalp, covered: Float[Tensor, "b k"], scarf: Float[Tensor, "b 1"], rng: Rng, appearance: Appearance
) -> Float[Tensor, "b k 3"]:
    """How the shell moves: uneven thickness, afro, long hair that frames the face, a fringe swept to one side."""
    coarse, fine = waves(scalp.points, rng, 1)[..., 0], waves(4 * scalp.points, rng, 1)[..., 0]
    uneven = (1 - covered) * (rng.uniform(0.1, 0.6, 1) * coarse + rng.uniform(0, 0.35, 1) * fine)
    # Thickness: mostly a few millimetres, an afro now and then.
    thick = torch.exp(rng.uniform(-3.2, -1.5, 1))
    thick = thick + rng.bernoulli(appearance.afros, 1) * rng.uniform(0.1, 0.45, 1)
    thick = torch.lerp(thick, thick.clamp(max=0.12), covered)
    # Long hair hangs, stands off and comes round to the front.
    long = torch.maximum(rng.bernoulli(appearance.long_hair, 1), scarf)
    length = long * rng.uniform(0.3, 1.6, 1)
    wide = long * rng.uniform(0.05, 0.35, 1)
    wrap = long * rng.uniform(-0.05, 0.5, 1)
    # A fringe is swept to one side; a scarf's edge is not.
    swept = torch.sigmoid(6 * rng.normal(1) * (scalp.points[:, 0] - rng.uniform(-0.6, 0.6, 1)))
    shape = torch.lerp(0.3 + 0.7 * swept, torch.full_like(swept, 0.6), covered)
    fringe = torch.maximum(rng.bernoulli(appearance.fringes, 1), scarf) * rng.uniform(0.08, 0.5, 1) * shape
    over = fringe * scalp.front * ((1.5 - scalp.points[:, 1]) / 0.35).clamp(0, 1) * (1 + 0.5 * uneven)
    out = thick * (1 + uneven).clamp(min=0.1) * scalp.soft.sqrt() + wide * scalp.low * (1 + 0.25 * uneven)
    drop = length * scalp.low * (1 + 0.1 * uneven) + over
    return _pulled(scalp, out, drop, wrap * scalp.low * (1 - 0.5 * scalp.front), 0.5 * over)


def _hat(scalp: _Scalp, covered: Float[Tensor, "b k"], rng: Rng) -> Float[Tensor, "b k 3"]:
    """A crown over the hair, pulled into the forehead; a peak in front or a brim all round in two of three."""
    height = scalp.points[:, 1]
    peak = rng.bernoulli(0.45, 1) * rng.uniform(0.15, 0.5, 1)
    brim = rng.bernoulli(0.3, 1) * rng.uniform(0.1, 0.35, 1)
    rim = scalp.front * ((1.3 - height) / 0.12).clamp(0, 1)
    around = torch.maximum(4 * covered * (1 - covered), rim)
    low = rng.uniform(0.0, 0.3, 1) * scalp.front * ((1.6 - height) / 0.35).clamp(0, 1)
    crown = rng.uniform(0, 0.35, 1) * ((height - 1.1) / 0.4).clamp(0, 1)
    out = rng.uniform(0.03, 0.12, 1) * covered + crown + brim * around
    return _pulled(scalp, out, low + 0.25 * peak * rim, torch.zeros_like(out), 0.4 * low + peak * rim)


def _pulled(scalp: _Scalp, out: Tensor, drop: Tensor, turn: Tensor, ahead: Tensor) -> Float[Tensor, "b k 3"]:
    """The sum of the four directions, amounts ``[b, k]``."""
    shift = out[..., None] * scalp.outward + turn[..., None] * scalp.forward
    shift[..., 1] -= drop
    shift[..., 2] += ahead
    return shift


def waves(points: Float[Tensor, "v 3"], rng: Rng, channels: int) -> Float[Tensor, "b v c"]:
    """Smooth noise of variance about 1 at points measured in outer interocular distances."""
    directions = torch.randn(3, WAVES, generator=rng.generator).to(rng.device) * 4
    phase = torch.rand(WAVES, generator=rng.generator).to(rng.device) * 6.2832
    basis = torch.cos(points @ directions + phase) * (2 / WAVES) ** 0.5
    mixed = basis @ rng.normal(WAVES, channels).transpose(0, 1).flatten(1)
    return mixed.unflatten(-1, (rng.batch, channels)).transpose(0, 1)


class Cards(NamedTuple):
    """The nearest visible fragments of the haircuts of a batch, packed.

    Attributes
    ----------
    pixel : ``[n]``, (sample * h + row) * w + column.
    sample : ``[n]``.
    depth : ``[n]``, voxel frame.
    albedo : ``[n, 3]``.
    normal : ``[n, 3]``, of the head below rather than of the card, which has none.
    """

    pixel: Int[Tensor, " n"]
    sample: Int[Tensor, " n"]
    depth: Float[Tensor, " n"]
    albedo: Float[Tensor, "n 3"]
    normal: Float[Tensor, "n 3"]


def cards(
    hair: Hair, face: MorphableFace, camera: Similarity, size: tuple[int, int], tint: Float[Tensor, "b 3"]
) -> list[Cards]:
    """Haircuts of cards as seen by the camera; `tint` is the hair's colour, `size` the raster's height and width.

    A fragment whose alpha is below one half is no fragment.
    """
    if face.photographs is None:
        return []
    worn = [(number, (hair.haircut == number).nonzero()[:, 0]) for number in hair.haircut.unique().tolist()]
    cuts = face.photographs.haircuts
    return [_cards(cuts[number], heads, hair, face, camera, size, tint) for number, heads in worn if number >= 0]


def _cards(
    cut: Haircut,
    heads: Int[Tensor, " k"],
    hair: Hair,
    face: MorphableFace,
    camera: Similarity,
    size: tuple[int, int],
    tint: Float[Tensor, "b 3"],
) -> Cards:
    """One haircut on the heads that wear it."""
    # The hair follows its roots, which move with identity and expression.
    points = cut.on(hair.vertices[heads, : len(face.mean)], face.mean)
    placed = camera(points.new_zeros(len(camera.scale), *points.shape[1:]).index_copy(0, heads, points))[heads]
    fragments = rasterize(placed, cut.triangles, *size)
    seen = nearest(fragments.where((_texels(cut, fragments)[:, 3] >= 0.5).nonzero()[:, 0]))
    # Light and dark strands are the texture's, the colour is the head's.
    texels, sample = _texels(cut, seen), heads[seen.sample]
    strands = texels[:, :3].mean(1, keepdim=True) / cut.brightness()
    # Cards have no useful normals: hair is lit like the ball that it covers.
    middle = camera(cut.points.mean(0).expand(len(camera.scale), 1, 3))[sample, 0]
    place = torch.stack((seen.column + 0.5, seen.row + 0.5, seen.depth), -1)
    pixel = (sample * size[0] + seen.row) * size[1] + seen.column
    albedo = (strands * tint[sample]).clamp(0, 1)
    return Cards(pixel, sample, seen.depth, albedo, F.normalize(place - middle, dim=-1))


def _texels(cut: Haircut, fragments: Fragments) -> Float[Tensor, "n 4"]:
    """Colour and alpha of a haircut at its fragments, in [0, 1]."""
    corners = cut.uv[cut.triangles[fragments.triangle]]
    u, v = (fragments.weights[..., None] * corners).sum(1).clamp(0, 0.9999).unbind(-1)
    height, width = cut.texture.shape[1:]
    return cut.texture[:, (v * height).long(), (u * width).long()].T.float() / 255
