"""Exercises: solutions are accepted, blanks get a friendly word, wrong answers are rejected, typical ones with their own hint."""

import numpy as np
import pytest
import torch

from answers import ALSO_WRONG, RIGHT, WRONG, answer, exercises, function, mutations
from vrn_lite import exercises as book
from vrn_lite.exercises import Exercise
from vrn_lite.frame import InputError


def lines(answers):
    return [(number, line) for number, several in answers.items() for line in several]


def test_every_exercise_stands_in_a_notebook_with_its_solution():
    numbers = sorted(number for number, _, _ in exercises())
    assert numbers == sorted(book.EXERCISES) == sorted(WRONG) == sorted(ALSO_WRONG) == sorted(RIGHT)


@pytest.mark.parametrize(("number", "blank", "solution"), exercises(), ids=lambda value: value if len(str(value)) < 6 else "")
def test_solution_is_accepted_and_the_blank_is_not_yet(number, blank, solution):
    assert book.check(number, function(blank)).right is None
    assert "Not yet" in repr(book.check(number, function(blank)))
    feedback = book.check(number, function(solution))
    assert feedback.right is True, feedback


@pytest.mark.parametrize(("number", "line", "word"), [(n, line, word) for n, lines in WRONG.items() for line, word in lines.items()])
def test_every_typical_wrong_answer_gets_its_own_hint(number, line, word):
    feedback = book.check(number, answer(number, line))
    assert feedback.kind == "wrong"
    assert word in feedback.text
    assert "argest difference: " in feedback.text
    assert "❌ **Wrong**" in feedback._repr_markdown_()


@pytest.mark.parametrize(("number", "line"), lines(ALSO_WRONG))
def test_no_other_wrong_answer_slips_through(number, line):
    feedback = book.check(number, answer(number, line))
    assert feedback.kind == "wrong"
    assert "stopped with" not in feedback.text  # a wrong value is to be judged, not a slip of this test


@pytest.mark.parametrize(("number", "line"), lines(RIGHT))
def test_solutions_written_otherwise_are_accepted(number, line):
    feedback = book.check(number, answer(number, line))
    assert feedback.right is True, feedback
    assert "arguments" not in feedback.text


@pytest.mark.parametrize("number", book.EXERCISES)
def test_table_of_mutations(number):
    found = mutations(number)
    assert found.rejected == found.tried
    assert found.hinted == found.typical
    assert found.typical >= 3
    assert found.tried >= found.typical + 2


@pytest.mark.parametrize("number", book.EXERCISES)
def test_hints_are_told_apart(number):
    exercise = book.EXERCISES[number]
    for hint, wrong in exercise.mistakes.items():
        feedback = exercise.check(wrong)
        assert feedback.kind == "wrong"
        assert feedback.text.startswith(hint)


@pytest.mark.parametrize("number", book.EXERCISES)
def test_the_true_values_are_finite_and_judged_exact(number):
    exercise = book.EXERCISES[number]
    assert all(np.isfinite(value).all() for value in exercise.truth)
    assert repr(exercise.check(exercise.solution)) == "Right: exact."


def spoilt(number, spoil):
    """The right answer, spoilt."""
    return book.check(number, lambda *arguments: spoil(book.EXERCISES[number].solution(*arguments)))


def tensor(value):
    return torch.as_tensor(value) if not isinstance(value, tuple) else torch.stack(value)


@pytest.mark.parametrize("number", book.EXERCISES)
def test_right_answers_of_the_wrong_kind_are_refused_with_a_reason(number):
    assert "0 / 0" in spoilt(number, lambda value: tensor(value).double() * float("nan")).text
    assert "returned a generator" in spoilt(number, lambda value: (item for item in (value,))).text
    assert "returned a str" in spoilt(number, str).text
    assert "returned a dict" in spoilt(number, lambda value: {"value": value}).text
    assert "returned a Tensor" in spoilt(number, lambda value: tensor(value).to(torch.complex64)).text
    assert "shape" in spoilt(number, lambda value: tensor(value)[None]).text
    if any(value.dtype.kind == "f" for value in book.EXERCISES[number].truth):
        assert spoilt(number, lambda value: tensor(value).int()).kind == "wrong"
        assert spoilt(number, lambda value: tensor(value).bfloat16()).kind == "wrong"
    else:
        assert "Largest difference: 1." in spoilt(number, lambda value: tensor(value).int() + 1).text


