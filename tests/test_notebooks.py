"""The notebooks' shape; pytest's nbval runs their cells."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

from lessons import SOURCES, STUDENTS as PATHS, lesson, title

ROOT = Path(__file__).parents[1]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
MOST_BYTES, MOST_BYTES_OF_A_FIGURE = 3_000_000, 800_000


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text())


@pytest.fixture(params=[*PATHS, *SOURCES], ids=title)
def edition(request):
    """A student's or a teacher's notebook."""
    return lesson(request.param)


def text(cell):
    return "".join(cell["source"])


def of_kind(notebook, kind):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def prose(notebook):
    """Markdown without fenced code."""
    return re.sub(r"```.*?```", "", "\n\n".join(text(cell) for cell in of_kind(notebook, "markdown")), flags=re.S)


def test_course_begins_with_its_front_door():
    assert PATHS[0].stem == "00_one_photo_one_face"
    assert [path.stem[:2] for path in PATHS] == [f"{number:02}" for number in range(len(PATHS))]


def test_first_cell_says_what_is_learnt_needed_and_how_long(notebook):
    first = text(notebook["cells"][0])
    assert re.search(r"\*\*What you will (learn|see)\.\*\*", first)
    assert "**You need**" in first
    assert re.search(r"\*\*Time:\*\*.*(minute|second).*(CPU|GPU)", first)
    assert "arXiv:1703.07834" in first


def test_badges_name_this_notebook_and_the_repository(notebook, path):
    address, first = REPOSITORY.removeprefix("https://github.com/"), text(notebook["cells"][0])
    assert f"(https://colab.research.google.com/github/{address}/blob/main/notebooks/{path.name})" in first
    assert f"(https://mybinder.org/v2/gh/{address}/main?urlpath=lab/tree/notebooks/{path.name})" in first


def test_set_up_installs_on_colab_only(notebook):
    first = text(of_kind(notebook, "code")[0])
    assert 'if "google.colab" in sys.modules and importlib.util.find_spec("vrn_lite") is None:' in first
    assert f'%pip install -q "vrn_lite @ git+{REPOSITORY}"' in first
    assert "-U" not in first


def test_ends_with_a_summary_and_what_comes_next(edition):
    last = text(of_kind(edition, "markdown")[-1])
    assert "## Summary" in last
    assert "**Next:**" in last


def test_exercises_are_two_to_four_and_none_in_front_door_and_gallery(notebook, path):
    count = len(re.findall(r"^### Exercise \d", prose(notebook), re.M))
    assert count == prose(notebook).count("<details><summary>Solution</summary>")
    assert count == 0 if path.stem.startswith(("00", "10")) else 2 <= count <= 4


def test_cells_are_small_and_named(edition):
    names = [cell["id"] for cell in edition["cells"]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)
    for cell in of_kind(edition, "code"):
        lines, folded = text(cell).splitlines(), cell["metadata"].get("jupyter", {}).get("source_hidden", False)
        assert len(lines) <= (70 if folded else 40), cell["id"]
        assert max(map(len, lines)) <= 100, cell["id"]
    assert len(names) <= 64


def test_folded_cells_are_announced(notebook):
    folded = any(cell["metadata"].get("jupyter", {}).get("source_hidden") for cell in of_kind(notebook, "code"))
    assert ("folded" in text(notebook["cells"][0])) == folded


def test_no_widget_figures_and_no_state_of_widgets(edition):
    code = "\n".join(text(cell) for cell in of_kind(edition, "code"))
    assert "FigureWidget" not in code
    assert ".show(" not in code.replace("viz.show(", "")
    assert "widgets" not in edition["metadata"]


def test_every_shown_figure_is_the_last_line_and_described(notebook):
    for cell in of_kind(notebook, "code"):
        tree = ast.parse(re.sub(r"^(\s*)%", r"\1pass  # %", text(cell), flags=re.M))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "viz.show"]
        if calls:
            assert len(calls) == 1
            assert tree.body[-1].value is calls[0]
            assert len(calls[0].args) == 2


def test_no_profile_skips_a_cell(notebook):
    for cell in of_kind(notebook, "code"):
        assert not re.search(r"if .*profile", text(cell))
        assert not set(cell["metadata"].get("tags", [])) & {"nbval-skip"}


def test_outputs_are_all_stripped_or_all_counted(notebook):
    counts = [cell["execution_count"] for cell in of_kind(notebook, "code")]
    if all(count is None for count in counts):
        assert not any(cell["outputs"] for cell in of_kind(notebook, "code"))
    else:
        assert counts == list(range(1, len(counts) + 1))


def test_outputs_hold_no_error(edition):
    for cell in of_kind(edition, "code"):
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"


def test_sizes_are_within_budget(notebook, path):
    assert path.stat().st_size <= MOST_BYTES
    for cell in of_kind(notebook, "code"):
        for output in cell["outputs"]:
            figure = output.get("data", {}).get("application/vnd.plotly.v1+json")
            assert len(json.dumps(figure)) <= MOST_BYTES_OF_A_FIGURE
            assert figure is None or {"image/png", "text/plain"} <= set(output["data"])
