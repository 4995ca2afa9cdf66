"""The command line: what it writes, and one line with exit code 2 for what a user got wrong."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
import trimesh
from PIL import Image
from safetensors.torch import save_file

from vrn_lite.networks.base import build
from vrn_lite.networks.vrn import VRN
from vrn_lite.networks.weights import load, save_weights, shipped, weights_metadata
from vrn_lite.photo import reconstruct as photo
from vrn_lite.photo.finder import Found
from vrn_lite.presets import preset
from vrn_lite.training.log import rows


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


def refused(result, *texts):
    """Exit code 2, one line on standard error with these texts, nothing on standard output, nothing written."""
    code, out, error = result
    assert (code, out) == (2, "")
    assert error.count("\n") == 1
    assert error.startswith("vrn-lite: ")
    for text in texts:
        assert text in error
    assert os.listdir() == []


def test_missing_photograph(run, tiny):
    refused(run("reconstruct", "nowhere.jpg", "--model", tiny), "no such photograph: nowhere.jpg")


def test_folder_without_photographs(run, tiny):
    refused(run("reconstruct", ".", "--model", tiny), "there is no photograph in the folder .")


def test_text_named_jpg(run, tiny, tmp_path):
    (tmp_path / "text.jpg").write_text("This is no photograph.\n" * 9)
    refused(run("reconstruct", tmp_path / "text.jpg", "--model", tiny), "text.jpg is not an image", "save it as JPEG, PNG or WebP")


def test_empty_file(run, tiny, tmp_path):
    (tmp_path / "empty.jpg").touch()
    refused(run("reconstruct", tmp_path / "empty.jpg", "--model", tiny), "empty.jpg is empty")


def test_five_by_five(run, tiny, tmp_path):
    Image.new("RGB", (5, 5)).save(tmp_path / "small.png")
    refused(run("reconstruct", tmp_path / "small.png", "--model", tiny), "5 x 5 pixels", "at least 32 x 32")


def test_large_photograph_without_a_face(run, tiny, tmp_path):
    Image.new("L", (12_000, 9_000), 130).save(tmp_path / "large.png")
    refused(run("reconstruct", tmp_path / "large.png", "--model", tiny), "no face found in", "pass --box X0 Y0 X1 Y1")


def test_no_face(run, tiny, tmp_path):
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "coffee.png")
    refused(run("reconstruct", tmp_path / "coffee.png", "--model", tiny), "no face found in", "coffee.png: pass --box X0 Y0 X1 Y1")


@pytest.mark.parametrize("box", ["9000 9000 9100 9100", "100 100 90 90", "nan 0 10 10", "-90 -90 -10 -10"])
def test_box_outside_or_empty(run, tiny, astronaut, box):
    refused(run("reconstruct", astronaut, "--model", tiny, "--box", *box.split()), "box")


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_output_folder_that_cannot_be_written(run, tiny, astronaut, tmp_path, folder):
    (tmp_path / "file").touch()
    box = ("--box", 176, 87, 269, 179)
    refused(run("reconstruct", astronaut, "--model", tiny, "--out", tmp_path / folder, *box), "cannot write", "choose another folder")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write everywhere")
def test_read_only_folder(run, tiny, astronaut, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    box = ("--box", 176, 87, 269, 179)
    refused(run("reconstruct", astronaut, "--model", tiny, "--out", tmp_path / "locked", *box), "cannot write", "Permission denied")


def test_truncated_weights(run, tiny, astronaut, tmp_path):
    for length in (0, 7, 900, tiny.stat().st_size - 1):
        (tmp_path / "cut.safetensors").write_bytes(tiny.read_bytes()[:length])
        refused(run("reconstruct", astronaut, "--model", tmp_path / "cut.safetensors"), "cannot read the weights", "cut.safetensors")


def test_weights_of_another_preset(run, astronaut, tmp_path):
    metadata = {"variant": "vrn", "preset": json.dumps(preset("lite").to_dict())}
    save_file(build("vrn", "tiny").state_dict(), tmp_path / "other.safetensors", metadata)
    refused(run("reconstruct", astronaut, "--model", tmp_path / "other.safetensors"), "do not fit", "'lite'")


def test_unknown_model(run, astronaut):
    refused(run("reconstruct", astronaut, "--model", "nothing"), "no weights 'nothing'", "choose one of")


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """Weights of untrained tiny networks, by variant."""
    folder = tmp_path_factory.mktemp("variants")
    for name in ("guided", "landmarks", "unaligned"):
        save_weights(build(name, "tiny"), folder / f"{name}.safetensors")
    return {path.stem: path for path in folder.iterdir()}


def test_a_landmark_network_is_no_model_and_a_volume_network_no_detector(run, astronaut, tiny, variants):
    refused(run("reconstruct", astronaut, "--model", variants["landmarks"]), "finds landmarks and no volume")
    refused(run("reconstruct", astronaut, "--model", variants["guided"], "--detector", tiny), "finds no landmarks", "choose landmarks or multitask")


def test_guided_without_a_detector_is_refused_where_none_ships(run, astronaut, variants, monkeypatch):
    monkeypatch.setattr(photo, "shipped", dict)
    refused(run("reconstruct", astronaut, "--model", variants["guided"]), "a guided network needs landmarks")


def test_guided_reconstructs_with_a_detector(run, astronaut, variants):
    box = ("--box", 176, 87, 269, 179)
    code, out, error = run("reconstruct", astronaut, "--model", variants["guided"], "--detector", variants["landmarks"], *box)
    assert (code, len(out.splitlines())) == (0, 4)
    assert re.fullmatch(r".*astronaut\.png: face at \d+ \d+ \d+ \d+, in astronaut\.\*\n", error)


def test_evaluate_prints_one_table_for_all(run, tiny, variants):
    guided, landmarks, unaligned = (str(variants[name]) for name in ("guided", "landmarks", "unaligned"))
    models = (guided, landmarks, unaligned, str(tiny))
    code, out, error = run("evaluate", *models, "--detector", landmarks, "--faces", "procedural", "--n", 1, "--json", "a.json")
    assert (code, error) == (0, "")
    head, rule, *lines = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in out.splitlines())
    assert head[:5] == ["predictor", "protocol", "faces", "preset", "n"]
    assert head[-1] == "paper's NME"
    assert rule == ["---"] * len(head)
    names = [f"{guided}, detected landmarks", f"{guided}, true landmarks", landmarks, f"{unaligned}, frontal frame", f"{unaligned}, true pose", str(tiny)]
    assert [line[0] for line in lines] == [*names, "oracle", "mean face"]
    assert lines[2][5:10] == [""] * 5
    assert lines[-2][5] == "1.0000"
    with open("a.json") as file:
        stored = {row["predictor"]: row for row in json.load(file)}
    assert list(stored) == [*names, "oracle", "mean face"]
    assert f"{stored[str(tiny)]['nme']:.4f}" == lines[5][7]


def test_evaluate_takes_several_protocols_and_sets_the_papers_numbers_beside(run, tmp_path):
    code, out, error = run("evaluate", "vrn", "--protocol", "florence", "--protocol", "expressions", "--faces", "procedural", "--n", 1, "--no-average")
    assert (code, error) == (0, "")
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in out.splitlines()[2:]]
    assert [(row[0], row[1]) for row in rows if row[0] == "vrn"] == [("vrn", "florence"), ("vrn", "expressions")]
    assert [row[-1] for row in rows if row[0] == "vrn"] == ["0.0568", ""]


def test_evaluate_asks_as_it_is_told(run, tiny):
    """Seed, number of faces and the average over copies each change the numbers."""
    told = {"": (), "seed": ("--seed", 3), "once": ("--no-average",), "n": ("--n", 2)}
    found = {name: run("evaluate", tiny, "--faces", "procedural", "--n", 1, *options)[1] for name, options in told.items()}
    assert len(set(found.values())) == len(told)


def test_reproduce_goes_on_where_it_was(run, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "vrn_lite.studies.reproduce.PARTS", {"surfaces": lambda lab: asked.append(lab.study) or [{"nme": 0.5}], "crops": lambda lab: asked.append(lab.study)}
    )
    options = ("--preset", "tiny", "--samples", 32, "--longer", 48, "--faces", "procedural", "--n", 16, "--out", "lab")
    for _ in range(2):
        code, out, _ = run("reproduce", *options, "--part", "surfaces")
        assert (code, out.strip()) == (0, "lab/results.json")
    assert len(asked) == 1
    assert (asked[0].preset, asked[0].samples, asked[0].longer, asked[0].seeds, asked[0].faces) == ("tiny", 32, 48, (0, 1, 2), 16)
    with open("lab/results.json") as file:
        assert json.load(file)["surfaces"] == [{"nme": 0.5}]
    code, _, error = run("reproduce", *options, "--part", "surfaces", "--publish")
    assert code == 2
    assert "lacks crops" in error


@pytest.mark.parametrize(
    "arguments", [("reconstruct", "--box", "1", "2"), ("frobnicate",), ("train", "--preset"), ("reconstruct", "--nonsense"), ("bench", "--repeats", "0")]
)
def test_wrong_command_lines(run, arguments):
    refused(run(*arguments), "see vrn-lite --help")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("train", "nonsense"), "unknown variant 'nonsense'"),
        (("train", "vrn", "--preset", "huge"), "unknown preset 'huge'"),
        (("train", "vrn", "--faces", "cats"), "unknown faces 'cats'"),
        (("evaluate", "--protocol", "moon"), "unknown protocol 'moon'"),
        (("evaluate", "nothing"), "no weights 'nothing'"),
        (("reconstruct", "--model", "parameters"), "no volume: choose vrn, multitask or guided"),
        (("reconstruct", "--model", "vertices"), "no volume: choose vrn, multitask or guided"),
        (("reproduce", "--preset", "moon", "--faces", "procedural"), "unknown preset 'moon'"),
        (("reproduce", "--part", "moon", "--faces", "procedural"), "unknown part 'moon'"),
        (("fetch", "moon"), "unknown source 'moon'"),
    ],
)
def test_wrong_names(run, arguments, text):
    code, _, error = run(*arguments)
    assert code == 2
    assert text in error
    assert error.count("\n") == 1


def test_fetch_names_the_file_that_is_there_already(run, tmp_path, monkeypatch):
    monkeypatch.setenv("VRN_LITE_SKINS", str(tmp_path))
    (tmp_path / "makehuman_skins.npz").write_bytes(b"")
    assert run("fetch", "skins") == (0, f"{tmp_path / 'makehuman_skins.npz'}\n", "")


class Cheek:
    """A finder that knows where the astronaut's face is, and sees two."""

    def find(self, image):
        return [Found((176, 87, 269, 179), 0.9), Found((180, 90, 220, 130), 0.6)]


