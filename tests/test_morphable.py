from dataclasses import replace

import pytest
import torch

from shapes import toy_face
from vrn_lite.faces import procedural
from vrn_lite.faces.morphable import MorphableFace, grow_hair
from vrn_lite.frame import InputError
from vrn_lite.mesh import boundary_edges, signed_volume
from vrn_lite.synth.appearance import Rng
from vrn_lite.training.data import step_seed


@pytest.fixture(scope="module", params=["toy", "procedural", "ict"])
def face(request) -> MorphableFace:
    return {"toy": toy_face, "procedural": procedural, "ict": lambda: request.getfixturevalue("ict_face")}[request.param]()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_random_faces_are_closed_solids_of_positive_volume(face):
    mesh = face.sample(seeded(), 24)
    assert len(boundary_edges(mesh.solid_triangles())) == 0
    mean = float(signed_volume(face.mesh().vertices, mesh.solid_triangles()))
    volumes = signed_volume(mesh.vertices, mesh.solid_triangles())
    assert mean > 0
    assert (volumes > 0.4 * mean).all()
    assert (volumes < 2.5 * mean).all()


def test_the_wall_stands_one_unit_behind_the_landmarks_and_behind_every_patch_vertex(face):
    mesh = face.sample(seeded(1), 24)
    wall = mesh.landmark_points()[..., 2].mean(-1) - face.interocular
    solid = mesh.vertices[:, mesh.solid_triangles().unique()]
    torch.testing.assert_close(solid[..., 2].amin(1), wall)
    assert (mesh.vertices[:, face.patch_vertices, 2].amin(1) > wall).all()


def test_the_mean_face_has_no_coefficients(face):
    assert torch.equal(face.mesh().vertices[: len(face.mean)], face.mean)
    zeros = face.mesh(torch.zeros(len(face.identity)), torch.zeros(len(face.expression)))
    torch.testing.assert_close(zeros.vertices, face.mesh().vertices)


def test_vertices_are_linear_in_the_coefficients(face):
    one, other = face.draw_identity(seeded(2), 2) * 0.3
    expression = face.draw_expression(seeded(3))
    middle = face.mesh((one + other) / 2, expression).vertices
    ends = (face.mesh(one, expression).vertices + face.mesh(other, expression).vertices) / 2
    torch.testing.assert_close(middle, ends, rtol=1e-4, atol=1e-3)


def test_a_batch_equals_its_faces_one_by_one(face):
    identity, expression = face.draw_identity(seeded(4), 3) * 0.3, face.draw_expression(seeded(5), 3)
    batch = face.mesh(identity, expression)
    for index in range(3):
        torch.testing.assert_close(batch[index].vertices, face.mesh(identity[index], expression[index]).vertices, rtol=1e-4, atol=1e-4)


def test_the_unit_is_the_outer_interocular_distance_of_the_mean(face):
    eyes = face.mesh().landmark_points()[[36, 45]]
    assert face.interocular == pytest.approx(float((eyes[0] - eyes[1]).norm()))
    assert eyes[0, 0] < 0 < eyes[1, 0]  # landmark 36 is on the image's left


def test_flags_say_what_is_seen_and_what_is_solid(face):
    mesh = face.mesh()
    added = len(face.closing.triangles)
    assert mesh.visible[:-added].all()
    assert not mesh.visible[-added:].any()
    assert mesh.solid[-added:].all()
    assert torch.equal(mesh.solid[:-added], face.patch)
    assert torch.equal(mesh.face.nonzero()[:, 0], face.triangles[face.patch].unique())


def test_landmarks_belong_to_the_counted_face(face):
    assert face.mesh().face[face.landmarks].all()


def test_expressions_stay_between_0_and_1_and_a_seventh_of_the_faces_is_neutral(face):
    drawn = face.draw_expression(seeded(6), 4000)
    assert drawn.shape == (4000, len(face.expression_names))
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert (drawn == 0).all(1).float().mean() > 1 / 7 - 0.02


def test_an_expression_never_exceeds_the_one_it_needs():
    face = toy_face()
    drawn = face.draw_expression(seeded(7), 4000)
    closed, opened = (drawn[:, face.expression_names.index(name)] for name in ("mouthClose", "jawOpen"))
    assert (closed <= opened).all()
    assert (closed > 0).any()


