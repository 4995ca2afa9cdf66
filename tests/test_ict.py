"""The ICT-FaceKit model: what it holds, and its download and conversion against a local server."""

import gzip
import hashlib
import json
import time
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from serving import serving
from vrn_lite.faces.ict import SUMS, Release, convert_ict, fetch_ict, ict
from vrn_lite.frame import InputError
from vrn_lite.mesh import boundary_edges, boundary_loops, signed_volume

MESHES = ("generic_neutral_mesh", "identity000", "identity001", "jawOpen", "mouthSmile_L")


@pytest.fixture
def serve(monkeypatch):
    """Start servers; a second try comes at once."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with ExitStack() as running:
        yield lambda files: running.enter_context(serving(files))


@pytest.fixture(scope="module")
def source_files(shared):
    """The five source meshes that are at hand, and an index that names only these."""
    folder = shared / "faces" / "ict_obj_sample"
    files = {f"{name}.obj": gzip.decompress((folder / f"{name}.obj.gz").read_bytes()) for name in MESHES}
    index = json.loads((folder / "vertex_indices.json").read_text()) | {"expressions": ["jawOpen", "mouthSmile_L"]}
    return files | {"vertex_indices.json": json.dumps(index).encode()}


@pytest.fixture(scope="module")
def converted(shared):
    """The reference arrays, cut down to the same modes."""
    with np.load(shared / "faces" / "ict_facekit.npz") as archive:
        names = list(archive["expression_names"])
        rows = {"identity": [0, 1], "expression": [names.index("jawOpen"), names.index("mouthSmile_L")]}
        return {key: archive[key][rows[key]] if key in rows else archive[key] for key in ("neutral", "identity", "expression", "polygons", "landmarks68")}


@pytest.fixture
def small(source_files, converted):
    """A release of two identity modes and two expressions at a given address."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in source_files.items() if name != "identity001.obj"}
    sums |= {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in converted.items()}
    return lambda url: Release(url, identities=2, sums=sums)


# The model


def test_patch_comes_first_and_in_the_order_of_the_source(ict_face, shared):
    with np.load(shared / "faces" / "ict_facekit.npz") as archive:
        assert torch.equal(ict_face.mean[:6706], torch.from_numpy(archive["neutral"][:6706]))
        assert torch.equal(ict_face.identity[7, :6706], torch.from_numpy(archive["identity"][7, :6706].astype(np.float32)))
        assert torch.equal(ict_face.expression[26, :6706], torch.from_numpy(archive["expression"][26, :6706].astype(np.float32)))
        assert ict_face.landmarks.tolist() == archive["landmarks68"].tolist()
    assert ict_face.triangles[ict_face.patch].unique().tolist() == list(range(6706))


def test_patch_has_the_four_boundary_loops_of_the_design(ict_face):
    assert [len(loop) for loop in boundary_loops(ict_face.triangles[ict_face.patch])] == [138, 74, 42, 42]


def test_unit_is_the_outer_interocular_distance(ict_face):
    assert ict_face.interocular == pytest.approx(8.92, abs=0.01)


def test_solid_is_closed_and_faces_outward(ict_face):
    mesh = ict_face.mesh()
    assert len(boundary_edges(mesh.solid_triangles())) == 0
    assert signed_volume(mesh.vertices, mesh.solid_triangles()) > 0


def test_every_vertex_is_used_and_the_mesh_is_light(ict_face):
    assert ict_face.triangles.unique().tolist() == list(range(len(ict_face.mean)))
    assert len(ict_face.triangles) < 38_000


def test_regions_are_soft_masks_on_the_right_side_of_the_face(ict_face):
    points, regions, marks = ict_face.mean, ict_face.regions, ict_face.mean[ict_face.landmarks]
    for name in ("lips", "brows", "sclera", "iris", "pupil", "teeth", "mouth", "neck", "scalp", "beard", "hair"):
        assert regions[name].shape == (len(points),), name
        assert 0 <= regions[name].min() < 0.01 < 0.99 < regions[name].max() <= 1, name
    centre = {name: (points * mask[:, None]).sum(0) / mask.sum() for name, mask in regions.items()}
    height = [centre[name][1] for name in ("scalp", "brows", "pupil", "lips", "beard", "neck")]
    assert height == sorted(height, reverse=True)
    assert centre["lips"][:2].allclose(marks[48:].mean(0)[:2], atol=0.3)
    assert all(abs(point[0]) < 0.1 for point in centre.values())


def test_irises_stand_in_the_middle_of_the_eyes(ict_face):
    points, iris, marks = ict_face.mean, ict_face.regions["iris"], ict_face.mean[ict_face.landmarks]
    for side, eye in ((1, slice(42, 48)), (-1, slice(36, 42))):
        mask = iris * (points[:, 0] * side > 0)
        middle = (points * mask[:, None]).sum(0) / mask.sum()
        assert middle[:2].allclose(marks[eye, :2].mean(0), atol=0.35)