def test_one_bad_photograph_does_not_stop_the_others(run, tiny, astronaut, monkeypatch):
    monkeypatch.setattr(photo, "finder_named", lambda _: Cheek())
    code, out, error = run("reconstruct", "nowhere.jpg", astronaut, "--model", tiny)
    assert code == 1
    first, second, third = error.splitlines()
    assert first == "vrn-lite: no such photograph: nowhere.jpg"
    assert re.fullmatch(r".*astronaut\.png: face at \d+ \d+ \d+ \d+, confidence 0\.\d\d, in astronaut\.\*", second)
    assert third == "2 photographs: 1 faces found; 0 without a face, 1 unreadable"
    assert sorted(os.listdir("out")) == [f"astronaut.{suffix}" for suffix in ("glb", "html", "obj", "ply")]
    assert len(out.splitlines()) == 4


def test_names_are_told_apart_and_all_faces_written(run, tiny, astronaut, tmp_path, monkeypatch):
    monkeypatch.setattr(photo, "finder_named", lambda _: Cheek())
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "Astronaut.png").write_bytes(astronaut.read_bytes())
    arguments = ("--model", tiny, "--faces", "all", "--force", "--format", "stl,depth")
    code, out, error = run("reconstruct", astronaut, tmp_path / "more", *arguments)
    assert code == 0
    assert error.splitlines()[-1] == "2 photographs: 4 faces found; 0 without a face, 0 unreadable"
    stems = ("astronaut", "astronaut-2", "Astronaut-3", "Astronaut-4")
    written = [f"{stem}.{ending}" for stem in stems for ending in ("stl", "depth.png", "depth.npy")]
    assert [Path(line).name for line in out.splitlines()] == written
    assert sorted(os.listdir("out")) == sorted(written)


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [("--format", "glb,jpg", "unknown format 'jpg'"), ("--units", "feet", "unknown units"), ("--faces", "some", "unknown faces")],
)
def test_wrong_choices_are_refused(run, tiny, astronaut, option, value, text):
    refused(run("reconstruct", astronaut, "--model", tiny, option, value), text)


