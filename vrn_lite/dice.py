"""Seeded chance for a batch of pictures, and the colours to choose from."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Dice:
    """Random numbers of a batch: shape, pose and light from a CPU generator, dense noise from the device's own.

    The dense generator is seeded from the CPU one, so that one seed fixes everything on one device. With `plain` dice,
    what happens by chance never happens: no hats, glasses, hands or camera faults, as in the renderings of scans.
    """

    generator: torch.Generator
    dense: torch.Generator
    batch: int
    device: torch.device
    plain: bool = False

    @staticmethod
    def of(generator: torch.Generator, batch: int, device: torch.device | str, plain: bool = False) -> "Dice":
        """Dice for `batch` samples on `device`."""
        seed = int(torch.randint(2**62, (), generator=generator))
        return Dice(generator, torch.Generator(device).manual_seed(seed), batch, torch.device(device), plain)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """``[b, *shape]`` uniform between `low` and `high`."""
        return (low + (high - low) * torch.rand(self.batch, *shape, generator=self.generator)).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """``[b, *shape]`` standard normal."""
        return torch.randn(self.batch, *shape, generator=self.generator).to(self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """``[b, *shape]`` of 0 and 1, 1 with the given probability."""
        return (self.lot(*shape) < probability * (not self.plain)).float()

    def lot(self, *shape: int) -> Tensor:
        """``[b, *shape]`` uniform in 0 to 1 for what is rare at both ends; always the middle with plain dice."""
        drawn = torch.rand(self.batch, *shape, generator=self.generator).to(self.device)
        return torch.full_like(drawn, 0.5) if self.plain else drawn

    def some(self, share: float) -> tuple[Int[Tensor, " k"], "Dice"]:
        """Numbers of the samples that a random share holds, and dice for these alone."""
        index = self.chance(share).nonzero()[:, 0]
        return index, replace(self, batch=len(index))

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


def palette(text: str) -> list[tuple[float, float, float]]:
    """Colours from hexadecimal digits, two a channel."""
    return [(int(code[:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:], 16) / 255) for code in text.split()]


SKIN = palette("fadbc4 edc2a6 d9a685 b88563 8c6145 61402e 40291f")
HAIR = palette("0d0a08 291a12 543824 8c6138 cca86b 8c8c8c e6e6e0 802e14")
IRIS = palette("331f12 59381a 59738c 4d6b47 1a120f")
LIPS = palette("b86b66 99524d cc3340 734038 d98c85")
MAKEUP = palette("1a1518 5c2f4a 3d4a73 8c5a3c b0607a 4a6b66")
CLOTH = palette("1a1a1f e6e6e6 334080 991a1a e6801a 4d804d ccb380 804d80")
