"""What stands before the face: hands, sticks, straps, masks, blobs. One more is a function and a row of `OCCLUDERS`."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.frame import Grid, Image
from vrn_lite.synth.appearance import CLOTH, SKIN, Appearance, Rng
from vrn_lite.synth.degradations import on_some, pixels

Segments = tuple[Float[Tensor, "b k 2"], Float[Tensor, "b k 2"], Float[Tensor, "b k"]]  # from, to, radius; pixels
Outline = Callable[[Grid, Rng], Segments]


def occlude(images: Image, grid: Grid, rng: Rng, appearance: Appearance) -> Image:
    """Draw `OCCLUDERS` over the images that have them."""
    images = images.clone()
    for thing in OCCLUDERS:
        change = partial(_cover, outline=thing.outline, colours=thing.colours, grid=grid)
        images = on_some(images, rng.stream(thing.name), thing.share * appearance.occluders, change)
    return images


def _reach(x: Tensor, y: Tensor, segments: Segments) -> Float[Tensor, "b h w"]:
    """Squared distance to the nearest of rounded segments in units of its radius: below 1 inside."""
    reach = torch.full((1, y.shape[0], x.shape[1]), torch.inf, device=x.device)
    for start, end, radius in zip(*(part.unbind(1) for part in segments), strict=True):
        along_x, along_y = (end - start)[:, :, None, None].unbind(1)
        dx, dy = x - start[:, 0, None, None], y - start[:, 1, None, None]
        t = ((dx * along_x + dy * along_y) / (along_x**2 + along_y**2).clamp(min=1e-6)).clamp_(0, 1)
        reach = torch.minimum(
            reach, ((dx - t * along_x) ** 2 + (dy - t * along_y) ** 2) / radius.square()[:, None, None]
        )
    return reach


def _cover(images: Image, rng: Rng, outline: Outline, colours: list[tuple[float, float, float]], grid: Grid) -> Image:
    """An outline painted over images, darker towards the rims of its segments."""
    x, y = pixels(images)
    reach = _reach(x, y, outline(grid, rng)) * (
        1 + rng.uniform(0, 0.5, 1, 1) * rng.field(1, grid.height, grid.width, 6)[:, 0]
    )
    side = rng.uniform(-0.3, 0.3, 2, 1, 1)  # light from one side
    light = (1.1 - rng.uniform(0.1, 0.6, 1, 1) * reach) * (
        1 + side[:, 0] * (2 * x / grid.width - 1) + side[:, 1] * (2 * y / grid.height - 1)
    )
    paint = (
        rng.colour(colours, 0.2)[:, :, None, None]
        * light[:, None]
        * (1 + 0.15 * rng.field(1, grid.height, grid.width, 9))
    )
    return torch.where((reach < 1)[:, None], paint.clamp_(0, 1), images)


def _heading(angle: Tensor) -> Float[Tensor, "*b 2"]:
    return torch.stack((angle.cos(), angle.sin()), -1)


def _spot(grid: Grid, rng: Rng) -> Float[Tensor, "b 1 2"]:
    """A place in the picture, mostly around mouth and chin."""
    return torch.tensor([grid.width, grid.height], device=rng.device) * (
        rng.uniform(0.1, 0.9, 1, 2) + torch.tensor([0, 0.1], device=rng.device)
    )


def _hand(grid: Grid, rng: Rng) -> Segments:
    """A palm and two to four fingers, more or less spread, from any side."""
    palm, size, angle = _spot(grid, rng), rng.uniform(0.05, 0.13, 1) * grid.side, rng.uniform(-3.14, 3.14, 1)
    fan = rng.uniform(0.4, 1.3, 1) * torch.linspace(-0.5, 0.5, 4, device=rng.device)
    root = palm + size[..., None] * 0.75 * _heading(angle + 1.5 * fan)
    present = torch.cat((torch.ones_like(angle.expand(-1, 2)), rng.bernoulli(0.6, 2)), 1)
    tip = root + (size * present * rng.uniform(0.7, 1.7, 4))[..., None] * _heading(angle + fan)
    wrist = palm - (size * rng.uniform(0.2, 3, 1))[..., None] * _heading(angle)
    return (
        torch.cat((palm, root), 1),
        torch.cat((wrist, tip), 1),
        size * torch.tensor([0.75, 0.28, 0.3, 0.29, 0.25], device=rng.device),
    )


def _stick(grid: Grid, rng: Rng) -> Segments:
    """A microphone, cup or spoon: a rod from below with a thicker head."""
    head, thick = _spot(grid, rng), rng.uniform(0.015, 0.05, 1) * grid.side
    foot = head + grid.side * _heading(rng.uniform(0.8, 2.3, 1))
    return (
        torch.cat((head, head), 1),
        torch.cat((head + 0.02 * (foot - head), foot), 1),
        torch.cat((thick * rng.uniform(1, 2, 1), thick), 1),
    )


def _strap(grid: Grid, rng: Rng) -> Segments:
    """A bar, strap or cable across the whole picture."""
    middle, along = _spot(grid, rng), 2 * grid.side * _heading(rng.uniform(0, 3.14, 1))
    return middle - along, middle + along, rng.uniform(0.006, 0.04, 1) * grid.side


def _mask(grid: Grid, rng: Rng) -> Segments:
    """A mask or scarf over mouth and chin, which lie below the middle of the picture."""
    middle = torch.tensor([0.5, 0.68], device=rng.device) * torch.tensor(
        [grid.width, grid.height], device=rng.device
    ) + 0.04 * grid.side * rng.normal(1, 2)
    along = rng.uniform(0.03, 0.15, 1)[..., None] * grid.side * _heading(rng.uniform(-0.4, 0.4, 1))
    return middle - along, middle + along, rng.uniform(0.1, 0.15, 1) * grid.side


def _blob(grid: Grid, rng: Rng) -> Segments:
    """Anything roundish anywhere."""
    middle = torch.tensor([grid.width, grid.height], device=rng.device) * rng.uniform(0, 1, 1, 2)
    return middle, middle + 0.15 * grid.side * rng.normal(1, 2), rng.uniform(0.02, 0.14, 1) * grid.side


class Occluder(NamedTuple):
    """Its name, which its random numbers depend on, the share of images that have it, its outline, its colours."""

    name: str
    share: float
    outline: Outline
    colours: list[tuple[float, float, float]]


OCCLUDERS = (
    Occluder("hand", 0.11, _hand, SKIN),
    Occluder("stick", 0.06, _stick, CLOTH),
    Occluder("strap", 0.04, _strap, CLOTH),
    Occluder("mask", 0.03, _mask, CLOTH),
    Occluder("part of a body", 0.05, _blob, SKIN),
    Occluder("thing", 0.05, _blob, CLOTH),
)
"""In the order in which they are drawn."""