def test_no_argument_turns_the_astronaut_into_a_face(run):
    began = time.process_time()
    code, out, error = run("reconstruct", "--units", "pixels")
    assert time.process_time() - began < 60
    assert code == 0
    assert re.fullmatch(r"astronaut: face at \d+ \d+ \d+ \d+, confidence [\d.]+, in astronaut\.\*\n", error)
    assert [line.replace(os.sep, "/") for line in out.splitlines()] == [f"out/astronaut.{suffix}" for suffix in ("obj", "ply", "glb", "html")]
    meshes = [trimesh.load(f"out/astronaut.{suffix}", process=False, force="mesh") for suffix in ("obj", "ply", "glb")]
    for mesh in meshes:
        assert mesh.is_watertight
        assert len(mesh.vertices) == len(meshes[0].vertices) > 5000
        x, y, z = mesh.vertices.T
        assert abs((x.min() + x.max()) / 2 - 223) < 20  # over the astronaut's face
        assert abs((y.min() + y.max()) / 2 + 130) < 30
        assert 80 < np.ptp(x) < 200
        nose = mesh.vertices[z.argmax()]  # the nearest point to the viewer
        assert abs(nose[0] - 223) < 35
        assert abs(nose[1] + 135) < 45


def test_shipped_weights_work_one_image_at_a_time():
    network = load("vrn")
    assert isinstance(network, VRN)
    assert not network.training
    assert torch.isfinite(network(torch.rand(1, 3, network.preset.grid.height, network.preset.grid.width))).all()


