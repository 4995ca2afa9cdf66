"""The published numbers, ours and the paper's, and how they are written as tables.

`results/results.json` is made by `reproduce`, `results/paper.json` holds what the paper reports, with its source.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd

from vrn_lite.evaluation.evaluate import Scores, markdown

RESULTS = files("vrn_lite") / "results"
"""Where the published numbers are: `results.json` (ours), `paper.json` (the paper's, with their source)."""

PAPER_SETS = {"florence": "Florence", "bu4dfe": "BU-4DFE", "aflw2000": "AFLW2000-3D"}
"""The protocols of the paper's table 1, and what they are called there."""


class Row(NamedTuple):
    """What a predictor is called: in our tables, in the results file by model and method, and in the paper's tables."""

    title: str
    model: str
    method: str
    paper: str = ""


METHODS = {
    "guided, detected landmarks": Row("VRN-Guided, detected landmarks", "guided", "network", "VRN-Guided"),
    "guided, true landmarks": Row("VRN-Guided, true landmarks", "guided", "true landmarks"),
    "multitask": Row("VRN-Multitask", "multitask", "network", "VRN-Multitask"),
    "vrn": Row("VRN", "vrn", "network", "VRN"),
    "unaligned, frontal frame": Row("", "unaligned", "network"),  # judged in a frame of its own: not in the table
    "unaligned, true pose": Row("VRN without alignment, put back with the true pose", "unaligned", "put back"),
    "parameters": Row("3DDFA-like regression of parameters", "parameters", "network", "3DDFA"),
    "vertices": Row("direct regression of vertices", "vertices", "network"),
    "eos, detected landmarks": Row("EOS, detected landmarks", "eos", "network", "EOS"),
    "eos, true landmarks": Row("EOS, true landmarks", "eos, true landmarks", "network"),
    "mean face": Row("mean face, told the true pose", "vrn", "mean face"),
    "oracle": Row("true volume", "vrn", "oracle"),
}
"""The predictors of table 1, in its order."""


def results(name: str = "results") -> dict[str, Any]:
    """The published numbers: "results", our own, or "paper", those of the paper."""
    text = (RESULTS / f"{name}.json").read_text()
    return json.loads(text.replace('"nme_levelled"', '"nme_depth_aligned"'))  # its first edition's word


def paper_nme(predictor: str, protocol: str, rigid: bool = False) -> float | None:
    """The paper's number for a predictor on a protocol, where it has one; rigid: the supplement's, after rigid ICP."""
    table = results("paper")["nme_after_rigid_icp_alignment" if rigid else "nme"]
    known = METHODS.get(predictor)
    return table.get(PAPER_SETS.get(protocol), {}).get(known.paper) if known else None


def summary(scores: Scores) -> str:
    """The means in Markdown, with the paper's NME where a predictor has a counterpart there."""
    table = scores.table()
    numbers = [
        paper_nme(predictor, protocol) for predictor, protocol in zip(table.predictor, table.protocol, strict=True)
    ]
    return markdown(table.assign(**{"paper's NME": ["" if number is None else f"{number:.4f}" for number in numbers]}))


def table_1(lines: Sequence[Mapping[str, Any]], faces: str, score: str = "nme") -> str:
    """The paper's table 1 in Markdown, from a table part's lines: a row a method, ours and, in brackets, the paper's.

    Parameters
    ----------
    faces : the source of the test faces.
    score : "nme", "nme_rigid" or "nme_depth_aligned"; the paper's numbers stand beside the first two alone.
    """
    found = {(line["model"], line["method"], line["protocol"]): line[score] for line in lines if line["faces"] == faces}
    rows = []
    for name, (title, model, method, _) in METHODS.items():
        if title and (model, method, "florence") in found:
            row = {"": title}
            for protocol, heading in PAPER_SETS.items():
                theirs = None if score == "nme_depth_aligned" else paper_nme(name, protocol, score == "nme_rigid")
                ours = f"{found[model, method, protocol]:.3f}"
                row[heading] = ours if theirs is None else f"{ours} ({theirs:.3f})"
            rows.append(row)
    return markdown(pd.DataFrame(rows))


def spread_table(lines: Sequence[Mapping[str, Any]], keys: Sequence[str], scores: Mapping[str, str]) -> str:
    """Means and sample standard deviations over seeds in Markdown: a row for each combination of `keys`.

    Parameters
    ----------
    keys : what tells the rows apart: "method", or "sigma" and "landmarks".
    scores : score -> heading: {"nme": "NME"}.
    """
    groups = pd.DataFrame(lines).groupby(list(keys), sort=False)[list(scores)]
    spread = groups.std().map(lambda value: "" if pd.isna(value) else f" ± {value:.3f}")
    return markdown((groups.mean().map("{:.3f}".format) + spread).rename(columns=scores).reset_index())
