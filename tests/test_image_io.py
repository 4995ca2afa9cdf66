"""Every photograph reads alike, and the face in it is found where it is."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from vrn_lite.frame import InputError
from vrn_lite.photo import image_io as portrait
from vrn_lite.photo.image_io import detect_face, read_photo
from vrn_lite.samples import PoseRange, make_pairs


@pytest.fixture(scope="module")
def ramp():
    """A photograph whose red grows with x and whose green grows with y."""
    x, y = np.meshgrid(np.arange(256), np.arange(200))
    return np.stack([x, y, np.full_like(x, 90)], -1).astype(np.uint8)


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
    monkeypatch.setattr(portrait, "LOOKS", portrait.LOOKS[:1])
    with pytest.raises(InputError, match=r"no face found in cat\.png: pass --box X0 Y0 X1 Y1"):
        detect_face(skimage.data.chelsea(), "cat.png")


def test_the_box_constants_fit_again(ict_face, monkeypatch):
    for name, neutral in (("DOWN", 0.0), ("SCALE", 1.0), ("LOOKS", portrait.LOOKS[:1])):
        monkeypatch.setattr(portrait, name, neutral)
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
    np.testing.assert_allclose(np.median(fits, axis=0), (0, portrait.DOWN, portrait.SCALE), atol=0.07)
