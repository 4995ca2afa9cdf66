"""A picture after the camera: exposure and colour, and the faults of lens, sensor, film and file.

No fault moves the picture: what lies at a pixel stays there, so that image and volume keep together.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vrn_lite.frame import Image
from vrn_lite.synth.appearance import Appearance, Rng

Change = Callable[[Image, Rng], Image]
"""What is done to images by chance."""


def on_some(images: Image, rng: Rng, share: float, change: Change) -> Image:
    """Put a random share of the images, drawn sample by sample, through `change`, in place."""
    index, few = rng.subset(share)
    return images.index_copy_(0, index, change(images[index], few)) if len(index) else images


def pixels(images: Float[Tensor, "*b h w"]) -> tuple[Tensor, Tensor]:
    """x ``[1, w]`` and y ``[h, 1]`` of the pixel centres."""
    h, w = images.shape[-2:]
    return torch.arange(w, device=images.device)[None] + 0.5, torch.arange(h, device=images.device)[:, None] + 0.5


def turned(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in axes turned by `angle` (radians)."""
    return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()


def degrade(images: Image, rng: Rng, appearance: Appearance) -> Image:
    """What a camera does: exposure, gain per channel, contrast, then `DEGRADATIONS`.

    A rough picture has up to the paper's gains (section 3.4: 0.6 to 1.4), a snapshot much less.
    """
    rough = rng.stream("rough").bernoulli(appearance.rough)
    colour, images = rng.stream("colour"), metered(images, rng.stream("exposure"))
    # How much of the paper's cast of colour a picture has.
    cast = torch.lerp(torch.tensor(0.15, device=rng.device), colour.uniform(0, 1), rough)[:, None, None, None]
    gain = 1 + colour.uniform(-0.4, 0.4, 3, 1, 1) * cast
    gamma = colour.uniform(-0.4, 0.4, 1, 1, 1) * (0.4 + 0.6 * rough[:, None, None, None])
    images = (images * gain).clamp_(1e-4, 1) ** gamma.exp()
    for fault in DEGRADATIONS:
        # One draw a sample decides, against the share of its kind of picture.
        stream = rng.stream(fault.change.__name__)
        share = torch.where(rough > 0, fault.rough, fault.snapshot) * appearance.degradations
        index = (stream.uniform01() < share).nonzero()[:, 0]
        if len(index):
            images[index] = fault.change(images[index], stream.only(index))
    return images.clamp(0, 1)


def metered(images: Image, rng: Rng) -> Image:
    """Exposed as an automatic camera would: the middle of the picture is brought near a random brightness."""
    height, width = images.shape[-2:]
    inner = images[..., height // 4 : -(height // 4), width // 4 : -(width // 4)]
    middle = inner.mean((1, 2, 3), keepdim=True)
    return images * (rng.uniform(0.28, 0.52, 1, 1, 1) / middle.clamp(min=0.02)).clamp(0.4, 4) ** 0.8


def vignette(images: Image, rng: Rng) -> Image:
    """Corners darker than the middle."""
    x, y = pixels(images)
    square = (2 * x / images.shape[-1] - 1) ** 2 + (2 * y / images.shape[-2] - 1) ** 2
    return images * (1 - rng.uniform(0.05, 0.35, 1, 1, 1) * square)


def overexpose(images: Image, rng: Rng) -> Image:
    """Highlights clipped to white."""
    return (images * rng.uniform(1.1, 1.5, 1, 1, 1)).clamp(max=1)


def low_light(images: Image, rng: Rng) -> Image:
    """Little light, strong noise, lifted by a gamma curve."""
    dark = images * rng.uniform(0.2, 0.5, 1, 1, 1)
    return noise(dark, rng, 0.03).clamp(min=0) ** rng.uniform(0.6, 0.9, 1, 1, 1)


def grain(images: Image, rng: Rng) -> Image:
    """The faint noise of any sensor."""
    return noise(images, rng, 0.015)


def noise(images: Image, rng: Rng, most: float = 0.05) -> Image:
    """Normal noise of one strength per image."""
    return images + rng.uniform(0, most, 1, 1, 1) * rng.dense_normal(*images.shape[1:])


def lens_blur(images: Image, rng: Rng) -> Image:
    """What any lens does to an edge: a Gaussian blur of at most 0.7 px at 192 px."""
    return blurred(images, rng.uniform(0, 0.7) * images.shape[-1] / 192, 3)


def soft_focus(images: Image, rng: Rng) -> Image:
    """A Gaussian blur of at most 1.6 px at 192 px."""
    return blurred(images, rng.uniform(0, 1.6) * images.shape[-1] / 192)


def sharpen(images: Image, rng: Rng) -> Image:
    """Edges with halos, as of an unsharp mask."""
    amount = rng.uniform(0.3, 1.5, 1, 1, 1)
    return (images + amount * (images - blurred(images, rng.uniform(0.6, 1.5), 3))).clamp(0, 1)


def low_resolution(images: Image, rng: Rng, low: float = 1, high: float = 4) -> Image:
    """Fewer pixels, drawn up again; one factor for all the images."""
    factor = low + (high - low) * torch.rand((), generator=rng.generator).item()
    size = [max(2, round(side / factor)) for side in images.shape[-2:]]
    small = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, images.shape[-2:], mode="bilinear", align_corners=False)


def motion_blur(images: Image, rng: Rng) -> Image:
    """The camera moved along a short straight line."""
    return convolved(images, line_kernels(rng.uniform(1, 8) * images.shape[-1] / 192, rng.uniform(0, 3.1416)))


