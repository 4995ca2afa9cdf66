"""What VRN is compared with: networks that regress numbers, not a volume (paper sections 3.2 and 4).

::

    Parameters  image --stem--> features --+--> trunk 1 --> update --> estimate 1      pose, identity, expression
                                           |                              |
                                           |     68 landmarks, drawn <----+
                                           +--> trunk 2 --> update --> estimate 2 ...
    Vertices    image --stem--> features -----> trunk --> 3 numbers a vertex

`ParameterRegression` follows 3DDFA (Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016): a
cascade in which each network sees the image and the projected estimate of the one before, and regresses a better one.
"""

from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vrn_lite.camera import PIVOT_BEHIND_LANDMARKS, Similarity, crop_camera
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import FACE_SIZE
from vrn_lite.landmarks import NUM_LANDMARKS, gaussians
from vrn_lite.networks.base import FaceNetwork, Guides, Images, Prediction, check_size, variant
from vrn_lite.networks.hourglass import Residual, Stem, modules
from vrn_lite.presets import Preset
from vrn_lite.samples import FacePairs

FEATURES = 256
"""What a trunk boils an image down to."""

SCALE_STEP, SHIFT_STEP, EXPRESSION_STEP = 0.3, 0.2, 0.5
"""Updates of log scale, position (in sizes of the face) and expression for an output of 1: outputs are alike."""

SPARSE = 1000
"""About so many vertices of the face patch stand for all in the loss of `ParameterRegression`."""


PRIOR = 1e-4
"""Weight of the mean squares of identity and expression coefficients against the vertices' distances."""


def exactly(values: Tensor) -> torch.autocast:
    """Where geometry is computed: low precision is for the network alone."""
    return torch.autocast(values.device.type, enabled=False)


class Estimate(NamedTuple):
    """A face as model parameters.

    Attributes
    ----------
    camera : from the model frame to the voxel frame.
    identity : ``[b, i]``, in standard deviations.
    expression : ``[b, e]`` in [0, 1].
    """

    camera: Similarity
    identity: Float[Tensor, "b i"]
    expression: Float[Tensor, "b e"]

    def points(self, face: MorphableFace, which: Int[Tensor, " n"] | None = None) -> Float[Tensor, "b n 3"]:
        """Vertices of the face in the voxel frame: those with the given numbers, or all."""
        mean, identity, expression = face.mean, face.identity, face.expression
        if which is not None:
            mean, identity, expression = mean[which], identity[:, which], expression[:, which]
        moves = self.identity @ identity.flatten(1) + self.expression @ expression.flatten(1)
        return self.camera(mean + moves.unflatten(-1, (-1, 3)))

    def detached(self) -> "Estimate":
        """The same numbers, through which no gradient flows."""
        camera = Similarity(self.camera.scale.detach(), self.camera.rotation.detach(), self.camera.translation.detach())
        return Estimate(camera, self.identity.detach(), self.expression.detach())


class Trunk(nn.Sequential):
    """From the stem's features to numbers: residual modules and max-pooling, as many halvings as an hourglass has.

    Parameters
    ----------
    preset : sizes of grid and network.
    channels : of the input.
    outputs : how many numbers; small ones before training.
    """

    def __init__(self, preset: Preset, channels: int, outputs: int) -> None:
        size, grid = preset.network, preset.grid
        width = size.features
        layers: list[nn.Module] = [Residual(channels, width), modules(size.modules, width)]
        for _ in range(size.levels):
            layers += [nn.MaxPool2d(2), modules(size.modules + 1, width)]
        cells = (grid.height * grid.width) // (size.stem * 2**size.levels) ** 2
        last = nn.Linear(FEATURES, outputs)
        with torch.no_grad():
            last.weight *= 0.1
        super().__init__(
            *layers, nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(cells * width, FEATURES), nn.ReLU(), last
        )


