"""Aligned pairs of image and volume, made on the fly: the room that composes (paper sections 3.2 and 3.4)."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vrn_lite.camera import Similarity, crop_camera, jitter
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import FACE_SIZE, Grid, Image, Landmarks, Volume
from vrn_lite.landmarks import FLIP, mirror
from vrn_lite.memory import trim_malloc
from vrn_lite.mesh import Mesh
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.raster import nearest, rasterize
from vrn_lite.synth.appearance import Appearance, Rng
from vrn_lite.synth.hair import add_hair, hair_triangles
from vrn_lite.synth.render import render
from vrn_lite.volume import fill, voxelize


@dataclass(frozen=True)
class FacePairs:
    """A batch of training or test samples in the voxel frame.

    Attributes
    ----------
    images : ``[b, 3, h, w]`` in [0, 1].
    volumes : ``[b, d, h, w]``, bool.
    landmarks : ``[b, 68, 3]``, iBUG order (renumbered where mirrored), pixels.
    truth : the placed meshes, before mirroring; `mesh(i)` gives the one that fits image i.
    mirrored : ``[b]``, which samples are flipped left to right.
    yaw, pitch : ``[b]`` degrees, before augmentation; a mirrored sample shows the opposite yaw.
    camera : from the model frame to `truth`.
    tags : what a test set says of each sample, the name of its expression; empty elsewhere.
    found : ``[b, 68, 2]``, landmarks that a detector sees in the images, pixels; None where nobody has looked.
    """

    images: Image
    volumes: Volume
    landmarks: Landmarks
    truth: Mesh
    mirrored: Bool[Tensor, " b"]
    yaw: Float[Tensor, " b"]
    pitch: Float[Tensor, " b"]
    camera: Similarity
    tags: tuple[str, ...] = ()
    found: Float[Tensor, "b 68 2"] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def mesh(self, index: int) -> Mesh:
        """The true mesh of sample `index`, mirrored where the image is."""
        mesh = self.truth[index]
        if not self.mirrored[index]:
            return mesh
        x = mesh.vertices.new_tensor([1.0, 0.0, 0.0])
        vertices = self.images.shape[-1] * x + (1 - 2 * x) * mesh.vertices
        landmarks = None if mesh.landmarks is None else mesh.landmarks[FLIP.to(mesh.landmarks.device)]
        return replace(mesh, vertices=vertices, triangles=mesh.triangles.flip(1), landmarks=landmarks)


@dataclass(frozen=True)
class PoseRange:
    """Poses and augmentation of a set of samples; the defaults are the training's (paper section 3.4).

    Attributes
    ----------
    yaw : largest angle, degrees; uniform.
    pitch, pitch_most : standard deviation and clip of a normal, degrees.
    angle : largest in-plane rotation, degrees.
    shift : largest translation, pixels of a 192 px image.
    zoom : largest change of scale.
    mirror : share of mirrored samples.
    loose : share of samples with a crop as face finders give them, before landmarks correct it: 0.55 to 1.8 times the
        right size, and up to a third of the face off to any side.
    """

    yaw: float = 90
    pitch: float = 20
    pitch_most: float = 60
    angle: float = 45
    shift: float = 15
    zoom: float = 0.15
    mirror: float = 0.2
    loose: float = 0.0


PAPER_JITTER = PoseRange()
"""Training poses with the paper's augmentation."""

MILD_JITTER = PoseRange(angle=10, shift=5, zoom=0.05)
"""Training poses with less augmentation, for trainings of minutes: upright crops need fewer samples."""

LOOSE_JITTER = PoseRange(angle=30, shift=6, zoom=0.08, loose=0.25)
"""Training poses of the shipped networks: heads as upright as people hold them, every fourth in a finder's crop."""

NO_JITTER = PoseRange(pitch=15, pitch_most=40, angle=0, shift=0, zoom=0, mirror=0)
"""Poses without augmentation: the held-out set's."""


def make_pairs(
    face: MorphableFace,
    preset: Preset | str,
    batch: int,
    generator: torch.Generator,
    device: torch.device | str | None = None,
    *,
    appearance: Appearance | None = None,
    poses: PoseRange = PAPER_JITTER,
) -> FacePairs:
    """A batch of aligned images and volumes: one rasterization, two reductions.

    Parameters
    ----------
    face : the source, on `device` already (`face.to(device)`), else it is moved.
    preset : gives the grid.
    generator : a CPU generator; the same state gives the same pairs on one device.
    device : where the pairs are made; by default where `face` is.
    appearance : how people, light and pictures look; None for the defaults of `Appearance`.
    poses : range of poses and augmentation.

    Examples
    --------
    >>> from vrn_lite.faces import procedural
    >>> pairs = make_pairs(procedural(), "tiny", 2, torch.Generator().manual_seed(0))
    >>> pairs.images.shape, pairs.volumes.shape
    (torch.Size([2, 3, 32, 32]), torch.Size([2, 32, 32, 32]))
    """
    grid = preset_named(preset).grid
    face = face.to(face.mean.device if device is None else device)
    rng = Rng.of(generator, batch, face.mean.device)
    mesh = face.sample(generator, batch)  # [b, v, 3], model frame, closed
    view = draw_view(mesh.landmark_points(), face.interocular, grid, poses, rng.stream("view"))
    pairs = draw_pairs(mesh, view, face, grid, rng, appearance or Appearance())
    return flip_marked(replace(pairs, mirrored=rng.stream("mirror").bernoulli(poses.mirror) > 0))


