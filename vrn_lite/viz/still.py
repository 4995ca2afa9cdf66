"""Still pictures without a browser: planes are drawn by matplotlib, meshes by this package's own rasterizer."""

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

from vrn_lite.photo.image_io import open_image
from vrn_lite.viz.meshes import WIDE
from vrn_lite.viz.shading import AMBIENT, shade_mesh
from vrn_lite.viz.style import COLOURS, SKIN, colour_table

MARKERS = {"circle": "o", "square": "s", "diamond": "D", "cross": "P", "x": "X", "triangle-up": "^"}
LINES = {"dash": "--", "dot": ":", "dashdot": "-."}
"""Plotly's signs and dashes in matplotlib's words."""

SIDE = 360
"""Height of a scene's picture, in pixels."""


def picture(figure: go.Figure, width: int = 640) -> bytes:
    """The figure as it opens, as PNG."""
    # What is visible, by the pair of axes or the scene that it belongs to.
    plots: dict[str, list[Any]] = {}
    for trace in figure.data:
        if trace.visible is not False:
            solid = trace.type in ("mesh3d", "scatter3d")
            plots.setdefault((trace.scene or "scene") if solid else (trace.xaxis or "x"), []).append(trace)

    still = StillFigure(figsize=(width / 100, _height(figure, plots, width) / 100), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(still)
    axes = still.subplots(1, len(plots), squeeze=False)[0]
    for number, (plot, axis, traces) in enumerate(zip(plots, axes, plots.values(), strict=True)):
        if plot.startswith("scene"):
            _draw_scene(axis, figure, plot, traces)
            if len(plots) > 1:
                axis.set_title(figure.layout.annotations[number].text, fontsize=10)
        else:
            _draw_plane(axis, figure, plot, traces)
        _draw_bar(axis, traces)
    title = _plain(figure.layout.title.text)
    if figure.layout.showlegend:
        _draw_legend(still, title)
    else:
        still.suptitle(title, fontsize=11)
    still.supxlabel("\n".join(map(_told, figure.layout.sliders)), fontsize=8, color="#555555")

    canvas.draw()
    shades = np.rint(np.asarray(canvas.buffer_rgba())[..., :3] / 255 * 31) * 255 / 31  # 32 a channel: half the bytes
    stream = BytesIO()
    PillowImage.fromarray(np.rint(shades).astype(np.uint8)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _height(figure: go.Figure, plots: Mapping[str, Sequence[Any]], width: float) -> float:
    """As high as the images or scenes side by side need, so that no gap opens below the title."""
    most, wide = width / 1.6, width / len(plots)
    if all(traces[0].type == "image" for traces in plots.values()):
        axes = [(figure.layout[f"xaxis{plot[1:]}"], figure.layout[f"yaxis{plot[1:]}"]) for plot in plots]
        tallest = max(y.range[0] / x.range[1] for x, y in axes)
        lines = max(_plain(x.title.text).count("\n") for x, _ in axes) + len(figure.layout.sliders)
        return min(most, (wide - 55) * tallest + 100 + 16 * lines)
    return min(most, wide + 130) if len(plots) > 1 and "scene" in plots else most


def _plain(text: str | None) -> str:
    """Plotly's text without its marks."""
    return (text or "").replace("<br>", "\n").replace("<b>", "").replace("</b>", "")


def _told(slider: Any) -> str:
    """What stands below a still picture in the place of a slider."""
    label = _plain(slider.steps[slider.active or 0].label)
    views = f"(one of {len(slider.steps)} views; the live figure has a slider)"
    return f"{slider.currentvalue.prefix}{label}  {views}"


def _draw_legend(still: StillFigure, title: str) -> None:
    """The title, and below it one legend above all axes, each name once."""
    pairs = [pair for axis in still.axes for pair in zip(*axis.get_legend_handles_labels(), strict=True)]
    named = {name: handle for handle, name in pairs}
    longest = max(map(len, named), default=0)
    style = {"ncols": 1 if longest > 60 else 2 if longest > 24 else 4, "fontsize": 8, "frameon": False}
    still.legend(named.values(), named.keys(), loc="outside upper center", title=title, title_fontsize=11, **style)


def _draw_bar(axis: Axes, traces: Sequence[Any]) -> None:
    """The colour bar of the first trace that has one."""
    solids = [trace for trace in traces if trace.type == "mesh3d" and trace.intensity is not None]
    scales = [trace for trace in solids if trace.showscale is not False]
    scales += [trace.marker for trace in traces if trace.type == "scatter" and trace.marker.showscale]
    for own in scales[:1]:
        colours = ScalarMappable(Normalize(own.cmin, own.cmax), ListedColormap(colour_table()))
        bar = axis.figure.colorbar(colours, ax=axis, shrink=0.8, pad=0.02)
        bar.set_label(_plain(own.colorbar.title.text), fontsize=8)
        bar.ax.tick_params(labelsize=7)
        if own.colorbar.tickvals is not None:
            bar.set_ticks(list(own.colorbar.tickvals), labels=list(own.colorbar.ticktext))


def _draw_plane(axis: Axes, figure: go.Figure, plot: str, traces: Sequence[Any]) -> None:
    """Images, curves and bars on one pair of axes."""
    bars = [trace for trace in traces if trace.type == "bar"]
    for trace in traces:
        if trace.type == "image":
            with open_image(base64.b64decode(trace.source.split(",")[1])) as image:
                axis.imshow(np.asarray(image.convert("RGB")), extent=(0, image.width, image.height, 0))
        elif trace.type == "scatter":
            _draw_line(axis, trace)
    for number, trace in enumerate(bars):
        wide = 0.8 / len(bars)
        places = np.arange(len(trace.x)) + (number + 0.5) * wide - 0.4
        errors = trace.error_y.array
        axis.bar(places, trace.y, wide, color=trace.marker.color, label=trace.name, yerr=errors, capsize=3)
        labels = [fill(str(label), 10, break_long_words=False) for label in trace.x]
        axis.set_xticks(range(len(labels)), labels, fontsize=7)
    for box in figure.layout.shapes:
        if (box.xref or "x") == plot:
            corners = [box.x0, box.x1, box.x1, box.x0, box.x0], [box.y0, box.y0, box.y1, box.y1, box.y0]
            axis.plot(*corners, color=box.line.color)

    # The axes themselves.
    x, y = figure.layout[f"xaxis{plot[1:]}"], figure.layout[f"yaxis{plot[1:]}"]
    axis.set(xlabel=_plain(x.title.text), ylabel=_plain(y.title.text))
    if "log" in (x.type, y.type):
        axis.loglog()
        axis.minorticks_off()
    for own, set_ticks, set_range in ((x, axis.set_xticks, axis.set_xlim), (y, axis.set_yticks, axis.set_ylim)):
        if own.ticktext is not None:
            set_ticks(own.tickvals, [_plain(text) for text in own.ticktext], fontsize=8)
        elif own.tickvals is not None or own.showticklabels is False:
            set_ticks([] if own.showticklabels is False else own.tickvals)
        if own.range is not None:
            set_range(own.range)


def _draw_line(axis: Axes, trace: Any) -> None:
    """A diagram's lines and boxes, or a curve with markers."""
    if trace.mode == "lines":
        x, y = (np.array(values, dtype=float) for values in (trace.x, trace.y))
        axis.plot(x, y, color=trace.line.color, linewidth=1)
        gaps = np.flatnonzero(np.isnan(x)) if trace.fill else ()
        for first, last in zip([0, *gaps], gaps, strict=False):
            ring = slice(first + bool(first), last)
            axis.fill(x[ring], y[ring], color=trace.fillcolor, label=None if first else trace.name)
    elif trace.marker.opacity != 0:
        colour, marker = trace.line.color, MARKERS.get(trace.marker.symbol, "o")
        size = min(2.0 if len(trace.x) > 80 else 4.0, 0.6 * (trace.marker.size or 6))
        style = {"color": colour, "marker": marker, "markersize": size, "linewidth": 1.2, "label": trace.name}
        axis.plot(trace.x, trace.y, LINES.get(trace.line.dash, "-"), **style)
        if trace.error_y.array is not None:
            axis.errorbar(trace.x, trace.y, trace.error_y.array, fmt="none", ecolor=colour, capsize=3)


def _draw_scene(axis: Axes, figure: go.Figure, plot: str, traces: Sequence[Any]) -> None:
    """Meshes and points from the scene's camera."""
    view = view_of(figure.layout[plot].camera)
    points = [np.stack([trace.x, trace.y, trace.z], 1).astype(float) @ view.T for trace in traces]
    solid = np.concatenate([cloud for cloud, trace in zip(points, traces, strict=True) if trace.type == "mesh3d"])

    # The meshes fill the picture; scenes that are linked have one scale.
    low, high = solid[:, :2].min(0), solid[:, :2].max(0)
    wide, tall = high - low
    across = round(SIDE * float(np.clip(wide / tall, 1, WIDE)))
    linked = bool((figure.layout.meta or {}).get("linked"))
    reach = float(np.ptp(figure.layout[plot].xaxis.range)) if linked else max(wide * SIDE / across, tall)
    zoom = 0.92 * SIDE / reach
    offset = np.array([*(np.array([across, SIDE]) / 2 - (low + high) / 2 * zoom), 0.0])

    image = torch.ones(SIDE, across, 3)
    axis.set_axis_off()
    for cloud, trace in zip(points, traces, strict=True):
        placed = torch.from_numpy(cloud * zoom + offset).float()
        if trace.type == "mesh3d":
            triangles = torch.from_numpy(np.stack([trace.i, trace.j, trace.k], 1).astype(np.int64))
            colours = torch.from_numpy(_vertex_colours(trace, len(cloud))).float()
            ambient = AMBIENT if trace.vertexcolor is None else 0.85  # photographs bring their light
            lit, covered = shade_mesh(placed, triangles, colours, SIDE, across, ambient)
            opacity = 1.0 if trace.opacity is None else trace.opacity
            image[covered] = torch.lerp(image[covered], lit[covered], opacity)
        else:
            colour = trace.marker.color or COLOURS[0]
            axis.plot(placed[:, 0], placed[:, 1], marker="o", markersize=2, linewidth=1, color=colour)
    axis.imshow(image.numpy(), extent=(0, across, SIDE, 0))


def view_of(camera: Any) -> Float[np.ndarray, "3 3"]:
    """Rows: right, down and away of a Plotly camera that looks at the middle of the scene."""
    eye, up = (np.array([vector.x, vector.y, vector.z], dtype=float) for vector in (camera.eye, camera.up))
    away = -eye / np.linalg.norm(eye)
    right = np.cross(away, up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(away, right), away])


def _vertex_colours(trace: Any, count: int) -> Float[np.ndarray, "v 3"]:
    """What colour each vertex of a Plotly mesh has."""
    if trace.vertexcolor is not None:
        return np.array([[int(text[at : at + 2], 16) for at in (1, 3, 5)] for text in trace.vertexcolor]) / 255
    if trace.intensity is not None:
        share = (np.asarray(trace.intensity, dtype=float) - trace.cmin) / max(trace.cmax - trace.cmin, 1e-12)
        return colour_table()[np.rint(share.clip(0, 1) * 255).astype(int)]
    return np.tile(to_rgb(trace.color or SKIN), (count, 1))
