"""The whole results section again: networks trained, predictors measured, one file out (paper sections 4 and 5).

A `Lab` is a folder. Each network that it needs is trained once, each part of the results is measured once, and what is
there already is taken as it is, so that the work can be stopped at any time::

    folder/runs/guided-lite-0/checkpoint.pt      a training under way
    folder/runs/guided-lite-0.safetensors        a trained network
    folder/parts/alignment.json                  a part of the results
    folder/results.json                          all parts, what notebooks and README read
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from vrn_lite.evaluation.eos import eos_predictor
from vrn_lite.evaluation.evaluate import SCORES, Scores, evaluate
from vrn_lite.evaluation.predictors import (
    LandmarkSource,
    Predictor,
    default_predictors,
    detected_landmarks,
    network_predictor,
    oracle_predictor,
    repose,
    true_landmarks,
    true_pose,
)
from vrn_lite.evaluation.testsets import TestSet, heldout, named_set, six_expressions
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.files import atomically
from vrn_lite.frame import Grid, require
from vrn_lite.networks.base import FaceNetwork, build
from vrn_lite.networks.weights import load, load_detector, save_weights, shipped
from vrn_lite.presets import NetworkSize, Preset, preset as preset_named
from vrn_lite.samples import MILD_JITTER, FacePairs, PoseRange
from vrn_lite.studies import published
from vrn_lite.studies.ablations import (
    displaced,
    found_pose,
    hard_predictor,
    occluded,
    perturbed,
    soft_oracle_predictor,
)
from vrn_lite.synth.appearance import PICTURES
from vrn_lite.training.loop import train


@dataclass(frozen=True)
class Study:
    """How large a reproduction is; the defaults are those of the published file.

    Attributes
    ----------
    preset : of the networks that are trained.
    samples : of each training of the ablations.
    longer : samples of each training of the table from scratch, whose copies give the curve over samples.
    seeds : of those trainings that are repeated; the first one serves all others.
    faces : how many held-out faces the ablations use.
    table : how many faces of each protocol the tables use, and half as many of the other source; 0: its own size.
    poses : jitter in training.
    oracle_sides, network_sides : of the cubic grids on which oracle and networks of their own are measured, pixels.
    """

    preset: str = "lite"
    samples: int = 7500
    longer: int = 30_000
    seeds: tuple[int, ...] = (0, 1, 2)
    faces: int = 96
    table: int = 120
    poses: PoseRange = field(default_factory=lambda: MILD_JITTER)
    oracle_sides: tuple[int, ...] = (16, 24, 32, 48, 64, 96, 128, 192)
    network_sides: tuple[int, ...] = (32,)


class Lab:
    """A folder of trained networks and results.

    Parameters
    ----------
    folder : made where it is missing.
    study : sizes.
    face : the source of training and test faces.
    other : another source, for the cross-database half of the table.
    on_progress : called with what is being done, and which share of it is done.
    """

    def __init__(
        self,
        folder: Path,
        study: Study,
        face: MorphableFace,
        other: MorphableFace,
        on_progress: Callable[[str, float], object] = lambda what, share: None,
    ) -> None:
        self.folder, self.study, self.face, self.other, self.on_progress = folder, study, face, other, on_progress

    def network(
        self, variant: str, seed: int | None = None, preset: Preset | None = None, longer: bool = False
    ) -> FaceNetwork:
        """A trained network: from its file, or trained now, from its checkpoint on where there is one."""
        size, number = preset or preset_named(self.study.preset), self.study.seeds[0] if seed is None else seed
        name = f"{variant}-{size.name}-{number}" + ("-longer" if longer else "")
        path = self.folder / "runs" / f"{name}.safetensors"
        if not path.is_file():
            network, samples = build(variant, size, number, face=self.face), self._budget(longer)
            self._train(network, name, number, samples)
            save_weights(network, path, data=self.face.name, seed=number, samples=samples)
        return self.ready(load(path))

    def _budget(self, longer: bool) -> int:
        return self.study.longer if longer else self.study.samples

    def _train(self, network: FaceNetwork, name: str, seed: int, samples: int) -> None:
        """Train, and keep copies of the weights after 512, 1,024, 2,048... samples for the curve over samples."""
        folder, marks = self.folder / "runs" / name, {512 * 2**power for power in range(20)}
        for metrics in train(network, self.face, samples=samples, seed=seed, poses=self.study.poses, folder=folder):
            self.on_progress(f"training {name}", metrics.samples / samples)
            if (seen := metrics.samples) in marks:
                save_weights(network, folder / f"{seen}.safetensors", data=self.face.name, seed=seed, samples=seen)

    def ready(self, network: FaceNetwork) -> FaceNetwork:
        """The network, bound to the lab's face model where it needs one."""
        if network.needs_face:
            network.bind(self.face)
        return network

    def part(self, name: str) -> Any:
        """A part of the results, from its file or measured now."""
        require(name in PARTS, f"unknown part {name!r}: choose one of {', '.join(PARTS)}")
        path = self.folder / "parts" / f"{name}.json"
        if not path.is_file():
            found = PARTS[name](self)
            atomically(path, lambda temporary: temporary.write_text(json.dumps(found)))
        return json.loads(path.read_text())

    def heldout(self) -> TestSet:
        """The held-out faces of the ablations, with the landmarks that the shipped detector finds."""
        return heldout(self.face, self.study.faces).seen_by(load_detector(), test_time_augmentation=False)

    def measured(self, what: str, predictors: Mapping[str, Predictor], testset: TestSet | None = None) -> Scores:
        """Predictors on a test set, by default on the held-out faces."""

        def hear(done: int, total: int) -> None:
            self.on_progress(f"measuring {what}", done / total)

        return evaluate(predictors, testset or self.heldout(), on_progress=hear)


