"""One contract for every network: what it is asked, what it says, what makes it small, and how it is made again.

A new variant is one class in one file, anywhere::

    @variant("mine")
    class Mine(FaceNetwork):
        def __init__(self, preset: Preset | str, width: int = 8) -> None:
            super().__init__(preset, width=width)  # all that `build` needs to make it again
            self.layers = nn.Sequential(nn.Conv2d(3, width, 1), nn.ReLU(), nn.Conv2d(width, self.preset.grid.depth, 1))

        def predict(self, images: Tensor, landmarks: Tensor | None = None) -> Prediction:
            return Prediction(logits=self.layers(images))

It trains (`train("mine", face, samples=...)`), is saved, loads, reconstructs and is evaluated like any other: no other
room asks what kind of network it has, all ask for the facts below.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeGuard, TypeVar, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import FACE_SIZE, require
from vrn_lite.landmarks import decode
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.samples import FacePairs
from vrn_lite.training.losses import landmark_loss, square_loss, voxel_loss

Images = Float[Tensor, "b 3 h w"]
Guides = Float[Tensor, "... l n"] | None


class Prediction(NamedTuple):
    """What a network says of a batch; None for what it does not give.

    Attributes
    ----------
    logits : of the volume, at the network's own resolution, a half or a quarter of the image's: the loss and its
        gradient are computed there. `upsample` brings them to the image's size, a sigmoid makes them probabilities.
    heatmaps : logits, one map for each landmark; under a softmax over its cells, where the landmark is.
    vertices : of the face patch, voxel frame.
    extra : what the network's own loss needs beside these; the estimates of a network that regresses parameters.
    """

    logits: Float[Tensor, "b d H W"] | None = None
    heatmaps: Float[Tensor, "b 68 H W"] | None = None
    vertices: Float[Tensor, "b n 3"] | None = None
    extra: Any = None


@runtime_checkable
class LandmarkDetector(Protocol):
    """Whatever finds the 68 landmarks: a network of this package, or your own, wherever a detector is asked for."""

    preset: Preset
    """Gives the size of the images that it wants."""

    def landmarks(self, images: Images) -> Float[Tensor, "b 68 2"]:
        """x and y in pixels, iBUG order, of images in [0, 1]."""


def finds_landmarks(candidate: object) -> TypeGuard[LandmarkDetector]:
    """Whether something can serve as a `LandmarkDetector`."""
    return isinstance(candidate, LandmarkDetector)


def device_of(network: object, images: Tensor) -> torch.device:
    """Where a network or a detector wants its images: where its weights are; without weights, where the images are."""
    weights = getattr(network, "parameters", tuple)
    return next((weight.device for weight in weights()), images.device)


def check_size(images: Tensor, preset: Preset) -> Tensor:
    """`images`, if they have the preset's size.

    Raises
    ------
    InputError : they have not.
    """
    wanted, got = (preset.grid.height, preset.grid.width), tuple(images.shape[-2:])
    require(got == wanted, f"preset {preset.name} needs images of {wanted[0]} x {wanted[1]} pixels, got {got}")
    return images


def upsample(low_res_logits: Float[Tensor, "b d H W"], images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
    """Logits at the images' size, bilinear."""
    return F.interpolate(low_res_logits, size=images.shape[-2:], mode="bilinear", align_corners=False)


