"""What training makes small: the losses, and a network together with its own."""

from functools import lru_cache
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import FACE_SIZE, InputError, require
from vrn_lite.landmarks import decode, heatmaps
from vrn_lite.networks.regression import Estimate, Regression, Trainable, VertexRegression, exactly
from vrn_lite.networks.vrn import GuidedVRN, LandmarkHourglass, MultitaskVRN, Network


@lru_cache(maxsize=16)
def _bilinear(size_in: int, size_out: int, device: torch.device) -> Float[Tensor, "o i"]:
    """Bilinear resampling of one axis as a matrix (half-pixel centres, edges repeated)."""
    eye = torch.eye(size_in, device=device)[None]
    return F.interpolate(eye, size=size_out, mode="linear", align_corners=False)[0].T.contiguous()


class _CrossEntropyAtFullSize(torch.autograd.Function):
    """Mean sigmoid cross-entropy of bilinearly enlarged logits, slice by slice.

    The enlarged logits, four to sixteen times the network's own output, never exist as a whole: each chunk of slices is
    enlarged, compared, and its gradient brought back to the coarse grid while it is in the cache. With m = |p - y|, the
    cross-entropy of a voxel is -log(1 - m), capped at 16.6 where float32 can no longer tell p from 0 or 1.
    """

    CHUNK = {"cpu": 2**19, "cuda": 2**28}

    @staticmethod
    def forward(ctx, coarse: Tensor, volumes: Tensor, phase: int | None) -> Tensor:
        slices, truth = coarse.flatten(0, 1), volumes.flatten(0, 1)
        rows, columns = (_bilinear(slices.shape[axis], truth.shape[axis], coarse.device) for axis in (1, 2))
        if phase is not None:
            (top, down), (left, right) = _phases(slices.shape, truth.shape, phase)
            rows, columns, truth = rows[top::down], columns[left::right], truth[:, top::down, left::right]
        gradient = torch.empty(slices.shape, device=coarse.device)
        total = torch.zeros((), device=coarse.device, dtype=torch.float64)
        step = max(1, _CrossEntropyAtFullSize.CHUNK.get(coarse.device.type, 2**19) // truth[0].numel())
        for start in range(0, len(slices), step):
            chunk = slice(start, start + step)
            miss = (rows @ slices[chunk].float() @ columns.T).sigmoid_().sub_(truth[chunk].float())
            gradient[chunk] = rows.T @ miss @ columns
            total -= miss.abs_().clamp_(max=1 - 2**-24).neg_().log1p_().sum().double()  # a chunk's own sum is exact enough
        ctx.save_for_backward(gradient.div_(truth.numel()).view(coarse.shape).to(coarse.dtype))
        return (total / truth.numel()).float()

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.to(gradient.dtype), None, None


def _phases(coarse: torch.Size, full: torch.Size, phase: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """First index and stride, of rows and of columns, of the voxels that stand for all: the same place in every cell."""
    down, right = full[-2] // coarse[-2], full[-1] // coarse[-1]
    return (phase // right % down, down), (phase % right, right)


def voxel_loss(
    coarse: Float[Tensor, "b d H W"], volumes: Bool[Tensor, "b d h w"], phase: int | None = None
) -> Float[Tensor, ""]:
    """Sigmoid cross-entropy per voxel, unweighted (paper equation 1, as a mean); float32 inside autocast too.

    Parameters
    ----------
    coarse : ``[b, d, H, W]``, logits before the last bilinear step (`VRN.coarse`).
    volumes : ``[b, d, h, w]``, bool. Equal to the loss of the enlarged logits, but faster.
    phase : None for all voxels. Else one voxel of every cell of ``f x f`` stands for it, the one in row ``phase // f`` and
        column ``phase % f`` (modulo f): a quarter or a sixteenth of the work, and over all phases the mean is the whole
        loss exactly, so that a phase drawn at random estimates it without bias.
    """
    with torch.autocast(coarse.device.type, enabled=False):  # in bfloat16 a voxel that is sure and wrong costs infinity
        return _CrossEntropyAtFullSize.apply(coarse, volumes, phase)


def landmark_loss(logits: Float[Tensor, "b l H W"], landmarks: Float[Tensor, "b l n"], sigma: float = 1.0) -> Float[Tensor, ""]:
    """How far the softmax of each map is from a Gaussian around the landmark: the mean Kullback-Leibler divergence.

    `landmarks` are in cells of the maps. At its minimum, 0, `decode` gives the landmarks back.
    """
    truth = heatmaps(landmarks, logits.shape[-2], logits.shape[-1], sigma).flatten(-2)
    return F.kl_div(logits.float().flatten(-2).log_softmax(-1), truth, reduction="none").sum(-1).mean()


PRIOR = 1e-4
"""Weight of the mean squares of identity and expression coefficients against the vertices' distances."""

SPARSE = 1000
"""About so many vertices of the face patch stand for all in the loss of `ParameterRegression`."""


def distance_loss(found: Float[Tensor, "b n 3"], truth: Float[Tensor, "b n 3"], size: float) -> Float[Tensor, ""]:
    """Mean Euclidean distance of vertices, over the face's size: 3DDFA's vertex distance cost."""
    return (found - truth).norm(dim=-1).mean() / size


def square_loss(found: Float[Tensor, "b n 3"], truth: Float[Tensor, "b n 3"], size: float) -> Float[Tensor, ""]:
    """Mean squared Euclidean distance of vertices, over the face's size squared: plain L2."""
    return ((found - truth) / size).square().sum(-1).mean()


class Outcome(NamedTuple):
    """What a network makes of a batch: the loss, and, where it has them, other things.

    Attributes
    ----------
    coarse : coarse logits of the volume.
    landmarks : in pixels.
    vertices : of the face patch, voxel frame, without gradient.
    """

    loss: Float[Tensor, ""]
    coarse: Float[Tensor, "b d H W"] | None
    landmarks: Float[Tensor, "b 68 2"] | None
    vertices: Float[Tensor, "b n 3"] | None = None


Answers = tuple[Tensor | None, Tensor | None]
"""Coarse logits of the volume, and logits of the heat-maps; None for what a network does not give."""


def _channels_last(gradient: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
    """The losses' gradients in the order that the network's own have: another one slows all that comes before it."""
    return gradient.contiguous(memory_format=torch.channels_last)


class Objective(nn.Module):
    """A network with the loss that trains it.

    Parameters
    ----------
    network : trained in place; the names of its weights stay what they are.
    compile : run the network through `torch.compile`. The network itself is left alone, for use at other sizes. Not for
        networks that regress numbers.
    face : the face model that networks which regress numbers are trained with, on their device; others do without.
    """

    def __init__(self, network: Trainable, compile: bool = False, face: MorphableFace | None = None) -> None:
        super().__init__()
        self.network, self.face = network, face
        self.answers = torch.compile(self._answers) if compile else self._answers

    def _answers(self, images: Tensor, landmarks: Tensor) -> Answers:
        """What the network says of a batch, at its own resolution; true landmarks guide where guidance is wanted."""
        network = cast(Network, self.network)  # `forward` keeps the others away
        if isinstance(network, LandmarkHourglass):
            return None, network(images)
        if isinstance(network, MultitaskVRN):
            return network.tasks(images)
        return (network.coarse(images, landmarks) if isinstance(network, GuidedVRN) else network.coarse(images)), None

    def forward(
        self,
        images: Tensor,
        volumes: Tensor,
        landmarks: Tensor,
        vertices: Tensor | None = None,
        phase: int | None = None,
    ) -> Outcome:
        """The outcome of a batch of pairs; the two losses of VRN-Multitask count alike (paper section 3.3).

        `vertices` ``[b, p, 3]`` are the true ones of the face patch, for networks that regress numbers. `phase` chooses
        the voxels that stand for all (see `voxel_loss`).
        """
        if isinstance(self.network, Regression):
            return self._regressed(self.network, images, vertices)
        cell = self.network.preset.network.cell
        coarse, maps = self.answers(images, landmarks)
        for answer in (coarse, maps):
            if answer is not None and answer.requires_grad:
                answer.register_hook(_channels_last)
        with torch.autocast(images.device.type, enabled=False):  # low precision is for the network alone
            losses = [] if coarse is None else [voxel_loss(coarse, volumes, phase)]
            losses += [] if maps is None else [landmark_loss(maps, landmarks / cell)]
            return Outcome(torch.stack(losses).sum(), coarse, None if maps is None else cell * decode(maps.detach().float()))

    def _regressed(self, network: Regression, images: Tensor, truth: Tensor | None) -> Outcome:
        """The outcome of a network that regresses numbers: plain L2 for vertices, distances over all rounds for parameters."""
        size, face = FACE_SIZE * network.preset.grid.side, self.face
        if truth is None or face is None:
            raise InputError(f"a {network.variant!r} network is trained with its face model and the true vertices of the patch: give `face` and `vertices`")
        if isinstance(network, VertexRegression):
            found = network(images)
            same = f"the network regresses {found.shape[1]} vertices, the face patch has {truth.shape[1]}: use the face model that it was built for"
            require(found.shape == truth.shape, same)
            return Outcome(square_loss(found, truth, size), None, None, found.detach())
        estimates = network.estimates(images, face)
        with exactly(images):
            loss = torch.stack([self._misfit(estimate, face, truth, size) for estimate in estimates]).sum()
            return Outcome(loss, None, None, estimates[-1].detached().points(face, face.patch_vertices))

    @staticmethod
    def _misfit(estimate: Estimate, face: MorphableFace, truth: Tensor, size: float) -> Tensor:
        """Distance of some vertices, and how far the coefficients are from the mean face's."""
        some = slice(None, None, max(1, len(face.patch_vertices) // SPARSE))
        prior = estimate.identity.square().mean() + estimate.expression.square().mean()
        return distance_loss(estimate.points(face, face.patch_vertices[some]), truth[:, some], size) + PRIOR * prior
