"""Predictors measured on a test set: one table of scores (paper section 4).

::

    TestSet --batches--> FacePairs --predictor--> Prediction3D --score--> one row of Scores
                             +------------------------truth------------------^
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import ceil, inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from vrn_lite.evaluation.predictors import Prediction3D, Predictor, default_predictors
from vrn_lite.evaluation.testsets import TestSet
from vrn_lite.files import atomically
from vrn_lite.frame import Grid, require
from vrn_lite.metrics import iou, landmark_nme, vertex_errors
from vrn_lite.networks.base import FaceNetwork
from vrn_lite.networks.weights import load
from vrn_lite.samples import FacePairs, unaligned
from vrn_lite.training.runtime import with_threads

YAW_EDGES = (-90, -60, -20, 20, 60, 90)
"""Bins of yaw in degrees; the paper's -80, -40, 0, 40 and 80 fall one in each."""

FACTS = ["predictor", "protocol", "faces", "preset", "sample", "yaw", "pitch", "tag"]
"""Columns that say what a row is of: yaw and pitch in degrees, as the image shows them; the test set's tag."""

SCORES = ["iou", "iou_front", "nme", "nme_rigid", "nme_depth_aligned", "landmark_nme"]
"""Columns of results; NaN where a predictor cannot have one: bare landmarks have no volume.

`iou_front` counts the slices before the head's pivot; for the NMEs see `VertexErrors`: they are infinite where there is
no surface; `landmark_nme` is of the landmarks that were found, or that guided.
"""

HEADINGS = ["IoU", "IoU front", "NME", "NME rigid", "NME depth-aligned", "landmark NME"]


@dataclass(frozen=True)
class Scores:
    """The result of an evaluation: `frame` has a row for each predictor and sample, with columns `FACTS` and `SCORES`.

    What is not found below is a line of pandas: ``scores.frame.groupby("tag").nme.median()``.
    """

    frame: pd.DataFrame

    @property
    def predictors(self) -> tuple[str, ...]:
        """Names of the predictors, in order."""
        return tuple(self.frame.predictor.unique())

    def of(self, predictor: str) -> "Scores":
        """The rows of one predictor; an InputError if there is none of that name."""
        names = ", ".join(self.predictors)
        require(predictor in self.predictors, f"no results of predictor {predictor!r}: choose one of {names}")
        return Scores(self.frame[self.frame.predictor == predictor])

    def mean(self, by: str | Sequence[str] = "predictor") -> pd.DataFrame:
        """By predictor, or other columns: the number of rows, `n`, and the mean of each score over those with one."""
        groups = self.frame.groupby(by, sort=False, observed=True)
        return pd.concat([groups.size().rename("n"), groups[SCORES].mean()], axis=1)

    def by_yaw(self, edges: Sequence[float] = YAW_EDGES) -> pd.DataFrame:
        """`mean` by predictor and bin of yaw, "low to high"; the last bin holds its upper edge, empty ones are out."""
        names = [f"{low:g} to {high:g}" for low, high in zip(edges, edges[1:], strict=False)]
        bins = pd.cut(self.frame.yaw, [*edges[:-1], np.nextafter(edges[-1], inf)], right=False, labels=names)
        return Scores(self.frame.assign(yaw=bins)).mean(["predictor", "yaw"])

    def interval(self, score: str = "nme", redraws: int = 2000, seed: int = 0) -> pd.DataFrame:
        """Where 95 % of the means lie when faces are drawn again, with replacement: `low` and `high` by predictor."""

        def ends(values: pd.Series) -> list[float]:
            known = values.dropna().to_numpy()
            drawn = np.random.default_rng(seed).integers(len(known), size=(redraws, len(known)))
            return np.quantile(known[drawn].mean(1), (0.025, 0.975), method="nearest").tolist()

        found = {name: ends(rows[score]) for name, rows in self.frame.groupby("predictor", sort=False)}
        return pd.DataFrame.from_dict(found, orient="index", columns=["low", "high"])

    def table(self) -> pd.DataFrame:
        """The means as text, a line for each predictor, test set and preset."""
        means = self.mean(FACTS[:4]).reset_index()
        cells = means[SCORES].map(lambda value: "" if np.isnan(value) else f"{value:.4f}").set_axis(HEADINGS, axis=1)
        return pd.concat([means[[*FACTS[:4], "n"]], cells], axis=1)

    def _repr_markdown_(self) -> str:
        return markdown(self.table())

    def records(self) -> list[dict[str, Any]]:
        """All rows for a JSON file, without what a row does not have."""
        rows = self.frame.to_dict("records")
        return [{str(name): value for name, value in row.items() if value == value and value != ""} for row in rows]


