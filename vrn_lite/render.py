"""The image reduction of fragments: hair and colours of the head, light, and the scenery around it.

Nothing here aims at a beautiful picture. The network must not be able to rely on anything that a real photograph
might lack, so that everything but the geometry is drawn at random (domain randomisation).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vrn_lite.dice import HAIR, IRIS, LIPS, SKIN, Dice
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, Image, Vertices
from vrn_lite.raster import Fragments
from vrn_lite.scenery import background, cast_shadow, occlude, photograph, shoulders

WAVES = 24
"""Smooth noise on a face is a random mixture of this many plane waves through the mean face."""


def dress(vertices: Vertices, face: MorphableFace, dice: Dice) -> Vertices:
    """Push the hair shell of faces in the model frame outward: bald, short, long over the shoulders, with a fringe.

    `vertices` is ``[b, v, 3]``; only the vertices of region ``hair`` move, so that the solid keeps its shape.
    """
    if "hair" not in face.regions:
        return vertices
    index = (face.regions["hair"] > 0).nonzero()[:, 0]
    root, soft = face.mean[index], face.regions["hair"][index]
    outward = F.normalize(root - root.new_tensor([0.0, 0.0, float(root[:, 2].mean())]), dim=-1)
    unit = face.unit
    thick = dice.chance(0.9, 1) * torch.exp(dice.uniform(-3.2, -1.2, 1)) * unit
    ripple = (1 + 0.5 * _waves(root / unit, dice, 1)[..., 0]).clamp(min=0)
    height = (root[:, 1] - face.mean[face.landmarks, 1].mean()) / unit
    low = (0.55 - height).clamp(0, 1.5)
    front = ((root[:, 2] - root[:, 2].mean()) / unit).clamp(min=0) * (height > 0.5)
    falls = dice.chance(0.5, 1) * dice.uniform(0.2, 1.5, 1) * unit
    fringe = dice.chance(0.4, 1) * dice.uniform(0.05, 0.5, 1) * unit
    swell = thick * ripple * soft.sqrt() + 0.25 * falls * (low * soft)
    drop = falls * (low * soft) + fringe * front * ripple
    moved = vertices[:, index] + swell[..., None] * outward
    moved[..., 1] -= drop
    moved[..., 2] += 0.3 * fringe * front
    return vertices.index_copy(1, index, moved)


def _waves(points: Float[Tensor, "v 3"], dice: Dice, channels: int) -> Float[Tensor, "b v c"]:
    """Smooth noise of variance about 1 at points measured in outer interocular distances."""
    directions = torch.randn(3, WAVES, generator=dice.generator).to(dice.device) * 4
    phase = torch.rand(WAVES, generator=dice.generator).to(dice.device) * 6.2832
    basis = torch.cos(points @ directions + phase) * (2 / WAVES) ** 0.5
    return (basis @ dice.normal(WAVES, channels).transpose(0, 1).flatten(1)).unflatten(-1, (dice.batch, channels)).transpose(0, 1)


def albedo(face: MorphableFace, dice: Dice) -> Float[Tensor, "b v 3"]:
    """Random colours of the vertices: skin with blotches, then lips, brows, eyes, hair, beard, teeth."""
    skin = dice.pick(SKIN, 0.12)
    blotch = 1 + dice.uniform(0.01, 0.08, 1, 1) * _waves(face.mean / face.unit, dice, 3)
    colours = skin[:, None] * blotch
    hair = dice.pick(HAIR, 0.1)
    bald = dice.uniform(0, 1, 1)
    layers = [
        ("beard", hair, dice.chance(0.3, 1) * dice.uniform(0.1, 0.9, 1)),
        ("lips", dice.pick(LIPS, 0.1) * (0.35 + 0.65 * skin), dice.uniform(0.2, 0.9, 1)),
        ("scalp", hair, (bald > 0.12).float() * dice.uniform(0.6, 1, 1)),
        ("brows", torch.lerp(hair, skin, 0.2) * 0.8, dice.uniform(0.3, 0.95, 1)),
        ("sclera", dice.pick([(0.9, 0.88, 0.86), (0.75, 0.7, 0.68)], 0.05), dice.uniform(0.9, 1, 1)),
        ("iris", dice.pick(IRIS, 0.15), dice.uniform(0.9, 1, 1)),
        ("pupil", dice.pick([(0.03, 0.03, 0.03)], 0.03), dice.uniform(0.9, 1, 1)),
        ("teeth", dice.pick([(0.92, 0.9, 0.85), (0.8, 0.75, 0.65)], 0.05), dice.uniform(0.9, 1, 1)),
        ("mouth", dice.pick([(0.25, 0.08, 0.08), (0.45, 0.15, 0.15)], 0.1), dice.uniform(0.9, 1, 1)),
        ("hair", hair, dice.uniform(0.9, 1, 1)),
    ]
    for name, colour, amount in layers:
        if name in face.regions:
            index = (face.regions[name] > 0.02).nonzero()[:, 0]
            mask = face.regions[name][index].clamp(max=1.0) ** (0.15 if name == "hair" else 1)
            colours[:, index] = torch.lerp(colours[:, index], colour[:, None], (amount * mask)[..., None])
    return colours.clamp_(0, 1)


def vertex_normals(vertices: Float[Tensor, "b v 3"], triangles: Tensor) -> Float[Tensor, "b v 3"]:
    """Area-weighted unit normals ``[b, v, 3]``, outward for outward triangles."""
    count, batch = vertices.shape[1], vertices.shape[0]
    a, b, c = (vertices.permute(1, 2, 0).flatten(1).index_select(0, corner).unflatten(1, (3, batch)) for corner in triangles.T)
    (ux, uy, uz), (vx, vy, vz) = (b - a).unbind(1), (c - a).unbind(1)
    cross = torch.stack((uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx), 1).flatten(1)
    number = torch.arange(len(triangles), device=triangles.device).expand(3, -1)
    where = torch.stack((triangles.T.flatten(), number.flatten()))
    incidence = torch.sparse_coo_tensor(where, cross.new_ones(where.shape[1]), (count, len(triangles)), check_invariants=False)
    x, y, z = torch.sparse.mm(incidence, cross).unflatten(1, (3, batch)).unbind(1)
    return (torch.stack((x, y, z), 1) * (x * x + y * y + z * z + 1e-20).rsqrt()[:, None]).permute(2, 0, 1)


def shade(colours: Tensor, normals: Tensor, sample: Tensor, dice: Dice) -> Float[Tensor, "n 3"]:
    """Colours of fragments under one to three lights and a soft sky; `normals` ``[n, 3]`` in the voxel frame."""
    towards_viewer = torch.tensor([0.0, 0.0, -1.0], device=dice.device)
    spread, mainly = (torch.tensor(v, device=dice.device) for v in ([1.0, 0.7, 0.7], [0.0, -0.5, -1.0]))  # from above and the front
    sky = dice.uniform(0.25, 0.7, 1) * (1 + 0.07 * dice.normal(3))
    light = sky[sample] * (1 - 0.25 * normals[:, 1:2])  # brighter from above: y points down
    gloss = torch.zeros_like(light[:, :1])
    shine, sharp = dice.uniform(0, 0.35, 1), dice.uniform(8, 40, 1)
    for number in range(3):
        direction = F.normalize(dice.normal(3) * spread + mainly, dim=-1)
        strength = dice.uniform(0.15, 0.9, 1) * (1 if number == 0 else dice.chance(0.4, 1))
        tint = 1 + 0.07 * dice.normal(3)
        wrap = dice.uniform(0, 0.4, 1)[sample]
        facing = (normals * direction[sample]).sum(-1, keepdim=True)
        light = light + (strength * tint)[sample] * ((facing + wrap) / (1 + wrap)).clamp(min=0)
        halfway = F.normalize(direction + towards_viewer, dim=-1)
        gloss = gloss + (strength * shine)[sample] * (normals * halfway[sample]).sum(-1, keepdim=True).clamp(min=0) ** sharp[sample]
    return colours * light + gloss


def render(fragments: Fragments, vertices: Vertices, face: MorphableFace, chin: Float[Tensor, "b 2"], grid: Grid, dice: Dice) -> Image:
    """Images ``[b, 3, h, w]`` in [0, 1] of faces, from the nearest fragments of their placed, dressed meshes.

    Parameters
    ----------
    fragments : the nearest visible fragment of every covered pixel.
    vertices : ``[b, v, 3]``, voxel frame.
    face : the model that the meshes come from: its regions are coloured.
    chin : ``[b, 2]``, where the clothes begin, in pixels.
    """
    triangles = face.triangles
    colours, normals = albedo(face, dice), vertex_normals(vertices[:, : len(face.mean)], triangles)
    rough = (0.03 + 0.4 * face.regions.get("hair", torch.zeros(len(face.mean), device=dice.device)).sqrt()).expand(dice.batch, -1)
    attributes = torch.cat((colours, normals, rough[..., None]), -1)
    corners = attributes[fragments.sample[:, None], triangles[fragments.triangle]]
    colour, normal, strands = (fragments.weights[..., None] * corners).sum(1).split((3, 3, 1), -1)
    texture = dice.field(1, grid.height, grid.width, grid.height // 8, grid.width // 2).view(-1, 1)[fragments.pixel]
    lit = shade(colour, F.normalize(normal, dim=-1), fragments.sample, dice) * (1 + strands * texture)
    lit = (lit * cast_shadow(grid, dice).view(-1, 1)[fragments.pixel]).clamp(0, 1)
    images = shoulders(background(grid, dice), chin, grid, dice)
    canvas = images.permute(0, 2, 3, 1).contiguous()
    canvas.view(-1, 3)[fragments.pixel] = lit
    return photograph(occlude(canvas.permute(0, 3, 1, 2), grid, dice), dice)
