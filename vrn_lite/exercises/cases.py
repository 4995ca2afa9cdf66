"""What the exercises' cases are made of."""

from collections.abc import Callable

import torch
from torch import Tensor

Pair = tuple[int, int]
Join = Callable[[Tensor, Tensor], Tensor]


def seeded(*shape: int, scale: float = 1.0) -> Tensor:
    """Normal numbers, the same every time."""
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(7))


TURN = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.3, 0.5], [0.3, 0.0, -0.2], [-0.5, 0.2, 0.0]]))
"""Some rotation."""

LANDMARKS = seeded(68, 3, scale=20.0) + 64
"""Some landmarks, in pixels."""
