"""A picture after the camera: exposure and colour, and the rare faults of lens, sensor, film and file.

No fault moves the picture: what lies at a pixel stays there, so that image and volume keep together.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vrn_lite.dice import Dice
from vrn_lite.frame import Image

Change = Callable[[Image, Dice], Image]
"""What is done to images by chance."""


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
