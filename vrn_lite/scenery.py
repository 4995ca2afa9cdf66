"""All of a picture but the head: background, clothes, cast shadow, what stands before the face, and the camera's own faults."""

from functools import lru_cache

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from jaxtyping import Float
from skimage.transform import resize
from skimage.util import img_as_float32
from torch import Tensor

from vrn_lite.dice import CLOTH, SKIN, Dice
from vrn_lite.frame import Grid, Image

TEXTURES = "brick chelsea coffee coins grass gravel moon page rocket text retina immunohistochemistry hubble_deep_field".split()
"""Photographs without a face that scikit-image carries."""


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
