"""Test sets: exact grids, fixed seeds, nothing that training sees."""

from itertools import pairwise

import pytest
import torch

from vrn_lite.evaluation.testsets import (
    CHUNK,
    EXPRESSIONS,
    TEST_SETS,
    YAW_SHARES,
    TestSet,
    aflw2000,
    bu4dfe,
    expression,
    florence,
    heldout,
    heldout_seed,
    named_set,
    six_expressions,
)
from vrn_lite.faces import procedural
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import InputError
from vrn_lite.networks.vrn import LandmarkHourglass
from vrn_lite.samples import NO_JITTER, make_pairs
from vrn_lite.training.data import step_seed

RENDERED = {"florence": florence, "bu4dfe": bu4dfe, "expressions": six_expressions}


@pytest.fixture(scope="module")
def face():
    return procedural()


@pytest.fixture(scope="module")
def pairs(face):
    return next(heldout(face, 16).batches("tiny"))


def angles(batches):
    """(tag, pitch, yaw) of all samples."""
    return [(tag, round(float(p), 3), round(float(y), 3)) for part in batches for tag, p, y in zip(part.tags, part.pitch, part.yaw, strict=True)]


def test_florence_shows_every_identity_in_fifteen_poses(face):
    shown = angles(florence(face, 30).batches("tiny"))
    assert shown[:15] == shown[15:]
    assert set(shown) == {("Neutral", pitch, yaw) for pitch in (-15, 20, 25) for yaw in (-80, -40, 0, 40, 80)}


def test_bu4dfe_shows_happy_and_surprised_faces_in_twenty_one_poses():
    grid = bu4dfe.grid
    assert len(grid) == len(set(grid)) == 42
    assert {name for name, _, _ in grid} == {"Happy", "Surprise"}
    assert {pitch for _, pitch, _ in grid} == {-20, 0, 20}
    yaws = sorted({yaw for _, _, yaw in grid})
    assert (yaws[0], yaws[-1], len(yaws)) == (-80, 80, 7)
    assert all(b - a == pytest.approx(80 / 3) for a, b in pairwise(yaws))


@pytest.mark.parametrize("name", RENDERED)
def test_default_sizes_hold_whole_identities(face, name):
    assert named_set(name, face).size == RENDERED[name].size
    assert RENDERED[name].size % len(RENDERED[name].grid) == 0


def test_one_identity_stays_one_shape_through_all_its_poses(face):
    pairs = next(florence(face, 16).batches("tiny"))
    skin = pairs.camera.inverse()(pairs.truth.vertices)[:, face.patch_vertices]
    torch.testing.assert_close(skin[:15], skin[:1].expand(15, -1, -1), atol=2e-3 * face.interocular, rtol=0)
    assert (skin[15] - skin[0]).norm(dim=-1).max() > 0.02 * face.interocular


@pytest.mark.parametrize("name", TEST_SETS)
def test_sets_are_reproducible_and_a_smaller_one_is_the_beginning_of_a_larger(face, name):
    small, large = (next(TEST_SETS[name](face, n).batches("tiny")) for n in (3, 16))
    assert len(small) == 3
    assert small.tags == large.tags[:3]
    assert torch.equal(small.images, large.images[:3])
    assert torch.equal(small.volumes, large.volumes[:3])
    other = next(TEST_SETS[name](face, 3, 2018).batches("tiny"))
    assert not torch.equal(other.images, small.images)


def test_no_two_sets_and_no_training_share_a_stream():
    seeds = {heldout_seed(2017, 10_000 * stream + offset + k) for stream in range(5) for offset in (0, 5_000) for k in range(300)}
    assert len(seeds) == 5 * 2 * 300
    assert min(seeds) >= 2**31


def test_identities_of_the_sets_are_far_apart(face):
    drawn = [rendered.identity(face, 2017, number) for rendered in RENDERED.values() for number in range(6)]
    assert torch.pdist(torch.stack(drawn)).min() > 1


def test_aflw2000_has_the_real_sets_share_of_yaws(face):
    yaw = torch.cat([part.yaw for part in aflw2000(face, 160).batches("tiny")]).abs()
    for low, high, share in YAW_SHARES:
        assert float(((yaw >= low) & (yaw < high)).float().mean()) == pytest.approx(share, abs=0.12)  # three standard deviations
    assert sum(share for _, _, share in YAW_SHARES) == pytest.approx(1)


