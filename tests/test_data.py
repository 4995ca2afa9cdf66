"""Streams of pairs, the batch of a step, and a drawn batch used again."""

from dataclasses import replace

import pytest
import torch

from shapes import toy_face
from vrn_lite.evaluation.testsets import heldout_seed
from vrn_lite.frame import InputError
from vrn_lite.landmarks import mirror
from vrn_lite.networks.base import build
from vrn_lite.presets import preset
from vrn_lite.samples import FacePairs, PoseRange, make_pairs, unaligned
from vrn_lite.synth.appearance import Appearance
from vrn_lite.training.data import Mixed, StepPairs, Synthetic, facts_of, recoloured, step_seed, stream_of, suited, varied

FACE, CPU = toy_face(), torch.device("cpu")
PAIRS = make_pairs(FACE, "tiny", 4, torch.Generator().manual_seed(0))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(variant: str = "vrn", poses: PoseRange | None = None, reuse: int = 1, rank: int = 0) -> StepPairs:
    """The batches of a training of that variant, seed 3."""
    network = build(variant, "tiny", face=FACE)
    stream = suited(stream_of(FACE, "tiny", poses=poses), network, CPU)
    return StepPairs(stream, 4, 3, rank, CPU, reuse, network.mirrors)


# The law: a step's pairs come from (seed, rank, step) and nothing else


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("step", [0, 1, 7])
def test_the_pairs_of_a_step_are_those_of_its_seed(step, rank):
    expected = make_pairs(FACE, "tiny", 4, seeded(step_seed(3, rank, step)))
    found = drawn(rank=rank)(step)
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.volumes, expected.volumes)
    assert torch.equal(found.landmarks, expected.landmarks)


def test_the_order_of_the_steps_plays_no_part():
    one, other = drawn(), drawn()
    late = one(5)
    other(0)
    other(9)
    assert torch.equal(other(5).images, late.images)


def test_every_step_rank_and_seed_has_samples_of_its_own_and_none_of_the_held_out():
    keys = [(seed, rank, step) for seed in (0, 1, 7, 2017, 2**40) for rank in range(3) for step in range(200)]
    seeds = {step_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert max(seeds) < 2**31 <= min(heldout_seed(seed, chunk) for seed in (0, 2017, 50_000) for chunk in range(100))
    assert step_seed(1, 2, 3) == step_seed(1, 2, 3)


# Streams


@pytest.mark.parametrize("variant", ["parameters", "vertices"])
def test_regression_learns_from_the_same_samples_unmirrored(variant):
    mirrored = PoseRange(mirror=1)
    theirs, pairs = drawn("vrn", mirrored)(0), drawn(variant, mirrored)(0)
    assert bool(theirs.mirrored.all())
    assert not bool(pairs.mirrored.any())
    assert torch.equal(pairs.images, theirs.images.flip(-1))


def test_the_unaligned_network_learns_from_frontal_volumes():
    """The same images; the volumes do not follow the pose."""
    aligned, frontal = drawn("vrn")(0), drawn("unaligned")(0)
    assert torch.equal(aligned.images, frontal.images)
    expected = unaligned(aligned, FACE.interocular, preset("tiny").grid)
    assert torch.equal(frontal.volumes, expected.volumes)
    assert torch.equal(frontal.landmarks, expected.landmarks)
    assert not torch.equal(frontal.volumes, aligned.volumes)


def test_poses_and_looks_reach_the_samples():
    straight = drawn(poses=PoseRange(yaw=0, pitch=0, angle=0, shift=0, zoom=0, mirror=1))(0)
    assert torch.equal(straight.yaw, torch.zeros(4))
    assert torch.equal(straight.pitch, torch.zeros(4))
    assert bool(straight.mirrored.all())
    plain = stream_of(FACE, "tiny", appearance=Appearance.plain())(0, 4, seeded(1), CPU)
    assert torch.equal(plain.images, make_pairs(FACE, "tiny", 4, seeded(1), appearance=Appearance.plain()).images)
    assert not torch.equal(plain.images, make_pairs(FACE, "tiny", 4, seeded(1)).images)


def test_streams_take_turns():
    other = replace(FACE, name="other", mean=1.1 * FACE.mean)
    mixed = stream_of([FACE, other], "tiny")
    for step, face in enumerate((FACE, other, FACE)):
        assert torch.equal(mixed(step, 2, seeded(step), CPU).volumes, make_pairs(face, "tiny", 2, seeded(step)).volumes)
    assert [face.name for face in mixed.faces] == ["toy", "other"]


def test_each_stream_counts_its_own_turns():
    pairs, seen = make_pairs(FACE, "tiny", 1, seeded(0)), []

    def named(name):
        def stream(step, batch, generator, device):
            seen.append((name, step))
            return pairs

        return stream

    mixed = Mixed([named("a"), named("b")], turns=(0, 1, 0))
    for step in range(6):
        mixed(step, 1, seeded(step), CPU)
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("a", 2), ("b", 1), ("a", 3)]


