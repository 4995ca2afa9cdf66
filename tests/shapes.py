"""Closed forms and slow twins that several tests share."""

from fractions import Fraction
from math import ceil

import torch
import trimesh
from torch import Tensor

from vrn_lite.faces.morphable import MorphableFace

Solid = tuple[Tensor, Tensor]
"""Vertices ``[v, 3]`` and triangles ``[t, 3]`` of a closed mesh."""


def tensors(mesh: trimesh.Trimesh) -> Solid:
    return torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces)


def icosphere(radius: float, subdivisions: int = 4) -> Solid:
    return tensors(trimesh.creation.icosphere(subdivisions, radius))


def torus(radius: float, thickness: float, sections: int = 48) -> Solid:
    return tensors(trimesh.creation.torus(radius, thickness, major_sections=2 * sections, minor_sections=sections))


def box(*extents: float) -> Solid:
    return tensors(trimesh.creation.box(extents))


def tetrahedron(size: float = 1.0) -> Solid:
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return size * corners, torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def bricks(cells: Tensor, size: float = 1.0) -> Solid:
    """The surface of a set of lattice cells ``[x, y, z]``: every vertex, edge and triangle stands on the lattice."""
    mesh = trimesh.voxel.VoxelGrid(cells.numpy()).as_boxes()
    merged = trimesh.Trimesh(mesh.vertices + 0.5, mesh.faces, process=True)
    faces = merged.faces[trimesh.grouping.group_rows(merged.triangles_center.round(3), require_count=1)]  # inner walls occur twice
    return size * torch.tensor(merged.vertices, dtype=torch.float32), torch.tensor(faces)


def turns(count: int, seed: int = 0) -> Tensor:
    """Random rotations ``[count, 3, 3]``."""
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    q = q * torch.diagonal(r, dim1=1, dim2=2).sign()[:, None]
    return (q * torch.linalg.det(q)[:, None, None].sign()).float()


def plain_fragments(vertices: Tensor, triangles: Tensor, height: int, width: int) -> dict[tuple[int, int, int], tuple[Fraction, Fraction, Fraction]]:
    """The rasterizer as plain loops: edge functions with the top-left rule, in integers; (triangle, row, column) -> weights."""
    snapped = [tuple(round(256 * value) for value in vertex[:2]) for vertex in vertices.tolist()]
    found = {}
    for number, (i, j, k) in enumerate(triangles.tolist()):
        a, b, c = snapped[i], snapped[j], snapped[k]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        edges = [(b, c), (c, a), (a, b)] if area > 0 else [(c, b), (a, c), (b, a)]
        for row in range(height):
            for column in range(width):
                x, y, weights, inside = 256 * column + 128, 256 * row + 128, [], area != 0
                for (x0, y0), (x1, y1) in edges:
                    dx, dy = x1 - x0, y1 - y0
                    value = dx * (y - y0) - dy * (x - x0)
                    inside &= value > 0 or (value == 0 and (dy < 0 or (dy == 0 and dx > 0)))
                    weights.append(Fraction(value, abs(area) or 1))
                if inside:
                    found[number, row, column] = tuple(weights)
    return found


def plain_volume(vertices: Tensor, triangles: Tensor, shape: tuple[int, int, int], depth_scale: float) -> Tensor:
    """Voxelization as plain loops: each crossing toggles all voxels of its column that lie behind it."""
    depth, height, width = shape
    volume = torch.zeros(shape, dtype=torch.bool)
    for (number, row, column), weights in plain_fragments(vertices, triangles, height, width).items():
        corners = vertices[triangles[number], 2].tolist()
        z = sum(w * Fraction(corner) for w, corner in zip(weights, corners, strict=True))
        first = ceil(z * Fraction(depth_scale) - Fraction(1, 2))
        volume[min(max(first, 0), depth) :, row, column] ^= True
    return volume