def test_models_tells_what_the_weights_say(run):
    code, out, error = run("models")
    assert (code, error) == (0, "")
    for name in shipped():
        assert f"{name}: " in out
    for key in ("preset", "data", "seed", "samples"):
        assert key in out


def test_preview_draws_24_faces(run):
    code, out, error = run("preview", "--out", "new/sheet.png")
    assert (code, error, out.strip().replace(os.sep, "/")) == (0, "", "new/sheet.png")
    with Image.open("new/sheet.png") as sheet:
        assert min(sheet.size) > 400
        assert len(np.unique(np.asarray(sheet.convert("RGB")).reshape(-1, 3), axis=0)) > 1000


def test_train_with_a_clock_says_how_many_samples_it_saw(run):
    code, out, _ = run("train", "vrn", "--preset", "tiny", "--minutes", 0.05, "--reuse", 2, "--batch", 4, "--faces", "procedural", "--resume", "new")
    facts = weights_metadata(out.strip())
    assert code == 0
    assert facts["samples"] >= 4
    assert facts["samples"] % 4 == 0


def test_train_writes_weights_that_reconstruct_takes(run, astronaut):
    code, out, _ = run("train", "vrn", "--preset", "tiny", "--samples", 8, "--batch", 4, "--faces", "procedural", "--resume", "new")
    assert code == 0
    assert set(os.listdir("new")) == {"checkpoint.pt", "log.csv", "vrn.safetensors"}
    assert load(out.strip()).preset.name == "tiny"
    assert run("evaluate", out.strip(), "--n", 2, "--faces", "procedural", "--json", "new/a.json")[0] == 0
    with open("new/a.json") as file:
        assert json.load(file)


