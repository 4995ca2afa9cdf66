"""What the paper's ablations and two of its claims (sections 1 and 5) are measured with: one variation at a time."""

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vrn_lite.camera import PIVOT_BEHIND_LANDMARKS, Similarity, crop_camera, jitter
from vrn_lite.evaluation.predictors import Pose, Prediction3D, Predictor, detected_landmarks, surface_of
from vrn_lite.evaluation.testsets import CHUNK, TestSet, generators
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid
from vrn_lite.inference import probabilities
from vrn_lite.landmarks import mirror
from vrn_lite.networks.base import FaceNetwork
from vrn_lite.photo.registration import orthographic
from vrn_lite.presets import Preset
from vrn_lite.samples import NO_JITTER, FacePairs, View, draw_pairs, draw_view
from vrn_lite.synth.appearance import Appearance, Rng
from vrn_lite.volume import isosurface, voxelize

# Test sets


def displaced(face: MorphableFace, n: int, seed: int = 2017, *, shift: float = 0.0, zoom: float = 1.0) -> TestSet:
    """The held-out heads in crops that miss: "does not require accurate alignment" (paper section 1), put to the test.

    Parameters
    ----------
    face, n, seed : as in `heldout`, whose heads, poses and lights these are.
    shift : the face lies so many pixels of a 192 px image away from the crop's centre, in a random direction.
    zoom : the face is so many times its right size.
    """

    def make(preset: Preset) -> Iterator[FacePairs]:
        for generator in generators(seed):
            directions = torch.Generator().manual_seed(generator.initial_seed() - 2**31)
            rng, mesh = Rng.of(generator, CHUNK, face.mean.device), face.sample(generator, CHUNK)
            view = draw_view(mesh.landmark_points(), face.interocular, preset.grid, NO_JITTER, rng.stream("view"))
            turn = 2 * torch.pi * torch.rand(CHUNK, generator=directions)
            away = shift * torch.stack((turn.cos(), turn.sin()), -1).to(face.mean.device)
            missed = jitter(torch.zeros_like(view.yaw), away, torch.full_like(view.yaw, zoom), preset.grid)
            shown = View(view.camera.compose(missed), view.yaw, view.pitch)
            yield draw_pairs(mesh, shown, face, preset.grid, rng, Appearance())

    return TestSet("displaced", face.name, face, n, make)


def occluded(testset: TestSet, share: float, seed: int = 1) -> TestSet:
    """The same samples with a patch over the face: "arbitrary occlusions" (paper section 1), put to the test.

    The patch is a disc, cut off by the image's edge, about a random point of the face's silhouette and just large
    enough to hide `share` of it; its texture is smooth noise of a random colour.
    """

    def make(preset: Preset) -> Iterator[FacePairs]:
        return map(lambda pairs, rng: hidden(pairs, share, rng), testset.batches(preset), generators(seed))

    return replace(testset, make=make)


def hidden(pairs: FacePairs, share: float, generator: torch.Generator) -> FacePairs:
    """A batch with the patches of `occluded`."""
    if share == 0:
        return pairs
    rng = Rng.of(generator, len(pairs), pairs.images.device)
    silhouettes, where = pairs.volumes.any(1), rng.uniform01().tolist()
    discs = torch.stack([_disc(face, share, point) for face, point in zip(silhouettes, where, strict=True)])
    height, width = pairs.images.shape[-2:]
    texture = (rng.uniform01(3, 1, 1) + 0.3 * rng.field(3, height, width, 6)).clamp(0, 1)
    return replace(pairs, images=torch.where(discs[:, None], texture, pairs.images))


def _disc(face: Bool[Tensor, "h w"], share: float, point: float) -> Bool[Tensor, "h w"]:
    """The smallest disc about one of the face's pixels that hides a share of them; `point` in [0, 1) chooses it."""
    pixels = face.nonzero().float()
    centre = pixels[int(point * len(pixels))]
    radius = (pixels - centre).norm(dim=-1).quantile(share)
    rows, columns = (torch.arange(size, device=face.device) for size in face.shape)
    return torch.hypot(rows[:, None] - centre[0], columns[None] - centre[1]) <= radius


def perturbed(
    landmarks: Float[Tensor, "b 68 n"], pixels: float, generator: torch.Generator, width: int
) -> Float[Tensor, "b 68 n"]:
    """Landmarks with x and y moved by `pixels` (of a 192 px image) in the mean, each in a random direction (normal)."""
    noise = torch.randn(landmarks[..., :2].shape, generator=generator).to(landmarks)
    moved = landmarks.clone()
    moved[..., :2] += noise * pixels * width / 192 / (torch.pi / 2) ** 0.5  # the mean length of a normal vector in 2D
    return moved


# Predictors


def found_camera(face: MorphableFace, points: Float[Tensor, "b 68 n"], grid: Grid) -> Similarity:
    """The camera that landmarks in the image suggest for a head of the mean shape; depth as `crop_camera` puts it."""
    model = face.mean[face.landmarks].expand(len(points), -1, -1)
    camera = orthographic(model, points[..., :2])
    pivot = (model.mean(1) - model.new_tensor([0.0, 0.0, PIVOT_BEHIND_LANDMARKS * face.interocular]))[:, None]
    depth = grid.centre[2] - camera(pivot)[:, 0, 2]
    away = depth[:, None] * camera.translation.new_tensor([0.0, 0.0, 1.0])
    return replace(camera, translation=camera.translation + away)


def found_pose(face: MorphableFace, grid: Grid) -> Pose:
    """What detected landmarks say of the pose (for `repose`); the mean face stands in for the unknown one."""

    def pose(pairs: FacePairs) -> Similarity:
        found, flip = detected_landmarks(pairs), pairs.mirrored
        found = torch.where(flip[:, None, None], mirror(found, grid.width), found)
        level = torch.zeros(len(pairs), device=found.device)
        head = face.mean[face.landmarks].expand(len(pairs), -1, -1)
        frontal = crop_camera(head, level, level, level, face.interocular, grid)
        return frontal.inverse().compose(found_camera(face, found, grid))

    return pose


def hard_predictor(network: FaceNetwork, test_time_augmentation: bool = False) -> Predictor:
    """The surface of a network's solid, of zeros and ones, instead of its probabilities: what soft values are worth."""

    def predict(pairs: FacePairs) -> Iterator[Prediction3D]:
        for solid in probabilities(network, pairs.images, test_time_augmentation) > 0.5:
            yield Prediction3D(solid, surface_of(solid, network.preset.grid))

    return Predictor(network.preset, predict)


def soft_oracle_predictor(preset: Preset, finer: int = 4) -> Predictor:
    """The true volume with each voxel's share of solid instead of zero or one, from a grid `finer` times as fine."""
    grid = preset.grid

    def predict(pairs: FacePairs) -> Iterator[Prediction3D]:
        for index, hard in enumerate(pairs.volumes):
            mesh, shape = pairs.mesh(index), (finer * grid.depth, finer * grid.height, finer * grid.width)
            solid = voxelize(finer * mesh.vertices, mesh.solid_triangles(), shape, grid.depth_scale)
            soft = F.avg_pool3d(solid[None, None].float(), finer)[0, 0]
            yield Prediction3D(hard, isosurface(soft, depth_scale=grid.depth_scale))

    return Predictor(preset, predict)
