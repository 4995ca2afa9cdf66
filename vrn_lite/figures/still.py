"""Still pictures of figures, drawn without a browser: by matplotlib and, for meshes, by this package's own rasterizer."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from textwrap import fill
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure as StillFigure
from PIL import Image as PillowImage

from vrn_lite.figures.look import COLOURS, SKIN, colour_table
from vrn_lite.figures.meshes import WIDE
from vrn_lite.raster import nearest, rasterize

MARKERS = {"circle": "o", "square": "s", "diamond": "D", "cross": "P", "x": "X", "triangle-up": "^"}
"""Plotly's signs in matplotlib's words."""


def picture(figure: go.Figure, width: int = 640) -> bytes:
    """The figure as it opens, as PNG, drawn by matplotlib and, for meshes, by this package's own rasterizer."""
    plans: dict[str, list[Any]] = {}
    for trace in figure.data:
        if trace.visible is not False:
            plan = (trace.scene or "scene") if trace.type in ("mesh3d", "scatter3d") else (trace.xaxis or "x")
            plans.setdefault(plan, []).append(trace)
    still = StillFigure(figsize=(width / 100, _height(figure, plans, width) / 100), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(still)
    axes = still.subplots(1, len(plans), squeeze=False)[0]
    for plan, axis, traces in zip(plans, axes, plans.values(), strict=True):
        (_draw_scene if plan.startswith("scene") else _draw_plane)(axis, figure, plan, traces)
        _draw_bar(axis, traces)
    if figure.layout.showlegend:
        _draw_legend(still, figure)
    else:
        still.suptitle(_plain(figure.layout.title.text), fontsize=11)
    still.supxlabel(_slider_line(figure), fontsize=8, color="#555555")
    canvas.draw()
    stream = BytesIO()
    shades = np.rint(np.asarray(canvas.buffer_rgba())[..., :3] / 255 * 31) * 255 / 31  # 32 shades a channel: half the bytes
    PillowImage.fromarray(np.rint(shades).astype(np.uint8)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _height(figure: go.Figure, plans: Mapping[str, Sequence[Any]], width: float) -> float:
    """As high as the images or scenes side by side need, so that no gap opens below the title."""
    most, wide = width / 1.6, width / len(plans)
    if all(traces[0].type == "image" for traces in plans.values()):
        axes = [(figure.layout[f"xaxis{plan[1:]}"], figure.layout[f"yaxis{plan[1:]}"]) for plan in plans]
        tallest = max(y.range[0] / x.range[1] for x, y in axes)
        lines = max(_plain(x.title.text).count("\n") for x, _ in axes) + len(figure.layout.sliders)
        return min(most, (wide - 55) * tallest + 100 + 16 * lines)
    return min(most, wide + 130) if len(plans) > 1 and any(trace.type == "mesh3d" for trace in figure.data) else most


def _slider_line(figure: go.Figure) -> str:
    """What stands below a still picture in the place of a slider."""
    lines = []
    for slider in figure.layout.sliders:
        prefix, label = slider.currentvalue.prefix, _plain(slider.steps[slider.active or 0].label)
        lines.append(f"{prefix}{label}  (one of {len(slider.steps)} views; the live figure has a slider)")
    return "\n".join(lines)


def _draw_legend(still: StillFigure, figure: go.Figure) -> None:
    """The title, and below it one legend above all axes, each name once."""
    named = {name: handle for axis in still.axes for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    longest = max(map(len, named), default=0)
    look = {"ncols": 1 if longest > 60 else 2 if longest > 24 else 4, "fontsize": 8, "frameon": False}
    still.legend(named.values(), named.keys(), loc="outside upper center", title=_plain(figure.layout.title.text), title_fontsize=11, **look)


def _draw_bar(axis: Axes, traces: Sequence[Any]) -> None:
    """The colour bar of the first trace that has one."""
    for trace in traces:
        own = trace if trace.type == "mesh3d" else trace.marker if trace.type == "scatter" and trace.marker.showscale else None
        if own is None or (trace.type == "mesh3d" and (trace.intensity is None or trace.showscale is False)):
            continue
        colours = ScalarMappable(Normalize(own.cmin, own.cmax), ListedColormap(colour_table()))
        bar = axis.figure.colorbar(colours, ax=axis, shrink=0.8, pad=0.02)
        bar.set_label(_plain(own.colorbar.title.text), fontsize=8)
        bar.ax.tick_params(labelsize=7)
        if own.colorbar.tickvals is not None:
            bar.set_ticks(list(own.colorbar.tickvals), labels=list(own.colorbar.ticktext))
        return


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
        axis.minorticks_off()
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
        axis.plot(
            trace.x,
            trace.y,
            dash,
            marker=MARKERS.get(trace.marker.symbol, "o"),
            markersize=_dot(trace),
            color=trace.line.color,
            label=trace.name,
            linewidth=1.2,
        )
        if trace.error_y.array is not None:
            axis.errorbar(trace.x, trace.y, trace.error_y.array, fmt="none", ecolor=trace.line.color, capsize=3)


def _draw_bars(axis: Axes, traces: Sequence[Any]) -> None:
    """Groups of bars over the same labels."""
    for number, trace in enumerate(traces):
        wide = 0.8 / len(traces)
        places = np.arange(len(trace.x)) + (number + 0.5) * wide - 0.4
        axis.bar(places, trace.y, wide, color=trace.marker.color, label=trace.name, yerr=trace.error_y.array, capsize=3)
        axis.set_xticks(range(len(trace.x)), [fill(str(label), 10, break_long_words=False) for label in trace.x], fontsize=7)


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
    view = view_of(figure.layout[plan].camera)
    meshes = [trace for trace in traces if trace.type == "mesh3d"]
    placed = [np.stack([trace.x, trace.y, trace.z], 1) @ view.T for trace in meshes]
    low, high = (f([f(points[:, :2], axis=0) for points in placed], axis=0) for f in (np.min, np.max))
    side, middle = 360, (low + high) / 2
    across = round(side * float(np.clip((high - low)[0] / (high - low)[1], 1, WIDE)))
    linked = bool((figure.layout.meta or {}).get("linked"))  # one scale for all scenes
    zoom = 0.92 * side / (float(np.ptp(figure.layout[plan].xaxis.range)) if linked else float(((high - low) * (side / across, 1)).max()))
    offset = np.array([*(np.array([across / 2, side / 2]) - middle * zoom), 0.0])
    pixels = np.ones((side, across, 3))
    for trace, points in zip(meshes, placed, strict=True):
        _paint(pixels, points * zoom + offset, trace)
    axis.imshow(pixels, extent=(0, across, side, 0))
    for trace in traces:
        if trace.type == "scatter3d":
            x, y, _ = (np.stack([trace.x, trace.y, trace.z], 1).astype(float) @ view.T * zoom + offset).T
            axis.plot(x, y, marker="o", markersize=2, linewidth=1, color=trace.marker.color or COLOURS[0])
    axis.set_axis_off()
    axis.set_title("".join(note.text for note in figure.layout.annotations if note.name == plan), fontsize=10)


def view_of(camera: Any) -> Float[np.ndarray, "3 3"]:
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
        return colour_table()[np.rint(share.clip(0, 1) * 255).astype(int)]
    return np.tile(to_rgb(trace.color or SKIN), (count, 1))