class View(NamedTuple):
    """From where heads are seen: the camera from model to voxel frame; yaw and pitch ``[b]`` in degrees."""

    camera: Similarity
    yaw: Float[Tensor, " b"]
    pitch: Float[Tensor, " b"]


def draw_pairs(mesh: Mesh, view: View, face: MorphableFace, grid: Grid, rng: Rng, appearance: Appearance) -> FacePairs:
    """Images and volumes of closed heads in the model frame, under a view; none is mirrored.

    Meshes with colours (scans) are shown in them; others get random ones.
    """
    voxels = len(mesh.vertices) * math.prod(grid.shape)
    trim_malloc(voxels)  # what others have left
    hair = add_hair(mesh.vertices, face, rng, appearance)
    placed = mesh.with_vertices(view.camera(hair.vertices))  # [b, v, 3], voxel frame
    both_sides = mesh.solid_mask().clone()
    both_sides[: len(face.triangles)] |= hair_triangles(face)
    fragments = rasterize(placed.vertices, mesh.triangles, grid.height, grid.width, one_sided=~both_sides)
    points = placed.landmark_points()
    seen = nearest(fragments.where(mesh.visible_mask()[fragments.triangle]))
    colours = mesh.colours
    images = render(seen, placed.vertices, face, hair, points, view.camera, grid, rng, appearance, painted=colours)
    solid = fragments.where(mesh.solid_mask()[fragments.triangle])
    volumes = fill(solid, grid.depth, grid.depth_scale, mesh.solid_triangles())  # [b, d, h, w]
    trim_malloc(voxels)
    mirrored = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    return FacePairs(images, volumes, points, placed, mirrored, view.yaw, view.pitch, view.camera)


def draw_view(landmarks: Landmarks, interocular: float, grid: Grid, poses: PoseRange, rng: Rng) -> View:
    """Random pose and augmentation of heads in the model frame."""
    yaw = rng.uniform(-poses.yaw, poses.yaw)
    pitch = (poses.pitch * rng.normal()).clamp(-poses.pitch_most, poses.pitch_most)
    crop = crop_camera(landmarks, yaw, pitch, torch.zeros_like(yaw), interocular, grid)
    return View(crop.compose(draw_jitter(poses, grid, rng)), yaw, pitch)


def draw_jitter(poses: PoseRange, grid: Grid, rng: Rng) -> Similarity:
    """Random augmentation of crops: in-plane rotation, translation and zoom, in the voxel frame."""
    angle = rng.uniform(-poses.angle, poses.angle)
    shift = rng.uniform(-poses.shift, poses.shift, 2)
    zoom = rng.uniform(1 - poses.zoom, 1 + poses.zoom)
    # A finder's crop: sizes are uniform in their logarithm, places in a third of the face.
    loose = rng.bernoulli(poses.loose)
    zoom = torch.where(loose > 0, rng.uniform(*FINDER_ZOOM).exp(), zoom)
    shift = torch.where(loose[:, None] > 0, rng.uniform(-FINDER_SHIFT, FINDER_SHIFT, 2), shift)
    return jitter(angle, shift, zoom, grid)


FINDER_ZOOM = (math.log(0.55), math.log(1.8))
"""Range of the logarithm of a finder's size error, as seen on real photographs."""

FINDER_SHIFT = 192 * FACE_SIZE / 3
"""A third of the face, in pixels of a 192 px image."""


def flip_marked(pairs: FacePairs) -> FacePairs:
    """Flip the marked samples' tensors, in place; the truth stays, `FacePairs.mesh` mirrors it."""
    pairs.images[pairs.mirrored] = pairs.images[pairs.mirrored].flip(-1)
    return _flip_targets(pairs)


def _flip_targets(pairs: FacePairs) -> FacePairs:
    flip = pairs.mirrored
    pairs.volumes[flip] = pairs.volumes[flip].flip(-1)
    pairs.landmarks[flip] = mirror(pairs.landmarks[flip], pairs.images.shape[-1])
    return pairs


def unaligned(pairs: FacePairs, interocular: float, grid: Grid) -> FacePairs:
    """The same images with targets that do not follow them: every face frontal, centred and at its own frontal scale.

    Identity, expression and mirroring stay; yaw, pitch, roll and jitter are taken out of volumes, landmarks, truth and
    camera (paper section 5, first ablation). `interocular` is the source's outer interocular distance.
    """
    upright, back = torch.zeros(len(pairs), device=pairs.images.device), pairs.camera.inverse()
    camera = crop_camera(back(pairs.truth.landmark_points()), upright, upright, upright, interocular, grid)
    truth = pairs.truth.with_vertices(back.compose(camera)(pairs.truth.vertices))
    volumes = voxelize(truth.vertices, truth.solid_triangles(), grid.shape, grid.depth_scale)
    trim_malloc(volumes.numel())
    landmarks = truth.landmark_points()
    return _flip_targets(replace(pairs, volumes=volumes, landmarks=landmarks, truth=truth, camera=camera))