def test_crops_are_straight(face):
    """The box of the true landmarks has the same area and its centre is the image's (no jitter), rolled or not."""
    for name in ("florence", "aflw2000"):
        points = next(TEST_SETS[name](face, 16).batches("tiny")).landmarks[..., :2]
        low, high = points.amin(1), points.amax(1)
        torch.testing.assert_close((low + high) / 2, torch.full((16, 2), 16.0), atol=1e-3, rtol=0)
        torch.testing.assert_close((high - low).prod(-1).sqrt(), torch.full((16,), 15.0), atol=1e-3, rtol=0)


def test_expressions_move_both_sides_alike(face):
    for name, recipe in EXPRESSIONS.items():
        values = dict(zip(face.expression_names, expression(face, name).tolist(), strict=True))
        for base, strength in recipe.items():
            sides = [values[key] for key in values if key.removesuffix("_L").removesuffix("_R") == base]
            assert sides
            assert sides == pytest.approx([strength] * len(sides))
        assert sum(value > 0 for value in values.values()) >= len(recipe)
    assert not expression(face, "Neutral").any()


def test_surprise_opens_the_mouth_and_happiness_widens_it(face):
    neutral, happy, surprised = (face.mesh(None, expression(face, name)).landmark_points() for name in ("Neutral", "Happy", "Surprise"))
    gap, width = lambda p: float((p[62] - p[66]).norm()), lambda p: float((p[48] - p[54]).norm())
    assert gap(surprised) > gap(neutral) + 0.1 * face.interocular
    assert width(happy) > 1.05 * width(neutral)


@pytest.mark.parametrize("count", [0, -3])
def test_a_set_without_faces_is_refused(face, count):
    with pytest.raises(InputError, match="needs faces"):
        florence(face, count)


def test_unknown_names_are_refused(face):
    with pytest.raises(InputError, match=r"unknown protocol 'lfw': choose one of heldout, aflw2000"):
        named_set("lfw", face)
    with pytest.raises(InputError, match="unknown expression 'Bored'"):
        expression(face, "Bored")


def test_a_set_is_cut_at_its_size_and_what_comes_after_is_never_made(face):
    made = []

    def make(preset):
        for batch in range(3):
            made.append(batch)
            yield next(florence(face, 5).make(preset))

    test = TestSet("florence", "toy", face, 48, make)
    assert [len(part) for part in test.first(20).batches("tiny")] == [16, 4]
    assert made == [0, 1]
    assert sum(len(part) for part in test.batches("tiny")) == 48
    with pytest.raises(InputError, match="toy has 48 samples here, got n = 49"):
        test.first(49)


# What a detector finds


class Told(LandmarkHourglass):
    """A detector of a size of its own that knows the landmarks."""

    def __init__(self, pairs, size):
        super().__init__(size)
        self.truth, self.asked = pairs.landmarks[..., :2], []
        self.eval()

    def landmarks(self, images):
        self.asked.append(tuple(images.shape))
        return self.truth[: len(images)]


def test_a_detector_of_another_size_looks_at_the_same_faces_at_its_own(face, pairs):
    lite = next(heldout(face, 16).batches("lite"))
    detector = Told(lite, "lite")
    found = next(heldout(face, 16).seen_by(detector, test_time_augmentation=False).batches("tiny"))
    assert detector.asked == [(16, 3, 64, 64)]
    assert torch.equal(found.images, pairs.images)
    torch.testing.assert_close(found.found, pairs.landmarks[..., :2], atol=1e-3, rtol=0)


def test_what_a_detector_found_is_cut_with_the_set(face, pairs):
    seen = heldout(face, 16).seen_by(Told(pairs, "tiny"), test_time_augmentation=False)
    (few,) = seen.first(3).batches("tiny")
    assert torch.equal(few.found, pairs.landmarks[:3, :, :2])


def test_a_detector_in_training_mode_is_refused(face):
    with pytest.raises(InputError, match="detector is in training mode"):
        heldout(face, 1).seen_by(LandmarkHourglass("tiny"))


# The held-out set


