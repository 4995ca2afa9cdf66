"""Grade a learner's function: exact, approximate, wrong, or not yet."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

RELATIVE, ABSOLUTE = 1e-4, 1e-6
"""What passes for rounding: differences up to RELATIVE of a case's largest true value, plus ABSOLUTE."""

CLOSE = 0.01
"""What is more than rounding, but so little that the formula may be right and a constant or a step is not."""

READABLE = 240
"""Characters of a case that a learner is shown."""

SIGNS = {"exact": "✅", "approximate": "☑️", "wrong": "❌", "not yet": "⬜"}


@dataclass(frozen=True)
class Feedback:
    """What a check says: `kind` is "exact", "approximate" (right up to rounding), "wrong", or "not yet" for a blank."""

    kind: str
    text: str

    @property
    def right(self) -> bool | None:
        """True, False, or None for "not yet"."""
        return {"exact": True, "approximate": True, "wrong": False}.get(self.kind)

    @property
    def word(self) -> str:
        """What stands before the colon."""
        return "Right" if self.right else self.kind.capitalize()

    def __repr__(self) -> str:
        return f"{self.word}: {self.text}"

    def _repr_markdown_(self) -> str:
        return f"{SIGNS[self.kind]} **{self.word}**: {self.text}"


@dataclass(frozen=True)
class Exercise:
    """A function to write, graded on a few cases.

    Answers that are yes or no, or counts, must be the same; others may differ by rounding.

    Attributes
    ----------
    solution : gives the true values.
    cases : arguments to call it with.
    mistakes : hint -> the typical wrong function that deserves it.
    """

    solution: Callable[..., Any]
    cases: tuple[tuple[Any, ...], ...]
    mistakes: Mapping[str, Callable[..., Any]]

    def check(self, answer: Callable[..., Any]) -> Feedback:
        """Grade a learner's function; it may raise, return anything, or be blank (return ``...`` or None)."""
        # Does it run, and is it filled in?
        cases = copy.deepcopy(self.cases)
        try:
            values = [answer(*case) for case in cases]
        except NotImplementedError:
            values = [...]
        except Exception as error:  # whatever the learner's line raises is the news
            return Feedback("wrong", f"your function stopped with {type(error).__name__}: {error}")
        if any(map(_is_blank, values)):
            return Feedback("not yet", "put your line in place of `...` and run the cell again.")
        if all(value is None for value in values):
            return Feedback("not yet", "your function returns nothing: does its last line begin with `return`?")

        # Are its values finite numbers of the right shapes?
        mine = []
        for value in values:
            try:
                mine.append(_numbers(value))
            except (TypeError, ValueError, RuntimeError):
                kind = type(value).__name__
                return Feedback("wrong", f"your function returned a {kind}; an array or tensor of numbers is wanted.")
        if not all(np.isfinite(value).all() for value in mine):
            hint = self._hint(mine) or "the result is not a number or infinite: look for 0 / 0 or log(0)."
            return Feedback("wrong", f"{hint} Largest difference: inf.")
        pairs = list(zip(mine, self.truth, strict=True))
        for value, truth in pairs:
            if value.shape != truth.shape:
                reason = f"the result has shape {value.shape}, it should be {truth.shape}."
                return Feedback("wrong", self._hint(mine) or reason)

        # Are they the true ones?
        largest = max(float(np.abs(value - truth).max(initial=0)) for value, truth in pairs)
        if not self._alike(mine, self.truth):
            return Feedback(
                "wrong", f"{self._hint(mine) or self._guess(mine, values)} Largest difference: {largest:.3g}."
            )
        text = "exact." if largest == 0 else f"approximate, the largest difference is {largest:.1g}: rounding."
        if any(_changed(before, after) for before, after in zip(chain(*self.cases), chain(*cases), strict=True)):
            text += " But your function writes into its arguments: whoever calls it may still need them."
        return Feedback("exact" if largest == 0 else "approximate", text)

    @cached_property
    def truth(self) -> list[np.ndarray]:
        """The true values of all cases."""
        return [_numbers(self.solution(*case)) for case in self.cases]

    def _alike(self, mine: Sequence[np.ndarray], other: Sequence[np.ndarray], share: float = RELATIVE) -> bool:
        """Whether values are the same up to rounding; the truth sets the scale."""
        for a, b, truth in zip(mine, other, self.truth, strict=True):
            bound = 0.0 if truth.dtype.kind in "biu" else ABSOLUTE + share * np.abs(truth).max(initial=0)
            if a.shape != b.shape or not np.allclose(a, b, rtol=0, atol=bound, equal_nan=True):
                return False
        return True

    def _hint(self, mine: Sequence[np.ndarray]) -> str | None:
        """The hint of the mistake that has these values."""
        for hint, wrong in self.mistakes.items():
            if self._alike(mine, [_numbers(wrong(*case)) for case in self.cases]):
                return hint
        return None

    def _guess(self, mine: Sequence[np.ndarray], values: Sequence[Any]) -> str:
        """A hint for values that no known mistake has."""
        counted, wanted = ({v.dtype.kind in "biu" for v in arrays if v.size} for arrays in (mine, self.truth))
        if (counted, wanted) == ({True}, {False}):
            return "your result holds whole numbers only: decimals were lost on the way."
        if any(isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16) for value in values):
            return "your result has 16 bits, too few for this: stay with float32."
        if wanted == {False} and self._alike(mine, self.truth, CLOSE):
            return "this is close, but more than rounding: look at constants, and at steps that only approximate."
        return self._example(mine)

    def _example(self, mine: Sequence[np.ndarray]) -> str:
        """The case that differs with its values, if one is short enough to be read."""
        examples = [
            f"on the smallest case that differs, ({', '.join(map(_words, case))}), your result is {_words(value)}; "
            f"it should be {_words(truth)}."
            for case, value, truth in zip(self.cases, mine, self.truth, strict=True)
            if not np.allclose(value, truth, rtol=RELATIVE, atol=ABSOLUTE)
        ]
        shortest = min(examples, key=len, default="")
        if 0 < len(shortest) <= READABLE:
            return shortest
        return "compare your result with the text above on the smallest case."


def _is_blank(value: Any) -> bool:
    return value is ... or (isinstance(value, list | tuple) and any(map(_is_blank, value)))


def _numbers(value: Any) -> np.ndarray:
    """Plain numbers, booleans among them, as an array.

    Raises
    ------
    TypeError : it holds something else.
    ValueError : it is ragged.
    """
    if isinstance(value, list | tuple):
        return np.stack([_numbers(item) for item in value])
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.to(torch.float64) if value.is_floating_point() else value
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"no numbers: {array.dtype}")
    return array.astype(np.float64) if array.dtype.kind == "f" else array.astype(np.int64)


def _words(value: Any) -> str:
    """Numbers in few digits."""
    return str(np.round(np.array(value.tolist()) * 1, 3).tolist() if isinstance(value, Tensor | np.ndarray) else value)


def _changed(before: Any, after: Any) -> bool:
    return isinstance(before, Tensor) and not torch.equal(before, after)
