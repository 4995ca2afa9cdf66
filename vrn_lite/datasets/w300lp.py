"""300W-LP and AFLW2000-3D: photographs with the parameters of a Basel face fitted to each (Zhu et al., CVPR 2016).

Beside NAME.jpg lies NAME.mat with ``Shape_Para`` [199, 1], ``Exp_Para`` [29, 1], ``Pose_Para`` [1, 7] (pitch, yaw and
roll in radians, tx, ty, tz, scale), ``pt3d_68`` [3, 68] in AFLW2000-3D and ``pt2d`` [2, 68] in 300W-LP. The authors'
code projects a vertex v by::

    p = scale Rx(-pitch) Ry(-yaw) Rz(-roll) v + (tx, ty, tz)        x right, y up, z to the viewer
    column = px, row = height + 1 - py                              counted from 1, pixel centres at whole numbers

with the rotations of `camera.rotation_matrix`. Here that becomes a `Similarity` from the model frame to the photo's
frame (pixel (r, c) centred at (c + 1/2, r + 1/2), y down, z away): x = px - 1/2, y = height + 1/2 - py, z = -pz.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vrn_lite.camera import Similarity, crop_camera, rotation_matrix
from vrn_lite.evaluation.testsets import CHUNK, TestSet, part
from vrn_lite.faces.basel import BaselFace, array, read_mat
from vrn_lite.files import files_in, readable
from vrn_lite.frame import Grid, InputError, require
from vrn_lite.mesh import Mesh
from vrn_lite.photo.crop import window
from vrn_lite.photo.image_io import Photo, read_photo
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.samples import PAPER_JITTER, FacePairs, PoseRange, draw_jitter, flip_marked
from vrn_lite.synth.appearance import Rng
from vrn_lite.volume import voxelize

IMAGES = (".jpg", ".jpeg", ".png")

FARTHEST_OFF = 0.25
"""The model's landmarks may lie this share of their box's size away from the file's on average; further off, the model
is another one."""

INTEROCULAR = 9e4
"""Outer interocular distance of the Basel mean, roughly, in micrometres: for faces that are landmarks alone."""

GAIN = (0.6, 1.4)
"""The training's factor for each colour channel (paper section 3.4)."""


class Sample(NamedTuple):
    """A photograph and the face fitted to it.

    Attributes
    ----------
    name : of the file, without its ending.
    image : ``[h, w, 3]`` bytes.
    mesh : the closed face, model frame; without the model 68 landmarks and no triangles.
    camera : from the model frame to the photograph's frame, a batch of one.
    angles : yaw, pitch and roll in degrees, in the convention of `camera`.
    """

    name: str
    image: Photo
    mesh: Mesh
    camera: Similarity
    angles: Float[Tensor, " 3"]

    def placed(self) -> Mesh:
        """The face in the photograph's pixels: x right, y down, z away."""
        return self.mesh.with_vertices(self.camera(self.mesh.vertices[None])[0])


def photographs(folder: str | Path) -> list[Path]:
    """The photographs of a folder, in order; without any in the folder itself, those of the folders in it.

    Raises
    ------
    InputError : no such folder, or no photographs there.
    """
    return files_in(folder, IMAGES, "photographs")


def samples(folder: str | Path, face: BaselFace | None) -> Iterator[Sample]:
    """The photographs of a folder with their faces, one by one; errors as in `read_sample`."""
    for path in photographs(folder):
        yield read_sample(path, face)


def read_sample(path: str | Path, face: BaselFace | None) -> Sample:
    """A photograph, with the face that the .mat file of the same name tells; without a model, its landmarks alone.

    Raises
    ------
    InputError : either file is missing or cannot be read, parameters are missing, not finite or not as many as the
        model's, or the face does not lie where the file's landmarks say. The message begins with the file's name.
    """
    path = Path(path)
    image = read_photo(path)
    fit = read_fit(path, image.shape[0], face)
    return Sample(path.stem, image, fit.mesh, fit.camera.to(fit.mesh.vertices.device), fit.angles)


class Fit(NamedTuple):
    """What a .mat file tells of a photograph.

    Attributes
    ----------
    shape, expression : the model's parameters, as they stand in the file; empty without a model.
    mesh, camera, angles : as in `Sample`.
    """

    shape: Float[Tensor, " i"]
    expression: Float[Tensor, " m"]
    mesh: Mesh
    camera: Similarity
    angles: Float[Tensor, " 3"]


