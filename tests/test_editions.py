"""The editions are made from their source, lose nothing of it, and the teacher's answers are right."""

import ast
import json
import math
import re
import sys

import nbformat
import pytest

from lessons import SOURCES, editions
from vrn_lite.exercises import EXERCISES

ROOT = editions.NOTEBOOKS.parent
NAMES = [path.stem for path in SOURCES]
MADE = editions.editions()


@pytest.mark.parametrize("path", MADE, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_committed_edition_is_the_generated_one(path):
    assert editions.kept(path) == MADE[path], "run `python notebooks/editions.py`"


def test_text_between_marks_is_replaced_and_marks_are_required():
    assert editions.between("a\n<!-- x -->\nold\n<!-- /x -->\nb", "x", "new") == "a\n<!-- x -->\nnew\n<!-- /x -->\nb"
    with pytest.raises(ValueError, match="missing"):
        editions.between("a\n<!-- x -->\nold", "x", "new")


def test_no_edition_without_a_source():
    assert [path.stem for path in sorted(editions.NOTEBOOKS.glob("*.ipynb"))] == NAMES


def test_stale_files_are_named(tmp_path, monkeypatch, capsys):
    source = tmp_path / "notebooks" / "source"
    source.mkdir(parents=True)
    for path in SOURCES[:2]:
        (source / path.name).write_bytes(path.read_bytes())
    for name in ("README.md", "notebooks/measured.json", "notebooks/TEACHING.md"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(editions, "NOTEBOOKS", source.parent)
    monkeypatch.setattr(editions, "SOURCES", source)
    for arguments, code, word in ((["--check"], 1, "stale: "), ([], 0, "written: "), (["--check"], 0, ""), ([], 0, "")):
        monkeypatch.setattr(sys, "argv", ["editions.py", *arguments])
        assert editions.main() == code
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == (4 if word else 0)
        assert all(line.startswith(word) for line in lines)
    first, second = (source.parent / f"{name}.ipynb" for name in NAMES[:2])
    second.write_text("{}")
    assert list(editions.stale()) == [second]
    notebook = json.loads(first.read_text(encoding="utf-8"))
    notebook["cells"][1] |= {"execution_count": 1, "outputs": [{"output_type": "stream", "name": "stdout", "text": ["run"]}]}
    first.write_text(json.dumps(notebook))
    assert list(editions.stale()) == [second], "outputs do not count"
    notebook["cells"][1]["source"].append("# changed")
    first.write_text(json.dumps(notebook))
    assert list(editions.stale()) == [first, second]


def test_a_source_keeps_ids_metadata_and_magics(tmp_path):
    path = tmp_path / "x.py"
    told = '# %% one [markdown]\n# Text.\n#\n# * More.\n\n# %% two tags=["hide-input"]\nif True:\n    pass  # %pip install x\n\n\n# %% three\ndef f(): ...\n'
    path.write_text(f"# ---\n# jupyter:\n#   vrn_lite:\n#     about: a test\n# ---\n\n{told}")
    notebook = editions.read(path)
    assert notebook == editions.read(path)
    assert notebook["metadata"]["vrn_lite"] == {"about": "a test"}
    assert [(cell["id"], editions.text(cell)) for cell in notebook["cells"]] == [
        ("one", "Text.\n\n* More."),
        ("two", "if True:\n    %pip install x"),
        ("three", "def f(): ..."),
    ]
    folded = {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}
    assert [cell["metadata"] for cell in notebook["cells"]] == [{}, folded, {}]


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.stem)
def test_every_edition_is_a_valid_notebook(path):
    if path.suffix == ".ipynb":
        nbformat.validate(json.loads(MADE[path]))


def test_teachers_are_written_where_they_are_wanted(tmp_path):
    made = editions.teachers(tmp_path / "teacher")
    assert made == sorted((tmp_path / "teacher").glob("*.ipynb"))
    assert [path.stem for path in made] == NAMES
    assert all("**For the teacher.**" in path.read_text(encoding="utf-8") or path.stem[:2] in ("00", "10") for path in made)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_source_has_marks_in_its_exercises_only(path):
    for cell in editions.read(path)["cells"]:
        if cell["cell_type"] == "code":
            assert ("SOLUTION" in editions.text(cell)) == (editions.CHECK.search(editions.text(cell)) is not None) == (editions.number(cell) is not None)
        else:
            assert "### BEGIN" not in editions.text(cell)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_student_sees_the_solution_folded_only_and_everything_else_of_the_source(path):
    source, student = editions.read(path), editions.student(editions.read(path), path.stem)
    cells = {cell["id"]: editions.text(cell) for cell in student["cells"]}
    assert len(cells) == len(student["cells"])
    assert "### BEGIN" not in json.dumps(student)
    for cell, remark, after in editions.exercises(source["cells"]):
        if editions.number(cell):
            name = cell["id"]
            assert "    return ...\n\n\nexercises.check(" in cells[name]
            assert f"```python\n{editions.function(cell)}\n```\n\n" in cells[f"{name}-solution"]
            fold, end = cells[f"{name}-solution"].split("</details>")
            assert remark in fold
            assert bare(end).strip() == after
        elif cell["id"].endswith("-predict"):
            assert 'prediction = "..."' in cells[cell["id"]]
            answer = editions.text(cell).partition(editions.NOTE)[0].split("\n\n", 1)[1].strip()
            assert cells[f"{cell['id']}-answer"] == f"{editions.FOLDED_ANSWER}\n\n{answer}\n\n{editions.FOLDED_END}"
        else:
            told = editions.text(cell).partition(editions.NOTE)[0].strip()
            assert bare(cells[cell["id"]]) == (told if cell["cell_type"] == "markdown" else editions.text(cell))


def bare(value):
    """Text without the minutes and without the advice that the editions put in."""
    value = re.sub(r"(^## .*$)\n\n\*(?:About \d+ minutes|A minute)\.\*", r"\1", value, flags=re.M)
    return value.replace(f"{editions.SHUT_DOWN}\n\n", "")


def test_every_prompt_to_predict_is_followed_by_a_cell_for_it():
    for path in SOURCES:
        cells = editions.read(path)["cells"]
        for before, after in zip(cells, cells[1:], strict=False):
            asked = before["cell_type"] == "markdown" and re.search(r"\*Predict( first)?:?\*", editions.text(before))
            assert bool(asked) == (after["id"].endswith("-predict") or after["id"] == "shapes-mine"), before["id"]


def test_notes_and_full_answers_are_the_teachers():
    source = editions.markdown("x-predict", "Why?\n\nSo.\n\n<!-- teacher -->\nBecause.")
    (asked, folded), (_, shown) = (editions.predicted(source, notes) for notes in (False, True))
    assert editions.text(asked).startswith("# Why?\nprediction = ")
    assert "Because" not in editions.text(folded)
    assert editions.text(shown) == "**Model answer.** So.\n\n**For the teacher.** Because."
    assert editions.noted("Told.\n\n<!-- teacher -->\nNote.", notes=False) == "Told."


def test_sections_state_their_minutes():
    for path in SOURCES:
        lesson, student = editions.lessons()[path.stem[:2]], editions.student(editions.read(path), path.stem)
        told = "\n".join(editions.text(cell) for cell in student["cells"] if cell["cell_type"] == "markdown")
        stated = re.findall(r"^## (.*)\n\n\*(?:About (\d+) minutes|A minute)\.\*$", told, re.M)
        assert [heading for heading, _ in stated] == [section.heading for section in lesson.sections]
        assert told.count(editions.SHUT_DOWN) == 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_teacher_edition_says_so_and_lists_the_mistakes(path):
    teacher = editions.teacher(editions.read(path), path.stem)
    first = editions.text(teacher["cells"][0])
    assert first.startswith("# ")
    assert f"teacher's edition of [the student's notebook](../{path.stem}.ipynb)" in first
    assert "Open in" not in first
    assert "<details>" not in json.dumps(teacher)
    notes = {cell["id"]: editions.text(cell) for cell in teacher["cells"]}
    for cell in teacher["cells"]:
        if match := editions.CHECK.search(editions.text(cell)):
            assert all(f"* {hint}" in notes[f"{cell['id']}-teacher"] for hint in EXERCISES[match[1]].mistakes)


def imports(cells):
    """Import statements of a notebook's cells."""
    trees = [ast.parse(editions.text(cell).replace("%pip", "pass  # %pip")) for cell in cells if cell["cell_type"] == "code"]
    return "\n".join(ast.unparse(node) for tree in trees for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))


