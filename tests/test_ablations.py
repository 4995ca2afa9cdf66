"""Each variation changes what it says, by as much as it says, and nothing else."""

import math
from dataclasses import replace

import pytest
import torch

from vrn_lite.camera import crop_camera
from vrn_lite.evaluation.predictors import by_oracle
from vrn_lite.evaluation.testsets import heldout
from vrn_lite.frame import InputError
from vrn_lite.networks.base import Prediction
from vrn_lite.networks.vrn import VRN, UnalignedVRN
from vrn_lite.presets import preset
from vrn_lite.samples import unaligned
from vrn_lite.studies.ablations import (
    by_hard_volume,
    by_soft_oracle,
    by_unaligned_and_pose,
    displaced,
    found_camera,
    occluded,
    perturbed,
    spread,
    table_of,
)

TINY = preset("tiny")


@pytest.fixture(scope="module")
def pairs(ict_face):
    return next(heldout(ict_face, 16, preset="tiny"))


def test_a_displacement_of_nothing_is_the_held_out_set(ict_face, pairs):
    same = next(displaced(ict_face, 16, preset="tiny"))
    assert torch.equal(same.images, pairs.images)
    assert torch.equal(same.volumes, pairs.volumes)


@pytest.mark.parametrize("shift", [6.0, 24.0])
def test_a_shift_moves_every_head_by_its_length_in_the_image_and_not_in_depth(ict_face, pairs, shift):
    moved = next(displaced(ict_face, 16, preset="tiny", shift=shift))
    away = moved.landmarks - pairs.landmarks
    torch.testing.assert_close(away, away[:, :1].expand_as(away), atol=1e-3, rtol=0)
    torch.testing.assert_close(away[:, 0, :2].norm(dim=-1), torch.full((16,), shift * 32 / 192), atol=1e-3, rtol=0)
    assert float(away[..., 2].abs().max()) < 1e-3
    angles = torch.atan2(away[:, 0, 1], away[:, 0, 0])
    assert float(angles.std()) > 0.8, "all crops miss in the same direction"


def test_a_zoom_scales_every_head_about_the_centre(ict_face, pairs):
    larger = next(displaced(ict_face, 16, preset="tiny", zoom=1.3))
    centre = torch.tensor(TINY.grid.centre)
    torch.testing.assert_close(larger.landmarks - centre, 1.3 * (pairs.landmarks - centre), atol=1e-3, rtol=0)


def test_displaced_sets_come_in_whole_batches(ict_face):
    with pytest.raises(InputError, match="multiple of 16, got 10"):
        next(displaced(ict_face, 10, preset="tiny"))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_an_occlusion_hides_its_share_of_every_face(ict_face, share):
    sharp = next(heldout(ict_face, 4, preset="lite"))
    hidden = occluded(sharp, share, torch.Generator().manual_seed(0))
    changed = (hidden.images != sharp.images).any(1)
    for index, face in enumerate(sharp.volumes.any(1)):
        assert float(changed[index][face].float().mean()) == pytest.approx(share, abs=0.03)
    assert torch.equal(hidden.volumes, sharp.volumes)
    assert torch.equal(hidden.landmarks, sharp.landmarks)


def test_no_occlusion_leaves_the_images_alone(pairs):
    assert torch.equal(occluded(pairs, 0.0, torch.Generator()).images, pairs.images)


@pytest.mark.parametrize("pixels", [1.0, 10.0])
def test_perturbed_landmarks_are_off_by_so_many_pixels_in_the_mean(pixels):
    points = torch.zeros(50, 68, 3)
    moved = perturbed(points, pixels, torch.Generator().manual_seed(0), 96)
    assert float(moved[..., :2].norm(dim=-1).mean()) == pytest.approx(pixels * 96 / 192, rel=0.03)
    assert not moved[..., 2].any()
    assert not points.any()


def test_the_mean_faces_own_landmarks_give_back_its_camera(ict_face):
    yaw, pitch, roll = torch.tensor([[-80.0, -20.0, 35.0, 70.0], [10.0, -15.0, 0.0, 25.0], [0.0, 20.0, -10.0, 5.0]])
    mean = ict_face.mean[ict_face.landmarks].expand(4, -1, -1)
    camera = crop_camera(mean, yaw, pitch, roll, ict_face.interocular, TINY.grid)
    found = found_camera(ict_face, camera(mean), TINY.grid)
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


def nme_of(reconstruct, pairs, face):
    return table_of("x", reconstruct, [pairs], TINY, face).mean()


def test_a_hard_volume_scores_as_the_solid_itself(ict_face, pairs):
    hard = nme_of(by_hard_volume(KnowsVolumes(pairs.volumes).eval()), pairs, ict_face)
    assert hard["iou"] == 1
    assert hard["nme"] == pytest.approx(nme_of(by_oracle(TINY.grid), pairs, ict_face)["nme"], rel=1e-6)


def test_a_soft_volumes_surface_lies_closer_to_the_truth_than_a_hard_ones(ict_face, pairs):
    """Vertex by vertex; the NME hardly tells, as it pairs vertices and these lie a voxel apart."""

    def miss(reconstruct):
        surface = next(iter(reconstruct(pairs))).surface
        truth = pairs.mesh(0)
        gaps = torch.cdist(torch.tensor(surface.vertices).float(), truth.vertices[truth.face]).amin(1)
        return float(gaps[gaps < 1].mean())

    assert miss(by_soft_oracle(TINY.grid)) < 0.85 * miss(by_oracle(TINY.grid))


def test_a_perfect_frontal_face_with_the_right_landmarks_comes_back_near_its_place(ict_face, pairs):
    frontal = unaligned(pairs, ict_face.interocular, TINY.grid)
    method = by_unaligned_and_pose(KnowsFrontalVolumes(frontal.volumes).eval(), ict_face)
    found = nme_of(method, replace(pairs, found=pairs.landmarks[..., :2]), ict_face)
    missed = nme_of(method, replace(pairs, found=pairs.landmarks[..., :2] + 3), ict_face)
    floor = nme_of(by_oracle(TINY.grid), pairs, ict_face)["nme"]
    assert floor < found["nme"] < 3 * floor + 0.05
    assert missed["nme"] > found["nme"] + 0.1


def test_a_table_numbers_its_rows_through_all_batches(ict_face, pairs):
    table = table_of("truth", by_oracle(TINY.grid), [pairs, pairs], TINY, ict_face)
    assert [row.sample for row in table.rows] == list(range(32))
    assert table.methods == ("truth",)


def test_spread_is_the_sample_standard_deviation():
    assert spread([1.0, 2.0, 3.0]) == {"mean": 2.0, "std": 1.0}
    assert spread([0.5]) == {"mean": 0.5}
    assert spread([1.0, 4.0])["std"] == pytest.approx(math.sqrt(4.5))
