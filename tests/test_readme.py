"""The README's numbers are the ones that were measured and stored."""

import json
from pathlib import Path

import pytest

from vrn_lite.networks.weights import shipped, weights_metadata
from vrn_lite.studies.published import results, spread_table, table_1

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MEASURED = json.loads((ROOT / "notebooks" / "measured.json").read_text())["notebooks"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")))
def test_minutes_and_memory_of_every_notebook_are_the_measured_ones(name):
    (row,) = [line for line in README.splitlines() if line.startswith("| [") and f"(notebooks/{name}.ipynb)" in line]
    assert f"| {MEASURED[name]['minutes']} min, {MEASURED[name]['peak_mib']} MiB |" in row


ROWS = {
    "VRN-Guided, detected landmarks": ("guided", "network"),
    "VRN-Guided, true landmarks": ("guided", "true landmarks"),
    "VRN-Multitask": ("multitask", "network"),
    "VRN": ("vrn", "network"),
    "VRN-Guided with sigma 2, detected landmarks": ("guided_sigma2", "network"),
    "VRN without alignment, in a frontal frame": ("unaligned", "network"),
    "VRN without alignment, put back with the true pose": ("unaligned", "put back"),
    "mean face, placed with the true pose and scale": ("guided", "mean face"),
    "true volume (the floor that the grid sets)": ("guided", "oracle"),
}
"""Rows of the table of results: the weights and the way of using them."""

SCORES = ("iou", "iou_front", "nme", "nme_rigid", "landmark_nme")


def table(title: str) -> dict[str, list[str]]:
    """Cells of a table by the first of each row."""
    lines = README.split(f"| {title} |")[1].split("\n\n")[0].splitlines()[2:]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines)}


def same(cells: list[str], results: dict[str, float], scores: tuple[str, ...]) -> bool:
    shown = {name: float(cell) for name, cell in zip(scores, cells, strict=True) if cell}
    return all(results[name] == pytest.approx(value, abs=5.1e-4) for name, value in shown.items()) and len(shown) > 0


@pytest.mark.parametrize("label", ROWS)
def test_results_are_those_that_the_shipped_weights_carry(label):
    weights, method = ROWS[label]
    results = weights_metadata(shipped()[weights])["heldout"]["ict"][method]
    assert same(table("on ICT-FaceKit faces")[label], results, SCORES)


def test_the_table_of_results_has_no_other_rows():
    assert table("on ICT-FaceKit faces").keys() == ROWS.keys()


def test_bins_of_yaw_are_those_that_the_shipped_weights_carry():
    bins = weights_metadata(shipped()["guided"])["heldout"]["ict"]["network"]["by_yaw"].values()
    for key in ("iou", "nme"):
        assert ", ".join(f"{values[key]:.3f}" for values in bins) in README


def test_results_from_scratch_are_the_measured_ones():
    measured = json.loads((ROOT / "notebooks" / "measured.json").read_text())["from_scratch"]
    rows = table("from scratch, preset lite")
    assert rows.keys() == measured["results"].keys()
    for label, cells in rows.items():
        assert same(cells, measured["results"][label], SCORES)
    assert f"{measured['samples']:,} samples each" in README


def test_table_1_is_the_published_one():
    lines = results()["shipped_table"]
    assert table_1(lines, "ict") in README
    assert table_1(lines, "procedural", "nme_depth_aligned") in README
    scratch = results()["scratch_table"]
    assert table_1(scratch, "ict") in README
    assert table_1(scratch, "procedural", "nme_depth_aligned") in README
    assert f"{results()['study']['longer']:,} samples each" in README


def test_ablations_are_the_published_ones():
    ours = results()
    assert spread_table(ours["alignment"], ["method"], {"nme": "NME", "nme_rigid": "NME after rigid alignment", "iou": "IoU"}) in README
    told = [line for line in ours["gaussians"] if line["landmarks"] in ("true", "detected", "4 px", "10 px")]
    assert spread_table(told, ["sigma", "landmarks"], {"nme": "NME", "iou": "IoU"}) in README