def test_several_variants_are_trained_in_turn_and_share_the_minutes(run):
    """The guided network is guided by the landmark network before it; each has a folder, and the files are small."""
    options = ("--preset", "tiny", "--batch", 2, "--faces", "procedural", "--resume", "new", "--no-checkpoint")
    code, out, error = run("train", "landmarks", "guided", "vrn", "--minutes", 0.06, *options)
    assert code == 0, error
    chosen = ("landmarks", "guided", "vrn")
    assert [line.replace(os.sep, "/") for line in out.split()] == [f"new/{name}/{name}.safetensors" for name in chosen]
    for name in chosen:
        assert set(os.listdir(f"new/{name}")) == {"log.csv", f"{name}.safetensors"}
        assert load(f"new/{name}/{name}.safetensors").variant == name
        assert rows(f"new/{name}/log.csv")[-1]["seconds"] >= 1.2
        assert re.search(rf"{name}: [\d,]+ samples, [\d.]+ a second; seconds a step: pairs [\d.]+, step [\d.]+", error)


def test_a_guided_network_is_guided_by_the_landmark_network_before_it_or_the_detector_named(run, monkeypatch, variants):
    seen = []

    def watched(network, data, *, detector=None, **options):
        seen.append((network.variant, detector and detector.variant, detector is not None and not detector.training))
        return iter(())

    monkeypatch.setattr("vrn_lite.training.loop.train", watched)
    options = ("--preset", "tiny", "--faces", "procedural", "--samples", 4, "--no-checkpoint")
    assert run("train", "guided", "landmarks", "guided_sigma2", "vrn", *options)[0] == 0
    assert seen == [("guided", None, False), ("landmarks", None, False), ("guided_sigma2", "landmarks", True), ("vrn", None, False)]
    seen.clear()
    assert run("train", "landmarks", "guided", "--detector", variants["landmarks"], *options)[0] == 0
    assert seen == [("landmarks", None, False), ("guided", "landmarks", True)]
    code, _, error = run("train", "guided", "--detector", variants["unaligned"], *options)
    assert code == 2
    assert "'unaligned' network finds no landmarks" in error
    code, _, error = run("train", "vrn", "vrn", *options)
    assert code == 2
    assert "a variant is named twice: vrn, vrn" in error


def test_train_starts_from_weights_that_fit(run, tiny):
    options = ("--preset", "tiny", "--faces", "procedural", "--samples", 2, "--batch", 2, "--no-checkpoint", "--resume", "new")
    code, _, error = run("train", "vrn", "--start", tiny, *options)
    assert code == 0
    assert re.search(r"vrn: (\d+) of \1 tensors taken from ", error)
    code, _, error = run("train", "multitask", "--start", tiny, *options)
    taken = re.search(r"multitask: (\d+) of (\d+) tensors taken from ", error)
    assert 0 < int(taken[1]) < int(taken[2])
    code, _, error = run("train", "guided", "--start", "nothing", *options)
    assert code == 2
    assert "no weights 'nothing'" in error


def test_every_option_of_train_reaches_the_training(run, monkeypatch):
    told = {}

    def watched(network, data, **options):
        told.update(options, preset=network.preset.name)
        return iter(())

    monkeypatch.setattr("vrn_lite.training.loop.train", watched)
    given = {"samples": 6, "minutes": 3.0, "reuse": 2, "batch": 5, "seed": 7, "optim": "paper", "save_every": 9.0}
    options = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    assert run("train", "vrn", "--preset", "tiny", "--faces", "procedural", "--compile", "--resume", "here", *options)[0] == 0
    assert told == given | {"compile": True, "preset": "tiny", "folder": Path("here")}


def test_help_is_quick_because_it_loads_no_network():
    code = "import sys\nfrom vrn_lite.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "reconstruct" in done.stdout
