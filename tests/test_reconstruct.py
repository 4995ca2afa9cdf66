"""Laws of the way from a photograph to a coloured mesh and back."""

import os
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from ramps import BOX, GRID, Ball, Surveyor, points_in, ramp_photo
from vrn_lite.frame import FACE_SIZE, Grid, InputError
from vrn_lite.inference import probabilities
from vrn_lite.networks.base import Prediction, build
from vrn_lite.networks.vrn import VRN, GuidedVRN, UnalignedVRN
from vrn_lite.networks.weights import save_weights
from vrn_lite.photo import reconstruct as photo
from vrn_lite.photo.finder import detect_face
from vrn_lite.photo.reconstruct import best, largest_part, networks_for, paint, reconstruct
from vrn_lite.volume import isosurface


@pytest.fixture(scope="module", autouse=True)
def nothing_ships():
    """What these tests say holds whatever weights ship; networks made here see no real faces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo, "shipped", dict)
        yield


@pytest.fixture(scope="module")
def points():
    """68 landmarks that span `BOX`."""
    return points_in(BOX)


@pytest.fixture(scope="module")
def ramp():
    return ramp_photo()


@pytest.fixture(scope="module")
def ball(ramp):
    return reconstruct(ramp, Ball().eval(), BOX, smooth=0, test_time_augmentation=False)


# The whole way


LARGE = """
import sys, torch
from vrn_lite.photo.reconstruct import reconstruct
result = reconstruct(sys.argv[1], recrop=False)
memory = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(*result.box, *memory)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells the peak memory of a process; other systems do not")
def test_a_photograph_of_108_million_pixels_takes_less_than_two_gigabytes(tmp_path):
    small = Image.fromarray(skimage.data.astronaut()).crop((0, 0, 512, 384))
    small.resize((12_000, 9_000), Image.Resampling.NEAREST).save(tmp_path / "a.jpg")
    done = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path / "a.jpg")], capture_output=True, text=True, check=True)
    *box, kilobytes = map(float, done.stdout.split())
    assert kilobytes < 2e6
    np.testing.assert_allclose(np.array(box) * 512 / 12_000, detect_face(np.asarray(small)), atol=12)


def test_every_copy_is_guided_by_the_landmarks_that_it_shows(ramp, points):
    seen = []

    class Watched(GuidedVRN):
        def predict(self, images, landmarks=None):
            seen.append((images, landmarks))
            return Prediction(logits=images.mean(1, keepdim=True).expand(-1, 32, -1, -1))

    detector = Surveyor(points)
    result = reconstruct(ramp, Watched("tiny").eval(), BOX, detector=detector, level=0.6)
    assert len(seen) == 8
    for images, landmarks in seen:
        torch.testing.assert_close(landmarks, detector.landmarks(images), atol=0.25, rtol=0)
    np.testing.assert_allclose(result.landmarks, points, atol=0.3)
    np.testing.assert_allclose(result.box, BOX, atol=0.5)


def test_the_mesh_lies_where_the_new_crop_says(ramp, points, ball):
    result = reconstruct(ramp, Ball().eval(), (90.0, 20.0, 190.0, 150.0), detector=Surveyor(points), smooth=0, test_time_augmentation=False)
    np.testing.assert_allclose(result.mesh.bounds, ball.mesh.bounds, atol=0.5)
    torch.testing.assert_close(result.volume, ball.volume)


def test_an_unaligned_face_stands_over_the_box_in_one_colour(ramp, ball):
    class Frontal(UnalignedVRN):
        predict = Ball.predict

    network = Frontal("tiny").eval()
    network.answer = Ball().answer
    result = reconstruct(ramp, network, BOX, smooth=0)
    torch.testing.assert_close(result.volume, ball.volume)  # shifts of the image do not shift it
    np.testing.assert_allclose(result.mesh.bounds, ball.mesh.bounds, atol=0.01)
    (colour,) = np.unique(result.mesh.visual.vertex_colors[:, :3], axis=0)
    np.testing.assert_allclose(colour, (140, 90, 90), atol=4)


@pytest.mark.parametrize("variant", ["vrn", "multitask", "guided", "unaligned", "guided_sigma2"])
def test_every_variant_reconstructs(tmp_path, ramp, variant):
    for name in (variant, "landmarks"):
        save_weights(build(name, "tiny"), tmp_path / f"{name}.safetensors")
    detector = tmp_path / "landmarks.safetensors"
    result = reconstruct(ramp, tmp_path / f"{variant}.safetensors", BOX, detector=detector, test_time_augmentation=False, level=0.4)
    assert result.landmarks.shape == (68, 2)
    assert result.mesh.is_watertight


def test_the_best_is_guided_where_its_detector_ships_too(monkeypatch, tmp_path):
    for names, expected in ((("vrn",), "vrn"), (("vrn", "guided"), "vrn"), (("guided", "landmarks", "vrn"), "guided")):
        monkeypatch.setattr(photo, "shipped", lambda names=names: dict.fromkeys(names, tmp_path))
        assert best() == expected


def test_a_multitask_network_is_its_own_detector():
    network = build("multitask", "tiny")
    assert networks_for(network) == (network, network)
    vrn, landmarks = build("vrn", "tiny"), build("landmarks", "tiny")
    assert networks_for(vrn) == (vrn, None)
    assert networks_for(network, landmarks) == (network, landmarks)


