"""Meshes to turn and to zoom: one, several in a scene, one at a time with a slider, or side by side under one camera.

::

        +----> x                     the camera stands at z = -infinity, y points down:
       /|                            the face looks at the reader, upright
     z  v y
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from jaxtyping import UInt8
from matplotlib.ticker import MaxNLocator
from plotly.subplots import make_subplots

from vrn_lite.frame import require
from vrn_lite.viz.style import COLOURS, MAP, SKIN, Array, add_pages, add_slider, landmark_lines, layout, numbers

Part = Mapping[str, Any]
"""A mesh: ``vertices``, ``triangles`` and, if wanted, ``colours`` (``[v, 3]``, or one colour's name), ``intensity``,
``landmarks`` and ``opacity``."""

MOST_VERTICES = 14_000
"""A mesh of this size takes about 0.5 MB of a notebook with colours, 0.35 MB without."""

CAMERA: dict[str, Any] = {
    "eye": {"x": -0.5, "y": -0.25, "z": -1.9},
    "up": {"x": 0.0, "y": -1.0, "z": 0.0},
    "projection": {"type": "orthographic"},
}

FILL, WIDE = 1.7, 1.5
"""Size of the largest extent in Plotly's own units, which is the zoom of a parallel projection; width of a picture by
its height."""

LIGHT = {"ambient": 0.3, "diffuse": 0.68, "specular": 0.08, "roughness": 0.7, "fresnel": 0.05}
PHOTO_LIGHT = {"ambient": 0.85, "diffuse": 0.2, "specular": 0.0, "roughness": 1.0, "fresnel": 0.0}
"""Of bare meshes, and of those that bring the light of a photograph in their colours."""

WALL: dict[str, Any] = {"backgroundcolor": "#f4f4f4", "gridcolor": "#cccccc", "showbackground": True}
WALL |= {"zeroline": False, "showspikes": False, "tickfont": {"size": 11}}
"""Behind a mesh."""

TURNS = tuple(range(-90, 91, 15))
"""Degrees by which the slider of `linked_figure` turns its scenes."""


class _Options(NamedTuple):
    """What all parts of a figure share; `scale` is the steps of a coordinate per pixel."""

    scale: float
    most_vertices: int | None
    intensity_name: str
    intensity_range: tuple[float, float] | None


def mesh_figure(
    vertices: Array,
    triangles: Array,
    colours: Array | None = None,
    intensity: Array | None = None,
    title: str = "",
    *,
    landmarks: Array | None = None,
    intensity_name: str = "",
    intensity_range: tuple[float, float] | None = None,
    most_vertices: int | None = None,
) -> go.Figure:
    """A mesh to turn and to zoom, seen as the viewer of the photograph sees it.

    Parameters
    ----------
    vertices : ``[v, 3]``, x right, y down, z away, in pixels (the voxel frame, or a photograph's).
    triangles : ``[t, 3]``.
    colours : ``[v, 3]`` in [0, 1] or bytes.
    intensity : ``[v]``, drawn with a colour bar named `intensity_name` over `intensity_range`.
    landmarks : ``[68, 3]``, drawn as lines and points.
    most_vertices : merge vertices in growing cells until there are no more (for notebooks: `MOST_VERTICES`).

    Raises
    ------
    InputError : an empty mesh, or coordinates that are not finite.
    """
    part = {"vertices": vertices, "triangles": triangles, "colours": colours, "intensity": intensity}
    bar: dict[str, Any] = {"intensity_name": intensity_name, "intensity_range": intensity_range}
    return meshes_figure({"": part | {"landmarks": landmarks}}, title, most_vertices=most_vertices, **bar)


def meshes_figure(
    parts: Mapping[str, Part],
    title: str = "",
    *,
    slider: str = "",
    steps: Mapping[str, Sequence[str]] | None = None,
    play: bool = False,
    start: str = "",
    intensity_name: str = "",
    intensity_range: tuple[float, float] | None = None,
    most_vertices: int | None = None,
) -> go.Figure:
    """Several meshes in one scene: all at once, or, with a `slider` title, one at a time.

    Parameters
    ----------
    parts : the slider's label -> a `Part`.
    steps : label -> names of parts that the slider shows together.
    play : a button that runs through the steps.
    start : the step to open with, by default the first one.
    intensity_name, intensity_range, most_vertices : as in `mesh_figure`, for all parts.
    """
    points = np.concatenate([_drawn_points(part) for part in parts.values()])
    options = _Options(_fixed_point(points), most_vertices, intensity_name, intensity_range)
    margin = 0.03 * float(np.ptp(points, axis=0).max()) + 1e-6
    axes = _scene(points.min(0) - margin, points.max(0) + margin, options)
    figure = go.Figure(layout=layout(title) | {"scene": axes})
    owner: list[str] = []  # the part of each trace
    for name, part in parts.items():
        figure.add_traces(_traces(part, name, options))
        owner += [name] * (len(figure.data) - len(owner))
    if slider:
        together = steps or {name: [name] for name in parts}
        pages = {label: [{"visible": name in names} for name in owner] for label, names in together.items()}
        add_pages(figure, slider, pages, start, play=play)
    return figure


def linked_figure(
    scenes: Mapping[str, Part],
    title: str = "",
    *,
    intensity_name: str = "",
    intensity_range: tuple[float, float] | None = None,
    most_vertices: int | None = None,
) -> go.Figure:
    """Meshes side by side, each in a scene of its own under its name, all at one scale and seen by one camera.

    The slider turns all scenes together, wherever the figure is shown. Dragging or zooming one takes the others along
    in a file of `write_html` and on Colab. JupyterLab allows no script in a figure: dragging turns the one scene there,
    and the slider brings them together again.

    Parameters
    ----------
    scenes : name -> a `Part`.
    """
    require(len(scenes) > 0, "there are no scenes to draw")
    clouds = [_drawn_points(part) for part in scenes.values()]
    options = _Options(_fixed_point(np.concatenate(clouds)), most_vertices, intensity_name, intensity_range)
    reach = 0.53 * max(float(np.ptp(points, axis=0).max()) for points in clouds)
    kinds = [[{"type": "scene"}] * len(scenes)]
    figure = make_subplots(1, len(scenes), specs=kinds, horizontal_spacing=0.01, subplot_titles=list(scenes))
    figure.update_layout(layout(title, height=440), meta={"linked": True})
    for column, ((name, part), points) in enumerate(zip(scenes.items(), clouds, strict=True), 1):
        for trace in _traces(part, name, options):
            if trace.type == "mesh3d" and trace.intensity is not None:
                trace.showscale = column == len(scenes)
            figure.add_trace(trace, row=1, col=column)
        middle = (points.min(0) + points.max(0)) / 2
        figure.update_scenes(_scene(middle - reach, middle + reach, options), row=1, col=column)

    # Small scenes have no room for tick labels: grid lines at round distances take their place, and a line says so.
    step = float(np.diff(MaxNLocator(4).tick_values(0, 2 * reach))[0])
    grid = {"title": {"text": ""}, "tickvals": None, "ticktext": None, "tick0": 0, "dtick": step * options.scale}
    axes = {f"{axis}axis": grid | {"showticklabels": False} for axis in "xyz"}
    figure.update_scenes(axes, aspectratio=dict.fromkeys("xyz", 1.4), domain_y=[0.05, 0.93])
    figure.update_annotations(yanchor="top", font_size=14)
    words = f"x right, y down, z away; one square of the grid: {step:g} px"
    low = {"x": 0.5, "y": 0, "xref": "paper", "yref": "paper", "yanchor": "bottom"}
    figure.add_annotation(text=words, showarrow=False, font={"size": 11}, **low)

    # The slider moves the cameras of all scenes.
    names = ["scene", *(f"scene{number}" for number in range(2, len(scenes) + 1))]
    turns = [(f"{turn} degrees", [{f"{own}.camera": turned_camera(turn) for own in names}]) for turn in TURNS]
    figure.update_scenes(camera=turned_camera(0))
    add_slider(figure, "all turned by", turns, TURNS.index(0), method="relayout")
    return figure


def turned_camera(degrees: float) -> dict[str, Any]:
    """The camera of all scenes, moved round the vertical axis: at 90 degrees the face looks to the right."""
    radius = float(np.hypot(CAMERA["eye"]["x"], CAMERA["eye"]["z"]))
    x, z = (round(-radius * float(share(np.deg2rad(degrees))), 4) for share in (np.sin, np.cos))
    return CAMERA | {"eye": {"x": x, "y": CAMERA["eye"]["y"], "z": z}}


def cluster_vertices(
    vertices: np.ndarray, triangles: np.ndarray, most: int, carried: Sequence[np.ndarray] = ()
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Merge vertices ``[v, 3]`` that share a cell, in growing cells, to at most `most`; averages `carried` ``[v, c]``.

    Examples
    --------
    >>> line = np.array([[0.0, 0, 0], [0.1, 0, 0], [4, 0, 0], [0, 4, 0]])
    >>> cluster_vertices(line, np.array([[0, 2, 3], [0, 1, 2]]), 3)[1]
    array([[0, 2, 1]])
    """
    cell = 0.7 * float(np.ptp(vertices, axis=0).max(initial=0)) / most**0.5
    merged, faces, values = vertices, triangles, list(carried)
    while len(merged) > most:
        # Cells are numbered along x, y and z; a group is what shares one.
        x, y, z = ((vertices - vertices.min(0)) / cell).astype(np.int64).T
        number = (x * (y.max() + 1) + y) * (z.max() + 1) + z
        _, group, count = np.unique(number, return_inverse=True, return_counts=True)
        merged, *values = (_group_means(array, group, count) for array in (vertices, *carried))
        # A triangle within two cells is gone.
        faces = group[triangles]
        faces = faces[(faces != np.roll(faces, 1, axis=1)).all(1)]
        cell *= 1.15
    return merged, faces, values


def _group_means(values: np.ndarray, group: np.ndarray, count: np.ndarray) -> np.ndarray:
    sums = [np.bincount(group, weights=column, minlength=len(count)) for column in values.T.astype(np.float64)]
    return np.stack(sums, axis=1) / count[:, None]


def _drawn_points(part: Part) -> np.ndarray:
    """The vertices of a part that a triangle uses.

    Raises
    ------
    InputError : there is none, or some coordinate is not finite.
    """
    points = numbers(part["vertices"])[np.unique(numbers(part["triangles"]))]
    require(len(points) > 0, "the mesh is empty: there is nothing to draw")
    finite = bool(np.isfinite(points).all())
    require(finite, "the mesh has vertices that are not finite (NaN or infinity): clean it first")
    return points


def _traces(part: Part, name: str, options: _Options) -> list[Any]:
    """A part as Plotly's traces: the mesh, and its landmarks where it has any."""
    vertices, triangles = numbers(part["vertices"]).astype(np.float64), numbers(part["triangles"])
    style: dict[str, Any] = {"color": SKIN}
    colours, intensity = part.get("colours"), part.get("intensity")
    if isinstance(colours, str):
        style, colours = {"color": colours}, None
    carried = [numbers(values) for values in (colours, intensity) if values is not None]
    for values in carried:
        matches = values.ndim > 0 and len(values) == len(vertices)
        require(matches, f"one value per vertex is needed: {len(vertices)}, got {values.shape}")

    # Only the vertices that a triangle uses, and no more than wanted.
    used, renumbered = np.unique(triangles, return_inverse=True)
    carried = [values.reshape(len(vertices), -1)[used] for values in carried]
    most = options.most_vertices or len(used)
    vertices, triangles, carried = cluster_vertices(vertices[used], renumbered.reshape(-1, 3), most, carried)

    # Few bytes: fixed-point coordinates, small whole numbers.
    x, y, z = np.rint(vertices * options.scale).astype(np.int16).T.copy()
    i, j, k = triangles.astype(np.uint16 if len(vertices) < 2**16 else np.int32).T.copy()
    if intensity is not None:
        style = _intensity(carried[-1][:, 0], options)
    elif colours is not None:
        style = {"lighting": PHOTO_LIGHT, "vertexcolor": ["#" + rgb.tobytes().hex() for rgb in _bytes(carried[0])]}
    style = {"lighting": LIGHT, "name": name, "opacity": part.get("opacity", 1.0)} | style
    style["lightposition"] = {"x": -50_000, "y": 50_000, "z": -500}  # moves with the camera: upper left, in front
    style["hovertemplate"] = f"x %{{x:d}}, y %{{y:d}}, z %{{z:d}} (in 1/{options.scale:g} px)<extra></extra>"
    traces = [go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, **style)]

    if part.get("landmarks") is not None:
        x, y, z = np.round(landmark_lines(numbers(part["landmarks"])) * options.scale).T
        style = {"marker": {"size": 3, "color": COLOURS[0]}, "line": {"width": 3, "color": COLOURS[0]}}
        style |= {"mode": "lines+markers", "name": "68 landmarks", "showlegend": False, "hoverinfo": "skip"}
        traces.append(go.Scatter3d(x=x, y=y, z=z, **style))
    return traces


def _intensity(values: np.ndarray, options: _Options) -> dict[str, Any]:
    """Values in 256 steps, and their colour bar in true units."""
    low, high = options.intensity_range or (float(values.min()), float(values.max()))
    step = 255 / max(high - low, 1e-12)
    ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    bar: dict[str, Any] = {"title": {"text": options.intensity_name}, "len": 0.7, "thickness": 14}
    bar |= {"tickvals": [step * (tick - low) for tick in ticks], "ticktext": [f"{tick:g}" for tick in ticks]}
    steps = np.rint((step * (values - low)).clip(0, 255)).astype(np.uint8)
    return {"intensity": steps, "cmin": 0, "cmax": 255, "colorscale": MAP, "colorbar": bar}


def _bytes(colours: np.ndarray) -> UInt8[np.ndarray, "v 3"]:
    """Colours in [0, 1], or bytes, as bytes."""
    top = 255.0 if colours.max(initial=0) <= 1.0 else 1.0
    return np.rint(colours[:, :3] * top).clip(0, 255).astype(np.uint8)


def _fixed_point(points: np.ndarray) -> float:
    """Steps per unit, so that all coordinates fit into 16 bits: 100 where possible."""
    most = max(float(np.abs(points).max()), 1e-9)
    return next((scale for scale in (100.0, 50.0, 20.0, 10.0, 5.0, 2.0) if most * scale < 32_000), 32_000 / most)


def _scene(low: np.ndarray, high: np.ndarray, options: _Options) -> dict[str, Any]:
    """Equal axes from `low` to `high` with ticks in true units; the largest extent nearly fills the picture."""
    scale, axes = options.scale, {}
    for axis, label, least, most in zip("xyz", ("x right", "y down", "z away"), low, high, strict=True):
        marks = MaxNLocator(3 if axis == "z" else 5).tick_values(least, most)  # z is seen end on
        marks = [mark for mark in marks if least <= mark <= most]
        title = {"text": f"{label} (px)", "font": {"size": 13}}
        ticks = {"tickvals": [round(mark * scale) for mark in marks], "ticktext": [f"{mark:g}" for mark in marks]}
        axes[f"{axis}axis"] = WALL | ticks | {"title": title, "range": [float(least * scale), float(most * scale)]}
    size = FILL * (high - low) / ((high - low) / (WIDE, 1, 1)).max()
    ratio = dict(zip("xyz", size.tolist(), strict=True))
    return axes | {"aspectmode": "manual", "aspectratio": ratio, "camera": CAMERA}
