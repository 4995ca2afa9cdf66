"""How the weights are moved: optimiser, learning rate, clipping, averaging; the paper's way and a faster one."""

from dataclasses import dataclass
from math import cos, pi

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vrn_lite.frame import require

OPTIMISERS = ("adamw", "rmsprop")
SCHEDULES = ("linear", "cosine", "step")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How the weights are moved.

    Attributes
    ----------
    optimiser : "adamw" or "rmsprop".
    lr : learning rate after warm-up.
    schedule : how the rate falls at the end: "linear", "cosine", or "step", at once, as in the paper.
    warm_up : steps of linear warm-up.
    decay : the share of all samples, at the end, over which the rate falls.
    final : rate at the very end, as a share of `lr`.
    clip : largest gradient norm; 0 for none.
    weight_decay : a step takes `lr` times so much off each weight.
    alpha : RMSProp's memory of squared gradients, 0 to 1.
    ema : weights are averaged over the steps, each step counting `ema` times the next one (0.999, say), and the average
        is what training hands out; 0 for the last step's weights.
    sampled : estimate the loss of the volume by one voxel of each cell, another at every step (see
        `losses.voxel_loss`).
    """

    optimiser: str = "adamw"
    lr: float = 2e-3
    schedule: str = "linear"
    warm_up: int = 0
    decay: float = 0.35
    final: float = 0.01
    clip: float = 0.0
    weight_decay: float = 0.0
    alpha: float = 0.99
    ema: float = 0.0
    sampled: bool = False

    def __post_init__(self) -> None:
        known = self.optimiser in OPTIMISERS
        require(known, f"unknown optimiser {self.optimiser!r}: choose one of {', '.join(OPTIMISERS)}")
        known = self.schedule in SCHEDULES
        require(known, f"unknown schedule {self.schedule!r}: choose one of {', '.join(SCHEDULES)}")
        require(0 <= self.ema < 1, f"ema must lie in 0 to 1, 1 excluded, got {self.ema}")
        require(0 <= self.alpha < 1, f"alpha must lie in 0 to 1, 1 excluded, got {self.alpha}")
        require(self.lr > 0, f"lr must be above 0, got {self.lr}")

    def optimiser_of(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimiser for a network's weights."""
        weights = network.parameters()
        if self.optimiser == "adamw":
            return torch.optim.AdamW(weights, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.RMSprop(weights, lr=self.lr, alpha=self.alpha, weight_decay=self.weight_decay)

    def average_of(self, network: nn.Module) -> AveragedModel | None:
        """A copy of the network that will follow it as an average over the steps, batch-norm statistics too."""
        if not self.ema:
            return None
        return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(self.ema), use_buffers=True)

    def lr_at(self, step: int, seen: float) -> float:
        """Learning rate at a step, when the share `seen` of all samples has gone by."""
        # 1. It rises over the first steps.
        risen = min(1.0, (step + 1) / max(self.warm_up, 1))
        # 2. It stays, until a share `decay` of the training is left: 1 then, 0 at the end.
        left = min(1.0, max(0.0, (1 - seen) / max(self.decay, 1e-9)))
        # 3. It falls to its final value.
        if self.schedule == "step":
            left = 1.0 if seen < 1 - self.decay else 0.0
        elif self.schedule == "cosine":
            left = (1 - cos(pi * left)) / 2
        return self.lr * risen * (self.final + (1 - self.final) * left)


OPTIMS = {
    "paper": OptimConfig(optimiser="rmsprop", lr=1e-4, schedule="step", decay=0.5, final=0.1),
    "fast": OptimConfig(lr=2e-3, warm_up=100, decay=0.35, final=0.01, clip=1.0, weight_decay=0.01, sampled=True),
}
"""The paper's way and one that learns faster.

Paper section 3.4: RMSProp at 1e-4, and at 1e-5 after 40 epochs; the number of epochs is not published, 80 are assumed.
An epoch is the 60,000 images of 300W-LP, so that the paper's run is `samples=PAPER_SAMPLES`. The paper's augmentation
(rotation, shift, scale, mirroring) is the default of `pairs.PoseRange`; the gain per colour channel is a part of
`render`.

Neither averages: before the rate falls, an average (`ema=0.97`) is better than the last weights (tiny, 3,200 samples,
held-out IoU 0.625 against 0.556), after it there is nothing left to gain (0.628 against 0.629).
"""

PAPER_SAMPLES = 80 * 60_000
"""Samples of the paper's training: 40 epochs at 1e-4 and, assumed, 40 at 1e-5."""


def optim_named(name: str | OptimConfig) -> OptimConfig:
    """The configuration of that name (an `OptimConfig` passes through).

    Raises
    ------
    InputError : there is none.
    """
    if isinstance(name, OptimConfig):
        return name
    require(name in OPTIMS, f"unknown optim {name!r}: choose one of {', '.join(OPTIMS)}")
    return OPTIMS[name]
