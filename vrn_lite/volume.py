"""Volumetric encoding and back: they share the half voxel, the depth scale and the level (paper section 3.2)."""

import warnings

import numpy as np
import torch
import trimesh
from skimage.measure import marching_cubes
from torch import Tensor

from vrn_lite.frame import AUTHORS_DEPTH_SCALE, AUTHORS_SHAPE, InputError, Triangles, Vertices, Volume, require
from vrn_lite.mesh import boundary_edges
from vrn_lite.raster import Fragments, rasterize


def voxelize(
    vertices: Vertices,
    triangles: Triangles,
    shape: tuple[int, int, int] = AUTHORS_SHAPE,
    depth_scale: float = AUTHORS_DEPTH_SCALE,
) -> Volume:
    """The solid that a closed mesh bounds, one bit per voxel centre.

    ``volume[d, r, c]`` is True where (c + 1/2, r + 1/2, (d + 1/2) / depth_scale) lies inside: where a ray from the
    viewer has crossed the surface an odd number of times. Parts outside the grid are cut off.

    Parameters
    ----------
    vertices : ``[..., v, 3]``, voxel frame, pixels.
    triangles : ``[t, 3]``, shared by the batch, closed.
    shape : depth, height and width of the grid, in voxels.
    depth_scale : slices per pixel along the depth.

    Returns
    -------
    bool tensor ``[..., d, h, w]``.

    Raises
    ------
    InputError : the mesh is open, empty, or not finite. A warning says where nothing of it is inside the grid.

    Examples
    --------
    >>> corners = torch.tensor([[x, y, z] for x in (1.0, 2.0) for y in (0.0, 2.0) for z in (0.0, 3.0)])
    >>> hull = trimesh.convex.convex_hull(corners.numpy())
    >>> voxelize(torch.tensor(hull.vertices), torch.tensor(hull.faces), (3, 2, 3), depth_scale=1.0)[1].int()
    tensor([[0, 1, 0],
            [0, 1, 0]], dtype=torch.int32)
    """
    positive = min(shape) > 0 and depth_scale > 0
    require(positive, f"shape and depth_scale must be positive, got {tuple(shape)} and {depth_scale}")
    points = vertices.ndim >= 2 and vertices.shape[-1] == 3
    require(points, f"vertices must be [..., v, 3], got {tuple(vertices.shape)}")
    require(triangles.ndim == 2 and triangles.shape[1] == 3, f"triangles must be [t, 3], got {tuple(triangles.shape)}")
    batched = vertices.reshape(-1, *vertices.shape[-2:])
    fragments = rasterize(batched, triangles, shape[1], shape[2])
    volume = fill(fragments, shape[0], depth_scale, triangles).reshape(*vertices.shape[:-2], *shape)
    depth = fragments.depth
    if depth.numel() == 0 or float(depth.max()) <= 0 or float(depth.min()) * depth_scale >= shape[0]:
        low, high = (corner.tolist() for corner in batched[:, triangles.unique()].flatten(0, 1).aminmax(dim=0))
        box = " x ".join(f"{a:.4g} to {b:.4g}" for a, b in zip(low, high, strict=True))
        grid = f"{shape[2]} x {shape[1]} x {shape[0] / depth_scale:g} px"
        warnings.warn(f"nothing of the mesh ({box}) lies inside the grid of {grid}: place it there first", stacklevel=2)
    return volume


def fill(fragments: Fragments, depth: int, depth_scale: float, triangles: Triangles) -> Volume:
    """The parity reduction: ``[b, d, h, w]`` from all fragments of closed solids.

    A fragment at depth z toggles the voxels d >= ceil(z * depth_scale - 1/2). `triangles` only serve the error message.

    Raises
    ------
    InputError : a column holds an odd number of fragments, so the mesh is open.
    """
    samples, height, width = fragments.shape
    _require_even_columns(fragments, triangles)
    first = (fragments.depth.double() * depth_scale - 0.5).ceil_().clamp_(0, depth).long()
    flat = ((fragments.sample * (depth + 1) + first) * height + fragments.row) * width + fragments.column
    toggles = torch.zeros(samples * (depth + 1) * height * width, dtype=torch.uint8, device=flat.device)
    toggles.index_add_(0, flat, torch.ones_like(flat, dtype=torch.uint8))
    volume = toggles.view(samples, depth + 1, height, width)[:, :depth].bitwise_and_(1)
    for d in range(1, depth):
        volume[:, d] ^= volume[:, d - 1]
    return volume.contiguous().view(torch.bool)


def _require_even_columns(fragments: Fragments, triangles: Triangles) -> None:
    samples, height, width = fragments.shape
    count = torch.zeros(samples * height * width, dtype=torch.int32, device=fragments.depth.device)
    count.index_add_(0, fragments.pixel, torch.ones_like(fragments.pixel, dtype=torch.int32))
    odd = int((count & 1).sum())
    if odd:
        raise InputError(
            f"the mesh is open: {odd} columns of the grid cross its surface an odd number of times, "
            f"and it has {len(boundary_edges(triangles))} boundary edges; close it first with vrn_lite.mesh.close"
        )


def isosurface(
    volume: Tensor | np.ndarray, level: float = 0.5, depth_scale: float = AUTHORS_DEPTH_SCALE
) -> trimesh.Trimesh:
    """The closed surface where a volume of probabilities (or bits) crosses `level`, in the voxel frame.

    Marching cubes over voxel centres, with one empty voxel all round, so that a solid cut off by the grid still gives
    a closed mesh. Triangles face outward.

    Parameters
    ----------
    volume : ``[d, h, w]``, probabilities in [0, 1] or bool.
    level : the iso-value.
    depth_scale : slices per pixel along the depth.

    Raises
    ------
    InputError : wrong shape, values that are not finite, or no crossing of the level.
    """
    values = np.asarray(volume.detach().cpu().float() if isinstance(volume, Tensor) else volume, dtype=np.float32)
    require(values.ndim == 3, f"volume must be [d, h, w], got {values.shape}")
    require(bool(np.isfinite(values).all()), "the volume has values that are not finite (NaN or infinity)")
    padded = np.pad(values, 1)
    if not padded.max() > level >= 0:
        raise InputError(f"the volume has no surface at level {level:g}: its largest value is {values.max():g}")
    indices, faces, _, _ = marching_cubes(padded, level)
    points = (indices - 0.5)[:, ::-1] / (1.0, 1.0, depth_scale)  # padding moved the centre of voxel 0 from 1/2 to 1
    return trimesh.Trimesh(points, faces, process=False)
