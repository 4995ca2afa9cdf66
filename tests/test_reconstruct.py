"""Laws of the way from a photograph to a coloured mesh and back."""

import errno
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
import torch
import trimesh
from PIL import Image

from vrn_lite.frame import FACE_SIZE, Grid, InputError, voxel_centres
from vrn_lite.inference import probabilities
from vrn_lite.landmarks import FLIP
from vrn_lite.networks.base import Prediction, build
from vrn_lite.networks.vrn import VRN, GuidedVRN, LandmarkHourglass, UnalignedVRN
from vrn_lite.networks.weights import save_weights
from vrn_lite.photo import reconstruct as photo
from vrn_lite.photo.finder import detect_face
from vrn_lite.photo.reconstruct import best, crop, find_landmarks, largest_part, locate, networks_for, paint, reconstruct
from vrn_lite.volume import isosurface

GRID = Grid(32, 32, 32)
BOX = (100.0, 40.0, 180.0, 140.0)


class Ball(VRN):
    """A network that sees a ball of radius 8 px in the middle of every crop."""

    def __init__(self):
        super().__init__("tiny")
        distance = (voxel_centres(GRID) - torch.tensor(GRID.centre)).norm(dim=-1)
        self.answer = (8 - distance)[None]

    def predict(self, images, landmarks=None):
        return Prediction(logits=self.answer.expand(len(images), -1, -1, -1))


class Surveyor(LandmarkHourglass):
    """A detector that knows where landmarks are in the ramp photograph, and reads off a crop's colours where the crop is."""

    def __init__(self, points):
        super().__init__("tiny")
        self.points = torch.tensor(points, dtype=torch.float32)
        self.eval()

    def landmarks(self, images):
        return torch.stack([self.seen(255 * image.double()) for image in images]).float()

    def seen(self, image):
        (x, across), (y, down) = self.line(image[0, 16]), self.line(image[1, :, 16])
        where = (self.points - torch.stack((x, y))) / torch.stack((across, down))
        return where[FLIP] if across < 0 else where  # a mirrored face: its landmarks are numbered the other way

    @staticmethod
    def line(values):
        """Photograph's coordinate at the crop's edge, and its change per pixel of the crop."""
        slope = (values[22] - values[10]) / 12
        return values[16] + 0.5 - 16.5 * slope, slope


