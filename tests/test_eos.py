"""EOS gets our faces as they are, and what it finds stands where the image shows it."""

import math
import sys
from dataclasses import fields, replace

import pytest
import torch

from shapes import scores_of, toy_face
from vrn_lite.camera import crop_camera
from vrn_lite.evaluation import eos as baseline
from vrn_lite.evaluation.eos import eos_model, eos_predictor
from vrn_lite.evaluation.evaluate import score
from vrn_lite.evaluation.predictors import mean_face_predictor, true_landmarks
from vrn_lite.evaluation.testsets import heldout
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.faces.procedural import bald
from vrn_lite.frame import Grid, InputError
from vrn_lite.presets import PRESETS
from vrn_lite.samples import PoseRange, make_pairs

pytest.importorskip("eos")

POSES = [(0.0, 0.0, 0.0), (45.0, 20.0, 0.0), (-80.0, 0.0, 0.0), (80.0, 20.0, 0.0), (10.0, -20.0, 30.0)]
TINY = PRESETS["tiny"]
GRID = TINY.grid


@pytest.fixture(scope="module")
def face():
    return bald()


@pytest.fixture(scope="module")
def pairs(face):
    return next(heldout(face, 8, seed=3).batches("tiny"))


@pytest.fixture(scope="module")
def model(face):
    return eos_model(face)


def means(pairs, predictor):
    """Mean scores of a predictor on a batch."""
    rows = scores_of(predictor, pairs)
    return {name: sum(row.get(name, 0) for row in rows) / len(rows) for name in ("nme", "nme_rigid", "iou", "landmark_nme")}


def placed(face, mesh, grid, pose):
    """A mesh of the model frame under the crop's camera."""
    camera = crop_camera(mesh.landmark_points()[None], *(torch.tensor([angle]) for angle in pose), face.interocular, grid)
    return mesh.with_vertices(camera(mesh.vertices[None])[0])


def seen_apart(one, other):
    """Mean distance of two meshes' landmarks in the image."""
    return float((one.landmark_points() - other.landmark_points())[:, :2].norm(dim=1).mean())


def test_the_axes_are_orthonormal_and_span_the_same_faces(face):
    identity = eos_model(face).identity
    basis = torch.tensor(identity.model.get_orthonormal_pca_basis())
    assert torch.allclose(basis.T @ basis, torch.eye(len(face.identity)), atol=1e-5)
    ours = face.draw_identity(torch.Generator().manual_seed(0), 8)
    theirs = ours.double() @ identity.turn
    assert torch.allclose(theirs @ identity.turn.T, ours.double(), atol=1e-5)
    for mine, coefficients in zip(face.mesh(0.3 * ours).landmark_points(), 0.3 * theirs, strict=True):
        assert torch.allclose(torch.tensor(identity.model.draw_sample(coefficients.tolist())).view(68, 3), mine, atol=1e-5 * face.interocular)
        assert torch.allclose(identity.coefficients(coefficients.tolist()).double() @ identity.turn, coefficients, atol=1e-5)


def test_independent_coefficients_stay_independent(face):
    turn = eos_model(face).identity.turn
    assert torch.allclose(turn.T @ turn, torch.eye(len(face.identity)).double(), atol=1e-9)


def test_the_prior_on_expressions_is_that_of_the_draws(face):
    part = eos_model(face).expression
    drawn = face.draw_expression(torch.Generator().manual_seed(1), 4096)
    assert torch.allclose(part.start.float(), drawn.mean(0), atol=0.03)
    assert torch.allclose((part.turn @ part.turn.T).diagonal().sqrt().float(), drawn.std(0), atol=0.03)
    shown = face.mesh(expression=part.coefficients([0.0] * part.turn.shape[1])).landmark_points()
    assert torch.allclose(torch.tensor(part.model.get_mean()).view(68, 3), shown - face.mean[face.landmarks], atol=1e-5 * face.interocular)


@pytest.mark.parametrize("pose", POSES)
def test_the_mean_face_comes_back_where_it_was_depth_included(face, pose):
    truth = placed(face, face.mesh(), Grid(), pose)
    still = replace(face, expression=0 * face.expression)  # where nothing tells an expression, the mean one is no other
    found = eos_model(still).fit(truth.landmark_points(), Grid())
    apart = (found.vertices - truth.vertices).norm(dim=-1)  # pixels of 192; from the front, depth is told by little
    assert float(apart.mean()) < 0.01
    assert float(apart.max()) < 0.3


