"""The contract of a network, over every variant, and what a new one needs: one class."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from shapes import toy_face
from vrn_lite.frame import FACE_SIZE, Grid, InputError
from vrn_lite.landmarks import heatmaps
from vrn_lite.networks import base
from vrn_lite.networks.base import VARIANTS, FaceNetwork, LandmarkNetwork, Prediction, build, finds_landmarks, variant
from vrn_lite.networks.regression import PRIOR
from vrn_lite.networks.vrn import GuidedVRN, LandmarkHourglass
from vrn_lite.networks.weights import load, load_detector, save_weights
from vrn_lite.photo.reconstruct import networks_for, reconstruct
from vrn_lite.presets import NetworkSize, Preset
from vrn_lite.samples import FacePairs, make_pairs
from vrn_lite.training.loop import train
from vrn_lite.training.losses import landmark_loss, voxel_loss
from vrn_lite.training.optim import OptimConfig

FACE = toy_face()
MINUTE = Preset("minute", Grid(8, 16, 16), NetworkSize(stem=2, levels=1, features=8, modules=1, stacks=1, stem_features=8))
BOX = (40.0, 30.0, 90.0, 85.0)
QUICK = OptimConfig(lr=1e-2, warm_up=5, decay=0.35, final=0.01, clip=1.0)


@pytest.fixture
def pairs() -> FacePairs:
    return make_pairs(FACE, MINUTE, 2, torch.Generator().manual_seed(0))


@pytest.fixture
def photo() -> Tensor:
    """A photograph of 128 x 128 pixels, as a picture's bytes."""
    return (255 * torch.rand(128, 128, 3, generator=torch.Generator().manual_seed(1))).byte().numpy()


def made(variant: str, seed: int = 0) -> FaceNetwork:
    return build(variant, MINUTE, seed, face=FACE)


def fixed(pairs: FacePairs):
    """A stream that gives one batch, always."""
    return lambda step, batch, generator, device: pairs


