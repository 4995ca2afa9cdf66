"""What the course looks at again and again: surfaces by level, trainings as movies, scenes under one camera, a face by its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.figures.look import SKIN, Array, add_slider, layout, numbers
from vrn_lite.figures.meshes import CAMERA, drawn_points, fixed_point, meshes_figure, part_traces, scene
from vrn_lite.figures.planes import images_figure, relief
from vrn_lite.frame import AUTHORS_DEPTH_SCALE, Grid, require
from vrn_lite.inference import probabilities
from vrn_lite.mesh import Mesh
from vrn_lite.networks.vrn import GuidedVRN
from vrn_lite.pairs import FacePairs, draw_pairs
from vrn_lite.presets import preset as preset_named
from vrn_lite.raster import nearest, rasterize
from vrn_lite.synth.appearance import Appearance, Rng
from vrn_lite.synth.render import vertex_normals
from vrn_lite.testsets import heldout_seed, straight
from vrn_lite.volume import isosurface

Part = Mapping[str, Any]
"""A mesh as `meshes_figure` takes it: vertices, triangles and, if wanted, colours, intensity, landmarks, opacity."""

SURFACES_VERTICES = 24_000
"""Vertices of all surfaces of one figure together: about 0.6 MB."""

TURNS = tuple(range(-90, 91, 15))
"""Degrees by which the slider of `linked_figure` turns its scenes."""


# A volume's surfaces


def levels_figure(
    volume: Array, title: str = "", *, levels: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9), depth_scale: float = AUTHORS_DEPTH_SCALE, start: float = 0.5
) -> go.Figure:
    """The surfaces of a volume of probabilities at several levels, one at a time, with a slider.

    Parameters
    ----------
    volume : ``[d, h, w]``.
    levels : iso-values; their surfaces share `SURFACES_VERTICES`.
    start : the level to begin with, one of `levels`.

    Raises
    ------
    InputError : the volume does not cross one of the levels.
    """
    require(start in levels, f"start (={start:g}) must be one of the levels {', '.join(f'{level:g}' for level in levels)}")
    parts = {f"{level:g}": surface_of(volume, level, depth_scale) for level in levels}
    return meshes_figure(parts, title, slider="surface at probability", start=f"{start:g}", most_vertices=SURFACES_VERTICES // len(levels))


def level_figure(volume: Array, level: float = 0.5, title: str = "", *, depth_scale: float = AUTHORS_DEPTH_SCALE) -> go.Figure:
    """The surface of a volume of probabilities at one level.

    Raises
    ------
    InputError : the volume does not cross the level.
    """
    part = surface_of(volume, level, depth_scale)
    words = title or f"Surface at probability {level:.2f}"
    return meshes_figure({"": part}, words, most_vertices=SURFACES_VERTICES // 2)


def movie_figure(answers: Mapping[str, Array], title: str = "", *, slider: str, depth_scale: float = AUTHORS_DEPTH_SCALE, level: float = 0.5) -> go.Figure:
    """A network's answers to one image in the course of its training, as surfaces: a slider, and a button that plays them.

    Parameters
    ----------
    answers : the slider's label (samples seen, for example) -> ``[d, h, w]``, probabilities. An answer that does not reach
        `level` anywhere has no surface, and gets no page.

    Raises
    ------
    InputError : no answer has a surface.
    """
    parts = {label: surface_of(answer, level, depth_scale) for label, answer in answers.items() if numbers(answer).max() > level}
    require(len(parts) > 0, f"none of the {len(answers)} answers has a surface at level {level:g}: train longer, or lower the level")
    last = list(parts)[-1]
    return meshes_figure(parts, title, slider=slider, play=True, start=last, most_vertices=SURFACES_VERTICES // len(parts))


def surface_of(volume: Array, level: float = 0.5, depth_scale: float = AUTHORS_DEPTH_SCALE) -> dict[str, Any]:
    """The iso-surface of a volume as a part for `meshes_figure`."""
    surface = isosurface(volume, level, depth_scale)
    return {"vertices": surface.vertices, "triangles": surface.faces}


# Several meshes under one camera


def linked_figure(
    scenes: Mapping[str, Part],
    title: str = "",
    *,
    intensity_name: str = "",
    intensity_range: tuple[float, float] | None = None,
    unit: str = "px",
    most_vertices: int | None = None,
) -> go.Figure:
    """Meshes side by side, each in a scene of its own under its name, all at one scale and seen by one camera.

    The slider turns all scenes together, wherever the figure is shown. Dragging or zooming one scene takes the others along
    where the figure brings its script: in a file of `write_html` and on Colab. In JupyterLab no script may come with a
    figure, so dragging turns the one scene there, and the slider brings them together again. To drag several meshes
    at once in JupyterLab too, put them into one scene: ``meshes_figure(abreast(parts))``.

    Parameters
    ----------
    scenes : name -> a part as in `meshes_figure`.
    """
    require(len(scenes) > 0, "there are no scenes to draw")
    clouds = [drawn_points(part) for part in scenes.values()]
    scale = fixed_point(np.concatenate(clouds))
    reach = 0.53 * max(float(np.ptp(points, axis=0).max()) for points in clouds)
    figure = go.Figure(layout=layout(title, height=440) | {"meta": {"linked": True}})
    gap = 0.01
    wide = (1 - gap * (len(scenes) - 1)) / len(scenes)
    for number, ((name, part), points) in enumerate(zip(scenes.items(), clouds, strict=True)):
        own = "scene" if number == 0 else f"scene{number + 1}"
        left, middle = number * (wide + gap), (points.min(0) + points.max(0)) / 2
        traces = part_traces(part, scale, unit, name, most_vertices, intensity_name, intensity_range)
        for trace in traces:
            trace.scene = own
            if trace.type == "mesh3d" and trace.intensity is not None:
                trace.showscale = number == len(scenes) - 1
        figure.add_traces(traces)
        domain = {"x": [left, min(1.0, left + wide)], "y": [0.05, 0.93]}
        figure.update_layout({own: scene(middle - reach, middle + reach, scale, unit) | {"domain": domain}})
        figure.add_annotation(name=own, text=name, x=left + wide / 2, y=1, xref="paper", yref="paper", yanchor="top", showarrow=False, font={"size": 14})
    _measured_by_grid(figure, reach, scale, unit)
    _add_turns(figure, len(scenes))
    return figure


def _measured_by_grid(figure: go.Figure, reach: float, scale: float, unit: str) -> None:
    """Grid lines at round distances in the place of tick labels, for which small scenes have no room, and a line that says so."""
    step = float(np.diff(MaxNLocator(4).tick_values(0, 2 * reach))[0])
    bare = {"title": {"text": ""}, "tickvals": None, "ticktext": None, "tick0": 0, "dtick": step * scale, "showticklabels": False}
    for own in figure.select_scenes():
        own.update({f"{name}axis": bare for name in "xyz"}, overwrite=False)
        own.aspectratio = dict.fromkeys("xyz", 1.4)
    words = f"x right, y down, z away; one square of the grid: {step:g} {unit}"
    figure.add_annotation(text=words, x=0.5, y=0, xref="paper", yref="paper", yanchor="bottom", showarrow=False, font={"size": 11})


def _add_turns(figure: go.Figure, scenes: int) -> None:
    """A slider that moves the cameras of all scenes round the vertical axis."""
    names = ["scene" if number == 0 else f"scene{number + 1}" for number in range(scenes)]
    steps = []
    for turn in TURNS:
        camera = turned_camera(turn)
        steps.append((f"{turn} degrees", {f"{name}.camera": camera for name in names}))
        if turn == 0:
            figure.update_layout({name: {"camera": camera} for name in names})
    add_slider(figure, "all turned by", steps, TURNS.index(0), method="relayout")


def turned_camera(degrees: float) -> dict[str, Any]:
    """The camera of all scenes, moved round the vertical axis: at 90 degrees the face looks to the right."""
    eye = CAMERA["eye"]
    angle = np.deg2rad(degrees)
    radius = float(np.hypot(eye["x"], eye["z"]))
    return CAMERA | {"eye": {"x": round(-radius * float(np.sin(angle)), 4), "y": eye["y"], "z": round(-radius * float(np.cos(angle)), 4)}}


def abreast(parts: Mapping[str, Part], gap: float = 0.1) -> dict[str, dict[str, Any]]:
    """The parts moved along x until they stand side by side, in their order, centred on x = 0: for one scene, and so for one camera.

    Parameters
    ----------
    gap : between neighbours, as a share of the widest part.

    Examples
    --------
    >>> corner = {"vertices": np.eye(3), "triangles": np.array([[0, 1, 2]])}
    >>> [part["vertices"][:, 0].tolist() for part in abreast({"a": corner, "b": corner}, gap=1.0).values()]
    [[-0.5, -1.5, -1.5], [1.5, 0.5, 0.5]]
    """
    spans = [(float(points[:, 0].min()), float(points[:, 0].max())) for points in map(drawn_points, parts.values())]
    room = gap * max(high - low for low, high in spans)
    edge = -(sum(high - low for low, high in spans) + room * (len(spans) - 1)) / 2
    moved = {}
    for (name, part), (low, high) in zip(parts.items(), spans, strict=True):
        step = np.array([edge - low, 0.0, 0.0])
        places = {key: numbers(part[key]) + step for key in ("vertices", "landmarks") if part.get(key) is not None}
        moved[name] = dict(part) | places
        edge += high - low + room
    return moved


# A face, and all that follows from it


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
    """One face by its numbers: its image, its volume, its landmarks and its mesh, in a straight crop and a plain picture.

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
    a, b = face.mean.new_zeros(len(face.identity)), face.mean.new_zeros(len(face.expression))
    for mode, value in (identity or {}).items():
        require(0 <= mode < len(a), f"the {face.name} face has modes 0 to {len(a) - 1}, got {mode}")
        a[mode] = value
    for name, value in (expression or {}).items():
        sides = [number for number, own in enumerate(face.expression_names) if name in (own, own.removesuffix("_L").removesuffix("_R"))]
        require(len(sides) > 0, f"the {face.name} face has no expression {name!r}: its names are {', '.join(face.expression_names)}")
        b[sides] = value
    grid = grid or preset_named("colab").grid
    mesh = face.mesh(a[None], b[None])
    angles = [face.mean.new_full((1,), float(angle)) for angle in (yaw, pitch, roll)]
    generator = torch.Generator().manual_seed(heldout_seed(seed, 0))
    view = straight(mesh.landmark_points(), face, grid, *angles)
    return draw_pairs(mesh, view, face, grid, Rng.of(generator, 1, face.mean.device), Appearance.plain())


