"""The camera's faults change a picture and do not move it."""

import pytest
import torch
from torch import Tensor

from people import rng
from vrn_lite.synth import degradations
from vrn_lite.synth.appearance import Appearance
from vrn_lite.synth.degradations import (
    DEGRADATIONS,
    Degradation,
    blurred,
    compressed,
    convolved,
    dct_matrix,
    degrade,
    grain,
    greyscale,
    jpeg,
    lens_blur,
    line_kernels,
    low_resolution,
    metered,
    motion_blur,
    noise,
    on_some,
    pixels,
    poor_jpeg,
    sepia,
    sharpen,
    soft_focus,
    turned,
)

NO_FAULT = Appearance(degradations=0)


def noisy(batch: int, height: int = 40, width: int = 48) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_a_change_reaches_its_share_of_the_images_and_no_other():
    images = torch.zeros(2000, 3, 2, 2)
    changed = on_some(images.clone(), rng(3, 2000), 0.2, lambda some, few: some + 1).amax((1, 2, 3))
    assert set(changed.tolist()) == {0.0, 1.0}
    assert float(changed.mean()) == pytest.approx(0.2, abs=0.03)
    assert torch.equal(on_some(images.clone(), rng(4, 2000), 0.0, lambda some, few: some + 1), images)


@pytest.mark.parametrize(("rough", "share"), [(0.0, 0.1), (1.0, 0.4), (0.25, 0.25 * 0.4 + 0.75 * 0.1)])
def test_a_fault_reaches_its_shares_of_snapshots_and_of_rough_pictures(monkeypatch, rough, share):
    monkeypatch.setattr(degradations, "DEGRADATIONS", (Degradation(0.1, 0.4, lambda images, _: 0 * images),))
    images = torch.full((3000, 3, 4, 4), 0.5)
    black = degrade(images, rng(5, 3000), Appearance(rough=rough)).amax((1, 2, 3)) == 0
    assert float(black.float().mean()) == pytest.approx(share, abs=0.03)
    halved = degrade(images, rng(5, 3000), Appearance(rough=rough, degradations=0.5)).amax((1, 2, 3)) == 0
    assert float(halved.float().mean()) == pytest.approx(share / 2, abs=0.03)
    assert bool(black[halved].all())


def test_faults_come_in_the_order_of_the_table(monkeypatch):
    rows = (Degradation(1.0, 1.0, lambda images, _: 0 * images), Degradation(1.0, 1.0, lambda images, _: images + 0.25))
    monkeypatch.setattr(degradations, "DEGRADATIONS", rows)
    assert torch.equal(degrade(noisy(2), rng(6, 2), Appearance()), torch.full((2, 3, 40, 48), 0.25))


def test_every_share_is_one():
    for row in DEGRADATIONS:
        assert 0 <= row.snapshot <= 1
        assert 0 <= row.rough <= 1
        assert row.snapshot + row.rough > 0


def test_most_pictures_are_snapshots_and_the_rough_ones_are_farther_from_what_was_there():
    """By how far the faults alone move a pixel."""
    images = 0.2 + 0.6 * noisy(300, 24, 24)
    moved = [
        (degrade(images, rng(7, 300), Appearance(rough=rough)) - degrade(images, rng(7, 300), Appearance(rough=rough, degradations=0))).abs().mean((1, 2, 3))
        for rough in (0.0, 1.0)
    ]
    assert moved[1].median() > 1.5 * moved[0].median()


def test_a_blur_of_nothing_is_the_identity_and_a_blur_keeps_constants():
    images = noisy(2, 12, 14)
    torch.testing.assert_close(blurred(images, torch.zeros(2)), images)
    flat = torch.full((2, 3, 12, 14), 0.3)
    torch.testing.assert_close(blurred(flat, torch.tensor([0.5, 1.6])), flat)
    soft = blurred(images, torch.tensor([0.0, 1.5]))
    torch.testing.assert_close(soft[0], images[0])
    assert soft[1].std() < 0.6 * images[1].std()


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_blur_treats_every_channel_and_every_sample_alone(channels):
    images = torch.rand(3, channels, 9, 11, generator=torch.Generator().manual_seed(2))
    sigma = torch.tensor([0.4, 1.0, 2.0])
    whole = blurred(images, sigma, 3)
    for sample in range(3):
        for channel in range(channels):
            alone = blurred(images[sample : sample + 1, channel : channel + 1], sigma[sample : sample + 1], 3)
            torch.testing.assert_close(whole[sample, channel], alone[0, 0])


def test_a_blurred_dot_has_the_variance_of_its_sigma():
    dot = torch.zeros(1, 1, 41, 41)
    dot[..., 20, 20] = 1
    soft = blurred(dot, torch.tensor([2.0]), radius=12)[0, 0]
    offset = torch.arange(41) - 20.0
    assert float(soft.sum()) == pytest.approx(1, abs=1e-5)
    assert float((soft.sum(0) * offset**2).sum()) == pytest.approx(4, rel=0.02)
    torch.testing.assert_close(soft, soft.T)


def test_convolution_with_a_single_one_is_the_identity_and_a_corner_repeats_the_border():
    images, kernels = noisy(2, 6, 7), torch.zeros(2, 3, 3)
    kernels[0, 1, 1], kernels[1, 0, 0] = 1, 1
    moved = convolved(images, kernels)
    assert torch.equal(moved[0], images[0])
    assert torch.equal(moved[1, :, 1:, 1:], images[1, :, :-1, :-1])
    assert torch.equal(moved[1, :, 0, 1:], images[1, :, 0, :-1])


STILL = [low_resolution, motion_blur, soft_focus, lens_blur, sharpen]


