"""All of a picture but the head: background, clothes, cast shadow, what stands before the face, and the camera's own faults.

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

from vrn_lite.dice import CLOTH, SKIN, Dice
from vrn_lite.frame import FACE_SIZE, Grid, Image

Change = Callable[[Image, Dice], Image]
Segments = tuple[Float[Tensor, "b k 2"], Float[Tensor, "b k 2"], Float[Tensor, "b k"]]  # from, to, radius; pixels
Outline = Callable[[Grid, Dice], Segments]

TEXTURES = "brick chelsea coffee coins grass gravel moon page rocket text retina immunohistochemistry hubble_deep_field".split()
"""Photographs without a face that scikit-image carries."""


def on_some(images: Image, dice: Dice, share: float, change: Change) -> Image:
    """Put a random share of the images, drawn sample by sample, through `change`, in place."""
    index, few = dice.some(share)
    return images.index_copy_(0, index, change(images[index], few)) if few.batch else images


def pixels(images: Image) -> tuple[Tensor, Tensor]:
    """x ``[1, w]`` and y ``[h, 1]`` of the pixel centres."""
    h, w = images.shape[-2:]
    return torch.arange(w, device=images.device)[None] + 0.5, torch.arange(h, device=images.device)[:, None] + 0.5


def turned(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in axes turned by `angle` (radians)."""
    return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()


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


# -------------------------------------------------------------------------------------------------- the camera


def photograph(images: Image, dice: Dice) -> Image:
    """What a camera does: exposure, gain per channel (paper section 3.4: 0.6 to 1.4; milder in two of three images), contrast, then the rare `FAULTS`."""
    images = metered(images, dice)
    gain = 1 + dice.uniform(-0.4, 0.4, 3, 1, 1) * torch.where(dice.chance(0.33, 1, 1, 1) > 0, 1.0, 0.3)
    images = (images * gain).clamp_(1e-4, 1) ** torch.exp(dice.uniform(-0.4, 0.4, 1, 1, 1))
    for share, fault in FAULTS:
        images = on_some(images, dice, share, fault)
    return images.clamp(0, 1)


def metered(images: Image, dice: Dice) -> Image:
    """Exposed as an automatic camera would: the middle of the picture is brought near a random brightness."""
    height, width = images.shape[-2:]
    middle = images[..., height // 4 : -(height // 4), width // 4 : -(width // 4)].mean((1, 2, 3), keepdim=True)
    return images * (dice.uniform(0.25, 0.6, 1, 1, 1) / middle.clamp(min=0.02)).clamp(0.4, 4) ** 0.8


def vignette(images: Image, dice: Dice) -> Image:
    """Corners darker than the middle."""
    x, y = pixels(images)
    square = (2 * x / images.shape[-1] - 1) ** 2 + (2 * y / images.shape[-2] - 1) ** 2
    return images * (1 - dice.uniform(0.05, 0.35, 1, 1, 1) * square)


def overexpose(images: Image, dice: Dice) -> Image:
    """Highlights clipped to white."""
    return (images * dice.uniform(1.1, 1.5, 1, 1, 1)).clamp(max=1)


def low_light(images: Image, dice: Dice) -> Image:
    """Little light, strong noise, lifted by a gamma curve."""
    return noise(images * dice.uniform(0.2, 0.5, 1, 1, 1), dice, 0.03).clamp(min=0) ** dice.uniform(0.6, 0.9, 1, 1, 1)


def noise(images: Image, dice: Dice, most: float = 0.05) -> Image:
    """Normal noise of one strength per image."""
    return images + dice.uniform(0, most, 1, 1, 1) * torch.randn(images.shape, generator=dice.dense, device=dice.device)


def soft_focus(images: Image, dice: Dice) -> Image:
    """A Gaussian blur of at most 1.6 px at 192 px."""
    return _blurred(images, dice.uniform(0, 1.6) * images.shape[-1] / 192)


def sharpen(images: Image, dice: Dice) -> Image:
    """Edges with halos, as of an unsharp mask."""
    return (images + dice.uniform(0.3, 1.5, 1, 1, 1) * (images - _blurred(images, dice.uniform(0.6, 1.5), 3))).clamp(0, 1)


def low_resolution(images: Image, dice: Dice, low: float = 1, high: float = 4) -> Image:
    """Fewer pixels, drawn up again; one factor for all the images."""
    factor = low + (high - low) * torch.rand((), generator=dice.generator).item()
    size = [max(2, round(side / factor)) for side in images.shape[-2:]]
    small = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, images.shape[-2:], mode="bilinear", align_corners=False)


def motion_blur(images: Image, dice: Dice) -> Image:
    """The camera moved along a short straight line."""
    return _convolved(images, line_kernels(dice.uniform(1, 8) * images.shape[-1] / 192, dice.uniform(0, 3.1416)))


