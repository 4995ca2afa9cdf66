"""Exercises of notebooks 07 to 09: errors, comparisons and ablations."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from vrn_lite.exercises.cases import LANDMARKS, TURN, seeded
from vrn_lite.exercises.judge import Exercise


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


_PAIRS = torch.randint(50, (30,), generator=torch.Generator().manual_seed(1))
_ERRORS = (seeded(12).abs() * 0.08, (seeded(2, 12)[1].abs() + 0.2) * 0.07)
_PICKS = torch.randint(12, (60, 12), generator=torch.Generator().manual_seed(2))
_PEOPLE = (seeded(4, 30) + 2, (0.4 * seeded(4, 30) + seeded(2, 4, 30)[1] + seeded(30)))
_FACE = torch.hypot((torch.arange(24) - 11.0)[:, None] / 10, (torch.arange(20) - 9.0)[None] / 7) < 1
_SEEDS = (torch.tensor([0.101, 0.097, 0.108]), torch.tensor([0.094, 0.096, 0.099]))

EXERCISES: Mapping[str, Exercise] = {
    "07.1": Exercise(
        _apart,
        ((seeded(50, 3, scale=20.0), seeded(30, 3, scale=21.0), _PAIRS, LANDMARKS), (LANDMARKS + seeded(68, 3), LANDMARKS, torch.arange(68), LANDMARKS)),
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
        ((seeded(6, 3, scale=20.0) + 60, 9.5, TURN, torch.tensor([64.0, 60.0, 40.0])),),
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
        (_PEOPLE, (seeded(3, 12), seeded(3, 12).roll(1, 0) + 1)),
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
        ((LANDMARKS[:, :2], 3.0, seeded(68, 2)), (LANDMARKS[:, :2], 10.0, seeded(68, 2).flip(0))),
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
        ((seeded(40).abs(), F.normalize(seeded(40, 3).flip(0), dim=1)), (torch.arange(9.0), F.normalize(seeded(9, 3), dim=1))),
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
