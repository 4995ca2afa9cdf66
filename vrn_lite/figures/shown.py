"""Out of the room: into a notebook, whatever shows it, and into a file."""

import base64
import json
import os
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from vrn_lite.figures.still import picture
from vrn_lite.frame import require
from vrn_lite.store import atomically


def write_html(figure: go.Figure, path: str | Path) -> None:
    """One file that shows the figure in any browser without a network: plotly.js is inside (about 5 MB)."""
    title = escape(figure.layout.title.text or "vrn_lite")
    html = figure.to_html(include_plotlyjs=True, full_html=True)
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
            return {"text/html": self.figure.to_html(include_plotlyjs="cdn", full_html=True), "text/plain": self.description}
        still = base64.b64encode(picture(self.figure)).decode()
        return {"application/vnd.plotly.v1+json": json.loads(self.figure.to_json()), "image/png": still, "text/plain": self.description}


def show(figure: go.Figure, description: str) -> Shown:
    """The figure for a notebook: write ``show(figure, "What it shows, in a sentence.")`` as the last line of a cell.

    Raises
    ------
    InputError : no description.
    """
    require(bool(description.strip()), "a figure needs a description: one sentence for those who cannot see it")
    return Shown(figure, description)