# Laws of every variant


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_prediction_has_what_the_network_gives_and_nothing_else(variant, pairs):
    network = made(variant)
    prediction = network.predict(pairs.images, pairs.landmarks)
    assert tuple(name for name in Prediction._fields if getattr(prediction, name) is not None) == network.gives
    if prediction.logits is not None:
        assert prediction.logits.shape == (2, 8, 8, 8)
        assert network(pairs.images, pairs.landmarks).shape == (2, 8, 16, 16)
    if prediction.heatmaps is not None:
        assert prediction.heatmaps.shape == (2, 68, 8, 8)
    if prediction.vertices is not None:
        assert prediction.vertices.shape == (2, len(FACE.patch_vertices), 3)
    assert finds_landmarks(network) == ("heatmaps" in network.gives)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_is_a_finite_number_and_moves_every_parameter(variant, pairs):
    network = made(variant)
    loss = network.loss(network.predict(pairs.images, pairs.landmarks), pairs)
    loss.backward()
    assert loss.ndim == 0
    assert bool(torch.isfinite(loss))
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert bool(torch.isfinite(weight.grad).all()), name
        assert weight.ndim == 1 or bool(weight.grad.any()), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_and_arguments_come_back(variant, pairs, tmp_path):
    network = made(variant, 2)
    network.predict(pairs.images, pairs.landmarks)  # batch norm's statistics move
    save_weights(network.eval(), tmp_path / "w.safetensors", data="toy")
    loaded = load(tmp_path / "w.safetensors")
    facts = (type(network), variant, network.arguments, network.preset, False)
    assert (type(loaded), loaded.variant, loaded.arguments, loaded.preset, loaded.training) == facts
    if network.needs_face:
        loaded.bind(FACE)
    with torch.inference_mode():
        one, two = (net.predict(pairs.images, pairs.landmarks) for net in (network, loaded))
    for part, other in zip(one[:3], two[:3], strict=True):
        assert (part is None) == (other is None)
        if part is not None:
            torch.testing.assert_close(part, other, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_facts_of_a_variant(variant):
    network = made(variant)
    assert network.variant == variant
    assert network.guided == variant.startswith("guided")
    assert network.target == ("frontal" if variant == "unaligned" else "aligned")
    assert network.mirrors == (variant not in ("parameters", "vertices"))
    assert network.needs_face == (variant in ("parameters", "vertices"))


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_a_guided_network_keeps_its_sigma(sigma, tmp_path):
    save_weights(GuidedVRN(MINUTE, sigma=sigma), tmp_path / "w.safetensors")
    loaded = load(tmp_path / "w.safetensors")
    assert isinstance(loaded, GuidedVRN)
    assert loaded.sigma == sigma
    assert loaded.arguments == {"sigma": sigma}


def test_two_names_of_one_class_are_two_variants():
    assert VARIANTS["guided"].kind is VARIANTS["guided_sigma2"].kind
    assert (made("guided").arguments, made("guided_sigma2").arguments) == ({"sigma": 1.0}, {"sigma": 2.0})


# The default loss: the sum of what there is


def test_the_two_losses_of_multitask_count_alike(pairs):
    network = made("multitask").eval()
    prediction = network.predict(pairs.images)
    expected = voxel_loss(prediction.logits, pairs.volumes) + landmark_loss(prediction.heatmaps, pairs.landmarks / 2)
    torch.testing.assert_close(network.loss(prediction, pairs), expected)


def test_a_phase_samples_the_voxels_of_the_default_loss(pairs):
    network = made("vrn").eval()
    prediction = network.predict(pairs.images)
    whole, *parts = (network.loss(prediction, pairs, phase) for phase in (None, 0, 1, 2, 3))
    assert len({float(part.detach()) for part in parts}) == 4
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_the_loss_of_vertices_is_plain_l2(pairs):
    network, truth = made("vertices").eval(), pairs.truth.vertices[:, FACE.patch_vertices]
    prediction = network.predict(pairs.images)
    expected = ((prediction.vertices - truth) ** 2).sum(-1).mean() / (FACE_SIZE * 16) ** 2
    torch.testing.assert_close(network.loss(prediction, pairs), expected)


def test_the_loss_of_parameters_is_the_distance_over_all_rounds_with_a_prior(pairs):
    network, truth = made("parameters").eval(), pairs.truth.vertices[:, FACE.patch_vertices]
    with torch.no_grad():
        network.rounds[0][-1].bias[-8:] += 3  # identity and expression far from the mean face's
    prediction = network.predict(pairs.images)
    torch.testing.assert_close(prediction.vertices, prediction.extra[-1].points(FACE, FACE.patch_vertices))

    def cost(found) -> Tensor:
        distance = (found.points(FACE, FACE.patch_vertices) - truth).norm(dim=-1).mean() / (FACE_SIZE * 16)
        return distance + PRIOR * ((found.identity**2).mean() + (found.expression**2).mean())

    torch.testing.assert_close(network.loss(prediction, pairs), sum(map(cost, prediction.extra)))


def test_a_guided_network_is_guided_once_and_gives_logits(pairs):
    """Its logits are logits: the loss is that of one sigmoid, not of two."""
    network = made("guided").eval()
    prediction = network.predict(pairs.images, pairs.landmarks)
    expected = nn.functional.binary_cross_entropy_with_logits(network(pairs.images, pairs.landmarks), pairs.volumes.float())
    torch.testing.assert_close(network.loss(prediction, pairs), expected)
    assert not torch.equal(prediction.logits, network.predict(pairs.images, pairs.landmarks.flip(1)).logits)


# What is refused


def test_unknown_variants_and_taken_names_are_refused():
    with pytest.raises(InputError, match="unknown variant 'vrm': choose one of parameters, vertices, vrn"):
        build("vrm", "tiny")
    with pytest.raises(InputError, match="there is a variant 'vrn' already: choose another name"):
        variant("vrn")(type("Other", (FaceNetwork,), {}))


def test_a_guided_network_without_landmarks_is_refused(pairs):
    with pytest.raises(InputError, match="a guided network needs landmarks"):
        made("guided").predict(pairs.images)


@pytest.mark.parametrize("variant", ["parameters", "vertices"])
def test_regression_needs_its_own_face_model(variant, pairs):
    told = {"parameters": {"identities": 3, "expressions": 4}, "vertices": {"vertices": 399}}[variant]
    network = build(variant, MINUTE, arguments=told)
    with pytest.raises(InputError, match="the network regresses (3 identities|399 vertices), the face model 'toy' has (4|400)"):
        network.bind(FACE)
    with pytest.raises(InputError, match=f"a '{variant}' network works with a face model: call `bind"):
        network.loss(network.predict(pairs.images), pairs)


def test_a_network_that_predicts_nothing_has_no_loss(pairs):
    class Mute(FaceNetwork):
        def predict(self, images, landmarks=None):
            return Prediction()

    with pytest.raises(InputError, match="predicts nothing that a loss is known for: define `loss`"):
        Mute(MINUTE).loss(Prediction(), pairs)


# Yours


@pytest.fixture
def registry(monkeypatch):
    """A registry that forgets what a test enters."""
    monkeypatch.setattr(base, "VARIANTS", VARIANTS.copy())
    monkeypatch.setattr("vrn_lite.networks.weights.VARIANTS", base.VARIANTS)


@pytest.mark.usefixtures("registry")
def test_a_new_variant_is_one_class(tmp_path, photo):
    """It trains, is saved, loads and reconstructs, and no other file is touched."""

    @variant("mine")
    class Mine(FaceNetwork):
        def __init__(self, preset: Preset | str, width: int = 8) -> None:
            super().__init__(preset, width=width)
            depth = self.preset.grid.depth
            self.layers = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, depth, 1))

        def predict(self, images: Tensor, landmarks: Tensor | None = None) -> Prediction:
            return Prediction(logits=self.layers(images))

    network = build("mine", "tiny", arguments={"width": 12})
    losses = [step.loss for step in train(network, FACE, samples=80, batch=4, optim=QUICK, device="cpu")]
    assert losses[-1] < 0.8 * losses[0]
    save_weights(network, tmp_path / "mine.safetensors")
    loaded = load(tmp_path / "mine.safetensors")
    assert (type(loaded), loaded.arguments, loaded.variant) == (Mine, {"width": 12}, "mine")
    with torch.no_grad():
        loaded.layers[-1].bias += torch.linspace(-9, 9, 32)  # a surface, whatever it has learnt
    assert len(reconstruct(photo, loaded, BOX, recrop=False).mesh.faces) > 100
    assert next(train("mine", FACE, preset="tiny", samples=4, batch=4, device="cpu")).step == 1


