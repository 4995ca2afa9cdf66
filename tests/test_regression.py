"""Networks that regress numbers: what their outputs mean, and what flows where."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from shapes import toy_face, turns
from vrn_lite.camera import PIVOT_BEHIND_LANDMARKS, Similarity
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import FACE_SIZE, InputError
from vrn_lite.networks.base import build
from vrn_lite.networks.regression import SCALE_STEP, SHIFT_STEP, Estimate, ParameterRegression, VertexRegression, orthonormal
from vrn_lite.networks.vrn import VRN
from vrn_lite.presets import PRESETS, NetworkSize, Preset, preset

FACE = toy_face()
GRID = PRESETS["tiny"].grid
SIZE = FACE_SIZE * GRID.side


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def images(count: int = 2, size: Preset = PRESETS["tiny"]) -> Tensor:
    return noise(count, 3, size.grid.height, size.grid.width)


def cascade(size: str | Preset = "tiny", seed: int = 0) -> ParameterRegression:
    network = build("parameters", size, seed, face=FACE)
    assert isinstance(network, ParameterRegression)
    return network


def some_estimate(count: int = 3) -> Estimate:
    camera = Similarity(1 + noise(count, seed=1), turns(count), 30 * noise(count, 3, seed=2))
    return Estimate(camera, noise(count, 4, seed=3) - 0.5, 0.2 + 0.6 * noise(count, 4, seed=4))


def pivot(estimate: Estimate) -> Tensor:
    point = FACE.mean[FACE.landmarks].mean(0) - torch.tensor([0, 0, PIVOT_BEHIND_LANDMARKS * FACE.interocular])
    return estimate.camera(point.expand(len(estimate.identity), 1, 3))[:, 0]


def assert_same(one: Estimate, other: Estimate) -> None:
    parts = zip((*vars(one.camera).values(), *one[1:]), (*vars(other.camera).values(), *other[1:]), strict=True)
    for found, wanted in parts:
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


def numbers(turn: Tensor | None = None, zoom: float = 0.0, shift: tuple[float, float, float] = (0, 0, 0), expression: float = 0.0, count: int = 3) -> Tensor:
    """What a trunk puts out for an update."""
    rotation = torch.zeros(count, 6) if turn is None else turn.flatten(1)
    rest = torch.tensor([zoom, *shift, *[0.0] * 4, *[expression] * 4])
    return torch.cat((rotation, rest.expand(count, -1)), 1)


# Estimates


def test_the_points_of_an_estimate_are_the_models_under_its_camera():
    estimate = some_estimate()
    mesh = FACE.mesh(estimate.identity, estimate.expression)
    expected = estimate.camera(mesh.vertices)[:, : len(FACE.mean)]
    torch.testing.assert_close(estimate.points(FACE), expected)
    some = torch.tensor([3, 200, 17])
    torch.testing.assert_close(estimate.points(FACE, some), expected[:, some])


def test_the_start_is_the_mean_face_frontal_in_the_crop():
    start = cascade().start(2, FACE)
    points = start.points(FACE, FACE.landmarks)
    low, high = points[..., :2].amin(1), points[..., :2].amax(1)
    torch.testing.assert_close((high - low).prod(-1).sqrt(), torch.full((2,), SIZE))
    torch.testing.assert_close((low + high) / 2, torch.tensor(GRID.centre[:2]).expand(2, 2))
    torch.testing.assert_close(pivot(start)[:, 2], torch.full((2,), GRID.centre[2]))
    torch.testing.assert_close(start.camera.rotation, torch.diag(torch.tensor([1.0, -1, -1])).expand(2, 3, 3))
    assert not start.identity.any()
    assert not start.expression.any()


# Updates


def test_columns_become_a_rotation_and_a_rotations_columns_itself():
    rotation = orthonormal(torch.randn(50, 3, 2, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(50, 3, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(50))
    torch.testing.assert_close(orthonormal(turns(50)[..., :2]), turns(50), rtol=0, atol=1e-5)


def test_an_update_of_nothing_changes_nothing():
    assert_same(cascade().revised(some_estimate(), numbers(), FACE), some_estimate())


def test_one_update_reaches_any_rotation_and_keeps_the_pivot():
    estimate, goal = some_estimate(), turns(3, seed=5)
    revised = cascade().revised(estimate, numbers(goal[..., :2] - estimate.camera.rotation[..., :2]), FACE)
    torch.testing.assert_close(revised.camera.rotation, goal, rtol=0, atol=1e-5)
    torch.testing.assert_close(pivot(revised), pivot(estimate))


def test_position_counts_in_faces_and_scale_by_its_logarithm():
    estimate = some_estimate()
    revised = cascade().revised(estimate, numbers(zoom=2.0, shift=(1.0, -2.0, 0.5)), FACE)
    torch.testing.assert_close(pivot(revised) - pivot(estimate), SHIFT_STEP * SIZE * torch.tensor([1.0, -2.0, 0.5]).expand(3, 3), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(revised.camera.scale / estimate.camera.scale, torch.full((3,), 2 * SCALE_STEP).exp())
    torch.testing.assert_close(revised.camera.rotation, estimate.camera.rotation)


@pytest.mark.parametrize(("output", "limit"), [(-9.0, 0.0), (9.0, 1.0)])
def test_expressions_stay_between_0_and_1_and_keep_their_gradient(output, limit):
    update = numbers(expression=output).requires_grad_()
    revised = cascade().revised(some_estimate(), update, FACE)
    assert torch.equal(revised.expression.detach(), torch.full((3, 4), limit))
    revised.expression.sum().backward()
    assert bool((update.grad[:, -4:] > 0).all())


# The cascade


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_gives_an_estimate_a_round_and_all_vertices(name):
    small = replace(preset(name), network=replace(preset(name).network, features=8, stem_features=4, modules=1))
    network = ParameterRegression(small, 4, 4, rounds=2).eval()
    with torch.inference_mode():
        found = network.estimates(images(1, small), FACE)
        assert [(e.camera.rotation.shape, e.identity.shape, e.expression.shape) for e in found] == [((1, 3, 3), (1, 4), (1, 4))] * 2
        assert found[-1].points(FACE).shape == (1, len(FACE.mean), 3)
        assert VertexRegression(small, 50).eval()(images(1, small)).shape == (1, 50, 3)


def test_gradients_stay_within_a_round():
    network = cascade()
    network.estimates(images(), FACE)[1].points(FACE).sum().backward()
    reached = [any(p.grad is not None for p in trunk.parameters()) for trunk in network.rounds]
    assert reached == [False, True, False]
    assert all(p.grad is not None for p in network.stem.parameters())


def test_a_round_sees_the_estimate_before_it():
    network = cascade().eval()
    first, second = (network.estimates(images(), FACE)[1] for _ in range(2))
    assert torch.equal(first.identity, second.identity)
    with torch.no_grad():
        network.rounds[0][-1].bias[7] += 1  # x of the position after the first round
    assert not torch.equal(network.estimates(images(), FACE)[1].identity, first.identity)


def test_landmarks_are_drawn_in_the_cells_where_they_stand():
    network, estimate = cascade(), cascade().start(1, FACE)
    drawn = network.drawn(estimate, FACE, torch.zeros(1, 16, 16, 16))
    cells = drawn[0].flatten(1).argmax(1)
    points = estimate.points(FACE, FACE.landmarks)[0] / network.preset.network.stem
    torch.testing.assert_close(torch.stack((cells % 16, cells // 16), -1), points[:, :2].long())


def test_low_precision_is_for_the_network_alone():
    network = cascade().eval()
    exact = network.drawn(network.start(1, FACE), FACE, torch.zeros(1, 16, 16, 16))
    update = numbers(count=1, zoom=0.1, shift=(0.1, 0.2, 0.3))
    revised = network.revised(network.start(1, FACE), update, FACE)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.drawn(network.start(1, FACE), FACE, torch.zeros(1, 16, 16, 16)), exact)
        assert_same(network.revised(network.start(1, FACE), update, FACE), revised)
        assert network.estimates(images(), FACE)[-1].camera.translation.dtype == torch.float32


def test_in_eval_mode_a_sample_does_not_depend_on_its_batch():
    network, direct = cascade().eval(), VertexRegression("tiny", 50).eval()
    with torch.inference_mode():
        together, alone = network.estimates(images(3), FACE)[-1], network.estimates(images(3)[:1], FACE)[-1]
        torch.testing.assert_close(together.points(FACE)[:1], alone.points(FACE), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(direct(images(3))[:1], direct(images(3)[:1]), rtol=1e-4, atol=1e-3)


def test_the_stem_takes_a_vrns_weights():
    vrn = VRN("tiny")
    for network in (cascade(), VertexRegression("tiny", 50)):
        network.stem.load_state_dict(vrn.stem.state_dict())


def test_another_face_model_is_refused():
    other = replace(FACE, identity=FACE.identity[:3])
    message = "regresses 4 identities, the face model 'toy' has 3: use the face model that it was built for"
    with pytest.raises(InputError, match=message):
        cascade().bind(other)


def test_images_of_another_size_are_refused():
    for ask in (lambda pictures: cascade().estimates(pictures, FACE), VertexRegression("tiny", 50)):
        with pytest.raises(InputError, match="preset tiny needs images of 32 x 32 pixels"):
            ask(torch.zeros(1, 3, 64, 64))


# Vertices


def test_vertices_start_about_the_grids_centre_and_count_in_faces():
    network = VertexRegression("tiny", 50)
    with torch.no_grad():
        network.trunk[-1].weight.zero_()
        network.trunk[-1].bias.copy_(torch.arange(150) / 100)
    expected = torch.tensor(GRID.centre) + SIZE * torch.arange(150).view(50, 3) / 100
    torch.testing.assert_close(network(images()), expected.expand(2, -1, -1))


def test_untrained_vertices_are_near_the_centre():
    found = VertexRegression("tiny", 50)(images()).detach()
    assert float((found - torch.tensor(GRID.centre)).norm(dim=-1).mean()) < SIZE / 2


def test_a_face_model_tells_its_sizes():
    assert ParameterRegression.arguments_for(FACE) == {"identities": 4, "expressions": 4}
    assert VertexRegression.arguments_for(FACE) == {"vertices": 400}
    assert VRN.arguments_for(FACE) == {}


def test_the_defaults_are_ict_facekits(ict_face: MorphableFace):
    size = Preset("minute", replace(GRID, depth=8, height=16, width=16), NetworkSize(stem=2, levels=1, features=8, modules=1, stacks=1, stem_features=8))
    networks = {"parameters": ParameterRegression(size), "vertices": VertexRegression(size)}
    for variant, network in networks.items():
        assert network.arguments_for(ict_face).items() <= network.arguments.items(), variant