def _line(scores: Scores, predictor: str, **facts: Any) -> dict[str, Any]:
    """Means of one predictor, four decimals and without NaN, with what tells it from others."""
    means = scores.mean().loc[predictor]
    return facts | {name: round(float(value), 4) for name, value in means.items() if value == value}


def _per_face(scores: Scores, predictor: str, **facts: Any) -> dict[str, Any]:
    """Means and every face's numbers of one predictor: what any figure can be drawn from."""
    frame = scores.of(predictor).frame
    columns = frame[["yaw", "pitch", *SCORES[2:5], "iou"]].dropna(axis=1)
    tags = {"tag": frame.tag.tolist()} if frame.tag.iloc[0] else {}
    return _line(scores, predictor, **facts) | {
        "per_face": columns.map(lambda value: round(value, 4)).to_dict("list") | tags
    }


def with_eos(predictors: Mapping[str, Predictor], face: MorphableFace, preset: Preset) -> dict[str, Predictor]:
    """Predictors, and EOS, which fits a face model to the landmarks that a detector has found, and to the true ones."""
    guides = {"detected": detected_landmarks, "true": true_landmarks}
    eos = {f"eos, {guide} landmarks": eos_predictor(face, points, preset) for guide, points in guides.items()}
    return {**predictors, **eos}


