"""One photograph in, one coloured 3D face out: the paper in one screen.

::

    photo --read--> image --detect--> box --crop--> input --network--> probabilities --surface--> mesh --paint--> coloured mesh
                                       ^              |
                                       +--landmarks<--+  until it stands still, where a detector is at hand; they guide VRN-Guided

Two frames meet here. A *photograph's* frame has its pixel (r, c) centred at (c + 1/2, r + 1/2), x right, y down, z away
in the same unit. The crop is a scale and a shift from there to the voxel frame; its inverse brings the surface back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from vrn_lite.camera import Similarity
from vrn_lite.files import atomically
from vrn_lite.frame import FACE_SIZE, Grid, InputError, require
from vrn_lite.inference import landmarks_in, probabilities
from vrn_lite.landmarks import NUM_LANDMARKS
from vrn_lite.networks.base import FaceNetwork, LandmarkDetector, finds_landmarks
from vrn_lite.networks.weights import load, shipped
from vrn_lite.photo.finder import detect_face
from vrn_lite.photo.image_io import Box, Photo, read_photo
from vrn_lite.raster import nearest, rasterize
from vrn_lite.volume import isosurface

FourNumbers = Sequence[float | int] | np.ndarray

MOST_ZOOM = 2.2
"""Landmarks that would change the size of the face's box by more than this factor, in all, are not believed."""

MOST_CROPS = 6
"""A face is cropped at most so often around its landmarks."""

STILL = 0.03
"""A box stands still when its size and its place change by no more than this share."""


@dataclass(frozen=True)
class Reconstruction:
    """A face from a photograph.

    Attributes
    ----------
    mesh : closed, coloured per vertex; x, y in the photograph's pixels, z away from the viewer in the same unit.
    volume : ``[d, h, w]``, probabilities, voxel frame.
    landmarks : ``[68, 2]``, x and y in the photograph's pixels, iBUG order, or None where there was no detector.
    crop : from the photograph's frame to the voxel frame; `crop.inverse()` leads back.
    image : the photograph, ``[h, w, 3]`` bytes.
    box : the landmark-style box (x0, y0, x1, y1) that it was cropped by, in the photograph's pixels: the landmarks' own,
        where there are any and they were plausible, else the one that was given or detected.
    """

    mesh: trimesh.Trimesh
    volume: Float[Tensor, "d h w"]
    landmarks: Float[np.ndarray, "68 2"] | None
    crop: Similarity
    image: Photo
    box: Box

    def upright(self) -> trimesh.Trimesh:
        """The mesh as files hold it: (x, -y, -z), so that viewers, whose y points up, show the face upright and from the front."""
        mesh = self.mesh.copy()
        mesh.vertices = self.mesh.vertices * (1.0, -1.0, -1.0)  # half a turn about x: winding is kept
        return mesh

    def to_obj(self, path: str | Path) -> Path:
        """Write a Wavefront OBJ, colours behind the coordinates, in the `upright` frame.

        All four writers give the whole file or none.

        Raises
        ------
        InputError : the file cannot be written (here, and in the three methods below).
        """
        return _write(path, self.upright().export(file_type="obj", include_normals=False, header="vrn_lite: x right, y up, z to the viewer"))

    def to_ply(self, path: str | Path) -> Path:
        """Write a binary PLY in the `upright` frame."""
        return _write(path, self.upright().export(file_type="ply", vertex_normal=False))

    def to_glb(self, path: str | Path) -> Path:
        """Write a binary glTF in the `upright` frame; colours become linear, as that format asks."""
        mesh = self.upright()
        mesh.visual.vertex_colors = _linear(mesh.visual.vertex_colors)
        return _write(path, trimesh.Scene(mesh).export(file_type="glb", tree_postprocessor=_matt))

    def to_html(self, path: str | Path, title: str = "") -> Path:
        """Write an interactive page that needs no network: drag to turn, scroll to zoom."""
        from vrn_lite.viz import mesh_figure, write_html

        write_html(mesh_figure(self.mesh.vertices, self.mesh.faces, self.mesh.visual.vertex_colors[:, :3], title=title), path)
        return Path(path)


