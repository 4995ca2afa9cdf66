"""A reconstruction, and the files of it that other programs like.

The mesh itself keeps the photograph's frame: x right, y down, z away, in its pixels. In files of meshes y points up and
z to the viewer, as their readers have it; `Units` says how long a unit is.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo
from scipy.ndimage import distance_transform_edt, map_coordinates
from torch import Tensor

from vrn_lite.camera import Similarity
from vrn_lite.files import atomically
from vrn_lite.frame import InputError, require
from vrn_lite.photo.image_io import Box, Photo
from vrn_lite.raster import nearest, rasterize

EYES_APART = 0.063
"""Metres between the middles of the two eyes: the mean of adults."""

EYES_OF_BOX = 0.44
"""The same distance as a share of sqrt(width * height) of the landmarks' box, in the mean face; a test measures it."""

PIXELS_AT_ONCE = 2**20
"""Of a depth map; more of them take more memory."""


class Units(StrEnum):
    """What the coordinates in a mesh's file mean.

    METRES: centred, the middles of the eyes 63 mm apart; STL, whose readers expect millimetres, gets these.
    PIXELS: the photograph's point (x, y, z) is written as (x, -y, -z).
    """

    METRES = "metres"
    PIXELS = "pixels"


class Format(StrEnum):
    """Files of a reconstruction: meshes, a page, a depth map (PNG, npy), the volume (npz), landmarks (JSON, npy)."""

    OBJ = "obj"
    PLY = "ply"
    GLB = "glb"
    STL = "stl"
    HTML = "html"
    DEPTH = "depth"
    VOLUME = "volume"
    LANDMARKS = "landmarks"


