"""The networks: one image in, one volume of logits out; the depth slices are the channels of a 2D network (paper 3.3).

::

    VRN         image --stem--> hourglass x stacks --head--> volume
    Guided      image + 68 Gaussians --stem--> hourglass x stacks --head--> volume
    Multitask   image --stem--> hourglass --+--> hourglass --head--> volume
                                            +--> hourglass --head--> 68 heat-maps
    Landmarks   image --stem--> hourglass x 2 --head--> 68 heat-maps

An hourglass in a row adds to what it gets: x + projections(hourglass(x)). Behind the head, a preset may have a finer
stage at twice the hourglass's resolution (`hourglass.Refine`), which is not the paper's.
"""

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vrn_lite.frame import InputError, require
from vrn_lite.landmarks import NUM_LANDMARKS, gaussians
from vrn_lite.networks.base import FaceNetwork, Guides, Images, LandmarkNetwork, Prediction, check_size, variant
from vrn_lite.networks.hourglass import Hourglass, Refine, Stem, projection
from vrn_lite.presets import NetworkSize, Preset, preset as preset_named


def shared_modules(size: NetworkSize) -> int:
    """Modules per position where several hourglasses share what one has: half of a single stack's."""
    return size.modules if size.stacks > 1 else max(1, size.modules // 2)


class Stage(nn.Sequential):
    """One hourglass of a row: x + projections(hourglass(x))."""

    def __init__(self, size: NetworkSize, count: int) -> None:
        width = size.features
        super().__init__(Hourglass(size.levels, count, width), projection(width), projection(width))

    def forward(self, x: Float[Tensor, "b f h w"]) -> Float[Tensor, "b f h w"]:
        """Same shape."""
        return x + super().forward(x)


def head(width: int, outputs: int) -> nn.Sequential:
    """1x1 convolution, batch norm, ReLU, 1x1 convolution to the outputs."""
    return nn.Sequential(projection(width), nn.Conv2d(width, outputs, 1))


def refine(size: NetworkSize, outputs: int) -> Refine | None:
    """The finer end of a network, where its size has one."""
    return None if size.refine is None else Refine(size.features, 2 * size.stem_features, size.refine, outputs)


class StackedHourglass(FaceNetwork):
    """Stem, hourglasses in a row, head: what the networks with one output have in common.

    Parameters
    ----------
    channels, outputs : of the input, and of the head.
    count, stacks : modules per position, hourglasses; by default the preset's.
    arguments : of the variant, as `FaceNetwork` keeps them.
    """

    def __init__(
        self, preset: Preset | str, channels: int, outputs: int, count: int = 0, stacks: int = 0, **arguments: Any
    ) -> None:
        super().__init__(preset, **arguments)
        size = self.preset.network
        self.stem = Stem(channels, size.stem, size.stem_features, size.features)
        self.stacks = nn.ModuleList(Stage(size, count or size.modules) for _ in range(stacks or size.stacks))
        self.head = head(size.features, outputs)
        self.refine = refine(size, outputs)

    def run(self, inputs: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o H W"]:
        """The head's output; a cell of it stands for `NetworkSize.cell` pixels."""
        x, early = self.stem.both(check_size(inputs, self.preset))
        for stage in self.stacks:
            x = stage(x)
        low_res_logits = self.head(x)
        return low_res_logits if self.refine is None else self.refine(low_res_logits, x, early)


@variant("vrn")
class VRN(StackedHourglass):
    """The volumetric regression network, of a preset's size; `predict` refuses images of another one."""

    def __init__(self, preset: Preset | str) -> None:
        super().__init__(preset, 3, preset_named(preset).grid.depth)

    def predict(self, images: Images, landmarks: Guides = None) -> Prediction:
        """Logits of the volume, ``[b, d, h / cell, w / cell]``."""
        return Prediction(logits=self.run(images))


@variant("multitask")
class MultitaskVRN(LandmarkNetwork):
    """VRN-Multitask: one hourglass forks into a landmark hourglass and a volume hourglass (paper section 3.3)."""

    gives: ClassVar[tuple[str, ...]] = ("logits", "heatmaps")

    def __init__(self, preset: Preset | str) -> None:
        super().__init__(preset)
        size = self.preset.network
        outputs = {"volume": self.preset.grid.depth, "landmarks": NUM_LANDMARKS}
        self.stem = Stem(3, size.stem, size.stem_features, size.features)
        self.shared = Stage(size, shared_modules(size))
        self.fork = nn.ModuleDict()
        for task, count in outputs.items():
            self.fork[task] = nn.Sequential(Stage(size, shared_modules(size)), head(size.features, count))
        finer = {task: refine(size, count) for task, count in outputs.items()}
        self.refine = nn.ModuleDict({task: stage for task, stage in finer.items() if stage is not None})

    def predict(self, images: Images, landmarks: Guides = None) -> Prediction:
        """Logits of the volume, and of the heat-maps."""
        x, early = self.stem.both(check_size(images, self.preset))
        x = self.shared(x)

        def answer(task: str) -> Tensor:
            stage, last = self.fork[task].children()
            own = stage(x)
            return self.refine[task](last(own), own, early) if task in self.refine else last(own)

        return Prediction(logits=answer("volume"), heatmaps=answer("landmarks"))


@variant("guided_sigma2", sigma=2.0)
@variant("guided")
class GuidedVRN(StackedHourglass):
    """VRN-Guided: the image and 68 Gaussians, one around each landmark, go in together (paper section 3.3).

    Landmarks are the true ones in training and a detector's at test time; both are drawn anew as Gaussians.

    Parameters
    ----------
    preset : sizes of grid and network.
    sigma : spread of the Gaussians, in pixels of the network's input.
    """

    guided: ClassVar[bool] = True

    def __init__(self, preset: Preset | str, sigma: float = 1.0) -> None:
        size = preset_named(preset)
        super().__init__(size, 3 + NUM_LANDMARKS, size.grid.depth, size.network.guided_modules or 0, sigma=sigma)
        self.sigma = sigma

    def inputs(self, images: Images, landmarks: Float[Tensor, "... l n"]) -> Float[Tensor, "b 71 h w"]:
        """The image's channels and the drawn landmarks'; x and y in pixels, NaN for a landmark that is missing.

        Raises
        ------
        InputError : other than 68 points with x and y per image.
        """
        fits = landmarks.ndim == 3 and landmarks.shape[:2] == (len(images), NUM_LANDMARKS) and landmarks.shape[2] >= 2
        require(fits, f"landmarks must be [{len(images)}, {NUM_LANDMARKS}, 2 or 3], got {tuple(landmarks.shape)}")
        device = images.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else images.dtype
        maps = gaussians(landmarks, images.shape[-2], images.shape[-1], self.sigma, dtype)
        return torch.cat((images.to(dtype).contiguous(memory_format=torch.channels_last), maps), 1)

    def predict(self, images: Images, landmarks: Guides = None) -> Prediction:
        """Logits of the volume, of images and landmarks (pixels)."""
        if landmarks is None:
            raise InputError("a guided network needs landmarks: give them, x and y in the image's pixels")
        return Prediction(logits=self.run(self.inputs(images, landmarks)))


@variant("landmarks")
class LandmarkHourglass(LandmarkNetwork, StackedHourglass):
    """Two stacked hourglasses that find the 68 landmarks: one heat-map each, at the hourglass's resolution.

    The logits of a map, under a softmax over its cells, are the probability of the landmark to be there.
    """

    def __init__(self, preset: Preset | str) -> None:
        super().__init__(preset, 3, NUM_LANDMARKS, shared_modules(preset_named(preset).network), stacks=2)

    def predict(self, images: Images, landmarks: Guides = None) -> Prediction:
        """Logits of the heat-maps, ``[b, 68, h / cell, w / cell]``."""
        return Prediction(heatmaps=self.run(images))


@variant("unaligned")
class UnalignedVRN(VRN):
    """VRN that puts the face in a frontal volume of its own, whatever its pose in the image (section 5, ablation 1)."""

    target: ClassVar[str] = "frontal"
