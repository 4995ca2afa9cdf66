"""From a placed mesh to fragments: one rasterizer for the image (nearest fragment) and for the volume (parity).

A pixel centre on an edge that two triangles share must be covered exactly once. On a grid row a triangle covers one
half-open interval of columns, and half-open intervals are the top-left rule::

      row     +---------------+   top edge: the row of its pixel centres belongs to the triangle
       |       \\            /
       v   left \\--[-----)-/ right      left <= x < right, top <= y < bottom
                  \\      /
                   \\    /
                     +             bottom

Coordinates are snapped to 1/256 px. Their products are then integers below 2^53, exact in float64, and two triangles
compute the very same boundary for the edge that they share.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vrn_lite.frame import Triangles, require

SUBPIXELS = 256

FARTHEST = 2**17
"""Coordinates beyond this many pixels would make products of snapped coordinates inexact."""


class Fragments(NamedTuple):
    """Packed samples of triangles at pixel centres, ordered by sample and triangle.

    Attributes
    ----------
    sample, triangle, row, column : ``[n]`` integers.
    depth : ``[n]``, z in pixels, within the triangle's own range.
    weights : ``[n, 3]``, barycentric weights of the triangle's vertices.
    shape : (b, h, w) of the raster.
    """

    sample: Int[Tensor, " n"]
    triangle: Int[Tensor, " n"]
    row: Int[Tensor, " n"]
    column: Int[Tensor, " n"]
    depth: Float[Tensor, " n"]
    weights: Float[Tensor, "n 3"]
    shape: tuple[int, int, int]

    @property
    def pixel(self) -> Int[Tensor, " n"]:
        """Flat pixel number (sample * h + row) * w + column."""
        _, height, width = self.shape
        return (self.sample * height + self.row) * width + self.column

    def where(self, keep: Tensor) -> "Fragments":
        """The fragments selected by a mask or by numbers."""
        sample, triangle, row, column, depth, weights = (field[keep] for field in self[:6])
        return Fragments(sample, triangle, row, column, depth, weights, self.shape)


def rasterize(
    vertices: Float[Tensor, "b v 3"],
    triangles: Triangles,
    height: int,
    width: int,
    one_sided: Bool[Tensor, " t"] | None = None,
) -> Fragments:
    """All fragments of a batch of meshes in the voxel frame with shared triangles.

    Parameters
    ----------
    vertices : ``[b, v, 3]``, pixels.
    triangles : ``[t, 3]``; both facings count, degenerate ones give nothing.
    one_sided : ``[t]``, triangles that count only where they face the viewer; None for none.

    Raises
    ------
    InputError : no triangles, or coordinates that are not finite or beyond `FARTHEST`.
    """
    require(triangles.numel() > 0, "the mesh is empty: it has no triangles")
    finite, near = bool(torch.isfinite(vertices).all()), bool((vertices[..., :2].abs() <= FARTHEST).all())
    require(finite, "the mesh has vertices that are not finite (NaN or infinity): clean it first")
    require(near, f"the mesh has vertices beyond {FARTHEST} px: move it to the voxel frame first")
    snapped = (vertices[..., :2].double() * SUBPIXELS).round_()
    sample, triangle = _over_a_pixel_centre(snapped, triangles, height, width)
    corners = snapped[sample[:, None], triangles[triangle]]
    if one_sided is not None:
        kept = (~one_sided[triangle] | (_doubled_area(corners) < 0)).nonzero()[:, 0]
        sample, triangle, corners = sample[kept], triangle[kept], corners[kept]
    item, row, column = _covered_pixels(corners, height, width)
    sample, triangle = sample[item], triangle[item]
    weights = _barycentric(corners, item, row, column)
    depths = vertices[..., 2][sample[:, None], triangles[triangle]]
    low, high = depths.aminmax(dim=1)
    depth = (weights * depths).sum(1).clamp_(low, high)
    return Fragments(sample, triangle, row, column, depth, weights, (len(vertices), height, width))


def _doubled_area(corners: Float[Tensor, "k 3 2"]) -> Float[Tensor, " k"]:
    """Twice the signed area on the screen: positive clockwise (y points down), where the viewer sees the back."""
    (ax, ay), (bx, by), (cx, cy) = (corner.unbind(1) for corner in corners.unbind(1))
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


def _first_centre(coordinate: Tensor) -> Tensor:
    """The first row or column whose pixel centre is not before a snapped coordinate."""
    return ((coordinate - SUBPIXELS / 2) / SUBPIXELS).ceil_()


def _over_a_pixel_centre(snapped: Tensor, triangles: Triangles, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(sample, triangle) of those whose bounding box holds a pixel centre: most of a fine mesh's do not."""
    limit = torch.tensor([width, height], device=snapped.device)
    cell = _first_centre(snapped).clamp_(min=0).minimum(limit).to(torch.int16)
    a, b, c = (cell[:, corner] for corner in triangles.unbind(1))
    spans = torch.maximum(torch.maximum(a, b), c) > torch.minimum(torch.minimum(a, b), c)
    return spans.all(-1).nonzero(as_tuple=True)  # type: ignore[return-value]


