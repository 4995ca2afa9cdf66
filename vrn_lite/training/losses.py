"""What training makes small: of volumes, of landmarks, of vertices."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vrn_lite.landmarks import heatmaps


@lru_cache(maxsize=16)
def _bilinear(size_in: int, size_out: int, device: torch.device) -> Float[Tensor, "o i"]:
    """Bilinear resampling of one axis as a matrix (half-pixel centres, edges repeated)."""
    eye = torch.eye(size_in, device=device)[None]
    return F.interpolate(eye, size=size_out, mode="linear", align_corners=False)[0].T.contiguous()


class _CrossEntropyAtFullSize(torch.autograd.Function):
    """Mean sigmoid cross-entropy of bilinearly enlarged logits, slice by slice.

    The enlarged logits, four to sixteen times the network's own output, never exist as a whole: each chunk of slices is
    enlarged, compared, and its gradient brought back to the low resolution while it is in the cache. With
    m = |p - y|, the cross-entropy of a voxel is -log(1 - m), capped at 16.6 where float32 can no longer tell p from 0
    or 1.
    """

    CHUNK = {"cpu": 2**19, "cuda": 2**28}

    @staticmethod
    def forward(ctx, low_res_logits: Tensor, volumes: Tensor, phase: int | None) -> Tensor:
        slices, truth = low_res_logits.flatten(0, 1), volumes.flatten(0, 1)
        rows, columns = (_bilinear(slices.shape[axis], truth.shape[axis], low_res_logits.device) for axis in (1, 2))
        if phase is not None:
            # The voxels that stand for all: the same place in every cell.
            down, right = truth.shape[1] // slices.shape[1], truth.shape[2] // slices.shape[2]
            top, left = phase // right % down, phase % right
            rows, columns, truth = rows[top::down], columns[left::right], truth[:, top::down, left::right]
        gradient = torch.empty(slices.shape, device=low_res_logits.device)
        total = torch.zeros((), device=low_res_logits.device, dtype=torch.float64)
        step = max(1, _CrossEntropyAtFullSize.CHUNK.get(low_res_logits.device.type, 2**19) // truth[0].numel())
        for start in range(0, len(slices), step):
            chunk = slice(start, start + step)
            miss = (rows @ slices[chunk].float() @ columns.T).sigmoid_().sub_(truth[chunk].float())
            gradient[chunk] = rows.T @ miss @ columns
            # A chunk's own sum is exact enough.
            total -= miss.abs_().clamp_(max=1 - 2**-24).neg_().log1p_().sum().double()
        ctx.save_for_backward(gradient.div_(truth.numel()).view(low_res_logits.shape).to(low_res_logits.dtype))
        return (total / truth.numel()).float()

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.to(gradient.dtype), None, None


def voxel_loss(
    low_res_logits: Float[Tensor, "b d H W"], volumes: Bool[Tensor, "b d h w"], phase: int | None = None
) -> Float[Tensor, ""]:
    """Sigmoid cross-entropy per voxel, unweighted (paper equation 1, as a mean); float32 inside autocast too.

    Parameters
    ----------
    low_res_logits : ``[b, d, H, W]``, logits before the last bilinear step (`Prediction.logits`).
    volumes : ``[b, d, h, w]``, bool. Equal to the loss of the enlarged logits, but faster.
    phase : None for all voxels. Else one voxel of every cell of ``f x f`` stands for it, the one in row ``phase // f``
        and column ``phase % f`` (modulo f): a quarter or a sixteenth of the work, and over all phases the mean is the
        whole loss exactly, so that a phase drawn at random estimates it without bias.
    """
    # In bfloat16 a voxel that is sure and wrong would cost infinity.
    with torch.autocast(low_res_logits.device.type, enabled=False):
        return _CrossEntropyAtFullSize.apply(low_res_logits, volumes, phase)


def landmark_loss(
    logits: Float[Tensor, "b l H W"], landmarks: Float[Tensor, "b l n"], sigma: float = 1.0
) -> Float[Tensor, ""]:
    """How far the softmax of each map is from a Gaussian around the landmark: the mean Kullback-Leibler divergence.

    `landmarks` are in cells of the maps. At its minimum, 0, `decode` gives the landmarks back.
    """
    truth = heatmaps(landmarks, logits.shape[-2], logits.shape[-1], sigma).flatten(-2)
    return F.kl_div(logits.float().flatten(-2).log_softmax(-1), truth, reduction="none").sum(-1).mean()


def square_loss(found: Float[Tensor, "b n 3"], truth: Float[Tensor, "b n 3"], size: float) -> Float[Tensor, ""]:
    """Mean squared Euclidean distance of vertices, over the face's size squared: plain L2."""
    return ((found - truth) / size).square().sum(-1).mean()