def line_kernels(length: Float[Tensor, " b"], angle: Float[Tensor, " b"], radius: int = 4) -> Float[Tensor, "b k k"]:
    """Soft line segments through the centre, symmetric about it, with sum 1; pixels and radians."""
    offset = torch.arange(-radius, radius + 1, device=length.device, dtype=length.dtype)
    along, beside = turned(offset[None, None], offset[None, :, None], angle[:, None, None])
    beyond = (along.abs() - length[:, None, None] / 2).relu()
    kernels = torch.exp(-2 * (beyond**2 + beside**2))
    return kernels / kernels.sum((1, 2), keepdim=True)


def greyscale(images: Image, rng: Rng) -> Image:
    """Black and white: three equal channels, from one of several films."""
    weights = torch.tensor([0.3, 0.59, 0.11], device=rng.device) * rng.uniform(0.5, 1.5, 3)
    grey = (images * (weights / weights.sum(1, keepdim=True))[:, :, None, None]).sum(1, keepdim=True)
    return grey.expand_as(images)


def sepia(images: Image, rng: Rng) -> Image:
    """Black and white, gone brown."""
    tone = torch.tensor([0.12, 0.0, -0.2], device=rng.device)[:, None, None]
    return greyscale(images, rng) * (1 + rng.uniform(0.4, 1.2, 1, 1, 1) * tone)


def jpeg(images: Image, rng: Rng) -> Image:
    """The loss of a JPEG file of quality 60 to 95."""
    return compressed(images, rng.uniform(60, 95))


def poor_jpeg(images: Image, rng: Rng) -> Image:
    """The loss of a JPEG file of quality 15 to 60."""
    return compressed(images, rng.uniform(15, 60))


class Degradation(NamedTuple):
    """A fault and the shares of snapshots and of rough pictures that have it."""

    snapshot: float
    rough: float
    change: Change


DEGRADATIONS = (
    Degradation(0.1, 0.3, vignette),
    Degradation(0.02, 0.1, overexpose),
    Degradation(0.8, 0.0, lens_blur),
    Degradation(0.0, 0.5, soft_focus),
    Degradation(0.02, 0.2, motion_blur),
    Degradation(0.04, 0.35, low_resolution),
    Degradation(0.0, 0.2, low_light),
    Degradation(0.7, 0.0, grain),
    Degradation(0.0, 0.6, noise),
    Degradation(0.1, 0.2, sharpen),
    Degradation(0.05, 0.2, greyscale),
    Degradation(0.01, 0.05, sepia),
    Degradation(0.4, 0.0, jpeg),
    Degradation(0.0, 0.4, poor_jpeg),
)
"""In the order of a real picture: lens, sensor, film or software, file."""


def convolved(images: Float[Tensor, "b c h w"], kernels: Float[Tensor, "b k l"]) -> Float[Tensor, "b c h w"]:
    """Each image with its own kernel, the border repeated outward."""
    b, c, h, w = images.shape
    tall, wide = kernels.shape[-2] // 2, kernels.shape[-1] // 2
    flat = F.pad(images.reshape(1, b * c, h, w), (wide, wide, tall, tall), mode="replicate")
    return F.conv2d(flat, kernels.repeat_interleave(c, 0)[:, None], groups=b * c).reshape(b, c, h, w)


def blurred(images: Float[Tensor, "b c h w"], sigma: Float[Tensor, " b"], radius: int = 4) -> Float[Tensor, "b c h w"]:
    """Gaussian blur with one sigma (pixels) per image."""
    offset = torch.arange(-radius, radius + 1, device=images.device)
    kernels = torch.softmax(-0.5 * (offset / sigma[:, None].clamp(min=0.05)) ** 2, -1)
    return convolved(convolved(images, kernels[:, :, None]), kernels[:, None])


def dct_matrix(n: int = 8) -> Float[Tensor, "n n"]:
    """Rows are the orthonormal cosines of the discrete cosine transform (type 2)."""
    k, i = torch.arange(n)[:, None], torch.arange(n)[None]
    return torch.cos(torch.pi * k * (i + 0.5) / n) * torch.where(k == 0, (1 / n) ** 0.5, (2 / n) ** 0.5)


def quantisation(quality: Float[Tensor, " b"]) -> Float[Tensor, "b 3 8 8"]:
    """Steps of luma and two chroma planes, for planes in [0, 1]; roughly JPEG's example tables (quality 1 to 100)."""
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    frequency = torch.arange(8.0, device=quality.device)[:, None] + torch.arange(8.0, device=quality.device)
    luma, chroma = 10 + 8 * frequency, 17 + 16 * frequency
    steps = torch.stack((luma, chroma, chroma)).clamp(max=100)
    return (steps * scale[:, None, None, None]).clamp(min=1) / 255


def compressed(images: Image, quality: Float[Tensor, " b"]) -> Image:
    """Images after JPEG compression: blocks of 8 x 8 cosines of luma and chroma, rounded to multiples of a step."""
    h, w = images.shape[-2:]
    to_planes = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    to_colours, to_planes = torch.linalg.inv(to_planes).to(images), to_planes.to(images)
    padded = F.pad(images, (0, -w % 8, 0, -h % 8), mode="replicate")
    grey = images.new_tensor([0.5, 0, 0])[:, None, None]
    planes = torch.einsum("pc,bchw->bphw", to_planes, padded) - grey
    cosines, steps = dct_matrix().to(images), quantisation(quality)[:, :, None, None]  # [b, 3, 1, 1, 8, 8]
    blocks = planes.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)  # [b, 3, rows, columns, 8, 8]
    rounded = torch.round(cosines @ blocks @ cosines.T / steps) * steps
    planes = (cosines.T @ rounded @ cosines).transpose(-3, -2).flatten(-4, -3).flatten(-2) + grey
    return torch.einsum("cp,bphw->bchw", to_colours, planes)[..., :h, :w].clamp(0, 1)
