"""Scenes hold heads where they say; what the network is taught says the same."""

import math

import numpy as np
import pytest
import torch

from vrn_lite.faces import procedural
from vrn_lite.photo.finder import STRIDE, FinderNetwork, finder_faces
from vrn_lite.photo.scenes import Scenes, Sprites, backgrounds, mirrored, scenes, sprites
from vrn_lite.photo.train_finder import loss, start_from_landmarks, targets, train


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def heads():
    return sprites(procedural(), 4, 64, seeded(), back=0.3)


def marked(yaw=0.0):
    """A sprite that is red above its box's centre and blue below it."""
    picture = torch.zeros(1, 4, 64, 64, dtype=torch.uint8)
    picture[:, 0, :32] = picture[:, 2, 32:] = 255
    picture[:, 3, 16:48, 20:44] = 255
    return Sprites(picture, torch.tensor([[32.0, 32.0, 24.0, 32.0]]), torch.tensor([yaw]))


def one(size=(30.0, 30.0), yaw=0.0, **changes):
    """Scenes of one marked head each."""
    grey = torch.full((1, 3, 64, 64), 127, dtype=torch.uint8)
    options = {"slots": 1, "edge": 0.0, "margin": 0.7, "clean": True} | changes
    return scenes(marked(yaw), grey, 16, 96, size, seeded(3), **options)


def seen_at(images, x, y):
    return torch.stack([image[:, int(v), int(u)] for image, u, v in zip(images, x, y, strict=True)])


def test_sprites_are_heads_with_their_boxes_inside(heads):
    assert heads.pictures.shape == (4, 4, 64, 64)
    low, high = heads.boxes[:, :2] - heads.boxes[:, 2:] / 2, heads.boxes[:, :2] + heads.boxes[:, 2:] / 2
    assert low.min() > 0
    assert high.max() < 64
    opaque = [alpha[int(y), int(x)] for alpha, (x, y, _, _) in zip(heads.pictures[:, 3], heads.boxes, strict=True)]
    assert min(opaque) > 200
    assert heads.pictures[:, 3, 0, [0, -1]].max() == 0


def test_a_head_is_pasted_where_its_box_says_turned_clockwise_by_its_angle():
    some = one()
    x, y, _, height, angle = some.faces[some.shown[:, 0] > 0.9, 0].T
    images = some.images[some.shown[:, 0] > 0.9]
    up = seen_at(images, x + angle.sin() * height / 4, y - angle.cos() * height / 4)
    down = seen_at(images, x - angle.sin() * height / 4, y + angle.cos() * height / 4)
    assert len(x) > 5
    assert (up[:, 0] > up[:, 2] + 0.1).all()
    assert (down[:, 2] > down[:, 0] + 0.1).all()


def test_sizes_are_those_asked_for():
    faces = one((20.0, 40.0)).faces[:, 0]
    size = (faces[:, 2] * faces[:, 3]).sqrt()
    assert size.min() >= 19.9
    assert size.max() <= 40.1


def test_the_back_of_a_head_is_no_face():
    assert one(yaw=170.0).shown.max() == 0


def test_a_covered_or_cut_face_is_not_shown():
    assert one(margin=0.7).shown.amax() > 0.95
    assert one(margin=0.0, edge=1.0).shown.amin() < 0.5


@pytest.mark.parametrize("across", [False, True])
def test_mirroring_twice_changes_nothing_and_once_moves_faces_with_their_pictures(across):
    some = one()
    once = mirrored(some, across)
    twice = mirrored(once, across)
    assert torch.equal(twice.images, some.images)
    torch.testing.assert_close(twice.faces[..., :4], some.faces[..., :4])
    torch.testing.assert_close(twice.faces[..., 4].cos(), some.faces[..., 4].cos(), atol=1e-5, rtol=0)
    x, y, _, height, angle = once.faces[once.shown[:, 0] > 0.9, 0].T
    up = seen_at(once.images[once.shown[:, 0] > 0.9], x + angle.sin() * height / 4, y - angle.cos() * height / 4)
    assert (up[:, 0] > up[:, 2] + 0.1).all()


def test_what_is_taught_decodes_to_the_faces():
    some = one()
    wanted, counts = targets(some)
    present = wanted[:, 0].flatten(1)
    told = finder_faces(wanted).flatten(2)
    for n in (some.shown[:, 0] > 0.9).nonzero()[:, 0].tolist():
        best = told[n, :, present[n].argmax()]
        x, y, width, height, angle = some.faces[n, 0].tolist()
        np.testing.assert_allclose(best[1:5], (x, y, width, height), atol=1e-3)
        assert math.cos(best[5] - angle) > 0.999
    assert counts.min() >= 0
    assert present[some.shown[:, 0] > 0.9].amax(1).min() > 0.9


def test_faces_too_large_to_know_or_half_hidden_are_neither_right_nor_wrong():
    wanted, counts = targets(one((80.0, 80.0)))
    assert wanted[:, 0].max() == 0
    assert counts.min() == 0


def test_perfect_answer_costs_nothing_and_another_costs_more():
    some = one()
    wanted = targets(some)[0]
    answer = wanted.clone()
    answer[:, 0] = wanted[:, 0].logit(1e-6)
    assert loss(answer, some) < 1e-4
    assert loss(answer.roll(1, -1), some) > 0.1


def test_same_seed_gives_the_same_scenes(heads):
    behind = backgrounds(16, 64, seeded(1))
    first, second = (scenes(heads, behind, 4, 64, (16.0, 40.0), seeded(5)) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.faces, second.faces)
    assert isinstance(first, Scenes)
    assert first.images.min() >= 0
    assert first.images.max() <= 1


def test_a_batch_is_learned_by_heart(heads):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = FinderNetwork(8, 16)
    fixed = scenes(heads, backgrounds(16, 64, seeded(1)), 8, 96, (24.0, 60.0), seeded(5), slots=1)
    optimiser, told = torch.optim.AdamW(network.parameters(), 5e-3), []
    for _ in range(60):
        error = loss(network(fixed.images), fixed)
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        told.append(error.item())
    assert told[-1] < 0.7 * told[0]


def test_training_reaches_every_parameter(heads):
    network = FinderNetwork(8, 16)
    before = {name: value.clone() for name, value in network.named_parameters()}
    told = list(train(network, heads, backgrounds(16, 64, seeded(1)), 30, seed=0, batch=4))
    assert len(told) == 30
    assert np.isfinite(told).all()
    assert all(not torch.equal(value, before[name]) for name, value in network.named_parameters())
    assert network(torch.rand(1, 3, 50, 70)).shape == (1, 7, -(-50 // STRIDE), -(-70 // STRIDE))


def test_all_but_the_answer_starts_from_the_landmark_network():
    network, other = FinderNetwork(), FinderNetwork()
    start_from_landmarks(network)
    start_from_landmarks(other)
    same = [name for name, value in network.state_dict().items() if torch.equal(value, other.state_dict()[name])]
    assert {name for name in network.state_dict() if name not in same} == {"answer.2.weight", "answer.2.bias"}