@pytest.mark.parametrize("pose", POSES)
def test_fitted_landmarks_are_seen_where_the_given_ones_are(model, pose):
    grid, face, apart = Grid(), model.face, []
    start = placed(face, face.mesh(), grid, pose)
    for seed in range(4):
        truth = placed(face, face.sample(torch.Generator().manual_seed(seed)), grid, pose)
        apart.append((seen_apart(model.fit(truth.landmark_points(), grid), truth), seen_apart(start, truth)))
    fitted, mean_face = torch.tensor(apart).mean(0).tolist()
    assert fitted < 0.4  # pixels of 192
    assert fitted < 0.3 * mean_face


def test_true_landmarks_beat_the_mean_face_at_the_true_pose(face, pairs):
    found, bound = means(pairs, eos_predictor(face, true_landmarks, TINY)), means(pairs, mean_face_predictor(face, TINY))
    assert found["nme"] < 0.6 * bound["nme"]
    assert found["nme_rigid"] < 0.8 * bound["nme_rigid"]
    assert found["iou"] > bound["iou"]
    assert found["landmark_nme"] == 0


def test_landmarks_that_are_shifted_shift_the_face_and_its_depth_stays(face, pairs):
    shift = torch.tensor([3.0, -2.0, 5.0])
    true, moved = (list(eos_predictor(face, points, TINY)(pairs)) for points in (true_landmarks, lambda pairs: pairs.landmarks + shift))
    for one, other in zip(true, moved, strict=True):
        assert torch.allclose(one.surface + shift * torch.tensor([1, 1, 0]), other.surface, atol=1e-3)


def test_the_solid_is_that_of_the_surface(face, pairs):
    answer = next(iter(eos_predictor(face, true_landmarks, TINY)(pairs)))
    d, r, c = answer.volume.nonzero().T
    low, high = answer.surface.amin(0), answer.surface.amax(0)
    for cells, step, axis in ((c, 1.0, 0), (r, 1.0, 1), (d, 1 / GRID.depth_scale, 2)):
        assert low[axis] <= (cells.min() + 0.5) * step < low[axis] + 3 * step
        assert high[axis] >= (cells.max() + 0.5) * step or high[axis] > (GRID.depth if axis == 2 else GRID.width) * step


def test_mirrored_samples_need_nothing_special(face):
    poses = PoseRange(angle=0, shift=0, zoom=0, mirror=1)
    mirrored = make_pairs(face, "tiny", 8, torch.Generator().manual_seed(5), poses=poses)
    plain = make_pairs(face, "tiny", 8, torch.Generator().manual_seed(5), poses=replace(poses, mirror=0))
    assert bool(mirrored.mirrored.all())
    found, twin = (means(pairs, eos_predictor(face, true_landmarks, TINY)) for pairs in (mirrored, plain))
    assert found["nme"] == pytest.approx(twin["nme"], rel=0.1)
    assert found["nme"] < 0.6 * means(mirrored, mean_face_predictor(face, TINY))["nme"]


def test_turned_and_shifted_crops_need_nothing_special(face):
    jittered = make_pairs(face, "tiny", 8, torch.Generator().manual_seed(6))
    assert means(jittered, eos_predictor(face, true_landmarks, TINY))["nme"] < 0.6 * means(jittered, mean_face_predictor(face, TINY))["nme"]


def test_the_answer_does_not_depend_on_the_grid(model):
    face = model.face
    truth = placed(face, face.sample(torch.Generator().manual_seed(2)), GRID, (30.0, 5.0, 0.0))
    double = Grid(2 * GRID.depth, 2 * GRID.height, 2 * GRID.width, GRID.depth_scale)
    one, other = model.fit(truth.landmark_points(), GRID), model.fit(2 * truth.landmark_points(), double)
    assert torch.allclose(2 * one.vertices, other.vertices, atol=1e-3)


