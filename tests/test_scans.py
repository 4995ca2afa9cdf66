"""Scans with landmarks, in the layouts of BU-4DFE and Florence, in the poses of the paper's tests."""

import json
from itertools import product

import numpy as np
import pytest
import torch
import trimesh

from licensed import bald, colours_of, head, turned, write_obj, write_ply, write_vrml
from shapes import scores_of
from vrn_lite.datasets import bu4dfe, florence
from vrn_lite.datasets.scans import LABELS, levelled, read_landmarks, read_scan, shown
from vrn_lite.evaluation.predictors import mean_face_predictor, oracle_predictor
from vrn_lite.evaluation.testsets import CHUNK, expression
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.mesh import boundary_edges
from vrn_lite.presets import PRESETS
from vrn_lite.samples import unaligned
from vrn_lite.volume import voxelize

LITE, TINY = PRESETS["lite"].grid, PRESETS["tiny"].grid


@pytest.fixture(scope="module")
def face():
    return procedural()


@pytest.fixture(scope="module")
def neutral(tmp_path_factory):
    """Two people, one a scan in a scanner's frame with vertex colours, one an OBJ with a texture."""
    folder = tmp_path_factory.mktemp("florence")
    identity = bald.draw_identity(torch.Generator().manual_seed(4))
    write_ply(folder / "subject_01.ply", identity / 2)
    write_obj(folder / "subject_02.obj")
    return folder


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """One person, happy and surprised, in folders like BU-4DFE's."""
    folder = tmp_path_factory.mktemp("bu4dfe")
    for name in ("Happy", "Surprise"):
        write_ply(folder / "F001" / name / "012.ply", expression=expression(bald, name))
    return folder


def angles(batches):
    return [(tag, round(float(p), 3), round(float(y), 3)) for part in batches for tag, p, y in zip(part.tags, part.pitch, part.yaw, strict=True)]


def test_florence_shows_every_scan_in_fifteen_poses(face, neutral):
    test = florence(neutral, face)
    batches = list(test.batches("tiny"))
    assert test.size == 30
    assert all(len(part) <= CHUNK for part in batches)
    assert angles(batches) == 2 * [("Neutral", pitch, yaw) for pitch, yaw in product((-15, 20, 25), (-80, -40, 0, 40, 80))]


def test_bu4dfe_shows_both_expressions_in_twenty_one_poses(face, moved):
    test = bu4dfe(moved, face)
    yaws = [round(80 * step / 3, 3) for step in range(-3, 4)]
    assert test.size == 42
    assert angles(test.batches("tiny")) == [(name, pitch, yaw) for name, pitch, yaw in product(("Happy", "Surprise"), (-20, 0, 20), yaws)]


def test_the_crop_follows_the_authors_rule(face, neutral):
    for pairs in florence(neutral, face).batches("lite"):
        low, high = pairs.landmarks[..., :2].amin(1), pairs.landmarks[..., :2].amax(1)
        torch.testing.assert_close((high - low).prod(-1).sqrt(), torch.full((15,), 90 / 192 * 64), atol=1e-3, rtol=0)
        torch.testing.assert_close((low + high) / 2, torch.full((15, 2), 32.0), atol=1e-3, rtol=0)


def test_a_scanners_axes_place_and_unit_do_not_matter(face, tmp_path):
    """The procedural head, lying in a scanner in millimetres, comes back as it was: landmarks' mean at the origin, unit 1."""
    write_ply(tmp_path / "scan.ply")
    scan = read_scan(tmp_path / "scan.ply", levelled(face))
    _, _, landmarks = head()
    expected = (landmarks - landmarks.mean(0)) / bald.interocular
    torch.testing.assert_close(scan.face.mean[scan.face.landmarks], expected, atol=1e-4, rtol=0)
    assert scan.face.interocular == pytest.approx(1, abs=1e-5)


def test_frames_go_round(face, neutral):
    """From the voxel frame back to the model frame, every pose shows the one scan."""
    pairs = next(florence(neutral, face).batches("lite"))
    back = pairs.camera.inverse()(pairs.truth.vertices)
    torch.testing.assert_close(back, back[:1].expand_as(back), atol=1e-4, rtol=0)
    torch.testing.assert_close(pairs.truth.landmark_points(), pairs.landmarks)


