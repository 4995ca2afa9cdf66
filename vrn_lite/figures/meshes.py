"""Meshes to turn and to zoom: one, several in a scene, or one at a time with a slider.

::

        +----> x                     the camera stands at z = -infinity, y points down:
       /|                            the face looks at the reader, upright
     z  v y
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import UInt8
from matplotlib.ticker import MaxNLocator

from vrn_lite.figures.look import COLOURS, MAP, SKIN, Array, choose, landmark_lines, layout, numbers
from vrn_lite.frame import require

MOST_VERTICES = 14_000
"""A mesh of this size takes about 0.5 MB of a notebook with colours, 0.35 MB without."""

CAMERA: dict[str, Any] = {"eye": {"x": -0.5, "y": -0.25, "z": -1.9}, "up": {"x": 0.0, "y": -1.0, "z": 0.0}, "projection": {"type": "orthographic"}}

FILL, WIDE = 1.7, 1.5
"""Size of the largest extent in Plotly's own units: with a parallel projection, this is the zoom. Pictures are `WIDE` times as wide as high."""

LIGHT = {"ambient": 0.3, "diffuse": 0.68, "specular": 0.08, "roughness": 0.7, "fresnel": 0.05}

PHOTO_LIGHT = {"ambient": 0.85, "diffuse": 0.2, "specular": 0.0, "roughness": 1.0, "fresnel": 0.0}


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
    unit: str = "px",
    most_vertices: int | None = None,
) -> go.Figure:
    """A mesh to turn and to zoom, seen as the viewer of the photograph sees it.

    Parameters
    ----------
    vertices : ``[v, 3]``, x right, y down, z away (the voxel frame, or a photograph's pixels).
    triangles : ``[t, 3]``.
    colours : ``[v, 3]`` in [0, 1] or bytes.
    intensity : ``[v]``, drawn with a colour bar named `intensity_name` over `intensity_range`.
    landmarks : ``[68, 3]``, drawn as lines and points.
    unit : of the coordinates, for the axis titles.
    most_vertices : merge vertices in growing cells until there are no more (for notebooks: `MOST_VERTICES`).

    Raises
    ------
    InputError : an empty mesh, or coordinates that are not finite.
    """
    parts = {"": {"vertices": vertices, "triangles": triangles, "colours": colours, "intensity": intensity, "landmarks": landmarks}}
    return meshes_figure(parts, title, intensity_name=intensity_name, intensity_range=intensity_range, unit=unit, most_vertices=most_vertices)


def meshes_figure(
    parts: Mapping[str, Mapping[str, Any]],
    title: str = "",
    *,
    slider: str = "",
    steps: Mapping[str, Sequence[str]] | None = None,
    play: bool = False,
    start: str = "",
    intensity_name: str = "",
    intensity_range: tuple[float, float] | None = None,
    unit: str = "px",
    most_vertices: int | None = None,
) -> go.Figure:
    """Several meshes in one scene: all at once, or, with a `slider` title, one at a time.

    Each part is a dictionary with ``vertices`` and ``triangles`` and, if wanted, ``colours`` (``[v, 3]``, or one colour
    name), ``intensity``, ``landmarks`` and ``opacity``; its name is the slider's label. With `steps` the slider shows several
    parts together: label -> names of parts; with `play` a button runs through its steps.
    It opens with the step `start`, by default the first one.
    """
    points = np.concatenate([drawn_points(part) for part in parts.values()])
    scale = fixed_point(points)
    figure = go.Figure(layout=layout(title) | {"scene": scene(*_extent(points), scale, unit)})
    owner = []
    for number, (name, part) in enumerate(parts.items()):
        traces = part_traces(part, scale, unit, name, most_vertices, intensity_name, intensity_range)
        figure.add_traces(traces)
        owner += [number] * len(traces)
    if slider:
        names = list(parts)
        seen = {label: [names[number] in shown for number in owner] for label, shown in (steps or {name: [name] for name in names}).items()}
        choose(figure, slider, seen, play, start)
    return figure


def drawn_points(part: Mapping[str, Any]) -> np.ndarray:
    """The vertices of a part that a triangle uses.

    Raises
    ------
    InputError : there is none, or some coordinate is not finite.
    """
    points = numbers(part["vertices"])[np.unique(numbers(part["triangles"]))]
    require(len(points) > 0, "the mesh is empty: there is nothing to draw")
    require(bool(np.isfinite(points).all()), "the mesh has vertices that are not finite (NaN or infinity): clean it first")
    return points


