"""One photograph in, one coloured 3D face out: the paper in one screen.

::

    photo --read--> image --find--> box --crop--> input --network--> probabilities --surface--> mesh --paint--> colours
                                     ^              |
                                     +--landmarks<--+  until it stands still, where a detector is at hand; they guide
                                                       VRN-Guided

Two frames meet here: the photograph's (`crop` draws it) and the voxel frame. The crop is a scale, a turn in the plane
and a shift from the one to the other; its inverse brings the surface back.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from vrn_lite.frame import Grid, InputError, require
from vrn_lite.inference import iter_probabilities
from vrn_lite.networks.base import FaceNetwork, LandmarkDetector, finds_landmarks
from vrn_lite.networks.weights import load, shipped
from vrn_lite.photo.crop import FourNumbers, Spot, box_of, checked, checked_landmarks, crop, locate, moved
from vrn_lite.photo.doubt import DOUBT, confidence, doubtful, levelled
from vrn_lite.photo.exports import Reconstruction, depth_image
from vrn_lite.photo.finder import Finder, finder_named
from vrn_lite.photo.image_io import Photo, PhotoSource, name_of, read_photo
from vrn_lite.volume import isosurface

BOX_ADVICE = "pass --box X0 Y0 X1 Y1 (in Python, box=(x0, y0, x1, y1)) around the face's landmarks"


class Settings(NamedTuple):
    """How faces are reconstructed; see `reconstruct`."""

    recrop: bool = True
    level: float = 0.5
    test_time_augmentation: bool = True
    smooth: float = 0.8
    force: bool = False

    def checked(self) -> "Settings":
        """These settings, if they make sense."""
        require(0 < self.level < 1, f"level is a probability between 0 and 1, got {self.level:g}")
        require(0 <= self.smooth < 10, f"smooth is a length between 0 and 10 pixels, got {self.smooth:g}")
        return self


def reconstruct(
    photo: PhotoSource,
    model: str | Path | FaceNetwork | None = None,
    box: FourNumbers | None = None,
    *,
    landmarks: Float[np.ndarray, "n c"] | Tensor | Sequence[Sequence[float]] | None = None,
    detector: str | Path | LandmarkDetector | None = None,
    recrop: bool = True,
    level: float = 0.5,
    test_time_augmentation: bool = True,
    smooth: float = 0.8,
    finder: str | Finder | None = None,
    force: bool = False,
) -> Reconstruction:
    """A 3D face from one photograph (paper section 3, the whole path).

    Parameters
    ----------
    photo : a file, its content, or an image; see `read_photo`.
    model : None for the best that ships (`best`), a name or a file for `load`, or a network. The unaligned network's
        face looks straight ahead whatever the pose in the photograph: it is put over the box, at the box's size, in one
        colour.
    box : landmark-style box (x0, y0, x1, y1) in the photograph's pixels: brows to chin, ear to ear; None for that of
        the largest face that is found.
    landmarks : ``[68, 2]``, x and y in the photograph's pixels, iBUG order, where you know them: no detector looks
        then, and without a `box` the landmarks' own box is cropped.
    detector : what finds the 68 landmarks: a name or a file for `load`, a network, or your own (`LandmarkDetector`);
        None for VRN-Multitask itself, and for the landmark network that ships. VRN-Guided cannot do without one.
    recrop : look for the landmarks in the box's crop, then crop around them, again and again until the box stands
        still, whoever gave it; unless they are implausible (see `locate`). Without a detector the box stays.
    level : probability at which the surface is drawn.
    test_time_augmentation : average the answers to eight copies of the crop, mirrored and shifted by a pixel or two.
        The network works on a coarser grid than its image, and the shifts take that grid's pattern off the surface.
    smooth : standard deviation of a Gaussian, in pixels of the network's input, that takes the terraces off the
        surface, as slices come out of the network independently; 0 for none. `Reconstruction.volume` stays as it is.
    finder : what finds the face where no box is given: embedded, yunet, or your own (`Finder`); see `finder_named`.
    force : go on where the face is doubtful (`doubt.confidence`).

    Raises
    ------
    InputError : unreadable or tiny photograph, no face found or a doubtful one, a box or landmarks outside it, unknown
        model, a model that gives no volume, or one that needs landmarks where no detector ships.
    """
    settings = Settings(recrop, level, test_time_augmentation, smooth, force).checked()
    network, finds = networks_for(model, detector) if landmarks is None else (volume_network(model), None)
    name, image = name_of(photo), read_photo(photo)  # [H, W, 3] bytes
    try:
        known = None if landmarks is None else checked_landmarks(landmarks, image)  # [68, 2], photograph
        if box is None and known is not None:
            box = box_of(known)
        if box is None:
            spot = max(spots_in(image, name, finder), key=side)
        else:
            spot = Spot(image, checked(box, image), name=name, landmarks=known)
    except InputError as error:
        raise InputError(str(error) if name in str(error) else f"{name}: {error}") from error
    (face,) = faces_of(network, finds, [spot], settings)
    if isinstance(face, InputError):
        raise face
    return face


def spots_in(image: Photo, name: str, finder: str | Finder | None = None) -> list[Spot]:
    """The faces in a photograph.

    Raises
    ------
    InputError : none found.
    """
    found = finder_named(finder).find(image)
    require(bool(found), f"no face found in {name}: {BOX_ADVICE}")
    return [Spot(image, face.box, face.angle, face.score, name) for face in found]


def side(spot: Spot) -> float:
    """The size of a face, sqrt(width * height) of its box, in the photograph's pixels."""
    x0, y0, x1, y1 = spot.box
    return ((x1 - x0) * (y1 - y0)) ** 0.5