def drawn(monkeypatch, make):
    """Identity coefficients that `make` draws."""
    seen = []
    draw = MorphableFace.draw_identity

    def spy(self, generator, *batch):
        seen.append(draw(self, generator, *batch))
        return seen[-1]

    monkeypatch.setattr(MorphableFace, "draw_identity", spy)
    make()
    monkeypatch.undo()
    return torch.cat(seen)


def test_the_set_is_reproducible_and_differs_by_seed(face, pairs):
    again = next(heldout(face, 16).batches("tiny"))
    assert torch.equal(again.images, pairs.images)
    assert torch.equal(again.volumes, pairs.volumes)
    assert not torch.equal(next(heldout(face, 16, seed=1).batches("tiny")).yaw, pairs.yaw)


def test_a_smaller_set_is_the_beginning_of_a_larger_one(face, pairs):
    small = list(heldout(face, CHUNK + 3).batches("tiny"))
    assert [len(part) for part in small] == [CHUNK, 3]
    assert torch.equal(small[0].images, pairs.images)
    assert len(small[1].truth.vertices) == len(small[1].camera.scale) == len(small[1].yaw) == 3
    assert torch.equal(small[1].mesh(2).vertices[small[1].truth.landmarks], small[1].landmarks[2])


def test_every_preset_shows_the_same_heads(face, pairs):
    lite = next(heldout(face, 16).batches("lite"))
    assert torch.equal(lite.yaw, pairs.yaw)
    back = [part.camera.inverse()(part.truth.vertices[:, face.patch_vertices]) for part in (pairs, lite)]
    torch.testing.assert_close(*back, atol=2e-4, rtol=0)


def test_poses_are_within_range_and_nothing_is_jittered(face):
    parts = list(heldout(face, 48).batches("tiny"))
    yaw, pitch = torch.cat([part.yaw for part in parts]), torch.cat([part.pitch for part in parts])
    assert -90 <= yaw.min() < -60
    assert 60 < yaw.max() <= 90
    assert pitch.abs().max() <= 40
    assert 10 < pitch.std() < 20
    assert not any(part.mirrored.any() for part in parts)
    low, high = parts[0].landmarks[..., :2].amin(1), parts[0].landmarks[..., :2].amax(1)
    torch.testing.assert_close((low + high) / 2, torch.full((16, 2), 16.0), atol=1e-3, rtol=0)
    torch.testing.assert_close((high - low).prod(-1).sqrt(), torch.full((16,), 15.0), atol=1e-3, rtol=0)


def test_held_out_identities_never_occur_in_training(face, monkeypatch):
    found = drawn(monkeypatch, lambda: list(heldout(face, 32).batches("tiny")))

    def train():
        for seed, step in ((0, 0), (0, 1), (1, 0), (2017, 0)):
            make_pairs(face, "tiny", 16, torch.Generator().manual_seed(step_seed(seed, 0, step)), poses=NO_JITTER)

    training = drawn(monkeypatch, train)
    assert torch.cdist(found, training).min() > 1
    assert torch.pdist(torch.cat([found, training])).min() > 1


def test_held_out_seeds_differ_from_training_in_the_bits_that_count():
    same = [torch.rand(4, generator=torch.Generator().manual_seed(seed)).tolist() for seed in (7, 7 + 2**32)]
    assert same[0] == same[1], "this PyTorch reads more than 32 bits: the rule below may be relaxed"
    last_of_training = max(step_seed(seed, rank, step) for seed in (0, 2017, 50_000) for rank in range(3) for step in range(100))
    assert last_of_training < 2**31 <= min(heldout_seed(seed, chunk) for seed in (0, 2017, 50_000) for chunk in range(100))
    assert max(heldout_seed(seed, 999) for seed in (0, 2017, 50_000)) < 2**32


def test_the_camera_leads_from_the_model_to_the_truth(face):
    """Half a turn in depth: `camera` undone gives back heads whose wall is flat in z."""
    jittered = make_pairs(face, "tiny", 4, torch.Generator().manual_seed(0))
    vertices = jittered.camera.inverse()(jittered.truth.vertices)
    wall = vertices[:, -len(face.closing.rim) :, 2]
    assert (wall.amax(1) - wall.amin(1)).max() < 1e-4
    torch.testing.assert_close(vertices[:, face.landmarks, 2].mean(1) - wall.mean(1), torch.full((4,), face.interocular), atol=1e-3, rtol=0)
