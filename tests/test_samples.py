import pytest
import torch

from people import card, rng, wearing
from shapes import toy_face
from vrn_lite.camera import PIVOT_BEHIND_LANDMARKS
from vrn_lite.faces import procedural
from vrn_lite.faces.morphable import MorphableFace, grow_hair
from vrn_lite.frame import Grid, InputError
from vrn_lite.landmarks import FLIP, mirror
from vrn_lite.mesh import signed_volume
from vrn_lite.presets import NetworkSize, Preset, preset
from vrn_lite.samples import (
    LOOSE_JITTER,
    MILD_JITTER,
    NO_JITTER,
    PAPER_JITTER,
    FacePairs,
    PoseRange,
    draw_jitter,
    draw_pairs,
    draw_view,
    make_pairs,
    unaligned,
)
from vrn_lite.synth.appearance import Appearance, Rng
from vrn_lite.volume import voxelize

WIDE = Preset("wide", Grid(64, 64, 96, 1.25), NetworkSize(stem=2, levels=4, features=16, modules=1))


@pytest.fixture(scope="module", params=["toy", "procedural", "ict"])
def face(request) -> MorphableFace:
    return {"toy": lambda: grow_hair(toy_face()), "procedural": procedural, "ict": lambda: request.getfixturevalue("ict_face")}[request.param]()


@pytest.fixture(scope="module")
def pairs(face) -> FacePairs:
    """Sixteen samples of a grid whose height and width differ; about half are mirrored."""
    return make_pairs(face, WIDE, 16, seeded(0), poses=PoseRange(mirror=0.5))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def solid_of(pairs: FacePairs, index: int):
    mesh = pairs.mesh(index)
    return mesh.vertices, mesh.solid_triangles()


def test_shapes_and_ranges(pairs):
    assert pairs.images.shape == (16, 3, 64, 96)
    assert pairs.volumes.shape == (16, 64, 64, 96)
    assert pairs.volumes.dtype == torch.bool
    assert pairs.landmarks.shape == (16, 68, 3)
    assert len(pairs) == 16
    assert 0 <= pairs.images.min() < pairs.images.max() <= 1
    assert 0 < pairs.mirrored.sum() < 16


@pytest.mark.parametrize("name", ["tiny", "lite"])
def test_a_presets_name_gives_its_grid(name):
    pairs = make_pairs(toy_face(), name, 2, seeded(1))
    assert pairs.volumes.shape == (2, *preset(name).grid.shape)


def same(one: FacePairs, other: FacePairs) -> list[bool]:
    fields = [(p.images, p.volumes, p.landmarks, p.truth.vertices, p.mirrored, p.yaw, p.pitch) for p in (one, other)]
    return [torch.equal(a, b) for a, b in zip(*fields, strict=True)]


def test_the_same_seed_gives_the_same_pairs_bit_for_bit(face, pairs):
    torch.manual_seed(99)  # the global state plays no part
    assert all(same(pairs, make_pairs(face, WIDE, 16, seeded(0), poses=PoseRange(mirror=0.5))))


