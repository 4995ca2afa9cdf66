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
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "font": {"color": "#222222"},
    }


def add_slider(figure: go.Figure, title: str, steps: Sequence[tuple[str, dict[str, Any]]], start: int) -> None:
    """A slider whose steps restyle the figure, without a kernel."""
    buttons = [{"label": label, "method": "restyle", "args": [change]} for label, change in steps]
    slider = {"active": start, "currentvalue": {"prefix": f"{title}: "}, "pad": {"t": 44, "b": 4, "l": 24, "r": 24}, "steps": buttons}
    figure.update_layout(sliders=[slider], height=figure.layout.height + 90)


def choose(figure: go.Figure, title: str, seen: Mapping[str, Sequence[bool]]) -> None:
    """A slider of which each step shows some of the traces; the figure opens with the first one."""
    add_slider(figure, title, [(label, {"visible": list(visible)}) for label, visible in seen.items()], start=0)
    for trace, visible in zip(figure.data, next(iter(seen.values())), strict=True):
        trace.visible = visible


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
