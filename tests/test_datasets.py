"""Real test sets through evaluations and the command line."""

import json
import os
from pathlib import Path

import pytest
import torch

import vrn_lite as vrn
from licensed import bald, pose, write_model, write_photo, write_ply
from vrn_lite.evaluation.evaluate import evaluate
from vrn_lite.evaluation.predictors import default_predictors, oracle_predictor
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.networks.base import build
from vrn_lite.presets import PRESETS


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Model, photographs and scans."""
    folder = tmp_path_factory.mktemp("data")
    write_model(folder / "basel")
    for number in range(3):
        write_photo(folder / "aflw", f"image{number:05d}", pose(yaw=30 * number, pitch=-10))
    write_ply(folder / "scans" / "subject_01.ply", bald.draw_identity(torch.Generator().manual_seed(4)) / 2)
    return folder


@pytest.fixture(scope="module")
def photos(data):
    return vrn.datasets.aflw2000(data / "aflw", vrn.faces.basel(data / "basel"))


def test_a_real_set_is_measured_like_a_rendered_one(photos):
    scores = evaluate(build("vrn", "tiny").eval(), photos)
    assert scores.predictors == ("vrn", "oracle", "mean face")
    frame = scores.of("oracle").frame
    assert set(zip(frame.protocol, frame.faces, strict=True)) == {("aflw2000", "AFLW2000-3D")}
    assert frame.tag.tolist() == ["image00000", "image00001", "image00002"]
    assert frame["sample"].tolist() == [0, 1, 2]
    assert (frame.iou == 1).all()


def test_samples_of_unequal_batches_are_numbered_through(data):
    """Fifteen poses a scan, whatever the size of a rendered set's batches."""
    write_ply(data / "two" / "a.ply")
    write_ply(data / "two" / "b.ply")
    frame = evaluate({"oracle": oracle_predictor(PRESETS["tiny"])}, vrn.datasets.florence(data / "two", procedural())).frame
    assert frame["sample"].tolist() == list(range(30))
    assert frame.yaw.tolist() == 6 * [-80, -40, 0, 40, 80]


def test_every_kind_of_network_is_measured_on_scans(data):
    networks = {name: build(name, "tiny").eval() for name in ("vrn", "guided", "unaligned")}
    test = vrn.datasets.florence(data / "scans", procedural()).first(4).seen_by(build("landmarks", "tiny").eval())
    scores = evaluate(default_predictors(networks, test), test)
    assert scores.frame.groupby("predictor").size().eq(4).all()
    assert len(scores.predictors) == 1 + 2 + 2 + 2
    assert set(scores.frame.faces) == {"Florence"}
    assert set(scores.frame.tag) == {"Neutral"}


def test_a_real_set_is_cut_at_n_and_refuses_more(photos):
    assert len(evaluate({"oracle": oracle_predictor(PRESETS["tiny"])}, photos.first(2)).frame) == 2
    with pytest.raises(InputError, match="AFLW2000-3D has 3 samples here, got n = 4"):
        photos.first(4)


def test_the_command_line_evaluates_photographs_end_to_end(run, data, tiny):
    code, out, _ = run("evaluate", tiny, "--protocol", "aflw2000", "--data", data / "aflw", "--basel", data / "basel", "--json", "found.json")
    assert code == 0
    assert "| aflw2000 | AFLW2000-3D |" in out
    found = json.loads(Path("found.json").read_text())
    assert [row["predictor"] for row in found] == 3 * [str(tiny)] + 3 * ["oracle"] + 3 * ["mean face"]
    assert max(row["nme"] for row in found[3:6]) < 0.06
    assert {row["tag"] for row in found} == {"image00000", "image00001", "image00002"}


def test_the_command_line_evaluates_scans_end_to_end(run, data, tiny):
    code, out, _ = run("evaluate", tiny, "--protocol", "florence", "--data", data / "scans", "--faces", "procedural", "--n", 2)
    assert code == 0
    assert "| florence | Florence |" in out


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--data", "aflw"], "--data is the set of one protocol: pass --protocol florence, bu4dfe or aflw2000, got heldout"),
        (["--data", "aflw", "--protocol", "aflw2000", "--protocol", "florence"], "--data is the set of one protocol"),
        (["--data", "aflw", "--protocol", "aflw2000"], "pass --basel with your copy of Model_Shape.mat"),
        (["--data", "nowhere", "--protocol", "aflw2000", "--basel", "basel"], "no such folder: "),
        (["--data", "aflw", "--protocol", "aflw2000", "--basel", "aflw"], "no Basel model at"),
        (["--data", "scans", "--protocol", "florence", "--basel", "basel"], "--basel and --mask belong to aflw2000, not to florence"),
        (["--data", "scans", "--protocol", "bu4dfe"], "its path must name its expression"),
        (["--basel", "basel"], "--basel and --mask tell about real data: pass --data too"),
        (["--data", "aflw", "--protocol", "aflw2000", "--basel", "basel", "--n", "9"], "AFLW2000-3D has 3 samples here, got n = 9"),
    ],
)
def test_what_a_user_got_wrong_is_one_line_and_exit_code_2(run, data, tiny, options, text):
    options = [data / word if word in ("aflw", "basel", "scans", "nowhere") else word for word in options]
    code, out, error = run("evaluate", tiny, *options)
    assert (code, out) == (2, "")
    assert text in error
    assert error.strip().splitlines()[-1].startswith("vrn-lite: ")
    assert os.listdir() == []


def test_a_sample_that_cannot_be_read_is_named(run, data, tiny, tmp_path):
    write_photo(tmp_path / "bad", "first", pose())
    write_photo(tmp_path / "bad", "second", pose())
    (tmp_path / "bad" / "second.mat").write_text("no MATLAB file")
    code, out, error = run("evaluate", tiny, "--protocol", "aflw2000", "--data", tmp_path / "bad", "--basel", data / "basel", "--json", "found.json")
    assert code == 1
    assert "| tiny" in out
    assert "second.mat is not a MATLAB file that can be read" in error
    assert os.listdir() == ["found.json"]