def test_only_the_face_is_solid_and_counted_and_all_of_the_scan_is_seen(face, tmp_path):
    write_ply(tmp_path / "scan.ply")
    scan = read_scan(tmp_path / "scan.ply", levelled(face))
    mesh = scan.face.mesh()
    assert len(boundary_edges(mesh.solid_triangles())) == 0
    assert int(mesh.visible_mask().sum()) == len(scan.face.triangles) > 1.5 * int(scan.face.patch.sum())
    ours = mesh.vertices[mesh.face]
    goal = (bald.mean[bald.patch_vertices] - bald.mean[bald.landmarks].mean(0)) / bald.interocular
    assert torch.cdist(goal, ours).amin(1).mean() < 0.02
    assert torch.cdist(ours, goal).amin(1).mean() < 0.02


def test_pictures_show_the_scans_own_colours(face, tmp_path):
    """Where a pixel's light is taken out, its hue is that of the texture at that place."""
    write_ply(tmp_path / "scan.ply")
    scan = read_scan(tmp_path / "scan.ply", levelled(face))
    grid = PRESETS["colab"].grid
    pairs = shown(scan, [(0.0, 0.0)] * 4, grid, torch.Generator().manual_seed(0))
    columns, rows = (pairs.landmarks[0, 17:, axis].long() for axis in (0, 1))
    seen = pairs.images[:, :, rows, columns].mean(0).T
    true = colours_of(head()[2][17:])
    seen, true = (values / values.sum(1, keepdim=True) for values in (seen, true))
    for channel in range(2):
        assert np.corrcoef(seen[:, channel], true[:, channel])[0, 1] > 0.9


def test_scans_with_holes_and_crumbs_are_closed(face, tmp_path):
    """Triangles are missing at random, some vertices are torn, and a crumb flies beside the face."""
    write_ply(tmp_path / "scan.ply")
    mesh = trimesh.load(tmp_path / "scan.ply", process=False)
    generator = np.random.default_rng(0)
    kept = mesh.faces[generator.uniform(size=len(mesh.faces)) > 0.003]
    crumb = trimesh.creation.box((3, 3, 3)).apply_translation(turned(torch.tensor([[0.0, 0, 30]]))[0].numpy())
    points, triangles = np.concatenate([mesh.vertices, crumb.vertices]), np.concatenate([kept, crumb.faces + len(mesh.vertices)])
    colours = np.full((len(points), 3), 128, dtype=np.uint8)
    trimesh.Trimesh(points, triangles, vertex_colors=colours, process=False).export(tmp_path / "scan.ply")
    scan = read_scan(tmp_path / "scan.ply", levelled(face))
    solid = scan.face.mesh()
    assert len(boundary_edges(solid.solid_triangles())) == 0
    whole = voxelize(30 * solid.vertices + 40, solid.solid_triangles(), (96, 96, 96), 1.0)
    write_ply(tmp_path / "clean.ply")
    clean = read_scan(tmp_path / "clean.ply", levelled(face)).face.mesh()
    expected = voxelize(30 * clean.vertices + 40, clean.solid_triangles(), (96, 96, 96), 1.0)
    assert (whole & expected).sum() / (whole | expected).sum() > 0.98


def test_eyeballs_are_united_with_the_face_and_not_hollowed(face, tmp_path):
    """A closed ball inside the face changes nothing; one that comes out of it adds what stands out; one beside it is a crumb."""
    write_ply(tmp_path / "scan.ply")
    scanned, landmarks = trimesh.load(tmp_path / "scan.ply", process=False), head()[2]
    plain = read_scan(tmp_path / "scan.ply", levelled(face))
    eye, size = landmarks[36:42].mean(0), 0.25 * bald.interocular
    volumes = {}
    for name, depth in (("inside", -2.5), ("across", -0.2), ("beside", 2.5)):
        ball = trimesh.creation.icosphere(2, radius=5 * size)
        ball.apply_translation(turned((eye + torch.tensor([0, 0, depth * size]))[None])[0].numpy())
        points, count = np.concatenate([scanned.vertices, ball.vertices]), len(scanned.vertices)
        colours = np.full((len(points), 3), 128, dtype=np.uint8)
        both = np.concatenate([scanned.faces, ball.faces + count])
        trimesh.Trimesh(points, both, vertex_colors=colours, process=False).export(tmp_path / "scan.ply")
        scan = read_scan(tmp_path / "scan.ply", levelled(face))
        assert len(scan.parts) == 1
        volumes[name] = shown(scan, [(0.0, 30.0)], LITE, torch.Generator().manual_seed(0)).volumes[0]
    whole = shown(plain, [(0.0, 30.0)], LITE, torch.Generator().manual_seed(0)).volumes[0]
    assert torch.equal(volumes["inside"], whole)
    assert torch.equal(volumes["beside"], whole)
    assert not (whole & ~volumes["across"]).any()
    assert 10 < (volumes["across"] & ~whole).sum() < 0.05 * whole.sum()


