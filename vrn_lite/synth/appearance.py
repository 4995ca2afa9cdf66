"""What is drawn by chance: shares and ranges, palettes, and random numbers in named streams."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vrn_lite.frame import require

PICTURES = 2
"""Edition of the drawn pictures: one more whenever the same seeds give other images. Results name theirs."""


FACTORS = ("make_up", "softness", "clothes", "occluders", "degradations", "surroundings")
"""Fields of `Appearance` that are no shares: they may be above 1."""


@dataclass(frozen=True)
class Appearance:
    """How people, light, surroundings and cameras look: shares of the images in [0, 1], and ranges.

    The defaults draw snapshots, with a tail of poor pictures. What needs photographs (`skins`, `eyes`, `haircuts`) is
    drawn where the face model carries them (`synth.photographed.photographed`), and painted elsewhere.

    Attributes
    ----------
    skins, eyes : photographed skin and irises, of the faces that can have them.
    haircuts : haircuts of cards with alpha, of the heads that can have them.
    heldout : wear the skins and the haircut that are kept out of training, and no others.
    bald, hats, headscarves, glasses : what is on the head.
    long_hair, fringes, afros : of the hair that is drawn as a shell.
    beards, make_up : paint on the skin; make-up scales the shares of `skin.SPOTS`.
    hard_light : one strong light from the side, above or below.
    soft_light : light from all round (spherical harmonics), of the pictures without hard light.
    shadows : largest strength of the shadows that nose, brow and hair throw.
    softness : largest width of the light's spread under the skin, in pixels of a 192 px image.
    cast_shadows : shadows of things outside the picture.
    clothes : factor of the shares of coats and shirts.
    occluders : factor of the shares of `occluders.OCCLUDERS`.
    rough : pictures with the strong faults of `degradations.DEGRADATIONS`.
    degradations : factor of the shares of all faults.
    surroundings : factor of the shares of `background.LAYERS`; 0 leaves an unevenly lit wall.
    """

    skins: float = 0.8
    eyes: float = 0.6
    haircuts: float = 0.4
    heldout: bool = False
    bald: float = 0.08
    hats: float = 0.1
    headscarves: float = 0.04
    long_hair: float = 0.4
    fringes: float = 0.4
    afros: float = 0.08
    glasses: float = 0.18
    beards: float = 0.3
    make_up: float = 1.0
    hard_light: float = 0.2
    soft_light: float = 0.6
    shadows: float = 0.8
    softness: float = 2.0
    cast_shadows: float = 0.12
    clothes: float = 1.0
    occluders: float = 0.7
    rough: float = 0.25
    degradations: float = 1.0
    surroundings: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(value >= 0, f"{name} must not be negative, got {value}")
            require(value <= 1 or name in FACTORS, f"{name} is a share of the images, from 0 to 1, got {value}")

    @staticmethod
    def plain() -> "Appearance":
        """Renderings of scans: short hair, no clothes, nothing before the face, no faults; lights are random."""
        never = "haircuts bald hats headscarves long_hair fringes afros glasses beards make_up hard_light cast_shadows"
        never += " clothes occluders rough degradations surroundings"
        changes: dict[str, Any] = dict.fromkeys(never.split(), 0.0)
        return Appearance(**changes)


@dataclass(frozen=True)
class Rng:
    """Random numbers of a batch: for shape, pose and light from a CPU generator, for dense noise from the device's own.

    `stream` gives generators that depend on the seed and on a name alone: what one stream draws never moves another.
    `only` draws for some of the samples: who else is among them moves no sample's numbers either.

    Attributes
    ----------
    batch : number of samples that are drawn.
    chosen : numbers of the samples whose numbers are given; None for all.
    """

    seed: int
    batch: int
    device: torch.device
    generator: torch.Generator
    dense: torch.Generator
    chosen: Int[Tensor, " k"] | None = None

    @staticmethod
    def seeded(seed: int, batch: int, device: torch.device | str) -> "Rng":
        """Random numbers for `batch` samples on `device`, from a whole number."""
        generator, dense = torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed + 1)
        return Rng(seed, batch, torch.device(device), generator, dense)

    @staticmethod
    def of(generator: torch.Generator, batch: int, device: torch.device | str) -> "Rng":
        """Random numbers for `batch` samples on `device`, seeded by one draw from a generator."""
        return Rng.seeded(int(torch.randint(2**62, (), generator=generator)), batch, device)

    def stream(self, name: str) -> "Rng":
        """The random numbers of that name: the same for the same seed, whatever else has been drawn."""
        digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        return Rng.seeded(int.from_bytes(digest[:7], "little"), self.batch, self.device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """``[b, *shape]`` uniform between `low` and `high`."""
        return self._given(low + (high - low) * torch.rand(self.batch, *shape, generator=self.generator))

    def uniform01(self, *shape: int) -> Tensor:
        """``[b, *shape]`` uniform in [0, 1)."""
        return self.uniform(0, 1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """``[b, *shape]`` standard normal."""
        return self._given(torch.randn(self.batch, *shape, generator=self.generator))

    def bernoulli(self, share: float, *shape: int) -> Tensor:
        """``[b, *shape]`` of 0 and 1, 1 with the given probability."""
        return (self.uniform01(*shape) < share).float()

    def index(self, count: int) -> Int[Tensor, " b"]:
        """Whole numbers below `count`."""
        return self._given(torch.randint(count, (self.batch,), generator=self.generator))

    def subset(self, share: float) -> tuple[Int[Tensor, " k"], "Rng"]:
        """Numbers of the samples that a random share holds, and random numbers for these alone."""
        index = self.bernoulli(share).nonzero()[:, 0]
        return index, self.only(index)

    def only(self, index: Int[Tensor, " k"]) -> "Rng":
        """The random numbers of some of the samples."""
        return replace(self, chosen=index if self.chosen is None else self.chosen[index])

    def _given(self, drawn: Tensor) -> Tensor:
        """What is drawn for the whole batch, of the chosen samples, on the device."""
        drawn = drawn.to(self.device)
        return drawn if self.chosen is None else drawn[self.chosen]

    def dense_uniform01(self, *shape: int) -> Tensor:
        """``[b, *shape]`` uniform in [0, 1), from the device's own generator."""
        return self._given(torch.rand(self.batch, *shape, generator=self.dense, device=self.device))

    def dense_normal(self, *shape: int) -> Tensor:
        """``[b, *shape]`` standard normal, from the device's own generator."""
        return self._given(torch.randn(self.batch, *shape, generator=self.dense, device=self.device))

    def colour(self, palette: list[tuple[float, float, float]], spread: float) -> Float[Tensor, "b 3"]:
        """A colour from a palette, blended with a second one and jittered."""
        table = torch.tensor(palette, device=self.device)
        mixed = torch.lerp(table[self.index(len(table))], table[self.index(len(table))], self.uniform01(1))
        mixed = mixed * self.uniform(1 - spread, 1 + spread, 1)
        return (mixed * (1 + spread / 3 * self.normal(3))).clamp(0, 1)

    def field(self, channels: int, height: int, width: int, cells: int, across: int | None = None) -> Tensor:
        """Smooth noise ``[b, channels, height, width]`` in -1 to 1: `cells` bumps high, `across` (or as many) wide."""
        coarse = self.dense_uniform01(channels, cells + 3, (across or cells) + 3) * 2 - 1
        return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def palette(text: str) -> list[tuple[float, float, float]]:
    """Colours from hexadecimal digits, two a channel."""
    return [(int(code[:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:], 16) / 255) for code in text.split()]


SKIN = palette("fadbc4 edc2a6 d9a685 b88563 8c6145 61402e 40291f")
HAIR = palette("0d0a08 140f0c 291a12 3b2718 543824 6b4a2e 8c6138 cca86b 8c8c8c e6e6e0 702e18")
DARK_HAIR = palette("0d0a08 140f0c 1f1611 291a12 6e6c69")
IRIS = palette("331f12 59381a 59738c 4d6b47 1a120f")
LIPS = palette("b86b66 99524d cc3340 734038 d98c85")
MAKEUP = palette("1a1518 5c2f4a 3d4a73 8c5a3c b0607a 4a6b66")
CLOTH = palette("1a1a1f 2b2d33 e6e6e6 c8ccd2 334d80 1f2f4d 7a2424 a8763a 4d664d b8a88c 6e5a75 59616b")
