"""Plotly figures of meshes, volumes, images and curves that look the same in JupyterLab, on Colab, on GitHub and in a file.

A figure holds its own controls (sliders, no kernel needed) and few bytes: coordinates are fixed-point int16, triangles
uint16 where they fit, slices are PNG images. `show` adds a still picture and a sentence for places without JavaScript.

::

        +----> x                     the camera stands at z = -infinity, y points down:
       /|                            the face looks at the reader, upright
     z  v y
"""

import base64
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as StillFigure
from matplotlib.ticker import MaxNLocator
from PIL import Image as PillowImage
from plotly.colors import sample_colorscale
from torch import Tensor

from vrn_lite.frame import AUTHORS_DEPTH_SCALE, require
from vrn_lite.landmarks import CLOSED, GROUPS
from vrn_lite.raster import nearest, rasterize
from vrn_lite.training import atomically

Array = Tensor | np.ndarray

SKIN = "#d9b8a0"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""The palette of Okabe and Ito: told apart by colour-blind readers, too."""

SIGNS = ("circle", "square", "diamond", "cross", "x", "triangle-up")
"""Of curves, so that they are told apart without colour, too."""

MAP = "Cividis"
"""Perceptually uniform, safe for colour-blind readers."""

MOST_VERTICES = 14_000
"""A mesh of this size takes about 0.5 MB of a notebook with colours, 0.35 MB without."""

MOST_PNG_PIXELS = 200 * 200
"""Larger colour images are stored as JPEG."""

CAMERA = {"eye": {"x": -0.5, "y": -0.25, "z": -1.9}, "up": {"x": 0.0, "y": -1.0, "z": 0.0}, "projection": {"type": "orthographic"}}
FILL = 1.7
"""Size of the largest extent in Plotly's own units: with a parallel projection, this is the zoom."""

LIGHT = {"ambient": 0.3, "diffuse": 0.68, "specular": 0.08, "roughness": 0.7, "fresnel": 0.05}
PHOTO_LIGHT = {"ambient": 0.85, "diffuse": 0.2, "specular": 0.0, "roughness": 1.0, "fresnel": 0.0}


def profile() -> str:
    """The sizes that a notebook runs with: VRN_LITE_PROFILE (ci, cpu or gpu); else gpu where there is one, else cpu.

    Raises
    ------
    InputError : the variable names no profile.
    """
    chosen = os.environ.get("VRN_LITE_PROFILE") or ("gpu" if torch.cuda.is_available() else "cpu")
    require(chosen in ("ci", "cpu", "gpu"), f"VRN_LITE_PROFILE must be ci, cpu or gpu, got {chosen!r}")
    return chosen


