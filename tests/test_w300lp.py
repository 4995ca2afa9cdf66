"""Photographs with fitted Basel faces, in the layout of 300W-LP and AFLW2000-3D."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from licensed import EXPRESSIONS, IDENTITIES, SIGMA, SIGMA_EXP, SPOTS, pose, projected, write_model, write_photo
from shapes import scores_of
from vrn_lite.camera import crop_camera, rotation_matrix
from vrn_lite.cli import main
from vrn_lite.datasets import aflw2000, pairs_from
from vrn_lite.datasets.w300lp import angles_of, fitted_camera, paired, photographs, read_sample, samples
from vrn_lite.evaluation import evaluate as evaluation
from vrn_lite.evaluation.predictors import mean_face_predictor, oracle_predictor
from vrn_lite.evaluation.testsets import CHUNK
from vrn_lite.faces import basel
from vrn_lite.frame import InputError
from vrn_lite.networks.base import build
from vrn_lite.networks.weights import save_weights
from vrn_lite.presets import PRESETS
from vrn_lite.samples import NO_JITTER, PoseRange, make_pairs
from vrn_lite.volume import voxelize

PAPER = PRESETS["paper"].grid
POSES = {"a": pose(), "b": pose(10, 40, -5, 200, 260, 2e-3), "c": pose(-15, -75, 20, 240, 180, 1.2e-3), "d": pose(5, 89, 0, 225, 225, 1e-3)}


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    return basel(write_model(tmp_path_factory.mktemp("basel")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four photographs, of which one is not square."""
    folder, generator = tmp_path_factory.mktemp("aflw"), np.random.default_rng(1)
    for name, numbers in POSES.items():
        shape, expression = generator.normal(size=IDENTITIES) * SIGMA, generator.uniform(0, 1, EXPRESSIONS) * SIGMA_EXP
        write_photo(folder, name, numbers, shape, expression, (450, 450) if name != "b" else (500, 410))
    return folder


def spots(image):
    """Centres of mass [3, 2] of the three colours, in pixels of the voxel frame."""
    rows, columns = (torch.arange(size) + 0.5 for size in image.shape[1:])
    weight = (image - 0.02).clamp(min=0)
    total = weight.sum((1, 2))
    return torch.stack(((weight.sum(1) * columns).sum(1) / total, (weight.sum(2) * rows).sum(1) / total), 1)


def test_vertices_fall_where_the_authors_code_puts_them(face, folder):
    for path in photographs(folder):
        sample, data = read_sample(path, face), loadmat(path.with_suffix(".mat"))
        expected = projected(data["Shape_Para"][:, 0], data["Exp_Para"][:, 0], data["Pose_Para"][0], sample.image.shape[0])
        found = sample.placed().vertices[: len(face.mean)].double().numpy()
        np.testing.assert_allclose(found[:, 0], expected[0] - 0.5, atol=2e-3)  # MATLAB counts pixel centres 1, 2, 3...
        np.testing.assert_allclose(found[:, 1], expected[1] - 0.5, atol=2e-3)
        np.testing.assert_allclose(found[:, 2], -expected[2], atol=2e-3)


def test_landmarks_lie_on_the_photograph_to_half_a_pixel(face, folder):
    for sample in samples(folder, face):
        found, true = spots(torch.tensor(sample.image).permute(2, 0, 1) / 255), sample.placed().landmark_points()[list(SPOTS), :2]
        assert (found - true).norm(dim=-1).max() < 0.5, sample.name


@pytest.mark.parametrize("preset", ["lite", "paper"])
def test_landmarks_lie_on_the_crop_to_half_a_pixel(face, folder, preset):
    pairs = next(aflw2000(folder, face).batches(preset))
    for image, points in zip(pairs.images, pairs.landmarks, strict=True):
        assert (spots(image) - points[list(SPOTS), :2]).norm(dim=-1).max() < 0.5


def test_the_crop_follows_the_authors_rule(face, folder):
    pairs = next(aflw2000(folder, face).batches("paper"))
    low, high = pairs.landmarks[..., :2].amin(1), pairs.landmarks[..., :2].amax(1)
    torch.testing.assert_close((high - low).prod(-1).sqrt(), torch.full((4,), 90.0), atol=1e-2, rtol=0)
    torch.testing.assert_close((low + high) / 2, torch.full((4, 2), 96.0), atol=1e-2, rtol=0)


