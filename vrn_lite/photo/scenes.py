"""Scenes with heads in them, drawn to train finders of faces.

::

    face model --posed, lit, cut out--> sprites --turned, scaled, pasted before backgrounds--> scenes
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vrn_lite.camera import Similarity, crop_camera, jitter
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid
from vrn_lite.mesh import Mesh
from vrn_lite.raster import nearest, rasterize
from vrn_lite.synth.appearance import CLOTH, SKIN, Appearance, Rng
from vrn_lite.synth.background import LAYERS
from vrn_lite.synth.degradations import degrade, on_some
from vrn_lite.synth.hair import add_hair, hair_triangles
from vrn_lite.synth.occluders import occlude
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
        smaller = jitter(nil, torch.zeros(rng.batch, 2), nil + 0.8, grid)  # room for hair and shoulders
        camera = crop_camera(mesh.landmark_points(), yaw, pitch, nil, face.interocular, grid).compose(smaller)
        black, white = (_drawn(mesh, camera, face, grid, rng, looks, shade) for shade in (0.0, 1.0))
        alpha = 1 - (white - black).mean(1, keepdim=True)
        colours = black / alpha.clamp(min=0.02)
        points = camera(mesh.landmark_points())[..., :2]
        low, high = points.amin(1), points.amax(1)
        pictures = (torch.cat((colours, alpha), 1).clamp(0, 1) * 255).round().byte()
        parts.append(Sprites(pictures, torch.cat(((low + high) / 2, high - low), 1), yaw))
    return Sprites(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _drawn(
    mesh: Mesh, camera: Similarity, face: MorphableFace, grid: Grid, rng: Rng, looks: Appearance, shade: float
) -> Tensor:
    """Heads before one shade of grey."""
    hair = add_hair(mesh.vertices, face, rng, looks)
    placed = mesh.with_vertices(camera(hair.vertices))
    both = mesh.solid_mask().clone()
    both[: len(face.triangles)] |= hair_triangles(face)
    fragments = rasterize(placed.vertices, mesh.triangles, grid.height, grid.width, one_sided=~both)
    seen, points = nearest(fragments.where(mesh.visible_mask()[fragments.triangle])), placed.landmark_points()
    behind = torch.full((rng.batch, 3, grid.height, grid.width), shade)
    return before(behind, seen, placed.vertices, face, hair, points, camera, grid, rng, looks)


class Scenes(NamedTuple):
    """Pictures ``[b, 3, s, s]`` in [0, 1], and the heads in them.

    Attributes
    ----------
    images : 0.5 beyond the picture's edge, where it has one.
    faces : ``[b, k, 5]``: centre x and y, width and height of the upright box, in pixels; angle, clockwise, radians.
    shown : ``[b, k]``, how much of the face can be seen, in [0, 1]; 0 for what is no face.
    sprite : ``[b, k]``, number of the head.
    """

    images: Float[Tensor, "b 3 s s"]
    faces: Float[Tensor, "b k 5"]
    shown: Float[Tensor, "b k"]
    sprite: Int[Tensor, "b k"]


def scenes(
    heads: Sprites,
    behind: Tensor,
    count: int,
    side: int,
    sizes: tuple[float, float],
    generator: torch.Generator,
    slots: int = 3,
    angle: float = 180.0,
    edge: float = 0.35,
    margin: float = 0.0,
    clean: bool = False,
) -> Scenes:
    """Up to `slots` heads turned by up to `angle` degrees before backgrounds; `sizes` of their boxes in pixels.

    Centres of boxes stay away from the sides by `margin` of their size. `clean` scenes have
    no things before the heads and no faults of cameras.
    """
    rng = Rng.of(generator, count, "cpu")
    images = _window(behind, rng, side)
    shows = torch.ones(count, 1, side, side)
    faces: list[Tensor] = []
    pastes: list[Tensor] = []  # where each head and what may hide it leaves it to be seen
    for slot in range(slots):
        image, alpha, face = _head(heads, rng.stream(f"head {slot}"), side, sizes, angle, margin)
        present = rng.stream(f"present {slot}").bernoulli((0.8, 0.5, 0.35, 0.25, 0.2, 0.15)[slot])
        alpha = alpha * present[:, None, None, None]
        images = torch.lerp(images, image, alpha)
        for paste in pastes:
            paste *= 1 - alpha
        pastes.append(shows * present[:, None, None, None])
        faces.append(face)
    grid, looks = Grid(2, side, side), Appearance(occluders=0 if clean else 0.8)
    covered = occlude(images, grid, rng.stream("occluders"), looks)
    free = (covered == images).all(1, keepdim=True).float()
    images = covered if clean else degrade(covered, rng.stream("camera"), looks)
    inside = _edge(rng.stream("edge"), side, edge)
    images = torch.lerp(images.new_tensor(0.5), images, inside)
    stack = torch.stack(faces, 1)
    seen = torch.stack([_seen(stack[:, i], paste * free * inside) for i, paste in enumerate(pastes)], 1)
    return Scenes(images, stack[..., :5], seen * stack[..., 5], stack[..., 6].long())


def _window(behind: Tensor, rng: Rng, side: int) -> Tensor:
    """Turned and scaled windows of backgrounds."""
    rng = rng.stream("window")
    chosen = behind[rng.index(len(behind))].float() / 255
    zoom, turn = torch.exp(rng.uniform(-1.2, 0.4)), rng.uniform(-3.1416, 3.1416)
    where = _affine(zoom * turn.cos(), zoom * turn.sin(), rng.uniform(-0.5, 0.5, 2), side)
    picture = F.grid_sample(chosen, where, padding_mode="reflection", align_corners=False)
    return (picture * rng.uniform(0.6, 1.3, 1, 1, 1) + rng.uniform(-0.15, 0.15, 3, 1, 1)).clamp(0, 1)


def _affine(cosine: Tensor, sine: Tensor, shift: Tensor, side: int) -> Tensor:
    """Sampling positions ``[b, s, s, 2]``, both frames in [-1, 1]."""
    turn = torch.stack((cosine, sine, shift[:, 0], -sine, cosine, shift[:, 1]), -1).view(-1, 2, 3)
    return F.affine_grid(turn, [len(turn), 1, side, side], align_corners=False)


def _head(
    heads: Sprites, rng: Rng, side: int, sizes: tuple[float, float], angle: float, margin: float
) -> tuple[Tensor, Tensor, Tensor]:
    """A head on a picture: colours, alpha, and (centre, width, height, angle, whether it is a face, number)."""
    number, own = rng.index(len(heads.yaw)), heads.pictures.shape[-1]
    picture, box = heads.pictures[number].float() / 255, heads.boxes[number].clone()
    split, flip = rng.bernoulli(0.05) > 0, rng.bernoulli(0.5) > 0
    picture[split] = picture[split].roll((own // 2, own // 2), (2, 3))  # parts of a face are none
    picture[flip] = picture[flip].flip(-1)
    box[:, 0] = torch.where(flip, own - box[:, 0], box[:, 0])
    size = torch.exp(rng.uniform(math.log(sizes[0]), math.log(sizes[1])))
    scale = size / (box[:, 2] * box[:, 3]).sqrt()  # scene's pixels in one of the sprite
    least = (margin * size).clamp(max=side / 2)[:, None]
    centre = least + rng.uniform(0, 1, 2) * (side - 2 * least)
    turn = rng.uniform(-angle, angle).deg2rad()
    turn = torch.where(rng.bernoulli(0.5) > 0, turn * min(1, 30 / angle), turn)
    coarse = F.avg_pool2d(picture, 2)
    cosine, sine = turn.cos() * side / own / scale, turn.sin() * side / own / scale
    middle = 2 * centre / side - 1  # scene
    target = 2 * box[:, :2] / own - 1  # sprite
    shift = target - torch.stack(
        (cosine * middle[:, 0] + sine * middle[:, 1], cosine * middle[:, 1] - sine * middle[:, 0]), -1
    )
    where = _affine(cosine, sine, shift, side)
    fine = F.grid_sample(picture, where, padding_mode="border", align_corners=False)
    small = F.grid_sample(coarse, where, padding_mode="border", align_corners=False)
    pasted = torch.where((scale < 0.6)[:, None, None, None], small, fine)
    reach = where.abs().amax(-1)[:, None]  # 1 at the sprite's edge, beyond which it is continued
    fade = ((rng.uniform(0.85, 2.5, 1, 1, 1) - reach) * rng.uniform(4, 20, 1, 1, 1)).clamp(0, 1)
    colours = pasted[:, :3]
    bright = (picture[:, :3] * picture[:, 3:]).mean((1, 2, 3)) / picture[:, 3].mean((1, 2)).clamp(min=0.05)
    gain = (rng.uniform(0.2, 0.6) / bright.clamp(min=0.02)).clamp(0.4, 4) ** 0.8
    tint = 1 + 0.1 * rng.normal(3)
    colours = (colours * (gain[:, None] * tint)[..., None, None]).clamp(0, 1)
    is_face = (heads.yaw[number].abs() < 100) & ~split
    face = torch.cat(
        (centre, box[:, 2:] * scale[:, None], turn[:, None], is_face[:, None].float(), number[:, None].float()), 1
    )
    return colours, pasted[:, 3:] * fade, face


def _edge(rng: Rng, side: int, share: float) -> Tensor:
    """1 inside the picture, 0 beyond its edges, which some pictures show."""
    cut = rng.bernoulli(share, 4) * rng.uniform(0, 0.3, 4) * side
    at = torch.arange(side) + 0.5
    across = (at > cut[:, :1]) & (at < side - cut[:, 1:2])
    down = (at > cut[:, 2:3]) & (at < side - cut[:, 3:])
    return (down[:, None, :, None] & across[:, None, None, :]).float()


def _seen(faces: Tensor, shown: Tensor) -> Tensor:
    """Share of an ellipse in each face's box where a map ``[b, 1, s, s]`` is 1."""
    side = shown.shape[-1]
    steps = torch.linspace(-0.45, 0.45, 7)
    u, v = torch.meshgrid(steps, steps, indexing="xy")
    u, v = (part[u**2 + v**2 < 0.21] for part in (u, v))
    u, v = u * faces[:, 2:3], v * faces[:, 3:4]
    cosine, sine = faces[:, 4:5].cos(), faces[:, 4:5].sin()
    x, y = faces[:, :1] + u * cosine - v * sine, faces[:, 1:2] + u * sine + v * cosine
    where = 2 * torch.stack((x, y), -1)[:, None] / side - 1
    return F.grid_sample(shown, where, align_corners=False).mean((1, 2, 3))