def read_fit(photo: Path, height: int, face: BaselFace | None) -> Fit:
    """What the .mat file of a photograph of that height tells; errors as in `read_sample`."""
    path = photo.with_suffix(".mat")
    require(path.is_file(), f"{photo} has no {path.name} beside it, which tells its face")
    data = read_mat(path)
    wanted = {"Pose_Para": 7}
    if face is not None:
        wanted |= {"Shape_Para": len(face.identity_scale), "Exp_Para": len(face.expression_scale)}
    numbers = {name: torch.from_numpy(array(data, name, path).reshape(-1)).float() for name in wanted}
    for name, count in wanted.items():
        got = len(numbers[name])
        require(got == count, f"{path}: {name} must hold {count} numbers, as the model has, got {got}")
    pose = numbers["Pose_Para"]
    require(float(pose[6]) > 0, f"{path}: the scale in Pose_Para must be positive, got {float(pose[6]):g}")
    camera, angles = fitted_camera(pose, height)
    given = _given(data, path, height)
    if face is None:
        if given is None:
            raise InputError(f"{path} has neither pt3d_68 nor pt2d with 68 landmarks")
        return Fit(pose[:0], pose[:0], landmark_mesh(camera.inverse()(given[None])[0]), camera, angles)
    shape, expression = numbers["Shape_Para"], numbers["Exp_Para"]
    try:
        mesh = face.mesh(*face.coefficients(shape.to(face.mean), expression.to(face.mean)))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if given is not None and "pt3d_68" in data:
        _compare(camera(mesh.landmark_points().cpu()[None])[0], given, path)
    return Fit(shape, expression, mesh, camera, angles)


def _given(data: dict[str, np.ndarray], path: Path, height: int) -> Float[Tensor, "68 3"] | None:
    """The landmarks in the file, photograph's frame: ``pt3d_68``, else ``pt2d`` (depth 0), else None."""
    name = "pt3d_68" if "pt3d_68" in data else "pt2d"
    if name == "pt2d" and (name not in data or data[name].shape != (2, 68)):  # AFLW2000-3D's holds 21 others
        return None
    points = torch.from_numpy(array(data, name, path)).float()
    right = points.shape == (3 if name == "pt3d_68" else 2, 68)
    require(right, f"{path}: pt3d_68 must be [3, 68], got the shape {tuple(points.shape)}")
    depth = -points[2] if len(points) == 3 else torch.zeros(68)
    return torch.stack((points[0] - 0.5, points[1] - 0.5, depth), 1)


def _compare(points: Float[Tensor, "68 3"], goal: Float[Tensor, "68 3"], path: Path) -> None:
    """Refuse a face whose landmarks lie far from those in its file."""
    size = float((goal[:, :2].amax(0) - goal[:, :2].amin(0)).prod().sqrt())
    away = float((points - goal)[:, :2].norm(dim=-1).mean())
    where = f"the model's landmarks lie {away:.0f} px from pt3d_68 on average"
    require(away <= FARTHEST_OFF * size, f"{path}: {where}: its Model_Shape.mat is another one")


def landmark_mesh(points: Float[Tensor, "*b 68 3"]) -> Mesh:
    """A face of which the landmarks alone are known: no triangles, no solid."""
    return Mesh(points, torch.zeros(0, 3, dtype=torch.long, device=points.device), landmarks=torch.arange(68))


def fitted_camera(pose: Float[Tensor, " 7"], height: int) -> tuple[Similarity, Float[Tensor, " 3"]]:
    """The camera of ``Pose_Para`` (model frame to photograph's frame, a batch of one); yaw, pitch and roll in degrees.

    Parameters
    ----------
    pose : pitch, yaw, roll in radians, tx, ty, tz, scale, as the authors count them.
    height : of the photograph, pixels.
    """
    pitch, yaw, roll = -pose[:3, None].double().rad2deg()
    nil = torch.zeros_like(yaw)
    turned = rotation_matrix(nil, pitch, nil) @ rotation_matrix(yaw, nil, nil) @ rotation_matrix(nil, nil, roll)
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=turned.dtype)
    x, y, z, scale = pose[3:].double()
    shift = torch.stack((x - 0.5, height + 0.5 - y, -z))
    return Similarity(scale[None].float(), (flip[:, None] * turned).float(), shift[None].float()), angles_of(turned)[
        0
    ].float()


