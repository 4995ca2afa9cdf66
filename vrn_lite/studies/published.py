"""The published numbers, ours and the paper's, and how they are written as tables.

`results/results.json` is made by `reproduce`, `results/paper.json` holds what the paper reports, with its source.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from vrn_lite.studies.ablations import spread

RESULTS = files("vrn_lite") / "results"
"""Where the published numbers are: `results.json` (ours), `paper.json` (the paper's, with their source)."""

PAPER_NAMES = {
    "vrn": "VRN",
    "multitask": "VRN-Multitask",
    "guided": "VRN-Guided",
    "unaligned": "VRN without alignment",
    "parameters": "3DDFA-like",
    "vertices": "vertex regression",
    "eos": "EOS",
}
"""What the methods are called in tables."""

PAPER_SETS = {"florence": "Florence", "bu4dfe": "BU-4DFE", "aflw2000": "AFLW2000-3D"}
"""What the protocols are called in the paper."""

PROTOCOLS = ("florence", "bu4dfe", "aflw2000")
"""The protocols of the paper's table 1."""


def results(name: str = "results") -> dict[str, Any]:
    """The published numbers: "results", our own, or "paper", those of the paper."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def paper_nme(model: str, protocol: str, rigid: bool = False) -> float | None:
    """The paper's number for a method on a protocol, where it has one; rigid: the supplement's, after rigid alignment."""
    table = results("paper")["nme_after_rigid_icp_alignment" if rigid else "nme"]
    return table.get(PAPER_SETS.get(protocol, ""), {}).get(PAPER_NAMES.get(model, "").removesuffix("-like"))


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of `protocols.summary`'s lines, with the paper's NME where the line has a counterpart there."""
    columns = {"iou": "IoU", "iou_front": "IoU front", "nme": "NME", "nme_rigid": "NME rigid", "nme_levelled": "NME levelled", "landmark_nme": "landmark NME"}
    heads = ["model", "protocol", "faces", "landmarks", "n", *columns.values(), "paper's NME"]
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for line in lines:
        numbers = ["" if line[key] != line[key] else f"{line[key]:.4f}" for key in columns]  # NaN, the only number unlike itself: has none
        paper = None if line["landmarks"] == "true" else paper_nme(line["model"], line["protocol"])
        cells = [line["model"], line["protocol"], line["faces"], line["landmarks"], str(line["n"]), *numbers, "" if paper is None else f"{paper:.4f}"]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


METHODS = (
    ("VRN-Guided, detected landmarks", "guided", "network"),
    ("VRN-Guided, true landmarks", "guided", "true landmarks"),
    ("VRN-Multitask", "multitask", "network"),
    ("VRN", "vrn", "network"),
    ("VRN without alignment, put back with the true pose", "unaligned", "put back"),
    ("3DDFA-like regression of parameters", "parameters", "network"),
    ("direct regression of vertices", "vertices", "network"),
    ("EOS, detected landmarks", "eos", "network"),
    ("EOS, true landmarks", "eos, true landmarks", "network"),
    ("mean face, told the true pose", "vrn", "mean face"),
    ("true volume", "vrn", "oracle"),
)
"""Rows of table 1: what they are called, model and method."""


def table_1(lines: Sequence[Mapping[str, Any]], faces: str, score: str = "nme") -> str:
    """The paper's table 1 in Markdown, from the lines of a table part: one row a method that they have, ours and, in brackets, the paper's.

    Parameters
    ----------
    faces : the source of the test faces.
    score : "nme", "nme_rigid" or "nme_levelled"; the paper's numbers stand beside the first two alone.
    """
    found = {(line["model"], line["method"], line["protocol"]): line[score] for line in lines if line["faces"] == faces}
    rows = ["| | " + " | ".join(PAPER_SETS.values()) + " |", "|---" * (1 + len(PAPER_SETS)) + "|"]
    for name, model, method in METHODS:
        if (model, method, PROTOCOLS[0]) not in found:
            continue
        cells = []
        for protocol in PAPER_SETS:
            theirs = paper_nme(model, protocol, score == "nme_rigid") if method == "network" and score != "nme_levelled" else None
            cells.append(f"{found[model, method, protocol]:.3f}" + ("" if theirs is None else f" ({theirs:.3f})"))
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def spread_table(lines: Sequence[Mapping[str, Any]], keys: Sequence[str], scores: Mapping[str, str]) -> str:
    """Means and sample standard deviations over seeds in Markdown: a row for each combination of `keys`, a column for each score.

    Parameters
    ----------
    keys : what tells the rows apart: "method", or "sigma" and "landmarks".
    scores : score -> heading: {"nme": "NME"}.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for line in lines:
        groups.setdefault(tuple(line[key] for key in keys), []).append(line)
    rows = ["| " + " | ".join([*keys, *scores.values()]) + " |", "|---" * (len(keys) + len(scores)) + "|"]
    for group, members in groups.items():
        found = [spread([line[score] for line in members]) for score in scores]
        cells = [f"{values['mean']:.3f}" + (f" ± {values['std']:.3f}" if "std" in values else "") for values in found]
        rows.append("| " + " | ".join([*map(str, group), *cells]) + " |")
    return "\n".join(rows)
