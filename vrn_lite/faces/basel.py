"""The Basel Face Model with the expressions of 300W-LP and AFLW2000-3D, from the user's licensed files.

Paysan et al., "A 3D Face Model for Pose and Illumination Invariant Face Recognition", AVSS 2009; cut and given
expressions by Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016. Micrometres; x right, y up,
z to the viewer. Nobody may pass it on. One folder holds the files, in any of the forms that people have::

    shape        Model_Shape.mat        written by 3DDFA's code from 01_MorphableModel.mat
                 BFM.mat                face3d's, a struct `model` that holds the expressions too
                 01_MorphableModel.mat  the university's, with 3DDFA's model_info.mat (trimIndex, keypoints)
                 u_shp.npy              3DDFA's Python parts: w_shp_sim.npy, keypoints_sim.npy, tri.mat, param_std.npy
    expressions  Model_Exp.mat          3DDFA's; Model_Expression.mat with AFLW2000-3D
                 Exp_Pca.bin            Guo et al.'s (github.com/Juyong/3DFace); std_exp.txt: Deep3DFaceReconstruction's
                 u_exp.npy              with w_exp_sim.npy

An array that its file lacks may lie beside it in a file of its own (sigma_exp.mat, tri.mat, keypoints.txt). The
photographs' parameters are those of Model_Exp.mat (BFM.mat has the same) with all modes; pickles are never opened.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.io import loadmat
from torch import Tensor

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.faces.patch import face_region, facing, open_patch
from vrn_lite.frame import InputError, require

SHAPES = {
    "Model_Shape.mat": ("mu_shape", "w", "sigma"),
    "BFM.mat": ("shapeMU", "shapePC", "shapeEV"),
    "01_MorphableModel.mat": ("shapeMU", "shapePC", "shapeEV"),
    "u_shp.npy": ("u_shp", "w_shp_sim", "param_std"),
}
MOTIONS = {
    "BFM.mat": ("expMU", "expPC", "expEV"),
    "Model_Exp.mat": ("mu_exp", "w_exp", "sigma_exp"),
    "Model_Expression.mat": ("mu_exp", "w_exp", "sigma_exp"),
    "Exp_Pca.bin": ("expMU", "expPC", "std_exp"),
    "u_exp.npy": ("u_exp", "w_exp_sim", "param_std"),
}
"""What files of identities and expressions call the mean, the modes, and the standard deviations of their parameters;
of several files the first counts."""

KEYPOINTS = ("keypoints", "kpt_ind", "keypoints_sim")
MASKS = ("face_mask.mat", "face_mask.npy", "face_mask.txt")
"""Names of the landmarks' numbers, and of the file that tells the face's vertices."""

UNPICKLE = "import pickle, numpy; [numpy.save(k, v) for k, v in pickle.load(open('param_whitening.pkl', 'rb')).items()]"
ORIGIN = {
    "param_std": "param_whitening.pkl of 3DDFA has it, a pickle, which may run anything when it is opened and is not "
    f'opened here: where you trust it, write its arrays in that folder by python -c "{UNPICKLE}"',
    "std_exp": "std_exp.txt is in Deep3DFaceReconstruction's BFM folder",
    "sigma_exp": "sigma_exp.mat comes with 3DDFA (Face Profiling)",
    "keypoints": "model_info.mat of 3DDFA has the 68 vertex numbers, or write them to keypoints.txt, counted from 1",
    "trimIndex": "model_info.mat of 3DDFA has it",
    "sigma": "it is shapeEV of the university's 01_MorphableModel.mat",
    "tri": "tri.mat of 3DDFA (visualize) has it",
}
"""Where to get what is often missing."""

REACH = 2.0
"""Standard deviations of an expression's mode at coefficient 1."""


@dataclass(frozen=True, kw_only=True)
class BaselFace(MorphableFace):
    """The model, and what its files' parameters are measured in.

    Each mode of expression, which may go either way, becomes two blendshapes, ``modeNN+`` and ``modeNN-``.

    Attributes
    ----------
    identity_scale : ``[i]``, one standard deviation of each identity parameter.
    expression_scale : ``[m]``, one standard deviation of each of the m expression parameters (of 2 m blendshapes).
    """

    identity_scale: Float[Tensor, " i"]
    expression_scale: Float[Tensor, " m"]

    def to(self, device: torch.device | str) -> "BaselFace":
        """A copy on `device`."""
        return cast(BaselFace, super().to(device))

    def coefficients(
        self, shape: Float[Tensor, "*b i"], expression: Float[Tensor, "*b m"]
    ) -> tuple[Float[Tensor, "*b i"], Float[Tensor, "*b e"]]:
        """Coefficients for `mesh` from ``Shape_Para`` and ``Exp_Para`` as the data sets' files hold them."""
        signed = expression / (REACH * self.expression_scale)
        return shape / self.identity_scale, torch.stack((signed.clamp(min=0), (-signed).clamp(min=0)), -1).flatten(-2)


