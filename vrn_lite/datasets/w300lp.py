"""300W-LP and AFLW2000-3D: photographs with the parameters of a Basel face fitted to each (Zhu et al., CVPR 2016).

Beside NAME.jpg lies NAME.mat with ``Shape_Para`` [199, 1], ``Exp_Para`` [29, 1], ``Pose_Para`` [1, 7] (pitch, yaw and roll
in radians, tx, ty, tz, scale) and, in AFLW2000-3D, ``pt3d_68`` [3, 68]. The authors' code projects a vertex v by::

    p = scale Rx(-pitch) Ry(-yaw) Rz(-roll) v + (tx, ty, tz)        x right, y up, z to the viewer
    column = px, row = height + 1 - py                              counted from 1, pixel centres at whole numbers

with the rotations of `camera.rotation_matrix`. Here that becomes a `Similarity` from the model frame to the photograph's
frame (pixel (r, c) centred at (c + 1/2, r + 1/2), y down, z away): x = px - 1/2, y = height + 1/2 - py, z = -pz.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vrn_lite.camera import Similarity, crop_camera, rotation_matrix
from vrn_lite.datasets.real import RealSet, files_in
from vrn_lite.evaluation.testsets import CHUNK, part
from vrn_lite.faces.basel import BaselFace, array, read_mat
from vrn_lite.frame import Grid, Image, InputError, require
from vrn_lite.mesh import Mesh
from vrn_lite.photo.image_io import read_photo
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.samples import PAPER_JITTER, FacePairs, PoseRange, draw_jitter, flip_marked
from vrn_lite.synth.appearance import Rng
from vrn_lite.volume import voxelize

IMAGES = (".jpg", ".jpeg", ".png")

FARTHEST_OFF = 0.25
"""The model's landmarks may lie this share of their box's size away from ``pt3d_68`` on average; further off, the model is another one."""

GAIN = (0.6, 1.4)
"""The training's factor for each colour channel (paper section 3.4)."""


class Sample(NamedTuple):
    """A photograph and the face fitted to it.

    Attributes
    ----------
    name : of the file, without its ending.
    image : ``[3, h, w]`` in [0, 1].
    mesh : the closed face, model frame.
    camera : from the model frame to the photograph's frame, a batch of one.
    angles : yaw, pitch and roll in degrees, in the convention of `camera`.
    """

    name: str
    image: Float[Tensor, "3 h w"]
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


def samples(folder: str | Path, face: BaselFace) -> Iterator[Sample]:
    """The photographs of a folder with their faces, one by one; errors as in `read_sample`."""
    for path in photographs(folder):
        yield read_sample(path, face)


def read_sample(path: str | Path, face: BaselFace) -> Sample:
    """A photograph, with the face that the .mat file of the same name tells.

    Raises
    ------
    InputError : either file is missing or cannot be read, parameters are missing, not finite or not as many as the
        model's, or the face does not lie where ``pt3d_68`` says. The message begins with the file's name.
    """
    path = Path(path)
    image = torch.from_numpy(read_photo(path).astype(np.float32) / 255).permute(2, 0, 1)
    parameters = path.with_suffix(".mat")
    require(parameters.is_file(), f"{path} has no {parameters.name} beside it, which tells its face")
    data = read_mat(parameters)
    shape, expression, pose = (_parameters(data, name, parameters) for name in ("Shape_Para", "Exp_Para", "Pose_Para"))
    sizes = {"Shape_Para": (len(shape), len(face.identity_scale)), "Exp_Para": (len(expression), len(face.expression_scale)), "Pose_Para": (len(pose), 7)}
    for name, (got, wanted) in sizes.items():
        require(got == wanted, f"{parameters}: {name} must hold {wanted} numbers, as the model has, got {got}")
    require(float(pose[6]) > 0, f"{parameters}: the scale in Pose_Para must be positive, got {float(pose[6]):g}")
    try:
        mesh = face.mesh(*face.coefficients(shape.to(face.mean), expression.to(face.mean)))
    except InputError as error:
        raise InputError(f"{parameters}: {error}") from None
    camera, angles = fitted_camera(pose, image.shape[1])
    sample = Sample(path.stem, image, mesh, camera.to(face.mean.device), angles)
    if "pt3d_68" in data:
        _compare(sample.placed(), array(data, "pt3d_68", parameters), parameters)
    return sample


def _parameters(data: dict[str, np.ndarray], name: str, path: Path) -> Float[Tensor, " n"]:
    return torch.from_numpy(array(data, name, path).reshape(-1))


