"""Methods measured on a test set, and one table out (paper section 4)."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import pairwise, repeat
from math import ceil, inf, nan
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.datasets.real import RealSet
from vrn_lite.evaluation.predictors import Answer, Reconstruct, by_guided, by_mean_face, by_network, by_oracle, put_back, told
from vrn_lite.evaluation.testsets import SIZES, named_set
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, InputError, require
from vrn_lite.inference import landmarks_in
from vrn_lite.metrics import iou, landmark_nme, vertex_errors
from vrn_lite.networks.base import FaceNetwork, LandmarkDetector
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.samples import FacePairs, unaligned
from vrn_lite.training.runtime import with_threads

YAW_EDGES = (-90, -60, -20, 20, 60, 90)
"""Bins of yaw in degrees; the paper's -80, -40, 0, 40 and 80 fall one in each."""


@dataclass(frozen=True)
class Row:
    """One reconstruction of one sample. A score that the method cannot have is NaN: a landmark network sees no volume.

    Attributes
    ----------
    method : "network", "true landmarks" (a guided network that is told them), "put back" (an unaligned network's face,
        moved to where the true pose puts it), "oracle" or "mean face".
    sample : number in the test set.
    yaw, pitch : degrees, as the image shows them.
    iou, iou_front : over all slices, and over those before the head's pivot.
    nme, nme_rigid, nme_levelled : see `VertexErrors`; infinite where there is no surface.
    landmark_nme : of the landmarks that the method found or was guided by, in the image.
    tag : what the test set says of the sample, the name of its expression.
    """

    method: str
    sample: int
    yaw: float
    pitch: float
    iou: float = nan
    iou_front: float = nan
    nme: float = nan
    nme_rigid: float = nan
    nme_levelled: float = nan
    landmark_nme: float = nan
    tag: str = ""


SCORES = ("iou", "iou_front", "nme", "nme_rigid", "nme_levelled", "landmark_nme")
"""The columns of a `Row` that are results."""


@dataclass(frozen=True)
class Table:
    """Results of one evaluation: all rows, and where they come from."""

    rows: tuple[Row, ...]
    preset: str
    source: str
    protocol: str = "heldout"

    def of(self, method: str) -> "Table":
        """The rows of one method."""
        found = tuple(row for row in self.rows if row.method == method)
        require(len(found) > 0, f"no results of method {method!r}: choose one of {', '.join(self.methods)}")
        return replace(self, rows=found)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in their first order."""
        return tuple(dict.fromkeys(row.method for row in self.rows))

    def column(self, name: str) -> Float[Tensor, " n"]:
        """One number of every row."""
        return torch.tensor([getattr(row, name) for row in self.rows], dtype=torch.float64)

    def mean(self) -> dict[str, float]:
        """Mean of each score over the rows that have it, NaN where none has; with the number of rows as "n"."""
        return {"n": len(self.rows)} | {name: float(self.column(name).nanmean()) for name in SCORES}

    def by_yaw(self, edges: Sequence[float] = YAW_EDGES) -> dict[str, dict[str, float]]:
        """Means over bins of yaw, named "low to high"; the last bin holds its upper edge, empty bins are left out."""
        bins = {}
        for low, high in pairwise(edges):
            inside = tuple(row for row in self.rows if low <= row.yaw < high or row.yaw == high == edges[-1])
            if inside:
                bins[f"{low:g} to {high:g}"] = replace(self, rows=inside).mean()
        return bins

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file: means and bins by method, then every row; scores that a method cannot have are left out."""
        parts = {name: self.of(name) for name in self.methods}
        summary = {name: _known(part.mean()) | {"by_yaw": {low: _known(mean) for low, mean in part.by_yaw().items()}} for name, part in parts.items()}
        return {"preset": self.preset, "source": self.source, "protocol": self.protocol, "methods": summary, "rows": [_known(asdict(row)) for row in self.rows]}


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is NaN or empty."""
    return {name: value for name, value in values.items() if value == value and value != ""}


def front_slices(grid: Grid) -> int:
    """How many depth slices have their voxel centres before the head's pivot."""
    return ceil(grid.centre[2] * grid.depth_scale - 0.5)


