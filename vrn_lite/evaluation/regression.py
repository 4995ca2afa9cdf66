"""Networks that regress numbers instead of a volume, as methods: 3DDFA-like, and vertices directly (paper sections 3.2 and 4)."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.evaluation.predictors import Answer, Reconstruct
from vrn_lite.evaluation.testsets import part
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, InputError, require
from vrn_lite.inference import SHIFTS, shift
from vrn_lite.mesh import Mesh
from vrn_lite.networks.base import FaceNetwork
from vrn_lite.networks.regression import Estimate
from vrn_lite.samples import FacePairs
from vrn_lite.volume import voxelize


def by_parameters(network: FaceNetwork, face: MorphableFace, average: bool = True) -> Reconstruct:
    """The face that the last estimate stands for: its closed mesh, the solid inside it, its landmarks.

    Parameters
    ----------
    network : in eval mode.
    face : the face model that it was trained with. Identity coefficients are shrunk where the face would reach behind its
        wall (`MorphableFace.before_wall`); where an expression does so on the mean face, there is an empty solid and no surface.
    average : average the answers to four copies of each image, shifted by a pixel or two. Mirrored copies, which VRN's
        average has too, would answer with a mirrored face, whose vertices are others.

    Raises
    ------
    InputError : a network in training mode, or a face model with other numbers of coefficients.
    """
    _check(network)
    grid, model = network.preset.grid, face.to(next(network.parameters()).device)
    network.bind(model)  # refuses another face model
    bounds = face.mesh().solid_triangles().unique().cpu()

    def reconstruct(pairs: FacePairs) -> Iterator[Answer]:
        with torch.inference_mode():
            found = [network.predict(images).extra[-1] for images in _copies(network, pairs, average)]
            meshes = [closed(found, index, model) for index in range(len(pairs))]
        return (_answer(mesh, bounds, grid) for mesh in meshes)

    return reconstruct


def by_regression(network: FaceNetwork, face: MorphableFace, average: bool = True) -> Reconstruct:
    """A network that regresses numbers of a face model, whichever: `by_parameters` where it has estimates, or `by_vertices`."""
    return by_parameters(network, face, average) if "extra" in network.gives else by_vertices(network, average)


def by_vertices(network: FaceNetwork, average: bool = True) -> Reconstruct:
    """The vertices that the network says, and nothing else: they bound no solid.

    `average` is that of `by_parameters`.

    Raises
    ------
    InputError : a network in training mode.
    """
    _check(network)

    def reconstruct(pairs: FacePairs) -> Iterator[Answer]:
        with torch.inference_mode():
            found = torch.stack([network(images) for images in _copies(network, pairs, average)])
        return (Answer(surface=vertices) for vertices in found.mean(0).cpu())

    return reconstruct


def closed(estimates: Sequence[Estimate], index: int, face: MorphableFace) -> Mesh | None:
    """One sample's closed mesh in the voxel frame, the mean over several estimates of it; None if one reaches behind its wall."""
    one = slice(index, index + 1)
    try:
        meshes = [face.mesh(face.before_wall(identity[one], expression[one]), expression[one]) for _, identity, expression in estimates]
    except InputError:
        return None
    placed = [part(estimate.camera, one)(mesh.vertices) for estimate, mesh in zip(estimates, meshes, strict=True)]
    return meshes[0].with_vertices(torch.cat(placed).mean(0))


def _check(network: FaceNetwork) -> None:
    """Refuse a network in training mode."""
    require(not network.training, "the network is in training mode: call network.eval() first")


def _copies(network: FaceNetwork, pairs: FacePairs, average: bool) -> Iterator[Float[Tensor, "b 3 h w"]]:
    """Images on the network's device, as they are or shifted; no answer need be shifted back, as `SHIFTS` cancel out in a mean."""
    images = pairs.images.to(next(network.parameters()).device)
    return (shift(images, x, y) for x, y in SHIFTS) if average else iter((images,))


def _answer(mesh: Mesh | None, bounds: Tensor, grid: Grid) -> Answer:
    """The solid, the vertices that bound it, and the landmarks; an empty solid where there is no mesh."""
    if mesh is None:
        return Answer(torch.zeros(grid.shape, dtype=torch.bool))
    solid = voxelize(mesh.vertices, mesh.solid_triangles(), grid.shape, grid.depth_scale)
    return Answer(solid.cpu(), mesh.vertices.cpu()[bounds], mesh.landmark_points()[:, :2].cpu())
