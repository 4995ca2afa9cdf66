"""Predictors: whatever makes faces of samples. Networks of every kind, and the two bounds that need none.

A predictor gives one `Prediction3D` for each sample of a batch, for `evaluate` to measure::

    FacePairs --network--> probabilities --isosurface--> Prediction3D(volume, surface, landmarks)
        |
        +--true volume, or the mean face under the true camera--> oracle and mean face, the bounds

Your own is a function and the preset whose samples it wants: ``Predictor(preset("lite"), function)``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.camera import Similarity, crop_camera
from vrn_lite.evaluation.testsets import TestSet, part
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, InputError, Triangles, Vertices, Volume, require
from vrn_lite.inference import SHIFTS, iter_probabilities, landmarks_in, shift
from vrn_lite.mesh import Mesh
from vrn_lite.networks.base import FaceNetwork, device_of, finds_landmarks
from vrn_lite.networks.regression import Estimate
from vrn_lite.presets import Preset
from vrn_lite.raster import rasterize
from vrn_lite.samples import FacePairs
from vrn_lite.volume import fill, isosurface


class Prediction3D(NamedTuple):
    """What a predictor says of one sample, in the voxel frame; None for what it never has.

    Attributes
    ----------
    volume : ``[d, h, w]``, bool; without a surface it is an answer too, and a bad one.
    surface : a mesh, or its vertices ``[v, 3]``, which alone have no overlap to measure.
    landmarks : ``[68, 2 or 3]``, pixels of the image; found, or those that guided.
    target : "frontal" where the face stands as in `samples.unaligned`, and is to be judged there.
    """

    volume: Volume | None = None
    surface: Any = None
    landmarks: Float[Tensor, "68 n"] | None = None
    target: str = "aligned"


@dataclass(frozen=True)
class Predictor:
    """A function from samples to one answer for each, and the preset whose samples it wants."""

    preset: Preset
    predict: Callable[[FacePairs], Iterable[Prediction3D]]

    def __call__(self, pairs: FacePairs) -> Iterable[Prediction3D]:
        """One answer for each sample."""
        return self.predict(pairs)


LandmarkSource = Callable[[FacePairs], Float[Tensor, "b 68 n"]]
"""Landmarks for samples, pixels: `true_landmarks`, `detected_landmarks`, or your own."""


def true_landmarks(pairs: FacePairs) -> Float[Tensor, "b 68 3"]:
    """The samples' own landmarks."""
    return pairs.landmarks


def detected_landmarks(pairs: FacePairs) -> Float[Tensor, "b 68 2"]:
    """The landmarks that a detector found in these samples (`TestSet.seen_by`); an InputError if none has looked."""
    if pairs.found is None:
        raise InputError("no detector has looked at these samples: give one, testset.seen_by(detector)")
    return pairs.found


def default_predictors(
    networks: Mapping[str, FaceNetwork], testset: TestSet, *, bounds: bool = True, test_time_augmentation: bool = True
) -> dict[str, Predictor]:
    """Every way in which these networks can be asked, by name, and the bounds for each of their grids.

    A guided network is told the detected landmarks, where a detector has seen the test set, and the true ones
    ("guided, detected landmarks" and "guided, true landmarks"). A frontal one is judged in its own frame, and where the
    true pose puts its face ("unaligned, frontal frame" and "unaligned, true pose").

    Parameters
    ----------
    networks : in eval mode; those that regress a face model's numbers are bound to one.
    testset : what they are to be measured on.
    bounds : False leaves oracle and mean face out.
    test_time_augmentation : average over shifted and mirrored copies, as `reconstruct` does; False asks once.

    Raises
    ------
    InputError : a network in training mode, or one that has not been told its face model.
    """
    found: dict[str, Predictor] = {}
    guides: dict[str, LandmarkSource] = {"detected": detected_landmarks} if testset.detector else {}
    for name, network in networks.items():
        if network.needs_face:
            found[name] = regression_predictor(network, test_time_augmentation)
        elif network.target == "frontal":
            frontal = network_predictor(network, test_time_augmentation)
            found[f"{name}, frontal frame"] = frontal
            found[f"{name}, true pose"] = repose(frontal, true_pose(testset.face, network.preset.grid))
        elif network.guided:
            for guide, landmarks in {**guides, "true": true_landmarks}.items():
                found[f"{name}, {guide} landmarks"] = network_predictor(network, test_time_augmentation, landmarks)
        else:
            found[name] = network_predictor(network, test_time_augmentation)
    presets = {network.preset.grid: network.preset for network in networks.values()} if bounds else {}
    for number, preset in enumerate(presets.values()):
        which = f", {preset.name}" if number else ""
        found[f"oracle{which}"] = oracle_predictor(preset)
        found[f"mean face{which}"] = mean_face_predictor(testset.face, preset)
    return found