def toy_face() -> MorphableFace:
    """A small bulging face with a mouth, a nose and a hair line: everything that the code asks of a face, in 400 vertices."""
    side, hole = 20, (slice(12, 13), slice(7, 12))
    y, x = torch.meshgrid(torch.linspace(8, -8, side), torch.linspace(-7, 7, side), indexing="ij")
    z = 8 - (x**2 + y**2) / 14 + 2.5 * torch.exp(-(x**2 + (y + 0.5) ** 2) / 2)
    number = torch.arange(side * side).view(side, side)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    kept = torch.ones_like(a, dtype=torch.bool)
    kept[hole] = False
    triangles = torch.stack([torch.stack((a, c, b), -1)[kept], torch.stack((b, c, d), -1)[kept]], 1).reshape(-1, 3)
    mean = torch.stack((x, y, z), -1).view(-1, 3)
    modes = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)) * 0.05
    identity = torch.stack([0.05 * mean * mode + 0.1 * torch.sin(mean[:, [1, 2, 0]] + 20 * mode) for mode in modes])
    jaw = torch.zeros_like(mean)
    jaw[:, 1] = -((-y.flatten() - 2).clamp(min=0))
    smile = torch.zeros(2, *mean.shape)
    smile[0, :, 1], smile[1, :, 1] = (0.4 * torch.exp(-((x.flatten() - sign * 2) ** 2 + (y.flatten() + 3) ** 2) / 2) for sign in (1, -1))
    targets = torch.tensor(landmark_plan())
    return MorphableFace(
        name="toy",
        mean=mean,
        identity=identity,
        expression=torch.cat([jaw[None], 0.5 * jaw[None].abs(), smile]),
        expression_names=("jawOpen", "mouthClose", "mouthSmile_L", "mouthSmile_R"),
        triangles=triangles,
        landmarks=torch.cdist(targets, mean[:, :2]).argmin(1),
        patch=torch.ones(len(triangles), dtype=torch.bool),
        regions={"lips": torch.exp(-(mean[:, 0] ** 2 + (mean[:, 1] + 3) ** 2)), "scalp": (mean[:, 1] - 5).clamp(0, 1)},
        often=("jawOpen",),
        needs={"mouthClose": "jawOpen"},
    )


def landmark_plan() -> list[tuple[float, float]]:
    """(x, y) of 68 landmarks of the toy face, mirror images of each other."""
    jaw = [(-6.5 + 13 * i / 16, 2 - 9 * (1 - ((i - 8) / 8) ** 2)) for i in range(17)]
    brows = [(x, 4.0) for x in (-5.5, -4.5, -3.5, -2.5, -1.5, 1.5, 2.5, 3.5, 4.5, 5.5)]
    nose = [(0.0, 2.0 - i) for i in range(4)] + [(x, -1.8) for x in (-1.4, -0.7, 0.0, 0.7, 1.4)]
    eye = [(-4.5, 2.0), (-3.8, 2.5), (-2.8, 2.5), (-2.0, 2.0), (-2.8, 1.5), (-3.8, 1.5)]
    other = [(-eye[i][0], eye[i][1]) for i in (3, 2, 1, 0, 5, 4)]
    mouth = [(-3, -3.4), (-2, -2.6), (-1, -2.2), (0, -2.4), (1, -2.2), (2, -2.6), (3, -3.4), (2, -4.4), (1, -4.8), (0, -4.8), (-1, -4.8), (-2, -4.4)]
    return jaw + brows + nose + eye + other + mouth + [(x / 1.3, -3.4 + (y + 3.4) / 2) for x, y in [mouth[i] for i in (0, 2, 3, 4, 6, 8, 9, 10)]]


def scores_of(predictor, pairs):
    """A predictor's scores on each sample of a batch."""
    from vrn_lite.evaluation.evaluate import score

    return [score(answer, pairs, index, predictor.preset.grid) for index, answer in enumerate(predictor(pairs))]