@pytest.fixture(scope="module", autouse=True)
def nothing_ships():
    """What these tests say holds whatever weights ship; networks made here see no real faces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo, "shipped", dict)
        yield


@pytest.fixture(scope="module")
def points():
    """68 landmarks that span `BOX`."""
    inside = np.random.default_rng(0).uniform(0.05, 0.95, (68, 2))
    inside[[0, 8, 16, 20]] = (0, 0.3), (0.5, 1), (1, 0.3), (0.4, 0)
    return np.array(BOX[:2]) + inside * (80, 100)


@pytest.fixture(scope="module")
def ramp():
    """A photograph whose red grows with x and whose green grows with y."""
    x, y = np.meshgrid(np.arange(256), np.arange(200))
    return np.stack([x, y, np.full_like(x, 90)], -1).astype(np.uint8)


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


# Landmarks


def test_landmarks_are_found_in_the_photographs_pixels(ramp, points):
    for box in (BOX, (110.0, 60.0, 190.0, 130.0)):
        np.testing.assert_allclose(find_landmarks(Surveyor(points), ramp, box), points, atol=0.02)


def test_a_crop_that_is_right_stays_and_another_becomes_right(ramp, points):
    for box in (BOX, (105.0, 60.0, 165.0, 145.0), (80.0, 20.0, 190.0, 150.0)):
        around, found = locate(Surveyor(points), ramp, box)
        np.testing.assert_allclose(around, BOX, atol=0.05)
        np.testing.assert_allclose(found, points, atol=0.02)
        assert locate(Surveyor(points), ramp, box, recrop=False)[0] == box


class Hesitant(Surveyor):
    """A detector that believes the crop's size by half: it tells the root of the size's error, as damped networks do."""

    def seen(self, image):
        where = super().seen(image)
        size = (where.amax(0) - where.amin(0)).prod().sqrt()
        middle = (where.amax(0) + where.amin(0)) / 2
        return middle + (where - middle) * (FACE_SIZE * 32 / size).sqrt()


@pytest.mark.parametrize("size", [0.55, 0.8, 1.27, 1.8])
def test_a_box_of_the_wrong_size_is_cropped_until_it_stands_still(ramp, points, size):
    (x0, y0, x1, y1), detector = BOX, Hesitant(points)
    half = size * np.array([x1 - x0, y1 - y0]) / 2
    middle = np.array([x0 + x1, y0 + y1]) / 2
    around, _ = locate(detector, ramp, tuple(map(float, (*(middle - half), *(middle + half)))))
    ratio = ((around[2] - around[0]) * (around[3] - around[1]) / ((x1 - x0) * (y1 - y0))) ** 0.5
    assert ratio == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("spoil", [lambda p: 140 + 2.5 * (p - 140), lambda p: 140 + 0.4 * (p - 140), lambda p: p + (0, 105), lambda p: p * np.nan])
def test_implausible_landmarks_leave_the_crop_alone(ramp, points, spoil):
    assert locate(Surveyor(spoil(points)), ramp, BOX)[0] == BOX


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
        torch.testing.assert_close(landmarks, detector.landmarks(images), atol=0.02, rtol=0)
    np.testing.assert_allclose(result.landmarks, points, atol=0.02)
    np.testing.assert_allclose(result.box, BOX, atol=0.05)


def test_the_mesh_lies_where_the_new_crop_says(ramp, points, ball):
    result = reconstruct(ramp, Ball().eval(), (90.0, 20.0, 190.0, 150.0), detector=Surveyor(points), smooth=0, test_time_augmentation=False)
    np.testing.assert_allclose(result.mesh.bounds, ball.mesh.bounds, atol=0.05)
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


# Cropping


def test_box_becomes_90_of_192_and_its_centre_the_centre(ramp):
    for grid in (GRID, Grid(200, 192, 192), Grid(8, 64, 96)):
        window, motion = crop(ramp, BOX, grid)
        corners = torch.tensor([[[BOX[0], BOX[1], 0], [BOX[2], BOX[3], 0]]])
        low, high = motion(corners)[0, :, :2]
        assert float((high - low).prod().sqrt()) == pytest.approx(FACE_SIZE * grid.side, rel=1e-5)
        np.testing.assert_allclose((low + high) / 2, (grid.width / 2, grid.height / 2), atol=1e-4)
        assert window.shape == (3, grid.height, grid.width)


def test_crop_pixel_shows_the_photograph_where_the_motion_says(ramp):
    for box in (BOX, (128.0, 100.0, 136.0, 109.0)):  # reduced, enlarged
        window, motion = crop(ramp, box, GRID)
        centres = voxel_centres(GRID)[0].reshape(1, -1, 3)
        x, y, _ = motion.inverse()(centres)[0].T
        inside = (x > 8) & (x < 248) & (y > 8) & (y < 192)
        assert inside.sum() > 500
        red, green, _ = 255 * window.flatten(1)
        np.testing.assert_allclose(red[inside], (x - 0.5)[inside], atol=0.02)
        np.testing.assert_allclose(green[inside], (y - 0.5)[inside], atol=0.02)


def test_crop_and_back_is_identity(ramp):
    _, motion = crop(ramp, BOX, GRID)
    points = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) * 200
    torch.testing.assert_close(motion.inverse()(motion(points)), points, atol=1e-3, rtol=0)


def test_beyond_the_photograph_its_edge_is_repeated(ramp):
    window, _ = crop(ramp, (-20.0, 60.0, 60.0, 140.0), GRID)
    assert (window[0, :, 0] == 0).all()
    torch.testing.assert_close(window[2], torch.full((32, 32), 90 / 255))


def test_reducing_does_not_alias():
    stripes = np.zeros((512, 512, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    window, _ = crop(stripes, (136, 136, 376, 376), GRID)
    assert float((window[..., 1:-1] - 0.5).abs().max()) < 0.03  # the outer columns reach beyond the photograph


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ((900, 900, 990, 990), "outside the photograph of 256 x 200"),
        ((-80, 10, 5, 100), "outside"),
        ((-4000, -4000, 4000, 4000), "outside"),
        ((100, 40, 100, 90), "empty"),
        ((180, 140, 100, 40), "empty"),
        ((100, 40, float("nan"), 90), "four finite numbers"),
        ((100, 40, 180), "four finite numbers"),
        ((100, 40, 102, 42), "too small"),
    ],
)
def test_boxes_that_make_no_sense_are_refused(ramp, box, text):
    with pytest.raises(InputError, match=text):
        reconstruct(ramp, Ball().eval(), box)


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


# Writing


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_files_load_again_upright_with_their_colours(tmp_path, ball, suffix):
    path = getattr(ball, f"to_{suffix}")(tmp_path / "new" / f"face.{suffix}")
    loaded = trimesh.load(path, process=False, force="mesh", **({"skip_materials": True} if suffix == "glb" else {}))
    assert len(loaded.faces) == len(ball.mesh.faces)
    np.testing.assert_allclose(loaded.vertices, ball.mesh.vertices * (1, -1, -1), atol=1e-3)
    colours = np.asarray(loaded.visual.vertex_colors)[:, :3]
    if suffix == "glb":  # linear in the file
        values = colours / 255
        colours = 255 * np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(colours, ball.mesh.visual.vertex_colors[:, :3], atol=1 if suffix != "glb" else 7)
    assert loaded.volume > 0
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_glb_has_a_material_that_is_no_metal(tmp_path, ball):
    assert b'"metallicFactor":0' in ball.to_glb(tmp_path / "a.glb").read_bytes().replace(b" ", b"")


def test_html_needs_no_network(tmp_path, ball):
    text = ball.to_html(tmp_path / "a.html", title="A ball").read_text(encoding="utf-8")
    assert "Plotly.newPlot" in text
    assert "A ball" in text
    assert not re.search(r"<script[^>]+src=|<link[^>]+href=[\"']?http", text)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.html"]


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb", "html"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, ball, suffix, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / f"a.{suffix}"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="cannot write .*No space left on device"):
        getattr(ball, f"to_{suffix}")(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb", "html"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, ball, suffix):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        getattr(ball, f"to_{suffix}")(tmp_path / "file" / f"a.{suffix}")