def reconstruct(
    photo: str | Path | np.ndarray | Pillow.Image,
    model: str | Path | FaceNetwork | None = None,
    box: FourNumbers | None = None,
    *,
    landmarks: Float[np.ndarray, "n c"] | Tensor | Sequence[Sequence[float]] | None = None,
    detector: str | Path | LandmarkDetector | None = None,
    recrop: bool = True,
    level: float = 0.5,
    test_time_augmentation: bool = True,
    smooth: float = 0.8,
) -> Reconstruction:
    """A 3D face from one photograph (paper section 3, the whole path).

    Parameters
    ----------
    photo : a file, or an image ``[h, w]``, ``[h, w, 3]`` or ``[h, w, 4]`` (bytes, 16 bit, or floats in [0, 1]).
    model : None for the best that ships (`best`), a name or a file for `load`, or a network. The unaligned network's face
        looks straight ahead whatever the pose in the photograph: it is put over the box, at the box's size, in one colour.
    box : landmark-style box (x0, y0, x1, y1) in the photograph's pixels: brows to chin, ear to ear; None to detect it.
    landmarks : ``[68, 2]``, x and y in the photograph's pixels, iBUG order, where you know them: no detector looks then, and
        without a `box` the landmarks' own box is cropped.
    detector : what finds the 68 landmarks: a name or a file for `load`, a network, or your own (`LandmarkDetector`); None
        for VRN-Multitask itself, and for the landmark network that ships. VRN-Guided cannot do without one.
    recrop : look for the landmarks in the box's crop, then crop around them, again and again until the box stands still,
        whoever gave it; unless they are implausible (see `locate`). Without a detector the box stays.
    level : probability at which the surface is drawn.
    test_time_augmentation : average the answers to eight copies of the crop, mirrored and shifted by a pixel or two. The network works on
        a coarser grid than its image, and the shifts take the pattern of that grid off the surface.
    smooth : standard deviation of a Gaussian, in pixels of the network's input, that takes the terraces off the surface,
        as slices come out of the network independently; 0 for none. `Reconstruction.volume` stays as it is.

    Raises
    ------
    InputError : unreadable or tiny photograph, no face found, a box or landmarks outside the photograph, unknown model, a model that
        gives no volume, or one that needs landmarks where no detector ships.
    """
    require(0 < level < 1, f"level is a probability between 0 and 1, got {level:g}")
    require(0 <= smooth < 10, f"smooth is a length between 0 and 10 pixels, got {smooth:g}")
    network, finder = networks_for(model, detector) if landmarks is None else (volume_network(model), None)
    name = "the image" if isinstance(photo, np.ndarray | Pillow.Image) else str(photo)
    image = read_photo(photo)  # [H, W, 3] bytes
    known = None if landmarks is None else checked_landmarks(landmarks, image)  # [68, 2], photograph
    if box is None:
        box = detect_face(image, name) if known is None else box_of(known)  # x0, y0, x1, y1
    box = checked(box, image)
    if finder is not None:
        box, known = locate(finder, image, box, recrop)
    window, to_voxels = crop(image, box, network.preset.grid)  # [3, h, w]; photograph -> voxel frame
    points = None if known is None else _moved(to_voxels, known)[None]  # [1, 68, 2], voxel frame
    volume = probabilities(network, window[None], test_time_augmentation, points)[0].cpu().clone()  # [d, h, w]
    try:
        surface = smooth_surface(volume, network.preset.grid, level, smooth)  # voxel frame
    except InputError as error:
        raise InputError(f"the network sees no face in {name} ({error}): pass --box X0 Y0 X1 Y1 (in Python, box=(x0, y0, x1, y1)) around the face") from error
    colours = tint(surface, window) if network.target == "frontal" else paint(surface, window, network.preset.grid)  # [v, 3] bytes
    vertices = to_voxels.inverse()(torch.tensor(surface.vertices)[None].float())[0].double().numpy()
    mesh = trimesh.Trimesh(vertices, surface.faces, vertex_colors=colours, process=False)
    return Reconstruction(mesh, volume, known, to_voxels, image, box)


def best() -> str:
    """The best model that ships: VRN-Guided where its landmark detector ships too, else VRN."""
    return "guided" if {"guided", "landmarks"} <= set(shipped()) else "vrn"


