"""The whole results section again: networks trained, methods measured, one file out (paper sections 4 and 5).

A `Lab` is a folder. Each network that it needs is trained once, each part of the results is measured once, and what is there
already is taken as it is, so that the work can be stopped at any time::

    folder/runs/guided-lite-0/checkpoint.pt      a training under way
    folder/runs/guided-lite-0.safetensors        a trained network
    folder/parts/alignment.json                  a part of the results
    folder/results.json                          all parts, what notebooks and README read
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch

from vrn_lite.evaluation.eos import by_eos
from vrn_lite.evaluation.evaluate import Asked, Method, Table, compare, evaluate, samples
from vrn_lite.evaluation.predictors import Reconstruct, by_guided, by_network, by_oracle, told
from vrn_lite.evaluation.regression import by_regression
from vrn_lite.evaluation.testsets import heldout, heldout_seed
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.files import atomically
from vrn_lite.frame import Grid, InputError, require
from vrn_lite.inference import landmarks_in
from vrn_lite.networks.base import FaceNetwork, build
from vrn_lite.networks.weights import load, load_detector, save_weights, shipped
from vrn_lite.presets import NetworkSize, Preset, preset as preset_named
from vrn_lite.samples import MILD_JITTER, FacePairs, PoseRange
from vrn_lite.studies import published
from vrn_lite.studies.ablations import by_hard_volume, by_soft_oracle, by_unaligned_and_pose, displaced, occluded, perturbed, table_of
from vrn_lite.studies.published import PROTOCOLS
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
    table : how many faces of each protocol the tables use, and half as many of the other source; 0 for each protocol's
        own size.
    poses : jitter in training.
    oracle_sides, network_sides : of the cubic grids on which the oracle and networks of their own are measured, pixels.
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


Progress = Callable[[str, float], object]
"""Hears what is being done, and which share of it is done."""


class Lab:
    """A folder of trained networks and results.

    Parameters
    ----------
    folder : made where it is missing.
    study : sizes.
    face : the source of training and test faces.
    other : another source, for the cross-database half of the table.
    progress : hears what is being done.
    """

    def __init__(self, folder: Path, study: Study, face: MorphableFace, other: MorphableFace, progress: Progress = lambda what, share: None) -> None:
        self.folder, self.study, self.face, self.other, self.progress = folder, study, face, other, progress

    def network(self, variant: str, seed: int | None = None, preset: Preset | None = None, longer: bool = False) -> FaceNetwork:
        """A trained network: from its file, or trained now, from its checkpoint on where there is one."""
        size, number = preset or preset_named(self.study.preset), self.study.seeds[0] if seed is None else seed
        name = f"{variant}-{size.name}-{number}" + ("-longer" if longer else "")
        path = self.folder / "runs" / f"{name}.safetensors"
        if not path.is_file():
            network, samples = build(variant, size, number, face=self.face), self.study.longer if longer else self.study.samples
            self._train(network, name, number, samples)
            save_weights(network, path, data=self.face.name, seed=number, samples=samples)
        return load(path)

    def _train(self, network: FaceNetwork, name: str, seed: int, samples: int) -> None:
        """Train, and keep copies of the weights after 512, 1,024, 2,048... samples for the curve over samples."""
        folder, marks = self.folder / "runs" / name, {512 * 2**power for power in range(20)}
        for metrics in train(network, self.face, samples=samples, seed=seed, poses=self.study.poses, folder=folder):
            self.progress(f"training {name}", metrics.samples / samples)
            if metrics.samples in marks:
                save_weights(network, folder / f"{metrics.samples}.safetensors", data=self.face.name, seed=seed, samples=metrics.samples)

    def part(self, name: str) -> Any:
        """A part of the results, from its file or measured now."""
        require(name in PARTS, f"unknown part {name!r}: choose one of {', '.join(PARTS)}")
        path = self.folder / "parts" / f"{name}.json"
        if not path.is_file():
            found = PARTS[name](self)
            atomically(path, lambda temporary: temporary.write_text(json.dumps(found)))
        return json.loads(path.read_text())

    def held_out(self, preset: Preset) -> Iterator[FacePairs]:
        """The held-out faces of the ablations, with the landmarks that the shipped detector finds."""
        return samples(Asked(self.face, "heldout", self.study.faces, 2017, load_detector(), False, False), preset)

    def measured(self, what: str, reconstruct: Reconstruct, preset: Preset, batches: Iterator[FacePairs] | None = None) -> Table:
        """One method on the held-out faces, or on these."""
        self.progress(f"measuring {what}", 0.0)
        return table_of(what, reconstruct, self.held_out(preset) if batches is None else batches, preset, self.face)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Four decimals, and without NaN."""
    return {name: round(float(value), 4) for name, value in values.items() if value == value}


