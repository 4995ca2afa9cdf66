"""What makes the notebooks answer: sliders that recompute a picture, pictures that a loop redraws, and the exercises' checks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import ipywidgets
import plotly.graph_objects as go
from IPython.display import display

from vrn_lite.exercises import check  # noqa: F401
from vrn_lite.figures import picture


def explore(draw: Callable[..., go.Figure], **ranges: tuple[float, float, float]) -> ipywidgets.Widget:
    """Sliders that redraw a still picture: ``draw(name=value, ...)`` gives a figure for each change.

    Parameters
    ----------
    draw : called with one number for each slider.
    ranges : (least, most, start) of each slider, by the name of its argument.
    """
    image = ipywidgets.Image(format="png")
    sliders = {
        name: ipywidgets.FloatSlider(start, min=low, max=high, step=(high - low) / 40, description=name.replace("_", " "), continuous_update=False)
        for name, (low, high, start) in ranges.items()
    }

    def redraw(_change: object = None) -> None:
        image.value = picture(draw(**{name: slider.value for name, slider in sliders.items()}))

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*sliders.values(), image])


@dataclass(frozen=True)
class Still:
    """A PNG picture and a sentence about it."""

    png: bytes
    description: str

    def __repr__(self) -> str:
        return self.description

    def _repr_png_(self) -> bytes:
        return self.png


class Live:
    """A picture that a loop redraws in place, a training for example. It needs no widgets, and its last state stays in the notebook.

    Parameters
    ----------
    every : least seconds between two pictures; drawing one takes a fraction of a second.
    """

    def __init__(self, every: float = 4.0) -> None:
        self.every = every
        self._due = -inf
        self._shown: Any = None

    def draw(self, figure: Callable[[], go.Figure], description: str, *, now: bool = False) -> bool:
        """Redraw with what `figure` gives, unless the last picture is too young; `now` draws in any case. Tells whether it has drawn."""
        if time.monotonic() < self._due and not now:
            return False
        still = Still(picture(figure()), description)
        if self._shown is None:
            self._shown = display(still, display_id=True)
        else:
            self._shown.update(still)
        self._due = time.monotonic() + self.every
        return True
