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

from vrn_lite.files import atomically
from vrn_lite.frame import require
from vrn_lite.viz.still import picture

LINK = Path(__file__).with_name("link.js")
"""Lets the scenes of a `linked_figure` follow the one that is dragged; a page runs it, a notebook cannot hold it."""


@dataclass(frozen=True)
class Display:
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
            label = f'<body role="figure" aria-label="{escape(self.description)}">'
            page = _html(self.figure, "cdn").replace("<body>", label, 1)
            return {"text/html": page, "text/plain": self.description}
        return {"application/vnd.plotly.v1+json": spec(self.figure)} | bundle(picture(self.figure), self.description)


def show(figure: go.Figure, description: str) -> Display:
    """The figure for a notebook: write ``show(figure, "What it shows, in a sentence.")`` as the last line of a cell."""
    require(bool(description.strip()), "a figure needs a description: one sentence for those who cannot see it")
    return Display(figure, description)


def bundle(png: bytes, description: str) -> dict[str, str]:
    """A picture and its description by MIME type."""
    return {"image/png": base64.b64encode(png).decode(), "text/plain": description}


def spec(figure: go.Figure) -> dict[str, Any]:
    """The figure as plain values for JSON: whole numbers in arrays become bytes in base64, whatever Plotly's version.

    Plotly 6 and later do so by themselves. Plotly 5 would write every number out, three times the size; the plotly.js
    that it brings (2.35) reads the short form as well.
    """
    return json.loads(plotly.io.to_json(_packed(figure.to_dict()), validate=False))


def write_html(figure: go.Figure, path: str | Path) -> None:
    """One file that shows the figure in any browser without a network: plotly.js is inside (about 5 MB)."""
    head = f"<head><title>{escape(figure.layout.title.text or 'vrn_lite')}</title>"
    html = _html(figure, True).replace("<html>", '<html lang="en">', 1).replace("<head>", head, 1)
    atomically(Path(path), lambda temporary: temporary.write_text(html, encoding="utf-8"))


def _packed(value: Any) -> Any:
    """See `spec`."""
    if isinstance(value, dict):
        return {key: _packed(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(part) for part in value]
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu" and value.dtype.itemsize <= 4:
        kind = f"{value.dtype.kind}{value.dtype.itemsize}"
        return {"dtype": kind, "bdata": base64.b64encode(value.tobytes()).decode()}
    return value


def _html(figure: go.Figure, plotly_js: bool | str) -> str:
    """A whole page; the scenes of a linked figure follow each other in it."""
    script = LINK.read_text(encoding="utf-8") if (figure.layout.meta or {}).get("linked") else None
    options = {"full_html": True, "post_script": script, "validate": False, "auto_play": False}
    return plotly.io.to_html(_packed(figure.to_dict()), include_plotlyjs=plotly_js, **options)
