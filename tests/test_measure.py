"""Memory and minutes of notebooks: the measure sees what is used, the numbers are whole and within the limit, and the heaviest steps stay small."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks"))
import measure

from vrn_lite.memory import trim_malloc

ROOT = measure.FOLDER.parent
MEASURED = json.loads(measure.TARGET.read_text(encoding="utf-8"))
NOTEBOOKS = [path.stem for path in measure.chosen([])]

MOST_MIB = 1_144
"""What a notebook may take: 1.2 GB, where Binder lends 2 GB to it and to the server beside it."""


def used_by(*codes, profile="ci"):
    """What has been used after each of some cells."""
    seen = []
    measure.run([(f"cell-{number}", code) for number, code in enumerate(codes)], ROOT / "notebooks", profile, lambda _, used: seen.append(used))
    return seen


def test_the_memory_of_a_known_array_is_seen_also_when_it_is_gone():
    before, held, gone = used_by("import numpy", "numpy.ones(200 * 2**20, numpy.uint8).sum()", "pass")
    assert 195 < held.peak_mib - before.peak_mib < 215
    assert gone.peak_mib == held.peak_mib


def test_time_is_cpu_time_and_not_the_clocks():
    start, worked, slept = used_by("import time", "end = time.process_time() + 0.6\nwhile time.process_time() < end: pass", "time.sleep(2)")
    assert 0.5 < worked.cpu_seconds - start.cpu_seconds < 1.5
    assert slept.cpu_seconds - worked.cpu_seconds < 0.5


def test_notebooks_run_with_one_thread_in_their_profile():
    used_by("import os, torch", "assert torch.get_num_threads() == 1", "assert os.environ['VRN_LITE_PROFILE'] == 'cpu'", profile="cpu")


def test_a_cell_that_fails_is_named():
    with pytest.raises(RuntimeError, match="cell 'cell-1' failed: ZeroDivisionError"):
        used_by("pass", "1 / 0", "pass")


def test_only_code_cells_are_run(tmp_path):
    cells = [{"cell_type": "markdown", "id": "a", "source": ["# x"]}, {"cell_type": "code", "id": "b", "source": ["x = 1\n", "x"]}]
    (tmp_path / "00_x.ipynb").write_text(json.dumps({"cells": cells}))
    assert measure.code_of(tmp_path / "00_x.ipynb") == [("b", "x = 1\nx")]
    line = measure.measured(tmp_path / "00_x.ipynb", "ci")
    assert 10 < line["peak_mib"] < 300
    assert line["wall_minutes"] >= 0
    assert line["faces"] in ("ict", "procedural")


def test_a_line_is_replaced_and_the_others_stay(tmp_path):
    target = tmp_path / "measured.json"
    target.write_text(json.dumps({"profile": "old", "notebooks": {"00_a": {"minutes": 1}, "01_b": {"minutes": 2}}, "from_scratch": {"n": 3}}))
    measure.noted(target, "cpu", "00_a", {"minutes": 5})
    after = json.loads(target.read_text())
    assert after["notebooks"] == {"00_a": {"minutes": 5}, "01_b": {"minutes": 2}}
    assert after["from_scratch"] == {"n": 3}
    assert after["profile"] == "cpu"
    assert os.listdir(tmp_path) == ["measured.json"]


def test_unknown_notebooks_are_refused():
    with pytest.raises(SystemExit, match="no notebook begins with 99"):
        measure.chosen(["00", "99"])


def test_every_notebook_has_been_measured_and_nothing_else():
    assert list(MEASURED["notebooks"]) == NOTEBOOKS
    assert MEASURED["profile"] == "cpu"
    assert MEASURED["threads"] == 1


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_measured_memory_is_below_the_limit(name):
    line = MEASURED["notebooks"][name]
    assert 200 < line["peak_mib"] < MOST_MIB
    assert line["minutes"] > 0


TRAIN = """
from vrn_lite.samples import MILD_JITTER
from vrn_lite.networks.base import build
for record in vrn.train(build("multitask", "lite", seed=0), face, samples=64, batch=16, poses=MILD_JITTER): pass
"""
EVALUATE = "vrn.evaluate('multitask', vrn.heldout(face, 16))"


def test_training_and_evaluation_of_the_heaviest_kind_stay_small():
    """The notebooks' largest training, and an evaluation of shipped weights at 128 pixels, each on top of what is loaded."""
    start = "import torch, vrn_lite as vrn\nfrom vrn_lite import viz\nfrom vrn_lite.viz import widgets\nface = vrn.faces.procedural()"
    for heavy, most_mib in ((TRAIN, 620), (EVALUATE, 400)):
        ready, done = used_by(start, heavy)
        assert done.peak_mib - ready.peak_mib < most_mib


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_free_memory_is_given_back():
    blocks = [torch.ones(2**18) for _ in range(200)]  # 1 MiB each, of which every second one stays
    kept = blocks[::2]
    del blocks
    held = measure.usage(os.getpid()).resident_mib
    trim_malloc()
    assert held - measure.usage(os.getpid()).resident_mib > 50
    assert all(bool((block == 1).all()) for block in kept)
