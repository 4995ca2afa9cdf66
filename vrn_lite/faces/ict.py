"""ICT-FaceKit: 100 identity modes and 53 expressions from light-stage scans (MIT licence, USC ICT).

Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from scipy.spatial.transform import Rotation
from skimage.measure import points_in_poly

from vrn_lite.downloads import Download, cache_folder, download, fetch_once
from vrn_lite.faces.morphable import MorphableFace, grow_hair
from vrn_lite.frame import InputError, require

Points = Float[np.ndarray, "v 3"]
Mask = Float[np.ndarray, " v"]

OBJ_VERTICES, VERTICES, POLYGONS = 26719, 24591, 24691
"""Vertices of a source file, and how many vertices and polygons are kept: no tear film, no lashes."""

SPANS = {
    "face_narrow": slice(0, 6706), "face": slice(0, 9409), "head_neck": slice(9409, 11248),
    "mouth_socket": slice(11248, 13294), "gums_tongue": slice(14062, 17039), "teeth": slice(17039, 21451),
    "eye_socket_left": slice(13294, 13678), "eyeball_left": slice(21451, 23021), "iris_left": slice(22221, 23021),
    "eye_socket_right": slice(13678, 14062), "eyeball_right": slice(23021, 24591), "iris_right": slice(23791, 24591),
}  # fmt: skip
"""Vertices of each part; the left is the person's, x > 0."""

PATCH_POLYGONS, PATCH_VERTICES = 6560, 6706
"""The face without ears and neck: the first polygons and vertices of the model."""

JAW_EDGE = np.array([(-1, -3), (1.5, -3.2), (3, -6), (5.5, -8), (10.5, -7.8)])
"""(z, y) of the lower edge of the jaw, from the nape over the ear and the jaw's angle to the chin."""

HAIRLINE = np.array([
    (60, 10), (8.7, 10), (7.6, 9.8), (6.3, 8.8), (5.4, 7.2), (4.6, 4.5), (3.6, 2.5), (-0.5, 3), (-2.5, -2), (-7, -4.5),
    (-60, -4.5), (0, 60),
])  # fmt: skip
"""(z, y) outline of the hair in the side view: forehead, temple, sideburn, over the ear, nape."""

BEARD_TOP = np.array([(0, -1.5), (1.5, -1.6), (2.8, -2.4), (4.5, -3.2), (6, -2), (7, 0.5), (7.5, 2.5)])
"""(abs(x), y) of the upper edge of a beard in the frontal view."""

CROWNS = (-4.4, -2.3)
"""y between the edges of the lower and the upper gums: the roots of the teeth beyond them are never seen."""

COMMAND = "vrn-lite fetch ict"

ARRAYS = ("neutral", "identity", "expression", "expression_names", "polygons", "landmarks68")
"""What a converted model holds."""

SUMS = {
    "vertex_indices.json": "4f9b35306299980dd46bee4a6b79bb95dfae1953693b74b35a64f7febfd081a5",
    "generic_neutral_mesh.obj": "eedbc2576d8e5ea57f55255b8f98263213a1efb5431d8bfceed1d7aef10271f9",
    "identity000.obj": "918160cf82d541336b4c367cf93199c9827832bde02511b8fbdf9019d6f1a773",
    "identity001.obj": "325115059deb6691cb2d55da07ae38bb08ce36e4ea146982f294a17513155b3b",
    "jawOpen.obj": "8d84355e10f48b05550980cee385bcd426f4797090da76a20de0535bb2f99f4a",
    "mouthSmile_L.obj": "91794e73cef330f1c7d1f4541723544708536b39d5dd6ed35fd8f83f676b7af4",
    "neutral": "ac102c5e00e34f45d2b4e928e3bdcf3af5f1a90243d1a4cb70e30830bace78c9",
    "identity": "5937a2f251821018c067e36515c647f5160a6ed5891c35d5ff91c66bc2770b6b",
    "expression": "e583da94d59af0bb8722a0e4bd793324a75573b6d8480c6a8e3aa79ca8cbc155",
    "polygons": "d01b8db0965ce2cbc12e2346712d5ef3dcc3f8293e48771dd6c9c4690c3004ee",
    "landmarks68": "30a436b0d5c87c13d04a43803ea1d85964cdf497fff34614ddeeee6d28373f7e",
}
"""SHA-256 sums of the source files that are known beforehand, and of all arrays: these vouch for the other files."""


