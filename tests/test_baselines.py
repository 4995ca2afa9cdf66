"""Regression networks as methods: what they answer stands where the image shows it."""

from dataclasses import replace
from math import inf, isnan

import pytest
import torch
from torch import Tensor

from shapes import toy_face
from vrn_lite.evaluation.evaluate import score
from vrn_lite.evaluation.regression import by_parameters, by_vertices
from vrn_lite.frame import InputError
from vrn_lite.inference import SHIFTS
from vrn_lite.networks.base import Prediction
from vrn_lite.networks.regression import Estimate, ParameterRegression, VertexRegression
from vrn_lite.presets import preset
from vrn_lite.samples import FacePairs, PoseRange, draw_pairs, draw_view, make_pairs
from vrn_lite.synth.appearance import Appearance, Rng

FACE, TINY = toy_face(), preset("tiny")


class TrueParameters(ParameterRegression):
    """Says what it was told; its rounds but the last are wrong."""

    def __init__(self, truth: Estimate) -> None:
        super().__init__(TINY, len(FACE.identity), len(FACE.expression), rounds=2)
        self.truth = truth
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
    identity, expression = FACE.draw_identity(generator, count), FACE.draw_expression(generator, count)
    mesh = FACE.mesh(identity, expression)
    view = draw_view(mesh.landmark_points(), FACE.interocular, TINY.grid, PoseRange(), numbers.stream("view"))
    pairs = draw_pairs(mesh, view, FACE, TINY.grid, numbers, Appearance())
    return pairs, Estimate(view.camera, identity, expression)._replace(**changes)


@pytest.mark.parametrize("average", [False, True])
def test_the_true_parameters_are_the_true_face(average):
    pairs, truth = known()
    for index, answer in enumerate(by_parameters(TrueParameters(truth), FACE, average)(pairs)):
        assert torch.equal(answer.volume, pairs.volumes[index])
        torch.testing.assert_close(answer.landmarks, pairs.landmarks[index, :, :2])
    for row in score("parameters", by_parameters(TrueParameters(truth), FACE, average), pairs, TINY.grid):
        assert (row.iou, row.iou_front) == (1, 1)
        assert (row.nme, row.nme_rigid, row.landmark_nme) == pytest.approx((0, 0, 0), abs=1e-5)


def test_a_face_moved_away_is_as_far_from_the_truth_and_its_landmarks_stay():
    pairs, truth = known()
    camera, away = truth.camera, torch.tensor([0.0, 0.0, 2.0])
    moved = truth._replace(camera=replace(camera, translation=camera.translation + away))
    bounds = pairs.truth.solid_triangles().unique()
    for index, answer in enumerate(by_parameters(TrueParameters(moved), FACE)(pairs)):
        torch.testing.assert_close(answer.surface, pairs.mesh(index).vertices[bounds] + away)
        torch.testing.assert_close(answer.landmarks, pairs.landmarks[index, :, :2])
        assert not torch.equal(answer.volume, pairs.volumes[index])


def test_an_identity_behind_the_wall_is_brought_before_it():
    pairs, truth = known(identity=torch.full((3, 4), -500.0))
    answers = list(by_parameters(TrueParameters(truth), FACE)(pairs))
    assert all(bool(answer.volume.any()) and bool(answer.surface.isfinite().all()) for answer in answers)


def test_an_expression_behind_the_wall_is_no_face():
    back = torch.zeros_like(FACE.expression)
    back[0, [v for v in range(400) if v not in FACE.landmarks.tolist()], 2] = -1000
    face = replace(FACE, expression=back)
    expression = torch.zeros(3, 4)
    expression[1, 0] = 1
    pairs, truth = known(expression=expression)
    rows = list(score("parameters", by_parameters(TrueParameters(truth), face), pairs, TINY.grid))
    assert [row.nme == inf for row in rows] == [False, True, False]
    assert rows[1].iou == 0


def test_vertices_are_a_surface_without_a_solid():
    pairs = make_pairs(FACE, TINY, 3, torch.Generator().manual_seed(1), poses=PoseRange(mirror=1))
    truth = torch.stack([pairs.mesh(index).vertices[FACE.patch_vertices] for index in range(3)])
    for row in score("vertices", by_vertices(TrueVertices(truth)), pairs, TINY.grid):
        assert row.nme == pytest.approx(0, abs=1e-5)
        assert isnan(row.iou)
        assert isnan(row.landmark_nme)


def test_the_shifts_of_the_average_cancel_out():
    assert [sum(axis) for axis in zip(*SHIFTS, strict=True)] == [0, 0]
    images = torch.zeros(1, 3, 32, 32)
    images[0, :, 12, 20] = 1
    pairs = replace(make_pairs(FACE, TINY, 1, torch.Generator().manual_seed(1)), images=images)
    truth = torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(2))
    once, averaged = (next(iter(by_vertices(TrueVertices(truth, follows=True), average)(pairs))).surface for average in (False, True))
    torch.testing.assert_close(once, truth[0] + torch.tensor([20.0, 12.0, 0.0]))
    torch.testing.assert_close(averaged, once)


def test_the_average_asks_about_shifted_copies():
    pairs, network = make_pairs(FACE, TINY, 2, torch.Generator().manual_seed(1)), VertexRegression(TINY, 4).eval()
    once, averaged = (torch.stack([answer.surface for answer in by_vertices(network, average)(pairs)]) for average in (False, True))
    assert not torch.allclose(once, averaged, atol=1e-4)
    torch.testing.assert_close(once, network(pairs.images).detach())


def test_networks_in_training_mode_and_other_face_models_are_refused():
    _, truth = known()
    with pytest.raises(InputError, match="in training mode: call network.eval"):
        by_parameters(TrueParameters(truth).train(), FACE)
    with pytest.raises(InputError, match="in training mode: call network.eval"):
        by_vertices(TrueVertices(torch.zeros(1, 4, 3)).train())
    with pytest.raises(InputError, match="the network regresses 4 identities, the face model 'toy' has 3"):
        by_parameters(TrueParameters(truth), replace(FACE, identity=FACE.identity[:3]))
