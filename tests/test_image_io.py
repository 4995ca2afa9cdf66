"""Every photograph reads alike."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from vrn_lite.frame import InputError
from vrn_lite.photo.image_io import read_photo


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