@dataclass(frozen=True)
class Release:
    """Where the public source files are, how many identity modes they hold, and the sums of what comes."""

    url: str = (
        "https://raw.githubusercontent.com/ICT-VGL/ICT-FaceKit/da5f95a607f5e6b37755b38d3385d7f2853732e5/FaceXModel/"
    )
    identities: int = 100
    sums: Mapping[str, str] = field(default_factory=lambda: SUMS)

    def files(self, names: Iterable[str]) -> Download:
        """Some of the source files, with those sums that are known."""
        return Download(self.url, {name: self.sums.get(name) for name in names}, COMMAND)


def cached_model() -> Path:
    """Where the converted model is: the environment variable VRN_LITE_ICT, else the user's cache."""
    return Path(os.environ.get("VRN_LITE_ICT") or cache_folder() / "ict_facekit.npz")


def ict(path: str | os.PathLike[str] | None = None) -> MorphableFace:
    """The ICT-FaceKit model, trimmed to what a camera at yaw -90 to 90 degrees can see.

    Parameters
    ----------
    path : the converted model; None for the environment variable VRN_LITE_ICT, else the user's cache.

    Returns
    -------
    MorphableFace in the model frame (x right, y up, z to the viewer), one unit being about 1 cm.
    Vertices 0 to 6,705 are the face patch, in the source's order.

    Raises
    ------
    InputError : the file is missing or is no such model.
    """
    data = _load(cached_model() if path is None else Path(path))
    neutral, expression = data["neutral"], data["expression"].astype(np.float32)
    names, landmarks = tuple(map(str, data["expression_names"])), data["landmarks68"]
    _turn_eyes(neutral, expression, names)
    quads = data["polygons"][:, 3] >= 0
    triangles = np.concatenate([data["polygons"][:, :3], data["polygons"][quads][:, [0, 2, 3]]])
    patch = np.concatenate([np.arange(len(quads)), np.flatnonzero(quads)]) < PATCH_POLYGONS
    regions = _regions(neutral, neutral[landmarks])
    seen = patch | _seen(neutral, triangles)
    rows, numbers = np.unique(triangles[seen], return_inverse=True)
    bald = MorphableFace(
        name="ict",
        mean=torch.from_numpy(neutral[rows]),
        identity=torch.from_numpy(data["identity"][:, rows].astype(np.float32)),
        expression=torch.from_numpy(expression[:, rows]),
        expression_names=names,
        triangles=torch.from_numpy(numbers.reshape(-1, 3).astype(np.int64)),
        landmarks=torch.from_numpy(landmarks.astype(np.int64)),
        patch=torch.from_numpy(patch[seen]),
        regions={name: torch.from_numpy(mask[rows].astype(np.float32)) for name, mask in regions.items()},
        often=("jawOpen", "mouthSmile"),
        needs={"mouthClose": "jawOpen"},
    )
    return grow_hair(bald)


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a converted model."""
    require(path.is_file(), f"no ICT-FaceKit model at {path}: run `{COMMAND}` once, or set VRN_LITE_ICT to the file")
    try:
        with path.open("rb") as file, np.load(file) as archive:
            return {name: archive[name] for name in ARRAYS}
    except (OSError, TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is not a converted ICT-FaceKit model ({error}): remove it and run `{COMMAND}`"
        ) from None


def fetch_ict(
    cache: str | os.PathLike[str] | None = None, release: Release | None = None, progress: bool = True
) -> Path:
    """Download ICT-FaceKit (about 390 MB) and convert it once; a second call finds the result, or goes on.

    Parameters
    ----------
    cache : folder for the model and, until it is converted, its source files; None for the place where `ict` looks.
    release : where the files are; None for the pinned commit of the public repository.
    progress : show a bar on standard error.

    Returns
    -------
    Path of the converted model, whose arrays have the known sums.

    Raises
    ------
    InputError : a file cannot be had, is cut short or is not the known one, or the folder cannot be written.
    """
    release, bar = release or Release(), "ICT-FaceKit" if progress else None
    target = cached_model() if cache is None else Path(cache) / "ict_facekit.npz"
    return fetch_once(target, release.files(["vertex_indices.json"]), lambda folder: _arrays(folder, release, bar))


def _arrays(folder: Path, release: Release, progress: str | None) -> dict[str, np.ndarray]:
    """The arrays of the model, from the meshes that the index names; where their sums differ, unknown meshes go."""
    expressions = json.loads((folder / "vertex_indices.json").read_text())["expressions"]
    stems = ["generic_neutral_mesh", *(f"identity{i:03d}" for i in range(release.identities)), *expressions]
    names = [f"{stem}.obj" for stem in stems]
    meshes = download(release.files(names), names, folder, progress)
    arrays = convert_ict(folder, release.identities)
    sums = {name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in arrays.items()}
    wrong = ", ".join(name for name in sums if sums[name] != release.sums.get(name, sums[name]))
    if wrong:
        for path in meshes:
            if path.name not in release.sums:
                path.unlink()
        raise InputError(
            f"the source files are not the known ones ({wrong} differ) and are removed: run `{COMMAND}` again"
        )
    return arrays


def convert_ict(folder: Path, identities: int = 100) -> dict[str, np.ndarray]:
    """Arrays of the model from the source files in `folder`; differences in float64, then rounded once to float16.

    Raises
    ------
    InputError : a file is not a mesh of 26,719 vertices.
    """
    index = json.loads((folder / "vertex_indices.json").read_text())
    neutral = _obj_vertices(folder / "generic_neutral_mesh.obj")
    lines = (folder / "generic_neutral_mesh.obj").read_text().splitlines()
    polygons = [line.split()[1:] for line in lines if line.startswith("f ")][:POLYGONS]
    corners = [[int(corner.split("/")[0]) - 1 for corner in polygon] for polygon in polygons]

    def differences(stems: Iterable[str]) -> np.ndarray:
        return np.stack([(_obj_vertices(folder / f"{stem}.obj") - neutral).astype(np.float16) for stem in stems])

    return {
        "neutral": neutral.astype(np.float32),
        "identity": differences(f"identity{i:03d}" for i in range(identities)),
        "expression": differences(index["expressions"]),
        "expression_names": np.array(index["expressions"]),
        "polygons": np.array([(*row, -1)[:4] for row in corners], dtype=np.int32),
        "landmarks68": np.array(index["idx_to_landmark_verts"], dtype=np.int32),
    }


def _obj_vertices(path: Path) -> Float64[np.ndarray, "v 3"]:
    """The kept vertices of a source file."""
    try:
        rows = [line.split()[1:4] for line in path.read_bytes().splitlines() if line.startswith(b"v ")]
        require(len(rows) == OBJ_VERTICES, f"{len(rows)} vertices, not {OBJ_VERTICES}")
        return np.array(rows[:VERTICES], dtype=np.float64)
    except ValueError as error:
        path.unlink()
        raise InputError(
            f"{path.name} is no ICT-FaceKit mesh ({error}) and is removed: run `{COMMAND}` again"
        ) from None


def _turn_eyes(neutral: Points, expression: Float[np.ndarray, "e v 3"], names: tuple[str, ...]) -> None:
    """Let the eyeballs follow the lids of the eyeLook expressions, in place: the source leaves that to the animator."""
    for side, part, sign in (("L", "left", 1), ("R", "right", -1)):
        ball = SPANS[f"eyeball_{part}"]
        rays = neutral[ball] - fit_sphere(neutral[ball.start : SPANS[f"iris_{part}"].start])[0]
        for look, yaw, pitch in (("In", -28 * sign, 0), ("Out", 28 * sign, 0), ("Up", 0, -20), ("Down", 0, 24)):
            turn = Rotation.from_euler("yx", [yaw, pitch], degrees=True)
            row = [name == f"eyeLook{look}_{side}" for name in names]
            expression[row, ball] += turn.apply(rays) - rays


def fit_sphere(points: Points) -> tuple[np.ndarray, float]:
    """Centre and radius of the sphere nearest to the points (linear least squares)."""
    points = points.astype(np.float64)
    solution = np.linalg.lstsq(np.c_[2 * points, np.ones(len(points))], (points**2).sum(1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + (solution[:3] ** 2).sum()))


def _seen(points: Points, triangles: Int[np.ndarray, "t 3"]) -> Bool[np.ndarray, " t"]:
    """Triangles ``[t]`` that some camera may see: no inner eyeballs, backs of teeth, eye sockets, roof of the mouth."""
    corners = points[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    size = np.linalg.norm(normal, axis=1)
    forward = normal[:, 2] > -0.2 * size
    x, y, z = corners.mean(1).T
    part = np.zeros(len(points), dtype=np.int8)
    for number, name in enumerate(("mouth_socket", "gums_tongue", "teeth"), start=1):
        part[SPANS[name]] = number
    for side in ("left", "right"):
        part[SPANS[f"eye_socket_{side}"]], part[SPANS[f"eyeball_{side}"]], part[SPANS[f"iris_{side}"]] = 4, 5, 6
    rules = {
        1: (y < -1.8) & (abs(x) > 0.6) & (normal[:, 2] < 0.6 * size),
        2: forward & (y > -4.6) & (y < -1) & (abs(x) < 2.6),
        3: forward & (y > CROWNS[0]) & (y < CROWNS[1]) & (abs(x) < 2.7),
        4: z > 8.6,
        5: z > 7.7,
        6: np.zeros_like(forward),
    }
    return np.select([part[triangles].max(1) == number for number in rules], list(rules.values()), default=True)


def _regions(points: Points, landmarks: Float[np.ndarray, "68 3"]) -> dict[str, Mask]:
    """Soft masks ``[v]`` for the renderer, drawn around the landmarks of the mean."""
    x, y, z = points.T
    number = np.arange(len(points))
    patch, skin = number < PATCH_VERTICES, number < SPANS["head_neck"].stop
    front, side = points[:, :2], points[:, [2, 1]]
    lips = patch * _soft(_signed_distance(front, landmarks[48:60, :2]), 0.16)
    brows = np.maximum(_brow(front, landmarks[17:22, :2]), _brow(front, landmarks[26:21:-1, :2]))
    socket, gums = SPANS["mouth_socket"], SPANS["gums_tongue"]
    teeth, mouth = np.zeros(len(points)), np.zeros(len(points))
    teeth[SPANS["teeth"]] = 1
    mouth[socket], mouth[gums] = _soft(10.4 - z[socket], 0.6), np.clip(0.45 + (10.5 - z[gums]) / 12, 0, 1)
    jaw = np.interp(z, *JAW_EDGE.T)
    ear = (number < SPANS["face"].stop) & ~patch & (np.hypot(z, y - 0.8) < 3.4) & (abs(x) > 7.9)
    hairy = skin * ~ear * 1.0
    inside = _signed_distance(side, HAIRLINE)
    cheeks = _soft(np.interp(abs(x), *BEARD_TOP.T) - y, 0.9)
    return _eye_masks(points) | {
        "lips": lips,
        "brows": patch * (z > 6) * brows,
        "teeth": teeth,
        "mouth": mouth,
        "neck": skin * _soft(jaw - y, 1.0),
        "scalp": hairy * _soft(inside, 1.2),
        "beard": skin * cheeks * _soft(z - 2.9, 1.6) * _soft(y - jaw + 1.0, 1.5) * (1 - lips),
    }


def _soft(distance: np.ndarray, width: float) -> np.ndarray:
    """A smooth step from 0 to 1, `width` wide, where `distance` passes zero."""
    t = np.clip(distance / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _segments(points: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance ``[v]`` of 2D points to a polyline, and the place of the nearest point along it in [0, 1]."""
    start, step = line[:-1], np.diff(line, axis=0)
    t = np.clip(((points[:, None] - start) * step).sum(-1) / (step**2).sum(-1), 0, 1)
    distance = np.linalg.norm(points[:, None] - start - t[..., None] * step, axis=-1)
    nearest = distance.argmin(1)
    rows = np.arange(len(points))
    return distance[rows, nearest], (nearest + t[rows, nearest]) / len(step)


