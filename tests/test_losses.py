"""What training makes small, against closed forms."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from vrn_lite.landmarks import decode, heatmaps
from vrn_lite.training.losses import landmark_loss, square_loss, voxel_loss

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


@pytest.mark.parametrize(("coarse", "full"), [((2, 5, 8, 8), (2, 5, 16, 16)), ((2, 3, 8, 6), (2, 3, 32, 24)), ((1, 2, 4, 4), (1, 2, 8, 16))])
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


def test_vertices_moved_by_t_cost_its_square_in_sizes_of_the_face():
    truth = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(4))
    moved = truth + torch.tensor([3.0, 0.0, -4.0])
    assert float(square_loss(moved, truth, 10.0)) == pytest.approx(0.25)
    assert float(square_loss(truth, truth, 10.0)) == 0
