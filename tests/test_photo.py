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

from vrn_lite import photo
from vrn_lite.frame import FACE_SIZE, Grid, InputError, voxel_centres
from vrn_lite.networks.vrn import VRN
from vrn_lite.pairs import PoseRange, make_pairs
from vrn_lite.photo import crop, detect_face, largest_part, paint, probabilities, read_photo, reconstruct
from vrn_lite.volume import isosurface

GRID = Grid(32, 32, 32)
BOX = (100.0, 40.0, 180.0, 140.0)


class Ball(VRN):
    """A network that sees a ball of radius 8 px in the middle of every crop."""

    def __init__(self):
        super().__init__("tiny")
        distance = (voxel_centres(GRID) - torch.tensor(GRID.centre)).norm(dim=-1)
        self.answer = (8 - distance)[None]

    def forward(self, images):
        return self.answer.expand(len(images), -1, -1, -1)


@pytest.fixture(scope="module")
def ramp():
    """A photograph whose red grows with x and whose green grows with y."""
    x, y = np.meshgrid(np.arange(256), np.arange(200))
    return np.stack([x, y, np.full_like(x, 90)], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def ball(ramp):
    return reconstruct(ramp, Ball().eval(), BOX, smooth=0, average=False)


# Reading


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_reads_upright(tmp_path, ramp, orientation):
    stored = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.transpose(1, 0, 2), 6: np.rot90}
    stored |= {7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored.get(orientation, np.copy)(ramp))).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png"), ramp)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "jpg"), ("RGB", "webp"), ("CMYK", "jpg"), ("CMYK", "tif"), ("YCbCr", "jpg"), ("P", "png"), ("RGBA", "webp")]
)
def test_every_colour_mode_reads_alike(tmp_path, mode, suffix):
    face = skimage.data.astronaut()[:256, 100:356]
    Image.fromarray(face).convert(mode).save(tmp_path / f"a.{suffix}", quality=95)
    read = read_photo(tmp_path / f"a.{suffix}")
    assert (read.shape, read.dtype) == ((256, 256, 3), np.uint8)
    assert np.abs(read.astype(float) - face).mean() < (20 if mode == "P" else 4)


def test_grey_reads_as_three_equal_channels(tmp_path):
    grey = skimage.data.camera()
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey > 128).save(tmp_path / "b.png")
    assert (read_photo(tmp_path / "a.png") == grey[..., None]).all()
    assert (read_photo(tmp_path / "b.png") == 255 * (grey > 128)[..., None]).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_read_as_eight(tmp_path, suffix):
    deep = np.repeat(np.arange(0, 65536, 257, dtype=np.uint16)[None], 64, 0)
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_photo(tmp_path / f"a.{suffix}")[..., 0], deep // 257)


def test_transparent_is_white(tmp_path, ramp):
    alpha = np.dstack([ramp, np.where(np.arange(256) < 128, 255, 0)[None].repeat(200, 0).astype(np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "a.png")
    for read in (read_photo(tmp_path / "a.png"), read_photo(alpha)):
        np.testing.assert_array_equal(read[:, :128], ramp[:, :128])
        assert (read[:, 128:] == 255).all()


def test_arrays_of_every_number_type_read_alike(ramp):
    for same in (ramp, ramp / 255, (ramp / 255).astype(np.float32), ramp.astype(np.uint16) * 257, Image.fromarray(ramp)):
        np.testing.assert_array_equal(read_photo(same), ramp)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((5, 5, 3)), "5 x 5 pixels"),
        (np.zeros((64, 64, 2)), r"\[h, w, 3\]"),
        (np.zeros((0, 64, 3)), "empty"),
        (np.full((64, 64), np.nan), "not finite"),
        (np.full((64, 64), 7.0), r"lies in \[0, 1\]"),
        (np.full((64, 64), "a"), "holds numbers"),
    ],
)
def test_arrays_that_are_no_photograph_are_refused(array, text):
    with pytest.raises(InputError, match=text):
        read_photo(array)