def part_traces(
    part: Mapping[str, Any], scale: float, unit: str, name: str, most: int | None, intensity_name: str, intensity_range: tuple[float, float] | None
) -> list[Any]:
    """A part of `meshes_figure` as Plotly's traces: the mesh, and its landmarks where it has any."""
    vertices, triangles = numbers(part["vertices"]).astype(np.float64), numbers(part["triangles"])
    colours, intensity = part.get("colours"), part.get("intensity")
    named = isinstance(colours, str)
    carried = [numbers(values) for values in (None if named else colours, intensity) if values is not None]
    for values in carried:
        require(values.ndim > 0 and len(values) == len(vertices), f"one value per vertex is needed: {len(vertices)}, got {values.shape}")
    vertices, triangles, carried = _used(vertices, triangles, [values.reshape(len(vertices), -1) for values in carried])
    vertices, triangles, carried = coarser(vertices, triangles, most or len(vertices), carried)
    x, y, z = np.rint(vertices * scale).astype(np.int16).T.copy()
    i, j, k = triangles.astype(np.uint16 if len(vertices) < 2**16 else np.int32).T.copy()
    look: dict[str, Any] = {"lighting": LIGHT, "color": colours if named else SKIN}
    if intensity is not None:
        low, high = intensity_range or (float(np.min(carried[-1])), float(np.max(carried[-1])))
        steps = np.rint(255 * ((carried[-1][:, 0] - low) / max(high - low, 1e-12)).clip(0, 1))
        ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
        bar = {"title": {"text": intensity_name}, "len": 0.7, "thickness": 14, "ticktext": [f"{tick:g}" for tick in ticks]}
        bar["tickvals"] = [255 * (tick - low) / max(high - low, 1e-12) for tick in ticks]
        look = {"lighting": LIGHT, "intensity": steps.astype(np.uint8), "cmin": 0, "cmax": 255, "colorscale": MAP, "colorbar": bar}
    elif colours is not None and not named:
        look = {"lighting": PHOTO_LIGHT, "vertexcolor": ["#" + rgb.tobytes().hex() for rgb in _bytes(carried[0])]}
    where = "x %{x:d}, y %{y:d}, z %{z:d}" + (f" (in 1/{scale:g} {unit})" if scale != 1 else f" ({unit})")
    light = {"x": -50_000, "y": 50_000, "z": -500}  # moves with the camera: upper left, before the face
    traces = [
        go.Mesh3d(
            x=x, y=y, z=z, i=i, j=j, k=k, name=name, opacity=part.get("opacity", 1.0), lightposition=light, hovertemplate=where + "<extra></extra>", **look
        )
    ]
    if part.get("landmarks") is not None:
        traces.append(_landmark_trace(numbers(part["landmarks"]), scale))
    return traces


def _used(vertices: np.ndarray, triangles: np.ndarray, carried: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Only the vertices that a triangle uses."""
    used, renumbered = np.unique(triangles, return_inverse=True)
    return vertices[used], renumbered.reshape(triangles.shape), [values[used] for values in carried]


def coarser(vertices: np.ndarray, triangles: np.ndarray, most: int, carried: Sequence[np.ndarray] = ()) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Merge vertices ``[v, 3]`` that share a cell, in growing cells, until `most` are left; `carried` ``[v, c]`` is averaged along.

    Examples
    --------
    >>> line = np.array([[0.0, 0, 0], [0.1, 0, 0], [4, 0, 0], [0, 4, 0]])
    >>> coarser(line, np.array([[0, 2, 3], [0, 1, 2]]), 3)[1]
    array([[0, 2, 1]])
    """
    carried = list(carried)
    cell = 0.0
    merged, faces, values = vertices, triangles, carried
    while len(merged) > most:
        cell = cell * 1.15 or 0.7 * float(np.ptp(vertices, axis=0).max()) / most**0.5
        x, y, z = ((vertices - vertices.min(0)) / cell).astype(np.int64).T
        _, group, count = np.unique((x * (y.max() + 1) + y) * (z.max() + 1) + z, return_inverse=True, return_counts=True)
        merged, *values = (_group_means(array, group, count) for array in (vertices, *carried))
        faces = group[triangles]
        faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    return merged, faces, values


def _group_means(values: np.ndarray, group: np.ndarray, count: np.ndarray) -> np.ndarray:
    sums = np.stack([np.bincount(group, weights=column, minlength=len(count)) for column in values.T.astype(np.float64)], axis=1)
    return sums / count[:, None]


def fixed_point(points: np.ndarray) -> float:
    """Steps per unit, so that all coordinates fit into 16 bits: 100 where possible."""
    most = max(float(np.abs(points).max()), 1e-9)
    return next((scale for scale in (100.0, 50.0, 20.0, 10.0, 5.0, 2.0) if most * scale < 32_000), 32_000 / most)


def _bytes(colours: np.ndarray) -> UInt8[np.ndarray, "v 3"]:
    """Colours in [0, 1], or bytes, as bytes."""
    top = 255.0 if colours.max(initial=0) <= 1.0 else 1.0
    return np.rint(colours[:, :3] * top).clip(0, 255).astype(np.uint8)


def _landmark_trace(points: np.ndarray, scale: float) -> go.Scatter3d:
    x, y, z = np.round(landmark_lines(points) * scale).T
    return go.Scatter3d(
        x=x,
        y=y,
        z=z,
        mode="lines+markers",
        name="68 landmarks",
        marker={"size": 3, "color": COLOURS[0]},
        line={"width": 3, "color": COLOURS[0]},
        showlegend=False,
        hoverinfo="skip",
    )


def _extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest coordinates, with a little room."""
    low, high = points.min(0), points.max(0)
    margin = 0.03 * float((high - low).max()) + 1e-6
    return low - margin, high + margin


def scene(low: np.ndarray, high: np.ndarray, scale: float, unit: str) -> dict[str, Any]:
    """Equal axes from `low` to `high` with ticks in true units; the largest extent nearly fills the picture."""
    axes: dict[str, Any] = {}
    for name, label, least, most in zip("xyz", ("x right", "y down", "z away"), low, high, strict=True):
        marks = [mark for mark in MaxNLocator(3 if name == "z" else 5).tick_values(least, most) if least <= mark <= most]  # z is seen end on
        axes[f"{name}axis"] = {
            "title": {"text": f"{label} ({unit})", "font": {"size": 13}},
            "tickfont": {"size": 11},
            "range": [float(least * scale), float(most * scale)],
            "tickvals": [round(mark * scale) for mark in marks],
            "ticktext": [f"{mark:g}" for mark in marks],
            "backgroundcolor": "#f4f4f4",
            "gridcolor": "#cccccc",
            "showbackground": True,
            "zeroline": False,
            "showspikes": False,
        }
    size = FILL * (high - low) / ((high - low) / (WIDE, 1, 1)).max()
    return axes | {"aspectmode": "manual", "aspectratio": dict(zip("xyz", size.tolist(), strict=True)), "camera": CAMERA}
