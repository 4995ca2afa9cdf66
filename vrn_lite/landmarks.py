"""The iBUG-68 landmarks: names, flip, Gaussian heat-maps and back."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.frame import require

NUM_LANDMARKS = 68

GROUPS = {
    "jaw": range(0, 17),
    "brow left": range(17, 22),
    "brow right": range(22, 27),
    "nose bridge": range(27, 31),
    "nose base": range(31, 36),
    "eye left": range(36, 42),
    "eye right": range(42, 48),
    "outer lips": range(48, 60),
    "inner lips": range(60, 68),
}
"""Parts and their (0-based) landmarks; left and right are the image's."""

CLOSED = ("eye left", "eye right", "outer lips", "inner lips")
"""Parts whose last landmark is joined to their first one when drawn."""

FLIP = torch.tensor(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46]
    + [39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
)
"""Landmark l of a mirrored face is landmark FLIP[l] of the face; an involution."""


def mirror(points: Float[Tensor, "*b 68 n"], width: int) -> Float[Tensor, "*b 68 n"]:
    """Landmarks ``[..., 68, 2 or 3]`` of the image mirrored left to right: x -> width - x, renumbered."""
    flipped = points[..., FLIP.to(points.device), :].clone()
    flipped[..., 0] = width - flipped[..., 0]
    return flipped


def displaced(
    points: Float[Tensor, "68 n"],
    part: str = "all",
    *,
    right: float = 0.0,
    down: float = 0.0,
    turn: float = 0.0,
    scale: float = 1.0,
) -> Float[Tensor, "68 n"]:
    """Landmarks of which some are wrong: turned and scaled about their own middle, then moved.

    Parameters
    ----------
    part : a name from `GROUPS`, or "all"; of `points` ``[68, 2 or 3]`` only x and y change.
    right, down, turn, scale : pixels, degrees clockwise on the screen, and a factor.

    Examples
    --------
    >>> displaced(torch.zeros(68, 2), "jaw", right=3.0)[15:18].tolist()
    [[3.0, 0.0], [3.0, 0.0], [0.0, 0.0]]
    """
    require(part == "all" or part in GROUPS, f"unknown part {part!r}: choose all, {', '.join(GROUPS)}")
    chosen = list(range(NUM_LANDMARKS)) if part == "all" else list(GROUPS[part])
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    rotation = points.new_tensor([[cos, -sin], [sin, cos]])
    middle = points[chosen, :2].mean(0)
    moved = points.clone()
    moved[chosen, :2] = scale * (points[chosen, :2] - middle) @ rotation.T + middle + points.new_tensor([right, down])
    return moved


def gaussians(
    points: Float[Tensor, "*b l n"], height: int, width: int, sigma: float = 1.0, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "*b l h w"]:
    """One Gaussian of height 1 and spread `sigma` (cells) around each point ``(x, y)`` of a `height` x `width` map.

    Only x and y of the points are used, in cells of the map; cell (r, c) has its centre at (c + 1/2, r + 1/2). A point
    that is missing (NaN) gives an empty map. The landmarks lie last in memory, as convolutions like their channels.
    """
    columns, rows = (
        _exponents(points, axis, size, sigma).exp().nan_to_num().to(dtype).mT.contiguous()
        for axis, size in enumerate((width, height))
    )
    return (rows[..., :, None, :] * columns[..., None, :, :]).movedim(-1, -3)


def heatmaps(points: Float[Tensor, "*b l n"], height: int, width: int, sigma: float = 1.0) -> Float[Tensor, "*b l h w"]:
    """What a network is trained to say of the landmarks: each map of `gaussians`, scaled to sum 1 over its cells.

    A point far outside has its map's weight in the nearest cells of the border.
    """
    columns = _exponents(points, 0, width, sigma).softmax(-1)
    rows = _exponents(points, 1, height, sigma).softmax(-1)
    return rows[..., :, None] * columns[..., None, :]


def _exponents(points: Float[Tensor, "*b l n"], axis: int, size: int, sigma: float) -> Float[Tensor, "*b l s"]:
    """Logarithms of unscaled Gaussians around the points at the centres of `size` cells along an axis."""
    return -0.5 * ((torch.arange(size, device=points.device) + 0.5 - points[..., axis, None]) / sigma) ** 2


def decode(logits: Float[Tensor, "*b l h w"]) -> Float[Tensor, "*b l 2"]:
    """The landmarks (x, y), in cells, that heat-maps stand for: the mean of the softmax over the cells.

    Of a map log(`heatmaps`) it gives back the point, to 1e-4 cells where the border is five sigma away.
    """
    height, width = logits.shape[-2:]
    share = logits.flatten(-2).softmax(-1).view(logits.shape)
    # No matrix product: autocast would round it to bfloat16.
    x = (share.sum(-2) * (torch.arange(width, device=logits.device) + 0.5)).sum(-1)
    y = (share.sum(-1) * (torch.arange(height, device=logits.device) + 0.5)).sum(-1)
    return torch.stack((x, y), -1)
