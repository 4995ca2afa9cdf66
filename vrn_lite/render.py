"""The image reduction of fragments: appearance, light, background, occluders and the photograph's own faults.

Nothing here aims at a beautiful picture. The network must not be able to rely on anything that a real photograph
might lack, so that everything but the geometry is drawn at random (domain randomisation).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from jaxtyping import Float
from skimage.transform import resize
from skimage.util import img_as_float32
from torch import Tensor

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, Image, Vertices
from vrn_lite.raster import Fragments

WAVES = 24
"""Smooth noise on a face is a random mixture of this many plane waves through the mean face."""

TEXTURES = "brick chelsea coffee coins grass gravel moon page rocket text retina immunohistochemistry hubble_deep_field".split()
"""Photographs without a face that scikit-image carries."""


@dataclass(frozen=True)
class Dice:
    """Random numbers of a batch: shape, pose and light from a CPU generator, dense noise from the device's own.

    The dense generator is seeded from the CPU one, so that one seed fixes everything on one device.
    """

    generator: torch.Generator
    dense: torch.Generator
    batch: int
    device: torch.device

    @staticmethod
    def of(generator: torch.Generator, batch: int, device: torch.device | str) -> "Dice":
        """Dice for `batch` samples on `device`."""
        seed = int(torch.randint(2**62, (), generator=generator))
        return Dice(generator, torch.Generator(device).manual_seed(seed), batch, torch.device(device))

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """``[b, *shape]`` uniform between `low` and `high`."""
        return (low + (high - low) * torch.rand(self.batch, *shape, generator=self.generator)).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """``[b, *shape]`` standard normal."""
        return torch.randn(self.batch, *shape, generator=self.generator).to(self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """``[b, *shape]`` of 0 and 1, 1 with the given probability."""
        return (torch.rand(self.batch, *shape, generator=self.generator) < probability).float().to(self.device)

    def pick(self, colours: list[tuple[float, float, float]], spread: float) -> Float[Tensor, "b 3"]:
        """A colour from a list, blended with a second one and jittered."""
        table = torch.tensor(colours)
        a, b = (table[torch.randint(len(table), (self.batch,), generator=self.generator)].to(self.device) for _ in range(2))
        mixed = torch.lerp(a, b, self.uniform(0, 1, 1)) * self.uniform(1 - spread, 1 + spread, 1)
        return (mixed + spread / 3 * self.normal(3)).clamp(0, 1)

    def field(self, channels: int, height: int, width: int, cells: int, across: int | None = None) -> Float[Tensor, "b c h w"]:
        """Smooth noise in about -1 to 1 with `cells` bumps along the height and `across` (else as many) along the width."""
        size = (self.batch, channels, cells + 3, (across or cells) + 3)
        coarse = torch.rand(size, generator=self.dense, device=self.device) * 2 - 1
        return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def _palette(text: str) -> list[tuple[float, float, float]]:
    """Colours from hexadecimal digits, two a channel."""
    return [(int(code[:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:], 16) / 255) for code in text.split()]


SKIN = _palette("fadbc4 edc2a6 d9a685 b88563 8c6145 61402e 40291f")
HAIR = _palette("0d0a08 291a12 543824 8c6138 cca86b 8c8c8c e6e6e0 802e14")
IRIS = _palette("331f12 59381a 59738c 4d6b47 1a120f")
LIPS = _palette("b86b66 99524d cc3340 734038 d98c85")
CLOTH = _palette("1a1a1f e6e6e6 334080 991a1a e6801a 4d804d ccb380 804d80")


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


def cast_shadow(grid: Grid, dice: Dice) -> Float[Tensor, "b h w"]:
    """Light that is left where something outside the picture throws a shadow with a more or less hard edge."""
    field = dice.field(1, grid.height, grid.width, 2)[:, 0] + dice.uniform(-0.6, 0.6, 1, 1)
    shade = torch.sigmoid(field * dice.uniform(3, 40, 1, 1))
    return 1 - dice.chance(0.3, 1, 1) * dice.uniform(0.2, 0.7, 1, 1) * shade


@lru_cache(maxsize=1)
def textures(side: int = 256) -> Float[Tensor, "k 3 s s"]:
    """The photographs of `TEXTURES` as float images of one size."""
    images = []
    for name in TEXTURES:
        image = img_as_float32(getattr(skimage.data, name)())
        image = np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image[..., :3]
        images.append(resize(image, (side, side), anti_aliasing=True).transpose(2, 0, 1))
    return torch.tensor(np.stack(images), dtype=torch.float32)


def background(grid: Grid, dice: Dice) -> Image:
    """Random surroundings: smooth and rough noise, or a random window of a photograph."""
    b, h, w = dice.batch, grid.height, grid.width
    base = dice.uniform(0, 1, 3, 1, 1)
    noise = base + dice.uniform(0.05, 0.5, 1, 1, 1) * dice.field(3, h, w, 3) + dice.uniform(0, 0.3, 1, 1, 1) * dice.field(3, h, w, 12)
    bank = textures().to(dice.device)
    which = torch.randint(len(bank), (b,), generator=dice.generator).to(dice.device)
    zoom, angle = dice.uniform(0.15, 0.9), dice.uniform(-0.5, 0.5)
    shift = dice.uniform(-1, 1, 2) * (1 - zoom)[:, None]
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), -1).reshape(b, 2, 2) * zoom[:, None, None]
    where = F.affine_grid(torch.cat((turn, shift[..., None]), -1), [b, 3, h, w], align_corners=False)
    photo = F.grid_sample(bank[which], where, padding_mode="reflection", align_corners=False)
    photo = photo * dice.uniform(0.5, 1.2, 3, 1, 1) + dice.uniform(-0.2, 0.2, 1, 1, 1)
    both = dice.field(1, h, w, 4) + dice.uniform(-1.2, 1.2, 1, 1, 1) > 0  # clutter: parts of each
    return torch.where(both, photo, noise).clamp_(0, 1)


def pixel_grid(grid: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """x ``[1, w]`` and y ``[h, 1]`` of the pixel centres."""
    return torch.arange(grid.width, device=device)[None] + 0.5, torch.arange(grid.height, device=device)[:, None] + 0.5


def shoulders(images: Image, chin: Float[Tensor, "b 2"], grid: Grid, dice: Dice) -> Image:
    """Clothes painted behind the head, below the chin (points in pixels)."""
    x, y = pixel_grid(grid, dice.device)
    size = grid.side * 90 / 192
    fall = dice.uniform(0.15, 0.8)[:, None, None]
    top = chin[:, 1, None, None] + size * dice.uniform(0.15, 0.5)[:, None, None]
    inside = y[None] > top + fall * (x[None] - chin[:, :1, None]).abs().pow(1.5) / size**0.5
    cloth = dice.pick(CLOTH, 0.2)[:, :, None, None] * (1 + 0.25 * dice.field(3, grid.height, grid.width, 6))
    worn = inside[:, None] & (dice.chance(0.8, 1, 1, 1) > 0)
    return torch.where(worn, cloth.clamp(0, 1), images)


def occlude(images: Image, grid: Grid, dice: Dice) -> Image:
    """Up to two blobs before the face: hands, cups, other people's shoulders; sharp-edged, of any colour."""
    x, y = pixel_grid(grid, dice.device)
    for _ in range(2):
        here = dice.chance(0.15, 1, 1)
        u0, v0 = dice.uniform(0.1, 0.9, 2).mul(grid.side)[:, :, None, None].unbind(1)
        radius, flat, angle = dice.uniform(0.03, 0.22, 1, 1) * grid.side, dice.uniform(0.25, 1, 1, 1), dice.uniform(0, 3.14, 1, 1)
        u = (x - u0) * angle.cos() + (y - v0) * angle.sin()
        v = ((y - v0) * angle.cos() - (x - u0) * angle.sin()) / flat
        bumps = 1 + 0.4 * dice.field(1, grid.height, grid.width, 5)[:, 0]
        cover = here * (u**2 + v**2 < (radius * bumps) ** 2)
        colour = torch.where(dice.chance(0.5, 1) > 0, dice.pick(SKIN, 0.2), dice.uniform(0, 1, 3))[:, :, None, None]
        paint = colour * (1 + 0.3 * dice.field(1, grid.height, grid.width, 4))
        images = torch.lerp(images, paint.clamp(0, 1), cover[:, None])
    return images


