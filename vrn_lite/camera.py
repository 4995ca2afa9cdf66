"""Scaled orthographic camera: from the model frame (y up, z to the viewer) to the voxel frame, and back.

::

    p = s diag(1, -1, -1) Rz(roll) Rx(pitch) Ry(yaw) x + t

Positive yaw turns the nose to +x, positive pitch moves it down. diag(1, -1, -1) is a rotation, so winding is kept.
A pixel's ray is a column of the volume: perspective would break that.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.frame import FACE_SIZE, Grid, Landmarks

Angles = Float[Tensor, " b"]

PIVOT_BEHIND_LANDMARKS = 0.4
"""The head turns about the landmarks' mean, moved back by this many outer interocular distances."""


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation @ x + translation, batched: ``[b]``, ``[b, 3, 3]`` and ``[b, 3]``."""

    scale: Float[Tensor, " b"]
    rotation: Float[Tensor, "b 3 3"]
    translation: Float[Tensor, "b 3"]

    def __call__(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        """Move points ``[b, n, 3]``."""
        return torch.baddbmm(self.translation[:, None], points, (self.scale[:, None, None] * self.rotation).mT)

    def inverse(self) -> "Similarity":
        """The motion back."""
        back = self.rotation.mT / self.scale[:, None, None]
        return Similarity(1 / self.scale, self.rotation.mT, -(back @ self.translation[..., None])[..., 0])

    def compose(self, other: "Similarity") -> "Similarity":
        """This motion first, `other` after it."""
        translation = other(self.translation[:, None])[:, 0]
        return Similarity(other.scale * self.scale, other.rotation @ self.rotation, translation)

    def to(self, device: torch.device | str) -> "Similarity":
        """A copy on `device`."""
        return Similarity(self.scale.to(device), self.rotation.to(device), self.translation.to(device))


def rotation_matrix(yaw: Angles, pitch: Angles, roll: Angles) -> Float[Tensor, "b 3 3"]:
    """Rz(roll) Rx(pitch) Ry(yaw) in the model frame, angles in degrees.

    Examples
    --------
    >>> zero, right, nose = torch.zeros(1), torch.tensor([90.0]), torch.tensor([0.0, 0.0, 1.0])
    >>> (rotation_matrix(right, zero, zero)[0] @ nose).round().abs().tolist()
    [1.0, 0.0, 0.0]
    """
    angles = torch.stack((yaw, pitch, roll)).deg2rad()
    (cy, cp, cr), (sy, sp, sr) = angles.cos(), angles.sin()
    one, nil = torch.ones_like(cy), torch.zeros_like(cy)
    about_y = torch.stack((cy, nil, sy, nil, one, nil, -sy, nil, cy), -1).reshape(-1, 3, 3)
    about_x = torch.stack((one, nil, nil, nil, cp, -sp, nil, sp, cp), -1).reshape(-1, 3, 3)
    about_z = torch.stack((cr, -sr, nil, sr, cr, nil, nil, nil, one), -1).reshape(-1, 3, 3)
    return about_z @ about_x @ about_y


def crop_camera(
    landmarks: Landmarks, yaw: Angles, pitch: Angles, roll: Angles, interocular: float, grid: Grid
) -> Similarity:
    """The camera that crops a posed head as the paper does, from the model frame to the voxel frame.

    The box of the posed, projected landmarks ``[b, 68, 3]`` gets sqrt(width * height) = 90 px of 192 and its centre
    goes to the image's centre; the pivot (the landmarks' mean, 0.4 `interocular` further back in the head's own frame)
    stands at 0.48 of the grid's depth. `interocular` is the source's outer interocular distance.
    """
    toward_viewer = torch.tensor([1.0, -1.0, -1.0], device=landmarks.device)
    rotation = toward_viewer[:, None] * rotation_matrix(yaw, pitch, roll)
    turned = landmarks @ rotation.mT
    low, high = turned[..., :2].amin(1), turned[..., :2].amax(1)
    scale = FACE_SIZE * grid.side / (high - low).prod(-1).sqrt()
    back = torch.tensor([0.0, 0.0, -PIVOT_BEHIND_LANDMARKS * interocular], device=landmarks.device)
    pivot = (rotation @ (landmarks.mean(1) + back)[..., None])[..., 0]
    anchor = torch.cat([(low + high) / 2, pivot[:, 2:]], -1)
    centre = torch.tensor(grid.centre, device=landmarks.device)
    return Similarity(scale, rotation, centre - scale[:, None] * anchor)


def jitter(angle: Angles, shift: Float[Tensor, "b 2"], zoom: Float[Tensor, " b"], grid: Grid) -> Similarity:
    """The paper's jitter in the voxel frame (section 3.4), about the image's centre and the pivot's depth.

    Parameters
    ----------
    angle : in-plane rotation in degrees (paper: -45 to 45), clockwise on the screen.
    shift : translation x, y in pixels of a 192 px image (paper: -15 to 15), scaled to the grid's side.
    zoom : scale (paper: 0.85 to 1.15); it scales the depth too.
    """
    nil = torch.zeros_like(angle)
    rotation = rotation_matrix(nil, nil, angle)  # y points down here, so the same matrix turns clockwise
    centre = torch.tensor(grid.centre, device=angle.device)
    moved = torch.cat([shift * grid.side / 192, nil[:, None]], -1)
    turned = zoom[:, None] * (rotation @ centre[:, None])[..., 0]
    return Similarity(zoom, rotation, centre + moved - turned)