def score(method: str, reconstruct: Reconstruct, pairs: FacePairs, grid: Grid, first: int = 0) -> Iterator[Row]:
    """One row for each sample of a batch; `first` is the number of its first sample."""
    for index, answer in enumerate(reconstruct(pairs)):
        yaw = float(pairs.yaw[index]) * (-1 if bool(pairs.mirrored[index]) else 1)
        tag = pairs.tags[index] if pairs.tags else ""
        yield Row(method, first + index, yaw, float(pairs.pitch[index]), **_scores(answer, pairs, index, grid), tag=tag)


def _scores(answer: Answer, pairs: FacePairs, index: int, grid: Grid) -> dict[str, float]:
    """Those of `SCORES` that an answer can have."""
    scores: dict[str, float] = {}
    if answer.volume is not None:
        truth = pairs.volumes[index].to(answer.volume.device)
        scores |= {"iou": float(iou(answer.volume, truth)), "iou_front": float(iou(answer.volume, truth, front_slices(grid)))}
    if answer.volume is not None or answer.surface is not None:
        errors = None if answer.surface is None else vertex_errors(answer.surface, pairs.mesh(index))
        distances = (inf, inf, inf) if errors is None else (errors.nme, errors.rigid, errors.depth_aligned)
        scores |= dict(zip(("nme", "nme_rigid", "nme_levelled"), distances, strict=True))
    if answer.landmarks is not None:
        scores["landmark_nme"] = float(landmark_nme(answer.landmarks.cpu(), pairs.landmarks[index].cpu()))
    return scores


def network_rows(network: FaceNetwork, pairs: FacePairs, unit: float, first: int = 0, average: bool = True) -> Iterator[Row]:
    """All rows of a network for a batch; see `evaluate`. `unit` is the source's outer interocular distance."""
    grid = network.preset.grid
    if network.target == "frontal":
        frontal = unaligned(pairs, unit, grid)
        answers = list(by_network(network, average)(frontal))
        yield from score("network", lambda _: answers, frontal, grid, first)
        yield from score("put back", lambda pairs: put_back(answers, frontal, pairs, grid), pairs, grid, first)
    elif network.guided:
        if pairs.found is not None:
            yield from score("network", by_guided(network, told, average), pairs, grid, first)
        yield from score("true landmarks", by_guided(network, lambda pairs: pairs.landmarks, average), pairs, grid, first)
    else:
        yield from score("network", by_network(network, average), pairs, grid, first)


def evaluate(
    network: FaceNetwork | None,
    face: MorphableFace | RealSet,
    *,
    detector: LandmarkDetector | None = None,
    protocol: str = "heldout",
    n: int | None = None,
    seed: int = 2017,
    preset: Preset | str | None = None,
    bounds: bool = True,
    average: bool = True,
) -> Table:
    """A network on faces that no training has seen, with the oracle's floor and the mean face at the true pose beside it.

    Rows by method: "network" for what the network makes of the image alone. VRN-Guided has them where a detector is
    given, whose landmarks guide it, and always rows "true landmarks", where the true ones do. The unaligned network's
    rows "network" are judged in its own frontal frame; its rows "put back" in the image's, after the true pose.

    Parameters
    ----------
    network : in eval mode; None for the bounds alone.
    face : the source of the faces; another one than the training's makes the test cross-database, and then
        `nme_levelled` is the number to quote, since sources put their depth origin in different places. Or a real test
        set (`datasets`), which has its own samples and protocol.
    detector : finds landmarks for VRN-Guided, in eval mode, in pictures of its own size; other networks do not look at it.
    protocol : which set, a name from `testsets.TEST_SETS`.
    n, seed : of the set; by default its own size.
    preset : needed without a network; a network brings its own.
    bounds : False leaves oracle and mean face out.
    average : ask the network as `reconstruct` does, averaging over mirrored and shifted copies; False asks it once.

    Raises
    ------
    InputError : no preset, a network in training mode, or one that belongs to another preset.
    """
    wanted = preset or (network and network.preset)
    if not wanted:
        raise InputError("without a network the preset must be given: preset='lite', for example")
    chosen = preset_named(wanted)
    if network is not None and network.preset.grid != chosen.grid:
        raise InputError(f"the network belongs to preset {network.preset.name!r}, not {chosen.name!r}: leave `preset` out")
    networks: dict[str, FaceNetwork] = {} if network is None else {"": network}
    _fitting(networks.values(), detector)
    asked = Asked.of(face, protocol, n, seed, detector, bounds, average)
    rows = _rows(networks, chosen, asked, lambda count: None)
    return Table(tuple(row for found in rows.values() for row in found), chosen.name, asked.source, asked.protocol)


