"""How all figures look: palette, fixed sizes, the white card, sliders."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.colors import sample_colorscale
from torch import Tensor

from vrn_lite.frame import require
from vrn_lite.landmarks import CLOSED, GROUPS

Array = Tensor | np.ndarray

SKIN = "#d9b8a0"

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""The palette of Okabe and Ito: told apart by colour-blind readers, too."""

INKS = ("#0072b2", "#d55e00", "#009e73", "#b0508a", "#a87400", "#2b86bd", "#000000")
"""The same for lines and markers on white, the light ones darkened: every contrast is 3 to 1 or more (WCAG 1.4.11)."""

CARD, TEXT = "#ffffff", "#222222"
"""Every figure is dark text on a white card, in light themes and in dark ones."""

SIGNS = ("circle", "square", "diamond", "cross", "x", "triangle-up")
"""Of curves, so that they are told apart without colour, too."""

MAP = "Cividis"
"""Perceptually uniform, safe for colour-blind readers."""


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


def layout(title: str, height: int = 480) -> dict[str, Any]:
    """A white card: legible in light and dark themes."""
    top = 48 if title else 16
    return {
        "template": "none",
        "title": {"text": title, "x": 0.5, "font": {"size": 16}},
        "height": height,
        "margin": {"l": 8, "r": 8, "t": top, "b": 8},
        "paper_bgcolor": CARD,
        "plot_bgcolor": CARD,
        "font": {"color": TEXT},
    }


def add_slider(figure: go.Figure, title: str, steps: Sequence[tuple[str, dict[str, Any]]], start: int, method: str = "restyle") -> None:
    """A slider whose steps restyle the figure (or call another `method` of Plotly's), without a kernel."""
    buttons = [{"label": label, "method": method, "args": [change]} for label, change in steps]
    room = {"t": 44, "b": 4, "l": max(24, 4 * len(steps[0][0])), "r": max(24, 4 * len(steps[-1][0]))}  # labels are centred on their ends
    slider = {"active": start, "currentvalue": {"prefix": f"{title}: "}, "pad": room, "steps": buttons}
    figure.update_layout(sliders=[slider], height=figure.layout.height + 90)


def add_movie(figure: go.Figure, title: str, pages: Mapping[str, Sequence[Mapping[str, Any]]], start: int, milliseconds: int = 700) -> None:
    """A slider and a play button that turn the pages of a figure: label -> what changes in each of its first traces.

    Plotly calls a page a frame; slider and button both go to frames by name, so that the slider moves while the movie plays.
    """
    traces = list(range(len(next(iter(pages.values())))))
    kinds = [trace.type for trace in figure.data]
    figure.frames = [
        go.Frame(name=label, data=[{"type": kind} | dict(change) for kind, change in zip(kinds, changes, strict=False)], traces=traces)
        for label, changes in pages.items()
    ]
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    moving = {"fromcurrent": True, "frame": {"duration": milliseconds, "redraw": True}, "transition": {"duration": 0}}
    add_slider(figure, title, [(label, {}) for label in pages], start)
    for step, label in zip(figure.layout.sliders[0].steps, pages, strict=True):
        step.update(method="animate", args=[[label], still])
    buttons = [{"label": "Play", "method": "animate", "args": [None, moving]}, {"label": "Pause", "method": "animate", "args": [[None], still]}]
    place = {"x": 0.0, "xanchor": "left", "y": 0.0, "yanchor": "top", "pad": {"t": 62, "l": 4}, "direction": "left"}
    figure.update_layout(updatemenus=[place | {"type": "buttons", "showactive": False, "buttons": buttons}])
    figure.layout.sliders[0].update(x=0.2, len=0.8)


def choose(figure: go.Figure, title: str, seen: Mapping[str, Sequence[bool]], play: bool = False, start: str = "") -> None:
    """A slider of which each step shows some of the traces, with a play button if wanted; the figure opens with the step `start`."""
    first = list(seen).index(start or next(iter(seen)))
    for trace, visible in zip(figure.data, list(seen.values())[first], strict=True):
        trace.visible = visible
    if play:
        add_movie(figure, title, {label: [{"visible": bool(one)} for one in visible] for label, visible in seen.items()}, first)
    else:
        add_slider(figure, title, [(label, {"visible": list(visible)}) for label, visible in seen.items()], first)


@lru_cache(maxsize=1)
def colour_table() -> Float[np.ndarray, "256 3"]:
    """`MAP` at 256 steps, in [0, 1]."""
    return np.array(sample_colorscale(MAP, np.linspace(0, 1, 256).tolist(), colortype="tuple"))


def landmark_lines(points: np.ndarray) -> np.ndarray:
    """The 68 points in drawing order, each part followed by a row of NaN, which lifts the pen."""
    gap = np.full((1, points.shape[1]), np.nan)
    parts = []
    for name, numbers_of in GROUPS.items():
        order = [*numbers_of, numbers_of[0]] if name in CLOSED else list(numbers_of)
        parts += [points[order], gap]
    return np.concatenate(parts)