def _covered_pixels(corners: Float[Tensor, "k 3 2"], height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Number of the triangle, row and column of every pixel centre covered by snapped triangles."""
    (ax, ay), (dx, dy) = corners.unbind(-1), (corners.roll(-1, 1) - corners).unbind(-1)
    clockwise = _doubled_area(corners)[:, None] > 0
    item, row = _expand(_first_centre(ay.amin(1)).clamp_(0, height), _first_centre(ay.amax(1)).clamp_(0, height))
    # An edge crosses the row's centre line at x = (at_zero + dx * y) / dy; the first centre from there is a bound.
    at_zero, step = ((ax - SUBPIXELS / 2) * dy - dx * ay)[item], dy[item]
    y = (row * SUBPIXELS + SUBPIXELS // 2)[:, None]
    bound = ((at_zero + dx[item] * y) / (step * SUBPIXELS)).ceil_()
    left, right = torch.where(clockwise, dy < 0, dy > 0)[item], torch.where(clockwise, dy > 0, dy < 0)[item]
    first = bound.masked_fill(~left, 0).amax(1).clamp_(0, width)
    last = bound.masked_fill(~right, width).amin(1).clamp_(0, width)
    span, column = _expand(first, last)
    return item[span], row[span], column


def _expand(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """All integers of the half-open intervals [first, last), with the number of their interval.

    Examples
    --------
    >>> _expand(torch.tensor([3, 7, 5]), torch.tensor([5, 6, 6]))
    (tensor([0, 0, 2]), tensor([3, 4, 5]))
    """
    first, count = first.long(), (last - first).clamp(min=0).long()
    interval = torch.repeat_interleave(count)
    before = count.cumsum(0) - count
    return interval, torch.arange(len(interval), device=first.device) + (first - before)[interval]


def _barycentric(corners: Float[Tensor, "k 3 2"], item: Tensor, row: Tensor, column: Tensor) -> Float[Tensor, "n 3"]:
    """Barycentric weights of pixel centres in their triangles."""
    a, to_b, to_c = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    slopes = (
        torch.stack((to_c[:, 1], -to_c[:, 0], -to_b[:, 1], to_b[:, 0]), 1) / _doubled_area(corners)[:, None] * SUBPIXELS
    )
    ax, ay, bx, by, cx, cy = torch.cat((a / SUBPIXELS, slopes), 1).float()[item].unbind(1)
    x, y = column + 0.5 - ax, row + 0.5 - ay
    b, c = (bx * x + by * y).clamp_(0, 1), (cx * x + cy * y).clamp_(0, 1)
    return torch.stack((1 - b - c, b, c), 1)


def nearest(fragments: Fragments) -> Fragments:
    """For each covered pixel the fragment nearest to the viewer (smallest depth; the first one among equals)."""
    samples, height, width = fragments.shape
    order = fragments.depth.contiguous().view(torch.int32).long()
    order = torch.where(order < 0, -(order & 0x7FFFFFFF), order)  # float bits, sorted like the floats
    number = torch.arange(len(order), device=order.device)
    key = torch.full((samples * height * width,), torch.iinfo(torch.int64).max, device=order.device)
    key.scatter_reduce_(0, fragments.pixel, (order << 32) + number, "amin")
    return fragments.where(key[key != torch.iinfo(torch.int64).max] & 0xFFFFFFFF)