def _compare(placed: Mesh, given: np.ndarray, path: Path) -> None:
    """Refuse a face whose landmarks lie far from those in its file."""
    require(given.shape == (3, 68), f"{path}: pt3d_68 must be [3, 68], got the shape {given.shape}")
    points, goal = placed.landmark_points()[:, :2].cpu(), torch.from_numpy(given[:2].T).float() - 0.5
    size = float((goal.amax(0) - goal.amin(0)).prod().sqrt())
    away = float((points - goal).norm(dim=-1).mean())
    require(away <= FARTHEST_OFF * size, f"{path}: the model's landmarks lie {away:.0f} px from pt3d_68 on average: its Model_Shape.mat is another one")


def fitted_camera(pose: Float[Tensor, " 7"], height: int) -> tuple[Similarity, Float[Tensor, " 3"]]:
    """From ``Pose_Para`` to the camera (model frame to photograph's frame, a batch of one), and its yaw, pitch and roll in degrees.

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
    return Similarity(scale[None].float(), (flip[:, None] * turned).float(), shift[None].float()), angles_of(turned)[0].float()


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


def window(image: Float[Tensor, "3 H W"], motion: Similarity, grid: Grid) -> Float[Tensor, "3 h w"]:
    """What a crop shows: the photograph moved by `motion` (photograph's frame to voxel frame) onto a grid's pixels.

    Where it is reduced it is averaged first, so that nothing aliases; beyond its border the edge is repeated.
    """
    height, width = image.shape[1:]
    zoom = float(motion.scale)
    seen = image[None]
    if zoom < 1:
        seen = F.interpolate(seen, (max(1, round(height * zoom)), max(1, round(width * zoom))), mode="bilinear", antialias=True, align_corners=False)
    rows, columns = (torch.arange(size, device=image.device) + 0.5 for size in (grid.height, grid.width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    flat = torch.stack((x, y), -1).view(-1, 2) - motion.translation[0, :2]
    points = flat @ motion.rotation[0, :2, :2] / motion.scale  # the rotation is about z, so that its transpose is its inverse
    places = 2 * points / points.new_tensor([width, height]) - 1
    return F.grid_sample(seen, places.view(1, grid.height, grid.width, 2), mode="bilinear", padding_mode="border", align_corners=False)[0].clamp(0, 1)


def paired(batch: Sequence[Sample], face: BaselFace, grid: Grid, jitter: Similarity | None = None, mirrored: Bool[Tensor, " b"] | None = None) -> FacePairs:
    """Samples as aligned images and volumes, cropped by the box of their landmarks (the authors' rule).

    `jitter` is a motion after the crop, in the voxel frame; `mirrored` marks what is flipped left to right.
    """
    device = face.mean.device
    yaw, pitch, roll = torch.stack([sample.angles for sample in batch], 1).to(device)
    shapes = batch[0].mesh.with_vertices(torch.stack([sample.mesh.vertices for sample in batch]))
    camera = crop_camera(shapes.landmark_points(), yaw, pitch, roll, face.interocular, grid)
    camera = camera if jitter is None else camera.compose(jitter)
    truth = shapes.with_vertices(camera(shapes.vertices))
    cameras = [part(camera, slice(index, index + 1)) for index in range(len(batch))]
    images: Image = torch.stack([window(s.image.to(device), s.camera.inverse().compose(to), grid) for s, to in zip(batch, cameras, strict=True)])
    volumes = voxelize(truth.vertices, truth.solid_triangles(), grid.shape, grid.depth_scale)
    marks = torch.zeros(len(batch), dtype=torch.bool, device=device) if mirrored is None else mirrored
    names = tuple(sample.name for sample in batch)
    return flip_marked(FacePairs(images, volumes, truth.landmark_points(), truth, marks, yaw, pitch, camera, tags=names))


def aflw2000(folder: str | Path, face: BaselFace) -> RealSet:
    """AFLW2000-3D, or any folder of photographs with such .mat files, as a test set; tags are the photographs' names.

    Parameters
    ----------
    folder : of NAME.jpg and NAME.mat.
    face : the model, `faces.basel`.
    """
    paths = photographs(folder)

    def batches(grid: Grid, seed: int) -> Iterator[FacePairs]:
        for start in range(0, len(paths), CHUNK):
            yield paired([read_sample(path, face) for path in paths[start : start + CHUNK]], face, grid)

    return RealSet("aflw2000", "AFLW2000-3D", face, len(paths), batches)


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
    """A batch of training samples from photographs (300W-LP), with the paper's augmentation; `pairs.make_pairs` for real pictures.

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
    rng = Rng.of(generator, batch, face.mean.device)
    jitter, mirrored = draw_jitter(poses, grid, rng.stream("view")), rng.stream("mirror").bernoulli(poses.mirror) > 0
    pairs = paired([read_sample(paths[number], face) for number in chosen], face, grid, jitter, mirrored)
    pairs.images.mul_(rng.stream("colour").uniform(*GAIN, 3)[..., None, None]).clamp_(0, 1)
    return pairs
