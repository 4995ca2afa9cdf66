"""How a trained network is asked: once, or averaged over mirrored and shifted copies of its image."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vrn_lite.frame import Grid, InputError
from vrn_lite.landmarks import mirror
from vrn_lite.memory import give_back
from vrn_lite.networks.vrn import VRN, GuidedVRN, LandmarkNetwork, MultitaskVRN, UnalignedVRN

SHIFTS = ((-2, -1), (1, -2), (2, 1), (-1, 2))
"""Pixels (x, y) by which the image is moved for the answers that are averaged; each also mirrored."""

VOXELS_AT_ONCE = 2**22
"""Voxels answered together: two volumes at 128 pixels, sixteen at 64. More of them are quicker, but take more memory."""

VolumeNetwork = VRN | GuidedVRN | MultitaskVRN


@torch.inference_mode()
def probabilities(
    network: VolumeNetwork, images: Float[Tensor, "b 3 h w"], average: bool = True, landmarks: Float[Tensor, "b 68 n"] | None = None
) -> Float[Tensor, "b d h w"]:
    """Probability of every voxel, for images in [0, 1], on the network's device.

    Parameters
    ----------
    average : average the answers to eight copies of each image, mirrored and shifted by a pixel or two. The network works
        on a coarser grid than its image, and the shifts take the pattern of that grid off the surface.
    landmarks : what VRN-Guided needs, x and y in the images' pixels; they are shifted and mirrored with the image.

    Raises
    ------
    InputError : a guided network without landmarks.
    """
    found = images.new_empty(0, *network.preset.grid.shape)
    for index, answer in enumerate(one_by_one(network, images, average, landmarks)):
        found = found if index else answer.new_empty(len(images), *answer.shape)
        found[index] = answer
    return found


@torch.inference_mode()
def one_by_one(
    network: VolumeNetwork, images: Float[Tensor, "b 3 h w"], average: bool = True, landmarks: Float[Tensor, "b 68 n"] | None = None
) -> Iterator[Float[Tensor, "d h w"]]:
    """The same answers in turn, to be looked at and dropped: at 128 pixels each takes 8 MiB, too much to keep many.

    A few are computed together (see `at_once`); a part of one, kept, keeps all of these.
    """
    images = images.to(next(network.parameters()).device)
    points = None if landmarks is None else landmarks[..., :2].to(images)
    ask = _averaged if average else _chances
    few = at_once(network.preset.grid)
    for start in range(0, len(images), few):
        part = slice(start, start + few)
        give_back()
        yield from ask(network, images[part], None if points is None else points[part])


def at_once(grid: Grid) -> int:
    """How many images are asked together: as many as `VOXELS_AT_ONCE` allows, at least one."""
    return max(1, VOXELS_AT_ONCE // (grid.depth * grid.height * grid.width))


def _averaged(network: VolumeNetwork, images: Float[Tensor, "b 3 h w"], points: Float[Tensor, "b 68 2"] | None) -> Float[Tensor, "b d h w"]:
    """The mean of the answers to mirrored and shifted copies."""
    follows = not isinstance(network, UnalignedVRN)  # its answer stays where it is when the image is shifted
    total: Tensor | None = None
    for x, y in SHIFTS:
        shifted, moved = shift(images, x, y), None if points is None else points + points.new_tensor([x, y])
        flipped = None if moved is None else mirror(moved, images.shape[-1])
        answer = _chances(network, shifted, moved)
        answer += _chances(network, shifted.flip(-1), flipped).flip(-1)
        answer = shift(answer, -x, -y) if follows else answer
        total = answer if total is None else total.add_(answer)
    assert total is not None
    return total.div_(2 * len(SHIFTS))


def _chances(network: VolumeNetwork, images: Float[Tensor, "b 3 h w"], points: Float[Tensor, "b 68 2"] | None) -> Float[Tensor, "b d h w"]:
    """What the network sees in images, guided where it wants to be."""
    if not isinstance(network, GuidedVRN):
        return network(images).sigmoid().float()
    if points is None:
        raise InputError("a guided network needs landmarks: give them, x and y in the image's pixels")
    return network(images, points).sigmoid().float()


@torch.inference_mode()
def landmarks_in(detector: LandmarkNetwork, images: Float[Tensor, "b 3 h w"], average: bool = True) -> Float[Tensor, "b 68 2"]:
    """The landmarks, x and y in pixels; with `average`, the means over each image and its mirror image."""
    images = images.to(next(detector.parameters()).device)
    seen = detector.landmarks(images)
    return (seen + mirror(detector.landmarks(images.flip(-1)), images.shape[-1])) / 2 if average else seen


def shift(images: Float[Tensor, "b c h w"], x: int, y: int) -> Float[Tensor, "b c h w"]:
    """Move images right and down by whole pixels; edges are repeated."""
    height, width = images.shape[-2:]
    left, top = max(x, 0), max(y, 0)
    padded = F.pad(images, (left, left - x, top, top - y), mode="replicate")
    return padded[..., top - y : top - y + height, left - x : left - x + width]
