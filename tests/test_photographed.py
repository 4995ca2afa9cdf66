"""Photographed skins, eyes and hair: the registration's laws, on both face models, and the download."""

import hashlib
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from serving import serving
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.synth import assets
from vrn_lite.synth.assets import (
    EYES,
    HAIRCUTS,
    HELDOUT_HAIRCUT,
    HELDOUT_SKINS,
    SKIN_SIZE,
    SKINS,
    base_head,
    fetch_skins,
    fetched,
    load_skins,
    source,
)
from vrn_lite.synth.photographed import photographed
from vrn_lite.synth.registration import _laplacian, nearest_triangle, register, skin_triangles, vertex_normals


@pytest.fixture(scope="module")
def converted(appearance):
    """The arrays of the converted file."""
    return load_skins(appearance)


@pytest.fixture(scope="module", params=["procedural", "ict"])
def face(request):
    return procedural() if request.param == "procedural" else request.getfixturevalue("ict_face")


@pytest.fixture(scope="module")
def worn(face, appearance):
    return photographed(face, appearance)


@pytest.fixture(scope="module")
def registration(face, converted):
    return register(face, base_head(converted))


# The geometry underneath


def test_normals_of_a_tetrahedron_point_outward():
    points = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    triangles = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    assert np.allclose(vertex_normals(points, triangles), points / 3**0.5)


def test_nearest_triangle_looks_for_the_side_that_faces_the_same_way():
    sheet = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0.1], [1, 0, 0.1], [0, 1, 0.1]])
    triangles = np.array([[0, 2, 1], [3, 4, 5]])  # a thin wall: its lower side faces down
    point, down = np.array([[0.2, 0.2, 0.09]]), np.array([[0.0, 0, -1]])
    triangle, place, cosine = nearest_triangle(point, down, sheet, triangles, turned=1.0, candidates=2)
    assert (triangle[0], place[0].round(6).tolist(), cosine[0]) == (0, [0.2, 0.2, 0.0], 1.0)


def test_equal_displacements_of_all_points_are_smooth():
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    assert np.allclose(_laplacian(4, triangles) @ np.ones(4), 0)


# The registration


def test_landmarks_meet_landmarks(face, registration, converted):
    base = base_head(converted)
    corners = np.zeros((len(base.points), 2))
    corners[base.triangles] = base.uv
    apart = (registration.uv[face.landmarks] - corners[base.landmarks]) * SKIN_SIZE
    assert np.linalg.norm(apart, axis=1).max() < 3.5  # pixels of a skin 512 px tall


def test_every_vertex_lies_on_the_head_of_the_picture(registration):
    assert registration.uv.min() > 0
    assert registration.uv.max() < 1


def test_face_lies_close_under_the_warped_base_head(face, registration):
    distance = registration.distance[face.patch_vertices]
    assert np.median(distance) < 0.005
    assert np.quantile(distance, 0.9) < 0.06  # the rest is the inside of nostrils, lips and lids


def test_left_and_right_are_mirror_images(face, registration, worn, converted):
    points, middle = face.mean.numpy(), base_head(converted)
    apart, twin = cKDTree(points).query(points * [-1, 1, 1])
    nose = middle.landmarks[27]
    axis = middle.uv[middle.triangles == nose][:, 1].mean()
    covered = (worn.coverage.numpy() > 0.9) & (apart < 0.01) & (np.abs(registration.uv[:, 1] - axis) < 0.3)
    mirrored = registration.uv * [1, -1] + [0, 2 * axis]
    error = np.linalg.norm((mirrored - registration.uv[twin]) * SKIN_SIZE, axis=1)[covered]
    assert np.quantile(error, 0.95) < 1


def test_warp_carries_the_base_head_onto_the_face(face, registration, converted):
    base = base_head(converted)
    warped = registration.warp(base.points[base.landmarks])
    assert np.linalg.norm(warped - face.mean[face.landmarks].numpy(), axis=1).max() < 0.03 * face.interocular


# Skins and eyes