@dataclass(frozen=True)
class Reconstruction:
    """A face from a photograph.

    Whatever writes gives a whole file or none, and raises `InputError` where it cannot be written.

    Attributes
    ----------
    mesh : closed, coloured per vertex; x, y in the photograph's pixels, z away from the viewer in the same unit.
    volume : ``[d, h, w]``, probabilities, voxel frame.
    landmarks : ``[68, 2]``, x and y in the photograph's pixels, iBUG order, or None where there was no detector.
    crop : from the photograph's frame to the voxel frame; `crop.inverse()` leads back.
    image : the photograph, ``[h, w, 3]`` bytes.
    box : the landmark-style box (x0, y0, x1, y1) that it was cropped by, in the photograph's pixels: the landmarks'
        own, where there are any and they were plausible, else the one that was given or found.
    angle : by how many degrees the face is turned clockwise in the photograph, as the finder says.
    confidence : the finder's, from 0 to 1; None where the box was given.
    name : of the photograph, for people.
    depth_scale : slices of the volume per pixel.
    """

    mesh: trimesh.Trimesh
    volume: Float[Tensor, "d h w"]
    landmarks: Float[np.ndarray, "68 2"] | None
    crop: Similarity
    image: Photo
    box: Box
    angle: float = 0.0
    confidence: float | None = None
    name: str = "the image"
    depth_scale: float = 1.5

    def upright(self, units: Units | str = Units.PIXELS) -> trimesh.Trimesh:
        """The mesh as files hold it: y up and z to the viewer, so that the face stands upright and looks out."""
        require(units in tuple(Units), f"unknown units {units!r}: choose {' or '.join(Units)}")
        mesh, scale, centre = self.mesh.copy(), 1.0, np.zeros(3)
        if units == Units.METRES:
            scale, centre = EYES_APART / self.eye_distance(), self.mesh.bounds.mean(0)
        mesh.vertices = (self.mesh.vertices - centre) * (scale, -scale, -scale)  # half a turn about x keeps the winding
        return mesh

    def eye_distance(self) -> float:
        """Photograph's pixels between the middles of the eyes, were they seen from the front.

        By the scale at which the mean face's landmarks fit those found, whatever the pose; else by the box alone.
        """
        if self.landmarks is None:
            x0, y0, x1, y1 = self.box
            return EYES_OF_BOX * ((x1 - x0) * (y1 - y0)) ** 0.5
        from vrn_lite.faces import procedural
        from vrn_lite.photo.registration import orthographic

        face = procedural()
        mean, seen = face.mean[face.landmarks], torch.as_tensor(self.landmarks, dtype=face.mean.dtype)
        apart = (mean[36:42].mean(0) - mean[42:48].mean(0)).norm()
        return float(orthographic(mean[None], seen[None]).scale * apart)

    def landmarks_3d(self) -> Float[np.ndarray, "68 3"]:
        """The landmarks on the surface: each gets the depth of the point in front, in the photograph's frame.

        Raises
        ------
        InputError : there was no detector.
        """
        if self.landmarks is None:
            raise InputError(f"there are no landmarks of {self.name}: give reconstruct a detector")
        _, height, width = self.volume.shape
        vertices = self.crop(torch.as_tensor(self.mesh.vertices, dtype=torch.float32)[None])[0]
        depth = depth_image(vertices, torch.as_tensor(self.mesh.faces), height, width).numpy()
        depth = depth[tuple(distance_transform_edt(np.isnan(depth), return_indices=True, return_distances=False))]
        flat = np.pad(self.landmarks, ((0, 0), (0, 1)))
        x, y, _ = self.crop(torch.as_tensor(flat, dtype=torch.float32)[None])[0].double().numpy().T
        z = map_coordinates(depth, (y - 0.5, x - 0.5), order=1, mode="nearest") / float(self.crop.scale)
        return np.column_stack((self.landmarks, z))

    def depth_map(self) -> Float[np.ndarray, "H W"]:
        """The depth z of the surface in each of the photograph's pixels, in that unit; NaN where there is no face."""
        depth = np.full(self.image.shape[:2], np.nan, dtype=np.float32)
        vertices = torch.as_tensor(self.mesh.vertices, dtype=torch.float32)
        low, high = self.mesh.bounds[:, :2]
        left, top = np.floor(low.clip(0)).astype(int)
        right, bottom = np.ceil(high.clip((0, 0), depth.shape[::-1])).astype(int)
        rows = max(1, PIXELS_AT_ONCE // max(1, right - left))
        for start in range(top, bottom, rows):
            band = depth[start : min(start + rows, bottom), left:right]
            away = torch.tensor([left, start, 0.0])
            band[:] = depth_image(vertices - away, torch.as_tensor(self.mesh.faces), *band.shape).numpy()
        return depth

    # Files

    def to_obj(self, path: str | Path, units: Units | str = Units.METRES) -> Path:
        """Write a Wavefront OBJ, colours behind the coordinates."""
        header = f"vrn_lite: {units}, x right, y up, z to the viewer"
        return _write(path, self.upright(units).export(file_type="obj", include_normals=False, header=header))

    def to_ply(self, path: str | Path, units: Units | str = Units.METRES) -> Path:
        """Write a binary PLY with colours."""
        return _write(path, self.upright(units).export(file_type="ply", vertex_normal=False))

    def to_stl(self, path: str | Path, units: Units | str = Units.METRES) -> Path:
        """Write a binary STL, without colours; in millimetres unless `units` are pixels."""
        mesh = self.upright(units)
        return _write(path, (mesh.apply_scale(1000) if units == Units.METRES else mesh).export(file_type="stl"))

    def to_glb(self, path: str | Path, units: Units | str = Units.METRES) -> Path:
        """Write a binary glTF 2.0 with normals and 16 bit colours, linear as that format asks."""
        return _write(path, glb(self.upright(units)))

    def to_html(self, path: str | Path, title: str = "") -> Path:
        """Write an interactive page that needs no network: drag to turn, scroll to zoom."""
        from vrn_lite.viz import mesh_figure, write_html

        colours = self.mesh.visual.vertex_colors[:, :3]
        write_html(mesh_figure(self.mesh.vertices, self.mesh.faces, colours, title=title), path)
        return Path(path)

    def save_depth(self, path: str | Path) -> Path:
        """Write `depth_map`: as ``.npy``, or as a PNG of 16 bits.

        In the PNG 0 is nothing, 65535 the nearest point, 1 the farthest; its text chunks `near` and `far` hold their z.
        """
        depth = self.depth_map()
        if Path(path).suffix == ".npy":
            return _write(path, _npy(depth))
        near, far = float(np.nanmin(depth)), float(np.nanmax(depth))
        values = 1 + (far - depth) / max(far - near, 1e-9) * 65534
        info, stream = PngInfo(), BytesIO()
        info.add_text("near", f"{near:.6g}")
        info.add_text("far", f"{far:.6g}")
        Pillow.fromarray(np.rint(np.nan_to_num(values)).astype(np.uint16)).save(stream, "PNG", pnginfo=info)
        return _write(path, stream.getvalue())

    def save_volume(self, path: str | Path) -> Path:
        """Write an ``.npz``: `volume` (float16), `depth_scale`, and the `crop`'s `scale`, `rotation`, `translation`."""
        motion = {name: getattr(self.crop, name)[0].numpy() for name in ("scale", "rotation", "translation")}
        stream = BytesIO()
        np.savez_compressed(stream, volume=self.volume.half().numpy(), depth_scale=self.depth_scale, **motion)
        return _write(path, stream.getvalue())

    def save_landmarks(self, path: str | Path) -> Path:
        """Write the landmarks: as ``.npy``, `landmarks_3d` alone, or as JSON, in 2D and 3D, with box and confidence."""
        points = self.landmarks_3d()
        if Path(path).suffix == ".npy":
            return _write(path, _npy(points))
        height, width = self.image.shape[:2]
        facts = {"photograph": self.name, "width": width, "height": height, "frame": "pixels: x right, y down, z away"}
        facts |= {"box": list(self.box), "angle": self.angle, "confidence": self.confidence}
        flat, deep = (np.round(array, 3).tolist() for array in (points[:, :2], points))
        return _write(path, json.dumps(facts | {"landmarks_2d": flat, "landmarks_3d": deep}, indent=1))

    def save(
        self, stem: str | Path, formats: Sequence[Format | str] = (Format.GLB,), units: Units | str = Units.METRES
    ) -> list[Path]:
        """Write files of several formats, STEM.glb, STEM.depth.png and so on; the paths written."""
        stem, written = Path(stem), list[Path]()
        for kind in formats:
            require(kind in tuple(Format), f"unknown format {kind!r}: choose of {', '.join(Format)}")
            endings = ENDINGS.get(Format(kind), (str(kind),))
            paths = [stem.with_name(f"{stem.name}.{ending}") for ending in endings]
            if kind in ENDINGS:
                written += [getattr(self, f"save_{kind}")(path) for path in paths]
            elif kind == Format.HTML:
                written += [self.to_html(path, self.name) for path in paths]
            else:
                written += [getattr(self, f"to_{kind}")(path, units) for path in paths]
        return written


ENDINGS = {
    Format.DEPTH: ("depth.png", "depth.npy"),
    Format.VOLUME: ("volume.npz",),
    Format.LANDMARKS: ("landmarks.json", "landmarks.npy"),
}


def depth_image(vertices: Float[Tensor, "v 3"], triangles: Tensor, height: int, width: int) -> Float[Tensor, "h w"]:
    """Depth of the nearest surface at pixel centres; NaN where there is none."""
    seen = nearest(rasterize(vertices[None], triangles, height, width))
    depth = vertices.new_full((height * width,), torch.nan)
    depth[seen.pixel] = seen.depth
    return depth.view(height, width)


def glb(mesh: trimesh.Trimesh) -> bytes:
    """A coloured mesh as binary glTF 2.0: one node, one matt material; positions, normals, linear 16 bit colours."""
    screen = mesh.visual.vertex_colors[:, :3] / 255
    light = np.where(screen <= 0.04045, screen / 12.92, ((screen + 0.055) / 1.055) ** 2.4)
    normals = np.where(np.linalg.norm(mesh.vertex_normals, axis=1, keepdims=True) > 0.5, mesh.vertex_normals, (0, 0, 1))
    arrays = {  # name: content, component type, kind, whether integers mean shares of 1
        "POSITION": (mesh.vertices.astype("<f4"), 5126, "VEC3", False),
        "NORMAL": (normals.astype("<f4"), 5126, "VEC3", False),
        "COLOR_0": (np.rint(np.insert(light, 3, 1, 1) * 65535).astype("<u2"), 5123, "VEC4", True),
        "indices": (mesh.faces.astype("<u4").reshape(-1), 5125, "SCALAR", False),
    }
    views, accessors, binary = [], [], b""
    for number, (name, (array, component, kind, shares)) in enumerate(arrays.items()):
        target = 34963 if name == "indices" else 34962
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes, "target": target})
        accessors.append({"bufferView": number, "componentType": component, "count": len(array), "type": kind})
        accessors[-1] |= {"normalized": True} if shares else {}
        if name == "POSITION":
            accessors[-1] |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        binary += array.tobytes()
    attributes = {name: number for number, name in enumerate(arrays) if name != "indices"}
    matt = {"metallicFactor": 0, "roughnessFactor": 1}  # without it viewers show bare metal
    tree = {
        "asset": {"version": "2.0", "generator": "vrn_lite"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "face"}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 3, "material": 0}]}],
        "materials": [{"name": "skin", "pbrMetallicRoughness": matt}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(binary), len(text), 0x4E4F534A)
    return head + text + struct.pack("<II", len(binary), 0x004E4942) + binary


def _npy(array: np.ndarray) -> bytes:
    stream = BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _write(path: str | Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    atomically(Path(path), lambda temporary: temporary.write_bytes(data))
    return Path(path)