def test_your_own_loss_is_a_function(pairs):
    network, seen = made("vrn"), []

    def mine(prediction: Prediction, given: FacePairs) -> Tensor:
        seen.append(given is pairs)
        return prediction.logits.square().mean()

    losses = [step.loss for step in train(network, fixed(pairs), samples=80, batch=2, loss=mine, optim=QUICK, device="cpu")]
    assert seen == [True] * 40
    assert losses[-1] < 0.3 * losses[0]


class Known:
    """A detector that is no network at all: it finds every landmark in the middle of the image."""

    preset = build("vrn", "tiny").preset

    def landmarks(self, images: Tensor) -> Tensor:
        x, y = images.shape[-1] * torch.linspace(0.3, 0.7, 68), images.shape[-2] * torch.linspace(0.25, 0.75, 68)
        return torch.stack((x, y), -1).expand(len(images), -1, -1)


@pytest.fixture
def guided(tmp_path) -> FaceNetwork:
    """A guided network whose volume has a surface."""
    network = build("guided", "tiny").eval()
    with torch.no_grad():
        network.head[-1].bias += torch.linspace(-9, 9, 32)
    return network


def test_your_own_detector_works_everywhere(guided, photo):
    assert finds_landmarks(Known())
    assert networks_for(guided, Known())[1].__class__ is Known
    result = reconstruct(photo, guided, BOX, detector=Known(), recrop=False)
    assert result.landmarks.shape == (68, 2)
    assert abs(result.landmarks[:, 0].mean() - 65) < 1
    step = next(train(build("guided", "tiny"), FACE, samples=4, batch=4, detector=Known(), device="cpu"))
    assert step.loss > 0


