"""The networks: one image in, one volume of logits out; the depth slices are the channels of a 2D network (paper section 3.3).

::

    VRN         image --stem--> hourglass x stacks --head--> volume
    Guided      image + 68 Gaussians --stem--> hourglass x stacks --head--> volume
    Multitask   image --stem--> hourglass --+--> hourglass --head--> volume
                                            +--> hourglass --head--> 68 heat-maps
    Landmarks   image --stem--> hourglass x 2 --head--> 68 heat-maps

An hourglass in a chain adds to what it gets: x + projections(hourglass(x)). Behind the head, a preset may have a finer
stage at twice the hourglass's resolution (`hourglass.Refine`), which is not the paper's.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vrn_lite.frame import require
from vrn_lite.landmarks import COUNT, decode, gaussians
from vrn_lite.networks.hourglass import Hourglass, Refine, Stem, projection
from vrn_lite.presets import NetworkSize, Preset, preset as preset_named


def shared_modules(size: NetworkSize) -> int:
    """Modules per position where several hourglasses share what one has: half of a single stack's."""
    return size.modules if size.stacks > 1 else max(1, size.modules // 2)


class Stage(nn.Sequential):
    """One hourglass of a chain: x + projections(hourglass(x))."""

    def __init__(self, size: NetworkSize, count: int) -> None:
        super().__init__(Hourglass(size.levels, count, size.features), projection(size.features), projection(size.features))

    def forward(self, x: Float[Tensor, "b f h w"]) -> Float[Tensor, "b f h w"]:
        """Same shape."""
        return x + super().forward(x)


def head(width: int, outputs: int) -> nn.Sequential:
    """1x1 convolution, batch norm, ReLU, 1x1 convolution to the outputs."""
    return nn.Sequential(projection(width), nn.Conv2d(width, outputs, 1))


def refine(size: NetworkSize, outputs: int) -> Refine | None:
    """The finer end of a network, where its size has one."""
    return None if size.refine is None else Refine(size.features, 2 * size.stem_features, size.refine, outputs)


class Chain(nn.Module):
    """Stem, hourglasses in a row, head: what the networks with one output have in common.

    Parameters
    ----------
    preset : sizes of grid and network.
    channels : of the input.
    outputs : of the head.
    count, stacks : modules per position, hourglasses; by default the preset's.
    """

    variant = "chain"

    def __init__(self, preset: Preset | str, channels: int, outputs: int, count: int | None = None, stacks: int | None = None) -> None:
        super().__init__()
        self.preset = preset_named(preset)
        size = self.preset.network
        self.stem = Stem(channels, size.stem, size.stem_features, size.features)
        self.stacks = nn.ModuleList(Stage(size, count or size.modules) for _ in range(stacks or size.stacks))
        self.head = head(size.features, outputs)
        self.refine = refine(size, outputs)

    def run(self, inputs: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o H W"]:
        """The head's output; a cell of it stands for `NetworkSize.cell` pixels."""
        x, early = self.stem.both(fitting(inputs, self.preset))
        for stage in self.stacks:
            x = stage(x)
        coarse = self.head(x)
        return coarse if self.refine is None else self.refine(coarse, x, early)


def fitting(images: Tensor, preset: Preset) -> Tensor:
    """`images`, if they have the preset's size.

    Raises
    ------
    InputError : they have not.
    """
    wanted = (preset.grid.height, preset.grid.width)
    require(tuple(images.shape[-2:]) == wanted, f"preset {preset.name} needs images of {wanted[0]} x {wanted[1]} pixels, got {tuple(images.shape[-2:])}")
    return images


def enlarged(coarse: Float[Tensor, "b d H W"], images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
    """Logits at the images' size, bilinear."""
    return F.interpolate(coarse, size=images.shape[-2:], mode="bilinear", align_corners=False)


class VRN(Chain):
    """The volumetric regression network.

    Parameters
    ----------
    preset : sizes of grid and network.

    Raises
    ------
    InputError : unknown preset; in `forward`, an image of another size.
    """

    variant = "vrn"

    def __init__(self, preset: Preset | str) -> None:
        size = preset_named(preset)
        super().__init__(size, 3, size.grid.depth)

    def coarse(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d H W"]:
        """Logits before the last, bilinear step: ``[b, d, h / stem, w / stem]``."""
        return self.run(images)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d h w"]:
        """Logits ``[b, d, h, w]`` of images ``[b, 3, h, w]`` in [0, 1]; a sigmoid makes them probabilities."""
        return enlarged(self.coarse(images), images)


class UnalignedVRN(VRN):
    """VRN that puts the face in a frontal volume of its own, whatever its pose in the image (paper section 5, first ablation)."""

    variant = "unaligned"


class GuidedVRN(Chain):
    """VRN-Guided: the image and 68 Gaussians, one around each landmark, go in together (paper section 3.3).

    Landmarks are the true ones in training and a detector's at test time; both are drawn anew as Gaussians.

    Parameters
    ----------
    preset : sizes of grid and network.
    sigma : spread of the Gaussians, in pixels of the network's input.
    """

    variant = "guided"

    def __init__(self, preset: Preset | str, sigma: float = 1.0) -> None:
        size = preset_named(preset)
        super().__init__(size, 3 + COUNT, size.grid.depth, size.network.guided_modules)
        self.sigma = sigma
        self.variant = "guided" if sigma == 1 else f"guided_sigma{sigma:g}"

    def inputs(self, images: Float[Tensor, "b 3 h w"], landmarks: Float[Tensor, "... l n"]) -> Float[Tensor, "b 71 h w"]:
        """The image's channels and the drawn landmarks'; x and y in pixels, NaN for a landmark that is missing.

        Raises
        ------
        InputError : other than 68 points with x and y per image.
        """
        fits = landmarks.ndim == 3 and landmarks.shape[:2] == (len(images), COUNT) and landmarks.shape[2] >= 2
        require(fits, f"landmarks must be [{len(images)}, {COUNT}, 2 or 3], got {tuple(landmarks.shape)}")
        device = images.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else images.dtype
        maps = gaussians(landmarks, images.shape[-2], images.shape[-1], self.sigma, dtype)
        return torch.cat((images.to(dtype).contiguous(memory_format=torch.channels_last), maps), 1)

    def coarse(self, images: Float[Tensor, "b 3 h w"], landmarks: Float[Tensor, "... l n"]) -> Float[Tensor, "b d H W"]:
        """Logits before the last, bilinear step."""
        return self.run(self.inputs(images, landmarks))

    def forward(self, images: Float[Tensor, "b 3 h w"], landmarks: Float[Tensor, "... l n"]) -> Float[Tensor, "b d h w"]:
        """Logits ``[b, d, h, w]`` of images ``[b, 3, h, w]`` and landmarks (pixels)."""
        return enlarged(self.coarse(images, landmarks), images)


class LandmarkHourglass(Chain):
    """Two stacked hourglasses that find the 68 landmarks: one heat-map each, at the hourglass's resolution.

    The logits of a map, under a softmax over its cells, are the probability of the landmark to be there.
    """

    variant = "landmarks"

    def __init__(self, preset: Preset | str) -> None:
        size = preset_named(preset)
        super().__init__(size, 3, COUNT, shared_modules(size.network), stacks=2)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 68 H W"]:
        """Logits ``[b, 68, h / stem, w / stem]`` of images in [0, 1]."""
        return self.run(images)

    def landmarks(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 68 2"]:
        """The landmarks, x and y in pixels of the image."""
        return self.preset.network.cell * decode(self(images).float())


class MultitaskVRN(nn.Module):
    """VRN-Multitask: one hourglass forks into a landmark hourglass and a volume hourglass (paper section 3.3)."""

    variant = "multitask"

    def __init__(self, preset: Preset | str) -> None:
        super().__init__()
        self.preset = preset_named(preset)
        size, outputs = self.preset.network, {"volume": self.preset.grid.depth, "landmarks": COUNT}
        self.stem = Stem(3, size.stem, size.stem_features, size.features)
        self.shared = Stage(size, shared_modules(size))
        self.fork = nn.ModuleDict({task: nn.Sequential(Stage(size, shared_modules(size)), head(size.features, count)) for task, count in outputs.items()})
        finer = {task: refine(size, count) for task, count in outputs.items()}
        self.refine = nn.ModuleDict({} if size.refine is None else finer)

    def tasks(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b d H W"], Float[Tensor, "b 68 H W"]]:
        """Logits of the volume before the last, bilinear step, and of the heat-maps."""
        x, early = self.stem.both(fitting(images, self.preset))
        x = self.shared(x)

        def answer(task: str) -> Tensor:
            stage, last = self.fork[task]
            own = stage(x)
            return self.refine[task](last(own), own, early) if task in self.refine else last(own)

        return answer("volume"), answer("landmarks")

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d h w"]:
        """Logits ``[b, d, h, w]`` of the volume."""
        return enlarged(self.tasks(images)[0], images)

    def landmarks(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 68 2"]:
        """The landmarks, x and y in pixels of the image."""
        return self.preset.network.cell * decode(self.tasks(images)[1].float())


LandmarkNetwork = LandmarkHourglass | MultitaskVRN
"""Networks that find landmarks by themselves."""

Network = VRN | GuidedVRN | MultitaskVRN | LandmarkHourglass
"""Any network of this room."""
