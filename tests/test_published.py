"""Tables are the numbers they are made from, beside the paper's."""

import pandas as pd
import pytest

from vrn_lite.evaluation.evaluate import Scores, evaluate
from vrn_lite.evaluation.predictors import oracle_predictor
from vrn_lite.evaluation.testsets import florence
from vrn_lite.faces import procedural
from vrn_lite.presets import PRESETS
from vrn_lite.studies.published import METHODS, PAPER_SETS, paper_nme, spread_table, summary, table_1


@pytest.fixture(scope="module")
def face():
    return procedural()


def test_the_summary_sets_the_papers_number_beside_ours(face):
    bounds = evaluate({"oracle": oracle_predictor(PRESETS["tiny"])}, florence(face, 1)).frame
    names = ["oracle", "guided, detected landmarks", "guided, true landmarks"]
    scores = Scores(pd.concat([bounds.assign(predictor=name) for name in names]))
    head, rule, *rows = summary(scores).splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, *rows)]
    assert len({len(row) for row in cells}) == 1
    assert [row[-1] for row in cells] == ["paper's NME", "", "0.0509", ""]
    assert [row[0] for row in cells[1:]] == names
    assert cells[1][cells[0].index("IoU")] == "1.0000"


def test_the_papers_numbers_are_found_by_name():
    assert paper_nme("vrn", "aflw2000") == 0.0676
    assert paper_nme("eos, detected landmarks", "bu4dfe", rigid=True) == 0.1456
    assert paper_nme("parameters", "florence") == 0.0975
    assert paper_nme("vertices", "florence") is None
    assert paper_nme("vrn", "heldout") is None


def test_spreads_are_taken_over_what_the_keys_leave_open():
    lines = [{"method": "a", "seed": 0, "nme": 0.1}, {"method": "b", "seed": 0, "nme": 0.5}, {"method": "a", "seed": 1, "nme": 0.3}]
    assert spread_table(lines, ["method"], {"nme": "NME"}).splitlines() == ["| method | NME |", "|---|---|", "| a | 0.200 ± 0.141 |", "| b | 0.500 |"]


def test_table_1_has_the_papers_numbers_in_brackets():
    methods = [(row.model, row.method) for row in METHODS.values()]
    lines = [{"model": a, "method": b, "protocol": p, "faces": "ict", "nme": 0.1, "nme_depth_aligned": 0.2} for a, b in methods for p in PAPER_SETS]
    rows = {row.split(" | ")[0].strip("| "): row for row in table_1(lines, "ict").splitlines()[2:]}
    assert rows["VRN"] == "| VRN | 0.100 (0.057) | 0.100 (0.060) | 0.100 (0.068) |"
    assert rows["true volume"] == "| true volume | 0.100 | 0.100 | 0.100 |"
    assert "(" not in table_1(lines, "ict", "nme_depth_aligned").split("VRN |")[1].splitlines()[0]