def test_angles_are_those_that_turn_the_head(face, folder):
    """In the authors' signs yaw and pitch are the other way round; for each angle alone, ours is the opposite."""
    pairs = next(aflw2000(folder, face).batches("tiny"))
    assert pairs.yaw.tolist()[0] == pytest.approx(0)
    for numbers, yaw, pitch in zip(POSES.values(), pairs.yaw, pairs.pitch, strict=True):
        _, (expected_yaw, expected_pitch, _) = fitted_camera(torch.tensor(numbers), 450)
        assert (float(yaw), float(pitch)) == (pytest.approx(float(expected_yaw)), pytest.approx(float(expected_pitch)))
    for place_of, sign in ((0, 1), (1, 0), (2, 2)):  # pitch, yaw, roll in the file; yaw, pitch, roll here
        numbers = torch.tensor(pose())
        numbers[place_of] = 0.5
        found = fitted_camera(numbers, 450)[1]
        assert float(found[sign]) == pytest.approx(-float(torch.tensor(0.5).rad2deg()), abs=1e-4)
        assert found.abs().sum() == pytest.approx(float(torch.tensor(0.5).rad2deg()), abs=1e-4)


def test_angles_of_a_rotation_and_back():
    angles = torch.tensor([[-80.0, 20, 35], [0, -60, -170], [89, 5, 3]])
    torch.testing.assert_close(angles_of(rotation_matrix(*angles.T)), angles, atol=1e-2, rtol=1e-4)


def test_frames_go_round(face, folder):
    """Photograph to model to voxels, and back: the crop's motion and the camera say the same, and the camera is `crop_camera`."""
    batch = list(samples(folder, face))
    pairs = paired(batch, face.interocular, PAPER)
    for index, sample in enumerate(batch):
        camera = pairs.camera.inverse()(pairs.truth.vertices)[index : index + 1]
        photo = sample.camera(camera)[0]
        torch.testing.assert_close(photo, sample.placed().vertices, atol=2e-2, rtol=0)
    angles = torch.stack([sample.angles for sample in batch], 1)
    points = torch.stack([sample.mesh.landmark_points() for sample in batch])
    torch.testing.assert_close(pairs.camera.rotation, crop_camera(points, *angles, face.interocular, PAPER).rotation)


def test_samples_have_the_record_of_rendered_ones(face, folder):
    pairs, made = next(aflw2000(folder, face).batches("tiny")), make_pairs(face, "tiny", 4, torch.Generator().manual_seed(0), poses=NO_JITTER)
    for name in ("images", "volumes", "landmarks", "mirrored", "yaw", "pitch"):
        ours, theirs = getattr(pairs, name), getattr(made, name)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), name
    assert pairs.truth.vertices.shape == made.truth.vertices.shape
    assert pairs.tags == ("a", "b", "c", "d")
    again = voxelize(pairs.truth.vertices, pairs.truth.solid_triangles(), PRESETS["tiny"].grid.shape, 1.5)
    assert torch.equal(again, pairs.volumes)
    torch.testing.assert_close(pairs.truth.landmark_points(), pairs.landmarks)


def test_the_oracle_reaches_the_grids_floor_and_the_mean_face_is_behind(face, folder):
    lite, pairs = PRESETS["lite"], next(aflw2000(folder, face).batches("lite"))
    oracle, mean = (scores_of(predictor, pairs) for predictor in (oracle_predictor(lite), mean_face_predictor(face, lite)))
    assert all(row["iou"] == 1 and row["nme"] < 0.025 for row in oracle)
    assert sum(row["nme"] for row in mean) > 1.2 * sum(row["nme"] for row in oracle)
    assert all(row["iou"] > 0.6 for row in mean)


def test_a_set_comes_in_batches_and_may_be_cut(face, folder):
    test = aflw2000(folder, face)
    assert test.size == 4 <= CHUNK
    short = list(test.first(3).batches("tiny"))
    assert [len(part) for part in short] == [3]
    assert torch.equal(short[0].images, next(test.batches("tiny")).images[:3])
    for n in (0, 5):
        with pytest.raises(InputError, match=f"AFLW2000-3D has 4 samples here, got n = {n}"):
            test.first(n)


