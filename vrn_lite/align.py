"""Rigid motion between paired points, and ICP for points that are not paired: no scale, no reflection."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from vrn_lite.camera import Similarity
from vrn_lite.frame import require

Matrix = Float[np.ndarray, "4 4"]


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


def orthographic(points: Float[Tensor, "b n 3"], image: Float[Tensor, "b n 2"]) -> Similarity:
    """The scaled orthographic camera that projects points closest to where an image shows them, up to its depth.

    Parameters
    ----------
    points : ``[b, n, 3]``, the model's points, not in one plane; in the model frame.
    image : ``[b, n, 2]``, x and y in pixels.

    Returns
    -------
    Similarity whose x and y are the projection; points' mean goes to depth 0, which an orthographic image cannot tell.

    Notes
    -----
    The best linear map A = image^T points (points^T points)^-1 of the centred points, with its two singular values set
    to their mean, the scale; the third row of the rotation is the cross product of the first two.
    """
    middle, goal = points.mean(1, keepdim=True), image.mean(1, keepdim=True)
    linear = torch.linalg.lstsq(points - middle, image - goal).solution.mT  # [b, 2, 3]
    u, sizes, vt = torch.linalg.svd(linear, full_matrices=False)
    rows = u @ vt
    rotation = torch.cat((rows, torch.linalg.cross(rows[:, :1], rows[:, 1:])), 1)
    scale = sizes.mean(-1)
    shift = torch.cat((goal, torch.zeros_like(goal[..., :1])), -1) - scale[:, None, None] * (middle @ rotation.mT)
    return Similarity(scale, rotation, shift[:, 0])


@dataclass(frozen=True)
class Alignment:
    """What ICP found.

    Attributes
    ----------
    motion : moves the source onto the target; a batch of one.
    pairs : ``[m]``, for each of the m target points the number of its nearest moved source point.
    """

    motion: Similarity
    pairs: Int[Tensor, " m"]


def icp(
    source: Float[Tensor, "n 3"],
    target: Float[Tensor, "m 3"],
    *,
    points: int = 2000,
    seed: int = 0,
    steps: int = 200,
    tolerance: float = 1e-4,
) -> Alignment:
    """Iterative closest points: pair each target point with its nearest source point, move the source rigidly, repeat.

    Only the target's points look for partners: the source may have parts (a wall, a neck) that the target lacks.

    Parameters
    ----------
    source : ``[n, 3]``, the points that move, in the same frame as `target` and roughly in place.
    target : ``[m, 3]``, the points that stay.
    points : the motion is found on a random subset of so many target points, after a quick start on a quarter of them;
        the final pairs are for all.
    seed : of that subset.
    steps, tolerance : stop after so many steps, or once a step lowers the mean squared distance by a smaller share.

    Raises
    ------
    InputError : no points, or points that are not finite.
    """
    for name, given in (("source", source), ("target", target)):
        require(len(given) > 0, f"icp needs points, got an empty {name}")
        require(
            bool(torch.isfinite(given).all()),
            f"icp needs finite points, got a {name} with NaN or infinity: mask those points out",
        )
    cloud, goal = source.detach().cpu().double().numpy(), target.detach().cpu().double().numpy()
    tree = cKDTree(cloud, balanced_tree=False, compact_nodes=False)
    chosen = goal[torch.randperm(len(goal), generator=torch.Generator().manual_seed(seed))[:points].numpy()]
    motion = np.eye(4)
    for few in (chosen[: max(3, points // 4)], chosen):
        motion = _settle(tree, cloud, few, motion, steps, tolerance)
    rotation, translation = torch.from_numpy(motion[None, :3, :3]), torch.from_numpy(motion[None, :3, 3])
    return Alignment(
        Similarity(torch.ones_like(translation[:, 0]), rotation, translation),
        torch.from_numpy(_nearest(tree, motion, goal)[1]),
    )


def _settle(
    tree: cKDTree,
    source: Float[np.ndarray, "n 3"],
    target: Float[np.ndarray, "m 3"],
    motion: Matrix,
    steps: int,
    tolerance: float,
) -> Matrix:
    """Repeat pairing and moving until the distances settle; motions are 4 x 4 matrices.

    Pairs slide along a smooth surface in many small steps alike, so each step is tried at three times its length first;
    where that gains nothing the plain step counts. The end is a fixed point of plain ICP, in a third of its steps.
    """
    middle = target.mean(0)
    spread = (target - middle).T
    ahead, cost = motion, float("inf")
    for _ in range(steps):
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


def _nearest(
    tree: cKDTree, motion: Matrix, points: Float[np.ndarray, "m 3"]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Distance and number of the nearest of the tree's points after `motion`; the tree stays, the points move back."""
    back = np.linalg.inv(motion)
    return tree.query(points @ back[:3, :3].T + back[:3, 3])
