"""What a scan's file holds: triangles and the colour of each vertex, from OBJ, PLY and VRML 97 as scanners write them.

Files may be gzipped. A texture or material that is named must be there: at its path below the scan's folder, or, as
paths are often those of the maker's machine, by its bare name beside the scan, in whatever case. No other is opened.
"""

import gzip
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from vrn_lite.frame import InputError, require
from vrn_lite.photo.image_io import open_image

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif")
"""Endings of a texture that bears the scan's name."""

SAME_PLACE = 1e-6
"""Vertices closer than this share of the scan's extent are one: files have one for each corner, or side of a seam."""

INSIDE = 0.1
"""A corner's colour is taken so far towards the triangle's middle: at a seam, the picture ends at its edge."""


class Surface(NamedTuple):
    """Triangles with the colour of each vertex; no two vertices are at one place."""

    points: Float[np.ndarray, "v 3"]
    triangles: Int[np.ndarray, "t 3"]
    colours: Float[np.ndarray, "v 3"]


class Corners(NamedTuple):
    """What a file gives: places, triangles, and the colour of each corner."""

    points: Float[np.ndarray, "v 3"]
    triangles: Int[np.ndarray, "t 3"]
    colours: Float[np.ndarray, "t 3 3"]


def read_surface(path: Path) -> Surface:
    """A scan's triangles and the colours of its vertices: the mean of its corners', on both sides of a texture's seam.

    Raises
    ------
    InputError : it cannot be read, is no mesh, is not finite, has no colours, or names a texture or material that is
        missing.
    """
    readers = {".obj": _obj, ".ply": _ply, ".wrl": _vrml, ".wrz": _vrml}
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        points, triangles, colours = readers[without_gz(path).suffix.lower()](path, data)
    except InputError:
        raise
    except Exception as error:  # the readers raise whatever a damaged file makes them raise
        raise InputError(f"{path} cannot be read as a scan ({error})") from None
    require(len(triangles) > 0, f"{path} has no triangles")
    require(bool(np.isfinite(points).all()), f"{path} has vertices that are not finite (NaN or infinity)")
    there = bool(triangles.min() >= 0 and triangles.max() < len(points))
    require(there, f"{path}: triangles name vertices that are not there")
    used, triangles = np.unique(triangles, return_inverse=True)
    points = points[used]
    first, number = np.unique(weld(points, SAME_PLACE * float(np.ptp(points, axis=0).max())), return_inverse=True)
    triangles = number[triangles.reshape(-1, 3)]
    sums = np.stack([np.bincount(triangles.reshape(-1), channel) for channel in colours.reshape(-1, 3).T], 1)
    return Surface(points[first], triangles, sums / np.bincount(triangles.reshape(-1))[:, None])


def without_gz(path: Path) -> Path:
    """The file's name, without the ending of a gzipped one."""
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


def beside(path: Path, name: str, what: str = "texture") -> Path:
    """The file that a scan names, below its folder or beside it.

    Raises
    ------
    InputError : it is in neither place.
    """
    folder, parts = path.parent.resolve(), [part for part in re.split(r"[\\/]+", name.strip(" \"'")) if part != "."]
    for wanted in ("/".join(parts), parts[-1]) if parts else ():
        if (folder / wanted).is_file() and (folder / wanted).resolve().is_relative_to(folder):
            return folder / wanted
    for file in sorted(folder.iterdir()):
        if (
            parts
            and file.name.lower() == parts[-1].lower()
            and file.resolve().is_relative_to(folder)
            and file.is_file()
        ):
            return file
    raise InputError(f"{path}: its {what} is missing: put {parts[-1] if parts else 'the file that it names'} beside it")


def _own_picture(path: Path) -> Path | None:
    """The picture that bears the scan's name, where its file names none."""
    pictures = (without_gz(path).with_suffix(suffix) for suffix in PICTURES)
    return next((file for file in pictures if file.is_file()), None)


# Wavefront OBJ


class Material(NamedTuple):
    """What colours a triangle: a picture, by texture coordinates ``at * scale + offset``, or one colour."""

    colour: list[float] | None = None
    picture: Path | None = None
    scale: Float[np.ndarray, " 2"] | float = 1.0
    offset: Float[np.ndarray, " 2"] | float = 0.0


