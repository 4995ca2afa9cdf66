"""What the paper's ablations and two of its claims are measured with (sections 1 and 5): one variation each, all else equal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import fmean

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vrn_lite.camera import PIVOT_BEHIND_LANDMARKS, Similarity, crop_camera, jitter
from vrn_lite.evaluation.evaluate import Row, Table, score
from vrn_lite.evaluation.predictors import Answer, Reconstruct, by_network, put_back, told
from vrn_lite.evaluation.testsets import CHUNK, heldout_seed
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, require
from vrn_lite.inference import probabilities
from vrn_lite.landmarks import mirror
from vrn_lite.networks.base import FaceNetwork
from vrn_lite.photo.registration import orthographic
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.samples import NO_JITTER, FacePairs, View, draw_pairs, draw_view, unaligned
from vrn_lite.synth.appearance import Appearance, Rng
from vrn_lite.volume import isosurface, voxelize


def table_of(name: str, reconstruct: Reconstruct, batches: Iterable[FacePairs], preset: Preset, face: MorphableFace, protocol: str = "heldout") -> Table:
    """One method on any batches of samples."""
    rows: list[Row] = []
    for pairs in batches:
        rows.extend(score(name, reconstruct, pairs, preset.grid, len(rows)))
        del pairs  # two batches at a time would take much memory
    return Table(tuple(rows), preset.name, face.name, protocol)


def displaced(source: MorphableFace, n: int, seed: int = 2017, *, preset: Preset | str = "lite", shift: float = 0.0, zoom: float = 1.0) -> Iterator[FacePairs]:
    """The held-out heads in crops that miss: "does not require accurate alignment" (paper section 1), put to the test.

    Parameters
    ----------
    shift : the face lies so many pixels of a 192 px image away from the crop's centre, in a random direction.
    zoom : the face is so many times its right size.
    source, n, seed, preset : as in `heldout`, whose heads, poses and lights these are.
    """
    grid = preset_named(preset).grid
    require(n % CHUNK == 0 and n > 0, f"n must be a multiple of {CHUNK}, got {n}")
    for chunk in range(n // CHUNK):
        generator = torch.Generator().manual_seed(heldout_seed(seed, chunk))
        rng = Rng.of(generator, CHUNK, source.mean.device)
        mesh = source.sample(generator, CHUNK)
        view = draw_view(mesh.landmark_points(), source.interocular, grid, NO_JITTER, rng.stream("view"))
        turn = 2 * torch.pi * torch.rand(CHUNK, generator=torch.Generator().manual_seed(heldout_seed(seed, chunk) - 2**31))
        away = shift * torch.stack((turn.cos(), turn.sin()), -1).to(source.mean.device)
        missed = jitter(torch.zeros_like(view.yaw), away, torch.full_like(view.yaw, zoom), grid)
        shown = View(view.camera.compose(missed), view.yaw, view.pitch)
        yield draw_pairs(mesh, shown, source, grid, rng, Appearance())


def occluded(pairs: FacePairs, share: float, generator: torch.Generator) -> FacePairs:
    """The same samples with a patch over the face: "arbitrary occlusions" (paper section 1), put to the test.

    The patch is a disc, cut off by the image's edge, about a random point of the face's silhouette and just large enough
    to hide `share` of it; its texture is smooth noise of a random colour.
    """
    if share == 0:
        return pairs
    rng = Rng.of(generator, len(pairs), pairs.images.device)
    silhouettes, where = pairs.volumes.any(1), rng.uniform01().tolist()
    hidden = torch.stack([_disc(face, share, lot) for face, lot in zip(silhouettes, where, strict=True)])
    height, width = pairs.images.shape[-2:]
    texture = (rng.uniform01(3, 1, 1) + 0.3 * rng.field(3, height, width, 6)).clamp(0, 1)
    return replace(pairs, images=torch.where(hidden[:, None], texture, pairs.images))


def _disc(face: Bool[Tensor, "h w"], share: float, lot: float) -> Bool[Tensor, "h w"]:
    """The smallest disc about one of the face's pixels that hides a share of them; `lot` in [0, 1) chooses the pixel."""
    pixels = face.nonzero().float()
    centre = pixels[int(lot * len(pixels))]
    radius = (pixels - centre).norm(dim=-1).quantile(share)
    rows, columns = (torch.arange(size, device=face.device) for size in face.shape)
    return torch.hypot(rows[:, None] - centre[0], columns[None] - centre[1]) <= radius


