"""One photograph in, one coloured 3D face out: the paper in one screen.

::

    photo --read--> image --detect--> box --crop--> input --network--> probabilities --surface--> mesh --paint--> coloured mesh

Two frames meet here. A *photograph's* frame has its pixel (r, c) centred at (c + 1/2, r + 1/2), x right, y down, z away
in the same unit. The crop is a scale and a shift from there to the voxel frame; its inverse brings the surface back.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from PIL import Image as Pillow, ImageOps
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade
from skimage.transform import resize, rotate
from torch import Tensor

from vrn_lite.camera import Similarity
from vrn_lite.frame import FACE_SIZE, Grid, InputError, Landmarks, require
from vrn_lite.networks.vrn import VRN
from vrn_lite.raster import nearest, rasterize
from vrn_lite.training import atomically, load
from vrn_lite.volume import isosurface

Photo = UInt8[np.ndarray, "H W 3"]
Box = tuple[float, float, float, float]
FourNumbers = Sequence[float | int] | np.ndarray

SMALLEST, MOST_PIXELS = 32, 130_000_000
"""Shortest side and most pixels of a photograph that is read (reading takes about 8 bytes a pixel)."""

DOWN, SCALE = 0.17, 0.92
"""From the detector's square to the box of the 68 landmarks: its centre lies lower by this share of the square's side (and
no further to one side, as the detector looks at both mirror images), its sqrt(width * height) is this share of the side.
Medians over 113 frontal renders of ICT-FaceKit (yaw within 15 degrees, all expressions, 192 px); they scatter by 0.06
and 0.13, which the training's jitter covers. A test fits them again."""

LOOKS = (((160, 190, 220, 250, 280), (0,), 0.15, 1.4, 5), ((160, 200, 240), (-15, 15), 0.15, 1.4, 3), ((360, 480, 600), (0,), 0.05, 0.2, 3))
"""Where the detector looks, in turn, until it finds a face: longer sides in pixels, in-plane tilts in degrees, smallest
and largest square as shares of the longer side, and how many looks so far must agree."""

MARGIN = 0.2
"""The photograph's edge is repeated by this share of its longer side, so that faces that fill it are found."""


SHIFTS = ((-2, -1), (1, -2), (2, 1), (-1, 2))
"""Shifts (x, y) that the answer is averaged over: all different along both axes, within one cell of the network's grid."""


@dataclass(frozen=True)
class Reconstruction:
    """A face from a photograph.

    Attributes
    ----------
    mesh : closed, coloured per vertex; x, y in the photograph's pixels, z away from the viewer in the same unit.
    volume : ``[d, h, w]``, probabilities, voxel frame.
    landmarks : ``[68, 3]`` in the photograph's frame, or None where the network gives none.
    crop : from the photograph's frame to the voxel frame; `crop.inverse()` leads back.
    image : the photograph, ``[h, w, 3]`` bytes.
    box : the landmark-style box (x0, y0, x1, y1) that was used, in the photograph's pixels.
    """

    mesh: trimesh.Trimesh
    volume: Float[Tensor, "d h w"]
    landmarks: Landmarks | None
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
        from vrn_lite.figures import mesh_figure, write_html

        write_html(mesh_figure(self.mesh.vertices, self.mesh.faces, self.mesh.visual.vertex_colors[:, :3], title=title), path)
        return Path(path)


def reconstruct(
    photo: str | Path | np.ndarray | Pillow.Image,
    model: str | Path | VRN | None = None,
    box: FourNumbers | None = None,
    *,
    level: float = 0.5,
    average: bool = True,
    smooth: float = 0.8,
) -> Reconstruction:
    """A 3D face from one photograph (paper section 3, the whole path).

    Parameters
    ----------
    photo : a file, or an image ``[h, w]``, ``[h, w, 3]`` or ``[h, w, 4]`` (bytes, 16 bit, or floats in [0, 1]).
    model : None for the best that ships, a name or a file for `load`, or a network.
    box : landmark-style box (x0, y0, x1, y1) in the photograph's pixels: brows to chin, ear to ear; None to detect it.
    level : probability at which the surface is drawn.
    average : average the answers to eight copies of the crop, mirrored and shifted by a pixel or two. The network works on
        a coarser grid than its image, and the shifts take the pattern of that grid off the surface.
    smooth : standard deviation of a Gaussian, in pixels of the network's input, that takes the terraces off the surface,
        as slices come out of the network independently; 0 for none. `Reconstruction.volume` stays as it is.

    Raises
    ------
    InputError : unreadable or tiny photograph, no face found, a box outside the photograph, unknown model.
    """
    require(0 < level < 1, f"level is a probability between 0 and 1, got {level:g}")
    require(0 <= smooth < 10, f"smooth is a length between 0 and 10 pixels, got {smooth:g}")
    network = model if isinstance(model, VRN) else load("vrn" if model is None else model)
    grid, name = network.preset.grid, "the image" if isinstance(photo, np.ndarray | Pillow.Image) else str(photo)
    image = read_photo(photo)  # [H, W, 3] bytes
    box = detect_face(image, name) if box is None else _checked(box, image)  # x0, y0, x1, y1
    window, to_voxels = crop(image, box, grid)  # [3, h, w]; photograph -> voxel frame
    volume = probabilities(network, window, average)  # [d, h, w]
    try:
        blurred = gaussian_filter(volume.numpy(), (smooth * grid.depth_scale, smooth, smooth))
        surface = largest_part(isosurface(blurred, level, grid.depth_scale))  # voxel frame
    except InputError as error:
        raise InputError(f"the network sees no face in {name} ({error}): pass --box X0 Y0 X1 Y1 around the face's landmarks") from error
    colours = paint(surface, window, grid)  # [v, 3] bytes
    points = to_voxels.inverse()(torch.tensor(surface.vertices)[None].float())[0].double().numpy()
    mesh = trimesh.Trimesh(points, surface.faces, vertex_colors=colours, process=False)
    return Reconstruction(mesh, volume, None, to_voxels, image, box)