def test_training_pairs_are_reproducible_and_jittered(face, folder):
    first, again, other = (pairs_from(folder, face, "tiny", 6, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.volumes, again.volumes)
    assert not torch.equal(first.images, other.images)
    low, high = first.landmarks[..., :2].amin(1), first.landmarks[..., :2].amax(1)
    assert ((low + high) / 2 - 16).abs().max() > 0.5


def test_photographs_come_in_a_finders_crops_too(face, folder):
    """Of 0.55 to 1.8 times the right size, as rendered faces do."""
    right, loose = (
        pairs_from(folder, face, "tiny", 12, torch.Generator().manual_seed(2), poses=poses) for poses in (NO_JITTER, PoseRange(loose=1, angle=0, mirror=0))
    )
    zoom = loose.camera.scale / right.camera.scale
    assert 0.55 - 1e-4 <= zoom.min() < 0.75
    assert 1.4 < zoom.max() <= 1.8 + 1e-4


def test_training_images_and_landmarks_move_together(face, folder):
    pairs = pairs_from(photographs(folder), face, "paper", 8, torch.Generator().manual_seed(3))
    assert 0 < pairs.mirrored.sum() < 8
    for image, points, mirrored in zip(pairs.images, pairs.landmarks, pairs.mirrored, strict=True):
        if bool((points[:, :2] > 4).all() and (points[:, :2] < 188).all()):
            shown = points[[45, 36, 8] if mirrored else list(SPOTS), :2]  # a mirrored face's corners are renumbered
            assert (spots(image) - shown).norm(dim=-1).max() < 0.75
    for index in range(8):
        mesh = pairs.mesh(index)
        torch.testing.assert_close(mesh.vertices[mesh.landmarks], pairs.landmarks[index])


def test_grey_photographs_and_any_size(face, tmp_path):
    write_photo(tmp_path, "grey", pose(x=60, y=70, scale=5e-4), size=(150, 120))
    Image.open(tmp_path / "grey.png").convert("L").save(tmp_path / "grey.png")
    image = next(aflw2000(tmp_path, face).batches("tiny")).images[0]
    assert image.shape == (3, 32, 32)
    assert torch.equal(image[0], image[1])


def test_folders_in_folders_are_found(face, tmp_path):
    for name in ("AFW", "HELEN"):
        write_photo(tmp_path / name, "x", pose())
    assert [path.parent.name for path in photographs(tmp_path)] == ["AFW", "HELEN"]


def refused(folder, face, *texts):
    with pytest.raises(InputError) as caught:
        list(aflw2000(folder, face).batches("tiny"))
    for text in texts:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def changed(folder, name, value):
    """A folder with one photograph, and one thing changed in its parameters; None removes it."""
    write_photo(folder, "face", pose())
    data = {key: array for key, array in loadmat(folder / "face.mat").items() if not key.startswith("__")}
    data.pop(name) if value is None else data.update({name: value})
    savemat(folder / "face.mat", data)
    return folder


def test_missing_folders_photographs_and_parameters(face, tmp_path):
    refused(tmp_path / "nowhere", face, "no such folder")
    refused(tmp_path, face, "no photographs (.jpg, .jpeg, .png) in")
    write_photo(tmp_path, "face", pose())
    (tmp_path / "face.mat").unlink()
    refused(tmp_path, face, "face.png has no face.mat beside it")
    (tmp_path / "face.mat").write_text("no MATLAB file")
    refused(tmp_path, face, "face.mat is not a MATLAB file that can be read")


def test_a_damaged_photograph(face, tmp_path):
    write_photo(tmp_path, "face", pose())
    (tmp_path / "face.png").write_text("no picture")
    refused(tmp_path, face, "face.png is not an image")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("Shape_Para", None, "has no Shape_Para"),
        ("Shape_Para", np.zeros((3, 1)), f"Shape_Para must hold {IDENTITIES} numbers, as the model has, got 3"),
        ("Exp_Para", np.full((EXPRESSIONS, 1), np.nan), "Exp_Para has values that are not finite"),
        ("Pose_Para", np.zeros((1, 6)), "Pose_Para must hold 7 numbers, as the model has, got 6"),
        ("Pose_Para", np.array([[*pose()[:6], -1e-3]]), "the scale in Pose_Para must be positive"),
        ("pt3d_68", np.zeros((2, 68)), "pt3d_68 must be [3, 68]"),
        ("pt3d_68", 450 * np.random.default_rng(0).uniform(size=(3, 68)), "the model's landmarks lie"),
        ("Shape_Para", np.full((IDENTITIES, 1), 1e8), "reaches behind its wall"),
    ],
)
def test_wrong_parameters_are_named_with_their_file(face, tmp_path, name, value, text):
    refused(changed(tmp_path, name, value), face, "face.mat", text)


