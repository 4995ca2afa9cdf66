"""What makes the notebooks answer: sliders that recompute a picture, and exercises that say what is wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets
import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from vrn_lite.figures import picture
from vrn_lite.frame import require
from vrn_lite.landmarks import FLIP, mirror

# Sliders


def explore(draw: Callable[..., go.Figure], **ranges: tuple[float, float, float]) -> ipywidgets.Widget:
    """Sliders that redraw a still picture: ``draw(name=value, ...)`` gives a figure for each change.

    Parameters
    ----------
    draw : called with one number for each slider.
    ranges : (least, most, start) of each slider, by the name of its argument.
    """
    image = ipywidgets.Image(format="png")
    sliders = {
        name: ipywidgets.FloatSlider(start, min=low, max=high, step=(high - low) / 40, description=name.replace("_", " "), continuous_update=False)
        for name, (low, high, start) in ranges.items()
    }

    def redraw(_change: object = None) -> None:
        image.value = picture(draw(**{name: slider.value for name, slider in sliders.items()}))

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*sliders.values(), image])


# Exercises


VERDICTS = {True: ("✅", "Right"), False: ("❌", "Not quite"), None: ("⬜", "Not yet")}


@dataclass(frozen=True)
class Verdict:
    """What a check says: `right` is True, False, or None for "not yet"."""

    right: bool | None
    text: str

    def __repr__(self) -> str:
        return f"{VERDICTS[self.right][1]}: {self.text}"

    def _repr_markdown_(self) -> str:
        sign, word = VERDICTS[self.right]
        return f"{sign} **{word}**: {self.text}"


@dataclass(frozen=True)
class Exercise:
    """A function to write, judged on a few cases.

    Attributes
    ----------
    solution : gives the true values.
    cases : arguments to call it with.
    mistakes : typical wrong functions, each with the hint that it deserves.
    """

    solution: Callable[..., Any]
    cases: tuple[tuple[Any, ...], ...]
    mistakes: tuple[tuple[Callable[..., Any], str], ...]

    def check(self, answer: Callable[..., Any]) -> Verdict:
        """Judge a learner's function; it may raise, return anything, or be blank (return ``...`` or None)."""
        try:
            values = [answer(*(_copied(value) for value in case)) for case in self.cases]
        except Exception as error:  # whatever the learner's line raises is the news
            return Verdict(False, f"your function stopped with {type(error).__name__}: {error}")
        if all(value is None or value is Ellipsis for value in values):
            return Verdict(None, "put your line in place of `...` and run the cell again.")
        try:
            mine = [_numbers(value) for value in values]
        except (TypeError, ValueError):
            return Verdict(False, f"your function returned a {type(values[0]).__name__}; an array or tensor of numbers is wanted.")
        truth = [_numbers(self.solution(*case)) for case in self.cases]
        for found, wanted in zip(mine, truth, strict=True):
            if found.shape != wanted.shape:
                return Verdict(False, f"the result has shape {found.shape}, it should be {wanted.shape}.")
        difference = _difference(mine, truth)
        if difference <= 1e-4:
            return Verdict(True, "exact." if difference == 0 else f"largest difference {difference:.1g}.")
        return Verdict(False, f"{self._hint(mine)} Largest difference: {difference:.3g}.")

    def _hint(self, mine: list[np.ndarray]) -> str:
        for wrong, hint in self.mistakes:
            alike = [_numbers(wrong(*case)) for case in self.cases]
            if all(a.shape == b.shape for a, b in zip(mine, alike, strict=True)) and _difference(mine, alike) <= 1e-4:
                return hint
        return "compare your result with the text above on the smallest case."


def _copied(value: Any) -> Any:
    """The learner may write into its arguments."""
    return value.clone() if isinstance(value, Tensor) else value


def _numbers(value: Any) -> np.ndarray:
    if isinstance(value, list | tuple):
        value = np.stack([_numbers(item) for item in value])
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value).astype(np.float64)


def _difference(mine: list[np.ndarray], other: list[np.ndarray]) -> float:
    """The largest difference; not a number counts as infinite."""
    gaps = [np.nan_to_num(np.abs(a - b), nan=np.inf).max(initial=0) for a, b in zip(mine, other, strict=True)]
    return float(max(gaps))


