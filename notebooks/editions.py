"""Make the notebooks' editions from their one source: ``python notebooks/editions.py`` writes all that is stale.

A source ``source/NN_name.py`` is in jupytext's percent format: ``# %% id`` begins a cell of code,
``# %% id [markdown]`` one of text, and a magic stands behind ``pass  #``; the tag ``hide-input`` folds a cell's code.
An exercise holds its solution between two marks, and the cell ``...-solution`` after it holds the remark on the
solution, if there is one (and, after a line ``</details>``, text that follows in the same cell). A cell ``...-predict``
holds a question and, in the paragraphs after it, a model answer. In any cell of text, what follows a line
``<!-- teacher -->`` is for the teacher. Minutes of sections, and how to end a notebook, are put in.

* The student's edition ``NN_name.ipynb`` has ``return ...`` between the marks, and the solution folded away beneath.
* The teacher's edition ``teacher/NN_name.ipynb`` has the solution in place, and the typical wrong answers beneath.
  It is not kept in the repository: ``python notebooks/editions.py teacher`` writes it.
"""

import argparse
import copy
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any

import jupytext

from vrn_lite.exercises import EXERCISES

NOTEBOOKS = Path(__file__).parent
SOURCES = NOTEBOOKS / "source"

Cell = dict[str, Any]
Notebook = dict[str, Any]

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""Metadata that all notebooks share."""
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION\n", re.M | re.S)
CHECK = re.compile(r'^exercises\.check\("([\d.]+)", (\w+)\)', re.M)
FOLDED_END = "</details>"
FOLDED_ANSWER = "<details><summary>Model answer: open it after the result</summary>"
NOTE = "<!-- teacher -->"
SHUT_DOWN = (
    "**Before you go on,** shut this kernel down (*Kernel, Shut Down Kernel*; on Colab *Runtime, Disconnect and delete "
    "runtime*): a notebook keeps its memory when its tab is closed."
)
FOLDED = "hide-input"
"""Tag of a cell whose code is folded away: in JupyterLab, and on the site."""
MINUTES_AN_EXERCISE, WORDS_A_MINUTE = 5, 60
"""Assumed for lessons; the words are for a notebook that does not state its reading time.

