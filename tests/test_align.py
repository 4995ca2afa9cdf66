"""Laws of rigid motion and ICP."""

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from vrn_lite.align import icp, rigid
from vrn_lite.camera import rotation_matrix
from vrn_lite.frame import InputError


def dented_ball(subdivisions=4, radius=20.0):
    """A closed surface without symmetry: a ball with three dents, double precision."""
    points = torch.tensor(np.asarray(trimesh.creation.icosphere(subdivisions, 1.0).vertices))
    for direction, depth in (((1.0, 0.2, 0.1), 0.5), ((-0.3, 1.0, 0.4), 0.35), ((0.1, -0.5, 1.0), 0.6)):
        towards = torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float64), dim=0)
        points = points * (1 - depth * torch.exp(4 * (points @ towards - 1)))[:, None]
    return points * radius * torch.tensor([1.0, 1.3, 0.8], dtype=torch.float64)


def turned(points, degrees=(6.0, -4.0, 5.0), shift=(1.0, -2.0, 0.5)):
    matrix = torch.tensor(Rotation.from_euler("xyz", degrees, degrees=True).as_matrix())
    return points @ matrix.T + torch.tensor(shift, dtype=torch.float64)


def test_rigid_recovers_any_rotation_and_translation():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(8, 30, 3, generator=generator, dtype=torch.float64)
    angles = [360 * torch.rand(8, generator=generator, dtype=torch.float64) for _ in range(3)]
    rotation, shift = rotation_matrix(*angles), torch.randn(8, 3, generator=generator, dtype=torch.float64)
    motion = rigid(source, source @ rotation.mT + shift[:, None])
    torch.testing.assert_close(motion.rotation, rotation)
    torch.testing.assert_close(motion.translation, shift)
    assert bool((motion.scale == 1).all())


def test_rigid_never_reflects_and_never_scales():
    source = torch.randn(16, 40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    motion = rigid(source, 1.7 * source * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    assert bool((motion.scale == 1).all())
    torch.testing.assert_close(torch.linalg.det(motion.rotation), torch.ones(16, dtype=torch.float64))
    torch.testing.assert_close(motion.rotation @ motion.rotation.mT, torch.eye(3, dtype=torch.float64).expand(16, 3, 3))


def test_rigid_of_flat_points_is_proper():
    flat = torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    flat[..., 2] = 0
    motion = rigid(flat, flat)
    torch.testing.assert_close(motion.rotation[0], torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(4))
def test_rigid_agrees_with_trimesh(seed):
    generator = torch.Generator().manual_seed(seed)
    source, target = torch.randn(2, 25, 3, generator=generator, dtype=torch.float64)
    matrix, _, _ = trimesh.registration.procrustes(source.numpy(), target.numpy(), scale=False, reflection=False)
    motion = rigid(source[None], target[None])
    np.testing.assert_allclose(motion.rotation[0].numpy(), matrix[:3, :3], atol=1e-10)
    np.testing.assert_allclose(motion.translation[0].numpy(), matrix[:3, 3], atol=1e-10)


def test_icp_brings_a_rotated_copy_back():
    target = dented_ball()
    source = turned(target)
    match = icp(source, target)
    torch.testing.assert_close(match.motion(source[None])[0], target, atol=1e-6, rtol=0)
    assert match.pairs.tolist() == list(range(len(target)))


def test_icp_never_scales():
    target = dented_ball()
    motion = icp(1.05 * target, target).motion
    assert float(motion.scale) == 1
    assert float(torch.linalg.det(motion.rotation)) == pytest.approx(1, abs=1e-9)


def test_icp_ignores_parts_that_only_the_source_has():
    target = dented_ball()
    wall = torch.rand(3000, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 100 + torch.tensor([-50.0, -50.0, 60.0], dtype=torch.float64)
    match = icp(turned(torch.cat([wall, target])), target)
    assert (match.pairs - len(wall)).tolist() == list(range(len(target)))


def test_icp_agrees_with_trimesh_on_a_noisy_copy():
    target = dented_ball(3)
    noise = 0.2 * torch.randn(target.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    source = turned(target, (2.0, -1.0, 3.0), (0.4, -0.3, 0.2)) + noise
    match = icp(source, target, points=len(target), tolerance=1e-12)
    back, _, _ = trimesh.registration.icp(target.numpy(), source.numpy(), threshold=0, max_iterations=300, scale=False, reflection=False)
    expected = trimesh.transform_points(source.numpy(), np.linalg.inv(back))
    gap = np.linalg.norm(match.motion(source[None])[0].numpy() - expected, axis=1)
    assert gap.max() < 0.02


def test_icp_pairs_equal_those_of_plain_loops():
    target, source = dented_ball(2), dented_ball(2, 21.0)
    match = icp(source, target)
    moved = match.motion(source[None])[0]
    slow = [min(range(len(moved)), key=lambda i: float((moved[i] - point).square().sum())) for point in target]
    assert match.pairs.tolist() == slow


def test_icp_ends_in_a_fixed_point_of_plain_icp():
    """Its long steps are a short cut: one more plain step gains nothing, and plain steps alone end no lower."""
    target, source = dented_ball(3), turned(dented_ball(3, 21.0))

    def cost(points):
        return float(torch.cdist(target, points).amin(1).square().mean())

    def step(points):
        pairs = torch.cdist(target, points).argmin(1)
        return rigid(points[pairs][None], target[None])(points[None])[0]

    found = icp(source, target, points=len(target), tolerance=1e-9).motion(source[None])[0]
    plain = source
    for _ in range(50):
        plain = step(plain)
    assert cost(step(found)) == pytest.approx(cost(found), rel=1e-6)
    assert cost(found) <= cost(plain) * 1.001


def test_icp_is_reproducible_and_leaves_its_input_alone():
    target, source = dented_ball(), turned(dented_ball(4, 21.0)).float()
    before = source.clone()
    first, second = icp(source, target, points=500), icp(source, target, points=500)
    assert torch.equal(first.pairs, second.pairs)
    assert torch.equal(source, before)


@pytest.mark.parametrize(("source", "text"), [(torch.zeros(0, 3), "empty source"), (torch.full((5, 3), float("nan")), "finite")])
def test_icp_refuses_what_it_cannot_pair(source, text):
    with pytest.raises(InputError, match=text):
        icp(source, torch.rand(10, 3))