def test_truncated_photograph_is_refused(tmp_path):
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:9000])
    with pytest.raises(InputError, match="damaged"):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize("side", [12_000, 20_000])
def test_more_pixels_than_memory_holds_are_refused(tmp_path, side):
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="reduce it to at most 130 million"):
        read_photo(tmp_path / "a.png")


LARGE = """
import sys, torch
from vrn_lite.photo import reconstruct
result = reconstruct(sys.argv[1])
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


# Finding


def test_astronaut_is_found():
    box = np.array(detect_face(skimage.data.astronaut()))
    np.testing.assert_allclose(box, (176, 87, 269, 179), atol=12)


def test_detection_follows_the_photograph():
    image = skimage.data.astronaut()
    box = np.array(detect_face(image))
    mirrored = np.array(detect_face(np.ascontiguousarray(image[:, ::-1])))
    np.testing.assert_allclose((512, 0, 512, 0) + mirrored[[2, 1, 0, 3]] * (-1, 1, -1, 1), box, atol=2)
    shifted = np.array(detect_face(np.ascontiguousarray(image[40:, 90:])))
    np.testing.assert_allclose(shifted + (90, 40, 90, 40), box, atol=10)


@pytest.mark.parametrize("angle", [-20, 20])
def test_tilted_face_is_found(angle):
    upright = np.array(detect_face(skimage.data.astronaut()))
    tilted = np.asarray(Image.fromarray(skimage.data.astronaut()).rotate(angle, center=(222, 133), fillcolor="gray"))
    np.testing.assert_allclose(detect_face(tilted), upright, atol=20)


def test_no_face_says_what_to_do(monkeypatch):
    monkeypatch.setattr(photo, "LOOKS", photo.LOOKS[:1])
    with pytest.raises(InputError, match=r"no face found in cat\.png: pass --box X0 Y0 X1 Y1"):
        detect_face(skimage.data.chelsea(), "cat.png")


def test_the_box_constants_fit_again(ict_face, monkeypatch):
    for name, neutral in (("DOWN", 0.0), ("SCALE", 1.0), ("LOOKS", photo.LOOKS[:1])):
        monkeypatch.setattr(photo, name, neutral)
    poses = PoseRange(yaw=15, pitch=5, pitch_most=10, angle=5, shift=10, mirror=0)
    pairs, fits = make_pairs(ict_face, "paper", 20, torch.Generator().manual_seed(5), poses=poses), []
    for image, points in zip(pairs.images, pairs.landmarks[..., :2].numpy(), strict=True):
        try:
            x0, y0, x1, y1 = detect_face(read_photo(image.permute(1, 2, 0).numpy().clip(0, 1)))
        except InputError:
            continue
        low, high, side = points.min(0), points.max(0), x1 - x0
        fits.append([*((low + high - (x0 + x1, y0 + y1)) / 2 / side), np.prod(high - low) ** 0.5 / side])
    assert len(fits) >= 10
    monkeypatch.undo()
    np.testing.assert_allclose(np.median(fits, axis=0), (0, photo.DOWN, photo.SCALE), atol=0.07)


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
    smooth = reconstruct(ramp, Ball().eval(), BOX, smooth=1.0, average=False)
    np.testing.assert_allclose(smooth.mesh.bounds, ball.mesh.bounds, atol=2.0)
    torch.testing.assert_close(smooth.volume, ball.volume)


class Mirror(VRN):
    """A network that moves and mirrors with its image: every slice is the image itself."""

    def __init__(self):
        super().__init__("tiny")

    def forward(self, images):
        return images.mean(1, keepdim=True).expand(-1, 32, -1, -1)


def test_averaging_changes_nothing_where_the_network_moves_with_its_image():
    window = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    once, averaged = (probabilities(Mirror().eval(), window, average) for average in (False, True))
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