@pytest.mark.parametrize("name", NAMES)
def test_teachers_answers_are_right_and_students_blanks_are_not_yet(name):
    source = editions.read(editions.SOURCES / f"{name}.py")
    for made, word in ((editions.teacher, "Right"), (editions.student, "Not yet")):
        cells = made(source, name)["cells"]
        scope: dict = {}
        exec(imports(cells), scope)
        asked = [cell for cell in cells if cell["cell_type"] == "code" and editions.CHECK.search(editions.text(cell))]
        assert len(asked) == sum(number[:2] == name[:2] for number in EXERCISES)
        for cell in asked:
            exec(editions.text(cell).split("exercises.check")[0], scope)
            feedback = eval(editions.CHECK.search(editions.text(cell))[0], scope)
            assert repr(feedback).startswith(word), (cell["id"], feedback)


def test_links_of_the_teachers_edition_stay_right():
    told = "![a](images/a.png) [b](02_x.ipynb) [c](https://x.y/z) [d](#e) [f](../README.md)"
    assert editions.deeper(told) == "![a](../images/a.png) [b](02_x.ipynb) [c](https://x.y/z) [d](#e) [f](../../README.md)"


def test_minutes_of_sections_add_up_to_what_the_notebook_states():
    for lesson in editions.lessons().values():
        stated = re.search(r"about (\d+) minutes of reading", editions.text(editions.read(editions.SOURCES / f"{lesson.name}.py")["cells"][0]))
        reading, asked, running = lesson.minutes()
        assert stated is None or reading == int(stated[1])
        assert asked == editions.MINUTES_AN_EXERCISE * sum(number[:2] == lesson.name[:2] for number in EXERCISES)
        assert running == math.ceil(lesson.running)
        places = range(1, len(lesson.sections) + 1)
        assert sum(lesson.minutes(place)[0] for place in places) == reading
        assert lesson.sections[-1].heading == "Summary"