def photograph(images: Image, dice: Dice) -> Image:
    """What a camera does: gain per channel (paper section 3.4: 0.6 to 1.4; milder in every second image), contrast, blur, grey, low resolution, noise."""
    gain = 1 + dice.uniform(-0.4, 0.4, 3, 1, 1) * torch.where(dice.chance(0.5, 1, 1, 1) > 0, 1.0, 0.3)
    images = (images * gain).clamp(1e-4, 1) ** torch.exp(dice.uniform(-0.4, 0.4, 1, 1, 1))
    grey = images.mean(1, keepdim=True) * (1 + dice.chance(0.3, 1, 1, 1) * torch.tensor([0.1, 0.0, -0.15], device=dice.device)[:, None, None])
    images = torch.lerp(images, grey.expand_as(images), dice.chance(0.15, 1, 1, 1) * dice.uniform(0.7, 1, 1, 1, 1))
    images = _blurred(images, dice.chance(0.4) * dice.uniform(0, 1.6) * images.shape[-1] / 192)
    noise = torch.randn(images.shape, generator=dice.dense, device=dice.device)
    return (images + dice.uniform(0, 0.05, 1, 1, 1) * dice.chance(0.6, 1, 1, 1) * noise).clamp_(0, 1)


def _blurred(images: Image, sigma: Float[Tensor, " b"], radius: int = 4) -> Image:
    """Gaussian blur with one sigma (pixels) per image."""
    b, c, h, w = images.shape
    offset = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.softmax(-0.5 * (offset / sigma[:, None].clamp(min=0.05)) ** 2, -1).repeat_interleave(c, 0)
    flat = F.pad(images.reshape(1, b * c, h, w), (radius, radius, radius, radius), mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=b * c)
    return F.conv2d(flat, kernel[:, None, None, :], groups=b * c).reshape(b, c, h, w)


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
