"""Curves, bars and diagrams."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vrn_lite.viz.style import AXIS, COLOURS, DASHES, INKS, LEGEND, SIGNS, add_pages, layout

Curve = tuple[Sequence[float], Sequence[float]]
"""x and y."""

Box = tuple[float, float, float, float, str]
"""Centre x and y, width, height, and what the box says when pointed at."""


def curves_figure(
    curves: Mapping[str, Curve],
    x_title: str,
    y_title: str,
    title: str = "",
    *,
    log: bool = False,
    spread: Mapping[str, Sequence[float]] | None = None,
) -> go.Figure:
    """Curves with markers, told apart by colour, sign and dash; both axes logarithmic with `log`.

    `spread` : name of a curve -> how far its error bars reach up and down, for each point.
    """
    figure = go.Figure(layout=layout(title, height=420))
    for number, (name, curve) in enumerate(curves.items()):
        figure.add_trace(_line(curve, name, number))
        if spread and name in spread:
            figure.data[-1].error_y = _error_bars(spread[name])
    _add_axes(figure, x_title, y_title, legend=LEGEND, type="log" if log else "linear")
    if log and figure.data:
        figure.update_xaxes(_decades([x for trace in figure.data for x in trace.x]))
        figure.update_yaxes(_decades([y for trace in figure.data for y in trace.y]))
    return figure


def compared_figure(
    ours: Mapping[str, Mapping[str, Curve]],
    theirs: Mapping[str, Mapping[str, Curve]],
    x_title: str,
    y_title: str,
    title: str = "",
    *,
    slider: str,
) -> go.Figure:
    """Our curves with the paper's behind them, dashed, in the same colour and sign; a slider turns the pages.

    Both are the slider's label -> name of a curve -> (x, y). A name keeps its look from page to page.
    """
    figure = go.Figure(layout=layout(title, height=440))
    names = list(dict.fromkeys(name for curves in ours.values() for name in curves))
    owner: list[str] = []  # the page of each trace
    for page, curves in ours.items():
        for name, curve in curves.items():
            figure.add_trace(_line(curve, name, names.index(name), "solid", 6))
            if name in theirs.get(page, {}):
                figure.add_trace(_line(theirs[page][name], f"{name}, the paper", names.index(name), "dash", 9))
            owner += [page] * (len(figure.data) - len(owner))
    _add_axes(figure, x_title, y_title, rangemode="tozero")
    add_pages(figure, slider, {page: [{"visible": of == page} for of in owner] for page in ours})
    return figure


def panels_figure(panels: Mapping[str, Mapping[str, Curve]], x_title: str, title: str = "") -> go.Figure:
    """Small plots side by side over the same x: how a training goes.

    `panels` : name of the quantity -> name of the curve -> (x, y). A curve keeps its look from panel to panel.
    """
    figure = make_subplots(rows=1, cols=len(panels), horizontal_spacing=0.09)
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    for column, (quantity, curves) in enumerate(panels.items(), 1):
        for name, curve in curves.items():
            first = not any(trace.name == name for trace in figure.data)
            line = _line(curve, name, names.index(name), size=5).update(legendgroup=name, showlegend=first)
            figure.add_trace(line, row=1, col=column)
        figure.update_yaxes(title_text=quantity, row=1, col=column)
    figure.update_xaxes(title_text=x_title, **AXIS)
    figure.update_yaxes(AXIS)
    figure.update_layout(layout(title, height=340), margin={"l": 56, "b": 52, "t": 88}, showlegend=True, legend=LEGEND)
    return figure


def bars_figure(
    bars: Mapping[str, Mapping[str, float]],
    x_title: str,
    y_title: str,
    title: str = "",
    *,
    spread: Mapping[str, Mapping[str, float]] | None = None,
) -> go.Figure:
    """Groups of bars side by side, told apart by colour and hatching: name -> (label below the axis -> value).

    `spread` : name -> (label -> how far the error bar reaches up and down), with the labels of those bars.
    """
    figure = go.Figure(layout=layout(title, height=420) | {"barmode": "group"})
    for number, (name, values) in enumerate(bars.items()):
        marker = {"color": COLOURS[number % 7], "pattern": {"shape": ("", "/", ".", "x")[number % 4]}}
        figure.add_trace(go.Bar(x=list(values), y=_rounded(values.values()), name=name, marker=marker))
        if spread and name in spread:
            figure.data[-1].error_y = _error_bars([spread[name][label] for label in values])
    _add_axes(figure, x_title, y_title, legend=LEGEND)
    return figure


def boxes_figure(
    boxes: Mapping[str, Sequence[Box]],
    lines: Sequence[Sequence[tuple[float, float]]] = (),
    title: str = "",
    *,
    x_title: str,
    y_title: str,
) -> go.Figure:
    """A diagram: boxes by kind, a colour each, over lines that connect them, each given by its corners (x, y)."""
    figure = go.Figure(layout=layout(title, height=460))
    figure.add_trace(_strokes(lines, showlegend=False, line={"color": "#777777", "width": 1.5}))
    ring = ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))
    for number, (kind, members) in enumerate(boxes.items()):
        outlines = [[(x + i * w / 2, y + j * h / 2) for i, j in ring] for x, y, w, h, _ in members]
        style = {"fill": "toself", "fillcolor": COLOURS[number % 7], "line": {"color": "#222222", "width": 1}}
        figure.add_trace(_strokes(outlines, name=kind, **style))
    # Invisible dots carry what the boxes say.
    x, y, _, _, words = zip(*(box for members in boxes.values() for box in members), strict=True)
    dots = {"mode": "markers", "marker": {"opacity": 0, "size": 24}, "showlegend": False}
    figure.add_trace(go.Scatter(x=x, y=y, text=words, hovertemplate="%{text}<extra></extra>", **dots))
    _add_axes(figure, x_title, y_title, legend=LEGEND, showticklabels=False, showgrid=False, zeroline=False)
    return figure


def downsample(x: Sequence[float], y: Sequence[float], most: int = 60) -> tuple[list[float], list[float]]:
    """A long, noisy curve as at most `most` points, means of neighbours; NaN and infinity are left out.

    Examples
    --------
    >>> downsample([1, 2, 3, 4], [1.0, 3.0, float("nan"), 5.0], most=2)
    ([1.5, 4.0], [2.0, 5.0])
    """
    points = np.stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)])
    points = points[:, np.isfinite(points[1])]
    runs = np.array_split(points, max(1, min(most, points.shape[1])), axis=1) if points.size else []
    return [float(run[0].mean()) for run in runs], [float(run[1].mean()) for run in runs]


def _line(curve: Curve, name: str, number: int, dash: str = "", size: int = 8) -> go.Scatter:
    """A curve with the colour, sign and dash of a number."""
    x, y = map(_rounded, curve)
    line = {"color": INKS[number % 7], "dash": dash or DASHES[number % 4]}
    marker = {"symbol": SIGNS[number % 6], "size": size}
    return go.Scatter(x=x, y=y, name=name, mode="lines+markers", line=line, marker=marker)


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values]  # a figure is no table


def _error_bars(sizes: Sequence[float]) -> dict[str, Any]:
    return {"type": "data", "array": _rounded(sizes), "visible": True, "thickness": 1.5, "width": 4}


def _add_axes(figure: go.Figure, x_title: str, y_title: str, *, legend: Mapping | None = None, **axis: Any) -> None:
    """Titles and grids of both axes, and the legend: above if given, else on the right."""
    x, y = (AXIS | axis | {"title": {"text": title}} for title in (x_title, y_title))
    margin = {"l": 64, "b": 52} | ({"t": 88} if legend else {})
    figure.update_layout(xaxis=x, yaxis=y, showlegend=True, legend=legend, margin=margin)


def _decades(values: Sequence[float]) -> dict[str, Any]:
    """Ticks of a logarithmic axis, written out: 1, 2, 5, 10, ... over a few powers of ten, and fewer over many."""
    logs = [math.log10(value) for value in values if value > 0]
    low, high = min(logs, default=0.0), max(logs, default=0.0)
    powers = range(math.floor(low), math.ceil(high) + 1, max(1, round((high - low) / 6)))
    ticks = [float(f"{digit}e{power}") for power in powers for digit in ((1, 2, 5) if high - low < 3 else (1,))]
    kept = [tick for tick in ticks if low - 0.3 < math.log10(tick) < high + 0.3]
    return {"tickvals": kept, "ticktext": [f"{tick:g}" for tick in kept]}


def _strokes(lines: Sequence[Sequence[tuple[float, float]]], **style: Any) -> go.Scatter:
    """Several lines in one, None after each, which lifts the pen."""
    x, y = ([v for line in lines for v in (*(round(point[axis], 3) for point in line), None)] for axis in (0, 1))
    return go.Scatter(x=x, y=y, mode="lines", hoverinfo="skip", **style)