def basel(path: str | os.PathLike[str], mask: str | os.PathLike[str] | None = None) -> BaselFace:
    """The model from its files.

    Parameters
    ----------
    path : the folder of the model's files, or the file of its shape (see above).
    mask : a .npy, .txt or .mat file that tells the face's vertices from ears and neck: a 0 or 1 for each vertex, or the
        numbers of the face's vertices, counted from 0 (in a .mat from 1). None for ``face_mask.mat``, ``.npy`` or
        ``.txt`` beside the model, and without one for what `face_region` finds by the landmarks.
        The paper counts its errors on "around 19,600" vertices and does not say which: numbers differ with the mask.

    Raises
    ------
    InputError : a file is missing or cannot be read, an array in it is missing or does not fit, or the mask does not.
    """
    file = _shape_file(Path(path))
    data = opened(file)
    flat, identity, identity_scale, kept = _identities(data, file)
    neutral, signed, expression_scale = _expressions(data, file, flat)
    mean = torch.from_numpy((flat + neutral).reshape(-1, 3)).float()
    landmarks, triangles = _landmarks(data, file, len(kept)), _triangles(data, file, kept)
    chosen = _mask(mask, file, len(kept))
    patch = open_patch(triangles, face_region(mean, mean[landmarks]) if chosen is None else chosen)
    reach = REACH * expression_scale[:, None, None] * signed
    return BaselFace(
        name="basel",
        mean=mean,
        identity=identity_scale[:, None, None] * identity,
        expression=torch.stack((reach, -reach), 1).flatten(0, 1),
        expression_names=tuple(f"mode{mode:02d}{sign}" for mode in range(len(signed)) for sign in "+-"),
        triangles=facing(mean, triangles, patch),
        landmarks=landmarks,
        patch=patch,
        identity_scale=identity_scale,
        expression_scale=expression_scale,
    )


def _shape_file(path: Path) -> Path:
    """The file of the model's shape: itself, or the first known one of a folder."""
    file = _beside(path / "any", tuple(SHAPES)) if path.is_dir() else path
    if file is None or not file.is_file():
        known = "Model_Shape.mat of 300W-LP or AFLW2000-3D, BFM.mat of face3d, u_shp.npy of 3DDFA"
        whose = "01_MorphableModel.mat of the University of Basel"
        raise InputError(f"no Basel model at {path}: give the folder of {known}, or {whose} (see the README)")
    return file


