"""The image reduction of fragments: what each pixel sees, the light on it, and everything around it.

The network must not be able to rely on anything that a photograph might lack, so that everything but the geometry is
drawn at random (domain randomisation); and most pictures shall look like snapshots.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vrn_lite.camera import Similarity
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import FACE_SIZE, Grid, Image, Landmarks, Vertices
from vrn_lite.raster import Fragments
from vrn_lite.synth.appearance import Appearance, Rng
from vrn_lite.synth.background import background, cast_shadow, shoulders
from vrn_lite.synth.degradations import blurred, degrade
from vrn_lite.synth.eyewear import glasses
from vrn_lite.synth.hair import Cards, Hair, cards, hair_triangles
from vrn_lite.synth.occluders import occlude
from vrn_lite.synth.skin import albedo


class Surface(NamedTuple):
    """What the viewer sees of the heads, packed: one entry for each covered pixel.

    Attributes
    ----------
    pixel : ``[n]``, (sample * h + row) * w + column.
    sample : ``[n]``.
    depth : ``[n]``, voxel frame.
    albedo, normal : ``[n, 3]``; unit normals in the voxel frame.
    gloss : ``[n]``, how much it shines: skin 1, hair and cloth less, eyes and teeth more.
    hair : ``[n]``, hair or what is worn over it.
    """

    pixel: Int[Tensor, " n"]
    sample: Int[Tensor, " n"]
    depth: Float[Tensor, " n"]
    albedo: Float[Tensor, "n 3"]
    normal: Float[Tensor, "n 3"]
    gloss: Float[Tensor, " n"]
    hair: Bool[Tensor, " n"]


def render(
    fragments: Fragments,
    vertices: Vertices,
    face: MorphableFace,
    hair: Hair,
    landmarks: Landmarks,
    camera: Similarity,
    grid: Grid,
    rng: Rng,
    appearance: Appearance,
    painted: Float[Tensor, "b v 3"] | None = None,
) -> Image:
    """Images ``[b, 3, h, w]`` of placed heads before random surroundings, seen through a random camera.

    Parameters
    ----------
    fragments : the nearest visible fragment of every covered pixel.
    vertices : ``[b, v, 3]``, voxel frame.
    face : the model that the meshes come from: its regions are coloured.
    hair : what `add_hair` gave.
    landmarks : ``[b, 68, 3]``, voxel frame: clothes begin below the chin, glasses sit before the eyes.
    camera : from the model frame to the voxel frame.
    painted : colours of the vertices, where they are known (a scan's); None to draw them at random.
    """
    behind = background(grid, rng.stream("background"), appearance)
    images = before(behind, fragments, vertices, face, hair, landmarks, camera, grid, rng, appearance, painted)
    return degrade(images, rng.stream("camera"), appearance)


def before(
    behind: Image,
    fragments: Fragments,
    vertices: Vertices,
    face: MorphableFace,
    hair: Hair,
    landmarks: Landmarks,
    camera: Similarity,
    grid: Grid,
    rng: Rng,
    appearance: Appearance,
    painted: Float[Tensor, "b v 3"] | None = None,
) -> Image:
    """Images ``[b, 3, h, w]`` of placed heads before `behind`, and what stands before them; else as `render`."""
    seen = _surface(fragments, vertices, face, hair, camera, grid, rng, appearance, painted)
    depth = _canvas(seen, seen.depth[:, None], grid, rng.batch, math.inf)[..., 0]
    light, shine = lights(seen, depth, rng, appearance, grid)
    lit = seen.albedo * light + shine
    lit = lit * cast_shadow(grid, rng.stream("cast shadow"), appearance.cast_shadows).view(-1, 1)[seen.pixel]
    # The heads over the background, with soft outlines.
    canvas = behind.permute(0, 2, 3, 1).contiguous()
    canvas.view(-1, 3)[seen.pixel] = lit.clamp(0, 1)
    images = _smooth_outlines(canvas.permute(0, 3, 1, 2), depth, grid)
    hairy = torch.zeros_like(depth, dtype=torch.bool)
    hairy.view(-1)[seen.pixel] = seen.hair
    images = shoulders(images, landmarks[:, 8, :2], grid, rng.stream("clothes"), hairy, appearance.clothes)
    images = glasses(images, depth, landmarks, rng.stream("glasses"), appearance.glasses)
    return occlude(images, grid, rng.stream("occluders"), appearance)


def _canvas(seen: Surface, values: Float[Tensor, "n c"], grid: Grid, batch: int, empty: float) -> Tensor:
    """Packed values as pictures ``[b, h, w, c]``; `empty` where there is no head."""
    canvas = values.new_full((batch, grid.height, grid.width, values.shape[1]), empty)
    canvas.view(-1, values.shape[1])[seen.pixel] = values
    return canvas


def _smooth_outlines(images: Image, depth: Float[Tensor, "b h w"], grid: Grid) -> Image:
    """Pixels beside a jump in depth are mixed with their neighbours, as a lens does; others stay as they are."""
    near = F.pad(depth.clamp(max=4 * grid.side)[:, None], (1, 1, 1, 1), mode="replicate")
    jump = F.max_pool2d(near, 3, 1) + F.max_pool2d(-near, 3, 1)
    edge = (jump > 0.08 * grid.side * FACE_SIZE).float()
    mixed = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.lerp(images, mixed, 0.7 * edge)


# ------------------------------------------------------------------------------------------------ what is seen


def _surface(
    fragments: Fragments,
    vertices: Vertices,
    face: MorphableFace,
    hair: Hair,
    camera: Similarity,
    grid: Grid,
    rng: Rng,
    appearance: Appearance,
    painted: Float[Tensor, "b v 3"] | None,
) -> Surface:
    """Colour, normal and gloss of the nearest fragments; strands run down the hair, haircuts of cards lie over all."""
    count = len(face.mean)
    hair = hair._replace(cloth=hair.cloth[:, :count])
    colours, tint = albedo(face, hair, rng, appearance) if painted is None else (painted[:, :count], None)
    normals = vertex_normals(vertices[:, :count], face.triangles)
    region = {
        name: face.regions.get(name, torch.zeros(count, device=rng.device)) for name in ("hair", "sclera", "iris")
    }
    strands = rng.stream("strands")
    rough = 0.03 + strands.uniform(0.1, 0.6, 1) * region["hair"].sqrt() * (1 - 0.7 * hair.cloth)
    gloss = (1 - 0.7 * (region["hair"] > 0).float() + (region["sclera"] + region["iris"])).expand(rng.batch, -1)
    place = _strands(face).expand(rng.batch, -1, -1)
    attributes = torch.cat((colours, normals, rough[..., None], gloss[..., None], place), -1)
    # Attributes of the corners, mixed by the barycentric weights.
    number = fragments.sample[:, None] * count + face.triangles[fragments.triangle]
    corners = attributes.flatten(0, 1).index_select(0, number.flatten()).view(*number.shape, -1)
    colour, normal, rough, shiny, place = (fragments.weights[..., None] * corners).sum(1).split((3, 3, 1, 1, 2), -1)
    texture = strands.field(1, *STRANDS, 8, 120)[:, 0]
    row, column = (place * place.new_tensor(STRANDS)).long().unbind(-1)
    colour = colour * (1 + rough * texture[fragments.sample, row, column][:, None])
    shell = hair_triangles(face)[fragments.triangle]
    head = Surface(
        fragments.pixel, fragments.sample, fragments.depth, colour, F.normalize(normal, dim=-1), shiny[:, 0], shell
    )
    cut = [] if tint is None else cards(hair, face, camera, (grid.height, grid.width), tint)
    return _nearer(head, cut, rng.batch * grid.height * grid.width)


def _nearer(head: Surface, cut: list[Cards], pixels: int) -> Surface:
    """The head with haircuts of cards before it, where they are nearer."""
    if not cut:
        return head
    pixel, sample, depth, colour, normal = (torch.cat(part) for part in zip(*cut, strict=True))
    behind = depth.new_full((pixels,), math.inf)
    behind[head.pixel] = head.depth
    front = (depth < behind[pixel]).nonzero()[:, 0]
    covered = torch.zeros(pixels, dtype=torch.bool, device=depth.device)
    covered[pixel[front]] = True
    rest = (~covered[head.pixel]).nonzero()[:, 0]
    hair = Surface(pixel, sample, depth, colour, normal, torch.full_like(depth, 0.3), torch.ones_like(pixel) > 0)
    return Surface(*(torch.cat((old[rest], new[front])) for old, new in zip(head, hair, strict=True)))


STRANDS = (32, 256)
"""Texture of the hair: heights and directions round the head."""


def _strands(face: MorphableFace) -> Float[Tensor, "v 2"]:
    """Where the mean's vertices lie in the texture of the hair, in [0, 1): height, and angle round the head's axis."""
    x, y, z = face.mean.unbind(-1)
    angle = torch.atan2(x, z - face.mean[face.landmarks, 2].mean() + face.interocular)
    return torch.stack(((y - y.min()) / (y.max() - y.min()), angle.abs() / math.pi), -1).clamp(0, 0.9999)


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
    points = vertices.permute(1, 2, 0).flatten(1)
    a, b, c = (points.index_select(0, corner).unflatten(1, (3, batch)) for corner in triangles.T)
    (ux, uy, uz), (vx, vy, vz) = (b - a).unbind(1), (c - a).unbind(1)
    cross = torch.stack((uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx), 1).flatten(1)
    x, y, z = torch.sparse.mm(incidence, cross).unflatten(1, (3, batch)).unbind(1)
    return (torch.stack((x, y, z), 1) * (x * x + y * y + z * z + 1e-20).rsqrt()[:, None]).permute(2, 0, 1)


# ------------------------------------------------------------------------------------------------ the light on it


def lights(
    seen: Surface, depth: Float[Tensor, "b h w"], rng: Rng, appearance: Appearance, grid: Grid
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Light that falls on the surface, and what shines: a sky, up to three lights, or light from all round.

    Shadows, and the spread of light under the skin, are made in the picture: from its depths (screen space).
    """
    stream, sample = rng.stream("light"), seen.sample
    hard = stream.bernoulli(appearance.hard_light, 1)
    soft = stream.bernoulli(appearance.soft_light, 1) * (1 - hard)
    # A sky, brighter from above: y points down.
    sky = stream.uniform(0.25, 0.7, 1) * (1 - hard * stream.uniform(0.4, 0.9, 1)) * whiteness(stream)
    light = sky[sample] * (1 - 0.25 * seen.normal[:, 1:2])
    light = torch.lerp(light, surround(seen, rng.stream("surround")), soft[sample])
    shine = torch.zeros_like(light)
    shiny, sharp = 0.3 * stream.uniform01(1) ** 2, stream.uniform(10, 60, 1)
    for number in range(3):
        lamp = _lamp(rng.stream(f"lamp {number}"), hard, soft, first=number == 0)
        falls = _facing(seen, lamp)
        if number == 0:
            strength = rng.stream("shadow").uniform(0.3, 1, 1) * appearance.shadows
            shade = thrown_shadow(seen, depth, lamp.direction, grid)
            falls = falls * (1 - strength[sample] * shade[:, None])
        light = light + lamp.colour[sample] * falls
        halfway = F.normalize(lamp.direction + lamp.direction.new_tensor([0.0, 0.0, -1.0]), dim=-1)
        mirror = (seen.normal * halfway[sample]).sum(-1, keepdim=True).clamp(min=0) ** sharp[sample]
        shine = shine + (lamp.colour * shiny)[sample] * falls.sign() * mirror
    light = light * (1 - 0.7 * appearance.shadows * hollows(seen, depth, grid)[:, None])
    return scattered(light, seen, rng.stream("softness"), appearance, grid), shine * seen.gloss[:, None]


class Lamp(NamedTuple):
    """Far away: unit vector ``[b, 3]`` towards it in the voxel frame, colour ``[b, 3]``, softness ``[b, 1]``."""

    direction: Float[Tensor, "b 3"]
    colour: Float[Tensor, "b 3"]
    wrap: Float[Tensor, "b 1"]


def _lamp(rng: Rng, hard: Float[Tensor, "b 1"], soft: Float[Tensor, "b 1"], first: bool) -> Lamp:
    """Mostly from above and the front; a hard picture's first light is strong, from anywhere before the head."""
    spread, mainly = (torch.tensor(v, device=rng.device) for v in ([1.0, 0.7, 0.7], [0.0, -0.5, -1.0]))
    direction = F.normalize(rng.normal(3) * spread * (1 + 1.5 * hard * first) + mainly, dim=-1)
    strength = rng.uniform(0.15, 0.9, 1) * (1 - 0.6 * soft)
    strength = strength + 0.5 * hard if first else strength * rng.bernoulli(0.4, 1) * (1 - 0.7 * hard)
    return Lamp(direction, strength * whiteness(rng), rng.uniform(0, 0.4, 1))


def whiteness(rng: Rng, *shape: int) -> Float[Tensor, "b *n 3"]:
    """Colours of lights: white, warmer or cooler, with a little of anything."""
    warmth = rng.uniform(-0.06, 0.1, *shape, 1) * torch.tensor([1.0, 0.1, -1.0], device=rng.device)
    return 1 + warmth + 0.02 * rng.normal(*shape, 3)


def _facing(seen: Surface, lamp: Lamp) -> Float[Tensor, "n 1"]:
    """Lambert's cosine, with light that wraps round a little."""
    wrap = lamp.wrap[seen.sample]
    cosine = (seen.normal * lamp.direction[seen.sample]).sum(-1, keepdim=True)
    return ((cosine + wrap) / (1 + wrap)).clamp(min=0)


def surround(seen: Surface, rng: Rng, sources: int = 4) -> Float[Tensor, "n 3"]:
    """Diffuse light from soft sources all round, as spherical harmonics of degree 2.

    A distant source in direction s lights a surface with normal n by their clamped cosine, which is nearly the sum of
    A_l Y_lm(s) Y_lm(n) with A = pi, 2 pi / 3, pi / 4 (Ramamoorthi and Hanrahan, "An Efficient Representation for
    Irradiance Environment Maps", SIGGRAPH 2001).
    """
    above = torch.tensor([0.0, -0.4, -0.4], device=rng.device)
    directions = F.normalize(rng.normal(sources, 3) + above, dim=-1)  # [b, s, 3]
    strength = rng.uniform(0.1, 1, sources, 1)
    strength = strength / strength.sum(1, keepdim=True) * rng.uniform(1.2, 2.4, 1, 1)
    colours = strength * whiteness(rng, sources)
    coefficients = (harmonics(directions)[..., None] * colours[:, :, None]).sum(1)  # [b, 9, 3]
    ambient = rng.uniform(0.05, 0.35, 1)
    light = torch.einsum("nk,nkc->nc", harmonics(seen.normal), coefficients[seen.sample])
    return ambient[seen.sample] + light.clamp(min=0)


def harmonics(directions: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 9"]:
    """The nine real spherical harmonics up to degree 2, each times the root of its share of a clamped cosine."""
    x, y, z = directions.unbind(-1)
    one = torch.full_like(x, 0.5)
    linear = [axis * (1 / 2) ** 0.5 for axis in (y, z, x)]
    square = [15**0.5 / 4 * p for p in (x * y, y * z, x * z)]
    square += [5**0.5 / 8 * (3 * z * z - 1), 15**0.5 / 8 * (x * x - y * y)]
    return torch.stack([one, *linear, *square], -1)


MARCH = (0.03, 0.06, 0.1, 0.15, 0.21, 0.28, 0.36, 0.45, 0.56, 0.7)
"""How far a ray is followed towards the light, in sizes of the face."""


def thrown_shadow(
    seen: Surface, depth: Float[Tensor, "b h w"], direction: Float[Tensor, "b 3"], grid: Grid
) -> Float[Tensor, " n"]:
    """How much of the light is hidden by what the picture shows: a ray from each pixel, followed towards the light."""
    height, width = depth.shape[1:]
    size, hidden = grid.side * FACE_SIZE, torch.zeros_like(seen.depth)
    row, column = (seen.pixel // width) % height, seen.pixel % width
    dx, dy, dz = direction[seen.sample].unbind(-1)
    for step in MARCH:
        x = (column + step * size * dx).round().long().clamp(0, width - 1)
        y = (row + step * size * dy).round().long().clamp(0, height - 1)
        before = seen.depth + step * size * dz - depth.view(-1)[(seen.sample * height + y) * width + x]
        # Hidden by what is nearer to the viewer than the ray, but not by what is far before it.
        reach = before / (0.04 * size) - 0.5
        hidden = torch.maximum(hidden, reach.clamp(0, 1) * (before < 0.6 * size))
    return hidden


def hollows(seen: Surface, depth: Float[Tensor, "b h w"], grid: Grid) -> Float[Tensor, " n"]:
    """0 to 1: how much deeper a pixel lies than its surroundings, where less light comes (eye hollows, under hair)."""
    size = grid.side * FACE_SIZE
    smooth = _spread(seen, seen.depth[:, None], torch.full_like(depth[:, 0, 0], 0.06 * size), grid)
    return ((seen.depth - smooth[:, 0]) / (0.12 * size)).clamp(0, 1)


def scattered(
    light: Float[Tensor, "n 3"], seen: Surface, rng: Rng, appearance: Appearance, grid: Grid
) -> Float[Tensor, "n 3"]:
    """Light after it went through the skin: blurred, red farther than green and blue; hair keeps its own."""
    sigma = rng.uniform(0.3, 1) * appearance.softness * grid.side / 192
    soft = _spread(seen, light, sigma, grid)
    share = light.new_tensor([1.0, 0.6, 0.4]) * (~seen.hair).float()[:, None] * min(1.0, appearance.softness)
    return torch.lerp(light, soft, share)


def _spread(seen: Surface, values: Float[Tensor, "n c"], sigma: Float[Tensor, " b"], grid: Grid) -> Tensor:
    """Packed values ``[n, c]`` blurred over the head's own pixels, the background left out; sigma in pixels."""
    both = torch.cat((values, torch.ones_like(values[:, :1])), 1)
    canvas = _canvas(seen, both, grid, len(sigma), 0.0).permute(0, 3, 1, 2)
    wide = blurred(canvas, sigma, radius=max(1, math.ceil(2 * float(sigma.max()))))
    picked = wide.permute(0, 2, 3, 1).reshape(-1, both.shape[1])[seen.pixel]
    return picked[:, :-1] / picked[:, -1:].clamp(min=1e-6)
