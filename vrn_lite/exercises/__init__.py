"""The notebooks' exercises: each knows its solution, and typical wrong answers with the hint that each deserves.

One room for each part of the course: `encoding` (notebooks 01 and 02), `hourglass` (03), `training` (04 to 06),
`evaluation` (07 to 09); `grader` compares an answer with the solution.
"""

from collections.abc import Callable
from typing import Any

from vrn_lite.exercises import encoding, evaluation, hourglass, training
from vrn_lite.exercises.grader import Exercise, Feedback
from vrn_lite.frame import require

__all__ = ["EXERCISES", "Exercise", "Feedback", "check"]

EXERCISES = encoding.EXERCISES | hourglass.EXERCISES | training.EXERCISES | evaluation.EXERCISES
"""The notebooks' exercises by number."""


def check(name: str, answer: Callable[..., Any]) -> Feedback:
    """Grade the answer to an exercise of the notebooks, "01.1" for example.

    Examples
    --------
    >>> check("01.2", lambda dx, dy: ...)
    Not yet: put your line in place of `...` and run the cell again.
    >>> check("01.2", lambda dx, dy: (dy == 0 and dx > 0) or dy < 0)
    Right: exact.
    """
    require(name in EXERCISES, f"unknown exercise {name!r}: choose one of {', '.join(EXERCISES)}")
    return EXERCISES[name].check(answer)