def _obj(path: Path, data: bytes) -> Corners:
    points, places, corners, wearing, libraries = [], [], [], [], list[str]()
    material: str | None = None
    for line in data.decode(errors="replace").replace("\\\n", " ").splitlines():
        word, _, rest = line.replace("\t", " ").strip().partition(" ")
        values = rest.split("#")[0].split()
        if word == "v":
            points.append([float(value) for value in values])
        elif word == "vt":
            places.append([float(value) for value in values[:2]])
        elif word == "f":
            named = [(*corner.split("/"), "")[:2] for corner in values]
            numbers = [(_number(v, len(points)), _number(vt, len(places))) for v, vt in named]
            corners += [(numbers[0], b, c) for b, c in zip(numbers[1:-1], numbers[2:], strict=True)]
            wearing += [material] * (len(numbers) - 2)
        elif word == "usemtl":
            material = rest.strip()
        elif word == "mtllib":
            libraries.append(rest.strip())
    require(len(corners) > 0, f"{path} has no triangles")
    triangles, at = np.array(corners).transpose(2, 0, 1)
    painted = min(map(len, points)) >= 6
    rows = np.array([point[: 6 if painted else 3] for point in points])
    colours = rows[:, 3:] / (255 if painted and rows[:, 3:].max() > 1 else 1)
    materials = {name: found for library in libraries for name, found in _materials(path, library).items()}
    own = None if painted or libraries else _own_picture(path)
    found = {name: _worn(path, name, materials, own) for name in dict.fromkeys(wearing)}
    shown = painted or any(worn.picture for worn in found.values())
    require(shown, f"{path} has neither a texture nor colours: a scan cannot be shown without")
    plain = np.array([found[name].colour or [0.0] * 3 for name in wearing])[:, None].repeat(3, 1)
    result = colours[triangles] if painted else plain
    for name, worn in found.items():
        mine = np.array([other == name for other in wearing])
        known = painted or worn.picture is not None or worn.colour is not None
        require(known, f"{path}: its material {name} has neither a picture nor a colour")
        if worn.picture is not None:
            require(bool(at[mine].min(initial=0) >= 0), f"{path}: triangles with a texture lack texture coordinates")
            result[mine] = _sampled(np.array(places)[at[mine]] * worn.scale + worn.offset, worn.picture)
    return Corners(rows[:, :3], triangles, result)


def _number(word: str, count: int) -> int:
    """An index of an OBJ file, from 0: they count from 1, or back from the last; -1 for none."""
    return -1 if not word else int(word) - 1 if int(word) > 0 else count + int(word)


def _worn(path: Path, name: str | None, materials: dict[str, Material], own: Path | None) -> Material:
    """The material of that name; where none is named, the picture that bears the scan's name."""
    if name is None or (name not in materials and own is not None):
        return Material(picture=own)
    require(name in materials, f"{path}: its material {name} is missing: no .mtl file that it names beside it has it")
    return materials[name]


OPTION = re.compile(r"\s*-(?:(?:imfchan|type)\s+\S+|\w+(?:\s+(?:on|off|[-+]?[\d.]+(?:[eE][-+]?\d+)?)(?=\s))+)")


def _materials(path: Path, library: str) -> dict[str, Material]:
    """The materials of a .mtl file; options before a texture's name are no part of it."""
    found = dict[str, Material]()
    name = ""
    for line in beside(path, library, "material file").read_text(errors="replace").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "newmtl":
            name = rest.strip()
            found[name] = Material()
        elif word == "Kd":
            found[name] = found[name]._replace(colour=[float(value) for value in rest.split()[:3]])
        elif word.lower() == "map_kd":
            options = [option.split() for option in OPTION.findall(rest)]
            moves = {
                option[0]: np.array((option[1:3] * 2)[:2], dtype=float)
                for option in options
                if option[0] in ("-s", "-o")
            }
            picture = beside(path, OPTION.sub("", rest).strip())
            found[name] = found[name]._replace(picture=picture, scale=moves.get("-s", 1.0), offset=moves.get("-o", 0.0))
    return found


# PLY, by trimesh


def _ply(path: Path, data: bytes) -> Corners:
    mesh = trimesh.load(io.BytesIO(data), file_type="ply", force="mesh", process=False, skip_materials=True)
    require(isinstance(mesh, trimesh.Trimesh), f"{path} holds no mesh")
    points, triangles, visual = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces), mesh.visual
    header = data[: data.find(b"end_header")].decode(errors="replace")
    named = re.findall(r"(?im)^comment\s+texturefile\s+(.+?)\s*$", header)
    require(len(named) < 2, f"{path} has {len(named)} textures: save it as an OBJ file, or with one texture")
    if getattr(visual, "uv", None) is not None:
        picture = beside(path, named[0]) if named else _own_picture(path)
        if picture is None:
            raise InputError(
                f"{path}: its texture is missing: put {without_gz(path).with_suffix('.png').name} beside it"
            )
        return Corners(points, triangles, _sampled(np.asarray(visual.uv)[triangles], picture))
    require(not named, f"{path} names the texture {named[:1]} and has no texture coordinates: save it with them")
    coloured = visual.kind in ("vertex", "face")
    require(coloured, f"{path} has neither a texture nor colours: a scan cannot be shown without")
    return Corners(points, triangles, (np.asarray(visual.vertex_colors)[:, :3] / 255.0)[triangles])


