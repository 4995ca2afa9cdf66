"""What the course looks at again and again: surfaces by level, trainings as movies, a face by its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.colors import to_rgb
from torch import Tensor

from vrn_lite.evaluation.testsets import heldout_seed, straight
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import AUTHORS_DEPTH_SCALE, Grid, require
from vrn_lite.inference import probabilities
from vrn_lite.networks.vrn import GuidedVRN
from vrn_lite.presets import preset
from vrn_lite.samples import FacePairs, draw_pairs
from vrn_lite.synth.appearance import Appearance, Rng
from vrn_lite.viz.images import images_figure
from vrn_lite.viz.meshes import meshes_figure
from vrn_lite.viz.shading import shade_mesh, shade_volume
from vrn_lite.viz.style import SKIN, Array, numbers
from vrn_lite.volume import isosurface

SURFACES_VERTICES = 24_000
"""Vertices of all surfaces of one figure together: about 0.6 MB."""


def levels_figure(
    volume: Array,
    title: str = "",
    *,
    levels: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    depth_scale: float = AUTHORS_DEPTH_SCALE,
    start: float = 0.5,
) -> go.Figure:
    """The surfaces of a volume ``[d, h, w]`` of probabilities at several levels, one at a time, with a slider.

    Raises
    ------
    InputError : the volume does not cross one of the levels, or `start` is none of them.
    """
    names = {level: f"{level:g}" for level in levels}
    require(start in names, f"start (={start:g}) must be one of the levels {', '.join(names.values())}")
    parts = {name: surface_of(volume, level, depth_scale) for level, name in names.items()}
    most = SURFACES_VERTICES // len(levels)
    return meshes_figure(parts, title, slider="surface at probability", start=names[start], most_vertices=most)


def movie_figure(
    answers: Mapping[str, Array],
    title: str = "",
    *,
    slider: str,
    depth_scale: float = AUTHORS_DEPTH_SCALE,
    level: float = 0.5,
) -> go.Figure:
    """A network's answers to one image in the course of its training, as surfaces: a slider, and a play button.

    `answers` : the slider's label (samples seen, for example) -> probabilities ``[d, h, w]``. One that does not reach
    `level` anywhere has no surface, and gets no page; if none does, `InputError` says so.
    """
    seen = {label: answer for label, answer in answers.items() if numbers(answer).max() > level}
    reason = f"none of the {len(answers)} answers has a surface at level {level:g}: train longer, or lower the level"
    require(len(seen) > 0, reason)
    parts = {label: surface_of(answer, level, depth_scale) for label, answer in seen.items()}
    most = SURFACES_VERTICES // len(parts)
    return meshes_figure(parts, title, slider=slider, play=True, start=list(parts)[-1], most_vertices=most)


def surface_of(volume: Array, level: float = 0.5, depth_scale: float = AUTHORS_DEPTH_SCALE) -> dict[str, Any]:
    """The iso-surface of a volume as a part for `meshes_figure`."""
    surface = isosurface(volume, level, depth_scale)
    return {"vertices": surface.vertices, "triangles": surface.faces}


def drawn_face(
    face: MorphableFace,
    identity: Mapping[int, float] | None = None,
    expression: Mapping[str, float] | None = None,
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    grid: Grid | None = None,
    seed: int = 4,
) -> FacePairs:
    """One face by its numbers: image, volume, landmarks and mesh, in a straight crop and a plain picture.

    Parameters
    ----------
    identity : number of a mode -> coefficient, in standard deviations; the others are 0.
    expression : name -> strength in [0, 1]; a name without ``_L`` and ``_R`` moves both sides.
    yaw, pitch, roll : degrees.
    grid : by default the preset colab's.
    seed : of skin, hair, light and background.

    Raises
    ------
    InputError : no such mode or expression, or coefficients so far out that the face reaches behind its wall.
    """
    # The coefficients, by number and by name.
    a = face.mean.new_zeros(len(face.identity))
    b = face.mean.new_zeros(len(face.expression))
    for mode, value in (identity or {}).items():
        require(0 <= mode < len(a), f"the {face.name} face has modes 0 to {len(a) - 1}, got {mode}")
        a[mode] = value
    sides = {own: {own, own.removesuffix("_L").removesuffix("_R")} for own in face.expression_names}
    for name, value in (expression or {}).items():
        moved = [number for number, names in enumerate(sides.values()) if name in names]
        known = ", ".join(face.expression_names)
        require(len(moved) > 0, f"the {face.name} face has no expression {name!r}: its names are {known}")
        b[moved] = value
    # The closed mesh in its pose, and its picture.
    grid = grid or preset("colab").grid
    mesh = face.mesh(a[None], b[None])
    angles = [face.mean.new_full((1,), float(angle)) for angle in (yaw, pitch, roll)]
    view = straight(mesh.landmark_points(), face, grid, *angles)
    rng = Rng.of(torch.Generator().manual_seed(heldout_seed(seed, 0)), 1, face.mean.device)
    return draw_pairs(mesh, view, face, grid, rng, Appearance.plain())


def face_figure(pairs: FacePairs, title: str = "", *, depth_scale: float = 1.5) -> go.Figure:
    """The first face of some pairs: mesh, image with landmarks, volume, and a cut through the tip of the nose.

    The cut is seen from above: x to the right, depth downward.
    """
    image, volume, points = pairs.images[0], pairs.volumes[0], pairs.landmarks[0]
    row = int(points[30, 1].clamp(0, volume.shape[1] - 1))
    mesh = pairs.mesh(0)
    skin = mesh.vertices.new_tensor(to_rgb(SKIN)).expand_as(mesh.vertices)
    panels = {
        "mesh": shade_mesh(mesh.vertices, mesh.triangles[mesh.visible_mask()], skin, *image.shape[-2:])[0],
        "image, landmarks": image,
        "volume": shade_volume(volume, depth_scale),
        f"cut at row {row}": F.interpolate(volume[:, row].float()[None, None], size=image.shape[-2:])[0, 0],
    }
    return images_figure(panels, title, landmarks={"image, landmarks": points})


def guided_figure(
    network: GuidedVRN,
    image: Float[Tensor, "3 h w"],
    landmarks: Float[Tensor, "68 n"],
    title: str = "",
    *,
    sigma: float | None = None,
) -> go.Figure:
    """What VRN-Guided is given, and its answer: the image with landmarks, these drawn as Gaussians, the volume.

    Parameters
    ----------
    landmarks : in the image's pixels, right or wrong; NaN for one that is missing.
    sigma : draw the Gaussians with this spread above 0, in pixels, instead of the network's own.
    """
    require(sigma is None or sigma > 0, f"sigma is a length in pixels above 0, got {sigma}")
    own = network.sigma
    network.sigma = sigma or own
    try:
        maps = network.inputs(image[None], landmarks[None])[0, 3:].amax(0).float()
        answer = probabilities(network, image[None], False, landmarks[None])[0].cpu()
    finally:
        network.sigma = own
    panels = {"image and landmarks": image, f"Gaussians, sigma {sigma or own:.2g} px": maps}
    panels["the answer"] = shade_volume(answer, network.preset.grid.depth_scale)
    return images_figure(panels, title, landmarks={"image and landmarks": landmarks})
