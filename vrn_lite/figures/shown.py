"""Out of the room: into a notebook, whatever shows it, and into a file."""

import base64
import json
import os
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io

from vrn_lite.figures.still import picture
from vrn_lite.files import atomically
from vrn_lite.frame import require

LINK = """
const figure = document.getElementById('{plot_id}');
const scenes = Object.keys(figure.layout).filter(name => /^scene\\d*$/.test(name));
const one = event => scenes.find(scene => event[scene + '.camera'] || event[scene + '.aspectratio']);
figure.on('plotly_relayouting', event => {  // while dragging: move the others' cameras, leave the dragged one alone
  const dragged = one(event), full = figure._fullLayout;
  const camera = dragged && event[dragged + '.camera'];
  if (camera) for (const scene of scenes) {
    if (scene !== dragged) full[scene]._scene?.setViewport?.({camera, aspectratio: full[scene].aspectratio});
  }
});
figure.on('plotly_relayout', event => {  // dropped, or zoomed
  const moved = one(event);
  if (!moved || scenes.some(scene => scene !== moved && event[scene + '.camera'])) return;  // our own change, or the slider's
  const {camera, aspectratio: {x, y, z}} = figure._fullLayout[moved], change = {};
  for (const scene of scenes) if (scene !== moved) {
    change[scene + '.camera'] = event[moved + '.camera'] || camera;
    change[scene + '.aspectratio'] = {x, y, z};
  }
  Plotly.relayout(figure, change);
});
"""
"""Lets the scenes of a `linked_figure` follow the one that is dragged; a page runs it, a notebook's figure cannot hold it."""


def spec(figure: go.Figure) -> dict[str, Any]:
    """The figure as plain values for JSON: whole numbers in arrays become bytes in base64, whatever Plotly's version.

    Plotly 6 and later do so by themselves. Plotly 5 would write every number out, three times the size; the plotly.js that
    it brings (2.35) reads the short form as well.
    """
    return json.loads(plotly.io.to_json(_packed(figure.to_dict()), validate=False))


def _packed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _packed(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(part) for part in value]
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu" and value.dtype.itemsize <= 4:
        return {"dtype": f"{value.dtype.kind}{value.dtype.itemsize}", "bdata": base64.b64encode(value.tobytes()).decode()}
    return value


def _html(figure: go.Figure, plotly_js: bool | str) -> str:
    """A whole page; the scenes of a linked figure follow each other in it."""
    script = LINK if (figure.layout.meta or {}).get("linked") else None
    return plotly.io.to_html(_packed(figure.to_dict()), include_plotlyjs=plotly_js, full_html=True, post_script=script, validate=False, auto_play=False)


def write_html(figure: go.Figure, path: str | Path) -> None:
    """One file that shows the figure in any browser without a network: plotly.js is inside (about 5 MB)."""
    title = escape(figure.layout.title.text or "vrn_lite")
    html = _html(figure, True)
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
            page = _html(self.figure, "cdn").replace("<body>", f'<body role="figure" aria-label="{escape(self.description)}">', 1)
            return {"text/html": page, "text/plain": self.description}
        still = base64.b64encode(picture(self.figure)).decode()
        return {"application/vnd.plotly.v1+json": spec(self.figure), "image/png": still, "text/plain": self.description}


def show(figure: go.Figure, description: str) -> Shown:
    """The figure for a notebook: write ``show(figure, "What it shows, in a sentence.")`` as the last line of a cell.

    Raises
    ------
    InputError : no description.
    """
    require(bool(description.strip()), "a figure needs a description: one sentence for those who cannot see it")
    return Shown(figure, description)
