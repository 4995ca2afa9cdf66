"""Residual module and hourglass: the blocks of every network here (paper section 3.3 and figure 4).

::

    x --+---- m modules -------------------------------(+)-- 1 module -- y          a level
        |                                               |
        +-- pool /2 -- m modules -- level below -- m modules -- x2 --+

The innermost "level below" is m modules. The recursion hangs on the *pooled* branch, so that every level sees half the
resolution of the one above.
"""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Residual(nn.Module):
    """Pre-activation bottleneck: BN-ReLU-1x1 to half the width, BN-ReLU-3x3, BN-ReLU-1x1, plus the input.

    A 1x1 convolution brings the input to the new width where the widths differ.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        half = width_out // 2
        self.branch = nn.Sequential(
            nn.BatchNorm2d(width_in),
            nn.ReLU(),
            nn.Conv2d(width_in, half, 1),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, width_out, 1),
        )
        self.shortcut = nn.Identity() if width_in == width_out else nn.Conv2d(width_in, width_out, 1)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        """Files of the first edition call the shortcut `carry`."""
        for name in ("weight", "bias"):
            if f"{prefix}carry.{name}" in state_dict:
                state_dict[f"{prefix}shortcut.{name}"] = state_dict.pop(f"{prefix}carry.{name}")
        super()._load_from_state_dict(state_dict, prefix, *others)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        """Same height and width, `width_out` channels."""
        return self.branch(x) + self.shortcut(x)


def modules(count: int, width: int) -> nn.Sequential:
    """`count` residual modules in a row."""
    return nn.Sequential(*(Residual(width, width) for _ in range(count)))


class Hourglass(nn.Module):
    """An hourglass of `levels` halvings with m = `count` modules per position: 13 m + 4 modules at four levels."""

    def __init__(self, levels: int, count: int, width: int) -> None:
        super().__init__()
        self.skip = modules(count, width)
        self.before = modules(count, width)
        self.below = Hourglass(levels - 1, count, width) if levels > 1 else modules(count, width)
        self.after = modules(count, width)
        self.merge = Residual(width, width)

    def forward(self, x: Float[Tensor, "b f h w"]) -> Float[Tensor, "b f h w"]:
        """Height and width must be multiples of 2^levels."""
        low = self.after(self.below(self.before(F.max_pool2d(x, 2))))
        return self.merge(self.skip(x) + F.interpolate(low, scale_factor=2, mode="nearest"))


def projection(width: int) -> nn.Sequential:
    """1x1 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU())


class Stem(nn.Module):
    """From the image to the hourglass's width at 1/2 or 1/4 of its size: 7x7 stride 2, residual modules, max-pool."""

    def __init__(self, channels: int, reduction: int, first: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, first, 7, stride=2, padding=3),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            Residual(first, 2 * first),
            nn.MaxPool2d(2) if reduction == 4 else nn.Identity(),
            Residual(2 * first, 2 * first),
            Residual(2 * first, width),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f H W"]:
        """``[b, channels, h, w]`` to ``[b, width, h / reduction, w / reduction]``."""
        return self.layers(x)

    def both(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b f H W"], Float[Tensor, "b g h2 w2"]]:
        """The same, and the ``[b, 2 first, h / 2, w / 2]`` before the max-pool."""
        early = self.layers[:4](x)
        return self.layers[4:](early), early


class Refine(nn.Module):
    """A finer end: twice the resolution at half the width, from the stem's early features too; it adds to the logits.

    ::

        low-res logits ----------------------------------------- x2 (bilinear) --(+)-- logits
        x --BN-ReLU-1x1-- x2 --(+)-- residual modules -- BN-ReLU-1x1 -------------+
        early --------1x1-------+

    Its last convolution begins with zeros: a network that has been trained without it goes on from where it was.
    """

    def __init__(self, width: int, early: int, count: int, outputs: int) -> None:
        super().__init__()
        half = width // 2
        self.low = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, half, 1))
        self.early = nn.Conv2d(early, half, 1)
        self.last = nn.Sequential(*modules(count, half), nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, outputs, 1))
        for weights in self.last[-1].parameters():
            nn.init.zeros_(weights)

    def forward(
        self,
        low_res_logits: Float[Tensor, "b o H W"],
        x: Float[Tensor, "b f H W"],
        early: Float[Tensor, "b g H2 W2"],
    ) -> Float[Tensor, "b o H2 W2"]:
        """Finer logits ``[b, o, 2 H, 2 W]``: of logits, the `x` that they came from, and early features."""
        detail = self.last(self.early(early) + F.interpolate(self.low(x), scale_factor=2, mode="nearest"))
        return detail + F.interpolate(low_res_logits, scale_factor=2, mode="bilinear", align_corners=False)
