"""Exercises of notebooks 04 to 06: losses, steps, scores and landmarks."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from vrn_lite.exercises.cases import LANDMARKS, Join, Pair, seeded
from vrn_lite.exercises.grader import Exercise
from vrn_lite.landmarks import decode, gaussians, heatmaps
from vrn_lite.metrics import iou, landmark_nme

Root = Callable[[Tensor], Tensor]


def _entropy(logits: Tensor, volume: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, volume.float())


def _step(
    w: Tensor, g: Tensor, s: Tensor, rate: float, a: float = 0.99, root: Root = torch.sqrt, small: float = 1e-8
) -> tuple[Tensor, Tensor]:
    """One step, right by default."""
    mean = a * s + (1 - a) * g**2
    return w - rate * g / (root(mean) + small), mean


def _shared(chances: Tensor, volume: Tensor, by: Join) -> Tensor:
    inside = chances > 0.5
    return (inside & volume).sum() / by(inside, volume)


def _peak(logits: Tensor, half: float = 0.5) -> Tensor:
    row, column = divmod(int(logits.argmax()), logits.shape[1])
    return torch.tensor([column + half, row + half])


def _centre(logits: Tensor) -> Tensor:
    return decode(logits[None])[0]


def _kl(logits: Tensor, truth: Tensor) -> Tensor:
    return F.kl_div(logits.flatten().log_softmax(0), truth.flatten(), reduction="sum")


def _reversed(logits: Tensor, truth: Tensor) -> Tensor:
    share = logits.flatten().softmax(0)
    return (share * (share.log() - truth.flatten().log())).sum()


def _blob(x: float, y: float, height: int, width: int, sigma: float = 1.0) -> Tensor:
    return gaussians(torch.tensor([[x, y]]), height, width, sigma)[0]


def _far(predicted: Tensor, truth: Tensor, corners: Pair = (36, 45), dims: Pair = (2, 3)) -> Tensor:
    """Mean distance over `dims[0]` coordinates by the distance of two landmarks over `dims[1]`."""
    distance = (predicted[:, : dims[0]] - truth[:, : dims[0]]).norm(dim=1).mean()
    return distance / (truth[corners[0], : dims[1]] - truth[corners[1], : dims[1]]).norm()


_VOXELS = seeded(3, 4, 5) > 0.4
_CHANCES = (seeded(3, 4, 5) * 1.5 - 0.4).add(torch.arange(60).view(3, 4, 5) % 7 * 0.3 - 0.8).sigmoid()
_MAP = torch.log(heatmaps(torch.tensor([[6.3, 4.8]]), 10, 14, 1.2)[0]) + 3

# A table, set by hand: each hint and the wrong answer that deserves it.
# fmt: off
EXERCISES: dict[str, Exercise] = {
    "04.1": Exercise(_entropy, (
        (3 * seeded(3, 4, 5), _VOXELS),
        (torch.tensor([[[2.0, -1.0]]]), torch.tensor([[[True, True]]])),
    ), {
        "you add the voxels up; here their mean is wanted, so that the size of the grid does not matter.":
            lambda x, v: _entropy(x, v) * v.numel(),
        "the sign is wrong: logarithms of probabilities are negative, a loss is not.": lambda x, v: -_entropy(x, v),
        "voxels outside the face count nothing: the term with (1 - V) is missing.":
            lambda x, v: -(v * F.logsigmoid(x)).mean(),
        "voxels inside the face count nothing: the term with V is missing.":
            lambda x, v: -(~v * F.logsigmoid(-x)).mean(),
        "V and 1 - V are swapped: inside, the logarithm of the probability itself counts.":
            lambda x, v: _entropy(x, ~v),
        "the sigmoid is taken twice.": lambda x, v: _entropy(x.sigmoid(), v),
        "this is the squared error; the cross-entropy takes logarithms.":
            lambda x, v: (x.sigmoid() - v.float()).square().mean(),
        "this is in bits: the natural logarithm is meant.": lambda x, v: _entropy(x, v) / torch.log(torch.tensor(2.0)),
    }),
    "04.2": Exercise(_step, (
        (seeded(5), torch.tensor([0.2, -1.0, 3.0, -0.01, 0.5]), torch.tensor([0.1, 0.2, 0.3, 0.4, 2.0]), 0.1),
        (seeded(2), torch.tensor([1.0, -2.0]), torch.zeros(2), 0.01),
        (seeded(3), torch.tensor([0.0, 1e-6, 0.5]), torch.zeros(3), 0.1),
    ), {
        "you walk uphill: the step goes against the gradient.":
            lambda w, g, s, r: (2 * w - _step(w, g, s, r)[0], _step(w, g, s, r)[1]),
        "this is plain gradient descent: divide the gradient by the root of the mean square.":
            lambda w, g, s, r: (w - r * g, _step(w, g, s, r)[1]),
        "the square root is missing: divide by the root of the mean square.": partial(_step, root=lambda mean: mean),
        "you divide by the old mean square: update it first.":
            lambda w, g, s, r: (w - r * g / (s.sqrt() + 1e-8), _step(w, g, s, r)[1]),
        "0.99 and 0.01 are swapped: the mean square changes slowly.": partial(_step, a=0.01),
        "the gradient is not squared in the mean square.":
            lambda w, g, s, r: (w - r * g / ((0.99 * s + 0.01 * g).abs().sqrt() + 1e-8), 0.99 * s + 0.01 * g),
        "1e-8 is missing: a gradient that has always been 0 gives 0 / 0.": partial(_step, small=0.0),
        "1e-8 is added after the root; under it, it outweighs small gradients.":
            partial(_step, root=lambda mean: (mean + 1e-8).sqrt()),
        "the old mean square is given back: the next step needs the new one.":
            lambda w, g, s, r: (_step(w, g, s, r)[0], s),
    }),
    "04.3": Exercise(lambda chances, volume: iou(chances > 0.5, volume), (
        (_CHANCES, _VOXELS),
        (torch.tensor([[[0.9, 0.6, 0.2]]]), torch.tensor([[[True, False, True]]])),
    ), {
        "you divide by the true solid only: voxels that are filled in vain must count, too.":
            partial(_shared, by=lambda a, b: b.sum()),
        "you divide by the predicted solid only: voxels that are missed must count, too.":
            partial(_shared, by=lambda a, b: a.sum()),
        "this is the Dice coefficient: divide the intersection by the union.":
            lambda c, v: 2 * _shared(c, v, lambda a, b: a.sum() + b.sum()),
        "the sum of both counts the intersection twice: take the union.":
            partial(_shared, by=lambda a, b: a.sum() + b.sum()),
        "this is the share of voxels that agree: the empty ones outside flatter it.":
            lambda c, v: ((c > 0.5) == v).float().mean(),
        "the probabilities are not rounded: inside is where they are above 0.5.":
            lambda c, v: (c * v).sum() / (c + v.float() - c * v).sum(),
    }),
    "05.1": Exercise(_centre, (
        (_MAP,),
        (torch.log(heatmaps(torch.tensor([[3.2, 8.6]]), 13, 8, 1.0)[0]),),
        (2 * seeded(6, 9),),
    ), {
        "this is the centre of the best cell: the mean over all cells comes between them.": _peak,
        "this is the number of the best cell: take the mean over all cells, and mind the half cell.":
            partial(_peak, half=0.0),
        "the half cell is missing: cell 0 has its centre at 1/2.": lambda m: _centre(m) - 0.5,
        "x and y are swapped: x goes with the column.": lambda m: _centre(m).flip(0),
        "all cells count alike, so it is always the middle: weigh them with the softmax.":
            lambda m: _centre(torch.zeros_like(m)),
        "the softmax runs over one axis at a time: all cells of the map together add up to 1.":
            lambda m: torch.stack((_centre(m.log_softmax(1))[0], _centre(m.log_softmax(0))[1])),
        "the weights do not add up to 1: an exponential alone is no softmax.": lambda m: _centre(m) * m.exp().sum(),
        "cells are wanted, not shares of the width and height.": lambda m: (_centre(m) - 0.5) / torch.tensor(m.T.shape),
    }),
    "05.2": Exercise(_kl, (
        (seeded(6, 7), heatmaps(torch.tensor([[3.3, 2.9]]), 6, 7)[0]),
        (torch.zeros(5, 5), heatmaps(torch.tensor([[1.5, 2.5]]), 5, 5)[0]),
    ), {
        "this is the cross-entropy: subtract the truth's own entropy, so that a perfect map gives 0.":
            lambda x, t: -(t * x.flatten().log_softmax(0).view(x.shape)).sum(),
        "the sign is wrong: the truth's logarithm comes first.": lambda x, t: -_kl(x, t),
        "you take the mean over the cells; a map is one distribution, so its cells add up.":
            lambda x, t: _kl(x, t) / t.numel(),
        "the softmax runs over one axis: all cells of the map together add up to 1.":
            lambda x, t: (x.softmax(1).log() * -t + torch.xlogy(t, t)).sum(),
        "the two maps have changed places: the truth weighs the cells.": _reversed,
        "this is the squared error; the divergence takes logarithms.":
            lambda x, t: (x.flatten().softmax(0).view(x.shape) - t).square().sum(),
    }),
    "06.1": Exercise(_blob, ((5.3, 3.8, 8, 11, 1.0), (2.0, 6.5, 9, 7, 2.0)), {
        "the half pixel is missing: pixel (r, c) has its centre at (c + 1/2, r + 1/2).":
            lambda x, y, h, w, s: _blob(x + 0.5, y + 0.5, h, w, s),
        "the half pixel has the wrong sign: centres are at c + 1/2.":
            lambda x, y, h, w, s: _blob(x + 1.0, y + 1.0, h, w, s),
        "x and y are swapped: x goes with the column.": lambda x, y, h, w, s: _blob(y, x, h, w, s),
        "the 1/2 in the exponent is missing.": lambda x, y, h, w, s: _blob(x, y, h, w, s) ** 2,
        "sigma is not squared.": lambda x, y, h, w, s: _blob(x, y, h, w, s**0.5),
        "the distance is not squared.": lambda x, y, h, w, s: (-0.5 * (-2 * _blob(x, y, h, w, s).log()).sqrt()).exp(),
        "this one adds up to 1; as an input, its height is to be 1.":
            lambda x, y, h, w, s: heatmaps(torch.tensor([[x, y]]), h, w, s)[0],
        "this is a density; as an input, its height is to be 1: no factor in front.":
            lambda x, y, h, w, s: _blob(x, y, h, w, s) / (2 * torch.pi * s**2),
    }),
    "06.2": Exercise(lambda predicted, truth: landmark_nme(predicted, truth), (
        (LANDMARKS[:, :2] + seeded(68, 2), LANDMARKS),
        (LANDMARKS.roll(1, 0)[:, :2], LANDMARKS),
    ), {
        "landmarks 37 and 46 are counted from 1: in Python they are 36 and 45.": partial(_far, corners=(37, 46)),
        "the eyes' distance is taken in the image: in profile it goes to zero. Take it in 3D.":
            partial(_far, dims=(2, 2)),
        "you add the distances up; their mean is wanted.": lambda p, t: _far(p, t) * 68,
        "this is in pixels: divide by the distance of the outer corners of the eyes.":
            lambda p, t: _far(p, t) * (t[36] - t[45]).norm(),
        "this is the mean over the coordinates: take the length of each difference first.":
            lambda p, t: (p - t[:, :2]).abs().mean() / (t[36] - t[45]).norm(),
        "the square root is missing: distances, not their squares.":
            lambda p, t: (p - t[:, :2]).square().sum(1).mean() / (t[36] - t[45]).norm(),
    }),
}
# fmt: on
