"""Exercises: the solution is accepted, a blank gets a friendly word, typical wrong answers get their own hint."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch

from vrn_lite import figures, widgets
from vrn_lite.frame import InputError

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

WRONG = {  # as a learner might write them, and a word of the hint that each deserves
    "01.1": {
        "(depths[:, None] < torch.arange(slices) / depth_scale).sum(0) % 2 == 1": "half voxel",
        "(depths[:, None] < torch.arange(slices) + 0.5).sum(0) % 2 == 1": "depth_scale is missing",
        "(depths[:, None] < (torch.arange(slices) + 0.5) * depth_scale).sum(0) % 2 == 1": "divide",
        "(depths[:, None] >= (torch.arange(slices) + 0.5) / depth_scale).sum(0) % 2 == 0": "swapped",
    },
    "01.2": {
        "True": "every edge",
        "dy < 0": "top edge is missing",
        "dy > 0 or (dy == 0 and dx < 0)": "bottom-right",
        "dy > 0 or (dy == 0 and dx > 0)": "left edge",
        "dy <= 0": "horizontal",
    },
    "01.3": {
        "indices.flip(1) / torch.tensor([1, 1, depth_scale])": "half voxel",
        "(indices + 0.5) / torch.tensor([depth_scale, 1, 1])": "reversed",
        "indices.flip(1) / torch.tensor([1, 1, depth_scale]) + 0.5": "first and divide",
        "indices.flip(1) + 0.5": "depth_scale is missing",
    },
    "02.1": {
        "torch.einsum('i,ivc->vc', coefficients, modes)": "mean is missing",
        "mean + modes.sum(0)": "coefficients",
        "mean + (coefficients[:, None, None] * modes).mean(0)": "average",
    },
    "02.2": {
        "scale * points @ rotation.T + translation": "upside down",
        "scale * torch.tensor([1, -1, 1]) * (points @ rotation.T) + translation": "reflection",
        "scale * torch.tensor([1, -1, -1]) * (points @ rotation) + translation": "inverse",
        "scale * (torch.tensor([1, -1, -1]) * (points @ rotation.T) + translation)": "scale first",
    },
    "02.3": {
        "torch.stack((width - points[:, 0], points[:, 1], points[:, 2]), 1)": "renumbered",
        "points[flip]": "not moved",
        "torch.stack((width - 1 - points[flip][:, 0], *points[flip][:, 1:].T), 1)": "no - 1",
        "points[flip] * torch.tensor([-1, 1, 1])": "not -x",
    },
}


def cells(path):
    return json.loads(path.read_text())["cells"]


def exercises():
    """(number, code of the blank, code of the solution) of every exercise in the notebooks."""
    found = []
    for path in NOTEBOOKS:
        pages = cells(path)
        for cell, following in zip(pages, pages[1:], strict=False):
            text = "".join(cell["source"])
            if cell["cell_type"] == "code" and (match := re.search(r'widgets\.check\("([\d.]+)", (\w+)\)', text)):
                solution = re.search(r"<details>.*?```python\n(.*?)```.*?</details>", "".join(following["source"]), re.S)
                found.append((match[1], text.split("widgets.check")[0], solution and solution[1]))
    return found


def function(code):
    """The last function that some code defines."""
    scope = {"torch": torch}
    exec(code, scope)
    return scope[[node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)][-1]]


def test_every_exercise_stands_in_a_notebook_with_its_solution():
    assert sorted(number for number, _, _ in exercises()) == sorted(widgets.EXERCISES) == sorted(WRONG)


@pytest.mark.parametrize(("number", "blank", "solution"), exercises(), ids=lambda value: value if len(str(value)) < 6 else "")
def test_solution_is_accepted_and_the_blank_is_not_yet(number, blank, solution):
    assert widgets.check(number, function(blank)).right is None
    assert "Not yet" in repr(widgets.check(number, function(blank)))
    verdict = widgets.check(number, function(solution))
    assert verdict.right is True, verdict


@pytest.mark.parametrize(("number", "line", "word"), [(n, line, word) for n, lines in WRONG.items() for line, word in lines.items()])
def test_every_wrong_answer_gets_its_own_hint(number, line, word):
    signature = next(blank for n, blank, _ in exercises() if n == number)
    verdict = widgets.check(number, function(signature.replace("...", line)))
    assert verdict.right is False
    assert word in verdict.text
    assert "❌" in verdict._repr_markdown_()


@pytest.mark.parametrize("number", widgets.EXERCISES)
def test_hints_are_told_apart(number):
    exercise = widgets.EXERCISES[number]
    assert exercise.check(exercise.solution).right
    for wrong, hint in exercise.mistakes:
        verdict = exercise.check(wrong)
        assert verdict.right is False
        assert verdict.text.startswith(hint)


def test_no_answer_can_break_a_check():
    def fails(*arguments):
        raise KeyError("x")

    assert "KeyError" in widgets.check("01.3", fails).text
    assert "shape" in widgets.check("01.3", lambda indices, depth_scale: indices[:1]).text
    assert "returned a str" in widgets.check("01.3", lambda indices, depth_scale: "x").text
    assert "smallest case" in widgets.check("01.3", lambda indices, depth_scale: indices * float("nan")).text
    assert widgets.check("01.1", lambda depths, slices, depth_scale: depths.zero_()).right is False
    assert widgets.check("01.1", widgets.EXERCISES["01.1"].solution).right  # the line above wrote into a copy


def test_unknown_exercise_is_refused():
    with pytest.raises(InputError, match=r"unknown exercise '9\.9': choose one of 01\.1"):
        widgets.check("9.9", print)


def test_sliders_redraw_the_picture():
    seen = []

    def draw(size=1.0):
        seen.append(size)
        return figures.curves_figure({"a": ([0, size], [0, 1])}, "x", "y")

    box = widgets.explore(draw, size=(0.0, 4.0, 1.0))
    slider, image = box.children
    before = image.value
    slider.value = 3.0
    assert seen == [1.0, 3.0]
    assert image.value != before