def _signed_distance(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Distance ``[v]`` of 2D points to a polygon, positive inside."""
    distance, _ = _segments(points, np.concatenate([polygon, polygon[:1]]))
    return np.where(points_in_poly(points, polygon), distance, -distance)


def _brow(points: np.ndarray, line: np.ndarray) -> Mask:
    """A brow along five landmarks from the outer to the inner end, tapering outward."""
    distance, place = _segments(points, line + [0, 0.1])
    return _soft(0.18 + 0.24 * place - distance, 0.3)


def _eye_masks(points: Points) -> dict[str, Mask]:
    """Sclera, iris and pupil, painted on the outer shell of each eyeball around the cornea's axis."""
    masks = {name: np.zeros(len(points)) for name in ("sclera", "iris", "pupil")}
    for side in ("left", "right"):
        ball = slice(SPANS[f"eyeball_{side}"].start, SPANS[f"iris_{side}"].start)
        shell = points[ball].astype(np.float64)
        centre, ball_radius = fit_sphere(shell)
        ray = shell - centre
        bulge = np.linalg.norm(ray, axis=1) - ball_radius
        axis = (ray * np.maximum(bulge - 0.06, 0)[:, None]).sum(0)
        radius = np.linalg.norm(np.cross(ray, axis / np.linalg.norm(axis)), axis=1) + 9 * (ray @ axis < 0)
        masks["iris"][ball], masks["pupil"][ball] = _soft(0.58 - radius, 0.12), _soft(0.24 - radius, 0.08)
        masks["sclera"][ball] = 1 - masks["iris"][ball]
    return masks
