import torch

from shapes import toy_face
from vrn_lite.landmarks import mirror
from vrn_lite.pairs import make_pairs
from vrn_lite.training.data import recoloured, varied

PAIRS = make_pairs(toy_face(), "tiny", 4, torch.Generator().manual_seed(0))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
