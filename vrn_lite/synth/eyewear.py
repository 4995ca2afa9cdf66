"""Glasses, drawn over the picture where no nearer skin or hair hides them."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vrn_lite.frame import Image, Landmarks
from vrn_lite.synth.appearance import Rng
from vrn_lite.synth.degradations import pixels


class _Frames(NamedTuple):
    """Glasses in the voxel frame, `g` of them: axes of the head, and sizes in pixels."""

    lenses: Float[Tensor, "g 2 3"]
    ears: Float[Tensor, "g 2 3"]
    axes: Float[Tensor, "g 3 3"]  # to the person's left, down, to the back of the head
    half: Float[Tensor, "g 2"]
    eyes: Float[Tensor, " g"]


def glasses(images: Image, depth: Float[Tensor, "b h w"], points: Landmarks, rng: Rng, share: float) -> Image:
    """Glasses on some of the faces, drawn over the image where no nearer skin or hair hides them.

    Parameters
    ----------
    images : ``[b, 3, h, w]``.
    depth : of the nearest surface, infinite off the head.
    points : ``[b, 68, 3]``, landmarks in the voxel frame: the glasses turn with them.
    """
    some, rng = rng.subset(share)
    if len(some) == 0:
        return images
    frames = _fit(points[some], rng)
    glass, frame = _coverage(frames, depth[some], rng)
    sunny = rng.bernoulli(0.25, 1, 1)
    rim = torch.where(rng.bernoulli(0.6, 1) > 0, rng.uniform(0, 0.25, 1), rng.uniform(0, 1, 3))
    opaque = torch.where(sunny > 0, rng.uniform(0.6, 0.97, 1, 1), rng.uniform(0, 0.2, 1, 1))
    patches = rng.field(1, depth.shape[1], depth.shape[2], 3)[:, 0] > 0.2
    glare = rng.bernoulli(0.25, 1, 1) * rng.uniform(0, 0.6, 1, 1) * patches
    picture = torch.lerp(images[some], rng.uniform(0, 0.5, 3)[..., None, None], (glass * opaque)[:, None])
    picture = torch.lerp(picture, torch.ones_like(picture), (glass * glare)[:, None])
    return images.index_copy(0, some, torch.lerp(picture, rim[..., None, None], frame[:, None]))


def _fit(points: Landmarks, rng: Rng) -> _Frames:
    """Lenses before the eyes, and the ends of the temples over the ears."""
    eyes = torch.stack((points[:, 36:42].mean(1), points[:, 42:48].mean(1)), 1)
    distance = (points[:, 45] - points[:, 36]).norm(dim=-1)
    across = F.normalize(eyes[:, 1] - eyes[:, 0], dim=-1)
    down = points[:, 33] - eyes.mean(1)
    down = F.normalize(down - (down * across).sum(-1, keepdim=True) * across, dim=-1)
    back = torch.linalg.cross(across, down)
    lenses = eyes + (distance[:, None] * (0.03 * down - rng.uniform(0.17, 0.28, 1) * back))[:, None]
    outside = 0.08 * distance[:, None] * across
    ears = torch.stack((points[:, 0] - outside, points[:, 16] + outside), 1)
    half = distance[:, None] * (points.new_tensor([0.2, 0.13]) + rng.uniform(0, 0.1, 2))
    return _Frames(lenses, ears, torch.stack((across, down, back), 1), half, distance)


def _coverage(frames: _Frames, depth: Float[Tensor, "g h w"], rng: Rng) -> tuple[Tensor, Tensor]:
    """Shares ``[g, h, w]`` of each pixel that glass and frame cover."""
    width, square = rng.uniform(0.008, 0.05, 1, 1) * frames.eyes[:, None, None], rng.uniform(0, 1, 1, 1)
    left, right = (_lens(frames, frames.lenses[:, side], depth, width, square) for side in range(2))
    reach = frames.half[:, :1] * frames.axes[:, 0]
    inner, outer = (
        (frames.lenses[:, 0] + reach, frames.lenses[:, 1] - reach),
        (frames.lenses[:, 0] - reach, frames.lenses[:, 1] + reach),
    )
    bars = [inner, (outer[0], frames.ears[:, 0]), (outer[1], frames.ears[:, 1])]
    rims = [left[1], right[1], *(_bar(start, end, depth, width, frames.eyes) for start, end in bars)]
    return torch.maximum(left[0], right[0]), torch.stack(rims).amax(0)


def _pixels(depth: Float[Tensor, "g h w"]) -> Float[Tensor, "h w 2"]:
    return torch.stack(torch.broadcast_tensors(*pixels(depth)), -1)


def _lens(frames: _Frames, centre: Tensor, depth: Tensor, width: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    """Glass and rim of one lens: between ellipse and rounded rectangle in the glasses' plane, seen from any side."""
    sides = frames.half[:, :, None] * frames.axes[:, :2]  # [g, (u, v), xyz]
    (a, b), (c, d) = sides[:, :, 0, None, None].unbind(1), sides[:, :, 1, None, None].unbind(1)
    area, least = a * d - b * c, 0.05 * frames.half.prod(1)[:, None, None]
    area = torch.where(area.abs() < least, least, area)  # a lens seen from its edge
    x, y = (_pixels(depth) - centre[:, None, None, :2]).unbind(-1)
    u, v = (d * x - b * y) / area, (a * y - c * x) / area
    uu, vv = u * u, v * v
    radius = torch.lerp((uu + vv).sqrt(), (uu * uu + vv * vv).sqrt().sqrt(), square)
    slope = torch.stack(torch.gradient(radius, dim=(1, 2))).norm(dim=0) + 1e-6
    plane = (
        centre[:, 2, None, None]
        + u.clamp(-1.1, 1.1) * sides[:, 0, 2, None, None]
        + v.clamp(-1.1, 1.1) * sides[:, 1, 2, None, None]
    )
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