def perturbed(landmarks: Float[Tensor, "b 68 n"], pixels: float, generator: torch.Generator, width: int) -> Float[Tensor, "b 68 n"]:
    """Landmarks with x and y moved by `pixels` (of a 192 px image) in the mean, each in a random direction (normal errors)."""
    noise = torch.randn(landmarks[..., :2].shape, generator=generator).to(landmarks)
    moved = landmarks.clone()
    moved[..., :2] += noise * pixels * width / 192 / (torch.pi / 2) ** 0.5  # the mean length of a normal vector in the plane
    return moved


def found_camera(face: MorphableFace, points: Float[Tensor, "b 68 n"], grid: Grid) -> Similarity:
    """The camera that landmarks in the image suggest, for a head with the mean face's shape; depth as `camera.crop_camera` puts it."""
    model = face.mean[face.landmarks].expand(len(points), -1, -1)
    camera = orthographic(model, points[..., :2])
    pivot = (model.mean(1) - model.new_tensor([0.0, 0.0, PIVOT_BEHIND_LANDMARKS * face.interocular]))[:, None]
    depth = grid.centre[2] - camera(pivot)[:, 0, 2]
    return replace(camera, translation=camera.translation + depth[:, None] * camera.translation.new_tensor([0.0, 0.0, 1.0]))


def by_unaligned_and_pose(network: FaceNetwork, face: MorphableFace, average: bool = False) -> Reconstruct:
    """What an unaligned network is worth in the image: its frontal face, put back with the pose that found landmarks suggest.

    The mean face stands in for the unknown one, both in the frontal crop and in the search for the pose.
    """
    grid = network.preset.grid

    def reconstruct(pairs: FacePairs) -> Iterable[Answer]:
        found, flip = told(pairs), pairs.mirrored
        found = torch.where(flip[:, None, None], mirror(found, grid.width), found)
        level = torch.zeros(len(pairs), device=found.device)
        frontal = crop_camera(face.mean[face.landmarks].expand(len(pairs), -1, -1), level, level, level, face.interocular, grid)
        way = frontal.inverse().compose(found_camera(face, found, grid))
        target = unaligned(pairs, face.interocular, grid)
        return put_back(by_network(network, average)(target), target, pairs, grid, way)

    return reconstruct


def by_hard_volume(network: FaceNetwork, average: bool = False) -> Reconstruct:
    """The surface of the network's solid, of zeros and ones, instead of its probabilities: what soft values are worth."""
    grid = network.preset.grid

    def reconstruct(pairs: FacePairs) -> Iterable[Answer]:
        for solid in probabilities(network, pairs.images, average) > 0.5:
            yield Answer(solid, isosurface(solid, depth_scale=grid.depth_scale) if bool(solid.any()) else None)

    return reconstruct


def by_soft_oracle(grid: Grid, finer: int = 4) -> Reconstruct:
    """The true volume with each voxel's share of solid instead of zero or one, from a grid that is `finer` times as fine."""
    shape = (finer * grid.depth, finer * grid.height, finer * grid.width)

    def reconstruct(pairs: FacePairs) -> Iterable[Answer]:
        for index, hard in enumerate(pairs.volumes):
            mesh = pairs.mesh(index)
            solid = voxelize(finer * mesh.vertices, mesh.solid_triangles(), shape, grid.depth_scale)
            soft = F.avg_pool3d(solid[None, None].float(), finer)[0, 0]
            yield Answer(hard, isosurface(soft, depth_scale=grid.depth_scale))

    return reconstruct


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and sample standard deviation over seeds; no deviation for one value."""
    middle = fmean(values)
    if len(values) < 2:
        return {"mean": middle}
    return {"mean": middle, "std": (sum((value - middle) ** 2 for value in values) / (len(values) - 1)) ** 0.5}
