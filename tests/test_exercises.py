"""Exercises: the solution is accepted, a blank gets a friendly word, typical wrong answers get their own hint."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch

from vrn_lite import exercises as book
from vrn_lite.frame import InputError

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

AWAY = "torch.hypot(torch.arange(face.shape[0])[:, None] - row + 0.0, torch.arange(face.shape[1]) - column + 0.0)"

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
    "03.1": {
        "convolutions[2](torch.relu(norms[2](convolutions[1](torch.relu(norms[1](convolutions[0](torch.relu(norms[0](x)))))))))": "identity path is missing",
        "torch.relu(x + convolutions[2](torch.relu(norms[2](convolutions[1](torch.relu(norms[1](convolutions[0](torch.relu(norms[0](x))))))))))": "on the sum",
        "x + torch.relu(norms[2](convolutions[2](torch.relu(norms[1](convolutions[1](torch.relu(norms[0](convolutions[0](x)))))))))": "post-activation",
        "x + convolutions[2](norms[2](convolutions[1](norms[1](convolutions[0](norms[0](x))))))": "ReLUs are missing",
    },
    "03.2": {
        "width_in * width_out // 2 + 9 * (width_out // 2) ** 2 + width_out**2 // 2 + (width_in != width_out) * width_in * width_out": "only the convolutions",
        "2 * width_in + 2 * width_out + (width_in + 1 + 9 * (width_out // 2) + 1 + width_out) * (width_out // 2) + width_out": "the identity path is missing",
        "2 * width_in + (width_in + 9 * (width_out // 2) + 6 + width_out) * (width_out // 2) + width_out + (width_in + 1) * width_out": "widths are equal",
        "width_in + width_out + (width_in + 2 + 9 * (width_out // 2) + width_out) * (width_out // 2) + width_out"
        " + (width_in != width_out) * (width_in + 1) * width_out": "a scale and a shift",
    },
    "03.3": {
        "13 * m + 4": "four levels only",
        "3 * levels * m + levels": "innermost",
        "(3 * levels + 1) * m": "after each sum",
        "(2 * levels + 1) * m + levels": "three places",
    },
    "03.4": {
        "1 + sum(kernel - 1 for kernel, stride in layers)": "jump is missing",
        "1 + sum((kernel - 1) * stride for kernel, stride in layers)": "product of all strides",
        "__import__('functools').reduce(lambda size, layer: (size - 1) * layer[1] + layer[0], layers, 1)": "last layer to the first",
    },
    "04.1": {
        "-torch.where(volume, torch.log(torch.sigmoid(logits)), torch.log(1 - torch.sigmoid(logits))).sum()": "mean is wanted",
        "torch.where(volume, torch.log(torch.sigmoid(logits)), torch.log(1 - torch.sigmoid(logits))).mean()": "sign",
        "-(volume * torch.log(torch.sigmoid(logits))).mean()": "outside",
        "-torch.where(volume, torch.log(1 - torch.sigmoid(logits)), torch.log(torch.sigmoid(logits))).mean()": "swapped",
        "((torch.sigmoid(logits) - volume.float()) ** 2).mean()": "squared error",
        "-torch.where(volume, torch.log2(torch.sigmoid(logits)), torch.log2(1 - torch.sigmoid(logits))).mean()": "bits",
    },
    "04.2": {
        "(weight - rate * gradient, 0.99 * mean_square + 0.01 * gradient**2)": "plain gradient descent",
        "(weight - rate * gradient / (mean_square.sqrt() + 1e-8), 0.99 * mean_square + 0.01 * gradient**2)": "old mean square",
        "(weight + rate * gradient / ((0.99 * mean_square + 0.01 * gradient**2).sqrt() + 1e-8), 0.99 * mean_square + 0.01 * gradient**2)": "uphill",
        "(weight - rate * gradient / ((0.99 * mean_square + 0.01 * gradient**2) + 1e-8), 0.99 * mean_square + 0.01 * gradient**2)": "square root is missing",
        "(weight - rate * gradient / ((0.01 * mean_square + 0.99 * gradient**2).sqrt() + 1e-8), 0.01 * mean_square + 0.99 * gradient**2)": "swapped",
    },
    "04.3": {
        "((chances > 0.5) & volume).sum() / volume.sum()": "true solid only",
        "((chances > 0.5) & volume).sum() / (chances > 0.5).sum()": "predicted solid only",
        "2 * ((chances > 0.5) & volume).sum() / (volume.sum() + (chances > 0.5).sum())": "Dice",
        "((chances > 0.5) == volume).float().mean()": "flatter",
        "(chances * volume).sum() / (chances + volume.float() - chances * volume).sum()": "not rounded",
    },
    "05.1": {
        "(logits.argmax() % logits.shape[1] + 0.5, logits.argmax() // logits.shape[1] + 0.5)": "best cell",
        "((logits.flatten().softmax(0).view(logits.shape).sum(0) * torch.arange(logits.shape[1])).sum(), "
        "(logits.flatten().softmax(0).view(logits.shape).sum(1) * torch.arange(logits.shape[0])).sum())": "half cell",
        "((logits.flatten().softmax(0).view(logits.shape).sum(1) * (torch.arange(logits.shape[0]) + 0.5)).sum(), "
        "(logits.flatten().softmax(0).view(logits.shape).sum(0) * (torch.arange(logits.shape[1]) + 0.5)).sum())": "swapped",
    },
    "05.2": {
        "-(truth * logits.flatten().log_softmax(0).view(truth.shape)).sum()": "entropy",
        "(truth * (logits.flatten().log_softmax(0).view(truth.shape) - truth.log())).sum()": "sign",
        "(truth * (truth.log() - logits.flatten().log_softmax(0).view(truth.shape))).mean()": "add up",
        "(truth * (truth.log() - logits.log_softmax(1))).sum()": "one axis",
        "((logits.flatten().softmax(0).view(truth.shape) - truth) ** 2).sum()": "squared error",
    },
    "06.1": {
        "torch.exp(-0.5 * ((torch.arange(height)[:, None] - y) ** 2 + (torch.arange(width) - x) ** 2) / sigma**2)": "half pixel is missing",
        "torch.exp(-0.5 * ((torch.arange(height)[:, None] + 0.5 - x) ** 2 + (torch.arange(width) + 0.5 - y) ** 2) / sigma**2)": "swapped",
        "torch.exp(-((torch.arange(height)[:, None] + 0.5 - y) ** 2 + (torch.arange(width) + 0.5 - x) ** 2) / sigma**2)": "1/2 in the exponent",
        "torch.exp(-0.5 * ((torch.arange(height)[:, None] + 0.5 - y) ** 2 + (torch.arange(width) + 0.5 - x) ** 2) / sigma)": "sigma is not squared",
    },
    "06.2": {
        "(predicted - truth[:, :2]).norm(dim=1).mean() / (truth[37] - truth[46]).norm()": "counted from 1",
        "(predicted - truth[:, :2]).norm(dim=1).mean() / (truth[36, :2] - truth[45, :2]).norm()": "in profile",
        "(predicted - truth[:, :2]).norm(dim=1).sum() / (truth[36] - truth[45]).norm()": "mean is wanted",
        "(predicted - truth[:, :2]).norm(dim=1).mean()": "pixels",
        "(predicted - truth[:, :2]).abs().mean() / (truth[36] - truth[45]).norm()": "coordinates",
    },
    "07.1": {
        "(predicted[: len(truth)] - truth).norm(dim=1).mean() / (landmarks[36] - landmarks[45]).norm()": "pairs are not used",
        "(predicted[pairs] - truth).norm(dim=1).mean() / (landmarks[37] - landmarks[46]).norm()": "counted from 1",
        "(predicted[pairs] - truth).norm(dim=1).mean() / (landmarks[36, :2] - landmarks[45, :2]).norm()": "in profile",
        "(predicted[pairs] - truth).abs().mean() / (landmarks[36] - landmarks[45]).norm()": "coordinates",
        "((predicted[pairs] - truth) ** 2).sum(1).mean() ** 0.5 / (landmarks[36] - landmarks[45]).norm()": "root of the mean square",
    },
    "07.2": {
        "1 - errors.mean() / limit": "negative",
        "(limit - errors).clamp(min=0).mean()": "divide by the limit",
        "(errors / limit).clamp(max=1).mean()": "above the curve",
        "sum(errors <= limit) / len(errors)": "height",
    },
    "07.3": {
        "(b - a)[picks].mean(1).quantile(torch.tensor([0.025, 0.975]))": "sign",
        "(a - b).quantile(torch.tensor([0.025, 0.975]))": "spread of the faces",
        "(a - b)[picks].mean(0).quantile(torch.tensor([0.025, 0.975]))": "over the redraws",
        "(a[picks].mean(1) - b.mean()).quantile(torch.tensor([0.025, 0.975]))": "same faces",
        "torch.sort((a - b)[picks].mean(1)).values.quantile(torch.tensor([0.05, 0.95]))": "90 %",
    },
    "08.1": {
        "(points - translation) @ rotation.T / scale": "transpose",
        "points @ rotation / scale - translation": "came last",
        "(points / scale - translation) @ rotation": "in pixels",
        "(points - translation) @ rotation * scale": "you divide",
        "scale * points @ rotation.T + translation": "camera itself",
    },
    "08.2": {
        "(predicted * truth).sum() / (predicted.norm() * truth.norm())": "in common",
        "((predicted - predicted.mean(1, keepdim=True)) * (truth - truth.mean(1, keepdim=True))).sum()"
        " / ((predicted - predicted.mean(1, keepdim=True)).norm() * (truth - truth.mean(1, keepdim=True)).norm())": "over the people",
        "((predicted - predicted.mean(0)) * (truth - truth.mean(0))).sum() / (truth - truth.mean(0)).square().sum()": "slope",
        "((predicted - predicted.mean(0)) * (truth - truth.mean(0))).mean()": "covariance",
        "torch.cosine_similarity(predicted - predicted.mean(0), truth - truth.mean(0), dim=1).mean()": "each person",
    },
    "08.3": {
        f"(lambda away: away <= away.quantile(share))({AWAY})": "whole picture",
        f"(lambda away: away <= away[face].quantile(1 - share))({AWAY})": "to be seen",
        f"(lambda away: away <= share * away[face].max())({AWAY})": "take a quantile",
        f"face & (lambda away: away <= away[face].quantile(share))({AWAY})": "patch ends",
    },
    "09.1": {
        "landmarks + pixels * noise": "1.25 times",
        "landmarks + pixels * noise * (torch.pi / 2) ** 0.5": "divide",
        "landmarks + pixels * noise / 2**0.5": "mean square",
        "landmarks + pixels * noise / noise.norm(dim=1, keepdim=True)": "same distance",
        "landmarks + pixels * noise / noise.norm(dim=1).mean()": "this one draw",
    },
    "09.2": {
        "(b - a).mean(), (b - a).std() / len(a) ** 0.5": "sign",
        "(a - b).mean(), (a - b).std()": "surer",
        "(a - b).mean(), (a - b).std(correction=0) / len(a) ** 0.5": "n - 1",
        "a.mean() - b.mean(), ((a.var() + b.var()) / len(a)) ** 0.5": "pairs are lost",
    },
    "09.3": {
        "errors[normals[:, 2] > 0].mean(), errors[normals[:, 2] <= 0].mean()": "swapped",
        "errors[normals[:, 0] < 0].mean(), errors[normals[:, 0] >= 0].mean()": "left from right",
        "(errors * (normals[:, 2] < 0)).mean(), (errors * (normals[:, 2] >= 0)).mean()": "its own number",
        "errors[normals[:, 2] < 0].sum(), errors[normals[:, 2] >= 0].sum()": "mean is wanted",
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
    assert sorted(number for number, _, _ in exercises()) == sorted(book.EXERCISES) == sorted(WRONG)


@pytest.mark.parametrize(("number", "blank", "solution"), exercises(), ids=lambda value: value if len(str(value)) < 6 else "")
def test_solution_is_accepted_and_the_blank_is_not_yet(number, blank, solution):
    assert book.check(number, function(blank)).right is None
    assert "Not yet" in repr(book.check(number, function(blank)))
    verdict = book.check(number, function(solution))
    assert verdict.right is True, verdict


@pytest.mark.parametrize(("number", "line", "word"), [(n, line, word) for n, lines in WRONG.items() for line, word in lines.items()])
def test_every_wrong_answer_gets_its_own_hint(number, line, word):
    signature = next(blank for n, blank, _ in exercises() if n == number)
    verdict = book.check(number, function(signature.replace("...", line)))
    assert verdict.right is False
    assert word in verdict.text
    assert "❌" in verdict._repr_markdown_()


@pytest.mark.parametrize("number", book.EXERCISES)
def test_hints_are_told_apart(number):
    exercise = book.EXERCISES[number]
    assert exercise.check(exercise.solution).right
    for wrong, hint in exercise.mistakes:
        verdict = exercise.check(wrong)
        assert verdict.right is False
        assert verdict.text.startswith(hint)


def test_no_answer_can_break_a_check():
    def fails(*arguments):
        raise KeyError("x")

    assert "KeyError" in book.check("01.3", fails).text
    assert "shape" in book.check("01.3", lambda indices, depth_scale: indices[:1]).text
    assert "returned a str" in book.check("01.3", lambda indices, depth_scale: "x").text
    assert "smallest case" in book.check("01.3", lambda indices, depth_scale: indices * float("nan")).text
    assert book.check("01.1", lambda depths, slices, depth_scale: depths.zero_()).right is False
    assert book.check("01.1", book.EXERCISES["01.1"].solution).right  # the line above wrote into a copy


def test_unknown_exercise_is_refused():
    with pytest.raises(InputError, match=r"unknown exercise '9\.9': choose one of 01\.1"):
        book.check("9.9", print)