@pytest.mark.parametrize("fault", STILL, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("side", [32, 64])
def test_no_fault_moves_the_picture(fault, side):
    """The centre of mass of a bright dot stays, to 0.1 px."""
    column, row = side // 2 - 3, side // 2 + 4
    dot = torch.tensor([[0.5, 0.7, 0.5], [0.7, 1, 0.7], [0.5, 0.7, 0.5]])
    for seed in range(12):
        images = torch.zeros(3, 3, side, side)
        images[..., row - 1 : row + 2, column - 1 : column + 2] = dot
        after = fault(images, rng(seed, 3))
        x, y = pixels(after)
        mass = after.sum((2, 3))
        assert ((after * x).sum((2, 3)) / mass - column - 0.5).abs().max() < 0.1
        assert ((after * y).sum((2, 3)) / mass - row - 0.5).abs().max() < 0.1


def test_axes_turned_there_and_back_are_the_axes():
    x, y = pixels(noisy(1))
    angle = torch.tensor([0.7])[:, None, None]
    u, v = turned(x, y, angle)
    torch.testing.assert_close(u * u + v * v, (x * x + y * y).expand(1, -1, -1))
    back = turned(u, v, -angle)
    for found, wanted in zip(back, (x, y), strict=True):
        torch.testing.assert_close(found, wanted.expand_as(found), rtol=0, atol=1e-4)


def test_motion_kernels_sum_to_one_and_are_symmetric():
    kernels = line_kernels(torch.linspace(0.1, 8, 20), torch.linspace(0, 3.1, 20))
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(20))
    torch.testing.assert_close(kernels, kernels.flip(1, 2))
    assert kernels[0, 4, 4] > 0.5  # hardly any motion
    level = line_kernels(torch.tensor([6.0]), torch.tensor([0.0]))[0]
    assert level[4].sum() > 0.7


def test_grey_has_equal_channels_and_sepia_is_browner():
    images = noisy(5)
    grey = greyscale(images, rng(20, 5))
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])
    assert grey.min() >= 0
    assert grey.max() <= 1 + 1e-6
    brown = sepia(images, rng(20, 5)).mean((2, 3))
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


def test_compression_of_grey_stays_grey_and_a_poor_file_loses_more():
    grey = greyscale(noisy(4), rng(21, 4))
    good, poor = (change(grey, rng(22, 4)) for change in (jpeg, poor_jpeg))
    assert good.std(1).max() < 1e-3
    assert (good - grey).std() < (poor - grey).std()


def test_noise_is_as_strong_as_is_said_and_without_bias():
    flat = torch.full((400, 3, 8, 8), 0.5)
    for change, most in ((noise, 0.05), (grain, 0.015)):
        added = change(flat, rng(23, 400)) - flat
        assert abs(float(added.mean())) < 0.02 * most
        assert float(added.square().mean().sqrt()) == pytest.approx(most / 3**0.5, rel=0.1)  # uniform in 0 to most


def test_the_meter_brings_dark_and_bright_pictures_together():
    images = torch.cat((torch.full((100, 3, 8, 8), 0.1), torch.full((100, 3, 8, 8), 0.8)))
    after = metered(images, rng(24, 200)).mean((1, 2, 3))
    assert 0.15 < after[:100].mean() < after[100:].mean() < 0.6


@pytest.mark.parametrize("rough", [0.0, 1.0])
def test_a_picture_has_gain_per_channel_and_stays_in_range(rough):
    images = degrade(torch.full((200, 3, 8, 8), 0.5), rng(18, 200), Appearance(rough=rough))
    assert 0 <= images.min() <= images.max() <= 1
    assert images.mean((2, 3)).std(0).min() > 0.05


def test_a_snapshot_has_less_of_a_cast_than_a_rough_picture():
    """The paper's gains, 0.6 to 1.4 for each channel (section 3.4), belong to rough pictures."""
    flat = torch.full((300, 3, 8, 8), 0.5)
    snapshot, poor = (degrade(flat, rng(19, 300), Appearance(rough=rough, degradations=0)).mean((2, 3)) for rough in (0, 1))
    cast = [(images[:, 0] - images[:, 2]).std() for images in (snapshot, poor)]
    assert 0.005 < cast[0] < 0.4 * cast[1]
    assert cast[1] > 0.05


def test_without_faults_the_camera_works_on_every_pixel_alone():
    images = noisy(6)
    order = torch.randperm(40 * 48, generator=torch.Generator().manual_seed(0))
    inner = torch.zeros(40, 48)
    inner[10:30, 12:36] = 1
    order = torch.where(inner.flatten() > 0, torch.arange(40 * 48), order)  # what the meter sees stays

    def scattered(pictures: Tensor) -> Tensor:
        return pictures.flatten(2)[..., order].unflatten(2, (40, 48))

    after = scattered(degrade(images, rng(25), NO_FAULT))
    torch.testing.assert_close(degrade(scattered(images), rng(25), NO_FAULT), after)


@pytest.mark.parametrize("fault", [row.change for row in DEGRADATIONS], ids=lambda fault: fault.__name__)
def test_every_fault_changes_images_and_leaves_its_input_alone(fault):
    images = noisy(3)
    before = images.clone()
    assert not torch.equal(fault(images, rng(19, 3)), before)
    assert torch.equal(images, before)


def test_pictures_are_changed_in_copies_and_the_same_seed_changes_them_alike():
    images = noisy(40)
    before = images.clone()
    after = degrade(images, rng(23, 40), Appearance())
    assert torch.equal(images, before)
    assert torch.equal(degrade(images, rng(23, 40), Appearance()), after)
    assert not torch.equal(degrade(images, rng(24, 40), Appearance()), after)