@pytest.mark.parametrize(("look", "axis", "sign"), [("eyeLookUp", 1, 1), ("eyeLookDown", 1, -1), ("eyeLookIn", 0, -1), ("eyeLookOut", 0, 1)])
def test_eyeballs_follow_the_lids(ict_face, look, axis, sign):
    pupil = (ict_face.regions["pupil"] > 0.9) & (ict_face.mean[:, 0] > 0)
    moved = ict_face.expression[ict_face.expression_names.index(f"{look}_L"), pupil].mean(0)
    assert sign * moved[axis] > 0.4


def test_hair_is_a_second_skin_over_the_scalp(ict_face):
    hair = ict_face.regions["hair"] > 0
    first = int(hair.nonzero()[0])
    assert first > 6706
    assert not ict_face.patch[(ict_face.triangles >= first).any(1)].any()
    gaps = (ict_face.mean[hair][::50, None] - ict_face.mean[:first]).norm(dim=-1).amin(1)
    assert gaps.max() == 0


def test_missing_model_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("VRN_LITE_ICT", str(tmp_path / "none.npz"))
    with pytest.raises(InputError, match="run `vrn-lite fetch ict`"):
        ict()


def test_environment_variable_names_the_model(shared, monkeypatch):
    monkeypatch.setenv("VRN_LITE_ICT", str(shared / "faces" / "ict_facekit.npz"))
    assert ict().name == "ict"


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short", b"\x93NUMPY\x01\x00"])
def test_broken_model_is_refused(tmp_path, content):
    (tmp_path / "model.npz").write_bytes(content)
    with pytest.raises(InputError, match="not a converted ICT-FaceKit model"):
        ict(tmp_path / "model.npz")


# The conversion


def test_conversion_gives_the_same_arrays(tmp_path, source_files, converted):
    for name, content in source_files.items():
        (tmp_path / name).write_bytes(content)
    arrays = convert_ict(tmp_path, identities=2)
    for name, reference in converted.items():
        assert arrays[name].dtype == reference.dtype
        assert np.array_equal(arrays[name], reference), name


def test_known_sums_are_those_of_the_files_at_hand(shared, source_files):
    files = source_files | {"vertex_indices.json": (shared / "faces" / "ict_obj_sample" / "vertex_indices.json").read_bytes()}
    with np.load(shared / "faces" / "ict_facekit.npz") as archive:
        contents = files | {name: archive[name].tobytes() for name in ("neutral", "identity", "expression", "polygons", "landmarks68")}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()} == SUMS


# The download


def test_fetch_downloads_converts_and_cleans_up(tmp_path, serve, source_files, small, converted):
    server = serve(source_files)
    path = fetch_ict(tmp_path, small(server.url))
    assert {entry.name for entry in tmp_path.iterdir()} <= {path.name, ".downloads.lock"}
    with np.load(path) as archive:
        assert all(np.array_equal(archive[name], reference) for name, reference in converted.items())
        assert archive["expression_names"].tolist() == ["jawOpen", "mouthSmile_L"]
    requests = len(server.log)
    assert fetch_ict(tmp_path, small(server.url)) == path
    assert len(server.log) == requests == 6
    assert len(ict(path).identity) == 2


def test_fetch_keeps_finished_files_and_asks_for_the_others(tmp_path, serve, source_files, small):
    server = serve(source_files)
    server.cut = 1_000_000
    with pytest.raises(InputError, match="run `vrn-lite fetch ict` again"):
        fetch_ict(tmp_path, small(server.url))
    assert not (tmp_path / "ict_facekit.npz").exists()
    server.cut = None
    server.log.clear()
    assert fetch_ict(tmp_path, small(server.url)).is_file()
    assert sorted(server.log) == sorted(f"{name}.obj" for name in MESHES)


def test_files_of_unknown_sum_are_vouched_for_by_the_arrays(tmp_path, serve, source_files, small):
    server = serve(source_files | {"identity001.obj": source_files["identity000.obj"]})
    with pytest.raises(InputError, match=r"not the known ones \(identity differ\)"):
        fetch_ict(tmp_path, small(server.url))
    assert not (tmp_path / "ict_facekit.npz").exists()
    server.files = source_files
    server.log.clear()
    fetch_ict(tmp_path, small(server.url))
    assert server.log == ["identity001.obj"]


def test_mesh_with_missing_vertices_is_refused(tmp_path, serve, source_files, small):
    lines = source_files["identity001.obj"].splitlines(keepends=True)
    server = serve(source_files | {"identity001.obj": b"".join(lines[:2000])})
    with pytest.raises(InputError, match=r"identity001.obj is no ICT-FaceKit mesh \(\d+ vertices, not 26719\)"):
        fetch_ict(tmp_path, small(server.url))
    assert not (tmp_path / "ict_facekit_sources" / "identity001.obj").exists()


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write in"):
        fetch_ict(tmp_path / "file")


def test_full_disk_leaves_nothing_half_written(tmp_path, serve, source_files, small, monkeypatch):
    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(InputError, match="No space left on device"):
        fetch_ict(tmp_path, small(serve(source_files).url))
    assert {entry.name for entry in tmp_path.iterdir()} <= {"ict_facekit_sources", ".downloads.lock"}
