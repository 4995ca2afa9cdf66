"""Test sets: exact grids, fixed seeds, nothing that training sees."""

from itertools import pairwise

import pytest
import torch

from vrn_lite.evaluation.testsets import (
    EXPRESSIONS,
    SIZES,
    TEST_SETS,
    YAW_SHARES,
    aflw2000,
    bu4dfe,
    expression,
    florence,
    heldout_seed,
    named_set,
    six_expressions,
)
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError

RENDERED = {"florence": florence, "bu4dfe": bu4dfe, "expressions": six_expressions}


@pytest.fixture(scope="module")
def face():
    return procedural()


def angles(batches):
    """(tag, pitch, yaw) of all samples."""
    return [(tag, round(float(p), 3), round(float(y), 3)) for part in batches for tag, p, y in zip(part.tags, part.pitch, part.yaw, strict=True)]


def test_florence_shows_every_identity_in_fifteen_poses(face):
    shown = angles(florence(face, 30, preset="tiny"))
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
def test_default_sizes_hold_whole_identities(name):
    assert SIZES[name] == RENDERED[name].size
    assert SIZES[name] % len(RENDERED[name].grid) == 0


def test_one_identity_stays_one_shape_through_all_its_poses(face):
    pairs = next(florence(face, 16, preset="tiny"))
    skin = pairs.camera.inverse()(pairs.truth.vertices)[:, face.patch_vertices]
    torch.testing.assert_close(skin[:15], skin[:1].expand(15, -1, -1), atol=2e-3 * face.interocular, rtol=0)
    assert (skin[15] - skin[0]).norm(dim=-1).max() > 0.02 * face.interocular


@pytest.mark.parametrize("name", TEST_SETS)
def test_sets_are_reproducible_and_a_smaller_one_is_the_beginning_of_a_larger(face, name):
    small, large = next(TEST_SETS[name](face, 3, preset="tiny")), next(TEST_SETS[name](face, 16, preset="tiny"))
    assert len(small) == 3
    assert small.tags == large.tags[:3]
    assert torch.equal(small.images, large.images[:3])
    assert torch.equal(small.volumes, large.volumes[:3])
    other = next(TEST_SETS[name](face, 3, 2018, preset="tiny"))
    assert not torch.equal(other.images, small.images)


def test_no_two_sets_and_no_training_share_a_stream():
    seeds = {heldout_seed(2017, 10_000 * stream + offset + k) for stream in range(5) for offset in (0, 5_000) for k in range(300)}
    assert len(seeds) == 5 * 2 * 300
    assert min(seeds) >= 2**31


def test_identities_of_the_sets_are_far_apart(face):
    drawn = [rendered._identity(face, 2017, number) for rendered in RENDERED.values() for number in range(6)]
    assert torch.pdist(torch.stack(drawn)).min() > 1


def test_aflw2000_has_the_real_sets_share_of_yaws(face):
    yaw = torch.cat([part.yaw for part in aflw2000(face, 160, preset="tiny")]).abs()
    for low, high, share in YAW_SHARES:
        assert float(((yaw >= low) & (yaw < high)).float().mean()) == pytest.approx(share, abs=0.12)  # three standard deviations
    assert sum(share for _, _, share in YAW_SHARES) == pytest.approx(1)


def test_crops_are_straight(face):
    """The box of the true landmarks has the same area and its centre is the image's (no jitter), rolled or not."""
    for name in ("florence", "aflw2000"):
        points = next(TEST_SETS[name](face, 16, preset="tiny")).landmarks[..., :2]
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
        next(florence(face, count, preset="tiny"))


def test_unknown_names_are_refused(face):
    with pytest.raises(InputError, match=r"unknown protocol 'lfw': choose one of heldout, florence"):
        named_set("lfw")
    with pytest.raises(InputError, match="unknown expression 'Bored'"):
        expression(face, "Bored")