def test_a_checkpoint_keeps_what_a_stream_tells_of_itself():
    one = Synthetic(FACE, "tiny", poses=PoseRange(yaw=30))
    assert facts_of(one)["poses"]["yaw"] == 30
    assert facts_of(Mixed([one, one])) == facts_of(one)
    assert len(facts_of(Mixed([one, Synthetic(FACE, "tiny")]))["streams"]) == 2
    assert facts_of(lambda step, batch, generator, device: PAIRS) == {}
    unmirrored = suited(one, build("vertices", "tiny", face=FACE), CPU)
    assert (unmirrored.poses.mirror, one.poses.mirror) == (0, 0.2)


def test_a_function_is_a_stream_as_it_is():
    def mine(step: int, batch: int, generator: torch.Generator, device: torch.device) -> FacePairs:
        return PAIRS

    assert stream_of(mine, "tiny") is mine
    assert suited(mine, build("vrn", "tiny"), CPU) is mine
    assert Mixed([mine])(7, 4, seeded(0), CPU) is PAIRS


def test_names_are_face_models():
    assert stream_of("procedural", "tiny").face.name == "procedural"


# A drawn batch once more


def test_a_drawn_batch_is_used_again_mirrored_and_in_other_colours():
    again, once = drawn(reuse=3), drawn()
    first, second, third, fourth = (again(step) for step in range(4))
    assert torch.equal(first.images, once(0).images)
    assert torch.equal(fourth.images, once(1).images)
    assert torch.equal(second.volumes, first.volumes.flip(-1))
    assert torch.equal(third.volumes, first.volumes)
    assert 0 < float((second.images.flip(-1) - first.images).abs().mean()) < 0.2
    assert 0 < float((third.images - first.images).abs().mean()) < 0.2
    assert torch.equal(drawn(reuse=3)(2).images, third.images), "resumed in between"
    with pytest.raises(InputError, match=r"reuse \(=0\) must be at least 1"):
        drawn(reuse=0)


@pytest.mark.parametrize("variant", ["parameters", "vertices"])
def test_regression_sees_no_mirrored_batch_again(variant):
    pairs = drawn(variant, reuse=2)
    assert not bool(torch.cat([pairs(step).mirrored for step in range(2)]).any())


def test_a_mirrored_batch_shows_the_same_faces_from_the_other_side():
    again = varied(PAIRS, seeded(1))
    assert torch.equal(again.volumes, PAIRS.volumes.flip(-1))
    assert torch.equal(again.landmarks, mirror(PAIRS.landmarks, 32))
    assert torch.equal(again.mirrored, ~PAIRS.mirrored)
    for index in range(4):
        assert torch.allclose(again.mesh(index).landmark_points(), again.landmarks[index], atol=1e-4)


def test_without_mirroring_only_the_pictures_change():
    again = varied(PAIRS, seeded(1), mirrors=False)
    assert again.volumes is PAIRS.volumes
    assert again.landmarks is PAIRS.landmarks
    assert not torch.equal(again.images, PAIRS.images)


def test_pictures_stay_pictures_and_depend_on_the_seed_only():
    one, two, other = (recoloured(PAIRS.images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.shape == PAIRS.images.shape
    assert 0 <= float(one.min())
    assert float(one.max()) <= 1
    assert float((one - PAIRS.images).abs().mean()) < 0.15


def test_the_batch_itself_is_left_as_it_is():
    before = PAIRS.images.clone()
    varied(PAIRS, seeded(3))
    assert torch.equal(PAIRS.images, before)
