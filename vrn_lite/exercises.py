"""The notebooks' exercises: each knows its solution, and typical wrong answers with the hint that each deserves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vrn_lite.frame import require
from vrn_lite.landmarks import FLIP, decode, gaussians, heatmaps, mirror
from vrn_lite.metrics import iou, landmark_nme

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


def _residual(
    step: Callable[[Any, Any, Tensor], Tensor] = lambda norm, convolution, y: convolution(torch.relu(norm(y))),
    join: Callable[[Tensor, Tensor, Any], Tensor] = lambda x, y, norms: x + y,
) -> Callable[..., Tensor]:
    """Forward of a residual module, right by default."""

    def forward(x: Tensor, norms: Any, convolutions: Any) -> Tensor:
        y = x
        for norm, convolution in zip(norms, convolutions, strict=True):
            y = step(norm, convolution, y)
        return join(x, y, norms)

    return forward


def _module_parameters(bias: int = 1, norm: int = 2, kernel: int = 9, carry: tuple[int, int] = (0, 1), of_input: bool = False) -> Callable[[int, int], int]:
    """Parameters of a residual module, right by default; `carry`: whether a convolution carries the input where widths are equal, and where not."""

    def count(i: int, o: int) -> int:
        h = (i if of_input else o) // 2
        carried = carry[i != o] * (i * o + bias * o)
        return norm * (i + 2 * h) + i * h + kernel * h * h + h * o + bias * (2 * h + o) + carried

    return count


def _hourglass_modules(each: int = 3, inner: int = 1, merge: Callable[[int], int] = lambda levels: levels) -> Callable[[int, int], int]:
    """Residual modules of an hourglass, right by default."""
    return lambda levels, m: (each * levels + inner) * m + merge(levels)


def _receptive_field(
    grow: Callable[[int, int, int], int] = lambda kernel, stride, jump: (kernel - 1) * jump, start: int = 1
) -> Callable[[tuple[tuple[int, int], ...]], int]:
    """Receptive field of a row of layers, right by default."""

    def size(layers: tuple[tuple[int, int], ...]) -> int:
        total, jump = start, 1
        for kernel, stride in layers:
            total += grow(kernel, stride, jump)
            jump *= stride
        return total

    return size


def _backwards(layers: tuple[tuple[int, int], ...]) -> int:
    """The formula that goes from the last layer to the first, used the wrong way round."""
    size = 1
    for kernel, stride in layers:
        size = (size - 1) * stride + kernel
    return size


def _cross_entropy(logits: Tensor, volume: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, volume.float())


def _rmsprop(w: Tensor, g: Tensor, s: Tensor, rate: float, a: float = 0.99, root: Callable[[Tensor], Tensor] = torch.sqrt) -> tuple[Tensor, Tensor]:
    mean = a * s + (1 - a) * g**2
    return w - rate * g / (root(mean) + 1e-8), mean


def _shared(chances: Tensor, volume: Tensor, by: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    inside = chances > 0.5
    return (inside & volume).sum() / by(inside, volume)


def _peak(logits: Tensor, half: float = 0.5) -> Tensor:
    row, column = divmod(int(logits.argmax()), logits.shape[1])
    return torch.tensor([column + half, row + half])


def _decoded(logits: Tensor) -> Tensor:
    return decode(logits[None])[0]


def _divergence(logits: Tensor, truth: Tensor) -> Tensor:
    return F.kl_div(logits.flatten().log_softmax(0), truth.flatten(), reduction="sum")


def _reversed(logits: Tensor, truth: Tensor) -> Tensor:
    share = logits.flatten().softmax(0)
    return (share * (share.log() - truth.flatten().log())).sum()


def _gaussian(x: float, y: float, height: int, width: int, sigma: float = 1.0) -> Tensor:
    return gaussians(torch.tensor([[x, y]]), height, width, sigma)[0]


def _far(predicted: Tensor, truth: Tensor, corners: tuple[int, int] = (36, 45), dims: tuple[int, int] = (2, 3)) -> Tensor:
    """Mean distance over `dims[0]` coordinates by the distance of two landmarks over `dims[1]`."""
    distance = (predicted[:, : dims[0]] - truth[:, : dims[0]]).norm(dim=1).mean()
    return distance / (truth[corners[0], : dims[1]] - truth[corners[1], : dims[1]]).norm()


def _apart(predicted: Tensor, truth: Tensor, pairs: Tensor, landmarks: Tensor, corners: tuple[int, int] = (36, 45), dims: tuple[int, int] = (3, 3)) -> Tensor:
    """NME of paired points, right by default; distances over `dims[0]` coordinates, the normaliser over `dims[1]`."""
    distance = (predicted[pairs] - truth)[:, : dims[0]].norm(dim=1).mean()
    return distance / (landmarks[corners[0]] - landmarks[corners[1]])[: dims[1]].norm()


def _area(errors: Tensor, limit: float) -> Tensor:
    return (1 - errors / limit).clamp(min=0).mean()


def _interval(differences: Tensor, share: float = 0.95) -> Tensor:
    return differences.quantile(torch.tensor([(1 - share) / 2, (1 + share) / 2]))


def _to_model(points: Tensor, scale: float, rotation: Tensor, translation: Tensor) -> Tensor:
    return (points - translation) @ rotation / scale


def _agreement(p: Tensor, t: Tensor, common: tuple[int, int] = (0, 0), norm: Callable[[Tensor, Tensor], Tensor] = lambda a, b: (a * b).sqrt()) -> Tensor:
    """Correlation of people's own shapes, right by default; `common`: over which dimension each one's mean is taken."""
    p, t = p - p.mean(common[0], keepdim=True), t - t.mean(common[1], keepdim=True)
    return (p * t).sum() / norm(p.square().sum(), t.square().sum())


def _each_agreement(p: Tensor, t: Tensor) -> Tensor:
    p, t = p - p.mean(0), t - t.mean(0)
    return F.cosine_similarity(p, t, dim=1).mean()


def _disc(
    face: Tensor,
    row: int,
    column: int,
    share: float,
    reach: Callable[[Tensor, Tensor, float], Tensor] = lambda away, face, share: away[face].quantile(share),
    length: Callable[[Tensor, Tensor], Tensor] = torch.hypot,
) -> Tensor:
    """The smallest disc that hides a share of a face, right by default."""
    away = length((torch.arange(face.shape[0]) - row)[:, None].float(), (torch.arange(face.shape[1]) - column)[None].float())
    return away <= reach(away, face, share)


def _moved(landmarks: Tensor, pixels: float, noise: Tensor, by: float = (torch.pi / 2) ** 0.5) -> Tensor:
    return landmarks + noise * pixels / by


def _seeds(a: Tensor, b: Tensor, correction: int = 1, root: float = 0.5) -> Tensor:
    """Mean difference over the seeds and its standard error, right by default."""
    return torch.stack(((a - b).mean(), (a - b).std(correction=correction) / len(a) ** root))


def _sides(errors: Tensor, normals: Tensor, axis: int = 2, sign: int = -1) -> Tensor:
    """Mean error of the vertices that are turned to one side, and of the others."""
    seen = sign * normals[:, axis] > 0
    return torch.stack((errors[seen].mean(), errors[~seen].mean()))


def _seeded(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(7))


TURN = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.3, 0.5], [0.3, 0.0, -0.2], [-0.5, 0.2, 0.0]]))
"""Some rotation."""

_EDGES = tuple((dx, dy) for dx in (-2, 0, 3) for dy in (-1, 0, 4) if (dx, dy) != (0, 0))
_LANDMARKS = _seeded(68, 3, scale=20.0) + 64

_VOXELS = _seeded(3, 4, 5) > 0.4
_CHANCES = (_seeded(3, 4, 5) * 1.5 - 0.4).add(torch.arange(60).view(3, 4, 5) % 7 * 0.3 - 0.8).sigmoid()
_MAP = torch.log(heatmaps(torch.tensor([[6.3, 4.8]]), 10, 14, 1.2)[0]) + 3

_PAIRS = torch.randint(50, (30,), generator=torch.Generator().manual_seed(1))
_ERRORS = (_seeded(12).abs() * 0.08, (_seeded(2, 12)[1].abs() + 0.2) * 0.07)
_PICKS = torch.randint(12, (60, 12), generator=torch.Generator().manual_seed(2))

_PEOPLE = (_seeded(4, 30) + 2, (0.4 * _seeded(4, 30) + _seeded(2, 4, 30)[1] + _seeded(30)))
_FACE = torch.hypot((torch.arange(24) - 11.0)[:, None] / 10, (torch.arange(20) - 9.0)[None] / 7) < 1
_SEEDS = (torch.tensor([0.101, 0.097, 0.108]), torch.tensor([0.094, 0.096, 0.099]))

_NORMS = tuple(partial(F.batch_norm, running_mean=_seeded(4, scale=scale), running_var=torch.ones(4)) for scale in (0.3, -0.2, 0.1))
_CONVOLUTIONS = (
    partial(F.conv2d, weight=_seeded(4, 4, 1, 1, scale=0.5)),
    partial(F.conv2d, weight=_seeded(4, 4, 3, 3, scale=0.3), padding=1),
    partial(F.conv2d, weight=_seeded(4, 4, 1, 1, scale=-0.4)),
)
_WIDTHS = ((64, 128), (128, 128), (256, 256), (128, 256), (8, 4))
_STEM = ((7, 2), (3, 1), (2, 2), (3, 1), (3, 1))

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
    "03.1": Exercise(
        _residual(),
        ((_seeded(2, 4, 5, 5), _NORMS, _CONVOLUTIONS),),
        (
            (_residual(join=lambda x, y, n: y), "the identity path is missing: add the input."),
            (_residual(join=lambda x, y, n: torch.relu(x + y)), "there is a ReLU on the sum: nothing comes after it, so that the identity path stays free."),
            (_residual(join=lambda x, y, n: n[0](x) + y), "the normalised input is added: the identity path carries x itself."),
            (_residual(join=lambda x, y, n: torch.relu(n[0](x)) + y), "the activated input is added: the identity path carries x itself."),
            (
                _residual(lambda n, c, y: torch.relu(n(c(y)))),
                "the convolution comes first (post-activation): here it comes after its norm and ReLU.",
            ),
            (_residual(lambda n, c, y: c(n(torch.relu(y)))), "ReLU comes before the norm: first normalise, then ReLU."),
            (_residual(lambda n, c, y: c(n(y))), "the ReLUs are missing: without them, the branch is linear."),
            (_residual(lambda n, c, y: c(torch.relu(y))), "the norms are missing."),
            (_residual(lambda n, c, y: c(y)), "norms and ReLUs are missing: each convolution has its own before it."),
        ),
    ),
    "03.2": Exercise(
        _module_parameters(),
        _WIDTHS,
        (
            (_module_parameters(bias=0, norm=0), "only the convolutions' weights are counted: their biases and the batch norms are missing."),
            (_module_parameters(bias=0), "the biases are missing: each convolution has one for each output channel."),
            (_module_parameters(norm=0), "the batch norms are missing: each has a scale and a shift per channel."),
            (_module_parameters(norm=1), "a batch norm has two parameters per channel: a scale and a shift."),
            (_module_parameters(norm=4), "running mean and variance are measured, not learned: they are no parameters."),
            (_module_parameters(kernel=1), "the 3 x 3 convolution has nine weights for each pair of channels."),
            (_module_parameters(kernel=3), "the 3 x 3 convolution has nine weights for each pair of channels, not three."),
            (_module_parameters(carry=(0, 0)), "the 1 x 1 convolution on the identity path is missing, where the widths differ."),
            (_module_parameters(carry=(1, 1)), "where the widths are equal, the identity path has no convolution."),
            (_module_parameters(of_input=True), "the inner width is half of the *output* width."),
        ),
    ),
    "03.3": Exercise(
        _hourglass_modules(),
        ((4, 1), (4, 3), (3, 2), (1, 5)),
        (
            (_hourglass_modules(inner=0), "the innermost m modules are missing."),
            (_hourglass_modules(merge=lambda levels: 0), "the module after each sum is missing: one a level."),
            (_hourglass_modules(merge=lambda levels: 1), "every level has its own module after its sum."),
            (_hourglass_modules(each=2), "each level has m modules in three places: on the skip, before and after the level below."),
            (lambda levels, m: _hourglass_modules()(4, m), "this is right for four levels only."),
            (lambda levels, m: _hourglass_modules()(levels, 1) * m, "the module after the sum is one, whatever m is."),
        ),
    ),
    "03.4": Exercise(
        _receptive_field(),
        ((((3, 1),),), (((3, 1), (3, 1)),), (((2, 2), (3, 1)),), (_STEM,)),
        (
            (_receptive_field(lambda k, s, j: k - 1), "the jump is missing: after a stride, one cell further is several pixels further."),
            (_receptive_field(lambda k, s, j: (k - 1) * j * s), "a layer's own stride counts for the layers after it: update the jump last."),
            (_receptive_field(lambda k, s, j: (k - 1) * s), "the jump is the product of all strides so far, not this layer's."),
            (_receptive_field(lambda k, s, j: k * j), "a kernel of k cells adds k - 1: it holds the cell itself already."),
            (_receptive_field(start=0), "start with one pixel: without any layer, a cell sees itself."),
            (_backwards, "this formula goes from the last layer to the first: reverse the list."),
        ),
    ),
    "04.1": Exercise(
        _cross_entropy,
        ((3 * _seeded(3, 4, 5), _VOXELS), (torch.tensor([[[2.0, -1.0]]]), torch.tensor([[[True, True]]]))),
        (
            (lambda x, v: _cross_entropy(x, v) * v.numel(), "you add the voxels up; here their mean is wanted, so that the size of the grid does not matter."),
            (lambda x, v: -_cross_entropy(x, v), "the sign is wrong: logarithms of probabilities are negative, a loss is not."),
            (lambda x, v: -(v * F.logsigmoid(x)).mean(), "voxels outside the face count nothing: the term with (1 - V) is missing."),
            (lambda x, v: -(~v * F.logsigmoid(-x)).mean(), "voxels inside the face count nothing: the term with V is missing."),
            (lambda x, v: _cross_entropy(x, ~v), "V and 1 - V are swapped: inside, the logarithm of the probability itself counts."),
            (lambda x, v: _cross_entropy(x.sigmoid(), v), "the sigmoid is taken twice."),
            (lambda x, v: (x.sigmoid() - v.float()).square().mean(), "this is the squared error; the cross-entropy takes logarithms."),
            (lambda x, v: _cross_entropy(x, v) / torch.log(torch.tensor(2.0)), "this is in bits: the natural logarithm is meant."),
        ),
    ),
    "04.2": Exercise(
        _rmsprop,
        (
            (_seeded(5), torch.tensor([0.2, -1.0, 3.0, -0.01, 0.5]), torch.tensor([0.1, 0.2, 0.3, 0.4, 2.0]), 0.1),
            (_seeded(2), torch.tensor([1.0, -2.0]), torch.zeros(2), 0.01),
        ),
        (
            (lambda w, g, s, r: (2 * w - _rmsprop(w, g, s, r)[0], _rmsprop(w, g, s, r)[1]), "you walk uphill: the step goes against the gradient."),
            (lambda w, g, s, r: (w - r * g, _rmsprop(w, g, s, r)[1]), "this is plain gradient descent: divide the gradient by the root of the mean square."),
            (lambda w, g, s, r: _rmsprop(w, g, s, r, root=lambda mean: mean), "the square root is missing: divide by the root of the mean square."),
            (lambda w, g, s, r: (w - r * g / (s.sqrt() + 1e-8), _rmsprop(w, g, s, r)[1]), "you divide by the old mean square: update it first."),
            (lambda w, g, s, r: _rmsprop(w, g, s, r, a=0.01), "0.99 and 0.01 are swapped: the mean square changes slowly."),
            (
                lambda w, g, s, r: (w - r * g / ((0.99 * s + 0.01 * g).abs().sqrt() + 1e-8), 0.99 * s + 0.01 * g),
                "the gradient is not squared in the mean square.",
            ),
        ),
    ),
    "04.3": Exercise(
        lambda chances, volume: iou(chances > 0.5, volume),
        ((_CHANCES, _VOXELS), (torch.tensor([[[0.9, 0.6, 0.2]]]), torch.tensor([[[True, False, True]]]))),
        (
            (lambda c, v: _shared(c, v, lambda a, b: b.sum()), "you divide by the true solid only: voxels that are filled in vain must count, too."),
            (lambda c, v: _shared(c, v, lambda a, b: a.sum()), "you divide by the predicted solid only: voxels that are missed must count, too."),
            (lambda c, v: 2 * _shared(c, v, lambda a, b: a.sum() + b.sum()), "this is the Dice coefficient: divide the intersection by the union."),
            (lambda c, v: _shared(c, v, lambda a, b: a.sum() + b.sum()), "the sum of both counts the intersection twice: take the union."),
            (lambda c, v: ((c > 0.5) == v).float().mean(), "this is the share of voxels that agree: the empty ones outside flatter it."),
            (lambda c, v: (c * v).sum() / (c + v.float() - c * v).sum(), "the probabilities are not rounded: inside is where they are above 0.5."),
        ),
    ),
    "05.1": Exercise(
        _decoded,
        ((_MAP,), (torch.log(heatmaps(torch.tensor([[3.2, 8.6]]), 13, 8, 1.0)[0]),)),
        (
            (_peak, "this is the centre of the best cell: the mean over all cells comes between them."),
            (lambda m: _peak(m, 0.0), "this is the number of the best cell: take the mean over all cells, and mind the half cell."),
            (lambda m: _decoded(m) - 0.5, "the half cell is missing: cell 0 has its centre at 1/2."),
            (lambda m: _decoded(m).flip(0), "x and y are swapped: x goes with the column."),
            (lambda m: _decoded(torch.zeros_like(m)), "all cells count alike, so it is always the middle: weigh them with the softmax."),
            (lambda m: (_decoded(m) - 0.5) / (torch.tensor(m.T.shape)), "cells are wanted, not shares of the width and height."),
        ),
    ),
    "05.2": Exercise(
        _divergence,
        (
            (_seeded(6, 7), heatmaps(torch.tensor([[3.3, 2.9]]), 6, 7)[0]),
            (torch.zeros(5, 5), heatmaps(torch.tensor([[1.5, 2.5]]), 5, 5)[0]),
        ),
        (
            (
                lambda x, t: -(t * x.flatten().log_softmax(0).view(x.shape)).sum(),
                "this is the cross-entropy: subtract the truth's own entropy, so that a perfect map gives 0.",
            ),
            (lambda x, t: -_divergence(x, t), "the sign is wrong: the truth's logarithm comes first."),
            (lambda x, t: _divergence(x, t) / t.numel(), "you take the mean over the cells; a map is one distribution, so its cells add up."),
            (lambda x, t: (x.softmax(1).log() * -t + torch.xlogy(t, t)).sum(), "the softmax runs over one axis: all cells of the map together add up to 1."),
            (lambda x, t: _reversed(x, t), "the two maps have changed places: the truth weighs the cells."),
            (lambda x, t: (x.flatten().softmax(0).view(x.shape) - t).square().sum(), "this is the squared error; the divergence takes logarithms."),
        ),
    ),
    "06.1": Exercise(
        _gaussian,
        ((5.3, 3.8, 8, 11, 1.0), (2.0, 6.5, 9, 7, 2.0)),
        (
            (lambda x, y, h, w, s: _gaussian(x + 0.5, y + 0.5, h, w, s), "the half pixel is missing: pixel (r, c) has its centre at (c + 1/2, r + 1/2)."),
            (lambda x, y, h, w, s: _gaussian(x + 1.0, y + 1.0, h, w, s), "the half pixel has the wrong sign: centres are at c + 1/2."),
            (lambda x, y, h, w, s: _gaussian(y, x, h, w, s), "x and y are swapped: x goes with the column."),
            (lambda x, y, h, w, s: _gaussian(x, y, h, w, s) ** 2, "the 1/2 in the exponent is missing."),
            (lambda x, y, h, w, s: _gaussian(x, y, h, w, s**0.5), "sigma is not squared."),
            (lambda x, y, h, w, s: heatmaps(torch.tensor([[x, y]]), h, w, s)[0], "this one adds up to 1; as an input, its height is to be 1."),
            (
                lambda x, y, h, w, s: _gaussian(x, y, h, w, s) / (2 * torch.pi * s**2),
                "this is a density; as an input, its height is to be 1: no factor in front.",
            ),
        ),
    ),
    "06.2": Exercise(
        lambda predicted, truth: landmark_nme(predicted, truth),
        ((_LANDMARKS[:, :2] + _seeded(68, 2), _LANDMARKS), (_LANDMARKS.roll(1, 0)[:, :2], _LANDMARKS)),
        (
            (lambda p, t: _far(p, t, (37, 46)), "landmarks 37 and 46 are counted from 1: in Python they are 36 and 45."),
            (lambda p, t: _far(p, t, dims=(2, 2)), "the eyes' distance is taken in the image: in profile it goes to zero. Take it in 3D."),
            (lambda p, t: _far(p, t) * 68, "you add the distances up; their mean is wanted."),
            (lambda p, t: _far(p, t) * (t[36] - t[45]).norm(), "this is in pixels: divide by the distance of the outer corners of the eyes."),
            (
                lambda p, t: (p - t[:, :2]).abs().mean() / (t[36] - t[45]).norm(),
                "this is the mean over the coordinates: take the length of each difference first.",
            ),
            (lambda p, t: (p - t[:, :2]).square().sum(1).mean() / (t[36] - t[45]).norm(), "the square root is missing: distances, not their squares."),
        ),
    ),
    "07.1": Exercise(
        _apart,
        ((_seeded(50, 3, scale=20.0), _seeded(30, 3, scale=21.0), _PAIRS, _LANDMARKS), (_LANDMARKS + _seeded(68, 3), _LANDMARKS, torch.arange(68), _LANDMARKS)),
        (
            (lambda p, t, i, m: _apart(p, t, torch.arange(len(t)), m), "the pairs are not used: the partner of true vertex k is `predicted[pairs[k]]`."),
            (lambda p, t, i, m: _apart(p, t, i, m, (37, 46)), "landmarks 37 and 46 are counted from 1: in Python they are 36 and 45."),
            (lambda p, t, i, m: _apart(p, t, i, m, dims=(3, 2)), "the eyes' distance is taken in the image: in profile it goes to zero. Take it in 3D."),
            (lambda p, t, i, m: _apart(p, t, i, m, dims=(2, 3)), "depth is left out: the distances are in space, z counts as x and y do."),
            (lambda p, t, i, m: _apart(p, t, i, m) * (m[36] - m[45]).norm(), "this is in pixels: divide by the distance of the outer corners of the eyes."),
            (lambda p, t, i, m: _apart(p, t, i, m) * len(t), "you add the distances up; their mean is wanted."),
            (
                lambda p, t, i, m: (p[i] - t).abs().mean() / (m[36] - m[45]).norm(),
                "this is the mean over the coordinates: take the length of each difference first.",
            ),
            (lambda p, t, i, m: (p[i] - t).square().sum(1).mean() / (m[36] - m[45]).norm(), "the square root is missing: distances, not their squares."),
            (
                lambda p, t, i, m: (p[i] - t).square().sum(1).mean().sqrt() / (m[36] - m[45]).norm(),
                "this is the root of the mean square: take the root of each distance before the mean.",
            ),
        ),
    ),
    "07.2": Exercise(
        _area,
        ((torch.tensor([0.0, 0.1, 0.3]), 0.2), (_ERRORS[0], 0.1), (torch.tensor([0.5]), 0.2)),
        (
            (lambda e, limit: (1 - e / limit).mean(), "errors beyond the limit count negative: no area is less than 0."),
            (lambda e, limit: _area(e, limit) * limit, "this is the bare area: divide by the limit, so that 1 is the best."),
            (lambda e, limit: 1 - _area(e, limit), "this is the area above the curve."),
            (lambda e, limit: (e <= limit).float().mean(), "this is the height of the curve at the limit, not the area under it."),
            (lambda e, limit: _area(e[e <= limit], limit) if (e <= limit).any() else 0.0, "failures are left out: they have no area, but they count as faces."),
        ),
    ),
    "07.3": Exercise(
        lambda a, b, picks: _interval((a - b)[picks].mean(1)),
        ((*_ERRORS, _PICKS), (_ERRORS[1].flip(0), _ERRORS[0], _PICKS[:20])),
        (
            (lambda a, b, i: _interval((b - a)[i].mean(1)), "the sign is wrong: the difference is a - b."),
            (lambda a, b, i: _interval(a - b), "this is the spread of the faces; the mean of each row of `picks` is wanted."),
            (lambda a, b, i: _interval((a - b)[i].flatten()), "this is the spread of the faces: take the mean of each row before the quantiles."),
            (lambda a, b, i: _interval((a - b)[i].mean(0)), "the mean runs over the redraws: a row of `picks` is one redraw, so take the mean over its faces."),
            (lambda a, b, i: _interval(a[i].mean(1) - b.mean()), "only a is drawn anew: both methods meet the same faces in each row."),
            (
                lambda a, b, i: _interval(a[i].mean(1)) - _interval(b[i].mean(1)),
                "first the difference, then the quantiles: those of a and b apart lose the pairs.",
            ),
            (lambda a, b, i: _interval((a - b)[i].mean(1), 0.9), "this is the 90 % interval: cut off 2.5 % on each side."),
            (lambda a, b, i: _interval((a - b)[i].median(1).values), "this takes the median of each row; the mean is wanted."),
        ),
    ),
    "08.1": Exercise(
        _to_model,
        ((_seeded(6, 3, scale=20.0) + 60, 9.5, TURN, torch.tensor([64.0, 60.0, 40.0])),),
        (
            (
                lambda p, s, r, t: (p - t) @ r.T / s,
                "you turn the same way once more: rows were turned by `@ rotation.T`, and the inverse of a rotation is its transpose.",
            ),
            (lambda p, s, r, t: p @ r / s - t, "the order is wrong: the translation came last, so it is taken off first."),
            (lambda p, s, r, t: (p @ r - t) / s, "the order is wrong: the translation came after the turn, so it is taken off before you turn back."),
            (lambda p, s, r, t: (p / s - t) @ r, "the order is wrong: the translation is in pixels, take it off before you divide by the scale."),
            (lambda p, s, r, t: (p - t) @ r * s, "you multiply by the scale: on the way back you divide."),
            (lambda p, s, r, t: (p - t) @ r, "the scale is missing."),
            (lambda p, s, r, t: (p + t) @ r / s, "the translation is added once more; take it off."),
            (lambda p, s, r, t: s * p @ r.T + t, "this is the camera itself; its inverse is wanted."),
        ),
    ),
    "08.2": Exercise(
        _agreement,
        (_PEOPLE, (_seeded(3, 12), _seeded(3, 12).roll(1, 0) + 1)),
        (
            (
                lambda p, t: (p * t).sum() / (p.square().sum() * t.square().sum()).sqrt(),
                "what all people have in common is still in it: subtract the mean over the people from each of the two.",
            ),
            (lambda p, t: _agreement(p, t, (1, 1)), "your mean runs over the points: what people have in common is the mean over the people, dimension 0."),
            (
                lambda p, t: _agreement(p - p.mean(), t - t.mean(), (0, 0), lambda a, b: b),
                "this is a slope, which grows when the network exaggerates: divide by both lengths.",
            ),
            (lambda p, t: _agreement(p, t, norm=lambda a, b: a * b), "the square root is missing: divide by the square root of the product."),
            (
                lambda p, t: _agreement(p, t, norm=lambda a, b: torch.tensor(float(p.numel()))),
                "this is a covariance: divide by the lengths, so that 1 is the most.",
            ),
            (_each_agreement, "this is the mean of one correlation for each person: add up over people and points first."),
            (
                lambda p, t: torch.corrcoef(torch.stack((p.flatten(), t.flatten())))[0, 1],
                "you subtract one mean from everything; each point has a mean of its own, over the people.",
            ),
        ),
    ),
    "08.3": Exercise(
        _disc,
        ((_FACE, 11, 9, 0.3), (_FACE, 4, 12, 0.5), (_FACE, 16, 4, 0.1)),
        (
            (lambda f, r, c, s: _disc(f, r, c, s, lambda a, f, s: a.quantile(s)), "this hides a share of the whole picture: count the face's pixels only."),
            (lambda f, r, c, s: _disc(f, r, c, s, lambda a, f, s: a[f].quantile(1 - s)), "this leaves that share of the face to be seen."),
            (
                lambda f, r, c, s: _disc(f, r, c, s, lambda a, f, s: s * a[f].max()),
                "this is a share of the largest distance, not of the pixels: take a quantile.",
            ),
            (
                lambda f, r, c, s: _disc(f, r, c, s, lambda a, f, s: s**0.5 * a[f].max()),
                "this would be right if the face were a disc about that point: take a quantile of the distances.",
            ),
            (
                lambda f, r, c, s: _disc(f, r, c, s, length=lambda a, b: a.abs().maximum(b.abs())),
                "this is a square: a disc has one distance in all directions.",
            ),
            (
                lambda f, r, c, s: _disc(f, r, c, s, length=lambda a, b: a.abs() + b.abs()),
                "this is a square on its corner: the distance is the root of the sum of squares.",
            ),
            (lambda f, r, c, s: _disc(f, r, c, s) & f, "your patch ends where the face ends; a thing before a face does not."),
            (lambda f, r, c, s: ~_disc(f, r, c, s), "inside and outside are swapped: True is hidden."),
            (lambda f, r, c, s: _disc(f, c, r, s), "row and column are swapped: the first index is the row."),
        ),
    ),
    "09.1": Exercise(
        _moved,
        ((_LANDMARKS[:, :2], 3.0, _seeded(68, 2)), (_LANDMARKS[:, :2], 10.0, _seeded(68, 2).flip(0))),
        (
            (lambda p, k, n: _moved(p, k, n, 1.0), "the mean distance is 1.25 times too large: normal errors in x and y have the mean length sqrt(pi / 2)."),
            (lambda p, k, n: _moved(p, k, n, (2 / torch.pi) ** 0.5), "you multiply by sqrt(pi / 2): divide, so that the mean length becomes 1."),
            (lambda p, k, n: _moved(p, k, n, 2**0.5), "this sets the root of the mean square; the mean length is sqrt(pi / 2)."),
            (lambda p, k, n: _moved(p, k, n, torch.pi / 2), "the square root is missing: the mean length is sqrt(pi / 2)."),
            (lambda p, k, n: p + k * F.normalize(n, dim=1), "now every landmark is off by the same distance: small and large errors belong to it."),
            (
                lambda p, k, n: p + k * n / n.norm(dim=1).mean(),
                "this sets the mean of this one draw; divide by what it is on average, so that draws may differ.",
            ),
            (lambda p, k, n: p + k * n[:1] / (torch.pi / 2) ** 0.5, "all landmarks move together: each has its own error."),
        ),
    ),
    "09.2": Exercise(
        _seeds,
        (_SEEDS, (torch.tensor([0.3, 0.1, 0.2, 0.25]), torch.tensor([0.28, 0.12, 0.15, 0.3]))),
        (
            (lambda a, b: _seeds(b, a), "the sign is wrong: the difference is a - b."),
            (lambda a, b: _seeds(a, b, 0), "you divide by n under the root: with the mean taken from the same few values, it is n - 1."),
            (lambda a, b: _seeds(a, b, 1, 0.0), "this is the spread of the differences; their mean is surer by the square root of n."),
            (lambda a, b: _seeds(a, b, 1, 1.0), "you divide by n: the error of a mean falls with the square root of n."),
            (
                lambda a, b: torch.stack(((a - b).mean(), ((a.var() + b.var()) / len(a)).sqrt())),
                "the pairs are lost: take the differences seed by seed, and then their spread.",
            ),
            (
                lambda a, b: torch.stack(((a - b).mean(), (a.std() - b.std()) / len(a) ** 0.5)),
                "this is a difference of spreads; the spread of the differences is wanted.",
            ),
        ),
    ),
    "09.3": Exercise(
        _sides,
        ((_seeded(40).abs(), F.normalize(_seeded(40, 3).flip(0), dim=1)), (torch.arange(9.0), F.normalize(_seeded(9, 3), dim=1))),
        (
            (lambda e, n: _sides(e, n, 2, 1), "the two are swapped: z points away from the viewer, so what faces the viewer has a negative z."),
            (lambda e, n: _sides(e, n, 0, -1), "you look at x, which tells left from right: depth is z."),
            (lambda e, n: _sides(e, n, 1, -1), "you look at y, which tells up from down: depth is z."),
            (
                lambda e, n: torch.stack(((e * (n[:, 2] < 0)).mean(), (e * (n[:, 2] >= 0)).mean())),
                "you divide by all vertices: each side has its own number of them.",
            ),
            (lambda e, n: torch.stack((e[n[:, 2] < 0].sum(), e[n[:, 2] >= 0].sum())), "you add the errors up; their mean is wanted."),
            (lambda e, n: torch.stack((e[n[:, 2] < 0].mean(), e.mean())), "the second number is for the vertices that are turned away, not for all."),
        ),
    ),
}
"""The notebooks' exercises by number."""
