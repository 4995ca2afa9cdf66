"""What surrounds the head: what is behind it, clothes below it, and shadows of things outside the picture."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from skimage.transform import resize
from skimage.util import img_as_float32
from torch import Tensor

from vrn_lite.frame import FACE_SIZE, Grid, Image
from vrn_lite.synth.appearance import CLOTH, SKIN, Appearance, Rng, palette
from vrn_lite.synth.degradations import Change, low_resolution, on_some, pixels, turned

TEXTURES = "brick chelsea coffee coins grass gravel moon page rocket text retina hubble_deep_field".split()
"""Photographs without a face that scikit-image carries."""


SKY = palette("9fc3e8 c9d9e8 e8ebee 7fa8d8 f0e0cc")
LAND = palette("4f6136 6b7a4a 8a8468 56504a 7d8a90 a89878 39452f")


def muted(rng: Rng) -> Float[Tensor, "b 3"]:
    """A colour of things: any hue, mostly pale; every third one like skin or wood."""
    colour = rng.uniform(0, 1, 3)
    colour = torch.lerp(colour, colour.mean(1, keepdim=True), rng.uniform(0.5, 1, 1))
    return torch.where(rng.bernoulli(0.35, 1) > 0, rng.colour(SKIN, 0.15), colour)


def cast_shadow(grid: Grid, rng: Rng, share: float) -> Float[Tensor, "b h w"]:
    """Light that is left where something outside the picture throws a shadow with a more or less hard edge."""
    field = rng.field(1, grid.height, grid.width, 2)[:, 0] + rng.uniform(-0.6, 0.6, 1, 1)
    shade = torch.sigmoid(field * rng.uniform(3, 40, 1, 1))
    return 1 - rng.bernoulli(share, 1, 1) * rng.uniform(0.2, 0.7, 1, 1) * shade


@lru_cache(maxsize=1)
def textures(side: int = 256) -> Float[Tensor, "k 3 s s"]:
    """The photographs of `TEXTURES` as float images of one size."""
    images = []
    for name in TEXTURES:
        image = img_as_float32(getattr(skimage.data, name)())
        image = np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image[..., :3]
        images.append(resize(image, (side, side), anti_aliasing=True).transpose(2, 0, 1))
    return torch.tensor(np.stack(images), dtype=torch.float32)


@lru_cache(maxsize=4)
def _bank(device: torch.device) -> Float[Tensor, "k 3 s s"]:
    return textures().to(device)


def background(grid: Grid, rng: Rng, appearance: Appearance) -> Image:
    """A wall, lit unevenly, and over it `LAYERS`."""
    h, w = grid.height, grid.width
    wall = rng.stream("wall")
    images = muted(wall)[:, :, None, None] + wall.uniform(0, 0.25, 1, 1, 1) * wall.field(1, h, w, 1)
    for layer in LAYERS:
        for number in range(layer.times):
            stream = rng.stream(f"{layer.change.__name__} {number}")
            images = on_some(images, stream, layer.share * appearance.surroundings, layer.change)
    return images.clamp_(0, 1)


def _outdoors(images: Image, rng: Rng) -> Image:
    """Sky, hills or leaves, ground: three bands with rough edges."""
    h, w = images.shape[-2:]
    _, y = pixels(images)
    height = y / h + 0.15 * rng.field(1, h, w, 4) + 0.05 * rng.field(1, h, w, 16)
    sky = torch.lerp(rng.colour(SKY, 0.1)[:, :, None, None], images.new_ones(1), 0.5 * (y / h))
    far, near = (rng.colour(LAND, 0.15)[:, :, None, None] * (1 + 0.2 * rng.field(1, h, w, 20)) for _ in range(2))
    edge = rng.uniform(0.1, 0.9, 1, 1, 1)
    land = torch.where(height > edge + rng.uniform(0.1, 0.6, 1, 1, 1), near, far)
    return torch.where(height > edge, land, sky)


def _clouds(images: Image, rng: Rng) -> Image:
    """Smooth and rough patches of paler or stronger colour."""
    h, w = images.shape[-2:]
    smooth = rng.field(3, h, w, 3)
    smooth = torch.lerp(smooth, smooth.mean(1, keepdim=True), rng.uniform(0.4, 1, 1, 1, 1))
    rough = rng.uniform(-0.2, 0.2, 1, 1, 1).relu() * rng.field(1, h, w, 12)
    return images + rng.uniform(0, 0.35, 1, 1, 1) * smooth + rough


def _photo(images: Image, rng: Rng) -> Image:
    """Parts of the image replaced by a random, turned window of a photograph."""
    b, _, h, w = images.shape
    which = rng.index(len(TEXTURES))
    zoom, angle = rng.uniform(0.15, 0.9), rng.uniform(-0.5, 0.5)
    shift = rng.uniform(-1, 1, 2) * (1 - zoom)[:, None]
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), -1).reshape(b, 2, 2) * zoom[:, None, None]
    where = F.affine_grid(torch.cat((turn, shift[..., None]), -1), [b, 3, h, w], align_corners=False)
    photo = F.grid_sample(_bank(rng.device)[which], where, padding_mode="reflection", align_corners=False)
    photo = torch.lerp(photo, photo.mean(1, keepdim=True), rng.uniform(0, 0.8, 1, 1, 1))
    photo = photo * rng.uniform(0.5, 1.2, 1, 1, 1) * rng.uniform(0.8, 1.2, 3, 1, 1) + rng.uniform(-0.2, 0.2, 1, 1, 1)
    return torch.where(rng.field(1, h, w, 3) + rng.uniform(-0.3, 1.2, 1, 1, 1) > 0, photo, images)


def _panes(images: Image, rng: Rng) -> Image:
    """Rectangles side by side, as of windows, shelves and books, over a part of the image."""
    h, w = images.shape[-2:]
    rows, columns = (int(torch.randint(low, high, (), generator=rng.generator)) for low, high in ((1, 5), (2, 16)))
    cells = rng.dense_uniform01(3, rows, columns)
    cells = muted(rng)[:, :, None, None] + torch.lerp(cells, cells.mean(1, keepdim=True), 0.6) - 0.5
    edge = rng.uniform(0, 0.8, 1, 1, 1) * w
    x, _ = pixels(images)
    return torch.where(
        (x > edge) == (rng.bernoulli(0.5, 1, 1, 1) > 0), F.interpolate(cells, (h, w), mode="nearest"), images
    )


def _thing(images: Image, rng: Rng) -> Image:
    """A box or an oval somewhere, shaded towards its rim: furniture, frames, hands, other heads."""
    x, y = pixels(images)
    place, size = rng.uniform(-0.1, 1.1, 2, 1, 1), rng.uniform(0.05, 0.45, 2, 1, 1)
    u, v = turned(x - place[:, 0] * images.shape[-1], y - place[:, 1] * images.shape[-2], rng.uniform(-0.4, 0.4, 1, 1))
    u, v = u / (size[:, 0] * images.shape[-1]), v / (size[:, 1] * images.shape[-2])
    reach = torch.where(rng.bernoulli(0.5, 1, 1) > 0, torch.maximum(u.abs(), v.abs()), u * u + v * v)
    light = 1 + rng.uniform(-0.4, 0.2, 1, 1) * reach + rng.uniform(-0.4, 0.4, 1, 1) * u
    return torch.where((reach < 1)[:, None], muted(rng)[:, :, None, None] * light[:, None], images)


def _lights(images: Image, rng: Rng) -> Image:
    """Lamps far out of focus: a few bright discs."""
    x, y = pixels(images)
    radius, glow = rng.uniform(0.02, 0.07, 1, 1) * images.shape[-1], rng.uniform(0.2, 0.8, 3)[:, :, None, None]
    for place in rng.uniform(0, 1, 5, 2, 1, 1).unbind(1):
        disc = (radius**2 - (x - place[:, 0] * images.shape[-1]) ** 2 - (y - place[:, 1] * images.shape[-2]) ** 2) > 0
        images = images + glow * disc[:, None]
    return images


def _defocus(images: Image, rng: Rng) -> Image:
    return low_resolution(images, rng, 3, 12)


class Layer(NamedTuple):
    """Something behind the head, the share of images that have it, and how often it is tried."""

    share: float
    change: Change
    times: int = 1


LAYERS = (
    Layer(0.5, _clouds),
    Layer(0.3, _outdoors),
    Layer(0.45, _photo),
    Layer(0.2, _panes),
    Layer(0.25, _thing, 4),
    Layer(0.1, _lights),
    Layer(0.65, _defocus),
)
"""From far to near; the lens comes last."""


def shoulders(
    images: Image,
    chin: Float[Tensor, "b 2"],
    grid: Grid,
    rng: Rng,
    hair: Bool[Tensor, "b h w"] | None = None,
    share: float = 1.0,
) -> Image:
    """Clothes over the neck: a coat with an opening, often a shirt within; bare now and then.

    They begin below the chin (points in pixels). The body leans as the head does, more or less: the chin's place below
    the image's centre tells how. Pixels of `hair` fall over the clothes.
    `share` scales how often there are any.
    """
    x, y = pixels(images)
    centre, size = torch.tensor([grid.width / 2, grid.height / 2], device=rng.device), grid.side * FACE_SIZE
    aside, below = (chin - centre)[:, :, None, None].unbind(1)
    lean = (-aside / below.clamp(min=0.3 * size)).clamp(-0.5, 0.5) * rng.uniform(0, 1, 1, 1)
    middle = chin[:, 0, None, None] - aside * rng.uniform(-0.3, 0.8, 1, 1)
    u, v = turned(x - middle, y - chin[:, 1, None, None] - rng.uniform(0.05, 0.35, 1, 1) * size, lean)
    across, v, neck = u.abs() / size, v / size, rng.uniform(0.25, 0.5, 1, 1)
    fall = rng.uniform(0.1, 0.7, 1, 1) * (across - neck).relu() + 2 * (across - rng.uniform(0.9, 1.6, 1, 1)).relu()
    opening, depth = (1 - (across / neck) ** 2).relu(), rng.uniform(0, 0.25, 1, 1)
    opening = torch.where(rng.bernoulli(0.5, 1, 1) > 0, opening, (1 - across / neck).relu())  # round, or like a V
    for worn, deeper in ((0.5, 0.0), (0.85, 0.9)):
        inside = (v > fall + (depth + rng.uniform(0, deeper, 1, 1)) * opening) & (rng.bernoulli(share * worn, 1, 1) > 0)
        inside = inside if hair is None else inside & ~hair
        images = torch.where(inside[:, None], _cloth(u / size, v, rng), images)
    return images


def _cloth(u: Float[Tensor, "b h w"], v: Float[Tensor, "b h w"], rng: Rng) -> Image:
    """Plain, striped or checked cloth with folds."""
    one, other = rng.colour(CLOTH, 0.2)[:, :, None, None], rng.colour(CLOTH, 0.2)[:, :, None, None]
    u, v = turned(u, v, rng.uniform(-0.8, 0.8, 1, 1))
    often = rng.uniform(3, 14, 1, 1)
    bands = ((u * often) % 1 < 0.5) ^ (((v * often) % 1 < 0.5) & (rng.bernoulli(0.5, 1, 1) > 0))
    pattern = rng.bernoulli(0.3, 1, 1) * rng.uniform(0.1, 0.8, 1, 1) * bands
    h, w = u.shape[-2:]
    folds = 1 + 0.25 * rng.field(1, h, w, 7) + 0.1 * rng.field(1, h, w, 30)
    return (torch.lerp(one.expand(-1, -1, h, w), other, pattern[:, None]) * folds).clamp_(0, 1)