def probabilities(network: VRN, window: Float[Tensor, "3 h w"], average: bool = True) -> Float[Tensor, "d h w"]:
    """Probability of every voxel, from one cropped image in [0, 1]; see `reconstruct` for `average`."""
    image = window[None].to(next(network.parameters()).device)
    total = torch.zeros((), device=image.device)
    with torch.inference_mode():
        for x, y in SHIFTS if average else [(0, 0)]:
            shifted = _shift(image, x, y)
            total = total + _shift(network(shifted).sigmoid(), -x, -y)
            if average:
                total = total + _shift(network(shifted.flip(-1)).sigmoid().flip(-1), -x, -y)
    return (total[0] / (2 * len(SHIFTS) if average else 1)).cpu().clone()


def _shift(images: Float[Tensor, "1 c h w"], x: int, y: int) -> Float[Tensor, "1 c h w"]:
    """Move images right and down by whole pixels; edges are repeated."""
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - y).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - x).clamp(0, width - 1)
    return images[..., rows, :][..., columns]


# Reading


def read_photo(photo: str | Path | np.ndarray | Pillow.Image) -> Photo:
    """A photograph as ``[h, w, 3]`` bytes, upright: EXIF orientation applied, grey, palette, CMYK and 16 bit converted, alpha over white.

    Raises
    ------
    InputError : no such file, not an image, damaged, shorter than 32 pixels, or larger than `MOST_PIXELS`.
    """
    if isinstance(photo, np.ndarray):
        image = _bytes_of(photo)
    elif isinstance(photo, Pillow.Image):
        image = np.asarray(_upright_rgb(photo))
    else:
        image = _read_file(Path(photo))
    height, width = image.shape[:2]
    name = "the image" if isinstance(photo, np.ndarray | Pillow.Image) else str(photo)
    require(min(height, width) >= SMALLEST, f"{name} has only {width} x {height} pixels: a face needs at least {SMALLEST} x {SMALLEST}")
    return image


def _read_file(path: Path) -> Photo:
    require(path.exists(), f"no such photograph: {path}")
    require(path.is_file(), f"{path} is no file: name a photograph inside it")
    require(path.stat().st_size > 0, f"{path} is empty: copy or download it again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files: what can be read is read
        try:
            with Pillow.open(path) as opened:
                width, height = opened.size
                require(width * height <= MOST_PIXELS, f"{path} has {width} x {height} pixels: reduce it to at most {MOST_PIXELS / 1e6:.0f} million")
                return np.asarray(_upright_rgb(opened))
        except Pillow.UnidentifiedImageError:
            raise InputError(f"{path} is not an image that can be read: save it as JPEG, PNG or WebP") from None
        except Pillow.DecompressionBombError:
            raise InputError(f"{path} has too many pixels: reduce it to at most {MOST_PIXELS / 1e6:.0f} million") from None
        except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"cannot read {path} ({error}): it is damaged or protected, save it again as JPEG or PNG") from None