def _rough(images: Tensor, rng: Rng) -> Tensor:
    """Mottled, in grey or in colours."""
    height, width = images.shape[-2:]
    field = rng.field(3, height, width, 24)
    field = torch.lerp(field.mean(1, keepdim=True), field, rng.uniform(0, 0.6, 1, 1, 1))
    return images + rng.uniform(0, 0.4, 1, 1, 1) * field


def backgrounds(count: int, side: int, generator: torch.Generator, pictures: list[np.ndarray] | None = None) -> Tensor:
    """Bytes ``[n, 3, s, s]``: what the renderer draws behind heads and before them, but photographs are `pictures`."""
    looks, grid, parts = Appearance(occluders=2.0), Grid(2, side, side), []
    for _ in range(0, count, 16):
        rng = Rng.of(generator, 16, "cpu")
        images = rng.colour(SKIN + CLOTH, 0.4)[..., None, None] + rng.uniform(0, 0.3, 1, 1, 1) * rng.field(
            1, side, side, 2
        )
        for layer in LAYERS:
            if layer.change.__name__ != "_photo":
                for number in range(layer.times):
                    images = on_some(images, rng.stream(f"{layer.change.__name__} {number}"), layer.share, layer.change)
        images = on_some(images, rng.stream("fine"), 0.3, _rough)
        parts.append(occlude(images.clamp(0, 1), grid, rng.stream("things"), looks))
    drawn = (torch.cat(parts)[:count] * 255).byte()
    if not pictures:
        return drawn
    crops = []
    for number in range(count // 2):
        picture = pictures[number % len(pictures)]
        height, width = picture.shape[:2]
        size = int(min(height, width) * (0.25 + 0.75 * torch.rand((), generator=generator).item()))
        top, left = (int(torch.randint(room - size + 1, (), generator=generator)) for room in (height, width))
        crop = torch.from_numpy(picture[top : top + size, left : left + size]).permute(2, 0, 1)[None].float()
        crops.append(F.interpolate(crop, (side, side), mode="bilinear", antialias=True).byte())
    return torch.cat((drawn, *crops))


def mirrored(some: Scenes, across: bool) -> Scenes:
    """The same scenes mirrored left to right, or with rows and columns exchanged."""
    x, y, width, height, angle = some.faces.unbind(-1)
    side = some.images.shape[-1]
    if across:
        return some._replace(
            images=some.images.transpose(2, 3), faces=torch.stack((y, x, width, height, -math.pi / 2 - angle), -1)
        )
    return some._replace(images=some.images.flip(-1), faces=torch.stack((side - x, y, width, height, -angle), -1))
