"""The Basel Face Model with the expressions of 300W-LP and AFLW2000-3D, from the user's licensed files.

Paysan et al., "A 3D Face Model for Pose and Illumination Invariant Face Recognition", AVSS 2009; cut and given
expressions by Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016, whose code writes
``Model_Shape.mat`` from the university's ``01_MorphableModel.mat`` and ships ``Model_Exp.mat``
(``Model_Expression.mat`` with AFLW2000-3D). Micrometres; x right, y up, z to the viewer. Nobody may pass it on.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.io import loadmat
from torch import Tensor

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.faces.patch import face_region, facing, open_patch
from vrn_lite.frame import InputError, require

SHAPE = "Model_Shape.mat"
EXPRESSIONS = ("Model_Exp.mat", "Model_Expression.mat")
MASKS = ("face_mask.mat", "face_mask.npy", "face_mask.txt")
"""Names of the model's files; of several names the first that exists counts."""

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
    path : ``Model_Shape.mat`` or its folder, with ``Model_Exp.mat`` or ``Model_Expression.mat`` beside it.
    mask : a .npy, .txt or .mat file that tells the face's vertices from ears and neck: a 0 or 1 for each vertex, or the
        numbers of the face's vertices, counted from 0 (in a .mat from 1). None for ``face_mask.mat``, ``.npy`` or
        ``.txt`` beside the model, and without one for what `face_region` finds by the landmarks.
        The paper counts its errors on "around 19,600" vertices and does not say which: numbers differ with the mask.

    Raises
    ------
    InputError : a file is missing or cannot be read, an array in it is missing or does not fit, or the mask does not.
    """
    file = Path(path) / SHAPE if Path(path).is_dir() else Path(path)
    require(file.is_file(), f"no Basel model at {file}: give {SHAPE} of 300W-LP or AFLW2000-3D (see the README)")
    moves = _beside(file, EXPRESSIONS)
    if moves is None:
        raise InputError(f"{' or '.join(EXPRESSIONS)} is missing beside {file}: copy it there (see the README)")
    shape, motion = read_mat(file), read_mat(moves)
    flat = array(shape, "mu_shape", file).reshape(-1)
    count = len(flat) // 3
    require(len(flat) == 3 * count, f"{file}: mu_shape must hold x, y and z of every vertex, got {len(flat)} numbers")
    identity, identity_scale = _modes(shape, "w", "sigma", file, count)
    signed, expression_scale = _modes(motion, "w_exp", "sigma_exp", moves, count)
    neutral = array(motion, "mu_exp", moves).reshape(-1)
    fits = f"mu_exp has {len(neutral)} numbers, mu_shape of {file.name} {len(flat)}"
    require(len(neutral) == len(flat), f"{moves} belongs to another model: {fits}")
    mean = torch.from_numpy((flat + neutral).reshape(-1, 3)).float()
    triangles = _numbers(shape, "tri", file, count).T.contiguous()
    landmarks = _numbers(shape, "keypoints", file, count).flatten()
    require(len(landmarks) == 68, f"{file}: keypoints must be 68 vertex numbers, got {len(landmarks)}")
    chosen = _mask(mask, file, count)
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


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a MATLAB file.

    Raises
    ------
    InputError : it cannot be read.
    """
    try:
        return {name: values for name, values in loadmat(path).items() if not name.startswith("__")}
    except NotImplementedError:
        raise InputError(f"{path} is a MATLAB 7.3 file: save it in MATLAB once more with -v7") from None
    except Exception as error:  # SciPy raises whatever a damaged file makes it raise
        raise InputError(f"{path} is not a MATLAB file that can be read ({error})") from None


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


def _modes(
    data: dict[str, np.ndarray], name: str, sigma: str, path: Path, count: int
) -> tuple[Float[Tensor, "k v 3"], Float[Tensor, " k"]]:
    """Modes per unit of their parameters, and the parameters' standard deviations."""
    modes, scale = array(data, name, path), array(data, sigma, path).reshape(-1)
    fits = modes.ndim == 2 and len(modes) == 3 * count
    require(fits, f"{path}: {name} must have 3 x {count} rows, got the shape {modes.shape}")
    wanted = f"a number for each of the {modes.shape[1]} columns of {name}"
    require(len(scale) == modes.shape[1], f"{path}: {sigma} must have {wanted}, got {len(scale)}")
    require(bool((scale > 0).all()), f"{path}: {sigma} must be positive")
    return torch.from_numpy(modes.T.astype(np.float32)).unflatten(1, (count, 3)), torch.from_numpy(scale).float()


def _numbers(data: dict[str, np.ndarray], name: str, path: Path, count: int) -> Tensor:
    """Vertex numbers of a MATLAB file, counted from 0."""
    values = array(data, name, path)
    whole = bool((values == values.round()).all() and values.min() >= 1 and values.max() <= count)
    require(whole, f"{path}: {name} must be vertex numbers from 1 to {count}")
    threes = name != "tri" or (values.ndim == 2 and 3 in values.shape)
    require(threes, f"{path}: tri must be [3, t], got the shape {values.shape}")
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
    try:
        values = np.load(path) if path.suffix == ".npy" else np.loadtxt(path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as numbers ({error})") from None
    return array({path.stem: values}, path.stem, path).reshape(-1)
