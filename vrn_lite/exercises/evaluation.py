"""Exercises of notebooks 07 to 09: errors, comparisons and ablations."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from vrn_lite.exercises.cases import LANDMARKS, TURN, Join, Pair, seeded
from vrn_lite.exercises.grader import Exercise


def _apart(
    predicted: Tensor, truth: Tensor, pairs: Tensor, landmarks: Tensor, corners: Pair = (36, 45), dims: Pair = (3, 3)
) -> Tensor:
    """NME of paired points, right by default; distances over `dims[0]` coordinates, the normaliser over `dims[1]`."""
    distance = (predicted[pairs] - truth)[:, : dims[0]].norm(dim=1).mean()
    return distance / (landmarks[corners[0]] - landmarks[corners[1]])[: dims[1]].norm()


def _area(errors: Tensor, limit: float) -> Tensor:
    return (1 - errors / limit).clamp(min=0).mean()


def _interval(differences: Tensor, share: float = 0.95) -> Tensor:
    return differences.quantile(torch.tensor([(1 - share) / 2, (1 + share) / 2]))


def _to_model(points: Tensor, scale: float, rotation: Tensor, translation: Tensor) -> Tensor:
    return (points - translation) @ rotation / scale


def _agree(p: Tensor, t: Tensor, common: Pair = (0, 0), norm: Join = lambda a, b: (a * b).sqrt()) -> Tensor:
    """Correlation of people's own shapes, right by default; `common`: over which dimension each one's mean is taken."""
    p = p - p.mean(common[0], keepdim=True)
    t = t - t.mean(common[1], keepdim=True)
    return (p * t).sum() / norm(p.square().sum(), t.square().sum())


def _each_agree(p: Tensor, t: Tensor) -> Tensor:
    p = p - p.mean(0)
    t = t - t.mean(0)
    return F.cosine_similarity(p, t, dim=1).mean()


def _disc(
    face: Tensor,
    row: int,
    column: int,
    share: float,
    reach: Callable[[Tensor, Tensor, float], Tensor] = lambda away, face, share: away[face].quantile(share),
    length: Join = torch.hypot,
) -> Tensor:
    """The smallest disc that hides a share of a face, right by default."""
    rows = torch.arange(face.shape[0]) - row
    columns = torch.arange(face.shape[1]) - column
    away = length(rows[:, None].float(), columns[None].float())
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


_PAIRS = torch.randint(50, (30,), generator=torch.Generator().manual_seed(1))
_ERRORS = (seeded(12).abs() * 0.08, (seeded(2, 12)[1].abs() + 0.2) * 0.07)
_PICKS = torch.randint(12, (60, 12), generator=torch.Generator().manual_seed(2))
_PEOPLE = (seeded(4, 30) + 2, (0.4 * seeded(4, 30) + seeded(2, 4, 30)[1] + seeded(30)))
_FACE = torch.hypot((torch.arange(24) - 11.0)[:, None] / 10, (torch.arange(20) - 9.0)[None] / 7) < 1
_SEEDS = (torch.tensor([0.101, 0.097, 0.108]), torch.tensor([0.094, 0.096, 0.099]))

# A table, set by hand: each hint and the wrong answer that deserves it.
# fmt: off
EXERCISES: dict[str, Exercise] = {
    "07.1": Exercise(_apart, (
        (seeded(50, 3, scale=20.0), seeded(30, 3, scale=21.0), _PAIRS, LANDMARKS),
        (LANDMARKS + seeded(68, 3), LANDMARKS, torch.arange(68), LANDMARKS),
    ), {
        "the pairs are not used: true vertex k corresponds to `predicted[pairs[k]]`.":
            lambda p, t, i, m: _apart(p, t, torch.arange(len(t)), m),
        "landmarks 37 and 46 are counted from 1: in Python they are 36 and 45.": partial(_apart, corners=(37, 46)),
        "the eyes' distance is taken in the image: in profile it goes to zero. Take it in 3D.":
            partial(_apart, dims=(3, 2)),
        "depth is left out: the distances are in space, z counts as x and y do.": partial(_apart, dims=(2, 3)),
        "this is in pixels: divide by the distance of the outer corners of the eyes.":
            lambda p, t, i, m: _apart(p, t, i, m) * (m[36] - m[45]).norm(),
        "you add the distances up; their mean is wanted.": lambda p, t, i, m: _apart(p, t, i, m) * len(t),
        "this is the mean over the coordinates: take the length of each difference first.":
            lambda p, t, i, m: (p[i] - t).abs().mean() / (m[36] - m[45]).norm(),
        "the square root is missing: distances, not their squares.":
            lambda p, t, i, m: (p[i] - t).square().sum(1).mean() / (m[36] - m[45]).norm(),
        "this is the root of the mean square: take the root of each distance before the mean.":
            lambda p, t, i, m: (p[i] - t).square().sum(1).mean().sqrt() / (m[36] - m[45]).norm(),
    }),
    "07.2": Exercise(_area, ((torch.tensor([0.0, 0.1, 0.3]), 0.2), (_ERRORS[0], 0.1), (torch.tensor([0.5]), 0.2)), {
        "errors beyond the limit count negative: no area is less than 0.": lambda e, limit: (1 - e / limit).mean(),
        "this is the bare area: divide by the limit, so that 1 is the best.": lambda e, limit: _area(e, limit) * limit,
        "this is the area above the curve.": lambda e, limit: 1 - _area(e, limit),
        "this is the height of the curve at the limit, not the area under it.":
            lambda e, limit: (e <= limit).float().mean(),
        "failures are left out: they have no area, but they count as faces.":
            lambda e, limit: _area(e[e <= limit], limit) if (e <= limit).any() else 0.0,
    }),
    "07.3": Exercise(lambda a, b, picks: _interval((a - b)[picks].mean(1)), (
        (*_ERRORS, _PICKS),
        (_ERRORS[1].flip(0), _ERRORS[0], _PICKS[:20]),
    ), {
        "the sign is wrong: the difference is a - b.": lambda a, b, i: _interval((b - a)[i].mean(1)),
        "this is the spread of the faces; the mean of each row of `picks` is wanted.": lambda a, b, i: _interval(a - b),
        "this is the spread of the faces: take the mean of each row before the quantiles.":
            lambda a, b, i: _interval((a - b)[i].flatten()),
        "the mean runs over the redraws: a row of `picks` is one redraw, so take the mean over its faces.":
            lambda a, b, i: _interval((a - b)[i].mean(0)),
        "only a is drawn anew: both methods meet the same faces in each row.":
            lambda a, b, i: _interval(a[i].mean(1) - b.mean()),
        "first the difference, then the quantiles: those of a and b apart lose the pairs.":
            lambda a, b, i: _interval(a[i].mean(1)) - _interval(b[i].mean(1)),
        "this is the 90 % interval: cut off 2.5 % on each side.": lambda a, b, i: _interval((a - b)[i].mean(1), 0.9),
        "this takes the median of each row; the mean is wanted.":
            lambda a, b, i: _interval((a - b)[i].median(1).values),
    }),
    "08.1": Exercise(_to_model, ((seeded(6, 3, scale=20.0) + 60, 9.5, TURN, torch.tensor([64.0, 60.0, 40.0])),), {
        "you turn the same way once more: rows were turned by `@ rotation.T`, and the inverse of a rotation is its "
        "transpose.": lambda p, s, r, t: (p - t) @ r.T / s,
        "the order is wrong: the translation came last, so it is taken off first.": lambda p, s, r, t: p @ r / s - t,
        "the order is wrong: the translation came after the turn, so it is taken off before you turn back.":
            lambda p, s, r, t: (p @ r - t) / s,
        "the order is wrong: the translation is in pixels, take it off before you divide by the scale.":
            lambda p, s, r, t: (p / s - t) @ r,
        "you multiply by the scale: on the way back you divide.": lambda p, s, r, t: (p - t) @ r * s,
        "the scale is missing.": lambda p, s, r, t: (p - t) @ r,
        "the translation is added once more; take it off.": lambda p, s, r, t: (p + t) @ r / s,
        "this is the camera itself; its inverse is wanted.": lambda p, s, r, t: s * p @ r.T + t,
    }),
    "08.2": Exercise(_agree, (_PEOPLE, (seeded(3, 12), seeded(3, 12).roll(1, 0) + 1)), {
        "what all people have in common is still in it: subtract the mean over the people from each of the two.":
            lambda p, t: (p * t).sum() / (p.square().sum() * t.square().sum()).sqrt(),
        "your mean runs over the points: what people have in common is the mean over the people, dimension 0.":
            partial(_agree, common=(1, 1)),
        "this is a slope, which grows when the network exaggerates: divide by both lengths.":
            lambda p, t: _agree(p - p.mean(), t - t.mean(), (0, 0), lambda a, b: b),
        "the square root is missing: divide by the square root of the product.":
            partial(_agree, norm=lambda a, b: a * b),
        "this is a covariance: divide by the lengths, so that 1 is the most.":
            lambda p, t: _agree(p, t, norm=lambda a, b: torch.tensor(float(p.numel()))),
        "this is the mean of one correlation for each person: add up over people and points first.": _each_agree,
        "you subtract one mean from everything; each point has a mean of its own, over the people.":
            lambda p, t: torch.corrcoef(torch.stack((p.flatten(), t.flatten())))[0, 1],
    }),
    "08.3": Exercise(_disc, ((_FACE, 11, 9, 0.3), (_FACE, 4, 12, 0.5), (_FACE, 16, 4, 0.1)), {
        "this hides a share of the whole picture: count the face's pixels only.":
            partial(_disc, reach=lambda a, f, s: a.quantile(s)),
        "this leaves that share of the face to be seen.": partial(_disc, reach=lambda a, f, s: a[f].quantile(1 - s)),
        "this is a share of the largest distance, not of the pixels: take a quantile.":
            partial(_disc, reach=lambda a, f, s: s * a[f].max()),
        "this would be right if the face were a disc about that point: take a quantile of the distances.":
            partial(_disc, reach=lambda a, f, s: s**0.5 * a[f].max()),
        "this is a square: a disc has one distance in all directions.":
            partial(_disc, length=lambda a, b: a.abs().maximum(b.abs())),
        "this is a square on its corner: the distance is the root of the sum of squares.":
            partial(_disc, length=lambda a, b: a.abs() + b.abs()),
        "your patch ends where the face ends; a thing before a face does not.":
            lambda f, r, c, s: _disc(f, r, c, s) & f,
        "inside and outside are swapped: True is hidden.": lambda f, r, c, s: ~_disc(f, r, c, s),
        "row and column are swapped: the first index is the row.": lambda f, r, c, s: _disc(f, c, r, s),
    }),
    "09.1": Exercise(_moved, (
        (LANDMARKS[:, :2], 3.0, seeded(68, 2)),
        (LANDMARKS[:, :2], 10.0, seeded(68, 2).flip(0)),
    ), {
        "the mean distance is 1.25 times too large: normal errors in x and y have the mean length sqrt(pi / 2).":
            partial(_moved, by=1.0),
        "you multiply by sqrt(pi / 2): divide, so that the mean length becomes 1.":
            partial(_moved, by=(2 / torch.pi) ** 0.5),
        "this sets the root of the mean square; the mean length is sqrt(pi / 2).": partial(_moved, by=2**0.5),
        "the square root is missing: the mean length is sqrt(pi / 2).": partial(_moved, by=torch.pi / 2),
        "now every landmark is off by the same distance: small and large errors belong to it.":
            lambda p, k, n: p + k * F.normalize(n, dim=1),
        "this sets the mean of this one draw; divide by what it is on average, so that draws may differ.":
            lambda p, k, n: p + k * n / n.norm(dim=1).mean(),
        "all landmarks move together: each has its own error.": lambda p, k, n: p + k * n[:1] / (torch.pi / 2) ** 0.5,
    }),
    "09.2": Exercise(_seeds, (_SEEDS, (torch.tensor([0.3, 0.1, 0.2, 0.25]), torch.tensor([0.28, 0.12, 0.15, 0.3]))), {
        "the sign is wrong: the difference is a - b.": lambda a, b: _seeds(b, a),
        "you divide by n under the root: with the mean taken from the same few values, it is n - 1.":
            partial(_seeds, correction=0),
        "this is the spread of the differences; their mean is surer by the square root of n.":
            partial(_seeds, root=0.0),
        "you divide by n: the error of a mean falls with the square root of n.": partial(_seeds, root=1.0),
        "the pairs are lost: take the differences seed by seed, and then their spread.":
            lambda a, b: torch.stack(((a - b).mean(), ((a.var() + b.var()) / len(a)).sqrt())),
        "this is a difference of spreads; the spread of the differences is wanted.":
            lambda a, b: torch.stack(((a - b).mean(), (a.std() - b.std()) / len(a) ** 0.5)),
    }),
    "09.3": Exercise(_sides, (
        (seeded(40).abs(), F.normalize(seeded(40, 3).flip(0), dim=1)),
        (torch.arange(9.0), F.normalize(seeded(9, 3), dim=1)),
    ), {
        "the two are swapped: z points away from the viewer, so what faces the viewer has a negative z.":
            partial(_sides, axis=2, sign=1),
        "you look at x, which tells left from right: depth is z.": partial(_sides, axis=0, sign=-1),
        "you look at y, which tells up from down: depth is z.": partial(_sides, axis=1, sign=-1),
        "you divide by all vertices: each side has its own number of them.":
            lambda e, n: torch.stack(((e * (n[:, 2] < 0)).mean(), (e * (n[:, 2] >= 0)).mean())),
        "you add the errors up; their mean is wanted.":
            lambda e, n: torch.stack((e[n[:, 2] < 0].sum(), e[n[:, 2] >= 0].sum())),
        "the second number is for the vertices that are turned away, not for all.":
            lambda e, n: torch.stack((e[n[:, 2] < 0].mean(), e.mean())),
    }),
}
# fmt: on
