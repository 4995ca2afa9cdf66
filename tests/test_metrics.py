"""Closed forms of the error measures."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from test_align import dented_ball, turned
from vrn_lite.align import icp
from vrn_lite.frame import InputError
from vrn_lite.mesh import Mesh
from vrn_lite.metrics import error_curve, iou, landmark_nme, nme, normaliser, vertex_errors


def truth_of(subdivisions):
    """A truth mesh: a dented ball, counted where x > -5, landmarks spread over it."""
    points, triangles = dented_ball(subdivisions), torch.tensor(np.asarray(trimesh.creation.icosphere(subdivisions).faces))
    landmarks = torch.arange(68) * (len(points) // 68)
    return Mesh(points, triangles, face=points[:, 0] > -5, landmarks=landmarks)


@pytest.fixture
def truth():
    return truth_of(4)


def test_two_boxes_overlap_as_computed_by_hand():
    a, b = torch.zeros(2, 6, 4, 4, dtype=torch.bool)
    a[0:4, 1:3, 1:3] = True  # 16 voxels
    b[2:6, 1:3, 1:3] = True  # 16 voxels, 8 shared
    assert float(iou(a, b)) == pytest.approx(8 / 24)
    assert float(iou(a, b, slices=3)) == pytest.approx(4 / 12)
    assert float(iou(a, b, slices=2)) == 0
    assert float(iou(a, a)) == 1


def test_iou_counts_every_solid_of_any_batch():
    a, b = (torch.rand(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(seed)) > 0.5 for seed in (0, 1))
    assert torch.equal(iou(a, b), (a & b).sum((-3, -2, -1)) / (a | b).sum((-3, -2, -1)))
    assert iou(a[:0], b[:0]).shape == (0, 3)


def test_iou_of_empty_solids_is_one_and_batches_stay_apart():
    volumes = torch.zeros(2, 3, 2, 2, dtype=torch.bool)
    other = volumes.clone()
    other[1, 0, 0, 0] = True
    assert iou(volumes, other).tolist() == [1.0, 0.0]


def test_normaliser_is_the_distance_of_the_outer_eye_corners(truth):
    points = truth.landmark_points()
    assert float(normaliser(points)) == pytest.approx(float((points[36] - points[45]).square().sum().sqrt()))


def test_nme_of_a_mesh_with_itself_is_zero(truth):
    assert nme(truth, truth) < 1e-12
    assert nme(truth, truth, rigid=True) < 1e-12


@pytest.mark.parametrize("t", [0.2, 1.0, 3.0])
def test_nme_of_a_mesh_moved_along_x_is_t_over_d(truth, t):
    moved = truth.vertices + torch.tensor([t, 0.0, 0.0], dtype=torch.float64)
    d = float(normaliser(truth.landmark_points()))
    assert nme(moved, truth) == pytest.approx(t / d, abs=1e-9)
    assert nme(moved, truth, depth_aligned=True) == pytest.approx(t / d, abs=1e-9)
    assert nme(moved, truth, rigid=True) < 1e-9


def test_a_shift_in_depth_is_removed_by_levelling(truth):
    moved = truth.vertices + torch.tensor([0.6, 0.0, 2.0], dtype=torch.float64)
    d = float(normaliser(truth.landmark_points()))
    assert nme(moved, truth) == pytest.approx((0.6**2 + 2**2) ** 0.5 / d, abs=1e-9)
    assert nme(moved, truth, depth_aligned=True) == pytest.approx(0.6 / d, abs=1e-9)


def test_nme_equals_its_plain_loop_twin():
    truth = truth_of(2)
    predicted = turned(dented_ball(2, 21.0), (2.0, 1.0, -2.0), (0.3, 0.2, -0.4))
    counted = truth.vertices[truth.face]
    motion = icp(predicted, counted).motion
    moved = motion(predicted[None])[0]
    errors, aligned = [], []
    for point in counted:
        partner = min(range(len(moved)), key=lambda i: float((moved[i] - point).square().sum()))
        errors.append(float((predicted[partner] - point).square().sum().sqrt()))
        aligned.append(float((moved[partner] - point).square().sum().sqrt()))
    points = truth.landmark_points()
    d = float((points[36] - points[45]).square().sum().sqrt())
    found = vertex_errors(predicted, truth)
    assert found.nme == pytest.approx(sum(errors) / len(errors) / d, rel=1e-9)
    assert found.rigid == pytest.approx(sum(aligned) / len(aligned) / d, rel=1e-9)
    assert found.distances.mean() == pytest.approx(found.nme)
    assert len(found.distances) == int(truth.face.sum())


def test_nme_agrees_with_one_computed_by_trimesh(truth):
    predicted = trimesh.Trimesh(turned(dented_ball(4, 20.5), (2.0, 1.0, -2.0), (0.3, 0.2, -0.4)).numpy(), truth.triangles.numpy(), process=False)
    counted = truth.vertices[truth.face].numpy()
    back, _, _ = trimesh.registration.icp(counted, predicted.vertices, threshold=0, max_iterations=200, scale=False, reflection=False)
    moved = trimesh.transform_points(predicted.vertices, np.linalg.inv(back))
    pairs = trimesh.proximity.cKDTree(moved).query(counted)[1]
    d = float(normaliser(truth.landmark_points()))
    assert nme(predicted, truth) == pytest.approx(np.linalg.norm(predicted.vertices[pairs] - counted, axis=1).mean() / d, rel=0.03)
    assert nme(predicted, truth, rigid=True) == pytest.approx(np.linalg.norm(moved[pairs] - counted, axis=1).mean() / d, rel=0.01)


def test_only_the_face_mask_counts(truth):
    spoilt = truth.vertices.clone()
    spoilt[~truth.face] += 100
    assert nme(truth.vertices, replace(truth, vertices=spoilt, landmarks=truth.face.nonzero()[:68, 0])) < 1e-12


def test_nme_takes_meshes_of_either_kind_and_leaves_them_alone(truth):
    predicted = truth.vertices + 0.5
    kinds = (predicted, predicted.float(), replace(truth, vertices=predicted), trimesh.Trimesh(predicted.numpy(), truth.triangles.numpy(), process=False))
    copies = [predicted.clone(), np.array(kinds[3].vertices)]
    numbers = [nme(kind, truth) for kind in kinds]
    assert numbers == pytest.approx([numbers[0]] * 4, rel=1e-5)
    assert torch.equal(predicted, copies[0])
    assert np.array_equal(kinds[3].vertices, copies[1])


def test_landmark_nme_is_flat_over_the_depth_normaliser(truth):
    points = truth.landmark_points()
    moved = points + torch.tensor([3.0, 4.0, 100.0], dtype=torch.float64)
    expected = 5 / float(normaliser(points))
    assert float(landmark_nme(moved, points)) == pytest.approx(expected)
    assert landmark_nme(moved[None, :, :2], points[None]).tolist() == pytest.approx([expected])


def test_error_curve_counts_failures_and_has_the_area_of_its_steps():
    errors = torch.tensor([0.01, 0.05, 0.19, 0.5, float("inf")], dtype=torch.float64)
    curve = error_curve(errors, limit=0.2, steps=100_001)
    assert curve.failures == pytest.approx(0.4)
    assert float(curve.shares[-1]) == pytest.approx(0.6)
    assert curve.area == pytest.approx(float(torch.trapezoid(curve.shares.double(), curve.thresholds)) / 0.2, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda truth: nme(truth.vertices[None], truth), "index the batch first"),
        (lambda truth: nme(truth.vertices, replace(truth, landmarks=None)), "landmarks"),
        (lambda truth: nme(truth.vertices, replace(truth, face=truth.face & False)), "empty target"),
        (lambda truth: nme(truth.vertices / 0, truth), "NaN"),
        (lambda truth: nme(truth.vertices, truth, rigid=True, depth_aligned=True), "not both"),
        (lambda truth: error_curve(torch.tensor([float("nan")])), "NaN"),
    ],
)
def test_errors_name_the_rule(truth, call, text):
    with pytest.raises(InputError, match=text):
        call(truth)


def test_icp_and_nme_are_quick(truth):
    """The promise is 50 ms for a surface of 10,000 vertices; processor time, with room for a slow machine."""
    predicted = turned(dented_ball(5, 20.5), (2.0, 1.0, -2.0), (0.3, 0.2, -0.4))
    began = time.process_time()
    nme(predicted, truth)
    assert time.process_time() - began < 0.5
