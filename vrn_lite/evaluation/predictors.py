"""Ways of reconstructing: networks, and the bounds that need none. Each gives one answer for each sample."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.camera import Similarity
from vrn_lite.evaluation.testsets import part
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, InputError, Volume
from vrn_lite.inference import iter_probabilities, landmarks_in
from vrn_lite.networks.base import FaceNetwork, finds_landmarks
from vrn_lite.samples import FacePairs
from vrn_lite.volume import isosurface, voxelize


class Answer(NamedTuple):
    """What a method says of one sample: a solid ``[d, h, w]``, its surface or that one's vertices, landmarks ``[68, 2 or 3]`` in pixels.

    A solid without a surface is an answer too, and a bad one; a method that never has a solid leaves it None, and one that
    gives vertices alone has no overlap to measure.
    """

    volume: Volume | None = None
    surface: Any = None
    landmarks: Float[Tensor, "68 n"] | None = None


Reconstruct = Callable[[FacePairs], Iterable[Answer]]
"""A method: from samples to one answer for each."""


def by_network(network: FaceNetwork, average: bool = True) -> Reconstruct:
    """What the network sees in the images: probabilities, their iso-surface and the solid inside it; landmarks where it finds them.

    `average` is the test-time augmentation of `inference.probabilities` and `inference.landmarks_in`.

    An unaligned network's answers lie in a frame of their own: score them on the `unaligned` pairs, or `put_back`.
    """

    def reconstruct(pairs: FacePairs) -> Iterable[Answer]:
        points = landmarks_in(network, pairs.images, average).cpu() if finds_landmarks(network) else [None] * len(pairs)
        if "logits" not in network.gives:
            return [Answer(landmarks=found) for found in points]
        return _answers(iter_probabilities(network, pairs.images, average), points, network.preset.grid)

    return reconstruct


def by_guided(network: FaceNetwork, landmarks: Callable[[FacePairs], Float[Tensor, "b 68 n"]], average: bool = True) -> Reconstruct:
    """What a guided network sees in the images and in the landmarks that a function has for them.

    Examples
    --------
    Told the true ones, those of a detector (see `samples`), or none at all::

        by_guided(network, lambda pairs: pairs.landmarks)
        by_guided(network, told)  # pairs.found
        by_guided(network, lambda pairs: torch.full_like(pairs.landmarks, float("nan")))
    """

    def reconstruct(pairs: FacePairs) -> Iterable[Answer]:
        points = landmarks(pairs)
        return _answers(iter_probabilities(network, pairs.images, average, points), points.cpu(), network.preset.grid)

    return reconstruct


def _answers(chances: Iterable[Float[Tensor, "d h w"]], landmarks: Iterable[Tensor | None], grid: Grid) -> Iterator[Answer]:
    """Solids and surfaces of probabilities, one by one: together they take much memory."""
    for chance, points in zip(chances, landmarks, strict=True):
        yield Answer(chance > 0.5, _surface(chance, grid), points)


def told(pairs: FacePairs) -> Float[Tensor, "b 68 2"]:
    """The landmarks that a detector has found in these samples.

    Raises
    ------
    InputError : none has looked.
    """
    if pairs.found is None:
        raise InputError("no detector has looked at these samples: give one")
    return pairs.found


def put_back(answers: Iterable[Answer], frontal: FacePairs, pairs: FacePairs, grid: Grid, way: Similarity | None = None) -> Iterator[Answer]:
    """Answers in the unaligned pairs' frontal frame, moved by the true pose to where the image shows the face.

    The generous bound for a network that leaves the pose out (paper section 5): the pose is given, not found. The solid
    is the moved surface's. `way` is another motion from the frontal frame to the image's, before mirroring.
    """
    way = (frontal.camera.inverse().compose(pairs.camera) if way is None else way).to("cpu")
    for index, answer in enumerate(answers):
        if answer.surface is None:
            yield answer
            continue
        points = torch.tensor(answer.surface.vertices, dtype=torch.float32)
        sign, edge = points.new_tensor([[-1, 1, 1], [grid.width, 0, 0]] if bool(pairs.mirrored[index]) else [[1, 1, 1], [0, 0, 0]])
        moved = edge + sign * part(way, slice(index, index + 1))((edge + sign * points)[None])[0]  # mirroring is x -> width - x, before and after
        solid = voxelize(moved, torch.tensor(answer.surface.faces), grid.shape, grid.depth_scale)
        yield Answer(solid, moved, answer.landmarks)


def by_oracle(grid: Grid) -> Reconstruct:
    """The true volume: what is left is the error of the grid."""
    return lambda pairs: (Answer(volume, _surface(volume, grid)) for volume in pairs.volumes)


def by_mean_face(face: MorphableFace, grid: Grid) -> Reconstruct:
    """The source's mean face, neutral, under each sample's own camera: what knowing the pose is worth, and nothing else."""

    def reconstruct(pairs: FacePairs) -> Iterable[Answer]:
        mesh = face.mesh()
        bounds = mesh.solid_triangles().unique()
        placed = replace(pairs, truth=mesh.with_vertices(pairs.camera(mesh.vertices.expand(len(pairs), -1, -1))))
        for index in range(len(pairs)):
            mean = placed.mesh(index)
            yield Answer(voxelize(mean.vertices, mean.solid_triangles(), grid.shape, grid.depth_scale), mean.vertices[bounds])

    return reconstruct


def _surface(volume: Tensor, grid: Grid) -> Any:
    """The iso-surface at 0.5, or None where nothing crosses it."""
    return isosurface(volume, depth_scale=grid.depth_scale) if bool((volume > 0.5).any()) else None
