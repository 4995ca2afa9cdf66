"""A drawn batch once more: mirrored, in other colours, with other noise; a step costs less than its pairs."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.frame import Image
from vrn_lite.landmarks import mirror
from vrn_lite.pairs import FacePairs

GAIN = 0.15
"""Largest change of each colour channel's gain, as a share."""

GAMMA = 0.25
"""Largest change of the logarithm of gamma."""

NOISE = 0.03
"""Largest spread of the noise of a picture."""


def varied(pairs: FacePairs, generator: torch.Generator, *, mirrors: bool = True) -> FacePairs:
    """The same faces in pictures that are not the same; `pairs` is left as it is.

    Parameters
    ----------
    generator : a CPU generator; the same state gives the same pictures.
    mirrors : turn all samples left to right: images, volumes and landmarks.
    """
    pairs = replace(pairs, images=recoloured(pairs.images, generator))
    if not mirrors:
        return pairs
    return replace(
        pairs,
        images=pairs.images.flip(-1),
        volumes=pairs.volumes.flip(-1),
        landmarks=mirror(pairs.landmarks, pairs.images.shape[-1]),
        mirrored=~pairs.mirrored,
    )


def recoloured(images: Image, generator: torch.Generator) -> Image:
    """Pictures with another gamma, another gain per channel, and new noise; in [0, 1]."""
    count, device = len(images), images.device

    def between(low: float, high: float, *shape: int) -> Float[Tensor, "..."]:
        return (low + (high - low) * torch.rand(count, *shape, 1, 1, generator=generator)).to(device)

    gamma, gain, spread = between(-GAMMA, GAMMA, 1).exp(), between(1 - GAIN, 1 + GAIN, 3), between(0, NOISE, 1)
    noise = torch.randn(images.shape, generator=generator).to(device)
    return (images.clamp(min=1 / 512) ** gamma * gain + spread * noise).clamp(0, 1)