def test_stronger_priors_give_plainer_faces(face):
    mesh = face.sample(torch.Generator().manual_seed(2))
    truth, plain = placed(face, mesh, Grid(), (0.0, 0.0, 0.0)), placed(face, face.mesh(), Grid(), (0.0, 0.0, 0.0))
    apart = [seen_apart(eos_model(face).fit(truth.landmark_points(), Grid(), strength=strength), truth) for strength in (0.1, 1.0, 100.0)]
    assert apart == sorted(apart)
    assert apart[-1] < seen_apart(plain, truth)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_landmarks_that_are_not_numbers_fail_politely(face, pairs, broken):
    def points(pairs):
        found = pairs.landmarks.clone()
        found[1, 5, 0] = broken
        return found

    answers = list(eos_predictor(face, points, TINY)(pairs))
    assert [answer.surface is None for answer in answers] == [index == 1 for index in range(len(pairs))]
    assert not answers[1].volume.any()
    row = score(answers[1], pairs, 1, GRID)
    assert (row["iou"], row["nme"]) == (0, math.inf)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_landmarks_of_no_face_are_answered(face, pairs, scale):
    line = torch.linspace(0, 30, 68)[:, None] * torch.tensor([1.0, 0.0])
    for points in (scale * line, scale * torch.rand(68, 2, generator=torch.Generator().manual_seed(0))):
        for answer in eos_predictor(face, lambda pairs, points=points: points[None], TINY)(pairs):
            assert answer.volume.shape == GRID.shape
            assert answer.surface is None or bool(answer.surface.isfinite().all())


def test_a_fit_that_diverges_has_no_mesh():
    toy = toy_face()  # two of its blendshapes undo each other
    for pose in POSES:
        found = eos_model(toy).fit(placed(toy, toy.mesh(), Grid(), pose).landmark_points(), Grid())
        assert found is None or bool(found.vertices.isfinite().all())


def test_a_face_that_would_reach_behind_its_wall_has_no_mesh(face):
    snout = torch.zeros(1, *face.mean.shape)
    snout[0, face.landmarks[27:], 2] = 2 * face.interocular  # the wall follows the landmarks, through the cheeks
    animal, plain = replace(face, expression=snout, expression_names=("snout",)), face.mesh()
    long = plain.vertices.clone()
    long[: len(face.mean)] += snout[0]
    short, far = (placed(face, plain.with_vertices(vertices), Grid(), (60.0, 0.0, 0.0)).landmark_points() for vertices in (plain.vertices, long))
    assert eos_model(animal).fit(short, Grid()) is not None
    assert eos_model(animal).fit(far, Grid(), strength=0.01) is None


def test_only_x_and_y_are_used(face, pairs):
    flat = eos_predictor(face, lambda pairs: pairs.landmarks[..., :2], TINY)(pairs)
    for one, other in zip(flat, eos_predictor(face, true_landmarks, TINY)(pairs), strict=True):
        assert torch.equal(one.surface, other.surface)


def test_same_input_same_output(face, pairs):
    first, second = (list(eos_predictor(face, true_landmarks, TINY)(pairs)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(mine, its) for mine, its in zip(one[:3], other[:3], strict=True))


def test_the_face_handed_over_is_left_alone(face, pairs):
    before = {field.name: value.clone() for field in fields(face) if isinstance(value := getattr(face, field.name), torch.Tensor)}
    list(eos_predictor(face, true_landmarks, TINY)(pairs))
    assert all(torch.equal(getattr(face, name), value) for name, value in before.items())


def test_expressions_stay_in_their_range(model, monkeypatch):
    seen, mesh = [], MorphableFace.mesh
    monkeypatch.setattr(MorphableFace, "mesh", lambda self, identity=None, expression=None: seen.append(expression) or mesh(self, identity, expression))
    points = placed(model.face, mesh(model.face), GRID, (0.0, 0.0, 0.0)).landmark_points()
    model.fit(points + 3 * torch.randn(68, 3, generator=torch.Generator().manual_seed(0)), GRID, strength=0.01)
    assert (float(seen[0].min()), float(seen[0].max())) == (0, 1)


def test_a_missing_library_is_named_in_one_line(face, monkeypatch):
    monkeypatch.setitem(sys.modules, "eos", None)
    with pytest.raises(InputError, match=r"^EOS needs the extra: pip install 'vrn_lite\[baselines\]'$"):
        eos_predictor(face, true_landmarks, TINY)


def test_the_package_does_not_need_the_library_to_be_imported():
    assert "eos" not in vars(baseline)