def test_another_seed_gives_other_pairs(face, pairs):
    assert not any(same(pairs, make_pairs(face, WIDE, 16, seeded(2), poses=PoseRange(mirror=0.5))))


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    make_pairs(toy_face(), "tiny", 2, seeded(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_volumes_are_the_voxelized_truth(pairs):
    for index in range(16):
        expected = voxelize(*solid_of(pairs, index), WIDE.grid.shape, WIDE.grid.depth_scale)
        different = (expected ^ pairs.volumes[index]).sum()
        if pairs.mirrored[index]:  # a pixel centre exactly on an edge belongs to the other side in the mirror
            assert different <= 1e-4 * expected.sum()
        else:
            assert different == 0


def test_truth_meshes_are_solids_facing_outward_mirrored_or_not(pairs):
    volumes = torch.stack([signed_volume(*solid_of(pairs, index)) for index in range(16)])
    assert (volumes > 0).all()
    torch.testing.assert_close(volumes, signed_volume(pairs.truth.vertices, pairs.truth.solid_triangles()), rtol=1e-4, atol=0)


def test_landmarks_are_those_of_the_truth_renumbered_where_mirrored(pairs):
    for index in range(16):
        torch.testing.assert_close(pairs.landmarks[index], pairs.mesh(index).landmark_points())
        renumbered = pairs.truth.landmarks[FLIP] if pairs.mirrored[index] else pairs.truth.landmarks
        assert torch.equal(pairs.mesh(index).landmarks, renumbered)


def test_a_mirrored_sample_is_the_mirror_image_of_the_plain_one(face):
    plain, flipped = (make_pairs(face, WIDE, 4, seeded(4), poses=PoseRange(mirror=share)) for share in (0, 1))
    assert torch.equal(flipped.images, plain.images.flip(-1))
    assert torch.equal(flipped.volumes, plain.volumes.flip(-1))
    assert torch.equal(flipped.landmarks, mirror(plain.landmarks, 96))
    assert torch.equal(flipped.truth.vertices, plain.truth.vertices)


def depth_picture(fragments, *others, painted=None):
    """Instead of a photograph: the depth of what is seen, infinity where nothing is."""
    *_, grid, numbers, _ = others
    canvas = torch.full((numbers.batch * grid.height * grid.width,), float("inf"))
    canvas[fragments.pixel] = fragments.depth.float()
    return canvas.view(numbers.batch, 1, grid.height, grid.width).expand(-1, 3, -1, -1).clone()


@pytest.fixture(scope="module")
def shallow(face):
    """Frontal depth pictures with their volumes; every head lies inside the grid."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vrn_lite.samples.render", depth_picture)
        roomy = Preset("roomy", Grid(128, 64, 64, 1.5), NetworkSize(stem=2, levels=4, features=16, modules=1))
        bald = toy_face() if face.name == "toy" else face
        return make_pairs(bald, roomy, 8, seeded(5), poses=PoseRange(yaw=0, pitch=0, mirror=0.5)), roomy.grid


def test_image_and_volume_are_aligned(face, shallow):
    """The first filled voxel of a pixel's column stands where the nearest visible point of that pixel is."""
    pairs, grid = shallow
    first = torch.where(pairs.volumes.any(1), pairs.volumes.int().argmax(1), grid.depth)
    seen = (pairs.images[:, 0] * grid.depth_scale - 0.5).ceil()
    both = pairs.volumes.any(1) & torch.isfinite(seen)
    assert both.float().mean() > 0.1
    off = (first - seen)[both].abs()
    assert (off == 0).float().mean() > (0.999 if face.name == "toy" else 0.75)  # hair, eyeballs and teeth are seen off the solid


def test_in_a_frontal_pose_the_volumes_silhouette_lies_within_the_images(shallow):
    pairs, _ = shallow
    occupied, seen = pairs.volumes.any(1), torch.isfinite(pairs.images[:, 0])
    assert (occupied & ~seen).sum() <= 0.02 * occupied.sum()  # the membrane of an open mouth is not seen


def test_landmarks_stand_in_front_of_their_solid(shallow):
    """The voxel half a pixel behind a frontal landmark of the nose is filled, half a pixel before it is not."""
    pairs, grid = shallow
    x, y, z = pairs.landmarks[:, 28:31].unbind(-1)
    sample = torch.arange(len(pairs))[:, None]
    before, behind = ((((z + step) * grid.depth_scale) - 0.5).round().long() for step in (-1.5, 1.5))
    assert pairs.volumes[sample, behind, y.long(), x.long()].float().mean() > 0.95
    assert pairs.volumes[sample, before, y.long(), x.long()].float().mean() < 0.3  # a nose is narrow, and a pixel off its ridge is lower


def test_without_augmentation_the_crop_rule_holds(face):
    pairs = make_pairs(face, "tiny", 8, seeded(6), poses=NO_JITTER)
    low, high = pairs.landmarks[..., :2].amin(1), pairs.landmarks[..., :2].amax(1)
    torch.testing.assert_close((high - low).prod(-1).sqrt(), torch.full((8,), 90 * 32 / 192), rtol=1e-4, atol=0)
    torch.testing.assert_close((high + low) / 2, torch.full((8, 2), 16.0), rtol=1e-4, atol=0)
    assert not pairs.mirrored.any()


def test_augmentation_stays_in_the_papers_ranges():
    face, grid, batch = toy_face(), Grid(200, 192, 192, 1.5), 4000
    landmarks = face.mesh().landmark_points().expand(batch, -1, -1)
    still = PoseRange(angle=0, shift=0, zoom=0)
    camera, yaw, pitch = draw_view(landmarks, face.interocular, grid, PoseRange(), rng(7, batch))
    steady, *angles = draw_view(landmarks, face.interocular, grid, still, rng(7, batch))
    assert torch.equal(torch.stack((yaw, pitch)), torch.stack(angles))
    zoom = camera.scale / steady.scale
    assert 0.85 - 1e-4 <= zoom.min() < 0.87
    assert 1.13 < zoom.max() <= 1.15 + 1e-4
    centre = torch.tensor(grid.centre).expand(batch, 1, 3)
    jitter = steady.inverse().compose(camera)
    moved = (jitter(centre) - centre)[:, 0]
    assert 14 < moved[:, :2].abs().max() <= 15.01
    assert moved[:, 2].abs().max() < 0.01
    roll = torch.atan2(jitter.rotation[:, 1, 0], jitter.rotation[:, 0, 0]).rad2deg()
    assert 44 < roll.max() <= 45.01
    assert -45.01 <= roll.min() < -44


TRAINING = [(PAPER_JITTER, 20, 60), (MILD_JITTER, 20, 60), (LOOSE_JITTER, 20, 60)]


@pytest.mark.parametrize(("poses", "spread", "most"), [*TRAINING, (NO_JITTER, 15, 40)])
def test_yaw_is_uniform_and_pitch_a_clipped_normal(poses, spread, most):
    face, batch = toy_face(), 20000
    landmarks = face.mesh().landmark_points().expand(batch, -1, -1)
    _, yaw, pitch = draw_view(landmarks, face.interocular, Grid(), poses, rng(8, batch))
    assert yaw.abs().max() <= 90
    assert float(yaw.std()) == pytest.approx(180 / 12**0.5, rel=0.02)
    assert pitch.abs().max() <= most
    assert float(pitch.std()) == pytest.approx(spread, rel=0.04)
    assert float((pitch.abs() == most).float().mean()) < 0.01  # the clip is far out


def test_a_pitch_is_clipped_where_it_is_said_to_be():
    face, batch = toy_face(), 2000
    landmarks = face.mesh().landmark_points().expand(batch, -1, -1)
    _, _, pitch = draw_view(landmarks, face.interocular, Grid(), PoseRange(pitch=30, pitch_most=20), rng(8, batch))
    assert pitch.abs().max() == 20
    assert 0.3 < (pitch.abs() == 20).float().mean() < 0.7


def jitter(poses: PoseRange, batch: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Zoom and the picture centre's shift (pixels of a 192 px image) of random crops."""
    grid = Grid(200, 192, 192, 1.5)
    camera, centre = draw_jitter(poses, grid, rng(10, batch)), torch.tensor(grid.centre).expand(batch, 1, 3)
    return camera.scale, (camera(centre) - centre)[:, 0, :2]


def test_a_finders_crops_are_of_055_to_18_times_the_right_size_and_up_to_a_third_of_the_face_off():
    zoom, shift = jitter(PoseRange(loose=1))
    assert 0.55 - 1e-4 <= zoom.min() < 0.57
    assert 1.75 < zoom.max() <= 1.8 + 1e-4
    assert float(zoom.median()) == pytest.approx((0.55 * 1.8) ** 0.5, rel=0.03)  # uniform in its logarithm
    assert 29 < shift.abs().max() <= 30.01  # the face is 90 px
    assert shift.mean(0).abs().max() < 1


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6])
def test_a_share_of_the_crops_is_a_finders_and_the_others_are_as_without_it(share):
    zoom, shift = jitter(PoseRange(loose=share))
    right, near = jitter(PoseRange())
    loose = (zoom != right) | (shift - near).abs().amax(1).gt(1e-3)
    assert float(loose.float().mean()) == pytest.approx(share, abs=0.03)
    assert torch.equal(zoom[~loose], right[~loose])
    everywhere, far = jitter(PoseRange(loose=1))
    assert torch.equal(zoom[loose], everywhere[loose])
    torch.testing.assert_close(shift[loose], far[loose], rtol=0, atol=1e-3)


def test_the_shipped_networks_see_upright_heads_every_fourth_in_a_finders_crop():
    assert LOOSE_JITTER.loose == 0.25
    assert (LOOSE_JITTER.angle, LOOSE_JITTER.shift, LOOSE_JITTER.zoom) < (PAPER_JITTER.angle, PAPER_JITTER.shift, PAPER_JITTER.zoom)
    assert PAPER_JITTER.loose == MILD_JITTER.loose == NO_JITTER.loose == 0


def test_a_fifth_of_the_samples_is_mirrored():
    mirrored = torch.cat([make_pairs(toy_face(), "tiny", 64, seeded(seed)).mirrored for seed in range(8)])
    assert float(mirrored.float().mean()) == pytest.approx(PoseRange().mirror, abs=0.06)
    assert PoseRange().mirror == 0.2


def test_mirroring_moves_no_other_number(face):
    """Who is mirrored is the samples' business: the truths, poses and, but for the flip, the pictures stay."""
    some, none = (make_pairs(face, "tiny", 12, seeded(13), poses=PoseRange(mirror=share)) for share in (0.5, 0.0))
    flip = some.mirrored
    assert 0 < flip.sum() < 12
    for name in ("images", "volumes"):
        assert torch.equal(getattr(some, name)[~flip], getattr(none, name)[~flip])
        assert torch.equal(getattr(some, name)[flip], getattr(none, name)[flip].flip(-1))
    assert torch.equal(some.truth.vertices, none.truth.vertices)


def test_volumes_landmarks_and_truth_do_not_depend_on_the_appearance(face):
    """But for the hair's shell in the truth, which is no part of the solid."""
    worn = wearing(face, card(face)) if face.name == "procedural" else face
    shell = worn.regions["hair"] > 0
    full, cut = Appearance(), Appearance(heldout=True, haircuts=1)
    plain, *others = (
        make_pairs(worn, WIDE, 6, seeded(14), appearance=appearance) for appearance in (Appearance.plain(), full, cut, Appearance(bald=1), Appearance(hats=1))
    )
    for other in others:
        for name in ("volumes", "landmarks", "yaw", "pitch", "mirrored"):
            assert torch.equal(getattr(plain, name), getattr(other, name)), name
        count = len(shell)
        assert torch.equal(plain.truth.vertices[:, :count][:, ~shell], other.truth.vertices[:, :count][:, ~shell])
        assert torch.equal(plain.truth.vertices[:, count:], other.truth.vertices[:, count:])
        assert not torch.equal(plain.images, other.images)


def test_pairs_are_drawn_from_a_view_without_mirroring():
    """`make_pairs` is sampling, a view, `draw_pairs`, and mirroring."""
    face, grid = grow_hair(toy_face()), preset("tiny").grid
    generator = seeded(15)
    numbers = Rng.of(generator, 5, "cpu")
    mesh = face.sample(generator, 5)
    view = draw_view(mesh.landmark_points(), face.interocular, grid, LOOSE_JITTER, numbers.stream("view"))
    drawn = draw_pairs(mesh, view, face, grid, numbers, Appearance(glasses=1))
    made = make_pairs(face, "tiny", 5, seeded(15), appearance=Appearance(glasses=1), poses=LOOSE_JITTER)
    assert not drawn.mirrored.any()
    straight = ~made.mirrored
    assert torch.equal(drawn.images[straight], made.images[straight])
    assert torch.equal(drawn.truth.vertices, made.truth.vertices)


def test_the_pivot_of_every_sample_stands_at_048_of_the_depth(face, pairs):
    """Also after scale jitter, which scales the depth about the pivot."""
    back = torch.tensor([0.0, 0.0, -PIVOT_BEHIND_LANDMARKS * face.interocular])
    pivot = pairs.camera.inverse()(pairs.truth.landmark_points()).mean(1, keepdim=True) + back
    torch.testing.assert_close(pairs.camera(pivot)[:, 0, 2], torch.full((16,), 0.48 * 64 / 1.25), rtol=1e-4, atol=0)


def test_an_unknown_preset_is_refused():
    with pytest.raises(InputError, match="unknown preset"):
        make_pairs(toy_face(), "huge", 2, seeded(0))


# Targets that do not follow the image


FRONTAL = PoseRange(yaw=0, pitch=0, angle=0, shift=0, zoom=0, mirror=0.5)


@pytest.fixture(scope="module")
def upright(face, pairs) -> FacePairs:
    return unaligned(pairs, face.interocular, WIDE.grid)


def test_without_alignment_the_images_and_their_poses_stay(pairs, upright):
    for name in ("images", "mirrored", "yaw", "pitch"):
        assert torch.equal(getattr(upright, name), getattr(pairs, name)), name
    assert len(upright) == len(pairs)
    assert upright.volumes.shape == pairs.volumes.shape


def test_taking_the_alignment_out_leaves_its_argument_alone(face, pairs):
    again = make_pairs(face, WIDE, 16, seeded(0), poses=PoseRange(mirror=0.5))
    unaligned(again, face.interocular, WIDE.grid)
    assert all(same(pairs, again))


def test_unaligned_volumes_are_the_voxelized_truth(upright):
    for index in range(16):
        expected = voxelize(*solid_of(upright, index), WIDE.grid.shape, WIDE.grid.depth_scale)
        different = (expected ^ upright.volumes[index]).sum()
        assert expected.any()
        assert different <= (1e-4 * expected.sum() if upright.mirrored[index] else 0)


def test_unaligned_landmarks_are_those_of_the_truth(upright):
    for index in range(16):
        torch.testing.assert_close(upright.landmarks[index], upright.mesh(index).landmark_points())


def test_identity_and_expression_stay(pairs, upright):
    """The two truths of a sample differ by a similarity: all distances have one ratio."""
    ends = torch.randint(pairs.truth.vertices.shape[1], (2, 400), generator=seeded(0))
    before, after = ((p.truth.vertices[:, ends[0]] - p.truth.vertices[:, ends[1]]).norm(dim=-1) for p in (pairs, upright))
    ratio = after.sum(1) / before.sum(1)
    torch.testing.assert_close(after, ratio[:, None] * before, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ratio, upright.camera.scale / pairs.camera.scale, rtol=1e-4, atol=0)
    assert (signed_volume(upright.truth.vertices, upright.truth.solid_triangles()) > 0).all()


def test_the_unaligned_camera_leads_from_the_model_frame_to_its_truth(pairs, upright):
    model = pairs.camera.inverse()(pairs.truth.vertices)
    torch.testing.assert_close(upright.camera(model), upright.truth.vertices, rtol=1e-4, atol=1e-3)


def test_every_unaligned_face_is_frontal_centred_and_of_one_size(pairs, upright):
    frontal = torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(16, 3, 3)
    torch.testing.assert_close(upright.camera.rotation, frontal, rtol=0, atol=1e-5)
    low, high = upright.landmarks[..., :2].amin(1), upright.landmarks[..., :2].amax(1)
    torch.testing.assert_close((high - low).prod(-1).sqrt(), torch.full((16,), 90 / 192 * WIDE.grid.side), rtol=1e-4, atol=0)
    torch.testing.assert_close((high + low) / 2, torch.tensor([[48.0, 32.0]]).expand(16, -1), rtol=1e-4, atol=1e-3)


def test_the_unaligned_targets_do_not_depend_on_pose_and_jitter(face):
    """The same heads in two poses have two images and one volume."""
    turned, steady = (make_pairs(face, WIDE, 6, seeded(11), poses=poses) for poses in (PoseRange(mirror=0.5), FRONTAL))
    one, two = (unaligned(pairs, face.interocular, WIDE.grid) for pairs in (turned, steady))
    assert (one.volumes ^ two.volumes).sum() <= 1e-3 * two.volumes.sum()
    assert (turned.volumes ^ steady.volumes).sum() > 0.1 * two.volumes.sum()
    torch.testing.assert_close(one.landmarks, two.landmarks, rtol=0, atol=1e-2)


def test_mirrored_samples_have_mirrored_unaligned_targets(face):
    plain, flipped = (unaligned(make_pairs(face, WIDE, 4, seeded(4), poses=PoseRange(mirror=share)), face.interocular, WIDE.grid) for share in (0, 1))
    assert torch.equal(flipped.volumes, plain.volumes.flip(-1))
    assert torch.equal(flipped.landmarks, mirror(plain.landmarks, 96))
    assert torch.equal(flipped.truth.vertices, plain.truth.vertices)


def test_a_frontal_batch_without_jitter_is_its_own_unaligned_one(face):
    pairs = make_pairs(face, WIDE, 6, seeded(12), poses=FRONTAL)
    same_again = unaligned(pairs, face.interocular, WIDE.grid)
    assert 0 < pairs.mirrored.sum() < 6
    torch.testing.assert_close(same_again.truth.vertices, pairs.truth.vertices, rtol=0, atol=1e-2)
    torch.testing.assert_close(same_again.landmarks, pairs.landmarks, rtol=0, atol=1e-2)
    assert (same_again.volumes ^ pairs.volumes).sum() <= 1e-3 * pairs.volumes.sum()
