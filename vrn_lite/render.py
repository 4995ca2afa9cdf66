"""The image reduction of fragments: colours of the head, light, and the scenery around it.

Nothing here aims at a beautiful picture. The network must not be able to rely on anything that a real photograph
might lack, so that everything but the geometry is drawn at random (domain randomisation).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vrn_lite.camera_faults import photograph
from vrn_lite.dice import CLOTH, HAIR, IRIS, LIPS, MAKEUP, SKIN, Dice
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, Image, Landmarks, Vertices
from vrn_lite.raster import Fragments
from vrn_lite.scenery import background, cast_shadow, occlude, shoulders
from vrn_lite.wardrobe import Outfit, glasses, hair_triangles, waves


def albedo(face: MorphableFace, outfit: Outfit, dice: Dice) -> Float[Tensor, "b v 3"]:
    """Random colours of the vertices: skin with blotches and make-up, then lips, brows, eyes, hair, beard, teeth, cloth."""
    skin = dice.pick(SKIN, 0.08)
    noise = waves(face.mean / face.unit, dice, 3)
    colours = skin[:, None] * (1 + dice.uniform(0.01, 0.08, 1, 1) * noise)
    hair, cloth = dice.pick(HAIR, 0.1), dice.pick(CLOTH, 0.2)
    patch = face.patch_vertices
    colours[:, patch] = _made_up(colours[:, patch], face.mean[patch], face, skin, hair, dice)
    ragged = (1 + 0.8 * noise[..., 0]).clamp(0, 1)
    layers: list[tuple[str, Tensor, Tensor, Tensor | float]] = [
        ("beard", hair, dice.chance(0.35, 1) * dice.uniform(0.1, 1, 1), ragged),
        ("lips", dice.pick(LIPS, 0.1) * (0.35 + 0.65 * skin), dice.uniform(0.1, 1, 1), 1),
        ("scalp", hair, (1 - outfit.bald * dice.uniform(0.5, 1, 1)) * dice.uniform(0.6, 1, 1), 1),
        ("brows", torch.lerp(hair, skin, 0.2) * 0.8, dice.uniform(0.05, 1, 1), 1),
        ("sclera", dice.pick([(0.9, 0.88, 0.86), (0.75, 0.7, 0.68)], 0.05), dice.uniform(0.9, 1, 1), 1),
        ("iris", dice.pick(IRIS, 0.15), dice.uniform(0.9, 1, 1), 1),
        ("pupil", dice.pick([(0.03, 0.03, 0.03)], 0.03), dice.uniform(0.9, 1, 1), 1),
        ("teeth", dice.pick([(0.92, 0.9, 0.85), (0.8, 0.75, 0.65)], 0.05), dice.uniform(0.9, 1, 1), 1),
        ("mouth", dice.pick([(0.25, 0.08, 0.08), (0.45, 0.15, 0.15), (0.6, 0.3, 0.28)], 0.1), dice.uniform(0.9, 1, 1), 1),
        ("hair", hair, torch.ones_like(outfit.bald), 1),
        ("hair", cloth, torch.ones_like(outfit.bald), outfit.cloth),
    ]
    for name, colour, amount, pattern in layers:
        if name in face.regions:
            index = (face.regions[name] > 0.02).nonzero()[:, 0]
            mask = face.regions[name][index] ** (0.15 if name == "hair" else 1)
            mask = mask * (pattern[:, index] if isinstance(pattern, Tensor) else pattern)
            colours[:, index] = torch.lerp(colours[:, index], colour[:, None], (amount * mask)[..., None])
    return colours.clamp_(0, 1)


SPOTS = (
    ("shadow of the lids", ((37, 38), (43, 44)), (0.0, 0.06), (0.2, 0.09), "paint", 0.25),
    ("dark circles", ((40, 41), (46, 47)), (0.0, -0.07), (0.16, 0.07), "dark", 0.4),
    ("lashes", ((36,), (37,), (38,), (39,), (42,), (43,), (44,), (45,)), (0.0, 0.01), (0.05, 0.025), "dark", 0.7),
    ("blush", ((36, 48), (45, 54)), (0.0, -0.02), (0.2, 0.16), "red", 0.35),
    ("nose", ((30,),), (0.0, 0.0), (0.16, 0.14), "red", 0.3),
    ("moustache", ((33, 50), (33, 52)), (0.0, -0.03), (0.17, 0.06), "hair", 0.2),
    ("goatee", ((8, 57),), (0.0, 0.0), (0.16, 0.14), "hair", 0.12),
)
"""Paint on the skin: name, groups of landmarks in whose middle a spot lies, offset and radii (x, y) in outer interocular distances, colour, share of faces."""


def _made_up(
    colours: Float[Tensor, "b p 3"], points: Float[Tensor, "p 3"], face: MorphableFace, skin: Tensor, hair: Tensor, dice: Dice
) -> Float[Tensor, "b p 3"]:
    """Skin with spots of colour, each with a ragged edge, and freckles."""
    grain = torch.rand(colours.shape[:2], generator=dice.dense, device=dice.device)
    paints = {"paint": dice.pick(MAKEUP, 0.2), "dark": skin * dice.uniform(0.15, 0.6, 1), "red": skin * skin.new_tensor([1.05, 0.7, 0.68]), "hair": hair}
    for _, groups, offset, radii, paint, share in SPOTS:
        amount = dice.chance(share, 1) * dice.uniform(0.2, 1, 1)
        middles = torch.stack([face.mean[face.landmarks[list(group)], :2].mean(0) for group in groups]) / face.unit
        away = (points[:, None, :2] / face.unit - middles - points.new_tensor(offset)) / points.new_tensor(radii)
        mask = torch.exp(-away.square().sum(-1).amin(1)) * (points[:, 2] > face.mean[face.landmarks[0], 2])
        index = (mask > 0.03).nonzero()[:, 0]
        edge = mask[index] * (0.5 + grain[:, index] if paint == "hair" else 1)
        colours[:, index] = torch.lerp(colours[:, index], paints[paint][:, None], (amount * edge).clamp(0, 1)[..., None])
    freckles = dice.chance(0.15, 1) * dice.uniform(0.2, 0.6, 1) * (grain > 0.85)
    return colours * (1 - freckles[..., None] * colours.new_tensor([0.3, 0.5, 0.6]))


def vertex_normals(vertices: Float[Tensor, "b v 3"], triangles: Tensor) -> Float[Tensor, "b v 3"]:
    """Area-weighted unit normals ``[b, v, 3]``, outward for outward triangles."""
    number = torch.arange(len(triangles), device=triangles.device).expand(3, -1)
    where = torch.stack((triangles.T.flatten(), number.flatten()))
    size = (vertices.shape[1], len(triangles))
    incidence = torch.sparse_coo_tensor(where, vertices.new_ones(where.shape[1]), size, check_invariants=False)
    few = len(vertices) if vertices.is_cuda else 4  # a CPU has less memory, and nothing to win from more
    return torch.cat([_normals(part, triangles, incidence) for part in vertices.split(few)])


def _normals(vertices: Float[Tensor, "b v 3"], triangles: Tensor, incidence: Tensor) -> Float[Tensor, "b v 3"]:
    """The normals of some meshes; `incidence` ``[v, t]`` tells which triangles meet at a vertex."""
    batch = len(vertices)
    a, b, c = (vertices.permute(1, 2, 0).flatten(1).index_select(0, corner).unflatten(1, (3, batch)) for corner in triangles.T)
    (ux, uy, uz), (vx, vy, vz) = (b - a).unbind(1), (c - a).unbind(1)
    cross = torch.stack((uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx), 1).flatten(1)
    x, y, z = torch.sparse.mm(incidence, cross).unflatten(1, (3, batch)).unbind(1)
    return (torch.stack((x, y, z), 1) * (x * x + y * y + z * z + 1e-20).rsqrt()[:, None]).permute(2, 0, 1)


def shade(colours: Tensor, normals: Tensor, sample: Tensor, dice: Dice) -> Float[Tensor, "n 3"]:
    """Colours of fragments under one to three lights and a soft sky; `normals` ``[n, 3]`` in the voxel frame.

    One picture in four is hard: a weak sky, and a main light from the side, the top or below.
    """
    towards_viewer = torch.tensor([0.0, 0.0, -1.0], device=dice.device)
    spread, mainly = (torch.tensor(v, device=dice.device) for v in ([1.0, 0.7, 0.7], [0.0, -0.5, -1.0]))  # from above and the front
    hard = dice.chance(0.25, 1)
    sky = dice.uniform(0.25, 0.7, 1) * (1 - hard * dice.uniform(0.4, 0.9, 1)) * (1 + 0.07 * dice.normal(3))
    light = sky[sample] * (1 - 0.25 * normals[:, 1:2])  # brighter from above: y points down
    gloss = torch.zeros_like(light[:, :1])
    shine, sharp = 0.5 * dice.uniform(0, 1, 1) ** 2, dice.uniform(8, 50, 1)
    for number in range(3):
        direction = F.normalize(dice.normal(3) * spread * (1 + 1.5 * hard * (number == 0)) + mainly, dim=-1)
        strength = (dice.uniform(0.15, 0.9, 1) + 0.5 * hard) if number == 0 else dice.uniform(0.15, 0.9, 1) * dice.chance(0.4, 1) * (1 - 0.7 * hard)
        tint = 1 + 0.07 * dice.normal(3)
        wrap = dice.uniform(0, 0.4, 1)[sample]
        facing = (normals * direction[sample]).sum(-1, keepdim=True)
        light = light + (strength * tint)[sample] * ((facing + wrap) / (1 + wrap)).clamp(min=0)
        halfway = F.normalize(direction + towards_viewer, dim=-1)
        gloss = gloss + (strength * shine)[sample] * (normals * halfway[sample]).sum(-1, keepdim=True).clamp(min=0) ** sharp[sample]
    return colours * light + gloss


def render(
    fragments: Fragments,
    vertices: Vertices,
    face: MorphableFace,
    outfit: Outfit,
    landmarks: Landmarks,
    grid: Grid,
    dice: Dice,
    *,
    painted: Float[Tensor, "b v 3"] | None = None,
) -> Image:
    """Images ``[b, 3, h, w]`` in [0, 1] of faces, from the nearest fragments of their placed, dressed meshes.

    Parameters
    ----------
    fragments : the nearest visible fragment of every covered pixel.
    vertices : ``[b, v, 3]``, voxel frame.
    face : the model that the meshes come from: its regions are coloured.
    outfit : what `dress` gave; its vertices are not used.
    landmarks : ``[b, 68, 3]``, voxel frame: clothes begin below the chin, glasses sit before the eyes.
    painted : colours of the vertices, where they are known (a scan's); None to draw them at random.
    """
    lit = shade(*_surface(fragments, vertices, face, outfit, dice, painted), fragments.sample, dice)
    lit = (lit * cast_shadow(grid, dice).view(-1, 1)[fragments.pixel]).clamp(0, 1)
    canvas = background(grid, dice).permute(0, 2, 3, 1).contiguous()
    canvas.view(-1, 3)[fragments.pixel] = lit
    depth = canvas.new_full((dice.batch, grid.height, grid.width), math.inf)
    depth.view(-1)[fragments.pixel] = fragments.depth
    hair = torch.zeros_like(depth, dtype=torch.bool)
    hair.view(-1)[fragments.pixel] = hair_triangles(face)[fragments.triangle]
    images = shoulders(canvas.permute(0, 3, 1, 2), landmarks[:, 8, :2], grid, dice, hair)
    images = glasses(images, depth, landmarks, dice)
    return photograph(occlude(images, grid, dice), dice)


def _surface(
    fragments: Fragments, vertices: Vertices, face: MorphableFace, outfit: Outfit, dice: Dice, painted: Float[Tensor, "b v 3"] | None
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Colour and unit normal of fragments; strands run down the hair."""
    triangles, count = face.triangles, len(face.mean)
    colours = albedo(face, outfit._replace(cloth=outfit.cloth[:, :count]), dice) if painted is None else painted[:, :count]
    normals = vertex_normals(vertices[:, :count], triangles)
    hair = face.regions.get("hair", torch.zeros(count, device=dice.device)).sqrt()
    rough = 0.03 + dice.uniform(0.1, 0.6, 1) * hair * (1 - 0.7 * outfit.cloth[:, :count])
    place = _strands(face).expand(dice.batch, -1, -1)
    attributes = torch.cat((colours, normals, rough[..., None], place), -1)
    number = fragments.sample[:, None] * count + triangles[fragments.triangle]
    corners = attributes.flatten(0, 1).index_select(0, number.flatten()).view(*number.shape, -1)
    colour, normal, rough, place = (fragments.weights[..., None] * corners).sum(1).split((3, 3, 1, 2), -1)
    texture = dice.field(1, *STRANDS, 8, 120)[:, 0]
    row, column = (place * place.new_tensor(STRANDS)).long().unbind(-1)
    return colour * (1 + rough * texture[fragments.sample, row, column][:, None]), F.normalize(normal, dim=-1)


STRANDS = (32, 256)
"""Texture of the hair: heights and directions round the head."""


def _strands(face: MorphableFace) -> Float[Tensor, "v 2"]:
    """Where the mean's vertices lie in the texture of the hair, in [0, 1): height, and angle round the head's axis."""
    x, y, z = face.mean.unbind(-1)
    angle = torch.atan2(x, z - face.mean[face.landmarks, 2].mean() + face.unit)
    return torch.stack(((y - y.min()) / (y.max() - y.min()), angle.abs() / math.pi), -1).clamp(0, 0.9999)