def line_kernels(length: Float[Tensor, " b"], angle: Float[Tensor, " b"], radius: int = 4) -> Float[Tensor, "b k k"]:
    """Soft line segments through the centre, symmetric about it, with sum 1; pixels and radians."""
    offset = torch.arange(-radius, radius + 1, device=length.device, dtype=length.dtype)
    along, beside = turned(offset[None, None], offset[None, :, None], angle[:, None, None])
    beyond = (along.abs() - length[:, None, None] / 2).relu()
    kernels = torch.exp(-2 * (beyond**2 + beside**2))
    return kernels / kernels.sum((1, 2), keepdim=True)


def greyscale(images: Image, dice: Dice) -> Image:
    """Black and white: three equal channels, from one of several films."""
    weights = torch.tensor([0.3, 0.59, 0.11], device=dice.device) * dice.uniform(0.5, 1.5, 3)
    grey = (images * (weights / weights.sum(1, keepdim=True))[:, :, None, None]).sum(1, keepdim=True)
    return grey.expand_as(images)


def sepia(images: Image, dice: Dice) -> Image:
    """Black and white, gone brown."""
    tone = torch.tensor([0.12, 0.0, -0.2], device=dice.device)[:, None, None]
    return greyscale(images, dice) * (1 + dice.uniform(0.4, 1.2, 1, 1, 1) * tone)


def jpeg(images: Image, dice: Dice) -> Image:
    """The loss of a JPEG file of quality 15 to 90."""
    return compressed(images, dice.uniform(15, 90))


FAULTS: tuple[tuple[float, Change], ...] = (
    (0.15, vignette),
    (0.04, overexpose),
    (0.35, soft_focus),
    (0.1, motion_blur),
    (0.2, low_resolution),
    (0.08, low_light),
    (0.45, noise),
    (0.1, sharpen),
    (0.15, greyscale),
    (0.04, sepia),
    (0.25, jpeg),
)
"""Share of images and what happens to them, in the order of a real picture: lens, sensor, film or software, file."""


def _convolved(images: Image, kernels: Float[Tensor, "b k l"]) -> Image:
    """Each image with its own kernel, the border repeated outward."""
    b, c, h, w = images.shape
    tall, wide = kernels.shape[-2] // 2, kernels.shape[-1] // 2
    flat = F.pad(images.reshape(1, b * c, h, w), (wide, wide, tall, tall), mode="replicate")
    return F.conv2d(flat, kernels.repeat_interleave(c, 0)[:, None], groups=b * c).reshape(b, c, h, w)


def _blurred(images: Image, sigma: Float[Tensor, " b"], radius: int = 4) -> Image:
    """Gaussian blur with one sigma (pixels) per image."""
    offset = torch.arange(-radius, radius + 1, device=images.device)
    kernels = torch.softmax(-0.5 * (offset / sigma[:, None].clamp(min=0.05)) ** 2, -1)
    return _convolved(_convolved(images, kernels[:, :, None]), kernels[:, None])


def dct_matrix(n: int = 8) -> Float[Tensor, "n n"]:
    """Rows are the orthonormal cosines of the discrete cosine transform (type 2)."""
    k, i = torch.arange(n)[:, None], torch.arange(n)[None]
    return torch.cos(torch.pi * k * (i + 0.5) / n) * torch.where(k == 0, (1 / n) ** 0.5, (2 / n) ** 0.5)


def quantisation(quality: Float[Tensor, " b"]) -> Float[Tensor, "b 3 8 8"]:
    """Steps of luma and two chroma planes, for planes in [0, 1]; roughly those of JPEG's example tables (quality 1 to 100)."""
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    frequency = torch.arange(8, device=quality.device)[:, None] + torch.arange(8, device=quality.device)[None]
    steps = torch.stack((10 + 8 * frequency.float(), 17 + 16 * frequency.float(), 17 + 16 * frequency.float())).clamp(max=100)
    return (steps * scale[:, None, None, None]).clamp(min=1) / 255


def compressed(images: Image, quality: Float[Tensor, " b"]) -> Image:
    """Images after JPEG compression: blocks of 8 x 8 cosines of luma and chroma, rounded to multiples of a step."""
    h, w = images.shape[-2:]
    to_planes = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    to_colours, to_planes = torch.linalg.inv(to_planes).to(images), to_planes.to(images)
    padded = F.pad(images, (0, -w % 8, 0, -h % 8), mode="replicate")
    planes = torch.einsum("pc,bchw->bphw", to_planes, padded) - images.new_tensor([0.5, 0, 0])[:, None, None]
    cosines, steps = dct_matrix().to(images), quantisation(quality)[:, :, None, None]  # [b, 3, 1, 1, 8, 8]
    blocks = planes.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)  # [b, 3, rows, columns, 8, 8]
    rounded = torch.round(cosines @ blocks @ cosines.T / steps) * steps
    planes = (cosines.T @ rounded @ cosines).transpose(-3, -2).flatten(-4, -3).flatten(-2) + images.new_tensor([0.5, 0, 0])[:, None, None]
    return torch.einsum("cp,bphw->bchw", to_colours, planes)[..., :h, :w].clamp(0, 1)
