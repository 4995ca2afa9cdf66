"""What people wear on their heads: hair, hats, headscarves and glasses.

Hair is the face model's shell over the scalp, pulled along four directions. The solid never moves, so that the volume
stays the face's::

        top  ___
            /   \\        out    along the normals: thickness, afro, the crown of a hat
           |o    |       drop   down: long hair, a fringe
        <--|>    |       turn   round the head to the front: hair that frames the face
           |_    |       ahead  to the viewer: a fringe clears the forehead, the peak of a cap
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vrn_lite.dice import Dice
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Image, Landmarks, Vertices

WAVES = 24
"""Smooth noise on a face is a random mixture of this many plane waves through the mean face."""


class Outfit(NamedTuple):
    """Dressed heads.

    Attributes
    ----------
    vertices : ``[b, v, 3]``; only those of region ``hair`` differ from the naked heads'.
    cloth : ``[b, v]``, 1 where a vertex of the shell is a hat or a scarf, 0 where it is hair.
    bald : ``[b, 1]``, 1 where the shell is sunk below the skin.
    """

    vertices: Vertices
    cloth: Float[Tensor, "b v"]
    bald: Float[Tensor, "b 1"]


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
        points = (face.mean[index] - face.mean[face.landmarks].mean(0)) / face.unit
        x, y, z = points.unbind(-1)
        z = z - z.mean()
        azimuth = torch.atan2(x, z)
        outward = F.normalize(torch.stack((x, (y - 0.45).clamp(min=0), z), -1), dim=-1)
        forward = torch.stack((-azimuth.cos() * azimuth.sign(), torch.zeros_like(x), azimuth.sin().abs()), -1)
        return _Scalp(points, face.regions["hair"][index], outward, forward, (1.6 * azimuth.cos()).clamp(0, 1), ((1.05 - y) / 0.5).clamp(0, 1))


def dress(vertices: Vertices, face: MorphableFace, dice: Dice) -> Outfit:
    """Heads in the model frame with random hair, some of it under a hat or a scarf; one in ten is bald.

    `vertices` is ``[b, v, 3]``. A face without region ``hair`` stays as it is.
    """
    bald, worn = dice.chance(0.1, 1), dice.lot(1)
    hat, scarf = (worn < 0.12).float() * (1 - bald), (worn > 0.95).float() * (1 - bald)
    cloth = vertices.new_zeros(vertices.shape[:2])
    if "hair" not in face.regions:
        return Outfit(vertices, cloth, bald)
    index = (face.regions["hair"] > 0).nonzero()[:, 0]
    scalp = _Scalp.of(face, index)
    edge = dice.uniform(0.45, 0.85, 1) + dice.uniform(-0.3, 0.3, 1) * scalp.points[:, 2]
    covered = torch.maximum(scarf.expand(-1, len(index)), hat * torch.sigmoid(40 * (scalp.points[:, 1] - edge)))
    shift = hat[..., None] * _hat(scalp, covered, dice) + _hair(scalp, covered, scarf, dice)
    shift = torch.lerp(shift, -0.03 * scalp.outward, bald[..., None])
    moved = vertices[:, index] + face.unit * shift
    return Outfit(vertices.index_copy(1, index, moved), cloth.index_copy(1, index, covered), bald)


def hair_triangles(face: MorphableFace) -> Bool[Tensor, " t"]:
    """Triangles of the hair shell, which the viewer sees from inside too: behind the neck and the cheeks."""
    grown = face.regions.get("hair", torch.zeros_like(face.mean[:, 0])) > 0
    return grown[face.triangles].all(1)


def _hair(scalp: _Scalp, covered: Float[Tensor, "b k"], scarf: Float[Tensor, "b 1"], dice: Dice) -> Float[Tensor, "b k 3"]:
    """How the shell moves: uneven thickness, afro, long hair that frames the face, a fringe swept to one side."""
    coarse, fine = waves(scalp.points, dice, 1)[..., 0], waves(4 * scalp.points, dice, 1)[..., 0]
    uneven = (1 - covered) * (dice.uniform(0.1, 0.6, 1) * coarse + dice.uniform(0, 0.35, 1) * fine)
    thick = torch.exp(dice.uniform(-3.2, -1.5, 1)) + dice.chance(0.12, 1) * dice.uniform(0.1, 0.45, 1)
    thick = torch.lerp(thick, thick.clamp(max=0.12), covered)
    long = torch.maximum(dice.chance(0.45, 1), scarf)
    length, wide, wrap = long * dice.uniform(0.3, 1.6, 1), long * dice.uniform(0.05, 0.35, 1), long * dice.uniform(-0.05, 0.5, 1)
    swept = torch.sigmoid(6 * dice.normal(1) * (scalp.points[:, 0] - dice.uniform(-0.6, 0.6, 1)))
    fringe = torch.maximum(dice.chance(0.4, 1), scarf) * dice.uniform(0.08, 0.5, 1) * torch.lerp(0.3 + 0.7 * swept, torch.full_like(swept, 0.6), covered)
    over = fringe * scalp.front * ((1.5 - scalp.points[:, 1]) / 0.35).clamp(0, 1) * (1 + 0.5 * uneven)
    out = thick * (1 + uneven).clamp(min=0.1) * scalp.soft.sqrt() + wide * scalp.low * (1 + 0.25 * uneven)
    drop = length * scalp.low * (1 + 0.1 * uneven) + over
    return _pulled(scalp, out, drop, wrap * scalp.low * (1 - 0.5 * scalp.front), 0.5 * over)


def _hat(scalp: _Scalp, covered: Float[Tensor, "b k"], dice: Dice) -> Float[Tensor, "b k 3"]:
    """A crown over the hair, pulled into the forehead; a peak in front or a brim all round in two of three."""
    height = scalp.points[:, 1]
    peak, brim = dice.chance(0.45, 1) * dice.uniform(0.15, 0.5, 1), dice.chance(0.3, 1) * dice.uniform(0.1, 0.35, 1)
    rim = scalp.front * ((1.3 - height) / 0.12).clamp(0, 1)
    around = torch.maximum(4 * covered * (1 - covered), rim)
    low = dice.uniform(0.0, 0.3, 1) * scalp.front * ((1.6 - height) / 0.35).clamp(0, 1)
    out = dice.uniform(0.03, 0.12, 1) * covered + dice.uniform(0, 0.35, 1) * ((height - 1.1) / 0.4).clamp(0, 1) + brim * around
    return _pulled(scalp, out, low + 0.25 * peak * rim, torch.zeros_like(out), 0.4 * low + peak * rim)


def _pulled(scalp: _Scalp, out: Tensor, drop: Tensor, turn: Tensor, ahead: Tensor) -> Float[Tensor, "b k 3"]:
    """The sum of the four directions, amounts ``[b, k]``."""
    shift = out[..., None] * scalp.outward + turn[..., None] * scalp.forward
    shift[..., 1] -= drop
    shift[..., 2] += ahead
    return shift


def waves(points: Float[Tensor, "v 3"], dice: Dice, channels: int) -> Float[Tensor, "b v c"]:
    """Smooth noise of variance about 1 at points measured in outer interocular distances."""
    directions = torch.randn(3, WAVES, generator=dice.generator).to(dice.device) * 4
    phase = torch.rand(WAVES, generator=dice.generator).to(dice.device) * 6.2832
    basis = torch.cos(points @ directions + phase) * (2 / WAVES) ** 0.5
    return (basis @ dice.normal(WAVES, channels).transpose(0, 1).flatten(1)).unflatten(-1, (dice.batch, channels)).transpose(0, 1)


class _Frames(NamedTuple):
    """Glasses in the voxel frame, `g` of them: axes of the head, and sizes in pixels."""

    lenses: Float[Tensor, "g 2 3"]
    ears: Float[Tensor, "g 2 3"]
    axes: Float[Tensor, "g 3 3"]  # to the person's left, down, to the back of the head
    half: Float[Tensor, "g 2"]
    eyes: Float[Tensor, " g"]


def glasses(images: Image, depth: Float[Tensor, "b h w"], points: Landmarks, dice: Dice) -> Image:
    """Glasses on some of the faces, drawn over the image where no nearer skin or hair hides them.

    Parameters
    ----------
    images : ``[b, 3, h, w]``.
    depth : of the nearest surface, infinite off the head.
    points : ``[b, 68, 3]``, landmarks in the voxel frame: the glasses turn with them.
    """
    some, dice = dice.some(0.18)
    if len(some) == 0:
        return images
    frames = _fit(points[some], dice)
    glass, frame = _coverage(frames, depth[some], dice)
    sunny, rim = dice.chance(0.25, 1, 1), torch.where(dice.chance(0.6, 1) > 0, dice.uniform(0, 0.25, 1), dice.uniform(0, 1, 3))
    opaque = torch.where(sunny > 0, dice.uniform(0.6, 0.97, 1, 1), dice.uniform(0, 0.2, 1, 1))
    glare = dice.chance(0.3, 1, 1) * dice.uniform(0, 0.7, 1, 1) * (dice.field(1, depth.shape[1], depth.shape[2], 3)[:, 0] > 0.2)
    picture = torch.lerp(images[some], dice.uniform(0, 0.5, 3)[..., None, None], (glass * opaque)[:, None])
    picture = torch.lerp(picture, torch.ones_like(picture), (glass * glare)[:, None])
    return images.index_copy(0, some, torch.lerp(picture, rim[..., None, None], frame[:, None]))


def _fit(points: Landmarks, dice: Dice) -> _Frames:
    """Lenses before the eyes, and the ends of the temples over the ears."""
    eyes = torch.stack((points[:, 36:42].mean(1), points[:, 42:48].mean(1)), 1)
    distance = (points[:, 45] - points[:, 36]).norm(dim=-1)
    across = F.normalize(eyes[:, 1] - eyes[:, 0], dim=-1)
    down = points[:, 33] - eyes.mean(1)
    down = F.normalize(down - (down * across).sum(-1, keepdim=True) * across, dim=-1)
    back = torch.linalg.cross(across, down)
    lenses = eyes + (distance[:, None] * (0.03 * down - dice.uniform(0.17, 0.28, 1) * back))[:, None]
    outside = 0.08 * distance[:, None] * across
    ears = torch.stack((points[:, 0] - outside, points[:, 16] + outside), 1)
    half = distance[:, None] * (points.new_tensor([0.2, 0.13]) + dice.uniform(0, 0.1, 2))
    return _Frames(lenses, ears, torch.stack((across, down, back), 1), half, distance)


def _coverage(frames: _Frames, depth: Float[Tensor, "g h w"], dice: Dice) -> tuple[Tensor, Tensor]:
    """Shares ``[g, h, w]`` of each pixel that glass and frame cover."""
    width, square = dice.uniform(0.008, 0.05, 1, 1) * frames.eyes[:, None, None], dice.uniform(0, 1, 1, 1)
    left, right = (_lens(frames, frames.lenses[:, side], depth, width, square) for side in range(2))
    reach = frames.half[:, :1] * frames.axes[:, 0]
    inner, outer = (frames.lenses[:, 0] + reach, frames.lenses[:, 1] - reach), (frames.lenses[:, 0] - reach, frames.lenses[:, 1] + reach)
    bars = [inner, (outer[0], frames.ears[:, 0]), (outer[1], frames.ears[:, 1])]
    rims = [left[1], right[1], *(_bar(start, end, depth, width, frames.eyes) for start, end in bars)]
    return torch.maximum(left[0], right[0]), torch.stack(rims).amax(0)


def _pixels(depth: Float[Tensor, "g h w"]) -> Float[Tensor, "h w 2"]:
    rows, columns = (torch.arange(size, device=depth.device) + 0.5 for size in depth.shape[1:])
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)


def _lens(frames: _Frames, centre: Tensor, depth: Tensor, width: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    """Glass and rim of one lens: between ellipse and rounded rectangle in the plane of the glasses, seen from any side."""
    sides = frames.half[:, :, None] * frames.axes[:, :2]  # [g, (u, v), xyz]
    (a, b), (c, d) = sides[:, :, 0, None, None].unbind(1), sides[:, :, 1, None, None].unbind(1)
    area, least = a * d - b * c, 0.05 * frames.half.prod(1)[:, None, None]
    area = torch.where(area.abs() < least, least, area)  # a lens seen from its edge
    x, y = (_pixels(depth) - centre[:, None, None, :2]).unbind(-1)
    u, v = (d * x - b * y) / area, (a * y - c * x) / area
    uu, vv = u * u, v * v
    radius = torch.lerp((uu + vv).sqrt(), (uu * uu + vv * vv).sqrt().sqrt(), square)
    slope = torch.stack(torch.gradient(radius, dim=(1, 2))).norm(dim=0) + 1e-6
    plane = centre[:, 2, None, None] + u.clamp(-1.1, 1.1) * sides[:, 0, 2, None, None] + v.clamp(-1.1, 1.1) * sides[:, 1, 2, None, None]
    shown = plane < depth + 0.1 * frames.eyes[:, None, None]
    distance = (radius - 1) / slope  # in pixels
    return shown * (0.5 - distance).clamp(0, 1), shown * (0.5 + width / 2 - distance.abs()).clamp(0, 1)


def _bar(start: Tensor, end: Tensor, depth: Tensor, width: Tensor, eyes: Tensor) -> Float[Tensor, "g h w"]:
    """A straight piece of the frame between two points."""
    along = (end - start)[:, None, None]
    away = _pixels(depth) - start[:, None, None, :2]
    place = ((away * along[..., :2]).sum(-1) / (along[..., :2] ** 2).sum(-1).clamp(min=1e-3)).clamp(0, 1)
    distance = (away - place[..., None] * along[..., :2]).norm(dim=-1)
    shown = start[:, 2, None, None] + place * along[..., 2] < depth + 0.03 * eyes[:, None, None]
    return shown * (0.5 + width / 2 - distance).clamp(0, 1)
