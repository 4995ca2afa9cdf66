"""Each variation changes what it says, by as much as it says, and nothing else."""

from dataclasses import replace

import pytest
import torch

from vrn_lite.camera import crop_camera
from vrn_lite.evaluation.evaluate import evaluate
from vrn_lite.evaluation.predictors import network_predictor, oracle_predictor, repose
from vrn_lite.evaluation.testsets import TestSet, generators, heldout
from vrn_lite.faces import procedural
from vrn_lite.networks.base import Prediction
from vrn_lite.networks.vrn import VRN, UnalignedVRN
from vrn_lite.presets import preset
from vrn_lite.samples import unaligned
from vrn_lite.studies.ablations import displaced, found_camera, found_pose, hard_predictor, hidden, occluded, perturbed, soft_oracle_predictor

TINY = preset("tiny")


@pytest.fixture(scope="module")
def face():
    return procedural()


@pytest.fixture(scope="module")
def pairs(face):
    return next(heldout(face, 16).batches("tiny"))


def test_a_displacement_of_nothing_is_the_held_out_set(face, pairs):
    same = next(displaced(face, 16).batches("tiny"))
    assert torch.equal(same.images, pairs.images)
    assert torch.equal(same.volumes, pairs.volumes)


@pytest.mark.parametrize("shift", [6.0, 24.0])
def test_a_shift_moves_every_head_by_its_length_in_the_image_and_not_in_depth(face, pairs, shift):
    moved = next(displaced(face, 16, shift=shift).batches("tiny"))
    away = moved.landmarks - pairs.landmarks
    torch.testing.assert_close(away, away[:, :1].expand_as(away), atol=1e-3, rtol=0)
    torch.testing.assert_close(away[:, 0, :2].norm(dim=-1), torch.full((16,), shift * 32 / 192), atol=1e-3, rtol=0)
    assert float(away[..., 2].abs().max()) < 1e-3
    angles = torch.atan2(away[:, 0, 1], away[:, 0, 0])
    assert float(angles.std()) > 0.8, "all crops miss in the same direction"


def test_a_zoom_scales_every_head_about_the_centre(face, pairs):
    larger = next(displaced(face, 16, zoom=1.3).batches("tiny"))
    centre = torch.tensor(TINY.grid.centre)
    torch.testing.assert_close(larger.landmarks - centre, 1.3 * (pairs.landmarks - centre), atol=1e-3, rtol=0)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_an_occlusion_hides_its_share_of_every_face(face, share):
    sharp = next(heldout(face, 4).batches("lite"))
    hidden = next(occluded(heldout(face, 4), share).batches("lite"))
    changed = (hidden.images != sharp.images).any(1)
    for index, face in enumerate(sharp.volumes.any(1)):
        assert float(changed[index][face].float().mean()) == pytest.approx(share, abs=0.03)
    assert torch.equal(hidden.volumes, sharp.volumes)
    assert torch.equal(hidden.landmarks, sharp.landmarks)


def test_no_occlusion_leaves_the_images_alone(pairs):
    assert torch.equal(hidden(pairs, 0.0, torch.Generator()).images, pairs.images)


def test_a_batch_is_hidden_as_it_is_in_its_set(face, pairs):
    (there,) = occluded(heldout(face, 16), 0.3, seed=1).batches("tiny")
    assert torch.equal(there.images, hidden(pairs, 0.3, next(generators(1))).images)


@pytest.mark.parametrize("pixels", [1.0, 10.0])
def test_perturbed_landmarks_are_off_by_so_many_pixels_in_the_mean(pixels):
    points = torch.zeros(50, 68, 3)
    moved = perturbed(points, pixels, torch.Generator().manual_seed(0), 96)
    assert float(moved[..., :2].norm(dim=-1).mean()) == pytest.approx(pixels * 96 / 192, rel=0.03)
    assert not moved[..., 2].any()
    assert not points.any()


def test_the_mean_faces_own_landmarks_give_back_its_camera(face):
    yaw, pitch, roll = torch.tensor([[-80.0, -20.0, 35.0, 70.0], [10.0, -15.0, 0.0, 25.0], [0.0, 20.0, -10.0, 5.0]])
    mean = face.mean[face.landmarks].expand(4, -1, -1)
    camera = crop_camera(mean, yaw, pitch, roll, face.interocular, TINY.grid)
    found = found_camera(face, camera(mean), TINY.grid)
    torch.testing.assert_close(found.scale, camera.scale, rtol=1e-3, atol=0)
    torch.testing.assert_close(found.rotation, camera.rotation, atol=2e-3, rtol=0)
    torch.testing.assert_close(found.translation, camera.translation, atol=0.1, rtol=0)


class KnowsVolumes(VRN):
    def __init__(self, volumes):
        super().__init__("tiny")
        self.truth = volumes.float()

    def predict(self, images, landmarks=None):
        return Prediction(logits=8 * self.truth[: len(images)] - 4)


class KnowsFrontalVolumes(UnalignedVRN):
    predict = KnowsVolumes.predict

    def __init__(self, volumes):
        super().__init__("tiny")
        self.truth = volumes.float()


def mean_of(predictor, pairs, face):
    """Mean scores of a predictor on a batch."""
    testset = TestSet("batch", "here", face, len(pairs), lambda preset: iter([pairs]))
    return evaluate({"x": predictor}, testset).mean().loc["x"]


def test_a_hard_volume_scores_as_the_solid_itself(face, pairs):
    hard = mean_of(hard_predictor(KnowsVolumes(pairs.volumes).eval()), pairs, face)
    assert hard.iou == 1
    assert hard.nme == pytest.approx(mean_of(oracle_predictor(TINY), pairs, face).nme, rel=1e-6)


def test_a_soft_volumes_surface_lies_closer_to_the_truth_than_a_hard_ones(face, pairs):
    """Vertex by vertex; the NME hardly tells, as it pairs vertices and these lie a voxel apart."""

    def miss(predictor):
        surface = next(iter(predictor(pairs))).surface
        truth = pairs.mesh(0)
        gaps = torch.cdist(torch.tensor(surface.vertices).float(), truth.vertices[truth.face]).amin(1)
        return float(gaps[gaps < 1].mean())

    assert miss(soft_oracle_predictor(TINY)) < 0.85 * miss(oracle_predictor(TINY))


def test_a_perfect_frontal_face_with_the_right_landmarks_comes_back_near_its_place(face, pairs):
    knows = KnowsFrontalVolumes(unaligned(pairs, face.interocular, TINY.grid).volumes).eval()
    predictor = repose(network_predictor(knows, False), found_pose(face, TINY.grid))
    found = mean_of(predictor, replace(pairs, found=pairs.landmarks[..., :2]), face)
    missed = mean_of(predictor, replace(pairs, found=pairs.landmarks[..., :2] + 3), face)
    floor = mean_of(oracle_predictor(TINY), pairs, face).nme
    assert floor < found.nme < 3 * floor + 0.05
    assert missed.nme > found.nme + 0.1