@variant("parameters")
class ParameterRegression(FaceNetwork):
    """A cascade that regresses the parameters of a face model: pose, identity, expression (after 3DDFA).

    Each round has a trunk of its own, as in the original; the stem, which sees the image, is shared and runs once.
    Where 3DDFA renders the estimate as a picture of its vertices' mean coordinates, the 68 landmarks are drawn here.

    Parameters
    ----------
    preset : sizes of grid and network; the stem is that of a VRN.
    identities, expressions : coefficients of the face model, by default ICT-FaceKit's.
    rounds : estimates, each from the one before.
    """

    gives: ClassVar[tuple[str, ...]] = ("vertices", "extra")
    mirrors: ClassVar[bool] = False  # the vertices of a mirrored face are in no order
    needs_face: ClassVar[bool] = True

    def __init__(self, preset: Preset | str, identities: int = 100, expressions: int = 53, rounds: int = 3) -> None:
        super().__init__(preset, identities=identities, expressions=expressions, rounds=rounds)
        size, outputs = self.preset.network, (6, 1, 3, identities, expressions)
        self.parts = outputs
        self.stem = Stem(3, size.stem, size.stem_features, size.features)
        width = size.features + NUM_LANDMARKS
        self.rounds = nn.ModuleList(Trunk(self.preset, width, sum(outputs)) for _ in range(rounds))

    @classmethod
    def arguments_for(cls, face: MorphableFace) -> dict[str, Any]:
        """As many coefficients as the face model has."""
        return {"identities": len(face.identity), "expressions": len(face.expression)}

    def predict(self, images: Images, landmarks: Guides = None) -> Prediction:
        """The face patch under the last estimate, which sees no gradient; all estimates, which do, are the `extra`."""
        face = self.bound()
        found = self.estimates(images, face)
        with exactly(images):
            return Prediction(vertices=found[-1].detached().points(face, face.patch_vertices), extra=tuple(found))

    def loss(self, prediction: Prediction, pairs: FacePairs, phase: int | None = None) -> Float[Tensor, ""]:
        """Distances of vertices, and how far the coefficients are from the mean face's, over all rounds."""
        face, truth = self.bound(), self.true_vertices(pairs)
        some = slice(None, None, max(1, len(face.patch_vertices) // SPARSE))
        numbers = face.patch_vertices[some]

        def misfit(estimate: Estimate) -> Tensor:
            distance = (estimate.points(face, numbers) - truth[:, some]).norm(dim=-1).mean() / self.face_size
            return distance + PRIOR * (estimate.identity.square().mean() + estimate.expression.square().mean())

        return torch.stack([misfit(estimate) for estimate in prediction.extra]).sum()

    def estimates(self, images: Images, face: MorphableFace) -> list[Estimate]:
        """One estimate a round, of images in [0, 1]; gradients stay within a round: each is trained for itself."""
        features, found = self.stem(check_size(images, self.preset)), [self.start(len(images), face)]
        for trunk in self.rounds:
            before = found[-1].detached()
            update = trunk(torch.cat((features, self.drawn(before, face, features)), 1))
            found.append(self.revised(before, update.float(), face))
        return found[1:]

    def drawn(
        self, estimate: Estimate, face: MorphableFace, features: Float[Tensor, "b f h w"]
    ) -> Float[Tensor, "b 68 h w"]:
        """The landmarks of an estimate as Gaussians of 1 cell at the features' resolution."""
        with exactly(features):
            points = estimate.points(face, face.landmarks) / self.preset.network.stem
        return gaussians(points, features.shape[-2], features.shape[-1], dtype=features.dtype)

    def start(self, count: int, face: MorphableFace) -> Estimate:
        """The mean face, frontal, where `camera.crop_camera` puts it; `count` times."""
        level, landmarks = face.mean.new_zeros(count), face.mean[face.landmarks].expand(count, -1, -1)
        with exactly(level):
            camera = crop_camera(landmarks, level, level, level, face.interocular, self.preset.grid)
        identity, expression = (face.mean.new_zeros(count, len(modes)) for modes in (face.identity, face.expression))
        return Estimate(camera, identity, expression)

    def revised(self, estimate: Estimate, update: Float[Tensor, "b n"], face: MorphableFace) -> Estimate:
        """An estimate after an update ``[b, 10 + i + e]``: rotation (6), log scale, position (3), identity, expression.

        The rotation's first two columns are changed and made orthonormal again (Zhou et al., "On the Continuity of
        Rotation Representations in Neural Networks", CVPR 2019). The position is that of the mean face's pivot, which
        the head turns about.
        """
        turn, zoom, shift, identity, expression = update.split(self.parts, -1)
        camera, size = estimate.camera, FACE_SIZE * self.preset.grid.side
        back = face.mean.new_tensor([0.0, 0.0, -PIVOT_BEHIND_LANDMARKS * face.interocular])
        pivot = (face.mean[face.landmarks].mean(0) + back).expand(len(update), 1, 3)
        with exactly(update):
            rotation = orthonormal(camera.rotation[..., :2] + turn.unflatten(-1, (3, 2)))
            scale = camera.scale * (SCALE_STEP * zoom[:, 0]).exp()
            turned = Similarity(scale, rotation, torch.zeros_like(shift))
            translation = camera(pivot)[:, 0] + SHIFT_STEP * size * shift - turned(pivot)[:, 0]
        asked = estimate.expression + EXPRESSION_STEP * expression
        inside = asked + (asked.clamp(0, 1) - asked).detach()  # the gradient of the clamped stays alive
        return Estimate(Similarity(scale, rotation, translation), estimate.identity + identity, inside)


def orthonormal(columns: Float[Tensor, "b 3 2"]) -> Float[Tensor, "b 3 3"]:
    """The rotation whose first column has the first one's direction, and whose second lies in the plane of both."""
    first, second = columns.unbind(-1)
    x = nn.functional.normalize(first, dim=-1)
    y = nn.functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), -1)


@variant("vertices")
class VertexRegression(FaceNetwork):
    """Direct regression of the vertices of the face patch, three numbers each, by one linear layer from the features.

    The network knows nothing of faces before training: all vertices start about the grid's centre.

    Parameters
    ----------
    preset : sizes of grid and network; the stem is that of a VRN.
    vertices : how many, by default ICT-FaceKit's face patch.
    """

    gives: ClassVar[tuple[str, ...]] = ("vertices",)
    mirrors: ClassVar[bool] = False
    needs_face: ClassVar[bool] = True

    def __init__(self, preset: Preset | str, vertices: int = 6706) -> None:
        super().__init__(preset, vertices=vertices)
        size = self.preset.network
        self.stem = Stem(3, size.stem, size.stem_features, size.features)
        self.trunk = Trunk(self.preset, size.features, 3 * vertices)

    @classmethod
    def arguments_for(cls, face: MorphableFace) -> dict[str, Any]:
        """As many vertices as the face patch has."""
        return {"vertices": len(face.patch_vertices)}

    def predict(self, images: Images, landmarks: Guides = None) -> Prediction:
        """The vertices of the face patch ``[b, vertices, 3]``, voxel frame."""
        offsets = self.trunk(self.stem(check_size(images, self.preset))).float().unflatten(-1, (-1, 3))
        return Prediction(vertices=offsets.new_tensor(self.preset.grid.centre) + self.face_size * offsets)
