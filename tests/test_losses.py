import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from shapes import toy_face
from vrn_lite.frame import FACE_SIZE, Grid, InputError
from vrn_lite.landmarks import decode, heatmaps
from vrn_lite.networks.base import VARIANTS, build
from vrn_lite.networks.regression import Estimate, Regression, sizes
from vrn_lite.networks.vrn import GuidedVRN
from vrn_lite.presets import NetworkSize, Preset
from vrn_lite.training.losses import PRIOR, distance_loss, landmark_loss, square_loss, voxel_loss

FACE = toy_face()
MINUTE = Preset("minute", Grid(8, 16, 16), NetworkSize(stem=2, levels=1, features=8, modules=1, stacks=1, stem_features=8))


def samples(size: Preset = MINUTE, count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g, grid = torch.Generator().manual_seed(0), size.grid
    images, landmarks = torch.rand(count, 3, grid.height, grid.width, generator=g), torch.rand(count, 68, 3, generator=g) * grid.width
    return images, torch.rand(count, *grid.shape, generator=g) < 0.4, landmarks


# The loss of the volume


@pytest.mark.parametrize(("coarse", "full"), [((2, 5, 8, 8), (2, 5, 16, 16)), ((2, 3, 8, 6), (2, 3, 32, 24)), ((1, 40, 48, 48), (1, 40, 192, 192))])
def test_voxel_loss_equals_the_cross_entropy_of_the_enlarged_logits(coarse, full):
    g = torch.Generator().manual_seed(0)
    truth = torch.rand(full, generator=g) < 0.4
    logits = [(4 * torch.randn(coarse, generator=torch.Generator().manual_seed(1))).requires_grad_() for _ in range(2)]
    ours = voxel_loss(logits[0], truth)
    enlarged = interpolate(logits[1], size=full[-2:], mode="bilinear", align_corners=False)
    theirs = binary_cross_entropy_with_logits(enlarged, truth.float())
    (3 * ours).backward()
    (3 * theirs).backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits[0].grad, logits[1].grad, rtol=1e-4, atol=1e-7)


def test_the_loss_of_no_knowledge_is_log_2():
    truth = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.5
    assert float(voxel_loss(torch.zeros(1, 4, 4, 4), truth)) == pytest.approx(0.693147, rel=1e-5)


def test_the_loss_of_certain_truth_is_nothing_and_of_certain_error_finite():
    truth = torch.ones(1, 4, 8, 8, dtype=torch.bool)
    assert float(voxel_loss(torch.full((1, 4, 4, 4), 30.0), truth)) < 1e-6
    wrong = float(voxel_loss(torch.full((1, 4, 4, 4), -1000.0), truth))
    assert 10 < wrong < float("inf")


def test_the_gradient_of_bfloat16_logits_is_bfloat16():
    logits = torch.zeros(1, 4, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    voxel_loss(logits, torch.ones(1, 4, 8, 8, dtype=torch.bool)).backward()
    assert logits.grad.dtype == torch.bfloat16
    torch.testing.assert_close(logits.grad.float().sum(), torch.tensor(-0.5), rtol=1e-2, atol=0)


def test_the_loss_stays_in_float32_inside_autocast():
    truth = torch.ones(1, 4, 8, 8, dtype=torch.bool)
    wrong = torch.full((1, 4, 4, 4), -30.0, dtype=torch.bfloat16)
    alone = voxel_loss(wrong, truth)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(voxel_loss(wrong, truth), alone)
    assert torch.isfinite(alone)


@pytest.mark.parametrize(
    ("coarse", "full"), [((2, 5, 8, 8), (2, 5, 16, 16)), ((2, 3, 8, 6), (2, 3, 32, 24)), ((1, 2, 4, 4), (1, 2, 8, 16))]
)
def test_the_mean_over_all_phases_is_the_whole_loss_and_so_is_its_gradient(coarse, full):
    truth = torch.rand(full, generator=torch.Generator().manual_seed(0)) < 0.4
    logits = [(4 * torch.randn(coarse, generator=torch.Generator().manual_seed(1))).requires_grad_() for _ in range(2)]
    phases = (full[-2] // coarse[-2]) * (full[-1] // coarse[-1])
    sampled = torch.stack([voxel_loss(logits[0], truth, phase) for phase in range(phases)])
    whole = voxel_loss(logits[1], truth)
    sampled.mean().backward()
    whole.backward()
    torch.testing.assert_close(sampled.mean(), whole)
    torch.testing.assert_close(logits[0].grad, logits[1].grad)
    assert len(set(sampled.tolist())) == phases


def test_a_phase_is_one_place_in_every_cell():
    logits = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    truth = torch.rand(1, 2, 8, 12, generator=torch.Generator().manual_seed(2)) < 0.4
    enlarged = interpolate(logits, size=(8, 12), mode="bilinear", align_corners=False)
    for row, column in ((0, 0), (0, 2), (1, 1)):
        part = (..., slice(row, None, 2), slice(column, None, 3))
        expected = binary_cross_entropy_with_logits(enlarged[part], truth[part].float())
        torch.testing.assert_close(voxel_loss(logits, truth, 3 * row + column), expected)
    assert torch.equal(voxel_loss(logits, truth, 5), voxel_loss(logits, truth, 5 + 6 * 12345))


# The loss of the landmarks


def test_the_true_heatmaps_cost_nothing_and_give_the_landmarks_back():
    points = 3 + 10 * torch.rand(2, 68, 2, generator=torch.Generator().manual_seed(3))
    truth = heatmaps(points, 16, 16).clamp(min=1e-30).log()
    assert float(landmark_loss(truth, points)) == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(decode(truth), points, rtol=0, atol=1e-2)


def test_equal_maps_cost_the_information_of_a_gaussian():
    points = torch.full((1, 68, 2), 8.0)
    truth = heatmaps(points, 16, 16)[0, 0]
    information = float((truth * (truth * 256).log()).sum())
    assert float(landmark_loss(torch.zeros(1, 68, 16, 16), points)) == pytest.approx(information, rel=1e-5)


# The losses of vertices


def test_vertices_moved_by_t_cost_t_or_its_square_in_sizes_of_the_face():
    truth = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(4))
    moved = truth + torch.tensor([3.0, 0.0, -4.0])
    assert float(distance_loss(moved, truth, 10.0)) == pytest.approx(0.5)
    assert float(square_loss(moved, truth, 10.0)) == pytest.approx(0.25)
    assert float(distance_loss(truth, truth, 10.0)) == float(square_loss(truth, truth, 10.0)) == 0


# Networks with their losses


def patch() -> torch.Tensor:
    """Vertices of the face patch for two samples."""
    return 16 * torch.rand(2, len(FACE.patch_vertices), 3, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_gets_a_gradient(variant):
    objective = Objective(build(variant, MINUTE, arguments=sizes(variant, FACE)), face=FACE)
    outcome = objective(*samples(), patch())
    outcome.loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() and bool(p.grad.any()) for p in objective.parameters() if p.ndim > 1)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in objective.parameters())
    regresses, finds = isinstance(objective.network, Regression), variant in ("landmarks", "multitask")
    assert (outcome.coarse is None, outcome.landmarks is None) == (regresses or variant == "landmarks", not finds)
    assert (outcome.vertices is None) == (not regresses)