def test_samples_are_reproducible_and_a_smaller_set_is_the_beginning_of_a_larger(face, neutral):
    test = florence(neutral, face)
    small, large, other = (list(some.batches("tiny")) for some in (test.first(17), test, florence(neutral, face, 2018)))
    assert [len(part) for part in small] == [15, 2]
    assert torch.equal(small[1].images, large[1].images[:2])
    assert torch.equal(small[1].volumes, large[1].volumes[:2])
    assert not torch.equal(small[0].images, other[0].images)
    assert torch.equal(small[0].volumes, other[0].volumes)


def test_the_oracle_reaches_the_grids_floor_and_the_mean_face_is_behind(face, neutral):
    test = florence(neutral, face)
    pairs = next(test.first(3).batches("lite"))
    oracle, mean = (scores_of(p, pairs) for p in (oracle_predictor(PRESETS["lite"]), mean_face_predictor(test.face, PRESETS["lite"])))
    assert all(row["iou"] == 1 and row["nme"] < 0.025 for row in oracle)
    assert all(0.6 < row["iou"] < 1 and row["nme"] > 0.015 for row in mean)


def test_the_procedural_scan_is_the_mean_face(face, neutral):
    """The second scan is the mean itself: that bound is close to it, whatever the pose (the two patches end at slightly different lines)."""
    test = florence(neutral, face)
    pairs = list(test.batches("lite"))[1]
    for row in scores_of(mean_face_predictor(test.face, PRESETS["lite"]), pairs):
        assert row["iou"] > 0.9
        assert row["nme"] < 0.02


def test_samples_can_be_unaligned(face, neutral):
    test = florence(neutral, face)
    pairs = next(test.batches("tiny"))
    frontal = unaligned(pairs, test.face.interocular, TINY)
    assert torch.equal(frontal.volumes, frontal.volumes[:1].expand_as(frontal.volumes))


@pytest.mark.parametrize("write", ["txt", "npy", "npz", "json", "version 2"])
def test_landmarks_may_be_written_in_several_ways(tmp_path, write):
    points = np.random.default_rng(0).normal(size=(68, 3))
    match write:
        case "txt":
            np.savetxt(tmp_path / "a.txt", points)
        case "npy":
            np.save(tmp_path / "a.npy", points)
        case "npz":
            np.savez(tmp_path / "a.npz", landmarks=points)
        case "json":
            (tmp_path / "a.json").write_text(json.dumps(points.tolist()))
        case _:
            (tmp_path / "a.ljson").write_text(json.dumps({"version": 2, "labels": [], "landmarks": {"points": points.tolist()}}))
    np.testing.assert_allclose(read_landmarks(tmp_path / "a.ply").numpy(), points)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_labels_give_the_order(tmp_path, version):
    """menpo's files name the parts of a face; the points themselves may come in any order."""
    points, order = np.random.default_rng(0).normal(size=(68, 3)), np.random.default_rng(1).permutation(68)
    starts = np.cumsum([0, *LABELS.values()])
    place = np.argsort(order)  # of each landmark among the shuffled ones
    parts = {name: place[start : start + count].tolist() for (name, count), start in zip(LABELS.items(), starts, strict=False)}
    labels = [{"label": name, "mask": mask} for name, mask in reversed(parts.items())]
    shuffled = points[order].tolist()
    if version == 1:
        content = {"groups": [{"label": name, "landmarks": [{"point": shuffled[at]} for at in mask]} for name, mask in reversed(parts.items())]}
    elif version == 2:
        content = {"landmarks": {"points": shuffled, "connectivity": []}, "labels": labels}
    else:
        other = {"landmarks": {"points": [[0, 0, 0]]}, "labels": [{"label": "all", "mask": [0]}]}
        content = {"groups": {"bounding_box": other, "face": {"landmarks": {"points": shuffled}, "labels": labels}}}
    (tmp_path / "a.ljson").write_text(json.dumps({"version": version} | content))
    np.testing.assert_allclose(read_landmarks(tmp_path / "a.obj.gz").numpy(), points)
    (tmp_path / "a.ljson").write_text(json.dumps({"landmarks": {"points": shuffled}, "labels": labels[1:]}))
    with pytest.raises(InputError, match="its labels must be those of 68 iBUG landmarks; mouth do not fit"):
        read_landmarks(tmp_path / "a.obj")


