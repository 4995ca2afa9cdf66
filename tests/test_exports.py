"""Files of a reconstruction: they load again where and how they should, and whole or not at all."""

import errno
import json
import os
import re
import struct

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from ramps import BOX, Ball, Surveyor, points_in, ramp_photo
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.photo import exports
from vrn_lite.photo.exports import EYES_APART, EYES_OF_BOX, Format, Units, glb
from vrn_lite.photo.reconstruct import reconstruct


@pytest.fixture(scope="module")
def ball():
    """A ball over the ramp, with landmarks; no network that ships takes part."""
    options = {"detector": Surveyor(points_in(BOX)), "recrop": False, "smooth": 0, "test_time_augmentation": False}
    return reconstruct(ramp_photo(), Ball().eval(), BOX, **options)


def parts(path):
    """The JSON and the arrays of a GLB, read by the format's own rules."""
    data = path.read_bytes()
    magic, version, length, size, kind = struct.unpack("<4sIIII", data[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), 0x4E4F534A)
    tree, binary = json.loads(data[20 : 20 + size]), data[28 + size :]
    assert struct.unpack("<II", data[20 + size : 28 + size]) == (len(binary), 0x004E4942)
    types, widths = {5126: "<f4", 5123: "<u2", 5125: "<u4"}, {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
    arrays = []
    for accessor in tree["accessors"]:
        view = tree["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        content = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        arrays.append(np.frombuffer(content, types[accessor["componentType"]]).reshape(-1, widths[accessor["type"]]))
        assert len(arrays[-1]) == accessor["count"]
    return tree, arrays


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_files_load_again_upright_with_their_colours(tmp_path, ball, suffix):
    path = getattr(ball, f"to_{suffix}")(tmp_path / "new" / f"face.{suffix}", Units.PIXELS)
    loaded = trimesh.load(path, process=False, force="mesh", **({"skip_materials": True} if suffix == "glb" else {}))
    assert len(loaded.faces) == len(ball.mesh.faces)
    np.testing.assert_allclose(loaded.vertices, ball.mesh.vertices * (1, -1, -1), atol=1e-3)
    if suffix != "glb":  # trimesh reads colours of 8 bits only; see below
        colours = np.asarray(loaded.visual.vertex_colors)[:, :3]
        np.testing.assert_array_equal(colours, ball.mesh.visual.vertex_colors[:, :3])
    assert loaded.volume > 0
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_html_needs_no_network(tmp_path, ball):
    text = ball.to_html(tmp_path / "a.html", title="A ball").read_text(encoding="utf-8")
    assert "Plotly.newPlot" in text
    assert "A ball" in text
    assert not re.search(r"<script[^>]+src=|<link[^>]+href=[\"']?http", text)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.html"]


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb", "stl", "html"])
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


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb", "stl", "html"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, ball, suffix):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        getattr(ball, f"to_{suffix}")(tmp_path / "file" / f"a.{suffix}")


def test_glb_follows_its_format(tmp_path, ball):
    tree, (points, normals, colours, indices) = parts(ball.to_glb(tmp_path / "a.glb"))
    names = tree["meshes"][0]["primitives"][0]["attributes"]
    assert names == {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}
    assert tree["accessors"][0]["min"] == points.min(0).tolist()
    assert tree["accessors"][0]["max"] == points.max(0).tolist()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    outward = points - points.mean(0)
    assert (np.einsum("vc,vc->v", normals, outward / np.linalg.norm(outward, axis=1, keepdims=True)) > 0.8).all()
    assert indices.max() == len(points) - 1
    assert (colours[:, 3] == 65535).all()
    assert tree["materials"][0]["pbrMetallicRoughness"]["metallicFactor"] == 0


def test_glb_keeps_every_colour_of_a_dark_photograph(tmp_path):
    """Linear bytes would leave 8 of these 64 greys; 16 bits keep all, and lead back to the bytes."""
    sphere = trimesh.creation.icosphere(subdivisions=2)
    greys = np.arange(len(sphere.vertices)) % 64
    sphere.visual.vertex_colors = np.repeat(greys[:, None], 3, 1).astype(np.uint8)
    (tmp_path / "a.glb").write_bytes(glb(sphere))
    linear = parts(tmp_path / "a.glb")[1][2][:, 0] / 65535
    screen = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_array_equal(np.rint(255 * screen), greys)


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb", "stl"])
def test_meshes_are_centred_and_in_metres(tmp_path, ball, suffix):
    """STL is in millimetres, as its readers expect."""
    path = getattr(ball, f"to_{suffix}")(tmp_path / f"a.{suffix}")
    bounds = trimesh.load(path, force="mesh").bounds / (1000 if suffix == "stl" else 1)
    np.testing.assert_allclose(bounds.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.ptp(bounds, axis=0) / EYES_APART, np.ptp(ball.mesh.bounds, axis=0) / ball.eye_distance(), rtol=1e-3)


@pytest.mark.parametrize("angles", [(0, 0, 0), (70, 0, 0), (-40, 20, 30)])
def test_eyes_are_as_far_apart_from_every_side(ball, angles):
    from dataclasses import replace

    from vrn_lite.camera import rotation_matrix

    face = procedural()
    turn = rotation_matrix(*torch.tensor(angles, dtype=torch.float32)[:, None])[0] * torch.tensor([[1.0], [-1], [-1]])
    mean = face.mean[face.landmarks]
    seen = replace(ball, landmarks=(5 * mean @ turn.T)[:, :2].double().numpy() + 100)
    apart = float((mean[36:42].mean(0) - mean[42:48].mean(0)).norm())
    assert seen.eye_distance() == pytest.approx(5 * apart, rel=1e-4)


def test_the_share_of_the_box_between_the_eyes_fits_again():
    face = procedural()
    mean = face.mean[face.landmarks]
    side = float((mean.amax(0) - mean.amin(0))[:2].prod().sqrt())
    assert float((mean[36:42].mean(0) - mean[42:48].mean(0)).norm()) / side == pytest.approx(EYES_OF_BOX, abs=0.02)


def test_the_depth_map_is_the_front_of_the_ball(ball, monkeypatch):
    monkeypatch.setattr(exports, "PIXELS_AT_ONCE", 5000)  # several bands
    depth = ball.depth_map()
    assert depth.shape == (200, 256)
    low, high = ball.mesh.bounds
    (x, y, z), radius = (low + high) / 2, (high - low).max() / 2
    rows, columns = np.mgrid[:200, :256] + 0.5
    inside = radius**2 - (columns - x) ** 2 - (rows - y) ** 2
    assert np.isnan(depth[inside < -100]).all()
    deep = inside > 0.3 * radius**2
    np.testing.assert_allclose(depth[deep], (z - np.sqrt(inside.clip(0)))[deep], atol=2)


def test_depth_maps_in_both_files_agree(tmp_path, ball):
    exact = np.load(ball.save_depth(tmp_path / "a.npy"))
    with Image.open(ball.save_depth(tmp_path / "a.png")) as picture:
        assert picture.mode.startswith("I")
        near, far, values = float(picture.text["near"]), float(picture.text["far"]), np.asarray(picture).astype(float)
    np.testing.assert_array_equal(values == 0, np.isnan(exact))
    shown = values > 0
    assert values.max() == 65535
    np.testing.assert_allclose((far - (values - 1) / 65534 * (far - near))[shown], exact[shown], atol=1e-2)


def test_landmarks_lie_on_the_surface(tmp_path, ball):
    points = np.load(ball.save_landmarks(tmp_path / "a.npy"))
    told = json.loads(ball.save_landmarks(tmp_path / "a.json").read_text())
    np.testing.assert_allclose(told["landmarks_3d"], points, atol=1e-3)
    np.testing.assert_allclose(told["landmarks_2d"], ball.landmarks, atol=1e-3)
    assert (told["box"], told["width"], told["height"]) == (list(BOX), 256, 200)
    depth = ball.depth_map()
    for x, y, z in points:
        front = depth[int(y), int(x)]
        assert np.isnan(front) or abs(front - z) < 8, (x, y)


def test_no_landmarks_no_file_of_them(tmp_path, ball):
    from dataclasses import replace

    with pytest.raises(InputError, match="no landmarks of the image: give reconstruct a detector"):
        replace(ball, landmarks=None).save_landmarks(tmp_path / "a.json")


def test_the_volume_comes_back_with_its_frame(tmp_path, ball):
    stored = np.load(ball.save_volume(tmp_path / "a.npz"))
    np.testing.assert_allclose(stored["volume"], ball.volume, atol=1e-3)
    point = np.array([140.0, 90.0, 3.0])
    moved = stored["scale"] * stored["rotation"] @ point + stored["translation"]
    np.testing.assert_allclose(moved, ball.crop(torch.tensor(point)[None, None].float())[0, 0], atol=1e-3)
    assert stored["depth_scale"] == 1.5


def test_save_writes_what_is_asked_for(tmp_path, ball):
    written = ball.save(tmp_path / "me.2020", list(Format))
    endings = "obj ply glb stl html depth.png depth.npy volume.npz landmarks.json landmarks.npy".split()
    assert [path.name for path in written] == [f"me.2020.{ending}" for ending in endings]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    with pytest.raises(InputError, match="unknown units 'feet': choose metres or pixels"):
        ball.to_ply(tmp_path / "a.ply", "feet")
