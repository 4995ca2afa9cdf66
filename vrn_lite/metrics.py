"""How good a reconstruction is: intersection over union."""

from jaxtyping import Bool, Float
from torch import Tensor


def iou(predicted: Bool[Tensor, "*b d h w"], truth: Bool[Tensor, "*b d h w"]) -> Float[Tensor, "*b"]:
    """Intersection over union of two solids, per sample; 1 where both are empty."""
    union = (predicted | truth).sum((-3, -2, -1))
    shared = (predicted & truth).sum((-3, -2, -1))
    return (shared + (union == 0)) / union.clamp(min=1)