def _table(lab: Lab, networks: Mapping[str, FaceNetwork], eos: Preset | None = None) -> list[dict[str, Any]]:
    """Every predictor on every protocol, on faces of both sources; the landmarks come from the detector that ships."""
    detector, lines = load_detector(), []
    for source, protocol in product((lab.face, lab.other), published.PAPER_SETS):
        n = (lab.study.table if source is lab.face else lab.study.table // 2) or None
        testset = named_set(protocol, source, n).seen_by(detector, test_time_augmentation=False)
        predictors = default_predictors(networks, testset, test_time_augmentation=False)
        predictors = with_eos(predictors, lab.face, eos) if eos else predictors
        scores = lab.measured(f"{protocol}, {source.name} faces", predictors, testset)
        for name, row in published.METHODS.items():
            if name in predictors:
                facts = {"model": row.model, "method": row.method, "protocol": protocol, "faces": source.name}
                lines.append(_per_face(scores, name, **facts))
    return lines


def shipped_table(lab: Lab) -> list[dict[str, Any]]:
    """Table 1 with the networks that ship and EOS, on faces of both sources."""
    names = ["vrn", *(name for name in shipped() if name not in ("vrn", "landmarks", "guided_sigma2"))]
    networks = {name: lab.ready(load(name)) for name in names}
    return _table(lab, networks, eos=networks["vrn"].preset)


LEARNT = ("vrn", "multitask", "guided", "parameters", "vertices")
"""The variants that the table from scratch compares, each trained with the same budget."""


def scratch_table(lab: Lab) -> list[dict[str, Any]]:
    """Table 1 with networks trained from scratch with equal budgets, on faces of both sources."""
    return _table(lab, {name: lab.network(name, longer=True) for name in LEARNT})


def alignment(lab: Lab) -> list[dict[str, Any]]:
    """With alignment and without, for every seed: in the frontal frame, and put back with the true and a found pose."""
    lines = []
    for seed in lab.study.seeds:
        aligned, frontal = lab.network("vrn", seed), network_predictor(lab.network("unaligned", seed), False)
        grid = aligned.preset.grid
        predictors = {
            "aligned": network_predictor(aligned, False),
            "frontal frame": frontal,
            "put back, true pose": repose(frontal, true_pose(lab.face, grid)),
            "put back, found pose": repose(frontal, found_pose(lab.face, grid)),
        }
        scores = lab.measured(f"alignment, seed {seed}", predictors)
        lines += [_line(scores, name, method=name, seed=seed) for name in predictors]
    return lines


PIXELS = (1, 4, 10)
"""Mean errors of perturbed landmarks, in pixels of a 192 px image."""


def gaussians(lab: Lab) -> list[dict[str, Any]]:
    """Sigma 1 and 2 for every seed, guided by true, detected and perturbed landmarks."""
    guides: dict[str, LandmarkSource] = {"true": true_landmarks, "detected": detected_landmarks}
    width = preset_named(lab.study.preset).grid.width
    guides |= {f"{pixels} px": partial(_moved, pixels=pixels, width=width) for pixels in PIXELS}
    lines = []
    for seed, (variant, sigma) in product(lab.study.seeds, (("guided", 1), ("guided_sigma2", 2))):
        network = lab.network(variant, seed)
        predictors = {name: network_predictor(network, False, landmarks) for name, landmarks in guides.items()}
        scores = lab.measured(f"{variant}, seed {seed}", predictors)
        lines += [_line(scores, name, sigma=sigma, seed=seed, landmarks=name) for name in guides]
    return lines


def _moved(pairs: FacePairs, pixels: float, width: int) -> torch.Tensor:
    """The true landmarks, perturbed; the same errors for the same faces."""
    seed = int(1e6 * abs(float(pairs.yaw[0])))
    return perturbed(pairs.landmarks, pixels, torch.Generator().manual_seed(seed), width)


def by_side(lab: Lab) -> list[dict[str, Any]]:
    """NME against the side of the volume: what the grid costs, and networks of the same shape on three grids."""
    lines = []
    for side in lab.study.oracle_sides:
        network = NetworkSize(stem=2, levels=2, features=8, modules=1, stacks=1)  # no network is built
        size = Preset(f"oracle {side}", Grid(side, side, side), network)
        soft = soft_oracle_predictor(size, 2 if side > 100 else 4)
        predictors = {"true volume": oracle_predictor(size), "true volume, soft": soft}
        scores = lab.measured(f"true volumes, {side}", predictors, heldout(lab.face, min(lab.study.faces, 16)))
        lines += [_line(scores, name, method=name, side=side) for name in predictors]
    chosen = preset_named(lab.study.preset)
    for side in sorted({*lab.study.network_sides, chosen.grid.width}):
        trained = lab.network("vrn", preset=chosen if side == chosen.grid.width else resized(chosen, side))
        scores = lab.measured(f"vrn, {side}", {"vrn": network_predictor(trained, False)})
        lines.append(_line(scores, "vrn", method="vrn", side=side))
    return lines


def resized(preset: Preset, side: int) -> Preset:
    """The same network on another cubic grid: as many levels as it can have, at most the preset's own."""
    size = preset.network
    bottom = {
        levels: side / (size.stem * 2**levels) for levels in range(1, size.levels + 1)
    }  # side of its coarsest map
    network = replace(size, levels=max(levels for levels, cells in bottom.items() if cells >= 2 and cells % 1 == 0))
    grid = replace(preset.grid, depth=side, height=side, width=side)
    return replace(preset, name=f"{preset.name}{side}", grid=grid, network=network)


def by_samples(lab: Lab) -> list[dict[str, Any]]:
    """NME against the number of samples: the copies of each training of the table from scratch, and its end."""
    lines, testset = [], lab.heldout()
    for variant in LEARNT:
        final = lab.network(variant, longer=True)
        folder = lab.folder / "runs" / f"{variant}-{final.preset.name}-{lab.study.seeds[0]}-longer"
        copies = {int(path.stem): lab.ready(load(path)) for path in folder.glob("*.safetensors")}
        for n, network in sorted((copies | {lab.study.longer: final}).items()):
            predictors = default_predictors({variant: network}, testset, bounds=False, test_time_augmentation=False)
            first = next(iter(predictors))  # of VRN-Guided, the one with detected landmarks
            scores = lab.measured(f"{variant} after {n} samples", {first: predictors[first]}, testset)
            lines.append(_line(scores, first, model=variant, samples=n))
    return lines


def surfaces(lab: Lab) -> list[dict[str, Any]]:
    """Surfaces from soft and from hard volumes, of the shipped VRN."""
    network = load("vrn")
    scores = lab.measured("surfaces", {"soft": network_predictor(network, False), "hard": hard_predictor(network)})
    return [_line(scores, name, volume=name) for name in scores.predictors]


def _guided_and_not(lab: Lab, testset: TestSet, **facts: Any) -> list[dict[str, Any]]:
    """Lines of the shipped VRN-Guided with its detector, and of the shipped VRN, on a test set."""
    predictors = {
        "guided": network_predictor(load("guided"), False, detected_landmarks),
        "vrn": network_predictor(load("vrn"), False),
    }
    what = ", ".join(f"{name} {value:g}" for name, value in facts.items())
    scores = lab.measured(what, predictors, testset.seen_by(load_detector(), test_time_augmentation=False))
    return [_line(scores, name, model=name, **facts) for name in predictors]


SHIFTS, ZOOMS, SHARES = (0, 5, 10, 15, 20, 30), (0.7, 0.85, 1.0, 1.15, 1.3), (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Crops that miss by so many pixels of 192, faces so many times too large, shares of the face that are hidden."""


def crops(lab: Lab) -> list[dict[str, Any]]:
    """NME in crops that are shifted and scaled, of the shipped networks."""
    few, misses = min(lab.study.faces, 64), [(s, 1.0) for s in SHIFTS] + [(0, zoom) for zoom in ZOOMS if zoom != 1]
    lines = [
        _guided_and_not(lab, displaced(lab.face, few, shift=s, zoom=zoom), shift=s, zoom=zoom) for s, zoom in misses
    ]
    return sum(lines, [])


def occlusions(lab: Lab) -> list[dict[str, Any]]:
    """NME against the share of the face that is hidden, of the shipped networks."""
    clean = heldout(lab.face, min(lab.study.faces, 64))
    return sum((_guided_and_not(lab, occluded(clean, share), share=share) for share in SHARES), [])


def six(lab: Lab) -> list[dict[str, Any]]:
    """The shipped VRN-Guided by expression, frontal faces."""
    testset = six_expressions(lab.face, lab.study.table or None).seen_by(load_detector(), test_time_augmentation=False)
    predictors = default_predictors({"guided": load("guided")}, testset, test_time_augmentation=False)
    scores = lab.measured("expressions", predictors, testset)
    return [_per_face(scores, name, method=published.METHODS[name].method) for name in predictors]


PARTS: dict[str, Callable[[Lab], Any]] = {
    "shipped_table": shipped_table,
    "scratch_table": scratch_table,
    "alignment": alignment,
    "gaussians": gaussians,
    "by_side": by_side,
    "by_samples": by_samples,
    "surfaces": surfaces,
    "crops": crops,
    "occlusions": occlusions,
    "expressions": six,
}
"""The parts of the results, in the order in which they are made."""


def reproduce(lab: Lab, parts: list[str] | None = None) -> Path:
    """Train and measure everything that is not there yet; the lab's results file.

    Parameters
    ----------
    parts : names from `PARTS`, if not all are wanted; the file then holds these alone.

    Raises
    ------
    InputError : unknown part; a face model or an extra that a baseline needs is missing.
    """
    study = asdict(lab.study) | {"source": lab.face.name, "other": lab.other.name, "pictures": PICTURES}
    found = {"study": study} | {name: lab.part(name) for name in parts or PARTS}
    path = lab.folder / "results.json"
    atomically(path, lambda temporary: temporary.write_text(json.dumps(found, separators=(",", ":"))))
    return path


def publish(path: Path) -> Path:
    """Make a lab's results those that notebooks and README read; they must be whole.

    Raises
    ------
    InputError : parts are missing, or the package's folder cannot be written.
    """
    missing = [name for name in PARTS if name not in json.loads(path.read_text())]
    require(not missing, f"{path} lacks {', '.join(missing)}: run reproduce without --part first")
    target = Path(str(published.RESULTS)) / "results.json"
    atomically(target, lambda temporary: temporary.write_bytes(path.read_bytes()))
    return target