def test_your_own_landmarks_are_taken_as_they_are(guided, photo, monkeypatch):
    points = torch.stack((torch.linspace(40, 90, 68), torch.linspace(30, 85, 68)), -1)
    seen = []
    inputs = GuidedVRN.inputs
    monkeypatch.setattr(GuidedVRN, "inputs", lambda self, images, marks: seen.append(marks) or inputs(self, images, marks))
    result = reconstruct(photo, guided, landmarks=points, test_time_augmentation=False)
    assert result.box == BOX, "without a box, the landmarks' own"
    assert torch.allclose(torch.tensor(result.landmarks), points.double())
    flat = torch.cat((points, torch.zeros(68, 1)), 1)[None]
    assert torch.allclose(seen[0], result.crop(flat)[..., :2], atol=1e-4)
    other = reconstruct(photo, guided, (30.0, 30.0, 90.0, 90.0), landmarks=points.tolist())
    assert other.box == (30.0, 30.0, 90.0, 90.0)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.zeros(67, 2), r"landmarks must be \[68, 2\], x and y in the photograph's pixels, got \[67, 2\]"),
        (torch.zeros(68, 3), r"landmarks must be \[68, 2\]"),
        (torch.full((68, 2), float("nan")), "landmarks must be finite numbers"),
        (torch.full((68, 2), 500.0), r"the landmarks lie outside the photograph of 128 x 128 pixels \(0% inside, 50% needed\)"),
    ],
)
def test_wrong_landmarks_are_refused(guided, photo, points, message):
    with pytest.raises(InputError, match=message):
        reconstruct(photo, guided, landmarks=points)


def test_a_model_that_gives_no_volume_and_a_detector_that_finds_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match="a 'landmarks' network finds landmarks and no volume: .* this one as the detector"):
        networks_for(build("landmarks", "tiny"))
    with pytest.raises(InputError, match="a 'vertices' network gives numbers of a face model and no volume"):
        networks_for(build("vertices", "tiny"))
    save_weights(build("vrn", "tiny"), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="a 'vrn' network finds no landmarks"):
        networks_for(build("guided", "tiny"), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="a 'vrn' network finds no landmarks: choose landmarks or multitask"):
        load_detector(tmp_path / "w.safetensors")


def test_a_heat_map_network_of_any_resolution_is_a_detector():
    """The landmarks come out in pixels, whatever a cell is."""

    class Painted(LandmarkNetwork):
        def predict(self, images, landmarks=None):
            return Prediction(heatmaps=heatmaps(POINTS / 4, 16, 16).log())

    POINTS = 20 + 24 * torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(2))
    found = Painted("lite").landmarks(torch.zeros(1, 3, 64, 64))
    torch.testing.assert_close(found, POINTS, rtol=0, atol=1e-2)
    assert finds_landmarks(LandmarkHourglass("tiny"))


def test_the_rooms_example_is_the_contracts():
    """The class in the docstring of `networks.base` is the one that this file tests."""
    text = (Path(base.__file__)).read_text().split('"""')[1]
    for line in ('@variant("mine")', "class Mine(FaceNetwork):", "super().__init__(preset, width=width)"):
        assert line in text