def test_the_loss_of_vertices_is_plain_l2():
    network, truth = build("vertices", MINUTE, arguments=sizes("vertices", FACE)).eval(), patch()
    outcome = Objective(network, face=FACE)(*samples(), truth)
    assert torch.equal(outcome.vertices, network(samples()[0]).detach())
    torch.testing.assert_close(outcome.loss, ((outcome.vertices - truth) ** 2).sum(-1).mean() / (FACE_SIZE * 16) ** 2)


def test_the_loss_of_parameters_is_the_distance_over_all_rounds_with_a_prior():
    network, truth = build("parameters", MINUTE, arguments=sizes("parameters", FACE)).eval(), patch()
    with torch.no_grad():
        network.rounds[0][-1].bias[-8:] += 3  # identity and expression far from the mean face's
    outcome = Objective(network, face=FACE)(*samples(), truth)
    estimates = network.estimates(samples()[0], FACE)
    torch.testing.assert_close(outcome.vertices, estimates[-1].points(FACE, FACE.patch_vertices))

    def cost(found: Estimate) -> torch.Tensor:
        distance = (found.points(FACE, FACE.patch_vertices) - truth).norm(dim=-1).mean() / (FACE_SIZE * 16)
        return distance + PRIOR * ((found.identity**2).mean() + (found.expression**2).mean())

    torch.testing.assert_close(outcome.loss, sum(map(cost, estimates)))


@pytest.mark.parametrize("variant", ["parameters", "vertices"])
def test_regression_without_a_face_model_or_the_truth_is_refused(variant):
    network = build(variant, MINUTE, arguments=sizes(variant, FACE))
    for objective, vertices in ((Objective(network), patch()), (Objective(network, face=FACE), None)):
        with pytest.raises(InputError, match=f"a '{variant}' network is trained with its face model and the true vertices"):
            objective(*samples(), vertices)


def test_vertices_of_another_face_model_are_refused():
    network = build("vertices", MINUTE, arguments={"vertices": 399})
    with pytest.raises(InputError, match="the network regresses 399 vertices, the face patch has 400: use the face model that it was built for"):
        Objective(network, face=FACE)(*samples(), patch())


def test_the_two_losses_of_multitask_count_alike():
    network, (images, volumes, landmarks) = build("multitask", MINUTE).eval(), samples()
    coarse, maps = network.tasks(images)
    expected = voxel_loss(coarse, volumes) + landmark_loss(maps, landmarks / 2)
    torch.testing.assert_close(Objective(network)(images, volumes, landmarks).loss, expected)


def test_landmarks_come_out_in_pixels():
    network, (images, volumes, landmarks) = build("landmarks", MINUTE).eval(), samples()
    torch.testing.assert_close(Objective(network)(images, volumes, landmarks).landmarks, network.landmarks(images))


def test_guidance_is_by_the_true_landmarks():
    network, (images, volumes, landmarks) = build("guided", MINUTE).eval(), samples()
    assert isinstance(network, GuidedVRN)
    torch.testing.assert_close(Objective(network)(images, volumes, landmarks).coarse, network.coarse(images, landmarks))


COMPILED = """
from functools import partial
import torch
torch.compile = partial(torch.compile, backend="aot_eager")  # traced and split as always; no minute in the C++ compiler
from test_objective import MINUTE, Objective, build, samples
torch.set_num_threads(1)
network = build("vrn", MINUTE)
names = list(network.state_dict())
compiled, batch = Objective(network, compile=True), samples()
ours, theirs = compiled(*batch), Objective(network)(*batch)
torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-4, atol=1e-5)
found, wanted = (torch.autograd.grad(outcome.loss, list(network.parameters())) for outcome in (ours, theirs))
torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)
assert list(network.state_dict()) == names
assert list(compiled.state_dict()) == [f"network.{name}" for name in names]
"""


def test_the_compiled_network_says_the_same_under_the_same_names():
    """In a process of its own: the tests' checks of types are nothing to compile."""
    tests = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(tests), str(tests.parent))), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