def _upright_rgb(image: Pillow.Image) -> Pillow.Image:
    """Turned as EXIF says, on white where transparent, in RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # 16 bit or 32 bit grey, which convert() would clip
        return Pillow.fromarray(_bytes_of(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Pillow.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    return image.convert("RGB")


def _bytes_of(values: np.ndarray) -> Photo:
    """Any sensible array as ``[h, w, 3]`` bytes: floats in [0, 1], 8 bit, or 16 bit in whatever integers they come."""
    require(values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3, 4)), f"an image is [h, w], [h, w, 3] or [h, w, 4], got {values.shape}")
    require(values.size > 0, f"the image is empty: {values.shape}")
    require(values.dtype.kind in "buif", f"an image holds numbers, got {values.dtype}")
    if values.dtype.kind == "f":
        require(bool(np.isfinite(values).all()), "the image has values that are not finite (NaN or infinity)")
        require(bool(values.min() >= 0 and values.max() <= 1), f"a float image lies in [0, 1], got {values.min():g} to {values.max():g}")
        values = np.rint(values * 255)
    elif values.dtype.kind == "b":
        values = values * 255
    elif values.dtype != np.uint8 and values.max() > 255:
        values = np.clip(values, 0, 65535) // 257
    values = values.astype(np.uint8).reshape(*values.shape[:2], -1)
    if values.shape[2] == 4:
        alpha = values[..., 3:].astype(np.uint16)
        values = ((values[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


# Finding the face


def detect_face(image: Photo, name: str = "the image") -> Box:
    """The landmark-style box (x0, y0, x1, y1) of the largest frontal face, in the photograph's pixels.

    scikit-image's LBP cascade looks at the photograph and at its mirror image in several sizes, then tilted, then in
    larger sizes for small faces. Squares that several looks agree on count, and the largest of them wins.

    Raises
    ------
    InputError : none found.
    """
    cascade = Cascade(lbp_frontal_face_cascade_filename())
    squares = np.zeros((0, 3))
    for sides, tilts, least, most, votes in LOOKS:
        squares = np.concatenate([squares, *(_look(cascade, image, side, tilt, least, most) for side in sides for tilt in tilts)])
        agreed = _agreed(squares, votes)
        if len(agreed):
            x, y, side = map(float, agreed[agreed[:, 2].argmax()])
            half = SCALE * side / 2
            return x - half, y - half, x + half, y + half
    raise InputError(f"no face found in {name}: pass --box X0 Y0 X1 Y1 around the face's landmarks")


def _look(cascade: Cascade, image: Photo, side: int, tilt: float, least: float, most: float) -> Float[np.ndarray, "k 3"]:
    """Faces (x and y of the landmarks' centre, side of the square) that the cascade finds at one size and tilt, seen both ways."""
    step = max(1, max(image.shape[:2]) // 1280)  # resampling a huge photograph whole would need gigabytes
    coarse = image[::step, ::step]
    zoom = side / max(coarse.shape[:2])
    seen = resize(coarse, [max(1, round(size * zoom)) for size in coarse.shape[:2]], anti_aliasing=zoom < 1)
    seen = np.pad(seen, [(round(MARGIN * side),) * 2] * 2 + [(0, 0)], mode="edge")
    centre = np.array(seen.shape[1::-1]) / 2
    cosine, sine = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    sizes = {"min_size": (max(24, round(least * side)),) * 2, "max_size": (round(most * side),) * 2}
    found = []
    for view, sign in ((rotate(seen, tilt, mode="edge"), 1), (rotate(seen, tilt, mode="edge")[:, ::-1], -1)):
        for square in cascade.detect_multi_scale(np.ascontiguousarray(view), scale_factor=1.2, step_ratio=1, **sizes):
            x, y = (np.array([square["c"], square["r"]]) + square["width"] * np.array([0.5, 0.5 + DOWN]) - centre) * (sign, 1)
            middle = centre + (x * cosine - y * sine, x * sine + y * cosine) - round(MARGIN * side)
            found.append([*middle / zoom * step, square["width"] / zoom * step])
    return np.array(found).reshape(-1, 3)


def _agreed(squares: Float[np.ndarray, "k 3"], votes: int) -> Float[np.ndarray, "m 3"]:
    """Medians of groups of at least `votes` squares alike in place and size; of overlapping groups the one with most squares."""
    apart = np.linalg.norm(squares[:, None, :2] - squares[None, :, :2], axis=-1) / np.minimum(squares[:, None, 2], squares[None, :, 2])
    alike = (apart < 0.35) & (np.abs(np.log(squares[:, None, 2] / squares[None, :, 2])) < 0.5)
    groups, free = [], np.ones(len(squares), dtype=bool)
    for row in np.argsort(-alike.sum(1), kind="stable"):
        if free[row] and alike[row].sum() >= votes:
            groups.append(np.median(squares[alike[row]], axis=0))
            free &= apart[row] > 0.7
    return np.array(groups).reshape(-1, 3)


# Cropping


def crop(image: Photo, box: FourNumbers, grid: Grid) -> tuple[Float[Tensor, "3 h w"], Similarity]:
    """The network's input and the way from the photograph's frame to the voxel frame (the authors' crop rule).

    sqrt(width * height) of the landmark-style box becomes 90/192 of the crop's side and its centre the crop's centre;
    beyond the photograph its edge is repeated. Depth 0 of the photograph's frame is the grid's front.
    """
    x0, y0, x1, y1 = _checked(box, image)
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


def _checked(box: FourNumbers, image: Photo) -> Box:
    """The box as numbers, if it makes sense in the image."""
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
