"""Predictors: the bounds, networks of every kind, and faces that are moved back to where they are seen."""

import math
from dataclasses import replace
from math import inf

import pytest
import torch
from torch import Tensor

from shapes import scores_of, toy_face
from vrn_lite.evaluation.evaluate import evaluate
from vrn_lite.evaluation.predictors import (
    Prediction3D,
    Predictor,
    default_predictors,
    detected_landmarks,
    mean_face_predictor,
    network_predictor,
    oracle_predictor,
    regression_predictor,
    repose,
    true_landmarks,
    true_pose,
)
from vrn_lite.evaluation.testsets import TestSet, heldout
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.inference import SHIFTS
from vrn_lite.networks.base import Prediction, build
from vrn_lite.networks.regression import Estimate, ParameterRegression, VertexRegression
from vrn_lite.presets import PRESETS
from vrn_lite.samples import FacePairs, PoseRange, draw_pairs, draw_view, make_pairs, unaligned
from vrn_lite.synth.appearance import Appearance, Rng

TINY = PRESETS["tiny"]
GRID = TINY.grid


@pytest.fixture(scope="module")
def face():
    return procedural()


@pytest.fixture(scope="module")
def pairs(face):
    return next(heldout(face, 2).batches("tiny"))


@pytest.fixture(scope="module")
def turned(face):
    """Jittered samples, some of them mirrored."""
    found = make_pairs(face, "tiny", 8, torch.Generator().manual_seed(1))
    assert 0 < found.mirrored.sum() < 8
    return found


def test_the_mean_face_of_the_mean_face_is_exact(face):
    """A source without variation is its own mean face, mirrored or not; yaws are those of the images."""
    stiff = replace(face, identity=0 * face.identity, expression=0 * face.expression)
    pairs = make_pairs(stiff, "tiny", 8, torch.Generator().manual_seed(1))
    testset = TestSet("stiff", "nowhere", stiff, 8, lambda preset: iter([pairs]))
    frame = evaluate({"mean face": mean_face_predictor(stiff, TINY)}, testset).frame
    assert frame.nme.max() < 1e-3
    assert frame.iou.min() > 0.98
    shown = [bool((yaw > 0) ^ flip) for yaw, flip in zip(pairs.yaw, pairs.mirrored, strict=True)]
    assert (frame.yaw > 0).tolist() == shown
    assert 0 < pairs.mirrored.sum() < 8


def frontal_oracle(face):
    """The true volumes in the frontal frame."""

    def predict(pairs):
        answers = oracle_predictor(TINY)(unaligned(pairs, face.interocular, GRID))
        return (answer._replace(target="frontal") for answer in answers)

    return Predictor(TINY, predict)


def test_mirrored_faces_are_reposed_too(face, turned):
    found = scores_of(repose(frontal_oracle(face), true_pose(face, GRID)), turned)
    assert max(one["nme"] for one in found) < 0.08


def test_the_true_pose_is_the_way_from_the_frontal_frame(face, turned):
    way = unaligned(turned, face.interocular, GRID).camera.inverse().compose(turned.camera)
    for one, other in zip(vars(true_pose(face, GRID)(turned)).values(), vars(way).values(), strict=True):
        assert torch.equal(one, other)


def test_what_has_no_surface_stays_without_when_it_is_reposed(face, pairs):
    empty = Prediction3D(torch.zeros(GRID.shape, dtype=torch.bool), target="frontal")
    found = list(repose(Predictor(TINY, lambda pairs: [empty] * len(pairs)), true_pose(face, GRID))(pairs))
    assert [(one.volume is empty.volume, one.surface, one.target) for one in found] == 2 * [(True, None, "aligned")]


def test_a_guided_network_answers_without_landmarks(pairs):
    nowhere = lambda pairs: torch.full_like(pairs.landmarks, math.nan)  # noqa: E731
    blind = list(network_predictor(build("guided", "tiny").eval(), landmarks=nowhere)(pairs))
    assert [answer.volume.shape for answer in blind] == 2 * [GRID.shape]


def test_the_oracle_gives_the_true_volumes_and_surfaces_that_lie_on_them(pairs):
    for answer, volume in zip(oracle_predictor(TINY)(pairs), pairs.volumes, strict=True):
        assert torch.equal(answer.volume, volume)
        assert answer.surface.volume == pytest.approx(float(volume.sum()) / GRID.depth_scale, rel=0.1)