def networks_for(
    model: str | Path | FaceNetwork | None = None, detector: str | Path | LandmarkDetector | None = None
) -> tuple[FaceNetwork, LandmarkDetector | None]:
    """The network and the landmark detector that `reconstruct` uses, for those who have many photographs.

    Raises
    ------
    InputError : unknown weights, a model that gives no volume, a detector that finds no landmarks, or VRN-Guided where no
        detector is given and none ships.
    """
    network = volume_network(model)
    if detector is None and "heatmaps" in network.gives:
        return network, cast(LandmarkDetector, network)
    if detector is None and "landmarks" not in shipped():
        require(not network.guided, "a guided network needs landmarks, and no detector ships: give one, detector='landmarks.safetensors'")
        return network, None
    finder = load("landmarks" if detector is None else detector) if detector is None or isinstance(detector, str | Path) else detector
    if not finds_landmarks(finder):
        kind = getattr(finder, "variant", type(finder).__name__)
        raise InputError(f"a {kind!r} network finds no landmarks: choose landmarks or multitask as the detector, or give your own")
    return network, finder


def volume_network(model: str | Path | FaceNetwork | None = None) -> FaceNetwork:
    """The network that gives the volume: the best that ships, one by name or from a file, or the one that is given.

    Raises
    ------
    InputError : unknown weights, a model that gives no volume.
    """
    network = load(best() if model is None else model) if model is None or isinstance(model, str | Path) else model
    if "logits" not in network.gives:
        what = "finds landmarks" if finds_landmarks(network) else "gives numbers of a face model"
        other = ", and this one as the detector" if finds_landmarks(network) else ""
        raise InputError(f"a {network.variant!r} network {what} and no volume: choose vrn, multitask or guided as the model{other}")
    return network


def checked_landmarks(landmarks: object, image: Photo) -> Float[np.ndarray, "68 2"]:
    """68 points (x, y) as numbers, if they make sense in the image.

    Raises
    ------
    InputError : another shape, numbers that are not finite, or points of which most lie outside the image.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    require(points.shape == (NUM_LANDMARKS, 2), f"landmarks must be [{NUM_LANDMARKS}, 2], x and y in the photograph's pixels, got {list(points.shape)}")
    require(bool(np.isfinite(points).all()), "landmarks must be finite numbers, x and y in the photograph's pixels")
    height, width = image.shape[:2]
    inside = float(((points >= 0) & (points <= (width, height))).all(1).mean())
    require(inside >= 0.5, f"the landmarks lie outside the photograph of {width} x {height} pixels ({inside:.0%} inside, 50% needed)")
    return points


def box_of(landmarks: Float[np.ndarray, "68 2"]) -> Box:
    """The box that landmarks span."""
    (x0, y0), (x1, y1) = landmarks.min(0).tolist(), landmarks.max(0).tolist()
    return x0, y0, x1, y1


# Landmarks


def locate(detector: LandmarkDetector, image: Photo, box: Box, recrop: bool = True) -> tuple[Box, Float[np.ndarray, "68 2"]]:
    """The 68 landmarks of the face in a box, and the box to crop it by, both in the photograph's pixels.

    With `recrop` the landmarks' own box takes the place of `box`, and they are found again in its crop, until the box
    stands still (`STILL`), at most `MOST_CROPS` times: the training's crops stand on the landmarks' box too (there of the
    true ones). Where the landmarks' box is implausible (over 2.2 times larger or smaller than `box`, its centre outside
    that one's crop, or outside the photograph) the last plausible one stays.
    """
    landmarks, first = find_landmarks(detector, image, box), box
    for _ in range(MOST_CROPS if recrop else 0):
        around = box_of(landmarks)
        if not _plausible(around, first, image):
            break
        still, box = _still(around, box), around
        landmarks = find_landmarks(detector, image, box)
        if still:
            break
    return box, landmarks


def _still(new: Box, old: Box) -> bool:
    """Whether two boxes hardly differ in size and place."""
    size, before = (((x1 - x0) * (y1 - y0)) ** 0.5 for x0, y0, x1, y1 in (new, old))
    away = max(abs(new[axis] + new[axis + 2] - old[axis] - old[axis + 2]) / 2 for axis in (0, 1))
    return abs(size / before - 1) < STILL and away < STILL * before


def find_landmarks(detector: LandmarkDetector, image: Photo, box: FourNumbers) -> Float[np.ndarray, "68 2"]:
    """The 68 landmarks of the face in a box, x and y in the photograph's pixels: means over the crop and its mirror image."""
    window, to_voxels = crop(image, box, detector.preset.grid)
    return _moved(to_voxels.inverse(), landmarks_in(detector, window[None])[0].cpu()).double().numpy()