def angles_of(rotation: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 3"]:
    """Yaw, pitch and roll in degrees, of which `rotation_matrix` makes these rotations.

    Examples
    --------
    >>> yaw, pitch, roll = torch.tensor([50.0]), torch.tensor([-20.0]), torch.tensor([10.0])
    >>> angles_of(rotation_matrix(yaw, pitch, roll)).round(decimals=3)
    tensor([[ 50., -20.,  10.]])
    """
    pitch = torch.asin(rotation[:, 2, 1].clamp(-1, 1))
    yaw, roll = torch.atan2(-rotation[:, 2, 0], rotation[:, 2, 2]), torch.atan2(-rotation[:, 0, 1], rotation[:, 1, 1])
    return torch.stack((yaw, pitch, roll), 1).rad2deg()


def paired(
    batch: Sequence[Sample],
    interocular: float,
    grid: Grid,
    motion: Similarity | None = None,
    mirrored: Bool[Tensor, " b"] | None = None,
) -> FacePairs:
    """Samples as aligned images and volumes, cropped by the box of their landmarks (the authors' rule).

    `motion` follows the crop, in the voxel frame; `mirrored` marks what is flipped left to right. Faces of which the
    landmarks alone are known have empty volumes.
    """
    shapes = batch[0].mesh.with_vertices(torch.stack([sample.mesh.vertices for sample in batch]))
    device = shapes.vertices.device
    yaw, pitch, roll = torch.stack([sample.angles for sample in batch], 1).to(device)
    camera = crop_camera(shapes.landmark_points(), yaw, pitch, roll, interocular, grid)
    camera = camera if motion is None else camera.compose(motion)
    truth = shapes.with_vertices(camera(shapes.vertices))
    moves = [s.camera.inverse().compose(part(camera, slice(k, k + 1))) for k, s in enumerate(batch)]
    images = torch.stack([window(s.image, move, grid) for s, move in zip(batch, moves, strict=True)]).to(device)
    if len(truth.triangles):
        volumes = voxelize(truth.vertices, truth.solid_triangles(), grid.shape, grid.depth_scale)
    else:
        volumes = torch.zeros(len(batch), *grid.shape, dtype=torch.bool, device=device)
    marks = torch.zeros(len(batch), dtype=torch.bool, device=device) if mirrored is None else mirrored
    names = tuple(sample.name for sample in batch)
    points = truth.landmark_points()
    return flip_marked(FacePairs(images, volumes, points, truth, marks, yaw, pitch, camera, tags=names))


def augmented(
    batch: Sequence[Sample], interocular: float, grid: Grid, generator: torch.Generator, poses: PoseRange
) -> FacePairs:
    """Samples with the paper's augmentation: turned, moved, resized, mirrored, each colour channel scaled."""
    rng = Rng.of(generator, len(batch), batch[0].mesh.vertices.device)
    motion, mirrored = draw_jitter(poses, grid, rng.stream("view")), rng.stream("mirror").bernoulli(poses.mirror) > 0
    pairs = paired(batch, interocular, grid, motion, mirrored)
    pairs.images.mul_(rng.stream("colour").uniform(*GAIN, 3)[..., None, None]).clamp_(0, 1)
    return pairs


def aflw2000(folder: str | Path, face: BaselFace) -> TestSet:
    """AFLW2000-3D, or any folder of photographs with such .mat files, as a test set; tags are the photographs' names.

    All are read once before; what cannot be read is not among the samples, and told as `TestSet.left_out`.

    Parameters
    ----------
    folder : of NAME.jpg and NAME.mat.
    face : the model, `faces.basel`.

    Raises
    ------
    InputError : no photographs, or none that can be read.
    """
    left_out = dict[str, str]()
    paths = list(readable(photographs(folder), lambda path: read_sample(path, face) and path, left_out))
    require(len(paths) > 0, f"no photograph in {folder} can be read: {next(iter(left_out.values()), '')}")

    def make(preset: Preset) -> Iterator[FacePairs]:
        for start in range(0, len(paths), CHUNK):
            batch = list(readable(paths[start : start + CHUNK], lambda path: read_sample(path, face), left_out))
            if batch:
                yield paired(batch, face.interocular, preset.grid)

    return TestSet("aflw2000", "AFLW2000-3D", face, len(paths), make, left_out=left_out)


def pairs_from(
    folder: str | Path | Sequence[Path],
    face: BaselFace,
    preset: Preset | str,
    batch: int,
    generator: torch.Generator,
    device: torch.device | str | None = None,
    *,
    poses: PoseRange = PAPER_JITTER,
) -> FacePairs:
    """A batch of training samples from photographs (300W-LP): `make_pairs` for real pictures.

    For a training, prepare them once: `photographs.prepare`.

    Parameters
    ----------
    folder : of NAME.jpg and NAME.mat, or what `photographs` has found there, which spares looking again.
    face : the model, `faces.basel`.
    poses : augmentation; its ranges of yaw and pitch mean nothing here, as the photographs have theirs.
    """
    grid = preset_named(preset).grid
    face = face if device is None else face.to(device)
    paths = photographs(folder) if isinstance(folder, str | Path) else folder
    chosen = torch.randint(len(paths), (batch,), generator=generator).tolist()
    return augmented([read_sample(paths[number], face) for number in chosen], face.interocular, grid, generator, poses)