def refused(folder, *texts, of=florence):
    with pytest.raises(InputError) as caught:
        list(of(folder, bald)(1, preset="tiny"))
    for text in texts:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_scans_and_landmarks(tmp_path):
    refused(tmp_path / "nowhere", "no such folder")
    refused(tmp_path, "no scans (.obj, .obj.gz, .ply, .ply.gz, .wrl")
    write_ply(tmp_path / "scan.ply")
    (tmp_path / "scan.txt").unlink()
    refused(tmp_path, "scan.ply has no landmarks beside it: write 68 rows of x y z, in iBUG order, to scan.txt")
    (tmp_path / "scan.bnd").write_text("1\t0.0\t0.0\t0.0\n" * 83)
    refused(tmp_path, "scan.ply has no landmarks beside it (its .bnd file has 83 other points)")


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (np.zeros((83, 3)), "68 landmarks with x, y and z are needed, got the shape (83, 3)"),
        (np.zeros((68, 2)), "68 landmarks with x, y and z are needed, got the shape (68, 2)"),
        (np.full((68, 3), np.nan), "landmarks must be finite, got NaN or infinity"),
        (np.zeros((68, 3)), "the outer corners of the eyes, are the same point"),
        (np.random.default_rng(0).normal(size=(68, 3)), "its landmarks are no face in iBUG order"),
        (turned(head()[2]).numpy() * [-1, 1, 1], "its landmarks are no face in iBUG order"),  # a mirrored scanner
        (turned(head()[2]).numpy() + 500, "no triangles are left of the face"),
    ],
)
def test_wrong_landmarks(tmp_path, points, text):
    write_ply(tmp_path / "scan.ply")
    np.savetxt(tmp_path / "scan.txt", points)
    refused(tmp_path, "scan", text)


def test_landmarks_that_are_no_numbers(tmp_path):
    write_ply(tmp_path / "scan.ply")
    (tmp_path / "scan.txt").write_text("left eye, right eye\n")
    refused(tmp_path, "scan.txt cannot be read as landmarks")
    (tmp_path / "scan.txt").unlink()
    (tmp_path / "scan.json").write_text('{"eyes": ')
    refused(tmp_path, "scan.json cannot be read as landmarks")


def test_files_that_are_no_scans(tmp_path):
    for name in ("a.ply", "b.obj", "c.wrl"):
        folder = tmp_path / name[0]
        folder.mkdir()
        (folder / name).write_text("no mesh at all\n" * 9)
        np.savetxt(folder / f"{name[0]}.txt", head()[2].numpy())
        refused(folder, name)


def test_scans_without_colours(tmp_path):
    write_ply(tmp_path / "scan.ply")
    mesh = trimesh.load(tmp_path / "scan.ply", process=False)
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(tmp_path / "scan.ply")
    refused(tmp_path, "scan.ply has neither a texture nor colours")


@pytest.mark.parametrize(("write", "name", "picture"), [(write_vrml, "a.wrl", "a.jpg"), (write_obj, "a.obj", "a.png")])
def test_missing_textures(tmp_path, write, name, picture):
    write(tmp_path / name)
    (tmp_path / picture).unlink()
    refused(tmp_path, f"{name}: its texture is missing")


def test_scans_that_do_not_tell_their_expression(tmp_path):
    write_ply(tmp_path / "F001" / "Sad" / "001.ply")
    refused(tmp_path, "001.ply: its path must name its expression, one of Happy, Surprise", of=bu4dfe)
