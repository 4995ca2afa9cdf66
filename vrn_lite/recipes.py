"""How the weights are moved: optimiser, rate, averaging; the paper's recipe and a faster one."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vrn_lite.frame import require


@dataclass(frozen=True)
class Recipe:
    """How the weights are moved.

    Attributes
    ----------
    optimiser : "adamw" or "rmsprop".
    rate : learning rate after warm-up.
    warm_up : steps of linear warm-up; AdamW's alone.
    decay : the share of all samples, at the end, over which the rate falls.
    final : rate at the very end, as a share of `rate`; RMSProp drops to it at once, as in the paper.
    clip : largest gradient norm; 0 for none.
    ema : weights are averaged over the steps, each step counting `ema` times the next one (0.999, say), and the average
        is what training hands out; 0 for the last step's weights.
    sampled : estimate the loss of the volume by one voxel of each cell, another at every step (see
        `objective.voxel_loss`).
    """

    optimiser: str
    rate: float
    warm_up: int
    decay: float
    final: float
    clip: float
    weight_decay: float = 0.0
    ema: float = 0.0
    sampled: bool = False

    def __post_init__(self) -> None:
        require(self.optimiser in ("adamw", "rmsprop"), f"unknown optimiser {self.optimiser!r}: choose adamw or rmsprop")
        require(0 <= self.ema < 1, f"ema must lie in 0 to 1, 1 excluded, got {self.ema}")

    def optimiser_of(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimiser for a network's weights."""
        if self.optimiser == "adamw":
            return torch.optim.AdamW(network.parameters(), lr=self.rate, weight_decay=self.weight_decay)
        return torch.optim.RMSprop(network.parameters(), lr=self.rate)

    def average_of(self, network: nn.Module) -> AveragedModel | None:
        """A copy of the network that will follow it as an average over the steps, batch-norm statistics too."""
        return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(self.ema), use_buffers=True) if self.ema else None

    def rate_at(self, step: int, seen: float) -> float:
        """Learning rate at a step, when the share `seen` of all samples has gone by."""
        if self.optimiser == "rmsprop":
            return self.rate * (1.0 if seen < 1 - self.decay else self.final)
        left = min(1.0, max(0.0, (1 - seen) / max(self.decay, 1e-9)))
        return self.rate * min(1.0, (step + 1) / max(self.warm_up, 1)) * (self.final + (1 - self.final) * left)


RECIPES = {
    "paper": Recipe("rmsprop", 1e-4, warm_up=0, decay=0.5, final=0.1, clip=0.0),
    "fast": Recipe("adamw", 2e-3, warm_up=100, decay=0.35, final=0.01, clip=1.0, weight_decay=0.01, sampled=True),
}
"""The paper's recipe and one that learns faster.

Paper section 3.4: RMSProp at 1e-4, and at 1e-5 after 40 epochs; the number of epochs is not published, 80 are assumed. An
epoch is the 60,000 images of 300W-LP, so that the paper's run is `samples=PAPER_SAMPLES`. The paper's augmentation (rotation,
shift, scale, mirroring) is the default of `pairs.PoseRange`; the gain per colour channel is a part of `render`.

Neither averages: before the rate falls, an average (`ema=0.97`) is better than the last weights (tiny, 3,200 samples, held-out
IoU 0.625 against 0.556), after it there is nothing left to gain (0.628 against 0.629).
"""

PAPER_SAMPLES = 80 * 60_000
"""Samples of the paper's training: 40 epochs at 1e-4 and, assumed, 40 at 1e-5."""
