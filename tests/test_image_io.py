"""Every photograph reads alike."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageCms

from vrn_lite.frame import InputError
from vrn_lite.photo import image_io
from vrn_lite.photo.image_io import UnreadableError, read_photo


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
        (np.full((64, 64), -5, dtype=np.int16), r"\[0, 255\] or \[0, 65535\], got -5 to -5"),
        (np.full((64, 64), 70_000), "got 70000 to 70000"),
        (torch.full((3, 64, 64), 2.0), r"lies in \[0, 1\]"),
        (b"face.jpg", "not an image"),
    ],
)
def test_arrays_that_are_no_photograph_are_refused(array, text):
    with pytest.raises(InputError, match=text):
        read_photo(array)


def test_tensors_bytes_and_files_read_like_arrays(tmp_path, ramp):
    Image.fromarray(ramp).save(tmp_path / "a.png")
    tensor = torch.tensor(ramp).permute(2, 0, 1)
    with (tmp_path / "a.png").open("rb") as file:
        sources = ((tmp_path / "a.png").read_bytes(), file, tensor, tensor / 255, (tensor / 255).requires_grad_())
        for source in sources:
            np.testing.assert_array_equal(read_photo(source), ramp)


def test_a_wide_gamut_photograph_becomes_srgb(tmp_path, ramp):
    """A profile with swapped primaries tells: what it calls red is what sRGB calls green."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    swapped = bytearray(profile)
    swapped[red : red + 4], swapped[green : green + 4] = profile[green : green + 4], profile[red : red + 4]
    swapped = bytes(swapped).replace(b"sRGB", b"mine").replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    for image in (Image.fromarray(ramp), Image.fromarray(np.dstack([ramp, np.full(ramp.shape[:2], 255, np.uint8)]))):
        image.save(tmp_path / "a.png", icc_profile=bytes(swapped))
        assert np.abs(read_photo(tmp_path / "a.png").astype(int) - ramp[..., [1, 0, 2]]).max() <= 2
        for useless in (profile, b"no profile"):
            image.save(tmp_path / "a.png", icc_profile=useless)
            np.testing.assert_array_equal(read_photo(tmp_path / "a.png"), ramp)


@pytest.mark.parametrize("name", ["a.eps", "a.jpg", "a.png"])
def test_postscript_starts_no_program(tmp_path, monkeypatch, name):
    def start(*arguments, **_):
        raise AssertionError(f"a program was started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(os, "system", start)
    (tmp_path / name).write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n")
    with pytest.raises(UnreadableError, match=f"{name} is not an image"):
        read_photo(tmp_path / name)
    with pytest.raises(UnreadableError, match="the image is not an image"):
        read_photo((tmp_path / name).read_bytes())


@pytest.mark.parametrize("error", [struct.error("unpack"), RuntimeError(""), RecursionError("deep"), MemoryError()])
def test_whatever_a_decoder_raises_is_one_line_with_the_name(tmp_path, ramp, monkeypatch, error):
    def decode(*_):
        raise error

    Image.fromarray(ramp).save(tmp_path / "a.png")
    monkeypatch.setattr(image_io.ImageOps, "exif_transpose", decode)
    with pytest.raises(UnreadableError, match=r"cannot read .*a\.png \(\w+\): it is damaged"):
        read_photo(tmp_path / "a.png")


def test_names_stand_in_every_message(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "small.png")
    Image.fromarray(np.full((64, 64), 7, dtype=np.float32)).save(tmp_path / "float.tif")
    for name, text in (("small.png", "8 x 8"), ("float.tif", "lies in"), ("x" * 300, "cannot read"), ("none.png", "no such")):
        with pytest.raises(UnreadableError, match=text) as caught:
            read_photo(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(UnreadableError, match=r"cannot read mine\.png|mine\.png is not"):
        read_photo(b"nothing", "mine.png")


def test_heic_reads_or_says_what_reads_it(tmp_path, ramp, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(UnreadableError, match=r"a\.heic is a HEIC photograph: pip install pillow-heif"):
            read_photo(tmp_path / "a.heic")
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    heif.from_pillow(Image.fromarray(ramp)).save(tmp_path / "a.heic", quality=95)
    assert np.abs(read_photo(tmp_path / "a.heic").astype(int) - ramp).mean() < 3


def test_pictures_are_opened_at_one_door():
    for path in (Path(image_io.__file__).parents[1]).rglob("*.py"):
        if path.name != "image_io.py":
            assert not re.search(r"(Image|Pillow|imageio\S*|io)\.(open|imread|imiter)\(", path.read_text()), path


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