def check(name: str, answer: Callable[..., Any]) -> Verdict:
    """Judge the answer to an exercise of the notebooks, "01.1" for example.

    Examples
    --------
    >>> check("01.2", lambda dx, dy: ...)
    Not yet: put your line in place of `...` and run the cell again.
    >>> check("01.2", lambda dx, dy: (dy == 0 and dx > 0) or dy < 0)
    Right: exact.
    """
    require(name in EXERCISES, f"unknown exercise {name!r}: choose one of {', '.join(EXERCISES)}")
    return EXERCISES[name].check(answer)


def _column(half: float = 0.5, times: Callable[[Tensor, float], Tensor] = torch.div, odd: int = 1) -> Callable[[Tensor, int, float], Tensor]:
    """Parity of the crossings before each voxel of a column, right by default."""

    def fill(depths: Tensor, slices: int, depth_scale: float) -> Tensor:
        centres = times(torch.arange(slices) + half, depth_scale)
        return (depths[:, None] < centres).sum(0) % 2 == odd

    return fill


def _between(depths: Tensor, slices: int, depth_scale: float) -> Tensor:
    if len(depths) == 0:
        return torch.zeros(slices)
    centres = (torch.arange(slices) + 0.5) / depth_scale
    return (centres > depths.min()) & (centres < depths.max())


def _points(indices: Tensor, depth_scale: float) -> Tensor:
    d, r, c = indices.float().T
    return torch.stack((c + 0.5, r + 0.5, (d + 0.5) / depth_scale), 1)


def _blend(mean: Tensor, modes: Tensor, coefficients: Tensor) -> Tensor:
    return mean + torch.einsum("i,ivc->vc", coefficients, modes)


def _project(points: Tensor, scale: float, rotation: Tensor, translation: Tensor, signs: tuple[int, int, int] = (1, -1, -1)) -> Tensor:
    return scale * (points @ rotation.T) * torch.tensor(signs, dtype=points.dtype) + translation


def _mirrored(points: Tensor, width: float, shift: float = 0.0) -> Tensor:
    return mirror(points, 0) + torch.tensor([width + shift, 0.0, 0.0])


def _seeded(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(7))


TURN = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.3, 0.5], [0.3, 0.0, -0.2], [-0.5, 0.2, 0.0]]))
"""Some rotation."""

_EDGES = tuple((dx, dy) for dx in (-2, 0, 3) for dy in (-1, 0, 4) if (dx, dy) != (0, 0))
_LANDMARKS = _seeded(68, 3, scale=20.0) + 64