def test_an_expression_is_often_active_where_it_is_said_to_be():
    face = toy_face()
    active = (face.draw_expression(seeded(8), 4000) > 0).float().mean(0)
    assert active[0] == pytest.approx(0.45 * 6 / 7, abs=0.03)
    assert active[2] == pytest.approx(0.1 * 6 / 7, abs=0.02)


def test_the_jaw_is_open_in_every_third_face_and_wide_in_every_fifth(face):
    jaw = face.draw_expression(seeded(16), 6000)[:, face.expression_names.index("jawOpen")]
    assert float((jaw > 0.3).float().mean()) == pytest.approx(1 / 3, abs=0.03)
    assert float((jaw > 0.7).float().mean()) == pytest.approx(1 / 5, abs=0.02)


def test_only_expressions_with_two_sides_are_weaker_on_one():
    """The strength of the others is the root of a uniform number."""
    toy = toy_face()
    names = ("mouthPucker", "jawLeft", "mouthSmile_L", "mouthSmile_R")
    face = replace(toy, expression_names=names, often=("mouthPucker", "jawLeft", "mouthSmile"), needs={})
    drawn = face.draw_expression(seeded(17), 6000)
    mean = [float(column[column > 0].mean()) for column in drawn.T]
    assert mean[:2] == pytest.approx([2 / 3, 2 / 3], abs=0.02)
    assert max(mean[2:]) < 0.58


def test_left_and_right_move_mostly_alike():
    face = toy_face()
    left, right = face.draw_expression(seeded(9), 4000)[:, 2:].T
    both = (left > 0) & (right > 0)
    assert torch.equal(left > 0, right > 0)
    assert torch.corrcoef(torch.stack((left[both], right[both])))[0, 1] > 0.5


def test_both_eyes_look_the_same_way():
    names = ("eyeLookIn_L", "eyeLookIn_R", "eyeLookOut_L", "eyeLookOut_R", "eyeLookUp_L", "eyeLookUp_R", "eyeLookDown_L", "eyeLookDown_R")
    toy = toy_face()
    face = replace(toy, expression=torch.zeros(8, *toy.mean.shape), expression_names=names, often=(), needs={})
    into_l, into_r, out_l, out_r, up_l, up_r, down_l, down_r = face.draw_expression(seeded(15), 4000).unbind(1)
    for left, right in ((into_l, out_r), (out_l, into_r), (up_l, up_r), (down_l, down_r)):
        assert ((left - right).abs() <= 0.1 * left + 1e-6).all()
        assert 0.1 < (left > 0).float().mean() < 0.25


def test_identity_coefficients_are_standard_normal_cut_at_three():
    drawn = toy_face().draw_identity(seeded(10), 20000)
    assert drawn.abs().max() <= 3
    torch.testing.assert_close(drawn.mean(0), torch.zeros(4), rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.std(0), torch.ones(4), rtol=0.03, atol=0)


def test_the_same_seed_gives_the_same_faces(face):
    assert torch.equal(face.sample(seeded(11), 2).vertices, face.sample(seeded(11), 2).vertices)
    assert not torch.equal(face.sample(seeded(11), 2).vertices, face.sample(seeded(12), 2).vertices)


def test_faces_far_out_are_brought_back_before_their_wall(face):
    identity = 40 * face.draw_identity(seeded(13), 50)
    with pytest.raises(InputError, match="reaches behind its wall: use smaller identity coefficients"):
        face.mesh(identity)
    mesh = face.mesh(face.before_wall(identity))
    assert torch.isfinite(mesh.vertices).all()


def test_expressions_count_when_faces_are_brought_back(face):
    """Whoever stands close to the wall with a neutral face must not be pushed through it by an expression."""
    expressions = torch.eye(len(face.expression))
    far = -face.identity[:, face.patch_vertices, 2].sum(1)  # all modes together, as far back as they go
    close = face.before_wall(1000 * far / far.norm())
    assert reach(face.mesh(close).vertices, face) == pytest.approx(0.96, abs=1e-3)
    assert reach(face.mesh(close.expand(len(expressions), -1), 0.04 * expressions).vertices, face).max() > 0.96  # some reach further back
    for identity in (close.expand(len(expressions), -1), 40 * face.draw_identity(seeded(15), len(expressions))):
        vertices = face.mesh(face.before_wall(identity, expressions), expressions).vertices
        assert (reach(vertices, face) < 0.961).all()


