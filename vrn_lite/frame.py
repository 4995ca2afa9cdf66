"""The voxel frame: the only place for axes, the half voxel and the depth scale.

::

        +----------> x, columns c          one unit = one pixel of the network's input
       /|
      / |                                  pixel (r, c) has its centre at (c + 1/2, r + 1/2)
     z  |                                  voxel d has its centre at depth (d + 1/2) / depth_scale
        v
        y, rows r                          volume[d, r, c]: the index order reverses (x, y, z)

``volume[d, r, c] = 1`` means that the point (c + 1/2, r + 1/2, (d + 1/2) / depth_scale) lies inside the solid.
The depth z grows away from the viewer, so the frame is right-handed.

Letters in shapes: b batch, d h w grid, v vertices, t triangles, n fragments, l landmarks.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Image = Float[Tensor, "*b 3 h w"]
Volume = Bool[Tensor, "*b d h w"]
Vertices = Float[Tensor, "*b v 3"]
Triangles = Int[Tensor, "t 3"]
Landmarks = Float[Tensor, "*b 68 3"]

AUTHORS_SHAPE, AUTHORS_DEPTH_SCALE = (200, 192, 192), 2.0
"""The paper's grid (section 3.2): depth, height and width; slices per pixel, so that 200 slices are 100 px deep."""

PIVOT_DEPTH = 0.48
"""The head's pivot stands at this share of the grid's depth (slice 96 of 200)."""

FACE_SIZE = 90 / 192
"""sqrt(width * height) of the landmarks' box, as a share of the image's side (the authors' crop)."""


class InputError(ValueError):
    """Something a caller handed over is wrong; the text says what, and what to do about it."""


def require(condition: bool, message: str) -> None:
    """Raise `InputError` with `message` unless `condition` holds."""
    if not condition:
        raise InputError(message)


@dataclass(frozen=True)
class Grid:
    """Size of a volume, in voxels, and its sampling along the depth.

    Attributes
    ----------
    depth, height, width : voxels; height and width are also the image's, in pixels.
    depth_scale : slices per pixel; `depth / depth_scale` is the depth in pixels.
    """

    depth: int = 200
    height: int = 192
    width: int = 192
    depth_scale: float = 1.5

    def __post_init__(self) -> None:
        require(min(self.shape) > 0, f"a grid needs positive sizes, got depth x height x width = {self.shape}")
        require(self.depth_scale > 0, f"depth_scale must be positive, got {self.depth_scale}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(depth, height, width)."""
        return self.depth, self.height, self.width

    @property
    def side(self) -> float:
        """Geometric mean of height and width, in pixels: what crop and augmentation scale with."""
        return (self.height * self.width) ** 0.5

    @property
    def centre(self) -> tuple[float, float, float]:
        """The point (x, y, z) where the head's crop box and pivot are put, in pixels."""
        return self.width / 2, self.height / 2, PIVOT_DEPTH * self.depth / self.depth_scale


def voxel_centres(grid: Grid, device: torch.device | str | None = None) -> Float[Tensor, "d h w 3"]:
    """Points (x, y, z) at the centres of all voxels, in the voxel frame.

    Examples
    --------
    >>> voxel_centres(Grid(2, 1, 1, depth_scale=2.0))[:, 0, 0]
    tensor([[0.5000, 0.5000, 0.2500],
            [0.5000, 0.5000, 0.7500]])
    """
    d, r, c = (torch.arange(size, device=device) + 0.5 for size in grid.shape)
    z, y, x = torch.meshgrid(d / grid.depth_scale, r, c, indexing="ij")
    return torch.stack((x, y, z), dim=-1)
