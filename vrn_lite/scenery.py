"""All of a picture but the head: background, clothes, cast shadow, and what stands before the face.

Rare things are drawn only into the samples that have them (`on_some`), so that variety costs little time.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from skimage.transform import resize
from skimage.util import img_as_float32
from torch import Tensor

from vrn_lite.camera_faults import low_resolution, on_some, pixels, turned
from vrn_lite.dice import CLOTH, SKIN, Dice
from vrn_lite.frame import FACE_SIZE, Grid, Image

Segments = tuple[Float[Tensor, "b k 2"], Float[Tensor, "b k 2"], Float[Tensor, "b k"]]  # from, to, radius; pixels
Outline = Callable[[Grid, Dice], Segments]

TEXTURES = "brick chelsea coffee coins grass gravel moon page rocket text retina immunohistochemistry hubble_deep_field".split()
"""Photographs without a face that scikit-image carries."""


def muted(dice: Dice) -> Float[Tensor, "b 3"]:
    """A colour of things: any hue, mostly pale; every third one like skin or wood."""
    colour = dice.uniform(0, 1, 3)
    colour = torch.lerp(colour, colour.mean(1, keepdim=True), dice.uniform(0.2, 1, 1))
    return torch.where(dice.chance(0.35, 1) > 0, dice.pick(SKIN, 0.15), colour)


# ---------------------------------------------------------------------------------------------- behind the head


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


@lru_cache(maxsize=4)
def _bank(device: torch.device) -> Float[Tensor, "k 3 s s"]:
    return textures().to(device)


def background(grid: Grid, dice: Dice) -> Image:
    """Random surroundings: a wall, a window of a photograph, panes or books, with things before them, often out of focus."""
    h, w = grid.height, grid.width
    images = muted(dice)[:, :, None, None] + dice.uniform(0, 0.3, 1, 1, 1) * dice.field(1, h, w, 1)  # a wall, lit unevenly
    for share, layer in ((0.6, _clouds), (0.55, _photo), (0.25, _panes)) + ((0.5, _thing),) * 5 + ((0.15, _lights), (0.35, _defocus)):
        images = on_some(images, dice, share, layer)
    return images.clamp_(0, 1)


def _clouds(images: Image, dice: Dice) -> Image:
    """Smooth and rough patches of paler or stronger colour."""
    h, w = images.shape[-2:]
    smooth = dice.field(3, h, w, 3)
    smooth = torch.lerp(smooth, smooth.mean(1, keepdim=True), dice.uniform(0, 1, 1, 1, 1))
    return images + dice.uniform(0, 0.5, 1, 1, 1) * smooth + dice.uniform(-0.2, 0.25, 1, 1, 1).relu() * dice.field(3, h, w, 12)


def _photo(images: Image, dice: Dice) -> Image:
    """Parts of the image replaced by a random, turned window of a photograph."""
    b, _, h, w = images.shape
    which = torch.randint(len(TEXTURES), (b,), generator=dice.generator).to(dice.device)
    zoom, angle = dice.uniform(0.15, 0.9), dice.uniform(-0.5, 0.5)
    shift = dice.uniform(-1, 1, 2) * (1 - zoom)[:, None]
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), -1).reshape(b, 2, 2) * zoom[:, None, None]
    where = F.affine_grid(torch.cat((turn, shift[..., None]), -1), [b, 3, h, w], align_corners=False)
    photo = F.grid_sample(_bank(dice.device)[which], where, padding_mode="reflection", align_corners=False)
    photo = photo * dice.uniform(0.5, 1.2, 1, 1, 1) * dice.uniform(0.8, 1.2, 3, 1, 1) + dice.uniform(-0.2, 0.2, 1, 1, 1)
    return torch.where(dice.field(1, h, w, 3) + dice.uniform(-0.3, 1.2, 1, 1, 1) > 0, photo, images)


def _panes(images: Image, dice: Dice) -> Image:
    """Rectangles side by side, as of windows, shelves and books, over a part of the image."""
    h, w = images.shape[-2:]
    rows, columns = (int(torch.randint(low, high, (), generator=dice.generator)) for low, high in ((1, 5), (2, 16)))
    cells = torch.rand(dice.batch, 3, rows, columns, generator=dice.dense, device=dice.device)
    cells = muted(dice)[:, :, None, None] + torch.lerp(cells, cells.mean(1, keepdim=True), 0.6) - 0.5
    edge = dice.uniform(0, 0.8, 1, 1, 1) * w
    x, _ = pixels(images)
    return torch.where((x > edge) == (dice.chance(0.5, 1, 1, 1) > 0), F.interpolate(cells, (h, w), mode="nearest"), images)


def _thing(images: Image, dice: Dice) -> Image:
    """A box or an oval somewhere, shaded towards its rim: furniture, frames, hands, other heads."""
    x, y = pixels(images)
    place, size = dice.uniform(-0.1, 1.1, 2, 1, 1), dice.uniform(0.05, 0.45, 2, 1, 1)
    u, v = turned(x - place[:, 0] * images.shape[-1], y - place[:, 1] * images.shape[-2], dice.uniform(-0.4, 0.4, 1, 1))
    u, v = u / (size[:, 0] * images.shape[-1]), v / (size[:, 1] * images.shape[-2])
    reach = torch.where(dice.chance(0.5, 1, 1) > 0, torch.maximum(u.abs(), v.abs()), u * u + v * v)
    light = 1 + dice.uniform(-0.4, 0.2, 1, 1) * reach + dice.uniform(-0.4, 0.4, 1, 1) * u
    return torch.where((reach < 1)[:, None], muted(dice)[:, :, None, None] * light[:, None], images)


def _lights(images: Image, dice: Dice) -> Image:
    """Lamps far out of focus: a few bright discs."""
    x, y = pixels(images)
    radius, glow = dice.uniform(0.02, 0.07, 1, 1) * images.shape[-1], dice.uniform(0.2, 0.8, 3)[:, :, None, None]
    for place in dice.uniform(0, 1, 5, 2, 1, 1).unbind(1):
        disc = (radius**2 - (x - place[:, 0] * images.shape[-1]) ** 2 - (y - place[:, 1] * images.shape[-2]) ** 2) > 0
        images = images + glow * disc[:, None]
    return images


def _defocus(images: Image, dice: Dice) -> Image:
    return low_resolution(images, dice, 2, 8)


# ---------------------------------------------------------------------------------------- clothes and occluders


def shoulders(images: Image, chin: Float[Tensor, "b 2"], grid: Grid, dice: Dice, hair: Bool[Tensor, "b h w"] | None = None) -> Image:
    """Clothes over the neck, below the chin (points in pixels): a coat with an opening, often a shirt within; bare now and then.

    The body leans as the head does, more or less: the chin's place below the image's centre tells how. Pixels of `hair` fall over the clothes.
    """
    x, y = pixels(images)
    centre, size = torch.tensor([grid.width / 2, grid.height / 2], device=dice.device), grid.side * FACE_SIZE
    aside, below = (chin - centre)[:, :, None, None].unbind(1)
    lean = (-aside / below.clamp(min=0.3 * size)).clamp(-0.5, 0.5) * dice.uniform(0, 1, 1, 1)
    middle = chin[:, 0, None, None] - aside * dice.uniform(-0.3, 0.8, 1, 1)
    u, v = turned(x - middle, y - chin[:, 1, None, None] - dice.uniform(0.05, 0.35, 1, 1) * size, lean)
    across, v, neck = u.abs() / size, v / size, dice.uniform(0.25, 0.5, 1, 1)
    fall = dice.uniform(0.1, 0.7, 1, 1) * (across - neck).relu() + 2 * (across - dice.uniform(0.9, 1.6, 1, 1)).relu()
    opening, depth = (1 - (across / neck) ** 2).relu(), dice.uniform(0, 0.25, 1, 1)
    opening = torch.where(dice.chance(0.5, 1, 1) > 0, opening, (1 - across / neck).relu())  # round, or like a V
    for worn, deeper in ((0.5, 0.0), (0.85, 0.9)):
        inside = (v > fall + (depth + dice.uniform(0, deeper, 1, 1)) * opening) & (dice.chance(worn, 1, 1) > 0)
        inside = inside if hair is None else inside & ~hair
        images = torch.where(inside[:, None], _cloth(u / size, v, dice), images)
    return images


def _cloth(u: Float[Tensor, "b h w"], v: Float[Tensor, "b h w"], dice: Dice) -> Image:
    """Plain, striped or checked cloth with folds."""
    one, other = dice.pick(CLOTH, 0.2)[:, :, None, None], dice.pick(CLOTH, 0.2)[:, :, None, None]
    u, v = turned(u, v, dice.uniform(-0.8, 0.8, 1, 1))
    often = dice.uniform(3, 14, 1, 1)
    bands = ((u * often) % 1 < 0.5) ^ (((v * often) % 1 < 0.5) & (dice.chance(0.5, 1, 1) > 0))
    pattern = dice.chance(0.4, 1, 1) * dice.uniform(0.2, 1, 1, 1) * bands
    h, w = u.shape[-2:]
    folds = 1 + 0.25 * dice.field(1, h, w, 7) + 0.1 * dice.field(1, h, w, 30)
    return (torch.lerp(one.expand(-1, -1, h, w), other, pattern[:, None]) * folds).clamp_(0, 1)


def occlude(images: Image, grid: Grid, dice: Dice) -> Image:
    """In about 30 % of the images, something before the face: a hand, a microphone or cup, a strap, a mask, a smooth blob."""
    images = images.clone()
    for share, outline, colours in OCCLUDERS:
        images = on_some(images, dice, share, partial(_cover, outline=outline, colours=colours, grid=grid))
    return images


def _reach(x: Tensor, y: Tensor, segments: Segments) -> Float[Tensor, "b h w"]:
    """Squared distance to the nearest of rounded segments in units of its radius: below 1 inside."""
    reach = torch.full((1, y.shape[0], x.shape[1]), torch.inf, device=x.device)
    for start, end, radius in zip(*(part.unbind(1) for part in segments), strict=True):
        along_x, along_y = (end - start)[:, :, None, None].unbind(1)
        dx, dy = x - start[:, 0, None, None], y - start[:, 1, None, None]
        t = ((dx * along_x + dy * along_y) / (along_x**2 + along_y**2).clamp(min=1e-6)).clamp_(0, 1)
        reach = torch.minimum(reach, ((dx - t * along_x) ** 2 + (dy - t * along_y) ** 2) / radius.square()[:, None, None])
    return reach


def _cover(images: Image, dice: Dice, outline: Outline, colours: list[tuple[float, float, float]], grid: Grid) -> Image:
    """An outline painted over images, darker towards the rims of its segments."""
    x, y = pixels(images)
    reach = _reach(x, y, outline(grid, dice)) * (1 + dice.uniform(0, 0.5, 1, 1) * dice.field(1, grid.height, grid.width, 6)[:, 0])
    side = dice.uniform(-0.3, 0.3, 2, 1, 1)  # light from one side
    light = (1.1 - dice.uniform(0.1, 0.6, 1, 1) * reach) * (1 + side[:, 0] * (2 * x / grid.width - 1) + side[:, 1] * (2 * y / grid.height - 1))
    paint = dice.pick(colours, 0.2)[:, :, None, None] * light[:, None] * (1 + 0.15 * dice.field(1, grid.height, grid.width, 9))
    return torch.where((reach < 1)[:, None], paint.clamp_(0, 1), images)


def _heading(angle: Tensor) -> Float[Tensor, "*b 2"]:
    return torch.stack((angle.cos(), angle.sin()), -1)


def _spot(grid: Grid, dice: Dice) -> Float[Tensor, "b 1 2"]:
    """A place in the picture, mostly around mouth and chin."""
    return torch.tensor([grid.width, grid.height], device=dice.device) * (dice.uniform(0.1, 0.9, 1, 2) + torch.tensor([0, 0.1], device=dice.device))


def _hand(grid: Grid, dice: Dice) -> Segments:
    """A palm and two to four fingers, more or less spread, from any side."""
    palm, size, angle = _spot(grid, dice), dice.uniform(0.05, 0.13, 1) * grid.side, dice.uniform(-3.14, 3.14, 1)
    fan = dice.uniform(0.4, 1.3, 1) * torch.linspace(-0.5, 0.5, 4, device=dice.device)
    root = palm + size[..., None] * 0.75 * _heading(angle + 1.5 * fan)
    present = torch.cat((torch.ones_like(angle.expand(-1, 2)), dice.chance(0.6, 2)), 1)
    tip = root + (size * present * dice.uniform(0.7, 1.7, 4))[..., None] * _heading(angle + fan)
    wrist = palm - (size * dice.uniform(0.2, 3, 1))[..., None] * _heading(angle)
    return torch.cat((palm, root), 1), torch.cat((wrist, tip), 1), size * torch.tensor([0.75, 0.28, 0.3, 0.29, 0.25], device=dice.device)


def _stick(grid: Grid, dice: Dice) -> Segments:
    """A microphone, cup or spoon: a rod from below with a thicker head."""
    head, thick = _spot(grid, dice), dice.uniform(0.015, 0.05, 1) * grid.side
    foot = head + grid.side * _heading(dice.uniform(0.8, 2.3, 1))
    return torch.cat((head, head), 1), torch.cat((head + 0.02 * (foot - head), foot), 1), torch.cat((thick * dice.uniform(1, 2, 1), thick), 1)


def _strap(grid: Grid, dice: Dice) -> Segments:
    """A bar, strap or cable across the whole picture."""
    middle, along = _spot(grid, dice), 2 * grid.side * _heading(dice.uniform(0, 3.14, 1))
    return middle - along, middle + along, dice.uniform(0.006, 0.04, 1) * grid.side


def _mask(grid: Grid, dice: Dice) -> Segments:
    """A mask or scarf over mouth and chin, which lie below the middle of the picture."""
    middle = torch.tensor([0.5, 0.68], device=dice.device) * torch.tensor([grid.width, grid.height], device=dice.device) + 0.04 * grid.side * dice.normal(1, 2)
    along = dice.uniform(0.03, 0.15, 1)[..., None] * grid.side * _heading(dice.uniform(-0.4, 0.4, 1))
    return middle - along, middle + along, dice.uniform(0.1, 0.15, 1) * grid.side


def _blob(grid: Grid, dice: Dice) -> Segments:
    """Anything roundish anywhere."""
    middle = torch.tensor([grid.width, grid.height], device=dice.device) * dice.uniform(0, 1, 1, 2)
    return middle, middle + 0.15 * grid.side * dice.normal(1, 2), dice.uniform(0.02, 0.14, 1) * grid.side


OCCLUDERS: tuple[tuple[float, Outline, list[tuple[float, float, float]]], ...] = (
    (0.11, _hand, SKIN),
    (0.06, _stick, CLOTH),
    (0.04, _strap, CLOTH),
    (0.03, _mask, CLOTH),
    (0.05, _blob, SKIN),
    (0.05, _blob, CLOTH),
)
"""Share of images, outline, colours."""