def face_figure(pairs: FacePairs, title: str = "", *, depth_scale: float = 1.5) -> go.Figure:
    """The first face of some pairs four times: its mesh, its image with landmarks, its volume, and a cut through the volume at the tip of the nose.

    The cut is seen from above: x to the right, depth downward.
    """
    image, volume, points = pairs.images[0], pairs.volumes[0], pairs.landmarks[0]
    row = int(points[30, 1].clamp(0, volume.shape[1] - 1))
    cut = F.interpolate(volume[:, row].float()[None, None], size=image.shape[-2:], mode="nearest")[0, 0]
    panels = {"mesh": shaded(pairs.mesh(0), *image.shape[-2:]), "image, landmarks": image, "volume": relief(volume, depth_scale), f"cut at row {row}": cut}
    return images_figure(panels, title, landmarks={"image, landmarks": points})


def shaded(mesh: Mesh, height: int, width: int) -> Float[Tensor, "3 h w"]:
    """The visible triangles of a mesh in the voxel frame, in one colour, lit from the upper left, on white."""
    fragments = rasterize(mesh.vertices[None], mesh.triangles, height, width)
    seen = nearest(fragments.where(mesh.shown()[fragments.triangle]))
    normals = vertex_normals(mesh.vertices[None], mesh.triangles)[0][mesh.triangles[seen.triangle]]  # [n, 3 corners, 3]
    normal = F.normalize((seen.weights[..., None] * normals).sum(1), dim=1)
    light = F.normalize(normal.new_tensor([-0.45, -0.5, -0.75]), dim=0)
    skin = normal.new_tensor(to_rgb(SKIN))
    image = normal.new_ones(height * width, 3)
    image[seen.pixel] = (0.25 + 0.75 * (normal @ light).clamp(min=0))[:, None] * skin
    return image.T.reshape(3, height, width)


def guided_figure(
    network: GuidedVRN, image: Float[Tensor, "3 h w"], landmarks: Float[Tensor, "68 n"], title: str = "", *, sigma: float | None = None
) -> go.Figure:
    """What VRN-Guided is given, and what it answers: the image with landmarks, the landmarks drawn as Gaussians, the volume.

    Parameters
    ----------
    landmarks : in the image's pixels, right or wrong; NaN for one that is missing.
    sigma : draw the Gaussians with this spread instead of the network's own, in pixels.

    Raises
    ------
    InputError : a sigma that is not positive.
    """
    require(sigma is None or sigma > 0, f"sigma is a length in pixels above 0, got {sigma}")
    own = network.sigma
    network.sigma = own if sigma is None else sigma
    try:
        maps = network.inputs(image[None], landmarks[None])[0, 3:].amax(0).float()
        answer = probabilities(network, image[None], False, landmarks[None])[0].cpu()
    finally:
        network.sigma = own
    depth_scale = network.preset.grid.depth_scale
    shown = {"image and landmarks": image, f"Gaussians, sigma {sigma or own:.2g} px": maps, "the answer": relief(answer, depth_scale)}
    return images_figure(shown, title, landmarks={"image and landmarks": landmarks})