def numbers(values: Array | Sequence) -> np.ndarray:
    """Any array as NumPy, for the doors of this room."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


# Meshes


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
    intensity_name: str = "",
    intensity_range: tuple[float, float] | None = None,
    unit: str = "px",
    most_vertices: int | None = None,
) -> go.Figure:
    """Several meshes in one scene: all at once, or, with a `slider` title, one at a time.

    Each part is a dictionary with ``vertices`` and ``triangles`` and, if wanted, ``colours`` (``[v, 3]``, or one colour
    name), ``intensity``, ``landmarks`` and ``opacity``; its name is the slider's label. With `steps` the slider shows several
    parts together: label -> names of parts.
    """
    points = np.concatenate([numbers(part["vertices"])[np.unique(numbers(part["triangles"]))] for part in parts.values()])
    require(len(points) > 0, "the mesh is empty: there is nothing to draw")
    require(bool(np.isfinite(points).all()), "the mesh has vertices that are not finite (NaN or infinity): clean it first")
    scale = _fixed_point(points)
    figure = go.Figure(layout=_layout(title) | {"scene": _scene(points, scale, unit)})
    owner = []
    for number, (name, part) in enumerate(parts.items()):
        traces = _part_traces(part, scale, unit, name, most_vertices, intensity_name, intensity_range)
        figure.add_traces(traces)
        owner += [number] * len(traces)
    if slider:
        names = list(parts)
        seen = {label: [names[number] in shown for number in owner] for label, shown in (steps or {name: [name] for name in names}).items()}
        _choose(figure, slider, seen)
    return figure


def _choose(figure: go.Figure, title: str, seen: Mapping[str, Sequence[bool]]) -> None:
    """A slider of which each step shows some of the traces; the figure opens with the first one."""
    _add_slider(figure, title, [(label, {"visible": list(visible)}) for label, visible in seen.items()], start=0)
    for trace, visible in zip(figure.data, next(iter(seen.values())), strict=True):
        trace.visible = visible


def _part_traces(
    part: Mapping[str, Any], scale: float, unit: str, name: str, most: int | None, intensity_name: str, intensity_range: tuple[float, float] | None
) -> list[Any]:
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
    where = "x %{x}, y %{y}, z %{z}" + (f" (in 1/{scale:g} {unit})" if scale != 1 else f" ({unit})")
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


def _fixed_point(points: np.ndarray) -> float:
    """Steps per unit, so that all coordinates fit into 16 bits: 100 where possible."""
    most = max(float(np.abs(points).max()), 1e-9)
    return next((scale for scale in (100.0, 50.0, 20.0, 10.0, 5.0, 2.0) if most * scale < 32_000), 32_000 / most)


def _bytes(colours: np.ndarray) -> UInt8[np.ndarray, "v 3"]:
    """Colours in [0, 1], or bytes, as bytes."""
    top = 255.0 if colours.max(initial=0) <= 1.0 else 1.0
    return np.rint(colours[:, :3] * top).clip(0, 255).astype(np.uint8)


def _landmark_lines(points: np.ndarray) -> np.ndarray:
    """The 68 points in drawing order, each part followed by a row of NaN, which lifts the pen."""
    gap = np.full((1, points.shape[1]), np.nan)
    parts = []
    for name, numbers_of in GROUPS.items():
        order = [*numbers_of, numbers_of[0]] if name in CLOSED else list(numbers_of)
        parts += [points[order], gap]
    return np.concatenate(parts)


def _landmark_trace(points: np.ndarray, scale: float) -> go.Scatter3d:
    x, y, z = np.round(_landmark_lines(points) * scale).T
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


def _layout(title: str, height: int = 480) -> dict[str, Any]:
    """A white card: legible in light and dark themes."""
    top = 48 if title else 16
    return {
        "template": "none",
        "title": {"text": title, "x": 0.5, "font": {"size": 16}},
        "height": height,
        "margin": {"l": 8, "r": 8, "t": top, "b": 8},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "font": {"color": "#222222"},
    }


def _scene(points: np.ndarray, scale: float, unit: str) -> dict[str, Any]:
    """Equal axes with ticks in true units; the largest extent nearly fills the picture."""
    low, high = points.min(0), points.max(0)
    margin = 0.03 * float((high - low).max()) + 1e-6
    low, high = low - margin, high + margin
    axes: dict[str, Any] = {}
    for name, label, least, most in zip("xyz", ("x right", "y down", "z away"), low, high, strict=True):
        ticks = [tick for tick in MaxNLocator(5).tick_values(least, most) if least <= tick <= most]
        axes[f"{name}axis"] = {
            "title": {"text": f"{label} ({unit})"},
            "range": [float(least * scale), float(most * scale)],
            "tickvals": [round(tick * scale) for tick in ticks],
            "ticktext": [f"{tick:g}" for tick in ticks],
            "backgroundcolor": "#f4f4f4",
            "gridcolor": "#cccccc",
            "showbackground": True,
            "zeroline": False,
        }
    size = FILL * (high - low) / (high - low).max()
    return axes | {"aspectmode": "manual", "aspectratio": dict(zip("xyz", size.tolist(), strict=True)), "camera": CAMERA}


def _add_slider(figure: go.Figure, title: str, steps: Sequence[tuple[str, dict[str, Any]]], start: int) -> None:
    """A slider whose steps restyle the figure, without a kernel."""
    buttons = [{"label": label, "method": "restyle", "args": [change]} for label, change in steps]
    slider = {"active": start, "currentvalue": {"prefix": f"{title}: "}, "pad": {"t": 44, "b": 4, "l": 24, "r": 24}, "steps": buttons}
    figure.update_layout(sliders=[slider], height=figure.layout.height + 90)


# Volumes and images


def slices_figure(
    volume: Array,
    title: str = "",
    *,
    depth_scale: float = AUTHORS_DEPTH_SCALE,
    slices: int = 48,
    start: int | None = None,
) -> go.Figure:
    """A volume slice by slice, near to far, with a slider.

    Parameters
    ----------
    volume : ``[d, h, w]``, bits or probabilities; dark is 0, bright is 1.
    depth_scale : slices per pixel along the depth.
    slices : how many to keep, evenly spread.
    start : the slice to begin with; by default the first one that is half as full as the fullest.
    """
    values = numbers(volume).astype(np.float32)
    require(values.ndim == 3, f"volume must be [d, h, w], got {values.shape}")
    kept = np.unique(np.linspace(0, len(values) - 1, min(slices, len(values))).round().astype(int))
    full = values.sum((1, 2))
    wanted = int((full >= full.max() / 2).argmax()) if start is None else start
    first = int(np.abs(kept - wanted).argmin())
    pages = {f"{d} (z = {(d + 0.5) / depth_scale:.1f} px)": values[d] for d in kept}
    return pages_figure(pages, title, slider="slice d", start=first, bar="inside")


def pages_figure(images: Mapping[str, Array], title: str = "", *, slider: str, start: int = 0, bar: str = "") -> go.Figure:
    """Images of one size, one at a time, with a slider.

    Parameters
    ----------
    images : the slider's label -> ``[h, w, 3]``, or ``[h, w]`` (drawn through the colour map), values in [0, 1].
    slider : its title.
    start : the page to begin with.
    bar : name of the colour bar; none without.
    """
    require(len(images) > 0, "there are no images to draw")
    pages = {label: numbers(image).astype(np.float32) for label, image in images.items()}
    sizes = {page.shape[:2] for page in pages.values()}
    require(len(sizes) == 1, f"the images must have one size, got {sorted(sizes)}")
    sources = [_data_address(page) for page in pages.values()]
    figure = go.Figure(layout=_layout(title))
    figure.add_trace(go.Image(source=sources[start], x0=0.5, y0=0.5, hovertemplate="x %{x}, y %{y} px<extra></extra>"))
    if bar:
        figure.add_trace(_colour_bar(bar))
    _image_axes(figure, sizes.pop())
    # Two properties a step: with one, Plotly would look up the slider's place by its value, and empty slices are alike.
    steps = [(label, {"source": [source], "name": [label]}) for label, source in zip(pages, sources, strict=True)]
    _add_slider(figure, slider, steps, start)
    for step in figure.layout.sliders[0].steps:
        step.args = [*step.args, [0]]  # restyle the image, not the colour bar
    return figure


def _colour_bar(name: str) -> go.Scatter:
    """A colour bar from 0 to 1 for images that were coloured before."""
    marker = {"color": [0.0, 1.0], "colorscale": MAP, "cmin": 0, "cmax": 1, "showscale": True, "size": 0.1, "opacity": 0}
    marker["colorbar"] = {"title": {"text": name}, "len": 0.8, "thickness": 14}
    return go.Scatter(x=[0, 0], y=[0, 0], mode="markers", marker=marker, hoverinfo="skip", showlegend=False)


def _data_address(values: Float[np.ndarray, "h w"] | np.ndarray) -> str:
    """Values in [0, 1] through the colour map, or an RGB image ``[h, w, 3]``, as a data address."""
    bytes_ = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    image = PillowImage.fromarray(bytes_)
    kind = "jpeg" if bytes_.ndim == 3 and image.width * image.height > MOST_PNG_PIXELS else "png"
    if bytes_.ndim == 2:
        image.putpalette(np.rint(255 * _colour_table()).astype(np.uint8).tobytes())
    stream = BytesIO()
    image.save(stream, kind, optimize=True, quality=90)
    return f"data:image/{kind};base64," + base64.b64encode(stream.getvalue()).decode()


@lru_cache(maxsize=1)
def _colour_table() -> Float[np.ndarray, "256 3"]:
    """`MAP` at 256 steps, in [0, 1]."""
    return np.array(sample_colorscale(MAP, np.linspace(0, 1, 256).tolist(), colortype="tuple"))


def _image_axes(figure: go.Figure, size: Sequence[int], axis: str = "", domain: tuple[float, float] = (0, 1), title: str = "x right (px)") -> None:
    height, width = size
    x = {"range": [0, width], "domain": domain, "title": {"text": title, "standoff": 6}, "constrain": "domain", "zeroline": False, "anchor": f"y{axis}"}
    y = {"range": [height, 0], "scaleanchor": f"x{axis}", "constrain": "domain", "zeroline": False, "anchor": f"x{axis}", "automargin": True}
    if domain[0] == 0:
        y["title"] = {"text": "y down (px)"}
    figure.update_layout({f"xaxis{axis}": x, f"yaxis{axis}": y, "margin_b": 68, "margin_l": 56})


def relief(volumes: Float[Tensor, "*b d h w"] | Bool[Tensor, "*b d h w"], depth_scale: float = AUTHORS_DEPTH_SCALE) -> Float[Tensor, "*b 3 h w"]:
    """Solids as the viewer sees them, lit from the upper left, on white: a quick look at a volume without making a mesh.

    Parameters
    ----------
    volumes : ``[..., d, h, w]``, bits or probabilities; the surface is where they, a little blurred, reach one half.
    depth_scale : slices per pixel.
    """
    shape = volumes.shape
    soft = volumes.detach().cpu().float().reshape(-1, *shape[-3:])
    soft = F.avg_pool3d(F.avg_pool3d(soft, 3, stride=1, padding=1), 3, stride=1, padding=1)  # takes the terraces off
    padded = F.pad(soft, (0, 0, 0, 0, 1, 0))
    first = (soft > 0.5).int().argmax(1, keepdim=True)  # the first slice inside, or 0
    before, after = padded.gather(1, first)[:, 0], padded.gather(1, first + 1)[:, 0]
    depth = (first[:, 0] - (after - 0.5) / (after - before).clamp(min=1e-6)) / depth_scale
    inside = (soft > 0.5).any(1)
    slopes = [_slope(depth, inside, axis) for axis in (2, 1)]  # along x, along y
    normals = torch.stack((*slopes, torch.full_like(depth, -1.0)), 1)
    light = F.normalize(torch.tensor([-0.45, -0.5, -0.75]), dim=0)
    shade = 0.25 + 0.75 * (F.normalize(normals, dim=1) * light[:, None, None]).sum(1).clamp(min=0)
    skin = torch.tensor(to_rgb(SKIN))[:, None, None]
    return torch.where(inside[:, None], shade[:, None] * skin, torch.ones(())).reshape(*shape[:-3], 3, *shape[-2:])


def _slope(depth: Float[Tensor, "b h w"], inside: Bool[Tensor, "b h w"], axis: int) -> Float[Tensor, "b h w"]:
    """Mean of the differences to the two neighbours along an axis, as far as both ends are inside."""
    step = depth.diff(dim=axis) * (inside.narrow(axis, 1, depth.shape[axis] - 1) & inside.narrow(axis, 0, depth.shape[axis] - 1))
    pad = (0, 0, 1, 0) if axis == 1 else (1, 0)
    end = (0, 0, 0, 1) if axis == 1 else (0, 1)
    return ((F.pad(step, pad) + F.pad(step, end)) / 2).clamp(-3, 3)


def images_figure(images: Mapping[str, Array], title: str = "", *, landmarks: Mapping[str, Array] | None = None) -> go.Figure:
    """Images side by side, each under its name, with landmarks where given.

    Parameters
    ----------
    images : name -> ``[h, w, 3]``, ``[3, h, w]``, or ``[h, w]`` (drawn through the colour map), values in [0, 1].
    landmarks : name -> ``[68, 2 or 3]``, in the image's pixels.
    """
    figure = go.Figure(layout=_layout(title, height=420))
    gap = 0.04
    wide = (1 - gap * (len(images) - 1)) / len(images)
    for number, (name, image) in enumerate(images.items()):
        values = numbers(image)
        values = values.transpose(1, 2, 0) if values.ndim == 3 and values.shape[0] == 3 else values
        axis = "" if number == 0 else str(number + 1)
        left = number * (wide + gap)
        hover = {"hovertemplate": "x %{x}, y %{y} px<extra></extra>"}
        figure.add_trace(go.Image(source=_data_address(values.astype(np.float32)), x0=0.5, y0=0.5, name=name, xaxis=f"x{axis}", yaxis=f"y{axis}", **hover))
        _image_axes(figure, values.shape[:2], axis, (left, left + wide), f"{name}<br>x right (px)")
        if landmarks and name in landmarks:
            x, y = np.round(_landmark_lines(numbers(landmarks[name])[:, :2]), 2).T
            look = {"marker": {"size": 4, "color": COLOURS[5]}, "line": {"width": 1.5, "color": COLOURS[5]}}
            figure.add_trace(go.Scatter(x=x, y=y, xaxis=f"x{axis}", yaxis=f"y{axis}", mode="lines+markers", showlegend=False, hoverinfo="skip", **look))
    return figure


def sheet_figure(
    columns: Mapping[str, Float[Tensor, "k 3 h w"]], title: str = "", *, landmarks: Mapping[str, Float[Tensor, "k 68 n"]] | None = None
) -> go.Figure:
    """The same few faces, one in each row, seen in different ways: one column for each, named below it.

    Parameters
    ----------
    columns : name -> ``[k, 3, h, w]`` in [0, 1], all of one size.
    landmarks : name of a column -> ``[k, 68, 2 or 3]``, in the pixels of one image.
    """
    count, _, height, width = next(iter(columns.values())).shape
    sheet = torch.cat([torch.cat(list(images.detach().cpu().float()), 1) for images in columns.values()], 2)  # [3, k h, columns w]
    figure = go.Figure(layout=_layout(title, height=max(300, min(680, 80 + 720 * count // max(len(columns), count)))))
    figure.add_trace(go.Image(source=_data_address(sheet.permute(1, 2, 0).numpy()), x0=0.5, y0=0.5, hoverinfo="skip"))
    _image_axes(figure, sheet.shape[1:], title="")
    middles = [(number + 0.5) * width for number in range(len(columns))]
    figure.update_layout(xaxis={"tickvals": middles, "ticktext": list(columns), "ticks": ""}, yaxis={"tickvals": [], "title": None}, margin={"b": 56, "l": 8})
    for number, name in enumerate(columns):
        for row, points in enumerate((landmarks or {}).get(name, ())):
            x, y = np.round(_landmark_lines(numbers(points)[:, :2] + (number * width, row * height)), 2).T
            look = {"marker": {"size": 2, "color": COLOURS[5]}, "line": {"width": 1, "color": COLOURS[5]}}
            figure.add_trace(go.Scatter(x=x, y=y, mode="lines+markers", showlegend=False, hoverinfo="skip", **look))
    return figure


def curves_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_title: str,
    y_title: str,
    title: str = "",
    *,
    log: bool = False,
    spread: Mapping[str, Sequence[float]] | None = None,
) -> go.Figure:
    """Curves with markers, told apart by colour, sign and dash; both axes logarithmic with `log`.

    Parameters
    ----------
    spread : name of a curve -> how far its error bars reach up and down, for each point.
    """
    figure = go.Figure(layout=_layout(title, height=420))
    dashes = ("solid", "dash", "dot", "dashdot")
    for number, (name, (x, y)) in enumerate(curves.items()):
        line = {"color": COLOURS[number % 7], "dash": dashes[number % 4]}
        xs, ys = [round(float(value), 6) for value in x], [round(float(value), 6) for value in y]
        figure.add_trace(go.Scatter(x=xs, y=ys, name=name, mode="lines+markers", line=line, marker={"symbol": SIGNS[number % 6], "size": 8}))
        if spread and name in spread:
            figure.data[-1].error_y = _error_bars(spread[name])
    kind = "log" if log else "linear"
    axis = {"type": kind, "gridcolor": "#dddddd", "automargin": True}
    figure.update_layout(xaxis=axis | {"title": {"text": x_title}}, yaxis=axis | {"title": {"text": y_title}}, showlegend=True)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}, margin={"l": 64, "b": 52, "t": 88})
    return figure


def _error_bars(sizes: Sequence[float]) -> dict[str, Any]:
    """Error bars that reach as far up as down."""
    return {"type": "data", "array": [round(float(size), 6) for size in sizes], "visible": True, "thickness": 1.5, "width": 4}


Curve = tuple[Sequence[float], Sequence[float]]
"""x and y."""


def compared_figure(
    ours: Mapping[str, Mapping[str, Curve]],
    theirs: Mapping[str, Mapping[str, Curve]],
    x_title: str,
    y_title: str,
    title: str = "",
    *,
    slider: str,
    whose: str = "the paper",
) -> go.Figure:
    """Our curves with somebody else's behind them, dashed, of the same colour and sign; one page at a time, with a slider.

    Parameters
    ----------
    ours : the slider's label -> name of a curve -> (x, y). A name keeps its look from page to page.
    theirs : the same for the other's curves, as far as there are any.
    whose : added to their names in the legend.
    """
    figure = go.Figure(layout=_layout(title, height=440))
    names = list(dict.fromkeys(name for curves in ours.values() for name in curves))
    owner: list[str] = []
    for page, curves in ours.items():
        for name in curves:
            look = names.index(name)
            figure.add_trace(_curve(curves[name], name, look, "solid"))
            if name in theirs.get(page, {}):
                figure.add_trace(_curve(theirs[page][name], f"{name}, {whose}", look, "dash"))
            owner += [page] * (len(figure.data) - len(owner))
    axis = {"gridcolor": "#dddddd", "automargin": True, "rangemode": "tozero"}
    figure.update_layout(xaxis=axis | {"title": {"text": x_title}}, yaxis=axis | {"title": {"text": y_title}}, showlegend=True, margin={"l": 64, "b": 52})
    _choose(figure, slider, {page: [of == page for of in owner] for page in ours})
    return figure


def _curve(curve: Curve, name: str, look: int, dash: str) -> go.Scatter:
    """A curve with the colour and sign of a number."""
    xs, ys = ([round(float(value), 6) for value in values] for values in curve)
    line, marker = {"color": COLOURS[look % 7], "dash": dash}, {"symbol": SIGNS[look % 6], "size": 6 if dash == "solid" else 9}
    return go.Scatter(x=xs, y=ys, name=name, mode="lines+markers", line=line, marker=marker)


def panels_figure(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], x_title: str, title: str = "") -> go.Figure:
    """Small plots side by side over the same x, one for each quantity: how a training goes.

    Parameters
    ----------
    panels : name of the quantity -> name of the curve -> (x, y). A curve keeps its look from panel to panel.
    """
    figure = go.Figure(layout=_layout(title, height=340))
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    gap, dashes, signs = 0.09, ("solid", "dash", "dot", "dashdot"), ("circle", "square", "diamond", "cross")
    wide = (1 - gap * (len(panels) - 1)) / max(len(panels), 1)
    for number, (quantity, curves) in enumerate(panels.items()):
        axis, left = "" if number == 0 else str(number + 1), number * (wide + gap)
        for name, (x, y) in curves.items():
            kind = names.index(name)
            look = {"line": {"color": COLOURS[kind % 7], "dash": dashes[kind % 4]}, "marker": {"symbol": signs[kind % 4], "size": 5}}
            first = not any(trace.name == name for trace in figure.data)
            xs, ys = [round(float(value), 6) for value in x], [round(float(value), 6) for value in y]
            figure.add_trace(
                go.Scatter(x=xs, y=ys, name=name, legendgroup=name, showlegend=first, mode="lines+markers", xaxis=f"x{axis}", yaxis=f"y{axis}", **look)
            )
        sides = {"gridcolor": "#dddddd", "automargin": True}
        figure.update_layout({f"xaxis{axis}": sides | {"title": {"text": x_title}, "domain": (left, min(1.0, left + wide)), "anchor": f"y{axis}"}})
        figure.update_layout({f"yaxis{axis}": sides | {"title": {"text": quantity}, "anchor": f"x{axis}"}})
    figure.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}, margin={"l": 56, "b": 52, "t": 88})
    return figure


def thinned(x: Sequence[float], y: Sequence[float], most: int = 60) -> tuple[list[float], list[float]]:
    """A long, noisy curve as at most `most` points, each the mean of a run of neighbours; values that are not numbers are left out.

    Examples
    --------
    >>> thinned([1, 2, 3, 4], [1.0, 3.0, float("nan"), 5.0], most=2)
    ([1.5, 4.0], [2.0, 5.0])
    """
    points = np.stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)])
    points = points[:, np.isfinite(points[1])]
    runs = np.array_split(points, max(1, min(most, points.shape[1])), axis=1) if points.size else []
    return [float(run[0].mean()) for run in runs], [float(run[1].mean()) for run in runs]


def bars_figure(
    bars: Mapping[str, Mapping[str, float]], x_title: str, y_title: str, title: str = "", *, spread: Mapping[str, Mapping[str, float]] | None = None
) -> go.Figure:
    """Groups of bars side by side, told apart by colour and hatching: name -> (label below the axis -> value).

    Parameters
    ----------
    spread : name -> (label -> how far the error bar reaches up and down), with the labels of those bars.
    """
    figure = go.Figure(layout=_layout(title, height=420) | {"barmode": "group"})
    for number, (name, values) in enumerate(bars.items()):
        look = {"color": COLOURS[number % 7], "pattern": {"shape": ("", "/", ".", "x")[number % 4]}}
        figure.add_trace(go.Bar(x=list(values), y=[round(float(value), 6) for value in values.values()], name=name, marker=look))
        if spread and name in spread:
            figure.data[-1].error_y = _error_bars([spread[name][label] for label in values])
    axis = {"gridcolor": "#dddddd", "automargin": True}
    figure.update_layout(xaxis=axis | {"title": {"text": x_title}}, yaxis=axis | {"title": {"text": y_title}}, showlegend=True)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}, margin={"l": 64, "b": 52, "t": 88})
    return figure


Box = tuple[float, float, float, float, str]
"""Centre x and y, width, height, and what the box says when pointed at."""


def boxes_figure(
    boxes: Mapping[str, Sequence[Box]],
    lines: Sequence[Sequence[tuple[float, float]]] = (),
    title: str = "",
    *,
    x_title: str,
    y_title: str,
) -> go.Figure:
    """A diagram: boxes of several kinds, a colour each, over lines that connect them.

    Parameters
    ----------
    boxes : kind -> its boxes.
    lines : the corners (x, y) of each line.
    """
    figure = go.Figure(layout=_layout(title, height=460))
    x, y = _strokes(lines)
    figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line={"color": "#777777", "width": 1.5}, hoverinfo="skip", showlegend=False))
    for number, (kind, members) in enumerate(boxes.items()):
        x, y = _strokes([[(x + i * w / 2, y + j * h / 2) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))] for x, y, w, h, _ in members])
        colour = COLOURS[number % 7]
        fill = {"fill": "toself", "fillcolor": colour, "line": {"color": "#222222", "width": 1}}
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines", name=kind, hoverinfo="skip", **fill))
    every = [box for members in boxes.values() for box in members]
    words = {"text": [box[4] for box in every], "hovertemplate": "%{text}<extra></extra>"}
    dots = {"mode": "markers", "marker": {"opacity": 0, "size": 24}, "showlegend": False}
    figure.add_trace(go.Scatter(x=[box[0] for box in every], y=[box[1] for box in every], **dots, **words))
    bare = {"showticklabels": False, "showgrid": False, "zeroline": False}
    figure.update_layout(xaxis=bare | {"title": {"text": x_title}}, yaxis=bare | {"title": {"text": y_title}}, showlegend=True)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}, margin={"l": 40, "b": 40, "t": 88})
    return figure


def _strokes(lines: Sequence[Sequence[tuple[float, float]]]) -> tuple[list[float | None], list[float | None]]:
    """x and y of several lines in one, None after each, which lifts the pen."""
    x: list[float | None] = []
    y: list[float | None] = []
    for line in lines:
        x += [*(round(point[0], 3) for point in line), None]
        y += [*(round(point[1], 3) for point in line), None]
    return x, y


# Out of the room


def write_html(figure: go.Figure, path: str | Path) -> None:
    """One file that shows the figure in any browser without a network: plotly.js is inside (about 5 MB)."""
    title = escape(figure.layout.title.text or "vrn_lite")
    html = figure.to_html(include_plotlyjs=True, full_html=True)
    html = html.replace("<html>", '<html lang="en">', 1).replace("<head>", f"<head><title>{title}</title>", 1)
    atomically(Path(path), lambda temporary: temporary.write_text(html, encoding="utf-8"))


@dataclass(frozen=True)
class Shown:
    """A figure and its one-sentence description; a notebook shows it where it is the last line of a cell.

    JupyterLab draws the Plotly figure, GitHub and PDF the still picture, terminals and screen readers get the sentence;
    Colab draws the figure in a frame of its own.
    """

    figure: go.Figure
    description: str

    def __repr__(self) -> str:
        return self.description

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """One MIME type for each kind of reader."""
        if "google.colab" in sys.modules or "COLAB_NOTEBOOK_ID" in os.environ:
            return {"text/html": self.figure.to_html(include_plotlyjs="cdn", full_html=True), "text/plain": self.description}
        still = base64.b64encode(picture(self.figure)).decode()
        return {"application/vnd.plotly.v1+json": json.loads(self.figure.to_json()), "image/png": still, "text/plain": self.description}


def show(figure: go.Figure, description: str) -> Shown:
    """The figure for a notebook: write ``show(figure, "What it shows, in a sentence.")`` as the last line of a cell.

    Raises
    ------
    InputError : no description.
    """
    require(bool(description.strip()), "a figure needs a description: one sentence for those who cannot see it")
    return Shown(figure, description)


# Still pictures, without a browser


def picture(figure: go.Figure, width: int = 640) -> bytes:
    """The figure as it opens, as PNG, drawn by matplotlib and, for meshes, by this package's own rasterizer."""
    plans: dict[str, list[Any]] = {}
    for trace in figure.data:
        if trace.visible is not False:
            plan = (trace.scene or "scene") if trace.type in ("mesh3d", "scatter3d") else (trace.xaxis or "x")
            plans.setdefault(plan, []).append(trace)
    still = StillFigure(figsize=(width / 100, width / 160), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(still)
    axes = still.subplots(1, len(plans), squeeze=False)[0]
    for plan, axis, traces in zip(plans, axes, plans.values(), strict=True):
        (_draw_scene if plan.startswith("scene") else _draw_plane)(axis, figure, plan, traces)
    still.suptitle(_plain(figure.layout.title.text), fontsize=11)
    canvas.draw()
    stream = BytesIO()
    shades = np.rint(np.asarray(canvas.buffer_rgba())[..., :3] / 255 * 31) * 255 / 31  # 32 shades a channel: half the bytes
    PillowImage.fromarray(np.rint(shades).astype(np.uint8)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _plain(text: str | None) -> str:
    return (text or "").replace("<br>", "\n").replace("<b>", "").replace("</b>", "")


def _draw_plane(axis: Axes, figure: go.Figure, plan: str, traces: Sequence[Any]) -> None:
    """Images and curves on one pair of axes."""
    x, y = figure.layout[f"xaxis{plan[1:]}"], figure.layout[f"yaxis{plan[1:]}"]
    for trace in traces:
        if trace.type != "bar":
            _draw_trace(axis, trace)
    _draw_bars(axis, [trace for trace in traces if trace.type == "bar"])
    for box in figure.layout.shapes:
        if (box.xref or "x") == plan and box.type == "rect":
            axis.plot([box.x0, box.x1, box.x1, box.x0, box.x0], [box.y0, box.y0, box.y1, box.y1, box.y0], color=box.line.color)
    axis.set_xlabel(_plain(x.title.text))
    axis.set_ylabel(_plain(y.title.text))
    if "log" in (x.type, y.type):
        axis.loglog()
    if x.ticktext is not None:
        axis.set_xticks(x.tickvals, [_plain(text) for text in x.ticktext], fontsize=8)
        axis.set_yticks(y.tickvals)
    if y.ticktext is not None:
        axis.set_yticks(y.tickvals, [_plain(label) for label in y.ticktext], fontsize=8)
    if x.showticklabels is False:
        axis.set_xticks([])
    if y.showticklabels is False:
        axis.set_yticks([])
    if x.range is not None:
        axis.set_xlim(x.range)
        axis.set_ylim(y.range)
    if figure.layout.showlegend:
        beside = {} if figure.layout.legend.orientation == "h" else {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        axis.legend(fontsize=8, **beside)
        if beside:
            axis.locator_params(axis="x", nbins=6)


def _draw_trace(axis: Axes, trace: Any) -> None:
    """An image, a diagram's lines and boxes, or a curve with markers."""
    if trace.type == "image":
        image = PillowImage.open(BytesIO(base64.b64decode(trace.source.split(",")[1]))).convert("RGB")
        axis.imshow(np.asarray(image), extent=(0, image.width, image.height, 0))
    elif trace.mode == "lines":
        xs, ys = (np.array(values, dtype=float) for values in (trace.x, trace.y))
        axis.plot(xs, ys, color=trace.line.color, linewidth=1)
        if trace.fill:
            _fill(axis, xs, ys, trace.fillcolor, trace.name)
    elif trace.marker.opacity != 0:
        dash = {"dash": "--", "dot": ":", "dashdot": "-."}.get(trace.line.dash, "-")
        axis.plot(trace.x, trace.y, dash, marker="o", markersize=_dot(trace), color=trace.line.color, label=trace.name, linewidth=1.2)
        if trace.error_y.array is not None:
            axis.errorbar(trace.x, trace.y, trace.error_y.array, fmt="none", ecolor=trace.line.color, capsize=3)


def _draw_bars(axis: Axes, traces: Sequence[Any]) -> None:
    """Groups of bars over the same labels."""
    for number, trace in enumerate(traces):
        wide = 0.8 / len(traces)
        places = np.arange(len(trace.x)) + (number + 0.5) * wide - 0.4
        axis.bar(places, trace.y, wide, color=trace.marker.color, label=trace.name, yerr=trace.error_y.array, capsize=3)
        axis.set_xticks(range(len(trace.x)), [str(label).replace(" ", "\n") for label in trace.x], fontsize=7)


def _dot(trace: Any) -> float:
    """Size of a curve's markers in points."""
    return min(2.0 if len(trace.x) > 80 else 4.0, 0.6 * (trace.marker.size or 6))


def _fill(axis: Axes, xs: np.ndarray, ys: np.ndarray, colour: str, name: str) -> None:
    """Polygons, one after the other, with NaN between them."""
    starts = np.flatnonzero(np.isnan(xs))
    for first, x, y in zip([0, *starts], np.split(xs, starts), np.split(ys, starts), strict=True):
        if np.isfinite(x).any():
            axis.fill(x[np.isfinite(x)], y[np.isfinite(x)], color=colour, label=None if first else name)


def _draw_scene(axis: Axes, figure: go.Figure, plan: str, traces: Sequence[Any]) -> None:
    """Meshes and points from the scene's camera."""
    view = _view(figure.layout[plan].camera)
    meshes = [trace for trace in traces if trace.type == "mesh3d"]
    placed = [np.stack([trace.x, trace.y, trace.z], 1) @ view.T for trace in meshes]
    low, high = (f([f(points[:, :2], axis=0) for points in placed], axis=0) for f in (np.min, np.max))
    side = 360
    zoom, middle = 0.92 * side / float((high - low).max()), (low + high) / 2
    offset = np.array([*(side / 2 - middle * zoom), 0.0])
    pixels = np.ones((side, side, 3))
    for trace, points in zip(meshes, placed, strict=True):
        _paint(pixels, points * zoom + offset, trace)
    axis.imshow(pixels, extent=(0, side, side, 0))
    for trace in traces:
        if trace.type == "scatter3d":
            x, y, _ = (np.stack([trace.x, trace.y, trace.z], 1).astype(float) @ view.T * zoom + offset).T
            axis.plot(x, y, marker="o", markersize=2, linewidth=1, color=trace.marker.color or COLOURS[0])
    axis.set_axis_off()


def _view(camera: Any) -> Float[np.ndarray, "3 3"]:
    """Rows: right, down and away of a Plotly camera that looks at the middle of the scene."""
    eye, up = (np.array([vector.x, vector.y, vector.z], dtype=float) for vector in (camera.eye, camera.up))
    away = -eye / np.linalg.norm(eye)
    right = np.cross(away, up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(away, right), away])


def _paint(pixels: np.ndarray, points: np.ndarray, trace: Any) -> None:
    """Draw a mesh of projected points into an image ``[h, w, 3]``, in place, lit from the upper left."""
    triangles = torch.as_tensor(np.stack([trace.i, trace.j, trace.k], 1).astype(np.int64))
    seen = nearest(rasterize(torch.as_tensor(points, dtype=torch.float32)[None], triangles, *pixels.shape[:2]))
    a, b, c = points[triangles.numpy()].transpose(1, 0, 2)
    sides = np.cross(b - a, c - a)
    normals = np.stack([np.bincount(triangles.numpy().ravel(), np.repeat(side, 3), len(points)) for side in sides.T], 1)
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
    light = np.array([-0.3, -0.45, -0.85]) / np.linalg.norm([0.3, 0.45, 0.85])
    flat = trace.vertexcolor is not None
    shade = (0.85 if flat else 0.35) + (0.15 if flat else 0.65) * np.abs(normals @ light)
    colours = _vertex_colours(trace, len(points)) * shade[:, None]
    weights, corners = seen.weights.numpy(), triangles[seen.triangle].numpy()
    drawn = (weights[..., None] * colours[corners]).sum(1).clip(0, 1)
    rows, columns, opacity = seen.row.numpy(), seen.column.numpy(), trace.opacity if trace.opacity is not None else 1.0
    pixels[rows, columns] = (1 - opacity) * pixels[rows, columns] + opacity * drawn


def _vertex_colours(trace: Any, count: int) -> Float[np.ndarray, "v 3"]:
    """What colour each vertex of a Plotly mesh has."""
    if trace.vertexcolor is not None:
        return np.array([[int(text[at : at + 2], 16) for at in (1, 3, 5)] for text in trace.vertexcolor]) / 255
    if trace.intensity is not None:
        share = (np.asarray(trace.intensity, dtype=float) - trace.cmin) / max(trace.cmax - trace.cmin, 1e-12)
        return _colour_table()[np.rint(share.clip(0, 1) * 255).astype(int)]
    return np.tile(to_rgb(trace.color or SKIN), (count, 1))
