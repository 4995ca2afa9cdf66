"""Rigid motion between paired points, and ICP for points that are not paired: no scale, no reflection."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from vrn_lite.camera import Similarity
from vrn_lite.frame import require

Matrix = Float[np.ndarray, "4 4"]
Points = Float[np.ndarray, "_ 3"]
Cloud = Float[Tensor, "_ 3"]

STEPS = 200
"""ICP ends after so many steps at the latest."""


def rigid(source: Float[Tensor, "b n 3"], target: Float[Tensor, "b n 3"]) -> Similarity:
    """The rotation and translation that bring paired points closest, in the least-squares sense.

    Parameters
    ----------
    source, target : ``[b, n, 3]``, any frame; point n of one belongs to point n of the other.

    Returns
    -------
    Similarity of scale 1, ``rigid(source, target)(source)`` being close to `target`. The rotation is proper: a mirrored
    copy is turned, never mirrored back.

    Notes
    -----
    Kabsch's solution: with the singular values of target^T source = U S V^T, R = U diag(1, 1, det(U V^T)) V^T.
    """
    middle, goal = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    rotation = _rotation((target - goal).mT @ (source - middle))
    return Similarity(torch.ones_like(goal[:, 0, 0]), rotation, (goal - middle @ rotation.mT)[:, 0])


def _rotation(covariance: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 3 3"]:
    """Kabsch's rotation for target^T source, one of them centred."""
    u, _, vt = torch.linalg.svd(covariance)
    sign = torch.ones_like(covariance[:, 0])
    sign[:, 2] = torch.linalg.det(u @ vt).sign()  # -1 where the best orthogonal matrix is a reflection
    return (u * sign[:, None]) @ vt


class Alignment(NamedTuple):
    """What ICP found.

    Attributes
    ----------
    motion : moves the source onto the target; a batch of one.
    pairs : ``[m]``, for each of the m target points the number of its nearest moved source point.
    """

    motion: Similarity
    pairs: Int[Tensor, " m"]


def icp(source: Cloud, target: Cloud, *, points: int = 2000, seed: int = 0, tolerance: float = 1e-4) -> Alignment:
    """Iterative closest points: pair each target point with its nearest source point, move the source rigidly, repeat.

    Only the target's points look for partners: the source may have parts (a wall, a neck) that the target lacks.

    Parameters
    ----------
    source : ``[n, 3]``, the points that move, in the same frame as `target` and roughly in place.
    target : ``[m, 3]``, the points that stay.
    points : the motion is found on a random subset of so many target points, after a quick start on a quarter of them;
        the final pairs are for all.
    seed : of that subset.
    tolerance : stop once a step lowers the mean squared distance by a smaller share.

    Raises
    ------
    InputError : no points, or points that are not finite.
    """
    for name, given in (("source", source), ("target", target)):
        require(len(given) > 0, f"icp needs points, got an empty {name}")
        finite = bool(torch.isfinite(given).all())
        require(finite, f"icp needs finite points, got a {name} with NaN or infinity: mask those points out")
    cloud, goal = source.detach().cpu().double().numpy(), target.detach().cpu().double().numpy()
    tree = cKDTree(cloud, balanced_tree=False, compact_nodes=False)
    chosen = goal[torch.randperm(len(goal), generator=torch.Generator().manual_seed(seed))[:points].numpy()]
    motion = np.eye(4)
    for few in (chosen[: max(3, points // 4)], chosen):
        motion = _settle(tree, cloud, few, motion, tolerance)
    pairs = torch.from_numpy(_nearest(tree, motion, goal)[1])
    found = torch.from_numpy(motion[None])
    return Alignment(Similarity(found[:, 3, 3], found[:, :3, :3], found[:, :3, 3]), pairs)


def _settle(tree: cKDTree, source: Points, target: Points, motion: Matrix, tolerance: float) -> Matrix:
    """Repeat pairing and moving until the distances settle; motions are 4 x 4 matrices.

    Pairs slide along a smooth surface in many small steps alike, so each step is tried at three times its length first;
    where that gains nothing the plain step counts. The end is a fixed point of plain ICP, in a third of its steps.
    """
    middle = target.mean(0)
    spread = (target - middle).T
    ahead, cost = motion, float("inf")
    for _ in range(STEPS):
        gaps, pairs = _nearest(tree, ahead, target)
        now = float(gaps @ gaps) / len(gaps)
        if now > cost * (1 - tolerance):
            if ahead is motion:
                break
            ahead = motion
            continue
        partners = source[pairs]
        cost, motion = now, np.eye(4)
        motion[:3, :3] = _rotation(torch.from_numpy(spread @ partners)[None])[0]
        motion[:3, 3] = middle - motion[:3, :3] @ partners.mean(0)
        step = motion @ np.linalg.inv(ahead)
        ahead = step @ step @ motion
    return motion


def _nearest(tree: cKDTree, motion: Matrix, points: Points) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Distance and number of the nearest of the tree's points after `motion`; the tree stays, the points move back."""
    back = np.linalg.inv(motion)
    return tree.query(points @ back[:3, :3].T + back[:3, 3])
