"""How all figures look (palette, white card, axes, legends), and their sliders, which need no kernel."""

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
DASHES = ("solid", "dash", "dot", "dashdot")
"""Of curves, so that they are told apart without colour, too."""

MAP = "Cividis"
"""Perceptually uniform, safe for colour-blind readers."""

AXIS: dict[str, Any] = {"gridcolor": "#dddddd", "automargin": True}

LEGEND: dict[str, Any] = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
"""Above the plot; needs a top margin of 88."""


Page = Sequence[Mapping[str, Any]]
"""What a page of a figure changes in each of its first traces."""


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
    card = {"template": "none", "paper_bgcolor": CARD, "plot_bgcolor": CARD, "font": {"color": TEXT}}
    margin = {"l": 8, "r": 8, "t": 48 if title else 16, "b": 8}
    return card | {"title": {"text": title, "x": 0.5, "font": {"size": 16}}, "height": height, "margin": margin}


def add_slider(
    figure: go.Figure, title: str, steps: Sequence[tuple[str, Sequence[Any]]], start: int, method: str = "restyle"
) -> None:
    """A slider; each step is a label and the arguments of a `method` of Plotly's."""
    buttons = [{"label": label, "method": method, "args": list(arguments)} for label, arguments in steps]
    left, right = (max(24, 4 * len(steps[end][0])) for end in (0, -1))  # labels are centred on the slider's ends
    pad = {"t": 44, "b": 4, "l": left, "r": right}
    slider = {"active": start, "currentvalue": {"prefix": f"{title}: "}, "pad": pad, "steps": buttons}
    figure.update_layout(sliders=[slider], height=figure.layout.height + 90)


def add_pages(figure: go.Figure, title: str, pages: Mapping[str, Page], start: str = "", play: bool = False) -> None:
    """A slider that turns the pages of a figure: label -> page.

    With `play` there is a button too. Then each page is a frame of Plotly's, and slider and button go to frames by
    name, so that the slider moves while the movie plays. The figure opens with the page `start`, or the first one.
    """
    start = start or next(iter(pages))
    first = list(pages).index(start)
    traces = list(range(len(pages[start])))
    for trace, change in zip(figure.data, pages[start], strict=False):
        trace.update(change)
    if not play:
        changed = {label: {key: [change[key] for change in page] for key in page[0]} for label, page in pages.items()}
        add_slider(figure, title, [(label, [change, traces]) for label, change in changed.items()], first)
        return

    # The frames, and a slider that jumps to them.
    kinds = [{"type": trace.type} for trace in figure.data]
    figure.frames = [
        go.Frame(
            name=label, data=[kind | dict(change) for kind, change in zip(kinds, page, strict=False)], traces=traces
        )
        for label, page in pages.items()
    ]
    now = {"duration": 0}
    still = {"mode": "immediate", "frame": now | {"redraw": True}, "transition": now}
    moving = {"fromcurrent": True, "frame": {"duration": 700, "redraw": True}, "transition": now}
    add_slider(figure, title, [(label, [[label], still]) for label in pages], first, method="animate")
    figure.layout.sliders[0].update(x=0.2, len=0.8)

    # The buttons, left of the slider.
    buttons = [
        {"label": "Play", "method": "animate", "args": [None, moving]},
        {"label": "Pause", "method": "animate", "args": [[None], still]},
    ]
    place = {"x": 0.0, "xanchor": "left", "y": 0.0, "yanchor": "top", "pad": {"t": 62, "l": 4}, "direction": "left"}
    figure.update_layout(updatemenus=[place | {"type": "buttons", "showactive": False, "buttons": buttons}])


@lru_cache(maxsize=1)
def colour_table() -> Float[np.ndarray, "256 3"]:
    """`MAP` at 256 steps, in [0, 1]."""
    return np.array(sample_colorscale(MAP, np.linspace(0, 1, 256).tolist(), colortype="tuple"))


def landmark_lines(points: np.ndarray) -> np.ndarray:
    """The 68 points in drawing order, each part followed by a row of NaN, which lifts the pen."""
    gap = np.full((1, points.shape[1]), np.nan)
    lines = []
    for name, group in GROUPS.items():
        lines += [points[[*group, group[0]] if name in CLOSED else list(group)], gap]
    return np.concatenate(lines)
