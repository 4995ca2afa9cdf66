"""The training: one step, again and again. `Trainer.steps` is the whole of it; `train` is the way in."""

from collections.abc import Callable, Iterator
from math import ceil, inf, isnan, nan
from pathlib import Path

import torch
from torch import Tensor, nn

from vrn_lite.frame import InputError, require
from vrn_lite.inference import check_detector, landmarks_in
from vrn_lite.memory import trim_malloc
from vrn_lite.metrics import iou, landmark_nme, vertex_errors
from vrn_lite.networks.base import FaceNetwork, LandmarkDetector, Prediction, build, checked_seed, pixels_of, upsample
from vrn_lite.presets import Preset
from vrn_lite.samples import FacePairs, PoseRange
from vrn_lite.synth.appearance import Appearance
from vrn_lite.training.checkpoint import resume, run
from vrn_lite.training.data import Data, PairStream, StepPairs, faces_of, step_seed, stream_of, suited
from vrn_lite.training.log import StepMetrics
from vrn_lite.training.optim import OptimConfig, optim_named
from vrn_lite.training.runtime import Clock, Runtime, default_device
from vrn_lite.volume import isosurface

Loss = Callable[[Prediction, FacePairs], Tensor]
"""What training makes small, of a prediction and the pairs it was made from."""


class Trainer:
    """A network, which is trained where it is, its optimiser, its data; the arguments are those of `train`.

    In a process group every process has a trainer of its own; they draw different samples and share their gradients.
    """

    def __init__(
        self,
        network: FaceNetwork,
        data: PairStream,
        *,
        samples: int | None,
        minutes: float | None = None,
        batch: int,
        seed: int = 0,
        optim: OptimConfig,
        loss: Loss | None = None,
        reuse: int = 1,
        detector: LandmarkDetector | None = None,
        compile: bool | None = None,
        measure_every: int = 50,
    ) -> None:
        require(bool(samples or minutes), "give `samples`, `minutes`, or both: training must end somewhere")
        require((samples or 1) > 0 and (minutes or 1) > 0, f"samples and minutes must be above 0: {samples}, {minutes}")
        require(batch >= 1, f"batch (={batch}) must be at least 1")
        self.data, self.batch, self.seed, self.optim = data, batch, checked_seed(seed), optim
        self.samples, self.limit = samples or 2**62, 60 * minutes if minutes else inf
        self.own_loss, self.measure_every = loss, measure_every
        self.detector = None if detector is None else check_detector(detector, network)
        self.step, self.nme = 0, nan
        self.seconds = 0.0  # of all runs together
        self.runtime = Runtime(network, compile)
        self.network, self.ranks, self.device = self.runtime.network, self.runtime.ranks, self.runtime.device
        self.optimiser, self.average = optim.optimiser_of(self.network), optim.average_of(self.network)
        if network.needs_face:
            faces = faces_of(data)
            one = f"a {network.variant!r} network regresses numbers of one face model, got {len(faces)}: choose one"
            require(len(faces) == 1, one)
            network.bind(faces[0].to(self.device))
        fitting = suited(data, network, self.device)
        self.pairs = StepPairs(fitting, batch, seed, self.ranks.rank, self.device, reuse, network.mirrors)

    def steps(self) -> Iterator[StepMetrics]:
        """Train until `samples` have been seen, or the time is over."""
        trim_malloc()  # what was done before may have left holes into which a step's activations do not fit
        last = ceil(self.samples / self.each) if self.seconds < self.limit else self.step
        clock = Clock(self)
        for made in self.runtime.ahead(self.pairs, self.step, last):  # draw: beside the step before
            pairs = made.pairs
            with self.runtime.working():
                for group in self.optimiser.param_groups:
                    group["lr"] = self.optim.lr_at(self.step, self.seen())
                self.network.train()
                self.optimiser.zero_grad()
                prediction = self.runtime.predict(pairs.images, self.guides(pairs))  # predict
                loss = self.loss(prediction, pairs)  # loss
                loss.backward()  # backward
                if self.optim.clip:  # clip
                    nn.utils.clip_grad_norm_(self.network.parameters(), self.optim.clip)
                self.optimiser.step()  # step
                if self.average is not None:  # average
                    self.average.update_parameters(self.network)
                self.step += 1
                quality = self.quality(prediction, loss, pairs)
            yield clock.metrics(quality, made.seconds, made.waited)
            if self.seconds >= self.limit:
                break
            self.runtime.tidy(self.step)

    @property
    def each(self) -> int:
        """Samples that all processes together see in a step."""
        return self.batch * self.ranks.size

    def seen(self) -> float:
        """How much of the training is over, 0 to 1: of its samples or of its time, whichever is more."""
        return max(self.step * self.each / self.samples, self.seconds / self.limit)

    def guides(self, pairs: FacePairs) -> Tensor | None:
        """The landmarks ``[b, 68, 3]`` that guide, where the network wants any.

        The true ones, or in every second sample the detector's, where there is one.
        """
        if not self.network.guided or self.detector is None:
            return pairs.landmarks if self.network.guided else None
        landmarks = pairs.landmarks.clone()
        with self.runtime.autocast:
            landmarks[::2, :, :2] = landmarks_in(self.detector, pairs.images[::2], test_time_augmentation=False)
        return landmarks

    def loss(self, prediction: Prediction, pairs: FacePairs) -> Tensor:
        """The network's loss, or the one that was given."""
        if self.own_loss is not None:
            return self.own_loss(prediction, pairs)
        phase = step_seed(self.seed, 0, self.step) if self.optim.sampled else None
        return self.network.loss(prediction, pairs, phase)

    @torch.no_grad()
    def quality(self, prediction: Prediction, loss: Tensor, pairs: FacePairs) -> tuple[float, float, float]:
        """Loss, IoU of the first two samples and landmark NME of the batch; NaN for what the network does not give.

        Now and then, the NME of a surface is measured too, and kept as `nme`.
        """
        if self.measure_every and self.step % self.measure_every == 0:
            self.nme = surface_error(prediction, pairs, self.network.preset)
        overlap = error = torch.full_like(loss, nan)
        if prediction.logits is not None:
            logits = upsample(prediction.logits[:2].detach().float(), pairs.images[:2])
            overlap = iou(logits > 0, pairs.volumes[:2]).mean()
        if prediction.heatmaps is not None:
            error = landmark_nme(pixels_of(prediction.heatmaps.detach(), pairs.images), pairs.landmarks).mean()
        numbers = torch.stack((loss.detach(), overlap, error)).tolist()  # one wait for the device
        require(not isnan(numbers[0]), f"the loss is not a number at step {self.step}: use a smaller learning rate")
        return numbers[0], numbers[1], numbers[2]

    def finish(self) -> None:
        """Give the network the averaged weights, where there are any, and drop the gradients.

        A checkpoint must be written before.
        """
        if self.average is not None:
            self.network.load_state_dict(self.average.module.state_dict())
        self.optimiser.zero_grad()
        trim_malloc()