@pytest.mark.parametrize("number", book.EXERCISES)
def test_right_answers_of_any_other_kind_are_exact(number):
    for other in (lambda value: tensor(value).tolist(), lambda value: tensor(value).numpy(), lambda value: tensor(value).double().requires_grad_()):
        assert repr(spoilt(number, other)) == "Right: exact."


def test_rounding_has_a_feedback_of_its_own_and_scales_with_the_values():
    for scale in (1e-3, 1.0, 1e3):
        exercise = Exercise(lambda x: x, ((torch.tensor([scale, scale / 2]),),), {})
        assert exercise.check(lambda x: x).kind == "exact"
        assert exercise.check(lambda x: x * (1 + 5e-5)).kind == "approximate"
        assert exercise.check(lambda x: x * (1 + 5e-5)).right is True
        assert "rounding" in repr(exercise.check(lambda x: x * (1 + 5e-5)))
        assert exercise.check(lambda x: x * 1.002).kind == "wrong"
        assert "close" in exercise.check(lambda x: x * 1.002).text
        assert "smallest case" in exercise.check(lambda x: x * 1.02).text
    counted = Exercise(lambda n: n, ((1_000_000,),), {})
    assert counted.check(lambda n: float(n)).kind == "exact"
    assert counted.check(lambda n: n + 1).kind == "wrong"


def test_reasons_for_kinds_of_numbers():
    exercise = Exercise(lambda x: x, ((torch.tensor([1.5, 2.25]),),), {})
    assert "whole numbers" in exercise.check(lambda x: x.long()).text
    assert "16 bits" in exercise.check(lambda x: (x * 1.01).half()).text
    assert "smallest case that differs, ([1.5, 2.25]), your result is [3.0, 4.5]; it should be [1.5, 2.25]." in exercise.check(lambda x: x * 2).text


def test_a_hint_without_a_known_mistake_shows_the_shortest_case_that_differs():
    exercise = Exercise(lambda x: x > 0, ((torch.arange(-9, 9),), (torch.tensor([3, -1]),), (torch.tensor([5]),)), {})
    assert "([3, -1]), your result is [1, 1]; it should be [1, 0]." in exercise.check(lambda x: x == x).text
    assert "compare your result" in Exercise(lambda x: x, ((torch.arange(999),),), {}).check(lambda x: x + 1).text


def test_no_answer_can_break_a_check():
    def fails(*arguments):
        raise KeyError("x")

    assert "KeyError" in book.check("01.3", fails).text
    assert "shape" in book.check("01.3", lambda indices, depth_scale: indices[:1]).text
    assert "returned a list" in book.check("01.3", lambda indices, depth_scale: [[1, 2], [3]]).text
    assert "returned a NoneType" in book.check("01.3", lambda indices, depth_scale: indices if depth_scale == 2 else None).text
    assert "returned a Tensor" in book.check("01.3", lambda indices, depth_scale: indices.to_sparse()).text
    assert "returned a str" in book.check("01.2", lambda dx, dy: "1").text


def test_blanks_of_all_kinds_are_not_yet():
    def todo(*arguments):
        raise NotImplementedError

    for blank in (todo, lambda dx, dy: None, lambda dx, dy: ..., lambda dx, dy: (..., ...), lambda dx, dy: dy < 0 or ...):
        assert repr(book.check("01.2", blank)).startswith("Not yet: ")
        assert "⬜" in book.check("01.2", blank)._repr_markdown_()


def test_a_forgotten_return_gets_a_hint_of_its_own():
    feedback = book.check("01.2", lambda dx, dy: None)
    assert (feedback.kind, feedback.right) == ("not yet", None)
    assert "`return`" in feedback.text


def test_writing_into_the_arguments_is_noticed_and_does_no_harm():
    assert book.check("01.1", lambda depths, slices, depth_scale: depths.zero_()).right is False

    def step(weight, gradient, mean_square, rate):
        mean_square.mul_(0.99).add_(0.01 * gradient**2)
        return weight - rate * gradient / (mean_square.sqrt() + 1e-8), mean_square

    for _ in range(2):  # the second time, too
        feedback = book.check("04.2", step)
        assert feedback.right is True
        assert "writes into its arguments" in feedback.text
    assert repr(book.check("04.2", book.EXERCISES["04.2"].solution)) == "Right: exact."


def test_unknown_exercise_is_refused():
    with pytest.raises(InputError, match=r"unknown exercise '9\.9': choose one of 01\.1"):
        book.check("9.9", print)
