"""BU-4DFE and MICC Florence: textured scans with landmarks, rendered in the poses of the paper's tests.

A scan is an .obj, .ply or .wrl (VRML 97) file with a texture or vertex colours (`surfaces`). BU-4DFE's frames are .wrl
files, each with a .jpg of the same name. Beside it lie its 68 landmarks, in its own coordinates, under the same name:

    NAME.txt                68 rows of x y z, in iBUG order
    NAME.npy, NAME.npz      an array [68, 3]
    NAME.json, NAME.ljson   a list of 68 [x, y, z], by itself or menpo's file, whose labels give the order

BU-4DFE's own .bnd files hold 83 points without the tip and the bridge of the nose, and cannot stand in for them.

A scan becomes a `MorphableFace` without modes: the whole scan is seen, and its face (`face_region`, by the landmarks)
is closed to a solid by the same rules as every other source's. The landmarks turn it to the front, put their mean at
the origin and give the unit, the outer interocular distance; a scan's own axes and unit do not matter.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from vrn_lite.align import rigid
from vrn_lite.datasets.surfaces import read_surface, without_gz
from vrn_lite.evaluation.testsets import (
    CHUNK,
    STREAM,
    Rendered,
    TestSet,
    bu4dfe as rendered_bu4dfe,
    florence as rendered_florence,
    heldout_seed,
    straight,
)
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.faces.patch import face_region, facing, open_patch
from vrn_lite.files import files_in, readable
from vrn_lite.frame import Grid, InputError, Triangles, require
from vrn_lite.mesh import boundary_edges
from vrn_lite.presets import Preset
from vrn_lite.samples import FacePairs, draw_pairs
from vrn_lite.synth.appearance import Appearance, Rng
from vrn_lite.volume import voxelize

SCANS = tuple(kind + gz for kind in (".obj", ".ply", ".wrl", ".wrz") for gz in ("", ".gz"))
LANDMARKS = (".txt", ".npy", ".npz", ".json", ".ljson")
"""Endings of scans, and of the files with their landmarks."""

LABELS = {"jaw": 17, "left_eyebrow": 5, "right_eyebrow": 5, "nose": 9, "left_eye": 6, "right_eye": 6, "mouth": 20}
"""What menpo calls the parts of a face in iBUG order, and how many landmarks each has."""

FARTHEST_OFF = 0.2
"""Landmarks may differ from an average face's by so much, in outer interocular distances, root mean square; further
off, they are no face in iBUG order."""


class Scan(NamedTuple):
    """A scan in the model frame: x right, y up, z to the viewer; landmarks' mean at the origin, unit 1.

    Attributes
    ----------
    name : of the file.
    face : a model without modes; its mean holds the scan's vertices, then the 68 landmarks, which no triangle uses.
    colours : ``[v, 3]`` in [0, 1], of the model's vertices.
    parts : triangles of closed surfaces in the face beside its own: eyeballs.
    """

    name: str
    face: MorphableFace
    colours: Float[Tensor, "v 3"]
    parts: tuple[Int[Tensor, "_ 3"], ...] = ()


def florence(folder: str | Path, face: MorphableFace, seed: int = 2017) -> TestSet:
    """MICC Florence, or any folder of neutral scans, in the paper's three pitches and five yaws.

    Parameters
    ----------
    folder : of scans with their landmarks (see above).
    face : any face model; its mean shows what the front is, and is the bound "mean face".
    seed : of light and background.
    """
    return _rendered("Florence", folder, face, rendered_florence, seed)


def bu4dfe(folder: str | Path, face: MorphableFace, seed: int = 2017) -> TestSet:
    """BU-4DFE, or any folder of happy and surprised scans, in the paper's three pitches and seven yaws.

    The expression must stand in the file's or in a folder's name: ``F001/Happy/012.wrl``, ``F001_Surprise.obj``.
    Parameters as in `florence`.
    """
    return _rendered("BU-4DFE", folder, face, rendered_bu4dfe, seed)


def _rendered(source: str, folder: str | Path, face: MorphableFace, rendered: Rendered, seed: int) -> TestSet:
    """Scans in the poses of a rendered test set; all are read once before, and what cannot be read is left out."""
    left_out, front = dict[str, str](), levelled(face)

    def read(path: Path) -> tuple[Path, str, Scan]:
        return path, expression_of(path.relative_to(folder), rendered.expressions), read_scan(path, front)

    paths = [path for path, _, _ in readable(files_in(folder, SCANS, "scans"), read, left_out)]
    require(len(paths) > 0, f"no scan in {folder} can be read: {next(iter(left_out.values()), '')}")
    poses = list(product(rendered.pitches, rendered.yaws))

    def make(preset: Preset) -> Iterator[FacePairs]:
        for path, tag, scan in readable(paths, read, left_out):
            number = paths.index(path)
            for start in range(0, len(poses), CHUNK):
                generator = torch.Generator().manual_seed(
                    heldout_seed(seed, STREAM * rendered.stream + 2 * number + start // CHUNK)
                )
                yield shown(scan, poses[start : start + CHUNK], preset.grid, generator, tag)

    return TestSet(rendered.name, source, front, len(paths) * len(poses), make, left_out=left_out)


def expression_of(path: Path, expressions: Sequence[str]) -> str:
    """Which of a protocol's expressions a scan shows, by the names in its path; the only one, where there is one.

    Raises
    ------
    InputError : none of them, or several, are in the path.

    Examples
    --------
    >>> expression_of(Path("F001/Happy/012.wrl"), ("Happy", "Surprise"))
    'Happy'
    """
    if len(expressions) == 1:
        return expressions[0]
    words = {word.lower() for word in re.split(r"[^a-zA-Z]+", str(path))}
    found = [name for name in expressions if name.lower() in words]
    require(
        len(found) == 1,
        f"{path}: its path must name its expression, one of {', '.join(expressions)}, as in F001/Happy/012.wrl",
    )
    return found[0]


def levelled(face: MorphableFace) -> MorphableFace:
    """A face model in the scans' frame: its landmarks' mean the origin, its outer interocular distance the unit."""
    middle = face.mean[face.landmarks].mean(0)
    return replace(
        face,
        mean=(face.mean - middle) / face.interocular,
        identity=face.identity / face.interocular,
        expression=face.expression / face.interocular,
    )


def shown(
    scan: Scan, poses: Sequence[tuple[float, float]], grid: Grid, generator: torch.Generator, tag: str = ""
) -> FacePairs:
    """A scan in a batch of poses (pitch, yaw), under the light and before the background of the rendered test sets."""
    device = scan.face.mean.device
    pitch, yaw = torch.tensor(poses, dtype=torch.float32, device=device).T
    mesh = scan.face.mesh()
    colours = torch.cat(
        (scan.colours, scan.colours.new_zeros(len(mesh.vertices) - len(scan.colours), 3))
    )  # the closing is never seen
    mesh = replace(mesh, vertices=mesh.vertices.expand(len(poses), -1, -1), colours=colours.expand(len(poses), -1, -1))
    view = straight(mesh.landmark_points(), scan.face, grid, yaw, pitch)
    pairs = draw_pairs(mesh, view, scan.face, grid, Rng.of(generator, len(poses), device), Appearance.plain())
    for part in scan.parts:  # what lies mostly in the face belongs to it; crumbs beside it do not
        solid = voxelize(pairs.truth.vertices, part, grid.shape, grid.depth_scale)
        within = 2 * (solid & pairs.volumes).sum((1, 2, 3)) > solid.sum((1, 2, 3))
        pairs = replace(pairs, volumes=pairs.volumes | (solid & within[:, None, None, None]))
    return replace(pairs, tags=(tag,) * len(poses), truth=replace(pairs.truth, colours=None))


def read_scan(path: str | Path, front: MorphableFace) -> Scan:
    """A scan with its landmarks, turned to the front.

    Parameters
    ----------
    path : of the scan; its landmarks lie beside it.
    front : a face model in the scans' frame (`levelled`): its landmarks show what the front is.

    Raises
    ------
    InputError : the scan, its texture or its landmarks are missing or cannot be read, the landmarks are no face's, or
        no face is left around them. The message begins with the file's name.
    """
    path = Path(path)
    landmarks, surface = read_landmarks(path), read_surface(path)
    goal = front.mean[front.landmarks].double().cpu()
    points, colours, triangles = (
        torch.from_numpy(np.ascontiguousarray(values))
        for values in (surface.points, surface.colours, surface.triangles)
    )
    middle, unit = landmarks.mean(0), (landmarks[36] - landmarks[45]).norm()
    require(float(unit) > 0, f"{path}: its landmarks 37 and 46, the outer corners of the eyes, are the same point")
    marks = (landmarks - middle) / unit
    turn = rigid(marks[None], goal[None]).rotation[0]
    marks = marks @ turn.T
    away = float((marks - goal).square().sum(-1).mean().sqrt())
    where = f"{away:.2f} outer interocular distances from an average face's"
    require(away <= FARTHEST_OFF, f"{path}: its landmarks are no face in iBUG order: {where}")
    points = (points - middle) / unit @ turn.T
    region = face_region(points, marks)
    try:
        patch = open_patch(triangles, region)
        model = _model(torch.cat((points, marks)).float(), facing(points, triangles, patch), patch)
        model.mesh()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    device = front.mean.device
    others = model.triangles[~patch & region[triangles].all(1)]
    parts = tuple(part.to(device) for part in closed_parts(others))
    painted = torch.cat((colours, torch.zeros(68, 3, dtype=colours.dtype))).float()
    return Scan(without_gz(path).stem, model.to(device), painted.to(device), parts)


def closed_parts(triangles: Triangles) -> list[Int[Tensor, "_ 3"]]:
    """The surfaces without a boundary among triangles."""
    if len(triangles) == 0:
        return []
    a, b, c = triangles.numpy().T
    size = int(triangles.max()) + 1
    links = coo_matrix((np.ones(2 * len(a)), (np.concatenate((a, b)), np.concatenate((b, c)))), shape=(size, size))
    label = torch.from_numpy(connected_components(links, directed=False)[1])[triangles[:, 0]]
    parts = [triangles[label == number] for number in label.unique()]
    return [part for part in parts if len(boundary_edges(part)) == 0]


def _model(mean: Float[Tensor, "v 3"], triangles: Tensor, patch: Tensor) -> MorphableFace:
    """A model without modes, whose last 68 vertices are its landmarks."""
    none, count = mean.new_zeros(0, len(mean), 3), len(mean)
    return MorphableFace("scan", mean, none, none, (), triangles.long(), torch.arange(count - 68, count), patch)


def read_landmarks(scan: Path) -> Float[Tensor, "68 3"]:
    """The landmarks that lie beside a scan, in its coordinates.

    Raises
    ------
    InputError : there are none, they cannot be read, they are not 68 points, or not finite.
    """
    bare = without_gz(scan)
    path = next((bare.with_suffix(suffix) for suffix in LANDMARKS if bare.with_suffix(suffix).is_file()), None)
    if path is None:
        other = " (its .bnd file has 83 other points)" if bare.with_suffix(".bnd").is_file() else ""
        wanted = f"write 68 rows of x y z, in iBUG order, to {bare.with_suffix('.txt').name}"
        raise InputError(f"{scan} has no landmarks beside it{other}: {wanted}")
    try:
        values = np.asarray(_points(path), dtype=np.float64)
    except (OSError, ValueError, TypeError, KeyError, IndexError, StopIteration, EOFError) as error:
        raise InputError(f"{path} cannot be read as landmarks ({error})") from None
    require(values.shape == (68, 3), f"{path}: 68 landmarks with x, y and z are needed, got the shape {values.shape}")
    require(bool(np.isfinite(values).all()), f"{path}: landmarks must be finite, got NaN or infinity")
    return torch.from_numpy(values)


def _points(path: Path) -> Any:
    """What a file of landmarks holds."""
    if path.suffix == ".txt":
        return np.loadtxt(path)
    if path.suffix in (".npy", ".npz"):
        values = np.load(path)
        return values if path.suffix == ".npy" else values[values.files[0]]
    found = json.loads(path.read_text())
    if isinstance(found, dict) and isinstance(found.get("groups"), dict):  # menpo's third version: named sets of points
        sets = list(found["groups"].values())
        found = next((one for one in sets if len(one["landmarks"]["points"]) == 68), sets[0])
    if not isinstance(found, dict):
        return found
    if isinstance(found.get("groups"), list):  # its first: parts with points of their own
        parts = [(part["label"], [mark["point"] for mark in part["landmarks"]]) for part in found["groups"]]
    else:
        points = found["points"] if "points" in found else found["landmarks"]["points"]
        parts = [(part["label"], [points[at] for at in part["mask"]]) for part in found.get("labels", [])]
        if not {label for label, _ in parts} & set(LABELS):
            return points
    named = {re.sub(r"\W", "_", label.lower()): marks for label, marks in parts}
    wrong = [name for name, count in LABELS.items() if len(named.get(name, [])) != count]
    require(not wrong, f"{path}: its labels must be those of 68 iBUG landmarks; {', '.join(wrong)} do not fit")
    return [mark for name in LABELS for mark in named[name]]