def _moved(motion: Similarity, points: Float[Tensor, "n 2"] | Float[np.ndarray, "n 2"]) -> Float[Tensor, "n 2"]:
    """Points (x, y) moved by a scale and a shift."""
    flat = torch.as_tensor(points, dtype=torch.float32)
    return motion(torch.cat((flat, torch.zeros_like(flat[:, :1])), 1)[None])[0, :, :2]


def _plausible(new: Box, old: Box, image: Photo) -> bool:
    """Whether landmarks that span a box may be those of the face that another box points at."""
    try:
        checked(new, image)
    except InputError:
        return False
    size, before = (((x1 - x0) * (y1 - y0)) ** 0.5 for x0, y0, x1, y1 in (new, old))
    away = max(abs(new[axis] + new[axis + 2] - old[axis] - old[axis + 2]) / 2 for axis in (0, 1))
    return 1 / MOST_ZOOM < size / before < MOST_ZOOM and away < before / FACE_SIZE / 2


# Cropping


def crop(image: Photo, box: FourNumbers, grid: Grid) -> tuple[Float[Tensor, "3 h w"], Similarity]:
    """The network's input and the way from the photograph's frame to the voxel frame (the authors' crop rule).

    sqrt(width * height) of the landmark-style box becomes 90/192 of the crop's side and its centre the crop's centre;
    beyond the photograph its edge is repeated. Depth 0 of the photograph's frame is the grid's front.
    """
    x0, y0, x1, y1 = checked(box, image)
    pixel = ((x1 - x0) * (y1 - y0)) ** 0.5 / (FACE_SIZE * grid.side)  # photograph's pixels in one pixel of the crop
    left, top = (x0 + x1 - grid.width * pixel) / 2, (y0 + y1 - grid.height * pixel) / 2
    columns, across = _resampling(left, pixel, grid.width, image.shape[1])
    rows, down = _resampling(top, pixel, grid.height, image.shape[0])
    part = image[rows, columns]
    channels = [torch.from_numpy(down) @ torch.from_numpy(part[..., channel].astype(np.float32)) @ torch.from_numpy(across).T for channel in range(3)]
    motion = Similarity(torch.tensor([1 / pixel]), torch.eye(3)[None], -torch.tensor([[left, top, 0.0]]) / pixel)
    return torch.stack(channels).div_(255).clamp_(0, 1), motion


def _resampling(start: float, step: float, count: int, size: int) -> tuple[slice, Float[np.ndarray, "o i"]]:
    """One axis of the crop: the photograph's pixels that it touches, and their weights in each of `count` output pixels.

    A tent as wide as an output pixel on either side (at least one of the photograph's): linear interpolation where the
    crop enlarges, an average without aliasing where it reduces.
    """
    width = max(step, 1.0)
    centres = start + (np.arange(count) + 0.5) * step
    first, last = int(np.floor(centres[0] - width - 1)), int(np.ceil(centres[-1] + width + 1))
    pixels = np.arange(first, last)
    weights = np.clip(1 - np.abs(pixels + 0.5 - centres[:, None]) / width, 0, None)
    weights /= weights.sum(1, keepdims=True)
    inside = np.clip(pixels, 0, size - 1)
    folded = np.zeros((count, inside[-1] - inside[0] + 1), dtype=np.float32)
    np.add.at(folded.T, inside - inside[0], weights.T)
    return slice(int(inside[0]), int(inside[-1]) + 1), folded


def checked(box: FourNumbers, image: Photo) -> Box:
    """The box as numbers, if it makes sense in the image.

    Raises
    ------
    InputError : not four finite numbers, empty, too small, or mostly outside the image.
    """
    height, width = image.shape[:2]
    numbers = np.asarray(box, dtype=np.float64).reshape(-1)
    text = " ".join(f"{value:g}" for value in numbers)
    require(len(numbers) == 4 and bool(np.isfinite(numbers).all()), f"a box is four finite numbers x0 y0 x1 y1, got {text}")
    x0, y0, x1, y1 = (float(value) for value in numbers)
    require(x1 > x0 and y1 > y0, f"the box {text} is empty: x0 < x1 and y0 < y1 are needed")
    inside = max(0.0, min(x1, width) - max(x0, 0.0)) * max(0.0, min(y1, height) - max(y0, 0.0))
    share = inside / ((x1 - x0) * (y1 - y0))
    require(share >= 0.25, f"the box {text} lies outside the photograph of {width} x {height} pixels ({share:.0%} inside, 25% needed)")
    require(min(x1 - x0, y1 - y0) >= 4, f"the box {text} is too small: a face needs at least 4 pixels each way")
    return x0, y0, x1, y1


