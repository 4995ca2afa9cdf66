"""Curves, bars and diagrams."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from vrn_lite.figures.look import COLOURS, INKS, SIGNS, choose, layout


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
    figure = go.Figure(layout=layout(title, height=420))
    dashes = ("solid", "dash", "dot", "dashdot")
    for number, (name, (x, y)) in enumerate(curves.items()):
        line = {"color": INKS[number % 7], "dash": dashes[number % 4]}
        xs, ys = [round(float(value), 6) for value in x], [round(float(value), 6) for value in y]
        figure.add_trace(go.Scatter(x=xs, y=ys, name=name, mode="lines+markers", line=line, marker={"symbol": SIGNS[number % 6], "size": 8}))
        if spread and name in spread:
            figure.data[-1].error_y = _error_bars(spread[name])
    kind = "log" if log else "linear"
    axis = {"type": kind, "gridcolor": "#dddddd", "automargin": True}
    figure.update_layout(xaxis=axis | {"title": {"text": x_title}}, yaxis=axis | {"title": {"text": y_title}}, showlegend=True)
    if log and figure.data:
        figure.update_xaxes(_decades([x for trace in figure.data for x in trace.x]))
        figure.update_yaxes(_decades([y for trace in figure.data for y in trace.y]))
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}, margin={"l": 64, "b": 52, "t": 88})
    return figure


def _decades(values: Sequence[float]) -> dict[str, Any]:
    """Ticks of a logarithmic axis, written out: 1, 2, 5, 10, ... over a few powers of ten, and fewer over many."""
    shown = [math.log10(value) for value in values if value > 0]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    step = max(1, round((high - low) / 6))
    digits = (1, 2, 5) if high - low < 3 else (1,)
    ticks = [float(f"{digit}e{power}") for power in range(math.floor(low), math.ceil(high) + 1, step) for digit in digits]
    kept = [tick for tick in ticks if low - 0.3 < math.log10(tick) < high + 0.3]
    return {"tickvals": kept, "ticktext": [f"{tick:g}" for tick in kept]}


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
    figure = go.Figure(layout=layout(title, height=440))
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
    choose(figure, slider, {page: [of == page for of in owner] for page in ours})
    return figure


def _curve(curve: Curve, name: str, look: int, dash: str) -> go.Scatter:
    """A curve with the colour and sign of a number."""
    xs, ys = ([round(float(value), 6) for value in values] for values in curve)
    line, marker = {"color": INKS[look % 7], "dash": dash}, {"symbol": SIGNS[look % 6], "size": 6 if dash == "solid" else 9}
    return go.Scatter(x=xs, y=ys, name=name, mode="lines+markers", line=line, marker=marker)


def panels_figure(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], x_title: str, title: str = "") -> go.Figure:
    """Small plots side by side over the same x, one for each quantity: how a training goes.

    Parameters
    ----------
    panels : name of the quantity -> name of the curve -> (x, y). A curve keeps its look from panel to panel.
    """
    figure = go.Figure(layout=layout(title, height=340))
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    gap, dashes, signs = 0.09, ("solid", "dash", "dot", "dashdot"), ("circle", "square", "diamond", "cross")
    wide = (1 - gap * (len(panels) - 1)) / max(len(panels), 1)
    for number, (quantity, curves) in enumerate(panels.items()):
        axis, left = "" if number == 0 else str(number + 1), number * (wide + gap)
        for name, (x, y) in curves.items():
            kind = names.index(name)
            look = {"line": {"color": INKS[kind % 7], "dash": dashes[kind % 4]}, "marker": {"symbol": signs[kind % 4], "size": 5}}
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
    figure = go.Figure(layout=layout(title, height=420) | {"barmode": "group"})
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
    figure = go.Figure(layout=layout(title, height=460))
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