def test_shapes_and_names_agree(face, worn):
    count = len(face.mean)
    assert worn.skins.shape == (len(SKINS), count, 3)
    assert worn.eyes.shape == (len(EYES), count, 3)
    assert worn.coverage.shape == worn.eyeballs.shape == (count,)
    assert tuple(haircut.name for haircut in worn.haircuts) == HAIRCUTS
    assert set(HELDOUT_SKINS) <= set(SKINS)
    assert HELDOUT_HAIRCUT in HAIRCUTS
    for values in (worn.skins, worn.eyes, worn.coverage, worn.eyeballs):
        assert values.dtype == torch.float32
        assert values.min() >= 0
        assert values.max() <= 1


def test_heldout_skins_are_one_light_and_one_dark(face, worn):
    light = worn.skins[[SKINS.index(name) for name in HELDOUT_SKINS]][:, face.landmarks[27:31]].mean((1, 2))
    assert light.max() > 2 * light.min()


def test_photographs_cover_the_face_and_not_its_inside(face, worn):
    marks = face.landmarks[[*range(17, 31), 33, 48, 51, 54, 57]]
    assert worn.coverage[marks].min() > 0.9
    for name in ("sclera", "iris", "pupil", "teeth", "mouth"):
        assert worn.coverage[face.regions.get(name, torch.zeros(1)).expand(len(face.mean)) > 0.99].sum() == 0, name


def test_lips_are_redder_than_the_skin_around_them(face, worn):
    red = worn.skins[..., 0] - worn.skins[..., 1]
    light = [number for number, name in enumerate(SKINS) if "light" in name]
    lips = face.landmarks[[50, 52, 56, 58]]
    around = face.landmarks[[2, 14, 31, 35]]
    assert (red[light][:, lips].mean(1) > red[light][:, around].mean(1)).all()


def test_hair_shell_wears_the_scalp(face, worn):
    hair = (face.regions["hair"] > 0).nonzero()[:, 0]
    _, below = cKDTree(face.mean[: hair[0]].numpy()).query(face.mean[hair].numpy())
    assert (worn.skins[:, hair] - worn.skins[:, below]).abs().mean() < 0.02


def test_pupils_are_dark_and_the_sclera_is_light(face, worn):
    white = (worn.eyeballs > 0.9) & (face.regions["iris"] < 0.1)
    sclera, pupil = worn.eyes[:, white].mean((1, 2)), worn.eyes[:, face.regions["pupil"] > 0.9].mean((1, 2))
    assert (sclera > 0.5).all()
    assert (pupil < 0.3).all()
    assert worn.eyes[:, worn.eyeballs == 0].abs().max() == 0


# Hair


def test_weights_sum_to_one_and_hang_on_skin(face, worn):
    skin = face.triangles[torch.from_numpy(skin_triangles(face))].unique()
    for haircut in worn.haircuts:
        assert torch.allclose(haircut.weights.sum(1), torch.ones(len(haircut.points)))
        assert torch.isin(haircut.roots, skin).all()
        assert 0 <= haircut.uv.min() < haircut.uv.max() <= 1
        assert haircut.triangles.unique().tolist() == list(range(len(haircut.points)))


def test_hair_follows_the_head(face, worn):
    moved = worn.haircuts[0].on(torch.stack((face.mean, face.mean + torch.tensor([1.0, -2, 3]))), face.mean)
    assert torch.equal(moved[0], worn.haircuts[0].points)
    assert torch.allclose(moved[1] - moved[0], torch.tensor([1.0, -2, 3]), atol=1e-4)


def test_no_hair_lies_under_the_skin(face, worn):
    points, skin = face.mean.double().numpy(), face.triangles.numpy()[skin_triangles(face)]
    normals = vertex_normals(points, skin)
    for haircut in worn.haircuts:
        hair = haircut.points.double().numpy()
        triangle, places, _ = nearest_triangle(hair, np.zeros_like(hair), points, skin, 0.0)
        height = ((hair - places) * normals[skin[triangle]].mean(1)).sum(1)
        assert (height < -0.01 * face.interocular).mean() < 0.02, haircut.name


def test_hair_sits_on_the_skull(face, worn):
    top = face.mean[face.triangles[torch.from_numpy(skin_triangles(face))].unique(), 1].max()
    for haircut in worn.haircuts:
        assert -0.05 < (haircut.points[:, 1].max() - top) / face.interocular < 0.4, haircut.name