# Networks


def network_predictor(
    network: FaceNetwork, test_time_augmentation: bool = True, landmarks: LandmarkSource | None = None
) -> Predictor:
    """What a network sees: probabilities, their iso-surface and the solid inside it; landmarks where it finds them.

    Parameters
    ----------
    network : in eval mode.
    test_time_augmentation : see `inference.probabilities` and `inference.landmarks_in`.
    landmarks : guide a guided network: `true_landmarks`, `detected_landmarks`, or your own.

    Raises
    ------
    InputError : a network in training mode; when asked, a guided network without landmarks.
    """
    _in_eval_mode(network)

    def predict(pairs: FacePairs) -> Iterator[Prediction3D]:
        guide = landmarks(pairs) if landmarks else None
        found = landmarks_in(network, pairs.images, test_time_augmentation) if finds_landmarks(network) else guide
        points = [None] * len(pairs) if found is None else found.cpu()
        if "logits" not in network.gives:
            yield from (Prediction3D(landmarks=one) for one in points)
            return
        chances = iter_probabilities(network, pairs.images, test_time_augmentation, guide)  # all at once are too many
        for chance, one in zip(chances, points, strict=True):
            yield Prediction3D(chance > 0.5, surface_of(chance, network.preset.grid), one, network.target)

    return Predictor(network.preset, predict)


def regression_predictor(network: FaceNetwork, test_time_augmentation: bool = True) -> Predictor:
    """What a network says that regresses numbers of a face model: the closed mesh of its parameters, or bare vertices.

    Parameters
    ----------
    network : in eval mode, bound to the face model that it was trained with (`FaceNetwork.bind`). From parameters come
        a closed mesh, its landmarks and the solid inside it; identity coefficients are shrunk where the face would
        reach behind its wall (`MorphableFace.before_wall`), and where an expression does so on the mean face, the solid
        is empty and there is no surface. Vertices bound no solid.
    test_time_augmentation : average the answers to four copies of each image, shifted by a pixel or two. Mirrored
        copies, which VRN's average has too, would answer with a mirrored face, whose vertices are others.

    Raises
    ------
    InputError : a network in training mode, or one that has not been told its face model.
    """
    _in_eval_mode(network)

    def copies(pairs: FacePairs) -> list[Float[Tensor, "b 3 h w"]]:
        """Images as they are or shifted; no answer need be shifted back, as `SHIFTS` cancel out in a mean."""
        images = pairs.images.to(device_of(network, pairs.images))
        return [shift(images, x, y) for x, y in SHIFTS] if test_time_augmentation else [images]

    @torch.inference_mode()
    def bare(pairs: FacePairs) -> list[Prediction3D]:
        found = torch.stack([network(images) for images in copies(pairs)])
        return [Prediction3D(surface=vertices) for vertices in found.mean(0).cpu()]

    if "extra" not in network.gives:
        return Predictor(network.preset, bare)
    face, grid = network.bound().to(next(network.parameters()).device), network.preset.grid
    network.bind(face)
    bounds = face.mesh().solid_triangles().unique().cpu()

    @torch.inference_mode()
    def closed(pairs: FacePairs) -> list[Prediction3D]:
        found = [network.predict(images).extra[-1] for images in copies(pairs)]
        return [solid_of(mesh_of(found, index, face), bounds, grid) for index in range(len(pairs))]

    return Predictor(network.preset, closed)


def mesh_of(estimates: Sequence[Estimate], index: int, face: MorphableFace) -> Mesh | None:
    """One sample's closed mesh, voxel frame: the mean over several estimates; None if one reaches behind its wall."""
    one = slice(index, index + 1)
    try:
        meshes = [face.mesh(face.before_wall(i[one], e[one]), e[one]) for _, i, e in estimates]
    except InputError:
        return None
    placed = [part(e.camera, one)(mesh.vertices) for e, mesh in zip(estimates, meshes, strict=True)]
    return meshes[0].with_vertices(torch.cat(placed).mean(0))