def markdown(table: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    rows = [list(table.columns), *table.values.tolist()]
    head, *lines = ("".join(f"| {cell} " if cell != "" else "| " for cell in row) + "|" for row in rows)
    return "\n".join((head, "|---" * len(table.columns) + "|", *lines))


def evaluate(
    predictors: FaceNetwork | str | Mapping[str, Predictor],
    testset: TestSet,
    *,
    bounds: bool = True,
    test_time_augmentation: bool = True,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
    journal: "Journal | None" = None,
) -> Scores:
    """Every sample of a test set, as every predictor has it, against the truth.

    Parameters
    ----------
    predictors : by name; samples are made once for those that share a grid. Or a network in eval mode, or the name or
        file of one, which is asked in all its ways (`default_predictors`).
    testset : of `testsets` or `datasets`. On faces of another source than the training's, `nme_depth_aligned` is the
        number to quote: sources put their depth origin in different places.
    bounds, test_time_augmentation : of `default_predictors`.
    on_progress : called now and then with the number of rows done and the number of all.
    journal : keeps the rows as they come; batches whose rows it has already are not measured again.

    Raises
    ------
    InputError : see `default_predictors` and `TestSet.batches`.

    Examples
    --------
    ::

        testset = heldout(face, 64).seen_by(load("landmarks"))
        evaluate("guided", testset).mean()
        evaluate({"mine": Predictor(preset("lite"), function), "oracle": oracle_predictor(preset("lite"))}, testset)
    """
    if not isinstance(predictors, Mapping):
        network = load(predictors) if isinstance(predictors, str) else predictors
        options = {"bounds": bounds, "test_time_augmentation": test_time_augmentation}
        predictors = default_predictors({network.variant: network}, testset, **options)
    groups: dict[Grid, dict[str, Predictor]] = {}
    for name, predictor in predictors.items():
        groups.setdefault(predictor.preset.grid, {})[name] = predictor
    rows: list[dict[str, Any]] = []
    for group in groups.values():
        batches = _numbered(testset.batches(next(iter(group.values())).preset))
        for found in _side_by_side(partial(_rows, group, testset, journal), batches):
            rows += found
            if journal is not None:
                journal.add(found)
            on_progress(len(rows), testset.size * len(predictors))
    order = {name: number for number, name in enumerate(predictors)}
    rows.sort(key=lambda row: order[row["predictor"]])  # stable: samples stay in order
    return Scores(pd.DataFrame(rows, columns=[*FACTS, *SCORES]))


def _rows(
    group: Mapping[str, Predictor], testset: TestSet, journal: "Journal | None", batch: tuple[int, FacePairs]
) -> list[dict[str, Any]]:
    """Rows of predictors that share a grid, for a batch whose first sample has a number."""
    (first, pairs), rows = batch, list[dict[str, Any]]()
    yaws = torch.where(pairs.mirrored, -pairs.yaw, pairs.yaw).tolist()
    tags = pairs.tags or ("",) * len(pairs)
    for name, predictor in group.items():
        facts = {"predictor": name, "protocol": testset.name, "faces": testset.source, "preset": predictor.preset.name}
        keys = [_key(facts | {"sample": first + index, "tag": tag}) for index, tag in enumerate(tags)]
        if journal is not None and all(key in journal.rows for key in keys):
            rows += [journal.rows[key] for key in keys]
            continue
        truths = {"aligned": pairs}
        for index, answer in enumerate(predictor(pairs)):
            if answer.target not in truths:
                truths[answer.target] = unaligned(pairs, testset.face.interocular, predictor.preset.grid)
            sample = {
                "sample": first + index,
                "yaw": yaws[index],
                "pitch": float(pairs.pitch[index]),
                "tag": tags[index],
            }
            rows.append(facts | sample | score(answer, truths[answer.target], index, predictor.preset.grid))
    return rows


def score(answer: Prediction3D, pairs: FacePairs, index: int, grid: Grid) -> dict[str, float]:
    """Those of `SCORES` that an answer for one of the samples can have."""
    scores: dict[str, float] = {}
    if answer.volume is not None:
        truth = pairs.volumes[index].to(answer.volume.device)
        scores["iou"] = float(iou(answer.volume, truth))
        scores["iou_front"] = float(iou(answer.volume, truth, front_slices(grid)))
    if answer.surface is not None:
        errors = vertex_errors(answer.surface, pairs.mesh(index))
        scores |= {"nme": errors.nme, "nme_rigid": errors.rigid, "nme_depth_aligned": errors.depth_aligned}
    elif answer.volume is not None:
        scores |= {"nme": inf, "nme_rigid": inf, "nme_depth_aligned": inf}
    if answer.landmarks is not None:
        scores["landmark_nme"] = float(landmark_nme(answer.landmarks.cpu(), pairs.landmarks[index].cpu()))
    return scores


def front_slices(grid: Grid) -> int:
    """How many depth slices have their voxel centres before the head's pivot."""
    return ceil(grid.centre[2] * grid.depth_scale - 0.5)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells a row from all others of a run."""
    return tuple(row.get(name, "") for name in FACTS if name not in ("yaw", "pitch"))


class Journal:
    """Rows in a JSON file that grows batch by batch and is whole at any moment; a stopped run goes on from there.

    Parameters
    ----------
    path : of the file; rows of another run in it are dropped with the first that are added.
    run : a word for all that numbers depend on beside what a row tells: weights, seeds, files.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.path, self.run, self.rows = path, run, dict[tuple[Any, ...], dict[str, Any]]()
        with suppress(OSError, ValueError, AttributeError, TypeError):  # no file yet, or no results: it is replaced
            self.rows = {_key(row): row for row in json.loads(path.read_text()) if row.get("run") == run}

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep rows, in the file too."""
        told = {_key(row): dict(row) for row in rows}
        if told.keys() - self.rows.keys():
            self.rows |= told
            self.write(self.rows.values())

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Make these the file's rows."""
        told = [{k: v for k, v in row.items() if v == v and v != ""} | {"run": self.run} for row in rows]
        atomically(self.path, lambda part: part.write_text(json.dumps(told, indent=1)))


def _numbered(batches: Iterable[FacePairs]) -> Iterator[tuple[int, FacePairs]]:
    """Batches, each with the number of its first sample."""
    first = 0
    for pairs in batches:
        count = len(pairs)
        yield first, pairs
        del pairs  # before the next batch is made: two at a time would take much memory
        first += count


MOST_AT_ONCE = 4
"""Batches that are worked on at a time: each may take a few hundred megabytes."""


def _side_by_side(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """``map(work, items)``, several at a time, each in a thread of its own that computes alone.

    Small networks and the search for nearest points make poor use of several threads for one operation.
    """
    workers = min(torch.get_num_threads(), MOST_AT_ONCE)
    if workers == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Any]] = deque()
    with with_threads(1), ThreadPoolExecutor(workers) as pool:  # PyTorch's new threads take over the number that is set
        for item in items:
            if len(waiting) > workers:  # one is ready for whoever ends first
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, item))
        yield from (future.result() for future in waiting)