EXERCISES: Mapping[str, Exercise] = {
    "01.1": Exercise(
        _column(),
        ((torch.tensor([2.3, 9.1, 12.2, 20.4]), 40, 1.5), (torch.tensor([4.0, 6.1]), 16, 2.0), (torch.tensor([]), 4, 1.5)),
        (
            (_column(half=0.0), "the half voxel is missing: the centre of slice d is at (d + 1/2) / depth_scale."),
            (_column(times=lambda a, _: a), "depth_scale is missing: crossings are in pixels, slices are not."),
            (_column(times=torch.mul), "you multiply by depth_scale: from slices to pixels you divide."),
            (_column(odd=0), "inside and outside are swapped: inside is where the number of crossings is odd."),
            (_between, "you fill from the first to the last crossing, and so close the gap between two parts."),
        ),
    ),
    "01.2": Exercise(
        lambda dx, dy: (dy == 0 and dx > 0) or dy < 0,
        _EDGES,
        (
            (lambda dx, dy: True, "every edge counts, so a pixel on a shared edge is covered twice."),
            (lambda dx, dy: False, "no edge counts, so a pixel on a shared edge is covered by neither triangle."),
            (lambda dx, dy: dy < 0, "the top edge is missing: it is horizontal."),
            (lambda dx, dy: dy == 0 and dx > 0, "the left edge is missing: it runs upwards, and y points down."),
            (lambda dx, dy: (dy == 0 and dx > 0) or dy > 0, "your left edge runs down: y points down here, so a left edge has dy < 0."),
            (lambda dx, dy: (dy == 0 and dx < 0) or dy < 0, "your top edge runs to the left; with y down and this winding, it runs to the right."),
            (lambda dx, dy: (dy == 0 and dx < 0) or dy > 0, "this is the bottom-right rule: y points down here."),
            (lambda dx, dy: dy <= 0, "horizontal edges count on both sides: the bottom edge must not."),
        ),
    ),
    "01.3": Exercise(
        _points,
        ((torch.tensor([[0, 0, 0], [3, 1, 2], [10, 7, 5]]), 1.5), (torch.tensor([[4, 9, 1]]), 2.0)),
        (
            (lambda i, s: _points(i, s)[:, [2, 1, 0]], "the axes are in the order of the indices: (d, r, c) reversed is (x, y, z)."),
            (lambda i, s: _points(i, s)[:, [1, 0, 2]], "x and y are swapped: x goes with the column, y with the row."),
            (lambda i, s: _points(i - 0.5, s), "the half voxel is missing: index 0 has its centre at 1/2."),
            (lambda i, s: _points(i, s) + torch.tensor([0, 0, 0.5 - 0.5 / s]), "in z, add the half voxel first and divide afterwards."),
            (lambda i, s: _points(i, 1.0), "depth_scale is missing: z is in pixels, d is not."),
            (lambda i, s: _points(i, 1 / s), "you multiply by depth_scale: from slices to pixels you divide."),
        ),
    ),
    "02.1": Exercise(
        _blend,
        ((_seeded(5, 3), _seeded(4, 5, 3), torch.tensor([1.0, -2.0, 0.5, 0.0])), (_seeded(2, 3), _seeded(1, 2, 3), torch.tensor([3.0]))),
        (
            (lambda m, u, a: _blend(0 * m, u, a), "the mean is missing: modes are displacements from the mean face."),
            (lambda m, u, a: m + u.sum(0), "the coefficients are not used: each mode is multiplied by its own."),
            (lambda m, u, a: m * a.sum() + _blend(0 * m, u, a), "the mean is multiplied, too; only the modes are."),
            (lambda m, u, a: m + _blend(0 * m, u, a) / len(u), "you take the average of the modes; their sum is meant."),
            (lambda m, u, a: m - _blend(0 * m, u, a), "the sign is wrong: a positive coefficient adds its mode."),
        ),
    ),
    "02.2": Exercise(
        _project,
        ((_seeded(6, 3), 10.0, TURN, torch.tensor([64.0, 60.0, 40.0])),),
        (
            (lambda p, s, r, t: _project(p, s, r, t, (1, 1, 1)), "diag(1, -1, -1) is missing: the face hangs upside down and looks away."),
            (lambda p, s, r, t: _project(p, s, r, t, (1, -1, 1)), "only y is flipped: that is a reflection, and turns the mesh inside out. Flip z as well."),
            (lambda p, s, r, t: _project(p, s, r, t, (1, 1, -1)), "only z is flipped: that is a reflection. Flip y as well."),
            (lambda p, s, r, t: _project(p, s, r.T, t), "you turn by the inverse rotation: points are rows here, so that R x is `points @ rotation.T`."),
            (lambda p, s, r, t: s * (_project(p, 1.0, r, t)), "the translation is scaled, too: scale first, then move."),
            (lambda p, s, r, t: _project(p, 1.0, r, t), "the scale is missing."),
            (lambda p, s, r, t: _project(p, s, r, 0 * t), "the translation is missing."),
            (lambda p, s, r, t: s * ((p * torch.tensor([1.0, -1.0, -1.0])) @ r.T) + t, "first turn, then flip the axes: the order matters."),
        ),
    ),
    "02.3": Exercise(
        lambda points, width, flip: mirror(points, width),
        ((_LANDMARKS, 128, FLIP),),
        (
            (lambda p, w, f: _mirrored(p, w)[f], "the points are moved but not renumbered: the left eye's numbers sit on the right eye. Index with `flip`."),
            (lambda p, w, f: p[f], "the points are renumbered but not moved: x becomes width - x."),
            (lambda p, w, f: _mirrored(p, 0), "the points left the image: x becomes width - x, not -x."),
            (lambda p, w, f: _mirrored(p, w, -1), "x becomes width - x: pixel centres are at halves, so there is no - 1."),
        ),
    ),
}
"""The notebooks' exercises by number."""
