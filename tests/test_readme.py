"""The README's numbers are the ones that were measured and stored."""

import json
from pathlib import Path

import pytest

from vrn_lite.training import shipped, weights_metadata

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MEASURED = json.loads((ROOT / "notebooks" / "measured.json").read_text())["notebooks"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")))
def test_minutes_and_memory_of_every_notebook_are_the_measured_ones(name):
    (row,) = [line for line in README.splitlines() if line.startswith("| [") and f"(notebooks/{name}.ipynb)" in line]
    assert f"| {MEASURED[name]['minutes']} min, {MEASURED[name]['peak_mib']} MiB |" in row
    assert MEASURED[name]["peak_mib"] < 1200


@pytest.mark.parametrize(("source", "title"), [("ict", "on ICT-FaceKit faces"), ("procedural", "on procedural faces")])
def test_results_are_those_that_the_shipped_weights_carry(source, title):
    results = weights_metadata(shipped()["vrn"])["heldout"][source]
    table = README.split(f"| {title}")[1].split("\n\n")[0].splitlines()[2:]
    for method, line in zip(("network", "mean face", "oracle"), table, strict=True):
        shown = [float(cell) for cell in line.strip("| ").split(" | ")[1:]]
        assert shown == pytest.approx([results[method][key] for key in ("iou", "iou_front", "nme", "nme_rigid")], abs=5.1e-4)


def test_bins_of_yaw_are_those_that_the_shipped_weights_carry():
    bins = weights_metadata(shipped()["vrn"])["heldout"]["ict"]["network"]["by_yaw"].values()
    for key in ("iou", "nme"):
        assert ", ".join(f"{values[key]:.3f}" for values in bins) in README