def test_networks_answer_with_what_they_have(pairs):
    has = {name: next(iter(network_predictor(build(name, "tiny").eval())(pairs))) for name in ("vrn", "multitask", "landmarks", "unaligned")}
    assert {name: (answer.volume is not None, answer.landmarks is not None, answer.target) for name, answer in has.items()} == {
        "vrn": (True, False, "aligned"),
        "multitask": (True, True, "aligned"),
        "landmarks": (False, True, "aligned"),
        "unaligned": (True, False, "frontal"),
    }


def test_the_landmarks_that_guide_are_those_that_were_asked_for(pairs):
    found = replace(pairs, found=pairs.landmarks[..., :2] + 1)
    network = build("guided", "tiny").eval()
    for source, points in {true_landmarks: found.landmarks, detected_landmarks: found.found}.items():
        answers = list(network_predictor(network, False, source)(found))
        assert torch.equal(torch.stack([answer.landmarks for answer in answers]), points)
        alone = network_predictor(network, False, lambda pairs, points=points: points)(found)
        assert all(torch.equal(one.volume, other.volume) for one, other in zip(answers, alone, strict=True))


def test_detected_landmarks_need_a_detector(pairs):
    with pytest.raises(InputError, match="no detector has looked"):
        detected_landmarks(pairs)


def test_every_kind_of_network_is_asked_in_all_its_ways(face):
    kinds = ("unaligned", "guided", "vrn", "landmarks", "parameters", "vertices")
    networks = {name: build(name, "tiny", face=face).eval() for name in kinds} | {"finer": build("vrn", "lite").eval()}
    plain = heldout(face, 1)
    seen = plain.seen_by(networks["landmarks"])
    asked = list(default_predictors(networks, seen))
    assert asked == [
        "unaligned, frontal frame",
        "unaligned, true pose",
        "guided, detected landmarks",
        "guided, true landmarks",
        "vrn",
        "landmarks",
        "parameters",
        "vertices",
        "finer",
        "oracle",
        "mean face",
        "oracle, lite",
        "mean face, lite",
    ]
    assert set(asked) - set(default_predictors(networks, plain)) == {"guided, detected landmarks"}
    assert set(asked) - set(default_predictors(networks, seen, bounds=False)) == set(asked[-4:])


# Networks that regress numbers of a face model

TOY = toy_face()


class TrueParameters(ParameterRegression):
    """Says what it was told; its rounds but the last are wrong."""

    def __init__(self, truth: Estimate, face=TOY) -> None:
        super().__init__(TINY, len(TOY.identity), len(TOY.expression), rounds=2)
        self.truth = truth
        self.bind(face)
        self.eval()

    def estimates(self, images: Tensor, face) -> list[Estimate]:
        return [self.start(len(images), face), self.truth]