class FaceNetwork(nn.Module):
    """What the rest of the package knows of a network.

    Parameters
    ----------
    preset : sizes of grid and network.
    arguments : what else the constructor was given, by name.

    Attributes
    ----------
    variant : its name in the registry.
    gives : which parts of a `Prediction` it fills.
    guided : whether it wants landmarks.
    target : "aligned", or "frontal" where its volume shows the face straight from the front, whatever the image shows.
    mirrors : whether it may be trained on mirrored images.
    needs_face : whether it is built for one face model (`bind`).
    """

    variant: str = ""
    gives: ClassVar[tuple[str, ...]] = ("logits",)
    guided: ClassVar[bool] = False
    target: ClassVar[str] = "aligned"
    mirrors: ClassVar[bool] = True
    needs_face: ClassVar[bool] = False

    def __init__(self, preset: Preset | str, **arguments: Any) -> None:
        super().__init__()
        self.preset = preset_named(preset)
        self.arguments = arguments
        self.face: MorphableFace | None = None

    def predict(self, images: Images, landmarks: Guides = None) -> Prediction:
        """What the network says of images in [0, 1]; `landmarks` (pixels) are for guided networks.

        Raises
        ------
        InputError : images of another size; a guided network without landmarks.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `predict`")

    def forward(self, images: Images, landmarks: Guides = None) -> Tensor:
        """The first thing that a prediction has: logits ``[b, d, h, w]`` at the images' size, heat-maps, vertices."""
        prediction = self.predict(images, landmarks)
        if prediction.logits is not None:
            return upsample(prediction.logits, images)
        found = prediction.heatmaps if prediction.heatmaps is not None else prediction.vertices
        assert found is not None
        return found

    def loss(self, prediction: Prediction, pairs: FacePairs, phase: int | None = None) -> Float[Tensor, ""]:
        """The sum of the losses of what there is, each with weight 1 (paper section 3.3 of VRN-Multitask).

        `phase` chooses the voxels that stand for all (see `voxel_loss`).
        """
        losses = []
        if prediction.logits is not None:
            losses.append(voxel_loss(prediction.logits, pairs.volumes, phase))
        if prediction.heatmaps is not None:
            cell = pairs.images.shape[-1] / prediction.heatmaps.shape[-1]
            losses.append(landmark_loss(prediction.heatmaps, pairs.landmarks / cell))
        if prediction.vertices is not None:
            losses.append(square_loss(prediction.vertices, self.true_vertices(pairs), self.face_size))
        require(len(losses) > 0, f"a {self.variant!r} network predicts nothing that a loss is known for: define `loss`")
        return torch.stack(losses).sum()

    @property
    def face_size(self) -> float:
        """Side of a face in the image, pixels: the unit of the losses of vertices."""
        return FACE_SIZE * self.preset.grid.side

    def true_vertices(self, pairs: FacePairs) -> Float[Tensor, "b p 3"]:
        """The true vertices of the face patch."""
        return pairs.truth.vertices[:, self.bound().patch_vertices]

    @classmethod
    def arguments_for(cls, face: MorphableFace) -> dict[str, Any]:
        """What the constructor must be told of a face model."""
        return {}

    def bind(self, face: MorphableFace) -> None:
        """Be used with this face model from now on.

        Raises
        ------
        InputError : the network was built for another one.
        """
        for name, number in self.arguments_for(face).items():
            mine = f"the network regresses {self.arguments[name]} {name}, the face model {face.name!r} has {number}"
            require(self.arguments[name] == number, f"{mine}: use the face model that it was built for")
        self.face = face

    def bound(self) -> MorphableFace:
        """The face model that the network is used with.

        Raises
        ------
        InputError : it has not been told.
        """
        require(self.face is not None, f"a {self.variant!r} network works with a face model: call `bind(face)` first")
        assert self.face is not None
        return self.face


class LandmarkNetwork(FaceNetwork):
    """A network with heat-maps: a `LandmarkDetector`."""

    gives: ClassVar[tuple[str, ...]] = ("heatmaps",)

    def landmarks(self, images: Images) -> Float[Tensor, "b 68 2"]:
        """The landmarks, x and y in pixels of the image."""
        heatmaps = self.predict(images).heatmaps
        assert heatmaps is not None
        return pixels_of(heatmaps, images)


def pixels_of(heatmaps: Float[Tensor, "b 68 H W"], images: Images) -> Float[Tensor, "b 68 2"]:
    """The landmarks that heat-maps stand for, in pixels of the images."""
    return images.shape[-1] / heatmaps.shape[-1] * decode(heatmaps.float())


# The registry


class Variant(NamedTuple):
    """A class of networks, and what its constructor is given under this name."""

    kind: type[FaceNetwork]
    arguments: Mapping[str, Any]


VARIANTS: dict[str, Variant] = {}
"""Networks by name."""

Kind = TypeVar("Kind", bound=type[FaceNetwork])


def variant(name: str, **arguments: Any) -> Callable[[Kind], Kind]:
    """Give a class of networks a name, under which `build`, `train`, `load` and the command line know it.

    Parameters
    ----------
    name : of the variant; a class may have several.
    arguments : of the constructor, under this name.

    Raises
    ------
    InputError : another class has that name.
    """

    def enter(kind: Kind) -> Kind:
        known = VARIANTS.get(name)
        same = known is None or (known.kind.__module__, known.kind.__qualname__) == (kind.__module__, kind.__qualname__)
        require(same, f"there is a variant {name!r} already: choose another name")
        VARIANTS[name] = Variant(kind, arguments)
        if "variant" not in vars(kind):
            kind.variant = name
        return kind

    return enter


def variant_named(name: str) -> Variant:
    """The variant of that name.

    Raises
    ------
    InputError : there is none.
    """
    require(name in VARIANTS, f"unknown variant {name!r}: choose one of {', '.join(VARIANTS)}")
    return VARIANTS[name]


def build(
    variant: str,
    preset: Preset | str,
    seed: int = 0,
    *,
    face: MorphableFace | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> FaceNetwork:
    """A network with fresh weights, the same for the same seed; the global random state is left as it was.

    Parameters
    ----------
    variant : a name from `VARIANTS`.
    preset : sizes of grid and network.
    face : the face model that a network which regresses one's numbers is built for; others do not look at it.
    arguments : of the constructor, beside those that the variant's name stands for.

    Raises
    ------
    InputError : unknown variant or preset; no seed.
    """
    kind, own = variant_named(variant)
    told = {} if face is None else kind.arguments_for(face)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checked_seed(seed))
        network = kind(preset, **{**own, **told, **(arguments or {})})
    network.variant = variant
    if face is not None and network.needs_face:
        network.bind(face)
    return network


def checked_seed(seed: int) -> int:
    """The seed of a run, if it can be one.

    Raises
    ------
    InputError : it cannot.
    """
    require(0 <= seed < 2**63, f"seed must be a whole number from 0 to 2^63 - 1, got {seed}")
    return seed
