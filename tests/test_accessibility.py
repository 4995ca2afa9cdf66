"""For readers who listen, who see fewer colours, who read on a dark screen: headings, texts of pictures, contrast, second cues."""

import ast
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from contrast import DICHROMACY, contrast, difference, lab, linear, seen
from lessons import SOURCES, STUDENTS, lesson, title
from vrn_lite import viz
from vrn_lite.viz.style import CARD, COLOURS, INKS, SKIN, TEXT, colour_table

ROOT = Path(__file__).parents[1]
NOTEBOOKS = [*STUDENTS, *SOURCES]
PAGES = [ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.md")), *NOTEBOOKS]
SIGHTS = [None, *DICHROMACY]
LINE = [0.0, 1.0], [1.0, 2.0]
SOLID = torch.zeros(8, 12, 12, dtype=torch.bool)
SOLID[2:6, 3:9, 3:9] = True
CORNERS, FACES = torch.tensor([[0.0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]]), torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def bytes_of(colour):
    """``#rrggbb`` as three bytes."""
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def cells(path, kind):
    return ["".join(cell["source"]) for cell in lesson(path)["cells"] if cell["cell_type"] == kind]


def prose(path):
    """Markdown without code."""
    text = path.read_text(encoding="utf-8") if path.suffix == ".md" else "\n\n".join(cells(path, "markdown"))
    return re.sub(r"`[^`\n]*`", "code", re.sub(r"```.*?```", "", text, flags=re.S))


@pytest.fixture(params=PAGES, ids=title)
def page(request):
    return prose(request.param)


# Pages


def skipped(text):
    """Headings that do not fit: the first or another of level 1, or one that stands more than one level below its predecessor."""
    headings = [(len(mark), title) for mark, title in re.findall(r"^(#+) (.*)", text, re.M)]
    levels = [0] + [level for level, _ in headings]
    titles = [title for level, title in headings if level == 1]
    return [title for before, (level, title) in zip(levels, headings, strict=False) if level > before + 1] + titles[1:] + ([] if titles else ["no title"])


def unnamed(text):
    """Pictures that a screen reader cannot name."""
    html = [tag for tag in re.findall(r"<img\b[^>]*>", text) if not re.search(r'alt="[^"]*\w[^"]*"', tag)]
    return html + [address for words, address in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", text) if not re.search(r"\w", words)]


def aimless(text):
    """Links whose words do not say where they lead; a badge's words are its picture's."""
    words = re.findall(r"(?<!!)\[((?:!\[[^\]]*\]\([^)]*\)|[^\]])*)\]\([^)]*\)", text)
    return [word for word in words if re.fullmatch(r"\s*|(click )?here|link|this|more", word, re.I)]


def painted(text):
    """Colours of the page's own, which another theme would make illegible."""
    return re.findall(r"<font\b[^>]*>|\bstyle\s*=\s*[\"'][^\"']*colou?r[^\"']*[\"']|\b(?:bg)?color\s*=\s*[\"'][^\"']*[\"']|<style\b", text)


def test_one_title_and_no_skipped_heading_level(page):
    assert skipped(page) == []


def test_every_image_has_a_text(page):
    assert unnamed(page) == []


def test_every_link_says_where_it_leads(page):
    assert aimless(page) == []


def test_no_page_sets_colours_that_a_theme_would_break(page):
    assert painted(page) == []


def test_everything_folded_has_a_summary(page):
    assert page.count("<details>") == len(re.findall(r"<summary>[^<]*\w[^<]*</summary>", page))


def test_these_laws_notice_what_breaks_them():
    assert skipped("# a\n## b\n#### c") == ["c"]
    assert skipped("# a\n## b\n# c") == ["c"]
    assert skipped("## a") == ["a", "no title"]
    assert unnamed("![ ](a.png) ![b](b.png) <img src='c.png'>") == ["<img src='c.png'>", "a.png"]
    assert aimless("[here](a) [![badge](b)](c) [a page](d)") == ["here"]
    assert len(painted("<font color='red'>a</font> <p style='color: black'>b</p>")) == 2
    assert not_sentences("viz.show(figure, 'a ball')\nfigures.show(figure, f'{n} balls, seen from above.')") == ["a ball"]


def not_sentences(code):
    """Descriptions of figures that are no sentence: four words or more, a capital or a value first, a full stop last."""
    tree = ast.parse(re.sub(r"^(\s*)%", r"\1pass  # %", code, flags=re.M))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "show"]
    words = [described(call.args[1]) for call in calls if len(call.args) == 2]
    return [text for text in words if not re.fullmatch(r"[A-Z0-9{].*[.!?]", text, re.S) or len(text.split()) < 4]


def described(node):
    """The text of a string, with {} for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) else "A {} that is made elsewhere."


@pytest.mark.parametrize("path", NOTEBOOKS, ids=title)
def test_every_figure_is_described_by_a_sentence(path):
    assert [text for code in cells(path, "code") for text in not_sentences(code)] == []


# Colours


def test_contrast_is_the_published_one():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)  # the grey that just fails
    assert contrast((1, 2, 3), (1, 2, 3)) == 1
    np.testing.assert_allclose(lab(linear((255, 255, 255))), (100, 0, 0), atol=0.02)


@pytest.mark.parametrize("sight", DICHROMACY)
def test_greys_look_the_same_to_everybody(sight):
    for grey in (0, 90, 255):
        np.testing.assert_allclose(seen((grey,) * 3, sight), linear((grey,) * 3), atol=1e-4)


def test_red_and_green_are_alike_to_a_deuteranope():
    assert difference((163, 120, 0), (213, 94, 0), "deuteranopia") < 10 < 30 < difference((163, 120, 0), (213, 94, 0))


def test_words_of_figures_are_legible_on_their_card():
    assert contrast(bytes_of(TEXT), bytes_of(CARD)) >= 4.5


@pytest.mark.parametrize("ink", INKS)
def test_lines_stand_out_from_their_card(ink):
    assert contrast(bytes_of(ink), bytes_of(CARD)) >= 3


FIGURES = {
    "mesh": lambda: viz.mesh_figure(CORNERS, FACES, title="A title"),
    "slices": lambda: viz.slices_figure(SOLID, depth_scale=1.0),
    "images": lambda: viz.images_figure({"a": np.zeros((4, 4))}),
    "curves": lambda: viz.curves_figure(dict.fromkeys("abcdefg", LINE), "x", "y"),
    "compared": lambda: viz.compared_figure({"a": {"b": LINE}}, {}, "x", "y", slider="page"),
    "panels": lambda: viz.panels_figure({"a": dict.fromkeys("abcd", LINE)}, "x"),
    "bars": lambda: viz.bars_figure({name: {"left": 1.0} for name in "abcd"}, "x", "y"),
    "boxes": lambda: viz.boxes_figure({name: [(0, 0, 1, 1, "")] for name in "abc"}, x_title="x", y_title="y"),
}


@pytest.fixture(params=FIGURES)
def figure(request):
    return FIGURES[request.param]()


def test_every_figure_brings_its_card_into_any_theme(figure):
    assert (figure.layout.paper_bgcolor, figure.layout.plot_bgcolor, figure.layout.font.color) == (CARD, CARD, TEXT)


def test_lines_of_every_figure_are_inks(figure):
    lines = [trace.line.color for trace in figure.data if trace.type == "scatter" and trace.line.color]
    assert all(contrast(bytes_of(colour), bytes_of(CARD)) >= 3 for colour in lines)


def cue(trace):
    """What tells a trace from others without colour."""
    return (trace.marker.pattern.shape,) if trace.type == "bar" else (trace.line.dash, trace.marker.symbol)


@pytest.mark.parametrize("name", ["curves", "panels", "bars"])
def test_traces_are_told_apart_without_colour(name):
    cues = [cue(trace) for trace in FIGURES[name]().data]
    assert len(set(cues)) == len(cues) > 3


@pytest.mark.parametrize("sight", SIGHTS)
def test_fills_are_told_apart_by_colour_alone_by_everybody(sight):
    fills = [trace.fillcolor for trace in FIGURES["boxes"]().data if trace.fillcolor]
    assert len(fills) == 3
    for one, other in combinations({*fills, *COLOURS}, 2):
        assert difference(bytes_of(one), bytes_of(other), sight) > 15


@pytest.mark.parametrize("sight", SIGHTS)
def test_the_colour_map_grows_lighter_for_everybody(sight):
    steps = np.rint(255 * colour_table()[::16])
    light = [lab(linear(step) if sight is None else seen(step, sight))[0] for step in steps]
    assert light == sorted(light)
    assert light[-1] - light[0] > 65


def test_skin_is_seen_on_the_card():
    still = viz.picture(viz.mesh_figure(CORNERS, FACES))
    assert still.startswith(b"\x89PNG")
    assert difference(bytes_of(SKIN), bytes_of(CARD)) > 15