def faces_of(
    network: FaceNetwork, detector: LandmarkDetector | None, spots: Sequence[Spot], settings: Settings
) -> Iterator[Reconstruction | InputError]:
    """Each face reconstructed, in turn, or why not; the networks see them together."""
    if detector is not None:
        spots = _believed(spots, locate(detector, levelled(detector, spots), settings.recrop))
    doubts = [not settings.force and (spot.confidence or 1) < DOUBT for spot in spots]
    results = _reconstructed(network, [spot for spot, doubt in zip(spots, doubts, strict=True) if not doubt], settings)
    for spot, doubt in zip(spots, doubts, strict=True):
        yield doubtful(spot.name, spot.box, spot.confidence or 0) if doubt else next(results)


def _believed(first: Sequence[Spot], located: Sequence[Spot]) -> list[Spot]:
    """Located faces with their confidence, where a finder found them."""
    return [
        after._replace(confidence=confidence(before.confidence, after.landmarks, side(after) / side(before)))
        if before.confidence is not None
        else after
        for before, after in zip(first, located, strict=True)
    ]


def _reconstructed(
    network: FaceNetwork, spots: Sequence[Spot], settings: Settings
) -> Iterator[Reconstruction | InputError]:
    """Faces whose boxes are settled."""
    if not spots:
        return
    grid = network.preset.grid
    crops = [crop(spot.image, spot.box, grid, spot.angle) for spot in spots]  # [3, h, w]; photograph -> voxel frame
    pairs = zip(crops, spots, strict=True)
    known = [moved(motion, spot.landmarks) for (_, motion), spot in pairs if spot.landmarks is not None]  # voxel frame
    guides = torch.stack(known) if len(known) == len(spots) else None  # [b, 68, 2]
    windows = torch.stack([window for window, _ in crops])  # [b, 3, h, w]
    volumes = iter_probabilities(network, windows, settings.test_time_augmentation, guides)
    for spot, (window, motion), answer in zip(spots, crops, volumes, strict=True):
        volume = answer.detach().cpu().clone()  # [d, h, w]
        try:
            surface = smooth_surface(volume, grid, settings.level, settings.smooth)  # voxel frame
        except InputError as error:
            yield InputError(f"the network sees no face in {spot.name} ({error}): {BOX_ADVICE}")
            continue
        colours = tint(surface, window) if network.target == "frontal" else paint(surface, window, grid)  # [v, 3] bytes
        vertices = motion.inverse()(torch.tensor(surface.vertices)[None].float())[0].double().numpy()
        mesh = trimesh.Trimesh(vertices, surface.faces, vertex_colors=colours, process=False)
        found = (spot.landmarks, motion, spot.image, spot.box, spot.angle, spot.confidence, spot.name)
        yield Reconstruction(mesh, volume, *found, grid.depth_scale)


def best() -> str:
    """The best model that ships: VRN-Guided where its landmark detector ships too, else VRN."""
    return "guided" if {"guided", "landmarks"} <= set(shipped()) else "vrn"


def networks_for(
    model: str | Path | FaceNetwork | None = None, detector: str | Path | LandmarkDetector | None = None
) -> tuple[FaceNetwork, LandmarkDetector | None]:
    """The network and the landmark detector that `reconstruct` uses, for those who have many photographs.

    Raises
    ------
    InputError : unknown weights, a model that gives no volume, a detector that finds no landmarks, or VRN-Guided where
        no detector is given and none ships.
    """
    network = volume_network(model)
    if detector is None and "heatmaps" in network.gives:
        return network, cast(LandmarkDetector, network)
    if detector is None and "landmarks" not in shipped():
        advice = "give one, detector='landmarks.safetensors'"
        require(not network.guided, f"a guided network needs landmarks, and no detector ships: {advice}")
        return network, None
    chosen = "landmarks" if detector is None else detector
    finds = load(chosen) if isinstance(chosen, str | Path) else chosen
    if not finds_landmarks(finds):
        kind = getattr(finds, "variant", type(finds).__name__)
        advice = "choose landmarks or multitask as the detector, or give your own"
        raise InputError(f"a {kind!r} network finds no landmarks: {advice}")
    return network, finds


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
        advice = f"choose vrn, multitask or guided as the model{other}"
        raise InputError(f"a {network.variant!r} network {what} and no volume: {advice}")
    return network


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
    at = points[:, 1] - 0.5, points[:, 0] - 0.5
    colours = np.stack([map_coordinates(channel, at, order=1, mode="nearest") for channel in window.numpy()], 1)
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
    """1 for vertices that nothing hides from the viewer, 0 where something stands `margin` pixels or more before."""
    points = torch.tensor(surface.vertices, dtype=torch.float32)
    depth = depth_image(points, torch.tensor(surface.faces), grid.height, grid.width)
    column, row = (points[:, axis].long().clamp(0, size - 1) for axis, size in ((0, grid.width), (1, grid.height)))
    hidden = points[:, 2] - depth[row, column]
    return (1.5 - hidden / margin).clamp(0, 1).nan_to_num(1.0).numpy()
