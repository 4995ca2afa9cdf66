"""How a trained network is asked: once, or averaged over mirrored and shifted copies of its image."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vrn_lite.frame import Grid, InputError, require
from vrn_lite.landmarks import mirror
from vrn_lite.memory import trim_malloc
from vrn_lite.networks.base import FaceNetwork, Guides, Images, LandmarkDetector, device_of, finds_landmarks, upsample

SHIFTS = ((-2, -1), (1, -2), (2, 1), (-1, 2))
"""Pixels (x, y) by which the image is moved for the answers that are averaged; each also mirrored."""

VOXELS_AT_ONCE = 2**22
"""Voxels answered together: two volumes at 128 pixels, sixteen at 64. More are quicker, but take more memory."""


@torch.inference_mode()
def probabilities(
    network: FaceNetwork, images: Images, test_time_augmentation: bool = True, landmarks: Guides = None
) -> Float[Tensor, "b d h w"]:
    """Probability of every voxel, for images in [0, 1], on the network's device.

    Parameters
    ----------
    test_time_augmentation : average the answers to eight copies of each image, mirrored and shifted by a pixel or two.
        The network works on a coarser grid than its image; the shifts take the pattern of that grid off the surface.
    landmarks : what VRN-Guided needs, x and y in the images' pixels; they are shifted and mirrored with the image.

    Raises
    ------
    InputError : a guided network without landmarks.
    """
    found = images.new_empty(0, *network.preset.grid.shape)
    for index, answer in enumerate(iter_probabilities(network, images, test_time_augmentation, landmarks)):
        found = found if index else answer.new_empty(len(images), *answer.shape)
        found[index] = answer
    return found


@torch.inference_mode()
def iter_probabilities(
    network: FaceNetwork, images: Images, test_time_augmentation: bool = True, landmarks: Guides = None
) -> Iterator[Float[Tensor, "d h w"]]:
    """The same answers in turn, to be looked at and dropped: at 128 pixels each takes 8 MiB, too much to keep many.

    A few are computed together (see `at_once`); a part of one, kept, keeps all of these.
    """
    images = images.to(device_of(network, images))
    points = None if landmarks is None else landmarks[..., :2].to(images)
    ask = _averaged if test_time_augmentation else _chances
    few = at_once(network.preset.grid)
    for start in range(0, len(images), few):
        part = slice(start, start + few)
        trim_malloc()
        yield from ask(network, images[part], None if points is None else points[part])


def at_once(grid: Grid) -> int:
    """How many images are asked together: as many as `VOXELS_AT_ONCE` allows, at least one."""
    return max(1, VOXELS_AT_ONCE // (grid.depth * grid.height * grid.width))


def _averaged(network: FaceNetwork, images: Images, points: Guides) -> Float[Tensor, "b d h w"]:
    """The mean of the answers to mirrored and shifted copies."""
    follows = network.target == "aligned"  # a frontal answer stays where it is when the image is shifted
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


def _chances(network: FaceNetwork, images: Images, points: Guides) -> Float[Tensor, "b d h w"]:
    """What the network sees in images, guided where it wants to be."""
    logits = network.predict(images, points).logits
    if logits is None:
        raise InputError(f"a {network.variant!r} network gives no volume: choose vrn, multitask or guided")
    return upsample(logits, images).sigmoid().float()


@torch.inference_mode()
def landmarks_in(
    detector: LandmarkDetector, images: Images, test_time_augmentation: bool = True
) -> Float[Tensor, "b 68 2"]:
    """The landmarks, x and y in pixels; with `test_time_augmentation`, means over each image and its mirror image."""
    images = images.to(device_of(detector, images))
    seen = detector.landmarks(images)
    return (
        (seen + mirror(detector.landmarks(images.flip(-1)), images.shape[-1])) / 2 if test_time_augmentation else seen
    )


def shift(images: Float[Tensor, "b c h w"], x: int, y: int) -> Float[Tensor, "b c h w"]:
    """Move images right and down by whole pixels; edges are repeated."""
    height, width = images.shape[-2:]
    left, top = max(x, 0), max(y, 0)
    padded = F.pad(images, (left, left - x, top, top - y), mode="replicate")
    return padded[..., top - y : top - y + height, left - x : left - x + width]


def check_detector(detector: LandmarkDetector, network: FaceNetwork) -> LandmarkDetector:
    """A detector, if it can guide a network.

    Raises
    ------
    InputError : the network wants no landmarks, or the detector finds none in its images.
    """
    guided = f"a detector is for the guided network, which {network.variant!r} is not: leave it out"
    require(network.guided, guided)
    require(finds_landmarks(detector), f"a detector needs `preset` and `landmarks(images)`: {type(detector).__name__}")
    size, wanted = detector.preset.grid, network.preset.grid
    same = (size.height, size.width) == (wanted.height, wanted.width)
    require(same, f"the detector is of preset {detector.preset.name!r}, the network of {network.preset.name!r}")
    return detector