def _line(table: Table, **facts: Any) -> dict[str, Any]:
    """Means of a table, with what tells it from others."""
    return facts | _rounded(table.mean())


def _per_face(table: Table, **facts: Any) -> dict[str, Any]:
    """Means and every face's numbers of one method: what any figure can be drawn from."""
    columns = {name: [round(value, 4) for value in table.column(name).tolist()] for name in ("yaw", "pitch", "nme", "nme_rigid", "nme_levelled", "iou")}
    known = {name: values for name, values in columns.items() if all(value == value for value in values)}
    tags = {"tag": [row.tag for row in table.rows]} if table.rows[0].tag else {}
    return _line(table, **facts) | {"per_face": known | tags}


def contestants(networks: Mapping[str, FaceNetwork], model: MorphableFace | None, eos: Preset | None, average: bool = True) -> dict[str, FaceNetwork | Method]:
    """What the table compares, by name: the networks, and the baselines as methods.

    Parameters
    ----------
    networks : in eval mode.
    model : the face model that the regression networks were trained on; EOS fits it to the landmarks that a detector has
        found, and once more to the true ones.
    eos : gives the grid on which EOS works; None leaves it out.
    average : whether regression networks are asked about shifted copies too.
    """
    found: dict[str, FaceNetwork | Method] = {}
    for name, network in networks.items():
        if not network.needs_face:
            found[name] = network
            continue
        if model is None:
            raise InputError(f"{name!r} needs the face model that it was trained on")
        found[name] = Method(network.preset, by_regression(network, model, average))
    if eos is not None and model is not None:
        found["eos"] = Method(eos, by_eos(model, told, eos.grid))
        found["eos, true landmarks"] = Method(eos, by_eos(model, lambda pairs: pairs.landmarks, eos.grid))
    return found