# Folders with damage


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "basel")


def damaged(folder, count):
    """A folder of photographs, of which seven are damaged in seven ways; gives their names."""
    for number in range(count):
        write_photo(folder, f"{number:03d}", pose(yaw=number % 60), size=(260, 260))
    photo, numbers = (folder / "000.png").read_bytes(), loadmat(folder / "000.mat")
    numbers = {key: values for key, values in numbers.items() if not key.startswith("__")}
    names = [f"{count * k // 7:03d}" for k in range(7)]
    (folder / f"{names[0]}.mat").unlink()
    (folder / f"{names[1]}.png").write_bytes(b"")
    (folder / f"{names[2]}.png").write_text("no picture")
    (folder / f"{names[3]}.png").write_bytes(photo[: len(photo) // 2])
    (folder / f"{names[4]}.mat").write_text("no MATLAB file")
    savemat(folder / f"{names[5]}.mat", {"Shape_Para": numbers["Shape_Para"]})
    savemat(folder / f"{names[6]}.mat", numbers | {"Exp_Para": np.full_like(numbers["Exp_Para"], np.nan)})
    return names


def test_what_cannot_be_read_is_left_out_and_told(face, tmp_path):
    names = damaged(tmp_path, 21)
    test = aflw2000(tmp_path, face)
    assert sorted(Path(path).stem for path in test.left_out) == names
    assert [tag for pairs in test.batches("tiny") for tag in pairs.tags] == [f"{k:03d}" for k in range(21) if f"{k:03d}" not in names]
    kept = next(f"{k:03d}" for k in range(21) if f"{k:03d}" not in names)
    (tmp_path / f"{kept}.png").write_text("broken since")
    assert sum(len(pairs) for pairs in test.batches("tiny")) == 13
    assert str(tmp_path / f"{kept}.png") in test.left_out


def test_an_evaluation_is_told_of_damage_and_goes_on_where_it_was_killed(models, tmp_path, capsys, monkeypatch):
    """Killed after the first batch of two: what it measured stands in the file, and is not measured again."""
    names = damaged(tmp_path / "aflw", 30)
    network = tmp_path / "vrn.safetensors"
    save_weights(build("vrn", "tiny"), network)
    arguments = ["evaluate", network, "--protocol", "aflw2000", "--data", tmp_path / "aflw", "--basel", models, "--no-average"]

    def run(out):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in [*arguments, "--json", out]])
        return stopped.value.code, capsys.readouterr().err

    code, error = run(tmp_path / "whole.json")
    assert code == 1
    assert "7 files could not be read and were left out" in error
    assert all(f"{name}." in error for name in names)
    measured, real = [], evaluation.score

    def counting(answer, pairs, index, grid):
        measured.append(pairs.tags[index])
        return real(answer, pairs, index, grid)

    def killed(journal, rows, add=evaluation.Journal.add):
        add(journal, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "score", counting)
    with monkeypatch.context() as patch:
        patch.setattr(evaluation.Journal, "add", killed)
        assert run(tmp_path / "again.json")[0] == 130
    first = json.loads((tmp_path / "again.json").read_text())
    assert 0 < len(first) < len(json.loads((tmp_path / "whole.json").read_text()))
    assert run(tmp_path / "again.json")[0] == 1
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads((tmp_path / "whole.json").read_text())
    everything = len(json.loads((tmp_path / "whole.json").read_text()))
    assert everything <= len(measured) <= everything + 16 * 3  # a batch under way when it was killed is measured again
    save_weights(build("vrn", "tiny", 1), network)
    assert run(tmp_path / "again.json")[0] == 1
    assert len(measured) >= 2 * everything