def reach(vertices, face):
    """How far back from the landmarks the patch reaches, the wall's distance being 1."""
    return (vertices[..., face.landmarks, 2].mean(-1) - vertices[..., face.patch_vertices, 2].amin(-1)) / face.interocular


def test_the_face_that_once_stopped_a_training(ict_face):
    """Step 1304 of a training with seed 0 has a sample whose identity alone stays before the wall, and with its expression does not."""
    generator = seeded(step_seed(0, 0, 1304))
    Rng.of(generator, 16, "cpu")  # as making the pairs does first
    state = generator.get_state()
    identity, expression = ict_face.draw_identity(generator, 16), ict_face.draw_expression(generator, 16)
    with pytest.raises(InputError, match="reaches behind its wall"):
        ict_face.mesh(ict_face.before_wall(identity), expression)
    vertices = ict_face.sample(generator.set_state(state), 16).vertices
    assert reach(vertices, ict_face).max() == pytest.approx(0.96, abs=1e-3)


def test_no_mix_of_expressions_takes_the_mean_face_behind_its_wall(face):
    """So that `sample` never fails: each vertex with all expressions that move it back at full strength, and no other."""
    depth = face.expression[..., 2] - face.expression[:, face.landmarks, 2].mean(1, keepdim=True)
    back = face.mean[:, 2] - face.mean[face.landmarks, 2].mean() + depth.clamp(max=0).sum(0)
    assert back[face.patch_vertices].min() > -face.interocular


def test_an_expression_that_leaves_no_room_leaves_no_identity():
    flat = toy_face()
    backward = replace(flat, expression=torch.zeros_like(flat.expression))
    backward.expression[0, backward.patch_vertices[0], 2] = -50 * flat.interocular
    shown = torch.eye(len(flat.expression))[:1]
    assert torch.equal(backward.before_wall(torch.ones(1, len(flat.identity)), shown), torch.zeros(1, len(flat.identity)))
    with pytest.raises(InputError, match="reaches behind its wall"):
        backward.mesh(None, shown)


def test_before_wall_leaves_ordinary_faces_alone(face):
    identity = 0.1 * face.draw_identity(seeded(14), 20)
    assert torch.equal(face.before_wall(identity), identity)


def test_hair_leaves_the_solid_as_it_is():
    bald = toy_face()
    hairy = grow_hair(bald)
    a, b = bald.mesh(), hairy.mesh()
    assert len(hairy.mean) > len(bald.mean)
    corners = (a.vertices[a.solid_triangles()], b.vertices[b.solid_triangles()])
    assert torch.equal(*corners)
    assert not b.face[len(bald.mean) :].any()


def test_hair_is_a_visible_copy_of_the_scalp():
    bald = toy_face()
    hairy = grow_hair(bald)
    shell = hairy.regions["hair"] > 0
    assert not shell[: len(bald.mean)].any()
    assert shell[len(bald.mean) :].all()
    assert set(map(tuple, hairy.mean[shell].tolist())) <= set(map(tuple, bald.mean[bald.regions["scalp"] > 0.05].tolist()))
    grown = ~hairy.patch
    assert torch.equal(hairy.triangles[grown].unique(), shell.nonzero()[:, 0])
    assert (hairy.regions["lips"][shell] == 0).all()


def test_every_region_is_a_soft_mask(face):
    for mask in face.regions.values():
        assert mask.shape == (len(face.mean),)
        assert 0 <= mask.min() <= mask.max() <= 1


def test_names_must_match_the_expressions():
    face = toy_face()
    with pytest.raises(InputError, match="4 expressions need as many names, got 1"):
        replace(face, expression_names=("jawOpen",))


def test_a_face_moves_to_its_own_device_whole():
    face = toy_face().to("cpu")
    assert torch.equal(face.mean, toy_face().mean)
    assert face.regions.keys() == toy_face().regions.keys()
    assert torch.equal(face.closing.triangles, toy_face().closing.triangles)