@torch.no_grad()
def surface_error(prediction: Prediction, pairs: FacePairs, preset: Preset) -> float:
    """Vertex NME of the first sample's surface; infinite where there is none, NaN without volume and vertices."""
    if prediction.vertices is not None:
        return vertex_errors(prediction.vertices[0].detach(), pairs.mesh(0)).nme
    if prediction.logits is None:
        return nan
    chances = upsample(prediction.logits[:1].detach().float(), pairs.images[:1])[0].sigmoid()
    try:
        surface = isosurface(chances, depth_scale=preset.grid.depth_scale)
    except InputError:
        return inf
    return vertex_errors(surface, pairs.mesh(0)).nme


def train(
    network: FaceNetwork | str,
    data: Data,
    *,
    samples: int | None = None,
    minutes: float | None = None,
    preset: Preset | str = "lite",
    batch: int | None = None,
    seed: int = 0,
    optim: str | OptimConfig = "fast",
    loss: Loss | None = None,
    folder: str | Path | None = None,
    save_every: float = 180.0,
    measure_every: int = 50,
    poses: PoseRange | None = None,
    appearance: Appearance | None = None,
    reuse: int = 1,
    detector: LandmarkDetector | None = None,
    compile: bool | None = None,
    device: torch.device | str | None = None,
) -> Iterator[StepMetrics]:
    """Train a network on pairs made on the fly: an iterator of one `StepMetrics` a step, each after its step.

    Parameters
    ----------
    network : trained in place (keep it to use it afterwards); or the name of a variant, built for `preset` and `seed`.
    data : where the pairs come from: a face model or its name, a stream of pairs (see `data.PairStream`), or several of
        these, which take turns, a batch each.
    samples : how many samples to see in all; the learning rate falls towards this number. None for no limit but time.
    minutes : how long to train, all resumed runs together; the learning rate falls towards that end as well, and the
        last step ends shortly after it. None for no limit but `samples`; one of the two must be given.
    preset : sizes of grid and network, when `network` is a name.
    batch : samples a step and process; the preset's by default.
    seed : of weights and samples; any whole number from 0.
    optim : "fast", "paper" or an `OptimConfig`.
    loss : of a prediction and its pairs; the network's own by default.
    folder : where `checkpoint.pt` is written every `save_every` seconds and at the end; an existing one is resumed.
    measure_every : steps between two measurements of the metrics' `nme`; 0 for none.
    poses : range of poses and augmentation of face models; the paper's by default.
    appearance : how people, light and pictures look; None for the defaults of `Appearance`.
    reuse : how many steps see each drawn batch: from the second on mirrored (every other time), in other colours and
        with new noise. Where pairs cost more than steps, 2 learns more per hour.
    detector : for guided networks: its landmarks, with their errors, guide every second sample, the true ones the
        others. The paper trains with true ones alone, as None does. In eval mode, on the network's device.
    compile : use `torch.compile`, which takes a minute to start; by default on a GPU only.
    device : "cpu", "cuda"...; by default a GPU where there is one.

    Raises
    ------
    InputError : at once, for whatever does not fit: unknown names, data, detector, a checkpoint of another run.
    """
    chosen = optim_named(optim)
    stream = stream_of(data, preset if isinstance(network, str) else network.preset, appearance, poses)
    if isinstance(network, str):
        network = build(network, preset, seed, face=next(iter(faces_of(stream)), None))
    network.to(device or default_device())
    trainer = Trainer(
        network,
        stream,
        samples=samples,
        minutes=minutes,
        batch=network.preset.batch if batch is None else batch,
        seed=seed,
        optim=chosen,
        loss=loss,
        reuse=reuse,
        detector=detector,
        compile=compile,
        measure_every=measure_every,
    )
    path = None if folder is None else Path(folder) / "checkpoint.pt"
    if path is not None:
        resume(trainer, path)
    return run(trainer, path, save_every)