# VRML 97


def _vrml(path: Path, data: bytes) -> Corners:
    """The first IndexedFaceSet, with its texture or its colours."""
    text = re.sub(r"(?m)^\s*#.*$", "", data.decode(errors="replace"))
    numbers = _numbers(text, r"\bcoordIndex", path).astype(int)
    points, fans = _numbers(text, r"(?<!Texture)Coordinate\s*\{\s*point", path).reshape(-1, 3), _fans(numbers)
    named = re.findall(r'\burl\s*\[?\s*"([^"]+)"', text)
    picture = beside(path, named[0]) if named else _own_picture(path)
    if picture is not None and (named or "TextureCoordinate" in text):
        at = _numbers(text, r"TextureCoordinate\s*\{\s*point", path).reshape(-1, 2)
        places = _numbers(text, "texCoordIndex", path).astype(int) if "texCoordIndex" in text else numbers
        require(len(places) == len(numbers), f"{path}: texCoordIndex and coordIndex do not fit each other")
        return Corners(points, numbers[fans], _sampled(at[places[fans]], picture))
    if not re.search(r"\bColor\s*\{", text):
        raise InputError(f"{path}: its texture is missing: put {without_gz(path).with_suffix('.jpg').name} beside it")
    colours = _numbers(text, r"\bColor\s*\{\s*color", path).reshape(-1, 3)
    chosen = _numbers(text, "colorIndex", path).astype(int) if "colorIndex" in text else None
    if re.search(r"colorPerVertex\s+FALSE", text):
        polygon = np.cumsum(numbers < 0)[fans[:, 0]]
        return Corners(
            points, numbers[fans], colours[polygon if chosen is None else chosen[polygon]][:, None].repeat(3, 1)
        )
    return Corners(points, numbers[fans], colours[(numbers if chosen is None else chosen)[fans]])


def _numbers(text: str, name: str, path: Path) -> Float[np.ndarray, " n"]:
    """The numbers between the brackets after a name (a regular expression)."""
    found = re.search(rf"{name}\s*\[([^\]]*)\]", text)
    if found is None:
        lacking = re.findall("[A-Za-z]+", name)[-1]
        raise InputError(f"{path} is no VRML 97 file of triangles with a texture or colours: it lacks {lacking}")
    return np.array(found.group(1).replace(",", " ").split(), dtype=np.float64)


def _fans(numbers: Int[np.ndarray, " n"]) -> Int[np.ndarray, "t 3"]:
    """Triangles of polygons, each of which ends in -1, as places in the row of numbers.

    Examples
    --------
    >>> _fans(np.array([7, 1, 2, 3, -1, 4, 5, 6, -1])).tolist()
    [[0, 1, 2], [0, 2, 3], [5, 6, 7]]
    """
    ends, at = numbers < 0, np.arange(len(numbers))
    start = np.maximum.accumulate(np.where(np.roll(ends, 1) | (at == 0), at, 0))
    second = np.flatnonzero(~ends[:-1] & ~ends[1:] & (at > start)[:-1])
    return np.stack((start[second], second, second + 1), 1)


def _sampled(at: Float[np.ndarray, "t 3 2"], picture: Path) -> Float[np.ndarray, "t 3 3"]:
    """Colours of a texture at corners (u, v), v upward; from 0 to 1, and again from there; linear between pixels."""
    with open_image(picture) as opened:
        pixels = np.asarray(opened.convert("RGB"), dtype=np.float64) / 255
    u, v = np.moveaxis(at + INSIDE * (at.mean(1, keepdims=True) - at), -1, 0)
    u, v = (np.where((x < 0) | (x > 1), x - np.floor(x), x) for x in (u, v))
    rows, columns = (1 - v) * pixels.shape[0] - 0.5, u * pixels.shape[1] - 0.5
    found = [map_coordinates(pixels[..., channel], (rows, columns), order=1, mode="nearest") for channel in range(3)]
    return np.stack(found, -1).clip(0, 1)


def weld(points: Float[np.ndarray, "v n"], within: float = 0.0) -> Int[np.ndarray, " v"]:
    """For each point the first one at the same place, or reached from there in steps of at most `within`.

    Examples
    --------
    >>> weld(np.array([[0.0, 0, 0], [1, 0, 0], [0, 0, 0]])).tolist()
    [0, 1, 0]
    """
    places, first, number = np.unique(points, axis=0, return_index=True, return_inverse=True)
    number = number.reshape(-1)
    if within > 0:
        near = cKDTree(places).query_pairs(within, output_type="ndarray")
        joined = coo_matrix((np.ones(len(near)), near.T), shape=(len(places), len(places)))
        label = connected_components(joined, directed=False)[1]
        earliest = np.full(label.max() + 1, len(points))
        np.minimum.at(earliest, label, first)
        first = earliest[label]
    return first[number]