class TrueVertices(VertexRegression):
    """Says what it was told, moved by as much as the images' brightest pixel."""

    def __init__(self, truth: Tensor, follows: bool = False) -> None:
        super().__init__(TINY, 4)
        self.truth, self.follows = truth, follows
        self.eval()

    def predict(self, images: Tensor, landmarks: Tensor | None = None) -> Prediction:
        if not self.follows:
            return Prediction(vertices=self.truth)
        cells = images.sum(1).flatten(1).argmax(1)
        return Prediction(vertices=self.truth + torch.stack((cells % 32, cells // 32, 0 * cells), -1)[:, None])


def known(count: int = 3, **changes: Tensor) -> tuple[FacePairs, Estimate]:
    """Samples whose parameters are known."""
    generator = torch.Generator().manual_seed(5)
    numbers = Rng.of(generator, count, "cpu")
    identity, expression = TOY.draw_identity(generator, count), TOY.draw_expression(generator, count)
    mesh = TOY.mesh(identity, expression)
    view = draw_view(mesh.landmark_points(), TOY.interocular, TINY.grid, PoseRange(), numbers.stream("view"))
    pairs = draw_pairs(mesh, view, TOY, TINY.grid, numbers, Appearance())
    return pairs, Estimate(view.camera, identity, expression)._replace(**changes)


@pytest.mark.parametrize("average", [False, True])
def test_the_true_parameters_are_the_true_face(average):
    pairs, truth = known()
    for index, answer in enumerate(regression_predictor(TrueParameters(truth), average)(pairs)):
        assert torch.equal(answer.volume, pairs.volumes[index])
        torch.testing.assert_close(answer.landmarks, pairs.landmarks[index, :, :2])
    for row in scores_of(regression_predictor(TrueParameters(truth), average), pairs):
        assert (row["iou"], row["iou_front"]) == (1, 1)
        assert (row["nme"], row["nme_rigid"], row["landmark_nme"]) == pytest.approx((0, 0, 0), abs=1e-5)


def test_a_face_moved_away_is_as_far_from_the_truth_and_its_landmarks_stay():
    pairs, truth = known()
    camera, away = truth.camera, torch.tensor([0.0, 0.0, 2.0])
    moved = truth._replace(camera=replace(camera, translation=camera.translation + away))
    bounds = pairs.truth.solid_triangles().unique()
    for index, answer in enumerate(regression_predictor(TrueParameters(moved))(pairs)):
        torch.testing.assert_close(answer.surface, pairs.mesh(index).vertices[bounds] + away)
        torch.testing.assert_close(answer.landmarks, pairs.landmarks[index, :, :2])
        assert not torch.equal(answer.volume, pairs.volumes[index])


def test_an_identity_behind_the_wall_is_brought_before_it():
    pairs, truth = known(identity=torch.full((3, 4), -500.0))
    answers = list(regression_predictor(TrueParameters(truth))(pairs))
    assert all(bool(answer.volume.any()) and bool(answer.surface.isfinite().all()) for answer in answers)


def test_an_expression_behind_the_wall_is_no_face():
    back = torch.zeros_like(TOY.expression)
    back[0, [v for v in range(400) if v not in TOY.landmarks.tolist()], 2] = -1000
    face = replace(TOY, expression=back)
    expression = torch.zeros(3, 4)
    expression[1, 0] = 1
    pairs, truth = known(expression=expression)
    rows = scores_of(regression_predictor(TrueParameters(truth, face)), pairs)
    assert [row["nme"] == inf for row in rows] == [False, True, False]
    assert rows[1]["iou"] == 0


def test_vertices_are_a_surface_without_a_solid():
    pairs = make_pairs(TOY, TINY, 3, torch.Generator().manual_seed(1), poses=PoseRange(mirror=1))
    truth = torch.stack([pairs.mesh(index).vertices[TOY.patch_vertices] for index in range(3)])
    for row in scores_of(regression_predictor(TrueVertices(truth)), pairs):
        assert row.keys() == {"nme", "nme_rigid", "nme_depth_aligned"}
        assert row["nme"] == pytest.approx(0, abs=1e-5)


def test_the_shifts_of_the_average_cancel_out():
    assert [sum(axis) for axis in zip(*SHIFTS, strict=True)] == [0, 0]
    images = torch.zeros(1, 3, 32, 32)
    images[0, :, 12, 20] = 1
    pairs = replace(make_pairs(TOY, TINY, 1, torch.Generator().manual_seed(1)), images=images)
    truth = torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(2))
    once, averaged = (next(iter(regression_predictor(TrueVertices(truth, follows=True), average)(pairs))).surface for average in (False, True))
    torch.testing.assert_close(once, truth[0] + torch.tensor([20.0, 12.0, 0.0]))
    torch.testing.assert_close(averaged, once)


def test_the_average_asks_about_shifted_copies():
    pairs, network = make_pairs(TOY, TINY, 2, torch.Generator().manual_seed(1)), VertexRegression(TINY, 4).eval()
    once, averaged = (torch.stack([answer.surface for answer in regression_predictor(network, average)(pairs)]) for average in (False, True))
    assert not torch.allclose(once, averaged, atol=1e-4)
    torch.testing.assert_close(once, network(pairs.images).detach())


def test_networks_in_training_mode_and_other_face_models_are_refused():
    _, truth = known()
    with pytest.raises(InputError, match="in training mode: call network.eval"):
        regression_predictor(TrueParameters(truth).train())
    with pytest.raises(InputError, match="in training mode: call network.eval"):
        regression_predictor(TrueVertices(torch.zeros(1, 4, 3)).train())
    with pytest.raises(InputError, match="the network regresses 4 identities, the face model 'toy' has 3"):
        TrueParameters(truth, replace(TOY, identity=TOY.identity[:3]))