class Method(NamedTuple):
    """A way of reconstructing that is not a network alone: a baseline, and the preset whose grid it works on."""

    preset: Preset
    reconstruct: Reconstruct


class Asked(NamedTuple):
    """What an evaluation is asked for; see `evaluate`."""

    face: MorphableFace
    protocol: str
    n: int
    seed: int
    detector: LandmarkDetector | None
    bounds: bool
    average: bool
    real: RealSet | None = None

    @staticmethod
    def of(face: MorphableFace | RealSet, protocol: str, n: int | None, seed: int, detector: LandmarkDetector | None, bounds: bool, average: bool) -> "Asked":
        """With a set's own size where n is None."""
        if isinstance(face, RealSet):
            return Asked(face.face, face.protocol, face.count(n), seed, detector, bounds, average, face)
        named_set(protocol)
        return Asked(face, protocol, SIZES[protocol] if n is None else n, seed, detector, bounds, average)

    @property
    def source(self) -> str:
        """Where the faces come from, in a word."""
        return self.face.name if self.real is None else self.real.source

    def make(self, preset: Preset) -> Iterator[FacePairs]:
        """The samples for a preset's grid."""
        if self.real is not None:
            return self.real(self.n, self.seed, preset=preset)
        return named_set(self.protocol)(self.face, self.n, self.seed, preset=preset)


def compare(
    networks: Mapping[str, FaceNetwork | Method],
    face: MorphableFace | RealSet,
    *,
    detector: LandmarkDetector | None = None,
    protocol: str = "heldout",
    n: int | None = None,
    seed: int = 2017,
    bounds: bool = True,
    average: bool = True,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Table]:
    """`evaluate` for several networks at once, by name: the same tables, but faces, oracle and mean face are made once per grid.

    Parameters
    ----------
    networks : in eval mode, by the names that the tables shall have; a baseline as a `Method`.
    progress : called now and then with the number of rows done and the number of all.
    face, detector, protocol, n, seed, bounds, average : as for `evaluate`.

    Raises
    ------
    InputError : a network in training mode.
    """
    _fitting([network for network in networks.values() if not isinstance(network, Method)], detector)
    asked = Asked.of(face, protocol, n, seed, detector, bounds, average)
    groups: dict[Grid, dict[str, FaceNetwork | Method]] = {}
    for name, network in networks.items():
        groups.setdefault(network.preset.grid, {})[name] = network
    total = asked.n * (sum(_ways(network, detector) for network in networks.values()) + 2 * bounds * len(groups))
    done, tables = 0, dict.fromkeys(networks, Table((), "", ""))

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        progress(done, total)

    for group in groups.values():
        rows = _rows(group, next(iter(group.values())).preset, asked, count)
        tables |= {name: Table((*rows[name], *rows[None]), network.preset.name, asked.source, asked.protocol) for name, network in group.items()}
    return tables


