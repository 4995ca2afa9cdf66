"""Figures on their way out: into notebooks for every kind of reader, and into files."""

import base64
import json
import re

import plotly.graph_objects as go
import pytest

from drawn import POINTS, TRIANGLES, linked
from vrn_lite import viz
from vrn_lite.frame import InputError


@pytest.fixture
def drawn():
    return viz.mesh_figure(POINTS, TRIANGLES, title="A ball & more")


def test_shown_figure_speaks_to_every_reader(drawn, monkeypatch):
    shown = viz.show(drawn, "A ball.")
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert bundle["text/plain"] == repr(shown) == "A ball."
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    json.dumps(bundle)
    monkeypatch.setenv("COLAB_NOTEBOOK_ID", "x")
    assert "cdn" in shown._repr_mimebundle_()["text/html"]


def test_a_figure_without_description_is_refused(drawn):
    with pytest.raises(InputError, match="description"):
        viz.show(drawn, " ")


def test_html_needs_no_network(drawn, tmp_path):
    viz.write_html(drawn, tmp_path / "ball.html")
    text = (tmp_path / "ball.html").read_text(encoding="utf-8")
    assert "<title>A ball &amp; more</title>" in text
    assert '<html lang="en">' in text
    assert not re.search(r"<script[^>]+src=|<link", text)
    assert len(text) > 3_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["ball.html"]


def test_all_figures_are_plain_plotly(drawn):
    assert type(drawn) is go.Figure


def test_pages_bring_the_script_that_links_while_dragging_and_notebooks_do_not(tmp_path, monkeypatch, drawn):
    shown = viz.show(linked(), "Two balls.")
    assert "plotly_relayouting" not in json.dumps(shown._repr_mimebundle_())
    viz.write_html(linked(), tmp_path / "two.html")
    viz.write_html(drawn, tmp_path / "one.html")
    own = [text.split("</script>")[-2] for text in ((tmp_path / name).read_text(encoding="utf-8") for name in ("two.html", "one.html"))]
    assert ["plotly_relayouting" in script for script in own] == [True, False]
    monkeypatch.setenv("COLAB_NOTEBOOK_ID", "x")
    page = shown._repr_mimebundle_()["text/html"]
    assert "plotly_relayouting" in page
    assert 'aria-label="Two balls."' in page
