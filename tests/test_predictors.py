"""Ways of reconstructing: the bounds, and faces that are put back."""

import math
from dataclasses import replace

import pytest
import torch

from vrn_lite.evaluation.evaluate import score
from vrn_lite.evaluation.predictors import Answer, by_guided, by_mean_face, by_network, by_oracle, put_back, told
from vrn_lite.evaluation.testsets import heldout
from vrn_lite.frame import InputError
from vrn_lite.networks.base import build
from vrn_lite.presets import PRESETS
from vrn_lite.samples import make_pairs, unaligned


def test_the_mean_face_of_the_mean_face_is_exact(ict_face):
    """A source without variation is its own mean face, mirrored or not."""
    rigid_face = replace(ict_face, identity=0 * ict_face.identity, expression=0 * ict_face.expression)
    grid = PRESETS["tiny"].grid
    turned = make_pairs(rigid_face, "tiny", 8, torch.Generator().manual_seed(1))
    assert bool(turned.mirrored.any())
    rows = list(score("mean face", by_mean_face(rigid_face, grid), turned, grid))
    assert max(row.nme for row in rows) < 1e-3
    assert min(row.iou for row in rows) > 0.98
    assert [row.yaw > 0 for row in rows] == [bool((yaw > 0) ^ flip) for yaw, flip in zip(turned.yaw, turned.mirrored, strict=True)]


def test_mirrored_faces_are_put_back_too(ict_face):
    grid = PRESETS["tiny"].grid
    turned = make_pairs(ict_face, "tiny", 8, torch.Generator().manual_seed(1))
    assert 0 < turned.mirrored.sum() < 8
    frontal = unaligned(turned, ict_face.interocular, grid)
    rows = score("put back", lambda pairs: put_back(by_oracle(grid)(frontal), frontal, pairs, grid), turned, grid)
    assert max(row.nme for row in rows) < 0.08


def test_a_guided_network_answers_without_landmarks(ict_face):
    pairs, network = next(heldout(ict_face, 2, preset="tiny")), build("guided", "tiny").eval()
    blind = list(by_guided(network, lambda pairs: torch.full_like(pairs.landmarks, math.nan))(pairs))
    assert [answer.volume.shape for answer in blind] == 2 * [PRESETS["tiny"].grid.shape]


def test_the_oracle_gives_the_true_volumes_and_surfaces_that_lie_on_them(ict_face):
    pairs, grid = next(heldout(ict_face, 2, preset="tiny")), PRESETS["tiny"].grid
    for answer, volume in zip(by_oracle(grid)(pairs), pairs.volumes, strict=True):
        assert torch.equal(answer.volume, volume)
        assert answer.surface.volume == pytest.approx(float(volume.sum()) / grid.depth_scale, rel=0.1)


def test_networks_answer_with_what_they_have(ict_face):
    pairs = next(heldout(ict_face, 1, preset="tiny"))
    has = {name: next(iter(by_network(build(name, "tiny").eval())(pairs))) for name in ("vrn", "multitask", "landmarks")}
    assert {name: (answer.volume is not None, answer.landmarks is not None) for name, answer in has.items()} == {
        "vrn": (True, False),
        "multitask": (True, True),
        "landmarks": (False, True),
    }


def test_an_answer_without_a_surface_stays_without_when_it_is_put_back(ict_face):
    pairs, grid = next(heldout(ict_face, 1, preset="tiny")), PRESETS["tiny"].grid
    empty = Answer(torch.zeros(grid.shape, dtype=torch.bool))
    assert list(put_back([empty], unaligned(pairs, ict_face.interocular, grid), pairs, grid)) == [empty]


def test_told_needs_a_detector(ict_face):
    pairs = next(heldout(ict_face, 1, preset="tiny"))
    with pytest.raises(InputError, match="give one"):
        told(pairs)
    found = pairs.landmarks[..., :2] + 1
    assert told(replace(pairs, found=found)) is found