# Surface and colours


def smooth_surface(volume: Float[Tensor, "d h w"], grid: Grid, level: float, smooth: float) -> trimesh.Trimesh:
    """The face's surface in the voxel frame; see `reconstruct` for `level` and `smooth`.

    Raises
    ------
    InputError : the probabilities nowhere cross the level.
    """
    blurred = gaussian_filter(volume.numpy(), (smooth * grid.depth_scale, smooth, smooth))
    return largest_part(isosurface(blurred, level, grid.depth_scale))


def largest_part(surface: trimesh.Trimesh) -> trimesh.Trimesh:
    """The connected part with the most vertices: the face, without crumbs and inner bubbles."""
    label = trimesh.graph.connected_component_labels(surface.edges, node_count=len(surface.vertices))
    kept = label == np.bincount(label).argmax()
    number = np.cumsum(kept) - 1
    faces = number[surface.faces[kept[surface.faces[:, 0]]]]
    return trimesh.Trimesh(surface.vertices[kept], faces, process=False)


def paint(surface: trimesh.Trimesh, window: Float[Tensor, "3 h w"], grid: Grid) -> UInt8[np.ndarray, "v 3"]:
    """Colours of a surface in the voxel frame, from the cropped photograph in front of it.

    What the photograph does not show (sides, back, what stands behind the nose) fades to the face's median colour,
    where it would smear otherwise.
    """
    points = surface.vertices
    colours = np.stack([map_coordinates(channel, (points[:, 1] - 0.5, points[:, 0] - 0.5), order=1, mode="nearest") for channel in window.numpy()], 1)
    facing = -surface.vertex_normals[:, 2]  # 1 towards the viewer
    shown = np.clip((facing - 0.1) / 0.35, 0, 1) * _in_front(surface, grid)
    frank = (shown == 1) & (facing > 0.6)
    tone = np.median(colours[frank] if frank.any() else colours, axis=0)
    mixed = tone + shown[:, None] * (colours - tone)
    return np.rint(mixed.clip(0, 1) * 255).astype(np.uint8)


def tint(surface: trimesh.Trimesh, window: Float[Tensor, "3 h w"]) -> UInt8[np.ndarray, "v 3"]:
    """One colour for a whole surface that does not lie over its image: the median of the crop's middle."""
    height, width = window.shape[-2:]
    middle = window[:, 3 * height // 8 : 5 * height // 8, 3 * width // 8 : 5 * width // 8]
    tone = (255 * middle.flatten(1).median(1).values).round().byte().numpy()
    return np.tile(tone, (len(surface.vertices), 1))


def _in_front(surface: trimesh.Trimesh, grid: Grid, margin: float = 2.0) -> Float[np.ndarray, " v"]:
    """1 for vertices that nothing hides from the viewer, 0 where something stands `margin` pixels or more before them."""
    points = torch.tensor(surface.vertices, dtype=torch.float32)
    seen = nearest(rasterize(points[None], torch.tensor(surface.faces), grid.height, grid.width))
    depth = torch.full((grid.height * grid.width,), float("inf"))
    depth[seen.pixel] = seen.depth
    column, row = (points[:, axis].long().clamp(0, size - 1) for axis, size in ((0, grid.width), (1, grid.height)))
    hidden = points[:, 2] - depth[row * grid.width + column]
    return (1.5 - hidden / margin).clamp(0, 1).nan_to_num(1.0).numpy()


# Writing


def _write(path: str | Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    atomically(Path(path), lambda temporary: temporary.write_bytes(data))
    return Path(path)


def _linear(colours: UInt8[np.ndarray, "v 4"]) -> UInt8[np.ndarray, "v 4"]:
    """Bytes of the screen (sRGB) as bytes proportional to light."""
    values = colours[:, :3] / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return np.concatenate([np.rint(light * 255).astype(np.uint8), colours[:, 3:]], axis=1)


def _matt(tree: dict) -> None:
    """Give the glTF a matt material: without one, viewers show bare metal."""
    tree["materials"] = [{"name": "skin", "doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0