def _identities(data: dict[str, np.ndarray], file: Path) -> tuple[np.ndarray, Tensor, Tensor, np.ndarray]:
    """The mean ``[3 v]``, identity's modes and deviations, and which of the file's vertices these are."""
    names = next((names for names in SHAPES.values() if names[0] in data), SHAPES["Model_Shape.mat"])
    mean, modes, sigma = (part(data, file, name) for name in names)
    flat, size = mean.values.reshape(-1), mean.values.size
    require(size % 3 == 0, f"{mean.path}: {mean.name} must hold x, y and z of every vertex, got {size} numbers")
    kept = np.arange(size // 3)
    if "tl" in data:  # the university's own file: the others' models lack the back of the neck
        index = file.with_name("BFM_exp_idx.mat")
        held = opened(index) if index.is_file() else data
        kept = _numbers(part(held, index if index.is_file() else file, "trimIndex"), size // 3).flatten().numpy()
        rows = (3 * kept[:, None] + np.arange(3)).reshape(-1)
        require(len(modes.values) == size, f"{modes.path}: {modes.name} must have {size} rows, got {len(modes.values)}")
        flat, modes = flat[rows], modes._replace(values=modes.values[rows])
    return flat, *_modes(modes, sigma, len(kept), 12), kept


def _expressions(data: dict[str, np.ndarray], file: Path, flat: np.ndarray) -> tuple[np.ndarray, Tensor, Tensor]:
    """What the expressions' mean adds to the shape's, the expressions' modes and deviations."""
    moves = file if MOTIONS["BFM.mat"][0] in data else _beside(file, tuple(MOTIONS))
    if moves is None:
        raise InputError(
            f"Model_Exp.mat or Model_Expression.mat is missing beside {file}: copy it there from 3DDFA's code or from "
            "AFLW2000-3D; Exp_Pca.bin of Guo et al. makes faces too, but has other parameters than the photographs"
        )
    names = next(names for name, names in MOTIONS.items() if name == moves.name or names[0] in data)
    motion = data if moves == file else opened(moves)
    neutral, modes, sigma = (part(motion, moves, name) for name in names)
    fits = f"{neutral.name} has {neutral.values.size} numbers, the mean of {file.name} {len(flat)}"
    require(neutral.values.size == len(flat), f"{moves} belongs to another model: {fits}")
    return neutral.values.reshape(-1), *_modes(modes, sigma, len(flat) // 3, -modes.values.shape[-1])


def _landmarks(data: dict[str, np.ndarray], file: Path, count: int) -> Tensor:
    """The 68 landmarks' vertices."""
    points = part(data, file, *KEYPOINTS)
    if points.name == "keypoints_sim":  # 3DDFA's Python code counts coordinates, from 0
        points = points._replace(values=points.values.reshape(-1)[::3] // 3 + 1)
    landmarks = _numbers(points, count).flatten()
    require(len(landmarks) == 68, f"{points.path}: {points.name} must be 68 vertex numbers, got {len(landmarks)}")
    return landmarks


def _triangles(data: dict[str, np.ndarray], file: Path, kept: np.ndarray) -> Tensor:
    """Vertex numbers ``[t, 3]``; of the university's file, the triangles whose vertices are all kept."""
    if "tl" not in data:
        return _numbers(part(data, file, "tri"), len(kept)).T.contiguous()
    size = array(data, "shapeMU", file).size // 3
    new = torch.full((size,), -1).index_copy(0, torch.from_numpy(kept), torch.arange(len(kept)))
    triangles = new[_numbers(part(data, file, "tl"), size).T]
    return triangles[(triangles >= 0).all(1)]


class Part(NamedTuple):
    """An array of the model, its name, and the file that holds it."""

    name: str
    values: Float[np.ndarray, "..."]
    path: Path


def part(data: dict[str, np.ndarray], file: Path, *names: str) -> Part:
    """The first of these arrays that a file, a file of the array's own name beside it, or ``model_info.mat`` holds.

    Raises
    ------
    InputError : none of them is anywhere; the text says where to get it.
    """
    info = file.with_name("model_info.mat")
    more = opened(info) if info.is_file() and info != file and not set(names) & set(data) else {}
    for name in names:
        own = _beside(file, tuple(f"{name}{ending}" for ending in (".mat", ".npy", ".txt")))
        if name in data or own is None and name in more:
            path, found = (file, data) if name in data else (info, more)
            return Part(name, array(found, name, path), path)
        if own is not None:
            held = opened(own)
            return Part(name, array(held, name if name in held else next(iter(held), name), own), own)
    hint = f", and no {names[0]}.mat, .npy or .txt lies beside it: {ORIGIN[names[0]]}" if names[0] in ORIGIN else ""
    raise InputError(f"{file} has no {names[0]}{hint}")


def opened(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of the model; those of a struct by their own names.

    Raises
    ------
    InputError : it cannot be read.
    """
    if path.suffix.lower() == ".mat":
        return read_mat(path)
    if path.suffix.lower() != ".bin":
        return {path.stem: _plain(path)}
    data = path.read_bytes()
    modes = int(np.frombuffer(data[:4].ljust(4, b"\0"), "<i4")[0])
    size, rest = divmod(len(data) - 4, 4 * (modes + 1)) if modes > 0 else (0, 1)
    require(size > 0 and rest == 0, f"{path} is no Exp_Pca.bin: its size does not fit its first number, {modes} modes")
    values = np.frombuffer(data, "<f4", offset=4).reshape(modes + 1, size)
    return {"expMU": values[0], "expPC": values[1:].T}


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a MATLAB file.

    Raises
    ------
    InputError : it cannot be read.
    """
    try:
        data = {name: values for name, values in loadmat(path).items() if not name.startswith("__")}
    except NotImplementedError:
        raise InputError(f"{path} is a MATLAB 7.3 file: save it in MATLAB once more with -v7") from None
    except Exception as error:  # SciPy raises whatever a damaged file makes it raise
        raise InputError(f"{path} is not a MATLAB file that can be read ({error})") from None
    for name, values in [*data.items()]:
        if values.dtype.names and values.size == 1:
            del data[name]
            data |= {field: values.flat[0][field] for field in values.dtype.names}
    return data


def array(data: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    """An array of a MATLAB file as finite float64.

    Raises
    ------
    InputError : it is missing, holds no numbers, or numbers that are not finite.
    """
    if name not in data:
        raise InputError(f"{path} has no {name}")
    values = np.asarray(data[name])
    require(values.dtype.kind in "buif" and values.size > 0, f"{path}: {name} holds no numbers")
    require(bool(np.isfinite(values).all()), f"{path}: {name} has values that are not finite (NaN or infinity)")
    return values.astype(np.float64)


def _modes(modes: Part, sigma: Part, count: int, first: int) -> tuple[Float[Tensor, "k v 3"], Float[Tensor, " k"]]:
    """Modes per unit of their parameters, and the parameters' standard deviations.

    3DDFA's ``param_std`` has those of pose, shape and expression in one row; there, they begin at `first`.
    """
    values, scale = modes.values, sigma.values.reshape(-1)
    fits = values.ndim == 2 and len(values) == 3 * count
    require(fits, f"{modes.path}: {modes.name} must have 3 x {count} rows, got the shape {values.shape}")
    many = values.shape[1]
    scale = scale[first:][:many] if sigma.name == "param_std" else scale
    wanted = f"a number for each of the {many} columns of {modes.name}"
    require(len(scale) == many, f"{sigma.path}: {sigma.name} must have {wanted}, got {len(scale)}")
    require(bool((scale > 0).all()), f"{sigma.path}: {sigma.name} must be positive")
    return torch.from_numpy(values.T.astype(np.float32)).unflatten(1, (count, 3)), torch.from_numpy(scale).float()


def _numbers(part: Part, count: int) -> Tensor:
    """Vertex numbers of a file, counted from 0; triangles as ``[3, t]``."""
    name, values, path = part
    whole = bool((values == values.round()).all() and values.min() >= 1 and values.max() <= count)
    require(whole, f"{path}: {name} must be vertex numbers from 1 to {count}")
    threes = not name.startswith("t") or name == "trimIndex" or (values.ndim == 2 and 3 in values.shape)
    require(threes, f"{path}: {name} must be [3, t], got the shape {values.shape}")
    return torch.from_numpy(np.ascontiguousarray(values if values.shape[0] in (1, 3) else values.T)).long() - 1


def _beside(file: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these files in the folder of another."""
    return next((file.with_name(name) for name in names if file.with_name(name).is_file()), None)


def _mask(mask: str | os.PathLike[str] | None, file: Path, count: int) -> Bool[Tensor, " v"] | None:
    """The face's vertices by a mask file; None where there is none."""
    path = _beside(file, MASKS) if mask is None else Path(mask)
    if path is None:
        return None
    require(path.is_file(), f"no such mask: {path}")
    values = read_numbers(path)
    if len(values) == count:
        binary = bool(np.isin(values, (0, 1)).all())
        require(binary, f"{path}: a mask with one value for each of the {count} vertices holds 0 and 1 only")
        return torch.from_numpy(values == 1)
    values = values - 1 if path.suffix == ".mat" else values
    whole = bool((values == values.round()).all() and values.min() >= 0 and values.max() < count)
    found = f"got {len(values)} values up to {values.max():g}"
    require(whole, f"{path} does not fit the model: {count} values 0 or 1, or numbers of vertices, are needed, {found}")
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[torch.from_numpy(values).long()] = True
    return chosen


def read_numbers(path: Path) -> Float[np.ndarray, " n"]:
    """All numbers of a .npy, .txt or .mat file in one row; a .mat file must hold one array.

    Raises
    ------
    InputError : it cannot be read, or holds something else.
    """
    if path.suffix == ".mat":
        data = read_mat(path)
        require(len(data) == 1, f"{path} must hold one array, got {len(data)}")
        return array(data, next(iter(data)), path).reshape(-1)
    require(path.suffix in (".npy", ".txt"), f"{path}: a .npy, .txt or .mat file is needed")
    return array({path.stem: _plain(path)}, path.stem, path).reshape(-1)


def _plain(path: Path) -> np.ndarray:
    """The array of a .npy or text file; one that holds a pickle is not opened."""
    try:
        return np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else np.loadtxt(path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as numbers ({error})") from None