def _fitting(networks: Iterable[FaceNetwork], detector: LandmarkDetector | None) -> None:
    """Refuse networks in training mode, and those that need more than an image and landmarks."""
    for network in networks:
        require(not network.needs_face, f"a {network.variant!r} network gives no volume by itself: hand it to `compare` as a Method")
    for asked in [*networks, *([] if detector is None else [detector])]:
        require(not getattr(asked, "training", False), "the network is in training mode: call network.eval() first")


def samples(asked: Asked, preset: Preset) -> Iterator[FacePairs]:
    """The samples of a set; where there is a detector, `found` holds what it finds in pictures of its own size."""
    detector = asked.detector
    if detector is None:
        return asked.make(preset)
    larger = detector.preset.grid.width / preset.grid.width

    def seen(pairs: FacePairs, wide: FacePairs | None) -> FacePairs:
        points = landmarks_in(detector, (wide or pairs).images, asked.average)
        return replace(pairs, found=points.to(pairs.images) / larger)

    return map(seen, asked.make(preset), repeat(None) if larger == 1 else asked.make(detector.preset))  # `map` keeps no batch


def _ways(network: FaceNetwork | Method, detector: LandmarkDetector | None) -> int:
    """How many rows a sample gets from a network."""
    if isinstance(network, Method):
        return 1
    return 2 if network.target == "frontal" or (network.guided and detector is not None) else 1


def _rows(networks: Mapping[str, FaceNetwork | Method], preset: Preset, asked: Asked, count: Callable[[int], object]) -> dict[str | None, list[Row]]:
    """Rows of networks that share a grid, by name, and of the bounds, by None; `count` hears how many rows have come."""
    limits = {"oracle": by_oracle(preset.grid), "mean face": by_mean_face(asked.face, preset.grid)} if asked.bounds else {}

    def of(batch: tuple[int, FacePairs]) -> dict[str | None, list[Row]]:
        first, pairs = batch
        found: dict[str | None, list[Row]] = {name: list(_rows_of(network, pairs, asked, first)) for name, network in networks.items()}
        return found | {None: [row for name, method in limits.items() for row in score(name, method, pairs, preset.grid, first)]}

    rows: dict[str | None, list[Row]] = {name: [] for name in (*networks, None)}
    guided = any(isinstance(network, Method) or network.guided for network in networks.values())
    seen = samples(asked if guided else asked._replace(detector=None), preset)  # others would not look at the landmarks
    for found in _side_by_side(of, _numbered(seen)):
        for key, batch in found.items():
            for row in batch:
                rows[key].append(row)
                count(1)
    return rows


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


def _rows_of(network: FaceNetwork | Method, pairs: FacePairs, asked: Asked, first: int) -> Iterator[Row]:
    """All rows of a network, or of another method, for a batch."""
    if isinstance(network, Method):
        return score("network", network.reconstruct, pairs, network.preset.grid, first)
    return network_rows(network, pairs, asked.face.interocular, first, asked.average)


def summary(tables: dict[str, Table]) -> list[dict[str, Any]]:
    """One table of several: a line for each network and way of using it, then oracle and mean face once per preset.

    Keys of a line: "model"; "protocol"; "faces", the source; "landmarks", those that guide the network: "none", "true" or
    "detected"; "n", and the mean of each score.
    """
    lines, limits = [], {}
    for name, table in tables.items():
        for method in table.methods:
            line = {"model": name, "protocol": table.protocol, "faces": table.source, "landmarks": "none"} | table.of(method).mean()
            if method in ("oracle", "mean face"):
                limits[method, table.preset, table.source] = line | {"model": f"{method}, {table.preset}"}
                continue
            if "true landmarks" in table.methods:
                line["landmarks"] = "true" if method == "true landmarks" else "detected"
            elif "put back" in table.methods:
                line["model"] = f"{name}, put back" if method == "put back" else f"{name}, in a frontal frame"
            lines.append(line)
    return lines + list(limits.values())