@pytest.mark.parametrize(
    ("model", "detector", "text"),
    [
        ("landmarks", None, "finds landmarks and no volume"),
        ("guided", None, "needs landmarks, and no detector ships"),
        ("guided", "vrn", "'vrn' network finds no landmarks"),
    ],
)
def test_networks_that_do_not_fit_each_other_are_refused(tmp_path, model, detector, text):
    if detector:
        save_weights(build(detector, "tiny"), tmp_path / "detector.safetensors")
    with pytest.raises(InputError, match=text):
        networks_for(build(model, "tiny"), tmp_path / "detector.safetensors" if detector else None)
    with pytest.raises(InputError, match="a guided network needs landmarks"):
        probabilities(build("guided", "tiny").eval(), torch.zeros(1, 3, 32, 32))


# Surface and colours


def test_a_ball_comes_back_in_the_photographs_frame(ball):
    pixel = (80 * 100) ** 0.5 / (FACE_SIZE * 32)
    centre, points = np.array([140, 90, GRID.centre[2] * pixel]), ball.mesh.vertices
    np.testing.assert_allclose((points.min(0) + points.max(0)) / 2, centre, atol=0.2 * pixel)
    np.testing.assert_allclose(np.linalg.norm(points - centre, axis=1), 8 * pixel, rtol=0.02)
    assert ball.mesh.is_watertight
    assert ball.mesh.volume > 0
    assert ball.landmarks is None
    assert ball.volume.shape == GRID.shape


def test_vertices_that_face_the_viewer_show_the_photograph(ball, ramp):
    x, y, _ = ball.mesh.vertices.T
    front = ball.mesh.vertex_normals[:, 2] < -0.6
    assert front.sum() > 50
    colours = ball.mesh.visual.vertex_colors[front].astype(float)
    np.testing.assert_allclose(colours[:, 0], (x - 0.5)[front], atol=3)
    np.testing.assert_allclose(colours[:, 1], (y - 0.5)[front], atol=3)


def test_vertices_that_look_away_have_one_colour(ball):
    back = ball.mesh.visual.vertex_colors[ball.mesh.vertex_normals[:, 2] > 0]
    assert len(np.unique(back, axis=0)) == 1


def test_what_stands_behind_is_not_painted_with_what_stands_before():
    volume = np.zeros((32, 32, 32), dtype=np.float32)
    volume[4:8, 12:20, 12:20] = volume[16:28, 4:28, 4:28] = 1
    surface = isosurface(volume, depth_scale=1.5)
    window = torch.zeros(3, 32, 32)
    window[0, 11:21, 11:21] = 1  # red in front
    colours, (x, y, z) = paint(surface, window, GRID), surface.vertices.T
    inner = (abs(x - 16) < 3) & (abs(y - 16) < 3)
    assert (colours[inner & (z < 4)][:, 0] == 255).all()
    assert (colours[inner & (abs(z - 10.67) < 0.5)][:, 0] < 30).all()


def test_largest_part_drops_crumbs_and_bubbles():
    volume = np.zeros((24, 24, 24), dtype=np.float32)
    volume[4:18, 4:18, 4:18] = 1
    volume[10, 10, 10] = 0
    volume[21, 21, 21] = 1
    part = largest_part(isosurface(volume, depth_scale=1.0))
    assert part.body_count == 1
    assert part.is_watertight
    assert part.volume == pytest.approx(14**3, rel=0.05)


def test_smoothing_keeps_the_ball(ramp, ball):
    smooth = reconstruct(ramp, Ball().eval(), BOX, smooth=1.0, test_time_augmentation=False)
    np.testing.assert_allclose(smooth.mesh.bounds, ball.mesh.bounds, atol=2.0)
    torch.testing.assert_close(smooth.volume, ball.volume)


class Mirror(VRN):
    """A network that moves and mirrors with its image: every slice is the image itself."""

    def __init__(self):
        super().__init__("tiny")

    def predict(self, images, landmarks=None):
        return Prediction(logits=images.mean(1, keepdim=True).expand(-1, 32, -1, -1))


@pytest.mark.parametrize("axis", range(3))
def test_smoothing_takes_thin_slabs_and_leaves_thicker_ones_whatever_their_direction(axis):
    """Smoothed by s, the middle of a slab of thickness t has probability erf(t / sqrt(8) s): 0.47 and 0.65 here."""
    grid = Grid(48, 24, 24, 2.0)
    for pixels, stays in ((2, False), (3, True)):
        volume, scale = torch.zeros(grid.shape), 2 if axis == 0 else 1
        volume.movedim(axis, 0)[10 * scale : (10 + pixels) * scale] = 1
        if stays:
            assert len(photo.smooth_surface(volume, grid, 0.5, 1.6).vertices) > 0
        else:
            with pytest.raises(InputError, match="no surface"):
                photo.smooth_surface(volume, grid, 0.5, 1.6)


def test_averaging_changes_nothing_where_the_network_moves_with_its_image():
    window = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    once, averaged = (probabilities(Mirror().eval(), window[None], average)[0] for average in (False, True))
    torch.testing.assert_close(averaged[:, 2:-2, 2:-2], once[:, 2:-2, 2:-2])


def test_a_volume_without_surface_says_what_to_do(ramp):
    network = Ball().eval()
    network.answer = torch.full_like(network.answer, -9.0)
    with pytest.raises(InputError, match="sees no face.*--box"):
        reconstruct(ramp, network, BOX)
    with pytest.raises(InputError, match="between 0 and 1"):
        reconstruct(ramp, network, BOX, level=1.5)
