"""Losses, the training loop as a generator of records, checkpoints, and the weights that ship."""

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import InputError, require
from vrn_lite.landmarks import decode, heatmaps
from vrn_lite.metrics import iou, landmark_nme
from vrn_lite.networks.vrn import VRN, GuidedVRN, LandmarkHourglass, MultitaskVRN, Network, UnalignedVRN
from vrn_lite.pairs import FacePairs, make_pairs, unaligned
from vrn_lite.presets import Preset

VARIANTS: dict[str, Callable[[Preset | str], Network]] = {
    "vrn": VRN,
    "multitask": MultitaskVRN,
    "guided": GuidedVRN,
    "landmarks": LandmarkHourglass,
    "unaligned": UnalignedVRN,
    "guided_sigma2": partial(GuidedVRN, sigma=2.0),
}
"""Trainable networks by name."""


@dataclass(frozen=True)
class Recipe:
    """How the weights are moved.

    Attributes
    ----------
    optimiser : "adamw" or "rmsprop".
    rate : learning rate after warm-up.
    warm_up : steps of linear warm-up.
    decay : the share of all samples, at the end, over which the rate falls.
    final : rate at the very end, as a share of `rate`; the paper drops to a tenth at once.
    clip : largest gradient norm; 0 for none.
    """

    optimiser: str
    rate: float
    warm_up: int
    decay: float
    final: float
    clip: float
    weight_decay: float = 0.0

    def optimiser_of(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimiser for a network's weights."""
        if self.optimiser == "adamw":
            return torch.optim.AdamW(network.parameters(), lr=self.rate, weight_decay=self.weight_decay)
        return torch.optim.RMSprop(network.parameters(), lr=self.rate)

    def rate_at(self, step: int, seen: float) -> float:
        """Learning rate at a step, when the share `seen` of all samples has gone by."""
        if self.optimiser == "rmsprop":
            return self.rate * (1.0 if seen < 1 - self.decay else self.final)
        left = min(1.0, max(0.0, (1 - seen) / max(self.decay, 1e-9)))
        return self.rate * min(1.0, (step + 1) / max(self.warm_up, 1)) * (self.final + (1 - self.final) * left)


RECIPES = {
    "paper": Recipe("rmsprop", 1e-4, warm_up=0, decay=0.5, final=0.1, clip=0.0),
    "fast": Recipe("adamw", 2e-3, warm_up=100, decay=0.35, final=0.01, clip=1.0, weight_decay=0.01),
}
"""The paper's recipe (section 3.4: RMSProp at 1e-4, after 40 epochs 1e-5) and one that learns faster."""


@dataclass(frozen=True)
class Record:
    """What one step of training reports: step and samples so far, loss, IoU and landmark NME of the batch, rate, samples a second, seconds."""

    step: int
    samples: int
    loss: float
    iou: float
    landmark_nme: float
    rate: float
    samples_per_second: float
    seconds: float


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
    def forward(ctx, coarse: Tensor, volumes: Tensor) -> Tensor:
        slices, truth = coarse.flatten(0, 1), volumes.flatten(0, 1)
        rows, columns = (_bilinear(slices.shape[axis], truth.shape[axis], coarse.device) for axis in (1, 2))
        gradient = torch.empty(slices.shape, device=coarse.device)
        total = torch.zeros((), device=coarse.device, dtype=torch.float64)
        step = max(1, _CrossEntropyAtFullSize.CHUNK.get(coarse.device.type, 2**19) // truth[0].numel())
        for start in range(0, len(slices), step):
            chunk = slice(start, start + step)
            miss = (rows @ slices[chunk].float() @ columns.T).sigmoid_().sub_(truth[chunk].float())
            gradient[chunk] = rows.T @ miss @ columns
            total -= miss.abs_().clamp_(max=1 - 2**-24).neg_().log1p_().sum(dtype=torch.float64)
        ctx.save_for_backward(gradient.div_(truth.numel()).view(coarse.shape).to(coarse.dtype))
        return (total / truth.numel()).float()

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.to(gradient.dtype), None


def voxel_loss(coarse: Float[Tensor, "b d H W"], volumes: Bool[Tensor, "b d h w"]) -> Float[Tensor, ""]:
    """Sigmoid cross-entropy per voxel, unweighted (paper equation 1, as a mean).

    Parameters
    ----------
    coarse : ``[b, d, H, W]``, logits before the last bilinear step (`VRN.coarse`).
    volumes : ``[b, d, h, w]``, bool. Equal to the loss of the enlarged logits, but faster.
    """
    return _CrossEntropyAtFullSize.apply(coarse, volumes)


def landmark_loss(logits: Float[Tensor, "b l H W"], landmarks: Float[Tensor, "b l n"], sigma: float = 1.0) -> Float[Tensor, ""]:
    """How far the softmax of each map is from a Gaussian around the landmark: the mean Kullback-Leibler divergence.

    `landmarks` are in cells of the maps. At its minimum, 0, `decode` gives the landmarks back.
    """
    truth = heatmaps(landmarks, logits.shape[-2], logits.shape[-1], sigma).flatten(-2)
    return F.kl_div(logits.float().flatten(-2).log_softmax(-1), truth, reduction="none").sum(-1).mean()


class Outcome(NamedTuple):
    """What a network makes of a batch: the loss, and, where it has them, coarse logits of the volume and landmarks in pixels."""

    loss: Float[Tensor, ""]
    coarse: Float[Tensor, "b d H W"] | None
    landmarks: Float[Tensor, "b 68 2"] | None


class Objective(nn.Module):
    """A network with the loss that trains it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, volumes: Tensor, landmarks: Tensor) -> Outcome:
        """The outcome of a batch of pairs; the two losses of VRN-Multitask count alike (paper section 3.3)."""
        network, coarse, maps = self.network, None, None
        cell = network.preset.network.stem
        if isinstance(network, LandmarkHourglass):
            maps = network(images)
        elif isinstance(network, MultitaskVRN):
            coarse, maps = network.tasks(images)
        else:
            coarse = network.coarse(images, landmarks) if isinstance(network, GuidedVRN) else network.coarse(images)
        losses = [] if coarse is None else [voxel_loss(coarse, volumes)]
        losses += [] if maps is None else [landmark_loss(maps, landmarks / cell)]
        return Outcome(torch.stack(losses).sum(), coarse, None if maps is None else cell * decode(maps.detach().float()))


class Trainer:
    """A network, its optimiser and where they are; `records` runs them. `train` is the short way in.

    Parameters are those of `train`.
    """

    def __init__(self, network: Network, face: MorphableFace, *, samples: int, batch: int, seed: int, recipe: Recipe) -> None:
        require(0 <= seed < 2_000, f"seed must lie between 0 and 1999, got {seed}: the held-out sets' seeds begin beyond")
        self.network, self.objective, self.seed, self.recipe, self.step = network, Objective(network), seed, recipe, 0
        self.batch, self.samples = batch, samples
        self.device = next(network.parameters()).device
        self.face = face.to(self.device)
        self.autocast = torch.autocast(self.device.type, torch.bfloat16)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = recipe.optimiser_of(network)

    def pairs(self, step: int) -> FacePairs:
        """The samples of a step: all randomness comes from (seed, step), so that prefetching and resuming change nothing."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        pairs = make_pairs(self.face, self.network.preset, self.batch, generator)
        return unaligned(pairs, self.face.unit, self.network.preset.grid) if isinstance(self.network, UnalignedVRN) else pairs

    def update(self, pairs: FacePairs) -> tuple[float, float, float]:
        """One step of the optimiser: (loss, IoU, landmark NME)."""
        rate = self.recipe.rate_at(self.step, self.step * self.batch / self.samples)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        with self.autocast:
            outcome = self.objective(pairs.images.contiguous(memory_format=torch.channels_last), pairs.volumes, pairs.landmarks)
        self.optimiser.zero_grad()
        outcome.loss.backward()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.step += 1
        return (float(outcome.loss.detach()), *self.quality(outcome, pairs))

    @torch.no_grad()
    def quality(self, outcome: Outcome, pairs: FacePairs) -> tuple[float, float]:
        """IoU of the first two samples and landmark NME of the batch; NaN for what the network does not give."""
        overlap = error = float("nan")
        if outcome.coarse is not None:
            few = F.interpolate(outcome.coarse[:2].detach().float(), size=pairs.volumes.shape[-2:], mode="bilinear") > 0
            overlap = float(iou(few, pairs.volumes[:2]).mean())
        if outcome.landmarks is not None:
            error = float(landmark_nme(outcome.landmarks, pairs.landmarks).mean())
        return overlap, error

    def records(self) -> Iterator[Record]:
        """Train until `samples` have been seen; the next batch is made while this one is used."""
        began = time.perf_counter()
        first, last = self.step, -(-self.samples // self.batch)
        with ThreadPoolExecutor(1) as maker:
            ahead = maker.submit(self.pairs, self.step)
            while self.step < last:
                pairs = ahead.result()
                if self.step + 1 < last:
                    ahead = maker.submit(self.pairs, self.step + 1)
                loss, overlap, error = self.update(pairs)
                require(loss == loss, f"the loss is not a number at step {self.step}: use a smaller learning rate")
                seconds = time.perf_counter() - began
                speed = (self.step - first) * self.batch / seconds
                yield Record(self.step, self.step * self.batch, loss, overlap, error, self.optimiser.param_groups[0]["lr"], speed, seconds)

    def save(self, path: Path) -> None:
        """Write a checkpoint that `restore` continues from, at once or not at all."""
        state = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step, "seed": self.seed, "batch": self.batch}
        atomically(path, lambda temporary: torch.save(state | {"preset": self.network.preset.to_dict(), "recipe": asdict(self.recipe)}, temporary))

    def restore(self, path: Path) -> None:
        """Continue where `save` left off.

        Raises
        ------
        InputError : unreadable file, another preset, seed, batch or optimiser.
        """
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            made_with = {"preset": state["preset"], "seed": state["seed"], "batch": state["batch"], "optimiser": state["recipe"]["optimiser"]}
        except Exception as error:
            raise InputError(f"cannot read the checkpoint {path}: {type(error).__name__}; delete it to start afresh") from error
        mine = {"preset": self.network.preset.to_dict(), "seed": self.seed, "batch": self.batch, "optimiser": self.recipe.optimiser}
        for name, theirs in made_with.items():
            require(theirs == mine[name], f"the checkpoint {path} was made with {name} {theirs!r}, not {mine[name]!r}")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


def atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary neighbour, then rename: `path` holds the old file or the whole new one.

    Raises
    ------
    InputError : the folder cannot be written, or the disk is full.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors report a read-only or full disk in their own ways
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise InputError(f"cannot write {path}: {reason}; choose another folder, or free some space") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def train(
    variant: str | Network,
    preset: Preset | str = "lite",
    *,
    face: MorphableFace,
    samples: int,
    batch: int | None = None,
    seed: int = 0,
    recipe: str | Recipe = "fast",
    folder: str | Path | None = None,
    save_every: float = 180.0,
    device: torch.device | str | None = None,
) -> Iterator[Record]:
    """Train a network on faces made on the fly: a generator of one `Record` a step.

    Parameters
    ----------
    variant : a name from `VARIANTS`, or a network, which is then trained in place (keep it to use it afterwards).
    preset : sizes of grid and network, when `variant` is a name.
    face : where the faces come from.
    samples : how many samples to see in all; the learning rate falls towards this number.
    batch : samples a step; the preset's by default.
    seed : of weights and samples.
    recipe : "fast", "paper" or a `Recipe`.
    folder : where `checkpoint.pt` is written every `save_every` seconds and at the end; an existing one is resumed.
    device : "cpu", "cuda"...; by default a GPU where there is one.

    Raises
    ------
    InputError : unknown variant, preset or recipe; a checkpoint that does not fit.
    """
    require(isinstance(recipe, Recipe) or recipe in RECIPES, f"unknown recipe {recipe!r}: choose one of {', '.join(RECIPES)}")
    network = variant if isinstance(variant, Network) else build(variant, preset, seed)
    network.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    trainer = Trainer(
        network, face, samples=samples, batch=batch or network.preset.batch, seed=seed, recipe=recipe if isinstance(recipe, Recipe) else RECIPES[recipe]
    )
    path = None if folder is None else Path(folder) / "checkpoint.pt"
    if path is not None and path.exists():
        trainer.restore(path)
    saved = time.perf_counter()
    for record in trainer.records():
        if path is not None and time.perf_counter() - saved > save_every:
            trainer.save(path)
            saved = time.perf_counter()
        yield record
    if path is not None:
        trainer.save(path)


def build(variant: str, preset: Preset | str, seed: int = 0) -> Network:
    """A network with fresh weights, the same for the same seed; the global random state is left as it was."""
    require(variant in VARIANTS, f"unknown variant {variant!r}: choose one of {', '.join(VARIANTS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VARIANTS[variant](preset)


WEIGHTS = files("vrn_lite") / "weights"


def shipped() -> dict[str, Path]:
    """Weights in the package: name -> file."""
    return {path.stem: path for path in sorted(Path(str(WEIGHTS)).glob("*.safetensors"))}


def save_weights(network: Network, path: str | Path, **facts: object) -> None:
    """Write float16 weights (batch-norm statistics float32) as safetensors, with variant, preset and `facts` in the metadata."""
    state = {k: (v.contiguous() if "running" in k or not v.is_floating_point() else v.half().contiguous()) for k, v in network.state_dict().items()}
    metadata = {"variant": network.variant, "preset": json.dumps(network.preset.to_dict())} | {k: json.dumps(v) for k, v in facts.items()}
    atomically(Path(path), lambda temporary: save_file(state, temporary, metadata))


def weights_metadata(path: str | Path) -> dict:
    """What a weights file says of itself: variant, preset, data, seed, samples, held-out results.

    Raises
    ------
    InputError : not a whole safetensors file of this package.
    """
    try:
        with safe_open(str(path), "pt") as file:
            found = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot read the weights {path}: {error}; they are damaged or no safetensors file, fetch them again") from error
    require("preset" in found and "variant" in found, f"{path} holds no weights of this package: its metadata names no preset")
    return {"variant": found.pop("variant")} | {k: json.loads(v) for k, v in found.items()}


def load(name: str | Path = "vrn", preset: Preset | str | None = None, device: torch.device | str | None = None) -> Network:
    """A trained network in eval mode: one that ships, by name, or a safetensors file.

    Raises
    ------
    InputError : unknown name, damaged file, or weights of another preset than `preset`.
    """
    path = shipped().get(str(name), Path(name))
    require(path.is_file(), f"no weights {str(name)!r}: choose one of {', '.join(shipped()) or '(none shipped)'}, or give a .safetensors file")
    facts = weights_metadata(path)
    stored = Preset.from_dict(facts["preset"])
    wanted = None if preset is None else (preset if isinstance(preset, str) else preset.name)
    require(wanted in (None, stored.name), f"the weights {path.name} belong to preset {stored.name!r}, not {wanted!r}")
    require(facts["variant"] in VARIANTS, f"the weights {path.name} are of an unknown variant {facts['variant']!r}")
    network = build(facts["variant"], stored)
    with safe_open(str(path), "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}
    try:
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except RuntimeError as error:
        raise InputError(f"the weights {path.name} do not fit a {facts['variant']} of preset {stored.name!r}") from error
    return network.to(device or "cpu").eval()