def test_edges_of_the_cards_carry_no_black(worn):
    for haircut in worn.haircuts:
        colour, alpha = haircut.texture[:3].float().mean(0), haircut.texture[3]
        edge, inside = colour[(alpha > 16) & (alpha < 128)], colour[alpha > 250]
        assert len(edge) == 0 or edge.mean() > 0.5 * inside.mean(), haircut.name  # the braid has no soft edge


def test_to_moves_everything(worn):
    moved = worn.to("meta")
    assert {moved.skins.device.type, moved.eyeballs.device.type, moved.haircuts[0].texture.device.type} == {"meta"}
    assert moved.haircuts[0].name == HAIRCUTS[0]


# The download


@pytest.fixture(scope="module")
def files(shared):
    """The source files under the paths of the two repositories."""
    folder = shared / "appearance"
    paths = {name: assets.ELSEWHERE.get(name) or assets._place(name) for name in assets.SUMS}
    return {path: (folder / name).read_bytes() for name, path in paths.items()}


def test_fetch_converts_once(tmp_path, files, appearance, monkeypatch):
    ready = dict(np.load(appearance / "makehuman_skins.npz"))
    monkeypatch.setattr(assets, "convert_skins", lambda _: ready)
    with serving(files) as server:
        release = source(server.url, server.url)
        threads = [threading.Thread(target=fetch_skins, args=(tmp_path, release, False)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(server.log) == sorted(files)
        assert fetch_skins(tmp_path, release) == tmp_path / "makehuman_skins.npz"
    assert fetched(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"makehuman_skins.npz", ".downloads.lock"}
    assert load_skins(tmp_path).keys() == ready.keys()


def test_wrong_file_is_one_line(tmp_path, files, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    wrong = files | {"eyes/materials/blue_eye.png": b"version https://git-lfs.github.com/spec/v1"}
    sums = {"eyes/blue_eye.png": assets.SUMS["eyes/blue_eye.png"]}
    with serving(wrong) as server, pytest.raises(InputError, match="not the known file .*`vrn-lite fetch skins`"):
        fetch_skins(tmp_path, source(server.url, server.url, sums), progress=False)
    assert not fetched(tmp_path)


def test_addresses_are_those_of_the_pinned_commits():
    pinned = source()
    assert pinned.address("skins/old_darkskinned_male_diffuse.png").endswith(
        "8cf9645b975a98eea056b140df11a1d278da0d10/base/skins/textures/old_darkskinned_male_diffuse.png"
    )
    assert pinned.address("hair/bob02_diffuse.png").endswith("/base/hair/bob02/bob02_diffuse.png")
    assert pinned.address("eyes/brown_eye.png").endswith("/makehuman/data/eyes/materials/brown_eye.png")
    assert pinned.address("makehuman_base.obj").endswith("/makehuman/data/3dobjs/base.obj")


def test_sums_are_those_of_the_shared_files(shared):
    for name, known in assets.SUMS.items():
        assert hashlib.sha256((shared / "appearance" / name).read_bytes()).hexdigest() == known


def test_missing_skins_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("VRN_LITE_SKINS", str(tmp_path))
    assert not fetched()
    with pytest.raises(InputError, match="no photographed skins at .*: run `vrn-lite fetch skins` once"):
        photographed(procedural())


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_broken_file_is_refused(tmp_path, content):
    Path(tmp_path / "makehuman_skins.npz").write_bytes(content)
    with pytest.raises(InputError, match="holds no photographed skins"):
        load_skins(tmp_path)


def test_conversion_crops_the_head(converted):
    assert converted["skins"].shape == (len(SKINS), 512, 272, 3)
    assert converted["eyes"].shape == (len(EYES), 128, 128, 3)
    assert converted["hair_textures"].shape == (len(HAIRCUTS), 4, 512, 512)
    base = base_head(converted)
    assert np.linalg.norm(base.points[base.landmarks[45]] - base.points[base.landmarks[36]]) == pytest.approx(0.876, abs=0.01)