def solid_of(mesh: Mesh | None, bounds: Tensor, grid: Grid, landmarks: Tensor | None = None) -> Prediction3D:
    """A closed mesh, the vertices that bound it, its landmarks if not others; an empty solid where there is none."""
    if mesh is None:
        return Prediction3D(torch.zeros(grid.shape, dtype=torch.bool), landmarks=landmarks)
    solid = filled(mesh.vertices, mesh.solid_triangles(), grid).cpu()
    points = mesh.landmark_points()[:, :2].cpu() if landmarks is None else landmarks
    return Prediction3D(solid, mesh.vertices.cpu()[bounds], points)


def filled(vertices: Vertices, triangles: Triangles, grid: Grid) -> Volume:
    """`voxelize` without its warning: a predicted face may lie anywhere, beside the grid too."""
    return fill(rasterize(vertices[None], triangles, grid.height, grid.width), grid.depth, grid.depth_scale, triangles)[
        0
    ]


def surface_of(volume: Tensor, grid: Grid) -> Any:
    """The iso-surface at 0.5, or None where nothing crosses it."""
    return isosurface(volume, depth_scale=grid.depth_scale) if bool((volume > 0.5).any()) else None


def _in_eval_mode(network: FaceNetwork) -> None:
    require(not network.training, "the network is in training mode: call network.eval() first")


# Faces in a frontal frame, and the way back

Pose = Callable[[FacePairs], Similarity]
"""From the frontal frame of samples (`samples.unaligned`) to where their images show the face, before mirroring."""


def true_pose(face: MorphableFace, grid: Grid) -> Pose:
    """The samples' own pose: the generous bound for a network that leaves the pose out (paper section 5)."""

    def pose(pairs: FacePairs) -> Similarity:
        head = pairs.camera.inverse()(pairs.truth.landmark_points())
        level = torch.zeros(len(pairs), device=head.device)
        return crop_camera(head, level, level, level, face.interocular, grid).inverse().compose(pairs.camera)

    return pose


def repose(frontal: Predictor, pose: Pose) -> Predictor:
    """A frontal predictor's faces, moved to where the image shows them; the solid is that of the moved surface."""
    grid = frontal.preset.grid

    def predict(pairs: FacePairs) -> Iterator[Prediction3D]:
        way = pose(pairs).to("cpu")
        for index, answer in enumerate(frontal(pairs)):
            if answer.surface is None:
                yield answer._replace(target="aligned")
                continue
            points = torch.tensor(answer.surface.vertices, dtype=torch.float32)
            # Mirroring is x -> width - x, before and after the motion.
            flip = bool(pairs.mirrored[index])
            sign, edge = points.new_tensor([[-1, 1, 1], [grid.width, 0, 0]] if flip else [[1, 1, 1], [0, 0, 0]])
            moved = edge + sign * part(way, slice(index, index + 1))((edge + sign * points)[None])[0]
            solid = filled(moved, torch.tensor(answer.surface.faces), grid)
            yield Prediction3D(solid, moved, answer.landmarks)

    return Predictor(frontal.preset, predict)


# Bounds


def oracle_predictor(preset: Preset) -> Predictor:
    """The true volume: what is left is the error of the grid."""
    return Predictor(preset, lambda pairs: (Prediction3D(v, surface_of(v, preset.grid)) for v in pairs.volumes))


def mean_face_predictor(face: MorphableFace, preset: Preset) -> Predictor:
    """The mean face, neutral, under each sample's own camera: what knowing the pose is worth, and nothing else."""

    def predict(pairs: FacePairs) -> Iterator[Prediction3D]:
        mesh = face.mesh()
        bounds = mesh.solid_triangles().unique().cpu()
        placed = replace(pairs, truth=mesh.with_vertices(pairs.camera(mesh.vertices.expand(len(pairs), -1, -1))))
        for index in range(len(pairs)):
            yield solid_of(placed.mesh(index), bounds, preset.grid)._replace(landmarks=None)

    return Predictor(preset, predict)