The others state 40 to 80 a minute, figures included."""
PLANS: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "ninety-minutes": (("00", ()), ("01", (1, 2, 3, 4)), ("02", (4, 8)), ("03", (2, 9)), ("04", (5, 6))),
    "one-day": (
        ("00", ()),
        ("01", ()),
        ("02", ()),
        ("03", (1, 2, 3, 4, 5, 6, 8, 9)),
        ("04", ()),
        ("06", ()),
        ("07", (1, 3, 4, 7)),
    ),
    "week-1": (("00", ()), ("01", ()), ("02", ())),
    "week-2": (("03", ()), ("04", ())),
    "week-3": (("05", ()), ("06", ())),
    "week-4": (("07", ()), ("08", ()), ("09", ()), ("10", ())),
}
"""Course plans: two digits of a notebook and its sections, counted from 1 (none: all)."""
THEMES = {
    "Half a voxel, pixel or cell is left out or added twice: index 0 has its centre at 1/2.": (
        r"half (voxel|pixel|cell)|centres are at halves"
    ),
    "Indices (d, r, c) and points (x, y, z) run in opposite orders.": (
        r"x and y are swapped|order of the indices|[Rr]ow and column are swapped"
    ),
    "z points away from the viewer and y down, so signs surprise.": (
        r"y points down|z points away|turns the mesh inside out|runs to the right"
    ),
    "A scale is forgotten, or applied the wrong way round.": (
        r"scale is missing|multiply by (depth_|the )scale|scaled, too"
    ),
    "A mean is meant and a sum is given, or the other way round.": (
        r"you add |mean is wanted|sum is meant|its cells add up"
    ),
    "Roots and squares: a mean length is no root mean square.": (
        r"square root is missing|root of the mean square|[Nn]ot squared|before the mean"
    ),
    "Landmarks are numbered from 1 in the literature, and from 0 in Python.": r"counted from 1",
    "A distance taken in the picture shrinks to nothing in profile.": r"in profile it goes to zero",
    "A normalisation over one axis, or none, where all cells share one.": r"softmax|do not add up",
    "Pairs are lost: two methods met the same faces, or the same seeds.": (
        r"lose the pairs|pairs are lost|pairs are not used|meet the same faces"
    ),
    "The thing is right, and its opposite is returned.": (
        r"swapped: (inside|True)|[Ss]ign is wrong|two are swapped|above the curve|leaves that share"
    ),
}
"""Misconceptions that come up in more than one exercise, and how to find them among the hints."""
NBGRADER = """c = get_config()
c.CourseDirectory.course_id = "vrn_lite"
c.ClearSolutions.code_stub = {"python": "return ..."}
c.Execute.timeout = 900  # seconds a cell: some train a network
"""


def sources() -> list[Path]:
    """Find the files of the sources."""
    return sorted(SOURCES.glob("*.py"))


def read(path: Path) -> Notebook:
    """Read a source as a notebook; a cell's title is its id."""
    found = jupytext.read(path, fmt="py:percent")
    cells = []
    for cell in found.cells:
        name = cell.metadata.pop("title")
        cell.metadata.pop("lines_to_next_cell", None)
        made = (
            code(name, re.sub(r"^( *)pass  # %", r"\1%", cell.source, flags=re.M))
            if cell.cell_type == "code"
            else markdown(name, cell.source)
        )
        folded = {"jupyter": {"source_hidden": True}} if FOLDED in cell.metadata.get("tags", []) else {}
        cells.append({**made, "metadata": folded | dict(cell.metadata)})
    return {
        "cells": cells,
        "metadata": {**KERNEL, "vrn_lite": dict(found.metadata["vrn_lite"])},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def stripped(value: str) -> str:
    """Text of a notebook's file without outputs and execution counts: an edition may be committed executed."""
    notebook = json.loads(value)
    for cell in notebook.get("cells", ()):
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    return written(notebook)


def written(notebook: Notebook) -> str:
    """Text of a notebook's file."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def text(cell: Cell) -> str:
    """Source of a cell."""
    return "".join(cell["source"])


def with_text(cell: Cell, value: str) -> Cell:
    """Same cell with another source."""
    return {**copy.deepcopy(cell), "source": value.splitlines(keepends=True)}


def markdown(name: str, value: str) -> Cell:
    """Make a markdown cell."""
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": value.splitlines(keepends=True)}


def code(name: str, value: str) -> Cell:
    """Make a code cell."""
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": {},
        "outputs": [],
        "source": value.splitlines(keepends=True),
    }


def number(cell: Cell) -> str | None:
    """Number of the exercise that a cell of the source holds."""
    match = CHECK.search(text(cell))
    return match[1] if match and SOLUTION.search(text(cell)) else None


def blank(cell: Cell) -> str:
    """Code of an exercise, to be filled in."""
    return SOLUTION.sub(r"\1return ...\n", text(cell))


def solved(cell: Cell) -> str:
    """Code of an exercise with its solution and without marks."""
    return SOLUTION.sub(r"\2", text(cell))


def function(cell: Cell) -> str:
    """Solution of an exercise: its code without the call of the check."""
    return CHECK.split(solved(cell))[0].rstrip()


def exercises(cells: list[Cell]) -> Iterator[tuple[Cell, str, str]]:
    """Give each cell with the remark on its solution and the text after that: both empty where it is no exercise."""
    remarks = {cell["id"]: text(cell) for cell in cells}
    names = {f"{cell['id']}-solution" for cell in cells if number(cell)}
    for cell in cells:
        if cell["id"] not in names:
            remark, _, after = remarks.get(f"{cell['id']}-solution", "").partition(FOLDED_END)
            yield cell, remark.strip(), after.strip()


def edition(
    notebook: Notebook, name: str, pages: Callable[[Cell, str, str], list[Cell]], notes: bool = False
) -> Notebook:
    """Copy a source, with `pages` in the place of each exercise, and notes for the teacher or without."""
    cells = []
    for cell, remark, after in exercises(notebook["cells"]):
        if number(cell):
            cells += pages(cell, remark, after)
        elif cell["id"].endswith("-predict"):
            cells += predicted(cell, notes)
        elif cell["cell_type"] == "markdown":
            cells.append(with_text(cell, noted(text(cell), notes).replace("**Next:**", f"{SHUT_DOWN}\n\n**Next:**")))
        else:
            cells.append(copy.deepcopy(cell))
    return {**notebook, "cells": timed(cells, lesson(notebook, name).sections)}


def noted(value: str, notes: bool) -> str:
    """Markdown with its note for the teacher, or without."""
    told, found, note = value.partition(NOTE)
    return joined(told.strip(), f"**For the teacher.** {note.strip()}" if notes else "") if found else value


def predicted(cell: Cell, notes: bool) -> list[Cell]:
    """Give a cell in which a prediction is committed, and the model answer: folded, or with the teacher's note."""
    question, answer = text(cell).split("\n\n", 1)
    asked = "\n".join(f"# {line}" for line in wrap(question, 98))
    committed = f'{asked}\nprediction = "..."  # your answer, before you go on\nprint("I predict:", prediction)'
    told = noted(answer, notes)
    shown = f"**Model answer.** {told}" if notes else joined(FOLDED_ANSWER, told, FOLDED_END)
    return [code(cell["id"], committed), markdown(f"{cell['id']}-answer", shown)]


def timed(cells: list[Cell], sections: Sequence["Section"]) -> list[Cell]:
    """Put the minutes of each section beneath its heading."""
    minutes = (section.reading + section.exercises for section in sections)

    def with_minutes(heading: re.Match[str]) -> str:
        spent = next(minutes)
        return f"{heading[0]}\n\n*{f'About {spent} minutes' if spent > 1 else 'A minute'}.*"

    return [
        with_text(cell, re.sub(r"^## .*$", with_minutes, text(cell), flags=re.M))
        if cell["cell_type"] == "markdown"
        else cell
        for cell in cells
    ]


def joined(*parts: str) -> str:
    """Paragraphs without the empty ones."""
    return "\n\n".join(part for part in parts if part)


def student(notebook: Notebook, name: str) -> Notebook:
    """Make the student's edition of a source."""

    def pages(cell: Cell, remark: str, after: str) -> list[Cell]:
        fold = joined(
            "<details><summary>Solution</summary>", f"```python\n{function(cell)}\n```", remark, FOLDED_END, after
        )
        return [with_text(cell, blank(cell)), markdown(f"{cell['id']}-solution", fold)]

    return edition(notebook, name, pages)


def teacher(notebook: Notebook, name: str) -> Notebook:
    """Make the teacher's edition of a source; it lies one folder deeper."""

    def pages(cell: Cell, remark: str, after: str) -> list[Cell]:
        exercise = EXERCISES[str(number(cell))]
        hints = "\n".join(f"* {hint}" for hint in exercise.mistakes)
        note = f"**For the teacher.** Typical wrong answers to exercise {number(cell)}, by the hint that each one gets:"
        return [with_text(cell, solved(cell)), markdown(f"{cell['id']}-teacher", joined(note, hints, remark, after))]

    made = edition(notebook, name, pages, notes=True)
    made["cells"] = [
        with_text(cell, deeper(text(cell))) if cell["cell_type"] == "markdown" else cell for cell in made["cells"]
    ]
    first = re.sub(r"^\[!\[Open in .*\n", "", text(made["cells"][0]), flags=re.M)  # there is nothing to open online
    heading, rest = first.split("\n", 1)
    student = f"[the student's notebook](../{name}.ipynb)"
    told = f"*The teacher's edition of {student}: solutions in place, and typical mistakes beneath each exercise.*"
    made["cells"][0] = with_text(made["cells"][0], joined(heading, told, rest.strip()))
    return made


def deeper(value: str) -> str:
    """Markdown whose relative links, other than to notebooks, are right one folder deeper."""
    return re.sub(r"\]\((?!\w+:|#|[^)]*\.ipynb)([^)\s]+\))", r"](../\1", value)


def between(value: str, mark: str, block: str) -> str:
    """Put a block of Markdown between the comments ``<!-- mark -->`` and ``<!-- /mark -->``."""
    begin, end = f"<!-- {mark} -->\n", f"\n<!-- /{mark} -->"
    before, _, rest = value.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the comments {begin.strip()} and {end.strip()} are missing")
    return f"{before}{begin}{block}{end}{after}"


def table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Make a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" if row else "|---" * len(names) + "|" for row in (names, (), *rows))


def title(notebook: Notebook) -> str:
    """Heading of a notebook."""
    return text(notebook["cells"][0]).split("\n", 1)[0].removeprefix("# ")


def measured() -> dict[str, Any]:
    """Read minutes and memory, as measured."""
    return json.loads((NOTEBOOKS / "measured.json").read_text(encoding="utf-8"))


def overview() -> str:
    """Make the README's table of the notebooks."""
    numbers, rows = measured(), []
    for path in sources():
        notebook, line = read(path), numbers["notebooks"].get(path.stem)
        colab, binder = re.findall(
            r"\]\((https://(?:colab\.research\.google\.com/github|mybinder\.org/v2)/[^)]*)\)",
            text(notebook["cells"][0]),
        )
        cost = f"{line['minutes']} min, {line['peak_mib']} MiB" if line else "not measured"
        about = notebook["metadata"]["vrn_lite"]["about"]
        rows.append(
            (
                f"[{path.stem[:2]} {title(notebook)}](notebooks/{path.stem}.ipynb)",
                about,
                cost,
                f"[Colab]({colab}), [Binder]({binder})",
            )
        )
    minutes = numbers.get("meaning", {}).get("minutes")
    note = f"Time and memory: measured in the profile {numbers['profile']} with {numbers['hardware']}" + (
        f"; minutes are {minutes}." if minutes else "."
    )
    return joined(table(("notebook", "what it shows", "time and memory", "without installing"), rows), note)


@dataclass(frozen=True)
class Section:
    """A section of a notebook: minutes of reading, and of exercises."""

    heading: str
    reading: int
    exercises: int


@dataclass(frozen=True)
class Lesson:
    """A notebook as a lesson: its sections, and the minutes that its cells run."""

    name: str
    title: str
    sections: tuple[Section, ...]
    running: float

    def minutes(self, *numbers: int) -> tuple[int, int, int]:
        """Minutes of reading, exercises and running of some sections, counted from 1, or of all; it runs as a whole."""
        chosen = [section for place, section in enumerate(self.sections, 1) if place in numbers or not numbers]
        return (
            sum(section.reading for section in chosen),
            sum(section.exercises for section in chosen),
            math.ceil(self.running),
        )


def shared_out(total: int, weights: list[int]) -> list[int]:
    """Whole numbers in proportion to weights that add up to the total: rounded running sums, less the sum before."""
    sums = [round(total * part / sum(weights)) for part in accumulate(weights, initial=0)]
    return [after - before for before, after in pairwise(sums)]


def lesson(notebook: Notebook, name: str) -> Lesson:
    """Make a lesson of a source: reading takes what its first cell states, shared out by the words of its sections."""
    headings: list[str] = []
    words: list[int] = []
    asked: list[int] = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and headings:
            asked[-1] += number(cell) is not None
        told = noted(text(cell), notes=False) if cell["cell_type"] == "markdown" else ""
        for part in re.split(r"^(?=## )", told, flags=re.M):
            if part.startswith("## "):
                headings.append(part.split("\n", 1)[0].removeprefix("## "))
                words.append(0)
                asked.append(0)
            if headings:
                words[-1] += len(part.split())
    stated = re.search(r"about (\d+) minutes of reading", text(notebook["cells"][0]))
    reading = shared_out(int(stated[1]) if stated else round(sum(words) / WORDS_A_MINUTE), words)
    sections = tuple(
        Section(heading, some, MINUTES_AN_EXERCISE * count)
        for heading, some, count in zip(headings, reading, asked, strict=True)
    )
    running = measured()["notebooks"].get(name, {"minutes": 0})["minutes"]
    return Lesson(name, title(notebook), sections, running)


def lessons() -> dict[str, Lesson]:
    """Make a lesson of each notebook, by its two digits."""
    return {path.stem[:2]: lesson(read(path), path.stem) for path in sources()}


def minutes_table() -> str:
    """Make the table of minutes by notebook and section."""
    rows = []
    for digits, lesson in lessons().items():
        reading, asked, running = lesson.minutes()
        parts = "; ".join(
            f"{section.heading} **{section.reading + section.exercises or '<1'}**" for section in lesson.sections
        )
        rows.append(
            (
                f"[{digits} {lesson.title}]({lesson.name}.ipynb)",
                str(reading),
                str(asked),
                str(running),
                f"**{reading + asked + running}**",
                parts,
            )
        )
    return table(("notebook", "reading", "exercises", "running", "in all", "reading and exercises by section"), rows)


def plan(name: str) -> str:
    """Make the table of a course plan."""
    known, rows, total = lessons(), [], 0
    for digits, numbers in PLANS[name]:
        if digits in known:
            lesson, spent = known[digits], known[digits].minutes(*numbers)
            headings = ", ".join(lesson.sections[place - 1].heading for place in numbers) or "all sections"
            rows.append(
                (f"[{digits} {lesson.title}]({lesson.name}.ipynb)", headings, *map(str, spent), f"**{sum(spent)}**")
            )
            total += sum(spent)
    return table(
        ("notebook", "sections", "reading", "exercises", "running", "in all"),
        [*rows, ("", "", "", "", "sum", f"**{total}**")],
    )


def misconceptions() -> str:
    """List what goes wrong in several exercises, by the hints that speak of it."""
    lines = []
    for theme, pattern in THEMES.items():
        found = [
            name for name, exercise in EXERCISES.items() if any(re.search(pattern, hint) for hint in exercise.mistakes)
        ]
        lines.append(f"* {theme} ({', '.join(found)})")
    return "\n".join(lines)


def classroom() -> str:
    """Say what thirty students need on one machine."""
    memory = {name: line["peak_mib"] for name, line in measured()["notebooks"].items()}
    most = max(memory, key=lambda name: memory[name])
    open_ones = [value for name, value in memory.items() if name[:2] in dict(PLANS["ninety-minutes"])]
    need = f"so thirty students at once need about {30 * memory[most] / 1024:.0f} GiB"
    return (
        f"The largest notebook is {most[:2]} with {memory[most]:,} MiB, {need}, if each kernel is shut down when its "
        f"notebook is left. The {len(open_ones)} notebooks of the 90-minute plan, all left open, hold up to "
        f"{sum(open_ones):,} MiB a student."
    )


def editions() -> dict[Path, str]:
    """Make the text of every generated file that is kept, by its path."""
    readme, teaching = NOTEBOOKS.parent / "README.md", NOTEBOOKS / "TEACHING.md"
    told = teaching.read_text(encoding="utf-8")
    for mark, block in {
        "minutes": minutes_table(),
        **{name: plan(name) for name in PLANS},
        "misconceptions": misconceptions(),
        "classroom": classroom(),
    }.items():
        told = between(told, mark, block)
    made = {readme: between(readme.read_text(encoding="utf-8"), "notebooks", overview()), teaching: told}
    for path in sources():
        made[NOTEBOOKS / f"{path.stem}.ipynb"] = written(student(read(path), path.stem))
    return made


def stale() -> dict[Path, str]:
    """Make the generated files that differ from what is on the disk; outputs do not count."""
    return {path: value for path, value in editions().items() if kept(path) != value}


def kept(path: Path) -> str | None:
    """Text of a file on the disk, a notebook's without its outputs; None if there is none, or a merge broke it."""
    try:
        value = path.read_text(encoding="utf-8")
        return stripped(value) if path.suffix == ".ipynb" else value
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def teachers(folder: Path) -> list[Path]:
    """Write the teacher's edition, without outputs, into a folder that lies beside the student's notebooks."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {folder / f"{path.stem}.ipynb": written(teacher(read(path), path.stem)) for path in sources()}
    for path, value in made.items():
        path.write_text(value, encoding="utf-8")
    return list(made)


def nbgrader(folder: Path) -> list[Path]:
    """Write nbgrader's source of an assignment ``vrn_lite``: one point an exercise, given by its check."""

    def pages(cell: Cell, remark: str, after: str) -> list[Cell]:
        name, check = cell["id"], CHECK.search(text(cell))
        assert check is not None
        asked = f"feedback = exercises.check({check[1]!r}, {check[2]})\nassert feedback.right, feedback"
        test = f"# Graded: one point.\n### BEGIN HIDDEN TESTS\n{asked}\n### END HIDDEN TESTS"
        answer, graded = with_text(cell, text(cell)), code(f"{name}-test", test)
        shared = {"schema_version": 3, "task": False, "cell_type": "code"}
        answer["metadata"]["nbgrader"] = {**shared, "grade_id": name, "solution": True, "grade": False, "locked": False}
        graded["metadata"]["nbgrader"] = {
            **shared,
            "grade_id": f"{name}-test",
            "solution": False,
            "grade": True,
            "locked": True,
            "points": 1,
        }
        return [answer, graded, *([markdown(f"{name}-after", after)] if after else [])]

    source = folder / "source" / "vrn_lite"
    source.mkdir(parents=True, exist_ok=True)
    (folder / "nbgrader_config.py").write_text(NBGRADER, encoding="utf-8")
    made = {
        source / f"{path.stem}.ipynb": edition(read(path), path.stem, pages)
        for path in sources()
        if any(map(number, read(path)["cells"]))
    }
    for path, notebook in made.items():
        path.write_text(written(notebook), encoding="utf-8")
    return list(made)


def main() -> int:
    """Write the editions, check them, or export them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; name stale files, and exit with 1 if there are any"
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("nbgrader", help="export nbgrader assignments").add_argument(
        "out", type=Path, help="folder of the course"
    )
    commands.add_parser("teacher", help="write the teacher's edition into notebooks/teacher")
    asked = parser.parse_args()
    if asked.command == "teacher":
        print(f"{len(teachers(NOTEBOOKS / 'teacher'))} notebooks in {NOTEBOOKS / 'teacher'}")
        return 0
    if asked.command == "nbgrader":
        print(f"{len(nbgrader(asked.out))} notebooks in {asked.out / 'source' / 'vrn_lite'}")
        return 0
    for path, value in (made := stale()).items():
        print("stale:" if asked.check else "written:", path.relative_to(NOTEBOOKS.parent))
        if not asked.check:
            path.write_text(value, encoding="utf-8")
    return int(asked.check and bool(made))


if __name__ == "__main__":
    sys.exit(main())