@pytest.mark.parametrize(("total", "weights"), [(10, [1, 1, 1]), (0, [3, 4]), (25, [230, 157, 61, 0, 184])])
def test_minutes_are_shared_out_whole_and_in_proportion(total, weights):
    parts = editions.shared_out(total, weights)
    assert sum(parts) == total
    assert all(abs(part - total * weight / sum(weights)) <= 1 for part, weight in zip(parts, weights, strict=True))


def total(name):
    return int(re.search(r"sum \| \*\*(\d+)\*\* \|$", editions.plan(name))[1])


def test_plans_fit_their_time():
    assert 60 <= total("ninety-minutes") <= 90
    assert 4 * 60 <= total("one-day") <= 6 * 60
    assert sum(total(f"week-{week}") for week in range(1, 5)) == sum(sum(lesson.minutes()) for lesson in editions.lessons().values())


def test_misconceptions_come_up_in_several_exercises():
    for line in editions.misconceptions().splitlines():
        assert len(re.findall(r"\d\d\.\d", line)) >= 2


def test_nbgrader_export_hides_the_tests_and_grades_every_exercise(tmp_path):
    points = 0
    for path in editions.nbgrader(tmp_path):
        names = []
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            graded = cell["metadata"].get("nbgrader")
            assert (graded is not None) == ("### BEGIN" in editions.text(cell))
            if graded:
                names.append(graded["grade_id"])
                assert graded["schema_version"] == 3
                assert graded["solution"] == ("### BEGIN SOLUTION" in editions.text(cell))
                assert graded["grade"] == ("### BEGIN HIDDEN TESTS" in editions.text(cell)) == ("points" in graded)
                points += graded.get("points", 0)
        assert len(set(names)) == len(names)
        assert path.parent == tmp_path / "source" / "vrn_lite"
    assert points == len(EXERCISES)
    compile((tmp_path / "nbgrader_config.py").read_text(), "nbgrader_config.py", "exec")


def test_links_to_the_glossary_meet_its_words_and_every_word_is_linked():
    words = re.findall(r"^### (.*)$", (editions.NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8"), re.M)
    anchors = [re.sub(r"[^\w\- ]", "", word.lower()).replace(" ", "-") for word in words]
    linked = {link for path in SOURCES for link in re.findall(r"GLOSSARY\.md#([\w-]+)", path.read_text(encoding="utf-8"))}
    assert linked == set(anchors)
    assert len(anchors) == len(linked)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_notebook_has_a_question_to_discuss_and_the_teacher_an_answer(path):
    source = editions.read(path)
    assert "**Discuss:**" in editions.text(source["cells"][-1])
    for made, answered in ((editions.student, False), (editions.teacher, True)):
        assert ("On the question to discuss:" in editions.text(made(source, path.stem)["cells"][-1])) == answered
