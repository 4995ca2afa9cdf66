"""Asking a network once, or averaged over mirrored and shifted copies."""

import pytest
import torch

from vrn_lite.frame import InputError
from vrn_lite.inference import SHIFTS, at_once, iter_probabilities, landmarks_in, probabilities, shift
from vrn_lite.landmarks import mirror
from vrn_lite.networks.base import Prediction, build
from vrn_lite.networks.vrn import VRN, GuidedVRN, LandmarkHourglass, UnalignedVRN
from vrn_lite.presets import preset

SIDE = 32


class Follows(VRN):
    """Answers each depth slice with the image's first channel: moves and mirrors with it."""

    def predict(self, images, landmarks=None):
        return Prediction(logits=images[:, :1].expand(-1, self.preset.grid.depth, -1, -1) * 8 - 4)


class Marks(LandmarkHourglass):
    """Finds all landmarks at the brightest pixel, which has no left and right."""

    def landmarks(self, images):
        best = images[:, 0].flatten(1).argmax(1)
        return torch.stack((best % SIDE + 0.5, best // SIDE + 0.5), -1)[:, None].expand(-1, 68, -1).clone()


@pytest.fixture
def images():
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_shifts_are_undone_away_from_the_edges(images):
    for x, y in SHIFTS:
        there_and_back = shift(shift(images, x, y), -x, -y)
        assert torch.equal(there_and_back[..., 2:-2, 2:-2], images[..., 2:-2, 2:-2])
    assert torch.equal(shift(images, 0, 0), images)
    assert torch.equal(shift(images, 1, 0)[..., 1:], images[..., :-1])


def test_averaging_changes_nothing_for_a_network_that_follows_its_image(images):
    network = Follows("tiny").eval()
    once, averaged = (probabilities(network, images, average) for average in (False, True))
    assert torch.allclose(once[..., 2:-2, 2:-2], averaged[..., 2:-2, 2:-2], atol=1e-6)


def test_an_answer_is_the_mean_over_all_copies(images):
    network = build("vrn", "tiny").eval()
    copies = []
    with torch.no_grad():
        for x, y in SHIFTS:
            for turn in (lambda t: t, lambda t: t.flip(-1)):
                copies.append(shift(turn(network(turn(shift(images, x, y))).sigmoid()), -x, -y))
    assert len(copies) == 8
    assert torch.allclose(probabilities(network, images), torch.stack(copies).mean(0), atol=1e-6)


@pytest.mark.parametrize("average", [False, True])
def test_answers_one_by_one_are_those_of_all_at_once_and_few_images_are_seen_together(average, monkeypatch):
    monkeypatch.setattr("vrn_lite.inference.VOXELS_AT_ONCE", 4 * SIDE**3)
    images, network, seen = torch.rand(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), build("vrn", "tiny").eval(), []
    network.stem.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    answers = list(iter_probabilities(network, images, average))
    assert set(seen) == {4, 2}
    assert torch.equal(torch.stack(answers), probabilities(network, images, average))
    assert torch.allclose(torch.stack(answers), torch.cat([probabilities(network, image[None], average) for image in images]), atol=1e-6)


def test_as_many_images_are_asked_together_as_memory_allows():
    assert [at_once(preset(name).grid) for name in ("lite", "colab", "paper")] == [16, 2, 1]


def test_no_images_no_answers(images):
    assert probabilities(build("vrn", "tiny").eval(), images[:0]).shape == (0, SIDE, SIDE, SIDE)


def test_an_unaligned_answer_is_mirrored_but_not_shifted(images):
    class Constant(UnalignedVRN):
        def predict(self, images, landmarks=None):
            ramp = torch.linspace(-2, 2, SIDE)
            return Prediction(logits=ramp.expand(len(images), SIDE, SIDE, SIDE).clone())

    answer = probabilities(Constant("tiny").eval(), images)
    assert torch.allclose(answer, torch.full_like(answer, 0.5), atol=1e-6)  # a ramp and its mirror image


def test_an_unaligned_answer_that_is_its_own_mirror_image_stays_as_it_is(images):
    half = torch.randn(SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(1))

    class Constant(UnalignedVRN):
        def predict(self, images, landmarks=None):
            return Prediction(logits=(half + half.flip(-1)).expand(len(images), -1, -1, -1).clone())

    answer = probabilities(Constant("tiny").eval(), images)
    torch.testing.assert_close(answer[0], (half + half.flip(-1)).sigmoid())


def test_landmarks_go_with_the_image(images):
    seen = []

    class Notes(GuidedVRN):
        def predict(self, images, landmarks=None):
            at = landmarks[:, 30, :2].floor().long()
            seen.append(images[torch.arange(len(images)), 0, at[:, 1], at[:, 0]])
            return Prediction(logits=torch.zeros(len(images), SIDE, SIDE, SIDE))

    points = torch.full((2, 68, 2), 15.5)  # landmark 30, the nose's tip, keeps its number when mirrored
    probabilities(Notes("tiny").eval(), images, landmarks=points)
    assert len(seen) == 8
    for colours in seen:
        assert torch.equal(colours, images[:, 0, 15, 15])


def test_found_landmarks_are_means_over_the_image_and_its_mirror_image():
    images = torch.zeros(1, 3, SIDE, SIDE)
    images[0, 0, 9, 20] = 1
    found = landmarks_in(Marks("tiny").eval(), images)
    assert torch.allclose(found, torch.tensor([20.5, 9.5]).expand(1, 68, 2))
    network = build("landmarks", "tiny").eval()
    with torch.no_grad():
        both = network.landmarks(images), mirror(network.landmarks(images.flip(-1)), SIDE)
    assert torch.allclose(landmarks_in(network, images), (both[0] + both[1]) / 2)
    assert torch.allclose(landmarks_in(network, images, test_time_augmentation=False), both[0])


def test_a_guided_network_wants_landmarks(images):
    with pytest.raises(InputError, match="needs landmarks"):
        probabilities(GuidedVRN("tiny").eval(), images)