def _table(lab: Lab, competing: Mapping[str, FaceNetwork | Method], sources: Sequence[MorphableFace], average: bool) -> list[dict[str, Any]]:
    """Every method on every protocol, on faces of these sources; the landmarks come from the detector that ships."""
    detector, lines = load_detector(), []
    for source, protocol in product(sources, PROTOCOLS):
        n = (lab.study.table if source is lab.face else lab.study.table // 2) or None
        hears = partial(lambda where, done, total: lab.progress(where, done / total), f"measuring {protocol}, {source.name} faces")
        tables = compare(competing, source, detector=detector, protocol=protocol, n=n, average=average, progress=hears)
        for name, table in tables.items():
            for method in table.methods:
                if method not in ("oracle", "mean face") or name == next(iter(tables)):
                    lines.append(_per_face(table.of(method), model=name, method=method, protocol=protocol, faces=source.name))
    return lines


def shipped_table(lab: Lab) -> list[dict[str, Any]]:
    """Table 1 with the networks that ship and EOS, on faces of both sources."""
    networks = {name: load(name) for name in shipped() if name not in ("landmarks", "guided_sigma2")}
    competing = contestants(networks, lab.face, networks["vrn"].preset, average=False)
    return _table(lab, dict(sorted(competing.items(), key=lambda item: item[0] != "vrn")), (lab.face, lab.other), average=False)


LEARNT = ("vrn", "multitask", "guided", "parameters", "vertices")
"""The variants that the table from scratch compares, each trained with the same budget."""


def scratch_table(lab: Lab) -> list[dict[str, Any]]:
    """Table 1 with networks trained from scratch with equal budgets, on faces of both sources."""
    networks = {name: lab.network(name, longer=True) for name in LEARNT}
    return _table(lab, contestants(networks, lab.face, None, average=False), (lab.face, lab.other), average=False)


def alignment(lab: Lab) -> list[dict[str, Any]]:
    """With alignment and without, for every seed: in the frontal frame, put back with the true pose, and with one that was found."""
    lines = []
    for seed in lab.study.seeds:
        aligned, frontal = lab.network("vrn", seed), lab.network("unaligned", seed)
        lines.append(_line(lab.measured(f"vrn, seed {seed}", by_network(aligned, False), aligned.preset), method="aligned", seed=seed))
        lab.progress(f"measuring unaligned, seed {seed}", 0.0)
        table = evaluate(frontal, lab.face, n=lab.study.faces, bounds=False, average=False)
        lines += [_line(table.of(old), method=new, seed=seed) for old, new in (("network", "frontal frame"), ("put back", "put back, true pose"))]
        found = by_unaligned_and_pose(frontal, lab.face)
        lines.append(_line(lab.measured(f"unaligned with a found pose, seed {seed}", found, frontal.preset), method="put back, found pose", seed=seed))
    return lines


PIXELS = (1, 4, 10)
"""Mean errors of perturbed landmarks, in pixels of a 192 px image."""


def gaussians(lab: Lab) -> list[dict[str, Any]]:
    """Sigma 1 and 2 for every seed, guided by true, detected and perturbed landmarks."""
    lines = []
    for seed, (variant, sigma) in product(lab.study.seeds, (("guided", 1), ("guided_sigma2", 2))):
        network = lab.network(variant, seed)
        guides: dict[str, Callable[[FacePairs], torch.Tensor]] = {"true": lambda pairs: pairs.landmarks, "detected": told}
        for pixels in PIXELS:
            guides[f"{pixels} px"] = partial(_moved, pixels=pixels, width=network.preset.grid.width)
        for guide, landmarks in guides.items():
            table = lab.measured(f"{variant}, seed {seed}, landmarks {guide}", by_guided(network, landmarks, False), network.preset)
            lines.append(_line(table, sigma=sigma, seed=seed, landmarks=guide))
    return lines


def _moved(pairs: FacePairs, pixels: float, width: int) -> torch.Tensor:
    """The true landmarks, perturbed; the same errors for the same faces."""
    seed = int(1e6 * abs(float(pairs.yaw[0])))
    return perturbed(pairs.landmarks, pixels, torch.Generator().manual_seed(seed), width)


def by_side(lab: Lab) -> list[dict[str, Any]]:
    """NME against the side of the volume: what the grid costs, and networks of the same shape on three grids."""
    lines = []
    few = min(lab.study.faces, 16)
    for side in lab.study.oracle_sides:
        size = Preset(f"oracle {side}", Grid(side, side, side), NetworkSize(stem=2, levels=2, features=8, modules=1, stacks=1))
        for name, method in (("true volume", by_oracle(size.grid)), ("true volume, soft", by_soft_oracle(size.grid, 2 if side > 100 else 4))):
            batches = heldout(lab.face, few, preset=size)
            lines.append(_line(lab.measured(f"{name}, {side}", method, size, batches), method=name, side=side))
    chosen = preset_named(lab.study.preset)
    for side in sorted({*lab.study.network_sides, chosen.grid.width}):
        network = lab.network("vrn", preset=chosen if side == chosen.grid.width else resized(chosen, side))
        lines.append(_line(lab.measured(f"vrn, {side}", by_network(network, False), network.preset), method="vrn", side=side))
    return lines


def resized(preset: Preset, side: int) -> Preset:
    """The same network on another cubic grid: as many levels as it can have, at most the preset's own."""
    size = preset.network
    levels = max(count for count in range(1, size.levels + 1) if side % (size.stem * 2**count) == 0 and side >= 2 * size.stem * 2**count)
    return replace(preset, name=f"{preset.name}{side}", grid=replace(preset.grid, depth=side, height=side, width=side), network=replace(size, levels=levels))


def by_samples(lab: Lab) -> list[dict[str, Any]]:
    """NME against the number of samples: the copies of each training of the table from scratch, and its end."""
    lines = []
    for variant in LEARNT:
        final = lab.network(variant, longer=True)
        folder = lab.folder / "runs" / f"{variant}-{final.preset.name}-{lab.study.seeds[0]}-longer"
        copies = {int(path.stem): load(path) for path in folder.glob("*.safetensors")} | {lab.study.longer: final}
        for n in sorted(copies):
            table = lab.measured(f"{variant} after {n} samples", _asked_once(copies[n], lab.face), final.preset)
            lines.append(_line(table, model=variant, samples=n))
    return lines


def _asked_once(network: FaceNetwork, model: MorphableFace) -> Reconstruct:
    """Any trained network as a method, VRN-Guided with detected landmarks."""
    if network.guided:
        return by_guided(network, told, False)
    return by_regression(network, model, False) if network.needs_face else by_network(network, False)


def surfaces(lab: Lab) -> list[dict[str, Any]]:
    """Surfaces from soft and from hard volumes, of the shipped VRN."""
    network = load("vrn")
    methods = {"soft": by_network(network, False), "hard": by_hard_volume(network)}
    return [_line(lab.measured(f"vrn, {name} volume", method, network.preset), volume=name) for name, method in methods.items()]


def _guided_and_not(average: bool = False) -> dict[str, tuple[Preset, Reconstruct]]:
    """The shipped VRN-Guided with its detector, and the shipped VRN."""
    guided, detector, plain = load("guided"), load_detector(), load("vrn")
    return {
        "guided": (guided.preset, by_guided(guided, lambda pairs: landmarks_in(detector, pairs.images, average), average)),
        "vrn": (plain.preset, by_network(plain, average)),
    }


SHIFTS, ZOOMS, SHARES = (0, 5, 10, 15, 20, 30), (0.7, 0.85, 1.0, 1.15, 1.3), (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Crops that miss by so many pixels of 192, faces so many times too large, shares of the face that are hidden."""


def crops(lab: Lab) -> list[dict[str, Any]]:
    """NME in crops that are shifted and scaled, of the shipped networks."""
    lines, few = [], min(lab.study.faces, 64)
    misses = [(shift, 1.0) for shift in SHIFTS] + [(0, zoom) for zoom in ZOOMS if zoom != 1]
    for (name, (preset, method)), (shift, zoom) in product(_guided_and_not().items(), misses):
        batches = displaced(lab.face, few, preset=preset, shift=shift, zoom=zoom)
        lines.append(_line(lab.measured(f"{name}, crop off by {shift} px, x {zoom}", method, preset, batches), model=name, shift=shift, zoom=zoom))
    return lines


def occlusions(lab: Lab) -> list[dict[str, Any]]:
    """NME against the share of the face that is hidden, of the shipped networks."""
    lines, few = [], min(lab.study.faces, 64)
    for (name, (preset, method)), share in product(_guided_and_not().items(), SHARES):
        clean = islice(heldout(lab.face, few, preset=preset), few)
        hidden = (occluded(pairs, share, torch.Generator().manual_seed(heldout_seed(1, chunk))) for chunk, pairs in enumerate(clean))
        lines.append(_line(lab.measured(f"{name}, {share:.0%} hidden", method, preset, hidden), model=name, share=share))
    return lines


def six(lab: Lab) -> list[dict[str, Any]]:
    """The shipped VRN-Guided by expression, frontal faces."""
    lab.progress("measuring expressions", 0.0)
    table = compare({"guided": load("guided")}, lab.face, detector=load_detector(), protocol="expressions", average=False, n=lab.study.table or None)["guided"]
    return [_per_face(table.of(method), method=method) for method in ("network", "true landmarks", "mean face", "oracle")]


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


def reproduce(lab: Lab, parts: Sequence[str] | None = None) -> Path:
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
