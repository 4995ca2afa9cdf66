"""The camera's faults change a picture and do not move it."""

import pytest
import torch

from vrn_lite.camera_faults import (
    FAULTS,
    _blurred,
    compressed,
    dct_matrix,
    greyscale,
    jpeg,
    line_kernels,
    low_resolution,
    motion_blur,
    on_some,
    photograph,
    pixels,
    sepia,
    sharpen,
    soft_focus,
)
from vrn_lite.dice import Dice


def dice(seed: int = 0, batch: int = 6) -> Dice:
    return Dice.of(torch.Generator().manual_seed(seed), batch, "cpu")


def noisy(batch: int, height: int = 40, width: int = 48) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_a_change_reaches_its_share_of_the_images_and_no_other():
    images = torch.zeros(2000, 3, 2, 2)
    changed = on_some(images.clone(), dice(3, 2000), 0.2, lambda some, few: some + 1).amax((1, 2, 3))
    assert set(changed.tolist()) == {0.0, 1.0}
    assert float(changed.mean()) == pytest.approx(0.2, abs=0.03)
    assert torch.equal(on_some(images.clone(), dice(4, 2000), 0.0, lambda some, few: some + 1), images)


def test_a_blur_of_nothing_is_the_identity_and_a_blur_keeps_constants():
    images = noisy(2, 12, 14)
    torch.testing.assert_close(_blurred(images, torch.zeros(2)), images)
    flat = torch.full((2, 3, 12, 14), 0.3)
    torch.testing.assert_close(_blurred(flat, torch.tensor([0.5, 1.6])), flat)
    blurred = _blurred(images, torch.tensor([0.0, 1.5]))
    torch.testing.assert_close(blurred[0], images[0])
    assert blurred[1].std() < 0.6 * images[1].std()


@pytest.mark.parametrize("fault", [low_resolution, motion_blur, soft_focus, sharpen], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("side", [32, 64])
def test_no_fault_moves_the_picture(fault, side):
    """The centre of mass of a bright dot stays, to 0.1 px."""
    column, row = side // 2 - 3, side // 2 + 4
    for seed in range(12):
        images = torch.zeros(3, 3, side, side)
        images[..., row - 1 : row + 2, column - 1 : column + 2] = torch.tensor([[0.5, 0.7, 0.5], [0.7, 1, 0.7], [0.5, 0.7, 0.5]])
        after = fault(images, dice(seed, 3))
        x, y = pixels(after)
        mass = after.sum((2, 3))
        assert ((after * x).sum((2, 3)) / mass - column - 0.5).abs().max() < 0.1
        assert ((after * y).sum((2, 3)) / mass - row - 0.5).abs().max() < 0.1


def test_motion_kernels_sum_to_one_and_are_symmetric():
    kernels = line_kernels(torch.linspace(0.1, 8, 20), torch.linspace(0, 3.1, 20))
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(20))
    torch.testing.assert_close(kernels, kernels.flip(1, 2))
    assert kernels[0, 4, 4] > 0.5  # hardly any motion
    level = line_kernels(torch.tensor([6.0]), torch.tensor([0.0]))[0]
    assert level[4].sum() > 0.7


def test_grey_has_equal_channels_and_sepia_is_browner():
    images = noisy(5)
    grey = greyscale(images, dice(20, 5))
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])
    assert grey.min() >= 0
    assert grey.max() <= 1 + 1e-6
    brown = sepia(images, dice(20, 5)).mean((2, 3))
    assert (brown[:, 0] > brown[:, 1]).all()
    assert (brown[:, 1] > brown[:, 2]).all()


def test_the_cosine_matrix_is_orthogonal():
    torch.testing.assert_close(dct_matrix() @ dct_matrix().T, torch.eye(8), atol=1e-6, rtol=0)


def test_compression_keeps_constants_and_at_top_quality_nearly_everything():
    flat = torch.rand(9, 3, 1, 1, generator=torch.Generator().manual_seed(2)).expand(9, 3, 16, 24)
    assert (compressed(flat, torch.full((9,), 50.0)) - flat).abs().max() < 0.03
    assert compressed(flat, torch.full((9,), 20.0)).flatten(2).std(2).max() < 1e-5
    images = 0.25 + 0.5 * noisy(4, 30, 21)  # sides that 8 does not divide
    best, good, bad = (compressed(images, torch.full((4,), quality)) - images for quality in (100.0, 80.0, 15.0))
    assert best.shape == images.shape
    assert best.abs().max() < 0.03
    assert best.std() < good.std() < bad.std()


def test_compression_of_grey_stays_grey():
    grey = greyscale(noisy(4), dice(21, 4))
    assert jpeg(grey, dice(22, 4)).std(1).max() < 1e-3


def test_a_photograph_has_gain_per_channel_and_stays_in_range():
    images = photograph(torch.full((200, 3, 8, 8), 0.5), dice(18, batch=200))
    assert 0 <= images.min() <= images.max() <= 1
    channels = images.mean((2, 3))
    assert channels.std(0).min() > 0.05
    assert (channels[:, 0] - channels[:, 2]).std() > 0.05


@pytest.mark.parametrize("fault", [fault for _, fault in FAULTS], ids=lambda fault: fault.__name__)
def test_every_fault_changes_images_and_leaves_its_input_alone(fault):
    images = noisy(3)
    before = images.clone()
    assert not torch.equal(fault(images, dice(19, 3)), before)
    assert torch.equal(images, before)
