"""Real test sets through evaluations and the command line."""

import json
import os
from pathlib import Path

import pytest
import torch

import vrn_lite as vrn
from licensed import bald, pose, write_model, write_photo, write_ply
from vrn_lite.datasets.real import RealSet, files_in
from vrn_lite.datasets.scans import levelled
from vrn_lite.evaluation.evaluate import compare, evaluate, summary
from vrn_lite.evaluation.testsets import florence
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.networks.base import build


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


def test_evaluate_takes_a_real_set_in_place_of_a_face_model(photos):
    table = evaluate(build("vrn", "tiny").eval(), photos)
    assert (table.source, table.protocol) == ("AFLW2000-3D", "aflw2000")
    assert table.methods == ("network", "oracle", "mean face")
    rows = table.of("oracle").rows
    assert [row.tag for row in rows] == ["image00000", "image00001", "image00002"]
    assert [row.sample for row in rows] == [0, 1, 2]
    assert all(row.iou == 1 for row in rows)


def test_samples_of_unequal_batches_are_numbered_through(data):
    """Fifteen poses a scan, whatever the size of a rendered set's batches."""
    write_ply(data / "two" / "a.ply")
    write_ply(data / "two" / "b.ply")
    table = evaluate(None, vrn.datasets.florence(data / "two", procedural()), preset="tiny")
    assert [row.sample for row in table.of("oracle").rows] == list(range(30))
    assert [row.yaw for row in table.of("oracle").rows] == 6 * [-80, -40, 0, 40, 80]


def test_compare_measures_every_kind_of_network_on_scans(data):
    networks = {name: build(name, "tiny").eval() for name in ("vrn", "guided", "unaligned")}
    test = vrn.datasets.florence(data / "scans", procedural())
    seen = []
    tables = compare(networks, test, detector=build("landmarks", "tiny").eval(), n=4, progress=lambda done, total: seen.append((done, total)))
    assert tables["guided"].methods == ("network", "true landmarks", "oracle", "mean face")
    assert tables["unaligned"].methods == ("network", "put back", "oracle", "mean face")
    assert seen[-1][0] == seen[-1][1] == 4 * (1 + 2 + 2 + 2)
    assert {line["faces"] for line in summary(tables)} == {"Florence"}
    assert all(row.tag == "Neutral" for row in tables["vrn"].rows)


def test_a_real_set_is_cut_at_n_and_refuses_more(photos):
    assert len(evaluate(None, photos, n=2, preset="tiny", bounds=True).of("oracle").rows) == 2
    with pytest.raises(InputError, match="AFLW2000-3D has 3 samples here, got n = 4"):
        evaluate(None, photos, n=4, preset="tiny")


def test_a_set_ends_where_it_is_cut():
    """Batches after the last sample are not made."""
    face, made = procedural(), []

    def batches(grid, seed):
        for start in range(3):
            made.append(start)
            yield next(florence(face, 5, seed, preset="tiny"))

    test = RealSet("florence", "toy", levelled(face), 15, batches)
    assert [len(part) for part in test(7, preset="tiny")] == [5, 2]
    assert made == [0, 1]
    assert sum(len(part) for part in test(preset="tiny")) == 15


def test_files_in_the_folder_itself_come_before_those_further_down(tmp_path):
    for name in ("b.PLY", "a.ply", "deep/c.ply", "deep/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in files_in(tmp_path, (".ply",), "scans")] == ["a.ply", "b.PLY"]
    assert [path.name for path in files_in(tmp_path, (".txt",), "notes")] == ["d.txt"]
    with pytest.raises(InputError, match=r"no meshes \(.obj\) in"):
        files_in(tmp_path, (".obj",), "meshes")


def test_the_command_line_evaluates_photographs_end_to_end(run, data, tiny):
    code, out, _ = run("evaluate", tiny, "--protocol", "aflw2000", "--data", data / "aflw", "--basel", data / "basel", "--json", "found.json")
    assert code == 0
    assert "| aflw2000 | AFLW2000-3D |" in out
    found = json.loads(Path("found.json").read_text())["aflw2000"][str(tiny)]
    assert found["methods"]["oracle"]["n"] == found["methods"]["network"]["n"] == 3
    assert found["methods"]["oracle"]["nme"] < 0.06
    assert {row["tag"] for row in found["rows"]} == {"image00000", "image00001", "image00002"}


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
    assert (code, out) == (2, "")
    assert "second.mat is not a MATLAB file that can be read" in error.strip().splitlines()[-1]
    assert os.listdir() == []
